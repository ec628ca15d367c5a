//! What PCAPdroid writes beside a packet when its "PCAPdroid extensions" are on: whose it is.
//!
//! In pcap files each packet has an Ethernet header of zeros before it and a trailer behind it.
//! In pcapng files a custom block names each app once, and each packet has its uid as a comment.
//! Both as in `app/src/main/jni/core/pcap_dump.c` of github.com/emanuele-f/PCAPdroid; the trailer
//! is the same since version 1.4.0 (2021).

use crate::apps::{AppId, PackageName};
use crate::decide::Uid;

/// Magic number (4 bytes), uid (4), name of the app (20, filled up with zeros), a checksum (4):
/// network byte order. The checksum covers the whole frame and is not looked at, nor does
/// PCAPdroid's own plugin for Wireshark.
const TRAILER_BYTES: usize = 32;
const MAGIC: [u8; 4] = 0x0107_2021_u32.to_be_bytes();
const NAME_BYTES: usize = 20;
const ETHERNET_BYTES: usize = 14;

/// PCAPdroid's number among those who define pcapng blocks (IANA "Private Enterprise Numbers").
pub(super) const ENTERPRISE: u32 = 62_652;
/// Version 1 of its blocks, type 1: an app.
const APP_BLOCK: [u8; 3] = [1, 0, 1];

/// Whose packet it is, as PCAPdroid saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The user id.
    pub uid: Uid,
    /// What the app is called on the phone's screen, perhaps cut short; may be empty.
    pub title: String,
    /// Its package; pcapng files have it.
    pub package: Option<PackageName>,
}

/// The app of the trailer that ends an Ethernet frame. `None` without one, and where PCAPdroid
/// did not know the app, which is a negative uid.
///
/// Only a frame without hardware addresses has one, behind the end of its IP packet: what an app
/// sends cannot pass for a trailer.
#[must_use]
pub fn trailer(frame: &[u8]) -> Option<App> {
    let (header, packet) = frame.split_first_chunk::<ETHERNET_BYTES>()?;
    let (addresses, ethertype) = header.split_first_chunk::<12>()?;
    let at = packet.len().checked_sub(TRAILER_BYTES)?;
    let trailer = packet.get(at..)?.strip_prefix(&MAGIC)?;
    if *addresses != [0; 12] || ip_length(ethertype, packet)? > at {
        return None;
    }
    let (uid, rest) = trailer.split_first_chunk()?;
    Some(App {
        uid: known_uid(i32::from_be_bytes(*uid))?,
        title: title(rest.get(..NAME_BYTES)?),
        package: None,
    })
}

/// Bytes of an IP packet by its own account, which PCAPdroid's always have.
fn ip_length(ethertype: &[u8], packet: &[u8]) -> Option<usize> {
    let field = |at| {
        let field = packet.get(at..).and_then(<[u8]>::first_chunk)?;
        Some(usize::from(u16::from_be_bytes(*field))).filter(|length| *length > 0)
    };
    match ethertype {
        [0x08, 0x00] => field(2),
        [0x86, 0xdd] => Some(field(4)? + 40),
        _ => None,
    }
}

/// The app that a custom block of PCAPdroid's names, from the bytes behind [`ENTERPRISE`]: version,
/// type, padding, uid, and the lengths of package and title before both. Phones are little-endian.
pub(super) fn app_block(body: &[u8]) -> Option<App> {
    let body = body.strip_prefix(&APP_BLOCK)?.get(1..)?;
    let (uid, body) = body.split_first_chunk()?;
    let (&[package_bytes, title_bytes], body) = body.split_first_chunk()?;
    let (package, body) = body.split_at_checked(package_bytes.into())?;
    let name = body.get(..title_bytes.into())?;
    let package = str::from_utf8(package).ok();
    let uid = known_uid(i32::from_le_bytes(*uid))?;
    Some(App {
        uid,
        title: title(name),
        // What the system's own uids are called there are no packages.
        package: package
            .filter(|_| AppId::APPS.contains(&uid.app_id()))
            .and_then(|package| PackageName::from_text(package).ok()),
    })
}

/// The uid in a packet's comment, as in `u-10123`.
pub(super) fn comment_uid(comment: &str) -> Option<Uid> {
    known_uid(comment.strip_prefix("u-")?.parse().ok()?)
}

fn known_uid(uid: i32) -> Option<Uid> {
    u32::try_from(uid).ok().map(Uid)
}

