//! What Claude Code prints with `--output-format stream-json`, and what it means.
//!
//! Text in, facts out; reads no file and starts nothing. Only top-level frames with our own session id
//! count: what a tool prints stands inside a string of such a frame and can look like anything. Unknown
//! frames and fields are ignored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::budget::{Spend, Usd};

/// The oldest version with every flag that we pass (`--permission-prompts` came with it).
pub(super) const OLDEST: (u32, u32, u32) = (2, 1, 198);

/// What the first frame must say, or the run is ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// The model that was asked for.
    pub(super) model: Option<String>,
    /// The tools that it may have; fewer are fine.
    pub(super) tools: Vec<String>,
    /// The permission mode.
    pub(super) mode: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ResultFrame {
    pub(super) subtype: String,
    pub(super) is_error: bool,
    pub(super) terminal_reason: Option<String>,
    pub(super) text: String,
    pub(super) turns: Option<u32>,
    pub(super) cost: f64,
    pub(super) denied: Vec<String>,
    pub(super) api_error: Option<String>,
    pub(super) api_status: Option<u64>,
    pub(super) startup_failure: Option<String>,
}

/// The facts of one session, taken in line by line.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    session: String,
    init: Option<Value>,
    model: Option<String>,
    pub(super) result: Option<ResultFrame>,
    idle: bool,
    pub(super) limit_until: Option<i64>,
    limit_rejected: bool,
    /// The kind of the last API error that was shown, such as `authentication_failed`.
    pub(super) last_error: Option<String>,
    /// Input and output tokens of each answer.
    answers: BTreeMap<String, (u64, u64)>,
    current: Option<String>,
    totals: Option<(u64, u64)>,
    last_text: Option<String>,
}

fn text<'a>(frame: &'a Value, field: &str) -> Option<&'a str> {
    frame.get(field).and_then(Value::as_str)
}

