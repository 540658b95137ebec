//! What attempts and tasks of earlier nights took and cost, as this machine's journals tell: the only ground on
//! which `check` says what a night would cost.
//!
//! Only reads journals of this repository. Without any it has no figures, and nobody invents some.

use serde::Serialize;

use crate::{
    budget::Usd,
    journal,
    night::{AttemptRecord, Night},
    runner::{earlier::NIGHTS, home::Home},
};

/// Figures of earlier nights with one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Nights in which the agent finished at least one attempt.
    pub nights: usize,
    /// One attempt: from the agent's start to the last thing that was learned about it, gate included.
    pub attempt: Figure,
    /// One task: all its attempts.
    pub task: Figure,
}

/// Least, median and most of something that happened `count` times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// How often, at least 1.
    pub count: usize,
    /// Seconds: least, median, most.
    pub seconds: [u64; 3],
    /// Cost: least, median, most.
    pub cost: [Usd; 3],
}

impl Figure {
    /// `None` without any.
    fn of(mut each: Vec<(u64, Usd)>) -> Option<Figure> {
        let count = each.len();
        let middle = count / 2;
        each.sort_by_key(|(seconds, _)| *seconds);
        let seconds = [each.first()?.0, each[middle].0, each.last()?.0];
        each.sort_by_key(|(_, cost)| *cost);
        let cost = [each.first()?.1, each[middle].1, each.last()?.1];
        Some(Figure { count, seconds, cost })
    }
}

/// What the nights of this repository say of `agent`; `None` when it finished nothing yet.
pub fn figures(home: &Home, agent: &str) -> Option<Figures> {
    let ids = home.places.all_nights();
    let recent = &ids[ids.len().saturating_sub(NIGHTS)..];
    // A journal that cannot be read says nothing here; `status` names the damage.
    let nights = recent.iter().filter_map(|id| {
        let reading = journal::read(&home.places.night(id).journal()).ok()?;
        Night::replay(reading.entries).ok()
    });
    of(nights.filter(|night| night.opening().agent.name == agent))
}

fn of(nights: impl Iterator<Item = Night>) -> Option<Figures> {
    let (mut attempts, mut tasks, mut counted) = (Vec::new(), Vec::new(), 0);
    for night in nights {
        let before = attempts.len();
        for (_, task) in night.tasks() {
            let own: Vec<(u64, Usd)> = task.attempts.iter().filter_map(figure).collect();
            let sum = |sum: (u64, Usd), one: &(u64, Usd)| (sum.0 + one.0, sum.1 + one.1);
            if !own.is_empty() {
                tasks.push(own.iter().fold((0, Usd::ZERO), sum));
            }
            attempts.extend(own);
        }
        counted += usize::from(attempts.len() > before);
    }
    Some(Figures { nights: counted, attempt: Figure::of(attempts)?, task: Figure::of(tasks)? })
}

/// Of an attempt whose agent came to an end by itself; one that was cut off says nothing.
fn figure(record: &AttemptRecord) -> Option<(u64, Usd)> {
    record.agent.as_ref()?;
    let seconds = record.took.as_secs();
    Some((u64::try_from(seconds).unwrap_or(0), record.spent().usd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_least_middle_and_most_of_each_by_itself() {
        let usd = Usd::from_micros;
        let each = vec![(30, usd(1)), (10, usd(9)), (20, usd(5))];
        let figure = Figure::of(each).unwrap();
        assert_eq!((figure.count, figure.seconds), (3, [10, 20, 30]));
        assert_eq!(figure.cost, [usd(1), usd(5), usd(9)]);
        assert_eq!(Figure::of(Vec::new()), None, "nothing is said of nothing");
    }
}
