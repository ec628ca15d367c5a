//! The file of the list: read whole, written whole, by one at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Choices;
use crate::config::{self, Config, ConfigError};
use crate::control::lock::InstanceLock;
use crate::whole_file;

const FILE: &str = "choices.toml";
/// How long another command or the daemon may take with it. They take milliseconds; one that was
/// stopped in the midst of it shall not stop the daemon too.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Where the list is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoicesFile {
    path: PathBuf,
}

/// Why it cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another process holds its lock.
    #[error("another muzzle command has been at work on {} for seconds; end it first", .0.display())]
    Busy(PathBuf),
    /// The system refuses.
    #[error("cannot write {}: {source}{}; nothing has changed", .path.display(), advice(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (only root may; try again with su or sudo)",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (make room first)",
        _ => "",
    }
}

impl ChoicesFile {
    /// The one that belongs to the config file of that name, or to the usual one: in its folder,
    /// whether the config itself is there or not.
    #[must_use]
    pub fn beside(config: Option<&Path>) -> Self {
        let config = config.map_or_else(Config::default_path, Path::to_owned);
        let path = config.with_file_name(FILE);
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Reads the list; it is empty where there is no file. What is read is whole, also while
    /// somebody writes.
    ///
    /// # Errors
    /// It cannot be read, or it is wrong: then with everything that is wrong with it.
    pub fn read(&self) -> Result<Choices, ConfigError> {
        match config::read_text(&self.path) {
            Ok(text) => Ok(Choices::parse(&self.path.display().to_string(), &text)?),
            Err(error) if error.is_not_found() => Ok(Choices::default()),
            Err(error) => Err(error),
        }
    }

    /// The same for whoever has to go on in any case: a file that is wrong is moved out of the way,
    /// and what was in it is as if it had never been. With what there is to say of that.
    #[must_use]
    pub fn read_or_set_aside(&self) -> (Choices, Option<String>) {
        let wrong = match self.read() {
            Ok(choices) => return (choices, None),
            Err(error @ ConfigError::Unreadable { .. }) => error.to_string(),
            Err(ConfigError::Wrong(problems)) => {
                let mut aside = self.path.clone().into_os_string();
                aside.push(".damaged");
                let aside = PathBuf::from(aside);
                match fs::rename(&self.path, &aside) {
                    Ok(()) => format!("{problems}; it was moved to {}", aside.display()),
                    Err(error) => format!("{problems}; it cannot be moved away: {error}"),
                }
            }
        };
        let warning = format!("what was decided by command is not in force: {wrong}");
        (Choices::default(), Some(warning))
    }

    /// Waits for whoever writes it just now, and keeps others from it until dropped. The folder is
    /// what is locked: the file is another after each change.
    ///
    /// # Errors
    /// Another holds it for too long, or the folder is not there and cannot be made.
    pub fn lock(&self) -> Result<LockedChoices<'_>, FileError> {
        let folder = self.folder();
        let failed = |source| self.failed(source);
        InstanceLock::make_folder(folder).map_err(failed)?;
        let mut opened = File::open(folder).map_err(failed)?;
        for _ in 0..LOCK_WAIT.as_millis() / LOCK_PAUSE.as_millis() {
            match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
                Ok(held) => {
                    return Ok(LockedChoices {
                        file: self,
                        _held: held,
                    });
                }
                Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => opened = again,
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Err(FileError::Busy(self.path.clone()))
    }

    fn failed(&self, source: io::Error) -> FileError {
        let path = self.path.clone();
        FileError::Write { path, source }
    }
}

/// The list while nobody else can change it.
#[derive(Debug)]
pub struct LockedChoices<'a> {
    file: &'a ChoicesFile,
    _held: Flock<File>,
}

impl LockedChoices<'_> {
    /// Writes the list: all of it or nothing, whenever the power goes.
    ///
    /// # Errors
    /// The system refuses; the file is as before.
    pub fn write(&self, choices: &Choices) -> Result<(), FileError> {
        let text = choices.text();
        let written = whole_file::replace(&self.file.path, text.as_bytes());
        written.map_err(|source| self.file.failed(source))
    }
}
