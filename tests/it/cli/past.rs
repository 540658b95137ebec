//! A night on disk, written through the library.

use std::fs;

use jiff::Timestamp;
use nightshift::{
    budget::{Spend, Usd},
    diff::DiffStat,
    ids::{AttemptId, CommitId, NightId, TaskId, TreeId},
    journal::Journal,
    night::{
        AgentSpec, Author, Closing, Command, Conversation, Entry, Event, Night, Opening,
        PublishSpec, Setback, Then, Trigger,
    },
    outcome::{AgentEnd, AgentReport, Candidate, Failure, GateReport, StepEnd, StepReport},
    policy::Inspection,
    prompt::{Acceptance, Decision, Level, Reply},
    runner::{places::NightPlaces, prepare::Preparation},
};

use super::Scene;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_226_400 + second).unwrap()
}

const NIGHT: &str = "2026-11-21";

/// Writes the journal of a night in which the gate failed `task_1` once.
pub(super) struct Past {
    pub(super) places: NightPlaces,
    pub(super) kept: CommitId,
}

impl Past {
    pub(super) fn night(scene: &Scene, ended: bool) -> Past {
        let preparation = scene.preparation();
        let night = NightId::new(NIGHT).unwrap();
        let places = preparation.home.places.night(&night);
        fs::create_dir_all(places.directory()).unwrap();
        let attempt = AttemptId { task: TaskId::new("task_1").unwrap(), number: 1 };
        let base = preparation.base.clone();
        let (kept, tree) = kept(scene, &night, &attempt);
        let candidate = Candidate {
            base: base.commit.clone(),
            commit: kept.clone(),
            tree: tree.clone(),
            edit: tree.clone(),
            stat: DiffStat { files: 1, added: 1, removed: 0 },
            ticked: false,
        };
        let red = gate(&preparation, &kept, &tree, 1);
        let green = gate(&preparation, &base.commit, &base.tree, 0);
        let setback = Setback {
            failure: Failure::Gate(Box::new(red.clone())),
            then: Then::FailTask,
            same_as: None,
        };
        let mut events = vec![
            Event::Opened(Box::new(opening(&preparation, &night))),
            Event::Began(Command::CheckBase {
                commit: base.commit.clone(),
                tree: base.tree.clone(),
            }),
            Event::BaseChecked { report: green },
            Event::Began(Command::RunAgent {
                attempt: attempt.clone(),
                base: base.commit.clone(),
                time_s: 60,
                budget: Usd::ZERO,
                tokens: None,
                model: None,
                conversation: None,
            }),
        ];
        if ended {
            events.extend([
                Event::AgentEnded {
                    attempt: attempt.clone(),
                    report: agent_report(),
                    result: Ok(candidate),
                    kept: Some(kept.clone()),
                    inspection: Inspection::default(),
                },
                Event::Began(Command::RunGate {
                    attempt: attempt.clone(),
                    commit: kept.clone(),
                    tree: tree.clone(),
                }),
                Event::GateEnded {
                    attempt: attempt.clone(),
                    report: red,
                    findings: Vec::new(),
                    setback: Some(setback),
                },
                Event::Ended { reason: None, exit: 1 },
            ]);
        }
        write(&places, &night, at(0), events);
        let past = Past { places, kept };
        past.file(&format!("attempts/{}/prompt.md", attempt.file_name()), "# Add a greeting\n");
        past.file(
            &format!("attempts/{}/transcript.log", attempt.file_name()),
            "I begin\u{1b}[31m red s3cret-of-this-machine\nI end\n",
        );
        past.file("gate/task_1@1/1-quality.log", "test greeting ... FAILED\n");
        past.file("gate/base/1-quality.log", "all is well\n");
        past
    }

