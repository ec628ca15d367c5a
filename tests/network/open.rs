//! Connections that are open when rules come into force which refuse them: at the start by their
//! address, at a reload also by the name that their client said while Muzzle ran.

use std::net::{SocketAddr, TcpStream};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use muzzle::clock::Moment;
use muzzle::firewall::Family;
use muzzle::record::EvidenceKind;

use crate::clients::{NamePlace, TcpAsker, client_hello};
use crate::lab::{APP_UID, End, Finished, Lab, addresses, wait_for};
use crate::running::{APP, BLOCKED, record, records, reload, start, status};

/// Neither blocked nor allowed by name, until a test does so.
const LATER: &str = "later.example";
const FREE: &str = "free.example";
/// For how long a client waits that nobody ends.
const PATIENCE_SECONDS: u64 = 8;

fn sink(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(addresses(family).sink, port)
}

/// Rules that block the addresses of the sink.
fn address_rules() -> String {
    let rule = |family| {
        let sink = addresses(family).sink;
        format!("[[rule]]\naddress = \"{sink}\"\naction = \"block\"\n")
    };
    Family::BOTH.map(rule).concat()
}

fn name_rule(name: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"block\"\n")
}

/// Waits until the sink has seen `count` connections to `to`, each with something said in it.
#[track_caller]
fn wait_connected(lab: &Lab, to: SocketAddr, count: usize) {
    wait_for("the clients to talk", Duration::from_secs(5), || {
        let connections = lab.server.connections(to);
        connections.iter().filter(|it| it.received > 0).count() == count
    });
}

/// What the sink says of the connections to `to`.
fn ends(lab: &Lab, to: SocketAddr) -> Vec<End> {
    let connections = lab.server.connections(to).into_iter();
    connections.map(|it| it.end).collect()
}

/// curl and openssl as an app, each with a connection to the sink, which never answers their
/// hello; for each how it came out, and after how many seconds.
fn real_clients<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    lab: &'scope Lab,
    family: Family,
    name: &str,
) -> [ScopedJoinHandle<'scope, (Finished, u64)>; 2] {
    let to = sink(family, 443);
    let address = match family {
        Family::V4 => to.ip().to_string(),
        Family::V6 => format!("[{}]", to.ip()),
    };
    let curl = format!("curl -sS --insecure --resolve {name}:443:{address} https://{name}/");
    let openssl = format!("openssl s_client -connect {to} -servername {name}");
    [curl, openssl].map(|line| {
        scope.spawn(move || {
            let begin = Moment::awake();
            let line = format!("timeout {PATIENCE_SECONDS} {line}");
            (
                lab.phone_as(APP_UID, &line),
                Moment::awake().millis_since(begin) / 1000,
            )
        })
    })
}

#[test]
fn what_is_open_at_the_start_ends_where_its_address_is_refused() {
    let lab = Lab::bare();
    thread::scope(|scope| {
        let clients = Family::BOTH.map(|family| real_clients(scope, &lab, family, FREE));
        let mut free = Family::BOTH
            .map(|family| TcpAsker::new(&lab, SocketAddr::new(addresses(family).web, 8080)));
        // A socket for both families, as Java makes them, sends to an IPv4 address.
        let mapped = lab.phone.within(|| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
            let socket = socket.expect("a socket can be made");
            let std::net::IpAddr::V4(to) = addresses(Family::V4).sink else {
                unreachable!("an IPv4 address")
            };
            let to = SocketAddr::new(to.to_ipv6_mapped().into(), 8080);
            socket.connect(&to.into()).expect("the sink takes it");
            TcpStream::from(socket)
        });
        for family in Family::BOTH {
            wait_connected(&lab, sink(family, 443), 2);
        }
        let daemon = start(&lab, &address_rules());
        for client in clients.into_iter().flatten() {
            let (finished, seconds) = client.join().expect("no panic");
            assert_ne!(finished.code, Some(124), "{seconds} s: {finished:?}");
            assert!(seconds < PATIENCE_SECONDS, "{finished:?}");
        }
        // The kernel tells the server.
        for (to, count) in Family::BOTH
            .map(|family| (sink(family, 443), 2))
            .into_iter()
            .chain([(sink(Family::V4, 8080), 1)])
        {
            wait_for("the server to be told", Duration::from_secs(3), || {
                ends(&lab, to) == vec![End::Reset; count]
            });
        }
        drop(mapped);
        for asker in &mut free {
            asker.send(b"GET / HTTP/1.1\r\nHost: free.example\r\n\r\n");
        }
        for family in Family::BOTH {
            lab.server
                .wait_received(SocketAddr::new(addresses(family).web, 8080), 30);
        }
        assert_eq!(status(&lab, &daemon).open_ended, 5);
        assert!(daemon.log().contains("5 open connections ended"));
        let told = records(&lab, &daemon);
        let open: Vec<_> = told
            .iter()
            .filter(|it| it.evidence == EvidenceKind::Open)
            .collect();
        assert_eq!(open.len(), 5, "{told:?}");
        for record in open {
            assert!(record.rule.is_some() && record.name.is_none(), "{record:?}");
        }
    });
}

