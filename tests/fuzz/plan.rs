//! Plans: no text makes the reader panic, no task is ready that no heading and no status says so, and an edit
//! changes its own task's status and no other byte.

use std::ops::Range;

use nightshift::{
    diagnostic::Style,
    plan::{Plan, Readiness, SectionWords, Status, Task, approve, decode, parse, tick},
};
use proptest::{prelude::*, test_runner::TestCaseResult};

use crate::{
    drive::drive,
    spoil::{Bytes, crlf, spoiled},
};

/// What a heading says by the table of `docs/plan.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Ready,
    Waits,
    No,
    Nothing,
}

/// Headings, also with letters that only look like ours.
const HEADINGS: &[(&str, Says)] = &[
    ("## Ready for Autonomous Execution", Says::Ready),
    ("## ✅ READY", Says::Ready),
    ("## 2. Ready (tonight)", Says::Ready),
    ("## **Tonight**:", Says::Ready),
    ("Ready\n-----", Says::Ready),
    ("## Pending Approval", Says::Waits),
    ("## Needs approval: Ready", Says::Waits),
    ("## Not ready", Says::No),
    ("## ❌ Not-ready, ready tomorrow", Says::No),
    ("## Not yet ready", Says::No),
    ("## Backlog (Ready)", Says::No),
    ("## Blocked", Says::No),
    ("## Done", Says::No),
    ("## Failed last night", Says::No),
    ("## Ready for review", Says::Nothing),
    ("## Ready-made parts", Says::Nothing),
    ("## Already there", Says::Nothing),
    ("## ＲＥＡＤＹ", Says::Nothing),
    ("## RΕADY", Says::Nothing),
    ("## Readу", Says::Nothing),
    ("## R\u{200b}eady", Says::Nothing),
    ("## Ideas", Says::Nothing),
];

/// Values of a status, with what they say.
const STATUSES: &[(&str, Says)] = &[
    ("", Says::Nothing),
    ("READY", Says::Ready),
    ("`READY`", Says::Ready),
    ("ready (tonight)", Says::Ready),
    ("READY for autonomous execution", Says::Ready),
    ("PENDING (soon)", Says::Waits),
    ("BLOCKED", Says::No),
    ("DONE (night 2026-11-20)", Says::No),
    ("FAILED 2", Says::No),
    ("SKIP", Says::No),
    ("REJECTED", Says::No),
    ("in progress", Says::No),
    ("not ready", Says::No),
    ("REDAY", Says::No),
    ("READY for review", Says::No),
    ("READY | PENDING | DONE", Says::No),
    ("ready when t0 is done", Says::No),
    ("READУ", Says::No),
    ("ＲＥＡＤＹ", Says::No),
    ("R\u{200b}EADY", Says::No),
];

/// Boxes and what stands before a task's id, with whether the box forbids it.
const FORMS: &[(&str, bool)] = &[
    ("→ ", false),
    ("‚Üí ", false),
    ("â†’ ", false),
    ("- ", false),
    ("* [ ] ", false),
    ("- [x] ", true),
    ("- [-] ", true),
    ("1. ", false),
    ("\t→ ", false),
];

/// Lines about approval, with whether they approve.
const APPROVALS: &[(&str, bool)] = &[
    ("", false),
    ("B Approved by: ann", true),
    ("B [x] Approve", true),
    ("B [ ] Approve", false),
    ("B Auto-approved: today", false),
    ("B Approved: no", false),
];

/// Lines of a task that say nothing about its readiness. Whatever stands in them below `hidden` is only shown.
const NOISE: &[&str] = &[
    "",
    "B Files: src/a.rs",
    "B **Acceptance:**\n    - works\n    - [ ] well",
    "B Estimated lines: 10",
    "words at the margin",
    "B [the docs](http://x) say `<!-- no`",
    "B caf\u{1}",
    "```\n- **[hidden]** task\n  - Status: READY\n```",
    "~~~ text\n→ **[hidden]** task\n## Ready\n~~~~",
    "````\n```\n→ **[hidden]** task\n```\n- **[hidden]** task\n````",
    "    ```\n    → **[hidden]** task\n    ```",
    "<!-- - **[hidden]** task -->",
    "<!--\n## Ready\n- **[hidden]** task\n  - Status: READY\n-->",
    "B x <!-- a\n- **[hidden]** task\n-->",
    "<div>\n- **[hidden]** task\n  - Status: READY\n</div>\n",
    "> - **[hidden]** task\n> - Status: READY",
    "| **[hidden]** | READY |\n|---|---|",
];

