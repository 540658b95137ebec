//! `nightshift history`: what many nights came to. Reads the index over journals, which is brought up to date on the
//! way.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    cli::{
        Global, Output, code,
        tell::{self, Cleaner},
    },
    history::{self, Known, Source},
    ids::NAME,
    report::{
        NightFigures,
        history::{self as figures, By, Totals},
    },
    runner::{
        clock,
        home::Home,
        places::{Places, Surroundings},
        refused::Refused,
    },
};

/// Nights whose rate and cost `status` says.
const RECENT: usize = 30;

/// Say what many nights came to: rates, time, cost, and which rules say no most
///
/// `landed`: tasks on a night's branch, of those that were tried. `again`: landed after a try that failed. Decided
/// alone: what agents decided by themselves, of all that they decided or asked a person.
#[derive(Debug, clap::Args)]
pub(super) struct History {
    /// Only nights that began after this: a date (2026-11-01), or a time back (30d, 2w)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Rows that are shown
    #[arg(long, value_name = "N", default_value_t = figures::ROWS)]
    limit: usize,
    /// One row for each of these
    #[arg(long, value_name = "WHAT", default_value = "night")]
    by: What,
    /// Draw landed of tried, and cost, night by night
    #[arg(long, conflicts_with = "by")]
    chart: bool,
    /// All repositories of this machine
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Night,
    Month,
    Task,
    Model,
    Rule,
}

impl What {
    fn by(self) -> By {
        match self {
            What::Night => By::Night,
            What::Month => By::Month,
            What::Task => By::Task,
            What::Model => By::Model,
            What::Rule => By::Rule,
        }
    }
}

pub(super) fn history(
    surroundings: &Surroundings,
    global: &Global,
    command: &History,
    output: &mut Output,
) -> Result<u8, Refused> {
    let since = command.since.as_deref().map(|word| moment(word, clock::now())).transpose()?;
    let places = if command.all {
        Places::all(surroundings)
    } else {
        vec![Home::open(surroundings, &global.repository())?.places]
    };
    let mut known = known(surroundings, &places, command.all);
    known.nights.retain(|(_, night)| since.is_none_or(|since| night.began >= since));
    let cleaner = Cleaner::new(surroundings);
    for problem in &known.problems {
        output.note(&format!("damaged: {}", cleaner.line(problem)));
    }
    if let Some(why) = &known.unkept {
        output.note(&format!("the index is not kept: {}", cleaner.line(why)));
    }
    if output.is_json() {
        output.json("history", &tell::cleaned(&as_json(&known, command), &cleaner));
        return Ok(code::DONE);
    }
    let repositories = known.nights.chunk_by(|one, other| one.0 == other.0);
    let mut parts = Vec::new();
    for nights in repositories {
        let name = nights.first().map_or("", |(repository, _)| repository.as_str());
        let nights: Vec<NightFigures> = nights.iter().map(|(_, night)| night.clone()).collect();
        let head = if command.all { format!("{name}\n") } else { String::new() };
        parts.push(head + &told(&nights, command, output));
    }
    if parts.is_empty() {
        parts.push(nothing(since.is_some()));
    } else if command.all && parts.len() > 1 {
        let all = Totals::of(known.nights.iter().map(|(_, night)| night));
        parts.push(format!("all {} repositories\n{}", parts.len(), all.in_words().join("\n")));
    }
    output.page(&cleaner.clean(parts.join("\n").as_bytes()));
    Ok(code::DONE)
}

fn nothing(since: bool) -> String {
    if since {
        format!("no night began since then\nnext: {NAME} history shows all")
    } else {
        format!("no night has run here yet\nnext: {}", figures::next(&[]))
    }
}

/// The figures of one repository.
fn told(nights: &[NightFigures], command: &History, output: &Output) -> String {
    let screen = output.screen();
    let mut text = if command.chart {
        figures::chart(nights, command.limit, &screen)
    } else {
        figures::table(nights, command.by.by(), command.limit, &screen)
    };
    text.push('\n');
    let totals = Totals::of(nights);
    let words = totals.in_words().into_iter().chain(figures::months(nights));
    for line in words.chain([format!("next: {}", figures::next(nights))]) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn as_json(known: &Known, command: &History) -> Value {
    let own: Vec<NightFigures> = known.nights.iter().map(|(_, night)| night.clone()).collect();
    let by = command.by.by();
    let rows: Vec<Value> = figures::rows(&own, by)
        .into_iter()
        .take(command.limit)
        .map(|(key, title, totals)| json!({ by.word(): key, "title": title, "totals": totals }))
        .collect();
    let nights: Vec<Value> = known
        .nights
        .iter()
        .rev()
        .take(command.limit)
        .map(|(repository, night)| json!({"repository": repository, "figures": night}))
        .collect();
    json!({
        "by": by.word(),
        "rows": rows,
        "totals": Totals::of(&own),
        "nights": nights,
        "problems": known.problems,
    })
}

/// What the nights of these repositories came to.
pub(super) fn known(surroundings: &Surroundings, places: &[Places], all: bool) -> Known {
    let sources: Vec<Source> = places
        .iter()
        .flat_map(|places| {
            places.all_nights().into_iter().map(|night| Source {
                repository: places.name(),
                journal: places.night(&night).journal(),
                night: night.to_string(),
            })
        })
        .collect();
    let one = places.first().filter(|_| !all).map(Places::name);
    history::figures(&surroundings.state, one.as_deref(), &sources)
}

/// The last nights' rate and cost, for the end of `status`.
pub(super) fn recent(surroundings: &Surroundings, home: &Home) -> Option<String> {
    let known = known(surroundings, std::slice::from_ref(&home.places), false);
    let nights: Vec<&NightFigures> = known.nights.iter().map(|(_, night)| night).collect();
    Totals::of(nights[nights.len().saturating_sub(RECENT)..].iter().copied()).in_short()
}

/// A date at its midnight here, or a time before `now`.
fn moment(word: &str, now: Timestamp) -> Result<Timestamp, Refused> {
    let wrong = || {
        Refused::usage(
            format!("`{word}` is no date and no time back"),
            "write a date, or how far back: --since 2026-11-01, --since 30d, --since 2w",
        )
    };
    if let Ok(date) = word.parse::<Date>() {
        return date.to_zoned(TimeZone::system()).map(|day| day.timestamp()).map_err(|_| wrong());
    }
    let split = word.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = word.split_at(split);
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 24 * 7,
        _ => return Err(wrong()),
    };
    // More than a century is everything.
    let number = number.parse::<i64>().map_err(|_| wrong())?.min(36_500);
    now.checked_sub(SignedDuration::from_hours(number * hours)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_way_back() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let back = |word: &str| moment(word, now).unwrap();
        assert_eq!(back("2d"), "2026-11-19T12:00:00Z".parse().unwrap());
        assert_eq!(back("1w"), "2026-11-14T12:00:00Z".parse().unwrap());
        assert_eq!(back("3h"), "2026-11-21T09:00:00Z".parse().unwrap());
        assert!(back("2026-11-01") < back("1w"));
        for wrong in ["", "5", "d", "yesterday", "5m", "2026-13-01", "99999999999999999999d"] {
            assert!(moment(wrong, now).is_err(), "{wrong}");
        }
    }
}
