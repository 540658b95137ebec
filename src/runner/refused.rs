//! A "no" before anything started, with what to do about it. `cli` gives each kind its exit code.

use crate::{diagnostic::Diagnostic, diagnostic::Style, files, git, ids::NAME, journal};

/// A "no" before anything started.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// What kind of "no".
    pub kind: RefusedKind,
    /// What is wrong; may have several lines with a caret drawing.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// The kinds of "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// Something that a person wrote is wrong: an argument, a configuration, a plan.
    Usage,
    /// Something on this machine or around it is missing.
    Environment,
    /// Another night is running.
    Busy,
    /// The nights of this repository are stopped.
    Stopped,
    /// Our own fault.
    Internal,
}

impl Refused {
    /// A "no" with what to do.
    pub fn new(kind: RefusedKind, message: impl Into<String>, help: impl Into<String>) -> Refused {
        Refused { kind, message: message.into(), help: Some(help.into()) }
    }

    /// Wrong input.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Refused {
        Refused::new(RefusedKind::Usage, message, help)
    }

    /// Something is missing.
    pub fn environment(message: impl Into<String>, help: impl Into<String>) -> Refused {
        Refused::new(RefusedKind::Environment, message, help)
    }

    /// Messages about a file, drawn one below the other.
    pub fn drawn(found: &[Diagnostic], path: &str, bytes: &[u8], style: Style) -> Refused {
        let source = String::from_utf8_lossy(bytes);
        let drawings: Vec<String> =
            found.iter().map(|diagnostic| diagnostic.render(path, &source, style)).collect();
        Refused { kind: RefusedKind::Usage, message: drawings.join("\n\n"), help: None }
    }
}

impl From<git::Error> for Refused {
    fn from(problem: git::Error) -> Refused {
        let help = if let git::Error::Unusable { help, .. } = &problem {
            Some(help.clone())
        } else {
            None
        };
        Refused { kind: RefusedKind::Environment, message: problem.to_string(), help }
    }
}

/// What to do about a disk that refuses.
const DISK: &str = "see that the disk has room and works, and that the place is yours; nothing that landed is lost";

impl From<files::Error> for Refused {
    fn from(problem: files::Error) -> Refused {
        Refused::environment(problem.to_string(), DISK)
    }
}

impl From<journal::Error> for Refused {
    fn from(problem: journal::Error) -> Refused {
        let message = problem.to_string();
        match problem {
            journal::Error::Io { .. } => Refused::environment(message, DISK),
            journal::Error::Files(problem) => problem.into(),
            journal::Error::Version { .. } | journal::Error::Damaged { .. } => {
                Refused::environment(
                    message,
                    format!(
                        "{NAME} status shows what can be read of it; {NAME} run --fresh begins a new night"
                    ),
                )
            }
        }
    }
}
