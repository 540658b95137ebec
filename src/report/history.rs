//! What nights came to, as figures: of one night, summed up by night, month, task, model or rule, and in words.
//!
//! Pure: a night's figures come from its fold alone, so whoever keeps them keeps a copy of what journals say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{Spend, Usd},
    ids::{NAME, NightId, TaskId},
    night::{AttemptRecord, BaseGate, Night, Publication, Stage, TaskState},
    policy::Verdict,
    report::{
        facts, line,
        screen::{Screen, column},
        text,
    },
};

/// Rows of a chart or a table that are shown, where nobody asks for another number.
pub const ROWS: usize = 30;
/// Most cells of a bar.
const BAR: usize = 40;

/// What came of a task in one night.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// It is on the night's branch.
    Landed,
    /// It was tried and did not land.
    Failed,
    /// It waits for a person: held, or with a question.
    Waits,
    /// It was not finished: under way, cut off or not begun.
    Open,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFigures {
    /// 1 for the first.
    pub number: u32,
    /// From its agent's start to the last thing that was learned about its work, while a process was at it.
    pub seconds: u64,
    /// The model that answered, else the one asked for, else the agent.
    pub model: String,
    /// What it cost.
    pub spent: Spend,
    /// True when it did not work.
    pub failed: bool,
    /// Rules that said no to its work or asked for a person, each once.
    pub rules: Vec<String>,
}

/// One task of a night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFigures {
    /// Its id.
    pub id: TaskId,
    /// Its title.
    pub title: String,
    /// What came of it.
    pub came: Came,
    /// What its agent decided by itself.
    pub decided: u64,
    /// What a person was asked: its questions, or its held result.
    pub asked: u64,
    /// Its tries.
    pub attempts: Vec<AttemptFigures>,
}

/// One night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NightFigures {
    /// The night.
    pub night: NightId,
    /// The person's repository, as it was called then.
    pub repository: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it lasted, as far as its journal goes.
    pub seconds: u64,
    /// The exit code of its end; none while it has none.
    pub exit: Option<u8>,
    /// Why it ended early, in words.
    pub stopped: Option<String>,
    /// The agent.
    pub agent: String,
    /// Where its pull request is.
    pub pull_request: Option<String>,
    /// True when its gate was red on the base, so that nothing was tried.
    pub red_base: bool,
    /// Its tasks, in the order of the plan.
    pub tasks: Vec<TaskFigures>,
    /// Rules that kept a task from its start: one for each task and rule.
    pub refused: Vec<(TaskId, String)>,
}

/// By what figures are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// One row a night.
    Night,
    /// One row a month.
    Month,
    /// One row a task, over all nights.
    Task,
    /// One row a model.
    Model,
    /// One row a rule that said no.
    Rule,
}

/// Sums. Of a model only what its tries came to is known: there a task landed with its last try's model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Nights.
    pub nights: u64,
    /// Tasks that were tried, once for each night.
    pub tried: u64,
    /// Those that landed.
    pub landed: u64,
    /// Those that landed after a try that failed.
    pub recovered: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that wait for a person.
    pub waits: u64,
    /// Decisions that agents made by themselves.
    pub decided: u64,
    /// Questions and held results: what a person was asked.
    pub asked: u64,
    /// Tries.
    pub attempts: u64,
    /// Seconds: of nights where nights are counted, else of tries.
    pub seconds: u64,
    /// Cost.
    pub spent: Spend,
}

