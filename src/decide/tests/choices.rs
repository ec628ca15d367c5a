//! What was decided by command: before written rules for the same name and app, the newest first.

use super::*;

/// `choices` as rules, the newest last.
fn chosen(choices: &str) -> Chosen {
    let rules = Config::parse("choices", choices).unwrap().rules;
    let choice = |rule| Choice {
        rule,
        made: NOW,
        when: "of just now".into(),
    };
    Chosen {
        choices: rules.into_iter().map(choice).collect(),
        pause: None,
    }
}

fn rule(name: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"{action}\"\n")
}

fn rule_for(app: &str, name: &str, action: &str) -> String {
    format!("{}app = \"{app}\"\n", rule(name, action))
}

fn ending(rule: &str, until: i64) -> String {
    let until = jiff::Timestamp::from_second(until).unwrap();
    format!("{rule}until = {until}\n")
}

#[track_caller]
fn check(rules: &str, choices: &str, cases: &[(&str, &str)]) {
    let packages = Packages::parse(PACKAGES);
    let policy = policy(Preset::Standard, rules).with_chosen(&chosen(choices), &packages);
    for &(seen, expected) in cases {
        assert_eq!(told(decide(&policy, seen)), expected, "{seen}");
    }
}

#[test]
fn a_choice_beats_a_rule_for_the_same_name_whatever_either_asks() {
    for (written, decided) in [("allow", "block"), ("block", "allow"), ("log", "block")] {
        for name in ["mine.org", "*.mine.org"] {
            let asked = [
                ("question mine.org", &*format!("{decided} by choice 1")),
                ("sni mine.org from 10101", &format!("{decided} by choice 1")),
            ];
            check(&rule(name, written), &rule(name, decided), &asked);
        }
    }
    // Also where the rule looks at more than the name.
    let narrow = format!("{}port = 443\n", rule("mine.org", "block"));
    check(
        &narrow,
        &rule("mine.org", "allow"),
        &[("sni mine.org", "allow by choice 1")],
    );
}

#[test]
fn a_more_specific_rule_beats_a_choice() {
    let rules = [
        rule("a.mine.org", "allow"),
        rule_for("com.browser", "*.mine.org", "log"),
    ];
    check(
        &rules.concat(),
        &rule("*.mine.org", "block"),
        &[
            ("question mine.org", "block by choice 1"),
            ("question b.mine.org from 10102", "block by choice 1"),
            ("question a.mine.org", "allow by rule 1"),
            ("question b.mine.org from 10101", "log by rule 2"),
        ],
    );
}

#[test]
fn a_choice_for_an_app_comes_before_one_for_all() {
    let choices = [
        rule_for("com.browser", "mine.org", "allow"),
        rule("mine.org", "block"),
    ];
    check(
        "",
        &choices.concat(),
        &[
            ("question mine.org from 10101", "allow by choice 1"),
            ("question mine.org from 10102", "block by choice 2"),
            ("question mine.org", "block by choice 2"),
        ],
    );
}

#[test]
fn the_newest_choice_decides_and_what_it_covers_counts_again_when_it_ends() {
    let block = rule("mine.org", "block");
    for (until, expected) in [
        (NOW.0 + 1, "allow by choice 2"),
        (NOW.0, "block by choice 1"),
    ] {
        let choices = [&*block, &ending(&rule("mine.org", "allow"), until)].concat();
        check("", &choices, &[("question mine.org", expected)]);
    }
    // Also between apps that share their uid.
    let shared = [
        rule_for("com.shop", "mine.org", "block"),
        rule_for("com.shop.extra", "mine.org", "allow"),
    ];
    check(
        "",
        &shared.concat(),
        &[("question mine.org from 10102", "allow by choice 2")],
    );
}

#[test]
fn an_essential_host_is_blocked_by_its_very_name_only() {
    let wide = rule("*.miui.com", "block");
    check(
        "",
        &wide,
        &[
            (
                "question account.miui.com",
                "allow by protected account.miui.com",
            ),
            ("question news.miui.com", "block by choice 1"),
        ],
    );
    check(
        "",
        &[wide, rule("account.miui.com", "block")].concat(),
        &[("question account.miui.com", "block by choice 2")],
    );
}

#[test]
fn an_address_is_chosen_as_a_rule_for_it() {
    check(
        "[[rule]]\naddress = \"203.0.113.0/24\"\naction = \"allow\"\n",
        "[[rule]]\naddress = \"203.0.113.7\"\naction = \"block\"\n\
         [[rule]]\naddress = \"198.51.100.0/24\"\naction = \"allow\"\n",
        &[
            ("syn to 203.0.113.7:443", "block by choice 1"),
            ("syn to 203.0.113.8:443", "allow by rule 1"),
            ("syn to 198.51.100.9:443", "allow by choice 2"),
        ],
    );
}

#[test]
fn a_pause_lets_everything_pass_until_it_ends_and_never_for_more_than_a_day() {
    let rules = rule("mine.org", "block");
    for (until, expected) in [
        (NOW.0 + 1, Outcome::WouldBlock),
        (NOW.0 + Pause::MAX_SECONDS, Outcome::WouldBlock),
        (NOW.0 + Pause::MAX_SECONDS + 1, Outcome::Blocked),
        (i64::MAX, Outcome::Blocked),
        (NOW.0, Outcome::Blocked),
        (i64::MIN, Outcome::Blocked),
    ] {
        let pause = Pause {
            until: UnixSeconds(until),
            when: "until 12:54".into(),
        };
        let chosen = Chosen {
            choices: Vec::new(),
            pause: Some(pause),
        };
        let policy = policy(Preset::Standard, &rules);
        let policy = policy.with_chosen(&chosen, &Packages::default());
        let blocked = decide(&policy, "question mine.org");
        assert_eq!(told(blocked), "block by rule 1");
        assert_eq!(policy.outcome(&blocked, NOW), expected, "{until}");
        let passing = decide(&policy, "question example.org");
        assert_eq!(policy.outcome(&passing, NOW), Outcome::Allowed);
        let why = policy.explain(&blocked, NOW).to_string();
        let paused = why == "your rule 1: block mine.org; it passes: paused until 12:54";
        assert_eq!(paused, expected == Outcome::WouldBlock, "{why}");
    }
}

#[test]
fn a_choice_says_when_it_was_made() {
    let packages = Packages::parse(PACKAGES);
    let choices = chosen(&rule_for("com.browser", "*.mine.org", "block"));
    let policy = policy(Preset::Standard, "").with_chosen(&choices, &packages);
    let decision = decide(&policy, "question a.mine.org from 10101");
    assert_eq!(
        policy.explain(&decision, NOW).to_string(),
        "your choice of just now: block *.mine.org for com.browser"
    );
}
