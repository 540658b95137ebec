//! Cuts a night at every possible moment, once and twice, and checks that it still ends right.
//!
//! The world is pretended here; the fold, the orders and the verdicts are the real ones. `resume.rs` cuts
//! the real program.

mod clocks;
mod held;
mod publishing;
mod recovery;
mod reverted;

use std::collections::BTreeMap;

use jiff::Timestamp;
use nightshift::{
    budget::{Limits, Spend, Usd},
    diff::DiffStat,
    ids::{AttemptId, CommitId, GateId, NightId, TaskId, TreeId},
    night::{
        AgentSpec, Author, Base, Baseline, Canary, Charge, Command, Entry, Event, GateSpec, Night,
        Opening, PlanSource, PublishSpec, Stage, Step,
    },
    outcome::{
        AgentEnd, AgentReport, CanaryTry, Candidate, Failure, FormerTests, GateProof, GateReport,
        LimitScope, NewTests, Review, StepEnd, StepReport, TestProof,
    },
    plan::{SectionWords, parse},
    policy::{Inspection, Missing, Policy, RuleSet, TestDelta, Tests, Verdict, admit_plan},
    prompt::{Decision, Level, Reply},
};

const TASKS: [&str; 4] = ["a", "b", "c", "d"];

/// What goes wrong with an attempt, beside crashes.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Agent,
    Gate,
    /// A usage limit that ends in a thousand seconds.
    Limited,
    Overloaded,
    /// The machine's own program died.
    Killed,
}

/// A diff with tests in it.
fn touched() -> Inspection {
    let delta = TestDelta {
        path: "tests/d.rs".into(),
        tests: (0, 1),
        assertions: (0, 1),
        skipped: (0, 0),
        separable: true,
    };
    Inspection { tests: vec![delta], ..Inspection::default() }
}

/// A pretend repository and forge, kept across crashes as the real ones are.
#[derive(Clone)]
struct World {
    branch: CommitId,
    /// Commit → (parent, tree, the edit's tree).
    commits: BTreeMap<CommitId, (CommitId, TreeId)>,
    pull_requests: u32,
    reviews: u32,
    made: u64,
    faults: BTreeMap<(String, u32), Fault>,
    moves: usize,
    gated: Vec<TreeId>,
    /// Seconds that were waited, beside one for each entry.
    waited: usize,
    /// Tasks whose diff a person must see.
    asks: Vec<&'static str>,
    /// Tasks that fit no other tip than their own.
    stuck: Vec<&'static str>,
}

fn hash(number: u64) -> String {
    format!("{number:040x}")
}

fn gate_id() -> GateId {
    GateId::new("9".repeat(64)).unwrap()
}

fn report(
    commit: &CommitId,
    tree: &TreeId,
    green: bool,
    attempt: Option<&AttemptId>,
) -> GateReport {
    // Each red run fails another test, so that nothing ends early for want of progress.
    let failing = attempt.map(|attempt| vec![format!("test_{}", attempt.number)]);
    GateReport {
        commit: commit.clone(),
        tree: tree.clone(),
        gate: gate_id(),
        steps: vec![StepReport {
            name: "quality".into(),
            command: "check".into(),
            ended: StepEnd::Exit(i32::from(!green)),
            millis: 5,
            required: true,
            log: "gate/log".into(),
            failing_tests: Vec::new(),
            tests_run: None,
            unheard: Vec::new(),
            excused: false,
        }],
        score: if green { 100 } else { 0 },
        log_hash: "0".repeat(64),
        tier: "none".into(),
        failing_tests: if green { Vec::new() } else { failing.unwrap_or_default() },
        tests_run: None,
        reused: false,
        vacuous: None,
        former_runs: Vec::new(),
    }
}

