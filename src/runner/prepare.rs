//! Everything that is known before a night: base, settings, plan, admission, gate. `check` prints it,
//! `run` opens a night with it: one code path.
//!
//! Starts nothing and judges nothing itself: rules are the policy's, grammar is the plan's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    config::{self, CanarySetting, GateSettings, Override, PlanFile, Settings, UserSettings},
    diagnostic::{Diagnostic, Level, Style},
    files, gate,
    git::TreeEntry,
    ids::{RepoPath, TaskId, TreeId},
    night::{Base, Canary, GateSpec, PlanSource, RefusedTask},
    plan::{self, Plan, Readiness, SectionClass, SectionWords, Task},
    policy::{
        self, Admission, AdmittedTask, Decision, Origin, Refusal, RuleSet, Severity, Verdict,
    },
    receipt::ProtectedFile,
    runner::{
        base,
        earlier::{self, Known},
        home::Home,
        known,
        look::{self, Open},
        places::{Surroundings, real},
        protected, proving,
        refused::Refused,
    },
};

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The repository, or a directory in it.
    pub repository: PathBuf,
    /// A branch, tag or commit to start from instead of the remote's default branch.
    pub base: Option<String>,
    /// Only these tasks. Empty = all that are ready.
    pub tasks: Vec<TaskId>,
    /// Values from the command line.
    pub overrides: Vec<Override>,
    /// How messages about files are drawn.
    pub style: Style,
}

/// Everything that is known before a night.
#[derive(Debug)]
pub struct Preparation {
    /// The repository.
    pub home: Home,
    /// Where the night would start from.
    pub base: Base,
    /// The settings in force.
    pub settings: Settings,
    /// The user's own settings.
    pub user_settings: UserSettings,
    /// The file that the settings come from; `None` = all built in.
    pub settings_file: Option<String>,
    /// The plan's place; `None` when there is no plan.
    pub plan_source: Option<PlanSource>,
    /// The plan.
    pub plan: Plan,
    /// Messages about the plan, drawn.
    pub plan_messages: Vec<(Level, String)>,
    /// One for each task of the plan, in its order.
    pub admissions: Vec<Admission>,
    /// The rules, with the protected files that this night adds.
    pub rules: RuleSet,
    /// The gate.
    pub gate: GateSpec,
    /// Why there is no gate, when there is none.
    pub gate_missing: Option<String>,
    /// The base's files.
    pub files: Vec<RepoPath>,
    /// Those of them that the gate's identity counts.
    pub protected: Vec<ProtectedFile>,
    /// What earlier nights made of the plan's tasks, and what a person wants tried again.
    pub earlier: Known,
    /// Those of them that are open; `None` = nobody knows.
    pub open: Option<Open>,
    /// What the person should know.
    pub notes: Vec<String>,
}

/// The settings in force, and where they come from.
#[derive(Debug)]
pub struct InForce {
    /// The repository.
    pub home: Home,
    /// Where a night would start from.
    pub base: Base,
    /// The settings.
    pub settings: Settings,
    /// The user's own settings.
    pub user_settings: UserSettings,
    /// The repository's file; `None` = it has none.
    pub settings_file: Option<String>,
    /// What the person should know.
    pub notes: Vec<String>,
}

impl InForce {
    /// Reads all layers. Fetches the base when there is a remote; writes only into the vault.
    pub fn read(surroundings: &Surroundings, request: &Request) -> Result<InForce, Refused> {
        let home = Home::open(surroundings, &request.repository)?;
        let mut notes = Vec::new();
        let user_settings = user_settings(surroundings, request.style)?;
        let asked = request.base.as_deref();
        let mut base = base::find(surroundings, &home, asked, None, &mut notes)?;
        let (mut settings, mut settings_file) = settings(&home, &base.tree, request, &mut notes)?;
        if let config::Base::Branch(branch) = settings.pr.base.clone()
            && branch != base.branch
        {
            notes.clear();
            base = base::find(surroundings, &home, asked, Some(&branch), &mut notes)?;
            (settings, settings_file) = self::settings(&home, &base.tree, request, &mut notes)?;
        }
        // Of all its worktrees one name is enough, and so is a name that leads there through a link.
        let here = [Some(home.user.root()), home.user.common_dir().parent()];
        let is_here = |path: &Path| here.iter().flatten().any(|root| real(root) == real(path));
        settings.hold_to(&user_settings, &surroundings.home, is_here);
        for value in &request.overrides {
            settings.set(value.clone());
        }
        Ok(InForce { home, base, settings, user_settings, settings_file, notes })
    }
}

