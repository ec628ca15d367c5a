//! The start of a byte stream whose pieces come in any order, twice, or overlapping.

/// Bytes of a stream that are looked at. A ClientHello with post-quantum key shares has about
/// 1.8 KiB, and servers refuse request heads over 8 KiB.
pub const STREAM_BYTES: usize = 8192;

const WORD_BITS: usize = u64::BITS as usize;

/// Takes pieces by their offset and gives back what has come without a gap.
///
/// Of bytes that come twice the last stand: TCP and QUIC send the same again (RFC 9000 section
/// 2.2), and who sends others has nothing to gain.
#[derive(Clone)]
pub struct Reassembly {
    bytes: [u8; STREAM_BYTES],
    /// One bit for each byte that has come.
    present: [u64; STREAM_BYTES / WORD_BITS],
}

impl Reassembly {
    /// Nothing has come yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; STREAM_BYTES],
            present: [0; STREAM_BYTES / WORD_BITS],
        }
    }

    /// Forgets all pieces.
    pub fn clear(&mut self) {
        self.present.fill(0);
    }

    /// Takes the piece that stands at `offset` in the stream. What lies beyond
    /// [`STREAM_BYTES`] is left out.
    pub fn insert(&mut self, offset: u64, piece: &[u8]) {
        let room = usize::try_from(offset)
            .ok()
            .and_then(|start| Some((start, self.bytes.get_mut(start..)?)));
        let Some((start, room)) = room else {
            return;
        };
        let length = piece.len().min(room.len());
        room[..length].copy_from_slice(&piece[..length]);
        self.mark(start, start + length);
    }

    /// Notes that the bytes from `start` to `end`, both at most [`STREAM_BYTES`], have come.
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

    /// What has come from the start of the stream on without a gap.
    #[must_use]
    pub fn start(&self) -> &[u8] {
        let is_whole = |word: &&u64| **word == u64::MAX;
        let words = self.present.iter().take_while(is_whole).count();
        let more = self
            .present
            .get(words)
            .map_or(0, |word| word.trailing_ones());
        let length = words * WORD_BITS + more as usize;
        self.bytes.get(..length).unwrap_or(&self.bytes)
    }

    /// Whether nothing more can be taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.start().len() == STREAM_BYTES
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Reassembly {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Reassembly({} bytes)", self.start().len())
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
            it.insert(offset as u64, piece);
            offset += piece.len();
            let whole = offset.min(STREAM_BYTES);
            assert_eq!(it.start(), &stream[..whole]);
            assert_eq!(it.is_full(), whole == STREAM_BYTES);
        }
    }

    #[test]
    fn pieces_of_any_size_come_through_in_any_order() {
        let stream = stream();
        for size in [1, 7, 63, 64, 65, 128, 999, 5000] {
            let mut it = Reassembly::new();
            for (number, piece) in stream.chunks(size).enumerate().rev() {
                assert!(it.start().is_empty());
                it.insert((number * size) as u64, piece);
            }
            assert_eq!(it.start(), &stream[..STREAM_BYTES], "{size}");
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
    fn of_bytes_that_come_twice_the_last_stand() {
        let mut it = Reassembly::new();
        it.insert(2, b"xx");
        it.insert(0, b"abcd");
        assert_eq!(it.start(), b"abcd");
        it.insert(3, b"Def");
        assert_eq!(it.start(), b"abcDef");
        it.clear();
        assert!(it.start().is_empty());
        it.insert(0, b"g");
        assert_eq!(it.start(), b"g");
    }

    #[test]
    fn what_lies_beyond_is_left_out() {
        let mut it = Reassembly::new();
        it.insert(STREAM_BYTES as u64, b"a");
        it.insert(u64::MAX, b"a");
        it.insert(STREAM_BYTES as u64 - 1, b"ab");
        it.insert(0, &[7; STREAM_BYTES - 1]);
        assert!(it.is_full());
        it.insert(0, b"");
        assert_eq!(it.start()[STREAM_BYTES - 1], b'a');
    }
}
