//! Whose socket it is, as the kernel's socket diagnosis says (include/uapi/linux/inet_diag.h). It
//! tells the owner of the socket's inode: where a system process asks DNS questions for apps and
//! gives its sockets to them (fchown), that is the app. `NFQA_UID` tells who opened the socket.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::decide::{CgroupId, FlowKey, Protocol, Uid};

/// `SOCK_DIAG_BY_FAMILY` of include/uapi/linux/sock_diag.h.
pub(super) const BY_FAMILY: u16 = 20;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST_BYTES: usize = 16 + 56;
/// Where `idiag_uid` stands in an answer: behind `struct nlmsghdr`, four bytes, `struct
/// inet_diag_sockid` and three numbers.
pub(super) const UID_AT: usize = 16 + 4 + 48 + 12;
const COOKIE_AT: usize = 16 + 4 + 4 + 32 + 4;
const INODE_AT: usize = UID_AT + 4;
const ATTRIBUTES_AT: usize = INODE_AT + 4;
/// `INET_DIAG_SKMEMINFO`; asked for by its bit in `idiag_ext`.
const SKMEMINFO: u16 = 7;
/// `INET_DIAG_CGROUP_ID` (5.8 and later), always told.
const CGROUP_ID: u16 = 21;
/// Where `SK_MEMINFO_WMEM_ALLOC` stands in an `INET_DIAG_SKMEMINFO`.
const WMEM_ALLOC_AT: usize = 2 * 4;
/// How long an answer is waited for. The kernel gives it within the call that asks, in some 3 us.
const PATIENCE_MICROS: i64 = 2000;
/// Late answers to questions that were given up, which may come before the one that is waited for.
const LATE_ANSWERS: usize = 8;

/// A socket to the kernel's socket diagnosis.
#[derive(Debug)]
pub struct SocketDiagnosis {
    fd: OwnedFd,
    /// Tells an answer from a late one to the question before.
    sequence: Cell<u32>,
}

/// A socket as the diagnosis tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiagnosedSocket {
    /// The owner of its inode.
    pub uid: Uid,
    /// Its number, which no other socket ever gets.
    pub cookie: u64,
    /// Memory of packets that it has sent and that have not left yet (`sk_wmem_alloc`); one that
    /// waits in a queue is among them.
    pub charged_bytes: u32,
    /// The control group of the process that opened it, where the kernel tells.
    pub cgroup: Option<CgroupId>,
}

impl SocketDiagnosis {
    /// Opens the netlink socket.
    ///
    /// # Errors
    /// The kernel has no `NETLINK_SOCK_DIAG`.
    pub fn open() -> io::Result<Self> {
        let fd = netlink()?;
        let patience = TimeVal::microseconds(PATIENCE_MICROS);
        socket::setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
        Ok(Self {
            fd,
            sequence: Cell::new(0),
        })
    }

