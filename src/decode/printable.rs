//! Foreign text on a terminal: what a terminal would obey, or would not show as it is, is escaped.

use std::fmt::Write as _;

/// Whether a terminal shows this character as one, where it stands: no control characters
/// (ISO 6429), nothing that is invisible or turns the direction of writing (UAX 9).
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// `text` in one line, with `\u{202e}` and the like for what is not shown.
#[must_use]
pub fn printable(text: &str) -> String {
    escaped(text, |c, out| out.extend(c.escape_unicode()))
}

/// The same for JSON, which stays the same JSON: such characters stand in its strings only.
#[must_use]
pub fn printable_json(json: &str) -> String {
    escaped(json, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A String takes everything.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            escape(c, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = "a\u{1b}[2J\u{9b}\r\n\u{202e}txt\u{200b}\u{e0041}\u{7f} \u{4f60}\u{2026}";
        assert_eq!(
            printable(text),
            "a\\u{1b}[2J\\u{9b}\\u{d}\\u{a}\\u{202e}txt\\u{200b}\\u{e0041}\\u{7f} \u{4f60}\u{2026}"
        );
        let json = serde_json::to_string(text).unwrap();
        let shown = printable_json(&json);
        assert!(shown.chars().all(is_shown), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
