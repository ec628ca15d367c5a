//! The report as one page that needs nothing from outside: no script, no font, no picture. It is
//! well-formed XML too, so that its structure can be checked.

use std::fmt::Write as _;

use super::chart::{self, OUTCOMES};
use super::escape::Html;
use super::summary::{Line, Named, Summary};
use super::words::{count, counted, rate};
use crate::catalogue::{Category, word};

const STYLE: &str = include_str!("page.css");
/// Nothing may be loaded or run, whatever slips in.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const LINES: usize = 12;
const NAMES: usize = 25;

/// The page.
#[must_use]
pub fn page(summary: &Summary<'_>) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta name=\"referrer\" content=\"no-referrer\"/><meta name=\"robots\" content=\"noindex\"/>\
         <title>What this phone tried to send</title><style>{STYLE}</style></head><body><main>\
         <header><b>Muzzle report</b><span>{}</span></header>",
        Html(&summary.window.dates())
    );
    headline(summary, &mut out);
    cards(summary, &mut out);
    if summary.total.listed() > 0 {
        timeline(summary, &mut out);
        places(summary, &mut out);
        groups(summary, &mut out);
        names(summary, &mut out);
        storms(summary, &mut out);
        delayed(summary, &mut out);
        breaking(summary, &mut out);
    }
    passed(summary, &mut out);
    footer(summary, &mut out);
    out.push_str("</main></body></html>\n");
    out
}

/// One sentence, which says it all.
fn headline(summary: &Summary<'_>, out: &mut String) {
    let told = summary.headline();
    out.push_str("<h1>");
    let mut parts = told.iter();
    // Every second part is a number to be seen.
    while let Some(text) = parts.next() {
        let _ = write!(out, "{}", Html(text));
        if let Some(number) = parts.next() {
            let _ = write!(out, "<b>{}</b>", Html(number));
        }
    }
    out.push_str("</h1>");
    if let Some(aside) = summary.aside() {
        let _ = write!(out, "<p class=\"dim\">{}</p>", Html(&aside));
    }
}

fn cards(summary: &Summary<'_>, out: &mut String) {
    let tracking = &summary.tracking;
    let observed = tracking.would_block > tracking.blocked;
    let (number, words) = if observed {
        (
            tracking.would_block,
            "would have been refused; Muzzle only watches",
        )
    } else {
        (tracking.blocked, "tries refused")
    };
    let regions = summary
        .regions
        .iter()
        .filter(|line| line.sum.refused() > 0)
        .count();
    let passed = tracking.logged + tracking.allowed;
    out.push_str("<ul class=\"cards\">");
    for (class, number, words) in [
        (" class=\"hot\"", number, words),
        ("", passed, "passed: seen and let through"),
        (
            "",
            summary.refused_apps() as u64,
            "apps and parts of the system that tried",
        ),
        (
            "",
            regions as u64,
            "regions of the world they were bound for",
        ),
    ] {
        let number = count(number);
        let _ = write!(
            out,
            "<li{class}><span class=\"n\">{number}</span>{words}</li>"
        );
    }
    out.push_str("</ul>");
}

fn section(title: &str, lead: &str, out: &mut String) {
    let _ = write!(out, "<section><h2>{title}</h2><p class=\"dim\">{lead}</p>");
}

