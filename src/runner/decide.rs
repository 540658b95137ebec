//! A person's decisions about held results: which night has one, what became of that night outside, and how they are
//! written down and carried out.
//!
//! Decides nothing: what follows is the night's to say. Never starts an agent.

use crate::{
    forge::Over,
    git,
    ids::{AttemptId, NAME, NightId, TaskId, TreeId},
    journal::{self, Journal, Lock},
    night::{Base, Entry, Event, Night, Publication},
    outcome::StopReason,
    plan::{self, SectionWords},
    process::Stop,
    report,
    runner::{
        base, clock,
        hands::draft,
        home::Home,
        look,
        open::{self, Opened, Wishes, replay},
        places::Surroundings,
        refused::Refused,
    },
};

/// Nights that are looked through for a result, newest first: two months of them.
const NIGHTS: usize = 60;

/// One decision.
#[derive(Clone, Debug)]
pub struct Word {
    /// The task whose result it is about.
    pub task: TaskId,
    /// True: it may land.
    pub approved: bool,
    /// What the person said.
    pub reason: Option<String>,
}

/// What became of a night's branch since it was published.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// Why nothing can be added to it any more.
    pub over: Option<Over>,
    /// What the person should know.
    pub notes: Vec<String>,
    /// The first of what could not be looked at, and why: then nothing being over says nothing.
    pub unseen: Option<String>,
}

impl Outside {
    fn not_seen(&mut self, what: String) {
        self.notes.push(what.clone());
        self.unseen.get_or_insert(what);
    }
}

