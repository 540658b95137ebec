//! A GitHub App's token, made just before it is used: one lives an hour, and a night is longer.
//!
//! The key stays in memory and is never printed; what leaves is a signed claim of ten minutes. A token is asked for one
//! repository and for what we do there, and is never written down.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    SignatureScheme,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    api::{self, Api, Verb},
    judge::{Fate, Kind, Place, Problem},
};
use crate::{
    forge::{ForgeError, endpoint::Endpoint},
    redact::{self, Secret},
};

/// A token is used again for this long, in seconds. It lives an hour, and a push may take half of it.
const FRESH_S: i64 = 10 * 60;
/// The claim begins a minute ago, because clocks differ, and ends before GitHub's ten minutes.
const CLAIM_S: (i64, i64) = (60, 9 * 60);
/// Times that one request is tried.
const MOST_TRIES: u32 = 4;

/// Which App.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Its number.
    Id(u32),
    /// Its client id, such as `Iv23li…`.
    Client(String),
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Issuer::Id(id) => id.fmt(f),
            Issuer::Client(id) => id.fmt(f),
        }
    }
}

/// An App that is installed on a repository.
pub struct App {
    endpoint: Endpoint,
    owner: String,
    name: String,
    issuer: Issuer,
    installation: Option<u32>,
    key: Arc<dyn SigningKey>,
    now: fn() -> Timestamp,
    /// Longest time for one request.
    limit: Duration,
    /// First pause between tries.
    pause: Duration,
    made: Mutex<Option<(Secret, Timestamp)>>,
}

/// Tells nothing about key and token.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({} at {})", self.issuer, self.endpoint.server_url)
    }
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize)]
struct Made {
    token: String,
}

