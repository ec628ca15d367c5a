//! Something broke: which of the blocks just before could explain it? A score from what is known of
//! each, with its reasons, so that people can judge for themselves.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::escape::shell_word;
use super::summary::is_concrete;
use crate::catalogue::{Catalogue, Category, Confidence, Endpoint};
use crate::decide::Outcome;
use crate::record::Record;

/// Most blocked names, each with an app, that are told apart.
const MAX_SUSPECTS: usize = 4096;
/// Tries in the window from which an app insists.
const INSISTS: u64 = 3;

/// A block that could explain it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// The name that was refused; where there is none, the far end's address.
    pub target: String,
    /// Who was refused, in words.
    pub sender: String,
    /// The newest record of it, for `muzzle explain`.
    pub number: u64,
    /// When it was refused last, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// Decisions in the window that refused it.
    pub decisions: u64,
    /// The greater, the likelier; only to be compared.
    pub score: i32,
    /// What made the score, the weightiest first.
    pub reasons: Vec<String>,
    /// The command that allows it for ten minutes, to see whether that helps.
    pub command: String,
}

/// Gathers blocks, and what was blocked before.
#[derive(Debug)]
pub struct Suspects<'a> {
    catalogue: &'a Catalogue,
    since_unix_millis: u64,
    /// The app that misbehaves, where the user has named it.
    app: Option<&'a str>,
    before: HashSet<(String, String)>,
    blocks: HashMap<(String, String), (Record, u64)>,
}

impl<'a> Suspects<'a> {
    /// Blocks since then, in milliseconds since 1970-01-01 UTC, with `app` as the app that does not
    /// work right.
    #[must_use]
    pub fn new(catalogue: &'a Catalogue, since_unix_millis: u64, app: Option<&'a str>) -> Self {
        Self {
            catalogue,
            since_unix_millis,
            app,
            before: HashSet::new(),
            blocks: HashMap::new(),
        }
    }

    /// Takes a record. Those from before the window only tell what was refused already while all
    /// was well.
    pub fn add(&mut self, record: &Record) {
        if record.outcome != Outcome::Blocked {
            return;
        }
        let key = (target(record), record.sender().into_owned());
        if record.unix_millis < self.since_unix_millis {
            if self.before.len() < MAX_SUSPECTS {
                self.before.insert(key);
            }
        } else if let Some((newest, count)) = self.blocks.get_mut(&key) {
            *count += 1;
            if newest.unix_millis <= record.unix_millis {
                *newest = record.clone();
            }
        } else if self.blocks.len() < MAX_SUSPECTS {
            self.blocks.insert(key, (record.clone(), 1));
        }
    }

    /// The blocks, the likeliest cause first.
    #[must_use]
    pub fn ranked(self) -> Vec<Suspect> {
        let mut suspects: Vec<_> = self
            .blocks
            .iter()
            .map(|(key, (record, count))| {
                self.suspect(record, *count, self.before.contains(key))
            })
            .collect();
        suspects.sort_by(|a, b| {
            (b.score, b.unix_millis, &a.target).cmp(&(a.score, a.unix_millis, &b.target))
        });
        suspects
    }

    fn suspect(&self, record: &Record, count: u64, was_before: bool) -> Suspect {
        let endpoint = self.endpoint(record);
        let mut clues = Vec::new();
        if let Some(wanted) = self.app
            && record.app.as_deref().is_some_and(|app| is_of(app, wanted))
        {
            clues.push((40, format!("it is {wanted} that was refused")));
        }
        match (record.rule, record.category) {
            (Some(rule), _) => clues.push((35, format!("your own rule {rule} blocks it"))),
            (None, Some(category)) => clues.push(by_category(category)),
            (None, None) => clues.push((30, record.reason.clone())),
        }
        let breaks = record
            .breaks
            .as_deref()
            .or_else(|| Some(&*endpoint?.breaks));
        match breaks.filter(|breaks| is_concrete(breaks)) {
            Some(breaks) if breaks.contains("(inferred)") => {
                clues.push((15, format!("may break: {breaks}")));
            }
            Some(breaks) => clues.push((30, format!("known to break: {breaks}"))),
            None => {}
        }
        match endpoint.map(|it| it.confidence) {
            Some(Confidence::Low) => {
                clues.push((10, "the catalogue is not sure what it is".to_owned()));
            }
            Some(Confidence::Medium) => clues.push((5, String::new())),
            _ => {}
        }
        if was_before {
            clues.push((-15, "it was refused before that, too".to_owned()));
        } else {
            clues.push((
                10,
                "it was not refused before, as far as is kept".to_owned(),
            ));
        }
        if count >= INSISTS {
            clues.push((8, format!("refused {count} times")));
        }
        clues.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Suspect {
            target: target(record),
            sender: record.sender().into_owned(),
            number: record.number,
            unix_millis: record.unix_millis,
            decisions: count,
            score: clues.iter().map(|(weight, _)| weight).sum(),
            reasons: clues
                .into_iter()
                .map(|(_, reason)| reason)
                .filter(|reason| !reason.is_empty())
                .collect(),
            command: allow_command(record, Some("10m")),
        }
    }

