//! Reads TOML key by key and collects every problem with its line, instead of stopping at the
//! first: a user who edits a file over a phone's terminal gets the whole list at once.

use std::fmt;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Every problem of the files read together. Never empty where it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

/// A file being read: its name, its text, and the problems found so far.
#[derive(Debug)]
pub struct Source<'a> {
    file: &'a str,
    text: &'a str,
    problems: Problems,
    /// An offset and its line, from where the next count goes on: files are read front to back.
    counted: (usize, usize),
}

impl<'a> Source<'a> {
    /// Parses `text` as TOML and hands its top table to `read`.
    ///
    /// # Errors
    /// Every problem: of the TOML itself, of unknown keys, and those that `read` reported.
    pub fn read<T>(
        file: &str,
        text: &str,
        read: impl FnOnce(&mut Section<'_, '_, '_>) -> T,
    ) -> Result<T, Problems> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut source = Source {
            file,
            text,
            problems: Problems::default(),
            counted: (0, 1),
        };
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            source.report(
                offset,
                format!("this is not TOML: {}", error.message().trim()),
            );
        }
        let mut section = Section {
            source: &mut source,
            table: table.into_inner(),
            path: String::new(),
            at: 0,
        };
        let value = read(&mut section);
        section.finish();
        if source.problems.0.is_empty() {
            Ok(value)
        } else {
            Err(source.into_problems())
        }
    }

    fn line(&mut self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let (from, line) = match self.counted {
            counted if counted.0 <= offset => counted,
            _ => (0, 1),
        };
        let skipped = &self.text.as_bytes()[from..offset];
        let line = line + skipped.iter().filter(|&&byte| byte == b'\n').count();
        self.counted = (offset, line);
        line
    }

    fn report(&mut self, offset: usize, message: String) {
        let problem = Problem {
            file: self.file.to_owned(),
            line: self.line(offset),
            message,
        };
        self.problems.0.push(problem);
    }

    fn into_problems(mut self) -> Problems {
        self.problems.0.sort_by_key(|problem| problem.line);
        self.problems
    }
}

/// One table of a file. Keys are taken out as they are read; what is left at the end is unknown.
#[derive(Debug)]
pub struct Section<'s, 'a, 'i> {
    source: &'s mut Source<'a>,
    table: DeTable<'i>,
    path: String,
    at: usize,
}

impl<'i> Section<'_, '_, 'i> {
    /// Reports a problem of this section as a whole, at its heading.
    pub fn report(&mut self, message: impl Into<String>) {
        let at = self.at;
        self.source.report(at, message.into());
    }

    /// The line of its heading, counted from 1.
    #[must_use]
    pub fn line(&mut self) -> usize {
        self.source.line(self.at)
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
        let number = i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
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

    /// An array, each element through `parse`; wrong elements are reported and left out.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let (value, at) = self.take(key)?;
        let DeValue::Array(array) = value else {
            return self.wrong_kind(key, "a list in brackets", &value, at);
        };
        let path = self.key_path(key);
        let mut values = Vec::new();
        for element in array {
            let at = element.span().start;
            let text = match element.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(integer) => integer.to_string(),
                other => {
                    let kind = other.type_str();
                    self.source
                        .report(at, format!("{path} holds {kind} where it cannot"));
                    continue;
                }
            };
            match parse(&text) {
                Ok(value) => values.push(value),
                Err(error) => self
                    .source
                    .report(at, format!("{path}: \"{text}\": {error}")),
            }
        }
        Some(values)
    }

    /// An array of whole numbers, port numbers for instance.
    pub fn numbers<N: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<Vec<N>> {
        self.list(key, str::parse)
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
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    fn take(&mut self, key: &str) -> Option<(DeValue<'i>, usize)> {
        let value: Spanned<DeValue<'i>> = self.table.remove(key)?;
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
        let (path, kind) = (self.key_path(key), found.type_str());
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
            self.source
                .report(at, format!("{path} is not a key that Muzzle knows"));
        }
    }
}

#[cfg(test)]
mod tests;
