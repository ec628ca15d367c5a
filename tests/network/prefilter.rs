//! Which packets the rules pick, told by their counters with real packets and nobody listening.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use muzzle::firewall::Family;
use muzzle::parse::http::starts_request;
use muzzle::parse::tls::starts_client_hello;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::firewall::{apply, plan};
use crate::lab::{Lab, addresses};

/// How often each rule of a chain was hit.
struct Hits<'a> {
    lab: &'a Lab,
    family: Family,
}

impl Hits<'_> {
    /// Hits so far of the one rule of the plan whose text holds `part`.
    fn of(&self, part: &str) -> u64 {
        let chains = plan().chains(self.family);
        let found = chains.iter().find_map(|chain| {
            let index = chain.rules.iter().position(|rule| rule.contains(part))?;
            Some((chain, index))
        });
        let (chain, index) = found.expect("the plan has such a rule");
        let program = addresses(self.family).iptables;
        let line = format!("{program} -w 5 -t {} -nvxL {}", chain.table, chain.name);
        let text = self.lab.phone(&line).ok();
        // Two lines of headings.
        let line = text.lines().nth(2 + index).expect("every rule has a line");
        let count = line
            .split_ascii_whitespace()
            .next()
            .expect("a line begins with packets");
        count.parse().expect("a counter is a number")
    }
}

const HELLO: &str = "--dport 443 -m u32";
const REQUEST: &str = "--dport 80 -m u32";
const SYN: &str = "FIN,SYN,RST,ACK SYN";
const ANSWER: &str = "-p udp -m udp --sport 53";

/// Sends each payload as a segment of its own over one connection.
fn send(lab: &Lab, address: SocketAddr, payloads: &[&[u8]]) {
    let mut sent = lab.server.received(address);
    let mut stream = lab
        .phone
        .within(|| TcpStream::connect(address))
        .expect("the sink listens");
    stream.set_nodelay(true).expect("a TCP socket");
    for payload in payloads {
        stream.write_all(payload).expect("the sink reads");
        sent += payload.len();
        lab.server.wait_received(address, sent);
    }
}

/// The start of a TLS record with the first byte of its content, and some of the rest.
fn record(kind: u8, version: [u8; 2], content: u8) -> Vec<u8> {
    [
        &[kind, version[0], version[1], 0x01, 0x00, content][..],
        &[0x2a; 40],
    ]
    .concat()
}

#[test]
fn a_client_hello_is_picked_and_nothing_else_of_a_tls_stream() {
    let lab = Lab::bare();
    let _iptables = apply(&lab, &plan());
    for (family, timestamps) in [
        (Family::V4, true),
        (Family::V6, true),
        (Family::V4, false),
        (Family::V6, false),
    ] {
        // With time stamps the TCP header is 32 bytes long, without 20.
        let value = if timestamps { "1" } else { "0" };
        lab.phone.write_sysctl("net/ipv4/tcp_timestamps", value);
        let hits = Hits { lab: &lab, family };
        let sink = SocketAddr::new(addresses(family).sink, 443);

        let (before, syns) = (hits.of(HELLO), hits.of(SYN));
        let hellos = [0, 1, 2, 3, 4].map(|minor| record(0x16, [3, minor], 0x01));
        let least = [0x16, 3, 1, 0, 0xff, 1];
        let picked: Vec<_> = hellos
            .iter()
            .map(Vec::as_slice)
            .chain([&least[..]])
            .collect();
        send(&lab, sink, &picked);
        assert_eq!(hits.of(HELLO) - before, picked.len() as u64, "{family}");
        assert!(picked.iter().all(|payload| starts_client_hello(payload)));
        assert_eq!(hits.of(SYN) - syns, 1, "{family}");

        let before = hits.of(HELLO);
        let others = [
            record(0x17, [3, 3], 0x01),
            // The client's second flight in TLS 1.2: ClientKeyExchange, or with a client
            // certificate Certificate; a ServerHello; a HelloRequest.
            record(0x16, [3, 3], 0x10),
            record(0x16, [3, 3], 0x0b),
            record(0x16, [3, 3], 0x02),
            record(0x16, [3, 3], 0x00),
            record(0x14, [3, 3], 0x01),
            record(0x15, [3, 3], 0x01),
            record(0x16, [3, 5], 0x01),
            record(0x16, [2, 3], 0x01),
            record(0x16, [4, 0], 0x01),
            b"GET / HTTP/1.1\r\n".to_vec(),
            vec![0x16],
            vec![0x16, 3, 1, 0],
            vec![0x16, 3, 1, 0, 0xff],
            vec![0x01; 1400],
        ];
        let others: Vec<_> = others.iter().map(Vec::as_slice).collect();
        send(&lab, sink, &others);
        assert_eq!(hits.of(HELLO) - before, 0, "{family}");
        assert!(!others.iter().any(|payload| starts_client_hello(payload)));
    }
}

