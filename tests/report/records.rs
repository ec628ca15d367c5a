//! `muzzle explain` and `muzzle suspects`, of made-up records.

use muzzle::cli::{explain::Explained, suspects::page};
use muzzle::record::Record;
use muzzle::report::Suspects;
use serde_json::{Value, json};

use crate::scene::{NOW_SECS, hostile};
use crate::{CATALOGUE, assert_golden, plain, window};

const NOW_MILLIS: u64 = NOW_SECS as u64 * 1000;

/// A block by the built-in catalogue, `ago_secs` ago, changed by `changes`.
fn record(number: u64, ago_secs: u64, name: &str, changes: &Value) -> Record {
    let mut record = json!({
        "number": number,
        "unix_millis": NOW_MILLIS - ago_secs * 1000,
        "outcome": "blocked",
        "name": name,
        "evidence": "sni",
        "app": "com.android.browser",
        "uid": 10_123,
        "attribution": "socket",
        "protocol": "tcp",
        "local": "10.0.0.2:40000",
        "remote": "203.0.113.7:443",
        "reason": "not in the catalogue and no rule for it",
    });
    let found = muzzle::parse::DomainName::from_text(name).map(|name| CATALOGUE.find(&name));
    if let Ok(Some(entry)) = found.as_ref().map(|found| found.first()) {
        merge(
            &mut record,
            &json!({
                "reason": format!("catalogue: {} ({})", entry.system, entry.owner),
                "entry": entry.pattern.to_string(),
                "owner": entry.owner,
                "system": entry.system,
                "region": entry.region,
                "category": entry.category,
                "breaks": entry.breaks,
            }),
        );
    }
    merge(&mut record, changes);
    serde_json::from_value(record).unwrap()
}

fn merge(record: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        record[key] = value.clone();
    }
}

fn explained(record: &Record, question: Option<&Record>) -> String {
    let entry = record.entry.as_deref();
    let mut endpoints = CATALOGUE.endpoints.iter();
    let explained = Explained {
        record,
        question,
        endpoint: endpoints.find(|it| Some(it.pattern.to_string().as_str()) == entry),
    };
    let shown = plain(&explained.text(&window(1)));
    format!("$ muzzle explain {}\n{shown}", record.number)
}

#[test]
fn a_record_is_explained_in_full() {
    let question = record(
        40,
        9,
        "sa.api.intl.miui.com",
        &json!({"evidence": "dns", "qtype": "A", "attribution": "inet_diag",
            "remote": "192.0.2.53:53"}),
    );
    let hello = record(41, 8, "sa.api.intl.miui.com", &json!({}));
    let alias = record(
        42,
        7,
        "tracking.intl.miui.com",
        &json!({"evidence": "alias", "qtype": "HTTPS", "asked": "innocent.example"}),
    );
    let unnamed = record(
        43,
        6,
        "",
        &json!({"name": null, "evidence": "syn", "app": null, "uid": null, "outcome": "logged",
            "resolved_from": ["a.example", "b.example"]}),
    );
    let own = record(
        44,
        5,
        "www.example.org",
        &json!({"evidence": "sni", "protocol": "udp", "rule": 3, "outcome": "would-block",
            "app": "com.a, com.b (shared uid 10200)", "uid": 10_200, "attribution": "shared",
            "process": "com.b:push",
            "reason": "your rule 3: block *.example.org"}),
    );
    let all = [
        explained(&question, None),
        explained(&hello, Some(&question)),
        explained(&alias, None),
        explained(&unnamed, None),
        explained(&own, None),
    ];
    assert_golden("explain.txt", &all.join("\n"));
}

fn ranked(records: &[Record], app: Option<&str>) -> Vec<muzzle::report::Suspect> {
    let mut suspects = Suspects::new(&CATALOGUE, NOW_MILLIS - 600_000, app);
    records.iter().for_each(|record| suspects.add(record));
    suspects.ranked()
}

#[test]
fn the_likeliest_cause_is_told_first_with_what_allows_it() {
    let of = |app: &str| json!({"app": app});
    let records = [
        record(1, 4000, "tracking.miui.com", &of("com.miui.analytics")),
        record(2, 500, "tracking.miui.com", &of("com.miui.analytics")),
        record(3, 400, "sa.api.intl.miui.com", &json!({})),
        record(
            4,
            300,
            "globalapi.ad.xiaomi.com",
            &of("com.miui.msa.global"),
        ),
        record(
            5,
            200,
            "data.mistat.intl.xiaomi.com",
            &of("com.xiaomi.mipicks"),
        ),
        record(
            6,
            199,
            "data.mistat.intl.xiaomi.com",
            &of("com.xiaomi.mipicks"),
        ),
        record(
            7,
            198,
            "data.mistat.intl.xiaomi.com",
            &of("com.xiaomi.mipicks"),
        ),
        record(
            8,
            100,
            "shop.example",
            &json!({"rule": 2, "reason": "your rule 2: block shop.example"}),
        ),
        record(
            9,
            50,
            "",
            &json!({"name": null, "evidence": "syn", "app": null,
            "reason": "your rule 4: block 203.0.113.0/24", "rule": 4}),
        ),
    ];
    let wide = plain(&page(&ranked(&records, None), 10, &window(600), 100));
    let narrow = plain(&page(
        &ranked(&records, Some("com.miui.msa.global")),
        2,
        &window(600),
        48,
    ));
    let none = plain(&page(&[], 10, &window(600), 48));
    assert_golden("suspects.txt", &[wide, narrow, none].join("\n"));
}

#[test]
fn hostile_records_are_text() {
    for text in hostile() {
        let all = json!({"app": &text, "asked": &text, "reason": &text, "entry": &text,
            "owner": &text, "system": &text, "region": &text, "breaks": &text, "qtype": &text,
            "resolved_from": [&text]});
        let mut harmful = record(1, 5, "a.example", &all);
        harmful.name = Some(text);
        let mut shown = explained(&harmful, Some(&harmful));
        let suspects = ranked(&[harmful], None);
        shown.push_str(&plain(&page(&suspects, 10, &window(600), 60)));
        // Whatever is copied into a shell stays one word.
        let command = &suspects[0].command;
        assert!(command.starts_with("muzzle allow '") || command.starts_with("muzzle allow x"));
        let is_harmless =
            |it: char| it == '\n' || !(it.is_control() || "\u{202e}\u{2028}".contains(it));
        assert!(shown.chars().all(is_harmless), "{shown:?}");
    }
}
