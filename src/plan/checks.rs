//! What can only be seen with the whole plan in view: double ids, dependencies, cycles, merge conflicts,
//! a plan in which nothing is marked ready.
//!
//! Each check costs time in proportion to the plan, however it is made.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Plan, Readiness, SectionClass, SectionWords, Status, Task, TestsDefined,
    draft::Draft,
    line::{ARROWS, MOJIBAKE_MAC_ROMAN, MOJIBAKE_WINDOWS},
};
use crate::{
    diagnostic::{Diagnostic, Level},
    ids::TaskId,
};

/// Comparisons of ids spent on suggestions in one plan.
const MOST_COMPARISONS: usize = 50_000;

/// Most members of a cycle, headings of a plan and the like that one message names.
const MOST_NAMED: usize = 8;

/// Longest piece of the plan that a message repeats, in characters.
const LONGEST_QUOTE: usize = 40;

/// Runs all checks, and moves the drafts into the plan.
pub(super) fn whole_plan(
    source: &str,
    words: &SectionWords,
    plan: &mut Plan,
    mut drafts: Vec<Draft>,
    conflicts: &[Range<usize>],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let known = double_ids(&mut drafts);
    let edges = dependencies(&mut drafts, &known);
    cycles(&mut drafts, &edges);
    in_conflict(source, &mut drafts, conflicts, diagnostics);
    encoding(source, diagnostics);
    nothing_ready(words, plan, &drafts, diagnostics);
    advice(&drafts, diagnostics);
    for mut draft in drafts {
        diagnostics.append(&mut draft.diagnostics);
        plan.tasks.push(draft.task);
    }
}

/// Whether one of `ranges`, which are in order and apart, covers `offset`.
pub(super) fn inside(ranges: &[Range<usize>], offset: usize) -> bool {
    let next = ranges.partition_point(|range| range.end <= offset);
    ranges.get(next).is_some_and(|range| range.start <= offset)
}

/// The places between `<<<<<<<` and `>>>>>>>` that a merge left behind.
pub(super) fn conflicts(source: &str) -> Vec<Range<usize>> {
    let mut conflicts: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find("<<<<<<< ") {
        let start = at + found;
        if start > 0 && !source[..start].ends_with('\n') {
            at = start + 8;
            continue;
        }
        // A conflict that never ends concerns everything behind it.
        let end = source[start..].find("\n>>>>>>> ").map_or(source.len(), |end| {
            let mark = start + end + 1;
            source[mark..].find('\n').map_or(source.len(), |line| mark + line + 1)
        });
        conflicts.push(start..end);
        at = end;
    }
    conflicts
}

/// P021. Tasks that touch a conflict are unusable; if it holds a heading, so are those up to the next.
fn in_conflict(
    source: &str,
    drafts: &mut [Draft],
    conflicts: &[Range<usize>],
    diagnostics: &mut Vec<Diagnostic>,
) {
    if conflicts.is_empty() {
        return;
    }
    let mut reach: Vec<Range<usize>> = Vec::new();
    for conflict in conflicts {
        let end =
            source[conflict.start..].find('\n').map_or(source.len(), |at| conflict.start + at);
        diagnostics.push(Diagnostic {
            level: Level::Error,
            code: "P021",
            message: "this plan has an unresolved merge conflict".to_owned(),
            span: conflict.start..end,
            label: "tasks in the conflict are not run".to_owned(),
            also: None,
            help: Some("choose one side and remove the marks".to_owned()),
        });
        let section =
            source[conflict.clone()].lines().any(|line| line.trim_start().starts_with('#'));
        let end = if section { next_heading(source, conflict.end) } else { conflict.end };
        match reach.last_mut() {
            Some(last) if conflict.start < last.end => last.end = last.end.max(end),
            _ => reach.push(conflict.start..end),
        }
    }
    for draft in drafts {
        let span = &draft.task.span;
        let next = reach.partition_point(|range| range.end <= span.start);
        if reach.get(next).is_some_and(|range| range.start < span.end) {
            let message = format!("`{}` stands in an unresolved merge conflict", draft.task.id);
            let place = draft.name_span.clone();
            draft.error("P021", message, place, "in a conflict", None, None);
        }
    }
}

