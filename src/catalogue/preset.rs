//! How much of the catalogue is blocked, in one word.

use super::{Category, Confidence, Endpoint};
use crate::decide::Action;

/// How cautious the catalogue's blocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Only telemetry, crash reports and ads that are known for sure; other blocks only log.
    Careful,
    /// What each entry says.
    #[default]
    Standard,
    /// Also what entries only log of telemetry, crash reports, ads, their configuration and
    /// HTTP name resolution.
    Strict,
}

impl Preset {
    /// What this preset does with `endpoint`. Protected endpoints are the same in all presets.
    #[must_use]
    pub fn action(self, endpoint: &Endpoint) -> Action {
        use Category::{Ads, Config, Crash, Httpdns, Telemetry};
        let sure = endpoint.confidence == Confidence::High
            && matches!(endpoint.category, Telemetry | Crash | Ads);
        let unwanted = matches!(
            endpoint.category,
            Telemetry | Crash | Ads | Config | Httpdns
        );
        match (self, endpoint.action) {
            (Self::Careful, Action::Block) if !sure => Action::Log,
            (Self::Strict, Action::Log) if unwanted => Action::Block,
            (_, action) => action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Pattern;
    use crate::parse::DomainName;

    fn endpoint(action: Action, category: Category, confidence: Confidence) -> Endpoint {
        Endpoint {
            pattern: Pattern::Exact(DomainName::from_ascii(b"a.example.com").unwrap()),
            owner: "Example".into(),
            system: "Example".into(),
            region: "global".into(),
            category,
            action,
            confidence,
            ports: Vec::new(),
            breaks: "nothing reported".into(),
            sources: vec!["https://example.com/".into()],
        }
    }

    #[test]
    fn each_preset_chooses_by_category_and_confidence() {
        use Action::{Allow, Block, Log};
        use Category::{Ads, Config, Essential, Functional, Push, Telemetry};
        use Confidence::{High, Low, Medium};
        for (action, category, confidence, careful, standard, strict) in [
            (Block, Telemetry, High, Block, Block, Block),
            (Block, Telemetry, Medium, Log, Block, Block),
            (Block, Config, High, Log, Block, Block),
            (Log, Ads, Low, Log, Log, Block),
            (Log, Functional, High, Log, Log, Log),
            (Allow, Telemetry, High, Allow, Allow, Allow),
            (Allow, Essential, Low, Allow, Allow, Allow),
            (Log, Push, High, Log, Log, Log),
        ] {
            let endpoint = endpoint(action, category, confidence);
            let by = |preset: Preset| preset.action(&endpoint);
            assert_eq!(
                [
                    by(Preset::Careful),
                    by(Preset::Standard),
                    by(Preset::Strict)
                ],
                [careful, standard, strict],
                "{action:?} {category:?} {confidence:?}"
            );
        }
    }
}
