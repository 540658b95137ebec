//! `nightshift init`: looks at a repository, says what it found, and writes a configuration and a plan to
//! begin with. Never overwrites and never commits.

mod look;

use std::path::Path;

use serde_json::json;

use crate::{
    agent::{Agent as _, ClaudeAgent, Credential},
    cli::{Global, Output, code, tell},
    config, files,
    ids::NAME,
    process::{Environment, Supervisor},
    redact::Secret,
    report::text,
    runner::{home::Home, places::Surroundings, refused::Refused},
};

/// Every setting that people change first, at its built-in value.
const SETTINGS: &str = include_str!("../../templates/config.yml");
/// The template's gate, which what was found replaces.
const GATE: &str = "steps: .ai-validation/check_quality.sh";
/// A plan whose samples wait for a person.
const PLAN: &str = include_str!("../../templates/PROJECT_PLAN.md");

/// Write a configuration and a plan to begin with
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// The command that decides whether work is good [default: what the repository has]
    #[arg(long, value_name = "CMD")]
    gate: Option<String>,
    /// Where the plan is or goes, relative to the repository's root
    #[arg(long, value_name = "FILE")]
    plan: Option<String>,
    /// Write nothing, show what would be written
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// One file that a night needs.
struct Piece {
    path: String,
    /// What to write; `None` when it is there already.
    text: Option<String>,
}

pub(super) fn init(
    surroundings: &Surroundings,
    global: &Global,
    command: &Init,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let Some(root) = home.user.work_tree().map(Path::to_path_buf) else {
        return Err(Refused::usage(
            format!("{} is a bare repository: there is no checkout to write into", {
                home.user.root().display()
            }),
            format!("run {NAME} init in a clone of it, then push"),
        ));
    };
    let candidates = look::gates(&root);
    let gate = match &command.gate {
        Some(given) => {
            Some(look::Gate { command: one_line("--gate", given)?, from: "--gate".into() })
        }
        None => candidates.first().cloned(),
    };
    let plan = plan_place(&root, command.plan.as_deref())?;
    let settings = settings_place(&root)?;
    let pieces = [
        Piece {
            text: (!is_there(&root, &settings)).then(|| settings_text(gate.as_ref(), &plan)),
            path: settings,
        },
        Piece { text: (!is_there(&root, &plan)).then(|| PLAN.to_owned()), path: plan },
    ];
    if !command.dry_run {
        for piece in &pieces {
            let Some(text) = &piece.text else { continue };
            let path = root.join(&piece.path);
            if let Some(parent) = path.parent() {
                files::create_dir_all(parent)?;
            }
            files::create_new(&path, text.as_bytes(), 0o644)?;
        }
    }
    let base = look::base(&home)?;
    let steps = next(&home, &pieces, gate.as_ref(), base.as_deref())?;
    let mut notes = notes(&home, &root, base.as_deref())?;
    if pieces[0].text.is_none() && command.gate.is_some() {
        notes.push(format!(
            "--gate was not written: {} is there; edit `gate.steps`",
            pieces[0].path
        ));
    }
    let facts = [
        ("repository", home.user.root().display().to_string()),
        ("base", base.clone().unwrap_or_else(|| "no commit yet".to_owned())),
        ("remote", home.remote_shown().unwrap_or_else(|| "none: branches stay here".to_owned())),
        ("forge", look::forge(&home, surroundings)),
        ("gate", gate_in_words(gate.as_ref(), &candidates)),
        ("agent", agent(surroundings)),
    ];
    let found_gate = gate.is_some() || pieces[0].text.is_none();
    let exit = if found_gate { code::DONE } else { code::FINDINGS };
    if output.is_json() {
        let files: Vec<_> = pieces
            .iter()
            .map(|piece| json!({"path": piece.path, "done": done(piece, command.dry_run), "text": piece.text}))
            .collect();
        let facts: serde_json::Map<String, serde_json::Value> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let gate = gate.as_ref().map(|gate| &gate.command);
        output.json(
            "init",
            &json!({"found": facts, "gate": gate, "files": files, "notes": notes, "next": steps}),
        );
        return Ok(exit);
    }
    let mut lines: Vec<String> = facts
        .iter()
        .map(|(name, value)| format!("{name:<11} {}", text::inline_plain(value)))
        .collect();
    lines.push(String::new());
    for piece in &pieces {
        lines.push(format!("{:<11} {}", done(piece, command.dry_run), piece.path));
        if let Some(text) = piece.text.as_ref().filter(|_| command.dry_run) {
            lines.extend(text.lines().map(|line| format!("  | {line}").trim_end().to_owned()));
        }
    }
    if !output.is_quiet() {
        output.result(&lines.join("\n"));
    }
    for note in &notes {
        output.note(&format!("note: {}", text::inline_plain(note)));
    }
    if !output.is_quiet() {
        output.result(&format!("\nnext: {}", steps.join("\n      ")));
    }
    Ok(exit)
}

