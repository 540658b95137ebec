//! The morning after a usual night: four landed, one failed, one refused, one not started.

use super::{inert::page, *};
use crate::{
    night::RefusedTask,
    outcome::{CanaryTry, GateProof},
    policy::{Factor, Risk, TestDelta},
};

/// The tasks of the night, in their order.
const TASKS: [(&str, &str); 6] = [
    ("task_3", "Add User model with email and password fields"),
    ("task_5", "Add password hashing function"),
    ("task_8", "Docstrings for the billing package"),
    ("task_9", "Retry the SMTP send with back-off"),
    ("task_6", "Validate the e-mail address at sign-up"),
    ("task_11", "Split the report exporter"),
];

fn seen(factors: &[(&str, i32, &str)]) -> Inspection {
    let factor = |(name, points, why): &(&str, i32, &str)| Factor {
        name: (*name).to_owned(),
        points: *points,
        why: (*why).to_owned(),
    };
    let mut factors: Vec<Factor> = factors.iter().map(factor).collect();
    factors.push(factor(&("effect", 25, "changes files of the repository")));
    let score = factors.iter().map(|factor| factor.points).sum::<i32>().unsigned_abs();
    let delta = TestDelta {
        path: "tests/test_a.py".into(),
        tests: (2, 4),
        assertions: (3, 7),
        skipped: (0, 0),
        separable: true,
    };
    Inspection { risk: Risk { score, factors }, tests: vec![delta], ..Inspection::default() }
}

fn red(story: &Story, also: &str) -> Failure {
    let mut report = gate(story.night.tip(), &TreeId::new(hash(90)).unwrap());
    report.steps[0].ended = StepEnd::Exit(1);
    report.steps[0].millis = 46_000;
    let signup = "tests/test_signup.py::test_signup_rejects_idn";
    report.failing_tests = vec![signup.into(), format!("tests/test_signup.py::{also}")];
    Failure::Gate(Box::new(report))
}

/// Task `a` fails at a gate, and its second try makes the same work again.
fn made_again() -> Story {
    let mut story = Story::new(|_| {});
    let failure = red(&story, "test_one");
    story.fails("a", agent(AgentEnd::Finished), failure);
    story.fails("a", agent(AgentEnd::Finished), Failure::NoProgress { like: 1 });
    story
}

#[test]
fn work_that_was_made_again_is_told_by_what_was_wrong_with_it() {
    let story = made_again();
    let why = "gate red: quality exit 1: tests/test_signup.py::test_signup_rejects_idn, \
               tests/test_signup.py::test_one; try 2 made exactly the same, so there was no further one";
    let task = story.night.task(&TaskId::new("a").unwrap()).unwrap();
    assert_eq!(why_of(task, task.failed().unwrap()), why);
    let shown = summary(&story.night, story.now(), false);
    holds(&shown, &[why]);
    holds(&annotations(&story.night)[0], &[why]);
    let body = pull_request(&story.night).body;
    holds(
        &body,
        &[
            "2 tries: gate red: quality exit 1: ",
            "| the agent made again exactly what try 1 had made: no further try |",
            "The gate's last run:",
            "failed: tests/test_signup.py::test_one",
        ],
    );
}

#[test]
fn the_end_of_a_red_log_is_quoted_where_it_cannot_leave_its_fence() {
    let night = made_again().night;
    assert_eq!(quoted_logs(&night), ["gate/1.log"]);
    let mut log = (0..40).fold(String::new(), |log, line| format!("{log}line {line}\n"));
    log.push_str("```\n</details>\n@team \u{1b}[31mE assert 1 == 2\n");
    let of = |log: &str| {
        let logs = Logs::from([("gate/1.log".to_owned(), log.to_owned())]);
        pull_request_with(&night, &logs).body
    };
    let body = of(&log);
    let (_, part) = body.split_once("The end of the log of `quality`:\n\n").unwrap();
    assert!(part.starts_with("````text\nline 13\n"), "{part}");
    holds(part, &["\n```\n", "@\u{200b}team", "E assert 1 == 2\n````\n"]);
    assert!(!body.contains('\u{1b}') && !body.contains("line 12\n"), "{body}");
    let long = of(&"x".repeat(9_000));
    assert!(long.len() < of("x").len() + 2_100, "{}", long.len());
    assert!(!of(" \n").contains("The end of the log"));
}

