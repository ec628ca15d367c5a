//! The only place that reads a clock. Everything else is handed the time.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point on the clock that keeps counting in suspend (`CLOCK_BOOTTIME`), in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Milliseconds from `earlier` to here; 0 where `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `pause` from now.
    #[must_use]
    pub fn in_future(pause: Duration) -> Self {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Self(Self::now().0.saturating_add(millis))
    }

    /// Reads the clock. One vDSO call, no system call on arm64 and x86-64.
    #[must_use]
    pub fn now() -> Self {
        Self(millis(ClockId::CLOCK_BOOTTIME))
    }
}

/// Wall-clock time: milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_millis() -> u64 {
    millis(ClockId::CLOCK_REALTIME)
}

fn millis(clock: ClockId) -> u64 {
    // Both clocks exist on every kernel since 2.6.39 and are never negative.
    clock_gettime(clock).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds * 1000 + nanos / 1_000_000
    })
}
