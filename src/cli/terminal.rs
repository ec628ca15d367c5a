//! What the terminal can show.

use std::io::IsTerminal as _;

use crate::report::text::Canvas;

/// Where it is not known: what fits nearly everywhere.
const COLUMNS: usize = 80;
/// What is narrower cannot hold a name and a number.
const LEAST: usize = 40;

/// How wide standard output is, and whether it shows Unicode. `COLUMNS` wins, as a user's word.
#[must_use]
pub fn canvas() -> Canvas {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .filter(|text: &String| !text.is_empty())
    };
    let wanted = variable("COLUMNS").and_then(|text| text.parse().ok());
    let out = std::io::stdout();
    let measured = || {
        let (width, _) = terminal_size::terminal_size_of(&out)?;
        out.is_terminal().then_some(usize::from(width.0))
    };
    // The first that is set says it (locale(7)).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(variable);
    Canvas {
        columns: wanted.or_else(measured).unwrap_or(COLUMNS).max(LEAST),
        unicode: match locale {
            Some(locale) => {
                let locale = locale.to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }
            // Android's C library knows UTF-8 only, and sets nothing.
            None => cfg!(target_os = "android"),
        },
    }
}
