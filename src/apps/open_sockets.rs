//! Which TCP connections sockets of this phone have open, as the kernel's socket diagnosis lists
//! them (a dump: include/uapi/linux/sock_diag.h and inet_diag.h).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, NetlinkAddr};

use super::SocketDiagnosis;
use super::inet_diag::{
    AF_INET, AF_INET6, BY_FAMILY, NLM_F_REQUEST, NLMSG_ERROR, UID_AT, request,
};
use crate::decide::{FlowKey, Protocol, Uid};

const NLM_F_DUMP: u16 = 0x300;
const NLMSG_DONE: u16 = 3;
/// States of include/net/tcp_states.h. The others send nothing new.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
const STATES: u32 = 1 << ESTABLISHED | 1 << SYN_SENT | 1 << CLOSE_WAIT | 1 << LISTEN;
/// As much as the kernel puts into one answer (`NLMSG_GOODSIZE` and `max_recvmsg_len`).
const ANSWER_BYTES: usize = 32 * 1024;
/// Answers that are read for one family, some 100 sockets each: a phone has some hundred sockets.
const MAX_ANSWERS: usize = 64;

/// A TCP connection that a socket of this phone has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// Its two ends, as its packets carry them.
    pub flow: FlowKey,
    /// Whose it is.
    pub uid: Uid,
    /// The interface it is bound to; 0 where to none.
    pub interface: u32,
}

/// One line of the kernel's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Open(OpenSocket),
    /// This port takes connections, so that those on it were opened by the other end.
    Listener(u16),
}

