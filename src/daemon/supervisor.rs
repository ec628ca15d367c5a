//! The process that outlives the worker: small, deaf to the network, and there to let traffic
//! flow again when the worker crashes or hangs.
//!
//! It holds a duplicate of each queue's socket, and is told of packets by a signal: the first arms
//! a look at the kernel's counters a third of a second later, further ones are not listened to until
//! then, and silence disarms it, so that an idle phone is not woken. While a duplicate is open,
//! `--queue-bypass` does not apply although the worker is dead: so the duplicates close first of
//! all, after what they hold was let pass.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::boot::{self, BootGuard};
use super::module::Module;
use super::restarts::{self, Next, Restarts};
use super::sweep::{self, Sweep, Swept};
use super::worker_process::WorkerProcess;
use super::{EXIT_CHAINS_LEFT, Options, process};
use crate::cli::EXIT_USAGE;
use crate::clock::{self, Moment};
use crate::config::Config;
use crate::control::lock::{InstanceLock, LockError};
use crate::decide::{Mode, UnixSeconds};
use crate::firewall::{Iptables, NotFound};

/// How long the worker may take to stop in good order.
const STOP_LIMIT: Duration = Duration::from_secs(5);

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
    /// SIGIO: a packet has come into a queue.
    packets: SignalFd,
    module: Option<Module>,
    boot: Option<BootGuard>,
    /// When this boot counts as a good one.
    settle_at: Option<Moment>,
    lock: Option<InstanceLock>,
    worker: Option<WorkerProcess>,
    /// Chains that the last worker left, and when to try to take them away again. Another is
    /// started only after that: it would wait for the same lock, and count as failed.
    sweep: Option<(Sweep, Moment)>,
    restarts: Restarts,
    start_at: Option<Moment>,
    stop: Option<Stop>,
    /// All is over, with this exit status, but for chains that are left.
    end: Option<ExitCode>,
    /// Whether a worker of this supervisor ever got as far as its chains.
    was_ready: bool,
}

/// Why the worker is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The root manager has switched the module off; it may switch it on again.
    Disabled,
    /// The daemon was told to end.
    End,
    /// The worker is to start anew, under other circumstances.
    Renewal,
}

impl<'a> Supervisor<'a> {
    fn new(options: &'a Options) -> anyhow::Result<Self> {
        let listened = SigSet::from_iter([
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ]);
        let listen = |signals: SigSet| {
            // Blocked, they come through the descriptor.
            signals.thread_block()?;
            let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
            SignalFd::with_flags(&signals, flags)
        };
        let signals = listen(listened).context("cannot listen to signals")?;
        let packets = listen(SigSet::from_iter([Signal::SIGIO]));
        let packets = packets.context("cannot listen to the signal of packets")?;
        let module = options.module.as_deref().map(Module::watch).transpose();
        let boot = if options.service {
            guard_boot(options.config.as_deref())
        } else {
            None
        };
        let mut supervisor = Self {
            options,
            signals,
            packets,
            module: module.context("cannot watch the module's folder")?,
            settle_at: boot.as_ref().map(|_| Moment::awake().after(boot::SETTLED)),
            boot,
            lock: None,
            worker: None,
            sweep: None,
            restarts: Restarts::default(),
            start_at: Some(Moment::awake()),
            stop: None,
            end: None,
            was_ready: false,
        };
        supervisor.heed_module();
        Ok(supervisor)
    }

    fn supervise(mut self) -> anyhow::Result<ExitCode> {
        loop {
            self.do_what_is_due()?;
            if let (Some(code), None) = (self.end, &self.sweep) {
                return Ok(code);
            }
            self.wait()?;
            self.heed_signals();
            self.heed_module();
            let packet_came = self.heed_packets();
            let Some(worker) = &mut self.worker else {
                if self.stop == Some(Stop::End) {
                    self.settle_boot();
                    self.end = self.end.or(Some(ExitCode::SUCCESS));
                }
                continue;
            };
            let ready = worker.listen();
            let now = Moment::awake();
            if worker.look_at.map_or(packet_came, |at| at <= now) {
                worker.look_at_queues();
            }
            let status = worker
                .child
                .try_wait()
                .context("cannot wait for the worker")?;
            self.was_ready |= ready.is_some();
            // A worker that was told to stop while it started may have become ready first.
            if let Some((mode, paused_until)) = ready.filter(|_| self.stop.is_none()) {
                match mode {
                    _ if let Some(until) = paused_until => {
                        let now = UnixSeconds::from_millis(clock::unix_millis());
                        let text = format!(
                            "nothing is blocked until {}",
                            clock::face(until, Some(now))
                        );
                        self.describe("paused", &text);
                    }
                    Mode::Enforce => self.describe("protecting", "telemetry is refused"),
                    Mode::Observe => self.describe("observing", "nothing is blocked"),
                }
            }
            if let Some(status) = status {
                self.worker_ended(status);
            }
        }
    }

