//! Writes a new task into a plan file, in the style of the tasks that are there, and leaves every other byte where it
//! is.
//!
//! Works on bytes, as [`tick`](super::tick) does. Keeps no edit that would read otherwise than it was meant: what was
//! there must read as before, and the new task as it was given.

use std::collections::BTreeMap;

use super::{
    Plan, Section, SectionClass, SectionWords, Task, decode,
    line::{Line, Marker},
    parse,
    tick::{edit, new_line},
};
use crate::ids::TaskId;

/// A plan without a task, for repositories that have none.
pub const EMPTY: &str = "\
# Project plan

nightshift takes the tasks below *Ready* at night, works on each in a copy of the repository, runs your quality checks
on the result, and leaves one pull request in the morning. `nightshift check` shows what it would take and why.

## Ready

## Pending
";

/// Characters of a title, at most: it becomes the first line of a commit message.
pub const LONGEST_TITLE: usize = 120;

/// A task to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTask {
    /// Its id; `None` = the next of those that the plan uses.
    pub id: Option<TaskId>,
    /// One line.
    pub title: String,
    /// Fields in their order: name and value.
    pub fields: Vec<(String, String)>,
    /// Lines for the agent below the fields.
    pub notes: Vec<String>,
    /// True: into the section whose tasks run; false: into the one whose tasks wait for approval.
    pub ready: bool,
}

/// A plan with a task more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// The new task, as it reads.
    pub task: Task,
}

/// Why a task cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Another task has this id.
    #[error("the plan has a task `{0}` already, in line {1}")]
    Taken(TaskId, usize),
    /// The title is none.
    #[error("a title is one line of 1 to {LONGEST_TITLE} characters")]
    Title,
    /// A field or a note would be read as something else, or would hide what stands below.
    #[error("the plan would read otherwise than it is meant: {0}")]
    Unreadable(String),
}

/// The plan's bytes with the task at the end of its section, which is made where there is none.
pub fn add(source: &[u8], new: &NewTask, words: &SectionWords) -> Result<Added, AddError> {
    let title = new.title.trim();
    if title.is_empty() || title.chars().count() > LONGEST_TITLE || title.contains(char::is_control)
    {
        return Err(AddError::Title);
    }
    let text = decode(source).0;
    let plan = parse(&text, words).0;
    if let Some(id) = &new.id
        && let Some(task) = plan.tasks.iter().find(|task| task.id == *id)
    {
        return Err(AddError::Taken(id.clone(), task.line));
    }
    let place = Place::of(&text, &plan, new.ready);
    // In a list without ids one that has an id would make the others part of it.
    let named = new.id.is_some() || place.model.is_none_or(has_id);
    let next = || named.then(|| next_id(&plan.tasks));
    let id = new.id.clone().or_else(next);
    let block = block(source, &place, id.as_ref(), new);
    let bytes = place.insert(source, &text, &block, words, new.ready);
    let after = parse(&decode(&bytes).0, words).0.tasks;
    let task = read_back(&plan.tasks, after, id.as_ref(), new)?;
    Ok(Added { bytes, task })
}

/// The new task, where everything else reads as before and it reads as it was meant.
fn read_back(
    before: &[Task],
    mut after: Vec<Task>,
    id: Option<&TaskId>,
    new: &NewTask,
) -> Result<Task, AddError> {
    let unreadable = |why: &str| Err(AddError::Unreadable(why.to_owned()));
    let at = match id {
        Some(id) => after.iter().position(|task| task.id == *id),
        None => after.iter().enumerate().find_map(|(at, task)| {
            (before.get(at).map(|old| &old.id) != Some(&task.id)).then_some(at)
        }),
    };
    let Some(at) = at else {
        return unreadable("its title hides its id");
    };
    let task = after.remove(at);
    let same = |(old, now): (&Task, &Task)| {
        old.id == now.id
            && old.text_hash == now.text_hash
            && old.section.class == now.section.class
            && old.readiness() == now.readiness()
    };
    if before.len() != after.len() || !before.iter().zip(&after).all(same) {
        return unreadable(
            "another task would change; does a line open a fence, a comment or a heading?",
        );
    }
    if task.title != new.title.trim() {
        return unreadable("its title has signs that mean something in a plan");
    }
    if let Some(error) = task.errors.first() {
        return unreadable(error);
    }
    let meant = if new.ready { SectionClass::Ready } else { SectionClass::Pending };
    if task.section.class != meant {
        return unreadable("it would stand in another section");
    }
    Ok(task)
}

