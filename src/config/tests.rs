//! Tests of whole files.

mod gate;

use super::*;
use crate::{
    night::Step,
    policy::{Deletion, Missing, Origin, Tests},
};

const FILE: &str = ".nightshift/config.yml";
const MINE: &str = "~/.config/nightshift/nightshift.yml";

fn good(text: &str) -> Settings {
    let (settings, warnings) = parse_repository(FILE, text).unwrap();
    assert_eq!(warnings, [], "{text}");
    settings
}

/// Code, what the caret points at, label, and the number of messages.
fn bad(text: &str) -> (&'static str, &str, String, usize) {
    let found = parse_repository(FILE, text).expect_err(text);
    let first = &found[0];
    (first.code, &text[first.span.clone()], first.label.clone(), found.len())
}

/// As [`bad`], for a file with one error.
fn only(text: &str) -> (&'static str, &str) {
    let (code, caret, _, count) = bad(text);
    assert_eq!(count, 1, "{text}");
    (code, caret)
}

fn help(text: &str) -> String {
    parse_repository(FILE, text).expect_err(text)[0].help.clone().unwrap_or_default()
}

#[test]
fn an_empty_file_means_the_defaults() {
    for text in ["", "\u{feff}", "# nothing\n", "---\n", "version: 1\n", "limits:\npolicy:\n"] {
        let mut settings = good(text);
        settings.origins.clear();
        assert_eq!(settings, Settings::default(), "{text:?}");
    }
}

#[test]
fn the_template_holds_the_defaults() {
    let mut settings = good(include_str!("../../templates/config.yml"));
    assert!(settings.gate.configured);
    settings.gate.configured = false;
    settings.origins.clear();
    settings.policy.origins.clear();
    assert_eq!(settings, Settings::default());
}

#[test]
fn every_setting_is_read() {
    let settings = good(
        "plan:\n  file: notes/plan.md\n  sections:\n    ready: [Go]\n    pending: [Ask]\n    never: [No]\n  update: false\n\
         limits:\n  tasks: 2\n  time: 1h 30m\n  task_time: 90s\n  attempts: 1\n  failures_in_a_row: 0\n  parallel: 1\n  cost: 2.5\n  task_cost: 0\n\
         policy:\n  min_alignment: 70\n  max_estimated_lines: 50\n  max_changed_lines: 200\n  max_file_bytes: 1000\n  tests: optional\n  missing: assume\n  paths:\n    allow: ['lib/**']\n    deny: ['**/.env*']\n    delete: ask\n  protected: ['ci/**']\n  title_words: [nuke]\n  added_lines: ['\\bTODO\\b']\n  ask_first: [money]\n  dependencies: [serde]\n\
         gate:\n  env: [HOME]\n  steps:\n    - {name: unit, run: cargo test, timeout: 5m, weight: 3}\n    - {name: lint, run: cargo clippy, required: false}\n\
         agent:\n  use: mine\n  model: opus\n  context: [docs/guide.md]\n  env: [TZ]\n\
         pr:\n  base: develop\n  draft: always\n  labels: [night]\n  reviewers: [ann, acme/backend]\n",
    );
    assert_eq!(settings.plan.file, PlanFile::Path("notes/plan.md".into()));
    let sections = &settings.plan.sections;
    assert_eq!([&sections.ready[0], &sections.pending[0], &sections.never[0]], ["Go", "Ask", "No"]);
    assert!(!settings.plan.update);
    let limits = crate::budget::Limits {
        tasks: 2,
        time_s: 5400,
        task_time_s: 90,
        attempts: 1,
        failures_in_a_row: 0,
        parallel: 1,
        cost: Usd::from_dollars(2.5),
        task_cost: Usd::ZERO,
        ..crate::budget::Limits::default()
    };
    assert_eq!(settings.limits, limits);
    let policy = &settings.policy;
    assert_eq!(
        [policy.min_alignment, policy.max_estimated_lines, policy.max_changed_lines],
        [70, 50, 200]
    );
    assert_eq!((policy.tests, policy.missing), (Tests::Optional, Missing::Assume));
    assert_eq!((policy.delete, policy.max_file_bytes), (Deletion::Ask, 1000));
    assert_eq!(
        (&policy.allow[..], &policy.deny[..]),
        (&["lib/**".to_owned()][..], &["**/.env*".to_owned()][..])
    );
    let words = [&policy.title_words, &policy.added_lines, &policy.ask_first, &policy.dependencies];
    assert_eq!(words.map(|list| list.join(" ")), ["nuke", "\\bTODO\\b", "money", "serde"]);
    assert!(settings.gate.configured);
    assert_eq!(
        settings.gate.steps,
        [
            Step {
                name: "unit".into(),
                run: "cargo test".into(),
                timeout_s: 300,
                required: true,
                weight: 3,
                junit: None,
            },
            Step {
                name: "lint".into(),
                run: "cargo clippy".into(),
                timeout_s: 1200,
                required: false,
                weight: 1,
                junit: None,
            },
        ]
    );
    assert_eq!(
        (&settings.gate.env[..], &settings.agent.env[..]),
        (&["HOME".to_owned()][..], &["TZ".to_owned()][..])
    );
    assert_eq!(
        (settings.agent.use_.as_str(), settings.agent.model.as_deref()),
        ("mine", Some("opus"))
    );
    assert_eq!(settings.agent.context, ["docs/guide.md"]);
    assert_eq!(
        (settings.pr.base, settings.pr.draft),
        (Base::Branch("develop".into()), Draft::Always)
    );
    assert_eq!(
        (settings.pr.labels, settings.pr.reviewers),
        (vec!["night".into()], vec!["ann".into(), "acme/backend".into()])
    );
}

