//! What the subcommands that talk to the running daemon share.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Body, Call};

/// How to reach the daemon.
#[derive(Debug, clap::Args)]
pub struct SocketArgs {
    /// The daemon's control socket, where it is not the one of the config file.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketArgs {
    /// Connects to the daemon.
    ///
    /// # Errors
    /// The config file is wrong, or the daemon cannot be reached.
    pub fn connect(&self, config: Option<&Path>) -> anyhow::Result<Client> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => Config::find_control_socket(config)?,
        };
        Ok(Client::connect(&socket)?)
    }

    /// The same, and sends `call`.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn call(&self, config: Option<&Path>, call: Call) -> anyhow::Result<Client> {
        let mut client = self.connect(config)?;
        client.call(call)?;
        Ok(client)
    }

    /// As [`Self::call`], for a call that is answered by one line.
    ///
    /// # Errors
    /// As [`Self::call`], or the daemon refused or hung up.
    pub fn ask(&self, config: Option<&Path>, call: Call) -> anyhow::Result<Body> {
        let reply = self.call(config, call)?.reply()?;
        Ok(reply.ok_or(ClientError::HungUp)?)
    }
}
