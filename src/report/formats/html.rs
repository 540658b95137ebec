//! A night as one HTML file: no script, nothing from the network, light and dark, for a phone, a desk and paper.
//!
//! All words are escaped by [`escape`], which is enough for text, for quoted attributes and for SVG; foreign words stand
//! in no other place. The policy in its head lets a browser load nothing, and apply no style but ours.

use sha2::{Digest as _, Sha256};

use crate::{
    ids::{NAME, VERSION},
    redact::base64,
    report::{
        facts,
        formats::{Outcome, Sheet, TaskRow, charts},
        text,
    },
};

/// The looks.
const STYLE: &str = include_str!("report.css");

/// Longest line about what happened to a task.
const WHY: usize = 600;

/// Writes the page.
pub fn html(sheet: &Sheet) -> String {
    let headline = sheet.headline();
    let style = base64(&Sha256::digest(STYLE));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; \
         base-uri 'none'; form-action 'none'\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&format!("{NAME} {}: {headline}", sheet.night)),
    );
    page.push_str(&head(sheet, &headline));
    page.push_str(&tiles(sheet));
    page.push_str(&tasks(sheet));
    page.push_str(&night(sheet));
    page.push_str(&comparisons(sheet));
    page.push_str(&table(
        "decisions",
        "What agents decided, in their words",
        ["task", "level", "decided", "why"],
        &sheet.decisions,
    ));
    page.push_str(&table(
        "guards",
        "What was checked besides the gate",
        ["guard", "result"],
        &sheet.guards,
    ));
    if !sheet.notes.is_empty() {
        let notes: Vec<String> =
            sheet.notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
        page.push_str(&section("notes", "Notes", &format!("<ul>\n{}</ul>", notes.concat())));
    }
    page.push_str(&format!(
        "<footer class=\"dim\">Made by {NAME} {VERSION} from its own records, without script and network. Words of agents, \
         plans and gates are quoted and not checked.</footer>\n</main>\n</body>\n</html>\n"
    ));
    page
}

/// Text that is nothing but text, also between quotation marks and in SVG.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

fn head(sheet: &Sheet, headline: &str) -> String {
    let day = |form: &str, at: jiff::Timestamp| at.strftime(form).to_string();
    let same = day("%Y-%m-%d", sheet.began) == day("%Y-%m-%d", sheet.last);
    let until = day(if same { "%H:%M" } else { "%Y-%m-%d %H:%M" }, sheet.last);
    let repository = sheet.repository.rsplit('/').find(|part| !part.is_empty()).unwrap_or("");
    let mut parts = vec![
        format!("<b>{}</b>", escape(repository)),
        format!("night {}", escape(&sheet.night)),
        format!(
            "<time datetime=\"{:.0}\">{}</time>–<time datetime=\"{:.0}\">{until}</time> UTC",
            sheet.began,
            day("%Y-%m-%d %H:%M", sheet.began),
            sheet.last,
        ),
        format!("base <code>{}</code>", escape(&sheet.base)),
        format!("agent {}", escape(&sheet.agent)),
    ];
    // Anything else than a web address is no link: a path would be one into the reader's own disk.
    if let Some(url) = sheet.url.as_ref().filter(|url| url.starts_with("https://")) {
        let address = escape(url);
        parts.push(format!("<a href=\"{address}\" rel=\"noreferrer\">pull request</a>"));
    }
    let mut text = format!(
        "<header>\n<h1>{}</h1>\n<p class=\"dim\">{}</p>\n</header>\n",
        escape(headline),
        parts.join(" · ")
    );
    if !sheet.alerts.is_empty() {
        let alerts: Vec<String> =
            sheet.alerts.iter().map(|alert| format!("<li>{}</li>\n", escape(alert))).collect();
        text.push_str(&format!(
            "<ul class=\"alerts\" aria-label=\"Know this first\">\n{}</ul>\n",
            alerts.concat()
        ));
    }
    text
}

fn tiles(sheet: &Sheet) -> String {
    let landed = sheet.tasks.iter().filter(|task| task.outcome == Outcome::Landed);
    let (added, removed) =
        landed.filter_map(|task| task.size).fold((0, 0), |sum: (u64, u64), size| {
            (sum.0 + u64::from(size.0), sum.1 + u64::from(size.1))
        });
    let mut tiles = vec![
        ("landed", sheet.count(Outcome::Landed).to_string()),
        (
            "need your decision",
            (sheet.count(Outcome::Held) + sheet.count(Outcome::Asks)).to_string(),
        ),
        (
            "failed or refused",
            (sheet.count(Outcome::Failed) + sheet.count(Outcome::Refused)).to_string(),
        ),
    ];
    if added + removed > 0 {
        tiles.push(("lines to review", format!("+{added} −{removed}")));
    }
    match sheet.tests {
        (Some(before), Some(after)) => {
            tiles.push(("tests, before and after", format!("{before} → {after}")));
        }
        (Some(tests), None) | (None, Some(tests)) => {
            tiles.push(("tests", tests.to_string()));
        }
        (None, None) => {}
    }
    let cost = sheet
        .cost_limit
        .as_ref()
        .map_or("cost".to_owned(), |limit| format!("cost, of {limit} at most"));
    tiles.push((&cost, facts::marked(&sheet.spent)));
    tiles.push(("time", charts::in_words(sheet.lasted_s * 1000)));
    let tiles: Vec<String> = tiles
        .iter()
        .map(|(name, value)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
        })
        .collect();
    format!("<dl class=\"tiles\">\n{}</dl>\n", tiles.concat())
}

