//! What plans mean, as pairs of texts: a plan, and what is read in it.

use std::fmt::Write as _;

use super::*;
use crate::plan::{Readiness, Task};

const SEED: &str = "\
# Project plan

## Current tasks

### Ready for Autonomous Execution
→ **[task_3]** Add User model with email and password fields
  - Alignment score: 95/100
  - Estimated lines: 10
  - Tests defined: ✅ Yes (tests/unit/test_user.py)
  - Safety check: ✅ No breaking changes
  - Status: READY
  - Auto-approved: 2025-11-19 22:00
→ **[task_5]** Add password hashing function
  - Alignment score: 92/100
  - Estimated lines: 8-12
  - Tests defined: ✅ Yes (tests/unit/test_hash.py)
  - Safety check: ✅ Pure function
  - Status: READY

### Pending Approval
→ **[task_7]** Add login endpoint
  - Alignment score: 88/100
  - Safety check: ⚠️ Touches authentication
  - Status: PENDING
  - [ ] **APPROVA**

### Not Ready for Autonomous Execution
→ **[task_9]** Migrate the database
  - Safety check: ❌ Schema change
  - Status: BLOCKED
→ **[task_10]** Choose a payment provider
  - Reason: needs a decision
";

fn read(source: &str) -> (Plan, Vec<Diagnostic>) {
    parse(source, &SectionWords::default())
}

/// The tasks that may run.
fn ready(source: &str) -> Vec<String> {
    let (plan, _) = read(source);
    let ready = plan.tasks.iter().filter(|task| task.readiness() == Readiness::Ready);
    ready.map(|task| task.id.to_string()).collect()
}

/// All tasks with a letter for their readiness.
fn all(source: &str) -> String {
    let mut text = String::new();
    for task in read(source).0.tasks {
        let letter = match task.readiness() {
            Readiness::Ready => 'R',
            Readiness::NeedsApproval => 'A',
            Readiness::Done => 'D',
            Readiness::NotReady(_) => 'N',
        };
        let _ = write!(text, "{}{letter} ", task.id);
    }
    text.trim_end().to_owned()
}

fn codes(source: &str) -> String {
    let codes: Vec<&str> = read(source).1.iter().map(|message| message.code).collect();
    codes.join(" ")
}

fn only(source: &str) -> Task {
    let (plan, _) = read(source);
    assert_eq!(plan.tasks.len(), 1, "{:?}", plan.tasks);
    plan.tasks.into_iter().next().unwrap()
}

const SEED_TASKS: &str = "task_3R task_5R task_7A task_9N task_10N";

#[test]
fn the_original_format_is_read() {
    assert_eq!(all(SEED), SEED_TASKS);
    assert_eq!(codes(SEED), "");
    let (plan, _) = read(SEED);
    let task = &plan.tasks[0];
    assert_eq!(task.title, "Add User model with email and password fields");
    assert_eq!(task.line, 6);
    assert_eq!(task.section.heading, "Ready for Autonomous Execution");
    assert_eq!(task.fields.alignment, Some(95));
    assert_eq!(task.fields.estimated_lines, Some(10));
    let path = Some("tests/unit/test_user.py".to_owned());
    assert_eq!(task.fields.tests, Some(crate::plan::TestsDefined::Yes(path)));
    assert!(!task.fields.approved);
    assert!(task.text.starts_with("→ **[task_3]**") && task.text.ends_with("22:00\n"));
    assert_eq!(plan.tasks[1].fields.estimated_lines, Some(12));
    assert_eq!(plan.tasks[4].fields.reason.as_deref(), Some("needs a decision"));
}

