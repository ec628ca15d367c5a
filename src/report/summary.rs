//! What a tally came to, sorted for people.

use std::collections::HashMap;

use serde::Serialize;

use super::region;
use super::tally::{Pair, Sum, Tally};
use super::window::{Bar, Window};
use super::words::{count, counted, is_tracking};
use crate::catalogue::{Backlog, Catalogue, Category, Endpoint, backlog, word};

/// Refused tries an hour, in the worst hour, from which one speaks of a storm: one in two minutes.
/// A refused name is remembered for a minute, so that no client that heeds this asks more often
/// than 60 times.
pub const STORM_TRIES: u64 = 30;
/// What stands for an app that is not known.
pub const UNKNOWN_APP: &str = "unknown app";

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Who or what.
    pub label: String,
    /// Something to say of it, perhaps nothing.
    pub note: String,
    /// What it came to.
    #[serde(flatten)]
    pub sum: Sum,
}

/// A name, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named<'c> {
    /// The name, or an address.
    pub name: String,
    /// Who tried it, most tries first; empty where no app is known.
    pub apps: Vec<String>,
    /// The catalogue's entry.
    #[serde(serialize_with = "brief", rename = "entry")]
    pub endpoint: Option<&'c Endpoint>,
    /// What it came to.
    #[serde(flatten)]
    pub sum: Sum,
}

impl Named<'_> {
    /// What it is for, where from: `Mi Stat, Singapore`.
    #[must_use]
    pub fn purpose(&self) -> String {
        match self.endpoint {
            Some(it) => format!("{}, {}", it.system, region::name(&it.region)),
            None if self.sum.refused() > 0 => "own rules and settings".to_owned(),
            None => String::new(),
        }
    }
}

/// All that there is to show.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'c> {
    /// The time it is about.
    pub window: Window,
    /// Whether the history begins within that time, and what came before is not known.
    pub is_begun: bool,
    /// Everything.
    pub total: Sum,
    /// Telemetry, crash reports, advertising, what configures them, and what hides them.
    pub tracking: Sum,
    /// Whether what nothing knows was left out.
    pub hides_unlisted: bool,
    /// By app; the note says what they talk to most.
    pub apps: Vec<Line>,
    /// By system of the catalogue; the note says what they are for.
    pub systems: Vec<Line>,
    /// By region of the catalogue; the note is the region's code.
    pub regions: Vec<Line>,
    /// By name.
    pub names: Vec<Named<'c>>,
    /// By name and app, for how often it is tried again.
    pub retries: Vec<Named<'c>>,
    /// What names came to that were too many to be told apart.
    pub other_names: Sum,
    /// Bars over time, each with what was blocked, would be, was logged and was allowed.
    #[serde(serialize_with = "bars")]
    pub timeline: Vec<(Bar, [u64; 4])>,
}

impl<'c> Tally<'c> {
    /// What it came to.
    #[must_use]
    pub fn finish(self) -> Summary<'c> {
        let window = match self.first {
            Some(first) => self.window.begun(first),
            None => self.window.clone(),
        };
        let mut apps: Vec<_> = self
            .apps
            .values()
            .map(|(label, sum)| (label.as_ref(), *sum))
            .map(|(label, sum)| line(or_unknown(label), systems_of(label, &self), sum))
            .collect();
        if self.other_apps.tries() > 0 {
            apps.push(line("further apps", String::new(), self.other_apps));
        }
        let mut systems: Vec<_> = self
            .systems
            .iter()
            .map(|(system, sum)| line(system, purpose_of(system, self.catalogue), *sum))
            .collect();
        systems.push(line(
            "own rules and settings",
            String::new(),
            self.own_rules,
        ));
        let mut regions: Vec<_> = self
            .regions
            .iter()
            .map(|(code, sum)| line(region::name(code), (*code).to_owned(), *sum))
            .collect();
        for lines in [&mut apps, &mut systems, &mut regions] {
            lines.retain(|line| line.sum.tries() > 0);
            lines
                .sort_by(|a, b| by_refused(&b.sum, &a.sum).then_with(|| a.label.cmp(&b.label)));
        }
        let mut retries: Vec<_> = self
            .pairs
            .values()
            .map(|pair| named(pair, self.catalogue))
            .collect();
        retries.sort_by(|a, b| {
            let key = |it: &Named<'_>| (it.sum.retry_tenths(), it.sum.worst_hour);
            key(b)
                .cmp(&key(a))
                .then_with(|| a.name.cmp(&b.name))
                .then_with(|| a.apps.cmp(&b.apps))
        });
        let names = merged(&retries);
        retries.retain(|it| it.sum.retries > 0);
        Summary {
            is_begun: window.unix_hours() != self.window.unix_hours(),
            total: self.total,
            tracking: self.tracking,
            hides_unlisted: self.hides_unlisted,
            apps,
            systems,
            regions,
            names,
            retries,
            other_names: self.other_pairs,
            timeline: timeline(&window, &self),
            window,
        }
    }
}

