//! UDP datagrams other than DNS: judged by their address and, where QUIC is spoken, by the name in
//! its first packets.

use super::quic::QuicConnections;
use super::{Context, Inspection, Reading};
use crate::act::{Act, ConnectionRefusal, datagram as forge, icmp, quic_close};
use crate::decide::{Evidence, FlowTable, Outcome};
use crate::parse::quic::{self, ConnectionId, Initial, Packet};

/// Flows whose refusal was told of, and for how many seconds it is not told again.
const TOLD: (usize, u32) = (256, 300);

/// What is remembered of them.
#[derive(Debug)]
pub(super) struct Datagrams {
    quic: QuicConnections,
    told: FlowTable<()>,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            quic: QuicConnections::default(),
            told: FlowTable::new(TOLD.0, TOLD.1),
        }
    }
}

impl Datagrams {
    /// Looks at a datagram, or several that the kernel has joined to one; `ip_packet` is the whole
    /// packet that it came in.
    pub(super) fn datagram(
        &mut self,
        context: &Context<'_>,
        ip_packet: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Inspection {
        let port = context.flow.remote.port();
        let name_follows = context
            .ruleset
            .named_ports
            .quic
            .binary_search(&port)
            .is_ok();
        let evidence = Evidence::Datagram { name_follows };
        let verdict = context.decide(evidence);
        if matches!(verdict.1, Outcome::Blocked | Outcome::WouldBlock) {
            let is_new = self.told.get_mut(&context.flow, context.now).is_none();
            if is_new {
                self.told.insert(context.flow, (), context.now);
            }
            let act = if verdict.1.refuses() {
                let refusal = context
                    .ruleset
                    .connection_refusal(None, context.attribution.uid());
                let initial = first_initial(payload);
                let quic = initial.as_ref().map(|it| (it, it.destination));
                refuse(context, ip_packet, refusal, quic, out)
            } else {
                Act::Pass
            };
            return Inspection {
                act,
                reading: Reading::Understood,
                sighting: is_new.then(|| context.sighting(evidence, verdict)),
            };
        }
        if name_follows {
            self.quic.datagram(context, ip_packet, payload, out)
        } else {
            Inspection::pass(Reading::Understood)
        }
    }

    /// How many connections were forgotten before their time. That something may be told twice
    /// does not count.
    pub(super) const fn evicted(&self) -> u64 {
        self.quic.evicted()
    }
}

/// The Initial packet that a datagram starts with, of a connection that nobody has answered: its
/// destination is the first.
fn first_initial(payload: &[u8]) -> Option<Initial<'_>> {
    match quic::packets(payload).next() {
        Some(Ok(Packet::Initial(initial))) => Some(initial),
        _ => None,
    }
}

/// Nobody listens there. Of `quic`, a packet of a connection and the destination of its first, the
/// client falls back to TCP; it is told in its own protocol too, for Linux hands ICMP errors to
/// connected sockets only.
pub(super) fn refuse(
    context: &Context<'_>,
    ip_packet: &[u8],
    refusal: ConnectionRefusal,
    quic: Option<(&Initial<'_>, ConnectionId)>,
    out: &mut [u8],
) -> Act {
    if refusal == ConnectionRefusal::Drop {
        return Act::Vanish;
    }
    let Some(length) = icmp::port_unreachable(ip_packet, out) else {
        return Act::Vanish;
    };
    let second_length = quic.and_then(|(initial, first_destination)| {
        forge::udp_reply(&context.flow, out.get_mut(length..)?, |payload| {
            quic_close::write(initial, &first_destination, payload)
        })
    });
    Act::Answer {
        flow: context.flow,
        length,
        second_length: second_length.unwrap_or(0),
    }
}
