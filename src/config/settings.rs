//! What can be set, with the values that hold when nothing is: plain data, no text and no file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    budget::{Limits, Usd},
    forge::github::Issuer,
    hosts::Rule,
    ids::{NAME, REPO_DIRECTORY},
    night::{Baseline, Step},
    policy::{Layer, Origin, Policy},
};

use super::notify::Notify;

/// The agent that holds when none is named.
pub const CLAUDE: &str = "claude";
/// What Claude Code is asked for when nobody names a model.
const CLAUDE_MODEL: &str = "opus";

/// All settings of one night.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the plan is and how it is read.
    pub plan: PlanSettings,
    /// Limits of the night.
    pub limits: Limits,
    /// Rules for tasks and diffs. Its `origins` hold the keys below `policy`.
    pub policy: Policy,
    /// The project's own quality steps.
    pub gate: GateSettings,
    /// The program that edits.
    pub agent: AgentSettings,
    /// The pull request.
    pub pr: PrSettings,
    /// Where each value outside `policy` that is not the default was set, by key (`limits.tasks`).
    pub origins: BTreeMap<String, Origin>,
}

/// Where the plan is and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// Its file.
    pub file: PlanFile,
    /// First words of headings and what they mean.
    pub sections: Sections,
    /// Whether a landed task's status is edited in its own commit.
    pub update: bool,
}

/// Which file is the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanFile {
    /// The first that exists of [`plan_files`].
    Auto,
    /// This one, relative to the repository's root.
    Path(String),
}

/// Where a plan is looked for, in this order.
pub fn plan_files() -> [String; 4] {
    let file = "PROJECT_PLAN.md";
    [
        file.to_owned(),
        format!("docs/notes/{file}"),
        format!("docs/{file}"),
        format!("{REPO_DIRECTORY}/plan.md"),
    ]
}

/// First words of headings, compared without case and emoji.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Tasks below may run.
    pub ready: Vec<String>,
    /// Tasks below wait for a person.
    pub pending: Vec<String>,
    /// Tasks below never run.
    pub never: Vec<String>,
}

/// The project's own quality steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSettings {
    /// In the order in which they run; never empty.
    pub steps: Vec<Step>,
    /// False when the steps are the built-in guess, whose script may not exist.
    pub configured: bool,
    /// Names of environment variables that reach the steps; see [`env_passes`].
    pub env: Vec<String>,
    /// Hosts that the steps may talk to, each once; empty = nobody.
    pub network: Vec<Rule>,
    /// What runs once on the base, with the network, before anything else. All of them are required.
    pub setup: Vec<Step>,
    /// How it is seen to be able to fail.
    pub canary: CanarySetting,
    /// What a red base means.
    pub baseline: Baseline,
    /// How often a red run is repeated.
    pub flaky_reruns: u32,
}

/// How a gate is seen to be able to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanarySetting {
    /// We break something in the base.
    Auto,
    /// This patch of the base breaks it.
    Patch(String),
    /// It is not looked at.
    Off,
}

/// The program that edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// `claude`, `demo`, or the name of a profile in the user's file.
    pub use_: String,
    /// The model as it was set; `None` = [`AgentSettings::model`] says which.
    pub model: Option<String>,
    /// Models that are asked when the first may not be.
    pub fallback: Fallback,
    /// Milliseconds before the first, second, … new try after a passing trouble of the service.
    pub retry_ms: Vec<u64>,
    /// Files that the agent is told to read first, where they exist.
    pub context: Vec<String>,
    /// Names of environment variables that reach the agent; see [`env_passes`].
    pub env: Vec<String>,
}

/// Models that are asked when the first may not be. Only Claude Code has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// In this order.
    pub models: Vec<String>,
    /// Per cent of a usage window from which the next one is asked; 0 = never.
    pub at: u8,
}

/// The pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrSettings {
    /// The branch it goes to.
    pub base: Base,
    /// Whether it is a draft.
    pub draft: Draft,
    /// Labels it gets.
    pub labels: Vec<String>,
    /// People (`name`) and teams (`org/team`) asked to review it.
    pub reviewers: Vec<String>,
    /// Whether each landed commit says that its gate was green.
    pub statuses: bool,
    /// Open pull requests of ours with which no night begins; 0 = any number may be open.
    pub open_limit: u32,
}

/// The branch that a pull request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// The remote's default branch.
    Auto,
    /// This one.
    Branch(String),
}

