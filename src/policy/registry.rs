//! Every rule that can say no, in one table: its id, when it is applied, what its "no" means, why it is there,
//! and which key of the configuration sets its limit.
//!
//! `check --explain`, `config show --policy` and `docs/policy.md` are printed from it; a test finds every id
//! that the code can emit. It judges nothing.

use super::{
    Band, Bands, Deletion, Does, Missing, Origin, Policy, Secrets, Severity, Tests, Verdict,
    WeakerTests,
};

/// When a rule is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// On the task's words, before anything runs.
    Task,
    /// On the real diff, after each attempt.
    Diff,
    /// On what the gate said of the candidate.
    Gate,
    /// On what the candidate's tests said of it.
    Tests,
}

/// What a person's approval of the task does to a rule's "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// It frees the task, or turns the finding into a report.
    ByApproval,
    /// It does nothing; another deed does, and the rule's help names it.
    Otherwise,
    /// Nothing frees it.
    Never,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleInfo {
    /// Stable id.
    pub id: &'static str,
    /// When it is applied.
    pub phase: Phase,
    /// What its "no" means; [`RuleInfo::verdict_under`] says what a policy makes of it.
    pub verdict: Verdict,
    /// How much harm it keeps away.
    pub severity: Severity,
    /// The key that sets its limit or its verdict; empty for what is built in.
    pub key: &'static str,
    /// What it asks for, as a sentence without a full stop.
    pub asks: &'static str,
    /// Why it is there, in one sentence.
    pub why: &'static str,
    /// What frees it.
    pub freed: Freed,
    /// The limit under a policy; `None` where it is the same under all.
    limit: Option<fn(&Policy) -> String>,
}

impl RuleInfo {
    /// What passes under this policy.
    pub fn limit(&self, policy: &Policy) -> String {
        self.limit.map_or_else(|| self.asks.to_owned(), |limit| limit(policy))
    }

    /// Where the limit was set.
    pub fn origin(&self, policy: &Policy) -> Origin {
        policy.origin(self.key)
    }

    /// What its "no" means under this policy; `None` when the policy switches it off.
    pub fn verdict_under(&self, policy: &Policy) -> Option<Verdict> {
        match self.id {
            "inspection.deletion" => match policy.delete {
                Deletion::Never => Some(Verdict::Refuse),
                Deletion::Ask => Some(Verdict::Ask),
                Deletion::Allow => None,
            },
            "inspection.secret" => Some(match policy.secrets {
                Secrets::Block => Verdict::Refuse,
                Secrets::Report => Verdict::Report,
            }),
            "inspection.weaker-tests" => Some(match policy.weaker_tests {
                WeakerTests::Never => Verdict::Refuse,
                WeakerTests::Ask => Verdict::Ask,
                WeakerTests::Allow => Verdict::Report,
            }),
            "tests.former" if policy.weaker_tests == WeakerTests::Allow => Some(Verdict::Report),
            "admission.tests" if policy.tests == Tests::Optional => None,
            "tests.unproven" if policy.tests == Tests::Proven => Some(Verdict::Refuse),
            "tests.inseparable" if policy.tests != Tests::Proven => Some(Verdict::Report),
            "gate.proof" if bands(policy).iter().all(|(_, band)| band.proof.is_none()) => None,
            _ => Some(self.verdict),
        }
    }
}

/// The rule of this id.
pub fn rule(id: &str) -> Option<&'static RuleInfo> {
    RULES.iter().find(|rule| rule.id == id)
}