#[test]
fn ten_tasks_fit_on_the_first_screen_and_findings_go_on_in_a_folded_part() {
    let words = ["auth", "security", "password", "credential", "payment", "crypto"].join(", ");
    let four = ["task_4", "task_21", "task_22", "task_23"]
        .map(|id| {
            let mut refused = refused();
            refused.id = TaskId::new(id).unwrap();
            refused.refusals[0].limit = format!("none of: {words}, {words}");
            refused
        })
        .to_vec();
    let body = pull_request(&usual_with(Some("https://github.com/acme/billing"), four).night).body;
    let first = body.split("<details>").next().unwrap();
    let visible = page(first).text();
    assert!(visible.chars().count() < 2_500, "{}: {visible}", visible.chars().count());
    holds(&body, &["task\\_23", "limit none of: auth, security, password, cred… "]);
    let mut story = Story::new(|_| {});
    let finding = |number: u32| Refusal {
        rule: "inspection.weaker-tests".into(),
        verdict: Verdict::Report,
        value: format!("tests/{number}.rs"),
        ..refused().refusals[0].clone()
    };
    story.seen.findings = (0..13).map(finding).collect();
    story.lands("a", agent(AgentEnd::Finished), None);
    let body = pull_request(&story.night).body;
    holds(&body, &["<summary>and 3 more findings</summary>", "tests/12.rs"]);
    assert!(!body.split("<details>").next().unwrap().contains("tests/10.rs"));
}

#[test]
fn whoever_is_asked_to_approve_is_told_what_to_type() {
    let mut opening = usual().night.opening().clone();
    opening.refused[0].refusals[0].verdict = Verdict::Ask;
    opening.refused[0].refusals[0].rule = "admission.alignment".into();
    opening.refused[0].refusals[0].help = Some("approve it, or cut *it*".into());
    let body = pull_request(&Night::open(opening)).body;
    holds(&body, &["| `nightshift approve 'task_4'`, or cut \\*it\\* ("]);
}

#[test]
fn what_never_left_this_machine_is_checked_without_fetching_it() {
    let fetched = |push, remote: Option<&str>| {
        let mut opening = usual().night.opening().clone();
        opening.publish.push = push;
        opening.publish.remote = remote.map(str::to_owned);
        pull_request(&Night::open(opening)).body
    };
    let branch = "nightshift/2026-11-21";
    holds(&fetched(true, Some("r")), &["git fetch origin ", "..FETCH_HEAD |"]);
    for (push, remote) in [(false, Some("r")), (true, None)] {
        let body = fetched(push, remote);
        assert!(!body.contains("git fetch"), "{body}");
        holds(&body, &["```sh\ngit log ", &format!("..{branch} |")]);
    }
}

fn refused() -> RefusedTask {
    RefusedTask {
        id: TaskId::new("task_4").unwrap(),
        title: "Implement the login endpoint".into(),
        line: 41,
        verdict: Verdict::Refuse,
        refusals: vec![Refusal {
            rule: "admission.files".into(),
            verdict: Verdict::Refuse,
            severity: Severity::High,
            message: "`src/auth/routes/login.py` may not be changed".into(),
            value: "src/auth/routes/login.py".into(),
            limit: "src/, tests/, docs/".into(),
            origin: Origin::Default,
            help: Some("name other files in it, or leave it".into()),
        }],
    }
}

/// The night of the design's mock-up, as its facts.
fn usual() -> Story {
    usual_at(Some("https://github.com/acme/billing"))
}

fn usual_at(web: Option<&str>) -> Story {
    usual_with(web, vec![refused()])
}

