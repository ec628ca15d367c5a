//! The packet path allocates nothing: from bytes to facts, and from a refusal to bytes.

#![allow(unsafe_code, reason = "counting allocations takes a global allocator")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::SocketAddrV4;
use std::sync::Arc;

use etherparse::PacketBuilder;
use muzzle::act::Act;
use muzzle::act::datagram::udp_reply;
use muzzle::act::icmp::port_unreachable;
use muzzle::act::segment::reset_for;
use muzzle::act::{DnsRefusal, dns_answer};
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{FlowKey, Protocol, Uid, UnixSeconds};
use muzzle::inspect::{Inspector, Reading, Ruleset};
use muzzle::parse::dns::Query;
use muzzle::parse::dns_response::Response;
use muzzle::parse::http::request;
use muzzle::parse::ip::IpPacket;
use muzzle::parse::tcp::{TcpFlags, TcpSegment};
use muzzle::parse::tls::server_name;
use muzzle::parse::udp::UdpDatagram;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local
// without destructor, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\
    \x04data\x06mistat\x06xiaomi\x03com\x00\x00\x1c\x00\x01\
    \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

fn flow(protocol: Protocol) -> FlowKey {
    FlowKey {
        protocol,
        local: "[2001:db8::1]:4096".parse().unwrap(),
        remote: "[2001:db8::53]:53".parse().unwrap(),
    }
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(black_box(vec![1_u8]))), 1);
}

#[test]
fn a_refused_query() {
    let flow = flow(Protocol::Udp);
    let mut out = [0; 1280];
    let count = allocations(|| {
        let query = Query::parse(QUERY).unwrap();
        let length = udp_reply(&flow, &mut out, |payload| {
            dns_answer::write(&query, DnsRefusal::Nxdomain, 60, payload)
        });
        let packet = IpPacket::parse(&out[..length.unwrap()]).unwrap();
        let datagram = UdpDatagram::parse(packet.payload).unwrap();
        let response = Response::parse(datagram.payload).unwrap();
        let asked = query.questions().next().unwrap().name;
        assert_eq!((response.rcode(), response.aliases(&asked).count()), (3, 0));
        let mut error = [0; 1280];
        assert!(port_unreachable(&out[..length.unwrap()], &mut error).is_some());
    });
    assert_eq!(count, 0);
}

#[test]
fn a_reset_connection() {
    let flow = flow(Protocol::Tcp);
    let hello = include_bytes!("data/openssl3_fragments.bin");
    let request = include_bytes!("data/curl7_post.bin");
    let mut out = [0; 1280];
    let count = allocations(|| {
        black_box(server_name(hello));
        black_box(self::request(request));
        let segment = TcpSegment {
            source_port: 4096,
            destination_port: 443,
            sequence: 1,
            acknowledgment: 2,
            flags: TcpFlags::ACK,
            payload: hello,
        };
        assert!(reset_for(&flow, &segment, &mut out).is_some());
    });
    assert_eq!(count, 0);
}

/// Two rules and two answers in the words of the config, beside the built-in catalogue.
const RULES: &str = r#"
[[rule]]
name = "*.openssl.test"
action = "log"

[[rule]]
app = "com.a"
address = "203.0.113.66"
action = "block"

[[answer]]
name = "*.xiaomi.com"
app = "com.a"
answer = "zero"

[[answer]]
name = "*.com"
answer = "reset"
"#;

fn ruleset() -> Arc<Ruleset> {
    let config = Config::parse("config", RULES).unwrap();
    let packages = Packages::parse("com.a 10123 0 /data none");
    let catalogue = Arc::new(Catalogue::built_in());
    Arc::new(Ruleset::new(&config, catalogue, &packages))
}

