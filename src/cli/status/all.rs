//! `status --all`: every repository that this machine knows, in one line each, and the command where something is to
//! be done.

use serde_json::{Value, json};

use crate::{
    cli::{
        Output, code, history,
        tell::{self, Cleaner},
    },
    ids::NAME,
    journal::Lock,
    report::{
        NightFigures,
        history::{Came, Totals},
    },
    runner::{
        places::{Places, Surroundings},
        refused::Refused,
    },
};

/// One repository.
struct Line {
    name: String,
    path: String,
    night: NightFigures,
    running: bool,
}

pub(super) fn all(surroundings: &Surroundings, output: &Output) -> Result<u8, Refused> {
    let cleaner = Cleaner::new(surroundings);
    let mut lines = Vec::new();
    let mut empty = Vec::new();
    let places = Places::all(surroundings);
    let known = history::known(surroundings, &places, true);
    for places in &places {
        let name = places.name();
        // In the order of nights: the last is the newest.
        let last = known.nights.iter().rfind(|(repository, _)| *repository == name);
        let running = Lock::holder(&places.lock()).is_some();
        match last.map(|(_, night)| night.clone()) {
            Some(night) => {
                lines.push(Line { path: night.repository.clone(), name, night, running });
            }
            None => empty.push(name),
        }
    }
    if output.is_json() {
        let repositories: Vec<Value> = lines
            .iter()
            .map(|line| {
                json!({
                    "name": line.name,
                    "repository": line.path,
                    "night": line.night.night,
                    "running": line.running,
                    "totals": line.night.totals(),
                    "pull_request": line.night.pull_request,
                    "next": line.next(),
                })
            })
            .collect();
        let data = json!({ "repositories": repositories, "without_nights": empty });
        output.json("status-all", &tell::cleaned(&data, &cleaner));
        return Ok(code::DONE);
    }
    let mut text = String::new();
    if !lines.is_empty() {
        let rows: Vec<Vec<String>> = lines.iter().map(Line::cells).collect();
        text =
            output.screen().table(&["repository", "last night", "landed", "what needs you"], &rows);
    }
    let next: Vec<String> =
        lines.iter().filter_map(Line::next).map(|command| format!("  {command}\n")).collect();
    if !next.is_empty() {
        text.push_str(&format!("\nnext:\n{}", next.concat()));
    }
    for name in &empty {
        text.push_str(&format!("no night has run in {name} yet\n"));
    }
    for problem in &known.problems {
        text.push_str(&format!("damaged: {problem}\n"));
    }
    if lines.is_empty() && empty.is_empty() {
        text.push_str(&format!(
            "no repository on this machine has seen a night\nnext: {NAME} init in one, or {NAME} demo\n"
        ));
    }
    output.page(&cleaner.clean(text.as_bytes()));
    Ok(code::DONE)
}

impl Line {
    fn cells(&self) -> Vec<String> {
        let totals = self.night.totals();
        vec![
            self.name.clone(),
            self.night.night.to_string(),
            format!("{} of {}", totals.landed, totals.tried),
            self.needs(&totals),
        ]
    }

    /// What a person is wanted for; a dash for nothing.
    fn needs(&self, totals: &Totals) -> String {
        let waits = self.night.tasks.iter().filter(|task| task.came == Came::Waits).count();
        let mut words = Vec::new();
        if self.running {
            words.push("runs now".to_owned());
        } else if self.night.exit.is_none() {
            words.push("was cut off".to_owned());
        } else if let Some(why) = &self.night.stopped {
            words.push(format!("stopped: {why}"));
        }
        if waits > 0 {
            words.push(format!("{waits} wait for you"));
        }
        if totals.failed > 0 {
            words.push(format!("{} failed", totals.failed));
        }
        if let (true, true, Some(url)) =
            (words.is_empty(), totals.landed > 0, &self.night.pull_request)
        {
            words.push(format!("read {url}"));
        }
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    }

    /// The command for it; none where nothing is wanted.
    fn next(&self) -> Option<String> {
        let totals = self.night.totals();
        let verb = if self.running {
            "status --watch"
        } else if self.night.exit.is_none() {
            "resume"
        } else if self.needs(&totals) != "-" {
            "status"
        } else {
            return None;
        };
        Some(format!("{NAME} -C {} {verb}", tell::quoted(&self.path)))
    }
}
