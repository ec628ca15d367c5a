//! Long headers (RFC 9000 section 17.2), and the packets of a datagram (section 12.2).

use super::{varint, without_zeros};
use crate::parse::Malformed;
use crate::parse::cursor::Cursor;

/// Header form: 1 in long headers. The bit after it, which is fixed, may be greased (RFC 9287).
const LONG_HEADER: u8 = 0x80;
/// Longest connection ID of versions 1 and 2 (RFC 9000 section 17.2).
const MAX_CONNECTION_ID_BYTES: usize = 20;

/// RFC 9000 section 15.
const V1_NUMBER: u32 = 1;
/// RFC 9369 section 3.1.
const V2_NUMBER: u32 = 0x6b33_43cf;

/// A version whose Initial packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
}

impl Version {
    const fn from_number(number: u32) -> Option<Self> {
        match number {
            V1_NUMBER => Some(Self::V1),
            V2_NUMBER => Some(Self::V2),
            _ => None,
        }
    }

    /// How an Initial packet begins whose packet number has one byte: its first byte, which is
    /// still to be protected, and the version.
    #[must_use]
    pub const fn initial_start(self) -> (u8, u32) {
        match self {
            Self::V1 => (0xc0, V1_NUMBER),
            Self::V2 => (0xd0, V2_NUMBER),
        }
    }

    /// The kind of a packet, by its first byte (RFC 9000 section 17.2, RFC 9369 section 3.2).
    const fn kind(self, first: u8) -> Kind {
        match (self, first >> 4 & 3) {
            (Self::V1, 0) | (Self::V2, 1) => Kind::Initial,
            (Self::V1, 3) | (Self::V2, 0) => Kind::Retry,
            _ => Kind::Later,
        }
    }
}

enum Kind {
    Initial,
    Retry,
    /// 0-RTT or Handshake, which are alike but for their keys.
    Later,
}

/// A connection ID, as one end of a connection has chosen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Zeros after the first `length`.
    bytes: [u8; MAX_CONNECTION_ID_BYTES],
    length: u8,
}

impl ConnectionId {
    /// None where it is longer than 20 bytes.
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_CONNECTION_ID_BYTES];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let length = u8::try_from(id.len()).ok()?;
        Some(Self { bytes, length })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or(&self.bytes)
    }
}

/// A client's Initial packet (RFC 9000 section 17.2.2), still encrypted.
#[derive(Clone, Copy, Debug)]
pub struct Initial<'a> {
    /// Its version, which says what the keys are made of.
    pub version: Version,
    /// Destination Connection ID.
    pub destination: ConnectionId,
    /// Source Connection ID: the client's own, which stays the same.
    pub source: ConnectionId,
    /// From the first byte of the header to the end of the payload.
    pub(super) packet: &'a [u8],
    /// Where in `packet` the packet number starts.
    pub(super) number_at: usize,
}

/// One packet of a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// An Initial packet.
    Initial(Initial<'a>),
    /// One that holds nothing to read here.
    Other,
    /// A version of which nothing is known but its long header (RFC 8999); it is the last, for
    /// nobody can tell where it ends.
    UnknownVersion,
}

/// The packets of a datagram that have a long header, in their order.
///
/// Where the kernel has joined several datagrams to one, the packets of all of them are found, as
/// long as each but the last ends with a packet that has a long header, or with zeros. After an
/// error nothing more comes.
pub fn packets(datagram: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.first()? & LONG_HEADER == 0 {
            return None; // 1-RTT, which has no length, or no QUIC
        }
        let present = std::mem::take(&mut rest);
        Some(packet(present).map(|(packet, after)| {
            rest = without_zeros(after);
            packet
        }))
    })
}

/// Whether a datagram is one that the kernel's rules pick: its first or second packet is an Initial.
#[must_use]
pub fn starts_initial(datagram: &[u8]) -> bool {
    packets(datagram)
        .take(2)
        .any(|packet| matches!(packet, Ok(Packet::Initial(_))))
}

/// The packet that `bytes` start with, and what comes after it.
fn packet(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), Malformed> {
    let mut cursor = Cursor::at(bytes, 0);
    let first = cursor.u8()?;
    let Some(version) = Version::from_number(cursor.u32()?) else {
        return Ok((Packet::UnknownVersion, &[]));
    };
    let destination = connection_id(&mut cursor)?;
    let source = connection_id(&mut cursor)?;
    let kind = version.kind(first);
    match kind {
        Kind::Initial => {
            let token_bytes = length(&mut cursor)?;
            cursor.take(token_bytes)?;
        }
        Kind::Retry => return Ok((Packet::Other, &[])), // of a server, alone in its datagram
        Kind::Later => {}
    }
    let protected_bytes = length(&mut cursor)?;
    let number_at = cursor.offset();
    cursor.take(protected_bytes)?;
    let (packet, after) = bytes.split_at_checked(cursor.offset()).ok_or(Malformed)?;
    let packet = match kind {
        Kind::Initial => Packet::Initial(Initial {
            version,
            destination,
            source,
            packet,
            number_at,
        }),
        _ => Packet::Other,
    };
    Ok((packet, after))
}