fn agent_report(ended: AgentEnd) -> AgentReport {
    AgentReport {
        ended,
        spent: Spend { usd: Usd::from_micros(10_000), ..Spend::default() },
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

impl World {
    fn commit(&mut self, parent: &CommitId) -> Candidate {
        self.made += 1;
        let commit = CommitId::new(hash(0xc0_0000 + self.made)).unwrap();
        let tree = TreeId::new(hash(0x7e_0000 + self.made)).unwrap();
        self.commits.insert(commit.clone(), (parent.clone(), tree.clone()));
        let (base, edit) = (parent.clone(), tree.clone());
        Candidate { base, commit, tree, edit, stat: DiffStat::default(), ticked: true }
    }

    /// A commit and what it stands on, down to the base.
    fn chain(&self, from: &CommitId) -> Vec<CommitId> {
        let next = |commit: &CommitId| self.commits.get(commit).map(|(parent, _)| parent.clone());
        std::iter::successors(Some(from.clone()), next).collect()
    }

    fn carry_out(&mut self, night: &Night, command: &Command) -> Event {
        let now = night.last_fact();
        match command.clone() {
            Command::CheckBase { commit, tree } => {
                Event::BaseChecked { report: report(&commit, &tree, true, None) }
            }
            Command::ProveGate { tree, .. } => {
                let (what, red_steps) = ("a syntax error".to_owned(), vec!["quality".to_owned()]);
                let tried = CanaryTry { what, tree, red_steps, logs: "gate/canary-1".into() };
                let gate = night.opening().gate.id.clone();
                Event::GateProven { proof: GateProof { gate, tries: vec![tried], reused: false } }
            }
            Command::ProveTests { attempt, .. } => {
                let new_tests = NewTests::Unproven { logs: "gate/new".into() };
                let proof = TestProof { new_tests, former_tests: FormerTests::Unchanged };
                let (findings, _) = nightshift::night::of_tests(night, &attempt, &proof);
                Event::TestsProven { attempt, proof, findings, setback: None }
            }
            Command::RunAgent { attempt, base, .. } => {
                let fault = self.faults.get(&(attempt.task.to_string(), attempt.number));
                let end = match fault {
                    Some(Fault::Agent) => {
                        Some(AgentEnd::Failed { code: Some(1), message: String::new() })
                    }
                    Some(Fault::Limited) => Some(AgentEnd::Limited {
                        until: Some(now.as_second() + 1_000),
                        scope: LimitScope::Account,
                    }),
                    Some(Fault::Overloaded) => Some(AgentEnd::Overloaded),
                    Some(Fault::Killed) => Some(AgentEnd::Killed { signal: 9 }),
                    Some(Fault::Gate) | None => None,
                };
                if let Some(end) = end {
                    let setback = night.judge(now, &attempt, Failure::Agent(end.clone()));
                    let (report, result) = (agent_report(end), Err(setback));
                    return Event::AgentEnded {
                        attempt,
                        report,
                        result,
                        kept: None,
                        inspection: Inspection::default(),
                    };
                }
                let candidate = self.commit(&base);
                let mut report = agent_report(AgentEnd::Finished);
                if attempt.task.as_str() == "d" {
                    let (what, why) = ("a way".to_owned(), "it is short".to_owned());
                    report.reply.decisions = vec![Decision { level: Level::Medium, what, why }];
                }
                let mut inspection =
                    if attempt.task.as_str() == "d" { touched() } else { Inspection::default() };
                if self.asks.contains(&attempt.task.as_str()) {
                    inspection.findings.push(held::finding(Verdict::Ask));
                }
                Event::AgentEnded { attempt, report, result: Ok(candidate), kept: None, inspection }
            }
            Command::RunGate { attempt, commit, tree } => {
                let fault = self.faults.get(&(attempt.task.to_string(), attempt.number));
                let green = fault != Some(&Fault::Gate);
                let report = report(&commit, &tree, green, Some(&attempt));
                if green {
                    self.gated.push(tree);
                }
                let setback = (!green)
                    .then(|| night.judge(now, &attempt, Failure::Gate(Box::new(report.clone()))));
                Event::GateEnded { attempt, report, findings: Vec::new(), setback }
            }
            Command::Review { attempt, .. } => {
                assert_eq!(attempt.task.as_str(), "d");
                self.reviews += 1;
                let review = Review {
                    agree: true,
                    why: String::new(),
                    ended: AgentEnd::Finished,
                    spent: Spend { usd: Usd::from_micros(1_000), ..Spend::default() },
                    model: None,
                };
                Event::Reviewed { attempt, review, setback: None }
            }
            Command::Restack { attempt, .. } if self.stuck.contains(&attempt.task.as_str()) => {
                let conflict = Failure::Conflict { paths: vec!["src/a.rs".into()] };
                let result = Err(night.judge(now, &attempt, conflict));
                Event::Restacked { attempt, result }
            }
            Command::Restack { attempt, onto, .. } => {
                Event::Restacked { attempt, result: Ok(self.commit(&onto)) }
            }
            Command::Land { attempt, from, to, tree } => {
                assert_eq!(self.commits[&to], (from.clone(), tree));
                if self.branch == from {
                    self.branch = to.clone();
                    self.moves += 1;
                }
                assert_eq!(self.branch, to, "someone else moved the branch");
                Event::Landed { attempt, commit: to }
            }
            Command::Reverse { attempt, onto } => {
                Event::Reversed { attempt, result: Ok(self.commit(&onto)) }
            }
            Command::Rewind { from, to } => {
                assert!(self.chain(&from).contains(&self.branch), "{} of ours", self.branch);
                assert!(self.chain(&from).contains(&to));
                self.branch = to.clone();
                Event::Rewound { to }
            }
            Command::Publish { tip } => {
                assert_eq!(self.branch, tip);
                self.pull_requests = 1; // found by its branch, or made
                Event::Published { url: "pr/1".into(), number: Some(1), notes: Vec::new() }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The order was not yet written.
    BeforeOrder,
    /// Written, not carried out.
    BeforeDeed,
    /// Carried out, result not written.
    BeforeResult,
}

const CUTS: [Cut; 3] = [Cut::BeforeOrder, Cut::BeforeDeed, Cut::BeforeResult];

struct Crashed;

fn at(seconds: usize) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap()
}

fn opening(parallel: u32, attempts: u32) -> Opening {
    let mut source = String::from("## Ready\n\n");
    for id in TASKS {
        source.push_str(&format!("- **[{id}]** Improve part {id}\n"));
    }
    let (plan, problems) = parse(&source, &SectionWords::default());
    assert_eq!(plan.tasks.len(), TASKS.len(), "{problems:?}");
    let policy = Policy { missing: Missing::Assume, tests: Tests::Optional, ..Policy::default() };
    let limits = Limits { parallel, attempts, ..Limits::default() };
    let rules = RuleSet::new(&policy).unwrap();
    let admissions = admit_plan(&rules, &limits, &plan.tasks, &[].into());
    let tasks: Vec<_> = admissions.iter().filter_map(|a| a.admitted().cloned()).collect();
    assert_eq!(tasks.len(), TASKS.len());
    Opening {
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
            steps: vec![Step {
                name: "quality".into(),
                run: "check".into(),
                timeout_s: 60,
                required: true,
                weight: 1,
                junit: None,
            }],
            env: Vec::new(),
            network: Vec::new(),
            setup: Vec::new(),
            canary: Canary::Off { origin: "a test".into() },
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
            fallback: Vec::new(),
            fallback_at: 0,
            retry_ms: vec![2_000, 4_000, 8_000],
            converses: true,
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
        rejected: Vec::new(),
        again: Vec::new(),
        reverses: Vec::new(),
    }
}

fn entry(journal: &[Entry], world: &World, event: Event) -> Entry {
    let now = at(journal.len() + world.waited);
    Entry::new(journal.len() as u64 + 1, now, "pretend", event)
}

/// The journal of a night that has just been opened, and its world: b's program dies once, then it
/// fails its gate once and passes, c never comes to an end, d meets a usage limit and an overload and decides
/// something that needs a second opinion.
fn night(parallel: u32) -> (Vec<Entry>, World) {
    of_opening(opening(parallel, 2))
}

/// The same with a gate that has to be seen to fail first.
fn night_with_a_canary(parallel: u32) -> (Vec<Entry>, World) {
    let mut opening = opening(parallel, 2);
    opening.gate.canary = Canary::Auto;
    of_opening(opening)
}

fn of_opening(opening: Opening) -> (Vec<Entry>, World) {
    let branch = opening.base.commit.clone();
    let mut faults = BTreeMap::from([
        (("b".to_owned(), 1), Fault::Killed),
        (("b".to_owned(), 2), Fault::Gate),
        (("d".to_owned(), 1), Fault::Limited),
        (("d".to_owned(), 2), Fault::Overloaded),
    ]);
    for number in 1..=9 {
        faults.insert(("c".to_owned(), number), Fault::Agent);
    }
    let world = World {
        branch,
        commits: BTreeMap::new(),
        pull_requests: 0,
        reviews: 0,
        made: 0,
        faults,
        moves: 0,
        gated: Vec::new(),
        waited: 0,
        asks: Vec::new(),
        stuck: Vec::new(),
    };
    (vec![entry(&[], &world, Event::Opened(Box::new(opening)))], world)
}

/// Runs with several commands in flight, their results in an order picked by `seed`, and cut where asked.
/// In a whole night every entry goes through its JSON, as in the real journal.
fn run(
    journal: &mut Vec<Entry>,
    world: &mut World,
    seed: u64,
    cut: Option<(usize, Cut)>,
) -> Result<(Night, usize), Crashed> {
    let mut night = Night::replay(journal.iter().cloned()).unwrap();
    let mut random = seed | 1;
    let mut steps = 0;
    let mut waiting: Vec<Command> = Vec::new();
    let whole = journal.len() == 1 && cut.is_none();
    let write = |journal: &mut Vec<Entry>, world: &World, night: &mut Night, event: Event| {
        let entry = entry(journal, world, event);
        if whole {
            let line = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
        }
        night.apply(entry.at, entry.event.clone()).unwrap();
        journal.push(entry);
    };
    loop {
        for command in night.due(at(journal.len() + world.waited)) {
            if cut == Some((steps, Cut::BeforeOrder)) {
                return Err(Crashed);
            }
            write(journal, world, &mut night, Event::Began(command.clone()));
            waiting.push(command);
        }
        if waiting.is_empty() {
            let now = at(journal.len() + world.waited);
            let Some(end) = night.wake_at(now) else { return Ok((night, steps)) };
            world.waited += usize::try_from(end.duration_since(now).as_secs()).unwrap() + 1;
            continue;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let picked = usize::try_from(random % waiting.len() as u64).unwrap();
        let command = waiting.remove(picked);
        if cut == Some((steps, Cut::BeforeDeed)) {
            return Err(Crashed);
        }
        let ended = world.carry_out(&night, &command);
        if cut == Some((steps, Cut::BeforeResult)) {
            return Err(Crashed);
        }
        write(journal, world, &mut night, ended);
        steps += 1;
    }
}

fn restart(journal: &mut Vec<Entry>, world: &World) {
    let night = Night::replay(journal.iter().cloned()).unwrap();
    let charges = night
        .in_flight()
        .iter()
        .filter_map(|command| match command {
            Command::RunAgent { attempt, .. } => {
                let spent = Spend::reserved(Usd::from_micros(20_000));
                Some(Charge { attempt: attempt.clone(), spent })
            }
            _ => None,
        })
        .collect();
    journal.push(entry(journal, world, Event::Restarted { charges }));
}

fn check(night: &Night, world: &World) {
    assert!(night.is_over(at(9_999)), "the night is over");
    assert!(world.waited < 3_000, "waited {} s", world.waited);
    assert_eq!(&world.branch, night.tip());
    // The branch is a chain of landed commits, each gated at exactly its own tree.
    let landed = night.landed();
    let mut commit = world.branch.clone();
    let mut length = 0;
    while commit != night.opening().base.commit {
        let (parent, tree) = world.commits[&commit].clone();
        assert!(landed.iter().any(|(_, candidate)| candidate.commit == commit));
        assert!(world.gated.contains(&tree), "a commit on the branch passed at its own tree");
        commit = parent;
        length += 1;
    }
    assert_eq!(length, landed.len());
    assert_eq!(world.moves, landed.len(), "each commit lands once");
    assert_eq!(world.pull_requests, u32::from(!landed.is_empty()), "one pull request");
    let stage = |id: &str| &night.task(&TaskId::new(id).unwrap()).unwrap().stage;
    for id in ["a", "d"] {
        assert!(matches!(stage(id), Stage::Landed(_)), "{id} {:?}", stage(id));
    }
    assert!(world.reviews >= 1, "no commit lands without the opinion that it needs");
    assert!(!matches!(stage("c"), Stage::Landed(_)));
    let limit = night.opening().limits.cost;
    assert!(night.spent().usd <= limit, "{} of {limit}", night.spent().usd);
}

#[test]
fn every_single_and_double_crash_ends_right() {
    let mut nights = 0;
    for parallel in 1..=3 {
        for seed in 0..4_u64 {
            let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
            let (mut journal, mut world) = night_with_a_canary(parallel);
            let Ok((whole, steps)) = run(&mut journal, &mut world, seed, None) else { panic!() };
            check(&whole, &world);
            assert!(world.waited > 900, "the limit was waited for: {} s", world.waited);
            for first in 0..=steps {
                for cut in CUTS {
                    let (mut journal, mut world) = night_with_a_canary(parallel);
                    if run(&mut journal, &mut world, seed, Some((first, cut))).is_err() {
                        restart(&mut journal, &world);
                    }
                    // `None` as the second cut is the single crash.
                    let seconds = std::iter::once(None)
                        .chain((0..=steps + 6).step_by(3).flat_map(|s| CUTS.map(|c| Some((s, c)))));
                    for second in seconds {
                        let (mut journal, mut world) = (journal.clone(), world.clone());
                        if run(&mut journal, &mut world, seed + 7, second).is_err() {
                            restart(&mut journal, &world);
                        }
                        let Ok((night, _)) = run(&mut journal, &mut world, seed + 9, None) else {
                            panic!()
                        };
                        check(&night, &world);
                        nights += 1;
                    }
                }
            }
        }
    }
    assert!(nights > 10_000, "{nights} nights");
}

#[test]
fn a_commit_cannot_land_without_its_gate() {
    let (journal, mut world) = night(1);
    let mut night = Night::replay(journal).unwrap();
    for _ in 0..2 {
        let order = night.due(at(1)).remove(0);
        night.apply(at(1), Event::Began(order.clone())).unwrap();
        let ended = world.carry_out(&night, &order);
        night.apply(at(1), ended).unwrap();
    }
    let (id, task) = night.tasks().next().unwrap();
    let Stage::Ungated(candidate) = task.stage.clone() else { panic!("{:?}", task.stage) };
    let land = Command::Land {
        attempt: AttemptId { task: id.clone(), number: 1 },
        from: candidate.base.clone(),
        to: candidate.commit.clone(),
        tree: candidate.tree.clone(),
    };
    let refused = night.apply(at(2), Event::Began(land)).unwrap_err();
    assert_eq!(refused.why, "landed without a passing gate");
}

#[test]
fn a_pass_at_another_tree_is_no_pass() {
    let (journal, mut world) = night(1);
    let mut night = Night::replay(journal).unwrap();
    for _ in 0..2 {
        let order = night.due(at(1)).remove(0);
        night.apply(at(1), Event::Began(order.clone())).unwrap();
        let ended = world.carry_out(&night, &order);
        night.apply(at(1), ended).unwrap();
    }
    let order = night.due(at(1)).remove(0);
    let Command::RunGate { attempt, commit, .. } = order.clone() else { panic!("{order:?}") };
    night.apply(at(1), Event::Began(order)).unwrap();
    let other = TreeId::new(hash(77)).unwrap();
    let forged = Event::GateEnded {
        report: report(&commit, &other, true, Some(&attempt)),
        attempt,
        findings: Vec::new(),
        setback: None,
    };
    assert_eq!(night.apply(at(1), forged).unwrap_err().why, "another tree was gated");
}

#[test]
fn two_failed_tasks_in_a_row_end_the_night() {
    let (mut journal, mut world) = night(1);
    for task in ["a", "b"] {
        for number in 1..=2 {
            world.faults.insert((task.to_owned(), number), Fault::Agent);
        }
    }
    let Ok((night, _)) = run(&mut journal, &mut world, 3, None) else { panic!() };
    let tried: Vec<usize> = night.tasks().map(|(_, task)| task.attempts.len()).collect();
    assert_eq!(tried, [2, 2, 0, 0]);
    let reason = night.stop_reason(at(100)).unwrap();
    assert_eq!(reason, nightshift::outcome::StopReason::FailuresInARow { count: 2 });
    assert!(night.is_over(at(100)));
}

#[test]
fn nothing_starts_after_the_nights_time_or_beyond_its_money() {
    let (journal, _) = night(2);
    let mut night = Night::replay(journal).unwrap();
    let check = night.due(at(0)).remove(0);
    night.apply(at(0), Event::Began(check.clone())).unwrap();
    let (_, mut world) = self::night(2);
    let green = world.carry_out(&night, &check);
    night.apply(at(0), green).unwrap();
    let late = usize::try_from(night.opening().limits.time_s).unwrap();
    assert!(night.due(at(late)).is_empty());
    let orders = night.due(at(1));
    let reserved: u64 = orders
        .iter()
        .map(|order| match order {
            Command::RunAgent { budget, .. } => budget.micros(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(orders.len(), 2);
    assert!(Usd::from_micros(reserved) <= night.opening().limits.cost);
}
