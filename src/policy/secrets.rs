//! Secrets in what a diff adds: our own rules, and those of the base's `.gitleaks.toml`.
//!
//! Key words are looked for in one pass, patterns only in lines that hold one. What is found is named by its rule
//! and its place; the value itself stands in no text that comes from here. A comment such as `gitleaks:allow` frees
//! nothing: whoever wrote the line wrote the comment.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::{gitleaks, rules::is_test_or_doc, shapes::regex};
use crate::{
    diff::{Diff, FileChange},
    ids::RepoPath,
};

/// Where the base keeps rules of its own.
pub const RULES_FILE: &str = ".gitleaks.toml";

/// Characters of a secret that may be shown, and the least length of one of which they may.
const SHOWN: (usize, usize) = (4, 16);

/// The rules for secrets, ready to be used.
#[derive(Clone, Debug)]
pub(super) struct SecretRules {
    rules: Vec<Rule>,
    /// What frees a finding of any rule.
    allow: Vec<Allow>,
    words: AhoCorasick,
    /// The rules of each word.
    of_word: Vec<Vec<usize>>,
    /// Rules without a word: every line is looked at.
    wordless: Vec<usize>,
    /// What of the base's rules could not be used, in words.
    pub(super) problems: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Stable name, such as `github-token`.
    pub(super) id: String,
    /// Words of which one must be in the line, in any case. None = every line is looked at.
    pub(super) words: Vec<String>,
    /// Finds the secret; `None` = the path alone decides.
    pub(super) pattern: Option<Regex>,
    /// The group that is the secret; `None` = the first one that took part, else the whole.
    pub(super) group: Option<usize>,
    /// Least entropy of the secret in bits a character.
    pub(super) entropy: f64,
    /// Only files whose path matches.
    pub(super) path: Option<Regex>,
    /// What frees a finding of this rule.
    pub(super) allow: Vec<Allow>,
    /// How sure the pattern is.
    pub(super) kind: Kind,
}

/// How sure a pattern is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A vendor's token: its form tells.
    Token,
    /// The head of a private key: the key must follow.
    Key,
    /// A login in an address.
    Address,
    /// A value that is called a password: placeholders look the same.
    Named,
    /// A rule of the base: as it stands.
    Own,
}

/// What is no secret though a rule finds it. All given parts must match where `all` says so, else one of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Allow {
    /// Rules that it frees; empty = all.
    pub(super) rules: Vec<String>,
    /// Of the file's path.
    pub(super) paths: Vec<Regex>,
    /// Of the secret, or of what `target` says.
    pub(super) patterns: Vec<Regex>,
    /// What `patterns` look at.
    pub(super) target: Target,
    /// Words in the secret, in any case.
    pub(super) words: Vec<String>,
    /// True when every part that is given must match.
    pub(super) all: bool,
}

/// What the patterns of an allowance look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Target {
    /// The secret.
    #[default]
    Secret,
    /// All that the rule's pattern matched.
    Match,
    /// The line.
    Line,
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Which rule found it.
    pub(super) rule: String,
    /// The file.
    pub(super) path: RepoPath,
    /// The line in the new file, from 1; 0 for a path.
    pub(super) line: u32,
    /// What may be said of the value.
    pub(super) masked: String,
}

