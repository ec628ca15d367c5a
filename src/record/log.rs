//! The live log: the newest records in memory, and whoever follows them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::broadcast;

use super::{EventReceiver, Record};
use crate::apps::Packages;

/// How long events gather before they are recorded: at most 20 wake-ups a second under load,
/// none while nothing is sent.
const GATHER: Duration = Duration::from_millis(50);
/// Records a slow follower may lag behind before it misses some.
const FOLLOWER_LAG: usize = 1024;

/// The newest records, oldest first, and their followers.
#[derive(Debug)]
pub struct Log {
    recent: Mutex<Recent>,
    followers: broadcast::Sender<Arc<Record>>,
}

#[derive(Debug)]
struct Recent {
    records: VecDeque<Arc<Record>>,
    capacity: usize,
    next_number: u64,
}

/// Where a reader starts: the records so far and a subscription to the following ones.
#[derive(Debug)]
pub struct LogPosition {
    /// Records so far, oldest first.
    pub recent: Vec<Arc<Record>>,
    /// The ones to come.
    pub following: broadcast::Receiver<Arc<Record>>,
}

impl Log {
    /// An empty log that keeps `capacity` records.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (followers, _) = broadcast::channel(FOLLOWER_LAG);
        let recent = Recent {
            records: VecDeque::new(),
            capacity,
            next_number: 1,
        };
        Self {
            recent: Mutex::new(recent),
            followers,
        }
    }

    /// Adds a record and gives it its number.
    pub fn push(&self, mut record: Record) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        record.number = recent.next_number;
        recent.next_number += 1;
        let record = Arc::new(record);
        recent.records.push_back(Arc::clone(&record));
        recent.trim();
        // An error only says that nobody follows. Sent under the lock, so that a reader who
        // subscribes in between neither misses the record nor gets it twice.
        let _nobody_follows = self.followers.send(record);
    }

    /// The newest `count` records and a subscription that starts right after them.
    #[must_use]
    pub fn position(&self, count: usize) -> LogPosition {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = recent.records.len().saturating_sub(count);
        LogPosition {
            recent: recent.records.iter().skip(skipped).cloned().collect(),
            following: self.followers.subscribe(),
        }
    }

    /// Changes how many records are kept.
    pub fn set_capacity(&self, capacity: usize) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.capacity = capacity;
        recent.trim();
    }
}

impl Recent {
    fn trim(&mut self) {
        while self.records.len() > self.capacity {
            self.records.pop_front();
        }
    }
}

/// Turns events into records until the task is dropped.
pub async fn run(events: EventReceiver, log: Arc<Log>, packages: Arc<ArcSwap<Packages>>) {
    loop {
        events.wait().await;
        tokio::time::sleep(GATHER).await;
        let packages = packages.load_full();
        for event in events.drain() {
            log.push(Record::new(&event, &packages));
        }
    }
}
