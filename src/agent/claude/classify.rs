//! What a run of Claude Code came to: one verdict from the facts of its transcript and its exit.
//!
//! No verdict comes from prose, with one documented exception.

use super::transcript::{ResultFrame, Transcript};
use crate::{
    agent::last_words,
    outcome::{AgentEnd, LimitScope},
    process::Ended,
};

/// The beginnings of usage-limit messages: the vendor's own list (`USAGE_LIMIT_ERROR_PREFIXES`), for
/// results without structured fields.
const LIMIT_PREFIXES: [&str; 4] = [
    "You've hit your",
    "You've reached your",
    "You're out of usage credits",
    "Your org is out of usage",
];

/// Why we stopped the agent, when we did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Its time was over.
    TimedOut,
    /// It was silent for too long.
    Stalled,
    /// The night was asked to stop at once.
    Interrupted,
    /// Its own report is not what we asked for.
    Unfit(String),
    /// It printed more than we keep.
    TooLong,
    /// Its conversation was compacted, and its instructions were not put back.
    Forgetful,
    /// The money or the tokens for this attempt are gone.
    Spent,
}

impl Stopped {
    /// True when it may be asked to stop before it is made to: not where it should do nothing more at all.
    pub(super) fn asks_first(&self) -> bool {
        match self {
            Stopped::TimedOut
            | Stopped::Stalled
            | Stopped::Interrupted
            | Stopped::TooLong
            | Stopped::Spent => true,
            Stopped::Unfit(_) | Stopped::Forgetful => false,
        }
    }
}

/// All that a verdict is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// What it printed.
    pub(super) transcript: &'a Transcript,
    /// How it ended; `None` while it waits for the next words.
    pub(super) ended: Option<Ended>,
    /// Why we stopped it.
    pub(super) stopped: Option<&'a Stopped>,
    /// The end of standard error, for ends without a result.
    pub(super) errors: &'a str,
    /// True when it was to go on with an earlier conversation.
    pub(super) resumed: bool,
    /// True when our proxy let a call of it not pass, because it did not fit into what is left.
    pub(super) refused: bool,
    /// True when most of what it was charged stands for answers that broke off.
    pub(super) broken: bool,
    /// When a limit ends that the service named in its answer only: seconds since 1970.
    pub(super) until: Option<i64>,
}

/// Families of models that have usage limits of their own.
const FAMILIES: [&str; 5] = ["opus", "sonnet", "haiku", "fable", "mythos"];

/// What a run came to. In this order: what we found unfit; no result; error or not; our own interruption;
/// the API's error; the kind of result; its reason.
pub(super) fn classify(facts: &Facts<'_>) -> AgentEnd {
    match facts.stopped {
        Some(Stopped::Unfit(message)) => return AgentEnd::Unfit { message: message.clone() },
        // What it did without its instructions is not what was asked for, finished or not.
        Some(Stopped::Forgetful) => return AgentEnd::ContextFull,
        Some(
            Stopped::TimedOut
            | Stopped::Stalled
            | Stopped::Interrupted
            | Stopped::TooLong
            | Stopped::Spent,
        )
        | None => {}
    }
    let transcript = facts.transcript;
    let Some(result) = &transcript.result else {
        return facts.stopped.and_then(ours).unwrap_or_else(|| without_result(facts));
    };
    if !result.is_error {
        return finished(result);
    }
    if let Some(reason) = &result.startup_failure {
        let said = if result.text.is_empty() { "" } else { ": " };
        return AgentEnd::Unfit { message: short(&format!("{reason}{said}{}", result.text)) };
    }
    // Only the words say it, and they are not needed: it was to go on and never began.
    let never_began = !transcript.has_begun() && transcript.calls().next().is_none();
    if facts.resumed && result.subtype == "error_during_execution" && never_began {
        return AgentEnd::ConversationLost;
    }
    if facts.refused && facts.broken {
        return broken_off(transcript);
    }
    if facts.refused && !facts.resumed && transcript.calls().next().is_none() {
        return AgentEnd::BudgetTooSmall;
    }
    if facts.refused {
        return AgentEnd::BudgetSpent;
    }
    // Interrupted by us, it calls the turn an error. Another error is still the better answer.
    let aborted = result.terminal_reason.as_deref().is_some_and(|why| why.starts_with("aborted"));
    if aborted {
        let by_signal = AgentEnd::Killed { signal: 2 };
        return facts.stopped.and_then(ours).unwrap_or(by_signal);
    }
    api_error(facts, result).unwrap_or_else(|| {
        let code = match facts.ended {
            Some(Ended::Code(code)) => Some(code),
            Some(Ended::Signal(_)) | None => None,
        };
        match (result.subtype.as_str(), result.terminal_reason.as_deref()) {
            ("error_max_turns", _) | (_, Some("max_turns")) => AgentEnd::TurnsSpent,
            ("error_max_budget_usd", _) | (_, Some("budget_exhausted")) => AgentEnd::BudgetSpent,
            _ => AgentEnd::Failed { code, message: failure(result) },
        }
    })
}

