//! A night as the sheet that every format is written from: results, attempts, findings, guards, times. Each foreign
//! word in it is already without secrets, in one line, and without what a terminal would act on.
//!
//! Decides nothing and escapes nothing for a format: each format does that for its own places.

use jiff::Timestamp;

use crate::{
    budget::Spend,
    ids::{NAME, TaskId},
    night::{AttemptRecord, BaseGate, Entry, Night, NotStarted, Publication, Stage, TaskState},
    outcome::{Failure, GateReport, StopReason},
    policy::{Refusal, Verdict},
    report::{
        facts,
        formats::timeline::{Timeline, timeline},
        gates, line, text,
    },
};

/// What a sheet is made from.
pub struct Source<'a> {
    /// The night.
    pub night: &'a Night,
    /// Its journal: when each thing began and ended.
    pub entries: &'a [Entry],
    /// This night and those before it, oldest first.
    pub trend: Vec<Tally>,
    /// True when a process is at the night.
    pub running: bool,
    /// Takes secrets out of a text, and what a terminal would act on; leaves one line.
    pub clean: &'a dyn Fn(&str) -> String,
}

/// How one night came out, for the comparison with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Its id.
    pub night: String,
    /// Tasks that were tried.
    pub tried: usize,
    /// Tasks that landed.
    pub landed: usize,
    /// What it cost.
    pub spent: Spend,
}

impl Tally {
    /// Of a night.
    pub fn of(night: &Night) -> Tally {
        let tried = night.tasks().filter(|(_, task)| !task.attempts.is_empty()).count();
        Tally {
            night: night.opening().night.to_string(),
            tried,
            landed: night.landed().len(),
            spent: night.spent(),
        }
    }
}

/// A night, ready to be written in any format.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Its id.
    pub night: String,
    /// The repository's directory.
    pub repository: String,
    /// The base, as `main@4f1c2ab`.
    pub base: String,
    /// The plan's path in the repository.
    pub plan: String,
    /// The agent's name, and its model where one is named.
    pub agent: String,
    /// When it began.
    pub began: Timestamp,
    /// When the last thing about it was learned.
    pub last: Timestamp,
    /// Seconds that it lasted, whatever was done to the clock.
    pub lasted_s: u64,
    /// The exit code; `None` while it has not ended.
    pub exit: Option<u8>,
    /// True when a process is at it.
    pub running: bool,
    /// What a person must know before all else: why it stopped, why nothing was started, why it is not out.
    pub alerts: Vec<String>,
    /// Where the pull request is, where there is one.
    pub url: Option<String>,
    /// Money, with what of it is estimated.
    pub spent: Spend,
    /// Money in words, with what is estimated.
    pub spent_words: String,
    /// The night's limit in words; `None` without one.
    pub cost_limit: Option<String>,
    /// Tests of the base's gate and of the last landed one's.
    pub tests: (Option<u32>, Option<u32>),
    /// Every task of the night, in the order in which a person needs them: landed, then what waits for a person,
    /// then the rest.
    pub tasks: Vec<TaskRow>,
    /// What agents decided in what landed: task, level, what, why.
    pub decisions: Vec<[String; 4]>,
    /// What was checked besides the gate, and what came of it.
    pub guards: Vec<[String; 2]>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// When what was done.
    pub timeline: Timeline,
    /// This night and those before it, oldest first.
    pub trend: Vec<Tally>,
}

/// What came of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// On the branch.
    Landed,
    /// Finished, and waits for a person's decision.
    Held,
    /// Waits for an answer, or for an approval in the plan.
    Asks,
    /// Tried, and given up.
    Failed,
    /// A rule says no before the start.
    Refused,
    /// Under way, or cut off.
    Open,
    /// Not started, or put off.
    Waiting,
}

impl Outcome {
    /// All of them, in the order of reports.
    pub const ALL: [Outcome; 7] = [
        Outcome::Landed,
        Outcome::Held,
        Outcome::Asks,
        Outcome::Failed,
        Outcome::Refused,
        Outcome::Open,
        Outcome::Waiting,
    ];

