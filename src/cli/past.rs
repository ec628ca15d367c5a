//! What the subcommands share that look back: how far, and what was counted.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::live::Kept;
use super::{duration, log};
use crate::catalogue::Catalogue;
use crate::clock;
use crate::config::Config;
use crate::history::{Row, UnixHours};
use crate::record::Record;
use crate::report::Window;
use crate::report::suspects::target;

/// Decisions on the same that are at most so far apart are one try, as in the history.
const TRY_MILLIS: u64 = 1000;

/// How far back to look.
#[derive(Debug, clap::Args)]
pub struct Since {
    /// How far back to look, as in 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "7d")]
    since: Duration,
}

impl Since {
    /// The time from then until now, in the machine's own zone.
    #[must_use]
    pub fn window(&self) -> Window {
        window(self.since)
    }
}

/// The last `length`, in the machine's own zone.
#[must_use]
pub fn window(length: Duration) -> Window {
    let now = i64::try_from(clock::unix_millis() / 1000).unwrap_or(i64::MAX);
    let length = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    Window::new(now, length, jiff::tz::TimeZone::system())
}

/// Hands the counts of the hours in `window` to `each`, in the order of their hours; what the
/// daemon has in memory only is among them.
///
/// # Errors
/// The history cannot be read, or the daemon hung up.
pub fn rows(
    kept: &mut Kept,
    window: &Window,
    mut each: impl FnMut(&Row),
) -> anyhow::Result<()> {
    if let Some(reader) = &mut kept.reader {
        let (since, until) = window.unix_hours();
        reader.rows(since, until, |row| {
            each(&row);
            Ok::<_, anyhow::Error>(())
        })?;
    }
    if let (false, Ok(client)) = (kept.is_whole, &mut kept.client) {
        let mut last = HashMap::new();
        for record in log::in_memory(client)? {
            if record.number >= kept.end {
                each(&row(&record, &mut last));
            }
        }
    }
    Ok(())
}

/// What is counted as the same.
type Key = (Option<String>, String, crate::decide::Outcome);

/// The row of a record that is in no count yet; `last` has when each was met last.
fn row(record: &Record, last: &mut HashMap<Key, u64>) -> Row {
    let is_known = record.app.is_some() || record.client.is_some();
    let sender = is_known.then(|| record.sender().into_owned());
    let key = (sender.clone(), target(record), record.outcome);
    let before = last.insert(key, record.unix_millis);
    let is_same_try =
        before.is_some_and(|before| before.abs_diff(record.unix_millis) <= TRY_MILLIS);
    Row {
        hour: UnixHours::from_millis(record.unix_millis),
        app: sender,
        name: target(record),
        entry: record.entry.clone(),
        outcome: record.outcome,
        decisions: 1,
        tries: u64::from(!is_same_try),
    }
}

/// The catalogue that the config names, for what is known of endpoints today.
///
/// # Errors
/// The config or the catalogue is wrong.
pub fn catalogue(config: Option<&Path>) -> anyhow::Result<Catalogue> {
    let directory = Config::find(config)?.0.catalogue_directory;
    Ok(Catalogue::choose(directory.as_deref())?)
}
