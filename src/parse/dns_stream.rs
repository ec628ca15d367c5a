//! DNS over TCP: each message has its length in two bytes before it (RFC 1035 section 4.2.2),
//! and one segment may hold several (RFC 7766 section 6.2.1.1).

/// Length of the prefix of each message.
pub const PREFIX_BYTES: usize = 2;

/// A message in a stream, or what there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole message, its length prefix taken off.
    Complete(&'a [u8]),
    /// The stream ends inside a message or its prefix.
    Partial {
        /// Bytes of it that have come, the prefix counted.
        have: usize,
        /// Bytes it needs, the prefix counted; only the prefix where that is not whole.
        want: usize,
    },
}

/// Iterates over the messages of a contiguous piece of a stream that starts at a message's
/// length prefix. A [`Frame::Partial`] comes last, and only where bytes are left over.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// The messages of `stream`.
    #[must_use]
    pub const fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let have = self.rest.len();
        if have == 0 {
            return None;
        }
        let want = match self.rest.first_chunk() {
            Some(&prefix) => PREFIX_BYTES + usize::from(u16::from_be_bytes(prefix)),
            None => PREFIX_BYTES,
        };
        let Some((frame, rest)) = self.rest.split_at_checked(want) else {
            self.rest = &[];
            return Some(Frame::Partial { have, want });
        };
        self.rest = rest;
        frame.get(PREFIX_BYTES..).map(Frame::Complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"\x00\x03abc\x00\x00\x00\x02de";

    #[test]
    fn whole_messages_come_in_order() {
        let frames: Vec<_> = Frames::new(STREAM).collect();
        assert_eq!(
            frames,
            [
                Frame::Complete(b"abc"),
                Frame::Complete(b""),
                Frame::Complete(b"de")
            ]
        );
        assert_eq!(Frames::new(b"").next(), None);
    }

    #[test]
    fn what_is_left_over_is_counted() {
        for (end, have, want) in [(1, 1, 2), (2, 2, 5), (4, 4, 5), (6, 1, 2), (10, 3, 4)] {
            assert_eq!(
                Frames::new(&STREAM[..end]).last(),
                Some(Frame::Partial { have, want }),
                "{end} bytes"
            );
        }
    }
}
