//! The fsynced record of a night, and the lock that keeps nights of one repository apart.
//!
//! JSON Lines. The first line is a header with the format's version; every further line is one [`Entry`],
//! synced before the deed that it orders, with those before it. Never rewrites a line: a torn last line is cut off, because
//! nothing was done on its word.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    faults, files,
    ids::{self, NAME, NightId},
    night::Entry,
};

/// Version of the format. A program never writes to a journal of another version.
const VERSION: u32 = 1;

/// The file's name in a night's directory.
pub const FILE: &str = "journal.jsonl";

#[derive(Serialize, Deserialize)]
struct Header {
    journal: u32,
    #[serde(rename = "nightshift")]
    program: String,
    night: NightId,
}

/// Why a journal cannot be written or trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("could not {deed} the journal {path}: {source}")]
    Io {
        /// What was tried.
        deed: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file was written by another version of the format.
    #[error(
        "{path} has journal format {found}, begun by {NAME} {program}; this is {}, which goes on with format \
         {VERSION} alone",
        ids::VERSION
    )]
    Version {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The version of the program that began it.
        program: String,
    },
    /// A line in the middle cannot be read: something else wrote to the file, or the disk lost it.
    #[error("{path}:{line}: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The directory of the night could not be prepared.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// An open journal. One process at a time has one: the repository's lock sees to it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    next: u64,
    /// Bytes of the lines that are whole.
    length: u64,
    /// True when part of a line may stand behind them: its write failed.
    torn: bool,
    /// False when the disk may not have the last lines yet.
    synced: bool,
}

/// What a journal holds, as far as it can be read.
#[derive(Debug)]
pub struct Reading {
    /// The entries up to the first one that cannot be read.
    pub entries: Vec<Entry>,
    /// The first line that cannot be read though lines follow it, or the first of all where another version wrote it.
    pub damage: Option<Error>,
    /// Length of the readable part in bytes.
    whole: u64,
}

impl Journal {
    /// Starts a night's journal.
    pub fn create(path: &Path, night: &NightId) -> Result<Journal, Error> {
        let wrap = |deed| move |source| io_error(deed, path, source);
        faults::ask("journal.create", path.display()).map_err(wrap("create"))?;
        let mut file =
            OpenOptions::new().append(true).create_new(true).open(path).map_err(wrap("create"))?;
        let header =
            Header { journal: VERSION, program: ids::VERSION.to_owned(), night: night.clone() };
        let length = write_line(&mut file, &header).map_err(wrap("write"))?;
        if let Some(parent) = path.parent() {
            files::sync_dir(parent)?;
        }
        file.sync_data().map_err(wrap("sync"))?;
        Ok(Journal { file, path: path.to_owned(), next: 1, length, torn: false, synced: true })
    }

    /// Opens a night's journal to go on with it. Damage in the middle is refused.
    pub fn resume(path: &Path) -> Result<(Journal, Vec<Entry>), Error> {
        let reading = read(path)?;
        if let Some(damage) = reading.damage {
            return Err(damage);
        }
        let wrap = |deed| move |source| io_error(deed, path, source);
        faults::ask("journal.open", path.display()).map_err(wrap("open"))?;
        let mut file =
            OpenOptions::new().read(true).append(true).open(path).map_err(wrap("open"))?;
        file.set_len(reading.whole).map_err(wrap("trim"))?;
        file.seek(io::SeekFrom::End(0)).map_err(wrap("open"))?;
        file.sync_all().map_err(wrap("sync"))?;
        let next = reading.entries.last().map_or(1, |entry| entry.seq + 1);
        let (path, length) = (path.to_owned(), reading.whole);
        Ok((Journal { file, path, next, length, torn: false, synced: true }, reading.entries))
    }

    /// The number that the next entry must have.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Writes one entry. Nothing may be done on its word before [`Journal::sync`]. After an error the same may be
    /// tried again: what a full disk took of the line is taken back first.
    pub fn write(&mut self, entry: &Entry) -> Result<(), Error> {
        self.synced = false;
        if self.torn {
            self.file.set_len(self.length).map_err(|e| io_error("trim", &self.path, e))?;
        }
        self.torn = true;
        let written = faults::ask("journal.write", entry.seq)
            .and_then(|()| write_line(&mut self.file, entry))
            .map_err(|e| io_error("write", &self.path, e))?;
        self.torn = false;
        self.length += written;
        faults::pass("journal.written");
        self.next = entry.seq + 1;
        Ok(())
    }

