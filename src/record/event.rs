//! The way from the queue threads to the recorder: a bounded channel that is never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::Notify;

use crate::decide::FlowKey;
use crate::inspect::{Resolution, Ruleset, Sighting};

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

/// What the phone was told of a name's addresses, and when.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Wall-clock time in milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// The name and its addresses.
    pub resolution: Resolution,
}

/// A packet whose owner is unknown after all: the one that was said has sent another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// Its flow.
    pub flow: FlowKey,
    /// The time of its event.
    pub unix_millis: u64,
}

impl Withdrawn {
    /// Whether this is about `event`.
    #[must_use]
    pub fn is_about(&self, event: &Event) -> bool {
        (self.flow, self.unix_millis) == (event.sighting.flow, event.unix_millis)
    }
}

/// What comes out of the channel.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a box for each would cost an allocation"
)]
pub enum Report {
    /// For the log.
    Event(Event),
    /// For telling what unnamed connections may be.
    Learned(Learned),
    /// For an event just before.
    Withdrawn(Withdrawn),
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
            half: capacity / 2,
        },
        EventReceiver { receiver, doorbell },
    )
}

/// Wakes the recorder once for a run of events, not once for each.
#[derive(Debug, Default)]
struct Doorbell {
    /// Events sent since the recorder last looked.
    rung: AtomicUsize,
    first: Notify,
    half_full: Notify,
}

/// The queue threads' end.
#[derive(Clone, Debug)]
pub struct EventSender {
    sender: SyncSender<Report>,
    doorbell: Arc<Doorbell>,
    half: usize,
}

impl EventSender {
    /// Hands an event over; `false` where the channel is full. Never waits, never allocates.
    #[must_use]
    pub fn send(&self, event: Event) -> bool {
        self.report(Report::Event(event))
    }

    /// The same with addresses. They only help to tell: where the channel is full they are lost
    /// and not counted.
    pub fn send_learned(&self, learned: Learned) {
        let _lost = self.report(Report::Learned(learned));
    }

    /// Takes back whose a packet was; lost and not counted where the channel is full.
    pub fn withdraw(&self, packet: Withdrawn) {
        let _lost = self.report(Report::Withdrawn(packet));
    }

    fn report(&self, report: Report) -> bool {
        let sent = self.sender.try_send(report).is_ok();
        match self.doorbell.rung.fetch_add(1, Ordering::AcqRel) {
            0 => self.doorbell.first.notify_one(),
            count if count == self.half => self.doorbell.half_full.notify_one(),
            _ => {}
        }
        sent
    }
}

/// The recorder's end.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: Receiver<Report>,
    doorbell: Arc<Doorbell>,
}

impl EventReceiver {
    /// Waits for an event, and then for more to gather: until the channel is half full, for
    /// `gather` at most.
    pub async fn wait(&self, gather: Duration) {
        self.doorbell.first.notified().await;
        // An error is the time-out, the usual case.
        let _gathered = tokio::time::timeout(gather, self.doorbell.half_full.notified()).await;
    }

    /// Takes what there is now.
    pub fn drain(&self) -> impl Iterator<Item = Report> {
        // Lowered first: an event that comes while the channel is emptied rings again.
        self.doorbell.rung.store(0, Ordering::Release);
        self.receiver.try_iter()
    }
}
