//! The way of Claude Code's questions to the model: our proxy, and the entrance to it from inside walls.

use std::io;

use url::Url;

use super::{ClaudeAgent, Credential};
use crate::{
    agent::AgentError,
    process::{self, Running},
    proxy::{self, Attached, PORT_INSIDE, Proxy, Upstream, UpstreamCredential},
    sandbox::{Tier, Walls},
};

/// Where the questions go when no other service is named.
const SERVICE: &str = "https://api.anthropic.com";

impl ClaudeAgent {
    /// Our proxy; `None` where there is none to be.
    pub(super) async fn server(&self) -> Result<Option<&Proxy>, AgentError> {
        let Some(credential) = self.credential.as_ref().filter(|_| self.proxy) else {
            return Ok(None);
        };
        let start = || async {
            let url = self.base_url.as_deref().unwrap_or(SERVICE);
            let host = || proxy::Error::Address { host: "what is no address".into() };
            let url = Url::parse(url).map_err(|_| host())?;
            let credential = match credential.clone() {
                Credential::ApiKey(secret) => UpstreamCredential::ApiKey(secret),
                Credential::OAuthToken(secret) => UpstreamCredential::OAuthToken(secret),
            };
            Proxy::start(Upstream { url, credential }).await
        };
        Ok(Some(self.server.get_or_try_init(start).await?))
    }
}

/// How one process reaches our proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    server: &'a Proxy,
    /// True for a process with a loopback of its own, on which we have an address of our own.
    inside: bool,
}

impl<'a> Way<'a> {
    /// For a process inside these walls.
    pub(super) fn to(server: &'a Proxy, walls: Option<&Walls>) -> Way<'a> {
        Way { server, inside: walls.is_some_and(|walls| walls.tier == Tier::T2) }
    }

    /// Where the process sends its questions.
    pub(super) fn url(&self) -> String {
        if self.inside { format!("http://127.0.0.1:{PORT_INSIDE}") } else { self.server.url() }
    }

    /// Opens our entrance on the loopback of a process that has its own.
    pub(super) fn enter(
        &self,
        running: &mut Running,
        program: &str,
    ) -> Result<Option<Attached>, AgentError> {
        if !self.inside {
            return Ok(None);
        }
        let none = || io::Error::other("no listening socket came from inside");
        let listener = running.listener().ok_or_else(none);
        let attached = listener.and_then(|listener| self.server.attach(listener));
        let failed = |problem: io::Error| process::Error::Walls {
            program: program.to_owned(),
            message: problem.to_string(),
        };
        Ok(Some(attached.map_err(failed)?))
    }
}
