//! What would be decided about a name or an address, and why, for whoever asks: nothing was sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Ruleset;
use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::apps::{PackageName, Packages, UserId};
use crate::catalogue::{Category, Confidence, Endpoint};
use crate::decide::{Action, Evidence, Facts, FlowKey, Outcome, Protocol, Reason, UnixSeconds};
use crate::parse::DomainName;

/// IANA "Resource Record (RR) TYPEs": A.
const TYPE_A: u16 = 1;
/// The phone's end, which no rule looks at: an address for documentation (RFC 5737).
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);
/// A resolver, whose address does not count either.
const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53);
/// Where a connection by address alone goes to.
const TLS_PORT: u16 = 443;
/// Names shown of those that are decided on otherwise.
const SHOWN: usize = 3;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A DNS question for a name.
    Name(&'a DomainName),
    /// A connection to an address, port 443, that names no host.
    Address(IpAddr),
}

/// The answer, told in full. `muzzle check --json` prints it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The name or the address.
    pub name: String,
    /// The app that was asked about.
    pub app: Option<String>,
    /// What is asked for.
    pub action: Action,
    /// What comes of that.
    pub outcome: Outcome,
    /// What decided.
    pub reason: Reason,
    /// Why, in words.
    pub why: String,
    /// The user's rule that decided.
    pub rule: Option<CheckedRule>,
    /// What the user decided by command, where that decided.
    pub choice: Option<CheckedChoice>,
    /// How a refusal is told; absent where nothing would be refused.
    pub answer: Option<CheckedAnswer>,
    /// What the catalogue knows of the name, whoever decided.
    pub entry: Option<CheckedEntry>,
    /// What there is to say beside it.
    pub notes: Vec<String>,
    /// The config file; absent where the built-in defaults stand in for it.
    pub config: Option<String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRule {
    /// Its place in the config, counted from 1.
    pub number: u32,
    /// In words.
    pub rule: String,
    /// When it ends.
    pub until: Option<UnixSeconds>,
    /// The user's note.
    pub comment: String,
}

/// What was decided by command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedChoice {
    /// In words.
    pub rule: String,
    /// When it was made.
    pub made: UnixSeconds,
    /// When it ends.
    pub until: Option<UnixSeconds>,
}

/// How a refusal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedAnswer {
    /// To a DNS question; absent for an address.
    pub dns: Option<DnsRefusal>,
    /// To a connection.
    pub connections: ConnectionRefusal,
}

/// A catalogue entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in Endpoint")]
pub struct CheckedEntry {
    pub pattern: String,
    pub owner: String,
    pub system: String,
    pub region: String,
    pub category: Category,
    pub action: Action,
    pub confidence: Confidence,
    pub breaks: String,
    pub sources: Vec<String>,
}

impl Checked {
    /// Asks `ruleset` what it says of `asked` at `now` where `app` asks. `packages` are those that
    /// the ruleset was made with.
    #[must_use]
    pub fn new(
        ruleset: &Ruleset,
        packages: &Packages,
        asked: Asked<'_>,
        app: Option<&PackageName>,
        now: UnixSeconds,
    ) -> Self {
        let uid = app.and_then(|app| Some(packages.app_id(app)?.uid(UserId(0))));
        let (protocol, remote, evidence) = match asked {
            Asked::Name(name) => {
                let qtype = TYPE_A;
                (Protocol::Udp, RESOLVER, Evidence::Question { name, qtype })
            }
            Asked::Address(address) => {
                let remote = SocketAddr::new(address, TLS_PORT);
                (Protocol::Tcp, remote, Evidence::Unnamed)
            }
        };
        let flow = FlowKey {
            protocol,
            local: LOCAL,
            remote,
        };
        let policy = &ruleset.policy;
        let facts = Facts {
            flow,
            attribution: uid.into(),
            evidence,
        };
        let explanation = policy.explain(&policy.decide(&facts, now), now);
        let decision = explanation.decision;
        let name = evidence.name();
        let entry = name.and_then(|name| Some(policy.catalogue_entry(name)?.1));
        let unknown = app.filter(|_| uid.is_none()).map(|app| {
            format!(
                "{app} is not installed as far as Android's list tells: what is decided for it \
                 does nothing until it is"
            )
        });
        Self {
            name: match asked {
                Asked::Name(name) => name.to_string(),
                Asked::Address(address) => address.to_string(),
            },
            app: app.map(ToString::to_string),
            action: decision.action,
            outcome: explanation.outcome,
            reason: decision.reason,
            why: explanation.to_string(),
            rule: explanation.rule.map(|(number, rule)| CheckedRule {
                number: number.0,
                rule: rule.to_string(),
                until: rule.until,
                comment: rule.comment.clone(),
            }),
            choice: explanation.choice.map(|choice| CheckedChoice {
                rule: choice.rule.to_string(),
                made: choice.made,
                until: choice.rule.until,
            }),
            answer: (decision.action == Action::Block).then(|| CheckedAnswer {
                dns: name.map(|name| ruleset.dns_refusal(name, uid)),
                connections: ruleset.connection_refusal(name, uid),
            }),
            entry: entry.or(explanation.endpoint).map(CheckedEntry::new),
            notes: unknown.into_iter().collect(),
            config: None,
        }
    }

    /// Notes which names below that of `*.name` are not decided on by a rule for it, which asks for
    /// `action`.
    pub fn note_exceptions(&mut self, ruleset: &Ruleset, name: &DomainName, action: Action) {
        let policy = &ruleset.policy;
        if action == Action::Block {
            let below: Vec<_> = policy.protected_below(name).collect();
            self.note_some(&below, "essential and still pass, by name");
        }
        let otherwise = policy.rules_below(name);
        let rules: Vec<_> = otherwise
            .filter(|rule| (rule.action == Action::Block) != (action == Action::Block))
            .map(ToString::to_string)
            .collect();
        self.note_some(&rules, "decided on by more specific rules or choices");
    }

    fn note_some(&mut self, names: &[String], what: &str) {
        if names.is_empty() {
            return;
        }
        let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
        let more = match names.len().saturating_sub(SHOWN) {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        self.notes
            .push(format!("below it are {what}: {shown}{more}"));
    }

    /// Whether it is so as a user wants it who asked for `action`.
    #[must_use]
    pub fn is(&self, action: Action) -> bool {
        match action {
            Action::Block => self.outcome == Outcome::Blocked,
            Action::Allow | Action::Log => self.action != Action::Block,
        }
    }
}

impl CheckedEntry {
    /// What is said of `entry`.
    #[must_use]
    pub fn new(entry: &Endpoint) -> Self {
        Self {
            pattern: entry.pattern.to_string(),
            owner: entry.owner.clone(),
            system: entry.system.clone(),
            region: entry.region.clone(),
            category: entry.category,
            action: entry.action,
            confidence: entry.confidence,
            breaks: entry.breaks.clone(),
            sources: entry.sources.clone(),
        }
    }
}