impl Preparation {
    /// Reads everything. Fetches the base when there is a remote; writes only into the vault.
    pub fn read(surroundings: &Surroundings, request: &Request) -> Result<Preparation, Refused> {
        let InForce { home, base, settings, user_settings, settings_file, mut notes } =
            InForce::read(surroundings, request)?;
        // Who did not answer a moment ago is not asked once more.
        let mut pulls = None;
        if !base.how.starts_with(base::LAST_FETCHED) {
            known::fetch(surroundings, &home, &mut notes);
            pulls = look::pulls(surroundings, &home, &mut notes);
        }
        let open = pulls.as_ref().map(|pulls| Open::of(pulls, settings.pr.open_limit));
        if let Some(open) = &open {
            look::keep(&home, open)?;
        }
        let pulls = pulls.unwrap_or_default();
        look::remember(&home, &pulls);
        let listing = home.vault.list(&base.tree)?;
        let (plan_source, bytes) = find_plan(surroundings, &home, &base, &settings, request)?;
        let (source, decoded) = plan::decode(&bytes);
        let (plan, mut diagnostics) = plan::parse(&source, &section_words(&settings));
        diagnostics.extend(decoded);
        let plan_path = plan_source.as_ref().map_or(String::new(), |found| found.path.to_string());
        let plan_messages = if plan_source.is_some() {
            drawn(&diagnostics, &plan_path, &source, request.style)
        } else {
            Vec::new()
        };
        let gate_files = gate::named_files(&settings.gate.steps, &listing);
        let plan_at = plan_source.as_ref().map(|found| &found.path);
        let rules = protected::rules(&settings, settings_file.as_deref(), plan_at, &listing)?;
        let mut admissions =
            policy::admit_plan(&rules, &settings.limits, &plan.tasks, &BTreeSet::new());
        hold_back_unpushed(&home, &listing, &plan, &mut admissions);
        // A person who names a task means it.
        let earlier = Known::read(&home, Some(&base.commit), &pulls);
        if request.tasks.is_empty() {
            earlier.hold_back(&plan.tasks, &mut admissions);
        }
        let gate_missing = gate_missing(&settings, &gate_files);
        let GateSettings {
            steps,
            setup,
            env,
            network,
            canary,
            baseline,
            flaky_reruns,
            configured: _,
        } = settings.gate_here(user_settings.gate);
        let counted: Vec<_> = protected::files(&rules, plan_at, &listing).collect();
        let id = gate::id(&steps, &setup, &env, &network, counted.iter().copied());
        let protected = protected::kept(counted.into_iter());
        let canary = match canary {
            CanarySetting::Auto => Canary::Auto,
            CanarySetting::Patch(path) => patch_of(&listing, &settings, &path)?,
            CanarySetting::Off if user_settings.gate.canary_off => {
                // Without its path: the pull request names it, and a path names a person.
                Canary::Off { origin: "the own file of this machine's owner".to_owned() }
            }
            CanarySetting::Off => {
                Canary::Off { origin: settings.origin("gate.canary").to_string() }
            }
        };
        let gate = GateSpec { id, steps, env, network, setup, canary, baseline, flaky_reruns };
        notes.extend(known::red_elsewhere(&home.vault, &gate.id, &base.tree));
        Ok(Preparation {
            home,
            base,
            settings,
            user_settings,
            settings_file,
            plan_source,
            plan,
            plan_messages,
            admissions,
            rules,
            gate,
            gate_missing,
            files: listing.into_iter().map(|entry| entry.path).collect(),
            protected,
            earlier,
            open,
            notes,
        })
    }

    /// What a night would do to see whether the gate can fail, in one line.
    pub fn canary(&self) -> Result<String, Refused> {
        let Home { places, vault, .. } = &self.home;
        let plan = self.plan_source.as_ref().map(|plan| &plan.path);
        let tree = &self.base.tree;
        Ok(proving::foreseen(places, vault, tree, &self.gate, &self.rules, plan)?)
    }

    /// Tasks with their admission, in plan order.
    pub fn tasks(&self) -> impl Iterator<Item = (&Task, &Admission)> {
        self.plan.tasks.iter().zip(&self.admissions)
    }

