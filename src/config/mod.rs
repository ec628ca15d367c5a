//! The config file: as written ([`reader`]) → as meant.

pub mod reader;

pub use reader::{Problem, Problems};
