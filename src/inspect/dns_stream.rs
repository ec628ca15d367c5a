//! DNS over TCP (RFC 1035 section 4.2.2, RFC 7766): queries behind a two-byte length, several in
//! a stream, cut anywhere.
//!
//! A blocked query is answered inside the stream, and the connection ends there: the segment that
//! completed it is dropped, the answer is forged with a FIN, and what the client still sends on
//! this flow is dropped too. Queries that waited behind it are asked again by the client on a new
//! connection (RFC 7766 section 6.2.4).

use super::{Context, Inspection, Reading, Sighting, dns};
use crate::act::{Act, DnsRefusal, dns_answer, segment as forge};
use crate::decide::{FlowTable, Outcome};
use crate::parse::dns::Query;
use crate::parse::tcp::{TcpFlags, TcpSegment};

/// As much of a query as is kept while it is not whole: the header and one question of full
/// length, with room to spare.
const KEPT_BYTES: usize = 512;
const PREFIX_BYTES: usize = 2;

/// Where the client is in its stream of queries.
///
/// Invariant: `filled <= PREFIX_BYTES + KEPT_BYTES`, and `skip > 0` only while `filled == 0`.
#[derive(Debug)]
pub(super) struct DnsStream {
    /// Sequence number of the next byte that was not seen yet.
    next: u32,
    /// The length prefix and the start of a query that is not whole yet.
    partial: [u8; PREFIX_BYTES + KEPT_BYTES],
    filled: usize,
    /// Bytes of a query already judged that are still to come.
    skip: usize,
    refused: bool,
}

/// What the queries in a run of bytes came to.
enum Judged {
    /// Nothing is blocked. The last sighting and whether a query could not be parsed.
    Pass(Option<Sighting>, Reading),
    /// This one is, and the answer to it has been written: this many bytes.
    Refused(Sighting, Option<usize>),
}

/// A TCP segment to port 53.
pub(super) fn segment(
    streams: &mut FlowTable<DnsStream>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    let opening = segment.flags.contains(TcpFlags::SYN);
    if opening {
        streams.remove(&context.flow);
    } else if streams.get_mut(&context.flow).is_some_and(|stream| stream.refused) {
        return after_refusal(streams, context, segment, out);
    }
    let inspection = if segment.payload.is_empty() {
        Inspection::pass(Reading::Understood)
    } else {
        // The SYN takes a sequence number of its own; data beside it is TCP Fast Open.
        let start = segment.sequence.wrapping_add(u32::from(opening));
        payload(streams, context, segment, start, out)
    };
    if segment.flags.contains(TcpFlags::FIN) && inspection.act == Act::Pass {
        streams.remove(&context.flow);
    }
    inspection
}

fn payload(
    streams: &mut FlowTable<DnsStream>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    start: u32,
    out: &mut [u8],
) -> Inspection {
    if streams.get_mut(&context.flow).is_none() {
        streams.insert(context.flow, DnsStream::new(start));
    }
    let Some(stream) = streams.get_mut(&context.flow) else {
        return Inspection::pass(Reading::Incomplete);
    };
    let judged = stream.take(context, start, segment.payload, out);
    match judged {
        Judged::Pass(sighting, reading) => Inspection { act: Act::Pass, reading, sighting },
        Judged::Refused(sighting, answer) => {
            stream.refused = true;
            let length = answer.and_then(|answer| close_with(context, segment, answer, out));
            let act = length.map_or(Act::Vanish, |length| Act::Answer {
                flow: context.flow,
                length,
            });
            Inspection { act, reading: Reading::Understood, sighting: Some(sighting) }
        }
    }
}

/// Where the DNS message is put while the packet around it is not written yet.
const ANSWER_AT: usize = 128;

/// Turns the answer that stands in `out` at [`ANSWER_AT`] into the segment that ends the stream.
fn close_with(
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    answer: usize,
    out: &mut [u8],
) -> Option<usize> {
    let acknowledged = end_of(segment);
    let flags = TcpFlags::PSH | TcpFlags::ACK | TcpFlags::FIN;
    let mut message = [0; PREFIX_BYTES + KEPT_BYTES * 2];
    let prefix = u16::try_from(answer).ok()?.to_be_bytes();
    message[..PREFIX_BYTES].copy_from_slice(&prefix);
    let body = message.get_mut(PREFIX_BYTES..PREFIX_BYTES + answer)?;
    body.copy_from_slice(out.get(ANSWER_AT..ANSWER_AT + answer)?);
    let message = &message[..PREFIX_BYTES + answer];
    forge::tcp_reply(&context.flow, segment.acknowledgment, acknowledged, flags, message, out)
}

