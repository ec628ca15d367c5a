//! Who sent it: rules for one app, the names in the log, and what `observe` makes of blocks.

use std::net::SocketAddr;

use muzzle::decide::Outcome;
use muzzle::firewall::Family;
use muzzle::record::EvidenceKind;

use crate::clients::{A, TcpAsker, UdpAsker, client_hello, framed, query, told};
use crate::lab::{APP_UID, Lab, addresses};
use crate::running::{APP, BLOCKED, queue, record, records, start};

/// Another app, which `packages.list` does not name.
const OTHER_UID: u32 = 10_200;

#[test]
fn a_rule_for_an_app_is_for_that_app_alone() {
    let lab = Lab::new();
    let rules = format!(
        "[[rule]]\nname = \"one.example\"\napp = \"{APP}\"\naction = \"block\"\n\
         [[rule]]\napp = \"{APP}\"\nport = 8080\naction = \"block\"\n"
    );
    let daemon = start(&lab, &rules);
    for family in Family::BOTH {
        let (dns, web) = (addresses(family).dns, addresses(family).web);
        let to = SocketAddr::new(web, 8080);
        for (uid, blocked) in [
            (APP_UID, true),
            (OTHER_UID, false),
            (1_000_000 + APP_UID, true),
        ] {
            let case = format!("{family} uid {uid}");
            for tcp in ["+notcp", "+tcp"] {
                let dig = format!("dig +tries=1 +time=2 {tcp} @{dns} one.example A");
                let text = lab.phone_as(uid, &dig).ok();
                assert_eq!(
                    text.contains("status: NXDOMAIN"),
                    blocked,
                    "{case} {tcp}: {text}"
                );
                assert_eq!(
                    text.contains("198.51.100.7"),
                    !blocked,
                    "{case} {tcp}: {text}"
                );
            }
            let url = format!("http://{to}/");
            let code = lab
                .phone_as(uid, &format!("curl -s --max-time 3 {url}"))
                .code;
            assert_eq!(code == Some(0), !blocked, "{case}: curl {code:?}");
            assert_ne!(code, Some(28), "{case}: not at once");
        }
        let told_of = |uid: u32, evidence: EvidenceKind| {
            record(&lab, &daemon, |it| {
                it.uid == Some(uid)
                    && it.evidence == evidence
                    && it.remote.ip()
                        == match evidence {
                            EvidenceKind::Dns => dns,
                            _ => web,
                        }
            })
        };
        for evidence in [EvidenceKind::Dns, EvidenceKind::Syn] {
            let it = told_of(APP_UID, evidence);
            assert_eq!(
                (it.app.as_deref(), it.outcome),
                (Some(APP), Outcome::Blocked),
                "{it:?}"
            );
            assert!(it.reason.contains(&format!("for {APP}")), "{it:?}");
            let other = told_of(OTHER_UID, evidence);
            assert_eq!(other.outcome, Outcome::Allowed, "{other:?}");
            let name = other.app.expect("its uid at least");
            assert_eq!(name, format!("uid {OTHER_UID} (unknown app)"));
            let twin = told_of(1_000_000 + APP_UID, evidence);
            assert_eq!(twin.app.as_deref(), Some("com.example.app (user 10)"));
        }
    }
}

#[test]
fn observe_lets_everything_pass_and_says_what_it_would_block() {
    let lab = Lab::new();
    let daemon = start(&lab, "mode = \"observe\"");
    for family in Family::BOTH {
        let (dns, sink) = (addresses(family).dns, addresses(family).sink);
        let answer = UdpAsker::new(&lab, dns)
            .ask(&query(1, BLOCKED, A))
            .expect("an answer");
        assert_eq!(told(&answer).1, [addresses(Family::V4).web], "{family}");
        let mut asker = TcpAsker::new(&lab, SocketAddr::new(dns, 53));
        asker.send(&framed(&query(2, BLOCKED, A)));
        let answer = asker.answer().expect("an answer");
        assert_eq!(told(&answer).1, [addresses(Family::V4).web], "{family}");
        let request = format!("GET / HTTP/1.1\r\nHost: {BLOCKED}\r\n\r\n");
        let hello = client_hello(BLOCKED, crate::clients::NamePlace::First);
        for (port, payload) in [(443, hello), (80, request.into_bytes())] {
            let to = SocketAddr::new(sink, port);
            let mut asker = TcpAsker::new(&lab, to);
            asker.send(&payload);
            lab.server.wait_received(to, payload.len());
        }
        for evidence in [EvidenceKind::Dns, EvidenceKind::Sni, EvidenceKind::Host] {
            let it = record(&lab, &daemon, |it| {
                it.evidence == evidence && it.remote.is_ipv6() == (family == Family::V6)
            });
            assert_eq!(it.outcome, Outcome::WouldBlock, "{it:?}");
            assert_eq!(it.name.as_deref(), Some(BLOCKED), "{it:?}");
        }
    }
    let refused = |purpose| {
        let counters = queue(&lab, &daemon, purpose).counters;
        counters.packets - counters.passed
    };
    assert_eq!((refused("dns"), refused("connections")), (0, 0));
    assert!(
        records(&lab, &daemon)
            .iter()
            .all(|it| it.outcome != Outcome::Blocked)
    );
}