impl NightFigures {
    /// The figures of a night as its fold stands.
    pub fn of(night: &Night) -> NightFigures {
        let opening = night.opening();
        let lasted = night.lasted(night.last_fact()).as_secs();
        let (stopped, exit) = match night.ended() {
            Some((reason, exit)) => (reason.as_ref().map(line::stop_reason), Some(*exit)),
            None => (None, None),
        };
        let pull_request = match night.publication() {
            Publication::Done { url, .. } => Some(url.clone()),
            Publication::Open | Publication::Failed { .. } => None,
        };
        let refused = opening.refused.iter().flat_map(|task| {
            let no = task.refusals.iter().filter(|refusal| refusal.verdict > Verdict::Report);
            no.map(|refusal| (task.id.clone(), refusal.rule.clone()))
        });
        let mut figures = NightFigures {
            night: opening.night.clone(),
            repository: opening.repository.clone(),
            began: opening.at,
            seconds: u64::try_from(lasted).unwrap_or(0),
            exit,
            stopped,
            agent: opening.agent.name.clone(),
            pull_request,
            red_base: matches!(night.base_gate(), BaseGate::Red(_)),
            tasks: Vec::new(),
            refused: refused.collect(),
        };
        figures.refused.dedup();
        for task in &opening.tasks {
            if let Some(state) = night.task(task.id()) {
                figures.tasks.push(of_task(
                    &opening.agent.name,
                    task.id(),
                    &task.task().title,
                    state,
                ));
            }
        }
        figures
    }

    /// Its sums.
    pub fn totals(&self) -> Totals {
        let mut totals: Totals = Totals { nights: 1, ..Totals::default() };
        self.tasks.iter().for_each(|task| totals.add_task(task));
        totals.seconds = self.seconds;
        totals
    }

    /// Its month, by the clock of the machine that ran it: `2026-11`.
    fn month(&self) -> String {
        self.night.as_str().chars().take(7).collect()
    }
}

fn of_task(agent: &str, id: &TaskId, title: &str, state: &TaskState) -> TaskFigures {
    let came = match &state.stage {
        Stage::Landed(_) => Came::Landed,
        Stage::Failed(_) => Came::Failed,
        Stage::Held(_) | Stage::Parked(_) => Came::Waits,
        Stage::Waiting
        | Stage::Editing
        | Stage::Ungated(_)
        | Stage::Gated(_)
        | Stage::Landing(_) => Came::Open,
    };
    let questions = state.parked().map_or(0, |setback| facts::questions(setback).len().max(1));
    let seen =
        state.last().is_some_and(|last| last.approved_by.is_some()) || state.held().is_some();
    TaskFigures {
        id: id.clone(),
        title: text::inline_plain(title),
        came,
        decided: count(facts::decisions(state).len()),
        asked: count(questions + usize::from(seen)),
        attempts: state.attempts.iter().map(|record| of_attempt(agent, record)).collect(),
    }
}

fn of_attempt(agent: &str, record: &AttemptRecord) -> AttemptFigures {
    let answered = record.agent.as_ref().and_then(|report| report.model.as_ref());
    let model = answered.or(record.model.as_ref()).map_or(agent, String::as_str);
    let mut rules: Vec<String> = record
        .findings()
        .filter(|finding| finding.verdict > Verdict::Report)
        .map(|finding| finding.rule.clone())
        .collect();
    rules.sort();
    rules.dedup();
    let seconds = record.took.as_secs();
    AttemptFigures {
        number: record.number,
        seconds: u64::try_from(seconds).unwrap_or(0),
        model: text::inline_plain(model),
        spent: record.spent(),
        failed: record.setback.is_some(),
        rules,
    }
}

impl TaskFigures {
    /// True when it landed after a try that failed.
    fn recovered(&self) -> bool {
        let before = self.attempts.split_last().map_or(&[][..], |(_, before)| before);
        self.came == Came::Landed && before.iter().any(|attempt| attempt.failed)
    }
}

impl Totals {
    fn add_task(&mut self, task: &TaskFigures) {
        self.decided += task.decided;
        self.asked += task.asked;
        for attempt in &task.attempts {
            self.add_attempt(attempt);
        }
        if !task.attempts.is_empty() {
            self.add_end(task);
        }
    }

