//! A week of a made-up phone, the same each time.

use muzzle::decide::Outcome;
use muzzle::history::{Row, UnixHours};

/// Friday 20 November 2026, 09:12 UTC.
pub(crate) const NOW_SECS: i64 = 1_795_165_920;
pub(crate) const WEEK_SECS: i64 = 7 * 86_400;

/// Who tries what: app, name, entry, outcome, tries in a busy hour.
type Habit = (
    Option<&'static str>,
    &'static str,
    Option<&'static str>,
    Outcome,
    u64,
);

use Outcome::{Allowed, Blocked, Logged};

const HABITS: &[Habit] = &[
    (
        Some("com.miui.analytics"),
        "tracking.intl.miui.com",
        Some("tracking.intl.miui.com"),
        Blocked,
        21,
    ),
    (
        Some("com.miui.analytics"),
        "tracking.rus.miui.com",
        Some("tracking.rus.miui.com"),
        Blocked,
        9,
    ),
    (
        Some("com.miui.analytics"),
        "sdkconfig.ad.intl.xiaomi.com",
        Some("sdkconfig.ad.intl.xiaomi.com"),
        Blocked,
        4,
    ),
    (
        Some("com.mi.globalbrowser"),
        "sa.api.intl.miui.com",
        Some("sa.api.intl.miui.com"),
        Blocked,
        46,
    ),
    (
        Some("com.mi.globalbrowser"),
        "data.mistat.intl.xiaomi.com",
        Some("data.mistat.intl.xiaomi.com"),
        Blocked,
        6,
    ),
    (
        Some("com.miui.msa.global"),
        "api.ad.intl.xiaomi.com",
        Some("api.ad.intl.xiaomi.com"),
        Blocked,
        7,
    ),
    (
        Some("com.miui.msa.global"),
        "globalapi.ad.xiaomi.com",
        Some("globalapi.ad.xiaomi.com"),
        Blocked,
        5,
    ),
    (
        Some("com.miui.player"),
        "data.mistat.india.xiaomi.com",
        Some("data.mistat.india.xiaomi.com"),
        Blocked,
        3,
    ),
    (
        Some("com.miui.securitycenter"),
        "data.mistat.xiaomi.com",
        Some("data.mistat.xiaomi.com"),
        Blocked,
        5,
    ),
    (
        Some("com.xiaomi.mipicks"),
        "tracking.miui.com",
        Some("tracking.miui.com"),
        Blocked,
        4,
    ),
    (
        Some("com.shop.example, com.shop.lite (shared uid 10211)"),
        "shop.datasink.sensorsdata.cn",
        Some("*.datasink.sensorsdata.cn"),
        Blocked,
        3,
    ),
    (
        Some("com.xiaomi.joyose"),
        "mcc.intl.inf.miui.com",
        Some("mcc.intl.inf.miui.com"),
        Logged,
        2,
    ),
    (
        Some("com.miui.analytics"),
        "sdkconfig.eu.xiaomi.com",
        Some("sdkconfig.eu.xiaomi.com"),
        Blocked,
        2,
    ),
    (
        Some("com.miui.securitycenter"),
        "data.sec.miui.com",
        Some("data.sec.miui.com"),
        Logged,
        2,
    ),
    (
        Some("com.xiaomi.xmsf"),
        "app.chat.global.xiaomi.net",
        Some("app.chat.global.xiaomi.net"),
        Allowed,
        2,
    ),
    (
        Some("com.xiaomi.account"),
        "account.xiaomi.com",
        Some("account.xiaomi.com"),
        Allowed,
        1,
    ),
    (
        Some("network_stack"),
        "connect.rom.miui.com",
        Some("connect.rom.miui.com"),
        Allowed,
        2,
    ),
    (
        Some("org.mozilla.firefox"),
        "ads.example.net",
        None,
        Blocked,
        1,
    ),
    (
        Some("org.mozilla.firefox"),
        "news.example.org",
        None,
        Allowed,
        9,
    ),
    (
        Some("org.mozilla.firefox"),
        "en.wikipedia.org",
        None,
        Allowed,
        7,
    ),
    (
        Some("org.thoughtcrime.securesms"),
        "chat.example.org",
        None,
        Allowed,
        12,
    ),
    (None, "198.51.100.7", None, Allowed, 1),
];

/// How awake the phone is in each hour of the day, in tenths.
const DAY: [u64; 24] = [
    2, 1, 1, 1, 1, 2, 5, 9, 10, 8, 7, 8, 10, 9, 7, 7, 8, 9, 10, 10, 10, 9, 7, 4,
];

/// The rows of the week, in the order of their hours.
pub(crate) fn week() -> impl Iterator<Item = Row> {
    let last = u32::try_from(NOW_SECS / 3600).unwrap();
    (0..7 * 24_u32).flat_map(move |hour| {
        let hour = last - 7 * 24 + 1 + hour;
        HABITS.iter().enumerate().filter_map(move |(habit, it)| {
            // Some unevenness, the same each time.
            let uneven = u64::from(hour)
                .wrapping_mul(2_654_435_761)
                .wrapping_add(habit as u64 * 40_503)
                >> 7;
            let tries = it.4 * DAY[hour as usize % 24] * (4 + uneven % 13) / 100;
            (tries > 0).then(|| row(hour, it, tries))
        })
    })
}

fn row(hour: u32, &(app, name, entry, outcome, _): &Habit, tries: u64) -> Row {
    Row {
        hour: UnixHours(hour),
        app: app.map(str::to_owned),
        name: name.to_owned(),
        entry: entry.map(str::to_owned),
        outcome,
        decisions: tries * 2,
        tries,
    }
}

/// Names and labels that would do harm where they are not taken for text.
pub(crate) fn hostile() -> Vec<String> {
    let long = "x".repeat(253);
    let marked = "<script>alert('1')</script>\"&amp;]]>".to_owned();
    let terminal = "\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{9b}31m".to_owned();
    let turned = "\u{202e}gpj.exe\u{2066}\u{200b}\u{2028}".to_owned();
    let attribute = "\" onload=\"alert(1)\" x='".to_owned();
    let nothing = "\0\u{fffe}\u{fffd}\u{ad}".to_owned();
    vec![
        long,
        marked,
        terminal,
        turned,
        attribute,
        nothing,
        "ק‎עברית.example".to_owned(),
    ]
}

/// One row for each hostile text, as app, as name and as entry.
pub(crate) fn hostile_rows() -> Vec<Row> {
    let hour = UnixHours(u32::try_from(NOW_SECS / 3600).unwrap());
    let mut rows = Vec::new();
    for text in hostile() {
        for outcome in [Blocked, Allowed, Logged, Outcome::WouldBlock] {
            rows.push(Row {
                hour,
                app: Some(text.clone()),
                name: text.clone(),
                entry: (outcome == Logged).then(|| text.clone()),
                outcome,
                decisions: 80,
                tries: 40,
            });
        }
    }
    rows
}
