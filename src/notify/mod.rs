//! Who is told when a night is over, or never began: over the ways that the user's own file names.
//!
//! Never decides what is told, and never fails a night: what did not arrive is a sentence. Sends one line and an
//! address, no log, no diff and no agent's words beyond that line.

use std::{collections::BTreeSet, path::Path, time::Duration};

use futures_util::future::join_all;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use crate::{
    http,
    ids::NAME,
    process::{Ended, Environment, Program, Stop, Supervisor, Why, find_program},
    redact::Secret,
    report::{
        notice::{Notice, Occasion},
        text,
    },
};

mod mail;
pub mod payload;

/// Longest time for one try of one way.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest time for a program of the user's.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
/// Pauses between the tries of one way.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// Longest pause that a service may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Of a program's own words in a message, in characters.
const QUOTED: usize = 200;

/// One way on which somebody is told, and when.
#[derive(Clone, Debug)]
pub struct Target {
    /// For people: `slack`, `mail`, a program's name.
    pub name: String,
    /// The way.
    pub way: Way,
    /// Occasions for which it is used; a watch on the schedule hears of all nights.
    pub on: BTreeSet<Occasion>,
}

/// How somebody is told.
#[derive(Clone, Debug)]
pub enum Way {
    /// A bubble on this machine's desktop.
    Desktop,
    /// A program of the user's: the notice as JSON on its standard input.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// All that it sees of the environment.
        environment: Environment,
    },
    /// An incoming webhook of Slack.
    Slack(Url),
    /// A webhook of Discord.
    Discord(Url),
    /// A workflow's webhook of Microsoft Teams.
    Teams(Url),
    /// A topic of an ntfy server.
    Ntfy {
        /// The server.
        server: Url,
        /// The topic.
        topic: String,
        /// An access token.
        token: Option<Secret>,
    },
    /// A mail.
    Mail {
        /// To whom.
        to: String,
        /// From whom.
        from: String,
        /// The server, with what signs in there: `smtps://user:password@mail.example`.
        server: Secret,
    },
    /// A check of healthchecks.io or of one's own: it notices nights that never came.
    Healthchecks(Url),
}

/// Where programs of a person run: what they need to find a desktop, and the supervisor that ends them.
#[derive(Clone, Debug)]
pub struct Room<'r> {
    /// Starts programs.
    pub supervisor: &'r Supervisor,
    /// A directory for their output, and to work in.
    pub directory: &'r Path,
    /// What a program that shows a bubble needs.
    pub desktop: Environment,
}

/// Why one way did not work: a name for people, and the reason.
pub type Trouble = (String, String);

/// What a watch on the schedule is told.
#[derive(Clone, Debug)]
pub struct Beat<'b> {
    /// The same for beginning and end, so that the time between them is measured.
    pub run: &'b str,
    /// The exit code; `None` = it begins.
    pub exit: Option<u8>,
    /// One line for the end.
    pub line: &'b str,
}

/// Tells everybody whose occasions are met, all at once. Returns what did not work, in the targets' order.
pub async fn tell(targets: &[Target], notice: &Notice, room: &Room<'_>) -> Vec<Trouble> {
    let wanted = targets.iter().filter(|target| !target.on.is_disjoint(&notice.occasions));
    let told = wanted.enumerate().map(|(number, target)| async move {
        let told = one(target, notice, room, number).await;
        told.err().map(|why| (target.name.clone(), why))
    });
    join_all(told).await.into_iter().flatten().collect()
}

/// Tells those who watch the schedule that a night begins, or how it ended.
pub async fn beat(targets: &[Target], beat: &Beat<'_>) -> Vec<Trouble> {
    let told = targets.iter().filter_map(|target| match &target.way {
        Way::Healthchecks(url) => Some(async move {
            let request = |client: &reqwest::Client| {
                client.post(payload::check(url, beat)).body(beat.line.to_owned())
            };
            post(url, request).await.err().map(|why| (target.name.clone(), why))
        }),
        Way::Desktop
        | Way::Program { .. }
        | Way::Slack(_)
        | Way::Discord(_)
        | Way::Teams(_)
        | Way::Ntfy { .. }
        | Way::Mail { .. } => None,
    });
    join_all(told).await.into_iter().flatten().collect()
}

