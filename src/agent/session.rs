//! A conversation whose program is kept, frozen, between two attempts.

use super::AgentError;
use crate::process::Running;

/// A frozen program that waits for the next words of its conversation.
#[derive(Debug)]
pub struct Session {
    pub(super) conversation: String,
    pub(super) running: Running,
}

impl Session {
    /// The conversation's id.
    pub fn conversation(&self) -> &str {
        &self.conversation
    }

    /// Ends it and all that it started.
    pub async fn close(mut self) -> Result<(), AgentError> {
        self.running.finish(std::time::Duration::ZERO).await?;
        Ok(())
    }
}
