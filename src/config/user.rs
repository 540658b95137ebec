//! The user's own file: programs that may work as agents, what walls stand around them, and limits and rules
//! for all repositories or for one.

use super::{
    keys::{self, nearest},
    notify,
    reader::Reader,
    repository::{is_agent_name, version},
    rules,
    settings::{AgentProfile, AppSettings, Sandbox, UserSettings, Workspaces},
    shapes::{range, range_of_user},
    yaml::Spot,
};
use crate::forge::github::Issuer;

/// Names that mean agents of ours.
const BUILT_IN: [&str; 2] = ["claude", "demo"];

/// Reads every setting; what is wrong is told to the reader.
pub(super) fn read(reader: &mut Reader, root: &Spot<'_>, file: &str) -> UserSettings {
    let mut settings = UserSettings::default();
    reader.keys(root, "", &keys::user());
    version(reader, root);
    settings.rules = rules::read(reader, root, file);
    if let Some(spot) = root.find("repos") {
        repositories(reader, &spot, &mut settings, file);
    }
    // Both spellings are in use; together they could disagree.
    let places = [root.find("sandbox"), root.find("agent.sandbox")];
    if let [Some(_), Some(second)] = &places {
        reader.wrong(second, "`sandbox` says it already", "keep one of them");
    }
    if let Some(spot) = places.into_iter().flatten().next() {
        sandbox(reader, &spot, &mut settings);
    }
    if let Some(spot) = root.find("workspaces") {
        settings.workspaces = reader.word(&spot, &["auto", "pool", "overlay"]).unwrap_or_default();
        if settings.workspaces == Workspaces::Overlay
            && matches!(settings.sandbox, Some(Sandbox::Off | Sandbox::T1))
        {
            let help = "use `workspaces: auto`, or `sandbox: t2`";
            reader.wrong(
                &spot,
                "layers are mounted by `sandbox: t2`, which is not used here",
                help,
            );
        }
    }
    settings.agents_at_once = root
        .find("agents_at_once")
        .and_then(|spot| reader.number(&spot, range_of_user("agents_at_once")));
    for key in ["keep.nights", "keep.log_days"] {
        let number = root.find(key).and_then(|spot| reader.number(&spot, range_of_user(key)));
        let place = if key == "keep.nights" {
            &mut settings.keep.nights
        } else {
            &mut settings.keep.log_days
        };
        *place = number.unwrap_or(*place);
    }
    if let Some(spot) = root.find("gate.canary") {
        // What is to be tried is the repository's to say; here it can only be left out.
        let word: Option<Canary> = reader.word(&spot, &["auto", "off"]);
        settings.gate.canary_off = word == Some(Canary::Off);
    }
    settings.gate.flaky_reruns = root
        .find("gate.flaky_reruns")
        .and_then(|spot| reader.number(&spot, range("gate.flaky_reruns")));
    if let Some(spot) = root.find("notify") {
        settings.notify = notify::read(reader, &spot);
    }
    settings.app = root.find("github.app").and_then(|spot| app(reader, &spot));
    let Some(agents) = root.find("agents") else { return settings };
    if !agents.value.is_mapping() {
        reader.wrong(&agents, "expected agents", "write `agents: {mine: {command: [my-agent]}}`");
    }
    for agent in agents.fields() {
        if BUILT_IN.contains(&agent.name.as_str()) {
            let message = format!("`{}` is a built-in agent", agent.name);
            let help = Some("give yours another name".to_owned());
            reader.error("C004", agent.key.clone(), message, "name taken", help);
        } else if !is_agent_name(&agent.name) {
            let message = format!("`{}` cannot be an agent's name", agent.name);
            let label = "expected letters, digits, `-` and `_`";
            reader.error("C004", agent.key.clone(), message, label, None);
        } else if let Some(profile) = profile(reader, &agent) {
            settings.agents.insert(agent.name.clone(), profile);
        }
    }
    settings
}

/// What can be said of the canary here.
#[derive(PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Canary {
    Auto,
    Off,
}

