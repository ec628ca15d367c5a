//! The start of a byte stream whose pieces come in any order, twice, or overlapping.

/// Bytes of a stream that are looked at. A ClientHello with post-quantum key shares has about
/// 1.8 KiB, and servers refuse request heads over 8 KiB.
pub const STREAM_BYTES: usize = 8192;

const WORD_BITS: usize = 64;

/// Takes pieces by their offset and gives back what has come without a gap.
///
/// Of bytes that come twice the first stay: TCP and QUIC send the same again, and who sends
/// others has nothing to gain.
#[derive(Clone)]
pub struct Reassembly {
    bytes: [u8; STREAM_BYTES],
    /// One bit a byte, for those behind a gap; not kept for those before it.
    present: [u64; STREAM_BYTES / WORD_BITS],
    /// How much has come without a gap.
    contiguous: usize,
    /// Whether a bit of `present` was ever set.
    had_gaps: bool,
}

impl Reassembly {
    /// Nothing has come yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; STREAM_BYTES],
            present: [0; STREAM_BYTES / WORD_BITS],
            contiguous: 0,
            had_gaps: false,
        }
    }

    /// Takes the piece that stands at `offset` in the stream. What lies beyond
    /// [`STREAM_BYTES`] is left out.
    pub fn insert(&mut self, offset: usize, piece: &[u8]) {
        let seen = self.contiguous.saturating_sub(offset);
        let Some(fresh) = piece.get(seen..) else {
            return;
        };
        let start = offset.saturating_add(seen);
        let room = STREAM_BYTES.saturating_sub(start);
        let fresh = &fresh[..fresh.len().min(room)];
        let Some(place) = self.bytes.get_mut(start..start + fresh.len()) else {
            return;
        };
        if start == self.contiguous && !self.had_gaps {
            place.copy_from_slice(fresh);
            self.contiguous += fresh.len();
            return;
        }
        self.had_gaps = true;
        for ((at, place), &byte) in (start..).zip(place).zip(fresh) {
            let (word, bit) = (&mut self.present[at / WORD_BITS], 1 << (at % WORD_BITS));
            if *word & bit == 0 {
                *word |= bit;
                *place = byte;
            }
        }
        while self.is_present(self.contiguous) {
            self.contiguous += 1;
        }
    }

    fn is_present(&self, at: usize) -> bool {
        let word = self.present.get(at / WORD_BITS);
        word.is_some_and(|word| word & 1 << (at % WORD_BITS) != 0)
    }

    /// What has come from the start of the stream on without a gap.
    #[must_use]
    pub fn start(&self) -> &[u8] {
        &self.bytes[..self.contiguous]
    }

    /// Whether nothing more can be taken.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.contiguous == STREAM_BYTES
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Reassembly {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Reassembly({} bytes)", self.contiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        (0..=250).cycle().take(STREAM_BYTES + 100).collect()
    }

    #[test]
    fn pieces_in_order_come_through_up_to_the_limit() {
        let (mut it, stream) = (Reassembly::new(), stream());
        let mut offset = 0;
        for piece in stream.chunks(700) {
            it.insert(offset, piece);
            offset += piece.len();
            let whole = offset.min(STREAM_BYTES);
            assert_eq!(it.start(), &stream[..whole]);
            assert_eq!(it.is_full(), whole == STREAM_BYTES);
        }
    }

    #[test]
    fn a_gap_holds_back_what_is_behind_it() {
        let (mut it, stream) = (Reassembly::new(), stream());
        it.insert(500, &stream[500..1000]);
        it.insert(100, &stream[100..600]);
        assert!(it.start().is_empty());
        it.insert(0, &stream[..50]);
        assert_eq!(it.start().len(), 50);
        it.insert(20, &stream[20..130]);
        assert_eq!(it.start(), &stream[..1000]);
        it.insert(1000, &stream[1000..1010]);
        assert_eq!(it.start(), &stream[..1010]);
    }

    #[test]
    fn of_bytes_that_come_twice_the_first_stay() {
        let mut it = Reassembly::new();
        it.insert(2, b"cd");
        it.insert(0, b"abXXe");
        assert_eq!(it.start(), b"abcde");
        it.insert(1, b"YYYYf");
        assert_eq!(it.start(), b"abcdef");
    }

    #[test]
    fn what_lies_beyond_is_left_out() {
        let mut it = Reassembly::new();
        it.insert(STREAM_BYTES, b"a");
        it.insert(usize::MAX, b"a");
        it.insert(STREAM_BYTES - 1, b"ab");
        it.insert(0, &[7; STREAM_BYTES - 1]);
        assert!(it.is_full());
        it.insert(0, b"");
        assert_eq!(it.start()[STREAM_BYTES - 1], b'a');
    }
}
