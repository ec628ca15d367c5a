//! How many packets passed unseen because a queue was full. The kernel counts them nowhere once
//! fail-open is on (net/netfilter/nfnetlink_queue.c, `__nfqnl_enqueue_packet`): it is what the
//! rules sent to a queue less what came out of it.

use super::filter::Filter;
use super::queues::{QUEUES, Queues};

/// What is known from before the rules in force were set: setting them sets their counters to 0.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Passed unseen until then.
    before: [u64; QUEUES],
    /// Came out of the queues until then.
    seen_before: [u64; QUEUES],
}

impl Unseen {
    /// Passed unseen so far, for each queue; `None` where the rules' counters cannot be read.
    pub(super) fn count(&self, filter: &Filter, queues: &Queues) -> Option<[u64; QUEUES]> {
        // In this order, so that a packet in between is not taken for one that passed unseen.
        let sent = filter.sent_to(queues.numbers())?;
        let seen = queues.seen();
        let mut unseen = self.before;
        for (queue, unseen) in unseen.iter_mut().enumerate() {
            *unseen += sent[queue].saturating_sub(seen[queue] - self.seen_before[queue]);
        }
        Some(unseen)
    }

    /// The rules were set anew; `unseen` is what [`Self::count`] said before.
    pub(super) fn start_over(&mut self, unseen: Option<[u64; QUEUES]>, queues: &Queues) {
        self.before = unseen.unwrap_or(self.before);
        self.seen_before = queues.seen();
    }
}
