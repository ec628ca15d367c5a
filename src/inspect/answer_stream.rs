//! Answers to DNS queries over TCP: behind a two-byte length, several in a stream, cut anywhere.
//!
//! What is refused becomes a refusal of the same length, so that the stream goes on as both ends
//! know it and what is asked beside it is answered. Where the start of an answer had passed before
//! what is refused came to light, nothing can be put in its place: the connection is ended, and
//! the client asks again or elsewhere.

use std::net::SocketAddr;

use super::answer::{self, Arrival, Awaited, Resolution};
use super::{Inspection, Reading, Sighting};
use crate::act::segment::{self as forge, SegmentHeader};
use crate::act::{Act, DnsRefusal, dns_answer};
use crate::decide::{FlowKey, FlowTable};
use crate::parse::dns::LENGTH_PREFIX_BYTES as PREFIX_BYTES;
use crate::parse::dns_response::Response;
use crate::parse::tcp::{TcpFlags, TcpSegment};

/// As much of an answer in pieces as is kept and looked at; one that is whole in its segment is
/// looked at whole. Resolvers put aliases first.
const KEPT_BYTES: usize = 2046;

/// Where a resolver is in its stream of answers.
///
/// Invariant: `filled <= PREFIX_BYTES + KEPT_BYTES`, and `skip > 0` only while `filled == 0`.
#[derive(Debug)]
pub(super) struct AnswerStream {
    /// Sequence number of the next byte that was not seen yet.
    next: u32,
    /// The length prefix and the start of an answer that is not whole yet, all of which has passed.
    partial: [u8; PREFIX_BYTES + KEPT_BYTES],
    filled: usize,
    /// Bytes of an answer already judged that are still to come.
    skip: usize,
}

/// What came of the answers in a segment.
struct Findings<'a> {
    /// Where the segment is written once something in it is to be another.
    out: &'a mut [u8],
    /// Bytes of the packet that `out` then holds; 0 before.
    rewritten: usize,
    vanishes: bool,
    /// The resolver as the app addressed it, where the connection is to end.
    severed: Option<SocketAddr>,
    reading: Reading,
    sighting: Option<Sighting>,
    resolution: Option<Resolution>,
}

