//! The conversations of a night's tasks between two attempts: the files that they work in, and the frozen
//! program where there is one.
//!
//! Only what the night may still go on with is kept. What a killed process left is found again by its
//! place: files are worth more than a second run of the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    agent::{Activity, Session},
    files,
    ids::{AttemptId, TaskId},
    night::{Conversation, Night, Stage},
    workspace::{Slot, Workspace},
};

/// What agents keep for themselves in a conversation's directory.
const OWN: [&str; 4] = ["claude", "home", "stores", "t"];
/// The file that names a conversation's slot: agents know their files by their path.
const SLOT: &str = "slot";

/// What is kept of one task's conversation.
pub struct Held {
    /// The conversation's id.
    pub conversation: String,
    /// Its files.
    pub workspace: Workspace,
    /// Its frozen program.
    pub session: Option<Session>,
    /// Its directory.
    pub home: PathBuf,
}

/// All conversations that are kept, and what their agents are doing.
#[derive(Default)]
pub struct Conversations {
    held: Mutex<BTreeMap<TaskId, Held>>,
    activities: Mutex<BTreeMap<AttemptId, Activity>>,
}

impl Conversations {
    fn held(&self) -> MutexGuard<'_, BTreeMap<TaskId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a conversation until [`Conversations::take`] or [`Conversations::release`].
    pub fn keep(&self, task: &TaskId, held: Held) -> Option<Held> {
        self.held().insert(task.clone(), held)
    }

    /// What is kept of a task's conversation.
    pub fn take(&self, task: &TaskId) -> Option<Held> {
        self.held().remove(task)
    }

    /// Everything that `night` will not go on with, to be ended by the caller.
    #[must_use]
    pub fn release(&self, night: &Night) -> Vec<Held> {
        let mut held = self.held();
        let (kept, gone) = std::mem::take(&mut *held)
            .into_iter()
            .partition(|(id, held)| wanted(night, id, &held.conversation));
        *held = kept;
        gone.into_values().collect()
    }

    /// Everything, to be ended by the caller.
    #[must_use]
    pub fn release_all(&self) -> Vec<Held> {
        std::mem::take(&mut *self.held()).into_values().collect()
    }

    /// Where an agent says what it does, until [`Conversations::done`].
    pub fn activity_of(&self, attempt: &AttemptId) -> Activity {
        let activity = Activity::new();
        let mut activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner);
        activities.insert(attempt.clone(), activity.clone());
        activity
    }

    /// An agent does nothing any more.
    pub fn done(&self, attempt: &AttemptId) {
        self.activities.lock().unwrap_or_else(PoisonError::into_inner).remove(attempt);
    }

    /// What each agent is doing right now.
    pub fn activity(&self) -> Vec<(AttemptId, String)> {
        let activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner);
        activities.iter().map(|(attempt, activity)| (attempt.clone(), activity.get())).collect()
    }
}

impl Held {
    /// Ends the program and gives the files back, and removes what the program kept for itself: it is not masked, and
    /// nobody will go on with it.
    pub async fn end_for_good(self) {
        let home = self.home.clone();
        self.end().await;
        for name in OWN {
            if let Err(problem) = files::remove_any(&home.join(name)) {
                tracing::warn!(%problem, "could not remove what an agent kept for itself");
            }
        }
    }

    /// Ends the program and gives the files back. The conversation can be gone on with.
    pub async fn end(self) {
        // A program that is thawed to end may write once more.
        let as_read = self.session.is_none();
        if let Some(session) = self.session
            && let Err(problem) = session.close().await
        {
            tracing::warn!(%problem, "a conversation did not end by itself");
        }
        release(self.workspace, as_read).await;
    }
}

/// Gives a workspace back beside the loop. That it could not says nothing about the attempt. `as_read`: no
/// program ran in it since its changes were read.
pub async fn release(workspace: Workspace, as_read: bool) {
    let release = if as_read { Workspace::release_as_read } else { Workspace::release };
    let released = tokio::task::spawn_blocking(move || release(workspace)).await;
    if let Ok(Err(problem)) = released {
        tracing::warn!(%problem, "could not give a workspace back");
    }
}

fn wanted(night: &Night, id: &TaskId, conversation: &str) -> bool {
    night.task(id).is_some_and(|task| match task.stage {
        Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => true,
        Stage::Waiting => task.goes_on().is_some_and(|c| c.id == conversation),
        Stage::Held(_) | Stage::Landed(_) | Stage::Failed(_) | Stage::Parked(_) => false,
    })
}

/// The conversations whose workspaces a resumed night may go on with.
pub fn owners(night: &Night) -> BTreeSet<String> {
    night
        .tasks()
        .filter(|(_, task)| matches!(task.stage, Stage::Waiting | Stage::Editing))
        .filter_map(|(_, task)| Some(task.goes_on()?.id.clone()))
        .collect()
}

/// The attempt that opened a conversation: its directories are the conversation's.
pub fn opener(task: &TaskId, conversation: &Conversation) -> AttemptId {
    AttemptId { task: task.clone(), number: conversation.opened_by }
}

/// The slot in which a conversation began, in its directory.
pub fn slot(home: &Path) -> Option<Slot> {
    Slot::named(&std::fs::read_to_string(home.join(SLOT)).ok()?)
}

/// Writes down in which slot a conversation works.
pub fn remember_slot(home: &Path, slot: &Slot) -> Result<(), files::Error> {
    files::create_private_dir(home)?;
    files::write_soon(&home.join(SLOT), slot.to_string().as_bytes())
}
