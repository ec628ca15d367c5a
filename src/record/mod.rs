//! Step 5 of a packet's way: what was seen and decided, for counters and the log. Never blocks
//! the packet path.

mod connection_names;
mod counters;
mod event;
mod log;
mod recorder;
mod resolved;
mod sighted;

pub use connection_names::ConnectionNames;
pub use counters::{CounterValues, Counters, count};
pub use event::{Event, EventReceiver, EventSender, Learned, Report, Withdrawn, channel};
pub use log::{Entry, Log, LogPosition};
pub use recorder::{GATHER, run};
pub use resolved::ResolvedNames;
pub use sighted::{EvidenceKind, Record};
pub(crate) use sighted::{asked_again, hotspot_client, qtype_name};
