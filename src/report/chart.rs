//! Pictures as SVG, in the colours of the page's style sheet. What they show stands in a table
//! beside them too.

use std::fmt::Write as _;

use super::escape::Html;
use super::region;
use super::summary::{Line, Summary};
use super::tally::Sum;
use super::words::count;

/// The classes of what was blocked, would be blocked, was logged and was allowed, and what a reader
/// calls them.
pub const OUTCOMES: [(&str, &str); 4] = [
    ("b", "refused"),
    ("w", "would be refused"),
    ("l", "passed, watched"),
    ("a", "passed"),
];

/// A stacked bar, as long as `sum` is beside `most`.
#[must_use]
pub fn bar(sum: &Sum, most: u64) -> String {
    let parts = [sum.blocked, sum.would_block, sum.logged, sum.allowed];
    let mut svg = String::from(
        "<svg class=\"bar\" viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let mut left = 0;
    for ((class, _), part) in OUTCOMES.iter().zip(parts) {
        // What is there is seen, however little it is.
        let width = (scaled(part, most, 1000)).max(u64::from(part > 0) * 4);
        if width > 0 {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{left}\" width=\"{width}\" height=\"8\"/>"
            );
        }
        left += width;
    }
    svg.push_str("</svg>");
    svg
}

/// What was tried over time: one stacked bar for each stretch of time. Labels are left to the page,
/// since the picture is stretched to its width.
#[must_use]
pub fn timeline(summary: &Summary<'_>) -> String {
    let most = most(summary);
    let width = summary.timeline.len() * 10;
    let mut svg = format!(
        "<svg class=\"time\" viewBox=\"0 0 {width} 200\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-labelledby=\"time-title\"><title id=\"time-title\">What was tried over time; the table \
         below says the same</title><path class=\"grid\" d=\"M0 .5h{width}M0 100h{width}M0 199.5h{width}\"/>"
    );
    for (index, (bar, counts)) in summary.timeline.iter().enumerate() {
        if counts.iter().all(|&it| it == 0) {
            continue;
        }
        let label = summary.window.full_label(bar);
        let _ = write!(svg, "<g><title>{}:", Html(&label));
        for ((_, word), &number) in OUTCOMES.iter().zip(counts).filter(|(_, it)| **it > 0) {
            let _ = write!(svg, " {} {word}", count(number));
        }
        svg.push_str("</title>");
        let mut top = 200;
        for ((class, _), &number) in OUTCOMES.iter().zip(counts) {
            let height = scaled(number, most, 198)
                .max(u64::from(number > 0) * 2)
                .min(top);
            if height > 0 {
                top -= height;
                let left = index * 10 + 1;
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"8\" height=\"{height}\"/>"
                );
            }
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

/// The highest bar of the time line.
#[must_use]
pub fn most(summary: &Summary<'_>) -> u64 {
    let sums = summary
        .timeline
        .iter()
        .map(|(_, counts)| counts.iter().sum());
    sums.max().unwrap_or(0)
}

/// The world in dots, with a disc at each region, whose area says how much was tried there.
#[must_use]
pub fn world(regions: &[Line]) -> String {
    let mut svg = String::from(
        "<svg class=\"map\" viewBox=\"0 0 96 36\" role=\"img\" aria-labelledby=\"map-title\">\
         <title id=\"map-title\">Where it was to go; the table beside says the same</title>\
         <path class=\"land\" d=\"",
    );
    for (row, bits) in LAND.iter().enumerate() {
        let mut column = 0;
        while column < COLUMNS {
            let start = column;
            while column < COLUMNS && bits >> (COLUMNS - 1 - column) & 1 == 1 {
                column += 1;
            }
            if column > start {
                // A run of dots is one line, dashed.
                let _ = write!(svg, "M{start}.5 {row}.5h{}.1", column - start - 1);
            }
            column += 1;
        }
    }
    svg.push_str("\"/>");
    let most = regions
        .iter()
        .map(|line| line.sum.listed())
        .max()
        .unwrap_or(0);
    for line in regions.iter().filter(|line| line.sum.listed() > 0) {
        let Some((longitude, latitude)) = region::find(&line.note).and_then(|it| it.place)
        else {
            continue;
        };
        let (x, y) = projected(longitude, latitude);
        // The square root, in tenths: area, not radius, is what the eye compares.
        let radius = 0.7 + 2.6 * (line.sum.listed() as f32 / most.max(1) as f32).sqrt();
        let class = if line.sum.refused() > 0 { "b" } else { "a" };
        let (anchor, side) = if line.note == "EU" {
            ("end", -1.0)
        } else {
            ("start", 1.0)
        };
        let text_x = x + side * (radius + 0.6);
        let _ = write!(
            svg,
            "<circle class=\"{class} halo\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.2}\"/>\
             <circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\".55\"/>\
             <text x=\"{text_x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{} \
             <tspan>{}</tspan></text>",
            y + 0.55,
            Html(&line.label),
            count(line.sum.listed()),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A place on the map: an equirectangular projection of the part of the world that is shown.
fn projected(longitude: f32, latitude: f32) -> (f32, f32) {
    (
        (longitude + 180.0) / 360.0 * 96.0,
        (78.0 - latitude) / 134.0 * 38.0,
    )
}

/// `part` of `most` on a scale that ends with `end`.
pub(super) fn scaled(part: u64, most: u64, end: u64) -> u64 {
    let scaled = u128::from(part) * u128::from(end) / u128::from(most.max(1));
    u64::try_from(scaled).unwrap_or(end).min(end)
}

/// Columns of [`LAND`].
const COLUMNS: usize = 96;
/// Where there is land, from 78° north to 56° south, from 180° west on, 3.75° a dot: sampled from
/// NOAA's GLOBE elevation model, which is in the public domain.
const LAND: [u128; 38] = [
    0x000002e3_ffe00000_007c0000,
    0x0001f4f0_7fc00002_27ffc400,
    0x0ffffb5c_3f8007c0_ffffffff,
    0xcfffffce_3c301fff_ffffffff,
    0x0ffffe10_18003bff_fffffffe,
    0x061ffe1e_00003bff_fffffc20,
    0x0007ffdf_000327ff_fffff820,
    0x0003ffff_80017fff_fffffc00,
    0x0001fffe_0001ffff_fffff800,
    0x0001fffe_0001ff3f_fffff000,
    0x0001fff8_000307ff_ffffc000,
    0x0001fff0_000301ff_ffff4400,
    0x0000ffe0_0003e07f_ffff1000,
    0x00007fc0_0007ffff_ffff0000,
    0x00003c00_000ffffb_ffff0000,
    0x00000c00_000fffff_3ffe0000,
    0x00000c80_000fffde_1e700000,
    0x00000380_000ffffc_0c388000,
    0x000000c0_000ffff0_08380000,
    0x0000001f_000ffffc_08000000,
    0x0000001f_c0077ff8_00000000,
    0x0000001f_e0001ff0_00360000,
    0x0000001f_f0003fe0_00161000,
    0x0000003f_fc001fe0_00000e00,
    0x0000001f_fe001fe0_00000700,
    0x0000001f_fc000fe0_00001000,
    0x0000000f_fc001fe8_00007a00,
    0x00000007_f8001fc8_0000fe00,
    0x00000007_f8000f88_0003ff00,
    0x00000007_e0000f80_0003ff80,
    0x00000007_e0000f00_0001ff80,
    0x00000007_c0000600_00018f80,
    0x0000000f_80000000_00000700,
    0x0000000e_00000000_00000000,
    0x0000000e_00000000_00000004,
    0x0000000c_00000000_00000000,
    0x0000000c_00000000_00000000,
    0x00000004_00000000_00000000,
];
