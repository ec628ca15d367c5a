//! The ClientHello in the first packets of a QUIC connection: version 1 (RFC 9000, RFC 9001) and
//! version 2 (RFC 9369).
//!
//! A client's Initial packets are encrypted with keys that anybody on the path can derive from the
//! first Destination Connection ID of the connection. They carry CRYPTO frames, pieces of the
//! stream that the TLS handshake is, in any order:
//!
//! 1. [`packets`] finds the packets of a datagram,
//! 2. [`Initial::open`] decrypts one and verifies it,
//! 3. [`crypto_frames`] finds the pieces in it,
//! 4. [`super::reassembly`] puts them together; [`super::tls::server_name_in_handshake`] reads it.

mod frame;
mod header;
mod keys;

pub use frame::{CONNECTION_CLOSE, CryptoFrame, crypto_frames};
pub use header::{ConnectionId, Initial, Packet, Version, packets, starts_initial};
pub use keys::{MAX_INITIAL_BYTES, TAG_BYTES, seal_from_server};

use super::Malformed;
use super::cursor::Cursor;

/// A variable-length integer (RFC 9000 section 16): the two upper bits say how long it is.
fn varint(cursor: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let first = cursor.u8()?;
    let more = (1 << (first >> 6)) - 1;
    let rest = cursor.take(more)?;
    let start = u64::from(first & 0x3f);
    Ok(rest
        .iter()
        .fold(start, |value, &byte| value << 8 | u64::from(byte)))
}

/// What is left of `bytes` without the zeros they start with: often most of a datagram, and so
/// looked at in long steps.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let (blocks, _) = bytes.as_chunks::<32>();
    let zeros = |block: &&[u8; 32]| block.iter().fold(0, |all, byte| all | byte) == 0;
    let blocks = blocks.iter().take_while(zeros).count();
    let rest = bytes.get(32 * blocks..).unwrap_or_default();
    let start = rest.iter().position(|&byte| byte != 0);
    start
        .and_then(|start| rest.get(start..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_at_the_start_only() {
        for zeros in 0..100 {
            let bytes = [&vec![0; zeros], &[7, 0, 0][..]].concat();
            assert_eq!(without_zeros(&bytes), [7, 0, 0], "{zeros}");
            assert!(without_zeros(&vec![0; zeros]).is_empty());
        }
    }

    /// The examples of RFC 9000 appendix A.1.
    #[test]
    fn integers_of_every_length() {
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(varint(&mut Cursor::at(bytes, 0)), Ok(value));
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(varint(&mut Cursor::at(cut, 0)), Err(Malformed));
        }
    }
}
