//! Which records are asked for.

use std::net::IpAddr;

use super::decode::RecordRef;
use crate::decide::Outcome;
use crate::parse::{DomainName, NameError};
use crate::record::Record;

/// What records are to be like. What is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A package; of those that share a user id, one.
    pub app: Option<String>,
    /// The name, or the one that was asked for.
    pub name: Option<NameFilter>,
    /// What became of them: one of these, where there are any.
    pub outcomes: Vec<Outcome>,
    /// From this time on, in milliseconds since 1970-01-01 UTC.
    pub since_millis: Option<u64>,
    /// Before this time.
    pub until_millis: Option<u64>,
    /// From this number on.
    pub from_number: u64,
}

/// What a name is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFilter {
    /// This name.
    Exact(String),
    /// `*.x`: x and every name below it.
    Below(String),
    /// No name, and this far end.
    Address(IpAddr),
}

impl NameFilter {
    /// A filter as people write it: a name, `*.name` or an address.
    ///
    /// # Errors
    /// It is none of these.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.strip_prefix("*.") {
            Some(rest) => Ok(Self::Below(DomainName::from_text(rest)?.to_string())),
            None => Ok(Self::Exact(DomainName::from_text(text)?.to_string())),
        }
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => name == wanted,
            Self::Below(wanted) => name
                .strip_suffix(wanted.as_str())
                .is_some_and(|below| below.is_empty() || below.ends_with('.')),
            Self::Address(_) => false,
        }
    }
}

/// What a query looks at.
struct Looked<'a> {
    number: u64,
    unix_millis: u64,
    outcome: Outcome,
    app: Option<&'a str>,
    name: Option<&'a str>,
    asked: Option<&'a str>,
    remote: IpAddr,
}

impl Query {
    /// Whether a record in a block is asked for.
    #[must_use]
    pub fn fits(&self, record: &RecordRef<'_>) -> bool {
        self.is_for(&Looked {
            number: record.number,
            unix_millis: record.unix_millis,
            outcome: record.outcome,
            app: record.app.map(|(_, label)| label),
            name: record.name,
            asked: record.asked,
            remote: record.remote.ip(),
        })
    }

    /// Whether a record by itself is asked for.
    #[must_use]
    pub fn fits_record(&self, record: &Record) -> bool {
        self.is_for(&Looked {
            number: record.number,
            unix_millis: record.unix_millis,
            outcome: record.outcome,
            app: record.app.as_deref(),
            name: record.name.as_deref(),
            asked: record.asked.as_deref(),
            remote: record.remote.ip(),
        })
    }

    /// Whether something of these times and numbers may be asked for. `end` is the number after
    /// the last.
    #[must_use]
    pub fn may_fit(&self, from_millis: u64, to_millis: u64, end: u64) -> bool {
        end > self.from_number
            && self.since_millis.is_none_or(|since| to_millis >= since)
            && self.until_millis.is_none_or(|until| from_millis < until)
    }

    fn is_for(&self, it: &Looked<'_>) -> bool {
        it.number >= self.from_number
            && self
                .since_millis
                .is_none_or(|since| it.unix_millis >= since)
            && self.until_millis.is_none_or(|until| it.unix_millis < until)
            && (self.outcomes.is_empty() || self.outcomes.contains(&it.outcome))
            && self.fits_name(it)
            && self.fits_app(it.app)
    }

    fn fits_name(&self, it: &Looked<'_>) -> bool {
        match &self.name {
            None => true,
            Some(NameFilter::Address(address)) => it.name.is_none() && it.remote == *address,
            Some(filter) => [it.name, it.asked]
                .iter()
                .flatten()
                .any(|name| filter.fits(name)),
        }
    }

    /// Labels are package names with commas between them, and perhaps notes in brackets.
    fn fits_app(&self, label: Option<&str>) -> bool {
        let Some(app) = &self.app else {
            return true;
        };
        label.is_some_and(|label| {
            let names = label.split(" (").next().unwrap_or_default();
            label == app || names.split(", ").any(|name| name == app)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_met_exactly_or_below() {
        let fits = |filter: &str, name: &str| NameFilter::from_text(filter).unwrap().fits(name);
        assert!(fits("A.Test", "a.test"));
        assert!(!fits("a.test", "b.a.test"));
        assert!(fits("*.a.test", "a.test") && fits("*.a.test", "b.a.test"));
        assert!(!fits("*.a.test", "ba.test"));
        assert!(fits("bücher.example", "xn--bcher-kva.example"));
        assert!(NameFilter::from_text("a b").is_err());
        let address = NameFilter::from_text("2001:db8::1").unwrap();
        assert_eq!(address, NameFilter::Address("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn an_app_is_met_by_any_of_the_names_in_its_label() {
        let query = Query {
            app: Some("com.a".into()),
            ..Query::default()
        };
        for label in [
            "com.a",
            "com.b, com.a (shared uid 10200)",
            "com.a (user 10)",
        ] {
            assert!(query.fits_app(Some(label)), "{label}");
        }
        for label in ["com.ab", "com.b", "uid 7 (unknown app)"] {
            assert!(!query.fits_app(Some(label)), "{label}");
        }
        assert!(!query.fits_app(None));
    }
}
