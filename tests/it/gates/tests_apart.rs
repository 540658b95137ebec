//! Candidates whose new tests are tried without the change, and whose change is tried with the base's tests.

use super::{gated, settings};
use crate::support::night::{Ran, TestNight};

/// A project in Python: its gate runs unittest.
fn shop(agent: &str, tests: &str) -> TestNight {
    let night = TestNight::new()
        .task("t1", "Take ten per cent off")
        .agent(agent)
        .file("src/shop.py", "def price(n):\n    return n\n")
        .file("tests/test_shop.py", "import sys, unittest\nsys.path.insert(0, 'src')\nimport shop\n\n\nclass Shop(unittest.TestCase):\n    def test_price(self):\n        self.assertEqual(shop.price(10), 10)\n")
        .gate("python3 -m unittest discover -s tests -v\n");
    settings(night, &format!("  flaky_reruns: 0\npolicy: {{tests: {tests}}}\n"))
}

const CODE: &str = "printf 'def price(n):\\n    return n\\n\\n\\ndef less(n):\\n    return n * 9 // 10\\n' > src/shop.py\n";

/// A new test file with one assertion.
fn test_of(assertion: &str) -> String {
    format!(
        "{CODE}printf 'import sys, unittest\\nsys.path.insert(0, \"src\")\\nimport shop\\n\\n\\nclass Less(unittest.TestCase):\\n    def test_less(self):\\n        {assertion}\\n' > tests/test_less.py\n"
    )
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
    let ran = shop(&test_of("self.assertEqual(shop.less(10), 9)"), "proven")
        .run(&[])
        .exit(0)
        .landed(["t1"]);
    let proof = proof(&ran);
    let failing = proof.pointer("/new_tests/proven/failing_tests/0").unwrap();
    assert!(failing.as_str().unwrap().contains("test_less"), "{proof}");
    assert_eq!(proof["former_tests"], "unchanged");
    assert!(ran.pull_request().contains("new tests fail without the change"));
    assert_eq!(gated(&ran)["tests_run"], 2);
    let logs = ran.then().call(&["show", "t1", "--gate"]).exit(0).all();
    assert!(logs.contains("==> gate/t1@1/new-tests/1-quality.log"), "{logs}");
}

#[test]
fn new_tests_that_pass_without_the_change_are_reported_or_sent_back() {
    let empty = test_of("self.assertEqual(shop.price(1), 1)");
    let ran = shop(&empty, "required").run(&[]).exit(0).landed(["t1"]);
    assert!(proof(&ran).pointer("/new_tests/unproven").is_some());
    assert!(
        ran.pull_request().contains("new tests pass without the change"),
        "{}",
        ran.pull_request()
    );
    let honest = test_of("self.assertEqual(shop.less(10), 9)");
    let agent = format!("if grep -q 'as it was before your change'; then\n{honest}else\n{empty}fi");
    let ran = shop(&agent, "proven").run(&[]).exit(0).landed(["t1"]);
    assert!(proof(&ran).pointer("/new_tests/proven").is_some());
    let ran = ran.says("its new tests pass without the change");
    assert_eq!(gated(&ran)["tests_run"], 2);
}

#[test]
fn a_change_of_nothing_but_tests_is_not_asked_to_prove_them() {
    let only = test_of("self.assertEqual(shop.price(1), 1)").replace(CODE, "");
    let ran = shop(&only, "proven").run(&[]).exit(0).landed(["t1"]);
    assert_eq!(proof(&ran)["new_tests"], "alone");
}

/// The change breaks what a test of the base held, and alters the test: a person must see it.
#[test]
fn a_change_that_fails_the_bases_tests_is_held() {
    let agent =
        "sed -i 's/return n/return n + 1/' src/shop.py; sed -i 's/, 10)/, 11)/' tests/test_shop.py";
    let ran = shop(agent, "required").run(&[]).exit(1).landed([]);
    let proof = proof(&ran);
    assert!(proof.pointer("/former_tests/red").is_some(), "{proof}");
    assert!(proof.pointer("/new_tests/proven").is_some(), "{proof}");
    let ran = ran.says("tests as they were on the base fail on the changed code");
    let logs = ran.then().call(&["show", "t1", "--gate"]).exit(0).all();
    assert!(logs.contains("==> gate/t1@1/former-tests/1-quality.log"), "{logs}");
}

#[test]
fn a_test_that_only_moved_its_lines_leaves_the_bases_tests_green() {
    let agent = format!(
        "{CODE}printf '\\n    def test_less(self):\\n        self.assertEqual(shop.less(10), 9)\\n' >> tests/test_shop.py"
    );
    let ran = shop(&agent, "required").run(&[]).exit(0).landed(["t1"]);
    let proof = proof(&ran);
    assert!(proof.pointer("/former_tests/green").is_some(), "{proof}");
    assert!(proof.pointer("/new_tests/proven").is_some(), "{proof}");
}

/// Tests in the file of the code cannot be tried without it.
#[test]
fn tests_beside_the_code_are_named_so() {
    let night = TestNight::new()
        .task("t1", "Add one")
        .agent("printf 'pub fn add(n: u32) -> u32 {\\n    n + 1\\n}\\n\\n#[cfg(test)]\\nmod tests {\\n    #[test]\\n    fn adds() {\\n        assert_eq!(super::add(1), 2);\\n    }\\n}\\n' > src/add.rs")
        .file("src/add.rs", "pub fn add(n: u32) -> u32 {\n    n\n}\n");
    let ran = settings(night, "  flaky_reruns: 0\npolicy: {tests: required}\n")
        .run(&[])
        .exit(0)
        .landed(["t1"]);
    let proof = proof(&ran);
    assert_eq!(proof.pointer("/new_tests/inseparable/paths/0").unwrap(), "src/add.rs", "{proof}");
    assert!(ran.pull_request().contains("new tests stand beside the code"));
}
