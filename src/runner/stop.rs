//! The stop button: a file of ours that `stop` writes, and `.nightshift/STOP` in the checkout, which
//! anybody can touch. A stopped repository stays stopped until `resume` lifts it.
//!
//! Reads small files; never ends anything itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    files,
    ids::{NAME, REPO_DIRECTORY},
    process::Urgency,
    runner::home::Home,
};

/// What `stop` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopOrder {
    /// Who, as the system knows them.
    pub by: String,
    /// When, as text.
    pub at: String,
    /// True for `stop --now`.
    pub now: bool,
    /// Why, in the person's words.
    pub reason: Option<String>,
}

/// A stop that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How soon.
    pub urgency: Urgency,
    /// Who and how, in words.
    pub by: String,
    /// How to lift it, in words.
    pub lift: String,
}

/// Where stops are asked for.
#[derive(Clone, Debug)]
pub struct StopFiles {
    ours: PathBuf,
    checkout: Option<PathBuf>,
}

impl StopFiles {
    /// The files of a repository.
    pub fn of(home: &Home) -> StopFiles {
        let checkout = home.user.work_tree().map(|root| root.join(REPO_DIRECTORY).join("STOP"));
        StopFiles { ours: home.places.stop(), checkout }
    }

    /// What is asked for now.
    pub fn asked(&self) -> Option<Asked> {
        if let Some(order) = read(&self.ours) {
            let urgency = if order.now { Urgency::Now } else { Urgency::Soon };
            let reason = order.reason.map_or(String::new(), |reason| format!(": {reason}"));
            let by = format!("{} at {}{reason}", order.by, order.at);
            return Some(Asked { urgency, by, lift: format!("{NAME} resume lifts it") });
        }
        let checkout = self.checkout.as_ref().filter(|path| path.symlink_metadata().is_ok())?;
        let file = checkout.display();
        let (by, lift) = (format!("the file {file}"), format!("remove {file} to lift it"));
        Some(Asked { urgency: Urgency::Soon, by, lift })
    }

    /// Asks for a stop.
    pub fn ask(&self, order: &StopOrder) -> Result<(), files::Error> {
        let text = serde_json::to_vec(order).unwrap_or_default();
        files::write_atomic(&self.ours, &text)
    }

    /// Lifts our own stop. The checkout's file is the person's: it is named, not removed.
    pub fn lift(&self) -> Result<Option<&Path>, files::Error> {
        files::remove_file(&self.ours)?;
        Ok(self.checkout.as_deref().filter(|path| path.symlink_metadata().is_ok()))
    }
}

/// An order that cannot be read is an order all the same: stopping is the safe answer.
fn read(path: &Path) -> Option<StopOrder> {
    let bytes = std::fs::read(path).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap_or(StopOrder {
        by: "somebody".to_owned(),
        at: "an unknown time".to_owned(),
        now: false,
        reason: None,
    }))
}
