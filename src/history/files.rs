//! The files of a history: what they are called, and how their blocks are read.
//!
//! Writers only append whole batches, so that whoever reads needs no lock: what is not whole at the
//! end of the newest file is being written just now, or was when the power went.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::block::{self, HEAD_BYTES, HEADER_BYTES, Head, Header, Kind};

/// No file is read beyond this; a written one is a megabyte and a batch long.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why a file of the history is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot read {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A newer Muzzle wrote it.
    #[error(
        "{} is of version {}, which a newer Muzzle wrote; this one knows version {}. Nothing was \
         changed: install the newer Muzzle again, or move the folder away",
        .0.display(), .1, block::VERSION
    )]
    Newer(PathBuf, u8),
}

impl Kind {
    const fn around_number(self) -> (&'static str, &'static str) {
        match self {
            Self::Records => ("records-", ".mzr"),
            Self::Hours => ("hours-", ".mzh"),
        }
    }

    /// The name of the file whose first record has this number.
    pub(super) fn file_name(self, first: u64) -> String {
        let (before, after) = self.around_number();
        format!("{before}{first:012}{after}")
    }

    /// The files of this kind and the numbers of their first records, oldest first. None where
    /// there is no such folder.
    pub(super) fn files(self, folder: &Path) -> Result<Vec<(u64, PathBuf)>, FileError> {
        let (before, after) = self.around_number();
        let number = |name: &str| {
            let digits = name.strip_prefix(before)?.strip_suffix(after)?;
            digits.parse().ok()
        };
        let mut files: Vec<(u64, PathBuf)> = names(folder)?
            .into_iter()
            .filter_map(|name| Some((number(&name)?, folder.join(name))))
            .collect();
        files.sort_unstable();
        Ok(files)
    }
}

/// What is in `folder`; nothing where it is not there.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let failed = |error| FileError::Io(folder.to_owned(), error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // Names that are no text are none of ours.
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A block; its payload has been read.
    Block(Header),
    /// Bytes that are no block, from here to there.
    Unreadable(u64, u64),
}

/// A file, block by block.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    path: PathBuf,
    at: u64,
    /// When it was opened; what comes later is not looked at.
    length: u64,
}

impl Blocks {
    /// Opens a file; none where it is gone by now.
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Option<Self>, FileError> {
        let failed = |error| FileError::Io(path.to_owned(), error);
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let length = file.metadata().map_err(failed)?.len().min(MAX_FILE_BYTES);
        let mut blocks = Self {
            file,
            path: path.to_owned(),
            at: 0,
            length,
        };
        let mut head = Vec::new();
        blocks.read(0, HEAD_BYTES as u64, &mut head)?;
        match block::read_head(&head, kind) {
            Head::Ours => blocks.at = HEAD_BYTES as u64,
            Head::Newer(version) => return Err(FileError::Newer(path.to_owned(), version)),
            // The first header is looked for from the start.
            Head::Damaged => {}
        }
        Ok(Some(blocks))
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// The next block that is `wanted`, with its payload in `payload`; what is unreadable on the way
    /// to it comes first.
    pub(super) fn next(
        &mut self,
        mut wanted: impl FnMut(&Header) -> bool,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Piece>, FileError> {
        while self.at < self.length {
            let start = self.at;
            self.read(start, HEADER_BYTES as u64, payload)?;
            let header = Header::read(payload).ok();
            let Some(header) = header.filter(|it| start + it.block_bytes() <= self.length)
            else {
                self.at = self.next_header(start + 1, payload)?;
                return Ok(Some(Piece::Unreadable(start, self.at)));
            };
            self.at += header.block_bytes();
            if !wanted(&header) {
                continue;
            }
            self.read(start + HEADER_BYTES as u64, header.length.into(), payload)?;
            return Ok(Some(if header.fits(payload) {
                Piece::Block(header)
            } else {
                Piece::Unreadable(start, self.at)
            }));
        }
        Ok(None)
    }

    fn next_header(&self, from: u64, buffer: &mut Vec<u8>) -> Result<u64, FileError> {
        self.read(from, self.length.saturating_sub(from), buffer)?;
        let found = block::find(buffer).map(|(at, _)| from + at as u64);
        Ok(found.unwrap_or(self.length))
    }

    /// As many bytes as there are, up to `length`.
    fn read(&self, at: u64, length: u64, buffer: &mut Vec<u8>) -> Result<(), FileError> {
        let length = length.min(self.length.saturating_sub(at));
        buffer.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], at + done as u64) {
                // The writer has cut off what was not whole.
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::Io(self.path.clone(), error)),
            }
        }
        buffer.truncate(done);
        Ok(())
    }
}
