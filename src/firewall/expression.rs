//! The u32 prefilter: which payloads are worth a look from user space. Bulk data never is.
//!
//! u32 has at most 10 locations and 10 ranges a test, and answers "no" where a location lies
//! beyond the packet. Written as `iptables -S` prints it: numbers in hex, one for 1.

use super::plan::Family;

/// First bytes of a TLS record: type 22 (handshake), legacy version 3.0 to 3.4 (RFC 8446
/// section 5.1; RFC 8701 forbids none of them, and old stacks still send 3.0).
const HANDSHAKE_RECORD: &str = "0x160300:0x160304";

/// The first four bytes of each method of RFC 9110 section 9 and RFC 5789. Nine ranges.
const METHODS: [&[u8; 4]; 9] = [
    b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"CONN", b"PATC", b"TRAC",
];

/// The first four bytes of a QUIC Initial without its protected bits and the fixed bit, which may be
/// greased (RFC 9287): header form, type, and three bytes of the version. Version 1 and what the
/// IETF may number beside it, version 2, and drafts: versions that nobody here can read are counted.
const INITIAL: &str = "&0xb0ffffff=0x80000000,0x906b3343,0x80ff0000";

/// The way to the TCP payload: jumps, and what is then the offset of its first byte.
///
/// IPv4 jumps over the IP header (IHL, `0>>22&0x3C`) and the TCP header (data offset,
/// `12>>26&0x3C`). IPv6 takes the header to be 40 bytes: apps send no extension headers, and a
/// packet that has some is at worst looked at for nothing or passes unseen.
fn start_of_payload(family: Family) -> (&'static str, u32) {
    match family {
        Family::V4 => ("0x0>>0x16&0x3c@0xc>>0x1a&0x3c@", 0),
        Family::V6 => ("0x34>>0x1a&0x3c@", 40),
    }
}

/// A payload that starts with a handshake record whose first message is a ClientHello (type 1).
/// The type tells it from the second flight of TLS 1.2, a handshake record of type 16.
pub(super) fn client_hello(family: Family) -> String {
    let (jumps, start) = start_of_payload(family);
    // The message type is payload byte 5, the last of the four read at 2.
    let message = start + 2;
    format!("{jumps}{start:#x}>>0x8={HANDSHAKE_RECORD}&&{jumps}{message:#x}&0xff=0x1")
}

/// A payload whose first four bytes are a request method.
pub(super) fn http_request(family: Family) -> String {
    let (jumps, start) = start_of_payload(family);
    let methods: Vec<_> = METHODS
        .iter()
        .map(|method| format!("{:#x}", u32::from_be_bytes(**method)))
        .collect();
    format!("{jumps}{start:#x}={}", methods.join(","))
}

/// Any payload of at least the four bytes that u32 reads.
pub(super) fn payload(family: Family) -> String {
    let (jumps, start) = start_of_payload(family);
    format!("{jumps}{start:#x}=0x0:0xffffffff")
}

/// UDP payloads that start with a QUIC Initial, and those where one comes second. A client puts it
/// first, but need not (RFC 9000 section 12.2): another packet could hide it, 0-RTT above all.
/// Datagrams of 0-RTT alone are bulk data.
pub(super) fn quic_initial(family: Family) -> [String; 2] {
    // The second takes an IPv4 header to be 20 bytes: its ten locations are needed elsewhere.
    let (first, header) = match family {
        Family::V4 => (format!("0x0>>0x16&0x3c@0x8{INITIAL}"), 20),
        Family::V6 => (format!("0x30{INITIAL}"), 40),
    };
    let long_header = format!("{:#x}&0x80ffffff=0x80000000,0x806b3343", header + 8);
    // Each jump goes over what the byte before it has told the length of.
    let over_ids = format!("{:#x}&0xff@{:#x}&0xff@", header + 10, header + 11);
    // The packet's own length has two bytes in what clients send (RFC 9000 section 16).
    let two_bytes = format!("{over_ids}{:#x}&0xc0000000=0x40000000", header + 15);
    let over_packet = format!("{over_ids}{:#x}&0x3fff@{:#x}", header + 13, header + 17);
    let second = format!("{long_header}&&{two_bytes}&&{over_packet}{INITIAL}");
    [first, second]
}