/// Whether a pull request is a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Draft {
    /// While something in it waits for a person.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the user's own file sets, on this machine, for all repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSettings {
    /// Whether walls stand around agents; `None` = not set.
    pub sandbox: Option<Sandbox>,
    /// What the walls let through, and what may be used up inside.
    pub walls: WallSettings,
    /// How workspaces are made.
    pub workspaces: Workspaces,
    /// Agents at work at once, of all nights of this account; `None` = what fits the machine.
    pub agents_at_once: Option<u32>,
    /// How long records of nights stay.
    pub keep: Keep,
    /// Who is told of a night.
    pub notify: Vec<Notify>,
    /// Programs that `agent.use` and `--agent` may name.
    pub agents: BTreeMap<String, AgentProfile>,
    /// The App that opens pull requests; `None` = whoever the token is.
    pub app: Option<AppSettings>,
    /// What holds for the gates of all repositories.
    pub gate: UserGate,
    /// Limits and rules for all repositories. What a repository sets too holds in its stricter form.
    pub rules: Layer,
    /// Limits and rules for single repositories, by path (`~/` is the home directory). They win over all
    /// other files, also where they are looser.
    pub repositories: BTreeMap<String, Layer>,
}

/// A GitHub App of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// Its number or its client id.
    pub issuer: Issuer,
    /// The file with its private key; see [`AppSettings::key_file`].
    pub key: String,
    /// The number of its installation; `None` = looked up.
    pub installation: Option<u32>,
    /// The GitHub it belongs to, in lower case.
    pub host: String,
}

impl AppSettings {
    /// [`AppSettings::key`] as a path: `~` is the user's home directory.
    pub fn key_file(&self, home: &Path) -> PathBuf {
        at_home(&self.key, home)
    }
}

/// How long records of nights stay. What somebody still needs stays in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest nights of a repository that stay whole, 1 to 10,000.
    pub nights: u32,
    /// Days that transcripts and gate logs stay, 1 to 3,650.
    pub log_days: u32,
}

impl Default for Keep {
    /// Two months of nights, and a quarter of a year for what fills the disk.
    fn default() -> Keep {
        Keep { nights: 60, log_days: 90 }
    }
}

/// What the user's own file says of gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserGate {
    /// True: nothing is broken on purpose to see whether a gate can fail. The pull request says so.
    pub canary_off: bool,
    /// How often a red run is repeated; `None` = as the repository says.
    pub flaky_reruns: Option<u32>,
}

impl UserSettings {
    /// What is set for the repository of which `is_here` says that it is the one.
    fn of_repository(&self, home: &Path, is_here: impl Fn(&Path) -> bool) -> Option<&Layer> {
        let mut found = self.repositories.iter();
        found.find(|(path, _)| is_here(&at_home(path, home))).map(|(_, layer)| layer)
    }
}

/// A path of the user's file: `~/` is the user's home directory.
fn at_home(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(below) => home.join(below.trim_end_matches('/')),
        None => PathBuf::from(text.trim_end_matches('/')),
    }
}

/// Whether walls stand around agents and gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// None; every report says so.
    Off,
    /// The best that this machine has.
    Auto,
    /// The best; without one nothing runs.
    Required,
    /// Namespaces; without them nothing runs.
    T2,
    /// Landlock alone, also where there could be more; without it nothing runs.
    T1,
}

/// What the walls let through, and what may be used up inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WallSettings {
    /// Files and directories that agents and gates may read, besides what they need; see
    /// [`WallSettings::readable`].
    pub read: Vec<String>,
    /// What one agent or gate may use up.
    pub limits: crate::sandbox::Limits,
}

impl WallSettings {
    /// [`WallSettings::read`] as paths: `~` is the user's home directory.
    pub fn readable(&self, home: &Path) -> Vec<PathBuf> {
        self.read.iter().map(|text| at_home(text, home)).collect()
    }
}

/// How workspaces are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workspaces {
    /// The way that costs less on this machine.
    #[default]
    Auto,
    /// Directories that are kept and brought from one tree to the next.
    Pool,
    /// Layers over the base; needs the sandbox's T2.
    Overlay,
}

/// A program of the user's that can work as agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentProfile {
    /// Program and arguments; the prompt comes on standard input.
    pub command: Vec<String>,
}

/// A value given on the command line. It wins over every file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// `--max-tasks`.
    MaxTasks(u32),
    /// `--max-time`, in seconds.
    MaxTime(u64),
    /// `--max-cost`; zero = no limit.
    MaxCost(Usd),
    /// `-j`.
    Jobs(u32),
    /// `--keep-going`: failures in a row do not end the night.
    KeepGoing,
    /// `--plan`.
    Plan(String),
    /// `--agent`.
    Agent(String),
    /// `--model`.
    Model(String),
    /// `--draft`.
    Draft,
}

