//! A journal on a pretended disk, which loses what it was not asked to keep.

use std::sync::LazyLock;

use nightshift::{
    ids::NightId,
    journal::{self, Journal},
    night::Entry,
};

/// Lines, and how many of them the disk has.
pub(crate) struct Disk {
    entries: Vec<Entry>,
    synced: usize,
}

/// A journal's first line, as the program writes it.
static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    Journal::create(&path, &NightId::new("2026-11-21").unwrap()).unwrap();
    std::fs::read(path).unwrap()
});

impl Disk {
    /// With its first entry, which is on the disk before anything else is done.
    pub(crate) fn of(opened: Entry) -> Disk {
        Disk { entries: vec![opened], synced: 1 }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    pub(crate) fn write(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.entries.len();
    }

    pub(crate) fn has_unsynced(&self) -> bool {
        self.synced < self.entries.len()
    }

    /// The process is gone. A killed one leaves all that it wrote; lost power, what was synced and any beginning of
    /// the rest. `torn`: half a line behind it.
    pub(crate) fn crash(&mut self, chance: u64, torn: bool) -> Result<(), String> {
        let unsynced = self.entries.len() - self.synced;
        let power = torn || chance.is_multiple_of(2);
        if power && unsynced > 0 {
            let kept = usize::try_from(chance >> 8).unwrap_or(0) % (unsynced + 1);
            let next = self.entries.get(self.synced + kept).cloned();
            self.entries.truncate(self.synced + kept);
            if torn {
                self.tear(next.as_ref(), chance)?;
            }
        } else if torn {
            self.tear(None, chance)?;
        }
        self.synced = self.entries.len();
        Ok(())
    }

    /// Has the torn file read by the real journal.
    fn tear(&self, next: Option<&Entry>, chance: u64) -> Result<(), String> {
        let mut bytes = HEAD.clone();
        for entry in &self.entries {
            bytes.extend(serde_json::to_vec(entry).map_err(|problem| problem.to_string())?);
            bytes.push(b'\n');
        }
        let mut rest = match next {
            Some(entry) => serde_json::to_vec(entry).map_err(|problem| problem.to_string())?,
            None => vec![0; 64],
        };
        rest.truncate(1 + usize::try_from(chance >> 16).unwrap_or(0) % rest.len());
        bytes.extend(rest);
        let file = tempfile::NamedTempFile::new().map_err(|problem| problem.to_string())?;
        std::fs::write(file.path(), &bytes).map_err(|problem| problem.to_string())?;
        let reading = journal::read(file.path()).map_err(|problem| problem.to_string())?;
        if let Some(damage) = reading.damage {
            return Err(format!("a torn line is called damage: {damage}"));
        }
        if reading.entries != self.entries {
            return Err("a torn journal is read as other entries".to_owned());
        }
        Ok(())
    }
}