/// Word, pattern and kind of our own rules. The first group is the secret.
const OWN: [(&str, &[&str], &str, f64, Kind); 25] = [
    (
        "aws-access-key",
        &["akia", "asia", "abia", "acca"],
        r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b",
        2.8,
        Kind::Token,
    ),
    (
        "aws-secret-key",
        &["aws"],
        r#"(?i)\baws[A-Za-z0-9_ .-]{0,30}(?:secret|sk)[A-Za-z0-9_ .-]{0,20}['"]?\s*(?::|=|=>)\s*['"]?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        3.5,
        Kind::Token,
    ),
    (
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"\b(gh[pousr]_[A-Za-z0-9]{36,})\b",
        3.0,
        Kind::Token,
    ),
    ("github-token", &["github_pat_"], r"\b(github_pat_[A-Za-z0-9_]{22,})\b", 3.0, Kind::Token),
    (
        "gitlab-token",
        &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"],
        r"\b(gl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_-]{20,})",
        3.0,
        Kind::Token,
    ),
    ("slack-token", &["xox"], r"\b(xox[abeoprs]-[A-Za-z0-9-]{20,})", 2.8, Kind::Token),
    (
        "slack-webhook",
        &["hooks.slack.com"],
        r"(https://hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,})",
        3.0,
        Kind::Token,
    ),
    (
        "discord-webhook",
        &["/api/webhooks/"],
        r"(https://(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]{15,}/[A-Za-z0-9_-]{60,})",
        3.0,
        Kind::Token,
    ),
    (
        "stripe-key",
        &["sk_live", "rk_live"],
        r"\b((?:sk|rk)_live_[A-Za-z0-9]{16,})\b",
        3.0,
        Kind::Token,
    ),
    ("stripe-webhook", &["whsec_"], r"\b(whsec_[A-Za-z0-9+/]{32,})", 3.0, Kind::Token),
    ("anthropic-key", &["sk-ant-"], r"\b(sk-ant-[A-Za-z0-9_-]{20,})", 3.0, Kind::Token),
    (
        "openai-key",
        &["sk-"],
        r"\b(sk-(?:proj-|svcacct-|admin-)[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|sk-[A-Za-z0-9]{48})\b",
        3.0,
        Kind::Token,
    ),
    ("google-key", &["aiza"], r"\b(AIza[A-Za-z0-9_-]{35})", 3.0, Kind::Token),
    ("npm-token", &["npm_"], r"\b(npm_[A-Za-z0-9]{36})\b", 3.0, Kind::Token),
    ("pypi-token", &["pypi-"], r"\b(pypi-AgE[A-Za-z0-9_-]{50,})", 3.0, Kind::Token),
    ("crates-token", &["cio"], r"\b(cio[A-Za-z0-9]{32})\b", 3.5, Kind::Token),
    ("docker-token", &["dckr_pat_"], r"\b(dckr_pat_[A-Za-z0-9_-]{20,})", 3.0, Kind::Token),
    ("huggingface-token", &["hf_"], r"\b(hf_[A-Za-z]{34})\b", 3.0, Kind::Token),
    ("sendgrid-key", &["sg."], r"\b(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})\b", 3.0, Kind::Token),
    ("digitalocean-token", &["_v1_"], r"\b(do[opr]_v1_[a-f0-9]{64})\b", 3.0, Kind::Token),
    (
        "azure-storage-key",
        &["accountkey="],
        r"(?i)AccountKey=([A-Za-z0-9+/]{86}==)",
        3.5,
        Kind::Token,
    ),
    (
        "jwt",
        &["eyj"],
        r"\b(eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,})",
        3.5,
        Kind::Token,
    ),
    (
        "private-key",
        &["private key"],
        r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)",
        0.0,
        Kind::Key,
    ),
    (
        "address-with-password",
        &["://"],
        r#"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://([^\s/:@'"`<>\\]*):([^\s/@'"`<>\\]{3,})@([A-Za-z0-9._\[\]:-]+)"#,
        0.0,
        Kind::Address,
    ),
    (
        "password",
        &[
            "passw",
            "pwd",
            "secret",
            "token",
            "api_key",
            "api-key",
            "apikey",
            "access_key",
            "accesskey",
            "access-key",
            "private_key",
            "credential",
            "authorization",
        ],
        concat!(
            r#"(?i)(?:passw(?:or)?d|\bpwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|authorization)[A-Za-z0-9_.-]{0,20}"#,
            r#"["'\]]{0,2}\s*(?::=|=>|:|=)\s*(?:[A-Za-z0-9_.]+\(\s*)?(?:["'`](?:basic |bearer )?([^"'`\s]{8,})["'`]|([A-Za-z0-9+/=_.~-]{16,})\s*$)"#
        ),
        3.3,
        Kind::Named,
    ),
];

impl SecretRules {
    /// Our own rules alone.
    pub(super) fn own() -> Arc<SecretRules> {
        static OWN_RULES: LazyLock<Arc<SecretRules>> =
            LazyLock::new(|| Arc::new(SecretRules::of(own(), Vec::new(), Vec::new())));
        OWN_RULES.clone()
    }

    /// Our own rules with those of a `.gitleaks.toml`. What cannot be used of it is told in `problems`.
    pub(super) fn with(text: &str) -> SecretRules {
        let theirs = gitleaks::read(text);
        let rules = own().into_iter().chain(theirs.rules).collect();
        SecretRules::of(rules, theirs.allow, theirs.problems)
    }

