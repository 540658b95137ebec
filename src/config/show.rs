//! Settings written down again: as values by key, and as a file that reads back to the same settings.
//!
//! Text from values; opens no file. What a file cannot say (that a gate is the built-in guess) stands as a
//! comment.

use std::fmt::Write as _;

use serde_yaml::{Mapping, Value};

use super::{
    keys::{self, Key},
    notify,
    settings::{
        Base, CanarySetting, Draft, PlanFile, SETUP_TIMEOUT_S, Sandbox, Settings, UserSettings,
        Workspaces,
    },
    shapes,
};
use crate::{
    budget::{Limits, Usd, WhenLimited},
    forge::github::Issuer,
    night::{Baseline, Step},
    policy::{
        Authority, Band, Deletion, Does, Missing, Origin, Policy, Secrets, Tests, WeakerTests,
    },
};

/// Every setting of a repository with its value, in the order of the file: key and value.
pub fn values(settings: &Settings) -> Vec<(&'static str, Value)> {
    keys::REPOSITORY
        .iter()
        .filter_map(|(key, kind)| match kind {
            Key::Value => value(settings, key).map(|value| (*key, value)),
            Key::Only(word) => Some((*key, only(word))),
            Key::Section | Key::Later | Key::UserOnly => None,
        })
        .collect()
}

/// The value of one key; `None` for a key that is not one of [`values`].
fn value(settings: &Settings, key: &str) -> Option<Value> {
    let section = key.split('.').next().unwrap_or(key);
    match section {
        "version" => Some(Value::from(1)),
        "plan" => plan(settings, key),
        "limits" => limit(&settings.limits, key),
        "policy" => rule(&settings.policy, key),
        "gate" => gate(settings, key),
        "agent" => agent(settings, key),
        "pr" => pull_request(settings, key),
        _ => None,
    }
}

fn plan(settings: &Settings, key: &str) -> Option<Value> {
    let plan = &settings.plan;
    Some(match key {
        "plan.file" => match &plan.file {
            PlanFile::Auto => Value::from("auto"),
            PlanFile::Path(path) => Value::from(path.as_str()),
        },
        "plan.sections.ready" => list(&plan.sections.ready),
        "plan.sections.pending" => list(&plan.sections.pending),
        "plan.sections.never" => list(&plan.sections.never),
        "plan.update" => Value::from(plan.update),
        _ => return None,
    })
}

fn limit(limits: &Limits, key: &str) -> Option<Value> {
    Some(match key {
        "limits.tasks" => limits.tasks.into(),
        "limits.time" => seconds(limits.time_s),
        "limits.task_time" => seconds(limits.task_time_s),
        "limits.attempts" => limits.attempts.into(),
        "limits.failures_in_a_row" => limits.failures_in_a_row.into(),
        "limits.parallel" => limits.parallel.into(),
        "limits.cost" => dollars(limits.cost),
        "limits.task_cost" => dollars(limits.task_cost),
        "limits.silence" => seconds(limits.silence_s),
        "limits.turns" => limits.turns.into(),
        "limits.tokens" => limits.tokens.into(),
        "limits.when_rate_limited" => Value::from(match limits.when_rate_limited {
            WhenLimited::Wait => "wait",
            WhenLimited::Stop => "stop",
        }),
        _ => return None,
    })
}

