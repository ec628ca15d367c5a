//! The whole way of a packet, from its bytes to what is done: for any bytes, in any order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use etherparse::{PacketBuilder, TcpHeader};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RecordType};
use muzzle::act::Act;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Outcome, Uid, UnixSeconds};
use muzzle::inspect::{Inspection, Inspector, Reading, Ruleset, Sighting};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::Forged;
use super::damaged;
use super::quic_packets::{Initial, crypto, early};
use super::streams::{client_hello, handshake, sni};

/// As much as a queue thread has.
pub(super) const SCRATCH_BYTES: usize = 2048;
pub(super) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// Of the rules below.
pub(super) const APP: Uid = Uid(10_123);

const RULES: &str = r#"
[[rule]]
name = "*.ads.test"
action = "block"

[[rule]]
name = "fine.ads.test"
action = "allow"

[[rule]]
address = "203.0.113.66"
action = "block"
"#;

const APP_RULE: &str = r#"
[[rule]]
app = "com.a"
action = "block"
"#;

/// The rules that `config` and the common ones ask for.
pub(super) fn ruleset(config: &str) -> Arc<Ruleset> {
    let config = Config::parse("config", &format!("{config}\n{RULES}")).unwrap();
    let packages = Packages::parse("com.a 10123 0 /data none");
    let catalogue = Arc::new(Catalogue::default());
    Arc::new(Ruleset::new(&config, catalogue, &packages))
}

fn enforcing() -> impl Strategy<Value = Arc<Ruleset>> {
    select(vec![
        "",
        "[dns]\nanswer = \"zero\"",
        "[dns]\nanswer = \"refused\"\nttl_secs = 1",
        "[dns]\nanswer = \"drop\"\n[connections]\nrefuse = \"drop\"",
        APP_RULE,
    ])
    .prop_map(ruleset)
}

fn any_ruleset() -> impl Strategy<Value = Arc<Ruleset>> {
    prop_oneof![4 => enforcing(), 1 => Just(ruleset("mode = \"observe\""))]
}

/// The two ends of a flow: few enough that packets meet.
pub(super) type Ends = (SocketAddr, SocketAddr);

fn ends(ports: Vec<u16>) -> impl Strategy<Value = Ends> {
    (40_000..40_002_u16, any::<bool>(), select(ports)).prop_map(|(from, is_v6, to)| {
        let (phone, host): (IpAddr, IpAddr) = if is_v6 {
            (
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2].into(),
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into(),
            )
        } else {
            ([10, 77, 0, 2].into(), [203, 0, 113, 7].into())
        };
        (SocketAddr::new(phone, from), SocketAddr::new(host, to))
    })
}

/// A blocked name, in any case.
fn blocked_name() -> impl Strategy<Value = String> {
    "([a-eg-zA-EG-Z][a-z0-9-]{0,12}[a-z]\\.){0,3}[aA][dD][sS]\\.[tT]est"
}

fn allowed_name() -> impl Strategy<Value = String> {
    "[a-z]{1,8}\\.(other|fine\\.ads|nads)\\.test".prop_map(|name| {
        match name.split_once(".fine.") {
            Some((_, rest)) => format!("fine.{rest}"), // the rule names that very host
            None => name,
        }
    })
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![blocked_name(), allowed_name()]
}

pub(super) fn query(name: &str) -> Vec<u8> {
    padded_query(name, 0)
}

/// With an EDNS padding option (RFC 7830) of so many bytes, if any.
fn padded_query(name: &str, padding: usize) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, RecordType::AAAA));
    if padding > 0 {
        let mut edns = Edns::new();
        let option = EdnsOption::Unknown(12, vec![0; padding]);
        edns.options_mut().insert(option);
        message.edns = Some(edns);
    }
    message.to_vec().unwrap()
}

/// Beyond what is kept of a query that is not whole, and not.
fn padding() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 1 => 1..2000_usize]
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

fn hello(name: &str) -> Vec<u8> {
    client_hello(&[], &sni(name), 100)
}

/// A QUIC datagram with a hello, behind 0-RTT where `behind`; half of the hello where `half`.
fn quic(name: &str, version: u32, behind: bool, half: bool) -> Vec<u8> {
    let hello = handshake(&[], &sni(name));
    let sent = if half { hello.len() / 2 } else { 0 };
    let initial = Initial {
        version,
        destination: b"first-id",
        first_destination: b"first-id",
        source: b"",
        token: b"",
        number: 0,
        frames: &crypto(sent, &hello[sent..]),
    };
    let before = if behind {
        early(version, b"first-id", b"", 100)
    } else {
        Vec::new()
    };
    [before, initial.packet()].concat()
}

fn request(name: &str) -> Vec<u8> {
    format!("POST /sa HTTP/1.1\r\nHost: {name}:80\r\n\r\n").into_bytes()
}

fn builder(
    from: SocketAddr,
    to: SocketAddr,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header};
    PacketBuilder::ip(match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, 64, IpNumber::TCP, from.octets(), to.octets());
            IpHeaders::Ipv4(header.unwrap(), Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => unreachable!("the strategy makes ends of one family"),
    })
}

