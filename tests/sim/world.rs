//! The world around a pretended night: a repository, a remote with its forge, a model's service with its bill, and
//! gates. It outlives every process, and it knows from its own side whether the promises were kept.

use std::collections::{BTreeMap, BTreeSet};

use nightshift::{
    diff::DiffStat,
    ids::{AttemptId, CommitId, TreeId},
    night::{Command, Opening},
    outcome::Candidate,
};

use crate::{
    fault::{Fault, Kind, Place},
    random::drawn,
    scenario::Scenario,
};

/// The least that a call of an agent costs, in millionths of a dollar: with less reserved none is made.
pub(crate) const CALL: u64 = 2_000;
/// What a second opinion costs.
pub(crate) const OPINION: u64 = 1_000;

/// A commit that was made, and for which task.
pub(crate) struct Made {
    pub(crate) parent: CommitId,
    pub(crate) tree: TreeId,
    pub(crate) task: String,
}

/// A deed under way.
pub(crate) struct Running {
    pub(crate) command: Command,
    /// When it ends, in milliseconds of the clock that never jumps.
    pub(crate) ends: i64,
    /// The faults that strike it.
    pub(crate) struck: Vec<Kind>,
    /// A number that is its own.
    pub(crate) chance: u64,
    /// Of a publication: whether there was a pull request when it looked.
    pub(crate) found_request: bool,
}

impl Running {
    pub(crate) fn is_struck_by(&self, kind: Kind) -> bool {
        self.struck.contains(&kind)
    }
}

/// What is there whatever becomes of our process.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) proxy: bool,
    pub(crate) commits: BTreeMap<CommitId, Made>,
    /// Where our branch stands.
    pub(crate) branch: CommitId,
    /// True while somebody else has moved it.
    pub(crate) foreign: bool,
    /// What landed, in order: task and commit.
    pub(crate) landed: Vec<(String, CommitId)>,
    pub(crate) gated: BTreeSet<TreeId>,
    /// Where the branch stands on the remote.
    pub(crate) pushed: Option<CommitId>,
    pub(crate) requests: u32,
    /// Tries for which the forge stays down.
    pub(crate) down: u32,
    pub(crate) signed_out: bool,
    pub(crate) plan_edited: bool,
    pub(crate) base_moved: bool,
    /// What was really spent, in millionths of a dollar, of all and of each task.
    pub(crate) bill: u64,
    pub(crate) bills: BTreeMap<String, u64>,
    /// What of it the agents spent beyond what was reserved.
    pub(crate) over: u64,
    /// What each run of an agent really cost.
    pub(crate) cost_of: BTreeMap<AttemptId, u64>,
    pub(crate) starts: BTreeMap<AttemptId, u32>,
    /// The trees that agents made, by task.
    pub(crate) edits: BTreeMap<String, TreeId>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) fired: BTreeSet<Kind>,
    /// What happened, for a person who reads one seed.
    pub(crate) told: Option<Vec<String>>,
    base: CommitId,
    made: u64,
    deeds: u64,
    passed: BTreeMap<u8, u32>,
    broken: Option<String>,
}

