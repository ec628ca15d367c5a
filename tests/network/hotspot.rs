//! Devices that go online through the phone. With `[hotspot] clients = "filter"` what the phone
//! passes on for them is judged, and what is refused is dropped: nothing is forged towards them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use muzzle::decide::{Outcome, Protocol};
use muzzle::firewall::Family;
use muzzle::record::{EvidenceKind, Record};

use crate::clients::{NamePlace, TcpAsker, client_hello};
use crate::lab::{Client, Lab, addresses, wait_for};
use crate::quic;
use crate::running::{APP, BLOCKED, ask, queue, record, records, start, status};

pub(crate) const FILTER: &str = "[hotspot]\nclients = \"filter\"\n";
/// Long enough for whatever takes a moment.
const SOON: Duration = Duration::from_secs(5);
/// Where only a rule for an app would block.
const OF_THE_APP: &str = "app.example";

/// Rules for an app, and against the sink's addresses on port 8080 and all of UDP to it.
fn more_rules() -> String {
    let sink = |family| {
        let sink = addresses(family).sink;
        let rule = format!("[[rule]]\naddress = \"{sink}\"\naction = \"block\"\n");
        format!("{rule}port = 8080\n{rule}protocol = \"udp\"\n")
    };
    let app =
        format!("[[rule]]\nname = \"{OF_THE_APP}\"\napp = \"{APP}\"\naction = \"block\"\n");
    app + &Family::BOTH.map(sink).concat()
}

fn text(address: IpAddr) -> String {
    SocketAddr::new(address, 0)
        .to_string()
        .trim_end_matches(":0")
        .to_owned()
}

/// curl to `name` at `address`; whether it was served.
pub(crate) fn is_served(client: &Client, scheme: &str, name: &str, address: IpAddr) -> bool {
    let port = if scheme == "https" { 443 } else { 80 };
    let to = text(address);
    let line = format!(
        "curl --insecure --silent --output /dev/null --max-time 2 \
         --resolve {name}:{port}:{to} {scheme}://{name}/"
    );
    match client.run(&line).code {
        Some(0) => true,
        // It waits: nobody tells it.
        Some(28) => false,
        other => panic!("{scheme}://{name}/: curl ended with {other:?}"),
    }
}

/// The record about `name` that stood in `evidence`.
fn told(lab: &Lab, daemon: &crate::lab::Daemon, name: &str, evidence: EvidenceKind) -> Record {
    record(lab, daemon, |it| {
        it.name.as_deref() == Some(name) && it.evidence == evidence
    })
}

/// Counts what looks like a refusal on its way to the client, in both families.
fn count_refusals(client: &Client) -> impl Fn() -> String {
    for (program, icmp) in [
        (
            "iptables-legacy",
            "icmp --icmp-type destination-unreachable",
        ),
        (
            "ip6tables-legacy",
            "icmpv6 --icmpv6-type destination-unreachable",
        ),
    ] {
        for rule in [icmp, "tcp --tcp-flags RST RST"] {
            let line = format!("{program} -w 5 -t raw -A PREROUTING -i eth0 -p {rule}");
            client.run(&line).ok();
        }
    }
    || {
        let count = |program| {
            let text = client
                .run(&format!("{program} -w 5 -t raw -nvxL PREROUTING"))
                .ok();
            let rules = text.lines().skip(2).map(str::trim_start);
            let hit = rules.filter(|rule| !rule.starts_with("0 "));
            hit.map(|rule| format!("{program}: {rule}\n"))
                .collect::<String>()
        };
        ["iptables-legacy", "ip6tables-legacy"].map(count).concat()
    }
}

#[test]
fn a_client_is_refused_what_is_blocked_and_served_the_rest() {
    let mut lab = Lab::new();
    lab.start_https(&[]);
    let client = lab.tether();
    let daemon = start(&lab, FILTER);
    assert_eq!(status(&lab, &daemon).warnings, [""; 0]);
    let refusals = count_refusals(&client);
    for family in Family::BOTH {
        let (dns, web, sink) = {
            let it = addresses(family);
            (it.dns, it.web, it.sink)
        };
        let web_v4 = addresses(Family::V4).web.to_string();
        for (options, label) in [("+notcp", "udp"), ("+tcp", "tcp")] {
            let case = format!("{family} {label}");
            let blocked = format!("{label}{}.{BLOCKED}", web.is_ipv6());
            assert_eq!(client.dig(dns, &blocked, options), "", "{case}");
            assert!(
                !lab.was_asked_for(&blocked),
                "{case}: it reached the resolver"
            );
            let free = format!("{label}{}.free.example", web.is_ipv6());
            assert_eq!(client.dig(dns, &free, options).trim(), web_v4, "{case}");
        }
        for (scheme, port) in [("https", 443), ("http", 80)] {
            let case = format!("{family} {scheme}");
            let name = format!("{scheme}{}.{BLOCKED}", web.is_ipv6());
            assert!(!is_served(&client, scheme, &name, sink), "{case}");
            let sink = SocketAddr::new(sink, port);
            assert_eq!(lab.server.received(sink), 0, "{case}");
            assert!(is_served(&client, scheme, "free.example", web), "{case}");
        }
    }
    assert_eq!(refusals(), "", "the client was told something");
    for purpose in ["dns", "connections"] {
        let it = queue(&lab, &daemon, purpose).counters;
        assert!(it.dropped > 0, "{it:?}");
        let forged = [it.answered, it.severed, it.inject_failed, it.destroy_failed];
        assert_eq!(forged, [0; 4], "{it:?}");
    }
}

