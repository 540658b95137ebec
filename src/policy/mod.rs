//! The rules: what may run without a person, and what may land.
//!
//! [`admit`] judges a task's words before the run, [`inspect`] the real diff after it. Both take values
//! and return values; neither reads a file. Only [`admit`] makes an [`AdmittedTask`].

mod admission;
mod autorun;
mod beside;
mod document;
mod gitleaks;
mod inspection;
mod loosened;
mod judge;
mod layers;
mod manifest;
mod predict;
mod registry;
mod risk;
mod rows;
mod rules;
mod secrets;
mod shapes;
mod source;
mod tested;
mod weaker;
mod words;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::prompt::{self, Level, Settled};

pub use admission::{
    Admission, AdmittedTask, Applied, Decision, Facts, Ruling, TaskLimits, admit, admit_plan,
};
pub use beside::with_tests_of;
pub use document::document;
pub use inspection::{Inspection, TestDelta, inspect, reserved};
pub use layers::Layer;
pub use predict::{BaseFiles, Collision, Predicted, collisions, predicted};
pub use registry::{Freed, Phase, RULES, RuleInfo, rule};
pub use risk::{Band, Bands, Does, FACTORS, Factor, Risk, RiskLevel};
pub use rules::{RuleSet, RuleSetError, check_glob, check_regex, is_document, is_test_or_doc};
pub use secrets::RULES_FILE as SECRET_RULES_FILE;
pub use weaker::asks_for_other_tests;

/// The rules as data. Defaults are those of the original request unless a line says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Least alignment score, 0 to 100.
    pub min_alignment: u32,
    /// Most lines that a plan may estimate for a task.
    pub max_estimated_lines: u32,
    /// Most lines that a diff may add and remove; tests and documents do not count.
    pub max_changed_lines: u32,
    /// Whether a task needs tests.
    pub tests: Tests,
    /// What a task without score or estimate means.
    pub missing: Missing,
    /// Globs of paths that may change.
    pub allow: Vec<String>,
    /// Further lists of which one glob each must match too: what the user and the repository both allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_too: Vec<Vec<String>>,
    /// Globs of paths that may not change even where `allow` matches.
    pub deny: Vec<String>,
    /// Globs of files that must be identical to the base in every candidate. Files that the gate's steps
    /// name, and the plan, are added when the night opens.
    pub protected: Vec<String>,
    /// Whether files may go.
    pub delete: Deletion,
    /// Words that a task may not contain. Matched in title, acceptance and notes, in any inflection, with
    /// articles and at most one other word between (`drop table` also finds "drops the users table"), and
    /// not after a "not" or "never".
    pub title_words: Vec<String>,
    /// Regular expressions that no added line may match.
    pub added_lines: Vec<String>,
    /// Words that need a person's approval. Matched as `title_words` are, in title and acceptance; the
    /// built-in ones also find their relatives ("auth" finds "authentication" and not "author").
    pub ask_first: Vec<String>,
    /// Names of dependencies that a task may add without asking.
    pub dependencies: Vec<String>,
    /// What added lines that look like a secret mean.
    #[serde(default)]
    pub secrets: Secrets,
    /// What a diff that takes tests away, leaves them out or empties them means.
    #[serde(default)]
    pub weaker_tests: WeakerTests,
    /// Where the levels of risk end, and what follows from each.
    #[serde(default)]
    pub risk: Bands,
    /// Largest file that may enter, in bytes. 10 MiB: decision of the design, GitHub warns at 50.
    pub max_file_bytes: u64,
    /// Who settles what an agent has to decide.
    #[serde(default)]
    pub decisions: Authorities,
    /// Where each value that is not the default was set, by key (`policy.min_alignment`).
    pub origins: BTreeMap<String, Origin>,
}

/// Whether a task needs tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tests {
    /// As `required`, and new or changed tests must fail on the base's code.
    Proven,
    /// Tests defined, or the task writes only tests or documents.
    Required,
    /// Not asked for.
    Optional,
}

/// What added lines that look like a secret mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secrets {
    /// Refused.
    #[default]
    Block,
    /// Shown.
    Report,
}

/// What a diff that takes tests away, leaves them out or empties them means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeakerTests {
    /// Refused, unless the task's own words ask for it.
    #[default]
    Never,
    /// Waits for approval.
    Ask,
    /// Shown.
    Allow,
}

/// What a task without score or estimate means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It waits for approval.
    Ask,
    /// It is taken to be within the limits.
    Assume,
    /// It never runs.
    Refuse,
}