impl<'c> Summary<'c> {
    /// Names that are tried again and again although they are refused.
    pub fn storms(&self) -> impl Iterator<Item = &Named<'c>> {
        let is_storm = |it: &&Named<'_>| it.sum.worst_hour >= STORM_TRIES;
        self.retries.iter().filter(is_storm)
    }

    /// Refused names whose refusal users were seen to notice, and what they noticed.
    pub fn breaking(&self) -> impl Iterator<Item = (&Named<'c>, &'c str)> {
        self.names.iter().filter_map(|it| {
            let breaks = it.endpoint?.breaks.as_str();
            (it.sum.refused() > 0 && is_concrete(breaks)).then_some((it, breaks))
        })
    }

    /// Libraries that keep what was refused and send it once they can, each with the refused tries.
    #[must_use]
    pub fn delayed(&self) -> Vec<(&'static Backlog, u64)> {
        let mut delayed: Vec<(&'static Backlog, u64)> = Vec::new();
        for line in self.systems.iter().filter(|line| line.sum.blocked > 0) {
            let Some(backlog) = backlog(&line.label) else {
                continue;
            };
            match delayed.iter_mut().find(|(other, _)| *other == backlog) {
                Some((_, tries)) => *tries += line.sum.blocked,
                None => delayed.push((backlog, line.sum.blocked)),
            }
        }
        delayed
    }

    /// Apps that tried to reach a tracker, known or not.
    #[must_use]
    pub fn refused_apps(&self) -> usize {
        self.apps
            .iter()
            .filter(|line| line.sum.refused() > 0)
            .count()
    }

    /// The one sentence that says it all; every second part is a number.
    #[must_use]
    pub fn headline(&self) -> Vec<String> {
        let tracking = &self.tracking;
        let period = if self.is_begun {
            format!("Since {}, this phone", self.window.begin())
        } else {
            format!("In the last {} this phone", self.window.length())
        };
        if self.total.tries() == 0 {
            return vec![format!(
                "{period} tried nothing that Muzzle kept a note of."
            )];
        }
        if tracking.tries() == 0 {
            return vec![format!("{period} did not try to reach a known tracker.")];
        }
        let tries = counted(tracking.tries(), "time", "times");
        let mut parts = vec![format!("{period} tried "), tries];
        parts.push(" to send telemetry or to fetch ads. ".to_owned());
        let (number, rest) = match (tracking.blocked, tracking.would_block) {
            (0, 0) => ("None".to_owned(), " of it was refused."),
            (blocked, _) if blocked == tracking.tries() => {
                ("All".to_owned(), " of these tries were refused.")
            }
            (0, would_block) => (count(would_block), " tries would have been refused."),
            (blocked, _) => (count(blocked), " of these tries were refused."),
        };
        parts.extend([number, rest.to_owned()]);
        parts
    }

    /// What makes the number of the headline felt.
    #[must_use]
    pub fn aside(&self) -> Option<String> {
        let tries = self.tracking.tries();
        // A number an hour says nothing of a few hours.
        let an_hour = match self.window.hours() {
            0..6 => 0,
            hours => tries / hours,
        };
        let mut aside = match (an_hour, tries) {
            (0, _) => String::new(),
            (1, _) => "That is once an hour, day and night.".to_owned(),
            (_, _) => format!("That is {} times an hour, day and night.", count(an_hour)),
        };
        if self.is_begun {
            aside.push_str(" Muzzle has kept no notes of what was before.");
        }
        Some(aside.trim().to_owned()).filter(|aside| !aside.is_empty())
    }
}

/// Whether the catalogue names something that users lose.
#[must_use]
pub fn is_concrete(breaks: &str) -> bool {
    !breaks.starts_with("nothing")
}

fn line(label: &str, note: String, sum: Sum) -> Line {
    Line {
        label: label.to_owned(),
        note,
        sum,
    }
}

const fn or_unknown(app: &str) -> &str {
    if app.is_empty() { UNKNOWN_APP } else { app }
}

