//! What every machine must know of the others' nights: which task came to what, which gate was seen to fail, which
//! pull requests are open. Entries, and their union.
//!
//! Pure, and never lets two machines lose what one of them knew: [`Ledger::merge`] is the same whatever comes first,
//! and however often it comes. Proves nothing: whoever may push can write a ledger. What follows from an entry is
//! its readers' to say, and none of them may let a commit land for it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    ids::{CommitId, GateId, NightId, TaskId, TreeId, hex},
    night::Opening,
};

/// The form that this version writes.
const VERSION: u64 = 1;
/// Entries that are kept, the newest: years of nights.
pub const MOST: usize = 2_000;
/// Bytes of one entry, at most.
pub const LARGEST_ENTRY: usize = 4_096;
/// Bytes of a ledger that is read at all.
pub const LARGEST: usize = MOST * LARGEST_ENTRY + 1_024;
/// Characters of a reason; it is for people.
pub const LONGEST_REASON: usize = 300;

/// All entries, each under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    lines: BTreeMap<String, Line>,
}

/// One entry: the newer one wins, and of two of one moment the greater text, on every machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    at: Timestamp,
    /// Canonical JSON, with fields that this version does not know.
    text: String,
}

/// What a readable entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// What a night made of a task.
    Task {
        /// The task.
        task: TaskId,
        /// The hash of its text.
        text: String,
        /// The night.
        night: NightId,
        /// Which night of this name, as [`origin`] tells them apart.
        origin: String,
        /// When it came to this.
        happened: Timestamp,
        /// What it came to.
        outcome: Outcome,
    },
    /// A gate was run on a base.
    Base {
        /// The gate.
        gate: GateId,
        /// The base's tree.
        tree: TreeId,
        /// The walls around it.
        tier: String,
        /// Whether a night could start on it.
        green: bool,
        /// When.
        happened: Timestamp,
    },
    /// A gate went red on a tree that was broken on purpose.
    Canary {
        /// The gate.
        gate: GateId,
        /// The tree that was broken: the base's.
        tree: TreeId,
        /// The walls around it.
        tier: String,
        /// What was broken.
        what: String,
        /// The broken tree.
        broken: TreeId,
        /// Steps that went red.
        red_steps: Vec<String>,
        /// When.
        happened: Timestamp,
    },
    /// A night's pull request.
    Pull {
        /// The night.
        night: NightId,
        /// Which night of this name.
        origin: String,
        /// Where a person opens it.
        url: String,
        /// Its number.
        number: u64,
        /// Where the branch stood.
        tip: CommitId,
        /// The branch that it goes into.
        base: String,
        /// When it was brought up to date.
        happened: Timestamp,
    },
    /// A person wants a task tried again as it is. What they said to the agent stays on their machine.
    Retry {
        /// The task.
        task: TaskId,
        /// The hash of its text.
        text: String,
        /// When it was said.
        happened: Timestamp,
    },
    /// How a night's pull request stood when a machine looked.
    Stands {
        /// The night.
        night: NightId,
        /// Its number.
        number: u64,
        /// How.
        standing: Standing,
    },
}

/// How a pull request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nobody decided yet.
    Open,
    /// It is in the base.
    Merged,
    /// A person closed it without merging.
    Closed,
}

/// What a night made of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// It is on the night's branch.
    Landed {
        /// Its commit.
        commit: CommitId,
        /// The pull request, or the branch.
        place: String,
    },
    /// It waits for a person's decision, on the machine that made it.
    Held {
        /// Why.
        why: String,
    },
    /// It failed, and waits for an edit.
    Failed {
        /// Why.
        why: String,
    },
    /// A person said no to it.
    Rejected {
        /// What they said.
        why: String,
    },
    /// It asked a person.
    Asked {
        /// What.
        why: String,
        /// Lines that would answer it.
        answer: Vec<String>,
    },
}

/// A name for a night that no other machine's night has, and that tells nothing of where it ran.
pub fn origin(opening: &Opening) -> String {
    let parts = [opening.night.as_str(), &opening.at.to_string(), &opening.repository];
    hex(&Sha256::digest(parts.join("\n")))[..12].to_owned()
}

impl Fact {
    /// The name of its entry: a later fact of the same name takes its place.
    fn name(&self) -> String {
        match self {
            Fact::Task { task, text, origin, .. } => {
                let text: String = text.chars().take(16).collect();
                format!("task/{origin}/{}/{text}", task.in_ref())
            }
            Fact::Base { gate, tree, tier, .. } => format!("base/{gate}/{tree}/{tier}"),
            Fact::Canary { gate, tree, tier, .. } => format!("canary/{gate}/{tree}/{tier}"),
            Fact::Pull { origin, .. } => format!("pull/{origin}"),
            Fact::Retry { task, text, .. } => {
                let text: String = text.chars().take(16).collect();
                format!("retry/{}/{text}", task.in_ref())
            }
            Fact::Stands { number, .. } => format!("stands/{number}"),
        }
    }
}

