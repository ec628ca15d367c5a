//! The power goes while files are written: both processes end at once at moments nobody chose. The
//! next start believes no half of a file, and leaves nothing behind when it stops.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::recovery::{blocks_again, passes_in_both};
use crate::running::{config, status};

/// How often the power goes, where `MUZZLE_POWER_LOSSES` does not say.
const ROUNDS: u32 = 6;
/// So that the log is moved away in the midst of it.
const LOG_BYTES: usize = 256 * 1024;

/// The next of a row of numbers that look random (Marsaglia's xorshift, 32 bits).
fn next(seed: &mut u32) -> u32 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    *seed
}

/// The module's own script, which rewrites its module.prop.
fn module(folder: &Path) {
    fs::create_dir(folder).expect("the lab's folder is there");
    for name in ["description.sh", "module.prop"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("magisk-module")
            .join(name);
        fs::copy(source, folder.join(name)).expect("it is there");
    }
}

#[test]
fn whenever_the_power_goes_the_next_start_is_a_good_one() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let folder = lab.folder().join("module");
    module(&folder);
    let lines = |text: &str| {
        text.lines()
            .filter(|it| !it.starts_with("description="))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let prop = folder.join("module.prop");
    let rest = lines(&fs::read_to_string(&prop).expect("just copied"));
    let log = lab.folder().join("daemon.log");
    let text = config(&lab, "");
    let mut seed = 0x004d_757a;
    let rounds = std::env::var("MUZZLE_POWER_LOSSES");
    for round in 0..rounds.map_or(ROUNDS, |it| it.parse().expect("a number")) {
        fs::write(&log, "x".repeat(LOG_BYTES - 300)).expect("the lab's folder is there");
        let daemon = lab.start_logging_service(&text, &folder, &log, false);
        // From before its first line to long after the last of its start.
        let until = Duration::from_millis(u64::from(next(&mut seed) % 700));
        std::thread::sleep(until);
        for _ in 0..next(&mut seed) % 4 {
            daemon.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(u64::from(next(&mut seed) % 15)));
        }
        daemon.cut_power();
        passes_in_both(&lab);
        let shown = fs::read_to_string(&prop).expect("it is never away");
        assert_eq!(lines(&shown), rest, "round {round}, after {until:?}");
        assert_eq!(shown.matches("description=").count(), 1, "round {round}");
        let note = lab.folder().join("run/boot");
        if let Ok(note) = fs::read_to_string(note) {
            assert_eq!(note.split_whitespace().count(), 3, "round {round}: {note}");
        }
    }
    let daemon = lab.start_logging_service(&text, &folder, &log, true);
    blocks_again(&lab, &daemon);
    assert_eq!(
        status(&lab, &daemon).mode,
        "enforce",
        "it was one boot all the time"
    );
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}
