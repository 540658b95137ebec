//! What rules said, as SARIF 2.1.0 for code scanning: refusals before the start, findings in diffs, secrets.
//!
//! A finding stands at the file that it names, else at the task's line in the plan. No line of code is quoted, and of a
//! secret only what the rule itself masked.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    ids::{self, NAME, hex},
    policy::{self, Phase, Verdict},
    report::formats::{Finding, Sheet, TaskRow},
};

/// Writes the log. Each finding is once in it.
pub fn sarif(sheet: &Sheet) -> String {
    let mut rules: Vec<String> = Vec::new();
    let mut results = Vec::new();
    let mut seen = BTreeSet::new();
    for task in &sheet.tasks {
        for finding in &task.findings {
            let print = fingerprint(task, finding);
            if !seen.insert(print.clone()) {
                continue;
            }
            let index = rules.iter().position(|rule| *rule == finding.rule).unwrap_or_else(|| {
                rules.push(finding.rule.clone());
                rules.len() - 1
            });
            results.push(result(sheet, task, finding, index, &print));
        }
    }
    let mut invocation = json!({
        "executionSuccessful": sheet.exit.is_some_and(|exit| exit <= 1),
        "startTimeUtc": format!("{:.0}", sheet.began),
    });
    if let Some(exit) = sheet.exit {
        invocation["exitCode"] = exit.into();
        invocation["endTimeUtc"] = format!("{:.0}", sheet.last).into();
    }
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": NAME,
                "semanticVersion": ids::VERSION,
                "rules": rules.iter().map(|rule| described(rule)).collect::<Vec<_>>(),
            }},
            "automationDetails": {"id": format!("{NAME}/{}", sheet.night)},
            "invocations": [invocation],
            "originalUriBaseIds": {
                "%SRCROOT%": {"description": {"text": "The root of the repository."}},
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn result(sheet: &Sheet, task: &TaskRow, finding: &Finding, rule: usize, print: &str) -> Value {
    let (uri, line) = place(sheet, task, finding);
    let mut physical = json!({"artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"}});
    if let Some(line) = line {
        physical["region"] = json!({"startLine": line});
    }
    let help = finding.help.as_ref().map_or(String::new(), |help| format!(" To do: {help}."));
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": level(finding.verdict),
        "message": {"text": format!(
            "{}: {}. Limit: {}.{help}", task.id, finding.message, finding.limit
        )},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {format!("{NAME}/v1"): print},
        "properties": {"task": task.id, "outcome": task.outcome.word()},
    })
}

/// A file of the repository, relative to its root, and a line from 1.
fn place(sheet: &Sheet, task: &TaskRow, finding: &Finding) -> (String, Option<u64>) {
    let in_diff = policy::rule(&finding.rule).is_some_and(|rule| rule.phase == Phase::Diff);
    let (path, line) = match finding.value.rsplit_once(':') {
        Some((path, line)) if line.parse::<u64>().is_ok() => (path, line.parse().ok()),
        Some(_) | None => (finding.value.as_str(), None),
    };
    // A diff's rules see a path, a path with a line, or a count.
    let named = finding.message.contains(&format!("`{path}`")) || line.is_some();
    if in_diff && named && !path.is_empty() {
        return (relative(path), line.filter(|line| *line > 0));
    }
    (relative(&sheet.plan), Some(u64::try_from(task.line).unwrap_or(1).max(1)))
}

/// A path as a relative URI reference (RFC 3986): only unreserved characters stay, so no path is a scheme or leaves
/// the root.
fn relative(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.trim_start_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// The same finding of the same task tomorrow is the same alert.
fn fingerprint(task: &TaskRow, finding: &Finding) -> String {
    let words = [&task.id, &finding.rule, &finding.value].map(String::as_str).join("\0");
    hex(&Sha256::digest(words))[..32].to_owned()
}

fn level(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Refuse => "error",
        Verdict::Ask => "warning",
        Verdict::Report => "note",
    }
}

/// A rule with its help. One that a journal names and this version does not know has its id alone.
fn described(id: &str) -> Value {
    let Some(rule) = policy::rule(id) else { return json!({"id": id}) };
    let key = if rule.key.is_empty() {
        "It is built in.".to_owned()
    } else {
        format!("`{}` sets it.", rule.key)
    };
    json!({
        "id": id,
        "shortDescription": {"text": rule.asks},
        "fullDescription": {"text": format!("{}: {}.", rule.asks, rule.why)},
        "help": {
            "text": format!("{}, because {}. {key}", rule.asks, rule.why),
            "markdown": format!("**{}**, because {}. {key}", rule.asks, rule.why),
        },
        "defaultConfiguration": {"level": level(rule.verdict)},
    })
}
