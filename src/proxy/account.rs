//! One attempt's money and tokens: what is allowed, reserved and spent.
//!
//! A call is reserved whole before it starts, so that calls side by side cannot pass the allowance together.
//! What becomes of it replaces the reservation; a call that is cut off keeps it. Never waits: all of it
//! happens under one lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use tokio::sync::watch;

use super::{ask::Ask, body::Room};
use crate::{
    budget::{Spend, Tokens, Usage, Usd, price},
    ids::hex,
};

/// What an account may spend. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Money, at list price. A call that might pass it is not started.
    pub usd: Option<Usd>,
    /// Tokens of all kinds, read and written. When they are spent, no call is started; the calls in flight
    /// may pass it.
    pub tokens: Option<u64>,
}

/// Why a call was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It might have cost more than is left.
    Money {
        /// The most that it could have cost.
        needed: Usd,
        /// What is left, without what is reserved for calls in flight.
        left: Usd,
    },
    /// The tokens are spent.
    Tokens {
        /// Since the allowance was given; calls that were cut off count with all they could have used.
        spent: u64,
        /// The allowance.
        limit: u64,
    },
    /// It asks the service to work on its own: to search, fetch, run code or ask other models. What that
    /// costs has no bound, and it is a way around the walls.
    Unbounded {
        /// What it asks for, such as `web_fetch_20250910`.
        what: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Money { needed, left } => {
                // What is left is not shown larger than it is: it would seem enough.
                let cents = left.micros() / 10_000;
                let left = Usd::from_micros(cents * 10_000);
                write!(f, "the call could cost {needed}, and {left} are left")
            }
            Refused::Tokens { spent, limit } => write!(f, "{spent} of {limit} tokens are spent"),
            Refused::Unbounded { what } => write!(f, "`{what}` is not passed on"),
        }
    }
}

/// What the service last said about its limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitSeen {
    /// The answer's status: 429 for a limit, 529 for an overload, 200 for a warning.
    pub status: u16,
    /// `retry-after`, in seconds.
    pub retry_after_s: Option<u64>,
    /// Of a subscription: `allowed`, `allowed_warning` or `rejected`.
    pub unified_status: Option<String>,
    /// Seconds since 1970 when the limit that counts ends.
    pub reset: Option<i64>,
    /// Which limit counts, such as `five_hour`.
    pub claim: Option<String>,
    /// The used part of the five hours; 1 is all.
    pub five_hour: Option<f64>,
    /// The used part of the seven days; 1 is all.
    pub seven_day: Option<f64>,
}

impl LimitSeen {
    /// From an answer's status and headers; `None` when they say nothing about limits.
    pub(super) fn read(status: u16, headers: &HeaderMap) -> Option<LimitSeen> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(|text| text.trim().to_owned());
        let unified = |name: &str| text(&format!("anthropic-ratelimit-unified-{name}"));
        let part = |name: &str| unified(name)?.parse().ok().filter(|part: &f64| part.is_finite());
        let seen = LimitSeen {
            status,
            retry_after_s: text("retry-after").and_then(|text| text.parse().ok()),
            unified_status: unified("status"),
            reset: unified("reset").and_then(|text| text.parse().ok()),
            claim: unified("representative-claim"),
            five_hour: part("5h-utilization"),
            seven_day: part("7d-utilization"),
        };
        let silent = seen == LimitSeen { status, ..LimitSeen::default() };
        (!silent || matches!(status, 429 | 529)).then_some(seen)
    }
}

/// What came of an account's calls, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// What they cost. Of calls that were cut off the money is in it, the tokens are not known.
    pub spend: Spend,
    /// Calls that were sent to the service, whatever came of them.
    pub calls: u32,
    /// Calls that were cut off and charged with their whole reservation.
    pub cut_calls: u32,
    /// The last refusal since the allowance was given.
    pub refused: Option<Refused>,
    /// Models that were charged at the dearest price because they are not in the table.
    pub unknown_models: BTreeSet<String>,
    /// Tokens and money by model; the money adds up to `spend.usd`.
    pub models: BTreeMap<String, (Tokens, Usd)>,
    /// Calls that are not over yet. What is reserved for them is not in `spend`.
    pub in_flight: u32,
    /// What the last answer said about limits.
    pub last_limit: Option<LimitSeen>,
}

