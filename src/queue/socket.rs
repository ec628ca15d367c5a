//! The netlink socket of one queue. Our own small client instead of the `nfq` crate, whose 0.2.5
//! keeps its socket to itself: no receive buffer to set, no way to stop a thread that waits in
//! it, no duplicate for a supervisor to hold (ARCHITECTURE.md).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SetSockOpt, SockFlag, SockProtocol, SockType,
    sockopt,
};

use super::message::{self, Message, QueueParameters, Request, Verdict};

/// Keeps `recv` from failing with ENOBUFS after an overrun: fail-open has already let those
/// packets pass, and the kernel's own counters tell of them.
#[derive(Clone, Copy, Debug)]
struct NetlinkNoEnobufs;

impl SetSockOpt for NetlinkNoEnobufs {
    type Val = bool;

    #[allow(unsafe_code, reason = "neither std nor nix knows this option")]
    fn set<F: AsFd>(&self, fd: &F, enable: &bool) -> nix::Result<()> {
        let value = libc::c_int::from(*enable);
        // SAFETY: the descriptor is borrowed for the call, and the kernel reads exactly the
        // bytes of `value`, whose size is passed with it.
        let result = unsafe {
            libc::setsockopt(
                fd.as_fd().as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_NO_ENOBUFS,
                std::ptr::from_ref(&value).cast(),
                INT_BYTES,
            )
        };
        Errno::result(result).map(drop)
    }
}

const INT_BYTES: libc::socklen_t = 4;

/// Largest datagram: a 64 KiB packet and its attributes.
pub const DATAGRAM_BYTES: usize = 0x1_0000 + 4096;

/// Why a queue could not be had.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The kernel has no nfnetlink, or the process may not use it.
    #[error("cannot open a netfilter netlink socket")]
    Open(#[source] io::Error),
    /// A socket option was refused.
    #[error("cannot set {option} on the socket of queue {number}")]
    Option {
        /// Queue number.
        number: u16,
        /// The option's name.
        option: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Another program holds this queue number.
    #[error("queue {0} belongs to another program; choose another [queue] first")]
    Taken(u16),
    /// The kernel refused to bind the queue.
    #[error("cannot bind queue {number} (Muzzle needs root and a kernel with NFQUEUE)")]
    Bind {
        /// Queue number.
        number: u16,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A bound queue: packets come out of it, verdicts go into it. One thread owns the receiving
/// side; a [`QueueHandle`] may nudge it from another.
#[derive(Debug)]
pub struct QueueSocket {
    fd: OwnedFd,
    parameters: QueueParameters,
}

impl QueueSocket {
    /// Opens a socket and binds the queue.
    ///
    /// # Errors
    /// [`QueueError::Taken`] where another program holds the number, else the failed step.
    pub fn bind(
        parameters: QueueParameters,
        receive_buffer_bytes: usize,
    ) -> Result<Self, QueueError> {
        let number = parameters.number;
        let fd = socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(|errno| QueueError::Open(errno.into()))?;
        socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))
            .map_err(|errno| QueueError::Open(errno.into()))?;
        let option = |option, result: nix::Result<()>| {
            result.map_err(|errno| QueueError::Option {
                number,
                option,
                source: errno.into(),
            })
        };
        // The default buffer loses packets in bursts; going over rmem_max needs CAP_NET_ADMIN,
        // which the daemon has where it can bind a queue at all.
        option(
            "SO_RCVBUFFORCE",
            socket::setsockopt(&fd, sockopt::RcvBufForce, &receive_buffer_bytes),
        )?;
        option(
            "NETLINK_NO_ENOBUFS",
            socket::setsockopt(&fd, NetlinkNoEnobufs, &true),
        )?;
        let queue = Self { fd, parameters };
        queue.configure()?;
        Ok(queue)
    }

    fn configure(&self) -> Result<(), QueueError> {
        let number = self.parameters.number;
        match self.request(&message::bind(self.parameters)) {
            Ok(()) => Ok(()),
            // EBUSY: this socket has it already, EPERM: another one has it, or no capability.
            Err(Errno::EBUSY) => Err(QueueError::Taken(number)),
            Err(Errno::EPERM) if super::occupancy(number).is_some() => {
                Err(QueueError::Taken(number))
            }
            Err(errno) => Err(QueueError::Bind {
                number,
                source: errno.into(),
            }),
        }
    }

    /// Sends a request and waits for its acknowledgment. Packets may come before it where rules
    /// of a killed daemon feed the queue already: they pass, as they did until now.
    fn request(&self, request: &Request) -> nix::Result<()> {
        send(self.fd.as_fd(), &[IoSlice::new(request.as_bytes())])?;
        let mut datagram = vec![0; DATAGRAM_BYTES];
        loop {
            for message in message::messages(self.receive(&mut datagram, true)?) {
                match message {
                    Message::Acknowledgment(0) => return Ok(()),
                    Message::Acknowledgment(errno) => return Err(Errno::from_raw(errno)),
                    Message::Packet(packet) => self.verdict(packet.id, Verdict::Accept)?,
                    Message::Other => {}
                }
            }
        }
    }

    /// The queue's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.parameters.number
    }

    /// Waits for the next datagram of the kernel and reads it into `buffer`.
    ///
    /// # Errors
    /// Those of recv(2), EINTR left out.
    pub fn receive<'b>(&self, buffer: &'b mut [u8], wait: bool) -> nix::Result<&'b [u8]> {
        let flags = if wait {
            MsgFlags::empty()
        } else {
            MsgFlags::MSG_DONTWAIT
        };
        loop {
            match socket::recv(self.fd.as_raw_fd(), buffer, flags) {
                Ok(length) => return Ok(&buffer[..length.min(buffer.len())]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Tells the kernel what becomes of packet `id`.
    ///
    /// # Errors
    /// ENOENT where the kernel has let the packet go already (its interface went down).
    pub fn verdict(&self, id: u32, verdict: Verdict) -> nix::Result<()> {
        let request = message::verdict(self.parameters.number, id, verdict);
        socket::send(self.fd.as_raw_fd(), request.as_bytes(), MsgFlags::empty()).map(drop)
    }

    /// Lets packet `id` go on with the bytes of `packet`, an IP packet, in place of its own. The
    /// kernel computes no checksum for it.
    ///
    /// # Errors
    /// As [`Self::verdict`]; EMSGSIZE where `packet` is longer than an attribute can be.
    pub fn rewrite(&self, id: u32, packet: &[u8]) -> nix::Result<()> {
        let length = u16::try_from(packet.len()).map_err(|_| Errno::EMSGSIZE)?;
        let start = message::rewrite(self.parameters.number, id, length);
        let parts = [IoSlice::new(start.as_bytes()), IoSlice::new(packet)];
        send(self.fd.as_fd(), &parts)
    }

    /// A second descriptor of the same socket, for whoever must reach the queue from outside of
    /// its thread.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn handle(&self) -> io::Result<QueueHandle> {
        Ok(QueueHandle::new(
            self.fd.try_clone()?,
            self.parameters.number,
        ))
    }

    /// Gives the queue up.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn unbind(self) -> nix::Result<()> {
        let request = message::unbind(self.parameters.number);
        send(self.fd.as_fd(), &[IoSlice::new(request.as_bytes())])
    }
}

