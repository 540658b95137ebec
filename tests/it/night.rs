//! Whole nights with the real program: what lands, what is refused, what is kept.

#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(target_os = "linux")]
use crate::support::kernel;
use crate::support::night::TestNight;

const ADDS_A_FILE: &str = "echo new > src/new.txt; echo test > tests/new_test.txt";

#[test]
fn a_task_lands_as_one_commit_with_its_tick() {
    let ran = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).run(&[]).exit(0);
    let ran = ran.landed(["t1"]).holds("src/new.txt", "new").says("landed");
    let branch = ran.branch().unwrap();
    let night = ran.then();
    let plan = night.git(&["diff", "-U0", "main", &branch, "--", "PROJECT_PLAN.md"]);
    let changed: Vec<&str> = plan
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.contains("PLAN"))
        .collect();
    assert_eq!(changed.len(), 2, "{plan}");
    assert_eq!(changed[0], "-  - Status: READY");
    assert!(changed[1].starts_with("+  - Status: DONE (night "), "{plan}");
}

#[test]
fn a_failed_gate_leaves_the_branch_alone_and_keeps_the_work() {
    TestNight::new()
        .task("t1", "Break it")
        .agent("echo broken $NIGHTSHIFT_ATTEMPT > src/a.txt")
        .run(&[])
        .exit(1)
        .landed([])
        .says("unbroken")
        .kept("t1/1", "src/a.txt", "broken 1");
}

#[test]
fn the_gates_words_go_back_to_the_agent() {
    TestNight::new()
        .task("t1", "Improve it")
        .agent("if grep -q 'not ok unbroken'; then echo fine > src/a.txt; else echo broken > src/a.txt; fi")
        .run(&[])
        .exit(0)
        .landed(["t1"])
        .holds("src/a.txt", "fine")
        .says("2 tries");
}

#[test]
fn a_change_of_the_gate_is_refused_though_it_would_pass() {
    let script = "echo broken > src/a.txt; echo 'exit 0' > .ai-validation/check_quality.sh";
    TestNight::new()
        .task("t1", "Cheat")
        .agent(script)
        .run(&[])
        .exit(1)
        .landed([])
        .says("inspection.protected");
}

#[test]
fn an_agent_cannot_mark_its_own_task_in_the_plan() {
    TestNight::new()
        .task("t1", "Cheat")
        .agent("sed -i 's/READY/DONE/' PROJECT_PLAN.md; echo new > src/new.txt")
        .run(&[])
        .exit(1)
        .landed([])
        .says("inspection.protected");
}

#[test]
fn a_red_base_starts_nothing() {
    TestNight::new()
        .file("src/b.txt", "broken\n")
        .task("t1", "Add a file")
        .agent(ADDS_A_FILE)
        .run(&[])
        .exit(3)
        .landed([])
        .says("the gate is red on the base");
}

#[test]
fn without_a_gate_nothing_starts() {
    TestNight::new()
        .without(".ai-validation/check_quality.sh")
        .task("t1", "Add a file")
        .run(&[])
        .exit(3)
        .says("there is no gate")
        .says("nightshift init");
}

