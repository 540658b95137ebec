//! What a run of Claude Code cost: measured where it can be, and the most that it can have been where not.
//!
//! Never nothing when a call was made, and never twice: the program's own sum goes on over all turns of a
//! conversation, so what it was before is subtracted.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    tail::{Tail, Whole},
    transcript::Transcript,
};
use crate::{
    budget::{self, Spend, Tokens, Usage, Usd},
    files,
    proxy::Ledger,
};

/// Tokens that a model can read for one answer, as a rule.
const CONTEXT: u64 = 200_000;
/// Tokens that it writes in one answer, at most: what we tell the program. Its own 32,000 to 128,000 would
/// reserve dollars for each call; a longer answer is asked to go on, three times.
pub(super) const MOST_OUTPUT: u64 = 16_000;
/// The fewest that we tell it: answers that are cut shorter than this cost more than they save.
const LEAST_OUTPUT: u64 = 4_096;

/// What the program had counted when a run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Its sum of money; zero for a new conversation.
    pub(super) usd: Usd,
    /// Its tokens read and written; `None` when they are not known.
    pub(super) tokens: Option<(u64, u64)>,
}

/// What a run has cost so far, by its own answers: list prices, tokens of all kinds.
pub(super) fn measured(transcript: &Transcript) -> Spend {
    let call = |call: &super::transcript::Call| Spend {
        usd: call.usage.cost(&call.model).usd,
        input_tokens: call.usage.tokens.prompt(),
        output_tokens: call.usage.tokens.output,
        cut: Usd::ZERO,
    };
    transcript.calls().map(call).sum()
}

/// What a run has cost in the end. An answer that was cut off is charged with the most that one can cost,
/// but not with more than what is left of `budget` (zero for no limit).
pub(super) fn spent(transcript: &Transcript, before: Counted, budget: Usd) -> Spend {
    let mut spend = measured(transcript);
    if let Some(result) = &transcript.result {
        // A compaction's call is in its own figures only, an answer that was cut off in ours only.
        let sum = result.cost.unwrap_or_default().minus(before.usd);
        let tokens = before.tokens.map(|(input, output)| {
            (result.tokens.0.saturating_sub(input), result.tokens.1.saturating_sub(output))
        });
        let (usd, (input, output)) = result.since.unwrap_or((sum, tokens.unwrap_or_default()));
        spend.usd = spend.usd.max(usd);
        spend.input_tokens = spend.input_tokens.max(input);
        spend.output_tokens = spend.output_tokens.max(output);
    }
    if transcript.has_open_call() {
        let most = dearest_call(transcript.model().unwrap_or_default());
        spend.cut = if budget.is_zero() { most } else { most.min(budget.minus(spend.usd)) };
        spend.usd = spend.usd + spend.cut;
    }
    spend
}

/// What a run has cost in the end, as our proxy counted it: what came since `before`, its ledger at the end of
/// the last run. True when calls went around the proxy: then their own figures count.
pub(super) fn charged(
    transcript: &Transcript,
    counted: Counted,
    before: &Ledger,
    now: &Ledger,
) -> (Spend, bool) {
    let spend = Spend {
        usd: now.spend.usd.minus(before.spend.usd),
        input_tokens: now.spend.input_tokens.saturating_sub(before.spend.input_tokens),
        output_tokens: now.spend.output_tokens.saturating_sub(before.spend.output_tokens),
        cut: now.spend.cut.minus(before.spend.cut),
    };
    if now.calls > before.calls {
        return (spend, false);
    }
    let told = spent(transcript, counted, spend.usd);
    let around = measured(transcript) != Spend::default() || told.usd > told.cut;
    if around { (told, true) } else { (spend, false) }
}

/// The most that one answer of a model can cost: all that it can read, written to the cache for an hour,
/// and all that we let it write.
fn dearest_call(model: &str) -> Usd {
    let tokens = Tokens { cache_write_1h: CONTEXT, output: MOST_OUTPUT, ..Tokens::default() };
    Usage { tokens, ..Usage::default() }.cost(model).usd
}

