//! `muzzle log`

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};

use super::live::{Kept, QueryArgs, SocketArgs};
use super::time;
use crate::catalogue::{Category, word};
use crate::clock;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Body, Call};
use crate::decide::{Outcome, Protocol};
use crate::decode::{printable, printable_json};
use crate::history::Query;
use crate::record::{EvidenceKind, Record};

/// Records that are shown where neither their number nor a time is named.
const RECENT: usize = 1000;

/// Arguments of `muzzle log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle log --follow                    watch what the phone sends
  muzzle log --recent 20                 the last 20 decisions
  muzzle log --since 2h --action block   what was refused in the last two hours
  muzzle log --name '*.miui.com'         the newest of this name and all below it
  muzzle log --json | jq .               for other programs: one JSON object a line

It shows what was kept, also while the daemon does not run.")]
pub struct Args {
    #[command(flatten)]
    socket: SocketArgs,
    /// Go on with each new record until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Begin with this many of the newest records that are asked for; where it is not given, with
    /// 1000, or with all of the time asked for.
    #[arg(long, value_name = "COUNT")]
    recent: Option<usize>,
    #[command(flatten)]
    query: QueryArgs,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// There is nothing to be read, or the daemon went away.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let query = args.query.query()?;
    let mut out = BufWriter::new(out);
    let all = if args.query.has_time() {
        usize::MAX
    } else {
        RECENT
    };
    let mut kept = args.socket.kept(config)?;
    if let (true, Err(_)) = (args.follow, &kept.client) {
        return Err(kept
            .client
            .map_or_else(Into::into, |_| ClientError::HungUp.into()));
    }
    let show = |out: &mut dyn Write, record: &Record| -> anyhow::Result<()> {
        if args.json {
            writeln!(out, "{}", printable_json(&serde_json::to_string(record)?))?;
        } else {
            writeln!(out, "{}", line(record))?;
        }
        Ok(())
    };
    let count = args.recent.unwrap_or(all);
    let mut next = past(&mut kept, &query, count, &mut |record| {
        show(&mut out, record)
    })?;
    out.flush()?;
    kept.tell(errors)?;
    let Some(client) = kept.client.as_mut().ok().filter(|_| args.follow) else {
        return Ok(ExitCode::SUCCESS);
    };
    client.call(Call::Log {
        recent: usize::MAX,
        follow: true,
    })?;
    while let Some(body) = client.reply()? {
        match body {
            Body::Record(record) => {
                // What came before has been shown, as far as it was asked for.
                if record.number >= next && query.fits_record(&record) {
                    show(&mut out, &record)?;
                }
                next = next.max(record.number + 1);
            }
            Body::Missed(count) => {
                writeln!(
                    out,
                    "... {count} records were left out: this terminal is too slow"
                )?;
            }
            Body::Done(_) => break,
            Body::Status(_) | Body::Changed(_) | Body::Error(_) => {}
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the newest `count` records that there are so far; says what number comes next.
pub(super) fn past(
    kept: &mut Kept,
    query: &Query,
    count: usize,
    show: &mut impl FnMut(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut next = kept.end;
    let mut pending = Vec::new();
    if let (false, Ok(client)) = (kept.is_whole, &mut kept.client) {
        for record in in_memory(client)? {
            if record.number >= kept.end {
                next = next.max(record.number + 1);
                pending.push(record);
            }
        }
        pending.retain(|record| query.fits_record(record));
        pending.drain(..pending.len().saturating_sub(count));
    }
    if let Some(reader) = &mut kept.reader {
        let from_number = match count {
            usize::MAX => query.from_number,
            _ => reader.begin_of_newest(query, count - pending.len())?,
        };
        let query = Query {
            from_number,
            ..query.clone()
        };
        reader.records(&query, |record| show(&record.to_record()))?;
    }
    pending.iter().try_for_each(|record| show(record))?;
    Ok(next)
}

/// What the daemon has not written to its history.
pub(super) fn in_memory(client: &mut Client) -> anyhow::Result<Vec<Arc<Record>>> {
    client.call(Call::Log {
        recent: usize::MAX,
        follow: false,
    })?;
    let mut records = Vec::new();
    while let Some(Body::Record(record)) = client.reply()? {
        records.push(record);
    }
    Ok(records)
}

/// One record as people read it: when, what became of it, who, what for, why.
pub(super) fn line(record: &Record) -> String {
    let (style, outcome) = outcome_style(record.outcome);
    let time = local_time(record.unix_millis);
    let sender = record.sender();
    let target = record
        .name
        .clone()
        .unwrap_or_else(|| record.remote.to_string());
    let evidence = evidence(record);
    let rest = format!("{evidence:<9}  {}{}", context(record), why(record));
    let [sender, target, rest] = [sender.as_ref(), &target, rest.trim_end()].map(printable);
    let dim = Style::new().dimmed();
    format!(
        "{dim}{time}{dim:#}  {style}{outcome:<11}{style:#}  {sender:<24}  {target:<32}  \
         {dim}{rest}{dim:#}"
    )
}

/// What names stand behind: the one asked for, or those that the address was told for.
fn context(record: &Record) -> String {
    match (&record.asked, record.resolved_from.as_slice()) {
        (Some(asked), _) => format!("for {asked}: "),
        (None, []) => String::new(),
        (None, names) => format!("address of {} ", names.join(", ")),
    }
}

/// What the endpoint is, or else what decided; nothing where nothing is known of it.
fn why(record: &Record) -> String {
    if record.rule.is_some() || record.choice.is_some() || record.paused_until.is_some() {
        return record.reason.clone();
    }
    match (&record.system, &record.region, record.category) {
        (Some(system), Some(region), Some(category)) => {
            format!("{system}, {region} ({})", word(Category::WORDS, category))
        }
        _ => String::new(),
    }
}

/// The colour and the word of an outcome.
#[must_use]
pub fn outcome_style(outcome: Outcome) -> (Style, &'static str) {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match outcome {
        Outcome::Blocked => (colour(AnsiColor::Red).bold(), "blocked"),
        Outcome::WouldBlock => (colour(AnsiColor::Yellow).bold(), "would block"),
        Outcome::Logged => (colour(AnsiColor::Cyan), "logged"),
        Outcome::Allowed => (colour(AnsiColor::Green), "allowed"),
    }
}

fn evidence(record: &Record) -> String {
    match (record.evidence, &record.qtype) {
        (EvidenceKind::Dns, Some(qtype)) => format!("dns {qtype}"),
        (EvidenceKind::Dns, None) => "dns".into(),
        (EvidenceKind::Sni, _) if record.protocol == Protocol::Udp => "quic".into(),
        (EvidenceKind::Alias, _) => "alias".into(),
        (EvidenceKind::Sni, _) => "tls".into(),
        (EvidenceKind::Host, _) => "http".into(),
        (EvidenceKind::Unnamed, _) => "no name".into(),
        (EvidenceKind::Syn, _) => "connect".into(),
        (EvidenceKind::Datagram, _) => "udp".into(),
        (EvidenceKind::Open, _) => "open".into(),
    }
}

/// Time of day in the machine's own zone; with the date, where that is another than today's.
fn local_time(unix_millis: u64) -> String {
    let date = |millis| time::local(millis, "%Y-%m-%d");
    let is_today = date(unix_millis) == date(clock::unix_millis());
    time::local(
        unix_millis,
        if is_today {
            "%H:%M:%S%.3f"
        } else {
            "%Y-%m-%d %H:%M:%S%.3f"
        },
    )
}
