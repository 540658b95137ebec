//! Whole nights, told: a story of facts is folded, and the reports are read.

mod inert;
mod morning;

use std::sync::OnceLock;

use jiff::Timestamp;

use super::{actions::annotations, *};
use crate::{
    budget::{Limits, Spend, Usd},
    diff::DiffStat,
    ids::{AttemptId, CommitId, GateId, NightId, TaskId, TreeId},
    night::{
        AgentSpec, Author, Base, Closing, Command, Conversation, Event, GateSpec, Night, Opening,
        PlanSource, PublishSpec, Setback, Step, Then, Trigger,
    },
    night::{Baseline, Canary},
    outcome::{
        AgentEnd, AgentReport, Candidate, Failure, FormerTests, GateReport, LimitScope, NewTests,
        Review, StepEnd, StepReport, StopReason, TestProof,
    },
    plan::{self, SectionWords},
    policy::{AdmittedTask, Policy, RuleSet, admit_plan},
    policy::{Inspection, Origin, Refusal, Severity, Verdict},
    prompt::{Decision, Level, Reply},
};

/// 2026-11-21 02:00 UTC.
const BEGAN: i64 = 1_795_226_400;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(BEGAN + minute * 60).unwrap()
}

fn hash(number: u32) -> String {
    format!("{number:040x}")
}

/// A night of tasks `a`, `b` and `c` whose base is green.
struct Story {
    night: Night,
    minute: i64,
    made: u32,
    /// What the check of the next work that lands finds.
    seen: Inspection,
    /// Its lines.
    size: (u32, u32),
    /// Its gate's time in milliseconds, and tests that ran.
    gated: (u64, Option<u32>),
}

impl Story {
    fn new(change: impl FnOnce(&mut Opening)) -> Story {
        let plan: String = ["a", "b", "c"]
            .map(|id| {
                format!(
                    "- [ ] **[{id}]** Do {id}\n  - Alignment: 95\n  - Estimated lines: 5\n  - Tests: yes\n"
                )
            })
            .concat();
        // Rules are made of some hundred patterns: once for all nights of these tasks.
        static TASKS: OnceLock<Vec<AdmittedTask>> = OnceLock::new();
        Story::with(TASKS.get_or_init(|| admitted(&plan)).clone(), change)
    }

    /// A night of other tasks.
    fn of(plan: &str, change: impl FnOnce(&mut Opening)) -> Story {
        Story::with(admitted(plan), change)
    }

    fn with(tasks: Vec<AdmittedTask>, change: impl FnOnce(&mut Opening)) -> Story {
        let policy = Policy::default();
        let limits = Limits { parallel: 1, ..Limits::default() };
        let step = Step {
            name: "quality".into(),
            run: "check".into(),
            timeout_s: 60,
            required: true,
            weight: 1,
            junit: None,
        };
        let mut opening = Opening {
            night: NightId::new("2026-11-21").unwrap(),
            at: at(0),
            repository: "/repo".into(),
            base: Base {
                commit: CommitId::new(hash(1)).unwrap(),
                tree: TreeId::new(hash(2)).unwrap(),
                branch: "main".into(),
                how: "a test".into(),
            },
            plan: PlanSource { path: "PLAN.md".into(), working_tree: true, update: true },
            limits,
            policy,
            tasks,
            refused: Vec::new(),
            gate: GateSpec {
                id: gate_id(),
                steps: vec![step],
                env: Vec::new(),
                network: Vec::new(),
                setup: Vec::new(),
                canary: Canary::Off { origin: "a test".into() },
                baseline: Baseline::Green,
                flaky_reruns: 0,
            },
            agent: AgentSpec {
                name: "claude".into(),
                command: None,
                model: Some("opus".into()),
                context: Vec::new(),
                walls: "none".into(),
                gaps: Vec::new(),
                fallback: vec!["sonnet".into()],
                fallback_at: 80,
                retry_ms: vec![2_000],
                converses: true,
                subscription: false,
            },
            author: Author { name: "T".into(), email: "t@localhost".into() },
            publish: PublishSpec {
                remote: None,
                push: false,
                pull_request: true,
                draft: false,
                labels: Vec::new(),
                reviewers: Vec::new(),
                no_statuses: false,
                web: None,
            },
            notes: Vec::new(),
            rejected: Vec::new(),
            again: Vec::new(),
            reverses: Vec::new(),
        };
        change(&mut opening);
        let (commit, tree) = (opening.base.commit.clone(), opening.base.tree.clone());
        let mut story = Story {
            night: Night::open(opening),
            minute: 0,
            made: 10,
            seen: Inspection::default(),
            size: (5, 1),
            gated: (1_500, None),
        };
        story.tell(Event::Began(Command::CheckBase { commit: commit.clone(), tree: tree.clone() }));
        story.tell(Event::BaseChecked { report: gate(&commit, &tree) });
        story
    }

