//! TCP connections other than DNS: the SYN, and the first payload of ports that name a host.

use super::{Context, Inspection, Reading};
use crate::act::{Act, ConnectionRefusal, segment as forge};
use crate::decide::{Evidence, FlowTable, Outcome};
use crate::parse::tcp::{TcpFlags, TcpSegment};
use crate::parse::{Detected, http, tls};

/// First byte of a TLS handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Connections that were refused, each with the sequence number of what was refused: it tells what
/// is sent again from a new connection on the same ports.
pub(super) type Refused = FlowTable<u32>;

/// A TCP segment to any port but 53.
pub(super) fn segment(
    refused: &mut Refused,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    let refused_at = refused.get_mut(&context.flow).copied();
    if segment.opens() {
        refused.remove(&context.flow);
        let mut inspection = opening(refused, context, segment, out);
        if refused_at == Some(segment.sequence) && inspection.act != Act::Pass {
            inspection.sighting = None; // told already
        }
        return inspection;
    }
    match refused_at.filter(|&at| segment.is_near(at)) {
        // Not refused, or of another connection, whose SYN passed unseen.
        None => payload(refused, context, segment, out),
        // The socket is gone, and its reset frees the server's end too.
        Some(_) if segment.flags.contains(TcpFlags::RST) => {
            refused.remove(&context.flow);
            Inspection::pass(Reading::Understood)
        }
        // What the client sends again of a refused connection stays refused.
        Some(_) => Inspection::act(sever(context, segment, out)),
    }
}

/// A SYN. Data beside it is TCP Fast Open: it is looked at as any first payload.
fn opening(
    refused: &mut Refused,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    let name_follows = context
        .ruleset
        .named_ports
        .contains(segment.destination_port);
    let evidence = Evidence::Syn { name_follows };
    let syn = judge(refused, context, segment, evidence, out);
    if segment.payload.is_empty() || syn.act != Act::Pass {
        syn
    } else {
        payload(refused, context, segment, out)
    }
}

fn payload(
    refused: &mut Refused,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    let Some(&first) = segment.payload.first() else {
        return Inspection::pass(Reading::Understood);
    };
    let is_tls = first == TLS_HANDSHAKE;
    let name = if is_tls {
        tls::server_name(segment.payload)
    } else {
        http::host(segment.payload)
    };
    let evidence = match &name {
        Detected::Incomplete => return Inspection::pass(Reading::Incomplete),
        Detected::NotPresent => Evidence::Unnamed,
        Detected::Found(name) if is_tls => Evidence::Sni(name),
        Detected::Found(name) => Evidence::Host(name),
    };
    judge(refused, context, segment, evidence, out)
}

fn judge(
    refused: &mut Refused,
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
        refused.insert(context.flow, segment.sequence);
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
