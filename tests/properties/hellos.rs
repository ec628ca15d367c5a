//! What clients say first on a connection, in pieces: the piece that completes the name decides,
//! whatever the order in which they come.

use std::sync::{Arc, LazyLock};

use muzzle::inspect::{Inspection, Inspector, Reading, Ruleset};
use muzzle::parse::tcp::TcpFlags;
use muzzle::parse::{Detected, http, tls};
use proptest::prelude::*;
use proptest::sample::Index;

use super::inspector::{APP, NOW, SCRATCH_BYTES, assert_sound, ruleset, segment};

/// First words of real clients, all to `data.mistat.xiaomi.com`, and the port they were meant for.
const STREAMS: [(&str, u16, &[u8]); 13] = [
    (
        "openssl 1.3",
        443,
        include_bytes!("../data/openssl3_tls13.bin"),
    ),
    (
        "openssl 1.2",
        443,
        include_bytes!("../data/openssl3_tls12.bin"),
    ),
    (
        "openssl in records",
        443,
        include_bytes!("../data/openssl3_fragments.bin"),
    ),
    ("curl", 443, include_bytes!("../data/curl7_http2.bin")),
    ("Chrome", 443, include_bytes!("../data/chrome146_pq.bin")),
    (
        "Chrome for Android",
        443,
        include_bytes!("../data/chrome131_android.bin"),
    ),
    ("Firefox", 443, include_bytes!("../data/firefox147.bin")),
    ("Node.js", 443, include_bytes!("../data/node24_pq.bin")),
    ("GnuTLS", 443, include_bytes!("../data/gnutls3.bin")),
    ("Java", 443, include_bytes!("../data/java17.bin")),
    ("Go", 443, include_bytes!("../data/go1_19.bin")),
    ("curl POST", 80, include_bytes!("../data/curl7_post.bin")),
    (
        "curl through a proxy",
        80,
        include_bytes!("../data/curl7_proxy.bin"),
    ),
];

const SYN: u8 = TcpFlags::SYN.0;
const DATA: u8 = TcpFlags::PSH.with(TcpFlags::ACK).0;
static BLOCKING: LazyLock<Arc<Ruleset>> =
    LazyLock::new(|| ruleset("[[rule]]\nname = \"*.mistat.xiaomi.com\"\naction = \"block\""));

/// Where in a stream a piece stands.
type Piece = std::ops::Range<usize>;

/// The SYN, then these pieces of a stream; the SYN's inspection left out.
fn say(
    inspector: &mut Inspector,
    port: u16,
    client_port: u16,
    start: u32,
    stream: &[u8],
    pieces: &[Piece],
) -> Vec<Inspection> {
    let ends = (
        ([10, 77, 0, 2], client_port).into(),
        ([203, 0, 113, 7], port).into(),
    );
    let mut scratch = [0; SCRATCH_BYTES];
    let mut inspect = |packet: &[u8]| {
        let seen = inspector.inspect(packet, Some(APP).into(), NOW, &BLOCKING, &mut scratch);
        assert_sound(&seen, &scratch, &BLOCKING);
        seen
    };
    inspect(&segment(ends, SYN, start.wrapping_sub(1), b""));
    let piece = |piece: &Piece| {
        let offset = u32::try_from(piece.start).unwrap();
        inspect(&segment(
            ends,
            DATA,
            start.wrapping_add(offset),
            &stream[piece.clone()],
        ))
    };
    pieces.iter().map(piece).collect()
}

/// [`needed`] of each stream.
static NEEDED: LazyLock<[usize; STREAMS.len()]> =
    LazyLock::new(|| STREAMS.map(|(_, _, stream)| needed(stream)));

/// How many bytes of a stream it takes until the name is there.
fn needed(stream: &[u8]) -> usize {
    let names = |end: &usize| match stream[0] {
        tls::RECORD_HANDSHAKE => tls::server_name(&stream[..*end]) != Detected::Incomplete,
        _ => http::request(&stream[..*end]) != Detected::Incomplete,
    };
    let needed = (1..=stream.len()).find(names);
    needed.expect("the stream names a host")
}

