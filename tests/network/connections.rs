//! TCP connections: refused by the name in a ClientHello or a request, or by address. The app
//! learns of it at once, and the server gets not one byte of what was sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use muzzle::decide::Outcome;
use muzzle::firewall::Family;

use crate::clients::{AT_ONCE, NamePlace, TcpAsker, client_hello, is_timeout};
use crate::lab::{APP_UID, End, Lab, addresses, wait_for};
use crate::running::{BLOCKED, Door, queue, records, start};

/// The exit codes that say "no answer in time": of `timeout`, and of curl.
const TIMED_OUT: [Option<i32>; 2] = [Some(124), Some(28)];

fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Rules that block the addresses of the sink.
fn address_rules() -> String {
    let rule = |family| {
        let sink = addresses(family).sink;
        format!("[[rule]]\naddress = \"{sink}\"\naction = \"block\"\n")
    };
    Family::BOTH.map(rule).concat()
}

/// curl as an app, to `name` at `address`.
fn curl(lab: &Lab, url: &str, port: u16, address: IpAddr) -> crate::lab::Finished {
    let name = url.split('/').nth(2).expect("a URL");
    let to = in_url(address);
    lab.phone_as(
        APP_UID,
        &format!(
            "timeout 4 curl --insecure --silent --show-error --output /dev/null \
             --max-time 3 --resolve {name}:{port}:{to} {url}"
        ),
    )
}

#[test]
fn real_clients_fail_at_once_and_the_server_gets_nothing() {
    let mut lab = Lab::new();
    lab.start_https(&[]);
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for family in Family::BOTH {
        let (sink, web) = (addresses(family).sink, addresses(family).web);
        let blocked = format!("track.{BLOCKED}");
        for (scheme, port) in [("https", 443), ("http", 80)] {
            let case = format!("{family} {scheme}");
            let failed = curl(&lab, &format!("{scheme}://{blocked}/"), port, sink);
            assert_ne!(failed.code, Some(0), "{case}");
            assert!(!TIMED_OUT.contains(&failed.code), "{case}: {failed:?}");
            // The same server under another name.
            curl(&lab, &format!("{scheme}://free.example/"), port, web).ok();
        }
        let to = SocketAddr::new(sink, 443);
        for version in ["-tls1_2", "-tls1_3"] {
            let line = format!("s_client -connect {to} -servername {blocked} {version}");
            let failed = lab.phone_as(APP_UID, &format!("timeout 3 openssl {line}"));
            assert_eq!(failed.code, Some(1), "{family} {version}: {failed:?}");
        }
        for (port, count) in [(443, 3), (80, 1)] {
            let to = SocketAddr::new(sink, port);
            // The kernel itself tells the server.
            wait_for("the server to be told", Duration::from_secs(3), || {
                let connections = lab.server.connections(to);
                let over = connections.iter().filter(|it| it.end == End::Reset);
                over.count() == count
            });
            assert_eq!(lab.server.received(to), 0, "{family} {port}");
        }
    }
    door.assert_nothing_forged_left();
    let counters = queue(&lab, &daemon, "connections").counters;
    assert_eq!((counters.severed, counters.destroy_failed), (8, 0));
}

#[test]
fn an_address_rule_refuses_the_first_packet() {
    let lab = Lab::bare();
    let _daemon = start(&lab, &address_rules());
    for family in Family::BOTH {
        lab.count_arriving(family, "tcp", "-p tcp");
        let blocked = SocketAddr::new(addresses(family).sink, 8080);
        let connected = lab
            .phone
            .within(|| TcpStream::connect_timeout(&blocked, AT_ONCE));
        let error = connected.expect_err("it is blocked");
        assert!(!is_timeout(&error), "{family}: {error}");
        assert_eq!(lab.arrived(family, "tcp"), 0, "{family}");
        assert!(lab.server.connections(blocked).is_empty(), "{family}");
        let _free = TcpAsker::new(&lab, SocketAddr::new(addresses(family).web, 8080));
    }
}

#[test]
fn an_address_rule_refuses_udp_too() {
    let lab = Lab::bare();
    let daemon = start(&lab, &address_rules());
    for family in Family::BOTH {
        lab.count_arriving(family, "udp", "-p udp");
        let (sink, web) = (addresses(family).sink, addresses(family).web);
        let socket = lab.phone.within(|| {
            let any = SocketAddr::new(addresses(family).phone, 0);
            let socket = UdpSocket::bind(any).expect("its own address");
            socket.connect((sink, 5000)).expect("there is a route");
            socket
        });
        socket.set_read_timeout(Some(AT_ONCE)).expect("above 0");
        for _ in 0..3 {
            socket.send(b"anything").expect("it is queued");
            let error = socket.recv(&mut [0; 10]).expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{family}");
        }
        assert_eq!(lab.arrived(family, "udp"), 0, "{family}");
        socket.connect((web, 5000)).expect("there is a route");
        socket.send(b"anything").expect("it passes");
        wait_for("it to arrive", AT_ONCE, || lab.arrived(family, "udp") == 1);
    }
    // Told of once a flow.
    let told = |count| {
        wait_for("the log", AT_ONCE, || {
            let records = records(&lab, &daemon);
            records
                .iter()
                .filter(|it| it.outcome == Outcome::Blocked)
                .count()
                == count
        });
    };
    told(2);
}

