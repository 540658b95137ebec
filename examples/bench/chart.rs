//! The chart of a run: overhead over the number of files, and the builds of a gate beside each other.
//!
//! One SVG, drawn by hand, for light and dark pages. Shows medians and nothing else.

use std::fmt::Write as _;

use crate::{overhead, report::Report, warm};

const WIDTH: f64 = 760.0;
/// The first panel's edges: milliseconds and files, both logarithmic.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 500.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 300.0;
/// Where the second panel begins, and how high one of its bars is with its words.
const BARS: f64 = 350.0;
const BAR: f64 = 34.0;

/// Colours that hold on white and on black, told apart also by those who see red and green alike.
const COLOURS: [&str; 4] = ["#d55e00", "#8a8a8a", "#0072b2", "#009e73"];

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 15px; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .line { fill: none; stroke-width: 2.5; }
  .page { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .grid { stroke: #3d444d; }
    .page { fill: #0d1117; }
  }
";

/// The chart as SVG.
pub(crate) fn draw(report: &Report) -> String {
    let bars: Vec<(&str, f64)> = report.part(warm::PART).filter_map(warm::shown).collect();
    let height = BARS + BAR * number(bars.len()) + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Overhead per landed task, and builds of a gate\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n"
    );
    lines(report, &mut svg);
    columns(&bars, &mut svg);
    svg + "</svg>\n"
}

/// How far `value` is from `least` to `most`, by their logarithms.
fn share(value: f64, least: f64, most: f64) -> f64 {
    (value.ln() - least.ln()) / (most.ln() - least.ln())
}

fn lines(report: &Report, svg: &mut String) {
    let sizes: Vec<f64> = report.sizes(overhead::PART).into_iter().map(number).collect();
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return };
    let x = |files: f64| LEFT + (RIGHT - LEFT) * share(files, *first, last.max(first * 2.0));
    let y = |ms: f64| BOTTOM - (BOTTOM - TOP) * share(ms.clamp(0.1, 1000.0), 0.1, 1000.0);
    text(svg, 20.0, 30.0, "title", "start", "Milliseconds beside agent and gate, per landed task");
    for ms in [0.1, 1.0, 10.0, 100.0, 1000.0] {
        let at = y(ms);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        );
        text(svg, LEFT - 8.0, at + 4.0, "", "end", &format!("{ms} ms"));
    }
    for files in &sizes {
        text(svg, x(*files), BOTTOM + 20.0, "", "middle", &format!("{files} files"));
    }
    let mut labels: Vec<f64> = Vec::new();
    for (case, colour) in overhead::CASES.iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> = report
            .part(overhead::PART)
            .filter(|known| known.case == *case)
            .map(|known| (x(number(known.files)), y(known.median())))
            .collect();
        let Some(end) = points.last() else { continue };
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ = writeln!(svg, "<polyline class=\"line\" stroke=\"{colour}\" points=\"{path}\"/>");
        for (x, y) in &points {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        // Words beside the ends, never on top of each other.
        let mut at = end.1 + 4.0;
        while labels.iter().any(|other| (other - at).abs() < 16.0) {
            at += 4.0;
        }
        labels.push(at);
        let (x, y) = (RIGHT + 14.0, at - 4.5);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>");
        text(svg, RIGHT + 24.0, at, "", "start", case);
    }
}

fn columns(bars: &[(&str, f64)], svg: &mut String) {
    let Some(most) = bars.iter().map(|(_, ms)| *ms).reduce(f64::max) else { return };
    text(
        svg,
        20.0,
        BARS,
        "title",
        "start",
        "Seconds of a gate that builds ten crates, after an edit of one file",
    );
    let mut at = BARS + 18.0;
    for ((name, ms), colour) in bars.iter().zip(COLOURS) {
        let wide = (WIDTH - 340.0) * ms / most;
        let _ = writeln!(
            svg,
            "<rect x=\"250\" y=\"{at:.1}\" width=\"{wide:.1}\" height=\"20\" rx=\"3\" fill=\"{colour}\"/>"
        );
        text(svg, 240.0, at + 15.0, "", "end", name);
        text(svg, 258.0 + wide, at + 15.0, "", "start", &format!("{:.2} s", ms / 1000.0));
        at += BAR;
    }
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
