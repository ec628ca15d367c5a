//! The daemon under test: `muzzle daemon --config FILE` on the lab's phone.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Namespace, wait_for};

/// How long it may take until its control socket is there.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to end after a signal.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running daemon; killed on drop.
pub(crate) struct Daemon {
    child: Child,
    /// Its control socket.
    pub(crate) socket: PathBuf,
    /// Its config file.
    pub(crate) config: PathBuf,
    log: PathBuf,
}

impl Daemon {
    pub(super) fn start(
        phone: &Namespace,
        folder: &Path,
        config: &str,
        arguments: &[&str],
        wait: bool,
    ) -> Self {
        let socket = control_socket(config);
        let name = socket.file_stem().expect("a socket has a name");
        let file = folder.join(name).with_extension("toml");
        std::fs::write(&file, config).expect("the config can be written");
        let log = folder.join(name).with_extension("log");
        let output = File::options().create(true).append(true).open(&log);
        let output = output.expect("the log can be opened");
        let errors = output.try_clone().expect("a file can be opened twice");
        let mut command = phone.command(env!("CARGO_BIN_EXE_muzzle"));
        command
            .args(["daemon", "--config"])
            .arg(&file)
            .args(arguments);
        // Where a test puts programs that a phone has and this machine has not.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}/bin:{path}", folder.display()));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().expect("the daemon can be started");
        let mut daemon = Self {
            child,
            socket,
            config: file,
            log,
        };
        if !wait {
            return daemon;
        }
        let mut ended = None;
        wait_for("the daemon's control socket", START_LIMIT, || {
            ended = daemon.child.try_wait().expect("a child can be waited for");
            // A file may be there from a daemon that was killed.
            ended.is_some() || UnixStream::connect(&daemon.socket).is_ok()
        });
        assert!(
            ended.is_none(),
            "the daemon ended ({ended:?}): {}",
            daemon.log()
        );
        daemon
    }

    /// The process started: the supervisor.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The process that the supervisor has started.
    ///
    /// # Panics
    /// There is none.
    pub(crate) fn worker(&self) -> Pid {
        self.try_worker().expect("a worker runs")
    }

    /// The same, where one runs.
    pub(crate) fn try_worker(&self) -> Option<Pid> {
        // The supervisor may be running iptables beside it.
        let is_worker = |pid: &Pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|line| line.split('\0').any(|word| word == "worker"))
        };
        children(self.pid()).into_iter().find(is_worker)
    }

    /// Sends the supervisor a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Stops supervisor and worker where they are, until [`Self::thaw`].
    pub(crate) fn freeze(&self) {
        let worker = self.worker();
        freeze(self.pid());
        freeze(worker);
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        send(self.worker(), Signal::SIGCONT);
        self.signal(Signal::SIGCONT);
    }

    /// Kills supervisor and worker at once, before one can learn of the other's end.
    pub(crate) fn kill_both(mut self) {
        self.freeze();
        let worker = self.worker();
        send(worker, Signal::SIGKILL);
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("a child can be waited for");
        // Until then its socket still takes connections, which would pass for its successor's.
        wait_for("the worker's end", STOP_LIMIT, || {
            threads_all(worker, |state| matches!(state, 'Z' | 'X'))
        });
    }

    /// Kills the supervisor, its worker and whatever they have started, each at once and wherever it
    /// is, also while they start.
    pub(crate) fn cut_power(mut self) {
        let mut family = vec![self.pid()];
        // Stopped first, so that none of them has another child meanwhile.
        let mut next = 0;
        while let Some(&pid) = family.get(next) {
            let _gone = kill(pid, Signal::SIGSTOP);
            family.extend(children(pid));
            next += 1;
        }
        for &pid in &family {
            let _gone = kill(pid, Signal::SIGKILL);
        }
        self.child.wait().expect("a child can be waited for");
        wait_for("the end of all of them", STOP_LIMIT, || {
            let ended = |&pid: &Pid| threads_all(pid, |state| matches!(state, 'Z' | 'X'));
            family.iter().all(ended)
        });
    }

    /// All it has written to its standard output and error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// It does not end in time; it is killed then.
    pub(crate) fn stop(self) -> ExitStatus {
        self.end_by(Signal::SIGTERM)
    }

    /// Ends it with `signal`.
    ///
    /// # Panics
    /// It does not end in time; it is killed then.
    pub(crate) fn end_by(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut status = None;
        wait_for("the daemon's end after a signal", STOP_LIMIT, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        status.expect("waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("daemon's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process of the lab a signal.
pub(crate) fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("it lives");
}

/// What a process has started and not waited for, by each of its threads.
fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let texts = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let parse = |text: String| -> Vec<Pid> {
        let numbers = text
            .split_ascii_whitespace()
            .filter_map(|it| it.parse().ok());
        numbers.map(Pid::from_raw).collect()
    };
    texts.flat_map(parse).collect()
}

/// Stops all threads of a process where they are.
pub(crate) fn freeze(pid: Pid) {
    send(pid, Signal::SIGSTOP);
    wait_for("every thread to stop", STOP_LIMIT, || {
        threads_all(pid, |state| state == 'T')
    });
}

/// Whether every thread that a process still has is in such a state, by its letter.
fn threads_all(pid: Pid, is_such: impl Fn(char) -> bool) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    // A thread that ends meanwhile has no state any more.
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    // proc_pid_stat(5): the state stands after the name in its brackets.
    stats
        .filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next())
        .all(is_such)
}

/// `[control] socket` of a config.
fn control_socket(config: &str) -> PathBuf {
    let table: toml::Table = config.parse().expect("the config is TOML");
    let socket = table
        .get("control")
        .and_then(|control| control.get("socket"));
    PathBuf::from(
        socket
            .and_then(toml::Value::as_str)
            .expect("the config names its socket"),
    )
}
