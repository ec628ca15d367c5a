//! What a preset blocks, as a list for other tools.

use std::fmt::Write as _;

use super::{Catalogue, Endpoint, Pattern, Preset};
use crate::decide::Action;

/// How an exported list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `0.0.0.0 name`. A hosts file has no wildcards: `*.x` becomes `x`.
    Hosts,
    /// One name a line. `*.x` becomes `x`; most tools that read such lists block below it too.
    Domains,
    /// `||name^`, with `@@||name^` for what must stay reachable.
    Adguard,
}

impl Format {
    /// Every format under the word that commands use for it.
    pub const WORDS: &[(&str, Self)] = &[
        ("hosts", Self::Hosts),
        ("domains", Self::Domains),
        ("adguard", Self::Adguard),
    ];
}

/// The names that `preset` blocks, in `format`, with comments that say what could not be said.
#[must_use]
pub fn export(catalogue: &Catalogue, preset: Preset, format: Format) -> String {
    let mut list = List::new(format);
    list.comment(&format!("Muzzle catalogue, preset {preset}"));
    for endpoint in &catalogue.endpoints {
        if preset.action(endpoint) == Action::Block {
            list.block(&endpoint.pattern);
        }
    }
    if format == Format::Adguard {
        for endpoint in exceptions(catalogue, preset) {
            list.except(endpoint);
        }
    }
    list.finish()
}

/// What an AdGuard list must leave open, `||x^` reaching everything below x: the protected
/// entries, and those that the preset does not block although a wider entry is blocked.
fn exceptions(catalogue: &Catalogue, preset: Preset) -> impl Iterator<Item = &Endpoint> {
    let blocked: Vec<_> = catalogue
        .endpoints
        .iter()
        .filter(|endpoint| preset.action(endpoint) == Action::Block)
        .filter_map(|endpoint| endpoint.pattern.name().cloned())
        .map(Pattern::Suffix)
        .collect();
    catalogue.endpoints.iter().filter(move |endpoint| {
        let Some(name) = endpoint.pattern.name() else {
            return false;
        };
        preset.action(endpoint) != Action::Block
            && (endpoint.is_protected() || blocked.iter().any(|wider| wider.covers(name)))
    })
}

/// A list as it is being written.
struct List {
    format: Format,
    text: String,
    last: String,
    names: usize,
    wildcards: usize,
    nameless: usize,
}

impl List {
    fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
            last: String::new(),
            names: 0,
            wildcards: 0,
            nameless: 0,
        }
    }

    fn block(&mut self, pattern: &Pattern) {
        let Some(name) = pattern.name() else {
            self.nameless += 1;
            return;
        };
        let name = name.to_string();
        self.wildcards += usize::from(matches!(pattern, Pattern::Suffix(_)));
        if name == self.last {
            return;
        }
        self.names += 1;
        self.last.clone_from(&name);
        match self.format {
            Format::Hosts => self.line(&format!("0.0.0.0 {name}")),
            Format::Domains => self.line(&name),
            Format::Adguard => self.line(&format!("||{name}^")),
        }
    }

    /// `@@|x^` is x only: what lies below it may be blocked by an entry of its own.
    fn except(&mut self, endpoint: &Endpoint) {
        match &endpoint.pattern {
            Pattern::Exact(name) if !endpoint.is_protected() => {
                self.line(&format!("@@|{name}^"))
            }
            Pattern::Exact(name) | Pattern::Suffix(name) => self.line(&format!("@@||{name}^")),
            Pattern::Range(_) | Pattern::Path(_) => {}
        }
    }

    fn finish(mut self) -> String {
        self.comment(&format!("names: {}", self.names));
        if self.wildcards > 0 && self.format != Format::Adguard {
            self.comment(&format!(
                "wildcards among them, which this format cannot say: {}",
                self.wildcards
            ));
        }
        if self.nameless > 0 {
            self.comment(&format!(
                "addresses and paths left out, which this format cannot say: {}",
                self.nameless
            ));
        }
        self.text
    }

    fn comment(&mut self, text: &str) {
        let mark = if self.format == Format::Adguard {
            '!'
        } else {
            '#'
        };
        self.line(&format!("{mark} {text}"));
    }

    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::super::{Category, Confidence};
    use super::*;

    fn catalogue() -> Catalogue {
        let mut range = endpoint("unused.example.com", Action::Block);
        range.pattern = Pattern::Range("192.0.2.0/24".parse().unwrap());
        let mut push = endpoint("push.example.net", Action::Allow);
        push.category = Category::Push;
        let mut doubtful = endpoint("doubtful.example.net", Action::Block);
        doubtful.confidence = Confidence::Low;
        Catalogue {
            endpoints: vec![
                endpoint("*.ad.example.com", Action::Block),
                endpoint("ad.example.com", Action::Block),
                endpoint("backup.ad.example.com", Action::Log),
                endpoint("shop.example.com", Action::Allow),
                doubtful,
                push,
                range,
            ],
        }
    }

    #[test]
    fn a_hosts_file_counts_what_it_cannot_say() {
        assert_eq!(
            export(&catalogue(), Preset::Standard, Format::Hosts),
            "# Muzzle catalogue, preset standard\n\
             0.0.0.0 ad.example.com\n\
             0.0.0.0 doubtful.example.net\n\
             # names: 2\n\
             # wildcards among them, which this format cannot say: 1\n\
             # addresses and paths left out, which this format cannot say: 1\n"
        );
    }

    #[test]
    fn an_adguard_list_leaves_open_what_the_preset_does() {
        assert_eq!(
            export(&catalogue(), Preset::Careful, Format::Adguard),
            "! Muzzle catalogue, preset careful\n\
             ||ad.example.com^\n\
             @@|backup.ad.example.com^\n\
             @@||push.example.net^\n\
             ! names: 1\n\
             ! addresses and paths left out, which this format cannot say: 1\n"
        );
    }

    #[test]
    fn strict_exports_what_standard_only_logs() {
        let list = export(&catalogue(), Preset::Strict, Format::Domains);
        assert!(list.contains("\nbackup.ad.example.com\n"), "{list}");
        assert!(!list.contains("push.example.net"), "{list}");
    }
}
