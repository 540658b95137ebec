//! The check of a task's words before the run. The only place that makes an [`AdmittedTask`].
//!
//! Every rule is applied, also after one said no: a person shall see all of it at once. Nothing is read
//! but the values given; what the plan claims about a task is believed here and checked on the diff.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Missing, Origin, Policy, Refusal, Severity, Tests, Verdict,
    rules::{Case, RuleSet, check_glob, globs, is_test_or_doc, matches},
    words::{self, Dependencies},
};
use crate::{
    budget::{Limits, Usd},
    ids::{RepoPath, TaskId},
    plan::{Readiness, SafetyMark, Task, TestsDefined},
};

/// What admission must know about other tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every task of the plan.
    pub known: BTreeSet<TaskId>,
    /// Tasks whose work is in the base, or which the plan calls done.
    pub done: BTreeSet<TaskId>,
    /// Tasks admitted to this night: what depends on them starts after they landed.
    pub tonight: BTreeSet<TaskId>,
}

/// The outcome for one task, with every rule that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The task.
    pub task: TaskId,
    /// Each rule in a fixed order, for `check --explain`.
    pub rules: Vec<Applied>,
    /// What follows.
    pub decision: Decision,
}

/// One rule, applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Stable id.
    pub rule: &'static str,
    /// What was seen.
    pub value: String,
    /// What passes.
    pub limit: String,
    /// Where the limit was set.
    pub origin: Origin,
    /// What it said.
    pub ruling: Ruling,
}

/// What a rule said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing against it.
    Passed,
    /// It would have asked, and a person approved this text.
    Freed(Refusal),
    /// It holds; its verdict says what follows.
    Broken(Refusal),
}

/// What follows from all rules together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may run.
    Admitted(Box<AdmittedTask>),
    /// A person, or another task, must come first. Nothing here was refused.
    Waiting(Vec<Refusal>),
    /// It may not run; approval frees none of the first ones (asks follow them).
    Refused(Vec<Refusal>),
}

/// A task that may run, with what its rules narrowed. Made by [`admit`] alone.
///
/// It can be read back because the journal, in which `admit`'s verdict was recorded, is replayed after a
/// crash: facts carry verdicts and are not judged again by newer rules. Nothing else may deserialize one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedTask {
    task: Task,
    files: Vec<String>,
    only_tests_or_docs: bool,
    limits: TaskLimits,
}

/// The limits of one task: the night's, or the task's own where those are tighter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// Attempts.
    pub attempts: u32,
    /// Seconds of agent time for one attempt.
    pub time_s: u64,
    /// Money for all attempts; zero = no limit.
    pub cost: Usd,
}

impl AdmittedTask {
    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Its id.
    pub fn id(&self) -> &TaskId {
        &self.task.id
    }

    /// Globs that narrow the policy's allowed paths: the task's `Files` and the test it names. A name
    /// without wildcard stands for the file and for everything below it. Empty = not narrowed.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// True when it was admitted without score or estimate, or over the limit of lines, because it writes
    /// only tests or documents. Inspection holds its diff to that.
    pub fn only_tests_or_docs(&self) -> bool {
        self.only_tests_or_docs
    }

    /// Its limits.
    pub fn limits(&self) -> &TaskLimits {
        &self.limits
    }

    /// True when a person approved the task's text.
    pub fn approved(&self) -> bool {
        self.task.fields.approved
    }
}

impl Admission {
    /// The admitted task, if it is one.
    pub fn admitted(&self) -> Option<&AdmittedTask> {
        match &self.decision {
            Decision::Admitted(task) => Some(task),
            Decision::Waiting(_) | Decision::Refused(_) => None,
        }
    }

    /// Every rule that said something and was not freed, whatever its verdict.
    pub fn findings(&self) -> impl Iterator<Item = &Refusal> {
        self.rules.iter().filter_map(|applied| match &applied.ruling {
            Ruling::Broken(refusal) => Some(refusal),
            Ruling::Passed | Ruling::Freed(_) => None,
        })
    }
}

