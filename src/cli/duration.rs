//! Lengths of time on the command line.

use std::time::Duration;

/// The letter of each unit and its seconds.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];

/// `10m`, `2h`, `7d` or `90s`.
///
/// # Errors
/// The text is none of these; what would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wanted =
        || "must be a whole number and its unit: s, m, h or d, as in 10m, 2h or 7d".to_owned();
    let read = |(unit, seconds): (char, u64)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|&seconds| seconds > 0)
    };
    let seconds = UNITS.into_iter().find_map(read);
    seconds.map(Duration::from_secs).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_number_with_its_unit() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "1.5h",
            "-1m",
            "0m",
            "10 m",
            "1w",
            "99999999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
