//! What must hold for a catalogue beyond its syntax. A block that is too wide, or an essential
//! host without protection, breaks phones: this is checked in the tests and by
//! `muzzle catalogue lint`.

use std::collections::HashSet;
use std::fmt;

use super::{Catalogue, Category, Endpoint, Pattern, PublicSuffix};
use crate::decide::Action;
use crate::parse::DomainName;

/// The regions an entry may name.
pub const REGIONS: &[&str] = &["CN", "SG", "RU", "IN", "EU", "US", "global"];

/// Hosts that every catalogue must protect (docs/behaviour.md, contract 2). Each was blocked by
/// some public list and missed by its users; the entries of `essential.toml`, `push*.toml`,
/// `ota.toml` and `cloud.toml` hold the reports.
pub const NEVER_BLOCKED: &[&str] = &[
    // Captive-portal probes.
    "connect.rom.miui.com",
    "connect.intl.rom.miui.com",
    "connectivitycheck.gstatic.com",
    "connectivitycheck.android.com",
    "clients3.google.com",
    // Account login.
    "account.xiaomi.com",
    "api.account.xiaomi.com",
    "sgpac.account.xiaomi.com",
    "c.id.mi.com",
    "verify.sec.xiaomi.com",
    // Find Device.
    "find.api.micloud.xiaomi.net",
    "in.find.api.micloud.xiaomi.net",
    "us.find.api.micloud.xiaomi.net",
    "findapi.micloud.xiaomi.net",
    // Emergency SOS and bootloader unlock.
    "srv.sec.miui.com",
    "srv.sec.intl.miui.com",
    "unlock.update.miui.com",
    "unlock.update.intl.miui.com",
    // Time.
    "time.android.com",
    "2.android.pool.ntp.org",
    // System updates.
    "update.miui.com",
    "update.intl.miui.com",
    "ultimateota.d.miui.com",
    "bigota.d.miui.com",
    "global.market.xiaomi.com",
    // Push.
    "app.chat.xiaomi.net",
    "app.chat.global.xiaomi.net",
    "fr.app.chat.global.xiaomi.net",
    "register.xmpush.xiaomi.com",
    "register.xmpush.global.xiaomi.com",
    "resolver.msg.xiaomi.net",
    "mtalk.google.com",
    // Cloud.
    "i.mi.com",
    "api.micloud.xiaomi.net",
    "galleryapi.micloud.xiaomi.net",
];

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Two entries for one name or range.
    Duplicate,
    /// No source.
    Source,
    /// A text that every entry has is empty.
    Empty,
    /// A region outside [`REGIONS`].
    Region,
    /// Port 0.
    Port,
    /// A block on a public suffix (publicsuffix.org) or on a single label.
    PublicSuffix,
    /// A host that must be protected is not.
    Essential,
    /// A block that reaches into what another entry protects, or the other way round.
    Protection,
}

/// One thing wrong with a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The rule it breaks.
    pub rule: Rule,
    /// The entry, as the files write it, or the host that has none.
    pub about: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.about, self.message)
    }
}

/// Every finding, in the order of the entries.
#[must_use]
pub fn lint(catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = HashSet::with_capacity(catalogue.endpoints.len());
    for endpoint in &catalogue.endpoints {
        if !seen.insert(&endpoint.pattern) {
            findings.push(finding(endpoint, Rule::Duplicate, "has two entries"));
        }
        lint_fields(endpoint, &mut findings);
        lint_width(endpoint, &mut findings);
        lint_protection(catalogue, endpoint, &mut findings);
    }
    lint_essential(catalogue, &mut findings);
    findings
}