/// In a user namespace that allows no other: there T2 cannot be.
#[test]
#[cfg(target_os = "linux")]
fn without_the_walls_that_are_wanted_nothing_runs() {
    let night = TestNight::new().tier("t2").task("t1", "Add a file").commit();
    let plain = night.command(&["run", "--agent", "test"]);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let mut inside = Command::new("unshare");
    inside.args(["-Ur", "sh", "-c", script]).arg(plain.get_program()).args(plain.get_args());
    inside.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = inside.current_dir(night.repo()).output();
    let output = match output {
        Ok(output) if !output.stderr.starts_with(b"unshare:") => output,
        Ok(_) | Err(_) => {
            kernel::missing("no user namespaces, or no unshare, to take them away with");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in
        ["the walls that are asked for do not hold here: t2:", "sandbox: auto", "nightshift doctor"]
    {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    assert_eq!(night.entries(), 0);
}

#[test]
fn an_agent_that_does_nothing_has_failed() {
    TestNight::new()
        .task("t1", "Add a file")
        .agent("exit 0")
        .run(&[])
        .exit(1)
        .landed([])
        .says("without changing anything");
}

#[test]
fn an_agent_that_fails_is_tried_again_and_its_work_is_kept() {
    TestNight::new()
        .task("t1", "Add a file")
        .agent("echo half > src/half.txt; exit 7")
        .run(&[])
        .exit(1)
        .says("exit 7")
        .says("3 of 3 tries")
        .kept("t1/3", "src/half.txt", "half");
}

#[test]
fn a_persons_unfinished_work_is_neither_taken_nor_touched() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    std::fs::write(night.repo().join("stash.txt"), "stashed\n").unwrap();
    night.git(&["stash", "push", "-u", "-q"]);
    std::fs::write(night.repo().join("src/a.txt"), "half an edit\n").unwrap();
    std::fs::write(night.repo().join("src/b.txt"), "staged\n").unwrap();
    night.git(&["add", "src/b.txt"]);
    std::fs::write(night.repo().join("notes.txt"), "untracked\n").unwrap();
    night.git(&["switch", "-q", "-c", "mine"]);
    night
        .run(&[])
        .exit(0)
        .landed(["t1"])
        .holds("src/a.txt", "one\ntwo\nthree")
        .lacks("src/b.txt")
        .lacks("notes.txt")
        .says("3 uncommitted files");
}

#[test]
fn the_plan_of_the_working_tree_is_read_and_its_new_task_is_not_ticked() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    let plan = night.repo().join("PROJECT_PLAN.md");
    let text = std::fs::read_to_string(&plan).unwrap().replace("[t1]", "[evening]");
    std::fs::write(&plan, text).unwrap();
    let ran = night.run(&[]).exit(0).landed(["evening"]);
    assert!(ran.pull_request().contains("not in the base's plan"), "{}", ran.pull_request());
}

#[test]
fn a_second_night_of_a_day_has_its_own_name() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE);
    let ran = night.run(&[]).exit(0).landed(["t1"]);
    let first = ran.branch().unwrap();
    let ran = ran.then().run(&["-t", "t1"]).exit(0).landed(["t1"]);
    assert_eq!(ran.branch().unwrap(), format!("{first}-2"));
}

#[test]
fn a_task_that_landed_is_not_done_again_before_it_is_merged() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE);
    let ran = night.run(&[]).exit(0).landed(["t1"]);
    let branch = ran.branch().unwrap();
    let ran = ran.then().run(&[]).exit(0).says(&format!("t1 waits in {branch}"));
    assert_eq!(ran.branch().unwrap(), branch, "no second night");
    let night = ran.then();
    night.git(&["merge", "-q", "--ff-only", &branch]);
    night.git(&["push", "-q", "origin", "main"]);
    night.run(&[]).exit(0).says("nothing is ready");
}

#[test]
fn a_task_that_failed_waits_until_its_text_changes() {
    let night = TestNight::new().task("t1", "Do nothing");
    let ran = night.run(&[]).exit(1);
    let ran = ran.then().run(&[]).exit(1).says("its text has not changed since");
    let night = ran.then();
    let plan = night.repo().join("PROJECT_PLAN.md");
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, text.replace("Do nothing", "Do something else")).unwrap();
    night.run(&[]).exit(1).says("try=1/3");
}

#[test]
fn a_remote_with_a_relative_path_is_the_persons_own() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    night.git(&["remote", "set-url", "origin", "../remote.git"]);
    night.run(&[]).exit(0).landed(["t1"]);
}

#[test]
fn what_the_base_ignores_does_not_enter_and_what_an_agent_hides_does() {
    let script = "mkdir target; echo x > target/out; echo y > a.log
        echo '*' >> .git/info/exclude; echo hidden > src/hidden.txt
        git update-index --assume-unchanged src/a.txt; echo changed > src/a.txt";
    TestNight::new()
        .task("t1", "Add a file")
        .agent(script)
        .run(&[])
        .exit(0)
        .landed(["t1"])
        .holds("src/hidden.txt", "hidden")
        .holds("src/a.txt", "changed")
        .lacks("target/out")
        .lacks("a.log");
}

#[test]
fn the_agent_sees_history_and_nothing_of_the_persons_remote() {
    let script = "git log --format=%s > src/log.txt; git status --porcelain > src/status.txt
        git remote > src/remotes.txt; git branch -a >> src/remotes.txt";
    TestNight::new()
        .task("t1", "Look around")
        .agent(script)
        .run(&[])
        .exit(0)
        .holds("src/log.txt", "base")
        .holds("src/status.txt", "?? src/log.txt\n?? src/status.txt")
        .holds("src/remotes.txt", "* work");
}