/// What a phone sends from one port: to DNS over UDP and TCP, a SYN, hellos and requests; each
/// kind once to a host that is blocked and once to one that is not.
fn packets(port: u16) -> Vec<Vec<u8>> {
    let framed = [&[0, 51], QUERY].concat();
    let mut allowed = QUERY.to_vec();
    allowed[18] = b'n'; // nistat
    let suffixed = [&QUERY[..35], b"\x03lan", &QUERY[35..]].concat();
    let allowed_framed = [&[0, 51], &allowed[..]].concat();
    let (framed_start, framed_end) = framed.split_at(20);
    let syn = |to| tcp(port, to, true, 999, &[]);
    let data = |to, sequence, payload: &[u8]| tcp(port, to, false, sequence, payload);
    vec![
        udp(port, QUERY),
        udp(port, &allowed),
        udp(port, &suffixed),
        syn("203.0.113.53:53"),
        data("203.0.113.53:53", 1000, &allowed_framed),
        data("203.0.113.53:53", 1053, framed_start),
        data("203.0.113.53:53", 1073, framed_end),
        data("203.0.113.53:53", 1106, b"more"),
        syn("203.0.113.66:5222"),
        syn("203.0.113.7:443"),
        data(
            "203.0.113.7:443",
            1000,
            include_bytes!("data/openssl3_tls13.bin"),
        ),
        data(
            "203.0.113.7:443",
            1000,
            include_bytes!("data/openssl3_tls13.bin"),
        ),
        data(
            "203.0.113.8:443",
            1000,
            include_bytes!("data/openssl3_no_sni.bin"),
        ),
        data(
            "203.0.113.7:80",
            1000,
            include_bytes!("data/curl7_post.bin"),
        ),
        data(
            "203.0.113.8:80",
            1000,
            b"GET / HTTP/1.1\r\nHost: fine.test\r\n\r\n",
        ),
        data("203.0.113.9:80", 1000, b"GET / HTTP/1.1\r\nHost: fi"),
        // Blocked, in one datagram and in two; allowed, and sent again.
        quic(
            port,
            [203, 0, 113, 7],
            include_bytes!("data/aioquic1_v1.bin"),
        ),
        quic(
            port,
            [203, 0, 113, 8],
            include_bytes!("data/chromium156_1.bin"),
        ),
        quic(
            port,
            [203, 0, 113, 8],
            include_bytes!("data/chromium156_2.bin"),
        ),
        quic(
            port,
            [203, 0, 113, 8],
            include_bytes!("data/chromium156_3.bin"),
        ),
        quic(
            port,
            [203, 0, 113, 9],
            include_bytes!("data/rfc9369_initial.bin"),
        ),
        quic(
            port,
            [203, 0, 113, 9],
            include_bytes!("data/rfc9369_initial.bin"),
        ),
        vec![0x45, 0, 0],
    ]
}

const PHONE: [u8; 4] = [10, 77, 0, 2];
const RESOLVER: [u8; 4] = [203, 0, 113, 53];

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    datagram(port, RESOLVER, 53, payload)
}

fn quic(port: u16, to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    datagram(port, to, 443, payload)
}

fn datagram(port: u16, to: [u8; 4], to_port: u16, payload: &[u8]) -> Vec<u8> {
    let ip = PacketBuilder::ipv4(PHONE, to, 64);
    let mut packet = Vec::new();
    ip.udp(port, to_port).write(&mut packet, payload).unwrap();
    packet
}

/// The answers to the allowed query of [`packets`]: one with an alias that is blocked, one with
/// an alias and two addresses.
fn answer_messages() -> [Vec<u8>; 2] {
    let mut start = QUERY[..QUERY.len() - 11].to_vec();
    (start[2], start[18]) = (0x81, b'n');
    start[11] = 0;
    let cname = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00";
    let blocked = [&start[..], cname, b"\x0e\x04data\x06mistat\xc0\x18"].concat();
    let addresses = b"\xc0\x34\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02".repeat(2);
    let (first, second) = addresses.split_at(addresses.len() / 2);
    let fine = [
        &start[..],
        cname,
        b"\x04\x01a\xc0\x18",
        first,
        b"\x01",
        second,
        b"\x02",
    ]
    .concat();
    [(blocked, 1), (fine, 3)].map(|(mut message, records)| {
        message[7] = records;
        message
    })
}

fn answers(port: u16) -> [Vec<u8>; 2] {
    answer_messages().map(|message| {
        let ip = PacketBuilder::ipv4(RESOLVER, PHONE, 64);
        let mut packet = Vec::new();
        ip.udp(53, port).write(&mut packet, &message).unwrap();
        packet
    })
}

fn tcp(port: u16, to: &str, opens: bool, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let to: SocketAddrV4 = to.parse().unwrap();
    let ip = PacketBuilder::ipv4([10, 77, 0, 2], to.ip().octets(), 64);
    let header = ip.tcp(port, to.port(), sequence, 0xffff);
    let header = if opens {
        header.syn()
    } else {
        header.psh().ack(5000)
    };
    let mut packet = Vec::new();
    header.write(&mut packet, payload).unwrap();
    packet
}