    fn tell(&mut self, event: Event) {
        self.minute += 1;
        self.night.apply(at(self.minute), event).unwrap();
    }

    fn now(&self) -> Timestamp {
        at(self.minute)
    }

    /// The next attempt of a task begins.
    fn begins(&mut self, task: &str) -> AttemptId {
        let task = TaskId::new(task).unwrap();
        let number = u32::try_from(self.night.task(&task).unwrap().attempts.len()).unwrap() + 1;
        let attempt = AttemptId { task, number };
        self.tell(Event::Began(Command::RunAgent {
            attempt: attempt.clone(),
            base: self.night.tip().clone(),
            time_s: 60,
            budget: Usd::from_dollars(1.0),
            tokens: None,
            model: Some("opus".into()),
            conversation: Some(Conversation { id: "x".into(), opened_by: 1 }),
        }));
        attempt
    }

    /// An attempt that ends with this failure.
    fn fails(&mut self, task: &str, report: AgentReport, failure: Failure) {
        let attempt = self.begins(task);
        let setback = self.night.judge(self.now(), &attempt, failure);
        self.tell(Event::AgentEnded {
            attempt,
            report,
            result: Err(setback),
            kept: None,
            inspection: Inspection::default(),
        });
    }

    /// An attempt that lands, with a second opinion where there is one.
    fn lands(&mut self, task: &str, report: AgentReport, review: Option<&str>) {
        let attempt = self.begins(task);
        self.made += 2;
        let candidate = Candidate {
            base: self.night.tip().clone(),
            commit: CommitId::new(hash(self.made)).unwrap(),
            tree: TreeId::new(hash(self.made + 1)).unwrap(),
            edit: TreeId::new(hash(self.made + 1)).unwrap(),
            stat: DiffStat { files: 1, added: self.size.0, removed: self.size.1 },
            ticked: true,
        };
        let (commit, tree) = (candidate.commit.clone(), candidate.tree.clone());
        let kept = Some(commit.clone());
        let result = Ok(candidate.clone());
        self.tell(Event::AgentEnded {
            attempt: attempt.clone(),
            report,
            result,
            kept,
            inspection: self.seen.clone(),
        });
        let gated = Command::RunGate {
            attempt: attempt.clone(),
            commit: commit.clone(),
            tree: tree.clone(),
        };
        self.tell(Event::Began(gated));
        let mut report = gate(&commit, &tree);
        (report.steps[0].millis, report.tests_run) = self.gated;
        self.tell(Event::GateEnded {
            attempt: attempt.clone(),
            report,
            findings: Vec::new(),
            setback: None,
        });
        if !self.seen.tests.is_empty() {
            let base = candidate.base.clone();
            let attempt = attempt.clone();
            let commit = commit.clone();
            self.tell(Event::Began(Command::ProveTests { attempt: attempt.clone(), base, commit }));
            let new_tests = NewTests::Proven {
                red_steps: vec!["quality".into()],
                failing_tests: Vec::new(),
                logs: String::new(),
            };
            let proof = TestProof { new_tests, former_tests: FormerTests::Unchanged };
            self.tell(Event::TestsProven { attempt, proof, findings: Vec::new(), setback: None });
        }
        if let Some(why) = review {
            let budget = Usd::from_dollars(0.5);
            self.tell(Event::Began(Command::Review {
                attempt: attempt.clone(),
                commit: commit.clone(),
                budget,
                model: Some("opus".into()),
            }));
            let review = Review {
                agree: true,
                why: why.into(),
                ended: AgentEnd::Finished,
                spent: Spend { usd: Usd::from_dollars(0.1), ..Spend::default() },
                model: Some("opus".into()),
            };
            self.tell(Event::Reviewed { attempt: attempt.clone(), review, setback: None });
        }
        let from = self.night.tip().clone();
        let land = Command::Land { attempt: attempt.clone(), from, to: commit.clone(), tree };
        self.tell(Event::Began(land));
        self.tell(Event::Landed { attempt, commit });
    }
}