pub(crate) fn datagram((from, to): Ends, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let udp = builder(from, to).udp(from.port(), to.port());
    udp.write(&mut packet, payload).unwrap();
    packet
}

/// FIN, SYN, RST, PSH and ACK by their bits (RFC 9293 section 3.1).
pub(super) fn segment((from, to): Ends, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(from.port(), to.port(), sequence, 0xffff);
    header.fin = flags & 1 != 0;
    header.syn = flags & 2 != 0;
    header.rst = flags & 4 != 0;
    header.psh = flags & 8 != 0;
    header.ack = flags & 16 != 0;
    header.acknowledgment_number = 5000;
    let mut packet = Vec::new();
    let tcp = builder(from, to).tcp_header(header);
    tcp.write(&mut packet, payload).unwrap();
    packet
}

/// A packet as a phone sends it, of some protocol, to a name that is blocked or not.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        any_name().prop_map(|name| framed(&query(&name))),
        any_name().prop_map(|name| hello(&name)),
        any_name().prop_map(|name| request(&name)),
        prop::collection::vec(any::<u8>(), 0..80),
        Just(Vec::new()),
    ];
    let tcp = (
        ends(vec![53, 80, 443, 5222]),
        select(vec![2_u8, 16, 16, 24, 24, 24, 17, 4, 18, 31]),
        select(vec![0_u32, 1, 20, u32::MAX, u32::MAX - 30]),
        payload,
    );
    let quic = (any_name(), 1..=2_u32, any::<bool>(), any::<bool>())
        .prop_map(|(name, version, behind, half)| quic(&name, version, behind, half));
    prop_oneof![
        1 => (ends(vec![53, 443]), quic).prop_map(|(ends, payload)| datagram(ends, &payload)),
        1 => (ends(vec![53, 443]), any_name()).prop_map(|(ends, name)| datagram(ends, &query(&name))),
        3 => tcp.prop_map(|(ends, flags, sequence, payload)| segment(ends, flags, sequence, &payload)),
    ]
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => packet(),
        2 => damaged(packet()),
        1 => prop::collection::vec(any::<u8>(), 0..120),
    ]
}

/// What must hold of every answer, whatever the packet was.
pub(super) fn assert_sound(seen: &Inspection, scratch: &[u8], ruleset: &Ruleset) {
    let passes = seen.act.passes();
    assert!(seen.reading == Reading::Understood || passes, "{seen:?}");
    if let Some(sighting) = &seen.sighting {
        assert_eq!(sighting.outcome == Outcome::Blocked, !passes, "{seen:?}");
    }
    if ruleset.policy.mode() == muzzle::decide::Mode::Observe {
        assert!(passes, "{seen:?}");
    }
    let (flow, length, second_length) = match seen.act {
        Act::Pass | Act::Follow | Act::Leave | Act::Vanish => return,
        Act::Answer {
            flow,
            length,
            second_length,
        } => (flow, length, second_length),
        Act::Sever { flow, reset_length } => (flow, reset_length, 0),
        Act::Rewrite { .. } => panic!("only answers are rewritten: {seen:?}"),
    };
    assert!(length <= scratch.len(), "{seen:?}");
    if length > 0 {
        Forged::default()
            .tell(&scratch[..length], flow.remote, flow.local)
            .unwrap();
    }
    if second_length > 0 {
        let second = &scratch[length..][..second_length];
        Forged::default()
            .tell(second, flow.remote, flow.local)
            .unwrap();
    }
}

/// Sends packets one after the other and says what came of each.
fn send(packets: &[Vec<u8>], ruleset: &Arc<Ruleset>, scratch: &mut [u8]) -> Vec<Inspection> {
    let mut inspector = Inspector::default();
    let inspect = |packet: &Vec<u8>| {
        let seen = inspector.inspect(packet, Some(APP).into(), NOW, ruleset, scratch);
        assert_sound(&seen, scratch, ruleset);
        seen
    };
    packets.iter().map(inspect).collect()
}