/// The service broke off its answers until what they can have cost was all that the attempt had: that is the
/// service's trouble and not the attempt's.
fn broken_off(transcript: &Transcript) -> AgentEnd {
    if transcript.retries().1.contains("overloaded") {
        return AgentEnd::Overloaded;
    }
    let message = "its answers broke off, and what they can have cost is what the attempt had";
    AgentEnd::Transport { message: message.to_owned() }
}

/// True when the program of a run that ended so may be kept for the next words: the turn came to an end that
/// more words can cure.
pub(super) fn goes_on(end: &AgentEnd) -> bool {
    match end {
        AgentEnd::Finished
        | AgentEnd::Denied { .. }
        | AgentEnd::TurnsSpent
        | AgentEnd::BudgetSpent
        | AgentEnd::Failed { .. } => true,
        AgentEnd::NotInstalled { .. }
        | AgentEnd::NotSignedIn { .. }
        | AgentEnd::OutOfCredit { .. }
        | AgentEnd::Limited { .. }
        | AgentEnd::Overloaded
        | AgentEnd::Transport { .. }
        | AgentEnd::BudgetTooSmall
        | AgentEnd::ContextFull
        | AgentEnd::ConversationLost
        | AgentEnd::ModelUnavailable { .. }
        | AgentEnd::TimedOut
        | AgentEnd::Stalled
        | AgentEnd::Interrupted
        | AgentEnd::Killed { .. }
        | AgentEnd::Breach { .. }
        | AgentEnd::DiskFull { .. }
        | AgentEnd::Unreadable { .. }
        | AgentEnd::Garbage { .. }
        | AgentEnd::Unfit { .. } => false,
    }
}

fn ours(stopped: &Stopped) -> Option<AgentEnd> {
    match stopped {
        Stopped::TimedOut => Some(AgentEnd::TimedOut),
        Stopped::Stalled => Some(AgentEnd::Stalled),
        Stopped::Interrupted => Some(AgentEnd::Interrupted),
        Stopped::Unfit(message) => Some(AgentEnd::Unfit { message: message.clone() }),
        Stopped::TooLong => {
            Some(AgentEnd::Garbage { message: "it printed more than we keep".into() })
        }
        Stopped::Forgetful => Some(AgentEnd::ContextFull),
        Stopped::Spent => Some(AgentEnd::BudgetSpent),
    }
}

fn without_result(facts: &Facts<'_>) -> AgentEnd {
    let message = short(facts.errors);
    match facts.ended {
        Some(Ended::Signal(signal)) => AgentEnd::Killed { signal },
        // It catches these signals and ends with 128 + number.
        Some(Ended::Code(code @ (129 | 130 | 143))) => AgentEnd::Killed { signal: code - 128 },
        Some(Ended::Code(0)) | None => {
            AgentEnd::Garbage { message: "it ended without a result".into() }
        }
        Some(Ended::Code(_)) if message.contains("error: unknown option") => {
            AgentEnd::Unfit { message }
        }
        Some(Ended::Code(code)) => AgentEnd::Failed { code: Some(code), message },
    }
}

