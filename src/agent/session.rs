//! A conversation whose program is kept, frozen, between two attempts.

use super::{AgentError, claude::Live};

/// A frozen program that waits for the next words of its conversation. Dropping it kills the program and all
/// that it started.
#[derive(Debug)]
pub struct Session {
    pub(super) conversation: String,
    pub(super) live: Box<Live>,
}

impl Session {
    /// The conversation's id.
    pub fn conversation(&self) -> &str {
        &self.conversation
    }

    /// Ends it and all that it started. The conversation itself can be gone on with.
    pub async fn close(self) -> Result<(), AgentError> {
        self.live.close().await
    }
}
