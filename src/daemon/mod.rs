//! The shell: start and stop order, signals, reload.
//!
//! Start: rules → queues → chains last. Stop: chains first → drain → queues. Between the two
//! nothing but the queue threads touches packets.

mod filter;
mod logging;
mod queues;
mod rules;
mod unseen;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::clock;
use crate::control::lock::InstanceLock;
use crate::control::protocol::Status;
use crate::control::server::{ControlSocket, Order};
use crate::inspect::Ruleset;
use crate::record::{self, Log};
use filter::Filter;
use queues::Queues;
use rules::Loaded;
use unseen::Unseen;

/// Events between the queue threads and the recorder.
const EVENT_CAPACITY: usize = 1024;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It could not start, or a queue failed; nothing is left behind in either case.
pub fn run(config: Option<&Path>) -> anyhow::Result<()> {
    logging::start();
    let loaded = Loaded::read(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    LocalSet::new().block_on(&runtime, Daemon::start_and_serve(config, loaded))
}

struct Daemon {
    config_path: Option<PathBuf>,
    loaded: Loaded,
    rules: Arc<ArcSwap<Ruleset>>,
    packages: Arc<ArcSwap<crate::apps::Packages>>,
    log: Arc<Log>,
    filter: Filter,
    queues: Queues,
    unseen: Unseen,
    since_unix_millis: u64,
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

impl Daemon {
    async fn start_and_serve(config_path: Option<&Path>, loaded: Loaded) -> anyhow::Result<()> {
        // First of all, so that a signal during the start stops the daemon in good order.
        let signals = Signals::listen().context("cannot listen to signals")?;
        let _lock = InstanceLock::take(&loaded.config.control_socket)?;
        let mut filter = Filter::prepare(&loaded.config)?;
        let (sender, receiver) = record::channel(EVENT_CAPACITY);
        let rules = Arc::new(ArcSwap::new(Arc::clone(&loaded.ruleset)));
        let packages = Arc::new(ArcSwap::new(Arc::clone(&loaded.packages)));
        let log = Arc::new(Log::new(loaded.config.log.recent));
        let settings = queues::Settings {
            queue: &loaded.config.queue,
            mark: loaded.config.firewall.mark,
            notrack: filter.keeps_out_of_conntrack(),
        };
        let queues = Queues::start(&settings, &rules, &sender)?;
        if let Err(error) = filter.apply(&loaded, queues.numbers()) {
            queues.stop().await;
            return Err(error);
        }
        let socket = match ControlSocket::bind(&loaded.config.control_socket) {
            Ok(socket) => socket,
            Err(error) => {
                filter.remove();
                queues.stop().await;
                let path = loaded.config.control_socket.display().to_string();
                return Err(error).context(format!("cannot make the control socket {path}"));
            }
        };
        tokio::task::spawn_local(record::run(
            receiver,
            Arc::clone(&log),
            Arc::clone(&packages),
        ));
        let daemon = Self {
            config_path: config_path.map(Path::to_owned),
            loaded,
            rules,
            packages,
            log,
            filter,
            queues,
            unseen: Unseen::default(),
            since_unix_millis: clock::unix_millis(),
        };
        daemon.serve(signals, socket).await
    }

    async fn serve(
        mut self,
        mut signals: Signals,
        socket: ControlSocket,
    ) -> anyhow::Result<()> {
        let (orders, mut incoming) = mpsc::channel(16);
        let server = tokio::task::spawn_local(socket.serve(Arc::clone(&self.log), orders));
        for warning in self.warnings() {
            log::warn!("{warning}");
        }
        let [dns, connections] = self.queues.numbers();
        log::info!("ready: DNS in queue {dns}, connections in queue {connections}");
        let end = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break Ok(()),
                _ = signals.interrupt.recv() => break Ok(()),
                _ = signals.hang_up.recv() => match self.reload() {
                    Ok(message) => log::info!("{message}"),
                    Err(message) => log::error!("{message}"),
                },
                Some(order) = incoming.recv() => self.carry_out(order),
                failure = self.queues.failure() => break Err(failure),
            }
        };
        log::info!("stopping");
        self.filter.remove();
        self.queues.stop().await;
        server.abort();
        // The socket's file goes with the task.
        let _aborted = server.await;
        end
    }

    fn carry_out(&mut self, order: Order) {
        // Whoever asked may be gone by now; that changes nothing.
        match order {
            Order::Status(answer) => {
                let _asker_gone = answer.send(self.status());
            }
            Order::Reload(answer) => {
                let result = self.reload();
                if let Err(message) = &result {
                    log::error!("{message}");
                }
                let _asker_gone = answer.send(result);
            }
        }
    }

    /// Reads everything again and swaps it whole; on any problem all stays as it was.
    fn reload(&mut self) -> Result<String, String> {
        let kept = "the rules in force stay as they are";
        let loaded = Loaded::read(self.config_path.as_deref())
            .map_err(|error| format!("{error:#}\n{kept}"))?;
        let restart = self.loaded.needs_restart_for(&loaded);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            return Err(format!(
                "{keys} changed: restart the daemon for that; {kept}"
            ));
        }
        let unseen = self.unseen.count(&self.filter, &self.queues);
        let applied = self
            .filter
            .apply(&loaded, self.queues.numbers())
            .map_err(|error| format!("{error:#}\n{kept}"))?;
        if applied {
            self.unseen.start_over(unseen, &self.queues);
        }
        self.rules.store(Arc::clone(&loaded.ruleset));
        self.packages.store(Arc::clone(&loaded.packages));
        self.log.set_capacity(loaded.config.log.recent);
        self.loaded = loaded;
        Ok(format!("reloaded: {}", self.loaded.summary()))
    }

    fn status(&self) -> Status {
        let config = &self.loaded.config;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since_unix_millis: self.since_unix_millis,
            mode: rules::word(config.mode),
            preset: rules::word(config.preset),
            config: self.loaded.path.as_ref().map_or_else(
                || "built-in defaults".to_owned(),
                |path| path.display().to_string(),
            ),
            endpoints: self.loaded.endpoints,
            rules: config.rules.len(),
            packages: self.loaded.packages.len(),
            queues: self
                .queues
                .status(self.unseen.count(&self.filter, &self.queues)),
            warnings: self.warnings(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.loaded
            .warnings
            .iter()
            .chain(&self.queues.warnings)
            .chain(self.filter.warnings())
            .cloned()
            .collect()
    }
}
