//! Tells who asked for it how a night went, or that it could not begin, over the ways of the user's own file.
//!
//! Never fails a night, and never keeps it waiting at its beginning: what did not arrive is a sentence for the person.

use std::{path::PathBuf, thread::JoinHandle};

use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    config::{self, Destination, Notify, Service, filled_in},
    diagnostic::Style,
    git::remote::Remote,
    ids::hex,
    night::Night,
    notify::{self, Beat, Room, Target, Trouble, Way},
    process::{Environment, Supervisor},
    redact::{Redactor, Secret},
    report::notice::{self, Notice},
    runner::{
        clock,
        home::{Home, redactor},
        places::Surroundings,
        prepare::user_settings,
        refused::Refused,
    },
};

/// What a program that shows a bubble needs of the environment, and what people's own programs expect.
const DESKTOP: [&str; 7] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "USER",
    "LOGNAME",
];

/// Everybody who is to be told of nights of one repository.
pub struct Telling {
    targets: Vec<Target>,
    /// Ways that cannot be used at all, such as one whose variable is not set.
    unusable: Vec<Trouble>,
    place: String,
    run: String,
    directory: PathBuf,
    supervisor: Supervisor,
    desktop: Environment,
    redactor: Redactor,
    beginning: Option<JoinHandle<Vec<Trouble>>>,
}

impl Telling {
    /// Reads the user's own file. A file that cannot be read is an error of the night itself, and told there.
    pub fn of(surroundings: &Surroundings, home: &Home) -> Telling {
        let wanted = user_settings(surroundings, Style::Plain).unwrap_or_default().notify;
        let desktop = desktop(surroundings);
        let (mut targets, mut unusable) = (Vec::<Target>::new(), Vec::new());
        let mut secrets = Vec::new();
        for wish in &wanted {
            match target(wish, surroundings, &desktop) {
                Ok((mut target, of_it)) => {
                    let same = |other: &&Target| other.name.split(' ').next() == Some(&target.name);
                    let others = targets.iter().filter(same).count();
                    if others > 0 {
                        target.name = format!("{} {}", target.name, others + 1);
                    }
                    targets.push(target);
                    secrets.extend(of_it);
                }
                Err(trouble) => unusable.push(trouble),
            }
        }
        let begun =
            format!("{} {} {}", home.places.state().display(), clock::now(), std::process::id());
        Telling {
            targets,
            unusable,
            place: place(home),
            run: uuid(&begun),
            directory: home.places.state().to_owned(),
            supervisor: Supervisor::new(surroundings.exe.clone()),
            desktop,
            redactor: redactor(surroundings, &secrets),
            beginning: None,
        }
    }

    /// Tells who watches the schedule that a night begins, beside the night.
    pub fn begin(&mut self) {
        let (targets, run) = (self.targets.clone(), self.run.clone());
        if targets.iter().any(|target| matches!(target.way, Way::Healthchecks(_))) {
            let beat = move || {
                let beat = Beat { run: &run, exit: None, line: "" };
                wait(notify::beat(&targets, &beat)).unwrap_or_else(|why| vec![all(why)])
            };
            self.beginning = Some(std::thread::spawn(beat));
        }
    }

    /// Tells how it ended: the night, or what was in its way. Returns what did not arrive, as sentences.
    pub fn end(mut self, ended: Result<Option<&Night>, &Refused>, exit: u8) -> Vec<String> {
        let news = match ended {
            Ok(night) => night.and_then(|night| notice::notice(night, &self.place, exit)),
            Err(refused) => {
                let help = refused.help.as_deref();
                Some(notice::not_started(&self.place, &refused.message, help, exit))
            }
        };
        let line = match &news {
            Some(news) => news.line.clone(),
            None => format!("{}: no news", self.place),
        };
        let line = self.redactor.redact(&line).into_owned();
        let beginning = self.beginning.take();
        let mut troubles = self.tell(news.as_ref(), exit, &line);
        if news.is_some() {
            troubles.extend(std::mem::take(&mut self.unusable));
        }
        let begun = beginning.map(JoinHandle::join);
        troubles.extend(begun.and_then(Result::ok).unwrap_or_default());
        self.sentences(troubles)
    }

    /// Sends a trial on every way. Each with what became of it: `None` = it was taken.
    pub fn trial(mut self) -> Vec<(String, Option<String>)> {
        let news = notice::trial(&self.place);
        let mut troubles = std::mem::take(&mut self.unusable);
        troubles.extend(self.tell(Some(&news), 0, &news.line));
        let mut told: Vec<_> =
            self.targets.iter().map(|target| (target.name.clone(), None)).collect();
        for (name, why) in troubles {
            let why = self.redactor.redact(&why).into_owned();
            match told.iter_mut().find(|(known, state)| *known == name && state.is_none()) {
                Some((_, state)) => *state = Some(why),
                None => told.push((name, Some(why))),
            }
        }
        told
    }