/// The client still talks on a stream that has ended. Its FIN and its data are answered with a
/// reset, so that it does not wait for acknowledgments that nobody sends.
fn after_refusal(
    streams: &mut FlowTable<DnsStream>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    let silent = context.ruleset.dns.answer == DnsRefusal::Drop;
    let closing = segment.flags.contains(TcpFlags::FIN);
    if closing || segment.flags.contains(TcpFlags::RST) {
        streams.remove(&context.flow);
    }
    if silent || segment.flags.contains(TcpFlags::RST) {
        return Inspection::act(Act::Vanish);
    }
    if !closing && segment.payload.is_empty() {
        return Inspection::act(Act::Vanish);
    }
    let reset = forge::reset_for(&context.flow, segment, out);
    let act =
        reset.map_or(Act::Vanish, |length| Act::Answer { flow: context.flow, length });
    Inspection::act(act)
}

fn end_of(segment: &TcpSegment<'_>) -> u32 {
    let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
    let fin = u32::from(segment.flags.contains(TcpFlags::FIN));
    segment.sequence.wrapping_add(length).wrapping_add(fin)
}

impl DnsStream {
    const fn new(start: u32) -> Self {
        Self {
            next: start,
            partial: [0; PREFIX_BYTES + KEPT_BYTES],
            filled: 0,
            skip: 0,
            refused: false,
        }
    }

    /// Judges the bytes of a segment that were not seen before.
    fn take(
        &mut self,
        context: &Context<'_>,
        start: u32,
        payload: &[u8],
        out: &mut [u8],
    ) -> Judged {
        let behind = usize::try_from(self.next.wrapping_sub(start)).unwrap_or(usize::MAX);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        // A retransmission starts behind `next`; anything else after a gap (packets that passed
        // unseen) starts a new message as far as can be told.
        let fresh = if behind <= usize::from(u16::MAX) {
            payload.get(behind..).unwrap_or_default()
        } else {
            (self.filled, self.skip) = (0, 0);
            payload
        };
        if !fresh.is_empty() {
            self.next = start.wrapping_add(length);
        }
        self.judge(context, fresh, out)
    }

    fn judge(&mut self, context: &Context<'_>, mut bytes: &[u8], out: &mut [u8]) -> Judged {
        let mut seen = None;
        let mut reading = Reading::Understood;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip > 0 || bytes.is_empty() {
                break;
            }
            let Some(taken) = self.fill(&mut bytes) else {
                if seen.is_none() {
                    reading = Reading::Incomplete;
                }
                break;
            };
            match judge_message(context, &self.partial[PREFIX_BYTES..taken], out) {
                Ok(Judged::Pass(sighting, _)) => seen = sighting.or(seen),
                Ok(refused) => return refused,
                Err(()) => reading = Reading::Malformed,
            }
        }
        Judged::Pass(seen, reading)
    }

    /// Moves bytes into `partial` until a query can be judged; then says how many are in it and
    /// starts anew. `None` while more are needed.
    fn fill(&mut self, bytes: &mut &[u8]) -> Option<usize> {
        self.fill_to(PREFIX_BYTES, bytes)?;
        let length = usize::from(u16::from_be_bytes([self.partial[0], self.partial[1]]));
        let kept = length.min(KEPT_BYTES);
        self.fill_to(PREFIX_BYTES + kept, bytes)?;
        let filled = self.filled;
        self.filled = 0;
        self.skip = length - kept;
        Some(filled)
    }

    fn fill_to(&mut self, wanted: usize, bytes: &mut &[u8]) -> Option<()> {
        let taken = wanted.saturating_sub(self.filled).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        self.partial[self.filled..self.filled + taken].copy_from_slice(now);
        self.filled += taken;
        *bytes = later;
        (self.filled >= wanted).then_some(())
    }
}

fn judge_message(
    context: &Context<'_>,
    message: &[u8],
    out: &mut [u8],
) -> Result<Judged, ()> {
    let query = Query::parse(message).map_err(|_| ())?;
    let sighting = dns::judge(context, &query);
    match sighting {
        Some(sighting) if sighting.outcome == Outcome::Blocked => {
            let settings = &context.ruleset.dns;
            let answer = out.get_mut(ANSWER_AT..).and_then(|body| {
                dns_answer::write(&query, settings.answer, settings.ttl_secs, body)
            });
            Ok(Judged::Refused(sighting, answer))
        }
        sighting => Ok(Judged::Pass(sighting, Reading::Understood)),
    }
}