/// Everything passes as not whole until the name is there; then nothing passes any more.
fn assert_refused_once_it_is_named(
    what: &str,
    needed: usize,
    pieces: &[Piece],
    seen: &[Inspection],
) {
    let mut come = std::collections::BTreeSet::new();
    let mut is_named = false;
    for (piece, seen) in pieces.iter().zip(seen) {
        let was_named = is_named;
        come.extend(piece.clone());
        is_named = is_named || (0..needed).all(|at| come.contains(&at));
        if is_named {
            assert!(
                !seen.act.passes(),
                "{what}, {pieces:?}, at {piece:?}: {seen:?}"
            );
            let name = seen.sighting.as_ref().map(|it| it.name.to_string());
            let expected = (!was_named).then(|| "data.mistat.xiaomi.com".to_owned());
            assert_eq!(name, expected, "{what}, {pieces:?}, at {piece:?}");
        } else if !piece.is_empty() {
            assert_eq!(
                seen.reading,
                Reading::Incomplete,
                "{what}, {pieces:?}, at {piece:?}"
            );
        }
    }
    assert!(is_named);
}

#[test]
fn a_real_hello_cut_in_two_anywhere_in_either_order() {
    for ((what, port, stream), needed) in STREAMS.into_iter().zip(*NEEDED) {
        let mut inspector = Inspector::default();
        for cut in 1..stream.len() {
            for (order, pieces) in [[0..cut, cut..stream.len()], [cut..stream.len(), 0..cut]]
                .iter()
                .enumerate()
            {
                let client_port = u16::try_from(1024 + 2 * cut + order).unwrap();
                let seen = say(&mut inspector, port, client_port, 7, stream, pieces);
                assert_refused_once_it_is_named(what, needed, pieces, &seen);
            }
        }
    }
}

#[test]
fn a_real_hello_byte_by_byte() {
    for ((what, port, stream), needed) in STREAMS.into_iter().zip(*NEEDED) {
        let pieces: Vec<_> = (0..stream.len()).map(|at| at..at + 1).collect();
        let seen = say(
            &mut Inspector::default(),
            port,
            40_000,
            u32::MAX - 3,
            stream,
            &pieces,
        );
        assert_refused_once_it_is_named(what, needed, &pieces, &seen);
    }
}

proptest! {
    /// Pieces that overlap, come twice, and in any order.
    #[test]
    fn a_real_hello_in_any_pieces(
        which in 0..STREAMS.len(),
        start: u32,
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        extra in prop::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        order in any::<u64>(),
    ) {
        let ((what, port, stream), needed) = (STREAMS[which], NEEDED[which]);
        let mut borders: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        borders.extend([0, stream.len()]);
        borders.sort_unstable();
        borders.dedup();
        let mut pieces: Vec<Piece> = borders.windows(2).map(|pair| pair[0]..pair[1]).collect();
        for (from, to) in extra {
            let from = from.index(stream.len());
            pieces.push(from..from + 1 + to.index(stream.len() - from));
        }
        pieces.sort_by_key(|piece| {
            let mixed = order ^ (piece.start as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ piece.end as u64
        });
        let seen = say(&mut Inspector::default(), port, 40_000, start, stream, &pieces);
        assert_refused_once_it_is_named(what, needed, &pieces, &seen);
    }

    /// A hello that never names its host within what is looked at: its pieces pass, and what
    /// comes beyond is nobody's business any more.
    #[test]
    fn what_is_too_long_to_be_looked_at_passes(
        piece_bytes in 100_usize..3000,
    ) {
        let endless = [&b"GET /"[..], &[b'a'; 20_000]].concat();
        let pieces: Vec<Piece> = (0..endless.len())
            .step_by(piece_bytes)
            .map(|at| at..endless.len().min(at + piece_bytes))
            .collect();
        let seen = say(&mut Inspector::default(), 80, 40_000, 9, &endless, &pieces);
        let readings: Vec<_> = seen.iter().map(|it| it.reading).collect();
        let first_whole = readings.iter().position(|it| *it == Reading::Understood);
        let end = pieces[first_whole.expect("given up")].end;
        prop_assert!((8192..8192 + piece_bytes).contains(&end), "{end}");
        prop_assert!(seen.iter().all(|it| it.act.passes()));
    }
}