    fn of(rules: Vec<Rule>, allow: Vec<Allow>, mut problems: Vec<String>) -> SecretRules {
        let mut words: Vec<String> = Vec::new();
        let mut of_word: Vec<Vec<usize>> = Vec::new();
        let mut wordless = Vec::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.pattern.is_some()) {
            if rule.words.is_empty() {
                wordless.push(index);
            }
            for word in &rule.words {
                let known = words.iter().position(|known| known == word).unwrap_or(words.len());
                if known == words.len() {
                    words.push(word.clone());
                    of_word.push(Vec::new());
                }
                of_word[known].push(index);
            }
        }
        let built = AhoCorasick::builder().ascii_case_insensitive(true).build(&words);
        let words = built.unwrap_or_else(|problem| {
            problems.push(format!("the key words of all rules together cannot be used: {problem}"));
            wordless = (0..rules.len()).collect();
            AhoCorasick::new([] as [&str; 0]).expect("no words need no memory")
        });
        SecretRules { rules, allow, words, of_word, wordless, problems }
    }

    /// Secrets that a diff adds, in its order. One that stands in the base already is none: nothing new gets out.
    pub(super) fn scan(&self, diff: &Diff) -> Vec<Found> {
        let mut found = Vec::new();
        for change in &diff.changes {
            if change.new.is_some() {
                self.scan_path(&change.path, &mut found);
            }
            let lines: Vec<&str> =
                change.added_lines.iter().map(|(_, line)| line.as_str()).collect();
            // A name is pushed as a line is.
            let name = change.path.to_string();
            for hit in self.scan_lines(&change.path, &[name.as_str()]) {
                let rule = self.rules[hit.rule].id.clone();
                if change.new.is_some() {
                    let masked = masked(hit.value);
                    found.push(Found {
                        rule,
                        path: RepoPath::from("a file's name"),
                        line: 0,
                        masked,
                    });
                }
            }
            for hit in self.scan_lines(&change.path, &lines) {
                let known = |change: &FileChange| {
                    change.old_text.as_deref().is_some_and(|text| text.contains(hit.value))
                };
                if hit.kind != Kind::Key && diff.changes.iter().any(known) {
                    continue;
                }
                found.push(Found {
                    rule: self.rules[hit.rule].id.clone(),
                    path: change.path.clone(),
                    line: change.added_lines[hit.line].0,
                    masked: masked(hit.value),
                });
            }
        }
        found
    }

    /// The text with the value of every secret masked, whatever its path is.
    pub(super) fn mask(&self, text: &str) -> String {
        let path = RepoPath::from("");
        let lines: Vec<&str> = text.split('\n').collect();
        let mut own: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for hit in self.scan_lines(&path, &lines) {
            own[hit.line] = own[hit.line].replace(hit.value, &format!("*** {}", masked(hit.value)));
            if hit.kind == Kind::Key {
                mask_key(&mut own[hit.line + 1..]);
            }
        }
        own.join("\n")
    }

    fn scan_path(&self, path: &RepoPath, found: &mut Vec<Found>) {
        let shown = path.to_string();
        for rule in self.rules.iter().filter(|rule| rule.pattern.is_none()) {
            let named = rule.path.as_ref().is_some_and(|pattern| pattern.is_match(&shown));
            let hit = Hit { rule: 0, line: 0, value: "", kind: Kind::Own };
            if named && !self.freed(rule, &shown, &hit, "", "") {
                let masked = "the file's name alone".to_owned();
                found.push(Found { rule: rule.id.clone(), path: path.clone(), line: 0, masked });
            }
        }
    }

    fn scan_lines<'l>(&self, path: &RepoPath, lines: &[&'l str]) -> Vec<Hit<'l>> {
        let shown = path.to_string();
        let quiet = is_test_or_doc(path);
        let mut tries: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (number, line) in lines.iter().enumerate() {
            for word in self.words.find_overlapping_iter(line) {
                let rules = &self.of_word[word.pattern().as_usize()];
                tries.extend(rules.iter().map(|rule| (number, *rule)));
            }
            tries.extend(self.wordless.iter().map(|rule| (number, *rule)));
        }
        let mut hits: Vec<Hit<'l>> = Vec::new();
        for (number, index) in tries {
            let (rule, line) = (&self.rules[index], lines[number]);
            let Some(pattern) = &rule.pattern else { continue };
            if rule.path.as_ref().is_some_and(|path| !path.is_match(&shown)) {
                continue;
            }
            for captures in pattern.captures_iter(line) {
                let whole = captures.get_match();
                let group = match (rule.kind, rule.group) {
                    (Kind::Address, _) => captures.get(2),
                    (_, Some(group)) => captures.get(group),
                    (_, None) => captures.iter().skip(1).flatten().next(),
                };
                let value = group.unwrap_or(whole).as_str();
                let hit = Hit { rule: index, line: number, value, kind: rule.kind };
                let host = captures.get(3).map_or("", |host| host.as_str());
                let user = captures.get(1).map_or("", |user| user.as_str());
                let sure = match rule.kind {
                    Kind::Own => true,
                    Kind::Token => !placeholder(value),
                    Kind::Key => key_follows(&line[whole.end()..], &lines[number + 1..]),
                    Kind::Address => reaches(user, value, host),
                    Kind::Named => named(value, quiet),
                };
                let said = hits.iter().rev().take_while(|hit| hit.line == number);
                let twice = said.into_iter().any(|other| other.value.contains(value));
                if sure
                    && !twice
                    && entropy(value) >= rule.entropy
                    && !self.freed(rule, &shown, &hit, whole.as_str(), line)
                {
                    hits.push(hit);
                }
            }
        }
        hits
    }

    fn freed(&self, rule: &Rule, path: &str, hit: &Hit<'_>, whole: &str, line: &str) -> bool {
        let of_all = self.allow.iter().filter(|a| a.rules.is_empty() || a.rules.contains(&rule.id));
        rule.allow.iter().chain(of_all).any(|allow| allow.frees(path, hit.value, whole, line))
    }
}