/// The tasks of a plan, all of which may run.
fn admitted(plan: &str) -> Vec<AdmittedTask> {
    let (plan, _) = plan::parse(&format!("## Ready\n\n{plan}"), &SectionWords::default());
    let rules = RuleSet::new(&Policy::default()).unwrap();
    let admissions = admit_plan(&rules, &Limits::default(), &plan.tasks, &[].into());
    let tasks: Vec<_> = admissions.iter().filter_map(|a| a.admitted().cloned()).collect();
    assert_eq!(tasks.len(), plan.tasks.len());
    tasks
}

fn gate_id() -> GateId {
    GateId::new("ab".repeat(32)).unwrap()
}

fn gate(commit: &CommitId, tree: &TreeId) -> GateReport {
    GateReport {
        commit: commit.clone(),
        tree: tree.clone(),
        gate: gate_id(),
        steps: vec![StepReport {
            name: "quality".into(),
            command: "check".into(),
            ended: StepEnd::Exit(0),
            millis: 1_500,
            required: true,
            log: "gate/1.log".into(),
            failing_tests: Vec::new(),
            tests_run: None,
            unheard: Vec::new(),
            excused: false,
        }],
        score: 100,
        log_hash: "0".repeat(64),
        tier: "none".into(),
        failing_tests: Vec::new(),
        tests_run: None,
        reused: false,
        vacuous: None,
        former_runs: Vec::new(),
    }
}

fn agent(ended: AgentEnd) -> AgentReport {
    AgentReport {
        ended,
        spent: Spend { usd: Usd::from_dollars(0.4), ..Spend::default() },
        seconds: 10,
        turns: None,
        conversation: None,
        model: Some("claude-opus".into()),
        last_words: None,
        survivors: 0,
        total: None,
        window: None,
        reply: Reply::default(),
        notes: Vec::new(),
    }
}

fn decided(decisions: &[(Level, &str, &str)]) -> AgentReport {
    let decisions = decisions
        .iter()
        .map(|(level, what, why)| Decision {
            level: *level,
            what: (*what).to_owned(),
            why: (*why).to_owned(),
        })
        .collect();
    AgentReport { reply: Reply { decisions, ..Reply::default() }, ..agent(AgentEnd::Finished) }
}

fn asks(question: &str) -> Failure {
    Failure::Question { questions: vec![question.to_owned()] }
}

fn limited(minute: i64, scope: LimitScope) -> AgentEnd {
    AgentEnd::Limited { until: Some(at(minute).as_second()), scope }
}

/// The summary on a wide screen.
fn summary(night: &Night, now: Timestamp, running: bool) -> String {
    super::summary(night, now, running, &Screen { width: 200, ..Screen::default() })
}

fn holds(text: &str, all: &[&str]) {
    for words in all {
        assert!(text.contains(words), "{words}\n--- not in:\n{text}");
    }
}

#[test]
fn a_night_without_questions_decisions_and_trouble_says_nothing_about_them() {
    let mut story = Story::new(|_| {});
    story.lands("a", agent(AgentEnd::Finished), None);
    let pr = pull_request(&story.night);
    let summary = summary(&story.night, story.now(), true);
    for words in
        ["Waits for you", "Decisions", "decision", "troubles", "Left out", "cut call", "list price"]
    {
        assert!(!pr.body.contains(words), "{words}: {}", pr.body);
    }
    for words in ["WAITS FOR YOU", "decided by", "recovered from", "closed"] {
        assert!(!summary.contains(words), "{words}: {summary}");
    }
    assert!(!pr.draft && pr.body.contains("UTC, $0.40 of $"), "{}", pr.body);
}

#[test]
fn a_question_is_shown_as_the_lines_that_answer_it() {
    let mut story = Story::new(|_| {});
    story.lands("a", agent(AgentEnd::Finished), None);
    let question = "Keep `x`?\n```\n# @team <!-- all\u{1b}[31m";
    story.fails("b", agent(AgentEnd::Finished), asks(question));
    let pr = pull_request(&story.night);
    assert!(pr.draft);
    holds(
        &pr.body,
        &[
            "1 task waits for your answer, 1 was not started",
            "**Waits for you**: write the answer below the task in `PLAN.md`",
            "\n**b** Do b\n\n````text\n  - Question: Keep `x`? ``` # @\u{200b}team <! -- all\n  - Answer: …\n````\n",
        ],
    );
    assert_eq!(pr.body.matches("**b**").count(), 1, "told once: {}", pr.body);
    let summary = summary(&story.night, story.now(), true);
    holds(
        &summary,
        &[
            "WAITS FOR YOU 1    answer below the task in PLAN.md; the next night takes it again",
            "        - Question: Keep `x`? ``` # @team <! -- all\n        - Answer: …\n        nightshift show 'b'",
        ],
    );
    assert!(!summary.contains("  ..    b"), "{summary}");
}