fn rule(policy: &Policy, key: &str) -> Option<Value> {
    Some(match key {
        "policy.min_alignment" => policy.min_alignment.into(),
        "policy.max_estimated_lines" => policy.max_estimated_lines.into(),
        "policy.max_changed_lines" => policy.max_changed_lines.into(),
        "policy.max_file_bytes" => policy.max_file_bytes.into(),
        "policy.tests" => Value::from(match policy.tests {
            Tests::Proven => "proven",
            Tests::Required => "required",
            Tests::Optional => "optional",
        }),
        "policy.weaker_tests" => Value::from(match policy.weaker_tests {
            WeakerTests::Never => "never",
            WeakerTests::Ask => "ask",
            WeakerTests::Allow => "allow",
        }),
        "policy.missing" => Value::from(match policy.missing {
            Missing::Ask => "ask",
            Missing::Assume => "assume",
            Missing::Refuse => "refuse",
        }),
        "policy.paths.allow" if policy.allow_too.is_empty() => list(&policy.allow),
        "policy.paths.allow" => {
            Value::Sequence(policy.allow_lists().map(|globs| list(globs)).collect())
        }
        "policy.paths.deny" => list(&policy.deny),
        "policy.paths.delete" => Value::from(match policy.delete {
            Deletion::Never => "never",
            Deletion::Ask => "ask",
            Deletion::Allow => "allow",
        }),
        "policy.protected" => list(&policy.protected),
        "policy.title_words" => list(&policy.title_words),
        "policy.added_lines" => list(&policy.added_lines),
        "policy.ask_first" => list(&policy.ask_first),
        "policy.dependencies" => list(&policy.dependencies),
        "policy.secrets" => Value::from(match policy.secrets {
            Secrets::Block => "block",
            Secrets::Report => "report",
        }),
        "policy.risk.low" => band(&policy.risk.low),
        "policy.risk.medium" => band(&policy.risk.medium),
        "policy.risk.high" => band(&policy.risk.high),
        "policy.risk.critical" => band(&policy.risk.critical),
        "policy.decisions.low" => authority(policy.decisions.low),
        "policy.decisions.medium" => authority(policy.decisions.medium),
        "policy.decisions.high" => authority(policy.decisions.high),
        _ => return None,
    })
}

fn gate(settings: &Settings, key: &str) -> Option<Value> {
    let gate = &settings.gate;
    Some(match key {
        "gate.steps" => Value::Sequence(gate.steps.iter().map(step).collect()),
        "gate.env" => list(&gate.env),
        "gate.network" if gate.network.is_empty() => Value::from("none"),
        "gate.network" => gate.network.iter().map(|rule| Value::from(rule.to_string())).collect(),
        "gate.canary" => match &gate.canary {
            CanarySetting::Auto => Value::from("auto"),
            CanarySetting::Patch(path) => Value::from(path.as_str()),
            CanarySetting::Off => Value::from("off"),
        },
        "gate.baseline" => Value::from(match gate.baseline {
            Baseline::Green => "green",
            Baseline::Compare => "compare",
        }),
        "gate.flaky_reruns" => gate.flaky_reruns.into(),
        "gate.setup" if gate.setup.is_empty() => Value::from("none"),
        "gate.setup" => gate.setup.iter().map(|step| Value::from(step.run.as_str())).collect(),
        "gate.setup_timeout" => {
            seconds(gate.setup.first().map_or(SETUP_TIMEOUT_S, |step| step.timeout_s))
        }
        _ => return None,
    })
}

fn step(step: &Step) -> Value {
    let mut fields = Mapping::new();
    let mut put = |key: &str, value: Value| fields.insert(key.into(), value);
    put("name", step.name.as_str().into());
    put("run", step.run.as_str().into());
    put("timeout", seconds(step.timeout_s));
    put("required", step.required.into());
    put("weight", step.weight.into());
    if let Some(path) = &step.junit {
        put("junit", path.as_str().into());
    }
    Value::Mapping(fields)
}

fn agent(settings: &Settings, key: &str) -> Option<Value> {
    let agent = &settings.agent;
    Some(match key {
        "agent.use" => Value::from(agent.use_.as_str()),
        "agent.model" => Value::from(agent.model.as_deref().unwrap_or("default")),
        "agent.context" => list(&agent.context),
        "agent.env" => list(&agent.env),
        "agent.fallback" => {
            let at = agent.fallback.at;
            let at = if at == 0 { "off".to_owned() } else { format!("{at}%") };
            map([("models", list(&agent.fallback.models)), ("at", Value::from(at))])
        }
        "agent.retry" => agent.retry_ms.iter().map(|millis| millis_of(*millis)).collect(),
        _ => return None,
    })
}

