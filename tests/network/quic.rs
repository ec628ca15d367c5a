//! QUIC: aioquic's client and server, and datagrams that Chromium sent. A blocked name is refused
//! with an ICMP error, and again over TCP, to which clients fall back.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use muzzle::decide::{Outcome, Protocol};
use muzzle::firewall::Family;
use muzzle::record::EvidenceKind;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Deserialize;

use crate::clients::is_timeout;
use crate::lab::{Finished, Lab, addresses, wait_for};
use crate::running::{BLOCKED, Door, queue, record, records, start};

/// Where `scripts/setup.sh --tests` puts aioquic.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/aioquic/bin/python");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/quic");

/// HTTP/3's.
const PORT: u16 = 443;

/// "At once", on a machine that does other things too. Without an ICMP error a client waits for
/// seconds.
const AT_ONCE_MILLISECONDS: f64 = 500.0;

/// What clients take the round trip for that are told in QUIC: aioquic keeps that to itself for six
/// times as long.
const RTT_SECONDS: f64 = 0.2;

const CHROMIUM: [&[u8]; 5] = [
    include_bytes!("../data/chromium156_1.bin"),
    include_bytes!("../data/chromium156_2.bin"),
    include_bytes!("../data/chromium156_3.bin"),
    include_bytes!("../data/chromium156_4.bin"),
    include_bytes!("../data/chromium156_5.bin"),
];
/// Whose name is in them.
const CHROMIUM_NAME: &str = "data.mistat.xiaomi.com";

/// What a client saw; see `quic/client.py`.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    /// `served`, `ConnectionRefusedError`, `silence`, or what else went wrong.
    pub(crate) quic: String,
    milliseconds: f64,
    /// The version it ended with.
    version: u32,
    /// What came of the same over TCP, where QUIC did not serve.
    pub(crate) tcp: Option<String>,
}

/// TLS over TCP and QUIC at the web server's addresses. `retry`: whether the server has clients
/// prove their address first (RFC 9000 section 8.1.2).
pub(crate) fn start_servers(lab: &mut Lab, retry: bool) {
    assert!(
        Path::new(PYTHON).exists(),
        "{PYTHON}: run scripts/setup.sh --tests"
    );
    lab.start_https(&[]);
    start_server(lab, PORT, retry);
}

/// QUIC alone, at any port, with the certificate of [`Lab::start_https`].
pub(crate) fn start_server(lab: &mut Lab, port: u16, retry: bool) {
    let folder = lab.folder().display().to_string();
    let web = Family::BOTH.map(|family| addresses(family).web);
    let retry = if retry { "retry" } else { "direct" };
    lab.spawn_in_internet(&format!(
        "{PYTHON} {SCRIPTS}/server.py {folder}/cert.pem {folder}/key.pem {port} {retry} {} {}",
        web[0], web[1]
    ));
    wait_for("the QUIC server", Duration::from_secs(10), || {
        web.iter()
            .all(|&address| lab.internet.is_listening("udp", address, port))
    });
}

/// Whether QUIC served `name` at `address`.
pub(crate) fn serves(lab: &Lab, name: &str, address: IpAddr) -> bool {
    web_client(lab, name, address, "").quic == "served"
}

fn web_client(lab: &Lab, name: &str, address: IpAddr, options: &str) -> Seen {
    let to = SocketAddr::new(address, PORT);
    client_with(|line| lab.phone(line), name, to, options)
}

/// What a client sees whose command `run` runs, perhaps as an app or on another device.
pub(crate) fn client_with(
    run: impl Fn(&str) -> Finished,
    name: &str,
    to: SocketAddr,
    options: &str,
) -> Seen {
    let (address, port) = (to.ip(), to.port());
    let line = format!("{PYTHON} {SCRIPTS}/client.py {name} {address} {port} {options}");
    let text = run(&line).ok();
    serde_json::from_str(&text).expect("the client prints JSON")
}

#[track_caller]
fn assert_served(seen: &Seen) {
    assert_eq!(seen.quic, "served", "{seen:?}");
}

/// Over QUIC at once, and over TCP too.
#[track_caller]
fn assert_refused(seen: &Seen) {
    assert_eq!(seen.quic, "ConnectionRefusedError", "{seen:?}");
    assert!(seen.milliseconds < AT_ONCE_MILLISECONDS, "{seen:?}");
    let tcp = seen.tcp.as_deref();
    assert!(tcp.is_some_and(|it| it.contains("Connection")), "{seen:?}");
}

