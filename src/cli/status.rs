//! `muzzle status`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::live::SocketArgs;
use crate::clock;
use crate::control::protocol::{Body, Call, HistoryStatus, Status};
use crate::daemon::private_dns;
use crate::decide::{PrivateDns, UnixSeconds};

/// Arguments of `muzzle status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exits with 1 where the daemon is not running.")]
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
/// The daemon cannot be reached.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if let Body::Status(status) = args.socket.ask(config, Call::Status)? {
        let told = Told {
            status: &status,
            // Elsewhere than on Android there is no such setting.
            private_dns: private_dns::ask().ok(),
        };
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
        } else {
            print(&told, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How the daemon is, and what it cannot see.
#[derive(serde::Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: &'a Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_dns: Option<PrivateDns>,
}

fn history_in_words(history: &HistoryStatus) -> String {
    let since = history.since_unix_millis.map_or_else(String::new, |since| {
        format!(
            " since {}",
            clock::face(UnixSeconds::from_millis(since), None)
        )
    });
    let pending = match history.pending_bytes.div_ceil(1024) {
        0 => String::new(),
        kib => format!(", {kib} KiB to be written"),
    };
    format!(
        "{} records{since}, {} KiB in {}{pending}, writes in the last hour: {}",
        history.records,
        history.bytes.div_ceil(1024),
        history.folder.display(),
        history.writes_last_hour
    )
}

fn print(told: &Told<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let status = told.status;
    let state = match status.mode.as_str() {
        "observe" => "observing: nothing is blocked",
        _ => "protecting",
    };
    let paused = status.paused_until_unix_seconds.map(|until| {
        let now = UnixSeconds::from_millis(clock::unix_millis());
        let until = clock::face(UnixSeconds(until), Some(now));
        format!("paused until {until}: nothing is blocked")
    });
    let state = paused.as_deref().unwrap_or(state);
    writeln!(
        out,
        "Muzzle {} is {state} (process {})",
        status.version, status.pid
    )?;
    if status.restarts > 0 {
        writeln!(
            out,
            "restarts    {}: the worker failed; see the log",
            status.restarts
        )?;
    }
    // A later worker's first verdict says nothing about the boot.
    if let Some(millis) = status
        .first_verdict_after_boot_millis
        .filter(|_| status.restarts == 0)
    {
        let seconds = millis / 1000;
        writeln!(out, "first look  {seconds} s after the system's start")?;
    }
    writeln!(out, "preset      {}", status.preset)?;
    writeln!(out, "config      {}", status.config)?;
    writeln!(out, "endpoints   {}", status.endpoints)?;
    writeln!(out, "own rules   {}", status.rules)?;
    if status.choices > 0 {
        writeln!(out, "by command  {}", status.choices)?;
    }
    writeln!(out, "packages    {}", status.packages)?;
    if status.open_ended > 0 {
        writeln!(
            out,
            "ended       {} that were open before the rules",
            status.open_ended
        )?;
    }
    for queue in &status.queues {
        let counters = &queue.counters;
        let unseen = queue
            .passed_unseen
            .map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
        writeln!(
            out,
            "{:<11} queue {}: {} packets seen, {} passed, {} refused, {unseen} passed unseen",
            queue.purpose,
            queue.number,
            counters.packets,
            counters.passed,
            counters.dropped + counters.answered + counters.severed,
        )?;
        if counters.answers > 0 {
            writeln!(
                out,
                "{:<11} queue {}: {} answers seen, {} refused for an alias",
                "", queue.number, counters.answers, counters.answers_refused,
            )?;
        }
    }
    writeln!(out, "hotspot     {}", status.hotspot)?;
    if let Some(history) = &status.history {
        writeln!(out, "history     {}", history_in_words(history))?;
    }
    if let Some(setting) = told.private_dns {
        writeln!(out, "private DNS {setting}")?;
    }
    for warning in &status.warnings {
        writeln!(out, "warning     {warning}")?;
    }
    Ok(())
}
