//! What has come out of a queue and was not decided on yet. Mostly that is one packet; where it
//! matters what waits behind it, all that waits is read first.

use std::collections::VecDeque;
use std::ops::Range;

use nix::errno::Errno;

use super::QueueSocket;
use super::message::{self, Message};
use super::socket::DATAGRAM_BYTES;
use crate::inspect::Outline;

/// Room for packets that wait, beside one of any length: for some 300 DNS questions.
const WAITING_BYTES: usize = 0x1_0000;
/// Packets that may wait here; a queue holds 256 by default.
const MAX_WAITING: usize = 512;

/// See the module's text.
///
/// Invariant: the places lie in `buffer` one behind the other, the last ends at `end`.
#[derive(Debug)]
pub(super) struct Backlog {
    buffer: Box<[u8]>,
    end: usize,
    waiting: VecDeque<Waiting>,
    /// How often nothing more was to be had from the kernel.
    emptied: u64,
}

/// A datagram of the kernel's.
#[derive(Clone, Debug)]
struct Waiting {
    place: Range<usize>,
    /// What `emptied` was when it came.
    round: u64,
    /// Of a packet that came while another was in hand.
    outline: Option<Outline>,
}

/// The datagram that is served now.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    place: Range<usize>,
    /// It has come after the kernel had been empty so many times.
    pub(super) round: u64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            buffer: vec![0; DATAGRAM_BYTES + WAITING_BYTES].into_boxed_slice(),
            end: 0,
            waiting: VecDeque::with_capacity(MAX_WAITING),
            emptied: 0,
        }
    }
}

impl Backlog {
    /// The oldest datagram; where there is none yet, the next of the kernel's.
    ///
    /// # Errors
    /// Those of [`QueueSocket::receive`]: EAGAIN where there is none, and it is not to `wait`.
    pub(super) fn next(&mut self, queue: &QueueSocket, wait: bool) -> nix::Result<InHand> {
        if let Some(Waiting { place, round, .. }) = self.waiting.pop_front() {
            return Ok(InHand { place, round });
        }
        let length = queue.receive(&mut self.buffer, wait)?.len();
        self.end = length;
        Ok(InHand {
            place: 0..length,
            round: self.emptied,
        })
    }

    /// The packet in a datagram; none where it is something else.
    pub(super) fn packet(&self, in_hand: &InHand) -> Option<message::Packet<'_>> {
        packet(self.buffer.get(in_hand.place.clone())?)
    }

    /// Reads all that waits behind `in_hand`, as far as there is room. The number of times that
    /// nothing was left then, which is in the `round` of every packet that is sent from now on;
    /// none where something may be left.
    pub(super) fn fill(&mut self, queue: &QueueSocket, in_hand: &mut InHand) -> Option<u64> {
        loop {
            if self.buffer.len() - self.end < DATAGRAM_BYTES {
                self.compact(in_hand);
            }
            if self.buffer.len() - self.end < DATAGRAM_BYTES
                || self.waiting.len() == MAX_WAITING
            {
                return None;
            }
            match queue.receive(&mut self.buffer[self.end..], false) {
                Ok(datagram) => {
                    let place = self.end..self.end + datagram.len();
                    let outline = packet(datagram).and_then(|it| Outline::of(it.payload));
                    self.end = place.end;
                    self.waiting.push_back(Waiting {
                        place,
                        round: self.emptied,
                        outline,
                    });
                }
                Err(Errno::EAGAIN) => {
                    self.emptied += 1;
                    return Some(self.emptied);
                }
                // The next wait tells.
                Err(_) => return None,
            }
        }
    }

    /// The lengths of packets behind the one in hand that come from the same port.
    pub(super) fn behind(&self, in_hand: &Outline) -> impl Iterator<Item = usize> {
        let (protocol, local) = (in_hand.flow.protocol, in_hand.flow.local);
        self.waiting
            .iter()
            .filter_map(|it| it.outline.as_ref())
            .filter(move |it| (it.flow.protocol, it.flow.local) == (protocol, local))
            .map(|it| it.packet_bytes)
    }

    /// Moves what is there to the beginning.
    fn compact(&mut self, in_hand: &mut InHand) {
        let start = in_hand.place.start;
        self.buffer.copy_within(start..self.end, 0);
        self.end -= start;
        let places = self.waiting.iter_mut().map(|it| &mut it.place);
        for place in places.chain([&mut in_hand.place]) {
            *place = place.start - start..place.end - start;
        }
    }
}

/// The kernel puts one packet into each datagram.
fn packet(datagram: &[u8]) -> Option<message::Packet<'_>> {
    match message::messages(datagram).next() {
        Some(Message::Packet(packet)) => Some(packet),
        _ => None,
    }
}
