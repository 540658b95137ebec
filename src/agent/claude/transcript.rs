//! What Claude Code prints with `--output-format stream-json`, as facts.
//!
//! Text in, facts out; reads no file, starts nothing, and gives no verdict. Only top-level frames with our
//! own session id count: what a tool prints stands inside a string of such a frame and can look like
//! anything. Unknown frames and fields are ignored.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::frame::Frame;
use crate::{
    budget::{Usage, Usd},
    outcome::UsageWindow,
};

/// The oldest version with every flag that we pass (`--permission-prompts` came with it).
pub(super) const OLDEST: (u32, u32, u32) = (2, 1, 198);
/// From this version on, anything may have changed.
pub(super) const NEWER: (u32, u32, u32) = (3, 0, 0);

/// What the first frame of each turn must say, or the run is ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// The model that was asked for.
    pub(super) model: Option<String>,
    /// The tools that it may have; fewer are fine.
    pub(super) tools: Vec<String>,
    /// The permission mode.
    pub(super) mode: String,
    /// Where its credential comes from.
    pub(super) key_source: Option<String>,
}

/// The end of a turn, in the program's own words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ResultFrame {
    pub(super) subtype: String,
    pub(super) is_error: bool,
    pub(super) terminal_reason: Option<String>,
    pub(super) text: String,
    pub(super) turns: Option<u32>,
    /// Of the whole conversation, as far as the program knows it.
    pub(super) cost: Option<Usd>,
    /// Tokens read and written, of all that `cost` covers.
    pub(super) tokens: (u64, u64),
    /// Money and tokens of this run alone, where the program says so.
    pub(super) since: Option<(Usd, (u64, u64))>,
    pub(super) denied: Vec<String>,
    pub(super) api_error: Option<String>,
    pub(super) api_status: Option<u64>,
    pub(super) startup_failure: Option<String>,
}

/// A usage limit that refused a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The service's name for it, such as `seven_day_opus`.
    pub(super) kind: String,
    /// Seconds since 1970.
    pub(super) until: Option<i64>,
}

/// One answer of a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) model: String,
    pub(super) usage: Usage,
}

/// What became of the standing instructions in a conversation that was compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Memory {
    /// All is there.
    #[default]
    Whole,
    /// A compaction is under way; our hook has put the brief back.
    Restored,
    /// It was compacted, and the brief is not back yet.
    Missing,
    /// The model was asked without the brief.
    Lost,
}

/// The facts of one run, taken in line by line.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    /// Whose frames count; `None` for all.
    session: Option<String>,
    expected: Option<Expected>,
    /// True for a program that already had turns: what it prints before this one's first frame is theirs.
    later: bool,
    begun: bool,
    model: Option<String>,
    unfit: Option<String>,
    pub(super) result: Option<ResultFrame>,
    idle: bool,
    /// Something was done after the last result.
    at_work: bool,
    pub(super) limit: Option<Limit>,
    windows: BTreeMap<String, UsageWindow>,
    /// The kind of the last API error that was shown, such as `authentication_failed`.
    pub(super) last_error: Option<String>,
    calls: BTreeMap<String, Call>,
    /// The answer that is being written.
    current: Option<String>,
    /// A question was sent, and no answer has begun.
    asked: bool,
    last_text: Option<String>,
    briefed: bool,
    memory: Memory,
    compactions: u32,
    retries: BTreeSet<String>,
    retried: u32,
    doing: String,
    time: Option<i64>,
}

/// What a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A piece of an answer, which comes again as a whole.
    Piece,
    /// Anything else.
    Other,
}

/// Money, and tokens read and written, of a list of models. Tokens from the cache count as read.
fn used(models: &Frame<'_>) -> (Usd, (u64, u64)) {
    let mut sum = (Usd::ZERO, (0_u64, 0_u64));
    for (_, usage) in models.entries() {
        let read = ["inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"];
        for field in read {
            sum.1.0 = sum.1.0.saturating_add(usage.number(field).unwrap_or(0));
        }
        sum.1.1 = sum.1.1.saturating_add(usage.number("outputTokens").unwrap_or(0));
        sum.0 = sum.0 + Usd::from_dollars(usage.decimal("costUSD").unwrap_or(0.0));
    }
    sum
}

