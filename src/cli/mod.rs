//! The commands people type, one file per subcommand.

pub mod catalogue;
