//! The command line: one file per subcommand.

pub mod check;

use crate::config::ConfigError;

/// Exit status for a wrong argument or config (`EX_USAGE` of BSD `sysexits.h`).
pub const EXIT_USAGE: u8 = 64;
/// Exit status for everything else that goes wrong.
pub const EXIT_FAILURE: u8 = 1;

/// An argument is wrong: what, and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit status that tells scripts whether the user or the machine has to change something.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error
        .chain()
        .any(|cause| cause.is::<UsageError>() || cause.is::<ConfigError>());
    if is_usage { EXIT_USAGE } else { EXIT_FAILURE }
}
