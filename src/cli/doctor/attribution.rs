//! Whose packet it is, by three ways, and how long a packet stays in a queue. The only checks that
//! put a rule into force: for some moments, for packets of our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Context;
use super::command::{file, reason};
use super::page::Page;
use super::timing::median_and_most;
use crate::apps::{SocketDiagnosis, proc_net};
use crate::clock::{Moment, awake_micros, unix_millis};
use crate::decide::{FlowKey, Protocol, Uid};
use crate::firewall::{Family, Iptables};
use crate::parse::ip::{IpPacket, UDP};
use crate::parse::udp::UdpDatagram;
use crate::queue::message::{Message, Packet, QueueParameters, Verdict, messages};
use crate::queue::socket::DATAGRAM_BYTES;
use crate::queue::{QueueError, QueueSocket, occupancy};

/// Queue numbers to choose from; Muzzle's own are below.
const NUMBERS: std::ops::Range<u16> = 6460..6500;
/// Enough of a packet for its headers.
const COPY_RANGE: u32 = 256;
/// Packets that may wait; beyond it they pass.
const LENGTH: u32 = 64;
/// Bytes; not the worker's, since few packets come.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// Datagrams for the time in the queue.
const ROUNDS: usize = 20;
/// How long a datagram of ours may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// `AID_NOBODY`: nobody's, so that it is told from root in what is found.
const NOBODY: Uid = Uid(9999);
/// `AID_SHELL`, the user of adb, who may use the network on every phone.
const SHELL: Uid = Uid(2000);
/// `AID_INET`: older kernels refuse sockets to everybody else.
const INET: u32 = 3003;
/// How long the system's resolver may take until the first packet, in milliseconds.
const LOOKUP_MILLIS: u64 = 4000;
/// Queries that are told of: of one look-up there are two, or more where servers are tried.
const QUERIES: usize = 4;

/// A queue of our own.
struct Queue {
    socket: QueueSocket,
    buffer: Vec<u8>,
    diagnosis: Result<SocketDiagnosis, String>,
}

impl Queue {
    /// Binds a number that nobody has and that no rule names.
    fn bind(iptables: &Iptables) -> Result<Self, String> {
        let saved: String = Family::BOTH
            .iter()
            .map(|&family| iptables.save(family).unwrap_or_default())
            .collect();
        let is_named = |number: u16| saved.contains(&format!(" {number}"));
        let mut free =
            NUMBERS.filter(|&number| occupancy(number).is_none() && !is_named(number));
        let socket = loop {
            let number = free.next().ok_or("no queue number is free")?;
            let parameters = QueueParameters {
                number,
                copy_range: COPY_RANGE,
                length: LENGTH,
            };
            match QueueSocket::bind(parameters, RECEIVE_BUFFER_BYTES) {
                Ok(socket) => break socket,
                Err(QueueError::Taken(_)) => {}
                Err(error) => return Err(super::with_causes(error)),
            }
        };
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM_BYTES],
            diagnosis: SocketDiagnosis::open().map_err(|error| reason(&error)),
        })
    }

    /// Lets every packet pass that comes within `wait`; what `look` has to say of each.
    fn pass<T>(
        &mut self,
        wait: Duration,
        mut look: impl FnMut(&Packet<'_>, &Result<SocketDiagnosis, String>) -> T,
    ) -> Result<Vec<T>, Errno> {
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        let mut events = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut events, timeout)? == 0 {
            return Ok(Vec::new());
        }
        let mut seen = Vec::new();
        for message in messages(self.socket.receive(&mut self.buffer, false)?) {
            if let Message::Packet(packet) = message {
                seen.push(look(&packet, &self.diagnosis));
                self.socket.verdict(packet.id, Verdict::Accept)?;
            }
        }
        Ok(seen)
    }
}

