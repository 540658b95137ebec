//! `nightshift config`: the settings in force, where each comes from, what may stand in the files, and where
//! these are. Reads as `run` does, and changes nothing.

use serde_json::{Value, json};

use crate::{
    cli::{Global, Output, code, tell::Cleaner},
    config::{self, nearest_key, schema, show},
    ids::NAME,
    policy::{Freed, Phase, Policy, RULES, RuleInfo, document},
    runner::{
        places::Surroundings,
        prepare::{InForce, Request, user_settings},
        refused::Refused,
    },
};

/// Print the settings in force and where each comes from, their schema, and their places
#[derive(Debug, clap::Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Every setting in force, as a file that reads back to the same settings (the default)
    Show(Show),
    /// One setting, such as `limits.tasks`, or one section
    Get {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
        /// Read the repository's file from this branch, tag or commit
        #[arg(long, value_name = "REF")]
        base: Option<String>,
    },
    /// A JSON Schema of the repository's file, for editors
    Schema {
        /// Of your own file
        #[arg(long)]
        user: bool,
    },
    /// Where the files are
    Path,
}

#[derive(Debug, Default, clap::Args)]
struct Show {
    /// Where each value was set
    #[arg(long)]
    origin: bool,
    /// The rules as a document: what can be done unattended, what cannot, what needs approval, and why
    #[arg(long, conflicts_with_all = ["origin", "user"])]
    policy: bool,
    /// Your own file: walls, workspaces, agents, and the limits and rules that it sets
    #[arg(long, conflicts_with = "origin")]
    user: bool,
    /// Read the repository's file from this branch, tag or commit
    #[arg(long, value_name = "REF")]
    base: Option<String>,
}

pub(super) fn config(
    surroundings: &Surroundings,
    global: &Global,
    command: &Config,
    output: &mut Output,
) -> Result<u8, Refused> {
    let in_force = |base: &Option<String>| -> Result<InForce, Refused> {
        let request = Request {
            repository: global.repository(),
            base: base.clone(),
            tasks: Vec::new(),
            overrides: Vec::new(),
            style: output.style(),
        };
        let mut found = InForce::read(surroundings, &request)?;
        found.settings.gate = found.settings.gate_here(found.user_settings.gate);
        Ok(found)
    };
    let cleaner = Cleaner::new(surroundings);
    match command.command.as_ref().unwrap_or(&Command::Show(Show::default())) {
        Command::Show(wish) if wish.user => {
            let user = user_settings(surroundings, output.style())?;
            if output.is_json() {
                let mut values = show::user_values(&user);
                values.retain(|(key, _)| *key != "version");
                output.json("user-settings", &tree(&values));
            } else {
                output.result(&cleaner.redacted(show::user_file(&user).as_bytes()));
            }
        }
        Command::Show(wish) => {
            let found = in_force(&wish.base)?;
            let policy = &found.settings.policy;
            let text = match (output.is_json(), wish.policy) {
                (true, true) => {
                    output.json("policy", &rules(policy));
                    String::new()
                }
                (true, false) => {
                    output.json("config", &in_json(&found));
                    String::new()
                }
                (false, true) => document(policy),
                (false, false) => show::file(&found.settings, wish.origin),
            };
            if !text.is_empty() {
                output.result(&cleaner.redacted(text.as_bytes()));
            }
            for note in &found.notes {
                output.note(&format!("note: {}", cleaner.line(note)));
            }
        }
        Command::Get { key, base } => {
            let value = get(&in_force(base)?, key)?;
            if output.is_json() {
                output.json(
                    "config-value",
                    &json!({"key": key, "value": value.0, "origin": value.1}),
                );
            } else {
                output.result(&cleaner.redacted(value.2.as_bytes()));
            }
        }
        Command::Schema { user } => {
            let schema = if *user { schema::user() } else { schema::repository() };
            output.result(&serde_json::to_string_pretty(&schema).unwrap_or_default());
        }
        Command::Path => path(surroundings, global, output),
    }
    Ok(code::DONE)
}

