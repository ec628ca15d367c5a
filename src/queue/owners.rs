//! Whose socket a packet came from, where that is not who opened it: Android's resolver asks DNS
//! questions for apps and gives them its sockets (fchown). The only look-up on a packet's way.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;

use super::QueueSocket;
use super::backlog::{Backlog, InHand};
use crate::apps::sender::has_sent;
use crate::apps::{SocketDiagnosis, proc_net};
use crate::clock::Moment;
use crate::decide::{Attribution, CgroupId, FlowKey, FlowTable, Protocol, Uid, UnixSeconds};
use crate::inspect::{Outline, Trace};
use crate::record::Withdrawn;

/// Sockets that were seen to have a port, and for how many seconds they are remembered.
const HOLDERS: (usize, u32) = (128, 60);
/// Looks at a socket until it has looked the same `STEADY_LOOKS` times; each takes some 3 us.
const MAX_LOOKS: u32 = 6;
const STEADY_LOOKS: u32 = 2;
/// How long a packet may be on its way from its socket into the queue, in milliseconds: as long as
/// its sender is kept from the processor.
const ON_ITS_WAY_MILLIS: u64 = 100;
/// Reads of `/proc/net/udp` or `udp6` in a second; each takes the kernel some 100 us and more.
const READS_PER_SECOND: u32 = 20;
/// Room for its text: some 500 sockets.
const TABLE_BYTES: usize = 0x1_0000;
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// Asks for the owners of sockets.
#[derive(Debug)]
pub struct Owners {
    diagnosis: Option<SocketDiagnosis>,
    /// Where the diagnosis knows no UDP.
    tables: Option<UdpTables>,
    holders: FlowTable<Holder, (Protocol, SocketAddr)>,
    withdrawn: Option<Withdrawn>,
}

/// The socket that has a port.
#[derive(Clone, Copy, Debug)]
struct Holder {
    cookie: u64,
    /// Packets of this [`InHand::round`] and later were sent after it was first seen there.
    since: u64,
    /// The first packet that is taken for its.
    first: Option<First>,
}

/// A packet that may yet turn out to be of whoever had the port before: what the socket was charged
/// with was then another packet, on its way into the queue.
#[derive(Clone, Copy, Debug)]
struct First {
    packet: Withdrawn,
    trace: Trace,
}

/// A socket that may have sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    attribution: Attribution,
    charged_bytes: u32,
    /// No other socket has the same.
    cookie: Option<u64>,
}

impl Candidate {
    /// How often it has to look the same. Somebody who came to the port later may be charged with a
    /// packet that is on its way into the queue, for some 2 us.
    const fn steady_looks(&self) -> u32 {
        match self.cookie {
            Some(_) => STEADY_LOOKS,
            // Reading the kernel's table takes longer.
            None => 1,
        }
    }
}

impl Owners {
    /// Finds out which way there is on this kernel; what does not work goes into `warnings`.
    pub fn open(warnings: &mut Vec<String>) -> Self {
        let consequence = "the app behind a DNS question of the system is looked up in \
                           /proc/net/udp, 20 times a second at most, and else unknown";
        let diagnosis = SocketDiagnosis::open()
            .inspect_err(|error| {
                warnings.push(format!(
                    "cannot open the kernel's socket diagnosis ({error}): {consequence}"
                ));
            })
            .ok();
        let knows_udp = diagnosis.as_ref().is_some_and(|diagnosis| {
            knows_udp(diagnosis)
                .inspect_err(|error| {
                    warnings.push(format!(
                        "the kernel's socket diagnosis knows no UDP ({error}): {consequence}"
                    ));
                })
                .is_ok()
        });
        Self {
            diagnosis,
            tables: (!knows_udp).then(UdpTables::default),
            holders: FlowTable::new(HOLDERS.0, HOLDERS.1),
            withdrawn: None,
        }
    }

    /// Whose the packet in hand is, which looks like `outline` and leaves by `interface`. Where
    /// its socket is gone, or it cannot be told whether the one that has its port now has sent it,
    /// that is unknown.
    pub(super) fn of(
        &mut self,
        outline: &Outline,
        interface: u32,
        waiting: (&QueueSocket, &mut Backlog, &mut InHand),
        unix_millis: u64,
    ) -> Attribution {
        let packet = Withdrawn {
            flow: outline.flow,
            unix_millis,
        };
        let (queue, backlog, in_hand) = waiting;
        let mut looks = 0;
        let mut before = None;
        for _ in 0..MAX_LOOKS {
            let Some(candidate) = self.candidate(&outline.flow, interface) else {
                break;
            };
            // In this order: what the socket was charged with waits here by now, unless its sender
            // is on its way into the queue just then.
            let emptied = backlog.fill(queue, in_hand);
            if candidate.charged_bytes == 0 {
                break;
            }
            if self.had_the_port(outline, &candidate, emptied, in_hand.round, packet) {
                return candidate.attribution;
            }
            let seen = (candidate, backlog.behind(outline).count());
            looks = if before == Some(seen) { looks + 1 } else { 1 };
            if looks == candidate.steady_looks() {
                let has_sent_it = emptied.is_some()
                    && has_sent(candidate.charged_bytes, backlog.behind(outline));
                if !has_sent_it {
                    break;
                }
                self.take_as_first(outline, &candidate, packet);
                return candidate.attribution;
            }
            before = Some(seen);
        }
        Attribution::UNKNOWN
    }

