//! The stop button: a file of ours that `stop` writes, and `.nightshift/STOP` in the checkout, which
//! anybody can touch. A stopped repository stays stopped until `resume` lifts it.
//!
//! Reads small files; never ends anything itself.

use std::path::{Path, PathBuf};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    files,
    ids::{NAME, REPO_DIRECTORY},
    process::Urgency,
    runner::{clock, home::Home},
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
    /// When it lifts itself; `None` = when somebody lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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

impl StopOrder {
    /// True until it lifts itself.
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A time as this machine's people read it.
pub fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
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
        self.asked_at(clock::now())
    }

    fn asked_at(&self, now: Timestamp) -> Option<Asked> {
        if let Some(order) = read(&self.ours).filter(|order| order.holds(now)) {
            let urgency = if order.now { Urgency::Now } else { Urgency::Soon };
            let reason = order.reason.map_or(String::new(), |reason| format!(": {reason}"));
            let end = order.until.map_or(String::new(), |until| format!(" until {}", local(until)));
            let by = format!("{} at {}{end}{reason}", order.by, order.at);
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
        until: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_with_an_end_lifts_itself_and_an_unreadable_one_holds() {
        let directory = tempfile::tempdir().unwrap();
        let files = StopFiles { ours: directory.path().join("stop.json"), checkout: None };
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert!(files.asked_at(at(0)).is_none());
        let order = StopOrder {
            by: "ada".to_owned(),
            at: "then".to_owned(),
            now: false,
            reason: None,
            until: Some(at(100)),
        };
        files.ask(&order).unwrap();
        assert!(files.asked_at(at(99)).unwrap().by.starts_with("ada at then until 1970-01-01"));
        assert!(files.asked_at(at(100)).is_none());
        // Of a version that knew no end.
        files::write_atomic(&files.ours, b"{\"by\":\"a\",\"at\":\"b\",\"now\":true}").unwrap();
        assert_eq!(files.asked_at(at(100)).unwrap().urgency, Urgency::Now);
        files::write_atomic(&files.ours, b"{").unwrap();
        assert!(files.asked_at(at(100)).is_some());
    }
}