impl Allow {
    fn frees(&self, path: &str, secret: &str, whole: &str, line: &str) -> bool {
        let target = match self.target {
            Target::Secret => secret,
            Target::Match => whole,
            Target::Line => line,
        };
        let lower = secret.to_lowercase();
        let parts = [
            (self.paths.is_empty(), self.paths.iter().any(|p| p.is_match(path))),
            (self.patterns.is_empty(), self.patterns.iter().any(|p| p.is_match(target))),
            (self.words.is_empty(), self.words.iter().any(|word| lower.contains(word))),
        ];
        let mut given = parts.iter().filter(|(absent, _)| !absent).map(|(_, hit)| *hit).peekable();
        given.peek().is_some() && if self.all { given.all(|hit| hit) } else { given.any(|hit| hit) }
    }
}

struct Hit<'l> {
    rule: usize,
    line: usize,
    value: &'l str,
    kind: Kind,
}

fn own() -> Vec<Rule> {
    let rule = |(id, words, pattern, entropy, kind): &(&str, &[&str], &str, f64, Kind)| Rule {
        id: (*id).to_owned(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        pattern: Some(regex(pattern)),
        group: None,
        entropy: *entropy,
        path: None,
        allow: Vec::new(),
        kind: *kind,
    };
    OWN.iter().map(rule).collect()
}

/// What may be said of a value: its first characters where many more follow, and its length.
fn masked(value: &str) -> String {
    let count = value.chars().count();
    let (shown, least) = SHOWN;
    let head: String = value.chars().take(if count >= least { shown } else { 0 }).collect();
    format!("{head}… ({count} characters)")
}

/// Shannon's entropy in bits a character.
pub(super) fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let all = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / all;
            -share * share.log2()
        })
        .sum()
}

/// True for a value that stands for one: words that say so, runs, variables.
fn placeholder(value: &str) -> bool {
    const WORDS: [&str; 24] = [
        "example",
        "sample",
        "dummy",
        "fake",
        "placeholder",
        "changeme",
        "change_me",
        "change-me",
        "your",
        "xxxx",
        "redacted",
        "insert",
        "replace",
        "test",
        "mock",
        "12345678",
        "abcdefgh",
        "00000000",
        "deadbeef",
        "...",
        "***",
        "…",
        "todo",
        "not-a-real",
    ];
    const VARIABLES: [&str; 9] =
        ["$", "{", "<", "%", "env.", "process.env", "os.environ", "secrets.", "@"];
    // The token that jwt.io shows to everybody: {"sub":"1234567890".
    const SHOWN_TO_ALL: &str = "eyJzdWIiOiIxMjM0NTY3ODkw";
    let lower = value.to_lowercase();
    let distinct: BTreeSet<char> = lower.chars().collect();
    WORDS.iter().any(|word| lower.contains(word))
        || VARIABLES.iter().any(|start| lower.starts_with(start))
        || value.contains("${")
        || value.contains("{{")
        || value.contains(SHOWN_TO_ALL)
        || distinct.len() <= 4
}

/// True for a value that is called a password and looks like one. In tests and documents most are made up: there
/// it must be long and random.
fn named(value: &str, quiet: bool) -> bool {
    static WORDS: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^(?:[A-Za-z]+|[0-9]{1,4})(?:[-_./:][A-Za-z]*[0-9]{0,4})*$"));
    let is = |test: fn(char) -> bool| value.chars().any(test);
    let mixed = is(|c| c.is_ascii_digit()) && is(|c| c.is_ascii_alphabetic());
    let code =
        ["(", ")", "::", "->", "&&", "[", ";", "\\", "|"].iter().any(|mark| value.contains(mark));
    let length = if quiet { 24 } else { 10 };
    let random = !quiet || entropy(value) >= 4.0;
    value.chars().count() >= length
        && mixed
        && random
        && !code
        && !placeholder(value)
        && !WORDS.is_match(value)
        && !value.contains("://")
        && !value.starts_with('/')
        && !value.starts_with("./")
        // A hash of something is shown on purpose: sha256-…, sha512:…
        && !value.to_lowercase().starts_with("sha")
}

