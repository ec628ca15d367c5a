//! What this kernel's netfilter can do, told by installing real rules in a scratch chain that
//! nothing jumps to. `/proc/net/ip_tables_matches` is no substitute: it lists what is loaded,
//! not what the program and the kernel agree on.

use super::apply::{Error, everywhere, removal};
use super::expression;
use super::iptables::{CommandError, Iptables};
use super::plan::{DEFAULT_FOLLOW_MARK, DEFAULT_MARK, Family, Plan, Table};

/// Nothing ever jumps to it.
const SCRATCH: &str = "muzzle_probe";

/// Something the plan may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// The raw table.
    RawTable,
    /// The NFQUEUE target with `--queue-bypass`.
    Queue,
    /// The mark match.
    Mark,
    /// The u32 match.
    U32,
    /// The CT target with `--notrack`.
    Notrack,
    /// The mangle table.
    MangleTable,
    /// The conntrack match.
    Conntrack,
    /// The connmark match and the CONNMARK target.
    Connmark,
}

impl Feature {
    /// All, tables before what is tried in them.
    pub const ALL: [Self; 8] = [
        Self::RawTable,
        Self::Queue,
        Self::Mark,
        Self::U32,
        Self::Notrack,
        Self::MangleTable,
        Self::Conntrack,
        Self::Connmark,
    ];

    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RawTable => "raw table",
            Self::Queue => "NFQUEUE with queue-bypass",
            Self::Mark => "mark match",
            Self::U32 => "u32 match",
            Self::Notrack => "CT --notrack",
            Self::MangleTable => "mangle table",
            Self::Conntrack => "conntrack match",
            Self::Connmark => "connection marks",
        }
    }

    /// Whether a family without it cannot be filtered at all.
    pub const fn is_required(self) -> bool {
        matches!(self, Self::RawTable | Self::Queue | Self::Mark)
    }

    /// What follows where it is missing.
    pub const fn consequence(self) -> &'static str {
        match self {
            Self::RawTable => "there is no place for the rules: the family stays unfiltered",
            Self::Queue => {
                "packets cannot be looked at without the risk of holding them up: the family \
                 stays unfiltered"
            }
            Self::Mark => {
                "forged packets could not be kept off the network: the family stays unfiltered"
            }
            Self::U32 => {
                "server names, HTTP hosts and QUIC are not seen: only DNS and addresses decide"
            }
            Self::Notrack => {
                "forged DNS answers are deleted from connection tracking one by one"
            }
            Self::MangleTable => {
                "DNS answers are not looked at: what hides behind an alias passes, and \
                 connections without a name stay without; hotspot clients cannot be filtered"
            }
            Self::Conntrack => {
                "every packet from a port 53 is looked at, also where nobody asked"
            }
            Self::Connmark => {
                "server names and HTTP hosts are seen only where they stand in the first packet"
            }
        }
    }

    const fn table(self) -> Table {
        match self {
            Self::MangleTable | Self::Conntrack | Self::Connmark => Table::Mangle,
            _ => Table::Raw,
        }
    }

    /// A rule that uses it; none for a table itself.
    fn rule(self, family: Family) -> Option<String> {
        let mark = format!("-m mark --mark {DEFAULT_MARK:#x}/{DEFAULT_MARK:#x}");
        match self {
            Self::RawTable | Self::MangleTable => None,
            Self::Queue => Some("-j NFQUEUE --queue-num 0 --queue-bypass".to_owned()),
            Self::Mark => Some(format!("{mark} -j DROP")),
            Self::U32 => {
                let hello = expression::client_hello(family);
                Some(format!("-p tcp -m u32 --u32 \"{hello}\" -j RETURN"))
            }
            Self::Notrack => Some("-j CT --notrack".to_owned()),
            Self::Conntrack => Some("-m conntrack --ctstate ESTABLISHED -j RETURN".to_owned()),
            Self::Connmark => {
                let bit = format!("{DEFAULT_FOLLOW_MARK:#x}/{DEFAULT_FOLLOW_MARK:#x}");
                Some(format!(
                    "-m connmark --mark {bit} -j CONNMARK --set-xmark {bit}"
                ))
            }
        }
    }
}

/// What was found of one feature in one family.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Capability {
    /// Which feature.
    pub feature: Feature,
    /// Its name for people.
    pub name: &'static str,
    /// Which family.
    pub family: Family,
    /// Whether a rule that uses it could be installed.
    pub present: bool,
    /// Why not.
    pub error: Option<String>,
    /// What follows where it is missing.
    pub consequence: &'static str,
}

