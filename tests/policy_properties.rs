//! `Policy::decide` against a reference that scans every rule and every entry, on names, apps
//! and addresses few enough that they meet all the time.
#![allow(
    clippy::unwrap_used,
    reason = "the allowance for tests does not reach the functions that tests call"
)]

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use muzzle::apps::{PackageName, Packages};
use muzzle::catalogue::{Catalogue, Category, Confidence, Endpoint, Pattern, Preset};
use muzzle::decide::{
    Action, Choice, Chosen, Decision, EndpointId, Evidence, Facts, FlowKey, Mode, NamePattern,
    Policy, Protocol, Reason, Rule, RuleId, Uid, UnixSeconds,
};
use muzzle::parse::DomainName;
use proptest::prelude::*;
use proptest::sample::select;

const PACKAGES: &str = "com.a 10101 0\ncom.b 10102 0\ncom.shared 10102 0\n";
const NOW: i64 = 1000;

/// The specification, step by step, with no index at all.
fn reference(
    preset: Preset,
    rules: &[Rule],
    choices: &[Choice],
    catalogue: &Catalogue,
    facts: &Facts<'_>,
) -> Decision {
    let asked = facts.evidence.name().map(ToString::to_string);
    let packages = Packages::parse(PACKAGES);
    let best = |in_step: &dyn Fn(&Rule) -> bool, waits: bool| {
        let written = rules.iter().map(|rule| (rule, false));
        let chosen = choices.iter().map(|choice| (&choice.rule, true));
        let (number, (rule, is_choice)) = (1..)
            .zip(written)
            .chain((1..).zip(chosen))
            .filter(|(_, (rule, _))| in_step(rule) && applies(rule, facts, &packages))
            .min_by_key(|(number, (rule, is_choice))| rank(rule, *number, *is_choice))?;
        let waits = waits
            && rule.action == Action::Block
            && matches!(facts.evidence, Evidence::Syn { name_follows: true });
        (!waits).then_some(Decision {
            action: rule.action,
            reason: if is_choice {
                Reason::Choice(RuleId(number))
            } else {
                Reason::Rule(RuleId(number))
            },
        })
    };
    let names_host = |rule: &Rule| matches!(rule.name, Some(NamePattern::Exact(_)));
    let entry = asked.as_deref().and_then(|name| {
        let covers = |pattern: &Pattern| match pattern {
            Pattern::Exact(entry) => (entry.to_string() == name).then_some(1000),
            Pattern::Suffix(entry) => is_below(name, entry).then(|| entry.to_string().len()),
            Pattern::Range(_) | Pattern::Path(_) => None,
        };
        best_entry(catalogue, preset, covers)
    });
    let protected = entry.filter(|&(id, _)| catalogue.endpoints[id].is_protected());
    let range = judged_remote(facts).and_then(|remote| {
        let holds = |pattern: &Pattern| match pattern {
            Pattern::Range(range) => range
                .contains(&remote.ip().to_canonical())
                .then(|| usize::from(range.prefix_len())),
            _ => None,
        };
        best_entry(catalogue, preset, holds)
    });
    let path = path(facts).and_then(|path| {
        let begins = |pattern: &Pattern| match pattern {
            Pattern::Path(start) => path.starts_with(&**start).then_some(start.len()),
            _ => None,
        };
        best_entry(catalogue, preset, begins)
    });
    let listed = |reason: fn(EndpointId) -> Reason| {
        move |(id, action)| Decision {
            action,
            reason: reason(EndpointId(u32::try_from(id).unwrap())),
        }
    };
    let (has_name, has_app, has_address, has_path) = (
        |rule: &Rule| rule.name.is_some(),
        |rule: &Rule| rule.app.is_some(),
        |rule: &Rule| rule.address.is_some(),
        |rule: &Rule| rule.path.is_some(),
    );
    let nothing_else = |rule: &Rule| !has_name(rule) && !has_app(rule) && !has_address(rule);
    best(&|rule| names_host(rule), false)
        .or_else(|| protected.map(listed(Reason::Protected)))
        .or_else(|| best(&|rule| has_app(rule) && has_name(rule), false))
        .or_else(|| best(&|rule| has_name(rule), false))
        .or_else(|| {
            best(
                &|rule| !has_name(rule) && has_app(rule) && has_address(rule),
                false,
            )
        })
        .or_else(|| {
            best(
                &|rule| !has_name(rule) && has_app(rule) && !has_address(rule),
                true,
            )
        })
        .or_else(|| best(&|rule| !has_name(rule) && has_address(rule), false))
        .or_else(|| best(&|rule| nothing_else(rule) && has_path(rule), false))
        .or_else(|| best(&|rule| nothing_else(rule) && !has_path(rule), true))
        .or_else(|| entry.or(range).or(path).map(listed(Reason::Catalogue)))
        .unwrap_or(Decision::UNLISTED)
}

