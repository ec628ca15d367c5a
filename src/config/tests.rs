use std::fmt::Write as _;

use super::reader::{Section, Source};
use super::*;
use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::apps::PackageName;
use crate::decide::{Action, EncryptedDns, NamePattern, PrivateDns, Rule, UnixSeconds};

const SHIPPED: &str = include_str!("../../config/muzzle.toml");

/// The shipped file with its example rule, whose lines begin with `#` and no space, made real.
fn shipped_with_example() -> String {
    let mut text = String::new();
    for line in SHIPPED.lines() {
        let example = line.strip_prefix('#').filter(|rest| {
            rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[')
        });
        writeln!(text, "{}", example.unwrap_or(line)).unwrap();
    }
    text
}

fn problems(text: &str) -> String {
    Config::parse("muzzle.toml", text)
        .expect_err("the text is wrong")
        .to_string()
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(
        Config::parse("muzzle.toml", SHIPPED).unwrap(),
        Config::default()
    );
}

#[test]
fn the_shipped_file_shows_every_key() {
    let text = shipped_with_example();
    let absent = Source::keys_not_written(&text, written::read);
    assert_eq!(absent, Vec::<String>::new());
    let absent = Source::keys_not_written("mode = \"enforce\"", written::read);
    assert!(absent.contains(&"dns".to_owned()), "{absent:?}");
}

#[test]
fn the_example_rule_is_read_as_written() {
    let config = Config::parse("muzzle.toml", &shipped_with_example()).unwrap();
    let [rule] = config.rules.as_slice() else {
        panic!("one example rule, not {:?}", config.rules);
    };
    assert_eq!(
        rule.to_string(),
        "allow *.example.com requests of /sa?project=… over TCP for com.android.browser at \
         203.0.113.0/24 on port 8080"
    );
    // 2026-12-01T08:00:00Z
    assert_eq!(rule.until, Some(UnixSeconds(1_796_112_000)));
    assert_eq!(rule.comment, "until the fault is mended");
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "\n", "\u{feff}", "# nothing\r\n", "[dns]\n"] {
        assert_eq!(
            Config::parse("f", text).unwrap(),
            Config::default(),
            "{text:?}"
        );
    }
}

#[test]
fn every_setting_can_be_changed() {
    let text = r#"
mode = "observe"
preset = "strict"
[catalogue]
directory = "/sdcard/catalogue"
[dns]
answer = "zero"
ttl_secs = 86_400
answers = false
[connections]
refuse = "drop"
tls_ports = [443, 0x1F90]
http_ports = []
quic_ports = [443, 8443]
[encrypted_dns]
policy = "fall-back"
private_dns = "strict"
[hotspot]
clients = "filter"
[queue]
first = 65000
length = 16
receive_buffer_bytes = 65536
[firewall]
iptables = "/sbin/iptables-legacy"
mark = "0x00200000"
follow_mark = "0x00800000"
lock_wait_secs = 60
[log]
record = "matched"
recent = 0
[history]
enabled = false
directory = "/tmp/history"
records_days = 1
counters_days = 3650
max_mib = 4
batch_secs = 3600
[control]
socket = "/tmp/control.sock"
[apps]
packages_list = "/tmp/packages.list"
[[answer]]
name = "*.example.com"
app = "com.android.browser"
answer = "zero"
[[answer]]
name = "a.example.com"
answer = "reset"
[[answer]]
name = "b.example.com"
answer = "drop"
[[rule]]
name = "a.example.com"
action = "block"
"#;
    let answer = |name, dns, connections| EndpointAnswer {
        name: NamePattern::from_text(name).unwrap(),
        app: None,
        dns,
        connections,
    };
    let (zero, drop) = (DnsRefusal::Zero, DnsRefusal::Drop);
    let (reset, vanish) = (ConnectionRefusal::Reset, ConnectionRefusal::Drop);
    let expected = Config {
        answers: vec![
            EndpointAnswer {
                app: Some(PackageName::from_text("com.android.browser").unwrap()),
                ..answer("*.example.com", Some(zero), None)
            },
            answer("a.example.com", None, Some(reset)),
            answer("b.example.com", Some(drop), Some(vanish)),
        ],
        mode: crate::decide::Mode::Observe,
        preset: crate::catalogue::Preset::Strict,
        catalogue_directory: Some("/sdcard/catalogue".into()),
        dns: DnsSettings {
            answer: crate::act::DnsRefusal::Zero,
            ttl: std::time::Duration::from_secs(86_400),
            answers: false,
        },
        connections: ConnectionSettings {
            refuse: crate::act::ConnectionRefusal::Drop,
            tls_ports: vec![443, 8080],
            http_ports: Vec::new(),
            quic_ports: vec![443, 8443],
        },
        encrypted_dns: EncryptedDnsSettings {
            policy: EncryptedDns::FallBack,
            private_dns: PrivateDns::Strict,
        },
        hotspot: HotspotSettings {
            clients: HotspotClients::Filter,
        },
        queue: QueueSettings {
            first: 65_000,
            length: 16,
            receive_buffer_bytes: 65_536,
        },
        firewall: FirewallSettings {
            iptables: Some("/sbin/iptables-legacy".into()),
            mark: 0x0020_0000,
            follow_mark: 0x0080_0000,
            lock_wait: std::time::Duration::from_secs(60),
        },
        log: LogSettings {
            record: Recorded::Matched,
            recent: 0,
        },
        history: HistorySettings {
            enabled: false,
            directory: "/tmp/history".into(),
            records_days: 1,
            counters_days: 3650,
            max_mib: 4,
            batch: std::time::Duration::from_secs(3600),
        },
        control_socket: "/tmp/control.sock".into(),
        packages_list: "/tmp/packages.list".into(),
        rules: vec![Rule {
            name: Some(NamePattern::from_text("a.example.com").unwrap()),
            ..Rule::new(Action::Block)
        }],
    };
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        assert_eq!(Config::parse("f", &text).unwrap(), expected);
    }
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = r#"mode = "enforced"
presett = "strict"
[dns]
ttl_secs = 0
answer = 5
[connections]
tls_ports = [443, 443, 0, 70000, "80"]
tls-ports = [443]
[queue]
length = "256"
receive_buffer_bytes = 99999999999999999999999999999999999999999
[firewall]
iptables = "iptables"
mark = "0x0c000000"
[nonsense]
[[rule]]
action = "block"
[[rule]]
name = "*.co.uk"
action = "block"
[[rule]]
name = "a b.example.com"
app = "no-package"
address = "203.0.113.9/24"
port = 53
until = 2026-12-01T10:00:00
[[rule]]
name = "192.0.2.1"
port = 65536
action = "deny"
"#;
    let expected = r#"