impl App {
    /// `pem` is the private key as GitHub gives it (PKCS#1) or in PKCS#8; `now` the clock. Sends nothing. `Err` says
    /// what is wrong with the key, and nothing of it.
    pub fn new(
        endpoint: Endpoint,
        (owner, name): (&str, &str),
        (issuer, installation): (Issuer, Option<u32>),
        pem: &[u8],
        now: fn() -> Timestamp,
    ) -> Result<App, String> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "it holds no private key in PEM form".to_owned())?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|_| "its key is not one that can sign".to_owned())?;
        if key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
            return Err("its key is not an RSA key, which GitHub Apps have".to_owned());
        }
        Ok(App {
            endpoint,
            owner: owner.to_owned(),
            name: name.to_owned(),
            issuer,
            installation,
            key,
            now,
            limit: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            made: Mutex::new(None),
        })
    }

    /// Which App it is.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Waits this long before a second try, and twice as long before each further one.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> App {
        self.pause = pause;
        self
    }

    /// A token for the repository, not older than ten minutes.
    pub async fn token(&self) -> Result<Secret, ForgeError> {
        let mut made = self.made.lock().await;
        let now = (self.now)();
        if let Some((token, at)) = made.as_ref()
            && (0..FRESH_S).contains(&(now.as_second() - at.as_second()))
        {
            return Ok(token.clone());
        }
        let token = self.make(now).await?;
        *made = Some((token.clone(), now));
        Ok(token)
    }

    /// As [`App::token`], for who cannot wait in a task: on a thread of its own, since the caller may stand in a
    /// runtime.
    pub fn token_now(&self) -> Result<Secret, ForgeError> {
        let lost = |why: String| ForgeError {
            message: format!("could not ask for the App's token: {why}"),
            help: "try again".to_owned(),
            temporary: true,
            wait: None,
        };
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|error| lost(error.to_string()))?.block_on(self.token())
            });
            asked.join().unwrap_or_else(|_| Err(lost("its thread ended".to_owned())))
        })
    }

    async fn make(&self, now: Timestamp) -> Result<Secret, ForgeError> {
        let claim = Secret::new(self.claim(now)?);
        let slug = format!("{}/{}", self.owner, self.name);
        let place =
            Place { server: self.endpoint.server_url.clone(), slug: slug.clone(), kind: Kind::App };
        let api = Api::new(api::base(&self.endpoint)?, place, &claim, self.limit)?;
        let installation = match self.installation {
            Some(id) => u64::from(id),
            None => {
                let path = format!("/repos/{slug}/installation");
                let what = format!("find the App's installation on {slug}");
                self.ask(&api, &what, Verb::Get, &path, None, |installation: Installation| {
                    installation.id
                })
                .await?
            }
        };
        let path = format!("/app/installations/{installation}/access_tokens");
        // Never `workflows`: what runs with a repository's rights is not changed at night.
        let all = json!({
            "contents": "write", "pull_requests": "write", "issues": "write", "statuses": "write",
        });
        let least = json!({ "contents": "write", "pull_requests": "write" });
        let mut last = None;
        for permissions in [all, least] {
            let body = json!({ "repositories": [self.name], "permissions": permissions });
            const WHAT: &str = "make the App's token";
            let made =
                self.ask(&api, WHAT, Verb::Post, &path, Some(&body), |made: Made| made.token);
            match made.await {
                Ok(token) => {
                    let token = Secret::new(token);
                    api::check(&token)?;
                    return Ok(token);
                }
                // Labels and statuses can be missed, the rest cannot.
                Err(error) if error.message.contains("422") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let mut error = last.expect("the loop ran and did not return");
        error.help = format!(
            "give the App `contents: write` and `pull_requests: write`, install it on {slug}, and accept its new \
             permissions at {}/{slug}/settings/installations",
            self.endpoint.server_url
        );
        error.temporary = false;
        Err(error)
    }

    /// Asking twice is harmless: a token that nobody got ends by itself.
    async fn ask<A: for<'d> Deserialize<'d>, B>(
        &self,
        api: &Api,
        what: &str,
        verb: Verb,
        path: &str,
        body: Option<&Value>,
        read: impl Fn(A) -> B,
    ) -> Result<B, ForgeError> {
        let mut tries = 0;
        loop {
            let problem = match api.send(verb, path, body).await {
                Ok(value) => match serde_json::from_value(value) {
                    Ok(answer) => return Ok(read(answer)),
                    Err(_) => Problem::unclear("GitHub's answer is odd"),
                },
                Err(problem) => problem,
            };
            tries += 1;
            let backed_off = self.pause.saturating_mul(1 << tries);
            let time = match problem.fate {
                Fate::Maybe => backed_off,
                Fate::Wait(time) if time <= self.limit => time.max(backed_off),
                Fate::Wait(_) | Fate::Exists | Fate::Gone | Fate::Fatal => {
                    return Err(self.failed(&problem, what));
                }
            };
            if tries >= MOST_TRIES {
                return Err(self.failed(&problem, what));
            }
            tokio::time::sleep(time).await;
        }
    }

    fn failed(&self, problem: &Problem, what: &str) -> ForgeError {
        let mut error = problem.failed(what);
        let server = &self.endpoint.server_url;
        if problem.message.contains("404") {
            error.help = format!(
                "install the App {} on {}/{}: {server}/{}/{}/settings/installations; or see `github.app` in your \
                 own file",
                self.issuer, self.owner, self.name, self.owner, self.name
            );
        } else if problem.message.contains("401") {
            error.help = format!(
                "see that `github.app` in your own file names the App that the key belongs to, that the key was not \
                 removed at {server}/settings/apps, and that this machine's clock is right"
            );
        }
        error
    }

    /// A signed claim to be the App (RFC 7519, RS256).
    fn claim(&self, now: Timestamp) -> Result<String, ForgeError> {
        let at = now.as_second();
        let claims = json!({
            "iat": at - CLAIM_S.0, "exp": at + CLAIM_S.1, "iss": self.issuer.to_string(),
        });
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let text = format!("{}.{}", web64(header.to_string()), web64(claims.to_string()));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signed = signer.and_then(|signer| signer.sign(text.as_bytes()).ok());
        let signed = signed.ok_or_else(|| ForgeError {
            message: "the App's key does not sign".to_owned(),
            help: "make a new key for the App, and see `github.app` in your own file".to_owned(),
            temporary: false,
            wait: None,
        })?;
        Ok(format!("{text}.{}", web64(signed)))
    }
}

/// Base64 for addresses, without padding.
fn web64(bytes: impl AsRef<[u8]>) -> String {
    let text = redact::base64(bytes.as_ref());
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_for_addresses_has_its_own_alphabet() {
        assert_eq!(web64([0xfb, 0xff, 0xfe, 0x00]), "-__-AA");
    }

    #[test]
    fn what_is_no_key_is_told_without_its_words() {
        let endpoint = Endpoint { server_url: "https://h".into(), api_url: "https://h".into() };
        for text in [
            "",
            "hunter2",
            "-----BEGIN RSA PRIVATE KEY-----\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let made = App::new(
                endpoint.clone(),
                ("o", "r"),
                (Issuer::Id(1), None),
                text.as_bytes(),
                || Timestamp::UNIX_EPOCH,
            );
            let problem = made.map(|app| format!("{app:?}")).unwrap_err();
            assert!(problem.contains("key") && !problem.contains("hunter"), "{problem}");
        }
    }
}