#[test]
fn values_name_the_line_that_set_them() {
    let settings = good(
        "\u{feff}limits:\r\n  tasks: 2\r\npolicy:\r\n  paths:\r\n    allow:\r\n      - 'a/**'\r\n",
    );
    let file = |line| Origin::File { path: FILE.to_owned(), line };
    assert_eq!(settings.origin("limits.tasks"), file(2));
    assert_eq!(settings.policy.origin("policy.paths.allow"), file(5));
    assert_eq!(settings.origin("policy.paths.allow"), file(5));
    assert_eq!(settings.origin("limits.time"), Origin::Default);
}

#[test]
fn a_script_runs_with_bash_and_a_command_as_it_is() {
    for (text, run) in [
        ("gate: {steps: ci/check.sh}", "bash ci/check.sh"),
        ("gate: {steps: just check}", "just check"),
        ("gate: {steps: ./check.sh --fast}", "./check.sh --fast"),
    ] {
        assert_eq!(good(text).gate.steps[0].run, run);
    }
}

#[test]
fn protected_files_are_added_and_never_taken_away() {
    let settings = good("policy: {protected: ['ci/**']}");
    let protected = settings.policy.protected;
    assert!(protected.contains(&"ci/**".to_owned()));
    assert!(protected.contains(&".nightshift/**".to_owned()));
}

#[test]
fn an_unknown_setting_is_an_error_with_a_suggestion() {
    let (code, caret, label, count) = bad("limits:\n  task: 5\n");
    assert_eq!((code, caret, label.as_str(), count), ("C002", "task", "did you mean `tasks`?", 1));
    assert_eq!(bad("limit: {tasks: 5}").2, "did you mean `limits`?");
    assert_eq!(bad("policy: {deny: []}").2, "did you mean `policy.paths.deny`?");
    assert_eq!(bad("banana: 1").2, "no such setting");
    assert_eq!(only("limits.tasks: 5"), ("C002", "limits.tasks"));
    assert_eq!(help("limits.tasks: 5"), "nest it: `limits: {tasks: …}`");
    assert_eq!(only("gate: {steps: [{name: a, run: b, timout: 5m}]}"), ("C002", "timout"));
}

#[test]
fn a_setting_that_is_not_held_is_an_error() {
    for text in [
        "schedule: {at: '02:00'}",
        "memory: {max_tokens: 1}",
        "agent: {sandbox: required}",
        "pr: {split: task}",
        "pr: {branch: x}",
        "pr: {title: x}",
        "pr: {commit: plain}",
    ] {
        assert_eq!(only(text).0, "C009", "{text}");
    }
    good("pr: {split: night}");
}