fn pull_request(settings: &Settings, key: &str) -> Option<Value> {
    let pr = &settings.pr;
    Some(match key {
        "pr.base" => match &pr.base {
            Base::Auto => Value::from("auto"),
            Base::Branch(branch) => Value::from(branch.as_str()),
        },
        "pr.draft" => Value::from(match pr.draft {
            Draft::Auto => "auto",
            Draft::Always => "always",
            Draft::Never => "never",
        }),
        "pr.labels" => list(&pr.labels),
        "pr.reviewers" => list(&pr.reviewers),
        "pr.statuses" => Value::from(if pr.statuses { "on" } else { "off" }),
        "pr.open_limit" => Value::from(pr.open_limit),
        _ => return None,
    })
}

/// What the user's own file says, with what is built in where it says nothing.
pub fn user_values(user: &UserSettings) -> Vec<(&'static str, Value)> {
    let limits = &user.walls.limits;
    let sandbox = match user.sandbox {
        None | Some(Sandbox::Auto) => "auto",
        Some(Sandbox::Off) => "off",
        Some(Sandbox::Required) => "required",
        Some(Sandbox::T2) => "t2",
        Some(Sandbox::T1) => "t1",
    };
    let workspaces = match user.workspaces {
        Workspaces::Auto => "auto",
        Workspaces::Pool => "pool",
        Workspaces::Overlay => "overlay",
    };
    let agents = user.agents.iter().map(|(name, agent)| {
        (Value::from(name.as_str()), map([("command", list(&agent.command))]))
    });
    let mut values = vec![
        ("version", Value::from(1)),
        ("sandbox.use", Value::from(sandbox)),
        ("sandbox.read", list(&user.walls.read)),
        ("sandbox.processes", Value::from(limits.processes)),
        ("sandbox.memory", bytes(limits.memory_bytes)),
        ("sandbox.disk_reserve", bytes(limits.disk_reserve)),
        ("sandbox.file_size", bytes(limits.file_bytes)),
        ("workspaces", Value::from(workspaces)),
        ("keep.nights", user.keep.nights.into()),
        ("keep.log_days", user.keep.log_days.into()),
        ("gate.canary", Value::from(if user.gate.canary_off { "off" } else { "auto" })),
        ("agents", Value::Mapping(agents.collect())),
    ];
    if !user.notify.is_empty() {
        values.push(("notify", Value::Sequence(user.notify.iter().map(notify::shown).collect())));
    }
    if let Some(app) = &user.app {
        let (name, issuer) = match &app.issuer {
            Issuer::Id(id) => ("id", Value::from(*id)),
            Issuer::Client(id) => ("client_id", Value::from(id.as_str())),
        };
        let mut fields = vec![(name, issuer), ("key", Value::from(app.key.as_str()))];
        fields.extend(app.installation.map(|id| ("installation", Value::from(id))));
        fields.push(("host", Value::from(app.host.as_str())));
        values.push(("github.app", map(fields)));
    }
    // Without a word of the user's the machine says how many.
    if let Some(most) = user.agents_at_once {
        values.push(("agents_at_once", most.into()));
    }
    // Without a word of the user's the repository's number holds.
    if let Some(reruns) = user.gate.flaky_reruns {
        values.push(("gate.flaky_reruns", reruns.into()));
    }
    values.sort_by_key(|(key, _)| key.starts_with("gate."));
    values
}

/// The repository's settings as a file: it reads back to the same settings. With `origins` each value is
/// followed by a comment that says where it was set.
pub fn file(settings: &Settings, origins: bool) -> String {
    let origin = |key: &str| settings.origin(key);
    let guessed = |key: &str| key == "gate.steps" && !settings.gate.configured;
    let mut writer = Writer::default();
    for (key, value) in values(settings) {
        let comment = (origins && key != "version").then(|| origin(key));
        writer.entry(key, &value, comment.as_ref(), guessed(key));
    }
    writer.text
}

