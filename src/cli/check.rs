//! `nightshift check`: what a night would do and why. The same reading as `run`, with nothing started.

mod explain;
mod lint;
mod words;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    cli::{
        Global, Output, code, decide,
        tell::{self, Cleaner},
    },
    config::{Override, Sandbox},
    diagnostic::Level,
    ids::{InvalidName, NAME, TaskId},
    plan::{Readiness, Task},
    policy::{Admission, AdmittedTask, Applied, Decision, Refusal, Ruling, Verdict, rule},
    process::{Environment, find_program},
    runner::{
        include,
        look::Open,
        open,
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::Refused,
        stop::StopFiles,
        storage::Space,
        yard::{Plot, Yard},
    },
    workspace::Store,
};

/// Say what a night would do and why, without starting anything
#[derive(Debug, Default, clap::Args)]
pub(super) struct Check {
    /// The repository, or a directory in it [default: where you are]
    #[arg(value_name = "REPO")]
    repository: Option<PathBuf>,
    /// Only these tasks
    #[arg(short, long = "task", value_name = "ID", num_args = 1, value_parser = task_id)]
    tasks: Vec<TaskId>,
    /// Every rule with value, limit, verdict and where the limit was set
    #[arg(long)]
    explain: bool,
    /// Start from this branch, tag or commit, with its plan
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    /// The plan, relative to the repository's root
    #[arg(long, value_name = "FILE")]
    plan: Option<String>,
    /// Exit with 1 for warnings too
    #[arg(long)]
    strict: bool,
    /// Everything, also where it is more than a screen
    #[arg(long)]
    all: bool,
}

fn task_id(text: &str) -> Result<TaskId, InvalidName> {
    TaskId::new(text)
}

/// What would become of one task.
enum Fate {
    /// It would run, as this one in line.
    Runs(usize),
    /// It may run, and something of this night keeps it from it: what, and what to type.
    Held(String, String),
    /// It asks to run and may not.
    No(Verdict, Vec<Refusal>),
    /// It does not ask to run.
    Silent(String),
}

/// One task with its fate.
struct Row<'p> {
    task: &'p Task,
    admission: &'p Admission,
    fate: Fate,
}

/// Everything that is shown.
struct View<'p> {
    preparation: &'p Preparation,
    rows: Vec<Row<'p>>,
    agent: Agent,
    ground: Ground,
    canary: String,
    lint: lint::Lint,
    stopped: bool,
    all: bool,
}

/// What can be said of the agent without starting it.
struct Agent {
    name: String,
    /// What is known, or what is wrong.
    words: String,
    /// False when a night would be refused because of it.
    usable: bool,
}

/// What a night would stand on.
struct Ground {
    walls: String,
    disk: Disk,
}

/// What a night would take on the disks, in bytes.
struct Disk {
    /// Or why a night would be refused.
    needed: Result<u64, String>,
    /// Where it needs most.
    free: u64,
}

/// What would stand around agent and gate, tried here and now, and whether there is room for it.
fn ground(surroundings: &Surroundings, preparation: &Preparation) -> Result<Ground, Refused> {
    let home = &preparation.home;
    let settings = &preparation.user_settings;
    let wish = settings.sandbox.unwrap_or(Sandbox::Auto);
    let included = include::find(&home.vault, &preparation.base.tree, home.user.work_tree())?;
    let yard = Yard::build(&Plot {
        surroundings,
        home,
        settings,
        wish,
        // That no walls hold is told, and refuses nothing here.
        demo: true,
        gate: &preparation.gate,
        base: &preparation.base,
        included: &included,
    })?;
    let store = Store::new(&home.vault, &home.places.work());
    let room = yard.has_room(home, &store, preparation.settings.limits.parallel);
    let free = Space::of(&home.places.work())?.free;
    let needed = room
        .map(|needed| needed.work.bytes.saturating_add(needed.state.bytes))
        .map_err(|refused| [Some(refused.message), refused.help].into_iter().flatten().collect())
        .map_err(|words: Vec<String>| words.join("; "));
    let disk = Disk { needed, free };
    Ok(Ground { walls: walls(surroundings, wish, &yard), disk })
}

