//! `notify` of the user's own file: who is told of a night. Only there, for addresses of this kind are secrets and
//! programs run with the user's rights.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::{Captures, Regex};
use serde_yaml::Value;
use url::Url;

use super::{
    keys::{self, nearest},
    reader::Reader,
    shapes::OCCASIONS,
    yaml::Spot,
};
use crate::{http, redact::MASK, report::notice::Occasion};

/// One way on which somebody is told of a night. Its texts may hold `${NAME}`, which stands for a variable of the job:
/// see [`filled_in`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The way.
    pub to: Destination,
    /// When it is used.
    pub on: BTreeSet<Occasion>,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A bubble on the desktop.
    Desktop,
    /// A program.
    Program {
        /// It and its arguments.
        command: Vec<String>,
        /// Names of variables that reach it.
        env: Vec<String>,
    },
    /// A service, by its word and its address.
    Service {
        /// Which.
        service: Service,
        /// Where.
        address: String,
        /// An access token, for ntfy.
        token: Option<String>,
    },
    /// A mail.
    Mail {
        /// To whom.
        to: String,
        /// From whom; `None` = whom it goes to.
        from: Option<String>,
        /// Where it is handed in.
        server: String,
    },
}

/// Services that take messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Slack.
    Slack,
    /// Discord.
    Discord,
    /// Microsoft Teams.
    Teams,
    /// ntfy.sh, or one's own.
    Ntfy,
    /// healthchecks.io, or one's own.
    Healthchecks,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] =
        [Service::Slack, Service::Discord, Service::Teams, Service::Ntfy, Service::Healthchecks];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Service::Slack => "slack",
            Service::Discord => "discord",
            Service::Teams => "teams",
            Service::Ntfy => "ntfy",
            Service::Healthchecks => "healthchecks",
        }
    }
}

/// Reads the list.
pub(super) fn read(reader: &mut Reader, spot: &Spot<'_>) -> Vec<Notify> {
    if !spot.value.is_sequence() {
        reader.wrong(spot, "expected a list", "write `notify: [{to: desktop}]`");
        return Vec::new();
    }
    spot.items().iter().filter_map(|item| one(reader, item)).collect()
}

fn one(reader: &mut Reader, item: &Spot<'_>) -> Option<Notify> {
    reader.keys(item, "", keys::NOTIFY);
    let on = match item.find("on") {
        None => Occasion::ALL.into(),
        Some(spot) => occasions(reader, &spot)?,
    };
    let to = match (item.find("to"), item.find("run")) {
        (Some(to), None) => destination(reader, item, &to)?,
        (None, Some(run)) => program(reader, item, &run)?,
        (Some(_), Some(run)) => {
            reader.wrong(&run, "`to` says it already", "write two entries");
            return None;
        }
        (None, None) => {
            // A misspelt key was told already.
            if item.value.is_mapping() && item.fields().iter().all(|field| field.name == "on") {
                reader.wrong(item, "it says nobody", "write `to: desktop`, or `run: [program]`");
            }
            return None;
        }
    };
    let of_others: &[&str] = match &to {
        Destination::Program { .. } => &["token", "from", "server"],
        Destination::Mail { .. } => &["env", "token"],
        Destination::Service { service: Service::Ntfy, .. } => &["env", "from", "server"],
        Destination::Desktop | Destination::Service { .. } => &["env", "token", "from", "server"],
    };
    for spot in of_others.iter().filter_map(|key| item.find(key)) {
        reader.wrong(&spot, "means nothing here", "remove it");
    }
    Some(Notify { to, on })
}

fn occasions(reader: &mut Reader, spot: &Spot<'_>) -> Option<BTreeSet<Occasion>> {
    let words =
        reader.list(spot, |reader, item, _| reader.word::<Occasion>(item, OCCASIONS).is_some())?;
    if words.is_empty() {
        reader.wrong(spot, "never", "name an occasion, or remove `on`: then it is always");
        return None;
    }
    let known = |word: &String| Occasion::ALL.into_iter().find(|known| known.word() == word);
    Some(words.iter().filter_map(known).collect())
}

fn program(reader: &mut Reader, item: &Spot<'_>, run: &Spot<'_>) -> Option<Destination> {
    let command = reader.words(run)?;
    if command.is_empty() {
        reader.wrong(run, "expected a program and its arguments", "");
        return None;
    }
    let env = match item.find("env") {
        None => Vec::new(),
        Some(spot) => reader.words(&spot)?,
    };
    Some(Destination::Program { command, env })
}