#[test]
fn answer_lines_below_a_task_change_its_text_and_reach_the_agent() {
    let lines = answer_lines(&["Which limit: 5 or 10?".to_owned()]).join("\n  ");
    let plan =
        format!("## Ready\n\n- [ ] **[b]** Do b\n  - Tests: yes\n  {lines}\n- [ ] **[c]** Do c\n");
    let without = plan.replace(&lines, "- Size: 5");
    let read = |text: &str| {
        let (plan, found) = plan::parse(text, &SectionWords::default());
        assert!(found.iter().all(|found| found.code != "P010"), "{found:?}");
        plan.tasks
    };
    let (answered, before) = (read(&plan), read(&without));
    assert_eq!(answered.len(), 2);
    assert_ne!(answered[0].text_hash, before[0].text_hash);
    let notes = answered[0].notes.join("\n");
    holds(&notes, &["Question: Which limit: 5 or 10?", "Answer: …"]);
}

#[test]
fn decisions_of_landed_tasks_are_listed_with_the_second_opinion() {
    let mut story = Story::new(|_| {});
    let report =
        decided(&[(Level::Medium, "a fixed | window", "simpler"), (Level::Low, "a name", "fits")]);
    story.lands("a", report, Some("it is [needed]"));
    story.fails("b", decided(&[(Level::Low, "not landed", "")]), asks("x?"));
    let body = pull_request(&story.night).body;
    holds(
        &body,
        &[
            "| a | medium | a fixed &vert; window | simpler | agrees: it is \\[needed\\] |",
            "<details><summary>1 small decision of the agents</summary>",
            "| a | low | a name | fits |  |",
        ],
    );
    assert!(!body.contains("not landed |"), "{body}");
    holds(&summary(&story.night, story.now(), true), &["decided by agents: 2 low, 1 medium"]);
}

#[test]
fn recoveries_notes_and_cut_calls_are_counted() {
    let mut story = Story::new(|_| {});
    let report = AgentReport {
        notes: vec!["no price is known for claude-next".into()],
        spent: Spend::reserved(Usd::from_dollars(1.0)),
        ..agent(AgentEnd::Overloaded)
    };
    story.fails("a", report, Failure::Agent(AgentEnd::Overloaded));
    story.lands("a", agent(AgentEnd::Finished), None);
    let body = pull_request(&story.night).body;
    holds(
        &body,
        &[
            "| troubles after which it went on | 1 × overload |",
            "| note | a: no price is known for claude-next |",
            "$1.40, of it up to $1.00 for calls that were cut off.",
            "| a | claude-opus | 2 | $1.40, of it up to $1.00 for calls that were cut off | $0.234 |",
            "what had been reserved for it is the most",
        ],
    );
    let summary = summary(&story.night, story.now(), true);
    holds(&summary, &["recovered from: 1 × overload", "note: a: no price is known"]);
}

#[test]
fn a_subscription_is_shown_at_list_price() {
    let mut story = Story::new(|opening| opening.agent.subscription = true);
    story.lands("a", agent(AgentEnd::Finished), None);
    let words = "≈ $0.40 at list price, paid by subscription";
    holds(&pull_request(&story.night).body, &[words]);
    holds(&summary(&story.night, story.now(), true), &[words]);
}

#[test]
fn a_closed_model_is_named_with_its_end_and_who_is_asked_instead() {
    let mut story = Story::new(|_| {});
    let end = limited(60, LimitScope::Model);
    story.fails("a", agent(end.clone()), Failure::Agent(end));
    let told = summary(&story.night, story.now(), true);
    assert!(
        told.contains("opus closed until 03:0")
            && told.contains("(usage limit), sonnet is asked instead"),
        "{told}"
    );
    assert!(!summary(&story.night, at(70), true).contains("closed until"));
    assert!(!told.contains("goes on by itself"), "another model is open: {told}");
}