muzzle.toml:1: mode = "enforced": must be one of "enforce", "observe"
muzzle.toml:2: presett is not a key that Muzzle knows; did you mean preset?
muzzle.toml:4: dns.ttl_secs must be a whole number from 1 to 86400
muzzle.toml:5: dns.answer must be a text in quotes, not a whole number
muzzle.toml:7: connections.tls_ports: 443 is in the list already
muzzle.toml:7: connections.tls_ports: 0 is no port; ports go from 1 to 65535
muzzle.toml:7: connections.tls_ports: 70000 is no port; ports go from 1 to 65535
muzzle.toml:7: connections.tls_ports: the list must hold whole numbers, not a text
muzzle.toml:8: connections.tls-ports is not a key that Muzzle knows; did you mean tls_ports?
muzzle.toml:10: queue.length must be a whole number, not a text
muzzle.toml:11: queue.receive_buffer_bytes must be a whole number from 65536 to 67108864
muzzle.toml:13: firewall.iptables = "iptables": must be a whole path, from / on
muzzle.toml:14: firewall.mark = "0x0c000000": must be one bit that nobody else on the phone uses: 0x00200000, 0x00400000, 0x00800000, 0x04000000, 0x08000000
muzzle.toml:15: nonsense is not a key that Muzzle knows; known here: mode, preset, catalogue, dns, connections, encrypted_dns, hotspot, queue, firewall, log, history, control, apps, answer, rule
muzzle.toml:16: this rule would decide everything: give it a name, an app, an address, a port or a path
muzzle.toml:19: rule.name = "*.co.uk": blocking co.uk would cut off everybody who has a name under it; name a host below it
muzzle.toml:21: this rule has no action: write action = "allow", "log" or "block"
muzzle.toml:21: this rule would never apply: port 53 is DNS, which is judged by name and app
muzzle.toml:22: rule.name = "a b.example.com": it holds a character that no host name has
muzzle.toml:23: rule.app = "no-package": a package name has letters, digits and _ between its dots, as in com.android.browser
muzzle.toml:24: rule.address = "203.0.113.9/24": the range begins at 203.0.113.0/24; write that, or the one address without /24
muzzle.toml:26: rule.until = 2026-12-01T10:00:00: must be a date, a time and the distance from UTC, as in 2026-12-01T10:00:00+02:00
muzzle.toml:28: rule.name = "192.0.2.1": it is an IP address; write it as an address
muzzle.toml:29: rule.port must be a whole number from 1 to 65535
muzzle.toml:30: rule.action = "deny": must be one of "allow", "log", "block""#;
    assert_eq!(problems(text), expected.trim_start());
    assert_eq!(problems(&text.replace('\n', "\r\n")), expected.trim_start());
}

#[test]
fn a_public_suffix_can_be_allowed_but_not_blocked() {
    let rule = |name: &str, action: &str| {
        let text = format!("[[rule]]\nname = \"{name}\"\naction = \"{action}\"\n");
        Config::parse("f", &text).is_ok()
    };
    for name in [
        "com",
        "*.com",
        "*.com.cn",
        "localhost",
        "*.xn--fiqs8s",
        "*.nosuchtld",
    ] {
        assert!(!rule(name, "block"), "{name}");
        assert!(rule(name, "allow") && rule(name, "log"), "{name}");
    }
    for name in [
        "*.example.com",
        "*.miui.com",
        "github.io",
        "*.host.nosuchtld",
    ] {
        assert!(rule(name, "block"), "{name}");
    }
}

