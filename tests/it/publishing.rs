//! Whole nights whose branch or pull request does not get out: the work is safe, one line says why and what to do,
//! and whoever comes next publishes it, once.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use jiff::{ToSpan as _, Zoned, tz::TimeZone};

use crate::{
    resume::{kill, wait_for},
    support::{
        github::{FakeGitHub, Fault, TOKEN},
        night::{Ran, TestNight},
    },
};

fn one_task() -> TestNight {
    TestNight::new().task("a", "Add one").agent("echo a > src/from_a.txt")
}

/// A check of the remote's own.
fn hook(night: &TestNight, script: &str) {
    let hooks = night.remote().join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("pre-receive");
    fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
}

fn branches_there(night: &TestNight) -> usize {
    night.git(&["ls-remote", "origin", "refs/heads/nightshift/*"]).lines().count()
}

/// A repository whose remote is on the fake GitHub, and whose git goes to a directory here.
pub(crate) fn on_github(fake: &FakeGitHub, night: TestNight, name: &str) -> TestNight {
    let night = night
        .env("GITHUB_SERVER_URL", &fake.url)
        .env("GITHUB_API_URL", &fake.url)
        .env("GH_TOKEN", TOKEN)
        .commit();
    let address = format!("{}/octo/{name}.git", fake.url);
    let rewrite = format!("[url \"{}\"]\n\tinsteadOf = {address}\n", night.remote().display());
    fs::write(night.path("home/.gitconfig"), rewrite).unwrap();
    night.git(&["remote", "set-url", "origin", &address]);
    // GitHub knows what is pushed to it; ours is told the names that the night can have.
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    for day in [today, today.saturating_add(1.day())] {
        fake.settings(|repository| {
            repository.branches.insert(format!("nightshift/{day}"), "a".repeat(40));
        });
    }
    night
}

/// The remote has the night's branch as it is here.
fn is_out(night: &TestNight) {
    let branch = night.git(&["for-each-ref", "--format=%(refname)", "refs/heads/nightshift/"]);
    let remote = night.remote();
    let there = night.git(&["--git-dir", remote.to_str().unwrap(), "rev-parse", &branch]);
    assert_eq!(night.git(&["rev-parse", &branch]), there);
}

/// The line that says why something is not out.
fn line(ran: &Ran) -> String {
    let all = ran.all();
    let lines: Vec<&str> = all.lines().filter(|line| line.starts_with("not published: ")).collect();
    assert_eq!(lines.len(), 1, "{all}");
    lines[0].to_owned()
}

#[test]
fn what_a_remote_refuses_is_kept_with_one_line_and_published_when_it_lets_it() {
    let cases = [
        ("echo 'no branches on Fridays' >&2; exit 1", "no branches on Fridays", "remote says"),
        ("echo 'GH006: Protected branch update failed' >&2; exit 1", "GH006", "by the rules"),
    ];
    for (script, says, help) in cases {
        let night = one_task().commit();
        hook(&night, script);
        let ran = night.run(&[]).exit(6);
        let told = line(&ran);
        assert!(told.contains(says) && told.contains(help), "{told}");
        assert!(told.contains("nightshift land"), "{told}");
        let night = ran.then();
        assert_eq!(branches_there(&night), 0);
        let ran = night.call(&["status"]).exit(0).says(says).says("next: nightshift land");
        // As long as nothing changed the answer is the same, and nothing is lost.
        let ran = ran.then().call(&["land"]).exit(6).says(says);
        // The next start says it as well: nothing is ready, and still the code tells.
        let ran = ran.then().run(&[]).exit(6).says("published later").says(says);
        let night = ran.then();
        hook(&night, "exit 0");
        let ran = night.run(&[]).exit(0).says("published later").landed(["a"]);
        ran.then().call(&["land"]).exit(0).says("nothing waits to be published");
    }
}

#[test]
fn what_was_to_stay_here_is_not_said_to_be_out() {
    let stays = "kept  it began with --no-push";
    let night = one_task().tier("off").run(&["--no-push"]).exit(0).then();
    let night = night.call(&["land", "last"]).exit(6).says(stays).then();
    assert_eq!(branches_there(&night), 0);
    let night = one_task().task("b", "Add two").agent("echo x > src/from_$NIGHTSHIFT_TASK.txt");
    let night = night.tier("off").one_at_a_time().run(&[]).exit(0).then();
    let night = night.call(&["revert", "b", "--no-push"]).exit(0).then();
    night.call(&["land", "last"]).exit(6).says(stays);
}

