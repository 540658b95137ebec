//! Journals: a torn end is dropped, damage is told with its line and reaches no other entry, and no list of facts
//! makes the fold panic.

use std::{
    io::Write,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use nightshift::{
    budget::Spend,
    ids::{AttemptId, CommitId, NightId, TaskId},
    journal::{self, Error, Journal},
    night::{Charge, Entry, Event, Night},
};
use proptest::{prelude::*, sample::Index, test_runner::TestCaseResult};
use serde_json::Value;

use crate::{
    drive::drive,
    nights::{Picks, TASKS, night},
};

fn nights() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(any::<u8>(), 0..120).prop_map(|picks| night(&mut Picks::of(picks)))
}

/// A journal's first line, as the program writes it.
static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    Journal::create(&path, &NightId::new("2026-11-21").unwrap()).unwrap();
    std::fs::read(path).unwrap()
});

/// The bytes of a journal. Its file is not written by the program: that waits for the disk each time.
fn written(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = HEAD.clone();
    for entry in entries {
        bytes.extend(serde_json::to_vec(entry).unwrap());
        bytes.push(b'\n');
    }
    bytes
}

fn lines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

#[test]
fn a_torn_journal_is_its_whole_lines_and_goes_on_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let torn = (nights(), any::<Index>(), any::<bool>());
    drive("journal: torn", &torn, |(entries, at, garbage)| {
        let mut bytes = written(&entries);
        bytes.truncate(at.index(bytes.len() + 1));
        let kept = lines(&bytes).saturating_sub(1);
        if garbage {
            // What a disk may leave of a line that never got there.
            bytes.extend_from_slice(&[0; 64]);
        }
        std::fs::write(&path, &bytes).unwrap();
        let reading = journal::read(&path).unwrap();
        prop_assert!(reading.damage.is_none());
        prop_assert_eq!(&reading.entries, &entries[..kept]);
        if kept == 0 {
            return Ok(());
        }
        let (mut journal, again) = Journal::resume(&path).unwrap();
        prop_assert_eq!(&again, &reading.entries);
        for entry in &entries[kept..] {
            prop_assert_eq!(journal.next_seq(), entry.seq);
            journal.write(entry).unwrap();
        }
        prop_assert_eq!(journal::read(&path).unwrap().entries, entries);
        Ok(())
    });
}

