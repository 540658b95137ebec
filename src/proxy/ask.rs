//! What a request asks for, and the most that it can use.
//!
//! Reads the body once without keeping it: a request that is made to cost memory costs none. Judges
//! nothing: what does not fit is refused by the account.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use crate::budget::{Tokens, Usage};

/// Bytes of a request for one token of its prompt. Text of most kinds has three to four, and the body
/// holds JSON's own quoting beside it, which costs nothing. What a denser text takes beyond that is covered
/// by the rest of the reservation: everything counts as written to the cache, although a conversation is
/// mostly read from it at a tenth of that price or less, and the answer counts with its full length.
const BYTES_PER_TOKEN: u64 = 3;
/// The longest prompt that any model takes, in tokens (`context` of Claude Code's catalogue). For
/// documents, whose length in tokens the body does not show, and for all longer estimates.
const LONGEST_PROMPT: u64 = 1_000_000;
/// The most tokens of one image (`maxImageTokens` of the same catalogue): an image is scaled down first.
const IMAGE: u64 = 4_784;
/// The longest answer of any model (`max_output_tokens`), for a request that does not say.
const LONGEST_ANSWER: u64 = 128_000;
/// Names of models are kept, so that they have an end.
const LONGEST_NAME: usize = 256;

/// Tools that the service runs itself, before the date in their types. It then asks the model again with
/// what came of it, as often as it likes. Tools may stand in messages too, so they are looked for everywhere.
const SERVICE_TOOLS: [&str; 4] = ["advisor", "code_execution", "web_fetch", "web_search"];
/// Fields that make one request cost more than one answer of one model.
const SERVICE_FIELDS: [&str; 3] = ["container", "fallbacks", "mcp_servers"];

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// Its model.
    pub(super) model: String,
    /// The most tokens of its answer.
    pub(super) max_tokens: u64,
    /// The most tokens of its prompt.
    pub(super) prompt: u64,
    /// Whether anything is written to the cache for an hour.
    pub(super) one_hour: bool,
    /// Whether it asks for fast mode.
    pub(super) fast: bool,
    /// Whether it asks for an answer from the United States only.
    pub(super) us_only: bool,
    /// What it asks for that has no bound.
    pub(super) unbounded: Option<String>,
}

impl Ask {
    /// Reads a body. The error says what is wrong with it.
    pub(super) fn read(body: &[u8]) -> Result<Ask, String> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_slice(body);
        let walk = Walk { found: &mut found, place: Place::Top };
        let top = walk.deserialize(&mut json).map_err(|problem| problem.to_string())?;
        json.end().map_err(|problem| problem.to_string())?;
        let Node::Object { .. } = top else { return Err("it is no object".to_owned()) };
        let model = found.model.ok_or("it names no model")?;
        let text = body.len().saturating_sub(found.image_bytes) as u64;
        let prompt = found.images.saturating_mul(IMAGE) + text.div_ceil(BYTES_PER_TOKEN);
        Ok(Ask {
            model,
            max_tokens: found.max_tokens.unwrap_or(LONGEST_ANSWER),
            prompt: if found.documents { LONGEST_PROMPT } else { prompt.min(LONGEST_PROMPT) },
            one_hour: found.one_hour,
            fast: found.fast,
            us_only: found.us_only,
            unbounded: found.unbounded,
        })
    }

    /// The most that it can use: all of the prompt is written to the cache, the dearest way to read it.
    pub(super) fn most(&self) -> Usage {
        let tokens = Tokens { output: self.max_tokens, ..Tokens::default() };
        let tokens = if self.one_hour {
            Tokens { cache_write_1h: self.prompt, ..tokens }
        } else {
            Tokens { cache_write_5m: self.prompt, ..tokens }
        };
        Usage { tokens, web_searches: 0, fast: self.fast, us_only: self.us_only }
    }

    pub(super) fn most_tokens(&self) -> u64 {
        self.prompt.saturating_add(self.max_tokens)
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    model: Option<String>,
    max_tokens: Option<u64>,
    one_hour: bool,
    fast: bool,
    us_only: bool,
    unbounded: Option<String>,
    images: u64,
    /// Of their encoded data, which is not text.
    image_bytes: usize,
    documents: bool,
}

/// Where we are in the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    ContextManagement,
    Elsewhere,
}

/// Of a value, what the one around it needs to know.
enum Node {
    Nothing,
    Number(u64),
    /// Short texts as they are, and the length of all.
    Text(Option<String>, usize),
    List {
        empty: bool,
    },
    Object {
        source: Source,
    },
    Other,
}

impl Node {
    fn text(self) -> Option<String> {
        match self {
            Node::Text(text, _) => text,
            Node::Nothing
            | Node::Number(_)
            | Node::List { .. }
            | Node::Object { .. }
            | Node::Other => None,
        }
    }
}

