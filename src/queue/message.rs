//! The nfnetlink_queue messages that Muzzle speaks, as bytes (include/uapi/linux/netfilter/
//! nfnetlink_queue.h and nfnetlink.h). Pure: no socket, no allocation.
//!
//! Header fields are in the machine's byte order, attribute values in network order.

use crate::decide::Uid;

/// Bytes of `struct nlmsghdr` and `struct nfgenmsg` together.
const HEADERS: usize = 16 + 4;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
const NFNL_SUBSYS_QUEUE: u16 = 3;
const MSG_PACKET: u16 = NFNL_SUBSYS_QUEUE << 8;
const MSG_VERDICT: u16 = MSG_PACKET | 1;
const MSG_CONFIG: u16 = MSG_PACKET | 2;
const MSG_VERDICT_BATCH: u16 = MSG_PACKET | 3;
const NLMSG_ERROR: u16 = 2;
/// Verdicts of include/uapi/linux/netfilter.h.
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NF_REPEAT: u32 = 4;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;

/// `enum nfqnl_attr_type`.
mod attribute {
    pub(super) const PACKET_HDR: u16 = 1;
    pub(super) const VERDICT_HDR: u16 = 2;
    pub(super) const MARK: u16 = 3;
    pub(super) const IFINDEX_OUTDEV: u16 = 6;
    pub(super) const PAYLOAD: u16 = 10;
    pub(super) const UID: u16 = 16;
    /// `NLA_TYPE_MASK`: the two top bits are flags.
    pub(super) const TYPE_MASK: u16 = 0x3fff;
}

/// `enum nfqnl_attr_config`.
mod config {
    pub(super) const CMD: u16 = 1;
    pub(super) const PARAMS: u16 = 2;
    pub(super) const QUEUE_MAXLEN: u16 = 3;
    pub(super) const MASK: u16 = 4;
    pub(super) const FLAGS: u16 = 5;
    pub(super) const CMD_BIND: u8 = 1;
    pub(super) const CMD_UNBIND: u8 = 2;
    pub(super) const COPY_PACKET: u8 = 2;
    pub(super) const FLAG_FAIL_OPEN: u32 = 1;
    pub(super) const FLAG_GSO: u32 = 1 << 2;
    pub(super) const FLAG_UID_GID: u32 = 1 << 3;
}

/// What the kernel is told to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `NF_DROP`.
    Drop,
    /// `NF_ACCEPT`: the packet goes on at the next hook.
    Accept,
    /// `NF_ACCEPT`, with this mark in place of the packet's.
    AcceptMarked(u32),
    /// `NF_REPEAT`: the packet runs through the same table again, with this mark in place of its
    /// own.
    RepeatMarked(u32),
}

/// The hook a packet was queued at (`enum nf_inet_hooks`, include/uapi/linux/netfilter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `NF_INET_PRE_ROUTING`: it has come in.
    PreRouting,
    /// `NF_INET_FORWARD`: it has come in and is passed on.
    Forward,
    /// `NF_INET_LOCAL_OUT`: a socket of this machine sent it.
    LocalOut,
    /// `NF_INET_POST_ROUTING`: it is about to leave.
    PostRouting,
    /// One that no chain of Muzzle's is at.
    Other,
}

/// One message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A packet that waits for its verdict.
    Packet(Packet<'a>),
    /// The answer to a request: 0 or an errno.
    Acknowledgment(i32),
    /// Something that Muzzle never asks for.
    Other,
}

/// A packet that waits for its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The kernel's id of it within its queue.
    pub id: u32,
    /// Owner of the socket's file (`NFQA_UID`); absent for packets without a socket.
    pub uid: Option<Uid>,
    /// Where it was queued.
    pub hook: Hook,
    /// Its mark (`skb->mark`), which a verdict's replaces whole.
    pub mark: u32,
    /// Index of the interface it is about to leave by; 0 where there is none.
    pub out_interface: u32,
    /// The IP packet, perhaps cut at the queue's copy range.
    pub payload: &'a [u8],
}

/// How a queue is to behave.
#[derive(Clone, Copy, Debug)]
pub struct QueueParameters {
    /// Queue number.
    pub number: u16,
    /// Bytes of each packet that are copied to user space.
    pub copy_range: u32,
    /// Packets that may wait; beyond it they pass unseen (`NFQA_CFG_F_FAIL_OPEN`).
    pub length: u32,
}

