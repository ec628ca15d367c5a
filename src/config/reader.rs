//! Reads TOML key by key and collects every problem with its line, instead of stopping at the
//! first: a user who edits a file over a phone's terminal gets the whole list at once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::problems::{Found, Kind, LineCounter, with_lines};
pub use super::problems::{Problem, Problems};

/// A file being read: its text, the problems found so far and the keys that were asked for.
#[derive(Debug)]
pub struct Source<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Found>,
    /// Whole key → whether it was written anywhere.
    keys: BTreeMap<String, bool>,
}

impl<'a> Source<'a> {
    /// Parses `text` as TOML and hands its top table to `read`.
    ///
    /// # Errors
    /// Every problem: of the TOML itself, of unknown keys, and those that `read` reported.
    pub fn read<T>(
        file: &'a str,
        text: &'a str,
        read: impl FnOnce(&mut Section<'_, '_, '_>) -> T,
    ) -> Result<T, Problems> {
        let (value, source) = Self::read_all(file, text, read);
        if source.found.is_empty() {
            Ok(value)
        } else {
            Err(with_lines(source.file, source.text, source.found))
        }
    }

    /// The keys that `read` asks for and `text` never writes: how a test proves that a shipped
    /// file shows every key there is.
    pub fn keys_not_written<T>(
        text: &'a str,
        read: impl FnOnce(&mut Section<'_, '_, '_>) -> T,
    ) -> Vec<String> {
        let (_, source) = Self::read_all("", text, read);
        let absent = source.keys.into_iter().filter(|(_, written)| !written);
        absent.map(|(key, _)| key).collect()
    }

    fn read_all<T>(
        file: &'a str,
        text: &'a str,
        read: impl FnOnce(&mut Section<'_, '_, '_>) -> T,
    ) -> (T, Self) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut source = Self {
            file,
            text,
            found: Vec::new(),
            keys: BTreeMap::new(),
        };
        for error in errors {
            source.found.push(Found {
                at: error.span().map_or(0, |span| span.start),
                kind: Kind::Syntax,
                message: format!("this is not TOML: {}", error.message().trim()),
            });
        }
        let mut section = Section {
            source: &mut source,
            table: table.into_inner(),
            path: String::new(),
            at: 0,
            asked: Vec::new(),
        };
        let value = read(&mut section);
        section.finish();
        (value, source)
    }

    fn report(&mut self, at: usize, message: String) {
        self.found.push(Found {
            at,
            kind: Kind::Meaning,
            message,
        });
    }
}

/// One table of a file. Keys are taken out as they are read; what is left at the end is unknown.
#[derive(Debug)]
pub struct Section<'s, 'a, 'i> {
    source: &'s mut Source<'a>,
    table: DeTable<'i>,
    path: String,
    at: usize,
    asked: Vec<String>,
}

impl<'i> Section<'_, '_, 'i> {
    /// Reports a problem of this section as a whole, at its heading.
    pub fn report(&mut self, message: impl Into<String>) {
        let at = self.at;
        self.source.report(at, message.into());
    }

    /// The line of its heading, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        LineCounter::new(self.source.text).line_of(self.at)
    }

