//! QUIC: however a hello is cut, shuffled, repeated and spread over packets and datagrams, its name
//! is known when the bytes up to it are there, and not before.

use std::sync::Arc;

use muzzle::act::{Act, quic_close};
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Outcome, UnixSeconds};
use muzzle::inspect::{Inspector, Reading, Ruleset};
use muzzle::parse::quic::{ConnectionId, MAX_INITIAL_BYTES, Packet, crypto_frames, packets};
use muzzle::parse::reassembly::Reassembly;
use muzzle::parse::tls::server_name_in_handshake;
use muzzle::parse::{Detected, DomainName};
use proptest::prelude::*;
use proptest::sample::Index;
use tls_parser::{SNIType, TlsExtension, TlsMessage, TlsMessageHandshake};

use super::inspector::datagram;
use super::quic_packets::{Close, Initial, crypto};
use super::streams::hello_in_handshake;
use super::{Forged, damaged};

const NAME: &str = "data.mistat.xiaomi.com";

/// First datagrams of real clients.
const CHROMIUM: [&[u8]; 2] = [
    include_bytes!("../data/chromium156_1.bin"),
    include_bytes!("../data/chromium156_2.bin"),
];
const CHROMIUM_AGAIN: [&[u8]; 3] = [
    include_bytes!("../data/chromium156_3.bin"),
    include_bytes!("../data/chromium156_4.bin"),
    include_bytes!("../data/chromium156_5.bin"),
];
const AIOQUIC_LARGE: [&[u8]; 2] = [
    include_bytes!("../data/aioquic1_large_1.bin"),
    include_bytes!("../data/aioquic1_large_2.bin"),
];
const AIOQUIC_V2: &[u8] = include_bytes!("../data/aioquic1_v2.bin");

/// The hello that is in these datagrams.
fn hello_in(datagrams: &[&[u8]]) -> Vec<u8> {
    let mut stream = Reassembly::new();
    let mut out = [0; MAX_INITIAL_BYTES];
    for packet in datagrams.iter().flat_map(|datagram| packets(datagram)) {
        let Ok(Packet::Initial(initial)) = packet else {
            panic!("clients send good Initials");
        };
        let frames = initial.open(&initial.destination, &mut out).unwrap();
        for frame in crypto_frames(&out[frames]) {
            let frame = frame.unwrap();
            stream.insert(frame.offset, frame.data);
        }
    }
    stream.start().to_vec()
}

/// A real client's hello, and how many of its bytes it takes to know the name.
fn real_hello() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let with_needed = |hello: Vec<u8>| {
        let needed = bytes_to_the_name(&hello);
        Just((hello, needed))
    };
    prop_oneof![
        with_needed(hello_in(&CHROMIUM)),
        with_needed(hello_in(&AIOQUIC_LARGE)),
        with_needed(hello_in(&[AIOQUIC_V2])),
    ]
}

/// How many of a hello's bytes it takes to know its name, all shorter starts being incomplete and
/// all longer ones saying the same.
fn bytes_to_the_name(hello: &[u8]) -> usize {
    let name = Detected::Found(DomainName::from_text(NAME).unwrap());
    let incomplete =
        |end: &usize| server_name_in_handshake(&hello[..*end]) == Detected::Incomplete;
    let needed = (0..=hello.len()).take_while(incomplete).count();
    for end in needed..=hello.len() {
        assert_eq!(server_name_in_handshake(&hello[..end]), name, "{end}");
    }
    needed
}

/// A piece of a hello: its start and its end.
type Piece = (usize, usize);

/// How a hello is sent: where it is cut, what is sent besides, in which order, how many pieces a
/// packet has and how many packets a datagram.
#[derive(Debug)]
struct Sending {
    version: u32,
    cuts: Vec<Index>,
    repeats: Vec<(Index, Index)>,
    order: Vec<u32>,
    pieces: Vec<(usize, &'static [u8])>,
    packets: Vec<usize>,
}

fn sending() -> impl Strategy<Value = Sending> {
    let between: [&[u8]; 5] = [&[], &[1], &[0; 70], &[2, 0, 0, 0, 0], &[1, 0, 1]];
    let piece = (1..5_usize, prop::sample::select(between.to_vec()));
    (
        1..=2_u32,
        prop::collection::vec(any::<Index>(), 0..25),
        prop::collection::vec(any::<(Index, Index)>(), 0..8),
        prop::collection::vec(any::<u32>(), 40),
        prop::collection::vec(piece, 40),
        prop::collection::vec(1..3_usize, 40),
    )
        .prop_map(|(version, cuts, repeats, order, pieces, packets)| Sending {
            version,
            cuts,
            repeats,
            order,
            pieces,
            packets,
        })
}

impl Sending {
    /// The pieces of `hello` in the order they are sent in.
    fn ranges(&self, hello: &[u8]) -> Vec<Piece> {
        let mut borders: Vec<_> = self.cuts.iter().map(|cut| cut.index(hello.len())).collect();
        borders.extend([0, hello.len()]);
        borders.sort_unstable();
        borders.dedup();
        let mut ranges: Vec<_> = borders.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for (from, to) in &self.repeats {
            let end = to.index(hello.len()) + 1;
            ranges.push((end - 1 - from.index(end.min(300)), end));
        }
        let mut keyed: Vec<_> = self.order.iter().zip(ranges).collect();
        keyed.sort_by_key(|(key, _)| **key);
        keyed.into_iter().map(|(_, range)| range).collect()
    }

