//! The Internet checksum (RFC 1071).

/// A sum of 16-bit words in the making.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checksum(u64);

impl Checksum {
    /// Adds bytes as big-endian words; only the last run added may have an odd length.
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let (words, odd) = bytes.as_chunks::<2>();
        let sum: u64 = words
            .iter()
            .map(|&word| u64::from(u16::from_be_bytes(word)))
            .sum();
        let last = odd.first().map_or(0, |&byte| u64::from(byte) << 8);
        Self(self.0 + sum + last)
    }

    /// Adds one word.
    pub(super) fn add_u16(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// The checksum to put into the packet.
    pub(super) const fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let [.., high, low] = sum.to_be_bytes();
        [!high, !low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        let sum = 0xddf2_u16;
        assert_eq!(
            Checksum::default().add(&bytes).finish(),
            (!sum).to_be_bytes()
        );
        let split = Checksum::default().add_u16(1).add(&bytes[2..]);
        assert_eq!(split.finish(), (!sum).to_be_bytes());
    }

    #[test]
    fn an_odd_last_byte_is_the_high_half_of_a_word() {
        assert_eq!(Checksum::default().add(&[0x12]).finish(), [!0x12, !0]);
    }
}