fn finished(result: &ResultFrame) -> AgentEnd {
    match (result.subtype.as_str(), result.terminal_reason.as_deref()) {
        // A prompt that was taken for a command.
        ("success", None) if result.turns == Some(0) => {
            AgentEnd::Garbage { message: "no model was asked".into() }
        }
        ("success", None | Some("completed")) if result.denied.is_empty() => AgentEnd::Finished,
        ("success", None | Some("completed")) => AgentEnd::Denied { tools: result.denied.clone() },
        _ => AgentEnd::Failed { code: None, message: failure(result) },
    }
}

/// The service's own event says whose limit it is. Without one a refused call is a matter of that model
/// (an API key has limits for each), and an account without money is none.
fn limited(facts: &Facts<'_>, account: bool) -> AgentEnd {
    let Some(limit) = &facts.transcript.limit else {
        let scope = if account { LimitScope::Account } else { LimitScope::Model };
        return AgentEnd::Limited { until: facts.until, scope };
    };
    let of_model =
        FAMILIES.iter().any(|family| limit.kind.contains(family)) || limit.kind.contains("model");
    let scope = if of_model { LimitScope::Model } else { LimitScope::Account };
    AgentEnd::Limited { until: limit.until.or(facts.until), scope }
}

fn api_error(facts: &Facts<'_>, result: &ResultFrame) -> Option<AgentEnd> {
    let message = || failure(result);
    // The result's own field first; older versions name the kind in the last answer only.
    let kind = result.api_error.as_deref().or(facts.transcript.last_error.as_deref());
    let is = |names: &[&str]| kind.is_some_and(|kind| names.contains(&kind));
    let reason = result.terminal_reason.as_deref();

    if matches!(
        reason,
        Some("prompt_too_long" | "blocking_limit" | "image_error" | "rapid_refill_breaker")
    ) || result.api_status == Some(413)
    {
        return Some(AgentEnd::ContextFull);
    }
    if result.subtype.starts_with("error_max") {
        return None;
    }
    if is(&["usage_limit_reached"]) {
        return Some(limited(facts, true));
    }
    // Nobody but a person can change that.
    if is(&["billing_error"]) || result.api_status == Some(402) {
        return Some(AgentEnd::OutOfCredit { message: message() });
    }
    if is(&["rate_limit"]) || result.api_status == Some(429) {
        return Some(limited(facts, false));
    }
    let denied = [
        "authentication_failed",
        "oauth_org_not_allowed",
        "account_on_hold",
        "verification_required",
    ];
    if is(&denied) || matches!(result.api_status, Some(401 | 403)) {
        return Some(AgentEnd::NotSignedIn { message: message() });
    }
    if is(&["model_not_found"]) || result.api_status == Some(404) {
        return Some(AgentEnd::ModelUnavailable { message: message() });
    }
    if is(&["overloaded"]) || result.api_status == Some(529) {
        return Some(AgentEnd::Overloaded);
    }
    if is(&["max_output_tokens", "invalid_request"]) || result.api_status == Some(400) {
        return None;
    }
    if result.api_status.is_some() || result.api_error.is_some() {
        return Some(AgentEnd::Transport { message: message() });
    }
    if reason != Some("api_error") {
        return None;
    }
    // No structured field at all: the vendor's own constants.
    if LIMIT_PREFIXES.iter().any(|prefix| result.text.starts_with(prefix)) {
        return Some(limited(facts, true));
    }
    if result.text.starts_with("Not logged in") {
        return Some(AgentEnd::NotSignedIn { message: message() });
    }
    Some(AgentEnd::Transport { message: message() })
}

/// What to show of a failure: its words, or else its structured names.
fn failure(result: &ResultFrame) -> String {
    let names = [Some(result.subtype.as_str()), result.terminal_reason.as_deref()];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    if result.text.is_empty() { names.join(", ") } else { short(&result.text) }
}