#[test]
fn what_a_night_does_about_limits_and_trouble_can_be_set() {
    let settings = good("limits: {turns: 0, tokens: 5000000000, when_rate_limited: stop}");
    let limits = &settings.limits;
    assert_eq!((limits.turns, limits.tokens), (0, 5_000_000_000));
    assert_eq!(limits.when_rate_limited, crate::budget::WhenLimited::Stop);
    assert_eq!(
        good("agent: {retry: [1500ms, 2s, 1m]}").agent.retry_ms,
        [1500, 2000, 60_000],
        "no second is rounded up to"
    );
    assert_eq!(good("agent: {retry: []}").agent.retry_ms, [0; 0]);
    assert_eq!(only("agent: {retry: [2s, 4]}"), ("C007", "4"));
    assert_eq!(only("agent: {retry: 2s}"), ("C004", "2s"));
    assert_eq!(bad("agent: {retry: [2s, soon, never]}").3, 2);
    assert_eq!(only(&format!("agent: {{retry: [{}]}}", ["1s"; 11].join(", "))).0, "C004");
    for text in ["limits: {turns: -1}", "limits: {tokens: many}", "limits: {tokens: 1.5}"] {
        assert_eq!(only(text).0, "C004", "{text}");
    }
    assert_eq!(bad("limits: {when_rate_limited: wai}").2, "did you mean `wait`?");
}

#[test]
fn fallback_is_a_list_of_models_or_says_when_too() {
    for (text, models, at) in [
        ("agent: {fallback: [sonnet, haiku]}", "sonnet haiku", 80),
        ("agent: {fallback: []}", "", 80),
        ("agent: {fallback: {models: [haiku]}}", "haiku", 80),
        ("agent: {fallback: {models: [haiku], at: 95%}}", "haiku", 95),
        ("agent: {fallback: {at: 60}}", "sonnet", 60),
        ("agent: {fallback: {at: off}}", "sonnet", 0),
        ("agent: {fallback: {at: 0}}", "sonnet", 0),
    ] {
        let settings = good(text);
        let fallback = &settings.agent.fallback;
        assert_eq!((fallback.models.join(" ").as_str(), fallback.at), (models, at), "{text}");
        assert_ne!(settings.origin("agent.fallback"), Origin::Default);
    }
    for (text, caret) in [
        ("agent: {fallback: sonnet}", "sonnet"),
        ("agent: {fallback: [--model]}", "--model"),
        ("agent: {fallback: [default]}", "default"),
        ("agent: {fallback: {at: 101%}}", "101%"),
        ("agent: {fallback: {at: '80'}}", "'80'"),
        ("agent: {fallback: {at: never}}", "never"),
        ("agent: {fallback: {at: -1}}", "-1"),
    ] {
        assert_eq!(only(text), ("C004", caret), "{text}");
    }
    assert_eq!(only("agent: {fallback: {model: [x]}}"), ("C002", "model"));
}

#[test]
fn nobody_but_a_person_settles_high_decisions() {
    use crate::policy::Authority;
    let settings = good("policy: {decisions: {low: review, medium: decide, high: ask}}");
    let decisions = settings.policy.decisions;
    assert_eq!((decisions.low, decisions.medium), (Authority::Review, Authority::Decide));
    assert!(matches!(settings.policy.origin("policy.decisions.medium"), Origin::File { .. }));
    assert_eq!(good("").policy.decisions, crate::policy::Authorities::default());
    for word in ["decide", "review"] {
        let text = format!("policy: {{decisions: {{high: {word}}}}}");
        assert_eq!(only(&text), ("C004", word));
        assert!(help(&text).contains("a person's to decide"));
    }
    assert_eq!(only("policy: {decisions: {medium: maybe}}"), ("C004", "maybe"));
    assert_eq!(only("policy: {decisions: {highest: ask}}"), ("C002", "highest"));
}

