//! One daemon at a time: a lock file beside the control socket, held while the daemon lives and
//! let go by the kernel however it dies.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The lock of a running daemon. The file goes when it is dropped.
#[derive(Debug)]
pub struct InstanceLock {
    path: PathBuf,
    _held: Flock<File>,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon holds it.
    #[error("another Muzzle daemon is running (it holds {}); stop it first", .0.display())]
    Held(PathBuf),
    /// The folder or the file cannot be made.
    #[error("cannot make {}{}", .path.display(), needs_root(.source))]
    Create {
        /// The folder or file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// Whether the disk was too full for the file or its folder.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Held(_) => false,
            Self::Create { source, .. } => is_out_of_space(source),
        }
    }
}

/// Whether something could not be written because the disk is full.
#[must_use]
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn needs_root(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => " (Muzzle needs root)",
        _ => "",
    }
}

impl InstanceLock {
    /// Makes the folder of the daemon's files (0700) where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_folder(folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    /// Takes the lock that belongs to `socket`; makes the folder (0700) where it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] where another daemon has it.
    pub fn take(socket: &Path) -> Result<Self, LockError> {
        if let Some(folder) = socket.parent() {
            Self::make_folder(folder).map_err(|source| cannot_create(folder, source))?;
        }
        let path = path_beside(socket);
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(|source| cannot_create(&path, source))?;
            let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => held,
                Err((_, Errno::EWOULDBLOCK)) => return Err(LockError::Held(path)),
                Err((_, errno)) => return Err(cannot_create(&path, errno.into())),
            };
            // The one before may have removed the file between our open and our lock.
            let current = fs::metadata(&path).map(|metadata| metadata.ino());
            if held.metadata().map(|metadata| metadata.ino()).ok() == current.ok() {
                let pid = format!("{}\n", std::process::id());
                let written = held
                    .set_len(0)
                    .and_then(|()| (&*held).write_all(pid.as_bytes()));
                return match written {
                    // The lock holds without the note of who has it.
                    Err(error) if !is_out_of_space(&error) => Err(cannot_create(&path, error)),
                    _ => Ok(Self { path, _held: held }),
                };
            }
        }
    }

    /// The process that holds the lock that belongs to `socket`, if one does.
    #[must_use]
    pub fn holder(socket: &Path) -> Option<u32> {
        let path = path_beside(socket);
        let file = File::open(&path).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => fs::read_to_string(&path).ok()?.trim().parse().ok(),
            _ => None,
        }
    }
}

fn path_beside(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

fn cannot_create(path: &Path, source: io::Error) -> LockError {
    LockError::Create {
        path: path.to_owned(),
        source,
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // Nothing is lost where it stays: the next daemon takes it over.
        let _gone = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_until_the_first_is_gone() {
        let folder = std::env::temp_dir().join(format!("muzzle-lock-{}", std::process::id()));
        let socket = folder.join("control.sock");
        let first = InstanceLock::take(&socket).unwrap();
        assert!(matches!(
            InstanceLock::take(&socket),
            Err(LockError::Held(_))
        ));
        assert_eq!(InstanceLock::holder(&socket), Some(std::process::id()));
        drop(first);
        assert_eq!(InstanceLock::holder(&socket), None);
        drop(InstanceLock::take(&socket).unwrap());
        fs::remove_dir(&folder).unwrap();
    }
}
