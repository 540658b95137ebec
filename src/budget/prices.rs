//! What a call to a model costs at list price. Exact integers; asks nobody.
//!
//! The figures and the arithmetic are those of Claude Code 2.1.329: its table of prices, checked against
//! the `costUSD` that it printed for each model, kind of token and surcharge. Discounts, priority tiers and
//! prices that a service announces at run time are not known here.

use std::{iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Usd;

/// Tokens of one call, by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Read, and not from the cache.
    pub input: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Written to the cache for one hour.
    pub cache_write_1h: u64,
    /// Written by the model, its thinking included.
    pub output: u64,
}

impl Tokens {
    /// From an Anthropic `usage` object. What it does not name is 0; writes to the cache without a detail
    /// count as five-minute ones.
    pub fn from_usage(usage: &Value) -> Tokens {
        let number = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let hour = number("/cache_creation/ephemeral_1h_input_tokens");
        let minutes = number("/cache_creation/ephemeral_5m_input_tokens");
        // The total says what was written, the detail how. Where the detail says more, it is believed:
        // a figure that is missing must not become credit.
        let written = number("/cache_creation_input_tokens").max(hour.saturating_add(minutes));
        Tokens {
            input: number("/input_tokens"),
            cache_read: number("/cache_read_input_tokens"),
            cache_write_5m: written - hour,
            cache_write_1h: hour,
            output: number("/output_tokens"),
        }
    }

    /// All that was read, however it was paid: the length of the prompt.
    pub fn prompt(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl Add for Tokens {
    type Output = Tokens;
    fn add(self, other: Tokens) -> Tokens {
        Tokens {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            output: self.output.saturating_add(other.output),
        }
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Tokens>>(all: I) -> Tokens {
        all.fold(Tokens::default(), Add::add)
    }
}

/// What one call used, with all that changes its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its tokens.
    pub tokens: Tokens,
    /// Searches of the web that the service made.
    pub web_searches: u64,
    /// Answered in fast mode, which some models charge more for.
    pub fast: bool,
    /// Answered in the United States only, which costs a tenth more.
    pub us_only: bool,
}

impl Usage {
    /// From an Anthropic `usage` object.
    pub fn from_json(usage: &Value) -> Usage {
        let says = |name: &str, value: &str| usage.get(name).and_then(Value::as_str) == Some(value);
        let searches = usage.pointer("/server_tool_use/web_search_requests");
        Usage {
            tokens: Tokens::from_usage(usage),
            web_searches: searches.and_then(Value::as_u64).unwrap_or(0),
            fast: says("speed", "fast"),
            us_only: says("inference_geo", "us"),
        }
    }

    /// What it cost if `model` answered.
    pub fn cost(&self, model: &str) -> Cost {
        let known = price(model);
        let rates = known.unwrap_or(DEAREST).rates(self.tokens.prompt(), self.fast);
        // Tokens times millionths per million tokens: millionths of millionths, and ten times that for the
        // tenth of the surcharge. 128 bits hold the largest counts.
        let tenths = if self.us_only { 11 } else { 10 };
        let tokens = rates.of(&self.tokens) * tenths;
        let searches = u128::from(self.web_searches) * u128::from(WEB_SEARCH.micros()) * 10_000_000;
        let micros = (tokens + searches).div_ceil(10_000_000);
        let usd = Usd::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        Cost { usd, known: known.is_some() }
    }
}

/// One search of the web by the service.
pub const WEB_SEARCH: Usd = Usd::from_micros(10_000);

/// Prices of the kinds of tokens, in millionths of a dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// See [`Tokens::input`].
    pub input: u64,
    /// See [`Tokens::cache_read`].
    pub cache_read: u64,
    /// See [`Tokens::cache_write_5m`].
    pub cache_write_5m: u64,
    /// See [`Tokens::cache_write_1h`].
    pub cache_write_1h: u64,
    /// See [`Tokens::output`].
    pub output: u64,
}

impl Rates {
    /// In millionths of a millionth of a dollar.
    fn of(&self, tokens: &Tokens) -> u128 {
        [
            (self.input, tokens.input),
            (self.cache_read, tokens.cache_read),
            (self.cache_write_5m, tokens.cache_write_5m),
            (self.cache_write_1h, tokens.cache_write_1h),
            (self.output, tokens.output),
        ]
        .into_iter()
        .map(|(rate, count)| u128::from(rate) * u128::from(count))
        .sum()
    }
}

/// The list price of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// What it costs as a rule.
    pub standard: Rates,
    /// What the whole call costs when its prompt has more tokens than this.
    pub long: Option<(u64, Rates)>,
    /// What it costs in fast mode, where that costs more.
    pub fast: Option<Rates>,
}

