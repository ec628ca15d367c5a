//! A user's own redirect of DNS (`nat OUTPUT … -j DNAT`) works on while Muzzle answers: what is
//! forged leaves no trace in connection tracking, so that the next query of the same socket is
//! redirected as the first.

use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;

use crate::clients::{A, AAAA, TcpAsker, UdpAsker, framed, query, told};
use crate::firewall_trouble::scripts;
use crate::lab::{Lab, addresses};
use crate::running::{BLOCKED, start, status};

fn redirect(lab: &Lab, family: Family) {
    let addresses = addresses(family);
    let to = SocketAddr::new(addresses.other_dns, 53);
    for protocol in ["udp", "tcp"] {
        let rule = format!("-p {protocol} --dport 53 -j DNAT --to-destination {to}");
        let program = addresses.iptables;
        lab.phone(&format!("{program} -w 5 -t nat -A OUTPUT {rule}"))
            .ok();
    }
}

/// On one socket, in every order of blocked and allowed names.
fn assert_redirected(lab: &Lab) {
    for family in Family::BOTH {
        redirect(lab, family);
        let dns = addresses(family).dns;
        let elsewhere = (ResponseCode::NoError, vec![addresses(Family::V4).sink]);
        let blocked = (ResponseCode::NXDomain, vec![]);
        for order in ["bf", "fb", "bbf", "fbf", "fbfbbf"] {
            let asker = UdpAsker::new(lab, dns);
            for (id, letter) in (1..).zip(order.chars()) {
                let (name, wanted) = match letter {
                    'b' => (BLOCKED, &blocked),
                    _ => ("free.example", &elsewhere),
                };
                let case = format!("{family} {order}, query {id}");
                let answer = asker.ask(&query(id, name, A));
                let answer = answer.unwrap_or_else(|| panic!("{case}: no answer at once"));
                assert_eq!(&told(&answer), wanted, "{case}");
            }
        }
        let to = SocketAddr::new(dns, 53);
        let mut asker = TcpAsker::new(lab, to);
        asker.send(&framed(&query(1, "free.example", A)));
        let case = format!("{family} over TCP");
        assert_eq!(told(&asker.answer().expect(&case)), elsewhere, "{case}");
        asker.send(&framed(&query(2, BLOCKED, AAAA)));
        assert_eq!(told(&asker.answer().expect(&case)), blocked, "{case}");
        let mut asker = TcpAsker::new(lab, to);
        asker.send(&framed(&query(3, BLOCKED, AAAA)));
        assert_eq!(told(&asker.answer().expect(&case)), blocked, "{case}");
    }
    // The resolver that the phone's apps address is never the one that is asked.
    assert!(!lab.was_asked_for("free.example") && !lab.was_asked_for(BLOCKED));
}

#[test]
fn a_redirect_works_on() {
    let mut lab = Lab::new();
    lab.start_other_dns();
    let daemon = start(&lab, "");
    assert_eq!(status(&lab, &daemon).warnings, [""; 0]);
    assert_redirected(&lab);
    // Nothing of the forged answers is tracked: no flow that a resolver began.
    for family in Family::BOTH {
        let (flag, dns) = (
            if family == Family::V4 { "ipv4" } else { "ipv6" },
            addresses(family).dns,
        );
        let flows = lab.phone(&format!("conntrack -L -f {flag} --orig-src {dns}"));
        assert_eq!(flows.ok(), "", "{family}");
    }
}

#[test]
fn a_redirect_works_on_without_the_ct_target() {
    let mut lab = Lab::new();
    lab.start_other_dns();
    let without_ct =
        "if grep -q 'CT --notrack' $INPUT; then echo unknown target CT >&2; exit 2; fi";
    let program = scripts(&lab, without_ct);
    let daemon = start(
        &lab,
        &format!("[firewall]\niptables = \"{}\"", program.display()),
    );
    let warnings = status(&lab, &daemon).warnings;
    assert!(
        warnings.iter().any(|it| it.contains("no CT --notrack")),
        "{warnings:?}"
    );
    assert_redirected(&lab);
}