fn usual_with(web: Option<&str>, refused: Vec<RefusedTask>) -> Story {
    let plan = TASKS.map(|(id, _)| {
        format!(
            "- [ ] **[{id}]** Do it\n  - Alignment: 95\n  - Estimated lines: 9\n  - Tests: yes\n"
        )
    });
    let mut story = Story::of(&plan.concat(), |opening| {
        // Words that the rules would ask a person about, who then said yes.
        let mut tasks = serde_json::to_value(&opening.tasks).unwrap();
        for (at, (_, title)) in TASKS.into_iter().enumerate() {
            tasks[at]["task"]["title"] = title.into();
        }
        opening.tasks = serde_json::from_value(tasks).unwrap();
        opening.plan.path = "PROJECT_PLAN.md".into();
        opening.plan.working_tree = false;
        opening.limits.tasks = 5;
        opening.limits.cost = Usd::from_dollars(5.0);
        opening.gate.steps[0].run = ".ai-validation/check_quality.sh".into();
        opening.gate.canary = Canary::Auto;
        opening.agent.walls = "t2".into();
        opening.publish.push = true;
        opening.publish.web = web.map(str::to_owned);
        opening.refused = refused;
    });
    let tried = CanaryTry {
        what: "a syntax error in src/billing.py".into(),
        tree: TreeId::new(hash(80)).unwrap(),
        red_steps: vec!["quality".into()],
        logs: "gate/canary/1".into(),
    };
    story.tell(Event::Began(Command::ProveGate {
        commit: story.night.tip().clone(),
        tree: TreeId::new(hash(2)).unwrap(),
    }));
    let proof = GateProof { gate: gate_id(), tries: vec![tried], reused: false };
    story.tell(Event::GateProven { proof });
    let spent = |usd: f64| AgentReport {
        spent: Spend { usd: Usd::from_dollars(usd), ..Spend::default() },
        model: Some("claude-sonnet".into()),
        ..agent(AgentEnd::Finished)
    };
    (story.size, story.gated) = ((46, 0), (48_000, Some(216)));
    story.seen = seen(&[("schema", 20, "src/models/schema.py")]);
    story.lands("task_3", spent(0.41), None);
    let failure = red(&story, "test_hash");
    story.fails("task_5", spent(0.30), failure);
    (story.size, story.gated) = ((31, 2), (51_000, Some(218)));
    story.seen = seen(&[("authentication", 20, "src/auth/hash.py")]);
    story.lands("task_5", spent(0.48), None);
    (story.size, story.gated) = ((58, 6), (49_000, Some(218)));
    story.seen = seen(&[("harmless", -20, "only tests or documents changed")]);
    story.lands("task_8", spent(0.22), None);
    (story.size, story.gated) = ((40, 9), (55_000, Some(221)));
    story.seen = seen(&[("untested", 6, "no test beside the code changed with it")]);
    story.lands("task_9", spent(0.63), None);
    for also in ["test_one", "test_two", "test_three"] {
        let failure = red(&story, also);
        story.fails("task_6", spent(0.77), failure);
    }
    story
}

#[test]
fn the_first_screen_of_a_usual_night_is_short_and_says_what_to_do() {
    let pr = pull_request(&usual().night);
    assert_eq!(pr.title, "nightshift 2026-11-21: 4 of 7 tasks (+175 −17)");
    holds(
        &pr.body,
        &[
            "**4 commits to review, about 10 minutes.** 1 task failed, 1 was refused, 1 was not started or not \
             finished. Base `main@0000000`, 02:00–02:",
            "UTC, $4.35 of $5.00.",
            "| 2 | **task\\_5** Add password hashing function | **medium**: security code (`src/auth/hash.py`); \
             passed on the 2nd try | +31&nbsp;−2 | pass,&nbsp;51s,&nbsp;218&nbsp;tests | 0000000 |",
            "\nRead in this order: 2 → 1 → 4 → 3 (riskiest first).\n",
            "- [ ] <!-- nightshift:retry=task_6 --> try task\\_6 again in the next night\n",
            "(https://github.com/acme/billing/edit/main/PROJECT_PLAN.md#L41)",
            "| not counted → 221 ran;",
            "  task_task_5.1 :crit, 2026-11-21T02:",
            "| task\\_9 | claude-sonnet | 1 | $0.63 | $0.013 |",
        ],
    );
    let ids = ["task_6", "task_3"].map(|id| TaskId::new(id).unwrap());
    let ticked = pr.body.replace("- [ ] <!--", "- [x] <!--");
    assert_eq!(boxes::ticked(&ticked, &ids), [&ids[0]]);
    let first = pr.body.split("<details>").next().unwrap();
    let visible = page(first).text();
    assert!(visible.chars().count() < 2_500, "{}: {visible}", visible.chars().count());
    assert!(!pr.body.contains("<sub>"));
    let emoji = |c: &char| ('\u{2600}'..='\u{27bf}').contains(c) || *c >= '\u{1f000}';
    assert_eq!(pr.body.chars().find(emoji), None);
}