fn list(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

/// A row: id, phase, verdict, severity, what frees it, key; what it asks for, why, and the limit under a policy.
macro_rules! rules {
    (@limit) => { None };
    (@limit $limit:expr) => { Some($limit) };
    ($($id:literal $phase:ident $verdict:ident $severity:ident $freed:ident $key:literal
       $asks:literal because $why:literal $(=> $limit:expr)?;)+) => {
        /// All rules, in the order in which they are applied.
        pub const RULES: &[RuleInfo] = &[$(RuleInfo {
            id: $id,
            phase: Phase::$phase,
            verdict: Verdict::$verdict,
            severity: Severity::$severity,
            key: $key,
            asks: $asks,
            why: $why,
            freed: Freed::$freed,
            limit: rules!(@limit $($limit)?),
        }),+];
    };
}

rules! {
    "admission.plan" Task Refuse Medium Never ""
        "the task can be read as it is written"
        because "a task that is misread does something that nobody asked for";
    "admission.ready" Task Ask High ByApproval "plan.sections"
        "the plan marks it ready"
        because "nothing runs that a person did not choose for the night";
    "admission.alignment" Task Ask Medium ByApproval "policy.min_alignment"
        "its alignment score is high enough"
        because "a task that fits the project badly costs its reviewer more than it brings"
        => |policy| format!("at least {}", policy.min_alignment);
    "admission.lines" Task Ask Medium ByApproval "policy.max_estimated_lines"
        "its estimate of changed lines is small enough"
        because "small changes are read; large ones are waved through"
        => |policy| format!("at most {}{}", policy.max_estimated_lines, missing(policy));
    "admission.tests" Task Ask Medium ByApproval "policy.tests"
        "tests are defined for it, or it writes only tests or documents"
        because "without a test the gate says nothing about the change"
        => tests;
    "admission.safety" Task Refuse High Never ""
        "its safety check has no cross"
        because "whoever wrote the cross knew something that no rule knows";
    "admission.words" Task Refuse Critical Never "policy.title_words"
        "its words ask for nothing that never runs unattended"
        because "what cannot be undone is done by a person who watches"
        => |policy| format!("none of: {}", list(&policy.title_words, "no words"));
    "admission.ask-first" Task Ask High ByApproval "policy.ask_first"
        "its title and acceptance touch nothing that needs a person"
        because "mistakes in authentication, money or schema pass a gate unseen"
        => |policy| format!("none of: {}", list(&policy.ask_first, "no words"));
    "admission.dependencies" Task Ask High ByApproval "policy.dependencies"
        "it adds no dependency but approved ones"
        because "foreign code runs with the product's rights, and nobody here wrote it"
        => |policy| list(&policy.dependencies, "none");
    "admission.depends-on" Task Ask Medium Otherwise ""
        "what it needs is done, or runs in the same night"
        because "work on missing ground is work for the bin";
    "admission.files" Task Refuse High Never "policy.paths.allow"
        "the files that it names may be changed"
        because "an attempt that must be refused afterwards is money for nothing"
        => |policy| format!("within {}", policy.allowed());
    "admission.risk" Task Ask High ByApproval "policy.risk.high"
        "the risk that its words speak of is low enough; what is critical is refused"
        because "the more a task could break, the more a person should have thought about it"
        => |policy| policy.risk.below(Does::Ask);
    "admission.limits" Task Refuse Low Never "limits.attempts"
        "its own limits leave room to work; they only tighten the night's"
        because "a plan cannot give itself more than the night has";
    "admission.base" Task Ask Medium Otherwise ""
        "the files that it names are in the base, or new"
        because "a night works on what is pushed, and would write the file a second time";
    "admission.landed" Task Ask Low Otherwise ""
        "its work is not waiting for a merge already"
        because "the same work twice gives two branches that conflict";
    "admission.held" Task Ask Low Otherwise ""
        "its result is not waiting for a decision"
        because "a second result would not answer what the first one asked";
    "admission.failed-before" Task Ask Low Otherwise ""
        "it did not fail with the same words before"
        because "the same words lead to the same failure, at the same price";
    "admission.closed" Task Ask Low Otherwise ""
        "its pull request was not closed without a merge"
        because "a person saw this work and did not take it";
    "admission.asked" Task Ask Low Otherwise ""
        "its question was answered"
        because "the agent would ask again";
    "inspection.name" Diff Refuse Critical Never ""
        "no name is read as git's own directory by any system"
        because "such a name runs code on the machine of whoever checks it out";
    "inspection.protected" Diff Refuse Critical Never "policy.protected"
        "what judges the work stays as the base has it"
        because "an agent that can change its judge always passes"
        => |policy| format!("identical to the base: {}", policy.protected.join(", "));
    "inspection.denied" Diff Refuse High Never "policy.paths.deny"
        "no denied path is changed"
        because "secrets, pipelines and containers are not an agent's to change"
        => |policy| format!("none of: {}", list(&policy.deny, "no paths"));
    "inspection.paths" Diff Refuse High Never "policy.paths.allow"
        "only allowed paths are changed, and only those that the task names"
        because "what a task does not name its reviewer does not expect"
        => |policy| format!("within {}", policy.allowed());
    "inspection.scope" Diff Refuse Medium Never "policy.missing"
        "a task that was let through as tests or documents changes nothing else"
        because "it was not asked for score, estimate or tests, so it may not need them";
    "inspection.filter" Diff Refuse High Never ""
        "no file that the base's attributes filter is changed"
        because "what git would store for it is not what the agent wrote";
    "inspection.deletion" Diff Refuse High ByApproval "policy.paths.delete"
        "no file is deleted or emptied"
        because "what is gone shows in no test that went with it"
        => deletion;
    "inspection.mode" Diff Ask Medium ByApproval ""
        "no file becomes executable, or stops being so"
        because "no line of a review shows it";
    "inspection.link" Diff Refuse Critical Never ""
        "links stay inside the repository, on paths that may be changed"
        because "a link writes and reads somewhere else than its path says";
    "inspection.submodule" Diff Refuse Critical Never ""
        "no submodule is added, moved or removed"
        because "its contents are in no diff";
    "inspection.size" Diff Refuse Medium Never "policy.max_file_bytes"
        "no file is too large"
        because "what is too large is not read, and stays in the history for ever"
        => |policy| format!("at most {} bytes", policy.max_file_bytes);
    "inspection.binary" Diff Report Medium Otherwise ""
        "no binary file is added or changed; a program's text that is binary asks"
        because "no rule and no reviewer can read it";
    "inspection.lines" Diff Ask Medium ByApproval "policy.max_changed_lines"
        "the diff is small enough; tests and documents do not count"
        because "small changes are read; large ones are waved through"
        => |policy| format!("at most {}", policy.max_changed_lines);
    "inspection.added-lines" Diff Refuse Critical Never "policy.added_lines"
        "no added line matches a forbidden pattern"
        because "some lines do harm wherever they stand, such as destructive SQL"
        => |policy| format!("no line like: {}", list(&policy.added_lines, "no patterns"));
    "inspection.invisible" Diff Ask High ByApproval ""
        "no added character hides or reorders what is shown"
        because "the reviewer would read another program than the compiler";
    "inspection.manifest" Diff Ask High ByApproval "policy.dependencies"
        "manifests and lock files change by approved names only"
        because "foreign code runs with the product's rights, and nobody here wrote it"
        => |policy| list(&policy.dependencies, "no new dependency");
    "inspection.runs-code" Diff Report High Otherwise ""
        "no file runs by itself on the machine of whoever opens the branch"
        because "reading a change must not be running it";
    "inspection.install-script" Diff Ask Critical ByApproval ""
        "no manifest runs a command when the project is installed"
        because "installing is the first thing that everybody does with a branch";
    "inspection.long-lines" Diff Report Medium Otherwise ""
        "no added line is longer than anybody reads"
        because "what stands far to the right is in the diff and in nobody's eyes";
    "inspection.secret" Diff Refuse Critical Never "policy.secrets"
        "nothing that is added looks like a secret"
        because "a secret in a commit is public as soon as it is pushed";
    "inspection.secret-rules" Diff Report High Otherwise ""
        "the base's own rules for secrets can be held"
        because "a rule that cannot be read finds nothing, and nobody would know";
    "inspection.weaker-tests" Diff Refuse Critical Never "policy.weaker_tests"
        "no test goes, is left out, or says less than before, unless the task's words ask for it"
        because "a test that does not run is always green";
    "inspection.ask-first" Diff Report High Otherwise "policy.ask_first"
        "no changed path is about what needs a person"
        because "a path's words say where a change is: its reviewer should look twice"
        => |policy| format!("none of: {}", list(&policy.ask_first, "no words"));
    "inspection.risk" Diff Ask High ByApproval "policy.risk.high"
        "the diff is of no higher risk than its task was admitted for; what is critical is refused"
        because "an approval covers what was approved, not what became of it"
        => |policy| policy.risk.below(Does::Ask);
    "gate.proof" Gate Ask High ByApproval "policy.risk.medium"
        "the gate's score is good enough for the risk"
        because "the more a change could break, the more must have looked at it"
        => proofs;
    "tests.unproven" Tests Report High Otherwise "policy.tests"
        "new tests are red without the change"
        because "a test that also passes without the change does not test it";
    "tests.inseparable" Tests Ask High ByApproval "policy.tests"
        "new tests can be tried without the code beside them"
        because "what cannot be tried proves nothing";
    "tests.former" Tests Ask High ByApproval "policy.weaker_tests"
        "tests as they were on the base pass on the changed code, unless the task's words ask for others"
        because "a test that was bent to the change no longer says what it said";
}

fn tests(policy: &Policy) -> String {
    match policy.tests {
        Tests::Proven => "defined, and red on the base's code".to_owned(),
        Tests::Required => "defined".to_owned(),
        Tests::Optional => "not asked for".to_owned(),
    }
}

fn deletion(policy: &Policy) -> String {
    match policy.delete {
        Deletion::Never => "no file is deleted".to_owned(),
        Deletion::Ask => "no file is deleted without approval".to_owned(),
        Deletion::Allow => "allowed".to_owned(),
    }
}

fn missing(policy: &Policy) -> &'static str {
    match policy.missing {
        Missing::Ask | Missing::Refuse => "",
        Missing::Assume => ", or no estimate at all",
    }
}

