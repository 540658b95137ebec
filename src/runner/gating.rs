//! Runs the gate on one tree: its workspace, its walls, its way out, the cache beneath it, its receipt, and once more
//! what may be red by chance.
//!
//! The base's own run may be set up first, and what it leaves in ignored paths is kept for all that follow. A
//! run of anybody else's tree is thrown away.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{
    egress::{self, Egress},
    files,
    gate::{self, GateRun, Part, verdict},
    git::history,
    ids::{AttemptId, CommitId, TreeId},
    night::{Baseline, GateSpec, Step},
    outcome::{Candidate, FormerRun, GateReport, StepReport},
    proxy,
    runner::{
        deed::Error,
        hands::{Brief, Hands, blocking},
        places::NightPlaces,
        walls::Private,
        yard::LastCache,
    },
    sandbox::Network,
    workspace::{Slot, Workspace},
};

/// Runs of a gate on one tree: the first, and as many more as `gate.flaky_reruns` can ask for.
const MOST_RUNS: u32 = 6;
/// How the names of gates' homes begin.
const HOME: &str = "run-";

/// A run of the gate on one tree.
pub(super) struct Trial<'t> {
    /// The commit that the tree is of, or that it was made from.
    pub(super) commit: &'t CommitId,
    /// Exactly what is laid out.
    pub(super) tree: &'t TreeId,
    /// The directory of its logs, relative to the night's.
    pub(super) logs: String,
    /// Whose tree it is.
    pub(super) of: Whose,
}

/// Whose tree a gate is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The base's own: set up first, and what it leaves in ignored paths is kept.
    Base,
    /// A candidate's, or one mixed of a candidate's and the base's.
    Candidate,
    /// Broken on purpose: run whatever receipts say, so that its logs are of tonight.
    Canary,
}

/// A gate's run that passed, as it is kept.
#[derive(Serialize, Deserialize)]
struct Receipt {
    #[serde(flatten)]
    report: GateReport,
    /// True when it lay over what an earlier run of a base's own gate had left.
    #[serde(default)]
    warm: bool,
}

impl Receipt {
    /// A receipt for exactly this tree, gate and walls.
    fn read(path: &Path, tree: &TreeId, spec: &GateSpec, tier: &str) -> Option<Receipt> {
        let receipt: Receipt = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let report = &receipt.report;
        let same = report.tree == *tree && report.gate == spec.id && report.tier == tier;
        same.then_some(receipt)
    }

    fn write(&self, path: &Path) -> Result<(), files::Error> {
        if let Some(parent) = path.parent() {
            files::create_private_dir(parent)?;
        }
        // One that is lost costs a run of the gate.
        files::write_soon(path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }
}

impl Hands {
    /// Runs the gate on `tree`; without an attempt it is the base's own.
    pub(super) async fn gate(
        &self,
        brief: &Brief,
        attempt: Option<&AttemptId>,
        commit: &CommitId,
        tree: &TreeId,
    ) -> Result<Option<GateReport>, Error> {
        let of = if attempt.is_some() { Whose::Candidate } else { Whose::Base };
        let logs = NightPlaces::gate_name(attempt);
        let trial = Trial { commit, tree, logs, of };
        if let Some(report) = self.known(brief, &trial) {
            return Ok(Some(report));
        }
        self.foresee_history(commit);
        self.tried(brief, &trial).await
    }

    /// Runs the gate on a tree, unless it is known to pass there. A red run that may be a matter of chance is
    /// repeated, each time from a fresh workspace. `None` when the night was stopped at once.
    pub(super) async fn judged(
        &self,
        brief: &Brief,
        trial: &Trial<'_>,
    ) -> Result<Option<GateReport>, Error> {
        match self.known(brief, trial) {
            Some(report) => Ok(Some(report)),
            None => self.tried(brief, trial).await,
        }
    }

