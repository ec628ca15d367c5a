//! A place in a run of bytes that only moves over bytes which are there: the one gate through
//! which the parsers read.

use super::Malformed;

/// Reads big-endian fields one after the other. After an error its place is unchanged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at `offset`; reads fail where that is beyond the end.
    pub(super) const fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// Where the next read starts.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes the cursor moves over, from their start.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.offset.checked_add(length).ok_or(Malformed)?;
        let taken = self.bytes.get(self.offset..end).ok_or(Malformed)?;
        self.offset = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.offset..).ok_or(Malformed)?;
        let array = *rest.first_chunk().ok_or(Malformed)?;
        self.offset += N; // `rest` holds N bytes more
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_move_on_and_a_failed_read_stays() {
        let mut cursor = Cursor::at(&[1, 2, 3, 4, 5], 1);
        assert_eq!(cursor.u16(), Ok(0x0203));
        assert_eq!(cursor.u32(), Err(Malformed));
        assert_eq!(cursor.take(3), Err(Malformed));
        assert_eq!(cursor.take(2), Ok(&[4, 5][..]));
        assert_eq!(cursor.u8(), Err(Malformed));
        assert_eq!(cursor.offset(), 5);
        assert_eq!(Cursor::at(&[1], 9).take(0), Err(Malformed));
        assert_eq!(Cursor::at(&[1], 1).take(usize::MAX), Err(Malformed));
    }
}
