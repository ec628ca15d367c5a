//! The start of the stream that CRYPTO frames are pieces of (RFC 9000 section 19.6).

use super::CryptoFrame;

/// As much of the stream as is kept. Hellos of today have up to 2 KiB.
pub const MAX_CRYPTO_BYTES: usize = 8192;

const WORD_BITS: usize = u64::BITS as usize;

/// Pieces of a stream put in their places, whatever order they come in.
#[derive(Clone, Debug)]
pub struct CryptoStream {
    bytes: [u8; MAX_CRYPTO_BYTES],
    /// One bit for each byte that has come.
    present: [u64; MAX_CRYPTO_BYTES / WORD_BITS],
}

impl Default for CryptoStream {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_CRYPTO_BYTES],
            present: [0; MAX_CRYPTO_BYTES / WORD_BITS],
        }
    }
}

impl CryptoStream {
    /// Forgets all pieces.
    pub fn clear(&mut self) {
        self.present.fill(0);
    }

    /// Puts a piece in its place. What lies beyond [`MAX_CRYPTO_BYTES`] is left out. Pieces that
    /// overlap say the same in an honest stream (RFC 9000 section 2.2); the last one stands.
    pub fn insert(&mut self, frame: CryptoFrame<'_>) {
        let Ok(start) = usize::try_from(frame.offset) else {
            return;
        };
        let Some(room) = self.bytes.get_mut(start..) else {
            return;
        };
        let length = frame.data.len().min(room.len());
        for (place, byte) in room.iter_mut().zip(frame.data) {
            *place = *byte;
        }
        self.mark(start, start + length);
    }

    /// Notes that the bytes from `start` to `end`, both at most [`MAX_CRYPTO_BYTES`], have come.
    fn mark(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let bit = at % WORD_BITS;
            let count = (WORD_BITS - bit).min(end - at); // 1 to 64
            if let Some(word) = self.present.get_mut(at / WORD_BITS) {
                *word |= u64::MAX >> (WORD_BITS - count) << bit;
            }
            at += count;
        }
    }

    /// The bytes from the stream's start that have all come.
    #[must_use]
    pub fn start(&self) -> &[u8] {
        let full = |word: &&u64| **word == u64::MAX;
        let words = self.present.iter().take_while(full).count();
        let more = self
            .present
            .get(words)
            .map_or(0, |word| word.trailing_ones());
        let length = words * WORD_BITS + more as usize;
        self.bytes.get(..length).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: usize, data: &[u8]) -> CryptoFrame<'_> {
        CryptoFrame {
            offset: offset as u64,
            data,
        }
    }

    #[test]
    fn a_gap_ends_the_start_until_it_is_filled() {
        let mut stream = CryptoStream::default();
        assert_eq!(stream.start(), b"");
        stream.insert(piece(3, b"defg"));
        assert_eq!(stream.start(), b"");
        stream.insert(piece(0, b"ab"));
        assert_eq!(stream.start(), b"ab");
        stream.insert(piece(1, b"bcd"));
        assert_eq!(stream.start(), b"abcdefg");
        stream.clear();
        assert_eq!(stream.start(), b"");
        stream.insert(piece(1, b"x"));
        assert_eq!(stream.start(), b"");
    }

    #[test]
    fn pieces_of_any_size_in_any_order() {
        let whole: Vec<u8> = (0..1000_u32).map(|byte| byte.to_be_bytes()[3]).collect();
        for size in [1, 7, 63, 64, 65, 128, 999, 1000] {
            let mut stream = CryptoStream::default();
            let mut pieces: Vec<_> = whole.chunks(size).enumerate().collect();
            pieces.reverse();
            for (number, data) in pieces {
                assert!(stream.start().is_empty());
                stream.insert(piece(number * size, data));
            }
            assert_eq!(stream.start(), whole, "{size}");
        }
    }

    #[test]
    fn what_lies_beyond_the_end_is_left_out() {
        let mut stream = CryptoStream::default();
        stream.insert(piece(0, &[1; MAX_CRYPTO_BYTES - 1]));
        stream.insert(piece(MAX_CRYPTO_BYTES - 1, b"ab"));
        stream.insert(piece(MAX_CRYPTO_BYTES, b"c"));
        stream.insert(piece(usize::MAX, b"d"));
        assert_eq!(stream.start().len(), MAX_CRYPTO_BYTES);
        assert_eq!(stream.start().last(), Some(&b'a'));
        stream.insert(CryptoFrame {
            offset: u64::MAX,
            data: b"e",
        });
        assert_eq!(stream.start().len(), MAX_CRYPTO_BYTES);
    }
}