    /// Whether `key` is written (and not read yet).
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text through `parse`; `None` where it is not written or was reported as wrong.
    pub fn parse<T, E: fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (value, at) = self.take(key)?;
        let DeValue::String(text) = &value else {
            return self.wrong_kind(key, "a text in quotes", &value, at);
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let path = self.key_path(key);
                self.source
                    .report(at, format!("{path} = \"{text}\": {error}"));
                None
            }
        }
    }

    /// A text as it stands.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.parse(key, |text| {
            Ok::<_, std::convert::Infallible>(text.to_owned())
        })
    }

    /// One of a fixed set of words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.parse(key, |text| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|&(_, value)| value)
                .ok_or_else(|| {
                    let words: Vec<_> = words
                        .iter()
                        .map(|(word, _)| format!("\"{word}\""))
                        .collect();
                    format!("must be one of {}", words.join(", "))
                })
        })
    }

    /// A whole number within `range` (both ends allowed).
    pub fn number<N>(&mut self, key: &str, range: std::ops::RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i128> + Copy + PartialOrd + fmt::Display,
    {
        let (value, at) = self.take(key)?;
        let DeValue::Integer(integer) = &value else {
            return self.wrong_kind(key, "a whole number", &value, at);
        };
        let number = whole(integer)
            .and_then(|number| N::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let path = self.key_path(key);
            let (low, high) = (range.start(), range.end());
            self.source.report(
                at,
                format!("{path} must be a whole number from {low} to {high}"),
            );
        }
        number
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let (value, at) = self.take(key)?;
        match value {
            DeValue::Boolean(flag) => Some(flag),
            _ => self.wrong_kind(key, "true or false", &value, at),
        }
    }

    /// A list of texts, each through `parse`; wrong elements are reported and left out.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        self.elements(key, |element| match element {
            DeValue::String(text) => {
                parse(text).map_err(|error| format!("\"{text}\": {error}"))
            }
            other => Err(not_kind("texts in quotes", other)),
        })
    }

    /// A list of whole numbers.
    pub fn numbers<N: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<Vec<N>> {
        self.elements(key, |element| match element {
            DeValue::Integer(integer) => {
                let text =
                    whole(integer).map_or_else(|| integer.to_string(), |n| n.to_string());
                text.parse().map_err(|error| format!("{integer}: {error}"))
            }
            other => Err(not_kind("whole numbers", other)),
        })
    }

    /// A list of TCP ports, each written once.
    pub fn ports(&mut self, key: &str) -> Option<Vec<u16>> {
        let mut seen = Vec::new();
        self.elements(key, |element| {
            let DeValue::Integer(integer) = element else {
                return Err(not_kind("whole numbers", element));
            };
            let port = whole(integer).and_then(|number| u16::try_from(number).ok());
            let Some(port) = port.filter(|&port| port != 0) else {
                return Err(format!("{integer} is no port; ports go from 1 to 65535"));
            };
            if seen.contains(&port) {
                return Err(format!("{port} is in the list already"));
            }
            seen.push(port);
            Ok(port)
        })
    }

    /// A point in time, as RFC 3339 text or as a TOML date-time; either with its distance from
    /// UTC, so that it means the same wherever the phone is.
    pub fn moment(&mut self, key: &str) -> Option<jiff::Timestamp> {
        let (value, at) = self.take(key)?;
        let text = match &value {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(moment) => moment.to_string(),
            _ => return self.wrong_kind(key, "a date and time", &value, at),
        };
        let moment = text.parse().ok();
        if moment.is_none() {
            let path = self.key_path(key);
            self.source.report(
                at,
                format!(
                    "{path} = {text}: must be a date, a time and the distance from UTC, as in \
                     2026-12-01T10:00:00+02:00"
                ),
            );
        }
        moment
    }

    /// The table `[key]`, through `read`.
    pub fn section<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_, '_, 'i>) -> T,
    ) -> Option<T> {
        let (value, at) = self.take(key)?;
        match value {
            DeValue::Table(table) => Some(self.inner(key, table, at, read)),
            _ => self.wrong_kind(key, "a section", &value, at),
        }
    }

    /// Every table `[[key]]`, each through `read`.
    pub fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_, '_, 'i>) -> T,
    ) -> Vec<T> {
        let Some((value, at)) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value else {
            let wanted = format!("sections headed [[{}]]", self.key_path(key));
            self.wrong_kind::<()>(key, &wanted, &value, at);
            return Vec::new();
        };
        let mut values = Vec::new();
        for element in array {
            let at = element.span().start;
            match element.into_inner() {
                DeValue::Table(table) => values.push(self.inner(key, table, at, &mut read)),
                other => {
                    self.wrong_kind::<()>(key, "sections, not plain values", &other, at);
                }
            }
        }
        values
    }

    fn elements<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (value, at) = self.take(key)?;
        let DeValue::Array(array) = value else {
            return self.wrong_kind(key, "a list in brackets", &value, at);
        };
        let path = self.key_path(key);
        let mut values = Vec::new();
        for element in array {
            match read(element.get_ref()) {
                Ok(value) => values.push(value),
                Err(error) => {
                    let at = element.span().start;
                    self.source.report(at, format!("{path}: {error}"));
                }
            }
        }
        Some(values)
    }

    fn inner<T>(
        &mut self,
        key: &str,
        table: DeTable<'i>,
        at: usize,
        read: impl FnOnce(&mut Section<'_, '_, 'i>) -> T,
    ) -> T {
        let path = self.key_path(key);
        let mut section = Section {
            source: &mut *self.source,
            table,
            path,
            at,
            asked: Vec::new(),
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    fn take(&mut self, key: &str) -> Option<(DeValue<'i>, usize)> {
        let value: Option<Spanned<DeValue<'i>>> = self.table.remove(key);
        self.asked.push(key.to_owned());
        *self.source.keys.entry(self.key_path(key)).or_default() |= value.is_some();
        let value = value?;
        let at = value.span().start;
        Some((value.into_inner(), at))
    }

    fn wrong_kind<T>(
        &mut self,
        key: &str,
        wanted: &str,
        found: &DeValue<'_>,
        at: usize,
    ) -> Option<T> {
        let (path, kind) = (self.key_path(key), kind_of(found));
        self.source
            .report(at, format!("{path} must be {wanted}, not {kind}"));
        None
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn finish(&mut self) {
        for (key, _) in std::mem::take(&mut self.table) {
            let at = key.span().start;
            let path = self.key_path(key.get_ref());
            let hint = match nearest(key.get_ref(), &self.asked) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            self.source
                .report(at, format!("{path} is not a key that Muzzle knows; {hint}"));
        }
    }
}

/// The number, where it fits; a longer one is out of every range.
fn whole(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn not_kind(wanted: &str, found: &DeValue<'_>) -> String {
    format!("the list must hold {wanted}, not {}", kind_of(found))
}

/// What a value is, in the words that messages ask for it with.
const fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The known key that `written` is most likely a slip of: two typing mistakes at most, and
/// fewer than half of its letters.
fn nearest<'k>(written: &str, known: &'k [String]) -> Option<&'k str> {
    let written = written.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|key| (strsim::osa_distance(&written, key), key.as_str()))
        .filter(|&(distance, key)| distance <= 2 && distance * 2 < key.len())
        .min()
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests;
