//! What the subcommands share that talk to the running daemon, or read what it has kept.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::config::{Config, Places};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Body, Call};
use crate::decide::Outcome;
use crate::history::{NameFilter, Query, Reader};

use super::UsageError;
use super::time::When;

/// How to reach the daemon.
#[derive(Debug, clap::Args)]
pub struct SocketArgs {
    /// The daemon's control socket, where it is not the one of the config file.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketArgs {
    fn places(&self, config: Option<&Path>) -> anyhow::Result<Places> {
        let mut places = Config::find_places(config)?;
        if let Some(socket) = &self.socket {
            places.control_socket.clone_from(socket);
        }
        Ok(places)
    }

    /// Connects to the daemon.
    ///
    /// # Errors
    /// The config file is wrong, or the daemon cannot be reached.
    pub fn connect(&self, config: Option<&Path>) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.places(config)?.control_socket)?)
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

    /// The past, with all that has happened by now where a daemon runs.
    ///
    /// # Errors
    /// Neither a daemon answers nor is there a history.
    pub fn kept(&self, config: Option<&Path>) -> anyhow::Result<Kept> {
        let places = self.places(config)?;
        let mut is_whole = false;
        let client = match Client::connect(&places.control_socket) {
            Ok(mut client) => {
                client.call(Call::Flush)?;
                match client.reply() {
                    // Why is told with its status; the newest records are in its memory.
                    Err(ClientError::Refused(_)) => {}
                    reply => is_whole = reply?.is_some(),
                }
                Ok(client)
            }
            // The history is root's too.
            Err(error @ ClientError::Forbidden) => return Err(error.into()),
            Err(error) => Err(error),
        };
        let mut kept = Kept {
            client,
            reader: None,
            end: 1,
            is_whole,
            trouble: None,
        };
        if let Some(folder) = &places.history {
            let reader = Reader::open(folder);
            match reader.and_then(|mut reader| Ok((reader.end()?, reader))) {
                Ok((end, reader)) => (kept.end, kept.reader) = (end, Some(reader)),
                Err(error) if kept.client.is_err() => return Err(error.into()),
                Err(error) => kept.trouble = Some(format!("{:#}", anyhow::Error::from(error))),
            }
        }
        match kept.client {
            Err(error) if kept.end == 1 => Err(error.into()),
            _ => Ok(kept),
        }
    }
}

/// What there is of the past.
#[derive(Debug)]
pub struct Kept {
    /// The daemon, or why it does not answer.
    pub client: Result<Client, ClientError>,
    /// The history, where there is one.
    pub reader: Option<Reader>,
    /// The number of the first record that is not in it.
    pub end: u64,
    /// The daemon has nothing more that it should have.
    pub is_whole: bool,
    trouble: Option<String>,
}

impl Kept {
    /// Tells what was in the way of seeing all.
    ///
    /// # Errors
    /// `errors` cannot be written.
    pub fn tell(&self, errors: &mut dyn Write) -> std::io::Result<()> {
        if let Err(error) = &self.client {
            writeln!(errors, "muzzle: {error}; this is what was kept")?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(errors, "muzzle: {trouble}")?;
        }
        for path in self.reader.iter().flat_map(Reader::damaged) {
            writeln!(
                errors,
                "muzzle: {} is damaged; what could be read of it was read",
                path.display()
            )?;
        }
        Ok(())
    }
}

/// Which records are asked for.
#[derive(Debug, clap::Args)]
pub struct QueryArgs {
    /// Only those of this app, by its package name.
    #[arg(long, value_name = "PACKAGE")]
    app: Option<String>,
    /// Only those of this name (*.NAME: and of all below it), or of this address without a name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only what was decided so.
    #[arg(long, value_name = "ACTION")]
    action: Option<ActionArg>,
    /// Only from then on: so long ago, as in 10m, 2h or 7d, or a date, as in 2026-11-20 or
    /// 2026-11-20T08:30.
    #[arg(long, value_name = "WHEN", value_parser = When::from_text)]
    since: Option<When>,
    /// Only before then.
    #[arg(long, value_name = "WHEN", value_parser = When::from_text)]
    until: Option<When>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ActionArg {
    Allow,
    Log,
    Block,
}

impl QueryArgs {
    /// Whether a time is named.
    #[must_use]
    pub const fn has_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// The query.
    ///
    /// # Errors
    /// What is to be a name is none.
    pub fn query(&self) -> Result<Query, UsageError> {
        let now = clock::unix_millis();
        let name = self.name.as_deref().map(|text| {
            NameFilter::from_text(text).map_err(|error| UsageError(format!("{text}: {error}")))
        });
        let outcomes = match self.action {
            None => vec![],
            Some(ActionArg::Allow) => vec![Outcome::Allowed],
            Some(ActionArg::Log) => vec![Outcome::Logged],
            Some(ActionArg::Block) => vec![Outcome::Blocked, Outcome::WouldBlock],
        };
        Ok(Query {
            app: self.app.clone(),
            name: name.transpose()?,
            outcomes,
            since_millis: self.since.map(|when| when.millis(now)),
            until_millis: self.until.map(|when| when.millis(now)),
            from_number: 0,
        })
    }
}