impl Settings {
    /// Limits and rules, with the keys that are not built in.
    fn rules(&self) -> Layer {
        let mut origins = self.policy.origins.clone();
        let limits = self.origins.iter().filter(|(key, _)| key.starts_with("limits."));
        origins.extend(limits.map(|(key, origin)| (key.clone(), origin.clone())));
        Layer { limits: self.limits.clone(), policy: self.policy.clone(), origins }
    }

    pub(super) fn set_rules(&mut self, rules: Layer) {
        let Layer { limits, policy, origins } = rules;
        self.limits = limits;
        self.policy = policy;
        self.policy.origins.clear();
        self.origins.retain(|key, _| !key.starts_with("limits.") && !key.starts_with("policy."));
        for (key, origin) in origins {
            let policy = key.starts_with("policy.");
            let place = if policy { &mut self.policy.origins } else { &mut self.origins };
            place.insert(key, origin);
        }
    }

    /// Puts the user's limits and rules beside the repository's: of what both set the stricter holds, and what
    /// the user says of this repository alone wins over both. `home` is the user's home directory, and
    /// `is_here` says whether a path of the user's file is this repository.
    pub fn hold_to(&mut self, user: &UserSettings, home: &Path, is_here: impl Fn(&Path) -> bool) {
        let mut rules = user.rules.and(&self.rules());
        if let Some(own) = user.of_repository(home, is_here) {
            rules = rules.under(own);
        }
        self.set_rules(rules);
    }

    /// Takes a value from the command line, and remembers that it came from there.
    pub fn set(&mut self, value: Override) {
        let (key, argument) = match value {
            Override::MaxTasks(tasks) => {
                self.limits.tasks = tasks;
                ("limits.tasks", "--max-tasks")
            }
            Override::MaxTime(seconds) => {
                self.limits.time_s = seconds;
                ("limits.time", "--max-time")
            }
            Override::MaxCost(cost) => {
                self.limits.cost = cost;
                ("limits.cost", "--max-cost")
            }
            Override::Jobs(jobs) => {
                self.limits.parallel = jobs;
                ("limits.parallel", "-j")
            }
            Override::KeepGoing => {
                self.limits.failures_in_a_row = 0;
                ("limits.failures_in_a_row", "--keep-going")
            }
            Override::Plan(file) => {
                self.plan.file = PlanFile::Path(file);
                ("plan.file", "--plan")
            }
            Override::Agent(name) => {
                self.agent.use_ = name;
                ("agent.use", "--agent")
            }
            Override::Model(model) => {
                self.agent.model = named_model(model);
                ("agent.model", "--model")
            }
            Override::Draft => {
                self.pr.draft = Draft::Always;
                ("pr.draft", "--draft")
            }
        };
        self.origins.insert(key.to_owned(), Origin::Argument(argument.to_owned()));
    }

    /// The gate as it holds on this machine, with what the user's own file says of it.
    pub fn gate_here(&self, own: UserGate) -> GateSettings {
        let mut gate = self.gate.clone();
        if own.canary_off {
            gate.canary = CanarySetting::Off;
        }
        if let Some(wish) = own.flaky_reruns {
            // Fewer are stricter, and the stricter of two that were written down holds.
            let set = self.origin("gate.flaky_reruns") != Origin::Default;
            gate.flaky_reruns = if set { gate.flaky_reruns.min(wish) } else { wish };
        }
        gate
    }

    /// Where the value of `key` was set.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_else(|| self.policy.origin(key))
    }
}

impl AgentSettings {
    /// The model that is asked for; `None` = the agent has no choice of models, or makes it itself. Claude
    /// Code is always told one: its own default depends on the credential it finds.
    pub fn model(&self) -> Option<&str> {
        let own = (self.use_ == CLAUDE).then_some(CLAUDE_MODEL);
        self.model.as_deref().or(own)
    }
}

/// `default` is no model: it stands for what holds when nothing is set.
pub(super) fn named_model(name: String) -> Option<String> {
    (name != "default").then_some(name)
}

/// True when an environment variable may reach an agent or a gate. A name with `*` at its end stands for
/// all that begin so, except those that look like secrets: `CARGO_*` must not hand over
/// `CARGO_REGISTRY_TOKEN`.
pub fn env_passes(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start) && !looks_secret(name),
        None => pattern == name,
    })
}