/// More connections than the tables hold, so that old ones make room all the time.
#[test]
fn the_way_of_every_packet() {
    let ruleset = ruleset();
    let traffic: Vec<_> = (1024..3024).flat_map(packets).collect();
    let mut scratch = [0; 2048];
    let mut inspector = Inspector::default();
    let mut acts = [0; 5];
    let count = allocations(|| {
        for packet in &traffic {
            let uid = Some(Uid(10_123));
            let seen =
                inspector.inspect(packet, uid.into(), UnixSeconds(0), &ruleset, &mut scratch);
            acts[match seen.act {
                Act::Pass | Act::Follow | Act::Leave => 0,
                Act::Vanish => 1,
                Act::Answer { .. } => 2,
                Act::Sever { .. } => 3,
                Act::Rewrite { .. } => 4,
            }] += 1;
        }
    });
    assert_eq!(
        acts,
        [12 * 2000, 2000, 6 * 2000, 4 * 2000, 0],
        "not the mix that was meant"
    );
    assert_eq!(count, 0);
}

#[test]
fn the_way_of_every_answer() {
    let ruleset = ruleset();
    let traffic: Vec<_> = (1024..3024)
        .map(|port| (packets(port).swap_remove(1), answers(port)))
        .collect();
    let mut scratch = [0; 2048];
    let mut inspector = Inspector::default();
    let (mut rewritten, mut learned, mut unasked) = (0, 0, 0);
    let count = allocations(|| {
        for (query, answers) in &traffic {
            // Half of them were not asked for.
            for asks in [false, true] {
                if asks {
                    let now = UnixSeconds(0);
                    inspector.inspect(query, None.into(), now, &ruleset, &mut scratch);
                }
                for answer in answers {
                    let (seen, resolution) = inspector.inspect_answer(
                        answer,
                        UnixSeconds(0),
                        &ruleset,
                        &mut scratch,
                    );
                    rewritten += i32::from(matches!(seen.act, Act::Rewrite { .. }));
                    learned += resolution.map_or(0, |it| it.addresses().len());
                    unasked += i32::from(seen.reading == Reading::Unasked);
                }
            }
        }
    });
    assert_eq!((rewritten, learned, unasked), (2000, 4000, 4000));
    assert_eq!(count, 0);
}

/// Refused in place, refused in pieces so that the connection ends, and passed in pieces.
#[test]
fn the_way_of_every_answer_over_tcp() {
    let ruleset = ruleset();
    let [blocked, fine] = answer_messages().map(|message| {
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&length[..], &message].concat()
    });
    let segment = |port: u16, sequence: u32, payload: &[u8]| {
        let header = PacketBuilder::ipv4(RESOLVER, PHONE, 64).tcp(53, port, sequence, 0xffff);
        let mut packet = Vec::new();
        header.psh().ack(1053).write(&mut packet, payload).unwrap();
        packet
    };
    let [half, end] = [5000, 5000 + u32::try_from(fine.len()).unwrap()];
    let traffic: Vec<_> = (1024..3024)
        .map(|port| {
            let answers = [
                segment(port, half, &fine[..40]),
                segment(port, half + 40, &fine[40..]),
                segment(port, end, &blocked),
                segment(port, end + 100, &blocked[..60]),
                segment(port, end + 160, &blocked[60..]),
            ];
            (packets(port).swap_remove(4), answers)
        })
        .collect();
    let mut scratch = [0; 2048];
    let mut inspector = Inspector::default();
    let (mut rewritten, mut severed, mut learned) = (0, 0, 0);
    let count = allocations(|| {
        for (query, answers) in &traffic {
            inspector.inspect(query, None.into(), UnixSeconds(0), &ruleset, &mut scratch);
            for answer in answers {
                let now = UnixSeconds(0);
                let (seen, resolution) =
                    inspector.inspect_answer(answer, now, &ruleset, &mut scratch);
                rewritten += i32::from(matches!(seen.act, Act::Rewrite { .. }));
                severed += i32::from(matches!(seen.act, Act::Sever { .. }));
                learned += resolution.map_or(0, |it| it.addresses().len());
            }
        }
    });
    assert_eq!((rewritten, severed, learned), (2000, 2000, 4000));
    assert_eq!(count, 0);
}
