//! The people's side through the real program, on real repositories, in an environment of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(clippy::disallowed_methods, reason = "tests set up their place themselves")]

mod linter;
mod past;
mod settings;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command as Program,
    time::{Duration, Instant},
};

use nightshift::{
    diagnostic::Style,
    journal::{Holder, Lock, Locking},
    runner::{
        places::Surroundings,
        prepare::{Preparation, Request},
    },
};
use past::Past;
use serde_json::Value;

const PLAN: &str = "\
### Ready for Autonomous Execution

→ **[task_1]** Add a greeting
  - Alignment score: 95/100
  - Estimated lines: 10
  - Tests defined: yes (tests/greeting.sh)
  - Status: READY

→ **[task_2]** Add a farewell
  - Alignment score: 92/100
  - Estimated lines: 12
  - Tests defined: yes (tests/farewell.sh)
  - Depends on: task_1
  - Status: READY

→ **[task_3]** Add a cache for everything
  - Alignment score: 95/100
  - Estimated lines: 41
  - Tests defined: yes (tests/cache.sh)
  - Status: READY

### Pending Approval

→ **[task_4]** Add a colour
  - Status: PENDING

### Not Ready

→ **[task_5]** Choose a name
  - Status: BLOCKED
";

const CONFIG: &str = "version: 1\ngate:\n  steps: check.sh\nagent:\n  use: demo\n";

struct Scene {
    directory: tempfile::TempDir,
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The one object on standard output, whose envelope names `schema`.
    fn data(&self, schema: &str) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(value["schema"], format!("nightshift.{schema}/1"));
        value["data"].clone()
    }

    #[track_caller]
    fn holds(&self, words: &[&str]) -> &Ran {
        for word in words {
            assert!(
                self.stdout.contains(word),
                "no {word:?} in:\n{}\n{}",
                self.stdout,
                self.stderr
            );
        }
        self
    }
}

impl Scene {
    /// A repository with a commit, and a home of its own.
    fn empty() -> Scene {
        let scene = Scene { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.home()).unwrap();
        fs::create_dir(scene.repository()).unwrap();
        scene.own_file("");
        scene.git(&["init", "--quiet", "--initial-branch=main"]);
        scene.write("README.md", "# A project\n");
        scene.commit("begin");
        scene
    }

    /// A repository that a night could work on.
    fn ready() -> Scene {
        let scene = Scene::empty();
        scene.write("PROJECT_PLAN.md", PLAN);
        scene.write("check.sh", "true\n");
        scene.write(".nightshift/config.yml", CONFIG);
        scene.commit("configure");
        scene
    }