impl Call {
    /// Pieces of a figure come one after the other, and none of them is too high.
    fn take(&mut self, usage: &Usage) {
        let (all, new) = (&mut self.usage.tokens, usage.tokens);
        all.input = all.input.max(new.input);
        all.cache_read = all.cache_read.max(new.cache_read);
        all.cache_write_5m = all.cache_write_5m.max(new.cache_write_5m);
        all.cache_write_1h = all.cache_write_1h.max(new.cache_write_1h);
        all.output = all.output.max(new.output);
        self.usage.web_searches = self.usage.web_searches.max(usage.web_searches);
        self.usage.fast |= usage.fast;
        self.usage.us_only |= usage.us_only;
    }
}

impl Transcript {
    /// A run in the session with this id. `later`: its program has had turns before.
    pub(super) fn of(session: &str, expected: Expected, later: bool) -> Transcript {
        Transcript {
            session: Some(session.into()),
            expected: Some(expected),
            later,
            ..Transcript::default()
        }
    }

    /// Whatever session the lines are of, to count what they cost.
    pub(super) fn of_any() -> Transcript {
        Transcript::default()
    }

    /// Takes in one line. What is no frame of this session changes nothing.
    pub(super) fn line(&mut self, line: &str) -> Line {
        let Some(frame) = Frame::read(line) else { return Line::Other };
        let kind = frame.text("type").unwrap_or_default();
        let ours = self.session.as_ref().is_none_or(|session| frame.is("session_id", session));
        if ours {
            match kind.as_str() {
                "system" => self.system(&frame),
                "assistant" => self.assistant(&frame),
                "user" => self.doing = "thinking".into(),
                "stream_event" => self.stream(&frame),
                "rate_limit_event" => self.rate_limit(&frame),
                "result" if self.begun || !self.later => self.result(&frame),
                _ => {}
            }
        }
        if kind == "stream_event" { Line::Piece } else { Line::Other }
    }

    fn system(&mut self, frame: &Frame<'_>) {
        match frame.text("subtype").as_deref() {
            Some("init") => {
                self.begun = true;
                self.work();
                self.model = frame.text("model").or(self.model.take());
                let expected = self.expected.as_ref();
                let unfit = expected.and_then(|expected| unfit(frame, expected));
                self.unfit = self.unfit.take().or(unfit);
            }
            Some("session_state_changed") => {
                self.idle = frame.is("state", "idle");
                if frame.is("state", "running") {
                    self.work();
                }
            }
            Some("status") if frame.is("status", "requesting") => {
                self.asked = true;
                self.work();
                self.doing = "thinking".into();
            }
            Some("status") if frame.is("status", "compacting") => {
                self.briefed = false;
                self.work();
                self.doing = "compacting the conversation".into();
            }
            Some("hook_response") if frame.is("hook_name", "SessionStart:compact") => {
                let said = frame.text("stdout").unwrap_or_default();
                self.briefed = frame.integer("exit_code") == Some(0) && !said.trim().is_empty();
                if self.briefed && self.memory == Memory::Missing {
                    self.memory = Memory::Restored;
                }
            }
            Some("compact_boundary") => {
                self.compactions += 1;
                self.memory = if self.briefed { Memory::Restored } else { Memory::Missing };
                self.briefed = false;
            }
            Some("api_retry") => {
                self.retried += 1;
                self.retries.extend(frame.text("error"));
            }
            _ => {}
        }
    }

    fn work(&mut self) {
        self.idle = false;
        self.at_work = true;
    }

    /// An answer has begun: what was not put back by now is lost.
    fn answered(&mut self) {
        self.asked = false;
        self.work();
        self.memory = match self.memory {
            Memory::Missing | Memory::Lost => Memory::Lost,
            Memory::Whole | Memory::Restored => Memory::Whole,
        };
    }

