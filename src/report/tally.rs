//! Rows in, sums out, while they stream: what is kept in memory does not grow with them.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use serde::Serialize;

use super::window::Window;
use super::words::is_tracking;
use crate::catalogue::{Catalogue, Category};
use crate::decide::Outcome;
use crate::history::{Row, UnixHours};

/// Most names, each with an app, that are told apart. Beyond them the half that was tried least is
/// summed up as one.
const MAX_PAIRS: usize = 8192;
/// Most apps that are told apart; a phone has some hundred.
const MAX_APPS: usize = 1024;

/// What became of tries, and how often the same was tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Tries that were refused.
    pub blocked: u64,
    /// Tries that passed, because Muzzle only observed.
    pub would_block: u64,
    /// Tries that passed and are watched.
    pub logged: u64,
    /// Tries that passed to what the catalogue knows.
    pub allowed: u64,
    /// Tries that passed because nothing knows them.
    pub unlisted: u64,
    /// Decisions: a try may be several questions and connections.
    pub decisions: u64,
    /// Tries of an app for a name that it was refused in the same hour already.
    pub retries: u64,
    /// Hours in which something was refused.
    pub refused_hours: u64,
    /// Refused tries in the worst hour.
    pub worst_hour: u64,
    #[serde(skip)]
    hour: Option<UnixHours>,
    #[serde(skip)]
    in_hour: u64,
}

impl Sum {
    /// All tries.
    #[must_use]
    pub const fn tries(&self) -> u64 {
        self.listed() + self.unlisted
    }

    /// Tries for what the catalogue or a rule of the user's knows.
    #[must_use]
    pub const fn listed(&self) -> u64 {
        self.refused() + self.logged + self.allowed
    }

    /// Tries that were refused, or would have been.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.blocked + self.would_block
    }

    /// Tries that passed to what the catalogue or a rule knows, whatever should have become of
    /// them.
    #[must_use]
    pub const fn passed(&self) -> u64 {
        self.would_block + self.logged + self.allowed
    }

    /// Tries again, in tenths an hour, over the hours in which something was refused.
    #[must_use]
    pub const fn retry_tenths(&self) -> u64 {
        match (self.retries * 10).checked_div(self.refused_hours) {
            Some(tenths) => tenths,
            None => 0,
        }
    }

    fn add(&mut self, row: &Row, is_listed: bool) {
        *match row.outcome {
            Outcome::Blocked => &mut self.blocked,
            Outcome::WouldBlock => &mut self.would_block,
            Outcome::Logged => &mut self.logged,
            Outcome::Allowed if is_listed => &mut self.allowed,
            Outcome::Allowed => &mut self.unlisted,
        } += row.tries;
        self.decisions += row.decisions;
        if row.outcome == Outcome::Blocked {
            if self.hour != Some(row.hour) {
                self.hour = Some(row.hour);
                self.in_hour = 0;
                self.refused_hours += 1;
            }
            self.in_hour += row.tries;
            self.worst_hour = self.worst_hour.max(self.in_hour);
        }
    }

    /// Adds what another group came to. Of the hours, which may be the same ones, the greater
    /// number is kept.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.blocked += other.blocked;
        self.would_block += other.would_block;
        self.logged += other.logged;
        self.allowed += other.allowed;
        self.unlisted += other.unlisted;
        self.decisions += other.decisions;
        self.retries += other.retries;
        self.refused_hours = self.refused_hours.max(other.refused_hours);
        self.worst_hour = self.worst_hour.max(other.worst_hour);
    }
}

/// A name as one app tried it.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) app: Box<str>,
    pub(super) name: Box<str>,
    /// The place of its entry in the catalogue.
    pub(super) endpoint: Option<usize>,
    pub(super) sum: Sum,
}

/// What a row's endpoint is about, by number.
#[derive(Clone, Copy, Debug)]
struct Group {
    endpoint: usize,
    system: usize,
    region: usize,
    category: Category,
}