fn blocked() -> String {
    format!("track.{BLOCKED}")
}

/// Counts the QUIC packets that come to the internet, and gives their count for one family.
fn count_quic(lab: &Lab) -> impl Fn(Family) -> u64 {
    for family in Family::BOTH {
        lab.count_arriving(family, "quic", "-p udp --dport 443");
    }
    |family| lab.arrived(family, "quic")
}

#[test]
fn a_blocked_name_is_refused_at_once_and_over_tcp_too() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, false);
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    let arrived = count_quic(&lab);
    for family in Family::BOTH {
        let web = addresses(family).web;
        for version in ["version=1", "version=2"] {
            let seen = web_client(&lab, &blocked(), web, version);
            eprintln!(
                "{family} {version}: refused after {:.1} ms",
                seen.milliseconds
            );
            assert_refused(&seen);
            assert_eq!(arrived(family), 0, "{family} {version}");
        }
        let told = record(&lab, &daemon, |it| {
            it.protocol == Protocol::Udp && it.remote.ip() == web
        });
        assert_eq!(told.outcome, Outcome::Blocked);
        assert_eq!(told.evidence, EvidenceKind::Sni);
        assert_eq!(told.name, Some(blocked()));
        assert_served(&web_client(&lab, "free.example", web, ""));
        assert!(arrived(family) > 0);
    }
    door.assert_nothing_forged_left();
    // Four over QUIC, as many over TCP, and the two that pass.
    wait_for("the records", Duration::from_secs(3), || {
        records(&lab, &daemon).len() == 10
    });
    let told = records(&lab, &daemon);
    let count = |protocol, outcome| {
        let such = told.iter().filter(|it| it.protocol == protocol);
        such.filter(|it| it.outcome == outcome).count()
    };
    assert_eq!(count(Protocol::Udp, Outcome::Blocked), 4);
    assert_eq!(count(Protocol::Tcp, Outcome::Blocked), 4);
    assert_eq!(count(Protocol::Udp, Outcome::Allowed), 2);
    let log = crate::running::ask(&lab, &daemon, "log").ok();
    assert_eq!(log.matches(" quic").count(), 6, "{log}");
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(
        (counters.malformed, counters.inject_failed),
        (0, 0),
        "{counters:?}"
    );
}

#[test]
fn a_hello_of_two_datagrams_is_refused() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, false);
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let web = addresses(family).web;
        assert_refused(&web_client(&lab, &blocked(), web, "alpn=1600"));
        assert_served(&web_client(&lab, "free.example", web, "alpn=1600"));
    }
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(counters.malformed, 0, "{counters:?}");
}

#[test]
fn a_retry_changes_the_keys_and_hides_nothing() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, true);
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let web = addresses(family).web;
        for options in ["", "version=2", "alpn=1600"] {
            assert_refused(&web_client(&lab, &blocked(), web, options));
            assert_served(&web_client(&lab, "free.example", web, options));
        }
    }
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(counters.malformed, 0, "{counters:?}");
}

/// aioquic then keeps the keys of version 1 in Initials that say 2, against RFC 9369 section 4.1: they
/// count as malformed, and come after the name.
#[test]
fn a_client_may_be_moved_to_version_2() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, false);
    let _daemon = start(&lab, "");
    for family in Family::BOTH {
        let web = addresses(family).web;
        assert_refused(&web_client(&lab, &blocked(), web, "version=1 also=2"));
        let seen = web_client(&lab, "free.example", web, "version=1 also=2");
        assert_served(&seen);
        assert_eq!(seen.version, 0x6b33_43cf, "{seen:?}");
    }
}

#[test]
fn a_connection_costs_three_packets_however_much_it_sends() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, false);
    let daemon = start(&lab, "");
    let arrived = count_quic(&lab);
    let mut before = 0;
    for family in Family::BOTH {
        let web = addresses(family).web;
        for options in ["send=1", "send=500000", "send=500000 alpn=1600"] {
            assert_served(&web_client(&lab, "free.example", web, options));
            let packets = queue(&lab, &daemon, "connections").counters.packets;
            eprintln!("{family} {options}: {} packets queued", packets - before);
            assert!(packets - before <= 3, "{family} {options}");
            before = packets;
        }
        assert!(arrived(family) > 700);
    }
}

