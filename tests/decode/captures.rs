//! Uploads over plain HTTP, as tcpdump saw Java's HttpURLConnection send them.

use serde_json::json;

use super::write::{ETHERNET, Order, Section, pcap};
use super::{decode, names, uploads};

const CAPTURE: &[u8] = include_bytes!("../data/decode/uploads.pcap");

/// The frames of the capture, a classic file of this machine's byte order.
fn frames() -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), &CAPTURE[24..]);
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap());
        let (frame, after) = rest[16..].split_at(usize::try_from(length).unwrap());
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// Where each upload went, what became of it, and how many events it has.
fn told(file: &[u8]) -> Vec<String> {
    let tell = |upload: &serde_json::Value| {
        let [to, status] = ["to", "status"].map(|key| upload[key].as_str().unwrap());
        format!("{to} {status} {}", names(upload).len())
    };
    uploads(file).iter().map(tell).collect()
}

const TOLD: [&str; 6] = [
    "http://data.mistat.xiaomi.com/mistats/v2 decoded 4",
    "http://sa.example.org/sa decoded 3",
    "http://sa.example.org/sa decoded 3",
    "http://sa.example.org/sa decoded 3",
    "http://tracking.miui.com/track/v4 encrypted 0",
    "http://sa.example.org/sa.gif decoded 1",
];

#[test]
fn requests_in_pieces_in_chunks_and_packed_are_read() {
    assert_eq!(told(CAPTURE), TOLD);
    let summary = decode(CAPTURE, true).summary;
    assert_eq!(
        (summary.input, summary.requests, summary.encrypted),
        ("capture", 7, 1)
    );
    let time = uploads(CAPTURE)[0]["time"].as_str().unwrap().to_owned();
    assert!(time.starts_with("2026-"), "{time}");
    let mut section = Section::new(Order::Big);
    section.interface(ETHERNET, &[]);
    for frame in frames() {
        section.packet(0, 0, &frame, &[]);
    }
    assert_eq!(told(&section.bytes), TOLD);
}

#[test]
fn packets_that_come_twice_or_swapped_change_nothing() {
    let frames = frames();
    let twice: Vec<_> = frames
        .iter()
        .flat_map(|it| [it.clone(), it.clone()])
        .collect();
    let mut swapped = frames.clone();
    // The SYN of a connection stays before what follows it.
    for pair in swapped.chunks_mut(2) {
        let is_syn = |frame: &[u8]| frame[14 + 20 + 13] & 2 != 0;
        if !pair.iter().any(|frame| is_syn(frame)) {
            pair.reverse();
        }
    }
    for frames in [twice, swapped] {
        assert_eq!(
            told(&pcap(Order::Little, false, ETHERNET, 0, &frames)),
            TOLD
        );
    }
}

/// Without one packet after the other: what misses a piece is told as cut, all else is read.
#[test]
fn a_missing_packet_costs_its_own_upload_only() {
    let frames = frames();
    let mut cut = 0;
    for missing in 0..frames.len() {
        let mut rest = frames.clone();
        rest.remove(missing);
        let file = pcap(Order::Little, false, ETHERNET, 0, &rest);
        let told = decode(&file, true);
        assert_eq!(told.error, None);
        let decoded = told.summary.uploads - told.summary.damaged;
        assert!(decoded >= 5, "without packet {missing}: {decoded}");
        cut += told.summary.damaged;
        if told.summary.damaged > 0 {
            assert!(told.text.contains("cut: "), "{}", told.text);
        }
    }
    assert!(cut > 10, "{cut}");
}

#[test]
fn a_capture_that_ends_too_soon_gives_what_is_there() {
    for end in (0..CAPTURE.len()).step_by(97) {
        let told = decode(&CAPTURE[..end], true);
        assert!(told.summary.uploads <= 6);
    }
    let told = decode(&CAPTURE[..CAPTURE.len() - 1], true);
    assert_eq!(told.summary.uploads, 6);
    assert!(told.error.unwrap().contains("the file ends in the middle"));
}

#[test]
fn a_capture_without_uploads_is_no_error() {
    let frames = frames();
    // The last connection fetches a page.
    let last = frames[frames.len() - 8..].to_vec();
    let told = decode(&pcap(Order::Little, false, ETHERNET, 0, &last), false);
    assert_eq!(
        (told.error, &told.text[..], told.summary.uploads),
        (None, "", 0)
    );
    assert_eq!(json!(told.summary.requests), 1);
}
