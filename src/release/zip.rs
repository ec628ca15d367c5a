//! A zip as this project writes it: plain or deflated files, one after the other, nothing between
//! them and nothing twice. Programs that unpack zips differ in what they make of others, and what
//! was checked must be what they unpack.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use flate2::{Decompress, FlushDecompress, Status};
use rawzip::{CompressionMethod, ZipArchive, ZipSliceEntry, ZipVerification};

use super::sums::is_below;
use super::{Files, MAX_BYTES, MAX_FILES};

/// Why a zip is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// It is cut off, or no zip at all.
    #[error("it is no whole zip file: {0}")]
    Broken(#[from] rawzip::Error),
    /// An entry's name leads out of the folder, or is not UTF-8.
    #[error("it has a file with the name \"{0}\", which must lead below the folder")]
    Name(String),
    /// The name is there twice.
    #[error("it has {0} twice")]
    Duplicate(String),
    /// The two places that tell about an entry differ, or entries overlap or have gaps between.
    #[error("{0} does not follow on what is before it: programs would unpack different files")]
    Ambiguous(String),
    /// The data are not what they say, or packed in another way than deflated.
    #[error("{0} cannot be unpacked")]
    Packed(String),
    /// More than [`MAX_BYTES`] or [`MAX_FILES`].
    #[error("it has more than {MAX_FILES} files or {} MiB", MAX_BYTES >> 20)]
    Large,
}

impl Files {
    /// Unpacks a zip. Folders in it are left out.
    ///
    /// # Errors
    /// It is not whole, not of this form, or too large.
    pub fn read_zip(zip: &[u8]) -> Result<Self, ZipError> {
        let archive = ZipArchive::from_slice(zip)?;
        let mut entries = archive.entries();
        let mut content = BTreeMap::new();
        let mut room = MAX_BYTES;
        let mut end = 0;
        while let Some(header) = entries.next_entry()? {
            if content.len() >= MAX_FILES {
                return Err(ZipError::Large);
            }
            let path = header.file_path();
            let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
            let entry = archive.get_entry(header.wayfinder())?;
            let local = entry.local_header();
            if header.local_header_offset() != end
                || local.file_path().as_bytes() != path.as_bytes()
                || local.compression_method() != header.compression_method()
                || entry.data_descriptor()?.is_some()
            {
                return Err(ZipError::Ambiguous(name));
            }
            (_, end) = entry.compressed_data_range();
            if header.is_dir() && entry.data().is_empty() {
                continue;
            }
            if !is_below(&name) || str::from_utf8(path.as_bytes()).is_err() {
                return Err(ZipError::Name(name));
            }
            let data = unpack(&entry, header.compression_method(), room)
                .ok_or_else(|| ZipError::Packed(name.clone()))?;
            room -= data.len();
            match content.entry(name) {
                Entry::Vacant(place) => place.insert(data),
                Entry::Occupied(there) => return Err(ZipError::Duplicate(there.key().clone())),
            };
        }
        if end != archive.directory_offset() {
            return Err(ZipError::Ambiguous("the directory".into()));
        }
        Ok(Self {
            content,
            installed: false,
        })
    }
}

/// The content, `room` bytes at most; its size and CRC are as announced.
fn unpack(
    entry: &ZipSliceEntry<'_>,
    method: CompressionMethod,
    room: usize,
) -> Option<Vec<u8>> {
    let announced = entry.claim_verifier();
    let size = usize::try_from(announced.uncompressed_size).ok()?;
    let data = match method {
        _ if size > room => return None,
        CompressionMethod::STORE => entry.data().to_vec(),
        CompressionMethod::DEFLATE => inflate(entry.data(), size)?,
        _ => return None,
    };
    let found = ZipVerification {
        crc: rawzip::crc32(&data),
        uncompressed_size: data.len() as u64,
    };
    announced.valid(found).ok()?;
    Some(data)
}

/// Unpacks `size` bytes, which must be all there are.
fn inflate(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    // Nothing is written beyond the capacity; with one byte to spare, more is not taken for the end.
    let mut data = Vec::with_capacity(size + 1);
    let status =
        Decompress::new(false).decompress_vec(packed, &mut data, FlushDecompress::Finish);
    (status.ok()? == Status::StreamEnd).then_some(data)
}