/// Sockets of the internet that take what comes to the sink and say nothing.
fn silent_servers(lab: &Lab) -> [UdpSocket; 2] {
    Family::BOTH.map(|family| {
        let sink = SocketAddr::new(addresses(family).sink, 443);
        lab.internet
            .within(|| UdpSocket::bind(sink).expect("the port is free"))
    })
}

/// A connected socket of the phone, as Chromium has it.
fn socket(lab: &Lab, family: Family) -> UdpSocket {
    let socket = unconnected(lab, family);
    let sink = SocketAddr::new(addresses(family).sink, 443);
    let connect = || socket.connect(sink);
    lab.phone.within(connect).expect("there is a route");
    socket
}

fn unconnected(lab: &Lab, family: Family) -> UdpSocket {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bind = || UdpSocket::bind((any, 0));
    let socket = lab.phone.within(bind).expect("a port is free");
    let limit = Some(Duration::from_millis(500));
    socket.set_read_timeout(limit).expect("a time-out above 0");
    socket
}

/// Why nothing can be received, told without a packet having come.
fn error_of(socket: &UdpSocket) -> ErrorKind {
    let error = socket.recv(&mut [0; 64]).expect_err("nobody answers");
    if is_timeout(&error) {
        ErrorKind::TimedOut
    } else {
        error.kind()
    }
}

/// With an error, and in QUIC.
#[track_caller]
fn assert_told(socket: &UdpSocket, family: Family) {
    assert_eq!(error_of(socket), ErrorKind::ConnectionRefused, "{family}");
    let mut end = [0; 64];
    let length = socket.recv(&mut end).expect("the end of the connection");
    // An Initial packet of version 1, RFC 9000 section 17.2.2.
    assert_eq!(end[0] & 0xf0, 0xc0, "{family}");
    assert_eq!(end[1..5], [0, 0, 0, 1], "{family}");
    assert!(length > 40, "{family}");
}

#[test]
fn what_chromium_sends_is_refused_and_stays_refused() {
    let lab = Lab::bare();
    let _servers = silent_servers(&lab);
    let daemon = start(&lab, "");
    let arrived = count_quic(&lab);
    for family in Family::BOTH {
        let chromium = socket(&lab, family);
        chromium.send(CHROMIUM[0]).expect("it passes");
        wait_for("half a hello", Duration::from_secs(2), || {
            arrived(family) == 1
        });
        for again in &CHROMIUM[1..] {
            chromium.send(again).expect("nothing is pending");
            assert_told(&chromium, family);
        }
        assert_eq!(arrived(family), 1, "{family}");
    }
    let names = || {
        let told = records(&lab, &daemon).into_iter();
        told.filter_map(|it| it.name).collect::<Vec<_>>()
    };
    wait_for("the records", Duration::from_secs(3), || names().len() == 2);
    assert_eq!(names(), [CHROMIUM_NAME; 2]);
}

/// UDP_SEGMENT: the kernel hands several datagrams over as one packet.
#[test]
fn datagrams_that_are_sent_as_one_are_refused_as_one() {
    let lab = Lab::bare();
    let _servers = silent_servers(&lab);
    let daemon = start(&lab, "");
    let arrived = count_quic(&lab);
    for family in Family::BOTH {
        let chromium = socket(&lab, family);
        let segment_bytes = i32::try_from(CHROMIUM[0].len()).expect("a datagram");
        setsockopt(&chromium, sockopt::UdpGsoSegment, &segment_bytes).expect("Linux 4.18");
        let both = [CHROMIUM[0], CHROMIUM[1]].concat();
        chromium.send(&both).expect("nothing is pending");
        assert_told(&chromium, family);
        assert_eq!(arrived(family), 0, "{family}");
    }
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(
        (counters.packets, counters.answered),
        (2, 2),
        "{counters:?}"
    );
}