#[test]
fn a_dropped_connection_is_silent() {
    let lab = Lab::bare();
    let text = format!("[connections]\nrefuse = \"drop\"\n{}", address_rules());
    let _daemon = start(
        &lab,
        &text
            .replace(".8\"", ".8\"\nport = 8080")
            .replace("::8\"", "::8\"\nport = 8080"),
    );
    let mut waiting = Vec::new();
    for family in Family::BOTH {
        let sink = addresses(family).sink;
        for (port, payload) in [
            (443, client_hello(BLOCKED, NamePlace::First)),
            (
                80,
                format!("GET / HTTP/1.1\r\nHost: {BLOCKED}\r\n\r\n").into_bytes(),
            ),
        ] {
            let mut asker = TcpAsker::new(&lab, SocketAddr::new(sink, port));
            asker.send(&payload);
            waiting.push((family, port, asker));
        }
        let blocked = SocketAddr::new(sink, 8080);
        let connected = lab
            .phone
            .within(|| TcpStream::connect_timeout(&blocked, AT_ONCE));
        assert!(
            is_timeout(&connected.expect_err("it is blocked")),
            "{family}"
        );
        assert!(lab.server.connections(blocked).is_empty(), "{family}");
    }
    // By now everything was sent again several times.
    for (family, port, mut asker) in waiting {
        assert!(!asker.is_over(), "{family} {port}: nothing comes at all");
        let sink = SocketAddr::new(addresses(family).sink, port);
        assert_eq!(lab.server.received(sink), 0, "{family} {port}");
        let ends = lab.server.connections(sink).into_iter().map(|it| it.end);
        assert_eq!(ends.collect::<Vec<_>>(), [End::Open], "{family} {port}");
    }
}

#[test]
fn a_hello_of_two_segments_is_refused() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    let mut refused = 0;
    // Whether the kernel hands it over as one packet, whether it holds back the end of what is
    // written while something is on its way, and where the name stands.
    for (offload, autocorking, place) in [
        (true, true, NamePlace::First),
        (true, true, NamePlace::Last),
        (false, true, NamePlace::First),
        (false, true, NamePlace::Last),
        (false, false, NamePlace::First),
        (false, false, NamePlace::Last),
    ] {
        let segments = if offload { 65_535 } else { 1 };
        lab.phone
            .ip(&format!("link set wlan0 gso_max_segs {segments}"));
        let value = if autocorking { "1" } else { "0" };
        lab.phone.write_sysctl("net/ipv4/tcp_autocorking", value);
        // Its first segment, which does not name anybody, has gone by then.
        let gone = if offload || place == NamePlace::First {
            0
        } else {
            1448
        };
        for family in Family::BOTH {
            let case =
                format!("{family}, offload {offload}, corking {autocorking}, name {place:?}");
            let sink = SocketAddr::new(addresses(family).sink, 443);
            let before = lab.server.received(sink);
            let hello = client_hello(BLOCKED, place);
            assert!(hello.len() > 1500, "more than one segment");
            let mut asker = TcpAsker::new(&lab, sink);
            asker.send_pieces([&hello[..]]);
            assert!(asker.is_over(), "{case}");
            refused += 1;
            wait_for("the server to be told", Duration::from_secs(3), || {
                let connections = lab.server.connections(sink);
                connections.last().is_some_and(|it| it.end == End::Reset)
            });
            let received = lab.server.received(sink) - before;
            assert!(received <= gone, "{case}: {received}");
            // Told of once, however often the kernel sent it.
            let told = || records(&lab, &daemon).into_iter();
            let blocked = || told().filter(|it| it.outcome == Outcome::Blocked).count();
            wait_for("a record", Duration::from_secs(3), || blocked() >= refused);
            assert_eq!(blocked(), refused, "{case}");
            // The same hello with another name comes through whole.
            let hello = client_hello("free.example", place);
            let mut asker = TcpAsker::new(&lab, sink);
            asker.send(&hello);
            lab.server
                .wait_received(sink, before + received + hello.len());
        }
    }
}

/// An app may write as it likes; what it says is put together.
#[test]
fn a_hello_or_request_in_small_pieces_is_refused() {
    let lab = Lab::bare();
    let _daemon = start(&lab, "");
    let hello: fn(&str) -> Vec<u8> = |name| client_hello(name, NamePlace::Last);
    let request: fn(&str) -> Vec<u8> =
        |name| format!("GET /sa HTTP/1.1\r\nX-A: b\r\nHost: {name}\r\n\r\n").into_bytes();
    for family in Family::BOTH {
        for (port, say, sizes) in [(443, hello, [50, 600]), (80, request, [1, 7])] {
            let sink = SocketAddr::new(addresses(family).sink, port);
            for piece_bytes in sizes {
                let case = format!("{family} {port} by {piece_bytes}");
                let before = lab.server.received(sink);
                let mut asker = TcpAsker::new(&lab, sink);
                let refused = say(BLOCKED);
                asker.send_pieces(refused.chunks(piece_bytes));
                assert!(asker.is_over(), "{case}");
                let received = lab.server.received(sink) - before;
                assert!(received < refused.len() - 2, "{case}: {received}");
                let before = lab.server.received(sink);
                let allowed = say("free.example");
                let mut asker = TcpAsker::new(&lab, sink);
                asker.send_pieces(allowed.chunks(piece_bytes));
                lab.server.wait_received(sink, before + allowed.len());
            }
        }
    }
}

