//! What earlier nights made of a task, as this machine's journals and the ledger of all machines tell: a task that
//! landed and is not merged yet is not done twice, one whose result is held waits for a person's word, one that
//! failed until somebody changes its text, and one that asked until somebody answers below it, which changes its
//! text; one whose pull request was closed is not done again by itself. A person's retry, or a box that they ticked,
//! frees a task for one more try.
//!
//! Only reads. The newest word about a task holds, wherever it was said; of a night of this machine its journal's.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::{
    forge::Seen,
    ids::{CommitId, NAME, NightId, TaskId},
    journal,
    ledger::{Fact, Outcome, Standing, origin},
    night::{Again, Night, Publication, Rejection, Setback},
    outcome::Failure,
    plan::Task,
    policy::{Admission, AdmittedTask, Decision, Origin, Refusal, Severity, Verdict},
    report::{self, boxes},
    runner::{again, home::Home, known, places::Places},
};

/// Nights that are looked at, newest last: two months of them.
pub(super) const NIGHTS: usize = 60;
/// The rule that holds back a task whose work waits for a merge.
pub const LANDED: &str = "admission.landed";
/// The rule that holds back a task that failed and has not changed since.
pub const FAILED: &str = "admission.failed-before";
/// The rule that holds back a task that asked and was not answered.
pub const ASKED: &str = "admission.asked";

/// The rule that holds back a task whose result waits for a person's decision.
pub const HELD: &str = "admission.held";

/// The rule that holds back a task whose pull request a person closed without a merge.
pub const CLOSED: &str = "admission.closed";

/// What became of a task's text in an earlier night.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Earlier {
    Landed { place: String },
    Closed { number: u64, place: String },
    Held { why: String },
    Failed { why: String },
    Asked { why: String, answer: Vec<String> },
}

/// A task and the hash of its text.
type Key = (TaskId, String);

/// What became of a text, and who says so.
#[derive(Clone, Debug)]
struct Word {
    earlier: Earlier,
    night: NightId,
    /// The night's pull request, where it has one.
    pull: Option<u64>,
    elsewhere: bool,
}

/// What earlier nights made of texts, and which of them a person wants tried again.
#[derive(Clone, Debug, Default)]
pub struct Known {
    words: BTreeMap<Key, Word>,
    again: BTreeMap<Key, Again>,
    /// When something was last said of a text.
    said: BTreeMap<Key, Timestamp>,
}

impl Known {
    /// Reads the journals, the ledger, what people asked for, and what they did to the pull requests in `pulls`.
    /// Without a base nothing counts as merged.
    pub fn read(home: &Home, base: Option<&CommitId>, pulls: &[Seen]) -> Known {
        let mut words = of(home, base);
        words.sort_by_key(|(at, ..)| *at);
        let mut known = Known::default();
        for (at, key, word) in words {
            known.said.insert(key.clone(), at);
            match word {
                Some(word) => known.words.insert(key, word),
                None => known.words.remove(&key),
            };
        }
        let mut standing: BTreeMap<(NightId, u64), Standing> = BTreeMap::new();
        let said = known::said(&home.vault);
        for fact in &said {
            if let Fact::Stands { night, number, standing: how } = fact {
                standing.insert((night.clone(), *number), *how);
            }
        }
        let now = pulls.iter().map(|pull| ((pull.night.clone(), pull.number), pull.standing));
        standing.extend(now);
        for word in known.words.values_mut() {
            let Some(number) = word.pull else { continue };
            let closed = standing.get(&(word.night.clone(), number)) == Some(&Standing::Closed);
            if let Earlier::Landed { place } = &mut word.earlier
                && closed
            {
                word.earlier = Earlier::Closed { number, place: std::mem::take(place) };
            }
        }
        let asked =
            again::read(&home.places).into_iter().chain(said.into_iter().filter_map(elsewhere));
        for again in asked.chain(known.ticked(pulls)) {
            known.free(again);
        }
        known
    }

    /// A word of a person frees a text once: what a night says of it afterwards holds again. Work that waits for a
    /// merge or a decision is not made twice for it.
    fn free(&mut self, again: Again) {
        let key = (again.task.clone(), again.text.clone());
        let waits =
            |word: &Word| matches!(word.earlier, Earlier::Landed { .. } | Earlier::Held { .. });
        let consumed = self.said.get(&key).is_some_and(|said| *said >= again.at);
        // What this machine was told says more than what the ledger tells of it, at the same moment.
        let older = self.again.get(&key).is_some_and(|known| known.at >= again.at);
        if consumed || older || self.words.get(&key).is_some_and(waits) {
            return;
        }
        self.words.remove(&key);
        self.again.insert(key, again);
    }