#[test]
fn records_name_the_client_and_never_an_app() {
    let lab = Lab::new();
    let client = lab.tether();
    let daemon = start(&lab, &(FILTER.to_owned() + &more_rules()));
    for family in Family::BOTH {
        let (dns, web) = (addresses(family).dns, addresses(family).web);
        let address = Client::address(family);
        let name = format!("v6{}.{BLOCKED}", web.is_ipv6());
        assert_eq!(client.dig(dns, &name, ""), "");
        let seen = told(&lab, &daemon, &name, EvidenceKind::Dns);
        assert_eq!(seen.outcome, Outcome::Blocked);
        assert_eq!((seen.client, seen.local.ip()), (Some(address), address));
        // Its rule is for an app, and this is none.
        assert_ne!(client.dig(dns, OF_THE_APP, ""), "", "{family}");
        assert!(is_served(
            &client,
            "http",
            &format!("web.{OF_THE_APP}"),
            web
        ));
        let line = ask(&lab, &daemon, "log").ok();
        let sender = format!("blocked      hotspot client {address}");
        assert!(line.contains(&sender), "{line}");
    }
    // The phone's own are told apart.
    assert_eq!(lab.dig(Family::V4, OF_THE_APP, "A").ok(), "");
    let own = record(&lab, &daemon, |it| it.app.as_deref() == Some(APP));
    assert_eq!(own.client, None);
    let clients = Family::BOTH.map(Client::address);
    for it in records(&lab, &daemon) {
        let is_client = clients.contains(&it.local.ip());
        assert_eq!(it.client.is_some(), is_client, "{it:?}");
        assert!(
            !is_client || (it.app.is_none() && it.uid.is_none()),
            "{it:?}"
        );
    }
}

#[test]
fn a_blocked_address_gets_not_even_a_first_packet() {
    let lab = Lab::new();
    let client = lab.tether();
    let daemon = start(&lab, &(FILTER.to_owned() + &more_rules()));
    for family in Family::BOTH {
        lab.count_arriving(family, "tcp", "-p tcp --dport 8080");
        lab.count_arriving(family, "udp", "-p udp --dport 5000");
        let (sink, web) = (addresses(family).sink, addresses(family).web);
        let connect = |address: IpAddr| {
            let to = SocketAddr::new(address, 8080);
            client.run(&format!("curl --silent --max-time 2 http://{to}/"))
        };
        assert_eq!(connect(sink).code, Some(28), "{family}: it waits");
        assert_eq!(lab.arrived(family, "tcp"), 0, "{family}");
        connect(web).ok();
        let socket = client.namespace.within(|| {
            let any = SocketAddr::new(Client::address(family), 0);
            std::net::UdpSocket::bind(any).expect("its own address")
        });
        let say = |to: IpAddr| {
            socket
                .send_to(b"anything", (to, 5000))
                .expect("there is a route");
        };
        say(sink);
        say(web);
        wait_for("what is allowed", SOON, || lab.arrived(family, "udp") == 1);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let seen = record(&lab, &daemon, |it| {
                it.protocol == protocol && it.remote.ip() == sink
            });
            let told = (seen.outcome, seen.client);
            let wanted = (Outcome::Blocked, Some(Client::address(family)));
            assert_eq!(told, wanted, "{seen:?}");
        }
    }
}

#[test]
fn a_hello_in_pieces_is_refused() {
    let lab = Lab::new();
    let client = lab.tether();
    let daemon = start(&lab, FILTER);
    for family in Family::BOTH {
        let sink = SocketAddr::new(addresses(family).sink, 443);
        for place in [NamePlace::First, NamePlace::Last] {
            for cut in [3, 100, 1400] {
                let case = format!("{family} {place:?} {cut}");
                let name = format!("{place:?}{cut}-{}.{BLOCKED}", sink.is_ipv6());
                let name = name.to_lowercase();
                let before = lab.server.received(sink);
                let hello = client_hello(&name, place);
                let mut asker = TcpAsker::of(&client.namespace, sink);
                asker.send_pieces([&hello[..cut], &hello[cut..]]);
                let seen = told(&lab, &daemon, &name, EvidenceKind::Sni);
                let told = (seen.outcome, seen.client);
                let wanted = (Outcome::Blocked, Some(Client::address(family)));
                assert_eq!(told, wanted, "{case}");
                assert!(lab.server.received(sink) < before + hello.len(), "{case}");
                // The same in as many pieces with another name comes through whole.
                let before = lab.server.received(sink);
                let hello = client_hello("free.example", place);
                let mut asker = TcpAsker::of(&client.namespace, sink);
                asker.send_pieces([&hello[..cut], &hello[cut..]]);
                lab.server.wait_received(sink, before + hello.len());
            }
        }
    }
    let all = records(&lab, &daemon);
    let nobodys: Vec<_> = all.iter().filter(|it| it.client.is_none()).collect();
    assert!(nobodys.is_empty(), "{nobodys:?}");
}