#[test]
fn rfc_3339_text_and_toml_date_times_are_the_same_moment() {
    for written in [
        "2026-12-01T10:00:00+02:00",
        "\"2026-12-01T10:00:00+02:00\"",
        "\"2026-12-01T08:00:00Z\"",
        "2026-12-01 08:00:00.9Z",
    ] {
        let text = format!("[[rule]]\nport = 1\naction = \"log\"\nuntil = {written}\n");
        let config = Config::parse("f", &text).unwrap();
        assert_eq!(
            config.rules[0].until,
            Some(UnixSeconds(1_796_112_000)),
            "{written}"
        );
    }
    for written in [
        "2026-12-01",
        "10:00:00",
        "\"tomorrow\"",
        "1796112000",
        "\"\"",
    ] {
        let text = format!("[[rule]]\nport = 1\naction = \"log\"\nuntil = {written}\n");
        assert!(
            problems(&text).starts_with("muzzle.toml:4: rule.until"),
            "{written}"
        );
    }
}

#[test]
fn a_line_that_is_no_toml_is_told_once() {
    assert_eq!(
        problems("mode = enforce\n[dns]\nttl_secs = 70000000\n"),
        "muzzle.toml:1: this is not TOML: string values must be quoted, expected literal string\n\
         muzzle.toml:3: dns.ttl_secs must be a whole number from 1 to 86400"
    );
    assert!(
        problems("mode = \"enforce\"\nmode = \"observe\"\n").starts_with("muzzle.toml:2: ")
    );
    assert!(problems("mode = \"enf\0rce\"\n").starts_with("muzzle.toml:1: this is not TOML"));
}

#[test]
fn a_file_of_another_kind_does_not_flood_the_terminal() {
    let html = "<!doctype html>\n<p>404 not found\n".repeat(5000);
    let problems = Config::parse("muzzle.toml", &html).unwrap_err();
    assert_eq!(problems.0.len(), 51);
    assert!(
        problems.0[50].message.starts_with("and "),
        "{}",
        problems.0[50]
    );
}

#[test]
fn a_megabyte_on_one_line_is_read_or_refused_at_once() {
    let comment = format!("#{}\nmode = \"x\"\n", "a".repeat(1 << 20));
    assert!(problems(&comment).starts_with("muzzle.toml:2: mode"));
    for unit in ["[", "a", "a = ", "[a=", "{", "\"", "a.", "\u{feff}"] {
        assert!(!problems(&unit.repeat((1 << 20) / unit.len())).is_empty());
    }
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let problem = Config::from_bytes("f", b"mode = \"enforce\"\n# caf\xe9\n").unwrap_err();
    assert_eq!(
        problem.to_string(),
        "f:2: this is not UTF-8 text; save the file as UTF-8"
    );
    let huge = vec![b' '; 5 << 20];
    let problem = Config::from_bytes("f", &huge).unwrap_err().to_string();
    assert!(problem.contains("4194304 bytes"), "{problem}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nonexistent/muzzle.toml")).unwrap_err();
    assert!(error.is_not_found());
    assert!(
        error.to_string().starts_with("/nonexistent/muzzle.toml: "),
        "{error}"
    );
    let error = Config::load(Path::new("/")).unwrap_err();
    assert!(!error.is_not_found());
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/muzzle.toml");
    assert_eq!(Config::load(&shipped).unwrap(), Config::default());
}

#[test]
fn an_unknown_key_is_only_likened_to_one_that_is_near() {
    let asked = |section: &mut Section<'_, '_, '_>| section.text("name");
    for (written, hint) in [
        ("Name", "did you mean name?"),
        ("nam", "did you mean name?"),
        ("nmae", "did you mean name?"),
        ("host", "known here: name"),
    ] {
        let text = format!("{written} = \"x\"");
        let problems = Source::read("f", &text, asked).unwrap_err().to_string();
        assert!(problems.ends_with(hint), "{problems}");
    }
}

#[test]
fn an_answer_needs_a_name_and_one_of_six_words() {
    assert_eq!(
        problems(
            "[[answer]]\nname = \"a.example\"\n[[answer]]\nname = \"a.*\"\nanswer = \"nx\"\n"
        ),
        "muzzle.toml:1: this answer has no answer: write answer = \"…\"\n\
         muzzle.toml:4: answer.name = \"a.*\": * can only stand at the front, as in *.example.com\n\
         muzzle.toml:5: answer.answer = \"nx\": must be one of \"nxdomain\", \"nodata\", \"zero\", \
         \"refused\", \"reset\", \"drop\""
    );
}
