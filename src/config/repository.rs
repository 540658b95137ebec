//! A repository's file: from its document to [`Settings`].

use super::{
    keys::{self, Key},
    reader::Reader,
    rules,
    settings::{
        Base, CLAUDE, CanarySetting, Fallback, PlanFile, SETUP_TIMEOUT_S, STEP_TIMEOUT_S, Settings,
        looks_secret, named_model,
    },
    shapes::{range, words},
    yaml::Spot,
};
use crate::{
    hosts::Rule,
    ids::RepoPath,
    night::Step,
    policy::{Origin, RuleSet},
};

/// Reads every setting; what is wrong is left at its default and told to the reader.
pub(super) fn read(reader: &mut Reader, root: &Spot<'_>, file: &str) -> Settings {
    let mut settings = Settings::default();
    if let Some(spot) = root.find("agent.sandbox")
        && spot.value.as_str() == Some("off")
    {
        reader.users(&spot);
    } else {
        reader.keys(root, "", keys::REPOSITORY);
    }
    version(reader, root);
    plan(reader, root, &mut settings);
    let rules = rules::read(reader, root, file);
    gate(reader, root, &mut settings);
    agent(reader, root, &mut settings);
    pull_request(reader, root, &mut settings);
    for (path, key) in keys::REPOSITORY {
        if *key == Key::Value
            && let Some(spot) = root.find(path)
        {
            let origin = Origin::File { path: file.to_owned(), line: spot.line };
            settings.origins.insert((*path).to_owned(), origin);
        }
    }
    settings.set_rules(rules);
    warn(reader, root, &settings);
    settings
}

/// The format's version: 1, or not said.
pub(super) fn version(reader: &mut Reader, root: &Spot<'_>) {
    if let Some(spot) = root.find("version")
        && spot.value.as_u64() != Some(1)
    {
        let help = "this nightshift reads version 1; a newer file needs a newer nightshift";
        reader.error(
            "C011",
            spot.caret(),
            "the file's version is not known",
            "expected 1",
            Some(help.to_owned()),
        );
    }
}

/// Puts a value in its place if it is set and good.
pub(super) fn set<'a, T>(
    place: &mut T,
    root: &Spot<'a>,
    path: &str,
    read: impl FnOnce(&Spot<'a>) -> Option<T>,
) {
    if let Some(value) = root.find(path).and_then(|spot| read(&spot)) {
        *place = value;
    }
}

fn plan(reader: &mut Reader, root: &Spot<'_>, settings: &mut Settings) {
    let plan = &mut settings.plan;
    set(&mut plan.file, root, "plan.file", |spot| {
        Some(match reader.path(spot)? {
            word if word == "auto" => PlanFile::Auto,
            path => PlanFile::Path(path),
        })
    });
    set(&mut plan.sections.ready, root, "plan.sections.ready", |spot| reader.words(spot));
    set(&mut plan.sections.pending, root, "plan.sections.pending", |spot| reader.words(spot));
    set(&mut plan.sections.never, root, "plan.sections.never", |spot| reader.words(spot));
    set(&mut plan.update, root, "plan.update", |spot| reader.flag(spot));
}

fn gate(reader: &mut Reader, root: &Spot<'_>, settings: &mut Settings) {
    if let Some(spot) = root.find("gate.steps")
        && let Some(steps) = steps(reader, &spot)
    {
        settings.gate.steps = steps;
        settings.gate.configured = true;
    }
    set(&mut settings.gate.network, root, "gate.network", |spot| network(reader, spot));
    let mut timeout_s = SETUP_TIMEOUT_S;
    set(&mut timeout_s, root, "gate.setup_timeout", |spot| reader.duration(spot));
    set(&mut settings.gate.setup, root, "gate.setup", |spot| setup(reader, spot, timeout_s));
    if let Some(names) = root.find("agent.env").and_then(|spot| variables(reader, &spot)) {
        // One list for both unless the gate has its own.
        settings.gate.env.clone_from(&names);
        settings.agent.env = names;
    }
    set(&mut settings.gate.env, root, "gate.env", |spot| variables(reader, spot));
    set(&mut settings.gate.canary, root, "gate.canary", |spot| canary(reader, spot));
    set(&mut settings.gate.baseline, root, "gate.baseline", |spot| {
        reader.word(spot, words("gate.baseline"))
    });
    set(&mut settings.gate.flaky_reruns, root, "gate.flaky_reruns", |spot| {
        reader.number(spot, range("gate.flaky_reruns"))
    });
}