fn walls(surroundings: &Surroundings, wish: Sandbox, yard: &Yard) -> String {
    let file = surroundings.user_file_shown();
    match (&yard.fence, yard.gaps().is_empty()) {
        (None, _) if wish == Sandbox::Off => format!("none, as {file} says"),
        (None, _) => {
            format!("none hold here: nothing would start without `sandbox: off` in {file}")
        }
        (Some(fence), true) => fence.tier().name().to_owned(),
        (Some(fence), false) => {
            format!("{}; {NAME} doctor says what it does not stop", fence.tier().name())
        }
    }
}

pub(super) fn check(
    surroundings: &Surroundings,
    global: &Global,
    command: &Check,
    output: &mut Output,
) -> Result<u8, Refused> {
    let request = Request {
        repository: command.repository.clone().unwrap_or_else(|| global.repository()),
        base: command.base.clone(),
        tasks: command.tasks.clone(),
        overrides: command.plan.clone().map(Override::Plan).into_iter().collect(),
        style: output.style(),
    };
    of(surroundings, &request, command, output)
}

/// The same for any request: `run --dry-run` comes here too.
pub(super) fn of(
    surroundings: &Surroundings,
    request: &Request,
    command: &Check,
    output: &Output,
) -> Result<u8, Refused> {
    let mut preparation = Preparation::read(surroundings, request)?;
    preparation.look_at_checkout()?;
    let stopped = notes_of_now(&mut preparation);
    if preparation.plan_source.is_none() {
        return Err(open::no_plan(&preparation.home));
    }
    known_tasks(&preparation, &request.tasks)?;
    let cleaner = Cleaner::new(surroundings);
    let rows = rows(&preparation, &request.tasks);
    let view = View {
        lint: lint::Lint::of(&preparation, &rows),
        rows,
        agent: agent(surroundings, &preparation),
        ground: ground(surroundings, &preparation)?,
        canary: preparation.canary()?,
        stopped,
        preparation: &preparation,
        all: command.all,
    };
    let exit = exit(&view, command.strict);
    if output.is_json() {
        output.json("check", &as_json(&view, exit));
        return Ok(exit);
    }
    if output.is_quiet() && exit <= code::FINDINGS {
        return Ok(exit);
    }
    if command.explain {
        output.page(
            &cleaner.redacted(explain::explained(&view, !request.tasks.is_empty()).as_bytes()),
        );
    } else {
        output.page(&cleaner.redacted(words::screen(&view).as_bytes()));
    }
    for message in words::messages(&view) {
        output.note(&message);
    }
    output.page(&cleaner.redacted(words::end(&view, exit).as_bytes()));
    Ok(exit)
}

/// What stands in the way at this moment, though it says nothing about the plan.
/// True when nothing would start because somebody stopped it.
fn notes_of_now(preparation: &mut Preparation) -> bool {
    let asked = StopFiles::of(&preparation.home).asked();
    let stopped = asked.is_some();
    if let Some(asked) = asked {
        preparation
            .notes
            .push(format!("nights of this repository are stopped by {}; {}", asked.by, asked.lift));
    }
    if let Some(full) = preparation.open.as_ref().and_then(Open::refusal) {
        let help = full.help.unwrap_or_default();
        preparation.notes.push(format!("no night would begin: {}; {help}", full.message));
    }
    if let Err(damage) = open::unfinished(&preparation.home) {
        preparation.notes.push(format!("the last night cannot be gone on with: {damage}"));
    }
    if let Some(holder) = tell::holder(&preparation.home) {
        preparation.notes.push(format!("a night is {}", tell::holder_in_words(&holder)));
    }
    stopped
}

/// Says no to a task that the plan does not have.
pub(super) fn known_tasks(preparation: &Preparation, asked: &[TaskId]) -> Result<(), Refused> {
    match asked.iter().find(|id| !knows(preparation, id)) {
        Some(unknown) => Err(unknown_task(preparation, unknown)),
        None => Ok(()),
    }
}

fn knows(preparation: &Preparation, id: &TaskId) -> bool {
    preparation.plan.tasks.iter().any(|task| task.id == *id)
}

fn unknown_task(preparation: &Preparation, id: &TaskId) -> Refused {
    let path = preparation.plan_source.as_ref().map(|plan| plan.path.to_string());
    let help = match decide::near(preparation.plan.tasks.iter().map(|task| &task.id), id) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{NAME} check --all lists every task"),
    };
    Refused::usage(format!("there is no task `{id}` in {}", path.unwrap_or_default()), help)
}

