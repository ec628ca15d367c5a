//! Packet protection of Initial packets (RFC 9001 section 5, RFC 9369 section 3.3): a client's are
//! opened, a server's are sealed.

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
/// Length of the tag at the end of a packet (RFC 9001 section 5.3).
pub const TAG_BYTES: usize = 16;
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

/// RFC 9001 section 5.2.
const CLIENT_SECRET: &[u8] = b"\x00\x20\x0ftls13 client in\x00";
const SERVER_SECRET: &[u8] = b"\x00\x20\x0ftls13 server in\x00";

/// The Initial keys of one end. AES-128-GCM whatever the handshake will agree on.
struct Keys {
    payload: Aes128Gcm,
    iv: [u8; IV_BYTES],
    header: Aes128,
}

impl Keys {
    fn new(
        version: Version,
        first_destination: &ConnectionId,
        end: &[u8],
    ) -> Result<Self, Malformed> {
        let derivation = match version {
            Version::V1 => &V1,
            Version::V2 => &V2,
        };
        let initial = Hkdf::<Sha256>::new(Some(&derivation.salt), first_destination.as_bytes());
        let secret: [u8; 32] = expand(&initial, end)?;
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

/// What the mask of a packet's header comes from.
fn sample(packet: &[u8], number_at: usize) -> Result<[u8; SAMPLE_BYTES], Malformed> {
    let rest = packet.get(number_at + MAX_NUMBER_BYTES..);
    rest.and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Malformed)
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
        let keys = Keys::new(self.version, first_destination, CLIENT_SECRET)?;
        let mask = keys.header_mask(sample(self.packet, self.number_at)?);
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

/// Encrypts a server's Initial packet in place, with the keys of a connection whose first packet was
/// sent to `first_destination`. Its packet number stands at `number_at`, behind it the frames, and
/// at the end room for the tag ([`TAG_BYTES`]).
///
/// # Errors
/// The packet is shorter than its protection needs: 20 bytes from `number_at` on (RFC 9001 section
/// 5.4.2).
pub fn seal_from_server(
    version: Version,
    first_destination: &ConnectionId,
    packet: &mut [u8],
    number_at: usize,
) -> Result<(), Malformed> {
    let keys = Keys::new(version, first_destination, SERVER_SECRET)?;
    let number_bytes = usize::from(*packet.first().ok_or(Malformed)? & 3) + 1;
    let frames_at = number_at + number_bytes;
    let (header, rest) = packet.split_at_mut_checked(frames_at).ok_or(Malformed)?;
    let number = header.get(number_at..).ok_or(Malformed)?;
    let nonce = keys.nonce(number);
    let (frames, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(Malformed)?;
    *tag = keys
        .payload
        .encrypt_inout_detached(&nonce.into(), header, frames.into())
        .map_err(|_| Malformed)?
        .into();
    let mask = keys.header_mask(sample(packet, number_at)?);
    *packet.first_mut().ok_or(Malformed)? ^= mask[0] & 0x0f;
    let number = packet.get_mut(number_at..frames_at).ok_or(Malformed)?;
    for (byte, mask) in number.iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
    }
    Ok(())
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

    /// RFC 9001 appendix A.3 and RFC 9369 appendix A.3.
    #[test]
    fn what_a_server_sends_is_sealed_as_in_the_rfcs() {
        let (id, frames) = (
            "0008f067a5502a4262b50040750001",
            "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc543\
             0b9a045a1200130100002e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c83\
             4d5311bcf32bb9da1a002b00020304",
        );
        let v1 = "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f3\
            7a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3\
            bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c\
            276456cbc42158407dd074ee";
        let v2 = "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb76\
            1d9b89237bbf87263017915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa\
            52382dd16a393e42757507698075b2c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43\
            edd9ce7ca84bed8521e2e140";
        let destination = ConnectionId::new(&RFC_DESTINATION).unwrap();
        for (version, start, sealed) in [
            (Version::V1, "c100000001", v1),
            (Version::V2, "d16b3343cf", v2),
        ] {
            let mut packet = hex(&[start, id, frames].concat());
            packet.extend([0; TAG_BYTES]);
            seal_from_server(version, &destination, &mut packet, 18).unwrap();
            assert_eq!(packet, hex(sealed), "{version:?}");
            for length in 0..18 + 20 {
                let cut = &mut packet[..length];
                let refused = seal_from_server(version, &destination, cut, 18);
                assert_eq!(refused, Err(Malformed), "{length}");
            }
        }
    }

    fn hex(digits: &str) -> Vec<u8> {
        let pairs = digits.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
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
