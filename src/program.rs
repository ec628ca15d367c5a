//! Runs other programs, bounded in time.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Runs `command`; `None` if it said nothing for `limit` and was killed.
///
/// What it prints and what it complains of come through one pipe: the readers know the lines
/// they want by how these begin.
///
/// # Errors
/// It cannot be started or talked to.
pub(crate) fn finish(
    command: &mut Command,
    input: &str,
    limit: Duration,
) -> io::Result<Option<(ExitStatus, String)>> {
    let (pipe, end) = io::pipe()?;
    command
        .stdin(Stdio::piped())
        .stdout(end.try_clone()?)
        .stderr(end);
    let mut child = command.spawn()?;
    // The command's own copies of the pipe's end must close, or the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // A batch is a few KiB, a pipe takes 64; a child that did not read it tells by its status.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let text = read_to_end(pipe, limit);
    if !matches!(text, Ok(Some(_))) {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(text?.map(|text| (status, text)))
}

/// Reads `pipe` to its end; `None` if it had nothing for `limit`.
fn read_to_end(mut pipe: PipeReader, limit: Duration) -> io::Result<Option<String>> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
}
