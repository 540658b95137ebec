//! The gate, run again on the trees of a line: what no receipt has to be believed for.
//!
//! The base's gate, in the walls and workspaces of a night, on the base first and then on each tree. Never
//! reads a receipt, moves no ref, and starts no agent.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use crate::{
    agent::{CommandAgent, DEMO_AGENT},
    config::Sandbox,
    files,
    forge::Local,
    ids::{AttemptId, CommitId, NAME, NightId, RepoPath, TaskId, TreeId},
    journal::Lock,
    night::{
        AgentSpec, Base, Canary, Command, Event, GateSpec, Night, Opening, PlanSource, PublishSpec,
    },
    outcome::GateReport,
    plan::SectionWords,
    process::{Stop, Supervisor},
    report,
    runner::{
        clock,
        conversations::Conversations,
        deed::Deed,
        hands::{Brief, Hands},
        home::{Home, redactor},
        include,
        open::{author, environment},
        places::Surroundings,
        prepare::user_settings,
        refused::Refused,
        storage::Reserve,
        verify::{Ground, Judged, Standing, Verification},
        yard::{Plot, Yard},
    },
};

/// A gate that is ready to be run on trees.
pub struct Rerun {
    night: Night,
    opening: Arc<Opening>,
    hands: Hands,
    _lock: Lock,
}

/// What came of running the gate again.
#[derive(Debug)]
pub enum Outcome {
    /// It ran on the base and on all that was to be looked at.
    Done,
    /// It is red on the base itself: nothing can be said about the line.
    RedBase(Box<GateReport>),
    /// It was stopped.
    Stopped,
}

impl Verification {
    /// The commits whose trees the gate would run on.
    pub fn to_run(&self) -> usize {
        self.judged.iter().filter(|judged| judged.is_run()).count()
    }
}

impl Judged {
    fn is_run(&self) -> bool {
        self.standing != Standing::NotOurs
    }

    /// Takes in what the gate said about the tree now. `logs` is where its logs' names begin.
    fn take(&mut self, report: GateReport, logs: &Path) {
        if !report.passed() {
            let red = report.red_steps().join(", ");
            let red = report.vacuous.clone().unwrap_or_else(|| format!("red in {red}"));
            let log = report.steps.iter().find(|step| step.blocks()).or(report.steps.last());
            let log = log
                .map_or(String::new(), |step| format!(", see {}", logs.join(&step.log).display()));
            self.why.push(format!("run again now, the gate does not pass: {red}{log}"));
            self.standing = Standing::NotProven;
        } else if self.standing == Standing::NotProven && self.protected.is_empty() {
            // What was wrong with its papers is worth knowing, and its tree passes.
            self.notes.append(&mut self.why);
            self.standing = Standing::Rerun;
        } else if let Some(told) = self.report.as_ref().filter(|told| told.score != report.score) {
            self.notes.push(format!(
                "its receipt says score {}, the gate says {} now",
                told.score, report.score
            ));
        }
        self.report = Some(report);
    }
}

