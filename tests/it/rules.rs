//! The table of rules against the code: every id that can be said has its row, and every row an id that can be
//! said. And the documents that are printed from it.

use std::collections::BTreeSet;

use nightshift::{
    config,
    policy::{Policy, RULES, document},
};

use crate::tidy::{code_below, read};

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
