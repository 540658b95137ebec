//! Finds what a person names: `last`, `last~1`, `2026-11-21`, `task_3`, `last/task_3@2`.

use crate::{
    ids::{AttemptId, NightId, TaskId},
    journal::{self, Reading},
    night::Night,
    runner::{home::Home, open::replay, places::NightPlaces, refused::Refused},
};

/// What a selector names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    /// Which night; `Ok(n)` = the nth last, 0 = the last.
    pub(super) night: Result<usize, NightId>,
    /// The task, where one is named.
    pub(super) task: Option<TaskId>,
    /// The attempt, where one is named.
    pub(super) attempt: Option<u32>,
}

/// A night on disk.
pub(super) struct Found {
    /// Its id.
    pub(super) id: NightId,
    /// Its state, as far as the journal can be read.
    pub(super) night: Night,
    /// Its directory.
    pub(super) places: NightPlaces,
    /// What is wrong with the journal, if something is.
    pub(super) damage: Option<String>,
    /// The journal's entries.
    pub(super) reading: Vec<crate::night::Entry>,
}

impl Selector {
    /// Reads `last`, `last~N`, a night's id, a task, or `NIGHT/TASK`, with `@N` for an attempt.
    pub(super) fn parse(text: &str) -> Result<Selector, Refused> {
        let wrong = || {
            Refused::usage(
                format!("`{text}` names no night, task or attempt"),
                "write a night (last, last~1, 2026-11-21), a task (task_3), or both: last/task_3@2",
            )
        };
        // An unset variable of a script is not the last night.
        if text.trim().is_empty() {
            return Err(wrong());
        }
        let (text, attempt) = match text.rsplit_once('@') {
            Some((rest, number)) => (rest, Some(number.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (night, task) = match text.split_once('/') {
            Some((night, task)) if as_night(night).is_some() => (Some(night), Some(task)),
            Some(_) => (None, Some(text)),
            None if as_night(text).is_some() => (Some(text), None),
            None => (None, Some(text)),
        };
        let night = match night {
            Some(word) => as_night(word).ok_or_else(wrong)?,
            None => Ok(0),
        };
        let task = task.map(TaskId::new).transpose().map_err(|_| wrong())?;
        if attempt.is_some() && task.is_none() {
            return Err(wrong());
        }
        Ok(Selector { night, task, attempt })
    }

    /// The attempt that is meant: the named one, else the task's last.
    pub(super) fn attempt_of(&self, night: &Night) -> Option<AttemptId> {
        let task = self.task.clone()?;
        let last = night.task(&task)?.last()?.number;
        Some(AttemptId { task, number: self.attempt.unwrap_or(last) })
    }
}

fn as_night(word: &str) -> Option<Result<usize, NightId>> {
    match word {
        "last" | "latest" => Some(Ok(0)),
        _ => match word.strip_prefix("last~") {
            Some(back) => back.parse().ok().map(Ok),
            None => NightId::new(word).ok().map(Err),
        },
    }
}

/// Opens the night that a selector names.
pub(super) fn night(home: &Home, selector: &Selector) -> Result<Option<Found>, Refused> {
    let mut nights = home.places.all_nights();
    let id = match &selector.night {
        Ok(back) => {
            nights.reverse();
            // A night that was cut off before its first fact was never begun.
            let begun = |id: &NightId| {
                let reading = journal::read(&home.places.night(id).journal());
                reading
                    .map_or(true, |reading| !reading.entries.is_empty() || reading.damage.is_some())
            };
            match nights.into_iter().filter(begun).nth(*back) {
                Some(id) => id,
                None if *back == 0 => return Ok(None),
                None => {
                    return Err(Refused::usage(
                        format!("there is no night `last~{back}`"),
                        "nightshift status shows the last one",
                    ));
                }
            }
        }
        Err(id) if nights.contains(id) => id.clone(),
        Err(id) => {
            let known: Vec<&str> = nights.iter().rev().take(5).map(NightId::as_str).collect();
            return Err(Refused::usage(
                format!("there is no night {id} here"),
                format!("the last ones are: {}", known.join(", ")),
            ));
        }
    };
    let places = home.places.night(&id);
    let Reading { entries, damage, .. } = journal::read(&places.journal())?;
    if entries.is_empty() {
        return damage.map_or(Ok(None), |damage| Err(damage.into()));
    }
    let night = replay(entries.clone())?;
    let damage = damage.map(|damage| damage.to_string());
    Ok(Some(Found { id, night, places, damage, reading: entries }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Result<usize, String>, Option<String>, Option<u32>) {
        let found = Selector::parse(text).unwrap();
        (
            found.night.map_err(|night| night.to_string()),
            found.task.map(|task| task.to_string()),
            found.attempt,
        )
    }

    #[test]
    fn a_selector_names_night_task_and_attempt() {
        assert_eq!(parts("last"), (Ok(0), None, None));
        assert_eq!(parts("last~2"), (Ok(2), None, None));
        assert_eq!(parts("2026-11-21-2"), (Err("2026-11-21-2".into()), None, None));
        assert_eq!(parts("task_3@2"), (Ok(0), Some("task_3".into()), Some(2)));
        assert_eq!(parts("last~1/#412"), (Ok(1), Some("#412".into()), None));
        assert!(Selector::parse("last@2").is_err());
        assert!(Selector::parse("task_3@x").is_err());
        assert!(Selector::parse("").is_err(), "an unset variable is not the last night");
        assert!(Selector::parse(" ").is_err());
    }
}
