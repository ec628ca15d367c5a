//! What the user decided by command, beside the rules that they wrote.

use super::{Rule, UnixSeconds};

/// A rule made by `muzzle allow` or `muzzle block`. It comes before written rules for the same
/// name, address and app; of several the newest comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What was decided, with its end.
    pub rule: Rule,
    /// When it was made.
    pub made: UnixSeconds,
    /// When it was made and how long it holds, by the phone's own clock face: `of 2026-11-20
    /// 12:44, until 12:54`.
    pub when: Box<str>,
}

/// A while in which everything passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// From this moment on it is over.
    pub until: UnixSeconds,
    /// The same by the phone's own clock face: `until 12:54`.
    pub when: Box<str>,
}

impl Pause {
    /// The longest there is, in seconds.
    pub const MAX_SECONDS: i64 = 86_400;

    /// Whether everything passes at `now`.
    #[must_use]
    pub const fn holds(&self, now: UnixSeconds) -> bool {
        Self::is_within(self.until, now)
    }

    /// Whether a pause that ends at `until` holds at `now`. A clock that was set back a year does
    /// not make one of a year: what ends later than the longest pause could is none.
    #[must_use]
    pub const fn is_within(until: UnixSeconds, now: UnixSeconds) -> bool {
        now.0 < until.0 && until.0.saturating_sub(now.0) <= Self::MAX_SECONDS
    }
}

/// All that was decided by command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// In the order in which they were made.
    pub choices: Vec<Choice>,
    /// The last one, over or not.
    pub pause: Option<Pause>,
}

impl Chosen {
    /// How many choices have not ended at `now`, whether others cover them or not.
    #[must_use]
    pub fn in_force(&self, now: UnixSeconds) -> usize {
        let ends = self.choices.iter().map(|choice| choice.rule.until);
        ends.filter(|until| until.is_none_or(|until| now < until))
            .count()
    }
}
