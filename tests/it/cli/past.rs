//! A night on disk, written through the library.

use std::fs;

use jiff::Timestamp;
use nightshift::{
    budget::{Spend, Usd},
    diff::DiffStat,
    ids::{AttemptId, CommitId, NightId, TaskId, TreeId},
    journal::Journal,
    night::{AgentSpec, Author, Command, Entry, Event, Night, Opening, PublishSpec, Setback, Then},
    outcome::{AgentEnd, AgentReport, Candidate, Failure, GateReport, StepEnd, StepReport},
    prompt::Reply,
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
                },
                Event::Began(Command::RunGate {
                    attempt: attempt.clone(),
                    commit: kept.clone(),
                    tree: tree.clone(),
                }),
                Event::GateEnded { attempt: attempt.clone(), report: red, setback: Some(setback) },
                Event::Ended { reason: None, exit: 1 },
            ]);
        }
        let mut journal = Journal::create(&places.journal(), &night).unwrap();
        let mut entries = Vec::new();
        for (second, event) in events.into_iter().enumerate() {
            let second = i64::try_from(second).unwrap();
            let entry = Entry::new(journal.next_seq(), at(second * 10), "demo", event);
            journal.append(&entry).unwrap();
            entries.push(entry);
        }
        Night::replay(entries).unwrap();
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

    fn file(&self, name: &str, text: &str) {
        let path = self.places.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
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
        agent: AgentSpec {
            name: "demo".into(),
            command: None,
            model: None,
            context: Vec::new(),
            walls: "none".into(),
            fallback: Vec::new(),
            fallback_at: 0,
            retry_ms: vec![2_000, 4_000, 8_000],
            converses: false,
            subscription: false,
        },
        author: Author { name: "Ann".into(), email: "ann@example.org".into() },
        publish: PublishSpec {
            remote: None,
            push: false,
            pull_request: false,
            draft: false,
            labels: Vec::new(),
            reviewers: Vec::new(),
        },
        notes: Vec::new(),
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
        }],
        score: if exit == 0 { 100 } else { 0 },
        log_hash: "0".repeat(64),
        tier: "none".into(),
        failing_tests: if exit == 0 { Vec::new() } else { vec!["greeting".into()] },
        tests_run: None,
        reused: false,
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