/// Whether files may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// Refused.
    Never,
    /// Waits for approval.
    Ask,
    /// Allowed within the allowed paths.
    Allow,
}

/// Who settles decisions of each level: decision 20 of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// Names, formatting, the layout of tests.
    pub low: Authority,
    /// Approach, internal interfaces, small refactoring.
    pub medium: Authority,
    /// Dependencies, schema, security, public interfaces: the configuration takes `ask` only.
    pub high: Authority,
}

/// Who settles a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    /// The agent; the decision is shown.
    Decide,
    /// A second conversation that sees only task, diff and decision must agree.
    Review,
    /// A person: the task waits as a question.
    Ask,
}

impl Authorities {
    /// Who settles decisions of this level.
    pub fn of(&self, level: Level) -> Authority {
        match level {
            Level::Low => self.low,
            Level::Medium => self.medium,
            Level::High => self.high,
        }
    }

    /// The same, as an agent is told.
    pub fn told(&self) -> prompt::Decisions {
        let settled = |authority| match authority {
            Authority::Decide => Settled::Here,
            Authority::Review => Settled::Reviewed,
            Authority::Ask => Settled::ByAPerson,
        };
        prompt::Decisions {
            low: settled(self.low),
            medium: settled(self.medium),
            high: settled(self.high),
        }
    }
}

impl Default for Authorities {
    fn default() -> Authorities {
        Authorities { low: Authority::Decide, medium: Authority::Review, high: Authority::Ask }
    }
}

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// A line of a file.
    File {
        /// The file, as people would open it.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// An argument of the command.
    Argument(String),
    /// Places that hold together: a list that several files made longer, or narrower.
    Several(Vec<Origin>),
}

/// What a rule's "no" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Shown in the report; stops nothing.
    Report,
    /// Waits for a person; approval frees it for this task's text.
    Ask,
    /// Never unattended; no approval frees it.
    Refuse,
}

/// How much harm the rule keeps away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Order and habit.
    Low,
    /// Review effort.
    Medium,
    /// Behaviour of the product.
    High,
    /// Data, secrets, the gate itself.
    Critical,
}

/// A rule that says no: which, how badly, what it saw, what the limit is, and where that was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable id, such as `admission.alignment` or `inspection.protected`.
    pub rule: String,
    /// What the "no" means.
    pub verdict: Verdict,
    /// How much harm the rule keeps away.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// What was seen: a number, a word, a path, a line.
    pub value: String,
    /// What would have passed.
    pub limit: String,
    /// Where the limit was set.
    pub origin: Origin,
    /// What to do, where there is something to do.
    pub help: Option<String>,
}