/// The most refused first, then the most tried.
fn by_refused(a: &Sum, b: &Sum) -> std::cmp::Ordering {
    (a.refused(), a.listed(), a.tries()).cmp(&(b.refused(), b.listed(), b.tries()))
}

/// The two systems that an app was refused most, or else talks to most.
fn systems_of(app: &str, tally: &Tally<'_>) -> String {
    let mut systems: Vec<(&str, Sum)> = Vec::new();
    for pair in tally.pairs.values().filter(|pair| *pair.app == *app) {
        let endpoint = pair
            .endpoint
            .and_then(|it| tally.catalogue.endpoints.get(it));
        let Some(endpoint) = endpoint else { continue };
        let system = endpoint.system.as_str();
        match systems.iter_mut().find(|(other, _)| *other == system) {
            Some((_, sum)) => sum.absorb(&pair.sum),
            None => systems.push((system, pair.sum)),
        }
    }
    systems.sort_by(|a, b| by_refused(&b.1, &a.1).then_with(|| a.0.cmp(b.0)));
    let names: Vec<_> = systems.iter().take(2).map(|(system, _)| *system).collect();
    names.join(", ")
}

/// What the catalogue says a system is for: the category of most of its entries.
fn purpose_of(system: &str, catalogue: &Catalogue) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for endpoint in catalogue.endpoints.iter().filter(|it| it.system == system) {
        let category = word(Category::WORDS, endpoint.category);
        match counts.iter_mut().find(|(other, _)| *other == category) {
            Some((_, count)) => *count += 1,
            None => counts.push((category, 1)),
        }
    }
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.map_or_else(String::new, |(category, _)| (*category).to_owned())
}

fn named<'c>(pair: &Pair, catalogue: &'c Catalogue) -> Named<'c> {
    Named {
        name: pair.name.to_string(),
        apps: Some(pair.app.to_string())
            .filter(|app| !app.is_empty())
            .into_iter()
            .collect(),
        endpoint: pair.endpoint.and_then(|it| catalogue.endpoints.get(it)),
        sum: pair.sum,
    }
}

/// Names with all their apps.
fn merged<'c>(pairs: &[Named<'c>]) -> Vec<Named<'c>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut names: Vec<Named<'c>> = Vec::new();
    let mut by_tries: Vec<_> = pairs.iter().collect();
    by_tries.sort_by(|a, b| by_refused(&b.sum, &a.sum).then_with(|| a.name.cmp(&b.name)));
    for pair in by_tries {
        let place = *places.entry(&pair.name).or_insert(names.len());
        match names.get_mut(place) {
            Some(it) => {
                it.apps.extend(pair.apps.iter().cloned());
                it.endpoint = it.endpoint.or(pair.endpoint);
                it.sum.absorb(&pair.sum);
            }
            None => names.push(pair.clone()),
        }
    }
    names.sort_by(|a, b| by_refused(&b.sum, &a.sum).then_with(|| a.name.cmp(&b.name)));
    names
}

fn timeline(window: &Window, tally: &Tally<'_>) -> Vec<(Bar, [u64; 4])> {
    let mut bars: Vec<_> = window.bars().into_iter().map(|bar| (bar, [0; 4])).collect();
    for (hour, counts) in &tally.hours {
        let start = i64::from(hour.0) * 3600;
        let after = bars.partition_point(|(bar, _)| bar.start <= start);
        if let Some((_, sums)) = bars.get_mut(after.saturating_sub(1)) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
    bars
}

/// Of an entry, what a reader of the summary wants.
fn brief<S: serde::Serializer>(
    endpoint: &Option<&Endpoint>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Brief<'a> {
        pattern: String,
        owner: &'a str,
        system: &'a str,
        region: &'a str,
        category: Category,
        is_tracking: bool,
        breaks: &'a str,
    }
    endpoint
        .map(|it| Brief {
            pattern: it.pattern.to_string(),
            owner: &it.owner,
            system: &it.system,
            region: &it.region,
            category: it.category,
            is_tracking: is_tracking(it.category),
            breaks: &it.breaks,
        })
        .serialize(serializer)
}

fn bars<S: serde::Serializer>(
    timeline: &[(Bar, [u64; 4])],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Told {
        start_unix_secs: i64,
        blocked: u64,
        would_block: u64,
        logged: u64,
        allowed: u64,
    }
    serializer.collect_seq(timeline.iter().map(|(bar, counts)| {
        let [blocked, would_block, logged, allowed] = *counts;
        Told {
            start_unix_secs: bar.start,
            blocked,
            would_block,
            logged,
            allowed,
        }
    }))
}
