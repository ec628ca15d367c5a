//! Tells a queue whose thread has stopped deciding from one that is merely busy. Pure.

use crate::queue::Occupancy;

/// Looks at one queue again and again, while packets wait in it.
///
/// Packets of a queue get ascending numbers and are decided on in that order, so the oldest that
/// waits is known from the kernel's two counters. Where the oldest is the same at two looks half
/// a second apart, nobody has decided on anything in between.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StallWatch {
    oldest_waiting: Option<u32>,
}

/// What a look at a queue says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing waits: no need to look again before the next packet.
    Idle,
    /// Packets come and go.
    Busy,
    /// The oldest packet has waited since the last look.
    Stalled,
}

impl StallWatch {
    /// Takes the kernel's counters of now.
    pub(super) fn look(&mut self, queue: Option<Occupancy>) -> Look {
        let Some(queue) = queue.filter(|queue| queue.waiting > 0) else {
            self.oldest_waiting = None;
            return Look::Idle;
        };
        let newest = queue.sequence;
        let oldest = newest.wrapping_sub(queue.waiting).wrapping_add(1);
        if self.oldest_waiting.replace(oldest) == Some(oldest) {
            Look::Stalled
        } else {
            Look::Busy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(waiting: u32, sequence: u32) -> Option<Occupancy> {
        Some(Occupancy {
            port: 1,
            waiting,
            queue_dropped: 0,
            user_dropped: 0,
            sequence,
        })
    }

    #[test]
    fn only_a_queue_whose_oldest_packet_stays_is_stalled() {
        let mut watch = StallWatch::default();
        for (now, expected) in [
            (queue(0, 7), Look::Idle),
            (queue(2, 10), Look::Busy),
            // Both were decided on, two others came.
            (queue(2, 12), Look::Busy),
            // Nothing was decided on, one more came.
            (queue(3, 13), Look::Stalled),
            (queue(0, 13), Look::Idle),
            (queue(1, 14), Look::Busy),
            (None, Look::Idle),
            (queue(1, 1), Look::Busy),
            (queue(1, 1), Look::Stalled),
        ] {
            assert_eq!(watch.look(now), expected, "{now:?}");
        }
    }

    #[test]
    fn numbers_that_wrap_around_are_followed() {
        let mut watch = StallWatch::default();
        assert_eq!(watch.look(queue(3, 1)), Look::Busy);
        assert_eq!(watch.look(queue(5, 3)), Look::Stalled);
    }
}
