//! QUIC packets as a client sends them and as a server ends a connection, encrypted and opened by
//! this file's own reading of the RFCs; the packets of real clients in `tests/data`, and real
//! clients in `tests/network`, say whether that is right.

use aes::Aes128;
use aes::cipher::BlockCipherEncrypt;
use aes_gcm::{AeadInOut, Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

/// The version field of version 2 (RFC 9369 section 3.1).
const V2: u32 = 0x6b33_43cf;
const SALT_V1: &[u8] =
    b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";
const SALT_V2: &[u8] =
    b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9";

/// What an Initial packet is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Initial<'a> {
    /// 1 or 2.
    pub(crate) version: u32,
    pub(crate) destination: &'a [u8],
    /// What the keys come from: the first destination of the connection.
    pub(crate) first_destination: &'a [u8],
    pub(crate) source: &'a [u8],
    pub(crate) token: &'a [u8],
    pub(crate) number: u8,
    pub(crate) frames: &'a [u8],
}

impl Initial<'_> {
    /// RFC 9001 section 5, RFC 9369 section 3.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let is_v2 = self.version == 2;
        let (version, kind) = if is_v2 { (V2, 0xd0) } else { (1, 0xc0) };
        let [key, iv, mask_key] = keys(is_v2, self.first_destination, "client in");

        // A packet number of two bytes; the sample needs four bytes of number and frames.
        let mut packet = vec![kind | 1];
        packet.extend(version.to_be_bytes());
        push_id(&mut packet, self.destination);
        push_id(&mut packet, self.source);
        packet.extend(varint(self.token.len()));
        packet.extend(self.token);
        packet.extend(varint(2 + self.frames.len() + 16));
        let number_at = packet.len();
        packet.extend([0, self.number]);

        let mut nonce: [u8; 12] = iv.try_into().unwrap();
        nonce[11] ^= self.number;
        let mut frames = self.frames.to_vec();
        let cipher = Aes128Gcm::new_from_slice(&key).unwrap();
        let tag = cipher
            .encrypt_inout_detached(&nonce.into(), &packet, frames.as_mut_slice().into())
            .unwrap();
        packet.extend(frames);
        packet.extend(tag);

        let mask = mask(&mask_key, &packet[number_at + 4..]);
        packet[0] ^= mask[0] & 0x0f;
        packet[number_at] ^= mask[1];
        packet[number_at + 1] ^= mask[2];
        packet
    }
}

/// A server's Initial packet that ends a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// 1 or 2.
    pub(crate) version: u32,
    pub(crate) destination: Vec<u8>,
    pub(crate) source: Vec<u8>,
    pub(crate) error: u8,
    pub(crate) reason: String,
}

impl Close {
    /// Opens `datagram`, which must be nothing else, with the keys that come from
    /// `first_destination`, or from its own source where that is not given.
    pub(crate) fn open(datagram: &[u8], first_destination: Option<&[u8]>) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (is_v2, kind) = match u32::from_be_bytes(*version) {
            1 => (false, 0xc0),
            V2 => (true, 0xd0),
            _ => return None,
        };
        let (destination, rest) = id(rest)?;
        let (source, rest) = id(rest)?;
        // No token, and a length of one byte that is that of the rest.
        let [0, length, protected @ ..] = rest else {
            return None;
        };
        if usize::from(*length) != protected.len() || protected.len() > 63 {
            return None;
        }
        let keys = keys(is_v2, first_destination.unwrap_or(source), "server in");
        let [key, iv, mask_key] = keys;
        let mask = mask(&mask_key, protected.get(4..)?);
        let number_at = datagram.len() - protected.len();
        let mut header = datagram[..=number_at].to_vec();
        header[0] = first ^ mask[0] & 0x0f;
        header[number_at] ^= mask[1];
        if header[0] != kind || header[number_at] != 0 {
            return None; // reserved bits, a packet number of one byte, the first packet
        }
        let (frames, tag) = protected[1..].split_last_chunk::<16>()?;
        let mut frames = frames.to_vec();
        let nonce: [u8; 12] = iv.try_into().unwrap();
        Aes128Gcm::new_from_slice(&key)
            .unwrap()
            .decrypt_inout_detached(
                &nonce.into(),
                &header,
                frames.as_mut_slice().into(),
                tag.into(),
            )
            .ok()?;
        let [0x1c, error, 0, reason_bytes, reason @ ..] = &frames[..] else {
            return None;
        };
        (usize::from(*reason_bytes) == reason.len()).then(|| Self {
            version: 1 + u32::from(is_v2),
            destination: destination.to_vec(),
            source: source.to_vec(),
            error: *error,
            reason: String::from_utf8(reason.to_vec()).unwrap(),
        })
    }
}

fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked((*length).into())
}

/// The keys of one end: of packets, their IV, and of headers.
fn keys(is_v2: bool, first_destination: &[u8], end: &str) -> [Vec<u8>; 3] {
    let (salt, prefix) = if is_v2 {
        (SALT_V2, "quicv2 ")
    } else {
        (SALT_V1, "quic ")
    };
    let initial = Hkdf::<Sha256>::new(Some(salt), first_destination);
    let secret = expand(&initial, end, 32);
    let secret = Hkdf::<Sha256>::from_prk(&secret).unwrap();
    [("key", 16), ("iv", 12), ("hp", 16)]
        .map(|(label, length)| expand(&secret, &format!("{prefix}{label}"), length))
}

/// What the header is protected with, by the bytes that start with the sample.
fn mask(key: &[u8], bytes: &[u8]) -> [u8; 16] {
    let sample: [u8; 16] = bytes[..16].try_into().unwrap();
    let mut mask = sample.into();
    Aes128::new_from_slice(key)
        .unwrap()
        .encrypt_block(&mut mask);
    mask.into()
}

/// HKDF-Expand-Label without context (RFC 8446 section 7.1).
fn expand(secret: &Hkdf<Sha256>, label: &str, length: u8) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let label_bytes = u8::try_from(label.len()).unwrap();
    let info = [&[0, length, label_bytes], label.as_bytes(), &[0]].concat();
    let mut out = vec![0; length.into()];
    secret.expand(&info, &mut out).unwrap();
    out
}

/// A packet with a long header that nobody but its two ends can read: 0-RTT.
pub(crate) fn early(version: u32, destination: &[u8], source: &[u8], bytes: usize) -> Vec<u8> {
    let (version, first) = if version == 2 { (V2, 0xe5) } else { (1, 0xd5) };
    let mut packet = vec![first];
    packet.extend(version.to_be_bytes());
    push_id(&mut packet, destination);
    push_id(&mut packet, source);
    packet.extend(varint(bytes));
    packet.resize(packet.len() + bytes, 0x5a);
    packet
}

/// A CRYPTO frame (RFC 9000 section 19.6).
pub(crate) fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset), &varint(data.len()), data].concat()
}

/// Always of two bytes, as clients write lengths.
fn varint(value: usize) -> [u8; 2] {
    let value = u16::try_from(value).unwrap();
    assert!(value < 0x4000);
    (value | 0x4000).to_be_bytes()
}

fn push_id(packet: &mut Vec<u8>, id: &[u8]) {
    packet.push(u8::try_from(id.len()).unwrap());
    packet.extend(id);
}