fn tree(values: &[(&'static str, serde_yaml::Value)]) -> Value {
    serde_json::to_value(show::nested(values.iter().cloned())).unwrap_or_default()
}

fn in_json(found: &InForce) -> Value {
    let settings = &found.settings;
    let values = show::values(settings);
    let origins =
        values.iter().map(|(key, _)| ((*key).to_owned(), settings.origin(key).to_string().into()));
    json!({
        "base": found.base,
        "file": found.settings_file,
        "settings": tree(&values),
        "origins": origins.collect::<serde_json::Map<String, Value>>(),
        "gate_configured": settings.gate.configured,
        "notes": found.notes,
    })
}

/// Each rule as `check --json` and readers of the policy need it.
fn rules(policy: &Policy) -> Value {
    let row = |rule: &RuleInfo| {
        json!({
            "rule": rule.id,
            "phase": match rule.phase {
                Phase::Task => "task",
                Phase::Diff => "diff",
                Phase::Gate => "gate",
                Phase::Tests => "tests",
            },
            "verdict": rule.verdict_under(policy),
            "severity": rule.severity,
            "asks": rule.asks,
            "why": rule.why,
            "limit": rule.limit(policy),
            "key": (!rule.key.is_empty()).then_some(rule.key),
            "origin": rule.origin(policy).to_string(),
            "freed_by_approval": rule.freed == Freed::ByApproval,
        })
    };
    json!({"rules": RULES.iter().map(row).collect::<Vec<_>>()})
}

/// A value as JSON, where it was set, and the same as text.
fn get(found: &InForce, key: &str) -> Result<(Value, Value, String), Refused> {
    let settings = &found.settings;
    let values = show::values(settings);
    if let Some((key, value)) = values.iter().find(|(known, _)| *known == key) {
        let text = value.as_str().map_or_else(|| show::inline(value), str::to_owned);
        let origin = settings.origin(key).to_string().into();
        return Ok((serde_json::to_value(value).unwrap_or_default(), origin, text));
    }
    let below: Vec<(&'static str, serde_yaml::Value)> = values
        .into_iter()
        .filter_map(|(known, value)| Some((known.strip_prefix(key)?.strip_prefix('.')?, value)))
        .collect();
    if below.is_empty() {
        let help = match nearest_key(key) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{NAME} config show prints all of them"),
        };
        return Err(Refused::usage(format!("there is no setting `{key}`"), help));
    }
    let origins = below.iter().map(|(rest, _)| {
        ((*rest).to_owned(), settings.origin(&format!("{key}.{rest}")).to_string().into())
    });
    let origins = Value::Object(origins.collect());
    let text = show::lines(below.iter().map(|(rest, value)| (*rest, value)));
    Ok((tree(&below), origins, text))
}

fn path(surroundings: &Surroundings, global: &Global, output: &Output) {
    let mine = surroundings.user_file();
    let mut places = vec![("yours", surroundings.user_file_shown(), mine.is_file())];
    // Outside of a repository there is only the user's own.
    if let Ok(user) = crate::git::user::UserRepository::open(&global.repository()) {
        let root = user.work_tree().map(std::path::Path::to_owned);
        for file in config::repository_files() {
            let there = root.as_ref().is_some_and(|root| root.join(&file).is_file());
            places.push(("repository", file, there));
        }
    }
    if output.is_json() {
        let row = |(whose, path, there): &(&str, String, bool)| json!({"whose": whose, "path": path, "there": there});
        output.json("config-path", &json!({"files": places.iter().map(row).collect::<Vec<_>>()}));
        return;
    }
    let row = |(whose, path, there): &(&str, String, bool)| {
        let there = if *there { "" } else { "  (not there)" };
        format!("{whose:<10}  {path}{there}")
    };
    output.result(&places.iter().map(row).collect::<Vec<_>>().join("\n"));
    if places.len() > 1 {
        output.note("note: a night reads the repository's file from the base commit, not from your checkout");
    }
}