/// The fate of each task, in plan order; of all tasks, or of those that were asked for.
fn rows<'p>(preparation: &'p Preparation, only: &[TaskId]) -> Vec<Row<'p>> {
    let order = preparation.start_order(only);
    let places: BTreeMap<&TaskId, usize> =
        order.iter().enumerate().map(|(place, task)| (task.id(), place)).collect();
    let most = usize::try_from(preparation.settings.limits.tasks).unwrap_or(usize::MAX);
    preparation
        .tasks()
        .filter(|(task, _)| only.is_empty() || only.contains(&task.id))
        .map(|(task, admission)| {
            let asks = task.readiness() == Readiness::Ready || !only.is_empty();
            let fate = match &admission.decision {
                Decision::Admitted(_) => match places.get(&task.id).copied() {
                    Some(place) if place < most => Fate::Runs(place + 1),
                    Some(place) => Fate::Held(
                        format!(
                            "the limit is {most} task{} a night ({})",
                            if most == 1 { "" } else { "s" },
                            preparation.settings.origin("limits.tasks")
                        ),
                        format!("{NAME} run --max-tasks {}", place + 1),
                    ),
                    None => {
                        let (why, remedy) = lint::needed(preparation, task);
                        Fate::Held(why, remedy)
                    }
                },
                Decision::Waiting(refusals) if asks => Fate::No(Verdict::Ask, refusals.clone()),
                Decision::Refused(refusals) if asks => Fate::No(Verdict::Refuse, refusals.clone()),
                Decision::Refused(refusals)
                    if task.readiness() == Readiness::NeedsApproval
                        && let Some(first) = refusals.first() =>
                {
                    Fate::Silent(format!("{}; no approval frees it", first.message))
                }
                Decision::Waiting(_) | Decision::Refused(_) => Fate::Silent(silent(task)),
            };
            Row { task, admission, fate }
        })
        .collect()
}

/// Why a task that does not ask to run does not.
fn silent(task: &Task) -> String {
    match task.readiness() {
        Readiness::Done => "done".to_owned(),
        Readiness::NeedsApproval => "waits for approval".to_owned(),
        Readiness::NotReady(why) => why,
        Readiness::Ready => "ready".to_owned(),
    }
}

/// Looks for the agent's program and for what a night would say about it. Starts nothing.
fn agent(surroundings: &Surroundings, preparation: &Preparation) -> Agent {
    let settings = &preparation.settings;
    let name = settings.agent.use_.clone();
    let program = match name.as_str() {
        "claude" => Some("claude".to_owned()),
        "demo" => None,
        profile => match preparation.user_settings.agents.get(profile) {
            Some(profile) => profile.command.first().cloned(),
            None => {
                let words = format!(
                    "there is no agent `{profile}` ({}); add it under `agents:` in {}",
                    settings.origin("agent.use"),
                    surroundings.user_file().display()
                );
                return Agent { name, words, usable: false };
            }
        },
    };
    let environment = Environment::from_allowed(&surroundings.environment, &settings.agent.env);
    let mut words = match &program {
        None => "built in".to_owned(),
        Some(program) => match find_program(program, &environment) {
            Some(path) => path.display().to_string(),
            None => {
                let words = format!("`{program}` is not on PATH here");
                return Agent { name, words, usable: false };
            }
        },
    };
    let mut usable = true;
    let credentials = ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"];
    if name == "claude" && !credentials.iter().any(|name| surroundings.value(name).is_some()) {
        usable = false;
        words.push_str(", without a credential: set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN");
    }
    if let Some(model) = settings.agent.model() {
        words.push_str(&format!(", model {model}"));
    }
    Agent { name, words, usable }
}

fn exit(view: &View<'_>, strict: bool) -> u8 {
    let messages = &view.preparation.plan_messages;
    let held = |row: &Row<'_>| matches!(row.fate, Fate::Held(..) | Fate::No(..));
    let found = messages.iter().any(|(level, _)| strict || *level == Level::Error)
        || strict && (view.lint.warns() || view.rows.iter().any(held));
    let kept = !view.agent.usable || view.ground.disk.needed.is_err();
    if found || view.preparation.gate_missing.is_some() || kept && strict {
        code::FINDINGS
    } else {
        code::DONE
    }
}