/// True for a login that could open something: not the machine itself, not a service's name, not a made-up word.
fn reaches(user: &str, password: &str, host: &str) -> bool {
    const COMMON: [&str; 14] = [
        "password", "passwd", "pass", "pwd", "secret", "postgres", "root", "admin", "guest",
        "user", "pw", "token", "mysql", "hunter2",
    ];
    let (host, lower) = (host.to_lowercase(), password.to_lowercase());
    let name = host.split(':').next().unwrap_or_default();
    let known = ["localhost", "example.com", "example.org", "example.net", "host.docker.internal"];
    let local = !name.contains('.')
        || name.starts_with("127.")
        || name == "0.0.0.0"
        || known.iter().any(|known| name == *known || name.ends_with(&format!(".{known}")))
        || [".local", ".test", ".invalid", ".example", ".localhost"]
            .iter()
            .any(|e| name.ends_with(e));
    !local
        && !COMMON.contains(&lower.as_str())
        && lower != user.to_lowercase()
        && !placeholder(password)
}

/// True when the lines of a key stand behind its head; the head alone is what programs look for.
fn key_follows(rest: &str, next: &[&str]) -> bool {
    static BODY: LazyLock<Regex> = LazyLock::new(|| regex(r"[A-Za-z0-9+/=]{40,}"));
    BODY.is_match(rest) || next.iter().take(4).any(|line| BODY.is_match(line))
}

