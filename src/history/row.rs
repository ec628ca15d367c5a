//! What is counted of decisions.

use crate::decide::Outcome;

/// Hours since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixHours(pub u32);

impl UnixHours {
    /// The hour of a point in time, in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn from_millis(unix_millis: u64) -> Self {
        Self(u32::try_from(unix_millis / 3_600_000).unwrap_or(u32::MAX))
    }
}

/// How often an app and a name met with one outcome in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The hour.
    pub hour: UnixHours,
    /// The app, or the hotspot client, as the log shows it; absent where it is not known.
    pub app: Option<String>,
    /// The name; where there is none, the far end's address.
    pub name: String,
    /// The pattern of the catalogue entry it falls under.
    pub entry: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Decisions: DNS questions of each type, connections, datagrams.
    pub decisions: u64,
    /// How often it was tried: decisions that follow within a second of one another, such as the
    /// questions for IPv4 and IPv6, are one try.
    pub tries: u64,
}
