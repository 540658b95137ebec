//! The drawings of the HTML report, as SVG that stands in the page: when what was done, what each task cost, and how
//! the last nights came out.
//!
//! No script, no font, no file from elsewhere; looks are classes of the page's style sheet. Each bar has its words.

use jiff::Timestamp;

use crate::{
    budget::Usd,
    report::{
        facts,
        formats::{End, Sheet, Span, Tally, Work, html::escape},
        line, text,
    },
};

/// Width of the timeline, in units of its view box.
const WIDTH: f64 = 960.0;
/// Where its bars begin, right of the lanes' names.
const LEFT: f64 = 76.0;
/// Where they end: half a label of the time axis fits right of it.
const RIGHT: f64 = 930.0;
/// Height of a bar.
const BAR: f64 = 30.0;
/// From one lane to the next.
const LANE: f64 = 42.0;
/// Seconds of waiting from which on a wait is drawn as a gap of one width, so that a night that waited for hours still
/// shows its work.
const IDLE: i64 = 20 * 60;
/// Width of such a gap.
const GAP: f64 = 46.0;
/// Width that one character of a label needs.
const CHARACTER: f64 = 7.2;
/// Tasks that the chart of costs names.
const NAMED: usize = 10;
/// Distances between two marks of the time axis, in seconds.
const STEPS: [i64; 13] = [1, 5, 15, 60, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];

/// A stretch of the axis: from when until when, and from where to where.
struct Stretch {
    from: Timestamp,
    to: Timestamp,
    at: f64,
    end: f64,
}

/// The time axis: stretches with work in them, and gaps between.
struct Axis {
    stretches: Vec<Stretch>,
    /// Units of width for a second.
    scale: f64,
}

impl Axis {
    fn new(busy: &[(Timestamp, Timestamp)]) -> Axis {
        let mut merged: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (from, to) in busy {
            match merged.last_mut() {
                Some(last) if seconds(last.1, *from) < IDLE => last.1 = last.1.max(*to),
                Some(_) | None => merged.push((*from, *to)),
            }
        }
        let gaps = number(merged.len().saturating_sub(1));
        let gap = GAP.min((RIGHT - LEFT) / 3.0 / gaps.max(1.0));
        let all: f64 = merged.iter().map(|(from, to)| length(*from, *to)).sum();
        let scale = (RIGHT - LEFT - gap * gaps) / all;
        let mut at = LEFT;
        let stretches = merged.into_iter().map(|(from, to)| {
            let end = at + length(from, to) * scale;
            let stretch = Stretch { from, to, at, end };
            at = end + gap;
            stretch
        });
        Axis { stretches: stretches.collect(), scale }
    }

    fn x(&self, time: Timestamp) -> f64 {
        let inside = self.stretches.iter().rfind(|stretch| stretch.from <= time);
        inside.map_or(LEFT, |stretch| {
            (stretch.at + length(stretch.from, time) * self.scale).min(stretch.end)
        })
    }

    /// Times that are marked, not nearer to each other than their labels are wide.
    fn marks(&self) -> Vec<(f64, String)> {
        let step = STEPS.into_iter().find(|step| seconds_wide(*step) * self.scale >= 72.0);
        let step = step.unwrap_or(86_400);
        let form = if step < 60 { "%H:%M:%S" } else { "%H:%M" };
        let mut marks: Vec<(f64, String)> = Vec::new();
        for stretch in &self.stretches {
            let first = stretch.from.as_second().div_euclid(step) * step;
            let times = std::iter::successors(Some(first), |time| Some(time + step));
            let times = times
                .take_while(|time| *time <= stretch.to.as_second())
                .filter_map(|time| Timestamp::from_second(time).ok())
                .filter(|time| *time >= stretch.from);
            for time in times {
                let x = self.x(time);
                if marks.last().is_none_or(|(last, _)| x - last >= 52.0) {
                    marks.push((x, time.strftime(form).to_string()));
                }
            }
        }
        marks
    }
}