/// Judges all tasks of a plan, each with those that it depends on: a task whose dependency neither is
/// done nor runs tonight waits. `done` adds to what the plan itself calls done. One answer for each task,
/// in the plan's order.
pub fn admit_plan(
    rules: &RuleSet,
    limits: &Limits,
    tasks: &[Task],
    done: &BTreeSet<TaskId>,
) -> Vec<Admission> {
    let mut facts = Facts {
        known: tasks.iter().map(|task| task.id.clone()).collect(),
        done: done.clone(),
        tonight: BTreeSet::new(),
    };
    let finished = tasks.iter().filter(|task| task.readiness() == Readiness::Done);
    facts.done.extend(finished.map(|task| task.id.clone()));
    // From nothing upwards, so that tasks which depend on each other in a circle never come in.
    loop {
        let admissions: Vec<Admission> =
            tasks.iter().map(|task| admit(rules, limits, task, &facts)).collect();
        let tonight: BTreeSet<TaskId> =
            admissions.iter().filter_map(|a| a.admitted()).map(|task| task.id().clone()).collect();
        if tonight == facts.tonight {
            return admissions;
        }
        facts.tonight = tonight;
    }
}

/// Judges one task by every rule.
pub fn admit(rules: &RuleSet, limits: &Limits, task: &Task, facts: &Facts) -> Admission {
    let exempt = only_tests_or_docs(task);
    let mut judge =
        Judge { policy: &rules.policy, task, approved: task.fields.approved, rules: Vec::new() };
    judge.plan();
    judge.ready();
    let scoreless = judge.alignment(exempt);
    let sizeless = judge.lines(exempt);
    let testless = judge.tests(exempt);
    judge.safety();
    judge.words();
    judge.dependencies();
    judge.order(facts);
    judge.files(rules);
    let limits = judge.limits(limits);

    let mut broken: Vec<Refusal> = judge
        .rules
        .iter()
        .filter_map(|applied| match &applied.ruling {
            Ruling::Broken(refusal) if refusal.verdict != Verdict::Report => Some(refusal.clone()),
            Ruling::Broken(_) | Ruling::Freed(_) | Ruling::Passed => None,
        })
        .collect();
    // Refusals first; the order of the rules within.
    broken.sort_by_key(|refusal| std::cmp::Reverse(refusal.verdict));
    let decision = match broken.first().map(|refusal| refusal.verdict) {
        None => Decision::Admitted(Box::new(AdmittedTask {
            task: task.clone(),
            files: narrowed(task),
            only_tests_or_docs: scoreless || sizeless || testless,
            limits,
        })),
        Some(Verdict::Refuse) => Decision::Refused(broken),
        Some(Verdict::Ask | Verdict::Report) => Decision::Waiting(broken),
    };
    Admission { task: task.id.clone(), rules: judge.rules, decision }
}

/// One rule's question and what a "no" would say.
struct Rule {
    id: &'static str,
    severity: Severity,
    verdict: Verdict,
    value: String,
    limit: String,
    /// Key of the configuration that sets the limit; empty for what is built in.
    key: &'static str,
}

struct Judge<'a> {
    policy: &'a Policy,
    task: &'a Task,
    approved: bool,
    rules: Vec<Applied>,
}