/// Masks the lines of a key up to its end.
fn mask_key(lines: &mut [String]) {
    for line in lines {
        if line.contains("-----END") {
            return;
        }
        "***".clone_into(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::{ChangeKind, FileMode, Side};

    fn change(path: &str, lines: &[&str]) -> FileChange {
        let blob = crate::ids::BlobId::new("1".repeat(40)).unwrap();
        FileChange {
            path: path.into(),
            kind: ChangeKind::Added,
            old: None,
            new: Some(Side { mode: FileMode::Regular, blob, bytes: 1, link_target: None }),
            added: 0,
            removed: 0,
            binary: false,
            added_lines: lines.iter().zip(1..).map(|(line, n)| (n, (*line).to_owned())).collect(),
            removed_lines: Vec::new(),
            old_text: None,
            new_text: None,
        }
    }

    fn found(rules: &SecretRules, path: &str, lines: &[&str]) -> Vec<String> {
        let diff = Diff { changes: vec![change(path, lines)], truncated: false };
        rules
            .scan(&diff)
            .into_iter()
            .map(|found| format!("{} {}", found.rule, found.line))
            .collect()
    }

    const NONE: [&str; 0] = [];

    /// A value in parts, so that nobody finds it here.
    fn made(start: &str, length: usize) -> String {
        let letters = "kX3vQ9mZ7wL2tR5yB8nC1dF6gH4jK0pS9aVe".repeat(4);
        format!("{start}{}", &letters[..length])
    }

    #[test]
    fn tokens_are_found_by_their_forms() {
        let jwt = format!("eyJ{}.eyJ{}.{}", made("", 20), made("", 30), made("", 40));
        let address = format!("amqps://shop:{}@mq.shop.net/x", made("", 9));
        for (rule, value) in [
            ("aws-access-key", ["AKIA", "QYLPMN5HHHFPZAM2"].concat()),
            ("github-token", made("ghp_", 36)),
            ("github-token", made("github_pat_", 40)),
            ("gitlab-token", made("glpat-", 20)),
            ("slack-token", made("xoxb-", 30)),
            ("stripe-key", made("sk_live_", 24)),
            ("anthropic-key", made("sk-ant-", 40)),
            ("openai-key", made("sk-proj-", 40)),
            ("google-key", made("AIza", 35)),
            ("npm-token", made("npm_", 36)),
            ("jwt", jwt),
            ("address-with-password", address),
        ] {
            let line = format!("let a = '{value}';");
            let own = SecretRules::own();
            assert_eq!(found(&own, "src/a.rs", &["", &line]), [format!("{rule} 2")], "{value}");
            assert!(!own.mask(&line).contains(&value), "{value}");
        }
    }

    #[test]
    fn what_stands_for_a_token_is_none() {
        let own = SecretRules::own();
        for line in [
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-ant-api03-your-key-goes-here-please",
            "postgres://postgres:kX3vQ9mZ@localhost:5432/a",
            "postgres://shop:kX3vQ9mZ@db/a",
            "https://user:password@host.shop.net/",
            "https://${USER}:${PASSWORD}@host.shop.net/",
            "ssh://git@host.shop.net:22/a",
        ] {
            assert_eq!(found(&own, "src/a.rs", &[line]), NONE, "{line}");
        }
    }

    #[test]
    fn a_named_value_must_look_like_one() {
        let own = SecretRules::own();
        for line in [
            "password = \"kX3vQ9mZ7wL2\"",
            "  \"apiKey\": \"kX3vQ9mZ7wL2tR5y\",",
            "client_secret: kX3vQ9mZ7wL2tR5yB8nC",
            "headers['Authorization'] = 'Bearer kX3vQ9mZ7wL2tR5yB8nC'",
        ] {
            assert_eq!(found(&own, "src/a.yml", &[line]).len(), 1, "{line}");
        }
        for line in [
            "password = \"changeme123\"",
            "password: ${DB_PASSWORD_1}",
            "token = \"next-page-token-2\"",
            "const TOKEN_KIND: &str = \"bearer-token-v2\";",
            "secret_name: my-app-secret-1",
            "password = read_line(prompt2)",
            "token = tokens[index1].value",
            "\"password\": \"required|min:8|max:64\"",
            "integrity_token: sha512-kX3vQ9mZ7wL2tR5yB8nC",
            "reset_password_url = \"/account/reset1\"",
        ] {
            assert_eq!(found(&own, "src/a.yml", &[line]), NONE, "{line}");
        }
        assert_eq!(found(&own, "tests/a.py", &["password = \"kX3vQ9mZ7wL2\""]), NONE);
        let random = format!("token = \"{}\"", made("", 32));
        assert_eq!(found(&own, "tests/a.py", &[&random]).len(), 1);
    }

    #[test]
    fn the_head_of_a_key_alone_is_no_key() {
        let own = SecretRules::own();
        let head = "-----BEGIN RSA PRIVATE KEY-----";
        assert_eq!(found(&own, "src/a.rs", &[&format!("if text.contains(\"{head}\") {{")]), NONE);
        let body = made("", 64);
        assert_eq!(found(&own, "a.pem", &[head, &body]), ["private-key 1"]);
        let masked = own.mask(&format!("+{head}\n+{body}\n+-----END RSA PRIVATE KEY-----\n+x"));
        assert!(!masked.contains(&body[..20]) && masked.ends_with("+x"), "{masked}");
    }

    #[test]
    fn what_the_base_has_already_is_not_new() {
        let line = format!("let a = '{}';", made("ghp_", 36));
        let moved = change("src/b.rs", &[&line]);
        let mut old = change("src/a.rs", &[]);
        old.old_text = Some(line);
        let diff = Diff { changes: vec![old, moved.clone()], truncated: false };
        assert_eq!(SecretRules::own().scan(&diff), []);
        let alone = Diff { changes: vec![moved], truncated: false };
        assert_eq!(SecretRules::own().scan(&alone).len(), 1);
    }

    #[test]
    fn the_bases_rules_find_and_free() {
        let rules = SecretRules::with(
            r"
[[rules]]
id = 'shop'
regex = '''shop-([0-9a-f]{8})'''
keywords = ['shop-']
entropy = 1.5
[[rules]]
id = 'store'
path = '''\.jks$'''
[[allowlists]]
paths = ['''^tests/''']
[[allowlists]]
targetRules = ['shop']
stopwords = ['cafe']
",
        );
        assert_eq!(rules.problems, NONE);
        assert_eq!(found(&rules, "src/a.rs", &["shop-12ab34cd"]), ["shop 1"]);
        assert_eq!(found(&rules, "src/a.rs", &["shop-11111111", "shop-cafe1234"]), NONE);
        assert_eq!(found(&rules, "src/keys.jks", &[]), ["store 0"]);
        let token = made("ghp_", 36);
        assert_eq!(found(&rules, "src/a.rs", &[&token]), ["github-token 1"]);
        assert_eq!(found(&rules, "tests/a.rs", &[&token, "shop-12ab34cd"]), NONE);
    }

    #[test]
    fn a_comment_frees_nothing() {
        let line = format!("a = '{}' # gitleaks:allow", made("ghp_", 36));
        assert_eq!(found(&SecretRules::own(), "src/a.py", &[&line]).len(), 1);
    }

    #[test]
    fn of_a_value_only_a_little_is_told() {
        assert_eq!(masked("short-one"), "… (9 characters)");
        assert_eq!(masked(&["AKIA", "QYLPMN5HHHFPZAM2"].concat()), "AKIA… (20 characters)");
    }

    #[test]
    fn entropy_is_shannons() {
        assert!((entropy("aabb") - 1.0).abs() < 1e-9);
        assert!((entropy("abcdefgh") - 3.0).abs() < 1e-9);
        assert!(entropy("aaaa").abs() < 1e-9);
    }

    #[test]
    fn each_kind_of_placeholder_is_one_by_itself() {
        for value in
            ["pre-${KEY}-aXz91", "pre-{{ key }}-aXz91", "$HOME-aXz91", "{key}-aXz91q", "aabbccdd"]
        {
            assert!(placeholder(value), "{value}");
        }
        for value in ["pre-$KEY-aXz91", "aabbccdde", "vK7pQ2xmZ9wL4t"] {
            assert!(!placeholder(value), "{value}");
        }
    }

    #[test]
    fn a_word_or_a_shown_token_makes_a_placeholder() {
        for value in [
            "Example-kX3vQ9mZ",
            "kX3vQ9mZ...7wL2",
            "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6",
            "env.KX3VQ9mZ",
            "<kX3vQ9mZ>",
            "%kX3vQ9mZ%",
            "@kX3vQ9mZ",
        ] {
            assert!(placeholder(value), "{value}");
        }
        for value in ["eyJzdWIiOiJrWDN2UTltWjd3TDJ0UjV5", "aabbccddee", "kX3v%Q9mZ", "kX3v@Q9mZ"] {
            assert!(!placeholder(value), "{value}");
        }
    }

    #[test]
    fn each_sign_of_code_or_of_words_speaks_against_a_password() {
        assert!(named("kX3vQ9mZ7w", false));
        for value in [
            "kX3vQ9mZ7",
            "kXvQmZwLtRyB",
            "3974628105437",
            "kX3vQ9mZ(7w",
            "kX3vQ9)mZ7w",
            "kX3v::Q9mZ7w",
            "kX3v->Q9mZ7w",
            "kX3v&&Q9mZ7w",
            "kX3v[Q9mZ7w",
            "kX3v;Q9mZ7w",
            "kX3v\\Q9mZ7w",
            "kX3v|Q9mZ7w",
            "your-kX3vQ9mZ7w",
            "parser-v2.token-3",
            "kx://3vQ9mZ7w",
            "/kX3vQ9mZ7w",
            "./kX3vQ9mZ7w",
            "SHA256-kX3vQ9mZ7w",
        ] {
            assert!(!named(value, false), "{value}");
        }
        // In tests it must be long and random.
        let long = made("", 24);
        assert!(named(&long, true) && !named(&long[..23], true));
        let dull = "kX3vQ9kX3vQ9kX3vQ9kX3vQ9kX3vQ9";
        assert!(named(dull, false) && !named(dull, true));
        // Sixteen characters as often as each other have four bits each: that is enough.
        let even = "kX3vQ9mZ7wL2tR5ykX3vQ9mZ7wL2tR5y";
        assert!((entropy(even) - 4.0).abs() < 1e-9 && named(even, true));
    }

    #[test]
    fn a_login_reaches_what_is_outside_with_what_is_secret() {
        let password = "kX3vQ9mZ";
        for host in ["db.shop.net", "DB.SHOP.NET:5432", "128.0.0.1", "localhost.shop.net"] {
            assert!(reaches("shop", password, host), "{host}");
        }
        for host in [
            "db",
            "db:5432",
            "localhost",
            "127.0.0.1:80",
            "0.0.0.0",
            "example.com",
            "api.Example.org",
            "host.docker.internal",
            "db.local",
            "db.shop.test",
            "db.shop.invalid",
            "db.shop.example",
            "db.localhost:1",
        ] {
            assert!(!reaches("shop", password, host), "{host}");
        }
        for (user, password) in [
            ("shop", "Password"),
            ("shop", "hunter2"),
            ("Shopkeeper", "shopkeepeR"),
            ("shop", "example-kX3v"),
        ] {
            assert!(!reaches(user, password, "db.shop.net"), "{user} {password}");
        }
    }

    #[test]
    fn a_key_is_masked_as_far_as_its_end_and_no_further() {
        let own = SecretRules::own();
        let (head, end) = ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----");
        let text = ["first", "second", head, &made("", 64), &made("", 60), end, "last"].join("\n");
        let masked = own.mask(&text);
        let lines: Vec<&str> = masked.split('\n').collect();
        assert_eq!(lines[..2], ["first", "second"]);
        assert!(lines[2].starts_with("*** "), "{masked}");
        assert_eq!(lines[3..], ["***", "***", end, "last"]);
        // A token masks its own line alone.
        let token = made("ghp_", 36);
        let masked = own.mask(&format!("a = '{token}'\nnext\nlast"));
        assert!(masked.ends_with("\nnext\nlast") && !masked.contains(&token), "{masked}");
        assert_eq!(own.mask("nothing\nhere"), "nothing\nhere");
    }

    #[test]
    fn the_lines_of_a_key_stand_on_its_own_line_or_close_behind_it() {
        let body = made("", 40);
        assert!(key_follows(&body, &[]) && !key_follows(&body[1..], &[]));
        assert!(key_follows("", &["", "", "", &body]));
        assert!(!key_follows("", &["", "", "", "", &body]));
    }

    #[test]
    fn of_two_rules_that_find_one_value_one_speaks() {
        let own = SecretRules::own();
        let line = format!("token = \"{}\"", made("ghp_", 36));
        assert_eq!(found(&own, "src/a.rs", &[&line]).len(), 1);
        // On another line it is another place.
        assert_eq!(found(&own, "src/a.rs", &[&line, "", &line]).len(), 2);
    }

    #[test]
    fn a_value_must_be_as_random_as_its_rule_asks() {
        let rules = SecretRules::with(
            "[[rules]]\nid = 'even'\nregex = '''even-([a-z]+)'''\nentropy = 2.0\n",
        );
        assert_eq!(found(&rules, "src/a.rs", &["even-abcd"]), ["even 1"]);
        assert_eq!(found(&rules, "src/a.rs", &["even-abca"]), NONE);
    }

    #[test]
    fn a_rule_with_a_place_is_held_there_and_a_name_alone_can_be_freed() {
        let rules = SecretRules::with(
            r"
[[rules]]
id = 'placed'
path = '''^conf/'''
regex = '''kept-([0-9a-f]{8})'''
[[rules]]
id = 'store'
path = '''\.jks$'''
[[rules.allowlists]]
paths = ['''^fixtures/''']
",
        );
        assert_eq!(found(&rules, "conf/a.ini", &["kept-12ab34cd"]), ["placed 1"]);
        assert_eq!(found(&rules, "src/a.ini", &["kept-12ab34cd"]), NONE);
        assert_eq!(found(&rules, "src/a.jks", &[]), ["store 0"]);
        assert_eq!(found(&rules, "fixtures/a.jks", &[]), NONE);
        let gone = FileChange { kind: ChangeKind::Deleted, new: None, ..change("src/a.jks", &[]) };
        assert_eq!(rules.scan(&Diff { changes: vec![gone], truncated: false }), []);
    }

    #[test]
    fn a_secret_in_a_name_is_found_where_the_file_is_new() {
        let own = SecretRules::own();
        let path = format!("src/{}.txt", made("ghp_", 36));
        assert_eq!(found(&own, &path, &[]), ["github-token 0"]);
        let gone = FileChange { kind: ChangeKind::Deleted, new: None, ..change(&path, &[]) };
        assert_eq!(own.scan(&Diff { changes: vec![gone], truncated: false }), []);
    }

    #[test]
    fn an_allowance_frees_by_any_of_its_parts_or_by_all() {
        let allow = |all: bool, paths: &[&str], patterns: &[&str], words: &[&str]| Allow {
            rules: Vec::new(),
            all,
            paths: paths.iter().map(|p| regex(p)).collect(),
            patterns: patterns.iter().map(|p| regex(p)).collect(),
            target: Target::Secret,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let frees = |allow: Allow| allow.frees("tests/a.rs", "shop-CAFE", "x shop-CAFE", "line");
        assert!(!frees(allow(false, &[], &[], &[])) && !frees(allow(true, &[], &[], &[])));
        assert!(frees(allow(false, &["^tests/"], &["^none"], &[])));
        assert!(!frees(allow(true, &["^tests/"], &["^none"], &[])));
        assert!(frees(allow(true, &["^tests/"], &["^shop"], &["cafe"])));
        assert!(!frees(allow(false, &["^src/"], &["^x"], &["tea"])));
        let of = |target| Allow { target, ..allow(false, &[], &["^x", "^line"], &[]) };
        assert!(frees(of(Target::Match)) && frees(of(Target::Line)) && !frees(of(Target::Secret)));
    }
}
