//! A thread that hangs with a packet in its hand while the others of its process go on: what a
//! deadlock looks like from outside.

use std::thread::{self, JoinHandle};

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Makes the thread `name` of a process stop for good as soon as it has received something. It
/// waits in recv(2) now. Ends with the process.
pub(crate) fn hang_at_next_packet(pid: Pid, name: &str) -> JoinHandle<()> {
    let thread = thread_named(pid, name);
    let (ready, seized) = std::sync::mpsc::channel();
    // A process is traced by a thread, and waited for by the same.
    let tracer = thread::spawn(move || {
        ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD).expect("root may");
        ptrace::interrupt(thread).expect("just seized");
        wait(thread);
        // recv(2) begins anew, and then returns with what has come.
        ptrace::syscall(thread, None).expect("it has stopped");
        wait(thread);
        ptrace::syscall(thread, None).expect("it has stopped");
        ready.send(()).expect("it is waited for");
        wait(thread);
        // Only its death goes on from here.
        while !matches!(
            wait(thread),
            None | Some(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
        ) {}
    });
    seized.recv().expect("the thread can be traced");
    tracer
}

fn wait(thread: Pid) -> Option<WaitStatus> {
    waitpid(thread, Some(WaitPidFlag::__WALL)).ok()
}

fn thread_named(pid: Pid, name: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let found = tasks.filter_map(Result::ok).find(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        comm.trim_end() == name
    });
    let id = found.expect("there is such a thread").file_name();
    Pid::from_raw(id.to_string_lossy().parse().expect("a number"))
}
