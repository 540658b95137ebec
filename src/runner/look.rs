//! What people did to the pull requests of earlier nights: merged, closed, ticked a box. Looked at before a night, and
//! told to who asks.
//!
//! Holds nothing up: what cannot be seen is a note. What was seen last stays here, for those who ask without a network.

use std::future::Future;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    files,
    forge::{Forge as _, Seen},
    ids::NAME,
    ledger::{Fact, Standing},
    runner::{
        clock,
        home::Home,
        known,
        places::{Places, Surroundings},
        refused::Refused,
    },
};

/// Open pull requests of ours when somebody last looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// When that was.
    pub at: Timestamp,
    /// Their addresses, in the order of their numbers.
    pub urls: Vec<String>,
    /// With so many of them no night begins; 0 = any number may be open.
    pub limit: u32,
}

impl Open {
    /// Those of `seen` that nobody decided about.
    pub fn of(seen: &[Seen], limit: u32) -> Open {
        let mut open: Vec<&Seen> =
            seen.iter().filter(|pull| pull.standing == Standing::Open).collect();
        open.sort_by_key(|pull| pull.number);
        let urls = open.into_iter().map(|pull| pull.url.clone()).collect();
        Open { at: clock::now(), urls, limit }
    }

    /// What was seen last here; `None` when nobody looked.
    pub fn last(places: &Places) -> Option<Open> {
        serde_json::from_slice(&std::fs::read(places.pulls()).ok()?).ok()
    }

    /// Why no night begins, when too many are open.
    pub fn refusal(&self) -> Option<Refused> {
        let count = self.urls.len();
        let full = self.limit > 0 && count >= usize::try_from(self.limit).unwrap_or(usize::MAX);
        full.then(|| {
            let are = if count == 1 { "pull request is" } else { "pull requests are" };
            Refused::environment(
                format!(
                    "{count} {are} open, and `pr.open_limit` is {}: {}",
                    self.limit,
                    self.urls.join(" ")
                ),
                format!(
                    "merge or close one, or raise `pr.open_limit`; {NAME} run --no-pr leaves the work on a branch"
                ),
            )
        })
    }
}

/// The pull requests of earlier nights, as they stand; `None` where there can be none, and where nobody answers.
pub(super) fn pulls(
    surroundings: &Surroundings,
    home: &Home,
    notes: &mut Vec<String>,
) -> Option<Vec<Seen>> {
    let any = known::said(&home.vault).iter().any(|fact| matches!(fact, Fact::Pull { .. }));
    let access = home.github(surroundings).filter(|_| any)?;
    let seen = access
        .forge()
        .map_err(|problem| problem.to_string())
        .and_then(|forge| at_once(forge.pulls())?.map_err(|problem| problem.to_string()));
    if let Err(problem) = &seen {
        notes.push(format!("what was decided about earlier pull requests is not known: {problem}"));
    }
    seen.ok()
}

/// Keeps what was seen for those who ask later, and for machines that cannot look. What cannot be kept costs nothing.
pub(super) fn remember(home: &Home, seen: &[Seen]) {
    let decided = |pull: &&Seen| pull.standing == Standing::Closed;
    let facts: Vec<Fact> = seen.iter().filter(decided).map(stands).collect();
    let before = known::said(&home.vault);
    let other = |pull: &&Seen| {
        before.iter().any(|fact| {
            matches!(fact, Fact::Stands { number, standing, .. }
            if *number == pull.number && *standing != pull.standing)
        })
    };
    let reopened: Vec<Fact> = seen.iter().filter(other).map(stands).collect();
    let kept = known::keep(&home.vault, |ledger| {
        for fact in facts.iter().chain(&reopened) {
            ledger.put(fact, clock::now(), |value| value);
        }
    });
    if let Err(problem) = kept {
        tracing::warn!(%problem, "what became of pull requests was not written down");
    }
}

fn stands(pull: &Seen) -> Fact {
    Fact::Stands { night: pull.night.clone(), number: pull.number, standing: pull.standing }
}

/// Keeps how many are open.
pub(super) fn keep(home: &Home, open: &Open) -> Result<(), files::Error> {
    let bytes = serde_json::to_vec(open).unwrap_or_default();
    files::write_atomic(&home.places.pulls(), &bytes)
}

/// Waits for one request of a person's command, outside of any night.
pub(super) fn at_once<T>(asked: impl Future<Output = T>) -> Result<T, String> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|problem| problem.to_string())?;
    Ok(tokio.block_on(asked))
}
