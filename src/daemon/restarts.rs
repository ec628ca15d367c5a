//! When a worker that failed is started again, and when no more. Pure.

use std::time::Duration;

use crate::clock::Moment;

/// Failures within [`WINDOW`] after which Muzzle stays off.
pub(super) const MAX_FAILURES: usize = 5;
/// A failure older than this no longer counts.
const WINDOW: Duration = Duration::from_secs(10 * 60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The failures of late.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    /// Newest last; at most [`MAX_FAILURES`].
    failures: Vec<Moment>,
    /// All there were.
    total: u32,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start again after this pause.
    After(Duration),
    /// Too many in too short a time: stay off and say so.
    StayOff,
}

impl Restarts {
    /// Counts a failure at `now`.
    pub(super) fn failed(&mut self, now: Moment) -> Next {
        let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        self.failures
            .retain(|failure| now.millis_since(*failure) < window);
        self.failures.push(now);
        self.total = self.total.saturating_add(1);
        match self.failures.len() {
            count if count >= MAX_FAILURES => Next::StayOff,
            // Half a second, then twice as long each time.
            count => Next::After(FIRST_PAUSE * (1 << (count - 1))),
        }
    }

    /// How many failures there were since the start.
    pub(super) const fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_it_stays_off() {
        let mut restarts = Restarts::default();
        let next: Vec<_> = (0..5)
            .map(|second| restarts.failed(Moment(second * 1000)))
            .collect();
        let after = |millis| Next::After(Duration::from_millis(millis));
        assert_eq!(
            next,
            [
                after(500),
                after(1000),
                after(2000),
                after(4000),
                Next::StayOff
            ]
        );
        assert_eq!(restarts.total(), 5);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut restarts = Restarts::default();
        let quarter_hour = 15 * 60 * 1000;
        for turn in 0..20 {
            let next = restarts.failed(Moment(turn * quarter_hour));
            assert_eq!(next, Next::After(Duration::from_millis(500)));
        }
        assert_eq!(restarts.total(), 20);
    }
}