#[test]
fn a_repository_chooses_no_programs_and_drops_no_walls() {
    assert_eq!(only("agents: {x: {command: [sh]}}"), ("C010", "agents"));
    assert_eq!(only("agent:\n  sandbox: off\n"), ("C010", "sandbox"));
    assert_eq!(only("sandbox: off"), ("C010", "sandbox"));
    assert_eq!(only("sandbox: {read: [/]}"), ("C010", "sandbox"));
    assert_eq!(only("workspaces: pool"), ("C010", "workspaces"));
    assert_eq!(only("keep: {nights: 60}"), ("C010", "keep"));
    assert_eq!(only("notify: [{to: desktop}]"), ("C010", "notify"));
    assert!(help("agents: {}").contains("nightshift/nightshift.yml"));
    assert_eq!(only("agent: {env: [LANG, GITHUB_TOKEN]}"), ("C010", "GITHUB_TOKEN"));
    assert_eq!(only("gate: {env: ['ANTHROPIC_API_KEY*']}"), ("C010", "'ANTHROPIC_API_KEY*'"));
}

#[test]
fn values_of_the_wrong_kind_are_shown_where_they_stand() {
    for (text, caret) in [
        ("limits: {tasks: many}", "many"),
        ("limits: {tasks: 0}", "0"),
        ("limits: {tasks: -1}", "-1"),
        ("limits: {tasks: 1.5}", "1.5"),
        ("limits: {tasks: }", "tasks"),
        ("limits: {tasks: [1]}", "tasks"),
        ("limits: 5", "5"),
        ("policy: {min_alignment: 101}", "101"),
        ("policy: {tests: maybe}", "maybe"),
        ("policy: {paths: {delete: yes}}", "yes"),
        ("policy: {title_words: nuke}", "nuke"),
        ("policy: {title_words: [a, 5]}", "5"),
        ("policy: {title_words: ['']}", "''"),
        ("plan: {update: 1}", "1"),
        ("plan: {file: ../plan.md}", "../plan.md"),
        ("agent: {use: 'rm -rf'}", "'rm -rf'"),
        ("agent: {model: --help}", "--help"),
        ("agent: {context: [/etc/passwd]}", "/etc/passwd"),
        ("agent: {env: ['*']}", "'*'"),
        ("pr: {base: --upload-pack=x}", "--upload-pack=x"),
        ("pr: {base: a..b}", "a..b"),
        ("pr: {draft: alway}", "alway"),
        ("pr: {reviewers: ['@ann']}", "'@ann'"),
        ("gate: {steps: []}", "steps"),
        ("gate: {steps: [cargo test]}", "cargo test"),
        ("gate: {steps: [{run: cargo test}]}", "{"),
        ("gate: {steps: [{name: a/b, run: x}]}", "a/b"),
        ("gate: {steps: [{name: a, run: x}, {name: a, run: y}]}", "{"),
        ("gate: {steps: [{name: a, run: x, required: false}]}", "steps"),
        ("gate: {steps: [{name: a, run: x, weight: 0}]}", "0"),
        ("[1, 2]", "["),
        ("just words", "just words"),
    ] {
        let (code, shown) = only(text);
        assert_eq!(code, "C004", "{text}");
        assert!(shown == caret || shown.starts_with('[') && caret == "[", "{text}: {shown}");
    }
    assert_eq!(bad("policy: {tests: require}").2, "did you mean `required`?");
}

#[test]
fn durations_need_a_unit() {
    assert_eq!(only("limits: {time: 4}"), ("C007", "4"));
    assert_eq!(help("limits: {time: 4}"), "write `4s`, `4m` or `4h`");
    for text in [
        "limits: {time: soon}",
        "limits: {time: 0s}",
        "limits: {time: -4h}",
        "limits: {time: 8760h}",
        "limits: {time: [4h]}",
    ] {
        assert_eq!(only(text).0, "C007", "{text}");
    }
    for (text, seconds) in
        [("4h", 14_400), ("1h 30m", 5400), ("90s", 90), ("1500ms", 2), ("2 hours", 7200)]
    {
        assert_eq!(parse_duration(text), Ok(seconds), "{text}");
    }
    assert!(parse_duration("5").unwrap_err().contains("without a unit"));
}

