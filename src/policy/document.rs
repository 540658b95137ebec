//! The policy as a document that people read: what may be done unattended, what may not, what a person must
//! approve, each with its limit, its reason and where it was set.
//!
//! Markdown from values alone; judges nothing.

use std::fmt::Write as _;

use super::{Freed, Origin, Phase, Policy, RULES, RuleInfo, Verdict};

/// The whole document, without a heading of its own.
pub fn document(policy: &Policy) -> String {
    let mut text = String::new();
    section(&mut text, "Can", "Unattended, within these limits.", &can(policy));
    let by = |wanted: Verdict| {
        let rules = RULES.iter().filter(|rule| rule.verdict_under(policy) == Some(wanted));
        rules.map(|rule| line(policy, rule)).collect::<Vec<_>>()
    };
    let cannot = "Never unattended; no approval frees it.";
    section(&mut text, "Cannot", cannot, &by(Verdict::Refuse));
    let asks = "Waits for a person. `nightshift approve TASK` frees it for this text of the task, \
                where nothing else is said.";
    section(&mut text, "Needs approval", asks, &by(Verdict::Ask));
    let shown = "Stops nothing; the pull request shows it.";
    section(&mut text, "Is shown", shown, &by(Verdict::Report));
    let off = RULES.iter().filter(|rule| rule.verdict_under(policy).is_none());
    let off: Vec<String> = off.map(|rule| line(policy, rule)).collect();
    if !off.is_empty() {
        section(&mut text, "Is switched off", "Said by the configuration.", &off);
    }
    text
}

fn section(text: &mut String, heading: &str, words: &str, lines: &[String]) {
    let blank = if text.is_empty() { "" } else { "\n" };
    let _ = write!(text, "{blank}## {heading}\n\n{words}\n\n");
    for line in lines {
        let _ = writeln!(text, "- {line}");
    }
}

fn can(policy: &Policy) -> Vec<String> {
    let decided = [
        ("low", policy.decisions.low),
        ("medium", policy.decisions.medium),
        ("high", policy.decisions.high),
    ];
    let mut lines = vec![format!(
        "change files within {} ({})",
        code(&policy.allowed()),
        policy.origin("policy.paths.allow")
    )];
    if !policy.dependencies.is_empty() {
        lines.push(format!(
            "add the dependencies {} ({})",
            code(&policy.dependencies.join(", ")),
            policy.origin("policy.dependencies")
        ));
    }
    for (level, authority) in decided {
        let who = match authority {
            super::Authority::Decide => "by the agent",
            super::Authority::Review => "by the agent, when a second conversation agrees",
            super::Authority::Ask => "by a person only: the task waits with its question",
        };
        let origin = policy.origin(&format!("policy.decisions.{level}"));
        lines.push(format!("settle decisions of {level} weight {who} ({origin})"));
    }
    let risk = &policy.risk;
    let bands = [
        ("low", risk.low),
        ("medium", risk.medium),
        ("high", risk.high),
        ("critical", risk.critical),
    ];
    let mut from = 0;
    for (level, band) in bands {
        let does = match band.does {
            super::Does::Run => "runs",
            super::Does::Ask => "waits for a person",
            super::Does::Block => "never runs unattended",
        };
        let proof = band.proof.map_or(String::new(), |least| {
            format!(", and lands with a score of the gate of at least {least}")
        });
        let origin = policy.origin(&format!("policy.risk.{level}"));
        lines.push(format!("risk {from}–{} ({level}): {does}{proof} ({origin})", band.upto));
        from = band.upto.saturating_add(1);
    }
    lines
}

/// One rule: what it asks for, its limit where there is one, why, and where from.
fn line(policy: &Policy, rule: &RuleInfo) -> String {
    let when = match rule.phase {
        Phase::Task => "before the run",
        Phase::Diff => "on the diff",
        Phase::Gate => "on the gate's result",
        Phase::Tests => "on the tests",
    };
    let limit = rule.limit(policy);
    let limit = if limit == rule.asks { String::new() } else { format!(": {}", code(&limit)) };
    let set = match (rule.key, rule.origin(policy)) {
        ("", _) => "always".to_owned(),
        (key, Origin::Default) => format!("`{key}`, built in"),
        (key, origin) => format!("`{key}`, {origin}"),
    };
    let freed = match (rule.freed, rule.verdict_under(policy)) {
        (Freed::Otherwise, Some(Verdict::Ask)) => " Approval does not free it.",
        _ => "",
    };
    format!("`{}`, {when}: {}{limit}. *Why:* {}. ({set}){freed}", rule.id, rule.asks, rule.why)
}

/// As code, also where the text has backticks of its own.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let blank = if longest > 0 { " " } else { "" };
    format!("{fence}{blank}{text}{blank}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Deletion;

    /// The lines of one section.
    fn of<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
        let (_, rest) = text.split_once(&format!("## {heading}\n")).unwrap();
        rest.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("- ")).collect()
    }

    #[test]
    fn every_rule_stands_in_the_section_of_its_verdict_with_reason_and_origin() {
        let mut policy = Policy { min_alignment: 66, ..Policy::default() };
        let origin = Origin::File { path: "c.yml".into(), line: 7 };
        policy.origins.insert("policy.min_alignment".into(), origin);
        let text = document(&policy);
        let asks = of(&text, "Needs approval");
        let line = asks.iter().find(|line| line.contains("`admission.alignment`")).unwrap();
        for part in ["`at least 66`", "*Why:* a task that fits", "`policy.min_alignment`, c.yml:7"]
        {
            assert!(line.contains(part), "{line}");
        }
        for rule in RULES {
            let named = format!("- `{}`", rule.id);
            assert_eq!(text.lines().filter(|line| line.starts_with(&named)).count(), 1, "{named}");
        }
    }

    #[test]
    fn a_rule_that_the_policy_softens_moves() {
        let find = |delete, heading| {
            let text = document(&Policy { delete, ..Policy::default() });
            of(&text, heading).iter().any(|line| line.contains("`inspection.deletion`"))
        };
        assert!(find(Deletion::Never, "Cannot") && !find(Deletion::Never, "Needs approval"));
        assert!(find(Deletion::Ask, "Needs approval") && !find(Deletion::Ask, "Cannot"));
        assert!(find(Deletion::Allow, "Is switched off"));
    }

    #[test]
    fn patterns_with_backticks_stay_code() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a``b"), "``` a``b ```");
    }

    #[test]
    fn only_dependencies_that_are_approved_are_told_of() {
        let told = |dependencies: &[&str]| {
            let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
            let text = document(&Policy { dependencies, ..Policy::default() });
            let line = "- add the dependencies `serde, syn` (built in)";
            (text.contains("- add the dependencies"), of(&text, "Can").contains(&line))
        };
        assert_eq!(told(&[]), (false, false));
        assert_eq!(told(&["serde", "syn"]), (true, true));
    }
}
