//! DNS over TCP (RFC 1035 section 4.2.2, RFC 7766): queries behind a two-byte length, several in
//! a stream, cut anywhere.
//!
//! A blocked query is answered inside the stream, and the connection ends there: the segment that
//! completed it is dropped and the answer is forged. With the next thing the client sends, its
//! acknowledgment of the answer or its FIN, its socket is destroyed: the answer is there to be
//! read by then, and the kernel itself resets the resolver, which would wait for minutes for the
//! rest of the query otherwise (dnsmasq serves no more than 20 such clients). That is why the
//! answer carries no FIN: a client that closes after one sends its last FIN, and no reset follows
//! that. Queries that waited behind are asked again by the client on a new connection (RFC 7766
//! section 6.2.4).

use super::answer::Awaited;
use super::refusals::Refusals;
use super::{Context, Inspection, Reading, Sighting, dns};
use crate::act::segment::SegmentHeader;
use crate::act::{Act, DnsRefusal, dns_answer, segment as forge};
use crate::decide::FlowTable;
use crate::parse::dns::{LENGTH_PREFIX_BYTES as PREFIX_BYTES, Query};
use crate::parse::tcp::{TcpFlags, TcpSegment};

/// As much of a query as is kept while it is not whole: the header and one question of full
/// length, with room to spare.
const KEPT_BYTES: usize = 512;

/// What is remembered of queries that were judged.
type Memory<'a> = (&'a mut Refusals, &'a mut Awaited);

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
    refused: Option<Refused>,
}

/// Where a stream has ended.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// The sequence number after the forged answer; none where nothing is said.
    answer_end: Option<u32>,
    /// The client's, after the segment that was refused.
    query_end: u32,
}

/// What the queries in a run of bytes came to.
enum Judged {
    /// Nothing is blocked: the sighting with the most to tell, and how far the look got.
    Pass(Option<Sighting>, Reading),
    /// This one is. The packet with its answer has been written, unless no answer is wanted.
    Refused(Sighting, Option<ForgedAnswer>),
}

/// A forged packet in the scratch buffer.
struct ForgedAnswer {
    /// Bytes of the packet.
    length: usize,
    /// Bytes of the stream in it.
    body_bytes: u32,
}

/// A TCP segment to port 53.
pub(super) fn segment(
    memory: Memory<'_>,
    streams: &mut FlowTable<DnsStream>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    out: &mut [u8],
) -> Inspection {
    let opening = segment.opens();
    let refused = streams
        .get_mut(&context.flow, context.now)
        .and_then(|it| it.refused);
    if let Some(refused) = refused
        && !opening
        && segment.is_near(refused.query_end)
    {
        return after_refusal(streams, context, segment, refused, out);
    }
    if opening || refused.is_some() {
        // A new connection on the same ports, whose SYN perhaps passed unseen.
        streams.remove(&context.flow);
    }
    let inspection = if segment.payload.is_empty() {
        Inspection::pass(Reading::Understood)
    } else {
        // The SYN takes a sequence number of its own; data beside it is TCP Fast Open.
        let start = segment.sequence.wrapping_add(u32::from(opening));
        payload(memory, streams, context, segment, start, out)
    };
    let ends = [TcpFlags::FIN, TcpFlags::RST]
        .into_iter()
        .any(|flag| segment.flags.contains(flag));
    if ends && inspection.act.passes() {
        streams.remove(&context.flow);
    }
    inspection
}

fn payload(
    memory: Memory<'_>,
    streams: &mut FlowTable<DnsStream>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    start: u32,
    out: &mut [u8],
) -> Inspection {
    if streams.get_mut(&context.flow, context.now).is_none() {
        streams.insert(context.flow, DnsStream::new(start), context.now);
    }
    let Some(stream) = streams.get_mut(&context.flow, context.now) else {
        return Inspection::pass(Reading::Incomplete);
    };
    match stream.take(memory, context, segment, start, out) {
        Judged::Pass(sighting, reading) => Inspection {
            act: Act::Pass,
            reading,
            sighting,
        },
        Judged::Refused(sighting, answer) => {
            let end =
                |answer: &ForgedAnswer| segment.acknowledgment.wrapping_add(answer.body_bytes);
            stream.refused = Some(Refused {
                answer_end: answer.as_ref().map(end),
                query_end: segment.sequence_end(),
            });
            let flow = context.flow;
            let act = answer.map_or(Act::Vanish, |answer| Act::Answer {
                flow,
                length: answer.length,
                second_length: 0,
            });
            Inspection {
                act,
                reading: Reading::Understood,
                sighting: Some(sighting),
            }
        }
    }
}

