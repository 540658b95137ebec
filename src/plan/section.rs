//! What headings mean: which words make a section ready, pending, or neither.
//!
//! Never guesses in favour of running: a heading that says two things means the more restrictive one.

use super::SectionClass;

/// The first words of headings, by class. Case, emoji and leading numbers do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionWords {
    /// Tasks below may run.
    pub ready: Vec<String>,
    /// Tasks below wait for a person.
    pub pending: Vec<String>,
    /// Tasks below never run.
    pub never: Vec<String>,
}

impl Default for SectionWords {
    fn default() -> SectionWords {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        SectionWords {
            ready: words(&["Ready", "Tonight"]),
            pending: words(&["Pending", "Needs approval", "Needs review", "Proposed"]),
            never: words(&[
                "Not ready",
                "Never",
                "Blocked",
                "Backlog",
                "Later",
                "Icebox",
                "Manual",
            ]),
        }
    }
}

const DONE: &[&str] = &["done", "completed", "shipped", "archive", "archived"];
const FAILED: &[&str] = &["failed"];

/// *Ready for review* and its like say that people have work to do, not that we have.
const FOR_PEOPLE: &[&str] =
    &["review", "release", "merge", "qa", "test", "testing", "deploy", "deployment", "production"];

/// Sections below a ready one that explain instead of asking for work.
const EXPLANATION: &[&str] = &[
    "note",
    "notes",
    "example",
    "examples",
    "template",
    "legend",
    "format",
    "background",
    "reference",
    "references",
    "rules",
    "how",
];

/// What the first words of a heading say by themselves.
pub(super) fn classify(heading: &str, words: &SectionWords) -> SectionClass {
    let said = Words::of(heading);
    let any = |list: &[String]| list.iter().any(|phrase| said.begin_with(phrase));
    let built_in = |list: &[&str]| list.iter().any(|phrase| said.begin_with(phrase));
    // Negatives first: "Not ready" contains "ready".
    if any(&words.never) || said.deny_readiness() {
        SectionClass::Never
    } else if any(&words.pending) {
        SectionClass::Pending
    } else if built_in(DONE) {
        SectionClass::Done
    } else if built_in(FAILED) {
        SectionClass::Failed
    } else if words.ready.iter().any(|phrase| said.plainly_begin_with(phrase)) {
        SectionClass::Ready
    } else {
        SectionClass::Other
    }
}

/// Whether a heading below a ready one only explains.
pub(super) fn explains(heading: &str) -> bool {
    let said = Words::of(heading);
    EXPLANATION.iter().any(|word| said.begin_with(word))
}

/// Which of two classes allows less.
pub(super) fn stricter(one: SectionClass, other: SectionClass) -> SectionClass {
    let rank = |class| match class {
        SectionClass::Other => 0,
        SectionClass::Ready => 1,
        SectionClass::Pending => 2,
        SectionClass::Failed => 3,
        SectionClass::Never => 4,
        SectionClass::Done => 5,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The words of a heading, lower case.
struct Words {
    /// Split at everything that is no letter or digit.
    loose: Vec<String>,
    /// Split at blanks; only marks around a word are gone.
    strict: Vec<String>,
}

impl Words {
    fn of(text: &str) -> Words {
        let numbers = |word: &String| word.chars().all(char::is_numeric);
        let loose = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .skip_while(numbers)
            .collect();
        let strict = text
            .split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
            .filter(|word| !word.is_empty())
            .skip_while(numbers)
            .collect();
        Words { loose, strict }
    }

    fn begin_with(&self, phrase: &str) -> bool {
        let mut wanted =
            phrase.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).peekable();
        let mut said = self.loose.iter();
        wanted.peek().is_some()
            && wanted.all(|word| said.next().is_some_and(|said| *said == word.to_lowercase()))
    }

    /// As [`Words::begin_with`], but "Ready-made parts" and "Ready for review" do not begin with "Ready".
    fn plainly_begin_with(&self, phrase: &str) -> bool {
        let wanted: Vec<String> = phrase.split_whitespace().map(str::to_lowercase).collect();
        let rest = match self.strict.strip_prefix(wanted.as_slice()) {
            Some(rest) if !wanted.is_empty() => rest,
            _ => return false,
        };
        let for_people = matches!(rest, [preposition, what, ..]
            if matches!(preposition.as_str(), "for" | "to") && FOR_PEOPLE.contains(&what.as_str()));
        !for_people
    }

    /// "Not yet ready", "Not quite ready".
    fn deny_readiness(&self) -> bool {
        self.loose.first().is_some_and(|word| word == "not" || word == "unready")
            && self.loose.iter().take(4).any(|word| word == "ready" || word == "unready")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_means_what_its_first_words_say() {
        let words = SectionWords::default();
        for (heading, class) in [
            ("Ready for Autonomous Execution", SectionClass::Ready),
            ("✅ READY", SectionClass::Ready),
            ("2. Ready (tonight)", SectionClass::Ready),
            ("Tonight:", SectionClass::Ready),
            ("Not Ready for Autonomous Execution", SectionClass::Never),
            ("❌ Not-ready", SectionClass::Never),
            ("Not yet ready", SectionClass::Never),
            ("Ready-made components", SectionClass::Other),
            ("Ready for review", SectionClass::Other),
            ("Already there", SectionClass::Other),
            ("Pending Approval", SectionClass::Pending),
            ("Needs approval: Ready", SectionClass::Pending),
            ("Completed", SectionClass::Done),
            ("Failed last night", SectionClass::Failed),
            ("Backlog", SectionClass::Never),
            ("", SectionClass::Other),
            ("Überblick", SectionClass::Other),
        ] {
            assert_eq!(classify(heading, &words), class, "{heading}");
        }
    }

    #[test]
    fn configured_words_replace_ours() {
        let words = SectionWords {
            ready: vec!["Für heute Nacht".to_owned()],
            pending: Vec::new(),
            never: vec!["Nicht".to_owned()],
        };
        assert_eq!(classify("FÜR HEUTE NACHT!", &words), SectionClass::Ready);
        assert_eq!(classify("Nicht für heute Nacht", &words), SectionClass::Never);
        assert_eq!(classify("Ready", &words), SectionClass::Other);
    }
}
