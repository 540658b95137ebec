//! What the base's own gate leaves lies beneath every attempt and gate; what any other run leaves does not.

use crate::support::{kernel, night::TestNight};

/// Counts its own runs in an ignored path, and is red when it sees the run of anybody but the base.
const COUNTING: &str = "#!/bin/sh\nmkdir -p target && echo run >> target/runs\n\
                        echo runs: $(wc -l < target/runs)\n[ $(wc -l < target/runs) -le 2 ]\n";
/// Says what it found, and leaves something of its own beside it.
const AGENT: &str = "[ \"$(cat target/runs)\" = run ] || { echo \"found: $(cat target/runs)\" >&2; exit 9; }\n\
                     echo agent >> target/runs; echo planted > target/planted\n\
                     echo x > src/$NIGHTSHIFT_TASK.txt; echo y > tests/$NIGHTSHIFT_TASK.txt";

/// Both kinds, where the kernel has them.
fn kinds() -> Vec<(&'static str, &'static str)> {
    let mut kinds = vec![("off", "pool")];
    if kernel::has_namespaces() {
        kinds.extend([("t2", "pool"), ("t2", "overlay")]);
    }
    if kernel::has_landlock() {
        kinds.push(("t1", "pool"));
    }
    kinds
}

#[test]
fn every_run_begins_with_what_the_base_left_and_nothing_else() {
    for (tier, kind) in kinds() {
        let night = TestNight::new().tier(tier).workspaces(kind);
        let night = night.gate(COUNTING).task("a", "Add one").task("b", "Add two").agent(AGENT);
        let ran = night.run(&[]).exit(0).landed(["a", "b"]);
        let night = ran.then().call(&["logs", "gate"]).says("runs: 1").then();
        // The next night has a receipt of the base, and its cache.
        let again = night.task_later("c", "Add three").run(&[]).exit(0);
        assert!(!again.all().contains("found:"), "{kind} {tier}: {}", again.all());
    }
}

#[test]
fn a_base_whose_cache_is_gone_runs_its_gate_again() {
    for (tier, kind) in kinds() {
        let night = TestNight::new().tier(tier).workspaces(kind);
        let night = night.gate(COUNTING).task("a", "Add one").agent(AGENT).run(&[]).exit(0).then();
        let caches = night.caches();
        assert_eq!(caches.len(), 1, "{tier} {kind}");
        for cache in &caches {
            std::fs::remove_dir_all(cache).unwrap();
        }
        // Its agent is red without what the base's gate leaves.
        let ran = night.task_later("b", "Add two").run(&[]).exit(0).landed(["b"]);
        assert_eq!(ran.then().caches(), caches, "{tier} {kind}");
    }
}

/// What is green where a gate may do everything may be red where it may not.
#[test]
fn a_receipt_of_weaker_walls_does_not_stand_for_stronger() {
    for (tier, kind) in kinds().into_iter().filter(|(tier, _)| *tier != "off") {
        let night = TestNight::new().tier("off").workspaces(kind);
        let outside = night.path("outside");
        std::fs::write(&outside, "").unwrap();
        let night = night
            .gate(&format!("#!/bin/sh\ncat {}\n", outside.display()))
            .task("a", "Add one")
            .agent("echo x > src/$NIGHTSHIFT_TASK.txt; echo y > tests/$NIGHTSHIFT_TASK.txt");
        let night = night.run(&[]).exit(0).landed(["a"]).then().task_later("b", "Add two");
        // The control: for the same walls it stands.
        let ran = night.run(&[]).exit(0).says("receipt of an earlier run").landed(["b"]);
        let night = ran.then().tier_later(tier).task_later("c", "Add three");
        night.run(&[]).exit(3).says("the gate is red on the base");
    }
}

/// A gate runs what an agent wrote: what that does to directories must not reach the next gate.
#[test]
fn what_a_gates_code_does_to_directories_ends_with_it() {
    const GATE: &str = "#!/bin/sh\nmkdir -p target && [ -e target/made ] || touch target/made\n\
                        if [ -f src/lie ] && [ ! -f src/b.txt ]; then touch -d 2001-01-01 src target; exit 0; fi\n\
                        for d in src target; do\n\
                        [ $(stat -c %Y $d) -gt 1500000000 ] || { echo $d is not ours; exit 1; }\ndone\n";
    // What the first task brings lies about the age of directories; the second only adds a file.
    let agent = "if [ $NIGHTSHIFT_TASK = a ]; then echo lie > src/lie; else echo y > src/b.txt; fi
        echo z > tests/$NIGHTSHIFT_TASK.txt";
    for (tier, kind) in kinds() {
        let night = TestNight::new().tier(tier).workspaces(kind).gate(GATE);
        let night = night.task("a", "Add one").task("b", "Add two").agent(agent);
        let ran = night.run(&[]);
        let logs = ran.everything_kept();
        assert!(!logs.contains("is not ours\n"), "{tier} {kind}: {}", ran.all());
        ran.exit(0).landed(["a", "b"]);
    }
}