    fn assistant(&mut self, frame: &Frame<'_>) {
        // An answer after it says that it has passed.
        self.last_error = frame.text("error");
        let time = frame.text("timestamp").and_then(|time| time.parse::<Timestamp>().ok());
        self.time = time.map(Timestamp::as_second).or(self.time);
        let Some(message) = frame.object("message") else { return };
        let model = message.text("model").unwrap_or_default();
        // Words of the program itself, such as an error, are no answer of a model.
        if model != "<synthetic>" {
            self.answered();
            if let (Some(id), Some(usage)) = (message.text("id"), message.value("usage")) {
                self.call(id, model).take(&Usage::from_json(&usage));
            }
        }
        let blocks = message.objects("content");
        // Frames of a subagent are not its last words.
        if !frame.has("parent_tool_use_id") {
            self.last_text = blocks
                .iter()
                .filter_map(|block| block.text("text"))
                .next_back()
                .or(self.last_text.take());
        }
        for block in blocks.iter().filter(|block| block.is("type", "tool_use")) {
            self.doing = tool_use(block);
        }
    }

    fn call(&mut self, id: String, model: String) -> &mut Call {
        let call = self.calls.entry(id).or_default();
        if !model.is_empty() {
            call.model = model;
        }
        call
    }

    /// The raw stream carries the final number of output tokens, which `assistant` frames do not.
    fn stream(&mut self, frame: &Frame<'_>) {
        let Some(event) = frame.object("event") else { return };
        match event.text("type").as_deref() {
            Some("message_start") => {
                self.answered();
                let Some(message) = event.object("message") else { return };
                let Some(id) = message.text("id") else { return };
                let usage = message.value("usage").unwrap_or_default();
                self.current = Some(id.clone());
                let model = message.text("model").unwrap_or_default();
                self.call(id, model).take(&Usage::from_json(&usage));
            }
            Some("message_delta") => {
                if let (Some(id), Some(usage)) = (self.current.clone(), event.value("usage")) {
                    self.call(id, String::new()).take(&Usage::from_json(&usage));
                }
            }
            Some("message_stop") => self.current = None,
            _ => {}
        }
    }

    fn rate_limit(&mut self, frame: &Frame<'_>) {
        let Some(info) = frame.object("rate_limit_info") else { return };
        let kind = info.text("rateLimitType").unwrap_or_default();
        let until = info.integer("resetsAt");
        if info.is("status", "rejected") {
            self.limit = Some(Limit { kind: kind.clone(), until });
        } else {
            self.limit = None;
        }
        self.window(&kind, &info);
        if let Some(windows) = info.object("unifiedWindows") {
            for (name, window) in windows.entries() {
                self.window(name, &window);
            }
        }
    }

    /// `utilization` is a share, and passes 1 when more was used than allowed.
    fn window(&mut self, name: &str, info: &Frame<'_>) {
        let Some(share) = info.decimal("utilization") else { return };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let percent = (share * 100.0).round().clamp(0.0, 100.0) as u8;
        let window =
            UsageWindow { name: name.into(), percent, resets_at: info.integer("resetsAt") };
        self.windows.insert(name.into(), window);
    }

    fn result(&mut self, frame: &Frame<'_>) {
        let denials = frame.objects("permission_denials");
        let denied: BTreeSet<String> =
            denials.iter().filter_map(|denial| denial.text("tool_name")).collect();
        let said = frame.text("result").unwrap_or_else(|| frame.texts("errors").join("; "));
        let (_, tokens) =
            frame.object("modelUsage").map(|models| used(&models)).unwrap_or_default();
        let since = frame.object("model_usage_since_last_result").map(|models| used(&models));
        // A turn can have several results; each tells of its own part.
        let earlier = self.result.as_ref().map(|result| result.since).unwrap_or_default();
        let since = since.map(|(usd, (input, output))| match earlier {
            None => (usd, (input, output)),
            Some((more, (read, written))) => {
                (usd + more, (input.saturating_add(read), output.saturating_add(written)))
            }
        });
        self.idle = false;
        self.at_work = false;
        (self.asked, self.current) = (false, None);
        self.result = Some(ResultFrame {
            subtype: frame.text("subtype").unwrap_or_default(),
            is_error: frame.flag("is_error").unwrap_or(true),
            terminal_reason: frame.text("terminal_reason"),
            text: said,
            turns: frame.number("num_turns").and_then(|turns| turns.try_into().ok()),
            cost: frame.decimal("total_cost_usd").map(Usd::from_dollars),
            tokens,
            since,
            denied: denied.into_iter().collect(),
            api_error: frame.text("api_error"),
            api_status: frame.number("api_error_status"),
            startup_failure: frame.text("startup_failure_reason"),
        });
    }

