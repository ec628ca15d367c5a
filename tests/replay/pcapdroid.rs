//! Captures of PCAPdroid, which know the app of each packet.

use std::process::Stdio;

use serde_json::Value;

use super::write::{COMMENT, ETHERNET, Order, RAW, Section, pcap};
use super::{AT, BLOCKED, HELLO, TemporaryFile, muzzle_with, parsed, replay, segment, text};

const UID: i32 = 10_123;
const RULES: &str = "[[rule]]\napp = \"com.example.app\"\nname = \"*.mistat.xiaomi.com\"\n\
                     action = \"allow\"\n";

fn hello() -> Vec<u8> {
    segment("10.215.173.1:5000", "198.51.100.7:443", 1, HELLO)
}

/// The header of zeros and the trailer.
fn extended(packet: &[u8], uid: i32, title: &str) -> Vec<u8> {
    let mut frame = [&[0; 12][..], &[8, 0], packet].concat();
    frame.resize(frame.len().next_multiple_of(4), 0);
    frame.extend(0x0107_2021_u32.to_be_bytes());
    frame.extend(uid.to_be_bytes());
    frame.extend(title.as_bytes());
    frame.resize(frame.len() + 24 - title.len(), 0);
    frame
}

/// App, action and reason of the only line.
fn told(file: &[u8], packages: &str) -> [Value; 3] {
    let told = replay(file, RULES, packages, true, true);
    assert_eq!(told.error, None);
    let [line] = &parsed(&told.lines)[..] else {
        panic!("{:?}", told.lines);
    };
    assert_eq!(line["name"], BLOCKED);
    ["app", "action", "reason"].map(|field| line[field].clone())
}

#[test]
fn the_trailer_tells_the_app_and_its_rules_apply() {
    let file = |uid, title| {
        let frame = extended(&hello(), uid, title);
        pcap(Order::Little, false, ETHERNET, AT, &[frame])
    };
    let installed = "com.example.app 10123 0 /data none\n";
    let [app, action, reason] = told(&file(UID, "Example"), installed);
    assert_eq!((app, action), ("com.example.app".into(), "allow".into()));
    assert!(
        reason.as_str().unwrap().starts_with("your rule 1"),
        "{reason}"
    );
    // The packages of this phone are not known here, or this is another app.
    for (uid, packages, expected) in [
        (UID, "", "Example (uid 10123)"),
        (10_124, installed, "Example (uid 10124)"),
        (1000, installed, "system"),
    ] {
        let [app, action, _] = told(&file(uid, "Example"), packages);
        assert_eq!((app, action), (expected.into(), "block".into()));
    }
    let [app, action, _] = told(&file(-1, ""), installed);
    assert_eq!((app, action), (Value::Null, "block".into()));
}

#[test]
fn pcapng_names_the_package_itself() {
    let named = |uid: i32, package: &str, title: &str| {
        let lengths = [package.len(), title.len()].map(|length| u8::try_from(length).unwrap());
        let texts = [package, title].concat();
        let head = [
            &62_652_u32.to_le_bytes()[..],
            &[1, 0, 1, 0],
            &uid.to_le_bytes(),
        ]
        .concat();
        [&head[..], &lengths, texts.as_bytes()].concat()
    };
    let file = |block: Option<Vec<u8>>, comment: &str| {
        let mut section = Section::new(Order::Little);
        section.interface(RAW, &[]);
        if let Some(block) = block {
            section.block(0xbad, &block);
        }
        section.packet(0, AT / 1000, &hello(), &[(COMMENT, comment.as_bytes())]);
        section.bytes
    };
    let ours = || Some(named(UID, "com.example.app", "Example"));
    let [app, action, reason] = told(&file(ours(), "u-10123"), "");
    assert_eq!((app, action), ("com.example.app".into(), "allow".into()));
    assert!(
        reason.as_str().unwrap().starts_with("your rule 1"),
        "{reason}"
    );
    let other = Some(named(UID, "com.example.other", "Other"));
    let [app, action, _] = told(&file(other, "u-10123"), "");
    assert_eq!((app, action), ("com.example.other".into(), "block".into()));
    // Nobody said that the comment is a uid, or whose.
    for (block, comment) in [
        (None, "u-10123"),
        (ours(), "u-10124"),
        (ours(), "about u-10123"),
    ] {
        let [app, action, _] = told(&file(block, comment), "");
        assert_eq!((app, action), (Value::Null, "block".into()), "{comment}");
    }
}

#[test]
fn rules_that_cannot_apply_are_told_of() {
    let packages = TemporaryFile::new(b"com.example.app 10123 0 /data none\n");
    let list = format!("[apps]\npackages_list = \"{}\"\n", packages.path());
    let frame = extended(&hello(), UID, "Example");
    let file = TemporaryFile::new(&pcap(Order::Little, false, ETHERNET, AT, &[frame]));
    for (config, is_known) in [(RULES.to_owned(), false), (list + RULES, true)] {
        let output = muzzle_with(&config, &[file.path()], Stdio::null());
        assert_eq!(output.status.code(), Some(0));
        let note = "which user id com.example.app has is not known here";
        assert_eq!(!text(&output.stderr).contains(note), is_known, "{config}");
        assert_eq!(
            text(&output.stdout).contains("allowed"),
            is_known,
            "{config}"
        );
    }
}
