//! `nightshift gc`: removes records of old nights that nobody needs, and says what and how much it was.

use std::collections::BTreeMap;

use crate::{
    cli::{Global, Output, code, tell::Cleaner},
    ids::NightId,
    runner::{
        clock,
        home::Home,
        open,
        places::Surroundings,
        prepare,
        refused::{Refused, RefusedKind},
        storage::{collect::Collected, keep},
    },
};

/// Remove records of old nights that nobody needs, and what only they kept
#[derive(Debug, clap::Args)]
pub(super) struct Gc {
    /// Only say what would go
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn gc(
    surroundings: &Surroundings,
    global: &Global,
    command: &Gc,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let cleaner = Cleaner::new(surroundings);
    let settings = prepare::user_settings(surroundings, output.style())?;
    let now = clock::now();
    let (plan, collected) = if command.dry_run {
        let plan = keep::plan(surroundings, &home, settings.keep, now);
        let collected = keep::forecast(&home, &plan, now)?;
        (plan, collected)
    } else {
        let lock = open::lock(&home, None)?;
        let plan = keep::plan(surroundings, &home, settings.keep, now);
        let collected = keep::carry_out(&lock, &home, &plan, now);
        (plan, collected)
    };
    let exit =
        if collected.failed > 0 || !plan.damaged.is_empty() { code::FINDINGS } else { code::DONE };
    let clean = |told: &[(NightId, String)]| -> Vec<(NightId, String)> {
        told.iter().map(|(night, why)| (night.clone(), cleaner.line(why))).collect()
    };
    let (stay, damaged) = (clean(&plan.stay), clean(&plan.damaged));
    if output.is_json() {
        let by: BTreeMap<&str, serde_json::Value> = collected
            .by
            .iter()
            .map(|(what, removed)| {
                let counted =
                    serde_json::json!({ "things": removed.things, "bytes": removed.bytes });
                (what.name(), counted)
            })
            .collect();
        output.json(
            "gc",
            &serde_json::json!({
                "dry_run": command.dry_run, "nights": plan.go, "logs": plan.logs, "stay": stay,
                "damaged": damaged, "removed": by, "failed": collected.failed, "exit": exit,
            }),
        );
        return Ok(exit);
    }
    for note in &plan.notes {
        output.note(&format!("note: {}", cleaner.line(note)));
    }
    for (night, why) in &stay {
        output.note(&format!("{night} stays: {why}"));
    }
    for (night, why) in &damaged {
        output.result(&format!("{night} is damaged and stays: {why}"));
    }
    if !output.is_quiet() {
        output.result(&told(&plan, &collected, command.dry_run));
    }
    Ok(exit)
}

fn told(plan: &keep::Plan, collected: &Collected, dry_run: bool) -> String {
    let names =
        |nights: &[NightId]| nights.iter().map(NightId::as_str).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if !plan.go.is_empty() {
        lines.push(format!("nights: {}", names(&plan.go)));
    }
    if !plan.logs.is_empty() {
        lines.push(format!("transcripts and logs of: {}", names(&plan.logs)));
    }
    let would = if dry_run { "would be " } else { "" };
    lines.push(format!("{would}{collected}"));
    lines.join("\n")
}

/// The same after a night, while its lock is held. What is wrong with it is logged, and ends no night.
pub(super) fn after_a_night(surroundings: &Surroundings, home: &Home, lock: &crate::journal::Lock) {
    let done = || -> Result<Collected, Refused> {
        let settings = prepare::user_settings(surroundings, crate::diagnostic::Style::Plain)?;
        let now = clock::now();
        let plan = keep::plan(surroundings, home, settings.keep, now);
        for (night, why) in &plan.damaged {
            tracing::warn!(%night, %why, "an old night is damaged and stays");
        }
        if plan.go.is_empty() && plan.logs.is_empty() {
            return Ok(Collected::default());
        }
        Ok(keep::carry_out(lock, home, &plan, now))
    };
    match done() {
        Ok(collected) if collected.is_empty() => {}
        Ok(collected) => tracing::info!("{collected}"),
        Err(problem) if problem.kind == RefusedKind::Internal => {
            tracing::error!(%problem, "could not collect old nights");
        }
        Err(problem) => tracing::warn!(%problem, "could not collect old nights"),
    }
}