fn destination(reader: &mut Reader, item: &Spot<'_>, to: &Spot<'_>) -> Option<Destination> {
    let text = reader.text(to)?;
    let (kind, address) = text.split_once(':').map_or((text.as_str(), ""), |(a, b)| (a, b.trim()));
    let service = Service::ALL.into_iter().find(|service| service.word() == kind);
    if let Some(service) = service {
        let token = match item.find("token") {
            None => None,
            Some(spot) => Some(reader.text(&spot)?),
        };
        let usable = address_of(service, address);
        if let Err(why) = usable {
            let help = format!("write `to: \"{kind}:${{{}_URL}}\"`", kind.to_uppercase());
            reader.wrong(to, why, &help);
            return None;
        }
        return Some(Destination::Service { service, address: address.to_owned(), token });
    }
    match (kind, address) {
        ("desktop", "") => Some(Destination::Desktop),
        ("mail", "") => {
            reader.wrong(to, "to whom?", "write `to: \"mail:ann@example.org\"`");
            None
        }
        ("mail", to_whom) => {
            let Some(server) = item.find("server") else {
                let help =
                    "write `server: \"${SMTP_URL}\"`, such as smtps://user:password@mail.example";
                reader.wrong(item, "a mail needs `server`", help);
                return None;
            };
            let server = reader.text(&server)?;
            let from = match item.find("from") {
                None => None,
                Some(spot) => Some(reader.text(&spot)?),
            };
            Some(Destination::Mail { to: to_whom.to_owned(), from, server })
        }
        _ => {
            let mut known = vec!["desktop", "mail"];
            known.extend(Service::ALL.map(Service::word));
            let label = match nearest(kind, known.iter().copied()) {
                Some(near) if near != kind => format!("did you mean `{near}`?"),
                _ => "nobody is told this way".to_owned(),
            };
            let help = format!("one of {}, or `run: [program]`", known.join(", "));
            reader.wrong(to, label, &help);
            None
        }
    }
}

/// What a service is reached at. `Err` says what is wrong; an address with a variable is looked at when it is known.
fn address_of(service: Service, address: &str) -> Result<(), &'static str> {
    if address.contains("${") {
        return Ok(());
    }
    let url = Url::parse(address).map_err(|_| "expected an https address")?;
    if !http::is_private(&url) {
        return Err("expected an https address");
    }
    if service == Service::Ntfy && topic(&url).is_none() {
        return Err("expected a server and a topic: https://ntfy.sh/my-topic");
    }
    Ok(())
}

/// One way on which somebody is told. What follows a service's host is its secret, unless a variable holds it.
pub(super) fn shown(notify: &Notify) -> Value {
    let seen = |text: &str| match Url::parse(text).ok().filter(|_| !text.contains("${")) {
        Some(url) => format!("{}://{}/***", url.scheme(), url.host_str().unwrap_or_default()),
        None => text.to_owned(),
    };
    let secret = |text: &str| if text.contains("${") { text.to_owned() } else { MASK.to_owned() };
    let mut fields: Vec<(&str, Value)> = Vec::new();
    match &notify.to {
        Destination::Desktop => fields.push(("to", "desktop".into())),
        Destination::Program { command, env } => {
            fields.push(("run", words(command)));
            if !env.is_empty() {
                fields.push(("env", words(env)));
            }
        }
        Destination::Service { service, address, token } => {
            fields.push(("to", format!("{}:{}", service.word(), seen(address)).into()));
            fields.extend(token.as_ref().map(|token| ("token", secret(token).into())));
        }
        Destination::Mail { to, from, server } => {
            fields.push(("to", format!("mail:{to}").into()));
            fields.extend(from.as_ref().map(|from| ("from", from.as_str().into())));
            fields.push(("server", seen(server).into()));
        }
    }
    if notify.on.len() < Occasion::ALL.len() {
        let on: Vec<String> = notify.on.iter().map(|on| on.word().to_owned()).collect();
        fields.push(("on", self::words(&on)));
    }
    Value::Mapping(fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

fn words(words: &[String]) -> Value {
    words.iter().map(|word| Value::from(word.as_str())).collect()
}

/// The server and the topic of an ntfy address.
pub fn topic(address: &Url) -> Option<(Url, String)> {
    let (before, topic) = address.path().trim_end_matches('/').rsplit_once('/')?;
    let mut server = address.clone();
    server.set_path(if before.is_empty() { "/" } else { before });
    (!topic.is_empty()).then(|| (server, topic.to_owned()))
}

/// A file in which of each web or mail address only scheme and host can be read. As long as before, so that every
/// place in it stays where it is.
pub fn addresses_masked(file: &[u8]) -> Vec<u8> {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"((?:https?|smtps?)://)([^\s"'/@]*@)?([^\s"'/]*)([^\s"']*)"#)
            .expect("constant")
    });
    let text = String::from_utf8_lossy(file);
    let stars = |found: Option<regex::Match<'_>>| "*".repeat(found.map_or(0, |part| part.len()));
    let masked = ADDRESS.replace_all(&text, |found: &Captures<'_>| {
        format!("{}{}{}{}", &found[1], stars(found.get(2)), &found[3], stars(found.get(4)))
    });
    masked.into_owned().into_bytes()
}

