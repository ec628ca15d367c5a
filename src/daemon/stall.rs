//! Tells a queue whose thread has stopped deciding from one that is merely busy. Pure.

use crate::queue::Occupancy;

/// Looks at one queue again and again, while packets wait in it.
///
/// Packets of a queue get ascending numbers and are decided on in that order, so how many were
/// decided on is known from the kernel's two counters. Where that is the same at two looks while
/// packets wait, nobody decides: they are let pass. A thread that got no processor for so long is
/// not dead yet; one that has decided on nothing when that happens again is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StallWatch {
    /// Decided on at the last look, where packets waited then.
    decided: Option<u32>,
    /// Up to this number packets were let pass, and none was decided on since.
    let_pass: Option<u32>,
}

/// What a look at a queue says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing waits: no need to look again before the next packet.
    Idle,
    /// Packets come and go.
    Busy,
    /// Nothing was decided on since the last look; up to and with this number packets wait.
    Stalled {
        /// Number of the newest packet.
        newest: u32,
    },
    /// The same for the second time.
    Dead,
}

impl StallWatch {
    /// Whether packets were let pass, and none was decided on since.
    pub(super) const fn had_stalled(&self) -> bool {
        self.let_pass.is_some()
    }

    /// Takes the kernel's counters of now. Whoever is told of a stall lets pass what waits.
    pub(super) fn look(&mut self, queue: Option<Occupancy>) -> Look {
        let Some(Occupancy {
            waiting, sequence, ..
        }) = queue
        else {
            *self = Self::default();
            return Look::Idle;
        };
        let decided = sequence.wrapping_sub(waiting);
        self.let_pass.take_if(|newest| *newest != decided);
        if waiting == 0 {
            self.decided = None;
            return Look::Idle;
        }
        if self.decided.replace(decided) != Some(decided) {
            return Look::Busy;
        }
        self.decided = None;
        match self.let_pass.replace(sequence) {
            None => Look::Stalled { newest: sequence },
            Some(_) => Look::Dead,
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
    fn only_a_queue_in_which_nothing_is_decided_is_stalled() {
        let mut watch = StallWatch::default();
        for (now, expected) in [
            (queue(0, 7), Look::Idle),
            (queue(2, 10), Look::Busy),
            // Both were decided on, two others came.
            (queue(2, 12), Look::Busy),
            // Nothing was decided on, one more came.
            (queue(3, 13), Look::Stalled { newest: 13 }),
            (queue(0, 13), Look::Idle),
            // Decided on before the look.
            (queue(0, 14), Look::Idle),
            (queue(1, 15), Look::Busy),
            (queue(1, 15), Look::Stalled { newest: 15 }),
            (None, Look::Idle),
            (queue(1, 1), Look::Busy),
            (queue(1, 1), Look::Stalled { newest: 1 }),
        ] {
            assert_eq!(watch.look(now), expected, "{now:?}");
        }
    }

    #[test]
    fn a_queue_that_stalls_again_without_a_decision_is_dead() {
        let mut watch = StallWatch::default();
        for (now, expected) in [
            (queue(1, 1), Look::Busy),
            (queue(1, 1), Look::Stalled { newest: 1 }),
            // Let pass by whoever was told; others come, with a pause between.
            (queue(0, 1), Look::Idle),
            (queue(2, 3), Look::Busy),
            (queue(2, 3), Look::Dead),
        ] {
            assert_eq!(watch.look(now), expected, "{now:?}");
        }
    }

    #[test]
    fn numbers_that_wrap_around_are_followed() {
        let mut watch = StallWatch::default();
        assert_eq!(watch.look(queue(3, 1)), Look::Busy);
        assert_eq!(watch.look(queue(5, 3)), Look::Stalled { newest: 3 });
    }
}
