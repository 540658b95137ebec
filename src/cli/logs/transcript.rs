//! One line of Claude Code's transcript as people read it. Says what stands there and judges nothing.

use serde_json::Value;

use crate::report::text::{head, inline_plain};

/// Longest input or output of a tool that is shown, in characters.
const SHOWN: usize = 120;

/// Frames by the thousand that say nothing by themselves: parts of answers, signs of life.
const SILENT: [&str; 3] = ["stream_event", "tool_progress", "keep_alive"];
/// The same among the frames of kind `system`.
const SILENT_SYSTEM: [&str; 5] =
    ["session_state_changed", "status", "hook_started", "hook_response", "hook_progress"];

/// What a line tells: words of the agent, tools that it used, errors, the result, what its service and its
/// program say. What we do not know is named in a word.
pub(super) fn told(line: &str) -> Vec<String> {
    let Ok(frame) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let kind = word(&frame, "type");
    let inside =
        if frame.get("parent_tool_use_id").is_some_and(Value::is_string) { "    " } else { "" };
    let lines: Vec<String> = match kind {
        "system" => system(&frame).into_iter().collect(),
        "assistant" => blocks(&frame).filter_map(said).collect(),
        "user" => blocks(&frame).filter_map(tool_result).collect(),
        "result" => vec![result(&frame)],
        "rate_limit_event" => vec![window(&frame)],
        "control_request" | "control_response" | "control_cancel_request" => vec![control(&frame)],
        _ if kind.is_empty() || SILENT.contains(&kind) => Vec::new(),
        _ => vec![format!("· {}", shown(kind))],
    };
    lines.into_iter().map(|line| format!("{inside}{line}")).collect()
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Foreign words as a short line.
fn shown(words: &str) -> String {
    head(&inline_plain(words), SHOWN)
}

fn system(frame: &Value) -> Option<String> {
    let number = |key: &str| frame.get(key).and_then(Value::as_u64).unwrap_or(0);
    let subtype = word(frame, "subtype");
    Some(match subtype {
        "init" => format!("model {}", shown(word(frame, "model"))),
        "compact_boundary" => {
            let meta = frame.get("compact_metadata").unwrap_or(&Value::Null);
            match meta.get("pre_tokens").and_then(Value::as_u64) {
                Some(tokens) => format!("· the conversation was compacted at {tokens} tokens"),
                None => "· the conversation was compacted".to_owned(),
            }
        }
        "api_retry" => format!(
            "· trouble of the service ({}), new try {} of {} in {} s",
            shown(word(frame, "error")),
            number("attempt"),
            number("max_retries"),
            number("retry_delay_ms").div_ceil(1000),
        ),
        "model_fallback" => format!(
            "· model {} instead of {}",
            shown(word(frame, "fallback_model")),
            shown(word(frame, "original_model"))
        ),
        "permission_denied" => {
            format!(
                "  ! denied: {} {}",
                shown(word(frame, "tool_name")),
                shown(word(frame, "message"))
            )
        }
        _ if SILENT_SYSTEM.contains(&subtype) => return None,
        _ => format!("· system {}", shown(subtype)),
    })
}

/// How full a usage window is.
fn window(frame: &Value) -> String {
    let info = frame.get("rate_limit_info").unwrap_or(&Value::Null);
    let mut facts = vec![format!(
        "· usage window {}: {}",
        shown(word(info, "rateLimitType")),
        shown(&word(info, "status").replace('_', " "))
    )];
    if let Some(used) = info.get("utilization").and_then(Value::as_f64) {
        // A share in this frame, per cent in some of its neighbours.
        let per_cent = if used <= 1.0 { used * 100.0 } else { used };
        facts.push(format!("{per_cent:.0} % used"));
    }
    let resets = info.get("resetsAt").and_then(Value::as_i64);
    if let Some(at) = resets.and_then(|at| jiff::Timestamp::from_second(at).ok()) {
        facts.push(format!("until {at}"));
    }
    facts.join(", ")
}

/// A frame of the protocol between us and the program.
fn control(frame: &Value) -> String {
    let inside = frame.get("request").or_else(|| frame.get("response")).unwrap_or(&Value::Null);
    let mut words = vec![word(frame, "type").replace('_', " ")];
    for key in ["subtype", "tool_name", "error"] {
        words.extend(Some(shown(word(inside, key))).filter(|word| !word.is_empty()));
    }
    format!("· {}", words.join(" "))
}

fn blocks(frame: &Value) -> impl Iterator<Item = &Value> {
    frame.pointer("/message/content").and_then(Value::as_array).into_iter().flatten()
}

fn said(block: &Value) -> Option<String> {
    match word(block, "type") {
        "text" => Some(word(block, "text").trim().to_owned()).filter(|text| !text.is_empty()),
        "tool_use" => {
            let input = block.get("input").unwrap_or(&Value::Null);
            let keys = ["command", "file_path", "path", "pattern", "query"];
            let what = keys.iter().map(|key| word(input, key)).find(|what| !what.is_empty());
            let what = what.map_or_else(|| input.to_string(), str::to_owned);
            Some(format!("> {} {}", word(block, "name"), head(&inline_plain(&what), SHOWN)))
        }
        _ => None,
    }
}

fn tool_result(block: &Value) -> Option<String> {
    if word(block, "type") != "tool_result" {
        return None;
    }
    let content = match block.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().map(|part| word(part, "text")).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let mark = if failed { "! failed:" } else { "<" };
    let content = head(&inline_plain(&content), SHOWN);
    (failed || !content.is_empty()).then(|| format!("  {mark} {content}"))
}

fn result(frame: &Value) -> String {
    let mut facts = vec![word(frame, "subtype").replace('_', " ")];
    if let Some(turns) = frame.get("num_turns").and_then(Value::as_u64) {
        facts.push(format!("{turns} turns"));
    }
    if let Some(cost) = frame.get("total_cost_usd").and_then(Value::as_f64) {
        facts.push(crate::budget::Usd::from_dollars(cost).to_string());
    }
    let denials = frame.get("permission_denials").and_then(Value::as_array);
    let denied: Vec<&str> =
        denials.into_iter().flatten().map(|denial| word(denial, "tool_name")).collect();
    if !denied.is_empty() {
        facts.push(format!("denied: {}", denied.join(", ")));
    }
    format!("= {}", facts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_reads_as_words_tools_and_a_result() {
        let lines = [
            r#"{"type":"system","subtype":"init","model":"claude-x"}"#,
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I start."},{"type":"tool_use","name":"Bash","input":{"command":"cargo\ntest"}}]}}"#,
            r#"{"type":"user","message":{"content":[{"type":"tool_result","is_error":true,"content":[{"type":"text","text":"no such file"}]}]}}"#,
            r#"{"type":"stream_event","event":{}}"#,
            r#"{"type":"system","subtype":"session_state_changed","state":"running"}"#,
            "not JSON",
            r#"{"type":"result","subtype":"success","num_turns":2,"total_cost_usd":0.25,"permission_denials":[{"tool_name":"WebFetch"}]}"#,
        ];
        let told: Vec<String> = lines.iter().flat_map(|line| told(line)).collect();
        assert_eq!(
            told,
            [
                "model claude-x",
                "I start.",
                "> Bash cargo test",
                "  ! failed: no such file",
                "= success, 2 turns, $0.25, denied: WebFetch",
            ]
        );
    }

    #[test]
    fn what_service_and_program_say_is_one_short_line_each() {
        for (frame, expected) in [
            (
                r#"{"type":"rate_limit_event","rate_limit_info":{"status":"allowed_warning","resetsAt":1795239000,"rateLimitType":"five_hour","utilization":0.85}}"#,
                "· usage window five_hour: allowed warning, 85 % used, until 2026-11-21T05:30:00Z",
            ),
            (r#"{"type":"rate_limit_event"}"#, "· usage window : "),
            (
                r#"{"type":"system","subtype":"compact_boundary","compact_metadata":{"trigger":"auto","pre_tokens":155000}}"#,
                "· the conversation was compacted at 155000 tokens",
            ),
            (
                r#"{"type":"system","subtype":"api_retry","attempt":2,"max_retries":10,"retry_delay_ms":1500,"error":"overloaded"}"#,
                "· trouble of the service (overloaded), new try 2 of 10 in 2 s",
            ),
            (
                r#"{"type":"system","subtype":"model_fallback","original_model":"a","fallback_model":"b"}"#,
                "· model b instead of a",
            ),
            (r#"{"type":"system","subtype":"new\u001b[31mthing"}"#, "· system newthing"),
            (
                r#"{"type":"control_request","request_id":"1","request":{"subtype":"can_use_tool","tool_name":"Bash"}}"#,
                "· control request can_use_tool Bash",
            ),
            (
                r#"{"type":"control_response","response":{"subtype":"error","error":"no\nsuch"}}"#,
                "· control response error no such",
            ),
            (r#"{"type":"never_seen","text":"long"}"#, "· never_seen"),
        ] {
            assert_eq!(told(frame), [expected], "{frame}");
        }
        assert_eq!(told(r#"{"type":"tool_progress"}"#), [""; 0]);
        assert_eq!(
            told(&format!(r#"{{"type":"{}"}}"#, "x".repeat(5_000)))[0].chars().count(),
            SHOWN + 2
        );
    }

    #[test]
    fn a_subagents_lines_are_set_in() {
        let line = r#"{"type":"assistant","parent_tool_use_id":"x","message":{"content":[{"type":"text","text":"below"}]}}"#;
        assert_eq!(told(line), ["    below"]);
    }
}
