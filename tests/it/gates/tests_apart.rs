//! Candidates whose new tests are tried without the change, and whose change is tried with the base's tests.

use super::{gated, settings};
use crate::support::night::{Ran, TestNight};

/// Files look as Python's, so that they are known as tests; what they assert is that a word is in the code. No
/// machine needs an interpreter for that.
const GATE: &str = r#"failed=0; count=0
for test in tests/test_*.py; do
    while read -r line; do
        case $line in assert*) ;; *) continue;; esac
        count=$((count + 1))
        word=${line#*\"}; word=${word%%\"*}
        if ! grep -q "$word" src/shop.py; then echo "not ok $test $word"; failed=1; fi
    done < "$test"
done
echo '# tests' $count
exit $failed
"#;

/// A project with one test.
fn shop(agent: &str, tests: &str) -> TestNight {
    let night = TestNight::new()
        .task("t1", "Take ten per cent off")
        .agent(agent)
        .file("src/shop.py", "def price(n):\n    return n\n")
        .file("tests/test_shop.py", "def test_price():\n    assert \"return n\" in CODE\n")
        .gate(GATE);
    settings(
        night,
        &format!("  steps: sh .ai-validation/check_quality.sh\npolicy: {{tests: {tests}}}\n"),
    )
}

const CODE: &str = "printf 'def less(n):\\n    return n * 9 // 10\\n' >> src/shop.py\n";

/// A new test file that wants this word in the code.
fn test_of(word: &str) -> String {
    format!("printf 'def test_less():\\n    assert \"{word}\" in CODE\\n' > tests/test_less.py\n")
}

fn proof(ran: &Ran) -> serde_json::Value {
    let journal = std::fs::read_to_string(ran.journal()).unwrap();
    let entries = journal.lines().skip(1).map(|line| serde_json::from_str(line).unwrap());
    let found = entries
        .filter_map(|entry: serde_json::Value| entry.pointer("/event/tests_proven/proof").cloned());
    found.last().expect("tests that were tried")
}

#[test]
fn new_tests_that_fail_without_the_change_are_proven() {
    let agent = format!("{CODE}{}", test_of("def less"));
    let ran = shop(&agent, "proven").run(&[]).exit(0).landed(["t1"]);
    let proof = proof(&ran);
    let failing = proof.pointer("/new_tests/proven/failing_tests/0").unwrap();
    assert_eq!(failing, "tests/test_less.py def less", "{proof}");
    assert_eq!(proof["former_tests"], "unchanged");
    assert!(ran.pull_request().contains("new tests fail without the change"));
    assert_eq!(gated(&ran)["tests_run"], 2);
    let logs = ran.then().call(&["show", "t1", "--gate"]).exit(0).all();
    assert!(logs.contains("==> gate/t1@1/new-tests/1-quality.log"), "{logs}");
}

#[test]
fn new_tests_that_pass_without_the_change_are_reported_or_sent_back() {
    let empty = format!("{CODE}{}", test_of("def price"));
    let ran = shop(&empty, "required").run(&[]).exit(0).landed(["t1"]);
    assert!(proof(&ran).pointer("/new_tests/unproven").is_some());
    let text = ran.pull_request();
    assert!(text.contains("new tests pass without the change"), "{text}");
    let honest = format!("{CODE}{}", test_of("def less"));
    let agent = format!("if grep -q 'as it was before your change'; then\n{honest}else\n{empty}fi");
    let ran = shop(&agent, "proven").run(&[]).exit(0).landed(["t1"]);
    assert!(proof(&ran).pointer("/new_tests/proven").is_some());
    ran.says("its new tests pass without the change");
}

#[test]
fn a_change_of_nothing_but_tests_is_not_asked_to_prove_them() {
    let ran = shop(&test_of("def price"), "proven").run(&[]).exit(0).landed(["t1"]);
    assert_eq!(proof(&ran)["new_tests"], "alone");
}

/// The change breaks what a test of the base held, and alters the test: a person must see it.
#[test]
fn a_change_that_fails_the_bases_tests_is_held() {
    let agent =
        "sed -i 's/return n/yield n/' src/shop.py; sed -i 's/return n/yield n/' tests/test_shop.py";
    let ran = shop(agent, "required").run(&[]).exit(1).landed([]);
    let proof = proof(&ran);
    let failing = proof.pointer("/former_tests/red/failing_tests/0");
    assert_eq!(failing.unwrap(), "tests/test_shop.py return n", "{proof}");
    assert!(proof.pointer("/new_tests/proven").is_some(), "{proof}");
    let ran = ran.says("tests as they were on the base fail on the changed code");
    let logs = ran.then().call(&["show", "t1", "--gate"]).exit(0).all();
    assert!(logs.contains("==> gate/t1@1/former-tests/1-quality.log"), "{logs}");
}

#[test]
fn what_the_bases_tests_hold_back_lands_when_a_person_approves_it() {
    let agent =
        "sed -i 's/return n/yield n/' src/shop.py; sed -i 's/return n/yield n/' tests/test_shop.py";
    let ran = shop(agent, "required").run(&[]).exit(1).landed([]).says("HELD FOR YOU 1");
    let ran = ran.then().call(&["approve", "t1"]).exit(0).landed(["t1"]).says("tests.former");
    assert!(ran.pull_request().contains("had asked"), "{}", ran.pull_request());
}

#[test]
fn a_test_file_that_only_grew_leaves_the_bases_tests_green() {
    let agent = format!(
        "{CODE}printf 'def test_less():\\n    assert \"def less\" in CODE\\n' >> tests/test_shop.py"
    );
    let ran = shop(&agent, "required").run(&[]).exit(0).landed(["t1"]);
    let proof = proof(&ran);
    assert!(proof.pointer("/former_tests/green").is_some(), "{proof}");
    assert!(proof.pointer("/new_tests/proven").is_some(), "{proof}");
}

/// Tests in the file of the code cannot be tried without it.
#[test]
fn tests_beside_the_code_are_named_so() {
    let tests = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn adds() {\n        assert_eq!(super::add(1), 2);\n    }\n}\n";
    let night = TestNight::new()
        .task("t1", "Add one")
        .agent("sed -i 's/^    n$/    n + 1/' src/add.rs; cat tests/tail.txt >> src/add.rs")
        .file("src/add.rs", "pub fn add(n: u32) -> u32 {\n    n\n}\n")
        .file("tests/tail.txt", tests);
    let ran = night.run(&[]).exit(0).landed(["t1"]);
    let proof = proof(&ran);
    assert_eq!(proof.pointer("/new_tests/inseparable/paths/0").unwrap(), "src/add.rs", "{proof}");
    assert!(ran.pull_request().contains("new tests stand beside the code"));
}