/// A text in which each `${NAME}` is the variable's value. `Err` names one that is not set.
pub fn filled_in(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        let value = environment.get(name).map(|value| value.trim());
        let value = value.filter(|value| !value.is_empty());
        filled.push_str(before);
        filled.push_str(value.ok_or_else(|| format!("the variable {name} is not set"))?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_user;

    #[test]
    fn every_way_is_read() {
        let text = "notify:\n\
            - {to: desktop, on: [finished, needs_you]}\n\
            - {to: 'slack:${SLACK_URL}'}\n\
            - {to: 'ntfy:https://ntfy.sh/my-topic', token: '${T}'}\n\
            - {to: 'mail:ann@example.org', server: '${SMTP_URL}'}\n\
            - {run: [sh, tell.sh], env: [MY_TOKEN], on: [stopped]}\n";
        let read = parse_user("mine", text).unwrap().notify;
        assert_eq!(read.len(), 5);
        assert_eq!(read[0].on, BTreeSet::from([Occasion::Finished, Occasion::NeedsYou]));
        assert_eq!(read[1].on.len(), Occasion::ALL.len());
        let server = "${SMTP_URL}".to_owned();
        let mail = Destination::Mail { to: "ann@example.org".to_owned(), from: None, server };
        assert_eq!(read[3].to, mail);
    }

    #[test]
    fn what_tells_nobody_is_told() {
        for (entry, says) in [
            ("{to: desk-top}", "did you mean `desktop`?"),
            ("{to: telegram}", "nobody is told this way"),
            ("{to: slack}", "expected an https address"),
            ("{to: 'slack:http://hooks.example/x'}", "expected an https address"),
            ("{to: 'ntfy:https://ntfy.sh'}", "a server and a topic"),
            ("{to: 'mail:a@b.example'}", "a mail needs `server`"),
            ("{to: desktop, token: x}", "means nothing here"),
            ("{to: desktop, run: [a]}", "says it already"),
            ("{to: desktop, on: [always]}", "expected finished"),
            ("{to: desktop, on: []}", "never"),
            ("{on: [failed]}", "it says nobody"),
            ("{tow: desktop}", "did you mean `to`?"),
            ("desktop", "expected settings"),
        ] {
            let found = parse_user("mine", &format!("notify:\n- {entry}\n")).unwrap_err();
            let labels: Vec<&str> = found.iter().map(|found| found.label.as_str()).collect();
            assert!(labels.iter().any(|label| label.contains(says)), "{entry}: {labels:?}");
        }
    }

    #[test]
    fn a_message_about_the_file_shows_no_address() {
        let file = "- {to: 'slak:https://u:p@hooks.example/services/T0/S3'} # https://x.example\n";
        let masked = String::from_utf8(addresses_masked(file.as_bytes())).unwrap();
        let shown = "- {to: 'slak:https://****hooks.example***************'} # https://x.example\n";
        assert_eq!(masked, shown);
        assert_eq!(masked.len(), file.len());
    }

    #[test]
    fn variables_are_filled_in_or_named() {
        let set = BTreeMap::from([("A".to_owned(), " x\n".to_owned())]);
        assert_eq!(filled_in("1${A}2${A}3 $A ${", &set).unwrap(), "1x2x3 $A ${");
        assert_eq!(filled_in("${B}", &set).unwrap_err(), "the variable B is not set");
    }
}