    /// What came of a task that was tried.
    fn add_end(&mut self, task: &TaskFigures) {
        self.tried += 1;
        self.recovered += u64::from(task.recovered());
        match task.came {
            Came::Landed => self.landed += 1,
            Came::Failed => self.failed += 1,
            Came::Waits => self.waits += 1,
            Came::Open => {}
        }
    }

    fn add_attempt(&mut self, attempt: &AttemptFigures) {
        self.attempts += 1;
        self.seconds = self.seconds.saturating_add(attempt.seconds);
        self.spent = self.spent + attempt.spent;
    }

    fn add(&mut self, other: &Totals) {
        self.nights += other.nights;
        self.tried += other.tried;
        self.landed += other.landed;
        self.recovered += other.recovered;
        self.failed += other.failed;
        self.waits += other.waits;
        self.decided += other.decided;
        self.asked += other.asked;
        self.attempts += other.attempts;
        self.seconds = self.seconds.saturating_add(other.seconds);
        self.spent = self.spent + other.spent;
    }

    /// Of all these nights.
    pub fn of<'n>(nights: impl IntoIterator<Item = &'n NightFigures>) -> Totals {
        let mut totals = Totals::default();
        nights.into_iter().for_each(|night| totals.add(&night.totals()));
        totals
    }

    /// The cost of one of `count`; nothing of none.
    fn each(&self, count: u64) -> Usd {
        Usd::from_micros(self.spent.usd.micros() / count.max(1))
    }

    /// Landed, recovered and decided-alone rates, and what it cost: two or three lines.
    pub fn in_words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rates = Vec::new();
        if self.tried > 0 {
            rates.push(format!(
                "landed {} ({} of {})",
                percent(self.landed, self.tried),
                self.landed,
                self.tried
            ));
        }
        if self.recovered > 0 {
            let rate = percent(self.recovered, self.landed);
            rates.push(format!("{rate} of them after a failed try ({})", self.recovered));
        }
        let points = self.decided + self.asked;
        if points > 0 {
            rates.push(format!(
                "decided alone {} ({} of {points})",
                percent(self.decided, points),
                self.decided
            ));
        }
        if !rates.is_empty() {
            lines.push(rates.join(" · "));
        }
        if self.attempts > 0 {
            lines.push(format!(
                "cost {}: {} a night, {} a task, {} a try",
                facts::marked(&self.spent),
                self.each(self.nights),
                self.each(self.tried),
                self.each(self.attempts),
            ));
        }
        lines
    }

    /// The last nights in half a line, for the end of `status`; nothing where nothing was tried.
    pub fn in_short(&self) -> Option<String> {
        let nights = match self.nights {
            1 => "last night".to_owned(),
            nights => format!("last {nights} nights"),
        };
        (self.tried > 0).then(|| {
            format!(
                "{nights}: {} landed, {} a night",
                percent(self.landed, self.tried),
                self.each(self.nights)
            )
        })
    }
}

/// Rows of nights put together, newest night or dearest row first. The key, a word about it, and its sums.
pub fn rows(nights: &[NightFigures], by: By) -> Vec<(String, String, Totals)> {
    if by == By::Night {
        let row = |night: &NightFigures| (night.night.to_string(), String::new(), night.totals());
        return nights.iter().rev().map(row).collect();
    }
    let mut found: BTreeMap<String, (String, Totals)> = BTreeMap::new();
    for night in nights {
        match by {
            By::Night => {}
            By::Month => found.entry(night.month()).or_default().1.add(&night.totals()),
            By::Task => {
                for task in &night.tasks {
                    let (title, totals) = found.entry(task.id.to_string()).or_default();
                    title.clone_from(&task.title);
                    totals.add_task(task);
                    totals.nights += u64::from(!task.attempts.is_empty());
                }
            }
            By::Model => by_model(night, &mut found),
            By::Rule => by_rule(night, &mut found),
        }
    }
    let mut rows: Vec<_> =
        found.into_iter().map(|(key, (word, totals))| (key, word, totals)).collect();
    match by {
        By::Night | By::Month => rows.reverse(),
        By::Task | By::Model => rows.sort_by_key(|row| std::cmp::Reverse(row.2.spent.usd)),
        By::Rule => rows.sort_by_key(|row| std::cmp::Reverse(row.2.tried + row.2.attempts)),
    }
    rows
}