    /// Tasks that may run, of those that were asked for, in the order in which they would start: plan
    /// order, each after those that it needs. Without tasks that need one which is neither done nor here.
    pub fn start_order(&self, only: &[TaskId]) -> Vec<&AdmittedTask> {
        let candidates: Vec<&AdmittedTask> = self
            .tasks()
            .filter(|(task, _)| only.is_empty() || only.contains(&task.id))
            .filter_map(|(_, admission)| admission.admitted())
            .collect();
        let done: BTreeSet<&TaskId> = self
            .plan
            .tasks
            .iter()
            .filter(|task| task.readiness() == Readiness::Done)
            .map(|task| &task.id)
            .collect();
        // How many needs of each are open, and who waits for whom.
        let mut open: Vec<usize> = vec![0; candidates.len()];
        let mut waiting: BTreeMap<&TaskId, Vec<usize>> = BTreeMap::new();
        for (at, task) in candidates.iter().enumerate() {
            let needs: BTreeSet<&TaskId> = task.task().fields.depends_on.iter().collect();
            for need in needs.into_iter().filter(|need| !done.contains(need)) {
                open[at] += 1;
                waiting.entry(need).or_default().push(at);
            }
        }
        let free = (0..candidates.len()).filter(|at| open[*at] == 0);
        let mut startable: BTreeSet<usize> = free.collect();
        let mut order = Vec::new();
        while let Some(first) = startable.pop_first() {
            order.push(candidates[first]);
            for at in waiting.remove(candidates[first].id()).unwrap_or_default() {
                open[at] -= 1;
                if open[at] == 0 {
                    startable.insert(at);
                }
            }
        }
        order
    }

    /// The tasks that a night is opened with, in plan order: those that it may start, and as many again as
    /// could take their place. What is left waits for another night.
    pub fn tonight(&self, only: &[TaskId]) -> Vec<AdmittedTask> {
        let most = usize::try_from(self.settings.limits.tasks).unwrap_or(usize::MAX);
        let most = most.saturating_mul(4).max(20);
        let order = self.start_order(only);
        let chosen: BTreeSet<&TaskId> = order.iter().take(most).map(|task| task.id()).collect();
        self.tasks()
            .filter_map(|(_, admission)| admission.admitted())
            .filter(|task| chosen.contains(task.id()))
            .cloned()
            .collect()
    }

    /// Tasks that the plan marks ready, or that were asked for by name, and that may not run.
    pub fn refused(&self, only: &[TaskId]) -> Vec<RefusedTask> {
        let order = self.start_order(only);
        let starts: BTreeSet<&TaskId> = order.iter().map(|task| task.id()).collect();
        self.tasks()
            .filter(|(task, _)| {
                if only.is_empty() {
                    task.readiness() == Readiness::Ready
                        || !task.errors.is_empty() && task.section.class == SectionClass::Ready
                } else {
                    only.contains(&task.id)
                }
            })
            .filter_map(|(task, admission)| {
                let (verdict, refusals) = match &admission.decision {
                    Decision::Admitted(_) if starts.contains(&task.id) => return None,
                    Decision::Admitted(_) => (Verdict::Ask, vec![needs_another(task)]),
                    // Waits for a merge, not for a decision about the task.
                    Decision::Waiting(refusals)
                        if refusals.iter().all(|refusal| refusal.rule == earlier::LANDED) =>
                    {
                        return None;
                    }
                    Decision::Waiting(refusals) => (Verdict::Ask, refusals.clone()),
                    Decision::Refused(refusals) => (Verdict::Refuse, refusals.clone()),
                };
                let (id, title) = (task.id.clone(), task.title.clone());
                Some(RefusedTask { id, title, line: task.line, verdict, refusals })
            })
            .collect()
    }

    /// Tasks whose work of an earlier night waits for a merge: id and where.
    pub fn waiting_for_merge(&self) -> impl Iterator<Item = (&TaskId, &str)> {
        self.tasks().filter_map(|(task, admission)| match &admission.decision {
            Decision::Waiting(refusals) => {
                let refusal = refusals.iter().find(|refusal| refusal.rule == earlier::LANDED)?;
                Some((&task.id, refusal.value.as_str()))
            }
            Decision::Admitted(_) | Decision::Refused(_) => None,
        })
    }

