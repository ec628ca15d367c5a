//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets as a netfilter queue delivers them: perhaps cut
//! short by the copy range, perhaps larger than any wire packet (segmentation offload).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Malformed;
use super::cursor::Cursor;

/// Protocol number of TCP (IANA "Assigned Internet Protocol Numbers").
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Length of an IPv4 header without options.
const IPV4_HEADER_BYTES: usize = 20;
/// More-fragments flag and reserved bit left out: where in the packet a fragment belongs.
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
/// The same in an IPv6 fragment header, in its upper 13 bits (RFC 8200 section 4.5).
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// The first or only fragment of an IP packet, extension headers taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// What the payload is: [`TCP`], [`UDP`] or another assigned number.
    pub protocol: u8,
    /// What follows the last IP header, as far as the buffer goes.
    pub payload: &'a [u8],
}

impl<'a> IpPacket<'a> {
    /// Takes off the IP headers. Checksums are not looked at: those of outgoing packets are
    /// often not computed yet.
    ///
    /// # Errors
    /// The headers are cut short or contradict themselves, or this is a later fragment, which
    /// holds no transport header.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        match packet.first().ok_or(Malformed)? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => Err(Malformed),
        }
    }

    /// RFC 791 section 3.1.
    fn parse_v4(packet: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::at(packet, 0);
        let header_bytes = usize::from(cursor.u8()? & 0x0f) * 4;
        cursor.u8()?; // type of service
        let total_bytes = usize::from(cursor.u16()?);
        cursor.u16()?; // identification
        let fragment = cursor.u16()?;
        cursor.u8()?; // time to live
        let protocol = cursor.u8()?;
        cursor.u16()?; // checksum
        let source = IpAddr::V4(Ipv4Addr::from(cursor.u32()?));
        let destination = IpAddr::V4(Ipv4Addr::from(cursor.u32()?));
        if header_bytes < IPV4_HEADER_BYTES || fragment & IPV4_FRAGMENT_OFFSET != 0 {
            return Err(Malformed);
        }
        Ok(Self {
            source,
            destination,
            protocol,
            payload: between(packet, header_bytes, total_bytes)?,
        })
    }

    /// RFC 8200 section 3.
    fn parse_v6(packet: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::at(packet, 0);
        cursor.u32()?; // version, traffic class, flow label
        let payload_bytes = usize::from(cursor.u16()?);
        let next_header = cursor.u8()?;
        cursor.u8()?; // hop limit
        let source = IpAddr::V6(Ipv6Addr::from(cursor.array::<16>()?));
        let destination = IpAddr::V6(Ipv6Addr::from(cursor.array::<16>()?));
        let start = cursor.offset();
        let end = if payload_bytes == 0 {
            0
        } else {
            start + payload_bytes
        };
        let (protocol, payload) = skip_extensions(next_header, between(packet, start, end)?)?;
        Ok(Self {
            source,
            destination,
            protocol,
            payload,
        })
    }
}

/// `packet[start..end]`, `end` clamped to the buffer. A length field of 0 stands for a packet
/// too large for the field (jumbograms of RFC 2675, Linux BIG TCP): then all the rest.
fn between(packet: &[u8], start: usize, end: usize) -> Result<&[u8], Malformed> {
    let end = match end {
        0 => packet.len(),
        end => end.min(packet.len()),
    };
    packet.get(start..end).ok_or(Malformed)
}

/// Walks the extension headers (RFC 8200 section 4, AH: RFC 4302 section 2.2). Each is at least
/// 8 bytes long, so the walk ends.
fn skip_extensions(mut header: u8, mut payload: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION_OPTIONS: u8 = 60;
    loop {
        let header_bytes = match header {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (length_field(payload)? + 1) * 8,
            AUTHENTICATION => (length_field(payload)? + 2) * 4,
            FRAGMENT => {
                if Cursor::at(payload, 2).u16()? & IPV6_FRAGMENT_OFFSET != 0 {
                    return Err(Malformed);
                }
                8
            }
            _ => return Ok((header, payload)),
        };
        header = *payload.first().ok_or(Malformed)?;
        payload = payload.get(header_bytes..).ok_or(Malformed)?;
    }
}

