//! The worker crashes or hangs, or the supervisor does: traffic flows again within a second, and
//! nothing is left behind.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::clients::{A, UdpAsker, query, told};
use crate::lab::{Daemon, Lab, addresses, freeze, send, wait_for};
use crate::running::{BLOCKED, start, status};

/// The contract's limit (docs/behaviour.md), and half a second for a busy machine.
const RECOVERY: Duration = Duration::from_millis(1500);
/// Until the worker is back: the pause after a first failure, and its start.
const RESTART: Duration = Duration::from_secs(5);

/// What an app is told of a name; none where it waited for longer than the contract allows.
fn fate(lab: &Lab, family: Family, name: &str) -> Option<ResponseCode> {
    let asker = UdpAsker::new(lab, addresses(family).dns);
    asker.wait_at_most(RECOVERY);
    asker.ask(&query(1, name, A)).map(|answer| told(&answer).0)
}

#[track_caller]
fn passes_in_both(lab: &Lab) {
    for family in Family::BOTH {
        let told = fate(lab, family, "free.example");
        assert_eq!(told, Some(ResponseCode::NoError), "{family}");
    }
}

#[track_caller]
fn blocks_again(lab: &Lab, daemon: &Daemon) {
    for family in Family::BOTH {
        wait_for("the worker to be back", RESTART, || {
            fate(lab, family, BLOCKED) == Some(ResponseCode::NXDomain)
        });
    }
    wait_for("its control socket", RESTART, || {
        std::os::unix::net::UnixStream::connect(&daemon.socket).is_ok()
    });
}

#[test]
fn a_worker_that_is_killed_is_replaced() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    for restarts in 1..=2 {
        send(daemon.worker(), Signal::SIGKILL);
        passes_in_both(&lab);
        blocks_again(&lab, &daemon);
        assert_eq!(status(&lab, &daemon).restarts, restarts);
    }
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn what_a_stopped_worker_holds_is_let_pass() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let worker = daemon.worker();
        freeze(worker);
        let told = fate(&lab, family, "free.example");
        assert_eq!(
            told,
            Some(ResponseCode::NoError),
            "{family}: held, then let pass"
        );
        passes_in_both(&lab);
        blocks_again(&lab, &daemon);
        assert_ne!(daemon.worker(), worker, "{family}: it was replaced");
    }
    assert_eq!(status(&lab, &daemon).restarts, 2);
}

#[test]
fn a_stalled_connection_goes_on() {
    let mut lab = Lab::new();
    lab.start_https(&[]);
    let daemon = start(&lab, "");
    freeze(daemon.worker());
    for family in Family::BOTH {
        let web = std::net::SocketAddr::new(addresses(family).web, 443);
        lab.phone(&format!(
            "curl -sk --max-time 2 -o /dev/null https://{web}/"
        ))
        .ok();
    }
}

#[test]
fn the_workers_chains_go_with_a_supervisor_that_is_killed() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    let worker = daemon.worker();
    daemon.signal(Signal::SIGKILL);
    passes_in_both(&lab);
    wait_for("the worker's end", RESTART, || {
        !std::path::Path::new(&format!("/proc/{worker}")).exists()
    });
    assert_eq!(lab.saved_rules(), before);
    // The next one starts as if nothing had been.
    let successor = start(&lab, "");
    blocks_again(&lab, &successor);
    assert!(successor.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_worker_that_does_not_stop_is_killed() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    freeze(daemon.worker());
    daemon.signal(Signal::SIGTERM);
    wait_for("the rules to be gone", Duration::from_secs(10), || {
        lab.saved_rules() == before
    });
    passes_in_both(&lab);
}

#[test]
fn after_five_failures_it_stays_off_and_says_so() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    for _ in 0..5 {
        let mut worker = None;
        wait_for("the next worker", Duration::from_secs(10), || {
            worker = daemon.try_worker();
            worker.is_some()
        });
        send(worker.expect("waited for"), Signal::SIGKILL);
        passes_in_both(&lab);
        wait_for("its end", RESTART, || daemon.try_worker() != worker);
    }
    wait_for("it to say so", RESTART, || {
        daemon.log().contains("Muzzle stays off")
    });
    passes_in_both(&lab);
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_supervisor_sleeps_while_nothing_is_sent() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let wake_ups = |pid: nix::unistd::Pid| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = text
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"));
        let count = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        count
            .and_then(|count| count.parse().ok())
            .expect("a counter")
    };
    // What the start has stirred up settles first.
    std::thread::sleep(Duration::from_secs(2));
    let pids = [daemon.pid(), daemon.worker()];
    let before = pids.map(wake_ups);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(pids.map(wake_ups), before, "supervisor and worker woke up");
}
