//! What goes wrong around the daemon: it starts beside it, goes on without it, or says clearly
//! why it cannot.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;
use muzzle::queue::QueueSocket;
use muzzle::queue::message::QueueParameters;

use crate::clients::{A, UdpAsker, query, told};
use crate::firewall_trouble::scripts;
use crate::lab::{APP_UID, Lab, MUZZLE, addresses, wait_for};
use crate::running::{BLOCKED, Door, config, named_config, queue, refused, start, status};

/// What an app is told of a name, at once.
#[track_caller]
fn fate(lab: &Lab, family: Family, name: &str) -> ResponseCode {
    let asker = UdpAsker::new(lab, addresses(family).dns);
    told(&asker.ask(&query(1, name, A)).expect("an answer at once")).0
}

/// Another program's queue. The kernel does not tell whose code it is that binds one.
fn take_queue(lab: &Lab, number: u16) -> QueueSocket {
    let parameters = QueueParameters {
        number,
        copy_range: 64,
        length: 16,
    };
    let bound = lab.phone.within(|| QueueSocket::bind(parameters, 65_536));
    bound.expect("nobody has it")
}

#[test]
fn what_the_phones_own_firewall_refuses_stays_refused() {
    let lab = Lab::new();
    for family in Family::BOTH {
        let program = addresses(family).iptables;
        let rule = format!("-m owner --uid-owner {APP_UID} -j REJECT");
        lab.phone(&format!("{program} -w 5 -A OUTPUT {rule}")).ok();
    }
    let _daemon = start(&lab, "");
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        for (uid, passes) in [(APP_UID, false), (APP_UID + 1, true)] {
            for tcp in ["+notcp", "+tcp"] {
                let name = format!("{uid}{tcp}.example");
                let dig = format!("dig +tries=1 +time=1 {tcp} @{dns} {name}");
                let told = lab.phone_as(uid, &dig);
                let answered = told.stdout.contains("status: NOERROR");
                assert_eq!(answered, passes, "{family} {uid} {tcp}: {told:?}");
                assert_eq!(lab.was_asked_for(&name), passes, "{family} {uid} {tcp}");
            }
            let web = std::net::SocketAddr::new(addresses(family).web, 80);
            let code = lab
                .phone_as(uid, &format!("curl -s --max-time 2 http://{web}/"))
                .code;
            assert_eq!(code == Some(0), passes, "{family} {uid}: curl {code:?}");
        }
    }
}

#[test]
fn a_killed_daemon_holds_nothing_up_and_its_successor_starts_over_the_leftovers() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    for _ in 0..2 {
        let daemon = start(&lab, "");
        daemon.kill_both();
        assert!(
            lab.saved_rules().contains("-j NFQUEUE"),
            "nobody took the rules away"
        );
        for family in Family::BOTH {
            assert_eq!(
                fate(&lab, family, BLOCKED),
                ResponseCode::NoError,
                "{family}"
            );
            let web = std::net::SocketAddr::new(addresses(family).web, 80);
            lab.phone(&format!("curl -s --max-time 1 http://{web}/"))
                .ok();
        }
    }
    // Another program has got one of the queues meanwhile.
    let other = take_queue(&lab, 6453);
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        assert_eq!(
            fate(&lab, family, BLOCKED),
            ResponseCode::NXDomain,
            "{family}"
        );
    }
    drop(other);
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_taken_queue_number_is_stepped_over_and_told() {
    let lab = Lab::new();
    for (taken, wanted) in [
        (6453, [6455, 6456]),
        (6454, [6455, 6456]),
        (6455, [6453, 6454]),
    ] {
        let other = take_queue(&lab, taken);
        let daemon = start(&lab, "");
        let said = status(&lab, &daemon);
        let numbers: Vec<_> = said.queues.iter().map(|queue| queue.number).collect();
        assert_eq!(numbers, wanted, "{taken} taken");
        for family in Family::BOTH {
            assert_eq!(
                fate(&lab, family, BLOCKED),
                ResponseCode::NXDomain,
                "{family}"
            );
        }
        if numbers[0] != 6453 {
            let told = |warnings: &[String]| {
                let part = format!("queue {taken} belongs to another program");
                warnings
                    .iter()
                    .any(|it| it.contains(&part) && it.contains("6455 and 6456 are used"))
            };
            assert!(told(&said.warnings), "{said:?}");
            crate::running::ask(&lab, &daemon, "reload").ok();
            assert!(
                told(&status(&lab, &daemon).warnings),
                "a reload does not change that"
            );
        }
        assert!(daemon.stop().success());
        drop(other);
    }
}

