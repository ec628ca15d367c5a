//! From the channel into the log. Where whose a packet was may yet be taken back, it is held for a
//! moment first.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{ConnectionNames, Event, EventReceiver, Log, Report, ResolvedNames, Withdrawn};
use crate::apps::Processes;
use crate::clock::Moment;
use crate::decide::{Attribution, AttributionSource, UnixSeconds};

/// How long events gather before they are looked at: some 30 wake-ups a second under load, none
/// while nothing is sent.
pub const GATHER: Duration = Duration::from_millis(30);
/// How long they are held then. Who reads along sees them after both, at most.
const HOLD: Duration = Duration::from_millis(40);
/// Held at most; the oldest make room, which a burst of 100,000 a second would need.
const MAX_HELD: usize = 4096;

/// An event on its way into the log.
#[derive(Debug)]
struct Held {
    since: Moment,
    event: Event,
    resolved_from: Vec<Arc<str>>,
    process: Option<Arc<str>>,
}

/// Moves events into the log, as far as they are worth a record, and what clients called their
/// connections into `names`, until it `is_over`; what has come by then is moved too.
pub async fn run(
    events: EventReceiver,
    log: Arc<Log>,
    names: Arc<ConnectionNames>,
    mut is_over: oneshot::Receiver<()>,
) {
    let mut recorder = Recorder {
        log,
        names,
        resolved: ResolvedNames::default(),
        processes: Processes::default(),
        held: VecDeque::new(),
    };
    // Kept over the turns: half a wait that is dropped would take an event's ring with it.
    let mut arrival = pin!(events.wait(GATHER));
    let mut goes_on = true;
    while goes_on {
        let due = recorder.due(Moment::awake());
        tokio::select! {
            () = &mut arrival => arrival.set(events.wait(GATHER)),
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            _ = &mut is_over => goes_on = false,
        }
        let now = Moment::awake();
        for report in events.drain() {
            recorder.take(report, now);
        }
        recorder.release(now);
    }
    recorder.release_all();
}

/// What the packet itself says of its socket stands.
const fn may_be_withdrawn(source: AttributionSource) -> bool {
    matches!(
        source,
        AttributionSource::InetDiag | AttributionSource::Proc
    )
}

struct Recorder {
    log: Arc<Log>,
    names: Arc<ConnectionNames>,
    resolved: ResolvedNames,
    processes: Processes,
    /// In the order they came.
    held: VecDeque<Held>,
}

impl Recorder {
    fn take(&mut self, report: Report, now: Moment) {
        match report {
            Report::Withdrawn(packet) => self.withdraw(packet),
            Report::Learned(learned) => self.resolved.learn(&learned),
            Report::Event(event) => {
                let sighting = &event.sighting;
                let at = UnixSeconds::from_millis(event.unix_millis);
                self.names.learn(sighting, at);
                if !event.ruleset.records(sighting.outcome) {
                    return;
                }
                // Now, while the process is there.
                let attribution = sighting.attribution;
                let process = attribution
                    .uid()
                    .zip(attribution.cgroup())
                    .and_then(|(uid, cgroup)| self.processes.name(uid, cgroup));
                let resolved_from = self.resolved.told_by(&event);
                if self.held.is_empty() && !may_be_withdrawn(attribution.source()) {
                    return self.log.push(event, resolved_from, process);
                }
                if self.held.len() == MAX_HELD {
                    self.release_oldest();
                }
                // Those that come later wait, too, so that the log keeps the order.
                self.held.push_back(Held {
                    since: now,
                    event,
                    resolved_from,
                    process,
                });
            }
        }
    }

    fn withdraw(&mut self, packet: Withdrawn) {
        let about = self
            .held
            .iter_mut()
            .rev()
            .filter(|it| packet.is_about(&it.event));
        for held in about {
            held.event.sighting.attribution = Attribution::UNKNOWN;
        }
    }

    /// When the oldest has been held for long enough; none where there is none.
    fn due(&self, now: Moment) -> Option<Duration> {
        let until = self.held.front()?.since.after(HOLD);
        Some(Duration::from_millis(until.millis_since(now)))
    }

    fn release(&mut self, now: Moment) {
        while self.due(now) == Some(Duration::ZERO) {
            self.release_oldest();
        }
    }

    fn release_all(&mut self) {
        while !self.held.is_empty() {
            self.release_oldest();
        }
    }

    fn release_oldest(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.log.push(held.event, held.resolved_from, held.process);
        }
    }
}
