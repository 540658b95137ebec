//! Real nights that tell loopback services how they went, each checked for the form that the real one expects.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::support::night::TestNight;

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Asked {
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A web service that answers each request with the next of `statuses`, and with the last one for ever.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    fn start(statuses: &'static [&'static str]) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read(&mut stream);
                let mut seen = seen.lock().unwrap();
                let status = statuses.get(seen.len()).or(statuses.last()).unwrap();
                seen.push(request);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                );
            }
        });
        Service { url, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let target = line.split(' ').nth(1).unwrap().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Asked { target, headers, body: String::from_utf8(body).unwrap() }
}

/// A mail server that takes everything, and keeps what it was told.
fn mail_server() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("smtp://{}", listener.local_addr().unwrap());
    let told: Arc<Mutex<String>> = Arc::default();
    let kept = told.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut say =
                |words: &str| stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
            say("220 mail.test ESMTP");
            let mut in_data = false;
            while let Some(Ok(line)) = lines.next() {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
                match line.as_str() {
                    "." if in_data => {
                        in_data = false;
                        say("250 taken");
                    }
                    _ if in_data => {}
                    "DATA" => {
                        in_data = true;
                        say("354 go on");
                    }
                    "QUIT" => {
                        say("221 bye");
                        break;
                    }
                    _ => say("250 ok"),
                }
            }
        }
    });
    (address, told)
}

const EDITS: &str = "printf 'x\\n' > \"src/$NIGHTSHIFT_TASK.txt\"";

#[test]
fn everybody_is_told_of_a_night_in_the_form_of_their_service() {
    let service = Service::start(&["200 OK"]);
    let (mail, mailed) = mail_server();
    let url = &service.url;
    let night = TestNight::new().task("a", "Add one").task("b", "Add two");
    let told = night.path("told.json");
    let night = night
        .user(&format!(
            "notify: [{{to: 'slack:${{SLACK_URL}}'}}, {{to: 'discord:{url}/discord'}}, {{to: 'teams:{url}/teams'}}, \
             {{to: 'ntfy:{url}/below/topic-1', token: '${{NTFY_TOKEN}}'}}, {{to: 'healthchecks:{url}/check'}}, \
             {{to: 'mail:ann@example.org', from: 'Nights <nights@example.org>', server: '{mail}'}}, \
             {{run: [sh, -c, 'cat > \"$0\"; echo \"$MINE $OTHER\" >> \"$0\"', '{}'], env: [MINE]}}]",
            told.display()
        ))
        .env("SLACK_URL", &format!("{url}/slack-s3cret"))
        .env("NTFY_TOKEN", "tk_of_the_topic")
        .env("MINE", "mine")
        .env("OTHER", "other")
        .agent(&format!("case $NIGHTSHIFT_TASK in a) {EDITS};; b) exit 3;; esac"));
    let ran = night.run(&[]).exit(1);
    let said = ran.all();
    for secret in ["slack-s3cret", "tk_of_the_topic", "was not told"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    let kept = ran.everything_kept();
    for secret in ["slack-s3cret", "tk_of_the_topic"] {
        assert!(!kept.contains(secret), "{secret} was kept");
    }
    let all = service.asked();
    let of = |begin: &str| {
        let found: Vec<&Asked> =
            all.iter().filter(|asked| asked.target.starts_with(begin)).collect();
        assert!(!found.is_empty(), "nothing for {begin}: {all:?}");
        found
    };
    let [slack] = of("/slack-s3cret")[..] else { panic!("told twice: {all:?}") };
    let line = slack.json()["text"].as_str().unwrap().to_owned();
    let begins = "repo: 1 commit ready, ~1 min (1 medium risk). 1 failed. $0.00. ";
    assert!(line.starts_with(begins) && line.contains(". nightshift show 20"), "{line}");
    assert_eq!(slack.json()["unfurl_links"], false);
    let discord = of("/discord")[0].json();
    assert_eq!(discord["allowed_mentions"]["parse"].as_array().unwrap().len(), 0);
    assert!(discord["content"].as_str().unwrap().contains("1 commit ready"));
    let teams = of("/teams")[0].json();
    let card = &teams["attachments"][0];
    assert_eq!(teams["type"], "message");
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(card["content"]["type"], "AdaptiveCard");
    let ntfy: Vec<&Asked> = all.iter().filter(|asked| asked.target == "/below").collect();
    let message = ntfy[0].json();
    assert_eq!(
        (message["topic"].as_str(), message["priority"].as_u64()),
        (Some("topic-1"), Some(3))
    );
    assert_eq!(ntfy[0].headers["authorization"], "Bearer tk_of_the_topic");
    let checks: Vec<&str> = of("/check").iter().map(|asked| asked.target.as_str()).collect();
    let run = checks[0].strip_prefix("/check/start?rid=").unwrap();
    assert_eq!((checks.len(), checks[1]), (2, format!("/check?rid={run}").as_str()));
    assert_eq!(run.len(), 36);
    let mailed = mailed.lock().unwrap().clone();
    for words in ["MAIL FROM:<nights@example.org>", "RCPT TO:<ann@example.org>", "1 commit ready"] {
        assert!(mailed.contains(words), "{words}: {mailed}");
    }
    assert!(mailed.contains("Subject: "), "{mailed}");
    let told = fs::read_to_string(told).unwrap();
    let mut values = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
    let notice = values.next().unwrap().unwrap();
    let seen = &told[values.byte_offset()..];
    assert_eq!(notice["schema"], "nightshift.notice/1");
    assert_eq!(notice["data"]["landed"], 1);
    assert_eq!(notice["data"]["occasions"], serde_json::json!(["finished", "failed"]));
    assert_eq!(seen.trim(), "mine", "a program sees what was made for it");
}

#[test]
fn who_cannot_be_told_is_a_sentence_and_no_failure() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refuses = Service::start(&["403 Forbidden"]);
    let later = Service::start(&["503 Service Unavailable", "200 OK"]);
    let ran = TestNight::new()
        .task("a", "Add one")
        .user(&format!(
            "notify: [{{to: 'slack:http://{gone}/s3cret-path'}}, {{to: 'discord:{}/s3cret-path'}}, \
             {{to: 'teams:${{NOT_SET}}'}}, {{to: 'ntfy:{}/topic'}}, {{run: [sh, -c, 'echo no such phone >&2; exit 4']}}, \
             {{run: [no-such-program-here]}}]",
            refuses.url, later.url
        ))
        .agent(EDITS)
        .run(&["-q"])
        .exit(0)
        .landed(["a"])
        .says("slack was not told: 127.0.0.1 was not reached")
        .says("discord was not told: 127.0.0.1 answered 403 Forbidden")
        .says("teams was not told: the variable NOT_SET is not set")
        .says("sh was not told: it ended with 4: no such phone")
        .says("no-such-program-here was not told: ");
    let said = ran.all();
    assert!(!said.contains("s3cret") && !said.contains("ntfy was not told"), "{said}");
    assert_eq!(refuses.asked().len(), 1, "a no is a no");
    assert_eq!(later.asked().len(), 2);
}