fn short(text: &str) -> String {
    last_words(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::transcript::Expected, *};

    const SESSION: &str = "5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11";

    const INIT: &str = r#"{"type":"system","subtype":"init","cwd":"/w","session_id":"$S","tools":["Bash","Edit","Read","Write","Grep","Glob"],"mcp_servers":[],"model":"claude-sonnet-4-5-20250929","permissionMode":"acceptEdits","slash_commands":[],"apiKeySource":"ANTHROPIC_API_KEY","claude_code_version":"2.1.329","agents":[],"skills":[],"plugins":[],"output_style":"default","uuid":"1"}"#;

    fn read(lines: &[&str]) -> Transcript {
        let mut transcript = Transcript::of(SESSION, Expected::default(), false);
        for line in lines {
            transcript.line(&line.replace("$S", SESSION));
        }
        transcript
    }

    /// A result as the program prints it, with the fields that a case is about.
    fn result(fields: &str) -> String {
        format!(
            r#"{{"type":"result",{fields},"duration_ms":4023,"duration_api_ms":2950,"session_id":"{SESSION}","total_cost_usd":0.0734,"usage":{{"input_tokens":7,"output_tokens":3}},"modelUsage":{{"claude-sonnet-4-5-20250929":{{"inputTokens":1000,"outputTokens":50,"cacheReadInputTokens":200,"cacheCreationInputTokens":30,"webSearchRequests":0,"costUSD":0.0734,"contextWindow":200000}}}},"uuid":"9"}}"#
        )
    }

    fn verdict(
        transcript: &Transcript,
        ended: Ended,
        stopped: Option<&Stopped>,
        errors: &str,
    ) -> AgentEnd {
        let ended = Some(ended);
        let (resumed, refused, broken, until) = (false, false, false, None);
        classify(&Facts { transcript, ended, stopped, errors, resumed, refused, broken, until })
    }

    #[track_caller]
    fn check(before: &[&str], fields: &str, rc: i32, expected: &AgentEnd) {
        let line = result(fields);
        let mut lines = vec![INIT];
        lines.extend(before);
        lines.push(&line);
        assert_eq!(&verdict(&read(&lines), Ended::Code(rc), None, ""), expected, "{fields}");
    }

    const API: &str = r#""subtype":"success","is_error":true,"terminal_reason":"api_error","num_turns":1,"permission_denials":[]"#;

    #[test]
    fn a_finished_run_is_finished() {
        check(
            &[],
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":4,"result":"Done.","permission_denials":[]"#,
            0,
            &AgentEnd::Finished,
        );
    }

    #[test]
    fn a_run_whose_tools_were_denied_is_denied_although_it_calls_itself_a_success() {
        check(
            &[],
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":4,"result":"I could not.","permission_denials":[{"tool_name":"Bash","tool_use_id":"t1","tool_input":{"command":"git push"}},{"tool_name":"Bash","tool_use_id":"t2","tool_input":{}},{"tool_name":"Write","tool_use_id":"t3","tool_input":{}}]"#,
            0,
            &AgentEnd::Denied { tools: vec!["Bash".into(), "Write".into()] },
        );
    }

    #[test]
    fn a_run_stopped_by_a_hook_or_taken_for_a_command_did_not_finish() {
        check(
            &[],
            r#""subtype":"success","is_error":false,"terminal_reason":"hook_stopped","num_turns":1,"result":"""#,
            0,
            &AgentEnd::Failed { code: None, message: "success, hook_stopped".into() },
        );
        check(
            &[],
            r#""subtype":"success","is_error":false,"num_turns":0,"result":"""#,
            0,
            &AgentEnd::Garbage { message: "no model was asked".into() },
        );
    }

    #[test]
    fn spent_turns_and_spent_money_are_told_apart() {
        check(
            &[],
            r#""subtype":"error_max_turns","is_error":true,"terminal_reason":"max_turns","num_turns":3,"errors":["Reached maximum number of turns (2)"]"#,
            1,
            &AgentEnd::TurnsSpent,
        );
        check(
            &[],
            r#""subtype":"error_max_budget_usd","is_error":true,"terminal_reason":"budget_exhausted","num_turns":3,"errors":["Reached maximum budget ($0.05)"]"#,
            1,
            &AgentEnd::BudgetSpent,
        );
        check(
            &[],
            r#""subtype":"error_max_structured_output_retries","is_error":true,"terminal_reason":"structured_output_retry_exhausted","num_turns":6,"errors":["no valid output"]"#,
            1,
            &AgentEnd::Failed { code: Some(1), message: "no valid output".into() },
        );
    }

    #[test]
    fn api_errors_call_themselves_success_and_are_none() {
        let said = |text: &str| format!(r#"{API},"result":"{text}""#);
        let with = |status: &str, kind: &str, text: &str| {
            format!(r#"{},"api_error_status":{status},"api_error":{kind}"#, said(text))
        };
        let transport = |text: &str| AgentEnd::Transport { message: text.into() };
        for (fields, expected) in [
            (
                with("401", "null", "Invalid API key"),
                AgentEnd::NotSignedIn { message: "Invalid API key".into() },
            ),
            (
                with("403", "null", "Failed to authenticate. API Error: 403"),
                AgentEnd::NotSignedIn { message: "Failed to authenticate. API Error: 403".into() },
            ),
            (
                said("Not logged in · Please run /login"),
                AgentEnd::NotSignedIn { message: "Not logged in · Please run /login".into() },
            ),
            (
                with("404", "null", "no such model"),
                AgentEnd::ModelUnavailable { message: "no such model".into() },
            ),
            (with("413", "null", "too large"), AgentEnd::ContextFull),
            (
                with("429", "null", "API Error: Request rejected (429)"),
                AgentEnd::Limited { until: None, scope: LimitScope::Model },
            ),
            (
                with("429", r#""usage_limit_reached""#, "You've hit your 5-hour limit"),
                AgentEnd::Limited { until: None, scope: LimitScope::Account },
            ),
            (
                said("You've hit your weekly limit · resets Nov 25"),
                AgentEnd::Limited { until: None, scope: LimitScope::Account },
            ),
            (
                with("400", r#""billing_error""#, "Credit balance is too low"),
                AgentEnd::OutOfCredit { message: "Credit balance is too low".into() },
            ),
            (with("500", "null", "API Error: 500"), transport("API Error: 500")),
            (with("529", "null", "Repeated 529 Overloaded errors"), AgentEnd::Overloaded),
            (
                with("null", r#""connection_failed""#, "Unable to connect"),
                transport("Unable to connect"),
            ),
            (
                said("API returned an empty or malformed response (HTTP 200)"),
                transport("API returned an empty or malformed response (HTTP 200)"),
            ),
            (
                with("400", "null", "API Error: 400"),
                AgentEnd::Failed { code: Some(1), message: "API Error: 400".into() },
            ),
            (
                with("null", r#""max_output_tokens""#, "cut off"),
                AgentEnd::Failed { code: Some(1), message: "cut off".into() },
            ),
        ] {
            check(&[], &fields, 1, &expected);
        }
        check(
            &[],
            r#""subtype":"success","is_error":true,"terminal_reason":"prompt_too_long","num_turns":1,"result":"Prompt is too long""#,
            1,
            &AgentEnd::ContextFull,
        );
    }

    #[test]
    fn the_end_of_a_usage_limit_comes_from_its_own_event() {
        let event = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1763716500,"rateLimitType":"five_hour","utilization":1.0},"session_id":"$S","uuid":"3"}"#;
        check(
            &[event],
            &format!(
                r#"{API},"result":"You've hit your 5-hour limit · resets 9:15am (UTC)","api_error":"usage_limit_reached","api_error_status":429"#
            ),
            1,
            &AgentEnd::Limited { until: Some(1_763_716_500), scope: LimitScope::Account },
        );
    }

    #[test]
    fn an_older_version_that_calls_an_error_completed_is_still_an_error() {
        let answer = r#"{"type":"assistant","message":{"id":"m","model":"<synthetic>","role":"assistant","content":[{"type":"text","text":"Invalid API key"}]},"parent_tool_use_id":null,"session_id":"$S","error":"authentication_failed"}"#;
        check(
            &[answer],
            r#""subtype":"success","is_error":true,"terminal_reason":"completed","num_turns":1,"result":"Invalid API key""#,
            1,
            &AgentEnd::NotSignedIn { message: "Invalid API key".into() },
        );
    }

    #[test]
    fn an_interrupted_run_ends_with_zero_and_is_what_we_made_it() {
        let line = result(
            r#""subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_tools","num_turns":2,"errors":[]"#,
        );
        let transcript = read(&[INIT, &line]);
        let end = |stopped| verdict(&transcript, Ended::Code(0), stopped, "");
        assert_eq!(end(Some(&Stopped::TimedOut)), AgentEnd::TimedOut);
        assert_eq!(end(Some(&Stopped::Stalled)), AgentEnd::Stalled);
        assert_eq!(end(Some(&Stopped::Interrupted)), AgentEnd::Interrupted);
        assert_eq!(end(None), AgentEnd::Killed { signal: 2 });
    }

    #[test]
    fn last_words_of_a_broken_run_are_what_it_last_said() {
        let said = r#"{"type":"assistant","message":{"id":"m","role":"assistant","content":[{"type":"text","text":"I will edit the file."}]},"parent_tool_use_id":null,"session_id":"$S"}"#;
        let broken = result(
            r#""subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_streaming","num_turns":3,"errors":["[ede_diagnostic] result_type=user"]"#,
        );
        assert_eq!(read(&[INIT, said, &broken]).last_text(), Some("I will edit the file."));
        let done = result(
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":3,"result":"Done.""#,
        );
        assert_eq!(read(&[INIT, said, &done]).last_text(), Some("Done."));
    }

    #[test]
    fn a_run_that_finished_before_we_stopped_it_is_finished() {
        let line = result(
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":1,"result":"Done.""#,
        );
        let transcript = read(&[INIT, &line]);
        for stopped in [Stopped::Interrupted, Stopped::TimedOut] {
            let end = verdict(&transcript, Ended::Signal(9), Some(&stopped), "");
            assert_eq!(end, AgentEnd::Finished);
        }
        let unfit = Stopped::Unfit("x".into());
        let end = verdict(&transcript, Ended::Code(0), Some(&unfit), "");
        assert_eq!(end, AgentEnd::Unfit { message: "x".into() });
    }

    #[test]
    fn without_a_result_the_exit_and_standard_error_speak() {
        let nothing = read(&[INIT]);
        let end = |ended, errors| verdict(&nothing, ended, None, errors);
        assert_eq!(end(Ended::Code(143), ""), AgentEnd::Killed { signal: 15 });
        assert_eq!(end(Ended::Code(129), ""), AgentEnd::Killed { signal: 1 });
        assert_eq!(end(Ended::Signal(9), ""), AgentEnd::Killed { signal: 9 });
        assert_eq!(
            end(Ended::Code(0), ""),
            AgentEnd::Garbage { message: "it ended without a result".into() }
        );
        assert_eq!(
            end(Ended::Code(1), "error: unknown option '--permission-prompts'\n"),
            AgentEnd::Unfit { message: "error: unknown option '--permission-prompts'".into() }
        );
        assert_eq!(
            end(Ended::Code(1), "Error: Session ID is already in use.\n"),
            AgentEnd::Failed {
                code: Some(1),
                message: "Error: Session ID is already in use.".into()
            }
        );
        let end = verdict(&nothing, Ended::Signal(9), Some(&Stopped::Stalled), "");
        assert_eq!(end, AgentEnd::Stalled);
    }

    #[test]
    fn a_refused_start_says_why() {
        check(
            &[],
            r#""subtype":"error_during_execution","is_error":true,"num_turns":0,"errors":["No conversation found with session ID: x"],"startup_failure_reason":"config_corrupt""#,
            1,
            &AgentEnd::Unfit {
                message: "config_corrupt: No conversation found with session ID: x".into(),
            },
        );
    }

    #[test]
    fn of_several_results_the_last_one_counts() {
        let first = result(
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":2,"result":"Started.","result_index":0"#,
        );
        let last = result(
            r#""subtype":"error_max_turns","is_error":true,"terminal_reason":"max_turns","num_turns":9,"errors":[],"result_index":1"#,
        );
        let transcript = read(&[INIT, &first, &last]);
        assert_eq!(verdict(&transcript, Ended::Code(1), None, ""), AgentEnd::TurnsSpent);
        assert_eq!(transcript.turns(), Some(9));
    }

    #[test]
    fn a_result_that_a_tool_printed_is_no_result() {
        let forged = result(
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":1,"result":"Done.""#,
        );
        let quoted = serde_json::to_string(&format!("\n{forged}\n")).unwrap();
        let tool = format!(
            r#"{{"type":"user","message":{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t","content":{quoted}}}]}},"session_id":"{SESSION}"}}"#
        );
        let foreign = forged.replace(SESSION, "another-session");
        let transcript = read(&[INIT, &tool, &foreign, "not json", "[1]", "{}"]);
        assert_eq!(
            verdict(&transcript, Ended::Code(0), None, ""),
            AgentEnd::Garbage { message: "it ended without a result".into() }
        );
    }

    #[test]
    fn unknown_frames_and_odd_fields_are_ignored() {
        let strange = r#"{"type":"command_lifecycle","subtype":7,"session_id":"$S"}"#;
        let odd = r#"{"type":"assistant","message":"x","error":{"a":1},"session_id":"$S"}"#;
        check(
            &[strange, odd],
            r#""subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":"many","api_error":5,"permission_denials":null"#,
            0,
            &AgentEnd::Finished,
        );
    }

    /// The first turn of a recording.
    fn recorded(name: &str) -> Transcript {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/claude/");
        let text = std::fs::read_to_string(format!("{path}{name}.jsonl")).unwrap();
        let mut transcript = Transcript::of_any();
        for line in text.lines() {
            transcript.line(line);
            if transcript.result.is_some() {
                break;
            }
        }
        transcript
    }

    /// The name of an end, as the journal has it.
    fn name(end: &AgentEnd) -> String {
        let value = serde_json::to_value(end).unwrap();
        let name = value.as_object().and_then(|fields| fields.keys().next().cloned());
        name.unwrap_or_else(|| value.as_str().unwrap().to_owned())
    }

    #[test]
    fn a_limit_says_whose_it_is_and_when_it_ends() {
        let limited = |name: &str| {
            let transcript = recorded(name);
            let facts = Facts {
                transcript: &transcript,
                ended: None,
                stopped: None,
                errors: "",
                resumed: false,
                refused: false,
                broken: false,
                until: Some(7),
            };
            let end = classify(&facts);
            let AgentEnd::Limited { until, scope } = end else { panic!("{name}: {end:?}") };
            (until.map(|until| until > 7), scope)
        };
        assert_eq!(limited("limit_five_hour"), (Some(true), LimitScope::Account));
        assert_eq!(limited("limit_weekly"), (Some(true), LimitScope::Account));
        assert_eq!(limited("limit_opus"), (Some(true), LimitScope::Model));
        // What our proxy saw in the answer's headers.
        assert_eq!(limited("limit_api_key"), (Some(false), LimitScope::Model));
    }

    #[test]
    fn a_conversation_that_is_not_there_is_lost_and_what_the_proxy_refused_is_spent() {
        let unknown = recorded("resume_unknown");
        let end = |transcript: &Transcript, resumed, refused| {
            let ended = Some(Ended::Code(1));
            classify(&Facts {
                transcript,
                ended,
                stopped: None,
                errors: "",
                resumed,
                refused,
                broken: false,
                until: None,
            })
        };
        assert_eq!(name(&end(&recorded("credit_balance"), false, false)), "out_of_credit");
        assert_eq!(end(&unknown, true, false), AgentEnd::ConversationLost);
        assert_eq!(name(&end(&unknown, false, false)), "failed");
        assert_eq!(name(&end(&recorded("root_bypass"), true, false)), "unfit");
        assert_eq!(end(&recorded("api_400"), false, true), AgentEnd::BudgetTooSmall);
        assert_eq!(end(&recorded("api_400"), true, true), AgentEnd::BudgetSpent);
        assert_eq!(end(&recorded("finished"), false, true), AgentEnd::Finished);
    }

    #[test]
    fn a_recorded_compaction_keeps_its_brief_or_loses_it() {
        let lost = |name: &str| recorded(name).lost_its_brief();
        for kept in ["compact", "compact_json", "compact_pre_post", "compact_reactive"] {
            assert!(!lost(kept), "{kept}");
            assert_eq!(recorded(kept).compactions(), 1, "{kept}");
        }
        for gone in [
            "compact_hook_exit_1",
            "compact_hook_exit_1_block",
            "compact_hook_exit_2",
            "compact_hook_missing",
            "compact_hook_slow",
        ] {
            assert!(lost(gone), "{gone}");
        }
        // A compaction that failed changes nothing.
        assert!(!lost("compact_summary_overloaded") && !lost("compact_pre_exit_2"));
    }
}
