//! Files that end too soon, are something else, or contradict themselves.

use std::io::Write;
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::write::{ETHERNET, Order, RAW, Section, pcap};
use super::{AT, TemporaryFile, muzzle, muzzle_with, replay, text, traffic};

/// The offsets where blocks end, the start of the file not among them.
fn cuts(file: &[u8], end_of_header: usize, next: impl Fn(&[u8]) -> usize) -> Vec<usize> {
    let mut ends = vec![end_of_header];
    while let Some(&end) = ends.last()
        && end < file.len()
    {
        ends.push(end + next(&file[end..]));
    }
    ends
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let word = bytes[at..at + 4].try_into().unwrap();
    usize::try_from(u32::from_le_bytes(word)).unwrap()
}

#[test]
fn a_file_cut_anywhere_is_told_up_to_there() {
    let frames = traffic();
    let classic = pcap(Order::Little, false, RAW, AT, &frames);
    let mut section = Section::new(Order::Little);
    section.interface(RAW, &[]);
    for frame in &frames {
        section.packet(0, AT / 1000, frame, &[(1, b"a comment")]);
    }
    let newer = section.bytes;
    let ends = [
        cuts(&classic, 24, |rest| 16 + u32_at(rest, 8)),
        cuts(&newer, 28, |rest| u32_at(rest, 4)),
    ];
    // In a pcapng file the interface comes before the packets.
    for ((file, ends), other_blocks) in [classic, newer].iter().zip(ends).zip([1, 2]) {
        assert_eq!(ends.len(), frames.len() + other_blocks);
        for end in 0..=file.len() {
            let told = replay(&file[..end], "", "", true, true);
            let whole = ends.iter().filter(|block_end| **block_end <= end).count();
            let packets = whole.saturating_sub(other_blocks);
            assert_eq!(told.packets, u64::try_from(packets).unwrap(), "{end}");
            let expected = [0, 1, 1, 2, 2, 2, 3][packets];
            assert_eq!(told.lines.len(), expected, "{end}");
            let Some(error) = told.error else {
                assert!(ends.contains(&end), "cut at {end}, and nothing is said");
                continue;
            };
            assert!(!ends.contains(&end), "{end}: {error}");
            if end == 0 {
                assert_eq!(error, "the file is empty");
                continue;
            }
            let start = ends
                .iter()
                .rfind(|block_end| **block_end < end)
                .unwrap_or(&0);
            let after = match packets {
                0 => "before the first packet".to_owned(),
                packets => format!("after packet {packets}"),
            };
            let place = format!("at byte {start}, {after}: the file ends in the middle: ");
            assert!(error.starts_with(&place), "{end}: {error}");
            let present = format!(": {} of ", end - start);
            assert!(error.contains(&present), "{end}: {error}");
        }
    }
}

fn error(file: &[u8]) -> String {
    replay(file, "", "", true, true).error.unwrap()
}

