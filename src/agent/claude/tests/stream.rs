//! The stream of a program that may be broken, cut, or made by somebody else: made inputs by the thousand, out of
//! the recordings.

use std::{collections::BTreeMap, fs, io::Write, path::Path, sync::LazyLock};

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::super::{
    classify::{Facts, classify},
    spent::{Counted, measured, spent},
    tail::{Tail, Whole},
    transcript::{Expected, Transcript},
};
use crate::{
    budget::{Spend, Usd},
    outcome::AgentEnd,
    process::Ended,
};

#[path = "../../../../tests/fuzz/drive.rs"]
mod drive;
#[path = "../../../../tests/fuzz/spoil.rs"]
mod spoil;

use drive::drive;
use spoil::spoiled;

const SESSION: &str = "5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11";

/// Longest recording that is used, in bytes: long ones only cost time.
const LONGEST: usize = 16 * 1024;

static RECORDINGS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/claude");
    let entries = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    paths.sort();
    let texts = paths.iter().map(|path| fs::read(path).unwrap());
    texts.filter(|text| text.len() <= LONGEST).collect()
});

const PIECES: &[&str] = &[
    "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"Done.\",\"session_id\":\"5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11\"}\n",
    "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"Done.\",\"session_id\":\"another\"}\n",
    "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"total_cost_usd\":-1e300,\"session_id\":\"5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11\"}\n",
    "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11\"}\n",
    "{\"type\":\"rate_limit_event\",\"rate_limit_info\":{\"status\":\"rejected\",\"resetsAt\":9223372036854775807,\"utilization\":1e308},\"session_id\":\"5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11\"}\n",
    "\"type\":\"result\",",
    "\"subtype\":\"success\",",
    "\"is_error\":false,",
    "\"session_id\":\"5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11\"",
    "\"total_cost_usd\":1e308,",
    "\"costUSD\":-5,",
    "\"output_tokens\":18446744073709551615,",
    "\"input_tokens\":-3,",
    "\"num_turns\":0,",
    "null",
    "1e999",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "é",
    "\u{feff}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":{\"a\":",
];

fn stream() -> impl Strategy<Value = spoil::Bytes> {
    spoiled(prop::sample::select(&RECORDINGS[..]), PIECES)
}

fn fresh() -> Transcript {
    Transcript::of(SESSION, Expected::default(), false)
}

/// What was taken in of lines, each with its end.
fn heard<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> Transcript {
    let mut transcript = fresh();
    for line in lines {
        transcript.line(&String::from_utf8_lossy(line));
    }
    transcript
}

/// The lines that have their end.
fn whole(bytes: &[u8]) -> Vec<&[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(|line| line.strip_suffix(b"\n")).collect()
}

fn end(transcript: &Transcript) -> AgentEnd {
    classify(&Facts {
        transcript,
        ended: Some(Ended::Code(0)),
        stopped: None,
        errors: "",
        resumed: false,
        refused: false,
        broken: false,
        until: None,
    })
}

fn cost(transcript: &Transcript) -> Spend {
    spent(transcript, Counted::default(), Usd::ZERO)
}

#[test]
fn pieces_of_a_stream_make_no_difference() {
    let pieced = (stream(), prop::collection::vec((any::<Index>(), 1_u64..2_000), 0..8));
    drive("stream: pieces", &pieced, |(bytes, cuts)| {
        let bytes = bytes.0;
        let mut ends: Vec<(usize, u64)> =
            cuts.iter().map(|(at, most)| (at.index(bytes.len() + 1), *most)).collect();
        ends.sort_unstable();
        ends.push((bytes.len(), u64::MAX));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let (mut tail, mut transcript, mut written) = (Tail::of(file.path(), 0), fresh(), 0);
        for (end, most) in ends {
            file.write_all(&bytes[written..end]).unwrap();
            written = end;
            tail.read(most, |line| {
                if let Whole::Line(line) = line {
                    transcript.line(&String::from_utf8_lossy(line));
                }
            });
        }
        prop_assert_eq!(tail.at(), bytes.len() as u64);
        let at_once = heard(whole(&bytes));
        prop_assert_eq!(format!("{transcript:?}"), format!("{at_once:?}"));
        Ok(())
    });
}

/// The frames of our session, read by a reader that is not ours; `None` when it is not sure of a line: it minds a
/// number or a sign that nobody asks for.
fn own(lines: &[&[u8]]) -> Option<Vec<Value>> {
    let mut frames = Vec::new();
    for line in lines {
        let line = String::from_utf8_lossy(line);
        match serde_json::from_str::<Value>(&line) {
            Ok(frame) if frame["session_id"] == SESSION => frames.push(frame),
            Ok(_) => {}
            Err(_) if line.trim_start().starts_with('{') && line.trim_end().ends_with('}') => {
                return None;
            }
            Err(_) => {}
        }
    }
    Some(frames)
}

#[test]
fn only_a_result_of_its_own_session_finishes_a_run() {
    drive("stream: ends", &stream(), |bytes| {
        let lines = whole(&bytes.0);
        let end = end(&heard(lines.iter().copied()));
        let Some(frames) = own(&lines) else { return Ok(()) };
        if matches!(end, AgentEnd::Finished | AgentEnd::Denied { .. }) {
            let last = frames.iter().rfind(|frame| frame["type"] == "result");
            let good = last.is_some_and(|last| {
                last["subtype"] == "success" && last["is_error"] == json!(false)
            });
            prop_assert!(good, "{:?} from {:?}", end, last);
        }
        Ok(())
    });
}

/// All numbers below these names, added up.
fn sum(value: &Value, names: &[&str]) -> f64 {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value.as_f64() {
                Some(number) if names.contains(&name.as_str()) => number.max(0.0),
                _ => sum(value, names),
            })
            .sum(),
        Value::Array(items) => items.iter().map(|item| sum(item, names)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0.0,
    }
}