impl Ledger {
    /// Reads a ledger, and says in words what of it cannot be read. `Err`: a newer version wrote it, and nobody who
    /// cannot read it may write over it.
    pub fn read(bytes: &[u8]) -> Result<(Ledger, Vec<String>), String> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| serde_json::from_str::<Value>(line).ok());
        match head.as_ref().and_then(|head| head.get("ledger")).and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => {
                return Err(format!("it is of form {newer}, this version reads {VERSION}"));
            }
            Some(_) | None => {
                return Ok((Ledger::default(), vec!["its first line is damaged".to_owned()]));
            }
        }
        let (mut ledger, mut damaged) = (Ledger::default(), Vec::new());
        for (number, line) in (2..).zip(lines) {
            match entry(line) {
                Some((name, line)) => ledger.add(name, line),
                None => damaged.push(number),
            }
        }
        ledger.trim();
        let problem = damaged.first().map(|first| {
            format!("{} of its entries cannot be read, the first in line {first}", damaged.len())
        });
        Ok((ledger, problem.into_iter().collect()))
    }

    /// The same entries are the same bytes, on every machine.
    pub fn write(&self) -> Vec<u8> {
        let mut text = format!("{{\"ledger\":{VERSION}}}\n");
        for line in self.lines.values() {
            text.push_str(&line.text);
            text.push('\n');
        }
        text.into_bytes()
    }

    /// Takes in all that `other` knows.
    pub fn merge(&mut self, other: &Ledger) {
        for (name, line) in &other.lines {
            self.add(name.clone(), line.clone());
        }
        self.trim();
    }

    /// Writes a fact down, as `seen` lets it be seen. Known at `at`; what is known already stays as it is, and what
    /// is known otherwise is overruled whatever clock wrote it.
    pub fn put(&mut self, fact: &Fact, at: Timestamp, seen: impl FnOnce(Value) -> Value) {
        let name = fact.name();
        let Value::Object(mut fields) = seen(serde_json::to_value(fact).unwrap_or_default()) else {
            return;
        };
        fields.insert("id".to_owned(), Value::String(name.clone()));
        let mut at = at;
        if let Some(known) = self.lines.get(&name) {
            if let Ok(Value::Object(mut known)) = serde_json::from_str(&known.text) {
                known.remove("at");
                if known == fields {
                    return;
                }
            }
            let after = known.at.checked_add(SignedDuration::from_nanos(1));
            at = at.max(after.unwrap_or(Timestamp::MAX));
        }
        fields.insert("at".to_owned(), Value::String(at.to_string()));
        if let Some((name, line)) = entry(&Value::Object(fields).to_string()) {
            self.add(name, line);
            self.trim();
        }
    }

    /// What can be read, in the order of its names. Entries of a kind that this version does not know are left out.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        self.lines.values().filter_map(|line| serde_json::from_str(&line.text).ok())
    }

    /// The time of the newest entry.
    pub fn newest(&self) -> Option<Timestamp> {
        self.lines.values().map(|line| line.at).max()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn add(&mut self, name: String, line: Line) {
        let known = self.lines.entry(name).or_insert_with(|| line.clone());
        if *known < line {
            *known = line;
        }
    }

    /// Lets the oldest go. By number and not by size: then it does not matter what was merged first.
    fn trim(&mut self) {
        let over = self.lines.len().saturating_sub(MOST);
        if over == 0 {
            return;
        }
        let mut order: Vec<(&Line, &String)> = self.lines.iter().map(|(n, l)| (l, n)).collect();
        order.sort();
        let gone: Vec<String> = order.iter().take(over).map(|(_, name)| (*name).clone()).collect();
        for name in gone {
            self.lines.remove(&name);
        }
    }
}

