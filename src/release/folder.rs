//! A folder as root managers leave a module.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Files, MAX_BYTES, MAX_FILES};

/// Deeper folders are no module.
const MAX_DEPTH: usize = 16;

/// Why a folder is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It or something in it cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// What cannot be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than [`MAX_BYTES`], [`MAX_FILES`] or 16 folders in one another.
    #[error("it has more than {MAX_FILES} files or {} MiB: no module", MAX_BYTES >> 20)]
    Large,
}

impl Files {
    /// Reads every file of a folder. A link or a device counts as an empty file: no release has one.
    ///
    /// # Errors
    /// Something cannot be read, or there is too much.
    pub fn read_folder(folder: &Path) -> Result<Self, FolderError> {
        let mut content = BTreeMap::new();
        read_into(&mut content, &mut MAX_BYTES.clone(), folder, "", 0)?;
        Ok(Self {
            content,
            installed: true,
        })
    }
}

fn read_into(
    content: &mut BTreeMap<String, Vec<u8>>,
    room: &mut usize,
    folder: &Path,
    prefix: &str,
    depth: usize,
) -> Result<(), FolderError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| FolderError::Read { path, source }
    };
    if depth > MAX_DEPTH {
        return Err(FolderError::Large);
    }
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() {
            read_into(content, room, &path, &format!("{name}/"), depth + 1)?;
            continue;
        }
        if content.len() >= MAX_FILES {
            return Err(FolderError::Large);
        }
        let data = if kind.is_file() {
            read_up_to(&path, *room).map_err(failed(&path))?
        } else {
            Vec::new()
        };
        *room = room.checked_sub(data.len()).ok_or(FolderError::Large)?;
        content.insert(name, data);
    }
    Ok(())
}

/// Reads a file of any size: `limit` bytes, and one more where there are more.
///
/// # Errors
/// It cannot be read.
pub fn read_up_to(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}