#[test]
fn quic_is_refused_without_a_word() {
    let mut lab = Lab::new();
    quic::start_servers(&mut lab, false);
    let client = lab.tether();
    let daemon = start(&lab, FILTER);
    for family in Family::BOTH {
        let web = addresses(family).web;
        lab.count_arriving(family, "quic", "-p udp --dport 443");
        let name = format!("v6{}.{BLOCKED}", web.is_ipv6());
        let to = SocketAddr::new(web, 443);
        let seen = quic::client_with(|line| client.run(line), &name, to, "");
        assert_eq!(seen.quic, "silence", "{family}: {seen:?}");
        assert_eq!(
            seen.tcp.as_deref(),
            Some("TimeoutError"),
            "{family}: {seen:?}"
        );
        assert_eq!(lab.arrived(family, "quic"), 0, "{family}");
        let told = record(&lab, &daemon, |it| {
            it.protocol == Protocol::Udp && it.name.as_deref() == Some(&name)
        });
        assert_eq!(told.client, Some(Client::address(family)));
        let seen = quic::client_with(|line| client.run(line), "free.example", to, "");
        assert_eq!(seen.quic, "served", "{family}: {seen:?}");
    }
}

/// Neither what a server sends nor the client's acknowledgments of it.
#[test]
fn a_connection_of_a_client_costs_two_packets() {
    let mut lab = Lab::new();
    lab.start_https(&[]);
    let client = lab.tether();
    let daemon = start(&lab, FILTER);
    let mut seen = 0;
    for family in Family::BOTH {
        for scheme in ["http", "https"] {
            let web = addresses(family).web;
            assert!(is_served(&client, scheme, "free.example", web));
            seen += 2;
            let packets = queue(&lab, &daemon, "connections").counters.packets;
            assert_eq!(
                packets, seen,
                "{family} {scheme}: the SYN and what names the host"
            );
        }
    }
}

/// As phones give IPv6 to their clients.
#[test]
fn a_client_without_translation_is_filtered_too() {
    let lab = Lab::new();
    let client = lab.tether();
    let address = client.use_global_address(&lab);
    let daemon = start(&lab, FILTER);
    let dns = addresses(Family::V6).dns;
    assert_eq!(client.dig(dns, BLOCKED, ""), "");
    assert!(!lab.was_asked_for(BLOCKED));
    assert_ne!(client.dig(dns, "free.example", ""), "");
    let seen = told(&lab, &daemon, BLOCKED, EvidenceKind::Dns);
    assert_eq!(
        (seen.outcome, seen.client),
        (Outcome::Blocked, Some(address))
    );
}

#[test]
fn observing_lets_clients_pass_and_says_what_it_would_block() {
    let lab = Lab::new();
    let client = lab.tether();
    let daemon = start(&lab, &format!("mode = \"observe\"\n{FILTER}"));
    for family in Family::BOTH {
        assert_ne!(
            client.dig(addresses(family).dns, BLOCKED, ""),
            "",
            "{family}"
        );
        let seen = record(&lab, &daemon, |it| {
            it.client == Some(Client::address(family))
        });
        assert_eq!(seen.outcome, Outcome::WouldBlock);
    }
}

/// What a client asks the phone's own resolver is the phone's question, whatever is set.
#[test]
fn what_clients_ask_the_phones_resolver_is_refused_at_once() {
    let mut lab = Lab::new();
    let client = lab.tether();
    lab.phone
        .write_sysctl("net/ipv4/ip_unprivileged_port_start", "53");
    lab.spawn(
        "setpriv --reuid=1052 --regid=1052 --clear-groups dnsmasq --keep-in-foreground \
         --conf-file=/dev/null --no-resolv --no-hosts --bind-interfaces --pid-file= \
         --listen-address=10.99.0.1,fd99::1 --server=203.0.113.53",
    );
    let resolvers: [IpAddr; 2] = ["10.99.0.1", "fd99::1"].map(|it| it.parse().expect("one"));
    wait_for("the phone's resolver", SOON, || {
        resolvers
            .iter()
            .all(|&it| lab.phone.is_listening("udp", it, 53))
    });
    let daemon = start(&lab, "");
    for resolver in resolvers {
        let line = format!("dig +tries=1 +time=2 @{resolver} {BLOCKED} A");
        let said = client.run(&line).ok();
        assert!(said.contains("NXDOMAIN"), "{said}");
        assert_ne!(client.dig(resolver, "free.example", ""), "");
    }
    assert!(!lab.was_asked_for(BLOCKED));
    let seen = told(&lab, &daemon, BLOCKED, EvidenceKind::Dns);
    let label = "dns_tether (for hotspot clients)";
    assert_eq!((seen.app.as_deref(), seen.client), (Some(label), None));
}