/// True when most of what a run was charged stands for answers that broke off.
pub(super) fn mostly_cut(before: &Ledger, now: &Ledger) -> bool {
    let cut = now.spend.cut.minus(before.spend.cut);
    cut > now.spend.usd.minus(before.spend.usd).minus(cut)
}

/// Models that answered and have no known price; they were charged with the highest one.
pub(super) fn unknown_models(transcript: &Transcript) -> BTreeSet<&str> {
    let models = transcript.calls().map(|call| call.model.as_str());
    models.filter(|model| budget::price(model).is_none()).collect()
}

/// How long an answer may be, in tokens, so that half of the money pays for one. Zero is no limit.
pub(super) fn longest_answer(model: Option<&str>, budget: Usd) -> u64 {
    if budget.is_zero() {
        return MOST_OUTPUT;
    }
    let price = model.and_then(budget::price).unwrap_or(budget::DEAREST);
    // Prices are in millionths of a dollar per million tokens.
    let tokens = u128::from(budget.micros() / 2) * 1_000_000 / u128::from(price.standard.output);
    u64::try_from(tokens).unwrap_or(MOST_OUTPUT).clamp(LEAST_OUTPUT, MOST_OUTPUT)
}

/// The raw output of a conversation's n-th process; it is there while the process is.
pub(super) fn stream(home: &Path, number: u32) -> PathBuf {
    home.join(format!("stream-{number}.jsonl"))
}

/// What it writes to its standard error.
pub(super) fn errors(home: &Path, number: u32) -> PathBuf {
    home.join(format!("stream-{number}.errors"))
}

/// Where the current run begins in its output.
fn beginning(home: &Path, number: u32) -> PathBuf {
    home.join(format!("stream-{number}.from"))
}

/// Numbers of the processes whose output is still there, in order.
fn streams(home: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("stream-")?.strip_suffix(".jsonl")?.parse().ok();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers
}

/// A number that no output has.
pub(super) fn next_stream(home: &Path) -> u32 {
    streams(home).last().map_or(1, |last| last + 1)
}

/// Writes down that a run begins at byte `from` of a process's output, and forgets all other outputs: what
/// they cost was told, or asked for with [`spent_of_stream`].
pub(super) fn begin(home: &Path, number: u32, from: u64) -> Result<(), files::Error> {
    files::write_atomic(&beginning(home, number), from.to_string().as_bytes())?;
    for other in streams(home).into_iter().filter(|other| *other != number) {
        forget(home, other)?;
    }
    Ok(())
}

/// Removes a process's output.
pub(super) fn forget(home: &Path, number: u32) -> Result<(), files::Error> {
    files::remove_file(&stream(home, number))?;
    files::remove_file(&errors(home, number))?;
    files::remove_file(&beginning(home, number))
}

/// What the last run in a conversation's directory cost, when the runner died in the middle of it: to be
/// asked before the next one begins. From the output that was left, nothing when there is none. An answer that
/// was under way is charged with the most that one can cost, at most with what is left of `reserved`.
pub fn spent_of_stream(home: &Path, run_dir: &Path, reserved: Usd) -> Spend {
    let (told, from) = match streams(home).last() {
        Some(number) => {
            let from = std::fs::read_to_string(beginning(home, *number)).unwrap_or_default();
            (stream(home, *number), from.trim().parse().unwrap_or(0))
        }
        // The program had ended and all of its output was kept, or it was never started.
        None => (run_dir.join("transcript.jsonl"), 0),
    };
    if !told.exists() {
        return Spend::default();
    }
    let mut transcript = Transcript::of_any();
    Tail::of(&told, from).read(u64::MAX, |line| {
        if let Whole::Line(line) = line {
            transcript.line(&String::from_utf8_lossy(line));
        }
    });
    let mut spend = spent(&transcript, Counted { usd: UNKNOWN, tokens: None }, reserved);
    if reserved.is_zero() {
        // Nothing was reserved, so nothing can be charged beyond what is known.
        spend.usd = spend.usd.minus(spend.cut);
        spend.cut = Usd::ZERO;
    }
    spend
}