    /// The control group of the process that opened the socket of `flow`, which is `uid`'s.
    pub(super) fn cgroup(&self, flow: &FlowKey, interface: u32, uid: Uid) -> Option<CgroupId> {
        let socket = self.diagnosis.as_ref()?.find(flow, interface).ok()??;
        let has_sent_it = socket.uid == uid && socket.charged_bytes > 0;
        socket.cgroup.filter(|_| has_sent_it)
    }

    /// The packet before, where it has turned out to be somebody else's than was said.
    pub(super) const fn take_withdrawn(&mut self) -> Option<Withdrawn> {
        self.withdrawn.take()
    }

    /// Whether the socket has had the port since before the packet was sent. It is remembered
    /// that it has it now.
    fn had_the_port(
        &mut self,
        outline: &Outline,
        candidate: &Candidate,
        emptied: Option<u64>,
        round: u64,
        packet: Withdrawn,
    ) -> bool {
        let Some(cookie) = candidate.cookie else {
            return false;
        };
        let port = (outline.flow.protocol, outline.flow.local);
        let now = UnixSeconds::from_millis(packet.unix_millis);
        let known = self.holders.get_mut(&port, now);
        if let Some(holder) = known.filter(|it| it.cookie == cookie) {
            if let Some(first) = holder.first.take() {
                let pause = packet.unix_millis.abs_diff(first.packet.unix_millis);
                if pause < ON_ITS_WAY_MILLIS && !outline.trace.follows(first.trace) {
                    self.withdrawn = Some(first.packet);
                }
            }
            return holder.since <= round;
        }
        if let Some(since) = emptied {
            let holder = Holder {
                cookie,
                since,
                first: None,
            };
            self.holders.insert(port, holder, now);
        }
        false
    }

    /// Remembers the packet as the first of a socket that has come to the port.
    fn take_as_first(&mut self, outline: &Outline, candidate: &Candidate, packet: Withdrawn) {
        let port = (outline.flow.protocol, outline.flow.local);
        let now = UnixSeconds::from_millis(packet.unix_millis);
        let known = self.holders.get_mut(&port, now);
        if let Some(holder) = known.filter(|it| Some(it.cookie) == candidate.cookie) {
            let trace = outline.trace;
            holder.first = Some(First { packet, trace });
        }
    }

    /// The socket that has the flow's port now.
    fn candidate(&mut self, flow: &FlowKey, interface: u32) -> Option<Candidate> {
        if flow.protocol == Protocol::Udp
            && let Some(tables) = &mut self.tables
        {
            let listed = tables.find(flow)?;
            return Some(Candidate {
                attribution: Attribution::proc(listed.uid),
                charged_bytes: listed.charged_bytes,
                cookie: None,
            });
        }
        let socket = self.diagnosis.as_ref()?.find(flow, interface).ok()??;
        Some(Candidate {
            attribution: Attribution::inet_diag(socket.uid),
            charged_bytes: socket.charged_bytes,
            cookie: Some(socket.cookie),
        })
    }
}

/// Asks for a socket of our own, which must be there: a kernel without the diagnosis of UDP says of
/// any that it is not.
fn knows_udp(diagnosis: &SocketDiagnosis) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = socket.local_addr()?.port();
    let flow = FlowKey {
        protocol: Protocol::Udp,
        local: (Ipv4Addr::LOCALHOST, port).into(),
        remote: (Ipv4Addr::LOCALHOST, 53).into(),
    };
    let found = diagnosis.find(&flow, 0)?;
    found
        .map(drop)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The kernel's tables of UDP sockets.
#[derive(Debug)]
struct UdpTables {
    files: [Option<File>; 2],
    text: Box<[u8]>,
    /// The second that `reads` is of.
    second: u64,
    reads: u32,
}

impl Default for UdpTables {
    fn default() -> Self {
        Self {
            files: TABLES.map(|path| File::open(path).ok()),
            text: vec![0; TABLE_BYTES].into_boxed_slice(),
            second: 0,
            reads: 0,
        }
    }
}

impl UdpTables {
    fn find(&mut self, flow: &FlowKey) -> Option<proc_net::ListedSocket> {
        let second = Moment::awake().0 / 1000;
        if second != self.second {
            (self.second, self.reads) = (second, 0);
        }
        if self.reads >= READS_PER_SECOND {
            return None;
        }
        self.reads += 1;
        let file = self.files[usize::from(flow.local.is_ipv6())].as_ref()?;
        let mut length = 0;
        while let Some(room) = self.text.get_mut(length..).filter(|room| !room.is_empty()) {
            let offset = u64::try_from(length).ok()?;
            match file.read_at(room, offset).ok()? {
                0 => break,
                read => length += read,
            }
        }
        proc_net::find(std::str::from_utf8(&self.text[..length]).ok()?, flow)
    }
}