#[test]
fn where_no_box_can_be_ticked_there_is_none_and_the_plan_is_named() {
    let night = usual().night;
    assert!(!job_summary(&night, 900_000).contains("- [ ]"));
    let body = pull_request(&usual_at(None).night).body;
    assert!(!body.contains("- [ ]") && body.contains("`PROJECT_PLAN.md:41`"), "{body}");
    assert!(!body.contains("https://"), "{body}");
}

#[test]
fn a_text_that_is_too_long_is_cut_between_its_parts_and_says_what_is_missing() {
    let mut opening = usual().night.opening().clone();
    opening.refused = (0..400)
        .map(|number| RefusedTask {
            id: TaskId::new(format!("t{number}")).unwrap(),
            title: "a title ".repeat(40),
            ..refused()
        })
        .collect();
    let night = Night::open(opening);
    let body = pull_request(&night).body;
    assert!(body.chars().count() <= 60_000, "{}", body.chars().count());
    let left_out = "**Left out, because it did not fit here**: what did not land.";
    holds(&body, &[left_out, "Guards", "Written by"]);
    assert_eq!(body.matches("<details>").count(), body.matches("</details>").count());
    let summary = job_summary(&night, 900_000);
    holds(&summary, &["**t399**", "and 396 more tasks"]);
    assert!(!summary.contains("Left out"));
}

#[test]
fn what_a_person_must_see_first_is_annotated_first_and_the_rest_is_counted() {
    let night = usual().night;
    let lines = annotations(&night);
    let path = "file=PROJECT_PLAN.md,line=";
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with(&format!("::error {path}")), "{lines:#?}");
    assert!(lines[0].contains(",title=task_6 failed::Validate the e-mail address at sign-up: "));
    let warned =
        format!("::warning {path}41,title=task_4 was refused::Implement the login endpoint: ");
    assert!(lines[1].starts_with(&warned), "{lines:#?}");
    assert!(lines[2].starts_with("::notice title=4 commits landed::"), "{lines:#?}");
    let mut opening = night.opening().clone();
    opening.refused = vec![refused(); 30];
    let lines = annotations(&Night::open(opening));
    assert_eq!(lines.len(), 10, "a step shows ten: {lines:#?}");
    assert!(lines[9].contains("and 21 more in the summary"), "{lines:#?}");
}

#[test]
fn what_runs_by_itself_comes_first_and_what_is_only_reported_is_shown() {
    let said = |rule: &str, value: &str, message: &str| Refusal {
        rule: rule.into(),
        verdict: Verdict::Report,
        severity: Severity::High,
        message: message.into(),
        value: value.into(),
        limit: "x".into(),
        origin: Origin::Default,
        help: None,
    };
    let mut story = Story::new(|_| {});
    story.seen.findings = vec![
        said("inspection.weaker-tests", "tests/a.rs", "the new test `b` is skipped"),
        said("inspection.runs-code", "tests/conftest|.py", "it runs on your machine"),
    ];
    story.lands("a", agent(AgentEnd::Finished), None);
    let body = pull_request(&story.night).body;
    let mut lines = body.lines().skip(1);
    assert!(
        lines.next().is_some_and(|line| line.starts_with("**Runs code on your machine**")),
        "{body}"
    );
    holds(
        &body,
        &[
            "<code>tests/conftest&vert;.py</code>",
            "**Worth a look**",
            "is skipped",
            "inspection.weaker-tests",
        ],
    );
    let first = body.find("conftest").unwrap();
    assert!(
        first < body.find("to review").unwrap() && !body[first + 8..].contains("conftest"),
        "{body}"
    );
    let plain = Story::new(|_| {});
    assert!(!pull_request(&plain.night).body.contains("Runs code"));
}
