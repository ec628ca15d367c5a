//! Numbers and categories as people read them.

use crate::catalogue::Category;

/// `12,431`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 try`, `12,431 tries`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Tenths of a number, for rates: `7.5`, and `112` where tenths say nothing.
#[must_use]
pub fn rate(tenths: u64) -> String {
    match (tenths / 10, tenths % 10) {
        (whole, 0) => count(whole),
        (whole, _) if whole >= 100 => count(whole),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

/// Whether the phone's owner has nothing of it: what a report is about.
#[must_use]
pub const fn is_tracking(category: Category) -> bool {
    matches!(
        category,
        Category::Telemetry
            | Category::Crash
            | Category::Ads
            | Category::Config
            | Category::Httpdns
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_431_007, "12,431,007"),
        ] {
            assert_eq!(count(number), text);
        }
        for (tenths, text) in [(0, "0"), (75, "7.5"), (70, "7"), (1123, "112")] {
            assert_eq!(rate(tenths), text);
        }
    }
}