fn lint_fields(endpoint: &Endpoint, findings: &mut Vec<Finding>) {
    for (key, text) in [
        ("owner", &endpoint.owner),
        ("system", &endpoint.system),
        ("breaks", &endpoint.breaks),
    ] {
        if text.trim().is_empty() {
            let message = format!("{key} is empty; write \"unknown\" where it is not known");
            findings.push(finding(endpoint, Rule::Empty, message));
        }
    }
    if endpoint
        .sources
        .iter()
        .all(|source| source.trim().is_empty())
    {
        let message = "names no source; an entry that nobody can check helps nobody";
        findings.push(finding(endpoint, Rule::Source, message));
    }
    if !REGIONS.contains(&endpoint.region.as_str()) {
        let message = format!("region must be one of {}", REGIONS.join(", "));
        findings.push(finding(endpoint, Rule::Region, message));
    }
    if endpoint.ports.contains(&0) {
        findings.push(finding(endpoint, Rule::Port, "port 0 does not exist"));
    }
}

/// A block may not take a whole registry or provider with it.
fn lint_width(endpoint: &Endpoint, findings: &mut Vec<Finding>) {
    let Some(name) = endpoint.pattern.name() else {
        return;
    };
    if endpoint.action == Action::Block && PublicSuffix::of(name).is_some() {
        let message = "is a public suffix, below which anybody may have a name; it cannot be \
                       blocked";
        findings.push(finding(endpoint, Rule::PublicSuffix, message));
    }
}

fn lint_protection(catalogue: &Catalogue, endpoint: &Endpoint, findings: &mut Vec<Finding>) {
    let Some(name) = endpoint.pattern.name() else {
        return;
    };
    if endpoint.category == Category::Essential && !endpoint.is_protected() {
        let message = "is essential and its action is not \"allow\"";
        findings.push(finding(endpoint, Rule::Essential, message));
    }
    let wider = catalogue.find(name).into_iter().filter(|other| {
        matches!(&other.pattern, Pattern::Suffix(_)) && other.pattern != endpoint.pattern
    });
    for other in wider {
        if other.action == Action::Block
            && endpoint.category.is_protective()
            && !endpoint.is_protected()
        {
            let message = format!(
                "lies below {}, which is blocked; to keep it, set its action to \"allow\"",
                other.pattern
            );
            findings.push(finding(endpoint, Rule::Protection, message));
        }
        if endpoint.action == Action::Block && other.is_protected() {
            let message = format!(
                "is blocked, but lies below {}, which is protected",
                other.pattern
            );
            findings.push(finding(endpoint, Rule::Protection, message));
        }
    }
}

/// Every host of [`NEVER_BLOCKED`]: the entry that decides about it must protect it.
fn lint_essential(catalogue: &Catalogue, findings: &mut Vec<Finding>) {
    for host in NEVER_BLOCKED {
        let Ok(name) = DomainName::from_text(host) else {
            continue;
        };
        let message = match catalogue.find(&name).first() {
            Some(endpoint) if endpoint.is_protected() => continue,
            Some(endpoint) => format!(
                "must never be blocked, but {} decides about it and does not protect it; give it \
                 an entry of its own with action \"allow\"",
                endpoint.pattern
            ),
            None => "must never be blocked and has no protecting entry".to_owned(),
        };
        findings.push(Finding {
            rule: Rule::Essential,
            about: (*host).to_owned(),
            message,
        });
    }
}