/// True for names of variables that usually hold a credential, or lead to one.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let parts = ["TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "PRIVATE", "COOKIE"];
    parts.iter().any(|part| name.contains(part))
        || name.split('_').any(|part| ["KEY", "APIKEY", "PAT", "AUTH", "DSN"].contains(&part))
        || ["SSH_AUTH_SOCK", "NETRC", "DATABASE_URL"].contains(&name.as_str())
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

impl Default for PlanSettings {
    fn default() -> PlanSettings {
        PlanSettings {
            file: PlanFile::Auto,
            sections: Sections {
                ready: strings(&["Ready", "Tonight"]),
                pending: strings(&["Pending", "Needs approval", "Needs review", "Proposed"]),
                never: strings(&["Not ready", "Blocked", "Backlog", "Later"]),
            },
            update: true,
        }
    }
}

/// Seconds for a step that sets no time of its own.
pub(super) const STEP_TIMEOUT_S: u64 = 20 * 60;
/// Seconds for one command of the set-up: a cold build of all dependencies is slower than any gate.
pub(super) const SETUP_TIMEOUT_S: u64 = 30 * 60;

impl Default for GateSettings {
    fn default() -> GateSettings {
        GateSettings {
            steps: vec![Step {
                name: "quality".to_owned(),
                run: "bash .ai-validation/check_quality.sh".to_owned(),
                timeout_s: STEP_TIMEOUT_S,
                required: true,
                weight: 1,
                junit: None,
            }],
            configured: false,
            env: AgentSettings::default().env,
            network: Vec::new(),
            setup: Vec::new(),
            canary: CanarySetting::Auto,
            baseline: Baseline::Green,
            flaky_reruns: 1,
        }
    }
}

impl Default for AgentSettings {
    fn default() -> AgentSettings {
        AgentSettings {
            use_: CLAUDE.to_owned(),
            model: None,
            fallback: Fallback { models: strings(&["sonnet"]), at: 80 },
            retry_ms: vec![2_000, 4_000, 8_000],
            context: strings(&["CLAUDE.md", "AGENTS.md"]),
            env: strings(&["LANG", "TZ", "CARGO_*"]),
        }
    }
}

impl Default for PrSettings {
    fn default() -> PrSettings {
        PrSettings {
            base: Base::Auto,
            draft: Draft::Auto,
            labels: strings(&[NAME]),
            reviewers: Vec::new(),
            statuses: true,
            // As Renovate's `prConcurrentLimit` means it: what nobody reads is not made.
            open_limit: 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_and_is_named_as_origin() {
        let mut settings = Settings::default();
        settings.origins.insert(
            "limits.tasks".into(),
            Origin::File { path: ".nightshift/config.yml".into(), line: 3 },
        );
        settings.set(Override::MaxTasks(1));
        settings.set(Override::KeepGoing);
        assert_eq!((settings.limits.tasks, settings.limits.failures_in_a_row), (1, 0));
        assert_eq!(settings.origin("limits.tasks").to_string(), "--max-tasks");
        assert_eq!(settings.origin("limits.time"), Origin::Default);
    }

    #[test]
    fn claude_code_is_always_told_a_model_and_other_agents_only_a_named_one() {
        let mut settings = Settings::default();
        assert_eq!(settings.agent.model(), Some("opus"));
        settings.set(Override::Model("haiku".into()));
        assert_eq!(settings.agent.model(), Some("haiku"));
        settings.set(Override::Model("default".into()));
        assert_eq!(settings.agent.model(), Some("opus"));
        settings.set(Override::Agent("mine".into()));
        assert_eq!(settings.agent.model(), None);
    }

    #[test]
    fn a_pattern_of_names_never_hands_over_a_secret() {
        let patterns = strings(&["CARGO_*", "LANG", "DEPLOY_TOKEN"]);
        for passes in ["CARGO_HOME", "LANG", "DEPLOY_TOKEN"] {
            assert!(env_passes(&patterns, passes), "{passes}");
        }
        for held in ["CARGO_REGISTRY_TOKEN", "CARGO_API_KEY", "LANGUAGE", "PATH"] {
            assert!(!env_passes(&patterns, held), "{held}");
        }
        for name in ["ANTHROPIC_API_KEY", "GH_TOKEN", "SSH_AUTH_SOCK", "DB_PASSWORD", "GITHUB_PAT"]
        {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["CARGO_HOME", "PATH", "MONKEY", "PATTERN", "AUTHOR"] {
            assert!(!looks_secret(name), "{name}");
        }
    }
}
