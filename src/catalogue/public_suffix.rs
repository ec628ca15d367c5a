//! Names that nobody may block as a whole, because others have names under them.

use crate::parse::DomainName;

/// Read line by line for each question: a few are asked when a config is read, and a table that
/// answers faster (the crate `psl`) makes a quarter of the program.
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
        let text = name.to_string();
        // The list's own rule for names that it does not have: `*`.
        let Some((_, parent)) = text.split_once('.') else {
            return Some(Self::Registry);
        };
        let mut found = None;
        let mut section = Self::Registry;
        for line in LIST.lines() {
            if line == PRIVATE_HEADING {
                section = Self::Private;
            } else if line.strip_prefix('!') == Some(&text) {
                return None;
            } else if line == text || line.strip_prefix("*.") == Some(parent) {
                found = found.or(Some(section));
            }
        }
        found
    }
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
