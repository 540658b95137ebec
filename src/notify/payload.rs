//! What each service expects, as its own documentation has it. Pure.
//!
//! The line holds names of tasks and tests: in no message is it markup, a mention or a link of its own.

use serde_json::{Value, json};
use url::Url;

use super::Beat;
use crate::report::{
    notice::{Notice, Occasion},
    text,
};

/// Discord's limit of a message, in characters.
const DISCORD: usize = 2_000;

/// An incoming webhook. Three characters are Slack's own (docs.slack.dev, "Formatting message text"); `mrkdwn: false`
/// leaves the others alone.
pub fn slack(notice: &Notice) -> Value {
    let text = notice.line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({"text": text, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false})
}

/// A webhook's message (discord.com/developers, "Execute Webhook"). Nobody is pinged, and 4 is SUPPRESS_EMBEDS.
pub fn discord(notice: &Notice) -> Value {
    let mut line = String::new();
    for word in notice.line.split(' ') {
        if !line.is_empty() {
            line.push(' ');
        }
        if Some(word) == notice.url.as_deref() {
            line.push_str(word);
            continue;
        }
        for c in word.chars() {
            if "\\*_~`|>#[]()<@-:".contains(c) {
                line.push('\\');
            }
            line.push(c);
        }
    }
    json!({
        "content": text::head(&line, DISCORD),
        "allowed_mentions": {"parse": []},
        "flags": 4,
    })
}

/// A card for a workflow that was made by "Post to a channel when a webhook request is received"
/// (learn.microsoft.com, "Create incoming webhooks with Workflows"). A `TextBlock` knows a little Markdown, a
/// `TextRun` none.
pub fn teams(notice: &Notice) -> Value {
    let run = |text: &str, weight: &str| {
        json!({
            "type": "RichTextBlock",
            "inlines": [{"type": "TextRun", "text": text, "weight": weight}],
        })
    };
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [run(&notice.title, "Bolder"), run(&notice.line, "Default")],
    });
    if let Some(url) = &notice.url {
        card["actions"] =
            json!([{"type": "Action.OpenUrl", "title": "Open the pull request", "url": url}]);
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}

/// A message to a topic, as JSON to the server itself (docs.ntfy.sh, "Publish as JSON"): headers could not hold what
/// is not ASCII. 4 is high, 3 what is usual.
pub fn ntfy(notice: &Notice, topic: &str) -> Value {
    let urgent = [Occasion::Stopped, Occasion::Unpublished, Occasion::Refused];
    let urgent = urgent.iter().any(|occasion| notice.occasions.contains(occasion));
    let mut message = json!({
        "topic": topic,
        "title": notice.title,
        "message": notice.line,
        "priority": if urgent { 4 } else { 3 },
    });
    if let Some(url) = &notice.url {
        message["click"] = json!(url);
    }
    message
}

/// The address that a check is told at (healthchecks.io/docs/http_api, "rid" in "Measuring script run time"). 0 and 1
/// are nights that worked; a larger code is a failure that the check shows.
pub fn check(url: &Url, beat: &Beat<'_>) -> Url {
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&match beat.exit {
        None => format!("{path}/start"),
        Some(0 | 1) => path,
        Some(code) => format!("{path}/{code}"),
    });
    url.query_pairs_mut().append_pair("rid", beat.run);
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn notice(line: &str) -> Notice {
        let url = "https://github.com/acme/billing/pull/482".to_owned();
        Notice {
            occasions: BTreeSet::from([Occasion::Finished]),
            title: "nightshift 2025-11-21: 4 of 7 tasks".to_owned(),
            line: format!("{line} {url}"),
            url: Some(url),
            data: Value::Null,
        }
    }

    #[test]
    fn no_message_pings_links_or_formats() {
        let hostile = notice("acme: <!channel> <https://evil|x> @everyone **b** [a](http://e) `c`");
        let slack = slack(&hostile);
        let text = slack["text"].as_str().unwrap();
        assert!(!text.contains('<') && !text.contains('>'), "{text}");
        let discord = discord(&hostile);
        let content = discord["content"].as_str().unwrap();
        assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
        assert!(content.contains("\\@everyone \\*\\*b\\*\\* \\[a\\]\\(http\\:"), "{content}");
        assert!(content.ends_with(" https://github.com/acme/billing/pull/482"), "{content}");
        let card = &teams(&hostile)["attachments"][0]["content"];
        assert!(
            card["body"].as_array().unwrap().iter().all(|part| part["type"] == "RichTextBlock")
        );
        assert_eq!(card["actions"][0]["url"], hostile.url.clone().unwrap());
    }

    #[test]
    fn a_message_is_as_long_as_the_service_takes_it() {
        let long = notice(&"a*".repeat(3_000));
        let content = discord(&long)["content"].as_str().unwrap().chars().count();
        assert!(content <= DISCORD, "{content}");
    }

    #[test]
    fn a_check_hears_of_the_beginning_and_of_the_exit_code() {
        let url = Url::parse("https://hc.example/ping/abc/").unwrap();
        let at = |exit| check(&url, &Beat { run: "r", exit, line: "" }).to_string();
        assert_eq!(at(None), "https://hc.example/ping/abc/start?rid=r");
        assert_eq!(at(Some(0)), "https://hc.example/ping/abc?rid=r");
        assert_eq!(at(Some(1)), at(Some(0)));
        assert_eq!(at(Some(6)), "https://hc.example/ping/abc/6?rid=r");
    }

    #[test]
    fn what_is_urgent_is_said_so_and_every_language_arrives() {
        let mut said = notice("naïve: 名前 😀");
        assert_eq!(ntfy(&said, "t")["priority"], 3);
        assert!(ntfy(&said, "t")["message"].as_str().unwrap().contains("名前 😀"));
        said.occasions.insert(Occasion::Stopped);
        assert_eq!(ntfy(&said, "t")["priority"], 4);
    }
}
