//! Packets that make no sense pass, whatever they pretend to be, and are counted.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;

use crate::clients::{A, NamePlace, TcpAsker, UdpAsker, client_hello, framed, query, told};
use crate::lab::{Lab, addresses, wait_for};
use crate::running::{BLOCKED, queue, start};

const ROUNDS: usize = 60;
/// Beginnings that a packet may pretend with.
const PREFIXES: [&[u8]; 8] = [
    b"",
    b"GET ",
    b"POST / HTTP/1.1\r\nHost: ",
    b"CONNECT ",
    &[0x16, 3, 1],
    &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
    &[0x16, 3, 3, 0xff, 0xff, 1],
    &[0, 40, 0xab, 0xcd, 1, 0, 0, 1],
];

/// Marsaglia's xorshift: the same garbage in every run.
struct Garbage(u64);

impl Garbage {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, at_most: usize) -> Vec<u8> {
        let most = u64::try_from(at_most).expect("a small number");
        let length = self.next() % (most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// `bytes` with one of them changed, or cut short.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let length = u64::try_from(bytes.len()).expect("a packet");
        let at = usize::try_from(self.next() % length).expect("below the length");
        if self.next().is_multiple_of(2) {
            bytes.truncate(at);
        } else {
            bytes[at] = self.next().to_le_bytes()[0];
        }
        bytes
    }
}

#[test]
fn garbage_on_every_queue_passes_and_is_counted() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let mut garbage = Garbage(0x9e37_79b9_7f4a_7c15);
    for family in Family::BOTH {
        lab.count_arriving(family, "udp", "-p udp --dport 53");
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        let good = query(1, "a.example", A);
        for round in 0..ROUNDS {
            asker.send(&garbage.bytes(600));
            asker.send(&garbage.damage(&good));
            let prefix = PREFIXES[round % PREFIXES.len()];
            asker.send(&[prefix, &garbage.bytes(100)].concat());
        }
        let sent = u64::try_from(3 * ROUNDS).expect("a small number");
        // What waits in the queue is late, not lost.
        wait_for("all of it to arrive", Duration::from_secs(5), || {
            lab.arrived(family, "udp") >= sent
        });
        assert_eq!(lab.arrived(family, "udp"), sent, "{family}");

        let good = [
            (53, framed(&good)),
            (80, b"GET / HTTP/1.1\r\nHost: a.example\r\n".to_vec()),
            (443, client_hello("a.example", NamePlace::Last)),
        ];
        for (port, good) in good {
            let sink = SocketAddr::new(addresses(family).sink, port);
            let mut sent = 0;
            for round in 0..ROUNDS {
                let prefix = PREFIXES[round % PREFIXES.len()];
                let first = [prefix, &garbage.bytes(1200)].concat();
                let pieces = [first, garbage.damage(&good), garbage.bytes(50)];
                let mut asker = TcpAsker::new(&lab, sink);
                let mut left = 0;
                for piece in &pieces {
                    asker.send(piece);
                    left += piece.len();
                }
                sent += left;
                // The server reads it all before the connection goes away.
                lab.server.wait_received(sink, sent);
            }
            assert_eq!(lab.server.received(sink), sent, "{family} {port}");
        }
    }
    let dns = queue(&lab, &daemon, "dns").counters;
    assert_eq!(dns.packets, dns.passed, "{dns:?}");
    assert!(dns.malformed > 0 && dns.incomplete > 0, "{dns:?}");
    let connections = queue(&lab, &daemon, "connections").counters;
    assert_eq!(connections.packets, connections.passed, "{connections:?}");
    assert!(connections.incomplete > 0, "{connections:?}");
    for family in Family::BOTH {
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        let answer = asker.ask(&query(1, BLOCKED, A)).expect("it works on");
        assert_eq!(told(&answer).0, ResponseCode::NXDomain, "{family}");
    }
    assert!(daemon.stop().success());
}