/// The client still talks on a stream that has ended.
fn after_refusal(
    streams: &mut FlowTable<DnsStream>,
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    refused: Refused,
    out: &mut [u8],
) -> Inspection {
    if segment.flags.contains(TcpFlags::RST) {
        // The kernel's own, for the resolver.
        streams.remove(&context.flow);
        return Inspection::pass(Reading::Understood);
    }
    let Some(answer_end) = refused.answer_end else {
        return Inspection::act(Act::Vanish);
    };
    let reaches = |number: u32, other: u32| number.wrapping_sub(other).cast_signed() >= 0;
    let has_answer = reaches(segment.acknowledgment, answer_end);
    // It sends the query again: the answer did not get to it.
    let repeats = !segment.payload.is_empty() && !reaches(segment.sequence, refused.query_end);
    if has_answer || repeats || segment.flags.contains(TcpFlags::FIN) {
        let reset_length = forge::reset_for(&context.flow, segment, out).unwrap_or(0);
        return Inspection::act(Act::Sever {
            flow: context.flow,
            reset_length,
        });
    }
    Inspection::act(Act::Vanish)
}

impl DnsStream {
    const fn new(start: u32) -> Self {
        Self {
            next: start,
            partial: [0; PREFIX_BYTES + KEPT_BYTES],
            filled: 0,
            skip: 0,
            refused: None,
        }
    }

    /// Judges the bytes of a segment that were not seen before.
    fn take(
        &mut self,
        memory: Memory<'_>,
        context: &Context<'_>,
        segment: &TcpSegment<'_>,
        start: u32,
        out: &mut [u8],
    ) -> Judged {
        let behind = usize::try_from(self.next.wrapping_sub(start)).unwrap_or(usize::MAX);
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        // A retransmission starts behind `next`; anything else after a gap (packets that passed
        // unseen) starts a new message as far as can be told.
        let fresh = if behind <= usize::from(u16::MAX) {
            segment.payload.get(behind..).unwrap_or_default()
        } else {
            (self.filled, self.skip) = (0, 0);
            segment.payload
        };
        if !fresh.is_empty() {
            self.next = start.wrapping_add(length);
        }
        self.judge(memory, context, segment, fresh, out)
    }

    fn judge(
        &mut self,
        (refusals, awaited): Memory<'_>,
        context: &Context<'_>,
        segment: &TcpSegment<'_>,
        mut bytes: &[u8],
        out: &mut [u8],
    ) -> Judged {
        let mut told: Option<Sighting> = None;
        let mut reading = Reading::Understood;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip > 0 || bytes.is_empty() {
                break;
            }
            let Some(filled) = self.fill(&mut bytes) else {
                reading = Reading::Incomplete;
                break;
            };
            let Ok(query) = Query::parse(&self.partial[PREFIX_BYTES..filled]) else {
                reading = Reading::Malformed;
                continue;
            };
            let sighting = dns::judge(refusals, context, &query);
            if let Some(blocked) = sighting.as_ref().filter(|it| it.outcome.refuses()) {
                let answer = answer_in_stream(context, segment, &query, blocked, out);
                return Judged::Refused(blocked.clone(), answer);
            }
            awaited.add(context, &query);
            if told.as_ref().map(|it| it.outcome) < sighting.as_ref().map(|it| it.outcome) {
                told = sighting;
            }
        }
        Judged::Pass(told, reading)
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

/// Writes the segment that answers `query` in the stream that `segment` belongs to.
fn answer_in_stream(
    context: &Context<'_>,
    segment: &TcpSegment<'_>,
    query: &Query<'_>,
    blocked: &Sighting,
    out: &mut [u8],
) -> Option<ForgedAnswer> {
    let ruleset = context.ruleset;
    let answer = ruleset.dns_refusal(blocked.judged(), context.attribution.uid());
    if answer == DnsRefusal::Drop {
        return None;
    }
    if segment.opens() {
        // A client in SYN-SENT takes no data without a SYN (RFC 9293 section 3.10.7.3).
        let length = forge::reset_for(&context.flow, segment, out)?;
        return Some(ForgedAnswer {
            length,
            body_bytes: 0,
        });
    }
    let header = SegmentHeader {
        sequence: segment.acknowledgment,
        acknowledgment: segment.sequence_end(),
        flags: TcpFlags::PSH.with(TcpFlags::ACK),
    };
    let mut body_bytes = 0;
    let length = forge::tcp_reply(&context.flow, header, out, |body| {
        body_bytes = dns_answer::write_framed(query, answer, ruleset.dns.ttl_secs(), body)?;
        Some(body_bytes)
    })?;
    Some(ForgedAnswer {
        length,
        body_bytes: u32::try_from(body_bytes).ok()?,
    })
}
