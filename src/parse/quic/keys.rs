//! Packet protection of a client's Initial packets (RFC 9001 section 5, RFC 9369 section 3.3).

use std::ops::Range;

use aes::Aes128;
use aes::cipher::BlockCipherEncrypt;
use aes_gcm::{AeadInOut, Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

use super::{ConnectionId, Initial, Version};
use crate::parse::Malformed;

/// Longest Initial packet that is decrypted: more than any path takes.
pub const MAX_INITIAL_BYTES: usize = 4096;

/// The header protection sample starts where the packet number would end if it had four bytes
/// (RFC 9001 section 5.4.2).
const MAX_NUMBER_BYTES: usize = 4;
const SAMPLE_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const IV_BYTES: usize = 12;

/// What keys are made of in one version. Labels are written out as HKDF-Expand-Label takes them
/// (RFC 8446 section 7.1): bytes wanted, length and text of the label, no context.
struct Derivation {
    salt: [u8; 20],
    key: &'static [u8],
    iv: &'static [u8],
    header: &'static [u8],
}

/// RFC 9001 sections 5.1 and 5.2.
const V1: Derivation = Derivation {
    salt: [
        0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
        0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
    ],
    key: b"\x00\x10\x0etls13 quic key\x00",
    iv: b"\x00\x0c\x0dtls13 quic iv\x00",
    header: b"\x00\x10\x0dtls13 quic hp\x00",
};

/// RFC 9369 sections 3.3.1 and 3.3.2.
const V2: Derivation = Derivation {
    salt: [
        0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
        0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
    ],
    key: b"\x00\x10\x10tls13 quicv2 key\x00",
    iv: b"\x00\x0c\x0ftls13 quicv2 iv\x00",
    header: b"\x00\x10\x0ftls13 quicv2 hp\x00",
};

const CLIENT_SECRET: &[u8] = b"\x00\x20\x0ftls13 client in\x00";

/// A client's Initial keys. AES-128-GCM whatever the handshake will agree on.
struct ClientKeys {
    payload: Aes128Gcm,
    iv: [u8; IV_BYTES],
    header: Aes128,
}

impl ClientKeys {
    fn new(version: Version, destination: &ConnectionId) -> Result<Self, Malformed> {
        let derivation = match version {
            Version::V1 => &V1,
            Version::V2 => &V2,
        };
        let initial = Hkdf::<Sha256>::new(Some(&derivation.salt), destination.as_bytes());
        let secret: [u8; 32] = expand(&initial, CLIENT_SECRET)?;
        let secret = Hkdf::<Sha256>::from_prk(&secret).map_err(|_| Malformed)?;
        let key: [u8; 16] = expand(&secret, derivation.key)?;
        let header: [u8; 16] = expand(&secret, derivation.header)?;
        Ok(Self {
            payload: Aes128Gcm::new(&key.into()),
            iv: expand(&secret, derivation.iv)?,
            header: Aes128::new(&header.into()),
        })
    }

    /// The mask of RFC 9001 section 5.4.3.
    fn header_mask(&self, sample: [u8; SAMPLE_BYTES]) -> [u8; SAMPLE_BYTES] {
        let mut block = sample.into();
        self.header.encrypt_block(&mut block);
        block.into()
    }

    /// The IV with the packet number in its last bytes (RFC 9001 section 5.3).
    ///
    /// The number is taken as it stands in the header: to leave more of it out, a client would have
    /// to have sent 127 Initials before.
    fn nonce(&self, number: &[u8]) -> [u8; IV_BYTES] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        nonce
    }
}

/// Fails only where HKDF cannot give so many bytes.
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &[u8]) -> Result<[u8; N], Malformed> {
    let mut out = [0; N];
    secret.expand(label, &mut out).map_err(|_| Malformed)?;
    Ok(out)
}