#[test]
fn a_branch_that_a_person_moved_waits_and_the_way_out_is_said() {
    let wait = TestNight::waits("echo b > src/from_b.txt");
    let script =
        format!("[ $NIGHTSHIFT_TASK = b ] || {{ echo a > src/from_a.txt; exit 0; }}\n{wait}");
    let night = one_task().task("b", "Add two").agent(&script).tier("off").commit();
    let mut child = night.spawn(&[]);
    let journal = || night.journal().and_then(|path| fs::read_to_string(path).ok());
    wait_for("a landed", || journal().is_some_and(|text| text.contains("\"landed\"")));
    let form =
        ["for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads/nightshift/"];
    let found = night.git(&form);
    let (branch, tip) = found.split_once(' ').unwrap();
    let tree = format!("{tip}^{{tree}}");
    let mine = night.git(&["commit-tree", "-p", tip, "-m", "mine", &tree]);
    night.git(&["branch", "-f", branch, &mine]);
    night.go(&["b"]);
    child.wait().unwrap();
    let way = format!("git branch MINE {branch} && git branch -f {branch} {tip}");
    let ran = night.call(&["status"]).says(&format!("next: {way}, then nightshift resume"));
    let ran = ran.says("not out yet").then().call(&["land"]).exit(6).says(&way);
    let night = ran.then().call(&["resume"]).says(&way).then();
    night.git(&["branch", "MINE", branch]);
    night.git(&["branch", "-f", branch, tip]);
    let night = night.call(&["resume"]).exit(0).landed(["a", "b"]).then();
    is_out(&night);
}

#[test]
fn a_line_that_breaks_is_tried_again_by_the_night_itself() {
    let night = one_task().commit();
    // Both pushes of the first try: together, and the branch by itself.
    let count = night.path("count");
    let count = count.display();
    hook(&night, &format!("echo x >> '{count}'; [ $(wc -l < '{count}') -gt 2 ] || kill -9 $PPID"));
    let ran = night.run(&[]).exit(0).landed(["a"]);
    let journal = fs::read_to_string(ran.journal()).unwrap();
    assert_eq!(journal.matches("\"not_published\"").count(), 1, "{journal}");
    assert!(journal.contains("\"passing\":true,\"again\":\""), "{journal}");
}

#[test]
fn without_a_network_the_work_waits_and_a_new_remote_is_used_when_it_is_named() {
    let night = one_task().commit();
    night.git(&["remote", "set-url", "--push", "origin", "http://127.0.0.1:1/octo/demo.git"]);
    let ran = night.run(&["--max-time", "20s"]).exit(6);
    assert!(line(&ran).contains("cannot be reached"), "{}", line(&ran));
    let night = ran.then();
    let remote = night.remote();
    night.git(&["remote", "set-url", "--push", "origin", remote.to_str().unwrap()]);
    let ran = night.call(&["land"]).exit(6).says("and was http://127.0.0.1:1/octo/demo.git");
    let night = ran.then();
    assert_eq!(branches_there(&night), 0);
    night.call(&["land", "last"]).exit(0).says("out").landed(["a"]);
}