#[test]
fn what_cannot_enter_a_commit_fails_the_task_by_name() {
    for (script, reason) in [
        ("mkfifo src/pipe", "a named pipe"),
        ("mkdir src/sub; git init -q src/sub", "a nested git repository"),
        ("ln -s /etc/passwd src/link", "a symbolic link that leaves the repository"),
        ("ln src/a.txt src/b.txt", "a hard link to another file"),
        ("head -c 11000000 /dev/zero > src/big.bin", "a file of 11000000 bytes"),
    ] {
        TestNight::new()
            .task("t1", "Add something odd")
            .agent(script)
            .run(&["--max-tasks", "1"])
            .exit(1)
            .landed([])
            .says("cannot enter a commit")
            .says(reason);
    }
}

#[test]
fn a_deletion_is_refused_and_a_move_is_not() {
    let night = || TestNight::new().task("t1", "Tidy up");
    night().agent("rm src/a.txt").run(&[]).exit(1).landed([]).says("inspection.deletion");
    night()
        .agent("mv src/a.txt src/moved.txt")
        .run(&[])
        .exit(0)
        .landed(["t1"])
        .holds("src/moved.txt", "one\ntwo\nthree")
        .lacks("src/a.txt");
}

#[test]
fn a_path_that_is_not_allowed_is_refused() {
    TestNight::new()
        .task("t1", "Add a file")
        .agent("echo x > elsewhere.txt")
        .run(&[])
        .exit(1)
        .landed([])
        .says("inspection.paths");
}

#[test]
fn names_are_bytes_from_end_to_end() {
    let script = "printf x > \"src/$(printf 'caf\\351 \\303\\274')\"; printf y > 'src/-rf'; \
                  printf z > 'src/a b\nc'";
    let ran = TestNight::new().task("t1", "Add names").agent(script).run(&[]).exit(0);
    let branch = ran.branch().unwrap();
    let night = ran.landed(["t1"]).then();
    let names = night.git(&["-c", "core.quotePath=true", "ls-tree", "-r", "--name-only", &branch]);
    for name in ["\"src/caf\\351 \\303\\274\"", "src/-rf", "\"src/a b\\nc\""] {
        assert!(names.lines().any(|found| found == name), "{name} in {names}");
    }
}

#[test]
fn modes_links_and_empty_directories_come_through() {
    let script = "ln -s a.txt src/link; mkdir -p src/deep/er; echo x > src/deep/er/file.txt
        mkdir src/empty";
    let ran = TestNight::new().task("t1", "Add kinds").agent(script).run(&[]).exit(0);
    let branch = ran.branch().unwrap();
    let night = ran.landed(["t1"]).then();
    let listing = night.git(&["ls-tree", "-r", &branch, "--", "src"]);
    assert!(
        listing.lines().any(|l| l.starts_with("120000") && l.ends_with("src/link")),
        "{listing}"
    );
    assert!(listing.contains("src/deep/er/file.txt"));
    assert!(!listing.contains("empty"));
    night.git(&["fsck", "--strict"]);
}

#[test]
fn a_filtered_path_may_not_change() {
    TestNight::new()
        .file(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
        .file("src/big.bin", "version https://git-lfs.github.com/spec/v1\n")
        .task("t1", "Change an asset")
        .agent("echo raw > src/big.bin")
        .run(&[])
        .exit(1)
        .landed([])
        .says("filter");
}

#[test]
fn what_an_agent_leaves_running_is_ended_and_reported() {
    let script = "setsid sh -c 'sleep 300' >/dev/null 2>&1 & echo new > src/new.txt; sleep 0.2";
    let ran = TestNight::new().task("t1", "Start a server").agent(script).run(&[]).exit(0);
    let ran = ran.landed(["t1"]).says("killed=");
    assert!(ran.pull_request().contains("killed"), "{}", ran.pull_request());
}

#[test]
fn the_gate_judges_the_candidates_tree_and_nothing_else() {
    // The gate passes only beside an ignored file, which the agent made and the commit lacks.
    TestNight::new()
        .gate("#!/bin/sh\n[ ! -e src/new.txt ] || [ -e target/helper ]\n")
        .task("t1", "Rely on leftovers")
        .agent("mkdir -p target; echo x > target/helper; echo new > src/new.txt")
        .run(&[])
        .exit(1)
        .landed([]);
}

#[test]
fn agent_and_gate_see_no_home_and_no_secret() {
    let script = "env > src/agent_env.txt";
    let night = TestNight::new()
        .gate("#!/bin/sh\nenv | grep -q SECRET_TOKEN && exit 1\nexit 0\n")
        .task("t1", "Look at the environment")
        .agent(script)
        .commit();
    let mut command = night.command(&["run", "--agent", "test"]);
    command.env("SECRET_TOKEN", "s3cret-value").env("SSH_AUTH_SOCK", "/tmp/agent.sock");
    assert!(command.status().unwrap().success());
    let branch = night.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads/nightshift"]);
    let seen = night.git(&["show", &format!("{branch}:src/agent_env.txt")]);
    assert!(!seen.contains("s3cret-value") && !seen.contains("SSH_AUTH_SOCK"), "{seen}");
    let home = night.path("home").display().to_string();
    assert!(!seen.lines().any(|line| line == format!("HOME={home}")), "{seen}");
}

#[test]
fn no_remote_means_a_local_branch_and_a_file() {
    let ran = TestNight::new()
        .without_remote()
        .task("t1", "Add a file")
        .agent(ADDS_A_FILE)
        .run(&[])
        .exit(0)
        .landed(["t1"])
        .says("pull_request.md");
    assert!(ran.pull_request().contains("t1"));
}

#[test]
fn an_unreachable_remote_keeps_the_work_and_says_so() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    let hook = night.remote().join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho 'not tonight' >&2\nexit 1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, mode).unwrap();
    let ran = night.run(&[]).exit(6).says("not tonight").says("nightshift land");
    std::fs::remove_file(&hook).unwrap();
    let ran = ran.then().call(&["resume"]).exit(0);
    ran.landed(["t1"]);
}

