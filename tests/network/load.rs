//! More than the daemon is quick enough for: nothing that is allowed is lost.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muzzle::firewall::Family;
use nix::sys::socket::{setsockopt, sockopt};

use crate::clients::{A, UdpAsker, query};
use crate::lab::{Lab, addresses};
use crate::running::{queue, reload, start};

/// Long enough for whatever is on its way.
const QUIET: Duration = Duration::from_millis(500);
/// Room for all queries of a burst.
const BUFFER_BYTES: usize = 16 << 20;

/// Answers every datagram at `address` while `work` runs. dnsmasq's own buffer holds some 300
/// queries: what it lost would be laid at Muzzle's door.
pub(crate) fn with_resolver<T>(lab: &Lab, address: SocketAddr, work: impl FnOnce() -> T) -> T {
    let bind = || UdpSocket::bind(address).expect("nobody else listens");
    let socket = lab.internet.within(bind);
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).expect("root may");
    let tick = Some(Duration::from_millis(50));
    socket.set_read_timeout(tick).expect("above 0");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut message = [0; 512];
            while !over.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut message) {
                    message[2] |= 0x80;
                    // A client that is gone is no concern of a resolver's.
                    let _ = socket.send_to(&message[..length], from);
                }
            }
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_burst_of_queries_is_answered_whole() {
    const SOCKETS: usize = 200;
    const QUERIES: u16 = 10;
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    let mut seen = 0;
    for family in Family::BOTH {
        let resolver = SocketAddr::new(addresses(family).sink, 53);
        let askers: Vec<_> = (0..SOCKETS)
            .map(|_| UdpAsker::new(&lab, resolver.ip()))
            .collect();
        let answered: usize = with_resolver(&lab, resolver, || {
            // Until the neighbour is known, the kernel keeps no more than some 250 packets for it.
            askers[0].send(&query(0, "free.example", A));
            assert!(askers[0].receive().is_some(), "{family}");
            seen += 1;
            for id in 0..QUERIES {
                let query = query(id, "free.example", A);
                askers.iter().for_each(|asker| asker.send(&query));
            }
            let mut answers = askers.iter().map(|asker| {
                let answers = (0..QUERIES).map_while(|_| asker.receive());
                answers.count()
            });
            answers.by_ref().sum()
        });
        assert_eq!(answered, SOCKETS * usize::from(QUERIES), "{family}");
        // Each query and each answer was either looked at or, where the queue was full, let pass.
        let dns = queue(&lab, &daemon, "dns");
        seen += u64::try_from(answered).expect("a small number");
        let unseen = dns.passed_unseen.expect("the rules count");
        let looked_at = dns.counters.passed + dns.counters.answers;
        assert_eq!(looked_at + unseen, 2 * seen, "{family}");
    }
}

#[test]
fn a_stalled_daemon_holds_up_no_more_than_its_queue() {
    const LENGTH: u16 = 16;
    const BEYOND: u16 = 20;
    // While the queue is full, the answers to what passed pass too.
    const UNSEEN: Option<u64> = Some(2 * BEYOND as u64);
    let lab = Lab::new();
    for family in Family::BOTH {
        let daemon = start(&lab, &format!("[queue]\nlength = {LENGTH}"));
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        asker.wait_at_most(QUIET);
        let answers = || -> Vec<u16> {
            let id = |bytes: Vec<u8>| u16::from_be_bytes([bytes[0], bytes[1]]);
            let mut ids: Vec<_> = std::iter::from_fn(|| asker.receive().map(id)).collect();
            ids.sort_unstable();
            ids
        };
        daemon.freeze();
        for id in 0..LENGTH + BEYOND {
            asker.send(&query(id, "free.example", A));
        }
        let expected: Vec<_> = (LENGTH..LENGTH + BEYOND).collect();
        assert_eq!(
            answers(),
            expected,
            "{family}: what is beyond the queue passes"
        );
        daemon.thaw();
        let expected: Vec<_> = (0..LENGTH).collect();
        assert_eq!(
            answers(),
            expected,
            "{family}: what was held is answered later"
        );
        assert_eq!(
            queue(&lab, &daemon, "dns").passed_unseen,
            UNSEEN,
            "{family}"
        );

        // Rules that are set anew count from 0.
        let text = format!("[queue]\nlength = {LENGTH}\n[connections]\ntls_ports = [8443]");
        reload(&lab, &daemon, &text).ok();
        let unseen = queue(&lab, &daemon, "dns").passed_unseen;
        assert_eq!(unseen, UNSEEN, "{family}");

        daemon.freeze();
        for id in 0..LENGTH {
            asker.send(&query(id, "free.example", A));
        }
        assert_eq!(answers(), [0; 0], "{family}: all of it waits");
        daemon.kill_both();
        asker.send(&query(77, "free.example", A));
        assert_eq!(answers(), [77], "{family}: what comes after its end passes");
    }
}

/// The chains of a killed daemon feed the queue from the moment its successor binds it.
#[test]
fn a_start_over_leftovers_holds_under_traffic() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    start(&lab, "").kill_both();
    let over = AtomicBool::new(false);
    let asker = UdpAsker::new(&lab, addresses(Family::V4).dns);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, so that a start that fails ends the test instead of hanging it.
            for _ in 0..100_000 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                asker.send(&query(1, "free.example", A));
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        for _ in 0..8 {
            start(&lab, "").kill_both();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(start(&lab, "").stop().success());
    assert_eq!(lab.saved_rules(), before);
}