fn done(piece: &Piece, dry_run: bool) -> &'static str {
    match (&piece.text, dry_run) {
        (None, _) => "left as is",
        (Some(_), true) => "would write",
        (Some(_), false) => "wrote",
    }
}

/// A dangling link is there too: nothing is written through it.
fn is_there(root: &Path, path: &str) -> bool {
    root.join(path).symlink_metadata().is_ok()
}

fn one_line(flag: &str, value: &str) -> Result<String, Refused> {
    let value = value.trim();
    if value.is_empty() || value.contains(char::is_control) {
        return Err(Refused::usage(
            format!("{flag} wants one line of text"),
            format!("several steps are a list below `gate.steps`; {NAME} init --gate 'make check'"),
        ));
    }
    Ok(value.to_owned())
}

/// The plan that is there or that will be.
fn plan_place(root: &Path, asked: Option<&str>) -> Result<String, Refused> {
    let Some(asked) = asked else {
        let [first, ..] = config::plan_files();
        let there = config::plan_files().into_iter().find(|path| is_there(root, path));
        return Ok(there.unwrap_or(first));
    };
    let path = one_line("--plan", asked)?;
    let path = path.strip_prefix("./").unwrap_or(&path);
    let inside = !path.starts_with('/')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git"));
    if !inside {
        return Err(Refused::usage(
            format!("`{asked}` is no place for a plan"),
            "write a path relative to the repository's root, such as docs/PLAN.md",
        ));
    }
    Ok(path.to_owned())
}

fn settings_place(root: &Path) -> Result<String, Refused> {
    let [first, second] = config::repository_files();
    let there = |path: &String| is_there(root, path).then_some(());
    let chosen = config::choose(there(&first), there(&second));
    let chosen = chosen.map_err(|both| Refused::usage(both.to_string(), "remove one of them"))?;
    Ok(chosen.map_or(first, |(path, ())| path))
}

/// The template with what was found filled in.
fn settings_text(gate: Option<&look::Gate>, plan: &str) -> String {
    let text = match gate {
        Some(gate) => SETTINGS.replacen(GATE, &format!("steps: {}", yaml(&gate.command)), 1),
        None => SETTINGS
            .replacen(
                "gate:\n",
                "# Nothing is started without a gate: write yours and uncomment.\n# gate:\n",
                1,
            )
            .replacen(&format!("  {GATE}"), "#   steps: make check", 1),
    };
    if config::plan_files().iter().any(|file| file == plan) {
        return text;
    }
    text.replacen("version: 1\n", &format!("version: 1\n\nplan:\n  file: {}\n", yaml(plan)), 1)
}

