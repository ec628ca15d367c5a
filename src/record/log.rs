//! The live log: the newest events in memory, and whoever follows them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::{Event, Record};
use crate::apps::Packages;
use crate::history;

/// Entries a slow follower may lag behind before it misses some.
const FOLLOWER_LAG: usize = 1024;

/// One place in the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts up, on from where the history ends.
    pub number: u64,
    content: Content,
}

/// An event is told in words only when somebody reads it, since most are never read; or when its
/// rules are no longer in force, since it would keep all of them in memory.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a box for each event would cost an allocation"
)]
enum Content {
    Event {
        event: Event,
        resolved_from: Vec<Arc<str>>,
        process: Option<Arc<str>>,
    },
    Told(Arc<Record>),
}

impl Entry {
    /// The entry in words.
    #[must_use]
    pub fn record(&self, packages: &Packages) -> Arc<Record> {
        match &self.content {
            Content::Event {
                event,
                resolved_from,
                process,
            } => {
                let record = Record::new(self.number, event, resolved_from, packages);
                let process = process.as_deref().map(str::to_owned);
                Arc::new(Record { process, ..record })
            }
            Content::Told(record) => Arc::clone(record),
        }
    }
}

/// The newest entries, oldest first, and their followers.
#[derive(Debug)]
pub struct Log {
    recent: Mutex<Recent>,
    history: Option<Arc<history::Writer>>,
    followers: broadcast::Sender<Arc<Entry>>,
}

#[derive(Debug)]
struct Recent {
    entries: VecDeque<Entry>,
    capacity: usize,
    next_number: u64,
}

/// Where a reader starts: the records so far and a subscription to the following ones.
#[derive(Debug)]
pub struct LogPosition {
    /// Entries so far, oldest first.
    pub recent: Vec<Entry>,
    /// The ones to come.
    pub following: broadcast::Receiver<Arc<Entry>>,
}

impl Log {
    /// An empty log that keeps `capacity` entries, numbers them from `first` on, and hands them to
    /// `history`.
    #[must_use]
    pub fn new(capacity: usize, first: u64, history: Option<Arc<history::Writer>>) -> Self {
        let (followers, _) = broadcast::channel(FOLLOWER_LAG);
        let recent = Recent {
            entries: VecDeque::new(),
            capacity,
            next_number: first,
        };
        Self {
            recent: Mutex::new(recent),
            history,
            followers,
        }
    }

    /// Adds an event and gives it its number. `resolved_from` are names that the phone was told
    /// the far end's address for, where the event itself has none; `process` the one that opened
    /// the socket, where it was asked for.
    pub fn push(&self, event: Event, resolved_from: Vec<Arc<str>>, process: Option<Arc<str>>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = recent.next_number;
        recent.next_number += 1;
        if let Some(history) = &self.history {
            history.push(number, &event, &resolved_from, process.as_deref());
        }
        let content = Content::Event {
            event,
            resolved_from,
            process,
        };
        let entry = Entry { number, content };
        // Sent under the lock, so that a reader who subscribes in between neither misses the
        // entry nor gets it twice.
        if self.followers.receiver_count() > 0 {
            // The last follower may hang up right now; that changes nothing.
            let _nobody_follows = self.followers.send(Arc::new(entry.clone()));
        }
        recent.entries.push_back(entry);
        recent.trim();
    }

    /// The newest `count` entries and a subscription that starts right after them.
    #[must_use]
    pub fn position(&self, count: usize) -> LogPosition {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = recent.entries.len().saturating_sub(count);
        LogPosition {
            recent: recent.entries.iter().skip(skipped).cloned().collect(),
            following: self.followers.subscribe(),
        }
    }

    /// Tells every entry in words, so that none keeps rules in memory that are no longer in force.
    pub fn tell_all(&self, packages: &Packages) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in &mut recent.entries {
            entry.content = Content::Told(entry.record(packages));
        }
        if let Some(history) = &self.history {
            history.seal();
        }
    }

    /// Changes how many entries are kept.
    pub fn set_capacity(&self, capacity: usize) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.capacity = capacity;
        recent.trim();
    }
}

impl Recent {
    fn trim(&mut self) {
        while self.entries.len() > self.capacity {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::config::Config;
    use crate::decide::{Attribution, Decision, FlowKey, Outcome, Protocol};
    use crate::inspect::{Ruleset, Sighting, SightingKind};
    use crate::parse::DomainName;

    fn event(ruleset: &Arc<Ruleset>) -> Event {
        let sighting = Sighting {
            flow: FlowKey {
                protocol: Protocol::Udp,
                local: ([10, 0, 0, 2], 40_000).into(),
                remote: ([192, 0, 2, 53], 53).into(),
            },
            attribution: Attribution::UNKNOWN,
            forwarded: false,
            kind: SightingKind::Question(1),
            name: DomainName::from_ascii(b"www.example").unwrap(),
            asked: DomainName::root(),
            decision: Decision::UNLISTED,
            outcome: Outcome::Allowed,
        };
        Event {
            unix_millis: 1,
            sighting,
            ruleset: Arc::clone(ruleset),
        }
    }

    fn ruleset() -> Arc<Ruleset> {
        let catalogue = Arc::new(Catalogue::default());
        Arc::new(Ruleset::new(
            &Config::default(),
            catalogue,
            &Packages::default(),
        ))
    }

    #[test]
    fn the_newest_entries_are_kept_and_numbered() {
        let ruleset = ruleset();
        let log = Log::new(3, 1, None);
        (0..5).for_each(|_| log.push(event(&ruleset), vec![], None));
        let numbers = |count| -> Vec<_> {
            log.position(count)
                .recent
                .iter()
                .map(|entry| entry.number)
                .collect()
        };
        assert_eq!(numbers(10), [3, 4, 5]);
        assert_eq!(numbers(2), [4, 5]);
        log.set_capacity(1);
        assert_eq!(numbers(10), [5]);
    }

    #[test]
    fn entries_that_were_told_keep_no_old_rules_in_memory() {
        let ruleset = ruleset();
        let log = Log::new(10, 1, None);
        log.push(
            event(&ruleset),
            vec!["a.example".into()],
            Some("com.a".into()),
        );
        let packages = Packages::default();
        let before = log.position(1).recent[0].record(&packages);
        log.tell_all(&packages);
        assert_eq!(Arc::strong_count(&ruleset), 1);
        assert_eq!(log.position(1).recent[0].record(&packages), before);
    }
}
