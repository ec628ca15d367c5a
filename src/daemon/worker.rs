//! The process that decides: it owns the queues and the chains, serves the control socket, and
//! ends when its supervisor does.

mod change;
mod start;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

use self::start::Start;
use super::ends::Ends;
use super::filter::Filter;
use super::history::History;
use super::link::Link;
use super::open;
use super::package_watch::PackageWatch;
use super::private_dns::Setting;
use super::queues::Queues;
use super::rules::{self, Loaded};
use super::sweep::{self, Sweep, Swept};
use super::unseen::Unseen;
use super::watch::TableWatch;
use super::{Options, process};
use crate::apps::Packages;
use crate::clock::{self, Moment};
use crate::control::lock::{InstanceLock, LockError};
use crate::control::protocol::Status;
use crate::control::server::{ControlSocket, Order, Served};
use crate::decide::{PrivateDns, UnixSeconds};
use crate::inspect::Ruleset;
use crate::record::{self, ConnectionNames, EventReceiver, Log};

/// How a worker ended that was not told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing of it is left.
    Clean,
    /// The supervisor is to take the chains away: another program holds the lock.
    ChainsLeft,
}

/// See [`super::work`].
pub(super) fn run(options: &Options, restarts: u32) -> anyhow::Result<End> {
    process::set_name("muzzle-worker");
    process::unblock_signals().context("cannot open the signal mask")?;
    if options.service {
        process::set_oom_score(process::WORKER_OOM_SCORE);
    }
    let link = Link::from_stdin().context("there is no line to a supervisor")?;
    let (config, observe) = (options.config.as_deref(), options.observe.as_deref());
    let loaded = Loaded::read(config, observe, PrivateDns::Unknown, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let start = Start {
        config_path: options.config.clone(),
        observe: options.observe.clone(),
        restarts,
        loaded,
        link,
    };
    LocalSet::new().block_on(&runtime, start.and_serve())
}

struct Worker {
    config_path: Option<PathBuf>,
    observe: Option<String>,
    loaded: Loaded,
    rules: Arc<ArcSwap<Ruleset>>,
    packages: Arc<ArcSwap<Packages>>,
    log: Arc<Log>,
    history: History,
    recorder: Recorder,
    names: Arc<ConnectionNames>,
    open_ended: u64,
    ends: Ends,
    link: Link,
    filter: Filter,
    queues: Queues,
    unseen: Unseen,
    private_dns: Setting,
    restarts: u32,
    since_unix_millis: u64,
    first_verdict: Arc<OnceLock<Moment>>,
}

/// The signals that the daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// The task that moves events into the log.
struct Recorder {
    over: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Recorder {
    fn start(events: EventReceiver, log: &Arc<Log>, names: &Arc<ConnectionNames>) -> Self {
        let (over, is_over) = oneshot::channel();
        let run = record::run(events, Arc::clone(log), Arc::clone(names), is_over);
        Self {
            over,
            task: tokio::task::spawn_local(run),
        }
    }

    /// Ends it when everything sent by now is in the log.
    async fn stop(self) {
        let _ended = self.over.send(());
        let _ended = self.task.await;
    }
}

fn send_ready(link: &Link, loaded: &Loaded) -> nix::Result<()> {
    let pause = loaded.ruleset.policy.pause(now()).map(|pause| pause.until);
    link.send_ready(loaded.config.mode, pause)
}

fn now() -> UnixSeconds {
    UnixSeconds::from_millis(clock::unix_millis())
}

impl Worker {
    async fn serve(
        mut self,
        mut signals: Signals,
        socket: Option<ControlSocket>,
    ) -> anyhow::Result<End> {
        let supervisor = self
            .link
            .stream()
            .context("cannot listen to the supervisor")?;
        let mut tables = TableWatch::start();
        let mut list = PackageWatch::start(&self.loaded.config.packages_list);
        let (orders, mut incoming) = mpsc::channel(16);
        let mut server = socket.map(|socket| self.serve_clients(socket, &orders));
        self.catch_up_with_choices();
        for warning in self.warnings() {
            log::warn!("{warning}");
        }
        let [dns, connections] = self.queues.numbers();
        log::info!("ready: DNS in queue {dns}, connections in queue {connections}");
        // After the chains, so that none slips through in between.
        if let Some(ended) = self.end_open_connections() {
            log::info!("{ended}");
        }
        self.ask_for_private_dns();
        let mut is_orphan = false;
        let failure = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break None,
                _ = signals.interrupt.recv() => break None,
                _ = signals.hang_up.recv() => match self.reload().await {
                    Ok(message) => log::info!("{message}"),
                    Err(message) => log::error!("{message}"),
                },
                Some(order) = incoming.recv() => self.carry_out(order).await,
                failure = self.queues.failure() => break Some(failure),
                setting = self.private_dns.changed() => {
                    log::info!("Private DNS is now {}", rules::word(setting));
                    if let Err(message) = self.reload().await {
                        log::error!("{message}");
                    }
                }
                () = list.changed() => self.read_packages_again(),
                () = tables.due() => {
                    if !self.mend_tables() {
                        tables.look_again();
                    }
                    // The network has changed, perhaps by the same hand as the setting.
                    self.ask_for_private_dns();
                    if server.is_none() {
                        // There may be room by now; where there is none it has been said.
                        let socket = ControlSocket::bind(&self.loaded.config.control_socket);
                        server = socket.ok().map(|socket| self.serve_clients(socket, &orders));
                    }
                }
                () = self.ends.due() => self.something_has_ended(),
                // It never says anything: this is its end.
                _ = supervisor.readable() => {
                    log::error!("the supervisor is gone");
                    is_orphan = true;
                    break None;
                }
            }
        };
        log::info!("stopping");
        // At once, however long the tables take.
        self.queues.hold_no_more();
        let left = self.filter.remove();
        self.queues.stop().await;
        self.recorder.stop().await;
        self.history.stop().await;
        if let Some(server) = server {
            server.abort();
            // The socket's file goes with the task.
            let _aborted = server.await;
        }
        match (failure, left) {
            (Some(failure), _) => Err(failure),
            (None, Some(sweep)) if is_orphan => {
                finish(sweep, &self.loaded.config.control_socket).await;
                Ok(End::Clean)
            }
            (None, Some(_)) => Ok(End::ChainsLeft),
            (None, None) => Ok(End::Clean),
        }
    }

    fn serve_clients(
        &self,
        socket: ControlSocket,
        orders: &mpsc::Sender<Order>,
    ) -> JoinHandle<()> {
        let served = Served {
            log: Arc::clone(&self.log),
            history: self.history.writer(),
            packages: Arc::clone(&self.packages),
        };
        tokio::task::spawn_local(socket.serve(served, orders.clone()))
    }

    async fn carry_out(&mut self, order: Order) {
        // Whoever asked may be gone by now; that changes nothing.
        match order {
            Order::Status(answer) => {
                let _asker_gone = answer.send(self.status());
            }
            Order::Change(change, answer) => {
                let result = self.change(&change).await;
                // Names are not for the system's log.
                match &result {
                    Ok(changed) if changed.now.is_none() => log::info!("{}", changed.done),
                    Ok(_) => log::info!("what is decided by command has changed"),
                    Err(_) => log::info!("a change by command was refused"),
                }
                let _asker_gone = answer.send(result);
            }
            Order::Reload(answer) => {
                let result = self.reload().await;
                if let Err(message) = &result {
                    log::error!("{message}");
                }
                let _asker_gone = answer.send(result);
            }
        }
    }

    /// The answer comes by itself.
    fn ask_for_private_dns(&mut self) {
        if self.loaded.asks_android {
            self.private_dns.ask();
        }
    }

    /// Reads everything again and swaps it whole; on any problem all stays as it was.
    async fn reload(&mut self) -> Result<String, String> {
        let kept = "the rules in force stay as they are";
        let (path, observe) = (self.config_path.as_deref(), self.observe.as_deref());
        let setting = self.private_dns.known();
        let loaded = Loaded::read(path, observe, setting, Some(&self.loaded))
            .map_err(|error| format!("{error:#}\n{kept}"))?;
        let restart = self.loaded.needs_restart_for(&loaded);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            return Err(format!(
                "{keys} changed: restart the daemon for that; {kept}"
            ));
        }
        let applied = self.apply(&loaded);
        if !applied.map_err(|error| format!("{error:#}\n{kept}"))? {
            let _later = self.mend_tables();
        }
        self.swap(loaded);
        self.ask_for_private_dns();
        let ended = open::in_words(self.end_refused_since().await);
        let ended = ended.map_or_else(String::new, |ended| format!("; {ended}"));
        Ok(format!("reloaded: {}{ended}", self.loaded.summary()))
    }

    /// Has the tables fit `loaded`; says whether that changed anything.
    fn apply(&mut self, loaded: &Loaded) -> anyhow::Result<bool> {
        let unseen = self.unseen.count(&self.filter, &self.queues);
        let applied = self.filter.apply(loaded, self.queues.numbers())?;
        if applied {
            self.unseen.start_over(unseen, &self.queues);
        }
        Ok(applied)
    }

    /// From here on `loaded` decides.
    fn swap(&mut self, loaded: Loaded) {
        self.rules.store(Arc::clone(&loaded.ruleset));
        self.log.tell_all(&self.loaded.packages);
        self.packages.store(Arc::clone(&loaded.packages));
        self.log.set_capacity(loaded.config.log.recent);
        self.history.set(&loaded.config.history);
        self.loaded = loaded;
        self.heed_choices();
    }

    /// Ends what the rules that have just come into force refuse; how many.
    async fn end_refused_since(&mut self) -> u64 {
        // By then the names that were judged by the rules before have been recorded.
        tokio::time::sleep(2 * record::GATHER).await;
        self.end_refused()
    }

    fn end_refused(&mut self) -> u64 {
        let ended = open::end_refused(&self.loaded.ruleset, &self.names, &self.log);
        self.open_ended += ended;
        ended
    }

    /// Apps were installed or removed: their rules and names follow.
    fn read_packages_again(&mut self) {
        let loaded = self.loaded.with_choices(self.loaded.choices.clone());
        if let Some(warning) = &loaded.package_warning {
            log::warn!("{warning}");
        }
        if loaded.packages == self.loaded.packages {
            self.loaded.package_warning = loaded.package_warning;
        } else {
            log::info!("{} packages now", loaded.packages.len());
            self.swap(loaded);
        }
    }

    /// Ends what is open and refused by the rules in force; says so where there was anything.
    fn end_open_connections(&mut self) -> Option<String> {
        open::in_words(self.end_refused())
    }

    /// Looks whether somebody has taken our rules apart, and mends them. False where that is to
    /// be tried again soon.
    fn mend_tables(&mut self) -> bool {
        let unseen = self.unseen.count(&self.filter, &self.queues);
        match self.filter.mend() {
            Ok(wrong) if wrong.is_empty() => true,
            Ok(wrong) => {
                self.unseen.start_over(unseen, &self.queues);
                for wrong in wrong {
                    log::warn!("{wrong}: somebody has changed the rules; they are mended");
                }
                true
            }
            Err(error) => {
                let over = !error.is_for_now();
                let error = anyhow::Error::new(error);
                log::error!("the rules cannot be looked after: {error:#}");
                over
            }
        }
    }

    fn status(&self) -> Status {
        let config = &self.loaded.config;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::os::unix::process::parent_id(),
            restarts: self.restarts,
            first_verdict_after_boot_millis: self.first_verdict.get().map(|moment| moment.0),
            since_unix_millis: self.since_unix_millis,
            mode: rules::word(config.mode),
            preset: rules::word(config.preset),
            config: self.loaded.path.as_ref().map_or_else(
                || "built-in defaults".to_owned(),
                |path| path.display().to_string(),
            ),
            endpoints: self.loaded.catalogue.endpoints.len(),
            rules: config.rules.len(),
            choices: self.loaded.ruleset.policy.chosen().in_force(now()),
            paused_until_unix_seconds: self
                .loaded
                .ruleset
                .policy
                .pause(now())
                .map(|pause| pause.until.0),
            packages: self.loaded.packages.len(),
            open_ended: self.open_ended,
            hotspot: self.filter.hotspot_clients(),
            queues: self
                .queues
                .status(self.unseen.count(&self.filter, &self.queues)),
            history: self.history.status(),
            warnings: self.warnings(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        [
            self.loaded.warnings.as_slice(),
            self.loaded.package_warning.as_slice(),
            self.queues.warnings.as_slice(),
            self.filter.warnings(),
            &self.history.warnings(),
        ]
        .concat()
    }
}

/// Takes the chains away without a supervisor, as soon as the lock is free. A daemon that is started
/// meanwhile has chains of the same names: whoever holds the instance lock owns them.
async fn finish(mut sweep: Sweep, socket: &Path) {
    loop {
        tokio::time::sleep(sweep::PAUSE).await;
        match InstanceLock::take(socket) {
            Err(LockError::Held(_)) => return,
            _locked if sweep.attempt() != Swept::NotYet => return,
            _locked => {}
        }
    }
}
