//! What a process has to shed that was started by somebody else's script: the starter's signal
//! mask, session, cgroup and place in the out-of-memory killer's list.

use std::fs;
use std::io::IsTerminal;

use nix::sys::signal::SigSet;

/// Where a process is moved to the root of a cgroup hierarchy on Android (paths as Magisk,
/// KernelSU and APatch use them for their own children).
const ROOT_CGROUPS: [&str; 4] = [
    "/acct/cgroup.procs",
    "/dev/cg2_bpf/cgroup.procs",
    "/sys/fs/cgroup/cgroup.procs",
    "/dev/memcg/apps/cgroup.procs",
];

/// How unwilling the out-of-memory killer is to take this process (proc(5)): the supervisor last
/// of all, since it is small and frees the network when the worker goes.
pub(super) const SUPERVISOR_OOM_SCORE: i32 = -1000;
/// The worker, before it.
pub(super) const WORKER_OOM_SCORE: i32 = -900;

/// Names this process for ps and top, which would show `exe` for a worker.
pub(super) fn set_name(name: &str) {
    // A name is a courtesy.
    let _unnamed = fs::write("/proc/self/comm", name);
}

/// Opens all signals; magiskd starts its children with all of them blocked.
pub(super) fn unblock_signals() -> nix::Result<()> {
    SigSet::empty().thread_set_mask()
}

/// Leaves the session of whoever started this, so that their end is not ours; not where a person
/// sits at a terminal and may want to press Ctrl-C.
pub(super) fn leave_session() {
    if !std::io::stdin().is_terminal() {
        // EPERM: it leads its own process group already, which is all that is wanted.
        let _own_already = nix::unistd::setsid();
    }
}

/// Leaves the starter's cgroup: an app that pressed a button takes its cgroup with it when it is
/// frozen or killed.
pub(super) fn leave_cgroup() {
    let pid = std::process::id().to_string();
    for path in ROOT_CGROUPS {
        // Not every phone has every hierarchy.
        let _absent = fs::write(path, &pid);
    }
}

/// Sets how unwilling the out-of-memory killer is to take this process.
pub(super) fn set_oom_score(score: i32) {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", score.to_string()) {
        log::warn!("cannot set oom_score_adj: {error}");
    }
}