#[test]
fn a_wrong_configuration_is_drawn_and_starts_nothing() {
    TestNight::new()
        .file(".nightshift/config.yml", "limits:\n  task: 5\n")
        .task("t1", "Add a file")
        .run(&[])
        .exit(2)
        .says(".nightshift/config.yml:2:3")
        .says("did you mean `tasks`?");
}

#[test]
fn configured_steps_are_the_gate() {
    let config = "gate:\n  steps:\n    - {name: first, run: 'true'}\n    - {name: second, run: 'test ! -e src/new.txt'}\n";
    TestNight::new()
        .file(".nightshift/config.yml", config)
        .task("t1", "Add a file")
        .agent(ADDS_A_FILE)
        .run(&[])
        .exit(1)
        .landed([])
        .says("second exit 1");
}

#[test]
fn only_the_named_task_runs_and_a_typo_is_caught() {
    let night =
        TestNight::new().task("task_1", "Add a file").task("task_2", "Add one").agent(ADDS_A_FILE);
    let ran = night.run(&["-t", "task_2"]).exit(0).landed(["task_2"]);
    ran.then().run(&["-t", "task_3"]).exit(2).says("did you mean `task_");
}

#[test]
fn nothing_ready_ends_at_once_and_leaves_a_line() {
    let plan = "# Plan\n\n## Pending\n\n- **[t1]** Later\n";
    let ran = TestNight::new().plan(plan).run(&[]).exit(0).says("nothing is ready").landed([]);
    let night = ran.then();
    let slots = night.path("home/.local/state/nightshift/repos");
    let repo = std::fs::read_dir(slots).unwrap().next().unwrap().unwrap().path();
    assert!(std::fs::read_to_string(repo.join("slots.jsonl")).unwrap().contains("nothing_ready"));
}

#[test]
fn a_task_that_needs_one_that_failed_is_not_started() {
    let plan = "## Ready\n\n- **[a]** Break it\n  - Score: 95\n  - Lines: 5\n  - Tests: yes\n\
                - **[b]** Build on it\n  - Score: 95\n  - Lines: 5\n  - Tests: yes\n  - After: a\n";
    TestNight::new()
        .plan(plan)
        .agent("echo broken $NIGHTSHIFT_ATTEMPT > src/$NIGHTSHIFT_TASK.txt")
        .run(&[])
        .exit(1)
        .landed([])
        .says("needs a, which did not land");
}

#[test]
fn json_is_one_event_a_line_in_an_envelope() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    let output = night.command(&["run", "--agent", "test", "--json"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() > 5);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["schema"], "nightshift.event/1");
        assert!(value["data"]["seq"].is_u64() && value["data"]["type"].is_string());
    }
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    let output = night.command(&["-q", "run", "--agent", "test"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(0), vec![], vec![]));
}

#[test]
fn a_shallow_clone_and_a_linked_worktree_are_repositories_too() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    night.git(&["commit", "-q", "--allow-empty", "-m", "second"]);
    night.git(&["push", "-q", "origin", "main"]);
    let remote = format!("file://{}", night.remote().display());
    let shallow = night.path("shallow clone");
    night.git(&["clone", "-q", "--depth", "1", &remote, shallow.to_str().unwrap()]);
    let linked = night.path("linked");
    night.git(&["worktree", "add", "-q", "-b", "mine", linked.to_str().unwrap()]);
    for directory in [shallow, linked] {
        let mut command = night.command(&["run", "--agent", "test", "-t", "t1"]);
        let output = command.current_dir(&directory).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(directory.join("README.md").exists());
        let status = std::process::Command::new("git")
            .args(["-C", directory.to_str().unwrap(), "status", "--porcelain"])
            .output()
            .unwrap();
        assert!(status.stdout.is_empty(), "{status:?}");
    }
}

