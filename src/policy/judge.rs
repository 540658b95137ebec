//! The rules of admission, one method each.
//!
//! A rule says passed or no, and never stops the others.

use super::{
    Applied, Does, Facts, Missing, Policy, Refusal, Risk, Ruling, Severity, TaskLimits, Tests,
    Verdict,
    rules::{RuleSet, check_glob, matches},
    words::{self, Dependencies, Reach},
};
use crate::{
    budget::{Limits, Usd},
    ids::{RepoPath, TaskId},
    plan::{Readiness, SafetyMark, Task, TestsDefined},
};

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

/// Applies rules to one task and keeps what each said.
pub(super) struct Judge<'a> {
    policy: &'a Policy,
    task: &'a Task,
    approved: bool,
    pub(super) rules: Vec<Applied>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(policy: &'a Policy, task: &'a Task) -> Judge<'a> {
        Judge { policy, task, approved: task.fields.approved, rules: Vec::new() }
    }

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

    pub(super) fn plan(&mut self) {
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

    pub(super) fn ready(&mut self) {
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
            // The plan's error is named by its own rule.
            Readiness::NotReady(why) if self.task.errors.first() == Some(&why) => {}
            Readiness::NotReady(why) => {
                self.fail(rule(&why, Verdict::Refuse), "the plan does not mark it ready", "");
            }
        }
    }

    /// Answers whether the rule passed only because the task writes nothing but tests or documents.
    pub(super) fn alignment(&mut self, exempt: bool) -> bool {
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
    pub(super) fn lines(&mut self, exempt: bool) -> bool {
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
    pub(super) fn tests(&mut self, exempt: bool) -> bool {
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
                Tests::Required | Tests::Proven => "defined".to_owned(),
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

    pub(super) fn safety(&mut self) {
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

    pub(super) fn words(&mut self) {
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
            let reach = if verdict == Verdict::Refuse { Reach::Everything } else { Reach::Subject };
            let found = words::find(self.task, reach, phrases);
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

    pub(super) fn dependencies(&mut self) {
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

    pub(super) fn order(&mut self, facts: &Facts) {
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

    pub(super) fn files(&mut self, rules: &RuleSet) {
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

    /// Where the score of its words leads: a task runs, waits for a person, or never runs unattended.
    pub(super) fn risk(&mut self, risk: &Risk) {
        let (level, band) = self.policy.risk.of(risk.score);
        let limit = |does| self.policy.risk.below(does);
        let (verdict, limit) = match band.does {
            Does::Run => (Verdict::Ask, limit(Does::Ask)),
            Does::Ask => (Verdict::Ask, limit(Does::Ask)),
            Does::Block => (Verdict::Refuse, limit(Does::Block)),
        };
        let proof = match (band.does, band.proof) {
            (Does::Run, Some(least)) => format!("; lands with a gate score of {least} or more"),
            _ => String::new(),
        };
        let rule = Rule {
            id: "admission.risk",
            severity: Severity::High,
            verdict,
            value: format!("{level}, {}{proof}", risk.in_words()),
            limit,
            key: level.key(),
        };
        match band.does {
            Does::Run => self.pass(rule),
            Does::Ask => {
                let message = format!("its risk is {level} ({})", risk.score);
                self.fail(rule, message, "approve it, or cut it into safer tasks");
            }
            Does::Block => {
                let message =
                    format!("its risk is {level} ({}): it never runs unattended", risk.score);
                self.fail(rule, message, "do it by hand");
            }
        }
    }

    /// The tighter of the night's limits and the task's own.
    pub(super) fn limits(&mut self, limits: &Limits) -> TaskLimits {
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

/// As people write paths: without `./` before and `/` behind.
pub(super) fn plain(file: &str) -> &str {
    let file = file.trim();
    file.strip_prefix("./").unwrap_or(file).trim_end_matches('/')
}

pub(super) fn has_wildcard(glob: &str) -> bool {
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
