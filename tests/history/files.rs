//! The folder of a history: writers that are killed, damage, and what is kept for how long.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muzzle::decide::Outcome;
use muzzle::history::block::{HEADER_BYTES, Header};
use muzzle::history::{
    FileError, Limits, NameFilter, Query, Reader, Row, Store, StoreError, UnixHours,
};

use crate::events::{NOON_MILLIS, Phone};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR_MILLIS: u64 = 3_600_000;
pub(crate) const LIMITS: Limits = Limits {
    records: DAY.saturating_mul(30),
    counters: DAY.saturating_mul(365),
    bytes: 64 << 20,
};

/// A folder of its own, gone in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("muzzle-{name}-{}", std::process::id()));
        let _none = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Store {
        Store::open(&self.0, LIMITS, NOON_MILLIS).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
        let _gone = fs::remove_file(&self.0);
    }
}

fn numbers(folder: &Path, query: &Query) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut reader = Reader::open(folder).unwrap();
    let read = reader.records(query, |record| {
        numbers.push(record.number);
        Ok::<_, FileError>(())
    });
    read.unwrap();
    numbers
}

pub(crate) fn all(folder: &Path) -> Vec<u64> {
    numbers(folder, &Query::default())
}

/// Decisions and tries by hour, name and outcome.
type Counts = BTreeMap<(u32, String, Outcome), (u64, u64)>;

fn counts(folder: &Path) -> Counts {
    let mut counts = Counts::new();
    let mut reader = Reader::open(folder).unwrap();
    let read = reader.rows(UnixHours(0), UnixHours(u32::MAX), |row: Row| {
        let count = counts
            .entry((row.hour.0, row.name, row.outcome))
            .or_default();
        count.0 += row.decisions;
        count.1 += row.tries;
        Ok::<_, FileError>(())
    });
    read.unwrap();
    counts
}

fn decisions(folder: &Path) -> u64 {
    counts(folder)
        .values()
        .map(|(decisions, _)| decisions)
        .sum()
}

#[test]
fn what_was_written_is_found_by_number_name_outcome_and_time() {
    let folder = Folder::new("found");
    let phone = Phone::new();
    let mut store = folder.open();
    for batch in 0..5 {
        let millis = NOON_MILLIS + batch * 60_000;
        store
            .append(&phone.batch(1 + batch * 10, 10, millis, 100), millis)
            .unwrap();
    }
    assert_eq!(all(&folder.0), (1..=50).collect::<Vec<_>>());
    let found = |query: Query| numbers(&folder.0, &query);
    let from_number = Query {
        from_number: 48,
        ..Query::default()
    };
    assert_eq!(found(from_number), [48, 49, 50]);
    let times = Query {
        since_millis: Some(NOON_MILLIS + 60_500),
        until_millis: Some(NOON_MILLIS + 120_100),
        ..Query::default()
    };
    assert_eq!(found(times), [16, 17, 18, 19, 20, 21]);
    let name = Query {
        name: Some(NameFilter::from_text("*.blocked.example").unwrap()),
        app: Some("com.example.app".into()),
        outcomes: vec![Outcome::Blocked],
        ..Query::default()
    };
    assert_eq!(found(name.clone()), [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]);
    let mut reader = Reader::open(&folder.0).unwrap();
    for (count, begin) in [(0, u64::MAX), (1, 47), (3, 37), (10, 2), (11, 0)] {
        assert_eq!(
            reader.begin_of_newest(&name, count).unwrap(),
            begin,
            "{count}"
        );
    }
    assert_eq!(reader.end().unwrap(), 51);
    assert!(reader.damaged().is_empty());
    let extent = store.extent();
    assert_eq!(
        (extent.records, extent.since_millis),
        (50, Some(NOON_MILLIS))
    );
    assert_eq!(store.take_writes(), 5);
}

