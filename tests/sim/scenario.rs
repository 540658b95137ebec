//! Nights to begin with: a plan, limits and rules for each seed.

use std::sync::LazyLock;

use jiff::Timestamp;
use nightshift::{
    budget::{Limits, Usd, WhenLimited},
    ids::{CommitId, GateId, NightId, TreeId},
    night::{
        AgentSpec, Author, Base, Baseline, Canary, GateSpec, Opening, PlanSource, PublishSpec, Step,
    },
    plan::{SectionWords, parse},
    policy::{Missing, Policy, RuleSet, Tests, admit_plan},
};

use crate::{
    fault::{Fault, schedule},
    random::Random,
};

/// When every night begins, in seconds since 1970.
pub(crate) const BEGIN: i64 = 1_800_000_000;
/// Plans that are read and admitted once: reading one costs more than a whole pretended night.
const PLANS: u64 = 40;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// All that a seed decides before the night begins.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) opening: Opening,
    /// True when every call to the model is reserved before it is sent, so that nothing can be spent beyond it.
    pub(crate) proxy: bool,
    pub(crate) faults: Vec<Fault>,
}

impl Scenario {
    pub(crate) fn of(seed: u64) -> Scenario {
        let mut random = Random::of(seed);
        let plan = usize::try_from(random.below(PLANS)).unwrap_or(0);
        let mut opening = OPENINGS[plan].clone();
        let limits = &mut opening.limits;
        limits.parallel = 1 + u32::try_from(random.below(4)).unwrap_or(0);
        limits.time_s = random.of_these(&[3_600, 4 * 3_600]);
        limits.failures_in_a_row = random.of_these(&[0, 2, 2, 3]);
        limits.cost = Usd::from_micros(random.of_these(&[0, 90_000, 300_000, 10_000_000]));
        limits.when_rate_limited =
            if random.one_in(4) { WhenLimited::Stop } else { WhenLimited::Wait };
        if random.one_in(2) {
            opening.gate.canary = Canary::Auto;
        }
        opening.agent.converses = random.one_in(2);
        if random.one_in(3) {
            opening.agent.fallback = vec!["other".into()];
        }
        let proxy = !random.one_in(4);
        Scenario { seed, opening, proxy, faults: schedule(&mut random) }
    }
}

static OPENINGS: LazyLock<Vec<Opening>> =
    LazyLock::new(|| (0..PLANS).map(|number| opening(&mut Random::of(number))).collect());

fn commit(number: u64) -> CommitId {
    CommitId::new(format!("{number:040x}")).unwrap()
}

fn opening(random: &mut Random) -> Opening {
    let tasks = 1 + usize::try_from(random.below(6)).unwrap();
    let mut source =
        String::from("## Backlog\n\n- **[z]** Nobody called this ready\n\n## Ready\n\n");
    for (at, id) in NAMES.iter().take(tasks).enumerate() {
        source.push_str(&format!("- **[{id}]** Improve part {id}\n"));
        source.push_str("  - Tests defined: yes (tests/a.rs)\n");
        if at > 0 && random.one_in(3) {
            let need = NAMES[usize::try_from(random.below(at as u64)).unwrap()];
            source.push_str(&format!("  - Depends on: {need}\n"));
        }
    }
    let (plan, problems) = parse(&source, &SectionWords::default());
    assert_eq!(plan.tasks.len(), tasks + 1, "{problems:?}");
    let tests = random.of_these(&[Tests::Optional, Tests::Required, Tests::Proven]);
    let policy = Policy { missing: Missing::Assume, tests, ..Policy::default() };
    let limits = Limits {
        tasks: 2 + u32::try_from(random.below(5)).unwrap(),
        attempts: 1 + u32::try_from(random.below(3)).unwrap(),
        task_cost: Usd::from_micros(random.of_these(&[0, 60_000, 3_000_000])),
        ..Limits::default()
    };
    let rules = RuleSet::new(&policy).unwrap();
    let admissions = admit_plan(&rules, &limits, &plan.tasks, &[].into());
    let admitted: Vec<_> = admissions.iter().filter_map(|a| a.admitted().cloned()).collect();
    assert_eq!(admitted.len(), tasks);
    let step = Step {
        name: "quality".into(),
        run: "check".into(),
        timeout_s: 60,
        required: true,
        weight: 1,
        junit: None,
    };
    Opening {
        night: NightId::new("2026-11-21").unwrap(),
        at: Timestamp::from_second(BEGIN).unwrap(),
        repository: "/repo".into(),
        base: Base {
            commit: commit(1),
            tree: TreeId::new(format!("{:040x}", 2)).unwrap(),
            branch: "main".into(),
            how: "a test".into(),
        },
        plan: PlanSource { path: "PLAN.md".into(), working_tree: true, update: true },
        limits,
        policy,
        tasks: admitted,
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
            canary: Canary::Off { origin: "a test".into() },
            baseline: Baseline::Green,
            flaky_reruns: 1,
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
            retry_ms: vec![2_000, 4_000],
            converses: false,
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
