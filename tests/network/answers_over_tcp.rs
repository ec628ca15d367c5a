//! Answers over TCP: aliases in them are refused as those over UDP are, whoever asks, and the
//! connection goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::decide::Outcome;
use muzzle::firewall::Family;

use crate::answers::ZONE;
use crate::clients::{A, TcpAsker, TcpEnd, framed, query, told};
use crate::lab::{APP_UID, Lab, addresses};
use crate::resolvers::{LIMIT, musl_resolver};
use crate::running::{Door, queue, record, reload, start};

/// [`ZONE`], and names with so many addresses that they come over TCP only: large.example, which is an
/// alias of a blocked one, and much.example.
fn zone() -> Vec<String> {
    let zone = ZONE.into_iter().map(str::to_owned);
    let alias = "--cname=large.example,many.blocked.example".to_owned();
    let addresses = ["many.blocked.example", "much.example"].into_iter();
    let addresses = addresses.flat_map(|name| {
        (1..=90).map(move |last| {
            format!("--host-record={name},198.51.100.{last},2001:db8:7::{last:x}")
        })
    });
    zone.chain([alias]).chain(addresses).collect()
}

fn lab() -> Lab {
    let zone = zone();
    Lab::with_dns(&zone.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn an_alias_over_tcp_is_refused_and_the_connection_goes_on() {
    let lab = lab();
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for family in Family::BOTH {
        let resolver = SocketAddr::new(addresses(family).dns, 53);
        let mut asker = TcpAsker::new(&lab, resolver);
        let names = [
            "near.example",
            "alias.example",
            "large.example",
            "much.example",
        ];
        for round in 0..2 {
            for (id, name) in (0_u16..).zip(names) {
                asker.send(&framed(&query(id, name, A)));
                let answer = asker.answer().expect("an answer");
                let case = format!("{family} {round} {name}");
                assert_eq!(answer.metadata.id, id, "{case}");
                let expected = match name {
                    "alias.example" => (ResponseCode::NoError, 1),
                    "much.example" => (ResponseCode::NoError, 90),
                    _ => (ResponseCode::NXDomain, 0),
                };
                let (code, found) = told(&answer);
                assert_eq!((code, found.len()), expected, "{case}");
            }
        }
        // All of them at once.
        let ids = 0_u16..;
        let all: Vec<u8> = ids
            .zip(names)
            .flat_map(|(id, name)| framed(&query(id, name, A)))
            .collect();
        asker.send(&all);
        for id in 0..4 {
            let answer = asker.answer().expect("an answer");
            assert_eq!(answer.metadata.id, id, "{family}");
            let (code, _) = told(&answer);
            let is_refused = code == ResponseCode::NXDomain;
            assert_eq!(is_refused, id % 2 == 0, "{family} {id}");
        }
        let told = record(&lab, &daemon, |it| {
            it.asked.as_deref() == Some("near.example") && it.remote == resolver
        });
        assert_eq!(told.outcome, Outcome::Blocked, "{family}");
        assert_eq!(told.name.as_deref(), Some("x.blocked.example"));
    }
    door.assert_nothing_forged_left();
    let dns = queue(&lab, &daemon, "dns");
    let counters = dns.counters;
    assert_eq!(counters.answers_refused, 12, "{counters:?}");
    assert_eq!(counters.severed, 0, "{counters:?}");
    assert_eq!((counters.verdict_failed, dns.passed_unseen), (0, Some(0)));
}

/// dig, glibc with `use-vc`, and where the answer over UDP was cut both libcs: musl 1.2.3 makes do
/// with its start.
#[test]
fn resolvers_of_programs_are_told_at_once_over_tcp() {
    let lab = lab();
    let musl = musl_resolver(lab.folder()).display().to_string();
    let daemon = start(&lab, "");
    let glibc = "getent ahosts".to_owned();
    let vc = "options use-vc";
    let cases = [
        (&glibc, vc, "far.example"),
        (&glibc, vc, "large.example"),
        (&glibc, "", "large.example"),
        (&musl, "", "large.example"),
    ];
    for (setting, code, printed) in [("nxdomain", 2, ""), ("zero", 0, "0.0.0.0")] {
        reload(&lab, &daemon, &format!("[dns]\nanswer = \"{setting}\"")).ok();
        for family in Family::BOTH {
            for (program, options, name) in cases {
                let case = format!("{setting} {family} {program} {options} {name}");
                lab.phone.configure_resolver(addresses(family).dns, options);
                let told = lab.phone_as(APP_UID, &format!("{LIMIT} {program} {name}"));
                assert_eq!(told.code, Some(code), "{case}: {told:?}");
                assert!(told.stdout.contains(printed), "{case}: {told:?}");
                assert!(!told.stdout.contains("198.51.100."), "{case}: {told:?}");
                for free in ["alias.example", "much.example"] {
                    let free = lab.phone_as(APP_UID, &format!("{LIMIT} {program} {free}"));
                    assert!(free.ok().contains("198.51.100."), "{case}");
                }
            }
        }
    }
    reload(&lab, &daemon, "").ok();
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        for options in ["+tcp", "+tcp +noedns", "+tcp +dnssec", ""] {
            let dig = format!("{LIMIT} dig +time=5 +tries=1 {options} @{dns}");
            for name in ["near.example A", "far.example AAAA", "large.example A"] {
                let case = format!("{family} {options} {name}");
                let text = lab.phone_as(APP_UID, &format!("{dig} {name}")).ok();
                assert!(text.contains("status: NXDOMAIN"), "{case}: {text}");
                assert!(!text.contains("CNAME"), "{case}: {text}");
                // What dig takes offence at.
                assert!(!text.contains(";; Warning"), "{case}: {text}");
                assert!(!text.contains("WARNING"), "{case}: {text}");
                assert!(!text.contains("expected"), "{case}: {text}");
            }
        }
    }
}

/// near.example is an alias of a blocked name, free.example has an address.
fn answer_to(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    (answer[2], answer[7]) = (0x81, 1);
    if query.windows(4).any(|it| it == b"near") {
        answer.extend(
            b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x0c\x01x\x07blocked\xc0\x11",
        );
    } else {
        answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
    }
    framed(&answer)
}

/// How an answer is cut: pieces of so many bytes, each a segment of its own, and the rest in a last
/// one; and whether its start is still there to be changed once an alias shows.
const CUTS: [(&[usize], bool); 6] = [
    (&[], true),
    (&[1], true),
    (&[2], true),
    (&[30], false),
    (&[3], false),
    (&[1, 1, 20, 5], false),
];

/// A resolver that answers one query a connection; its id says which of [`CUTS`] is made.
fn cutting_resolver(lab: &Lab, address: SocketAddr) {
    let listener = lab.internet.within(|| TcpListener::bind(address));
    let listener = listener.expect("nobody else listens");
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A client may go at any time.
            let _gone = answer_in_pieces(stream);
        }
    });
}

