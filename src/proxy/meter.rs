//! Reads from an answer, while it passes, what it used.
//!
//! Changes nothing of the answer and keeps no text of it. Whatever the service sends, the memory is bounded:
//! what is longer than an honest answer is not read, and then the call counts as cut off.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::account::Used;
use crate::budget::Usage;

/// The longest line and the longest event that are read, in bytes. Those that count have some hundred.
const LONGEST_EVENT: usize = 1024 * 1024;
/// The longest answer in one piece that is read: 32 MiB, a hundred times the longest of any model.
const LONGEST_WHOLE: usize = 32 * 1024 * 1024;

/// Reads one answer.
#[derive(Debug)]
pub(super) enum Meter {
    /// Events as they come.
    Stream(Box<Stream>),
    /// One JSON text.
    Whole {
        /// What came; `None` when it was too long.
        text: Option<Vec<u8>>,
        /// What it says.
        used: Option<Used>,
    },
}

impl Meter {
    /// For an answer of this content type.
    pub(super) fn new(content_type: &str) -> Meter {
        if content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream") {
            Meter::Stream(Box::default())
        } else {
            Meter::Whole { text: Some(Vec::new()), used: None }
        }
    }

    /// Takes in a piece of the answer.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        match self {
            Meter::Stream(stream) => stream.feed(piece),
            Meter::Whole { text, .. } => {
                let fits = |text: &Vec<u8>| text.len() + piece.len() <= LONGEST_WHOLE;
                *text = text.take().filter(fits);
                if let Some(text) = text {
                    text.extend_from_slice(piece);
                }
            }
        }
    }

    /// The answer ended as it should.
    pub(super) fn end(&mut self) {
        match self {
            Meter::Stream(_) => {}
            Meter::Whole { text, used } => *used = text.take().and_then(|text| whole(&text)),
        }
    }

    /// What was used, as soon as the service has said it.
    pub(super) fn used(&self) -> Option<Used> {
        match self {
            Meter::Stream(stream) => stream.used(),
            Meter::Whole { used, .. } => used.clone(),
        }
    }

    /// True when nothing that counts can follow.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Meter::Stream(stream) => stream.stopped,
            Meter::Whole { .. } => false,
        }
    }

    /// True when the answer is an error and was one from its beginning: no model was at work.
    pub(super) fn is_error(&self) -> bool {
        match self {
            Meter::Stream(stream) => stream.failed && !stream.started,
            Meter::Whole { .. } => false,
        }
    }

    /// True when the answer is read only once all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Meter::Stream(_) => false,
            Meter::Whole { .. } => true,
        }
    }
}

/// Of a message in one piece what we use.
#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    usage: Value,
}

fn whole(text: &[u8]) -> Option<Used> {
    let message: Message = serde_json::from_slice(text).ok()?;
    read(&message.usage, message.model)
}

/// What a `usage` says, if it says enough.
fn read(usage: &Value, model: Option<String>) -> Option<Used> {
    let says = |name: &str| usage.get(name).is_some_and(Value::is_u64);
    (says("input_tokens") && says("output_tokens"))
        .then(|| Used { usage: Usage::from_json(usage), model })
}

/// Server-sent events, cut anywhere, with any of the three line ends.
#[derive(Debug, Default)]
pub(super) struct Stream {
    line: Vec<u8>,
    /// The line, or an earlier one of this event, is too long to be read.
    too_long: bool,
    /// The last byte was a carriage return; a line feed behind it belongs to it.
    after_return: bool,
    event: Vec<u8>,
    data: Vec<u8>,
    model: Option<String>,
    usage: Map<String, Value>,
    /// The service said what the prompt was.
    started: bool,
    /// The service said why the answer ended, and with that the last figures.
    complete: bool,
    stopped: bool,
    /// The service broke off.
    failed: bool,
}

impl Stream {
    fn used(&self) -> Option<Used> {
        let known = self.started && self.complete && !self.failed;
        known.then(|| read(&Value::Object(self.usage.clone()), self.model.clone()))?
    }