proptest! {
    #[test]
    fn any_packets_in_any_order(
        packets in prop::collection::vec(any_packet(), 1..30),
        ruleset in any_ruleset(),
        scratch_bytes in prop_oneof![4 => Just(SCRATCH_BYTES), 1 => 0..200_usize],
    ) {
        let mut scratch = vec![0xee; scratch_bytes];
        let seen = send(&packets, &ruleset, &mut scratch);
        let mut again_scratch = vec![0xee; scratch_bytes];
        let again = send(&packets, &ruleset, &mut again_scratch);
        prop_assert_eq!(format!("{seen:?}"), format!("{again:?}"), "not the same twice");
        prop_assert_eq!(scratch, again_scratch);
    }

    /// They are judged as those of an app that is not known, and refused without a word.
    #[test]
    fn packets_of_hotspot_clients_have_no_app_and_no_answer(
        packets in prop::collection::vec(any_packet(), 1..30),
        ruleset in any_ruleset(),
    ) {
        let (mut own, mut forwarded) = (Inspector::default(), Inspector::default());
        let mut scratch = [0; SCRATCH_BYTES];
        for packet in &packets {
            let unknown = own.inspect(packet, None.into(), NOW, &ruleset, &mut scratch);
            let seen = forwarded.inspect_forwarded(packet, NOW, &ruleset, &mut scratch);
            let silent = match unknown.act {
                Act::Answer { .. } | Act::Sever { .. } => Act::Vanish,
                act => act,
            };
            prop_assert_eq!(seen.act, silent);
            prop_assert_eq!(seen.reading, unknown.reading);
            let told = |it: &Sighting| (it.name.clone(), it.kind, it.decision, it.outcome);
            let [theirs, same] = [&seen, &unknown].map(|it| it.sighting.as_ref().map(told));
            prop_assert_eq!(theirs, same);
            if let Some(sighting) = &seen.sighting {
                prop_assert!(sighting.forwarded && sighting.attribution.uid().is_none());
            }
        }
    }

    #[test]
    fn every_prefix_of_a_packet(packet in packet(), ruleset in any_ruleset()) {
        let mut scratch = [0; SCRATCH_BYTES];
        for end in 0..packet.len() {
            send(&[packet[..end].to_vec()], &ruleset, &mut scratch);
        }
    }

    #[test]
    fn a_blocked_name_is_refused_and_in_observe_mode_told_of(
        name in blocked_name(),
        client_port in 1024_u16..,
        ruleset in enforcing(),
    ) {
        let to = |port| {
            let host: SocketAddr = ([203, 0, 113, 7], port).into();
            (SocketAddr::from(([10, 77, 0, 2], client_port)), host)
        };
        let observing = self::ruleset("mode = \"observe\"");
        let mut scratch = [0; SCRATCH_BYTES];
        for packet in [
            datagram(to(53), &query(&name)),
            segment(to(53), 24, 1, &framed(&query(&name))),
            segment(to(443), 24, 1, &hello(&name)),
            segment(to(80), 24, 1, &request(&name)),
            datagram(to(443), &quic(&name, 1, true, false)),
            datagram(to(443), &quic(&name, 2, false, false)),
        ] {
            let packet = [packet];
            let seen = &send(&packet, &ruleset, &mut scratch)[0];
            prop_assert!(!seen.act.passes());
            let sighting = seen.sighting.as_ref().unwrap();
            prop_assert_eq!(sighting.name.to_string(), name.to_ascii_lowercase());
            let seen = &send(&packet, &observing, &mut scratch)[0];
            prop_assert!(seen.act.passes());
            let sighting = seen.sighting.as_ref().unwrap();
            prop_assert_eq!(sighting.outcome, Outcome::WouldBlock);
        }
    }

    /// However a stream of queries is cut, and whatever is sent twice: the segment that completes
    /// the blocked query is refused, none before it is, and nothing after it passes.
    #[test]
    fn a_blocked_query_is_found_wherever_its_stream_is_cut(
        allowed in prop::collection::vec((allowed_name(), padding()), 0..4),
        blocked in blocked_name(),
        start: u32,
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        repeats in prop::collection::vec((any::<Index>(), any::<Index>()), 0..4),
    ) {
        let ends = ("10.77.0.2:40000".parse().unwrap(), "203.0.113.53:53".parse().unwrap());
        let queries = allowed.into_iter().chain([(blocked.clone(), 0)]);
        let stream = queries
            .map(|(name, padding)| framed(&padded_query(&name, padding)))
            .collect::<Vec<_>>()
            .concat();
        let mut borders: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        borders.extend([0, stream.len()]);
        borders.sort_unstable();
        borders.dedup();
        let piece = |from: usize, to: usize| {
            let offset = u32::try_from(from).unwrap();
            segment(ends, 24, start.wrapping_add(offset), &stream[from..to])
        };
        let mut packets = Vec::new();
        for pair in borders.windows(2) {
            packets.push(piece(pair[0], pair[1]));
            for (from, to) in &repeats {
                // Something that was sent before, if there is anything beside the last piece.
                let to = to.index(pair[1] + 1).min(stream.len() - 1);
                packets.push(piece(from.index(to + 1), to));
            }
        }
        let last = packets.len() - 1 - repeats.len();
        let mut scratch = [0; SCRATCH_BYTES];
        let seen = send(&packets, &ruleset(""), &mut scratch);
        for inspection in &seen[..last] {
            prop_assert!(inspection.act.passes());
            prop_assert_ne!(inspection.reading, Reading::Malformed);
        }
        let mut names = seen.iter().filter_map(|it| it.sighting.as_ref()).map(|it| &it.name);
        prop_assert_eq!(names.next_back().unwrap().to_string(), blocked.to_ascii_lowercase());
        for inspection in &seen[last..] {
            prop_assert!(!inspection.act.passes());
        }
    }
}