    /// In one word, the same in every format.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Landed => "landed",
            Outcome::Held => "held",
            Outcome::Asks => "asks",
            Outcome::Failed => "failed",
            Outcome::Refused => "refused",
            Outcome::Open => "open",
            Outcome::Waiting => "waiting",
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Line of its title in the plan, from 1.
    pub line: usize,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, in one line; empty where there is nothing to say.
    pub why: String,
    /// What to do next; empty where nothing is to be done.
    pub next: String,
    /// True when all of that is a command, false when it is a sentence, with what is to be typed in backticks.
    pub typed: bool,
    /// The commit on the branch, short.
    pub commit: Option<String>,
    /// Lines added and removed by what it left last.
    pub size: Option<(u32, u32)>,
    /// The last run of the gate, in words.
    pub gate: String,
    /// Money of all attempts.
    pub spent: Spend,
    /// Every try.
    pub attempts: Vec<AttemptRow>,
    /// What rules said of it: of its words, or of its last try.
    pub findings: Vec<Finding>,
}

/// One try of a task.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// 1 for the first.
    pub number: u32,
    /// When it began and when the last thing about its work was learned.
    pub span: (Timestamp, Timestamp),
    /// Seconds of this in which a process was at it.
    pub seconds: u64,
    /// The model that answered, or that was asked for.
    pub model: String,
    /// Money.
    pub spent: Spend,
    /// Tokens in and out.
    pub tokens: (u64, u64),
    /// Lines added and removed, where it left a candidate.
    pub size: Option<(u32, u32)>,
    /// The candidate, short.
    pub commit: Option<String>,
    /// Tests that its gate ran, where they were counted.
    pub tests: Option<u32>,
    /// What went wrong: a word for machines, and a line for people. `None` where nothing did.
    pub trouble: Option<(String, String)>,
}

/// What a rule said.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// What its word means.
    pub verdict: Verdict,
    /// One sentence.
    pub message: String,
    /// What was seen.
    pub value: String,
    /// What would have passed.
    pub limit: String,
    /// What to do, where there is something to do.
    pub help: Option<String>,
}

impl Sheet {
    /// Tasks of this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.tasks.iter().filter(|task| task.outcome == outcome).count()
    }

    /// The sheet with this task alone.
    pub fn only(mut self, id: &str) -> Sheet {
        self.tasks.retain(|task| task.id == id);
        self
    }

    /// What the night came to, in one line.
    pub fn headline(&self) -> String {
        let tried = self.tasks.iter().filter(|task| !task.attempts.is_empty()).count();
        let landed = self.count(Outcome::Landed);
        match (tried, landed) {
            (0, 0) => "Nothing was tried".to_owned(),
            (1, 0) => "The one task that was tried did not land".to_owned(),
            (1, 1) => "The one task that was tried landed".to_owned(),
            (_, 0) => format!("None of {tried} tasks landed"),
            (_, _) if tried == landed => format!("All {tried} tasks landed"),
            (_, _) => format!("{landed} of {tried} tasks landed"),
        }
    }
}