    /// The socket whose packets leave as `flow` by `interface`; `None` where there is no such
    /// socket, or it is nobody's any more. One exact look-up, no dump.
    ///
    /// # Errors
    /// EINVAL where the kernel was built without the diagnosis of that protocol (`INET_UDP_DIAG` is
    /// missing in some 4.4 kernels; others find no socket then), EPERM or EACCES where it is not
    /// allowed, EAGAIN where no answer came within 2 ms.
    pub fn find(&self, flow: &FlowKey, interface: u32) -> nix::Result<Option<DiagnosedSocket>> {
        let mut request = request(BY_FAMILY, NLM_F_REQUEST, flow, interface);
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        request[8..12].copy_from_slice(&sequence.to_ne_bytes());
        request[18] = 1 << (SKMEMINFO - 1);
        let kernel = NetlinkAddr::new(0, 0);
        let fd = self.fd.as_raw_fd();
        socket::sendto(fd, &request, &kernel, MsgFlags::empty())?;
        let mut answer = [0; 1024];
        for _ in 0..LATE_ANSWERS {
            let length = socket::recv(fd, &mut answer, MsgFlags::empty())?;
            let answer = &answer[..length.min(answer.len())];
            if number(answer, 8).map(u32::from_ne_bytes) == Some(sequence) {
                return read(answer);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// The owner of that socket.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn owner(&self, flow: &FlowKey, interface: u32) -> nix::Result<Option<Uid>> {
        Ok(self.find(flow, interface)?.map(|socket| socket.uid))
    }
}

impl AsRawFd for SocketDiagnosis {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A netlink socket to the kernel's socket diagnosis.
pub(crate) fn netlink() -> io::Result<OwnedFd> {
    let fd = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

/// The socket in an answer to [`BY_FAMILY`].
fn read(answer: &[u8]) -> nix::Result<Option<DiagnosedSocket>> {
    match number(answer, 4).map(u16::from_ne_bytes) {
        Some(BY_FAMILY) => read_socket(answer).ok_or(Errno::EPROTO),
        Some(NLMSG_ERROR) => {
            let error = number(answer, 16).map_or(0, i32::from_ne_bytes);
            match Errno::from_raw(error.wrapping_neg()) {
                Errno::ENOENT => Ok(None),
                errno => Err(errno),
            }
        }
        _ => Err(Errno::EPROTO),
    }
}

fn read_socket(answer: &[u8]) -> Option<Option<DiagnosedSocket>> {
    let uid = u32::from_ne_bytes(number(answer, UID_AT)?);
    let inode = u32::from_ne_bytes(number(answer, INODE_AT)?);
    let mut socket = DiagnosedSocket {
        uid: Uid(uid),
        cookie: u64::from_ne_bytes(number(answer, COOKIE_AT)?),
        charged_bytes: 0,
        cgroup: None,
    };
    let mut rest = answer.get(ATTRIBUTES_AT..)?;
    // struct nlattr: length with these four bytes, kind.
    while let (Some(length), Some(kind)) = (number(rest, 0), number(rest, 2)) {
        let length = usize::from(u16::from_ne_bytes(length));
        let Some(value) = rest.get(4..length) else {
            break;
        };
        match u16::from_ne_bytes(kind) {
            SKMEMINFO => {
                socket.charged_bytes = u32::from_ne_bytes(number(value, WMEM_ALLOC_AT)?)
            }
            CGROUP_ID => socket.cgroup = number(value, 0).map(u64::from_ne_bytes).map(CgroupId),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // What its process has let go of is said to be root's (net/core/sock.c, `sock_i_uid`).
    Some((inode != 0).then_some(socket))
}

/// The number that stands at `at`, in the machine's byte order.
fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<[u8; BYTES]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A request about the socket of `flow`: `nlmsghdr`, then `inet_diag_req_v2` with its
/// `inet_diag_sockid`. For UDP the kernel takes the two ends the other way round
/// (net/ipv4/udp_diag.c, `udp_dump_one`).
pub(crate) fn request(
    kind: u16,
    flags: u16,
    flow: &FlowKey,
    interface: u32,
) -> [u8; REQUEST_BYTES] {
    let (protocol, source, destination) = match flow.protocol {
        Protocol::Tcp => (IPPROTO_TCP, flow.local, flow.remote),
        Protocol::Udp => (IPPROTO_UDP, flow.remote, flow.local),
    };
    let mut bytes = [0; REQUEST_BYTES];
    bytes[..4].copy_from_slice(&72_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[16] = if source.is_ipv4() { AF_INET } else { AF_INET6 };
    bytes[17] = protocol;
    // Any state.
    bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes[24..26].copy_from_slice(&source.port().to_be_bytes());
    bytes[26..28].copy_from_slice(&destination.port().to_be_bytes());
    put_address(&mut bytes[28..44], source);
    put_address(&mut bytes[44..60], destination);
    // A socket bound to an interface is found only under that interface.
    bytes[60..64].copy_from_slice(&interface.to_ne_bytes());
    // INET_DIAG_NOCOOKIE, twice.
    bytes[64..].fill(0xff);
    bytes
}

fn put_address(field: &mut [u8], end: SocketAddr) {
    match end.ip() {
        IpAddr::V4(address) => field[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => field.copy_from_slice(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    #[test]
    fn the_owner_is_read_where_the_kernel_writes_it() {
        let mut answer = [0_u8; 88].to_vec();
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[60..68].copy_from_slice(&77_u64.to_ne_bytes());
        answer[80..84].copy_from_slice(&10_123_u32.to_ne_bytes());
        assert_eq!(read(&answer), Ok(None), "no inode: nobody's any more");
        answer[84] = 1;
        let mut expected = DiagnosedSocket {
            uid: Uid(10_123),
            cookie: 77,
            charged_bytes: 0,
            cgroup: None,
        };
        assert_eq!(read(&answer), Ok(Some(expected)));
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
        };
        let memory = [1, 2, 768, 3, 4, 5, 6, 7, 8].map(u32::to_ne_bytes).concat();
        answer.extend(attribute(8, &[1, 0, 0, 0])[..].iter());
        answer.extend(attribute(SKMEMINFO, &memory));
        answer.extend(attribute(CGROUP_ID, &9_u64.to_ne_bytes()));
        (expected.charged_bytes, expected.cgroup) = (768, Some(CgroupId(9)));
        assert_eq!(read(&answer), Ok(Some(expected)));
        assert_eq!(read(&answer[..83]), Err(Errno::EPROTO));
        assert_eq!(read(&[]), Err(Errno::EPROTO));
        for end in 0..answer.len() {
            let _no_panic = read(&answer[..end]);
        }
    }

    #[test]
    fn no_such_socket_is_an_answer_and_no_such_diagnosis_an_error() {
        let mut answer = [0_u8; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        for (errno, expected) in [(2, Ok(None)), (22, Err(Errno::EINVAL))] {
            answer[16..20].copy_from_slice(&i32::wrapping_neg(errno).to_ne_bytes());
            assert_eq!(read(&answer), expected);
        }
    }

    #[test]
    fn ends_are_the_other_way_round_for_udp() {
        let flow = |protocol| FlowKey {
            protocol,
            local: SocketAddr::from((Ipv4Addr::new(10, 0, 0, 2), 0x1234)),
            remote: SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 53)),
        };
        let tcp = request(BY_FAMILY, 1, &flow(Protocol::Tcp), 3);
        assert_eq!(tcp[24..32], [0x12, 0x34, 0, 53, 10, 0, 0, 2]);
        let udp = request(BY_FAMILY, 1, &flow(Protocol::Udp), 3);
        assert_eq!(udp[24..32], [0, 53, 0x12, 0x34, 10, 0, 0, 1]);
    }

    /// Against the kernel, without rights: a socket of one's own can always be asked for.
    #[test]
    fn the_kernel_knows_whose_socket_it_is() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        let flow = FlowKey {
            protocol: Protocol::Udp,
            local: socket.local_addr().unwrap(),
            remote: peer.local_addr().unwrap(),
        };
        let diagnosis = SocketDiagnosis::open().unwrap();
        let me = Uid(nix::unistd::getuid().as_raw());
        assert_eq!(diagnosis.owner(&flow, 0), Ok(Some(me)));
        drop(socket);
        assert_eq!(diagnosis.owner(&flow, 0), Ok(None));
    }
}
