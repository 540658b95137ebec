//! A person's approval of a task that waits in the plan: which rules it frees, and the edit of the person's own file.
//!
//! The one place that writes into a checkout beside `init`, by a command that a person typed: one line of each
//! task, in one step, and not at all when the file changed meanwhile.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    config::plan_files,
    files,
    ids::{NAME, TaskId},
    plan::{self, SectionWords, Task, add::NewTask},
    policy::{self, Admission, Decision, Refusal, Verdict},
    runner::{
        clock,
        prepare::{Preparation, section_words},
        refused::Refused,
    },
};

/// The plan of a checkout while approvals are put into it.
#[derive(Debug)]
pub struct PlanEdit<'p> {
    preparation: &'p Preparation,
    words: SectionWords,
    /// The file itself, behind links.
    path: PathBuf,
    shown: String,
    before: Vec<u8>,
    after: Vec<u8>,
    /// True: there was no file, and writing makes it.
    begun: bool,
}

/// What an approval of one task comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It is approved once the file is written.
    Approved {
        /// What it frees.
        freed: Vec<Refusal>,
        /// What still keeps the task from running.
        left: Vec<Refusal>,
    },
    /// It may run as it is.
    Needless,
    /// No approval frees these.
    Refused(Vec<Refusal>),
    /// It waits for something else than an approval.
    Waits(Vec<Refusal>),
    /// The plan has no such task.
    Unknown,
    /// The plan has several of this name.
    Ambiguous(usize),
    /// Its approval cannot be written.
    Unwritable(String),
}

/// A task with an answer, which is a new text.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The task as it reads now.
    pub task: Task,
    /// What keeps it from running.
    pub left: Vec<Refusal>,
}