/// `auto`, `off`, or the path of a patch.
fn canary(reader: &mut Reader, spot: &Spot<'_>) -> Option<CanarySetting> {
    match reader.text(spot)?.as_str() {
        "auto" => Some(CanarySetting::Auto),
        "off" => Some(CanarySetting::Off),
        path => {
            let path = own_path(reader, spot, path)?;
            let ending = path.rsplit_once('.').map(|(_, ending)| ending);
            let patch = matches!(ending, Some("patch" | "diff"));
            if !patch {
                let help =
                    "`auto`, `off`, or a patch of the base, such as .nightshift/canary.patch";
                reader.wrong(spot, "expected a path that ends with .patch or .diff", help);
            }
            patch.then_some(CanarySetting::Patch(path))
        }
    }
}

/// A plain path inside the repository, without what leads out of it.
fn own_path(reader: &mut Reader, spot: &Spot<'_>, text: &str) -> Option<String> {
    let path = text.strip_prefix("./").unwrap_or(text);
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part != ".git";
    let good = path.split('/').all(plain) && !path.contains(['\\', '\0']);
    if !good {
        reader.wrong(spot, "expected a path below the repository's root", "without `..`");
    }
    good.then(|| path.to_owned())
}

/// A script runs with bash, anything else as it stands.
fn command_line(text: String) -> String {
    let script = text.strip_suffix(".sh").is_some_and(|stem| !stem.contains(char::is_whitespace));
    if script { format!("bash {text}") } else { text }
}

/// `none`, or a list of hosts, each in its one form.
fn network(reader: &mut Reader, spot: &Spot<'_>) -> Option<Vec<Rule>> {
    if spot.value.as_str() == Some("none") {
        return Some(Vec::new());
    }
    let mut hosts: Vec<Rule> = Vec::new();
    reader.list(spot, |reader, item, text| match text.parse::<Rule>() {
        Ok(_) if text == "none" => {
            reader.wrong(item, "`none` stands alone", "write `network: none`");
            false
        }
        Ok(rule) => {
            let new = !hosts.contains(&rule);
            if new {
                hosts.push(rule);
            } else {
                reader.wrong(item, "the host stands here twice", "keep one of them");
            }
            new
        }
        Err(why) => {
            reader.wrong(item, why.to_string(), "");
            false
        }
    })?;
    Some(hosts)
}

/// `none`, a command, or a list of commands, each in the form in which a gate's steps are run.
fn setup(reader: &mut Reader, spot: &Spot<'_>, timeout_s: u64) -> Option<Vec<Step>> {
    let list = matches!(spot.value, serde_yaml::Value::Sequence(_));
    let runs = match spot.value.as_str() {
        Some("none") => return Some(Vec::new()),
        Some("auto") => {
            let help = "write the command, such as `npm ci` or `cargo fetch --locked`";
            reader.wrong(spot, "what has to be set up is not guessed", help);
            return None;
        }
        _ if list => reader.words(spot)?,
        _ => vec![reader.text(spot)?],
    };
    let step = |(number, run)| Step {
        name: format!("setup-{number}"),
        run: command_line(run),
        timeout_s,
        required: true,
        weight: 1,
        junit: None,
    };
    Some((1..).zip(runs).map(step).collect())
}

/// One text is one step: a script (`x.sh`) runs with bash, anything else is a command line.
fn steps(reader: &mut Reader, spot: &Spot<'_>) -> Option<Vec<Step>> {
    if !matches!(spot.value, serde_yaml::Value::Sequence(_)) {
        let run = command_line(reader.text(spot)?);
        let name = "quality".to_owned();
        return Some(vec![Step {
            name,
            run,
            timeout_s: STEP_TIMEOUT_S,
            required: true,
            weight: 1,
            junit: None,
        }]);
    }
    let before = reader.found.len();
    let steps: Vec<Step> =
        spot.items().into_iter().filter_map(|item| step(reader, &item)).collect();
    for (at, item) in spot.items().iter().enumerate() {
        let name = steps.get(at).map(|step| &step.name);
        if name.is_some() && steps[..at.min(steps.len())].iter().any(|s| Some(&s.name) == name) {
            let help = "logs and receipts are kept by the step's name";
            reader.wrong(item, "another step has this name", help);
        }
    }
    if spot.items().is_empty() {
        let help = "name a script or a command; a night without a gate does not start";
        reader.wrong(spot, "no steps", help);
    } else if reader.found.len() == before && steps.iter().all(|step| !step.required) {
        reader.wrong(spot, "no step is required", "such a gate could never be red");
    }
    (reader.found.len() == before).then_some(steps)
}