#[test]
fn money_is_a_number_of_dollars() {
    for text in [
        "limits: {cost: $10}",
        "limits: {cost: -1}",
        "limits: {cost: .nan}",
        "limits: {cost: .inf}",
        "limits: {cost: '10'}",
    ] {
        assert_eq!(only(text).0, "C008", "{text}");
    }
    assert_eq!(good("limits: {cost: 0}").limits.cost, Usd::ZERO);
    assert_eq!(parse_money("2.50"), Ok(Usd::from_micros(2_500_000)));
    for (text, micros) in [
        ("66188.359997", 66_188_359_997),
        ("1.1", 1_100_000),
        ("0.0000001", 1),
        ("1e1", 10_000_000),
    ] {
        assert_eq!(parse_money(text), Ok(Usd::from_micros(micros)), "{text}");
    }
    assert!(parse_money("1e99").is_err() && parse_money("nan").is_err());
}

#[test]
fn globs_and_patterns_are_compiled_at_once() {
    assert_eq!(only("policy:\n  paths:\n    allow: ['src/**', 'a[']\n"), ("C005", "'a['"));
    assert_eq!(only("policy: {paths: {deny: [/src]}}"), ("C005", "/src"));
    assert_eq!(only("policy: {added_lines: ['(']}"), ("C006", "'('"));
}

#[test]
fn all_errors_are_told_at_once_and_in_order() {
    let text = "limits:\n  tasks: x\n  time: 4\nbanana: 1\npr: {split: task}\n";
    let found = parse_repository(FILE, text).unwrap_err();
    let codes: Vec<&str> = found.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["C004", "C007", "C002", "C009"]);
}

#[test]
fn the_example_of_the_manual_is_understood() {
    // The values of the documentation that this version holds.
    good(
        "version: 1\nplan:\n  file: auto\n  sections:\n    ready: [Ready, Tonight]\n    pending: [Pending, Needs approval, Needs review, Proposed]\n    never: [Not ready, Blocked, Backlog, Later]\n  update: true\n\
         policy:\n  tests: required\n  missing: ask\n  paths:\n    deny: ['**/.env*', '**/docker-compose*.y*ml', .github/**, '**/*lock.json']\n    delete: never\n  added_lines: [DROP TABLE, DELETE FROM]\n\
         agent:\n  use: claude\n  model: default\n  context: [CLAUDE.md, AGENTS.md]\n  env: [LANG, TZ, 'CARGO_*']\n\
         pr:\n  base: auto\n  draft: auto\n  labels: [nightshift]\n  reviewers: []\n  split: night\n",
    );
}

#[test]
fn a_newer_file_is_refused() {
    assert_eq!(only("version: 2"), ("C011", "2"));
    assert_eq!(only("version: one"), ("C011", "one"));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    for text in [
        "policy: {paths: {deny: ['x/**']}}",
        "policy: {paths: {allow: ['**']}}",
        "limits: {cost: 1, task_cost: 2}",
        "limits: {time: 10m, task_time: 20m}",
        "agent: {use: mine, fallback: [sonnet]}",
    ] {
        let (_, warnings) = parse_repository(FILE, text).unwrap();
        assert_eq!(warnings.len(), 1, "{text}");
        assert_eq!((warnings[0].level, warnings[0].code), (Level::Warning, "C020"));
    }
}

#[test]
fn the_users_file_names_programs_and_walls() {
    let user =
        parse_user(MINE, "sandbox: off\nagents:\n  mine: {command: [sh, -c, 'x y']}\n").unwrap();
    assert_eq!(user.sandbox, Some(Sandbox::Off));
    assert_eq!(user.agents["mine"].command, ["sh", "-c", "x y"]);
    let nested = parse_user(MINE, "agent: {sandbox: required}").unwrap();
    assert_eq!(nested.sandbox, Some(Sandbox::Required));
    assert_eq!(parse_user(MINE, "").unwrap(), UserSettings::default());
}

