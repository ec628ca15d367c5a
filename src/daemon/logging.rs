//! The daemon's own log: logcat on Android, standard error elsewhere, and on top of that a file
//! of bounded size where one is named. `RUST_LOG` sets the level off Android.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::cli::time;
use crate::clock;

/// Beyond this the file becomes `FILE.1`, in place of the one before: at most twice as much is
/// kept.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Starts logging. A second call changes nothing.
pub(super) fn start(file: Option<&Path>) {
    let system = system_log();
    let level = system.level;
    let logger = Logger {
        system: system.log,
        file: file.map(LogFile::new),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

struct Logger {
    system: Box<dyn Log>,
    file: Option<LogFile>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.system.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        self.system.log(record);
        if let Some(file) = &self.file
            && let Err(error) = file.log(record)
        {
            let path = file.path.display();
            self.system.log(
                &Record::builder()
                    .level(Level::Warn)
                    .args(format_args!("cannot write {path}: {error}"))
                    .build(),
            );
        }
    }

    fn flush(&self) {
        self.system.flush();
    }
}

/// The file beside the system's log. A full disk must not stop what the log tells of: lines that
/// cannot be written are counted, and the next that can be says how many they were.
struct LogFile {
    path: PathBuf,
    lost: AtomicU32,
}

impl LogFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lost: AtomicU32::new(0),
        }
    }

    /// Writes a line; fails only with the first of those that are lost in a row.
    fn log(&self, record: &Record<'_>) -> std::io::Result<()> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut line = format!(
            "{} {}: {}\n",
            time::local(clock::unix_millis(), "%Y-%m-%d %H:%M:%S%.3f"),
            record.level(),
            record.args()
        );
        if lost > 0 {
            // The last of them may have been written in part.
            line.insert_str(0, &format!("\n({lost} lines could not be written)\n"));
        }
        let written = append(&self.path, &line);
        if written.is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
        if lost == 0 { written } else { Ok(()) }
    }
}

/// Opened anew for each line: supervisor and worker write to the same file, and either may have
/// moved it away. The daemon says little, and nothing for a packet.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    // One write, so that lines of the two processes do not mix.
    file.write_all(line.as_bytes())?;
    if file.metadata()?.len() > MAX_FILE_BYTES {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        fs::rename(path, old)?;
    }
    Ok(())
}

struct SystemLog {
    log: Box<dyn Log>,
    level: LevelFilter,
}

#[cfg(target_os = "android")]
fn system_log() -> SystemLog {
    let level = LevelFilter::Info;
    let config = android_logger::Config::default()
        .with_tag("muzzle")
        .with_max_level(level);
    SystemLog {
        log: Box::new(android_logger::AndroidLogger::new(config)),
        level,
    }
}

#[cfg(not(target_os = "android"))]
fn system_log() -> SystemLog {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let logger = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(|out, record| writeln!(out, "muzzle: {}: {}", record.level(), record.args()))
        .build();
    let level = logger.filter();
    SystemLog {
        log: Box::new(logger),
        level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_bounded_and_the_newest_lines_are_kept() {
        let folder = std::env::temp_dir().join(format!("muzzle-log-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("daemon.log");
        let text = "x".repeat(1000);
        for number in 0..1000 {
            append(&path, &format!("{number} {text}\n")).unwrap();
        }
        let kept: u64 = ["daemon.log", "daemon.log.1"]
            .iter()
            .map(|name| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len()))
            .sum();
        assert!(kept <= 2 * (MAX_FILE_BYTES + 2000), "{kept}");
        let newest = fs::read_to_string(&path)
            .or_else(|_| fs::read_to_string(folder.join("daemon.log.1")))
            .unwrap();
        assert!(newest.lines().last().unwrap().starts_with("999 x"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