/// Some values as lines of a file.
pub fn lines<'v>(values: impl IntoIterator<Item = (&'v str, &'v Value)>) -> String {
    let mut writer = Writer::default();
    for (key, value) in values {
        writer.entry(key, value, None, false);
    }
    writer.text
}

/// The user's own settings as a file: walls, workspaces, agents, and the limits and rules that it sets.
pub fn user_file(user: &UserSettings) -> String {
    let mut writer = Writer::default();
    for (key, value) in user_values(user) {
        writer.entry(key, &value, None, false);
    }
    let set = |key: &str, layer: &crate::policy::Layer| match key.split('.').next() {
        Some("limits") => limit(&layer.limits, key),
        Some("policy") => rule(&layer.policy, key),
        Some(_) | None => None,
    };
    let held = |layer: &crate::policy::Layer| {
        let keys = shapes::REPOSITORY.iter().map(|field| field.key);
        let keys = keys.filter(|key| layer.origins.contains_key(*key));
        keys.filter_map(|key| Some((key, set(key, layer)?))).collect::<Vec<_>>()
    };
    for (key, value) in held(&user.rules) {
        writer.entry(key, &value, None, false);
    }
    if !user.repositories.is_empty() {
        let repositories = user.repositories.iter();
        let repositories =
            repositories.map(|(path, layer)| (path.as_str().into(), nested(held(layer))));
        writer.entry("repos", &Value::Mapping(repositories.collect()), None, false);
    }
    writer.text
}

/// Values by their dotted keys as maps in maps.
pub fn nested<'k>(values: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let mut root = Mapping::new();
    for (key, value) in values {
        let mut place = &mut root;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                place.insert(Value::from(part), value);
                break;
            }
            let below = place.entry(Value::from(part)).or_insert_with(|| Mapping::new().into());
            let Value::Mapping(below) = below else { break };
            place = below;
        }
    }
    Value::Mapping(root)
}

