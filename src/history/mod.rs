//! What happened, kept on the phone: records in full for some weeks, counts per hour for longer.

pub mod block;
mod coding;
mod decode;
mod encode;
mod files;
mod query;
mod reader;
mod row;
mod series;
mod store;
mod tally;
mod writer;

pub use decode::{RecordRef, Records};
pub use encode::RecordsBlock;
pub use files::FileError;
pub use query::{NameFilter, Query};
pub use reader::Reader;
pub use row::{Row, UnixHours};
pub use store::{Extent, Limits, Store, StoreError};
pub use tally::{Tally, rows};
pub use writer::{Health, Settings, Writer};
