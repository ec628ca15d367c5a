//! The way from the queue threads to the recorder: a bounded channel that is never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::Notify;

use crate::inspect::{Ruleset, Sighting};

/// A sighting, when it was, and the rules that were in force: enough to tell the user why, even
/// after a reload.
#[derive(Clone, Debug)]
pub struct Event {
    /// Wall-clock time in milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// What was seen and decided.
    pub sighting: Sighting,
    /// The rules that decided.
    pub ruleset: Arc<Ruleset>,
}

/// Makes a channel that holds `capacity` events.
#[must_use]
pub fn channel(capacity: usize) -> (EventSender, EventReceiver) {
    let (sender, receiver) = sync_channel(capacity);
    let doorbell = Arc::new(Doorbell::default());
    (
        EventSender {
            sender,
            doorbell: Arc::clone(&doorbell),
        },
        EventReceiver { receiver, doorbell },
    )
}

/// Wakes the recorder once for a run of events, not once for each.
#[derive(Debug, Default)]
struct Doorbell {
    rung: AtomicBool,
    wake: Notify,
}

/// The queue threads' end.
#[derive(Clone, Debug)]
pub struct EventSender {
    sender: SyncSender<Event>,
    doorbell: Arc<Doorbell>,
}

impl EventSender {
    /// Hands an event over; `false` where the channel is full. Never waits, never allocates.
    #[must_use]
    pub fn send(&self, event: Event) -> bool {
        let sent = self.sender.try_send(event).is_ok();
        if !self.doorbell.rung.swap(true, Ordering::AcqRel) {
            self.doorbell.wake.notify_one();
        }
        sent
    }
}

/// The recorder's end.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: Receiver<Event>,
    doorbell: Arc<Doorbell>,
}

impl EventReceiver {
    /// Waits until there are events, or until every sender is gone and one nudge came.
    pub async fn wait(&self) {
        self.doorbell.wake.notified().await;
    }

    /// Takes what there is now.
    pub fn drain(&self) -> impl Iterator<Item = Event> {
        // Lowered first: an event that comes while the channel is emptied rings again.
        self.doorbell.rung.store(false, Ordering::Release);
        self.receiver.try_iter()
    }
}
