//! The one hot loop: a thread that owns a queue. No lock, no allocation and no logging per
//! packet; what it cannot do it counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use nix::errno::Errno;

use super::backlog::{Backlog, InHand};
use super::message::{Hook, Packet, Verdict};
use super::{Conntrack, Injector, Owners, QueueSocket, SocketDestroyer};
use crate::act::Act;
use crate::clock::{self, Moment};
use crate::decide::{Attribution, AttributionSource, FlowKey, UnixSeconds};
use crate::inspect::{Inspection, Inspector, Outline, Ruleset, Sighting};
use crate::record::{ConnectionNames, Counters, Event, EventSender, Learned, count};

/// Room for the largest packet that is ever forged: an answer over TCP, in whose segments the kernel
/// may have joined several, is written anew.
const SCRATCH_BYTES: usize = 0x1_0000;

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
    /// Where the kernel has no CT target: takes forged answers out of connection tracking.
    pub conntrack: Option<Conntrack>,
    /// The mark that the rules of `muzzle_cont` read; absent where the kernel cannot follow
    /// connections.
    pub follow_mark: Option<u32>,
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
    pub fn run(self, mut owners: Owners) -> nix::Result<()> {
        let mut inspector = Inspector::default();
        let mut backlog = Backlog::default();
        // Takes no memory until it is written to.
        let mut scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            let mut in_hand = match backlog.next(&self.queue, !stopping) {
                Ok(in_hand) => in_hand,
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno),
            };
            let unix_millis = clock::unix_millis();
            let attribution =
                self.attribute(&mut in_hand, &mut backlog, &mut owners, unix_millis);
            if let Some(packet) = backlog.packet(&in_hand) {
                self.serve(
                    &packet,
                    attribution,
                    unix_millis,
                    &owners,
                    &mut inspector,
                    &mut scratch,
                );
            }
        }
        self.queue.unbind()
    }

    /// Whose packet it is.
    fn attribute(
        &self,
        in_hand: &mut InHand,
        backlog: &mut Backlog,
        owners: &mut Owners,
        unix_millis: u64,
    ) -> Attribution {
        let Some(packet) = backlog.packet(in_hand) else {
            return Attribution::UNKNOWN;
        };
        let (opener, interface) = (packet.uid, packet.out_interface);
        let outline = (packet.hook == Hook::LocalOut)
            .then(|| Outline::to_ask_for(packet.payload, opener))
            .flatten();
        let Some(outline) = outline else {
            return opener.into();
        };
        let waiting = (&self.queue, backlog, in_hand);
        let attribution = owners.of(&outline, interface, waiting, unix_millis);
        if let Some(packet) = owners.take_withdrawn() {
            self.events.withdraw(packet);
        }
        count(&self.counters.owners_asked);
        if attribution == Attribution::UNKNOWN {
            count(&self.counters.owners_unknown);
        }
        attribution
    }

    fn serve(
        &self,
        packet: &Packet<'_>,
        attribution: Attribution,
        unix_millis: u64,
        owners: &Owners,
        inspector: &mut Inspector,
        scratch: &mut [u8],
    ) {
        let rules = self.rules.load();
        let now = UnixSeconds::from_millis(unix_millis);
        let mut inspection = if packet.hook == Hook::PreRouting {
            let (inspection, resolution) =
                inspector.inspect_answer(packet.payload, now, &rules, scratch);
            self.counters.answer_inspected(&inspection);
            if let Some(resolution) = resolution {
                // Before the verdict: the app may connect as soon as it has the answer.
                self.events.send_learned(Learned {
                    unix_millis,
                    resolution,
                });
            }
            inspection
        } else {
            let bytes = packet.payload;
            let inspection = if packet.hook == Hook::Forward {
                inspector.inspect_forwarded(bytes, now, &rules, scratch)
            } else {
                inspector.inspect(bytes, attribution, now, &rules, scratch)
            };
            self.counters.inspected(&inspection);
            self.counters
                .evicted
                .store(inspector.evicted(), Ordering::Relaxed);
            inspection
        };
        if let Some(sighting) = &mut inspection.sighting {
            // Before the verdict, while the socket is there.
            self.tell_process(packet, sighting, owners, &rules);
        }
        self.carry_out(packet, &inspection, scratch);
        if self.first_verdict.get().is_none() {
            // The other queue may have been first at the same moment.
            let _already_set = self.first_verdict.set(Moment::since_boot());
        }
        if let Some(sighting) = inspection.sighting
            && (rules.records(sighting.outcome) || ConnectionNames::learns_from(&sighting))
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

    /// Where several packages run under the user id, adds what tells which process it is. A socket
    /// that was given to somebody else has the group of whoever opened it, which tells nothing.
    fn tell_process(
        &self,
        packet: &Packet<'_>,
        sighting: &mut Sighting,
        owners: &Owners,
        rules: &Ruleset,
    ) {
        let attribution = sighting.attribution;
        if attribution.source() == AttributionSource::Socket
            && let Some(uid) = attribution.uid()
            && rules.is_shared(uid)
            && rules.records(sighting.outcome)
        {
            let cgroup = owners.cgroup(&sighting.flow, packet.out_interface, uid);
            sighting.attribution = attribution.in_cgroup(cgroup);
        }
    }

    fn carry_out(&self, packet: &Packet<'_>, inspection: &Inspection, scratch: &[u8]) {
        match inspection.act {
            Act::Pass => self.verdict(packet, Verdict::Accept),
            Act::Follow | Act::Leave => self.verdict(packet, self.marked(packet)),
            Act::Vanish => self.verdict(packet, Verdict::Drop),
            Act::Answer {
                flow,
                length,
                second_length,
            } => {
                // Before: an entry of the phone's own would stand in the answer's way.
                self.forget(&flow);
                // The answer goes first, so that the app has it by the time its packet is gone.
                self.inject(&scratch[..length], &flow, packet);
                if second_length > 0 {
                    let second = &scratch[length..length + second_length];
                    self.inject(second, &flow, packet);
                }
                // After: the app's next query waits in this queue until that is done.
                self.forget(&flow);
                self.verdict(packet, Verdict::Drop);
            }
            Act::Rewrite { length } => {
                if self.queue.rewrite(packet.id, &scratch[..length]).is_err() {
                    count(&self.counters.verdict_failed);
                }
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
                if reset_length > 0 {
                    self.inject(&scratch[..reset_length], &flow, packet);
                }
            }
        }
    }

    /// The verdict that has the connection followed from now on, or no longer: the rules of
    /// `muzzle_cont` read the mark.
    fn marked(&self, packet: &Packet<'_>) -> Verdict {
        match self.follow_mark {
            None => Verdict::Accept,
            // It is past those rules already.
            Some(mark) if packet.hook == Hook::PostRouting => {
                Verdict::RepeatMarked(packet.mark | mark)
            }
            Some(mark) => Verdict::AcceptMarked(packet.mark | mark),
        }
    }

    fn inject(&self, forged: &[u8], flow: &FlowKey, packet: &Packet<'_>) {
        let sent = self.injector.send(forged, flow, packet.out_interface);
        if sent.is_err() {
            count(&self.counters.inject_failed);
        }
    }

    fn forget(&self, flow: &FlowKey) {
        if let Some(conntrack) = &self.conntrack
            && conntrack.forget(flow).is_err()
        {
            count(&self.counters.forget_failed);
        }
    }

    fn verdict(&self, packet: &Packet<'_>, verdict: Verdict) {
        if self.queue.verdict(packet.id, verdict).is_err() {
            count(&self.counters.verdict_failed);
        }
    }
}
