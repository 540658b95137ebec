//! One file that a program leaves in a workspace for us to read: a report.
//!
//! Nothing is followed on the way, nothing blocks, and what stood there before the program ran is not taken for its
//! work. Never writes.

use std::io::Read as _;

use rustix::fs::FileType;

use super::Workspace;
use crate::{
    ids::RepoPath,
    workspace::look::{self, Stamp},
};

/// A place in a workspace, and what stood there before a program ran.
pub struct Product {
    path: RepoPath,
    before: Option<Stamp>,
}

impl Workspace {
    /// Remembers what stands at `path` now.
    pub fn product(&self, path: &RepoPath) -> Product {
        let before = self.open_product(path).ok().and_then(|file| look::opened(&file).ok());
        Product { path: path.clone(), before: before.map(|seen| seen.stamp) }
    }

    /// The file as a program left it since. `Err` says why there is none to read. Call it only when nothing runs in
    /// the workspace. `most` is the largest size in bytes.
    pub fn read_product(&self, product: &Product, most: u64) -> Result<Vec<u8>, String> {
        let mut file = self.open_product(&product.path)?;
        let seen = look::opened(&file).map_err(|problem| problem.to_string())?;
        if seen.kind != FileType::RegularFile {
            return Err("it is no regular file".to_owned());
        }
        // The time of change is the system's: a program cannot leave an old report as it was and call it its own.
        if product.before == Some(seen.stamp) {
            return Err("it was not written by this step".to_owned());
        }
        if seen.stamp.size > most {
            return Err(format!("it is larger than {} MiB", most >> 20));
        }
        let mut bytes = Vec::new();
        (&mut file).take(most).read_to_end(&mut bytes).map_err(|problem| problem.to_string())?;
        Ok(bytes)
    }

    /// In layers only what was written is in the upper directory: a report of the cache below is not seen.
    fn open_product(&self, path: &RepoPath) -> Result<std::fs::File, String> {
        let missing = |_| "it was not written, or a link leads to it".to_owned();
        let (above, name) = look::split(path.as_bytes());
        let root = look::root(self.own()).map_err(missing)?;
        let directory = look::below(&root, above).map_err(missing)?;
        look::open_file(&directory, name).map_err(missing)
    }
}
