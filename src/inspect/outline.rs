//! What a packet is, before it is looked into: enough to tell whether it matters whose socket sent
//! it.

use super::DNS_PORT;
use crate::decide::{FlowKey, Protocol, Uid};
use crate::parse::ip::{self, IpPacket};
use crate::parse::tcp::TcpSegment;
use crate::parse::udp::UdpDatagram;

/// Port of DNS over TLS (RFC 7858 section 3.1).
const DOT_PORT: u16 = 853;
/// Packets between one that is looked at and the next.
const MAX_AFTER: u16 = 16;
/// Who may have opened a socket for somebody else: Android's resolver, as root or as `AID_DNS`.
const OPEN_FOR_OTHERS: [Uid; 2] = [Uid(0), Uid(1051)];

/// A connected socket counts its IPv4 packets by itself, from a random number on
/// (include/net/ip.h, `ip_select_ident_segs`), and gives its IPv6 packets a random flow label
/// (`ip6_make_flowlabel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The identification of an IPv4 packet.
    Identification(u16),
    /// The flow label of an IPv6 packet.
    FlowLabel(u32),
}

impl Trace {
    fn of(packet: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = packet.get(at..).and_then(|it| it.first_chunk().copied());
            u32::from_be_bytes(bytes.unwrap_or_default())
        };
        match word(0) >> 28 {
            4 => Self::Identification((word(4) >> 16) as u16),
            _ => Self::FlowLabel(word(0) & 0xf_ffff),
        }
    }

    /// Whether the same socket has sent this packet, some packets after the one with `first`. Where
    /// packets carry no such sign nothing says so.
    #[must_use]
    pub const fn follows(self, first: Self) -> bool {
        match (first, self) {
            (Self::Identification(first), Self::Identification(this)) => {
                matches!(this.wrapping_sub(first), 1..=MAX_AFTER)
            }
            (Self::FlowLabel(first), Self::FlowLabel(this)) => first != 0 && first == this,
            _ => false,
        }
    }
}

/// An outgoing packet from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its flow.
    pub flow: FlowKey,
    /// Its length with the IP header.
    pub packet_bytes: usize,
    /// What the packets of one socket have in common.
    pub trace: Trace,
    /// Something in it, or that it is there, is decided on.
    is_judged: bool,
}

impl Outline {
    /// What `packet` looks like, where the owner of its socket is to be asked for: what is decided
    /// on of it is DNS, whatever that is carried by, or other UDP, which may be; and its `opener`
    /// may have opened the socket for somebody else.
    #[must_use]
    pub fn to_ask_for(packet: &[u8], opener: Option<Uid>) -> Option<Self> {
        let may_be_given = opener.is_none_or(|uid| OPEN_FOR_OTHERS.contains(&uid));
        let outline = may_be_given.then(|| Self::of(packet)).flatten();
        outline.filter(|it| it.is_judged)
    }

    /// What `packet`, an IP packet, looks like; none where it is neither UDP nor TCP.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        let ip = IpPacket::parse(packet).ok()?;
        let (protocol, source_port, destination_port, is_judged) = match ip.protocol {
            ip::UDP => {
                let datagram = UdpDatagram::parse(ip.payload).ok()?;
                let ports = (datagram.source_port, datagram.destination_port);
                (Protocol::Udp, ports.0, ports.1, true)
            }
            ip::TCP => {
                let segment = TcpSegment::parse(ip.payload).ok()?;
                let is_judged = match segment.destination_port {
                    DNS_PORT => !segment.payload.is_empty(),
                    DOT_PORT => segment.opens(),
                    _ => false,
                };
                let ports = (segment.source_port, segment.destination_port);
                (Protocol::Tcp, ports.0, ports.1, is_judged)
            }
            _ => return None,
        };
        Some(Self {
            flow: FlowKey {
                protocol,
                local: (ip.source, source_port).into(),
                remote: (ip.destination, destination_port).into(),
            },
            packet_bytes: packet.len(),
            trace: Trace::of(packet),
            is_judged,
        })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn packet(to_port: u16, tcp: Option<bool>, payload: &[u8]) -> Vec<u8> {
        let ip = PacketBuilder::ipv4([10, 0, 0, 2], [192, 0, 2, 53], 64);
        let mut bytes = Vec::new();
        match tcp {
            None => ip.udp(4000, to_port).write(&mut bytes, payload),
            Some(true) => ip.tcp(4000, to_port, 1, 9).syn().write(&mut bytes, payload),
            Some(false) => ip
                .tcp(4000, to_port, 1, 9)
                .ack(1)
                .write(&mut bytes, payload),
        }
        .unwrap();
        bytes
    }

    #[test]
    fn a_sockets_packets_follow_one_another() {
        let identified =
            |first, this| Trace::Identification(this).follows(Trace::Identification(first));
        assert!(identified(7, 8) && identified(0xffff, 0) && identified(7, 23));
        assert!(!identified(7, 7) && !identified(0, 0) && !identified(8, 7));
        assert!(!identified(7, 24));
        let labelled = |first, this| Trace::FlowLabel(this).follows(Trace::FlowLabel(first));
        assert!(labelled(7, 7) && !labelled(7, 8) && !labelled(0, 0));
        let mut four = packet(53, None, b"x");
        four[4..6].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(Trace::of(&four), Trace::Identification(0x1234));
        assert_eq!(Trace::of(&[0x60, 0x0f, 1, 2]), Trace::FlowLabel(0xf_0102));
    }

    #[test]
    fn the_owner_is_asked_for_where_root_may_have_opened_for_another() {
        let (open, more) = (Some(true), Some(false));
        for (packet, expected) in [
            (packet(53, None, b"x"), true),
            (packet(443, None, b"x"), true),
            (packet(53, open, b""), false),
            (packet(53, more, b""), false),
            (packet(53, more, b"x"), true),
            (packet(853, open, b""), true),
            (packet(853, more, b"x"), false),
            (packet(443, open, b""), false),
        ] {
            let outline = Outline::of(&packet).unwrap();
            assert_eq!(outline.packet_bytes, packet.len());
            for opener in [None, Some(Uid(0)), Some(Uid(1051))] {
                let asked = Outline::to_ask_for(&packet, opener);
                assert_eq!(asked, expected.then_some(outline));
            }
            assert_eq!(Outline::to_ask_for(&packet, Some(Uid(10_123))), None);
        }
    }
}
