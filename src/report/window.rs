//! The time a report is about, in the phone's own zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

use crate::history::UnixHours;

const HOUR_SECS: i64 = 3600;
/// Longest window: counts per hour are kept for as long as memory allows, never for longer.
const MAX_DAYS: i64 = 3660;

/// From when to when, and whose clock on the wall.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Window {
    #[serde(rename = "from_unix_secs")]
    from: i64,
    #[serde(rename = "until_unix_secs")]
    until: i64,
    #[serde(skip)]
    zone: TimeZone,
}

impl Window {
    /// The last `length_secs` before `now_secs`, both in seconds, the latter since 1970-01-01 UTC.
    #[must_use]
    pub fn new(now_secs: i64, length_secs: i64, zone: TimeZone) -> Self {
        let until = now_secs.clamp(0, i64::from(u32::MAX) * HOUR_SECS);
        let length = length_secs.clamp(1, MAX_DAYS * 24 * HOUR_SECS);
        Self {
            from: (until - length).max(0),
            until,
            zone,
        }
    }

    /// Whether any of the hour is in it: counts are per hour, and none is cut in two.
    #[must_use]
    pub const fn contains(&self, hour: UnixHours) -> bool {
        let start = hour.0 as i64 * HOUR_SECS;
        start + HOUR_SECS > self.from && start <= self.until
    }

    /// Its first hour and the one after its last.
    #[must_use]
    pub fn unix_hours(&self) -> (UnixHours, UnixHours) {
        let hour = |secs| UnixHours(u32::try_from(secs / HOUR_SECS).unwrap_or(u32::MAX));
        (
            hour(self.from),
            UnixHours(hour(self.until).0.saturating_add(1)),
        )
    }

    /// The same window, begun with `hour` where that is markedly later: when the history begins.
    #[must_use]
    pub fn begun(&self, hour: UnixHours) -> Self {
        let start = (i64::from(hour.0) * HOUR_SECS).min(self.until);
        let is_later = start - self.from > (self.until - self.from) / 10 + HOUR_SECS;
        Self {
            from: if is_later { start } else { self.from },
            ..self.clone()
        }
    }

    /// Its length in hours, at least one.
    #[must_use]
    pub fn hours(&self) -> u64 {
        u64::try_from((self.until - self.from) / HOUR_SECS).map_or(1, |hours| hours.max(1))
    }

    /// Its length in words: `7 days`, `24 hours`, `10 minutes`.
    #[must_use]
    pub fn length(&self) -> String {
        let secs = self.until - self.from;
        let (count, unit) = match secs {
            // A day is said in hours, and what is no whole number of days too.
            _ if secs >= 48 * HOUR_SECS && secs % (24 * HOUR_SECS) == 0 => {
                (secs / (24 * HOUR_SECS), "day")
            }
            _ if secs >= 4 * 24 * HOUR_SECS => (secs / (24 * HOUR_SECS), "day"),
            _ if secs >= HOUR_SECS => (secs / HOUR_SECS, "hour"),
            _ => (secs / 60, "minute"),
        };
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {unit}{plural}")
    }

    /// `13 November 2026 09:00 to 20 November 2026 09:00, Europe/Berlin`.
    #[must_use]
    pub fn dates(&self) -> String {
        let (from, until) = (self.zoned(self.from), self.zoned(self.until));
        let zone = self.zone.iana_name().unwrap_or("the phone's time");
        let moment = |time: &Zoned| time.strftime("%-d %B %Y %H:%M").to_string();
        format!("{} to {}, {zone}", moment(&from), moment(&until))
    }

    /// When it begins: `13 November, 09:00`.
    #[must_use]
    pub fn begin(&self) -> String {
        self.zoned(self.from).strftime("%-d %B, %H:%M").to_string()
    }

    /// A moment in the zone: `Fri 20 Nov 09:12:33`.
    #[must_use]
    pub fn moment(&self, unix_millis: u64) -> String {
        let secs = i64::try_from(unix_millis / 1000).unwrap_or(i64::MAX);
        self.zoned(secs).strftime("%a %-d %b %H:%M:%S").to_string()
    }

    /// When each bar of a picture begins, in seconds since 1970-01-01 UTC: on the hour of the
    /// wall, so many that a small screen shows them.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let hours = self.hours();
        let days = i64::try_from(hours / 24).unwrap_or(MAX_DAYS);
        let (step_hours, step_days) = match hours {
            0..=49 => (1, 1),
            50..=121 => (2, 1),
            122..=193 => (3, 1),
            194..=400 => (6, 1),
            _ => (24, days / 92 + 1),
        };
        let mut bars = Vec::new();
        let mut day = self.zoned(self.from).date();
        let last = self.zoned(self.until).date();
        while day <= last {
            let (Some(start), next) =
                (self.midnight(day), day.saturating_add(step_days.days()))
            else {
                break;
            };
            let end = self.midnight(next).unwrap_or(i64::MAX);
            let mut at = start;
            while at < end && at <= self.until {
                let until = (at + step_hours * HOUR_SECS).min(end);
                // A day of 25 hours has no bar of its own for the last.
                let until = if step_hours == 24 || end - until < HOUR_SECS {
                    end
                } else {
                    until
                };
                if until > self.from {
                    bars.push(Bar {
                        start: at,
                        is_midnight: at == start,
                    });
                }
                at = until;
            }
            if next <= day {
                break;
            }
            day = next;
        }
        bars
    }

    /// What stands below a bar: the hour where the window is short, else the day.
    #[must_use]
    pub fn label(&self, bar: &Bar) -> String {
        let time = self.zoned(bar.start);
        let format = match self.hours() {
            0..=49 if !bar.is_midnight => "%H:%M",
            0..=193 => "%a %-d",
            _ => "%-d %b",
        };
        time.strftime(format).to_string()
    }

    /// A bar's beginning in full, for tables and readers: `Fri 20 Nov, 09:00`.
    #[must_use]
    pub fn full_label(&self, bar: &Bar) -> String {
        let format = if self.hours() <= 400 {
            "%a %-d %b, %H:%M"
        } else {
            "%-d %B %Y"
        };
        self.zoned(bar.start).strftime(format).to_string()
    }

    fn zoned(&self, secs: i64) -> Zoned {
        let time = Timestamp::from_second(secs).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(self.zone.clone())
    }

    fn midnight(&self, day: Date) -> Option<i64> {
        let start = day.to_zoned(self.zone.clone()).ok()?;
        Some(start.timestamp().as_second())
    }
}

/// One bar of a picture over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Seconds since 1970-01-01 UTC.
    pub start: i64,
    /// Whether a day begins with it.
    pub is_midnight: bool,
}