impl Judge<'_> {
    fn pass(&mut self, rule: Rule) {
        let origin = self.policy.origin(rule.key);
        let Rule { id, value, limit, .. } = rule;
        self.rules.push(Applied { rule: id, value, limit, origin, ruling: Ruling::Passed });
    }

    fn fail(&mut self, rule: Rule, message: impl Into<String>, help: &str) {
        let refusal = Refusal {
            rule: rule.id.to_owned(),
            verdict: rule.verdict,
            severity: rule.severity,
            message: message.into(),
            value: rule.value.clone(),
            limit: rule.limit.clone(),
            origin: self.policy.origin(rule.key),
            help: (!help.is_empty()).then(|| help.to_owned()),
        };
        let origin = refusal.origin.clone();
        let freed = self.approved && rule.verdict == Verdict::Ask;
        let ruling = if freed { Ruling::Freed(refusal) } else { Ruling::Broken(refusal) };
        let Rule { id, value, limit, .. } = rule;
        self.rules.push(Applied { rule: id, value, limit, origin, ruling });
    }

    fn plan(&mut self) {
        let rule = Rule {
            id: "admission.plan",
            severity: Severity::Medium,
            verdict: Verdict::Refuse,
            value: if self.task.errors.is_empty() {
                "no errors".to_owned()
            } else {
                self.task.errors.join("; ")
            },
            limit: "no errors".to_owned(),
            key: "",
        };
        if self.task.errors.is_empty() {
            self.pass(rule);
        } else {
            self.fail(rule, "the task cannot be read as it is written", "mend it in the plan");
        }
    }

    fn ready(&mut self) {
        let rule = |value: &str, verdict| Rule {
            id: "admission.ready",
            severity: Severity::High,
            verdict,
            value: value.to_owned(),
            limit: "marked ready".to_owned(),
            key: "plan.sections",
        };
        match self.task.readiness() {
            Readiness::Ready => self.pass(rule("ready", Verdict::Ask)),
            Readiness::NeedsApproval => {
                self.fail(rule("pending", Verdict::Ask), "it waits for approval", "approve it");
            }
            Readiness::Done => self.fail(rule("done", Verdict::Refuse), "it is done", ""),
            Readiness::NotReady(why) => {
                self.fail(rule(&why, Verdict::Refuse), "the plan does not mark it ready", "");
            }
        }
    }

    /// Answers whether the rule passed only because the task writes nothing but tests or documents.
    fn alignment(&mut self, exempt: bool) -> bool {
        let least = self.policy.min_alignment;
        let rule = |value: String| Rule {
            id: "admission.alignment",
            severity: Severity::Medium,
            verdict: Verdict::Ask,
            value,
            limit: format!("at least {least}"),
            key: "policy.min_alignment",
        };
        match self.task.fields.alignment {
            Some(score) if score >= least => self.pass(rule(score.to_string())),
            Some(score) => self.fail(
                rule(score.to_string()),
                format!("its alignment score is {score}, and {least} is needed"),
                "approve it, or make it fit the project better",
            ),
            None => return self.missing(exempt, rule("none".to_owned()), "alignment score"),
        }
        false
    }

    /// As [`Judge::alignment`].
    fn lines(&mut self, exempt: bool) -> bool {
        let most = self.policy.max_estimated_lines;
        let rule = |value: String| Rule {
            id: "admission.lines",
            severity: Severity::Medium,
            verdict: Verdict::Ask,
            value,
            limit: format!("at most {most}"),
            key: "policy.max_estimated_lines",
        };
        match self.task.fields.estimated_lines {
            Some(lines) if lines <= most => self.pass(rule(lines.to_string())),
            Some(lines) if exempt => {
                self.pass(rule(format!("{lines}, tests or documents only")));
                return true;
            }
            Some(lines) => self.fail(
                rule(lines.to_string()),
                format!("it is estimated at {lines} lines, and the limit is {most}"),
                "split it, or approve it",
            ),
            None => return self.missing(exempt, rule("none".to_owned()), "estimate of lines"),
        }
        false
    }

    fn missing(&mut self, exempt: bool, mut rule: Rule, what: &str) -> bool {
        if exempt {
            rule.value += ", tests or documents only";
            self.pass(rule);
            return true;
        }
        rule.key = "policy.missing";
        match self.policy.missing {
            Missing::Assume => {
                rule.value += ", assumed to fit";
                self.pass(rule);
            }
            Missing::Ask => {
                self.fail(rule, format!("it has no {what}"), "write one, or approve the task");
            }
            Missing::Refuse => {
                rule.verdict = Verdict::Refuse;
                self.fail(rule, format!("it has no {what}"), "write one");
            }
        }
        false
    }

    /// As [`Judge::alignment`].
    fn tests(&mut self, exempt: bool) -> bool {
        let value = match &self.task.fields.tests {
            Some(TestsDefined::Yes(Some(path))) => format!("yes ({path})"),
            Some(TestsDefined::Yes(None)) => "yes".to_owned(),
            Some(TestsDefined::No) => "no".to_owned(),
            Some(TestsDefined::NotApplicable) => "not applicable".to_owned(),
            None => "not said".to_owned(),
        };
        let mut rule = Rule {
            id: "admission.tests",
            severity: Severity::Medium,
            verdict: Verdict::Ask,
            value,
            limit: match self.policy.tests {
                Tests::Required => "defined".to_owned(),
                Tests::Optional => "not asked for".to_owned(),
            },
            key: "policy.tests",
        };
        let defined = matches!(self.task.fields.tests, Some(TestsDefined::Yes(_)));
        if defined || self.policy.tests == Tests::Optional {
            self.pass(rule);
        } else if exempt {
            rule.value += ", tests or documents only";
            self.pass(rule);
            return true;
        } else {
            let help = "write `Tests defined: yes (path)`, or approve the task";
            self.fail(rule, "no tests are defined for it", help);
        }
        false
    }

    fn safety(&mut self) {
        let Some(safety) = &self.task.fields.safety else { return };
        let rule = |verdict| Rule {
            id: "admission.safety",
            severity: Severity::High,
            verdict,
            value: safety.text.clone(),
            limit: "no cross".to_owned(),
            key: "",
        };
        match safety.mark {
            SafetyMark::Unsafe => {
                self.fail(rule(Verdict::Refuse), "its safety check is marked with a cross", "");
            }
            SafetyMark::Caution => {
                self.fail(rule(Verdict::Report), "its safety check carries a warning sign", "");
            }
            SafetyMark::Safe | SafetyMark::Unmarked => self.pass(rule(Verdict::Refuse)),
        }
    }

    fn words(&mut self) {
        let policy = self.policy;
        for (id, key, phrases, verdict, severity) in [
            (
                "admission.words",
                "policy.title_words",
                &policy.title_words,
                Verdict::Refuse,
                Severity::Critical,
            ),
            (
                "admission.ask-first",
                "policy.ask_first",
                &policy.ask_first,
                Verdict::Ask,
                Severity::High,
            ),
        ] {
            let rule = |value| Rule {
                id,
                severity,
                verdict,
                value,
                limit: format!("none of: {}", phrases.join(", ")),
                key,
            };
            let found = words::find(self.task, phrases);
            if found.is_empty() {
                self.pass(rule("none".to_owned()));
            }
            for (phrase, place) in found {
                let message = match verdict {
                    Verdict::Refuse => {
                        format!("its {place} asks for \"{phrase}\", which never runs unattended")
                    }
                    Verdict::Ask | Verdict::Report => {
                        format!("its {place} touches \"{phrase}\", which needs a person")
                    }
                };
                let help = if verdict == Verdict::Ask { "approve it" } else { "do it by hand" };
                self.fail(rule(phrase.to_owned()), message, help);
            }
        }
    }

    fn dependencies(&mut self) {
        let approved = &self.policy.dependencies;
        let rule = |value: String| Rule {
            id: "admission.dependencies",
            severity: Severity::High,
            verdict: Verdict::Ask,
            value,
            limit: if approved.is_empty() {
                "none".to_owned()
            } else {
                format!("only: {}", approved.join(", "))
            },
            key: "policy.dependencies",
        };
        let help = "approve it (`policy.paths` must allow the manifest and the lock file too), or add \
                    the name to `policy.dependencies`";
        match words::dependencies(self.task) {
            Dependencies::None => self.pass(rule("none".to_owned())),
            Dependencies::Named(names) => {
                let known = |name: &String| approved.iter().any(|a| a.eq_ignore_ascii_case(name));
                if names.iter().all(known) {
                    self.pass(rule(names.join(", ")));
                } else {
                    self.fail(rule(names.join(", ")), "it adds or changes dependencies", help);
                }
            }
            Dependencies::Unnamed => {
                self.fail(rule("not named".to_owned()), "it adds or changes dependencies", help);
            }
        }
    }

    fn order(&mut self, facts: &Facts) {
        let rule = |verdict, id: &TaskId| Rule {
            id: "admission.depends-on",
            severity: Severity::Medium,
            verdict,
            value: id.to_string(),
            limit: "done, or admitted tonight".to_owned(),
            key: "",
        };
        let depends_on = self.task.fields.depends_on.clone();
        for id in &depends_on {
            if facts.done.contains(id) || facts.tonight.contains(id) {
                self.pass(rule(Verdict::Ask, id));
            } else if facts.known.contains(id) {
                // Approval of this task cannot make another one done.
                let approved = std::mem::take(&mut self.approved);
                let message = format!("it needs {id}, which is not done and does not run tonight");
                self.fail(rule(Verdict::Ask, id), message, "");
                self.approved = approved;
            } else {
                let message = format!("it needs {id}, which is in no section of the plan");
                self.fail(rule(Verdict::Refuse, id), message, "");
            }
        }
    }

    fn files(&mut self, rules: &RuleSet) {
        let rule = |file: &str, verdict, key| Rule {
            id: "admission.files",
            severity: Severity::High,
            verdict,
            value: file.to_owned(),
            limit: match key {
                "policy.paths.deny" => "not denied".to_owned(),
                "policy.protected" => "not protected".to_owned(),
                _ => format!("within {}", rules.policy.allow.join(", ")),
            },
            key,
        };
        for file in &self.task.fields.files {
            let name = plain(file);
            if let Err(why) = check_glob(name) {
                let refused = rule(file, Verdict::Refuse, "policy.paths.allow");
                self.fail(refused, format!("`{file}` is not a path: {why}"), "");
                continue;
            }
            // A glob's own text, read as a path, is matched by every glob that contains it whole.
            let path = RepoPath::from(name);
            let below = path.join(b"x");
            let hit = |set| matches(set, &path) || matches(set, &below);
            if hit(&rules.protected) {
                let refused = rule(file, Verdict::Refuse, "policy.protected");
                self.fail(refused, format!("it names `{file}`, which is protected"), "");
            } else if hit(&rules.deny) {
                let refused = rule(file, Verdict::Refuse, "policy.paths.deny");
                self.fail(refused, format!("it names `{file}`, which is denied"), "");
            } else if hit(&rules.allow) {
                self.pass(rule(file, Verdict::Refuse, "policy.paths.allow"));
            } else if has_wildcard(name)
                && rules.policy.allow.iter().any(|allowed| may_overlap(name, allowed))
            {
                let partly = rule(file, Verdict::Report, "policy.paths.allow");
                let message = format!("`{file}` reaches outside the allowed paths");
                self.fail(partly, message, "only the allowed part of it counts");
            } else {
                let refused = rule(file, Verdict::Refuse, "policy.paths.allow");
                let message = format!("it names `{file}`, which is outside the allowed paths");
                self.fail(refused, message, "allow the path, or name another file");
            }
        }
    }

    /// The tighter of the night's limits and the task's own.
    fn limits(&mut self, limits: &Limits) -> TaskLimits {
        let fields = &self.task.fields;
        let rule = |what: &str, value: String, limit: String, verdict, key| Rule {
            id: "admission.limits",
            severity: Severity::Low,
            verdict,
            value: format!("{what} {value}"),
            limit,
            key,
        };
        let own = [
            (
                "attempts",
                fields.attempts.map(u64::from),
                u64::from(limits.attempts),
                "limits.attempts",
            ),
            ("seconds", fields.timeout_s, limits.task_time_s, "limits.task_time"),
            (
                "millionths of a dollar",
                fields.budget_micros,
                limits.task_cost.micros(),
                "limits.task_cost",
            ),
        ];
        for (what, value, limit, key) in own {
            let Some(value) = value else { continue };
            let unlimited = key == "limits.task_cost" && limit == 0;
            let text = if unlimited { "no limit".to_owned() } else { format!("at most {limit}") };
            if value == 0 {
                let refused = rule(what, value.to_string(), text, Verdict::Refuse, key);
                self.fail(refused, format!("with 0 {what} nothing can run"), "");
            } else if value > limit && !unlimited {
                let above = rule(what, value.to_string(), text, Verdict::Report, key);
                self.fail(above, "a task can only tighten its limits; the night's holds", "");
            } else {
                self.pass(rule(what, value.to_string(), text, Verdict::Refuse, key));
            }
        }
        let night = limits.task_cost;
        TaskLimits {
            attempts: fields.attempts.unwrap_or(limits.attempts).min(limits.attempts),
            time_s: fields.timeout_s.unwrap_or(limits.task_time_s).min(limits.task_time_s),
            cost: match fields.budget_micros.map(Usd::from_micros) {
                Some(own) if night == Usd::ZERO || own < night => own,
                Some(_) | None => night,
            },
        }
    }
}

