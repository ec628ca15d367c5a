//! The order of precedence, case by case. Rules are written as users write them.

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
com.shop.helper 10102 0
";

/// Name or range, category, action; medium confidence.
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
];

fn catalogue() -> Catalogue {
    let endpoint = |&(pattern, category, action): &(&str, Category, Action)| Endpoint {
        pattern: match pattern.parse() {
            Ok(range) => Pattern::Range(range),
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
    let rules = Config::parse("rules", rules).unwrap().rules;
    let packages = Packages::parse(PACKAGES);
    Policy::compile(
        Mode::Enforce,
        preset,
        &rules,
        Arc::new(catalogue()),
        &packages,
    )
}

/// What is seen of a packet: `question NAME`, `sni NAME`, `host NAME`, `unnamed`, `syn` (a name
/// follows) or `syn-only`, then `from UID` and `to ADDRESS:PORT` where they matter.
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
        ("host", Some(name)) => Evidence::Host(name),
        ("unnamed", _) => Evidence::Unnamed,
        ("syn", _) => Evidence::Syn { name_follows: true },
        ("syn-only", _) => Evidence::Syn {
            name_follows: false,
        },
        _ => panic!("no such packet: {seen}"),
    };
    let facts = Facts {
        flow: FlowKey {
            protocol: if is_dns { Protocol::Udp } else { Protocol::Tcp },
            local: SocketAddr::from(([10, 0, 0, 2], 40_000)),
            remote,
        },
        uid: after("from").map(|uid| Uid(uid.parse().unwrap())),
        evidence,
    };
    policy.decide(&facts, NOW)
}