fn step(reader: &mut Reader, item: &Spot<'_>) -> Option<Step> {
    if !matches!(item.value, serde_yaml::Value::Mapping(_)) {
        reader.wrong(item, "expected a step", "write `{name: tests, run: cargo test}`");
        return None;
    }
    reader.keys(item, "", keys::STEP);
    let (mut timeout_s, mut required, mut weight) = (STEP_TIMEOUT_S, true, 1);
    set(&mut timeout_s, item, "timeout", |spot| reader.duration(spot));
    set(&mut required, item, "required", |spot| reader.flag(spot));
    set(&mut weight, item, "weight", |spot| reader.number(spot, 1..=1000));
    let junit = item.find("junit").and_then(|spot| {
        let text = reader.text(&spot)?;
        own_path(reader, &spot, &text)
    });
    let mut need = |key: &str| match item.find(key) {
        Some(spot) => reader.text(&spot).map(|text| (spot, text)),
        None => {
            let help = format!("write `{key}: …`");
            reader.wrong(item, format!("a step needs `{key}`"), &help);
            None
        }
    };
    let (name, run) = (need("name"), need("run"));
    let ((spot, name), (_, run)) = (name?, run?);
    let plain = name.len() <= 40
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !plain {
        let label = "expected up to 40 letters, digits, `-` or `_`";
        reader.wrong(&spot, label, "the name becomes part of file names");
        return None;
    }
    Some(Step { name, run, timeout_s, required, weight, junit })
}

/// Names of environment variables. A repository cannot ask for what looks like a secret: the agent, or a
/// test that an agent wrote, would read it.
fn variables(reader: &mut Reader, spot: &Spot<'_>) -> Option<Vec<String>> {
    reader.list(spot, |reader, item, name| {
        let stem = name.strip_suffix('*').unwrap_or(name);
        let shape = stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !shape {
            let help = "such as `LANG` or `CARGO_*`; `*` alone would hand over everything";
            reader.wrong(item, "expected the name of a variable", help);
        } else if looks_secret(stem) {
            let message = format!("a repository may not ask for `{name}`");
            let label = "looks like a secret";
            let help = "agents and gates run without secrets; let the tests do without it";
            reader.error("C010", item.caret(), message, label, Some(help.to_owned()));
        }
        shape && !looks_secret(stem)
    })
}

fn agent(reader: &mut Reader, root: &Spot<'_>, settings: &mut Settings) {
    let agent = &mut settings.agent;
    set(&mut agent.use_, root, "agent.use", |spot| {
        let name = reader.text(spot)?;
        if is_agent_name(&name) {
            return Some(name);
        }
        let help = "`claude`, `demo`, or the name of an agent in your own file";
        reader.wrong(spot, "expected a name of letters, digits, `-` and `_`", help);
        None
    });
    set(&mut agent.model, root, "agent.model", |spot| {
        let model = reader.text(spot)?;
        is_model(reader, spot, &model).then(|| named_model(model))
    });
    set(&mut agent.fallback, root, "agent.fallback", |spot| fallback(reader, spot));
    set(&mut agent.retry_ms, root, "agent.retry", |spot| reader.pauses(spot, MOST_RETRIES));
    if let Some(spot) = root.find("agent.context") {
        let paths = reader.list(&spot, |reader, item, _| reader.path(item).is_some());
        agent.context = paths.unwrap_or_default();
    }
}

/// Quick tries after a passing trouble. Longer pauses, in which other models are asked, follow by themselves.
const MOST_RETRIES: usize = 10;

fn is_model(reader: &mut Reader, spot: &Spot<'_>, name: &str) -> bool {
    let good = !name.starts_with('-') && !name.contains(char::is_whitespace);
    if !good {
        reader.wrong(spot, "expected the name of a model", "such as `sonnet`");
    }
    good
}

/// A list of models, or a map that also says when.
fn fallback(reader: &mut Reader, spot: &Spot<'_>) -> Option<Fallback> {
    let mut fallback = Settings::default().agent.fallback;
    let map = matches!(spot.value, serde_yaml::Value::Mapping(_));
    if map {
        reader.keys(spot, "", keys::FALLBACK);
    }
    let before = reader.found.len();
    let models = if map { spot.find("models") } else { Some(spot.clone()) };
    if let Some(spot) = models {
        let models = reader.list(&spot, |reader, item, name| {
            let named = name != "default";
            if !named {
                reader.wrong(item, "`default` is no model", "name one, such as `sonnet`");
            }
            named && is_model(reader, item, name)
        });
        fallback.models = models.unwrap_or_default();
    }
    if let Some(spot) = spot.find("at") {
        fallback.at = per_cent(reader, &spot)?;
    }
    (reader.found.len() == before).then_some(fallback)
}

