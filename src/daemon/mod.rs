//! The shell: supervisor and worker, start and stop order, signals, reload.
//!
//! [`run`] is the supervisor: it starts the worker (the same program again), watches its queues
//! from outside, and lets traffic flow again within a second when the worker crashes or hangs.
//! [`work`] is the worker: start: rules → queues → chains last; stop: hold no more → chains → drain
//! → queues. Between the two nothing but the queue threads touches packets. Either takes the
//! chains away when the other is gone.

mod boot;
mod ends;
mod filter;
mod history;
mod link;
mod logging;
mod module;
mod open;
mod package_watch;
pub(crate) mod private_dns;
mod process;
mod queues;
mod restarts;
mod rules;
mod stall;
mod supervisor;
mod sweep;
mod unseen;
mod watch;
mod worker;
mod worker_process;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::exit_code;

/// Exit status of a worker that stopped in good order but for its chains, which are the
/// supervisor's to remove.
const EXIT_CHAINS_LEFT: u8 = 75;

/// How the daemon is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The config file, where one was named.
    pub config: Option<PathBuf>,
    /// It was started by a script at boot rather than by a person: it leaves the starter's
    /// cgroup, and asks the out-of-memory killer for mercy.
    pub service: bool,
    /// The folder of the installed module: its flags `disable` and `remove` switch Muzzle off, and
    /// its description tells how Muzzle is.
    pub module: Option<PathBuf>,
    /// A file for the daemon's own log, beside logcat or standard error.
    pub log_file: Option<PathBuf>,
    /// Why nothing may be blocked, whatever the config says.
    pub observe: Option<String>,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It could not start. Why has been said where the worker could not: then the exit code is its.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    logging::start(options.log_file.as_deref());
    supervisor::run(options)
}

/// Runs the worker, on the line to its supervisor that is its standard input. Why it could not
/// start, or which queue failed, is in the log, and nothing is left behind in either case.
#[must_use]
pub fn work(options: &Options, restarts: u32) -> ExitCode {
    logging::start(options.log_file.as_deref());
    match worker::run(options, restarts) {
        Ok(worker::End::Clean) => ExitCode::SUCCESS,
        Ok(worker::End::ChainsLeft) => ExitCode::from(EXIT_CHAINS_LEFT),
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}
