//! Decisions, case by case. Rules are written as users write them.

mod choices;
mod precedence;

use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::apps::{PackageName, Packages};
use crate::catalogue::{Catalogue, Category, Confidence, Endpoint, Pattern, Preset};
use crate::config::Config;
use crate::parse::DomainName;

const NOW: UnixSeconds = UnixSeconds(1_750_000_000);

const PACKAGES: &str = "\
com.browser 10101 0
com.shop 10102 0
com.shop.extra 10102 0
";

/// Name, range or path, category, action; medium confidence.
const CATALOGUE: &[(&str, Category, Action)] = &[
    ("*.miui.com", Category::Telemetry, Action::Block),
    ("tracking.miui.com", Category::Telemetry, Action::Block),
    ("account.miui.com", Category::Essential, Action::Allow),
    ("*.update.miui.com", Category::Ota, Action::Allow),
    ("stats.update.miui.com", Category::Telemetry, Action::Block),
    ("news.miui.com", Category::Functional, Action::Log),
    ("ads.example.net", Category::Ads, Action::Log),
    ("198.51.100.0/24", Category::Httpdns, Action::Block),
    ("198.51.100.7/32", Category::Push, Action::Allow),
    ("/sa?project=", Category::Telemetry, Action::Log),
    ("dns.example.org", Category::EncryptedDns, Action::Log),
];

fn catalogue() -> Catalogue {
    let endpoint = |&(pattern, category, action): &(&str, Category, Action)| Endpoint {
        pattern: match pattern.parse() {
            Ok(range) => Pattern::Range(range),
            Err(_) if pattern.starts_with('/') => Pattern::Path((*pattern).into()),
            Err(_) => match NamePattern::from_text(pattern).unwrap() {
                NamePattern::Exact(name) => Pattern::Exact(name),
                NamePattern::Suffix(name) => Pattern::Suffix(name),
            },
        },
        owner: "Example".into(),
        system: "Test".into(),
        region: "global".into(),
        category,
        action,
        confidence: Confidence::Medium,
        ports: Vec::new(),
        breaks: "some feature".into(),
        sources: vec!["https://example.com/".into()],
    };
    Catalogue {
        endpoints: CATALOGUE.iter().map(endpoint).collect(),
    }
}

fn policy(preset: Preset, rules: &str) -> Policy {
    policy_in(Mode::Enforce, preset, rules)
}

fn policy_in(mode: Mode, preset: Preset, rules: &str) -> Policy {
    let rules = Config::parse("rules", rules).unwrap().rules;
    let packages = Packages::parse(PACKAGES);
    Policy::compile(mode, preset, &rules, Arc::new(catalogue()), &packages)
}