#[test]
fn what_is_no_capture_is_named() {
    for (start, said) in [
        (
            &[0x28, 0xb5, 0x2f, 0xfd, 4][..],
            "Zstandard; unpack it first: unzstd",
        ),
        (b"\xfd7zXZ\0", "xz; unpack it first: unxz"),
        (
            b"#!/bin/sh\n",
            "neither pcap nor pcapng: it starts with the bytes [23, 21, 2f, 62]",
        ),
    ] {
        let error = error(start);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_gzip_file_is_unpacked_as_far_as_it_goes() {
    let file = pcap(Order::Little, false, RAW, AT, &traffic());
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&file).unwrap();
    let packed = packed.finish().unwrap();
    let (plain, whole) = (
        replay(&file, "", "", true, true),
        replay(&packed, "", "", true, true),
    );
    assert_eq!((whole.lines, whole.error), (plain.lines, None));
    for end in 1..packed.len() {
        let told = replay(&packed[..end], "", "", true, true);
        assert!(told.error.is_some(), "{end}");
    }
}

#[test]
fn a_link_type_that_is_not_known_is_named() {
    let wifi = pcap(Order::Little, false, 105, AT, &traffic());
    let said = "link type 105 is not known; known are 0 (BSD loopback), 1 (Ethernet)";
    assert!(error(&wifi).contains(said), "{}", error(&wifi));
    // An interface that has no packet is no matter.
    let mut section = Section::new(Order::Little);
    section.interface(RAW, &[]);
    section.interface(105, &[]);
    section.packet(0, AT / 1000, &traffic()[0], &[]);
    let told = replay(&section.bytes, "", "", true, true);
    assert_eq!((told.error, told.lines.len()), (None, 1));
    let end = section.bytes.len();
    section.packet(1, AT / 1000, &traffic()[0], &[]);
    let told = replay(&section.bytes, "", "", true, true);
    assert_eq!(told.lines.len(), 1);
    let place = format!("at byte {end}, after packet 1: link type 105");
    assert!(told.error.unwrap().starts_with(&place));
}

#[test]
fn contradictions_are_named() {
    let mut section = Section::new(Order::Little);
    section.interface(RAW, &[]);
    let before = section.bytes.len();
    section.packet(0, AT, &traffic()[0], &[]);
    let file = section.bytes;
    let damaged = |at: usize, value: u32| {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        error(&file)
    };
    let end = u32::try_from(file.len() - before).unwrap();
    for (at, value, said) in [
        (8, 7, "a section header without byte order"),
        (12, 2, "pcapng of version 2; known is 1"),
        (before + 4, 8, "a block that claims 8 bytes"),
        (before + 4, end + 1, "a block that claims"),
        (before + 4, u32::MAX - 3, "a length of 4294967292 bytes"),
        (
            file.len() - 4,
            12,
            "a block that has another length at its end",
        ),
        (
            before,
            2,
            "a Packet Block, which newer blocks have replaced",
        ),
        (
            before + 8,
            3,
            "a packet of interface 3, where 1 are described",
        ),
        (before + 20, 4000, "something in it is longer than itself"),
    ] {
        let error = damaged(at, value);
        assert!(error.contains(said), "{at}: {error}");
    }
    let mut classic = pcap(Order::Little, false, RAW, AT, &traffic());
    classic[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(
        error(&classic).contains("at byte 24, before the first packet: the file is damaged")
    );
}

/// They are counted, and the rest is told.
#[test]
fn packets_that_are_cut_or_are_no_ip_do_not_end_it() {
    let mut frames = Vec::new();
    for packet in traffic() {
        let ethertype = if packet[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        frames.push([&[2; 12][..], &ethertype, &packet].concat());
    }
    frames.push(vec![2; 13]); // no whole Ethernet header
    frames.push([&frames[0][..14], &[0x45, 0]].concat());
    frames.push([&frames[0][..14], &[0x99; 30]].concat()); // IP of version 9
    frames.push([&[2; 12][..], &[8, 6], &[0; 28]].concat()); // ARP
    frames.rotate_left(6);
    let told = replay(
        &pcap(Order::Little, false, ETHERNET, AT, &frames),
        "",
        "",
        true,
        true,
    );
    assert_eq!((told.packets, told.malformed, told.lines.len()), (10, 3, 3));
    assert_eq!(told.error, None);
}

#[test]
fn the_exit_status_tells_who_has_to_change_something() {
    let whole = pcap(Order::Little, false, RAW, AT, &traffic());
    let cut = TemporaryFile::new(&whole[..whole.len() - 1]);
    let output = muzzle(&[cut.path(), "--all", "--json"], Stdio::null());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout).lines().count(),
        2,
        "what was there is told"
    );
    let complaint = text(&output.stderr);
    let (summary, error) = complaint.split_once('\n').unwrap();
    assert!(summary.starts_with("5 packets read"), "{complaint}");
    let said = format!("muzzle: {}: at byte ", cut.path());
    assert!(error.starts_with(&said), "{complaint}");

    let output = muzzle(&["/nowhere/at.pcap"], Stdio::null());
    assert_eq!(output.status.code(), Some(1));
    let complaint = text(&output.stderr);
    assert!(
        complaint.starts_with("muzzle: cannot open /nowhere/at.pcap: "),
        "{complaint}"
    );

    let output = muzzle_with("mode = \"asleep\"\n", &[cut.path()], Stdio::null());
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    let output = muzzle(&[], Stdio::null());
    assert_eq!(output.status.code(), Some(64));
}
