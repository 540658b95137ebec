//! A night in the formats that other programs and people take in: JUnit, SARIF, Prometheus, CSV, Markdown, HTML.
//!
//! Each format is a function from the same [`Sheet`] to a text, escaped for every place that a word can stand in.
//! Text and JSON are not made here: they are the answers of `show` itself.

mod charts;
mod csv;
mod html;
mod junit;
mod markdown;
mod prometheus;
mod sarif;
mod sheet;
mod timeline;

pub use csv::csv;
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use prometheus::prometheus;
pub use sarif::sarif;
pub use sheet::{AttemptRow, Finding, Outcome, Sheet, Source, Tally, TaskRow, sheet};
pub use timeline::{End, Span, Timeline, Work};

/// A form in which a night can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For a wiki, a mail, an issue.
    Markdown,
    /// One file for a browser.
    Html,
    /// The envelope of `--json`.
    Json,
    /// Test results, as surefire writes them.
    JUnit,
    /// Findings of rules, for code scanning.
    Sarif,
    /// Metrics for a textfile collector.
    Prometheus,
    /// One row for each try.
    Csv,
}

impl Format {
    /// All of them, in the order of the documents.
    pub const ALL: [Format; 8] = [
        Format::Text,
        Format::Markdown,
        Format::Html,
        Format::Json,
        Format::JUnit,
        Format::Sarif,
        Format::Prometheus,
        Format::Csv,
    ];

    /// What a person types for it.
    pub fn word(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Markdown => "md",
            Format::Html => "html",
            Format::Json => "json",
            Format::JUnit => "junit",
            Format::Sarif => "sarif",
            Format::Prometheus => "prom",
            Format::Csv => "csv",
        }
    }

    /// The format of this word.
    pub fn of_word(word: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.word() == word)
    }

    /// The ending of its files, without the dot.
    pub fn ending(self) -> &'static str {
        match self {
            Format::Text => "txt",
            Format::JUnit => "xml",
            Format::Markdown
            | Format::Html
            | Format::Json
            | Format::Sarif
            | Format::Prometheus
            | Format::Csv => self.word(),
        }
    }

    /// The format that a file's ending names; `report.sarif.json` is SARIF.
    pub fn of_file(name: &str) -> Option<Format> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".sarif.json") {
            return Some(Format::Sarif);
        }
        let (_, ending) = name.rsplit_once('.')?;
        Format::ALL.into_iter().find(|format| format.ending() == ending)
    }
}

#[cfg(test)]
mod tests;
