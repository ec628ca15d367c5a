//! The command line: one file a subcommand.

pub mod catalogue;
pub mod check;
pub mod choices;
pub mod completions;
pub mod decode;
pub mod doctor;
pub mod duration;
pub mod explain;
pub mod export;
pub mod live;
pub mod log;
pub mod past;
pub mod reload;
pub mod replay;
pub mod report;
pub mod status;
pub mod suspects;
pub mod terminal;
pub mod time;
pub mod top;
pub mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::clock;
use crate::decide::UnixSeconds;

/// Exit status for wrong usage, config or lists (sysexits.h EX_USAGE).
pub const EXIT_USAGE: u8 = 64;
/// Exit status for what failed while running.
pub const EXIT_FAILURE: u8 = 1;

/// A blocker for telemetry of Xiaomi phones that works on the packets themselves.
///
/// Muzzle takes DNS queries and the first packets of connections from the kernel's netfilter
/// queues and refuses those that go to known telemetry endpoints. It needs root, takes no VPN
/// slot, changes nothing under /system and sends nothing anywhere.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// The config file instead of the usual one (/data/adb/muzzle/muzzle.toml on Android,
    /// /etc/muzzle/muzzle.toml elsewhere; where that does not exist, the defaults apply)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the blocker in the foreground until SIGTERM or SIGINT.
    Daemon(DaemonArgs),
    /// What the daemon runs itself as, to do the work; not for people.
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Say what happens to a name, and why.
    Check(check::CheckArgs),
    /// Let a host or an address pass, whatever else is said of it.
    Allow(choices::WishArgs),
    /// Refuse a host or an address.
    Block(choices::WishArgs),
    /// Let everything pass for a while.
    Pause(choices::PauseArgs),
    /// End the pause.
    Resume(choices::ResumeArgs),
    /// Take back the last allow, block or pause.
    Undo(choices::UndoArgs),
    /// Show what was decided by command.
    Choices(choices::ListArgs),
    /// Show how the running daemon is.
    Status(status::Args),
    /// Show what was sent where, and what became of it.
    Log(log::Args),
    /// Write what was kept as a table, or as JSON, for other programs.
    Export(export::Args),
    /// Show who and what is the most active: apps, names, systems or regions.
    Top(top::Args),
    /// Show what this phone tried to send, and what became of it; with pictures, too.
    Report(report::Args),
    /// Something broke: list the blocks that could explain it, and how to allow each.
    Suspects(suspects::Args),
    /// Say all there is to say of one record.
    Explain(explain::Args),
    /// Say what would have happened to the traffic in a capture file.
    Replay(replay::Args),
    /// Turn telemetry that was captured into plain text.
    Decode(decode::Args),
    /// Make the daemon read its config again; a bad file changes nothing.
    Reload(reload::Args),
    /// Look into what Muzzle knows about endpoints.
    Catalogue(catalogue::CatalogueArgs),
    /// Find out what this kernel and this iptables can do, and what follows from it.
    Doctor(doctor::Args),
    /// Print what bash, zsh or fish needs to complete these commands.
    Completions(completions::Args),
    /// What those run; not for people.
    #[command(hide = true)]
    Complete(completions::WordsArgs),
    /// Check that a zip, or the installed module, is whole, and who signed it.
    Verify(verify::Args),
}

#[derive(Debug, clap::Args)]
struct DaemonArgs {
    /// Started at boot by a script: leave the starter's cgroup and ask the out-of-memory killer
    /// for mercy.
    #[arg(long)]
    service: bool,
    /// The folder of the installed module: its flags `disable` and `remove` switch Muzzle off at
    /// once, and its description tells how Muzzle is.
    #[arg(long, value_name = "FOLDER")]
    module: Option<PathBuf>,
    /// Keep the daemon's own log in this file too; it is bounded (FILE and FILE.1)
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct WorkerArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[arg(long, default_value_t = 0)]
    restarts: u32,
    #[arg(long)]
    observe_because: Option<String>,
}

impl DaemonArgs {
    fn options(&self, config: Option<&Path>) -> crate::daemon::Options {
        let config = config.map(Path::to_owned);
        crate::daemon::Options {
            config,
            service: self.service,
            module: self.module.clone(),
            log_file: self.log_file.clone(),
            observe: None,
        }
    }
}

impl Cli {
    /// Runs the subcommand.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(code) => code,
            Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                anstream::eprintln!("muzzle: {error:#}");
                ExitCode::from(exit_code(&error))
            }
        }
    }

    fn dispatch(self) -> anyhow::Result<ExitCode> {
        let mut out = anstream::stdout().lock();
        let config = self.config.as_deref();
        match self.command {
            Command::Daemon(args) => crate::daemon::run(&args.options(config)),
            Command::Worker(args) => {
                let WorkerArgs {
                    daemon,
                    restarts,
                    observe_because,
                } = args;
                let mut options = daemon.options(config);
                options.observe = observe_because;
                Ok(crate::daemon::work(&options, restarts))
            }
            Command::Check(args) => {
                let now = UnixSeconds::from_millis(clock::unix_millis());
                check::run(&args, config, now, &mut out).map(|()| ExitCode::SUCCESS)
            }
            Command::Allow(args) => choices::allow(&args, config, &mut out),
            Command::Block(args) => choices::block(&args, config, &mut out),
            Command::Pause(args) => choices::pause(&args, config, &mut out),
            Command::Resume(args) => choices::resume(&args, config, &mut out),
            Command::Undo(args) => choices::undo(&args, config, &mut out),
            Command::Choices(args) => choices::list(&args, config, &mut out),
            Command::Status(args) => status::run(&args, config, &mut out),
            Command::Log(args) => log::run(&args, config, &mut out, &mut anstream::stderr()),
            Command::Export(args) => {
                export::run(&args, config, &mut out, &mut anstream::stderr())
            }
            Command::Top(args) => top::run(&args, config, &mut out, &mut anstream::stderr()),
            Command::Report(args) => {
                report::run(&args, config, &mut out, &mut anstream::stderr())
            }
            Command::Suspects(args) => {
                suspects::run(&args, config, &mut out, &mut anstream::stderr())
            }
            Command::Explain(args) => {
                explain::run(&args, config, &mut out, &mut anstream::stderr())
            }
            Command::Replay(args) => {
                replay::run(&args, config, &mut out, &mut anstream::stderr())
            }
            Command::Decode(args) => decode::run(&args, &mut out, &mut anstream::stderr()),
            Command::Reload(args) => reload::run(&args, config, &mut out),
            Command::Catalogue(args) => {
                catalogue::run(&args, config, &mut out, &mut anstream::stderr())
            }
            Command::Doctor(args) => doctor::run(&args, config, &mut out),
            Command::Completions(args) => {
                completions::run(&args, &mut out)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Complete(args) => {
                completions::complete(&args, &mut Self::command(), &mut out)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Verify(args) => verify::run(&args, config, &mut out),
        }
    }
}

/// The exit status that tells scripts whether the user or the machine has to change something.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<crate::config::ConfigError>()
            || cause.is::<crate::catalogue::LoadError>()
    });
    if is_usage { EXIT_USAGE } else { EXIT_FAILURE }
}

/// The reader of a pipe, `head` for instance, has had enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What the user wrote on the command line cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
