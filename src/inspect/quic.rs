//! QUIC connections: the ClientHello in their Initial packets.
//!
//! A connection is known by its flow and by the ID that the client gave itself, which stays the
//! same; one socket may have several connections to one server. Its keys come from the
//! Destination Connection ID of its first packet (RFC 9001 section 5.2), which is remembered: later
//! packets carry the server's choice. After a Retry the client begins anew with the ID from it, and
//! so do the keys. Which of the two it is, the packet's authentication tells.

use std::ops::Range;

use super::datagram::refuse;
use super::{Context, Inspection, Reading};
use crate::act::{Act, ConnectionRefusal};
use crate::decide::{Evidence, FlowKey, FlowTable, UnixSeconds};
use crate::parse::quic::{self, ConnectionId, Initial, MAX_INITIAL_BYTES, Packet, Version};
use crate::parse::reassembly::Reassembly;
use crate::parse::{Detected, DomainName, Malformed, tls};

/// Connections remembered side by side, and for how many seconds: by then a client has given up, or
/// sends no Initial any more.
const CONNECTIONS: (usize, u32) = (256, 300);
/// Of these, ones whose hello is not whole yet. A packet or two later it is.
const HELLOS: (usize, u32) = (32, 60);

/// Flow and Source Connection ID.
type ConnectionKey = (FlowKey, ConnectionId);

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug)]
struct Connection {
    /// Destination Connection ID of the first packet.
    first_destination: ConnectionId,
    version: Version,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The hello is not whole yet.
    Reading,
    Passed,
    Refused(ConnectionRefusal),
}

/// The QUIC connections of a queue.
#[derive(Debug)]
pub(super) struct QuicConnections {
    connections: FlowTable<Connection, ConnectionKey>,
    hellos: FlowTable<Reassembly, ConnectionKey>,
    /// A hello that is whole in its first packet never leaves this place.
    fresh: Box<Reassembly>,
    opened: Box<[u8; MAX_INITIAL_BYTES]>,
}

impl Default for QuicConnections {
    fn default() -> Self {
        Self {
            connections: FlowTable::new(CONNECTIONS.0, CONNECTIONS.1),
            hellos: FlowTable::new(HELLOS.0, HELLOS.1),
            fresh: Box::default(),
            opened: Box::new([0; MAX_INITIAL_BYTES]),
        }
    }
}