/// True when the task writes only tests or documents, by its `Files` where it has some, else by its title.
fn only_tests_or_docs(task: &Task) -> bool {
    let files = &task.fields.files;
    if files.is_empty() {
        words::writes_only_tests_or_docs(&task.title)
    } else {
        files.iter().all(|file| {
            let path = RepoPath::from(plain(file));
            is_test_or_doc(&path) || (!file.contains('.') && is_test_or_doc(&path.join(b"x")))
        })
    }
}

/// The task's `Files` and its named test, each also as a directory.
fn narrowed(task: &Task) -> Vec<String> {
    let files = &task.fields.files;
    let test = match &task.fields.tests {
        Some(TestsDefined::Yes(Some(path))) if !files.is_empty() => Some(path),
        Some(TestsDefined::Yes(_) | TestsDefined::No | TestsDefined::NotApplicable) | None => None,
    };
    // The path in brackets is prose in many plans ("all of them"): used only where it is a path.
    let test = test.filter(|path| check_glob(plain(path)).is_ok() && !path.contains(' '));
    files
        .iter()
        .chain(test)
        .map(|file| plain(file))
        .filter(|file| globs("", &[(*file).to_owned()], Case::Exact).is_ok())
        .flat_map(|file| {
            let below = (!has_wildcard(file)).then(|| format!("{file}/**"));
            std::iter::once(file.to_owned()).chain(below)
        })
        .collect()
}

