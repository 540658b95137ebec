//! The plan: a Markdown file with small tasks, and what its tasks say.
//!
//! Parsing reads, [`tick`] edits single values; neither ever reflows or moves a byte of the file.
//! A task is data: nothing in it is ever run because it stands there.

mod section;
mod outline;
mod line;
mod field;
mod value;
mod draft;
mod checks;
mod walk;
mod parse;
pub mod add;
pub mod answer;
pub mod approve;
pub mod tick;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use parse::{decode, parse};
pub use section::SectionWords;

use crate::ids::TaskId;

/// A parsed plan. Spans are byte ranges of the text that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Every task found, in the order of the file, whatever its section.
    pub tasks: Vec<Task>,
    /// Every heading with its class, in the order of the file.
    pub sections: Vec<Section>,
}

/// A heading of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The heading's text without marks.
    pub heading: String,
    /// What its first words make of it.
    pub class: SectionClass,
    /// Line of the heading, from 1.
    pub line: usize,
}

/// What a section means for its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionClass {
    /// *Ready*, *Tonight*, or a configured word.
    Ready,
    /// *Pending*, *Needs approval*…: waits for a person.
    Pending,
    /// *Not ready*, *Blocked*, *Backlog*…
    Never,
    /// *Done*, *Completed*…
    Done,
    /// *Failed*.
    Failed,
    /// Anything else: no statement about readiness.
    Other,
}

/// One task of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id; a slug of the title when the plan gives none.
    pub id: TaskId,
    /// Its title without id and marks.
    pub title: String,
    /// The section it stands in.
    pub section: Section,
    /// Line of the title, from 1.
    pub line: usize,
    /// The task's whole block in the file.
    pub span: Range<usize>,
    /// The title line in the file, without its line end.
    pub title_span: Range<usize>,
    /// The box before the title, if it has one.
    pub checkbox: Option<Checkbox>,
    /// What its fields say.
    pub fields: Fields,
    /// Every other line of the block, word for word, for the agent.
    pub notes: Vec<String>,
    /// The block word for word.
    pub text: String,
    /// SHA-256 of the block without its status value, its box and its approval, in hexadecimal: the same
    /// text after a tick is still the same task, an edited text is a new request.
    pub text_hash: String,
    /// Messages that make this task unusable (codes and sentences). Empty for a good task.
    pub errors: Vec<String>,
}

/// A `[ ]` box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkbox {
    /// Where the character between the brackets stands.
    pub at: usize,
    /// `[x]` or `[X]`.
    pub checked: bool,
    /// Anything else than these and a blank, such as `[-]`: someone is at it, or it is left out.
    pub other: bool,
}

/// The fields that nightshift reads, typed. A field that is absent, or whose value cannot be read, is
/// `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// 0 to 100.
    pub alignment: Option<u32>,
    /// Lines; the larger end of a range.
    pub estimated_lines: Option<u32>,
    /// Whether tests are defined.
    pub tests: Option<TestsDefined>,
    /// The safety check's words.
    pub safety: Option<Safety>,
    /// The status, where one is written.
    pub status: Option<StatusField>,
    /// A ticked `Approve` box or `Approved by:` of a person. `Auto-approved` does not count, nor does an approval
    /// that names another text of the task than this one.
    pub approved: bool,
    /// The bytes of the value of `Approved`, without blanks around it, where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Range<usize>>,
    /// Tasks that must have landed before.
    pub depends_on: Vec<TaskId>,
    /// Globs that narrow the allowed paths for this task.
    pub files: Vec<String>,
    /// When it is done.
    pub acceptance: Vec<String>,
    /// Model to use.
    pub model: Option<String>,
    /// Attempts; may only tighten the limit.
    pub attempts: Option<u32>,
    /// Seconds for one attempt; may only tighten the limit.
    pub timeout_s: Option<u64>,
    /// Money for the task in millionths of a dollar; may only tighten the limit.
    pub budget_micros: Option<u64>,
    /// What a person says about its risk, as written: it may raise the score.
    #[serde(default)]
    pub risk: Option<String>,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// The first field's line in the file, without its line end: a new field is written in its style.
    pub first_line: Option<Range<usize>>,
}

