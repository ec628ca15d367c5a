//! The one hot loop: a thread that owns a queue. No lock, no allocation and no logging per
//! packet; what it cannot do it counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use nix::errno::Errno;

use super::message::{self, Message, Packet, Verdict};
use super::socket::DATAGRAM_BYTES;
use super::{Injector, QueueSocket, SocketDestroyer};
use crate::act::Act;
use crate::clock::{self, Moment};
use crate::decide::UnixSeconds;
use crate::inspect::{Inspection, Inspector, Ruleset};
use crate::record::{Counters, Event, EventSender, count};

/// Room for the largest packet that is ever forged.
const SCRATCH_BYTES: usize = 2048;

/// How a forged answer to a UDP query reaches the app without disturbing conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPath {
    /// Over a raw socket; the mark keeps it out of conntrack (`-j CT --notrack`).
    Inject,
    /// The kernel has no CT target: the query itself is rewritten into its answer.
    Rewrite,
}

/// Everything one queue thread works with.
#[derive(Debug)]
pub struct QueueWorker {
    /// The queue, owned.
    pub queue: QueueSocket,
    /// The rules in force.
    pub rules: Arc<ArcSwap<Ruleset>>,
    /// Raw sockets for forged packets.
    pub injector: Injector,
    /// Ends connections; absent where the kernel cannot.
    pub destroyer: Option<SocketDestroyer>,
    /// How UDP answers travel.
    pub answer_path: AnswerPath,
    /// Where sightings go.
    pub events: EventSender,
    /// When the first packet since the start was decided on.
    pub first_verdict: Arc<OnceLock<Moment>>,
    /// This thread's counters.
    pub counters: Arc<Counters>,
    /// Set by whoever wants the thread to end; followed by a nudge.
    pub stop: Arc<AtomicBool>,
}

impl QueueWorker {
    /// Serves the queue until it is told to stop, then decides on what still waits and gives the
    /// queue up.
    ///
    /// # Errors
    /// The queue's socket failed.
    pub fn run(self) -> nix::Result<()> {
        let mut inspector = Inspector::default();
        let mut datagram = vec![0; DATAGRAM_BYTES].into_boxed_slice();
        let mut scratch = [0; SCRATCH_BYTES];
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            match self.queue.receive(&mut datagram, !stopping) {
                Ok(bytes) => {
                    for message in message::messages(bytes) {
                        if let Message::Packet(packet) = message {
                            self.serve(&packet, &mut inspector, &mut scratch);
                        }
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        self.queue.unbind()
    }

    fn serve(&self, packet: &Packet<'_>, inspector: &mut Inspector, scratch: &mut [u8]) {
        let unix_millis = clock::unix_millis();
        let rules = self.rules.load();
        let now = UnixSeconds::from_millis(unix_millis);
        let inspection = inspector.inspect(packet.payload, packet.uid, now, &rules, scratch);
        self.counters.inspected(&inspection);
        self.carry_out(packet, &inspection, scratch);
        if self.first_verdict.get().is_none() {
            // The other queue may have been first at the same moment.
            let _already_set = self.first_verdict.set(Moment::now());
        }
        if let Some(sighting) = inspection.sighting
            && rules.records(sighting.outcome)
        {
            let event = Event {
                unix_millis,
                sighting,
                ruleset: Arc::clone(&rules),
            };
            if !self.events.send(event) {
                count(&self.counters.unrecorded);
            }
        }
    }

    fn carry_out(&self, packet: &Packet<'_>, inspection: &Inspection, scratch: &[u8]) {
        match inspection.act {
            Act::Pass => self.verdict(packet, Verdict::Accept),
            Act::Vanish => self.verdict(packet, Verdict::Drop),
            Act::Answer { flow, length } => {
                let forged = &scratch[..length];
                if self.answer_path == AnswerPath::Rewrite && inspection.act.is_datagram() {
                    self.verdict(packet, Verdict::Replace(forged));
                    return;
                }
                // The answer goes first, so that the app has it by the time its packet is gone.
                if self
                    .injector
                    .send(forged, &flow, packet.out_interface)
                    .is_err()
                {
                    count(&self.counters.inject_failed);
                }
                self.verdict(packet, Verdict::Drop);
            }
            Act::Sever { flow, reset_length } => {
                self.verdict(packet, Verdict::Drop);
                let destroyed = self
                    .destroyer
                    .as_ref()
                    .is_some_and(|it| it.destroy(&flow, packet.out_interface).is_ok());
                if destroyed {
                    return;
                }
                count(&self.counters.destroy_failed);
                let reset = &scratch[..reset_length];
                if reset.is_empty()
                    || self
                        .injector
                        .send(reset, &flow, packet.out_interface)
                        .is_err()
                {
                    count(&self.counters.inject_failed);
                }
            }
        }
    }

    fn verdict(&self, packet: &Packet<'_>, verdict: Verdict<'_>) {
        if self.queue.verdict(packet.id, verdict).is_err() {
            count(&self.counters.verdict_failed);
        }
    }
}