fn answer_in_pieces(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    let answer = answer_to(&query);
    let mut rest = &answer[..];
    for &bytes in CUTS[usize::from(query[1])].0 {
        let (piece, later) = rest.split_at(bytes);
        stream.write_all(piece)?;
        thread::sleep(Duration::from_millis(20));
        rest = later;
    }
    stream.write_all(rest)?;
    stream.read(&mut [0]).map(drop)
}

/// Asked directly, and where a redirect has another resolver answer than the one addressed.
#[test]
fn an_answer_in_pieces_is_refused_or_ends_its_connection() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let addresses = addresses(family);
        let resolver = SocketAddr::new(addresses.web, 53);
        let nobody = SocketAddr::new(addresses.other_dns, 53);
        cutting_resolver(&lab, resolver);
        let (program, address) = (addresses.iptables, addresses.other_dns);
        let rule =
            format!("-p tcp -d {address} --dport 53 -j DNAT --to-destination {resolver}");
        lab.phone(&format!("{program} -w 5 -t nat -A OUTPUT {rule}"))
            .ok();
        for asked in [resolver, nobody] {
            for (id, (pieces, can_be_changed)) in (0_u16..).zip(CUTS) {
                let case = format!("{family} {asked} {pieces:?}");
                let mut asker = TcpAsker::new(&lab, asked);
                asker.send(&framed(&query(id, "near.example", A)));
                match asker.answer() {
                    Ok(answer) if can_be_changed => {
                        assert_eq!(told(&answer).0, ResponseCode::NXDomain, "{case}");
                    }
                    Err(TcpEnd::Over) if !can_be_changed => {}
                    other => panic!("{case}: {other:?}"),
                }
                drop(asker); // the resolver has one client at a time
                let mut asker = TcpAsker::new(&lab, asked);
                asker.send(&framed(&query(id, "free.example", A)));
                let answer = asker.answer().expect(&case);
                assert_eq!(told(&answer).1.len(), 1, "{case}");
            }
            let told = record(&lab, &daemon, |it| {
                it.asked.as_deref() == Some("near.example") && it.remote == asked
            });
            assert_eq!(told.outcome, Outcome::Blocked, "{family} {asked}");
        }
    }
    let counters = queue(&lab, &daemon, "dns").counters;
    assert_eq!(counters.answers_refused, 24, "{counters:?}");
    assert_eq!(counters.destroy_failed, 0, "{counters:?}");
}