impl World {
    pub(crate) fn of(scenario: &Scenario, tell: bool) -> World {
        let base = scenario.opening.base.commit.clone();
        World {
            seed: scenario.seed,
            proxy: scenario.proxy,
            commits: BTreeMap::new(),
            branch: base.clone(),
            foreign: false,
            landed: Vec::new(),
            gated: BTreeSet::new(),
            pushed: None,
            requests: 0,
            down: 0,
            signed_out: false,
            plan_edited: false,
            base_moved: false,
            bill: 0,
            bills: BTreeMap::new(),
            over: 0,
            cost_of: BTreeMap::new(),
            starts: BTreeMap::new(),
            edits: BTreeMap::new(),
            faults: scenario.faults.clone(),
            fired: BTreeSet::new(),
            told: tell.then(Vec::new),
            base,
            made: 0,
            deeds: 0,
            passed: BTreeMap::new(),
            broken: None,
        }
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push(what());
        }
    }

    /// Comes by a place once more, and says what strikes there now.
    pub(crate) fn strike(&mut self, place: Place) -> Vec<Kind> {
        let count = self.passed.entry(place as u8).or_default();
        let at = *count;
        *count += 1;
        let strikes = |fault: &&Fault| fault.kind.place().0 == place && fault.at == at;
        let struck: Vec<Fault> = self.faults.iter().filter(strikes).copied().collect();
        for fault in &struck {
            self.fired.insert(fault.kind);
            self.tell(|| format!("  !! {fault}"));
        }
        struck.into_iter().map(|fault| fault.kind).collect()
    }

    /// A promise that was broken, once there is one.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn promise(&mut self, kept: bool, what: impl FnOnce() -> String) {
        if !kept && self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    /// Takes an order up at `now`, in milliseconds of the clock that never jumps.
    pub(crate) fn begin(&mut self, command: Command, now: i64) -> Running {
        self.deeds += 1;
        let chance = drawn(self.seed, "deed", u32::try_from(self.deeds).unwrap_or(0));
        let mut struck = self.strike(Place::Deed);
        let seconds = match &command {
            Command::RunAgent { attempt, time_s, .. } => {
                let refused = self.signed_out;
                self.promise(!refused, || format!("{attempt} begins with a refused credential"));
                struck.extend(self.strike(Place::Agent));
                *self.starts.entry(attempt.clone()).or_default() += 1;
                let own = 60 + chance % 840;
                if struck.contains(&Kind::SilentAgent) {
                    *time_s
                } else if struck.contains(&Kind::SlowAgent) {
                    (own * 4).min(*time_s)
                } else {
                    own.min(*time_s)
                }
            }
            Command::RunGate { commit, tree, .. } => {
                struck.extend(self.strike(Place::Gate));
                let right = self.commits.get(commit).is_some_and(|made| made.tree == *tree);
                self.promise(right, || format!("the gate of {commit} ran on {tree}"));
                20 + chance % 280
            }
            Command::ProveTests { .. } => {
                struck.extend(self.strike(Place::Tests));
                60
            }
            Command::Review { .. } => {
                struck.extend(self.strike(Place::Review));
                30
            }
            Command::Restack { .. } => {
                struck.extend(self.strike(Place::Restack));
                1
            }
            Command::Publish { .. } => {
                struck.extend(self.strike(Place::Publish));
                5
            }
            Command::CheckBase { .. } | Command::ProveGate { .. } => {
                struck.extend(self.strike(Place::Opening));
                60
            }
            Command::Land { .. } | Command::Rewind { .. } | Command::Reverse { .. } => 1,
        };
        let ends = now + 1_000 * i64::try_from(seconds).unwrap_or(0) + 1;
        Running { command, ends, struck, chance, found_request: self.requests > 0 }
    }

    /// A new commit of a task.
    pub(crate) fn commit(&mut self, task: &str, base: &CommitId, same: bool) -> Candidate {
        self.made += 1;
        let number = |kind: u64| format!("{:040x}", kind + self.made);
        let commit = CommitId::new(number(0xc0_0000)).expect("a commit's name");
        let mut edit = TreeId::new(number(0x7e_0000)).expect("a tree's name");
        if let Some(before) = self.edits.get(task).filter(|_| same) {
            edit = before.clone();
        }
        self.edits.insert(task.to_owned(), edit.clone());
        // The tick is another tree: only what an agent did again is the same again.
        let tree = TreeId::new(number(0x1e_0000)).expect("a tree's name");
        let made = Made { parent: base.clone(), tree: tree.clone(), task: task.to_owned() };
        self.commits.insert(commit.clone(), made);
        let (base, ticked) = (base.clone(), !self.plan_edited);
        Candidate { base, commit, tree, edit, stat: DiffStat::default(), ticked }
    }

    /// Moves the branch back. What stood above is not landed any more.
    pub(crate) fn rewind(&mut self, from: &CommitId, to: &CommitId) -> Result<(), String> {
        if self.branch == *to {
            return Ok(());
        }
        if self.foreign || self.branch != *from {
            return Err(self.branch.to_string());
        }
        let stays = self.landed.iter().position(|(_, commit)| commit == to);
        self.landed.truncate(stays.map_or(0, |last| last + 1));
        self.branch = to.clone();
        Ok(())
    }

    /// Compare and swap. `Err` says where the branch stands.
    pub(crate) fn land(&mut self, from: &CommitId, to: &CommitId) -> Result<(), String> {
        if self.foreign {
            return Err("f".repeat(40));
        }
        if self.branch == *to {
            return Ok(());
        }
        if self.branch != *from {
            return Err(self.branch.to_string());
        }
        let Some(Made { parent, tree, task }) = self.commits.get(to) else {
            self.promise(false, || format!("{to}, which nobody made, landed"));
            return Ok(());
        };
        let (parent, tree, task) = (parent.clone(), tree.clone(), task.clone());
        self.promise(parent == self.branch, || format!("{to} landed, and its parent is {parent}"));
        let gated = self.gated.contains(&tree);
        self.promise(gated, || format!("{to} of {task} landed without a green gate of its tree"));
        let again = self.landed.iter().any(|(landed, _)| *landed == task);
        self.promise(!again, || format!("{task} landed a second time"));
        self.branch = to.clone();
        self.landed.push((task, to.clone()));
        Ok(())
    }

    /// Moves the branch on the remote, with the lease that our own push has.
    pub(crate) fn push(&mut self, tip: &CommitId) {
        let before = self.pushed.clone().unwrap_or_else(|| self.base.clone());
        let follows = self.contains(tip, &before);
        self.promise(follows, || format!("pushed {tip} over {before}"));
        let ours = self.contains(&self.branch.clone(), tip) && *tip != self.base;
        self.promise(ours, || format!("pushed {tip}, which is not on the branch"));
        self.pushed = Some(tip.clone());
    }

    /// Opens the pull request, unless `running` had found one.
    pub(crate) fn request(&mut self, running: &Running) {
        if !running.found_request {
            self.requests += 1;
        }
        self.promise(self.requests <= 1, || "there are two pull requests".to_owned());
    }

    fn contains(&self, tip: &CommitId, commit: &CommitId) -> bool {
        let mut at = tip;
        while at != commit {
            let Some(made) = self.commits.get(at) else { return false };
            at = &made.parent;
        }
        true
    }

    /// Writes on the bill what a run of an agent, or a second opinion, really cost.
    pub(crate) fn pay(&mut self, attempt: &AttemptId, micros: u64) {
        self.bill += micros;
        *self.bills.entry(attempt.task.to_string()).or_default() += micros;
    }

    /// The process is gone in the middle of this deed.
    pub(crate) fn cut(&mut self, running: &Running) {
        let chance = running.chance;
        match &running.command {
            Command::RunAgent { attempt, budget, .. } => {
                let most = self.cost(running, budget.micros()).0;
                let spent = most * (chance % 5) / 4;
                self.cost_of.insert(attempt.clone(), spent);
                self.pay(attempt, spent);
            }
            Command::Review { attempt, budget, .. } if chance.is_multiple_of(2) => {
                self.pay(attempt, if budget.micros() < OPINION { 0 } else { OPINION });
            }
            Command::Land { from, to, .. } if chance.is_multiple_of(2) => {
                // Moved or not: nobody was told.
                let _ = self.land(from, to);
            }
            Command::Rewind { from, to } if chance.is_multiple_of(2) => {
                let _ = self.rewind(from, to);
            }
            Command::Publish { tip } if !chance.is_multiple_of(3) => {
                let tip = tip.clone();
                self.push(&tip);
                if chance % 3 == 1 {
                    self.request(running);
                }
            }
            Command::CheckBase { .. }
            | Command::ProveGate { .. }
            | Command::RunGate { .. }
            | Command::ProveTests { .. }
            | Command::Review { .. }
            | Command::Restack { .. }
            | Command::Land { .. }
            | Command::Rewind { .. }
            | Command::Reverse { .. }
            | Command::Publish { .. } => {}
        }
    }

    /// What a run of an agent costs with this reservation, in millionths of a dollar, and whether that ended it.
    pub(crate) fn cost(&self, running: &Running, reserved: u64) -> (u64, bool) {
        let wanted = 3_000 + running.chance % 25_000;
        if reserved == 0 {
            return (wanted, false);
        }
        if reserved < CALL {
            return (0, true);
        }
        if running.is_struck_by(Kind::Overspent) {
            // No reservation holds an agent that asks its service past us.
            let over = if self.proxy { 0 } else { 20_000 };
            return (reserved.min(wanted) + over, true);
        }
        (wanted.min(reserved), wanted > reserved)
    }

    /// The most that may have been spent, in millionths of a dollar; `None` = no limit.
    pub(crate) fn most(&self, opening: &Opening) -> Option<u64> {
        let limit = opening.limits.cost.micros();
        (limit > 0).then_some(limit + self.over)
    }
}
