//! Steps 1 and 4 of a packet's way: out of the kernel's queues, and back with a verdict.

mod backlog;
pub mod conntrack;
pub mod destroy;
pub mod inject;
pub mod message;
mod owners;
pub mod socket;
pub mod worker;

pub use conntrack::Conntrack;
pub use destroy::SocketDestroyer;
pub use inject::Injector;
pub use owners::Owners;
pub use socket::{QueueError, QueueHandle, QueueSocket};
pub use worker::QueueWorker;

/// Who holds a queue, and what the kernel says of it (one line of
/// `/proc/net/netfilter/nfnetlink_queue`, written by net/netfilter/nfnetlink_queue.c `seq_show`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Occupancy {
    /// Netlink port of the holder; for most programs their process id.
    pub port: u32,
    /// Packets that wait for a verdict now.
    pub waiting: u32,
    /// Packets dropped because the queue was full; with fail-open they pass and are not counted.
    pub queue_dropped: u32,
    /// Packets dropped because the receive buffer was full; with fail-open as above.
    pub user_dropped: u32,
    /// Id of the newest packet: how many were queued since the queue was bound.
    pub sequence: u32,
}

/// Where the kernel lists the queues that somebody has bound.
pub const OCCUPANCY_TABLE: &str = "/proc/net/netfilter/nfnetlink_queue";

/// Who holds queue `number` in this network namespace; `None` where nobody does.
#[must_use]
pub fn occupancy(number: u16) -> Option<Occupancy> {
    let table = std::fs::read_to_string(OCCUPANCY_TABLE).ok()?;
    parse_occupancy(&table, number)
}

fn parse_occupancy(table: &str, number: u16) -> Option<Occupancy> {
    table.lines().find_map(|line| {
        let mut fields = line
            .split_whitespace()
            .map(|field| field.parse::<u32>().ok());
        let mut next = || fields.next().flatten();
        (next()? == u32::from(number)).then_some(())?;
        let (port, waiting, _copy_mode, _copy_range) = (next()?, next()?, next()?, next()?);
        Some(Occupancy {
            port,
            waiting,
            queue_dropped: next()?,
            user_dropped: next()?,
            sequence: next()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_by_queue_number() {
        let table = "  200   1234     0 2 65531     0     0        0  1\n\
                     6453  31415     2 2  4096     1     3       77  1\n";
        let expected = Occupancy {
            port: 31415,
            waiting: 2,
            queue_dropped: 1,
            user_dropped: 3,
            sequence: 77,
        };
        assert_eq!(parse_occupancy(table, 6453), Some(expected));
        assert_eq!(parse_occupancy(table, 20), None);
    }
}
