//! What passes unseen when an app asks faster than the worker decides, by the queue's length: what
//! `[queue] length` is chosen from.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use muzzle::control::protocol::Status;
use muzzle::firewall::Family;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use crate::lab::{Daemon, Lab, addresses, freeze};
use crate::rows::let_go;
use crate::scene::query;

const LENGTHS: [u32; 5] = [64, 128, 256, 512, 1024];
/// What config/muzzle.toml says.
const SHIPPED: u32 = 256;
const BURSTS: [u32; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
/// The worst of so many is shown.
const ROUNDS: usize = 5;
/// Longer than the worker takes for the largest burst, and than the supervisor for a stalled one.
const QUIET: Duration = Duration::from_millis(100);

/// Prints the tables. Nothing is promised of bursts, so nothing is broken.
pub(crate) fn show() -> bool {
    for (what, purpose, send) in [
        ("DNS queries", 0, send_queries as fn(&Lab, u32)),
        ("SYNs", 1, send_syns),
    ] {
        println!(
            "{what} back to back: how many pass unseen while the worker runs, worst of {ROUNDS}\n"
        );
        heading();
        for length in LENGTHS {
            let (lab, daemon) = start(length);
            let unseen = BURSTS.map(|burst| {
                let rounds = (0..ROUNDS).map(|_| {
                    let before = passed_unseen(&lab, &daemon, purpose);
                    send(&lab, burst);
                    std::thread::sleep(QUIET);
                    passed_unseen(&lab, &daemon, purpose) - before
                });
                rounds.max().unwrap()
            });
            line(length, unseen);
        }
        println!();
    }
    println!("DNS queries back to back while nobody decides: how many pass unseen\n");
    heading();
    let stopped = |daemon: &Daemon| freeze(daemon.worker());
    line(SHIPPED, BURSTS.map(|burst| unseen_while(burst, stopped)));
    println!("\nThe same while both processes are stopped\n");
    heading();
    line(
        SHIPPED,
        BURSTS.map(|burst| unseen_while(burst, Daemon::freeze)),
    );
    true
}

fn heading() {
    let bursts = BURSTS.map(|burst| burst.to_string()).join(" | ");
    println!("| queue length | {bursts} |");
    println!("| --- {}|", "| --- ".repeat(BURSTS.len()));
}

fn line(length: u32, unseen: [u64; BURSTS.len()]) {
    let unseen = unseen.map(|unseen| unseen.to_string()).join(" | ");
    println!("| {length} | {unseen} |");
}

fn start(length: u32) -> (Lab, Daemon) {
    let lab = Lab::new();
    let socket = lab.folder().join("control.sock");
    let config = format!(
        "[queue]\nlength = {length}\n[control]\nsocket = \"{}\"\n[history]\ndirectory = \"{}\"\n\
         [[rule]]\naddress = \"198.51.100.8\"\naction = \"block\"\n",
        socket.display(),
        lab.folder().join("history").display()
    );
    let daemon = lab.start_daemon(&config);
    (lab, daemon)
}

fn passed_unseen(lab: &Lab, daemon: &Daemon, purpose: usize) -> u64 {
    let config = daemon.config.display();
    let text = lab.muzzle(&format!("--config {config} status --json")).ok();
    let status: Status = serde_json::from_str(&text).unwrap();
    status.queues[purpose].passed_unseen.unwrap()
}

/// How many of a burst arrive at once although nobody decides.
fn unseen_while(burst: u32, stop: impl Fn(&Daemon)) -> u64 {
    let (lab, daemon) = start(SHIPPED);
    lab.count_arriving(Family::V4, "burst", "-p udp --dport 53");
    stop(&daemon);
    send_queries(&lab, burst);
    std::thread::sleep(QUIET);
    let arrived = lab.arrived(Family::V4, "burst");
    let_go(&daemon);
    arrived
}

/// Refused names, so that each is answered on the phone and no resolver is in the way. From several
/// sockets: one has room for some 250 packets on their way, and waits then.
fn send_queries(lab: &Lab, burst: u32) {
    const EACH: u32 = 64;
    let resolver = addresses(Family::V4).dns;
    let open = |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((resolver, 53)).unwrap();
        socket
    };
    let sockets = lab
        .phone
        .within(|| (0..burst.div_ceil(EACH)).map(open).collect::<Vec<_>>());
    let query = query(1, "sa.api.intl.miui.com");
    for number in 0..burst {
        let socket = usize::try_from(number / EACH).unwrap();
        sockets[socket].send(&query).unwrap();
    }
}

/// Connections to an address that is refused at the SYN.
fn send_syns(lab: &Lab, burst: u32) {
    let sink = SocketAddr::new(addresses(Family::V4).sink, 443);
    let IpAddr::V4(address) = sink.ip() else {
        unreachable!("the IPv4 one was asked for")
    };
    let [a, b, c, d] = address.octets();
    let to = SockaddrIn::new(a, b, c, d, sink.port());
    let sockets = lab.phone.within(|| {
        let open = |_| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap()
        };
        (0..burst).map(open).collect::<Vec<_>>()
    });
    for socket in &sockets {
        use std::os::fd::AsRawFd;
        let connecting = connect(socket.as_raw_fd(), &to);
        assert_eq!(connecting, Err(Errno::EINPROGRESS));
    }
}
