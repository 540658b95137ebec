//! A process of the runner, in the pretended world: writes the order down, has it on the disk, carries it out, writes
//! down what happened, and dies where its schedule says so.

use jiff::{SignedDuration, Timestamp};
use nightshift::{
    budget::{Spend, Usd},
    night::{Charge, Command, Entry, Event, Night},
    outcome::StopReason,
};

use crate::{
    deeds,
    disk::Disk,
    fault::{Kind, Place},
    promises,
    random::drawn,
    scenario::{BEGIN, Scenario},
    world::{Running, World},
};

/// Turns of all loops of one night: many times what the longest takes.
const TURNS: u32 = 6_000;

/// What is done wrongly on purpose, to see that the promises notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Deeds begin before their orders are on the disk.
    DeedsFirst,
    /// What a crash cut off is charged with nothing.
    ForgottenCharges,
    /// A crash is taken for a fresh start of the same process: what was in flight is not given up.
    NoRestart,
    /// The fact of a landing is never written.
    ForgottenLanding,
    /// The fold is asked once, and what is due later is not waited for.
    NoWaiting,
}

/// Why a process went no further.
pub(crate) enum Halt {
    /// It was killed, or its disk was full.
    Cut,
    /// A promise was broken.
    Broken(String),
}

impl From<String> for Halt {
    fn from(broken: String) -> Halt {
        Halt::Broken(broken)
    }
}

/// A night with all that outlives its processes.
pub(crate) struct Life {
    pub(crate) world: World,
    pub(crate) disk: Disk,
    /// The next process is killed while it takes the night over.
    pub(crate) killed_in_recovery: bool,
    pub(crate) turns: u32,
    pub(crate) sabotage: Option<Sabotage>,
    /// Milliseconds of the clock that never jumps.
    steady: i64,
    /// Milliseconds by which the other clock is ahead.
    ahead: i64,
}

