//! The files of one kind as the writer sees them: appended to at one end, let go at the other, and
//! looked through once when it starts.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::block::{HEAD_BYTES, Header, Kind, file_head};
use super::files::{Blocks, Piece};
use super::store::StoreError;

/// From this length on a file is followed by the next. What goes for its age or for room goes a file
/// at a time.
const FILE_BYTES: u64 = 1 << 20;
pub(super) const DAMAGED: &str = ".damaged-";
pub(super) const UNFINISHED: &str = ".tmp";

/// A file that was set aside.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) unix_secs: u64,
}

/// The files of one kind, oldest first.
#[derive(Debug)]
pub(super) struct Series {
    kind: Kind,
    folder: PathBuf,
    pub(super) list: VecDeque<Extents>,
    /// The newest of them.
    open: Option<File>,
    writes: usize,
}

/// One file, and what is in it.
#[derive(Debug)]
pub(super) struct Extents {
    path: PathBuf,
    bytes: u64,
    pub(super) records: u64,
    /// The number after its last record.
    pub(super) end: u64,
    pub(super) from_millis: u64,
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

impl Series {
    pub(super) fn open(
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
            } else if file.bytes == HEAD_BYTES as u64 {
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

    pub(super) fn bytes(&self) -> u64 {
        self.list.iter().map(|file| file.bytes).sum()
    }

    /// Whether all in the oldest file, and that is not the newest too, is before this time.
    pub(super) fn is_before(&self, millis: u64) -> bool {
        let oldest = self.list.front().filter(|_| self.list.len() > 1);
        oldest.is_some_and(|file| file.to_millis < millis)
    }

    pub(super) fn remove_oldest(&mut self) {
        if self.list.len() > 1
            && let Some(file) = self.list.pop_front()
            && let Err(error) = fs::remove_file(&file.path)
        {
            log::warn!("history: cannot remove {}: {error}", file.path.display());
        }
    }

    /// How often something was written since this was asked last.
    pub(super) fn take_writes(&mut self) -> usize {
        std::mem::take(&mut self.writes)
    }

    /// Appends `blocks` and waits until they are on the disk.
    pub(super) fn append(&mut self, blocks: &[Vec<u8>]) -> io::Result<()> {
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
    if whole.len() == HEAD_BYTES {
        fs::rename(path, &aside)?;
        return Ok(aside);
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