#[test]
fn the_same_plan_in_other_clothes_is_the_same_plan() {
    let spaces = |wide: &str| SEED.replace("\n  - ", &format!("\n{wide}- "));
    for plan in [
        SEED.replace('\n', "\r\n"),
        format!("\u{feff}{SEED}"),
        spaces("\t"),
        spaces("    "),
        spaces(""),
        SEED.replace('→', "➡️"),
        SEED.replace("→ ", "- "),
        SEED.replace("→ ", "* "),
        SEED.replace("→ ", "1. ").replace("\n  - ", "\n   - "),
        SEED.replace("→ **[", "→ [").replace("]** ", "] "),
        SEED.replace("→ ", "\n→ "),
        SEED.replace("\n  - ", "\n\n  - "),
        SEED.replace("→ **[", "???**["),
        SEED.replace("  - Status: ", "  - **Status:** "),
        SEED.replace("### ", "#### ").replace("## ", "# "),
        format!("---\ntitle: Plan\nstatus: READY\n---\n{SEED}"),
    ] {
        assert_eq!(all(&plan), SEED_TASKS, "{plan}");
        assert_eq!(codes(&plan), "", "{plan}");
    }
    for (sign, code) in [("‚Üí", "P020"), ("â†’", "P020")] {
        let plan = SEED.replace('→', sign);
        assert_eq!(all(&plan), SEED_TASKS, "{plan}");
        assert_eq!(codes(&plan), code);
    }
}

#[test]
fn bytes_that_are_not_utf8_keep_their_places() {
    let mut bytes = SEED.replace('→', "->").into_bytes();
    let at = bytes.windows(5).position(|part| part == b"email").unwrap();
    bytes[at] = 0xe9;
    let (text, message) = decode(&bytes);
    assert_eq!(text.len(), bytes.len());
    assert_eq!(message.unwrap().span, at..at + 1);
    assert_eq!(all(&text), SEED_TASKS);
    assert!(decode(b"plain").1.is_none());
    assert!(decode(b"\xff\xfe#\0").1.unwrap().message.contains("UTF-16"));
}

#[test]
fn everyday_forms_are_tasks() {
    for (plan, tasks) in [
        ("## Ready\n- [ ] Add a model\n- [x] Add a view\n", "add-a-modelR add-a-viewD"),
        ("## Ready\n- **[a1]** Add x\n- **[a2]** Add y\n", "a1R a2R"),
        ("## Ready\n1. Add x\n2. Add y\n   - Status: PENDING\n", "add-xR add-yA"),
        ("## Tonight\n- [ ] T003 [P] Add x\n- [ ] T004 Add y\n", "T003R T004R"),
        ("## Ready\n\n### 1. Models\n- [ ] 1.1 Add x\n- [x] 1.2 Add y\n", "1.1R 1.2D"),
        ("## Ready\n- #412 Fix the login\n- login_2: Fix the logout\n", "#412R login_2R"),
        (
            "## Ready\n### ABC-12: Add x\nStatus: READY\n\nText.\n### ABC-13: Add y\n",
            "ABC-12R ABC-13R",
        ),
        ("## Ready\n### Task 3: Add x\n- do this\n- do that\n", "task-3R"),
        ("## Ready\n- Add x\n  - Id: own_id\n", "own_idR"),
        ("Ready\n=====\n- Add x\n", "add-xR"),
        ("## Ready\n- Phase 1\n  - [ ] Add x\n  - [ ] Add y\n", "add-xR add-yR"),
        (
            "## Ready\n- [ ] Add x\n  - [ ] with this\n  - [x] and that\n- [ ] Add y\n",
            "add-xR add-yR",
        ),
        ("## Ready\n- Add x\n  - Acceptance:\n    - [ ] works\n- Add y\n", "add-xR add-yR"),
        ("## Ready\n1. [t0] Add x\n   - [ ] a step\n2. [t1] Add y\n", "t0R t1R"),
        ("## Ready\n- [-] Add x\n- [~] Add y\n", "add-xN add-yN"),
    ] {
        assert_eq!(all(plan), tasks, "{plan}");
    }
}

