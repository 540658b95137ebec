//! What each recorded run of Claude Code comes to: every row of the recordings' tables, each of its turns.

mod stream;

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::{
    classify::{Facts, Stopped, classify},
    transcript::{Expected, Transcript},
};
use crate::{
    outcome::{AgentEnd, LimitScope},
    process::Ended,
};

/// A recorded process.
struct Recorded {
    name: String,
    /// One for each result; one without a result when there is none.
    turns: Vec<Transcript>,
    ended: Ended,
    errors: String,
}

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/recorded/claude", file].iter().collect()
}

/// The rows of the tables, with the exit code or signal, and the processes before those that were resumed.
fn rows() -> Vec<(String, Ended)> {
    let text = fs::read_to_string(path("README.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = cells.first()?.strip_prefix("| `")?.strip_suffix('`')?.to_owned();
        let exit = *cells.get(2)?;
        let ended = match exit.strip_prefix("signal ") {
            Some(signal) => Ended::Signal(signal.parse().ok()?),
            None => Ended::Code(exit.parse().ok()?),
        };
        Some((name, ended))
    };
    let mut rows: Vec<(String, Ended)> = text.lines().filter_map(row).collect();
    for (name, ended) in [
        ("resume_after_exit_first", Ended::Code(0)),
        ("resume_after_term_idle_first", Ended::Code(143)),
        ("resume_after_interrupt_exit_first", Ended::Code(1)),
        ("resume_after_kill_idle_first", Ended::Signal(9)),
        ("resume_after_sigkill_first", Ended::Signal(9)),
    ] {
        rows.push((name.to_owned(), ended));
    }
    rows
}

impl Recorded {
    fn read(name: String, ended: Ended) -> Recorded {
        let text = |ending: &str| {
            fs::read_to_string(path(&format!("{name}.{ending}"))).unwrap_or_default()
        };
        let lines = text("jsonl");
        let (_, rest) = lines.split_once("\"session_id\":\"").unwrap_or_default();
        let session = rest.split('"').next().unwrap_or_default();
        let turn = |later| Transcript::of(session, Expected::default(), later);
        let mut turns = vec![turn(false)];
        for line in lines.lines() {
            turns.last_mut().unwrap().line(line);
            if turns.last().unwrap().result.is_some() {
                turns.push(turn(true));
            }
        }
        // What comes behind the last result is no turn.
        if turns.len() > 1 {
            turns.pop();
        }
        let errors = text("stderr");
        Recorded { name, turns, ended, errors }
    }

    /// The verdicts of all turns. All but the last ended with the program alive.
    fn ends(&self, stopped: Option<&Stopped>) -> Vec<AgentEnd> {
        let resumed = self.name.starts_with("resume_") && !self.name.ends_with("_first");
        let last = self.turns.len() - 1;
        let end = |(index, transcript)| {
            let ended = (index == last).then_some(self.ended);
            let errors = self.errors.as_str();
            let (refused, broken, until) = (false, false, None);
            classify(&Facts { transcript, ended, stopped, errors, resumed, refused, broken, until })
        };
        self.turns.iter().enumerate().map(end).collect()
    }
}

/// The end with its message cut to the length that is expected: the rest is the program's own advice.
fn cut_like(end: AgentEnd, expected: &AgentEnd) -> AgentEnd {
    let cut = |message: String, like: &str| message.chars().take(like.chars().count()).collect();
    match (end, expected) {
        (AgentEnd::NotSignedIn { message }, AgentEnd::NotSignedIn { message: like }) => {
            AgentEnd::NotSignedIn { message: cut(message, like) }
        }
        (AgentEnd::Transport { message }, AgentEnd::Transport { message: like }) => {
            AgentEnd::Transport { message: cut(message, like) }
        }
        (AgentEnd::ModelUnavailable { message }, AgentEnd::ModelUnavailable { message: like }) => {
            AgentEnd::ModelUnavailable { message: cut(message, like) }
        }
        (AgentEnd::Unfit { message }, AgentEnd::Unfit { message: like }) => {
            AgentEnd::Unfit { message: cut(message, like) }
        }
        (AgentEnd::Failed { code, message }, AgentEnd::Failed { message: like, .. }) => {
            AgentEnd::Failed { code, message: cut(message, like) }
        }
        (end, _) => end,
    }
}

/// What every recording has to come to.
fn table() -> Vec<(&'static str, Vec<AgentEnd>)> {
    use AgentEnd::{
        BudgetSpent, ContextFull, ConversationLost, Finished, Killed, Overloaded, TurnsSpent,
    };
    let denied = |tools: &[&str]| {
        vec![AgentEnd::Denied { tools: tools.iter().map(|tool| (*tool).to_owned()).collect() }]
    };
    let not_signed_in = |message: &str| AgentEnd::NotSignedIn { message: message.into() };
    let transport = |message: &str| vec![AgentEnd::Transport { message: message.into() }];
    let failed = |message: &str| vec![AgentEnd::Failed { code: Some(1), message: message.into() }];
    let limited = |until| AgentEnd::Limited { until, scope: LimitScope::Account };
    let limit_of_model = |until| AgentEnd::Limited { until, scope: LimitScope::Model };
    let garbage = |message: &str| vec![AgentEnd::Garbage { message: message.into() }];
    let five_hours = || limited(Some(1_795_280_719));
    let interrupted = || Killed { signal: 2 };
    vec![
        // Ends of a turn.
        ("finished", vec![Finished]),
        ("two_turns", vec![Finished, Finished]),
        ("queued_line", vec![Finished]),
        ("eof_mid_turn", vec![Finished]),
        ("no_input", garbage("it ended without a result")),
        ("denied_some", denied(&["Bash"])),
        ("denied_all", denied(&["Bash", "Edit", "Write"])),
        ("hook_denied", denied(&["Write"])),
        ("hook_fails_open", vec![Finished]),
        ("hook_fails_closed", denied(&["Write"])),
        ("hook_slow_open", vec![Finished]),
        ("hook_slow_closed", denied(&["Write"])),
        ("hook_garbage_closed", vec![Finished]),
        (
            "hook_stopped",
            vec![AgentEnd::Failed { code: None, message: "success, hook_stopped".into() }],
        ),
        ("slash_clear", garbage("no model was asked")),
        ("max_turns", vec![TurnsSpent, Finished]),
        ("budget", vec![BudgetSpent, BudgetSpent]),
        ("output_limit", failed("API Error: Claude's response exceeded the 32000 output token")),
        ("model_remapped", vec![Finished]),
        ("model_not_remapped", vec![Finished]),
        // The service answers with an error.
        ("api_400", failed("API Error: 400 messages.0: something is wrong")),
        ("api_401", vec![not_signed_in("Invalid API key")]),
        ("api_401_oauth", vec![not_signed_in("Failed to authenticate. API Error: 401 OAuth")]),
        ("api_403", vec![not_signed_in("Failed to authenticate. API Error: 403")]),
        (
            "api_404",
            vec![AgentEnd::ModelUnavailable {
                message: "There's an issue with the selected model".into(),
            }],
        ),
        ("api_413", vec![ContextFull]),
        ("api_429", vec![limit_of_model(None)]),
        ("api_429_retry_after_3", vec![Finished]),
        ("api_429_retry_after_3600", vec![limit_of_model(None)]),
        ("api_500", transport("API Error: 500 Internal server error")),
        ("api_529", vec![Overloaded]),
        ("api_529_oauth", vec![Overloaded]),
        ("api_529_then_ok", vec![Finished]),
        ("api_529_fallback", vec![Finished]),
        ("sse_overloaded", vec![Overloaded]),
        (
            "credit_balance",
            vec![AgentEnd::OutOfCredit { message: "Credit balance is too low".into() }],
        ),
        ("prompt_too_long", vec![ContextFull]),
        ("error_then_next", vec![not_signed_in("Failed to authenticate"), Finished]),
        ("not_logged_in", vec![not_signed_in("Not logged in")]),
        // The line breaks.
        ("refused", transport("API Error: Connection refused")),
        ("truncated_start", transport("API Error: Connection to the API was lost")),
        ("truncated", transport("API Error: Connection to the API was lost")),
        ("truncated_before_stop", transport("API Error: Connection lost mid-response")),
        ("truncated_once", vec![Finished]),
        ("reset", transport("API Error: Connection to the API was lost")),
        ("reset_once", vec![Finished]),
        ("garbage_html", transport("API Error: API returned an empty or malformed response")),
        ("garbage_empty", transport("API Error: API returned an empty or malformed response")),
        ("garbage_sse", transport("API Error: API returned an empty or malformed response")),
        ("garbage_json", transport("API Error: JSON Parse error")),
        ("hang_headers", transport("Request timed out")),
        ("hang_headers_once", vec![Finished]),
        ("hang_stream_watchdog", transport("Request timed out")),
        ("hang_stream_recovers", vec![Finished]),
        // Limits of a subscription.
        ("limit_five_hour", vec![five_hours()]),
        ("limit_weekly", vec![five_hours()]),
        ("limit_opus", vec![limit_of_model(Some(1_795_280_867))]),
        ("limit_api_key", vec![limit_of_model(None)]),
        ("limit_then_next", vec![five_hours(), Finished]),
        ("warning_80", vec![Finished]),
        // Stopped from outside, but not by us.
        ("interrupt_stream", vec![interrupted()]),
        ("interrupt_tool", vec![interrupted()]),
        ("interrupt_retry", vec![interrupted(), Finished]),
        ("interrupt_headers", vec![interrupted(), Finished]),
        ("interrupt_compact", vec![interrupted(), Finished]),
        ("interrupt_then_next", vec![interrupted(), Finished]),
        ("interrupt_idle", vec![Finished, Finished]),
        ("initialize", vec![Finished]),
        ("unknown_control", vec![Finished]),
        ("bad_input_line", vec![Finished]),
        ("sigint_stream", vec![interrupted()]),
        ("sigint_tool", vec![interrupted()]),
        ("sigterm_stream", vec![Killed { signal: 15 }]),
        ("sigterm_tool", vec![Killed { signal: 15 }]),
        ("sighup_tool", vec![Killed { signal: 1 }]),
        ("sigkill_stream", vec![Killed { signal: 9 }]),
        ("sigkill_tool", vec![Killed { signal: 9 }]),
        // Refused at the start.
        (
            "bad_flag",
            vec![AgentEnd::Unfit { message: "error: unknown option '--no-such-flag'".into() }],
        ),
        ("missing_settings", failed("Error: Settings file not found")),
        ("session_in_use", failed("Error: Session ID 5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11 is")),
        ("resume_unknown", vec![ConversationLost]),
        ("root_bypass", vec![AgentEnd::Unfit { message: "bypass_root: --dangerously".into() }]),
        // Resumed.
        ("resume_after_exit_first", vec![Finished]),
        ("resume_after_exit", vec![Finished]),
        ("resume_after_term_idle_first", vec![Finished]),
        ("resume_after_term_idle", vec![Finished]),
        ("resume_after_interrupt_exit_first", vec![interrupted()]),
        ("resume_after_interrupt_exit", vec![Finished]),
        ("resume_after_kill_idle_first", vec![Finished]),
        ("resume_after_kill_idle", vec![Finished]),
        ("resume_after_sigkill_first", vec![Killed { signal: 9 }]),
        ("resume_after_sigkill", vec![Finished]),
        // Compaction.
        ("compact", vec![Finished, Finished]),
        ("compact_json", vec![Finished, Finished]),
        ("compact_hook_exit_1", vec![Finished, Finished]),
        ("compact_hook_exit_2", vec![Finished, Finished]),
        ("compact_hook_exit_1_block", vec![Finished, Finished]),
        ("compact_hook_missing", vec![Finished, Finished]),
        ("compact_hook_slow", vec![Finished, Finished]),
        ("compact_pre_post", vec![Finished, Finished]),
        ("compact_pre_exit_2", vec![Finished, Finished]),
        ("compact_reactive", vec![Finished, Finished]),
        ("compact_off", vec![ContextFull]),
        ("compact_summary_overloaded", vec![Finished]),
        ("compact_summary_limit", vec![Finished]),
        ("compact_forever", vec![ContextFull]),
    ]
}

#[test]
fn every_recorded_turn_comes_to_the_end_that_it_should() {
    let table = table();
    let mut wrong = Vec::new();
    for (name, ended) in rows() {
        let Some((_, expected)) = table.iter().find(|(row, _)| *row == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let found = Recorded::read(name.clone(), ended).ends(None);
        let like = |(at, end)| match expected.get(at) {
            Some(expected) => cut_like(end, expected),
            None => end,
        };
        let found: Vec<AgentEnd> = found.into_iter().enumerate().map(like).collect();
        if found != *expected {
            wrong.push(format!("{name}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (rows, listed): (BTreeSet<String>, BTreeSet<String>) = (
        rows().into_iter().map(|(name, _)| name).collect(),
        table.into_iter().map(|(name, _)| name.to_owned()).collect(),
    );
    assert_eq!(rows, listed);
}

/// Recordings whose last turn was broken off from outside, or had no end.
const BROKEN_OFF: [&str; 9] = [
    "interrupt_stream",
    "interrupt_tool",
    "sigint_stream",
    "sigint_tool",
    "sigterm_stream",
    "sigterm_tool",
    "sighup_tool",
    "sigkill_stream",
    "sigkill_tool",
];

#[test]
fn a_turn_that_we_broke_off_is_what_we_made_it_and_one_that_had_ended_is_not() {
    for (name, ended) in rows() {
        let recorded = Recorded::read(name.clone(), ended);
        for (stopped, expected) in [
            (Stopped::Interrupted, AgentEnd::Interrupted),
            (Stopped::Stalled, AgentEnd::Stalled),
            (Stopped::TimedOut, AgentEnd::TimedOut),
            (Stopped::Spent, AgentEnd::BudgetSpent),
        ] {
            let last = recorded.ends(Some(&stopped)).pop().unwrap();
            let alone = recorded.ends(None).pop().unwrap();
            if BROKEN_OFF.contains(&name.as_str()) {
                assert_eq!(last, expected, "{name}");
            } else if recorded.turns.last().unwrap().result.is_some()
                && !matches!(alone, AgentEnd::Killed { .. })
            {
                assert_eq!(last, alone, "{name}: it had come to its end");
            }
        }
    }
}

#[test]
fn the_recorded_warning_says_how_full_the_window_is() {
    let recorded = Recorded::read("warning_80".into(), Ended::Code(0));
    let window = recorded.turns[0].window_used().unwrap();
    assert_eq!((window.name.as_str(), window.percent), ("five_hour", 82));
    assert_eq!(window.resets_at, Some(1_795_280_719));
}