/// A plan in which every task's readiness is known, with the ids of those that are ready.
#[derive(Clone, Debug)]
struct Known {
    bytes: Bytes,
    ready: Vec<String>,
}

type Parts = (&'static str, bool, Vec<String>, bool);

/// One task's lines with their id left out: its beginning, whether its box forbids it, its other lines, and
/// whether it is ready below a heading that says `heading`.
fn task(heading: Says) -> impl Strategy<Value = Parts> {
    let noise = prop::sample::subsequence(NOISE, 0..5).prop_shuffle();
    let bullet = prop::sample::select(&["  -", "\t-", "    *", "  "][..]);
    let key = prop::sample::select(&["Status: ", "**Status:** ", "state:: "][..]);
    (
        prop::sample::select(FORMS),
        prop::sample::select(STATUSES),
        prop::sample::select(APPROVALS),
        noise,
        bullet,
        key,
        any::<bool>(),
    )
        .prop_map(move |(form, status, approval, noise, bullet, key, first)| {
            let mut lines: Vec<String> = noise.iter().map(|line| (*line).to_owned()).collect();
            if !approval.0.is_empty() {
                lines.push(approval.0.to_owned());
            }
            if !status.0.is_empty() {
                lines.insert(if first { 0 } else { lines.len() }, format!("B {key}{}", status.0));
            }
            let lines = lines.iter().map(|line| line.replace('B', bullet)).collect();
            let said = [heading, status.1];
            let no = form.1 || said.contains(&Says::No);
            let waits = said.contains(&Says::Waits);
            let ready = !no && if waits { approval.1 } else { said.contains(&Says::Ready) };
            (form.0, form.1, lines, ready)
        })
}

fn known() -> impl Strategy<Value = Known> {
    let section = prop::sample::select(HEADINGS)
        .prop_flat_map(|(heading, says)| (Just(heading), prop::collection::vec(task(says), 0..4)));
    let sections = prop::collection::vec(section, 0..4);
    (sections, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(sections, windows, mark, blank)| {
            let (mut text, mut ready, mut number) = ("# Plan\n\n".to_owned(), Vec::new(), 0);
            for (heading, tasks) in sections {
                text += &format!("{heading}\n\n");
                for (form, _, lines, is_ready) in tasks {
                    let id = format!("t{number}");
                    number += 1;
                    text += &format!("{form}**[{id}]** Improve it\n");
                    for line in lines {
                        text += &format!("{line}\n");
                    }
                    text += if blank { "\n" } else { "" };
                    if is_ready {
                        ready.push(id);
                    }
                }
                text.push('\n');
            }
            let mut bytes = text.into_bytes();
            bytes.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xe9);
            if windows {
                crlf(&mut bytes);
            }
            if mark {
                bytes.splice(0..0, "\u{feff}".bytes());
            }
            Known { bytes: Bytes(bytes), ready }
        },
    )
}

/// Pieces that decide what a text is.
const PIECES: &[&str] = &[
    "## Ready\n",
    "## Not ready\n",
    "# ",
    "### A-1: x\n",
    "- ",
    "→ ",
    "‚Üí ",
    "**[t9]** ",
    "**[",
    "]** ",
    "[x] ",
    "[ ] ",
    "- [ ] x\n",
    "  - Status: READY\n",
    "Status: ",
    "READY",
    "ＲＥＡＤＹ",
    "DONE",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "  ",
    "\t",
    "    ",
    "```\n",
    "```",
    "~~~\n",
    "<!--",
    "<!-- ",
    "-->",
    "<div>\n",
    "</div>\n",
    "<pre>\n",
    "<?",
    "> ",
    "| ",
    "---\n",
    "===\n",
    "Depends on: ",
    "Files: ",
    "  - Acceptance:\n",
    "*",
    "**",
    "_",
    "`",
    ":",
    "(",
    ")",
    "ä",
    "\u{feff}",
    "\u{fe0f}",
    "\u{200b}",
    "\u{2028}",
    "\u{202e}",
    "\u{85}",
    "\u{b}",
    "\u{c}",
    "\u{a0}",
    "\0",
    "1. ",
    "T001 ",
    "Task 3: ",
    "<<<<<<< a\n",
    ">>>>>>> a\n",
    "=======\n",
    "[",
    "]",
    "[a]: b\n",
    "[a]: <b\n",
    "\\",
    "&",
    "&#82;",
    "#",
    "{",
    "}",
    "$1",
    "30m",
    "95/100",
    "(depends on ",
    "  - [x] Approve\n",
    "x",
    "Id: ",
    "  - Id: t0\n",
    "---\na: b\n---\n",
];