    fn do_what_is_due(&mut self) -> anyhow::Result<()> {
        let now = Moment::awake();
        let due = |at: &mut Option<Moment>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.settle_at) {
            let only_observed = self.objection().is_some();
            self.settle_boot();
            if only_observed && self.stop.is_none() && self.worker.is_some() {
                log::info!("this boot has lasted: blocks are carried out again");
                self.stop_worker(Stop::Renewal);
            }
        }
        if let Some((sweep, _)) = self.sweep.take_if(|(_, at)| *at <= now) {
            self.sweep(sweep);
        }
        if self.sweep.is_none() && due(&mut self.start_at) {
            self.start_worker()?;
        }
        if let Some(worker) = &mut self.worker
            && due(&mut worker.kill_at)
        {
            log::error!("the worker does not stop: killing it");
            worker.kill();
        }
        Ok(())
    }

    fn start_worker(&mut self) -> anyhow::Result<()> {
        if let Err(error) = self.take_lock() {
            let why = match &error {
                LockError::Held(_) => "another daemon is running",
                LockError::Create { .. } => "its lock cannot be made",
            };
            let error = anyhow::Error::new(error);
            if !self.options.service {
                return Err(error);
            }
            log::error!("{error:#}");
            self.stay_off(why, ExitCode::FAILURE);
            return Ok(());
        }
        let restarts = self.restarts.total();
        let worker = WorkerProcess::start(self.options, restarts, self.objection());
        self.worker = Some(worker.context("cannot start the worker")?);
        Ok(())
    }

    /// Tries to take the chains away, and again later where another program holds their lock.
    fn sweep(&mut self, mut sweep: Sweep) {
        if sweep.attempt() == Swept::NotYet {
            self.sweep = Some((sweep, Moment::awake().after(sweep::PAUSE)));
        }
    }

    /// Takes the lock that makes this the only daemon, once. The worker will complain of a config
    /// that cannot be read.
    fn take_lock(&mut self) -> Result<(), LockError> {
        if self.lock.is_none()
            && let Ok(places) = Config::find_places(self.options.config.as_deref())
        {
            match InstanceLock::take(&places.control_socket) {
                Ok(lock) => self.lock = Some(lock),
                // To filter is more than to be alone; a second daemon finds the rules in force.
                Err(error) if error.is_out_of_space() => {
                    log::warn!("no lock: {:#}", anyhow::Error::new(error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn objection(&self) -> Option<String> {
        self.boot.as_ref().and_then(BootGuard::objection)
    }

    /// Sleeps until a signal, a change in the module's folder, a word of the worker, a packet
    /// while the queues are not being looked at, or the next thing that is due.
    fn wait(&self) -> anyhow::Result<()> {
        let mut waited = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(module) = &self.module {
            waited.push(PollFd::new(module.as_fd(), PollFlags::POLLIN));
        }
        let due = match &self.sweep {
            Some((_, again)) => Some(*again),
            None => self.start_at,
        };
        let mut due = earlier(due, self.settle_at);
        if let Some(worker) = &self.worker {
            waited.push(PollFd::new(worker.link.as_fd(), PollFlags::POLLIN));
            due = earlier(earlier(due, worker.kill_at), worker.look_at);
            if worker.look_at.is_none() {
                waited.push(PollFd::new(self.packets.as_fd(), PollFlags::POLLIN));
            }
        }
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let millis = due.millis_since(Moment::awake());
            // A millisecond more, so that it is due when it is looked at.
            i32::try_from(millis + 1)
                .ok()
                .and_then(|millis| PollTimeout::try_from(millis).ok())
                .unwrap_or(PollTimeout::MAX)
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
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.stop_worker(Stop::End),
                Ok(Signal::SIGHUP) => match &self.worker {
                    Some(worker) => worker.signal(Signal::SIGHUP),
                    // Whoever asks for a reload has mended something: try again.
                    None if self.stop.is_none() => {
                        self.restarts = Restarts::default();
                        self.start_at = Some(Moment::awake());
                    }
                    None => {}
                },
                // SIGCHLD: the worker is asked about in any case.
                _ => {}
            }
        }
    }

    /// Whether a packet came since the last call. To be asked before the kernel's counters are,
    /// so that none is missed in between.
    fn heed_packets(&mut self) -> bool {
        let mut came = false;
        while let Ok(Some(_)) = self.packets.read_signal() {
            came = true;
        }
        came
    }

    /// Follows the root manager's switch.
    fn heed_module(&mut self) {
        let Some(module) = &mut self.module else {
            return;
        };
        module.take_changes();
        module.reap();
        if module.is_gone() && self.stop != Some(Stop::End) {
            log::info!("the module is gone");
            self.stop_worker(Stop::End);
            return;
        }
        let Some(module) = &self.module else { return };
        match (module.is_enabled(), self.stop) {
            (false, None | Some(Stop::Renewal)) => {
                log::info!("the module is switched off");
                self.stop_worker(Stop::Disabled);
            }
            (true, Some(Stop::Disabled)) => {
                log::info!("the module is switched on");
                self.restarts = Restarts::default();
                if self.worker.is_some() {
                    // It is on its way out still.
                    self.stop = Some(Stop::Renewal);
                } else {
                    self.stop = None;
                    self.start_at = Some(Moment::awake());
                }
            }
            _ => {}
        }
    }

    fn stop_worker(&mut self, why: Stop) {
        self.stop = Some(why);
        self.start_at = None;
        if why == Stop::Disabled {
            self.describe("off", "the module is disabled");
        }
        if let Some(worker) = &mut self.worker {
            // At once, whatever the worker is busy with and whoever holds the tables.
            worker.hold_no_more();
            worker.signal(Signal::SIGTERM);
            worker.kill_at = Some(Moment::awake().after(STOP_LIMIT));
        }
    }

    /// The worker is gone: lets its packets pass, takes its chains away, and decides what is next.
    fn worker_ended(&mut self, status: ExitStatus) {
        // A worker that has bound no queue has touched no chain: those that may be there are
        // another daemon's.
        let had_queues = self.worker.take().is_some_and(WorkerProcess::release);
        if had_queues && !(status.success() && self.stop.is_some()) {
            match find_iptables(self.options.config.as_deref()) {
                Ok(iptables) => self.sweep(Sweep::new(iptables)),
                Err(error) => log::error!("{error}"),
            }
        }
        match self.stop {
            Some(Stop::End) => {
                self.settle_boot();
                self.end = Some(exit_code(status));
                return;
            }
            Some(Stop::Disabled) => return,
            Some(Stop::Renewal) => {
                self.stop = None;
                self.start_at = Some(Moment::awake());
                return;
            }
            None => {}
        }
        // It has said why. A wrong config stays wrong; at boot anything else may pass by itself,
        // a lock that somebody else holds for instance.
        if status.code() == Some(EXIT_USAGE.into()) {
            self.stay_off("the config or the catalogue is wrong", exit_code(status));
            return;
        }
        if !self.was_ready && !self.options.service {
            self.stay_off("it could not start", exit_code(status));
            return;
        }
        log::error!("the worker ended ({status}); traffic passes unfiltered");
        match self.restarts.failed(Moment::awake()) {
            Next::After(pause) => {
                log::info!("starting it again in {} ms", pause.as_millis());
                self.describe("failed", "starting again; traffic passes meanwhile");
                self.start_at = Some(Moment::awake().after(pause));
            }
            Next::StayOff => {
                let count = restarts::MAX_FAILURES;
                let why = format!("its worker failed {count} times in 10 minutes");
                self.stay_off(&why, ExitCode::FAILURE);
            }
        }
    }

    /// Muzzle stays off, and says so. A service waits for somebody to switch it on again.
    fn stay_off(&mut self, why: &str, code: ExitCode) {
        log::error!("{why}: Muzzle stays off, and nothing is filtered");
        self.describe("off", &format!("{why}; see the log"));
        if !self.options.service {
            self.end = Some(code);
        }
    }

    /// This boot has lasted, or ends for Muzzle in good order.
    fn settle_boot(&mut self) {
        if let Some(boot) = &mut self.boot {
            boot.settle();
        }
    }

    fn describe(&mut self, state: &'static str, text: &str) {
        if let Some(module) = &mut self.module {
            module.describe(state, text);
        }
    }
}

/// The guard of this boot, where its note can be kept.
fn guard_boot(config: Option<&Path>) -> Option<BootGuard> {
    let socket = Config::find_places(config).ok()?.control_socket;
    let folder = socket.parent()?;
    if let Err(error) = InstanceLock::make_folder(folder) {
        log::warn!("cannot make {}: {error}", folder.display());
    }
    BootGuard::start(folder)
        .inspect_err(|error| log::warn!("boots are not counted: {error:#}"))
        .ok()
}

/// What takes the chains away. The config may be broken by now; then the usual iptables will do.
fn find_iptables(config: Option<&Path>) -> Result<Iptables, NotFound> {
    let settings = Config::find(config).map(|(config, _)| config.firewall);
    Iptables::find(settings.unwrap_or_default().iptables.as_deref())
}

/// The worker's own exit code; failure where a signal ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        // All else went well, and the chains are this process's concern.
        Some(EXIT_CHAINS_LEFT) => ExitCode::SUCCESS,
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(other).min()
}
