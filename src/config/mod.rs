//! The config file: as written ([`reader`]) → as meant.

mod problems;
pub mod reader;

pub use reader::{Problem, Problems};
