//! The fold: what each fact makes of the state, and which facts cannot follow from it.
//!
//! Never judges: verdicts are in the facts.

use jiff::{SignedDuration, Timestamp};

use crate::{
    ids::{AttemptId, TaskId},
    night::{
        AttemptRecord, BaseGate, Baseline, Charge, Command, Event, Gap, IllegalEvent, Night,
        OnlyLanding, Publication, Setback, Stage, TaskState, Then, Trigger,
        conversation::{needs_review, needs_test_proof},
        illegal,
    },
    outcome::{Failure, StopReason},
};

impl Night {
    /// Folds one fact into the state.
    pub fn apply(&mut self, at: Timestamp, event: Event) -> Result<(), IllegalEvent> {
        if !self.knows_attempts_of(&event) {
            return Err(illegal(&event, "not an attempt that is under way"));
        }
        self.moves_to(at, &event);
        match event {
            Event::Opened(_) => return Err(illegal(&event, "a night opens once")),
            Event::Began(ref command) => {
                if self.in_flight.contains(command) {
                    return Err(illegal(&event, "already under way"));
                }
                if self.ended.is_some() {
                    return Err(illegal(&event, "the night is over"));
                }
                let command = command.clone();
                self.began(at, &command).map_err(|why| illegal(&event, why))?;
                self.in_flight.push(command);
            }
            Event::BaseChecked { ref report } => {
                let found = self.settle(|command| matches!(command, Command::CheckBase { .. }));
                if found.is_none() || report.tree != self.opening.base.tree {
                    return Err(illegal(&event, "not a check of this base"));
                }
                let report = report.clone();
                self.base_gate = if report.passed() {
                    BaseGate::Green(report)
                } else if (self.opening.gate.baseline == Baseline::Compare && report.names_failures())
                    // What is taken back may be what made it red.
                    || !self.opening.reverses.is_empty()
                {
                    BaseGate::Known(report)
                } else {
                    self.stop.get_or_insert(StopReason::RedBase);
                    BaseGate::Red(report)
                };
            }
            Event::GateProven { ref proof } => {
                let found = self.settle(|command| matches!(command, Command::ProveGate { .. }));
                if found.is_none() || proof.gate != self.opening.gate.id {
                    return Err(illegal(&event, "not a proof of this gate"));
                }
                if !proof.proven() {
                    self.stop.get_or_insert(StopReason::GateUnproven);
                }
                self.gate_proof = Some(proof.clone());
            }
            Event::AgentEnded { ref attempt, ref report, ref result, ref kept, ref inspection } => {
                let found = self.settle(
                    |command| matches!(command, Command::RunAgent { attempt: a, .. } if a == attempt),
                );
                if found.is_none() {
                    return Err(illegal(&event, "no such agent run"));
                }
                let record = self.learned(attempt);
                record.agent = Some(report.clone());
                record.kept.clone_from(kept);
                record.inspection = inspection.clone();
                self.seen(attempt, report);
                let record = self.record(attempt);
                match result.clone() {
                    Ok(candidate) => {
                        record.candidate = Some(candidate.clone());
                        self.state(&attempt.task).stage = Stage::Ungated(candidate);
                    }
                    Err(setback) => self.set_back(attempt, setback),
                }
            }
            Event::GateEnded { ref attempt, ref report, ref findings, ref setback } => {
                let found = self.settle(
                    |command| matches!(command, Command::RunGate { attempt: a, .. } if a == attempt),
                );
                let Stage::Ungated(candidate) = self.state(&attempt.task).stage.clone() else {
                    return Err(illegal(&event, "nothing to gate"));
                };
                if found.is_none()
                    || candidate.tree != report.tree
                    || candidate.commit != report.commit
                {
                    return Err(illegal(&event, "another tree was gated"));
                }
                if report.gate != self.opening.gate.id {
                    return Err(illegal(&event, "another gate was run"));
                }
                if report.passed() != setback.is_none() {
                    return Err(illegal(&event, "the verdict is not the steps' verdict"));
                }
                let record = self.learned(attempt);
                record.gate = Some(report.clone());
                // Nobody approved what nobody had seen.
                if !findings.iter().all(|finding| record.gate_findings.contains(finding)) {
                    record.approved_by = None;
                }
                record.gate_findings.clone_from(findings);
                match setback.clone() {
                    None => {
                        self.state(&attempt.task).stage = Stage::Gated(candidate);
                        self.hold(&attempt.task);
                    }
                    Some(setback) => self.set_back(attempt, setback),
                }
            }
            Event::TestsProven { ref attempt, ref proof, ref findings, ref setback } => {
                let found = self.settle(
                    |command| matches!(command, Command::ProveTests { attempt: a, .. } if a == attempt),
                );
                if found.is_none() || !matches!(self.state(&attempt.task).stage, Stage::Gated(_)) {
                    return Err(illegal(&event, "no tests to prove"));
                }
                let record = self.learned(attempt);
                record.test_proof = Some(proof.clone());
                record.proof_findings.clone_from(findings);
                match setback.clone() {
                    None => self.hold(&attempt.task),
                    Some(setback) => self.set_back(attempt, setback),
                }
            }
            Event::Decided { ref attempt, approved, ref reason, ref by } => {
                self.decided(attempt, approved, reason.clone(), by.clone())
                    .map_err(|why| illegal(&event, why))?;
            }
            Event::Reverted { ref attempt, ref reason, ref by } => {
                self.reverted(attempt, reason.clone(), by.clone())
                    .map_err(|why| illegal(&event, why))?;
            }
            Event::Rewound { ref to } => {
                let found = self.settle(|command| matches!(command, Command::Rewind { .. }));
                if found.is_none() || self.rewind.as_ref().is_none_or(|(_, goal)| goal != to) {
                    return Err(illegal(&event, "not where the branch was to go"));
                }
                self.rewind = None;
            }
            Event::Reviewed { ref attempt, ref review, ref setback } => {
                let order = self.settle(
                    |command| matches!(command, Command::Review { attempt: a, .. } if a == attempt),
                );
                let Some(Command::Review { budget, .. }) = order else {
                    return Err(illegal(&event, "no such review"));
                };
                if !matches!(self.state(&attempt.task).stage, Stage::Gated(_)) {
                    return Err(illegal(&event, "nothing to review"));
                }
                if review.agree != setback.is_none() {
                    return Err(illegal(&event, "the verdict is not the review's verdict"));
                }
                let record = self.learned(attempt);
                record.reviewing = record.reviewing.minus(budget);
                // A trouble of the service says nothing about the work: it stays gated, and is asked about again.
                match setback.clone() {
                    Some(Setback { then: Then::Recover { at, closing }, .. }) => {
                        record.reviews_lost = record.reviews_lost + review.spent;
                        self.state(&attempt.task).not_before = Some(at);
                        if let Some(closing) = closing {
                            self.close(closing);
                        }
                    }
                    Some(Setback { then: Then::StopNight(reason), .. }) => {
                        record.reviews_lost = record.reviews_lost + review.spent;
                        self.stop.get_or_insert(reason);
                    }
                    Some(setback) => {
                        record.review = Some(review.clone());
                        self.set_back(attempt, setback);
                    }
                    None => {
                        record.review = Some(review.clone());
                        self.hold(&attempt.task);
                    }
                }
            }
            Event::Reversed { ref attempt, ref result } => {
                self.reversed(attempt, result.clone()).map_err(|why| illegal(&event, why))?;
            }
            Event::Restacked { ref attempt, ref result } => {
                let found = self.settle(
                    |command| matches!(command, Command::Restack { attempt: a, .. } if a == attempt),
                );
                if found.is_none() {
                    return Err(illegal(&event, "no such restack"));
                }
                match result.clone() {
                    Ok(candidate) => {
                        let record = self.learned(attempt);
                        record.candidate = Some(candidate.clone());
                        self.state(&attempt.task).stage = Stage::Ungated(candidate);
                    }
                    Err(setback) => self.set_back(attempt, setback),
                }
            }
            Event::Landed { ref attempt, ref commit } => {
                let found = self.settle(
                    |command| matches!(command, Command::Land { attempt: a, .. } if a == attempt),
                );
                let Stage::Landing(candidate) = self.state(&attempt.task).stage.clone() else {
                    return Err(illegal(&event, "landed without an order to"));
                };
                if found.is_none() || candidate.commit != *commit || candidate.base != self.tip {
                    return Err(illegal(&event, "something else landed"));
                }
                self.tip = commit.clone();
                self.failures_in_a_row = 0;
                // What was published is behind now.
                self.publication = Publication::Open;
                self.learned(attempt).settled = true;
                self.state(&attempt.task).stage = Stage::Landed(candidate);
            }
            Event::Published { ref url, number, ref notes } => {
                if self.settle(|command| matches!(command, Command::Publish { .. })).is_none() {
                    return Err(illegal(&event, "no such publication"));
                }
                self.publication =
                    Publication::Done { url: url.clone(), number, notes: notes.clone() };
            }
            Event::NotPublished { ref message, ref help, passing, again } => {
                if self.settle(|command| matches!(command, Command::Publish { .. })).is_none() {
                    return Err(illegal(&event, "no such publication"));
                }
                let (message, help) = (message.clone(), help.clone());
                let tries = self.publish_tries().saturating_add(1);
                self.publication = Publication::Failed { message, help, passing, tries, again };
            }
            Event::StopAsked { reason: StopReason::OnlyLanding } => {
                if self.only_landing.is_none() {
                    let (stop, ended) = (self.stop.take(), self.ended.clone());
                    self.only_landing = Some(OnlyLanding { stop, ended, trouble: None });
                    self.stop = Some(StopReason::OnlyLanding);
                }
            }
            Event::StopAsked { reason } => match &mut self.only_landing {
                Some(landing) => {
                    landing.trouble.get_or_insert(reason);
                }
                None => {
                    self.stop.get_or_insert(reason);
                }
            },
            Event::Restarted { charges } => self.restarted(charges),
            Event::TimePassed(gap) => self.time_passed(gap),
            Event::Ended { reason, exit } => match self.only_landing.take() {
                None => self.ended = Some((reason, exit)),
                // A night that was cut off before is cut off still.
                Some(OnlyLanding { stop, ended, trouble }) => {
                    let reason = trouble.clone().or(ended.clone().and_then(|(reason, _)| reason));
                    self.ended = (ended.is_some() || trouble.is_some()).then_some((reason, exit));
                    self.stop = trouble.or(stop);
                }
            },
        }
        self.rebuilt();
        Ok(())
    }