/// Whether a payload is picked.
type Picks = fn(&[u8]) -> bool;

/// What is asked of the kernel in text is in code too, for captures.
#[test]
fn the_kernel_and_replay_pick_the_same_payloads() {
    let lab = Lab::bare();
    let _iptables = apply(&lab, &plan());
    let hello = [0x16, 3, 1, 0, 0xff, 1, 0, 0];
    for family in Family::BOTH {
        let hits = Hits { lab: &lab, family };
        let cases: [(&str, u16, &[u8], Picks); 2] = [
            (HELLO, 443, &hello, starts_client_hello),
            (REQUEST, 80, b"PUT /x H", starts_request),
        ];
        for (rule, port, start, picks) in cases {
            let mut payloads: Vec<_> =
                (1..=start.len()).map(|end| start[..end].to_vec()).collect();
            for at in 0..start.len() {
                for value in [0, 1, 2, 3, 4, 5, 0x15, 0x17, b'P', b'p', b' ', 0xff] {
                    let mut payload = start.to_vec();
                    payload[at] = value;
                    payloads.push(payload);
                }
            }
            let payloads: Vec<_> = payloads.iter().map(Vec::as_slice).collect();
            let expected = payloads.iter().filter(|payload| picks(payload)).count();
            assert!(
                expected > 10 && expected < payloads.len() - 10,
                "{expected}"
            );
            let before = hits.of(rule);
            send(
                &lab,
                SocketAddr::new(addresses(family).sink, port),
                &payloads,
            );
            assert_eq!(hits.of(rule) - before, expected as u64, "{family} {rule}");
        }
    }
}

#[test]
fn an_http_request_is_picked_by_its_method() {
    let lab = Lab::bare();
    let _iptables = apply(&lab, &plan());
    for family in Family::BOTH {
        let hits = Hits { lab: &lab, family };
        let sink = SocketAddr::new(addresses(family).sink, 80);
        let methods = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE",
        ];
        let picked = methods.map(|method| format!("{method} /x"));
        let picked: Vec<_> = picked
            .iter()
            .map(String::as_bytes)
            .chain([&b"GET "[..]])
            .collect();
        let before = hits.of(REQUEST);
        send(&lab, sink, &picked);
        assert_eq!(hits.of(REQUEST) - before, picked.len() as u64, "{family}");
        assert!(picked.iter().all(|payload| starts_request(payload)));

        let before = hits.of(REQUEST);
        let others: [&[u8]; 8] = [
            b"GET",
            b"get / HTTP/1.1",
            b"GETS / HTTP/1.1",
            b"HTTP/1.1 200 OK",
            b"PRI * HTTP/2.0",
            b" GET / HTTP/1.1",
            b"\x16\x03\x01\x01\x00\x01\x00\x00",
            &[0; 1400],
        ];
        send(&lab, sink, &others);
        assert_eq!(hits.of(REQUEST) - before, 0, "{family}");
        assert!(!others.iter().any(|payload| starts_request(payload)));
    }
}

#[test]
fn one_packet_of_a_real_handshake_is_picked() {
    let mut lab = Lab::bare();
    lab.start_https(&[]);
    let _iptables = apply(&lab, &plan());
    for family in Family::BOTH {
        let hits = Hits { lab: &lab, family };
        let web = SocketAddr::new(addresses(family).web, 443);
        for version in ["-tls1_2", "-tls1_3"] {
            let (before, syns) = (hits.of(HELLO), hits.of(SYN));
            let line =
                format!("openssl s_client -connect {web} {version} -servername a.example");
            lab.phone(&line).ok();
            assert_eq!(hits.of(HELLO) - before, 1, "{family} {version}");
            assert_eq!(hits.of(SYN) - syns, 1, "{family} {version}");
        }
    }
}

