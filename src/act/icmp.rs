//! "Port unreachable": what makes a UDP socket's next call fail at once, and a QUIC client fall
//! back to TCP (ICMP: RFC 792, ICMPv6: RFC 4443 section 3.1).

use std::net::IpAddr;

use super::checksum::Checksum;
use super::ip_header::Ends;
use crate::parse::ip::{ICMP, ICMPV6, IpPacket, TCP, UDP};

/// Type, code, checksum and four unused bytes.
const HEADER_BYTES: usize = 8;
/// Destination unreachable, port unreachable (RFC 792).
const V4_PORT_UNREACHABLE: [u8; 2] = [3, 3];
/// Destination unreachable, port unreachable (RFC 4443 section 3.1).
const V6_PORT_UNREACHABLE: [u8; 2] = [1, 4];
/// Longest packet with an ICMP error (RFC 1812 section 4.3.2.3).
const V4_MAX_BYTES: usize = 576;
/// The same for ICMPv6: the minimum MTU (RFC 4443 section 2.4 (c)).
const V6_MAX_BYTES: usize = 1280;

/// Writes into `out` the error that tells the sender of `original`, a whole IP packet or its
/// start, that nobody listens there; as if its destination had sent it.
///
/// Returns the length of the packet; none where `original` is not UDP or TCP to one host (RFC
/// 1122 section 3.2.2 forbids errors about others) or `out` is too small.
#[must_use]
pub fn port_unreachable(original: &[u8], out: &mut [u8]) -> Option<usize> {
    let packet = IpPacket::parse(original).ok()?;
    if !matches!(packet.protocol, UDP | TCP) || !is_one_host(packet.destination) {
        return None;
    }
    let ends = Ends::new(packet.destination, packet.source)?;
    let (protocol, kind, max_bytes) = match ends {
        Ends::V4(..) => (ICMP, V4_PORT_UNREACHABLE, V4_MAX_BYTES),
        Ends::V6(..) => (ICMPV6, V6_PORT_UNREACHABLE, V6_MAX_BYTES),
    };
    let quote_bytes = original
        .len()
        .min(max_bytes - ends.header_bytes() - HEADER_BYTES);
    let (ip_header, rest) = out.split_at_mut_checked(ends.header_bytes())?;
    let message = rest.get_mut(..HEADER_BYTES + quote_bytes)?;
    ends.write_header(protocol, message.len(), ip_header)?;
    let (header, quote) = message.split_first_chunk_mut::<HEADER_BYTES>()?;
    *header = [kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    quote.copy_from_slice(original.get(..quote_bytes)?);
    let checksum = match ends {
        Ends::V4(..) => Checksum::default().add(message).finish(),
        Ends::V6(..) => ends.checksum(ICMPV6, message),
    };
    message.get_mut(2..4)?.copy_from_slice(&checksum);
    Some(ends.header_bytes() + message.len())
}

const fn is_one_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::datagram::udp_reply;
    use crate::decide::{FlowKey, Protocol};

    /// A UDP packet from `source` to `destination`.
    fn original(source: &str, destination: &str, payload_bytes: usize) -> Vec<u8> {
        let flow = FlowKey {
            protocol: Protocol::Udp,
            local: destination.parse().unwrap(),
            remote: source.parse().unwrap(),
        };
        let mut packet = vec![0; payload_bytes + 48];
        let length = udp_reply(&flow, &mut packet, |_| Some(payload_bytes)).unwrap();
        packet.truncate(length);
        packet
    }

    #[test]
    fn an_error_comes_from_the_destination_and_quotes_the_packet() {
        for (source, destination, header, kind) in [
            ("192.0.2.1:4096", "198.51.100.2:443", 20, [3, 3]),
            ("[2001:db8::1]:4096", "[2001:db8::2]:443", 40, [1, 4]),
        ] {
            let original = original(source, destination, 100);
            let mut out = [0; 1280];
            let length = port_unreachable(&original, &mut out).unwrap();
            assert_eq!(length, header + HEADER_BYTES + original.len());
            let sent = IpPacket::parse(&original).unwrap();
            let error = IpPacket::parse(&out[..length]).unwrap();
            assert_eq!(error.source, sent.destination);
            assert_eq!(error.destination, sent.source);
            assert_eq!(error.payload[..2], kind);
            assert_eq!(error.payload[HEADER_BYTES..], original);
        }
    }

    #[test]
    fn the_quote_is_cut_to_what_an_error_may_have() {
        let mut out = [0; 2000];
        let ipv4 = original("192.0.2.1:4096", "198.51.100.2:443", 1200);
        assert_eq!(port_unreachable(&ipv4, &mut out), Some(576));
        let ipv6 = original("[2001:db8::1]:4096", "[2001:db8::2]:443", 1300);
        assert_eq!(port_unreachable(&ipv6, &mut out), Some(1280));
        assert_eq!(port_unreachable(&ipv6, &mut out[..1279]), None);
    }

    #[test]
    fn no_error_about_what_is_not_for_one_host_or_has_no_ports() {
        let mut out = [0; 1280];
        for (source, destination) in [
            ("192.0.2.1:5353", "224.0.0.251:5353"),
            ("192.0.2.1:5353", "255.255.255.255:5353"),
            ("[2001:db8::1]:5353", "[ff02::fb]:5353"),
        ] {
            let packet = original(source, destination, 10);
            assert_eq!(port_unreachable(&packet, &mut out), None, "{destination}");
        }
        let mut icmp = original("192.0.2.1:4096", "198.51.100.2:443", 10);
        icmp[9] = ICMP;
        assert_eq!(port_unreachable(&icmp, &mut out), None);
    }
}
