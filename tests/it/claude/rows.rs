//! Everything that can go wrong with the service, the line, a limit or the program, one attempt each with the
//! real program: how it ends, how often the model was asked, what it cost, and that nothing of it is left.

use std::{collections::BTreeSet, fs, ops::RangeInclusive, path::Path, time::Duration};

use futures_util::{StreamExt as _, stream};
use nightshift::{
    agent::{Agent as _, Credential, Talk},
    budget::{DEAREST, Usd},
    outcome::{AgentEnd, AgentReport, LimitScope},
    process::{Stop, Urgency},
    redact::Secret,
};
use serde_json::json;

use super::{Scene, TOKEN, nights::left, write};
use crate::support::{
    claude::claude,
    model::{Answer, At, FOREVER, Fault, Garbage, Limit, Prices, SONNET, Turn, Usage, now},
};

/// Attempts of one table that run side by side: each is a program of 200 MB.
const AT_ONCE: usize = 2;
/// What one call is charged with when it was cut off: 32,000 tokens written, and what it was told, read.
const CUT: RangeInclusive<u64> = 240_000..=320_000;
/// Claude Opus 5.5: 4 and 20 dollars for a million tokens read and written.
const OPUS: Prices = Prices { input: 4_000, output: 20_000, cache_read: 200, cache_write: 5_000 };

/// One attempt, and what has to come of it.
struct Row {
    name: &'static str,
    turns: Vec<Turn>,
    changes: Vec<Change>,
    outside: Option<Outside>,
    ends: Ends,
    asked: usize,
    /// Calls that were sent and whose cost nobody told.
    cut: u64,
    prices: Prices,
    check: fn(&AgentReport),
}

type Change = Box<dyn FnOnce(&mut Scene) + Send>;

/// What somebody else does to it.
#[derive(Clone, Copy)]
enum Outside {
    /// Asks us to stop, once the model was asked so often.
    StopAsked(usize),
    /// Asks us to stop, once its command runs.
    StopWorking,
    /// Sends the program a signal, once the model was asked so often.
    Signal(&'static str, usize),
}

/// How it has to end.
enum Ends {
    As(AgentEnd),
    /// With a message that holds these words.
    Saying(fn(String) -> AgentEnd, &'static str),
    /// Limited, until so many seconds from now.
    LimitedFor(RangeInclusive<i64>, LimitScope),
}

fn row(name: &'static str, turns: Vec<Turn>, ends: Ends) -> Row {
    Row {
        name,
        turns,
        changes: Vec::new(),
        outside: None,
        ends,
        asked: 1,
        cut: 0,
        prices: SONNET,
        check: |_| (),
    }
}

/// Fails for ever.
fn fails(fault: Fault) -> Vec<Turn> {
    vec![Turn::fault(fault, FOREVER)]
}

impl Row {
    /// How often the model is asked; once unless said.
    fn asked(mut self, times: usize) -> Row {
        self.asked = times;
        self
    }

    fn cut(mut self, calls: u64) -> Row {
        self.cut = calls;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Scene) + Send + 'static) -> Row {
        self.changes.push(Box::new(change));
        self
    }

    /// On a subscription.
    fn subscribed(self) -> Row {
        self.with(|scene| {
            scene.agent.credential = Some(Credential::OAuthToken(Secret::new(TOKEN)));
        })
    }

    fn model(mut self, name: &'static str, prices: Prices) -> Row {
        self.prices = prices;
        self.with(|scene| scene.job.model = Some(name.to_owned()))
    }

    fn outside(mut self, outside: Outside) -> Row {
        self.outside = Some(outside);
        self
    }

    fn also(mut self, check: fn(&AgentReport)) -> Row {
        self.check = check;
        self
    }

