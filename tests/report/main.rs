//! What `muzzle top` and `muzzle report` show, of a made-up week.
//! `UPDATE_GOLDEN=1 cargo test --test report` rewrites the files in `tests/golden/report`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod records;
mod scene;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jiff::tz::TimeZone;
use muzzle::catalogue::Catalogue;
use muzzle::history::{Row, UnixHours};
use muzzle::report::text::{self, Canvas, Dimension, Order};
use muzzle::report::{Summary, Tally, Window, html};
use proptest::prelude::*;
use scene::{NOW_SECS, WEEK_SECS, hostile_rows, week};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

const WIDE: Canvas = Canvas {
    columns: 100,
    unicode: true,
};
const NARROW: Canvas = Canvas {
    columns: 48,
    unicode: false,
};

fn assert_golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/report")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, text).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&file).expect("the golden file is there");
    assert_eq!(text, golden, "{} differs", file.display());
}

/// Without colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn berlin() -> TimeZone {
    // Without a database of zones on the machine, an hour east all the same.
    TimeZone::get("Europe/Berlin").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(1)))
}

fn window(length_secs: i64) -> Window {
    Window::new(NOW_SECS, length_secs, berlin())
}

fn summed<'c>(
    catalogue: &'c Catalogue,
    window: Window,
    rows: impl IntoIterator<Item = Row>,
) -> Summary<'c> {
    let mut tally = Tally::new(catalogue, window);
    rows.into_iter().for_each(|row| tally.add(&row));
    tally.finish()
}

#[test]
fn the_report_of_a_week_as_a_terminal_shows_it() {
    let catalogue = &*CATALOGUE;
    let summary = summed(catalogue, window(WEEK_SECS), week());
    assert_golden("week_wide.txt", &plain(&text::report(&summary, WIDE)));
    assert_golden("week_narrow.txt", &plain(&text::report(&summary, NARROW)));
}

#[test]
fn the_most_active_by_each_dimension() {
    let catalogue = &*CATALOGUE;
    let summary = summed(catalogue, window(WEEK_SECS), week());
    let mut all = String::new();
    for (word, dimension) in Dimension::WORDS {
        for (by, order) in Order::WORDS {
            let lines = text::top(&summary, *dimension, *order, 5);
            all.push_str(&format!("$ muzzle top {word} --by {by}\n"));
            all.push_str(&plain(&text::table(&lines, *order, WIDE)));
        }
    }
    assert_golden("top.txt", &all);
}

#[test]
fn a_quiet_phone_is_told_as_one() {
    let catalogue = &*CATALOGUE;
    let nothing = summed(catalogue, window(WEEK_SECS), []);
    let unlisted = week().filter(|row| row.name == "en.wikipedia.org");
    let unlisted = summed(catalogue, window(WEEK_SECS), unlisted);
    let observed = week().map(|row| Row {
        outcome: match row.outcome {
            muzzle::decide::Outcome::Blocked => muzzle::decide::Outcome::WouldBlock,
            other => other,
        },
        ..row
    });
    let observed = summed(catalogue, window(86_400), observed);
    let begun = summed(catalogue, window(30 * 86_400), week());
    let mut all = String::new();
    for summary in [&nothing, &unlisted, &observed, &begun] {
        all.push_str(&plain(&text::report(summary, NARROW)));
        all.push_str("\n\n");
        check_page(&html::page(summary));
    }
    assert_golden("quiet.txt", &all);
}

/// The page as XML, and nothing in it that would load or run something.
fn check_page(page: &str) {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap();
    let mut ids = std::collections::HashSet::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let tag = node.tag_name().name();
        let known = "html head meta title style body main header footer section div span b bdi p \
                     ul li h1 h2 table thead tbody tr th td small br code details summary svg g \
                     rect path circle text tspan";
        assert!(known.split_whitespace().any(|it| it == tag), "{tag}");
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on"), "{name}");
            assert!(!matches!(name, "href" | "src" | "action"), "{name}");
            assert!(
                name != "id" || ids.insert(attribute.value()),
                "twice: {}",
                attribute.value()
            );
        }
        if tag == "table" {
            let columns = |row: roxmltree::Node<'_, '_>| row.children().count();
            let rows = node.descendants().filter(|it| it.has_tag_name("tr"));
            let counts: std::collections::HashSet<_> = rows.map(columns).collect();
            assert!(counts.len() == 1, "rows of different lengths: {counts:?}");
        }
    }
    let is_harmless = |character: char| {
        character == '\n'
            || !(character.is_control()
                || "\u{200b}\u{202e}\u{2066}\u{2028}\u{ad}".contains(character))
    };
    assert!(page.chars().all(is_harmless));
}