/// Second byte of an extension header: its length, in units that depend on the header.
fn length_field(extension: &[u8]) -> Result<usize, Malformed> {
    Cursor::at(extension, 1).u8().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.0.2.1 → 198.51.100.2, UDP, total length 32, DF.
    const V4: [u8; 32] = [
        0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100,
        2, // header
        0xc0, 0, 0, 53, 0, 12, 0, 0, b'd', b'a', b't', b'a',
    ];

    fn v6(next_header: u8, payload_bytes: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(payload_bytes.to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn ipv4_gives_its_ends_and_payload() {
        let packet = IpPacket::parse(&V4).unwrap();
        assert_eq!(packet.source.to_string(), "192.0.2.1");
        assert_eq!(packet.destination.to_string(), "198.51.100.2");
        assert_eq!(packet.protocol, UDP);
        assert_eq!(packet.payload, &V4[20..]);
    }

    #[test]
    fn ipv4_total_length_cuts_what_trails_but_may_exceed_a_cut_copy() {
        let mut padded = V4.to_vec();
        padded.extend([0; 14]);
        assert_eq!(IpPacket::parse(&padded).unwrap().payload, &V4[20..]);
        assert_eq!(IpPacket::parse(&V4[..25]).unwrap().payload, &V4[20..25]);
        let mut big_tcp = V4;
        big_tcp[2..4].copy_from_slice(&[0, 0]);
        assert_eq!(IpPacket::parse(&big_tcp).unwrap().payload, &V4[20..]);
    }

    #[test]
    fn ipv4_options_are_skipped_and_bad_lengths_refused() {
        let mut options = V4;
        options[0] = 0x46;
        assert_eq!(IpPacket::parse(&options).unwrap().payload, &V4[24..]);
        for (at, value) in [(0, 0x44), (0, 0x4f), (0, 0x55), (3, 19)] {
            let mut bad = V4;
            bad[at] = value;
            assert_eq!(IpPacket::parse(&bad), Err(Malformed), "byte {at} = {value}");
        }
    }

    #[test]
    fn only_a_first_fragment_holds_a_transport_header() {
        let mut fragment = V4;
        fragment[6] = 0x20; // more fragments, offset 0
        assert!(IpPacket::parse(&fragment).is_ok());
        fragment[7] = 0x01;
        assert_eq!(IpPacket::parse(&fragment), Err(Malformed));
        let first = v6(44, 9, &[17, 0, 0, 1, 0, 0, 0, 7, b'x']);
        assert_eq!(IpPacket::parse(&first).unwrap().payload, b"x");
        let later = v6(44, 9, &[17, 0, 0, 8, 0, 0, 0, 7, b'x']);
        assert_eq!(IpPacket::parse(&later), Err(Malformed));
    }

    #[test]
    fn ipv6_extension_headers_are_walked() {
        let mut payload = vec![43, 0, 1, 4, 0, 0, 0, 0]; // hop-by-hop: next routing, PadN
        payload.extend([51, 1]); // routing: next AH, 16 bytes
        payload.extend([0; 14]);
        payload.extend([60, 4]); // AH: next destination options, (4 + 2) * 4 = 24 bytes
        payload.extend([0; 22]);
        payload.extend([6, 0, 1, 4, 0, 0, 0, 0]); // destination options: next TCP
        payload.extend(b"tcp");
        let length = u16::try_from(payload.len()).unwrap();
        let packet = v6(0, length, &payload);
        let parsed = IpPacket::parse(&packet).unwrap();
        assert_eq!((parsed.protocol, parsed.payload), (TCP, &b"tcp"[..]));
        for end in 0..packet.len() - 3 {
            assert_eq!(
                IpPacket::parse(&packet[..end]),
                Err(Malformed),
                "{end} bytes"
            );
        }
    }

    #[test]
    fn ipv6_payload_length_cuts_what_trails_and_zero_means_the_rest() {
        assert_eq!(IpPacket::parse(&v6(17, 2, b"abcd")).unwrap().payload, b"ab");
        assert_eq!(
            IpPacket::parse(&v6(17, 9, b"abcd")).unwrap().payload,
            b"abcd"
        );
        assert_eq!(
            IpPacket::parse(&v6(6, 0, b"abcd")).unwrap().payload,
            b"abcd"
        );
    }
}
