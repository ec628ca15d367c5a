//! The live log: the newest events in memory, and whoever follows them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Event, EventReceiver};
/// How long events gather before they are recorded: at most 20 wake-ups a second under load,
/// none while nothing is sent.
const GATHER: Duration = Duration::from_millis(50);
/// Entries a slow follower may lag behind before it misses some.
const FOLLOWER_LAG: usize = 1024;

/// An event with its place in the log. It is told in words ([`super::Record`]) only when somebody
/// reads it: most are never read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts up from 1 while the daemon runs.
    pub number: u64,
    /// What happened.
    pub event: Event,
}

/// The newest entries, oldest first, and their followers.
#[derive(Debug)]
pub struct Log {
    recent: Mutex<Recent>,
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
    /// An empty log that keeps `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (followers, _) = broadcast::channel(FOLLOWER_LAG);
        let recent = Recent {
            entries: VecDeque::new(),
            capacity,
            next_number: 1,
        };
        Self {
            recent: Mutex::new(recent),
            followers,
        }
    }

    /// Adds an event and gives it its number.
    pub fn push(&self, event: Event) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = recent.next_number;
        recent.next_number += 1;
        let entry = Entry { number, event };
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

/// Moves events into the log until the task is dropped.
pub async fn run(events: EventReceiver, log: Arc<Log>) {
    loop {
        events.wait(GATHER).await;
        for event in events.drain() {
            log.push(event);
        }
    }
}
