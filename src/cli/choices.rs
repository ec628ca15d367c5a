//! `muzzle allow`, `block`, `pause`, `resume`, `undo` and `choices`: what the user decides by
//! command.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::check::{Rules, print_answer};
use super::live::SocketArgs;
use super::{EXIT_FAILURE, UsageError, duration};
use crate::choices::{Applied, Change, ChoicesFile, What, Wish};
use crate::clock;
use crate::control::client::ClientError;
use crate::control::protocol::{Body, Call, Changed};
use crate::decide::UnixSeconds;

/// What the commands that change something share.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    socket: SocketArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `muzzle allow` and `muzzle block`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Then it says what the name comes to now, and exits with 1 where that is not what was asked
for. It comes before the rules of the config for the same name; a rule for a more specific name
or for the app still wins. An essential service is blocked by its very name only. `muzzle undo`
takes it back.

Examples:
  muzzle block tracking.example.com
  muzzle allow '*.example.com' --app com.android.browser
  muzzle allow https://news.example.com/page --for 10m"
)]
pub struct WishArgs {
    /// A host, '*.host' for it and everything below it, an address or a range; of a URL the host
    name: String,
    /// Only for this app, as in com.android.browser
    #[arg(long, value_name = "PACKAGE")]
    app: Option<String>,
    /// For how long, as in 10m, 2h or 7d; until it is taken back where it is not given
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    length: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `muzzle pause`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What would have been blocked is shown by `muzzle log`. A pause ends by itself, at a restart of
the phone, or with `muzzle resume`."
)]
pub struct PauseArgs {
    /// For how long, as in 10m or 2h; a day at most
    #[arg(value_name = "TIME", value_parser = duration::parse, default_value = "10m")]
    length: Duration,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `muzzle resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    common: Common,
}

/// Arguments of `muzzle undo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Once more takes back the one before, as `muzzle choices` shows them.")]
pub struct UndoArgs {
    /// The last one about this name or address, instead of the last of all
    name: Option<String>,
    /// The one that was for this app only
    #[arg(long, value_name = "PACKAGE", requires = "name")]
    app: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `muzzle choices`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

impl WishArgs {
    fn wish(&self) -> Wish {
        Wish {
            target: self.name.clone(),
            app: self.app.clone(),
            for_secs: self.length.map(|length| length.as_secs()),
        }
    }
}

/// Runs `muzzle allow`.
///
/// # Errors
/// The name is none, or the change cannot be made or written.
pub fn allow(
    args: &WishArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    change(&Change::Allow(args.wish()), &args.common, config, out)
}

/// Runs `muzzle block`.
///
/// # Errors
/// As [`allow`].
pub fn block(
    args: &WishArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    change(&Change::Block(args.wish()), &args.common, config, out)
}

/// Runs `muzzle pause`.
///
/// # Errors
/// It is too long, or the change cannot be made or written.
pub fn pause(
    args: &PauseArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let for_secs = args.length.as_secs();
    change(&Change::Pause { for_secs }, &args.common, config, out)
}

/// Runs `muzzle resume`.
///
/// # Errors
/// The change cannot be made or written.
pub fn resume(
    args: &ResumeArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    change(&Change::Resume, &args.common, config, out)
}

/// Runs `muzzle undo`.
///
/// # Errors
/// There is nothing to take back, or the change cannot be made or written.
pub fn undo(
    args: &UndoArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let undo = Change::Undo {
        target: args.name.clone(),
        app: args.app.clone(),
    };
    change(&undo, &args.common, config, out)
}

/// Runs `muzzle choices`, which reads the file and needs no daemon.
///
/// # Errors
/// The file cannot be read or is wrong.
pub fn list(
    args: &ListArgs,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let choices = ChoicesFile::beside(config).read()?;
    let now = now();
    let boot_id = clock::boot_id().unwrap_or_default();
    for decided in choices.in_force(now, &boot_id).list() {
        if !args.json {
            writeln!(out, "{decided}")?;
            continue;
        }
        let (what, until, app) = match &decided.what {
            What::Rule(rule) => (rule.to_string(), rule.until, rule.app.as_ref()),
            What::Pause { until, .. } => ("pause".to_owned(), Some(*until), None),
        };
        let made = decided.made;
        let line = json!({ "what": what, "app": app, "made": made, "until": until });
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is printed of a change.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    changed: &'a Changed,
    /// A daemon has made it, so that it is in force.
    in_force: bool,
}

fn change(
    change: &Change,
    common: &Common,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    change
        .check()
        .map_err(|error| UsageError(error.to_string()))?;
    let call = || common.socket.ask(config, Call::Change(change.clone()));
    let (changed, in_force) = match call() {
        Ok(body) => (of_daemon(body)?, true),
        Err(error) if is_away(&error) => {
            let file = ChoicesFile::beside(config);
            let locked = file.lock()?;
            // It may have come meanwhile. If it comes from now on, it waits for the lock and reads.
            if common.socket.connect(config).is_ok() {
                drop(locked);
                (of_daemon(call()?)?, true)
            } else {
                let (mut choices, warning) = file.read_or_set_aside();
                if let Some(warning) = warning {
                    anstream::eprintln!("muzzle: {warning}");
                }
                let boot_id = clock::boot_id().unwrap_or_default();
                let applied = choices.apply(change, now(), &boot_id)?;
                locked.write(&choices)?;
                (without_daemon(applied, config)?, false)
            }
        }
        Err(error) => return Err(error),
    };
    if common.json {
        let changed = &changed;
        let told = Told { changed, in_force };
        writeln!(out, "{}", serde_json::to_string(&told)?)?;
    } else {
        // What the name comes to says it better.
        if !matches!(change, Change::Allow(_) | Change::Block(_)) {
            writeln!(out, "{}", changed.done)?;
        }
        print(&changed, in_force, out)?;
    }
    Ok(if changed.as_asked {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILURE)
    })
}

/// Nobody is there to make the change.
fn is_away(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ClientError::NotRunning(_) | ClientError::Off(_))
    )
}

fn of_daemon(body: Body) -> Result<Changed, ClientError> {
    match body {
        Body::Changed(changed) => Ok(*changed),
        other => Err(ClientError::Foreign(format!("{other:?}"))),
    }
}

/// What the files say of it.
fn without_daemon(applied: Applied, config: Option<&Path>) -> anyhow::Result<Changed> {
    let Applied {
        done,
        about,
        wanted,
    } = applied;
    let checked = match &about {
        Some((target, app)) => {
            let rules = Rules::read(config, app.as_ref())?;
            Some(rules.check(target, app.as_ref(), wanted, now()))
        }
        None => None,
    };
    Ok(Changed::new(done, 0, checked, wanted))
}

fn print(changed: &Changed, in_force: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(checked) = &changed.now {
        print_answer(checked, out)?;
    }
    match changed.open_ended {
        0 => {}
        1 => writeln!(out, "  ended    1 open connection")?,
        count => writeln!(out, "  ended    {count} open connections")?,
    }
    if !in_force {
        writeln!(
            out,
            "Muzzle is not running: this counts from its next start on"
        )?;
    }
    if !changed.as_asked {
        writeln!(out, "This is not what was asked for: see why.")?;
    }
    Ok(())
}

fn now() -> UnixSeconds {
    UnixSeconds::from_millis(clock::unix_millis())
}