/// A TCP segment from port 53, whose bytes with its header are `bytes`.
pub(super) fn segment(
    awaited: &mut Awaited,
    streams: &mut FlowTable<AnswerStream>,
    arrival: &Arrival<'_>,
    (bytes, segment): (&[u8], &TcpSegment<'_>),
    out: &mut [u8],
) -> (Inspection, Option<Resolution>) {
    let (flow, now, payload) = (arrival.flow, arrival.now, segment.payload);
    // The SYN takes a sequence number of its own.
    let opens = segment.flags.contains(TcpFlags::SYN);
    let start = segment.sequence.wrapping_add(u32::from(opens));
    let known = streams.get_mut(&flow, now).is_some();
    if opens || !known && !payload.is_empty() {
        streams.insert(flow, AnswerStream::new(start), now);
    }
    let mut findings = Findings {
        out,
        rewritten: 0,
        vanishes: false,
        severed: None,
        reading: Reading::Empty,
        sighting: None,
        resolution: None,
    };
    if !payload.is_empty()
        && let Some(stream) = streams.get_mut(&flow, now)
    {
        findings.reading = Reading::Understood;
        stream.segment(awaited, arrival, (bytes, payload), start, &mut findings);
    }
    let ends = [TcpFlags::FIN, TcpFlags::RST]
        .into_iter()
        .any(|flag| segment.flags.contains(flag));
    if ends || findings.severed.is_some() {
        streams.remove(&flow);
    }
    findings.into_inspection(&flow, segment)
}

impl AnswerStream {
    const fn new(start: u32) -> Self {
        Self {
            next: start,
            partial: [0; PREFIX_BYTES + KEPT_BYTES],
            filled: 0,
            skip: 0,
        }
    }

    /// Looks at the payload of a segment, which starts at `start` in the stream.
    fn segment(
        &mut self,
        awaited: &mut Awaited,
        arrival: &Arrival<'_>,
        (bytes, payload): (&[u8], &[u8]),
        start: u32,
        findings: &mut Findings<'_>,
    ) {
        let behind = usize::try_from(self.next.wrapping_sub(start)).unwrap_or(usize::MAX);
        let is_old = behind <= usize::from(u16::MAX);
        if behind != 0 && begins(awaited, arrival, payload) {
            // Sent again, or after packets that passed unseen: an answer begins here, whatever
            // was thought to.
            let mut anew = Self::new(start);
            anew.take(awaited, arrival, (bytes, payload), findings);
            if is_old && behind >= payload.len() {
                findings.sighting = None; // told already
            } else {
                *self = anew;
            }
        } else if !is_old {
            *self = Self::new(start); // nothing is known of what this is a piece of
        } else if let Some(fresh) = payload.get(behind..) {
            self.take(awaited, arrival, (bytes, fresh), findings);
        } else {
            return;
        }
        if !is_old || behind < payload.len() {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            self.next = start.wrapping_add(length);
        }
    }

    /// Looks at `rest`, the end of a segment, which follows what was seen before.
    fn take(
        &mut self,
        awaited: &mut Awaited,
        arrival: &Arrival<'_>,
        (bytes, mut rest): (&[u8], &[u8]),
        findings: &mut Findings<'_>,
    ) {
        loop {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = &rest[skipped..];
            if rest.is_empty() {
                return;
            }
            let passed = self.filled;
            let Some(frame_bytes) = self.frame_bytes(rest) else {
                self.keep(rest);
                findings.reading = Reading::Incomplete;
                return;
            };
            let here = rest.len().min(frame_bytes.saturating_sub(passed));
            let (now, later) = rest.split_at(here);
            let is_whole = passed + here >= frame_bytes;
            self.keep(now);
            // What has passed of an answer cannot be another any more; its length may stand.
            let in_place = now.get(PREFIX_BYTES.saturating_sub(passed)..);
            let in_place = in_place.filter(|_| passed <= PREFIX_BYTES);
            let kept = self.partial.get(PREFIX_BYTES..self.filled);
            let message = in_place.or(kept).unwrap_or_default();
            let gives_up = is_whole || self.filled == self.partial.len();
            let goes_on = match Response::parse(message) {
                Ok(response) => {
                    let behind = (in_place.is_some()).then_some(later.len());
                    let place = Place {
                        bytes,
                        behind,
                        message_bytes: frame_bytes - PREFIX_BYTES,
                    };
                    findings.judge(awaited, arrival, &response, message, &place, gives_up)
                }
                Err(_) => {
                    findings.reading = if gives_up {
                        Reading::Malformed
                    } else {
                        Reading::Incomplete
                    };
                    true
                }
            };
            if gives_up || !goes_on {
                self.filled = 0;
                self.skip = frame_bytes.saturating_sub(passed + here);
            }
            rest = later;
        }
    }

    /// Bytes of the answer that is under way, with its length before it; none where `rest` does
    /// not tell yet.
    fn frame_bytes(&self, rest: &[u8]) -> Option<usize> {
        let seen = self.partial.get(..self.filled).unwrap_or_default();
        let mut prefix = seen.iter().chain(rest);
        let length = u16::from_be_bytes([*prefix.next()?, *prefix.next()?]);
        Some(PREFIX_BYTES + usize::from(length))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.partial.get_mut(self.filled..).unwrap_or_default();
        let length = bytes.len().min(room.len());
        room[..length].copy_from_slice(&bytes[..length]);
        self.filled += length;
    }
}

/// Whether an answer that is awaited begins here.
fn begins(awaited: &mut Awaited, arrival: &Arrival<'_>, payload: &[u8]) -> bool {
    let message = payload.split_first_chunk::<PREFIX_BYTES>();
    let message = message.map(|(length, rest)| {
        let length = usize::from(u16::from_be_bytes(*length));
        rest.get(..length).unwrap_or(rest)
    });
    message
        .and_then(|message| Response::parse(message).ok())
        .is_some_and(|response| awaited.get(arrival, &response).is_some())
}

/// Where an answer stands.
struct Place<'a> {
    /// The segment with its header.
    bytes: &'a [u8],
    /// How many bytes of the segment come after the answer; none where its start has passed.
    behind: Option<usize>,
    /// Its length, also where not all of it is here.
    message_bytes: usize,
}

