//! The kernel's part of step 1 of a packet's way: which packets are queued.
//!
//! [`plan`] says in text what must be there, [`apply`] makes it so, checks it and takes it away
//! again, [`probe`] finds out what this kernel can do. Everything is in chains of our own (raw
//! `muzzle_out`; mangle `muzzle_in`, `muzzle_cont` and `muzzle_fwd`) with one jump each; no rule of
//! others is ever edited.
//!
//! What must always hold: removal works whatever state it finds; no rule keeps a packet waiting
//! when nobody listens (`--queue-bypass`); nothing forged leaves by a real interface.

pub mod apply;
pub mod diversion;
mod expression;
pub mod iptables;
pub mod plan;
pub mod probe;
pub mod saved;

pub use apply::{Applied, Error, Warning};
pub use diversion::Diversion;
pub use iptables::{CommandError, Iptables, NotFound};
pub use plan::{DEFAULT_MARK, Family, Plan, Table, WantedChain};
pub use probe::{Capability, Feature};
pub use saved::{Defect, mark_conflicts, sent_to_queue};