fn by_model(night: &NightFigures, found: &mut BTreeMap<String, (String, Totals)>) {
    let mut seen: Vec<&str> = Vec::new();
    for task in &night.tasks {
        for attempt in &task.attempts {
            let totals = &mut found.entry(attempt.model.clone()).or_default().1;
            totals.add_attempt(attempt);
            if !seen.contains(&attempt.model.as_str()) {
                seen.push(&attempt.model);
                totals.nights += 1;
            }
        }
        if let Some(last) = task.attempts.last() {
            found.entry(last.model.clone()).or_default().1.add_end(task);
        }
    }
}

/// `tried`: tasks that the rule kept from their start. `attempts`: tries whose work it said no to.
fn by_rule(night: &NightFigures, found: &mut BTreeMap<String, (String, Totals)>) {
    let mut rules: Vec<&str> = Vec::new();
    for (_, rule) in &night.refused {
        found.entry(rule.clone()).or_default().1.tried += 1;
        rules.push(rule);
    }
    for attempt in night.tasks.iter().flat_map(|task| &task.attempts) {
        for rule in &attempt.rules {
            let totals = &mut found.entry(rule.clone()).or_default().1;
            totals.attempts += 1;
            totals.spent = totals.spent + attempt.spent;
            rules.push(rule);
        }
    }
    rules.sort_unstable();
    rules.dedup();
    for rule in rules {
        found.entry(rule.to_owned()).or_default().1.nights += 1;
    }
}

/// The table of rows.
pub fn table(nights: &[NightFigures], by: By, limit: usize, screen: &Screen) -> String {
    let all = rows(nights, by);
    let more = all.len().saturating_sub(limit);
    let shown = all.iter().take(limit);
    let mut text = if by == By::Rule {
        let rows: Vec<Vec<String>> = shown
            .map(|(rule, _, totals)| {
                let numbers = [totals.tried, totals.attempts, totals.nights];
                let mut row = vec![rule.clone()];
                row.extend(numbers.map(|number| format!("{number:>6}")));
                row.push(facts::marked(&totals.spent));
                row
            })
            .collect();
        screen.table(&["rule", "before", "tries", "nights", "cost of these tries"], &rows)
    } else {
        let rows: Vec<Vec<String>> = shown
            .map(|(key, word, totals)| {
                let number =
                    |number: u64| if number == 0 { "-".to_owned() } else { number.to_string() };
                let mut row = vec![
                    key.clone(),
                    format!("{} of {}", totals.landed, totals.tried),
                    facts::marked(&totals.spent),
                    duration(totals.seconds),
                    number(totals.recovered),
                    number(totals.failed),
                    number(totals.waits),
                    number(totals.attempts),
                ];
                match by {
                    By::Task => row.push(column(word, 30)),
                    By::Month | By::Model => row.push(totals.nights.to_string()),
                    By::Night | By::Rule => {}
                }
                row
            })
            .collect();
        let mut heads =
            vec![by.word(), "landed", "cost", "time", "again", "failed", "waits", "tries"];
        match by {
            By::Task => heads.push("title"),
            By::Month | By::Model => heads.push("nights"),
            By::Night | By::Rule => {}
        }
        screen.table(&heads, &rows)
    };
    if more > 0 {
        text.push_str(&format!("and {more} more: --limit {}\n", all.len()));
    }
    text
}

