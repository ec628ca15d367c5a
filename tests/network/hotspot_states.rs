//! Filtering hotspot clients: switched on and off, beside the rules of others, without what it needs,
//! and while Muzzle hangs or is gone.

use std::time::Duration;

use muzzle::config::HotspotClients;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::firewall_trouble::scripts;
use crate::hotspot::{FILTER, is_served};
use crate::lab::{Lab, addresses, freeze, send, wait_for};
use crate::running::{BLOCKED, ask, records, reload, start, status};

/// Long enough for whatever takes a moment.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn by_default_nothing_of_a_client_is_looked_at_and_a_reload_changes_that() {
    let lab = Lab::new();
    let client = lab.tether();
    let before = lab.saved_rules();
    let daemon = start(&lab, "");
    let ignores = |text: &str| {
        // Answers to what clients ask come in by the same door as those to the phone itself.
        let text = format!("[dns]\nanswers = false\n{text}");
        reload(&lab, &daemon, &text).ok();
        assert!(!lab.saved_rules().contains("FORWARD -j"), "{text}");
        let said = status(&lab, &daemon);
        assert_eq!(said.hotspot, HotspotClients::Ignore, "{text}");
        let seen: Vec<_> = said.queues.iter().map(|it| it.counters.packets).collect();
        for family in Family::BOTH {
            let (dns, web) = (addresses(family).dns, addresses(family).web);
            assert_ne!(client.dig(dns, BLOCKED, ""), "", "{family}");
            assert_ne!(client.dig(dns, BLOCKED, "+tcp"), "", "{family}");
            assert!(is_served(&client, "http", BLOCKED, web), "{family}");
        }
        let said = status(&lab, &daemon);
        let now: Vec<_> = said.queues.iter().map(|it| it.counters.packets).collect();
        assert_eq!(now, seen, "{text}: something was queued");
    };
    let refuses = |text: &str| {
        reload(&lab, &daemon, text).ok();
        assert_eq!(status(&lab, &daemon).hotspot, HotspotClients::Filter);
        for family in Family::BOTH {
            assert_eq!(
                client.dig(addresses(family).dns, BLOCKED, ""),
                "",
                "{family}"
            );
        }
    };
    ignores("");
    assert!(records(&lab, &daemon).is_empty());
    let said = ask(&lab, &daemon, "status").ok();
    assert!(
        said.contains("hotspot     clients are not filtered"),
        "{said}"
    );
    refuses(FILTER);
    let said = ask(&lab, &daemon, "status").ok();
    assert!(said.contains("hotspot     clients are filtered"), "{said}");
    let said = ask(&lab, &daemon, "doctor").ok();
    assert!(
        said.contains("note     hotspot clients are filtered"),
        "{said}"
    );
    ignores("[hotspot]\nclients = \"ignore\"\n");
    refuses(FILTER);
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
    assert_ne!(client.dig(addresses(Family::V4).dns, BLOCKED, ""), "");
}

/// What netd does with its chains is not undone by ours, nor ours lost for long by what it does.
#[test]
fn netds_own_rules_for_clients_still_apply_and_ours_come_back() {
    let lab = Lab::new();
    let client = lab.tether();
    // As netd does it, so that what a mobile network carries is not exceeded.
    let clamp = || {
        for family in Family::BOTH {
            let program = addresses(family).iptables;
            let rule = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1111";
            lab.phone(&format!("{program} -w 5 -t mangle -F FORWARD"))
                .ok();
            lab.phone(&format!("{program} -w 5 -t mangle -A FORWARD {rule}"))
                .ok();
        }
    };
    clamp();
    let daemon = start(&lab, FILTER);
    let rules = lab.saved_rules();
    let filters = |family| client.dig(addresses(family).dns, BLOCKED, "").is_empty();
    for family in Family::BOTH {
        lab.count_arriving(family, "small", "-p tcp --syn -m tcpmss --mss 1111");
        assert!(is_served(
            &client,
            "http",
            "free.example",
            addresses(family).web
        ));
        assert_eq!(lab.arrived(family, "small"), 1, "{family}");
        // What the phone's own firewall refuses of what we let pass stays refused.
        let program = addresses(family).iptables;
        let rule = "FORWARD -p udp --dport 53 -j DROP";
        lab.phone(&format!("{program} -w 5 -A {rule}")).ok();
        assert_eq!(client.dig(addresses(family).dns, "free.example", ""), "");
        lab.phone(&format!("{program} -w 5 -D {rule}")).ok();
    }
    // netd starts anew, and networks change then.
    clamp();
    assert!(!filters(Family::V4));
    lab.phone.ip("link add veth8 type veth peer name veth9");
    wait_for("the rules to be back", SOON, || lab.saved_rules() == rules);
    assert!(Family::BOTH.into_iter().all(filters));
    assert!(daemon.log().contains("FORWARD does not jump to muzzle_fwd"));
}

#[test]
fn a_worker_that_hangs_or_dies_does_not_hold_clients_up() {
    let lab = Lab::new();
    let client = lab.tether();
    let daemon = start(&lab, FILTER);
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        let line = format!("dig +tries=1 +time=4 +short @{dns} free.example A");
        let blocks_again = || {
            wait_for("another worker", SOON, || {
                client.dig(dns, BLOCKED, "").is_empty()
            });
        };
        freeze(daemon.worker());
        assert_ne!(client.run(&line).ok(), "", "{family}: held, then let pass");
        blocks_again();
        send(daemon.worker(), Signal::SIGKILL);
        assert_ne!(client.run(&line).ok(), "", "{family}: nobody decides");
        blocks_again();
    }
    daemon.kill_both();
    for family in Family::BOTH {
        assert_ne!(
            client.dig(addresses(family).dns, BLOCKED, ""),
            "",
            "{family}"
        );
    }
}

#[test]
fn without_the_mangle_table_it_says_that_clients_are_not_covered() {
    let lab = Lab::new();
    let refuse = "if grep -q '^[*]mangle' $INPUT; then echo no such thing >&2; exit 2; fi";
    let program = scripts(&lab, refuse);
    let firewall = format!("[firewall]\niptables = \"{}\"\n", program.display());
    let daemon = start(&lab, &(FILTER.to_owned() + &firewall));
    let said = status(&lab, &daemon);
    assert_eq!(said.hotspot, HotspotClients::Ignore);
    let lacks = |it: &String| it.contains("hotspot clients cannot be filtered");
    assert!(said.warnings.iter().any(lacks), "{:?}", said.warnings);
}