/// Where the content of an image or a document is.
#[derive(Clone, Copy, Default)]
enum Source {
    /// In the body, as text.
    Text,
    /// In the body, as so many bytes of an encoded image.
    Image(usize),
    /// In the body in another encoding, or not in the body.
    #[default]
    Hidden,
}

/// Fields of an object that say what it is.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    media: Option<String>,
    data: usize,
    source: Option<Source>,
}

struct Walk<'f> {
    found: &'f mut Found,
    place: Place,
}

impl Walk<'_> {
    /// What stands in the request itself.
    fn top(&mut self, key: &str, node: &Node) -> Result<(), &'static str> {
        let text = match node {
            Node::Text(text, _) => text.as_deref(),
            Node::Nothing
            | Node::Number(_)
            | Node::List { .. }
            | Node::Object { .. }
            | Node::Other => None,
        };
        // Whoever reads the body after us may take the first or the last of two.
        let twice = "a field stands there twice";
        match key {
            "model" => {
                let model = text.ok_or("the model is no name")?;
                if self.found.model.replace(model.to_owned()).is_some() {
                    return Err(twice);
                }
            }
            "max_tokens" => {
                let Node::Number(most) = node else { return Err("max_tokens is no number") };
                if self.found.max_tokens.replace(*most).is_some() {
                    return Err(twice);
                }
            }
            "speed" => self.found.fast |= text.is_some_and(|speed| speed != "standard"),
            "inference_geo" => self.found.us_only |= text == Some("us"),
            _ if SERVICE_FIELDS.contains(&key) => match node {
                Node::Nothing | Node::List { empty: true } => {}
                Node::Number(_)
                | Node::Text(..)
                | Node::List { empty: false }
                | Node::Object { .. }
                | Node::Other => self.found.unbounded = Some(key.to_owned()),
            },
            _ => {}
        }
        Ok(())
    }

    /// What an object is, once all its fields are read.
    fn object(&mut self, fields: Fields) -> Node {
        let kind = fields.kind.as_deref().unwrap_or_default();
        // The service lets the model write a summary first.
        let summary = self.place == Place::ContextManagement && kind.starts_with("compact");
        if summary || is_service_tool(kind) {
            self.found.unbounded = Some(kind.to_owned());
        }
        match (kind, fields.source) {
            ("image", Some(source)) => {
                self.found.images += 1;
                if let Source::Image(bytes) = source {
                    self.found.image_bytes += bytes;
                }
            }
            ("document", Some(Source::Image(_) | Source::Hidden)) => self.found.documents = true,
            _ => {}
        }
        let image = fields.media.is_some_and(|media| media.starts_with("image/"));
        let source = match kind {
            "text" | "content" => Source::Text,
            "base64" if image => Source::Image(fields.data),
            _ => Source::Hidden,
        };
        Node::Object { source }
    }
}