impl Findings<'_> {
    /// Judges what there is of an answer, all that ever will be where it is `final`; whether more
    /// of it is worth a look.
    fn judge(
        &mut self,
        awaited: &mut Awaited,
        arrival: &Arrival<'_>,
        response: &Response<'_>,
        message: &[u8],
        place: &Place<'_>,
        is_final: bool,
    ) -> bool {
        let Some(asked) = awaited.get(arrival, response) else {
            self.reading = Reading::Unasked;
            return false;
        };
        let (sighting, resolution) = answer::judge(&arrival.context(&asked), response);
        if let Some(refusal) = arrival.refusal(sighting.as_ref()) {
            self.reading = Reading::Understood;
            self.sighting = sighting;
            if refusal == DnsRefusal::Drop {
                self.vanishes = true;
            } else if self
                .refuse(arrival, refusal, (response, message), place)
                .is_none()
            {
                self.severed = Some(asked.remote);
            }
            return false;
        }
        if !is_final {
            self.reading = Reading::Incomplete;
            return true;
        }
        self.reading = Reading::Understood;
        let told = self.sighting.as_ref().map(|told| told.outcome);
        if told < sighting.as_ref().map(|it| it.outcome) {
            self.sighting = sighting;
        }
        if let Some(found) = resolution {
            // Both kinds of address are often asked for at once.
            match &mut self.resolution {
                Some(known) if known.name == found.name => {
                    for address in found.addresses() {
                        known.add(*address, found.ttl_secs);
                    }
                }
                Some(_) => {}
                none => *none = Some(found),
            }
        }
        true
    }

    /// Puts a refusal in the place of an answer.
    fn refuse(
        &mut self,
        arrival: &Arrival<'_>,
        refusal: DnsRefusal,
        (response, message): (&Response<'_>, &[u8]),
        place: &Place<'_>,
    ) -> Option<()> {
        let (query, behind) = (response.query().ok()?, place.behind?);
        if self.rewritten == 0 {
            self.rewritten = forge::copy(&arrival.flow, place.bytes, self.out)?;
        }
        let end = self.rewritten.checked_sub(behind)?;
        let start = end.checked_sub(message.len())?;
        dns_answer::write_in_place(
            &query,
            refusal,
            arrival.ruleset.dns.ttl_secs(),
            place.message_bytes,
            self.out.get_mut(start..end)?,
        )
    }

    fn into_inspection(
        mut self,
        flow: &FlowKey,
        segment: &TcpSegment<'_>,
    ) -> (Inspection, Option<Resolution>) {
        let act = if let Some(remote) = self.severed {
            Act::Sever {
                flow: FlowKey { remote, ..*flow },
                reset_length: self.reset(remote, flow, segment).unwrap_or(0),
            }
        } else if self.vanishes {
            Act::Vanish
        } else if self.rewritten > 0 {
            self.finish(flow)
        } else {
            Act::Pass
        };
        let reading = if act.passes() {
            self.reading
        } else {
            Reading::Understood
        };
        let inspection = Inspection {
            act,
            reading,
            sighting: self.sighting,
        };
        let passes = inspection.act.passes();
        (inspection, self.resolution.filter(|_| passes))
    }

    /// The checksum comes last.
    fn finish(&mut self, flow: &FlowKey) -> Act {
        let length = self.rewritten;
        let packet = self.out.get_mut(..length).unwrap_or_default();
        match forge::set_checksum(flow, packet) {
            Some(()) => Act::Rewrite { length },
            None => Act::Vanish,
        }
    }

    /// The reset for a kernel that cannot destroy the socket: where the client expects what is
    /// dropped.
    fn reset(
        &mut self,
        remote: SocketAddr,
        flow: &FlowKey,
        segment: &TcpSegment<'_>,
    ) -> Option<usize> {
        let header = SegmentHeader {
            sequence: segment.sequence,
            acknowledgment: segment.acknowledgment,
            flags: TcpFlags::RST.with(TcpFlags::ACK),
        };
        let flow = FlowKey { remote, ..*flow };
        forge::tcp_reply(&flow, header, self.out, |_| Some(0))
    }
}
