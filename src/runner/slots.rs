//! The places of agents on this machine, shared by the nights of all repositories of one account.
//!
//! Each place is a file that is locked while an agent works: the system frees it when its process dies, however it
//! dies. Nobody waits in here: who gets none asks again. There is no queue; the next to ask has the next place.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use crate::{
    config::UserSettings,
    diagnostic::Style,
    files,
    ids::NightId,
    journal::{self, Holder, Lock, Locking},
    runner::{clock, home::Home, places::Surroundings, prepare::user_settings, refused::Refused},
};

/// Agents at once where nobody says a number, at least: they wait for their model most of the time.
const LEAST: usize = 4;

/// The places as one night sees them.
#[derive(Debug)]
pub struct AgentSlots {
    directory: PathBuf,
    most: u32,
    night: NightId,
    repository: String,
}

/// A place in use. Free again when it is dropped.
#[derive(Debug)]
pub struct AgentSlot {
    /// `None` where the places cannot be used: no night waits for what is not there.
    _lock: Option<Lock>,
}

/// How many agents may work at once: what the user's own file says, else one for each processor, and never fewer
/// than four.
pub fn most(settings: &UserSettings) -> u32 {
    if let Some(most) = settings.agents_at_once {
        return most;
    }
    let processors = available_parallelism().map_or(1, NonZero::get);
    u32::try_from(processors.max(LEAST)).unwrap_or(u32::MAX)
}

impl AgentSlots {
    /// The first `most` places below `directory`.
    pub fn new(directory: PathBuf, most: u32, night: NightId, repository: String) -> AgentSlots {
        AgentSlots { directory, most: most.max(1), night, repository }
    }

    /// Those of this machine, as many as the user's own file says, for a night of this repository.
    pub fn of(
        surroundings: &Surroundings,
        home: &Home,
        night: NightId,
    ) -> Result<AgentSlots, Refused> {
        let most = most(&user_settings(surroundings, Style::Plain)?);
        let repository = home.user.root().display().to_string();
        Ok(AgentSlots::new(surroundings.agent_slots(), most, night, repository))
    }

    /// A free place; `None` when every one is taken.
    pub fn take(&self) -> Option<AgentSlot> {
        match self.ask() {
            Ok(lock) => lock.map(|lock| AgentSlot { _lock: Some(lock) }),
            Err(problem) => {
                tracing::warn!(%problem, "the places of agents cannot be used");
                Some(AgentSlot { _lock: None })
            }
        }
    }

    fn ask(&self) -> Result<Option<Lock>, journal::Error> {
        files::create_private_dir(&self.directory)?;
        let since = clock::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
        let repository = Some(self.repository.clone());
        let holder = Holder { repository, ..Holder::this(since, Some(self.night.clone())) };
        for number in 1..=self.most {
            if let Locking::Held(lock) = Lock::ask(&place(&self.directory, number), &holder)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// Who has the places, in words.
    pub fn taken_by(&self) -> String {
        in_words(&holders(&self.directory, self.most), self.most)
    }
}

fn place(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number}.lock"))
}

/// Who works in the first `most` places below `directory`. Fewer than `most` when some are free.
pub fn holders(directory: &Path, most: u32) -> Vec<Holder> {
    (1..=most.max(1)).filter_map(|number| Lock::holder(&place(directory, number))).collect()
}

/// The places and who has them, for people: each process once.
pub fn in_words(holders: &[Holder], most: u32) -> String {
    let mut seen: Vec<(&Holder, usize)> = Vec::new();
    for holder in holders {
        match seen.iter_mut().find(|(known, _)| known.pid == holder.pid) {
            Some((_, count)) => *count += 1,
            None => seen.push((holder, 1)),
        }
    }
    let who: Vec<String> = seen
        .into_iter()
        .map(|(holder, count)| {
            let of = holder.repository.as_deref().unwrap_or("a night");
            format!("{count} by {of} (pid {})", holder.pid)
        })
        .collect();
    format!("one of the {most} places of agents on this machine: {}", who.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(directory: &Path, repository: &str) -> AgentSlots {
        let night = NightId::new("2026-11-21").unwrap();
        AgentSlots::new(directory.to_owned(), 2, night, repository.to_owned())
    }

    #[test]
    fn there_are_as_many_places_as_the_person_says_and_each_is_free_again_at_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (slots(directory.path(), "/one"), slots(directory.path(), "/other"));
        let first = one.take().unwrap();
        let second = other.take().unwrap();
        assert!(one.take().is_none() && other.take().is_none());
        let taken = one.taken_by();
        let pid = std::process::id();
        assert_eq!(
            taken,
            format!("one of the 2 places of agents on this machine: 2 by /one (pid {pid})")
        );
        drop(first);
        assert_eq!(holders(directory.path(), 2).len(), 1);
        let third = other.take().unwrap();
        assert!(one.take().is_none());
        drop((second, third));
        assert_eq!(holders(directory.path(), 2), []);
    }

    #[test]
    fn places_that_cannot_be_used_keep_nobody_from_working() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::File::create_new(directory.path().join("file")).unwrap();
        assert!(slots(&directory.path().join("file"), "/one").take().is_some());
    }
}