impl<'p> PlanEdit<'p> {
    /// Reads the plan of the checkout. An error where nights read the base's plan: there an approval is a commit.
    pub fn open(preparation: &'p Preparation) -> Result<PlanEdit<'p>, Refused> {
        let home = &preparation.home;
        let source = preparation.plan_source.as_ref();
        let Some(source) = source else { return Err(super::open::no_plan(home)) };
        let root = home.user.work_tree().filter(|_| source.working_tree);
        let Some(root) = root else {
            return Err(Refused::usage(
                format!("nights read {} of the base commit here", source.path),
                format!("{NAME} approve it in a checkout, then commit and push the plan"),
            ));
        };
        let path = root.join(source.path.to_string());
        let path = std::fs::canonicalize(&path).map_err(files::error("find", &path))?;
        let before = std::fs::read(&path).map_err(files::error("read", &path))?;
        let words = section_words(&preparation.settings);
        let shown = source.path.to_string();
        let after = before.clone();
        Ok(PlanEdit { preparation, words, path, shown, after, before, begun: false })
    }

    /// The same; where there is no plan, the beginning of one, which the writing makes.
    pub fn open_or_begin(preparation: &'p Preparation) -> Result<PlanEdit<'p>, Refused> {
        if preparation.plan_source.is_some() {
            return PlanEdit::open(preparation);
        }
        let home = &preparation.home;
        let root = home.user.work_tree().ok_or_else(|| super::open::no_plan(home))?;
        let [shown, ..] = plan_files();
        Ok(PlanEdit {
            preparation,
            words: section_words(&preparation.settings),
            path: root.join(&shown),
            shown,
            before: Vec::new(),
            after: plan::add::EMPTY.as_bytes().to_vec(),
            begun: true,
        })
    }

    /// The plan's path as people know it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Every task of the plan as it is now.
    pub fn tasks(&self) -> Vec<Task> {
        tasks(&self.after, &self.words)
    }

    /// Puts the approval of one task into the text, where that frees something. Nothing is written yet.
    pub fn approve(&mut self, id: &TaskId, by: &str) -> Permit {
        let tasks = self.tasks();
        let mut named = tasks.iter().filter(|task| task.id == *id);
        let Some(task) = named.next() else { return Permit::Unknown };
        let more = named.count();
        if more > 0 {
            return Permit::Ambiguous(more + 1);
        }
        let before = match self.admission(&tasks, id).decision {
            // A rule beside the plan's own may hold it back all the same.
            Decision::Admitted(_) => {
                let all = self.preparation.admissions.iter();
                return match all.clone().find(|one| one.task == *id).map(|one| &one.decision) {
                    Some(Decision::Waiting(refusals)) => Permit::Waits(refusals.clone()),
                    Some(Decision::Refused(refusals)) => Permit::Refused(refusals.clone()),
                    Some(Decision::Admitted(_)) | None => Permit::Needless,
                };
            }
            Decision::Refused(mut refusals) => {
                refusals.retain(|refusal| refusal.verdict == Verdict::Refuse);
                return Permit::Refused(refusals);
            }
            Decision::Waiting(refusals) => refusals,
        };
        let edited = plan::approve::approve(&self.after, task, &clock::local_date(), by);
        let edited = match edited {
            Ok(edited) => edited,
            Err(problem) => return Permit::Unwritable(problem.to_string()),
        };
        if !plan::approve::reads_back(&tasks, task, &edited, &self.words) {
            let why =
                "a line below its title is not read: does the title open a fence or a comment?";
            return Permit::Unwritable(why.to_owned());
        }
        let left = self.left(&self::tasks(&edited, &self.words), id);
        let rules: BTreeSet<&str> = left.iter().map(|refusal| refusal.rule.as_str()).collect();
        let freed: Vec<Refusal> =
            before.iter().filter(|said| !rules.contains(said.rule.as_str())).cloned().collect();
        if freed.is_empty() {
            return Permit::Waits(left);
        }
        self.after = edited;
        Permit::Approved { freed, left }
    }

    /// Puts a new task into the text, and gives it as it reads, with what keeps it from running. Nothing is written
    /// yet.
    pub fn add(&mut self, new: &NewTask) -> Result<(Task, Vec<Refusal>), Refused> {
        let added = plan::add::add(&self.after, new, &self.words).map_err(|problem| {
            let help = "write it otherwise, or into the plan with an editor";
            Refused::usage(problem.to_string(), help)
        })?;
        self.after = added.bytes;
        let left = self.left(&self.tasks(), &added.task.id);
        Ok((added.task, left))
    }

    /// Puts a person's answer to what a task asked below its title. `Ok`: what keeps the task from running after
    /// it, which is a new text; `Err`: why it cannot be written. Nothing is written yet.
    pub fn answer(
        &mut self,
        id: &TaskId,
        questions: &[String],
        words: &str,
    ) -> Result<Answered, String> {
        let tasks = self.tasks();
        let mut named = tasks.iter().filter(|task| task.id == *id);
        let (Some(task), None) = (named.next(), named.next()) else {
            return Err(format!("{} has not exactly one task of this name", self.shown));
        };
        let edited = plan::answer::answer(&self.after, task, questions, words)
            .map_err(|problem| problem.to_string())?;
        if !plan::answer::reads_back(&tasks, task, &edited, &self.words) {
            let why =
                "the plan would read otherwise: does the task's title open a fence or a comment?";
            return Err(why.to_owned());
        }
        let after = self::tasks(&edited, &self.words);
        let left = self.left(&after, id);
        let task = after.into_iter().find(|task| task.id == *id);
        let task = task.expect("the answer was read back with its task");
        self.after = edited;
        Ok(Answered { task, left })
    }

    /// Writes the file, where anything was changed. An error when somebody changed it meanwhile.
    pub fn write(self) -> Result<(), Refused> {
        if self.after == self.before {
            return Ok(());
        }
        if self.begun {
            return Ok(files::create_new(&self.path, &self.after, 0o644)?);
        }
        let now = std::fs::read(&self.path).map_err(files::error("read", &self.path))?;
        if now != self.before {
            return Err(Refused::usage(
                format!("{} changed while it was read; nothing was written", self.shown),
                "save it in your editor, then say it again",
            ));
        }
        Ok(files::write_atomic(&self.path, &self.after)?)
    }

    /// What keeps a task of these from running.
    fn left(&self, tasks: &[Task], id: &TaskId) -> Vec<Refusal> {
        match self.admission(tasks, id).decision {
            Decision::Admitted(_) => Vec::new(),
            Decision::Waiting(left) | Decision::Refused(left) => left,
        }
    }

    fn admission(&self, tasks: &[Task], id: &TaskId) -> Admission {
        let preparation = self.preparation;
        let limits = &preparation.settings.limits;
        let all = policy::admit_plan(&preparation.rules, limits, tasks, &BTreeSet::new());
        let found = all.into_iter().find(|admission| admission.task == *id);
        found.expect("admission answers for each task of the plan")
    }
}

fn tasks(bytes: &[u8], words: &SectionWords) -> Vec<Task> {
    let (source, _) = plan::decode(bytes);
    plan::parse(&source, words).0.tasks
}