impl SocketDiagnosis {
    /// The TCP connections that were opened from here and are not over. Those that came in, and
    /// those that stay on the phone, are left out.
    ///
    /// # Errors
    /// The kernel was built without `INET_TCP_DIAG`, or does not allow it (EPERM, EACCES).
    pub fn open_connections(&self) -> nix::Result<Vec<OpenSocket>> {
        let unspecified: [IpAddr; 2] =
            [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let (mut open, mut listening) = (Vec::new(), HashSet::new());
        for address in unspecified {
            self.dump(address, |listed| match listed {
                Listed::Open(socket) => open.push(socket),
                Listed::Listener(port) => {
                    listening.insert(port);
                }
            })?;
        }
        open.retain(|socket| {
            let FlowKey { local, remote, .. } = socket.flow;
            let stays = remote.ip().is_loopback() || remote.ip() == local.ip();
            !stays && !listening.contains(&local.port())
        });
        Ok(open)
    }

    /// Calls `each` with every TCP socket of one family, which `unspecified` stands for.
    fn dump(&self, unspecified: IpAddr, mut each: impl FnMut(Listed)) -> nix::Result<()> {
        let nowhere = SocketAddr::new(unspecified, 0);
        let all = FlowKey {
            protocol: Protocol::Tcp,
            local: nowhere,
            remote: nowhere,
        };
        let mut request = request(BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &all, 0);
        request[20..24].copy_from_slice(&STATES.to_ne_bytes());
        let (fd, kernel) = (self.as_raw_fd(), NetlinkAddr::new(0, 0));
        socket::sendto(fd, &request, &kernel, MsgFlags::empty())?;
        let mut answer = vec![0; ANSWER_BYTES];
        for _ in 0..MAX_ANSWERS {
            let length = socket::recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)?;
            if read(&answer[..length.min(answer.len())], &mut each)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Reads one answer to a dump; whether it was the last.
fn read(mut answer: &[u8], each: &mut impl FnMut(Listed)) -> nix::Result<bool> {
    while let Some(length) = answer.first_chunk().copied().map(u32::from_ne_bytes) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < 16 || length > answer.len() {
            return Err(Errno::EPROTO);
        }
        let message = &answer[..length];
        match u16::from_ne_bytes([message[4], message[5]]) {
            BY_FAMILY => {
                if let Some(listed) = read_socket(message) {
                    each(listed);
                }
            }
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = message.get(16..).and_then(|it| it.first_chunk().copied());
                let errno = errno.map_or(0, i32::from_ne_bytes).wrapping_neg();
                return Err(Errno::from_raw(errno));
            }
            _ => {}
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct inet_diag_msg` behind its `struct nlmsghdr`.
fn read_socket(message: &[u8]) -> Option<Listed> {
    let uid = message.get(UID_AT..)?.first_chunk().copied()?;
    let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let family = message[16];
    let end = |address: usize, port| {
        let bytes: [u8; 16] = message[address..].first_chunk().copied()?;
        let [a, b, c, d, ..] = bytes;
        let address = match family {
            AF_INET => IpAddr::from([a, b, c, d]),
            // A socket for both families sends its IPv4 packets as IPv4.
            AF_INET6 => IpAddr::from(bytes).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(address, port))
    };
    if message[17] == LISTEN {
        return Some(Listed::Listener(port(20)));
    }
    Some(Listed::Open(OpenSocket {
        flow: FlowKey {
            protocol: Protocol::Tcp,
            local: end(24, port(20))?,
            remote: end(40, port(22))?,
        },
        uid: Uid(u32::from_ne_bytes(uid)),
        interface: u32::from_ne_bytes(message[56..].first_chunk().copied()?),
    }))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    /// A message about a socket, with `attributes` behind it.
    fn message(family: u8, state: u8, ends: [(&[u8], u16); 2], attributes: usize) -> Vec<u8> {
        let mut bytes = vec![0; 88 + attributes];
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        (bytes[16], bytes[17]) = (family, state);
        for ((address, port), (address_at, port_at)) in
            ends.into_iter().zip([(24, 20), (40, 22)])
        {
            bytes[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
            bytes[address_at..address_at + address.len()].copy_from_slice(address);
        }
        bytes[56..60].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[80..84].copy_from_slice(&10_123_u32.to_ne_bytes());
        bytes
    }

    fn done() -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[0..4].copy_from_slice(&20_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&NLMSG_DONE.to_ne_bytes());
        bytes
    }

    fn read_all(answer: &[u8]) -> (nix::Result<bool>, Vec<Listed>) {
        let mut listed = Vec::new();
        let result = read(answer, &mut |it| listed.push(it));
        (result, listed)
    }

    #[test]
    fn sockets_are_read_where_the_kernel_writes_them() {
        let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        let answer = [
            message(
                AF_INET,
                ESTABLISHED,
                [(&[10, 0, 0, 2], 4000), (&[192, 0, 2, 1], 443)],
                0,
            ),
            message(AF_INET6, CLOSE_WAIT, [(&six, 4001), (&six, 80)], 8),
            message(AF_INET6, ESTABLISHED, [(&mapped, 4002), (&mapped, 443)], 0),
            message(AF_INET, LISTEN, [(&[0; 4], 22), (&[0; 4], 0)], 0),
            done(),
        ]
        .concat();
        let open = |local: &str, remote: &str| {
            Listed::Open(OpenSocket {
                flow: FlowKey {
                    protocol: Protocol::Tcp,
                    local: local.parse().unwrap(),
                    remote: remote.parse().unwrap(),
                },
                uid: Uid(10_123),
                interface: 7,
            })
        };
        let expected = vec![
            open("10.0.0.2:4000", "192.0.2.1:443"),
            open("[2001:db8::9]:4001", "[2001:db8::9]:80"),
            open("192.0.2.1:4002", "192.0.2.1:443"),
            Listed::Listener(22),
        ];
        assert_eq!(read_all(&answer), (Ok(true), expected));
    }

    #[test]
    fn an_error_is_the_kernels() {
        let mut answer = done();
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(read_all(&answer), (Err(Errno::ENOENT), Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _any = read_all(&bytes);
        }

        /// No more sockets are made of a cut answer than are whole in it.
        #[test]
        fn a_cut_answer_yields_what_is_whole(length in 0_usize..=264) {
            let one = message(AF_INET, ESTABLISHED, [(&[10, 0, 0, 2], 1), (&[10, 0, 0, 1], 2)], 0);
            let answer = one.repeat(3);
            prop_assert_eq!(read_all(&answer[..length]).1.len(), length / 88);
        }
    }

    /// Against the kernel, without rights.
    #[test]
    fn what_stays_on_the_phone_or_came_in_is_left_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let diagnosis = SocketDiagnosis::open().unwrap();
        let (port, own) = (
            listener.local_addr().unwrap().port(),
            client.local_addr().unwrap(),
        );
        let mut seen = Vec::new();
        let unspecified = Ipv4Addr::UNSPECIFIED.into();
        diagnosis.dump(unspecified, |it| seen.push(it)).unwrap();
        assert!(seen.contains(&Listed::Listener(port)), "{seen:?}");
        let is_own =
            |listed: &&Listed| matches!(listed, Listed::Open(it) if it.flow.local == own);
        assert_eq!(seen.iter().filter(is_own).count(), 1, "{seen:?}");
        let open = diagnosis.open_connections().unwrap();
        assert!(
            open.iter()
                .all(|it| it.flow.local != own && it.flow.local.port() != port)
        );
    }
}