/// Makes the sheet of a night.
pub fn sheet(source: Source<'_>) -> Sheet {
    let Source { night, entries, trend, running, clean } = source;
    let opening = night.opening();
    let model = opening.agent.model.as_deref().map_or(String::new(), |model| format!(" ({model})"));
    let limit = opening.limits.cost;
    let mut tasks: Vec<TaskRow> =
        night.tasks().map(|(id, task)| row(night, id, task, running, clean)).collect();
    tasks.extend(opening.refused.iter().map(|refused| {
        let findings: Vec<Finding> =
            refused.refusals.iter().map(|refusal| finding(refusal, clean)).collect();
        let no = |finding: &&Finding| finding.verdict != Verdict::Report;
        let why: Vec<String> = findings
            .iter()
            .filter(no)
            .take(3)
            .map(|no| format!("{}: {}", no.rule, no.message))
            .collect();
        TaskRow {
            id: clean(refused.id.as_str()),
            title: clean(&refused.title),
            line: refused.line,
            outcome: match refused.verdict {
                Verdict::Refuse => Outcome::Refused,
                Verdict::Ask | Verdict::Report => Outcome::Asks,
            },
            why: why.join("; "),
            next: refused
                .refusals
                .iter()
                .find_map(|refusal| facts::remedy(&refused.id, refusal))
                .map_or_else(String::new, |help| clean(&help)),
            typed: false,
            commit: None,
            size: None,
            gate: String::new(),
            spent: Spend::default(),
            attempts: Vec::new(),
            findings,
        }
    }));
    // What landed stays in the order of the branch, the rest in that of the plan.
    let landed: Vec<String> = night.landed().iter().map(|(id, _)| clean(id.as_str())).collect();
    let place = |row: &TaskRow| landed.iter().position(|id| *id == row.id);
    tasks.sort_by_key(|row| (row.outcome, place(row)));
    let lasted = night.lasted(night.last_fact()).as_secs();
    Sheet {
        night: opening.night.to_string(),
        repository: clean(&opening.repository),
        base: clean(&format!("{}@{}", opening.base.branch, opening.base.commit.short())),
        plan: opening.plan.path.to_string(),
        agent: clean(&format!("{}{model}", opening.agent.name)),
        began: opening.at,
        last: night.last_fact(),
        lasted_s: lasted.unsigned_abs(),
        exit: night.ended().map(|(_, exit)| *exit),
        running,
        alerts: alerts(night, running).iter().map(|alert| clean(alert)).collect(),
        url: match night.publication() {
            Publication::Done { url, .. } => Some(clean(url)),
            Publication::Open | Publication::Failed { .. } => None,
        },
        spent: night.spent(),
        spent_words: facts::spent(night),
        cost_limit: (!limit.is_zero()
            && opening.agent.counts_cost()
            && !opening.agent.subscription)
            .then(|| limit.to_string()),
        tests: tests(night),
        tasks,
        decisions: decisions(night, clean),
        guards: guards(night, clean),
        notes: notes(night).iter().map(|note| clean(note)).collect(),
        timeline: timeline(entries, night.last_fact()),
        trend,
    }
}

fn alerts(night: &Night, running: bool) -> Vec<String> {
    let mut alerts = Vec::new();
    if let BaseGate::Red(report) = night.base_gate() {
        alerts.push(format!(
            "The gate is red on the base, so nothing was started: {}",
            line::red(report)
        ));
    }
    if night.gate_proof().is_some_and(|proof| !proof.proven()) {
        alerts.push("The gate did not go red on a broken tree, so nothing was started".to_owned());
    }
    match night.stopped_early() {
        // Each is said above.
        Some(StopReason::RedBase | StopReason::GateUnproven) | None => {}
        Some(reason) => alerts.push(format!("Stopped early: {}", line::stop_reason(reason))),
    }
    if night.ended().is_none() && !running {
        alerts.push(format!("Cut off before its end; {NAME} resume goes on with it"));
    }
    if let Publication::Failed { message, help, .. } = night.publication() {
        alerts.push(format!("Not published: {}", facts::unpublished(message, help)));
    }
    if night.opening().agent.walls == "none" {
        alerts.push("No walls: agent and gate ran without a sandbox".to_owned());
    }
    alerts
}

fn notes(night: &Night) -> Vec<String> {
    let mut notes = night.opening().notes.clone();
    notes.extend(facts::agent_notes(night));
    notes.extend(gates::known_failures(night));
    notes.extend(gates::not_proven(night));
    for (id, task) in night.tasks() {
        let report = task.last().and_then(|record| record.gate.as_ref());
        let words = report.and_then(gates::flaky_in_words);
        notes.extend(words.map(|words| format!("flaky: {id}: {words}")));
    }
    if let Publication::Done { notes: said, .. } = night.publication() {
        notes.extend(said.iter().cloned());
    }
    notes
}