impl Rerun {
    /// Makes everything ready, and says no where no walls hold that may be used. The caller gives the lock.
    pub fn prepare(
        surroundings: &Surroundings,
        home: &Home,
        ground: &Ground,
        lock: Lock,
        stop: Stop,
    ) -> Result<Rerun, Refused> {
        let places = home.places.apart();
        // What was run once says nothing about now.
        files::remove_tree(places.state())?;
        places.prepare()?;
        let gate = &ground.settings.gate;
        let mut plans = ground.plans();
        let there = |path: &RepoPath| ground.listing.iter().any(|entry| entry.path == *path);
        let plan = plans.iter().position(there).unwrap_or(0);
        let plan = plans.swap_remove(plan);
        let spec = GateSpec {
            id: ground.gate_id(Some(&plan)),
            steps: gate.steps.clone(),
            env: gate.env.clone(),
            network: gate.network.clone(),
            setup: gate.setup.clone(),
            canary: Canary::Off { origin: "a gate is only run again".to_owned() },
            baseline: gate.baseline,
            flaky_reruns: gate.flaky_reruns,
        };
        let base = Base {
            commit: ground.commit.clone(),
            tree: ground.tree.clone(),
            branch: "the base".to_owned(),
            how: "to verify".to_owned(),
        };
        let settings = user_settings(surroundings, crate::diagnostic::Style::Plain)?;
        let included = include::find(&home.vault, &base.tree, home.user.work_tree())?;
        let yard = Yard::build(&Plot {
            surroundings,
            home,
            settings: &settings,
            wish: settings.sandbox.unwrap_or(Sandbox::Auto),
            demo: false,
            gate: &spec,
            base: &base,
            included: &included,
        })?;
        let night = NightId::of(&clock::local_date(), 1).expect("a date is a night's name");
        let opening = Opening {
            night: night.clone(),
            at: clock::now(),
            repository: home.user.root().display().to_string(),
            base,
            plan: PlanSource { path: plan, working_tree: false, update: false },
            limits: ground.settings.limits.clone(),
            policy: ground.rules.policy().clone(),
            tasks: Vec::new(),
            refused: Vec::new(),
            rejected: Vec::new(),
            again: Vec::new(),
            reverses: Vec::new(),
            agent: AgentSpec {
                name: "none".to_owned(),
                command: None,
                model: None,
                context: Vec::new(),
                walls: yard.tier().to_owned(),
                gaps: yard.gaps(),
                fallback: Vec::new(),
                fallback_at: 0,
                retry_ms: Vec::new(),
                converses: false,
                subscription: false,
            },
            author: author(surroundings, home),
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
            gate: spec,
        };
        let night_places = places.night(&night);
        let supervisor = Supervisor::new(surroundings.exe.clone());
        // No order of ours starts it.
        let agent = vec![surroundings.exe.display().to_string(), DEMO_AGENT.to_owned()];
        let hands = Hands {
            vault: home.vault.clone(),
            user: home.user.clone(),
            workspaces: home.workspaces(),
            local: Arc::new(Local::new(night_places.directory())),
            reserve: Mutex::new(None::<Reserve>),
            gate_place: tokio::sync::Mutex::default(),
            making_cache: tokio::sync::Mutex::default(),
            rules: OnceLock::new(),
            protected: OnceLock::new(),
            agent: Arc::new(CommandAgent::new("none", agent, supervisor.clone())),
            supervisor,
            yard,
            forge: None,
            remote: None,
            environment: environment(surroundings, &opening.gate.env),
            words: SectionWords::default(),
            redactor: redactor(surroundings, &included.secrets),
            included: Arc::new(included),
            stop,
            conversations: Conversations::default(),
            night_places,
            places,
        };
        let night = Night::open(opening.clone());
        Ok(Rerun { night, opening: Arc::new(opening), hands, _lock: lock })
    }

    /// Runs the gate on the base and on the trees of the line, and puts what it said into `found`. `tell` is
    /// called before each run with what is about to be run.
    pub async fn run(
        mut self,
        found: &mut Verification,
        tell: impl Fn(&str),
    ) -> Result<Outcome, Refused> {
        tell(&format!("the base {}", self.opening.base.commit.short()));
        let (commit, tree) = (self.opening.base.commit.clone(), self.opening.base.tree.clone());
        let order = Command::CheckBase { commit, tree };
        let Some(report) = self.gate(&order).await? else { return Ok(Outcome::Stopped) };
        let facts = [Event::Began(order), Event::BaseChecked { report: report.clone() }];
        for fact in facts {
            let fits = self.night.apply(clock::now(), fact);
            fits.map_err(|problem| Refused {
                kind: crate::runner::refused::RefusedKind::Internal,
                message: problem.to_string(),
                help: None,
            })?;
        }
        if !self.night.base_gate().may_start() {
            return Ok(Outcome::RedBase(Box::new(report)));
        }
        for judged in found.judged.iter_mut().filter(|judged| judged.is_run()) {
            let commit = &judged.commit;
            tell(&format!("{} {}", commit.id.short(), commit.subject));
            let order = on(&commit.id, &commit.tree);
            let Some(report) = self.gate(&order).await? else { return Ok(Outcome::Stopped) };
            judged.take(report, self.hands.night_places.directory());
        }
        Ok(Outcome::Done)
    }

    async fn gate(&self, order: &Command) -> Result<Option<GateReport>, Refused> {
        let brief = Brief::of(&self.night, &self.opening, order, &report::Logs::new());
        let done = self.hands.carry_out(order, &brief, clock::now()).await;
        match done {
            Ok(Deed::Gate(report)) => Ok(report),
            Ok(_) => Ok(None),
            Err(problem) => Err(Refused::environment(
                format!("could not run the gate again: {problem:#}"),
                format!("{NAME} doctor shows what this machine can do"),
            )),
        }
    }
}

/// The order to run the gate on a commit, under a name of its own for the logs.
fn on(commit: &CommitId, tree: &TreeId) -> Command {
    let task = TaskId::new(commit.as_str()).expect("forty hexadecimal digits are a task's name");
    let attempt = AttemptId { task, number: 1 };
    Command::RunGate { attempt, commit: commit.clone(), tree: tree.clone() }
}
