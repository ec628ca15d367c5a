//! `muzzle top`, `report`, `suspects` and `explain` of what a daemon has seen, while it runs and
//! after it.

use std::fs;
use std::time::Duration;

use muzzle::firewall::Family;
use serde_json::Value;

use crate::clients::{A, UdpAsker, query};
use crate::lab::{Lab, addresses, wait_for};
use crate::running::{ask, config, records};

const SOON: Duration = Duration::from_secs(5);
const LISTED: &str = "sa.api.intl.miui.com";

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

/// All four, whether the newest records are in memory or on the disk.
fn the_past_is_shown(enabled: bool) {
    let lab = Lab::new();
    let text = config(&lab, "");
    let text = text.replace("[history]", &format!("[history]\nenabled = {enabled}"));
    let daemon = lab.start_daemon(&text);
    let asker = UdpAsker::new(&lab, addresses(Family::V4).dns);
    for name in [LISTED, LISTED, "free.example"] {
        let _answer = asker.ask(&query(1, name, A));
    }
    wait_for("the records", SOON, || records(&lab, &daemon).len() == 3);
    let first = records(&lab, &daemon)[0].number;

    let top = json(&ask(&lab, &daemon, "top --json").ok());
    assert_eq!(top[0]["label"], LISTED);
    assert_eq!(top[0]["blocked"], 1, "both are one try: {top}");
    assert_eq!(top[0]["decisions"], 2);
    let report = json(&ask(&lab, &daemon, "report --json").ok());
    assert_eq!(report["tracking"]["blocked"], 1);
    assert_eq!(report["total"]["unlisted"], 1);
    assert_eq!(report["regions"][0]["label"], "Singapore");
    let suspects = json(&ask(&lab, &daemon, "suspects --json").ok());
    assert_eq!(suspects[0]["target"], LISTED);
    assert_eq!(suspects[0]["decisions"], 2);
    let explained = ask(&lab, &daemon, &format!("explain {first}")).ok();
    assert!(explained.contains("32 MB"), "{explained}");
    assert!(
        explained.contains(&format!("muzzle allow {LISTED}")),
        "{explained}"
    );
    let said = ask(&lab, &daemon, "explain 999999");
    assert_eq!(said.code, Some(1), "{said:?}");

    let page = lab.folder().join("report.html");
    let said = ask(
        &lab,
        &daemon,
        &format!("report --no-passed --html {}", page.display()),
    );
    assert!(said.ok().contains("report.html"));
    let page = fs::read_to_string(page).expect("it is written");
    assert!(page.contains(LISTED) && !page.contains("free.example"));
    assert!(daemon.stop().success());
}

#[test]
fn the_past_is_shown_from_the_history() {
    the_past_is_shown(true);
}

#[test]
fn the_past_is_shown_from_memory_where_no_history_is_kept() {
    the_past_is_shown(false);
}

#[test]
fn reports_go_on_without_a_daemon() {
    let lab = Lab::new();
    let daemon = lab.start_daemon(&config(&lab, ""));
    let path = daemon.config.clone();
    let muzzle =
        |arguments: &str| lab.muzzle(&format!("--config {} {arguments}", path.display()));
    let asker = UdpAsker::new(&lab, addresses(Family::V4).dns);
    let _answer = asker.ask(&query(1, LISTED, A));
    wait_for("the record", SOON, || records(&lab, &daemon).len() == 1);
    assert!(daemon.stop().success());
    let said = muzzle("report");
    assert!(said.stderr.contains("this is what was kept"), "{said:?}");
    assert!(said.ok().contains("tried 1 time to send"));
}
