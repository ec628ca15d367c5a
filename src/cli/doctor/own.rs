//! What Muzzle itself says: the plain doctor, the running daemon, its newest records, the apps.

use super::Context;
use super::page::Page;
use crate::apps::{AppId, Packages, UidKind};
use crate::clock::unix_millis;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Body, Call};
use crate::decide::Uid;
use crate::record::Record;

/// Records that a bundle has.
const RECORDS: usize = 100;

/// What `muzzle doctor` says.
pub(super) fn findings(context: &Context, page: &mut Page) {
    let mut text = Vec::new();
    let found = match &context.iptables {
        Ok(iptables) => super::examine(iptables, &context.config),
        Err(why) => Err(anyhow::anyhow!("{why}")),
    };
    match found.and_then(|found| Ok(super::print(&found, &mut text)?)) {
        Ok(()) => page.quote_lines(&String::from_utf8_lossy(&text)),
        Err(error) => page.missing("doctor", format!("{error:#}")),
    }
}

/// The running daemon.
pub(super) fn status(context: &Context, page: &mut Page) {
    page.value("version", env!("CARGO_PKG_VERSION"));
    page.value("mode in the config", &format!("{:?}", context.config.mode));
    page.value(
        "preset in the config",
        &format!("{:?}", context.config.preset),
    );
    let status = match ask(context, Call::Status) {
        Ok(Body::Status(status)) => status,
        Ok(_) => return page.missing("status", "another answer"),
        Err(error) => return page.missing("status", error),
    };
    page.value("mode", &status.mode);
    page.value("restarts of the worker", &status.restarts.to_string());
    let first = status.first_verdict_after_boot_millis;
    let first = first.map_or_else(|| "-".into(), |millis| format!("{millis} ms after boot"));
    page.value("first verdict", &first);
    page.value("hotspot", &status.hotspot.to_string());
    page.value("own rules", &status.rules.to_string());
    page.value("packages known", &status.packages.to_string());
    for queue in &status.queues {
        let counters = serde_json::to_string(&queue.counters).unwrap_or_default();
        let unseen = queue.passed_unseen.map(|it| it.to_string());
        page.say(format!(
            "{} queue {}: {counters}, passed unseen {}\n",
            queue.purpose,
            queue.number,
            unseen.as_deref().unwrap_or("unknown"),
        ));
    }
    for warning in &status.warnings {
        page.say("warning: ");
        page.quote_lines(warning);
    }
}

/// The newest records: names as the catalogue has them, ages instead of times.
pub(super) fn records(context: &Context, page: &mut Page) {
    let call = Call::Log {
        recent: RECORDS,
        follow: false,
    };
    let mut client = match connect(context, call) {
        Ok(client) => client,
        Err(error) => return page.missing("log", error),
    };
    let packages = packages(context).unwrap_or_default();
    loop {
        match client.reply() {
            Ok(Some(Body::Record(record))) => tell(&record, &packages, context.with_apps, page),
            Ok(Some(Body::Missed(_) | Body::Status(_) | Body::Changed(_))) => {}
            Ok(Some(Body::Done(_) | Body::Error(_)) | None) => return,
            Err(error) => return page.missing("the rest of the log", error),
        }
    }
}

fn tell(record: &Record, packages: &Packages, with_apps: bool, page: &mut Page) {
    let age = unix_millis().saturating_sub(record.unix_millis);
    let qtype = record.qtype.as_deref().unwrap_or_default();
    page.say(format!(
        "{:>5} s ago  {:?}  {:?} {qtype}  ",
        age / 1000,
        record.outcome,
        record.evidence,
    ));
    // Below a catalogue's `*.x` the first labels may be an id.
    let name = record.entry.as_ref().or(record.name.as_ref());
    page.quote(
        name.cloned()
            .unwrap_or_else(|| record.remote.ip().to_string()),
    );
    page.say("  ");
    let uid = record.uid.map(Uid);
    match uid {
        Some(uid) if with_apps => page.say(packages.label(uid)),
        Some(uid) if uid.app_id().kind() == UidKind::System => {
            page.say(system_name(uid.app_id()));
        }
        Some(uid) => page.say(format!("{:?}", uid.app_id().kind()).to_lowercase()),
        None if record.client.is_some() => page.say("hotspot client"),
        None => page.say("nobody"),
    }
    page.say("\n");
}

fn system_name(app: AppId) -> String {
    app.system_name()
        .map_or_else(|| format!("system uid {}", app.0), str::to_owned)
}

/// How many apps there are and, where the owner wants it, which.
pub(super) fn apps(context: &Context, page: &mut Page) {
    let path = context.config.packages_list.display().to_string();
    match super::command::file(&path) {
        Ok(text) => {
            let packages = Packages::parse(&text);
            page.value("packages", &packages.len().to_string());
            page.value("lines not understood", &packages.skipped().to_string());
            if context.with_apps {
                let names = text
                    .lines()
                    .filter_map(|line| line.split_once(' '))
                    .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()));
                for (name, uid) in names {
                    page.value(name, uid);
                }
            } else {
                page.say("which ones: not in here (--with-apps)\n");
            }
        }
        Err(why) => page.missing("packages.list", why),
    }
}

fn packages(context: &Context) -> Option<Packages> {
    let text = std::fs::read_to_string(&context.config.packages_list).ok()?;
    Some(Packages::parse(&text))
}

fn connect(context: &Context, call: Call) -> Result<Client, ClientError> {
    let mut client = Client::connect(&context.config.control_socket)?;
    client.call(call)?;
    Ok(client)
}

fn ask(context: &Context, call: Call) -> Result<Body, ClientError> {
    connect(context, call)?.reply()?.ok_or(ClientError::HungUp)
}
