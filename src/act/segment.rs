//! Forged TCP segments (RFC 9293).

use std::ops::Range;

use super::ip_header::Ends;
use super::writer::Writer;
use crate::decide::FlowKey;
use crate::parse::ip::TCP;
use crate::parse::tcp::{HEADER_BYTES, TcpFlags, TcpSegment};

/// Header length in words, in the upper half of its byte: no options.
const DATA_OFFSET: u8 = 5 << 4;
/// Receive window of what is forged: never used, since the connection ends, but not 0.
const WINDOW: u16 = 0xffff;
const CHECKSUM_OFFSET: usize = 16;

/// What a forged segment says, beside its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Sequence number of the first payload byte.
    pub sequence: u32,
    /// The next sequence number expected of the phone.
    pub acknowledgment: u32,
    /// The control bits.
    pub flags: TcpFlags,
}

/// Writes into `out` a TCP packet from the flow's remote end to the phone, whose payload
/// `payload` writes into the slice it is given, saying how many bytes it took.
///
/// Returns the length of the packet; none where `payload` returns none, `out` is too small, or
/// the flow's ends are of different families.
#[must_use]
pub fn tcp_reply(
    flow: &FlowKey,
    header: SegmentHeader,
    out: &mut [u8],
    payload: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<usize> {
    let ends = Ends::reply(flow)?;
    let (ip_header, rest) = out.split_at_mut_checked(ends.header_bytes())?;
    let payload_bytes = payload(rest.get_mut(HEADER_BYTES..)?)?;
    let segment = rest.get_mut(..HEADER_BYTES.checked_add(payload_bytes)?)?;
    ends.write_header(TCP, segment.len(), ip_header)?;
    let mut writer = Writer::new(segment);
    writer.put_u16(flow.remote.port())?;
    writer.put_u16(flow.local.port())?;
    writer.put_u32(header.sequence)?;
    writer.put_u32(header.acknowledgment)?;
    writer.put(&[DATA_OFFSET, header.flags.0])?;
    writer.put_u16(WINDOW)?;
    writer.put_u32(0)?; // checksum, urgent pointer
    let checksum = ends.checksum(TCP, segment);
    segment
        .get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2)?
        .copy_from_slice(&checksum);
    Some(ends.header_bytes() + segment.len())
}

/// Writes into `out` a packet with `segment`, a TCP segment with its header, from the flow's remote
/// end to the phone; its checksum is still that of `segment`.
///
/// Returns the length of the packet; none where `out` is too small, or the flow's ends are of
/// different families.
#[must_use]
pub fn copy(flow: &FlowKey, segment: &[u8], out: &mut [u8]) -> Option<usize> {
    let ends = Ends::reply(flow)?;
    ends.write_header(TCP, segment.len(), out)?;
    let length = ends.header_bytes() + segment.len();
    out.get_mut(ends.header_bytes()..length)?
        .copy_from_slice(segment);
    Some(length)
}

/// Sets the checksum of `packet`, which [`copy`] has written and its caller has changed.
///
/// None where it has no whole TCP header.
#[must_use]
pub fn set_checksum(flow: &FlowKey, packet: &mut [u8]) -> Option<()> {
    const FIELD: Range<usize> = CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2;
    let ends = Ends::reply(flow)?;
    let segment = packet.get_mut(ends.header_bytes()..)?;
    segment.get_mut(FIELD)?.fill(0);
    let checksum = ends.checksum(TCP, segment);
    segment.get_mut(FIELD)?.copy_from_slice(&checksum);
    Some(())
}

