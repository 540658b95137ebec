//! Names of things, checked once when they enter the program, and the one spelling of our own name.
//!
//! Never reads the clock or a repository: a name that is well formed may still name nothing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Our name. Directories, refs, branches, trailers and units derive from it, through this macro alone.
macro_rules! name {
    () => {
        "nightshift"
    };
}

/// The program's name, as people type it.
pub const NAME: &str = name!();
/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// All refs of ours that are not branches live below this, in the vault and in the user's repository.
pub const REF_NAMESPACE: &str = concat!("refs/", name!(), "/");
/// Branches of nights live below this.
pub const BRANCH_NAMESPACE: &str = concat!("refs/heads/", name!(), "/");
/// The directory of the repository that holds our configuration, relative to its root.
pub const REPO_DIRECTORY: &str = concat!(".", name!());

/// A name that does not have the form it must have. The text says which form that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` is not valid: {why}")]
pub struct InvalidName {
    /// What kind of name was expected.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// The form that it should have.
    pub why: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $why:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the form.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidName> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidName { what: $what, value, why: $why })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

fn is_hash(value: &str) -> bool {
    value.len() == 40 && value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

id!(
    /// A full commit hash (SHA-1, the only object format libgit2 opens).
    CommitId, "commit id", is_hash, "expected 40 hexadecimal digits"
);
id!(
    /// The hash of a whole source tree. Two commits with equal trees build and test the same.
    TreeId, "tree id", is_hash, "expected 40 hexadecimal digits"
);
id!(
    /// The hash of one file's contents.
    BlobId, "blob id", is_hash, "expected 40 hexadecimal digits"
);
id!(
    /// SHA-256 over a gate's resolved steps and the blobs of its protected files, in hexadecimal.
    GateId, "gate id",
    |v| v.len() == 64 && v.bytes().all(|b| b.is_ascii_hexdigit()),
    "expected 64 hexadecimal digits"
);
id!(
    /// A task's name in the plan, such as `task_3` or `#412`. At most 64 bytes, printable, no blanks.
    TaskId, "task id",
    |v| !v.is_empty() && v.len() <= 64 && !v.chars().any(|c| c.is_whitespace() || c.is_control()),
    "expected 1 to 64 bytes without blanks or control characters"
);
id!(
    /// A night's name: its local start date, then `-2`, `-3`… for further nights of that date.
    NightId, "night id", is_night, "expected a date such as 2026-11-21, with -2, -3… for later nights"
);

fn is_night(value: &str) -> bool {
    let Some((date, rest)) = value.split_at_checked(10) else { return false };
    let shape = date.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let number = |n: &str| {
        n.bytes().all(|b| b.is_ascii_digit())
            && !n.starts_with('0')
            && n.parse::<u32>().is_ok_and(|n| n >= 2)
    };
    shape && (rest.is_empty() || rest.strip_prefix('-').is_some_and(number))
}

impl CommitId {
    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl TreeId {
    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl TaskId {
    /// The id as one component of a ref or file name: bytes outside `[A-Za-z0-9_-]` percent-encoded,
    /// so that two ids never meet in one name and no id can leave its directory.
    pub fn in_ref(&self) -> String {
        let mut encoded = String::new();
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded
    }
}

impl NightId {
    /// The `number`th night (from 1) that began on `date`, which is written `2026-11-21`.
    pub fn of(date: &str, number: u32) -> Result<NightId, InvalidName> {
        if number <= 1 { NightId::new(date) } else { NightId::new(format!("{date}-{number}")) }
    }

    /// Date and number, so that `-10` comes after `-9`.
    pub fn order(&self) -> (String, u32) {
        let (date, rest) = self.0.split_at(10);
        (date.to_owned(), rest.trim_start_matches('-').parse().unwrap_or(1))
    }

    /// The branch without `refs/heads/`, as people type it: `nightshift/2026-11-21`.
    pub fn branch(&self) -> String {
        format!("{NAME}/{self}")
    }

    /// The branch as a full ref name.
    pub fn branch_ref(&self) -> String {
        format!("{BRANCH_NAMESPACE}{self}")
    }

    /// The ref that keeps the night's base alive in the user's repository.
    pub fn keep_ref(&self) -> String {
        format!("{REF_NAMESPACE}keep/{self}")
    }

    /// The ref that holds the receipts of what landed.
    pub fn receipts_ref(&self) -> String {
        format!("{REF_NAMESPACE}receipts/{self}")
    }

    /// The ref that keeps where the branch stood before something on it was reverted.
    pub fn former_ref(&self, stood: &CommitId) -> String {
        format!("{REF_NAMESPACE}former/{self}/{}", stood.short())
    }

    /// The ref that keeps one attempt's work.
    pub fn attempt_ref(&self, attempt: &AttemptId) -> String {
        format!("{REF_NAMESPACE}attempts/{self}/{}/{}", attempt.task.in_ref(), attempt.number)
    }
}

/// One try at one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task that is tried.
    pub task: TaskId,
    /// 1 for the first try.
    pub number: u32,
}

impl AttemptId {
    /// A name for files and directories of this attempt: the task's encoded id, `@`, the number.
    pub fn file_name(&self) -> String {
        format!("{}@{}", self.task.in_ref(), self.number)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.task, self.number)
    }
}

/// A path inside a repository: bytes as git has them, `/` between components, never absolute.
///
/// Shown and serialised as text; bytes that are not UTF-8, control characters and backslashes appear as
/// `\xNN`, so that the text is unambiguous and safe on a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct RepoPath(Vec<u8>);

impl RepoPath {
    /// Takes the bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> RepoPath {
        RepoPath(bytes.into())
    }

    /// The bytes as git stores them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// This path with one more component.
    pub fn join(&self, component: &[u8]) -> RepoPath {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(component);
        RepoPath(bytes)
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{byte:02X}")?;
                    }
                } else {
                    f.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<&str> for RepoPath {
    fn from(text: &str) -> RepoPath {
        RepoPath(text.as_bytes().to_vec())
    }
}

/// Reads the escaped form that [`RepoPath`]'s `Display` writes.
impl From<String> for RepoPath {
    fn from(text: String) -> RepoPath {
        let bytes = text.as_bytes();
        let mut path = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let escaped = bytes[at..].strip_prefix(b"\\x").and_then(|rest| {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                u8::from_str_radix(digits, 16).ok()
            });
            match escaped {
                Some(byte) => {
                    path.push(byte);
                    at += 4;
                }
                None => {
                    path.push(bytes[at]);
                    at += 1;
                }
            }
        }
        RepoPath(path)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> String {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_is_a_date_and_perhaps_a_number() {
        for good in ["2026-11-21", "2026-11-21-2", "2026-11-21-14"] {
            assert!(NightId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "2026-11-2", "2026/11/21", "2026-11-21-1", "2026-11-21-02", "2026-11-21-x"]
        {
            assert!(NightId::new(bad).is_err(), "{bad}");
        }
        assert_eq!(NightId::of("2026-11-21", 1).unwrap().branch(), "nightshift/2026-11-21");
        assert_eq!(NightId::of("2026-11-21", 3).unwrap().as_str(), "2026-11-21-3");
    }

    #[test]
    fn a_task_id_cannot_leave_its_place_in_a_ref() {
        let night = NightId::new("2026-11-21").unwrap();
        let attempt = AttemptId { task: TaskId::new("../#4.lock").unwrap(), number: 2 };
        assert_eq!(
            night.attempt_ref(&attempt),
            "refs/nightshift/attempts/2026-11-21/%2E%2E%2F%234%2Elock/2"
        );
    }

    #[test]
    fn a_path_survives_its_text_form() {
        for bytes in [&b"src/a.rs"[..], b"caf\xe9/\n\\x41", "grün/→".as_bytes(), b"\\"] {
            let path = RepoPath::new(bytes);
            let text = path.to_string();
            assert!(!text.contains('\n'));
            assert_eq!(RepoPath::from(text), path);
        }
    }

    #[test]
    fn a_damaged_id_in_a_journal_is_refused() {
        assert!(serde_json::from_str::<CommitId>("\"HEAD\"").is_err());
        assert!(serde_json::from_str::<TaskId>("\"a b\"").is_err());
    }
}