/// Package stores are seen and not changed by agents and gates; what the set-up adds is there for all of them.
#[test]
fn what_a_set_up_fetches_is_there_for_the_gate() {
    const CONFIG: &str = "version: 1\ngate:\n  setup: [sh scripts/setup.sh]\n  \
                          steps: [{name: quality, run: sh scripts/check.sh}]\n";
    for (tier, kind) in kinds().into_iter().filter(|(tier, _)| *tier != "off") {
        let night = TestNight::new();
        let cargo = night.path("cargo");
        std::fs::create_dir_all(cargo.join("registry")).unwrap();
        std::fs::write(cargo.join("registry/there"), "").unwrap();
        let ran = night
            .tier(tier)
            .workspaces(kind)
            .env("CARGO_HOME", cargo.to_str().unwrap())
            .file(".nightshift/config.yml", CONFIG)
            .file("scripts/setup.sh", "echo x > $CARGO_HOME/registry/fetched\n")
            .file(
                "scripts/check.sh",
                "cat $CARGO_HOME/registry/fetched $CARGO_HOME/registry/there\n",
            )
            .task("a", "Add one")
            .agent("cat $CARGO_HOME/registry/fetched && echo x > src/n.txt && echo y > tests/n.txt")
            .run(&[]);
        let _alive = ran.exit(0).landed(["a"]);
        // With layers the machine's own store stays as it was.
        assert_eq!(cargo.join("registry/fetched").exists(), tier == "t1", "{tier} {kind}");
    }
}

#[test]
fn a_set_up_runs_once_before_the_bases_gate() {
    const CONFIG: &str = "version: 1\ngate:\n  setup: [sh scripts/setup.sh]\n  \
                          steps: [{name: quality, run: sh scripts/check.sh}]\n";
    for (tier, kind) in kinds() {
        let ran = TestNight::new()
            .tier(tier)
            .workspaces(kind)
            .file(".nightshift/config.yml", CONFIG)
            .file(".gitignore", "/modules/\n")
            .file("scripts/setup.sh", "mkdir -p modules && echo set up >> modules/dep\n")
            .file("scripts/check.sh", "[ \"$(cat modules/dep)\" = 'set up' ]\n")
            .task("a", "Add one")
            .agent("cat modules/dep && echo x > src/new.txt && echo y > tests/new.txt")
            .run(&[]);
        ran.exit(0).landed(["a"]).lacks("modules/dep");
    }
}

/// A night whose tasks cannot do without what the base's set-up makes. Without walls, so that its programs can
/// take it away.
fn with_set_up(setup: &str) -> TestNight {
    let config = format!(
        "version: 1\ngate:\n  setup: [{setup}]\n  steps: [{{name: quality, run: sh scripts/check.sh}}]\n"
    );
    TestNight::new()
        .tier("off")
        .workspaces("pool")
        .file(".nightshift/config.yml", config)
        .file(".gitignore", "/modules/\n")
        .file("scripts/setup.sh", "mkdir -p modules && echo set up >> modules/dep\n")
        .file("scripts/check.sh", "[ \"$(cat modules/dep)\" = 'set up' ]\n")
        .task("a", "Add one")
}

#[test]
fn what_a_set_up_made_and_somebody_removed_is_made_again_before_anything_goes_on() {
    let night = with_set_up("sh scripts/setup.sh");
    let ran =
        night.agent("rm -r ../../caches; echo x > src/x.txt && echo y > tests/x.txt").run(&[]);
    assert_eq!(ran.exit(0).landed(["a"]).then().caches().len(), 1);
}

#[test]
fn a_night_stops_when_what_its_set_up_made_cannot_be_kept() {
    let ran = with_set_up("'sh scripts/setup.sh; rm -rf ../../caches; echo > ../../caches'")
        .agent("echo x > src/x.txt && echo y > tests/x.txt")
        .run(&[]);
    let ran = ran.exit(4).landed([]);
    let ran =
        ran.says("could not keep what `gate.setup` or `.worktreeinclude` brings for all tasks");
    assert!(!ran.all().contains(" edited "), "{}", ran.all());
    // The control: without a set-up, nobody needs it.
    let ran = TestNight::new()
        .tier("off")
        .gate("#!/bin/sh\nrm -rf ../../caches; echo > ../../caches\n")
        .task("a", "Add one")
        .agent("echo x > src/x.txt && echo y > tests/x.txt")
        .run(&[]);
    ran.exit(0).landed(["a"]);
}

#[test]
fn a_set_up_that_fails_is_a_red_base() {
    let ran = TestNight::new()
        .file(".nightshift/config.yml", "version: 1\ngate:\n  setup: exit 3\n  steps: 'true'\n")
        .task("a", "Add one")
        .run(&[]);
    ran.exit(3).says("setup-1");
}

#[test]
fn ignored_files_of_the_person_are_brought_along_and_never_committed() {
    for (tier, kind) in kinds() {
        let night = TestNight::new()
            .tier(tier)
            .workspaces(kind)
            .file(".gitignore", "/local.yml\n")
            .file(".worktreeinclude", "local.yml\n")
            .gate("#!/bin/sh\ngrep -q password local.yml\n")
            .task("a", "Add one")
            .agent("cp local.yml src/copied.txt; echo y > tests/new.txt")
            .commit()
            .file("local.yml", "password: correct-horse-battery\n");
        let ran = night.run(&[]).exit(0).landed(["a"]).lacks("local.yml");
        assert!(!ran.all().contains("correct-horse"), "{}", ran.all());
    }
}

#[test]
fn a_gate_talks_to_nobody_unless_it_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let gate = format!(
        "#!/bin/sh\nif timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'; then echo reached; exit 1; fi\n"
    );
    let night = || {
        TestNight::new()
            .gate(&gate)
            .task("a", "Add one")
            .agent("echo x > src/x.txt; echo y > tests/y.txt")
    };
    if kernel::has_namespaces() {
        night().tier("t2").run(&[]).exit(0).landed(["a"]);
    }
    if kernel::has_landlock() {
        night().tier("t1").run(&[]).exit(0).landed(["a"]);
    }
    let ran = night().tier("off").run(&[]).exit(3);
    ran.then().call(&["logs", "gate"]).says("reached");
}
