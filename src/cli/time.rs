//! Times as people write and read them: in the phone's own zone.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::{UsageError, duration};

/// A point in time as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// Then, in milliseconds since 1970-01-01 UTC.
    At(u64),
}

impl When {
    /// Reads `90s`, `10m`, `2h` or `7d`, or a date, perhaps with a time, of this machine's zone:
    /// `2026-11-20`, `2026-11-20T08:30`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn from_text(text: &str) -> Result<Self, UsageError> {
        if let Ok(duration) = duration::parse(text) {
            return Ok(Self::Ago(duration));
        }
        let wrong = || {
            UsageError(format!(
                "{text} is no time: write how long ago, as in 10m, 2h or 7d, or a date, as in \
                 2026-11-20 or 2026-11-20T08:30"
            ))
        };
        let time = civil(text).ok_or_else(wrong)?;
        let time = time.to_zoned(TimeZone::system()).map_err(|_| wrong())?;
        let millis = time.timestamp().as_millisecond();
        u64::try_from(millis).map(Self::At).map_err(|_| wrong())
    }

    /// The point, where it is now `now_millis`; both in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn millis(self, now_millis: u64) -> u64 {
        match self {
            Self::Ago(duration) => {
                let ago = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                now_millis.saturating_sub(ago)
            }
            Self::At(millis) => millis,
        }
    }
}

/// `2026-11-20`, `2026-11-20T08:30` or `2026-11-20 08:30:15`, and not the many other forms that
/// jiff's own parser takes.
fn civil(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "0:0"));
    let mut date = date.splitn(3, '-');
    let date = Date::new(
        date.next()?.parse().ok()?,
        date.next()?.parse().ok()?,
        date.next()?.parse().ok()?,
    );
    let mut time = time.splitn(3, ':');
    let time = Time::new(
        time.next()?.parse().ok()?,
        time.next()?.parse().ok()?,
        time.next().unwrap_or("0").parse().ok()?,
        0,
    );
    Some(date.ok()?.to_datetime(time.ok()?))
}

/// A time in milliseconds since 1970-01-01 UTC, in the machine's own zone and this form of
/// strftime; the number where it is beyond all calendars.
pub(crate) fn local(unix_millis: impl TryInto<i64>, form: &str) -> String {
    let millis = unix_millis.try_into().unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        |_| millis.to_string(),
        |time| {
            let zoned = time.to_zoned(TimeZone::system());
            zoned.strftime(form).to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_so_long_ago_or_dates() {
        let now = 1_795_176_000_000;
        let when = |text| When::from_text(text).unwrap().millis(now);
        assert_eq!(when("2h"), now - 7_200_000);
        assert_eq!(when("99999d"), 0);
        let noon = when("2026-11-20T12:00");
        assert_eq!(noon - when("2026-11-20"), 12 * 3_600_000);
        assert_eq!(when("2026-11-20 12:00:05") - noon, 5000);
        assert_eq!(local(noon, "%H:%M"), "12:00");
        for text in [
            "yesterday",
            "2026-13-01",
            "2026-11-20T25:00",
            "2026-11-20T12",
            "2026-11",
            "12:00",
            "",
        ] {
            let said = When::from_text(text).unwrap_err().to_string();
            assert!(said.contains("is no time"), "{said}");
        }
    }
}
