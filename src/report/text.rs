//! The report for a terminal: as wide as that is, in colours that whoever prints takes away where
//! there is no terminal, in ASCII where it knows no more.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::escape::Plain;
use super::summary::{Line, Named, Summary};
use super::tally::Sum;
use super::words::{count, counted, rate};

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Characters in a line.
    pub columns: usize,
    /// Whether it shows Unicode.
    pub unicode: bool,
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
/// Blocked, would be blocked, logged, allowed.
const COLOURS: [AnsiColor; 4] = [
    AnsiColor::Red,
    AnsiColor::Yellow,
    AnsiColor::Cyan,
    AnsiColor::Green,
];
/// Lines of each part of the report.
const LINES: usize = 8;

impl Canvas {
    /// What stands for what is left out.
    #[must_use]
    pub const fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { ".." }
    }

    fn dash(self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    /// A bar of `width` characters at most, in eighths where the terminal shows these.
    fn bar(self, sum: &Sum, most: u64, width: usize) -> String {
        let parts = [sum.blocked, sum.would_block, sum.logged, sum.allowed];
        let mut text = String::new();
        let mut room = width;
        for (colour, part) in COLOURS.iter().zip(parts).filter(|(_, part)| *part > 0) {
            let eighths = super::chart::scaled(part, most, 8 * width as u64).max(1);
            let whole = usize::try_from(eighths / 8).unwrap_or(width).min(room);
            let style = Style::new().fg_color(Some((*colour).into()));
            let _ = write!(text, "{style}");
            let block = if self.unicode { "█" } else { "#" };
            text.push_str(&block.repeat(whole));
            room -= whole;
            if whole == 0 && room > 0 {
                text.push(if self.unicode {
                    EIGHTHS[usize::try_from(eighths % 8).unwrap_or(1)]
                } else {
                    '.'
                });
                room -= 1;
            }
            let _ = write!(text, "{style:#}");
        }
        text
    }

    /// Numbers over time as one line of little bars, as many as there is room for.
    fn sparkline(self, numbers: &[u64]) -> String {
        let per = numbers
            .len()
            .div_ceil(self.columns.saturating_sub(4).max(1))
            .max(1);
        let sums: Vec<u64> = numbers.chunks(per).map(|it| it.iter().sum()).collect();
        let most = sums.iter().copied().max().unwrap_or(0);
        let levels: &[char] = if self.unicode {
            &LEVELS
        } else {
            &['.', ':', '=', '#']
        };
        sums.iter()
            .map(|&number| match number {
                0 => ' ',
                _ => {
                    let last = levels.len() as u64 - 1;
                    let level = super::chart::scaled(number, most, last);
                    levels[usize::try_from(level).unwrap_or(0)]
                }
            })
            .collect()
    }
}

