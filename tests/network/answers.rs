//! Answers of a real resolver: a blocked name does not hide behind an alias, and connections
//! without a name are shown with those their address was told for.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use muzzle::decide::Outcome;
use muzzle::firewall::Family;
use muzzle::record::{EvidenceKind, Record};

use crate::clients::{A, AAAA, HTTPS, UdpAsker, query, told};
use crate::firewall_trouble::scripts;
use crate::lab::{APP_UID, Daemon, Lab, addresses};
use crate::resolvers::{LIMIT, musl_resolver};
use crate::running::ask as ask_muzzle;
use crate::running::{APP, Door, queue, record, records, reload, start, status};

/// Aliases of a name below [`BLOCKED`], which blocks it, in dnsmasq's words: one step away, two
/// steps away, in an HTTPS record; and names that are what they are.
pub(crate) const ZONE: [&str; 8] = [
    "--host-record=x.blocked.example,198.51.100.7,2001:db8:7::7",
    "--cname=near.example,x.blocked.example",
    "--cname=far.example,between.example",
    "--cname=between.example,x.blocked.example",
    // SvcPriority 1, TargetName x.blocked.example.
    "--dns-rr=service.example,65,0001017807626c6f636b6564076578616d706c6500",
    "--host-record=free.example,198.51.100.7,2001:db8:7::7",
    "--host-record=other.example,198.51.100.7,2001:db8:7::7",
    "--cname=alias.example,free.example",
];

fn asked(lab: &Lab, family: Family, name: &str, qtype: u16) -> Option<Message> {
    UdpAsker::new(lab, addresses(family).dns).ask(&query(7, name, qtype))
}

#[track_caller]
fn assert_refused(lab: &Lab, family: Family, name: &str, qtype: u16) {
    let case = format!("{family} {name} {qtype}");
    let answer = asked(lab, family, name, qtype);
    let answer = answer.unwrap_or_else(|| panic!("{case}: no answer at once"));
    assert_eq!(told(&answer), (ResponseCode::NXDomain, vec![]), "{case}");
    let soa = answer.authorities.first();
    let soa = soa.unwrap_or_else(|| panic!("{case}: {answer}"));
    assert!(soa.data.to_string().contains("muzzle.invalid."), "{case}");
}

#[track_caller]
fn assert_served(lab: &Lab, family: Family, name: &str) {
    for (qtype, web) in [(A, Family::V4), (AAAA, Family::V6)] {
        let answer = asked(lab, family, name, qtype).expect("an answer");
        let expected = (ResponseCode::NoError, vec![addresses(web).web]);
        assert_eq!(told(&answer), expected, "{family} {name} {qtype}");
    }
}

#[test]
fn an_alias_of_a_blocked_name_is_refused_and_told_of() {
    let lab = Lab::with_dns(&ZONE);
    for family in Family::BOTH {
        // Without Muzzle these names have addresses.
        assert_served(&lab, family, "near.example");
        assert_served(&lab, family, "far.example");
    }
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for family in Family::BOTH {
        for name in ["near.example", "FAR.example"] {
            assert_refused(&lab, family, name, A);
            assert_refused(&lab, family, name, AAAA);
        }
        assert_refused(&lab, family, "service.example", HTTPS);
        assert_served(&lab, family, "free.example");
        assert_served(&lab, family, "alias.example");
        // Nothing about the address is refused.
        let web = SocketAddr::new(addresses(family).web, 8080);
        let connected = lab.phone.within(|| TcpStream::connect(web));
        assert!(connected.is_ok(), "{family}");
    }
    door.assert_nothing_forged_left();
    assert!(lab.was_asked_for("near.example") && !lab.was_asked_for("x.blocked.example"));
    let dns = queue(&lab, &daemon, "dns");
    let counters = dns.counters;
    assert_eq!((counters.answers, counters.answers_refused), (18, 10));
    assert_eq!(
        (counters.answers_unasked, counters.answers_malformed),
        (0, 0)
    );
    assert_eq!((counters.packets, counters.passed), (18, 18));
    assert_eq!((counters.verdict_failed, dns.passed_unseen), (0, Some(0)));

    let of_app = lab.dig(Family::V4, "near.example", "A").ok();
    assert_eq!(of_app, "", "a refusal");
    let told = record(&lab, &daemon, |it| {
        it.uid == Some(APP_UID) && it.asked.is_some()
    });
    assert_eq!(told.outcome, Outcome::Blocked);
    assert_eq!(told.evidence, EvidenceKind::Alias);
    assert_eq!(told.name.as_deref(), Some("x.blocked.example"));
    assert_eq!(told.asked.as_deref(), Some("near.example"));
    assert_eq!((told.app.as_deref(), told.rule), (Some(APP), Some(1)));
    assert_eq!(told.remote.ip(), addresses(Family::V4).dns);
    let line = ask_muzzle(&lab, &daemon, "log").ok();
    assert!(
        line.contains("alias      for near.example: your rule 1"),
        "{line}"
    );
    let line = ask_muzzle(&lab, &daemon, "status").ok();
    assert!(
        line.contains("19 answers seen, 11 refused for an alias"),
        "{line}"
    );
}