    /// Boxes that are ticked in the pull request of the very night that last spoke of the task: so each frees it once,
    /// on every machine, and nobody has to write it down.
    fn ticked(&self, pulls: &[Seen]) -> Vec<Again> {
        let mut found = Vec::new();
        for pull in pulls {
            let of_it = |word: &Word| {
                let tried = matches!(word.earlier, Earlier::Failed { .. } | Earlier::Asked { .. });
                tried && word.night == pull.night && word.pull == Some(pull.number)
            };
            let here: Vec<&Key> =
                self.words.iter().filter(|(_, word)| of_it(word)).map(|(key, _)| key).collect();
            let ticked = boxes::ticked(&pull.body, here.iter().map(|(task, _)| task));
            let ticked = here.into_iter().filter(|(task, _)| ticked.contains(&task));
            found.extend(ticked.map(|key| Again {
                task: key.0.clone(),
                text: key.1.clone(),
                at: self.after(key, Timestamp::MIN),
                by: format!("a box in #{}", pull.number),
                note: None,
                model: None,
                from_scratch: false,
            }));
        }
        found
    }

    /// `now`, or the moment after what was last said of a text, where a clock went back.
    fn after(&self, key: &Key, now: Timestamp) -> Timestamp {
        let said = self.said.get(key).and_then(|said| said.checked_add(MOMENT).ok());
        said.map_or(now, |said| said.max(now))
    }

    /// When a person who wants this text tried again says so, if it is `now`.
    pub fn moment(&self, task: &Task, now: Timestamp) -> Timestamp {
        let key = (task.id.clone(), task.text_hash.clone());
        let before = self.again.get(&key).and_then(|again| again.at.checked_add(MOMENT).ok());
        self.after(&key, before.map_or(now, |before| before.max(now)))
    }

    /// What a person said who wants this text tried again, where no night has tried it since.
    pub fn again(&self, task: &Task) -> Option<&Again> {
        self.again.get(&(task.id.clone(), task.text_hash.clone()))
    }

