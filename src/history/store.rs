//! The writer's side of a history's folder: appends, counts finished hours, lets the oldest go,
//! and sets aside what is damaged.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::UnixHours;
use super::block::{HEAD_BYTES, Header, Kind, file_head};
use super::files::{Blocks, FileError, Piece, names};
use super::query::Query;
use super::reader::Reader;
use crate::control::lock::{InstanceLock, is_out_of_space};

/// From this length on a file is followed by the next. What goes for its age or for room goes a file
/// at a time.
const FILE_BYTES: u64 = 1 << 20;
const DAMAGED: &str = ".damaged-";
const UNFINISHED: &str = ".tmp";

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
    records: Files,
    hours: Files,
    damaged: Vec<Damaged>,
    /// The first record that is in no count yet: its number, and its hour where there is one.
    uncounted: (u64, Option<UnixHours>),
    _lock: Flock<File>,
}

/// A file that was set aside.
#[derive(Debug)]
struct Damaged {
    path: PathBuf,
    bytes: u64,
    unix_secs: u64,
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
        let mut open = |kind| Files::open(folder, kind, now_millis / 1000, &mut damaged);
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
        std::mem::take(&mut self.records.writes) + std::mem::take(&mut self.hours.writes)
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

/// The files of one kind, oldest first.
#[derive(Debug)]
struct Files {
    kind: Kind,
    folder: PathBuf,
    list: VecDeque<Extents>,
    /// The newest of them.
    open: Option<File>,
    writes: usize,
}

/// One file, and what is in it.
#[derive(Debug)]
struct Extents {
    path: PathBuf,
    bytes: u64,
    records: u64,
    /// The number after its last record.
    end: u64,
    from_millis: u64,
    to_millis: u64,
}

impl Extents {
    const fn new(path: PathBuf, first: u64) -> Self {
        Self {
            path,
            bytes: 0,
            records: 0,
            end: first,
            from_millis: u64::MAX,
            to_millis: 0,
        }
    }