#[test]
fn the_users_file_is_checked_like_any_other() {
    for (text, code) in [
        ("sandbox: of", "C004"),
        ("sandbox: off\nagent: {sandbox: auto}", "C004"),
        ("agents: {claude: {command: [x]}}", "C004"),
        ("agents: {'a b': {command: [x]}}", "C004"),
        ("agents: {a: {command: x}}", "C004"),
        ("agents: {a: {command: []}}", "C004"),
        ("agents: {a: {}}", "C004"),
        ("agents: {a: {comand: [x]}}", "C002"),
        ("agents: [a]", "C004"),
        ("plan: {update: false}", "C009"),
        ("limits: {tasks: 0}", "C004"),
        ("limits: {task: 1}", "C002"),
        ("repos: [a]", "C004"),
        ("repos: {work/app: {limits: {tasks: 1}}}", "C004"),
        ("repos: {~/app: {gate: {steps: x}}}", "C002"),
        ("repos: {~/app: {policy: {tests: often}}}", "C004"),
        ("sandbox: {use: t3}", "C004"),
        ("sandbox: {usse: t2}", "C002"),
        ("sandbox: {read: [sdk]}", "C004"),
        ("sandbox: {read: [/]}", "C004"),
        ("sandbox: {read: ['~']}", "C004"),
        ("sandbox: {read: ['~/']}", "C004"),
        ("sandbox: {read: [/a/../..]}", "C004"),
        ("sandbox: {read: /opt}", "C004"),
        ("sandbox: {processes: 5}", "C004"),
        ("sandbox: {memory: 8}", "C004"),
        ("sandbox: {memory: 1MiB}", "C004"),
        ("sandbox: {memory: [1]}", "C004"),
        ("sandbox: {file_size: 0}", "C004"),
        ("sandbox: [auto]", "C004"),
        ("workspaces: pol", "C004"),
        ("keep: {nights: 0}", "C004"),
        ("sandbox: t1\nworkspaces: overlay", "C004"),
        ("banana: 1", "C002"),
        ("agents: {a: {command: [x]}, a: {command: [y]}}", "C003"),
    ] {
        let found = parse_user(MINE, text).expect_err(text);
        assert_eq!((found[0].code, found.len()), (code, 1), "{text}: {found:?}");
    }
}

#[test]
fn a_gate_talks_to_the_hosts_that_are_named_and_to_nobody_by_default() {
    assert!(good("gate: {network: none}").gate.network.is_empty());
    assert!(good("gate: {network: []}").gate.network.is_empty());
    let settings = good("gate: {network: [Registry.NPMJS.org., '*.crates.io', 127.1:5432]}");
    let hosts: Vec<String> = settings.gate.network.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["registry.npmjs.org", "*.crates.io", "127.0.0.1:5432"]);
    assert!(matches!(settings.origin("gate.network"), Origin::File { .. }));
    for (text, caret) in [
        ("gate: {network: all}", "all"),
        ("gate: {network: ['*']}", "'*'"),
        ("gate: {network: [none]}", "none"),
        ("gate: {network: ['https://a.example/x']}", "'https://a.example/x'"),
        ("gate: {network: [a.example, A.example.]}", "A.example."),
        ("gate: {network: [a.example:0]}", "a.example:0"),
    ] {
        assert_eq!(only(text), ("C004", caret), "{text}");
    }
    assert_eq!(bad("gate: {network: ['*.com', 'a b']}").3, 2);
}

#[test]
fn a_set_up_is_a_command_or_several_and_never_guessed() {
    assert!(good("gate: {setup: none}").gate.setup.is_empty());
    let step = |name: &str, run: &str, timeout_s| Step {
        name: name.into(),
        run: run.into(),
        timeout_s,
        required: true,
        weight: 1,
        junit: None,
    };
    assert_eq!(good("gate: {setup: npm ci}").gate.setup, [step("setup-1", "npm ci", 1800)]);
    let settings = good("gate: {setup: [ci/setup.sh, cargo fetch], setup_timeout: 5m}");
    let setup = [step("setup-1", "bash ci/setup.sh", 300), step("setup-2", "cargo fetch", 300)];
    assert_eq!(settings.gate.setup, setup);
    for (text, caret) in [
        ("gate: {setup: auto}", "auto"),
        ("gate: {setup: ''}", "''"),
        ("gate: {setup: [npm ci, 5]}", "5"),
        ("gate: {setup: {run: npm ci}}", "setup"),
    ] {
        assert_eq!(only(text), ("C004", caret), "{text}");
    }
    assert!(help("gate: {setup: auto}").contains("npm ci"));
    assert_eq!(only("gate: {setup: npm ci, setup_timeout: 5}"), ("C007", "5"));
}

