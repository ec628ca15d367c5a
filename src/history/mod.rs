//! What happened, kept on the phone: records in full for some weeks, counts per hour for longer.

mod row;

pub use row::{Row, UnixHours};