#[test]
fn only_a_mark_makes_a_task_ready() {
    for plan in [
        "- [ ] Add x\n",
        "## Tasks\n- [ ] Add x\n- ✅ **[t1]** Add y\n",
        "## Already there\n- [ ] Add x\n",
        "## Ready for review\n- [ ] Add x\n",
        "## Not ready\n- [ ] **[t1]** Add x\n  - Status: READY\n",
        "## Pending\n- **[t1]** Add x\n  - Status: READY\n",
        "## Ready\n- **[t1]** Add x\n  - Status: PENDING\n",
        "## Ready\n- **[t1]** Add x\n  - 🚫 Status: BLOCKED\n",
        "## Ready\n- **[t1]** Add x\n  - Stauts: BLOCKED\n",
        "## Ready\n- **[t1]** Add x\n  - Status: Ready for review\n",
        "## Backlog\n### Ready\n- Add x\n",
        "## Ready\n### Blocked\n- Add x\n",
        "## Ready\n### Notes\n- Add x\n",
        "## Ready\n- [x] Add x\n",
        "## Tasks\n→ **[t1]** Add x\n  - Status: READY | PENDING\n",
    ] {
        assert_eq!(ready(plan), Vec::<String>::new(), "{plan}");
    }
    assert_eq!(ready("# Plan\n→ **[t1]** Add x\n  - Status: READY\n"), ["t1"]);
    assert_eq!(ready("# Plan\n- Add x\n  - Status: READY\n- Add y\n"), ["add-x"]);
    assert_eq!(
        ready("## Ready\n### Phase 1\n- [ ] Add x\n### Phase 2\n- [ ] Add y\n"),
        ["add-x", "add-y"]
    );
}

#[test]
fn a_ticked_approval_frees_a_pending_task() {
    for line in
        ["- [x] Approve", "- [x] **APPROVA**", "- [X] **Approve** this", "- Approved by: Anna"]
    {
        let plan = format!("## Pending\n- **[t1]** Add x\n  {line}\n");
        assert_eq!(ready(&plan), ["t1"], "{plan}");
        let plan = format!("## Ready\n- [ ] t-1: Add x\n  - Status: PENDING\n  {line}\n");
        assert_eq!(all(&plan), "t-1R", "{plan}");
    }
    for line in
        ["- [ ] Approve", "- Auto-approved: today", "- [x] Approve button works", "- Approved: no"]
    {
        let plan = format!("## Pending\n- **[t1]** Add x\n  {line}\n");
        assert_eq!(all(&plan), "t1A", "{plan}");
    }
    let box_list = "## Pending\n- [ ] Add x\n- [x] Approve\n- [ ] Approve refunds\n";
    assert_eq!(all(box_list), "add-xR approve-refundsA");
}

#[test]
fn a_ready_example_in_a_fence_is_no_task() {
    for (open, close) in [
        ("```\n", "```\n"),
        ("~~~ markdown\n", "~~~\n"),
        ("<!--\n", "-->\n"),
        ("text <!-- more\n", "-->\n"),
        ("<div>\n", "</div>\n\n"),
        ("    ```\n", "    ```\n"),
        ("````\n```\n", "```\n````\n"),
    ] {
        let example = "→ **[t1]** Add x\n  - Status: READY\n";
        let plan = format!("# Plan\n\nExample:\n\n{open}{example}{close}");
        assert_eq!(all(&plan), "", "{plan}");
        let plan = format!("## Ready\n→ **[t0]** Add y\n{open}{example}{close}- **[t2]** Add z\n");
        assert_eq!(all(&plan), "t0R t2R", "{plan}");
        assert!(codes(&plan).contains("P011"), "{plan}");
    }
    assert_eq!(all("## Ready\n> → **[t1]** Add x\n→ **[t2]** Add y\n"), "t2R");
    assert_eq!(
        all("## Ready\n| id | title |\n|---|---|\n| **[t1]** | x |\n→ **[t2]** Add y\n"),
        "t2R"
    );
}

#[test]
fn a_rule_below_a_task_makes_it_no_heading() {
    assert_eq!(ready("## Ready\n→ **[t1]** Add x\n---\n→ **[t2]** Add y\n---\n"), ["t1", "t2"]);
    assert_eq!(ready("## Ready\n### A-1: Add x\nStatus: READY\n---\nfoot\n"), ["A-1"]);
}