/// Where the next line that begins with `#` begins.
fn next_heading(source: &str, from: usize) -> usize {
    if source[from..].starts_with('#') {
        return from;
    }
    source[from..].find("\n#").map_or(source.len(), |at| from + at + 1)
}

/// Whether a task can run as far as its section and status say; decides how much is said about it.
fn may_run(task: &Task) -> bool {
    matches!(task.section.class, SectionClass::Ready | SectionClass::Pending)
        || task.fields.status.as_ref().is_some_and(|field| field.status == Status::Ready)
}

/// P002. Answers where each id stands first.
fn double_ids(drafts: &mut [Draft]) -> HashMap<TaskId, usize> {
    let mut known: HashMap<TaskId, usize> = HashMap::with_capacity(drafts.len());
    for number in 0..drafts.len() {
        let id = drafts[number].task.id.clone();
        let Some(&first) = known.get(&id) else {
            known.insert(id, number);
            continue;
        };
        // Titles repeat in lists that nobody runs; that is nobody's fault.
        let matters = (drafts[number].named && drafts[first].named)
            || may_run(&drafts[number].task)
            || may_run(&drafts[first].task);
        if !matters {
            continue;
        }
        let message = format!("two tasks are called `{id}`");
        let help = "ids tie a task to its branch, commit and history; give one of them another id";
        let there = drafts[first].name_span.clone();
        let here = drafts[number].name_span.clone();
        let also = Some((there, "first used here".to_owned()));
        let help = Some(help.to_owned());
        drafts[number].error("P002", message.clone(), here, "used again here", also, help);
        // The first is as unusable as the second; one message shows both.
        if !drafts[first].task.errors.iter().any(|error| error.starts_with("P002")) {
            drafts[first].task.errors.push(format!("P002: {message}"));
        }
    }
    known
}

/// P006. Answers which tasks each task waits for.
fn dependencies(drafts: &mut [Draft], known: &HashMap<TaskId, usize>) -> Vec<Vec<usize>> {
    let mut edges = vec![Vec::new(); drafts.len()];
    let mut comparisons = MOST_COMPARISONS;
    // The last task that named each task, so that a name said twice counts once.
    let mut named_by = vec![usize::MAX; drafts.len()];
    for number in 0..drafts.len() {
        let mut unknown = Vec::new();
        for (written, span) in std::mem::take(&mut drafts[number].depends_on) {
            let id = match written.split_once(' ') {
                Some((_, number)) => format!("task-{number}"),
                None => written.clone(),
            };
            match TaskId::new(id).ok().and_then(|id| known.get(&id).map(|at| (id, *at))) {
                Some((id, at)) => {
                    let depends_on = &mut drafts[number].task.fields.depends_on;
                    if named_by[at] != number {
                        named_by[at] = number;
                        edges[number].push(at);
                        depends_on.push(id);
                    }
                }
                None => unknown.push((written, span)),
            }
        }
        let id = drafts[number].task.id.clone();
        // A sentence where ids belong is one mistake, not one for each word.
        if let ([(_, first), .., (_, last)], true) = (&unknown[..], edges[number].is_empty()) {
            let span = first.start..last.end;
            let message = format!("`{id}` depends on something that is no task of this plan");
            let label = "no such tasks";
            let help = "name tasks by their ids; anything else belongs in a note";
            drafts[number].error("P006", message, span, label, None, Some(help.to_owned()));
            continue;
        }
        for (written, span) in unknown.into_iter().take(MOST_NAMED) {
            let brief: String = written.chars().take(LONGEST_QUOTE).collect();
            let message =
                format!("`{id}` depends on `{brief}`, which is in no section of this plan");
            let near = nearest(&written, drafts, &mut comparisons);
            let help = near.map(|near| format!("did you mean `{near}`?"));
            drafts[number].error("P006", message, span, "no such task", None, help);
        }
    }
    edges
}