#[test]
fn the_page_is_well_formed_and_self_contained() {
    let catalogue = &*CATALOGUE;
    let summary = summed(catalogue, window(WEEK_SECS), week());
    let page = html::page(&summary);
    // For whoever wants to look at it.
    fs::write(
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html"),
        &page,
    )
    .unwrap();
    check_page(&page);
    for text in [
        "sa.api.intl.miui.com",
        "Refused is not deleted",
        "What does not give up",
        "Singapore",
        "en.wikipedia.org",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_page_for_others_has_no_name_that_nobody_lists() {
    let catalogue = &*CATALOGUE;
    let mut tally = Tally::new(catalogue, window(WEEK_SECS)).hiding_unlisted();
    week().for_each(|row| tally.add(&row));
    let summary = tally.finish();
    let page = html::page(&summary);
    check_page(&page);
    for text in ["wikipedia", "news.example", "198.51.100.7", "securesms"] {
        assert!(!page.contains(text), "{text}");
    }
    let json = serde_json::to_string(&summary).unwrap();
    assert!(!json.contains("wikipedia"));
    assert!(page.contains("ads.example.net"));
}

#[test]
fn hostile_names_are_text_everywhere() {
    let catalogue = &*CATALOGUE;
    let summary = summed(catalogue, window(WEEK_SECS), hostile_rows());
    check_page(&html::page(&summary));
    for canvas in [WIDE, NARROW] {
        let mut told = text::report(&summary, canvas);
        for (_, dimension) in Dimension::WORDS {
            for (_, order) in Order::WORDS {
                let lines = text::top(&summary, *dimension, *order, 100);
                told.push_str(&text::table(&lines, *order, canvas));
            }
        }
        let told = plain(&told);
        assert!(!told.contains([
            '\u{1b}', '\r', '\u{7}', '\u{9b}', '\u{202e}', '\u{2028}', '\0'
        ]));
        for line in told.lines() {
            assert!(line.chars().count() <= canvas.columns.max(51), "{line}");
        }
    }
}

/// Rows of few apps and names, so that many are of the same.
fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    use muzzle::decide::Outcome::{Allowed, Blocked, Logged, WouldBlock};
    let outcome = prop::sample::select(vec![Allowed, Blocked, Logged, WouldBlock]);
    let entry = prop::sample::select(vec![
        None,
        Some("sa.api.intl.miui.com"),
        Some("account.xiaomi.com"),
        Some("gone.example"),
    ]);
    let last = u32::try_from(NOW_SECS / 3600).unwrap();
    let row = (
        0..200_u32,
        0..5_u8,
        0..9_u8,
        entry,
        outcome,
        1..50_u64,
        0..9_u64,
    );
    let row = row.prop_map(move |(ago, app, name, entry, outcome, tries, more)| Row {
        hour: UnixHours(last - ago),
        app: (app > 0).then(|| format!("com.app{app}")),
        name: format!("name{name}.example"),
        entry: entry.map(str::to_owned),
        outcome,
        decisions: tries + more,
        tries,
    });
    prop::collection::vec(row, 0..200).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.hour);
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_add_up(rows in some_rows(), days in 1..9_i64) {
        let catalogue = &*CATALOGUE;
        let window = window(days * 86_400);
        let within = || rows.iter().filter(|row| window.contains(row.hour));
        let tries: u64 = within().map(|row| row.tries).sum();
        let decisions: u64 = within().map(|row| row.decisions).sum();
        let summary = summed(catalogue, window.clone(), rows.iter().cloned());
        let total = &summary.total;
        prop_assert_eq!(total.tries(), tries);
        prop_assert_eq!(total.decisions, decisions);
        let apps: u64 = summary.apps.iter().map(|line| line.sum.tries()).sum();
        let names: u64 = summary.names.iter().map(|it| it.sum.tries()).sum();
        let systems: u64 = summary.systems.iter().map(|line| line.sum.tries()).sum();
        let bars: u64 = summary.timeline.iter().flat_map(|(_, counts)| counts).sum();
        prop_assert_eq!(apps, tries);
        prop_assert_eq!(names, tries);
        prop_assert_eq!(systems, total.listed());
        prop_assert_eq!(bars, total.listed());
        for line in &summary.apps {
            prop_assert!(line.sum.retries <= line.sum.blocked);
            prop_assert!(line.sum.worst_hour <= line.sum.blocked);
            prop_assert_eq!(line.sum.refused_hours == 0, line.sum.blocked == 0);
        }
        check_page(&html::page(&summary));
    }

    /// Whatever the texts: the page is XML, and a line of a table is one line.
    #[test]
    fn any_text_stays_text(app in any::<String>(), name in any::<String>(), note in "\\PC*") {
        let row = Row {
            hour: UnixHours(u32::try_from(NOW_SECS / 3600).unwrap()),
            app: Some(app),
            name,
            entry: Some(note),
            outcome: muzzle::decide::Outcome::Blocked,
            decisions: 1,
            tries: 1,
        };
        let summary = summed(&CATALOGUE, window(86_400), [row]);
        check_page(&html::page(&summary));
        for dimension in [Dimension::Apps, Dimension::Names] {
            let lines = text::top(&summary, dimension, Order::Tries, 9);
            let table = plain(&text::table(&lines, Order::Tries, NARROW));
            prop_assert_eq!(table.lines().count(), 2);
        }
    }

    /// Whatever the zone, its jumps and the length: bars follow one another and cover the window.
    #[test]
    fn bars_cover_the_window(
        now in 0..4_000_000_000_i64,
        length in prop_oneof![1..7200_i64, 7200..2_000_000_i64, 2_000_000..316_000_000_i64],
        zone in prop::sample::select(vec!["Europe/Berlin", "Asia/Kolkata", "Pacific/Apia",
            "America/St_Johns", "Australia/Lord_Howe", "UTC"]),
    ) {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let window = Window::new(now, length, zone);
        let bars = window.bars();
        prop_assert!((1..=130).contains(&bars.len()), "{}", bars.len());
        prop_assert!(bars[0].start <= (now - length).max(0));
        prop_assert!(bars.windows(2).all(|two| two[0].start < two[1].start));
        prop_assert!(bars.last().unwrap().start <= now);
        for bar in &bars {
            prop_assert!(!window.label(bar).is_empty() && !window.full_label(bar).is_empty());
        }
    }
}

/// An app that makes up names does not fill the memory, and nothing gets lost of the sums.
#[test]
fn names_without_end_are_summed_up() {
    let catalogue = &*CATALOGUE;
    let rows = (0..50_000_u64).map(|number| Row {
        hour: UnixHours(u32::try_from(NOW_SECS / 3600).unwrap()),
        app: Some(format!("uid {} (unknown app)", number % 3000)),
        name: format!("{number}.{}", "long.".repeat(40)),
        entry: None,
        outcome: muzzle::decide::Outcome::Blocked,
        decisions: 2,
        tries: 1 + u64::from(number % 1000 == 0),
    });
    let summary = summed(catalogue, window(WEEK_SECS), rows);
    assert_eq!(summary.total.blocked, 50_050);
    let names: u64 = summary.names.iter().map(|it| it.sum.blocked).sum();
    assert!(summary.names.len() <= 8192);
    assert_eq!(names + summary.other_names.blocked, 50_050);
    assert!(summary.apps.len() <= 1025);
    assert_eq!(
        summary
            .apps
            .iter()
            .map(|line| line.sum.blocked)
            .sum::<u64>(),
        50_050
    );
    assert!(html::page(&summary).len() < 200_000);
}
