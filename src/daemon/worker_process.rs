//! The worker as the supervisor sees it: a child process, the line to it, and a duplicate of each
//! of its queues.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Options;
use super::link::{Link, Word};
use super::stall::{Look, StallWatch};
use crate::clock::Moment;
use crate::decide::Mode;
use crate::queue::{QueueHandle, occupancy};

/// From one look at a queue to the next, while packets wait in it.
const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// Tries to empty a queue that packets still come into.
const RELEASE_ROUNDS: usize = 8;

/// A running worker.
pub(super) struct WorkerProcess {
    pub(super) child: Child,
    pub(super) link: Link,
    pub(super) queues: Vec<WatchedQueue>,
    /// When it is to be killed, because it does not stop.
    pub(super) kill_at: Option<Moment>,
}

/// A queue of the worker, looked at from outside.
pub(super) struct WatchedQueue {
    pub(super) handle: QueueHandle,
    watch: StallWatch,
    /// When to look again; none while nothing waits, and a packet is waited for instead.
    pub(super) look_at: Option<Moment>,
}

impl WorkerProcess {
    pub(super) fn start(
        options: &Options,
        restarts: u32,
        objection: Option<String>,
    ) -> anyhow::Result<Self> {
        let (link, theirs) = Link::pair()?;
        // This very program, also when its file was replaced or its folder is out of reach by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("muzzle");
        if let Some(config) = &options.config {
            command.arg("--config").arg(config);
        }
        command.args(["worker", "--restarts", &restarts.to_string()]);
        if options.service {
            command.arg("--service");
        }
        if let Some(file) = &options.log_file {
            command.arg("--log-file").arg(file);
        }
        if let Some(objection) = objection {
            command.arg("--observe-because").arg(objection);
        }
        // Bionic would ask netd about every socket, and netd may be the one that hangs.
        command.env("ANDROID_NO_USE_FWMARK_CLIENT", "1");
        let child = command.stdin(Stdio::from(theirs)).spawn()?;
        Ok(Self {
            child,
            link,
            queues: Vec::new(),
            kill_at: None,
        })
    }

    /// Takes in what the worker says; its mode where it said that it is ready.
    pub(super) fn listen(&mut self) -> Option<Mode> {
        let mut ready = None;
        loop {
            match self.link.receive() {
                Ok(Some(Word::Queue(handle))) => {
                    let watch = StallWatch::default();
                    self.queues.push(WatchedQueue {
                        handle,
                        watch,
                        look_at: None,
                    });
                }
                Ok(Some(Word::Ready(mode))) => ready = Some(mode),
                // Its end is told by SIGCHLD.
                Ok(Some(Word::End) | None) => return ready,
                Err(errno) => {
                    log::warn!("the line to the worker is broken: {errno}");
                    return ready;
                }
            }
        }
    }

    pub(super) fn look_at_queues(&mut self) {
        let now = Moment::awake();
        let mut stalled = false;
        for queue in &mut self.queues {
            if queue.look_at.is_some_and(|at| at > now) {
                continue;
            }
            match queue.watch.look(occupancy(queue.handle.number())) {
                Look::Idle => queue.look_at = None,
                Look::Busy => queue.look_at = Some(Moment::awake().after(LOOK_AGAIN)),
                Look::Stalled { newest } => {
                    log::error!(
                        "queue {} has been held for {} ms: letting its packets pass",
                        queue.handle.number(),
                        LOOK_AGAIN.as_millis()
                    );
                    accept(&queue.handle, newest);
                    stalled = true;
                }
            }
        }
        if stalled {
            self.kill();
        }
    }

    pub(super) fn kill(&mut self) {
        self.kill_at = None;
        // It may be gone already.
        let _gone = self.child.kill();
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // It has not been waited for, so the pid is still its own.
        let _gone = kill(pid, signal);
    }

    /// Lets what the dead worker held pass and closes the duplicates: from then on the rules let
    /// everything pass by themselves (`--queue-bypass`). Whether it had any queue.
    pub(super) fn release(self) -> bool {
        for queue in &self.queues {
            let number = queue.handle.number();
            for _ in 0..RELEASE_ROUNDS {
                match occupancy(number).filter(|queue| queue.waiting > 0) {
                    Some(held) => accept(&queue.handle, held.sequence),
                    None => break,
                }
            }
        }
        !self.queues.is_empty()
    }
}

fn accept(handle: &QueueHandle, newest: u32) {
    if let Err(errno) = handle.accept_up_to(newest) {
        log::warn!(
            "cannot let the packets of queue {} pass: {errno}",
            handle.number()
        );
    }
}
