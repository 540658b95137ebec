//! Drives a night: write the order down, carry it out, write what happened down.
//!
//! The loop holds no state of its own beside what is in flight: the journal is the truth, and
//! [`Night::due`] says what is next. Starting, crashing and resuming are one code path.

pub mod again;
pub mod base;
pub mod clock;
pub mod conversations;
pub mod decide;
pub mod earlier;
pub mod deed;
mod edit;
pub mod forecast;
mod gating;
pub mod proving;
pub mod hands;
pub mod home;
pub mod include;
pub mod known;
pub mod look;
pub mod open;
pub mod permit;
pub mod places;
pub mod prepare;
pub mod protected;
pub mod outbox;
mod publish;
pub mod refused;
pub mod revert;
mod review;
pub mod rules;
pub mod stop;
pub mod slots;
pub mod storage;
pub mod tell;
pub mod turn;
pub mod verify;
pub mod walls;
mod words;
pub mod yard;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::{
    faults,
    ids::AttemptId,
    journal::Journal,
    night::{self, Command, Entry, Event, Night, Opening, Publication},
    outcome::{Candidate, Failure, StopReason},
    process::{Stop, Urgency},
    report,
    runner::{
        deed::Deed,
        hands::{Brief, Hands},
        slots::AgentSlots,
    },
};

/// How often the STOP files are looked for.
const POLL: Duration = Duration::from_millis(250);

/// What is told while the night runs.
pub trait Watch {
    /// An entry was written, and this is the night after it.
    fn entry(&mut self, entry: &Entry, night: &Night);
    /// A moment passed. `activity` is what agents are at.
    fn tick(&mut self, now: Timestamp, night: &Night, activity: &[(AttemptId, String)]);
    /// An agent could be started and has no place yet. Told once for each wait.
    fn waits(&mut self, now: Timestamp, for_what: &str);
}

/// A night under way in this process.
pub struct Runner<'l> {
    night: Night,
    opening: Arc<Opening>,
    journal: Journal,
    hands: Arc<Hands>,
    stop: Stop,
    stop_files: stop::StopFiles,
    slots: AgentSlots,
    watchman: clock::Watchman,
    watch: &'l mut dyn Watch,
}

