//! What is kept on the disk, beside the daemon that writes it: killed, without room, and with names
//! that mean harm.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muzzle::decide::Outcome;
use muzzle::firewall::Family;
use muzzle::record::Record;

use crate::clients::{A, UdpAsker, query};
use crate::lab::{Daemon, Lab, addresses, wait_for};
use crate::running::{BLOCKED, ask, config, records, start, status};

const SOON: Duration = Duration::from_secs(5);

fn resolver() -> IpAddr {
    addresses(Family::V4).dns
}

fn ask_for(lab: &Lab, name: &str) {
    let asker = UdpAsker::new(lab, resolver());
    let _answer = asker.ask(&query(1, name, A));
}

fn folder(lab: &Lab) -> PathBuf {
    lab.folder().join("history/muzzle")
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.number).collect()
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

#[test]
fn records_outlive_a_killed_daemon_and_their_numbers_go_on() {
    let lab = Lab::new();
    let text = config(&lab, "");
    let daemon = lab.start_daemon(&text);
    for name in ["one", "two", "three"] {
        ask_for(&lab, &format!("{name}.{BLOCKED}"));
    }
    wait_for("the records", SOON, || records(&lab, &daemon).len() == 3);
    let before = records(&lab, &daemon);
    let history = status(&lab, &daemon).history.expect("one is kept");
    assert_eq!((history.records, history.lost), (3, 0));
    assert_eq!(history.since_unix_millis, Some(before[0].unix_millis));
    assert!(history.writes_last_hour > 0);
    assert_eq!(mode(&folder(&lab)), 0o700);
    assert_eq!(mode(&folder(&lab).join("records-000000000001.mzr")), 0o600);
    let config = daemon.config.clone();
    daemon.kill_both();

    let muzzle =
        |arguments: &str| lab.muzzle(&format!("--config {} {arguments}", config.display()));
    let said = muzzle("log --json");
    assert!(said.stderr.contains("is not running"), "{said:?}");
    let lines = said.ok();
    let kept: Vec<Record> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("each record is JSON"))
        .collect();
    assert_eq!(kept, before);
    let said = muzzle("log --follow");
    assert_eq!(said.code, Some(1), "{said:?}");

    let daemon = lab.start_daemon(&text);
    ask_for(&lab, &format!("four.{BLOCKED}"));
    wait_for("the record", SOON, || records(&lab, &daemon).len() == 4);
    let after = records(&lab, &daemon);
    assert_eq!(after[..3], before);
    assert_eq!(numbers(&after), [1, 2, 3, 4]);
    assert!(daemon.stop().success());
}

#[test]
fn what_is_pending_is_written_when_the_daemon_stops() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    ask_for(&lab, BLOCKED);
    let config = daemon.config.clone();
    assert!(daemon.stop().success());
    let said = lab.muzzle(&format!("--config {} log --json", config.display()));
    let record: Record = serde_json::from_str(&said.ok()).expect("one record");
    assert_eq!(record.name.as_deref(), Some(BLOCKED));
}

#[test]
fn the_log_shows_what_is_asked_for() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    for name in ["a.blocked.example", "free.example", "b.blocked.example"] {
        ask_for(&lab, name);
    }
    wait_for("the records", SOON, || records(&lab, &daemon).len() == 3);
    for (arguments, wanted) in [
        ("--action block", &[1, 3][..]),
        ("--action allow", &[2]),
        ("--name free.example", &[2]),
        ("--name *.blocked.example --recent 1", &[3]),
        ("--since 1h", &[1, 2, 3]),
        ("--until 1h", &[]),
        ("--recent 0", &[]),
        ("--app com.example.other", &[]),
    ] {
        let text = ask(&lab, &daemon, &format!("log --json {arguments}")).ok();
        let shown: Vec<Record> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("each record is JSON"))
            .collect();
        assert_eq!(numbers(&shown), wanted, "{arguments}");
    }
    for wrong in ["--since soon", "--name a..b", "--until 25:00"] {
        let said = ask(&lab, &daemon, &format!("log {wrong}"));
        assert!(matches!(said.code, Some(2 | 64)), "{said:?}");
    }
}

#[test]
fn names_that_mean_harm_do_none_in_any_output() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let long = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(43));
    let names = [
        format!("a\u{1b}[31m\r\n.{BLOCKED}"),
        format!("=cmd|' /C calc'!A0.{BLOCKED}"),
        format!("<script>alert(1)</script>.{BLOCKED}"),
        format!("\"quoted\",comma.{BLOCKED}"),
        format!("{long}.{BLOCKED}"),
    ];
    for name in &names {
        ask_for(&lab, name);
    }
    wait_for("the records", SOON, || {
        records(&lab, &daemon).len() == names.len()
    });
    for command in ["log", "log --json", "export", "export --format jsonl"] {
        let text = ask(&lab, &daemon, command).ok();
        let odd = text.chars().find(|char| char.is_control() && *char != '\n');
        assert_eq!(odd, None, "{command}: {text:?}");
        assert!(text.contains(&long), "{command}");
        let heading = usize::from(command == "export");
        assert_eq!(
            text.lines().count(),
            names.len() + heading,
            "{command}: {text}"
        );
    }
    let table = ask(&lab, &daemon, "export").ok();
    assert!(table.contains(",'=cmd|"), "{table}");
    assert!(
        table.contains("\"\"\"quoted\"\",comma.blocked.example\""),
        "{table}"
    );
}

