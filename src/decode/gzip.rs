//! What is packed with gzip (RFC 1952), in memory, up to a limit.

use std::io::Read;

use flate2::bufread::GzDecoder;

/// The most that is unpacked: uploads hold some hundred events at most, and a few packed bytes
/// may stand for gigabytes.
pub const MAX_UNPACKED_BYTES: usize = 16 << 20;

/// Why something is not unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// It is no gzip, is cut short or has a wrong sum.
    #[error("it is no whole gzip")]
    Damaged,
    /// More than [`MAX_UNPACKED_BYTES`].
    #[error("it unpacks to more than {} MiB", MAX_UNPACKED_BYTES >> 20)]
    TooLarge,
}

/// Whether these bytes start as gzip does (RFC 1952 section 2.3.1).
#[must_use]
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Unpacks the first member of `packed`.
///
/// # Errors
/// See [`GzipError`].
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, GzipError> {
    let mut bytes = Vec::new();
    let limit = MAX_UNPACKED_BYTES as u64 + 1;
    let read = GzDecoder::new(packed).take(limit).read_to_end(&mut bytes);
    match read {
        _ if bytes.len() > MAX_UNPACKED_BYTES => Err(GzipError::TooLarge),
        Ok(_) => Ok(bytes),
        Err(_) => Err(GzipError::Damaged),
    }
}
