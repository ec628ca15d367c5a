//! The config file: as written ([`reader`], `written`) → as meant ([`Config`]).
//! `config/muzzle.toml` documents every key.

pub mod meant;
mod problems;
pub mod reader;
#[cfg(test)]
mod tests;
mod written;
mod written_answer;
pub(crate) mod written_rule;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use meant::{
    Config, ConnectionSettings, DnsSettings, EncryptedDnsSettings, EndpointAnswer,
    FirewallSettings, HistorySettings, HotspotClients, HotspotSettings, LogSettings,
    QueueSettings, Recorded,
};
pub use reader::{Problem, Problems};

/// Largest config file that is read, in bytes. Ten thousand rules take one; what is larger is
/// something else.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}; is the path right, and may Muzzle (root) read it?", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read, and is wrong.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

impl ConfigError {
    /// Whether there is just no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Where the daemon is to be met, and what it has kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The socket that it answers at.
    pub control_socket: PathBuf,
    /// The folder of its history, where one is kept.
    pub history: Option<PathBuf>,
}

impl Config {
    /// Reads and understands the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or it is wrong: then with everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    /// The config at `named` or, where nothing is named, the usual one; with the file it came
    /// from. Only the usual file may be absent: then the defaults apply, and no file is given.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn find(named: Option<&Path>) -> Result<(Self, Option<PathBuf>), ConfigError> {
        let path = named.map_or_else(Self::default_path, Path::to_owned);
        match Self::load(&path) {
            Ok(config) => Ok((config, Some(path))),
            Err(error) if named.is_none() && error.is_not_found() => {
                Ok((Self::default(), None))
            }
            Err(error) => Err(error),
        }
    }

    /// What the config at `named`, or the usual one, says of where the daemon is to be met: also of
    /// a config that is wrong elsewhere, since the daemon may run with what it said before.
    ///
    /// # Errors
    /// The named file cannot be read.
    pub fn find_places(named: Option<&Path>) -> Result<Places, ConfigError> {
        match Self::find(named) {
            Ok((config, _)) => Ok(Places {
                control_socket: config.control_socket,
                history: config.history.enabled.then_some(config.history.directory),
            }),
            Err(ConfigError::Wrong(_)) => {
                let path = named.map_or_else(Self::default_path, Path::to_owned);
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let table = text.parse::<toml::Table>().unwrap_or_default();
                let written = |section: &str, key: &str| {
                    let path = table.get(section)?.get(key)?.as_str()?;
                    (!path.is_empty()).then(|| PathBuf::from(path))
                };
                let default = Self::default();
                Ok(Places {
                    control_socket: written("control", "socket")
                        .unwrap_or(default.control_socket),
                    history: written("history", "directory")
                        .or(Some(default.history.directory)),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The same from memory; `file` is what problems call it.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self, Problems> {
        Self::parse(file, text_of(file, bytes)?)
    }
}

/// Reads a file of Muzzle's that people may have written in.
///
/// # Errors
/// It cannot be read, or it is no text.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(text_of(&path.display().to_string(), &bytes)?.to_owned())
}

fn text_of<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Problems> {
    let whole_file = |line, message: String| {
        Problems(vec![Problem {
            file: file.to_owned(),
            line,
            message,
        }])
    };
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_CONFIG_BYTES) {
        let message = format!("over {MAX_CONFIG_BYTES} bytes: this is no config of Muzzle's");
        return Err(whole_file(1, message));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        let message = "this is not UTF-8 text; save the file as UTF-8".to_owned();
        whole_file(line, message)
    })
}