fn connection_id(cursor: &mut Cursor<'_>) -> Result<ConnectionId, Malformed> {
    let length = cursor.u8()?.into();
    ConnectionId::new(cursor.take(length)?).ok_or(Malformed)
}

fn length(cursor: &mut Cursor<'_>) -> Result<usize, Malformed> {
    usize::try_from(varint(cursor)?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: [u8; 4] = [0x6b, 0x33, 0x43, 0xcf];

    /// A packet with a long header, connection IDs `d` and `s`, and a payload of five bytes.
    fn long(first: u8, version: [u8; 4], token: Option<&[u8]>) -> Vec<u8> {
        let mut packet = vec![first];
        packet.extend(version);
        packet.extend([1, b'd', 1, b's']);
        if let Some(token) = token {
            packet.push(u8::try_from(token.len()).unwrap());
            packet.extend(token);
        }
        packet.extend([5, 1, 2, 3, 4, 5]);
        packet
    }

    /// `I` for an Initial of version 1, `2` of version 2, `o` for another, `?` for an unknown
    /// version, `!` for an error.
    fn kinds(datagram: &[u8]) -> String {
        packets(datagram)
            .map(|packet| match packet {
                Ok(Packet::Initial(initial)) => {
                    assert_eq!(initial.destination.as_bytes(), b"d");
                    assert_eq!(initial.source.as_bytes(), b"s");
                    assert_eq!(initial.packet[initial.number_at..], [1, 2, 3, 4, 5]);
                    match initial.version {
                        Version::V1 => 'I',
                        Version::V2 => '2',
                    }
                }
                Ok(Packet::Other) => 'o',
                Ok(Packet::UnknownVersion) => '?',
                Err(Malformed) => '!',
            })
            .collect()
    }

    #[test]
    fn kinds_by_first_byte_and_version() {
        let initial = long(0xc3, [0, 0, 0, 1], Some(b""));
        let initial_v2 = long(0xd3, V2, Some(b"token"));
        let greased = long(0x80, [0, 0, 0, 1], Some(b"token"));
        let early = long(0xd0, [0, 0, 0, 1], None);
        let early_v2 = long(0xe0, V2, None);
        let handshake = long(0xe0, [0, 0, 0, 1], None);
        for (packets, expected) in [
            (vec![&initial], "I"),
            (vec![&initial_v2], "2"),
            (vec![&greased, &initial], "II"),
            (vec![&early, &early, &initial, &handshake], "ooIo"),
            (vec![&early_v2, &initial_v2], "o2"),
        ] {
            let datagram = packets.into_iter().flatten().copied().collect::<Vec<_>>();
            assert_eq!(kinds(&datagram), expected);
        }
    }

    #[test]
    fn what_ends_a_datagram() {
        let initial = long(0xc3, [0, 0, 0, 1], Some(b""));
        let then = |rest: &[u8]| kinds(&[&initial, rest].concat());
        assert_eq!(then(&[0x40, 1, 2, 3]), "I"); // 1-RTT
        assert_eq!(then(&[0; 40]), "I"); // padding outside of packets
        assert_eq!(then(&[&[0; 40], &initial[..]].concat()), "II");
        assert_eq!(then(&[0xc0, 0, 0, 0, 9, 0xff]), "I?");
        assert_eq!(then(&long(0xf0, [0, 0, 0, 1], None)), "Io"); // Retry
        assert_eq!(then(&[0xc0, 0, 0, 0, 1, 21]), "I!"); // a connection ID of 21 bytes
        assert_eq!(kinds(b""), "");
        for end in 1..initial.len() {
            assert_eq!(kinds(&initial[..end]), "!", "{end}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        let mut token = long(0xc3, [0, 0, 0, 1], None);
        token.truncate(9);
        token.extend([0xff; 8]);
        assert_eq!(kinds(&token), "!");
        let mut payload = long(0xc3, [0, 0, 0, 1], Some(b""));
        payload[10] = 6;
        assert_eq!(kinds(&payload), "!");
    }
}
