//! The process that outlives the worker: small, deaf to the network, and there to let traffic
//! flow again when the worker crashes or hangs.
//!
//! It holds a duplicate of each queue's socket, and polls it one-shot: a packet arms a look at
//! the kernel's counters half a second later, and silence disarms it, so that an idle phone is
//! not woken. While a duplicate is open, `--queue-bypass` does not apply although the worker is
//! dead: so the duplicates close first of all, after what they hold was let pass.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::link::{Link, Word};
use super::restarts::{Next, Restarts};
use super::stall::{Look, StallWatch};
use super::{Options, process};
use crate::clock::Moment;
use crate::config::Config;
use crate::firewall::Iptables;
use crate::queue::{QueueHandle, occupancy};

/// From one look at a queue to the next, while packets wait in it.
const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// How long the worker may take to stop in good order.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Tries to empty a queue that packets still come into.
const RELEASE_ROUNDS: usize = 8;

/// Runs the worker until it is told to stop, and again whenever it fails.
///
/// # Errors
/// Signals cannot be listened to, or the worker cannot be started at all.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    process::unblock_signals().context("cannot open the signal mask")?;
    process::leave_session();
    if options.service {
        process::leave_cgroup();
        process::set_oom_score(process::SUPERVISOR_OOM_SCORE);
    }
    Supervisor::new(options)?.supervise()
}

struct Supervisor<'a> {
    options: &'a Options,
    signals: SignalFd,
    worker: Option<WorkerProcess>,
    restarts: Restarts,
    start_at: Option<Moment>,
    stopping: bool,
    /// Whether a worker of this supervisor ever got as far as its chains.
    was_ready: bool,
}

struct WorkerProcess {
    child: Child,
    link: Link,
    queues: Vec<WatchedQueue>,
    kill_at: Option<Moment>,
}

struct WatchedQueue {
    handle: QueueHandle,
    watch: StallWatch,
    look_at: Option<Moment>,
}

impl<'a> Supervisor<'a> {
    fn new(options: &'a Options) -> anyhow::Result<Self> {
        let listened = SigSet::from_iter([
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ]);
        // Blocked, they come through the descriptor.
        listened.thread_block().context("cannot block signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals =
            SignalFd::with_flags(&listened, flags).context("cannot listen to signals")?;
        Ok(Self {
            options,
            signals,
            worker: None,
            restarts: Restarts::default(),
            start_at: Some(Moment::now()),
            stopping: false,
            was_ready: false,
        })
    }

    fn supervise(mut self) -> anyhow::Result<ExitCode> {
        loop {
            if self.start_at.is_some_and(|at| at <= Moment::now()) {
                self.start_at = None;
                let worker = WorkerProcess::start(self.options, self.restarts.total());
                self.worker = Some(worker.context("cannot start the worker")?);
            }
            self.wait()?;
            self.heed_signals();
            if let Some(worker) = &mut self.worker {
                self.was_ready |= worker.listen();
                worker.look_at_queues();
                worker.kill_if_due();
                let status = worker
                    .child
                    .try_wait()
                    .context("cannot wait for the worker")?;
                if let Some(status) = status
                    && let Some(code) = self.worker_ended(status)
                {
                    return Ok(code);
                }
            } else if self.stopping {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Sleeps until a signal, a word of the worker, a packet in a queue that is not being looked
    /// at, or the next thing that is due.
    fn wait(&self) -> anyhow::Result<()> {
        let mut waited = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut due = self.start_at;
        if let Some(worker) = &self.worker {
            waited.push(PollFd::new(worker.link.as_fd(), PollFlags::POLLIN));
            due = earlier(due, worker.kill_at);
            for queue in &worker.queues {
                match queue.look_at {
                    Some(at) => due = earlier(due, Some(at)),
                    None => waited.push(PollFd::new(queue.handle.as_fd(), PollFlags::POLLIN)),
                }
            }
        }
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let millis = due.millis_since(Moment::now());
            // A millisecond more, so that it is due when it is looked at.
            u16::try_from(millis + 1).map_or(PollTimeout::MAX, PollTimeout::from)
        });
        match poll(&mut waited, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("cannot wait"),
        }
    }

    fn heed_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(signal @ (Signal::SIGTERM | Signal::SIGINT)) => {
                    self.stopping = true;
                    self.start_at = None;
                    if let Some(worker) = &mut self.worker {
                        worker.signal(signal);
                        worker.kill_at = Some(in_future(STOP_LIMIT));
                    }
                }
                Ok(signal @ Signal::SIGHUP) => match &self.worker {
                    Some(worker) => worker.signal(signal),
                    // Whoever asks for a reload has mended something: try again.
                    None => self.start_at = Some(Moment::now()),
                },
                // SIGCHLD: the worker is asked about in any case.
                _ => {}
            }
        }
    }

    /// The worker is gone: lets its packets pass, takes its chains away, and says what is next;
    /// an exit code where this is the end.
    fn worker_ended(&mut self, status: ExitStatus) -> Option<ExitCode> {
        // A worker that has bound no queue has touched no chain: those that may be there are
        // another daemon's.
        let had_queues = self.worker.take().is_some_and(WorkerProcess::release);
        if had_queues && !(status.success() && self.stopping) {
            remove_chains(self.options.config.as_deref());
        }
        if self.stopping {
            return Some(exit_code(status));
        }
        if !self.was_ready {
            // It has said why; trying again would not change it.
            return Some(exit_code(status));
        }
        log::error!("the worker ended ({status}); traffic passes unfiltered");
        match self.restarts.failed(Moment::now()) {
            Next::After(pause) => {
                log::info!("starting it again in {} ms", pause.as_millis());
                self.start_at = Some(in_future(pause));
                None
            }
            Next::StayOff => {
                log::error!(
                    "the worker failed {} times in 10 minutes: Muzzle stays off; nothing is \
                     filtered until it is started again",
                    super::restarts::MAX_FAILURES
                );
                Some(ExitCode::FAILURE)
            }
        }
    }
}

