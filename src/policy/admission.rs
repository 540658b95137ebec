//! The check of a task's words before the run. The only place that makes an [`AdmittedTask`].
//!
//! Every rule is applied, also after one said no: a person shall see all of it at once. Nothing is read
//! but the values given; what the plan claims about a task is believed here and checked on the diff.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Origin, Refusal, Risk, Verdict,
    judge::{Judge, has_wildcard, plain},
    risk,
    rules::{Case, RuleSet, check_glob, globs, is_test_or_doc},
    words,
};
use crate::{
    budget::{Limits, Usd},
    ids::{RepoPath, TaskId},
    plan::{Readiness, Task, TestsDefined},
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
    #[serde(default)]
    risk: Risk,
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

    /// How much harm its words say that it could do.
    pub fn risk(&self) -> &Risk {
        &self.risk
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
    let mut judge = Judge::new(&rules.policy, task);
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
    let risk = risk::of_task(task, exempt, &rules.policy.risk);
    judge.risk(&risk);
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
            risk,
        })),
        Some(Verdict::Refuse) => Decision::Refused(broken),
        Some(Verdict::Ask | Verdict::Report) => Decision::Waiting(broken),
    };
    Admission { task: task.id.clone(), rules: judge.rules, decision }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Safety, SafetyMark, SectionClass},
        policy::{Missing, Policy, Tests, tests::ready},
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
                "admission.risk",
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
        // Each exemption alone binds the diff.
        let exempt: [fn(&mut Task); 3] = [
            |task| task.fields.alignment = None,
            |task| task.fields.estimated_lines = Some(31),
            |task| task.fields.tests = None,
        ];
        for change in exempt {
            let mut one = ready("Document the retry policy");
            change(&mut one);
            let admission = judged(&Policy::default(), &one);
            assert!(admission.admitted().unwrap().only_tests_or_docs());
        }
        let whole = judged(&Policy::default(), &ready("Document the retry policy"));
        assert!(!whole.admitted().unwrap().only_tests_or_docs());
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
        // Its risk is refused too.
        let dropped = default(|task| task.title = "Drop table users".into());
        assert_eq!(dropped, [expected.clone(), one("admission.risk", Verdict::Refuse)].concat());
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

    /// Decision router of the original request: low runs, medium runs with proof, high asks, critical never
    /// runs. What a medium change's gate score leads to is `night::of_gate`'s to say.
    #[test]
    fn the_level_of_risk_decides_where_a_task_goes() {
        let routed = |title: &str, approved: bool| {
            let mut task = ready(title);
            task.fields.approved = approved;
            judged(&Policy { ask_first: Vec::new(), ..Policy::default() }, &task)
        };
        let low = routed("Query the list of open orders", false);
        assert_eq!(low.admitted().unwrap().risk().score, 0);
        let medium = routed("Update the customer row in the database", false);
        let risk = medium.admitted().unwrap().risk().clone();
        assert_eq!(Policy::default().risk.of(risk.score).1.proof, Some(90));
        let rule = medium.rules.iter().find(|rule| rule.rule == "admission.risk").unwrap();
        assert!(rule.value.contains("lands with a gate score of 90 or more"), "{}", rule.value);
        let mut high = ready("Add a parser");
        high.fields.risk = Some("high".into());
        assert_eq!(said(&Policy::default(), &high), one("admission.risk", Verdict::Ask));
        high.fields.approved = true;
        assert!(judged(&Policy::default(), &high).admitted().is_some());
        for approved in [false, true] {
            let critical = routed("Delete the customer database", approved);
            let Decision::Refused(refusals) = critical.decision else { panic!("{critical:?}") };
            assert_eq!(refusals[0].rule, "admission.risk");
            assert_eq!(refusals[0].limit, "at most 85");
        }
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
        assert_eq!(verdicts, [Verdict::Refuse, Verdict::Refuse, Verdict::Ask]);
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
        // The night's own limit is none that a task could loosen.
        let night = Limits::default();
        assert_eq!(default(|task| task.fields.attempts = Some(night.attempts)), []);
        let more = default(|task| task.fields.attempts = Some(night.attempts + 1));
        assert_eq!(more, one("admission.limits", Verdict::Report));
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

    #[test]
    fn where_the_night_has_no_limit_of_money_none_is_loosened() {
        let limits = Limits { task_cost: Usd::ZERO, ..Limits::default() };
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let of = |limits: &Limits| {
            let own = task(|task| task.fields.budget_micros = Some(9_000_000_000));
            let admission = admit(&rules, limits, &own, &Facts::default());
            let found: Vec<String> = admission.findings().map(|f| f.limit.clone()).collect();
            found
        };
        assert_eq!(of(&limits), [""; 0]);
        let limits = Limits { task_cost: Usd::from_micros(5), ..limits };
        assert_eq!(of(&limits), ["at most 5"]);
    }
}
