//! Frames of Initial packets (RFC 9000 sections 12.4 and 19).

use super::{varint, without_zeros};
use crate::parse::Malformed;
use crate::parse::cursor::Cursor;

/// A zero is a PADDING frame; the type of the next is another.
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
/// An ACK with ECN counts.
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;
/// A CONNECTION_CLOSE by the transport, the only kind that an Initial may carry (RFC 9000 section
/// 19.19).
pub const CONNECTION_CLOSE: u64 = 0x1c;

/// A piece of the handshake (RFC 9000 section 19.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptoFrame<'a> {
    /// Where in the stream it starts.
    pub offset: u64,
    /// The piece.
    pub data: &'a [u8],
}

/// The CRYPTO frames among `frames`, the decrypted payload of an Initial packet. Others are
/// stepped over; one that an Initial may not carry is an error, and nothing comes after it.
pub fn crypto_frames(
    frames: &[u8],
) -> impl Iterator<Item = Result<CryptoFrame<'_>, Malformed>> {
    let mut cursor = Cursor::at(frames, 0);
    std::iter::from_fn(move || {
        let next = next_crypto_frame(&mut cursor).transpose();
        if !matches!(next, Some(Ok(_))) {
            cursor = Cursor::at(&[], 0);
        }
        next
    })
}

fn next_crypto_frame<'a>(
    cursor: &mut Cursor<'a>,
) -> Result<Option<CryptoFrame<'a>>, Malformed> {
    loop {
        *cursor = Cursor::at(without_zeros(cursor.rest()), 0);
        if cursor.rest().is_empty() {
            return Ok(None);
        }
        match varint(cursor)? {
            PING => {}
            kind @ (ACK | ACK_ECN) => skip_ack(cursor, kind)?,
            CRYPTO => {
                let offset = varint(cursor)?;
                let data = bytes(cursor)?;
                return Ok(Some(CryptoFrame { offset, data }));
            }
            CONNECTION_CLOSE => {
                varint(cursor)?; // error code
                varint(cursor)?; // type of the frame that was wrong
                bytes(cursor)?; // reason
            }
            _ => return Err(Malformed),
        }
    }
}

/// RFC 9000 section 19.3.
fn skip_ack(cursor: &mut Cursor<'_>, kind: u64) -> Result<(), Malformed> {
    varint(cursor)?; // largest acknowledged
    varint(cursor)?; // delay
    let more_ranges = varint(cursor)?;
    varint(cursor)?; // first range
    for _ in 0..more_ranges {
        varint(cursor)?; // gap; ends with the bytes, whatever the count says
        varint(cursor)?; // length
    }
    if kind == ACK_ECN {
        for _ in 0..3 {
            varint(cursor)?;
        }
    }
    Ok(())
}

/// Bytes behind their length.
fn bytes<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let length = varint(cursor)?;
    cursor.take(usize::try_from(length).map_err(|_| Malformed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(frames: &[u8]) -> Vec<Result<(u64, &[u8]), Malformed>> {
        crypto_frames(frames)
            .map(|frame| frame.map(|frame| (frame.offset, frame.data)))
            .collect()
    }

    #[test]
    fn pieces_among_other_frames() {
        let frames = [
            &[1, 0, 0][..],                     // PING, PADDING
            b"\x06\x40\x80\x03abc",             // offset 128
            &[2, 9, 0, 1, 0, 3, 4],             // ACK of two ranges
            &[3, 9, 0, 0, 0, 1, 1, 0x40, 0x01], // ACK with ECN counts
            &[0; 100],                          //
            b"\x06\x00\x02xy",                  //
            b"\x1c\x07\x06\x03why",             // CONNECTION_CLOSE
            b"\x06\x05\x00",                    // nothing at all
            &[0],
        ]
        .concat();
        let expected: [Result<(u64, &[u8]), _>; 3] =
            [Ok((128, b"abc")), Ok((0, b"xy")), Ok((5, b""))];
        assert_eq!(pieces(&frames), expected);
    }

    #[test]
    fn padding_of_any_length_is_stepped_over() {
        for zeros in 0..100 {
            let frames = [&vec![0; zeros], &b"\x06\x00\x01x"[..]].concat();
            assert_eq!(pieces(&frames), [Ok((0, &b"x"[..]))], "{zeros}");
            assert_eq!(pieces(&vec![0; zeros]), []);
        }
    }

    #[test]
    fn what_an_initial_may_not_carry_ends_it() {
        let crypto = b"\x06\x00\x01x";
        for bad in [
            &[0x08, 0][..],                                         // STREAM
            &[0x1d, 0, 0],        // CONNECTION_CLOSE of the application
            &[0x1e],              // HANDSHAKE_DONE
            b"\x06\x00\x09short", //
            &[2, 0, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 0], // an ACK of 2^62 ranges
            &[6],
        ] {
            let frames = [&crypto[..], bad, crypto].concat();
            let cut = &frames[..crypto.len() + bad.len()];
            assert_eq!(
                pieces(cut),
                [Ok((0, &b"x"[..])), Err(Malformed)],
                "{bad:x?}"
            );
        }
    }
}