#[test]
fn a_branch_of_another_machine_is_never_taken_over() {
    let night = one_task().tier("off").commit();
    // Made after the night looked for a free name: another machine began at the same moment.
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    let (tomorrow, remote) = (today.saturating_add(1.day()), night.remote());
    let agent = format!(
        "echo a > src/from_a.txt; export GIT_DIR='{}'
        theirs=$(git -c user.name=x -c user.email=x@localhost commit-tree -p main -m t 'main^{{tree}}')
        for day in {today} {tomorrow}; do git update-ref refs/heads/nightshift/$day $theirs; done",
        remote.display()
    );
    fs::write(night.path("agent.sh"), agent).unwrap();
    let ran = night.run(&[]).exit(6);
    assert!(
        line(&ran).contains("which is not of this night; it is another machine's night"),
        "{}",
        line(&ran)
    );
    let branch = ran.branch().unwrap();
    let night = ran.then();
    let theirs = night.git(&["ls-remote", "origin", &format!("refs/heads/{branch}")]);
    let night = night.call(&["land"]).exit(6).says("not of this night").then();
    assert_eq!(night.git(&["ls-remote", "origin", &format!("refs/heads/{branch}")]), theirs);
    night.git(&["push", "-q", "origin", "--delete", &branch]);
    night.call(&["land"]).exit(0).landed(["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_no_of_github_leaves_the_branch_out_and_one_line() {
    let lasting = |fake: &FakeGitHub| fake.fault("repo", Fault::BadCredentials, 99);
    let archived = |fake: &FakeGitHub| fake.settings(|repository| repository.archived = true);
    let no_right = |fake: &FakeGitHub| fake.settings(|repository| repository.push = false);
    let limited = |fake: &FakeGitHub| fake.fault("create", Fault::LongLimit, 99);
    type Break = fn(&FakeGitHub);
    let cases: [(Break, &str, &str); 4] = [
        (lasting, "401", "the token is expired"),
        (archived, "is archived", "unarchive it"),
        (no_right, "does not let this token push", "use another token"),
        (limited, "3600 s more", "less haste"),
    ];
    for (broken, says, help) in cases {
        let fake = FakeGitHub::start().await;
        let night = on_github(&fake, one_task(), "demo");
        broken(&fake);
        let ran = night.run(&[]).exit(6);
        let told = line(&ran);
        assert!(told.contains(says) && told.contains(help), "{told}");
        assert!(told.contains("nightshift land") && !told.contains(TOKEN), "{told}");
        let night = ran.then();
        is_out(&night);
        assert_eq!(fake.pulls().len(), 0, "{says}");
        fake.heal();
        fake.settings(|repository| {
            repository.archived = false;
            repository.push = true;
        });
        let night = night.call(&["land"]).exit(0).says("/octo/demo/pull/1").then();
        assert_eq!(fake.pulls().len(), 1, "{says}");
        let ran = night.call(&["land", "last"]).exit(0).says("/octo/demo/pull/1");
        ran.then().call(&["status"]).exit(0).says("read and merge");
        assert_eq!(fake.pulls().len(), 1, "{says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_the_branch_is_published_later_all_the_same() {
    let fake = FakeGitHub::start().await;
    let night = on_github(&fake, one_task(), "demo");
    fake.fault("repo", Fault::BadCredentials, 99);
    let night = night.run(&[]).exit(6).then();
    fake.heal();
    let branch =
        night.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads/nightshift/"]);
    night.git(&["--git-dir", night.remote().to_str().unwrap(), "branch", "-D", &branch]);
    let output = night.command(&["land"]).env_remove("GH_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("there is no token for"), "{text}");
    is_out(&night.call(&["land"]).exit(0).then());
    assert_eq!(fake.pulls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_repository_gets_its_one_pull_request() {
    let fake = FakeGitHub::start().await;
    fake.rename();
    let night = on_github(&fake, one_task(), "old");
    is_out(&night.run(&[]).exit(0).then());
    assert_eq!(fake.pulls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_its_answer_is_lost_a_publication_is_found_and_not_repeated() {
    let fake = FakeGitHub::start().await;
    let night = on_github(&fake, one_task(), "demo");
    fake.fault("repo", Fault::BadCredentials, 99);
    let night = night.run(&[]).exit(6).then();
    fake.heal();
    for (operation, asked) in [("list", 1), ("create", 1)] {
        let before = fake.count(operation);
        fake.fault(operation, Fault::Silent, 1);
        let mut land = night.command(&["land"]);
        let mut child = land.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the request", || fake.count(operation) >= before + asked);
        kill(&mut child);
        fake.heal();
    }
    let ran = night.call(&["status"]).exit(0).says("not out yet").says("next: nightshift land");
    let night = ran.then().run(&[]).exit(0).says("published later").then();
    assert_eq!(fake.pulls().len(), 1);
    assert_eq!(fake.count("create"), 1);
    is_out(&night.call(&["land"]).exit(0).says("nothing waits to be published").then());
}

#[test]
fn a_secret_that_the_remote_found_is_told_with_its_commit_and_its_task() {
    let night = one_task().tier("off").commit();
    let script = "read -r old new ref
        echo 'error: GH013: Repository rule violations found for refs/heads/x.' >&2
        echo '- GITHUB PUSH PROTECTION' >&2
        echo \"      - commit: $new\" >&2
        echo '        path: src/from_a.txt:1' >&2
        exit 1";
    hook(&night, script);
    let ran = night.run(&[]).exit(6);
    let told = line(&ran);
    assert!(told.contains("src/from_a.txt:1 in commit") && told.contains("(task a)"), "{told}");
    assert!(told.contains("`nightshift revert a`"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_who_opens_pull_requests_and_who_can_approve_them() {
    let fake = FakeGitHub::start().await;
    let night = on_github(&fake, one_task(), "demo");
    let ran = night.call(&["doctor"]).says("with the token of GH_TOKEN");
    let ran = ran.says("come from nightowl, who cannot approve them").says("asks for 1 approval:");
    let night = ran.then();
    fake.fault("repo", Fault::NotFound, 1);
    night.call(&["doctor"]).says("give the token access to it at").says("/settings/tokens");
}
