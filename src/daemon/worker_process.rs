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
use crate::decide::{Mode, UnixSeconds};
use crate::queue::{QueueHandle, occupancy};

/// From one look at a queue to the next, while packets wait in it.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// The same once packets had to be let pass: what follows from them, an answer for one, must not
/// wait as long again.
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(150);

/// A running worker.
pub(super) struct WorkerProcess {
    pub(super) child: Child,
    pub(super) link: Link,
    queues: Vec<WatchedQueue>,
    /// When to look at the queues again; none while nothing waits in any, and the signal of a
    /// packet is waited for instead.
    pub(super) look_at: Option<Moment>,
    /// When it is to be killed, because it does not stop.
    pub(super) kill_at: Option<Moment>,
}

/// A queue of the worker, looked at from outside.
struct WatchedQueue {
    handle: QueueHandle,
    watch: StallWatch,
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
            look_at: None,
            kill_at: None,
        })
    }

    /// Takes in what the worker says; how it is where it said that it is ready.
    pub(super) fn listen(&mut self) -> Option<(Mode, Option<UnixSeconds>)> {
        let mut ready = None;
        loop {
            match self.link.receive() {
                Ok(Some(Word::Queue(handle))) => self.watch(handle),
                Ok(Some(Word::Ready(mode, paused_until))) => ready = Some((mode, paused_until)),
                // Its end is told by SIGCHLD.
                Ok(Some(Word::End) | None) => return ready,
                Err(errno) => {
                    log::warn!("the line to the worker is broken: {errno}");
                    return ready;
                }
            }
        }
    }

    fn watch(&mut self, handle: QueueHandle) {
        if let Err(errno) = handle.signal_packets() {
            log::error!("queue {} cannot be watched: {errno}", handle.number());
        }
        let watch = StallWatch::default();
        self.queues.push(WatchedQueue { handle, watch });
        // Packets may have come before.
        self.look_at = Some(Moment::awake());
    }

    /// Looks whether the worker decides. To be called when a packet came while no look was due,
    /// and when one is.
    pub(super) fn look_at_queues(&mut self) {
        let (mut waits, mut dead, mut again) = (false, false, LOOK_AGAIN);
        for WatchedQueue { handle, watch } in &mut self.queues {
            let number = handle.number();
            match watch.look(occupancy(number)) {
                Look::Idle => {}
                Look::Busy => waits = true,
                Look::Stalled { newest } => {
                    log::warn!("queue {number} is not served: letting its packets pass");
                    warn_of(number, handle.accept_up_to(newest));
                    waits = true;
                }
                Look::Dead => {
                    log::error!("queue {number} is still not served: killing the worker");
                    dead = true;
                }
            }
            if watch.had_stalled() {
                again = LOOK_AGAIN_SOON;
            }
        }
        self.look_at = waits.then(|| Moment::awake().after(again));
        if dead {
            self.let_all_pass();
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
        self.let_all_pass();
        !self.queues.is_empty()
    }

    /// What comes from now on passes. What waits already is for the worker to decide.
    pub(super) fn hold_no_more(&self) {
        for WatchedQueue { handle, .. } in &self.queues {
            warn_of(handle.number(), handle.hold_no_more());
        }
    }

    /// What waits passes too.
    fn let_all_pass(&self) {
        self.hold_no_more();
        for WatchedQueue { handle, .. } in &self.queues {
            if let Some(held) = occupancy(handle.number()) {
                warn_of(handle.number(), handle.accept_up_to(held.sequence));
            }
        }
    }
}

fn warn_of(queue: u16, passed: nix::Result<()>) {
    if let Err(errno) = passed {
        log::warn!("cannot let the packets of queue {queue} pass: {errno}");
    }
}
