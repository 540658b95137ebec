//! Takes secrets out of every text that leaves: known values in their usual disguises, and whatever has
//! the shape of a token. Used for reports, logs, messages of other programs and pull requests.
//!
//! Never decides that a change holds a secret (that is the policy's rule), and never says what it found.
//! A text is redacted before it is cut: half a secret is not recognised.

use std::{borrow::Cow, fmt, sync::LazyLock};

use regex::{Captures, Regex, RegexBuilder};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// Known values shorter than this, in characters, are left alone: masking `dev` or `1234` everywhere
/// would destroy the text and thereby tell the value.
pub const SHORTEST_KNOWN: usize = 6;

/// Lines of a known value of several lines (a key, a JSON document) are masked one by one from this
/// length on, in characters; shorter ones, such as `"type": "service_account",`, are ordinary text.
const SHORTEST_LINE: usize = 32;

/// A value that must not be seen. Prints as `***`; blanks around it are removed when it is made.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the value without the blanks and the line end that files and shells put around it.
    pub fn new(value: impl AsRef<str>) -> Secret {
        Secret(value.as_ref().trim().to_owned())
    }

    /// The value itself. Goes into a request's header or a child's environment, never into a text or an
    /// argument list.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(MASK)
    }
}

/// Knows this machine's secrets and the shapes of everybody's.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Option<Regex>,
}

/// Tells nothing about the values.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Masks `known` values as they are and as base64 (at all three offsets inside a longer text, both
    /// alphabets), hexadecimal, URL-encoded, and escaped for JSON, XML or a shell. Values shorter than
    /// [`SHORTEST_KNOWN`] are not masked.
    pub fn new(known: impl IntoIterator<Item = String>) -> Redactor {
        let mut values: Vec<String> = Vec::new();
        for value in known {
            let value = value.trim();
            values.push(value.to_owned());
            if value.contains('\n') {
                let lines = value.lines().map(str::trim);
                values.extend(
                    lines.filter(|l| l.chars().count() >= SHORTEST_LINE).map(str::to_owned),
                );
            }
        }
        values.retain(|value| value.chars().count() >= SHORTEST_KNOWN);
        // The longest first: a secret that begins with another one is masked whole.
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        if values.is_empty() {
            return Redactor::default();
        }
        let spellings: Vec<String> = values.iter().flat_map(|value| spellings(value)).collect();
        let known = RegexBuilder::new(&spellings.join("|"))
            // A key file is some kilobytes; the default of 10 MB would refuse a dozen of them.
            .size_limit(usize::MAX)
            .build()
            .expect("escaped characters and fixed groups are a valid pattern");
        Redactor { known: Some(known) }
    }

    /// A value with every text in it redacted by itself. One that does not fit its type any more, because a
    /// secret is a word of its form, comes back as it was.
    pub fn redact_all<T: Serialize + DeserializeOwned>(&self, said: T) -> T {
        let Ok(mut value) = serde_json::to_value(&said) else { return said };
        self.walk(&mut value);
        serde_json::from_value(value).unwrap_or(said)
    }

    fn walk(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redact(text).into_owned(),
            Value::Array(values) => {
                for value in values {
                    self.walk(value);
                }
            }
            Value::Object(fields) => {
                for value in fields.values_mut() {
                    self.walk(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The text with every secret replaced by [`MASK`].
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = match &self.known {
            Some(known) => known.replace_all(text, MASK),
            None => Cow::Borrowed(text),
        };
        let masked = |found: &Captures<'_>| {
            // The text begins with what may be read: a scheme, a header's name.
            let keep = found.iter().skip(1).flatten().next();
            let login = found.get_match().as_str().ends_with('@');
            let keep = keep.map_or("", |keep| keep.as_str());
            format!("{keep}{MASK}{}", if login { "@" } else { "" })
        };
        match SHAPES.replace_all(&text, masked) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => Cow::Owned(redacted),
        }
    }
}

/// True when the text holds something with the shape of a token, whoever it belongs to.
pub fn has_token_shape(text: &str) -> bool {
    SHAPES.is_match(text)
}