/// Plans that people have: those of our own pages, and made ones.
fn any_plan() -> impl Strategy<Value = Bytes> {
    let ours = prop::sample::select(vec![
        include_bytes!("../../templates/PROJECT_PLAN.md").to_vec(),
        include_bytes!("../../docs/plan.md").to_vec(),
        b"## Ready\n\n### A-1: Add x\n**Files:** a\n\nwords\n\n### A-2: Add y\n_Status: READY_\n"
            .to_vec(),
        b"## Tonight\n- Add x\n  - Files: a\n- Add y (after 1)\n1. Add z\n".to_vec(),
        b"---\ntitle: Plan\n---\n## Ready\n- [ ] T001 [P] Add x\n  - [ ] step\n- [x] T002 Add y\n"
            .to_vec(),
        b"## Ready\n<<<<<<< a\n- **[a]** x\n=======\n- **[b]** y\n>>>>>>> b\n- **[c]** z\n"
            .to_vec(),
    ]);
    spoiled(prop_oneof![2 => known().prop_map(|known| known.bytes.0), 1 => ours], PIECES)
}

fn read(bytes: &[u8]) -> (String, Plan) {
    let text = decode(bytes).0;
    let plan = parse(&text, &SectionWords::default()).0;
    (text, plan)
}

#[test]
fn exactly_those_tasks_are_ready_that_the_plan_says_are() {
    drive("plan: known", &known(), |known| {
        let (_, plan) = read(&known.bytes.0);
        let is_ready = |task: &&Task| task.readiness() == Readiness::Ready;
        let ready: Vec<&str> =
            plan.tasks.iter().filter(is_ready).map(|task| task.id.as_str()).collect();
        prop_assert_eq!(ready, known.ready);
        prop_assert!(plan.tasks.iter().all(|task| task.id.as_str() != "hidden"));
        Ok(())
    });
}

#[test]
fn any_plan_is_read_and_every_place_is_in_it() {
    drive("plan: any", &any_plan(), |bytes| {
        let (text, message) = decode(&bytes.0);
        prop_assert_eq!(text.len(), bytes.0.len());
        let (plan, mut messages) = parse(&text, &SectionWords::default());
        messages.extend(message);
        places(&text, &plan)?;
        for message in messages.iter().take(20) {
            prop_assert!(text.get(message.span.clone()).is_some(), "{:?}", message);
            if let Some((span, _)) = &message.also {
                prop_assert!(text.get(span.clone()).is_some(), "{:?}", message);
            }
            message.render("PROJECT_PLAN.md", &text, Style::Plain);
        }
        Ok(())
    });
}

fn places(text: &str, plan: &Plan) -> TestCaseResult {
    let mut end = 0;
    for task in &plan.tasks {
        prop_assert!(task.span.start >= end, "blocks do not overlap");
        end = task.span.end;
        prop_assert_eq!(text.get(task.span.clone()), Some(task.text.as_str()));
        let inside = |place: &Range<usize>| {
            task.span.start <= place.start
                && place.end <= task.span.end
                && text.get(place.clone()).is_some()
        };
        prop_assert!(inside(&task.title_span));
        prop_assert!(task.fields.first_line.as_ref().is_none_or(inside));
        prop_assert!(task.fields.status.as_ref().is_none_or(|field| inside(&field.span)));
        prop_assert!(task.checkbox.as_ref().is_none_or(|tick| inside(&(tick.at..tick.at))));
        prop_assert_eq!(task.line, text[..task.span.start].matches('\n').count() + 1);
        prop_assert_eq!(task.text_hash.len(), 64);
    }
    Ok(())
}