/// An entry's name and its canonical line; `None` for what is none.
fn entry(line: &str) -> Option<(String, Line)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let name = value.get("id")?.as_str().filter(|name| !name.is_empty())?.to_owned();
    let at = value.get("at")?.as_str()?.parse().ok()?;
    // Keys of an object are sorted here.
    let text = value.to_string();
    (text.len() <= LARGEST_ENTRY).then_some((name, Line { at, text }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_226_400 + second).unwrap()
    }

    fn failed(task: &str, origin: &str, why: &str) -> Fact {
        Fact::Task {
            task: TaskId::new(task).unwrap(),
            text: "ab".repeat(32),
            night: NightId::new("2026-11-21").unwrap(),
            origin: origin.to_owned(),
            happened: at(0),
            outcome: Outcome::Failed { why: why.to_owned() },
        }
    }

    fn with(facts: &[(u8, i64, u8)]) -> Ledger {
        let mut lines = format!("{{\"ledger\":{VERSION}}}\n");
        for (name, second, what) in facts {
            let at = at(*second);
            lines.push_str(&format!("{{\"id\":\"x/{name}\",\"at\":\"{at}\",\"new\":{what}}}\n"));
        }
        let (ledger, problems) = Ledger::read(lines.as_bytes()).unwrap();
        assert_eq!(problems, [""; 0]);
        ledger
    }

    fn union(a: &Ledger, b: &Ledger) -> Ledger {
        let mut all = a.clone();
        all.merge(b);
        all
    }

    fn some() -> impl Strategy<Value = Ledger> {
        let facts = proptest::collection::vec((0..12_u8, 0..6_i64, 0..3_u8), 0..16);
        facts.prop_map(|facts| with(&facts))
    }

    proptest! {
        #[test]
        fn a_union_is_the_same_whatever_comes_first_and_however_often(
            a in some(), b in some(), c in some()
        ) {
            prop_assert_eq!(union(&a, &b), union(&b, &a));
            prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
            prop_assert_eq!(union(&a, &a), a.clone());
            let all = union(&a, &b);
            prop_assert_eq!(union(&all, &b), all.clone());
            // No name is lost, and the newest word about each is there.
            for (name, line) in a.lines.iter().chain(&b.lines) {
                prop_assert!(all.lines[name] >= *line);
            }
            prop_assert_eq!(Ledger::read(&all.write()).unwrap(), (all, vec![]));
        }

        #[test]
        fn no_bytes_stop_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = b"{\"ledger\":1}\n".to_vec();
            text.extend(bytes);
            let (ledger, _) = Ledger::read(&text).unwrap();
            prop_assert!(ledger.len() < 200);
        }
    }

    #[test]
    fn the_newest_are_kept_whatever_was_merged_first() {
        let full = |from: i64| {
            let mut ledger = Ledger::default();
            for number in from..from + 1_500 {
                let name = format!("x/{number:05}");
                let text = format!("{{\"at\":\"{}\",\"id\":\"{name}\"}}", at(number));
                ledger.add(name, Line { at: at(number), text });
            }
            ledger
        };
        let parts = [full(0), full(1_500), full(3_000)];
        let first = union(&union(&parts[0], &parts[1]), &parts[2]);
        let last = union(&parts[0], &union(&parts[2], &parts[1]));
        assert_eq!(first.len(), MOST);
        assert_eq!(first, last);
        assert!(!first.lines.contains_key("x/02499") && first.lines.contains_key("x/02500"));
    }

    #[test]
    fn a_fact_is_written_once_and_overruled_by_what_came_later_on_its_own_machine() {
        let mut ledger = Ledger::default();
        let plain = |value| value;
        ledger.put(&failed("a", "m1", "the gate is red"), at(10), plain);
        let before = ledger.clone();
        ledger.put(&failed("a", "m1", "the gate is red"), at(20), plain);
        assert_eq!(ledger, before);
        // A clock that went back: the later word holds all the same.
        ledger.put(&failed("a", "m1", "rejected"), at(5), plain);
        assert_eq!(ledger.facts().collect::<Vec<_>>(), [failed("a", "m1", "rejected")]);
        ledger.merge(&before);
        assert_eq!(ledger.facts().collect::<Vec<_>>(), [failed("a", "m1", "rejected")]);
        ledger.put(&failed("a", "m2", "other"), at(1), plain);
        assert_eq!(ledger.facts().count(), 2);
    }

    #[test]
    fn what_is_unknown_is_kept_and_what_is_damaged_is_named() {
        let text = "{\"ledger\":1,\"more\":2}\n\
                    {\"at\":\"2026-11-21T00:00:00Z\",\"id\":\"future/1\",\"kind\":\"future\",\"z\":{\"b\":1,\"a\":2}}\n\
                    not json\n{\"id\":\"no time\"}\n";
        let (ledger, problems) = Ledger::read(text.as_bytes()).unwrap();
        assert_eq!(problems, ["2 of its entries cannot be read, the first in line 3"]);
        assert_eq!((ledger.len(), ledger.facts().count()), (1, 0));
        let written = String::from_utf8(ledger.write()).unwrap();
        assert!(written.contains("\"z\":{\"a\":2,\"b\":1}"), "{written}");
        assert_eq!(Ledger::read(b"").unwrap().1, ["its first line is damaged"]);
        let newer = Ledger::read(b"{\"ledger\":2}\n").unwrap_err();
        assert!(newer.contains("form 2"), "{newer}");
    }

    #[test]
    fn no_secret_enters_and_nothing_too_large() {
        let mut ledger = Ledger::default();
        let redactor = crate::redact::Redactor::new(["hunter2hunter2".to_owned()]);
        let fact = failed("a", "m1", "it printed hunter2hunter2");
        ledger.put(&fact, at(0), |value| redactor.redact_all(value));
        let written = String::from_utf8(ledger.write()).unwrap();
        assert!(written.contains("it printed ***") && !written.contains("hunter2"), "{written}");
        ledger.put(&failed("b", "m1", &"x".repeat(LARGEST_ENTRY)), at(0), |value| value);
        assert_eq!(ledger.len(), 1);
    }
}
