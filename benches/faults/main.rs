//! What each fault costs: how long until traffic flows again, whether names are refused again,
//! and what is left behind. Prints the table of docs/behaviour.md.
//!
//! Needs root, as the namespace tests do: `cargo bench --bench faults`.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures with a clock"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark stops where anything fails")]

#[path = "../../tests/lab/mod.rs"]
mod lab;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::{Daemon, Lab, addresses, freeze, send};
use muzzle::firewall::Family;
use nix::sys::signal::Signal::{SIGCONT, SIGKILL};

/// Longer than any app would wait.
const GIVEN_UP: Duration = Duration::from_secs(12);
/// Each fault is made this often; the worst is shown.
const ROUNDS: usize = 3;

/// A phone with a running service, and what happens to it.
struct Scene {
    lab: Lab,
    daemon: Daemon,
    module: PathBuf,
    before: String,
}

type Fault = fn(&Scene);

/// What is done, and how.
const FAULTS: &[(&str, Fault)] = &[
    ("nothing (for comparison)", |_| {}),
    ("worker killed", |it| send(it.daemon.worker(), SIGKILL)),
    ("worker stopped (SIGSTOP)", |it| freeze(it.daemon.worker())),
    ("supervisor killed", |it| it.daemon.signal(SIGKILL)),
    ("supervisor stopped", |it| freeze(it.daemon.pid())),
    ("both killed at once", |it| {
        it.daemon.freeze();
        send(it.daemon.worker(), SIGKILL);
        it.daemon.signal(SIGKILL);
    }),
    ("both stopped", |it| it.daemon.freeze()),
    ("supervisor stopped, worker killed", |it| {
        freeze(it.daemon.pid());
        send(it.daemon.worker(), SIGKILL);
    }),
    ("all our chains flushed", |it| flush(it, &["raw", "mangle"])),
    ("netd-like rebuild of filter and mangle OUTPUT", |it| {
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
    ("config corrupt, reloaded", |it| {
        std::fs::write(&it.daemon.config, "mode = [\n").unwrap();
        it.daemon.signal(nix::sys::signal::Signal::SIGHUP);
    }),
    ("module disabled", |it| {
        std::fs::write(it.module.join("disable"), "").unwrap()
    }),
    ("interface down and up", |it| {
        it.lab.phone.ip("link set wlan0 down");
        it.lab.phone.ip("link set wlan0 up");
        it.lab.phone.ip("route replace default via 10.77.0.1");
    }),
];

fn flush(scene: &Scene, tables: &[&str]) {
    for family in Family::BOTH {
        let program = addresses(family).iptables;
        for table in tables {
            scene
                .lab
                .phone(&format!("{program} -w 5 -t {table} -F"))
                .ok();
        }
    }
    // Networks change when somebody rebuilds the tables.
    scene
        .lab
        .phone
        .ip("link add veth8 type veth peer name veth9");
}

fn main() {
    println!("| fault | first answer | refuses again | rules left 6 s later |");
    println!("| --- | --- | --- | --- |");
    for (name, fault) in FAULTS {
        let mut worst = Outcome::default();
        for _ in 0..ROUNDS {
            worst = worst.worse(observe(*fault));
        }
        println!(
            "| {name} | {} | {} | {} |",
            worst.flows(),
            worst.refuses(),
            worst.left
        );
    }
}

/// What came of a fault.
#[derive(Default)]
struct Outcome {
    flows: Duration,
    refuses: Duration,
    left: &'static str,
}

impl Outcome {
    fn worse(self, other: Self) -> Self {
        Self {
            flows: self.flows.max(other.flows),
            refuses: self.refuses.max(other.refuses),
            left: other.left,
        }
    }

    fn flows(&self) -> String {
        shown(self.flows, "held while it lasts")
    }

    fn refuses(&self) -> String {
        shown(self.refuses, "no")
    }
}

fn shown(time: Duration, never: &str) -> String {
    if time >= GIVEN_UP {
        never.to_owned()
    } else {
        format!("{} ms", time.as_millis())
    }
}

fn observe(fault: Fault) -> Outcome {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let module = lab.folder().join("module");
    std::fs::create_dir(&module).unwrap();
    let socket = lab.folder().join("run/control.sock");
    let config = format!("[control]\nsocket = \"{}\"\n", socket.display());
    let daemon = lab.start_service(&config, &module);
    let scene = Scene {
        lab,
        daemon,
        module,
        before,
    };
    let start = Instant::now();
    fault(&scene);
    let flows = until(start, || answers(&scene, "free.example") == Some(0));
    let refuses = until(start, || answers(&scene, "sa.api.intl.miui.com") == Some(3));
    std::thread::sleep(Duration::from_secs(6).saturating_sub(start.elapsed()));
    let rules = scene.lab.saved_rules();
    let left = match rules.contains("muzzle_") {
        false if rules == scene.before => "none",
        false => "none of ours",
        true if scene.daemon.try_worker().is_some() => "all, at work",
        true => "all, with bypass",
    };
    // Whatever was stopped goes on, so that the scene can be cleared.
    for pid in [Some(scene.daemon.pid()), scene.daemon.try_worker()]
        .into_iter()
        .flatten()
    {
        let _gone = nix::sys::signal::kill(pid, SIGCONT);
    }
    Outcome {
        flows,
        refuses,
        left,
    }
}

fn until(start: Instant, mut is_so: impl FnMut() -> bool) -> Duration {
    while !is_so() {
        if start.elapsed() >= GIVEN_UP {
            return GIVEN_UP;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// The RCODE that an app is told; a query that is held is waited for.
fn answers(scene: &Scene, name: &str) -> Option<u8> {
    let resolver = addresses(Family::V4).dns;
    let socket = scene.lab.phone.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((resolver, 53)).map(|()| socket)
    });
    let socket = socket.ok()?;
    socket.set_read_timeout(Some(GIVEN_UP)).unwrap();
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query).ok()?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    (length > 3).then(|| answer[3] & 0x0f)
}