impl QuicConnections {
    /// A UDP datagram, or several that the kernel has joined to one; `ip_packet` is the whole
    /// packet that it came in. One refused connection in it refuses all of it.
    pub(super) fn datagram(
        &mut self,
        context: &Context<'_>,
        ip_packet: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Inspection {
        let mut inspection = Inspection::pass(Reading::Understood);
        for packet in quic::packets(payload) {
            let seen = match packet {
                Ok(Packet::Initial(initial)) => self.initial(context, ip_packet, &initial, out),
                Ok(Packet::UnknownVersion) => Inspection::pass(Reading::UnknownVersion),
                Ok(Packet::Other) => continue,
                Err(Malformed) => Inspection::pass(Reading::Malformed),
            };
            if seen.act != Act::Pass {
                return seen;
            }
            if inspection.sighting.is_none() {
                inspection = seen;
            }
        }
        inspection
    }

    fn initial(
        &mut self,
        context: &Context<'_>,
        ip_packet: &[u8],
        initial: &Initial<'_>,
        out: &mut [u8],
    ) -> Inspection {
        let key = (context.flow, initial.source);
        let known = self.connections.get_mut(&key, context.now).copied();
        let same = known.filter(|it| it.first_destination == initial.destination);
        if let Some(settled) = same.and_then(|it| it.settled(context, ip_packet, initial, out))
        {
            return settled; // no need to look inside
        }
        let Some((first_destination, frames)) = self.open(initial, known) else {
            return Inspection::pass(Reading::Malformed);
        };
        let same = known.filter(|it| it.first_destination == first_destination);
        if let Some(settled) = same.and_then(|it| it.settled(context, ip_packet, initial, out))
        {
            return settled;
        }
        // Versions do not change in the middle of a hello: the server chooses when it has read it
        // (RFC 9368 section 2.3).
        let goes_on = same.is_some_and(|it| it.version == initial.version);
        let mut connection = Connection {
            first_destination,
            version: initial.version,
            stage: Stage::Reading,
        };
        let name = self.read(key, goes_on, frames, context.now);
        let evidence = match &name {
            Err(Malformed) => return Inspection::pass(Reading::Malformed),
            Ok(Detected::Incomplete) => {
                self.connections.insert(key, connection, context.now);
                return Inspection::pass(Reading::Incomplete);
            }
            Ok(Detected::NotPresent) => Evidence::Unnamed,
            Ok(Detected::Found(name)) => Evidence::Sni(name),
        };
        let verdict = context.decide(evidence);
        let (stage, act) = if verdict.1.refuses() {
            let refusal = context
                .ruleset
                .connection_refusal(evidence.name(), context.attribution.uid());
            let quic = Some((initial, first_destination));
            let act = refuse(context, ip_packet, refusal, quic, out);
            (Stage::Refused(refusal), act)
        } else {
            (Stage::Passed, Act::Pass)
        };
        connection.stage = stage;
        self.hellos.remove(&key);
        self.connections.insert(key, connection, context.now);
        Inspection {
            act,
            reading: Reading::Understood,
            sighting: Some(context.sighting(evidence, verdict)),
        }
    }

    /// Decrypts a packet with the keys of the connection that is known, or else of a new one: the
    /// first destination that they come from, and where the frames now are in `opened`.
    fn open(
        &mut self,
        initial: &Initial<'_>,
        known: Option<Connection>,
    ) -> Option<(ConnectionId, Range<usize>)> {
        let remembered = known.map(|it| it.first_destination);
        let present = Some(initial.destination).filter(|it| remembered.as_ref() != Some(it));
        [remembered, present].into_iter().flatten().find_map(|id| {
            let frames = initial.open(&id, &mut self.opened).ok()?;
            Some((id, frames))
        })
    }

    /// Puts the pieces of the hello in `frames` in their places, beside those that have come before
    /// where the hello `goes_on`, and looks for the name.
    fn read(
        &mut self,
        key: ConnectionKey,
        goes_on: bool,
        frames: Range<usize>,
        now: UnixSeconds,
    ) -> Result<Detected<DomainName>, Malformed> {
        let begun = self.hellos.get_mut(&key, now).filter(|_| goes_on);
        let is_fresh = begun.is_none();
        let stream = begun.unwrap_or_else(|| {
            self.fresh.clear();
            &mut self.fresh
        });
        for frame in quic::crypto_frames(self.opened.get(frames).unwrap_or_default()) {
            let frame = frame?;
            stream.insert(frame.offset, frame.data);
        }
        let name = tls::server_name_in_handshake(stream.start());
        if is_fresh && name == Detected::Incomplete {
            self.hellos.insert(key, (*self.fresh).clone(), now);
        }
        Ok(name)
    }

    /// How many connections were forgotten before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.connections.evicted() + self.hellos.evicted()
    }
}

impl Connection {
    /// What is done with a further packet, where that is decided already.
    fn settled(
        &self,
        context: &Context<'_>,
        ip_packet: &[u8],
        initial: &Initial<'_>,
        out: &mut [u8],
    ) -> Option<Inspection> {
        match self.stage {
            Stage::Reading => None,
            Stage::Passed => Some(Inspection::pass(Reading::Understood)),
            Stage::Refused(refusal) => {
                let quic = Some((initial, self.first_destination));
                let act = refuse(context, ip_packet, refusal, quic, out);
                Some(Inspection::act(act))
            }
        }
    }
}