    /// Adds what is worth knowing about the checkout. Costs a look at every file, so it is done only when
    /// somebody reads it.
    pub fn look_at_checkout(&mut self) -> Result<(), Refused> {
        let home = &self.home;
        match home.user.uncommitted(self.plan_source.as_ref()) {
            Some(0) | None => {}
            Some(1) => self
                .notes
                .push("1 uncommitted file in your checkout is not part of a night".to_owned()),
            Some(count) => self.notes.push(format!(
                "{count} uncommitted files in your checkout are not part of a night"
            )),
        }
        if let Some(head) = home.user.head()? {
            let ahead = home.user.ahead(&home.vault, &head, &self.base.commit).unwrap_or(0);
            if ahead > 0 {
                let commits = if ahead == 1 { "commit is" } else { "commits are" };
                self.notes.push(format!(
                    "{ahead} {commits} on your HEAD and not on {}: not part of a night until pushed",
                    self.base.branch
                ));
            }
        }
        Ok(())
    }
}

/// What holds back a task that was asked for without those that it needs.
fn needs_another(task: &Task) -> Refusal {
    let needs: Vec<&str> = task.fields.depends_on.iter().map(TaskId::as_str).collect();
    Refusal {
        rule: "admission.depends-on".to_owned(),
        verdict: Verdict::Ask,
        severity: Severity::Low,
        message: format!("it needs {}, which is neither done nor asked for", needs.join(", ")),
        value: needs.join(", "),
        limit: "needs that are done, or run in the same night".to_owned(),
        origin: Origin::Default,
        help: Some("name them with -t as well".to_owned()),
    }
}

/// Messages that are drawn at most: each reads the plan up to its place, and nobody reads more.
const MESSAGES: usize = 50;

/// Errors first, and of a great many only the first ones.
fn drawn(found: &[Diagnostic], path: &str, source: &str, style: Style) -> Vec<(Level, String)> {
    let errors = found.iter().filter(|diagnostic| diagnostic.level == Level::Error);
    let warnings = found.iter().filter(|diagnostic| diagnostic.level == Level::Warning);
    let mut messages: Vec<(Level, String)> = errors
        .chain(warnings)
        .take(MESSAGES)
        .map(|diagnostic| (diagnostic.level, diagnostic.render(path, source, style)))
        .collect();
    if found.len() > MESSAGES {
        let level = found.iter().map(|diagnostic| diagnostic.level).max().unwrap_or(Level::Warning);
        messages.push((level, format!("and {} more messages", found.len() - MESSAGES)));
    }
    messages
}

/// The user's own settings; a file that is not there says nothing.
pub fn user_settings(surroundings: &Surroundings, style: Style) -> Result<UserSettings, Refused> {
    let path = surroundings.user_file();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => {
            return Ok(UserSettings::default());
        }
        Err(problem) => return Err(files::error("read", &path)(problem).into()),
    };
    let shown = surroundings.user_file_shown();
    let parsed = config::decode(&bytes).and_then(|text| config::parse_user(&shown, text));
    // A message draws the line that it is about, and addresses of `notify` are secrets.
    parsed.map_err(|found| Refused::drawn(&found, &shown, &config::addresses_masked(&bytes), style))
}