/// A request that binds a queue and sets all of its parameters, answered by one acknowledgment.
#[must_use]
pub fn bind(parameters: QueueParameters) -> Request {
    let mut request = Request::new(MSG_CONFIG, parameters.number, true);
    request.attribute(config::CMD, &[config::CMD_BIND, 0, 0, 0]);
    let mut copy = [0; 5];
    copy[..4].copy_from_slice(&parameters.copy_range.to_be_bytes());
    copy[4] = config::COPY_PACKET;
    request.attribute(config::PARAMS, &copy);
    request.attribute(config::QUEUE_MAXLEN, &parameters.length.to_be_bytes());
    let flags = config::FLAG_FAIL_OPEN | config::FLAG_GSO | config::FLAG_UID_GID;
    request.attribute(config::MASK, &flags.to_be_bytes());
    request.attribute(config::FLAGS, &flags.to_be_bytes());
    request
}

/// A request that gives a queue up. Packets still held are dropped by the kernel.
#[must_use]
pub fn unbind(number: u16) -> Request {
    let mut request = Request::new(MSG_CONFIG, number, true);
    request.attribute(config::CMD, &[config::CMD_UNBIND, 0, 0, 0]);
    request
}

/// A request that lets every packet pass from now on instead of holding it: a queue with room for
/// none is always full, and fails open (`__nfqnl_enqueue_packet`). Those held already stay.
#[must_use]
pub fn hold_no_more(number: u16) -> Request {
    let mut request = Request::new(MSG_CONFIG, number, false);
    request.attribute(config::QUEUE_MAXLEN, &0_u32.to_be_bytes());
    request
}

/// A request that changes nothing and is acknowledged: it wakes a thread that waits in `recv`
/// on this queue's socket.
#[must_use]
pub fn nudge(number: u16) -> Request {
    Request::new(MSG_CONFIG, number, true)
}

/// A verdict.
#[must_use]
pub fn verdict(queue: u16, id: u32, verdict: Verdict) -> Request {
    let (code, mark) = match verdict {
        Verdict::Drop => (NF_DROP, None),
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::AcceptMarked(mark) => (NF_ACCEPT, Some(mark)),
        Verdict::RepeatMarked(mark) => (NF_REPEAT, Some(mark)),
    };
    let mut request = Request::new(MSG_VERDICT, queue, false);
    let mut header = [0; 8];
    header[..4].copy_from_slice(&code.to_be_bytes());
    header[4..].copy_from_slice(&id.to_be_bytes());
    request.attribute(attribute::VERDICT_HDR, &header);
    if let Some(mark) = mark {
        request.attribute(attribute::MARK, &mark.to_be_bytes());
    }
    request
}

/// The start of a verdict that accepts a packet with other bytes in place of its own
/// (`NFQA_PAYLOAD`); these, `payload_bytes` of them, follow as they are.
#[must_use]
pub fn rewrite(queue: u16, id: u32, payload_bytes: u16) -> Request {
    let mut request = verdict(queue, id, Verdict::Accept);
    request.attribute(attribute::PAYLOAD, &[]);
    let start = request.len - ATTRIBUTE_HEADER;
    let total = ATTRIBUTE_HEADER + usize::from(payload_bytes);
    let length = u16::try_from(total).unwrap_or(u16::MAX);
    request.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    let message = u32::try_from(start + total).unwrap_or(u32::MAX);
    request.bytes[..4].copy_from_slice(&message.to_ne_bytes());
    request
}

/// A request that accepts every packet of a queue up to and with `id` (`NFQNL_MSG_VERDICT_BATCH`).
#[must_use]
pub fn accept_up_to(queue: u16, id: u32) -> Request {
    let mut request = Request::new(MSG_VERDICT_BATCH, queue, false);
    let mut header = [0; 8];
    header[..4].copy_from_slice(&NF_ACCEPT.to_be_bytes());
    header[4..].copy_from_slice(&id.to_be_bytes());
    request.attribute(attribute::VERDICT_HDR, &header);
    request
}

/// A request under construction, held inline.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    bytes: [u8; 96],
    len: usize,
}

impl Request {
    fn new(kind: u16, queue: u16, acknowledge: bool) -> Self {
        let mut request = Self {
            bytes: [0; 96],
            len: HEADERS,
        };
        let flags = if acknowledge {
            NLM_F_REQUEST | NLM_F_ACK
        } else {
            NLM_F_REQUEST
        };
        request.bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        // nfgenmsg: family AF_UNSPEC, version 0, then the queue number in network order.
        request.bytes[18..20].copy_from_slice(&queue.to_be_bytes());
        request.close(HEADERS);
        request
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let total = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        let (start, end) = (self.len + 4, self.len + 4 + value.len());
        self.bytes[self.len..self.len + 2].copy_from_slice(&total.to_ne_bytes());
        self.bytes[self.len + 2..start].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[start..end].copy_from_slice(value);
        self.close(end.next_multiple_of(4));
    }