#[test]
fn a_changed_byte_is_told_with_its_line_and_reaches_no_other_entry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let (refused, same, other) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let changed = (nights(), any::<Index>(), 1_u8..);
    drive("journal: changed byte", &changed, |(entries, at, by)| {
        let mut bytes = written(&entries);
        // The last line's end is a torn journal's.
        let at = at.index(bytes.len() - 1);
        let line = lines(&bytes[..at]) + 1;
        bytes[at] ^= by;
        std::fs::write(&path, &bytes).unwrap();
        match journal::read(&path) {
            Err(Error::Damaged { line: told, .. }) => prop_assert_eq!((told, line), (1, 1)),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(reading) => match reading.damage {
                Some(Error::Damaged { line: told, .. }) => {
                    prop_assert_eq!(told, line);
                    prop_assert_eq!(&reading.entries, &entries[..line - 2]);
                }
                Some(Error::Version { .. }) => prop_assert_eq!(line, 1),
                Some(error) => return Err(TestCaseError::fail(error.to_string())),
                // Its own line apart, every entry is what it was.
                None => {
                    prop_assert_eq!(reading.entries.len(), entries.len());
                    for (number, (read, wrote)) in reading.entries.iter().zip(&entries).enumerate()
                    {
                        prop_assert!(read == wrote || number + 2 == line);
                    }
                    let equal = reading.entries == entries;
                    let counter = match Night::replay(reading.entries) {
                        _ if equal => &same,
                        Ok(_) => &other,
                        Err(_) => &refused,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
            },
        }
        refused.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    // The format has no sums: a digit of a price can become another digit. What matters is told.
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let _ = writeln!(
        std::io::stderr(),
        "fuzz: journal: changed byte: {} refused, {} without effect, {} read as other words",
        count(&refused),
        count(&same),
        count(&other)
    );
}

/// Numbers at which arithmetic ends.
const NUMBERS: [u64; 6] = [0, 1, 2, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// Puts other names and numbers into a fact.
fn twisted(value: &mut Value, picks: &mut Picks) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| twisted(item, picks)),
        Value::Object(fields) => {
            let before = fields.clone();
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    "task" if picks.one_in(6) => {
                        *field = (*picks.of_these(&["a", "b", "z"])).into();
                    }
                    "number" if picks.one_in(6) => *field = (picks.next() % 4).into(),
                    "at" | "until" if picks.one_in(8) => {
                        let text = ["-009999-01-02T01:59:59Z", "9999-12-30T22:00:00Z"];
                        *field = (*picks.of_these(&text)).into();
                    }
                    _ => twisted(field, picks),
                }
            }
            if picks.one_in(40) {
                let keys: Vec<&String> = before.keys().collect();
                if let Some(key) = keys.get(usize::from(picks.next()) % keys.len().max(1)) {
                    fields.remove(key.as_str());
                }
            }
        }
        Value::Number(_) if picks.one_in(12) => *value = (*picks.of_these(&NUMBERS)).into(),
        Value::String(text) if text.len() == 40 && picks.one_in(12) => {
            *text = format!("{:040x}", picks.next() % 8);
        }
        Value::Bool(flag) if picks.one_in(20) => *flag = !*flag,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Facts of several nights in any order, some of them twisted, each of which is well formed.
fn facts() -> impl Strategy<Value = Vec<Entry>> {
    let twists = prop::collection::vec(any::<u8>(), 0..200);
    let deeds = prop::collection::vec((any::<Index>(), any::<Index>(), 0..3_u8), 0..6);
    (nights(), nights(), twists, deeds).prop_map(|(mut entries, other, twists, deeds)| {
        for (from, to, deed) in deeds {
            let from = from.get(&other).clone();
            match deed {
                0 => entries.insert(1 + to.index(entries.len()), from),
                1 if entries.len() > 1 => {
                    entries.remove(1 + to.index(entries.len() - 1));
                }
                _ => {
                    let again = to.get(&entries).clone();
                    entries.push(again);
                }
            }
        }
        let mut picks = Picks::of(twists);
        let twist = |entry: Entry| {
            let mut value = serde_json::to_value(&entry).unwrap();
            twisted(&mut value, &mut picks);
            serde_json::from_value(value).unwrap_or(entry)
        };
        entries.into_iter().map(twist).collect()
    })
}

#[test]
fn no_list_of_facts_makes_the_fold_panic() {
    drive("journal: any facts", &facts(), |entries| {
        let mut entries = entries.into_iter();
        let Some(Event::Opened(opening)) = entries.next().map(|entry| entry.event) else {
            return Ok(());
        };
        let mut night = Night::open(*opening);
        for entry in entries {
            if night.apply(entry.at, entry.event).is_err() {
                break;
            }
            asked(&night, entry.at)?;
        }
        Ok(())
    });
}

/// Whatever is asked of a state that the fold came to has an answer.
fn asked(night: &Night, at: Timestamp) -> TestCaseResult {
    for now in [at, Timestamp::MIN, Timestamp::MAX] {
        let due = night.due(now);
        // Land comes from a state that passed its gate, and from no other.
        for command in due {
            if let nightshift::night::Command::Land { attempt, .. } = command {
                let task = night.task(&attempt.task).unwrap();
                prop_assert!(task.attempts.iter().any(|record| record.gate.is_some()));
            }
        }
        night.wake_at(now);
        night.is_over(now);
        night.stop_reason(now);
        for id in TASKS {
            night.why_not_started(&TaskId::new(id).unwrap(), now);
        }
    }
    night.spent();
    Ok(())
}

#[test]
fn a_fact_of_an_attempt_that_never_began_is_illegal() {
    let entries = night(&mut Picks::of(Vec::new()));
    let ended = entries.iter().find(|entry| matches!(entry.event, Event::AgentEnded { .. }));
    let mut value = serde_json::to_value(&ended.unwrap().event).unwrap();
    for (task, number) in [("a", 2), ("z", 1), ("b", 1)] {
        value["agent_ended"]["attempt"] = serde_json::json!({"task": task, "number": number});
        let mut events: Vec<Event> = vec![serde_json::from_value(value.clone()).unwrap()];
        let id = AttemptId { task: TaskId::new(task).unwrap(), number };
        let spent = Spend::default();
        let charge = Charge { attempt: id.clone(), spent };
        events.push(Event::Restarted { charges: vec![charge] });
        events.push(Event::Decided {
            attempt: id.clone(),
            approved: true,
            reason: None,
            by: "ann".to_owned(),
        });
        let commit = CommitId::new("0".repeat(40)).unwrap();
        events.push(Event::Landed { attempt: id, commit });
        for event in events {
            let mut night = Night::replay(entries[..1].to_vec()).unwrap();
            assert!(night.apply(entries[0].at, event.clone()).is_err(), "{event:?}");
        }
    }
}

#[test]
fn made_nights_are_nights() {
    let mut landed = 0;
    for number in 0..=255_u8 {
        let picks: Vec<u8> = (0..100).map(|at: u8| at.wrapping_mul(37) ^ number).collect();
        let entries = night(&mut Picks::of(picks));
        landed += Night::replay(entries).unwrap().landed().len();
    }
    assert!(landed > 50, "{landed}");
}