impl Ledger {
    fn charge(&mut self, model: &str, known: bool, tokens: Tokens, spend: Spend) {
        self.spend = self.spend + spend;
        let of_model = self.models.entry(model.to_owned()).or_default();
        *of_model = (of_model.0 + tokens, of_model.1 + spend.usd);
        if !known {
            self.unknown_models.insert(model.to_owned());
        }
    }
}

/// What a call used, as the service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) usage: Usage,
    /// The model that answered.
    pub(super) model: Option<String>,
}

/// A call in flight.
#[derive(Debug)]
struct Reservation {
    ask: Ask,
    usd: Usd,
    used: Option<Used>,
}

#[derive(Debug, Default)]
struct Book {
    ledger: Ledger,
    allowance: Allowance,
    /// Money and tokens that had been spent when the allowance was given.
    before: (Usd, u64),
    /// The most tokens that calls which were cut off can have used.
    cut_tokens: u64,
    in_flight: BTreeMap<u64, Reservation>,
    last_id: u64,
    closed: bool,
}

impl Book {
    fn tokens(&self) -> u64 {
        let spend = &self.ledger.spend;
        [spend.input_tokens, spend.output_tokens, self.cut_tokens]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Whether a call that could cost `needed` may start.
    fn admit(&self, ask: &Ask, needed: Usd) -> Result<(), Refused> {
        if let Some(what) = &ask.unbounded {
            return Err(Refused::Unbounded { what: what.clone() });
        }
        if let Some(limit) = self.allowance.tokens {
            let spent = self.tokens().saturating_sub(self.before.1);
            if spent >= limit {
                return Err(Refused::Tokens { spent, limit });
            }
        }
        if let Some(limit) = self.allowance.usd {
            let spent = self.ledger.spend.usd.minus(self.before.0);
            let reserved: Usd = self.in_flight.values().map(|call| call.usd).sum();
            let left = limit.minus(spent + reserved);
            if needed > left {
                return Err(Refused::Money { needed, left });
            }
        }
        Ok(())
    }

    /// What a call came to when nothing more will be heard of it.
    fn charge(&mut self, call: Reservation) {
        let asked = &call.ask.model;
        let Some(Used { usage, model }) = call.used else {
            let known = price(asked).is_some();
            self.ledger.cut_calls += 1;
            self.cut_tokens = self.cut_tokens.saturating_add(call.ask.most_tokens());
            return self.ledger.charge(asked, known, Tokens::default(), Spend::reserved(call.usd));
        };
        // The model that answered is the one that costs, where we know it: a gateway may give it a name
        // of its own.
        let model = model.filter(|model| price(model).is_some());
        let model = model.as_ref().unwrap_or(asked);
        let cost = usage.cost(model);
        let spend = Spend {
            usd: cost.usd,
            input_tokens: usage.tokens.prompt(),
            output_tokens: usage.tokens.output,
            cut: Usd::ZERO,
        };
        self.ledger.charge(model, cost.known, usage.tokens, spend);
    }

    fn close(&mut self) {
        self.closed = true;
        for (_, call) in std::mem::take(&mut self.in_flight) {
            self.charge(call);
        }
    }
}

/// An account, as the calls that belong to it see it.
#[derive(Debug)]
pub(super) struct Shared {
    book: Mutex<Book>,
    closed: watch::Sender<bool>,
    room: Room,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For its requests while they are read and sent.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Comes back when the account is closed.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.subscribe();
        async move {
            // An error says that the account is gone, which is closed enough.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }

    /// Reserves what a call can cost. `Ok(None)` when the account was closed a moment ago.
    pub(super) fn reserve(self: &Arc<Shared>, ask: Ask) -> Result<Option<Call>, Refused> {
        let usd = ask.most().cost(&ask.model).usd;
        let mut book = self.book();
        if book.closed {
            return Ok(None);
        }
        if let Err(refused) = book.admit(&ask, usd) {
            book.ledger.refused = Some(refused.clone());
            return Err(refused);
        }
        book.ledger.calls += 1;
        book.last_id += 1;
        let id = book.last_id;
        book.in_flight.insert(id, Reservation { ask, usd, used: None });
        Ok(Some(Call { account: self.clone(), id }))
    }

    /// Notes what an answer says about limits.
    pub(super) fn saw(&self, limit: Option<LimitSeen>) {
        self.book().ledger.last_limit = limit;
    }

    fn close(&self) {
        self.book().close();
        self.closed.send_replace(true);
    }
}

/// A call in flight. Dropped, it is charged with what is known of it by then: its cost, or, when the service
/// did not get to say it, the whole reservation.
#[derive(Debug)]
pub(super) struct Call {
    account: Arc<Shared>,
    id: u64,
}

impl Call {
    /// What it used, as far as one can say now; `None` when one cannot.
    pub(super) fn used(&self, used: Option<Used>) {
        if let Some(call) = self.account.book().in_flight.get_mut(&self.id) {
            call.used = used;
        }
    }