/// What is seen of a packet: `question NAME`, `sni NAME`, `host NAME`, `hostless`, `unnamed`, `syn`
/// (a name follows) or `syn-only`, then `quic`, `path PATH`, `from UID` and `to ADDRESS:PORT` where
/// they matter.
fn decide(policy: &Policy, seen: &str) -> Decision {
    let words: Vec<&str> = seen.split(' ').collect();
    let after = |word| {
        let place = words.iter().position(|&other| other == word)?;
        words.get(place + 1).copied()
    };
    let is_dns = words[0] == "question";
    let remote = match after("to") {
        Some(remote) => remote.parse().unwrap(),
        None if is_dns => "192.0.2.53:53".parse().unwrap(),
        None => "192.0.2.80:443".parse().unwrap(),
    };
    let name = after(words[0]).and_then(|text| DomainName::from_text(text).ok());
    let evidence = match (words[0], &name) {
        ("question", Some(name)) => Evidence::Question { name, qtype: 1 },
        ("sni", Some(name)) => Evidence::Sni(name),
        ("host", Some(name)) => Evidence::Request {
            host: Some(name),
            path: after("path").unwrap_or("/").as_bytes(),
        },
        ("hostless", _) => Evidence::Request {
            host: None,
            path: after("path").unwrap_or("/").as_bytes(),
        },
        ("unnamed", _) => Evidence::Unnamed,
        ("syn", _) => Evidence::Syn { name_follows: true },
        ("syn-only", _) => Evidence::Syn {
            name_follows: false,
        },
        _ => panic!("no such packet: {seen}"),
    };
    let facts = Facts {
        flow: FlowKey {
            protocol: if is_dns || words.contains(&"quic") {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            local: SocketAddr::from(([10, 0, 0, 2], 40_000)),
            remote,
        },
        attribution: after("from").map(|uid| Uid(uid.parse().unwrap())).into(),
        evidence,
    };
    policy.decide(&facts, NOW)
}

/// `block by rule 1`, `allow by protected account.miui.com`, `allow by nothing`.
fn told(decision: Decision) -> String {
    let entry = |EndpointId(id)| CATALOGUE[usize::try_from(id).unwrap()].0;
    let by = match decision.reason {
        Reason::Rule(id) => format!("rule {id}"),
        Reason::Choice(id) => format!("choice {id}"),
        Reason::Protected(id) => format!("protected {}", entry(id)),
        Reason::Catalogue(id) => format!("catalogue {}", entry(id)),
        Reason::EncryptedDns => "encrypted DNS".to_owned(),
        Reason::Unlisted => "nothing".to_owned(),
    };
    format!("{} by {by}", decision.action)
}

fn check(rules: &str, cases: &[(&str, &str)]) {
    let policy = policy(Preset::Standard, rules);
    for &(seen, expected) in cases {
        assert_eq!(
            told(decide(&policy, seen)),
            expected,
            "{seen}, rules:\n{rules}"
        );
    }
}

#[test]
fn presets_change_the_catalogue_and_nothing_else() {
    for (preset, tracking, ads) in [
        (Preset::Careful, Action::Log, Action::Log),
        (Preset::Standard, Action::Block, Action::Log),
        (Preset::Strict, Action::Block, Action::Block),
    ] {
        let policy = policy(
            preset,
            "[[rule]]\nname = \"mine.org\"\naction = \"block\"\n",
        );
        assert_eq!(
            decide(&policy, "question tracking.miui.com").action,
            tracking
        );
        assert_eq!(decide(&policy, "question ads.example.net").action, ads);
        assert_eq!(decide(&policy, "question mine.org").action, Action::Block);
        assert_eq!(
            decide(&policy, "question account.miui.com").action,
            Action::Allow
        );
    }
}

#[test]
fn of_entries_for_the_same_name_the_protected_then_the_milder_one_counts() {
    let mut catalogue = catalogue();
    for (index, action, category) in [
        (0, Action::Block, Category::Ads),
        (1, Action::Allow, Category::Functional),
        (2, Action::Allow, Category::Essential),
    ] {
        let endpoint = &mut catalogue.endpoints[index];
        endpoint.pattern = Pattern::Exact(DomainName::from_text("same.org").unwrap());
        (endpoint.action, endpoint.category) = (action, category);
    }
    let compile = |catalogue| {
        let packages = Packages::default();
        Policy::compile(
            Mode::Enforce,
            Preset::Standard,
            &[],
            Arc::new(catalogue),
            &packages,
        )
    };
    let reason = |policy| decide(&policy, "question same.org").reason;
    assert_eq!(
        reason(compile(catalogue.clone())),
        Reason::Protected(EndpointId(2))
    );
    catalogue.endpoints.truncate(2);
    assert_eq!(reason(compile(catalogue)), Reason::Catalogue(EndpointId(1)));
}

#[test]
fn outcomes_follow_the_mode() {
    let rules = "[[rule]]\nname = \"mine.org\"\naction = \"block\"\n";
    let enforce = policy(Preset::Standard, rules);
    let observe = policy_in(Mode::Observe, Preset::Standard, rules);
    let outcomes =
        |seen| [&enforce, &observe].map(|policy| policy.outcome(&decide(policy, seen), NOW));
    assert_eq!(
        outcomes("question mine.org"),
        [Outcome::Blocked, Outcome::WouldBlock]
    );
    assert_eq!(outcomes("question news.miui.com"), [Outcome::Logged; 2]);
    assert_eq!(outcomes("question example.org"), [Outcome::Allowed; 2]);
}

#[test]
fn explanations_name_the_rule_or_the_entry_and_what_breaks() {
    let rules = "[[rule]]\nname = \"*.mine.org\"\napp = \"com.browser\"\naction = \"block\"\n";
    let careful = policy(Preset::Careful, rules);
    let explained = |seen| {
        let explanation = careful.explain(&decide(&careful, seen), NOW);
        (explanation.to_string(), explanation.breaks())
    };
    assert_eq!(
        explained("question a.mine.org from 10101"),
        (
            "your rule 1: block *.mine.org for com.browser".to_owned(),
            None
        )
    );
    assert_eq!(
        explained("question tracking.miui.com"),
        (
            "catalogue: telemetry, Test (Example); decided by the preset".to_owned(),
            None
        )
    );
    assert_eq!(
        explained("question account.miui.com"),
        ("essential service: Test (Example)".to_owned(), None)
    );
    assert_eq!(
        explained("unnamed"),
        ("not in the catalogue and no rule for it".to_owned(), None)
    );
    let standard = policy(Preset::Standard, "");
    let blocked = decide(&standard, "question tracking.miui.com");
    assert_eq!(
        standard.explain(&blocked, NOW).breaks(),
        Some("some feature")
    );
}

#[test]
fn a_package_of_no_phone_can_be_asked_about() {
    let package = PackageName::from_text("com.absent").unwrap();
    let packages = Packages::default().with(&package);
    let rule = Rule {
        app: Some(package.clone()),
        ..Rule::new(Action::Block)
    };
    let catalogue = Arc::new(Catalogue::default());
    let policy = Policy::compile(
        Mode::Enforce,
        Preset::Standard,
        &[rule],
        catalogue,
        &packages,
    );
    let id = packages.app_id(&package).unwrap();
    assert_eq!(
        told(decide(&policy, &format!("unnamed from {id}"))),
        "block by rule 1"
    );
}