/// As people write paths: without `./` before and `/` behind.
fn plain(file: &str) -> &str {
    let file = file.trim();
    file.strip_prefix("./").unwrap_or(file).trim_end_matches('/')
}

fn has_wildcard(glob: &str) -> bool {
    glob.contains(['*', '?', '[', '{'])
}

/// False when two globs have no path in common because they begin with different names.
fn may_overlap(one: &str, other: &str) -> bool {
    for (one, other) in one.split('/').zip(other.split('/')) {
        if has_wildcard(one) || has_wildcard(other) {
            return true;
        }
        if one != other {
            return false;
        }
    }
    one.split('/').count() == other.split('/').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Safety, SectionClass},
        policy::tests::ready,
    };

    fn task(change: impl FnOnce(&mut Task)) -> Task {
        let mut task = ready("Add a parser");
        change(&mut task);
        task
    }

    fn judged(policy: &Policy, task: &Task) -> Admission {
        admit(&RuleSet::new(policy).unwrap(), &Limits::default(), task, &Facts::default())
    }

    /// Rule ids and verdicts of what was not passed.
    fn said(policy: &Policy, task: &Task) -> Vec<(String, Verdict)> {
        judged(policy, task).findings().map(|r| (r.rule.clone(), r.verdict)).collect()
    }

    fn default(change: impl FnOnce(&mut Task)) -> Vec<(String, Verdict)> {
        said(&Policy::default(), &task(change))
    }

    fn one(rule: &str, verdict: Verdict) -> Vec<(String, Verdict)> {
        vec![(rule.to_owned(), verdict)]
    }

    #[test]
    fn a_good_task_is_admitted_and_every_rule_is_listed() {
        let admission = judged(&Policy::default(), &ready("Add a parser"));
        assert!(admission.admitted().is_some());
        let ids: Vec<&str> = admission.rules.iter().map(|applied| applied.rule).collect();
        assert_eq!(
            ids,
            [
                "admission.plan",
                "admission.ready",
                "admission.alignment",
                "admission.lines",
                "admission.tests",
                "admission.words",
                "admission.ask-first",
                "admission.dependencies",
            ]
        );
        let lines = &admission.rules[3];
        assert_eq!((lines.value.as_str(), lines.limit.as_str()), ("10", "at most 30"));
        assert_eq!((&lines.origin, &lines.ruling), (&Origin::Default, &Ruling::Passed));
    }

    #[test]
    fn a_task_with_plan_errors_is_refused() {
        let rules = default(|task| task.errors.push("P004: not a score".into()));
        assert_eq!(rules, one("admission.plan", Verdict::Refuse));
    }

    #[test]
    fn only_a_task_that_is_marked_ready_runs() {
        let pending = default(|task| task.section.class = SectionClass::Pending);
        assert_eq!(pending, one("admission.ready", Verdict::Ask));
        for class in [SectionClass::Never, SectionClass::Other, SectionClass::Done] {
            let rules = default(|task| task.section.class = class);
            assert_eq!(rules, one("admission.ready", Verdict::Refuse), "{class:?}");
        }
        let approved = default(|task| {
            task.section.class = SectionClass::Never;
            task.fields.approved = true;
        });
        assert_eq!(approved, one("admission.ready", Verdict::Refuse));
    }

    #[test]
    fn a_score_below_the_least_one_asks() {
        assert_eq!(default(|task| task.fields.alignment = Some(80)), []);
        let low = default(|task| task.fields.alignment = Some(79));
        assert_eq!(low, one("admission.alignment", Verdict::Ask));
    }

    #[test]
    fn more_lines_than_the_limit_ask() {
        assert_eq!(default(|task| task.fields.estimated_lines = Some(30)), []);
        let many = default(|task| task.fields.estimated_lines = Some(31));
        assert_eq!(many, one("admission.lines", Verdict::Ask));
    }

    #[test]
    fn a_missing_score_and_estimate_follow_their_setting() {
        let bare = task(|task| {
            task.fields.alignment = None;
            task.fields.estimated_lines = None;
        });
        for (missing, verdict) in [
            (Missing::Ask, Some(Verdict::Ask)),
            (Missing::Refuse, Some(Verdict::Refuse)),
            (Missing::Assume, None),
        ] {
            let policy = Policy { missing, ..Policy::default() };
            let expected = verdict.map_or_else(Vec::new, |verdict| {
                [one("admission.alignment", verdict), one("admission.lines", verdict)].concat()
            });
            assert_eq!(said(&policy, &bare), expected);
        }
    }

    #[test]
    fn a_task_that_writes_documents_is_not_asked_for_a_score() {
        let mut documents = ready("Document the retry policy");
        documents.fields.alignment = None;
        documents.fields.estimated_lines = Some(40);
        documents.fields.tests = None;
        let admission = judged(&Policy::default(), &documents);
        assert!(admission.admitted().unwrap().only_tests_or_docs());
        documents.title = "Add a parser".into();
        documents.fields.files = vec!["docs/**".into(), "tests/".into()];
        assert!(judged(&Policy::default(), &documents).admitted().is_some());
        documents.fields.files.push("src/a.rs".into());
        assert!(judged(&Policy::default(), &documents).admitted().is_none());
    }

    #[test]
    fn a_task_without_tests_asks_where_they_are_required() {
        for tests in [None, Some(TestsDefined::No), Some(TestsDefined::NotApplicable)] {
            let without = task(|task| task.fields.tests = tests);
            assert_eq!(said(&Policy::default(), &without), one("admission.tests", Verdict::Ask));
            let optional = Policy { tests: Tests::Optional, ..Policy::default() };
            assert_eq!(said(&optional, &without), []);
        }
    }

    #[test]
    fn a_safety_check_with_a_cross_is_refused_and_a_warning_is_reported() {
        let marked = |mark| {
            default(|task| task.fields.safety = Some(Safety { mark, text: "payment".into() }))
        };
        assert_eq!(marked(SafetyMark::Unsafe), one("admission.safety", Verdict::Refuse));
        assert_eq!(marked(SafetyMark::Caution), one("admission.safety", Verdict::Report));
        assert_eq!(marked(SafetyMark::Safe), []);
    }

    #[test]
    fn forbidden_words_refuse_wherever_the_task_asks_for_them() {
        let expected = one("admission.words", Verdict::Refuse);
        assert_eq!(default(|task| task.title = "Drop table users".into()), expected);
        assert_eq!(default(|task| task.notes = vec!["then delete the old files".into()]), expected);
        assert_eq!(default(|task| task.fields.acceptance = vec!["drops tables".into()]), expected);
        assert_eq!(default(|task| task.title = "Add a drop shadow".into()), []);
    }

    #[test]
    fn words_that_need_a_person_ask() {
        let expected = one("admission.ask-first", Verdict::Ask);
        assert_eq!(default(|task| task.title = "Fix authentication".into()), expected);
        assert_eq!(default(|task| task.title = "Add Stripe webhooks".into()), expected);
        assert_eq!(default(|task| task.title = "Show the author".into()), []);
    }

    #[test]
    fn new_dependencies_ask_unless_their_name_is_approved() {
        let serde = ready("Add dependency serde");
        let expected = one("admission.dependencies", Verdict::Ask);
        assert_eq!(said(&Policy::default(), &serde), expected);
        let policy = Policy { dependencies: vec!["Serde".into()], ..Policy::default() };
        assert_eq!(said(&policy, &serde), []);
        assert_eq!(said(&policy, &ready("Update dependencies")), expected);
    }

    #[test]
    fn approval_frees_what_asks_and_nothing_that_is_refused() {
        let mut asks = ready("Add OAuth login");
        asks.fields.estimated_lines = Some(200);
        assert!(
            matches!(judged(&Policy::default(), &asks).decision, Decision::Waiting(r) if r.len() == 3)
        );
        asks.fields.approved = true;
        let freed = judged(&Policy::default(), &asks);
        assert!(freed.admitted().is_some());
        let freed = freed.rules.iter().filter(|a| matches!(a.ruling, Ruling::Freed(_)));
        assert_eq!(freed.count(), 3);
        asks.title = "Drop table users after login".into();
        let refused = judged(&Policy::default(), &asks).decision;
        assert!(matches!(refused, Decision::Refused(r) if r[0].rule == "admission.words"));
    }

    #[test]
    fn refusals_stand_before_what_only_asks() {
        let both = task(|task| {
            task.fields.alignment = Some(10);
            task.title = "Drop table users".into();
        });
        let Decision::Refused(refusals) = judged(&Policy::default(), &both).decision else {
            panic!("refused")
        };
        let verdicts: Vec<Verdict> = refusals.iter().map(|refusal| refusal.verdict).collect();
        assert_eq!(verdicts, [Verdict::Refuse, Verdict::Ask]);
    }

    #[test]
    fn files_outside_the_rules_are_refused() {
        let named = |file: &str| default(|task| task.fields.files = vec![file.to_owned()]);
        for fine in ["src/a.rs", "src/**", "./src/", "src", "docs/*.md"] {
            assert_eq!(named(fine), [], "{fine}");
        }
        for bad in [
            "config/app.toml",
            "config/**",
            ".github/**",
            "src/.env",
            "/etc/x",
            "../x",
            "CLAUDE.md",
            ".github",
        ] {
            assert_eq!(named(bad), one("admission.files", Verdict::Refuse), "{bad}");
        }
        assert_eq!(named("**/*.rs"), one("admission.files", Verdict::Report));
    }

    #[test]
    fn a_task_tightens_its_limits_and_never_loosens_them() {
        let own = task(|task| {
            task.fields.attempts = Some(1);
            task.fields.timeout_s = Some(99_999);
            task.fields.budget_micros = Some(5);
        });
        let admission = judged(&Policy::default(), &own);
        let limits = admission.admitted().unwrap().limits();
        let expected = TaskLimits { attempts: 1, time_s: 1800, cost: Usd::from_micros(5) };
        assert_eq!(*limits, expected);
        assert!(admission.findings().all(|refusal| refusal.verdict == Verdict::Report));
        let zero = default(|task| task.fields.budget_micros = Some(0));
        assert_eq!(zero, one("admission.limits", Verdict::Refuse));
    }

    #[test]
    fn a_limit_of_no_money_is_tightened_by_any() {
        let own = task(|task| task.fields.budget_micros = Some(7));
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let free = Limits { task_cost: Usd::ZERO, ..Limits::default() };
        let admission = admit(&rules, &free, &own, &Facts::default());
        assert_eq!(admission.admitted().unwrap().limits().cost, Usd::from_micros(7));
    }

    fn depending(id: &str, on: &[&str]) -> Task {
        task(|task| {
            task.id = TaskId::new(id).unwrap();
            task.fields.depends_on = on.iter().map(|id| TaskId::new(*id).unwrap()).collect();
        })
    }

    fn running(tasks: &[Task], done: &[&str]) -> Vec<bool> {
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let done = done.iter().map(|id| TaskId::new(*id).unwrap()).collect();
        let admissions = admit_plan(&rules, &Limits::default(), tasks, &done);
        admissions.iter().map(|admission| admission.admitted().is_some()).collect()
    }

    #[test]
    fn a_task_runs_with_or_after_what_it_needs() {
        assert_eq!(running(&[depending("b", &["a"]), depending("a", &[])], &[]), [true, true]);
        assert_eq!(running(&[depending("b", &["a"])], &["a"]), [true]);
        assert_eq!(running(&[depending("b", &["a"])], &[]), [false]);
        let mut first = depending("a", &[]);
        first.fields.alignment = Some(1);
        assert_eq!(running(&[first, depending("b", &["a"])], &[]), [false, false]);
    }

    #[test]
    fn tasks_that_need_each_other_never_run() {
        assert_eq!(running(&[depending("a", &["b"]), depending("b", &["a"])], &[]), [false, false]);
    }

    #[test]
    fn approval_of_a_task_does_not_finish_another() {
        let mut approved = depending("b", &["a"]);
        approved.fields.approved = true;
        let mut first = depending("a", &[]);
        first.section.class = SectionClass::Pending;
        assert_eq!(running(&[first, approved], &[]), [false, false]);
    }

    #[test]
    fn an_admitted_task_survives_the_journal() {
        let admission =
            judged(&Policy::default(), &task(|t| t.fields.files = vec!["src/a".into()]));
        let admitted = admission.admitted().unwrap();
        let line = serde_json::to_string(admitted).unwrap();
        assert_eq!(serde_json::from_str::<AdmittedTask>(&line).unwrap(), *admitted);
        assert_eq!(
            admitted.files(),
            ["src/a", "src/a/**", "tests/parser.rs", "tests/parser.rs/**"]
        );
    }
}
