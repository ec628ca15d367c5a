//! How numbers and texts stand in a block: numbers in as few bytes as they need (LEB128, as in
//! DWARF 5 section 7.6), texts once a block in a table.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::parse::Malformed;

/// Appends a number, seven bits a byte, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

const fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// Appends how far `number` is from `base`, in either direction; small steps are short.
pub(super) fn put_step(out: &mut Vec<u8>, base: u64, number: u64) {
    let step = number.wrapping_sub(base).cast_signed();
    put(out, ((step << 1) ^ (step >> 63)).cast_unsigned());
}

/// Appends the place of a text in its table, or 0 for none.
pub(super) fn put_place(out: &mut Vec<u8>, place: Option<u32>) {
    put(out, place.map_or(0, |place| u64::from(place) + 1));
}

/// Appends a time in seconds since 1970-01-01 UTC, or 0 for none.
pub(super) fn put_secs(out: &mut Vec<u8>, secs: Option<i64>) {
    put(out, u64::from(secs.is_some()));
    if let Some(secs) = secs {
        put_step(out, 0, secs.cast_unsigned());
    }
}

/// Reads what the functions above wrote. Total: whatever the bytes are, it ends and does not panic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl<'a> Source<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for the topmost bit only.
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    pub(super) fn small<N: TryFrom<u64>>(&mut self) -> Result<N, Malformed> {
        N::try_from(self.number()?).map_err(|_| Malformed)
    }

    pub(super) fn step(&mut self, base: u64) -> Result<u64, Malformed> {
        let folded = self.number()?;
        let step = (folded >> 1) ^ (folded & 1).wrapping_neg();
        Ok(base.wrapping_add(step))
    }

    /// As many things as the count before them says.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count: usize = self.small()?;
        // Each takes a byte at least: a count beyond that is none, and must not cost memory.
        if count > self.0.len() {
            return Err(Malformed);
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.small()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    pub(super) fn maybe_secs(&mut self) -> Result<Option<i64>, Malformed> {
        match self.number()? {
            0 => Ok(None),
            1 => Ok(Some(self.step(0)?.cast_signed())),
            _ => Err(Malformed),
        }
    }

    /// What stands in `table` at the place that is written here.
    pub(super) fn of<T: Copy>(&mut self, table: &[T]) -> Result<T, Malformed> {
        let place: usize = self.small()?;
        table.get(place).copied().ok_or(Malformed)
    }

    /// The same where it may be absent.
    pub(super) fn maybe_of<T: Copy>(&mut self, table: &[T]) -> Result<Option<T>, Malformed> {
        let place: usize = self.small()?;
        let Some(place) = place.checked_sub(1) else {
            return Ok(None);
        };
        table.get(place).copied().map(Some).ok_or(Malformed)
    }
}

/// A table of different things, each with its place, in the form in which it is written.
#[derive(Debug)]
pub(super) struct Table<K> {
    places: HashMap<K, u32, RandomState>,
    bytes: Vec<u8>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            bytes: Vec::new(),
        }
    }
}

impl<K: Eq + std::hash::Hash> Table<K> {
    /// The place of what is called `key`; where it is new, `write` appends it.
    pub(super) fn place<Q>(&mut self, key: &Q, write: impl FnOnce(&mut Vec<u8>)) -> u32
    where
        K: std::borrow::Borrow<Q>,
        Q: ToOwned<Owned = K> + Eq + std::hash::Hash + ?Sized,
    {
        if let Some(&place) = self.places.get(key) {
            return place;
        }
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        write(&mut self.bytes);
        self.places.insert(key.to_owned(), place);
        place
    }

    /// Appends the table: how many there are, and each.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put(out, self.places.len() as u64);
        out.extend_from_slice(&self.bytes);
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
    }
}

impl Table<String> {
    /// The place of a text.
    pub(super) fn text(&mut self, text: &str) -> u32 {
        self.place(text, |out| put_text(out, text))
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_steps_come_back_as_they_were() {
        let numbers = [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ];
        for number in numbers {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            for base in numbers {
                put_step(&mut bytes, base, number);
            }
            let mut source = Source(&bytes);
            assert_eq!(source.number(), Ok(number));
            for base in numbers {
                assert_eq!(source.step(base), Ok(number), "from {base}");
            }
            assert!(source.0.is_empty());
        }
    }

    #[test]
    fn numbers_that_do_not_end_or_do_not_fit_are_malformed() {
        for bytes in [
            &[0x80][..],
            &[0xff; 12],
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        ] {
            assert_eq!(Source(bytes).number(), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(Source(&[0x80, 2]).small::<u8>(), Err(Malformed));
        // A count that promises more than there is costs nothing.
        let bytes = b"\xff\xff\xff\xff\xff\x0fabc";
        assert_eq!(Source(bytes).list(|it| it.text()), Err(Malformed));
    }
}
