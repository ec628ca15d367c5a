//! When the tables are worth a look: netd and vendor code rebuild rules when the network changes,
//! and iptables tells nobody. So: a while after interfaces come or go, and now and then.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

/// Interface changes come in runs; the look waits for the end of one.
const SETTLED: Duration = Duration::from_secs(1);
/// But no longer than this after its beginning.
const UNSETTLED: Duration = Duration::from_secs(5);
/// Until a look that found the tables locked is repeated: whoever rebuilds them holds the lock.
const UNLOCKED: Duration = Duration::from_secs(2);
/// A look without any sign. The timer stands still while the phone sleeps (`CLOCK_MONOTONIC`)
/// and never wakes it.
const NOW_AND_THEN: Duration = Duration::from_secs(15 * 60);
/// `RTMGRP_LINK` of include/uapi/linux/rtnetlink.h: interfaces that come, go or change.
const RTMGRP_LINK: u32 = 1;

/// Waits for signs that somebody may have rebuilt the tables.
#[derive(Debug)]
pub(super) struct TableWatch {
    links: Option<UnixDatagram>,
    settled_at: Option<Instant>,
    /// When the look comes at the latest.
    latest_at: Option<Instant>,
    now_and_then: Interval,
}

impl TableWatch {
    /// Begins to watch. Without link events only the slow timer is left, which is said.
    pub(super) fn start() -> Self {
        let links = listen_to_links()
            .inspect_err(|error| log::warn!("cannot listen to interface changes: {error}"))
            .ok();
        let mut now_and_then = interval_at(Instant::now() + NOW_AND_THEN, NOW_AND_THEN);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            links,
            settled_at: None,
            latest_at: None,
            now_and_then,
        }
    }

    /// The tables could not be looked at just now.
    pub(super) fn look_again(&mut self) {
        self.settled_at = Some(Instant::now() + UNLOCKED);
    }

    /// Waits until the tables are worth a look. May be dropped and called again.
    pub(super) async fn due(&mut self) {
        let mut message = [0; 8192];
        loop {
            let settled_at = self.settled_at;
            tokio::select! {
                () = at(settled_at) => {
                    (self.settled_at, self.latest_at) = (None, None);
                    return;
                }
                _ = self.now_and_then.tick() => return,
                // What changed does not matter, nor whether messages were lost.
                _ = received(self.links.as_ref(), &mut message) => {
                    let now = Instant::now();
                    let latest = *self.latest_at.get_or_insert(now + UNSETTLED);
                    self.settled_at = Some(latest.min(now + SETTLED));
                }
            }
        }
    }
}

pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn received(links: Option<&UnixDatagram>, message: &mut [u8]) {
    match links {
        Some(links) => {
            let _whatever = links.recv(message).await;
        }
        None => std::future::pending().await,
    }
}

fn listen_to_links() -> std::io::Result<UnixDatagram> {
    let fd = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )?;
    socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))?;
    // tokio has no netlink socket; recv(2) is the same for every datagram socket.
    UnixDatagram::from_std(StdDatagram::from(fd))
}