    /// Tells all at once: those who want the news, where there are any, and those who watch the schedule.
    fn tell(&self, news: Option<&Notice>, exit: u8, line: &str) -> Vec<Trouble> {
        let news = news.map(|news| Notice {
            title: self.redactor.redact(&news.title).into_owned(),
            line: self.redactor.redact(&news.line).into_owned(),
            data: self.redactor.redact_all(news.data.clone()),
            ..news.clone()
        });
        let beat = Beat { run: &self.run, exit: Some(exit), line };
        let room = Room {
            supervisor: &self.supervisor,
            directory: &self.directory,
            desktop: self.desktop.clone(),
        };
        let told = async {
            match &news {
                Some(news) => notify::tell(&self.targets, news, &room).await,
                None => Vec::new(),
            }
        };
        let both = futures_util::future::join(told, notify::beat(&self.targets, &beat));
        match wait(both) {
            Ok((told, beats)) => told.into_iter().chain(beats).collect(),
            Err(why) => vec![all(why)],
        }
    }

    fn sentences(&self, troubles: Vec<Trouble>) -> Vec<String> {
        let sentence =
            |(name, why): Trouble| format!("{name} was not told: {}", self.redactor.redact(&why));
        let mut sentences: Vec<String> = troubles.into_iter().map(sentence).collect();
        sentences.dedup();
        sentences
    }
}

fn all(why: std::io::Error) -> Trouble {
    ("nobody".to_owned(), why.to_string())
}

/// Waits for something that needs the network, on a runtime of its own: the night's has ended, or begins beside us.
fn wait<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

/// The repository as people call it: `owner/name` on its forge, else its directory's name.
fn place(home: &Home) -> String {
    if let Some(remote) = &home.remote
        && let Remote::Forge(address) = Remote::parse(&remote.push)
    {
        return format!("{}/{}", address.owner, address.name);
    }
    let root = home.user.root();
    root.file_name()
        .map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn desktop(surroundings: &Surroundings) -> Environment {
    let names = DESKTOP.map(str::to_owned);
    let mut environment = Environment::from_allowed(&surroundings.environment, &names);
    environment.set("HOME", surroundings.home.display().to_string());
    if environment.get("DBUS_SESSION_BUS_ADDRESS").is_none() {
        // cron and systemd's timers know no session; the desktop's is at the same place on every system with logind.
        let bus = format!("/run/user/{}/bus", rustix::process::getuid().as_raw());
        if std::fs::metadata(&bus).is_ok() {
            environment.set("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={bus}"));
        }
    }
    environment
}

/// A way that can be used, with what of it is secret.
fn target(
    wish: &Notify,
    surroundings: &Surroundings,
    desktop: &Environment,
) -> Result<(Target, Vec<String>), Trouble> {
    let filled = |name: &str, text: &str| {
        filled_in(text, &surroundings.environment).map_err(|why| (name.to_owned(), why))
    };
    let (name, way, secrets) = match &wish.to {
        Destination::Desktop => ("desktop".to_owned(), Way::Desktop, Vec::new()),
        Destination::Program { command, env } => {
            let mut environment = desktop.clone();
            let mut given = Vec::new();
            for name in env {
                if let Some(value) = surroundings.value(name) {
                    environment.set(name, value);
                    given.push(value.to_owned());
                }
            }
            let name = command.first().cloned().unwrap_or_default();
            (name, Way::Program { command: command.clone(), environment }, given)
        }
        Destination::Service { service, address, token } => {
            let name = service.word();
            let address = filled(name, address)?;
            let wrong = |why: &str| (name.to_owned(), why.to_owned());
            let mut secrets = parts(&address);
            let url = Url::parse(&address).map_err(|_| wrong("its address is no https address"))?;
            let way = match service {
                Service::Slack => Way::Slack(url),
                Service::Discord => Way::Discord(url),
                Service::Teams => Way::Teams(url),
                Service::Healthchecks => Way::Healthchecks(url),
                Service::Ntfy => {
                    let (server, topic) = config::topic(&url).ok_or_else(|| {
                        wrong("its address has no topic: https://ntfy.sh/my-topic")
                    })?;
                    let token = token.as_deref().map(|token| filled(name, token)).transpose()?;
                    secrets.extend(token.clone());
                    Way::Ntfy { server, topic, token: token.map(Secret::new) }
                }
            };
            (name.to_owned(), way, secrets)
        }
        Destination::Mail { to, from, server } => {
            let name = "mail";
            let server = filled(name, server)?;
            let to = filled(name, to)?;
            let from = from.as_deref().map_or_else(|| Ok(to.clone()), |from| filled(name, from))?;
            let secrets = parts(&server);
            (name.to_owned(), Way::Mail { to, from, server: Secret::new(server) }, secrets)
        }
    };
    Ok((Target { name, way, on: wish.on.clone() }, secrets))
}

/// What of an address is secret: all of it, what signs in, and what follows the host, whole and in its parts.
fn parts(address: &str) -> Vec<String> {
    let mut parts = vec![address.to_owned()];
    if let Ok(url) = Url::parse(address) {
        parts.extend(
            [url.username(), url.password().unwrap_or_default(), url.path()].map(str::to_owned),
        );
        parts.extend(url.query().map(str::to_owned));
        parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
    }
    // A short one is a word of every day, such as `services`, which would be masked wherever it stands.
    parts.retain(|part| part.len() > 10);
    parts
}

/// A UUID (RFC 9562, version 8) that stands for one run.
fn uuid(of: &str) -> String {
    let mut bytes: Vec<u8> = Sha256::digest(of.as_bytes()).iter().copied().take(16).collect();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