impl By {
    /// As it is asked for, and the head of its first column.
    pub fn word(self) -> &'static str {
        match self {
            By::Night => "night",
            By::Month => "month",
            By::Task => "task",
            By::Model => "model",
            By::Rule => "rule",
        }
    }
}

/// Two charts over nights, oldest first: landed of tried, and cost.
pub fn chart(nights: &[NightFigures], limit: usize, screen: &Screen) -> String {
    let shown = &nights[nights.len().saturating_sub(limit)..];
    let all: Vec<Totals> = shown.iter().map(NightFigures::totals).collect();
    let label = shown.iter().map(|night| night.night.as_str().len()).max().unwrap_or(0);
    let most_tried = all.iter().map(|totals| totals.tried).max().unwrap_or(0).max(1);
    let dearest = all.iter().map(|totals| totals.spent.usd.micros()).max().unwrap_or(0).max(1);
    // Label, two gaps, and the words behind the bar.
    let cells = screen.width.saturating_sub(label + 4 + 12).clamp(8, BAR);
    let mut text = String::from("landed of tried\n");
    for (night, totals) in shown.iter().zip(&all) {
        // One scale for all nights: the bar's length is what was tried, its full part what landed.
        let wanted = usize::try_from(totals.tried * count(cells) / most_tried).unwrap_or(cells);
        let length = wanted.clamp(usize::from(totals.tried > 0), cells);
        let bar = screen.bar(totals.landed, totals.tried, length);
        let words = match (totals.tried, night.red_base) {
            (0, true) => "the gate was red on the base".to_owned(),
            (0, false) => "nothing tried".to_owned(),
            (tried, _) => format!("{} of {tried}", totals.landed),
        };
        let gap = if bar.is_empty() { "" } else { "  " };
        text.push_str(&format!("{:<label$}  {bar}{gap}{words}\n", night.night.as_str()));
    }
    text.push_str("\ncost\n");
    for (night, totals) in shown.iter().zip(&all) {
        let micros = totals.spent.usd.micros();
        let bar = screen.bar(micros, dearest, cells);
        let bar = bar.trim_end_matches(['░', '.']);
        let gap = if bar.is_empty() { "" } else { "  " };
        text.push_str(&format!(
            "{:<label$}  {bar}{gap}{}\n",
            night.night.as_str(),
            facts::marked(&totals.spent)
        ));
    }
    text
}

/// The last month and the one before, for the cost of months.
pub fn months(nights: &[NightFigures]) -> Option<String> {
    let rows = rows(nights, By::Month);
    let words: Vec<String> = rows
        .iter()
        .take(3)
        .map(|(month, _, totals)| format!("{month} {}", facts::marked(&totals.spent)))
        .collect();
    (!words.is_empty()).then(|| format!("by month: {}", words.join(" · ")))
}