    /// The datagrams, and with each the pieces that have been sent by then.
    fn datagrams(&self, hello: &[u8]) -> Vec<(Vec<u8>, Vec<Piece>)> {
        let ranges = self.ranges(hello);
        let mut sent = 0;
        let mut packets = Vec::new();
        for (count, between) in &self.pieces {
            let end = ranges.len().min(sent + count);
            if sent == end {
                break;
            }
            let frames: Vec<_> = ranges[sent..end]
                .iter()
                .map(|&(from, to)| [between, &crypto(from, &hello[from..to])[..]].concat())
                .collect();
            sent = end;
            let packet = Initial {
                version: self.version,
                destination: b"first-id",
                first_destination: b"first-id",
                source: b"",
                token: b"",
                number: u8::try_from(packets.len()).unwrap(),
                frames: &frames.concat(),
            };
            packets.push((packet.packet(), ranges[..sent].to_vec()));
        }
        let mut datagrams = Vec::new();
        let mut rest = &packets[..];
        for &count in &self.packets {
            let (together, later) = rest.split_at(count.min(rest.len()));
            let Some((_, sent)) = together.last() else {
                break;
            };
            let bytes: Vec<_> = together.iter().map(|(packet, _)| &packet[..]).collect();
            datagrams.push((bytes.concat(), sent.clone()));
            rest = later;
        }
        assert!(rest.is_empty());
        datagrams
    }
}

/// How many bytes from the start on have all been sent.
fn contiguous(sent: &[Piece]) -> usize {
    let mut sorted = sent.to_vec();
    sorted.sort_unstable();
    let more = |end: usize, &(from, to): &Piece| if from <= end { end.max(to) } else { end };
    sorted.iter().fold(0, more)
}

fn ruleset() -> Arc<Ruleset> {
    let text = format!("[[rule]]\nname = \"{NAME}\"\naction = \"block\"");
    let config = Config::parse("config", &text).unwrap();
    let (catalogue, packages) = (Arc::new(Catalogue::default()), Packages::default());
    Arc::new(Ruleset::new(&config, catalogue, &packages))
}

/// What tls-parser makes of a handshake message: an error, or the first host name, if any.
fn by_tls_parser(hello: &[u8]) -> Result<Option<Vec<u8>>, ()> {
    let (rest, message) = tls_parser::parse_tls_message_handshake(hello).map_err(|_| ())?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = message else {
        return Err(());
    };
    if !rest.is_empty() {
        return Err(());
    }
    let bytes = hello.ext.unwrap_or_default();
    let (rest, extensions) =
        tls_parser::parse_tls_client_hello_extensions(bytes).map_err(|_| ())?;
    if !rest.is_empty() {
        return Err(());
    }
    let names = extensions
        .into_iter()
        .find_map(|extension| match extension {
            TlsExtension::SNI(names) => Some(names),
            _ => None,
        });
    let mut names = names.into_iter().flatten();
    let host = names.find(|(kind, _)| *kind == SNIType::HostName);
    Ok(host.map(|(_, name)| name.to_vec()))
}

#[test]
fn hellos_of_real_clients_have_the_name_that_others_read() {
    for (datagrams, bytes) in [
        (&CHROMIUM[..], 1897),
        (&AIOQUIC_LARGE, 2099),
        (&[AIOQUIC_V2], 483),
    ] {
        let hello = hello_in(datagrams);
        assert_eq!(hello.len(), bytes);
        assert_eq!(by_tls_parser(&hello), Ok(Some(NAME.as_bytes().to_vec())));
        assert!(bytes_to_the_name(&hello) <= bytes);
    }
    // What is sent again is the same, cut otherwise.
    let again = [&CHROMIUM_AGAIN[..], &CHROMIUM].concat();
    assert_eq!(hello_in(&again), hello_in(&CHROMIUM));
}

proptest! {
    #[test]
    fn a_name_is_known_when_the_bytes_up_to_it_are_there(
        (hello, needed) in real_hello(),
        sending in sending(),
    ) {
        let ends = ("10.77.0.2:40000".parse().unwrap(), "203.0.113.7:443".parse().unwrap());
        let (ruleset, mut inspector) = (ruleset(), Inspector::default());
        let mut scratch = [0; 2048];
        let mut refused = false;
        for (payload, sent) in sending.datagrams(&hello) {
            let packet = datagram(ends, &payload);
            let seen = inspector.inspect(&packet, None.into(), UnixSeconds(0), &ruleset, &mut scratch);
            if contiguous(&sent) < needed {
                prop_assert_eq!((seen.act, seen.reading), (Act::Pass, Reading::Incomplete));
                prop_assert!(seen.sighting.is_none());
                continue;
            }
            let Act::Answer { length, second_length, .. } = seen.act else {
                panic!("{seen:?}");
            };
            Forged::default().tell(&scratch[..length], ends.1, ends.0).unwrap();
            let second = &scratch[length..][..second_length];
            Forged::default().tell(second, ends.1, ends.0).unwrap();
            let told = seen.sighting.map(|it| (it.outcome, it.name.to_string()));
            let expected = (!refused).then(|| (Outcome::Blocked, NAME.to_owned()));
            prop_assert_eq!(told, expected);
            refused = true;
        }
        prop_assert!(refused);
    }

    #[test]
    fn names_are_the_ones_that_tls_parser_reads(hello in hello_in_handshake()) {
        // Extensions of random bytes are not all to its taste.
        if let Ok(theirs) = by_tls_parser(&hello) {
            let name = theirs.and_then(|name| DomainName::from_ascii(&name).ok());
            let expected = name.map_or(Detected::NotPresent, Detected::Found);
            prop_assert_eq!(server_name_in_handshake(&hello), expected);
        }
    }

    /// Whatever connection is refused, its end can be read with the keys that its client has.
    #[test]
    fn an_end_can_be_read_by_whom_it_is_for(
        version in 1..=2_u32,
        [destination, first_destination, source] in prop::array::uniform3(
            prop::collection::vec(any::<u8>(), 0..=20)
        ),
        room in 0..200_usize,
    ) {
        let sent = Initial {
            version,
            destination: &destination,
            first_destination: &first_destination,
            source: &source,
            token: b"",
            number: 0,
            frames: &crypto(0, b"hello"),
        };
        let sent = sent.packet();
        let Some(Ok(Packet::Initial(initial))) = packets(&sent).next() else {
            panic!("it is an Initial");
        };
        let first = ConnectionId::new(&first_destination).unwrap();
        let mut out = vec![0xee; room];
        let length = quic_close::write(&initial, &first, &mut out);
        let whole = 7 + source.len() + destination.len() + 2 + 38;
        prop_assert_eq!(length, (room >= whole).then_some(whole));
        if length.is_some() {
            let close = Close {
                version,
                destination: source,
                source: destination,
                error: 2,
                reason: "refused by Muzzle".to_owned(),
            };
            prop_assert_eq!(Close::open(&out[..whole], Some(&first_destination)), Some(close));
            // Nobody else's keys open it.
            prop_assert_eq!(Close::open(&out[..whole], Some(b"another")), None);
            prop_assert!(matches!(
                packets(&out[..whole]).next(),
                Some(Ok(Packet::Initial(end))) if end.version == initial.version
                    && end.destination == initial.source
                    && end.source == initial.destination
            ));
        }
    }

    #[test]
    fn any_bytes_for_a_datagram(
        bytes in damaged(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            Just(CHROMIUM[0].to_vec()),
            Just([CHROMIUM[1], AIOQUIC_V2].concat()),
        ]),
    ) {
        let mut out = [0; MAX_INITIAL_BYTES];
        for packet in packets(&bytes) {
            if let Ok(Packet::Initial(initial)) = packet {
                let _ = initial.open(&initial.source, &mut out);
                let _ = initial.open(&initial.destination, &mut out);
            }
        }
    }

    #[test]
    fn any_bytes_for_frames(pieces in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            (0..20_000_usize, 0..300_usize).prop_map(|(offset, length)| {
                crypto(offset % 0x4000, &vec![7; length])
            }),
        ],
        0..20,
    )) {
        let frames = pieces.concat();
        let mut stream = Reassembly::new();
        for frame in crypto_frames(&frames).map_while(Result::ok) {
            let start = stream.start().len();
            stream.insert(frame.offset, frame.data);
            prop_assert!(stream.start().len() >= start);
        }
    }
}