#[test]
fn resolvers_of_programs_are_told_at_once() {
    let lab = Lab::with_dns(&ZONE);
    let musl = musl_resolver(lab.folder());
    let daemon = start(&lab, "");
    let programs = ["getent ahosts".to_owned(), musl.display().to_string()];
    for (setting, code, printed) in [("nxdomain", 2, ""), ("zero", 0, "0.0.0.0")] {
        reload(&lab, &daemon, &format!("[dns]\nanswer = \"{setting}\"")).ok();
        for family in Family::BOTH {
            let dns = addresses(family).dns;
            lab.phone.set_resolver(dns);
            for program in &programs {
                let case = format!("{setting} {family} {program}");
                let told = lab.phone_as(APP_UID, &format!("{LIMIT} {program} far.example"));
                assert_eq!(told.code, Some(code), "{case}: {told:?}");
                assert!(told.stdout.contains(printed), "{case}: {told:?}");
                assert!(!told.stdout.contains("198.51.100.7"), "{case}: {told:?}");
                let free = lab.phone_as(APP_UID, &format!("{LIMIT} {program} alias.example"));
                assert!(free.ok().contains("198.51.100.7"), "{case}");
            }
        }
    }
    reload(&lab, &daemon, "").ok();
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        for options in ["", "+noedns", "+dnssec", "+nocookie +bufsize=512"] {
            let dig = format!("{LIMIT} dig +time=5 +tries=1 {options} @{dns}");
            for qtype in ["A", "AAAA"] {
                let case = format!("{family} {options} {qtype}");
                let told = lab.phone_as(APP_UID, &format!("{dig} far.example {qtype}"));
                let text = told.ok();
                assert!(text.contains("status: NXDOMAIN"), "{case}: {text}");
                assert!(!text.contains("CNAME"), "{case}: {text}");
                // What dig takes offence at.
                assert!(!text.contains(";; Warning"), "{case}: {text}");
                assert!(!text.contains("expected"), "{case}: {text}");
            }
        }
    }
}

/// The answer to a redirected query comes from a resolver that the app never addressed.
#[test]
fn a_redirected_query_is_known_by_its_answer() {
    let lab = Lab::with_dns(&ZONE);
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let addresses = addresses(family);
        let (program, nobody) = (addresses.iptables, addresses.other_dns);
        let to = SocketAddr::new(addresses.dns, 53);
        let rule = format!("-p udp -d {nobody} --dport 53 -j DNAT --to-destination {to}");
        lab.phone(&format!("{program} -w 5 -t nat -A OUTPUT {rule}"))
            .ok();
        let asker = UdpAsker::new(&lab, nobody);
        // On one socket, in turns: what is rewritten leaves connection tracking as it was.
        for id in 0..3 {
            let refused = asker.ask(&query(id, "near.example", A)).expect("an answer");
            let expected = (ResponseCode::NXDomain, vec![]);
            assert_eq!(told(&refused), expected, "{family} {id}");
            let served = asker
                .ask(&query(id, "alias.example", A))
                .expect("an answer");
            assert_eq!(served.metadata.response_code, ResponseCode::NoError);
            assert!(!told(&served).1.is_empty(), "{family} {id}");
        }
        let told = record(&lab, &daemon, |it| {
            it.asked.is_some() && it.local == asker.local()
        });
        // As the app sees it.
        assert_eq!(told.remote, SocketAddr::new(nobody, 53), "{family}");
    }
}