/// What a test beside the code asserts is that a word is in the code around it.
const BESIDE: &str = r#"failed=0; count=0
while read -r line; do
    case $line in assert*) ;; *) continue;; esac
    count=$((count + 1))
    word=${line#*\"}; word=${word%%\"*}
    if ! grep -v assert src/add.rs | grep -q "$word"; then echo "not ok $word"; failed=1; fi
done < src/add.rs
echo '# tests' $count
exit $failed
"#;

/// A file of code with a test in it.
fn beside(title: &str, agent: &str, policy: &str) -> TestNight {
    let code = "pub fn add(n: u32) -> u32 {\n    n + 1\n}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    \
                fn adds() {\n        assert!(CODE.contains(\"n + 1\"));\n    }\n}\n";
    let night =
        TestNight::new().task("t1", title).agent(agent).file("src/add.rs", code).gate(BESIDE);
    let policy = format!(
        "  steps: sh .ai-validation/check_quality.sh\npolicy: {{tests: required{policy}}}\n"
    );
    settings(night, &policy)
}

const BENT: &str = "sed -i 's/n + 1/n + 2/' src/add.rs";

/// Code and test are bent in one file: the base's test is put back, and a person must see what it says.
#[test]
fn a_change_that_fails_the_bases_tests_beside_the_code_is_held() {
    let ran = beside("Add one", BENT, "").run(&[]).exit(1).landed([]).says("HELD FOR YOU 1");
    let proof = proof(&ran);
    let red = proof.pointer("/former_tests/red").unwrap();
    assert_eq!(red["failing_tests"][0], "n + 1", "{proof}");
    assert_eq!(red["beside"][0], "src/add.rs", "{proof}");
    ran.says("those beside the code were put back into src/add.rs");
}

#[test]
fn tests_beside_the_code_that_only_grew_leave_the_bases_tests_green() {
    let agent = "sed -i 's/^    n + 1$/    n + 1 + NONE/; s/^    #.test.$/&\\n    fn more() {\\n        \
                 assert!(CODE.contains(\"NONE\"));\\n    }\\n\\n&/' src/add.rs";
    let ran = beside("Add one", agent, "").run(&[]).exit(0).landed(["t1"]);
    let proof = proof(&ran);
    assert!(proof.pointer("/former_tests/green").is_some(), "{proof}");
    let same = "sed -i 's/^    n + 1$/    n + 1 + NONE/' src/add.rs";
    let ran = beside("Add one", same, "").run(&[]).exit(0).landed(["t1"]);
    assert_eq!(self::proof(&ran)["former_tests"], "unchanged");
}

/// A renamed function takes its tests along: whoever asks for that need not approve it.
#[test]
fn other_tests_land_where_the_task_or_the_settings_ask_for_them() {
    let asked = beside("Rewrite the tests of add", BENT, "").run(&[]).exit(0).landed(["t1"]);
    assert!(proof(&asked).pointer("/former_tests/red").is_some());
    let allowed = beside("Add one", BENT, ", weaker_tests: allow").run(&[]).exit(0).landed(["t1"]);
    assert!(proof(&allowed).pointer("/former_tests/red").is_some());
}