/// A GitHub App. Its key's file is looked at when it is used.
fn app(reader: &mut Reader, spot: &Spot<'_>) -> Option<AppSettings> {
    const HELP: &str = "write `github: {app: {id: 123456, key: ~/.config/nightshift/app.pem}}`";
    reader.keys(spot, "", keys::APP);
    let number = |reader: &mut Reader, key: &str| {
        spot.find(key).and_then(|spot| reader.number(&spot, 1..=u32::MAX))
    };
    let (id, installation) = (number(reader, "id"), number(reader, "installation"));
    let client = spot.find("client_id").and_then(|spot| reader.text(&spot));
    let issuer = match (id, client) {
        (Some(_), Some(_)) => {
            reader.wrong(spot, "`id` and `client_id` name the same", "keep one of them");
            return None;
        }
        (Some(id), None) => Issuer::Id(id),
        (None, Some(id)) => Issuer::Client(id),
        (None, None) => {
            if spot.find("id").or_else(|| spot.find("client_id")).is_none() {
                reader.wrong(spot, "an App needs `id` or `client_id`", HELP);
            }
            return None;
        }
    };
    let Some(key) = spot.find("key") else {
        reader.wrong(spot, "an App needs `key`, the file with its private key", HELP);
        return None;
    };
    let path = reader.text(&key)?;
    if !path.starts_with('/') && !path.starts_with("~/") {
        reader.wrong(&key, "expected an absolute path, or one below `~/`", HELP);
        return None;
    }
    let host = match spot.find("host") {
        None => "github.com".to_owned(),
        Some(host) => {
            let name = reader.text(&host)?.to_ascii_lowercase();
            if name.is_empty() || name.contains(['/', '@', ' ']) {
                reader.wrong(&host, "expected the name of a host, such as `ghe.corp.example`", "");
                return None;
            }
            name
        }
    };
    Some(AppSettings { issuer, key: path, installation, host })
}

/// Limits and rules of single repositories, by their paths.
fn repositories(reader: &mut Reader, spot: &Spot<'_>, settings: &mut UserSettings, file: &str) {
    if !spot.value.is_mapping() {
        let help = "write `repos: {~/work/app: {limits: {tasks: 10}}}`";
        reader.wrong(spot, "expected repositories by their paths", help);
    }
    for entry in spot.fields() {
        if !entry.name.starts_with('/') && !entry.name.starts_with("~/") {
            let message = format!("`{}` names no repository", entry.name);
            let label = "expected an absolute path, or one below `~/`";
            reader.error("C004", entry.key.clone(), message, label, None);
            continue;
        }
        reader.keys(&entry, "", &keys::rules());
        let rules = rules::read(reader, &entry, file);
        settings.repositories.insert(entry.name.clone(), rules);
    }
}

/// One word, or a map with more.
fn sandbox(reader: &mut Reader, spot: &Spot<'_>, settings: &mut UserSettings) {
    const WORDS: [&str; 5] = ["off", "auto", "required", "t2", "t1"];
    if !spot.value.is_mapping() {
        settings.sandbox = reader.word(spot, &WORDS);
        return;
    }
    reader.keys(spot, "", keys::SANDBOX);
    settings.sandbox = spot.find("use").and_then(|spot| reader.word(&spot, &WORDS));
    if let Some(spot) = spot.find("read") {
        let paths = reader.list(&spot, readable);
        settings.walls.read = paths.unwrap_or_default();
    }
    let limits = &mut settings.walls.limits;
    // Fewer, and Claude Code or a parallel compiler could not start its threads.
    let processes = spot.find("processes").and_then(|spot| reader.number(&spot, 64..=1_000_000));
    limits.processes = processes.map_or(limits.processes, u64::from);
    let mut size = |key: &str, place: &mut u64, least, zero| {
        if let Some(size) = spot.find(key).and_then(|spot| reader.size(&spot, least, zero)) {
            *place = size;
        }
    };
    // With less Node does not start.
    size("memory", &mut limits.memory_bytes, 256 << 20, true);
    size("disk_reserve", &mut limits.disk_reserve, 1 << 20, true);
    size("file_size", &mut limits.file_bytes, 1 << 20, false);
}

/// A path that the walls may let through.
fn readable(reader: &mut Reader, item: &Spot<'_>, path: &str) -> bool {
    let below = path.strip_prefix("~/").or_else(|| path.strip_prefix('/'));
    let label = match below {
        None if path == "~" => "this is all that you have",
        None => "expected an absolute path, or one below `~/`",
        Some(below) if below.split('/').any(|part| part == "..") => "`..` is not followed",
        Some(below) if below.split('/').all(|part| part.is_empty() || part == ".") => {
            "names everything: nothing would be left of the walls"
        }
        Some(_) => return true,
    };
    reader.wrong(item, label, "name the directory that is needed, such as `~/.cache/models`");
    false
}

fn profile(reader: &mut Reader, agent: &Spot<'_>) -> Option<AgentProfile> {
    reader.keys(agent, "", keys::PROFILE);
    let Some(command) = agent.find("command") else {
        // A misspelt `command` was told already.
        let fields = agent.fields();
        if nearest("command", fields.iter().map(|field| field.name.as_str())).is_none() {
            let help = "write `command: [program, argument]`";
            reader.wrong(agent, "an agent needs `command`", help);
        }
        return None;
    };
    let words = reader.words(&command)?;
    if words.is_empty() {
        reader.wrong(&command, "expected a program and its arguments", "");
        return None;
    }
    Some(AgentProfile { command: words })
}