    /// What differs between the first frame of a turn and what we asked for.
    pub(super) fn unfit(&self) -> Option<&str> {
        self.unfit.as_deref()
    }

    /// True when the turn is over: a result, and then no work going on.
    pub(super) fn is_over(&self) -> bool {
        self.result.is_some() && self.idle
    }

    /// True when there is a result and nothing was done after it; the program may not say that it is idle.
    pub(super) fn is_done(&self) -> bool {
        self.result.is_some() && !self.at_work
    }

    /// True when the program has begun to work on what it was told.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// True when the conversation was compacted and the model went on without its instructions.
    pub(super) fn lost_its_brief(&self) -> bool {
        self.memory == Memory::Lost
    }

    /// How often the conversation was compacted.
    pub(super) fn compactions(&self) -> u32 {
        self.compactions
    }

    /// How often a call was tried again, and why.
    pub(super) fn retries(&self) -> (u32, &BTreeSet<String>) {
        (self.retried, &self.retries)
    }

    /// The answers, by their ids.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// True when a question may be on its way whose answer was not counted.
    pub(super) fn has_open_call(&self) -> bool {
        let silent = self.begun && self.calls.is_empty();
        self.result.is_none() && (self.asked || self.current.is_some() || silent)
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

    /// The usage window that is fullest.
    pub(super) fn window_used(&self) -> Option<&UsageWindow> {
        self.windows.values().max_by_key(|window| window.percent)
    }

    /// When it last said something, by its own clock: seconds since 1970.
    pub(super) fn time(&self) -> Option<i64> {
        self.time
    }

    /// What it does, in a few words; foreign text.
    pub(super) fn doing(&self) -> &str {
        &self.doing
    }
}

fn tool_use(block: &Frame<'_>) -> String {
    let name = block.text("name").unwrap_or_default();
    let input = block.object("input");
    let field = |name: &str| input.as_ref().and_then(|input| input.text(name));
    if let Some(command) = field("command") {
        return format!("{name}: {command}");
    }
    let what = ["file_path", "path", "pattern"].iter().find_map(|name| field(name));
    what.map_or(name.clone(), |what| format!("{name} {what}"))
}

/// What differs between a turn's first frame and what we asked for. Its agents, skills and commands are not
/// looked at: without the tools that start them they are names, and each version brings others of its own.
/// A plugin can bring hooks.
fn unfit(init: &Frame<'_>, expected: &Expected) -> Option<String> {
    let version = init.text("claude_code_version").unwrap_or_default();
    if parse_version(&version).is_none_or(|version| !(OLDEST..NEWER).contains(&version)) {
        return Some(format!("version `{version}` is not one that we know"));
    }
    let mode = init.text("permissionMode").unwrap_or_default();
    if mode != expected.mode {
        return Some(format!("permission mode is `{mode}`, not `{}`", expected.mode));
    }
    let model = init.text("model").unwrap_or_default();
    if let Some(wanted) = &expected.model
        && !same_model(wanted, &model)
    {
        return Some(format!("model is `{model}`, not `{wanted}`"));
    }
    let tools = init.texts("tools");
    if let Some(tool) = tools.iter().find(|tool| !expected.tools.contains(tool)) {
        return Some(format!("it has the tool `{tool}`, which was not asked for"));
    }
    if init.length("mcp_servers") > 0 {
        return Some("it has MCP servers, which were not asked for".into());
    }
    let own = |plugin: &Frame<'_>| {
        let source = plugin.text("source").unwrap_or_default();
        plugin.is("path", "builtin") || source.ends_with("@builtin")
    };
    let foreign = init.objects("plugins").into_iter().find(|plugin| !own(plugin));
    if let Some(plugin) = foreign {
        let name = plugin.text("name").unwrap_or_default();
        return Some(format!("it has the plugin `{name}`, which was not asked for"));
    }
    match (init.text("apiKeySource"), &expected.key_source) {
        (Some(found), Some(wanted)) if found != *wanted => {
            Some(format!("its credential comes from `{found}`, not `{wanted}`"))
        }
        (Some(_) | None, _) => None,
    }
}

