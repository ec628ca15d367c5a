//! `muzzle reload`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::live::SocketArgs;
use crate::control::client::ClientError;
use crate::control::protocol::{Body, Call};

/// Arguments of `muzzle reload`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The daemon keeps the rules it has when the file is wrong, and says why."
)]
pub struct Args {
    #[command(flatten)]
    socket: SocketArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The daemon cannot be reached, or it keeps its old rules because the files are wrong.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let body = match args.socket.ask(config, Call::Reload) {
        Ok(body) => body,
        Err(error) => match error.downcast_ref() {
            Some(&ClientError::Off(pid)) => try_again(pid)?,
            _ => return Err(error),
        },
    };
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&body)?)?;
    } else if let Body::Done(message) = body {
        writeln!(out, "{message}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A supervisor whose worker is off starts it anew when it gets SIGHUP.
fn try_again(pid: u32) -> anyhow::Result<Body> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    kill(pid, Signal::SIGHUP).context("cannot reach the daemon")?;
    Ok(Body::Done(
        "Muzzle was off and tries again; `muzzle status` says how it went".into(),
    ))
}
