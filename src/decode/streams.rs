//! The requests in a capture's TCP segments, whatever way their bytes came. `parse::reassembly`
//! holds the first 8 KiB of a stream, which is all that a decision needs; uploads are longer.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Request;
use super::http::{cut_request, needed_bytes, request};
use crate::decide::FlowKey;
use crate::parse::Detected;
use crate::parse::http::starts_request;
use crate::parse::tcp::{TcpFlags, TcpSegment};

/// Streams that are put together side by side.
const MAX_STREAMS: usize = 4096;
/// Bytes of all of them that are held.
const MAX_HELD_BYTES: usize = 64 << 20;
/// Pieces of a stream behind a gap.
const MAX_LATER: usize = 4096;
/// From so many pieces on, the gap is where the capture missed something, not where packets
/// overtook each other.
const LOST: usize = 128;

/// Streams of a capture whose requests are not whole yet.
#[derive(Debug, Default)]
pub struct Streams {
    open: HashMap<FlowKey, Stream, RandomState>,
    held_bytes: usize,
    /// Streams that were given up because there was no room for them.
    pub given_up: u64,
}

/// When a segment was captured, and whose it is.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// In milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// The app, where the capture says so.
    pub app: Option<String>,
}

#[derive(Debug)]
struct Stream {
    /// Of the last segment that said something.
    captured: Captured,
    /// How long `bytes` has to be before it is looked at.
    needed_bytes: usize,
    /// The sequence number that comes next.
    next: u32,
    /// What has come since the last whole request.
    bytes: Vec<u8>,
    /// Pieces behind a gap.
    later: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    sequence: u32,
    captured: Captured,
    bytes: Vec<u8>,
}

impl Stream {
    fn starting(next: u32) -> Self {
        Self {
            captured: Captured::default(),
            needed_bytes: 0,
            next,
            bytes: Vec::new(),
            later: Vec::new(),
        }
    }

    fn held_bytes(&self) -> usize {
        let later: usize = self.later.iter().map(|piece| piece.bytes.len()).sum();
        self.bytes.len() + later
    }

    /// Takes a piece, and those that it leads to.
    fn insert(&mut self, sequence: u32, captured: Captured, bytes: &[u8]) {
        if !self.append(sequence, &captured, bytes) {
            if self.later.len() < MAX_LATER {
                self.later.push(Piece {
                    sequence,
                    captured,
                    bytes: bytes.to_vec(),
                });
            }
            return;
        }
        // Each round takes one piece at least.
        let is_next = |this: &Self, piece: &Piece| !this.is_ahead(piece.sequence);
        while let Some(at) = self.later.iter().position(|piece| is_next(self, piece)) {
            let piece = self.later.swap_remove(at);
            self.append(piece.sequence, &piece.captured, &piece.bytes);
        }
    }

    /// Goes on behind the gap where the next request begins, if one begins a piece; gives what there
    /// is of the one that the gap cut.
    fn skip_gap(&mut self) -> Option<Option<Request>> {
        let starts = self.later.iter().filter(|it| starts_request(&it.bytes));
        let distance = |piece: &&Piece| piece.sequence.wrapping_sub(self.next);
        let sequence = starts.min_by_key(distance)?.sequence;
        let cut = cut_request(&std::mem::take(&mut self.bytes));
        self.next = sequence;
        self.needed_bytes = 0;
        Some(cut)
    }

    /// Whether there is a gap before this sequence number.
    const fn is_ahead(&self, sequence: u32) -> bool {
        let distance = sequence.wrapping_sub(self.next);
        distance != 0 && distance < 1 << 31
    }

    /// Appends what is new of a piece; `false` where it stands behind a gap.
    fn append(&mut self, sequence: u32, captured: &Captured, piece: &[u8]) -> bool {
        if self.is_ahead(sequence) {
            return false;
        }
        let known = self.next.wrapping_sub(sequence);
        let new = usize::try_from(known)
            .ok()
            .and_then(|known| piece.get(known..));
        if let Some(new) = new {
            self.captured.clone_from(captured);
            self.bytes.extend_from_slice(new);
            // A packet's payload is under 4 GiB.
            let length = u32::try_from(new.len()).unwrap_or(u32::MAX);
            self.next = self.next.wrapping_add(length);
        }
        true
    }
}

