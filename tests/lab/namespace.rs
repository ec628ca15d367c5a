//! A network namespace: commands, threads and settings in it.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// A network namespace of our own, deleted on drop.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it.
    pub(crate) fn new(name: &str) -> Self {
        run(Command::new("ip").args(["netns", "add", name]));
        Self {
            name: name.to_owned(),
        }
    }

    /// Its name for `ip netns`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command in it. `ip netns exec` becomes that command: the pid stays.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// The same from one line; words are split at blanks.
    pub(crate) fn command_line(&self, line: &str) -> Command {
        let mut words = line.split_ascii_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        command.args(words);
        command
    }

    /// Calls `work` on a thread in it: sockets made and programs started there are in it.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = || {
                self.enter();
                work()
            };
            scope.spawn(inside).join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves the calling thread, and what it will start, into the namespace.
    pub(crate) fn enter(&self) {
        let file =
            File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
    }

    /// `ip -n NAME ARGUMENTS`.
    pub(crate) fn ip(&self, arguments: &str) {
        let arguments = arguments.split_ascii_whitespace();
        run(Command::new("ip").args(["-n", &self.name]).args(arguments));
    }

    /// Several `ip` commands, one a line.
    pub(crate) fn ip_batch(&self, lines: &str) {
        let (sixes, others): (Vec<_>, Vec<_>) = lines
            .lines()
            .map(str::trim)
            .partition(|line| line.starts_with("-6 "));
        feed(
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]),
            &others.join("\n"),
        );
        for line in sixes {
            self.ip(line);
        }
    }

    /// Runs a command line in it with `input`.
    pub(crate) fn feed(&self, line: &str, input: &str) {
        let mut words = line.split_ascii_whitespace();
        let program = words.next().expect("a program");
        feed(self.command(program).args(words), input);
    }

    /// Writes below `/proc/sys`.
    pub(crate) fn write_sysctl(&self, path: &str, value: &str) {
        // /proc/sys/net shows the namespace of the thread that opens the file.
        let path = format!("/proc/sys/{path}");
        self.within(|| std::fs::write(&path, value))
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Makes `resolver` the one of libc in commands run in it.
    pub(crate) fn set_resolver(&self, resolver: IpAddr) {
        self.configure_resolver(resolver, "");
    }

    /// The same with more lines of resolv.conf(5).
    pub(crate) fn configure_resolver(&self, resolver: IpAddr, lines: &str) {
        let folder = self.etc();
        std::fs::create_dir_all(&folder).expect("a folder for resolv.conf can be made");
        let text = format!("nameserver {resolver}\noptions timeout:5 attempts:1\n{lines}\n");
        std::fs::write(folder.join("resolv.conf"), text).expect("resolv.conf can be written");
    }

    /// What `ip netns exec` shows as `/etc`.
    fn etc(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.name)
    }

    /// Whether somebody listens there; `protocol` is `tcp` or `udp`.
    pub(crate) fn is_listening(&self, protocol: &str, address: IpAddr, port: u16) -> bool {
        let suffix = if address.is_ipv6() { "6" } else { "" };
        // `self` would be the process, whose first thread is elsewhere.
        let file = format!("/proc/thread-self/net/{protocol}{suffix}");
        let text = self
            .within(|| std::fs::read_to_string(&file))
            .unwrap_or_default();
        let wanted = format!("{}:{port:04X}", hex(address));
        text.lines()
            .any(|line| line.split_ascii_whitespace().nth(1) == Some(&wanted))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Only processes inside this namespace, which is ours alone.
        if let Ok(pids) = Command::new("ip")
            .args(["netns", "pids", &self.name])
            .output()
        {
            for pid in String::from_utf8_lossy(&pids.stdout).split_ascii_whitespace() {
                if let Ok(pid) = pid.parse()
                    && pid != std::process::id().cast_signed()
                {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
            }
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        let _ = std::fs::remove_dir_all(self.etc());
    }
}

/// An address as `/proc/net/tcp` writes it: 32-bit words in the machine's byte order.
fn hex(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| {
        let word = word.try_into().expect("chunks of four");
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    words.collect()
}

#[track_caller]
pub(super) fn run(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("ip is installed");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn feed(command: &mut Command, input: &str) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin
        .write_all(input.as_bytes())
        .expect("the command reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the command ends");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
