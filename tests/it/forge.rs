//! Pull requests on a loopback GitHub: whatever goes wrong, one night has one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{sync::Arc, time::Duration};

use nightshift::{
    forge::{
        Forge, ForgeError, GitHub, Landed, Published, PullRequestDraft,
        endpoint::Endpoint,
        github::{App, Credential, Issuer, Settings},
    },
    ids::{CommitId, NightId, TaskId},
    redact::Secret,
    report::{labels, marker},
};

use crate::support::github::{APP_TOKEN, FakeGitHub, Fault, TOKEN};

fn draft() -> PullRequestDraft {
    let night = NightId::new("2026-11-21").unwrap();
    PullRequestDraft {
        branch: night.branch(),
        base: "main".to_owned(),
        head: CommitId::new("a".repeat(40)).unwrap(),
        title: "nightshift 2026-11-21: 4 of 7 tasks".to_owned(),
        body: format!("{}\nFour tasks landed.", marker(&night)),
        draft: true,
        rest: String::new(),
        labels: vec!["nightshift".to_owned(), "risk: low".to_owned()],
        reviewers: vec!["morning".to_owned()],
        landed: vec![Landed {
            commit: CommitId::new("a".repeat(40)).unwrap(),
            task: TaskId::new("one").unwrap(),
            description: "one: gate green in 2 s".to_owned(),
        }],
        statuses: true,
        night,
    }
}

fn github(fake: &FakeGitHub, repository: &str) -> GitHub {
    let endpoint = Endpoint { server_url: fake.url.clone(), api_url: fake.url.clone() };
    let mut settings =
        Settings::new(endpoint, "octo", repository, Credential::Token(Secret::new(TOKEN)));
    settings.pause = Duration::from_millis(2);
    settings.request_limit = Duration::from_secs(1);
    GitHub::new(settings).unwrap()
}

async fn publish(fake: &FakeGitHub, draft: &PullRequestDraft) -> Result<Published, ForgeError> {
    github(fake, "demo").publish(draft).await
}

/// What the pull request says: the text, and the hidden record of its labels.
fn said(draft: &PullRequestDraft) -> String {
    format!("{}\n\n{}", draft.body.trim_end(), labels::record(&draft.labels))
}

/// The pull request that every road must lead to.
fn check(fake: &FakeGitHub, case: &str) {
    let pulls = fake.pulls();
    assert_eq!(pulls.len(), 1, "{case}");
    let (pull, draft) = (&pulls[0], draft());
    assert_eq!((&pull.title, &pull.body), (&draft.title, &said(&draft)), "{case}");
    assert_eq!(pull.labels, draft.labels, "{case}");
    assert_eq!(pull.reviewers, draft.reviewers, "{case}");
    assert!(pull.draft && pull.open && pull.comments.is_empty(), "{case}");
    let told = fake.statuses();
    let (commit, status) = told.last().expect(case);
    assert_eq!(*commit, draft.landed[0].commit.as_str(), "{case}");
    assert_eq!(status["context"], "nightshift/gate", "{case}");
    let made = fake.labels();
    let name = |name: &str| made.iter().filter(|(made, ..)| made == name).count();
    assert_eq!((name("nightshift"), name("risk: low")), (1, 1), "{case}");
}

