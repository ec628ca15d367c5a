//! `muzzle export`

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use super::live::{QueryArgs, SocketArgs};
use super::time;
use crate::catalogue::{Category, word};
use crate::decode::{printable, printable_json};
use crate::record::Record;

/// Arguments of `muzzle export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle export --since 7d > week.csv
  muzzle export --format jsonl --app com.miui.analytics | jq .name

In CSV, a field that a spreadsheet would take for a formula has ' in front.")]
pub struct Args {
    #[command(flatten)]
    socket: SocketArgs,
    /// How to write it: a table with a line of headings, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    #[command(flatten)]
    query: QueryArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// Runs the subcommand.
///
/// # Errors
/// There is nothing to be read.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let query = args.query.query()?;
    let mut kept = args.socket.kept(config)?;
    let mut out = BufWriter::new(out);
    if args.format == Format::Csv {
        writeln!(out, "{}", COLUMNS.join(","))?;
    }
    super::log::past(&mut kept, &query, usize::MAX, &mut |record| {
        match args.format {
            Format::Csv => write_row(&mut out, record)?,
            Format::Jsonl => {
                writeln!(out, "{}", printable_json(&serde_json::to_string(record)?))?;
            }
        }
        Ok(())
    })?;
    out.flush()?;
    kept.tell(errors)?;
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [&str; 24] = [
    "number",
    "time",
    "outcome",
    "app",
    "uid",
    "attribution",
    "process",
    "client",
    "name",
    "asked",
    "evidence",
    "qtype",
    "protocol",
    "local",
    "remote",
    "resolved_from",
    "reason",
    "rule",
    "entry",
    "owner",
    "system",
    "region",
    "category",
    "breaks",
];

fn write_row(out: &mut dyn Write, record: &Record) -> std::io::Result<()> {
    let json = |value: serde_json::Result<serde_json::Value>| match value {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u32>| number.map_or_else(String::new, |it| it.to_string());
    let category = record.category.map_or("", |it| word(Category::WORDS, it));
    let fields: [String; COLUMNS.len()] = [
        record.number.to_string(),
        time::local(record.unix_millis, "%Y-%m-%dT%H:%M:%S%.3f%:z"),
        json(serde_json::to_value(record.outcome)),
        text(&record.app),
        number(record.uid),
        json(serde_json::to_value(record.attribution)),
        text(&record.process),
        record.client.map_or_else(String::new, |it| it.to_string()),
        text(&record.name),
        text(&record.asked),
        json(serde_json::to_value(record.evidence)),
        text(&record.qtype),
        json(serde_json::to_value(record.protocol)),
        record.local.to_string(),
        record.remote.to_string(),
        record.resolved_from.join(" "),
        record.reason.clone(),
        number(record.rule),
        text(&record.entry),
        text(&record.owner),
        text(&record.system),
        text(&record.region),
        category.to_owned(),
        text(&record.breaks),
    ];
    writeln!(
        out,
        "{}",
        fields.map(|field| cell(&printable(&field))).join(",")
    )
}

/// A field of CSV (RFC 4180 section 2), which no spreadsheet takes for a formula (OWASP, "CSV
/// Injection").
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_are_no_formulas() {
        for (text, wanted) in [
            ("", ""),
            ("com.example", "com.example"),
            ("a, b", "\"a, b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+2", "'=1+2"),
            ("@sum(a,b)", "\"'@sum(a,b)\""),
            ("-x.example", "'-x.example"),
        ] {
            assert_eq!(cell(text), wanted, "{text}");
        }
    }
}
