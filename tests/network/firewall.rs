//! The chains in the kernel: apply, verify, remove, and the rules of others.

use std::net::UdpSocket;

use muzzle::firewall::{Applied, Defect, Family, Feature, Iptables, Plan, Table, WantedChain};
use nix::sys::socket::{setsockopt, sockopt};

use crate::lab::{Lab, addresses};

pub(crate) fn plan() -> Plan {
    Plan {
        tls_ports: vec![443, 8443],
        ..Plan::default()
    }
}

/// Applies `plan` on the phone with the system's programs.
pub(crate) fn apply(lab: &Lab, plan: &Plan) -> Iptables {
    let iptables = Iptables::find(None).expect("iptables is installed");
    let applied = lab
        .phone
        .within(|| iptables.apply(plan))
        .expect("the plan can be applied");
    assert_whole(&applied);
    iptables
}

fn assert_whole(applied: &Applied) {
    assert_eq!(applied.families, Family::BOTH);
    assert!(applied.warnings.is_empty(), "{:?}", applied.warnings);
}

/// Rules as other programs have them, in the very places where ours go and elsewhere.
fn add_foreign_rules(lab: &Lab) {
    for family in Family::BOTH {
        let program = addresses(family).iptables;
        for rule in [
            "-t raw -N foreign",
            "-t raw -A foreign -m mark --mark 0x4000000/0x4000000 -j RETURN",
            "-t raw -A OUTPUT -p udp --dport 4500 -j foreign",
            "-t raw -A PREROUTING -p udp --dport 5060 -j ACCEPT",
            "-t mangle -A PREROUTING -i wlan0 -j MARK --set-xmark 0x30064/0xffefffff",
            "-t mangle -A OUTPUT -m owner --uid-owner 1000 -j MARK --or-mark 0x10000000",
            "-t filter -A OUTPUT -p tcp --dport 25 -j REJECT",
        ] {
            lab.phone(&format!("{program} -w 5 {rule}")).ok();
        }
    }
}

/// The lines of `iptables -t TABLE -S` about a chain of ours, or all of ours.
fn own_lines(lab: &Lab, family: Family, table: Table, chain: &str) -> Vec<String> {
    let text = lab
        .phone(&format!(
            "{} -w 5 -t {table} -S",
            addresses(family).iptables
        ))
        .ok();
    text.lines()
        .filter(|line| line.contains(chain))
        .map(str::to_owned)
        .collect()
}

/// Asserts that the kernel holds exactly what the plan says, word by word.
fn assert_in_force(lab: &Lab, plan: &Plan) {
    for family in Family::BOTH {
        for wanted in plan.chains(family) {
            let lines = own_lines(lab, family, wanted.table, wanted.name);
            assert_eq!(lines, wanted.saved());
        }
    }
}