#[test]
fn walls_are_described_in_the_users_file() {
    let user = parse_user(
        MINE,
        "sandbox:\n  use: t1\n  read: [/opt/sdk, ~/.cache/models]\n  processes: 500\n  memory: 8GiB\n  disk_reserve: 0\n  file_size: 512 MiB\nworkspaces: pool\n",
    )
    .unwrap();
    assert_eq!((user.sandbox, user.workspaces), (Some(Sandbox::T1), Workspaces::Pool));
    let readable = user.walls.readable(std::path::Path::new("/home/ann"));
    let expected = ["/opt/sdk", "/home/ann/.cache/models"];
    assert_eq!(readable, expected.map(std::path::PathBuf::from));
    let limits = crate::sandbox::Limits {
        processes: 500,
        memory_bytes: 8 << 30,
        disk_reserve: 0,
        file_bytes: 512 << 20,
        ..crate::sandbox::Limits::default()
    };
    assert_eq!(user.walls.limits, limits);
    let some = parse_user(MINE, "sandbox: {memory: 0}\nworkspaces: overlay").unwrap();
    assert_eq!((some.sandbox, some.walls), (None, WallSettings::default()));
    assert_eq!(some.workspaces, Workspaces::Overlay);
    for word in ["t2", "t1", "required", "auto", "off"] {
        assert!(parse_user(MINE, &format!("sandbox: {word}")).unwrap().sandbox.is_some());
    }
}

#[test]
fn sizes_need_a_unit_and_one_that_means_one_thing() {
    for (text, bytes) in
        [("0", 0), ("1KiB", 1024), ("512 MiB", 512 << 20), ("2G", 2 << 30), ("1TiB", 1 << 40)]
    {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in ["8", "8GB", "8gib", "-1G", "1.5G", "G", "", "2000TiB", "99999999999999999999K"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    assert!(parse_size("8").unwrap_err().contains("8GiB"));
}

#[test]
fn only_one_of_the_two_files_may_exist() {
    assert_eq!(choose::<()>(None, None), Ok(None));
    assert_eq!(choose(Some(1), None), Ok(Some((".nightshift/config.yml".to_owned(), 1))));
    assert_eq!(choose(None, Some(2)), Ok(Some((".github/nightshift.yml".to_owned(), 2))));
    let error = choose(Some(1), Some(2)).unwrap_err();
    assert!(error.to_string().contains("keep one of them"));
}

#[test]
fn a_file_that_is_not_text_is_an_error_with_its_place() {
    let bytes = b"limits:\n  tasks: \xff\n";
    let error = &decode(bytes).unwrap_err()[0];
    let shown = String::from_utf8_lossy(bytes);
    assert!(shown[error.span.start..].starts_with('\u{fffd}'));
    assert_eq!(decode("é".as_bytes()), Ok("é"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "([a-z]{1,6}|limits|policy|gate|steps|paths|allow|tasks|[:\\-\\[\\]{},#&*!|>'\"%@`?é\u{feff}\t\r\n 0-9]){0,40}") {
        for found in [parse_repository(FILE, &text).err(), parse_user(MINE, &text).err()].into_iter().flatten().flatten() {
            proptest::prop_assert!(text.get(found.span.clone()).is_some(), "{found:?}");
        }
    }
}

#[test]
fn every_key_can_be_asked_for_by_a_name_that_is_near() {
    for key in keys() {
        assert_eq!(nearest_key(key), Some(key));
    }
    assert_eq!(nearest_key("limits.task"), Some("limits.tasks"));
    assert_eq!(nearest_key("banana"), None);
}
