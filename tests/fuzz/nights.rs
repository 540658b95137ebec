//! Nights of a pretended world: whatever is due is answered as the picks say, by the real rules.

use std::sync::LazyLock;

use jiff::Timestamp;
use nightshift::{
    budget::{Limits, Spend, Usd},
    diff::DiffStat,
    ids::{AttemptId, CommitId, GateId, NightId, TreeId},
    night::{
        AgentSpec, Author, Base, Baseline, Canary, Charge, Command, Entry, Event, GateSpec, Night,
        Opening, PlanSource, PublishSpec, Stage, Step, of_tests,
    },
    outcome::{
        AgentEnd, AgentReport, CanaryTry, Candidate, Failure, FormerTests, GateProof, GateReport,
        LimitScope, NewTests, Review, StepEnd, StepReport, StopReason, TestProof,
    },
    plan::{SectionWords, parse},
    policy::{
        AdmittedTask, Inspection, Missing, Origin, Policy, Refusal, RuleSet, Severity, TestDelta,
        Tests, Verdict, admit_plan,
    },
    prompt::{Decision, Level, Reply},
};

pub(crate) const TASKS: [&str; 3] = ["a", "b", "c"];

/// Entries of one night, at most: some never end.
const MOST: usize = 50;

/// What is chosen, one after the other; when they are used up always the first.
pub(crate) struct Picks {
    picks: Vec<u8>,
    at: usize,
}

impl Picks {
    pub(crate) fn of(picks: Vec<u8>) -> Picks {
        Picks { picks, at: 0 }
    }

    pub(crate) fn next(&mut self) -> u8 {
        self.at += 1;
        self.picks.get(self.at - 1).copied().unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, many: u8) -> bool {
        self.next() % many == many - 1
    }

    pub(crate) fn of_these<'t, T>(&mut self, these: &'t [T]) -> &'t T {
        &these[usize::from(self.next()) % these.len()]
    }
}

fn commit(number: usize) -> CommitId {
    CommitId::new(format!("{number:040x}")).unwrap()
}

fn tree(number: usize) -> TreeId {
    TreeId::new(format!("{number:040x}")).unwrap()
}

fn at(entries: &[Entry]) -> Timestamp {
    let seconds = i64::try_from(entries.len()).unwrap();
    Timestamp::from_second(1_800_000_000 + 90 * seconds).unwrap()
}

/// The tasks of every night, admitted by rules that want their tests proven, and by rules that do not.
static ADMITTED: LazyLock<[(Policy, Vec<AdmittedTask>); 2]> = LazyLock::new(|| {
    let plan = TASKS
        .map(|id| format!("- **[{id}]** Improve {id}\n  - Tests defined: yes (tests/a.rs)\n"))
        .concat();
    let plan = format!("## Ready\n{plan}  - Depends on: a\n");
    let (plan, _) = parse(&plan, &SectionWords::default());
    [Tests::Optional, Tests::Proven].map(|tests| {
        let policy = Policy { missing: Missing::Assume, tests, ..Policy::default() };
        let rules = RuleSet::new(&policy).unwrap();
        let admissions = admit_plan(&rules, &Limits::default(), &plan.tasks, &[].into());
        let tasks: Vec<_> = admissions.iter().filter_map(|one| one.admitted().cloned()).collect();
        assert_eq!(tasks.len(), TASKS.len());
        (policy, tasks)
    })
});

fn opening(picks: &mut Picks) -> Opening {
    let (policy, tasks) = picks.of_these(&*ADMITTED).clone();
    let limits = Limits { parallel: 1 + u32::from(picks.next() % 3), ..Limits::default() };
    let step = Step {
        name: "quality".into(),
        run: "check".into(),
        timeout_s: 60,
        required: true,
        weight: 1,
        junit: None,
    };
    let canary = if picks.one_in(2) { Canary::Auto } else { Canary::Off { origin: "x".into() } };
    Opening {
        night: NightId::new("2026-11-21").unwrap(),
        at: at(&[]),
        repository: "/repo".into(),
        base: Base { commit: commit(1), tree: tree(2), branch: "main".into(), how: "x".into() },
        plan: PlanSource { path: "PLAN.md".into(), working_tree: true, update: true },
        limits,
        policy,
        tasks,
        refused: Vec::new(),
        rejected: Vec::new(),
        again: Vec::new(),
        reverses: Vec::new(),
        gate: GateSpec {
            id: GateId::new("9".repeat(64)).unwrap(),
            steps: vec![step],
            env: Vec::new(),
            network: Vec::new(),
            setup: Vec::new(),
            canary,
            baseline: Baseline::Green,
            flaky_reruns: 0,
        },
        agent: AgentSpec {
            name: "pretend".into(),
            command: None,
            model: None,
            context: Vec::new(),
            walls: "none".into(),
            gaps: Vec::new(),
            fallback: vec!["other".into()],
            fallback_at: 80,
            retry_ms: vec![2_000],
            converses: picks.one_in(2),
            subscription: false,
        },
        author: Author { name: "T".into(), email: "t@localhost".into() },
        publish: PublishSpec {
            remote: None,
            push: true,
            pull_request: true,
            draft: false,
            labels: Vec::new(),
            reviewers: Vec::new(),
            no_statuses: false,
            web: None,
        },
        notes: Vec::new(),
    }
}