/// Writes into `out` the reset that answers `segment`, which the phone sent (RFC 9293 section
/// 3.5.2): at the sequence number the phone expects next, and acknowledging the segment, which
/// is what a socket in SYN-SENT goes by.
///
/// None for a reset, which is never answered, and where [`tcp_reply`] is none.
#[must_use]
pub fn reset_for(flow: &FlowKey, segment: &TcpSegment<'_>, out: &mut [u8]) -> Option<usize> {
    if segment.flags.contains(TcpFlags::RST) {
        return None;
    }
    let sequence = if segment.flags.contains(TcpFlags::ACK) {
        segment.acknowledgment
    } else {
        0
    };
    let header = SegmentHeader {
        sequence,
        acknowledgment: segment.sequence_end(),
        flags: TcpFlags::RST.with(TcpFlags::ACK),
    };
    tcp_reply(flow, header, out, |_| Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Protocol;
    use crate::parse::ip::IpPacket;

    fn flow() -> FlowKey {
        FlowKey {
            protocol: Protocol::Tcp,
            local: "192.0.2.1:4096".parse().unwrap(),
            remote: "198.51.100.2:443".parse().unwrap(),
        }
    }

    /// What [`reset_for`] says to a segment with these fields: sequence and acknowledgment.
    fn reset(flags: TcpFlags, payload: &[u8]) -> Option<(u32, u32)> {
        let sent = TcpSegment {
            source_port: 4096,
            destination_port: 443,
            sequence: 1000,
            acknowledgment: 7000,
            flags,
            payload,
        };
        let mut out = [0; 40];
        let length = reset_for(&flow(), &sent, &mut out)?;
        let packet = IpPacket::parse(&out[..length]).unwrap();
        assert_eq!(packet.source, flow().remote.ip());
        let segment = TcpSegment::parse(packet.payload).unwrap();
        assert_eq!((segment.source_port, segment.destination_port), (443, 4096));
        assert_eq!(segment.flags, TcpFlags::RST.with(TcpFlags::ACK));
        assert!(segment.payload.is_empty());
        Some((segment.sequence, segment.acknowledgment))
    }

    #[test]
    fn a_reset_stands_where_the_phone_expects_the_next_byte() {
        let data = TcpFlags::PSH.with(TcpFlags::ACK);
        assert_eq!(reset(data, b"hello"), Some((7000, 1005)));
        assert_eq!(
            reset(data.with(TcpFlags::FIN), b"hello"),
            Some((7000, 1006))
        );
        assert_eq!(reset(TcpFlags::SYN, b""), Some((0, 1001)));
        assert_eq!(reset(TcpFlags::SYN, b"fast open"), Some((0, 1010)));
    }

    #[test]
    fn a_reset_is_not_answered() {
        assert_eq!(reset(TcpFlags::RST, b""), None);
        assert_eq!(reset(TcpFlags::RST.with(TcpFlags::ACK), b""), None);
    }

    #[test]
    fn a_segment_byte_for_byte() {
        let header = SegmentHeader {
            sequence: 0x0102_0304,
            acknowledgment: 0x0506_0708,
            flags: TcpFlags::FIN.with(TcpFlags::ACK),
        };
        let mut out = [0xee; 64];
        let length = tcp_reply(&flow(), header, &mut out, |payload| {
            payload.get_mut(..2)?.copy_from_slice(b"hi");
            Some(2)
        });
        let expected = [
            0x45, 0, 0, 42, 0, 0, 0x40, 0, 64, 6, 0x4e, 0x97, 198, 51, 100, 2, 192, 0, 2,
            1, //
            0x01, 0xbb, 0x10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x11, 0xff, 0xff, 0x39, 0x62, 0,
            0, //
            b'h', b'i',
        ];
        assert_eq!(length, Some(expected.len()));
        assert_eq!(out[..expected.len()], expected);
    }

    #[test]
    fn too_small_a_buffer_is_none() {
        let syn = TcpSegment {
            source_port: 4096,
            destination_port: 443,
            sequence: 1,
            acknowledgment: 0,
            flags: TcpFlags::SYN,
            payload: b"",
        };
        for room in 0..40 {
            assert_eq!(reset_for(&flow(), &syn, &mut vec![0; room]), None);
        }
    }
}