/// `80%`, `80` or `off`.
fn per_cent(reader: &mut Reader, spot: &Spot<'_>) -> Option<u8> {
    let number = match spot.value.as_str().map(str::trim) {
        Some("off") => Some(0),
        Some(text) => text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok()),
        None => spot.value.as_u64(),
    };
    let at = number.filter(|number| *number <= 100).and_then(|number| u8::try_from(number).ok());
    if at.is_none() {
        reader.wrong(spot, "expected a share of the usage window", "write `80%`; `off` for never");
    }
    at
}

/// A name that can stand on a command line and in a file name.
pub(super) fn is_agent_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 40
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn pull_request(reader: &mut Reader, root: &Spot<'_>, settings: &mut Settings) {
    let pr = &mut settings.pr;
    set(&mut pr.base, root, "pr.base", |spot| {
        let name = reader.text(spot)?;
        if name == "auto" {
            return Some(Base::Auto);
        }
        if is_branch(&name) {
            return Some(Base::Branch(name));
        }
        reader.wrong(spot, "expected the name of a branch, or `auto`", "without `refs/heads/`");
        None
    });
    set(&mut pr.draft, root, "pr.draft", |s| reader.word(s, &["auto", "always", "never"]));
    set(&mut pr.labels, root, "pr.labels", |spot| {
        reader.list(spot, |reader, item, label| {
            // GitHub refuses longer ones.
            let fits = label.chars().count() <= 50;
            if !fits {
                reader.wrong(item, "longer than 50 characters", "");
            }
            fits
        })
    });
    set(&mut pr.statuses, root, "pr.statuses", |s| {
        let word: Option<Switch> = reader.word(s, &["on", "off"]);
        word.map(|word| word == Switch::On)
    });
    set(&mut pr.open_limit, root, "pr.open_limit", |s| reader.number(s, range("pr.open_limit")));
    set(&mut pr.reviewers, root, "pr.reviewers", |spot| {
        reader.list(spot, |reader, item, name| {
            let part = |part: &str| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            };
            let good = name.split('/').count() <= 2 && name.split('/').all(part);
            if !good {
                let help = "without `@`: `ann`, or `acme/backend` for a team";
                reader.wrong(item, "expected a login or a team", help);
            }
            good
        })
    });
}

/// A thing that is on or off.
#[derive(PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

/// git's rules for names of branches (`git check-ref-format`), a little stricter.
fn is_branch(name: &str) -> bool {
    let part = |part: &str| {
        let lock = part.strip_suffix(".lock").is_some();
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !lock
    };
    !name.starts_with(['-', '@'])
        && !name.starts_with("refs/")
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains([' ', '~', '^', ':', '?', '*', '[', '\\'])
        && !name.contains(char::is_control)
        && name.split('/').all(part)
}

/// What is allowed and probably not meant.
fn warn(reader: &mut Reader, root: &Spot<'_>, settings: &Settings) {
    let rules = |policy| RuleSet::new(policy).ok();
    if let Some(spot) = root.find("policy.paths.deny")
        && let Some(rules) = rules(&settings.policy)
        && !rules.denies(&RepoPath::from(".env"))
    {
        let message = "`policy.paths.deny` no longer denies `.env` files";
        let help = "the list replaces the built-in one; add \"**/.env*\"";
        reader.warning(spot.caret(), message, "without `.env`", help);
    }
    if let Some(spot) = root.find("policy.paths.allow")
        && let Some(rules) = rules(&settings.policy)
        && rules.allows(&RepoPath::from("some-file.of-no-place"))
    {
        let message = "`policy.paths.allow` allows every file at the root";
        reader.warning(spot.caret(), message, "allows everything", "name directories: \"src/**\"");
    }
    if let Some(spot) = root.find("agent.fallback")
        && settings.agent.use_ != CLAUDE
        && !settings.agent.fallback.models.is_empty()
    {
        let message = "`agent.fallback` does nothing here";
        let label = format!("`{}` has no models", settings.agent.use_);
        reader.warning(spot.caret(), message, &label, "only `agent.use: claude` has models");
    }
    let limits = &settings.limits;
    let zero = crate::budget::Usd::ZERO;
    if let Some(spot) = root.find("limits.task_cost")
        && limits.cost != zero
        && limits.task_cost > limits.cost
    {
        let message = "`limits.task_cost` is more than the whole night may cost";
        reader.warning(spot.caret(), message, "never reached", "lower it, or raise `limits.cost`");
    }
    if let Some(spot) = root.find("limits.task_time")
        && limits.task_time_s > limits.time_s
    {
        let message = "`limits.task_time` is more than the whole night may last";
        reader.warning(spot.caret(), message, "never reached", "lower it, or raise `limits.time`");
    }
}
