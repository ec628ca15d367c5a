//! A packet in words → its bytes, by etherparse and hickory-proto.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6FlowLabel,
    Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder, TcpHeader,
};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, NULL};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use crate::case::{Dns, Hello, Initial, Ip, Packet, Part, Tcp};
use crate::quic;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
/// EDNS padding (RFC 7830).
const PADDING: u16 = 12;

/// The packets that `packet` stands for: one, or one for each segment.
pub(crate) fn packets(packet: &Packet, from: SocketAddr, to: SocketAddr) -> Vec<Vec<u8>> {
    if let Some(raw) = &packet.raw {
        return vec![hex(raw)];
    }
    let over_tcp = packet.tcp.is_some();
    let parts = packet.payload.iter().map(|part| part_bytes(part, over_tcp));
    let payload = parts.collect::<Vec<_>>().concat();
    let whole = 0..payload.len();
    let sent = packet.bytes.clone().unwrap_or(whole);
    let step = packet.segment_bytes.unwrap_or(sent.len()).max(1);
    // A packet without payload is one packet too.
    let starts = sent.clone().step_by(step).collect::<Vec<_>>();
    let starts = if starts.is_empty() {
        vec![sent.start]
    } else {
        starts
    };
    starts
        .into_iter()
        .map(|start| {
            let piece = &payload[start..sent.end.min(start + step)];
            let offset = u32::try_from(start).unwrap();
            one(packet.tcp.as_ref(), &packet.ip, from, to, offset, piece)
        })
        .collect()
}

fn one(
    tcp: Option<&Tcp>,
    ip: &Ip,
    from: SocketAddr,
    to: SocketAddr,
    offset: u32,
    payload: &[u8],
) -> Vec<u8> {
    let builder = PacketBuilder::ip(ip_headers(ip, from.ip(), to.ip()));
    let mut packet = Vec::new();
    match tcp {
        Some(tcp) => builder
            .tcp_header(tcp_header(tcp, from.port(), to.port(), offset))
            .write(&mut packet, payload),
        None => builder
            .udp(from.port(), to.port())
            .write(&mut packet, payload),
    }
    .unwrap();
    if let Some(length) = ip.length {
        let field = if from.is_ipv4() { 2..4 } else { 4..6 };
        packet[field].copy_from_slice(&length.to_be_bytes());
    }
    packet.truncate(ip.copied.unwrap_or(packet.len()));
    packet
}

fn ip_headers(ip: &Ip, from: IpAddr, to: IpAddr) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // The builder fills in length, protocol and checksum.
            let mut header =
                Ipv4Header::new(0, 64, IpNumber::UDP, from.octets(), to.octets()).unwrap();
            header.options = Ipv4Options::try_from(&hex(&ip.options)[..]).unwrap();
            header.more_fragments = ip.more_fragments;
            header.fragment_offset = IpFragOffset::try_new(ip.fragment_offset).unwrap();
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber::UDP,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            let extensions = if ip.extensions {
                extensions()
            } else {
                Default::default()
            };
            IpHeaders::Ipv6(header, extensions)
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// Hop-by-hop, destination options, routing, and destination options once more.
fn extensions() -> Ipv6Extensions {
    let extension = |bytes: usize| {
        let padding = vec![0; bytes - 2]; // Pad1 options
        Ipv6RawExtHeader::new_raw(IpNumber::UDP, &padding).unwrap()
    };
    Ipv6Extensions {
        hop_by_hop_options: Some(extension(8)),
        destination_options: Some(extension(16)),
        routing: Some(Ipv6RoutingExtensions {
            routing: extension(24),
            final_destination_options: Some(extension(8)),
        }),
        ..Default::default()
    }
}

fn tcp_header(tcp: &Tcp, from: u16, to: u16, offset: u32) -> TcpHeader {
    let mut header = TcpHeader::new(from, to, tcp.seq.wrapping_add(offset), 0xfaf0);
    header.acknowledgment_number = tcp.ack;
    for flag in tcp.flags.split(' ') {
        *match flag {
            "SYN" => &mut header.syn,
            "ACK" => &mut header.ack,
            "PSH" => &mut header.psh,
            "FIN" => &mut header.fin,
            "RST" => &mut header.rst,
            other => panic!("{other} is no TCP flag"),
        } = true;
    }
    header
}

fn part_bytes(part: &Part, over_tcp: bool) -> Vec<u8> {
    match part {
        Part::Dns(query) if over_tcp => {
            let message = dns(query);
            let length = u16::try_from(message.len()).unwrap();
            [&length.to_be_bytes(), &message[..]].concat()
        }
        Part::Dns(query) => dns(query),
        Part::Hello(hello) => in_records(&client_hello(hello), hello.record_bytes),
        Part::Initial(packet) => initial(packet),
        Part::Early(early) => {
            let (to, from) = (early.destination.as_bytes(), early.source.as_bytes());
            quic::early(early.version, to, from, early.bytes)
        }
        Part::Text(text) => text.clone().into_bytes(),
        Part::Hex(digits) => hex(digits),
        Part::File(name) => std::fs::read(format!("{DATA}/{name}")).unwrap(),
        Part::Filler(bytes) => vec![0x55; *bytes],
    }
}

