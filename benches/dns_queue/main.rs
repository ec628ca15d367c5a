//! What Muzzle costs beside a program that accepts every queued packet (the `nfq` crate), and
//! beside no filter at all, in one interleaved run in the same namespaces.
//!
//! App, resolver and filter share one core: then the figures do not depend on where the scheduler
//! happens to put them, and every microsecond that the filter takes shows in the latency.
//!
//! Needs root, as the namespace tests do: `cargo bench --bench dns_queue [-- ROUNDS [SECONDS]]`.
//! Ratios hold from machine to machine, absolute figures do not.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures with a clock"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark stops where anything fails")]

#[path = "../../tests/lab/mod.rs"]
mod lab;
mod load;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{Daemon, Lab, Namespace};
use load::{Load, Sample, Sockets};

const ACCEPT_ALL_QUEUE: u16 = 6400;

/// Who looks at the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    None,
    AcceptAll,
    /// With `[dns] answers = false`: queries alone, as with `AcceptAll`; and without a history.
    Queries,
    /// With a history.
    Kept,
    /// As it is shipped: with answers, too.
    Muzzle,
}

const FILTERS: [Filter; 5] = [
    Filter::None,
    Filter::AcceptAll,
    Filter::Queries,
    Filter::Kept,
    Filter::Muzzle,
];

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some("accept-all") {
        accept_all();
    }
    let rounds = first.map_or(5, |text| text.parse().unwrap());
    let seconds = arguments.next().map_or(2, |text| text.parse().unwrap());
    pin_to_one_core();
    let lab = Lab::bare();
    let responder = load::Responder::start(&lab.internet);
    for blocked in [false, true] {
        let title = if blocked {
            "every second name blocked"
        } else {
            "all names allowed"
        };
        println!("\nDNS, closed loop, one query in flight, {title}, {rounds} rounds:");
        compare(&lab, rounds, Duration::from_secs(seconds), blocked);
    }
    println!("\nDNS, a socket for each query, {rounds} rounds:");
    compare_owners(&lab, rounds, Duration::from_secs(seconds));
    responder.stop();
}

/// Threads and programs started from here on inherit it.
fn pin_to_one_core() {
    let mut core = nix::sched::CpuSet::new();
    core.set(0).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &core).unwrap();
}

fn compare(lab: &Lab, rounds: usize, time: Duration, blocked: bool) {
    let mut samples: [Vec<Sample>; FILTERS.len()] = Default::default();
    for round in 0..rounds {
        for turn in 0..FILTERS.len() {
            let which = (round + turn) % FILTERS.len();
            samples[which].push(measure(lab, FILTERS[which], time, blocked));
        }
    }
    let [none, accept_all, queries, kept, muzzle] =
        samples.map(|samples| Sample::median(&samples));
    println!("                  decisions/s   median µs   p99 µs   CPU µs/decision");
    for (name, sample) in [
        ("no filter", none),
        ("accept all", accept_all),
        ("Muzzle, queries", queries),
        ("and a history", kept),
        ("and answers", muzzle),
    ] {
        println!("  {name:<16} {sample}");
    }
    let added = |sample: Sample| sample.median_micros - none.median_micros;
    println!(
        "  queries / accept all: decisions {:.2}, added latency {:.2}, CPU {:.2}",
        queries.per_second / accept_all.per_second,
        added(queries) / added(accept_all),
        queries.cpu_micros / accept_all.cpu_micros,
    );
    for (name, more, less) in [("history", kept, queries), ("answers", muzzle, kept)] {
        println!(
            "  {name} on top: {:+.1} µs median, {:+.2} µs CPU",
            more.median_micros - less.median_micros,
            more.cpu_micros - less.cpu_micros,
        );
    }
}

