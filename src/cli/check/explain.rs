//! `check --explain`: every rule of a task with its limit, its verdict and where it was set; also those that
//! wait for the diff, the gate and the tests, so that nothing comes as a surprise in the morning.

use super::{Fate, Row, View, lint::reason, ruling, words::header};
use crate::{
    policy::{AdmittedTask, Freed, Origin, Phase, RULES, RuleInfo, Verdict, rule},
    report::{column, text},
};

/// One rule that is applied after the run.
pub(super) struct Later {
    pub(super) rule: &'static RuleInfo,
    /// What will pass.
    pub(super) limit: String,
    /// Where that was set.
    pub(super) origin: Origin,
    /// What its "no" will mean for this task.
    pub(super) verdict: Verdict,
    /// True when this task's approval has freed it.
    pub(super) freed: bool,
}

/// The rules that will be held against what becomes of a task.
pub(super) fn later(view: &View<'_>, row: &Row<'_>) -> Vec<Later> {
    let policy = view.preparation.rules.policy();
    let admitted = row.admission.admitted();
    let files = admitted.map(AdmittedTask::files).unwrap_or_default();
    let approved = row.task.fields.approved;
    let of = |rule: &'static RuleInfo| {
        let verdict = rule.verdict_under(policy)?;
        let (mut limit, mut origin) = (rule.limit(policy), rule.origin(policy));
        match rule.id {
            "inspection.paths" if !files.is_empty() => {
                limit = format!("{limit}; of these only {}", files.join(", "));
            }
            // Holds only for tasks that were let through as such.
            "inspection.scope" if !admitted.is_some_and(AdmittedTask::only_tests_or_docs) => {
                return None;
            }
            "gate.proof" => {
                let score = admitted.map_or(0, |task| task.risk().score);
                let (level, band) = policy.risk.of(score);
                origin = policy.origin(&format!("policy.risk.{level}"));
                limit = match band.proof {
                    Some(least) => format!("risk {level} {score}: a score of at least {least}"),
                    None => format!("risk {level} {score}: any green gate"),
                };
            }
            _ => {}
        }
        let freed = approved && verdict == Verdict::Ask && rule.freed == Freed::ByApproval;
        Some(Later { rule, limit, origin, verdict, freed })
    };
    RULES.iter().filter(|rule| rule.phase != Phase::Task).filter_map(of).collect()
}

/// Every rule of each task: all, or those that were asked for.
pub(super) fn explained(view: &View<'_>, asked: bool) -> String {
    let mut lines = vec![header(view)];
    for row in &view.rows {
        // What nobody asked for and nothing asks to run is not worth forty lines.
        if !asked && !view.all && matches!(row.fate, Fate::Silent(_)) {
            continue;
        }
        lines.push(String::new());
        lines.push(format!(
            "{} · {} · line {} · {}",
            row.task.id,
            text::inline_plain(&row.task.title),
            row.task.line,
            fate(&row.fate)
        ));
        for applied in &row.admission.rules {
            let (verdict, refusal) = ruling(applied);
            lines.push(format!(
                "  {verdict:<6}  {:<22}  {}  limit: {} ({})",
                applied.rule,
                column(&applied.value, 20),
                text::inline_plain(&applied.limit),
                applied.origin
            ));
            if let Some(refusal) = refusal {
                let help = refusal.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
                let words = format!("{}{help}", reason(view.preparation, refusal));
                lines.push(format!("          {}", text::inline_plain(&words)));
                if let Some(rule) = rule(applied.rule) {
                    lines.push(format!("          why: {}", rule.why));
                }
            }
        }
        if let Some(task) = row.admission.admitted() {
            let score = task.risk().score;
            let level = view.preparation.rules.policy().risk.of(score).0;
            lines.push(format!("  risk    {level} {score}"));
            for factor in &task.risk().factors {
                let why = text::inline_plain(&factor.why);
                lines.push(format!("          {:+} {}: {why}", factor.points, factor.name));
            }
        }
        lines.push("  after the run, on its diff, its gate and its tests:".to_owned());
        for Later { rule, limit, origin, verdict, freed } in later(view, row) {
            let freed = if freed { ", freed by approval" } else { "" };
            let origin = if rule.key.is_empty() { "always".to_owned() } else { origin.to_string() };
            lines.push(format!(
                "  {verdict:<6}  {:<24}  {} ({origin}{freed})",
                rule.id,
                text::inline_plain(&limit)
            ));
        }
    }
    lines.join("\n")
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Runs(place) => format!("would run, as number {place}"),
        Fate::Held(why, _) | Fate::Silent(why) => {
            format!("would not run: {}", text::inline_plain(why))
        }
        Fate::No(Verdict::Refuse, _) => "would not run: refused".to_owned(),
        Fate::No(Verdict::Ask | Verdict::Report, _) => "would not run: waits".to_owned(),
    }
}