    fn hold(&mut self, header: &Header) {
        self.records += u64::from(header.count);
        self.end = self.end.max(header.end());
        self.from_millis = self.from_millis.min(header.from_millis);
        self.to_millis = self.to_millis.max(header.to_millis);
    }
}

impl Files {
    fn open(
        folder: &Path,
        kind: Kind,
        now_secs: u64,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Self, StoreError> {
        let mut list = VecDeque::new();
        let files = kind.files(folder)?;
        for (place, (first, path)) in files.iter().enumerate() {
            let failed = |error| StoreError::Io(path.clone(), error);
            let Some(mut blocks) = Blocks::open(path, kind)? else {
                continue;
            };
            let length = blocks.length();
            let mut file = Extents::new(path.clone(), *first);
            let (mut holes, mut buffer) = (Vec::new(), Vec::new());
            while let Some(piece) = blocks.next(|_| true, &mut buffer)? {
                match piece {
                    Piece::Block(header) => file.hold(&header),
                    Piece::Unreadable(from, to) => holes.push((from, to)),
                }
            }
            file.bytes = length;
            let is_newest = place + 1 == files.len();
            match holes.as_slice() {
                // Made, and never written.
                _ if length < HEAD_BYTES as u64 => {
                    fs::remove_file(path).map_err(failed)?;
                    continue;
                }
                [] => {}
                &[(from, to)] if is_newest && to == length && from >= HEAD_BYTES as u64 => {
                    let writable = OpenOptions::new().write(true).open(path);
                    writable.and_then(|it| it.set_len(from)).map_err(failed)?;
                    file.bytes = from;
                    log::info!("history: the last batch was not whole; it is cut off");
                }
                holes => match set_aside(path, kind, holes, now_secs) {
                    Ok(aside) => {
                        let unreadable: u64 = holes.iter().map(|(from, to)| to - from).sum();
                        log::error!(
                            "history: {} is damaged; it is set aside as {}, and {unreadable} of \
                             its {length} bytes are lost",
                            path.display(),
                            aside.display()
                        );
                        file.bytes = fs::metadata(path).map_or(0, |it| it.len());
                        damaged.push(Damaged {
                            path: aside,
                            bytes: length,
                            unix_secs: now_secs,
                        });
                    }
                    // What is whole in it can be read where it is.
                    Err(error) => log::error!(
                        "history: {} is damaged and cannot be set aside: {error}",
                        path.display()
                    ),
                },
            }
            if file.records > 0 {
                list.push_back(file);
            } else {
                let _gone = fs::remove_file(path);
            }
        }
        Ok(Self {
            kind,
            folder: folder.to_owned(),
            list,
            open: None,
            writes: 0,
        })
    }

    fn bytes(&self) -> u64 {
        self.list.iter().map(|file| file.bytes).sum()
    }

    /// Whether all in the oldest file, and that is not the newest too, is before this time.
    fn is_before(&self, millis: u64) -> bool {
        let oldest = self.list.front().filter(|_| self.list.len() > 1);
        oldest.is_some_and(|file| file.to_millis < millis)
    }

    fn remove_oldest(&mut self) {
        if self.list.len() > 1
            && let Some(file) = self.list.pop_front()
            && let Err(error) = fs::remove_file(&file.path)
        {
            log::warn!("history: cannot remove {}: {error}", file.path.display());
        }
    }

    /// Appends `blocks` and waits until they are on the disk.
    fn append(&mut self, blocks: &[Vec<u8>]) -> io::Result<()> {
        let headers: Vec<_> = blocks
            .iter()
            .filter_map(|it| Header::read(it).ok())
            .collect();
        let Some(first) = headers.first() else {
            return Ok(());
        };
        let is_full = |file: &Extents| file.bytes >= FILE_BYTES;
        let mut fresh = None;
        if self.list.back().is_none_or(is_full) {
            let path = self.folder.join(self.kind.file_name(first.first));
            fresh = Some(Extents::new(path, first.first));
            self.open = None;
        }
        let mut bytes = Vec::new();
        if fresh.is_some() {
            bytes.extend_from_slice(&file_head(self.kind));
        }
        bytes.extend(blocks.iter().flatten());
        let Some(file) = fresh.as_mut().or(self.list.back_mut()) else {
            return Ok(());
        };
        if file.bytes > 0 && !file.path.exists() {
            // Somebody has taken it away, and what is written would go with it.
            return Err(io::ErrorKind::NotFound.into());
        }
        let written = write(&mut self.open, file, &bytes);
        if let Err(error) = written {
            // Half a batch would be taken for damage once something follows it.
            match (file.bytes, self.open.take()) {
                (0, _) => drop(fs::remove_file(&file.path)),
                (length, Some(open)) => drop(open.set_len(length)),
                (_, None) => {}
            }
            return Err(error);
        }
        self.writes += 1;
        file.bytes += bytes.len() as u64;
        headers.iter().for_each(|header| file.hold(header));
        if let Some(fresh) = fresh {
            self.list.push_back(fresh);
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn write(open: &mut Option<File>, file: &Extents, bytes: &[u8]) -> io::Result<()> {
    let open = match open {
        Some(open) => open,
        None => {
            // A file of this name that is not known is what a failed write could not take away.
            let options = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&file.path)?;
            if file.bytes == 0 {
                options.set_len(0)?;
            }
            open.insert(options)
        }
    };
    open.write_all(bytes)?;
    open.sync_data()
}

/// Gives a damaged file another name, and what is whole in it the old one. At no moment is it away.
fn set_aside(
    path: &Path,
    kind: Kind,
    holes: &[(u64, u64)],
    now_secs: u64,
) -> io::Result<PathBuf> {
    let other_name = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (aside, unfinished) = (
        other_name(&format!("{DAMAGED}{now_secs}")),
        other_name(UNFINISHED),
    );
    let all = fs::read(path)?;
    let mut whole = file_head(kind).to_vec();
    let mut from = HEAD_BYTES;
    for (hole, end) in holes.iter().copied().chain([(all.len() as u64, 0)]) {
        let (hole, end) = (index(hole), index(end));
        whole.extend_from_slice(all.get(from..hole).unwrap_or_default());
        from = end;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&whole)?;
    file.sync_all()?;
    fs::hard_link(path, &aside)?;
    fs::rename(&unfinished, path)?;
    Ok(aside)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
