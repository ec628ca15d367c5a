//! Presets: how much of the catalogue a user wants blocked.

use std::fmt;

use super::{Category, Confidence, Endpoint};
use crate::decide::Action;

/// How far the catalogue's blocks go. Protected endpoints are the same in all of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Blocks telemetry, crash reports and ads that were seen in app code, a capture or published
    /// research; every other block becomes a log.
    Careful,
    /// What each entry says.
    #[default]
    Standard,
    /// Blocks too what `standard` only logs, where it is telemetry, crash reports, ads, their
    /// configuration or name resolution past the system. Features may break: see each entry.
    Strict,
}

impl Preset {
    /// Every preset under the word that configs and commands use for it.
    pub const WORDS: &[(&str, Self)] = &[
        ("careful", Self::Careful),
        ("standard", Self::Standard),
        ("strict", Self::Strict),
    ];

    /// What this preset does with `endpoint`.
    #[must_use]
    pub fn action(self, endpoint: &Endpoint) -> Action {
        if endpoint.is_protected() {
            return Action::Allow;
        }
        match (self, endpoint.action) {
            (Self::Careful, Action::Block) if !is_certain(endpoint) => Action::Log,
            (Self::Strict, Action::Log) if is_unwanted(endpoint.category) => Action::Block,
            (_, action) => action,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(super::word(Self::WORDS, *self))
    }
}

fn is_certain(endpoint: &Endpoint) -> bool {
    endpoint.confidence == Confidence::High
        && matches!(
            endpoint.category,
            Category::Telemetry | Category::Crash | Category::Ads
        )
}

const fn is_unwanted(category: Category) -> bool {
    matches!(
        category,
        Category::Telemetry
            | Category::Crash
            | Category::Ads
            | Category::Config
            | Category::Httpdns
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::*;

    #[test]
    fn each_preset_changes_only_what_it_says() {
        use Action::{Allow, Block, Log};
        use Category::{Cloud, Config, Essential, Functional, Httpdns, Push, Telemetry};
        use Confidence::{High, Low};
        for (category, action, confidence, expected) in [
            (Telemetry, Block, High, [Block, Block, Block]),
            (Telemetry, Block, Low, [Log, Block, Block]),
            (Config, Block, High, [Log, Block, Block]),
            (Telemetry, Log, Low, [Log, Log, Block]),
            (Httpdns, Log, High, [Log, Log, Block]),
            (Functional, Log, High, [Log, Log, Log]),
            (Cloud, Log, High, [Log, Log, Log]),
            (Telemetry, Allow, High, [Allow, Allow, Allow]),
            (Essential, Allow, Low, [Allow, Allow, Allow]),
            (Push, Allow, High, [Allow, Allow, Allow]),
        ] {
            let mut entry = endpoint("x.example.com", action);
            entry.category = category;
            entry.confidence = confidence;
            for (&(_, preset), expected) in Preset::WORDS.iter().zip(expected) {
                assert_eq!(preset.action(&entry), expected, "{preset} {category:?}");
            }
        }
    }
}
