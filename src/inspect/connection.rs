//! TCP connections other than DNS: the SYN, and what the client says first on ports that name a
//! host, also where that comes in pieces.

use super::{Context, Inspection, Reading};
use crate::act::{Act, ConnectionRefusal, segment as forge};
use crate::decide::{Evidence, FlowTable, Outcome};
use crate::parse::reassembly::{Reassembly, STREAM_BYTES};
use crate::parse::tcp::{TcpFlags, TcpSegment};
use crate::parse::{Detected, DomainName, http, tls};

/// Connections that have said nothing yet, and how long that is waited for.
const OPENED: (usize, u32) = (256, 300);
/// Connections whose hello or request is not whole yet.
const PARTIAL: (usize, u32) = (32, 60);
/// Refused connections whose retransmissions are still recognised: Linux gives up after 15
/// minutes (`tcp_retries2`).
const REFUSED: (usize, u32) = (256, 960);

/// What is remembered of connections.
#[derive(Debug)]
pub(super) struct Connections {
    /// The first sequence number of what the client will say.
    opened: FlowTable<u32>,
    partial: FlowTable<Partial>,
    /// What was refused: it tells what is sent again from a new connection on the same ports.
    refused: FlowTable<Refused>,
}

/// What was refused of a connection, and how that was told.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Its sequence number.
    at: u32,
    refusal: ConnectionRefusal,
}

/// The start of a stream that does not name its host yet.
#[derive(Debug)]
struct Partial {
    /// The sequence number of its first byte.
    start: u32,
    stream: Reassembly,
}

/// What the start of a stream says.
enum Finding<'a> {
    Sni(DomainName),
    Request(http::Request<'a>),
    /// Nothing that names a host.
    Unnamed,
    /// What has come so far does not tell.
    Incomplete,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            opened: FlowTable::new(OPENED.0, OPENED.1),
            partial: FlowTable::new(PARTIAL.0, PARTIAL.1),
            refused: FlowTable::new(REFUSED.0, REFUSED.1),
        }
    }
}

impl Connections {
    /// Looks at a TCP segment to any port but 53.
    pub(super) fn segment(
        &mut self,
        context: &Context<'_>,
        segment: &TcpSegment<'_>,
        out: &mut [u8],
    ) -> Inspection {
        let refused = self.refused.get_mut(&context.flow, context.now).copied();
        if segment.opens() {
            self.refused.remove(&context.flow);
            self.partial.remove(&context.flow);
            let mut inspection = self.opening(context, segment, out);
            if refused.is_some_and(|it| it.at == segment.sequence) && !inspection.act.passes() {
                inspection.sighting = None; // told already
            }
            return inspection;
        }
        match refused.filter(|it| segment.is_near(it.at)) {
            // Not refused, or of another connection, whose SYN passed unseen.
            None => self.payload(context, segment, out),
            // The socket is gone, and its reset frees the server's end too.
            Some(_) if segment.flags.contains(TcpFlags::RST) => {
                self.refused.remove(&context.flow);
                Inspection::pass(Reading::Understood)
            }
            // What the client sends again of a refused connection stays refused.
            Some(it) => Inspection::act(sever(context, segment, it.refusal, out)),
        }
    }

    /// A SYN. Data beside it is TCP Fast Open: it is looked at as any first payload.
    fn opening(
        &mut self,
        context: &Context<'_>,
        segment: &TcpSegment<'_>,
        out: &mut [u8],
    ) -> Inspection {
        let name_follows = context.names_follow();
        let evidence = Evidence::Syn { name_follows };
        let syn = judge(&mut self.refused, context, segment, evidence, out);
        if !syn.act.passes() || !name_follows {
            return syn;
        }
        let start = segment.sequence.wrapping_add(1);
        self.opened.insert(context.flow, start, context.now);
        let inspection = if segment.payload.is_empty() {
            syn
        } else {
            self.payload(context, segment, out)
        };
        match inspection.act {
            Act::Pass => Inspection {
                act: Act::Follow,
                ..inspection
            },
            // What there is to know is known.
            Act::Leave => Inspection {
                act: Act::Pass,
                ..inspection
            },
            _ => inspection,
        }
    }