/// One value as it stands behind its key: on one line.
pub fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar(text),
        Value::Sequence(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(fields) => {
            let field =
                |(key, value): (&Value, &Value)| format!("{}: {}", inline(key), inline(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Tagged(tagged) => inline(&tagged.value),
    }
}

/// Lines longer than this are broken up.
const WIDTH: usize = 90;

#[derive(Default)]
struct Writer {
    text: String,
    /// The sections that are open.
    open: Vec<String>,
}

impl Writer {
    fn entry(&mut self, key: &str, value: &Value, origin: Option<&Origin>, hidden: bool) {
        let mut parts: Vec<&str> = key.split('.').collect();
        let name = parts.pop().unwrap_or(key);
        let same = parts.iter().zip(&self.open).take_while(|(part, open)| *part == open).count();
        self.open.truncate(same);
        for part in &parts[same..] {
            if self.open.is_empty() && !self.text.is_empty() {
                self.text.push('\n');
            }
            let _ = writeln!(self.text, "{}{part}:", "  ".repeat(self.open.len()));
            self.open.push((*part).to_owned());
        }
        let indent = "  ".repeat(self.open.len());
        let comment = match origin {
            Some(origin) => format!("  # {}", origin.to_string().replace(char::is_control, " ")),
            None => String::new(),
        };
        let (indent, comment) = if hidden {
            (format!("{indent}# "), "  # not configured: looked for in the base".to_owned())
        } else {
            (indent, comment)
        };
        self.value(&indent, &scalar(name), value, &comment);
    }

    fn value(&mut self, indent: &str, name: &str, value: &Value, comment: &str) {
        let line = inline(value);
        let fits = indent.len() + name.len() + 2 + line.len() <= WIDTH;
        let list = match value {
            Value::Sequence(items) if !fits && !items.is_empty() => items,
            Value::Mapping(fields) if !fits && !fields.is_empty() => {
                let _ = writeln!(self.text, "{indent}{name}:{comment}");
                for (key, value) in fields {
                    self.value(&format!("{indent}  "), &inline(key), value, "");
                }
                return;
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => {
                let _ = writeln!(self.text, "{indent}{name}: {line}{comment}");
                return;
            }
        };
        let _ = writeln!(self.text, "{indent}{name}:{comment}");
        for item in list {
            let _ = writeln!(self.text, "{indent}  - {}", inline(item));
        }
    }
}

/// A text as YAML: plain where no reader could take it for something else, else in double quotes as JSON
/// writes them, which YAML reads too.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.' || c == '_')
        && !text.ends_with(' ')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./* ".contains(c))
        && !text.starts_with("..")
        // Before a bracket one of our readers takes it for the beginning of a list.
        && text.split(' ').all(|part| part != "-")
        && text != "."
        && text != "_"
        && text.parse::<f64>().is_err();
    let plain = word || text.split(' ').all(is_quantity);
    // Words that some reader of YAML takes for a flag, for nothing or for a number.
    let taken = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", ".nan", ".inf"];
    // `off` is a word of ours, and both of our readers take it as one.
    let taken = taken.iter().any(|word| text.eq_ignore_ascii_case(word)) && text != "off";
    if plain && !taken {
        text.to_owned()
    } else {
        serde_json::to_string(text).unwrap_or_else(|_| format!("{text:?}"))
    }
}

/// Such as `30m`, `80%` or `8GiB`.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let units = ["ms", "s", "m", "h", "%", "KiB", "MiB", "GiB", "TiB"];
    unit.len() < text.len() && units.contains(&unit)
}

fn map<'f>(fields: impl IntoIterator<Item = (&'f str, Value)>) -> Value {
    Value::Mapping(fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

fn list(words: &[String]) -> Value {
    words.iter().map(|word| Value::from(word.as_str())).collect()
}

/// The one value that a key takes in this version.
pub(super) fn only(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
}

fn band(band: &Band) -> Value {
    let does = match band.does {
        Does::Run => "run",
        Does::Ask => "ask",
        Does::Block => "block",
    };
    let proof = band.proof.map_or(Value::from("none"), Value::from);
    map([("upto", Value::from(band.upto)), ("do", Value::from(does)), ("proof", proof)])
}

fn authority(authority: Authority) -> Value {
    Value::from(match authority {
        Authority::Decide => "decide",
        Authority::Review => "review",
        Authority::Ask => "ask",
    })
}

/// Such as `1h 30m`.
fn seconds(seconds: u64) -> Value {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    Value::from(said.join(" "))
}

fn millis_of(millis: u64) -> Value {
    if millis.is_multiple_of(1000) {
        seconds(millis / 1000)
    } else {
        Value::from(format!("{millis}ms"))
    }
}

/// The largest unit that says it without a fraction.
fn bytes(bytes: u64) -> Value {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((unit, shift)) => Value::from(format!("{}{unit}", bytes >> shift)),
        None => Value::from(bytes),
    }
}

/// Whole dollars as such; else exact to the millionth.
fn dollars(amount: Usd) -> Value {
    let micros = amount.micros();
    if micros.is_multiple_of(1_000_000) {
        return Value::from(micros / 1_000_000);
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most a million dollars: exact enough to read back"
    )]
    let dollars = micros as f64 / 1e6;
    Value::from(dollars)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{parse_repository, parse_user};

    fn read_back(settings: &Settings) -> Settings {
        let text = file(settings, true);
        let read = parse_repository("c.yml", &text);
        read.unwrap_or_else(|found| panic!("{found:?}\n{text}")).0
    }

    fn without_origins(mut settings: Settings) -> Settings {
        settings.origins.clear();
        settings.policy.origins.clear();
        settings
    }

    #[test]
    fn what_is_shown_reads_back() {
        let rich = "plan: {file: notes/plan.md, sections: {ready: [Go, 'on'], never: ['no: not']}, update: false}\n\
            limits: {time: 1h 30m 5s, task_time: 90s, cost: 1.1, task_cost: 0.29, tokens: 123456789, when_rate_limited: stop}\n\
            policy: {tests: proven, missing: refuse, secrets: report, weaker_tests: allow, protected: ['ci/**'],\n\
            \x20 added_lines: ['\\bTODO\\b', 'a`b', '# no comment', \"'\"], title_words: ['y', '1', 'a: b', ' x'],\n\
            \x20 paths: {allow: [['src/**'], ['**/*.rs', 'docs/**']], delete: allow}, decisions: {low: ask},\n\
            \x20 risk: {low: {upto: 10, proof: 95}, medium: {upto: 20, do: ask, proof: none}, high: {upto: 30}, critical: {do: block}}}\n\
            gate: {canary: ci/x.patch, baseline: compare, flaky_reruns: 0, steps: [{name: a, run: 'x # y', timeout: 61s, weight: 7, junit: out/x.xml}, {name: b, run: z, required: false}],\n\
            \x20 network: [a.example, '*.b.example:8443'], setup: [npm ci, 'make -'], setup_timeout: 7m, env: [A]}\n\
            agent: {use: mine, model: opus, fallback: {models: [], at: off}, retry: [1500ms, 2s], env: [TZ], context: []}\n\
            pr: {base: develop, draft: never, labels: ['a b', 'x: y'], reviewers: [ann, acme/backend], open_limit: 0}\n";
        let (settings, _) = parse_repository("c.yml", rich).unwrap();
        assert_eq!(without_origins(read_back(&settings)), without_origins(settings));
        let built_in = Settings::default();
        assert_eq!(without_origins(read_back(&built_in)), built_in);
    }

    #[test]
    fn every_key_is_shown_with_its_origin() {
        let (settings, _) = parse_repository("c.yml", "limits:\n  tasks: 2\n").unwrap();
        let shown: Vec<&str> = values(&settings).into_iter().map(|(key, _)| key).collect();
        let known = keys::REPOSITORY.iter().filter(|(_, kind)| *kind == Key::Value);
        let missing: Vec<&str> =
            known.map(|(key, _)| *key).filter(|key| !shown.contains(key)).collect();
        assert!(missing.is_empty(), "add to show::value: {missing:?}");
        let text = file(&settings, true);
        assert!(text.contains("\n  tasks: 2  # c.yml:2\n"), "{text}");
        assert!(text.contains("\n  attempts: 3  # built in\n"), "{text}");
        assert!(text.contains("\n  # steps: "), "a guess is no setting: {text}");
        assert!(!file(&settings, false).contains("built in"));
    }

    #[test]
    fn the_users_file_reads_back() {
        let text = "sandbox: {use: t1, read: [/opt/a b], memory: 8GiB, disk_reserve: 0, file_size: 100MiB, processes: 99}\n\
            workspaces: pool\nagents_at_once: 6\ngate: {canary: off, flaky_reruns: 3}\nagents: {mine: {command: [sh, -c, 'a: b']}}\nlimits: {tasks: 3}\n\
            repos:\n  ~/work/my.app: {limits: {tasks: 9}, policy: {paths: {allow: ['**']}, risk: {low: {upto: 5}}}}\n";
        let user = parse_user("mine", text).unwrap();
        let mut read = parse_user("mine", &user_file(&user)).unwrap();
        let lines = |layer: &mut crate::policy::Layer| {
            layer.origins.values_mut().for_each(|origin| *origin = Origin::Default);
        };
        let mut user = user;
        for settings in [&mut user, &mut read] {
            lines(&mut settings.rules);
            settings.repositories.values_mut().for_each(lines);
        }
        assert_eq!(read, user);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn money_times_and_texts_read_back(
            micros in 0_u64..=1_000_000_000_000,
            time in 1_u64..=604_800,
            text in "[ -~é]{1,12}",
        ) {
            let mut settings = Settings::default();
            settings.limits.cost = Usd::from_micros(micros);
            settings.limits.time_s = time;
            settings.limits.task_time_s = time;
            if !text.trim().is_empty() {
                settings.policy.title_words = vec![text];
            }
            prop_assert_eq!(without_origins(read_back(&settings)), settings);
        }
    }
}