/// More than any conversation's sum: nothing is left of the program's own figure.
const UNKNOWN: Usd = Usd::from_micros(u64::MAX);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use super::*;

    const START: &str = r#"{"type":"stream_event","event":{"type":"message_start","message":{"id":"m1","model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":100,"cache_read_input_tokens":20,"output_tokens":1}}},"session_id":"S"}"#;
    const DELTA: &str = r#"{"type":"stream_event","event":{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":42}},"session_id":"S"}"#;
    const STOP: &str =
        r#"{"type":"stream_event","event":{"type":"message_stop"},"session_id":"S"}"#;
    const ASKED: &str =
        r#"{"type":"system","subtype":"status","status":"requesting","session_id":"S"}"#;
    const INIT: &str = r#"{"type":"system","subtype":"init","model":"claude-sonnet-4-5-20250929","session_id":"S"}"#;
    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"terminal_reason":"completed","result":"Done.","total_cost_usd":0.0734,"modelUsage":{"claude-sonnet-4-5-20250929":{"inputTokens":1000,"outputTokens":50,"cacheReadInputTokens":200,"cacheCreationInputTokens":30}},"session_id":"S"}"#;

    fn read(lines: &[&str]) -> Transcript {
        let mut transcript = Transcript::of_any();
        for line in lines {
            transcript.line(line);
        }
        transcript
    }

    fn micros(lines: &[&str], before: u64, budget: u64) -> (u64, u64) {
        let before = Counted { usd: Usd::from_micros(before), tokens: Some((0, 0)) };
        let spend = spent(&read(lines), before, Usd::from_micros(budget));
        (spend.usd.micros(), spend.cut.micros())
    }

    /// 100 tokens at $3, 20 from the cache at $0.30, 42 written at $15 per million.
    const CALL: u64 = 300 + 6 + 630;

    #[test]
    fn the_programs_sum_counts_from_where_the_run_began() {
        assert_eq!(micros(&[INIT, RESULT], 0, 0), (73_400, 0));
        assert_eq!(micros(&[INIT, RESULT], 70_000, 0), (3_400, 0));
        let spend = spent(
            &read(&[INIT, RESULT]),
            Counted { tokens: Some((1_000, 0)), ..Counted::default() },
            Usd::ZERO,
        );
        assert_eq!((spend.input_tokens, spend.output_tokens), (230, 50));
    }

    #[test]
    fn the_higher_of_the_programs_sum_and_the_answers_own_is_charged() {
        assert_eq!(micros(&[INIT, START, DELTA, STOP, RESULT], 0, 0), (73_400, 0));
        // A sum that lost a killed run's part.
        assert_eq!(micros(&[INIT, START, DELTA, STOP, RESULT], 73_000, 0), (CALL, 0));
        // An answer comes in pieces, and each piece once more as a whole.
        assert_eq!(micros(&[INIT, START, START, DELTA, DELTA, STOP], 0, 0), (CALL, 0));
    }

    /// The lines of a recording from its n-th result on, to the next.
    fn recorded(name: &str, turn: usize) -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/claude/");
        let text = std::fs::read_to_string(format!("{path}{name}.jsonl")).unwrap();
        let ends = |line: &&str| line.contains(r#""type":"result""#);
        let (mut lines, mut turns) = (Vec::new(), 0);
        for line in text.lines() {
            if turns == turn {
                lines.push(line.to_owned());
            }
            turns += usize::from(ends(&line));
        }
        lines
    }

    #[test]
    fn each_turn_costs_its_own_part_whatever_became_of_the_sum() {
        for (name, turn, before, micros) in [
            ("finished", 0, 0, 7_500),
            ("two_turns", 1, 7_500, 7_500),
            ("resume_after_exit", 0, 7_500, 7_500),
            // A sum that was never written down, and one that was told all the same.
            ("resume_after_kill_idle", 0, 7_500, 7_500),
            ("resume_after_sigkill", 0, 0, 3_750),
            ("sigkill_tool", 0, 0, 7_500),
        ] {
            let lines = recorded(name, turn);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let (usd, cut) = self::micros(&lines, before, 0);
            assert_eq!((usd - cut, name), (micros, name));
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_is_charged_with_the_most_that_is_possible() {
        assert_eq!(micros(&[], 0, 500), (0, 0));
        assert_eq!(micros(&[INIT], 0, 500), (500, 500));
        assert_eq!(micros(&[INIT, ASKED], 0, 500), (500, 500));
        assert_eq!(micros(&[INIT, START, DELTA], 0, 5_000), (5_000, 5_000 - CALL));
        assert_eq!(micros(&[INIT, START, DELTA, STOP, ASKED], 0, 5_000), (5_000, 5_000 - CALL));
        // 200,000 tokens at $6 and 16,000 at $15.
        assert_eq!(micros(&[INIT, ASKED], 0, 0), (1_440_000, 1_440_000));
        // A tool ran, no question was on its way.
        assert_eq!(micros(&[INIT, ASKED, START, DELTA, STOP], 0, 5_000), (CALL, 0));
    }

    #[test]
    fn unknown_models_are_dear_and_named() {
        let line = START.replace("claude-sonnet-4-5-20250929", "claude-next-9");
        let transcript = read(&[INIT, &line, DELTA, STOP]);
        assert_eq!(unknown_models(&transcript).into_iter().collect::<Vec<_>>(), ["claude-next-9"]);
        assert_eq!(measured(&transcript).usd, Usd::from_micros(1_500 + 30 + 3_150));
    }

    #[test]
    fn an_answer_is_as_long_as_half_of_the_money_pays() {
        let longest = |model, dollars: f64| longest_answer(model, Usd::from_dollars(dollars));
        assert_eq!(longest(Some("claude-sonnet-4-5"), 0.0), 16_000);
        assert_eq!(longest(Some("claude-sonnet-4-5"), 10.0), 16_000);
        assert_eq!(longest(Some("claude-sonnet-4-5"), 0.3), 10_000);
        assert_eq!(longest(Some("claude-sonnet-4-5"), 0.01), 4_096);
        assert_eq!(longest(None, 1.5), 10_000);
    }

    #[test]
    fn what_a_dead_runner_left_is_counted_from_where_its_last_run_began() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let reserved = Usd::from_micros(9_000);
        assert_eq!(spent_of_stream(home, home, reserved), Spend::default());
        let earlier = format!("{INIT}\n{START}\n{DELTA}\n{STOP}\n{RESULT}\n");
        std::fs::write(stream(home, 1), &earlier).unwrap();
        std::fs::write(stream(home, 2), "old").unwrap();
        assert_eq!(next_stream(home), 3);
        begin(home, 1, earlier.len() as u64).unwrap();
        assert!(!stream(home, 2).exists());
        assert_eq!(spent_of_stream(home, home, reserved), Spend::default());
        let second = START.replace("m1", "m2");
        let all = format!("{earlier}{INIT}\n{second}\n{DELTA}\n{STOP}\n{ASKED}\n{{\"type\":\"as");
        std::fs::write(stream(home, 1), all).unwrap();
        let spend = spent_of_stream(home, home, reserved);
        assert_eq!((spend.usd, spend.cut), (reserved, Usd::from_micros(9_000 - CALL)));
        let spend = spent_of_stream(home, home, Usd::ZERO);
        assert_eq!((spend.usd.micros(), spend.is_estimated()), (CALL, false));
        forget(home, 1).unwrap();
        assert_eq!(spent_of_stream(home, home, reserved), Spend::default());
    }
}