#[test]
fn a_history_that_is_not_there_is_empty_and_one_writer_is_enough() {
    let folder = Folder::new("empty");
    assert!(all(&folder.0).is_empty());
    assert_eq!(Reader::open(&folder.0).unwrap().end().unwrap(), 1);
    let store = folder.open();
    let other = Store::open(&folder.0, LIMITS, NOON_MILLIS);
    assert!(matches!(other, Err(StoreError::Held(_))), "{other:?}");
    drop(store);
    folder.open();
}

#[test]
fn a_batch_cut_off_anywhere_takes_nothing_older_with_it() {
    let folder = Folder::new("cut");
    let phone = Phone::new();
    let mut store = folder.open();
    store
        .append(&phone.batch(1, 5, NOON_MILLIS, 1), NOON_MILLIS)
        .unwrap();
    let file = folder.0.join("records-000000000001.mzr");
    let whole = fs::metadata(&file).unwrap().len();
    store
        .append(&phone.batch(6, 5, NOON_MILLIS, 1), NOON_MILLIS)
        .unwrap();
    drop(store);
    let bytes = fs::read(&file).unwrap();
    for length in (0..bytes.len()).rev() {
        fs::write(&file, &bytes[..length]).unwrap();
        let left = if length as u64 >= whole { 5 } else { 0 };
        assert_eq!(all(&folder.0), (1..=left).collect::<Vec<_>>(), "{length}");
        let mut store = folder.open();
        store
            .append(&phone.batch(left + 1, 2, NOON_MILLIS, 1), NOON_MILLIS)
            .unwrap();
        assert_eq!(
            all(&folder.0),
            (1..=left + 2).collect::<Vec<_>>(),
            "{length}"
        );
        let aside = store.extent().damaged;
        assert!(aside.is_empty(), "{length}: {aside:?}");
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_what_is_whole_in_it_goes_on() {
    let folder = Folder::new("damage");
    let phone = Phone::new();
    let mut store = folder.open();
    for batch in 0..6 {
        store
            .append(&phone.batch(1 + batch * 4, 4, NOON_MILLIS, 1), NOON_MILLIS)
            .unwrap();
    }
    drop(store);
    let file = folder.0.join("records-000000000001.mzr");
    let bytes = fs::read(&file).unwrap();
    let mut last = 12;
    while let Some(next) = bytes.get(last..).map(Header::read).and_then(Result::ok)
        && last + usize::try_from(next.block_bytes()).unwrap() < bytes.len()
    {
        last += usize::try_from(next.block_bytes()).unwrap();
    }
    for at in (0..bytes.len()).step_by(13) {
        fs::remove_dir_all(&folder.0).unwrap();
        fs::create_dir(&folder.0).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&file, &damaged).unwrap();
        let seen = all(&folder.0);
        assert!(seen.len() >= 20 && seen.is_sorted(), "{at}: {seen:?}");
        let mut store = folder.open();
        assert_eq!(all(&folder.0), seen, "{at}");
        let aside = store.extent().damaged;
        if at >= last {
            assert!(
                aside.is_empty(),
                "it is taken for a batch that is not whole: {at}"
            );
        } else {
            assert_eq!(fs::read(&aside[0]).unwrap(), damaged, "{at}");
        }
        store
            .append(&phone.batch(25, 4, NOON_MILLIS, 1), NOON_MILLIS)
            .unwrap();
        let after = all(&folder.0);
        assert_eq!(after[..seen.len()], seen, "{at}");
        assert_eq!(after[seen.len()..], [25, 26, 27, 28], "{at}");
        drop(store);
        // It is named again after the next start.
        assert_eq!(folder.open().extent().damaged, aside);
    }
}

#[test]
fn nothing_in_a_file_of_zeros_or_of_another_kind_is_believed() {
    for bytes in [vec![0; 5000], b"something else altogether\n".repeat(100)] {
        let folder = Folder::new("strange");
        fs::create_dir(&folder.0).unwrap();
        for name in ["records-000000000001.mzr", "hours-000000000001.mzh"] {
            fs::write(folder.0.join(name), &bytes).unwrap();
        }
        assert!(all(&folder.0).is_empty());
        let mut store = folder.open();
        assert_eq!(store.extent().damaged.len(), 2, "{:?}", folder.names());
        let batch = Phone::new().batch(1, 3, NOON_MILLIS, 1);
        store.append(&batch, NOON_MILLIS).unwrap();
        assert_eq!(all(&folder.0), [1, 2, 3]);
    }
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_left_as_it_is() {
    let folder = Folder::new("newer");
    let phone = Phone::new();
    folder
        .open()
        .append(&phone.batch(1, 5, NOON_MILLIS, 1), NOON_MILLIS)
        .unwrap();
    let file = folder.0.join("records-000000000001.mzr");
    let mut bytes = fs::read(&file).unwrap();
    bytes[7] = 2;
    let sum = crc32fast::hash(&bytes[..8]);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    // Half a batch, which is not cut off either.
    bytes.pop();
    fs::write(&file, &bytes).unwrap();
    let before = folder.names();
    let Err(error) = Store::open(&folder.0, LIMITS, NOON_MILLIS) else {
        panic!("it is refused");
    };
    let said = error.to_string();
    assert!(
        said.contains("records-000000000001.mzr is of version 2"),
        "{said}"
    );
    assert!(matches!(
        Reader::open(&folder.0),
        Err(FileError::Newer(_, 2))
    ));
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn hours_are_counted_once_however_often_the_writer_begins_anew() {
    let folder = Folder::new("hours");
    let phone = Phone::new();
    let mut expected = Counts::new();
    let mut number = 1;
    for (round, minutes) in [0, 5, 58, 61, 62, 130, 60, 300].into_iter().enumerate() {
        let millis = NOON_MILLIS + minutes * 60_000;
        // Begun anew each second time.
        let mut store = folder.open();
        for part in 0..2 {
            let millis = millis + part * 10_000;
            store
                .append(&phone.batch(number, 5, millis, 2000), millis)
                .unwrap();
            number += 5;
        }
        let hour = u32::try_from(millis / HOUR_MILLIS).unwrap();
        for name in [
            "www.shop.example.org",
            "sa.api.intl.miui.com",
            "x.blocked.example",
            "data.mistat.xiaomi.com",
            "connectivitycheck.gstatic.com",
        ] {
            let blocked = !matches!(
                name,
                "www.shop.example.org" | "connectivitycheck.gstatic.com"
            );
            let outcome = if blocked {
                Outcome::Blocked
            } else {
                Outcome::Allowed
            };
            let count = expected
                .entry((hour, name.to_owned(), outcome))
                .or_default();
            count.0 += 2;
            count.1 += 2;
        }
        assert_eq!(counts(&folder.0), expected, "round {round}");
    }
    assert!(folder.names().iter().any(|name| name.starts_with("hours-")));
}

#[test]
fn the_oldest_go_for_room_and_for_their_age_and_their_counts_stay() {
    let folder = Folder::new("limits");
    let phone = Phone::new();
    let limits = Limits {
        bytes: 2 << 20,
        ..LIMITS
    };
    let mut store = Store::open(&folder.0, limits, NOON_MILLIS).unwrap();
    let (mut number, mut millis) = (1, NOON_MILLIS);
    while number < 250_000 {
        store
            .append(&phone.batch(number, 20_000, millis, 10), millis)
            .unwrap();
        number += 20_000;
        millis += 200_000;
        assert!(store.extent().bytes <= 2 << 20);
    }
    let kept = all(&folder.0);
    assert!(kept[0] > 1 && kept.last() == Some(&(number - 1)));
    assert_eq!(kept.len() as u64, store.extent().records);
    assert_eq!(decisions(&folder.0), number - 1);
    // Much later.
    let later = millis + 40 * 24 * HOUR_MILLIS;
    for _ in 0..5 {
        store
            .append(&phone.batch(number, 1, later, 1), later)
            .unwrap();
        number += 1;
    }
    let kept = all(&folder.0);
    assert!(kept.len() < 80_000, "{}", kept.len());
    assert_eq!(decisions(&folder.0), number - 1);
}

#[test]
fn a_clock_set_back_loses_and_reorders_nothing() {
    let folder = Folder::new("clock");
    let phone = Phone::new();
    let mut store = folder.open();
    for (place, millis) in [NOON_MILLIS, 1000, NOON_MILLIS + 5000, 0, 4_000_000_000_000]
        .into_iter()
        .enumerate()
    {
        let batch = phone.batch(1 + place as u64 * 2, 2, millis, 1);
        store.append(&batch, millis).unwrap();
    }
    assert_eq!(all(&folder.0), (1..=10).collect::<Vec<_>>());
    let since = Query {
        since_millis: Some(NOON_MILLIS),
        until_millis: Some(NOON_MILLIS + 10_000),
        ..Query::default()
    };
    assert_eq!(numbers(&folder.0, &since), [1, 2, 5, 6]);
    assert_eq!(decisions(&folder.0), 10);
}

#[test]
fn a_reader_beside_the_writer_sees_whole_batches_only() {
    let folder = Folder::new("beside");
    let phone = Phone::new();
    let mut store = folder.open();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (folder, is_over) = (&folder.0, &is_over);
        let reader = scope.spawn(move || {
            let mut looks = 0;
            let mut before = 0;
            while !is_over.load(Ordering::Relaxed) {
                let seen = all(folder);
                let count = seen.len() as u64;
                assert!(seen.iter().copied().eq(1..=count), "no gap");
                assert!(count >= before && count.is_multiple_of(50), "{count}");
                assert!(decisions(folder) >= count);
                before = count;
                looks += 1;
            }
            looks
        });
        for batch in 0..200 {
            let millis = NOON_MILLIS + batch * 600_000;
            store
                .append(&phone.batch(1 + batch * 50, 50, millis, 1), millis)
                .unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(decisions(&folder.0), 10_000);
}

/// Set for the child of the next test: the folder it writes to.
const CHILD: &str = "MUZZLE_TEST_HISTORY";

#[test]
fn whenever_its_writer_is_killed_all_that_was_written_is_there() {
    if let Ok(folder) = std::env::var(CHILD) {
        return write_until_killed(Path::new(&folder));
    }
    let folder = Folder::new("killed");
    let mut last = 0;
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("files::whenever_its_writer_is_killed_all_that_was_written_is_there")
            .env(CHILD, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut number = || {
            lines
                .by_ref()
                .find_map(|line| line.ok()?.parse::<u64>().ok())
        };
        assert!(number().is_some(), "it writes");
        // At a moment that nobody chose.
        std::thread::sleep(Duration::from_micros(round * 977 % 9000));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = std::iter::from_fn(number).last().unwrap_or(last);
        let seen = all(&folder.0);
        let count = seen.len() as u64;
        assert!(seen.iter().copied().eq(1..=count), "round {round}: no gap");
        assert!(
            count >= said && count > last,
            "round {round}: {count} of {said}"
        );
        assert_eq!(decisions(&folder.0), count, "round {round}");
        last = count;
    }
    assert!(folder.open().extent().damaged.is_empty());
}

fn write_until_killed(folder: &Path) {
    let phone = Phone::new();
    let mut number = Reader::open(folder).unwrap().end().unwrap();
    let mut store = Store::open(folder, LIMITS, NOON_MILLIS).unwrap();
    let mut out = std::io::stdout();
    loop {
        // Hours pass too.
        let millis = NOON_MILLIS + number * 20_000;
        let batch = phone.batch(number, 40, millis, 1);
        assert!(batch.iter().all(|block| block.len() > HEADER_BYTES));
        store.append(&batch, millis).unwrap();
        number += 40;
        writeln!(out, "{}", number - 1).unwrap();
    }
}