    fn payload(
        &mut self,
        context: &Context<'_>,
        segment: &TcpSegment<'_>,
        out: &mut [u8],
    ) -> Inspection {
        if segment.payload.is_empty() || !context.names_follow() {
            return Inspection::pass(Reading::Understood);
        }
        let Some(finding) = look(&mut self.opened, &mut self.partial, context, segment) else {
            return Inspection::act(Act::Leave);
        };
        let evidence = match &finding {
            Finding::Incomplete => return Inspection::pass(Reading::Incomplete),
            Finding::Sni(name) => Evidence::Sni(name),
            Finding::Request(request) => Evidence::Request {
                host: request.host.as_ref(),
                path: request.path,
            },
            Finding::Unnamed => Evidence::Unnamed,
        };
        let mut inspection = judge(&mut self.refused, context, segment, evidence, out);
        if inspection.act == Act::Pass {
            inspection.act = Act::Leave;
        }
        self.partial.remove(&context.flow);
        inspection
    }

    /// How many connections were forgotten before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.opened.evicted() + self.partial.evicted() + self.refused.evicted()
    }
}

/// What the client's stream says, with this piece of it; none where it is no piece of a stream's
/// start.
fn look<'a>(
    opened: &mut FlowTable<u32>,
    partial: &'a mut FlowTable<Partial>,
    context: &Context<'_>,
    segment: &TcpSegment<'a>,
) -> Option<Finding<'a>> {
    let (flow, now) = (&context.flow, context.now);
    // The SYN takes a sequence number of its own.
    let at = segment.sequence.wrapping_add(u32::from(segment.opens()));
    let known = partial.get_mut(flow, now);
    if let Some(offset) = known.and_then(|partial| offset(partial.start, at)) {
        let stream = &mut partial.get_mut(flow, now)?.stream;
        stream.insert(offset, segment.payload);
        return Some(match find(stream.start()) {
            Finding::Incomplete if stream.is_full() => Finding::Unnamed,
            finding => finding,
        });
    }
    let first = opened.get_mut(flow, now).copied();
    let (start, offset) = match first.and_then(|start| Some((start, offset(start, at)?))) {
        Some(place) => place,
        // Its SYN was not seen, or it has said more before.
        None if starts_with_a_name(segment.payload) => (at, 0),
        None => return None,
    };
    opened.remove(flow);
    let finding = if offset == 0 {
        find(segment.payload)
    } else {
        Finding::Incomplete
    };
    if matches!(finding, Finding::Incomplete) {
        let mut stream = Reassembly::new();
        stream.insert(offset, segment.payload);
        partial.insert(*flow, Partial { start, stream }, now);
    }
    Some(finding)
}

fn judge(
    refused: &mut FlowTable<Refused>,
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
        let refusal = context
            .ruleset
            .connection_refusal(evidence.name(), context.attribution.uid());
        let at = segment.sequence;
        refused.insert(context.flow, Refused { at, refusal }, context.now);
        sever(context, segment, refusal, out)
    } else {
        Act::Pass
    };
    Inspection {
        act,
        reading: Reading::Understood,
        sighting,
    }
}

/// Where in a stream that starts at `start` the byte with sequence number `at` stands; none where
/// that is not looked at.
fn offset(start: u32, at: u32) -> Option<u64> {
    let offset = u64::from(at.wrapping_sub(start));
    (offset < STREAM_BYTES as u64).then_some(offset)
}

/// What the kernel's prefilter picks by itself.
fn starts_with_a_name(payload: &[u8]) -> bool {
    tls::starts_client_hello(payload) || http::starts_request(payload)
}

fn find(stream: &[u8]) -> Finding<'_> {
    if stream.first() == Some(&tls::RECORD_HANDSHAKE) {
        return match tls::server_name(stream) {
            Detected::Found(name) => Finding::Sni(name),
            Detected::NotPresent => Finding::Unnamed,
            Detected::Incomplete => Finding::Incomplete,
        };
    }
    match http::request(stream) {
        Detected::Found(request) => Finding::Request(request),
        Detected::NotPresent => Finding::Unnamed,
        Detected::Incomplete => Finding::Incomplete,
    }
}

fn sever(
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    refusal: ConnectionRefusal,
    out: &mut [u8],
) -> Act {
    match refusal {
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
