//! `muzzle reload`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::live::SocketArgs;
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
    let body = args.socket.ask(config, Call::Reload)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&body)?)?;
    } else if let Body::Done(message) = body {
        writeln!(out, "{message}")?;
    }
    Ok(ExitCode::SUCCESS)
}