fn spent(micros: u64) -> Spend {
    Spend { usd: Usd::from_micros(micros), ..Spend::default() }
}

fn gate_report(commit: &CommitId, tree: &TreeId, red: bool) -> GateReport {
    let step = StepReport {
        name: "quality".into(),
        command: "check".into(),
        ended: StepEnd::Exit(i32::from(red)),
        millis: 5,
        required: true,
        log: "gate/log".into(),
        failing_tests: Vec::new(),
        tests_run: Some(3),
        unheard: Vec::new(),
        excused: false,
    };
    GateReport {
        commit: commit.clone(),
        tree: tree.clone(),
        gate: GateId::new("9".repeat(64)).unwrap(),
        steps: vec![step],
        score: if red { 0 } else { 100 },
        log_hash: "0".repeat(64),
        tier: "none".into(),
        failing_tests: if red { vec!["t".into()] } else { Vec::new() },
        tests_run: Some(3),
        reused: false,
        vacuous: None,
        former_runs: Vec::new(),
    }
}

fn agent_report(ended: AgentEnd) -> AgentReport {
    AgentReport {
        ended,
        spent: spent(10_000),
        seconds: 1,
        turns: None,
        conversation: None,
        model: None,
        last_words: None,
        survivors: 0,
        total: None,
        window: None,
        reply: Reply::default(),
        notes: Vec::new(),
    }
}

fn candidate(number: usize, base: &CommitId) -> Candidate {
    let (commit, tree) = (commit(number), tree(number));
    let edit = tree.clone();
    Candidate { base: base.clone(), commit, tree, edit, stat: DiffStat::default(), ticked: true }
}

/// What a run of an agent comes to.
fn edited(
    night: &Night,
    attempt: AttemptId,
    base: &CommitId,
    number: usize,
    picks: &mut Picks,
) -> Event {
    let until = Some(night.last_fact().as_second() + 1_000);
    let ends = [
        AgentEnd::Finished,
        AgentEnd::Finished,
        AgentEnd::Finished,
        AgentEnd::Failed { code: Some(1), message: "x".into() },
        AgentEnd::Limited { until, scope: LimitScope::Account },
        AgentEnd::Overloaded,
        AgentEnd::TimedOut,
    ];
    let end = picks.of_these(&ends).clone();
    let mut report = agent_report(end.clone());
    let mut inspection = Inspection::default();
    if end != AgentEnd::Finished {
        let result = Err(night.judge(night.last_fact(), &attempt, Failure::Agent(end)));
        return Event::AgentEnded { attempt, report, result, kept: None, inspection };
    }
    if picks.one_in(4) {
        let decision = Decision { level: Level::Medium, what: "a way".into(), why: "short".into() };
        report.reply.decisions.push(decision);
    }
    if picks.one_in(4) {
        inspection.findings.push(Refusal {
            rule: "inspection.risk".into(),
            verdict: Verdict::Ask,
            severity: Severity::High,
            message: "it is risky".into(),
            value: "90".into(),
            limit: "50".into(),
            origin: Origin::Default,
            help: None,
        });
    }
    if picks.one_in(3) {
        inspection.tests.push(TestDelta {
            path: "tests/a.rs".into(),
            tests: (0, 1),
            assertions: (0, 1),
            skipped: (0, 0),
            separable: true,
        });
    }
    let result = Ok(candidate(number, base));
    Event::AgentEnded { attempt, report, result, kept: None, inspection }
}