    /// What is wrong with it.
    async fn run(self) -> Vec<String> {
        let mut scene = Scene::with(self.turns).await.unwrap();
        // Calls that were cut off are charged with half a dollar each, and are not what ends it.
        scene.job.budget = Usd::from_micros(20_000_000);
        for change in self.changes {
            change(&mut scene);
        }
        let stop = Stop::new();
        let began = now();
        let run = scene.agent.run(&scene.job, None, &stop);
        let ran = match self.outside {
            None => run.await,
            Some(outside) => tokio::join!(run, outside.happen(&scene, &stop)).0,
        };
        let report = ran.unwrap().report;
        let mut wrong = Vec::new();
        let mut check = |right: bool, what: String| {
            if !right {
                wrong.push(format!("{}: {what}", self.name));
            }
        };
        check(self.ends.is(&report.ended, began), format!("it ended as {:?}", report.ended));
        let asked = scene.model.asked().len();
        check(asked == self.asked, format!("asked {asked} times, not {}", self.asked));
        let whole = |answer: &Answer| {
            if answer.whole { self.prices.of(answer.usage) } else { Usd::ZERO }
        };
        let (spent, price) = (report.spent.usd.minus(report.spent.cut), scene.model.spent(whole));
        check(spent == price, format!("{spent} were spent, and the model counts {price}"));
        let cut = report.spent.cut.micros();
        let charged = self.cut * CUT.start()..=self.cut * CUT.end();
        check(charged.contains(&cut), format!("{cut} for {} cut calls", self.cut));
        let begun = scene.model.answers().iter().filter(|answer| !answer.whole).count() as u64;
        check(begun <= self.cut, format!("{begun} answers were begun and not ended"));
        check(scene.model.surprises().is_empty(), format!("{:?}", scene.model.surprises()));
        let home = scene.dir.path().to_str().unwrap();
        check(left(home).is_empty(), format!("it left {:?}", left(home)));
        let told = fs::read_to_string(scene.path("run/transcript.jsonl")).unwrap_or_default();
        check(!told.contains(TOKEN) && !told.contains(super::KEY), "its secret is shown".into());
        (self.check)(&report);
        wrong
    }
}

impl Outside {
    async fn happen(self, scene: &Scene, stop: &Stop) {
        let ready = || match self {
            Outside::StopAsked(times) | Outside::Signal(_, times) => {
                scene.model.asked().len() >= times
            }
            Outside::StopWorking => scene.path("work/working").exists(),
        };
        for _ in 0..600 {
            if ready() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The beginning of the answer arrives.
        tokio::time::sleep(Duration::from_millis(700)).await;
        match self {
            Outside::StopAsked(_) | Outside::StopWorking => stop.ask(Urgency::Now),
            Outside::Signal(signal, _) => {
                let programs = programs(scene.dir.path());
                assert!(!programs.is_empty(), "it runs");
                for program in programs {
                    std::process::Command::new("kill")
                        .args([signal, &program.to_string()])
                        .status()
                        .unwrap();
                }
            }
        }
    }
}

/// The real program's own processes, without what watches them.
fn programs(home: &Path) -> BTreeSet<i32> {
    let mut found = left(home.to_str().unwrap());
    found.retain(|pid| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.to_string_lossy().contains("claude")
    });
    found
}

impl Ends {
    fn is(&self, found: &AgentEnd, began: i64) -> bool {
        match self {
            Ends::As(end) => found == end,
            Ends::Saying(end, words) => {
                let message = match found {
                    AgentEnd::NotSignedIn { message }
                    | AgentEnd::Transport { message }
                    | AgentEnd::ModelUnavailable { message }
                    | AgentEnd::Failed { message, .. } => message.clone(),
                    _ => return false,
                };
                message.contains(words) && *found == end(message)
            }
            Ends::LimitedFor(seconds, held) => match found {
                AgentEnd::Limited { until: Some(until), scope } => {
                    scope == held && seconds.contains(&(until - began))
                }
                _ => false,
            },
        }
    }
}

/// Runs a table, and tells of all its rows what is wrong. Without the program there is nothing to run.
async fn check(rows: Vec<Row>) {
    if claude().is_none() {
        return;
    }
    let wrong: Vec<Vec<String>> =
        stream::iter(rows).map(Row::run).buffer_unordered(AT_ONCE).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn not_signed_in(words: &'static str) -> Ends {
    Ends::Saying(|message| AgentEnd::NotSignedIn { message }, words)
}

fn transport(words: &'static str) -> Ends {
    Ends::Saying(|message| AgentEnd::Transport { message }, words)
}

fn failed(words: &'static str) -> Ends {
    Ends::Saying(|message| AgentEnd::Failed { code: Some(1), message }, words)
}

fn limited(until: Option<i64>, scope: LimitScope) -> Ends {
    Ends::As(AgentEnd::Limited { until, scope })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_service_ends_an_attempt_as_what_it_is() {
    let edit = || write("a.txt", "a\n");
    check(vec![
        row(
            "400",
            fails(Fault::said(400, "messages.0: something is wrong")),
            failed("API Error: 400 messages.0: something is wrong"),
        )
        .asked(3),
        row(
            "401, key",
            fails(Fault::said(401, "invalid x-api-key")),
            not_signed_in("Invalid API key"),
        )
        .asked(5),
        row(
            "401, token",
            fails(Fault::said(401, "OAuth token has expired")),
            not_signed_in("OAuth token has expired"),
        )
        .subscribed()
        .asked(2),
        row("403", fails(Fault::said(403, "Request not allowed")), not_signed_in("not allowed")),
        row(
            "404",
            fails(Fault::said(404, "model: claude-sonnet-4-5")),
            Ends::Saying(|message| AgentEnd::ModelUnavailable { message }, "selected model"),
        )
        .asked(2),
        row("413", fails(Fault::status(413)), Ends::As(AgentEnd::ContextFull)),
        row("500", fails(Fault::status(500)), transport("API Error: 500")).asked(5),
        row("529", fails(Fault::status(529)), Ends::As(AgentEnd::Overloaded)).asked(5),
        row(
            "529 twice",
            vec![edit().failing(Fault::status(529), 2), Turn::text("Done.")],
            Ends::As(AgentEnd::Finished),
        )
        .asked(4),
        row(
            "credit balance",
            fails(Fault::said(
                400,
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & \
                 Billing to upgrade or purchase credits.",
            )),
            Ends::As(AgentEnd::OutOfCredit { message: "Credit balance is too low".into() }),
        ),
        row(
            "prompt too long",
            fails(Fault::said(400, "prompt is too long: 205000 tokens > 200000 maximum")),
            Ends::As(AgentEnd::ContextFull),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_told_with_its_end_and_with_what_it_holds_back() {
    let until = now() + 3_600;
    let limit = |window| Fault::limit(&Limit { window, until, used: 1.0 });
    let warning = Limit { window: "five_hour", until, used: 0.82 };
    check(vec![
        row("429, key", fails(Fault::status(429)), limited(None, LimitScope::Model)).asked(5),
        row(
            "429, a short time",
            vec![Turn::text("Done.").failing(Fault::retry_after(3), 1)],
            Ends::As(AgentEnd::Finished),
        )
        .asked(2),
        row(
            "429, a long time",
            fails(Fault::retry_after(3_600)),
            Ends::LimitedFor(3_595..=3_640, LimitScope::Model),
        ),
        row("five hours", fails(limit("five_hour")), limited(Some(until), LimitScope::Account))
            .subscribed(),
        row("seven days", fails(limit("seven_day")), limited(Some(until), LimitScope::Account))
            .subscribed(),
        row(
            "seven days of one model",
            fails(limit("seven_day_opus")),
            limited(Some(until), LimitScope::Model),
        )
        .subscribed()
        .model("claude-opus-5-5", OPUS),
        row(
            "in the middle",
            vec![write("a.txt", "a\n"), Turn::fault(limit("five_hour"), FOREVER)],
            limited(Some(until), LimitScope::Account),
        )
        .subscribed()
        .asked(2),
        row(
            "a subscription's words, key",
            fails(limit("five_hour")),
            limited(Some(until), LimitScope::Model),
        ),
        row("four fifths", vec![Turn::text("Done.")], Ends::As(AgentEnd::Finished))
            .subscribed()
            .with(move |scene| scene.model.warn(warning))
            .also(|report| {
                let window = report.window.as_ref().unwrap();
                assert_eq!((window.name.as_str(), window.percent), ("five_hour", 82));
                assert!(window.resets_at.is_some_and(|end| end > now()));
            }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_breaks_is_a_matter_of_transport_and_its_calls_are_charged() {
    let truncated = |at| fails(Fault::Truncate(at));
    let garbage = |what| fails(Fault::Garbage(what));
    // How it words what it could not read depends on when the pieces came.
    let unread = "API Error: ";
    check(vec![
        row("refused", vec![], transport("no answer from http://127.0.0.1"))
            .with(|scene| scene.agent.base_url = Some("http://127.0.0.1:1".into()))
            .asked(0),
        row("reset", fails(Fault::Reset(At::Content)), transport("was lost")).asked(6).cut(6),
        row(
            "reset once",
            vec![Turn::text("Done.").failing(Fault::Reset(At::Content), 1)],
            Ends::As(AgentEnd::Finished),
        )
        .asked(2)
        .cut(1),
        row("ends at the start", truncated(At::Start), transport(unread)).asked(2).cut(2),
        row("ends in the middle", truncated(At::Content), transport(unread)).asked(3).cut(3),
        row("ends before its end", truncated(At::Stop), transport("lost mid-response"))
            .asked(4)
            .cut(4),
        row("a page", garbage(Garbage::Html), transport(unread)).asked(2).cut(2),
        row("nothing", garbage(Garbage::Empty), transport(unread)).asked(2).cut(2),
        row("events that are none", garbage(Garbage::Events), transport(unread)).asked(2).cut(2),
        row("half a text", garbage(Garbage::Json), transport(unread)).asked(2).cut(2),
        row("overloaded in the stream", fails(Fault::Overloaded), Ends::As(AgentEnd::Overloaded))
            .asked(5)
            .cut(3),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_uses_up_what_it_was_given_ends_as_that() {
    let work = || Turn::tool("Read", json!({ "file_path": "{cwd}/README.md" }));
    let dear = Usage { input: 20_000, ..Usage::default() };
    let cut_off = || Turn::text("and so on").stop("max_tokens");
    let outside = json!({ "file_path": "/var/tmp/nightshift-outside-of-rows.txt", "content": "x" });
    let nano = |rate: u64| rate / 1_000;
    let dearest = DEAREST.standard;
    let dearest = Prices {
        input: nano(dearest.input),
        output: nano(dearest.output),
        cache_read: nano(dearest.cache_read),
        cache_write: nano(dearest.cache_write_5m),
    };
    check(vec![
        row(
            "finished",
            vec![write("a.txt", "a\n"), Turn::text("Done.")],
            Ends::As(AgentEnd::Finished),
        )
        .asked(2),
        row("turns", vec![work(), work(), work()], Ends::As(AgentEnd::TurnsSpent))
            .with(|scene| scene.job.turns = Some(2))
            .asked(2),
        row("no money", vec![], Ends::As(AgentEnd::BudgetTooSmall))
            .with(|scene| scene.job.budget = Usd::from_micros(50_000))
            .asked(0),
        row("money", vec![work().usage(dear), work()], Ends::As(AgentEnd::BudgetSpent))
            .with(|scene| scene.job.budget = Usd::from_micros(110_000)),
        row("tokens", vec![work(), work()], Ends::As(AgentEnd::BudgetSpent))
            .with(|scene| scene.job.tokens = Some(1_000)),
        row(
            "a long answer",
            vec![cut_off(), cut_off(), cut_off(), cut_off()],
            failed("response exceeded the 16000 output token maximum"),
        )
        .asked(4),
        row(
            "all denied",
            vec![
                Turn::tool("Bash", json!({ "command": "git push origin HEAD" })),
                Turn::tool("Write", outside),
                Turn::text("I could not."),
            ],
            Ends::As(AgentEnd::Denied { tools: vec!["Bash".into(), "Write".into()] }),
        )
        .asked(3),
        row(
            "a command for the program",
            vec![],
            Ends::As(AgentEnd::Garbage { message: "no model was asked".into() }),
        )
        .with(|scene| scene.job.prompt = "/clear".into())
        .asked(0),
        row(
            "a model without a price",
            vec![work(), Turn::text("Done.")],
            Ends::As(AgentEnd::Finished),
        )
        .model("claude-unheard-of-9", dearest)
        .asked(2)
        .also(|report| {
            let note = "the price of the model `claude-unheard-of-9` is not known";
            assert!(report.notes.iter().any(|found| found.contains(note)), "{report:?}");
        }),
        row("no credential", vec![], not_signed_in("Not logged in"))
            .with(|scene| scene.agent.credential = None)
            .asked(0),
        row(
            "no program",
            vec![],
            Ends::As(AgentEnd::NotInstalled { program: "/nonexistent/claude".into() }),
        )
        .with(|scene| scene.agent.program = "/nonexistent/claude".into())
        .asked(0),
        row("no conversation", vec![], Ends::As(AgentEnd::ConversationLost))
            .with(|scene| {
                let id = "11111111-2222-4333-8444-555555555555".into();
                scene.job.talk = Some(Talk { id, resume: true, total: Usd::ZERO });
            })
            .asked(0),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_stopped_or_killed_says_so_and_counts_what_it_can() {
    let hangs = |at| fails(Fault::Hang(at));
    let edits_and_hangs =
        || vec![write("a.txt", "a\n"), Turn::fault(Fault::Hang(At::Content), FOREVER)];
    let killed = |signal| Ends::As(AgentEnd::Killed { signal });
    // Longer than a loaded machine needs to start the program and to ask twice.
    let short = |scene: &mut Scene| scene.job.stall_limit = Duration::from_secs(20);
    check(vec![
        row("out of time", edits_and_hangs(), Ends::As(AgentEnd::TimedOut))
            .with(|scene| scene.job.time_limit = Duration::from_secs(30))
            .asked(2)
            .cut(1),
        row("no answer", hangs(At::Accept), Ends::As(AgentEnd::Stalled)).with(short).cut(1),
        row("headers, and no more", hangs(At::Headers), Ends::As(AgentEnd::Stalled))
            .with(short)
            .cut(1),
        row("silent in the middle", edits_and_hangs(), Ends::As(AgentEnd::Stalled))
            .with(short)
            .asked(2)
            .cut(1),
        row("stopped in an answer", edits_and_hangs(), Ends::As(AgentEnd::Interrupted))
            .outside(Outside::StopAsked(2))
            .asked(2)
            .cut(1),
        row(
            "stopped in a command",
            vec![Turn::tool("Bash", json!({ "command": "sh work.sh" }))],
            Ends::As(AgentEnd::Interrupted),
        )
        .with(|scene| {
            fs::write(scene.path("work/work.sh"), "touch working; sleep 4242 & wait\n").unwrap();
        })
        .outside(Outside::StopWorking),
        row("SIGINT", edits_and_hangs(), killed(2))
            .outside(Outside::Signal("-INT", 2))
            .asked(2)
            .cut(1),
        row("SIGTERM", edits_and_hangs(), killed(15))
            .outside(Outside::Signal("-TERM", 2))
            .asked(2)
            .cut(1),
        row("SIGHUP", edits_and_hangs(), killed(1))
            .outside(Outside::Signal("-HUP", 2))
            .asked(2)
            .cut(1),
        row("SIGKILL", edits_and_hangs(), killed(9))
            .outside(Outside::Signal("-KILL", 2))
            .asked(2)
            .cut(1),
    ])
    .await;
}