/// The shapes of tokens. A group is printed as it was, and so is an `@` at the end.
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    let shapes = [
        // Logins inside URLs. A user alone is a secret for HTTP (`https://TOKEN@host`), not for
        // `ssh://git@host`.
        r#"((?-u:\b)(?i:https?)://)[^\s/?\#"'<>`]+@"#,
        r#"((?-u:\b)[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?\#"'<>`:@]+:[^\s/?\#"'<>`]+@"#,
        // GitHub: personal, OAuth, server, user and refresh tokens; `ghs_` may carry a JWT behind it.
        r"gh[pousr]_[A-Za-z0-9_]{16,}(?:[.-][A-Za-z0-9_-]{8,})*",
        r"github_pat_[A-Za-z0-9_]{16,}",
        r"glpat-[A-Za-z0-9_-]{16,}",
        // Anthropic, and the older vendors' `sk-`.
        r"sk-ant-[A-Za-z0-9_-]{8,}",
        r"(?-u:\b)sk-(?:proj-|svcacct-)?[A-Za-z0-9]{32,}",
        // AWS key ids, Slack, Google.
        r"(?-u:\b)(?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)",
        r"(?-u:\b)xox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"(?-u:\b)AIza[A-Za-z0-9_-]{35}",
        // A private key to its end line, or, when it was cut, as far as it looks like one.
        concat!(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
            r"(?:(?s:.*?)-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\\\s:,-]*)"
        ),
        // A JSON web token: `eyJ` is base64 for `{"`.
        r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*",
        r"(?i:(authorization:\s*(?:basic|bearer|token)\s+)[A-Za-z0-9+/=._~-]+)",
    ];
    Regex::new(&shapes.join("|")).expect("the shapes are constant, and a test compiles them")
});

/// Patterns for one value in the disguises that programs give it.
fn spellings(value: &str) -> Vec<String> {
    let mut patterns = vec![value.chars().map(escaped).collect::<String>()];
    let hex = joined(value.bytes().map(|byte| format!("{byte:02x}")));
    patterns.push(format!("(?i-u:{hex})"));
    for shift in 0..3 {
        patterns.push(base64_inside(value.as_bytes(), shift));
    }
    patterns
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().concat()
}

/// One character, as it is or as URLs, JSON, XML and shells write it.
fn escaped(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.to_string();
    }
    let mut buffer = [0; 4];
    let percent = joined(c.encode_utf8(&mut buffer).bytes().map(|b| format!("%{b:02x}")));
    let mut units = [0; 2];
    let unicode = joined(c.encode_utf16(&mut units).iter().map(|unit| format!(r"\\u{unit:04x}")));
    let named = match c {
        '&' => "|&amp;",
        '<' => "|&lt;",
        '>' => "|&gt;",
        '"' => "|&quot;",
        '\'' => "|&#39;|&apos;",
        '\n' => r"|\\n",
        '\r' => r"|\\r",
        '\t' => r"|\\t",
        ' ' => r"|\+",
        _ => "",
    };
    let raw = regex::escape(c.encode_utf8(&mut buffer));
    // The backslash itself before an escaped character: `\"` in JSON, `\$` in a shell.
    format!(r"(?:\\?{raw}|(?i:{percent}|{unicode}){named})")
}

/// The base64 of `value` where it begins `shift` bytes into a group of three. The characters at its ends
/// that also depend on its neighbours are matched as any character.
fn base64_inside(value: &[u8], shift: usize) -> String {
    let mut bytes = vec![0; shift];
    bytes.extend_from_slice(value);
    let encoded = base64(&bytes);
    // Character i holds the bits 6i to 6i + 5.
    let first = (8 * shift).div_ceil(6);
    let end = 8 * bytes.len() / 6;
    let shared = "[A-Za-z0-9+/_-]";
    let mut pattern = String::new();
    if !(8 * shift).is_multiple_of(6) {
        pattern.push_str(shared);
    }
    for c in encoded[first..end].chars() {
        match c {
            '+' => pattern.push_str("[+-]"),
            '/' => pattern.push_str("[/_]"),
            c => pattern.push(c),
        }
    }
    if !(8 * bytes.len()).is_multiple_of(6) {
        pattern.push_str(shared);
    }
    pattern
}

