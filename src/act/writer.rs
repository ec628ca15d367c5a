//! Writes into a buffer from its start, as long as there is room.

/// The written part of a buffer and what is left of it.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    written: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, written: 0 }
    }

    /// Bytes written so far; the offset of what is put next.
    pub(super) const fn written(&self) -> usize {
        self.written
    }

    /// Appends `bytes`, all or, where there is no room, none of them.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.written.checked_add(bytes.len())?;
        self.out.get_mut(self.written..end)?.copy_from_slice(bytes);
        self.written = end;
        Some(())
    }

    pub(super) fn put_u8(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    pub(super) fn put_u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn put_u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut out = [0; 4];
        let mut writer = Writer::new(&mut out);
        assert_eq!(writer.put_u16(0x0102), Some(()));
        assert_eq!(writer.put(b"abc"), None);
        assert_eq!(writer.written(), 2);
        assert_eq!(writer.put_u8(3), Some(()));
        assert_eq!(writer.put_u32(0), None);
        assert_eq!(out, [1, 2, 3, 0]);
    }
}