/// The next number behind the words that most ids of the plan have before theirs; `task_1` where none has any.
fn next_id(tasks: &[Task]) -> TaskId {
    let numbered = |task: &Task| {
        let id = task.id.as_str();
        let words = id.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &id[words.len()..];
        let number: u64 = digits.parse().ok()?;
        let good = words.ends_with(|c: char| c.is_alphanumeric() || "_-".contains(c));
        good.then(|| (words.to_owned(), (number, digits.len())))
    };
    let mut counted: BTreeMap<String, (usize, u64, usize)> = BTreeMap::new();
    for (words, (number, width)) in tasks.iter().filter_map(numbered) {
        let known = counted.entry(words).or_default();
        *known = (known.0 + 1, known.1.max(number), known.2.max(width));
    }
    // One slug that ends with a number is no custom.
    let custom =
        |words: &str, count: usize| count > 1 || words.chars().filter(|c| *c == '-').count() < 2;
    let best = counted
        .iter()
        .filter(|(words, (count, ..))| custom(words, *count))
        .max_by_key(|(words, (count, ..))| (*count, words.as_str() == "task_"));
    let (words, number, width) = best.map_or(("task_", 0, 1), |(words, (_, most, width))| {
        // Only what is written with noughts keeps its width.
        (words.as_str(), *most, *width)
    });
    let padded = tasks.iter().any(|task| {
        task.id
            .as_str()
            .strip_prefix(words)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('0'))
    });
    let width = if padded { width } else { 1 };
    // One more than there are tasks: one of them is free. What is too long to be an id is none.
    let some = 0..=u64::try_from(tasks.len()).unwrap_or(u64::MAX);
    let custom =
        some.clone().map(|more| (words, number.saturating_add(1).saturating_add(more), width));
    let plain = some.map(|more| ("task_", more.saturating_add(1), 1));
    custom
        .chain(plain)
        .filter_map(|(words, number, width)| TaskId::new(format!("{words}{number:0width$}")).ok())
        .find(|id| tasks.iter().all(|task| task.id != *id))
        .expect("more short names were tried than there are tasks")
}

/// Where a new task goes, and how the tasks there are written.
struct Place<'p> {
    /// The offset behind which it stands; `None` = a new section at the end of the file.
    at: Option<usize>,
    /// A task that shows the style.
    model: Option<&'p Task>,
    /// Whether tasks stand apart.
    apart: bool,
    /// Signs of a heading of a section.
    level: usize,
    eol: &'static str,
}

