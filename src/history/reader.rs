//! Reads a history, also while the daemon writes it. Takes no lock and changes nothing.

use std::path::{Path, PathBuf};

use super::block::{Header, Kind};
use super::decode::{RecordRef, Records};
use super::files::{Blocks, FileError, Piece};
use super::query::Query;
use super::tally::{Tally, rows};
use super::{Row, UnixHours};
use crate::parse::Malformed;

/// A history to be read.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    damaged: Vec<PathBuf>,
    buffer: Vec<u8>,
}

impl Reader {
    /// The history in `folder`; an empty one where that is not there.
    ///
    /// # Errors
    /// It cannot be read, or a newer Muzzle wrote it.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        for kind in [Kind::Records, Kind::Hours] {
            for (_, path) in kind.files(folder)? {
                let _version_is_known = Blocks::open(&path, kind)?;
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            damaged: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Files that were found damaged in what was read so far. What is whole in them was read.
    #[must_use]
    pub fn damaged(&self) -> &[PathBuf] {
        &self.damaged
    }

    /// The number that the next record will have.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn end(&mut self) -> Result<u64, FileError> {
        let mut end = 1;
        for kind in [Kind::Hours, Kind::Records] {
            // The newest file may hold nothing that is whole.
            let files = kind.files(&self.folder)?;
            end = end.max(files.last().map_or(1, |(first, _)| *first));
            for (_, path) in files.iter().rev().take(2) {
                let mut seen = |header: &Header| {
                    end = end.max(header.end());
                    false
                };
                self.blocks(path, kind, true, &mut seen, |_, _| Ok::<_, FileError>(()))?;
            }
        }
        Ok(end)
    }

    /// Hands each record that `query` asks for to `each`, in the order of their numbers.
    ///
    /// # Errors
    /// The files cannot be read, or `each` had enough.
    pub fn records<E: From<FileError>>(
        &mut self,
        query: &Query,
        mut each: impl FnMut(&RecordRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let files = Kind::Records.files(&self.folder)?;
        for (place, (_, path)) in files.iter().enumerate() {
            let next = files.get(place + 1);
            if next.is_some_and(|(first, _)| *first <= query.from_number) {
                continue;
            }
            self.records_of(path, next.is_none(), query, &mut each)?;
        }
        Ok(())
    }

    /// The number of the record with which the newest `count` begin that `query` asks for.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn begin_of_newest(&mut self, query: &Query, count: usize) -> Result<u64, FileError> {
        let mut wanted = count;
        let files = Kind::Records.files(&self.folder)?;
        for (place, (first, path)) in files.iter().enumerate().rev() {
            if wanted == 0 {
                break;
            }
            let mut numbers = Vec::new();
            self.records_of(path, place + 1 == files.len(), query, &mut |record| {
                numbers.push(record.number);
                Ok::<_, FileError>(())
            })?;
            if let Some(begin) = numbers.len().checked_sub(wanted) {
                return Ok(numbers.get(begin).copied().unwrap_or(u64::MAX));
            }
            wanted -= numbers.len();
            if *first <= query.from_number {
                break;
            }
        }
        Ok(if count == 0 {
            u64::MAX
        } else {
            query.from_number
        })
    }

    /// Hands the counts of the hours `since..until` to `each`, roughly in their order. What is the
    /// same but for its counts may come more than once: add them.
    ///
    /// # Errors
    /// The files cannot be read, or `each` had enough.
    pub fn rows<E: From<FileError>>(
        &mut self,
        since: UnixHours,
        until: UnixHours,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let asked = |row: &Row| row.hour >= since && row.hour < until;
        let mut counted = 0;
        let files = Kind::Hours.files(&self.folder)?;
        for (place, (_, path)) in files.iter().enumerate() {
            let mut wanted = |header: &Header| {
                counted = header.end();
                UnixHours::from_millis(header.from_millis) < until
                    && UnixHours::from_millis(header.to_millis) >= since
            };
            let is_newest = place + 1 == files.len();
            self.blocks(path, Kind::Hours, is_newest, &mut wanted, |_, payload| {
                let rows = rows(payload).unwrap_or_default();
                rows.into_iter().filter(asked).try_for_each(&mut each)
            })?;
        }
        self.tallies(counted, |tally| {
            for row in tally.rows().into_iter().filter(asked) {
                each(row)?;
            }
            Ok(())
        })
    }

    /// Counts the records from number `from` on; `each` is handed the counts whenever there are
    /// many, and in the end.
    pub(super) fn tallies<E: From<FileError>>(
        &mut self,
        from: u64,
        mut each: impl FnMut(&mut Tally) -> Result<(), E>,
    ) -> Result<(), E> {
        let query = Query {
            from_number: from,
            ..Query::default()
        };
        let mut tally = Tally::default();
        self.records(&query, |record| {
            tally.add(record);
            if tally.is_full() {
                each(&mut tally)?;
            }
            Ok::<_, E>(())
        })?;
        each(&mut tally)
    }

    fn records_of<E: From<FileError>>(
        &mut self,
        path: &Path,
        is_newest: bool,
        query: &Query,
        each: &mut impl FnMut(&RecordRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut wanted = |it: &Header| query.may_fit(it.from_millis, it.to_millis, it.end());
        let mut is_damaged = false;
        let read = |header, payload: &[u8]| -> Result<(), E> {
            let Ok(records) = Records::read(header, payload) else {
                is_damaged = true;
                return Ok(());
            };
            for record in records.iter() {
                match record {
                    Ok(record) if query.fits(&record) => each(&record)?,
                    Ok(_) => {}
                    Err(Malformed) => is_damaged = true,
                }
            }
            Ok(())
        };
        self.blocks(path, Kind::Records, is_newest, &mut wanted, read)?;
        if is_damaged {
            self.note_damage(path);
        }
        Ok(())
    }

    /// Hands each block that is `wanted` to `each`, and notes where there is damage between them.
    fn blocks<E: From<FileError>>(
        &mut self,
        path: &Path,
        kind: Kind,
        is_newest: bool,
        wanted: &mut impl FnMut(&Header) -> bool,
        mut each: impl FnMut(Header, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut blocks) = Blocks::open(path, kind)? else {
            return Ok(());
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(piece) = blocks.next(&mut *wanted, &mut buffer)? {
            match piece {
                Piece::Block(header) => each(header, &buffer)?,
                // It may be on its way to the disk right now.
                Piece::Unreadable(_, to) if is_newest && to == blocks.length() => {}
                Piece::Unreadable(..) => self.note_damage(path),
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn note_damage(&mut self, path: &Path) {
        if !self.damaged.iter().any(|known| known == path) {
            self.damaged.push(path.to_owned());
        }
    }
}
