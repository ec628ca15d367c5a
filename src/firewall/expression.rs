//! The u32 prefilter: which TCP payloads are worth a look from user space. Bulk data never is.
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