/// For each line, whether it is code by anybody's reading: between fences at the margin, before anything that
/// could be HTML or a fence of another kind. Knows nothing else, and says "no" where it does not know.
fn surely_code(text: &str) -> Vec<bool> {
    let mut code = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    let mut unsure = text.replace("\r\n", "\n").contains('\r');
    for line in text.trim_start_matches('\u{feff}').split('\n') {
        let line = line.trim_end_matches('\r');
        let margin = line.trim_start_matches(' ');
        let sign = margin.chars().next().filter(|sign| matches!(sign, '`' | '~'));
        let length = sign.map_or(0, |sign| margin.len() - margin.trim_start_matches(sign).len());
        let rest = &margin[length..];
        code.push(fence.is_some());
        match (fence, sign) {
            (Some((open, most)), Some(sign)) if sign == open && length >= most => {
                if line.len() - margin.len() < 4 && rest.trim_matches([' ', '\t']).is_empty() {
                    fence = None;
                }
            }
            (Some(_), _) => {}
            (None, Some(sign)) if length >= 3 && line.len() == margin.len() && !unsure => {
                if sign == '~' || !rest.contains('`') {
                    fence = Some((sign, length));
                }
            }
            (None, _) => unsure |= ["<", "```", "~~~"].iter().any(|sign| line.contains(sign)),
        }
    }
    code
}

