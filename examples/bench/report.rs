//! The figures of one run: kept, compared with their goals, shown as text, Markdown and JSON.
//!
//! Measures nothing and decides no goal.

use serde::Serialize;

use crate::place::{Machine, Place, load};

/// All figures.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    invalid: Option<String>,
    command: String,
    cases: Vec<Case>,
    goals: Vec<Goal>,
    promises: Vec<Promise>,
    skipped: Vec<String>,
    notes: Vec<String>,
}

/// One thing that was timed, in milliseconds.
#[derive(Serialize)]
pub(crate) struct Case {
    pub(crate) part: &'static str,
    pub(crate) case: String,
    pub(crate) files: usize,
    times: Vec<f64>,
}

#[derive(Serialize)]
struct Goal {
    what: String,
    value: f64,
    limit: f64,
    bound: Bound,
}

/// What a goal is for `--check`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Bound {
    /// A ratio inside this run.
    Checked,
    /// Depends on the machine.
    Shown,
}

#[derive(Serialize)]
struct Promise {
    what: String,
    kept: bool,
}

impl Case {
    pub(crate) fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        if times.len() % 2 == 1 {
            times[middle]
        } else {
            f64::midpoint(times[middle - 1], times[middle])
        }
    }

    fn row(&self) -> [String; 6] {
        let least = self.times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.times.iter().copied().fold(0.0, f64::max);
        let files = if self.files == 0 { String::new() } else { self.files.to_string() };
        let number = self.times.len().to_string();
        [self.case.clone(), files, shown(self.median()), shown(least), shown(most), number]
    }
}

const COLUMNS: [&str; 6] = ["", "files", "median ms", "least", "most", "times"];

