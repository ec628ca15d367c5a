//! The iptables programs: where they are, how they are run, and what their refusals mean.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::plan::{Family, Table};
use crate::program::finish;

/// How long a program waits for the lock. netd gives its own commands about 5 s and holds the
/// lock for milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How much longer than [`LOCK_WAIT`] a program may say nothing before it is killed.
const SILENCE: Duration = Duration::from_secs(5);
/// Where Debian and others keep them; not in every user's PATH.
#[cfg(not(target_os = "android"))]
const SYSTEM_FOLDERS: &str = "/usr/sbin:/sbin";
/// Android's own tools take the lock that netd takes; copies of other origin may not.
#[cfg(target_os = "android")]
const SYSTEM_FOLDERS: &str = "/system/bin";

/// The programs of both families.
#[derive(Clone, Debug)]
pub struct Iptables {
    v4: PathBuf,
    v6: PathBuf,
    wait: Duration,
}

/// Why a program did not do what was asked. Its text is whole: command line, cause, and what
/// the program said.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started or talked to.
    #[error("`{command}` could not be run: {cause}")]
    Start {
        /// The command line.
        command: String,
        /// The cause.
        cause: io::Error,
    },
    /// Not root, or refused by SELinux.
    #[error("`{command}`: no permission, root is needed: {stderr}")]
    NoPermission {
        /// The command line.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// Another program works on the tables.
    #[error(
        "`{command}`: another program held the iptables lock for {} s: {stderr}",
        .wait.as_secs()
    )]
    Locked {
        /// The command line.
        command: String,
        /// How long it was waited for.
        wait: Duration,
        /// What it said.
        stderr: String,
    },
    /// It gave no sign of life and was killed.
    #[error("`{command}` said nothing for {} s and was killed", .limit.as_secs())]
    Silent {
        /// The command line.
        command: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The kernel or the program refused.
    #[error("`{command}` failed ({status}): {stderr}")]
    Refused {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

impl CommandError {
    /// Whether the program or the kernel said no to what was asked, rather than to who asked,
    /// or when.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the same may succeed later.
    pub fn is_for_now(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Silent { .. })
    }
}

/// No iptables where it was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no iptables with its -restore: looked for {0}")]
pub struct NotFound(pub String);

impl Iptables {
    /// Finds the programs: `configured` if given, else the system's. `-restore`, `-save` and
    /// the IPv6 ones have the same place and the like name
    /// (`iptables-legacy` → `ip6tables-legacy-restore`).
    ///
    /// # Errors
    /// The IPv4 program or its `-restore` is not there.
    pub fn find(configured: Option<&Path>) -> Result<Self, NotFound> {
        let candidates = match configured {
            Some(path) => vec![path.to_owned()],
            None => system_candidates(),
        };
        let found = candidates
            .iter()
            .find(|path| path.exists() && sibling(path, "-restore").exists());
        let v4 = found.ok_or_else(|| {
            let looked = candidates.iter().map(|path| path.display().to_string());
            NotFound(looked.collect::<Vec<_>>().join(", "))
        })?;
        Ok(Self {
            v4: v4.clone(),
            v6: ipv6_sibling(v4),
            wait: LOCK_WAIT,
        })
    }

    /// The same programs, waiting for the lock for `wait` (whole seconds, at least one).
    pub fn with_lock_wait(self, wait: Duration) -> Self {
        Self {
            wait: Duration::from_secs(wait.as_secs().max(1)),
            ..self
        }
    }

    /// The program that edits and lists, for `family`.
    pub fn program(&self, family: Family) -> &Path {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// `iptables -t TABLE -S`: chains and rules as text.
    pub(super) fn list(&self, family: Family, table: Table) -> Result<String, CommandError> {
        self.edit(family, table, &["-S"])
    }

    /// `iptables -t TABLE ARGUMENTS`.
    pub(super) fn edit(
        &self,
        family: Family,
        table: Table,
        arguments: &[&str],
    ) -> Result<String, CommandError> {
        let wait = self.wait.as_secs().to_string();
        let start = ["-w", &wait, "-t", table.name()];
        self.run(
            self.program(family),
            start.iter().chain(arguments).copied(),
            "",
        )
    }

    /// `iptables-restore --noflush` with `batch` as its input: all of it happens, or nothing.
    pub(super) fn restore(&self, family: Family, batch: &str) -> Result<(), CommandError> {
        let program = sibling(self.program(family), "-restore");
        let wait = self.wait.as_secs().to_string();
        self.run(&program, ["--noflush", "-w", &wait], batch)
            .map(drop)
    }

    /// `iptables --version`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version(&self, family: Family) -> Result<String, CommandError> {
        self.run(self.program(family), ["--version"], "")
    }

    /// `iptables-save`: every table in use. Takes no lock.
    ///
    /// # Errors
    /// It cannot be run, or refuses.
    pub fn save(&self, family: Family) -> Result<String, CommandError> {
        self.run(&sibling(self.program(family), "-save"), [], "")
    }

    /// `iptables-save -c -t TABLE`: one table with the counters of its rules. Takes no lock.
    pub(super) fn save_counters(
        &self,
        family: Family,
        table: Table,
    ) -> Result<String, CommandError> {
        let program = sibling(self.program(family), "-save");
        self.run(&program, ["-c", "-t", table.name()], "")
    }

    /// `ip rule`: which marks lead to which routes.
    pub(super) fn routing_rules(&self, family: Family) -> Result<String, CommandError> {
        let flag = if family == Family::V4 { "-4" } else { "-6" };
        self.run(Path::new("ip"), [flag, "rule"], "")
    }

    /// Runs a program to its end, bounded in time.
    fn run<'a>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        input: &str,
    ) -> Result<String, CommandError> {
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C");
        let line = command_line(&command);
        let limit = self.wait + SILENCE;
        let failed = |cause| CommandError::Start {
            command: line.clone(),
            cause,
        };
        let finished = finish(&mut command, input, limit).map_err(failed)?;
        let Some((status, output)) = finished else {
            return Err(CommandError::Silent {
                command: line,
                limit,
            });
        };
        if status.success() {
            return Ok(output);
        }
        Err(refusal(line, status, one_line(&output), self.wait))
    }
}

/// Sorts a failure by what the user can do about it. The words are iptables' own, from 1.6.1 on.
fn refusal(
    command: String,
    status: ExitStatus,
    stderr: String,
    wait: Duration,
) -> CommandError {
    let says = |text| stderr.contains(text);
    if says("Permission denied") || says("Operation not permitted") || says("must be root") {
        CommandError::NoPermission { command, stderr }
    } else if says("holding the xtables lock") {
        CommandError::Locked {
            command,
            wait,
            stderr,
        }
    } else {
        CommandError::Refused {
            command,
            status,
            stderr,
        }
    }
}

/// The command line as a user would type it.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// Every place where the system may have it, best first. The legacy program before the plain
/// name, which on some systems is the nftables one.
fn system_candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").filter(|_| !cfg!(target_os = "android"));
    let path = path.unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain(std::env::split_paths(SYSTEM_FOLDERS))
        .filter(|folder| folder.is_absolute())
        .collect();
    let names: &[&str] = if cfg!(target_os = "android") {
        &["iptables"]
    } else {
        &["iptables-legacy", "iptables"]
    };
    let places = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.collect()
}

/// `path` with `suffix` at its name's end.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn ipv6_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(name.replacen("iptables", "ip6tables", 1))
}
