//! The one place where foreign text is made harmless: names come from packets, labels of apps from
//! a file of the phone, and either may hold anything.

use std::fmt;

/// Characters that are not themselves when printed: controls, what reorders or hides the text
/// around it, and line ends (Unicode Standard Annex #9; general categories Cc, Cf, Zl and Zp).
const fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text for a terminal: what would do something there stands as `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_deceptive(character) {
                write!(out, "{}", character.escape_unicode())?;
            } else {
                write!(out, "{character}")?;
            }
        }
        Ok(())
    }
}

impl Plain<'_> {
    /// The same, cut to `width` characters: from the left, since the end of a name says whose it
    /// is. `ellipsis` stands for what is left out.
    #[must_use]
    pub fn fitted(self, width: usize, ellipsis: &str) -> String {
        let text = self.to_string();
        let length = text.chars().count();
        if length <= width {
            return text;
        }
        let kept = width.saturating_sub(ellipsis.chars().count());
        let end = text.chars().skip(length - kept);
        ellipsis.chars().chain(end).collect()
    }

    /// The same, cut to `width` characters from the right: for what reads as a sentence.
    #[must_use]
    pub fn clipped(self, width: usize, ellipsis: &str) -> String {
        let text = self.to_string();
        if text.chars().count() <= width {
            return text;
        }
        let kept = width.saturating_sub(ellipsis.chars().count());
        let begin: String = text.chars().take(kept).collect();
        format!("{}{ellipsis}", begin.trim_end())
    }
}

/// Text for a page, between tags or in a quoted attribute.
#[derive(Clone, Copy, Debug)]
pub struct Html<'a>(pub &'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                _ => write!(out, "{}", Plain(character.encode_utf8(&mut [0; 4])))?,
            }
        }
        Ok(())
    }
}

/// A word of a command that people copy into a shell: quoted where it is not plainly harmless.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let is_harmless =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let text = Plain(text).to_string();
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_harmless) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_is_shown_instead() {
        assert_eq!(
            Plain("a\u{1b}[2J\n\u{202e}b").to_string(),
            r"a\u{1b}[2J\u{a}\u{202e}b"
        );
        assert_eq!(
            Html("<script>'&\"\u{0}\u{2028}").to_string(),
            r"&lt;script&gt;&#39;&amp;&quot;\u{0}\u{2028}"
        );
        assert_eq!(Plain("börse.example").to_string(), "börse.example");
    }

    #[test]
    fn the_end_of_a_long_name_is_kept() {
        assert_eq!(Plain("a.long.name.example").fitted(12, "…"), "…ame.example");
        assert_eq!(Plain("short").fitted(12, "…"), "short");
        assert_eq!(Plain("abc").fitted(0, ".."), "..");
        assert_eq!(Plain("what it is for").clipped(9, "…"), "what it…");
        assert_eq!(Plain("abc").clipped(3, ".."), "abc");
    }

    #[test]
    fn a_copied_command_does_nothing_else() {
        assert_eq!(shell_word("sa.api.intl.miui.com"), "sa.api.intl.miui.com");
        assert_eq!(shell_word("2001:db8::1"), "2001:db8::1");
        for (text, word) in [
            ("*.x", "'*.x'"),
            ("", "''"),
            ("--all", "'--all'"),
            ("$(id)", "'$(id)'"),
            ("a'b", r"'a'\''b'"),
            ("a\nb", r"'a\u{a}b'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
