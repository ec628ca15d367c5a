//! TCP segments (RFC 9293 section 3.1).

use super::Malformed;
use super::cursor::Cursor;

/// Length of a TCP header without options.
pub const HEADER_BYTES: usize = 20;

/// Bytes that a phone has in flight on one connection at most: beyond any send buffer that Linux
/// grows by itself (`tcp_wmem`, at most a few MiB).
const MAX_IN_FLIGHT: u32 = 1 << 24;

/// The control bits of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push what has come to the application.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A TCP segment. With segmentation offload it may be several in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number of the first payload byte, or of the SYN.
    pub sequence: u32,
    /// The next sequence number expected, where [`TcpFlags::ACK`] is set.
    pub acknowledgment: u32,
    /// The control bits.
    pub flags: TcpFlags,
    /// What follows the options, as far as the buffer goes.
    pub payload: &'a [u8],
}

impl<'a> TcpSegment<'a> {
    /// Takes off the TCP header of an IP payload. The checksum is not looked at.
    ///
    /// # Errors
    /// The header or its options are cut short, or the data offset lies inside the header.
    pub fn parse(segment: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::at(segment, 0);
        let source_port = cursor.u16()?;
        let destination_port = cursor.u16()?;
        let sequence = cursor.u32()?;
        let acknowledgment = cursor.u32()?;
        let header_bytes = usize::from(cursor.u8()? >> 4) * 4;
        let flags = TcpFlags(cursor.u8()?);
        if header_bytes < HEADER_BYTES {
            return Err(Malformed);
        }
        Ok(Self {
            source_port,
            destination_port,
            sequence,
            acknowledgment,
            flags,
            payload: segment.get(header_bytes..).ok_or(Malformed)?,
        })
    }

    /// Whether its sender asks for a new connection: a SYN that answers no other's SYN.
    #[must_use]
    pub const fn opens(&self) -> bool {
        self.flags.contains(TcpFlags::SYN) && !self.flags.contains(TcpFlags::ACK)
    }

    /// Whether this can be of the same connection as a segment with `sequence`: as near to it as
    /// anything that may still be in flight. One in some hundred others is near by chance.
    #[must_use]
    pub const fn is_near(&self, sequence: u32) -> bool {
        let ahead = self.sequence.wrapping_sub(sequence);
        let behind = sequence.wrapping_sub(self.sequence);
        ahead <= MAX_IN_FLIGHT || behind <= MAX_IN_FLIGHT
    }

    /// The sequence number after this segment: SYN and FIN count one each (RFC 9293 section
    /// 3.4). Too low where the copy range cut the payload.
    #[must_use]
    pub fn sequence_end(&self) -> u32 {
        // A payload under 4 GiB: the IP parser saw one packet. Sequence numbers wrap anyway.
        let payload = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        self.sequence
            .wrapping_add(payload)
            .wrapping_add(u32::from(self.flags.contains(TcpFlags::SYN)))
            .wrapping_add(u32::from(self.flags.contains(TcpFlags::FIN)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Port 49153 → 443, sequence 0xffff_fffe, PSH|ACK, one 4-byte option run, "abc".
    const SEGMENT: [u8; 27] = [
        0xc0, 0x01, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 9, 0x60, 0x18, 0, 0, 0, 0, 0,
        0, 1, 1, 1, 1, b'a', b'b', b'c',
    ];

    #[test]
    fn the_fields_and_the_payload_after_the_options() {
        let segment = TcpSegment::parse(&SEGMENT).unwrap();
        assert_eq!(
            segment,
            TcpSegment {
                source_port: 49153,
                destination_port: 443,
                sequence: 0xffff_fffe,
                acknowledgment: 9,
                flags: TcpFlags::PSH.with(TcpFlags::ACK),
                payload: b"abc",
            }
        );
        assert!(!segment.flags.contains(TcpFlags::SYN));
        assert_eq!(segment.sequence_end(), 1, "sequence numbers wrap");
    }

    #[test]
    fn a_cut_header_or_a_bad_data_offset_is_refused() {
        for length in 0..24 {
            assert_eq!(TcpSegment::parse(&SEGMENT[..length]), Err(Malformed));
        }
        for offset in [0x40, 0x70] {
            let mut bad = SEGMENT;
            bad[12] = offset;
            assert_eq!(TcpSegment::parse(&bad), Err(Malformed));
        }
    }

    #[test]
    fn syn_and_fin_take_a_sequence_number() {
        let mut both = SEGMENT;
        both[13] = 0x03;
        assert_eq!(TcpSegment::parse(&both).unwrap().sequence_end(), 3);
    }
}