#[test]
fn without_the_conntrack_match_answers_are_looked_at_all_the_same() {
    let lab = Lab::with_dns(&ZONE);
    let daemon = start_without(&lab, "ctstate");
    let warnings = status(&lab, &daemon).warnings;
    let lacks = |it: &String| it.contains("no conntrack match: every packet from a port 53");
    assert!(warnings.iter().any(lacks), "{warnings:?}");
    for family in Family::BOTH {
        assert_refused(&lab, family, "near.example", A);
        assert_served(&lab, family, "alias.example");
    }
}

#[test]
fn without_the_mangle_table_aliases_pass_and_questions_are_refused() {
    let lab = Lab::with_dns(&ZONE);
    let daemon = start_without(&lab, "'^[*]mangle'");
    let warnings = status(&lab, &daemon).warnings;
    let lacks = |it: &String| it.contains("no mangle table: DNS answers are not looked at");
    assert!(warnings.iter().any(lacks), "{warnings:?}");
    for family in Family::BOTH {
        assert_served(&lab, family, "near.example");
        assert_refused(&lab, family, "x.blocked.example", A);
    }
}

/// A daemon whose iptables refuses every batch that has such a line.
fn start_without(lab: &Lab, line: &str) -> Daemon {
    let refuse = format!("if grep -q {line} $INPUT; then echo no such thing >&2; exit 2; fi");
    let program = scripts(lab, &refuse);
    start(
        lab,
        &format!("[firewall]\niptables = \"{}\"", program.display()),
    )
}

#[test]
fn observing_lets_aliases_pass_and_a_reload_changes_what_is_looked_at() {
    let lab = Lab::with_dns(&ZONE);
    let daemon = start(&lab, "mode = \"observe\"");
    for family in Family::BOTH {
        assert_served(&lab, family, "near.example");
        let remote = SocketAddr::new(addresses(family).dns, 53);
        let told = record(&lab, &daemon, |it| {
            it.asked.is_some() && it.remote == remote
        });
        assert_eq!(told.outcome, Outcome::WouldBlock, "{family}");
    }
    reload(&lab, &daemon, "[dns]\nanswers = false").ok();
    assert!(!lab.saved_rules().contains("muzzle_in"));
    let before = queue(&lab, &daemon, "dns").counters.answers;
    for family in Family::BOTH {
        assert_served(&lab, family, "near.example");
    }
    let dns = queue(&lab, &daemon, "dns");
    assert_eq!((dns.counters.answers, dns.passed_unseen), (before, Some(0)));
    reload(&lab, &daemon, "").ok();
    for family in Family::BOTH {
        assert_refused(&lab, family, "near.example", A);
    }
    // Your rule for the name that is asked for decides.
    let rule = "[[rule]]\nname = \"near.example\"\naction = \"allow\"";
    let config = std::fs::read_to_string(&daemon.config).expect("it is there");
    std::fs::write(&daemon.config, format!("{config}\n{rule}\n")).expect("writable");
    ask_muzzle(&lab, &daemon, "reload").ok();
    for family in Family::BOTH {
        assert_served(&lab, family, "near.example");
        assert_refused(&lab, family, "far.example", A);
    }
    assert!(daemon.stop().success());
}

