//! `history.db`: an index over journals, so that the figures of a year are there without reading a year.
//!
//! Never the truth of anything: each row is a copy of what one journal says, with that journal's size and time and a
//! checksum of its own. What is damaged, older or missing is read from the journals again, and where nothing can be
//! written the index is built in memory. SQLite writes its file itself, in a directory of ours.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};

use crate::{files, ids::hex, journal, night::Night, report::NightFigures};

/// Version of the tables and of the figures in them; another one is thrown away.
const VERSION: i64 = 2;
/// The file's name in the directory of all state.
pub const FILE: &str = "history.db";
/// How long another process is waited for that writes at the same moment.
const BUSY: Duration = Duration::from_secs(3);

const TABLES: &str = "\
    CREATE TABLE IF NOT EXISTS night (
        repository TEXT NOT NULL,
        night TEXT NOT NULL,
        size INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        figures TEXT NOT NULL,
        sum TEXT NOT NULL,
        PRIMARY KEY (repository, night)
    );";

/// A journal of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The repository's name among our own directories.
    pub repository: String,
    /// The night, as its directory is called.
    pub night: String,
    /// The file.
    pub journal: PathBuf,
}

/// What the nights came to, and what could not be read.
#[derive(Debug, Default)]
pub struct Known {
    /// Figures of each night that began, in the order of the sources, with its repository.
    pub nights: Vec<(String, NightFigures)>,
    /// Journals that are damaged, with why: nothing behind the damage is counted.
    pub problems: Vec<String>,
    /// Why the index could not be kept, where that was so. The figures are whole all the same.
    pub unkept: Option<String>,
}

/// A row as it is kept.
struct Row {
    size: i64,
    modified: i64,
    figures: String,
    sum: String,
}

/// The figures of all nights in `sources`, from the index in `state` where it has them and from the journals
/// otherwise. The index is brought up to date; with `repository` only its own rows are looked at.
pub fn figures(state: &Path, repository: Option<&str>, sources: &[Source]) -> Known {
    let path = state.join(FILE);
    match kept(&path, repository, sources) {
        Ok(known) => known,
        // Another process is at it, or nothing can be written: the file is not touched.
        Err(problem) if passes(&problem) => in_memory(sources, &problem),
        Err(problem) => {
            tracing::warn!(%problem, "the index of nights is built anew");
            let again = thrown_away(&path)
                .map_err(|why| why.to_string())
                .and_then(|()| kept(&path, repository, sources).map_err(|why| why.to_string()));
            again.unwrap_or_else(|why| in_memory(sources, &why))
        }
    }
}

/// True for a "no" that says nothing about the file.
fn passes(problem: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        problem.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::DiskFull
        )
    )
}

fn thrown_away(path: &Path) -> Result<(), files::Error> {
    for name in [path.to_owned(), path.with_extension("db-journal")] {
        files::remove_any(&name)?;
    }
    Ok(())
}

fn in_memory(sources: &[Source], why: &impl ToString) -> Known {
    let mut known = Known { unkept: Some(why.to_string()), ..Known::default() };
    for source in sources {
        read(source, &mut known);
    }
    known
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn kept(path: &Path, repository: Option<&str>, sources: &[Source]) -> rusqlite::Result<Known> {
    let mut connection = open(path)?;
    // One writer at a time: the second waits, and finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        transaction.execute_batch("DROP TABLE IF EXISTS night;")?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.execute_batch(TABLES)?;
    let mut rows = rows(&transaction, repository)?;
    let mut known = Known::default();
    for source in sources {
        let key = (source.repository.clone(), source.night.clone());
        let row = rows.remove(&key);
        let stamp = stamp(&source.journal);
        if let (Some(row), Some(stamp)) = (&row, stamp)
            && (row.size, row.modified) == stamp
            && row.sum == checksum(&key, stamp, &row.figures)
            && let Ok(figures) = serde_json::from_str(&row.figures)
        {
            known.nights.push((key.0, figures));
            continue;
        }
        let whole = known.problems.len();
        let Some(figures) = read(source, &mut known) else { continue };
        // A damaged journal is read each time: whoever asks is told of it.
        if let Some(stamp) = stamp.filter(|_| known.problems.len() == whole) {
            let text = serde_json::to_string(&figures).unwrap_or_default();
            let sum = checksum(&key, stamp, &text);
            transaction.execute(
                "INSERT OR REPLACE INTO night VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![key.0, key.1, stamp.0, stamp.1, text, sum],
            )?;
        }
    }
    for (repository, night) in rows.keys() {
        transaction.execute(
            "DELETE FROM night WHERE repository = ?1 AND night = ?2",
            params![repository, night],
        )?;
    }
    transaction.commit()?;
    Ok(known)
}

fn rows(
    connection: &Connection,
    repository: Option<&str>,
) -> rusqlite::Result<BTreeMap<(String, String), Row>> {
    let mut statement = connection.prepare(
        "SELECT repository, night, size, modified, figures, sum FROM night WHERE ?1 IS NULL OR repository = ?1",
    )?;
    let rows = statement.query_map([repository], |row| {
        let kept = Row {
            size: row.get(2)?,
            modified: row.get(3)?,
            figures: row.get(4)?,
            sum: row.get(5)?,
        };
        Ok(((row.get(0)?, row.get(1)?), kept))
    })?;
    rows.collect()
}

/// A journal's figures, and their place in `known`. `None` for a night that never began.
fn read(source: &Source, known: &mut Known) -> Option<NightFigures> {
    let mut damaged = |why: String| known.problems.push(format!("{}: {why}", source.night));
    let reading = match journal::read(&source.journal) {
        Ok(reading) => reading,
        Err(why) => {
            damaged(why.to_string());
            return None;
        }
    };
    if let Some(why) = &reading.damage {
        damaged(why.to_string());
    }
    if reading.entries.is_empty() {
        return None;
    }
    match Night::replay(reading.entries) {
        Ok(night) => {
            let figures = NightFigures::of(&night);
            known.nights.push((source.repository.clone(), figures.clone()));
            Some(figures)
        }
        Err(why) => {
            damaged(why.to_string());
            None
        }
    }
}

/// Size and time of change, in bytes and nanoseconds; asked before the file is read, so that what is written
/// meanwhile is seen the next time.
fn stamp(path: &Path) -> Option<(i64, i64)> {
    let found = path.metadata().ok()?;
    let nanoseconds = found.mtime().checked_mul(1_000_000_000)?.checked_add(found.mtime_nsec())?;
    Some((i64::try_from(found.size()).ok()?, nanoseconds))
}

fn checksum(key: &(String, String), stamp: (i64, i64), figures: &str) -> String {
    let mut sum = Sha256::new();
    for part in [&key.0, &key.1, &format!("{} {}", stamp.0, stamp.1), figures] {
        sum.update(part.as_bytes());
        sum.update([0]);
    }
    hex(&sum.finalize())
}