impl<'p> Place<'p> {
    fn of(text: &str, plan: &'p Plan, ready: bool) -> Place<'p> {
        let wanted = if ready { SectionClass::Ready } else { SectionClass::Pending };
        let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let starts = line_starts(text);
        let line = |number: usize| {
            let from = starts.get(number - 1).copied().unwrap_or(text.len());
            let to = starts.get(number).copied().unwrap_or(text.len());
            &text[from..to]
        };
        let of_tasks: Vec<&Section> =
            plan.sections.iter().filter(|section| section.class != SectionClass::Other).collect();
        let level = of_tasks.first().map_or(2, |section| {
            let signs = line(section.line).trim_start().chars().take_while(|c| *c == '#').count();
            if signs == 0 { 2 } else { signs }
        });
        let mut place = Place { at: None, model: plan.tasks.last(), apart: true, level, eol };
        let Some(section) = plan.sections.iter().find(|section| section.class == wanted) else {
            return place;
        };
        let here: Vec<&Task> =
            plan.tasks.iter().filter(|task| task.section.line == section.line).collect();
        if let Some(last) = here.last() {
            let blank_before = last.line > 1 && line(last.line - 1).trim().is_empty();
            let alone = here.len() == 1;
            place.apart =
                if alone { last.text.trim_end().lines().count() > 1 } else { blank_before };
            place.model = Some(last);
            place.at = Some(last.span.start + last.text.trim_end().len());
            return place;
        }
        // To the end of what stands below the heading, before the next one.
        let next = plan.sections.iter().map(|other| other.line).find(|line| *line > section.line);
        let end = next.and_then(|line| starts.get(line - 1).copied()).unwrap_or(text.len());
        place.at = Some(text[..end].trim_end().len());
        place
    }

    fn insert(
        &self,
        source: &[u8],
        text: &str,
        block: &str,
        words: &SectionWords,
        ready: bool,
    ) -> Vec<u8> {
        let eol = self.eol;
        let gap = if self.apart { format!("{eol}{eol}") } else { eol.to_owned() };
        let (at, written) = match self.at {
            Some(at) => (at, format!("{gap}{block}")),
            None => {
                let list = if ready { &words.ready } else { &words.pending };
                let word =
                    list.first().map_or(if ready { "Ready" } else { "Pending" }, |word| word);
                let signs = "#".repeat(self.level);
                let before = if text.trim().is_empty() { "" } else { &gap };
                (text.trim_end().len(), format!("{before}{signs} {word}{eol}{eol}{block}"))
            }
        };
        let end = if text[at..].is_empty() { eol } else { "" };
        edit(source, &[(at..at, format!("{written}{end}"))])
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// The task's lines, joined by the file's line ends.
fn block(source: &[u8], place: &Place<'_>, id: Option<&TaskId>, new: &NewTask) -> String {
    let title = new.title.trim();
    let before = place.model.map_or_else(|| Before::Item("- ".to_owned()), before_id);
    let mut lines = vec![match (before, id) {
        (Before::Heading(signs), Some(id)) => format!("{signs}{id}: {title}"),
        (Before::Item(marker), Some(id)) => format!("{marker}**[{id}]** {title}"),
        (Before::Heading(before) | Before::Item(before), None) => format!("{before}{title}"),
    }];
    // A list of one-liners gives no field to follow.
    for (name, value) in &new.fields {
        lines.push(match place.model {
            Some(model) => {
                let (_, line) = new_line(source, model, name, value);
                line.trim_matches(['\r', '\n']).to_owned()
            }
            None => format!("  - {name}: {value}"),
        });
    }
    lines.extend(new.notes.iter().map(|note| format!("  {note}").trim_end().to_owned()));
    lines.join(place.eol)
}

/// What stands before the id of a task.
enum Before {
    /// A heading's signs with a blank.
    Heading(String),
    /// Marker and empty box.
    Item(String),
}

/// A task's first line.
fn title_line(model: &Task) -> &str {
    let at = |offset: usize| offset - model.span.start;
    &model.text[at(model.title_span.start)..at(model.title_span.end)]
}

/// Whether a task's id is written, and not made of its title. A heading is a task for its id alone.
fn has_id(model: &Task) -> bool {
    let text = title_line(model);
    text.trim_start().starts_with('#') || Line::read(text, 0).id.is_some()
}

fn before_id(model: &Task) -> Before {
    let text = title_line(model);
    let signs = text.trim_start().chars().take_while(|c| *c == '#').count();
    if signs > 0 {
        return Before::Heading(format!("{} ", "#".repeat(signs)));
    }
    let line = Line::read(text, 0);
    let mut before = text[..line.body_at].to_owned();
    if let Some(tick) = &line.tick {
        before.replace_range(tick.at..tick.at + tick.mark.len_utf8(), " ");
    }
    match line.marker {
        Some(Marker::Number) => {
            let digits: String = before.chars().filter(char::is_ascii_digit).collect();
            let next = digits.parse::<u64>().map_or(1, |number| number.saturating_add(1));
            before = before.replacen(&digits, &next.to_string(), 1);
        }
        Some(Marker::Arrow | Marker::Bullet) => {}
        None => "- ".clone_into(&mut before),
    }
    Before::Item(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(title: &str) -> NewTask {
        NewTask {
            title: title.to_owned(),
            fields: vec![("Files".to_owned(), "src/**".to_owned())],
            ready: true,
            ..NewTask::default()
        }
    }

    fn added(source: &str, new: &NewTask) -> String {
        let added = add(source.as_bytes(), new, &SectionWords::default()).unwrap();
        String::from_utf8(added.bytes).unwrap()
    }

    #[test]
    fn a_task_is_written_as_the_tasks_are_that_stand_there() {
        for (before, after) in [
            (
                "## Ready\n\n→ **[task_1]** x\n  - Files: a\n\n→ **[task_9]** y\n  - Files: b\n\n## Done\n",
                "## Ready\n\n→ **[task_1]** x\n  - Files: a\n\n→ **[task_9]** y\n  - Files: b\n\n\
                 → **[task_10]** z\n  - Files: src/**\n\n## Done\n",
            ),
            (
                "## Ready\r\n- [x] T001 x\r\n- [ ] T002 y\r\n",
                "## Ready\r\n- [x] T001 x\r\n- [ ] T002 y\r\n- [ ] **[T003]** z\r\n  - Files: src/**\r\n",
            ),
            ("## Ready\n1. x\n2. y", "## Ready\n1. x\n2. y\n3. z\n   - Files: src/**\n"),
            (
                "## Ready\n### A-1: x\n**Files:** a\n\n### A-2: y\n**Files:** b\n",
                "## Ready\n### A-1: x\n**Files:** a\n\n### A-2: y\n**Files:** b\n\n### A-3: z\n**Files:** src/**\n",
            ),
            (
                "# Plan\n\n### Ready tonight\n\nWhat runs.\n\n### Pending\n\n* **[a]** x\n",
                "# Plan\n\n### Ready tonight\n\nWhat runs.\n\n* **[task_1]** z\n  - Files: src/**\n\n### Pending\n\n\
                 * **[a]** x\n",
            ),
            (
                "# Plan\n\n### Pending\n- **[a]** x\n",
                "# Plan\n\n### Pending\n- **[a]** x\n\n### Ready\n\n- **[task_1]** z\n  - Files: src/**\n",
            ),
        ] {
            assert_eq!(added(before, &task("z")), after);
        }
        let first = added(EMPTY, &task("z"));
        assert!(first.contains("## Ready\n\n- **[task_1]** z\n  - Files: src/**\n\n## Pending\n"));
        let waits = NewTask { ready: false, notes: vec!["as said".into()], ..task("y") };
        let second = added(&first, &waits);
        assert!(second.ends_with("## Pending\n\n- **[task_2]** y\n  - Files: src/**\n  as said\n"));
    }

    #[test]
    fn nothing_is_written_that_would_read_otherwise() {
        let source = "## Ready\n\n- **[a]** x\n";
        let no = |new: &NewTask| add(source.as_bytes(), new, &SectionWords::default()).unwrap_err();
        for title in ["", "two\nlines", &"x".repeat(LONGEST_TITLE + 1)] {
            assert_eq!(no(&task(title)), AddError::Title, "{title}");
        }
        let taken = NewTask { id: Some(TaskId::new("a").unwrap()), ..task("y") };
        assert_eq!(no(&taken), AddError::Taken(TaskId::new("a").unwrap(), 3));
        for hostile in ["y <!-- and no end", "y (depends on a)"] {
            assert!(matches!(no(&task(hostile)), AddError::Unreadable(_)), "{hostile}");
        }
        let notes = vec!["## Done".to_owned(), "- **[b]** more".to_owned()];
        let new = NewTask { notes, ..task("y") };
        assert!(matches!(no(&new), AddError::Unreadable(_)));
    }
}