#[tokio::test]
async fn a_night_opens_one_pull_request_and_keeps_it_up_to_date() {
    let fake = FakeGitHub::start().await;
    let first = publish(&fake, &draft()).await.unwrap();
    assert_eq!(first.url, format!("{}/octo/demo/pull/1", fake.url));
    assert_eq!((first.number, first.notes.len()), (Some(1), 0), "{:?}", first.notes);
    check(&fake, "opened");

    // The same again changes nothing and asks for nothing.
    assert_eq!(publish(&fake, &draft()).await.unwrap(), first);
    let asked = ["update", "label", "review", "status", "comment"].map(|name| fake.count(name));
    assert_eq!(asked, [0, 1, 1, 1, 0]);

    let mut later = draft();
    later.title = "nightshift 2026-11-21: 5 of 7 tasks".to_owned();
    later.body.push_str("\nA fifth one too.");
    assert_eq!(publish(&fake, &later).await.unwrap().url, first.url);
    assert_eq!(fake.pulls().len(), 1);
    assert_eq!((&fake.pulls()[0].title, &fake.pulls()[0].body), (&later.title, &said(&later)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_operation_ends_with_exactly_one_pull_request() {
    // What is worth another try, and what a person must see to first.
    let passing = [
        Fault::InternalError,
        Fault::BadGateway,
        Fault::BadGatewayAfter,
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Cut,
        Fault::Silent,
        Fault::Unavailable,
        Fault::SecondaryLimit,
        Fault::UnresolvedNode,
    ];
    let lasting = [
        Fault::LongLimit,
        Fault::BareSecondaryLimit,
        Fault::BadCredentials,
        Fault::Forbidden,
        Fault::NotFound,
        Fault::Moved,
    ];
    let operations =
        ["repo", "list", "create", "update", "make-label", "label", "review", "status"];
    let mut cases = tokio::task::JoinSet::new();
    // So few at once that a busy machine does not turn answers into time-outs.
    let places = Arc::new(tokio::sync::Semaphore::new(12));
    for operation in operations {
        for fault in passing.into_iter().chain(lasting) {
            for (times, full) in [(1, false), (3, false), (1, true)] {
                let places = places.clone();
                cases.spawn(async move {
                    let _place = places.acquire().await.unwrap();
                    let case = format!("{fault:?} at {operation}, {times} times, full: {full}");
                    let fake = FakeGitHub::start().await;
                    let fake = if full { fake.full() } else { fake };
                    let old = PullRequestDraft { body: marker(&draft().night), ..draft() };
                    if operation == "update" {
                        publish(&fake, &old).await.unwrap();
                    }
                    fake.fault(operation, fault, times);
                    let first = publish(&fake, &draft()).await;
                    assert!(fake.pulls().len() <= 1, "{case}");
                    // A GET follows what a POST does not.
                    let waits = passing.contains(&fault)
                        || fault == Fault::Moved && matches!(operation, "repo");
                    let gives_up =
                        times == 3 && (fault == Fault::UnresolvedNode || fault == Fault::Moved);
                    if waits && !gives_up {
                        let published = first.expect(&case);
                        assert_eq!(published.notes, Vec::<String>::new(), "{case}");
                        check(&fake, &case);
                    } else if let Err(error) = &first {
                        assert!(!error.message.contains(TOKEN), "{case}: {error}");
                        assert!(!error.message.contains('<'), "{case}: {error}");
                        assert!(!error.help.is_empty(), "{case}");
                    }
                    // The next night's start, or a person, tries again.
                    fake.heal();
                    publish(&fake, &draft()).await.expect(&case);
                    check(&fake, &case);
                    assert!(!fake.sent().contains(TOKEN), "{case}");
                });
            }
        }
    }
    assert_eq!(cases.len(), 8 * 16 * 3);
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_limit_of_an_hour_is_not_waited_for() {
    let fake = FakeGitHub::start().await;
    fake.fault("create", Fault::LongLimit, 9);
    let error = publish(&fake, &draft()).await.unwrap_err();
    assert!(error.temporary && error.message.contains("3600 s"), "{error}");
    assert_eq!((fake.count("create"), fake.pulls().len()), (1, 0));
}

#[tokio::test]
async fn two_publications_at_once_make_one_pull_request() {
    let fake = FakeGitHub::start().await;
    let (draft, forge) = (draft(), github(&fake, "demo"));
    let (one, two) = tokio::join!(forge.publish(&draft), forge.publish(&draft));
    assert_eq!(one.unwrap().url, two.unwrap().url);
    check(&fake, "two at once");
}

#[tokio::test]
async fn a_renamed_repository_is_found_and_its_new_name_used() {
    let fake = FakeGitHub::start().await;
    fake.rename();
    let published = github(&fake, "old").publish(&draft()).await.unwrap();
    assert_eq!(published.url, format!("{}/octo/demo/pull/1", fake.url));
    check(&fake, "renamed");
}

#[tokio::test]
async fn a_repository_without_drafts_gets_an_open_pull_request_and_a_note() {
    let fake = FakeGitHub::start().await;
    fake.settings(|repository| repository.drafts = false);
    let published = publish(&fake, &draft()).await.unwrap();
    assert!(published.notes[0].contains("no drafts"), "{:?}", published.notes);
    assert_eq!(fake.pulls().len(), 1);
    assert!(!fake.pulls()[0].draft);
}

#[tokio::test]
async fn what_only_a_person_can_cure_is_said_at_once() {
    let fake = FakeGitHub::start().await;
    let error = github(&fake, "none").publish(&draft()).await.unwrap_err();
    assert!(!error.temporary && error.help.contains("may not see"), "{error:?}");

    fake.settings(|repository| repository.push = false);
    let error = publish(&fake, &draft()).await.unwrap_err();
    assert!(!error.temporary && error.message.contains("does not let this token push"), "{error}");

    fake.settings(|repository| repository.archived = true);
    let error = publish(&fake, &draft()).await.unwrap_err();
    assert!(!error.temporary && error.message.contains("archived"), "{error}");
    assert_eq!(fake.count("create"), 0);

    fake.settings(|repository| {
        repository.archived = false;
        repository.push = true;
        repository.branches.insert("nightshift/2026-11-21".to_owned(), "b".repeat(40));
    });
    let error = publish(&fake, &draft()).await.unwrap_err();
    assert!(error.message.contains("No commits between"), "{error}");
    let compare = "/octo/demo/compare/main...nightshift/2026-11-21?quick_pull=1";
    assert!(error.help.contains(compare), "{}", error.help);
    assert_eq!(fake.pulls().len(), 0);
}

#[tokio::test]
async fn one_that_has_no_commit_left_is_closed_once_and_nobody_elses_is() {
    let fake = FakeGitHub::start().await;
    assert_eq!(github(&fake, "demo").close(&draft()).await.unwrap(), None, "there is none");
    publish(&fake, &draft()).await.unwrap();
    for fault in [None, Some(Fault::DropAfter), Some(Fault::InternalError)] {
        fake.change(1, |pull| pull.open = true);
        if let Some(fault) = fault {
            fake.fault("update", fault, 1);
        }
        for _ in 0..2 {
            let closed = github(&fake, "demo").close(&draft()).await.unwrap().unwrap();
            assert_eq!(closed.notes, ["#1 is closed: no commit is left"]);
        }
        assert!(!fake.pulls()[0].open && fake.pulls().len() == 1);
    }
    let fake = FakeGitHub::start().await;
    fake.add("nightshift/2026-11-21", "main", "mine");
    let left = github(&fake, "demo").close(&draft()).await.unwrap().unwrap();
    assert!(left.notes[0].contains("by a person") && fake.pulls()[0].open, "{:?}", left.notes);
}

#[tokio::test]
async fn what_people_did_to_it_stays_as_they_did_it() {
    // Closed by a person: no second one.
    let fake = FakeGitHub::start().await;
    publish(&fake, &draft()).await.unwrap();
    fake.change(1, |pull| pull.open = false);
    let again = publish(&fake, &draft()).await.unwrap();
    assert!(again.notes[0].contains("closed"), "{:?}", again.notes);
    let ended = github(&fake, "demo").ended(&draft()).await.unwrap();
    assert_eq!(
        ended.map(|over| (over.words, over.merged)),
        Some(("#1 is closed".to_owned(), false))
    );
    assert_eq!((again.number, fake.pulls().len()), (Some(1), 1));

    // Turned to another base: still the same one.
    let fake = FakeGitHub::start().await;
    publish(&fake, &draft()).await.unwrap();
    fake.change(1, |pull| pull.base = "develop".to_owned());
    let again = publish(&fake, &draft()).await.unwrap();
    assert!(again.notes[0].contains("develop"), "{:?}", again.notes);
    assert_eq!(fake.pulls().len(), 1);

    // Opened by a person from our branch: there cannot be another, and the text is theirs.
    let fake = FakeGitHub::start().await;
    fake.add(&draft().branch, "main", "my own words");
    let adopted = publish(&fake, &draft()).await.unwrap();
    assert!(adopted.notes[0].contains("by a person"), "{:?}", adopted.notes);
    assert_eq!(fake.pulls().len(), 1);
    assert_eq!(fake.pulls()[0].body, "my own words");
    // What the night says stands in one comment.
    fake.fault("comment", Fault::DropAfter, 1);
    for _ in 0..2 {
        publish(&fake, &draft()).await.unwrap();
        let pulls = fake.pulls();
        let [(_, comment)] = pulls[0].comments.as_slice() else { panic!("{pulls:?}") };
        assert!(comment.contains("Four tasks landed."), "{comment}");
    }
}

#[tokio::test]
async fn nobody_elses_pull_request_is_touched() {
    let fake = FakeGitHub::start().await;
    let night = NightId::new("2026-11-20").unwrap();
    fake.add("feature", "main", &draft().body);
    fake.add("nightshift/2026-11-20", "main", &marker(&night));
    let published = publish(&fake, &draft()).await.unwrap();
    assert_eq!(published.number, Some(3));
    assert!(fake.pulls()[..2].iter().all(|pull| pull.title == "theirs" && pull.labels.is_empty()));
}

#[tokio::test]
async fn a_reviewer_who_cannot_be_asked_is_a_note() {
    let fake = FakeGitHub::start().await;
    let reviewers = ["nobody", "morning", "NightOwl"].map(str::to_owned).to_vec();
    let published = publish(&fake, &PullRequestDraft { reviewers, ..draft() }).await.unwrap();
    assert_eq!(published.notes.len(), 2, "{:?}", published.notes);
    assert!(published.notes[0].contains("collaborators"), "{:?}", published.notes);
    assert_eq!(fake.pulls()[0].reviewers, ["morning"]);
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_and_tokens_never_leave() {
    let fake = FakeGitHub::start().await;
    let mut long = draft();
    long.title = "ü".repeat(300);
    long.body.push_str(&format!("\n{TOKEN}\n{}", "ü".repeat(70_000)));
    publish(&fake, &long).await.unwrap();
    let pull = &fake.pulls()[0];
    assert_eq!(pull.title.chars().count(), 256);
    let count = pull.body.chars().count();
    assert!((59_000..=60_000).contains(&count), "{count}");
    assert!(pull.body.contains("***") && pull.body.contains("the rest is in a comment"));
    // What did not fit stands in one comment, which the next publication finds.
    for rest in ["", "and more"] {
        long.rest = rest.to_owned();
        assert_eq!(publish(&fake, &long).await.unwrap().number, Some(1));
        let pulls = fake.pulls();
        let [(_, comment)] = pulls[0].comments.as_slice() else { panic!("one comment") };
        assert!(comment.starts_with("<!-- nightshift:comment=2026-11-21 -->\n"), "{comment:.60}");
        assert!(comment.matches('ü').count() > 9_000 && comment.ends_with(rest));
    }
    assert!(!fake.sent().contains(TOKEN));
}

#[tokio::test]
async fn a_label_that_a_person_took_away_stays_away_and_one_that_failed_is_added_later() {
    let fake = FakeGitHub::start().await;
    fake.fault("label", Fault::Forbidden, 1);
    let first = publish(&fake, &draft()).await.unwrap();
    assert!(first.notes[0].contains("could not add labels"), "{:?}", first.notes);
    assert_eq!(fake.pulls()[0].labels, Vec::<String>::new());
    publish(&fake, &draft()).await.unwrap();
    assert_eq!(fake.pulls()[0].labels, draft().labels);

    fake.change(1, |pull| pull.labels.retain(|label| label != "nightshift"));
    for _ in 0..2 {
        assert_eq!(publish(&fake, &draft()).await.unwrap().notes, Vec::<String>::new());
        assert_eq!(fake.pulls()[0].labels, ["risk: low"]);
    }
    // What holds no longer goes; what a person added stays.
    fake.change(1, |pull| pull.labels.push("theirs".to_owned()));
    let labels = ["nightshift", "risk: high", "needs-decision"].map(str::to_owned).to_vec();
    let later = PullRequestDraft { labels, ..draft() };
    publish(&fake, &later).await.unwrap();
    assert_eq!(fake.pulls()[0].labels, ["theirs", "risk: high", "needs-decision"]);
    let made = fake.labels();
    let high = made.iter().find(|(name, ..)| name == "risk: high").unwrap();
    assert!(high.1.len() == 6 && !high.2.is_empty(), "{high:?}");
}

#[tokio::test]
async fn a_fork_opens_its_pull_request_upstream_and_needs_no_right_there() {
    for maintainable in [true, false] {
        let fake = FakeGitHub::start().await;
        fake.settings(|repository| {
            repository.push = false;
            repository.maintainable = maintainable;
        });
        let endpoint = Endpoint { server_url: fake.url.clone(), api_url: fake.url.clone() };
        let token = Credential::Token(Secret::new(TOKEN));
        let mut settings = Settings::new(endpoint, "octo", "demo", token);
        settings.fork = Some(("me".to_owned(), "demo".to_owned()));
        settings.pause = Duration::from_millis(2);
        let forge = GitHub::new(settings).unwrap();
        fake.fault("create", Fault::DropAfter, 1);
        for _ in 0..2 {
            let published = forge.publish(&draft()).await.unwrap();
            assert!(published.notes[0].contains("need write access to octo/demo"), "{published:?}");
            let pulls = fake.pulls();
            assert_eq!((pulls.len(), pulls[0].from.as_str()), (1, "me"));
        }
        assert_eq!(fake.count("label") + fake.count("status"), 0);
    }
}

#[tokio::test]
async fn statuses_that_are_off_or_refused_stop_nothing() {
    let fake = FakeGitHub::start().await;
    publish(&fake, &PullRequestDraft { statuses: false, ..draft() }).await.unwrap();
    assert_eq!(fake.count("status"), 0);
    fake.fault("status", Fault::Forbidden, 1);
    let published = publish(&fake, &draft()).await.unwrap();
    assert!(published.notes[0].contains("could not set the status"), "{published:?}");
}

/// The App of the tests, installed on `octo/demo`.
fn app(fake: &FakeGitHub, installation: Option<u32>) -> Arc<App> {
    let endpoint =
        Endpoint { server_url: fake.url.clone(), api_url: format!("{}/api/v3", fake.url) };
    let form = include_str!("support/github/key.txt");
    let name = "RSA PRIVATE KEY";
    let pem = format!("-----BEGIN {name}-----\n{form}-----END {name}-----\n");
    let at = || jiff::Timestamp::from_second(1_795_000_000).unwrap();
    let issuer = (Issuer::Id(7), installation);
    let made = App::new(endpoint, ("octo", "demo"), issuer, pem.as_bytes(), at);
    Arc::new(made.unwrap().with_pause(Duration::from_millis(2)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apps_token_is_made_just_before_and_for_this_repository_alone() {
    let fake = FakeGitHub::start().await;
    let app = app(&fake, None);
    let endpoint =
        Endpoint { server_url: fake.url.clone(), api_url: format!("{}/api/v3", fake.url) };
    let mut settings = Settings::new(endpoint, "octo", "demo", Credential::App(app.clone()));
    settings.pause = Duration::from_millis(2);
    let forge = GitHub::new(settings).unwrap();
    assert_eq!(fake.count("token"), 0);
    fake.fault("token", Fault::DropAfter, 1);
    fake.fault("installation", Fault::BadGateway, 1);
    forge.publish(&draft()).await.unwrap();
    check(&fake, "with an App");
    assert_eq!((fake.count("token"), fake.count("installation")), (2, 2));
    let sent = fake.sent();
    let asked = r#"/app/installations/42/access_tokens {"permissions":{"contents":"write","issues":"write","pull_requests":"write","statuses":"write"},"repositories":["demo"]}"#;
    assert!(sent.contains(asked), "{sent}");
    assert!(!sent.contains(APP_TOKEN) && !sent.contains(TOKEN));
    // The claim is what openssl signs.
    let claims = fake.claims();
    assert!(claims.iter().all(|claim| claim == include_str!("support/github/claim.txt").trim()));
    // git asks for it where nobody can wait, and gets the one that is fresh.
    assert_eq!(app.token_now().unwrap().expose(), APP_TOKEN);
    assert_eq!(fake.count("token"), 2);
    assert_eq!(format!("{app:?}"), format!("App(7 at {})", fake.url));
}

#[tokio::test]
async fn an_app_without_the_smaller_permissions_still_publishes_and_one_without_the_larger_says_so()
{
    let fake = FakeGitHub::start().await;
    fake.withhold("statuses");
    assert_eq!(app(&fake, Some(42)).token().await.unwrap().expose(), APP_TOKEN);
    assert_eq!((fake.count("token"), fake.count("installation")), (2, 0));
    fake.withhold("contents");
    let error = app(&fake, Some(42)).token().await.unwrap_err();
    assert!(error.help.contains("/octo/demo/settings/installations"), "{error:?}");
    assert!(!error.temporary);
    for (fault, says) in [
        (Fault::NotFound, "install the App 7 on octo/demo"),
        (Fault::BadCredentials, "clock is right"),
    ] {
        fake.fault("installation", fault, 1);
        let error = app(&fake, None).token().await.unwrap_err();
        assert!(error.help.contains(says) && !error.temporary, "{error:?}");
    }
}