    /// A person's word about a result. It never starts an agent: what was approved lands, or has failed.
    fn decided(
        &mut self,
        attempt: &AttemptId,
        approved: bool,
        reason: Option<String>,
        by: String,
    ) -> Result<(), &'static str> {
        let task = self.tasks.get_mut(&attempt.task).ok_or("no such task")?;
        let candidate = task.decidable().cloned().ok_or("nothing is held")?;
        let underway = task.is_approved();
        let held = task.held().is_some();
        let record = task.attempts.last_mut().ok_or("nothing is held")?;
        if record.number != attempt.number {
            return Err("another attempt is held");
        }
        if !approved {
            let reason = reason.unwrap_or_default();
            let failure = Failure::Rejected { reason, by };
            let setback = Setback { failure, then: Then::FailTask, same_as: None };
            record.setback = Some(setback.clone());
            record.approved_by = None;
            // A person's no is no sign that tonight's tasks fail one after another.
            task.stage = Stage::Failed(setback);
            return Ok(());
        }
        if record.refusals().next().is_some() {
            return Err("no approval frees what a rule refuses");
        }
        if underway {
            return Err("it is approved already");
        }
        record.approved_by = Some(by);
        record.approval_note = reason;
        record.setback = None;
        // What failed after an earlier approval is tried from its gate on.
        task.stage = if held { Stage::Gated(candidate) } else { Stage::Ungated(candidate) };
        Ok(())
    }

    /// Whether every attempt that a fact speaks of has begun, and is its task's last. The fold relies on it.
    fn knows_attempts_of(&self, event: &Event) -> bool {
        let task = |attempt: &AttemptId| self.tasks.get(&attempt.task);
        let is_last = |attempt: &AttemptId| {
            let last = task(attempt).and_then(TaskState::last);
            last.is_some_and(|last| last.number == attempt.number)
        };
        match event {
            Event::AgentEnded { attempt, .. }
            | Event::GateEnded { attempt, .. }
            | Event::TestsProven { attempt, .. }
            | Event::Reviewed { attempt, .. }
            | Event::Restacked { attempt, .. }
            | Event::Reversed { attempt, .. }
            | Event::Landed { attempt, .. } => is_last(attempt),
            // The one makes the attempt, the other asks for it itself.
            Event::Began(Command::RunAgent { .. } | Command::Reverse { .. })
            | Event::Decided { .. }
            | Event::Reverted { .. } => true,
            Event::Began(command) => command.attempt().is_none_or(is_last),
            Event::Restarted { charges } => charges.iter().all(|charge| {
                let attempts = task(&charge.attempt).map_or(&[][..], |task| &task.attempts);
                attempts.iter().any(|record| record.number == charge.attempt.number)
            }),
            Event::Opened(_)
            | Event::BaseChecked { .. }
            | Event::GateProven { .. }
            | Event::Rewound { .. }
            | Event::Published { .. }
            | Event::NotPublished { .. }
            | Event::StopAsked { .. }
            | Event::TimePassed(_)
            | Event::Ended { .. } => true,
        }
    }

    /// The state's part of an order: an order that is not redoable is a stage, not only an in-flight mark.
    fn began(&mut self, at: Timestamp, command: &Command) -> Result<(), &'static str> {
        if command.asks_a_model() && self.only_lands() {
            return Err("only what was approved lands");
        }
        match command {
            Command::CheckBase { .. } => match self.base_gate {
                BaseGate::Unknown => Ok(()),
                BaseGate::Green(_) | BaseGate::Known(_) | BaseGate::Red(_) => {
                    Err("the base was checked already")
                }
            },
            Command::ProveGate { .. } if self.needs_gate_proof() => Ok(()),
            Command::ProveGate { .. } => Err("the gate needs no proof"),
            Command::RunAgent { attempt, base, budget, model, conversation, .. } => {
                let may_start = self.base_gate.may_start() && !self.needs_gate_proof();
                let (reserved, began_after) = (self.held_of(*budget), self.lasted(at));
                let Some(task) = self.tasks.get_mut(&attempt.task) else {
                    return Err("no such task");
                };
                let next = u32::try_from(task.attempts.len()).unwrap_or(u32::MAX) + 1;
                if !may_start || task.stage != Stage::Waiting || attempt.number != next {
                    return Err("not this task's next attempt");
                }
                task.counted += 1;
                task.not_before = None;
                task.stage = Stage::Editing;
                task.attempts.push(AttemptRecord {
                    reserved,
                    began_after,
                    model: model.clone(),
                    conversation: conversation.clone(),
                    ..AttemptRecord::new(attempt.number, base.clone(), at)
                });
                Ok(())
            }
            Command::Reverse { attempt, onto } => self.began_to_reverse(at, attempt, onto),
            Command::RunGate { attempt, commit, tree } => {
                match self.tasks.get(&attempt.task).map(|task| &task.stage) {
                    Some(Stage::Ungated(c)) if c.commit == *commit && c.tree == *tree => Ok(()),
                    _ => Err("nothing to gate"),
                }
            }
            Command::ProveTests { attempt, commit, .. } => match self.tasks.get(&attempt.task) {
                Some(task)
                    if matches!(&task.stage, Stage::Gated(c) if c.commit == *commit)
                        && needs_test_proof(&self.opening, task) =>
                {
                    Ok(())
                }
                _ => Err("no tests to prove"),
            },
            Command::Review { attempt, commit, budget, .. } => {
                match self.tasks.get(&attempt.task).map(|task| &task.stage) {
                    Some(Stage::Gated(c)) if c.commit == *commit => {}
                    _ => return Err("nothing to review"),
                }
                let reserved = self.held_of(*budget);
                let record = self.record(attempt);
                record.reviewing = record.reviewing + reserved;
                Ok(())
            }
            Command::Restack { attempt, candidate, onto } => {
                match self.tasks.get(&attempt.task).map(|task| &task.stage) {
                    Some(Stage::Ungated(c) | Stage::Gated(c))
                        if c == candidate && *onto == self.tip =>
                    {
                        Ok(())
                    }
                    _ => Err("nothing to restack"),
                }
            }
            Command::Land { attempt, from, to, tree } => {
                let another = self.tasks.iter().any(|(id, task)| {
                    *id != attempt.task && matches!(task.stage, Stage::Landing(_))
                });
                let tip = self.tip.clone();
                let Some(task) = self.tasks.get_mut(&attempt.task) else {
                    return Err("no such task");
                };
                let (Stage::Gated(candidate) | Stage::Landing(candidate)) = task.stage.clone()
                else {
                    return Err("landed without a passing gate");
                };
                let same = self.rewind.is_none()
                    && candidate.base == *from
                    && candidate.commit == *to
                    && candidate.tree == *tree
                    && *from == tip;
                if another || !same {
                    return Err("landed out of turn");
                }
                if needs_review(&self.opening, task) {
                    return Err("landed without its second opinion");
                }
                if needs_test_proof(&self.opening, task) {
                    return Err("landed before its tests were tried");
                }
                if task.last().is_some_and(AttemptRecord::waits) {
                    return Err("landed without a person's approval");
                }
                task.stage = Stage::Landing(candidate);
                Ok(())
            }
            Command::Rewind { from, to } => match &self.rewind {
                Some((stood, goal)) if stood == from && goal == to => Ok(()),
                Some(_) | None => Err("the branch has no reason to go back"),
            },
            Command::Publish { tip } if *tip == self.tip => {
                self.outside = true;
                Ok(())
            }
            Command::Publish { .. } => Err("published another tip"),
        }
    }

    /// The commands in flight are of unknown outcome. Each is safe to do again, so each becomes due again;
    /// only a lost agent run costs an attempt number, and what it is charged with.
    fn restarted(&mut self, charges: Vec<Charge>) {
        for command in std::mem::take(&mut self.in_flight) {
            if let Command::RunAgent { attempt, .. } | Command::Reverse { attempt, .. } = command {
                let task = self.state(&attempt.task);
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
            }
        }
        // A limit has its own end; what else was closed is tried anew.
        self.closings.retain(|closing| closing.trigger == Trigger::Limit);
        for charge in charges {
            self.record(&charge.attempt).charged = Some(charge.spent);
        }
        // A person or a timer started us again: what stopped the last process is looked at afresh.
        let stays = [StopReason::RedBase, StopReason::GateUnproven, StopReason::OnlyLanding];
        if self.stop.as_ref().is_none_or(|reason| !stays.contains(reason)) {
            self.stop = None;
            self.failures_in_a_row = 0;
        }
        // What was published tells of results that wait for the decision.
        if matches!(self.publication, Publication::Failed { .. }) || self.only_lands() {
            self.publication = Publication::Open;
        }
        self.ended = None;
        // A person's decision is no trouble that the night recovered from.
        self.restarts += u32::from(!self.only_lands());
    }

    /// What was closed by our own guess is tried anew. Times that we worked out from the clock move with it; those
    /// that a service named are its own.
    fn time_passed(&mut self, gap: Gap) {
        let moved = SignedDuration::from_secs(gap.clock_s);
        let by = |at: Timestamp| at.checked_add(moved).unwrap_or(at);
        self.moved = self.moved.saturating_add(moved);
        for task in self.tasks.values_mut() {
            task.not_before = task.not_before.map(by);
        }
        self.closings.retain(|closing| closing.trigger == Trigger::Limit);
        for closing in self.closings.iter_mut().filter(|closing| !closing.told) {
            closing.until = by(closing.until);
        }
    }

    /// A candidate that passed everything and of which a rule says that a person must see it first stays where
    /// it is.
    fn hold(&mut self, id: &TaskId) {
        let task = &self.tasks[id];
        let Stage::Gated(candidate) = &task.stage else { return };
        let open = needs_test_proof(&self.opening, task) || needs_review(&self.opening, task);
        if !open && task.last().is_some_and(AttemptRecord::waits) {
            let candidate = candidate.clone();
            let task = self.state(id);
            task.stage = Stage::Held(candidate);
            if let Some(last) = task.attempts.last_mut() {
                last.settled = true;
            }
        }
    }

    pub(super) fn set_back(&mut self, attempt: &AttemptId, setback: Setback) {
        let record = self.learned(attempt);
        record.settled = true;
        record.setback = Some(setback.clone());
        let again = self.again.contains(&attempt.task);
        let task = self.state(&attempt.task);
        match setback.then.clone() {
            Then::Retry => task.stage = Stage::Waiting,
            Then::FailTask => {
                // What was approved or built anew long after its night says nothing about its other tasks.
                let counts = !task.is_approved() && !again;
                task.stage = Stage::Failed(setback);
                self.failures_in_a_row += u32::from(counts);
            }
            Then::Uncounted => {
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
            }
            Then::Recover { at, closing } => {
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
                task.not_before = Some(at);
                if let Some(closing) = closing {
                    self.close(closing);
                }
            }
            Then::Park => {
                task.stage = Stage::Parked(setback);
                task.counted = task.counted.saturating_sub(1);
            }
            Then::StopNight(reason) => {
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
                self.stop.get_or_insert(reason);
            }
        }
    }

    pub(super) fn state(&mut self, id: &TaskId) -> &mut TaskState {
        self.tasks.get_mut(id).expect("events name tasks that their order named")
    }

    pub(super) fn record(&mut self, attempt: &AttemptId) -> &mut AttemptRecord {
        self.state(&attempt.task)
            .attempts
            .iter_mut()
            .find(|record| record.number == attempt.number)
            .expect("events name attempts that their order named")
    }

    pub(super) fn settle(&mut self, is_it: impl Fn(&Command) -> bool) -> Option<Command> {
        let at = self.in_flight.iter().position(is_it)?;
        Some(self.in_flight.remove(at))
    }
}
