//! The user's own rules.

use std::fmt;

use ipnet::IpNet;

use super::{Action, NamePattern, Protocol};
use crate::apps::PackageName;

/// Seconds since 1970-01-01T00:00:00Z. Wall-clock time: only rules with an end use it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// From a wall-clock time in milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self((millis / 1000).cast_signed())
    }
}

/// The place of a rule in the config file, counted from 1, as users see it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct RuleId(pub u32);

impl fmt::Display for RuleId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// One rule: it applies where all of its conditions hold. A condition that is absent holds.
///
/// A rule with an address, a port or a protocol is about connections, never about DNS: the far end of a DNS
/// query is the resolver, not the host asked for, and a rule that keeps an app off the home
/// network must not cut it off from a resolver that happens to stand there. So such a rule
/// applies neither to questions nor to anything else on port 53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The host, or a host and everything below it.
    pub name: Option<NamePattern>,
    /// The app, in every Android user. Where the app of a packet is unknown this does not hold.
    pub app: Option<PackageName>,
    /// The far end's address.
    pub address: Option<IpNet>,
    /// The far end's port.
    pub port: Option<u16>,
    /// TCP or UDP.
    pub protocol: Option<Protocol>,
    /// What path and query of an HTTP request begin with. Where no request is seen, in TLS for one,
    /// this does not hold.
    pub path: Option<Box<str>>,
    /// What to do.
    pub action: Action,
    /// From this moment on the rule does not apply any more.
    pub until: Option<UnixSeconds>,
    /// The user's own note, empty where there is none.
    pub comment: String,
}

impl Rule {
    /// A rule without conditions, to be filled in.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        Self {
            name: None,
            app: None,
            address: None,
            port: None,
            protocol: None,
            path: None,
            action,
            until: None,
            comment: String::new(),
        }
    }
}

impl fmt::Display for Rule {
    /// `block *.example.com for com.android.browser on port 443`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.action)?;
        if let Some(name) = &self.name {
            write!(out, " {name}")?;
        } else if self.address.is_none() && self.port.is_none() && self.path.is_none() {
            out.write_str(" everything")?;
        }
        if let Some(path) = &self.path {
            write!(out, " requests of {path}…")?;
        }
        if let Some(protocol) = self.protocol {
            write!(out, " over {protocol}")?;
        }
        if let Some(app) = &self.app {
            write!(out, " for {app}")?;
        }
        if let Some(address) = &self.address {
            write!(out, " at {address}")?;
        }
        if let Some(port) = self.port {
            write!(out, " on port {port}")?;
        }
        Ok(())
    }
}
