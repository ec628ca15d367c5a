//! Names that nobody may block as a whole, because others have names under them.

use crate::parse::DomainName;

/// Read line by line for each question: a few are asked when a config is read, and for what looks
/// like a search suffix; a table that answers faster (the crate `psl`) makes a quarter of the program.
const LIST: &str = include_str!("../../config/public-suffixes.txt");
const PRIVATE_HEADING: &str = "# private";

/// Whose suffix a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicSuffix {
    /// A registry's, as `com` or `co.uk`; or any single label.
    Registry,
    /// A company's, whose customers have names below it, as `github.io`.
    Private,
}

impl PublicSuffix {
    /// Whose suffix `name` is; `None` where it is an ordinary name.
    #[must_use]
    pub fn of(name: &DomainName) -> Option<Self> {
        // The list's own rule for names that it does not have: `*`.
        if name.labels().nth(1).is_none() {
            return Some(Self::Registry);
        }
        Self::listed(name)
    }

    /// The same where a rule of the list says so: a single label, like `lan`, need not be one.
    /// Without allocation.
    #[must_use]
    pub fn listed(name: &DomainName) -> Option<Self> {
        let mut found = None;
        let mut section = Self::Registry;
        for line in LIST.lines() {
            if line == PRIVATE_HEADING {
                section = Self::Private;
            } else if line
                .strip_prefix('!')
                .is_some_and(|it| is_parent(it, name, 0))
            {
                return None;
            } else if is_parent(line, name, 0)
                || line
                    .strip_prefix("*.")
                    .is_some_and(|it| is_parent(it, name, 1))
            {
                found = found.or(Some(section));
            }
        }
        found
    }
}

/// Whether `name` without its first `labels` is what `text` says.
fn is_parent(text: &str, name: &DomainName, labels: usize) -> bool {
    // In wire form each label has its length before it, in text all but the first a dot.
    let parent = name.suffixes().nth(labels).unwrap_or_default();
    parent.len() == text.len() + 1
        && text
            .split('.')
            .map(str::as_bytes)
            .eq(name.labels().skip(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_rule_is_followed() {
        for (name, expected) in [
            ("com", Some(PublicSuffix::Registry)),
            ("nosuchtopleveldomain", Some(PublicSuffix::Registry)),
            ("co.uk", Some(PublicSuffix::Registry)),
            ("anything.ck", Some(PublicSuffix::Registry)),
            ("www.ck", None),
            ("github.io", Some(PublicSuffix::Private)),
            ("xn--55qx5d.cn", Some(PublicSuffix::Registry)),
            ("xiaomi.com", None),
            ("example.co.uk", None),
            ("mi.nosuchtopleveldomain", None),
        ] {
            let name = DomainName::from_text(name).unwrap();
            assert_eq!(PublicSuffix::of(&name), expected, "{name}");
        }
    }

    /// Each rule of the list, and names right above and below it, against the crate it is from.
    #[test]
    fn the_list_says_what_the_crate_says() {
        // Of wildcards below wildcards the crate follows the longest only, whatever the list says.
        let simple = |line: &&str| !line.starts_with('#') && !line.ends_with(".int.apple");
        let rules = LIST.lines().filter(simple).step_by(13);
        for rule in rules {
            let base = rule.trim_start_matches("*.").trim_start_matches('!');
            for text in [base.to_owned(), format!("a.{base}"), format!("a.b.{base}")] {
                let name = DomainName::from_text(&text).unwrap();
                let suffix =
                    psl::suffix(text.as_bytes()).filter(|it| it.as_bytes() == text.as_bytes());
                let expected = suffix.map(|suffix| match suffix.typ() {
                    Some(psl::Type::Private) => PublicSuffix::Private,
                    _ => PublicSuffix::Registry,
                });
                assert_eq!(PublicSuffix::of(&name), expected, "{name} ({rule})");
            }
        }
    }
}