/// The far end, unless this is DNS.
fn judged_remote(facts: &Facts<'_>) -> Option<SocketAddr> {
    let is_dns = facts.flow.remote.port() == 53
        || matches!(
            facts.evidence,
            Evidence::Question { .. } | Evidence::Alias { .. }
        );
    (!is_dns).then_some(facts.flow.remote)
}

/// Of an HTTP request.
fn path<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    match facts.evidence {
        Evidence::Request { path, .. } => Some(std::str::from_utf8(path).unwrap()),
        _ => None,
    }
}

fn applies(rule: &Rule, facts: &Facts<'_>, packages: &Packages) -> bool {
    let name_holds = rule.name.as_ref().is_none_or(|pattern| {
        let asked = facts.evidence.name().map(ToString::to_string);
        asked.is_some_and(|asked| match pattern {
            NamePattern::Exact(name) => name.to_string() == asked,
            NamePattern::Suffix(name) => is_below(&asked, name),
        })
    });
    let app_holds = rule.app.as_ref().is_none_or(|app| {
        facts
            .attribution
            .uid()
            .is_some_and(|uid| packages.of(uid).any(|package| package == app))
    });
    let remote = judged_remote(facts);
    let about_far_end =
        rule.address.is_some() || rule.port.is_some() || rule.protocol.is_some();
    let far_end_holds = !about_far_end
        || remote.is_some_and(|remote| {
            let address: IpAddr = remote.ip().to_canonical();
            rule.address.is_none_or(|range| range.contains(&address))
                && rule.port.is_none_or(|port| port == remote.port())
                && rule.protocol.is_none_or(|it| it == facts.flow.protocol)
        });
    let path_holds = rule
        .path
        .as_ref()
        .is_none_or(|start| path(facts).is_some_and(|path| path.starts_with(&**start)));
    let in_time = rule.until.is_none_or(|until| NOW < until.0);
    name_holds && app_holds && far_end_holds && path_holds && in_time
}

fn is_below(asked: &str, name: &DomainName) -> bool {
    format!(".{asked}").ends_with(&format!(".{name}"))
}

/// Smallest is best.
fn rank(rule: &Rule, number: u32, is_choice: bool) -> impl Ord + use<> {
    let name = rule.name.as_ref().map_or(0, |pattern| match pattern {
        NamePattern::Exact(_) => 1000,
        NamePattern::Suffix(name) => name.labels().count(),
    });
    (
        // Among rules without a name the range comes first, among those with one the app.
        Reverse(name),
        rule.app.is_none(),
        rule.address
            .filter(|_| rule.name.is_none())
            .map_or(129, |range| 128 - range.prefix_len()),
        // Newest first, and before what is written.
        Reverse(is_choice.then_some(number)),
        rule.address.map_or(129, |range| 128 - range.prefix_len()),
        Reverse(rule.path.as_ref().map_or(0, |path| path.len())),
        rule.port.is_none(),
        rule.protocol.is_none(),
        rule.action,
        number,
    )
}