    fn feed(&mut self, mut piece: &[u8]) {
        if self.after_return && !piece.is_empty() {
            self.after_return = false;
            piece = piece.strip_prefix(b"\n").unwrap_or(piece);
        }
        while let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&piece[..end]);
            self.end_line();
            let rest = &piece[end + 1..];
            let with_feed = piece[end] == b'\r';
            self.after_return = with_feed && rest.is_empty();
            piece = if with_feed { rest.strip_prefix(b"\n").unwrap_or(rest) } else { rest };
        }
        self.extend(piece);
    }

    fn extend(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > LONGEST_EVENT {
            self.too_long = true;
            self.line.clear();
        }
        if !self.too_long {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() && !self.too_long {
            self.end_event();
        } else if line.is_empty() {
            // The end of a line that was not kept; the next empty one ends the event.
            self.too_long = false;
            self.event = b"(too long)".to_vec();
        } else {
            self.field(&line);
        }
        // Its memory serves the next line.
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &[u8]) {
        let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(end + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..end] {
            b"event" if value.len() <= 64 => self.event = value.to_vec(),
            b"data" if self.counts() && self.data.len() + value.len() < LONGEST_EVENT => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            _ => {}
        }
    }

    /// Whether the event at hand is one of those that we read. Some gateways leave its name out.
    fn counts(&self) -> bool {
        matches!(
            self.event.as_slice(),
            b"" | b"message_start" | b"message_delta" | b"message_stop" | b"error"
        )
    }

    fn end_event(&mut self) {
        if self.counts() && !self.data.is_empty() {
            let data = serde_json::from_slice(&self.data).unwrap_or(Value::Null);
            let named = data.get("type").and_then(Value::as_str).map(str::to_owned);
            let name = named.unwrap_or_else(|| String::from_utf8_lossy(&self.event).into_owned());
            self.take_in(&name, data);
        }
        self.event.clear();
        self.data.clear();
    }

    fn take_in(&mut self, name: &str, mut data: Value) {
        match name {
            "message_start" => {
                let message = &mut data["message"];
                self.started = true;
                self.model = message["model"].as_str().map(str::to_owned);
                merge(&mut self.usage, message["usage"].take());
            }
            "message_delta" => {
                merge(&mut self.usage, data["usage"].take());
                self.complete |= data["delta"]["stop_reason"].is_string();
            }
            "message_stop" => self.stopped = true,
            "error" => self.failed = true,
            _ => {}
        }
    }
}