/// `web_search_20250305`, and not `web_search_tool_result`.
fn is_service_tool(kind: &str) -> bool {
    let dated = |tool: &str| kind.strip_prefix(tool).is_some_and(|date| date.starts_with("_20"));
    SERVICE_TOOLS.iter().any(|tool| dated(tool))
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Node;
    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Node, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        let short = (text.len() <= LONGEST_NAME).then(|| text.to_owned());
        Ok(Node::Text(short, text.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut empty = true;
        while list.next_element_seed(Walk { found: self.found, place: self.place })?.is_some() {
            empty = false;
        }
        Ok(Node::List { empty })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            let place = match (self.place, key.as_str()) {
                (Place::Top, "context_management") | (Place::ContextManagement, "edits") => {
                    Place::ContextManagement
                }
                (Place::Top | Place::ContextManagement | Place::Elsewhere, _) => Place::Elsewhere,
            };
            let node = map.next_value_seed(Walk { found: self.found, place })?;
            if self.place == Place::Top {
                self.top(&key, &node).map_err(A::Error::custom)?;
            }
            match (key.as_str(), node) {
                ("type", node) => fields.kind = node.text(),
                ("media_type", node) => fields.media = node.text(),
                ("data", Node::Text(_, length)) => fields.data = length,
                ("source", Node::Object { source }) => fields.source = Some(source),
                ("ttl", node) => self.found.one_hour |= node.text().as_deref() == Some("1h"),
                _ => {}
            }
        }
        Ok(self.object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Ask {
        Ask::read(body.to_string().as_bytes()).unwrap()
    }

    fn request() -> Value {
        json!({
            "model": "claude-opus-5-5", "max_tokens": 32_000, "stream": true,
            "system": [{ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } }],
            "messages": [{ "role": "user", "content": "hello" }],
            "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] },
            "tools": [{ "name": "Bash", "input_schema": { "type": "object" } }],
        })
    }

    #[test]
    fn a_prompt_is_at_most_a_third_of_its_bytes() {
        let body = request();
        let bytes = body.to_string().len() as u64;
        let ask = read(&body);
        let plain = Ask {
            model: "claude-opus-5-5".to_owned(),
            max_tokens: 32_000,
            prompt: bytes.div_ceil(3),
            ..Ask::default()
        };
        assert_eq!(ask, plain);
        let tokens =
            Tokens { cache_write_5m: bytes.div_ceil(3), output: 32_000, ..Tokens::default() };
        assert_eq!(ask.most(), Usage { tokens, ..Usage::default() });
        assert_eq!(ask.most_tokens(), bytes.div_ceil(3) + 32_000);
    }

    #[test]
    fn what_makes_it_dearer_is_seen() {
        let mut body = request();
        body["system"][0]["cache_control"]["ttl"] = json!("1h");
        body["speed"] = json!("fast");
        body["inference_geo"] = json!("us");
        let ask = read(&body);
        assert!(ask.one_hour && ask.fast && ask.us_only);
        let most = ask.most();
        assert_eq!((most.tokens.cache_write_1h, most.tokens.cache_write_5m), (ask.prompt, 0));
        assert!(most.fast && most.us_only);
        body.as_object_mut().unwrap().remove("max_tokens");
        assert_eq!(read(&body).max_tokens, LONGEST_ANSWER);
    }

    #[test]
    fn images_and_documents_are_not_text() {
        let with = |content: Value| {
            let mut body = request();
            body["messages"][0]["content"] =
                json!([{ "type": "tool_result", "content": [content] }]);
            (body.to_string().len() as u64, read(&body))
        };
        let data = "A".repeat(30_000);
        let source = json!({ "type": "base64", "media_type": "image/png", "data": data });
        let (bytes, ask) = with(json!({ "type": "image", "source": source }));
        assert_eq!(ask.prompt, (bytes - 30_000).div_ceil(3) + IMAGE);
        let far = json!({ "type": "image", "source": { "type": "url", "url": "https://x" } });
        let (bytes, ask) = with(far);
        assert_eq!(ask.prompt, bytes.div_ceil(3) + IMAGE);

        for hidden in [
            json!({ "type": "base64", "media_type": "application/pdf", "data": "JVBE" }),
            json!({ "type": "url", "url": "https://x" }),
            json!({ "type": "file", "file_id": "file_1" }),
        ] {
            let (_, ask) = with(json!({ "source": hidden, "type": "document" }));
            assert_eq!(ask.prompt, LONGEST_PROMPT);
        }
        let text = json!({ "type": "text", "media_type": "text/plain", "data": data });
        let (bytes, ask) = with(json!({ "type": "document", "source": text }));
        assert_eq!(ask.prompt, bytes.div_ceil(3));
        // Data that only calls itself an image is text.
        let (bytes, ask) = with(json!({ "type": "text", "text": "x", "source": source }));
        assert_eq!(ask.prompt, bytes.div_ceil(3));
    }

    #[test]
    fn work_of_the_service_is_seen() {
        let with = |name: &str, value: Value| {
            let mut body = request();
            body[name] = value;
            read(&body).unbounded
        };
        let tool = |kind: &str| with("tools", json!([{ "type": kind, "name": "x" }]));
        for kind in ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825"] {
            assert_eq!(tool(kind).as_deref(), Some(kind));
        }
        for kind in ["custom", "bash_20250124", "tool_search_tool_regex_20251119"] {
            assert_eq!(tool(kind), None);
        }
        assert!(with("mcp_servers", json!([{ "type": "url", "url": "https://x" }])).is_some());
        assert!(with("container", json!("c")).is_some());
        assert!(with("fallbacks", json!("default")).is_some());
        let compact = json!({ "edits": [{ "type": "compact_20260112" }] });
        assert!(with("context_management", compact).is_some());
        for name in SERVICE_FIELDS {
            assert_eq!(with(name, json!([])), None);
            assert_eq!(with(name, json!(null)), None);
        }
        let said = |kind: &str| with("messages", json!([{ "content": [{ "type": kind }] }]));
        assert_eq!(said("web_search_tool_result"), None);
        assert!(said("web_search_20250305").is_some());
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        for bad in [
            "",
            "[]",
            "{}",
            "null",
            "{\"model\":\"a\"",
            "{\"model\":\"a\"}x",
            "{\"model\":1}",
            "{\"model\":\"a\",\"max_tokens\":-1}",
            "{\"model\":\"a\",\"max_tokens\":\"9\"}",
            "{\"model\":\"a\",\"max_tokens\":1,\"max_tokens\":9}",
            "{\"model\":\"a\",\"model\":\"b\"}",
        ] {
            assert!(Ask::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{{\"model\":\"a\",\"x\":{}", "[".repeat(100_000));
        assert!(Ask::read(deep.as_bytes()).is_err());
        let long = json!({ "model": "m".repeat(300) }).to_string();
        assert!(Ask::read(long.as_bytes()).is_err());
        let most = Ask::read(b"{\"model\":\"a\",\"max_tokens\":18446744073709551615}").unwrap();
        assert_eq!(most.most_tokens(), u64::MAX);
    }
}
