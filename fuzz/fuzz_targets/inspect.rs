//! Packets through one inspector with the built-in catalogue. The input is a run of packets, each
//! behind two bytes: the first chooses how it is wrapped, the second is its length. The very first
//! byte chooses the rules, and whether a hotspot client sends the packets.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use muzzle::act::Act;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Outcome, Uid, UnixSeconds};
use muzzle::inspect::{Inspector, Reading, Ruleset};
use muzzle::parse::ip::IpPacket;

static RULESETS: LazyLock<[Arc<Ruleset>; 3]> = LazyLock::new(|| {
    let catalogue = Arc::new(Catalogue::built_in());
    let packages = Packages::parse("com.a 10123 0 /data none");
    [
        "[[rule]]\nname = \"*.a.test\"\naction = \"block\"",
        "[dns]\nanswer = \"zero\"\n[[rule]]\napp = \"com.a\"\naction = \"block\"",
        "mode = \"observe\"",
    ]
    .map(|config| {
        let config = Config::parse("config", config).unwrap();
        Arc::new(Ruleset::new(&config, Arc::clone(&catalogue), &packages))
    })
});

/// IPv4 from 10.77.0.2 to 203.0.113.7, header length and protocol left to the caller.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend([10, 77, 0, 2, 203, 0, 113, 7]);
    packet.extend(payload);
    packet
}

/// Whether a packet of this kind is the answer of a resolver, over UDP or over TCP.
const fn is_answer(kind: u8) -> bool {
    match kind & 3 {
        1 => kind & 0x80 != 0,
        3 => kind & 0x0c == 0x0c,
        _ => false,
    }
}

/// Headers around `bytes`, so that the fuzzer need not find them: raw, UDP to one of a few ports or
/// from port 53, or TCP to one of a few ports, the sequence number following from what was sent before.
fn wrap(kind: u8, bytes: &[u8], sequence: &mut u32) -> Vec<u8> {
    let ports = [53_u16, 443, 80, 5222];
    let port = match kind & 3 {
        3 if is_answer(kind) => 53,
        _ => ports[usize::from(kind >> 2 & 3)],
    };
    match kind & 3 {
        0 => bytes.to_vec(),
        1 => {
            let length = u16::try_from(bytes.len() + 8).unwrap();
            let mut datagram = vec![0x9c, 0x40];
            datagram.extend(port.to_be_bytes());
            datagram.extend(length.to_be_bytes());
            datagram.extend([0, 0]);
            datagram.extend(bytes);
            if is_answer(kind) {
                datagram[..4].rotate_left(2);
            }
            let mut packet = ipv4(17, &datagram);
            if is_answer(kind) {
                packet[12..20].rotate_left(4);
            }
            packet
        }
        _ => {
            let flags = [0x18, 0x10, 0x02, 0x11][usize::from(kind >> 4 & 3)];
            let back = u32::from(kind >> 6); // the last bytes once more
            let mut segment = vec![0x9c, 0x40];
            segment.extend(port.to_be_bytes());
            segment.extend(sequence.wrapping_sub(back * 7).to_be_bytes());
            segment.extend([0, 0, 0x13, 0x88, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            segment.extend(bytes);
            *sequence = sequence.wrapping_add(u32::try_from(bytes.len()).unwrap());
            if is_answer(kind) {
                segment[..4].rotate_left(2);
            }
            let mut packet = ipv4(6, &segment);
            if is_answer(kind) {
                packet[12..20].rotate_left(4);
            }
            packet
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else {
        return;
    };
    let ruleset = &RULESETS[usize::from(choice) % RULESETS.len()];
    let observes = usize::from(choice) % RULESETS.len() == 2;
    let mut inspector = Inspector::default();
    let mut sequence = u32::MAX - 100;
    let mut scratch = [0; 2048];
    while let [kind, length, after @ ..] = rest {
        let (bytes, later) = after.split_at(usize::from(*length).min(after.len()));
        rest = later;
        let packet = wrap(*kind, bytes, &mut sequence);
        let now = UnixSeconds(0);
        let seen = if is_answer(*kind) {
            let (seen, resolution) =
                inspector.inspect_answer(&packet, now, ruleset, &mut scratch);
            assert!(resolution.is_none() || seen.act == Act::Pass);
            seen
        } else if choice >= 0x80 {
            let seen = inspector.inspect_forwarded(&packet, now, ruleset, &mut scratch);
            assert!(seen.act.passes() || seen.act == Act::Vanish);
            assert!(seen.sighting.as_ref().is_none_or(|it| it.attribution.uid().is_none()));
            seen
        } else {
            inspector.inspect(&packet, Some(Uid(10_123)).into(), now, ruleset, &mut scratch)
        };
        let passes = seen.act.passes();
        assert!(passes || !observes && seen.reading == Reading::Understood);
        if let Some(sighting) = &seen.sighting {
            assert_eq!(sighting.outcome == Outcome::Blocked, !passes);
        }
        let (flow, length) = match seen.act {
            Act::Pass | Act::Follow | Act::Leave | Act::Vanish => continue,
            Act::Answer {
                flow,
                length,
                second_length,
            } => {
                if second_length > 0 {
                    let second = &scratch[length..][..second_length];
                    let second = IpPacket::parse(second).unwrap();
                    assert_eq!(second.destination, flow.local.ip());
                }
                (flow, length)
            }
            Act::Sever { flow, reset_length } => (flow, reset_length),
            Act::Rewrite { length } => {
                let (came, rewritten) = (
                    IpPacket::parse(&packet).unwrap(),
                    IpPacket::parse(&scratch[..length]).unwrap(),
                );
                assert_eq!(came.source, rewritten.source);
                assert_eq!(came.destination, rewritten.destination);
                continue;
            }
        };
        if length > 0 {
            let forged = IpPacket::parse(&scratch[..length]).unwrap();
            assert_eq!(forged.source, flow.remote.ip());
            assert_eq!(forged.destination, flow.local.ip());
        }
    }
});