impl Iptables {
    /// Tries every feature in both families. The scratch chain is removed in every case.
    ///
    /// # Errors
    /// The tables cannot be worked on at all: no permission, the lock is held, or the program
    /// cannot be started. That says nothing about the kernel.
    pub fn probe(&self) -> Result<Vec<Capability>, Error> {
        let mut capabilities = Vec::new();
        let mut failure = None;
        for (family, table) in everywhere(&Family::BOTH) {
            let features = Feature::ALL.into_iter().filter(|it| it.table() == table);
            let features: Vec<_> = features.collect();
            match self.try_features(family, table, &features) {
                Ok(found) => capabilities.extend(found),
                Err(error) => failure = Some(error),
            }
            let is_there = |it: &Capability| it.family == family && it.feature.table() == table;
            if failure.is_some() {
                // It says more than what this might complain of.
                let _left = self.remove_chains(family, table, |name| name == SCRATCH);
                break;
            }
            if capabilities.iter().any(|it| is_there(it) && it.present)
                && let Err(source) = self.restore(family, &removal(table, &[], &[SCRATCH]))
            {
                failure = Some(Error::DeleteChain {
                    family,
                    chain: SCRATCH.to_owned(),
                    source,
                });
            }
        }
        failure.map_or(Ok(capabilities), Err)
    }

    /// All at once, which most kernels take; where one is refused, one by one.
    fn try_features(
        &self,
        family: Family,
        table: Table,
        features: &[Feature],
    ) -> Result<Vec<Capability>, Error> {
        let capability = |&feature: &Feature, error: Option<String>| Capability {
            feature,
            name: feature.name(),
            family,
            present: error.is_none(),
            error,
            consequence: feature.consequence(),
        };
        if self.refusal_of(family, table, features)?.is_none() {
            return Ok(features.iter().map(|it| capability(it, None)).collect());
        }
        features
            .iter()
            .map(|it| {
                let error = self.refusal_of(family, table, std::slice::from_ref(it))?;
                Ok(capability(it, error))
            })
            .collect()
    }

    /// Installs rules that use `features` in the scratch chain; what was said where that cannot be.
    fn refusal_of(
        &self,
        family: Family,
        table: Table,
        features: &[Feature],
    ) -> Result<Option<String>, Error> {
        let mut batch = format!("*{table}\n:{SCRATCH} - [0:0]\n");
        for rule in features.iter().filter_map(|it| it.rule(family)) {
            batch.push_str(&format!("-A {SCRATCH} {rule}\n"));
        }
        batch.push_str("COMMIT\n");
        match self.restore(family, &batch) {
            Ok(()) => Ok(None),
            Err(error @ CommandError::Refused { .. }) => Ok(Some(error.to_string())),
            Err(error @ CommandError::Start { .. }) if family == Family::V6 => {
                Ok(Some(error.to_string()))
            }
            Err(source) => Err(Error::Install {
                family,
                chain: SCRATCH,
                source,
            }),
        }
    }
}

/// A required feature is missing in IPv4: there is no use in starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel cannot be filtered: no {name} ({error})")]
pub struct Unusable {
    /// Which feature, for people.
    pub name: &'static str,
    /// What was answered when it was tried.
    pub error: String,
}

impl Plan {
    /// The plan cut down to what was found.
    ///
    /// # Errors
    /// IPv4 lacks something required.
    pub fn fitted(mut self, capabilities: &[Capability]) -> Result<Self, Unusable> {
        let missing = |family| {
            let lacking = move |found: &&Capability| found.family == family && !found.present;
            capabilities.iter().filter(lacking)
        };
        if let Some(lack) = missing(Family::V4).find(|found| found.feature.is_required()) {
            let error = lack.error.clone().unwrap_or_default();
            return Err(Unusable {
                name: lack.name,
                error,
            });
        }
        self.ipv6 &= !missing(Family::V6).any(|found| found.feature.is_required());
        let families = self.families();
        let lacks = |feature| {
            families
                .iter()
                .any(|&family| missing(family).any(|found| found.feature == feature))
        };
        self.notrack &= !lacks(Feature::Notrack);
        self.conntrack &= !lacks(Feature::Conntrack);
        self.answers &= !lacks(Feature::MangleTable);
        self.forwarded &= !lacks(Feature::MangleTable);
        let needed = [Feature::MangleTable, Feature::Connmark, Feature::U32];
        self.follow &= !needed.into_iter().any(lacks);
        if lacks(Feature::U32) {
            self.tls_ports.clear();
            self.http_ports.clear();
            self.quic_ports.clear();
        }
        Ok(self)
    }
}
