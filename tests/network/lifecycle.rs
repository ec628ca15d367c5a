//! Start, stop and reload: what is left behind, and what becomes of traffic meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::clients::{A, TcpAsker, UdpAsker, client_hello, query, told};
use crate::lab::{Lab, addresses, wait_for};
use crate::running::{BLOCKED, ask, config, reload, start, status};

/// Whether a name is answered by Muzzle: with "no such name" instead of the web server.
#[track_caller]
fn is_blocked(lab: &Lab, family: Family, name: &str) -> bool {
    let asker = UdpAsker::new(lab, addresses(family).dns);
    let answer = asker.ask(&query(1, name, A)).expect("an answer at once");
    told(&answer).0 == ResponseCode::NXDomain
}

#[test]
fn a_stop_leaves_no_trace() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let daemon = start(&lab, "");
        assert!(lab.saved_rules().contains("muzzle_out"));
        let socket = daemon.socket.clone();
        for family in Family::BOTH {
            assert!(is_blocked(&lab, family, BLOCKED), "{signal} {family}");
        }
        assert!(daemon.end_by(signal).success(), "{signal}");
        assert_eq!(lab.saved_rules(), before, "{signal}");
        let left = std::fs::read_dir(socket.parent().expect("a folder"));
        let left: Vec<_> = left.expect("it is there").collect();
        assert!(left.is_empty(), "{signal}: {left:?}");
        for family in Family::BOTH {
            assert!(!is_blocked(&lab, family, BLOCKED), "{signal} {family}");
        }
    }
}

#[test]
fn no_allowed_query_is_lost_across_start_and_stop() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let (over, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let lost = std::thread::scope(|scope| {
        let clients = Family::BOTH.map(|family| {
            let (lab, over, asked) = (&lab, &over, &asked);
            scope.spawn(move || {
                let mut lost = 0;
                // Bounded, so that a start that fails ends the test instead of hanging it.
                for _ in 0..100_000 {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    // A new flow and a known one.
                    let asker = UdpAsker::new(lab, addresses(family).dns);
                    for id in 1..=2 {
                        lost += u32::from(asker.ask(&query(id, "free.example", A)).is_none());
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
                lost
            })
        });
        for _ in 0..3 {
            let daemon = start(&lab, "");
            let (before, enough) = (asked.load(Ordering::Relaxed), 20);
            wait_for("some queries", Duration::from_secs(5), || {
                asked.load(Ordering::Relaxed) >= before + enough
            });
            assert!(daemon.stop().success());
        }
        over.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().expect("no panic"))
    });
    assert_eq!(lost, [0, 0], "of {}", asked.into_inner());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_reload_swaps_the_rules() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let rule = "[[rule]]\nname = \"new.example\"\naction = \"block\"\n";
    let said = reload(&lab, &daemon, rule).ok();
    assert!(
        said.contains("reloaded") && said.contains("2 own rules"),
        "{said}"
    );
    for family in Family::BOTH {
        assert!(is_blocked(&lab, family, "new.example"), "{family}");
    }
    std::fs::write(&daemon.config, config(&lab, "")).expect("the lab's folder is there");
    daemon.signal(Signal::SIGHUP);
    wait_for("the rules to be as before", Duration::from_secs(3), || {
        !is_blocked(&lab, Family::V4, "new.example")
    });
    assert!(is_blocked(&lab, Family::V6, BLOCKED));

    // Ports are rules in the kernel.
    let rules = lab.saved_rules();
    reload(&lab, &daemon, "[connections]\ntls_ports = [443, 8443]").ok();
    for family in Family::BOTH {
        let to = std::net::SocketAddr::new(addresses(family).sink, 8443);
        let mut asker = TcpAsker::new(&lab, to);
        asker.send(&client_hello(BLOCKED, crate::clients::NamePlace::First));
        assert!(asker.is_over(), "{family}");
        assert_eq!(lab.server.received(to), 0, "{family}");
    }
    reload(&lab, &daemon, "").ok();
    assert_eq!(lab.saved_rules(), rules);
}

#[test]
fn a_reload_that_cannot_be_keeps_what_is_in_force() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let rules = lab.saved_rules();
    let socket = daemon.socket.display().to_string();
    let file = daemon.config.display().to_string();
    let bad_catalogue = lab.folder().join("catalogue");
    std::fs::create_dir(&bad_catalogue).expect("the lab's folder is there");
    let entry = bad_catalogue.join("bad.toml");
    std::fs::write(&entry, "[[endpoint]]\npattern = 7\n").expect("just made");
    let catalogue = format!("[catalogue]\ndirectory = \"{}\"", bad_catalogue.display());
    // What is written, and what must be said of it.
    let cases = [
        (
            "mode = \"enfroce\"\npreset = 7",
            vec![format!("{file}:1: "), format!("{file}:2: ")],
        ),
        (
            "[dns]\nanswer = \"zero\"\nttl = 9",
            vec![format!("{file}:3: ")],
        ),
        ("this is no TOML", vec![format!("{file}:1: ")]),
        (&catalogue, vec![format!("{}:", entry.display())]),
        (
            "[queue]\nlength = 32",
            vec!["[queue]".into(), "restart the daemon".into()],
        ),
        (
            "[firewall]\nlock_wait_secs = 7",
            vec!["[firewall]".into(), "restart the daemon".into()],
        ),
    ];
    for (text, wanted) in cases {
        std::fs::write(&daemon.config, config(&lab, text)).expect("the lab's folder is there");
        let said = lab.muzzle(&format!("reload --socket {socket}"));
        assert_eq!(said.code, Some(1), "{text}: {said:?}");
        for part in wanted
            .iter()
            .map(String::as_str)
            .chain(["stay as they are"])
        {
            assert!(
                said.stderr.contains(part),
                "{text}: no {part} in {}",
                said.stderr
            );
        }
        for family in Family::BOTH {
            assert!(is_blocked(&lab, family, BLOCKED), "{text} {family}");
        }
    }
    // The socket is found in a file that is wrong elsewhere, and the daemon that goes on answers.
    let said = reload(&lab, &daemon, "mode = 1");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(&format!("{file}:1: ")), "{said:?}");
    assert_eq!(status(&lab, &daemon).mode, "enforce");
    // The same by signal: it can only be said in the log.
    std::fs::write(&daemon.config, "mode = 1").expect("the lab's folder is there");
    daemon.signal(Signal::SIGHUP);
    wait_for("it to be said in the log", Duration::from_secs(3), || {
        daemon.log().matches(&format!("{file}:1: ")).count() >= 4
    });
    std::fs::remove_file(&daemon.config).expect("it was there");
    let said = lab.muzzle(&format!("reload --socket {socket}"));
    assert!(
        said.code == Some(1) && said.stderr.contains(&file),
        "{said:?}"
    );
    std::fs::write(&daemon.config, config(&lab, "")).expect("the lab's folder is there");
    assert_eq!(status(&lab, &daemon).rules, 1);
    assert_eq!(lab.saved_rules(), rules);
    ask(&lab, &daemon, "reload").ok();
}