impl AsFd for QueueSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A duplicate of a queue's socket. While it is open the queue stays bound, whatever becomes of
/// the thread that serves it.
#[derive(Debug)]
pub struct QueueHandle {
    fd: OwnedFd,
    number: u16,
}

impl QueueHandle {
    /// From a duplicate of the socket that has bound queue `number`.
    #[must_use]
    pub const fn new(fd: OwnedFd, number: u16) -> Self {
        Self { fd, number }
    }

    /// The queue's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Wakes the thread that waits for packets: the kernel sends it an acknowledgment.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn nudge(&self) -> nix::Result<()> {
        self.request(&message::nudge(self.number))
    }

    /// From now on every packet passes instead of being held. Whoever gives the queue up does
    /// this first: what is held then is dropped.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn hold_no_more(&self) -> nix::Result<()> {
        self.request(&message::hold_no_more(self.number))
    }

    /// Has the kernel send this process SIGIO for every packet that comes, also when another
    /// thread has taken it out of the socket before this process looks: poll(2) would miss it then
    /// (fcntl(2), O_ASYNC).
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn signal_packets(&self) -> nix::Result<()> {
        set_owner(self.fd.as_fd())?;
        let flags = OFlag::from_bits_retain(fcntl(&self.fd, FcntlArg::F_GETFL)?);
        fcntl(&self.fd, FcntlArg::F_SETFL(flags | OFlag::O_ASYNC)).map(drop)
    }

    /// Lets every packet pass that waits, up to and with number `newest`.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn accept_up_to(&self, newest: u32) -> nix::Result<()> {
        self.request(&message::accept_up_to(self.number, newest))
    }

    fn request(&self, request: &Request) -> nix::Result<()> {
        send(self.fd.as_fd(), &[IoSlice::new(request.as_bytes())])
    }
}

impl AsFd for QueueHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(unsafe_code, reason = "nix does not know F_SETOWN")]
fn set_owner(fd: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, which takes a number and no pointer.
    let result = unsafe {
        libc::fcntl(
            fd.as_raw_fd(),
            libc::F_SETOWN,
            nix::unistd::getpid().as_raw(),
        )
    };
    Errno::result(result).map(drop)
}

fn send(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> nix::Result<()> {
    let kernel = NetlinkAddr::new(0, 0);
    socket::sendmsg(fd.as_raw_fd(), parts, &[], MsgFlags::empty(), Some(&kernel)).map(drop)
}