    fn close(&mut self, end: usize) {
        self.len = end;
        let message = u32::try_from(end).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&message.to_ne_bytes());
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The messages of one datagram from the kernel.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_ne(rest, 0)?).ok()?;
        if length < 16 || length > rest.len() {
            return None;
        }
        let (message, _) = rest.split_at(length);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(read_message(message))
    })
}

fn read_message(message: &[u8]) -> Message<'_> {
    match u16_ne(message, 4) {
        Some(MSG_PACKET) => read_packet(message).map_or(Message::Other, Message::Packet),
        Some(NLMSG_ERROR) => match u32_ne(message, 16) {
            Some(error) => Message::Acknowledgment(error.cast_signed().wrapping_neg()),
            None => Message::Other,
        },
        _ => Message::Other,
    }
}

fn read_packet(message: &[u8]) -> Option<Packet<'_>> {
    let mut id = None;
    let mut packet = Packet {
        id: 0,
        uid: None,
        hook: Hook::Other,
        mark: 0,
        out_interface: 0,
        payload: &[],
    };
    let mut rest = message.get(HEADERS..)?;
    while let (Some(length), Some(kind)) = (u16_ne(rest, 0), u16_ne(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        match kind & attribute::TYPE_MASK {
            // struct nfqnl_msg_packet_hdr: id, protocol, hook.
            attribute::PACKET_HDR => {
                id = u32_be(value);
                packet.hook = match value.get(6) {
                    Some(0) => Hook::PreRouting,
                    Some(2) => Hook::Forward,
                    Some(3) => Hook::LocalOut,
                    Some(4) => Hook::PostRouting,
                    _ => Hook::Other,
                };
            }
            attribute::MARK => packet.mark = u32_be(value).unwrap_or(0),
            attribute::IFINDEX_OUTDEV => packet.out_interface = u32_be(value).unwrap_or(0),
            attribute::UID => packet.uid = u32_be(value).map(Uid),
            attribute::PAYLOAD => packet.payload = value,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    packet.id = id?;
    Some(packet)
}

fn u16_ne(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_ne_bytes)
}

fn u32_ne(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

fn u32_be(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet message as the kernel lays it out, built by the same attribute writer.
    fn packet_message(payload: &[u8]) -> Vec<u8> {
        let mut request = Request::new(MSG_PACKET, 7, false);
        request.attribute(attribute::PACKET_HDR, &[0, 0, 0, 9, 0x08, 0, 3]);
        request.attribute(attribute::MARK, &0xc_0064_u32.to_be_bytes());
        request.attribute(attribute::IFINDEX_OUTDEV, &2_u32.to_be_bytes());
        request.attribute(attribute::UID, &10_123_u32.to_be_bytes());
        request.attribute(attribute::PAYLOAD, payload);
        request.as_bytes().to_vec()
    }

    #[test]
    fn a_packet_is_read_with_its_owner_and_interface() {
        let bytes = packet_message(b"IP packet");
        let expected = Packet {
            id: 9,
            uid: Some(Uid(10_123)),
            hook: Hook::LocalOut,
            mark: 0xc_0064,
            out_interface: 2,
            payload: b"IP packet",
        };
        assert_eq!(
            messages(&bytes).collect::<Vec<_>>(),
            [Message::Packet(expected)]
        );
    }

    #[test]
    fn a_rewritten_packet_follows_its_verdict() {
        let start = rewrite(7, 9, 5);
        let verdict = verdict(7, 9, Verdict::Accept);
        let (header, payload) = start.as_bytes().split_at(verdict.len);
        assert_eq!(header[4..], verdict.as_bytes()[4..]);
        let (length, kind) = (9_u16.to_ne_bytes(), attribute::PAYLOAD.to_ne_bytes());
        assert_eq!(payload, [length, kind].concat());
        let whole = u32::try_from(start.len + 5).unwrap();
        assert_eq!(u32_ne(start.as_bytes(), 0), Some(whole));
    }

    #[test]
    fn cut_messages_are_never_read_as_packets_with_foreign_bytes() {
        let bytes = packet_message(b"IP packet");
        for length in 0..bytes.len() {
            assert_eq!(messages(&bytes[..length]).count(), 0, "{length} bytes");
        }
    }

    #[test]
    fn acknowledgments_carry_the_errno() {
        let mut bytes = vec![0_u8; 36];
        bytes[..4].copy_from_slice(&36_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(messages(&bytes).next(), Some(Message::Acknowledgment(1)));
    }
}
