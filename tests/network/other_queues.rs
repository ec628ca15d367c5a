//! Other programs with netfilter queues of their own.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use muzzle::firewall::Family;
use muzzle::queue::QueueSocket;
use muzzle::queue::message::{Message, QueueParameters, Verdict, messages};
use nix::sys::signal::Signal;

use crate::clients::{A, UdpAsker, query};
use crate::lab::{Lab, addresses, send, wait_for};
use crate::recovery::{RESTART, blocks_again};
use crate::running::{start, status};

fn bind(lab: &Lab, number: u16) -> Option<QueueSocket> {
    let parameters = QueueParameters {
        number,
        copy_range: 64,
        length: 16,
    };
    let bound = lab.phone.within(|| QueueSocket::bind(parameters, 65_536));
    bound.ok()
}

/// Ends what waits for it, also after a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A number is free for half a second between a worker that fails and the next.
#[test]
fn a_number_that_is_taken_between_two_workers_is_stepped_over() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    send(daemon.worker(), Signal::SIGKILL);
    let mut other = None;
    wait_for("the number to be free", RESTART, || {
        other = bind(&lab, 6453);
        other.is_some()
    });
    blocks_again(&lab, &daemon);
    let said = status(&lab, &daemon);
    let numbers: Vec<_> = said.queues.iter().map(|queue| queue.number).collect();
    assert_eq!(numbers, [6455, 6456]);
    let told = |it: &String| it.contains("queue 6453 belongs to another program");
    assert!(said.warnings.iter().any(told), "{said:?}");
    drop(other);
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

/// What another program queues it gets, whatever becomes of Muzzle.
#[test]
fn another_programs_queue_goes_on_undisturbed() {
    const NUMBER: u16 = 77;
    let lab = Lab::new();
    for family in Family::BOTH {
        let program = addresses(family).iptables;
        let rule = format!("-p udp --dport 53 -j NFQUEUE --queue-num {NUMBER}");
        lab.phone(&format!("{program} -w 5 -t mangle -A OUTPUT {rule}"))
            .ok();
    }
    let before = lab.saved_rules();
    let other = bind(&lab, NUMBER).expect("nobody has it");
    let (over, seen) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let _ends = SetOnDrop(&over);
        scope.spawn(|| {
            let mut datagram = vec![0; 65_536];
            while !over.load(Ordering::Relaxed) {
                let Ok(bytes) = other.receive(&mut datagram, false) else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                for message in messages(bytes) {
                    if let Message::Packet(packet) = message {
                        seen.fetch_add(1, Ordering::Relaxed);
                        other.verdict(packet.id, Verdict::Accept).expect("it waits");
                    }
                }
            }
        });
        let ask_each = || {
            let before = seen.load(Ordering::Relaxed);
            for family in Family::BOTH {
                let asker = UdpAsker::new(&lab, addresses(family).dns);
                let answer = asker.ask(&query(1, "free.example", A));
                assert!(answer.is_some(), "{family}");
            }
            assert_eq!(
                seen.load(Ordering::Relaxed),
                before + 2,
                "it sees what passes"
            );
        };
        ask_each();
        let daemon = start(&lab, "");
        ask_each();
        send(daemon.worker(), Signal::SIGKILL);
        ask_each();
        blocks_again(&lab, &daemon);
        ask_each();
        assert!(daemon.stop().success());
        ask_each();
    });
    assert_eq!(lab.saved_rules(), before);
    drop(other);
}