fn bands(policy: &Policy) -> [(&'static str, Band); 4] {
    let Bands { low, medium, high, critical } = policy.risk;
    [("low", low), ("medium", medium), ("high", high), ("critical", critical)]
}

/// What each level of risk needs, in words.
fn proofs(policy: &Policy) -> String {
    let levels = bands(policy);
    let said = levels
        .iter()
        .filter_map(|(name, band)| Some(format!("{name}: a score of at least {}", band.proof?)));
    let said: Vec<String> = said.collect();
    list(&said, "any green gate")
}

#[cfg(test)]
mod tests {
    use super::{
        Freed::{ByApproval, Never},
        *,
    };
    use crate::{
        budget::Limits,
        diff::{ChangeKind, Diff, FileChange, FileMode, Side},
        ids::{BlobId, RepoPath, TaskId},
        plan::{Safety, SafetyMark, SectionClass, Task, TestsDefined},
        policy::{Decision, Facts, Refusal, RuleSet, Ruling, admit, inspect, tests::ready},
    };

    /// A task that breaks this rule of admission and no other; `None` for rules that are not admission's, and for
    /// those that the runner applies with what it knows of the base and of earlier nights.
    fn breaking(id: &str) -> Option<Task> {
        let mut task = ready("Add a parser");
        let fields = &mut task.fields;
        match id {
            "admission.plan" => task.errors.push("P004: not a score".into()),
            "admission.ready" => task.section.class = SectionClass::Pending,
            "admission.alignment" => fields.alignment = Some(1),
            "admission.lines" => fields.estimated_lines = Some(999),
            "admission.tests" => fields.tests = Some(TestsDefined::No),
            "admission.safety" => {
                fields.safety = Some(Safety { mark: SafetyMark::Unsafe, text: "no".into() });
            }
            "admission.words" => task.notes = vec!["then delete the old files".into()],
            "admission.ask-first" => task.title = "Add a payment form".into(),
            "admission.dependencies" => task.title = "Add dependency serde".into(),
            "admission.depends-on" => fields.depends_on = vec![TaskId::new("other").unwrap()],
            "admission.risk" => fields.risk = Some("high".into()),
            "admission.files" => fields.files = vec!["etc/x".into()],
            "admission.limits" => fields.attempts = Some(0),
            _ => return None,
        }
        Some(task)
    }

    fn change(path: &str, lines: &[&str]) -> FileChange {
        let blob = BlobId::new("0".repeat(40)).unwrap();
        let side = Side { mode: FileMode::Regular, blob, bytes: 9, link_target: None };
        FileChange {
            path: path.into(),
            kind: ChangeKind::Modified,
            old: Some(side.clone()),
            new: Some(side),
            added: u32::try_from(lines.len()).unwrap(),
            removed: 0,
            binary: false,
            added_lines: (1..).zip(lines.iter().map(|line| (*line).to_owned())).collect(),
            removed_lines: Vec::new(),
            old_text: None,
            new_text: None,
        }
    }

    /// A change that breaks this rule of inspection.
    fn offending(id: &str) -> Option<FileChange> {
        let mut found = change("src/a.rs", &["x"]);
        let new = found.new.as_mut().unwrap();
        match id {
            "inspection.name" => found.path = "src/.git/x".into(),
            "inspection.protected" => found.path = "CLAUDE.md".into(),
            "inspection.denied" => found.path = "src/.env".into(),
            "inspection.paths" => found.path = "lib/a.rs".into(),
            "inspection.deletion" => {
                found.kind = ChangeKind::Deleted;
                found.new = None;
            }
            "inspection.mode" => new.mode = FileMode::Executable,
            "inspection.link" => {
                new.mode = FileMode::Symlink;
                new.link_target = Some("/etc/passwd".into());
            }
            "inspection.submodule" => new.mode = FileMode::Gitlink,
            "inspection.size" => new.bytes = u64::MAX,
            "inspection.binary" => {
                found = change("src/a.png", &[]);
                found.binary = true;
            }
            "inspection.lines" => found.added = 9_999,
            "inspection.added-lines" => found = change("src/a.rs", &["DROP TABLE users;"]),
            "inspection.invisible" => found = change("src/a.rs", &["a\u{202E}b"]),
            "inspection.manifest" => found = change("src/Cargo.toml", &["serde = \"1\""]),
            "inspection.runs-code" => found.path = "src/build.rs".into(),
            "inspection.install-script" => {
                found = change("src/package.json", &["\"postinstall\": \"node x.js\""]);
                found.old_text = Some("{}".to_owned());
                found.new_text = Some("{\"scripts\": {\"postinstall\": \"node x.js\"}}".to_owned());
            }
            "inspection.long-lines" => found = change("src/a.rs", &["x".repeat(3_000).as_str()]),
            "inspection.secret" => {
                // In two parts, so that this file itself holds no token.
                let token = ["let t = \"ghp_", "kX3vQ9mZ7wL2tR5yB8nC1dF6gH4jK0pS9aVe\";"].concat();
                found = change("src/a.rs", &[token.as_str()]);
            }
            "inspection.weaker-tests" => {
                let test = "#[test]\nfn a() {\n    assert_eq!(f(), 1);\n}\n";
                found = change("tests/a.rs", &["#[ignore]"]);
                found.old_text = Some(test.to_owned());
                found.new_text = Some(test.replace("]\nfn", "]\n#[ignore]\nfn"));
            }
            "inspection.ask-first" => found.path = "src/auth.rs".into(),
            // What a diff's risk is made of has tests of its own, and the base's rules are no change's.
            "inspection.risk" | "inspection.secret-rules" => return None,
            "inspection.scope" | "inspection.filter" => {}
            _ => return None,
        }
        Some(found)
    }

    /// What inspection says by this rule of a task whose text somebody approved, or nobody.
    fn inspected(id: &str, change: FileChange, approved: bool) -> Option<Refusal> {
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let mut task = ready("Add a parser");
        if id == "inspection.scope" {
            task = ready("Document the parser");
            task.fields.alignment = None;
        }
        task.fields.approved = approved;
        let admission = admit(&rules, &Limits::default(), &task, &Facts::default());
        let filtered: Vec<RepoPath> =
            if id == "inspection.filter" { vec![change.path.clone()] } else { Vec::new() };
        let diff = Diff { changes: vec![change], truncated: false };
        let found = inspect(&rules, admission.admitted().unwrap(), &diff, &filtered).findings;
        found.into_iter().find(|finding| finding.rule == id)
    }

    #[test]
    fn approval_frees_what_asks_and_never_what_refuses() {
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let mut tried = Vec::new();
        for rule in RULES {
            let Some(mut task) = breaking(rule.id) else { continue };
            tried.push(rule.id);
            let mut known = Facts::default();
            known.known.insert(TaskId::new("other").unwrap());
            let judged = |task: &Task| admit(&rules, &Limits::default(), task, &known);
            let said = judged(&task);
            let findings: Vec<&Refusal> = said.findings().collect();
            let [finding] = findings[..] else { panic!("{}: {findings:?}", rule.id) };
            assert_eq!(
                (finding.rule.as_str(), finding.verdict, finding.severity),
                (rule.id, rule.verdict, rule.severity)
            );
            assert!(said.admitted().is_none(), "{}", rule.id);
            task.fields.approved = true;
            let approved = judged(&task);
            let freed = approved.rules.iter().any(|applied| match &applied.ruling {
                Ruling::Freed(refusal) => refusal.rule == rule.id,
                Ruling::Passed | Ruling::Broken(_) => false,
            });
            // An approved task of a pending section is a ready one: there is nothing to free.
            let runs = approved.admitted().is_some();
            assert_eq!(runs, rule.freed == ByApproval, "{}", rule.id);
            assert_eq!(freed, runs && rule.id != "admission.ready", "{}", rule.id);
            if rule.verdict == Verdict::Refuse {
                assert!(matches!(approved.decision, Decision::Refused(_)), "{}", rule.id);
            }
        }
        assert_eq!(tried.len(), 13, "{tried:?}");
    }

    #[test]
    fn after_the_run_approval_turns_what_asks_into_a_report_and_nothing_else() {
        let mut tried = 0;
        for rule in RULES {
            let Some(change) = offending(rule.id) else { continue };
            tried += 1;
            let said = inspected(rule.id, change.clone(), false);
            let said = said.unwrap_or_else(|| panic!("{} says nothing", rule.id));
            let verdict = rule.verdict_under(&Policy::default());
            assert_eq!(
                (Some(said.verdict), said.severity),
                (verdict, rule.severity),
                "{}",
                rule.id
            );
            let approved = inspected(rule.id, change, true).unwrap().verdict;
            let expected = match (said.verdict, rule.freed) {
                (Verdict::Ask, ByApproval) => Verdict::Report,
                (verdict, _) => verdict,
            };
            assert_eq!(approved, expected, "{}", rule.id);
        }
        let inspection = RULES.iter().filter(|rule| rule.phase == Phase::Diff).count();
        assert_eq!(tried + 2, inspection, "every rule of inspection has a change that breaks it");
    }

    #[test]
    fn a_limit_names_the_key_that_sets_it() {
        let mut policy = Policy::default();
        for rule in RULES.iter().filter(|rule| rule.key.starts_with("policy.")) {
            let origin = Origin::File { path: "c.yml".into(), line: 7 };
            policy.origins.insert(rule.key.to_owned(), origin.clone());
            assert_eq!(rule.origin(&policy), origin, "{}", rule.id);
        }
        for rule in RULES {
            if let (Some(task), true) = (breaking(rule.id), rule.key.starts_with("policy.")) {
                let rules = RuleSet::new(&policy).unwrap();
                let said = admit(&rules, &Limits::default(), &task, &Facts::default());
                let finding = said.findings().next().unwrap();
                assert_eq!(finding.origin.to_string(), "c.yml:7", "{}", rule.id);
            }
        }
    }

    #[test]
    fn rules_have_one_row_each_with_words_that_end_without_a_stop() {
        for (at, row) in RULES.iter().enumerate() {
            assert!(RULES[..at].iter().all(|other| other.id != row.id), "{}", row.id);
            assert_eq!(rule(row.id).map(|rule| rule.asks), Some(row.asks));
            for words in [row.asks, row.why] {
                assert!(!words.is_empty() && !words.ends_with('.'), "{words}");
            }
            if row.verdict == Verdict::Refuse {
                assert!(row.freed == Never || row.id == "inspection.deletion", "{}", row.id);
            }
        }
        assert!(rule("inspection.nothing").is_none());
    }

    #[test]
    fn a_policy_decides_what_a_rule_means() {
        let of = |id: &str, policy: Policy| rule(id).unwrap().verdict_under(&policy);
        let policy = Policy::default;
        let (ask, refuse) = (Some(Verdict::Ask), Some(Verdict::Refuse));
        let report = Some(Verdict::Report);
        for (delete, expected) in
            [(Deletion::Never, refuse), (Deletion::Ask, ask), (Deletion::Allow, None)]
        {
            assert_eq!(of("inspection.deletion", Policy { delete, ..policy() }), expected);
        }
        for (secrets, expected) in [(Secrets::Block, refuse), (Secrets::Report, report)] {
            assert_eq!(of("inspection.secret", Policy { secrets, ..policy() }), expected);
        }
        for (weaker_tests, expected, former) in [
            (WeakerTests::Never, refuse, ask),
            (WeakerTests::Ask, ask, ask),
            (WeakerTests::Allow, report, report),
        ] {
            let policy = || Policy { weaker_tests, ..policy() };
            assert_eq!(of("inspection.weaker-tests", policy()), expected);
            assert_eq!(of("tests.former", policy()), former);
        }
        for (tests, admission, unproven, inseparable) in [
            (Tests::Optional, None, report, report),
            (Tests::Required, ask, report, report),
            (Tests::Proven, ask, refuse, ask),
        ] {
            let policy = || Policy { tests, ..policy() };
            assert_eq!(of("admission.tests", policy()), admission, "{tests:?}");
            assert_eq!(of("tests.unproven", policy()), unproven, "{tests:?}");
            assert_eq!(of("tests.inseparable", policy()), inseparable, "{tests:?}");
        }
        let with = |low, critical| {
            let mut policy = policy();
            policy.risk.medium.proof = None;
            (policy.risk.low.proof, policy.risk.critical.proof) = (low, critical);
            policy
        };
        assert_eq!(of("gate.proof", policy()), ask);
        assert_eq!(of("gate.proof", with(None, None)), None);
        assert_eq!(of("gate.proof", with(Some(1), None)), ask);
        assert_eq!(of("gate.proof", with(None, Some(1))), ask);
        assert_eq!(of("inspection.size", policy()), refuse);
    }

    #[test]
    fn a_limit_is_told_in_words() {
        let of = |id: &str, policy: &Policy| rule(id).unwrap().limit(policy);
        let policy = Policy::default();
        assert_eq!(
            of("admission.alignment", &policy),
            format!("at least {}", policy.min_alignment)
        );
        let words =
            |list: &[&str]| -> Vec<String> { list.iter().map(|word| (*word).to_owned()).collect() };
        for (id, none, some) in [
            ("admission.words", "none of: no words", "none of: a, b"),
            ("admission.ask-first", "none of: no words", "none of: c"),
            ("admission.dependencies", "none", "serde, d"),
            ("inspection.denied", "none of: no paths", "none of: e"),
            ("inspection.added-lines", "no line like: no patterns", "no line like: f"),
            ("inspection.manifest", "no new dependency", "serde, d"),
        ] {
            let mut policy = Policy {
                title_words: words(&["a", "b"]),
                ask_first: words(&["c"]),
                dependencies: words(&["serde", "d"]),
                deny: words(&["e"]),
                added_lines: words(&["f"]),
                ..Policy::default()
            };
            assert_eq!(of(id, &policy), some, "{id}");
            policy.title_words.clear();
            policy.ask_first.clear();
            policy.dependencies.clear();
            policy.deny.clear();
            policy.added_lines.clear();
            assert_eq!(of(id, &policy), none, "{id}");
        }
        for (tests, limit) in [
            (Tests::Proven, "defined, and red on the base's code"),
            (Tests::Required, "defined"),
            (Tests::Optional, "not asked for"),
        ] {
            assert_eq!(of("admission.tests", &Policy { tests, ..Policy::default() }), limit);
        }
        for (delete, limit) in [
            (Deletion::Never, "no file is deleted"),
            (Deletion::Ask, "no file is deleted without approval"),
            (Deletion::Allow, "allowed"),
        ] {
            assert_eq!(of("inspection.deletion", &Policy { delete, ..Policy::default() }), limit);
        }
        for (missing, limit) in [
            (Missing::Ask, "at most 7"),
            (Missing::Refuse, "at most 7"),
            (Missing::Assume, "at most 7, or no estimate at all"),
        ] {
            let policy = Policy { missing, max_estimated_lines: 7, ..Policy::default() };
            assert_eq!(of("admission.lines", &policy), limit);
        }
        let mut policy = Policy::default();
        assert_eq!(of("gate.proof", &policy), "medium: a score of at least 90");
        policy.risk.critical.proof = Some(100);
        let both = "medium: a score of at least 90, critical: a score of at least 100";
        assert_eq!(of("gate.proof", &policy), both);
        (policy.risk.medium.proof, policy.risk.critical.proof) = (None, None);
        assert_eq!(of("gate.proof", &policy), "any green gate");
        // What has no limit of its own says what it asks for.
        assert_eq!(of("inspection.mode", &policy), rule("inspection.mode").unwrap().asks);
    }
}