fn number(frame: &Value, field: &str) -> u64 {
    frame.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// Input tokens, cached ones included.
fn input_tokens(usage: &Value) -> u64 {
    ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
        .iter()
        .map(|field| number(usage, field))
        .fold(0, u64::saturating_add)
}

impl Transcript {
    /// The transcript of the session with this id.
    pub(super) fn of(session: &str) -> Transcript {
        Transcript { session: session.into(), ..Transcript::default() }
    }

    /// Takes in one line. What is no frame of this session changes nothing.
    pub(super) fn line(&mut self, line: &str) {
        let Ok(frame) = serde_json::from_str::<Value>(line) else { return };
        if text(&frame, "session_id") != Some(self.session.as_str()) {
            return;
        }
        match text(&frame, "type") {
            Some("system") => self.system(frame),
            Some("assistant") => self.assistant(&frame),
            Some("stream_event") => self.stream(&frame),
            Some("rate_limit_event") => self.rate_limit(&frame),
            Some("result") => self.result(&frame),
            _ => {}
        }
    }

    fn system(&mut self, frame: Value) {
        match text(&frame, "subtype") {
            Some("init") => {
                self.model = text(&frame, "model").map(str::to_owned).or(self.model.take());
                self.init = Some(frame);
                self.idle = false;
            }
            Some("session_state_changed") => self.idle = text(&frame, "state") == Some("idle"),
            _ => {}
        }
    }

    fn assistant(&mut self, frame: &Value) {
        if let Some(error) = text(frame, "error") {
            self.last_error = Some(error.to_owned());
        }
        let Some(message) = frame.get("message") else { return };
        // Frames of a subagent are not its last words.
        if frame.get("parent_tool_use_id").is_none_or(Value::is_null) {
            let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
            for block in blocks.filter_map(|block| text(block, "text")) {
                self.last_text = Some(block.to_owned());
            }
        }
        if let (Some(id), Some(usage)) = (text(message, "id"), message.get("usage")) {
            let answer = self.answers.entry(id.to_owned()).or_default();
            answer.0 = answer.0.max(input_tokens(usage));
            answer.1 = answer.1.max(number(usage, "output_tokens"));
        }
    }

    /// The raw stream carries the final number of output tokens, which `assistant` frames do not.
    fn stream(&mut self, frame: &Value) {
        let Some(event) = frame.get("event") else { return };
        match text(event, "type") {
            Some("message_start") => {
                let id = event.pointer("/message/id").and_then(Value::as_str);
                self.current = id.map(str::to_owned);
                if let (Some(id), Some(usage)) = (id, event.pointer("/message/usage")) {
                    let answer = self.answers.entry(id.to_owned()).or_default();
                    answer.0 = answer.0.max(input_tokens(usage));
                }
            }
            Some("message_delta") => {
                if let (Some(id), Some(usage)) = (&self.current, event.get("usage")) {
                    let answer = self.answers.entry(id.clone()).or_default();
                    answer.1 = answer.1.max(number(usage, "output_tokens"));
                }
            }
            _ => {}
        }
    }

    fn rate_limit(&mut self, frame: &Value) {
        let Some(info) = frame.get("rate_limit_info") else { return };
        self.limit_rejected = text(info, "status") == Some("rejected");
        self.limit_until = info.get("resetsAt").and_then(Value::as_i64).or(self.limit_until);
    }

    fn result(&mut self, frame: &Value) {
        let denials = frame.get("permission_denials").and_then(Value::as_array);
        let denied: BTreeSet<String> = denials
            .into_iter()
            .flatten()
            .filter_map(|denial| text(denial, "tool_name").map(str::to_owned))
            .collect();
        let errors = frame.get("errors").and_then(Value::as_array).into_iter().flatten();
        let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
        let said = text(frame, "result").map_or_else(|| errors.join("; "), str::to_owned);
        let models = frame.get("modelUsage").and_then(Value::as_object).into_iter().flatten();
        let totals = models.fold((0_u64, 0_u64), |(input, output), (_, usage)| {
            let read = ["inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"]
                .iter()
                .map(|field| number(usage, field))
                .fold(input, u64::saturating_add);
            (read, output.saturating_add(number(usage, "outputTokens")))
        });
        self.totals = (totals != (0, 0)).then_some(totals);
        self.idle = false;
        self.result = Some(ResultFrame {
            subtype: text(frame, "subtype").unwrap_or_default().to_owned(),
            is_error: frame.get("is_error").and_then(Value::as_bool).unwrap_or(true),
            terminal_reason: text(frame, "terminal_reason").map(str::to_owned),
            text: said,
            turns: frame.get("num_turns").and_then(Value::as_u64).and_then(|n| n.try_into().ok()),
            cost: frame.get("total_cost_usd").and_then(Value::as_f64).unwrap_or(0.0),
            denied: denied.into_iter().collect(),
            api_error: text(frame, "api_error").map(str::to_owned),
            api_status: frame.get("api_error_status").and_then(Value::as_u64),
            startup_failure: text(frame, "startup_failure_reason").map(str::to_owned),
        });
    }

    /// What differs between the session's own first frame and what we asked for.
    pub(super) fn unfit(&self, expected: &Expected) -> Option<String> {
        let init = self.init.as_ref()?;
        let version = text(init, "claude_code_version").unwrap_or_default();
        if parse_version(version).is_none_or(|version| version < OLDEST) {
            return Some(format!("version `{version}` is too old or unknown"));
        }
        let mode = text(init, "permissionMode").unwrap_or_default();
        if mode != expected.mode {
            return Some(format!("permission mode is `{mode}`, not `{}`", expected.mode));
        }
        let model = text(init, "model").unwrap_or_default();
        if let Some(wanted) = &expected.model
            && !same_model(wanted, model)
        {
            return Some(format!("model is `{model}`, not `{wanted}`"));
        }
        let tools = init.get("tools").and_then(Value::as_array).into_iter().flatten();
        let mut tools = tools.filter_map(Value::as_str);
        if let Some(tool) = tools.find(|tool| !expected.tools.iter().any(|known| known == tool)) {
            return Some(format!("it has the tool `{tool}`, which was not asked for"));
        }
        let servers = init.get("mcp_servers").and_then(Value::as_array);
        if servers.is_some_and(|servers| !servers.is_empty()) {
            return Some("it has MCP servers, which were not asked for".into());
        }
        None
    }

    /// True when the turn is over: a result, and then no work going on.
    pub(super) fn is_over(&self) -> bool {
        self.result.is_some() && self.idle
    }

    /// What it cost. Without a result the program knows no figure: then `reserved` is charged, if any
    /// question was sent at all.
    pub(super) fn spent(&self, reserved: Usd) -> Spend {
        let sum = self.answers.values().fold((0_u64, 0_u64), |sum, answer| {
            (sum.0.saturating_add(answer.0), sum.1.saturating_add(answer.1))
        });
        let (input_tokens, output_tokens) = self.totals.unwrap_or(sum);
        let (usd, cut) = match &self.result {
            Some(result) => (Usd::from_dollars(result.cost), Usd::ZERO),
            None if self.init.is_some() => (reserved, reserved),
            None => (Usd::ZERO, Usd::ZERO),
        };
        Spend { usd, input_tokens, output_tokens, cut }
    }

    /// The last words: the result's text, or of a run that broke off the last text that was shown (its
    /// result then holds diagnostics only).
    pub(super) fn last_text(&self) -> Option<&str> {
        let result = self.result.as_ref().filter(|result| !result.text.is_empty());
        let finished = result.filter(|result| !result.is_error).map(|result| result.text.as_str());
        let shown = self.last_text.as_deref();
        finished.or(shown).or(result.map(|result| result.text.as_str()))
    }

    /// The model that answered.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Turns, as the result counts them.
    pub(super) fn turns(&self) -> Option<u32> {
        self.result.as_ref().and_then(|result| result.turns)
    }
}

/// `2.1.329 (Claude Code)` and `2.1.329` alike.
pub(super) fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let number = text.split_whitespace().next()?;
    let mut parts = number.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// An alias such as `sonnet` stands for every full name that contains it.
fn same_model(wanted: &str, found: &str) -> bool {
    let bare = wanted.split('[').next().unwrap_or(wanted);
    found.starts_with(bare) || (!bare.contains('-') && found.contains(bare))
}