    /// The service answered an error, which costs nothing.
    pub(super) fn failed(self) {
        self.account.book().in_flight.remove(&self.id);
    }

    /// The service was never reached.
    pub(super) fn unsent(self) {
        let mut book = self.account.book();
        if book.in_flight.remove(&self.id).is_some() {
            book.ledger.calls -= 1;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut book = self.account.book();
        if let Some(call) = book.in_flight.remove(&self.id) {
            book.charge(call);
        }
    }
}

/// The open accounts, by their tokens.
#[derive(Debug, Default)]
pub(super) struct Registry {
    open: Mutex<HashMap<String, Arc<Shared>>>,
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Shared>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account that a request belongs to: by `x-api-key`, or else by `authorization: Bearer`.
    pub(super) fn find(&self, headers: &HeaderMap) -> Option<Arc<Shared>> {
        let bearer = |value: &str| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        };
        let key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let named = [key, token.and_then(bearer)];
        let open = self.open();
        named.into_iter().flatten().find_map(|token| open.get(&token).cloned())
    }

    pub(super) fn close_all(&self) {
        let open = std::mem::take(&mut *self.open());
        for account in open.values() {
            account.close();
        }
    }
}

/// One attempt's account. It is closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Account {
    holder: Arc<Holder>,
}

struct Holder {
    token: String,
    shared: Arc<Shared>,
    registry: Weak<Registry>,
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Holder").field(&self.shared).finish()
    }
}

impl Holder {
    fn close(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.open().remove(&self.token);
        }
        self.shared.close();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Account {
    pub(super) fn open(registry: &Arc<Registry>, allowance: Allowance) -> Account {
        let token = random_token();
        let book = Book { allowance, ..Book::default() };
        let shared = Arc::new(Shared {
            book: Mutex::new(book),
            closed: watch::Sender::new(false),
            room: Room::of_account(),
        });
        registry.open().insert(token.clone(), shared.clone());
        let registry = Arc::downgrade(registry);
        Account { holder: Arc::new(Holder { token, shared, registry }) }
    }

    /// What the agent takes for its credential, as an API key and as a subscription's token alike. Worth
    /// nothing elsewhere.
    pub fn token(&self) -> &str {
        &self.holder.token
    }

    /// What came of the calls so far.
    pub fn ledger(&self) -> Ledger {
        let book = self.holder.shared.book();
        let in_flight = u32::try_from(book.in_flight.len()).unwrap_or(u32::MAX);
        Ledger { in_flight, ..book.ledger.clone() }
    }

    /// A new allowance for the next turn, counted from here; the ledger goes on. What is reserved for calls
    /// in flight counts against the new one.
    pub fn allow(&self, allowance: Allowance) {
        let mut book = self.holder.shared.book();
        book.before = (book.ledger.spend.usd, book.tokens());
        book.allowance = allowance;
        book.ledger.refused = None;
    }

    /// Ends it: calls in flight are cut and charged at once, further ones find no account.
    pub fn close(&self) {
        self.holder.close();
    }
}

/// 256 random bits in the form of the vendor's keys, which [`crate::redact`] takes out of every text.
fn random_token() -> String {
    format!("sk-ant-ns-{}", random_word())
}

/// 256 random bits, in hexadecimal.
pub(crate) fn random_word() -> String {
    let mut bytes = [0_u8; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).expect("the system has random numbers");
    hex(&bytes)
}
