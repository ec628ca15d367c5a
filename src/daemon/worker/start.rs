//! How a worker starts, in its order: rules, queues, the supervisor's duplicates of them, chains, the
//! control socket, the word that it is ready.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use arc_swap::ArcSwap;

use super::{End, Recorder, Signals, Worker, send_ready};
use crate::clock;
use crate::control::lock::is_out_of_space;
use crate::control::server::ControlSocket;
use crate::daemon::ends::Ends;
use crate::daemon::filter::Filter;
use crate::daemon::history::History;
use crate::daemon::link::Link;
use crate::daemon::private_dns::Setting;
use crate::daemon::queues::{self, Queues};
use crate::daemon::rules::Loaded;
use crate::daemon::unseen::Unseen;
use crate::record::{self, ConnectionNames, Log};

/// Events between the queue threads and the recorder.
const EVENT_CAPACITY: usize = 1024;

/// What a worker starts with.
pub(super) struct Start {
    pub(super) config_path: Option<PathBuf>,
    pub(super) observe: Option<String>,
    pub(super) restarts: u32,
    pub(super) loaded: Loaded,
    pub(super) link: Link,
}

impl Start {
    pub(super) async fn and_serve(self) -> anyhow::Result<End> {
        let Self {
            config_path,
            observe,
            restarts,
            loaded,
            link,
        } = self;
        // First of all, so that a signal during the start stops the worker in good order.
        let signals = Signals::listen().context("cannot listen to signals")?;
        let mut filter = Filter::prepare(&loaded.config)?;
        let (sender, receiver) = record::channel(EVENT_CAPACITY);
        let rules = Arc::new(ArcSwap::new(Arc::clone(&loaded.ruleset)));
        let packages = Arc::new(ArcSwap::new(Arc::clone(&loaded.packages)));
        let history = History::start(&loaded.config.history, &packages);
        let recent = loaded.config.log.recent;
        let log = Arc::new(Log::new(recent, history.first, history.writer()));
        let names = Arc::new(ConnectionNames::default());
        let first_verdict = Arc::new(OnceLock::new());
        let settings = queues::Settings {
            queue: &loaded.config.queue,
            mark: loaded.config.firewall.mark,
            follow_mark: filter.follows.then_some(loaded.config.firewall.follow_mark),
            notrack: filter.notrack,
        };
        let queues = Queues::start(&settings, &rules, &sender, &first_verdict)?;
        let socket = match in_force(&link, &queues, &mut filter, &loaded) {
            Ok(socket) => socket,
            Err(error) => {
                queues.hold_no_more();
                // What this leaves the supervisor takes away.
                let _left = filter.remove();
                queues.stop().await;
                return Err(error);
            }
        };
        let recorder = Recorder::start(receiver, &log, &names);
        let worker = Worker {
            config_path,
            observe,
            loaded,
            rules,
            packages,
            log,
            history,
            recorder,
            names,
            open_ended: 0,
            ends: Ends::default(),
            link,
            filter,
            queues,
            unseen: Unseen::default(),
            private_dns: Setting::default(),
            restarts,
            since_unix_millis: clock::unix_millis(),
            first_verdict,
        };
        worker.serve(signals, socket).await
    }
}

/// The last steps of the start, in their order: the supervisor knows the queues before the first
/// packet can come into them.
fn in_force(
    link: &Link,
    queues: &Queues,
    filter: &mut Filter,
    loaded: &Loaded,
) -> anyhow::Result<Option<ControlSocket>> {
    for queue in queues.handles() {
        link.send_queue(queue)
            .context("cannot reach the supervisor")?;
    }
    filter.apply(loaded, queues.numbers())?;
    let socket = bind_control_socket(&loaded.config.control_socket)?;
    send_ready(link, loaded).context("cannot reach the supervisor")?;
    Ok(socket)
}

/// None where the disk is full: to filter is more than to be asked about it.
fn bind_control_socket(path: &Path) -> anyhow::Result<Option<ControlSocket>> {
    let failed = || format!("cannot make the control socket {}", path.display());
    match ControlSocket::bind(path) {
        Err(error) if is_out_of_space(&error) => {
            log::warn!("{}: {error}; status and log cannot be asked for", failed());
            Ok(None)
        }
        bound => bound.map(Some).with_context(failed),
    }
}
