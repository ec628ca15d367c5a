//! Files that are there whole or as they were, whenever the power goes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes `bytes` to a file for its owner only (0600), in place of the one that is there.
///
/// # Errors
/// The system refuses; the file is as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = OsString::from(path);
    new.push(".new");
    let new = PathBuf::from(new);
    let written = write(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // It may never have been there; and one that stays is overwritten the next time.
        let _gone = fs::remove_file(&new);
        return written;
    }
    // The new name is on the disk only with its folder (fsync(2)). Where that cannot be, the file is
    // whole all the same.
    if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        let _not_synced = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
