//! A block: what one batch holds, or the counts of one hour, with a header that tells what is in it
//! and whether it is whole. Files are runs of blocks behind a short head.
//!
//! ```text
//! file   "muzzle" kind:1 version:1 crc32:4               then blocks
//! block  "mzB1" length:4 first:8 count:4 from:8 to:8 crc32 of the payload:4 crc32 of these:4
//!        payload
//! ```
//!
//! Numbers are little-endian. The header has a sum of its own, so that a reader may skip a block by
//! it; and a mark, so that it finds the next one behind damage.

use crate::parse::Malformed;

/// Version of the files. One that an older program would misread raises it.
pub const VERSION: u8 = 1;
/// Bytes of [`file_head`].
pub const HEAD_BYTES: usize = 12;
/// Bytes of a block's header.
pub const HEADER_BYTES: usize = 44;
/// Longest payload of a block that is read. Written ones are far shorter.
pub const MAX_PAYLOAD_BYTES: u32 = 4 << 20;

const FILE_MARK: &[u8; 6] = b"muzzle";
const BLOCK_MARK: &[u8; 4] = b"mzB1";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records.
    Records,
    /// Counts per hour.
    Hours,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Records => b'r',
            Self::Hours => b'h',
        }
    }
}

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A file of this kind and version.
    Ours,
    /// One that a newer program wrote, in this version.
    Newer(u8),
    /// None, or a damaged one.
    Damaged,
}

/// The head of a file of `kind`.
#[must_use]
pub fn file_head(kind: Kind) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..6].copy_from_slice(FILE_MARK);
    head[6] = kind.byte();
    head[7] = VERSION;
    let sum = crc32fast::hash(&head[..8]);
    head[8..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Reads the head of a file that is to be of `kind`.
#[must_use]
pub fn read_head(bytes: &[u8], kind: Kind) -> Head {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Head::Damaged;
    };
    let (said, sum) = head.split_at(8);
    if !said.starts_with(FILE_MARK) || crc32fast::hash(said).to_le_bytes() != *sum {
        return Head::Damaged;
    }
    match said[7] {
        // What else stands there is for the newer program to know.
        version if version > VERSION => Head::Newer(version),
        VERSION if said[6] == kind.byte() => Head::Ours,
        _ => Head::Damaged,
    }
}

/// What the header of a block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: u32,
    /// Number of the first record in it, or counted in it.
    pub first: u64,
    /// How many records that are; their numbers follow one another.
    pub count: u32,
    /// The earliest of their times, in milliseconds since 1970-01-01 UTC.
    pub from_millis: u64,
    /// The latest.
    pub to_millis: u64,
    payload_sum: u32,
}

impl Header {
    /// The number after the last record.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first.saturating_add(self.count as u64)
    }

    /// Bytes of header and payload.
    #[must_use]
    pub const fn block_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.length as u64
    }

    /// Reads a header.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>().ok_or(Malformed)?;
        let (said, sum) = bytes.split_at(40);
        if !said.starts_with(BLOCK_MARK) || crc32fast::hash(said).to_le_bytes() != *sum {
            return Err(Malformed);
        }
        let header = Self {
            length: u32_at(bytes, 4),
            first: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            from_millis: u64_at(bytes, 20),
            to_millis: u64_at(bytes, 28),
            payload_sum: u32_at(bytes, 36),
        };
        if header.length > MAX_PAYLOAD_BYTES {
            return Err(Malformed);
        }
        Ok(header)
    }

    /// Whether `payload` is what was written.
    #[must_use]
    pub fn fits(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == u64::from(self.length)
            && crc32fast::hash(payload) == self.payload_sum
    }
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// What a block is about: the rest of its header comes from its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// See [`Header::first`].
    pub first: u64,
    /// See [`Header::count`].
    pub count: u32,
    /// See [`Header::from_millis`].
    pub from_millis: u64,
    /// See [`Header::to_millis`].
    pub to_millis: u64,
}

/// A block with what `write` appends as its payload.
#[must_use]
pub fn block(about: &About, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    write(&mut bytes);
    let payload = &bytes[HEADER_BYTES..];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let payload_sum = crc32fast::hash(payload);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(BLOCK_MARK);
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(&about.first.to_le_bytes());
    header.extend_from_slice(&about.count.to_le_bytes());
    header.extend_from_slice(&about.from_millis.to_le_bytes());
    header.extend_from_slice(&about.to_millis.to_le_bytes());
    header.extend_from_slice(&payload_sum.to_le_bytes());
    let sum = crc32fast::hash(&header);
    header.extend_from_slice(&sum.to_le_bytes());
    bytes[..HEADER_BYTES].copy_from_slice(&header);
    bytes
}

/// Where in `bytes` the next header stands that is whole, and what it says.
#[must_use]
pub fn find(bytes: &[u8]) -> Option<(usize, Header)> {
    (0..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        let is_marked = rest.starts_with(BLOCK_MARK);
        let header = is_marked.then(|| Header::read(rest).ok())??;
        Some((at, header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        first: 7,
        count: 3,
        from_millis: 1_795_178_640_501,
        to_millis: 1_795_178_641_955,
    };

    #[test]
    fn a_header_says_what_was_written_and_any_flipped_bit_shows() {
        let whole = block(&ABOUT, |out| out.extend_from_slice(b"payload"));
        let header = Header::read(&whole).unwrap();
        assert_eq!((header.first, header.count, header.end()), (7, 3, 10));
        assert_eq!(header.from_millis, ABOUT.from_millis);
        assert_eq!(header.to_millis, ABOUT.to_millis);
        assert!(header.fits(b"payload"));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let fits = Header::read(&damaged).map(|it| it.fits(&damaged[HEADER_BYTES..]));
            assert_ne!(fits, Ok(true), "bit {bit}");
        }
    }

    #[test]
    fn a_block_behind_damage_is_found() {
        let whole = block(&ABOUT, |out| out.extend_from_slice(b"payload"));
        let bytes = [b"mzB1 damage mzB".as_slice(), &whole].concat();
        let (at, header) = find(&bytes).unwrap();
        assert_eq!((at, header), (15, Header::read(&whole).unwrap()));
        assert_eq!(find(&bytes[..bytes.len() - 7]), Some((15, header)));
        assert_eq!(find(&bytes[16..]), None);
    }

    #[test]
    fn the_head_of_a_file_tells_newer_from_damaged() {
        let head = file_head(Kind::Records);
        assert_eq!(read_head(&head, Kind::Records), Head::Ours);
        assert_eq!(read_head(&head, Kind::Hours), Head::Damaged);
        assert_eq!(read_head(&head[..11], Kind::Records), Head::Damaged);
        for bit in 0..head.len() * 8 {
            let mut damaged = head;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                read_head(&damaged, Kind::Records),
                Head::Damaged,
                "bit {bit}"
            );
        }
        let mut newer = head;
        newer[7] = 9;
        let sum = crc32fast::hash(&newer[..8]);
        newer[8..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read_head(&newer, Kind::Records), Head::Newer(9));
    }
}