#[test]
fn fields_are_read_in_their_types() {
    let task = only(
        "## Ready\n- **[t1]** Add x (depends on t1x)\n  - Files: `src/a.rs`, `src/{b,c}.rs`\n  - Acceptance:\n    - [ ] it works\n      and well\n    - Tests: all pass\n  - Model: `opus`\n  - Attempts: 2\n  - Timeout: 20m\n  - Budget: $1.50\n  - Priority: high\n  - Some words\n",
    );
    let fields = &task.fields;
    assert_eq!(task.title, "Add x");
    assert_eq!(fields.files, ["src/a.rs", "src/{b,c}.rs"]);
    assert_eq!(fields.acceptance, ["it works and well", "Tests: all pass"]);
    assert_eq!(fields.model.as_deref(), Some("opus"));
    assert_eq!((fields.attempts, fields.timeout_s), (Some(2), Some(1200)));
    assert_eq!(fields.budget_micros, Some(1_500_000));
    assert_eq!(task.notes, ["  - Priority: high", "  - Some words"]);
    assert_eq!(task.errors.len(), 1);
    assert!(task.errors[0].starts_with("P006"), "{:?}", task.errors);

    let task = only(
        "## Ready\n### A-1: Add x\n**Files:**\n- src/a.rs\n- ./src/b.rs (new)\n**Scope:** only the login form\n\nDone when: it works\n",
    );
    assert_eq!(task.fields.files, ["src/a.rs", "src/b.rs"]);
    assert_eq!(task.fields.acceptance, ["it works"]);
    assert_eq!(task.notes, ["**Scope:** only the login form"]);
}

#[test]
fn an_error_in_one_task_leaves_the_others_alone() {
    for (line, code) in [
        ("Alignment score: high", "P004"),
        ("Status: REDAY", "P005"),
        ("Depends on: nothing_known", "P006"),
        ("Depends on: a", "P007"),
        ("Files: /etc/passwd", "P008"),
        ("Timeout: 30", "P008"),
        ("Budget: 3", "P008"),
        ("Model: a\n  - Model: b", "P003"),
        ("Stauts: READY", "P010"),
    ] {
        let plan =
            format!("## Ready\n- **[a]** Add x\n  - {line}\n- **[b]** Add y\n  - Files: src\n");
        assert_eq!(all(&plan), "aN bR", "{plan}");
        assert!(codes(&plan).contains(code), "{plan} {}", codes(&plan));
        let (parsed, _) = read(&plan);
        assert!(parsed.tasks[0].errors[0].starts_with(code), "{:?}", parsed.tasks[0].errors);
    }
}

#[test]
fn two_tasks_of_one_name_are_both_unusable() {
    let plan = "## Ready\n- **[a]** Add x\n- **[b]** Add y\n- **[a]** Add z\n";
    assert_eq!(all(plan), "aN bR aN");
    let (_, messages) = read(plan);
    let double = messages.iter().find(|message| message.code == "P002").unwrap();
    assert_eq!(double.position(plan), (4, 6));
    assert_eq!(double.also.as_ref().unwrap().0, 14..15);
    assert_eq!(codes("## Later\n- [ ] Write tests\n- [ ] Write tests\n## Ready\n"), "");
}

#[test]
fn a_cycle_names_its_members() {
    let plan = "## Ready\n- [ ] T01 a\n  - After: T03\n- [ ] T02 b\n  - After: T01\n- [ ] T03 c\n  - After: T02\n- [ ] T04 d\n  - After: T01\n";
    assert_eq!(all(plan), "T01N T02N T03N T04R");
    let (_, messages) = read(plan);
    let cycle: Vec<_> = messages.iter().filter(|message| message.code == "P007").collect();
    assert_eq!(cycle.len(), 1);
    assert_eq!(cycle[0].message, "`T01`, `T02`, `T03` wait for each other");
}