#[test]
fn a_second_daemon_is_refused() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let rules = lab.saved_rules();
    let pid = daemon.worker().to_string();
    for (name, wanted) in [
        ("muzzle", "another Muzzle daemon is running"),
        ("other", "another Muzzle daemon is at work here"),
    ] {
        let said = refused(&lab, &named_config(&lab, name, ""));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains(wanted), "{said:?}");
        assert!(name == "muzzle" || said.stderr.contains(&pid), "{said:?}");
        assert_eq!(lab.saved_rules(), rules);
        for family in Family::BOTH {
            assert_eq!(
                fate(&lab, family, BLOCKED),
                ResponseCode::NXDomain,
                "{family}"
            );
        }
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_and_nothing_is_left() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let catalogue = lab.folder().join("catalogue");
    std::fs::create_dir(&catalogue).expect("the lab's folder is there");
    for name in ["one.toml", "two.toml"] {
        std::fs::write(catalogue.join(name), "[[endpoint]]\npattern = 7\n").expect("just made");
    }
    let no_such = "iptables = \"/nowhere/iptables\"";
    let cases = [
        (
            format!("[firewall]\n{no_such}"),
            1,
            vec!["looked for /nowhere/iptables"],
        ),
        (
            "mode = 7\npreset = \"x\"\n[dns]\nttl_secs = 0\nfoo = 1".to_owned(),
            64,
            vec![
                "refused.toml:1: ",
                "refused.toml:2: ",
                "refused.toml:4: ",
                "refused.toml:5: ",
            ],
        ),
        ("mode = [".to_owned(), 64, vec!["refused.toml:1: "]),
        (
            format!("[catalogue]\ndirectory = \"{}\"", catalogue.display()),
            64,
            vec!["one.toml:", "two.toml:"],
        ),
        (
            "[catalogue]\ndirectory = \"/nowhere/catalogue\"".to_owned(),
            64,
            vec!["/nowhere/catalogue"],
        ),
    ];
    for (text, code, wanted) in cases {
        let said = refused(&lab, &config(&lab, &text));
        assert_eq!(said.code, Some(code), "{text}: {said:?}");
        for part in wanted {
            assert!(
                said.stderr.contains(part),
                "{text}: no {part} in {}",
                said.stderr
            );
        }
        assert_eq!(lab.saved_rules(), before, "{text}");
    }
    let said = lab.muzzle("--config /nowhere/muzzle.toml daemon");
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("/nowhere/muzzle.toml"), "{said:?}");
    // Root in name only: may not touch the tables.
    std::fs::write(lab.folder().join("refused.toml"), config(&lab, "")).expect("it is there");
    let file = lab.folder().join("refused.toml");
    let bare = "setpriv --bounding-set=-all --inh-caps=-all";
    let said = lab.phone(&format!(
        "{bare} {MUZZLE} --config {} daemon",
        file.display()
    ));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("root is needed"), "{said:?}");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn without_ipv6_tables_ipv4_is_filtered_still() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let gone = "case $NAME in ip6*) echo \"can't initialize ip6tables table \\`raw': Address \
                family not supported by protocol\" >&2; exit 3;; esac";
    let program = scripts(&lab, gone);
    let text = format!("[firewall]\niptables = \"{}\"", program.display());
    let daemon = start(&lab, &text);
    assert_eq!(fate(&lab, Family::V4, BLOCKED), ResponseCode::NXDomain);
    assert_eq!(fate(&lab, Family::V6, BLOCKED), ResponseCode::NoError);
    let warnings = status(&lab, &daemon).warnings;
    let told = |text: &str| {
        warnings
            .iter()
            .any(|it| it.contains("IPv6") && it.contains(text))
    };
    assert!(told("stays unfiltered"), "{warnings:?}");
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

/// While a query waits for its answer, the phone loses the address it was sent from, and another
/// host has it by the time the answer is forged.
#[test]
fn an_answer_for_an_address_that_is_gone_stays_on_the_phone() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for (round, (family, address)) in (1..).zip([
        (Family::V4, "10.77.0.9/24"),
        (Family::V6, "2001:db8:77::9/64"),
    ]) {
        let local: IpAddr = address
            .split('/')
            .next()
            .and_then(|it| it.parse().ok())
            .expect("one");
        lab.count_arriving(family, "forged", &format!("-d {local}"));
        // Without the look for others who have it, during which it cannot be used (IPv6).
        lab.phone.ip(&format!("addr add {address} dev wlan0 nodad"));
        let asker = UdpAsker::from_address(&lab, local, addresses(family).dns);
        daemon.freeze();
        asker.send(&query(1, BLOCKED, A));
        lab.phone.ip(&format!("addr del {address} dev wlan0"));
        lab.internet.ip(&format!("addr add {address} dev inet0"));
        daemon.thaw();
        let counters = || queue(&lab, &daemon, "dns").counters;
        wait_for("the query to be judged", Duration::from_secs(3), || {
            counters().answered == round
        });
        assert_eq!(counters().inject_failed, round, "{family}");
        asker.wait_at_most(Duration::from_millis(300));
        assert_eq!(asker.receive(), None, "{family}");
        assert_eq!(lab.arrived(family, "forged"), 0, "{family}");
        assert_eq!(
            fate(&lab, family, "free.example"),
            ResponseCode::NoError,
            "{family}"
        );
    }
    door.assert_nothing_forged_left();
}