impl Price {
    /// The rates for a call with a prompt of so many tokens.
    pub fn rates(&self, prompt: u64, fast: bool) -> Rates {
        match (self.fast.filter(|_| fast), self.long) {
            (Some(rates), _) => rates,
            (None, Some((above, rates))) if prompt > above => rates,
            (None, Some(_) | None) => self.standard,
        }
    }

    const fn with_fast(self, input: u64, cache_read: u64) -> Price {
        Price { fast: Some(rates(input, cache_read)), ..self }
    }

    const fn with_long(self, above: u64, input: u64, cache_read: u64) -> Price {
        Price { long: Some((above, rates(input, cache_read))), ..self }
    }
}

/// What a call costs, and whether that is the model's own price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Rounded up to the next millionth of a dollar.
    pub usd: Usd,
    /// False when the model is not in the table and [`DEAREST`] was taken.
    pub known: bool,
}

/// In thousandths of a dollar per million tokens. In every line of the table writing to the cache costs 5/4
/// (five minutes) and 2 (one hour) of the input's price, and output 5 times as much.
const fn rates(input: u64, cache_read: u64) -> Rates {
    Rates {
        input: input * 1_000,
        cache_read: cache_read * 1_000,
        cache_write_5m: input * 1_250,
        cache_write_1h: input * 2_000,
        output: input * 5_000,
    }
}

const fn flat(input: u64, cache_read: u64) -> Price {
    Price { standard: rates(input, cache_read), long: None, fast: None }
}

/// The highest price of the table, for models that are not in it.
pub const DEAREST: Price = flat(15_000, 1_500).with_fast(30_000, 3_000);

/// `pricing_tiers` and `models` of the catalogue inside Claude Code 2.1.329, and its prices of fast mode.
const PRICES: [(&str, Price); 24] = [
    ("claude-3-5-haiku", flat(800, 80)),
    ("claude-3-5-sonnet", flat(3_000, 300)),
    ("claude-3-7-sonnet", flat(3_000, 300)),
    ("claude-fable-5", flat(10_000, 1_000)),
    ("claude-fable-5-1", flat(10_000, 250)),
    ("claude-fable-5-2", flat(8_000, 200).with_fast(16_000, 400)),
    ("claude-haiku-4-5", flat(1_000, 100)),
    ("claude-haiku-5-5", flat(100, 10).with_long(100_000, 500, 50)),
    ("claude-mythos-5", flat(10_000, 1_000)),
    ("claude-mythos-5-1", flat(10_000, 250)),
    ("claude-mythos-5-2", flat(8_000, 200).with_fast(16_000, 400)),
    ("claude-opus-4-0", flat(15_000, 1_500)),
    ("claude-opus-4-1", flat(15_000, 1_500)),
    ("claude-opus-4-5", flat(5_000, 500)),
    ("claude-opus-4-6", flat(5_000, 500).with_fast(30_000, 3_000)),
    ("claude-opus-4-7", flat(5_000, 500).with_fast(30_000, 3_000)),
    ("claude-opus-4-8", flat(5_000, 500).with_fast(10_000, 1_000)),
    ("claude-opus-5", flat(5_000, 500).with_fast(10_000, 1_000)),
    ("claude-opus-5-5", flat(4_000, 200).with_fast(8_000, 400)),
    ("claude-sonnet-4-0", flat(3_000, 300)),
    ("claude-sonnet-4-5", flat(3_000, 300)),
    ("claude-sonnet-4-6", flat(3_000, 300)),
    ("claude-sonnet-5", flat(2_000, 200)),
    ("claude-sonnet-5-5", flat(2_000, 100)),
];

/// What Claude Code's short names stand for. `opusplan` is two models; the dearer one is meant.
const ALIASES: [(&str, &str); 6] = [
    ("best", "claude-opus-5-5"),
    ("fable", "claude-fable-5-2"),
    ("haiku", "claude-haiku-5-5"),
    ("opus", "claude-opus-5-5"),
    ("opusplan", "claude-opus-5-5"),
    ("sonnet", "claude-sonnet-5-5"),
];

