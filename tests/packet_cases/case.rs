//! The form of a case file: what is in force, the packets of one phone in their order, and what
//! is to become of each. `tests/packets/README.md` tells it to people.

use std::net::SocketAddr;
use std::ops::Range;

use serde::Deserialize;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Text of the config file; empty for the defaults.
    #[serde(default)]
    pub(crate) config: String,
    /// Lines of Android's packages.list.
    #[serde(default)]
    pub(crate) packages: String,
    /// Whether the catalogue is the built-in one, with `endpoint` beside it.
    #[serde(default)]
    pub(crate) built_in_catalogue: bool,
    /// Catalogue entries; what they leave out is filled in by [`ENTRY_DEFAULTS`].
    #[serde(default)]
    pub(crate) endpoint: Vec<toml::Table>,
    /// Ends, app and time of packets that do not say otherwise.
    #[serde(default = "phone")]
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) uid: Option<u32>,
    pub(crate) now: Option<toml::value::Datetime>,
    /// They come from a hotspot client, for which the phone passes them on.
    #[serde(default)]
    pub(crate) forwarded: bool,
    pub(crate) packet: Vec<Packet>,
}

fn phone() -> SocketAddr {
    ([10, 77, 0, 2], 40_000).into()
}

/// Keys that every catalogue entry must have.
pub(crate) const ENTRY_DEFAULTS: [(&str, &str); 7] = [
    ("owner", "Example"),
    ("system", "Test"),
    ("region", "EU"),
    ("category", "telemetry"),
    ("action", "block"),
    ("confidence", "high"),
    ("breaks", "nothing"),
];

/// One packet, and what is to become of it. What is not expected must not happen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Packet {
    pub(crate) from: Option<SocketAddr>,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) uid: Option<u32>,
    pub(crate) now: Option<toml::value::Datetime>,
    /// A resolver's answer: it comes in, from `to` to `from`.
    #[serde(default)]
    pub(crate) answer: bool,
    /// The answer comes from there instead.
    pub(crate) via: Option<SocketAddr>,
    /// The whole packet in hex; then nothing below describes it.
    pub(crate) raw: Option<String>,
    /// A TCP segment; without it, this is a UDP datagram.
    pub(crate) tcp: Option<Tcp>,
    #[serde(default)]
    pub(crate) ip: Ip,
    #[serde(default)]
    pub(crate) payload: Vec<Part>,
    /// Only this part of the payload is in the packet; `tcp.seq` is that of the payload's start.
    pub(crate) bytes: Option<Range<usize>>,
    /// The payload leaves in segments of this many bytes. What is expected is expected of the
    /// last; the others pass as incomplete.
    pub(crate) segment_bytes: Option<usize>,

    #[serde(default)]
    pub(crate) act: Act,
    #[serde(default)]
    pub(crate) reading: Reading,
    /// `blocked: A host.example.com`.
    pub(crate) sighting: Option<String>,
    /// Why, as the log tells it.
    pub(crate) reason: Option<String>,
    /// Which addresses an answer gives, and for how long: `host.example.com 60: 192.0.2.1`.
    pub(crate) learned: Option<String>,
    /// The forged packet, line by line as `forged.rs` tells it.
    #[serde(default)]
    pub(crate) forged: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tcp {
    /// `SYN`, `PSH ACK` and the like.
    pub(crate) flags: String,
    #[serde(default)]
    pub(crate) seq: u32,
    #[serde(default)]
    pub(crate) ack: u32,
}

/// What is odd about the IP header.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ip {
    /// IPv4 options in hex.
    pub(crate) options: String,
    /// IPv6 extension headers, all that etherparse can build.
    pub(crate) extensions: bool,
    pub(crate) more_fragments: bool,
    /// In units of 8 bytes.
    pub(crate) fragment_offset: u16,
    /// Written over the length field of the header.
    pub(crate) length: Option<u16>,
    /// The queue delivers only so many bytes.
    pub(crate) copied: Option<usize>,
}

/// A piece of a payload.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Part {
    /// A DNS query; over TCP with its length before it.
    Dns(Dns),
    /// A TLS ClientHello.
    Hello(Hello),
    /// A QUIC Initial packet.
    Initial(Initial),
    /// A QUIC packet of 0-RTT.
    Early(Early),
    /// Text as it stands.
    Text(String),
    /// Bytes in hex, white space between them.
    Hex(String),
    /// A file of `tests/data`.
    File(String),
    /// So many times the byte 0x55.
    Filler(usize),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    #[serde(default)]
    pub(crate) id: u16,
    /// `host.example.com A`.
    #[serde(default)]
    pub(crate) ask: Vec<String>,
    #[serde(default)]
    pub(crate) edns: bool,
    #[serde(default)]
    pub(crate) dnssec_ok: bool,
    #[serde(default)]
    pub(crate) is_response: bool,
    #[serde(default)]
    pub(crate) truncated: bool,
    /// Of the answer section: `www.example.com 60 CNAME host.example.net`; of an HTTPS or SVCB
    /// record priority, target and the hints: `example.com 60 HTTPS 1 . 192.0.2.1`.
    #[serde(default)]
    pub(crate) records: Vec<String>,
    /// Bytes of an EDNS padding option.
    #[serde(default)]
    pub(crate) padding: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    /// The server name; without it the hello has none.
    pub(crate) name: Option<String>,
    /// Bytes of an extension before the server name, and of one after it.
    #[serde(default)]
    pub(crate) before: usize,
    #[serde(default)]
    pub(crate) after: usize,
    /// Handshake bytes per TLS record.
    #[serde(default = "one_record")]
    pub(crate) record_bytes: usize,
}

const fn one_record() -> usize {
    1 << 14
}

/// Connection IDs are texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Initial {
    #[serde(default = "version_1")]
    pub(crate) version: u32,
    pub(crate) destination: String,
    /// What the keys come from; `destination` where absent.
    pub(crate) first_destination: Option<String>,
    #[serde(default)]
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) token: String,
    /// Frames in hex before those with the hello.
    #[serde(default)]
    pub(crate) frames: String,
    pub(crate) hello: Option<Hello>,
    /// The pieces of the hello in their order; all of it where absent.
    pub(crate) pieces: Option<Vec<Range<usize>>>,
    /// PADDING behind it all.
    #[serde(default)]
    pub(crate) padding: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Early {
    #[serde(default = "version_1")]
    pub(crate) version: u32,
    pub(crate) destination: String,
    #[serde(default)]
    pub(crate) source: String,
    pub(crate) bytes: usize,
}

const fn version_1() -> u32 {
    1
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    #[default]
    Pass,
    Vanish,
    Answer,
    Rewrite,
    Sever,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reading {
    #[default]
    Understood,
    Malformed,
    Incomplete,
    #[serde(rename = "unknown version")]
    UnknownVersion,
    Unasked,
    Empty,
}
