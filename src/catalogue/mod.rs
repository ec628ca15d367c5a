//! The catalogue: what is known about each endpoint, with sources. `config/catalogue/*.toml` is
//! compiled into the binary; a directory of the user's own can replace it.

mod backlog;
pub mod export;
pub mod find;
pub mod lint;
pub mod load;
pub mod preset;
pub mod public_suffix;

pub use backlog::{BACKLOGS, Backlog, backlog};
pub use export::{Format, export};
pub use lint::{Finding, Rule, lint};
pub use load::LoadError;
pub use preset::Preset;
pub use public_suffix::PublicSuffix;

use std::fmt;

use ipnet::IpNet;

use crate::decide::Action;
use crate::parse::DomainName;

/// What an endpoint is named by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This name only.
    Exact(DomainName),
    /// `*.x`: x and every name below it.
    Suffix(DomainName),
    /// An address or a range of addresses.
    Range(IpNet),
    /// What path and query of an HTTP request to any host begin with.
    Path(Box<str>),
}

impl Pattern {
    /// The name it is about; `None` for a range of addresses and for a path.
    #[must_use]
    pub const fn name(&self) -> Option<&DomainName> {
        match self {
            Self::Exact(name) | Self::Suffix(name) => Some(name),
            Self::Range(_) | Self::Path(_) => None,
        }
    }
}

impl fmt::Display for Pattern {
    /// As the catalogue files write it: `x`, `*.x`, `192.0.2.0/24`, `/path`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(out, "{name}"),
            Self::Suffix(name) => write!(out, "*.{name}"),
            Self::Range(range) => write!(out, "{range}"),
            Self::Path(path) => out.write_str(path),
        }
    }
}

/// What an endpoint is for.
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
    /// A public resolver that is asked over HTTPS or TLS.
    #[serde(rename = "encrypted-dns")]
    EncryptedDns,
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

impl Category {
    /// Every category under the word that catalogue files use for it.
    pub const WORDS: &[(&str, Self)] = &[
        ("telemetry", Self::Telemetry),
        ("crash", Self::Crash),
        ("ads", Self::Ads),
        ("config", Self::Config),
        ("httpdns", Self::Httpdns),
        ("encrypted-dns", Self::EncryptedDns),
        ("push", Self::Push),
        ("ota", Self::Ota),
        ("cloud", Self::Cloud),
        ("functional", Self::Functional),
        ("essential", Self::Essential),
    ];

    /// Whether an allowed entry of this category is protected from lists and wildcards.
    #[must_use]
    pub const fn is_protective(self) -> bool {
        matches!(self, Self::Essential | Self::Push | Self::Ota | Self::Cloud)
    }
}

/// How sure the catalogue is of an entry's purpose.
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
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// One community list, purpose read from the name.
    Low,
    /// Several lists or one good source.
    Medium,
    /// Seen in app code, a capture or published research.
    High,
}

impl Confidence {
    /// Every confidence under the word that catalogue files use for it.
    pub const WORDS: &[(&str, Self)] = &[
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
    ];
}

/// One catalogue entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name, address range or path.
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
        self.action == Action::Allow && self.category.is_protective()
    }
}

/// All endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// In the order of the files.
    pub endpoints: Vec<Endpoint>,
}

/// The word for `value` in a table of words, such as [`Category::WORDS`].
pub(crate) fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words
        .iter()
        .find(|(_, other)| *other == value)
        .map_or("?", |(word, _)| word)
}

/// Every action under the word that catalogue files use for it.
pub(crate) const ACTION_WORDS: &[(&str, Action)] = &[
    ("allow", Action::Allow),
    ("log", Action::Log),
    ("block", Action::Block),
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A telemetry entry with everything a lint asks for.
    pub(crate) fn endpoint(pattern: &str, action: Action) -> Endpoint {
        Endpoint {
            pattern: load::parse_name(pattern).unwrap(),
            owner: "Example".to_owned(),
            system: "Example".to_owned(),
            region: "global".to_owned(),
            category: Category::Telemetry,
            action,
            confidence: Confidence::High,
            ports: Vec::new(),
            breaks: "nothing".to_owned(),
            sources: vec!["https://example.com/".to_owned()],
        }
    }

    #[test]
    fn patterns_print_as_they_are_written() {
        for text in ["x.example.com", "*.example.com"] {
            assert_eq!(load::parse_name(text).unwrap().to_string(), text);
        }
        let range = Pattern::Range("192.0.2.0/24".parse().unwrap());
        assert_eq!(range.to_string(), "192.0.2.0/24");
    }

    #[test]
    fn only_allowed_entries_of_protective_categories_are_protected() {
        let mut entry = endpoint("x.example.com", Action::Allow);
        assert!(!entry.is_protected());
        entry.category = Category::Push;
        assert!(entry.is_protected());
        entry.action = Action::Log;
        assert!(!entry.is_protected());
    }
}
