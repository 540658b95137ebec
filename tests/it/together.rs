//! Several tasks at once, with the real program: they overlap, land one after another, and each commit is gated at
//! exactly its own tree.

use std::process::{Child, Stdio};

use crate::{
    resume::wait_for,
    support::{
        kernel,
        night::{Ran, TestNight},
    },
};

/// A run of which the output is kept.
pub(crate) fn start(night: &TestNight, arguments: &[&str]) -> Child {
    let arguments = [&["run", "--agent", "test"], arguments].concat();
    night.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How it ended.
pub(crate) fn ended(night: TestNight, child: Child) -> Ran {
    Ran::of(night, child.wait_with_output().unwrap())
}

fn three(script: &str) -> TestNight {
    let night = TestNight::new().task("a", "Add one").task("b", "Add two").task("c", "Add three");
    night.agent(&TestNight::waits(script))
}

/// The kinds of workspace that this machine can have, with walls.
fn kinds() -> Vec<&'static str> {
    if kernel::has_namespaces() {
        return vec!["pool", "overlay"];
    }
    kernel::missing("no user namespaces: no layers, and no network of one's own");
    vec!["pool"]
}

#[test]
fn three_agents_work_at_once_and_what_they_made_lands_one_after_another() {
    for kind in kinds() {
        let night = three("echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt");
        let night = night.workspaces(kind).commit();
        let child = start(&night, &[]);
        wait_for("three agents at once", || night.agents() == 3);
        night.go(&["a", "b", "c"]);
        let ran = ended(night, child).exit(0).landed_in_any_order(["a", "b", "c"]);
        let ran = ran
            .holds("src/from_a.txt", "a")
            .holds("src/from_b.txt", "b")
            .holds("src/from_c.txt", "c");
        let journal = std::fs::read_to_string(ran.journal()).unwrap();
        let count = |what: &str| journal.matches(&format!("\"event\":{{\"{what}\"")).count();
        // All three began at the base, so all but the first were rebuilt and gated at their new trees.
        assert!(count("restacked") >= 2, "{kind}: {journal}");
        assert_eq!(count("landed"), 3, "{kind}");
        assert_eq!(journal.matches("\"began\":{\"run_agent\"").count(), 3, "{kind}: one try each");
    }
}

#[test]
fn what_does_not_fit_what_landed_meanwhile_goes_back_to_the_agent_with_the_new_base() {
    for kind in kinds() {
        let script = "if [ $NIGHTSHIFT_ATTEMPT = 1 ]; then echo $NIGHTSHIFT_TASK > src/a.txt
            else grep -q 'src/a.txt' || exit 9; echo $NIGHTSHIFT_TASK >> src/a.txt; fi";
        let night = TestNight::new().task("a", "Add one").task("b", "Add two");
        let night = night.agent(&TestNight::waits(script)).workspaces(kind).commit();
        let child = start(&night, &[]);
        wait_for("two agents at once", || night.agents() == 2);
        night.go(&["a"]);
        wait_for("a's landing", || {
            let text = std::fs::read_to_string(night.journal().unwrap()).unwrap();
            text.contains("\"event\":{\"landed\"")
        });
        night.go(&["b"]);
        let ran = ended(night, child).exit(0).landed(["a", "b"]);
        ran.says("does not fit the new tip: conflict in src/a.txt").holds("src/a.txt", "a\nb");
    }
}

#[test]
fn two_agents_at_once_have_the_same_port_each_for_itself() {
    if !kernel::has_namespaces() {
        kernel::missing("no user namespaces: one space of ports for all");
        return;
    }
    let script = "exec perl -MSocket -e '
        socket(S, PF_INET, SOCK_STREAM, 0) or exit 3;
        bind(S, sockaddr_in(3000, INADDR_LOOPBACK)) or exit 4; listen(S, 1) or exit 5;
        open(O, \">src/$ENV{NIGHTSHIFT_TASK}.txt\"); print O \"bound\\n\"; close O;
        while (1) { open(F, $ARGV[0]); last if grep(/^# GO all/, <F>); close F; select(undef, undef, undef, 0.02) }' \"$0\"\nexit 0\n";
    let night = TestNight::new().task("a", "Add one").task("b", "Add two");
    let night = night.agent(script).tier("t2").commit();
    let child = start(&night, &[]);
    let script = night.path("agent.sh").display().to_string();
    wait_for("two servers at once", || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines
            .filter(|line| line.starts_with(b"perl\0"))
            .filter(|line| String::from_utf8_lossy(line).contains(&script))
            .count()
            == 2
    });
    night.go(&["all"]);
    let ran = ended(night, child).exit(0).landed_in_any_order(["a", "b"]);
    ran.holds("src/a.txt", "bound").holds("src/b.txt", "bound");
}

#[test]
fn one_after_another_where_that_is_wanted() {
    let night = three("echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt").commit();
    let child = start(&night, &["-j", "1"]);
    wait_for("the first agent", || night.agents() == 1);
    // Each would be there by now.
    assert_eq!(night.agents(), 1);
    night.go(&["c", "b", "a"]);
    let ran = ended(night, child).exit(0).landed_in_order(["a", "b", "c"]);
    let journal = std::fs::read_to_string(ran.journal()).unwrap();
    assert!(!journal.contains("restack"), "{journal}");
}