impl Stream {
    /// Hands over the requests that are whole; `false` where what follows them is none.
    fn hand_over(&mut self, flow: &FlowKey, found: &mut dyn FnMut(Request)) -> bool {
        while !self.bytes.is_empty() && self.bytes.len() >= self.needed_bytes {
            match request(&self.bytes) {
                Detected::Found((request, taken)) => {
                    self.bytes.drain(..taken);
                    self.needed_bytes = 0;
                    found(self.addressed(request, flow));
                }
                Detected::Incomplete => self.needed_bytes = needed_bytes(&self.bytes),
                Detected::NotPresent => return false,
            }
        }
        true
    }

    /// Hands over what there is before a gap, and the requests behind it; `false` where nothing
    /// can be had there.
    fn hand_over_behind_gap(&mut self, flow: &FlowKey, found: &mut dyn FnMut(Request)) -> bool {
        let captured = self.captured.clone();
        let Some(cut) = self.skip_gap() else {
            return true; // the gap may still be filled
        };
        if let Some(request) = cut {
            found(self.addressed(request, flow));
        }
        // An empty piece leads to those behind it.
        self.insert(self.next, captured, b"");
        self.hand_over(flow, found)
    }

    /// With what is known of it beside its bytes.
    fn addressed(&self, mut request: Request, flow: &FlowKey) -> Request {
        request.origin = match request.origin.as_str() {
            "" => format!("http://{}", flow.remote),
            host => format!("http://{host}"),
        };
        request.unix_millis = Some(self.captured.unix_millis);
        request.app.clone_from(&self.captured.app);
        request
    }
}

impl Streams {
    /// Takes a segment, sent on `flow`; hands over each request that it makes whole, or that
    /// ends with it.
    pub fn segment(
        &mut self,
        flow: FlowKey,
        segment: &TcpSegment<'_>,
        captured: Captured,
        found: &mut dyn FnMut(Request),
    ) {
        let mut sequence = segment.sequence;
        let is_end = segment.flags.contains(TcpFlags::RST);
        if segment.opens() {
            // TCP Fast Open sends data with the SYN, which counts one itself.
            sequence = sequence.wrapping_add(1);
            let is_same = self
                .open
                .get(&flow)
                .is_some_and(|known| known.next == sequence);
            if !is_same {
                self.end(&flow, found);
                self.start(flow, sequence);
            }
        } else if !self.open.contains_key(&flow) && starts_request(segment.payload) {
            // The capture may begin later than the connection.
            self.start(flow, sequence);
        }
        if let Some(stream) = self.open.get_mut(&flow)
            && !segment.payload.is_empty()
        {
            self.held_bytes -= stream.held_bytes();
            stream.insert(sequence, captured, segment.payload);
            let mut is_followed = stream.hand_over(&flow, found);
            if stream.later.len() >= LOST {
                is_followed &= stream.hand_over_behind_gap(&flow, found);
            }
            self.held_bytes += stream.held_bytes();
            if !is_followed {
                self.remove(&flow);
            } else if self.held_bytes > MAX_HELD_BYTES {
                self.given_up += 1;
                self.end(&flow, found);
            }
        }
        if is_end {
            self.end(&flow, found);
        }
    }

    /// Hands over what is left of requests that did not become whole, by the addresses of their
    /// streams.
    pub fn finish(&mut self, found: &mut dyn FnMut(Request)) {
        let mut flows: Vec<_> = self.open.keys().copied().collect();
        flows.sort_unstable_by_key(|flow| (flow.local, flow.remote));
        for flow in flows {
            self.end(&flow, found);
        }
    }

    fn start(&mut self, flow: FlowKey, next: u32) {
        if self.open.len() < MAX_STREAMS {
            self.open.insert(flow, Stream::starting(next));
        } else if let Some(quiet) = self.quiet() {
            self.open.remove(&quiet);
            self.open.insert(flow, Stream::starting(next));
        } else {
            self.given_up += 1;
        }
    }

    /// A stream that has said nothing, or nothing since its last request.
    fn quiet(&self) -> Option<FlowKey> {
        let mut open = self.open.iter();
        let quiet = open.find(|(_, stream)| stream.held_bytes() == 0);
        quiet.map(|(flow, _)| *flow)
    }

    fn remove(&mut self, flow: &FlowKey) -> Option<Stream> {
        let stream = self.open.remove(flow)?;
        self.held_bytes -= stream.held_bytes();
        Some(stream)
    }