#[test]
fn an_unknown_dependency_suggests_a_known_one() {
    let plan =
        "## Ready\n- **[task_1]** Add x\n- **[task_5]** Add y\n  - Depends on: task_1, task_55\n";
    let (parsed, messages) = read(plan);
    let unknown = messages.iter().find(|message| message.code == "P006").unwrap();
    assert_eq!(&plan[unknown.span.clone()], "task_55");
    assert_eq!(unknown.help.as_deref(), Some("did you mean `task_5`?"));
    assert_eq!(parsed.tasks[1].fields.depends_on.len(), 1);
    let prose = "## Ready\n- **[a]** Add x\n  - Needs: the answer of Bob\n";
    assert_eq!(read(prose).1.iter().filter(|message| message.code == "P006").count(), 1);
}

#[test]
fn a_plan_without_a_ready_section_lists_its_headings() {
    let (_, messages) = read("# Plan\n## Ideas\n- [ ] Add x\n");
    assert_eq!(messages[0].code, "P001");
    assert_eq!(messages[0].label, "the headings are `Plan`, `Ideas`");
    assert_eq!(codes(""), "P001");
    assert_eq!(codes("→ **[a]** Add x\n  - Status: READY\n  - Files: src\n"), "");
}

#[test]
fn a_vague_or_double_task_is_advised_against_once() {
    assert_eq!(codes("## Ready\n- Add x and refactor y\n  - Files: src\n"), "P012");
    assert_eq!(codes("## Ready\n- Add x\n- Add y\n- Add z\n"), "P013");
    assert_eq!(codes("## Ready\n- Add salt and pepper\n  - Done when: it tastes\n"), "");
    assert_eq!(codes("## Ready\n## Later\n- Add x\n"), "");
}

#[test]
fn lines_that_look_like_tasks_are_told() {
    for plan in [
        "## Ready\n**[t1]** Add x\n",
        "## Ready\n→ **[my task]** Add x\n  - Files: a\n",
        "## Ready\nStatus: READY\n",
        "## Ready\n- **[t1]** Add x\n  - Files: a\n- [ ] Add y\n",
    ] {
        assert!(codes(plan).contains("P011"), "{plan} {}", codes(plan));
    }
}

#[test]
fn a_merge_conflict_stops_only_what_it_touches() {
    let plan = "## Ready\n- **[a]** Add x\n- **[b]** Add y\n<<<<<<< HEAD\n  - Status: READY\n=======\n  - Status: BLOCKED\n>>>>>>> other\n- **[c]** Add z\n";
    assert_eq!(all(plan), "aR bN cR");
    assert!(codes(plan).contains("P021"));
    let headings = "<<<<<<< HEAD\n## Ready\n=======\n## Later\n>>>>>>> other\n- **[a]** Add x\n## Ready\n- **[b]** Add y\n";
    assert_eq!(all(headings), "aN bR");
}

#[test]
fn the_hash_outlives_a_tick_and_not_an_edit() {
    let hash = |text: &str| only(&format!("## Ready\n{text}")).text_hash;
    let first = hash("- [ ] t-1: Add x\n  - Status: READY\n  - Files: a\n");
    for same in [
        "- [x] t-1: Add x\n  - Status: DONE (night 2026-11-21)\n  - Files: a\n",
        "- [ ] t-1: Add x\n  - Files: a\n",
        "- [ ] t-1: Add x\r\n  - Status: READY\r\n  - Files: a  \r\n\r\n",
        "- [ ] t-1: Add x\n  - [x] Approve\n  - Auto-approved: now\n  - Files: a\n",
    ] {
        assert_eq!(hash(same), first, "{same}");
    }
    for other in [
        "- [ ] t-1: Add y\n  - Files: a\n",
        "- [ ] t-1: Add x\n  - Files: b\n",
        "- [ ] t-1: Add x\n  - Files: a\n  - More\n",
        "- [ ] t-1: Add x\n  - Files: a\n  ```\n  code\n  ```\n",
    ] {
        assert_ne!(hash(other), first, "{other}");
    }
    assert_eq!(first.len(), 64);
}