#[test]
fn a_reload_ends_what_it_refuses_by_a_name_that_was_seen() {
    let lab = Lab::bare();
    // Before the start: nobody knows what this one is to.
    let mut unknown = Family::BOTH.map(|family| {
        let mut asker = TcpAsker::new(&lab, sink(family, 443));
        asker.send(&client_hello(LATER, NamePlace::First));
        asker
    });
    for family in Family::BOTH {
        wait_connected(&lab, sink(family, 443), 1);
    }
    let daemon = start(&lab, "");
    // The recorder does not forget them for that.
    reload(&lab, &daemon, "[log]\nrecord = \"matched\"").ok();
    thread::scope(|scope| {
        let clients = Family::BOTH.map(|family| real_clients(scope, &lab, family, LATER));
        let mut free = Family::BOTH.map(|family| {
            let mut asker = TcpAsker::new(&lab, sink(family, 80));
            asker.send(b"POST / HTTP/1.1\r\nHost: free.example\r\n");
            asker
        });
        for family in Family::BOTH {
            wait_connected(&lab, sink(family, 443), 3);
            wait_connected(&lab, sink(family, 80), 1);
        }
        let observed = format!("mode = \"observe\"\n{}", name_rule(LATER));
        let said = reload(&lab, &daemon, &observed).ok();
        assert!(!said.contains("ended"), "{said}");
        for family in Family::BOTH {
            assert_eq!(ends(&lab, sink(family, 443)), [End::Open; 3], "{family}");
        }
        let said = reload(&lab, &daemon, &name_rule(LATER)).ok();
        assert!(said.contains("; 4 open connections ended"), "{said}");
        for client in clients.into_iter().flatten() {
            let (finished, seconds) = client.join().expect("no panic");
            assert_ne!(finished.code, Some(124), "{seconds} s: {finished:?}");
            assert!(seconds < PATIENCE_SECONDS, "{finished:?}");
        }
        for family in Family::BOTH {
            let [tls, http] = [443, 80].map(|port| sink(family, port));
            wait_for("the server to be told", Duration::from_secs(3), || {
                ends(&lab, tls) == [End::Open, End::Reset, End::Reset]
            });
            assert_eq!(ends(&lab, http), [End::Open], "{family}");
        }
        for asker in unknown.iter_mut().chain(&mut free) {
            asker.send(b"more");
        }
    });
    let is_it = |record: &muzzle::record::Record| record.evidence == EvidenceKind::Open;
    let told = record(&lab, &daemon, is_it);
    assert_eq!(told.name.as_deref(), Some(LATER));
    assert_eq!((told.app.as_deref(), told.uid), (Some(APP), Some(APP_UID)));
    assert_eq!(told.rule, Some(1));
    assert_eq!(status(&lab, &daemon).open_ended, 4);
    // What is blocked from the start never gets that far.
    let again = reload(&lab, &daemon, &name_rule(LATER)).ok();
    assert!(!again.contains("ended"), "{again}");
    let mut refused = TcpAsker::new(&lab, sink(Family::V4, 443));
    refused.send(&client_hello(BLOCKED, NamePlace::First));
    assert!(refused.is_over());
    assert_eq!(status(&lab, &daemon).open_ended, 4);
}

#[test]
fn what_came_in_from_a_refused_address_stays() {
    let lab = Lab::bare();
    let at = SocketAddr::new(addresses(Family::V4).phone, 2222);
    let listener = lab.phone.within(|| std::net::TcpListener::bind(at));
    let listener = listener.expect("the port is free");
    let caller = lab.internet.within(|| TcpStream::connect(at));
    let _caller = caller.expect("the phone takes it");
    let (mut taken, _) = listener.accept().expect("somebody calls");
    let rule = "[[rule]]\naddress = \"10.77.0.0/24\"\naction = \"block\"\n";
    let daemon = start(&lab, rule);
    assert_eq!(status(&lab, &daemon).open_ended, 0);
    std::io::Write::write_all(&mut taken, b"still here").expect("it stands");
}
