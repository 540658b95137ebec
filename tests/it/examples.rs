//! The examples in the repository and in its documents are read by the program as they are printed.

use std::os::unix::fs::PermissionsExt as _;

use nightshift::{
    config::{self, Sandbox, Settings},
    diagnostic::{Diagnostic, Level, Style},
    plan::{self, Plan, Readiness, SectionWords},
    policy::{Decision, Policy, RuleSet, admit_plan},
    prompt::{Level as Weight, Reply},
};

use crate::{
    support::night::TestNight,
    tidy::{read, root},
};

const EXAMPLE: &str = "examples/first-night";

/// Fenced blocks of a language in a Markdown text.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, inside)) = rest.split_once(&format!("\n```{language}\n")) {
        let (block, behind) = inside.split_once("\n```").expect("a fence that is closed");
        blocks.push(format!("{block}\n"));
        rest = behind;
    }
    blocks
}

fn drawn(path: &str, text: &str, found: &[Diagnostic]) -> String {
    found.iter().map(|found| found.render(path, text, Style::Plain)).collect::<Vec<_>>().join("\n")
}

fn settings(path: &str, text: &str) -> Settings {
    let (settings, warnings) = config::parse_repository(path, text)
        .unwrap_or_else(|found| panic!("{}", drawn(path, text, &found)));
    assert!(warnings.is_empty(), "{}", drawn(path, text, &warnings));
    settings
}

/// A plan without a single error.
fn tasks(path: &str, text: &str) -> Plan {
    let (plan, mut found) = plan::parse(text, &SectionWords::default());
    found.retain(|found| found.level == Level::Error);
    assert!(found.is_empty(), "{}", drawn(path, text, &found));
    assert!(!plan.tasks.is_empty(), "{path} has no task");
    plan
}

/// What would become of each task under the built-in rules: `run`, `wait` or `no`.
fn decisions(plan: &Plan) -> Vec<(String, &'static str)> {
    let rules = RuleSet::new(&Policy::default()).expect("the built-in rules compile");
    let limits = Settings::default().limits;
    let admissions = admit_plan(&rules, &limits, &plan.tasks, &std::collections::BTreeSet::new());
    let word = |decision: &Decision| match decision {
        Decision::Admitted(_) => "run",
        Decision::Waiting(_) => "wait",
        Decision::Refused(_) => "no",
    };
    let ids = plan.tasks.iter().map(|task| task.id.to_string());
    ids.zip(admissions.iter().map(|admission| word(&admission.decision))).collect()
}

#[test]
fn the_first_night_is_read_as_its_readme_says() {
    let path = format!("{EXAMPLE}/PROJECT_PLAN.md");
    let plan = tasks(&path, &read(&path));
    let expected = [("temp-1", "run"), ("temp-2", "run"), ("temp-3", "wait"), ("temp-4", "wait")];
    assert_eq!(decisions(&plan), expected.map(|(id, what)| (id.to_owned(), what)));
}

#[test]
fn the_first_night_has_a_gate_and_an_agent() {
    let path = format!("{EXAMPLE}/.nightshift/config.yml");
    let settings = settings(&path, &read(&path));
    assert!(settings.gate.configured);
    for step in &settings.gate.steps {
        for word in step.run.split_whitespace().filter(|word| word.starts_with(".ai-validation")) {
            let file = root().join(EXAMPLE).join(word);
            let mode = std::fs::metadata(&file).expect("the gate's script").permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{word} cannot be executed");
        }
    }
    let path = format!("{EXAMPLE}/nightshift.yml");
    let text = read(&path);
    let user = config::parse_user(&path, &text)
        .unwrap_or_else(|found| panic!("{}", drawn(&path, &text, &found)));
    assert_eq!(user.sandbox, Some(Sandbox::Auto));
    let agent = user.agents.get("scripted").expect("the agent that the README names");
    let script = agent.command.last().expect("a command");
    assert!(root().join(EXAMPLE).join(script).is_file(), "{script}");
}

