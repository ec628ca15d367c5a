//! What is read: formats, byte orders, link types, time stamps; and how it is told.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::write::{ETHERNET, OFFSET, Order, RAW, RESOLUTION, Section, pcap};
use super::{AT, BLOCKED, HELLO, TOLD, TemporaryFile, all, muzzle, names, parsed, replay};
use super::{datagram, query, segment, text, traffic};

/// A link type's number, and what it puts before a packet.
type Framing = (u16, fn(&[u8]) -> Vec<u8>);

fn is_v4(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4
}

fn ethertype(packet: &[u8]) -> [u8; 2] {
    if is_v4(packet) { [8, 0] } else { [0x86, 0xdd] }
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &ethertype(packet)].concat()
}

fn tagged(packet: &[u8]) -> Vec<u8> {
    let tags = [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2];
    [&[2; 12][..], &tags, &ethertype(packet)].concat()
}

fn cooked(packet: &[u8]) -> Vec<u8> {
    [
        &[0, 4, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0][..],
        &ethertype(packet),
    ]
    .concat()
}

fn cooked2(packet: &[u8]) -> Vec<u8> {
    let rest = [0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 2, 2, 2, 2, 2, 0, 0];
    [&ethertype(packet)[..], &rest].concat()
}

fn null(packet: &[u8]) -> Vec<u8> {
    (if is_v4(packet) { 2_u32 } else { 30 })
        .to_le_bytes()
        .to_vec()
}

fn open_bsd_loopback(packet: &[u8]) -> Vec<u8> {
    (if is_v4(packet) { 2_u32 } else { 24 })
        .to_be_bytes()
        .to_vec()
}