    fn endpoint(&self, record: &Record) -> Option<&'a Endpoint> {
        let entry = record.entry.as_deref()?;
        let mut endpoints = self.catalogue.endpoints.iter();
        endpoints.find(|it| it.pattern.to_string() == entry)
    }
}

/// The command that allows what `record` is about, for `length` or for good.
#[must_use]
pub fn allow_command(record: &Record, length: Option<&str>) -> String {
    let mut command = format!("muzzle allow {}", shell_word(&target(record)));
    if let Some(app) = record.app.as_deref().and_then(package) {
        command.push_str(&format!(" --app {}", shell_word(app)));
    }
    if let Some(length) = length {
        command.push_str(&format!(" --for {length}"));
    }
    command
}

/// What a record is about: its name, or else the far end's address.
#[must_use]
pub fn target(record: &Record) -> String {
    match &record.name {
        Some(name) => name.clone(),
        None => record.remote.ip().to_string(),
    }
}

/// The first package of an app's label; none for what stands for no package, as `root` does.
fn package(label: &str) -> Option<&str> {
    let first = label.split([',', ' ']).next()?;
    first.contains('.').then_some(first)
}

fn is_of(label: &str, package: &str) -> bool {
    label.split([',', ' ']).any(|word| word == package)
}

/// How likely users are to miss what is behind an endpoint, and why.
fn by_category(category: Category) -> (i32, String) {
    let (weight, reason) = match category {
        Category::Essential => (60, "the phone needs it to work right"),
        Category::Functional => (50, "a feature that users see"),
        Category::Cloud => (50, "the user's cloud data"),
        Category::Push => (45, "push messages"),
        Category::Ota => (40, "updates"),
        Category::Config => (25, "apps read their settings there"),
        Category::Httpdns => (20, "apps look up other names there"),
        Category::EncryptedDns => (20, "names are looked up there"),
        Category::Ads => (10, "advertising, which some pages wait for"),
        Category::Crash => (3, "crash reports, which nobody misses"),
        Category::Telemetry => (0, "telemetry, which nobody misses"),
    };
    (weight, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, name: &str, app: &str) -> Record {
        let app = Some(app).filter(|app| !app.is_empty());
        let record = serde_json::json!({
            "number": number,
            "unix_millis": 1_000_000 + number * 1000,
            "outcome": "blocked",
            "name": name,
            "evidence": "sni",
            "app": app,
            "protocol": "tcp",
            "local": "10.0.0.2:40000",
            "remote": "192.0.2.1:443",
            "reason": "catalogue",
            "category": "telemetry",
            "breaks": "nothing reported",
        });
        serde_json::from_value(record).unwrap()
    }

    fn ranked(records: &[Record], app: Option<&str>) -> Vec<String> {
        let catalogue = Catalogue::default();
        let mut suspects = Suspects::new(&catalogue, 1_000_000, app);
        records.iter().for_each(|it| suspects.add(it));
        suspects.ranked().into_iter().map(|it| it.target).collect()
    }

    #[test]
    fn what_people_would_miss_comes_before_telemetry() {
        let mut config = record(1, "config.test", "com.a");
        config.category = Some(Category::Config);
        let mut broken = record(2, "broken.test", "com.a");
        broken.breaks = Some("themes do not load".to_owned());
        let mut own = record(3, "own.test", "com.a");
        (own.rule, own.category, own.breaks) = (Some(2), None, None);
        let telemetry = record(4, "telemetry.test", "com.a");
        let records = [telemetry, config, broken, own];
        assert_eq!(
            ranked(&records, None),
            ["own.test", "broken.test", "config.test", "telemetry.test"]
        );
    }

    #[test]
    fn the_app_in_front_and_what_is_new_weigh_more() {
        let mut before = record(1, "old.test", "com.a");
        before.unix_millis = 10;
        let records = [
            before,
            record(2, "old.test", "com.a"),
            record(3, "new.test", "com.a"),
            record(4, "other.test", "com.b"),
        ];
        assert_eq!(
            ranked(&records, None),
            ["other.test", "new.test", "old.test"]
        );
        assert_eq!(
            ranked(&records, Some("com.a")),
            ["new.test", "old.test", "other.test"]
        );
    }

    #[test]
    fn each_comes_with_the_command_that_allows_it() {
        let command = |name, app| allow_command(&record(1, name, app), Some("10m"));
        assert_eq!(
            command("a.test", "com.a, com.b (shared uid 10200)"),
            "muzzle allow a.test --app com.a --for 10m"
        );
        assert_eq!(command("a.test", "root"), "muzzle allow a.test --for 10m");
        assert_eq!(
            command("$(reboot).test", "com.a';reboot'"),
            r"muzzle allow '$(reboot).test' --app 'com.a'\'';reboot'\''' --for 10m"
        );
        let mut unnamed = record(1, "", "");
        unnamed.name = None;
        assert_eq!(allow_command(&unnamed, None), "muzzle allow 192.0.2.1");
    }

    #[test]
    fn what_passed_is_no_suspect() {
        let mut passed = record(1, "a.test", "com.a");
        passed.outcome = Outcome::WouldBlock;
        assert!(ranked(&[passed], None).is_empty());
    }
}