#[test]
fn the_documents_show_the_settings_that_hold() {
    let text = read("docs/configuration.md");
    let shown = blocks(&text, "yaml");
    assert!(shown.len() >= 2, "the repository's file and the user's file");
    let mut settings = settings("docs/configuration.md", &shown[0]);
    assert!(settings.gate.configured, "the gate is shown");
    // Everything but where it was set is what holds when nothing is set.
    settings.gate.configured = false;
    settings.origins.clear();
    settings.policy.origins.clear();
    let defaults = Settings::default();
    // `policy.protected` adds to the built-in list.
    assert_eq!(settings, defaults);
    for mine in &shown[1..] {
        let user =
            config::parse_user("mine", mine).unwrap_or_else(|found| panic!("{mine}: {found:?}"));
        assert_eq!(user.walls.limits, nightshift::sandbox::Limits::default(), "{mine}");
    }
}

#[test]
fn the_agents_in_the_documents_are_agents() {
    let shown = blocks(&read("docs/agents.md"), "yaml");
    assert_eq!(shown.len(), 2);
    for block in shown {
        let user = config::parse_user("mine", &block)
            .unwrap_or_else(|found| panic!("{}", drawn("docs/agents.md", &block, &found)));
        assert_eq!(user.agents.len(), 1);
        let codex = user.agents.get("codex").map(|agent| agent.command.join(" "));
        assert!(
            codex.is_none_or(|line| line.ends_with("--color never -")),
            "one line, no line end"
        );
    }
}

#[test]
fn the_smallest_agent_of_the_documents_lands_a_task_and_its_reply_is_read() {
    let shown = blocks(&read("docs/agents.md"), "sh");
    let [script] = &shown[..] else { panic!("one script") };
    let ran = TestNight::new().task("t1", "Leave a note").agent(script).run(&[]).exit(0);
    let ran = ran.landed(["t1"]);
    let printed = ran.then().call(&["logs", "t1"]).exit(0).all();
    let reply = Reply::read(&printed).expect("a block that can be read");
    assert_eq!(reply.plan, ["write one file"]);
    assert_eq!(reply.decided(Weight::Low).count(), 1);
}

#[test]
fn the_plans_in_the_documents_are_plans() {
    for path in ["README.md", "docs/plan.md"] {
        let text = read(path);
        let plans = blocks(&text, "markdown");
        assert!(!plans.is_empty(), "{path} shows no plan");
        for shown in &plans {
            let plan = tasks(path, shown);
            assert!(plan.tasks.iter().any(|task| task.readiness() == Readiness::Ready), "{path}");
        }
    }
}

#[test]
fn the_readmes_settings_are_settings() {
    let text = read("README.md");
    let shown = blocks(&text, "yaml");
    assert!(!shown.is_empty());
    for block in shown {
        let user = block.lines().any(|line| line.starts_with("sandbox:"));
        if user {
            assert!(config::parse_user("mine", &block).is_ok(), "{block}");
        } else {
            settings("README.md", &block);
        }
    }
}

/// Codes such as `P001` that stand in a text.
fn codes(text: &str, letter: char) -> std::collections::BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let code = |word: &&str| {
        word.len() == 4
            && word.starts_with(letter)
            && word[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    words.filter(code).map(str::to_owned).collect()
}

#[test]
fn every_message_has_its_line_in_the_documents() {
    let of = |files: &[&str], letter| {
        let texts: String = files.iter().map(|file| read(file)).collect();
        codes(&texts, letter)
    };
    let plan = ["parse", "checks", "draft", "walk"].map(|file| format!("src/plan/{file}.rs"));
    let plan = of(&plan.each_ref().map(String::as_str), 'P');
    assert!(plan.len() > 10);
    assert_eq!(plan, of(&["docs/plan.md"], 'P'));
    let config = of(&["src/config/mod.rs"], 'C');
    assert_eq!(config, of(&["docs/configuration.md"], 'C'));
    assert_eq!(codes("P001, PO02, P12 and xP003", 'P').len(), 1);
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    use nightshift::cli::code;
    let readme = read("README.md");
    let all = [
        code::DONE,
        code::FINDINGS,
        code::USAGE,
        code::REFUSED,
        code::STOPPED,
        code::BUSY,
        code::UNPUBLISHED,
        code::BUG,
        code::INTERRUPTED,
    ];
    for code in all {
        let row = format!("\n| {code} ");
        assert!(readme.contains(&row), "exit code {code} has no row");
    }
}
