//! Names with something to say about them, looked up by walking a name's suffixes.
//!
//! A hash map and at most one probe per label: the simplest structure that is fast enough. A
//! look-up does not allocate.

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;

use crate::parse::{DomainName, NameError};

/// One name, or a name and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// This name only.
    Exact(DomainName),
    /// `*.x`: x and every name below it.
    Suffix(DomainName),
}

/// Why a text is no name pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamePatternError {
    /// A `*` anywhere but as the first label.
    #[error("* can only stand at the front, as in *.example.com")]
    Wildcard,
    /// What is left is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl NamePattern {
    /// `host.example.com` or `*.example.com`, as people write names.
    ///
    /// # Errors
    /// The text is neither: see [`NamePatternError`].
    pub fn from_text(text: &str) -> Result<Self, NamePatternError> {
        let text = text.trim();
        let (below, text) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if text.contains('*') {
            return Err(NamePatternError::Wildcard);
        }
        let name = DomainName::from_text(text)?;
        Ok(if below {
            Self::Suffix(name)
        } else {
            Self::Exact(name)
        })
    }

    /// The name without its `*.`.
    #[must_use]
    pub const fn name(&self) -> &DomainName {
        match self {
            Self::Exact(name) | Self::Suffix(name) => name,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(out, "{name}"),
            Self::Suffix(name) => write!(out, "*.{name}"),
        }
    }
}

/// What is known of one name: of itself, and of it and all below it.
#[derive(Clone, Debug)]
struct Node<V> {
    exact: Option<V>,
    suffix: Option<V>,
}

/// Name pattern → value.
#[derive(Clone, Debug)]
pub struct NameSet<V> {
    nodes: HashMap<Box<[u8]>, Node<V>, RandomState>,
    /// Bytes of the longest key: a longer suffix cannot be in the map, so it is not hashed.
    longest: usize,
}

impl<V> Default for NameSet<V> {
    fn default() -> Self {
        Self {
            nodes: HashMap::default(),
            longest: 0,
        }
    }
}

impl<V> NameSet<V> {
    /// The place of `pattern`'s value, to be filled.
    pub fn place(&mut self, pattern: &NamePattern) -> &mut Option<V> {
        let key = pattern.name().as_bytes();
        self.longest = self.longest.max(key.len());
        let node = self.nodes.entry(key.into()).or_insert(Node {
            exact: None,
            suffix: None,
        });
        match pattern {
            NamePattern::Exact(_) => &mut node.exact,
            NamePattern::Suffix(_) => &mut node.suffix,
        }
    }

    /// The value of exactly this name; a `*.` pattern does not count.
    #[must_use]
    pub fn exact(&self, name: &DomainName) -> Option<&V> {
        self.node(name.as_bytes())?.exact.as_ref()
    }

    /// The values of the `*.` patterns that cover `name`, the most specific first.
    pub fn covering(&self, name: &DomainName) -> impl Iterator<Item = &V> {
        name.suffixes()
            .filter_map(|suffix| self.node(suffix)?.suffix.as_ref())
    }

    /// The value of the most specific pattern: the name itself, else the longest `*.` pattern.
    #[must_use]
    pub fn most_specific(&self, name: &DomainName) -> Option<&V> {
        self.exact(name).or_else(|| self.covering(name).next())
    }

    /// Every value, in no order, to be finished after all were placed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.nodes
            .values_mut()
            .flat_map(|node| node.exact.iter_mut().chain(node.suffix.iter_mut()))
    }

    fn node(&self, key: &[u8]) -> Option<&Node<V>> {
        if key.len() > self.longest {
            return None;
        }
        self.nodes.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::from_text(text).unwrap()
    }

    fn set(patterns: &[&'static str]) -> NameSet<&'static str> {
        let mut set = NameSet::default();
        for &pattern in patterns {
            *set.place(&NamePattern::from_text(pattern).unwrap()) = Some(pattern);
        }
        set
    }

    #[test]
    fn the_most_specific_pattern_answers() {
        let set = set(&[
            "*.miui.com",
            "tracking.miui.com",
            "*.intl.miui.com",
            "*.example",
        ]);
        for (asked, expected) in [
            ("tracking.miui.com", Some("tracking.miui.com")),
            ("a.tracking.miui.com", Some("*.miui.com")),
            ("sa.api.intl.miui.com", Some("*.intl.miui.com")),
            ("intl.miui.com", Some("*.intl.miui.com")),
            ("miui.com", Some("*.miui.com")),
            ("xmiui.com", None),
            ("com", None),
            ("example", Some("*.example")),
        ] {
            assert_eq!(
                set.most_specific(&name(asked)).copied(),
                expected,
                "{asked}"
            );
        }
    }

    #[test]
    fn wildcards_come_most_specific_first_and_without_exact_names() {
        let set = set(&["*.com", "*.b.com", "a.b.com", "b.com"]);
        let covering: Vec<_> = set.covering(&name("a.b.com")).copied().collect();
        assert_eq!(covering, ["*.b.com", "*.com"]);
        assert_eq!(set.exact(&name("a.b.com")), Some(&"a.b.com"));
        assert_eq!(set.exact(&name("c.b.com")), None);
    }

    #[test]
    fn a_label_border_is_needed() {
        let mut odd = DomainName::root();
        odd.push_label(b"x.miui").unwrap();
        odd.push_label(b"com").unwrap();
        assert_eq!(set(&["*.miui.com"]).most_specific(&odd), None);
    }

    #[test]
    fn the_root_matches_nothing() {
        assert_eq!(set(&["*.com"]).most_specific(&DomainName::root()), None);
    }

    #[test]
    fn patterns_are_read_and_written() {
        for (text, shown) in [("*.MIUI.com.", "*.miui.com"), ("a.Example", "a.example")] {
            assert_eq!(NamePattern::from_text(text).unwrap().to_string(), shown);
        }
        for (text, error) in [
            ("*", NamePatternError::Wildcard),
            ("a.*.com", NamePatternError::Wildcard),
            ("*miui.com", NamePatternError::Wildcard),
            ("*.", NamePatternError::Name(NameError::EmptyLabel)),
            ("192.0.2.1", NamePatternError::Name(NameError::Address)),
        ] {
            assert_eq!(NamePattern::from_text(text).unwrap_err(), error, "{text}");
        }
    }
}
