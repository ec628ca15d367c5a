//! UDP datagrams other than DNS: judged by their address and, where QUIC is spoken, by the name in
//! its first packets.

use super::quic::QuicConnections;
use super::{Context, Inspection, Reading};
use crate::act::{Act, ConnectionRefusal, icmp};
use crate::decide::{Evidence, FlowTable, Outcome};

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
                refuse(context, ip_packet, refusal, out)
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

/// Nobody listens there: a client of QUIC falls back to TCP.
pub(super) fn refuse(
    context: &Context<'_>,
    ip_packet: &[u8],
    refusal: ConnectionRefusal,
    out: &mut [u8],
) -> Act {
    match refusal {
        ConnectionRefusal::Drop => Act::Vanish,
        ConnectionRefusal::Reset => {
            icmp::port_unreachable(ip_packet, out).map_or(Act::Vanish, |length| Act::Answer {
                flow: context.flow,
                length,
            })
        }
    }
}
