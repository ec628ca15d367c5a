//! The writer's side of a history's folder: appends, counts finished hours, lets the oldest go,
//! and sets aside what is damaged.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::UnixHours;
use super::block::{Header, Kind};
use super::files::{FileError, names};
use super::query::Query;
use super::reader::Reader;
use super::series::{DAMAGED, Damaged, Series, UNFINISHED};
use crate::control::lock::{InstanceLock, is_out_of_space};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For how long records are kept.
    pub records: Duration,
    /// For how long counts are kept.
    pub counters: Duration,
    /// For how many bytes all files together.
    pub bytes: u64,
}

/// Why a history cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of it cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else writes it.
    #[error("another Muzzle daemon writes the history in {}", .0.display())]
    Held(PathBuf),
    /// The system refused.
    #[error("cannot write the history in {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

impl StoreError {
    /// Whether there was only no room.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io(_, error) if is_out_of_space(error))
    }

    /// Whether it is of no use to try again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::File(FileError::Newer(..)) | Self::Held(_))
    }
}

/// What a history holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Records in full.
    pub records: u64,
    /// The time of the oldest, in milliseconds since 1970-01-01 UTC.
    pub since_millis: Option<u64>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files that were set aside because they are damaged.
    pub damaged: Vec<PathBuf>,
}

/// A folder that this process alone writes.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
    records: Series,
    hours: Series,
    damaged: Vec<Damaged>,
    /// The first record that is in no count yet: its number, and its hour where there is one.
    uncounted: (u64, Option<UnixHours>),
    _lock: Flock<File>,
}

impl Store {
    /// Opens the history in `folder`, and makes it where there is none. Every file is read once: a
    /// batch at the end that is not whole is cut off; a damaged file is set aside, and what is
    /// whole in it goes on under its name. `now_millis` is since 1970-01-01 UTC.
    ///
    /// # Errors
    /// See [`StoreError`]. Where a newer Muzzle wrote it, nothing was changed.
    pub fn open(folder: &Path, limits: Limits, now_millis: u64) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io(folder.to_owned(), error);
        // Before anything is touched.
        let mut reader = Reader::open(folder)?;
        InstanceLock::make_folder(folder).map_err(failed)?;
        let lock = take_lock(folder)?;
        let mut damaged = Vec::new();
        for name in names(folder)? {
            let path = folder.join(&name);
            if name.ends_with(UNFINISHED) {
                fs::remove_file(&path).map_err(failed)?;
            } else if let Some((_, secs)) = name.rsplit_once(DAMAGED) {
                damaged.push(Damaged {
                    bytes: fs::metadata(&path).map_err(failed)?.len(),
                    path,
                    unix_secs: secs.parse().unwrap_or(0),
                });
            }
        }
        let mut open = |kind| Series::open(folder, kind, now_millis / 1000, &mut damaged);
        let (records, hours) = (open(Kind::Records)?, open(Kind::Hours)?);
        damaged.sort_unstable_by_key(|it| it.unix_secs);
        let counted = hours.list.back().map_or(0, |file| file.end);
        let mut hour = None;
        let uncounted = Query {
            from_number: counted,
            ..Query::default()
        };
        reader.records(&uncounted, |record| {
            hour.get_or_insert(UnixHours::from_millis(record.unix_millis));
            Ok::<_, FileError>(())
        })?;
        let mut store = Self {
            folder: folder.to_owned(),
            limits,
            records,
            hours,
            damaged,
            uncounted: (counted, hour),
            _lock: lock,
        };
        store.prune(now_millis);
        Ok(store)
    }

    /// Changes how much is kept.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Appends blocks of records, and is done when they are on the disk. Where the last of them is
    /// of another hour than the first that is not counted yet, those before are counted first. On
    /// failure nothing of them is there.
    ///
    /// # Errors
    /// They could not be written.
    pub fn append(&mut self, blocks: &[Vec<u8>], now_millis: u64) -> Result<(), StoreError> {
        let Some(last) = blocks.last().and_then(|it| Header::read(it).ok()) else {
            return Ok(());
        };
        let hour = UnixHours::from_millis(last.to_millis);
        if self.uncounted.1.is_some_and(|before| before != hour) {
            // Another time: the records are there.
            if let Err(error) = self.count() {
                log::warn!("history: an hour cannot be counted yet: {error}");
            }
        }
        self.records
            .append(blocks)
            .map_err(|error| StoreError::Io(self.folder.clone(), error))?;
        self.uncounted.1.get_or_insert(hour);
        self.prune(now_millis);
        Ok(())
    }

    /// What there is.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            records: self.records.list.iter().map(|file| file.records).sum(),
            since_millis: self.records.list.front().map(|file| file.from_millis),
            bytes: self.bytes(),
            damaged: self.damaged.iter().map(|it| it.path.clone()).collect(),
        }
    }

    /// How often something was written since this was asked last; each is a wait for the disk.
    pub fn take_writes(&mut self) -> usize {
        self.records.take_writes() + self.hours.take_writes()
    }

    fn bytes(&self) -> u64 {
        let damaged: u64 = self.damaged.iter().map(|it| it.bytes).sum();
        self.records.bytes() + self.hours.bytes() + damaged
    }

    /// Counts what is in no count yet.
    fn count(&mut self) -> Result<(), StoreError> {
        let mut reader = Reader::open(&self.folder)?;
        reader.tallies(self.uncounted.0, |tally| {
            let Some(block) = tally.seal() else {
                return Ok(());
            };
            let end = Header::read(&block).map_or(0, |it| it.end());
            self.hours
                .append(&[block])
                .map_err(|error| StoreError::Io(self.folder.clone(), error))?;
            self.uncounted.0 = end;
            Ok::<_, StoreError>(())
        })?;
        self.uncounted.1 = None;
        Ok(())
    }

    /// Lets go what is too old or too much.
    ///
    /// For its age one file goes at a time: a clock that is wrong for a moment does not take all.
    fn prune(&mut self, now_millis: u64) {
        let before = |age: Duration| {
            now_millis.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        };
        let records_from = before(self.limits.records);
        while self.damaged.first().is_some_and(|it| {
            it.unix_secs < records_from / 1000 || self.bytes() > self.limits.bytes
        }) {
            let _gone = fs::remove_file(self.damaged.remove(0).path);
        }
        if self.hours.is_before(before(self.limits.counters))
            || self.hours.bytes() > self.limits.bytes / 2
        {
            self.hours.remove_oldest();
        }
        if self.records.is_before(records_from) {
            self.remove_oldest_records();
        }
        while self.bytes() > self.limits.bytes && self.records.list.len() > 1 {
            self.remove_oldest_records();
        }
    }

    fn remove_oldest_records(&mut self) {
        let oldest = self.records.list.front();
        if oldest.is_some_and(|file| file.end > self.uncounted.0)
            && let Err(error) = self.count()
        {
            log::warn!("history: records go that are not counted: {error}");
        }
        self.records.remove_oldest();
    }
}

/// Two writers would write over one another.
fn take_lock(folder: &Path) -> Result<Flock<File>, StoreError> {
    let failed = |error| StoreError::Io(folder.to_owned(), error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(StoreError::Held(folder.to_owned())),
        Err((_, error)) => Err(failed(error.into())),
    }
}
