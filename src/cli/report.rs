//! `muzzle report`: what happened, for people: on the terminal, or as a page to look at.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::live::SocketArgs;
use super::past::{self, Since};
use super::terminal;
use crate::report::{Tally, html, text};

/// Arguments of `muzzle report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle report                                        the last 7 days
  muzzle report --since 24h
  muzzle report --html /sdcard/Download/report.html    with pictures, for a browser
  muzzle report --no-passed --html report.html         without the names you visited")]
pub struct Args {
    #[command(flatten)]
    since: Since,
    /// Write a page with pictures that needs nothing from outside; `-` writes it to standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Leave out the names that nobody lists: they say where you went
    #[arg(long)]
    no_passed: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    json: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// The config is wrong, the history cannot be read, or the page cannot be written.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let catalogue = past::catalogue(config)?;
    let window = args.since.window();
    let mut tally = Tally::new(&catalogue, window.clone());
    if args.no_passed {
        tally = tally.hiding_unlisted();
    }
    let mut kept = args.socket.kept(config)?;
    past::rows(&mut kept, &window, |row| tally.add(row))?;
    kept.tell(errors)?;
    let summary = tally.finish();
    match &args.html {
        None if args.json => writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?,
        None => out.write_all(text::report(&summary, terminal::canvas()).as_bytes())?,
        Some(file) if file == Path::new("-") => {
            out.write_all(html::page(&summary).as_bytes())?
        }
        Some(file) => {
            std::fs::write(file, html::page(&summary))
                .with_context(|| format!("cannot write {}", file.display()))?;
            writeln!(out, "{} is written: open it in a browser", file.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
