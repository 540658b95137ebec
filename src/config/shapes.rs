//! What each setting may hold, and what it is for: one table for the reader's borders and words, for the JSON
//! Schema that editors use, and for the documents.
//!
//! A border or a word that stands here stands nowhere else. Nothing is read here.

use std::ops::RangeInclusive;

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A whole number within borders.
    Number(u32, u32),
    /// A whole number of something large.
    Count,
    /// US dollars; 0 = no limit.
    Money,
    /// Such as `30m`.
    Duration,
    /// Such as `8GiB`; 0 where there may be none.
    Size,
    /// One line of text.
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    /// A share of a usage window: `80%`, `80` or `off`.
    Share,
    /// A list of such.
    List(&'static Shape),
    /// A map of which each key is known.
    Map(&'static [Field]),
    /// A map whose keys are names.
    Named(&'static Shape),
    /// Any of these.
    Either(&'static [Shape]),
    /// `limits` and `policy`, as at the top of the file.
    Rules,
}

/// One key of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    /// What it is for; for a rule, why it is there.
    pub(super) about: &'static str,
    /// True where a map without it is wrong.
    pub(super) needed: bool,
}

const fn field(key: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { key, shape, about, needed: false }
}

const fn needed(key: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { key, shape, about, needed: true }
}

use Shape::{
    Count, Duration, Either, Flag, List, Map, Money, Named, Number, Rules, Share, Size, Text, Word,
};

const TEXTS: Shape = List(&Text);
/// Lines: more than any file has.
const LINES: Shape = Number(0, 1_000_000);
const AUTHORITY: Shape = Word(&["decide", "review", "ask"]);
const BAND: Shape = Map(&[
    field("upto", Number(0, 100), "the highest score of this level"),
    field(
        "do",
        Word(&["run", "ask", "block"]),
        "run it, let it wait for a person, or never run it",
    ),
    field(
        "proof",
        Either(&[Number(0, 100), Word(&["none"])]),
        "least score of the gate with which a change of this level lands; below it the result waits",
    ),
]);
const STEP: Shape = Map(&[
    needed("name", Text, "part of file names: up to 40 letters, digits, `-` and `_`"),
    needed("run", Text, "a line for `sh`"),
    field("timeout", Duration, "longer, and the step is red"),
    field("required", Flag, "false: the gate is green without it, with a lower score"),
    field("weight", Number(1, 1000), "its part of the score"),
    field("junit", Text, "the JUnit report that it writes, relative to the root"),
]);
/// What fails five times of six is broken.
const RERUNS: Shape = Number(0, 5);
const SANDBOX: &[&str] = &["off", "auto", "required", "t2", "t1"];

/// Keys of a repository's file that hold a value, in the order of the document.
pub(super) const REPOSITORY: &[Field] = &[
    field("version", Number(1, 1), "the format of this file"),
    field("plan.file", Text, "the plan, relative to the root; `auto` looks at the usual places"),
    field("plan.sections.ready", TEXTS, "first words of headings below which tasks may run"),
    field("plan.sections.pending", TEXTS, "first words of headings below which tasks wait"),
    field("plan.sections.never", TEXTS, "first words of headings below which tasks never run"),
    field("plan.update", Flag, "mark a landed task as done, in its own commit"),
    field(
        "limits.tasks",
        Number(1, 10_000),
        "tasks that a night starts: what a person reads in a morning",
    ),
    field(
        "limits.time",
        Duration,
        "until nothing new is started: a night ends before the day begins",
    ),
    field("limits.task_time", Duration, "agent time of one attempt: what takes longer is lost"),
    field(
        "limits.attempts",
        Number(1, 100),
        "tries for one task: a fourth rarely finds what three did not",
    ),
    field(
        "limits.failures_in_a_row",
        Number(0, 10_000),
        "failed tasks in a row that end the night, because something is wrong with all of it; 0 = never",
    ),
    field("limits.parallel", Number(1, 64), "workspaces at the same time"),
    field(
        "limits.cost",
        Money,
        "US dollars for the night, so that no mistake costs more; 0 = no limit",
    ),
    field("limits.task_cost", Money, "US dollars for one task, all its attempts; 0 = no limit"),
    field(
        "limits.silence",
        Duration,
        "an agent without output, CPU time or a changed file for so long is stuck",
    ),
    field(
        "limits.turns",
        Number(0, 1_000_000),
        "turns of one conversation: a loop ends there; 0 = no limit",
    ),
    field(
        "limits.tokens",
        Count,
        "tokens of the night, the limit that a subscription can have; 0 = no limit",
    ),
    field(
        "limits.when_rate_limited",
        Word(&["wait", "stop"]),
        "at a usage limit: wait inside `time`, or end the night",
    ),
    field(
        "policy.min_alignment",
        Number(0, 100),
        "a task that fits the project badly costs its reviewer more than it brings",
    ),
    field(
        "policy.max_estimated_lines",
        LINES,
        "small changes are read; large ones are waved through (what the plan says)",
    ),
    field(
        "policy.max_changed_lines",
        LINES,
        "the same on the real diff; tests and documents do not count",
    ),
    field(
        "policy.max_file_bytes",
        Count,
        "what is too large is not read, and stays in the history for ever",
    ),
    field(
        "policy.tests",
        Word(&["required", "optional", "proven"]),
        "without a test the gate says nothing about the change; proven: new tests must be red on the base's code",
    ),
    field(
        "policy.weaker_tests",
        Word(&["never", "ask", "allow"]),
        "tests that go, are left out or emptied make every gate green; never: unless the task's words ask for it",
    ),
    field(
        "policy.missing",
        Word(&["ask", "assume", "refuse"]),
        "a task without score or estimate was not thought through",
    ),
    field(
        "policy.paths.allow",
        Either(&[TEXTS, List(&TEXTS)]),
        "globs of what may change; of several lists each must match",
    ),
    field(
        "policy.paths.deny",
        TEXTS,
        "secrets, pipelines and containers are not an agent's to change",
    ),
    field(
        "policy.paths.delete",
        Word(&["never", "ask", "allow"]),
        "what is gone shows in no test that went with it",
    ),
    field(
        "policy.protected",
        TEXTS,
        "more files that stay as in the base: an agent that changes its judge always passes",
    ),
    field("policy.title_words", TEXTS, "what cannot be undone is done by a person who watches"),
    field(
        "policy.added_lines",
        TEXTS,
        "regular expressions of lines that do harm wherever they stand",
    ),
    field(
        "policy.ask_first",
        TEXTS,
        "mistakes in authentication, money or schema pass a gate unseen",
    ),
    field(
        "policy.dependencies",
        TEXTS,
        "names that a task may add without asking; all other foreign code asks",
    ),
    field(
        "policy.secrets",
        Word(&["block", "report"]),
        "a secret in a commit is public as soon as it is pushed",
    ),
    field("policy.risk.low", BAND, "from 0: little could break"),
    field(
        "policy.risk.medium",
        BAND,
        "the more a change could break, the more must have looked at it",
    ),
    field("policy.risk.high", BAND, "a person looks before anything is done"),
    field("policy.risk.critical", BAND, "up to 100: data could be lost"),
    field("policy.decisions.low", AUTHORITY, "who settles names, formatting, the layout of tests"),
    field(
        "policy.decisions.medium",
        AUTHORITY,
        "who settles approach, internal interfaces, small refactoring",
    ),
    field(
        "policy.decisions.high",
        Word(&["ask"]),
        "dependencies, schema, security, public interfaces: a person",
    ),
    field("gate.steps", Either(&[Text, List(&STEP)]), "the project's own checks, in order"),
    field(
        "gate.env",
        TEXTS,
        "names of variables that reach the gate; the same as agent.env if not set",
    ),
    field("gate.network", Either(&[Word(&["none"]), TEXTS]), "hosts that the steps may talk to"),
    field(
        "gate.setup",
        Either(&[Text, TEXTS]),
        "what runs once on the base, with the network; `none` for nothing",
    ),
    field("gate.setup_timeout", Duration, "for each command of the set-up"),
    field(
        "gate.canary",
        Text,
        "a gate that cannot fail proves nothing: auto, a patch of the base that must turn it red, or off",
    ),
    field(
        "gate.baseline",
        Word(&["green", "compare"]),
        "green: the base must pass before anything starts; compare: only what fails anew counts",
    ),
    field(
        "gate.flaky_reruns",
        RERUNS,
        "how often a red run is repeated, to tell a flaky test from a broken one",
    ),
    field("agent.use", Text, "claude, demo, or a name of your own file"),
    field(
        "agent.model",
        Text,
        "`default`: Claude Code's is opus, other agents choose for themselves",
    ),
    field(
        "agent.fallback",
        Either(&[
            TEXTS,
            Map(&[
                field("models", TEXTS, "asked in this order when the first may not be"),
                field("at", Share, "share of a usage window from which the next one is asked"),
            ]),
        ]),
        "models that are asked when the first may not be",
    ),
    field("agent.retry", List(&Duration), "pauses after a passing trouble of the service"),
    field("agent.context", TEXTS, "files that the agent is told to read first"),
    field(
        "agent.env",
        TEXTS,
        "names of variables that reach the agent; what looks like a secret is refused",
    ),
    field(
        "pr.base",
        Text,
        "the branch that the pull request goes to; `auto` is the remote's default",
    ),
    field(
        "pr.draft",
        Word(&["auto", "always", "never"]),
        "auto: while something in it waits for a person",
    ),
    field("pr.labels", TEXTS, "labels of the pull request"),
    field("pr.reviewers", TEXTS, "logins, or org/team"),
    field(
        "pr.statuses",
        Word(&["on", "off"]),
        "on: each landed commit says that its gate was green",
    ),
    field(
        "pr.open_limit",
        Number(0, 100),
        "open pull requests of nights with which none begins; 0 = any number",
    ),
];

/// Words of [`Occasion`](crate::report::notice::Occasion).
pub(super) const OCCASIONS: &[&str] =
    &["finished", "needs_you", "failed", "stopped", "unpublished", "refused"];

/// Keys of the user's file that hold a value, besides limits and rules.
pub(super) const USER: &[Field] = &[
    field(
        "sandbox",
        Either(&[
            Word(SANDBOX),
            Map(&[
                field("use", Word(SANDBOX), "which walls"),
                field("read", TEXTS, "what agents and gates may read besides what they need"),
                field("processes", Number(64, 1_000_000), "and threads, of one agent or gate"),
                field("memory", Size, "of all its processes together; 0 = no limit"),
                field("disk_reserve", Size, "what must stay free on the disk; 0 = no limit"),
                field("file_size", Size, "of one file"),
            ]),
        ]),
        "walls around agents and gates",
    ),
    field(
        "gate.canary",
        Word(&["auto", "off"]),
        "off: no gate is tried on a broken tree, and every pull request says so",
    ),
    field(
        "gate.flaky_reruns",
        RERUNS,
        "where a repository says a number too, the smaller one holds",
    ),
    field("workspaces", Word(&["auto", "pool", "overlay"]), "how workspaces are made"),
    field(
        "agents_at_once",
        Number(1, 256),
        "agents at work on this machine, of all nights together; as many as processors, and at least 4, when not set",
    ),
    field(
        "keep.nights",
        Number(1, 10_000),
        "the newest nights that stay whole; of older ones what nobody needs goes",
    ),
    field("keep.log_days", Number(1, 3_650), "days that transcripts and gate logs stay"),
    field(
        "notify",
        List(&Map(&[
            field(
                "to",
                Text,
                "desktop, or slack:, discord:, teams:, ntfy:, healthchecks: and an address, or mail: and a mailbox",
            ),
            field(
                "run",
                TEXTS,
                "program and arguments; the notice comes as JSON on standard input",
            ),
            field("on", List(&Word(OCCASIONS)), "when; always if not set"),
            field("env", TEXTS, "variables that reach the program"),
            field("token", Text, "ntfy: an access token"),
            field("from", Text, "mail: the sender"),
            field(
                "server",
                Text,
                "mail: where it is handed in, such as smtps://user:password@host",
            ),
        ])),
        "who is told of a night; ${NAME} stands for a variable of the job",
    ),
    field("agent.sandbox", Word(SANDBOX), "the same as `sandbox`"),
    field(
        "agents",
        Named(&Map(&[needed(
            "command",
            TEXTS,
            "program and arguments; the prompt comes on standard input",
        )])),
        "programs that may work as agents",
    ),
    field(
        "github.app",
        Map(&[
            field("id", Number(1, u32::MAX), "the App's number; or its client_id"),
            field("client_id", Text, "the App's client id"),
            needed("key", Text, "the file with its private key, readable for you alone"),
            field(
                "installation",
                Number(1, u32::MAX),
                "the number of its installation; looked up when not set",
            ),
            field("host", Text, "the GitHub it belongs to; github.com when not set"),
        ]),
        "an App that opens pull requests in your place",
    ),
    field(
        "repos",
        Named(&Rules),
        "limits and rules of one repository, by its path; they win over all others",
    ),
];

/// What `key` of a file may hold: of a repository's, or of the user's own.
fn shape(key: &str) -> Shape {
    let field = REPOSITORY.iter().chain(USER).find(|field| field.key == key);
    field.expect("every key that is read stands in the table; a test reads all of them").shape
}

/// The words of a key, or of the deeds of a level of risk.
pub(super) fn words(key: &str) -> &'static [&'static str] {
    let mut shape = shape(key);
    if let Map(fields) = shape
        && let Some(field) = fields.iter().find(|field| matches!(field.shape, Word(_)))
    {
        shape = field.shape;
    }
    if let Word(words) = shape { words } else { &[] }
}

/// The borders of a key.
pub(super) fn range(key: &str) -> RangeInclusive<u32> {
    borders(shape(key))
}

/// The borders of a key that only the user's file has.
pub(super) fn range_of_user(key: &str) -> RangeInclusive<u32> {
    let field = USER.iter().find(|field| field.key == key);
    borders(field.expect("every key that is read stands in the table").shape)
}

fn borders(shape: Shape) -> RangeInclusive<u32> {
    if let Number(least, most) = shape { least..=most } else { 0..=u32::MAX }
}
