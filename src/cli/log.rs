//! `muzzle log`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::live::SocketArgs;
use crate::catalogue::{Category, word};
use crate::control::protocol::{Body, Call};
use crate::decide::{Outcome, Protocol};
use crate::record::{EvidenceKind, Record};

/// Arguments of `muzzle log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle log --follow          watch what the phone sends
  muzzle log --recent 20       the last 20 decisions
  muzzle log --json | jq .     for other programs: one JSON object a line")]
pub struct Args {
    #[command(flatten)]
    socket: SocketArgs,
    /// Go on with each new record until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Begin with this many of the newest records; all that are kept where it is not given.
    #[arg(long, value_name = "COUNT")]
    recent: Option<usize>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The daemon cannot be reached or went away.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let recent = args.recent.unwrap_or(usize::MAX);
    let mut client = args.socket.call(
        config,
        Call::Log {
            recent,
            follow: args.follow,
        },
    )?;
    while let Some(body) = client.reply()? {
        match body {
            Body::Record(record) if args.json => {
                writeln!(out, "{}", serde_json::to_string(&record)?)?;
            }
            Body::Record(record) => writeln!(out, "{}", line(&record))?,
            Body::Missed(count) => {
                writeln!(
                    out,
                    "... {count} records were left out: this terminal is too slow"
                )?;
            }
            Body::Done(_) => return Ok(ExitCode::SUCCESS),
            Body::Status(_) | Body::Changed(_) | Body::Error(_) => {}
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
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
    let rest = rest.trim_end();
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

/// Time of day in the machine's own zone.
fn local_time(unix_millis: u64) -> String {
    local(
        i64::try_from(unix_millis).unwrap_or(i64::MAX),
        "%H:%M:%S%.3f",
    )
}

/// A time in the machine's own zone, in this form of strftime; the number where it is beyond all
/// calendars.
pub(super) fn local(unix_millis: i64, form: &str) -> String {
    jiff::Timestamp::from_millisecond(unix_millis).map_or_else(
        |_| unix_millis.to_string(),
        |time| {
            let zoned = time.to_zoned(jiff::tz::TimeZone::system());
            zoned.strftime(form).to_string()
        },
    )
}
