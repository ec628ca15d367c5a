//! `muzzle top`: who and what is the most active.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::catalogue::words;
use super::live::SocketArgs;
use super::past::{self, Since};
use super::terminal;
use crate::report::Tally;
use crate::report::text::{Dimension, Order, table, top};

/// Arguments of `muzzle top`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle top                       the names that were refused most, of the last 7 days
  muzzle top apps --since 24h      who sends most
  muzzle top regions               where it was to go
  muzzle top --by retries          what does not give up, and costs battery")]
pub struct Args {
    /// What to compare: apps, names, systems or regions
    #[arg(value_name = "WHAT", default_value = "names", value_parser = words(Dimension::WORDS))]
    what: Dimension,
    #[command(flatten)]
    since: Since,
    /// What comes first: refused, passed, tries or retries (how often an hour something that was
    /// refused is tried again)
    #[arg(long, value_name = "ORDER", default_value = "refused", value_parser = words(Order::WORDS))]
    by: Order,
    /// How many lines
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    count: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// The config is wrong, or the history cannot be read.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let catalogue = past::catalogue(config)?;
    let window = args.since.window();
    let mut tally = Tally::new(&catalogue, window.clone());
    let mut kept = args.socket.kept(config)?;
    past::rows(&mut kept, &window, |row| tally.add(row))?;
    kept.tell(errors)?;
    let summary = tally.finish();
    let lines = top(&summary, args.what, args.by, args.count);
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&lines)?)?;
    } else if lines.is_empty() {
        writeln!(out, "nothing of that in the last {}", window.length())?;
    } else {
        out.write_all(table(&lines, args.by, terminal::canvas()).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
