//! Which rule or entry wins.

use super::*;

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
fn a_path_decides_about_requests_that_no_name_or_address_decides_about() {
    check(
        "",
        &[
            (
                "host collector.example path /sa?project=a",
                "log by catalogue /sa?project=",
            ),
            (
                "hostless path /sa?project=a",
                "log by catalogue /sa?project=",
            ),
            ("host collector.example path /sa", "allow by nothing"),
            (
                "host collector.example path /SA?project=a",
                "allow by nothing",
            ),
            (
                "host tracking.miui.com path /sa?project=a",
                "block by catalogue tracking.miui.com",
            ),
            (
                "host account.miui.com path /sa?project=a",
                "allow by protected account.miui.com",
            ),
            ("sni collector.example", "allow by nothing"),
        ],
    );
    check(
        r#"
[[rule]]
path = "/sa"
action = "block"

[[rule]]
path = "/sa?project=mine"
action = "allow"

[[rule]]
name = "*.example"
path = "/sa?project="
action = "log"

[[rule]]
port = 8106
action = "allow"
"#,
        &[
            ("hostless path /sa.gif", "block by rule 1"),
            ("hostless path /sa.gif to 192.0.2.1:8106", "block by rule 1"),
            ("hostless path / to 192.0.2.1:8106", "allow by rule 4"),
            ("hostless path /sa?project=mine", "allow by rule 2"),
            ("host a.example path /sa?project=mine", "log by rule 3"),
            ("host a.example path /sa", "block by rule 1"),
            ("sni a.example", "allow by nothing"),
            ("question a.example", "allow by nothing"),
            ("syn", "allow by nothing"),
            (
                "host account.miui.com path /sa",
                "allow by protected account.miui.com",
            ),
        ],
    );
}

#[test]
fn a_protocol_is_a_condition_of_connections() {
    check(
        "[[rule]]\naddress = \"203.0.113.7\"\nprotocol = \"udp\"\naction = \"block\"",
        &[
            ("syn to 203.0.113.7:443", "allow by nothing"),
            ("question a.example to 203.0.113.7:53", "allow by nothing"),
        ],
    );
    check(
        "[[rule]]\naddress = \"203.0.113.7\"\nprotocol = \"tcp\"\naction = \"block\"",
        &[("syn to 203.0.113.7:443", "block by rule 1")],
    );
}

#[test]
fn encrypted_dns_is_shown_and_that_of_the_system_may_be_refused() {
    let told_by = |wanted, setting, rules, seen| {
        let policy = policy(Preset::Strict, rules).with_encrypted_dns(wanted, setting);
        told(decide(&policy, seen))
    };
    let dot = "syn-only from 1051 to 192.0.2.53:853";
    let doq = "sni other.example quic from 1051 to 192.0.2.53:853";
    let doh3 = "sni dns.example.org quic from 1051";
    use EncryptedDns::{FallBack, Report};
    use PrivateDns::{Off, Opportunistic, Strict, Unknown};
    for (wanted, setting) in [
        (Report, Opportunistic),
        (FallBack, Off),
        (FallBack, Strict),
        (FallBack, Unknown),
    ] {
        for seen in [dot, doq] {
            assert_eq!(told_by(wanted, setting, "", seen), "log by encrypted DNS");
        }
        assert_eq!(
            told_by(wanted, setting, "", doh3),
            "log by catalogue dns.example.org"
        );
    }
    for (seen, expected) in [
        (dot, "block by encrypted DNS"),
        (doq, "block by encrypted DNS"),
        (
            "unnamed quic from 1051 to 192.0.2.53:853",
            "block by encrypted DNS",
        ),
        (doh3, "block by encrypted DNS"),
        // What apps do by themselves has nothing to fall back to.
        (
            "syn-only from 10123 to 192.0.2.53:853",
            "log by encrypted DNS",
        ),
        // Nor what root does by itself.
        ("syn-only from 0 to 192.0.2.53:853", "log by encrypted DNS"),
        ("syn-only to 192.0.2.53:853", "log by encrypted DNS"),
        (
            "sni other.example quic from 10123 to 192.0.2.53:853",
            "log by encrypted DNS",
        ),
        ("unnamed quic to 192.0.2.53:853", "log by encrypted DNS"),
        (
            "sni dns.example.org quic from 10123",
            "log by catalogue dns.example.org",
        ),
        (
            "sni dns.example.org from 1051",
            "log by catalogue dns.example.org",
        ),
        ("sni other.example.org quic from 1051", "allow by nothing"),
        ("syn-only from 1051 to 192.0.2.53:443", "allow by nothing"),
        (
            "question dns.example.org from 1051",
            "log by catalogue dns.example.org",
        ),
    ] {
        assert_eq!(
            told_by(FallBack, Opportunistic, "", seen),
            expected,
            "{seen}"
        );
    }
    let rule = "[[rule]]\nport = 853\naction = \"allow\"";
    assert_eq!(
        told_by(FallBack, Opportunistic, rule, dot),
        "allow by rule 1"
    );
}