/// The night as lanes of bars; empty where nothing ran.
pub(super) fn timeline(sheet: &Sheet) -> String {
    let lanes = &sheet.timeline.lanes;
    if lanes.is_empty() {
        return String::new();
    }
    let axis = Axis::new(&sheet.timeline.busy());
    let bottom = 14.0 + LANE * number(lanes.len());
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {:.0}\" role=\"img\" aria-label=\"{}\">\n\
         <defs><pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"7\" class=\"hatch\"/></pattern></defs>\n",
        bottom + 22.0,
        escape(&format!(
            "Timeline of the night in {}: {} runs of agents and gates; the table of tasks says the same in words",
            plural(lanes.len(), "lane"),
            sheet.timeline.spans().count()
        )),
    );
    for (x, label) in axis.marks() {
        svg.push_str(&format!(
            "<line x1=\"{x:.1}\" y1=\"8\" x2=\"{x:.1}\" y2=\"{bottom:.0}\" class=\"grid\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>\n",
            bottom + 16.0
        ));
    }
    for pair in axis.stretches.windows(2) {
        let [before, after] = pair else { continue };
        let waited = lasted(before.to, after.from);
        svg.push_str(&format!(
            "<g><title>nothing ran for {waited}</title><rect x=\"{:.1}\" y=\"8\" width=\"{:.1}\" height=\"{:.0}\" \
             class=\"idle\"/><text x=\"{:.1}\" y=\"22\" text-anchor=\"middle\">{waited}</text></g>\n",
            before.end,
            after.at - before.end,
            bottom - 8.0,
            f64::midpoint(before.end, after.at),
        ));
    }
    for (lane, spans) in lanes.iter().enumerate() {
        let y = 14.0 + LANE * number(lane);
        svg.push_str(&format!("<text x=\"4\" y=\"{:.0}\">lane {}</text>\n", y + 20.0, lane + 1));
        for span in spans {
            svg.push_str(&bar(span, &axis, y));
        }
    }
    svg + "</svg>"
}

fn bar(span: &Span, axis: &Axis, y: f64) -> String {
    let x = axis.x(span.from);
    // What took a second of a long night is seen all the same.
    let width = (axis.x(span.to) - x).max(2.0);
    let class = match (span.end, span.work) {
        (End::Badly, _) => "bad",
        (End::Unknown, _) => "unknown",
        (End::Well, Work::Agent) => "agent",
        (End::Well, Work::Gate) => "gate",
        (End::Well, Work::Review) => "review",
    };
    let (name, short) = match &span.attempt {
        None => ("the base".to_owned(), "base".to_owned()),
        Some(attempt) => {
            let task = text::inline_plain(attempt.task.as_str());
            let short = match attempt.number {
                1 => task.clone(),
                number => format!("{task} ·{number}"),
            };
            (format!("{task}, try {}", attempt.number), short)
        }
    };
    let work = match span.work {
        Work::Agent => "agent",
        Work::Gate => "gate",
        Work::Review => "second opinion",
    };
    let end = match span.end {
        End::Well => "ended well",
        End::Badly => "failed",
        End::Unknown => "end not known",
    };
    let clock = |time: Timestamp| time.strftime("%H:%M:%S").to_string();
    let title = format!(
        "{name}: {work}, {}–{} UTC ({}), {end}",
        clock(span.from),
        clock(span.to),
        lasted(span.from, span.to)
    );
    let rect = |class: &str| {
        format!(
            "<rect x=\"{x:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{BAR:.0}\" rx=\"3\" {class}/>"
        )
    };
    let mut bar =
        format!("<g><title>{}</title>{}", escape(&title), rect(&format!("class=\"{class}\"")));
    // A failure is seen without colours too.
    if span.end != End::Well {
        bar.push_str(&rect("fill=\"url(#hatch)\""));
    }
    let room = (width - 10.0) / CHARACTER;
    // Of a name that does not fit, the number of the try is what tells bars apart.
    let number =
        span.attempt.as_ref().map_or(String::new(), |attempt| format!("·{}", attempt.number));
    let label =
        if wide(&short) <= room || !short.contains('·') { fitted(&short, room) } else { number };
    if span.work == Work::Agent && room >= wide(&label).min(3.0) {
        let at = (x + 5.0, y + 20.0);
        bar.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.0}\" class=\"in\">{}</text>",
            at.0,
            at.1,
            escape(&label)
        ));
    }
    bar + "</g>\n"
}