fn dns(query: &Dns) -> Vec<u8> {
    let kind = if query.is_response {
        MessageType::Response
    } else {
        MessageType::Query
    };
    let mut message = Message::new(query.id, kind, OpCode::Query);
    message.metadata.recursion_desired = true;
    for question in &query.ask {
        let (name, qtype) = question.split_once(' ').expect("a name and a type");
        let mut name = Name::from_ascii(name).unwrap();
        name.set_fqdn(true);
        let qtype = RecordType::from_str(qtype).unwrap();
        message.add_query(Query::query(name, qtype));
    }
    if query.edns || query.padding > 0 {
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(query.dnssec_ok);
        if query.padding > 0 {
            let zeros = vec![0; usize::from(query.padding)];
            edns.options_mut()
                .insert(EdnsOption::Unknown(PADDING, zeros));
        }
        message.edns = Some(edns);
    }
    message.metadata.truncation = query.truncated;
    message.metadata.recursion_available = query.is_response;
    message.add_answers(query.records.iter().map(|text| record(text)));
    message.to_vec().unwrap()
}

/// `owner ttl TYPE data`.
fn record(text: &str) -> Record {
    let name = |text: &str| {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    };
    let words: Vec<_> = text.split(' ').collect();
    let [owner, ttl, rtype, data, rest @ ..] = &words[..] else {
        panic!("`{text}` is no record")
    };
    let service = || {
        let [target, hints @ ..] = rest else {
            panic!("`{text}` has no target")
        };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for hint in hints {
            match hint.parse().unwrap() {
                IpAddr::V4(address) => v4.push(A(address)),
                IpAddr::V6(address) => v6.push(AAAA(address)),
            }
        }
        let mut parameters = Vec::new();
        if !v4.is_empty() {
            parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))));
        }
        if !v6.is_empty() {
            parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))));
        }
        SVCB::new(data.parse().unwrap(), name(target), parameters)
    };
    let data = match *rtype {
        "A" => RData::A(A(data.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(data.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(name(data))),
        "DNAME" => RData::Unknown {
            code: RecordType::Unknown(39),
            rdata: NULL::with(name(data).to_bytes().unwrap()),
        },
        "HTTPS" => RData::HTTPS(HTTPS(service())),
        "SVCB" => RData::SVCB(service()),
        other => panic!("{other} records cannot be made here"),
    };
    Record::from_rdata(name(owner), ttl.parse().unwrap(), data)
}

/// RFC 8446 section 4.1.2.
fn client_hello(hello: &Hello) -> Vec<u8> {
    let mut extensions = Vec::new();
    if hello.before > 0 {
        extensions.extend(extension(51, &vec![7; hello.before]));
    }
    if let Some(name) = &hello.name {
        let length = u16::try_from(name.len()).unwrap();
        let list = (length + 3).to_be_bytes();
        let data = [&list[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat();
        extensions.extend(extension(0, &data));
    }
    if hello.after > 0 {
        extensions.extend(extension(21, &vec![0; hello.after]));
    }
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]); // random
    body.push(0); // no session id
    body.extend([0, 2, 0x13, 0x01, 1, 0]); // one cipher suite, no compression
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length, &body].concat()
}

fn in_records(handshake: &[u8], record_bytes: usize) -> Vec<u8> {
    let records = handshake.chunks(record_bytes).map(|piece| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1], &length[..], piece].concat()
    });
    records.collect::<Vec<_>>().concat()
}

fn initial(packet: &Initial) -> Vec<u8> {
    let hello = packet.hello.as_ref().map(client_hello).unwrap_or_default();
    let whole = 0..hello.len();
    let pieces = packet.pieces.as_deref();
    let pieces = pieces.unwrap_or(std::slice::from_ref(&whole));
    let pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let crypto = pieces.flat_map(|piece| quic::crypto(piece.start, &hello[piece.clone()]));
    let frames: Vec<u8> = hex(&packet.frames)
        .into_iter()
        .chain(crypto)
        .chain(std::iter::repeat_n(0, packet.padding))
        .collect();
    let first = packet.first_destination.as_ref();
    quic::Initial {
        version: packet.version,
        destination: packet.destination.as_bytes(),
        first_destination: first.unwrap_or(&packet.destination).as_bytes(),
        source: packet.source.as_bytes(),
        token: packet.token.as_bytes(),
        number: 0,
        frames: &frames,
    }
    .packet()
}

fn extension(number: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&number.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        })
        .collect()
}
