//! `[[answer]]`: refusals of single endpoints, told in another way than the rest.

use std::net::SocketAddr;

use muzzle::firewall::Family;

use crate::clients::{NamePlace, TcpAsker, client_hello};
use crate::lab::{APP_UID, Lab, addresses};
use crate::running::{APP, ask, start};

/// One name below the blocked one for each word, and two for what is for an app.
fn config() -> String {
    let words = ["nxdomain", "nodata", "zero", "refused", "drop", "reset"];
    let answer = |name: &str, word: &str, more: &str| {
        format!("[[answer]]\nname = \"{name}\"\nanswer = \"{word}\"\n{more}")
    };
    let each = words.map(|word| answer(&format!("{word}.blocked.example"), word, ""));
    let below = [
        answer("*.below.blocked.example", "zero", ""),
        answer("a.below.blocked.example", "refused", ""),
        answer("app.blocked.example", "refused", ""),
        answer(
            "*.app.blocked.example",
            "zero",
            &format!("app = \"{APP}\"\n"),
        ),
    ];
    [
        "[dns]\nanswer = \"nodata\"\n[connections]\nrefuse = \"drop\"\n",
        &each.concat(),
        &below.concat(),
    ]
    .concat()
}

/// What `dig` is told as the user with this id: its status and what it prints, or that it waits.
fn told(lab: &Lab, family: Family, uid: u32, name: &str) -> String {
    let dns = addresses(family).dns;
    let line = format!("dig +tries=1 +time=1 +noall +comments +answer @{dns} {name} A");
    let said = lab.phone_as(uid, &line).stdout;
    let status = said.split("status: ").nth(1);
    let status = status.map_or("", |rest| rest.split(',').next().unwrap_or(rest));
    let zero = if said.contains("\tA\t0.0.0.0") {
        " 0.0.0.0"
    } else {
        ""
    };
    format!("{status}{zero}")
}

#[test]
fn each_endpoint_is_answered_in_its_own_way_and_the_rest_as_everywhere() {
    let lab = Lab::new();
    let daemon = start(&lab, &config());
    for family in Family::BOTH {
        for (name, uid, expected) in [
            ("nxdomain.blocked.example", 0, "NXDOMAIN"),
            ("nodata.blocked.example", 0, "NOERROR"),
            ("zero.blocked.example", 0, "NOERROR 0.0.0.0"),
            ("refused.blocked.example", 0, "REFUSED"),
            ("drop.blocked.example", 0, ""),
            // How connections end says nothing of questions.
            ("reset.blocked.example", 0, "NOERROR"),
            ("other.blocked.example", 0, "NOERROR"),
            // The most specific name.
            ("b.below.blocked.example", 0, "NOERROR 0.0.0.0"),
            ("a.below.blocked.example", 0, "REFUSED"),
            // For an app, before one for all with a more specific name.
            ("app.blocked.example", APP_UID, "NOERROR 0.0.0.0"),
            ("app.blocked.example", 10_999, "REFUSED"),
        ] {
            assert_eq!(
                told(&lab, family, uid, name),
                expected,
                "{family}: {name} {uid}"
            );
        }
        let over_tcp = format!(
            "dig +tcp +tries=1 +time=2 @{} refused.blocked.example",
            addresses(family).dns
        );
        let said = lab.phone(&over_tcp).stdout;
        assert!(said.contains("status: REFUSED"), "{said}");
    }
    for (name, answer) in [
        (
            "refused.blocked.example",
            "refused to DNS, drop to connections",
        ),
        (
            "reset.blocked.example",
            "nodata to DNS, reset to connections",
        ),
        ("drop.blocked.example", "drop to DNS, drop to connections"),
    ] {
        let said = ask(&lab, &daemon, &format!("check {name}")).ok();
        assert!(said.contains(&format!("  answer   {answer}\n")), "{said}");
    }
}

#[test]
fn connections_to_an_endpoint_end_in_its_own_way() {
    let lab = Lab::bare();
    let _daemon = start(&lab, &config());
    for family in Family::BOTH {
        let to = SocketAddr::new(addresses(family).sink, 443);
        let hello = |name| {
            let mut asker = TcpAsker::new(&lab, to);
            asker.send(&client_hello(name, NamePlace::First));
            asker
        };
        assert!(hello("reset.blocked.example").is_over(), "{family}");
        let mut waiting = hello("other.blocked.example");
        assert!(!waiting.is_over(), "{family}");
    }
}
