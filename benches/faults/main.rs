//! What each fault costs: how long until traffic flows again, what is lost, whether names are
//! refused again, and what is left behind. Prints the tables of docs/behaviour.md, and ends with 1
//! where something took longer than the contract allows.
//!
//! Needs root, as the namespace tests do:
//!
//! ```text
//! cargo bench --bench faults                  all of it; a quarter of an hour
//! cargo bench --bench faults -- faults lock   the faults whose names contain "lock"
//! cargo bench --bench faults -- idle          how often it wakes in a minute without traffic
//! cargo bench --bench faults -- bursts        what passes unseen in bursts, by the queue's length
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures with a clock"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark stops where anything fails")]

#[path = "../../tests/lab/mod.rs"]
mod lab;

mod bursts;
mod idle;
mod rows;
mod scene;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rows::{Limit, ROWS, Row};
use scene::{Asked, Scene};

/// The contract (docs/behaviour.md, section 1).
const ALLOWED: Duration = Duration::from_secs(1);
/// The app asks for so long after a fault.
const WATCHED: Duration = Duration::from_secs(4);
/// Each fault is made this often; the worst is shown.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    // Cargo says `--bench` too.
    let arguments = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let arguments: Vec<_> = arguments.collect();
    let which = arguments.first().map_or("", String::as_str);
    let part = arguments.get(1).map_or("", String::as_str);
    let mut kept = true;
    if matches!(which, "" | "faults") {
        kept &= show_faults(part);
    }
    if matches!(which, "" | "idle") {
        kept &= idle::show();
    }
    if matches!(which, "" | "bursts") {
        kept &= bursts::show();
    }
    ExitCode::from(u8::from(!kept))
}

/// Whether each was within its limit.
fn show_faults(part: &str) -> bool {
    println!(
        "| fault | first answer | longest wait | unanswered | refuses again | rules left |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut broken = Vec::new();
    for row in ROWS.iter().filter(|row| row.name.contains(part)) {
        let outcomes = (0..ROUNDS).map(|_| observe(row));
        let worst = outcomes.reduce(Outcome::worse).unwrap();
        println!("| {} | {worst} |", row.name);
        if !worst.is_within(row.limit) {
            broken.push(row.name);
        }
    }
    for name in &broken {
        println!("more than a second: {name}");
    }
    println!();
    broken.is_empty()
}

/// What came of a fault.
struct Outcome {
    /// When a listed name was refused again.
    refuses: Option<Duration>,
    asked: Asked,
    left: &'static str,
}

impl Outcome {
    fn worse(self, other: Self) -> Self {
        Self {
            refuses: later(self.refuses, other.refuses),
            asked: Asked {
                first_answer: later(self.asked.first_answer, other.asked.first_answer),
                longest: self.asked.longest.max(other.asked.longest),
                asked: self.asked.asked.max(other.asked.asked),
                unanswered: self.asked.unanswered.max(other.asked.unanswered),
            },
            left: other.left,
        }
    }

    fn is_within(&self, limit: Limit) -> bool {
        let flows = self.asked.first_answer.is_some_and(|it| it <= ALLOWED);
        limit == Limit::QueueFull || flows && self.asked.longest <= ALLOWED
    }
}

/// The later of two; never, where one is never.
fn later(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    Some(one?.max(other?))
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |time: Option<Duration>, never: &str| {
            time.map_or_else(
                || never.to_owned(),
                |time| format!("{} ms", time.as_millis()),
            )
        };
        write!(
            out,
            "{} | {} ms | {} of {} | {} | {}",
            shown(self.asked.first_answer, "none while it lasts"),
            self.asked.longest.as_millis(),
            self.asked.unanswered,
            self.asked.asked,
            shown(self.refuses, "no"),
            self.left,
        )
    }
}

fn observe(row: &Row) -> Outcome {
    let scene = Scene::new();
    let asker = scene.begin_asking();
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    (row.fault)(&scene);
    let is_refused = || scene.answers("sa.api.intl.miui.com", ALLOWED) == Some(3);
    let refuses = match row.limit {
        Limit::Second => until(start, row.settled, is_refused),
        // The app's own question would wait as well.
        Limit::QueueFull => row.settled,
    };
    std::thread::sleep(WATCHED.saturating_sub(start.elapsed()));
    let asked = asker.end(start);
    std::thread::sleep(row.settled.saturating_sub(start.elapsed()));
    let rules = scene.lab.saved_rules();
    let left = match rules.contains("muzzle_") {
        false if rules == scene.before => "none",
        false => "none of ours",
        true if scene.daemon.try_worker().is_some() => "all, at work",
        true => "all, with bypass",
    };
    // It may have been refused before the fault took effect.
    let refuses = (refuses < row.settled && is_refused()).then_some(refuses);
    rows::let_go(&scene.daemon);
    scene.other_queue.take();
    Outcome {
        refuses,
        asked,
        left,
    }
}

/// How long after `start` it is so; `limit` where it is not.
fn until(start: Instant, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    while !is_so() {
        if start.elapsed() >= limit {
            return limit;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}
