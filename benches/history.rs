//! What the history costs: `cargo bench --bench history`. Records are made of what the shipped
//! catalogue lists and of other names, as a phone asks for them.

#![allow(clippy::unwrap_used, reason = "a benchmark stops where anything fails")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Evidence, Facts, FlowKey, Protocol, Uid, UnixSeconds};
use muzzle::history::block::HEADER_BYTES;
use muzzle::history::{FileError, Limits, Query, Reader, RecordsBlock, Store, UnixHours};
use muzzle::inspect::{Ruleset, Sighting, SightingKind};
use muzzle::parse::DomainName;
use muzzle::record::Event;
use nix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 11;
const MILLION: u64 = 1_000_000;
/// 2026-11-20 12:00:00 UTC.
const NOON_MILLIS: u64 = 1_795_176_000_000;
const LIMITS: Limits = Limits {
    records: Duration::from_secs(3650 * 86_400),
    counters: Duration::from_secs(3650 * 86_400),
    bytes: 1 << 30,
};

fn main() {
    // The part that is to be measured by itself runs in a process of its own.
    let folder = std::env::args().skip_while(|it| it != "--read").nth(1);
    if let Some(folder) = folder {
        return read_all(Path::new(&folder));
    }
    let phone = Phone::new();
    encode(&phone);
    for per_minute in [10, 30, 100, 6000] {
        write(&phone, per_minute);
    }
    let folder = std::env::temp_dir().join(format!("muzzle-bench-{}", std::process::id()));
    fill(&phone, &folder);
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .arg("--read")
        .arg(&folder)
        .status()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(status.success());
}

/// Of this process: what others do on the machine does not count.
fn cpu_time() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap())
}

fn encode(phone: &Phone) {
    let events: Vec<_> = (0..20_000)
        .map(|number| phone.event(number, number * 10))
        .collect();
    let mut figures = Vec::new();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let start = cpu_time();
        let blocks = phone.blocks(1, &events);
        figures.push((cpu_time() - start).as_secs_f64() * 1e9 / events.len() as f64);
        bytes = blocks.iter().map(Vec::len).sum();
    }
    figures.sort_by(f64::total_cmp);
    let nanos = figures[ROUNDS / 2];
    println!(
        "encoding: {nanos:.0} ns of CPU time a record, {} bytes each",
        bytes / events.len()
    );
}

/// An hour of batches, one a minute.
fn write(phone: &Phone, per_minute: u64) {
    let folder = PathBuf::from(format!("target/muzzle-bench-{}", std::process::id()));
    let mut store = Store::open(&folder, LIMITS, NOON_MILLIS).unwrap();
    let before = written_bytes();
    let mut spent = Duration::ZERO;
    for minute in 0..60 {
        let millis = NOON_MILLIS + minute * 60_000;
        let events: Vec<_> = (0..per_minute)
            .map(|number| phone.event(minute * per_minute + number, millis + number * 10))
            .collect();
        let start = cpu_time();
        let blocks = phone.blocks(1 + minute * per_minute, &events);
        store.append(&blocks, millis).unwrap();
        spent += cpu_time() - start;
    }
    let flash = written_bytes() - before;
    let bytes = store.extent().bytes;
    println!(
        "{per_minute} records a minute: {} writes an hour, {} KiB of files, {} KiB to the disk; {} \
         bytes a record; {:.1} µs of CPU time a record with all",
        store.take_writes(),
        bytes / 1024,
        flash / 1024,
        bytes / (60 * per_minute),
        spent.as_secs_f64() * 1e6 / (60 * per_minute) as f64
    );
    drop(store);
    fs::remove_dir_all(folder).unwrap();
}

/// What this process had written to disks (proc_pid_io(5)).
fn written_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// A million records over a month.
fn fill(phone: &Phone, folder: &Path) {
    let step_millis = 30 * 86_400_000 / MILLION;
    let mut store = Store::open(folder, LIMITS, NOON_MILLIS).unwrap();
    for begin in (0..MILLION).step_by(1000) {
        let events: Vec<_> = (begin..begin + 1000)
            .map(|number| phone.event(number, NOON_MILLIS + number * step_millis))
            .collect();
        let millis = NOON_MILLIS + begin * step_millis;
        store
            .append(&phone.blocks(1 + begin, &events), millis)
            .unwrap();
    }
    println!("a million records: {} MiB", store.extent().bytes >> 20);
}