/// Text to show: up to the first zero, without what a cut has left of a character and without
/// what a terminal would take for a command.
fn title(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text =
        String::from_utf8_lossy(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes));
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    whole.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as PCAPdroid writes it: this IP packet, filled up to whole words, and the trailer.
    fn frame(ethertype: [u8; 2], packet: &[u8], uid: i32, name: &[u8]) -> Vec<u8> {
        let mut frame = [&[0; 12][..], &ethertype, packet].concat();
        frame.resize(frame.len().next_multiple_of(4), 0);
        frame.extend([1, 7, 0x20, 0x21]);
        frame.extend(uid.to_be_bytes());
        frame.extend(name);
        frame.resize(frame.len() + NAME_BYTES - name.len(), 0);
        frame.extend([0xde, 0xad, 0xbe, 0xef]);
        frame
    }

    fn v4(payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(20 + payload.len()).unwrap();
        [&[0x45, 0, 0, length][..], &[0; 16], payload].concat()
    }

    #[test]
    fn the_app_stands_behind_the_packet() {
        let v6 = [&[0x60, 0, 0, 0, 0, 3][..], &[0; 34], b"abc"].concat();
        for (ethertype, packet) in [([8, 0], v4(b"abcde")), ([0x86, 0xdd], v6)] {
            let frame = frame(ethertype, &packet, 10_123, b"Mi Browser");
            let app = trailer(&frame).unwrap();
            assert_eq!((app.uid, app.title.as_str()), (Uid(10_123), "Mi Browser"));
            assert_eq!(app.package, None);
            for end in 0..frame.len() {
                assert_eq!(trailer(&frame[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn an_unknown_app_is_none() {
        assert_eq!(trailer(&frame([8, 0], &v4(b""), -1, b"")), None);
        assert_eq!(
            trailer(&frame([8, 0], &v4(b""), 0, b"")).unwrap().uid,
            Uid(0)
        );
    }

    #[test]
    fn a_payload_does_not_pass_for_a_trailer() {
        let inner = frame([8, 0], &v4(b""), 10_123, b"somebody else");
        let forged = &inner[inner.len() - TRAILER_BYTES..];
        let sent = [&[0; 12][..], &[8, 0], &v4(forged)].concat();
        assert_eq!(trailer(&sent), None);
        // Of an interface that has hardware addresses.
        let mut padded = inner.clone();
        padded[5] = 1;
        assert_eq!(trailer(&padded), None);
        // Its length cannot be told.
        let mut endless = inner;
        endless[16..18].fill(0);
        assert_eq!(trailer(&endless), None);
    }

    #[test]
    fn titles_are_made_fit_to_be_shown() {
        let cut = "电池与性能电池";
        for (written, shown) in [
            (&b"a\x1b[31mb\nc"[..], "a[31mbc"),
            (&cut.as_bytes()[..NAME_BYTES], "电池与性能电"),
            (b"\xff\xfe", ""),
            (b"a\0b", "a"),
        ] {
            let app = trailer(&frame([8, 0], &v4(b""), 10_123, written)).unwrap();
            assert_eq!(app.title, shown);
        }
    }

    fn block(uid: i32, package: &str, title: &str) -> Vec<u8> {
        let lengths = [package, title].map(|text| u8::try_from(text.len()).unwrap());
        let texts = [package.as_bytes(), title.as_bytes()].concat();
        [
            &[1, 0, 1, 0][..],
            &uid.to_le_bytes(),
            &lengths,
            &texts,
            &[0; 3],
        ]
        .concat()
    }

    #[test]
    fn a_block_names_an_app() {
        let bytes = block(10_123, "com.mi.globalbrowser", "Mi Browser");
        let app = app_block(&bytes).unwrap();
        assert_eq!((app.uid, app.title.as_str()), (Uid(10_123), "Mi Browser"));
        assert_eq!(app.package.unwrap().as_str(), "com.mi.globalbrowser");
        for end in 0..bytes.len() - 3 {
            assert_eq!(app_block(&bytes[..end]), None, "{end}");
        }
        for (uid, package) in [(1000, "android"), (10_123, "Not a package")] {
            let app = app_block(&block(uid, package, "x")).unwrap();
            assert_eq!(app.package, None, "{package}");
        }
        assert_eq!(app_block(&block(-1, "", "Unknown")), None);
        let mut other_type = bytes;
        other_type[2] = 2;
        assert_eq!(app_block(&other_type), None);
    }

    #[test]
    fn a_comment_may_be_a_uid() {
        assert_eq!(comment_uid("u-10123"), Some(Uid(10_123)));
        for other in ["u--1", "u-", "10123", "u-1x", "U-1", "u-4294967296"] {
            assert_eq!(comment_uid(other), None, "{other}");
        }
    }
}
