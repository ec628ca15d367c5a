//! What is wrong with a file, all of it at once: a user who edits over a phone's terminal does
//! not fix one line, start, and learn of the next.

use std::fmt;

/// Most problems shown of one file. A file that is no config at all would fill the terminal and
/// push the first, telling one out of sight.
const MAX_SHOWN: usize = 50;

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

/// Whether a text is TOML at all, or TOML that says something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The text is not TOML there.
    Syntax,
    /// The text is TOML, its meaning is wrong.
    Meaning,
}

/// A problem whose line is not counted yet.
#[derive(Debug)]
pub(super) struct Found {
    /// Byte offset in the text.
    pub(super) at: usize,
    pub(super) kind: Kind,
    pub(super) message: String,
}

/// Turns offsets into lines, in one sweep however many problems there are.
///
/// Where a line is not TOML, what the parser made of it is noise: only its first syntax problem
/// is kept.
pub(super) fn with_lines(file: &str, text: &str, mut found: Vec<Found>) -> Problems {
    found.sort_by_key(|problem| problem.at);
    let mut lines = LineCounter::new(text);
    let mut located: Vec<(usize, Kind, String)> = found
        .into_iter()
        .map(|problem| (lines.line_of(problem.at), problem.kind, problem.message))
        .collect();
    located.sort_by_key(|&(line, kind, _)| (line, kind));
    located.dedup_by(|later, first| later.0 == first.0 && first.1 == Kind::Syntax);
    let hidden = located.split_off(located.len().min(MAX_SHOWN));
    if let Some((line, kind, _)) = hidden.first() {
        let count = hidden.len();
        located.push((
            *line,
            *kind,
            format!("and {count} more problems from here on"),
        ));
    }
    let problem = |(line, _, message)| Problem {
        file: file.to_owned(),
        line,
        message,
    };
    Problems(located.into_iter().map(problem).collect())
}

/// Counts lines up to offsets that only grow.
pub(super) struct LineCounter<'a> {
    bytes: &'a [u8],
    counted_to: usize,
    line: usize,
}

impl<'a> LineCounter<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            counted_to: 0,
            line: 1,
        }
    }

    pub(super) fn line_of(&mut self, at: usize) -> usize {
        let at = at.clamp(self.counted_to, self.bytes.len());
        let between = &self.bytes[self.counted_to..at];
        self.line += between.iter().filter(|&&byte| byte == b'\n').count();
        self.counted_to = at;
        self.line
    }
}
