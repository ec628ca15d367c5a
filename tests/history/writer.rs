//! From events to files, by the thread that writes.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use muzzle::clock::Moment;
use muzzle::history::{Settings, Writer};
use muzzle::inspect::SightingKind;

use crate::events::{NOON_MILLIS, Phone};
use crate::files::{Folder, LIMITS, all};

const SOON_MILLIS: u64 = 20_000;

fn settings(folder: &Folder, batch: Duration) -> Settings {
    Settings {
        folder: folder.0.clone(),
        limits: LIMITS,
        batch,
    }
}

fn start(phone: &Phone, settings: Settings) -> Writer {
    let packages = Arc::new(ArcSwap::new(Arc::clone(&phone.packages)));
    Writer::start(settings, &packages).unwrap()
}

fn push(writer: &Writer, phone: &Phone, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let name = format!("a{number}.blocked.example");
        let event = phone.event(
            NOON_MILLIS + number,
            name.as_bytes(),
            SightingKind::Question(1),
        );
        writer.push(number, &event, &[], None);
    }
}

fn flush(writer: &Writer) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(writer.flush())
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Moment::awake();
    while !is_so() {
        assert!(Moment::awake().millis_since(start) < SOON_MILLIS, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_batch_is_written_when_its_time_has_come_when_asked_and_in_the_end() {
    let folder = Folder::new("writer");
    let phone = Phone::new();
    let writer = start(&phone, settings(&folder, Duration::from_secs(1)));
    push(&writer, &phone, 1..=3);
    wait_for("the batch's time", || all(&folder.0) == [1, 2, 3]);
    writer.set(settings(&folder, Duration::from_secs(3600)));
    push(&writer, &phone, 4..=5);
    flush(&writer).unwrap();
    assert_eq!(all(&folder.0), [1, 2, 3, 4, 5]);
    let health = writer.health();
    assert_eq!((health.writes_last_hour, health.pending_bytes), (2, 0));
    assert_eq!(health.extent.records, 5);
    flush(&writer).unwrap();
    assert_eq!(
        writer.health().writes_last_hour,
        2,
        "there was nothing to write"
    );
    push(&writer, &phone, 6..=6);
    drop(writer);
    wait_for("the last batch", || all(&folder.0).len() == 6);
}

#[test]
fn a_folder_that_is_taken_away_is_made_anew() {
    let folder = Folder::new("away");
    let phone = Phone::new();
    let writer = start(&phone, settings(&folder, Duration::from_secs(3600)));
    push(&writer, &phone, 1..=3);
    flush(&writer).unwrap();
    fs::remove_dir_all(&folder.0).unwrap();
    push(&writer, &phone, 4..=6);
    flush(&writer).unwrap();
    assert_eq!(all(&folder.0), [4, 5, 6]);
}

#[test]
fn what_cannot_be_written_for_long_is_bounded_and_what_is_lost_is_counted() {
    let folder = Folder::new("no-folder");
    let phone = Phone::new();
    fs::write(&folder.0, "a file where the folder should be").unwrap();
    let writer = start(&phone, settings(&folder, Duration::from_secs(3600)));
    push(&writer, &phone, 1..=3);
    let said = flush(&writer).unwrap_err();
    assert!(said.contains("cannot"), "{said}");
    assert_eq!(writer.health().trouble.as_ref(), Some(&said));
    let last = 60_000;
    push(&writer, &phone, 4..=last);
    let health = writer.health();
    assert!(
        health.lost > 0 && health.pending_bytes <= 1200 * 1024,
        "{health:?}"
    );
    fs::remove_file(&folder.0).unwrap();
    flush(&writer).unwrap();
    let lost = writer.health().lost;
    assert_eq!(all(&folder.0), (lost + 1..=last).collect::<Vec<_>>());
    assert_eq!(writer.health().trouble, None);
}