/// What it costs to find the app that the system asks for.
fn compare_owners(lab: &Lab, rounds: usize, time: Duration) {
    let mut samples: [Vec<Sample>; 2] = Default::default();
    let all = [Sockets::OneEach, Sockets::GivenEach];
    for round in 0..rounds {
        for turn in 0..all.len() {
            let which = (round + turn) % all.len();
            let load = Load {
                time,
                blocked: false,
                sockets: all[which],
            };
            let daemon = start_muzzle(lab, Filter::Queries);
            let pid = daemon.pid().as_raw().cast_unsigned();
            samples[which].push(load.run(&lab.phone, Some(pid)));
            daemon.stop();
        }
    }
    let [own, given] = samples.map(|samples| Sample::median(&samples));
    println!("                  decisions/s   median µs   p99 µs   CPU µs/decision");
    println!("  the app's own    {own}");
    println!("  given to it      {given}");
    println!(
        "  finding the owner: {:+.1} µs median, {:+.1} µs p99, {:+.2} µs CPU",
        given.median_micros - own.median_micros,
        given.p99_micros - own.p99_micros,
        given.cpu_micros - own.cpu_micros,
    );
}

fn measure(lab: &Lab, filter: Filter, time: Duration, blocked: bool) -> Sample {
    let load = Load {
        time,
        blocked: blocked && !matches!(filter, Filter::None | Filter::AcceptAll),
        sockets: Sockets::One,
    };
    match filter {
        Filter::None => load.run(&lab.phone, None),
        Filter::AcceptAll => {
            let process = AcceptAll::start(&lab.phone);
            load.run(&lab.phone, Some(process.child.id()))
        }
        Filter::Queries | Filter::Kept | Filter::Muzzle => {
            let daemon = start_muzzle(lab, filter);
            let pid = daemon.pid().as_raw().cast_unsigned();
            let sample = load.run(&lab.phone, Some(pid));
            daemon.stop();
            sample
        }
    }
}

fn start_muzzle(lab: &Lab, filter: Filter) -> Daemon {
    let (answers, history) = (filter == Filter::Muzzle, filter != Filter::Queries);
    let folder = lab.folder().display();
    lab.start_daemon(&format!(
        "[dns]\nanswers = {answers}\n[control]\nsocket = \"{folder}/control.sock\"\n\
         [history]\nenabled = {history}\ndirectory = \"{folder}/history\"\n"
    ))
}

/// The accept-everything program and the rule that feeds it.
struct AcceptAll<'a> {
    child: Child,
    phone: &'a Namespace,
}

impl<'a> AcceptAll<'a> {
    fn start(phone: &'a Namespace) -> Self {
        let mut command = phone.command(std::env::current_exe().unwrap());
        let child = command
            .arg("accept-all")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let filter = Self { child, phone };
        filter.rule("-A");
        // It has bound its queue by the time the rule is in, or the rule lets packets pass.
        std::thread::sleep(Duration::from_millis(300));
        filter
    }

    fn rule(&self, verb: &str) {
        let mut command: Command = self.phone.command("iptables-legacy");
        command.args([
            "-w", "5", "-t", "raw", verb, "OUTPUT", "-p", "udp", "--dport", "53",
        ]);
        command.args(["-j", "NFQUEUE", "--queue-bypass", "--queue-num"]);
        let status = command.arg(ACCEPT_ALL_QUEUE.to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for AcceptAll<'_> {
    fn drop(&mut self) {
        self.rule("-D");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// As little as a program on NFQUEUE can do.
fn accept_all() -> ! {
    let mut queue = nfq::Queue::open().unwrap();
    queue.bind(ACCEPT_ALL_QUEUE).unwrap();
    queue.set_recv_uid_gid(ACCEPT_ALL_QUEUE, true).unwrap();
    queue.set_fail_open(ACCEPT_ALL_QUEUE, true).unwrap();
    loop {
        let mut message = queue.recv().unwrap();
        message.set_verdict(nfq::Verdict::Accept);
        queue.verdict(message).unwrap();
    }
}