fn as_json(view: &View<'_>, exit: u8) -> Value {
    let preparation = view.preparation;
    let tasks: Vec<Value> = view.rows.iter().map(|row| row_json(view, row)).collect();
    let messages: Vec<Value> = preparation
        .plan_messages
        .iter()
        .map(|(level, text)| {
            let level = if *level == Level::Error { "error" } else { "warning" };
            json!({"level": level, "text": text})
        })
        .collect();
    json!({
        "plan": preparation.plan_source,
        "base": preparation.base,
        "configuration": preparation.settings_file,
        "tasks": tasks,
        "messages": messages,
        "notes": preparation.notes,
        "gate": {
            "id": preparation.gate.id,
            "setup": preparation.gate.setup,
            "steps": preparation.gate.steps,
            "missing": preparation.gate_missing,
        },
        "agent": {
            "name": view.agent.name,
            "found": view.agent.words,
            "usable": view.agent.usable,
        },
        "walls": view.ground.walls,
        "disk": {
            "needed": view.ground.disk.needed.as_ref().ok(),
            "free": view.ground.disk.free,
            "problem": view.ground.disk.needed.as_ref().err(),
        },
        "lint": view.lint.as_json(),
        "stopped": view.stopped,
        "limits": preparation.settings.limits,
        "exit": exit,
    })
}

fn row_json(view: &View<'_>, row: &Row<'_>) -> Value {
    let (fate, place, why) = match &row.fate {
        Fate::Runs(place) => ("run", Some(*place), None),
        Fate::Held(why, _) => ("held", None, Some(why.clone())),
        Fate::No(Verdict::Refuse, refusals) => ("refuse", None, first_message(refusals)),
        Fate::No(Verdict::Ask | Verdict::Report, refusals) => {
            ("ask", None, first_message(refusals))
        }
        Fate::Silent(why) => ("not ready", None, Some(why.clone())),
    };
    let rules: Vec<Value> = row
        .admission
        .rules
        .iter()
        .map(|applied| {
            let (verdict, refusal) = ruling(applied);
            json!({
                "rule": applied.rule,
                "why": rule(applied.rule).map(|rule| rule.why),
                "value": applied.value,
                "limit": applied.limit,
                "origin": applied.origin.to_string(),
                "verdict": verdict,
                "message": refusal.map(|refusal| &refusal.message),
                "help": refusal.and_then(|refusal| refusal.help.as_ref()),
            })
        })
        .collect();
    let later: Vec<Value> = explain::later(view, row)
        .iter()
        .map(|later| {
            json!({
                "rule": later.rule.id,
                "why": later.rule.why,
                "limit": later.limit,
                "origin": later.origin.to_string(),
                "verdict": later.verdict,
                "freed": later.freed,
            })
        })
        .collect();
    let remedy = match &row.fate {
        Fate::Held(_, remedy) => Some(remedy.clone()),
        Fate::No(_, refusals) => refusals.first().and_then(|refusal| lint::remedy(row, refusal)),
        Fate::Runs(_) | Fate::Silent(_) => None,
    };
    let risk = row.admission.admitted().map(AdmittedTask::risk);
    let level = risk.map(|risk| view.preparation.rules.policy().risk.of(risk.score).0);
    let predicted = view.lint.predicted.get(&row.task.id);
    let fields = &row.task.fields;
    json!({
        "id": row.task.id,
        "title": row.task.title,
        "line": row.task.line,
        "section": row.task.section.heading,
        "text_hash": row.task.text_hash,
        "fate": fate,
        "place": place,
        "why": why,
        "score": fields.alignment,
        "lines": fields.estimated_lines,
        "after": fields.depends_on,
        "risk": risk,
        "level": level,
        "files": predicted.map(|found| &found.named),
        "files_covered": predicted.map(|found| found.covered.len()),
        "type": remedy,
        "rules": rules,
        "later": later,
    })
}

fn first_message(refusals: &[Refusal]) -> Option<String> {
    refusals.first().map(|refusal| refusal.message.clone())
}

/// A rule's answer in one word, with what it had to say.
fn ruling(applied: &Applied) -> (&'static str, Option<&Refusal>) {
    match &applied.ruling {
        Ruling::Passed => ("pass", None),
        Ruling::Freed(refusal) => ("freed", Some(refusal)),
        Ruling::Broken(refusal) => {
            let verdict = match refusal.verdict {
                Verdict::Report => "report",
                Verdict::Ask => "ask",
                Verdict::Refuse => "refuse",
            };
            (verdict, Some(refusal))
        }
    }
}
