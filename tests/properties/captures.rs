//! Capture files: any bytes, any packets in any format, and any way in which they are read.

use std::io::{self, Read};
use std::sync::LazyLock;

use muzzle::apps::Packages;
use muzzle::capture::Capture;
use muzzle::catalogue::Catalogue;
use muzzle::cli::replay::{Replay, Rules};
use muzzle::config::Config;
use proptest::prelude::*;

use super::damaged;
use super::write::{COMMENT, ETHERNET, Order, RAW, RESOLUTION, Section, pcap};

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let rule = "[[rule]]\nport = 443\naction = \"block\"\n";
    let config = Config::from_bytes("config", rule.as_bytes()).unwrap();
    let catalogue = Catalogue::from_files(&[("catalogue", String::new())]).unwrap();
    Rules::new(config, catalogue, Packages::default())
});

/// Packets of IPv4, perhaps only nearly so.
fn packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let payload = prop::collection::vec(any::<u8>(), 0..60);
    let packet = (
        any::<bool>(),
        prop_oneof![Just(53_u16), Just(443), Just(80)],
        payload,
    );
    let packet = packet.prop_map(|(is_udp, port, payload)| {
        let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64);
        let mut packet = Vec::new();
        if is_udp {
            builder
                .udp(4000, port)
                .write(&mut packet, &payload)
                .unwrap();
        } else {
            builder
                .tcp(4000, port, 1, 1)
                .syn()
                .write(&mut packet, &payload)
                .unwrap();
        }
        packet
    });
    prop::collection::vec(damaged(packet), 0..8)
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Little), Just(Order::Big)]
}

fn link() -> impl Strategy<Value = u16> {
    prop_oneof![
        Just(ETHERNET),
        Just(RAW),
        Just(113),
        Just(276),
        Just(0),
        Just(108)
    ]
}

fn section(order: Order, link: u16, at: u64, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut section = Section::new(order);
    section.interface(link, &[(RESOLUTION, &[9])]);
    for frame in frames {
        section.packet(0, at, frame, &[(COMMENT, b"u-10123")]);
    }
    section.bytes
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    let classic = (order(), any::<bool>(), link(), packets())
        .prop_map(|(order, nanos, link, frames)| pcap(order, nanos, link, 0, &frames));
    let newer =
        (order(), link(), packets(), packets()).prop_map(|(order, link, some, more)| {
            [
                section(order, link, 0, &some),
                section(Order::Little, RAW, 0, &more),
            ]
            .concat()
        });
    prop_oneof![classic, newer]
}

/// All that is printed, and how it ended.
fn told(input: impl Read) -> (String, String) {
    let mut replay = Replay::new(RULES.clone(), true, true);
    let mut out = Vec::new();
    let ended = replay.read(input, &mut out);
    let ended = ended.map_or_else(|error| format!("{error:#}"), |()| String::new());
    let out = String::from_utf8(out).unwrap();
    let lines = u64::try_from(out.lines().count()).unwrap();
    assert_eq!(lines, replay.summary.decisions);
    assert!(replay.summary.malformed <= replay.summary.packets);
    (out, format!("{ended}{}", replay.summary))
}

/// A pipe, from which bytes come as it pleases.
struct Pipe<'a> {
    rest: &'a [u8],
    pieces: Vec<usize>,
    reads: usize,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let piece = self.pieces[self.reads % self.pieces.len()];
        if piece == 0 && self.reads.is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = piece.max(1).min(buffer.len()).min(self.rest.len());
        let (now, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.rest = rest;
        Ok(length)
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end_or_an_error(
        bytes in prop_oneof![
            1 => prop::collection::vec(any::<u8>(), 0..200),
            4 => damaged(file()),
        ],
    ) {
        told(&bytes[..]);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_come(
        bytes in damaged(file()),
        pieces in prop::collection::vec(0..100_usize, 1..8),
    ) {
        let pipe = Pipe { rest: &bytes, pieces, reads: 0 };
        prop_assert_eq!(told(pipe), told(&bytes[..]));
    }

    #[test]
    fn packets_come_out_as_they_went_in(
        frames in packets(),
        order in order(),
        nanos: bool,
        secs in 0..u64::from(u32::MAX),
    ) {
        let at = secs * 1_000_000_000;
        for file in [pcap(order, nanos, RAW, at, &frames), section(order, RAW, at, &frames)] {
            let mut capture = Capture::open(&file[..]).unwrap();
            for frame in &frames {
                let packet = capture.next_packet().unwrap().unwrap();
                prop_assert_eq!(packet.unix_nanos, at);
                if frame.first().is_some_and(|byte| matches!(byte >> 4, 4 | 6)) {
                    prop_assert_eq!(packet.ip, Ok(Some(&frame[..])));
                }
            }
            prop_assert!(capture.next_packet().unwrap().is_none());
        }
    }
}