fn raw(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

const FRAMINGS: [Framing; 11] = [
    (ETHERNET, ethernet),
    (ETHERNET, tagged),
    (RAW, raw),
    (12, raw),
    (14, raw),
    (228, raw),
    (229, raw),
    (113, cooked),
    (276, cooked2),
    (0, null),
    (108, open_bsd_loopback),
];

fn framed(framing: Framing) -> Vec<Vec<u8>> {
    let frame = |packet: Vec<u8>| [(framing.1)(&packet), packet].concat();
    traffic().into_iter().map(frame).collect()
}

#[test]
fn every_link_type_in_every_format_is_told_the_same() {
    let expected = all(&pcap(Order::Little, false, RAW, AT, &traffic()));
    assert_eq!(names(&expected), TOLD);
    for framing in FRAMINGS {
        let frames = framed(framing);
        for order in Order::BOTH {
            for nanos in [false, true] {
                let file = pcap(order, nanos, framing.0, AT, &frames);
                assert_eq!(all(&file), expected, "pcap {} {order:?} {nanos}", framing.0);
            }
            let mut section = Section::new(order);
            section.interface(framing.0, &[]);
            for frame in &frames {
                section.packet(0, AT / 1000, frame, &[]);
            }
            assert_eq!(
                all(&section.bytes),
                expected,
                "pcapng {} {order:?}",
                framing.0
            );
        }
    }
}

#[test]
fn the_fields_of_a_line() {
    let file = pcap(Order::Little, false, RAW, AT, &traffic());
    let told = replay(&file, "", "", false, true);
    let reason = "catalogue: telemetry, Mi Stat (Xiaomi)";
    let expected = json!({
        "time": "2024-02-29T12:34:56.789012Z",
        "proto": "tcp",
        "src": "2001:db8:77::2",
        "dst": "2001:db8:7::7",
        "dport": 443,
        "evidence": "sni",
        "name": BLOCKED,
        "app": null,
        "action": "block",
        "reason": reason,
        "entry": BLOCKED,
    });
    // Without --all only what somebody knows.
    assert_eq!(parsed(&told.lines), [expected]);
    let fields = [
        "time", "proto", "src", "dst", "dport", "evidence", "name", "app", "action", "reason",
        "entry",
    ];
    let places: Vec<_> = fields
        .iter()
        .map(|field| told.lines[0].find(&format!("\"{field}\":")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{}", told.lines[0]);
    let lines = replay(&file, "", "", false, false).lines;
    assert_eq!(lines.len(), 1);
    // As `muzzle log` tells it, which colours words; the terminal takes that or the program not.
    for words in [
        "blocked",
        "unknown app",
        BLOCKED,
        "tls",
        "Mi Stat, CN (telemetry)",
    ] {
        assert!(lines[0].contains(words), "{}", lines[0]);
    }
}

#[test]
fn a_pcapng_file_has_several_sections_and_interfaces() {
    let question = |name| datagram("10.0.0.2:5000", "10.0.0.1:53", &query(name));
    let ethernet = |packet: Vec<u8>| [ethernet(&packet), packet].concat();
    let mut first = Section::new(Order::Big);
    first.interface(RAW, &[(RESOLUTION, &[9])]);
    first.interface(ETHERNET, &[(RESOLUTION, &[0x80 | 10])]);
    first.block(0x0bad_cafe, &[1, 2, 3]); // of a kind that nobody knows
    first.packet(
        1,
        1_709_210_096 << 10 | 512,
        &ethernet(question("a.example")),
        &[],
    );
    first.packet(0, AT, &question("b.example"), &[]);
    // Known as the first interface; no time stamp.
    first.simple_packet(&question("c.example"));
    let mut second = Section::new(Order::Little);
    second.interface(ETHERNET, &[(OFFSET, &1_709_210_000_i64.to_le_bytes())]);
    second.block(5, &[0; 12]); // interface statistics
    second.packet(0, 96_000_001, &ethernet(question("d.example")), &[]);
    let lines = all(&[first.bytes, second.bytes].concat());
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["name"].as_str().unwrap(),
                line["time"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a.example", "2024-02-29T12:34:56.500000Z"),
            ("b.example", "2024-02-29T12:34:56.789012Z"),
            ("c.example", "2024-02-29T12:34:56.789012Z"),
            ("d.example", "2024-02-29T12:34:56.000001Z"),
        ]
    );
}

#[test]
fn rules_end_by_the_time_of_the_capture() {
    let question = datagram("10.0.0.2:5000", "10.0.0.1:53", &query("a.example"));
    let file = pcap(Order::Little, false, RAW, AT, &[question]);
    for (until, lines) in [("2024-02-29T12:34:56Z", 0), ("2024-02-29T12:34:57Z", 1)] {
        let rule =
            format!("[[rule]]\nname = \"a.example\"\naction = \"block\"\nuntil = {until}\n");
        assert_eq!(
            replay(&file, &rule, "", false, true).lines.len(),
            lines,
            "{until}"
        );
    }
}

/// TCP sends again what is refused; the log tells of it once, and so does replay.
#[test]
fn what_is_sent_again_is_told_once() {
    let hello = segment("10.0.0.2:5000", "198.51.100.7:443", 1000, HELLO);
    let file = pcap(
        Order::Little,
        false,
        RAW,
        AT,
        &[hello.clone(), hello.clone(), hello],
    );
    assert_eq!(names(&all(&file)), [format!("sni {BLOCKED}")]);
}

/// The pieces of a hello in any order, with the SYN in the capture or without.
#[test]
fn a_hello_in_pieces_is_put_together() {
    let (phone, web) = ("10.0.0.2:5000", "198.51.100.7:443");
    let piece = |from: usize, to: usize| {
        let sequence = 1001 + u32::try_from(from).unwrap();
        segment(phone, web, sequence, &HELLO[from..to])
    };
    let mut syn = segment(phone, web, 1000, b"");
    syn[33] = 0x02; // the flags
    let end = HELLO.len();
    let cases = [
        vec![syn.clone(), piece(0, 100), piece(100, end)],
        vec![syn, piece(100, end), piece(3, 100), piece(0, 3)],
        vec![piece(0, 100), piece(100, end)],
    ];
    for packets in cases {
        let mut packets = packets;
        // What comes after it on the same connection says nothing more.
        packets.push(segment(
            phone,
            web,
            1001 + u32::try_from(end).unwrap(),
            &[0x17; 50],
        ));
        let lines = all(&pcap(Order::Little, false, RAW, AT, &packets));
        assert_eq!(
            names(&lines),
            [format!("sni {BLOCKED}")],
            "{}",
            packets.len()
        );
    }
}

#[test]
fn standard_input_is_read_with_a_dash() {
    let file = TemporaryFile::new(&pcap(Order::Big, true, RAW, AT, &traffic()));
    let stdin = std::fs::File::open(file.path()).unwrap();
    let piped = muzzle(&["-", "--json", "--all"], stdin.into());
    let named = muzzle(&[file.path(), "--json", "--all"], Stdio::null());
    assert_eq!(text(&piped.stdout), text(&named.stdout));
    assert_eq!(text(&piped.stdout).lines().count(), TOLD.len());
    for output in [piped, named] {
        assert_eq!(
            text(&output.stderr),
            "6 packets read (0 of them malformed), 2 names seen; 3 decisions, 1 blocked\n"
        );
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_long_capture_is_not_kept_in_memory() {
    const MEBIBYTES: usize = 300;
    let bulk = segment("10.0.0.2:5000", "198.51.100.7:443", 1, &[0x17; 60_000]);
    let start = pcap(Order::Little, false, RAW, AT, &[]);
    let packet = &pcap(Order::Little, false, RAW, AT, &[bulk])[start.len()..];
    // In KiB: a quarter of what comes.
    let script = format!(
        "ulimit -v {}; exec \"$0\" replay --config /dev/null --all -",
        MEBIBYTES * 1024 / 4
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_muzzle")]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&start).unwrap();
    let count = MEBIBYTES * 1024 * 1024 / packet.len();
    for _ in 0..count {
        input.write_all(packet).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let summary = text(&output.stderr);
    assert!(
        summary.starts_with(&format!("{count} packets read")),
        "{summary}"
    );
    assert_eq!(output.status.code(), Some(0));
}
