//! Removes directories beside the work: what a task left is nobody's any more, and nobody should wait for it.
//!
//! What is to go gets another name first, so its place is free at once. Who takes the place again waits until
//! it is gone, so the disk never holds more than without. Never decides what goes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

use crate::{files, git::Error, workspace::lock};

/// First letters of the names of what goes.
pub(super) const GONE: &str = "gone-";

/// The thread that removes. Begins with the first thing to remove; ended when this is dropped, after the last.
#[derive(Default)]
pub(super) struct Behind {
    thread: Mutex<Option<(Sender<PathBuf>, JoinHandle<()>)>>,
    open: Arc<Open>,
}

/// What is not gone yet.
#[derive(Default)]
struct Open {
    paths: Mutex<BTreeSet<PathBuf>>,
    fewer: Condvar,
}

impl Behind {
    /// Moves those of `names` that are in `place` away, and removes them while others go on.
    pub(super) fn remove(&self, place: &Path, names: &[&str]) -> Result<(), Error> {
        let mut numbers = 0_u64..;
        for name in names {
            let path = place.join(name);
            if fs::symlink_metadata(&path).is_err() {
                continue;
            }
            // Beside it, not below: a directory that its owner may not write can get another name, no more.
            let gone = numbers.by_ref().map(|number| place.join(format!("{GONE}{number}")));
            let gone = gone.into_iter().find(|gone| fs::symlink_metadata(gone).is_err());
            let gone = gone.expect("there are more numbers than directories");
            files::rename(&path, &gone)?;
            lock(&self.open.paths).insert(gone.clone());
            if let Err(gone) = self.hand_over(gone) {
                // No thread is left on this machine: then it takes as long as it takes.
                self.open.remove(&gone);
            }
        }
        Ok(())
    }

    fn hand_over(&self, gone: PathBuf) -> Result<(), PathBuf> {
        let mut running = lock(&self.thread);
        if running.is_none() {
            let (sender, receiver) = mpsc::channel::<PathBuf>();
            let open = self.open.clone();
            let work = move || receiver.into_iter().for_each(|path| open.remove(&path));
            let started = thread::Builder::new().name("remove".to_owned()).spawn(work);
            *running = started.ok().map(|thread| (sender, thread));
        }
        match running.as_ref() {
            Some((sender, _)) => sender.send(gone).map_err(|unsent| unsent.0),
            None => Err(gone),
        }
    }

    /// Waits until all that was moved away in `place` is gone.
    pub(super) fn wait(&self, place: &Path) {
        let mut paths = lock(&self.open.paths);
        while paths.iter().any(|path| path.starts_with(place)) {
            paths = self.open.fewer.wait(paths).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Open {
    fn remove(&self, path: &Path) {
        if let Err(problem) = files::remove_tree(path) {
            // The next lay-out there, or the next night, tries again.
            tracing::warn!(%problem, "could not remove what a program left");
        }
        lock(&self.paths).remove(path);
        self.fewer.notify_all();
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let running = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, thread)) = running {
            drop(sender);
            // It catches nothing and panics nowhere; if it did, what is left goes the next time.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests make files")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_place_is_free_at_once_and_empty_after_a_wait() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        for name in ["upper/below", "work", "other"] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        // As a program may leave it.
        fs::set_permissions(place.join("upper"), fs::Permissions::from_mode(0o000)).unwrap();
        // As a killed process may have left it.
        fs::create_dir_all(place.join("gone-0/x")).unwrap();
        let behind = Behind::default();
        behind.remove(place, &["upper", "work", "missing"]).unwrap();
        assert!(!place.join("upper").exists() && !place.join("work").exists());
        behind.wait(place);
        assert_eq!(names(place), ["gone-0", "other"]);
    }

    #[test]
    fn all_is_gone_when_nobody_removes_any_more() {
        let place = tempfile::tempdir().unwrap();
        let behind = Behind::default();
        for number in 0..20 {
            fs::create_dir_all(place.path().join("upper").join(number.to_string())).unwrap();
            behind.remove(place.path(), &["upper"]).unwrap();
        }
        drop(behind);
        assert_eq!(names(place.path()), Vec::<String>::new());
    }
}
