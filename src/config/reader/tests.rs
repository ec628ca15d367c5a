//! Tests of the reader.

use super::*;

fn problems(text: &str, read: impl FnOnce(&mut Section<'_, '_, '_>)) -> String {
    let problems = Source::read("muzzle.toml", text, read).unwrap_err();
    assert!(!problems.0.is_empty());
    problems.to_string()
}

#[test]
fn every_kind_of_value_is_read() {
    let text = "\
        name = \"x\"\n\
        size = 0x10\n\
        on = true\n\
        ports = [80, 443]\n\
        [inner]\n\
        word = \"b\"\n";
    let read = Source::read("muzzle.toml", text, |top| {
        (
            top.text("name"),
            top.number("size", 1_u8..=16),
            top.flag("on"),
            top.numbers::<u16>("ports"),
            top.section("inner", |inner| inner.word("word", &[("a", 1), ("b", 2)])),
            top.text("missing"),
        )
    });
    let expected = (
        Some("x".to_owned()),
        Some(16),
        Some(true),
        Some(vec![80, 443]),
        Some(Some(2)),
        None,
    );
    assert_eq!(read.unwrap(), expected);
}

#[test]
fn every_problem_is_reported_in_the_order_of_the_lines() {
    let text = "\
        on = 1\n\
        mode = \"hard\"\n\
        size = 300\n\
        ports = [1, \"x\", true]\n\
        extra = 1\n";
    let found = problems(text, |top| {
        top.numbers::<u16>("ports");
        top.number("size", 1_u16..=256);
        top.word("mode", &[("soft", ())]);
        top.flag("on");
    });
    let lines: Vec<_> = found.lines().collect();
    assert_eq!(lines.len(), 6, "{found}");
    for (line, expected) in lines.iter().zip([
        "muzzle.toml:1: on must be true or false, not a whole number",
        "muzzle.toml:2: mode = \"hard\": must be one of \"soft\"",
        "muzzle.toml:3: size must be a whole number from 1 to 256",
        "muzzle.toml:4: ports: the list must hold whole numbers, not a text",
        "muzzle.toml:4: ports: the list must hold whole numbers, not true or false",
        "muzzle.toml:5: extra is not a key that Muzzle knows",
    ]) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn sections_know_their_line_and_report_their_own_unknown_keys() {
    let text = "# head\n\n[[rule]]\nname = \"a\"\n\n[[rule]]\nnam = \"b\"\n";
    let mut lines = Vec::new();
    let found = problems(text, |top| {
        top.sections("rule", |rule| {
            lines.push(rule.line());
            if rule.text("name").is_none() {
                rule.report("name is missing");
            }
        });
    });
    assert_eq!(lines, [3, 6]);
    assert_eq!(
        found,
        "muzzle.toml:6: name is missing\n\
         muzzle.toml:7: rule.nam is not a key that Muzzle knows; did you mean name?"
    );
}

#[test]
fn a_value_of_the_wrong_kind_names_its_path() {
    let found = problems("[dns]\nanswer = 3\nrule = 4\n", |top| {
        top.section("dns", |dns| {
            dns.text("answer");
            dns.sections("rule", |_| ());
        });
    });
    assert!(
        found.contains(":2: dns.answer must be a text in quotes"),
        "{found}"
    );
    assert!(
        found.contains(":3: dns.rule must be sections headed [[dns.rule]]"),
        "{found}"
    );
}

#[test]
fn text_that_is_not_toml_is_a_problem_with_a_line() {
    let found = problems("a = 1\nb = = 2\n", |top| {
        top.number("a", 0..=9);
        top.text("b");
    });
    assert!(found.contains("muzzle.toml:2: this is not TOML"), "{found}");
}