#[test]
fn a_connection_without_a_name_is_shown_with_those_of_its_address() {
    let lab = Lab::with_dns(&ZONE);
    let daemon = start(&lab, "");
    for (family, qtype) in [(Family::V4, A), (Family::V6, AAAA)] {
        let connect = |address, port: u16| -> Record {
            let to = SocketAddr::new(address, port);
            // Nobody listens there; the SYN is enough.
            let _refused = lab.phone.within(|| TcpStream::connect(to));
            record(&lab, &daemon, |it| it.remote == to)
        };
        let (web, sink) = (addresses(family).web, addresses(family).sink);
        let seen = connect(web, 5222);
        assert_eq!((seen.name, seen.resolved_from), (None, vec![]), "{family}");
        for name in ["free.example", "other.example", "alias.example"] {
            asked(&lab, family, name, qtype).expect("an answer");
        }
        // What was refused gave no address.
        assert_refused(&lab, family, "near.example", qtype);
        let seen = connect(web, 5223);
        let names = ["alias.example", "other.example", "free.example"];
        assert_eq!(seen.resolved_from, names, "{family}");
        assert_eq!(
            (seen.name, seen.evidence),
            (None, EvidenceKind::Syn),
            "{family}"
        );
        assert_eq!(connect(sink, 5223).resolved_from, [""; 0], "{family}");
        let line = ask_muzzle(&lab, &daemon, "log").ok();
        assert!(
            line.contains("connect    address of alias.example, other.example"),
            "{line}"
        );
    }
    // The names help to tell; the address passes whatever they are.
    let refused =
        |it: &Record| it.outcome == Outcome::Blocked && it.evidence == EvidenceKind::Syn;
    assert!(!records(&lab, &daemon).iter().any(refused));
}

#[test]
fn what_is_no_answer_to_a_question_reaches_the_app_as_it_is() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    let wait = Some(Duration::from_secs(2));
    for (round, family) in (1..).zip(Family::BOTH) {
        let resolver = SocketAddr::new(addresses(family).sink, 53);
        let socket = lab.internet.within(|| UdpSocket::bind(resolver));
        let socket = socket.expect("an address of the internet");
        socket.set_read_timeout(wait).expect("above 0");
        let asker = UdpAsker::new(&lab, resolver.ip());
        asker.send(&query(1, "near.example", A));
        let (_, app) = socket.recv_from(&mut [0; 512]).expect("the query");
        // near.example CNAME x.blocked.example, whatever comes before.
        let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x0c\x01x\x07blocked\xc0\x11";
        let answer = |id, name| {
            let mut message = query(id, name, A);
            (message[2], message[7]) = (0x81, 1);
            [&message[..], alias].concat()
        };
        let right = answer(1, "near.example");
        // The start of an answer will do.
        let mut truncated = right.clone();
        truncated[2] |= 2;
        let mut is_query = right.clone();
        is_query[2] &= 0x7f;
        let passing = [
            b"".to_vec(),
            b"GET / HTTP/1.1".to_vec(),
            vec![0xff; 1400],
            is_query,
            answer(2, "near.example"),
            answer(1, "fear.example"),
        ];
        for message in &passing {
            socket.send_to(message, app).expect("the phone is there");
            let came = asker.receive();
            assert_eq!(came.as_ref(), Some(message), "{family}");
        }
        for refused in [truncated, right] {
            socket.send_to(&refused, app).expect("the phone is there");
            let came = asker.receive().expect("a refusal");
            let came = Message::from_vec(&came).expect("an answer");
            assert!(!came.metadata.truncation, "{family}");
            let code = came.metadata.response_code;
            assert_eq!(code, ResponseCode::NXDomain, "{family}");
        }
        let counters = queue(&lab, &daemon, "dns").counters;
        let told = (
            counters.answers,
            counters.answers_malformed,
            counters.answers_unasked,
        );
        assert_eq!(told, (8 * round, 4 * round, 2 * round), "{family}");
        assert_eq!(counters.answers_refused, 2 * round, "{family}");
    }
}