    /// Writes the journal of a night that began now, in which `task_1` recovered from an overload and then
    /// asked a person; with `waits` it is not over, and every model is closed for an hour.
    pub(super) fn asked(scene: &Scene, waits: bool) -> NightPlaces {
        let preparation = scene.preparation();
        let night = NightId::new(NIGHT).unwrap();
        let places = preparation.home.places.night(&night);
        fs::create_dir_all(places.directory()).unwrap();
        let base = preparation.base.clone();
        let began = Timestamp::now();
        let mut opening = opening(&preparation, &night);
        opening.at = began;
        opening.agent.model = Some("opus".into());
        let mut events = vec![
            Event::Opened(Box::new(opening)),
            Event::Began(Command::CheckBase {
                commit: base.commit.clone(),
                tree: base.tree.clone(),
            }),
            Event::BaseChecked { report: gate(&preparation, &base.commit, &base.tree, 0) },
        ];
        let question = "Which limit: 5 or 10?".to_owned();
        let reply = Reply {
            plan: vec!["look\u{1b}[31m around".into()],
            acceptance: vec![Acceptance { item: "greets".into(), met: false }],
            decisions: vec![Decision {
                level: Level::Low,
                what: "a name".into(),
                why: "short s3cret-of-this-machine".into(),
            }],
            questions: vec![question.clone()],
        };
        let overloaded = AgentReport { ended: AgentEnd::Overloaded, ..agent_report() };
        let asking = AgentReport {
            model: Some("claude-opus-x".into()),
            reply,
            notes: vec!["no price is known".into()],
            ..agent_report()
        };
        let until = began.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
        let closing = waits.then_some(Closing {
            model: None,
            until,
            trigger: Trigger::Limit,
            strikes: 1,
            told: true,
        });
        let end = if waits {
            AgentEnd::Limited { until: None, scope: nightshift::outcome::LimitScope::Account }
        } else {
            AgentEnd::Overloaded
        };
        let recover = Setback {
            failure: Failure::Agent(end),
            then: Then::Recover { at: if waits { until } else { began }, closing },
            same_as: None,
        };
        let park = Setback {
            failure: Failure::Question { questions: vec![question] },
            then: Then::Park,
            same_as: None,
        };
        let ends = [(overloaded, recover), (asking, park)];
        for (number, (report, setback)) in (1..).zip(ends).take(if waits { 1 } else { 2 }) {
            let attempt = AttemptId { task: TaskId::new("task_1").unwrap(), number };
            events.push(Event::Began(Command::RunAgent {
                attempt: attempt.clone(),
                base: base.commit.clone(),
                time_s: 60,
                budget: Usd::ZERO,
                tokens: None,
                model: Some("opus".into()),
                conversation: Some(Conversation { id: "x".into(), opened_by: 1 }),
            }));
            events.push(Event::AgentEnded {
                attempt,
                report,
                result: Err(setback),
                kept: None,
                inspection: Inspection::default(),
            });
        }
        if !waits {
            events.push(Event::Ended { reason: None, exit: 1 });
        }
        write(&places, &night, began, events);
        places
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.places.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Writes a journal whose facts are ten seconds apart.
fn write(places: &NightPlaces, night: &NightId, began: Timestamp, events: Vec<Event>) {
    let mut journal = Journal::create(&places.journal(), night).unwrap();
    let mut entries = Vec::new();
    let ten = jiff::SignedDuration::from_secs(10);
    let mut at = began;
    for event in events {
        let entry = Entry::new(journal.next_seq(), at, "demo", event);
        journal.append(&entry).unwrap();
        entries.push(entry);
        at = at.checked_add(ten).unwrap();
    }
    Night::replay(entries).unwrap();
}

/// A commit that is kept as an attempt's, as a night would leave it, and its tree.
fn kept(scene: &Scene, night: &NightId, attempt: &AttemptId) -> (CommitId, TreeId) {
    scene.git(&["switch", "--quiet", "-c", "aside"]);
    scene.write("src/greeting.sh", "echo hello\n");
    scene.commit("Add a greeting");
    let commit = scene.git(&["rev-parse", "HEAD"]);
    let tree = scene.git(&["rev-parse", "HEAD^{tree}"]);
    scene.git(&["switch", "--quiet", "main"]);
    scene.git(&["branch", "--quiet", "-D", "aside"]);
    scene.git(&["update-ref", &night.attempt_ref(attempt), &commit]);
    (CommitId::new(commit).unwrap(), TreeId::new(tree).unwrap())
}

fn opening(preparation: &Preparation, night: &NightId) -> Opening {
    Opening {
        night: night.clone(),
        at: at(0),
        repository: preparation.home.user.root().display().to_string(),
        base: preparation.base.clone(),
        plan: preparation.plan_source.clone().unwrap(),
        limits: preparation.settings.limits.clone(),
        policy: preparation.rules.policy().clone(),
        tasks: preparation.tonight(&[]),
        refused: preparation.refused(&[]),
        gate: preparation.gate.clone(),
        agent: agent("demo"),
        author: Author { name: "Ann".into(), email: "ann@example.org".into() },
        publish: PublishSpec {
            remote: None,
            push: false,
            pull_request: false,
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
    }
}

/// An agent of this name, and nothing special about it.
pub(super) fn agent(name: &str) -> AgentSpec {
    AgentSpec {
        name: name.into(),
        command: None,
        model: None,
        context: Vec::new(),
        walls: "none".into(),
        gaps: Vec::new(),
        fallback: Vec::new(),
        fallback_at: 0,
        retry_ms: vec![2_000, 4_000, 8_000],
        converses: false,
        subscription: false,
    }
}

fn gate(preparation: &Preparation, commit: &CommitId, tree: &TreeId, exit: i32) -> GateReport {
    GateReport {
        commit: commit.clone(),
        tree: tree.clone(),
        gate: preparation.gate.id.clone(),
        steps: vec![StepReport {
            name: "quality".into(),
            command: "bash check.sh".into(),
            ended: StepEnd::Exit(exit),
            millis: 1_500,
            required: true,
            log: "gate/task_1@1/1-quality.log".into(),
            failing_tests: Vec::new(),
            tests_run: None,
            unheard: Vec::new(),
            excused: false,
        }],
        score: if exit == 0 { 100 } else { 0 },
        log_hash: "0".repeat(64),
        tier: "none".into(),
        failing_tests: if exit == 0 { Vec::new() } else { vec!["greeting".into()] },
        tests_run: None,
        reused: false,
        vacuous: None,
        former_runs: Vec::new(),
    }
}

fn agent_report() -> AgentReport {
    AgentReport {
        ended: AgentEnd::Finished,
        spent: Spend { usd: Usd::from_dollars(0.41), ..Spend::default() },
        seconds: 10,
        turns: None,
        conversation: None,
        model: None,
        last_words: Some("I am \u{1b}[31mdone\n```".into()),
        survivors: 0,
        total: None,
        window: None,
        reply: Reply::default(),
        notes: Vec::new(),
    }
}