    /// The run of an earlier time at the same tree, where it passed and would pass beside tonight's base.
    fn known(&self, brief: &Brief, trial: &Trial<'_>) -> Option<GateReport> {
        // The base's run leaves the cache for all others: where that is gone, it is run again.
        let usable = match trial.of {
            Whose::Base => self.workspaces.has_cache(&self.yard.cache),
            Whose::Candidate => true,
            Whose::Canary => false,
        };
        let receipt = usable.then(|| self.receipt_of(brief, trial.tree)).flatten()?;
        let mut report = receipt.report;
        // What was excused beside another base may be news beside this one.
        let excuses = excuses(brief, trial.of);
        for step in &mut report.steps {
            step.excused = excuses.is_some_and(|base| verdict::excused(step, base));
        }
        report.score = gate::score(&brief.opening.gate.steps, &report.steps);
        report.vacuous = self.vacuous(brief, trial.of, &report);
        report.commit = trial.commit.clone();
        report.reused = true;
        Some(report).filter(GateReport::passed)
    }

    fn receipt_of(&self, brief: &Brief, tree: &TreeId) -> Option<Receipt> {
        let spec = &brief.opening.gate;
        Receipt::read(&self.places.receipt(&spec.id, tree), tree, spec, self.yard.tier())
    }

    fn vacuous(&self, brief: &Brief, of: Whose, report: &GateReport) -> Option<String> {
        let base = brief.base_gate.as_ref().filter(|_| of != Whose::Base)?;
        let own = self.receipt_of(brief, &brief.opening.base.tree);
        verdict::vacuous(report, base, own.is_some_and(|own| own.warm))
    }

    async fn tried(&self, brief: &Brief, trial: &Trial<'_>) -> Result<Option<GateReport>, Error> {
        let spec = &brief.opening.gate;
        let mut former: Vec<FormerRun> = Vec::new();
        // A gate that was cut off, or that judged this attempt before a restack, may have left some.
        for number in 2..=MOST_RUNS {
            let name = format!("{}/run-{number}", trial.logs);
            files::remove_tree(&self.night_places.directory().join(name))?;
        }
        loop {
            let logs = match former.len() {
                0 => trial.logs.clone(),
                earlier => format!("{}/run-{}", trial.logs, earlier + 1),
            };
            let _place = self.gate_place.lock().await;
            let (workspace, warm) = self.gate_ground(trial).await?;
            let ran = self.gate_in(brief, trial, &logs, &workspace).await;
            let mut report = match ran {
                Ok(Some(report)) => report,
                other => {
                    workspace.release()?;
                    return other;
                }
            };
            report.vacuous = self.vacuous(brief, trial.of, &report);
            let compare = spec.baseline == Baseline::Compare;
            let starts = report.passed() || (compare && report.names_failures());
            let (kept, workspace) = if trial.of == Whose::Base && starts {
                self.keep_cache(spec, workspace).await
            } else {
                (Ok(()), workspace)
            };
            workspace.release()?;
            kept?;
            let tries = usize::try_from(spec.flaky_reruns).unwrap_or(0);
            if !report.passed() && former.len() < tries && may_be_chance(brief, trial, &report) {
                let GateReport { steps, failing_tests, tests_run, .. } = report;
                former.push(FormerRun { steps, failing_tests, tests_run });
                continue;
            }
            report.former_runs = former;
            if report.passed() && trial.of != Whose::Canary {
                let receipt = Receipt { report, warm };
                receipt.write(&self.places.receipt(&spec.id, trial.tree))?;
                report = receipt.report;
            }
            return Ok(Some(report));
        }
    }

    /// True when agents and gates need more than the tree: what the set-up made, or what came along.
    fn needs_cache(&self, spec: &GateSpec) -> bool {
        !spec.setup.is_empty() || !self.included.files.is_empty()
    }

