//! The table of rules against the code: every id that can be said has its row, and every row an id that can be
//! said. The documents that are printed from it, and what a night does with a secret.

use std::{collections::BTreeSet, fs};

use nightshift::{
    config,
    policy::{Policy, RULES, document},
};

use crate::{
    cheats::filled,
    support::night::TestNight,
    tidy::{code_below, read},
};

/// Ids of rules in a text: quoted, in the form `phase.some-words`, and no key of the configuration.
fn ids(text: &str) -> BTreeSet<String> {
    let known = config::keys();
    let quoted = regex::Regex::new(r#""((?:admission|inspection|gate|tests)\.[a-z-]+)""#).unwrap();
    let found = quoted.captures_iter(text).map(|found| found[1].to_owned());
    found.filter(|id| !known.contains(&id.as_str())).collect()
}

#[test]
fn every_rule_that_the_code_can_say_stands_in_the_table() {
    let mut said = BTreeSet::new();
    for room in ["src/policy", "src/night", "src/runner"] {
        for (path, text) in code_below(room) {
            if path != "src/policy/registry.rs" {
                said.extend(ids(&text));
            }
        }
    }
    // Keys of the configuration that other rooms name, and that hold no value of their own; a file's name.
    said.retain(|id| id != "gate.canary" && id != "tests.rs");
    let rows: BTreeSet<String> = RULES.iter().map(|rule| rule.id.to_owned()).collect();
    let missing: Vec<&String> = said.difference(&rows).collect();
    assert!(missing.is_empty(), "add to src/policy/registry.rs: {missing:?}");
    let unsaid: Vec<&String> = rows.difference(&said).collect();
    assert!(unsaid.is_empty(), "no code says these rules: {unsaid:?}");
}

#[test]
fn ids_are_told_from_other_words() {
    let text =
        r#"a("admission.lines"), "limits.tasks" "gate.steps" "gate.proof" "tests.Old" "gate.""#;
    let found: Vec<String> = ids(text).into_iter().collect();
    assert_eq!(found, ["admission.lines", "gate.proof"]);
}

#[test]
fn the_page_of_the_policy_is_what_the_program_prints() {
    let page = read("docs/policy.md");
    let (_, rest) = page.split_once("<!-- config show --policy -->\n\n").expect("the beginning");
    let (block, _) = rest.split_once("\n<!-- end -->").expect("the end");
    let printed = document(&Policy::default()).replace("\n## ", "\n### ");
    let printed = printed.strip_prefix("## ").map(|rest| format!("### {rest}")).unwrap();
    assert!(
        block.trim_end() == printed.trim_end(),
        "docs/policy.md is old; between its two comments must stand what `nightshift config show --policy` \
         prints for built-in rules, with headings one level deeper:\n{printed}"
    );
}

#[test]
fn every_key_is_told_in_the_page_of_the_configuration() {
    let page = read("docs/configuration.md");
    for key in config::keys() {
        let last = key.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("{last}:")), "`{key}` is not in docs/configuration.md");
    }
}

#[test]
fn an_attempt_with_a_secret_stays_in_the_vault_and_is_shown_masked() {
    let value = filled("{AWS}");
    let (head, tail) = value.split_at(6);
    let script = format!("printf 'KEY = \"{head}''{tail}\"\\n' > src/key.py; echo two > src/b.txt");
    let config = "limits:\n  attempts: 1\n";
    let night = TestNight::new().file(".nightshift/config.yml", config).task("t1", "Add a file");
    let ran = night.agent(&script).run(&[]).exit(1).landed([]).says("inspection.secret");
    assert!(!ran.all().contains(&value));
    let journal = fs::read_to_string(ran.journal()).unwrap();
    assert!(!journal.contains(&value) && journal.contains("inspection.secret"));
    let night = ran.then();
    assert_eq!(night.git(&["for-each-ref", "refs/nightshift/attempts"]).trim(), "");
    let shown = night.call(&["show", "t1", "--diff"]).exit(0).says("src/b.txt").says("KEY = \"***");
    assert!(!shown.all().contains(&value), "{}", shown.all());
}

#[test]
fn the_bases_own_rules_for_secrets_hold_and_what_cannot_be_held_is_told() {
    let rules = "[[rules]]\nid = 'shop-key'\nregex = '''shop-[0-9]{6}'''\n\
                 [[rules]]\nid = 'odd'\nregex = '''(?=x)'''\n";
    let config = "limits:\n  attempts: 1\n";
    let night = TestNight::new().file(".gitleaks.toml", rules).task("t1", "Add a file");
    let night = night.file(".nightshift/config.yml", config);
    let ran = night.agent("echo 'key shop-123456' > src/b.txt").run(&[]).exit(1).landed([]);
    let night = ran.says("shop-key").then();
    night.call(&["show", "t1"]).exit(0).says("rule `odd`: its `regex` cannot be used");
}
