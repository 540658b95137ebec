//! `nightshift demo`: a whole night on a throw-away repository, with the built-in agent. No account, no
//! network, no cost. Everything it makes is below one directory, its own HOME and state included.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command as Git,
};

use git2::{Repository, RepositoryInitOptions, Signature};

use crate::{
    agent::DEMO_GREETING,
    cli::{Global, Output, code, run::drive},
    config::Override,
    files,
    ids::{NAME, TaskId},
    night::{Night, Publication},
    outcome::Failure,
    process::Stop,
    runner::{
        home::Home,
        open::{self, Wishes},
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::{Refused, RefusedKind},
    },
    sys,
};

/// Watch a whole night on a throw-away repository: no account, no cost
///
/// One task lands, one is refused by a rule, one lands on its second try, one fails and is kept. Exits 0
/// when the night ended so, 70 otherwise, and prints the code that `run` would have had.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Keep everything in DIR (new or empty): repo, remote.git, pull_request.md
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

const PLAN: &str = include_str!("../../templates/demo/PROJECT_PLAN.md");
const CHECK: &str = include_str!("../../templates/demo/check_quality.sh");
const RUN_TESTS: &str = include_str!("../../templates/demo/run.sh");
const README: &str = include_str!("../../templates/demo/README.md");
const GREET_TEST: &str = ". ./src/greet.sh\n[ \"$(greet Ada)\" = \"Hello, Ada!\" ]\n";

pub(super) fn demo(
    surroundings: &Surroundings,
    _global: &Global,
    command: &Demo,
    output: &mut Output,
) -> Result<u8, Refused> {
    let (directory, throw_away) = match &command.keep {
        Some(directory) => (empty_directory(directory)?, None),
        None => {
            let temporary = tempfile::Builder::new().prefix("nightshift-demo-").tempdir();
            let temporary = temporary.map_err(files::error("create", Path::new("a directory")))?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let (repo, remote) = (directory.join("repo"), directory.join("remote.git"));
    make_repositories(&repo, &remote)?;
    let before = Fingerprint::of(&repo)?;
    let own = own_surroundings(surroundings, &directory)?;
    output.note(&format!("a night on {} with the agent `demo`\n", repo.display()));
    let (night, would_be) = one_night(&own, &repo, output)?;
    let text = directory.join("pull_request.md");
    if let Publication::Done { url, .. } = night.publication()
        && let Ok(body) = std::fs::read(url)
    {
        files::write_atomic(&text, &body)?;
    }
    let untouched = before == Fingerprint::of(&repo)?;
    let as_scripted = untouched && scripted(&night);
    if !output.is_json() && !output.is_quiet() {
        tell(&night, &repo, &text, untouched, would_be, throw_away.is_none(), output);
    }
    let interrupted = matches!(would_be, code::INTERRUPTED | code::TERMINATED | code::HUNG_UP);
    if let Some(temporary) = throw_away {
        let path = temporary.keep();
        if as_scripted || interrupted {
            files::remove_tree(&path)?;
        } else {
            output.note(&format!("not as it should be; kept for a look in {}", path.display()));
        }
    }
    Ok(match (as_scripted, interrupted) {
        (true, _) => code::DONE,
        (false, true) => would_be,
        (false, false) => code::BUG,
    })
}

fn one_night(own: &Surroundings, repo: &Path, output: &Output) -> Result<(Night, u8), Refused> {
    let request = Request {
        repository: repo.to_owned(),
        base: None,
        tasks: Vec::new(),
        // One after another: it shows each step to whoever watches.
        overrides: vec![Override::Agent("demo".to_owned()), Override::Jobs(1)],
        style: output.style(),
    };
    let home = Home::open(own, repo)?;
    let lock = open::lock(&home, None)?;
    let preparation = Preparation::read(own, &request)?;
    let wishes = Wishes { demo: true, ..Wishes::default() };
    let opened = open::open(own, &preparation, &[], wishes, lock, Stop::new())?;
    drive(own, opened, output)
}

fn tell(
    night: &Night,
    repo: &Path,
    text: &Path,
    untouched: bool,
    would_be: u8,
    kept: bool,
    output: &Output,
) {
    if let Ok(body) = std::fs::read_to_string(text) {
        output.result("\n──── the pull request ────\n");
        output.result(&body);
        output.result("──── end of the pull request ────\n");
    }
    let branch = night.opening().night.branch();
    let log = ["log", "--stat", "--format=%h %s", &format!("main..{branch}")];
    output.result(&format!("$ git {}", log.join(" ")));
    output.result(&git_says(repo, &log));
    let checkout = if untouched {
        "your checkout: byte for byte as before (files, index, HEAD, config, other refs)"
    } else {
        "YOUR CHECKOUT WAS CHANGED: this is a fault of ours, please report it"
    };
    output.result(&format!("\n{checkout}"));
    output.result(&format!("`{NAME} run` would have exited with {would_be} here"));
    if kept {
        let directory = repo.parent().unwrap_or(repo).display();
        output.result(&format!("kept in {directory}: repo, remote.git, pull_request.md"));
    }
    output.result(&format!(
        "\nThis was the agent `demo`. On your own repository, with Claude Code: {NAME} init"
    ));
}

/// What the demo promises to show.
fn scripted(night: &Night) -> bool {
    let task = |id: &str| TaskId::new(id).ok().and_then(|id| night.task(&id));
    let landed_after = |id: &str, tries: usize| {
        task(id).is_some_and(|task| task.landed().is_some() && task.attempts.len() == tries)
    };
    let failed = |id: &str, how: fn(&Failure) -> bool| {
        task(id).and_then(|task| task.failed()).is_some_and(|setback| how(&setback.failure))
    };
    landed_after("hello-1", 1)
        && landed_after("hello-2", 2)
        && failed("hello-3", |failure| matches!(failure, Failure::Refused(_)))
        && failed("hello-4", |failure| {
            matches!(failure, Failure::NoProgress { .. } | Failure::Gate(_))
        })
        && matches!(night.publication(), Publication::Done { .. })
}

fn empty_directory(directory: &Path) -> Result<PathBuf, Refused> {
    if std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Refused::usage(
            format!("{} is not empty", directory.display()),
            "name a new directory, or an empty one",
        ));
    }
    files::create_dir_all(directory)?;
    std::fs::canonicalize(directory)
        .map_err(|problem| files::error("find", directory)(problem).into())
}