    /// Makes sure of the base's cache where nobody may go on without it: it may have been removed since.
    /// False when the night was stopped at once.
    pub(super) async fn ensure_cache(&self, brief: &Brief) -> Result<bool, Error> {
        let there = || {
            !self.needs_cache(&brief.opening.gate) || self.workspaces.has_cache(&self.yard.cache)
        };
        let _one_at_a_time = self.making_cache.lock().await;
        if there() {
            return Ok(true);
        }
        let base = &brief.opening.base;
        match self.gate(brief, None, &base.commit, &base.tree).await? {
            None => Ok(false),
            Some(_) if there() => Ok(true),
            Some(_) => Err(Error::CacheGone),
        }
    }

    /// Makes what a candidate's gate will stand on, beside what comes first.
    pub(super) fn foresee(&self, candidate: &Candidate) {
        let (store, tree, kind) = (self.workspaces.clone(), candidate.tree.clone(), self.yard.kind);
        let cache = self.yard.cache_in(&self.workspaces).cloned();
        // What it could not do is done again, and said, when it is needed.
        drop(spawn_blocking(move || store.foresee(kind, &tree, cache.as_ref()).is_ok()));
    }

    /// The next agent begins from this commit, if the gate is green. Nobody needs it before, and a gate's programs
    /// leave it a processor.
    fn foresee_history(&self, commit: &CommitId) {
        let (vault, commit, shared) = (self.vault.clone(), commit.clone(), self.places.history());
        drop(spawn_blocking(move || history::prepare(&vault, &commit, &shared).is_ok()));
    }

    /// Exactly the tree, over the cache of the base's own gate; and whether there was one.
    async fn gate_ground(&self, trial: &Trial<'_>) -> Result<(Workspace, bool), Error> {
        let base = trial.of == Whose::Base;
        let cache = if base {
            self.yard.cache_for_base(&self.workspaces)
        } else {
            self.yard.cache_in(&self.workspaces)
        };
        let (store, tree, cache) = (self.workspaces.clone(), trial.tree.clone(), cache.cloned());
        let kind = self.yard.kind;
        let included = self.included.clone();
        blocking(move || {
            let slot = Slot::gate();
            let workspace = store.lay_out(kind, &slot, &tree, cache.as_ref(), u64::MAX)?;
            if base {
                included.write_into(workspace.own())?;
            }
            Ok((workspace, cache.is_some()))
        })
        .await
    }

    /// Removes the homes of gates that could not be removed when their gates had ended.
    pub(super) fn leave_no_gates_home(&self) {
        let ours = format!("-{}", std::process::id());
        let found = std::fs::read_dir(self.places.work()).into_iter().flatten().flatten();
        let names = found.filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| name.starts_with(HOME) && name.ends_with(&ours)) {
            if let Err(problem) = files::remove_tree(&self.places.work().join(name)) {
                tracing::warn!(%problem, "could not remove a gate's home");
            }
        }
    }

    async fn gate_in(
        &self,
        brief: &Brief,
        trial: &Trial<'_>,
        logs: &str,
        workspace: &Workspace,
    ) -> Result<Option<GateReport>, Error> {
        let spec = &brief.opening.gate;
        let base = trial.of == Whose::Base;
        let place = trial.logs.trim_start_matches("gate/").replace('/', "-");
        // A name of this process: what an earlier one could not remove is not in the way.
        let place = self.places.work().join(format!("{HOME}{place}-{}", std::process::id()));
        files::remove_tree(&place)?;
        let egress = (!spec.network.is_empty()).then(|| Egress::new(spec.network.clone()));
        let run = GateRun {
            supervisor: &self.supervisor,
            spec,
            commit: trial.commit,
            tree: trial.tree,
            workspace,
            logs: self.night_places.directory().join(logs),
            logs_name: logs.to_owned(),
            tier: self.yard.tier(),
            known: excuses(brief, trial.of),
            to_the_end: base && spec.baseline == Baseline::Compare,
        };
        // On the machine's own loopback, where there is no other.
        let door = match &egress {
            Some(egress) if self.yard.tier() != "t2" => {
                Some(egress.listen().await.map_err(Error::Egress)?)
            }
            Some(_) | None => None,
        };
        let network = match (&egress, &door) {
            (None, _) => Network::Nobody,
            (Some(_), None) => Network::Ours { port: proxy::PORT_INSIDE },
            (Some(_), Some(door)) => Network::Ours { port: door.port() },
        };
        let variables = match (&egress, &door) {
            (_, Some(door)) => door.variables(),
            (Some(_), None) => egress::variables(proxy::PORT_INSIDE),
            (None, None) => Vec::new(),
        };
        let mut parts = Vec::new();
        if base && !spec.setup.is_empty() {
            let no_variables = Vec::new();
            parts.push(self.part(
                &spec.setup,
                workspace,
                &place.join("setup"),
                Network::Host,
                no_variables,
            )?);
        }
        let mut steps =
            self.part(&spec.steps, workspace, &place.join("gate"), network, variables)?;
        steps.egress = egress.as_ref();
        parts.push(steps);
        let report = run.run(&parts, &self.stop).await;
        drop(parts);
        if let Err(problem) = files::remove_tree(&place) {
            tracing::warn!(%problem, "could not remove a gate's home");
        }
        Ok(report?)
    }