    fn end(&mut self, flow: &FlowKey, found: &mut dyn FnMut(Request)) {
        let Some(mut stream) = self.remove(flow) else {
            return;
        };
        stream.needed_bytes = 0;
        let mut is_followed = stream.hand_over(flow, found);
        // Each round takes one piece at least.
        while is_followed && !stream.later.is_empty() {
            let pieces = stream.later.len();
            is_followed = stream.hand_over_behind_gap(flow, found);
            is_followed &= stream.later.len() < pieces;
        }
        if let Some(request) = cut_request(&stream.bytes) {
            found(stream.addressed(request, flow));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::decide::Protocol;

    const REQUEST: &[u8] =
        b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nabcdefghi";

    fn flow(port: u16) -> FlowKey {
        FlowKey {
            protocol: Protocol::Tcp,
            local: SocketAddr::from(([10, 0, 0, 2], port)),
            remote: SocketAddr::from(([192, 0, 2, 1], 80)),
        }
    }

    fn segment(sequence: u32, flags: TcpFlags, payload: &[u8]) -> TcpSegment<'_> {
        TcpSegment {
            source_port: 4000,
            destination_port: 80,
            sequence,
            acknowledgment: 0,
            flags,
            payload,
        }
    }

    /// What comes of segments of one stream.
    fn read(segments: &[(u32, TcpFlags, &[u8])]) -> Vec<Request> {
        let (mut streams, mut requests) = (Streams::default(), Vec::new());
        for (sequence, flags, payload) in segments {
            let segment = segment(*sequence, *flags, payload);
            streams.segment(flow(4000), &segment, Captured::default(), &mut |it| {
                requests.push(it)
            });
        }
        streams.finish(&mut |it| requests.push(it));
        assert_eq!((streams.held_bytes, streams.open.len()), (0, 0));
        requests
    }

    const START: u32 = u32::MAX - 20; // the numbers wrap in the middle

    #[test]
    fn requests_come_through_in_pieces_of_any_size_and_order() {
        let two = [REQUEST, REQUEST].concat();
        for size in [1, 2, 7, 40, 65, 200] {
            let piece = |(at, piece): (usize, &'static [u8])| {
                let at = u32::try_from(at * size).unwrap();
                (START.wrapping_add(1 + at), TcpFlags::ACK, piece)
            };
            let two: &'static [u8] = two.clone().leak();
            let pieces: Vec<_> = two.chunks(size).enumerate().map(piece).collect();
            let syn = (START, TcpFlags::SYN, &b""[..]);
            let in_order = [&[syn][..], &pieces].concat();
            let mut reversed = pieces.clone();
            reversed.reverse();
            let backwards = [&[syn][..], &reversed, &pieces].concat();
            for segments in [in_order, backwards] {
                let requests = read(&segments);
                assert_eq!(requests.len(), 2, "{size}");
                assert!(requests.iter().all(|it| it.body == b"abcdefghi"), "{size}");
            }
        }
    }

    #[test]
    fn a_capture_may_begin_in_the_middle() {
        let answer = (1, TcpFlags::ACK, &b"HTTP/1.1 200 OK\r\n\r\n"[..]);
        let tail = (100, TcpFlags::ACK, &b"tail"[..]);
        let whole = (104, TcpFlags::ACK, REQUEST);
        assert_eq!(read(&[answer, tail, whole]).len(), 1);
    }

    #[test]
    fn what_is_missing_is_told() {
        let start = (START, TcpFlags::ACK, &REQUEST[..60]);
        let [request] = &read(&[start])[..] else {
            panic!("one request");
        };
        assert_eq!(request.target(), "http://a.example/a");
        let damage = request.damage.as_deref().unwrap();
        assert!(
            damage.starts_with("cut: ") && damage.contains("of 9"),
            "{damage}"
        );
        // A new connection of the same ports begins anew.
        let syn = (9, TcpFlags::SYN, &b""[..]);
        let again = (10, TcpFlags::ACK, REQUEST);
        assert_eq!(read(&[start, syn, again]).len(), 2);
    }

    #[test]
    fn there_is_room_for_new_streams_as_long_as_others_are_quiet() {
        let mut streams = Streams::default();
        let mut requests = 0;
        for port in 1..=5000 {
            let syn = segment(1, TcpFlags::SYN, b"");
            streams.segment(flow(port), &syn, Captured::default(), &mut |_| ());
        }
        let data = segment(2, TcpFlags::ACK, REQUEST);
        streams.segment(flow(5000), &data, Captured::default(), &mut |_| {
            requests += 1
        });
        assert_eq!(
            (requests, streams.open.len(), streams.given_up),
            (1, MAX_STREAMS, 0)
        );
    }
}
