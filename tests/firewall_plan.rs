//! The plan's text, compared with the files in `tests/golden/firewall`.
//! `UPDATE_GOLDEN=1 cargo test --test firewall_plan` rewrites them.

use std::fs;
use std::path::Path;

use muzzle::firewall::probe::{Capability, Feature};
use muzzle::firewall::saved::SavedTable;
use muzzle::firewall::{Defect, Family, Plan, Table, WantedChain, mark_conflicts};

fn assert_golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/firewall")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, text).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&file).expect("the golden file is there");
    assert_eq!(text, golden, "{} differs", file.display());
}

fn batches(plan: &Plan, family: Family) -> String {
    plan.chains(family)
        .iter()
        .map(|chain| chain.batch(&[]))
        .collect()
}

fn full() -> Plan {
    Plan {
        tls_ports: vec![8443, 443, 443],
        http_ports: vec![80, 8080],
        udp_ranges: ["203.0.113.0/24", "2001:db8::7/128"]
            .map(|it| it.parse().expect("a range"))
            .to_vec(),
        quic_ports: vec![8443, 443],
        forwarded: true,
        ..Plan::default()
    }
}

/// What a kernel without the optional parts gets.
fn least() -> Plan {
    let lacking = [Feature::Notrack, Feature::Conntrack, Feature::U32];
    full()
        .fitted(&capabilities(&lacking, &[]))
        .expect("nothing required is missing")
}

fn capabilities(lacking_v4: &[Feature], lacking_v6: &[Feature]) -> Vec<Capability> {
    let of = |family, lacking: &[Feature]| {
        Feature::ALL.map(|feature| Capability {
            feature,
            name: feature.name(),
            family,
            present: !lacking.contains(&feature),
            error: None,
            consequence: feature.consequence(),
        })
    };
    [of(Family::V4, lacking_v4), of(Family::V6, lacking_v6)].concat()
}

#[test]
fn batches_are_the_golden_ones() {
    assert_golden("default_v4.txt", &batches(&Plan::default(), Family::V4));
    assert_golden("default_v6.txt", &batches(&Plan::default(), Family::V6));
    assert_golden("full_v4.txt", &batches(&full(), Family::V4));
    assert_golden("full_v6.txt", &batches(&full(), Family::V6));
    assert_golden("least_v4.txt", &batches(&least(), Family::V4));
}

#[test]
fn what_is_read_back_is_the_golden_one() {
    let chains = full().chains(Family::V4);
    let lines: Vec<_> = chains.iter().flat_map(WantedChain::saved).collect();
    assert_golden("full_v4_saved.txt", &(lines.join("\n") + "\n"));
}

#[test]
fn stale_jumps_are_deleted_in_the_same_batch() {
    let chain = outgoing();
    let stale = ["-A OUTPUT -j muzzle_out", "-A OUTPUT -p udp -j muzzle_out"];
    let text = chain.batch(&stale.map(str::to_owned));
    let end = "-D OUTPUT -j muzzle_out\n-D OUTPUT -p udp -j muzzle_out\n\
               -I OUTPUT 1 -j muzzle_out\nCOMMIT\n";
    assert!(text.ends_with(end), "{text}");
}

/// The limits of `struct xt_u32` (include/uapi/linux/netfilter/xt_u32.h).
#[test]
fn u32_expressions_keep_within_the_kernels_limits() {
    for family in Family::BOTH {
        for chain in full().chains(family) {
            for rule in &chain.rules {
                let Some(expression) = rule.split('"').nth(1) else {
                    continue;
                };
                let tests: Vec<_> = expression.split("&&").collect();
                assert!(tests.len() <= 10, "{expression}");
                for test in tests {
                    let (locations, ranges) = test.split_once('=').expect("a test has a value");
                    assert!(ranges.split(',').count() <= 10, "{test}");
                    let numbers = locations.split(['@', '&', '<', '>']);
                    let numbers = numbers.filter(|number| !number.is_empty()).count();
                    assert!(numbers <= 10, "{test}");
                }
            }
        }
    }
}

#[test]
fn plan_is_fitted_to_what_the_kernel_has() {
    assert_eq!(full().fitted(&capabilities(&[], &[])), Ok(full()));
    // What one family lacks, neither uses: one plan serves both.
    let fitted = full()
        .fitted(&capabilities(&[], &[Feature::Notrack]))
        .expect("not required");
    assert_eq!(
        fitted,
        Plan {
            notrack: false,
            ..full()
        }
    );
    let fitted = full()
        .fitted(&capabilities(&[Feature::MangleTable], &[]))
        .expect("likewise");
    assert_eq!(fitted.chains(Family::V4).len(), 1);
    assert_eq!(fitted.tables(), [Table::Raw]);
    let without_answers = Plan {
        answers: false,
        ..full()
    };
    assert_eq!(without_answers.chains(Family::V6).len(), 3);
    let only_forwarded = Plan {
        follow: false,
        forwarded: true,
        ..without_answers
    };
    assert_eq!(only_forwarded.tables(), Table::ALL);
    let [_, forwarded] = &only_forwarded.chains(Family::V6)[..] else {
        panic!("muzzle_out and muzzle_fwd");
    };
    assert!(!forwarded.rules.concat().contains("connmark"));
}

