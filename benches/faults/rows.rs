//! The faults: what is done, and what may come of it.

use std::time::Duration;

use muzzle::firewall::Family;
use muzzle::queue::QueueSocket;
use muzzle::queue::message::QueueParameters;
use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGKILL, SIGTERM};

use crate::lab::{Daemon, addresses, freeze, hang_at_next_packet, send, wait_for};
use crate::scene::Scene;

/// What may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Nothing for longer than a second.
    Second,
    /// The exception of the contract: a queue full while both processes are kept from acting.
    QueueFull,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) limit: Limit,
    /// How long after it the rules are looked at.
    pub(crate) settled: Duration,
    pub(crate) fault: fn(&Scene),
}

const fn row(name: &'static str, fault: fn(&Scene)) -> Row {
    Row {
        name,
        limit: Limit::Second,
        settled: Duration::from_secs(6),
        fault,
    }
}

const fn held(name: &'static str, fault: fn(&Scene)) -> Row {
    Row {
        limit: Limit::QueueFull,
        ..row(name, fault)
    }
}

/// The lock is let go of after 10 s.
const fn locked(name: &'static str, fault: fn(&Scene)) -> Row {
    Row {
        settled: Duration::from_secs(14),
        ..row(name, fault)
    }
}

/// How long another program holds the lock of the tables.
const LOCKED: Duration = Duration::from_secs(10);

pub(crate) const ROWS: &[Row] = &[
    row("nothing (for comparison)", |_| {}),
    row("worker killed", |it| send(it.daemon.worker(), SIGKILL)),
    row("worker stopped (SIGSTOP)", |it| freeze(it.daemon.worker())),
    row("a thread hangs with a packet in hand", |it| {
        let tracer = hang_at_next_packet(it.daemon.worker(), "queue-dns");
        *it.tracer.borrow_mut() = Some(tracer);
    }),
    row("worker out of memory", |it| {
        let worker = it.daemon.worker();
        it.lab
            .phone(&format!("prlimit --pid {worker} --as=4096"))
            .ok();
        for _ in 0..3 {
            it.daemon.signal(SIGHUP);
        }
        wait_for("its end", Duration::from_secs(5), || {
            it.daemon.try_worker() != Some(worker)
        });
    }),
    row("supervisor killed", |it| it.daemon.signal(SIGKILL)),
    row("supervisor stopped", |it| freeze(it.daemon.pid())),
    row("both killed at once", |it| {
        it.daemon.freeze();
        send(it.daemon.worker(), SIGKILL);
        it.daemon.signal(SIGKILL);
    }),
    held("both stopped", |it| it.daemon.freeze()),
    held("supervisor stopped, worker killed", |it| {
        freeze(it.daemon.pid());
        send(it.daemon.worker(), SIGKILL);
    }),
    row("all our chains flushed", |it| {
        flush(it);
        network_changes(it);
    }),
    row("netd-like rebuild of filter and mangle", |it| {
        for family in Family::BOTH {
            let program = addresses(family).iptables;
            for rules in [
                "-t filter -F OUTPUT",
                "-t mangle -F OUTPUT",
                "-t mangle -F INPUT",
            ] {
                it.lab.phone(&format!("{program} -w 5 {rules}")).ok();
            }
        }
    }),
    locked("tables locked for 10 s", hold_lock),
    locked("tables locked for 10 s, worker killed", |it| {
        hold_lock(it);
        send(it.daemon.worker(), SIGKILL);
    }),
    locked("tables locked for 10 s, module disabled", |it| {
        hold_lock(it);
        std::fs::write(it.module.join("disable"), "").unwrap();
    }),
    locked("tables locked for 10 s, SIGTERM", |it| {
        hold_lock(it);
        it.daemon.signal(SIGTERM);
    }),
    row("config corrupt, reloaded", |it| {
        std::fs::write(&it.daemon.config, "mode = [\n").unwrap();
        it.daemon.signal(SIGHUP);
    }),
    row("config corrupt, worker killed", |it| {
        std::fs::write(&it.daemon.config, "mode = [\n").unwrap();
        send(it.daemon.worker(), SIGKILL);
    }),
    row("disk full, reloaded", |it| {
        it.disk.fill();
        it.daemon.signal(SIGHUP);
    }),
    row("disk full, worker killed", |it| {
        it.disk.fill();
        send(it.daemon.worker(), SIGKILL);
    }),
    row("worker killed, its queue taken by another", |it| {
        send(it.daemon.worker(), SIGKILL);
        wait_for("the number to be free", Duration::from_secs(5), || {
            let parameters = QueueParameters {
                number: 6453,
                copy_range: 64,
                length: 16,
            };
            let bound = it
                .lab
                .phone
                .within(|| QueueSocket::bind(parameters, 65_536));
            *it.other_queue.borrow_mut() = bound.ok();
            it.other_queue.borrow().is_some()
        });
    }),
    row("interface down and up with packets held", |it| {
        it.daemon.freeze();
        std::thread::sleep(Duration::from_millis(200));
        it.lab.phone.ip("link set wlan0 down");
        it.lab.phone.ip("link set wlan0 up");
        it.lab.phone.ip("route replace default via 10.77.0.1");
        it.daemon.thaw();
    }),
    row("module disabled", |it| {
        std::fs::write(it.module.join("disable"), "").unwrap();
    }),
    row("SIGTERM", |it| it.daemon.signal(SIGTERM)),
];

fn flush(scene: &Scene) {
    for family in Family::BOTH {
        let program = addresses(family).iptables;
        for table in ["raw", "mangle"] {
            let line = format!("{program} -w 5 -t {table} -F");
            scene.lab.phone(&line).ok();
        }
    }
}

/// As it does when somebody rebuilds the tables.
fn network_changes(scene: &Scene) {
    scene
        .lab
        .phone
        .ip("link add veth8 type veth peer name veth9");
}

fn hold_lock(scene: &Scene) {
    let lock = scene.lab.hold_tables_lock();
    std::thread::spawn(move || {
        std::thread::sleep(LOCKED);
        drop(lock);
    });
}

/// Whatever was stopped goes on, so that it can end.
pub(crate) fn let_go(daemon: &Daemon) {
    for pid in [Some(daemon.pid()), daemon.try_worker()]
        .into_iter()
        .flatten()
    {
        let _gone = nix::sys::signal::kill(pid, SIGCONT);
    }
}
