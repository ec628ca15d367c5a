//! The command line's end of the control socket. Blocking: a command does one thing.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::lock::InstanceLock;
use super::protocol::{Body, Call, Reply, Request, VERSION};

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("Muzzle is not running (nobody answers at {})", .0.display())]
    NotRunning(PathBuf),
    /// A supervisor is there, but no worker answers.
    #[error(
        "Muzzle is off right now, and nothing is filtered: its worker failed or is starting (the \
         daemon is process {0}; its log says more; `muzzle reload` makes it try again)"
    )]
    Off(u32),
    /// The socket belongs to root.
    #[error("only root may talk to the daemon; try again with su or sudo")]
    Forbidden,
    /// The connection broke.
    #[error("the connection to the daemon broke")]
    Broken(#[from] io::Error),
    /// The daemon ended the connection before it had answered.
    #[error("the daemon hung up without an answer")]
    HungUp,
    /// The daemon speaks otherwise.
    #[error("the daemon said something this program does not understand: {0}")]
    Foreign(String),
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the daemon's socket.
    ///
    /// # Errors
    /// Nobody listens there, or this user may not talk to it.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Forbidden,
            _ => InstanceLock::holder(socket).map_or_else(
                || ClientError::NotRunning(socket.to_owned()),
                ClientError::Off,
            ),
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks for something. The replies follow by [`Self::reply`].
    ///
    /// # Errors
    /// The connection broke.
    pub fn call(&mut self, call: Call) -> Result<(), ClientError> {
        let mut line =
            serde_json::to_vec(&Request { v: VERSION, call }).map_err(io::Error::from)?;
        line.push(b'\n');
        match self.stream.get_mut().write_all(&line) {
            // It has hung up, and what it said before can still be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }

    /// The next reply; `None` where the daemon hung up. A refusal is an error.
    ///
    /// # Errors
    /// The connection broke, or the reply is an error or of another version.
    pub fn reply(&mut self) -> Result<Option<Body>, ClientError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match serde_json::from_str::<Reply>(&line) {
            Ok(Reply {
                v: VERSION,
                body: Body::Error(message),
            }) => Err(ClientError::Refused(message)),
            Ok(Reply { v: VERSION, body }) => Ok(Some(body)),
            Ok(Reply { v, .. }) => Err(ClientError::Foreign(format!("protocol version {v}"))),
            Err(_) => Err(ClientError::Foreign(line.trim_end().to_owned())),
        }
    }
}