#[test]
fn missing_requirement_ends_ipv4_and_spares_it_in_ipv6() {
    for feature in Feature::ALL
        .into_iter()
        .filter(|feature| feature.is_required())
    {
        let error = full()
            .fitted(&capabilities(&[feature], &[]))
            .expect_err("required");
        assert_eq!(error.name, feature.name());
        // A family that is not filtered does not hold back the other: notrack stays.
        let lacking = [feature, Feature::Notrack];
        let fitted = full()
            .fitted(&capabilities(&[], &lacking))
            .expect("only IPv6");
        assert_eq!(
            fitted,
            Plan {
                ipv6: false,
                ..full()
            }
        );
    }
}

fn outgoing() -> WantedChain {
    Plan::default().chains(Family::V4).remove(0)
}

/// The raw table as `iptables -S` prints it: `hooked` in OUTPUT, then our chain's rules.
fn saved(hooked: &[&str], rules: &[String]) -> String {
    let hooked = hooked.iter().map(|rule| format!("-A OUTPUT {rule}\n"));
    let rules = rules.iter().map(|rule| format!("-A muzzle_out {rule}\n"));
    let start =
        "-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n-N foreign\n-N muzzle_out\n".to_owned();
    start + &hooked.chain(rules).collect::<String>()
}

#[test]
fn defects_are_named() {
    let wanted = outgoing();
    assert_eq!(wanted.table, Table::Raw);
    let defects = |text: &str| SavedTable::new(text).defects(&wanted);
    let (hook, chain) = ("OUTPUT".to_owned(), "muzzle_out".to_owned());
    let jump = "-j muzzle_out";

    assert_eq!(defects(&saved(&[jump], &wanted.rules)), []);
    assert_eq!(
        defects("-P OUTPUT ACCEPT\n"),
        [
            Defect::NoChain {
                chain: chain.clone()
            },
            Defect::NoJump {
                hook: hook.clone(),
                chain: chain.clone()
            }
        ]
    );
    assert_eq!(
        defects(&saved(&["-j foreign", jump], &wanted.rules)),
        [Defect::JumpNotFirst {
            hook: hook.clone(),
            chain: chain.clone(),
            before: "-j foreign".to_owned()
        }]
    );
    assert_eq!(
        defects(&saved(&[jump, jump], &wanted.rules)),
        [Defect::ManyJumps {
            hook,
            chain: chain.clone(),
            count: 2
        }]
    );
    let (found, wanted) = (wanted.rules.len() - 1, wanted.rules.len());
    assert_eq!(
        defects(&saved(&[jump], &outgoing().rules[1..])),
        [Defect::OtherRules {
            chain,
            wanted,
            found
        }]
    );
}

#[test]
fn conditions_printed_differently_are_no_defect() {
    let mut rules = outgoing().rules;
    rules[3] = rules[3].replace("-p udp -m udp --dport 53", "-p 17 -m udp  --dport 53");
    assert_eq!(
        SavedTable::new(&saved(&["-j muzzle_out"], &rules)).defects(&outgoing()),
        []
    );
}

#[test]
fn mark_conflicts_are_rules_that_use_the_bit() {
    let uses = [
        "-A OUTPUT -m mark --mark 0x8000000/0x8000000 -j ACCEPT",
        "-A OUTPUT -m mark ! --mark 0x8000000/0x8000000 -j NFQUEUE --queue-num 200",
        "-A x -j MARK --set-xmark 0x8000000/0x8000000",
        "-A x -j MARK --set-xmark 0x0/0x8000000",
        "-A x -j MARK --set-xmark 0xc000000/0xffffffff",
        "-A x -m connmark --mark 0x8000000 -j ACCEPT",
        "-A x -j CONNMARK --save-mark --nfmask 0x8000000 --ctmask 0x8000000",
        "-A x -p tcp -j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x8000001/0xffffffff",
        "100:\tfrom all fwmark 0x8000000/0x8000000 lookup 51",
    ];
    let others = [
        // netd and vendor chains as they are on phones.
        "-A routectrl_mangle_INPUT -i wlan0 -j MARK --set-xmark 0x30064/0xffefffff",
        "-A tc_wmm -j MARK --set-xmark 0x0/0x60000000",
        "-A bw_mangle_POSTROUTING -j MARK --set-xmark 0x0/0x100000",
        "-A nm_mdmprxy_mangle_pre -m mark --mark 0xf0002 -j ACCEPT",
        "-A wakeupctrl_mangle_INPUT -m mark --mark 0x80000000/0x80000000 -j NFLOG",
        "-A connmark_mangle_OUTPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        "10000:\tfrom all fwmark 0xc0000/0xd0000 lookup legacy_system",
        "32000:\tfrom all fwmark 0x10063/0x1ffff iif lo lookup local_network",
        // Our own.
        "-A muzzle_out ! -o lo -m mark --mark 0x8000000/0x8000000 -j DROP",
        "# a comment",
        "*raw",
        "COMMIT",
        "-A x -m mark --mark",
        "-A x --mark word",
    ];
    let text = [&uses[..], &others[..]].concat().join("\n");
    assert_eq!(mark_conflicts(&text, 0x0800_0000), uses);
}