/// The list price of a model, by any of its ids: with a date, `-latest`, `[1m]`, and in the spellings of
/// other vendors (`us.anthropic.claude-opus-4-5-20251101-v1:0`, `claude-opus-4-5@20251101`,
/// `anthropic/claude-opus-4.5`). A name that only begins like a known one is another model.
pub fn price(model: &str) -> Option<Price> {
    let model = model.trim().to_ascii_lowercase();
    let bare = model.split(['[', '@', ':']).next().unwrap_or_default();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == bare);
    let name = alias.map_or(bare, |(_, name)| *name);
    let name = name.rfind("claude-").map_or(name, |start| &name[start..]).replace('.', "-");
    let mut words: Vec<&str> = name.split('-').collect();
    while words.last().is_some_and(|word| is_edition(word)) {
        words.pop();
    }
    let name = words.join("-");
    // `claude-opus-4-20250514` is what the table calls `claude-opus-4-0`.
    let found = |name: &str| PRICES.iter().find(|(known, _)| *known == name);
    found(&name).or_else(|| found(&format!("{name}-0"))).map(|(_, price)| *price)
}

/// A date, `latest`, or a vendor's `v1`.
fn is_edition(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word == "latest"
        || word.len() == 8 && digits(word)
        || word.strip_prefix('v').is_some_and(digits)
}