    /// Steps with a HOME and a directory for temporary files of their own.
    fn part<'s>(
        &self,
        steps: &'s [Step],
        workspace: &Workspace,
        place: &Path,
        network: Network,
        variables: Vec<(String, String)>,
    ) -> Result<Part<'s>, Error> {
        let (home, tmp) = (place.join("home"), place.join("tmp"));
        files::create_private_dir(&home)?;
        files::create_private_dir(&tmp)?;
        let mut environment = self.environment.clone();
        environment.set("HOME", home.display().to_string());
        environment.set("TMPDIR", self.yard.tmp_inside(&tmp).display().to_string());
        for (name, value) in variables {
            environment.set(name, value);
        }
        let set_up = network == Network::Host;
        let stores = place.join("stores");
        let private = Private { tmp, stores, write: vec![home], set_up };
        let walls = self.yard.around(workspace, &private, network)?;
        Ok(Part { steps, environment, walls, egress: None })
    }

    /// Keeps what the base's own gate left. That it could not be kept makes the night slower; where agents and
    /// gates need what is in it, it is an error.
    async fn keep_cache(
        &self,
        spec: &GateSpec,
        workspace: Workspace,
    ) -> (Result<(), Error>, Workspace) {
        let (store, id) = (self.workspaces.clone(), self.yard.cache.clone());
        let (kept, workspace) =
            blocking(move || (store.keep_cache(&workspace, &id), workspace)).await;
        let kept = match kept {
            Ok(kept) => {
                tracing::info!(
                    files = kept.files,
                    bytes = kept.bytes,
                    copied = kept.copied_bytes,
                    "cache kept"
                );
                let (id, gate) = (self.yard.cache.clone(), spec.id.clone());
                let last = LastCache { id, gate, files: kept.files, bytes: kept.bytes };
                last.write(&self.places).map_err(Error::from)
            }
            Err(problem) if self.needs_cache(spec) => Err(Error::CacheNotKept(problem)),
            Err(problem) => {
                tracing::warn!(%problem, "could not keep the base's cache");
                Ok(())
            }
        };
        (kept, workspace)
    }
}

/// The base's run, where what failed in it already does not count.
fn excuses(brief: &Brief, of: Whose) -> Option<&GateReport> {
    let compare = brief.opening.gate.baseline == Baseline::Compare && of != Whose::Base;
    brief.base_gate.as_ref().filter(|_| compare)
}

fn may_be_chance(brief: &Brief, trial: &Trial<'_>, report: &GateReport) -> bool {
    let base = brief.base_gate.as_ref().filter(|_| trial.of != Whose::Base);
    // The set-up has the network and may take half an hour: what it could not do is not tried again.
    let set_up = |step: &StepReport| brief.opening.gate.setup.iter().any(|s| s.name == step.name);
    verdict::may_be_chance(report, base)
        && !report.steps.iter().any(|step| step.blocks() && set_up(step))
}