impl Life {
    pub(crate) fn of(scenario: &Scenario, tell: bool, sabotage: Option<Sabotage>) -> Life {
        let opened = Event::Opened(Box::new(scenario.opening.clone()));
        Life {
            world: World::of(scenario, tell),
            disk: Disk::of(Entry::new(1, scenario.opening.at, "pretend", opened)),
            killed_in_recovery: false,
            turns: 0,
            sabotage,
            steady: 0,
            ahead: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let millis = 1_000 * BEGIN + self.steady + self.ahead;
        Timestamp::from_millisecond(millis).expect("a few days are in its range")
    }

    /// Time between two processes.
    pub(crate) fn pause(&mut self, seconds: u64) {
        self.steady += 1_000 * i64::try_from(seconds).unwrap_or(0);
    }

    pub(crate) fn replayed(&self) -> Result<Night, Halt> {
        Night::replay(self.disk.entries().iter().cloned())
            .map_err(|illegal| Halt::Broken(format!("its own record is refused: {illegal}")))
    }

    /// What the runs that a crash cut off are charged with: what they cost, or more.
    pub(crate) fn charges(&self, night: &Night) -> Vec<Charge> {
        let charge = |command: &Command| {
            let Command::RunAgent { attempt, budget, .. } = command else { return None };
            let known = self.world.cost_of.get(attempt).copied().unwrap_or(0);
            // An answer under way is charged with the most that it can cost.
            let chance = drawn(self.world.seed, attempt.task.as_str(), attempt.number);
            let wide = chance.is_multiple_of(2);
            let more = if wide { known + 5_000 } else { known };
            let most = if budget.is_zero() { known } else { more.min(budget.micros()).max(known) };
            let most = if self.sabotage == Some(Sabotage::ForgottenCharges) { 0 } else { most };
            let spent = Spend::reserved(Usd::from_micros(most));
            Some(Charge { attempt: attempt.clone(), spent })
        };
        night.in_flight().iter().filter_map(charge).collect()
    }

    /// Writes a fact; the disk may not have it yet.
    pub(crate) fn note(&mut self, night: &mut Night, event: Event) -> Result<(), Halt> {
        if self.world.strike(Place::Write).contains(&Kind::DiskFull) {
            return Err(Halt::Cut);
        }
        let now = self.now();
        self.world.tell(|| shown(now, &event));
        let entry = Entry::new(self.disk.next_seq(), now, "pretend", event.clone());
        night.apply(now, event).map_err(|illegal| {
            Halt::Broken(format!("the night refused its own fact: {illegal}"))
        })?;
        self.disk.write(entry);
        Ok(())
    }

    fn killed(&mut self, running: &[Running], torn: bool) -> Halt {
        for running in running {
            self.world.cut(running);
        }
        let chance = drawn(self.world.seed, "power", self.turns);
        if let Err(broken) = self.disk.crash(chance, torn) {
            return Halt::Broken(broken);
        }
        self.world.tell(|| "-- the process is gone".to_owned());
        Halt::Cut
    }

    /// One process, from its first facts to its end.
    pub(crate) fn process(&mut self, first: Vec<Event>) -> Result<Night, Halt> {
        let mut running = Vec::new();
        let ended = self.turn_round(first, &mut running);
        match ended {
            // A line that could not be written ends the process as a crash does.
            Err(Halt::Cut) if !running.is_empty() || self.disk.has_unsynced() => {
                Err(self.killed(&running, false))
            }
            other => other,
        }
    }

    fn turn_round(&mut self, first: Vec<Event>, running: &mut Vec<Running>) -> Result<Night, Halt> {
        let mut night = self.replayed()?;
        for event in first {
            self.note(&mut night, event)?;
            if self.killed_in_recovery {
                self.killed_in_recovery = false;
                return Err(self.killed(&[], false));
            }
            self.disk.sync();
        }
        let mut at_once = false;
        loop {
            self.turns += 1;
            if self.turns > TURNS {
                return Err(Halt::Broken("it goes round and round".to_owned()));
            }
            let struck = self.world.strike(Place::Turn);
            let is_struck_by = |kind: Kind| struck.contains(&kind);
            if is_struck_by(Kind::TornLine) {
                return Err(self.gone(running, true));
            }
            self.by_itself(&mut night, &struck)?;
            if is_struck_by(Kind::StopNow) && !at_once {
                at_once = true;
                for deed in std::mem::take(running) {
                    let now = self.now();
                    if let Some(fact) = deeds::finish(&mut self.world, &night, &deed, now, true) {
                        self.note(&mut night, fact)?;
                        self.after(&night)?;
                    }
                }
            }
            let now = self.now();
            let orders = if at_once { Vec::new() } else { night.due(now) };
            for command in &orders {
                promises::ordered(&night, command, &self.world, running, now)?;
                promises::agreed(command, self.disk.entries())?;
                self.note(&mut night, Event::Began(command.clone()))?;
            }
            if self.sabotage == Some(Sabotage::DeedsFirst) {
                self.begin(&orders, running);
            }
            if is_struck_by(Kind::KillBeforeSync) {
                return Err(self.gone(running, false));
            }
            self.disk.sync();
            if is_struck_by(Kind::KillAfterSync) {
                return Err(self.gone(running, false));
            }
            if self.sabotage != Some(Sabotage::DeedsFirst) {
                self.begin(&orders, running);
            }
            if is_struck_by(Kind::KillInDeeds) {
                return Err(self.gone(running, false));
            }
            let wake = night.wake_at(now).filter(|_| self.sabotage != Some(Sabotage::NoWaiting));
            if running.is_empty() && (at_once || wake.is_none()) {
                break;
            }
            let Some(deed) = self.next(running, wake) else { continue };
            let now = self.now();
            let fact = deeds::finish(&mut self.world, &night, &deed, now, false);
            self.world.check()?;
            if is_struck_by(Kind::KillAfterDeed) {
                return Err(self.gone(running, false));
            }
            let forgotten = self.sabotage == Some(Sabotage::ForgottenLanding)
                && matches!(fact, Some(Event::Landed { .. }));
            if let Some(fact) = fact.filter(|_| !forgotten) {
                self.note(&mut night, fact)?;
            }
            self.after(&night)?;
            if is_struck_by(Kind::KillAfterFact) {
                return Err(self.gone(running, false));
            }
        }
        let now = self.now();
        let reason = night.stop_reason(now);
        promises::leaves(&night, reason.as_ref(), at_once, now)?;
        self.note(&mut night, Event::Ended { reason, exit: 0 })?;
        self.disk.sync();
        self.after(&night)?;
        promises::rests(&night, self.disk.entries(), &self.replayed()?, &self.world)?;
        Ok(night)
    }

    fn gone(&mut self, running: &mut Vec<Running>, torn: bool) -> Halt {
        let running = std::mem::take(running);
        self.killed(&running, torn)
    }

    fn begin(&mut self, orders: &[Command], running: &mut Vec<Running>) {
        for command in orders {
            running.push(self.world.begin(command.clone(), self.steady));
        }
    }

    fn after(&mut self, night: &Night) -> Result<(), Halt> {
        self.world.check()?;
        Ok(promises::hold(night, &self.world)?)
    }

    /// Goes to the moment at which something happens: a deed ends, or a pause does.
    fn next(&mut self, running: &mut Vec<Running>, wake: Option<Timestamp>) -> Option<Running> {
        let first = (0..running.len()).min_by_key(|at| (running[*at].ends, *at));
        let ends = first.map(|at| running[at].ends);
        let wake = wake.map(|wake| {
            let wait = wake.duration_since(self.now()).max(SignedDuration::ZERO);
            self.steady + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX) + 1
        });
        match (ends, wake) {
            (Some(ends), Some(wake)) if wake < ends => self.steady = wake,
            (None, Some(wake)) => self.steady = wake,
            (Some(ends), _) => {
                self.steady = self.steady.max(ends);
                return first.map(|at| running.remove(at));
            }
            (None, None) => {}
        }
        None
    }

