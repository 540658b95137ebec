//! `nightshift doctor`: what this machine can do for a night, found by trying; and who we are on the remote's GitHub.
//!
//! Changes nothing. Never says that something works which was not tried.

use serde_json::{Value, json};

use crate::{
    cli::{Global, Output, code},
    config::Sandbox,
    diagnostic::Style,
    forge::{ForgeError, github::Identity},
    git::user::UserRepository,
    report::text,
    runner::{
        home::GitHubAccess,
        home::Home,
        places::Surroundings,
        prepare::user_settings,
        refused::Refused,
        tell::Telling,
        walls::{self, Found, Outcome, Trial},
    },
    sandbox::{Tier, trial::WAYS},
};

/// Say which walls hold on this machine, what they do not stop, and who you are on GitHub
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// Send a trial on every way of `notify` instead, and say what became of it
    #[arg(long)]
    notify: bool,
}

pub(super) fn doctor(
    surroundings: &Surroundings,
    global: &Global,
    command: &Doctor,
    output: &mut Output,
) -> Result<u8, Refused> {
    let settings = user_settings(surroundings, Style::Plain)?;
    if command.notify {
        return notify(surroundings, global, output);
    }
    let wish = settings.sandbox.unwrap_or(Sandbox::Auto);
    let found = walls::find(surroundings, wish, &surroundings.cache, true)?;
    let github = github(surroundings, global);
    let enough = found.tier != Tier::None || wish == Sandbox::Off;
    let exit = if enough { code::DONE } else { code::FINDINGS };
    if output.is_json() {
        output.json("doctor", &in_json(&found, github.as_ref(), exit));
    } else if !output.is_quiet() || !enough {
        output.result(&in_words(&found, github.as_ref(), wish));
    }
    Ok(exit)
}

fn notify(surroundings: &Surroundings, global: &Global, output: &Output) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let told = Telling::of(surroundings, &home).trial();
    let missed = told.iter().any(|(_, why)| why.is_some());
    let exit = if missed { code::FINDINGS } else { code::DONE };
    if output.is_json() {
        let ways: Vec<Value> =
            told.iter().map(|(way, why)| json!({"way": way, "problem": why})).collect();
        output.json("doctor", &json!({"notify": ways, "exit": exit}));
    } else if told.is_empty() {
        let file = surroundings.user_file_shown();
        output.result(&format!("nobody is told of a night: {file} has no `notify`"));
    } else {
        for (way, why) in &told {
            output.result(&match why {
                None => format!("told      {way}"),
                Some(why) => format!("NOT TOLD  {way}: {}", text::inline_plain(why)),
            });
        }
    }
    Ok(exit)
}

/// The GitHub of the repository here, where it has one, and who we are there.
fn github(surroundings: &Surroundings, global: &Global) -> Option<OnGitHub> {
    let path = global.repository();
    let remote = UserRepository::open(&path).ok()?.remote().ok()??;
    let access = GitHubAccess::of(surroundings, &remote)?;
    let identity = access.identity();
    Some(OnGitHub { access, identity })
}

/// A repository on GitHub.
struct OnGitHub {
    access: GitHubAccess,
    identity: Result<Identity, ForgeError>,
}