#[test]
fn an_initial_behind_another_packet_is_refused() {
    let lab = Lab::bare();
    let _servers = silent_servers(&lab);
    let daemon = start(&lab, "");
    let arrived = count_quic(&lab);
    let hello = include_bytes!("../data/aioquic1_v1.bin");
    // 0-RTT, Handshake, and one without a Source Connection ID.
    let ids = [&[8][..], &hello[6..14], &[8], &hello[15..23]].concat();
    let short_ids = [&[8][..], &hello[6..14], &[0]].concat();
    for (first, ids) in [(0xd3, &ids), (0xe0, &ids), (0xd0, &short_ids)] {
        for family in Family::BOTH {
            let packet = [&[first, 0, 0, 0, 1], &ids[..], &[0x40, 100], &[0x5a; 100]].concat();
            let socket = socket(&lab, family);
            let together = [&packet[..], hello].concat();
            socket.send(&together).expect("nothing is pending");
            assert_told(&socket, family);
            let before = arrived(family);
            assert_eq!(before % 2, 0, "{family}");
            // By itself it is bulk data, and not looked at.
            let bulk = [&packet[..], &[0; 1000]].concat();
            socket.send(&bulk).expect("nothing is pending");
            socket.send(&bulk).expect("nothing is pending");
            wait_for("0-RTT", Duration::from_secs(2), || {
                arrived(family) == before + 2
            });
        }
    }
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(
        (counters.packets, counters.answered),
        (6, 6),
        "{counters:?}"
    );
}

#[test]
fn other_versions_pass_and_are_counted() {
    let lab = Lab::bare();
    let _servers = silent_servers(&lab);
    let daemon = start(&lab, "");
    let arrived = count_quic(&lab);
    for family in Family::BOTH {
        let socket = socket(&lab, family);
        // Draft 29, and a number beside version 1 that is not given yet.
        for version in [[0xff, 0, 0, 0x1d], [0, 0, 0, 7]] {
            let packet = [&[0xc3][..], &version, &[8; 9], &[0; 1190]].concat();
            socket.send(&packet).expect("nothing is pending");
        }
        wait_for("both", Duration::from_secs(2), || arrived(family) == 2);
    }
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(
        (counters.packets, counters.unknown_version),
        (4, 4),
        "{counters:?}"
    );
}

/// Linux hands ICMP errors to connected sockets only: the others are told in QUIC.
#[test]
fn a_socket_that_is_not_connected_is_told_at_once_too() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, false);
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for family in Family::BOTH {
        let web = addresses(family).web;
        for options in ["unconnected", "unconnected version=2 alpn=1600", "both"] {
            let options = format!("rtt={RTT_SECONDS} socket={options}");
            let seen = web_client(&lab, &blocked(), web, &options);
            let milliseconds = seen.milliseconds;
            eprintln!("{family} {options}: told after {milliseconds:.1} ms");
            assert_eq!(seen.quic, "refused by Muzzle", "{seen:?}");
            let limit = 6000.0 * RTT_SECONDS + AT_ONCE_MILLISECONDS;
            assert!(milliseconds < limit, "{seen:?}");
            assert_served(&web_client(&lab, "free.example", web, &options));
        }
    }
    door.assert_nothing_forged_left();
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!(
        (counters.malformed, counters.inject_failed),
        (0, 0),
        "{counters:?}"
    );
}

#[test]
fn a_dropped_connection_is_silent_whatever_its_socket() {
    let lab = Lab::bare();
    let _servers = silent_servers(&lab);
    let daemon = start(&lab, "[connections]\nrefuse = \"drop\"");
    for family in Family::BOTH {
        let web = addresses(family).sink;
        let hello = include_bytes!("../data/aioquic1_v1.bin");
        let socket = socket(&lab, family);
        socket.send(hello).expect("nothing is pending");
        assert_eq!(error_of(&socket), ErrorKind::TimedOut, "{family}");
        let unconnected = unconnected(&lab, family);
        unconnected
            .send_to(hello, (web, 443))
            .expect("there is a route");
        assert_eq!(error_of(&unconnected), ErrorKind::TimedOut, "{family}");
    }
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!((counters.packets, counters.dropped), (4, 4), "{counters:?}");
}

/// Linux looks for the IPv4 UDP socket that an ICMP error is about on the device that the error came
/// through (net/ipv4/udp.c `__udp4_lib_err`), and what is forged comes through `lo`. A datagram gets
/// there all the same.
#[test]
fn a_socket_bound_to_a_device_is_told() {
    let mut lab = Lab::bare();
    start_servers(&mut lab, false);
    let _daemon = start(&lab, "");
    let arrived = count_quic(&lab);
    for (family, expected) in [
        (Family::V4, "refused by Muzzle"),
        (Family::V6, "ConnectionRefusedError"),
    ] {
        let web = addresses(family).web;
        let seen = web_client(
            &lab,
            &blocked(),
            web,
            &format!("device=wlan0 rtt={RTT_SECONDS}"),
        );
        assert_eq!(seen.quic, expected, "{seen:?}");
        assert_eq!(arrived(family), 0, "{family}");
    }
}