/// What a plain call costs: no fast mode, no searches, no region. Unknown models are charged at
/// [`DEAREST`].
pub fn cost(model: &str, tokens: &Tokens) -> Cost {
    Usage { tokens: *tokens, ..Usage::default() }.cost(model)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One million read, ten million from the cache, one and two million into it, 100,000 written.
    fn large() -> Value {
        json!({
            "input_tokens": 1_000_000, "output_tokens": 100_000,
            "cache_read_input_tokens": 10_000_000, "cache_creation_input_tokens": 3_000_000,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 1_000_000, "ephemeral_1h_input_tokens": 2_000_000,
            },
        })
    }

    fn with(mut usage: Value, name: &str, value: Value) -> Usage {
        usage[name] = value;
        Usage::from_json(&usage)
    }

    fn micros(usage: &Usage, model: &str) -> u64 {
        let cost = usage.cost(model);
        assert!(cost.known, "{model}");
        cost.usd.micros()
    }

    #[test]
    fn each_model_costs_what_claude_code_printed() {
        let usage = Usage::from_json(&large());
        for (model, printed) in [
            ("claude-3-5-haiku-20241022", 6_200_000),
            ("claude-haiku-4-5", 7_750_000),
            ("claude-haiku-5-5", 3_875_000),
            ("claude-3-5-sonnet-20241022", 23_250_000),
            ("claude-3-7-sonnet-20250219", 23_250_000),
            ("claude-sonnet-4-20250514", 23_250_000),
            ("claude-sonnet-4-5", 23_250_000),
            ("claude-sonnet-4-6", 23_250_000),
            ("claude-sonnet-5", 15_500_000),
            ("claude-sonnet-5-5", 14_500_000),
            ("claude-opus-4", 116_250_000),
            ("claude-opus-4-1@20250805", 116_250_000),
            ("claude-opus-4-5-20251101", 38_750_000),
            ("claude-opus-4-6", 38_750_000),
            ("claude-opus-4-7", 38_750_000),
            ("claude-opus-4-8", 38_750_000),
            ("claude-opus-5", 38_750_000),
            ("claude-opus-5-5", 29_000_000),
            ("claude-fable-5", 77_500_000),
            ("claude-fable-5-1", 70_000_000),
            ("claude-fable-5-2", 56_000_000),
            ("claude-mythos-5", 77_500_000),
            ("claude-mythos-5-1", 70_000_000),
            ("claude-mythos-5-2", 56_000_000),
            ("sonnet[1m]", 14_500_000),
            ("sonnet", 14_500_000),
            ("opus", 29_000_000),
            ("best", 29_000_000),
            ("haiku", 3_875_000),
            ("fable", 56_000_000),
            ("us.anthropic.claude-opus-4-5-20251101-v1:0", 38_750_000),
            ("claude-opus-4-5-latest", 38_750_000),
            ("anthropic/claude-opus-4.5", 38_750_000),
        ] {
            assert_eq!(micros(&usage, model), printed, "{model}");
            assert_eq!(cost(model, &usage.tokens), usage.cost(model), "{model}");
        }
    }

    #[test]
    fn fast_mode_costs_what_claude_code_printed() {
        let usage = with(large(), "speed", json!("fast"));
        for (model, printed) in [
            ("claude-opus-4-6", 232_500_000),
            ("claude-opus-4-7", 232_500_000),
            ("claude-opus-4-8", 77_500_000),
            ("claude-opus-5", 77_500_000),
            ("claude-opus-5-5", 58_000_000),
            ("claude-fable-5-2", 112_000_000),
            ("claude-fable-5-1", 70_000_000),
            ("claude-sonnet-5-5", 14_500_000),
            ("claude-opus-4-5", 38_750_000),
        ] {
            assert_eq!(micros(&usage, model), printed, "{model}");
        }
    }

    #[test]
    fn surcharges_cost_what_claude_code_printed() {
        let mut usage = json!({ "input_tokens": 1_000_000, "output_tokens": 100_000 });
        usage["server_tool_use"] = json!({ "web_search_requests": 3 });
        let usage = with(usage, "inference_geo", json!("us"));
        assert_eq!(micros(&usage, "claude-opus-5-5"), 6_630_000);

        // Above 100,000 tokens of prompt, however they were paid, the whole call is dearer.
        let prompt = |input: u64, read: u64, written: u64| {
            Usage::from_json(&json!({
                "input_tokens": input, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written, "output_tokens": 10_000,
            }))
        };
        // Printed: 0.015000000000000003, 0.0750005, 0.064000625.
        assert_eq!(micros(&prompt(100_000, 0, 0), "claude-haiku-5-5"), 15_000);
        assert_eq!(micros(&prompt(100_001, 0, 0), "claude-haiku-5-5"), 75_001);
        assert_eq!(micros(&prompt(50_000, 30_000, 20_001), "claude-haiku-5-5"), 64_001);
    }

    #[test]
    fn a_cost_is_rounded_up_once_and_never_to_nothing() {
        let few =
            Tokens { input: 1, cache_read: 7, cache_write_5m: 3, cache_write_1h: 0, output: 1 };
        // Printed: 1.045e-06.
        assert_eq!(cost("claude-haiku-5-5", &few).usd.micros(), 2);
        let one = Tokens { cache_read: 1, ..Tokens::default() };
        assert_eq!(cost("claude-haiku-5-5", &one).usd.micros(), 1);
        assert_eq!(cost("claude-haiku-5-5", &Tokens::default()).usd, Usd::ZERO);
        let most = Tokens { output: u64::MAX, ..Tokens::default() };
        assert_eq!(cost("claude-opus-4-1", &most).usd.micros(), u64::MAX);
    }

    #[test]
    fn an_unknown_model_costs_the_most() {
        let usage = Usage::from_json(&large());
        for model in
            ["claude-opus-6", "claude-sonnet-4-9", "claude-opus-5-6", "gpt-5", "", "claude-"]
        {
            assert_eq!(price(model), None, "{model}");
            let cost = usage.cost(model);
            assert!(!cost.known && cost.usd.micros() == 116_250_000, "{model}: {cost:?}");
        }
        for (model, price) in PRICES {
            let dearest = DEAREST.rates(0, false);
            assert!(price.rates(u64::MAX, false).input <= dearest.input, "{model}");
            assert!(price.rates(0, true).input <= DEAREST.rates(0, true).input, "{model}");
            assert_eq!(super::price(model), Some(price));
        }
    }

    #[test]
    fn usage_is_read_as_it_is_sent() {
        let plain = json!({ "cache_creation_input_tokens": 5, "output_tokens": 2 });
        let tokens = Tokens { cache_write_5m: 5, output: 2, ..Tokens::default() };
        assert_eq!(Tokens::from_usage(&plain), tokens);
        let hour = json!({
            "input_tokens": 1, "cache_creation_input_tokens": 5,
            "cache_creation": { "ephemeral_1h_input_tokens": 3 },
        });
        let tokens = Tokens { input: 1, cache_write_5m: 2, cache_write_1h: 3, ..Tokens::default() };
        assert_eq!(Tokens::from_usage(&hour), tokens);
        assert_eq!(tokens.prompt(), 6);
        // A total that is missing or too small makes nothing cheaper.
        let detail = json!({ "cache_creation": { "ephemeral_1h_input_tokens": 3 } });
        assert_eq!(Tokens::from_usage(&detail).cache_write_1h, 3);
        for odd in [json!(null), json!([]), json!({ "input_tokens": -1, "output_tokens": "x" })] {
            assert_eq!(Tokens::from_usage(&odd), Tokens::default());
        }
        assert_eq!([tokens, tokens].into_iter().sum::<Tokens>().cache_write_1h, 6);
    }
}