/// Standard base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            if at <= group.len() {
                let index = bits >> (18 - 6 * at) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "p4ss/wörd+\"x y\"&<é>";

    fn redactor() -> Redactor {
        Redactor::new([VALUE.to_owned(), "correct-horse".to_owned()])
    }

    #[test]
    fn every_text_of_a_value_is_redacted_by_itself() {
        let redactor = Redactor::new(["quo\"ted-secret".to_owned()]);
        let said = vec![("a quo\"ted-secret".to_owned(), 7), ("plain".to_owned(), 8)];
        let shown = redactor.redact_all(said);
        assert_eq!(shown, [("a ***".to_owned(), 7), ("plain".to_owned(), 8)]);
    }

    #[test]
    fn a_known_value_is_masked_in_every_disguise() {
        let json = serde_json::to_string(VALUE).unwrap();
        let ascii = r#"p4ss\/w\u00F6rd+\"x y\"&<\u00e9>"#;
        let url = "p4ss%2Fw%C3%B6rd%2B%22x+y%22%26%3C%C3%A9%3E";
        let lower = url.to_ascii_lowercase();
        let half = "p4ss/w%C3%B6rd+%22x%20y%22&%3C%C3%A9%3E";
        let xml = "p4ss/wörd+&quot;x y&quot;&amp;&lt;é&gt;";
        let hex = joined(VALUE.bytes().map(|b| format!("{b:02X}")));
        for disguise in [VALUE, &json, ascii, url, &lower, half, xml, &hex] {
            let text = format!("a {disguise} z");
            let seen = redactor().redact(&text).into_owned();
            assert!(seen == "a *** z" || seen == "a \"***\" z", "{disguise}: {seen}");
        }
    }

    #[test]
    fn a_known_value_is_masked_in_base64_wherever_it_stands() {
        for before in ["", "u", "us", "x-access-token:", "user:"] {
            for after in ["", "z", "zz", "zzz"] {
                let encoded = base64(format!("{before}correct-horse{after}").as_bytes());
                let url_safe = encoded.replace('+', "-").replace('/', "_");
                for text in [&encoded, &url_safe] {
                    let seen = redactor().redact(text).into_owned();
                    assert!(seen.contains(MASK), "{before} {after}: {seen}");
                    // Nothing of the middle survives.
                    assert!(!seen.contains(&base64(b"rect-hor")[4..8]), "{seen}");
                }
            }
        }
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"foob"), "Zm9vYg==");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }

    #[test]
    fn a_short_known_value_does_not_destroy_the_text() {
        let redactor = Redactor::new(["dev".to_owned(), String::new(), "12345".to_owned()]);
        assert_eq!(redactor.redact("the dev branch, 12345"), "the dev branch, 12345");
    }

    #[test]
    fn a_long_secret_is_masked_whole_although_a_shorter_one_begins_it() {
        let redactor = Redactor::new(["abcdef".to_owned(), "abcdef-ghijkl".to_owned()]);
        assert_eq!(redactor.redact("x abcdef-ghijkl y"), "x *** y");
    }

    #[test]
    fn each_line_of_a_key_is_masked_alone() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        let redactor = Redactor::new([format!("first\n{line}\nlast")]);
        assert_eq!(redactor.redact(&format!("log: {line} first")), "log: *** first");
    }

    #[test]
    fn shapes_of_tokens_are_masked_without_being_known() {
        let redactor = Redactor::default();
        for (text, expected) in [
            ("token ghp_0123456789abcdefghijABCDEFGHIJ012345.", "token ***."),
            ("ghs_16C7e42F292c6912E7710c838347Ae178B4a!", "***!"),
            ("x github_pat_11ABCDEFG0abcdefghijkl_mnop y", "x *** y"),
            ("ANTHROPIC_API_KEY=sk-ant-api03-AbC_dEf-0123", "ANTHROPIC_API_KEY=***"),
            ("id AKIAIOSFODNN7EXAMPLE,", "id ***,"),
            ("xoxb-123456789012-abcdefghij", "***"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_DEF-123 end", "*** end"),
            ("push to https://user:p@ss@host.example/o/r", "push to https://***@host.example/o/r"),
            ("https://secrettoken@github.com/o", "https://***@github.com/o"),
            ("postgres://app:hunter2@db:5432/x", "postgres://***@db:5432/x"),
            ("AUTHORIZATION: basic eC1hY2Nlc3M6dA==", "AUTHORIZATION: basic ***"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
                "a\n***\nb",
            ),
            (r#"{"k":"-----BEGIN PRIVATE KEY-----\nMIIEvQ"}"#, r#"{"k":"***"}"#),
        ] {
            assert_eq!(redactor.redact(text), expected);
            assert!(has_token_shape(text), "{text}");
            // Twice is as good as once.
            assert_eq!(redactor.redact(expected), expected);
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in [
            "git@github.com:o/r.git and ssh://git@github.com/o/r.git",
            "see https://github.com/o/r/pull/1#issuecomment-2 (a@b.example)",
            "task-implement-the-very-long-named-thing-in-one-go-0123456789",
            "commit 0123456789abcdef0123456789abcdef01234567",
            "the ghp_ prefix, an AKIA, sk-ant",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        ] {
            assert!(
                matches!(redactor().redact(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn a_secret_prints_as_a_mask() {
        let secret = Secret::new(" token\n");
        assert_eq!(secret.expose(), "token");
        assert_eq!(format!("{secret} {secret:?} {:?}", redactor()), "*** *** Redactor");
    }
}
