//! `muzzle suspects`: something broke; which blocks could explain it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::live::SocketArgs;
use super::{duration, log, past, terminal};
use crate::clock;
use crate::decide::Outcome;
use crate::history::Query;
use crate::report::text::wrap;
use crate::report::words::counted;
use crate::report::{Plain, Suspect, Suspects, Window};

/// How much longer than the window itself is looked at, to tell what was refused all along.
const BEFORE: Duration = Duration::from_secs(86_400);

/// Arguments of `muzzle suspects`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle suspects                               after something did not work
  muzzle suspects --app com.android.thememanager
  muzzle suspects --since 1h")]
pub struct Args {
    /// How far back to look, as in 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10m")]
    since: Duration,
    /// The app that does not work right
    #[arg(long, value_name = "PACKAGE")]
    app: Option<String>,
    /// How many to show
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
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
/// The config is wrong, or neither history nor daemon can be read.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let catalogue = past::catalogue(config)?;
    let now = clock::unix_millis();
    let ago = |length: Duration| {
        now.saturating_sub(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    };
    let mut suspects = Suspects::new(&catalogue, ago(args.since), args.app.as_deref());
    let query = Query {
        outcomes: vec![Outcome::Blocked],
        since_millis: Some(ago(args.since.saturating_add(BEFORE))),
        ..Query::default()
    };
    let mut kept = args.socket.kept(config)?;
    log::past(&mut kept, &query, usize::MAX, &mut |record| {
        suspects.add(record);
        Ok(())
    })?;
    kept.tell(errors)?;
    let ranked = suspects.ranked();
    if args.json {
        let shown = ranked.iter().take(args.count).collect::<Vec<_>>();
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    } else {
        let page = page(
            &ranked,
            args.count,
            &past::window(args.since),
            terminal::canvas().columns,
        );
        out.write_all(page.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The suspects as people read them.
#[must_use]
pub fn page(ranked: &[Suspect], most: usize, window: &Window, columns: usize) -> String {
    let mut out = String::new();
    let period = window.length();
    if ranked.is_empty() {
        let text = format!(
            "Nothing was blocked in the last {period}: what broke has another cause. Look further \
             back with --since 1h, or do again what failed and ask once more."
        );
        wrap(&text, columns, "", Style::new(), &mut out);
        return out;
    }
    let blocks = counted(ranked.len() as u64, "block", "blocks");
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    let green = Style::new().fg_color(Some(AnsiColor::Green.into()));
    let text = format!("{blocks} in the last {period} could explain it, the likeliest first:");
    wrap(&text, columns, "", Style::new(), &mut out);
    for (index, suspect) in ranked.iter().take(most).enumerate() {
        let time = window.moment(suspect.unix_millis);
        let target = Plain(&suspect.target);
        out.push_str(&format!("\n{bold}{}. {target}{bold:#}\n", index + 1));
        let who = format!(
            "{}, {time}; muzzle explain {}",
            Plain(&suspect.sender),
            suspect.number
        );
        wrap(&who, columns, "   ", dim, &mut out);
        let reasons = Plain(&suspect.reasons.join("; ")).to_string();
        wrap(&reasons, columns, "   ", Style::new(), &mut out);
        out.push_str(&format!("   {green}{}{green:#}\n", suspect.command));
    }
    if ranked.len() > most {
        out.push_str(&format!(
            "\n{dim}and {} more: --count{dim:#}\n",
            ranked.len() - most
        ));
    }
    out.push('\n');
    let text = "Allow the first, try again, and go on with the next where that did not help. \
                `muzzle undo` takes the last one back; `muzzle pause 10m` lets everything pass.";
    wrap(text, columns, "", dim, &mut out);
    out
}