/// Takes over newer figures. They count from the answer's start, so the later ones hold; but a nothing says
/// nothing, since some services repeat the prompt's figures as 0.
fn merge(into: &mut Map<String, Value>, from: Value) {
    let Value::Object(from) = from else { return };
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), new @ Value::Object(_)) => merge(old, new),
            (Some(_), Value::Null) => {}
            (Some(old), new) if new == 0 && old.is_u64() => {}
            (_, new) => {
                into.insert(name, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Tokens;

    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":7,\"cache_creation_input_tokens\":5,\"cache_creation\":{\"ephemeral_5m_input_tokens\":2,\"ephemeral_1h_input_tokens\":3},\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\n";
    const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"data: {\\\"type\\\":\\\"message_stop\\\"}\"}}\n\n: a comment\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
    const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\ndata: \"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":0,\"cache_read_input_tokens\":null,\"cache_creation\":{\"ephemeral_1h_input_tokens\":0},\"output_tokens\":42}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn stream(pieces: &[&[u8]]) -> Meter {
        let mut meter = Meter::new("text/event-stream; charset=utf-8");
        for piece in pieces {
            meter.feed(piece);
        }
        meter
    }

    fn expected() -> Option<Used> {
        let tokens =
            Tokens { input: 10, cache_read: 7, cache_write_5m: 2, cache_write_1h: 3, output: 42 };
        Some(Used {
            usage: Usage { tokens, ..Usage::default() },
            model: Some("claude-x".to_owned()),
        })
    }

    fn all() -> String {
        [START, TEXT, DELTA, STOP].concat()
    }

    #[test]
    fn a_stream_says_what_it_used_before_it_stops() {
        let mut meter = stream(&[START.as_bytes(), TEXT.as_bytes()]);
        assert_eq!((meter.used(), meter.is_over()), (None, false));
        meter.feed(DELTA.as_bytes());
        assert_eq!((meter.used(), meter.is_over()), (expected(), false));
        meter.feed(STOP.as_bytes());
        assert_eq!((meter.used(), meter.is_over()), (expected(), true));
    }

    #[test]
    fn line_ends_and_missing_names_make_no_difference() {
        let all_lines = all();
        let nameless: Vec<&str> =
            all_lines.lines().filter(|line| !line.starts_with("event")).collect();
        let nameless = nameless.join(
            "
",
        ) + "

";
        for text in [all().replace('\n', "\r\n"), all().replace('\n', "\r"), nameless] {
            assert_eq!(stream(&[text.as_bytes()]).used(), expected(), "{text}");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(stream(&bytes).used(), expected(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in prop::collection::vec(0_usize..900, 0..20), ends in 0..3) {
            let text = all().replace('\n', ["\n", "\r\n", "\r"][usize::try_from(ends).unwrap()]);
            let mut meter = stream(&[]);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            let mut at = 0;
            for cut in cuts {
                meter.feed(&text.as_bytes()[at..cut]);
                at = cut;
            }
            meter.feed(&text.as_bytes()[at..]);
            prop_assert_eq!((meter.used(), meter.is_over()), (expected(), true));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for kind in ["text/event-stream", "application/json", ""] {
                let mut meter = Meter::new(kind);
                meter.feed(&bytes);
                meter.end();
                prop_assert_eq!(meter.used(), None);
            }
        }
    }

    #[test]
    fn an_error_after_the_start_leaves_it_unknown() {
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        for order in [[START, error, DELTA], [START, DELTA, error]] {
            let meter = stream(&[order.concat().as_bytes()]);
            assert_eq!((meter.used(), meter.is_error()), (None, false));
        }
        assert!(stream(&[TEXT.as_bytes(), error.as_bytes()]).is_error());
        // Without the reason of its end, the figures are not the last.
        let early = DELTA.replace("\"end_turn\"", "null");
        assert_eq!(stream(&[START.as_bytes(), early.as_bytes(), STOP.as_bytes()]).used(), None);
        assert_eq!(stream(&[DELTA.as_bytes(), STOP.as_bytes()]).used(), None);
    }

    #[test]
    fn long_lines_cost_no_memory_and_hide_nothing() {
        let mut meter = stream(&[START.as_bytes(), b"event: message_delta\ndata: "]);
        for _ in 0..64 {
            meter.feed(&vec![b'x'; 256 * 1024]);
        }
        meter.feed(b"\n\n");
        let Meter::Stream(stream) = &meter else { panic!() };
        assert!(stream.line.capacity() + stream.data.capacity() <= 3 * LONGEST_EVENT);
        meter.feed(DELTA.as_bytes());
        assert_eq!(meter.used(), expected());

        let mut many = Meter::new("text/event-stream");
        for _ in 0..10_000 {
            many.feed(
                b"data: 0123456789012345678901234567890123456789012345678901234567890123456789\n",
            );
            many.feed(&[b"data: ".as_slice(), &[b'1'; 1_000], b"\n"].concat());
        }
        let Meter::Stream(stream) = &many else { panic!() };
        assert!(stream.data.capacity() <= 3 * LONGEST_EVENT);
    }

    #[test]
    fn a_whole_answer_is_read_at_its_end() {
        let text = r#"{"type":"message","model":"claude-x","content":[{"type":"text","text":"hi"}],
            "usage":{"input_tokens":10,"cache_read_input_tokens":7,"cache_creation_input_tokens":5,
            "cache_creation":{"ephemeral_1h_input_tokens":3},"output_tokens":42}}"#;
        let mut meter = Meter::new("application/json");
        for piece in text.as_bytes().chunks(7) {
            meter.feed(piece);
            assert_eq!(meter.used(), None);
        }
        meter.end();
        assert_eq!(meter.used(), expected());
        for bad in
            ["", "{", "null", "<html>", r#"{"type":"error"}"#, r#"{"usage":{"input_tokens":1}}"#]
        {
            let mut meter = Meter::new("application/json");
            meter.feed(bad.as_bytes());
            meter.end();
            assert_eq!(meter.used(), None, "{bad}");
        }
        let mut long = Meter::new("");
        for _ in 0..40 {
            long.feed(&vec![b' '; 1024 * 1024]);
        }
        let Meter::Whole { text, .. } = &long else { panic!() };
        assert!(text.is_none());
    }
}
