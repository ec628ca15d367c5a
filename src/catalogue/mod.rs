//! The catalogue: what is known about each endpoint, with sources. `config/catalogue/*.toml` is
//! compiled into the binary; a directory of the user's own can replace it.

pub mod preset;

pub use preset::Preset;

use ipnet::IpNet;

use crate::decide::Action;
use crate::parse::DomainName;

/// What an endpoint is named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name only.
    Exact(DomainName),
    /// `*.x`: x and every name below it.
    Suffix(DomainName),
    /// An address or a range of addresses.
    Range(IpNet),
}

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Usage statistics, identifiers, behaviour.
    Telemetry,
    /// Crash and diagnostic reports.
    Crash,
    /// Advertising.
    Ads,
    /// Remote configuration of telemetry and ads.
    Config,
    /// Name resolution over HTTP, past the system resolver.
    Httpdns,
    /// Push messages.
    Push,
    /// System and app updates.
    Ota,
    /// The user's own cloud data.
    Cloud,
    /// A feature that users see.
    Functional,
    /// The phone does not work right without it: captive-portal probe, account login, time.
    Essential,
}

/// How sure the catalogue is of an entry's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// One community list, purpose read from the name.
    Low,
    /// Several lists or one good source.
    Medium,
    /// Seen in app code, a capture or published research.
    High,
}

/// One catalogue entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address range.
    pub pattern: Pattern,
    /// Company that runs it.
    pub owner: String,
    /// The part of the phone's software that talks to it.
    pub system: String,
    /// Where it is: CN, SG, RU, IN, EU, US or `global`.
    pub region: String,
    /// What it is for.
    pub category: Category,
    /// What preset `standard` does with it.
    pub action: Action,
    /// How sure this is.
    pub confidence: Confidence,
    /// TCP ports beside 443 and 80 that it is known to use.
    pub ports: Vec<u16>,
    /// What users lose when it is blocked.
    pub breaks: String,
    /// Where this is known from; at least one.
    pub sources: Vec<String>,
}

impl Endpoint {
    /// Whether no list and no wildcard may block it (docs/behaviour.md, contract 2).
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.action == Action::Allow
            && matches!(
                self.category,
                Category::Essential | Category::Push | Category::Ota | Category::Cloud
            )
    }
}

/// All endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// In the order of the files.
    pub endpoints: Vec<Endpoint>,
}