const EIGHTHS: [char; 8] = ['▏', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole report.
#[must_use]
pub fn report(summary: &Summary<'_>, canvas: Canvas) -> String {
    let mut out = String::new();
    let headline = summary.headline().concat();
    wrap(&headline, canvas.columns, "", BOLD, &mut out);
    if let Some(aside) = summary.aside() {
        wrap(&aside, canvas.columns, "", DIM, &mut out);
    }
    wrap(&summary.window.dates(), canvas.columns, "", DIM, &mut out);
    if summary.total.listed() > 0 {
        timeline(summary, canvas, &mut out);
        bars("By region", &summary.regions, canvas, &mut out);
        bars("By app", &summary.apps, canvas, &mut out);
        bars("By system", &summary.systems, canvas, &mut out);
        heading("By name", canvas, &mut out);
        let refused = summary.names.iter().filter(|it| it.sum.refused() > 0);
        for it in refused.take(LINES) {
            let refused = count(it.sum.refused());
            row(&it.name, &it.purpose(), &refused, canvas, &mut out);
        }
    }
    if summary.storms().next().is_some() {
        heading("Tried again and again, an hour", canvas, &mut out);
        for it in summary.storms().take(LINES) {
            let tenths = it.sum.retry_tenths();
            row(
                &it.name,
                &it.apps.join(", "),
                &rate(tenths),
                canvas,
                &mut out,
            );
        }
        let hint = "That costs battery. Another kind of refusal may quieten an app: try one with \
                    [[answer]] in muzzle.toml.";
        wrap(hint, canvas.columns, "  ", DIM, &mut out);
    }
    let delayed = summary.delayed();
    if !delayed.is_empty() {
        heading("Refused is not deleted", canvas, &mut out);
        let lead = "What could not be sent is kept, and sent as soon as that is possible:";
        wrap(lead, canvas.columns, "  ", DIM, &mut out);
        for (backlog, _) in delayed {
            let text = format!("{}: {}", backlog.library, backlog.keeps);
            wrap(&text, canvas.columns, "  ", Style::new(), &mut out);
        }
    }
    if summary.breaking().next().is_some() {
        heading("What you may miss", canvas, &mut out);
        for (it, breaks) in summary.breaking().take(LINES) {
            let text = format!("{}: {breaks}", Plain(&it.name));
            wrap(&text, canvas.columns, "  ", Style::new(), &mut out);
        }
        wrap(
            "Something broke? muzzle suspects says which block it may be.",
            canvas.columns,
            "  ",
            DIM,
            &mut out,
        );
    }
    if summary.total.unlisted > 0 {
        let text = format!(
            "{} for names that nobody lists passed.",
            counted(summary.total.unlisted, "try", "tries")
        );
        out.push('\n');
        wrap(&text, canvas.columns, "", DIM, &mut out);
    }
    out
}

fn heading(title: &str, canvas: Canvas, out: &mut String) {
    let rest = canvas
        .columns
        .min(100)
        .saturating_sub(title.chars().count() + 1);
    let line = canvas.dash().repeat(rest);
    let _ = writeln!(out, "\n{BOLD}{title}{BOLD:#} {DIM}{line}{DIM:#}");
}

fn timeline(summary: &Summary<'_>, canvas: Canvas, out: &mut String) {
    heading("Over time", canvas, out);
    let numbers: Vec<u64> = summary
        .timeline
        .iter()
        .map(|(_, counts)| counts[0] + counts[1])
        .collect();
    let line = canvas.sparkline(&numbers);
    let red = Style::new().fg_color(Some(COLOURS[0].into()));
    let _ = writeln!(out, "  {red}{}{red:#}", line.trim_end());
    let label = |(bar, _): &(_, _)| summary.window.full_label(bar);
    let mut ends = summary.timeline.first().map(label).unwrap_or_default();
    if let [_, .., last] = summary.timeline.as_slice() {
        let last = label(last);
        let gap = line.chars().count().saturating_sub(ends.len() + last.len());
        ends.push_str(&" ".repeat(gap.max(3)));
        ends.push_str(&last);
    }
    let _ = writeln!(out, "  {DIM}{ends}{DIM:#}");
}

fn bars(title: &str, lines: &[Line], canvas: Canvas, out: &mut String) {
    heading(title, canvas, out);
    let listed = || lines.iter().filter(|line| line.sum.listed() > 0);
    let most = listed().map(|line| line.sum.listed()).max().unwrap_or(0);
    let columns = canvas.columns.min(100);
    let label = columns * 2 / 5;
    let width = columns.saturating_sub(label + 18);
    for line in listed().take(LINES) {
        let name = Plain(&line.label).fitted(label, canvas.ellipsis());
        let bar = canvas.bar(&line.sum, most, width);
        let _ = writeln!(
            out,
            "  {name:<label$} {:>9}  {bar}",
            count(line.sum.listed())
        );
    }
    let all = listed().count();
    if all > LINES {
        let _ = writeln!(out, "  {DIM}and {} more{DIM:#}", all - LINES);
    }
}

/// A name, a number and what is to say of it: cut to the line.
fn row(name: &str, note: &str, number: &str, canvas: Canvas, out: &mut String) {
    let columns = canvas.columns.min(100);
    // Without room for both, the name says more.
    let label = if columns < 70 {
        columns - 14
    } else {
        columns * 2 / 5
    };
    let name = Plain(name).fitted(label, canvas.ellipsis());
    let rest = columns.saturating_sub(label + 14);
    let note = Plain(note).clipped(rest, canvas.ellipsis());
    if note.is_empty() {
        let _ = writeln!(out, "  {name:<label$} {number:>9}");
    } else {
        let _ = writeln!(out, "  {name:<label$} {number:>9}  {DIM}{note}{DIM:#}");
    }
}

/// Breaks a paragraph between words.
pub(crate) fn wrap(text: &str, columns: usize, indent: &str, style: Style, out: &mut String) {
    let columns = columns.min(100);
    let mut line = String::new();
    for word in text.split(' ') {
        let length = line.chars().count() + word.chars().count() + 1 + indent.len();
        if !line.is_empty() && length > columns {
            let _ = writeln!(out, "{indent}{style}{line}{style:#}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{indent}{style}{line}{style:#}");
}

/// What a table of the most active is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Apps.
    Apps,
    /// Names and addresses.
    Names,
    /// Systems of the catalogue.
    Systems,
    /// Regions of the catalogue.
    Regions,
}

/// What it is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Tries that were refused, or would have been.
    Refused,
    /// Tries that passed.
    Passed,
    /// All tries.
    Tries,
    /// Tries again, an hour.
    Retries,
}

impl Order {
    /// Every order under the word of the command line.
    pub const WORDS: &[(&str, Self)] = &[
        ("refused", Self::Refused),
        ("passed", Self::Passed),
        ("tries", Self::Tries),
        ("retries", Self::Retries),
    ];

    const fn key(self, sum: &Sum) -> u64 {
        match self {
            Self::Refused => sum.refused(),
            Self::Passed => sum.passed() + sum.unlisted,
            Self::Tries => sum.tries(),
            Self::Retries => sum.retry_tenths(),
        }
    }
}

impl Dimension {
    /// Every dimension under the word of the command line.
    pub const WORDS: &[(&str, Self)] = &[
        ("apps", Self::Apps),
        ("names", Self::Names),
        ("systems", Self::Systems),
        ("regions", Self::Regions),
    ];
}

/// The `most` most active of `dimension`, by `order`. Names by their retries are told apart by app.
#[must_use]
pub fn top(
    summary: &Summary<'_>,
    dimension: Dimension,
    order: Order,
    most: usize,
) -> Vec<Line> {
    let of_names = |names: &[Named<'_>]| -> Vec<Line> {
        let line = |it: &Named<'_>| Line {
            label: it.name.clone(),
            note: match order {
                Order::Retries => it.apps.join(", "),
                _ => it.purpose(),
            },
            sum: it.sum,
        };
        names.iter().map(line).collect()
    };
    let mut lines = match dimension {
        Dimension::Apps => summary.apps.clone(),
        Dimension::Systems => summary.systems.clone(),
        Dimension::Regions => summary.regions.clone(),
        Dimension::Names if order == Order::Retries => of_names(&summary.retries),
        Dimension::Names => of_names(&summary.names),
    };
    lines.retain(|line| order.key(&line.sum) > 0);
    lines.sort_by_key(|line| std::cmp::Reverse(order.key(&line.sum)));
    lines.truncate(most);
    lines
}

