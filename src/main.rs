//! Arguments → one subcommand.

use std::process::ExitCode;

use clap::Parser;
use muzzle::cli::{Cli, EXIT_USAGE};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        // clap would exit with 2 for wrong usage; --help and --version are no errors.
        Err(error) => {
            let wrong = error.use_stderr();
            // Nothing is left to do where even that cannot be printed.
            let _printed = error.print();
            if wrong {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            }
        }
    }
}
