//! The shipped catalogue: what must be blocked is, what must never be is not, and no researched
//! name got lost.

use std::collections::HashSet;

use muzzle::catalogue::{Catalogue, Category, Endpoint, Pattern, Preset};
use muzzle::decide::Action;
use muzzle::parse::DomainName;

/// Published by the researchers of the Forbes report of April 2020 (G. Cirlig, A. Tierney).
const PUBLISHED_2020: [&str; 9] = [
    "data.mistat.india.xiaomi.com",
    "data.mistat.intl.xiaomi.com",
    "data.mistat.rus.xiaomi.com",
    "tracking.rus.miui.com",
    "tracking.intl.miui.com",
    "tracking.india.miui.com",
    "sa.api.intl.miui.com",
    "sa.api.india.miui.com",
    "sa.api.rus.miui.com",
];

/// The regions that Xiaomi's host names carry.
const REGIONS: [&str; 6] = ["intl", "india", "rus", "eu", "us", "gb"];

/// The entry that decides about `name`.
fn decisive<'a>(catalogue: &'a Catalogue, name: &str) -> Option<&'a Endpoint> {
    let name = DomainName::from_text(name).expect("a host name");
    catalogue.find(&name).first().copied()
}

fn action(catalogue: &Catalogue, preset: Preset, name: &str) -> Option<Action> {
    decisive(catalogue, name).map(|endpoint| preset.action(endpoint))
}

#[test]
fn every_preset_blocks_what_the_researchers_published() {
    let catalogue = Catalogue::built_in();
    for host in PUBLISHED_2020 {
        for &(word, preset) in Preset::WORDS {
            let action = action(&catalogue, preset, host);
            assert_eq!(action, Some(Action::Block), "{host} under {word}");
        }
        let endpoint = decisive(&catalogue, host).unwrap();
        for tweet in ["hookgab/status/", "cybergibbons/status/"] {
            assert!(
                endpoint.sources.iter().any(|source| source.contains(tweet)),
                "{host} does not name {tweet}"
            );
        }
    }
}

#[test]
fn no_preset_touches_what_is_protected() {
    let catalogue = Catalogue::built_in();
    let hosts: Vec<_> = catalogue
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.is_protected())
        .filter_map(|endpoint| endpoint.pattern.name())
        .map(ToString::to_string)
        .chain(
            muzzle::catalogue::lint::NEVER_BLOCKED
                .iter()
                .map(|&host| host.to_owned()),
        )
        .collect();
    assert!(hosts.len() > muzzle::catalogue::lint::NEVER_BLOCKED.len());
    for host in hosts {
        for &(word, preset) in Preset::WORDS {
            let action = action(&catalogue, preset, &host);
            assert_eq!(action, Some(Action::Allow), "{host} under {word}");
        }
    }
}

#[test]
fn every_essential_entry_is_protected() {
    for endpoint in Catalogue::built_in().endpoints {
        if endpoint.category == Category::Essential {
            assert!(endpoint.is_protected(), "{}", endpoint.pattern);
        }
    }
}

#[test]
fn every_regional_form_of_the_telemetry_hosts_is_blocked() {
    let catalogue = Catalogue::built_in();
    for region in REGIONS {
        for host in [
            format!("tracking.{region}.miui.com"),
            format!("sa.api.{region}.miui.com"),
            format!("data.mistat.{region}.xiaomi.com"),
            format!("abtest.mistat.{region}.xiaomi.com"),
            format!("sdkconfig.{region}.xiaomi.com"),
            format!("sdkconfig.ad.{region}.xiaomi.com"),
            format!("log.ad.{region}.xiaomi.com"),
        ] {
            let action = action(&catalogue, Preset::Standard, &host);
            assert_eq!(action, Some(Action::Block), "{host}");
        }
    }
}

#[test]
fn every_researched_name_has_an_entry() {
    let catalogue = Catalogue::built_in();
    let patterns: HashSet<_> = catalogue
        .endpoints
        .iter()
        .map(|endpoint| endpoint.pattern.to_string())
        .collect();
    let missing: Vec<_> = include_str!("data/researched-domains.txt")
        .lines()
        .filter(|name| !patterns.contains(*name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn sensors_analytics_uploads_are_blocked_whoever_the_customer_is() {
    let catalogue = Catalogue::built_in();
    for host in [
        "tenant.datasink.sensorsdata.cn",
        "service.cloud.sensorsdata.cn",
        "sensorsdata.cn",
        "x.sensorsanalytics.cn",
        "x.sensorsdata.cloud",
    ] {
        let action = action(&catalogue, Preset::Standard, host);
        assert_eq!(action, Some(Action::Block), "{host}");
    }
    let endpoint = decisive(&catalogue, "service.cloud.sensorsdata.cn").unwrap();
    assert_eq!(endpoint.ports, [8106]);
}

#[test]
fn built_in_addresses_of_push_are_protected_and_those_of_httpdns_shown() {
    let catalogue = Catalogue::built_in();
    let found = |address: &str| catalogue.find_address(address.parse().unwrap())[0].clone();
    for address in ["111.13.141.211", "111.13.142.153", "161.117.97.14"] {
        assert!(found(address).is_protected(), "{address}");
    }
    for address in ["110.43.0.83", "110.43.0.85", "203.107.1.33"] {
        assert_eq!(found(address).action, Action::Log, "{address}");
    }
}

#[test]
fn apexes_stay_open_and_no_wildcard_takes_one() {
    let catalogue = Catalogue::built_in();
    for apex in ["mi.com", "miui.com", "xiaomi.com", "xiaomi.net"] {
        let name = DomainName::from_text(apex).unwrap();
        let found = catalogue.find(&name);
        assert_eq!(found.len(), 1, "{apex}");
        assert_eq!(found[0].pattern, Pattern::Exact(name), "{apex}");
        assert_eq!(found[0].action, Action::Allow, "{apex}");
    }
}

#[test]
fn what_is_blocked_by_default_has_no_report_of_a_broken_system_feature() {
    // Reports that the review of the sources met; each of these hosts is shown, not blocked.
    let catalogue = Catalogue::built_in();
    for host in [
        "a0.app.xiaomi.com",
        "api.ad.xiaomi.com",
        "api.browser.miui.com",
        "api.installer.xiaomi.com",
        "feedback.miui.com",
        "data.sec.miui.com",
        "mcc.intl.inf.miui.com",
        "wtradv.market.xiaomi.com",
    ] {
        let action = action(&catalogue, Preset::Standard, host);
        assert_eq!(action, Some(Action::Log), "{host}");
    }
}