/// What the dearest tasks cost, and all others together; empty where nothing cost anything.
pub(super) fn costs(sheet: &Sheet) -> String {
    let mut rows: Vec<(String, String, Usd)> = sheet
        .tasks
        .iter()
        .filter(|task| !task.spent.usd.is_zero())
        .map(|task| (fitted(&task.id, 17.0), task.id.clone(), task.spent.usd))
        .collect();
    rows.sort_by_key(|(_, _, spent)| std::cmp::Reverse(*spent));
    let rest: Vec<_> = rows.split_off(rows.len().min(NAMED));
    let Some(most) = rows.iter().map(|(_, _, spent)| spent.micros()).max() else {
        return String::new();
    };
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 440 {}\" role=\"img\" aria-label=\"Cost by task: {}\">\n",
        (rows.len() + usize::from(!rest.is_empty())) * 30 + 4,
        escape(
            &rows
                .iter()
                .map(|(_, id, spent)| format!("{id} {spent}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    );
    for (row, (label, id, spent)) in rows.iter().enumerate() {
        let y = number(row) * 30.0 + 4.0;
        let width = (share(spent.micros(), most) * 240.0).max(2.0);
        svg.push_str(&format!(
            "<g><title>{}: {spent}</title><text x=\"0\" y=\"{:.0}\">{}</text><rect x=\"128\" y=\"{y:.0}\" \
             width=\"{width:.1}\" height=\"22\" rx=\"3\" class=\"cost\"/><text x=\"{:.1}\" y=\"{:.0}\">{spent}</text></g>\n",
            escape(id),
            y + 16.0,
            escape(label),
            134.0 + width,
            y + 16.0
        ));
    }
    // A bar of all others together would dwarf the ones that have a name.
    if !rest.is_empty() {
        let sum: Usd = rest.iter().map(|(_, _, spent)| *spent).sum();
        svg.push_str(&format!(
            "<text x=\"0\" y=\"{}\">{}: {sum} together</text>\n",
            rows.len() * 30 + 20,
            plural(rest.len(), "other")
        ));
    }
    svg + "</svg>"
}

/// What landed of what was tried, night by night; empty where there is nothing to compare.
pub(super) fn trend(nights: &[Tally]) -> String {
    if nights.len() < 2 {
        return String::new();
    }
    let (landed, tried): (usize, usize) =
        nights.iter().fold((0, 0), |sum, night| (sum.0 + night.landed, sum.1 + night.tried));
    let most = nights.iter().map(|night| night.tried).max().unwrap_or(0).max(1);
    let words = format!("{landed} of {tried} tasks landed in {} nights", nights.len());
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 440 190\" role=\"img\" aria-label=\"{words}\">\n\
         <text x=\"0\" y=\"14\">{words}</text>\n"
    );
    let step = 432.0 / number(nights.len());
    let width = (step - 6.0).min(40.0);
    for (at, night) in nights.iter().enumerate() {
        let x = 4.0 + step * number(at);
        let middle = x + width / 2.0;
        let height = |count: usize| number(count) / number(most) * 106.0;
        let part = |count: usize, class: &str| {
            format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" class=\"{class}\"/>",
                150.0 - height(count),
                height(count)
            )
        };
        // Day of the month; of a second night of one day also its number.
        let day: Vec<&str> = night.night.splitn(4, '-').skip(2).collect();
        svg.push_str(&format!(
            "<g><title>{}: {} of {} landed, {}</title>{}{}<text x=\"{middle:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}/{}</text><text x=\"{middle:.1}\" y=\"168\" text-anchor=\"middle\">{}</text></g>\n",
            escape(&night.night),
            night.landed,
            night.tried,
            facts::marked(&night.spent),
            part(night.tried, "total"),
            part(night.landed, "good"),
            145.0 - height(night.tried),
            night.landed,
            night.tried,
            escape(&day.join("·")),
        ));
    }
    svg + "</svg>"
}

/// A square of a bar's look, for the legend.
pub(super) fn swatch(class: &str) -> String {
    let hatch = if matches!(class, "bad" | "unknown") {
        "<rect width=\"14\" height=\"14\" fill=\"url(#hatch)\"/>"
    } else {
        ""
    };
    format!(
        "<svg viewBox=\"0 0 14 14\" aria-hidden=\"true\"><rect width=\"14\" height=\"14\" class=\"{class}\"/>{hatch}</svg>"
    )
}

/// Words that need at most this many characters' width.
fn fitted(words: &str, room: f64) -> String {
    let mut most = words.chars().count();
    while most > 1 && wide(&text::head(words, most)) > room {
        most -= 1;
    }
    text::head(words, most)
}

fn wide(words: &str) -> f64 {
    use unicode_width::UnicodeWidthStr as _;
    number(words.width())
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

/// Seconds as a length, never nothing: a journal's times can be equal.
fn length(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.001)
}

fn lasted(from: Timestamp, to: Timestamp) -> String {
    let millis = to.duration_since(from).as_millis().max(0);
    in_words(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Milliseconds as people read them in a morning: hours from two hours on.
pub(super) fn in_words(millis: u64) -> String {
    let minutes = millis / 60_000;
    if minutes < 120 {
        line::seconds(millis)
    } else {
        format!("{}h{:02}", minutes / 60, minutes % 60)
    }
}

fn seconds_wide(seconds: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
    let seconds = seconds as f64;
    seconds
}

fn number(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of tasks, nights and lanes")]
    let count = count as f64;
    count
}

fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a bar's length needs three digits")]
    let share = part as f64 / whole.max(1) as f64;
    share
}

fn plural(count: usize, word: &str) -> String {
    crate::report::plural(count, word)
}
