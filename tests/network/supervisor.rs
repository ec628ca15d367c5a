//! The worker crashes or hangs, or the supervisor does: traffic flows again within a second, and
//! nothing is left behind.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::lab::{Lab, addresses, freeze, hang_at_next_packet, send, wait_for};
use crate::recovery::{RESTART, blocks_again, fate, passes_in_both};
use crate::running::{start, status};

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

/// One thread hangs with a packet in its hand, while the others go on. No further packet comes that
/// would tell.
#[test]
fn what_a_hung_thread_has_in_its_hand_is_let_pass() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let worker = daemon.worker();
        let tracer = hang_at_next_packet(worker, "queue-dns");
        let told = fate(&lab, family, "free.example");
        assert_eq!(told, Some(ResponseCode::NoError), "{family}");
        // Further packets pass too, and show that it is not merely slow.
        passes_in_both(&lab);
        tracer.join().expect("it sees the worker's end");
        blocks_again(&lab, &daemon);
        assert_ne!(daemon.worker(), worker, "{family}: it was replaced");
    }
}

/// No more memory is to be had: Rust ends a process that needs some all the same.
#[test]
fn a_worker_that_runs_out_of_memory_is_replaced() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    let worker = daemon.worker();
    lab.phone(&format!("prlimit --pid {worker} --as=4096")).ok();
    // To build the rules anew takes more than is left of what it has.
    for _ in 0..3 {
        daemon.signal(Signal::SIGHUP);
    }
    wait_for("its end", RESTART, || daemon.try_worker() != Some(worker));
    passes_in_both(&lab);
    blocks_again(&lab, &daemon);
    assert_eq!(status(&lab, &daemon).restarts, 1, "{}", daemon.log());
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

/// What the supervisor has for itself alone; the program's file it shares with the worker.
#[test]
fn a_supervisor_takes_less_than_two_megabytes() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let pid = daemon.pid();
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
    let kilobytes: u64 = text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!((1..2048).contains(&kilobytes), "{kilobytes} kB: {text}");
}

/// The C library of Android asks netd about every socket, and netd may be the one that hangs: the
/// worker is started so that it does not (`NetdClient.cpp`, `FwmarkClient::shouldSetFwmark`).
#[test]
fn a_worker_does_not_ask_netd() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    for restarts in 0..2 {
        let worker = daemon.worker();
        let environment = std::fs::read(format!("/proc/{worker}/environ")).expect("it lives");
        let wanted = b"ANDROID_NO_USE_FWMARK_CLIENT=1".as_slice();
        let set = environment.split(|byte| *byte == 0).any(|it| it == wanted);
        assert!(set, "after {restarts} restarts");
        send(worker, Signal::SIGKILL);
        blocks_again(&lab, &daemon);
    }
}
