//! IP headers of forged packets, and the pseudo-header their checksums cover.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Checksum;
use super::writer::Writer;
use crate::decide::FlowKey;

/// Time to live, or hop limit, of what is forged: the usual one of a server nearby.
const HOPS: u8 = 64;
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
/// Don't fragment; with it the identification has no meaning and is 0 (RFC 6864 section 4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// Source and destination of a packet, in one family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// IPv4 (RFC 791).
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6 (RFC 8200).
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// None where the families differ.
    pub(super) const fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(Self::V4(source, destination))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some(Self::V6(source, destination))
            }
            _ => None,
        }
    }

    /// From the other end of a flow to the phone's.
    pub(super) const fn reply(flow: &FlowKey) -> Option<Self> {
        Self::new(flow.remote.ip(), flow.local.ip())
    }

    pub(super) const fn header_bytes(self) -> usize {
        match self {
            Self::V4(..) => IPV4_HEADER_BYTES,
            Self::V6(..) => IPV6_HEADER_BYTES,
        }
    }

    /// Writes the header of a packet with `payload_bytes` after it. None where there is no room
    /// or the payload is longer than a packet can say.
    pub(super) fn write_header(
        self,
        protocol: u8,
        payload_bytes: usize,
        out: &mut [u8],
    ) -> Option<()> {
        match self {
            Self::V4(source, destination) => {
                let total_bytes = u16::try_from(IPV4_HEADER_BYTES + payload_bytes).ok()?;
                let header = out.get_mut(..IPV4_HEADER_BYTES)?;
                let mut writer = Writer::new(header);
                writer.put(&[0x45, 0])?;
                writer.put_u16(total_bytes)?;
                writer.put_u16(0)?; // identification
                writer.put_u16(DONT_FRAGMENT)?;
                writer.put(&[HOPS, protocol, 0, 0])?;
                writer.put(&source.octets())?;
                writer.put(&destination.octets())?;
                let checksum = Checksum::default().add(header).finish();
                header.get_mut(10..12)?.copy_from_slice(&checksum);
            }
            Self::V6(source, destination) => {
                let mut writer = Writer::new(out);
                writer.put_u32(0x6000_0000)?; // no traffic class, no flow label
                writer.put_u16(u16::try_from(payload_bytes).ok()?)?;
                writer.put(&[protocol, HOPS])?;
                writer.put(&source.octets())?;
                writer.put(&destination.octets())?;
            }
        }
        Some(())
    }

    /// Checksum of a whole TCP, UDP or ICMPv6 message whose checksum field is still 0 (RFC 9293
    /// section 3.1, RFC 768, RFC 8200 section 8.1). The length fits: the header was written.
    pub(super) fn checksum(self, protocol: u8, message: &[u8]) -> [u8; 2] {
        let sum = match self {
            Self::V4(source, destination) => Checksum::default()
                .add(&source.octets())
                .add(&destination.octets()),
            Self::V6(source, destination) => Checksum::default()
                .add(&source.octets())
                .add(&destination.octets()),
        };
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        sum.add_u16(u16::from(protocol))
            .add_u16(length)
            .add(message)
            .finish()
    }
}
