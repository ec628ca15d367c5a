//! Ends a TCP connection of an app through `SOCK_DESTROY` (net/ipv4/inet_diag.c,
//! include/uapi/linux/inet_diag.h): the app gets ECONNABORTED at once, and the kernel itself
//! resets the other end where the connection stands.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, NetlinkAddr};

use super::message::{self, Message};
use crate::apps::inet_diag::{netlink, request};
use crate::decide::{FlowKey, Protocol};

const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;

/// A socket to the kernel's socket diagnosis.
#[derive(Debug)]
pub struct SocketDestroyer {
    fd: OwnedFd,
}

/// Why a connection was not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestroyError {
    /// The kernel was built without `CONFIG_INET_DIAG_DESTROY`, or the process may not use it.
    #[error("this kernel cannot destroy sockets ({0})")]
    Unsupported(Errno),
    /// The socket is not there (any more).
    #[error("the socket is gone")]
    Gone,
}

impl SocketDestroyer {
    /// Opens the netlink socket.
    ///
    /// # Errors
    /// The kernel has no `NETLINK_SOCK_DIAG`.
    pub fn open() -> io::Result<Self> {
        Ok(Self { fd: netlink()? })
    }

    /// Whether the kernel can do it at all: asks for the end of a connection that cannot exist.
    ///
    /// # Errors
    /// [`DestroyError::Unsupported`] with the kernel's answer.
    pub fn probe(&self) -> Result<(), DestroyError> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let flow = FlowKey {
            protocol: Protocol::Tcp,
            local: nowhere,
            remote: nowhere,
        };
        match self.destroy(&flow, 0) {
            Ok(()) | Err(DestroyError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the TCP connection `flow` that leaves by `interface`. Takes some 20 µs: the kernel
    /// answers within the call.
    ///
    /// # Errors
    /// See [`DestroyError`].
    pub fn destroy(&self, flow: &FlowKey, interface: u32) -> Result<(), DestroyError> {
        let request = request(SOCK_DESTROY, NLM_F_REQUEST_ACK, flow, interface);
        let kernel = NetlinkAddr::new(0, 0);
        let fd = self.fd.as_raw_fd();
        socket::sendto(fd, &request, &kernel, MsgFlags::empty())
            .map_err(DestroyError::Unsupported)?;
        let mut answer = [0; 512];
        let length = socket::recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)
            .map_err(DestroyError::Unsupported)?;
        match message::messages(&answer[..length.min(answer.len())]).next() {
            Some(Message::Acknowledgment(0)) => Ok(()),
            Some(Message::Acknowledgment(errno)) if errno == Errno::ENOENT as i32 => {
                Err(DestroyError::Gone)
            }
            Some(Message::Acknowledgment(errno)) => {
                Err(DestroyError::Unsupported(Errno::from_raw(errno)))
            }
            _ => Err(DestroyError::Unsupported(Errno::EPROTO)),
        }
    }
}
