//! Messages about a text a person wrote: what is wrong, where (file, line, column, caret), what to do.
//!
//! Used for the plan and for configuration files. Never decides whether a message stops anything.

use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth a look; nothing is refused because of it.
    Warning,
    /// What it concerns cannot be used.
    Error,
}

/// One message. Spans are byte ranges of the text that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// Stable code, such as `P002` for plans and `C001` for configuration.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// What the caret points at.
    pub span: Range<usize>,
    /// What stands beside the caret.
    pub label: String,
    /// A second place that matters, with its own text.
    pub also: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}