fn tests(night: &Night) -> (Option<u32>, Option<u32>) {
    let before = night.base_gate().report().and_then(|report| report.tests_run);
    let last = night.landed().last().and_then(|(id, _)| night.task(id)?.last()?.gate.as_ref());
    (before, last.and_then(|report| report.tests_run))
}

fn row(
    night: &Night,
    id: &TaskId,
    task: &TaskState,
    running: bool,
    clean: &dyn Fn(&str) -> String,
) -> TaskRow {
    let planned = night.opening().tasks.iter().find(|task| task.id() == id);
    let (outcome, why, next) = came_to(night, id, task, running);
    let last = task.last();
    let candidate = last.and_then(|record| record.candidate.as_ref());
    TaskRow {
        id: clean(id.as_str()),
        title: clean(planned.map_or("", |task| task.task().title.as_str())),
        line: planned.map_or(1, |task| task.task().line),
        outcome,
        why: clean(&why),
        typed: !next.is_empty(),
        next: clean(&next),
        commit: task.landed().map(|candidate| candidate.commit.short().to_owned()),
        size: candidate.map(|candidate| (candidate.stat.added, candidate.stat.removed)),
        gate: last.and_then(|record| record.gate.as_ref()).map_or(String::new(), gate_in_words),
        spent: task.spent(),
        attempts: task.attempts.iter().map(|record| attempt(record, clean)).collect(),
        findings: last
            .map(|record| record.findings().map(|said| finding(said, clean)).collect())
            .unwrap_or_default(),
    }
}

/// What came of a task, why, and what to type.
fn came_to(
    night: &Night,
    id: &TaskId,
    task: &TaskState,
    running: bool,
) -> (Outcome, String, String) {
    let named = text::quoted(&format!("{}/{id}", night.opening().night));
    let show = format!("{NAME} show {named}");
    match &task.stage {
        Stage::Landed(_) => {
            let why = match task.attempts.len() {
                0 | 1 => String::new(),
                tries => format!("on try {tries}"),
            };
            (Outcome::Landed, why, String::new())
        }
        Stage::Held(_) => {
            let [approve, _] = facts::decide(&named);
            (Outcome::Held, task.last().map(facts::why_held).unwrap_or_default(), approve)
        }
        Stage::Parked(setback) => {
            let questions = facts::questions(setback);
            let why = if questions.is_empty() { line::why(setback) } else { questions.join(" / ") };
            (Outcome::Asks, why, show)
        }
        Stage::Failed(setback) => {
            let why = format!("{}: {}", facts::tries(night, id, task), line::why_of(task, setback));
            (Outcome::Failed, why, show)
        }
        Stage::Waiting => (Outcome::Waiting, not_started(night, id, running), String::new()),
        Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => {
            if running {
                (Outcome::Open, "under way".to_owned(), String::new())
            } else {
                (Outcome::Open, "cut off on its way".to_owned(), format!("{NAME} resume"))
            }
        }
    }
}

fn not_started(night: &Night, id: &TaskId, running: bool) -> String {
    match night.why_not_started(id, night.last_fact()) {
        Some(NotStarted::Needs(need)) => facts::needs(night, &need),
        Some(NotStarted::TaskLimit) => "the limit of tasks was reached".to_owned(),
        Some(NotStarted::Money) => "the money or the tokens are spent".to_owned(),
        Some(NotStarted::NoModel) => "no model could be asked any more".to_owned(),
        Some(NotStarted::Stopped) => "the night stopped".to_owned(),
        None if running => "waits for its turn".to_owned(),
        None => "left for another night".to_owned(),
    }
}

