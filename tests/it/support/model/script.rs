//! What the model of a test says and what goes wrong with it: lanes, turns, usage, faults, limits. Data only.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{iter::Sum, ops::Add, time::Duration};

use nightshift::budget::Usd;
use serde_json::Value;

/// For a fault that never heals.
pub(crate) const FOREVER: u32 = u32::MAX;

/// One script. Each session that is led into it has its own place in it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// Stands in the first user message of its sessions; empty for all.
    pub(super) part: String,
    pub(super) turns: Vec<Turn>,
}

/// The script for sessions whose first user message contains this.
pub(crate) fn lane(part: &str, turns: Vec<Turn>) -> Lane {
    Lane { part: part.to_owned(), turns }
}

/// The script for all sessions that no lane before it takes.
pub(crate) fn any(turns: Vec<Turn>) -> Lane {
    lane("", turns)
}

/// One answer. In its texts and tool inputs `{cwd}` is the session's working directory, `{session}` its
/// id and `{model}` the model that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(super) text: String,
    pub(super) tools: Vec<(String, Value)>,
    pub(super) usage: Usage,
    pub(super) stop: Option<String>,
    pub(super) delay: Duration,
    pub(super) faults: Vec<(Fault, u32)>,
}

impl Turn {
    /// Says something; the last word of a user turn unless a tool is added.
    pub(crate) fn text(text: &str) -> Turn {
        Turn { text: text.to_owned(), ..Turn::default() }
    }

    /// Calls a tool.
    pub(crate) fn tool(name: &str, input: Value) -> Turn {
        Turn::default().and(name, input)
    }

    /// Fails this often, and then says `done`.
    pub(crate) fn fault(fault: Fault, times: u32) -> Turn {
        Turn::text("done").failing(fault, times)
    }

    /// Calls this tool too, in the same answer.
    pub(crate) fn and(mut self, name: &str, input: Value) -> Turn {
        self.tools.push((name.to_owned(), input));
        self
    }

    /// Goes wrong this often before it is given, after the faults that were named before.
    pub(crate) fn failing(mut self, fault: Fault, times: u32) -> Turn {
        self.faults.push((fault, times));
        self
    }

    /// What it counts for.
    pub(crate) fn usage(mut self, usage: Usage) -> Turn {
        self.usage = usage;
        self
    }

    /// Why it ends, such as `max_tokens`.
    pub(crate) fn stop(mut self, reason: &str) -> Turn {
        self.stop = Some(reason.to_owned());
        self
    }

    /// Comes after this time.
    pub(crate) fn after(mut self, delay: Duration) -> Turn {
        self.delay = delay;
        self
    }

    /// The fault of the attempt with this number, counted from 0.
    pub(super) fn fault_of(&self, attempt: u32) -> Option<&Fault> {
        let mut before = 0_u32;
        for (fault, times) in &self.faults {
            before = before.saturating_add(*times);
            if attempt < before {
                return Some(fault);
            }
        }
        None
    }
}

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
}

impl Default for Usage {
    fn default() -> Usage {
        Usage { input: 1_000, output: 50, ..Usage::NONE }
    }
}

impl Usage {
    pub(crate) const NONE: Usage = Usage { input: 0, output: 0, cache_read: 0, cache_write: 0 };
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(all: I) -> Usage {
        let add = |one: Usage, other: Usage| Usage {
            input: one.input.add(other.input),
            output: one.output.add(other.output),
            cache_read: one.cache_read.add(other.cache_read),
            cache_write: one.cache_write.add(other.cache_write),
        };
        all.fold(Usage::NONE, add)
    }
}

/// List prices in billionths of a dollar for one token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
}

/// Claude Sonnet 4.5: 3, 15, 0.30 and 3.75 dollars for a million.
pub(crate) const SONNET: Prices =
    Prices { input: 3_000, output: 15_000, cache_read: 300, cache_write: 3_750 };

impl Prices {
    pub(crate) fn of(&self, usage: Usage) -> Usd {
        let nanos = usage.input * self.input
            + usage.output * self.output
            + usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write;
        Usd::from_micros(nanos.div_ceil(1_000))
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An error in place of an answer.
    Http { status: u16, message: String, headers: Vec<(String, String)> },
    /// 200, and an `error` event behind the beginning; without a stream, 529.
    Overloaded,
    /// Nothing more comes, and the line stays open.
    Hang(At),
    /// The answer ends here, in good order.
    Truncate(At),
    /// The line is reset here.
    Reset(At),
    /// 200 with rubbish.
    Garbage(Garbage),
}

/// How far an answer has come when it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// Nothing was sent.
    Accept,
    /// The status and the headers.
    Headers,
    /// The beginning of the message, with its id and the tokens that it read.
    Start,
    /// A part of what it says.
    Content,
    /// Everything but the end.
    Stop,
}

/// Rubbish.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Garbage {
    /// Events that are no JSON.
    Events,
    /// Half of a JSON text.
    Json,
    /// A proxy's page.
    Html,
    /// Nothing at all.
    Empty,
}

impl Fault {
    /// An error with the status' usual words.
    pub(crate) fn status(status: u16) -> Fault {
        Fault::said(status, &format!("error {status}"))
    }

    /// An error with these words.
    pub(crate) fn said(status: u16, message: &str) -> Fault {
        Fault::Http { status, message: message.to_owned(), headers: Vec::new() }
    }

    /// 429, to come again after this many seconds.
    pub(crate) fn retry_after(seconds: u32) -> Fault {
        let headers = vec![("retry-after".to_owned(), seconds.to_string())];
        Fault::Http { status: 429, message: "Too many requests".to_owned(), headers }
    }

    /// A subscription's limit is used up.
    pub(crate) fn limit(limit: &Limit) -> Fault {
        let message = "This request would exceed your account's rate limit.".to_owned();
        let mut headers = limit.headers("rejected");
        headers.push(("retry-after".to_owned(), "9000".to_owned()));
        headers.push((unified("overage-status"), "rejected".to_owned()));
        headers.push((unified("overage-disabled-reason"), "org_level_disabled".to_owned()));
        Fault::Http { status: 429, message, headers }
    }
}

/// A limit of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    /// Which: `five_hour`, `seven_day`, `seven_day_opus`.
    pub(crate) window: &'static str,
    /// When it ends, in seconds since 1970.
    pub(crate) until: i64,
    /// How much of it is used, 1 for all.
    pub(crate) used: f64,
}

impl Limit {
    /// The headers that say so. `status` is `allowed`, `allowed_warning` or `rejected`.
    pub(super) fn headers(&self, status: &str) -> Vec<(String, String)> {
        let short = if self.window == "five_hour" { "5h" } else { "7d" };
        let mut headers = vec![
            (unified("status"), status.to_owned()),
            (unified("reset"), self.until.to_string()),
            (unified("representative-claim"), self.window.to_owned()),
            (unified(&format!("{short}-status")), status.to_owned()),
            (unified(&format!("{short}-reset")), self.until.to_string()),
            (unified(&format!("{short}-utilization")), self.used.to_string()),
        ];
        if status == "allowed_warning" {
            let step = (self.used * 10.0).floor() / 10.0;
            headers.push((unified(&format!("{short}-surpassed-threshold")), step.to_string()));
        }
        headers
    }
}

fn unified(name: &str) -> String {
    format!("anthropic-ratelimit-unified-{name}")
}

/// Seconds since 1970, now.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
