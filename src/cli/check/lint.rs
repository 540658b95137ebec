//! What a person should know before bed, besides the rules' own words: tasks that meet in a file, tasks that
//! come too late, what the night would take, and what to type for each.
//!
//! Decides nothing: a night runs the same with or without these points.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Fate, Row, words::span};
use crate::{
    budget::{Limits, Usd},
    ids::TaskId,
    plan::{Readiness, Task},
    policy::{BaseFiles, Collision, Decision, Predicted, Refusal, collisions, predicted},
    report,
    runner::{
        forecast::{Figures, figures},
        prepare::Preparation,
    },
};

/// Everything that was found.
pub(super) struct Lint {
    /// Tasks that would run and meet in a file.
    pub(super) collisions: Vec<Collision>,
    /// What each task that would run will probably change.
    pub(super) predicted: BTreeMap<TaskId, Predicted>,
    /// Tasks in line that the night would probably not come to, and why.
    pub(super) late: BTreeMap<TaskId, String>,
    /// What earlier nights took; `None` = there are none.
    pub(super) figures: Option<Figures>,
    /// The night's figures from those, for the tasks in line: seconds and cost; `None` as above.
    pub(super) tonight: Option<(u64, Usd)>,
}

impl Lint {
    pub(super) fn of(preparation: &Preparation, rows: &[Row<'_>]) -> Lint {
        let mut running: Vec<(usize, &Row<'_>)> = rows
            .iter()
            .filter_map(|row| match row.fate {
                Fate::Runs(place) => Some((place, row)),
                Fate::Held(..) | Fate::No(..) | Fate::Silent(_) => None,
            })
            .collect();
        running.sort_by_key(|(place, _)| *place);
        let base = BaseFiles::new(&preparation.files);
        let tasks = running.iter().filter_map(|(_, row)| row.admission.admitted());
        let tasks: Vec<_> =
            tasks.map(|task| (task, predicted(&preparation.rules, task, &base))).collect();
        let figures = figures(&preparation.home, &preparation.settings.agent.use_);
        let ids: Vec<&TaskId> = tasks.iter().map(|(task, _)| task.id()).collect();
        let (late, tonight) = late(&ids, figures.as_ref(), &preparation.settings.limits);
        Lint {
            collisions: collisions(&tasks),
            predicted: tasks.into_iter().map(|(task, found)| (task.id().clone(), found)).collect(),
            late,
            figures,
            tonight,
        }
    }

    /// True when something here is worth a second look before bed.
    pub(super) fn warns(&self) -> bool {
        !self.late.is_empty() || self.collisions.iter().any(|found| found.sure)
    }

    /// The same for programs.
    pub(super) fn as_json(&self) -> Value {
        let collision = |found: &Collision| {
            json!({
                "tasks": [found.first, found.second],
                "path": found.path,
                "more": found.more,
                "sure": found.sure,
                "type": apart(found),
            })
        };
        json!({
            "collisions": self.collisions.iter().map(collision).collect::<Vec<_>>(),
            "late": self.late,
            "figures": self.figures,
            "tonight": self.tonight.map(|(seconds, cost)| json!({"seconds": seconds, "cost": cost})),
        })
    }
}

/// Which of the tasks in line come after the time or the money is probably used up, and what all of them take:
/// each with the median of earlier tasks, one after the other.
fn late(
    tasks: &[&TaskId],
    figures: Option<&Figures>,
    limits: &Limits,
) -> (BTreeMap<TaskId, String>, Option<(u64, Usd)>) {
    let mut found = BTreeMap::new();
    let Some(figures) = figures else { return (found, None) };
    let (seconds, cost) = (figures.task.seconds[1], figures.task.cost[1].micros());
    let (mut time, mut spent) = (0_u64, 0_u64);
    for id in tasks {
        if time >= limits.time_s {
            let limit = span(limits.time_s);
            found.insert((*id).clone(), format!("the night's {limit} are probably over by then"));
        } else if limits.cost != Usd::ZERO && spent >= limits.cost.micros() {
            let limit = limits.cost;
            found.insert((*id).clone(), format!("the night's {limit} are probably spent by then"));
        }
        time = time.saturating_add(seconds);
        spent = spent.saturating_add(cost);
    }
    (found, Some((time, Usd::from_micros(spent))))
}

/// What to type so that two tasks do not meet.
pub(super) fn apart(found: &Collision) -> String {
    format!("`Depends on: {}` below {}", found.first, found.second)
}

/// Why a task that may run is not in line, and what to type: one that it needs is held back by an earlier
/// night, or was not asked for.
pub(super) fn needed(preparation: &Preparation, task: &Task) -> (String, String) {
    let held = preparation.tasks().find_map(|(other, admission)| match &admission.decision {
        Decision::Waiting(refusals) | Decision::Refused(refusals)
            if task.fields.depends_on.contains(&other.id)
                && other.readiness() != Readiness::Done =>
        {
            Some((&other.id, refusals.first()?))
        }
        Decision::Waiting(_) | Decision::Refused(_) | Decision::Admitted(_) => None,
    });
    match held {
        Some((id, refusal)) => {
            let help = refusal.help.clone().unwrap_or_else(|| format!("mend {id} first"));
            (format!("it needs {id}; {id}: {}", reason(preparation, refusal)), help)
        }
        None => (
            "it needs a task that was not asked for".to_owned(),
            "name that one with -t as well".to_owned(),
        ),
    }
}

/// What to type for a rule that said no: its own help, and how a person approves.
pub(super) fn remedy(row: &Row<'_>, refusal: &Refusal) -> Option<String> {
    report::remedy(&row.task.id, refusal)
}

/// A rule's "no" in words, with what lies behind it: what the plan's reader said, or why a needed task does
/// not run itself.
pub(super) fn reason(preparation: &Preparation, refusal: &Refusal) -> String {
    if refusal.rule == "admission.plan" {
        return refusal.value.clone();
    }
    if refusal.rule != "admission.depends-on" {
        return refusal.message.clone();
    }
    // From need to need, to the one that stands at the beginning; a circle has none.
    let mut seen = vec![refusal.value.clone()];
    let mut at = refusal;
    while at.rule == "admission.depends-on" {
        let next = preparation.tasks().find(|(task, _)| task.id.as_str() == at.value);
        let first = next.and_then(|(_, admission)| match &admission.decision {
            Decision::Waiting(refusals) | Decision::Refused(refusals) => refusals.first(),
            Decision::Admitted(_) => None,
        });
        match first {
            Some(first) if first.rule != "admission.depends-on" => {
                let which = seen.last().map_or("", String::as_str);
                return format!("it needs {}; {which}: {}", refusal.value, first.message);
            }
            Some(first) if !seen.contains(&first.value) => {
                seen.push(first.value.clone());
                at = first;
            }
            Some(_) => return format!("it needs {}, which needs it in turn", refusal.value),
            None => break,
        }
    }
    refusal.message.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::forecast::Figure;

    #[test]
    fn tasks_that_come_after_the_time_or_the_money_are_named() {
        let figure = Figure {
            count: 3,
            seconds: [1, 3600, 9000],
            cost: [Usd::ZERO, Usd::from_dollars(4.0), Usd::from_dollars(9.0)],
        };
        let figures = Figures { nights: 1, attempt: figure.clone(), task: figure };
        let ids: Vec<TaskId> = ["a", "b", "c", "d"].map(|id| TaskId::new(id).unwrap()).into();
        let tasks: Vec<&TaskId> = ids.iter().collect();
        let of = |time_s, cost| {
            let limits = Limits { time_s, cost, ..Limits::default() };
            late(&tasks, Some(&figures), &limits)
        };
        let (found, tonight) = of(7200, Usd::ZERO);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&ids[2], &ids[3]]);
        assert_eq!(tonight, Some((4 * 3600, Usd::from_dollars(16.0))));
        let (found, _) = of(86_400, Usd::from_dollars(10.0));
        assert_eq!(found.keys().collect::<Vec<_>>(), [&ids[3]]);
        assert!(found[&ids[3]].contains("$10.00"), "{found:?}");
        let unknown = late(&tasks, None, &Limits { time_s: 1, ..Limits::default() });
        assert_eq!(unknown, (BTreeMap::new(), None), "nothing is guessed");
    }
}
