//! One line of Claude Code's transcript as people read it. Says what stands there and judges nothing.

use serde_json::Value;

use crate::report::text::{head, inline_plain};

/// Longest input or output of a tool that is shown, in characters.
const SHOWN: usize = 120;

/// What a line tells: words of the agent, tools that it used, errors, the result. Nothing for the rest.
pub(super) fn told(line: &str) -> Vec<String> {
    let Ok(frame) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let kind = word(&frame, "type");
    let inside =
        if frame.get("parent_tool_use_id").is_some_and(Value::is_string) { "    " } else { "" };
    let lines: Vec<String> = match kind {
        "system" if word(&frame, "subtype") == "init" => {
            vec![format!("model {}", word(&frame, "model"))]
        }
        "assistant" => blocks(&frame).filter_map(said).collect(),
        "user" => blocks(&frame).filter_map(tool_result).collect(),
        "result" => vec![result(&frame)],
        _ => Vec::new(),
    };
    lines.into_iter().map(|line| format!("{inside}{line}")).collect()
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
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
    fn a_subagents_lines_are_set_in() {
        let line = r#"{"type":"assistant","parent_tool_use_id":"x","message":{"content":[{"type":"text","text":"below"}]}}"#;
        assert_eq!(told(line), ["    below"]);
    }
}
