//! What `muzzle top`, `report` and `suspects` take with a million records of a week, and where
//! nearly each of them is of another name: `cargo bench --bench report`.

#![allow(clippy::unwrap_used, reason = "a benchmark stops where anything fails")]
#![allow(
    dead_code,
    reason = "what the tests make up is more than is needed here"
)]

#[path = "../tests/history/events.rs"]
mod events;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use events::Phone;
use muzzle::clock::{awake_micros, unix_millis};
use muzzle::history::{Limits, RecordsBlock, Store};
use muzzle::inspect::SightingKind;
use muzzle::parse::DomainName;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const RECORDS: u64 = 1_000_000;
const HOURS: u64 = 168;
const HOUR_MILLIS: u64 = 3_600_000;
const ROUNDS: usize = 5;
const COMMANDS: &[&[&str]] = &[
    &["top"],
    &["top", "apps", "--by", "retries"],
    &["report"],
    &["report", "--html", "/dev/null"],
    &["report", "--json"],
    &["suspects"],
    &["explain", "999000"],
];

fn main() {
    println!("median of {ROUNDS} rounds, {RECORDS} records in {HOURS} hours:");
    measure("60 names", |number| {
        format!("host{}.miui.example", number % 60)
    });
    measure("a name each", |number| {
        format!("n{number}.some.longer.name.example")
    });
    println!("the most memory any of them had: {} KiB", peak_kib());
}

fn measure(what: &str, name: impl Fn(u64) -> String) {
    let folder =
        Folder(std::env::temp_dir().join(format!("muzzle-bench-{}", std::process::id())));
    fill(&folder.0, name);
    // No daemon listens there.
    let config = format!(
        "[control]\nsocket = \"/nonexistent/socket\"\n[history]\ndirectory = \"{}\"\n",
        folder.0.display()
    );
    std::fs::write(folder.0.with_extension("toml"), config).unwrap();
    for command in COMMANDS {
        let mut costs: Vec<_> = (0..ROUNDS).map(|_| run(command, &folder.0)).collect();
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (wall, cpu) = costs[ROUNDS / 2];
        let command = command.join(" ");
        println!("  {what:<12} muzzle {command:<28} {wall:>6.0} ms, {cpu:>6.0} ms of CPU time");
    }
}

/// The folder of a history, gone in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
        let _gone = std::fs::remove_file(self.0.with_extension("toml"));
    }
}

fn fill(folder: &Path, name: impl Fn(u64) -> String) {
    let phone = Phone::new();
    let day = Duration::from_secs(86_400);
    let limits = Limits {
        records: day * 30,
        counters: day * 365,
        bytes: 1 << 30,
    };
    let now = unix_millis();
    let mut store = Store::open(folder, limits, now).unwrap();
    let (mut number, per_hour) = (1, RECORDS / HOURS);
    for hour in 0..HOURS {
        let start = now - (HOURS - 1 - hour) * HOUR_MILLIS;
        let mut blocks = Vec::new();
        let mut block: Option<RecordsBlock> = None;
        for place in 0..per_hour {
            let millis = start - (per_hour - place) * 5;
            let text = match number % 4 {
                0 => "sa.api.intl.miui.com".to_owned(),
                1 => "data.mistat.intl.xiaomi.com".to_owned(),
                _ => name(number),
            };
            let target = DomainName::from_text(&text).unwrap();
            let uid = [
                10_123,
                10_200,
                0,
                10_300 + u32::try_from(number % 40).unwrap(),
            ];
            let uid = uid[usize::try_from(number % 4).unwrap()];
            let event = phone.sighting(
                millis,
                target,
                DomainName::root(),
                SightingKind::Sni,
                Some(uid),
                "192.0.2.53",
            );
            if !block
                .as_ref()
                .is_some_and(|it| it.takes(number, &event, &phone.packages))
            {
                blocks.extend(block.take().map(RecordsBlock::seal));
            }
            block
                .get_or_insert_with(|| {
                    RecordsBlock::new(number, &phone.ruleset, &phone.packages)
                })
                .push(&event, &[], None);
            number += 1;
        }
        blocks.extend(block.map(RecordsBlock::seal));
        store.append(&blocks, now).unwrap();
    }
}

/// Runs a command; returns how long it took and how much CPU time of that, in milliseconds.
fn run(arguments: &[&str], folder: &Path) -> (f64, f64) {
    let (start, cpu) = (awake_micros(), cpu_micros());
    let status = Command::new(env!("CARGO_BIN_EXE_muzzle"))
        .args(arguments)
        .arg("--config")
        .arg(folder.with_extension("toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{arguments:?}");
    let wall = (awake_micros() - start) as f64 / 1000.0;
    (wall, (cpu_micros() - cpu) as f64 / 1000.0)
}

/// CPU time of all commands that have ended.
fn cpu_micros() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(TimeValLike::num_microseconds)
        .sum()
}

/// The most memory that a command which has ended had resident.
fn peak_kib() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
}
