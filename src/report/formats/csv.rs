//! A night's tries as CSV (RFC 4180), one row each, for a spreadsheet or a data frame.
//!
//! No cell is a formula: what a spreadsheet would compute gets an apostrophe in front, as OWASP advises.

use crate::{
    budget::Usd,
    report::formats::{AttemptRow, Sheet, TaskRow},
};

/// The names of the columns. New ones are added at the end.
const COLUMNS: &str = "night,task,title,outcome,try,result,why,model,began,seconds,cost_usd,\
                       input_tokens,output_tokens,added,removed,commit,tests,cut_off_usd";

/// Writes the table. A task that was never tried has one row without a try, so that none is missing.
pub fn csv(sheet: &Sheet) -> String {
    let mut text = format!("{COLUMNS}\r\n");
    for task in &sheet.tasks {
        if task.attempts.is_empty() {
            text.push_str(&row(sheet, task, None));
        }
        for attempt in &task.attempts {
            text.push_str(&row(sheet, task, Some(attempt)));
        }
    }
    text
}

fn row(sheet: &Sheet, task: &TaskRow, attempt: Option<&AttemptRow>) -> String {
    let number = |value: Option<String>| value.unwrap_or_default();
    let trouble = attempt.and_then(|attempt| attempt.trouble.as_ref());
    let size = attempt.and_then(|attempt| attempt.size);
    let last = task.attempts.last().map(|last| last.number);
    let result = match (attempt, trouble) {
        (Some(_), Some((kind, _))) => kind.as_str(),
        (Some(attempt), None) if Some(attempt.number) == last => task.outcome.word(),
        (Some(_), None) => "open",
        (None, _) => "",
    };
    let why = trouble.map_or(task.why.as_str(), |(_, why)| why);
    let cells = [
        cell(&sheet.night),
        cell(&task.id),
        cell(&task.title),
        cell(task.outcome.word()),
        number(attempt.map(|attempt| attempt.number.to_string())),
        cell(result),
        cell(why),
        cell(attempt.map_or("", |attempt| attempt.model.as_str())),
        number(attempt.map(|attempt| format!("{:.0}", attempt.span.0))),
        number(attempt.map(|attempt| attempt.seconds.to_string())),
        number(attempt.map(|attempt| dollars(attempt.spent.measured()))),
        number(attempt.map(|attempt| attempt.tokens.0.to_string())),
        number(attempt.map(|attempt| attempt.tokens.1.to_string())),
        number(size.map(|(added, _)| added.to_string())),
        number(size.map(|(_, removed)| removed.to_string())),
        cell(attempt.and_then(|attempt| attempt.commit.as_deref()).unwrap_or_default()),
        number(attempt.and_then(|attempt| attempt.tests).map(|tests| tests.to_string())),
        number(attempt.map(|attempt| dollars(attempt.spent.cut))),
    ];
    cells.join(",") + "\r\n"
}

/// Dollars with all digits that we know.
pub(super) fn dollars(usd: Usd) -> String {
    format!("{}.{:06}", usd.micros() / 1_000_000, usd.micros() % 1_000_000)
}

/// Foreign text as one cell.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
