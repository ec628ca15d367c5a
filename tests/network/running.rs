//! A daemon at work on the lab's phone: its config, and what it says of itself.

use std::time::Duration;

use muzzle::control::protocol::{QueueStatus, Status};
use muzzle::record::Record;

use crate::lab::{APP_UID, Daemon, Finished, Lab, wait_for};

/// The package of [`APP_UID`].
pub(crate) const APP: &str = "com.example.app";
/// Blocked by [`config`]'s rule, as all below it.
pub(crate) const BLOCKED: &str = "blocked.example";
/// How long a record may take to be in the log.
const RECORDED: Duration = Duration::from_secs(3);

/// A config for `lab`: `text`, and what every test needs.
pub(crate) fn config(lab: &Lab, text: &str) -> String {
    named_config(lab, "muzzle", text)
}

/// The same for a daemon with this name.
pub(crate) fn named_config(lab: &Lab, name: &str, text: &str) -> String {
    let folder = lab.folder().display();
    let packages = format!("{folder}/packages.list");
    let line =
        format!("{APP} {APP_UID} 0 /data/user/0/{APP} default:targetSdkVersion=34 none\n");
    std::fs::write(&packages, line).expect("the lab's folder is there");
    format!(
        "{text}\n[control]\nsocket = \"{folder}/run/{name}.sock\"\n\
         [history]\ndirectory = \"{folder}/history/{name}\"\n\
         [apps]\npackages_list = \"{packages}\"\n\
         [[rule]]\nname = \"*.{BLOCKED}\"\naction = \"block\"\n"
    )
}

/// Starts a daemon with [`config`].
pub(crate) fn start(lab: &Lab, text: &str) -> Daemon {
    lab.start_daemon(&config(lab, text))
}

/// Runs a daemon that is expected to end by itself.
pub(crate) fn refused(lab: &Lab, config: &str) -> Finished {
    let file = lab.folder().join("refused.toml");
    std::fs::write(&file, config).expect("the lab's folder is there");
    lab.muzzle(&format!("--config {} daemon", file.display()))
}

/// Runs a subcommand with the daemon's own config.
pub(crate) fn ask(lab: &Lab, daemon: &Daemon, arguments: &str) -> Finished {
    lab.muzzle(&format!("--config {} {arguments}", daemon.config.display()))
}

/// Writes another config and has the daemon read it.
pub(crate) fn reload(lab: &Lab, daemon: &Daemon, text: &str) -> Finished {
    std::fs::write(&daemon.config, config(lab, text)).expect("the lab's folder is there");
    ask(lab, daemon, "reload")
}

pub(crate) fn status(lab: &Lab, daemon: &Daemon) -> Status {
    let text = ask(lab, daemon, "status --json").ok();
    serde_json::from_str(&text).expect("the status is JSON")
}

/// One of the queues: `dns` or `connections`.
pub(crate) fn queue(lab: &Lab, daemon: &Daemon, purpose: &str) -> QueueStatus {
    let queues = status(lab, daemon).queues.into_iter();
    let mut found = queues.filter(|queue| queue.purpose == purpose);
    found.next().expect("both queues are told of")
}

/// All records so far.
pub(crate) fn records(lab: &Lab, daemon: &Daemon) -> Vec<Record> {
    let text = ask(lab, daemon, "log --json --recent 1000000").ok();
    let record = |line| serde_json::from_str(line).expect("each record is JSON");
    text.lines().map(record).collect()
}

/// The first record that is `wanted`, as soon as there is one.
#[track_caller]
pub(crate) fn record(lab: &Lab, daemon: &Daemon, wanted: impl Fn(&Record) -> bool) -> Record {
    let mut found = None;
    wait_for("a record", RECORDED, || {
        found = records(lab, daemon).into_iter().find(&wanted);
        found.is_some()
    });
    found.expect("waited for")
}

/// What the daemon has not let pass of a test's traffic must not have left the phone in another
/// shape: counts packets at the phone's own door that look forged.
pub(crate) struct Door<'a> {
    lab: &'a Lab,
}

impl<'a> Door<'a> {
    /// Counts from now on.
    pub(crate) fn watch(lab: &'a Lab) -> Self {
        for (program, foreign) in DOORS {
            for rule in [
                "-m mark --mark 0x8000000/0x8000000",
                &format!("-s {foreign}"),
            ] {
                lab.phone(&format!(
                    "{program} -w 5 -t mangle -A POSTROUTING ! -o lo {rule}"
                ))
                .ok();
            }
        }
        Self { lab }
    }

    /// # Panics
    /// A forged packet went through a real interface.
    #[track_caller]
    pub(crate) fn assert_nothing_forged_left(&self) {
        for (program, _) in DOORS {
            let line = format!("{program} -w 5 -t mangle -nvxL POSTROUTING");
            let text = self.lab.phone(&line).ok();
            let rules = text.lines().skip(2);
            let rules: Vec<_> = rules.filter(|line| !line.contains("muzzle_")).collect();
            assert!(rules.len() >= 2, "{text}");
            for rule in rules {
                assert!(rule.trim_start().starts_with("0 "), "{text}");
            }
        }
    }
}

/// Each program, and where no packet of the phone may come from: the servers' side.
const DOORS: [(&str, &str); 2] = [
    ("iptables-legacy", "198.51.100.0/24,203.0.113.0/24"),
    ("ip6tables-legacy", "2001:db8:53::/64,2001:db8:7::/64"),
];