fn read_all(folder: &Path) {
    let mut reader = Reader::open(folder).unwrap();
    let start = cpu_time();
    let mut rows = 0;
    let mut tries: HashMap<(Option<String>, String), u64> = HashMap::new();
    reader
        .rows(UnixHours(0), UnixHours(u32::MAX), |row| {
            rows += 1;
            *tries.entry((row.app, row.name)).or_default() += row.tries;
            Ok::<_, FileError>(())
        })
        .unwrap();
    println!(
        "its counts: {rows} rows in {:.0} ms, resident at most {} MiB",
        (cpu_time() - start).as_secs_f64() * 1e3,
        resident_mib()
    );
    let start = cpu_time();
    let query = Query {
        name: Some(muzzle::history::NameFilter::from_text("*.miui.com").unwrap()),
        ..Query::default()
    };
    let mut found = 0;
    reader
        .records(&query, |_| {
            found += 1;
            Ok::<_, FileError>(())
        })
        .unwrap();
    println!(
        "all of a name and below: {found} records in {:.0} ms, resident at most {} MiB",
        (cpu_time() - start).as_secs_f64() * 1e3,
        resident_mib()
    );
    let start = cpu_time();
    let begin = reader.begin_of_newest(&Query::default(), 1000).unwrap();
    assert_eq!(begin, MILLION - 999);
    println!(
        "where the newest thousand begin: {:.0} ms",
        (cpu_time() - start).as_secs_f64() * 1e3
    );
}

/// The most this process ever had in memory (proc_pid_status(5)).
fn resident_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024
}

struct Phone {
    ruleset: Arc<Ruleset>,
    packages: Arc<Packages>,
    names: Vec<DomainName>,
}

impl Phone {
    fn new() -> Self {
        let lines: Vec<_> = (0..40)
            .map(|app| {
                format!(
                    "com.example.app{app} {} 0 /data/user/0/x default none",
                    10_100 + app
                )
            })
            .collect();
        let packages = Packages::parse(&lines.join("\n"));
        let catalogue = Arc::new(Catalogue::built_in());
        let listed = catalogue
            .endpoints
            .iter()
            .filter_map(|it| it.pattern.name())
            .cloned();
        let others = (0..200).map(|number| {
            DomainName::from_text(&format!("api{number}.service.example.com")).unwrap()
        });
        let names = listed.take(100).chain(others).collect();
        Self {
            ruleset: Arc::new(Ruleset::new(&Config::default(), catalogue, &packages)),
            packages: Arc::new(packages),
            names,
        }
    }

    /// The event with this number: few names often, many seldom.
    fn event(&self, number: u64, unix_millis: u64) -> Event {
        let draw =
            usize::try_from(number.wrapping_mul(6_364_136_223_846_793_005) >> 40).unwrap();
        let among = if draw.is_multiple_of(4) {
            self.names.len()
        } else {
            20
        };
        let name = self.names[draw / 4 % among].clone();
        let uid = Some(Uid(10_100 + u32::try_from(draw / 4 % among % 40).unwrap()));
        let is_dns = !draw.is_multiple_of(3);
        let flow = FlowKey {
            protocol: if is_dns { Protocol::Udp } else { Protocol::Tcp },
            local: (
                [10, 77, 0, 2],
                30_000 + u16::try_from(draw % 20_000).unwrap(),
            )
                .into(),
            remote: if is_dns {
                ([203, 0, 113, 53], 53).into()
            } else {
                (
                    [198, 51, 100, u8::try_from(draw / 4 % among % 256).unwrap()],
                    443,
                )
                    .into()
            },
        };
        let (kind, evidence) = if is_dns {
            (
                SightingKind::Question(1),
                Evidence::Question {
                    name: &name,
                    qtype: 1,
                },
            )
        } else {
            (SightingKind::Sni, Evidence::Sni(&name))
        };
        let policy = &self.ruleset.policy;
        let now = UnixSeconds::from_millis(unix_millis);
        let decision = policy.decide(
            &Facts {
                flow,
                attribution: uid.into(),
                evidence,
            },
            now,
        );
        Event {
            unix_millis,
            sighting: Sighting {
                flow,
                attribution: uid.into(),
                forwarded: false,
                kind,
                outcome: policy.outcome(&decision, now),
                name,
                asked: DomainName::root(),
                decision,
            },
            ruleset: Arc::clone(&self.ruleset),
        }
    }

    /// As the writer makes them.
    fn blocks(&self, first: u64, events: &[Event]) -> Vec<Vec<u8>> {
        let mut blocks = Vec::new();
        let mut open: Option<RecordsBlock> = None;
        for (number, event) in (first..).zip(events) {
            let is_next = |open: &RecordsBlock| open.takes(number, event, &self.packages);
            if !open.as_ref().is_some_and(is_next) {
                blocks.extend(open.take().map(RecordsBlock::seal));
            }
            open.get_or_insert_with(|| {
                RecordsBlock::new(number, &self.ruleset, &self.packages)
            })
            .push(event, &[], None);
        }
        blocks.extend(open.map(RecordsBlock::seal));
        assert!(blocks.iter().all(|block| block.len() > HEADER_BYTES));
        blocks
    }
}
