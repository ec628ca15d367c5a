//! `muzzle explain N`: all there is to say of one record.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::check::{print_entry, print_sources};
use super::live::SocketArgs;
use super::log::{self, outcome_style};
use super::past;
use crate::catalogue::{Backlog, Endpoint, backlog};
use crate::decide::{AttributionSource, Outcome, Protocol};
use crate::history::{NameFilter, Query};
use crate::inspect::CheckedEntry;
use crate::record::{EvidenceKind, Record};
use crate::report::suspects::{allow_command, target};
use crate::report::{Plain, Window, region, shell_word};

/// How far back the question that told an address is looked for.
const QUESTION_MILLIS: u64 = 3_600_000;

/// The record is found, and what follows need not be read.
#[derive(Debug, thiserror::Error)]
#[error("found")]
struct Enough;

/// Arguments of `muzzle explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The number is the one of `muzzle log --json` and `muzzle suspects`.")]
pub struct Args {
    /// The record's number
    number: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// A record, and what can be found out about it.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The record.
    pub record: &'a Record,
    /// The newest DNS question for the same name before it.
    pub question: Option<&'a Record>,
    /// What the catalogue says of its entry today.
    pub endpoint: Option<&'a Endpoint>,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such record, the config is wrong, or neither history nor daemon can be read.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let catalogue = past::catalogue(config)?;
    let mut kept = args.socket.kept(config)?;
    let mut found = None;
    let query = Query {
        from_number: args.number,
        ..Query::default()
    };
    let read = log::past(&mut kept, &query, usize::MAX, &mut |record| {
        found = (record.number == args.number).then(|| record.clone());
        Err(Enough.into())
    });
    read.map(|_| ())
        .or_else(|error| error.downcast().map(|Enough| ()))?;
    kept.tell(errors)?;
    let Some(record) = found else {
        let number = args.number;
        anyhow::bail!(
            "there is no record {number}, or not any more: `muzzle log --json` shows the numbers"
        );
    };
    let mut question = None;
    if let Some(name) = &record.name
        && !matches!(record.evidence, EvidenceKind::Dns)
    {
        let query = Query {
            name: Some(NameFilter::Exact(name.clone())),
            since_millis: Some(record.unix_millis.saturating_sub(QUESTION_MILLIS)),
            until_millis: Some(record.unix_millis.saturating_add(1)),
            ..Query::default()
        };
        log::past(&mut kept, &query, usize::MAX, &mut |it| {
            if it.evidence == EvidenceKind::Dns && it.number < record.number {
                question = Some(it.clone());
            }
            Ok(())
        })?;
    }
    let entry = record.entry.as_deref();
    let mut endpoints = catalogue.endpoints.iter();
    let explained = Explained {
        record: &record,
        question: question.as_ref(),
        endpoint: entry.and_then(|entry| endpoints.find(|it| it.pattern.to_string() == entry)),
    };
    if args.json {
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&explained.to_json())?
        )?;
    } else {
        out.write_all(
            explained
                .text(&past::window(std::time::Duration::MAX))
                .as_bytes(),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Explained<'_> {
    /// As people read it, in the zone of `window`.
    #[must_use]
    pub fn text(&self, window: &Window) -> String {
        let record = self.record;
        let mut out = String::new();
        let (style, outcome) = outcome_style(record.outcome);
        let target = target(record);
        let _ = writeln!(out, "{}: {style}{outcome}{style:#}", Plain(&target));
        let mut say = |label: &str, text: &str| {
            let _ = writeln!(out, "  {label:<8} {}", Plain(text));
        };
        say(
            "when",
            &format!(
                "{} (record {})",
                window.moment(record.unix_millis),
                record.number
            ),
        );
        let sender = record.sender();
        match record.uid {
            Some(uid) => {
                let known = known_by(record.attribution);
                say("app", &format!("{sender}, user id {uid} ({known})"));
            }
            None => say("app", &sender),
        }
        say("seen", &seen(record));
        match &record.asked {
            Some(asked) if record.evidence == EvidenceKind::Alias => {
                say("asked", &format!("{asked}, of which {target} is an alias"));
            }
            Some(asked) => say("asked", &format!("{asked} before, which was refused")),
            None => {}
        }
        self.say_address(&mut say);
        say("why", &record.reason);
        if let Some(owner) = &record.owner {
            let system = record.system.as_deref().unwrap_or_default();
            let place = record.region.as_deref().map_or("", region::name);
            say("what", &format!("{system} of {owner}, {place}"));
        }
        let mut entry = Vec::new();
        match self.endpoint {
            Some(endpoint) => {
                // Into memory, where nothing fails.
                let endpoint = CheckedEntry::new(endpoint);
                let _written = print_entry(&endpoint, &mut entry)
                    .and_then(|()| print_sources(&endpoint, &mut entry));
                out.push_str(&String::from_utf8_lossy(&entry));
            }
            None => {
                if let Some(breaks) = &record.breaks {
                    let _ = writeln!(out, "  breaks   {}", Plain(breaks));
                }
            }
        }
        if let Some(it) = self.backlog() {
            let _ = writeln!(
                out,
                "  delayed  {} keeps {}; it sends that once it can\n  source   {}",
                it.library, it.keeps, it.source
            );
        }
        for (label, command) in self.commands() {
            let _ = writeln!(out, "  {label:<8} {command}");
        }
        out
    }

    /// How the app came by the address.
    fn say_address(&self, say: &mut impl FnMut(&str, &str)) {
        let record = self.record;
        if let Some(question) = self.question {
            let before = record.unix_millis.saturating_sub(question.unix_millis);
            let app = question.sender();
            let outcome = question.outcome.as_str();
            say(
                "address",
                &format!(
                    "asked for by {app} {} before (record {}, {outcome})",
                    length(before),
                    question.number
                ),
            );
        } else if matches!(record.evidence, EvidenceKind::Sni | EvidenceKind::Host) {
            say(
                "address",
                "not asked for in the hour before: known for longer, or from elsewhere",
            );
        }
        if !record.resolved_from.is_empty() {
            let names = record.resolved_from.join(", ");
            say(
                "address",
                &format!("the phone was told it for {names}; it may be another's too"),
            );
        }
    }

    fn backlog(&self) -> Option<&'static Backlog> {
        let is_refused = self.record.outcome == Outcome::Blocked;
        backlog(self.record.system.as_deref().filter(|_| is_refused)?)
    }

    /// What to do about it, each with what it is for.
    fn commands(&self) -> Vec<(&'static str, String)> {
        let record = self.record;
        match record.outcome {
            Outcome::Blocked | Outcome::WouldBlock => vec![
                ("to try", allow_command(record, Some("10m"))),
                ("to allow", allow_command(record, None)),
            ],
            Outcome::Logged | Outcome::Allowed => {
                vec![(
                    "to block",
                    format!("muzzle block {}", shell_word(&target(record))),
                )]
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let commands: serde_json::Map<_, _> = self
            .commands()
            .into_iter()
            .map(|(label, command)| (label.replace(' ', "_"), command.into()))
            .collect();
        json!({
            "record": self.record,
            "question": self.question,
            "entry": self.endpoint.map(CheckedEntry::new),
            "delayed": self.backlog(),
            "commands": commands,
        })
    }
}

/// How the app is known, in words.
const fn known_by(source: AttributionSource) -> &'static str {
    match source {
        AttributionSource::Socket => "who opened the socket",
        AttributionSource::InetDiag => "whom the system's resolver asked for",
        AttributionSource::Proc => "whom the system's resolver asked for, by /proc/net",
        AttributionSource::Shared => "several packages share it",
        AttributionSource::Unknown => "not known how",
    }
}

/// Where it was seen, in words.
fn seen(record: &Record) -> String {
    let qtype = record.qtype.as_deref().unwrap_or("any");
    let (ip, port) = (record.remote.ip(), record.remote.port());
    let what = match record.evidence {
        EvidenceKind::Dns => return format!("a DNS question ({qtype}) to {ip}"),
        EvidenceKind::Alias => {
            return format!("the answer to a DNS question ({qtype}), from {ip}");
        }
        EvidenceKind::Sni if record.protocol == Protocol::Udp => {
            "the hello of a QUIC connection"
        }
        EvidenceKind::Sni => "the hello of a TLS connection",
        EvidenceKind::Host => "an HTTP request",
        EvidenceKind::Unnamed => "a connection whose beginning names no host",
        EvidenceKind::Syn => "the first packet of a connection",
        EvidenceKind::Datagram => "a UDP datagram",
        EvidenceKind::Open => "a connection that was open before the rules",
    };
    format!("{what} to {ip} port {port}")
}

fn length(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{} s", millis / 1000),
        _ => format!("{} minutes", millis / 60_000),
    }
}