fn nearest(written: &str, drafts: &[Draft], comparisons: &mut usize) -> Option<TaskId> {
    if written.len() > 64 {
        return None;
    }
    let ids = drafts.iter().map(|draft| &draft.task.id).take(*comparisons);
    *comparisons -= ids.len();
    ids.filter(|id| id.as_str().len().abs_diff(written.len()) <= 2)
        .map(|id| (strsim::osa_distance(id.as_str(), written), id))
        .filter(|(slips, _)| *slips <= 2 && slips + 2 < written.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, id)| id.clone())
}

/// P007. Tasks that wait for each other, by Tarjan's algorithm with its own stack: a chain of a hundred
/// thousand tasks must not end ours.
fn cycles(drafts: &mut [Draft], edges: &[Vec<usize>]) {
    const NEW: usize = usize::MAX;
    let mut index = vec![NEW; edges.len()];
    let mut low = vec![NEW; edges.len()];
    let mut on_stack = vec![false; edges.len()];
    let (mut stack, mut next) = (Vec::new(), 0);
    for root in 0..edges.len() {
        if index[root] != NEW {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some(&mut (at, ref mut edge)) = path.last_mut() {
            if index[at] == NEW {
                index[at] = next;
                low[at] = next;
                next += 1;
                stack.push(at);
                on_stack[at] = true;
            }
            if let Some(&to) = edges[at].get(*edge) {
                *edge += 1;
                if index[to] == NEW {
                    path.push((to, 0));
                } else if on_stack[to] {
                    low[at] = low[at].min(index[to]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _)) = path.last() {
                low[parent] = low[parent].min(low[at]);
            }
            if low[at] == index[at] {
                let from = stack.iter().rposition(|member| *member == at).unwrap_or_default();
                let mut members = stack.split_off(from);
                for member in &members {
                    on_stack[*member] = false;
                }
                if members.len() > 1 || edges[at].contains(&at) {
                    members.sort_unstable();
                    report_cycle(drafts, &members);
                }
            }
        }
    }
}

fn report_cycle(drafts: &mut [Draft], members: &[usize]) {
    let named: Vec<String> =
        members.iter().take(MOST_NAMED).map(|at| format!("`{}`", drafts[*at].task.id)).collect();
    let more = members.len() - named.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = match members {
        [_] => format!("{} depends on itself", named.join("")),
        _ => format!("{}{rest} wait for each other", named.join(", ")),
    };
    let Some((&first, others)) = members.split_first() else { return };
    let also = others
        .first()
        .map(|second| (drafts[*second].name_span.clone(), "and this one for it".to_owned()));
    let place = drafts[first].name_span.clone();
    let label = if others.is_empty() { "waits for itself" } else { "waits for the others" };
    let help = Some("remove one of the dependencies".to_owned());
    drafts[first].error("P007", message.clone(), place, label, also, help);
    for at in others {
        drafts[*at].task.errors.push(format!("P007: {message}"));
    }
}

/// P020 for arrows that were read in the wrong encoding.
fn encoding(source: &str, diagnostics: &mut Vec<Diagnostic>) {
    for (sign, read_as) in [(MOJIBAKE_MAC_ROMAN, "Mac Roman"), (MOJIBAKE_WINDOWS, "Windows-1252")] {
        debug_assert!(ARROWS.contains(&sign), "{sign}");
        if let Some(at) = source.find(sign) {
            diagnostics.push(Diagnostic {
                level: Level::Warning,
                code: "P020",
                message: "this plan was saved in the wrong encoding".to_owned(),
                span: at..at + sign.len(),
                label: format!("looks like `→` (UTF-8 read as {read_as})"),
                also: None,
                help: Some(
                    "`nightshift check --fix` restores the characters; nothing was lost".to_owned(),
                ),
            });
        }
    }
}

/// P001.
fn nothing_ready(
    words: &SectionWords,
    plan: &Plan,
    drafts: &[Draft],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let section = plan.sections.iter().any(|section| section.class == SectionClass::Ready);
    let marked = drafts.iter().any(|draft| {
        draft.task.fields.status.as_ref().is_some_and(|field| field.status == Status::Ready)
    });
    if section || marked {
        return;
    }
    let quoted = |text: &str| format!("`{}`", text.chars().take(LONGEST_QUOTE).collect::<String>());
    let seen: Vec<String> =
        plan.sections.iter().take(MOST_NAMED).map(|section| quoted(&section.heading)).collect();
    let more = plan.sections.len() - seen.len();
    let seen = match (seen.is_empty(), more) {
        (true, _) => "there is no heading".to_owned(),
        (false, 0) => format!("the headings are {}", seen.join(", ")),
        (false, _) => format!("the headings are {} and {more} more", seen.join(", ")),
    };
    let wanted: Vec<String> = words.ready.iter().map(|word| quoted(word)).collect();
    diagnostics.push(Diagnostic {
        level: Level::Warning,
        code: "P001",
        message: "no section of this plan is marked ready".to_owned(),
        span: 0..0,
        label: seen,
        also: None,
        help: Some(format!(
            "begin a heading with {}, or give a task `Status: READY`",
            wanted.join(" or ")
        )),
    });
}

/// Words that ask for work, for P012.
const VERBS: &[&str] = &[
    "add",
    "build",
    "change",
    "clean",
    "convert",
    "create",
    "delete",
    "document",
    "extract",
    "fix",
    "implement",
    "improve",
    "introduce",
    "merge",
    "migrate",
    "move",
    "optimize",
    "refactor",
    "remove",
    "rename",
    "replace",
    "rewrite",
    "simplify",
    "split",
    "update",
    "upgrade",
    "write",
];

/// P012 and P013, for tasks that may run.
fn advice(drafts: &[Draft], diagnostics: &mut Vec<Diagnostic>) {
    let mut vague: Vec<&Draft> = Vec::new();
    let verbs: HashSet<&str> = VERBS.iter().copied().collect();
    for draft in drafts.iter().filter(|draft| may_run(&draft.task)) {
        let task = &draft.task;
        // A title that asks for two things is short; a longer text is not a title.
        let words: Vec<String> =
            task.title.split_whitespace().take(30).map(str::to_lowercase).collect();
        let second = words.windows(2).find(|pair| {
            matches!(pair[0].as_str(), "and" | "&" | "then") && verbs.contains(pair[1].as_str())
        });
        if let (Some(first), Some([_, second])) =
            (words.first().filter(|word| verbs.contains(word.as_str())), second)
        {
            diagnostics.push(Diagnostic {
                level: Level::Warning,
                code: "P012",
                message: format!("`{}` asks for two things", task.id),
                span: task.title_span.clone(),
                label: format!("to {first} and to {second}"),
                also: None,
                help: Some("one verb, one scope, one stop condition: make it two tasks".to_owned()),
            });
        }
        if task.readiness() != Readiness::Ready {
            continue;
        }
        let fields = &task.fields;
        let tested = matches!(fields.tests, Some(TestsDefined::Yes(Some(_))));
        if fields.files.is_empty()
            && fields.acceptance.is_empty()
            && !tested
            && task.notes.is_empty()
        {
            vague.push(draft);
        }
    }
    let Some(first) = vague.first() else { return };
    let id = &first.task.id;
    let message = match vague.len() {
        1 => format!("`{id}` says neither which files it concerns nor when it is done"),
        2 => format!(
            "`{id}` and 1 other task say neither which files they concern nor when they are done"
        ),
        many => {
            let others = many - 1;
            format!(
                "`{id}` and {others} other tasks say neither which files they concern nor when they are done"
            )
        }
    };
    diagnostics.push(Diagnostic {
        level: Level::Warning,
        code: "P013",
        message,
        span: first.name_span.clone(),
        label: "no `Files`, no `Acceptance`, no tests and no notes".to_owned(),
        also: None,
        help: Some("vague tasks become large changes; add one of these lines".to_owned()),
    });
}
