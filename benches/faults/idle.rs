//! How often the daemon wakes while nothing is sent.

use std::time::Duration;

use crate::lab::Lab;

/// What the start has stirred up settles first.
const SETTLED: Duration = Duration::from_secs(3);
const WATCHED: Duration = Duration::from_secs(60);

/// Counts the times that each thread was given a processor; whether none was.
pub(crate) fn show() -> bool {
    let lab = Lab::new();
    let socket = lab.folder().join("control.sock");
    let config = format!(
        "[control]\nsocket = \"{}\"\n[history]\ndirectory = \"{}\"\n",
        socket.display(),
        lab.folder().join("history").display()
    );
    let daemon = lab.start_daemon(&config);
    std::thread::sleep(SETTLED);
    let pids = [daemon.pid(), daemon.worker()];
    let before = pids.map(|pid| switches(pid.as_raw()));
    std::thread::sleep(WATCHED);
    let after = pids.map(|pid| switches(pid.as_raw()));
    println!(
        "| thread | wake-ups in {} s without traffic |",
        WATCHED.as_secs()
    );
    println!("| --- | --- |");
    let mut slept = true;
    for ((name, before), (_, after)) in before.iter().flatten().zip(after.iter().flatten()) {
        println!("| {name} | {} |", after - before);
        slept &= after == before;
    }
    println!();
    slept
}

/// The threads of a process, and how often each has been switched away from (proc_pid_status(5)).
fn switches(pid: i32) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut threads: Vec<_> = tasks
        .map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            let count = |name| field(name).parse::<u64>().unwrap();
            let sum = count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:");
            (field("Name:"), sum)
        })
        .collect();
    threads.sort();
    threads
}