fn settings(
    home: &Home,
    tree: &TreeId,
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<(Settings, Option<String>), Refused> {
    let [first, second] = config::repository_files();
    let read = |path: &str| home.vault.read_file(tree, &RepoPath::from(path));
    let chosen = config::choose(read(&first)?, read(&second)?).map_err(|both| {
        Refused::usage(both.to_string(), "remove one of them on the base branch")
    })?;
    for path in [&first, &second] {
        let of_base = chosen.as_ref().filter(|(file, _)| file == path).map(|(_, bytes)| bytes);
        let Some(work_tree) = home.user.work_tree() else { break };
        let mine = std::fs::read(work_tree.join(path)).ok();
        if mine.is_some() && mine.as_ref() != of_base {
            notes.push(format!(
                "{path} in your checkout differs from the base's and is ignored; to use it: \
                 git add {path} && git commit -m 'configure nightshift' && git push"
            ));
        }
    }
    let Some((path, bytes)) = chosen else { return Ok((Settings::default(), None)) };
    let parsed = config::decode(&bytes).and_then(|text| config::parse_repository(&path, text));
    match parsed {
        Ok((settings, warnings)) => {
            let source = String::from_utf8_lossy(&bytes);
            notes.extend(warnings.iter().map(|warning| {
                let (line, column) = warning.position(&source);
                format!("{path}:{line}:{column}: {}", warning.message)
            }));
            Ok((settings, Some(path)))
        }
        Err(found) => Err(Refused::drawn(&found, &path, &bytes, request.style)),
    }
}

/// The words for sections as the plan's parser takes them.
pub fn section_words(settings: &Settings) -> SectionWords {
    let sections = &settings.plan.sections;
    SectionWords {
        ready: sections.ready.clone(),
        pending: sections.pending.clone(),
        never: sections.never.clone(),
    }
}

/// The words for sections in force on a tree: what a resumed night parses its plan with.
pub fn words_of(home: &Home, tree: &TreeId, style: Style) -> Result<SectionWords, Refused> {
    let request = Request {
        repository: home.user.root().to_owned(),
        base: None,
        tasks: Vec::new(),
        overrides: Vec::new(),
        style,
    };
    let (settings, _) = settings(home, tree, &request, &mut Vec::new())?;
    Ok(section_words(&settings))
}

/// Decision 8 of the design: in a checkout the working tree's file, because people edit at 23:00 and do
/// not commit; in CI, in a bare repository and with `--base` the base commit's.
fn find_plan(
    surroundings: &Surroundings,
    home: &Home,
    base: &Base,
    settings: &Settings,
    request: &Request,
) -> Result<(Option<PlanSource>, Vec<u8>), Refused> {
    let candidates = match &settings.plan.file {
        PlanFile::Auto => config::plan_files().to_vec(),
        PlanFile::Path(path) => vec![path.trim_start_matches("./").to_owned()],
    };
    let ci = surroundings.value("CI").is_some() || surroundings.value("GITHUB_ACTIONS").is_some();
    let work_tree = home.user.work_tree().filter(|_| !ci && request.base.is_none());
    for candidate in &candidates {
        let path = RepoPath::from(candidate.as_str());
        let source = |working_tree| {
            let (path, update) = (path.clone(), settings.plan.update);
            Some(PlanSource { path, working_tree, update })
        };
        if let Some(root) = work_tree {
            let file = root.join(candidate);
            // A named pipe or a device would block, or never end.
            if std::fs::metadata(&file).is_ok_and(|found| found.is_file()) {
                let bytes = std::fs::read(&file).map_err(files::error("read", &file))?;
                return Ok((source(true), bytes));
            }
        } else if let Some(bytes) = home.vault.read_file(&base.tree, &path)? {
            return Ok((source(false), bytes));
        }
    }
    if let PlanFile::Path(path) = &settings.plan.file {
        return Err(Refused::usage(
            format!("there is no plan at {path} ({})", settings.origin("plan.file")),
            "write the path relative to the repository's root",
        ));
    }
    Ok((None, Vec::new()))
}

/// A task that names a file which only the checkout has would be tried without it.
fn hold_back_unpushed(
    home: &Home,
    listing: &[TreeEntry],
    plan: &Plan,
    admissions: &mut [Admission],
) {
    let Some(work_tree) = home.user.work_tree() else { return };
    for (task, admission) in plan.tasks.iter().zip(admissions) {
        if admission.admitted().is_none() {
            continue;
        }
        let missing = task.fields.files.iter().find(|path| {
            let inside = RepoPath::from(path.as_str());
            !path.contains(['*', '?', '[', '{'])
                && !listing.iter().any(|entry| entry.path == inside)
                && work_tree.join(path).is_file()
        });
        if let Some(path) = missing {
            admission.decision = Decision::Waiting(vec![Refusal {
                rule: "admission.base".to_owned(),
                verdict: Verdict::Ask,
                severity: Severity::Medium,
                message: format!("{path} is in your checkout but not in the base"),
                value: path.clone(),
                limit: "files of the base, or new ones".to_owned(),
                origin: Origin::Default,
                help: Some("commit and push it first".to_owned()),
            }]);
        }
    }
}

/// The patch that breaks the base on purpose: a file of the base, as everything that judges is.
fn patch_of(listing: &[TreeEntry], settings: &Settings, path: &str) -> Result<Canary, Refused> {
    let patch = RepoPath::from(path);
    if listing.iter().any(|entry| entry.path == patch) {
        return Ok(Canary::Patch(patch));
    }
    Err(Refused::usage(
        format!(
            "the base has no file {path}, which `gate.canary` names ({})",
            settings.origin("gate.canary")
        ),
        "commit and push the patch, or write `canary: auto`",
    ))
}

fn gate_missing(settings: &Settings, named: &[RepoPath]) -> Option<String> {
    (!settings.gate.configured && named.is_empty()).then(|| {
        let run = settings.gate.steps.first().map_or("", |step| step.run.as_str());
        format!(
            "there is no gate: the base commit has no script for `{run}`, and `gate.steps` is not set"
        )
    })
}