/// The entry whose pattern is the most specific; of equal ones the protected, then the milder.
fn best_entry(
    catalogue: &Catalogue,
    preset: Preset,
    specificity: impl Fn(&Pattern) -> Option<usize>,
) -> Option<(usize, Action)> {
    let entries = catalogue.endpoints.iter().enumerate();
    entries
        .filter_map(|(id, entry)| {
            let length = specificity(&entry.pattern)?;
            let action = preset.action(entry);
            Some((Reverse(length), !entry.is_protected(), action, id))
        })
        .min()
        .map(|(_, _, action, id)| (id, action))
}

fn name() -> impl Strategy<Value = DomainName> {
    prop::collection::vec(select(vec!["a", "b", "ab"]), 1..4)
        .prop_map(|labels| DomainName::from_text(&labels.join(".")).unwrap())
}

fn name_pattern() -> impl Strategy<Value = NamePattern> {
    (name(), any::<bool>()).prop_map(|(name, below)| match below {
        true => NamePattern::Suffix(name),
        false => NamePattern::Exact(name),
    })
}

fn range() -> impl Strategy<Value = ipnet::IpNet> {
    let ranges = [
        "203.0.113.0/24",
        "203.0.113.1/32",
        "203.0.113.0/25",
        "0.0.0.0/0",
        "::/0",
    ];
    select(ranges.to_vec()).prop_map(|range| range.parse().unwrap())
}

fn path_start() -> impl Strategy<Value = Box<str>> {
    select(vec!["/", "/sa", "/sa?project=", "/x"]).prop_map(Box::from)
}

fn action() -> impl Strategy<Value = Action> {
    select(vec![Action::Allow, Action::Log, Action::Block])
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        prop::option::of(name_pattern()),
        prop::option::of(select(vec!["com.a", "com.b", "com.absent"])),
        prop::option::of(range()),
        prop::option::of(select(vec![443, 8106])),
        prop::option::weighted(0.2, select(vec![Protocol::Tcp, Protocol::Udp])),
        prop::option::weighted(0.3, path_start()),
        action(),
        prop::option::of((NOW - 1..NOW + 2).prop_map(UnixSeconds)),
    )
        .prop_map(
            |(name, app, address, port, protocol, path, action, until)| Rule {
                name,
                app: app.map(|app| PackageName::from_text(app).unwrap()),
                address,
                port,
                protocol,
                path,
                until,
                ..Rule::new(action)
            },
        )
        .prop_filter("a rule has a condition", |rule| {
            let (named, by_app) = (rule.name.is_some(), rule.app.is_some());
            let (ranged, by_port) = (rule.address.is_some(), rule.port.is_some());
            named || by_app || ranged || by_port || rule.path.is_some()
        })
}