/// The newest night that tried this task; of `only` where it is given. An old journal that cannot be read is passed
/// over, the named or the newest one is an error.
pub fn tried(home: &Home, only: Option<&NightId>, task: &TaskId) -> Result<Option<Night>, Refused> {
    let nights = match only {
        Some(id) => vec![id.clone()],
        None => home.places.all_nights().into_iter().rev().take(NIGHTS).collect(),
    };
    for (back, id) in nights.iter().enumerate() {
        let reading = journal::read(&home.places.night(id).journal());
        let reading = match reading {
            Ok(journal::Reading { damage: Some(damage), .. }) => Err(damage),
            other => other,
        };
        let night = match reading {
            Ok(reading) if reading.entries.is_empty() => continue, // nothing was begun
            Ok(reading) => replay(reading.entries),
            Err(damage) => Err(damage.into()),
        };
        match night {
            Ok(night) if night.task(task).is_some_and(|state| !state.attempts.is_empty()) => {
                return Ok(Some(night));
            }
            Err(damage) if back == 0 => return Err(damage),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// Looks at the remote and at the forge, for all that the night landed.
pub fn outside(surroundings: &Surroundings, home: &Home, night: &Night) -> Outside {
    let landed: Vec<TaskId> = night.landed().into_iter().map(|(id, _)| id.clone()).collect();
    outside_for(surroundings, home, night, &landed)
}

/// Looks at the remote and at the forge, for some of the night's tasks. What cannot be reached is a note and named:
/// a push that does not fit is refused by the remote in any case.
pub fn outside_for(
    surroundings: &Surroundings,
    home: &Home,
    night: &Night,
    tasks: &[TaskId],
) -> Outside {
    let opening = night.opening();
    let mut found = Outside::default();
    // Without a commit there was neither branch nor pull request outside.
    if *night.tip() == opening.base.commit {
        return found;
    }
    let branch = &opening.base.branch;
    match base::find(surroundings, home, None, Some(branch), &mut found.notes) {
        Ok(now) => {
            if let Some(words) = in_base(home, night, tasks, &now) {
                found.over = Some(Over { words, merged: true });
                return found;
            }
            if now.how.starts_with(base::LAST_FETCHED) {
                found.unseen = Some(format!("{branch} could not be fetched"));
            }
            if now.commit != opening.base.commit {
                found.notes.push(format!(
                    "{branch} has moved on since night {} began: what is approved lands on the night's own branch, \
                     as the rest of it did",
                    opening.night
                ));
            }
        }
        Err(problem) => found.not_seen(format!("could not look at {branch}: {problem}")),
    }
    if matches!(night.publication(), Publication::Done { number: Some(_), .. }) {
        match pull_request(surroundings, home, night) {
            Ok(over) => found.over = over,
            Err(problem) => {
                found.not_seen(format!("could not look at the pull request: {problem}"));
            }
        }
    }
    found
}

/// In words, how the night's work came into the base; `None` when it is not there.
fn in_base(home: &Home, night: &Night, tasks: &[TaskId], now: &Base) -> Option<String> {
    let opening = night.opening();
    let (name, branch) = (opening.night.branch(), &opening.base.branch);
    if home.vault.contains(&now.commit, night.tip()).unwrap_or(false) {
        return Some(format!("{name} is merged into {branch}"));
    }
    if now.commit == opening.base.commit {
        return None;
    }
    if squashed(home, night, &now.tree) {
        return Some(format!(
            "all that {name} changes is in {branch} already: it was merged as one commit"
        ));
    }
    // The files may have changed since. The mark is the night's own, and came there with its work.
    let task = marked(home, night, tasks, &now.tree)?;
    Some(format!("the plan in {branch} says `{}` for {task}: it was merged", opening.mark(&task)))
}

/// The first of the tasks that has the night's mark in the plan of a tree.
fn marked(home: &Home, night: &Night, tasks: &[TaskId], now: &TreeId) -> Option<TaskId> {
    let opening = night.opening();
    let bytes = home.vault.read_file(now, &opening.plan.path).ok()??;
    let (source, _) = plan::decode(&bytes);
    let (plan, _) = plan::parse(&source, &SectionWords::default());
    let says = |task: &&TaskId| {
        let mark = opening.mark(task);
        plan.tasks.iter().filter(|found| found.id == **task).any(|found| {
            found
                .fields
                .status
                .as_ref()
                .is_some_and(|status| source.get(status.span.clone()) == Some(&*mark))
        })
    };
    tasks.iter().find(says).cloned()
}

/// True when every file that the night changed is in a tree as the night left it: its commits came there as one. The
/// plan does not count, which people edit all day.
fn squashed(home: &Home, night: &Night, now: &TreeId) -> bool {
    let opening = night.opening();
    let same = || -> Result<bool, git::Error> {
        let tip = home.vault.tree_of(night.tip())?;
        let mut changed = home.vault.changed_paths(&opening.base.tree, &tip)?;
        changed.retain(|path| *path != opening.plan.path);
        let differ = home.vault.changed_paths(&tip, now)?;
        Ok(!changed.is_empty() && !changed.iter().any(|path| differ.contains(path)))
    };
    same().unwrap_or(false)
}

fn pull_request(
    surroundings: &Surroundings,
    home: &Home,
    night: &Night,
) -> Result<Option<Over>, String> {
    use crate::forge::Forge as _;
    let Some(access) = home.github(surroundings) else {
        return Err("the remote is not at GitHub any more".to_owned());
    };
    let forge = access.forge().map_err(|problem| problem.to_string())?;
    let draft = draft(night, &report::Logs::new());
    look::at_once(forge.ended(&draft))?.map_err(|problem| problem.to_string())
}

/// Opens a night to carry decisions out: they are its first facts, each written before anything is done. Without
/// `words` it only brings its pull request up to date. The caller holds the lock.
pub fn open(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    words: &[Word],
    wishes: Wishes,
    lock: Lock,
) -> Result<Opened, Refused> {
    let by = &surroundings.account;
    open_with(surroundings, home, id, wishes, lock, |night| facts(night, words, by))
}

/// The same with any facts of a person's, made from the night as it stands.
pub(super) fn open_with(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    wishes: Wishes,
    lock: Lock,
    facts: impl FnOnce(&Night) -> Result<Vec<Event>, Refused>,
) -> Result<Opened, Refused> {
    let wishes = Wishes { only_landing: true, ..wishes };
    let mut opened = open::resume(surroundings, home, id, wishes, lock, Stop::new())?;
    let mut first = vec![Event::StopAsked { reason: StopReason::OnlyLanding }];
    first.extend(facts(&opened.night)?);
    first.append(&mut opened.first);
    opened.first = first;
    Ok(opened)
}

/// Writes decisions down without carrying anything out, and returns the night after them: a "no" needs neither walls
/// nor a network. The caller holds the lock.
pub fn write_down(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    words: &[Word],
    _lock: &Lock,
) -> Result<Night, Refused> {
    let (mut journal, entries) = Journal::resume(&home.places.night(id).journal())?;
    let mut night = replay(entries)?;
    for fact in facts(&night, words, &surroundings.account)? {
        let entry = Entry::new(journal.next_seq(), clock::now(), &night.opening().agent.name, fact);
        journal.append(&entry)?;
        night.apply(entry.at, entry.event).map_err(|problem| impossible(&problem.to_string()))?;
    }
    Ok(night)
}

/// The facts of decisions that the night can take: tried on a copy, because a journal takes nothing back.
fn facts(night: &Night, words: &[Word], by: &str) -> Result<Vec<Event>, Refused> {
    let mut copy = night.clone();
    let mut facts = Vec::new();
    for Word { task, approved, reason } in words {
        let Some(state) = copy.task(task) else { return Err(impossible("no such task")) };
        if *approved && (state.is_approved() || state.landed().is_some()) {
            continue; // said before, by a process that was cut off
        }
        let number = state.last().map_or(0, |last| last.number);
        let attempt = AttemptId { task: task.clone(), number };
        let (approved, reason, by) = (*approved, reason.clone(), by.to_owned());
        let fact = Event::Decided { attempt, approved, reason, by };
        copy.apply(clock::now(), fact.clone()).map_err(|problem| {
            Refused::usage(
                format!("{task} is not what it was a moment ago: {}", problem.why),
                format!("{NAME} show '{task}' says where it stands"),
            )
        })?;
        facts.push(fact);
    }
    Ok(facts)
}

pub(super) fn impossible(why: &str) -> Refused {
    Refused {
        kind: super::refused::RefusedKind::Internal,
        message: format!("the decision does not fit the night's record: {why}"),
        help: None,
    }
}