#[test]
fn a_full_disk_keeps_records_in_memory_until_there_is_room() {
    let lab = Lab::new();
    let disk = lab.small_disk();
    let directory = disk.path.join("history");
    let text = config(&lab, "").replace(
        &folder(&lab).display().to_string(),
        &directory.display().to_string(),
    );
    let daemon = lab.start_daemon(&text);
    ask_for(&lab, BLOCKED);
    wait_for("the first record", SOON, || {
        records(&lab, &daemon).len() == 1
    });
    disk.fill();
    // More than fits into the room that its file has.
    let count = 80;
    for number in 0..count {
        let name = format!("{0}.{0}.{0}.{number}.{BLOCKED}", "x".repeat(60));
        ask_for(&lab, &name);
    }
    let all = || records(&lab, &daemon).len() == count + 1;
    wait_for("the records in memory", SOON, all);
    let warnings = status(&lab, &daemon).warnings;
    assert!(
        warnings
            .iter()
            .any(|it| it.contains("the history is not written")),
        "{warnings:?}"
    );
    disk.clear();
    wait_for("the records on the disk", SOON, || {
        all()
            && status(&lab, &daemon)
                .history
                .is_some_and(|it| it.records == 81)
    });
    let warnings = status(&lab, &daemon).warnings;
    assert!(
        !warnings.iter().any(|it| it.contains("history")),
        "{warnings:?}"
    );
    assert!(daemon.stop().success());
}

/// Starts a daemon that finds a history with one record, changed like this.
fn start_after(lab: &Lab, change: impl Fn(&mut Vec<u8>)) -> Daemon {
    let daemon = start(lab, "");
    ask_for(lab, BLOCKED);
    wait_for("the record", SOON, || records(lab, &daemon).len() == 1);
    let text = fs::read_to_string(&daemon.config).expect("just written");
    assert!(daemon.stop().success());
    let file = folder(lab).join("records-000000000001.mzr");
    let mut bytes = fs::read(&file).expect("it is there");
    change(&mut bytes);
    fs::write(&file, bytes).expect("root may");
    lab.start_daemon(&text)
}

#[test]
fn a_damaged_history_is_set_aside_and_named() {
    let lab = Lab::new();
    let daemon = start_after(&lab, |bytes| bytes[20] ^= 1 << 3);
    // What was in its one batch is lost; nothing follows it, as after a loss of power.
    wait_for("the daemon's start", SOON, || {
        records(&lab, &daemon).is_empty()
    });
    assert!(daemon.stop().success());

    let lab = Lab::new();
    let daemon = start_after(&lab, |bytes| bytes[3] ^= 1);
    let is_named = |it: &String| it.contains("records-000000000001.mzr.damaged-");
    wait_for("a warning", SOON, || {
        status(&lab, &daemon).warnings.iter().any(is_named)
    });
    let kept = records(&lab, &daemon);
    assert_eq!(kept[0].name.as_deref(), Some(BLOCKED), "it is whole");
    ask_for(&lab, BLOCKED);
    wait_for("the next record", SOON, || {
        numbers(&records(&lab, &daemon)) == [1, 2]
    });
    assert_eq!(kept[0].outcome, Outcome::Blocked);
    assert!(daemon.stop().success());
}

#[test]
fn a_history_of_a_newer_version_is_left_alone_and_names_are_refused_all_the_same() {
    let lab = Lab::new();
    let daemon = start_after(&lab, |bytes| {
        bytes[7] = 9;
        let sum = crc32fast::hash(&bytes[..8]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    });
    let file = folder(&lab).join("records-000000000001.mzr");
    let before = fs::read(&file).expect("it is there");
    let warnings = status(&lab, &daemon).warnings;
    assert!(
        warnings.iter().any(|it| it.contains("of version 9")),
        "{warnings:?}"
    );
    ask_for(&lab, BLOCKED);
    // From the daemon's memory.
    wait_for("the record", SOON, || {
        let shown = records(&lab, &daemon);
        shown.len() == 1 && shown[0].outcome == Outcome::Blocked
    });
    assert!(daemon.stop().success());
    assert_eq!(fs::read(&file).expect("it is there"), before);
}