fn finding(endpoint: &Endpoint, rule: Rule, message: impl Into<String>) -> Finding {
    Finding {
        rule,
        about: endpoint.pattern.to_string(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::*;

    /// The findings about `entries`, without those about hosts that a small catalogue lacks.
    fn findings(entries: impl IntoIterator<Item = Endpoint>) -> Vec<(Rule, String)> {
        let endpoints = entries.into_iter().collect();
        lint(&Catalogue { endpoints })
            .into_iter()
            .filter(|finding| !finding.message.contains("has no protecting entry"))
            .map(|finding| (finding.rule, finding.about))
            .collect()
    }

    fn changed(pattern: &str, change: impl FnOnce(&mut Endpoint)) -> Endpoint {
        let mut entry = endpoint(pattern, Action::Block);
        change(&mut entry);
        entry
    }

    fn of(category: Category, action: Action, pattern: &str) -> Endpoint {
        changed(pattern, |entry| {
            entry.category = category;
            entry.action = action;
        })
    }

    #[test]
    fn the_shipped_catalogue_has_no_findings() {
        let findings: Vec<_> = lint(&Catalogue::built_in())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(findings, [""; 0]);
    }

    #[test]
    fn a_good_entry_has_no_findings() {
        assert_eq!(findings([endpoint("x.example.com", Action::Block)]), []);
    }

    #[test]
    fn each_field_rule_trips_on_its_own() {
        let host = "x.example.com";
        for (entry, rule) in [
            (changed(host, |e| e.sources.clear()), Rule::Source),
            (
                changed(host, |e| e.sources = vec![" ".into()]),
                Rule::Source,
            ),
            (changed(host, |e| e.owner.clear()), Rule::Empty),
            (changed(host, |e| e.system.clear()), Rule::Empty),
            (changed(host, |e| e.breaks = " ".into()), Rule::Empty),
            (changed(host, |e| e.region = "Mars".into()), Rule::Region),
            (changed(host, |e| e.ports = vec![80, 0]), Rule::Port),
        ] {
            assert_eq!(findings([entry]), [(rule, host.to_owned())]);
        }
    }

    #[test]
    fn a_duplicate_is_found() {
        let entries = || endpoint("*.example.com", Action::Block);
        let expected = [(Rule::Duplicate, "*.example.com".to_owned())];
        assert_eq!(findings([entries(), entries()]), expected);
    }

    #[test]
    fn a_public_suffix_cannot_be_blocked() {
        for pattern in [
            "*.co.uk",
            "com.cn",
            "*.ap-south-1.elb.amazonaws.com",
            "local",
        ] {
            let expected = [(Rule::PublicSuffix, pattern.to_owned())];
            assert_eq!(findings([endpoint(pattern, Action::Block)]), expected);
            assert_eq!(findings([endpoint(pattern, Action::Log)]), []);
        }
        assert_eq!(findings([endpoint("*.example.com.cn", Action::Block)]), []);
    }

    #[test]
    fn an_essential_host_is_allowed() {
        let expected = [(Rule::Essential, "x.example.com".to_owned())];
        let entry = of(Category::Essential, Action::Log, "x.example.com");
        assert_eq!(findings([entry]), expected);
    }

    #[test]
    fn a_known_essential_host_below_a_blocked_wildcard_needs_its_own_entry() {
        let wildcard = || endpoint("*.id.mi.com", Action::Block);
        let expected = [(Rule::Essential, "c.id.mi.com".to_owned())];
        assert_eq!(findings([wildcard()]), expected);
        let own = of(Category::Essential, Action::Allow, "c.id.mi.com");
        assert_eq!(findings([wildcard(), own]), []);
    }

    #[test]
    fn push_below_a_blocked_wildcard_is_protected_or_reported() {
        let wildcard = || endpoint("*.example.com", Action::Block);
        let push = |action| of(Category::Push, action, "push.example.com");
        assert_eq!(findings([wildcard(), push(Action::Allow)]), []);
        let expected = [(Rule::Protection, "push.example.com".to_owned())];
        assert_eq!(findings([wildcard(), push(Action::Log)]), expected);
    }

    #[test]
    fn a_block_may_not_reach_into_a_protected_zone() {
        let zone = of(Category::Cloud, Action::Allow, "*.cloud.example.com");
        let block = endpoint("stat.cloud.example.com", Action::Block);
        let expected = [(Rule::Protection, "stat.cloud.example.com".to_owned())];
        assert_eq!(findings([zone, block]), expected);
    }

    #[test]
    fn a_catalogue_without_the_essentials_is_refused() {
        let findings = lint(&Catalogue::default());
        assert_eq!(findings.len(), NEVER_BLOCKED.len());
        assert!(
            findings
                .iter()
                .all(|finding| finding.rule == Rule::Essential)
        );
    }
}
