//! Step 3 of a packet's way: facts + one immutable [`Policy`] → [`Decision`]. Total functions.

pub mod address_set;
pub mod attribution;
pub mod choice;
pub mod decision;
mod encrypted_dns;
pub mod explain;
pub mod facts;
pub mod flow_table;
pub mod name_set;
pub mod policy;
pub mod rule;
mod rule_index;
#[cfg(test)]
mod tests;

pub use address_set::AddressSet;
pub use attribution::{Attribution, AttributionSource, CgroupId};
pub use choice::{Choice, Chosen, Pause};
pub use decision::{Decision, EndpointId, Outcome, Reason};
pub use encrypted_dns::{ENCRYPTED_DNS_PORT, EncryptedDns, PrivateDns};
pub use explain::Explanation;
pub use facts::{Evidence, Facts, FlowKey, Protocol, Uid};
pub use flow_table::FlowTable;
pub use name_set::{NamePattern, NamePatternError, NameSet};
pub use policy::Policy;
pub use rule::{Rule, RuleId, UnixSeconds};

/// What a rule or a catalogue entry asks for.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Let it pass and show it.
    Log,
    /// Refuse it.
    Block,
}

impl std::fmt::Display for Action {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Allow => "allow",
            Self::Log => "log",
            Self::Block => "block",
        })
    }
}

/// Whether blocks are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Blocks block.
    #[default]
    Enforce,
    /// Blocks are recorded as what would have been blocked; everything passes.
    Observe,
}