/// Letters and digits of a line, small.
fn letters(line: &str) -> String {
    line.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether anything in the text says that a task is ready: a status of its own, a person's approval, or a line
/// above it that may be a heading. Looks at words only, so that it does not share the reader's mistakes.
fn somebody_says_so(text: &str, code: &[bool], task: &Task) -> bool {
    let own = task.text.lines().map(letters).any(|line| {
        line.contains("approv")
            || line.contains("ready") && (line.contains("status") || line.contains("state"))
    });
    let lines: Vec<&str> = text.split('\n').collect();
    let above = || {
        lines.iter().zip(code).take(task.line - 1).enumerate().any(|(number, (line, code))| {
            let underlined =
                lines.get(number + 1).is_some_and(|next| next.trim_start().starts_with(['-', '=']));
            // What a line with entities or HTML looks like in the end is not ours to say.
            let unclear = line.contains(['&', '<', '\r']);
            let words = letters(line);
            !code
                && (line.contains('#') || underlined)
                && (unclear || words.contains("ready") || words.contains("tonight"))
        })
    };
    own || above()
}

#[test]
fn no_task_is_ready_that_nobody_calls_so() {
    drive("plan: invented", &any_plan(), |bytes| {
        let (text, plan) = read(&bytes.0);
        let code = surely_code(&text);
        for task in &plan.tasks {
            let line = text[..task.title_span.end].rsplit(['\n', '\r']).next();
            let shown = line.unwrap_or_default().trim_start_matches(['\u{feff}', ' ', '\t']);
            prop_assert!(!code[task.line - 1], "code is a task: {:?}", task.text);
            prop_assert!(!shown.starts_with(['>', '|']), "a quotation is a task: {:?}", task.text);
            if task.readiness() == Readiness::Ready {
                prop_assert!(somebody_says_so(&text, &code, task), "ready: {:?}", task.text);
            }
        }
        Ok(())
    });
}

const NEW: &[&str] = &["DONE (night 2026-11-21)", "FAILED 2", "READY", "PENDING (question)"];

/// A plan, which of its tasks is edited, and what that task shall say.
fn edit<S>(plan: S) -> impl Strategy<Value = (S::Value, prop::sample::Index, &'static str)>
where
    S: Strategy,
{
    (plan, any::<prop::sample::Index>(), prop::sample::select(NEW))
}

#[test]
fn an_edit_of_a_plan_is_read_back() {
    drive("plan: edit known", &edit(known()), |(known, chosen, new)| {
        edited(&known.bytes.0, chosen, new, true)
    });
}

#[test]
fn an_edit_changes_one_status_and_no_other_byte() {
    drive("plan: edit any", &edit(any_plan()), |(bytes, chosen, new)| {
        edited(&bytes.0, chosen, new, false)
    });
}

/// `plain`: nothing in the plan hides what is written below a title.
fn edited(source: &[u8], chosen: prop::sample::Index, new: &str, plain: bool) -> TestCaseResult {
    let words = SectionWords::default();
    let (_, before) = read(source);
    if before.tasks.is_empty() {
        return Ok(());
    }
    let task = chosen.get(&before.tasks);
    let edited = match tick::set_status(source, task, new) {
        Ok(edited) => edited,
        Err(tick::TickError::Unreadable(_)) => return Ok(()),
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let shown = Bytes(edited.clone());
    untouched(source, task, &edited, new.len())?;
    if !tick::reads_back(&before.tasks, task, new, &edited, &words) {
        prop_assert!(!plain, "{:?}", shown);
        return Ok(());
    }
    let (_, after) = read(&edited);
    for (old, now) in before.tasks.iter().zip(&after.tasks) {
        prop_assert_eq!(&old.id, &now.id, "{:?}", shown);
        prop_assert_eq!(&old.title, &now.title, "{:?}", shown);
        prop_assert_eq!(&old.notes, &now.notes, "{:?}", shown);
        let fields = |task: &Task| {
            let mut fields = task.fields.clone();
            // Places move; what stands there does not.
            (fields.status, fields.first_line, fields.approval) = (None, None, None);
            fields
        };
        prop_assert_eq!(fields(old), fields(now), "{:?}", shown);
        if old.span.start != task.span.start {
            prop_assert_eq!(old.readiness(), now.readiness(), "{:?}", shown);
            continue;
        }
        let status = now.fields.status.as_ref().map(|field| field.status);
        match new.split(' ').next() {
            Some("DONE") => prop_assert_eq!(now.readiness(), Readiness::Done, "{:?}", shown),
            Some("FAILED") => prop_assert_eq!(status, Some(Status::Failed(2)), "{:?}", shown),
            Some("READY") => prop_assert_eq!(status, Some(Status::Ready), "{:?}", shown),
            _ => prop_assert_eq!(status, Some(Status::Pending), "{:?}", shown),
        }
        prop_assert_eq!(tick::set_status(&edited, now, new), Ok(edited.clone()), "{:?}", shown);
    }
    Ok(())
}

/// An edit of `task` that wrote `length` bytes left everything else where it was, and wrote its line as the file's
/// are.
fn untouched(source: &[u8], task: &Task, edited: &[u8], length: usize) -> TestCaseResult {
    let shown = Bytes(edited.to_vec());
    prop_assert!(edited.starts_with(&source[..task.span.start]), "{:?}", shown);
    prop_assert!(edited.ends_with(&source[task.span.end..]), "{:?}", shown);
    prop_assert!(edited.len() <= source.len() + task.span.len() + length + 32, "{:?}", shown);
    let bare =
        |bytes: &[u8]| bytes.windows(2).filter(|pair| pair[1] == b'\n' && pair[0] != b'\r').count();
    if bare(source) == 0 && source.contains(&b'\n') {
        prop_assert_eq!(bare(edited), 0, "line ends of another kind: {:?}", shown);
    }
    Ok(())
}

#[test]
fn an_approval_is_one_line_of_one_task() {
    let name = prop_oneof![Just("ada".to_owned()), "[ -~é→`<\\n]{0,20}"];
    let plans = prop_oneof![known().prop_map(|known| known.bytes), any_plan()];
    let chosen = (plans, any::<prop::sample::Index>(), name);
    drive("plan: approve", &chosen, |(bytes, chosen, name)| {
        let (source, words) = (&bytes.0, SectionWords::default());
        let (_, before) = read(source);
        if before.tasks.is_empty() {
            return Ok(());
        }
        let task = chosen.get(&before.tasks);
        let edited = match approve::approve(source, task, "2026-11-21", &name) {
            Ok(edited) => edited,
            Err(tick::TickError::Unreadable(_)) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        untouched(source, task, &edited, name.len() + 40)?;
        if !approve::reads_back(&before.tasks, task, &edited, &words) {
            return Ok(());
        }
        let (_, after) = read(&edited);
        for (old, now) in before.tasks.iter().zip(&after.tasks) {
            prop_assert_eq!((&old.id, &old.title, &old.notes), (&now.id, &now.title, &now.notes));
            prop_assert_eq!(
                &old.fields.status.as_ref().map(|field| field.status),
                &now.fields.status.as_ref().map(|field| field.status)
            );
            if old.span.start != task.span.start {
                prop_assert_eq!(old.readiness(), now.readiness());
                continue;
            }
            prop_assert!(now.fields.approved);
            let again = approve::approve(&edited, now, "2026-11-21", &name);
            prop_assert_eq!(again, Ok(edited.clone()), "{:?}", Bytes(edited));
        }
        Ok(())
    });
}