fn tasks(sheet: &Sheet) -> String {
    if sheet.tasks.is_empty() {
        return String::new();
    }
    let columns = ["result", "task", "commit", "gate", "what happened", "cost"];
    let rows: Vec<String> = sheet.tasks.iter().map(task).collect();
    let table = format!(
        "<table class=\"tasks cards\" role=\"table\"><caption class=\"vh\">Tasks of the night</caption>\n{}\
         <tbody role=\"rowgroup\">\n{}</tbody></table>",
        columns_head(&columns, 5),
        rows.concat()
    );
    section("tasks", "Tasks", &wide("Tasks", &table))
}

fn task(task: &TaskRow) -> String {
    let word = task.outcome.word();
    let commit = match (&task.commit, task.size) {
        (Some(commit), Some((added, removed))) => {
            format!("<code>{}</code> +{added} −{removed}", escape(commit))
        }
        (None, Some((added, removed))) => format!("+{added} −{removed}"),
        (_, None) => String::new(),
    };
    let mut happened = escape(&text::head(&task.why, WHY));
    // A command is shown, never a person's own words as one.
    if task.typed {
        happened
            .push_str(&format!("<span class=\"next\"><code>{}</code></span>", escape(&task.next)));
    } else if !task.next.is_empty() {
        happened.push_str(&format!("<span class=\"next dim\">{}</span>", sentence(&task.next)));
    }
    let cost = if task.attempts.is_empty() { String::new() } else { facts::marked(&task.spent) };
    format!(
        "<tr role=\"row\"><td role=\"cell\" class=\"s\"><span class=\"pill {word}\">{word}</span></td>\
         <td role=\"cell\"><b>{}</b> {}</td>{}{}{}{}</tr>\n",
        escape(&task.id),
        escape(&task.title),
        cell("commit", "s", &commit),
        cell("gate", "", &escape(&task.gate)),
        cell("what happened", "", &happened),
        cell("cost", "n", &cost),
    )
}

/// A sentence with what is to be typed in backticks.
fn sentence(words: &str) -> String {
    let parts = words.split('`').enumerate().map(|(at, part)| match at % 2 {
        1 => format!("<code>{}</code>", escape(part)),
        _ => escape(part),
    });
    parts.collect()
}

/// A cell that says its column where there are no columns. An empty one says nothing there.
fn cell(label: &str, class: &str, inside: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<td role=\"cell\"{class} data-label=\"{label}\">{inside}</td>")
}

fn columns_head(columns: &[&str], numbers_from: usize) -> String {
    let cells: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let class = if at >= numbers_from { " class=\"n\"" } else { "" };
            format!("<th scope=\"col\" role=\"columnheader\"{class}>{name}</th>")
        })
        .collect();
    format!("<thead role=\"rowgroup\"><tr role=\"row\">{}</tr></thead>\n", cells.concat())
}

fn night(sheet: &Sheet) -> String {
    let drawing = charts::timeline(sheet);
    if drawing.is_empty() {
        return String::new();
    }
    let legend: Vec<String> = [
        ("agent", "agent"),
        ("gate", "gate passed"),
        ("review", "second opinion"),
        ("bad", "failed"),
        ("unknown", "cut off or under way"),
    ]
    .iter()
    .map(|(class, words)| format!("<li>{}{words}</li>", charts::swatch(class)))
    .collect();
    let legend = format!("<ul class=\"legend\" aria-label=\"Legend\">{}</ul>", legend.concat());
    section("night", "The night, in UTC", &format!("{}\n{legend}", wide("Timeline", &drawing)))
}

fn comparisons(sheet: &Sheet) -> String {
    let parts = [
        ("costs", "Cost by task", charts::costs(sheet)),
        ("trend", "Landed of tried, the last nights here", charts::trend(&sheet.trend)),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, _, drawing)| !drawing.is_empty())
        .map(|(id, title, drawing)| section(id, title, drawing))
        .collect();
    match parts.len() {
        0 => String::new(),
        1 => parts.concat(),
        _ => format!("<div class=\"two\">\n{}</div>\n", parts.concat()),
    }
}

fn table<const N: usize>(
    id: &str,
    title: &str,
    columns: [&str; N],
    rows: &[[String; N]],
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = std::iter::zip(columns, row)
                .map(|(column, words)| cell(column, "", &escape(words)))
                .collect();
            format!("<tr role=\"row\">{}</tr>\n", cells.concat())
        })
        .collect();
    let table = format!(
        "<table class=\"cards\" role=\"table\"><caption class=\"vh\">{title}</caption>\n{}<tbody role=\"rowgroup\">\n{}</tbody></table>",
        columns_head(&columns, N),
        rows.concat()
    );
    section(id, title, &table)
}

fn section(id: &str, title: &str, inside: &str) -> String {
    format!(
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n{inside}\n</section>\n"
    )
}

/// What may be wider than the screen, and can be moved with the keyboard too.
fn wide(name: &str, inside: &str) -> String {
    format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\">{inside}</div>"
    )
}