#[test]
fn a_task_is_not_run_without_the_one_that_it_needs() {
    let plan = "## Ready\n\n- **[a]** Add one\n  - Score: 95\n  - Lines: 5\n  - Tests: yes\n\
                - **[b]** Build on it\n  - Score: 95\n  - Lines: 5\n  - Tests: yes\n  - After: a\n";
    let night = TestNight::new().plan(plan).agent("echo x > src/$NIGHTSHIFT_TASK.txt");
    let ran = night.run(&["-t", "b"]).exit(1).says("it needs a").landed([]);
    ran.then().run(&["-t", "b", "-t", "a"]).exit(0).landed(["a", "b"]);
}

#[test]
fn a_branch_that_the_person_checked_out_is_not_moved_under_them() {
    let checks_out = "git -C \"$(dirname \"$0\")/repo\" switch -q \"$(git -C \"$(dirname \"$0\")/repo\" \
                      for-each-ref --format='%(refname:short)' refs/heads/nightshift)\"";
    let script = format!(
        "echo x > src/$NIGHTSHIFT_TASK.txt; if [ $NIGHTSHIFT_TASK = b ]; then {checks_out}; fi"
    );
    // Only without walls can an agent do what a person could do meanwhile.
    let night =
        TestNight::new().tier("off").task("a", "Add one").task("b", "Add two").agent(&script);
    let night = night.one_at_a_time().commit();
    assert!(night.command(&["run", "--agent", "test"]).status().unwrap().success());
    assert_eq!(night.git(&["status", "--porcelain"]), "", "the checkout is whole");
    assert_eq!(night.git(&["log", "--format=%s", "main..HEAD"]), "feat: add one");
    let branch = night.git(&["branch", "--show-current"]);
    night.git(&["fetch", "-q", "origin", &branch]);
    let remote = night.git(&["log", "--format=%s", "main..FETCH_HEAD"]);
    assert_eq!(remote, "feat: add two\nfeat: add one", "the push has both");
}

#[test]
fn a_link_of_the_base_that_leaves_the_repository_is_not_the_agents_fault() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE);
    std::os::unix::fs::symlink("/etc/hostname", night.repo().join("outside")).unwrap();
    night.run(&[]).exit(0).landed(["t1"]);
}

#[test]
fn a_workspace_that_was_replaced_by_a_link_is_not_read() {
    let script = "W=$PWD; O=\"$(dirname \"$0\")/private\"; mkdir -p \"$O/src\"; echo secret > \"$O/src/p.txt\"
        cd /; rm -rf \"$W\"; ln -s \"$O\" \"$W\"";
    TestNight::new()
        .tier("off")
        .task("t1", "Escape")
        .agent(script)
        .run(&[])
        .exit(1)
        .landed([])
        .says("the whole workspace, which is gone");
}

#[test]
fn a_token_in_an_agents_words_goes_nowhere() {
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let night = TestNight::new()
        .task("t1", "Fail")
        .agent(&format!("echo 'auth failed for {token}' >&2; exit 1"))
        .commit();
    let output = night.command(&["run", "--agent", "test"]).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&printed).contains(&token));
    let journal = std::fs::read_to_string(night.journal().unwrap()).unwrap();
    assert!(journal.contains("auth failed") && !journal.contains(&token), "{journal}");
}

#[test]
fn one_long_line_hides_nothing_from_the_rules() {
    let script =
        "head -c 5000000 /dev/zero | tr '\\0' x > docs.md; mkdir -p docs; mv docs.md docs/a.md
        echo 'DROP TABLE users' > docs/z.md";
    TestNight::new()
        .task("t1", "Document it")
        .agent(script)
        .run(&[])
        .exit(1)
        .landed([])
        .says("more than the rules for added lines can read");
}

#[test]
fn a_branch_in_the_place_of_ours_is_named_before_anything_starts() {
    let night = TestNight::new().task("t1", "Add a file").agent(ADDS_A_FILE).commit();
    night.git(&["branch", "nightshift"]);
    night.run(&[]).exit(3).says("git branch -m nightshift");
}