/// `block by rule 1`, `allow by protected account.miui.com`, `allow by nothing`.
fn told(decision: Decision) -> String {
    let entry = |EndpointId(id)| CATALOGUE[usize::try_from(id).unwrap()].0;
    let by = match decision.reason {
        Reason::Rule(id) => format!("rule {id}"),
        Reason::Protected(id) => format!("protected {}", entry(id)),
        Reason::Catalogue(id) => format!("catalogue {}", entry(id)),
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
fn without_rules_the_most_specific_catalogue_entry_decides() {
    check(
        "",
        &[
            (
                "question tracking.miui.com",
                "block by catalogue tracking.miui.com",
            ),
            ("sni a.tracking.miui.com", "block by catalogue *.miui.com"),
            ("host miui.com", "block by catalogue *.miui.com"),
            ("question news.miui.com", "log by catalogue news.miui.com"),
            (
                "question account.miui.com",
                "allow by protected account.miui.com",
            ),
            (
                "question a.update.miui.com",
                "allow by protected *.update.miui.com",
            ),
            (
                "question stats.update.miui.com",
                "block by catalogue stats.update.miui.com",
            ),
            ("question example.org", "allow by nothing"),
            ("unnamed", "allow by nothing"),
            ("syn", "allow by nothing"),
        ],
    );
}

#[test]
fn catalogue_ranges_decide_by_the_longest_prefix_where_no_name_is_listed() {
    check(
        "",
        &[
            (
                "syn to 198.51.100.9:443",
                "block by catalogue 198.51.100.0/24",
            ),
            (
                "syn to [::ffff:198.51.100.9]:443",
                "block by catalogue 198.51.100.0/24",
            ),
            (
                "syn to 198.51.100.7:443",
                "allow by catalogue 198.51.100.7/32",
            ),
            (
                "syn-only to 198.51.100.9:5222",
                "block by catalogue 198.51.100.0/24",
            ),
            (
                "unnamed to 198.51.100.9:443",
                "block by catalogue 198.51.100.0/24",
            ),
            (
                "sni example.org to 198.51.100.9:443",
                "block by catalogue 198.51.100.0/24",
            ),
            (
                "sni news.miui.com to 198.51.100.9:443",
                "log by catalogue news.miui.com",
            ),
            (
                "question example.org to 198.51.100.9:53",
                "allow by nothing",
            ),
            ("syn to 198.51.100.9:53", "allow by nothing"),
        ],
    );
}

#[test]
fn only_a_rule_that_names_the_very_host_beats_protection() {
    check(
        r#"
        [[rule]]
        name = "*.miui.com"
        action = "block"
        [[rule]]
        name = "*.account.miui.com"
        action = "block"
        [[rule]]
        app = "com.browser"
        action = "block"
        [[rule]]
        name = "a.update.miui.com"
        action = "block"
        "#,
        &[
            (
                "question account.miui.com from 10101",
                "allow by protected account.miui.com",
            ),
            (
                "sni b.update.miui.com from 10101",
                "allow by protected *.update.miui.com",
            ),
            ("question a.update.miui.com", "block by rule 4"),
            ("question a.account.miui.com", "block by rule 2"),
            ("question x.miui.com", "block by rule 1"),
        ],
    );
}

#[test]
fn rules_go_from_app_and_name_down_to_address_and_port() {
    check(
        r#"
        [[rule]]
        port = 8443
        action = "log"
        [[rule]]
        address = "203.0.113.0/24"
        action = "block"
        [[rule]]
        app = "com.browser"
        action = "log"
        [[rule]]
        app = "com.browser"
        address = "203.0.113.0/24"
        action = "allow"
        [[rule]]
        name = "*.a.example.org"
        action = "block"
        [[rule]]
        name = "*.example.org"
        app = "com.browser"
        action = "allow"
        "#,
        &[
            (
                "sni x.a.example.org from 10101 to 203.0.113.1:8443",
                "allow by rule 6",
            ),
            (
                "sni x.a.example.org from 10102 to 203.0.113.1:8443",
                "block by rule 5",
            ),
            ("sni x.a.example.org to 203.0.113.1:8443", "block by rule 5"),
            (
                "sni other.org from 10101 to 203.0.113.1:8443",
                "allow by rule 4",
            ),
            (
                "sni other.org from 10101 to 192.0.2.1:8443",
                "log by rule 3",
            ),
            (
                "sni other.org from 10102 to 203.0.113.1:8443",
                "block by rule 2",
            ),
            (
                "sni other.org from 10102 to 192.0.2.1:8443",
                "log by rule 1",
            ),
            (
                "sni other.org from 10102 to 192.0.2.1:443",
                "allow by nothing",
            ),
        ],
    );
}

#[test]
fn more_conditions_win_then_the_milder_action_then_the_earlier_rule() {
    check(
        r#"
        [[rule]]
        name = "a.example.org"
        action = "block"
        [[rule]]
        name = "a.example.org"
        action = "log"
        [[rule]]
        name = "a.example.org"
        action = "log"
        [[rule]]
        name = "a.example.org"
        app = "com.browser"
        action = "block"
        [[rule]]
        name = "a.example.org"
        port = 8106
        action = "block"
        [[rule]]
        name = "a.example.org"
        address = "203.0.113.0/25"
        action = "block"
        [[rule]]
        name = "a.example.org"
        address = "203.0.113.0/24"
        action = "allow"
        "#,
        &[
            ("question a.example.org", "log by rule 2"),
            ("sni a.example.org from 10101", "block by rule 4"),
            ("sni a.example.org to 192.0.2.1:8106", "block by rule 5"),
            ("sni a.example.org to 203.0.113.5:8106", "block by rule 6"),
            ("sni a.example.org to 203.0.113.200:8106", "allow by rule 7"),
        ],
    );
}

#[test]
fn a_rule_with_an_address_or_a_port_is_not_about_dns() {
    check(
        r#"
        [[rule]]
        address = "192.0.2.0/24"
        action = "block"
        [[rule]]
        name = "b.example.org"
        port = 443
        action = "block"
        [[rule]]
        app = "com.browser"
        action = "log"
        "#,
        &[
            ("question example.org to 192.0.2.53:53", "allow by nothing"),
            (
                "question b.example.org to 192.0.2.53:53",
                "allow by nothing",
            ),
            ("syn to 192.0.2.53:53", "allow by nothing"),
            ("question example.org from 10101", "log by rule 3"),
            ("syn to 192.0.2.53:443", "block by rule 1"),
            ("sni b.example.org to 192.0.2.53:443", "block by rule 2"),
            ("sni b.example.org to 192.0.2.53:8443", "block by rule 1"),
        ],
    );
}

#[test]
fn a_block_by_app_or_port_waits_for_the_name_that_follows() {
    check(
        r#"
        [[rule]]
        app = "com.browser"
        action = "block"
        [[rule]]
        port = 8443
        action = "block"
        [[rule]]
        app = "com.shop"
        action = "allow"
        [[rule]]
        app = "com.browser"
        address = "203.0.113.0/24"
        action = "block"
        "#,
        &[
            ("syn from 10101", "allow by nothing"),
            ("syn-only from 10101", "block by rule 1"),
            ("unnamed from 10101", "block by rule 1"),
            (
                "sni account.miui.com from 10101",
                "allow by protected account.miui.com",
            ),
            ("sni example.org from 10101", "block by rule 1"),
            ("syn to 192.0.2.1:8443", "allow by nothing"),
            ("unnamed to 192.0.2.1:8443", "block by rule 2"),
            ("syn from 10101 to 203.0.113.1:443", "block by rule 4"),
            // To let an app through needs no name: the catalogue's range does not stop it.
            ("syn from 10102 to 198.51.100.9:443", "allow by rule 3"),
            (
                "syn from 10101 to 198.51.100.9:443",
                "block by catalogue 198.51.100.0/24",
            ),
        ],
    );
}

#[test]
fn an_app_is_known_in_every_user_and_in_its_sandbox_and_never_guessed() {
    check(
        "[[rule]]\napp = \"com.shop\"\naction = \"block\"\n\
         [[rule]]\napp = \"com.absent\"\naction = \"block\"\n",
        &[
            ("unnamed from 10102", "block by rule 1"),
            ("unnamed from 99910102", "block by rule 1"),
            ("unnamed from 20102", "block by rule 1"),
            ("unnamed from 10101", "allow by nothing"),
            ("unnamed from 0", "allow by nothing"),
            ("unnamed", "allow by nothing"),
        ],
    );
}

#[test]
fn a_rule_ends_at_its_moment() {
    let rule = |until: i64| Rule {
        port: Some(443),
        until: Some(UnixSeconds(until)),
        ..Rule::new(Action::Block)
    };
    for (until, expected) in [
        (NOW.0 + 1, "block by rule 1"),
        (NOW.0, "allow by nothing"),
        (NOW.0 - 1, "allow by nothing"),
    ] {
        let policy = Policy::compile(
            Mode::Enforce,
            Preset::Standard,
            &[rule(until)],
            Arc::new(catalogue()),
            &Packages::default(),
        );
        assert_eq!(told(decide(&policy, "unnamed")), expected);
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
    let observe = enforce.clone().with_mode(Mode::Observe);
    let outcomes =
        |seen| [&enforce, &observe].map(|policy| policy.outcome(&decide(policy, seen)));
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
        let explanation = careful.explain(&decide(&careful, seen));
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
    assert_eq!(standard.explain(&blocked).breaks(), Some("some feature"));
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