/// A packet of a socket that was opened by us and given to another user, as Android's resolver
/// does it for apps; over the loopback interface, so that nothing leaves the phone.
pub(super) fn given_socket(context: &Context, page: &mut Page) {
    page.say(format!(
        "A socket opened by user {} and given to user {} (fchown). NFQA_UID is to say the first, \
         the others the second. With its ends as they are, inet_diag finds the receiving socket.\n",
        nix::unistd::getuid(),
        NOBODY.0
    ));
    for family in Family::BOTH {
        let result = given_socket_of(context, family, page);
        if let Err(why) = result {
            page.missing(&family.to_string(), why);
        }
    }
}

fn given_socket_of(context: &Context, family: Family, page: &mut Page) -> Result<(), String> {
    let iptables = context.iptables.as_ref()?;
    let io = |error: std::io::Error| reason(&error);
    let loopback = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let receiver = UdpSocket::bind((loopback, 0)).map_err(io)?;
    let sender = UdpSocket::bind((loopback, 0)).map_err(io)?;
    sender
        .connect(receiver.local_addr().map_err(io)?)
        .map_err(io)?;
    receiver.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    std::os::unix::fs::fchown(&sender, Some(NOBODY.0), None).map_err(io)?;

    let mut direct = Vec::new();
    for _ in 0..ROUNDS {
        direct.push(round(&sender, &receiver, || Ok(()))?);
    }
    let mut queue = Queue::bind(iptables)?;
    let ports = (
        sender.local_addr().map_err(io)?.port(),
        receiver.local_addr().map_err(io)?.port(),
    );
    let condition = format!(
        "-o lo -p udp -m udp --sport {} --dport {}",
        ports.0, ports.1
    );
    let diversion = iptables
        .divert(family, &condition, queue.socket.number())
        .map_err(super::with_causes)?;
    let mut queued = Vec::new();
    let mut findings = Vec::new();
    for number in 0..ROUNDS {
        let in_queue = || {
            let look = |packet: &Packet<'_>, diagnosis: &_| {
                if number == 0 {
                    findings.push(attribute(packet, diagnosis));
                }
            };
            match queue.pass(PATIENCE, look) {
                Ok(seen) if seen.is_empty() => {
                    Err("the packet did not come to the queue".into())
                }
                Ok(_) => Ok(()),
                Err(errno) => Err(errno.to_string()),
            }
        };
        let micros = round(&sender, &receiver, in_queue)?;
        // The first one is looked up.
        if number > 0 {
            queued.push(micros);
        }
    }
    drop(diversion);
    for finding in findings {
        page.say(format!("{family}: "));
        page.quote(finding);
        page.say("\n");
    }
    page.say(format!(
        "{family} from sending to receiving, directly: {}; through the queue: {}\n",
        median_and_most(direct),
        median_and_most(queued)
    ));
    Ok(())
}

/// Microseconds from sending a datagram to receiving it.
fn round(
    sender: &UdpSocket,
    receiver: &UdpSocket,
    between: impl FnOnce() -> Result<(), String>,
) -> Result<u64, String> {
    let start = awake_micros();
    sender.send(b"muzzle").map_err(|error| reason(&error))?;
    between()?;
    receiver
        .recv(&mut [0; 16])
        .map_err(|error| reason(&error))?;
    Ok(awake_micros() - start)
}

/// What the three ways say of a packet that waits.
fn attribute(packet: &Packet<'_>, diagnosis: &Result<SocketDiagnosis, String>) -> String {
    let opener = packet
        .uid
        .map_or_else(|| "none".to_owned(), |uid| uid.0.to_string());
    let Some(flow) = flow(packet.payload) else {
        return format!("NFQA_UID {opener}; not a whole UDP datagram");
    };
    let swapped = FlowKey {
        local: flow.remote,
        remote: flow.local,
        ..flow
    };
    let mut told = format!("to {}: NFQA_UID {opener}", flow.remote);
    match diagnosis {
        Ok(diagnosis) => {
            for (way, flow) in [
                ("inet_diag", &flow),
                ("with its ends as they are", &swapped),
            ] {
                let start = awake_micros();
                let owner = diagnosis.owner(flow, packet.out_interface);
                let micros = awake_micros() - start;
                told.push_str(&format!(", {way} {} ({micros} µs)", shown(owner)));
            }
        }
        Err(why) => told.push_str(&format!(", inet_diag not done: {why}")),
    }
    let path = if flow.local.is_ipv4() {
        "/proc/net/udp"
    } else {
        "/proc/net/udp6"
    };
    let start = awake_micros();
    let owner = file(path).map(|table| proc_net::find(&table, &flow).map(|it| it.uid));
    let micros = awake_micros() - start;
    told.push_str(&format!(", {path} {} ({micros} µs)", shown(owner)));
    told
}

