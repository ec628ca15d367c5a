//! The queues and their threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::clock::Moment;
use crate::config::QueueSettings;
use crate::control::protocol::QueueStatus;
use crate::inspect::Ruleset;
use crate::queue::message::QueueParameters;
use crate::queue::{
    self, Conntrack, Injector, Owners, QueueError, QueueHandle, QueueSocket, QueueWorker,
    SocketDestroyer,
};
use crate::record::{Counters, EventSender};

/// How many queues there are.
pub(super) const QUEUES: usize = 2;
const PURPOSES: [&str; QUEUES] = ["dns", "connections"];
/// Bytes of each packet copied to user space: a DNS message over TCP may fill a segment, and
/// with GSO a segment may be 64 KiB; of a connection only the hello or the request's head counts.
const COPY_RANGES: [u32; QUEUES] = [0xffff, 4096];
/// How many pairs of numbers are tried beyond the configured one.
const OTHER_PAIRS: u16 = 16;
/// How long a stop waits for packets that were queued before the jumps went.
const DRAIN: Duration = Duration::from_millis(500);

/// What the queues are made from.
pub(super) struct Settings<'a> {
    pub(super) queue: &'a QueueSettings,
    pub(super) mark: u32,
    /// The mark by which rules follow connections, where they can.
    pub(super) follow_mark: Option<u32>,
    /// Rules keep forged answers out of connection tracking.
    pub(super) notrack: bool,
}

/// The running queue threads.
pub(super) struct Queues {
    threads: Vec<QueueThread>,
    /// Threads, by their place, that ended although nobody told them to.
    ended: mpsc::UnboundedReceiver<usize>,
    pub(super) warnings: Vec<String>,
}

struct QueueThread {
    handle: QueueHandle,
    number: u16,
    purpose: &'static str,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<nix::Result<()>>>,
}

/// Says on its way out, also of a panic, which thread has ended.
struct Farewell {
    place: usize,
    ended: mpsc::UnboundedSender<usize>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody listens only while the daemon is ending anyway.
        let _ending = self.ended.send(self.place);
    }
}

impl Queues {
    /// Binds a free pair of queues and starts a thread for each.
    pub(super) fn start(
        settings: &Settings<'_>,
        rules: &Arc<ArcSwap<Ruleset>>,
        events: &EventSender,
        first_verdict: &Arc<OnceLock<Moment>>,
    ) -> anyhow::Result<Self> {
        let (sockets, mut warnings) = bind_free_pair(settings.queue)?;
        let (sender, ended) = mpsc::unbounded_channel();
        let mut threads = Vec::new();
        for (place, (purpose, socket)) in PURPOSES.into_iter().zip(sockets).enumerate() {
            let number = socket.number();
            let handle = socket
                .handle()
                .context("cannot duplicate a queue's socket")?;
            let counters = Arc::new(Counters::default());
            let stop = Arc::new(AtomicBool::new(false));
            let worker = QueueWorker {
                queue: socket,
                rules: Arc::clone(rules),
                injector: Injector::open(settings.mark).context("cannot open a raw socket")?,
                destroyer: destroyer(&mut warnings),
                conntrack: conntrack(settings.notrack, &mut warnings),
                follow_mark: settings.follow_mark,
                events: events.clone(),
                counters: Arc::clone(&counters),
                first_verdict: Arc::clone(first_verdict),
                stop: Arc::clone(&stop),
            };
            let farewell = Farewell {
                place,
                ended: sender.clone(),
            };
            let owners = Owners::open(&mut warnings);
            let serve = move || {
                let _farewell = farewell;
                worker.run(owners)
            };
            let thread = thread::Builder::new()
                .name(format!("queue-{purpose}"))
                .spawn(serve)
                .context("cannot start a queue's thread")?;
            let thread = Some(thread);
            threads.push(QueueThread {
                handle,
                number,
                purpose,
                counters,
                stop,
                thread,
            });
        }
        warnings.dedup();
        Ok(Self {
            threads,
            ended,
            warnings,
        })
    }

    /// The queues' numbers: DNS, connections.
    pub(super) fn numbers(&self) -> [u16; QUEUES] {
        [0, 1].map(|queue: usize| self.threads[queue].number)
    }

    /// How many packets, answers among them, have come out of each queue, or wait in it.
    pub(super) fn seen(&self) -> [u64; QUEUES] {
        [0, 1].map(|queue: usize| {
            let it = &self.threads[queue];
            let waiting = queue::occupancy(it.number).map_or(0, |queue| queue.waiting);
            let counters = it.counters.values();
            counters.packets + counters.answers + u64::from(waiting)
        })
    }

