//! What parsing, deciding and forging take in user space, without the kernel:
//! `cargo bench --bench inspect`.

#![allow(clippy::unwrap_used, reason = "a benchmark stops where anything fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use etherparse::PacketBuilder;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Mode, Uid, UnixSeconds};
use muzzle::inspect::{Inspector, Ruleset};
use muzzle::record::{Event, channel};
use nix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 11;
const CALLS: usize = 100_000;

fn main() {
    let ruleset = Arc::new(ruleset(Mode::Enforce));
    let observing = Arc::new(self::ruleset(Mode::Observe));
    let cases = [
        ("DNS query, allowed", query("www.shop.example.org")),
        ("DNS query, blocked", query("sa.api.intl.miui.com")),
        ("TLS hello, openssl", hello()),
    ];
    let quic_cases = [
        ("aioquic", vec![AIOQUIC]),
        ("aioquic, version 2", vec![AIOQUIC_V2]),
        ("Chromium, 2 datagrams", CHROMIUM.to_vec()),
    ];
    println!("ns of CPU time per packet, median of {ROUNDS} rounds of {CALLS}:");
    for (name, packet) in &cases {
        println!("  {name:<36} {:>6.0}", median(|| inspect(packet, &ruleset)));
    }
    // All are for names that are blocked. A refusal is sealed with keys of its own.
    for (name, datagrams) in quic_cases {
        for (outcome, ruleset) in [("passes", &observing), ("refused", &ruleset)] {
            let name = format!("QUIC, {name}, {outcome}");
            println!(
                "  {name:<36} {:>6.0}",
                median(|| connect(&datagrams, ruleset))
            );
        }
    }
    let packet = &cases[0].1;
    println!(
        "  {:<36} {:>6.0}",
        "DNS answer, an alias",
        median(|| inspect_answer(packet, &ruleset))
    );
    println!(
        "  {:<36} {:>6.0}",
        "DNS query with its event",
        median(|| record(packet, &ruleset))
    );
}

fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    figures.sort_by(f64::total_cmp);
    figures[ROUNDS / 2]
}

/// Of this thread: what others do on the machine does not count.
fn cpu_time() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

fn inspect(packet: &[u8], ruleset: &Arc<Ruleset>) -> f64 {
    let mut inspector = Inspector::default();
    let mut scratch = [0; 2048];
    let start = cpu_time();
    for _ in 0..CALLS {
        let packet = black_box(packet);
        black_box(inspector.inspect(packet, UID.into(), NOW, ruleset, &mut scratch));
    }
    (cpu_time() - start).as_secs_f64() * 1e9 / CALLS as f64
}

/// A new connection each time, from one port after the other: keys are derived, the hello is read.
fn connect(datagrams: &[&[u8]], ruleset: &Arc<Ruleset>) -> f64 {
    let mut inspector = Inspector::default();
    let mut scratch = [0; 2048];
    let packets: Vec<_> = (1024..2048)
        .flat_map(|port| datagrams.iter().map(move |payload| quic(port, payload)))
        .collect();
    let start = cpu_time();
    let mut decided = 0;
    for packet in packets.iter().cycle().take(CALLS) {
        let packet = black_box(packet);
        let seen = inspector.inspect(packet, UID.into(), NOW, ruleset, &mut scratch);
        decided += usize::from(seen.sighting.is_some());
    }
    let nanoseconds = (cpu_time() - start).as_secs_f64() * 1e9 / CALLS as f64;
    assert_eq!(decided, CALLS / datagrams.len());
    nanoseconds
}

/// An answer to `query` with an alias and an address.
fn inspect_answer(query: &[u8], ruleset: &Arc<Ruleset>) -> f64 {
    let mut inspector = Inspector::default();
    let mut scratch = [0; 2048];
    inspector.inspect(query, UID.into(), NOW, ruleset, &mut scratch);
    let mut message = query[28..].to_vec();
    (message[2], message[7]) = (0x81, 2);
    let end = u8::try_from(message.len() + 12).unwrap();
    message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x10\xc0");
    message.push(end);
    message.extend(b"\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x33\x64\x07");
    let builder = PacketBuilder::ipv4([203, 0, 113, 53], [10, 77, 0, 2], 64).udp(53, 40_000);
    let mut answer = Vec::new();
    builder.write(&mut answer, &message).unwrap();
    let start = cpu_time();
    for _ in 0..CALLS {
        let (_, resolution) =
            inspector.inspect_answer(black_box(&answer), NOW, ruleset, &mut scratch);
        assert!(black_box(resolution).is_some());
    }
    (cpu_time() - start).as_secs_f64() * 1e9 / CALLS as f64
}

fn record(packet: &[u8], ruleset: &Arc<Ruleset>) -> f64 {
    let mut inspector = Inspector::default();
    let mut scratch = [0; 2048];
    let (sender, receiver) = channel(1024);
    let start = cpu_time();
    for _ in 0..CALLS / 512 {
        for _ in 0..512 {
            let inspection = inspector.inspect(packet, UID.into(), NOW, ruleset, &mut scratch);
            let sighting = inspection.sighting.unwrap();
            assert!(sender.send(Event {
                unix_millis: 0,
                sighting,
                ruleset: Arc::clone(ruleset)
            }));
        }
        assert_eq!(receiver.drain().count(), 512);
    }
    (cpu_time() - start).as_secs_f64() * 1e9 / (CALLS / 512 * 512) as f64
}

const UID: Option<Uid> = Some(Uid(10_123));
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn ruleset(mode: Mode) -> Ruleset {
    let catalogue = Arc::new(Catalogue::built_in());
    let config = Config {
        mode,
        ..Config::default()
    };
    Ruleset::new(&config, catalogue, &Packages::default())
}

fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    let builder = PacketBuilder::ipv4([10, 77, 0, 2], [203, 0, 113, 53], 64).udp(40_000, 53);
    let mut packet = Vec::new();
    builder.write(&mut packet, &message).unwrap();
    packet
}

const AIOQUIC: &[u8] = include_bytes!("../tests/data/aioquic1_v1.bin");
const AIOQUIC_V2: &[u8] = include_bytes!("../tests/data/aioquic1_v2.bin");
const CHROMIUM: [&[u8]; 2] = [
    include_bytes!("../tests/data/chromium156_1.bin"),
    include_bytes!("../tests/data/chromium156_2.bin"),
];

fn quic(port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 77, 0, 2], [198, 51, 100, 7], 64).udp(port, 443);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn hello() -> Vec<u8> {
    let hello = include_bytes!("../tests/data/openssl3_tls13.bin");
    let builder = PacketBuilder::ipv4([10, 77, 0, 2], [198, 51, 100, 7], 64)
        .tcp(40_000, 443, 1000, 65_535)
        .ack(5000)
        .psh();
    let mut packet = Vec::new();
    builder.write(&mut packet, hello).unwrap();
    packet
}