impl WorkerProcess {
    fn start(options: &Options, restarts: u32) -> anyhow::Result<Self> {
        let (link, theirs) = Link::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(config) = &options.config {
            command.arg("--config").arg(config);
        }
        command.args(["worker", "--restarts", &restarts.to_string()]);
        if options.service {
            command.arg("--service");
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

    /// Takes in what the worker says; whether it said that it is ready.
    fn listen(&mut self) -> bool {
        let mut ready = false;
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
                Ok(Some(Word::Ready)) => ready = true,
                // Its end is told by SIGCHLD.
                Ok(Some(Word::End) | None) => return ready,
                Err(errno) => {
                    log::warn!("the line to the worker is broken: {errno}");
                    return ready;
                }
            }
        }
    }

    fn look_at_queues(&mut self) {
        let now = Moment::now();
        let mut stalled = false;
        for queue in &mut self.queues {
            if queue.look_at.is_some_and(|at| at > now) {
                continue;
            }
            match queue.watch.look(occupancy(queue.handle.number())) {
                Look::Idle => queue.look_at = None,
                Look::Busy => queue.look_at = Some(in_future(LOOK_AGAIN)),
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

    fn kill_if_due(&mut self) {
        if self.kill_at.is_some_and(|at| at <= Moment::now()) {
            log::error!("the worker does not stop: killing it");
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.kill_at = None;
        // It may be gone already.
        let _gone = self.child.kill();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // It has not been waited for, so the pid is still its own.
        let _gone = kill(pid, signal);
    }

    /// Lets what the dead worker held pass and closes the duplicates: from then on the rules let
    /// everything pass by themselves (`--queue-bypass`). Whether it had any queue.
    fn release(self) -> bool {
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

/// Takes the chains away. The config may be broken by now; then the usual iptables will do.
fn remove_chains(config: Option<&Path>) {
    let settings = Config::find(config)
        .map(|(config, _)| config.firewall)
        .unwrap_or_default();
    let program: Option<PathBuf> = settings.iptables;
    let removed = Iptables::find(program.as_deref())
        .map(|iptables| iptables.with_lock_wait(settings.lock_wait).remove());
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(errors)) => {
            for error in errors {
                log::error!("{:#}", anyhow::Error::new(error));
            }
        }
        Err(error) => log::error!("{error}"),
    }
}

/// The worker's own exit code; failure where a signal ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(other).min()
}

fn in_future(pause: Duration) -> Moment {
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    Moment(Moment::now().0.saturating_add(millis))
}
