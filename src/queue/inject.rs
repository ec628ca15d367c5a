//! Sends forged packets to the phone's own sockets over raw sockets (ip(7), IP_HDRINCL).
//!
//! Every packet carries the mark that the first rules of `muzzle_out` look for: they keep it out
//! of conntrack, and drop it should it ever be about to leave by a real interface.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
};

use crate::decide::FlowKey;

/// The raw sockets, one a family; IPv6 is absent where the kernel has none.
#[derive(Debug)]
pub struct Injector {
    v4: OwnedFd,
    v6: Option<OwnedFd>,
}

impl Injector {
    /// Opens the raw sockets.
    ///
    /// # Errors
    /// The kernel refused the IPv4 socket or the mark (both need root).
    pub fn open(mark: u32) -> io::Result<Self> {
        let v4 = open(AddressFamily::Inet, mark)?;
        let v6 = open(AddressFamily::Inet6, mark).ok();
        Ok(Self { v4, v6 })
    }

    /// Sends `packet`, a whole IP packet, to the local end of `flow`. Never waits.
    ///
    /// # Errors
    /// Those of sendto(2); EAGAIN where the socket's send buffer is full.
    pub fn send(&self, packet: &[u8], flow: &FlowKey, interface: u32) -> nix::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        match flow.local.ip() {
            IpAddr::V4(address) => {
                let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
                socket::sendto(self.v4.as_raw_fd(), packet, &to, flags).map(drop)
            }
            IpAddr::V6(address) => {
                let Some(v6) = &self.v6 else {
                    return Err(nix::errno::Errno::EAFNOSUPPORT);
                };
                // Link-local addresses mean nothing without their interface.
                let scope = if address.is_unicast_link_local() {
                    interface
                } else {
                    0
                };
                let to = SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, scope));
                socket::sendto(v6.as_raw_fd(), packet, &to, flags).map(drop)
            }
        }
    }
}

fn open(family: AddressFamily, mark: u32) -> io::Result<OwnedFd> {
    // IPPROTO_RAW sends only, and its packets bring their own header (raw(7), for IPv6
    // net/ipv6/af_inet6.c inet6_create).
    let fd = socket::socket(
        family,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )?;
    // nix knows SO_MARK on Linux only, not on Android.
    socket2::SockRef::from(&fd).set_mark(mark)?;
    Ok(fd)
}
