//! Deletes entries of connection tracking (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
//!
//! Only for kernels without the CT target. There a forged answer is tracked as a flow that the
//! resolver began; the next query of the same socket would pass for its reply and skip the user's
//! own redirect of DNS in the nat table.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

use super::message::{self, Message};
use crate::decide::{FlowKey, Protocol};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const NLA_F_NESTED: u16 = 0x8000;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`.
const IPV4_ENDS: [u16; 2] = [1, 2];
/// `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`.
const IPV6_ENDS: [u16; 2] = [3, 4];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// Headers, three nests, two IPv6 addresses, protocol and ports.
const REQUEST_BYTES: usize = 20 + 3 * 4 + 2 * 20 + 3 * 8;

/// A socket to the kernel's connection tracking.
#[derive(Debug)]
pub struct Conntrack {
    fd: OwnedFd,
}

impl Conntrack {
    /// Opens the netlink socket and asks for something that cannot be there, to see whether
    /// this kernel listens at all.
    ///
    /// # Errors
    /// The kernel has no nfnetlink or no ctnetlink.
    pub fn open() -> io::Result<Self> {
        let fd = socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let conntrack = Self { fd };
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        let flow = FlowKey {
            protocol: Protocol::Udp,
            local: (nowhere, 0).into(),
            remote: (nowhere, 0).into(),
        };
        conntrack.forget(&flow)?;
        Ok(conntrack)
    }

    /// Deletes the entry that the phone began, and the one that a forged answer from the far
    /// end began. Takes some 10 µs each: the kernel answers within the call.
    ///
    /// # Errors
    /// The kernel refused. That there is no such entry is no error.
    pub fn forget(&self, flow: &FlowKey) -> nix::Result<()> {
        let answer = FlowKey {
            local: flow.remote,
            remote: flow.local,
            ..*flow
        };
        self.delete(flow).and(self.delete(&answer))
    }

    fn delete(&self, flow: &FlowKey) -> nix::Result<()> {
        let request = Request::delete(flow);
        let kernel = NetlinkAddr::new(0, 0);
        let fd = self.fd.as_raw_fd();
        socket::sendto(fd, request.as_bytes(), &kernel, MsgFlags::empty())?;
        let mut answer = [0; 512];
        let length = socket::recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)?;
        match message::messages(&answer[..length.min(answer.len())]).next() {
            Some(Message::Acknowledgment(0)) => Ok(()),
            Some(Message::Acknowledgment(errno)) => match Errno::from_raw(errno) {
                Errno::ENOENT => Ok(()),
                errno => Err(errno),
            },
            _ => Err(Errno::EPROTO),
        }
    }
}

/// A request under construction, held inline.
struct Request {
    bytes: [u8; REQUEST_BYTES],
    len: usize,
}

impl Request {
    fn delete(flow: &FlowKey) -> Self {
        let mut request = Self {
            bytes: [0; REQUEST_BYTES],
            len: 20,
        };
        request.put(4, &DELETE.to_ne_bytes());
        request.put(6, &NLM_F_REQUEST_ACK.to_ne_bytes());
        let (family, ends) = if flow.local.is_ipv4() {
            (AF_INET, IPV4_ENDS)
        } else {
            (AF_INET6, IPV6_ENDS)
        };
        request.put(16, &[family]);
        let tuple = request.open(CTA_TUPLE_ORIG);
        let nest = request.open(CTA_TUPLE_IP);
        for (kind, end) in ends.into_iter().zip([flow.local, flow.remote]) {
            match end.ip() {
                IpAddr::V4(address) => request.attribute(kind, &address.octets()),
                IpAddr::V6(address) => request.attribute(kind, &address.octets()),
            }
        }
        request.close(nest);
        let nest = request.open(CTA_TUPLE_PROTO);
        let protocol = match flow.protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
        };
        request.attribute(CTA_PROTO_NUM, &[protocol]);
        request.attribute(CTA_PROTO_SRC_PORT, &flow.local.port().to_be_bytes());
        request.attribute(CTA_PROTO_DST_PORT, &flow.remote.port().to_be_bytes());
        request.close(nest);
        request.close(tuple);
        let length = u32::try_from(request.len).unwrap_or(u32::MAX);
        request.put(0, &length.to_ne_bytes());
        request
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.put(self.len, &length.to_ne_bytes());
        self.put(self.len + 2, &kind.to_ne_bytes());
        self.put(self.len + 4, value);
        self.len += (4 + value.len()).next_multiple_of(4);
    }

    /// Begins a nest; says where.
    fn open(&mut self, kind: u16) -> usize {
        let at = self.len;
        self.attribute(kind | NLA_F_NESTED, &[]);
        at
    }

    fn close(&mut self, at: usize) {
        let length = u16::try_from(self.len - at).unwrap_or(u16::MAX);
        self.put(at, &length.to_ne_bytes());
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_request_fits_and_says_its_length() {
        let flow = FlowKey {
            protocol: Protocol::Tcp,
            local: "[2001:db8::1]:4096".parse().unwrap(),
            remote: "[2001:db8::53]:53".parse().unwrap(),
        };
        let request = Request::delete(&flow);
        assert_eq!(request.len, REQUEST_BYTES);
        let length = u32::try_from(REQUEST_BYTES).unwrap();
        assert_eq!(request.bytes[..4], length.to_ne_bytes());
        // The tuple's nest holds all that follows the headers.
        let nest = u16::try_from(REQUEST_BYTES - 20).unwrap();
        assert_eq!(request.bytes[20..22], nest.to_ne_bytes());
    }
}
