//! Whose turn it is: the repository's lock, how long to wait for it, and the stop that keeps nights from
//! starting.
//!
//! The system frees the lock of a process that died. Never ends anybody's process.

use std::time::Duration;

use crate::{
    ids::{NAME, NightId},
    journal::{self, Holder, Lock, Locking},
    night::Night,
    runner::{
        clock::{self, Stopwatch},
        home::Home,
        refused::{Refused, RefusedKind},
        stop::StopFiles,
    },
};

/// How often a lock is asked for that somebody else has.
const POLL: Duration = Duration::from_millis(250);
/// Longer than anybody takes to look who has a lock.
const A_LOOK: Duration = Duration::from_millis(20);

/// Asks for the repository's lock, and clears what a killed night left behind.
pub fn lock(home: &Home, night: Option<NightId>) -> Result<Lock, Refused> {
    ask(home, night)?
}

/// As [`lock`], and waits at most `limit` for a night that runs; `told` hears once for whom. A stop that is asked for
/// meanwhile ends the wait.
pub fn lock_within(
    home: &Home,
    limit: Duration,
    mut told: impl FnMut(&str),
) -> Result<Lock, Refused> {
    let waited = Stopwatch::start();
    let mut first = true;
    loop {
        let busy = match ask(home, None)? {
            Ok(lock) => return Ok(lock),
            Err(busy) => busy,
        };
        if waited.elapsed() >= limit {
            return Err(busy);
        }
        if std::mem::take(&mut first) {
            told(&format!("waiting: {}", busy.message));
        }
        std::thread::sleep(POLL.min(limit.saturating_sub(waited.elapsed())));
        not_stopped(home)?;
    }
}

/// Says no when the repository is stopped.
pub fn not_stopped(home: &Home) -> Result<(), Refused> {
    match StopFiles::of(home).asked() {
        None => Ok(()),
        Some(asked) => Err(Refused::new(
            RefusedKind::Stopped,
            format!("nights of this repository are stopped by {}", asked.by),
            asked.lift,
        )),
    }
}

/// The lock, or the words for whoever wanted it.
fn ask(home: &Home, night: Option<NightId>) -> Result<Result<Lock, Refused>, Refused> {
    let since = clock::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let holder = Holder::this(since, night);
    let mut answer = Lock::ask(&home.places.lock(), &holder)?;
    if matches!(answer, Locking::Busy(_)) {
        // Who only looks who has it, has it for a moment.
        std::thread::sleep(A_LOOK);
        answer = Lock::ask(&home.places.lock(), &holder)?;
    }
    match answer {
        Locking::Held(lock) => {
            home.vault.clear_stale_locks()?;
            home.user.clear_stale_locks()?;
            Ok(Ok(lock))
        }
        Locking::Busy(holder) => {
            let who = holder.map_or("another process".to_owned(), |holder| holder.to_string());
            let far = how_far(home).map_or(String::new(), |far| format!(", {far}"));
            Ok(Err(Refused::new(
                RefusedKind::Busy,
                format!("another night is running here: {who}{far}"),
                format!(
                    "{NAME} status shows how far it is; {NAME} run --wait=2h waits for it; {NAME} stop ends it"
                ),
            )))
        }
    }
}

/// How far the newest night is, where its record can be read and has no end.
fn how_far(home: &Home) -> Option<String> {
    let id = home.places.all_nights().pop()?;
    let reading = journal::read(&home.places.night(&id).journal()).ok()?;
    let night = Night::replay(reading.entries).ok().filter(|night| night.ended().is_none())?;
    let all = night.tasks().count();
    let settled = night.tasks().filter(|(_, task)| task.is_settled()).count();
    Some(format!("{id}, {settled} of {all} tasks done"))
}