    /// The user's own file. The gates here can fail at nothing: none of these tests is about them.
    fn own_file(&self, more: &str) {
        let directory = self.home().join(".config/nightshift");
        fs::create_dir_all(&directory).unwrap();
        let text = format!("gate: {{canary: off, flaky_reruns: 0}}\n{more}");
        fs::write(directory.join("nightshift.yml"), text).unwrap();
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn repository(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let path = std::env::var("PATH").unwrap();
        let mut environment = BTreeMap::from([
            ("HOME".to_owned(), self.home().display().to_string()),
            ("PATH".to_owned(), path),
            ("USER".to_owned(), "ann".to_owned()),
            ("TZ".to_owned(), "UTC".to_owned()),
            ("COLUMNS".to_owned(), "1000".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
            ("DEPLOY_TOKEN".to_owned(), "s3cret-of-this-machine".to_owned()),
        ]);
        for who in ["AUTHOR", "COMMITTER"] {
            environment.insert(format!("GIT_{who}_NAME"), "Ann".to_owned());
            environment.insert(format!("GIT_{who}_EMAIL"), "ann@example.org".to_owned());
        }
        environment
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Program::new("git");
        git.args(arguments).current_dir(self.repository()).env_clear().envs(self.environment());
        let output = git.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", message]);
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_in(&self.repository(), arguments)
    }

    fn run_in(&self, directory: &Path, arguments: &[&str]) -> Ran {
        let mut program = Program::new(env!("CARGO_BIN_EXE_nightshift"));
        program.args(arguments).current_dir(directory).env_clear().envs(self.environment());
        let output = program.output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings::new(self.environment(), env!("CARGO_BIN_EXE_nightshift").into()).unwrap()
    }

    fn preparation(&self) -> Preparation {
        let request = Request {
            repository: self.repository(),
            base: None,
            tasks: Vec::new(),
            overrides: Vec::new(),
            style: Style::Plain,
        };
        Preparation::read(&self.surroundings(), &request).unwrap()
    }
}

#[test]
fn check_says_what_would_run_and_why_the_rest_would_not() {
    let scene = Scene::ready();
    let ran = scene.run(&["check"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.holds(&[
        "PROJECT_PLAN.md (working tree) · base main@",
        ".nightshift/config.yml",
        "WOULD RUN 2 ",
        "  1  task_1",
        "  2  task_2",
        "WOULD NOT RUN 3",
        "?   task_3  it is estimated at 41 lines, and the limit is 30",
        "admission.lines: limit at most 30, built in; split it, or",
        "`nightshift approve 'task_3'`",
        "--  task_4",
        "waits for approval",
        "--  task_5",
        "gate: bash check.sh",
        "canary: off (the own file of this machine's owner); the pull request says so",
        "agent: demo",
    ]);
    assert!(ran.stdout.ends_with("next: nightshift run\n"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    // What is free on the disk is another moment's.
    let told = |ran: &Ran| -> Vec<String> {
        ran.stdout.lines().filter(|line| !line.starts_with("disk: ")).map(str::to_owned).collect()
    };
    assert_eq!(told(&scene.run(&["run", "--dry-run"])), told(&ran));
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn check_explains_every_rule_with_its_origin() {
    let scene = Scene::ready();
    scene.write(
        ".nightshift/config.yml",
        &format!("{CONFIG}policy:\n  max_estimated_lines: 20\nlimits:\n  tasks: 1\n"),
    );
    scene.commit("stricter");
    let ran = scene.run(&["check", "-t", "task_3", "--explain"]);
    ran.holds(&["task_3 · Add a cache for everything · line 16 · would not run: waits"]);
    ran.holds(&["ask     admission.lines", "limit: at most 20 (.nightshift/config.yml:7)"]);
    ran.holds(&["pass    admission.alignment", "(built in)"]);
    assert!(!ran.stdout.contains("task_1"), "{}", ran.stdout);
    let whole = scene.run(&["check"]);
    whole.holds(&["WOULD RUN 1 of 2", "the limit is 1 task a night (.nightshift/config.yml:9)"]);
}

#[test]
fn check_as_json_holds_tasks_rules_and_notes() {
    let scene = Scene::ready();
    scene.write("notes.txt", "mine\n");
    let data = scene.run(&["check", "--json"]).data("check");
    assert_eq!(data["tasks"][1]["fate"], "run");
    assert_eq!(data["tasks"][1]["place"], 2);
    assert_eq!(data["tasks"][2]["fate"], "ask");
    assert_eq!(data["tasks"][2]["rules"][3]["limit"], "at most 30");
    assert_eq!(data["gate"]["steps"][0]["run"], "bash check.sh");
    let notes = data["notes"].to_string();
    assert!(notes.contains("1 uncommitted file"), "{notes}");
}

#[test]
fn check_says_what_is_set_up_and_whether_the_disk_has_the_room() {
    let scene = Scene::ready();
    let plain = scene.run(&["check"]);
    plain.holds(&["\ndisk: a night takes about ", " are free\n"]);
    assert!(!plain.stdout.contains("set-up:"), "{}", plain.stdout);
    let data = scene.run(&["check", "--json"]).data("check");
    assert!(data["disk"]["needed"].as_u64().unwrap() > 0 && data["disk"]["problem"].is_null());
    assert_eq!(data["gate"]["setup"].as_array().unwrap().len(), 0);
    scene.write(
        ".nightshift/config.yml",
        "version: 1\ngate: {setup: [npm ci, make deps], steps: make check}\nagent: {use: demo}\n",
    );
    scene.commit("set up");
    let user = scene.home().join(".config/nightshift");
    fs::create_dir_all(&user).unwrap();
    fs::write(user.join("nightshift.yml"), "sandbox: {use: off, disk_reserve: 900000 GiB}\n")
        .unwrap();
    let ran = scene.run(&["check"]);
    ran.holds(&[
        "\nset-up: npm ci · make deps (before the base's gate, with your network)\ngate: make check\n",
        "\ndisk: too little: this night needs about 900000.",
        "set XDG_CACHE_HOME",
        "next: make room on the disk, then nightshift run",
    ]);
    assert_eq!((ran.code, scene.run(&["check", "--strict"]).code), (0, 1));
}

#[test]
fn check_tells_wrong_use_from_findings() {
    let scene = Scene::ready();
    let ran = scene.run(&["check", "-t", "task_11"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("there is no task `task_11`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("did you mean `task_1`?"), "{}", ran.stderr);
    scene.write("PROJECT_PLAN.md", &PLAN.replace("95/100", "many"));
    let wrong = scene.run(&["check"]);
    assert_eq!(wrong.code, 1, "{}", wrong.stdout);
    assert!(wrong.stderr.contains("error[P004]"), "{}", wrong.stderr);
    assert_eq!(scene.run(&["check", "-q"]).stdout, "");
    let elsewhere = scene.run_in(&scene.home(), &["check", "--json"]);
    assert_eq!(elsewhere.code, 3);
    let error: Value = serde_json::from_str(&elsewhere.stderr).unwrap();
    assert_eq!(error["schema"], "nightshift.error/1");
}

#[test]
fn check_without_a_plan_or_a_gate_says_what_to_do() {
    let scene = Scene::empty();
    let ran = scene.run(&["check"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("has no plan"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nightshift init"), "{}", ran.stderr);
    scene.write("PROJECT_PLAN.md", PLAN);
    let ran = scene.run(&["check"]);
    assert_eq!(ran.code, 1);
    ran.holds(&["gate: missing: there is no gate", "next: nightshift init"]);
}

#[test]
fn status_before_the_first_night_says_what_comes_first() {
    let scene = Scene::ready();
    let ran = scene.run(&["status"]);
    assert_eq!(ran.code, 0);
    ran.holds(&["no night has run here yet", "next: nightshift check"]);
    let data = scene.run(&["status", "--json"]).data("status");
    assert_eq!((&data["night"], &data["running"]), (&Value::Null, &Value::Null));
    assert_eq!(scene.run(&["status", "--night", "2020-01-01"]).code, 2);
    assert_eq!(scene.run(&["status", "--night", "task_1"]).code, 2);
}

#[test]
fn status_of_a_finished_night_ends_with_the_next_command() {
    let scene = Scene::ready();
    let past = Past::night(&scene, true);
    scene.write("notes.txt", "mine\n");
    let ran = scene.run(&["status"]);
    ran.holds(&[
        "Night 2026-11-21",
        "FAILED 1",
        "1 uncommitted file is not part of the next night",
        "next: nightshift show task_1",
    ]);
    assert_eq!((ran.code, scene.run(&["status", "--exit-code"]).code), (0, 1));
    let data = scene.run(&["status", "--json"]).data("status");
    assert_eq!(data["night"]["tasks"][0]["stage"], "failed");
    assert_eq!(data["night"]["tasks"][0]["attempts"][0]["kept"], past.kept.as_str());
    let slots = scene.preparation().home.places.slots();
    fs::write(
        slots,
        "not JSON\n{\"at\":\"2026-11-22T02:00:00Z\",\"outcome\":\"refused\",\"message\":\"no token\"}\n",
    )
    .unwrap();
    scene.run(&["status"]).holds(&["last start: 2026-11-22T02:00:00+00:00 refused: no token"]);
}

#[test]
fn status_says_who_runs_and_what_is_under_way() {
    let scene = Scene::ready();
    Past::night(&scene, false);
    let ran = scene.run(&["status"]);
    ran.holds(&["not ended: cut off", "the agent was cut off", "next: nightshift resume"]);
    assert!(!ran.stdout.contains("at work"), "{}", ran.stdout);
    scene.run(&["show", "task_1"]).holds(&["the agent was cut off"]);
    let lock = scene.preparation().home.places.lock();
    let holder = Holder { pid: 4711, since: "02:00".into(), night: None, repository: None };
    let Locking::Held(_lock) = Lock::ask(&lock, &holder).unwrap() else { panic!("locked") };
    let ran = scene.run(&["status"]);
    ran.holds(&[
        "running since 02:00 (pid 4711): the agent works on task_1, try 1 of 3",
        "next: nightshift status --watch",
    ]);
    assert!(!ran.stdout.contains("resume") && !ran.stdout.contains("cut off"), "{}", ran.stdout);
    scene.run(&["show", "task_1"]).holds(&["the agent is at work"]);
    let data = scene.run(&["status", "--json"]).data("status");
    assert_eq!(data["running"]["pid"], 4711);
    assert_eq!(scene.run(&["status", "--exit-code"]).code, 5);
}

#[test]
fn a_damaged_journal_is_shown_as_far_as_it_can_be_read() {
    let scene = Scene::ready();
    let past = Past::night(&scene, true);
    let journal = fs::read_to_string(past.places.journal()).unwrap();
    let lines: Vec<&str> = journal.lines().collect();
    let broken = format!("{}\nbroken\n{}\n", lines[..4].join("\n"), lines[4..].join("\n"));
    fs::write(past.places.journal(), broken).unwrap();
    for command in ["status", "show"] {
        scene.run(&[command]).holds(&["Night 2026-11-21", "damaged: ", "journal.jsonl:5"]);
    }
    let logs = scene.run(&["logs"]);
    logs.holds(&["base       gate     green"]);
    assert!(logs.stderr.contains("damaged"), "{}", logs.stderr);
}

#[test]
fn show_tells_why_a_task_stopped_and_how_to_open_its_work() {
    let scene = Scene::ready();
    Past::night(&scene, true);
    let ran = scene.run(&["show", "task_1"]);
    ran.holds(&[
        "task_1 · Add a greeting · FAILED, 1 of 3 tries",
        "why it stopped   gate red: quality exit 1: greeting",
        "    | test greeting ... FAILED",
        "$0.41     +1 −0",
        "agent's last words, try 1:\n  | I am done\n  | ```",
    ]);
    assert!(!ran.stdout.contains('\u{1b}'));
    let mut lines = ran.stdout.lines().skip_while(|line| *line != "work kept");
    let line = lines.nth(1).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    scene.git(&words);
    assert_eq!(fs::read(scene.repository().join("src/greeting.sh")).unwrap(), b"echo hello\n");
}

#[test]
fn show_prints_the_patch_the_prompt_and_the_gates_log_of_a_try() {
    let scene = Scene::ready();
    Past::night(&scene, true);
    scene
        .run(&["show", "last/task_1@1", "--diff"])
        .holds(&["+++ b/src/greeting.sh", "+echo hello"]);
    scene.run(&["show", "task_1", "--prompt"]).holds(&["# Add a greeting"]);
    scene.run(&["show", "task_1", "--gate"]).holds(&["test greeting ... FAILED"]);
    scene.run(&["show"]).holds(&["Night 2026-11-21", "task_1 · Add a greeting", "gate red"]);
    let refused = scene.run(&["show", "task_3"]);
    refused.holds(&["NOT STARTED (ask)", "admission.lines", "41 lines"]);
    let data = scene.run(&["show", "task_1", "--json"]).data("show");
    assert_eq!(data["task"]["attempts"][0]["ref"], "refs/nightshift/attempts/2026-11-21/task_1/1");
    for wrong in [
        &["show", "task_9"][..],
        &["show", "task_1", "--attempt", "7"],
        &["show", "task_2", "--diff"],
        &["show", "--attempt", "1"],
        &["show", "task_1", "--diff", "--gate"],
    ] {
        assert_eq!(scene.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn logs_are_readable_and_hold_no_secret_and_no_escape() {
    let scene = Scene::ready();
    Past::night(&scene, true);
    let events = scene.run(&["logs", "-f"]);
    events.holds(&[
        "+00:00 night      start    2026-11-21",
        "+00:00 task_1     failed   gate red: quality exit 1",
        "exit=1",
    ]);
    let transcript = scene.run(&["logs", "task_1"]);
    transcript.holds(&["I begin red", "I end"]);
    assert!(!transcript.stdout.contains("s3cret") && !transcript.stdout.contains('\u{1b}'));
    let raw = scene.run(&["logs", "task_1", "--raw"]);
    assert!(raw.stdout.contains('\u{1b}') && !raw.stdout.contains("s3cret"), "{}", raw.stdout);
    scene.run(&["logs", "gate"]).holds(&["all is well"]);
    scene.run(&["logs", "task_1", "--gate"]).holds(&["test greeting ... FAILED"]);
    let lines = scene.run(&["logs", "--json"]).stdout;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((first["seq"].as_u64(), lines.lines().count()), (Some(1), 8));
    assert_eq!(scene.run(&["logs", "task_2"]).code, 2);
}

#[test]
fn a_task_that_asks_is_shown_with_its_question_and_waits_for_the_answer() {
    let scene = Scene::ready();
    Past::asked(&scene, false);
    let answer = "        - Question: Which limit: 5 or 10?\n        - Answer: …\n";
    let status = scene.run(&["status"]);
    status.holds(&[
        "WAITS FOR YOU 1    answer below the task in PROJECT_PLAN.md",
        answer,
        "decided by agents: 1 low",
        "recovered from: 1 × overload",
        "note: task_1: no price is known",
        "next: nightshift show task_1 tells what it asks; answer in PROJECT_PLAN.md",
    ]);
    let show = scene.run(&["show", "task_1"]);
    show.holds(&[
        "WAITS FOR YOU, 2 tries, 0 of 3 counted",
        "model            claude-opus-x (asked for opus)",
        "conversation     try 2 went on in try 1's",
        "recovered from   overload",
        "  ? Which limit: 5 or 10?",
        "its plan:\n  look around\n",
        "  NOT met greets",
        "  low: a name (short ***)",
        "notes:\n  no price is known",
        "answer below the task in PROJECT_PLAN.md, and nightshift run takes it again:",
        "    - Answer: …",
    ]);
    assert!(!show.stdout.contains("s3cret") && !show.stdout.contains('\u{1b}'), "{}", show.stdout);
    let data = scene.run(&["status", "--json"]);
    assert!(!data.stdout.contains("s3cret"), "{}", data.stdout);
    let night = data.data("status")["night"].clone();
    let task = &night["tasks"][0];
    assert_eq!(task["stage"], "waits for you");
    assert_eq!(task["answer"][0], "- Question: Which limit: 5 or 10?");
    assert_eq!(task["attempts"][1]["conversation"]["opened_by"], 1);
    assert_eq!(task["attempts"][1]["reply"]["acceptance"][0]["met"], false);
    assert_eq!(night["recoveries"][0]["what"], "overload");

    // Neither a check nor a night takes it again before somebody answers.
    scene.run(&["check"]).holds(&["WOULD RUN 0"]);
    scene.run(&["check"]).holds(&[
        "it asked in night 2026-11-21: Which limit: 5 or 10?",
        "- Question: Which limit: 5 or 10?` `- Answer: …",
    ]);
    let below = "(tests/greeting.sh)\n  - Question: Which limit: 5 or 10?\n  - Answer: 10\n";
    scene.write("PROJECT_PLAN.md", &PLAN.replace("(tests/greeting.sh)\n", below));
    let check = scene.run(&["check"]);
    check.holds(&["WOULD RUN 2"]);
    assert!(!check.stderr.contains("P010"), "{}", check.stderr);
}

#[test]
fn a_night_that_waits_says_until_when() {
    let scene = Scene::ready();
    Past::asked(&scene, true);
    let lock = scene.preparation().home.places.lock();
    let holder = Holder { pid: 4711, since: "02:00".into(), night: None, repository: None };
    let Locking::Held(lock) = Lock::ask(&lock, &holder).unwrap() else { panic!("locked") };
    let status = scene.run(&["status"]);
    status.holds(&[
        "every model closed until ",
        "(usage limit)",
        "and goes on by itself",
        "running since 02:00 (pid 4711): waits until ",
    ]);
    let night = scene.run(&["status", "--json"]).data("status")["night"].clone();
    assert_eq!(night["closings"][0]["trigger"], "limit");
    assert!(night["goes_on_at"].is_string(), "{night}");
    drop(lock);
    let cut_off = scene.run(&["status"]);
    cut_off.holds(&["every model closed until ", "next: nightshift resume goes on with it"]);
    assert!(!cut_off.stdout.contains("by itself"), "nobody waits: {}", cut_off.stdout);
}

#[test]
fn two_credentials_are_one_too_many() {
    let scene = Scene::ready();
    let said = |names: &[&str], agent: &str| {
        let mut surroundings = scene.surroundings();
        for name in names {
            surroundings.environment.insert((*name).to_owned(), "s3cret".to_owned());
        }
        let note = nightshift::runner::open::two_credentials(&surroundings, &past::agent(agent));
        assert!(note.as_ref().is_none_or(|note| !note.contains("s3cret")));
        note.is_some_and(|note| note.contains("the key is used, and each call is billed"))
    };
    let both = ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"];
    assert!(said(&both, "claude"));
    assert!(!said(&both, "mine") && !said(&both[..1], "claude") && !said(&both[1..], "claude"));
}

#[test]
fn show_prints_exactly_what_the_agent_was_told() {
    let scene = Scene::ready();
    let past = Past::night(&scene, true);
    let directory = past.places.directory().join("attempts/task_1@1");
    let plain = scene.run(&["show", "task_1", "--prompt"]);
    assert_eq!(plain.stdout, "# Add a greeting\n");
    fs::write(directory.join("system.md"), "# CLAUDE.md\n\nBe kind s3cret-of-this-machine.\n")
        .unwrap();
    fs::write(directory.join("brief.md"), "The conversation was shortened.\n").unwrap();
    let ran = scene.run(&["show", "task_1", "--prompt"]);
    ran.holds(&[
        "# Add a greeting\n\n==> system.md\n# CLAUDE.md\n",
        "\n==> brief.md\nThe conversation was shortened.\n",
    ]);
    assert!(!ran.stdout.contains("s3cret"), "{}", ran.stdout);
    let data = scene.run(&["show", "task_1", "--prompt", "--json"]).data("show");
    assert_eq!(data["brief"], "The conversation was shortened.\n");
}

#[test]
fn logs_follow_a_transcript_that_grows() {
    use std::io::Write as _;
    let scene = Scene::ready();
    let past = Past::night(&scene, false);
    let directory = past.places.directory().join("attempts/task_1@1");
    fs::remove_file(directory.join("transcript.log")).unwrap();
    let lock = scene.preparation().home.places.lock();
    let holder = Holder { pid: 4711, since: "02:00".into(), night: None, repository: None };
    let Locking::Held(lock) = Lock::ask(&lock, &holder).unwrap() else { panic!("locked") };
    let mut follow = Program::new(env!("CARGO_BIN_EXE_nightshift"));
    follow.args(["logs", "task_1", "-f"]).current_dir(scene.repository());
    follow.env_clear().envs(scene.environment()).stdout(std::process::Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut out = std::io::BufReader::new(follow.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        line.trim_end().to_owned()
    };
    let path = directory.join("transcript.jsonl");
    let mut file = fs::File::create(path).unwrap();
    // Half a line is not told before its end is there.
    write!(file, "{{\"type\":\"assistant\",\"message\":{{\"content\":[{{\"type\":\"text\",")
        .unwrap();
    file.flush().unwrap();
    writeln!(file, "\"text\":\"I s3cret-of-this-machine begin.\"}}]}}}}").unwrap();
    let first = line();
    assert!(first.starts_with("I ") && !first.contains("s3cret"), "{first}");
    writeln!(file, "{{\"type\":\"system\",\"subtype\":\"compact_boundary\"}}").unwrap();
    assert_eq!(line(), "· the conversation was compacted");
    drop(lock);
    assert_eq!(line(), "");
    assert!(follow.wait().unwrap().success());
}

#[test]
fn stop_holds_until_it_is_lifted_and_may_be_said_twice() {
    let scene = Scene::ready();
    let ran = scene.run(&["stop", "--reason", "release\u{1b}[31m day"]);
    assert_eq!(ran.code, 0);
    ran.holds(&["stopped: no night is running; none will start", "next: nightshift resume"]);
    let data = scene.run(&["stop", "--now", "--json"]).data("stop");
    assert_eq!((&data["order"]["by"], &data["order"]["now"]), (&"ann".into(), &true.into()));
    assert!(data["stopped_before_by"].as_str().unwrap().ends_with("release day"), "{data}");
    scene.run(&["status"]).holds(&["stopped by ann", "next: nightshift resume"]);
    let check = scene.run(&["check"]);
    assert!(check.stderr.contains("are stopped by ann"), "{}", check.stderr);
    check.holds(&["next: nightshift resume lifts the stop"]);
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_stop_that_cannot_be_written_names_the_other_ways() {
    let scene = Scene::ready();
    scene.run(&["stop"]);
    scene.run(&["resume", "--only-lift"]);
    // Nothing can be written over a directory.
    let places = scene.preparation().home.places;
    fs::create_dir_all(places.stop().join("x")).unwrap();
    let lock = fs::File::create(places.lock()).unwrap();
    fs::write(places.lock(), r#"{"pid":4711,"since":"now","night":null}"#).unwrap();
    lock.lock().unwrap();
    let ran = scene.run(&["stop"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    for words in [".nightshift/STOP", "kill -TERM 4711"] {
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

#[test]
fn init_writes_what_a_night_needs_and_check_is_happy_with_it() {
    let scene = Scene::empty();
    scene.write("Makefile", "check:\n\ttrue\n");
    scene.commit("a gate");
    let below = scene.repository().join("docs");
    fs::create_dir(&below).unwrap();
    let dry = scene.run_in(&below, &["init", "--dry-run"]);
    dry.holds(&["would write", "  |   steps: make check"]);
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
    let ran = scene.run_in(&below, &["init"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.holds(&[
        "gate        make check (Makefile)",
        "base        main",
        "wrote       .nightshift/config.yml",
        "wrote       PROJECT_PLAN.md",
        "git add .nightshift/config.yml PROJECT_PLAN.md && git commit -m 'configure nightshift'\n",
        "nightshift check",
    ]);
    let line = ran.stdout.lines().find(|line| line.contains("git add")).unwrap();
    let mut shell = Program::new("sh");
    let line = line.trim_start_matches("next:").trim();
    shell.args(["-c", line]).current_dir(scene.repository()).env_clear().envs(scene.environment());
    assert!(shell.output().unwrap().status.success());
    let check = scene.run(&["check", "--strict"]);
    check.holds(&["gate: make check", "WOULD RUN 0", ".nightshift/config.yml"]);
    assert_eq!(check.code, 1, "claude has no credential here: {}", check.stdout);
    assert_eq!(scene.run(&["check"]).code, 0, "{}", check.stderr);
}

#[test]
fn init_never_overwrites_and_names_what_it_left() {
    let scene = Scene::empty();
    scene.write("docs/PROJECT_PLAN.md", "# Mine\n");
    scene.write(".nightshift/config.yml", "version: 1\n");
    let ran = scene.run(&["init", "--gate", "make check"]);
    assert_eq!(ran.code, 0);
    ran.holds(&["left as is  .nightshift/config.yml", "left as is  docs/PROJECT_PLAN.md"]);
    assert!(ran.stderr.contains("--gate was not written"), "{}", ran.stderr);
    let config = fs::read(scene.repository().join(".nightshift/config.yml")).unwrap();
    assert_eq!(config, b"version: 1\n");
    assert!(!scene.repository().join("PROJECT_PLAN.md").exists());
}

#[test]
fn init_takes_a_gate_and_a_plan_of_ones_own() {
    let scene = Scene::empty();
    let data = scene
        .run(&["init", "--gate", "ci/run \"all\"", "--plan", "notes/nights.md", "--json"])
        .data("init");
    assert_eq!(data["gate"], "ci/run \"all\"");
    assert_eq!(data["files"][1]["path"], "notes/nights.md");
    scene.commit("configure");
    let check = scene.run(&["check"]);
    check.holds(&["notes/nights.md (working tree)", "gate: ci/run \"all\""]);
}

#[test]
fn init_without_a_gate_says_so_and_refuses_what_it_cannot_do() {
    let scene = Scene::empty();
    let ran = scene.run(&["init"]);
    assert_eq!(ran.code, 1);
    ran.holds(&["gate        none found", "next: write your gate into .nightshift/config.yml"]);
    assert_eq!(scene.run(&["init", "--plan", "../plan.md"]).code, 2);
    assert_eq!(scene.run(&["init", "--gate", " "]).code, 2);
    let bare = scene.directory.path().join("bare.git");
    scene.git(&["init", "--quiet", "--bare", bare.to_str().unwrap()]);
    let ran = scene.run_in(&bare, &["init"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is a bare repository"), "{}", ran.stderr);
}

#[test]
fn logs_follow_a_night_until_it_ends_and_status_knows_it() {
    let scene = Scene::ready();
    scene.write("PROJECT_PLAN.md", include_str!("../../templates/demo/PROJECT_PLAN.md"));
    scene.commit("tasks of the demonstration");
    scene.own_file("sandbox: off\n");
    let mut night = Program::new(env!("CARGO_BIN_EXE_nightshift"));
    night.args(["run", "-q", "--no-push"]).current_dir(scene.repository());
    let mut night = night.env_clear().envs(scene.environment()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let followed = loop {
        let ran = scene.run(&["logs", "-f"]);
        // Before the night has a journal there is nothing to follow.
        if ran.code == 0 {
            break ran;
        }
        assert!(Instant::now() < until, "{}", ran.stderr);
        std::thread::sleep(Duration::from_millis(20));
    };
    followed.holds(&[" landed   ", "exit=1"]);
    assert_eq!(night.wait().unwrap().code(), Some(1));
    scene.run(&["status"]).holds(&["LANDED 3", "next: nightshift show hello-3"]);
    scene.run(&["show", "hello-1"]).holds(&["gate green, landed", "work kept\n  git switch -c "]);
    scene.run(&["logs", "hello-1"]).holds(&["writing src/farewell.sh"]);
}
