//! A file as a run of blocks, each read whole, and what may be wrong with it.

use std::fmt;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::LinkType;

/// Longest block that is believed. Packets have 256 KiB at most in any tool's default; the keys
/// that PCAPdroid and Wireshark put into a file may be longer.
const MAX_BLOCK_BYTES: u32 = 16 << 20;

/// The first bytes of a gzip file (RFC 1952 section 2.3.1), which is unpacked while it is read.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Those of other compressed files (RFC 8878 section 3.1.1, the xz file format section 2.1.1.1).
const COMPRESSED: [(&[u8], &str, &str); 2] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "Zstandard", "unzstd"),
    (&[0xfd, b'7', b'z', b'X'], "xz", "unxz"),
];

/// Where in a file something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Packets before it.
    pub packets: u64,
    /// Where its block starts, in bytes from the start of the file, unpacked.
    pub offset: u64,
}

impl Place {
    pub(super) fn damaged(self, problem: impl Into<String>) -> CaptureError {
        CaptureError::Damaged {
            place: self,
            problem: problem.into(),
        }
    }

    /// The link type with this number, which stands here.
    pub(super) fn link_type(self, code: u16) -> Result<LinkType, CaptureError> {
        LinkType::from_code(code).ok_or(CaptureError::UnknownLinkType { place: self, code })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.packets {
            0 => write!(out, "at byte {}, before the first packet", self.offset),
            packets => write!(out, "at byte {}, after packet {packets}", self.offset),
        }
    }
}

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is nothing.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error("this is neither pcap nor pcapng: it starts with the bytes {0}")]
    NotACapture(String),
    /// It has to be unpacked first.
    #[error(
        "it is compressed with {format}; unpack it first: {program} < FILE | muzzle replay -"
    )]
    Compressed {
        /// What it is compressed with.
        format: &'static str,
        /// What unpacks it.
        program: &'static str,
    },
    /// The file ends too soon.
    #[error("{place}: the file ends in the middle: {present} of {claimed} bytes are there")]
    Cut {
        /// What is cut.
        place: Place,
        /// Bytes of it that are there.
        present: usize,
        /// Bytes that it has by its own account, or that tell how many it has.
        claimed: u32,
    },
    /// The file is not what its format demands.
    #[error("{place}: the file is damaged: {problem}")]
    Damaged {
        /// The block that is wrong.
        place: Place,
        /// What is wrong with it.
        problem: String,
    },
    /// The frames are of a kind that is not known.
    #[error(
        "{place}: link type {code} is not known; known are {}",
        LinkType::KNOWN
    )]
    UnknownLinkType {
        /// The header or packet.
        place: Place,
        /// See <https://www.tcpdump.org/linktypes.html>.
        code: u16,
    },
    /// The file cannot be read.
    #[error("{place}: cannot read on")]
    Unreadable {
        /// The block that was to be read.
        place: Place,
        /// Why.
        source: io::Error,
    },
}

/// A file from its start, after its first bytes have been looked at.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// The bytes of a file, unpacked where it is a gzip file.
#[derive(Debug)]
pub struct Unpacked<R>(Packing<R>);

#[derive(Debug)]
enum Packing<R> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
}

impl<R: Read> Unpacked<R> {
    /// Looks at the start of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut start = Vec::new();
        input.by_ref().take(2).read_to_end(&mut start)?;
        let is_gzip = start == GZIP;
        let whole = io::Cursor::new(start).chain(input);
        Ok(Self(if is_gzip {
            Packing::Gzip(Box::new(MultiGzDecoder::new(whole)))
        } else {
            Packing::Plain(whole)
        }))
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Packing::Plain(file) => file.read(buffer),
            Packing::Gzip(file) => file.read(buffer),
        }
    }
}

/// The file, and the block of it that is being looked at.
#[derive(Debug)]
pub(super) struct File<R> {
    input: io::BufReader<Unpacked<R>>,
    block: Vec<u8>,
    place: Place,
}

impl<R: Read> File<R> {
    pub(super) fn new(input: R) -> Result<Self, CaptureError> {
        let place = Place {
            packets: 0,
            offset: 0,
        };
        let input = Unpacked::new(input)
            .map_err(|source| CaptureError::Unreadable { place, source })?;
        Ok(Self {
            input: io::BufReader::with_capacity(1 << 16, input),
            block: Vec::new(),
            place,
        })
    }

    /// Goes on to the next block; `false` where the file ends before it.
    pub(super) fn next_block(&mut self) -> Result<bool, CaptureError> {
        // No file is that long.
        let passed = u64::try_from(self.block.len()).unwrap_or(u64::MAX);
        self.place.offset = self.place.offset.saturating_add(passed);
        self.block.clear();
        self.read(1)?;
        Ok(!self.block.is_empty())
    }

    /// The first `bytes` of the block. What was read before is not read again.
    pub(super) fn block(&mut self, bytes: u32) -> Result<&[u8], CaptureError> {
        if bytes > MAX_BLOCK_BYTES {
            return Err(self.place.damaged(format!("a length of {bytes} bytes")));
        }
        // At most 16 MiB, by the check above.
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.read(wanted)?;
        match self.block.get(..wanted) {
            Some(block) => Ok(block),
            None => Err(CaptureError::Cut {
                place: self.place,
                present: self.block.len(),
                claimed: bytes,
            }),
        }
    }

    /// Reads until the block holds `wanted` bytes or the file ends.
    fn read(&mut self, wanted: usize) -> Result<(), CaptureError> {
        let missing = wanted.saturating_sub(self.block.len());
        let missing = u64::try_from(missing).unwrap_or(u64::MAX);
        // Grows with what is there, not with what is claimed.
        let read = (&mut self.input).take(missing).read_to_end(&mut self.block);
        match read {
            Ok(_) => Ok(()),
            Err(source) => Err(CaptureError::Unreadable {
                place: self.place,
                source,
            }),
        }
    }

    /// The first four bytes of the file, which tell its format.
    pub(super) fn start(&mut self) -> Result<&[u8; 4], CaptureError> {
        self.read(4)?;
        if self.block.is_empty() {
            return Err(CaptureError::Empty);
        }
        for (magic, format, program) in COMPRESSED {
            if self.block.starts_with(magic) {
                return Err(CaptureError::Compressed { format, program });
            }
        }
        let cut = CaptureError::Cut {
            place: self.place,
            present: self.block.len(),
            claimed: 4,
        };
        self.block.first_chunk().ok_or(cut)
    }

    /// Where the block is.
    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// What is wrong from here on comes after so many packets.
    pub(super) const fn after_packets(&mut self, packets: u64) {
        self.place.packets = packets;
    }
}
