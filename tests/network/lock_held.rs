//! Another program holds the lock of the tables: Muzzle can neither set nor take away rules then.
//! Traffic flows all the same, and the rules go as soon as they can.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::lab::{Daemon, Lab, send, wait_for};
use crate::recovery::{blocks_again, fate, passes_in_both};
use crate::running::{BLOCKED, config, start, status};

/// Longer than a try of Muzzle's, so that it has to wait for a second one.
const HELD: Duration = Duration::from_millis(1500);
/// Until the rules are gone, once the lock is free.
const SOON: Duration = Duration::from_secs(5);

#[track_caller]
fn blocks_in_both(lab: &Lab) {
    for family in Family::BOTH {
        let told = fate(lab, family, BLOCKED);
        assert_eq!(told, Some(ResponseCode::NXDomain), "{family}");
    }
}

/// All of it passes, although the rules are there.
#[track_caller]
fn gets_out_of_the_way(lab: &Lab) {
    passes_in_both(lab);
    for family in Family::BOTH {
        wait_for("all to pass", Duration::from_secs(1), || {
            fate(lab, family, BLOCKED) == Some(ResponseCode::NoError)
        });
    }
    assert!(
        lab.saved_rules().contains("-j muzzle_out"),
        "they cannot go"
    );
}

#[test]
fn filtering_goes_on_and_a_crash_costs_no_more_than_ever() {
    let lab = Lab::new();
    lab.own_tables_lock();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    let lock = lab.hold_tables_lock();
    blocks_in_both(&lab);
    send(daemon.worker(), Signal::SIGKILL);
    gets_out_of_the_way(&lab);
    std::thread::sleep(HELD);
    gets_out_of_the_way(&lab);
    drop(lock);
    blocks_again(&lab, &daemon);
    assert_eq!(status(&lab, &daemon).restarts, 1, "waiting is no failure");
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_stop_lets_pass_at_once_and_ends_when_the_rules_are_gone() {
    let lab = Lab::new();
    lab.own_tables_lock();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    let lock = lab.hold_tables_lock();
    daemon.signal(Signal::SIGTERM);
    gets_out_of_the_way(&lab);
    std::thread::sleep(HELD);
    gets_out_of_the_way(&lab);
    drop(lock);
    wait_for("the rules to go", SOON, || lab.saved_rules() == before);
    assert!(daemon.stop().success());
}

#[test]
fn the_root_managers_switch_works_at_once() {
    let lab = Lab::new();
    lab.own_tables_lock();
    let before = lab.saved_rules();
    let module = lab.folder().join("module");
    std::fs::create_dir(&module).expect("the lab's folder is there");
    let daemon: Daemon = lab.start_service(&config(&lab, ""), &module);
    let lock = lab.hold_tables_lock();
    std::fs::write(module.join("disable"), "").expect("just made");
    gets_out_of_the_way(&lab);
    std::thread::sleep(HELD);
    drop(lock);
    wait_for("the rules to go", SOON, || lab.saved_rules() == before);
    std::fs::remove_file(module.join("disable")).expect("just written");
    blocks_again(&lab, &daemon);
    assert!(daemon.stop().success());
}

#[test]
fn a_worker_without_a_supervisor_takes_its_rules_away_later() {
    let lab = Lab::new();
    lab.own_tables_lock();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    let lock = lab.hold_tables_lock();
    daemon.signal(Signal::SIGKILL);
    gets_out_of_the_way(&lab);
    std::thread::sleep(HELD);
    drop(lock);
    wait_for("the rules to go", SOON, || lab.saved_rules() == before);
    passes_in_both(&lab);
}

/// Whoever rebuilds the tables holds the lock while Muzzle looks at them.
#[test]
fn rules_that_are_taken_away_under_the_lock_come_back() {
    let lab = Lab::new();
    lab.own_tables_lock();
    let text = "[firewall]\nlock_wait_secs = 1";
    let daemon = start(&lab, text);
    let rules = lab.saved_rules();
    lab.phone("iptables-legacy -w 5 -t raw -F").ok();
    let lock = lab.hold_tables_lock();
    lab.phone.ip("link add veth8 type veth peer name veth9");
    wait_for("a look in vain", SOON, || {
        daemon.log().contains("cannot be looked after")
    });
    drop(lock);
    wait_for("the rules to be back", Duration::from_secs(10), || {
        lab.saved_rules() == rules
    });
}