#[test]
fn dns_is_picked_on_the_way_out_and_its_answers_on_the_way_in() {
    let lab = Lab::new();
    let _iptables = apply(&lab, &plan());
    for family in Family::BOTH {
        let hits = Hits { lab: &lab, family };
        let udp = "-p udp -m udp --dport 53";
        lab.dig(family, "one.example", "A").ok();
        assert_eq!((hits.of(udp), hits.of(ANSWER)), (1, 1), "{family}");
        // Each packet of DNS over TCP goes to the queue of DNS, its SYN too.
        let (tcp, dns) = ("-p tcp -m tcp --dport 53", addresses(family).dns);
        lab.phone(&format!("dig +tcp +tries=1 +time=2 @{dns} two.example"))
            .ok();
        assert!(hits.of(tcp) >= 4, "{family}");
        // The other end's SYN, its acknowledgment and its answer at least.
        assert!(hits.of("-p tcp -m tcp --sport 53") >= 3, "{family}");
        assert_eq!((hits.of(SYN), hits.of(udp)), (0, 1), "{family}");
        // A resolver on the phone itself is none of our business.
        let phone = addresses(family).phone;
        lab.phone(&format!("dig +tries=1 +time=1 @{phone} three.example"));
        assert_eq!(hits.of(udp), 1, "{family}");
    }
}

#[test]
fn an_answer_nobody_asked_for_is_not_picked() {
    let lab = Lab::bare();
    let _iptables = apply(&lab, &plan());
    for family in Family::BOTH {
        let (hits, addresses) = (Hits { lab: &lab, family }, addresses(family));
        let phone = lab
            .phone
            .within(|| UdpSocket::bind((addresses.phone, 0)))
            .expect("its own");
        let port = phone.local_addr().expect("bound").port();
        lab.internet.within(|| {
            let socket = UdpSocket::bind((addresses.dns, 53)).expect("nobody else listens");
            socket
                .send_to(b"unasked", (addresses.phone, port))
                .expect("the phone is there");
        });
        assert_eq!(phone.recv(&mut [0; 16]).expect("it came"), 7);
        assert_eq!(hits.of(ANSWER), 0, "{family}");
    }
}

/// Header lengths are read, not assumed: IP options (a header of 24 to 60 bytes) and TCP options.
#[test]
fn header_options_do_not_mislead() {
    let lab = Lab::bare();
    let _iptables = apply(&lab, &plan());
    let hits = Hits {
        lab: &lab,
        family: Family::V4,
    };
    let addresses = addresses(Family::V4);
    let (IpAddr::V4(phone), IpAddr::V4(sink)) = (addresses.phone, addresses.sink) else {
        panic!("IPv4 addresses are IPv4 addresses")
    };
    let hello = record(0x16, [3, 1], 0x01);
    for (ip_words, tcp_words) in [(5, 5), (6, 5), (15, 5), (5, 15), (15, 15), (7, 9)] {
        let mut packet = vec![1; 4 * usize::from(ip_words + tcp_words)];
        packet[..10].copy_from_slice(&[0x40 | ip_words, 0, 0, 0, 0, 0, 0, 0, 64, 6]);
        packet[12..16].copy_from_slice(&phone.octets());
        packet[16..20].copy_from_slice(&sink.octets());
        let tcp = 4 * usize::from(ip_words);
        packet[tcp..tcp + 4].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
        packet[tcp + 12..tcp + 14].copy_from_slice(&[tcp_words << 4, 0x18]);
        // Options that a careless expression would take for the payload.
        for (kind, expected) in [(0x16, 1), (0x17, 0)] {
            let before = hits.of(HELLO);
            let mut whole = packet.clone();
            whole.extend_from_slice(&hello);
            whole[tcp + 4 * usize::from(tcp_words)] = kind;
            send_raw(&lab, sink.into(), &whole);
            assert_eq!(
                hits.of(HELLO) - before,
                expected,
                "{ip_words} {tcp_words} {kind:#x}"
            );
        }
    }
}

/// Sends a whole IPv4 packet.
fn send_raw(lab: &Lab, to: IpAddr, packet: &[u8]) {
    let IpAddr::V4(to) = to else {
        panic!("IPv4 only")
    };
    lab.phone.within(|| {
        let raw = SockProtocol::Raw;
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            raw,
        );
        let socket = socket.expect("root may open a raw socket");
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
        sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty()).expect("it can be sent");
    });
}
