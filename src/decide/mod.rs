//! Step 3 of a packet's way: facts + one immutable [`Policy`] → [`Decision`]. Total functions.

pub mod facts;
pub mod flow_table;

pub use facts::{Evidence, Facts, FlowKey, Protocol, Uid};
pub use flow_table::FlowTable;

/// What a rule or a catalogue entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Let it pass and show it.
    Log,
    /// Refuse it.
    Block,
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