    /// What the task asked in an earlier night; empty when it asked nothing.
    pub fn questions(&self, task: &Task) -> Vec<String> {
        let word = self.words.get(&(task.id.clone(), task.text_hash.clone()));
        match word.map(|word| &word.earlier) {
            Some(Earlier::Asked { answer, .. }) => answer
                .iter()
                .filter_map(|line| line.strip_prefix("- Question: ").map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Holds back the tasks of a plan that an earlier night settled. Does nothing to tasks that would not run.
    pub fn hold_back(&self, tasks: &[Task], admissions: &mut [Admission]) {
        for (task, admission) in tasks.iter().zip(admissions) {
            let word = self.words.get(&(task.id.clone(), task.text_hash.clone()));
            if let (Some(word), Some(_)) = (word, admission.admitted()) {
                admission.decision = Decision::Waiting(vec![word.refusal(&task.id)]);
            }
        }
    }
}

/// Tasks that a person wants tried again, and that no night has tried since in any text, as far as it is known here.
pub fn wanted(home: &Home) -> Vec<Again> {
    let retry = |fact: &Fact| matches!(fact, Fact::Retry { .. });
    // Reading every journal for nothing takes a second.
    if again::read(&home.places).is_empty() && !known::said(&home.vault).iter().any(retry) {
        return Vec::new();
    }
    let Known { again, said, .. } = Known::read(home, None, &[]);
    let newest =
        |task: &TaskId| said.iter().filter(|((said, _), _)| said == task).map(|(_, at)| *at).max();
    again.into_values().filter(|again| newest(&again.task).is_none_or(|at| at < again.at)).collect()
}

/// The smallest step of a clock.
const MOMENT: SignedDuration = SignedDuration::from_nanos(1);

/// Another machine's word that a text is tried again.
fn elsewhere(fact: Fact) -> Option<Again> {
    let Fact::Retry { task, text, happened } = fact else { return None };
    let by = "a person, on another machine".to_owned();
    Some(Again { task, text, at: happened, by, note: None, model: None, from_scratch: false })
}

impl Word {
    fn refusal(&self, task: &TaskId) -> Refusal {
        let place = if self.elsewhere { " (on another machine)" } else { "" };
        let night = &self.night;
        let refusal = |rule: &str, message: String, value: &str, limit: &str| Refusal {
            rule: rule.to_owned(),
            verdict: Verdict::Ask,
            severity: Severity::Low,
            message: format!("{message}{place}"),
            value: value.to_owned(),
            limit: limit.to_owned(),
            origin: Origin::Default,
            help: Some(format!("{NAME} retry '{task}' has it tried again as it is")),
        };
        match &self.earlier {
            Earlier::Landed { place } => Refusal {
                help: Some(format!("merge it, or {NAME} run -t '{task}' does it all the same")),
                ..refusal(
                    LANDED,
                    format!("its work waits in {place}"),
                    place,
                    "not landed and waiting",
                )
            },
            Earlier::Closed { number, place } => refusal(
                CLOSED,
                format!("#{number} was closed without a merge"),
                place,
                "changed, or asked for with retry",
            ),
            Earlier::Held { why } => Refusal {
                help: Some(format!(
                    "{NAME} approve '{task}' lands it, {NAME} reject '{task}' does not{}",
                    if self.elsewhere { ", on the machine that has it" } else { "" }
                )),
                ..refusal(
                    HELD,
                    format!("its result of night {night} waits for your decision"),
                    why,
                    "approved or rejected, changed, or named with -t",
                )
            },
            Earlier::Failed { why } => refusal(
                FAILED,
                format!("it failed in night {night} and its text has not changed since"),
                why,
                "new, changed, or asked for with retry",
            ),
            Earlier::Asked { why, answer } => Refusal {
                help: Some(if answer.is_empty() {
                    format!("change the task, or {NAME} retry '{task}' --note 'what to do'")
                } else {
                    format!(
                        "{NAME} retry '{task}' --note 'your answer', or answer below the task in the plan, such as \
                         `{}`",
                        answer.join("` `")
                    )
                }),
                ..refusal(
                    ASKED,
                    format!("it asked in night {night}: {why}"),
                    "no answer",
                    "an answer below the task, or asked for with retry",
                )
            },
        }
    }
}

/// Every word about a text: `None` settles nothing, because it is merged or was put back.
fn of(home: &Home, base: Option<&CommitId>) -> Vec<(Timestamp, Key, Option<Word>)> {
    let mut words: Vec<(Timestamp, Key, Option<Word>)> = Vec::new();
    let mut ours = BTreeSet::new();
    // Merged: the plan of the base says so too, and a task that is ready again is meant.
    let landed = |commit: &CommitId, place: String| {
        let merged = base.is_some_and(|base| home.vault.contains(base, commit).unwrap_or(false));
        (!merged).then_some(Earlier::Landed { place })
    };
    for night in nights(&home.places) {
        let id = &night.opening().night;
        ours.insert(origin(night.opening()));
        let pull = match night.publication() {
            Publication::Done { number, .. } => *number,
            Publication::Open | Publication::Failed { .. } => None,
        };
        let word = |earlier| Word { earlier, night: id.clone(), pull, elsewhere: false };
        for task in &night.opening().tasks {
            let Some(state) = night.task(task.id()) else { continue };
            let Some(last) = state.last() else { continue };
            // Taken back is not to be done again by itself, merged or not; one that is not says nothing.
            if let Some(reverse) = night.opening().reverse_of(task.id()) {
                let key = (task.id().clone(), task.task().text_hash.clone());
                let Some(candidate) = night.on_branch(task.id()) else { continue };
                if reverse.puts_back.is_some() {
                    let known = landed(&candidate.commit, place(&night));
                    words.push((last.ended, key, known.map(word)));
                } else {
                    let said = reverse.reason.as_ref().map_or(String::new(), |r| format!(": {r}"));
                    let why = format!("{} took it back{said}", reverse.by);
                    words.push((last.ended, key, Some(word(Earlier::Failed { why }))));
                }
                continue;
            }
            let known = if let Some(candidate) = night.on_branch(task.id()) {
                landed(&candidate.commit, place(&night))
            } else if state.held().is_some() || state.is_approved() {
                Some(Earlier::Held { why: report::why_held(last) })
            } else if let Some(setback) = state.failed() {
                Some(Earlier::Failed { why: report::why_of(state, setback) })
            } else if let Some(setback) = state.parked() {
                let (why, answer) = asked(setback);
                Some(Earlier::Asked { why, answer })
            } else {
                continue;
            };
            let key = (task.id().clone(), task.task().text_hash.clone());
            words.push((last.ended, key, known.map(word)));
        }
    }
    let said = known::said(&home.vault);
    let pulls: BTreeMap<&String, u64> = said
        .iter()
        .filter_map(|fact| {
            if let Fact::Pull { origin, number, .. } = fact {
                Some((origin, *number))
            } else {
                None
            }
        })
        .collect();
    for fact in &said {
        let Fact::Task { task, text, night, origin, happened, outcome } = fact else { continue };
        if ours.contains(origin) {
            continue;
        }
        let known = match outcome.clone() {
            Outcome::Landed { commit, place } => landed(&commit, place),
            Outcome::Held { why } => Some(Earlier::Held { why }),
            Outcome::Failed { why } => Some(Earlier::Failed { why }),
            Outcome::Rejected { why } => {
                Some(Earlier::Failed { why: format!("it was rejected: {why}") })
            }
            Outcome::Asked { why, answer } => Some(Earlier::Asked { why, answer }),
        };
        let pull = pulls.get(origin).copied();
        let word =
            known.map(|earlier| Word { earlier, night: night.clone(), pull, elsewhere: true });
        words.push((*happened, (task.clone(), text.clone()), word));
    }
    words
}

/// What a task asked, and the lines that would answer it.
pub(super) fn asked(setback: &Setback) -> (String, Vec<String>) {
    let questions = report::questions(setback);
    let why = if questions.is_empty() {
        report::why(setback)
    } else {
        report::text::inline_plain(&questions.join(" / "))
    };
    (why, report::answer_lines(questions))
}

/// The nights of the last weeks, oldest first. A journal that cannot be read says nothing here; `status` names the
/// damage.
pub(super) fn nights(places: &Places) -> impl Iterator<Item = Night> {
    newest(places, NIGHTS)
}

/// As [`nights`], at most so many.
pub(super) fn newest(places: &Places, most: usize) -> impl Iterator<Item = Night> {
    let nights = places.all_nights();
    let first = nights.len().saturating_sub(most);
    let places = places.clone();
    nights.into_iter().skip(first).filter_map(move |id| {
        let reading = journal::read(&places.night(&id).journal()).ok()?;
        Night::replay(reading.entries).ok()
    })
}

/// What people said about earlier results of these tasks, the newest of each. Once a task has landed that is past.
/// Of this machine's journals alone: what stands in the ledger anybody may have written, and this reaches an agent.
pub fn rejections(home: &Home, tasks: &[AdmittedTask]) -> Vec<Rejection> {
    let mut known: BTreeMap<TaskId, Rejection> = BTreeMap::new();
    for night in nights(&home.places) {
        for task in tasks {
            let Some(state) = night.task(task.id()) else { continue };
            let reverse =
                night.opening().takes_back(task.id()).filter(|_| state.landed().is_some());
            if let Some((reverse, reason)) = reverse.and_then(|r| Some((r, r.reason.clone()?))) {
                let (task, night) = (task.id().clone(), reverse.night.clone());
                let by = reverse.by.clone();
                known.insert(task.clone(), Rejection { task, night, reason, by });
            } else if state.landed().is_some() {
                known.remove(task.id());
            } else if let Some((reason, by)) =
                state.failed().and_then(|setback| said_no(&setback.failure))
            {
                let (task, night) = (task.id().clone(), night.opening().night.clone());
                let (reason, by) = (reason.clone(), by.clone());
                known.insert(task.clone(), Rejection { task, night, reason, by });
            }
        }
    }
    known.into_values().collect()
}

/// What a person said against a result, and who: nothing is told of a no without words.
fn said_no(failure: &Failure) -> Option<(&String, &String)> {
    match failure {
        Failure::Rejected { reason, by } | Failure::Reverted { reason: Some(reason), by } => {
            Some((reason, by))
        }
        Failure::Agent(_)
        | Failure::NoChange { .. }
        | Failure::Refused(_)
        | Failure::Unfit(_)
        | Failure::Gate(_)
        | Failure::NoProgress { .. }
        | Failure::Conflict { .. }
        | Failure::Question { .. }
        | Failure::Unproven(_)
        | Failure::NothingLeft
        | Failure::Reverted { reason: None, .. }
        | Failure::Disagreed { .. } => None,
    }
}

/// Where a night's work waits: its pull request, or its branch.
pub(super) fn place(night: &Night) -> String {
    match night.publication() {
        Publication::Done { url, number: Some(_), .. } => url.clone(),
        Publication::Done { .. } | Publication::Open | Publication::Failed { .. } => {
            night.opening().night.branch()
        }
    }
}
