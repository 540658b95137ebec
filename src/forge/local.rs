//! The forge of those who have none: the pull request as a file beside the night's journal.
//!
//! Never uses the network. Publishing again replaces the file.

use std::path::PathBuf;

use super::{
    Closing, Forge, ForgeError, Listing, Looking, Published, Publishing, PullRequestDraft,
};
use crate::files;

/// The file's name.
pub const FILE_NAME: &str = "pull_request.md";

/// Writes [`FILE_NAME`] into a directory.
#[derive(Clone, Debug)]
pub struct Local {
    directory: PathBuf,
}

impl Local {
    /// Into an existing directory.
    pub fn new(directory: impl Into<PathBuf>) -> Local {
        Local { directory: directory.into() }
    }
}

impl Forge for Local {
    fn publish<'a>(&'a self, draft: &'a PullRequestDraft) -> Publishing<'a> {
        let path = self.directory.join(FILE_NAME);
        let text = format!("# {}\n\n{}\n{}", draft.title, draft.body.trim_end(), draft.rest);
        let written = files::write_atomic(&path, text.as_bytes());
        Box::pin(async move {
            match written {
                Ok(()) => Ok(Published {
                    url: path.display().to_string(),
                    number: None,
                    notes: Vec::new(),
                }),
                Err(error) => Err(ForgeError {
                    message: error.to_string(),
                    help: "see that the directory exists and the disk has room".to_owned(),
                    temporary: false,
                    wait: None,
                }),
            }
        })
    }

    fn close<'a>(&'a self, _: &'a PullRequestDraft) -> Closing<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn ended<'a>(&'a self, _: &'a PullRequestDraft) -> Looking<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn pulls(&self) -> Listing<'_> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CommitId, NightId};

    #[test]
    fn the_file_holds_the_latest_text_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let forge = Local::new(directory.path());
        let night = NightId::new("2026-11-21").unwrap();
        let mut draft = PullRequestDraft {
            branch: night.branch(),
            night,
            base: "main".to_owned(),
            head: CommitId::new("a".repeat(40)).unwrap(),
            title: "nightshift 2026-11-21: 1 of 2 tasks".to_owned(),
            body: "first\n".to_owned(),
            draft: false,
            labels: Vec::new(),
            reviewers: Vec::new(),
            rest: String::new(),
            landed: Vec::new(),
            statuses: true,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(forge.publish(&draft)).unwrap();
        draft.body = "second".to_owned();
        let published = runtime.block_on(forge.publish(&draft)).unwrap();
        let text = std::fs::read_to_string(&published.url).unwrap();
        assert_eq!(text, "# nightshift 2026-11-21: 1 of 2 tasks\n\nsecond\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

        let missing = Local::new(directory.path().join("none"));
        let error = runtime.block_on(missing.publish(&draft)).unwrap_err();
        assert!(error.message.contains("pull_request.md"), "{error}");
    }
}