/// `2.1.329 (Claude Code)` and `2.1.329` alike.
pub(super) fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let number = text.split_whitespace().next()?;
    let mut parts = number.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// A version as people write it.
pub(super) fn show((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

/// An alias such as `sonnet` stands for every full name that contains it.
fn same_model(wanted: &str, found: &str) -> bool {
    let bare = wanted.split('[').next().unwrap_or(wanted);
    found.starts_with(bare) || (!bare.contains('-') && found.contains(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11";

    const INIT: &str = r#"{"type":"system","subtype":"init","cwd":"/w","session_id":"$S","tools":["Bash","Edit","Read","Write","Grep","Glob"],"mcp_servers":[],"model":"claude-sonnet-4-5-20250929","permissionMode":"acceptEdits","slash_commands":[],"apiKeySource":"ANTHROPIC_API_KEY","claude_code_version":"2.1.329","agents":[],"skills":[],"plugins":[],"output_style":"default","uuid":"1"}"#;

    const IDLE: &str =
        r#"{"type":"system","subtype":"session_state_changed","state":"idle","session_id":"$S"}"#;
    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"terminal_reason":"completed","result":"Done.","session_id":"$S"}"#;
    const START: &str = r#"{"type":"stream_event","event":{"type":"message_start","message":{"id":"m1","model":"claude-sonnet-4-5","usage":{"input_tokens":100}}},"session_id":"$S"}"#;

    fn expected() -> Expected {
        let tools = ["Bash", "Edit", "Read", "Write", "Grep", "Glob"];
        Expected {
            model: Some("claude-sonnet-4-5-20250929".into()),
            tools: tools.map(str::to_owned).to_vec(),
            mode: "acceptEdits".into(),
            key_source: Some("ANTHROPIC_API_KEY".into()),
        }
    }

    fn read_into(mut transcript: Transcript, lines: &[&str]) -> Transcript {
        for line in lines {
            transcript.line(&line.replace("$S", SESSION));
        }
        transcript
    }

    fn read(lines: &[&str]) -> Transcript {
        read_into(Transcript::of(SESSION, expected(), false), lines)
    }

    #[test]
    fn the_turn_is_over_when_a_result_is_followed_by_idle() {
        assert!(!read(&[INIT, IDLE]).is_over());
        assert!(!read(&[INIT, RESULT]).is_over() && read(&[INIT, RESULT]).is_done());
        assert!(read(&[INIT, RESULT, IDLE]).is_over());
        // Another turn that it began by itself.
        assert!(!read(&[INIT, RESULT, IDLE, INIT]).is_over());
        assert!(!read(&[INIT, RESULT, START]).is_done());
        assert!(read(&[INIT, RESULT, IDLE, INIT, RESULT, IDLE]).is_over());
    }

    #[test]
    fn what_an_earlier_turn_left_behind_does_not_end_this_one() {
        let later = || Transcript::of(SESSION, expected(), true);
        let transcript = read_into(later(), &[RESULT, IDLE]);
        assert!(transcript.result.is_none() && !transcript.is_over() && !transcript.has_begun());
        assert!(read_into(later(), &[RESULT, IDLE, INIT, RESULT, IDLE]).is_over());
    }

    #[test]
    fn a_session_that_is_not_what_we_asked_for_is_unfit() {
        assert_eq!(read(&[INIT]).unfit(), None);
        assert_eq!(read(&[]).unfit(), None);
        let alias = Expected { model: Some("sonnet".into()), ..expected() };
        assert_eq!(read_into(Transcript::of(SESSION, alias, false), &[INIT]).unfit(), None);
        for (from, to, said) in [
            ("2.1.329", "2.1.197", "version"),
            ("2.1.329", "3.0.0", "version"),
            ("2.1.329", "later", "version"),
            ("acceptEdits", "bypassPermissions", "permission mode"),
            ("claude-sonnet-4-5-20250929", "claude-opus-4-1", "model"),
            ("\"Glob\"", "\"Glob\",\"WebFetch\"", "WebFetch"),
            (
                "\"mcp_servers\":[]",
                "\"mcp_servers\":[{\"name\":\"x\",\"status\":\"connected\"}]",
                "MCP",
            ),
            (
                "\"plugins\":[]",
                "\"plugins\":[{\"name\":\"a\",\"path\":\"builtin\"},{\"name\":\"evil\",\"path\":\"/x\"}]",
                "evil",
            ),
            ("ANTHROPIC_API_KEY", "apiKeyHelper", "apiKeyHelper"),
        ] {
            let odd = INIT.replace(from, to);
            assert_ne!(odd, INIT);
            let transcript = read(&[INIT, RESULT, IDLE, &odd, INIT]);
            assert!(transcript.unfit().unwrap().contains(said), "{:?}", transcript.unfit());
        }
    }

    #[test]
    fn a_compaction_without_our_hook_loses_the_brief_with_the_next_answer() {
        let hook = |code: i32, said: &str| {
            format!(
                r#"{{"type":"system","subtype":"hook_response","hook_name":"SessionStart:compact","hook_event":"SessionStart","stdout":"{said}","exit_code":{code},"session_id":"{SESSION}"}}"#
            )
        };
        let begins =
            r#"{"type":"system","subtype":"status","status":"compacting","session_id":"$S"}"#;
        let boundary = r#"{"type":"system","subtype":"compact_boundary","compact_metadata":{"trigger":"auto"},"session_id":"$S"}"#;
        let (good, bad, mute) = (hook(0, "The task."), hook(1, ""), hook(0, ""));
        let lost = |lines: &[&str]| read(&[&[INIT], lines].concat()).lost_its_brief();
        assert!(!lost(&[begins, &good, boundary, START]));
        assert!(!lost(&[begins, boundary, &good, START]));
        assert!(!lost(&[begins, boundary, RESULT]));
        assert!(lost(&[begins, boundary, START]));
        assert!(lost(&[begins, &bad, boundary, START]));
        assert!(lost(&[begins, &mute, boundary, START]));
        // What put it back the first time does not count the second time.
        let twice = [begins, &good, boundary, START, begins, boundary, START];
        assert!(lost(&twice));
        assert_eq!(read(&twice).compactions(), 2);
    }

    #[test]
    fn the_fullest_window_is_told() {
        let event = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"allowed_warning","resetsAt":1763716500,"rateLimitType":"five_hour","utilization":0.5,"unifiedWindows":{"five_hour":{"utilization":0.5,"resetsAt":1763716500,"status":"allowed"},"seven_day":{"utilization":0.834,"resetsAt":1763900000,"status":"allowed_warning"}}},"session_id":"$S"}"#;
        let transcript = read(&[INIT, event]);
        let window = transcript.window_used().unwrap();
        assert_eq!((window.name.as_str(), window.percent), ("seven_day", 83));
        assert_eq!((window.resets_at, transcript.limit.as_ref()), (Some(1_763_900_000), None));
    }

    #[test]
    fn what_it_does_is_told_in_a_few_words() {
        let uses = |tool: &str| {
            format!(
                r#"{{"type":"assistant","message":{{"id":"m","model":"x","content":[{{"type":"tool_use","id":"t",{tool}}}]}},"session_id":"{SESSION}"}}"#
            )
        };
        let doing = |tool: &str| read(&[INIT, &uses(tool)]).doing().to_owned();
        let edit = r#""name":"Edit","input":{"file_path":"/w/a.rs","old_string":"x"}"#;
        assert_eq!(doing(edit), "Edit /w/a.rs");
        assert_eq!(doing(r#""name":"Bash","input":{"command":"cargo test"}"#), "Bash: cargo test");
        assert_eq!(doing(r#""name":"Grep","input":{"pattern":"fn x"}"#), "Grep fn x");
        assert_eq!(doing(r#""name":"Odd","input":7"#), "Odd");
        let answer = r#"{"type":"user","message":{},"session_id":"$S"}"#;
        assert_eq!(read(&[INIT, &uses(edit), answer]).doing(), "thinking");
    }
}
