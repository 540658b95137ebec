//! A person takes a landed result from the branch again: what the fold makes of it.
//!
//! The branch goes back to before the result, and what had landed after it lands anew, one after another in its old
//! order, each gated at its new tree. Nothing is lost: every commit that was on the branch stays behind a ref.

use jiff::Timestamp;

use crate::{
    ids::{AttemptId, CommitId, TaskId},
    night::{AttemptRecord, Command, Night, Publication, Setback, Stage, Then},
    outcome::{Candidate, Failure},
};

impl Night {
    /// The candidate of a task that is on the branch, or was and is to land again.
    pub fn on_branch(&self, id: &TaskId) -> Option<&Candidate> {
        match &self.tasks.get(id)?.stage {
            Stage::Landed(candidate) => Some(candidate),
            Stage::Ungated(candidate) | Stage::Gated(candidate) | Stage::Landing(candidate)
                if self.rebuilds(id) =>
            {
                Some(candidate)
            }
            Stage::Waiting
            | Stage::Editing
            | Stage::Ungated(_)
            | Stage::Gated(_)
            | Stage::Held(_)
            | Stage::Landing(_)
            | Stage::Failed(_)
            | Stage::Parked(_) => None,
        }
    }

    /// True when the task was on the branch and is to land again.
    pub fn rebuilds(&self, id: &TaskId) -> bool {
        self.again.contains(id)
    }

    /// True from a revert until the branch is as it is to be without the reverted results.
    pub fn is_rebuilding(&self) -> bool {
        self.rewind.is_some() || !self.again.is_empty()
    }

    /// Those tasks, in the order of the branch.
    pub fn to_land_again(&self) -> &[TaskId] {
        &self.again
    }

    /// Where the branch stood before it went back, oldest first: copies of it elsewhere may still stand there.
    pub fn former(&self) -> &[CommitId] {
        &self.former
    }

    /// A person's word against a result on the branch.
    pub(super) fn reverted(
        &mut self,
        attempt: &AttemptId,
        reason: Option<String>,
        by: String,
    ) -> Result<(), &'static str> {
        if !self.only_lands() {
            return Err("nothing is reverted while the night goes on");
        }
        // The branch may or may not have moved.
        if self.tasks.values().any(|task| matches!(task.stage, Stage::Landing(_))) {
            return Err("something is landing");
        }
        let id = &attempt.task;
        let candidate = self.on_branch(id).cloned().ok_or("it is not on the branch")?;
        let task = self.tasks.get_mut(id).ok_or("no such task")?;
        let record = task.attempts.last_mut().ok_or("it was never tried")?;
        if record.number != attempt.number {
            return Err("another attempt is on the branch");
        }
        let landed = matches!(task.stage, Stage::Landed(_));
        let failure = Failure::Reverted { reason, by };
        let setback = Setback { failure, then: Then::FailTask, same_as: None };
        record.setback = Some(setback.clone());
        record.approved_by = None;
        task.stage = Stage::Failed(setback);
        self.publication = Publication::Open;
        if landed {
            self.take_down(id, &candidate);
        }
        Ok(())
    }

    /// The opposite of an earlier night's result is about to be made.
    pub(super) fn began_to_reverse(
        &mut self,
        at: Timestamp,
        attempt: &AttemptId,
        onto: &CommitId,
    ) -> Result<(), &'static str> {
        let may = self.base_gate.may_start()
            && *onto == self.tip
            && self.opening.reverse_of(&attempt.task).is_some();
        let began_after = self.lasted(at);
        let task = self.tasks.get_mut(&attempt.task).ok_or("no such task")?;
        let next = u32::try_from(task.attempts.len()).unwrap_or(u32::MAX) + 1;
        if !may || task.stage != Stage::Waiting || attempt.number != next {
            return Err("nothing to take back");
        }
        task.counted += 1;
        task.stage = Stage::Editing;
        let record = AttemptRecord::new(attempt.number, onto.clone(), at);
        task.attempts.push(AttemptRecord { began_after, ..record });
        Ok(())
    }

    /// It was made, or does not fit.
    pub(super) fn reversed(
        &mut self,
        attempt: &AttemptId,
        result: Result<Candidate, Setback>,
    ) -> Result<(), &'static str> {
        let found = self.settle(
            |command| matches!(command, Command::Reverse { attempt: a, .. } if a == attempt),
        );
        if found.is_none() {
            return Err("nothing was to be taken back");
        }
        match result {
            Ok(candidate) => {
                let record = self.learned(attempt);
                record.kept = Some(candidate.commit.clone());
                record.candidate = Some(candidate.clone());
                self.state(&attempt.task).stage = Stage::Ungated(candidate);
            }
            Err(setback) => self.set_back(attempt, setback),
        }
        Ok(())
    }

    /// Takes what landed after a commit from the branch, to land it again.
    fn take_down(&mut self, id: &TaskId, candidate: &Candidate) {
        let mut above = Vec::new();
        let mut at = &candidate.commit;
        while let Some((next, on_it)) = self
            .tasks()
            .filter_map(|(id, task)| Some((id, task.landed()?)))
            .find(|(_, on_it)| on_it.base == *at)
        {
            above.push((next.clone(), on_it.clone()));
            at = &on_it.commit;
        }
        let stood = match self.rewind.take() {
            Some((stood, _)) => stood,
            None => {
                self.former.push(self.tip.clone());
                self.tip.clone()
            }
        };
        self.tip = candidate.base.clone();
        self.rewind = Some((stood, self.tip.clone()));
        self.again.retain(|waiting| waiting != id);
        let below = std::mem::take(&mut self.again);
        for (next, on_it) in above {
            self.again.push(next.clone());
            if let Some(task) = self.tasks.get_mut(&next) {
                task.stage = Stage::Ungated(on_it);
            }
        }
        self.again.extend(below);
    }

    /// Forgets those of the tasks to land again that landed, failed, or wait for a person.
    pub(super) fn rebuilt(&mut self) {
        let tasks = &self.tasks;
        self.again.retain(|id| {
            tasks.get(id).is_some_and(|task| match task.stage {
                Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => true,
                Stage::Waiting
                | Stage::Editing
                | Stage::Held(_)
                | Stage::Landed(_)
                | Stage::Failed(_)
                | Stage::Parked(_) => false,
            })
        });
    }
}
