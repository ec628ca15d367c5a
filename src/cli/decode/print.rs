//! An upload in words, or as JSON.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::cli::time::local;
use crate::decode::{Content, Event, Field, Request, System, Upload, printable};

/// Characters of one value that are shown to people; JSON has all.
const MAX_SHOWN_CHARS: usize = 300;

pub(super) const IDENTIFYING: Style = Style::new()
    .fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)))
    .bold();
pub(super) const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// An upload as people read it.
pub(super) fn print(
    number: u64,
    request: &Request,
    upload: &Upload,
    out: &mut dyn Write,
) -> io::Result<()> {
    let system = upload.system.as_str();
    write!(out, "{BOLD}Upload {number}: {system}{BOLD:#}")?;
    if !request.method.is_empty() {
        let (method, target) = (shown(&request.method), shown(&request.target()));
        write!(out, ", {method} {target}")?;
    }
    writeln!(out)?;
    let captured = request.unix_millis.and_then(|at| i64::try_from(at).ok());
    if let Some(millis) = captured {
        let by = request
            .app
            .as_deref()
            .map(|app| format!(" by {}", shown(app)));
        writeln!(
            out,
            "  sent {}{}",
            local_time(millis),
            by.unwrap_or_default()
        )?;
    }
    writeln!(out, "  {}", upload.mode)?;
    for field in &upload.fields {
        print_field("  ", field, out)?;
    }
    match &upload.content {
        Content::Encrypted(needed) => writeln!(out, "  Not readable without {needed}.")?,
        Content::Damaged(problem) => writeln!(out, "  Damaged: {}.", shown(problem))?,
        Content::Events { events, left_out } => {
            for event in events {
                print_event(event, out)?;
            }
            if *left_out > 0 {
                writeln!(out, "  {left_out} more events are left out")?;
            }
        }
    }
    writeln!(out)
}

fn print_event(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    let time = event.unix_millis.map(local_time).unwrap_or_default();
    let kind = match &event.kind {
        kind if *kind == event.name => String::new(),
        kind => format!(" ({})", shown(kind)),
    };
    writeln!(
        out,
        "  {DIM}{time:<23}{DIM:#}  {BOLD}{}{BOLD:#}{kind}",
        shown(&event.name)
    )?;
    // What identifies first.
    let (telling, others): (Vec<_>, Vec<_>) = event
        .fields
        .iter()
        .partition(|field| field.identity.is_some());
    for field in telling.into_iter().chain(others) {
        print_field("    ", field, out)?;
    }
    Ok(())
}

fn print_field(indent: &str, field: &Field, out: &mut dyn Write) -> io::Result<()> {
    let (name, value) = (shown(&field.name), shown(&field.value));
    match field.identity {
        Some(identity) => writeln!(
            out,
            "{indent}{IDENTIFYING}! {name:<26} {value}{IDENTIFYING:#}  {DIM}<- {}{DIM:#}",
            identity.as_str()
        ),
        None => writeln!(out, "{indent}  {name:<26} {value}"),
    }
}

/// Foreign text for a terminal, cut where it is long.
pub(super) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    match chars.count() {
        0 => printable(&start),
        more => format!("{}\u{2026} ({more} more characters)", printable(&start)),
    }
}

/// Date and time of day in the machine's own zone.
fn local_time(unix_millis: i64) -> String {
    local(unix_millis, "%Y-%m-%d %H:%M:%S%.3f")
}

/// RFC 3339, in UTC.
fn utc(unix_millis: i64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(unix_millis).ok()?;
    Some(format!("{time:.3}"))
}

/// An upload as other programs read it. What is not known is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    time: Option<String>,
    app: Option<&'a str>,
    method: Option<&'a str>,
    to: Option<String>,
    system: System,
    mode: &'a str,
    status: &'static str,
    /// What is wrong, or what would be needed.
    why: Option<&'a str>,
    fields: &'a [Field],
    events: Vec<EventLine<'a>>,
    events_left_out: usize,
}

#[derive(Debug, Serialize)]
struct EventLine<'a> {
    name: &'a str,
    kind: &'a str,
    time: Option<String>,
    identifying: Vec<&'a Field>,
    event: &'a serde_json::Value,
}

impl<'a> Line<'a> {
    pub(super) fn new(request: &'a Request, upload: &'a Upload) -> Self {
        let known = |text: &'a str| (!text.is_empty()).then_some(text);
        let (status, why, events, left_out) = match &upload.content {
            Content::Events { events, left_out } => ("decoded", None, &events[..], *left_out),
            Content::Encrypted(needed) => ("encrypted", Some(*needed), &[][..], 0),
            Content::Damaged(problem) => ("damaged", Some(problem.as_str()), &[][..], 0),
        };
        let captured = request.unix_millis.and_then(|at| i64::try_from(at).ok());
        Self {
            time: captured.and_then(utc),
            app: request.app.as_deref(),
            method: known(&request.method),
            to: Some(request.target()).filter(|it| !it.is_empty()),
            system: upload.system,
            mode: &upload.mode,
            status,
            why,
            fields: &upload.fields,
            events: events.iter().map(EventLine::new).collect(),
            events_left_out: left_out,
        }
    }
}

impl<'a> EventLine<'a> {
    fn new(event: &'a Event) -> Self {
        let fields = event.fields.iter();
        Self {
            name: &event.name,
            kind: &event.kind,
            time: event.unix_millis.and_then(utc),
            identifying: fields.filter(|field| field.identity.is_some()).collect(),
            event: &event.whole,
        }
    }
}
