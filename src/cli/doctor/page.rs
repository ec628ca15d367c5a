//! One section of a bundle while it is written: our own words, and foreign text that is redacted
//! before anybody sees it.

use std::fmt::Display;

use super::redact::Redactor;

/// Bytes of foreign text that one section may quote. The rules of a phone are some 20 KiB.
const MAX_QUOTED_BYTES: usize = 256 << 10;

/// A section. Text goes in as a whole, with its line ends.
#[derive(Debug, Default)]
pub(super) struct Page {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Own(String),
    Foreign(String),
}

impl Page {
    /// Our own words, and values that identify nobody by their kind.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Own(text.into()));
    }

    /// What others wrote.
    pub(super) fn quote(&mut self, text: impl Into<String>) {
        let mut text = text.into();
        if text.len() > MAX_QUOTED_BYTES {
            let end = text.floor_char_boundary(MAX_QUOTED_BYTES);
            text.truncate(end);
            text.push_str("\n(cut here: too long)\n");
        }
        self.parts.push(Part::Foreign(text));
    }

    /// What others wrote, as lines of their own.
    pub(super) fn quote_lines(&mut self, text: &str) {
        let text = text.trim_end();
        if text.is_empty() {
            self.say("(nothing)\n");
        } else {
            self.quote(format!("{text}\n"));
        }
    }

    /// A value from the phone whose kind identifies nobody, like a version: one printable word or
    /// a few.
    pub(super) fn value(&mut self, name: &str, value: &str) {
        let value: String = value
            .trim()
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
            .take(100)
            .collect();
        let shown = if value.is_empty() { "-" } else { &value };
        self.say(format!("{name:<28} {shown}\n"));
    }

    /// Something that could not be found out.
    pub(super) fn missing(&mut self, what: &str, why: impl Display) {
        self.say(format!("not done: {what}: "));
        self.quote(why.to_string().trim_end().replace('\n', "; "));
        self.say("\n");
    }

    /// The text.
    pub(super) fn redacted(&self, redactor: &mut Redactor<'_>) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Own(text) => text.clone(),
            Part::Foreign(text) => redactor.text(text),
        });
        parts.collect()
    }
}