fn timeline(summary: &Summary<'_>, out: &mut String) {
    section(
        "When it tried",
        "Tries to reach what the catalogue or a rule of yours knows; everything else the phone \
         does is not in this picture.",
        out,
    );
    let bars = &summary.timeline;
    let _ = write!(
        out,
        "<div class=\"axis\"><span>{}</span></div>{}<div class=\"axis\" aria-hidden=\"true\">",
        Html(&counted(chart::most(summary), "try", "tries")),
        chart::timeline(summary)
    );
    // Days where there are some, else the bars themselves; few enough for a small screen.
    let days = bars.iter().filter(|(bar, _)| bar.is_midnight).count();
    let places: Vec<_> = (0..bars.len())
        .filter(|&place| days < 4 || bars[place].0.is_midnight)
        .collect();
    let step = places.len().div_ceil(8).max(1);
    for (index, &place) in places.iter().step_by(step).enumerate() {
        let left = place * 1000 / bars.len();
        // What would stick out at the right is left out, on small screens every second one too.
        let class = if index % 2 == 1 || left > 850 {
            " class=\"opt\""
        } else {
            ""
        };
        if left < 950 {
            let label = summary.window.label(&bars[place].0);
            let (whole, tenth) = (left / 10, left % 10);
            let _ = write!(
                out,
                "<span{class} style=\"left:{whole}.{tenth}%\">{}</span>",
                Html(&label)
            );
        }
    }
    out.push_str("</div><ul class=\"key\">");
    for (index, (class, words)) in OUTCOMES.iter().enumerate() {
        if bars.iter().any(|(_, counts)| counts[index] > 0) {
            let _ = write!(
                out,
                "<li><svg viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"{class}\" \
                 width=\"1\" height=\"1\"/></svg>{words}</li>"
            );
        }
    }
    out.push_str(
        "</ul><details><summary>The same as a table</summary><table><thead><tr>\
         <th scope=\"col\">From</th>",
    );
    for (_, words) in OUTCOMES {
        let _ = write!(out, "<th scope=\"col\" class=\"r\">{words}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for (bar, counts) in bars
        .iter()
        .filter(|(_, counts)| counts.iter().any(|it| *it > 0))
    {
        let label = summary.window.full_label(bar);
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", Html(&label));
        for number in counts {
            cell(*number, out);
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></details></section>");
}

fn places(summary: &Summary<'_>, out: &mut String) {
    section(
        "Where it wanted to go",
        "By the region that the catalogue knows an endpoint to serve. A disc marks a region, not \
         the very place of a server.",
        out,
    );
    out.push_str(&chart::world(&summary.regions));
    lines("Region", &summary.regions, false, out);
    out.push_str("</section>");
}

fn groups(summary: &Summary<'_>, out: &mut String) {
    out.push_str("<div class=\"two\">");
    section(
        "Who tried",
        "By app. Questions of Android's resolver are root's.",
        out,
    );
    lines("App", &summary.apps, true, out);
    out.push_str("</section>");
    section(
        "What was behind it",
        "By the part of the phone's software they belong to.",
        out,
    );
    lines("System", &summary.systems, true, out);
    out.push_str("</section></div>");
}

/// A table of bars.
fn lines(heading: &str, lines: &[Line], with_notes: bool, out: &mut String) {
    let listed = || lines.iter().filter(|line| line.sum.listed() > 0);
    let most = listed().map(|line| line.sum.listed()).max().unwrap_or(0);
    table_head(&[heading, "Refused", "Passed"], out);
    for line in listed().take(LINES) {
        let _ = write!(
            out,
            "<tr><th scope=\"row\"><bdi>{}</bdi>",
            Html(&line.label)
        );
        if with_notes && !line.note.is_empty() {
            let _ = write!(out, "<small>{}</small>", Html(&line.note));
        }
        out.push_str(&chart::bar(&line.sum, most));
        out.push_str("</th>");
        cell(line.sum.blocked, out);
        cell(line.sum.passed(), out);
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    further(listed().count(), LINES, out);
}

fn names(summary: &Summary<'_>, out: &mut String) {
    section("The names it asked for", "The most refused first.", out);
    table_head(&["Name", "Refused", "Passed"], out);
    let refused = || summary.names.iter().filter(|it| it.sum.refused() > 0);
    for it in refused().take(NAMES) {
        name(it, &purpose(it), out);
        cell(it.sum.blocked, out);
        cell(it.sum.passed(), out);
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    further(refused().count(), NAMES, out);
    out.push_str("</section>");
}

fn storms(summary: &Summary<'_>, out: &mut String) {
    if summary.storms().next().is_none() {
        return;
    }
    section(
        "What does not give up",
        "Names that were tried 30 times or more in an hour although they were refused. That costs \
         battery; another kind of refusal may quieten an app: try one with <code>[[answer]]</code> \
         in <code>muzzle.toml</code>.",
        out,
    );
    table_head(&["Name", "Again an hour", "Worst hour"], out);
    for it in summary.storms().take(LINES) {
        name(it, &it.apps.join(", "), out);
        let _ = write!(out, "<td class=\"r\">{}</td>", rate(it.sum.retry_tenths()));
        cell(it.sum.worst_hour, out);
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></section>");
}

fn delayed(summary: &Summary<'_>, out: &mut String) {
    let delayed = summary.delayed();
    if delayed.is_empty() {
        return;
    }
    section(
        "Refused is not deleted",
        "These libraries keep what they could not send, and send it as soon as they can. Clear the \
         data of an app before you allow its endpoints again.",
        out,
    );
    table_head(&["Library", "Refused"], out);
    for (backlog, tries) in delayed {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}<small>keeps {}.<br/>Known from {}</small></th>",
            Html(backlog.library),
            Html(backlog.keeps),
            Html(backlog.source)
        );
        cell(tries, out);
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></section>");
}

fn breaking(summary: &Summary<'_>, out: &mut String) {
    if summary.breaking().next().is_none() {
        return;
    }
    section(
        "What you may miss",
        "What the catalogue says stops working, or may stop, where these are refused. \
         <code>muzzle suspects</code> finds the one that you miss and says how to allow it.",
        out,
    );
    table_head(&["Name", "Refused"], out);
    for (it, breaks) in summary.breaking().take(LINES) {
        name(it, breaks, out);
        cell(it.sum.refused(), out);
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></section>");
}

fn passed(summary: &Summary<'_>, out: &mut String) {
    let known = || {
        summary
            .names
            .iter()
            .filter(|it| it.sum.passed() > 0 && it.sum.blocked == 0)
    };
    let unlisted = || summary.names.iter().filter(|it| it.sum.unlisted > 0);
    let most = |names: Vec<&Named<'_>>, tries: fn(&Named<'_>) -> u64, out: &mut String| {
        let mut names = names;
        names.sort_by_key(|it| std::cmp::Reverse(tries(it)));
        table_head(&["Name", "Tries"], out);
        for it in names.iter().take(LINES) {
            name(it, &purpose(it), out);
            cell(tries(it), out);
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table>");
        further(names.len(), LINES, out);
        out.push_str("</section>");
    };
    out.push_str("<div class=\"two\">");
    if known().next().is_some() {
        section(
            "Known, and let through",
            "Because the phone needs it, because it is only watched, or because you said so.",
            out,
        );
        most(known().collect(), |it| it.sum.passed(), out);
    }
    if unlisted().next().is_some() {
        section(
            "Everything else",
            "Names that nobody lists, and that passed: mostly where you went yourself.",
            out,
        );
        most(unlisted().collect(), |it| it.sum.unlisted, out);
    }
    out.push_str("</div>");
}

fn footer(summary: &Summary<'_>, out: &mut String) {
    let privacy = if summary.hides_unlisted {
        "Names that are in no catalogue were left out, so that it says little of where its owner \
         went. It still names apps of the phone."
    } else {
        "It contains names of sites that the phone visited: think before you share it, or make one \
         without them with <code>muzzle report --no-passed --html FILE</code>."
    };
    let other = summary.other_names.tries();
    if other > 0 {
        let _ = write!(
            out,
            "<p class=\"dim\">{} for seldom names are counted above, but not listed one by one.</p>",
            counted(other, "try", "tries")
        );
    }
    let _ = write!(
        out,
        "<footer><p>Made on the phone itself by Muzzle {}, and sent to nobody. {privacy}</p>\
         <p>What an app asks of one name within a second is one try: the questions for its \
         IPv4 and its IPv6 address, for instance. What a name is for, and where that is \
         known from: <code>muzzle catalogue show NAME</code>.</p></footer>",
        env!("CARGO_PKG_VERSION")
    );
}

fn purpose(it: &Named<'_>) -> String {
    match it.endpoint {
        Some(endpoint) => {
            format!(
                "{}: {}",
                word(Category::WORDS, endpoint.category),
                it.purpose()
            )
        }
        None => it.purpose(),
    }
}

fn table_head(headings: &[&str], out: &mut String) {
    out.push_str("<table><thead><tr>");
    for (index, heading) in headings.iter().enumerate() {
        let class = if index == 0 { "" } else { " class=\"r\"" };
        let _ = write!(out, "<th scope=\"col\"{class}>{heading}</th>");
    }
    out.push_str("</tr></thead><tbody>");
}

/// The beginning of a row: a name and what is to say of it.
fn name(it: &Named<'_>, note: &str, out: &mut String) {
    let _ = write!(out, "<tr><th scope=\"row\"><bdi>{}</bdi>", Html(&it.name));
    if !note.is_empty() {
        let _ = write!(out, "<small><bdi>{}</bdi></small>", Html(note));
    }
    out.push_str("</th>");
}

fn cell(number: u64, out: &mut String) {
    let _ = write!(out, "<td class=\"r\">{}</td>", count(number));
}

fn further(all: usize, shown: usize, out: &mut String) {
    if all > shown {
        let _ = write!(out, "<p class=\"dim\">and {} more</p>", all - shown);
    }
}
