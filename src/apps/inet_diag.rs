//! Whose socket it is, as the kernel's socket diagnosis says (include/uapi/linux/inet_diag.h). It
//! tells the owner of the socket's inode: where a system process asks DNS questions for apps and
//! gives its sockets to them (fchown), that is the app. `NFQA_UID` tells who opened the socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

use crate::decide::{FlowKey, Protocol, Uid};

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

/// A socket to the kernel's socket diagnosis.
#[derive(Debug)]
pub struct SocketDiagnosis {
    fd: OwnedFd,
}

impl SocketDiagnosis {
    /// Opens the netlink socket.
    ///
    /// # Errors
    /// The kernel has no `NETLINK_SOCK_DIAG`.
    pub fn open() -> io::Result<Self> {
        Ok(Self { fd: netlink()? })
    }

    /// The owner of the socket whose packets leave as `flow` by `interface`; `None` where there
    /// is no such socket. One exact look-up, no dump.
    ///
    /// # Errors
    /// ENOENT or EINVAL where the kernel was built without the diagnosis of that protocol
    /// (`INET_UDP_DIAG` is missing in some 4.4 kernels), EPERM or EACCES where it is not allowed.
    pub fn owner(&self, flow: &FlowKey, interface: u32) -> nix::Result<Option<Uid>> {
        let request = request(BY_FAMILY, NLM_F_REQUEST, flow, interface);
        let kernel = NetlinkAddr::new(0, 0);
        let fd = self.fd.as_raw_fd();
        socket::sendto(fd, &request, &kernel, MsgFlags::empty())?;
        let mut answer = [0; 1024];
        let length = socket::recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)?;
        read(&answer[..length.min(answer.len())])
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

/// The owner in an answer to [`BY_FAMILY`].
fn read(answer: &[u8]) -> nix::Result<Option<Uid>> {
    let number = |at: usize| answer.get(at..)?.first_chunk().copied();
    let kind = answer.get(4..).and_then(|it| it.first_chunk().copied());
    match kind.map(u16::from_ne_bytes) {
        Some(BY_FAMILY) => {
            let uid = number(UID_AT).ok_or(Errno::EPROTO)?;
            Ok(Some(Uid(u32::from_ne_bytes(uid))))
        }
        Some(NLMSG_ERROR) => {
            let error = number(16).map_or(0, i32::from_ne_bytes);
            match Errno::from_raw(error.wrapping_neg()) {
                Errno::ENOENT => Ok(None),
                errno => Err(errno),
            }
        }
        _ => Err(Errno::EPROTO),
    }
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
        let mut answer = [0_u8; 88];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[80..84].copy_from_slice(&10_123_u32.to_ne_bytes());
        assert_eq!(read(&answer), Ok(Some(Uid(10_123))));
        assert_eq!(read(&answer[..83]), Err(Errno::EPROTO));
        assert_eq!(read(&[]), Err(Errno::EPROTO));
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