/// Data on a connection that passed is nobody's business any more.
#[test]
fn what_follows_an_allowed_hello_is_not_looked_at() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let sink = SocketAddr::new(addresses(family).sink, 443);
        let hello = client_hello("free.example", NamePlace::First);
        let data = vec![0x17; 300_000];
        let mut asker = TcpAsker::new(&lab, sink);
        asker.send(&hello);
        lab.server.wait_received(sink, hello.len());
        asker.send(&data);
        lab.server.wait_received(sink, hello.len() + data.len());
    }
    // A SYN and a hello for each.
    assert_eq!(queue(&lab, &daemon, "connections").counters.packets, 4);
}

/// TCP Fast Open (RFC 7413): the hello or request stands in the SYN.
#[test]
fn what_is_said_in_the_syn_is_looked_at() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    // tcp_fastopen of ip-sysctl.rst: clients without a cookie, all listeners without one.
    lab.phone.write_sysctl("net/ipv4/tcp_fastopen", "5");
    lab.internet.write_sysctl("net/ipv4/tcp_fastopen", "1538");
    for (count, family) in (1..).zip(Family::BOTH) {
        let (sink, web) = (addresses(family).sink, addresses(family).web);
        let fast = |url: &str, port, address| {
            curl(&lab, &format!("--tcp-fastopen {url}"), port, address)
        };
        let failed = fast(&format!("https://{BLOCKED}/"), 443, sink);
        assert!(!TIMED_OUT.contains(&failed.code), "{family}: {failed:?}");
        let failed = fast(&format!("http://{BLOCKED}/"), 80, sink);
        assert!(!TIMED_OUT.contains(&failed.code), "{family}: {failed:?}");
        for port in [80, 443] {
            let connections = lab.server.connections(SocketAddr::new(sink, port));
            // A SYN without data would have passed.
            assert!(connections.is_empty(), "{family} {port}: {connections:?}");
        }
        fast("http://free.example/", 80, web).ok();
        let counters = queue(&lab, &daemon, "connections").counters;
        assert_eq!(counters.severed, 2 * count, "{family}");
    }
}

/// The pieces of a refused hello, which TCP sends again as it likes, stay refused.
#[test]
fn of_a_thousand_hellos_in_two_segments_none_arrives_whole() {
    let lab = Lab::bare();
    let _daemon = start(&lab, "");
    lab.phone.ip("link set wlan0 gso_max_segs 1");
    lab.phone.write_sysctl("net/ipv4/tcp_autocorking", "0");
    let sink = Family::BOTH.map(|family| SocketAddr::new(addresses(family).sink, 443));
    for number in 0..1000 {
        let place = [NamePlace::First, NamePlace::Last][number % 2];
        let hello = client_hello(BLOCKED, place);
        let mut asker = TcpAsker::new(&lab, sink[number / 2 % 2]);
        asker.send_pieces([&hello[..]]);
        assert!(asker.is_over(), "connection {number}");
    }
    let connections = sink.map(|sink| lab.server.connections(sink)).concat();
    assert_eq!(connections.len(), 1000);
    let whole = client_hello(BLOCKED, NamePlace::Last).len();
    assert!(connections.iter().all(|it| it.received < whole));
}

/// Neither what a server sends nor the phone's acknowledgments of it.
#[test]
fn a_download_is_not_looked_at() {
    const BYTES: u64 = 100 << 20;
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    for (count, family) in (1..).zip(Family::BOTH) {
        let web = SocketAddr::new(addresses(family).web, 443);
        let listener = lab.internet.within(|| TcpListener::bind(web));
        let listener = listener.expect("nobody else listens there");
        let hello = client_hello("free.example", NamePlace::First);
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut client, _) = listener.accept()?;
            client.read_exact(&mut vec![0; hello.len()])?;
            let chunk = vec![0x17; 1 << 20];
            (0..BYTES >> 20).try_for_each(|_| client.write_all(&chunk))
        });
        let mut client = lab
            .phone
            .within(|| TcpStream::connect(web))
            .expect("it listens");
        let hello = client_hello("free.example", NamePlace::First);
        client.write_all(&hello).expect("it reads");
        let downloaded = std::io::copy(&mut client, &mut std::io::sink());
        assert_eq!(downloaded.expect("it writes"), BYTES, "{family}");
        server.join().expect("no panic").expect("it was read");
        // The SYN and the hello.
        let packets = queue(&lab, &daemon, "connections").counters.packets;
        assert_eq!(packets, 2 * count, "{family}");
    }
}