#[test]
fn a_quiet_night_is_silent_and_its_check_hears_of_it() {
    let service = Service::start(&["200 OK"]);
    let url = &service.url;
    let night = TestNight::new()
        .task("a", "Add one")
        .user(&format!("notify: [{{to: 'slack:{url}/slack'}}, {{to: 'healthchecks:{url}/check'}}]"))
        .agent(EDITS)
        .run(&[])
        .exit(0)
        .then();
    let before = service.asked().len();
    assert_eq!(before, 3);
    night.call(&["run"]).exit(0).says("nothing new is ready");
    let targets: Vec<String> = service.asked().into_iter().skip(before).map(|a| a.target).collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert!(targets.iter().all(|target| target.starts_with("/check")), "{targets:?}");
}

#[test]
fn a_night_that_cannot_begin_or_ends_early_is_told_to_who_wants_that() {
    let service = Service::start(&["200 OK"]);
    let url = &service.url;
    let notify = format!(
        "notify: [{{to: 'slack:{url}/refused', on: [refused]}}, {{to: 'slack:{url}/finished', on: [finished]}}, \
         {{to: 'healthchecks:{url}/check'}}]"
    );
    TestNight::new()
        .task("a", "Add one")
        .user(&notify)
        .agent(EDITS)
        .gate("exit 1")
        .run(&[])
        .exit(3);
    let asked = service.asked();
    let targets: Vec<&str> = asked.iter().map(|asked| asked.target.as_str()).collect();
    assert_eq!(targets.len(), 3, "{targets:?}");
    assert!(targets.iter().any(|target| target.starts_with("/check/3?rid=")), "{targets:?}");
    let told = asked.iter().find(|asked| asked.target == "/refused").unwrap();
    let line = told.json()["text"].as_str().unwrap().to_owned();
    assert!(line.starts_with("repo: did not start at "), "{line}");
    assert!(
        line.contains("the gate is red on the base") && line.ends_with("nightshift status"),
        "{line}"
    );
    let before = asked.len();
    // A setting that is wrong at 2 am, which nobody sees.
    let night = TestNight::new().task("a", "Add one").user(&notify).agent(EDITS);
    night.file(".nightshift/config.yml", "limits: {task: 1}\n").run(&[]).exit(2);
    let asked = service.asked();
    let told = asked[before..].iter().find(|asked| asked.target == "/refused").unwrap();
    assert!(told.json()["text"].as_str().unwrap().contains("unknown setting"), "{told:?}");
}

#[test]
fn a_trial_says_of_each_way_whether_it_works() {
    let service = Service::start(&["200 OK", "404 Not Found"]);
    let url = &service.url;
    let night = TestNight::new()
        .task("a", "Add one")
        .user(&format!("notify: [{{to: 'slack:{url}/one'}}, {{run: [sh, -c, 'exit 1']}}]"))
        .commit();
    let ran = night.call(&["doctor", "--notify"]).exit(1);
    let ran = ran.says("told      slack").says("NOT TOLD  sh: it ended with 1");
    assert!(service.asked()[0].body.contains("a trial"), "{:?}", service.asked());
    let none = TestNight::new().task("a", "Add one").commit();
    none.call(&["doctor", "--notify"]).exit(0).says("nobody is told of a night");
    ran.then();
}