/// Also of more conditions than a command makes.
fn choice() -> impl Strategy<Value = Choice> {
    rule().prop_map(|rule| Choice {
        rule,
        made: UnixSeconds(NOW),
        when: Box::default(),
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let pattern = prop_oneof![
        3 => name_pattern().prop_map(|pattern| match pattern {
            NamePattern::Exact(name) => Pattern::Exact(name),
            NamePattern::Suffix(name) => Pattern::Suffix(name),
        }),
        1 => range().prop_map(Pattern::Range),
        1 => path_start().prop_map(Pattern::Path),
    ];
    let category = select(vec![
        Category::Telemetry,
        Category::Essential,
        Category::Functional,
    ]);
    let confidence = select(vec![Confidence::Low, Confidence::High]);
    (pattern, category, action(), confidence).prop_map(
        |(pattern, category, action, confidence)| Endpoint {
            pattern,
            owner: String::new(),
            system: String::new(),
            region: String::new(),
            category,
            action,
            confidence,
            ports: Vec::new(),
            breaks: String::new(),
            sources: Vec::new(),
        },
    )
}

/// What is seen of a packet, owning its name.
#[derive(Clone, Debug)]
struct Seen {
    kind: u8,
    name: DomainName,
    uid: Option<u32>,
    remote: SocketAddr,
    path: &'static str,
}

/// What an alias stands in for, which decides nothing.
static UNLISTED: LazyLock<DomainName> =
    LazyLock::new(|| DomainName::from_ascii(b"nobody.knows.it").unwrap());

impl Seen {
    fn facts(&self) -> Facts<'_> {
        Facts {
            flow: FlowKey {
                protocol: Protocol::Tcp,
                local: SocketAddr::from(([10, 0, 0, 2], 40_000)),
                remote: self.remote,
            },
            attribution: self.uid.map(Uid).into(),
            evidence: match self.kind {
                0 => Evidence::Question {
                    name: &self.name,
                    qtype: 1,
                },
                1 => Evidence::Sni(&self.name),
                2 => Evidence::Request {
                    host: Some(&self.name),
                    path: self.path.as_bytes(),
                },
                3 => Evidence::Unnamed,
                4 => Evidence::Syn { name_follows: true },
                5 => Evidence::Alias {
                    name: &self.name,
                    asked: &UNLISTED,
                    qtype: 1,
                },
                _ => Evidence::Syn {
                    name_follows: false,
                },
            },
        }
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    let uids = vec![10_101, 10_102, 99_910_101, 20_101, 30_101, 1000];
    let addresses = ["203.0.113.1", "203.0.113.9", "203.0.113.200", "192.0.2.1"];
    let addresses = [&addresses[..], &["::ffff:203.0.113.1", "2001:db8::1"]].concat();
    (
        0_u8..7,
        name(),
        prop::option::of(select(uids)),
        select(addresses),
        select(vec![443, 443, 8106, 53]),
        select(vec!["", "/", "/sa", "/sa?project=a"]),
    )
        .prop_map(|(kind, name, uid, address, port, path)| Seen {
            kind,
            name,
            uid,
            remote: SocketAddr::new(address.parse().unwrap(), port),
            path,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decide_equals_the_reference(
        preset in select(vec![Preset::Careful, Preset::Standard, Preset::Strict]),
        rules in prop::collection::vec(rule(), 0..12),
        choices in prop::collection::vec(choice(), 0..6),
        endpoints in prop::collection::vec(endpoint(), 0..12),
        packets in prop::collection::vec(seen(), 1..20),
    ) {
        let catalogue = Catalogue { endpoints };
        let policy = Policy::compile(
            Mode::Enforce,
            preset,
            &rules,
            Arc::new(catalogue.clone()),
            &Packages::parse(PACKAGES),
        );
        let chosen = Chosen { choices, pause: None };
        let policy = policy.with_chosen(&chosen, &Packages::parse(PACKAGES));
        for packet in packets {
            let facts = packet.facts();
            prop_assert_eq!(
                policy.decide(&facts, UnixSeconds(NOW)),
                reference(preset, &rules, &chosen.choices, &catalogue, &facts),
                "{:?}", packet
            );
        }
    }

    #[test]
    fn a_protected_name_is_refused_only_by_a_rule_that_names_it(
        rules in prop::collection::vec(rule(), 0..12),
        choices in prop::collection::vec(choice(), 0..6),
        packet in seen(),
    ) {
        let endpoint = Endpoint {
            pattern: Pattern::Exact(packet.name.clone()),
            owner: String::new(),
            system: String::new(),
            region: String::new(),
            category: Category::Essential,
            action: Action::Allow,
            confidence: Confidence::Low,
            ports: Vec::new(),
            breaks: String::new(),
            sources: Vec::new(),
        };
        let catalogue = Arc::new(Catalogue { endpoints: vec![endpoint] });
        let packages = Packages::parse(PACKAGES);
        let policy = Policy::compile(Mode::Enforce, Preset::Strict, &rules, catalogue, &packages);
        let chosen = Chosen { choices, pause: None };
        let policy = policy.with_chosen(&chosen, &packages);
        let decision = policy.decide(&packet.facts(), UnixSeconds(NOW));
        if packet.facts().evidence.name().is_some() && decision.action == Action::Block {
            let place = |id: RuleId| usize::try_from(id.0).unwrap() - 1;
            let rule = match decision.reason {
                Reason::Rule(id) => &rules[place(id)],
                Reason::Choice(id) => &chosen.choices[place(id)].rule,
                _ => return Err(TestCaseError::fail("not a rule")),
            };
            prop_assert_eq!(&rule.name, &Some(NamePattern::Exact(packet.name.clone())));
        }
    }
}