/// Such lines as a table.
#[must_use]
pub fn table(lines: &[Line], order: Order, canvas: Canvas) -> String {
    let mut out = String::new();
    let [first, second, third] = match order {
        Order::Retries => ["AGAIN/H", "WORST H", "REFUSED"],
        _ => ["TRIES", "REFUSED", "PASSED"],
    };
    let _ = writeln!(
        out,
        "{DIM}{first:>9} {second:>9} {third:>9}  WHO OR WHAT{DIM:#}"
    );
    let rest = canvas.columns.saturating_sub(31).max(20);
    let longest = lines
        .iter()
        .map(|line| Plain(&line.label).to_string().chars().count());
    let width = longest.max().unwrap_or(0).min(rest * 2 / 3);
    for line in lines {
        let sum = &line.sum;
        let numbers = match order {
            Order::Retries => [
                rate(sum.retry_tenths()),
                count(sum.worst_hour),
                count(sum.blocked),
            ],
            _ => [
                count(sum.tries()),
                count(sum.refused()),
                count(sum.passed() + sum.unlisted),
            ],
        };
        let [first, second, third] = numbers;
        let label = Plain(&line.label).fitted(width, canvas.ellipsis());
        let note = Plain(&line.note).clipped(rest - width - 2, canvas.ellipsis());
        let red = Style::new().fg_color(Some(COLOURS[0].into()));
        let _ = write!(out, "{first:>9} {red}{second:>9}{red:#} {third:>9}  ");
        let _ = if note.is_empty() {
            writeln!(out, "{label}")
        } else {
            writeln!(out, "{label:<width$}  {DIM}{note}{DIM:#}")
        };
    }
    out
}
