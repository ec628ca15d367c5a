//! What people name when they allow or block something.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::apps::{PackageName, Packages};
use crate::catalogue::PublicSuffix;
use crate::config::written_rule::address;
use crate::decide::{Action, NamePattern, Rule, UnixSeconds};
use crate::inspect::{Asked, Checked, Ruleset};

/// A host, or a host and everything below it, or addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are few of them, and most are the large one"
)]
pub enum Target {
    /// By name.
    Name(NamePattern),
    /// By address: one or a range.
    Address(IpNet),
}

impl Target {
    /// As people write it: `host.example.com` in any case and script, `*.example.com`, an address
    /// or a range of them, or a URL, of which the host is taken.
    ///
    /// # Errors
    /// It is none of these, or far too much to be decided on at once; why, and what would be right.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let target = Self::named(text)?;
        let everybody = match &target {
            Self::Name(pattern) => {
                PublicSuffix::of(pattern.name()) == Some(PublicSuffix::Registry)
            }
            Self::Address(range) => range.prefix_len() == 0,
        };
        match &target {
            _ if !everybody => Ok(target),
            Self::Name(pattern) => Err(format!(
                "\"{text}\": everybody may have a name under {name}; name a host below it",
                name = pattern.name()
            )),
            Self::Address(_) => Err(format!("\"{text}\": these are all addresses there are")),
        }
    }

    /// The same, however much it is, for whoever only asks.
    ///
    /// # Errors
    /// It is none of these; why, and what would be right.
    pub fn named(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let told = |error: String| format!("\"{text}\": {error}");
        let is_range = text.parse::<IpNet>().is_ok();
        let host = if is_range { text } else { host(text) };
        if is_range || host.parse::<IpAddr>().is_ok() {
            return address(host).map(Self::Address).map_err(told);
        }
        let pattern = NamePattern::from_text(host).map_err(|error| {
            told(format!(
                "{error}; name a host, as in tracking.miui.com, or an address"
            ))
        })?;
        Ok(Self::Name(pattern))
    }

    /// A rule about it, for all apps and without end.
    #[must_use]
    pub fn rule(&self, action: Action) -> Rule {
        let (name, address) = match self {
            Self::Name(name) => (Some(name.clone()), None),
            Self::Address(range) => (None, Some(*range)),
        };
        Rule {
            name,
            address,
            ..Rule::new(action)
        }
    }

    /// What `ruleset` says of it at `now`: of a range of its first address, of `*.host` of the host.
    /// Where an action was `wanted` for `*.host`, what is decided otherwise below is noted.
    #[must_use]
    pub fn check(
        &self,
        ruleset: &Ruleset,
        packages: &Packages,
        app: Option<&PackageName>,
        wanted: Option<Action>,
        now: UnixSeconds,
    ) -> Checked {
        let asked = match self {
            Self::Name(pattern) => Asked::Name(pattern.name()),
            Self::Address(range) => Asked::Address(range.network()),
        };
        let mut checked = Checked::new(ruleset, packages, asked, app, now);
        if let (Self::Name(NamePattern::Suffix(name)), Some(action)) = (self, wanted) {
            checked.note_exceptions(ruleset, name, action);
        }
        checked
    }

    /// What `rule` is about.
    #[must_use]
    pub fn of(rule: &Rule) -> Option<Self> {
        let name = rule.name.clone().map(Self::Name);
        name.or(rule.address.map(Self::Address))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(out),
            Self::Address(range) if range.prefix_len() == range.max_prefix_len() => {
                range.addr().fmt(out)
            }
            Self::Address(range) => range.fmt(out),
        }
    }
}

/// The host in what may be a URL (RFC 3986 section 3.2), or a host and a port.
fn host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_however_people_write_it() {
        for (text, expected) in [
            ("Tracking.MIUI.com.", "tracking.miui.com"),
            (" *.miui.com ", "*.miui.com"),
            ("bücher.example.org", "xn--bcher-kva.example.org"),
            (
                "https://sa.api.intl.miui.com/sa?project=a#b",
                "sa.api.intl.miui.com",
            ),
            ("http://me:secret@host.example.org:8080", "host.example.org"),
            ("host.example.org:443", "host.example.org"),
            ("host.example.org/path", "host.example.org"),
            ("203.0.113.7", "203.0.113.7"),
            ("https://203.0.113.7:8443/x", "203.0.113.7"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("2001:DB8::7", "2001:db8::7"),
            ("http://[2001:db8::7]:80/", "2001:db8::7"),
            ("user.github.io", "user.github.io"),
            ("*.github.io", "*.github.io"),
        ] {
            let target = Target::from_text(text).unwrap();
            assert_eq!(target.to_string(), expected, "{text}");
            assert_eq!(Target::from_text(expected), Ok(target), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_reason() {
        for (text, told) in [
            ("com", "\"com\": everybody may have a name under com"),
            ("*.co.uk", "everybody may have a name under co.uk"),
            ("localhost", "everybody may have a name under localhost"),
            ("", "empty label"),
            ("a b.example.org", "no host name has"),
            ("a.*.org", "* can only stand at the front"),
            ("0.0.0.0/0", "all addresses there are"),
            ("203.0.113.7/24", "the range begins at 203.0.113.0/24"),
            ("https://", "empty label"),
        ] {
            let error = Target::from_text(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