impl OnGitHub {
    fn words(&self) -> String {
        let mut lines =
            vec![format!("github   {}, with {}", self.access.address, self.access.source())];
        if let Some(fork) = &self.access.fork {
            lines.push(format!("  pushed to the fork {}", fork.slug()));
        }
        match &self.identity {
            Ok(identity) => {
                if identity.archived {
                    lines.push(
                        "  ✗ the repository is archived: nothing can be published".to_owned(),
                    );
                }
                if identity.push == Some(false) && self.access.fork.is_none() {
                    lines.push("  ✗ this token may not push there".to_owned());
                }
                lines.push(format!("  {}", text::inline_plain(&identity.words())));
            }
            Err(problem) => {
                lines.push(format!("  ✗ {}", text::inline_plain(&problem.message)));
                lines.push(format!("    {}", text::inline_plain(&problem.help)));
            }
        }
        lines.push(
            "  tried with what this shell has: a timer has its own environment, and no keyring"
                .to_owned(),
        );
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let identity = self.identity.as_ref();
        json!({
            "repository": self.access.address.to_string(),
            "fork": self.access.fork.as_ref().map(ToString::to_string),
            "credential": self.access.source(),
            "person": identity.ok().and_then(|identity| identity.person.clone()),
            "push": identity.ok().and_then(|identity| identity.push),
            "archived": identity.ok().map(|identity| identity.archived),
            "approvals_needed": identity.ok().and_then(|identity| identity.reviews),
            "problem": identity.err().map(|problem| format!("{problem}; {}", problem.help)),
        })
    }
}

fn in_words(found: &Found, github: Option<&OnGitHub>, wish: Sandbox) -> String {
    let mut lines = Vec::new();
    let used = match (found.tier, wish) {
        (_, Sandbox::Off) => "none, as your own file says: every report names it".to_owned(),
        (Tier::None, Sandbox::T1 | Sandbox::T2) => {
            "those that your own file asks for do not hold: nothing runs; see `sandbox: auto`"
                .to_owned()
        }
        (Tier::None, _) => {
            "none holds: nothing runs without `sandbox: off` in your own file".to_owned()
        }
        (tier, _) => format!("{} ({})", tier.name(), about(tier)),
    };
    lines.push(format!("walls    {used}"));
    for trial in &found.trials {
        lines.push(format!("  {} {:<5} {}", mark(trial), trial.tier.name(), verdict(trial)));
    }
    if let Some(control) = &found.control {
        lines.push(format!(
            "  (the same trial without walls led out {} of {} ways)",
            control.out.len(),
            WAYS.len()
        ));
    }
    if found.tier != Tier::None {
        let gaps = found.gaps();
        lines.push(match gaps.as_slice() {
            [] => "does not stop   nothing that we know of and tried".to_owned(),
            gaps => format!("does not stop   {}", gaps.join("\n                ")),
        });
    }
    lines.push(match &found.no_overlays {
        None => "overlays ✓ large trees and caches cost only what changes".to_owned(),
        Some(why) => {
            format!(
                "overlays – {}: workspaces are directories that stay warm",
                text::inline_plain(why)
            )
        }
    });
    lines.extend(github.map(OnGitHub::words));
    lines.push(String::new());
    lines.join("\n")
}

fn about(tier: Tier) -> &'static str {
    match tier {
        Tier::T2 => "own files, processes, network and loopback; Landlock, seccomp, limits",
        Tier::T1 => "Landlock, seccomp, limits",
        Tier::Mac => "sandbox-exec",
        Tier::None => "nothing",
    }
}

fn mark(trial: &Trial) -> char {
    match trial.outcome {
        Outcome::Holds => '✓',
        Outcome::Breaks(_) => '✗',
        Outcome::Missing(_) => '–',
    }
}

fn verdict(trial: &Trial) -> String {
    match trial.outcome.problem() {
        None => format!("tried {} ways out, none led out", trial.closed.len()),
        Some(problem) => text::inline_plain(&problem),
    }
}

fn in_json(found: &Found, github: Option<&OnGitHub>, exit: u8) -> Value {
    let trial = |trial: &Trial| {
        json!({
            "tier": trial.tier.name(),
            "holds": trial.outcome == Outcome::Holds,
            "problem": trial.outcome.problem(),
            "led_out": trial.out,
            "closed": trial.closed,
        })
    };
    json!({
        "tier": found.tier.name(),
        "gaps": found.gaps(),
        "trials": found.trials.iter().map(trial).collect::<Vec<_>>(),
        "control": found.control.as_ref().map(trial),
        "overlays": found.no_overlays.is_none(),
        "no_overlays": found.no_overlays,
        "github": github.map(OnGitHub::json),
        "exit": exit,
    })
}