fn shown(owner: Result<Option<Uid>, impl std::fmt::Display>) -> String {
    match owner {
        Ok(Some(uid)) => uid.0.to_string(),
        Ok(None) => "none".into(),
        Err(why) => format!("not done: {why}"),
    }
}

fn flow(packet: &[u8]) -> Option<FlowKey> {
    let ip = IpPacket::parse(packet).ok()?;
    let udp = (ip.protocol == UDP).then(|| UdpDatagram::parse(ip.payload).ok())??;
    Some(FlowKey {
        protocol: Protocol::Udp,
        local: SocketAddr::new(ip.source, udp.source_port),
        remote: SocketAddr::new(ip.destination, udp.destination_port),
    })
}

/// A name that the system's resolver looks up for another user: who its question belongs to.
pub(super) fn system_lookup(context: &Context, page: &mut Page) {
    if let Err(why) = look_up(context, page) {
        page.missing("a look-up by the system's resolver", why);
    }
}

fn look_up(context: &Context, page: &mut Page) -> Result<(), String> {
    let iptables = context.iptables.as_ref()?;
    // Never looked up before, so that no cache has it; says nothing about who asks.
    let label = format!("x{:07x}", unix_millis() & 0xfff_ffff);
    let mut queue = Queue::bind(iptables)?;
    let condition = format!("-p udp -m udp --dport 53 -m string --string {label} --algo bm");
    let number = queue.socket.number();
    let mut diversions = Vec::new();
    for family in Family::BOTH {
        match iptables.divert(family, &condition, number) {
            Ok(diversion) => diversions.push(diversion),
            Err(error) => page.missing(&family.to_string(), super::with_causes(error)),
        }
    }
    if diversions.is_empty() {
        return Err("no rule could be put into force".into());
    }
    let (program, mut asking) = ask(&format!("{label}.example.com"))?;
    let start = Moment::awake();
    let mut findings = Vec::new();
    let mut outcome = Ok(());
    while Moment::awake().millis_since(start) < LOOKUP_MILLIS && findings.len() < QUERIES {
        let has_ended = matches!(asking.try_wait(), Ok(Some(_)));
        match queue.pass(Duration::from_millis(100), attribute) {
            Ok(seen) if seen.is_empty() && has_ended => break,
            Ok(seen) => findings.extend(seen),
            Err(errno) => {
                outcome = Err(errno.to_string());
                break;
            }
        }
    }
    // First nothing more may come to the queue, then nobody need take it from there.
    drop(diversions);
    let _ = queue.pass(Duration::ZERO, attribute);
    let _ = asking.kill();
    let _ = asking.wait();
    page.say(format!(
        "{program} as user {} asked for a name that does not exist, below example.com\n",
        SHELL.0
    ));
    if findings.is_empty() {
        page.say(
            "no question to port 53 came by: private DNS, no network, or a resolver that asks \
             otherwise\n",
        );
    }
    for finding in findings {
        page.quote(finding);
        page.say("\n");
    }
    outcome
}

/// Programs that look a name up through the system's resolver: `ping` is on every phone, `getent`
/// where there is glibc.
const ASKING: [(&str, &[&str]); 2] =
    [("ping", &["-c", "1", "-W", "1"]), ("getent", &["ahosts"])];

/// The first program that can be started.
fn ask(name: &str) -> Result<(&'static str, Child), String> {
    let mut refused = Vec::new();
    for (program, arguments) in ASKING {
        let mut command = Command::new(program);
        command.args(arguments).arg(name);
        command.uid(SHELL.0).gid(INET);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => return Ok((program, child)),
            Err(error) => refused.push(format!("{program}: {}", reason(&error))),
        }
    }
    Err(refused.join(", "))
}