impl Policy {
    /// Every list of globs of which one must match a path that changes.
    pub fn allow_lists(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.allow).chain(&self.allow_too)
    }

    /// The same in words.
    pub fn allowed(&self) -> String {
        let lists: Vec<String> = self.allow_lists().map(|globs| globs.join(", ")).collect();
        lists.join("; and also ")
    }

    /// Where the value of `key` was set.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// One line, safe on a terminal: control characters of plan texts and paths become blanks.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!(
            "{}: {} ({}; limit {}, {})",
            self.rule, self.message, self.value, self.limit, self.origin
        );
        f.write_str(&line.replace(char::is_control, " "))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Report => "report",
            Verdict::Ask => "ask",
            Verdict::Refuse => "refuse",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built in"),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Argument(argument) => f.write_str(argument),
            Origin::Several(origins) => {
                let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
                f.write_str(&origins.join(" and "))
            }
        }
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            min_alignment: 80,
            max_estimated_lines: 30,
            max_changed_lines: 120,
            tests: Tests::Required,
            missing: Missing::Ask,
            allow: strings(&["src/**", "tests/**", "docs/**", "README.md", "CHANGELOG.md"]),
            allow_too: Vec::new(),
            deny: strings(&[
                "**/.env*",
                "**/docker-compose*.y*ml",
                "**/compose.y*ml",
                "**/Dockerfile*",
                "**/Containerfile*",
                ".devcontainer/**",
                ".github/**",
                ".gitlab-ci.yml",
                "**/.gitignore",
                "**/.gitattributes",
                "**/.gitmodules",
                "**/requirements*.txt",
                "**/*.lock",
                "**/*lock.json",
                "**/migrations/**",
                // Production configuration: the design's list of what is never touched unattended.
                "**/*prod.y*ml",
                "**/*production.y*ml",
                "**/*production.toml",
                "**/*production.json",
                // Files that run code on the machine of whoever opens the branch.
                "**/.vscode/**",
                "**/.cargo/**",
                "**/.npmrc",
                "**/.yarnrc*",
            ]),
            protected: strings(&[
                ".ai-validation/**",
                ".nightshift/**",
                ".github/**",
                ".gitlab-ci.yml",
                "**/CLAUDE.md",
                "**/AGENTS.md",
                ".claude/**",
                ".mcp.json",
                ".husky/**",
                ".githooks/**",
                ".pre-commit-config.yaml",
                "lefthook*.y*ml",
                // What governs the next night.
                ".gitleaks.toml",
                ".worktreeinclude",
                // CI elsewhere.
                "Jenkinsfile",
                ".circleci/**",
                ".buildkite/**",
                ".drone.y*ml",
                ".woodpecker*",
                "azure-pipelines*.y*ml",
                "bitbucket-pipelines.yml",
                // Instructions of other agents.
                "**/GEMINI.md",
                ".cursorrules",
                ".cursor/**",
            ]),
            delete: Deletion::Never,
            // The request's seven words, parted by verdict: these two never run unattended, dependencies
            // are a rule of their own, and schema and payment words wait for a person (`ask_first`).
            title_words: strings(&["delete file", "drop table"]),
            added_lines: strings(&[
                "(?i)\\bDROP\\s+TABLE\\b",
                // All rows of a table: its name is the statement's end, or what is asked of a row holds for each.
                r#"(?i)\bDELETE\s+FROM\s+["'`\[]?[\w.${}%:?]+["'`\]]?\s*(?:[;"'`)]|$|WHERE\s+(?:TRUE|1)\b)"#,
            ]),
            ask_first: strings(&[
                "auth",
                "security",
                "login",
                "password",
                "token",
                "crypto",
                "remove column",
                "database schema",
                "migration",
                "architecture",
                "stripe",
                "payment",
            ]),
            dependencies: Vec::new(),
            secrets: Secrets::default(),
            weaker_tests: WeakerTests::default(),
            risk: Bands::default(),
            max_file_bytes: 10 * 1024 * 1024,
            decisions: Authorities::default(),
            origins: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::TaskId,
        plan::{Fields, Section, SectionClass, Task, TestsDefined},
    };

    /// A task that every default rule lets through, with a title of its own.
    pub(super) fn ready(title: &str) -> Task {
        Task {
            id: TaskId::new("task_1").unwrap(),
            title: title.to_owned(),
            section: Section { heading: "Ready".into(), class: SectionClass::Ready, line: 1 },
            line: 3,
            span: 0..0,
            title_span: 0..0,
            checkbox: None,
            fields: Fields {
                alignment: Some(95),
                estimated_lines: Some(10),
                tests: Some(TestsDefined::Yes(Some("tests/parser.rs".into()))),
                ..Fields::default()
            },
            notes: Vec::new(),
            text: String::new(),
            text_hash: String::new(),
            errors: Vec::new(),
        }
    }

    #[test]
    fn a_refusal_is_one_line_that_says_everything() {
        let refusal = Refusal {
            rule: "inspection.paths".into(),
            verdict: Verdict::Refuse,
            severity: Severity::High,
            message: "`a\nb` is outside the allowed paths".into(),
            value: "a\x1b[2Jb".into(),
            limit: "src/**".into(),
            origin: Origin::File { path: ".nightshift/config.yml".into(), line: 4 },
            help: None,
        };
        assert_eq!(
            refusal.to_string(),
            "inspection.paths: `a b` is outside the allowed paths (a [2Jb; limit src/**, \
             .nightshift/config.yml:4)"
        );
    }

    #[test]
    fn a_limit_names_where_it_was_set() {
        let mut policy = Policy::default();
        assert_eq!(policy.origin("policy.min_alignment").to_string(), "built in");
        let origin = Origin::File { path: "c.yml".into(), line: 7 };
        policy.origins.insert("policy.min_alignment".into(), origin);
        assert_eq!(policy.origin("policy.min_alignment").to_string(), "c.yml:7");
    }

    #[test]
    fn words_of_a_finding_are_the_configurations_words() {
        let verdicts = [Verdict::Report, Verdict::Ask, Verdict::Refuse];
        assert_eq!(verdicts.map(|v| v.to_string()), ["report", "ask", "refuse"]);
        let severities = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        assert_eq!(severities.map(|s| s.to_string()), ["low", "medium", "high", "critical"]);
        let file = Origin::File { path: "c.yml".into(), line: 7 };
        let both = Origin::Several(vec![file, Origin::Argument("--x".into())]);
        assert_eq!(both.to_string(), "c.yml:7 and --x");
    }
}
