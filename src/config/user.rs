//! The user's own file: programs that may work as agents, and whether walls stand around them.

use super::{
    keys::{self, nearest},
    reader::Reader,
    repository::{is_agent_name, version},
    settings::{AgentProfile, UserSettings},
    yaml::Spot,
};

/// Names that mean agents of ours.
const BUILT_IN: [&str; 2] = ["claude", "demo"];

/// Reads every setting; what is wrong is told to the reader.
pub(super) fn read(reader: &mut Reader, root: &Spot<'_>) -> UserSettings {
    let mut settings = UserSettings::default();
    reader.keys(root, "", keys::USER);
    version(reader, root);
    // Both spellings are in use; together they could disagree.
    let places = [root.find("sandbox"), root.find("agent.sandbox")];
    if let [Some(_), Some(second)] = &places {
        reader.wrong(second, "`sandbox` says it already", "keep one of them");
    }
    if let Some(spot) = places.into_iter().flatten().next() {
        settings.sandbox = reader.word(&spot, &["off", "auto", "required"]);
    }
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