/// The demo's own HOME, state and cache; of the environment only where programs are.
fn own_surroundings(
    surroundings: &Surroundings,
    directory: &Path,
) -> Result<Surroundings, Refused> {
    let mut environment = BTreeMap::new();
    for name in ["PATH", "TZ", "LANG", "TMPDIR"] {
        if let Some(value) = surroundings.value(name) {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    let below = |name: &str| directory.join("home").join(name).display().to_string();
    for (name, value) in [
        ("HOME", below("")),
        ("XDG_STATE_HOME", below("state")),
        ("XDG_CACHE_HOME", below("cache")),
        ("XDG_CONFIG_HOME", below("config")),
        ("GIT_AUTHOR_NAME", "Nightshift Demo".to_owned()),
        ("GIT_AUTHOR_EMAIL", "demo@localhost".to_owned()),
        ("USER", surroundings.account.clone()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    files::create_private_dir(&directory.join("home"))?;
    Surroundings::new(environment, surroundings.exe.clone()).map_err(internal)
}

fn make_repositories(repo: &Path, remote: &Path) -> Result<(), Refused> {
    sys::isolate_libgit2();
    let contents: [(&str, &str, bool); 7] = [
        ("README.md", README, false),
        ("PROJECT_PLAN.md", PLAN, false),
        (".ai-validation/check_quality.sh", CHECK, true),
        ("src/greet.sh", DEMO_GREETING, false),
        ("tests/run.sh", RUN_TESTS, true),
        ("tests/greet_test.sh", GREET_TEST, false),
        ("docs/usage.md", "# Usage\n\n    . ./src/greet.sh\n    greet Ada\n", false),
    ];
    let wrap = |problem: git2::Error| internal(problem);
    let mut options = RepositoryInitOptions::new();
    options.initial_head("main");
    let repository = Repository::init_opts(repo, &options).map_err(wrap)?;
    let mut index = repository.index().map_err(wrap)?;
    for (path, text, executable) in contents {
        let file = repo.join(path);
        files::create_dir_all(file.parent().unwrap_or(repo))?;
        files::create_new(&file, text.as_bytes(), if executable { 0o755 } else { 0o644 })?;
        index.add_path(Path::new(path)).map_err(wrap)?;
    }
    index.write().map_err(wrap)?;
    let tree = index.write_tree().and_then(|id| repository.find_tree(id)).map_err(wrap)?;
    let author = Signature::now("Ada", "ada@localhost").map_err(wrap)?;
    let head = repository.commit(
        Some("refs/heads/main"),
        &author,
        &author,
        "A project that greets people\n",
        &tree,
        &[],
    );
    let head = head.map_err(wrap)?;
    let mut options = RepositoryInitOptions::new();
    options.bare(true).initial_head("main");
    let bare = Repository::init_opts(remote, &options).map_err(wrap)?;
    let mut pack = repository.packbuilder().map_err(wrap)?;
    pack.insert_commit(head).map_err(wrap)?;
    pack.write(&bare.path().join("objects/pack"), 0o444).map_err(wrap)?;
    bare.reference("refs/heads/main", head, false, "demo").map_err(wrap)?;
    repository.remote("origin", &remote.display().to_string()).map_err(wrap)?;
    repository.reference("refs/remotes/origin/main", head, false, "demo").map_err(wrap)?;
    Ok(())
}

/// What must not change: the files of the work tree, and everything in `.git` but our refs and objects.
#[derive(PartialEq, Eq)]
struct Fingerprint(BTreeMap<PathBuf, Vec<u8>>);

impl Fingerprint {
    fn of(repo: &Path) -> Result<Fingerprint, Refused> {
        let mut files = BTreeMap::new();
        collect(repo, repo, &mut files)?;
        Ok(Fingerprint(files))
    }
}

fn collect(
    root: &Path,
    directory: &Path,
    found: &mut BTreeMap<PathBuf, Vec<u8>>,
) -> Result<(), Refused> {
    let ours = [
        ".git/objects".to_owned(),
        format!(".git/refs/heads/{NAME}"),
        format!(".git/refs/{NAME}"),
        format!(".git/logs/refs/heads/{NAME}"),
        format!(".git/logs/refs/{NAME}"),
    ];
    for entry in std::fs::read_dir(directory).map_err(files::error("list", directory))? {
        let path = entry.map_err(files::error("list", directory))?.path();
        let inside = path.strip_prefix(root).unwrap_or(&path).to_owned();
        if ours.iter().any(|ours| inside == Path::new(ours)) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found)?;
        } else {
            let bytes = std::fs::read(&path).map_err(files::error("read", &path))?;
            found.insert(inside, bytes);
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "git shows the person their own repository, as they would"
)]
fn git_says(repo: &Path, arguments: &[&str]) -> String {
    let run = Git::new("git").arg("-C").arg(repo).arg("--no-pager").args(arguments).output();
    match run {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(problem) => format!("(git could not be started: {problem})"),
    }
}

fn internal(problem: impl std::fmt::Display) -> Refused {
    Refused { kind: RefusedKind::Internal, message: problem.to_string(), help: None }
}