    /// A duplicate of each queue's socket.
    pub(super) fn handles(&self) -> impl Iterator<Item = &QueueHandle> {
        self.threads.iter().map(|it| &it.handle)
    }

    /// Waits for a queue to fail.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        let Some(place) = self.ended.recv().await else {
            // Every thread has said farewell before.
            return std::future::pending().await;
        };
        let it = &mut self.threads[place];
        let what = format!("queue {} ({}) failed", it.number, it.purpose);
        match it.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(Err(errno))) => anyhow::Error::new(errno).context(what),
            _ => anyhow::anyhow!("{what}: its thread ended"),
        }
    }

    /// What comes from now on passes; what waits already is decided on.
    pub(super) fn hold_no_more(&self) {
        for it in &self.threads {
            if let Err(errno) = it.handle.hold_no_more() {
                log::warn!("queue {} cannot be closed: {errno}", it.number);
            }
        }
    }

    /// Lets what is queued be decided, then ends the threads.
    pub(super) async fn stop(self) {
        let waited = DRAIN.as_millis() / 10;
        for _ in 0..waited {
            let waiting = |it: &QueueThread| {
                queue::occupancy(it.number).is_some_and(|queue| queue.waiting > 0)
            };
            if !self.threads.iter().any(waiting) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for it in self.threads {
            it.stop.store(true, Ordering::Relaxed);
            if let Err(errno) = it.handle.nudge() {
                log::warn!("cannot wake the thread of queue {}: {errno}", it.number);
            }
            match it.thread.map(thread::JoinHandle::join) {
                Some(Ok(Err(errno))) => log::error!("queue {}: {errno}", it.number),
                Some(Err(_)) => log::error!("the thread of queue {} panicked", it.number),
                Some(Ok(Ok(()))) | None => {}
            }
        }
    }

    pub(super) fn status(&self, unseen: Option<[u64; QUEUES]>) -> Vec<QueueStatus> {
        let status = |(queue, it): (usize, &QueueThread)| QueueStatus {
            purpose: it.purpose.to_owned(),
            number: it.number,
            passed_unseen: unseen.map(|unseen| unseen[queue]),
            counters: it.counters.values(),
        };
        self.threads.iter().enumerate().map(status).collect()
    }
}

/// Binds the configured pair of numbers or, where another program has one of them, the next free
/// pair.
fn bind_free_pair(settings: &QueueSettings) -> anyhow::Result<(Vec<QueueSocket>, Vec<String>)> {
    let mut taken: Option<u16> = None;
    for pair in 0..OTHER_PAIRS {
        let first = settings.first.saturating_add(pair * 2);
        match bind_pair(first, settings) {
            Ok(sockets) => {
                let warning = taken.map(|number| {
                    let second = first + 1;
                    format!(
                        "queue {number} belongs to another program: {first} and {second} are \
                         used instead"
                    )
                });
                return Ok((sockets, warning.into_iter().collect()));
            }
            Err(QueueError::Taken(number)) => taken = taken.or(Some(number)),
            Err(error) => return Err(error.into()),
        }
    }
    let first = settings.first;
    anyhow::bail!(
        "other programs hold the queues from {first} up; set another [queue] first in the config"
    )
}

fn bind_pair(first: u16, settings: &QueueSettings) -> Result<Vec<QueueSocket>, QueueError> {
    let bytes = usize::try_from(settings.receive_buffer_bytes).unwrap_or(usize::MAX);
    (0..)
        .zip(COPY_RANGES)
        .map(|(offset, copy_range)| {
            let number = first + offset;
            let length = u32::from(settings.length);
            QueueSocket::bind(
                QueueParameters {
                    number,
                    copy_range,
                    length,
                },
                bytes,
            )
        })
        .collect()
}

/// Only where rules cannot keep forged answers out.
fn conntrack(notrack: bool, warnings: &mut Vec<String>) -> Option<Conntrack> {
    if notrack {
        return None;
    }
    let opened = Conntrack::open();
    if let Err(error) = &opened {
        warnings.push(format!(
            "connection tracking cannot be worked on ({error}): after a blocked DNS query, a \
             redirect of DNS in the nat table does not see the same socket's next one"
        ));
    }
    opened.ok()
}

fn destroyer(warnings: &mut Vec<String>) -> Option<SocketDestroyer> {
    let consequence = "apps learn of a blocked connection by a forged reset, and servers are left \
                       to time out";
    match SocketDestroyer::open() {
        Ok(destroyer) => match destroyer.probe() {
            Ok(()) => return Some(destroyer),
            Err(error) => warnings.push(format!("{error}: {consequence}")),
        },
        Err(error) => {
            warnings.push(format!(
                "cannot open the kernel's socket diagnosis ({error}): {consequence}"
            ));
        }
    }
    None
}
