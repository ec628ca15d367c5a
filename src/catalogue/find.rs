//! Which entries are about a name, an address or a path; for people who ask. The packet path has an index
//! of its own, in the policy.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::{Catalogue, Endpoint, Pattern};
use crate::parse::DomainName;

impl Pattern {
    /// Whether `name` is this name or, for `*.x`, x or a name below it.
    #[must_use]
    pub fn covers(&self, name: &DomainName) -> bool {
        match self {
            Self::Exact(own) => own == name,
            Self::Suffix(own) => name.suffixes().any(|suffix| suffix == own.as_bytes()),
            Self::Range(_) | Self::Path(_) => false,
        }
    }

    /// Whether `address` is in this range.
    #[must_use]
    pub fn covers_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Range(range) if range.contains(&address))
    }

    /// Greater is more specific: the longer name, and the exact one before the wildcard.
    fn specificity(&self) -> (usize, bool) {
        match self {
            Self::Exact(name) => (name.as_bytes().len(), true),
            Self::Suffix(name) => (name.as_bytes().len(), false),
            Self::Range(range) => (usize::from(range.prefix_len()), false),
            Self::Path(path) => (path.len(), false),
        }
    }
}

impl Catalogue {
    /// Every entry about `name`, the most specific first: the one that decides.
    #[must_use]
    pub fn find(&self, name: &DomainName) -> Vec<&Endpoint> {
        self.matching(|pattern| pattern.covers(name))
    }

    /// Every entry about `address`, the most specific first: the one that decides.
    #[must_use]
    pub fn find_address(&self, address: IpAddr) -> Vec<&Endpoint> {
        self.matching(|pattern| pattern.covers_address(address))
    }

    /// Every entry about requests of `path`, the most specific first: the one that decides where
    /// neither name nor address does.
    #[must_use]
    pub fn find_path(&self, path: &str) -> Vec<&Endpoint> {
        self.matching(
            |pattern| matches!(pattern, Pattern::Path(start) if path.starts_with(&**start)),
        )
    }

    fn matching(&self, is_match: impl Fn(&Pattern) -> bool) -> Vec<&Endpoint> {
        let mut found: Vec<_> = self
            .endpoints
            .iter()
            .filter(|endpoint| is_match(&endpoint.pattern))
            .collect();
        found.sort_by_key(|endpoint| Reverse(endpoint.pattern.specificity()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::*;
    use crate::decide::Action;

    fn catalogue() -> Catalogue {
        let mut endpoints: Vec<_> = ["*.example.com", "*.a.example.com", "a.example.com"]
            .map(|pattern| endpoint(pattern, Action::Block))
            .into();
        for range in ["192.0.2.0/24", "192.0.2.7/32"] {
            let mut entry = endpoint("unused.example.com", Action::Log);
            entry.pattern = Pattern::Range(range.parse().unwrap());
            endpoints.push(entry);
        }
        Catalogue { endpoints }
    }

    fn found(name: &str) -> Vec<String> {
        let name = DomainName::from_text(name).unwrap();
        let catalogue = catalogue();
        let found = catalogue.find(&name);
        found.iter().map(|e| e.pattern.to_string()).collect()
    }

    #[test]
    fn the_most_specific_entry_comes_first() {
        assert_eq!(
            found("a.example.com"),
            ["a.example.com", "*.a.example.com", "*.example.com"]
        );
        assert_eq!(
            found("b.a.example.com"),
            ["*.a.example.com", "*.example.com"]
        );
        assert_eq!(found("example.com"), ["*.example.com"]);
        assert_eq!(found("notexample.com"), [""; 0]);
    }

    #[test]
    fn the_narrowest_range_comes_first() {
        let catalogue = catalogue();
        let found = catalogue.find_address("192.0.2.7".parse().unwrap());
        assert_eq!(found[0].pattern.to_string(), "192.0.2.7/32");
        assert_eq!(found.len(), 2);
        assert!(
            catalogue
                .find_address("2001:db8::1".parse().unwrap())
                .is_empty()
        );
    }
}