#[test]
fn a_night_that_waits_says_until_when_and_that_it_goes_on_by_itself() {
    let mut story = Story::new(|_| {});
    let end = limited(60, LimitScope::Account);
    story.fails("a", agent(end.clone()), Failure::Agent(end));
    let told = summary(&story.night, story.now(), true);
    holds(&told, &["every model closed until 03:0", "waits until 03:0", "and goes on by itself"]);
    let now = story.now();
    holds(
        &heartbeat(&story.night, now, &[]),
        &["night      alive    0% left=", "waits until 03:0"],
    );
    story.tell(Event::Ended { reason: None, exit: 4 });
    assert!(!summary(&story.night, story.now(), true).contains("closed until"));
}

#[test]
fn a_model_that_is_not_there_has_no_end_in_the_year_9999() {
    let mut story = Story::new(|_| {});
    let closing = Closing {
        model: Some("opus".into()),
        until: Timestamp::MAX,
        trigger: Trigger::Unavailable,
        strikes: 1,
        told: true,
    };
    let attempt = story.begins("a");
    let failure = Failure::Agent(AgentEnd::ModelUnavailable { message: "no".into() });
    let then = Then::Recover { at: story.now(), closing: Some(closing) };
    let setback = Setback { failure, then, same_as: None };
    let report = agent(AgentEnd::ModelUnavailable { message: "no".into() });
    let event = Event::AgentEnded {
        attempt,
        report,
        result: Err(setback),
        kept: None,
        inspection: Inspection::default(),
    };
    story.tell(event.clone());
    let entry = crate::night::Entry::new(1, story.now(), "claude", event);
    let line = line(&entry, &story.night).unwrap();
    assert!(line.contains("closed=opus") && !line.contains("9999"), "{line}");
    let told = summary(&story.night, story.now(), true);
    holds(&told, &["opus is not available for this account, sonnet is asked instead"]);
}

#[test]
fn nobody_is_at_work_on_a_night_that_broke_or_was_cut_off() {
    let mut story = Story::new(|_| {});
    story.begins("a");
    holds(&summary(&story.night, story.now(), true), &["the agent is at work"]);
    let told = summary(&story.night, story.now(), false);
    holds(&told, &["the agent was cut off", "not ended: cut off; nightshift resume goes on"]);
    let reason = StopReason::Broken { message: "could not run the agent for a.1: no".into() };
    story.tell(Event::StopAsked { reason: reason.clone() });
    story.tell(Event::Ended { reason: Some(reason), exit: 4 });
    // Whoever holds the lock by then is not at a night that has ended.
    for running in [true, false] {
        let told = summary(&story.night, story.now(), running);
        holds(&told, &["the agent was cut off", "could not run the agent", "nightshift resume"]);
        assert!(!told.contains("at work"), "{told}");
    }
}

#[test]
fn an_expired_login_is_said_once_with_what_to_do() {
    let mut story = Story::new(|_| {});
    let end = AgentEnd::NotSignedIn { message: "OAuth token has expired".into() };
    story.fails("a", agent(end.clone()), Failure::Agent(end));
    let reason = story.night.stop().cloned();
    assert!(matches!(reason, Some(StopReason::AgentUnusable { .. })));
    story.tell(Event::Ended { reason, exit: 3 });
    let told = summary(&story.night, story.now(), true);
    assert_eq!(told.matches("OAuth token has expired").count(), 1, "{told}");
    holds(
        &told,
        &[
            "sign in anew: CLAUDE_CODE_OAUTH_TOKEN from `claude setup-token`",
            "next: nightshift resume",
        ],
    );
}

#[test]
fn a_progress_line_tells_phase_share_time_activity_recoveries_and_decisions() {
    let mut story = Story::new(|_| {});
    story.lands("a", decided(&[(Level::Low, "a name", "")]), None);
    story.fails("b", agent(AgentEnd::Overloaded), Failure::Agent(AgentEnd::Overloaded));
    story.fails("c", agent(AgentEnd::Finished), asks("x?"));
    let attempt = story.begins("b");
    let activity = [(attempt, "edits \u{1b}[31msrc/a.rs\n".to_owned())];
    let now = at(31);
    assert_eq!(
        progress(&story.night, now, &activity),
        "night      progress 66% landed=1 failed=0 asks=1 of=3 31m left=209m ≤$2.20 recovered=1 decided=1 \
         the agent works on b, try 2 of 3: edits src/a.rs"
    );
    assert_eq!(
        heartbeat(&story.night, now, &activity),
        "night      alive    66% left=209m the agent works on b, try 2 of 3: edits src/a.rs"
    );
}
