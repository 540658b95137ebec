//! Runs the gate on one tree: its workspace, its walls, its way out, the cache beneath it, its receipt.
//!
//! The base's own run may be set up first, and what it leaves in ignored paths is kept for all that follow. A
//! run of anybody else's tree is thrown away.

use std::path::Path;

use tokio::task::spawn_blocking;

use crate::{
    egress::{self, Egress},
    files,
    gate::{GateRun, Part},
    git::history,
    ids::{AttemptId, CommitId, TreeId},
    night::{GateSpec, Step},
    outcome::{Candidate, GateReport},
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

impl Hands {
    /// Runs the gate on `tree`; without an attempt it is the base's own.
    pub(super) async fn gate(
        &self,
        brief: &Brief,
        attempt: Option<&AttemptId>,
        commit: &CommitId,
        tree: &TreeId,
    ) -> Result<Option<GateReport>, Error> {
        let spec = &brief.opening.gate;
        let receipt = self.places.receipt(&spec.id, tree);
        let known = read_receipt(&receipt, tree, spec, self.yard.tier());
        // The base's run leaves the cache for all others: where that is gone, it is run again.
        let cached = attempt.is_some() || self.workspaces.has_cache(&self.yard.cache);
        if let Some(mut report) = known.filter(|_| cached) {
            report.commit = commit.clone();
            report.reused = true;
            return Ok(Some(report));
        }
        self.foresee_history(commit);
        let workspace = self.gate_ground(attempt, tree).await?;
        let report = self.gate_in(brief, attempt, commit, tree, &workspace).await;
        let report = match report {
            Ok(report) => report,
            Err(problem) => {
                workspace.release()?;
                return Err(problem);
            }
        };
        let Some(passed) = report.as_ref().filter(|report| report.passed()) else {
            workspace.release()?;
            return Ok(report);
        };
        let workspace = if attempt.is_none() {
            let (kept, workspace) = self.keep_cache(spec, workspace).await;
            if kept.is_err() {
                workspace.release()?;
                kept?;
                return Ok(report);
            }
            workspace
        } else {
            workspace
        };
        if let Some(parent) = receipt.parent() {
            files::create_private_dir(parent)?;
        }
        let text = serde_json::to_vec_pretty(passed).unwrap_or_default();
        // One that is lost costs a run of the gate.
        files::write_soon(&receipt, &text)?;
        workspace.release()?;
        Ok(report)
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

    /// Exactly the tree, over the cache of the base's own gate.
    async fn gate_ground(
        &self,
        attempt: Option<&AttemptId>,
        tree: &TreeId,
    ) -> Result<Workspace, Error> {
        let cache = match attempt {
            Some(_) => self.yard.cache_in(&self.workspaces),
            None => self.yard.cache_for_base(&self.workspaces),
        };
        let (store, tree, cache) = (self.workspaces.clone(), tree.clone(), cache.cloned());
        let kind = self.yard.kind;
        let included = self.included.clone();
        let base = attempt.is_none();
        blocking(move || {
            let slot = Slot::gate();
            let workspace = store.lay_out(kind, &slot, &tree, cache.as_ref(), u64::MAX)?;
            if base {
                included.write_into(workspace.own())?;
            }
            Ok(workspace)
        })
        .await
    }

    async fn gate_in(
        &self,
        brief: &Brief,
        attempt: Option<&AttemptId>,
        commit: &CommitId,
        tree: &TreeId,
        workspace: &Workspace,
    ) -> Result<Option<GateReport>, Error> {
        let spec = &brief.opening.gate;
        let name = NightPlaces::gate_name(attempt);
        let place = attempt.map_or("base".to_owned(), AttemptId::file_name);
        // A name of this process: what an earlier one could not remove is not in the way.
        let place = self.places.work().join(format!("run-{place}-{}", std::process::id()));
        files::remove_tree(&place)?;
        let egress = (!spec.network.is_empty()).then(|| Egress::new(spec.network.clone()));
        let run = GateRun {
            supervisor: &self.supervisor,
            spec,
            commit,
            tree,
            directory: workspace.directory(),
            logs: self.night_places.directory().join(&name),
            logs_name: name,
            tier: self.yard.tier(),
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
        if attempt.is_none() && !spec.setup.is_empty() {
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

/// A passing receipt for exactly this tree, gate and walls.
fn read_receipt(path: &Path, tree: &TreeId, spec: &GateSpec, tier: &str) -> Option<GateReport> {
    let report: GateReport = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let same = report.tree == *tree && report.gate == spec.id && report.tier == tier;
    (same && report.passed()).then_some(report)
}
