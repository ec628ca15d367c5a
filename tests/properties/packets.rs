//! IP, UDP and TCP: what etherparse builds is read back, what Muzzle forges is read by etherparse.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use muzzle::act::datagram::udp_reply;
use muzzle::act::icmp::port_unreachable;
use muzzle::act::segment::{SegmentHeader, reset_for, tcp_reply};
use muzzle::decide::{FlowKey, Protocol};
use muzzle::parse::ip::{self, IpPacket};
use muzzle::parse::tcp::{TcpFlags, TcpSegment};
use muzzle::parse::udp::UdpDatagram;
use proptest::prelude::*;

use super::damaged;

/// Two ends of one family, neither multicast nor unspecified.
fn flow(protocol: Protocol) -> impl Strategy<Value = FlowKey> {
    let ends = prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(mut local, mut remote)| {
            local[0] = 10;
            remote[0] = 198;
            (IpAddr::from(local), IpAddr::from(remote))
        }),
        (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(mut local, mut remote)| {
            local[0] = 0x20;
            remote[0] = 0x20;
            (IpAddr::from(local), IpAddr::from(remote))
        }),
    ];
    (ends, any::<u16>(), any::<u16>()).prop_map(move |((local, remote), from, to)| FlowKey {
        protocol,
        local: SocketAddr::new(local, from),
        remote: SocketAddr::new(remote, to),
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

/// The packet etherparse builds from the phone's end to the other.
fn outgoing(flow: &FlowKey, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let ip = match (flow.local.ip(), flow.remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            PacketBuilder::ipv4(local.octets(), remote.octets(), 64)
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            PacketBuilder::ipv6(local.octets(), remote.octets(), 64)
        }
        _ => unreachable!("the strategy makes flows of one family"),
    };
    let (from, to) = (flow.local.port(), flow.remote.port());
    let mut packet = Vec::new();
    match flow.protocol {
        Protocol::Udp => ip.udp(from, to).write(&mut packet, payload),
        Protocol::Tcp => ip
            .tcp(from, to, sequence, 4096)
            .ack(!sequence)
            .psh()
            .write(&mut packet, payload),
    }
    .unwrap();
    packet
}

/// Whether IP header and payload of a forged packet carry their right checksums. The sum of what
/// a checksum covers and of itself is all ones, so that its complement is 0 (RFC 1071).
fn checksums_hold(packet: &[u8]) -> bool {
    let complement = |bytes: &[u8]| Sum16BitWords::new().add_slice(bytes).ones_complement();
    let parsed = IpPacket::parse(packet).unwrap();
    let (header, message) = packet.split_at(packet.len() - parsed.payload.len());
    let addresses = match parsed.source {
        IpAddr::V4(_) => &header[12..20],
        IpAddr::V6(_) => &header[8..40],
    };
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let pseudo_header = [addresses, &[0, parsed.protocol], &length].concat();
    let message_holds = if parsed.protocol == ip::ICMP {
        complement(message) == 0
    } else {
        complement(&[&pseudo_header, message].concat()) == 0
    };
    message_holds && (parsed.source.is_ipv6() || complement(header) == 0)
}

fn copy(payload: &[u8]) -> impl FnOnce(&mut [u8]) -> Option<usize> {
    |out| {
        out.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(payload.len())
    }
}

/// Feeds a packet to everything that takes one; it is enough that nothing panics.
fn take_all(packet: &[u8]) {
    let mut out = [0; 1500];
    let _ = port_unreachable(packet, &mut out);
    let Ok(ip) = IpPacket::parse(packet) else {
        return;
    };
    let _ = UdpDatagram::parse(ip.payload);
    if let Ok(segment) = TcpSegment::parse(ip.payload) {
        let flow = FlowKey {
            protocol: Protocol::Tcp,
            local: SocketAddr::new(ip.source, segment.source_port),
            remote: SocketAddr::new(ip.destination, segment.destination_port),
        };
        let _ = reset_for(&flow, &segment, &mut out);
    }
}

proptest! {
    #[test]
    fn udp_packets_are_read(flow in flow(Protocol::Udp), payload in bytes()) {
        let packet = outgoing(&flow, 0, &payload);
        let parsed = IpPacket::parse(&packet).unwrap();
        prop_assert_eq!(parsed.source, flow.local.ip());
        prop_assert_eq!(parsed.destination, flow.remote.ip());
        prop_assert_eq!(parsed.protocol, ip::UDP);
        let datagram = UdpDatagram::parse(parsed.payload).unwrap();
        prop_assert_eq!(datagram.source_port, flow.local.port());
        prop_assert_eq!(datagram.destination_port, flow.remote.port());
        prop_assert_eq!(datagram.payload, payload);
    }

    #[test]
    fn tcp_packets_are_read(
        flow in flow(Protocol::Tcp), sequence: u32, payload in bytes()
    ) {
        let packet = outgoing(&flow, sequence, &payload);
        let parsed = IpPacket::parse(&packet).unwrap();
        prop_assert_eq!(parsed.protocol, ip::TCP);
        let segment = TcpSegment::parse(parsed.payload).unwrap();
        prop_assert_eq!(segment.source_port, flow.local.port());
        prop_assert_eq!(segment.destination_port, flow.remote.port());
        prop_assert_eq!((segment.sequence, segment.acknowledgment), (sequence, !sequence));
        prop_assert_eq!(segment.flags, TcpFlags::PSH.with(TcpFlags::ACK));
        prop_assert_eq!(segment.payload, payload);
    }

    /// The copy range cuts packets anywhere.
    #[test]
    fn a_cut_packet_gives_a_cut_payload(flow in flow(Protocol::Tcp), payload in bytes()) {
        let packet = outgoing(&flow, 7, &payload);
        for end in 0..packet.len() {
            take_all(&packet[..end]);
            let parsed = IpPacket::parse(&packet[..end]).map(|ip| ip.payload);
            if let Ok(Ok(segment)) = parsed.map(TcpSegment::parse) {
                prop_assert!(payload.starts_with(segment.payload));
                prop_assert_eq!(payload.len() - segment.payload.len(), packet.len() - end);
            }
        }
    }

    #[test]
    fn no_packet_makes_anything_panic(
        packet in prop_oneof![
            bytes(),
            damaged((flow(Protocol::Tcp), bytes()).prop_map(|(f, b)| outgoing(&f, 1, &b))),
            damaged((flow(Protocol::Udp), bytes()).prop_map(|(f, b)| outgoing(&f, 1, &b))),
        ]
    ) {
        take_all(&packet);
    }

    #[test]
    fn forged_datagrams(
        flow in flow(Protocol::Udp), payload in prop::collection::vec(any::<u8>(), 0..1500)
    ) {
        let mut out = vec![0xee; 2000];
        let length = udp_reply(&flow, &mut out, copy(&payload)).unwrap();
        prop_assert_eq!(udp_reply(&flow, &mut out[..length - 1], copy(&payload)), None);
        prop_assert_eq!(udp_reply(&flow, &mut out[..length], copy(&payload)), Some(length));
        let packet = &out[..length];
        prop_assert!(checksums_hold(packet));
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
            return Err(TestCaseError::fail("no UDP"));
        };
        prop_assert_eq!(udp.source_port(), flow.remote.port());
        prop_assert_eq!(udp.destination_port(), flow.local.port());
        prop_assert_ne!(udp.checksum(), 0);
        prop_assert_eq!(udp.payload(), &payload);
        prop_assert_eq!(ends(&sliced), (flow.remote.ip(), flow.local.ip()));
    }

    #[test]
    fn forged_segments(
        flow in flow(Protocol::Tcp),
        sequence: u32,
        acknowledgment: u32,
        payload in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let flags = TcpFlags::FIN.with(TcpFlags::PSH).with(TcpFlags::ACK);
        let header = SegmentHeader { sequence, acknowledgment, flags };
        let mut out = vec![0xee; 2000];
        let length = tcp_reply(&flow, header, &mut out, copy(&payload)).unwrap();
        let short = &mut out[..length - 1];
        prop_assert_eq!(tcp_reply(&flow, header, short, copy(&payload)), None);
        let fitting = &mut out[..length];
        prop_assert_eq!(tcp_reply(&flow, header, fitting, copy(&payload)), Some(length));
        prop_assert!(checksums_hold(&out[..length]));
        let sliced = SlicedPacket::from_ip(&out[..length]).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
            return Err(TestCaseError::fail("no TCP"));
        };
        prop_assert_eq!(tcp.source_port(), flow.remote.port());
        prop_assert_eq!(tcp.destination_port(), flow.local.port());
        prop_assert_eq!(tcp.sequence_number(), sequence);
        prop_assert_eq!(tcp.acknowledgment_number(), acknowledgment);
        prop_assert!(tcp.fin() && tcp.psh() && tcp.ack() && !tcp.syn() && !tcp.rst());
        prop_assert_eq!(tcp.payload(), &payload);
        prop_assert_eq!(ends(&sliced), (flow.remote.ip(), flow.local.ip()));
    }

    #[test]
    fn resets(flow in flow(Protocol::Tcp), sequence: u32, payload in bytes()) {
        let sent = outgoing(&flow, sequence, &payload);
        let segment = TcpSegment::parse(IpPacket::parse(&sent).unwrap().payload).unwrap();
        let mut out = [0; 60];
        let length = reset_for(&flow, &segment, &mut out).unwrap();
        prop_assert!(checksums_hold(&out[..length]));
        let sliced = SlicedPacket::from_ip(&out[..length]).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
            return Err(TestCaseError::fail("no TCP"));
        };
        prop_assert!(tcp.rst() && tcp.ack());
        prop_assert_eq!(tcp.sequence_number(), !sequence);
        let end = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
        prop_assert_eq!(tcp.acknowledgment_number(), end);
    }

    #[test]
    fn port_unreachable_quotes(
        flow in flow(Protocol::Udp), payload in prop::collection::vec(any::<u8>(), 0..1500)
    ) {
        let sent = outgoing(&flow, 0, &payload);
        let mut out = [0; 1280];
        let length = port_unreachable(&sent, &mut out).unwrap();
        prop_assert!(checksums_hold(&out[..length]));
        let sliced = SlicedPacket::from_ip(&out[..length]).unwrap();
        prop_assert_eq!(ends(&sliced), (flow.remote.ip(), flow.local.ip()));
        let quote = match &sliced.transport {
            Some(TransportSlice::Icmpv4(icmp)) => icmp.payload(),
            Some(TransportSlice::Icmpv6(icmp)) => icmp.payload(),
            _ => return Err(TestCaseError::fail("no ICMP")),
        };
        prop_assert!(sent.starts_with(quote));
        prop_assert!(quote.len() == sent.len() || quote.len() >= 548);
    }

    #[test]
    fn ends_of_two_families_give_nothing(
        mut flow in flow(Protocol::Udp), segment_bytes in bytes()
    ) {
        let other: IpAddr = if flow.local.is_ipv4() {
            [0x20; 16].into()
        } else {
            [10; 4].into()
        };
        flow.remote.set_ip(other);
        let mut out = [0; 1000];
        prop_assert_eq!(udp_reply(&flow, &mut out, copy(&segment_bytes)), None);
    }
}

/// Source and destination as etherparse reads them.
fn ends(packet: &SlicedPacket<'_>) -> (IpAddr, IpAddr) {
    match &packet.net {
        Some(NetSlice::Ipv4(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        Some(NetSlice::Ipv6(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        _ => unreachable!("an IP packet was sliced"),
    }
}