#[test]
fn applied_plan_reads_back_and_leaves_no_trace() {
    let lab = Lab::bare();
    add_foreign_rules(&lab);
    let before = lab.saved_rules();
    let iptables = apply(&lab, &plan());
    assert_in_force(&lab, &plan());
    assert_eq!(
        lab.phone
            .within(|| iptables.verify(&plan()))
            .expect("listable"),
        []
    );
    let during: String = lab
        .saved_rules()
        .lines()
        .filter(|line| !line.contains("muzzle_"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(during, before);
    lab.phone.within(|| iptables.remove()).expect("removable");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn applying_again_changes_nothing() {
    let lab = Lab::bare();
    let iptables = apply(&lab, &plan());
    let once = lab.saved_rules();
    for _ in 0..3 {
        assert_whole(
            &lab.phone
                .within(|| iptables.apply(&plan()))
                .expect("applicable"),
        );
    }
    assert_eq!(lab.saved_rules(), once);
    // Another plan takes the place of the first.
    let other = Plan {
        notrack: false,
        tls_ports: vec![443],
        dns_queue: 7,
        ..plan()
    };
    assert_whole(
        &lab.phone
            .within(|| iptables.apply(&other))
            .expect("applicable"),
    );
    assert_in_force(&lab, &other);
}

/// What a killed daemon, an older release and a tinkering user may leave.
fn leave_rubbish(lab: &Lab) {
    for family in Family::BOTH {
        let program = addresses(family).iptables;
        for rule in [
            "-t raw -N muzzle_out",
            "-t raw -A muzzle_out -p udp --dport 53 -j DROP",
            "-t raw -A OUTPUT -j muzzle_out",
            "-t raw -A OUTPUT -j muzzle_out",
            "-t raw -A OUTPUT -p udp -j muzzle_out",
            "-t raw -A PREROUTING -g muzzle_out",
            "-t raw -N muzzle_probe",
            "-t raw -A muzzle_probe -j muzzle_out",
            "-t mangle -N muzzle_cont",
            "-t mangle -A POSTROUTING -m mark ! --mark 0x1 -j muzzle_cont",
        ] {
            lab.phone(&format!("{program} -w 5 {rule}")).ok();
        }
    }
}

#[test]
fn start_over_leftovers_works() {
    let lab = Lab::bare();
    add_foreign_rules(&lab);
    let before = lab.saved_rules();
    leave_rubbish(&lab);
    let iptables = apply(&lab, &plan());
    assert_eq!(
        lab.phone
            .within(|| iptables.verify(&plan()))
            .expect("listable"),
        []
    );
    lab.phone.within(|| iptables.remove()).expect("removable");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_smaller_plan_leaves_nothing_of_the_larger() {
    let lab = Lab::bare();
    let iptables = apply(&lab, &plan());
    let smaller = Plan {
        ipv6: false,
        answers: false,
        follow: false,
        ..plan()
    };
    let applied = lab
        .phone
        .within(|| iptables.apply(&smaller))
        .expect("applicable");
    assert!(applied.warnings.is_empty(), "{:?}", applied.warnings);
    assert_eq!(
        own_lines(&lab, Family::V4, Table::Raw, "muzzle_"),
        smaller.chains(Family::V4)[0].saved()
    );
    assert_eq!(
        own_lines(&lab, Family::V4, Table::Mangle, "muzzle_"),
        Vec::<String>::new()
    );
    assert!(!lab.phone("ip6tables-legacy-save").ok().contains("muzzle_"));
}

#[test]
fn removal_takes_what_is_there_and_misses_nothing_else() {
    let lab = Lab::bare();
    add_foreign_rules(&lab);
    let before = lab.saved_rules();
    let iptables = Iptables::find(None).expect("iptables is installed");
    lab.phone
        .within(|| iptables.remove())
        .expect("nothing to remove");
    assert_eq!(lab.saved_rules(), before);
    leave_rubbish(&lab);
    lab.phone.within(|| iptables.remove()).expect("removable");
    lab.phone
        .within(|| iptables.remove())
        .expect("nothing left");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn verification_names_what_is_missing_and_applying_mends_it() {
    let lab = Lab::bare();
    let iptables = apply(&lab, &plan());
    let defects = || {
        let findings = lab
            .phone
            .within(|| iptables.verify(&plan()))
            .expect("listable");
        let defects = findings
            .into_iter()
            .map(|finding| (finding.family, finding.defect));
        defects.collect::<Vec<_>>()
    };
    let out = plan().chains(Family::V4).remove(0);
    let WantedChain {
        hook, name: chain, ..
    } = out;
    let (hook, chain) = (hook.to_owned(), chain.to_owned());
    let rule = "-p udp -j ACCEPT".to_owned();
    let (wanted, inbound) = (out.rules.len(), "muzzle_in".to_owned());
    for (damage, family, expected) in [
        (
            "iptables-legacy -w 5 -t raw -D OUTPUT -j muzzle_out",
            Family::V4,
            vec![Defect::NoJump {
                hook: hook.clone(),
                chain: chain.clone(),
            }],
        ),
        (
            "iptables-legacy -w 5 -t raw -I OUTPUT 1 -p udp -j ACCEPT",
            Family::V4,
            vec![Defect::JumpNotFirst {
                hook: hook.clone(),
                chain: chain.clone(),
                before: rule,
            }],
        ),
        (
            "ip6tables-legacy -w 5 -t raw -F muzzle_out",
            Family::V6,
            vec![Defect::OtherRules {
                chain: chain.clone(),
                wanted,
                found: 0,
            }],
        ),
        (
            "ip6tables-legacy -w 5 -t raw -A OUTPUT -j muzzle_out",
            Family::V6,
            vec![Defect::ManyJumps {
                hook,
                chain,
                count: 2,
            }],
        ),
        (
            "iptables-legacy -w 5 -t mangle -F PREROUTING",
            Family::V4,
            vec![Defect::NoJump {
                hook: "PREROUTING".to_owned(),
                chain: inbound.clone(),
            }],
        ),
    ] {
        lab.phone(damage).ok();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|defect| (family, defect))
            .collect();
        assert_eq!(defects(), expected, "{damage}");
        assert_whole(
            &lab.phone
                .within(|| iptables.apply(&plan()))
                .expect("applicable"),
        );
        assert_eq!(defects(), []);
    }
    lab.phone("iptables-legacy -w 5 -t mangle -F").ok();
    lab.phone("iptables-legacy -w 5 -t mangle -X muzzle_in")
        .ok();
    let missing = defects()
        .into_iter()
        .map(|(_, defect)| defect)
        .collect::<Vec<_>>();
    assert!(
        missing.contains(&Defect::NoChain { chain: inbound }),
        "{missing:?}"
    );
}

#[test]
fn probe_finds_everything_here_and_leaves_no_trace() {
    let lab = Lab::bare();
    let before = lab.saved_rules();
    let iptables = Iptables::find(None).expect("iptables is installed");
    let found = lab
        .phone
        .within(|| iptables.probe())
        .expect("root may probe");
    assert_eq!(found.len(), 2 * Feature::ALL.len());
    for capability in &found {
        assert!(capability.present, "{capability:?}");
    }
    assert_eq!(plan().fitted(&found), Ok(plan()));
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn foreign_use_of_the_mark_is_found() {
    let lab = Lab::bare();
    let iptables = apply(&lab, &plan());
    let conflicts = || lab.phone.within(|| iptables.mark_conflicts(plan().mark));
    assert_eq!(conflicts().expect("savable"), Vec::<String>::new());
    let rule = "-A OUTPUT -m mark --mark 0x8000000/0x8000000 -j ACCEPT";
    lab.phone(&format!("ip6tables-legacy -w 5 -t mangle {rule}"))
        .ok();
    assert_eq!(conflicts().expect("savable"), [rule]);
    lab.phone
        .ip("rule add pref 99 fwmark 0x8000000/0x8000000 lookup main");
    let found = conflicts().expect("savable");
    assert_eq!(
        found[0],
        "99:\tfrom all fwmark 0x8000000/0x8000000 lookup main"
    );
}

#[test]
fn everything_passes_while_nobody_listens() {
    let mut lab = Lab::new();
    lab.start_https(&[]);
    let _iptables = apply(&lab, &plan());
    for (family, qtype) in [(Family::V4, "A"), (Family::V6, "AAAA")] {
        let web = addresses(family).web;
        assert_eq!(
            lab.dig(family, "free.example", qtype).ok().trim(),
            web.to_string()
        );
        let flag = if family == Family::V4 { "-4" } else { "-6" };
        for url in ["https://free.example/", "http://free.example/"] {
            let curl = format!("curl {flag} -sk -m 5 -o /dev/null -w %{{http_code}} {url}");
            assert_eq!(lab.phone(&curl).ok(), "200", "{url}");
        }
    }
    assert!(lab.was_asked_for("free.example"));
    assert!(!lab.was_asked_for("other.example"));
}

/// Contract: nothing forged ever goes out on the radio, and none of it is tracked.
#[test]
fn what_carries_the_mark_stays_on_the_phone() {
    for notrack in [true, false] {
        let lab = Lab::bare();
        let plan = Plan { notrack, ..plan() };
        let _iptables = apply(&lab, &plan);
        for family in Family::BOTH {
            lab.count_arriving(family, "marked", "-p udp --dport 9999");
            let addresses = addresses(family);
            lab.phone.within(|| {
                let socket =
                    UdpSocket::bind((addresses.phone, 0)).expect("the phone's address");
                socket
                    .send_to(b"plain", (addresses.sink, 9999))
                    .expect("not marked");
                setsockopt(&socket, sockopt::Mark, &plan.mark).expect("root may mark");
                let refused = socket.send_to(b"forged", (addresses.sink, 9999));
                let kind = refused.map_err(|error| error.kind());
                assert_eq!(kind, Err(std::io::ErrorKind::PermissionDenied));
                let other = UdpSocket::bind((addresses.phone, 0)).expect("the phone's address");
                let address = other.local_addr().expect("bound");
                socket
                    .send_to(b"forged", address)
                    .expect("to the phone itself");
                let mut buffer = [0; 16];
                assert_eq!(other.recv(&mut buffer).expect("it came"), 6);
                let tracked =
                    lab.phone(&format!("conntrack -L -p udp --dport {}", address.port()));
                assert_eq!(tracked.stdout.is_empty(), notrack, "{}", tracked.stdout);
            });
            assert_eq!(lab.arrived(family, "marked"), 1);
        }
    }
}
