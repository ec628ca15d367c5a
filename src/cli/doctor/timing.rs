//! How long the firewall takes: batches of rules, and the lock that all iptables programs share.

use std::fs::File;
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::Context;
use super::command::reason;
use super::page::Page;
use crate::clock::awake_micros;
use crate::firewall::Family;

/// Batches a family.
const BATCHES: usize = 5;
/// Looks at the lock.
const LOOKS: usize = 20;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

/// Batches that make a chain and delete it at once, and whether the lock is held by others.
pub(super) fn firewall(context: &Context, page: &mut Page) {
    for family in Family::BOTH {
        match batches(context, family) {
            Ok(times) => page.say(format!(
                "{family} iptables-restore, {BATCHES} batches: {}\n",
                median_and_most(times)
            )),
            Err(why) => page.missing(&format!("{family} iptables-restore"), why),
        }
    }
    let path = lock_path();
    match free_looks(&path) {
        Ok(free) => page.say(format!(
            "the lock was free at {free} of {LOOKS} looks in 1 s\n"
        )),
        Err(error) => page.missing(&format!("the lock {path}"), reason(&error)),
    }
}

fn batches(context: &Context, family: Family) -> Result<Vec<u64>, String> {
    let iptables = context.iptables.as_ref()?;
    let time = |_| {
        let start = awake_micros();
        iptables.rehearse(family).map_err(super::with_causes)?;
        Ok(awake_micros() - start)
    };
    (0..BATCHES).map(time).collect()
}

/// Where iptables keeps its lock (iptables/xshared.c; Android's `config.h`).
fn lock_path() -> String {
    std::env::var("XTABLES_LOCKFILE").unwrap_or_else(|_| {
        let path = if cfg!(target_os = "android") {
            "/system/etc/xtables.lock"
        } else {
            "/run/xtables.lock"
        };
        path.into()
    })
}

/// How often nobody had the lock. Where nobody has it, it is taken for some microseconds, which
/// others wait for.
fn free_looks(path: &str) -> std::io::Result<usize> {
    let mut free = 0;
    for _ in 0..LOOKS {
        let file = File::open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => free += 1,
            Err((_, nix::Error::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(errno.into()),
        }
        thread::sleep(PAUSE);
    }
    Ok(free)
}

/// The middle and the largest of some times in microseconds.
pub(super) fn median_and_most(mut micros: Vec<u64>) -> String {
    micros.sort_unstable();
    match (micros.get(micros.len() / 2), micros.last()) {
        (Some(median), Some(most)) => format!("median {median} µs, most {most} µs"),
        _ => "none".into(),
    }
}