impl Initial<'_> {
    /// Decrypts the packet into `out`, with the keys of a connection whose first packet was sent to
    /// `first_destination`. The answer is where in `out` the frames are.
    ///
    /// # Errors
    /// It was not encrypted with these keys, or is longer than [`MAX_INITIAL_BYTES`].
    pub fn open(
        &self,
        first_destination: &ConnectionId,
        out: &mut [u8; MAX_INITIAL_BYTES],
    ) -> Result<Range<usize>, Malformed> {
        let keys = ClientKeys::new(self.version, first_destination)?;
        let sample = self
            .packet
            .get(self.number_at + MAX_NUMBER_BYTES..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(Malformed)?;
        let mask = keys.header_mask(*sample);
        let packet = out.get_mut(..self.packet.len()).ok_or(Malformed)?;
        packet.copy_from_slice(self.packet);
        let first = packet.first_mut().ok_or(Malformed)?;
        *first ^= mask[0] & 0x0f;
        let number_bytes = usize::from(*first & 3) + 1;
        let frames_at = self.number_at + number_bytes;
        let (header, rest) = packet.split_at_mut_checked(frames_at).ok_or(Malformed)?;
        let number = header.get_mut(self.number_at..).ok_or(Malformed)?;
        for (byte, mask) in number.iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        let nonce = keys.nonce(number);
        let (frames, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(Malformed)?;
        let end = frames_at + frames.len();
        keys.payload
            .decrypt_inout_detached(&nonce.into(), header, frames.into(), &(*tag).into())
            .map_err(|_| Malformed)?;
        Ok(frames_at..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::quic::{Packet, crypto_frames, packets};
    use crate::parse::reassembly::Reassembly;
    use crate::parse::tls::server_name_in_handshake;
    use crate::parse::{Detected, DomainName};

    /// RFC 9001 appendix A.2 and RFC 9369 appendix A.2: the same frames in both versions.
    const RFC_9001: &[u8] = include_bytes!("../../../tests/data/rfc9001_initial.bin");
    const RFC_9369: &[u8] = include_bytes!("../../../tests/data/rfc9369_initial.bin");
    const RFC_DESTINATION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

    fn only(datagram: &[u8]) -> Initial<'_> {
        let Some(Ok(Packet::Initial(initial))) = packets(datagram).next() else {
            panic!("it starts with an Initial");
        };
        initial
    }

    #[test]
    fn the_packets_of_the_rfcs() {
        for (datagram, version) in [(RFC_9001, Version::V1), (RFC_9369, Version::V2)] {
            assert_eq!(packets(datagram).count(), 1);
            let initial = only(datagram);
            assert_eq!(initial.version, version);
            assert_eq!(initial.destination.as_bytes(), RFC_DESTINATION);
            let mut out = [0xee; MAX_INITIAL_BYTES];
            let frames = initial.open(&initial.destination, &mut out).unwrap();
            assert_eq!(frames, 22..1200 - TAG_BYTES);
            // The header without its protection.
            assert_eq!(
                out[..18],
                [&[datagram[0] & 0xf0 | 3][..], &datagram[1..18]].concat()
            );
            assert_eq!(out[18..22], [0, 0, 0, 2]);
            assert_eq!(out[22..26], [0x06, 0x00, 0x40, 0xf1]);
            assert_eq!(out[26 + 0xf1..frames.end], [0; 917]);
            let mut stream = Reassembly::new();
            for frame in crypto_frames(&out[frames]) {
                let frame = frame.unwrap();
                stream.insert(frame.offset, frame.data);
            }
            assert_eq!(stream.start().len(), 0xf1);
            let name = DomainName::from_text("example.com").unwrap();
            assert_eq!(
                server_name_in_handshake(stream.start()),
                Detected::Found(name)
            );
        }
    }

    #[test]
    fn other_keys_and_any_changed_byte_are_refused() {
        let mut out = [0; MAX_INITIAL_BYTES];
        let other = ConnectionId::new(b"another").unwrap();
        assert_eq!(only(RFC_9001).open(&other, &mut out), Err(Malformed));
        for at in 0..RFC_9001.len() {
            let mut changed = RFC_9001.to_vec();
            changed[at] ^= 1;
            let opened = packets(&changed).find_map(|packet| match packet {
                Ok(Packet::Initial(initial)) => {
                    initial.open(&initial.destination, &mut out).ok()
                }
                _ => None,
            });
            assert_eq!(opened, None, "byte {at}");
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_refused() {
        let mut out = [0; MAX_INITIAL_BYTES];
        for bytes in (0..60).chain([MAX_INITIAL_BYTES]) {
            let length = u16::try_from(bytes).unwrap() | 0x4000;
            let mut packet = RFC_9001[..16].to_vec();
            packet.extend(length.to_be_bytes());
            packet.resize(packet.len() + bytes, 0x55);
            let initial = only(&packet);
            let opened = initial.open(&initial.destination, &mut out);
            assert_eq!(opened, Err(Malformed), "{bytes}");
        }
    }
}