    /// What nobody ordered.
    fn by_itself(&mut self, night: &mut Night, struck: &[Kind]) -> Result<(), Halt> {
        const HOUR: i64 = 3_600_000;
        for kind in struck {
            match kind {
                Kind::StopSoon | Kind::StopNow if night.stop().is_none() => {
                    let reason = StopReason::Asked { by: "stop".into() };
                    self.note(night, Event::StopAsked { reason })?;
                }
                Kind::ClockForward => self.ahead += HOUR,
                Kind::ClockBack => self.ahead -= HOUR,
                Kind::Sleep => self.ahead += HOUR * 3 / 4,
                Kind::LongSleep => self.ahead += 5 * HOUR,
                Kind::BranchMoved => self.world.foreign = true,
                Kind::BaseMoved => self.world.base_moved = true,
                Kind::PlanEdited => self.world.plan_edited = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A fact in one line.
fn shown(now: Timestamp, event: &Event) -> String {
    let text = match event {
        Event::Began(command) => format!("began {command:?}"),
        Event::AgentEnded { attempt, report, result, .. } => {
            let end = match result {
                Ok(candidate) => format!("{}", candidate.commit),
                Err(setback) => format!("{:?} → {:?}", setback.failure, setback.then),
            };
            format!("agent {attempt} {:?} {} {end}", report.ended, report.spent.usd)
        }
        Event::GateEnded { attempt, setback, .. } => {
            let then = setback.as_ref().map(|setback| &setback.then);
            format!("gate {attempt} {}", then.map_or("green".into(), |then| format!("{then:?}")))
        }
        other => format!("{other:?}"),
    };
    let text: String = text.chars().take(260).collect();
    format!("{} {text}", now.strftime("%d %H:%M:%S"))
}