/// The value of `Tests defined`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TestsDefined {
    /// Yes, with the path in brackets where one is given.
    Yes(Option<String>),
    /// Not yet, or no.
    No,
    /// Not applicable, as for documents.
    NotApplicable,
}

/// The value of `Safety check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// What its mark says.
    pub mark: SafetyMark,
    /// The words after the mark.
    pub text: String,
}

/// The mark before a safety check's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SafetyMark {
    /// A check mark, or `yes`, `ok`, `safe`.
    Safe,
    /// A warning sign.
    Caution,
    /// A cross: blocks.
    Unsafe,
    /// None of these.
    Unmarked,
}

/// A written status and where its value stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusField {
    /// What it says.
    pub status: Status,
    /// The bytes of the value, without blanks around it.
    pub span: Range<usize>,
}

/// What a status field can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// May run.
    Ready,
    /// Waits for a person.
    Pending,
    /// Waits for something else.
    Blocked,
    /// Landed.
    Done,
    /// Failed, with the number of nights where one is given.
    Failed(u32),
    /// Left out on purpose.
    Skip,
    /// Refused by a person.
    Rejected,
    /// Under way somewhere.
    Running,
}

/// Whether the plan marks a task ready. The more restrictive of section and status wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Marked ready, and nothing in the plan says otherwise.
    Ready,
    /// Waits for a person's approval.
    NeedsApproval,
    /// Done already.
    Done,
    /// Not marked ready; the words say why.
    NotReady(String),
}

impl Task {
    /// What section, box, status and approval make of the task together.
    pub fn readiness(&self) -> Readiness {
        let not = |why: String| Readiness::NotReady(why);
        let status = self.fields.status.as_ref().map(|field| field.status);
        let checked = self.checkbox.as_ref().is_some_and(|tick| tick.checked);
        if checked || status == Some(Status::Done) || self.section.class == SectionClass::Done {
            return Readiness::Done;
        }
        match self.section.class {
            SectionClass::Never => return not(format!("stands under `{}`", self.section.heading)),
            SectionClass::Failed => {
                return not(format!("stands under `{}`; retry or edit it", self.section.heading));
            }
            SectionClass::Ready
            | SectionClass::Pending
            | SectionClass::Done
            | SectionClass::Other => {}
        }
        match status {
            Some(Status::Blocked) => return not("its status is BLOCKED".to_owned()),
            Some(Status::Skip) => return not("its status is SKIP".to_owned()),
            Some(Status::Rejected) => return not("a person rejected it".to_owned()),
            Some(Status::Running) => return not("its status says that someone is at it".to_owned()),
            Some(Status::Failed(nights)) => {
                let nights =
                    if nights == 1 { "1 night".to_owned() } else { format!("{nights} nights") };
                return not(format!("failed on {nights}; retry or edit it"));
            }
            Some(Status::Ready | Status::Pending | Status::Done) | None => {}
        }
        if self.checkbox.as_ref().is_some_and(|tick| tick.other) {
            return not("its box is neither empty nor ticked".to_owned());
        }
        let waits = self.section.class == SectionClass::Pending || status == Some(Status::Pending);
        if waits && !self.fields.approved {
            return Readiness::NeedsApproval;
        }
        let marked = self.section.class == SectionClass::Ready || status == Some(Status::Ready);
        if !waits && !marked {
            return not("is not marked ready, neither by its section nor by a status".to_owned());
        }
        // A task that cannot be read is never ready: what could not be read may have said no.
        match self.errors.first() {
            Some(error) => not(error.clone()),
            None => Readiness::Ready,
        }
    }
}
