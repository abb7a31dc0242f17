//! A comparison as a picture in SVG: one bar for each figure, on a scale of powers of ten.

use super::side_by_side::{Comparison, OURS, Row};
use std::fmt::Write;

/// Points: the left edge of the bars, their room, and the height of a row.
const LEFT: f64 = 200.0;
const ROOM: f64 = 620.0;
const ROW: f64 = 18.0;

/// Points above the first row, and below the last.
const MARGIN: f64 = 40.0;

/// The picture.
pub fn svg(comparison: &Comparison) -> String {
    let rows = &comparison.rows;
    let most = rows.iter().map(|row| row.p50.most).fold(10.0, f64::max);
    let decades = most.log10().ceil();
    // The first power of ten on the scale is 10 ns.
    let place = |time: f64| LEFT + (time.max(10.0).log10() - 1.0) / (decades - 1.0).max(1.0) * ROOM;
    let groups = groups(rows);
    let height = MARGIN * 2.0 + (rows.len() + groups.len() * 2) as f64 * ROW;
    let (width, bottom) = (LEFT + ROOM + 90.0, height - MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for decade in 1..=decades as i32 {
        let (x, label) = (place(10f64.powi(decade)), time_name(decade));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{MARGIN}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\n\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            MARGIN - 8.0
        );
    }
    let mut y = MARGIN;
    for group in groups {
        let Some(first) = group.first() else { continue };
        let cpus = if first.processors == 1 { "1 cpu" } else { "2 cpus" };
        let title = format!("{}, {cpus}", first.quantity.name());
        y += ROW;
        let _ = writeln!(text, "<text x=\"8\" y=\"{y:.1}\" font-weight=\"bold\">{title}</text>");
        for row in group {
            y += ROW;
            bar(&mut text, row, y, &place);
        }
        y += ROW;
    }
    text + "</svg>\n"
}

/// The rows of each quantity and number of processors.
fn groups(rows: &[Row]) -> Vec<&[Row]> {
    rows.chunk_by(|one, next| (one.quantity, one.processors) == (next.quantity, next.processors))
        .collect()
}

/// A bar to the median, a line from the least to the most, and the median in figures.
fn bar(text: &mut String, row: &Row, y: f64, place: &impl Fn(f64) -> f64) {
    let Row { name, p50, .. } = row;
    let colour = if *name == OURS { "#c2410c" } else { "#94a3b8" };
    let (end, least, most) = (place(p50.median), place(p50.least), place(p50.most));
    let (top, middle, width) = (y - ROW + 6.0, y - 4.0, (end - LEFT).max(1.0));
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>\n\
         <rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
         <line x1=\"{least:.1}\" y1=\"{middle:.1}\" x2=\"{most:.1}\" y2=\"{middle:.1}\" stroke=\"black\"/>\n\
         <text x=\"{:.1}\" y=\"{y:.1}\">{:.0}</text>",
        LEFT - 8.0,
        ROW - 4.0,
        most.max(end) + 6.0,
        p50.median
    );
}

/// A power of ten of nanoseconds.
fn time_name(decade: i32) -> String {
    let (unit, below) = match decade {
        ..3 => ("ns", 0),
        3..6 => ("µs", 3),
        6..9 => ("ms", 6),
        _ => ("s", 9),
    };
    format!("{} {unit}", 10u64.pow((decade - below).max(0) as u32))
}

#[cfg(test)]
mod tests {
    use super::super::side_by_side::{PIPE, Quantity, Spread};
    use super::*;

    #[test]
    fn each_figure_has_a_bar_and_longer_ones_are_longer() {
        let row = |name, time| Row {
            quantity: Quantity::RoundTrip,
            processors: 1,
            name,
            p50: Spread { median: time, least: time, most: time },
            p99: None,
        };
        let rows = vec![row(OURS, 100.0), row(PIPE, 10_000.0)];
        let picture = svg(&Comparison { rounds: 1, unscheduled: None, rows });
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        let widths: Vec<f64> = picture
            .split("<rect x=")
            .skip(1)
            .filter_map(|part| part.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!(widths[1] > 2.9 * widths[0] && widths[1] <= ROOM, "{widths:?}");
        assert!(picture.contains(">10 ns<") && picture.contains(">10 µs<"));
    }
}