    /// Waits until the disk has all that was written.
    pub fn sync(&mut self) -> Result<(), Error> {
        if !self.synced {
            faults::ask("journal.sync", self.next)
                .and_then(|()| self.file.sync_data())
                .map_err(|e| io_error("sync", &self.path, e))?;
            self.synced = true;
            faults::pass("journal.synced");
        }
        Ok(())
    }

    /// Writes one entry and waits until the disk has it.
    pub fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        self.write(entry)?;
        self.sync()
    }
}

/// One `write` call for one line, so that a crash tears at most the last one. Gives its bytes.
fn write_line(file: &mut File, value: &impl Serialize) -> io::Result<u64> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(u64::try_from(line.len()).unwrap_or(u64::MAX))
}

/// Reads what is readable, for people who look and for [`Journal::resume`]. Changes nothing.
pub fn read(path: &Path) -> Result<Reading, Error> {
    let wrap = |source| io_error("read", path, source);
    let file = File::open(path).map_err(wrap)?;
    let mut lines = BufReader::new(file);
    let mut reading = Reading { entries: Vec::new(), damage: None, whole: 0 };
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(wrap)?;
        if read == 0 {
            break;
        }
        number += 1;
        if line.last() != Some(&b'\n') {
            break; // torn by a crash: its deed was never begun
        }
        let damaged =
            |why: String| Error::Damaged { path: path.display().to_string(), line: number, why };
        if number == 1 {
            match serde_json::from_slice::<Header>(&line) {
                Ok(header) if header.journal == VERSION => {}
                // What this program understands of it is shown; nobody goes on with it.
                Ok(header) => {
                    let (path, found) = (path.display().to_string(), header.journal);
                    reading.damage = Some(Error::Version { path, found, program: header.program });
                }
                Err(why) => return Err(damaged(format!("not a journal's first line: {why}"))),
            }
        } else {
            let expected = reading.entries.last().map_or(1, |entry| entry.seq + 1);
            match serde_json::from_slice::<Entry>(&line) {
                Ok(entry) if entry.seq == expected => reading.entries.push(entry),
                Ok(entry) => {
                    let why = format!("entry {} stands where {expected} should", entry.seq);
                    reading.damage.get_or_insert(damaged(why));
                    break;
                }
                Err(why) => {
                    reading.damage.get_or_insert(damaged(why.to_string()));
                    break;
                }
            }
        }
        reading.whole += u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok(reading)
}

fn io_error(deed: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { deed, path: path.display().to_string(), source }
}

/// The lock that a running night holds. The system lets it go when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds a repository's lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When it took the lock, as text.
    pub since: String,
    /// The night, once it has a name.
    pub night: Option<NightId>,
    /// The repository, where the lock is not one of a repository's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// The outcome of asking for the lock.
#[derive(Debug)]
pub enum Locking {
    /// It is ours.
    Held(Lock),
    /// Somebody else has it; who, as far as the file says.
    Busy(Option<Holder>),
}

impl Lock {
    /// Asks for the lock at `path` without waiting.
    pub fn ask(path: &Path, holder: &Holder) -> Result<Locking, Error> {
        let wrap = |deed| move |source| io_error(deed, path, source);
        faults::ask("journal.lock", path.display()).map_err(wrap("open the lock beside"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(wrap("open the lock beside"))?;
        match file.try_lock() {
            Ok(()) => {
                let lock = Lock { _file: file.try_clone().map_err(wrap("keep the lock of"))? };
                file.set_len(0).map_err(wrap("write the lock of"))?;
                let text = serde_json::to_vec(holder).unwrap_or_default();
                file.write_all(&text).map_err(wrap("write the lock of"))?;
                Ok(Locking::Held(lock))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                Ok(Locking::Busy(serde_json::from_str(&text).ok()))
            }
            Err(TryLockError::Error(source)) => Err(io_error("lock beside", path, source)),
        }
    }

    /// Who holds the lock at `path`; `None` when nobody does.
    pub fn holder(path: &Path) -> Option<Holder> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Ok(()) | Err(TryLockError::Error(_)) => None,
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).ok()?;
                serde_json::from_str(&text).ok().or(Some(Holder {
                    pid: 0,
                    since: String::new(),
                    night: None,
                    repository: None,
                }))
            }
        }
    }
}

impl Holder {
    /// This process.
    pub fn this(since: String, night: Option<NightId>) -> Holder {
        Holder { pid: std::process::id(), since, night, repository: None }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.night {
            Some(night) => write!(f, "{NAME} {} (pid {}, since {})", night, self.pid, self.since),
            None => write!(f, "pid {}, since {}", self.pid, self.since),
        }
    }
}