async fn one(
    target: &Target,
    notice: &Notice,
    room: &Room<'_>,
    number: usize,
) -> Result<(), String> {
    match &target.way {
        Way::Healthchecks(_) => Ok(()), // hears of every night, by `beat`
        Way::Slack(url) => send(url, &payload::slack(notice), None).await,
        Way::Discord(url) => send(url, &payload::discord(notice), None).await,
        Way::Teams(url) => send(url, &payload::teams(notice), None).await,
        Way::Ntfy { server, topic, token } => {
            send(server, &payload::ntfy(notice, topic), token.as_ref()).await
        }
        Way::Mail { to, from, server } => mail::send(to, from, server, notice).await,
        Way::Desktop => {
            let command = bubble(notice, &room.desktop)?;
            run(&command, &room.desktop, &[], room, number).await
        }
        Way::Program { command, environment } => {
            let data = json!({"schema": format!("{NAME}.notice/1"), "data": notice.data});
            run(command, environment, data.to_string().as_bytes(), room, number).await
        }
    }
}

/// The program that shows a bubble, and its arguments. Both take texts as arguments, never as a script.
fn bubble(notice: &Notice, environment: &Environment) -> Result<Vec<String>, String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    if find_program("notify-send", environment).is_some() {
        let name = format!("--app-name={NAME}");
        return Ok(words(&["notify-send", &name, "--", &notice.title, &escaped(&notice.line)]));
    }
    if find_program("osascript", environment).is_some() {
        const SCRIPT: &str = "on run words\ndisplay notification (item 2 of words) with title (item 1 of words)\nend run";
        return Ok(words(&["osascript", "-e", SCRIPT, &notice.title, &notice.line]));
    }
    Err("there is neither `notify-send` (package libnotify-bin) nor `osascript`".to_owned())
}

/// The body of a bubble is a little HTML, says the desktop's specification.
fn escaped(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn run(
    command: &[String],
    environment: &Environment,
    input: &[u8],
    room: &Room<'_>,
    number: usize,
) -> Result<(), String> {
    let out = room.directory.join(format!("notify-{number}.log"));
    let err = room.directory.join(format!("notify-{number}.err"));
    let program = Program::new(command.to_vec(), room.directory, environment.clone(), &out, &err);
    let ran = room.supervisor.run(program, input, PROGRAM_LIMIT, &Stop::new()).await;
    let said = || {
        let said = std::fs::read(&err).unwrap_or_default();
        let said = text::inline_plain(&String::from_utf8_lossy(&said));
        if said.is_empty() { String::new() } else { format!(": {}", text::head(&said, QUOTED)) }
    };
    match ran {
        Err(problem) => Err(problem.to_string()),
        Ok(done) if done.why == Why::TimedOut => {
            Err(format!("it did not end within {} seconds", PROGRAM_LIMIT.as_secs()))
        }
        Ok(done) => match done.exit.ended {
            Ended::Code(0) => Ok(()),
            Ended::Code(code) => Err(format!("it ended with {code}{}", said())),
            Ended::Signal(signal) => Err(format!("it was ended by signal {signal}{}", said())),
        },
    }
}

async fn send(url: &Url, body: &Value, token: Option<&Secret>) -> Result<(), String> {
    post(url, |client| {
        let request = client.post(url.clone()).json(body);
        match token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    })
    .await
}

/// Sends a request until it is taken, refused, or its tries are over. It is repeated only where it cannot have been
/// taken: nobody wants to be told twice.
async fn post(
    url: &Url,
    request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
) -> Result<(), String> {
    if !http::is_private(url) {
        return Err(format!("{} is not encrypted: use an https address", host(url)));
    }
    let client = http::client(url).timeout(LIMIT).build().map_err(|error| http::reason(&error))?;
    let mut tries = PAUSES.into_iter();
    loop {
        let (why, pause) = match request(&client).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let asked = answer.headers().get(header::RETRY_AFTER);
                let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
                let again = status == StatusCode::TOO_MANY_REQUESTS
                    || status == StatusCode::SERVICE_UNAVAILABLE;
                // Not in its own words: many services repeat the address that they were asked at, which is a secret.
                let why = format!("{} answered {status}", host(url));
                (why, again.then(|| asked.map(Duration::from_secs)))
            }
            Err(error) => {
                let why = format!("{} was not reached: {}", host(url), http::reason(&error));
                (why, error.is_connect().then_some(None))
            }
        };
        let (Some(asked), Some(pause)) = (pause, tries.next()) else { return Err(why) };
        tokio::time::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
    }
}

/// A service as it may be shown: what follows the host is its secret.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("the service")
}