/// Sums while rows stream in, in the order of their hours.
#[derive(Debug)]
pub struct Tally<'c> {
    pub(super) catalogue: &'c Catalogue,
    pub(super) window: Window,
    /// Whether what nothing knows is left out: it says where the owner went.
    pub(super) hides_unlisted: bool,
    groups: HashMap<String, Group>,
    hasher: RandomState,
    pub(super) pairs: HashMap<u64, Pair>,
    /// What names came to that are no longer told apart.
    pub(super) other_pairs: Sum,
    pub(super) apps: HashMap<u64, (Box<str>, Sum)>,
    pub(super) other_apps: Sum,
    pub(super) systems: Vec<(&'c str, Sum)>,
    pub(super) regions: Vec<(&'c str, Sum)>,
    pub(super) own_rules: Sum,
    pub(super) total: Sum,
    pub(super) tracking: Sum,
    /// By hour: blocked, would be blocked, logged, allowed; what nothing knows is left out.
    pub(super) hours: BTreeMap<UnixHours, [u64; 4]>,
    pub(super) first: Option<UnixHours>,
}

impl<'c> Tally<'c> {
    /// Nothing yet, about `window`.
    #[must_use]
    pub fn new(catalogue: &'c Catalogue, window: Window) -> Self {
        let (mut systems, mut regions) = (Vec::new(), Vec::new());
        let place = |list: &mut Vec<(&'c str, Sum)>, text: &'c str| {
            let found = list.iter().position(|(other, _)| *other == text);
            found.unwrap_or_else(|| {
                list.push((text, Sum::default()));
                list.len() - 1
            })
        };
        let endpoints = catalogue.endpoints.iter().enumerate();
        let groups = endpoints
            .map(|(endpoint, it)| {
                let group = Group {
                    endpoint,
                    system: place(&mut systems, &it.system),
                    region: place(&mut regions, &it.region),
                    category: it.category,
                };
                (it.pattern.to_string(), group)
            })
            .collect();
        Self {
            catalogue,
            window,
            hides_unlisted: false,
            groups,
            hasher: RandomState::default(),
            pairs: HashMap::new(),
            other_pairs: Sum::default(),
            apps: HashMap::new(),
            other_apps: Sum::default(),
            systems,
            regions,
            own_rules: Sum::default(),
            total: Sum::default(),
            tracking: Sum::default(),
            hours: BTreeMap::new(),
            first: None,
        }
    }

    /// The same, blind to whatever nothing knows: for a report that is shown to others.
    #[must_use]
    pub const fn hiding_unlisted(mut self) -> Self {
        self.hides_unlisted = true;
        self
    }

    /// Adds a row. Rows of hours outside the window are left out.
    pub fn add(&mut self, row: &Row) {
        if !self.window.contains(row.hour) {
            return;
        }
        self.first = Some(self.first.map_or(row.hour, |first| first.min(row.hour)));
        let group = row
            .entry
            .as_deref()
            .and_then(|entry| self.groups.get(entry));
        let group = group.copied();
        // An entry that the catalogue no longer has was one all the same.
        let is_listed = row.entry.is_some() || row.outcome != Outcome::Allowed;
        if self.hides_unlisted && !is_listed {
            return;
        }
        let retries = self.add_pair(row, group.map(|it| it.endpoint), is_listed);
        let app = self.app(row.app.as_deref().unwrap_or(""));
        let add = |sum: &mut Sum| {
            sum.add(row, is_listed);
            sum.retries += retries;
        };
        add(app);
        add(&mut self.total);
        match group {
            Some(group) => {
                add(&mut self.systems[group.system].1);
                add(&mut self.regions[group.region].1);
                if is_tracking(group.category) {
                    add(&mut self.tracking);
                }
            }
            None if is_listed => add(&mut self.own_rules),
            None => {}
        }
        if is_listed {
            let hour = self.hours.entry(row.hour).or_default();
            hour[place(row.outcome)] += row.tries;
        }
    }

    /// Adds the row to its pair; returns how many of its tries were tries again.
    fn add_pair(&mut self, row: &Row, endpoint: Option<usize>, is_listed: bool) -> u64 {
        let app = row.app.as_deref().unwrap_or("");
        let key = self.hasher.hash_one((app, row.name.as_str()));
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            self.forget_least();
        }
        let pair = self.pairs.entry(key).or_insert_with(|| Pair {
            app: app.into(),
            name: row.name.as_str().into(),
            endpoint: None,
            sum: Sum::default(),
        });
        pair.endpoint = endpoint.or(pair.endpoint);
        let is_first = pair.sum.hour != Some(row.hour);
        pair.sum.add(row, is_listed);
        let retries = match row.outcome {
            Outcome::Blocked => row.tries.saturating_sub(u64::from(is_first)),
            _ => 0,
        };
        pair.sum.retries += retries;
        retries
    }

    fn forget_least(&mut self) {
        let mut tries: Vec<_> = self
            .pairs
            .iter()
            .map(|(key, pair)| (pair.sum.refused(), pair.sum.tries(), *key))
            .collect();
        let half = tries.len() / 2;
        tries.select_nth_unstable(half);
        for (_, _, key) in &tries[..half] {
            if let Some(pair) = self.pairs.remove(key) {
                self.other_pairs.absorb(&pair.sum);
            }
        }
    }

    fn app(&mut self, label: &str) -> &mut Sum {
        let key = self.hasher.hash_one(label);
        if self.apps.len() >= MAX_APPS && !self.apps.contains_key(&key) {
            return &mut self.other_apps;
        }
        let (_, sum) = self
            .apps
            .entry(key)
            .or_insert_with(|| (label.into(), Sum::default()));
        sum
    }
}

/// The place of an outcome in [`Tally::hours`].
const fn place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Blocked => 0,
        Outcome::WouldBlock => 1,
        Outcome::Logged => 2,
        Outcome::Allowed => 3,
    }
}