#[test]
fn a_task_without_letters_still_has_a_name() {
    let (plan, _) =
        read("## Ready\n- ???\n- 数据库迁移和所有其他必须在今晚完成的非常非常重要的工作\n");
    assert!(plan.tasks[0].id.as_str().starts_with("task-"));
    assert_eq!(plan.tasks.len(), 2);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that plans are made of, so that random text reaches deep.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "## Ready\n",
            "# ",
            "### A-1: x\n",
            "- ",
            "→ ",
            "**[",
            "]** ",
            "[x] ",
            "[ ] ",
            "Status: ",
            "READY",
            "DONE",
            "\n",
            "\r\n",
            "  ",
            "\t",
            "    ",
            "```",
            "~~~",
            "<!--",
            "-->",
            "> ",
            "| ",
            "---\n",
            "===\n",
            "Depends on: ",
            "Files: ",
            "Acceptance:",
            "*",
            "_",
            "`",
            ":",
            "(",
            ")",
            "ä",
            "→",
            "\u{feff}",
            "\u{fe0f}",
            "1. ",
            "T001 ",
            "Task 3: ",
            "<<<<<<< ",
            ">>>>>>> ",
            "=======\n",
            "[",
            "]",
            "#",
            "{",
            "}",
            "$1",
            "30m",
            "95/100",
            "(depends on ",
            "Approve",
            "x",
            "Id: ",
        ]);
        prop::collection::vec(
            prop_oneof![9 => piece.prop_map(str::to_owned), 1 => any::<String>()],
            0..60,
        )
        .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_and_every_place_is_in_it(source in pieces()) {
            let (plan, messages) = read(&source);
            let mut end = 0;
            for task in &plan.tasks {
                prop_assert!(task.span.start >= end, "blocks do not overlap");
                end = task.span.end;
                prop_assert_eq!(source.get(task.span.clone()), Some(task.text.as_str()));
                prop_assert!(source.get(task.title_span.clone()).is_some());
                prop_assert_eq!(
                    task.line,
                    source[..task.span.start].matches('\n').count() + 1
                );
                if let Some(field) = &task.fields.status {
                    prop_assert!(source.get(field.span.clone()).is_some());
                }
                if !task.errors.is_empty() {
                    prop_assert!(task.readiness() != Readiness::Ready);
                }
            }
            for message in messages {
                prop_assert!(source.get(message.span.clone()).is_some(), "{:?}", message);
                if let Some((span, _)) = &message.also {
                    prop_assert!(source.get(span.clone()).is_some());
                }
                message.render("p.md", &source, crate::diagnostic::Style::Plain);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (text, _) = decode(&bytes);
            prop_assert_eq!(text.len(), bytes.len());
            read(&text);
        }
    }
}

#[test]
fn the_template_is_a_plan_without_faults() {
    let template = include_str!("../../../templates/PROJECT_PLAN.md");
    assert_eq!(all(template), "task_1A task_2A task_3N");
    assert_eq!(codes(template), "");
    let approved = template.replacen("[ ] Approve", "[x] Approve", 1);
    assert_eq!(ready(&approved), ["task_1"]);
}

#[test]
fn a_model_called_default_is_none_that_was_named() {
    for (value, model) in [("default", None), ("sonnet", Some("sonnet"))] {
        let text = format!("## Ready\n\n- [ ] **[a]** Do a\n  - Model: {value}\n");
        let (plan, _) = crate::plan::parse(&text, &crate::plan::SectionWords::default());
        assert_eq!(plan.tasks[0].fields.model.as_deref(), model);
    }
}

#[test]
fn a_task_with_an_impossible_id_gives_nothing_to_the_task_above() {
    let plan = "### Pending\n\n- [ ] **[task_5]** Add one\n  - Score: 95\n\
                - [ ] **[task 6]** Add two\n  - [x] Approve\n\n### Ideas\n\n\
                - **[a]** Dream\n- **[b c]** Dream on\n  - Status: READY\n";
    let (plan, found) = parse(plan, &SectionWords::default());
    for id in ["task_5", "a"] {
        let task = plan.tasks.iter().find(|task| task.id.as_str() == id);
        assert!(task.is_none_or(|task| task.readiness() != Readiness::Ready), "{id}");
    }
    assert_eq!(found.iter().filter(|found| found.code == "P011").count(), 2, "{found:?}");
}