impl<'l> Runner<'l> {
    /// A night that is fresh from its opening, or replayed.
    pub fn new(
        night: Night,
        journal: Journal,
        hands: Hands,
        stop_files: stop::StopFiles,
        slots: AgentSlots,
        watchman: clock::Watchman,
        watch: &'l mut dyn Watch,
    ) -> Runner<'l> {
        Runner {
            opening: Arc::new(night.opening().clone()),
            stop: hands.stop.clone(),
            night,
            journal,
            hands: Arc::new(hands),
            stop_files,
            slots,
            watchman,
            watch,
        }
    }

    /// Writes a fact down, folds it, and tells the listener. The disk has it then.
    pub fn record(&mut self, event: Event) -> anyhow::Result<()> {
        self.note(event)?;
        Ok(self.journal.sync()?)
    }

    /// As [`Runner::record`], but the disk may not have it yet: a fact and the orders that follow from it wait for
    /// the disk together.
    fn note(&mut self, event: Event) -> anyhow::Result<()> {
        let entry =
            Entry::new(self.journal.next_seq(), clock::now(), &self.opening.agent.name, event);
        let trouble = match self.journal.write(&entry) {
            Ok(()) => None,
            // A full disk: what was held back is for this. The night writes down how it ends.
            Err(problem) if self.hands.free_reserve() => {
                self.journal.write(&entry)?;
                Some(problem)
            }
            Err(problem) => return Err(problem.into()),
        };
        self.night
            .apply(entry.at, entry.event.clone())
            .context("the night cannot go on from its own record")?;
        self.watch.entry(&entry, &self.night);
        match trouble.filter(|_| self.night.stop().is_none() && self.night.ended().is_none()) {
            None => Ok(()),
            Some(problem) => {
                let message = problem.to_string();
                self.note(Event::StopAsked { reason: StopReason::Broken { message } })
            }
        }
    }

    /// Runs until nothing is due, and returns the night with its end recorded. `exit` gives the exit code
    /// of a night that ends so.
    pub async fn run(
        mut self,
        exit: impl Fn(&Night, Option<&StopReason>) -> u8,
    ) -> anyhow::Result<Night> {
        self.set_refs()?;
        let mut running: JoinSet<(Command, Timestamp, Result<Deed, deed::Error>)> = JoinSet::new();
        let mut waits = false;
        loop {
            self.look_at_clock().await?;
            self.look_for_stop()?;
            let at_once = self.stop.asked() == Some(Urgency::Now);
            let now = self.watchman.day();
            self.watch.tick(now, &self.night, &self.hands.conversations.activity());
            let mut orders = Vec::new();
            let waited = std::mem::take(&mut waits);
            if !at_once {
                for command in self.night.due(now) {
                    // Before the order: who waits for a place has not begun, and no time runs.
                    let place = if command.asks_a_model() {
                        let Some(place) = self.slots.take() else {
                            waits = true;
                            continue;
                        };
                        Some(place)
                    } else {
                        None
                    };
                    self.note(Event::Began(command.clone()))?;
                    orders.push((self.brief(&command), command, place));
                }
            }
            if waits && !waited {
                self.watch.waits(now, &self.slots.taken_by());
            }
            // Before anything is done on the word of a line, and before anything waits.
            self.journal.sync()?;
            for (brief, command, place) in orders {
                let hands = self.hands.clone();
                running.spawn(async move {
                    let deed = hands.carry_out(&command, &brief, now).await;
                    drop(place);
                    (command, now, deed)
                });
            }
            self.release().await;
            // Nothing runs and nothing is due: only the end of a pause or of a limit can change that.
            if running.is_empty() && !waits && (at_once || self.night.wake_at(now).is_none()) {
                break;
            }
            tokio::select! {
                Some(done) = running.join_next() => {
                    let (command, _, deed) = done.context("a deed panicked")?;
                    // First: what follows is reckoned from the time of day.
                    self.look_at_clock().await?;
                    match deed {
                        Ok(deed) => {
                            if let Some(event) = self.event(&command, deed) {
                                self.note(event)?;
                            }
                        }
                        // The order stays open; the night ends with its record whole, and can be resumed.
                        Err(problem) => {
                            let message =
                                format!("could not {}: {}", in_words(&command), whole(&problem));
                            tracing::error!(%message);
                            self.record(Event::StopAsked { reason: StopReason::Broken { message } })?;
                        }
                    }
                }
                () = tokio::time::sleep(POLL) => {}
            }
        }
        self.release().await;
        for held in self.hands.conversations.release_all() {
            held.end().await;
        }
        self.hands.supervisor.retire().await;
        self.hands.leave_no_gates_home();
        // Who stops at once does not wait for a network, and one that was away a moment ago is away.
        let away = matches!(self.night.publication(), Publication::Failed { passing: true, .. });
        self.hands.tell_others(self.stop.asked() != Some(Urgency::Now) && !away).await;
        self.hands.free_reserve();
        let reason = self.night.stop_reason(clock::now());
        let exit = exit(&self.night, reason.as_ref());
        self.record(Event::Ended { reason, exit })?;
        Ok(self.night)
    }

    /// What a deed must know. What is published is made of a night without secrets in its texts.
    fn brief(&self, command: &Command) -> Brief {
        if let Command::Publish { .. } = command {
            let seen = self.night.redacted(&self.hands.redactor);
            let redact = |log: &str| self.hands.redactor.redact(log).into_owned();
            let logs = hands::quoted_logs(&seen, &self.hands.night_places, &redact);
            return Brief::of(&seen, &self.opening, command, &logs);
        }
        Brief::of(&self.night, &self.opening, command, &report::Logs::new())
    }

    /// Ends the conversations that the night will not go on with.
    async fn release(&self) {
        for held in self.hands.conversations.release(&self.night) {
            held.end_for_good().await;
        }
    }

    /// The vault's branch and the base's keep ref. Safe to repeat.
    fn set_refs(&mut self) -> anyhow::Result<()> {
        let (hands, opening) = (&self.hands, &self.opening);
        let branch = opening.night.branch_ref();
        if hands.vault.resolve(&branch)?.is_none() {
            hands.vault.move_ref(&branch, None, self.night.tip())?;
        }
        faults::pass("night.branched");
        if !opening.tasks.is_empty() {
            hands.hold_base(opening)?;
            faults::pass("night.based");
        }
        Ok(())
    }

    /// Writes down that time went by unseen, and looks again at what may have changed meanwhile: whether the agent
    /// may still be used. Deadline, pauses and limits are asked anew at every turn.
    async fn look_at_clock(&mut self) -> anyhow::Result<()> {
        let Some(gap) = self.watchman.look() else { return Ok(()) };
        self.record(Event::TimePassed(gap))?;
        if self.night.stop().is_some() {
            return Ok(());
        }
        let hands = self.hands.clone();
        let looked = hands::blocking(move || hands.agent.preflight(&hands.environment));
        if let Err(unusable) = looked.await {
            let message = format!("{} ({})", unusable.message, unusable.help);
            self.record(Event::StopAsked { reason: StopReason::AgentUnusable { message } })?;
        }
        Ok(())
    }

    /// Takes in what a STOP file or a signal asks for.
    fn look_for_stop(&mut self) -> anyhow::Result<()> {
        if let Some(asked) = self.stop_files.asked() {
            self.stop.ask(asked.urgency);
            if self.night.stop().is_none() {
                self.record(Event::StopAsked { reason: StopReason::Asked { by: asked.by } })?;
            }
        }
        if self.stop.asked().is_some() && self.night.stop().is_none() {
            let by = "a signal".to_owned();
            self.record(Event::StopAsked { reason: StopReason::Asked { by } })?;
        }
        Ok(())
    }

    /// A deed as a fact, with the night's verdict. `None` when nothing can be said: the order stays open,
    /// and a resumed night does it again.
    fn event(&self, command: &Command, deed: Deed) -> Option<Event> {
        let judge = |attempt: &AttemptId, failure: Failure| {
            self.night.judge(self.watchman.day(), attempt, failure)
        };
        let attempt = command.attempt().cloned();
        Some(match (deed, attempt) {
            (
                Deed::Gate(None)
                | Deed::GateProof(None)
                | Deed::TestProof(None)
                | Deed::Review(None)
                | Deed::Stopped,
                _,
            ) => return None,
            (Deed::Gate(Some(report)), None) => Event::BaseChecked { report },
            (Deed::Gate(Some(report)), Some(attempt)) => {
                let setback = (!report.passed())
                    .then(|| judge(&attempt, Failure::Gate(Box::new(report.clone()))));
                let findings = match &setback {
                    None => night::of_gate(&self.night, &attempt, &report),
                    Some(_) => Vec::new(),
                };
                Event::GateEnded { attempt, report, findings, setback }
            }
            (Deed::GateProof(Some(proof)), _) => Event::GateProven { proof },
            (Deed::TestProof(Some(proof)), Some(attempt)) => {
                let (findings, unproven) = night::of_tests(&self.night, &attempt, &proof);
                let setback =
                    unproven.then(|| judge(&attempt, Failure::Unproven(Box::new(proof.clone()))));
                Event::TestsProven { attempt, proof, findings, setback }
            }
            (Deed::Agent { report, result, kept, inspection }, Some(attempt)) => {
                let result = result
                    .and_then(|candidate: Candidate| {
                        match self.night.same_tree_as(&attempt, &candidate) {
                            Some(like) => Err(Failure::NoProgress { like }),
                            None => Ok(candidate),
                        }
                    })
                    .map_err(|failure| judge(&attempt, failure));
                Event::AgentEnded { attempt, report: *report, result, kept, inspection }
            }
            (Deed::Review(Some(review)), Some(attempt)) => {
                let setback = (!review.agree)
                    .then(|| self.night.without_agreement(self.watchman.day(), &attempt, &review));
                Event::Reviewed { attempt, review, setback }
            }
            (Deed::Restack(result), Some(attempt)) => {
                let result = result.map_err(|failure| judge(&attempt, failure));
                if let Command::Reverse { .. } = command {
                    Event::Reversed { attempt, result }
                } else {
                    Event::Restacked { attempt, result }
                }
            }
            (Deed::Landed, Some(attempt)) => {
                let Command::Land { to, .. } = command else { return None };
                Event::Landed { attempt, commit: to.clone() }
            }
            (Deed::Rewound, _) => {
                let Command::Rewind { to, .. } = command else { return None };
                Event::Rewound { to: to.clone() }
            }
            (Deed::NotLanded { found }, _) => {
                Event::StopAsked { reason: StopReason::BranchMoved { found } }
            }
            (Deed::Published { url, number, notes }, _) => Event::Published { url, number, notes },
            (Deed::NotPublished { message, help, hindrance }, _) => {
                self.night.not_published(clock::now(), message, help, hindrance)
            }
            (
                Deed::Agent { .. }
                | Deed::TestProof(_)
                | Deed::Review(_)
                | Deed::Restack(_)
                | Deed::Landed,
                None,
            ) => return None,
        })
    }
}

/// An error with all that caused it, as far as its words do not say so already.
fn whole(problem: &dyn std::error::Error) -> String {
    let (mut words, mut cause) = (problem.to_string(), problem.source());
    while let Some(problem) = cause {
        let more = problem.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = problem.source();
    }
    words
}

fn in_words(command: &Command) -> String {
    match command {
        Command::CheckBase { .. } => "run the gate on the base".to_owned(),
        Command::ProveGate { .. } => "see whether the gate can fail".to_owned(),
        Command::ProveTests { attempt, .. } => format!("try the tests of {attempt}"),
        Command::RunAgent { attempt, .. } => format!("run the agent for {attempt}"),
        Command::Reverse { attempt, .. } => format!("make the opposite of {attempt}"),
        Command::RunGate { attempt, .. } => format!("run the gate for {attempt}"),
        Command::Review { attempt, .. } => format!("ask for a second opinion on {attempt}"),
        Command::Restack { attempt, .. } => format!("rebuild {attempt} on the new tip"),
        Command::Land { attempt, .. } => format!("land {attempt}"),
        Command::Rewind { .. } => "move the branch back".to_owned(),
        Command::Publish { .. } => "publish the branch".to_owned(),
    }
}
