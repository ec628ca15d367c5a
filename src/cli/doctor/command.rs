//! What the phone's own programs and files say, or in few words why they do not.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::program::finish;

/// How long a program may say nothing. Those written in Java take a second to start.
const SILENCE: Duration = Duration::from_secs(4);

/// What `program` prints.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    match finish(&mut command, "", SILENCE) {
        Ok(Some((status, text))) if status.success() => Ok(text),
        Ok(Some((status, text))) => Err(format!("{status}: {}", text.trim())),
        Ok(None) => Err("timed out".into()),
        Err(error) => Err(reason(&error)),
    }
}

/// The text of a file of the kernel or the phone.
pub(super) fn file(path: &str) -> Result<String, String> {
    match std::fs::read(Path::new(path)) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(reason(&error)),
    }
}

/// The cause in the words that every section uses.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "not found".into(),
        ErrorKind::PermissionDenied => "permission".into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out".into(),
        _ => error.to_string(),
    }
}
