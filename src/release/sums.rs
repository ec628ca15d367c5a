//! `SHA256SUMS`: one file a line, the sum in hexadecimal digits, two blanks, the name. The installer
//! reads the same list with `sha256sum -c`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::MAX_FILES;

/// A list of sums.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sums(BTreeMap<String, String>);

/// What is wrong with a list.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SumsError {
    /// `sha256sum` would not have written the line.
    #[error("line {0}: it must be 64 hexadecimal digits, two blanks and a file's name")]
    Form(usize),
    /// The name leads out of the folder.
    #[error("line {0}: the name must lead to a file below the folder, without \"..\"")]
    Name(usize),
    /// The file is listed twice.
    #[error("line {0}: the file is listed above already")]
    Duplicate(usize),
    /// There are more than [`MAX_FILES`] lines.
    #[error("line {}: no release has as many files", MAX_FILES + 1)]
    Long,
}

impl Sums {
    /// Reads a list.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(list: &[u8]) -> Result<Self, SumsError> {
        let mut sums = BTreeMap::new();
        let lines = list.strip_suffix(b"\n").unwrap_or(list);
        for (number, line) in (1..).zip(lines.split(|&byte| byte == b'\n')) {
            if number > MAX_FILES {
                return Err(SumsError::Long);
            }
            let (sum, name) = str::from_utf8(line)
                .ok()
                .and_then(|line| line.split_once("  "))
                .filter(|(sum, name)| is_sum(sum) && !name.is_empty())
                .ok_or(SumsError::Form(number))?;
            if !is_below(name) {
                return Err(SumsError::Name(number));
            }
            let sum = sum.to_ascii_lowercase();
            if sums.insert(name.to_owned(), sum).is_some() {
                return Err(SumsError::Duplicate(number));
            }
        }
        Ok(Self(sums))
    }

    /// How many files are listed.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty list is an error")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The listed files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the file is listed.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether the file is listed with the sum of this content.
    #[must_use]
    pub fn has(&self, name: &str, content: &[u8]) -> bool {
        self.0.get(name).is_some_and(|sum| *sum == sum_of(content))
    }
}

/// The SHA-256 sum in hexadecimal digits.
fn sum_of(content: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(content) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the name is a plain path below the folder: unpacking or reading it touches nothing else.
pub(super) fn is_below(name: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(is_plain) && !name.contains(['\\', '\0', '\n', '\r'])
}