/// What to do next, after looking back.
pub fn next(nights: &[NightFigures]) -> String {
    match nights.last() {
        None => format!("{NAME} check shows what would run, {NAME} run does it"),
        Some(night) => format!("{NAME} show {}", night.night),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{} %", part * 100 / whole.max(1))
}

/// `41s`, `6m02`, `1h41`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..3600 => format!("{}m{:02}", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(
        number: u32,
        cents: u64,
        failed: bool,
        model: &str,
        rules: &[&str],
    ) -> AttemptFigures {
        let spent = Spend { usd: Usd::from_micros(cents * 10_000), ..Spend::default() };
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        AttemptFigures { number, seconds: 60, model: model.to_owned(), spent, failed, rules }
    }

    fn task(id: &str, came: Came, attempts: Vec<AttemptFigures>) -> TaskFigures {
        let id = TaskId::new(id).unwrap();
        TaskFigures { id, title: "A title".into(), came, decided: 2, asked: 1, attempts }
    }

    fn night(name: &str, tasks: Vec<TaskFigures>) -> NightFigures {
        NightFigures {
            night: NightId::new(name).unwrap(),
            repository: "/home/ann/acme".into(),
            began: Timestamp::UNIX_EPOCH,
            seconds: 600,
            exit: Some(0),
            stopped: None,
            agent: "claude".into(),
            pull_request: None,
            red_base: false,
            tasks,
            refused: vec![(TaskId::new("t9").unwrap(), "risk".into())],
        }
    }

    fn two() -> Vec<NightFigures> {
        vec![
            night(
                "2026-10-31",
                vec![
                    task(
                        "t1",
                        Came::Landed,
                        vec![
                            attempt(1, 10, true, "opus", &["diff.lines"]),
                            attempt(2, 20, false, "sonnet", &[]),
                        ],
                    ),
                    task(
                        "t2",
                        Came::Failed,
                        vec![attempt(1, 30, true, "opus", &["diff.lines", "risk"])],
                    ),
                ],
            ),
            night(
                "2026-11-01",
                vec![
                    task("t2", Came::Landed, vec![attempt(1, 40, false, "opus", &[])]),
                    task("t3", Came::Open, Vec::new()),
                ],
            ),
        ]
    }

    #[test]
    fn sums_are_the_same_by_whatever_they_are_put_together() {
        let nights = two();
        let all = Totals::of(&nights);
        assert_eq!((all.nights, all.tried, all.landed, all.recovered, all.failed), (2, 3, 2, 1, 1));
        assert_eq!((all.decided, all.asked, all.attempts), (8, 4, 4));
        assert_eq!(all.spent.usd, Usd::from_micros(1_000_000));
        for by in [By::Night, By::Month, By::Task, By::Model] {
            let rows = rows(&nights, by);
            let sum = |of: fn(&Totals) -> u64| rows.iter().map(|row| of(&row.2)).sum::<u64>();
            assert_eq!(sum(|t| t.landed), 2, "{by:?}");
            assert_eq!(sum(|t| t.attempts), 4, "{by:?}");
            assert_eq!(sum(|t| t.spent.usd.micros()), 1_000_000, "{by:?}");
        }
    }

    #[test]
    fn the_rule_that_refuses_most_comes_first() {
        let rows = rows(&two(), By::Rule);
        let risk = &rows[0];
        assert_eq!(
            (risk.0.as_str(), risk.2.tried, risk.2.attempts, risk.2.nights),
            ("risk", 2, 1, 2)
        );
        assert_eq!((rows[1].0.as_str(), rows[1].2.attempts), ("diff.lines", 2));
    }

    #[test]
    fn a_model_is_judged_by_the_tasks_whose_last_try_it_made() {
        let rows = rows(&two(), By::Model);
        let of = |model: &str| &rows.iter().find(|row| row.0 == model).unwrap().2;
        assert_eq!((of("opus").tried, of("opus").landed, of("opus").attempts), (2, 1, 3));
        assert_eq!((of("sonnet").tried, of("sonnet").landed, of("sonnet").attempts), (1, 1, 1));
    }

    #[test]
    fn rates_and_costs_are_said_in_words() {
        let words = Totals::of(&two()).in_words().join("\n");
        for said in [
            "landed 66 % (2 of 3)",
            "50 % of them after a failed try (1)",
            "decided alone 66 % (8 of 12)",
            "$0.50 a night, $0.34 a task, $0.25 a try",
        ] {
            assert!(words.contains(said), "no `{said}` in {words}");
        }
        assert_eq!(Totals::default().in_words(), Vec::<String>::new());
        assert_eq!(Totals::default().in_short(), None);
    }

    #[test]
    fn charts_are_ascii_where_nothing_else_is_drawn() {
        let screen = Screen { unicode: false, width: 60, ..Screen::default() };
        let drawn = screen.page(&chart(&two(), ROWS, &screen));
        assert!(drawn.is_ascii() && drawn.contains('#'), "{drawn}");
        assert!(drawn.lines().all(|line| line.len() <= 60), "{drawn}");
    }
}