/// A text as YAML: plain where nobody could read it as anything else.
fn yaml(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ./_-".contains(c);
    let clear = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.')
        && value.contains([' ', '/'])
        && value.chars().all(plain);
    // A JSON string is a YAML string.
    if clear { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

fn gate_in_words(gate: Option<&look::Gate>, candidates: &[look::Gate]) -> String {
    let Some(gate) = gate else {
        return "none found: write the command that decides into `gate.steps`".to_owned();
    };
    let others: Vec<&str> = candidates
        .iter()
        .filter(|other| other.command != gate.command)
        .map(|other| other.command.as_str())
        .collect();
    let also =
        if others.is_empty() { String::new() } else { format!("; also: {}", others.join(", ")) };
    format!("{} ({}{also})", gate.command, gate.from)
}

/// What Claude Code says of itself, and what it lacks.
fn agent(surroundings: &Surroundings) -> String {
    let key =
        surroundings.value("ANTHROPIC_API_KEY").map(|key| Credential::ApiKey(Secret::new(key)));
    let token = surroundings
        .value("CLAUDE_CODE_OAUTH_TOKEN")
        .map(|token| Credential::OAuthToken(Secret::new(token)));
    let supervisor = Supervisor::new(surroundings.exe.clone());
    let environment = Environment::from_allowed(&surroundings.environment, &[]);
    match ClaudeAgent::new(supervisor, key.or(token)).preflight(&environment) {
        Ok(facts) => {
            let version = facts.version.unwrap_or_default();
            let warnings: Vec<String> =
                facts.warnings.iter().map(|warning| format!("; {warning}")).collect();
            format!("claude {version}{}", warnings.concat())
        }
        Err(unusable) => format!("claude: {}; {}", unusable.message, unusable.help),
    }
}

fn notes(home: &Home, root: &Path, base: Option<&str>) -> Result<Vec<String>, Refused> {
    let mut notes = Vec::new();
    let head = home.user.head_branch()?;
    if let (Some(base), Some(head)) = (base, &head)
        && base != head
    {
        notes.push(format!("you are on {head}; settings count once they are on {base}"));
    }
    let elsewhere = look::code_elsewhere(root);
    if !elsewhere.is_empty() {
        notes.push(format!(
            "there is no src/, and {} is outside `policy.paths.allow`: add what the agent may change",
            elsewhere.join(", ")
        ));
    }
    Ok(notes)
}

/// The lines to type now: configuration and gate are read from the base commit, so they must get there.
fn next(
    home: &Home,
    pieces: &[Piece],
    gate: Option<&look::Gate>,
    base: Option<&str>,
) -> Result<Vec<String>, Refused> {
    let committed: Vec<String> = match home.user.head()? {
        None => Vec::new(),
        Some(head) => {
            let tree = home.vault.tree_of(&head)?;
            home.vault.list(&tree)?.iter().map(|entry| entry.path.to_string()).collect()
        }
    };
    // A gate that is a script of the checkout has to be in the base as well.
    let script = gate
        .map(|gate| gate.command.clone())
        .filter(|path| home.user.work_tree().is_some_and(|root| root.join(path).is_file()));
    let missing: Vec<String> = pieces
        .iter()
        .map(|piece| piece.path.clone())
        .chain(script)
        .filter(|path| !committed.contains(path))
        .map(|path| tell::quoted(&path))
        .collect();
    let mut lines = Vec::new();
    if gate.is_none() && pieces.iter().any(|piece| piece.text.is_some()) {
        lines.push(format!("write your gate into {}", pieces[0].path));
    }
    if !missing.is_empty() {
        let mut line = format!("git add {} && git commit -m 'configure {NAME}'", missing.join(" "));
        if let Some(remote) = &home.remote {
            let branch = home.user.head_branch()?.or(base.map(str::to_owned));
            line.push_str(&format!(
                " && git push {} {}",
                tell::quoted(&remote.name),
                tell::quoted(branch.as_deref().unwrap_or("HEAD"))
            ));
        }
        lines.push(line);
    }
    lines.push(format!("{NAME} check"));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(command: &str) -> look::Gate {
        look::Gate { command: command.to_owned(), from: "a test".to_owned() }
    }

    #[test]
    fn the_template_holds_what_init_replaces() {
        assert_eq!(SETTINGS.matches(GATE).count(), 1);
        assert_eq!(SETTINGS.matches("\ngate:\n").count(), 1);
        assert_eq!(SETTINGS.matches("version: 1\n").count(), 1);
    }

    #[test]
    fn whatever_the_gate_the_settings_are_read_back_as_it() {
        for (command, run) in [
            ("cargo test", "cargo test"),
            ("true", "true"),
            ("a: \"b\" # c && 'd'", "a: \"b\" # c && 'd'"),
            ("ci/check.sh", "bash ci/check.sh"),
        ] {
            let text = settings_text(Some(&gate(command)), "PROJECT_PLAN.md");
            let (settings, warnings) = config::parse_repository("c.yml", &text).unwrap();
            assert!(settings.gate.configured && warnings.is_empty(), "{warnings:?}");
            assert_eq!(settings.gate.steps[0].run, run);
        }
    }

    #[test]
    fn without_a_gate_the_settings_leave_it_open() {
        let text = settings_text(None, "docs/my plan.md");
        let (settings, warnings) = config::parse_repository("c.yml", &text).unwrap();
        assert!(!settings.gate.configured && warnings.is_empty(), "{warnings:?}");
        assert_eq!(settings.plan.file, config::PlanFile::Path("docs/my plan.md".into()));
    }

    #[test]
    fn a_plan_stands_inside_the_repository() {
        let root = tempfile::tempdir().unwrap();
        for bad in ["/etc/plan.md", "../plan.md", "a/../../p.md", ".git/plan.md", "", "a\nb"] {
            assert!(plan_place(root.path(), Some(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(plan_place(root.path(), Some("./a/p.md")).unwrap(), "a/p.md");
        assert_eq!(plan_place(root.path(), None).unwrap(), "PROJECT_PLAN.md");
    }
}
