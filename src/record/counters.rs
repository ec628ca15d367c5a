//! Counters of what happened to packets. One thread writes each set, anybody may read it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::act::Act;
use crate::inspect::{Inspection, Reading};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Live counters of one queue thread.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)+ }

        /// The counters at one point in time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct CounterValues { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            /// Reads all of them.
            #[must_use]
            pub fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        impl std::ops::AddAssign for CounterValues {
            fn add_assign(&mut self, other: Self) { $(self.$name += other.$name;)+ }
        }
    };
}

counters! {
    /// Packets taken from the queue.
    packets,
    /// Packets that passed.
    passed,
    /// Packets dropped without a word.
    dropped,
    /// Packets dropped and answered with a forged packet.
    answered,
    /// Packets dropped and their connection ended.
    severed,
    /// Packets that were not what their ports say; they passed.
    malformed,
    /// Packets whose name would stand in a later segment or datagram; they passed.
    incomplete,
    /// QUIC packets of a version that nothing is known of; they passed.
    unknown_version,
    /// Packets whose socket's owner was asked for, because whoever opened it does so for others.
    owners_asked,
    /// Of these, the ones whose owner is unknown: the socket was gone, or is perhaps another.
    owners_unknown,
    /// Answers of resolvers taken from the queue; they are in none of the counts above.
    answers,
    /// Answers that were refused for an alias in them.
    answers_refused,
    /// Answers to nothing that was asked, as far as is remembered; they passed.
    answers_unasked,
    /// Answers that are none; they passed.
    answers_malformed,
    /// Connections that the kernel would not end; the app got a forged reset instead.
    destroy_failed,
    /// Forged packets that could not be sent.
    inject_failed,
    /// Forged answers that may still be in connection tracking.
    forget_failed,
    /// Verdicts that the kernel did not take (the packet was gone already).
    verdict_failed,
    /// Flows that were forgotten before their time, because newer ones needed their place.
    evicted,
    /// Sightings that were not recorded because the recorder was behind.
    unrecorded,
}

/// Adds one. Only the owning thread writes, so that no locked instruction is needed.
pub fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Counters {
    /// Counts what an inspection came to.
    pub fn inspected(&self, inspection: &Inspection) {
        count(&self.packets);
        count(match inspection.act {
            Act::Pass | Act::Follow | Act::Leave => &self.passed,
            Act::Vanish => &self.dropped,
            Act::Answer { .. } => &self.answered,
            Act::Rewrite { .. } => &self.answered,
            Act::Sever { .. } => &self.severed,
        });
        match inspection.reading {
            Reading::Understood | Reading::Unasked | Reading::Empty => {}
            Reading::Malformed => count(&self.malformed),
            Reading::Incomplete => count(&self.incomplete),
            Reading::UnknownVersion => count(&self.unknown_version),
        }
    }

    /// Counts what the inspection of an answer came to; a packet without one is like any other.
    pub fn answer_inspected(&self, inspection: &Inspection) {
        if inspection.reading == Reading::Empty {
            return self.inspected(inspection);
        }
        count(&self.answers);
        if inspection.act != Act::Pass {
            count(&self.answers_refused);
        }
        match inspection.reading {
            Reading::Understood
            | Reading::Incomplete
            | Reading::UnknownVersion
            | Reading::Empty => {}
            Reading::Unasked => count(&self.answers_unasked),
            Reading::Malformed => count(&self.answers_malformed),
        }
    }
}