/// How many answers each model gave.
fn models(transcript: &Transcript) -> BTreeMap<String, u32> {
    let mut models = BTreeMap::new();
    for call in transcript.calls() {
        *models.entry(call.model.clone()).or_default() += 1;
    }
    models
}

const READ: [&str; 9] = [
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "inputTokens",
    "cacheReadInputTokens",
    "cacheCreationInputTokens",
    "tokens",
];

#[test]
#[expect(clippy::cast_precision_loss, reason = "a bound, with more room than what is lost")]
fn a_cost_only_grows_and_is_not_more_than_was_told() {
    drive("stream: cost", &stream(), |bytes| {
        let lines = whole(&bytes.0);
        let (mut transcript, mut before, mut known) = (fresh(), Spend::default(), BTreeMap::new());
        for line in &lines {
            transcript.line(&String::from_utf8_lossy(line));
            let now = measured(&transcript);
            // An answer is charged as the dearest until its model is told, and then as that model's.
            let named = models(&transcript);
            let renamed = known.iter().any(|(model, count)| named.get(model) < Some(count));
            prop_assert!(renamed || now.usd >= before.usd);
            known = named;
            prop_assert!(now.cut.is_zero());
            prop_assert!(now.input_tokens >= before.input_tokens);
            prop_assert!(now.output_tokens >= before.output_tokens);
            before = now;
        }
        let spend = cost(&transcript);
        let Some(frames) = own(&lines) else { return Ok(()) };
        let told = |names: &[&str]| frames.iter().map(|frame| sum(frame, names)).sum::<f64>();
        let room = 1.0 + 1e-9;
        prop_assert!(spend.input_tokens as f64 <= told(&READ) * room);
        prop_assert!(spend.output_tokens as f64 <= told(&["output_tokens", "outputTokens"]) * room);
        // Each figure is rounded up to a millionth.
        let dollars = told(&["total_cost_usd", "costUSD"]) * room + 1e-6 * frames.len() as f64;
        let measured = before.usd + spend.cut;
        let told = Usd::from_dollars(dollars.min(1e12)) + measured + Usd::from_micros(1_000);
        prop_assert!(spend.usd <= told, "{} of {}", spend.usd, told);
        if frames.is_empty() {
            prop_assert_eq!(spend, Spend::default());
        }
        Ok(())
    });
}

/// All that follows from a transcript, but for the words about what it does.
fn facts(transcript: &Transcript) -> String {
    let states = (
        transcript.is_over(),
        transcript.is_done(),
        transcript.has_begun(),
        transcript.has_open_call(),
        transcript.lost_its_brief(),
        transcript.compactions(),
    );
    let words =
        (transcript.last_text(), transcript.model(), transcript.unfit(), transcript.turns());
    let service = (&transcript.limit, &transcript.last_error, transcript.window_used());
    let calls: Vec<_> = transcript.calls().collect();
    let money = (measured(transcript), cost(transcript), calls);
    let result = (&transcript.result, end(transcript), transcript.retries());
    format!("{states:?}\n{words:?}\n{service:?}\n{money:?}\n{result:?}")
}

#[test]
fn what_a_tool_printed_or_another_session_said_changes_nothing() {
    let recording = || prop::sample::select(&RECORDINGS[..]);
    let forged = (recording(), recording(), any::<Index>(), any::<Index>(), 0..4_u8);
    drive("stream: forged", &forged, |(bytes, other, line, at, form)| {
        let mut lines = whole(&bytes);
        let other = whole(&other);
        if lines.is_empty() || other.is_empty() {
            return Ok(());
        }
        let frame = String::from_utf8_lossy(other[line.index(other.len())]);
        // Of our session, as a program inside could know it.
        let said = format!("x\n{frame}\n");
        let block = json!({"type": "tool_result", "tool_use_id": "t", "content": said});
        let inserted = match form {
            0 => json!({
                "type": "user",
                "message": {"role": "user", "content": [block]},
                "tool_use_result": {"stdout": said},
                "session_id": SESSION,
            })
            .to_string(),
            1 => frame.replace(SESSION, "00000000-0000-4000-8000-000000000000"),
            2 => format!("tool says: {frame}"),
            _ => format!("[{frame}]"),
        };
        let before = facts(&heard(lines.iter().copied()));
        lines.insert(at.index(lines.len() + 1), inserted.as_bytes());
        prop_assert_eq!(facts(&heard(lines)), before, "{}", inserted);
        Ok(())
    });
}

#[test]
fn a_line_of_any_shape_is_taken_in_at_once() {
    let many = 1 << 20;
    for (head, piece, foot) in [
        ("", "[", ""),
        ("{\"type\":\"assistant\",\"message\":", "{\"a\":", ""),
        ("{\"type\":\"user\",\"session_id\":\"S\",\"x\":\"", "\\\"", "\"}"),
        ("{\"a\":0", ",\"a\":1", "}"),
        ("{\"type\":\"result\",\"errors\":[\"\"", ",\"e\"", "]}"),
        ("{\"type\":\"assistant\",\"message\":{\"content\":[{}", ",{\"text\":\"x\"}", "]}}"),
        ("", "\u{feff}", ""),
    ] {
        let line = format!("{head}{}{foot}", piece.repeat(many / piece.len()));
        let mut transcript = Transcript::of_any();
        transcript.line(&line);
        assert!(transcript.calls().next().is_none(), "{head}");
    }
}