fn gate_in_words(report: &GateReport) -> String {
    if !report.passed() {
        return format!("red: {}", line::red(report));
    }
    let millis = report.steps.iter().map(|step| step.millis).sum();
    let mut words = format!("passed in {}", line::seconds(millis));
    if let Some(tests) = report.tests_run {
        words.push_str(&format!(", {tests} tests"));
    }
    if !gates::flaky(report).is_empty() {
        words.push_str(", flaky");
    }
    if report.reused {
        words.push_str(", by an earlier run");
    }
    words
}

fn attempt(record: &AttemptRecord, clean: &dyn Fn(&str) -> String) -> AttemptRow {
    let spent = record.spent();
    let answered = record.agent.as_ref().and_then(|agent| agent.model.as_deref());
    let candidate = record.candidate.as_ref();
    AttemptRow {
        number: record.number,
        span: (record.began, record.ended),
        seconds: u64::try_from(record.took.as_secs()).unwrap_or(0),
        model: clean(answered.or(record.model.as_deref()).unwrap_or_default()),
        spent,
        tokens: (spent.input_tokens, spent.output_tokens),
        size: candidate.map(|candidate| (candidate.stat.added, candidate.stat.removed)),
        commit: candidate.map(|candidate| candidate.commit.short().to_owned()),
        tests: record.gate.as_ref().and_then(|gate| gate.tests_run),
        trouble: record
            .setback
            .as_ref()
            .map(|setback| (kind(&setback.failure), clean(&line::why(setback)))),
    }
}

/// A failure's name as the journal writes it: the one list of such names.
fn kind(failure: &Failure) -> String {
    match serde_json::to_value(failure) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
        Ok(_) | Err(_) => "failure".to_owned(),
    }
}

fn finding(refusal: &Refusal, clean: &dyn Fn(&str) -> String) -> Finding {
    Finding {
        rule: refusal.rule.clone(),
        verdict: refusal.verdict,
        message: clean(&refusal.message),
        value: clean(&refusal.value),
        limit: clean(&refusal.limit),
        help: refusal.help.as_deref().map(clean),
    }
}

fn decisions(night: &Night, clean: &dyn Fn(&str) -> String) -> Vec<[String; 4]> {
    let landed = night.tasks().filter(|(_, task)| task.landed().is_some());
    landed
        .flat_map(|(id, task)| {
            facts::decisions(task).into_iter().map(move |decision| {
                let level = decision.level.word().to_owned();
                [clean(id.as_str()), level, clean(&decision.what), clean(&decision.why)]
            })
        })
        .collect()
}

fn guards(night: &Night, clean: &dyn Fn(&str) -> String) -> Vec<[String; 2]> {
    let agent = &night.opening().agent;
    let mut guards = Vec::new();
    let mut guard = |name: &str, result: String| guards.push([clean(name), clean(&result)]);
    guard(
        "protected files",
        "gate, CI, agent instructions and configuration are the base's in every commit".to_owned(),
    );
    let proof = night.gate_proof().map_or("not proven".to_owned(), gates::canary);
    guard("a gate that can fail", proof);
    guard(
        "walls around agent and gate",
        match (agent.walls.as_str(), agent.gaps.is_empty()) {
            ("none", _) => "none".to_owned(),
            (tier, true) => format!("{tier}, tried before the first task"),
            (tier, false) => format!("{tier}; not stopped: {}", agent.gaps.join("; ")),
        },
    );
    for (id, task) in night.tasks().filter(|(_, task)| task.landed().is_some()) {
        if let Some(proof) = task.last().and_then(|record| record.test_proof.as_ref()) {
            guard(&format!("tests of {id}"), gates::test_proof(proof));
        }
    }
    for (id, record) in facts::approvals(night) {
        let by = record.approved_by.as_deref().unwrap_or_default();
        guard("approved by a person", format!("{id}, by {by}"));
    }
    let recoveries = facts::recoveries_in_words(night);
    if !recoveries.is_empty() {
        guard("troubles after which it went on", recoveries);
    }
    guards
}
