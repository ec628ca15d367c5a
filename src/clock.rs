//! The only place that reads a clock. Everything else is handed the time.

use std::time::Duration;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use nix::time::{ClockId, clock_gettime};

use crate::decide::UnixSeconds;

/// A point on one of the clocks that count up from the system's start, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Milliseconds from `earlier` to here; 0 where `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `pause` after it.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long the system has been up, sleep included (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn since_boot() -> Self {
        Self(millis(ClockId::CLOCK_BOOTTIME))
    }

    /// How long the system has been awake (`CLOCK_MONOTONIC`): for whatever is to happen after a
    /// while in which others could run.
    #[must_use]
    pub fn awake() -> Self {
        Self(millis(ClockId::CLOCK_MONOTONIC))
    }
}

/// Wall-clock time: milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_millis() -> u64 {
    millis(ClockId::CLOCK_REALTIME)
}

/// Which start of the system this is (random(4), `boot_id`).
///
/// # Errors
/// The kernel does not tell.
pub fn boot_id() -> std::io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

/// What the phone's own clock shows at `at`: `2026-11-20 12:44`, or the time alone where that is on
/// the day of `beside`.
#[must_use]
pub fn face(at: UnixSeconds, beside: Option<UnixSeconds>) -> String {
    let Some(time) = local(at) else {
        return at.0.to_string();
    };
    let same_day = beside.and_then(local).map(|it| it.date()) == Some(time.date());
    let format = if same_day { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    strtime::format(format, &time).unwrap_or_else(|_| at.0.to_string())
}

/// The same as RFC 3339 wants it, with seconds and the distance from UTC.
#[must_use]
pub fn rfc3339(at: UnixSeconds) -> String {
    let text = local(at).and_then(|time| strtime::format("%Y-%m-%dT%H:%M:%S%:z", &time).ok());
    // A time that no calendar has.
    text.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// In the machine's own zone.
fn local(at: UnixSeconds) -> Option<Zoned> {
    let time = Timestamp::from_second(at.0).ok()?;
    Some(time.to_zoned(TimeZone::system()))
}

/// Microseconds on the clock of [`Moment::awake`]: for what takes less than a millisecond.
#[must_use]
pub fn awake_micros() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC) / 1000
}

fn millis(clock: ClockId) -> u64 {
    nanos(clock) / 1_000_000
}

fn nanos(clock: ClockId) -> u64 {
    // All of them exist on every kernel since 2.6.39 and are never negative.
    clock_gettime(clock).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}