fn shown(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

impl Goal {
    fn met(&self) -> bool {
        self.value <= self.limit
    }

    fn row(&self) -> [String; 4] {
        let verdict = match (self.met(), self.bound) {
            (true, _) => "met",
            (false, Bound::Checked) => "MISSED",
            (false, Bound::Shown) => "missed (not checked)",
        };
        let limit = format!("≤ {}", self.limit);
        [self.what.clone(), format!("{:.3}", self.value), limit, verdict.to_owned()]
    }
}

impl Report {
    pub(crate) fn new(place: &Place) -> Report {
        // Paths say nothing to others.
        let shown = |word: String| if word.contains('/') { "FILE".to_owned() } else { word };
        let words: Vec<String> = std::env::args().skip(1).map(shown).collect();
        Report {
            machine: place.machine.clone(),
            invalid: place.invalid.clone(),
            command: format!("cargo run --release --example bench -- {}", words.join(" ")),
            cases: Vec::new(),
            goals: Vec::new(),
            promises: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One measurement more.
    pub(crate) fn time(&mut self, part: &'static str, case: &str, files: usize, time: f64) {
        let same =
            |known: &&mut Case| known.part == part && known.case == case && known.files == files;
        match self.cases.iter_mut().find(same) {
            Some(known) => known.times.push(time),
            None => {
                self.cases.push(Case { part, case: case.to_owned(), files, times: vec![time] });
            }
        }
    }

    pub(crate) fn median(&self, part: &str, case: &str, files: usize) -> Option<f64> {
        let same = |known: &&Case| known.part == part && known.case == case && known.files == files;
        self.cases.iter().find(same).map(Case::median)
    }

    /// The cases of a part, as they were first timed.
    pub(crate) fn part<'r>(&'r self, part: &str) -> impl Iterator<Item = &'r Case> {
        self.cases.iter().filter(move |known| known.part == part)
    }

    pub(crate) fn sizes(&self, part: &str) -> Vec<usize> {
        let mut sizes: Vec<usize> = self.part(part).map(|case| case.files).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    pub(crate) fn goal(&mut self, what: String, value: f64, limit: f64, bound: Bound) {
        self.goals.push(Goal { what, value, limit, bound });
    }

    pub(crate) fn promise(&mut self, what: String, kept: bool) {
        self.promises.push(Promise { what, kept });
    }

    pub(crate) fn skip(&mut self, why: String) {
        self.skipped.push(why);
    }

    pub(crate) fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    pub(crate) fn end(&mut self) {
        self.machine.load_after = load();
    }

    /// What `--check` fails for. Where times say nothing, no ratio of them does.
    pub(crate) fn failures(&self) -> Vec<String> {
        let checked = |goal: &&Goal| goal.bound == Bound::Checked && self.invalid.is_none();
        let missed = self.goals.iter().filter(checked).filter(|goal| !goal.met());
        let broken = self.promises.iter().filter(|promise| !promise.kept);
        missed.map(|goal| goal.row().join(" ")).chain(broken.map(|p| p.what.clone())).collect()
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }

    pub(crate) fn text(&self) -> String {
        self.told(|title| format!("\n{title}\n"), aligned)
    }

    pub(crate) fn markdown(&self) -> String {
        format!(
            "# Benchmark\n\nWritten by `{}`; not edited by hand. Figures of one machine do not travel; \
             the ratios do, and those of a busy machine (a load above its cores) are too high. Agent and gate, timed without walls, are taken off every overhead.\n\n\
             ![Overhead and warm gate](benchmark.svg)\n{}",
            self.command.trim(),
            self.told(|title| format!("\n## {title}\n\n"), piped)
        )
    }

    fn told(&self, title: impl Fn(&str) -> String, table: fn(&[Vec<String>]) -> String) -> String {
        let m = &self.machine;
        let mut text = title("Machine");
        text += &table(&rows(
            ["", ""],
            [
                ["date", &m.date],
                ["kernel", &m.kernel],
                ["processor", &format!("{}, {} cores", m.processor, m.cores)],
                ["file system", &m.file_system],
                ["load before, after", &format!("{}, {}", m.load_before, m.load_after)],
                ["versions", &format!("{}, {}, {}", m.nightshift, m.git, m.cargo)],
            ]
            .map(|row| row.map(str::to_owned)),
        ));
        let mut parts: Vec<&str> = self.cases.iter().map(|case| case.part).collect();
        parts.sort_unstable();
        parts.dedup();
        for part in parts {
            let invalid = if self.invalid.is_some() { ": INVALID HERE" } else { "" };
            text += &title(&format!("{}{}{invalid}", part[..1].to_uppercase(), &part[1..]));
            text += &table(&rows(COLUMNS, self.part(part).map(Case::row)));
        }
        text += &title("Goals");
        text += &table(&rows(["", "here", "goal", ""], self.goals.iter().map(Goal::row)));
        let promises = self.promises.iter();
        let kept = |kept| if kept { "kept" } else { "BROKEN" }.to_owned();
        text += &title("Promises");
        text += &table(&rows(["", ""], promises.map(|one| [one.what.clone(), kept(one.kept)])));
        for line in self.invalid.iter().chain(&self.skipped).chain(&self.notes) {
            text += &format!("\n- {line}\n");
        }
        text
    }
}

fn rows<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Vec<Vec<String>> {
    let head = head.map(str::to_owned).to_vec();
    std::iter::once(head).chain(rows.into_iter().map(|row| row.to_vec())).collect()
}

fn piped(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = "|---".repeat(rows[0].len()) + "|\n";
    line(&rows[0]) + &rule + &rows[1..].iter().map(|row| line(row)).collect::<String>()
}

fn aligned(rows: &[Vec<String>]) -> String {
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.iter().any(|cell| !cell.is_empty())) {
        for (column, cell) in row.iter().enumerate() {
            let wide = wide(column).unwrap_or(0);
            let number = column > 0 && cell.parse::<f64>().is_ok();
            let padded =
                if number { format!("{cell:>wide$}  ") } else { format!("{cell:<wide$}  ") };
            text += &padded;
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