/// What comes of an order.
fn carried_out(night: &Night, command: Command, number: usize, picks: &mut Picks) -> Event {
    let now = night.last_fact();
    match command {
        Command::CheckBase { commit, tree } => {
            Event::BaseChecked { report: gate_report(&commit, &tree, picks.one_in(12)) }
        }
        Command::ProveGate { tree, .. } => {
            let red_steps = if picks.one_in(12) { Vec::new() } else { vec!["quality".into()] };
            let tried = CanaryTry { what: "x".into(), tree, red_steps, logs: "gate/canary".into() };
            let gate = night.opening().gate.id.clone();
            Event::GateProven { proof: GateProof { gate, tries: vec![tried], reused: false } }
        }
        Command::RunAgent { attempt, base, .. } => edited(night, attempt, &base, number, picks),
        Command::RunGate { attempt, commit, tree } => {
            let red = picks.one_in(4);
            let report = gate_report(&commit, &tree, red);
            let failure = || Failure::Gate(Box::new(report.clone()));
            let setback = red.then(|| night.judge(now, &attempt, failure()));
            Event::GateEnded { attempt, report, findings: Vec::new(), setback }
        }
        Command::ProveTests { attempt, .. } => {
            let logs = "gate/new".into();
            let new_tests = NewTests::Proven { red_steps: vec![], failing_tests: vec![], logs };
            let proof = TestProof { new_tests, former_tests: FormerTests::Unchanged };
            let (findings, _) = of_tests(night, &attempt, &proof);
            Event::TestsProven { attempt, proof, findings, setback: None }
        }
        Command::Review { attempt, .. } => {
            let ended = AgentEnd::Finished;
            let review =
                Review { agree: true, why: "so".into(), ended, spent: spent(1_000), model: None };
            Event::Reviewed { attempt, review, setback: None }
        }
        Command::Restack { attempt, onto, .. } => {
            Event::Restacked { attempt, result: Ok(candidate(number, &onto)) }
        }
        Command::Land { attempt, to, .. } => Event::Landed { attempt, commit: to },
        Command::Reverse { attempt, onto } => {
            Event::Reversed { attempt, result: Ok(candidate(number, &onto)) }
        }
        Command::Rewind { to, .. } => Event::Rewound { to },
        Command::Publish { .. } if picks.one_in(3) => Event::NotPublished {
            message: "m".into(),
            help: "h".into(),
            passing: false,
            again: None,
        },
        Command::Publish { .. } => {
            Event::Published { url: "pr/1".into(), number: Some(1), notes: Vec::new() }
        }
    }
}

/// Something that nobody ordered: a crash, a person's word.
fn by_itself(night: &Night, waiting: &mut Vec<Command>, picks: &mut Picks) -> Option<Event> {
    let held = night.tasks().find_map(|(id, task)| {
        let number = task.last()?.number;
        matches!(task.stage, Stage::Held(_)).then(|| AttemptId { task: id.clone(), number })
    });
    if let Some(attempt) = held.filter(|_| picks.one_in(3)) {
        let (approved, by) = (picks.one_in(2), "ann".into());
        return Some(Event::Decided { attempt, approved, reason: None, by });
    }
    if picks.one_in(15) {
        let charges = waiting.drain(..).filter_map(|command| match command {
            Command::RunAgent { attempt, .. } => Some(Charge { attempt, spent: spent(5_000) }),
            _ => None,
        });
        return Some(Event::Restarted { charges: charges.collect() });
    }
    picks.one_in(30).then(|| Event::StopAsked { reason: StopReason::Asked { by: "stop".into() } })
}

/// The journal of a night.
pub(crate) fn night(picks: &mut Picks) -> Vec<Entry> {
    let opening = opening(picks);
    let mut night = Night::open(opening.clone());
    let entry = |entries: &[Entry], event| {
        Entry::new(entries.len() as u64 + 1, at(entries), "pretend", event)
    };
    let mut entries = vec![entry(&[], Event::Opened(Box::new(opening)))];
    let mut waiting: Vec<Command> = Vec::new();
    while entries.len() < MOST {
        let order = night.due(at(&entries)).into_iter().next();
        let event = if let Some(event) = by_itself(&night, &mut waiting, picks) {
            event
        } else if let Some(command) = order {
            waiting.push(command.clone());
            Event::Began(command)
        } else if waiting.is_empty() {
            let (reason, exit) = (night.stop_reason(at(&entries)), 0);
            entries.push(entry(&entries, Event::Ended { reason, exit }));
            break;
        } else {
            let command = waiting.remove(usize::from(picks.next()) % waiting.len());
            carried_out(&night, command, 100 + entries.len(), picks)
        };
        let entry = entry(&entries, event);
        night.apply(entry.at, entry.event.clone()).unwrap();
        entries.push(entry);
    }
    entries
}
