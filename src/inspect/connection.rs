//! TCP connections other than DNS: the SYN, and the first payload of ports that name a host.

use super::{Context, Inspection, Reading};
use crate::act::{Act, ConnectionRefusal, segment as forge};
use crate::decide::{Evidence, FlowTable, Outcome};
use crate::parse::tcp::{TcpFlags, TcpSegment};
use crate::parse::{Detected, http, tls};

/// First byte of a TLS handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A TCP segment to any port but 53.
pub(super) fn segment(
    refused: &mut FlowTable<()>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    if segment.flags.contains(TcpFlags::SYN) {
        refused.remove(&context.flow);
        let name_follows = context
            .ruleset
            .named_ports
            .contains(segment.destination_port);
        let syn = judge(
            refused,
            context,
            segment,
            Evidence::Syn { name_follows },
            out,
        );
        // Data beside the SYN is TCP Fast Open: it is looked at as any first payload.
        if segment.payload.is_empty() || syn.act != Act::Pass {
            return syn;
        }
    } else if refused.get_mut(&context.flow).is_some() {
        // What the client sends again of a refused connection stays refused.
        return Inspection::act(sever(context, segment, out));
    }
    match segment.payload.first() {
        None => Inspection::pass(Reading::Understood),
        Some(&TLS_HANDSHAKE) => match tls::server_name(segment.payload) {
            Detected::Found(name) => {
                judge(refused, context, segment, Evidence::Sni(&name), out)
            }
            other => without_name(&other, refused, context, segment, out),
        },
        Some(_) => match http::host(segment.payload) {
            Detected::Found(name) => {
                judge(refused, context, segment, Evidence::Host(&name), out)
            }
            other => without_name(&other, refused, context, segment, out),
        },
    }
}

fn without_name<T>(
    detected: &Detected<T>,
    refused: &mut FlowTable<()>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    match detected {
        Detected::Incomplete => Inspection::pass(Reading::Incomplete),
        _ => judge(refused, context, segment, Evidence::Unnamed, out),
    }
}

fn judge(
    refused: &mut FlowTable<()>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    evidence: Evidence<'_>,
    out: &mut [u8],
) -> Inspection {
    let verdict = context.decide(evidence);
    // A SYN that passes and whose name is still to come would only double the log.
    let worth_telling = !matches!(
        (evidence, verdict.1),
        (Evidence::Syn { name_follows: true }, Outcome::Allowed)
    );
    let sighting = worth_telling.then(|| context.sighting(evidence, verdict));
    let act = if verdict.1 == Outcome::Blocked {
        refused.insert(context.flow, ());
        sever(context, segment, out)
    } else {
        Act::Pass
    };
    Inspection {
        act,
        reading: Reading::Understood,
        sighting,
    }
}

fn sever(context: &Context<'_>, segment: &TcpSegment<'_>, out: &mut [u8]) -> Act {
    match context.ruleset.connections.refuse {
        ConnectionRefusal::Drop => Act::Vanish,
        ConnectionRefusal::Reset => {
            let reset_length = forge::reset_for(&context.flow, segment, out).unwrap_or(0);
            Act::Sever {
                flow: context.flow,
                reset_length,
            }
        }
    }
}
