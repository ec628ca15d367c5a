//! The disk is full, of bytes and of files: Muzzle filters all the same and says what it could not
//! write.

use std::fs;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::lab::{Daemon, Lab, SmallDisk, send, wait_for};
use crate::recovery::{blocks_again, fate, passes_in_both};
use crate::running::{BLOCKED, config, status};

const SOON: Duration = Duration::from_secs(5);
/// So much of its own log Muzzle keeps in one file.
const LOG_BYTES: usize = 256 * 1024;

/// A service with everything that it writes on `disk`.
fn start(lab: &Lab, disk: &SmallDisk, wait: bool) -> Daemon {
    let text = config(lab, "");
    let socket = lab.folder().join("run");
    let text = text.replace(
        &socket.display().to_string(),
        &disk.path.join("run").display().to_string(),
    );
    let history = lab.folder().join("history");
    let text = text.replace(
        &history.display().to_string(),
        &disk.path.join("history").display().to_string(),
    );
    let module = disk.path.join("module");
    fs::create_dir_all(&module).expect("there is room");
    lab.start_logging_service(&text, &module, &disk.path.join("daemon.log"), wait)
}

#[track_caller]
fn blocks(lab: &Lab) {
    for family in Family::BOTH {
        wait_for("it to block", SOON, || {
            fate(lab, family, BLOCKED) == Some(ResponseCode::NXDomain)
        });
    }
}

#[test]
fn a_full_disk_at_the_start_keeps_nothing_from_being_filtered() {
    let lab = Lab::new();
    let disk = lab.small_disk();
    let before = lab.saved_rules();
    fs::create_dir(disk.path.join("module")).expect("there is room");
    disk.fill();
    let daemon = start(&lab, &disk, false);
    blocks(&lab);
    for said in [
        "cannot write",
        "daemon.log",
        "boot",
        "no lock",
        "cannot make the control socket",
    ] {
        wait_for(said, SOON, || daemon.log().contains(said));
    }
    // Once there is room, it can be asked again with the next look at the rules.
    disk.clear();
    lab.phone.ip("link add veth8 type veth peer name veth9");
    wait_for("the control socket", SOON, || {
        std::os::unix::net::UnixStream::connect(&daemon.socket).is_ok()
    });
    assert_eq!(status(&lab, &daemon).mode, "enforce");
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_disk_that_fills_up_stops_nothing_and_the_log_says_what_it_lacks() {
    let lab = Lab::new();
    let disk = lab.small_disk();
    let before = lab.saved_rules();
    // The next lines fill it up.
    let log = disk.path.join("daemon.log");
    fs::write(&log, "x".repeat(LOG_BYTES - 200)).expect("there is room");
    let daemon = start(&lab, &disk, true);
    blocks(&lab);
    let old = disk.path.join("daemon.log.1");
    assert!(old.exists(), "it was moved away");
    disk.fill();
    let reloads = || daemon.log().matches("reloaded: ").count();
    for round in 1..=3 {
        daemon.signal(Signal::SIGHUP);
        wait_for("a reload", SOON, || reloads() == round);
    }
    blocks(&lab);
    send(daemon.worker(), Signal::SIGKILL);
    passes_in_both(&lab);
    blocks_again(&lab, &daemon);
    assert_eq!(status(&lab, &daemon).restarts, 1);
    disk.clear();
    daemon.signal(Signal::SIGHUP);
    wait_for("the log to go on", SOON, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .last()
            .is_some_and(|line| line.contains("reloaded: "))
            && text.contains("lines could not be written)")
    });
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
    let note = fs::read_to_string(disk.path.join("run/boot")).expect("it counts boots");
    assert!(note.contains("settled 0"), "{note}");
}
