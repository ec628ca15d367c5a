//! Names that nobody may block as a whole, because others have names under them.

use std::cmp::Ordering;
use std::sync::LazyLock;

use crate::parse::DomainName;

/// Each of its two parts in the order of bytes. Searched as it stands: a table that answers faster
/// (the crate `psl`) makes a quarter of the program.
const LIST: &str = include_str!("../../config/public-suffixes.txt");
const PRIVATE_HEADING: &str = "# private\n";

/// The two parts, without comments.
static PARTS: LazyLock<[(&str, PublicSuffix); 2]> = LazyLock::new(|| {
    let (registries, companies) = LIST.split_once(PRIVATE_HEADING).unwrap_or((LIST, ""));
    [
        (without_comment(registries), PublicSuffix::Registry),
        (companies, PublicSuffix::Private),
    ]
});

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
        let is_excepted =
            |part: &str| has_line(part, || b"!".iter().copied().chain(text(name, 0)));
        let is_rule = |part: &str| {
            has_line(part, || text(name, 0))
                || has_line(part, || b"*.".iter().copied().chain(text(name, 1)))
        };
        if PARTS.iter().any(|(part, _)| is_excepted(part)) {
            return None;
        }
        let mut found = PARTS.iter().filter(|(part, _)| is_rule(part));
        found.next().map(|(_, whose)| *whose)
    }
}

fn without_comment(mut part: &str) -> &str {
    while part.starts_with('#') {
        part = part.split_once('\n').map_or("", |(_, rest)| rest);
    }
    part
}

/// `name` without its first `labels`, as the list writes it.
fn text(name: &DomainName, labels: usize) -> impl Iterator<Item = u8> {
    let labels = name.labels().skip(labels).enumerate();
    labels.flat_map(|(place, label)| {
        let dot = (place > 0).then_some(b'.');
        dot.into_iter().chain(label.iter().copied())
    })
}

/// Whether `wanted` is one of the lines, which are in the order of their bytes.
fn has_line<I: Iterator<Item = u8>>(lines: &str, wanted: impl Fn() -> I) -> bool {
    // Both at the start of a line.
    let (mut low, mut high) = (0, lines.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = lines[..middle].rfind('\n').map_or(0, |at| at + 1);
        let end = lines[start..]
            .find('\n')
            .map_or(lines.len(), |length| start + length);
        match lines[start..end].bytes().cmp(wanted()) {
            Ordering::Equal => return true,
            Ordering::Less => low = end + 1,
            Ordering::Greater => high = start,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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

    /// The lines are in the order that the search takes for granted.
    #[test]
    fn every_rule_is_found() {
        let rules = LIST.lines().filter(|line| !line.starts_with('#'));
        for rule in rules {
            let (text, expected) = match rule.strip_prefix('!') {
                Some(excepted) => (excepted.to_owned(), false),
                None => (rule.replace('*', "any"), true),
            };
            let name = DomainName::from_text(&text).unwrap();
            assert_eq!(PublicSuffix::listed(&name).is_some(), expected, "{rule}");
        }
        for name in ["lan", "corp.example", "no.such.suffix.com"] {
            let name = DomainName::from_text(name).unwrap();
            assert_eq!(PublicSuffix::listed(&name), None, "{name}");
        }
    }

    /// Each rule of the list, and names right above and below it, against the crate it is from.
    #[test]
    fn the_list_says_what_the_crate_says() {
        // Of wildcards below wildcards the crate follows the longest only, whatever the list says.
        let lines: HashSet<_> = LIST.lines().collect();
        let has_wider = |line: &str| {
            let wider = line
                .split_once('.')
                .and_then(|(_, base)| base.split_once('.'));
            wider.is_some_and(|(_, base)| lines.contains(&*format!("*.{base}")))
        };
        for rule in LIST.lines() {
            if rule.starts_with('#') || rule.starts_with("*.") && has_wider(rule) {
                continue;
            }
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
