//! What the policy said of a packet, and why.

use super::{Action, RuleId};

/// The place of an endpoint in the catalogue that the policy was compiled from.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct EndpointId(pub u32);

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "by", content = "id")]
pub enum Reason {
    /// The user's own rule.
    Rule(RuleId),
    /// What the user decided by command; its place among these, the oldest first.
    Choice(RuleId),
    /// An essential service; only a rule that names this very host could decide otherwise.
    Protected(EndpointId),
    /// The catalogue, read through the preset.
    Catalogue(EndpointId),
    /// It is encrypted DNS.
    #[serde(rename = "encrypted-dns")]
    EncryptedDns,
    /// Nothing knows it: it passes.
    Unlisted,
}

/// What the policy asks for, and why. The mode is not in here: see [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Decision {
    /// What is asked for.
    pub action: Action,
    /// What asked for it.
    pub reason: Reason,
}

impl Decision {
    /// Nothing knows it: it passes.
    pub const UNLISTED: Self = Self {
        action: Action::Allow,
        reason: Reason::Unlisted,
    };
}

/// What comes of a decision in the mode that Muzzle is in. The more there is to tell, the
/// greater.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passes.
    Allowed,
    /// It passes and is shown.
    Logged,
    /// It is refused.
    Blocked,
    /// It passes, because Muzzle only observes or is paused.
    WouldBlock,
}

impl Outcome {
    /// Whether the packet is refused.
    #[must_use]
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Blocked)
    }

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Logged => "logged",
            Self::Blocked => "blocked",
            Self::WouldBlock => "would be blocked",
        }
    }
}
