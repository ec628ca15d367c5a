//! UDP datagrams (RFC 768).

use super::Malformed;
use super::cursor::Cursor;

/// Length of a UDP header.
pub const HEADER_BYTES: usize = 8;

/// A UDP datagram. With segmentation offload it may be several in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// What follows the header, as far as the buffer goes.
    pub payload: &'a [u8],
}

impl<'a> UdpDatagram<'a> {
    /// Takes off the UDP header of an IP payload. The checksum is not looked at.
    ///
    /// # Errors
    /// The header is cut short or its length field does not even cover the header.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::at(datagram, 0);
        let source_port = cursor.u16()?;
        let destination_port = cursor.u16()?;
        let end = match usize::from(cursor.u16()?) {
            0 => datagram.len(), // longer than the field can say (RFC 2675 section 4)
            length => length.min(datagram.len()),
        };
        let payload = datagram.get(HEADER_BYTES..end).ok_or(Malformed)?;
        Ok(Self {
            source_port,
            destination_port,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(length: u8, rest: &[u8]) -> Result<(u16, u16, Vec<u8>), Malformed> {
        let mut bytes = vec![0xc0, 0x01, 0, 53, 0, length, 0xab, 0xcd];
        bytes.extend(rest);
        let datagram = UdpDatagram::parse(&bytes)?;
        Ok((
            datagram.source_port,
            datagram.destination_port,
            datagram.payload.to_vec(),
        ))
    }

    #[test]
    fn the_length_field_is_clamped_to_the_buffer() {
        assert_eq!(parse(12, b"data"), Ok((0xc001, 53, b"data".to_vec())));
        assert_eq!(parse(10, b"data"), Ok((0xc001, 53, b"da".to_vec())));
        assert_eq!(parse(99, b"data"), Ok((0xc001, 53, b"data".to_vec())));
        assert_eq!(parse(0, b"data"), Ok((0xc001, 53, b"data".to_vec())));
        assert_eq!(parse(8, b""), Ok((0xc001, 53, vec![])));
    }

    #[test]
    fn a_length_under_the_header_and_a_cut_header_are_refused() {
        assert_eq!(parse(7, b"data"), Err(Malformed));
        for length in 0..8 {
            assert_eq!(UdpDatagram::parse(&[0; 8][..length]), Err(Malformed));
        }
    }
}
