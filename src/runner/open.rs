//! Opens a night, or goes on with one: the lock, the name, the agent, the forge, and the hands.
//!
//! The last "no" is said here; after it there is a journal.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use crate::{
    agent::{Agent, ClaudeAgent, CommandAgent, Credential, DEMO_AGENT, spent_of_stream},
    budget::Spend,
    config::{CLAUDE, Draft, Sandbox},
    diagnostic::Style,
    faults,
    forge::{Forge, Local},
    ids::{NAME, NightId, TaskId},
    journal::{self, Journal, Lock},
    night::{
        Again, AgentSpec, Author, Charge, Command, Entry, Event, Night, Opening, PublishSpec,
        RefusedTask, Rejection, Reverse,
    },
    outcome::StopReason,
    plan::SectionWords,
    policy::AdmittedTask,
    process::{Environment, Stop, Supervisor},
    redact::Secret,
    runner::{
        clock,
        conversations::{self, Conversations},
        earlier,
        hands::Hands,
        home::{Home, redactor},
        include::{self, Included},
        places::{NightPlaces, Surroundings},
        prepare::{Preparation, section_words},
        refused::{Refused, RefusedKind},
        revert,
        slots::AgentSlots,
        stop::StopFiles,
        storage::{RESERVED, Reserve},
        walls,
        yard::{Plot, Yard},
    },
    workspace::Store,
};

pub use crate::runner::turn::{lock, lock_within, not_stopped};

/// Nights back that may have been cut off.
const LOOKED_AT: usize = 14;
/// Claude Code's credential that is paid by use.
const API_KEY: &str = "ANTHROPIC_API_KEY";
/// Claude Code's credential that is paid by a subscription.
const LOGIN_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";

/// What decides about the end of a night, beside its settings.
#[expect(clippy::struct_excessive_bools, reason = "wishes of a person, each by itself")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// The branch stays here.
    pub no_push: bool,
    /// No pull request.
    pub no_pr: bool,
    /// A person sits before it: it may run without walls.
    pub attended: bool,
    /// The built-in demonstration: its own agent on its own repository.
    pub demo: bool,
    /// No agent is started, so none has to be there.
    pub only_landing: bool,
}

/// A night that is ready to run in this process.
pub struct Opened {
    /// The night.
    pub night: Night,
    /// Its journal.
    pub journal: Journal,
    /// Its hands.
    pub hands: Hands,
    /// Where stops are asked for.
    pub stop_files: StopFiles,
    /// Places of agents, of which other nights have some.
    pub slots: AgentSlots,
    /// Looks at the clocks since before the night's beginning was written down: a clock that is set in between is seen.
    pub watchman: clock::Watchman,
    /// Held until the process ends.
    pub lock: Lock,
    /// The facts so far.
    pub entries: Vec<Entry>,
    /// Facts to write down before anything else is done; empty for a fresh night.
    pub first: Vec<Event>,
}

/// Opens a night with what was prepared. The caller holds the lock.
pub fn open(
    surroundings: &Surroundings,
    preparation: &Preparation,
    only: &[TaskId],
    wishes: Wishes,
    lock: Lock,
    stop: Stop,
) -> Result<Opened, Refused> {
    let tasks = preparation.tonight(only);
    let again: Vec<Again> =
        tasks.iter().filter_map(|task| preparation.earlier.again(task.task()).cloned()).collect();
    let from_scratch = |task: &TaskId| again.iter().any(|a| a.from_scratch && a.task == *task);
    let mut rejected = earlier::rejections(&preparation.home, &tasks);
    rejected.retain(|no| !from_scratch(&no.task));
    let tonight = Tonight {
        rejected,
        again,
        refused: preparation.refused(only),
        reverses: Vec::new(),
        tasks,
    };
    begin(surroundings, preparation, tonight, wishes, lock, stop)
}

/// What a night is to do.
pub(super) struct Tonight {
    pub(super) tasks: Vec<AdmittedTask>,
    pub(super) refused: Vec<RefusedTask>,
    pub(super) rejected: Vec<Rejection>,
    pub(super) reverses: Vec<Reverse>,
    pub(super) again: Vec<Again>,
}

/// Opens a night with what was prepared and these tasks. The caller holds the lock.
pub(super) fn begin(
    surroundings: &Surroundings,
    preparation: &Preparation,
    tonight: Tonight,
    wishes: Wishes,
    lock: Lock,
    stop: Stop,
) -> Result<Opened, Refused> {
    let Tonight { tasks, refused, rejected, reverses, again } = tonight;
    let home = &preparation.home;
    let plan = preparation.plan_source.clone().ok_or_else(|| no_plan(home))?;
    if let Some(missing) = &preparation.gate_missing {
        return Err(Refused::environment(
            missing.clone(),
            format!("{NAME} init proposes one; nothing is started without a gate"),
        ));
    }
    let store = home.workspaces();
    store.clear(&BTreeSet::new())?;
    home.places.prepare()?;
    let settings = &preparation.user_settings;
    let included = include::find(&home.vault, &preparation.base.tree, home.user.work_tree())?;
    let yard = Yard::build(&Plot {
        surroundings,
        home,
        settings,
        wish: settings.sandbox.unwrap_or(Sandbox::Auto),
        demo: wishes.demo,
        gate: &preparation.gate,
        base: &preparation.base,
        included: &included,
    })?;
    yard.make_room(home, &lock, &store, &preparation.base, None);
    yard.has_room(home, &store, preparation.settings.limits.parallel)?;
    let agent_spec = agent_spec(surroundings, preparation, &yard)?;
    let supervisor = Supervisor::new(surroundings.exe.clone()).with_spare();
    let steps: Vec<String> = preparation.gate.steps.iter().map(|step| step.run.clone()).collect();
    let policy = preparation.rules.policy();
    let agent = agent(surroundings, &agent_spec, &supervisor, &steps, &policy.protected);
    let environment = environment(surroundings, &preparation.gate.env);
    let mut notes = preparation.notes.clone();
    if !wishes.only_landing {
        let facts = agent
            .preflight(&environment)
            .map_err(|unusable| Refused::environment(unusable.message, unusable.help))?;
        notes.extend(facts.warnings);
    }
    notes.extend(included.notes.iter().chain(&yard.notes).cloned());
    notes.extend(two_credentials(surroundings, &agent_spec));
    let mut limits = preparation.settings.limits.clone();
    let mut gate = preparation.gate.clone();
    if !reverses.is_empty() {
        revert::limits(&mut limits, &mut gate, tasks.len());
    }
    let forge = forge(surroundings, home, wishes)?;
    let night = home.claim_night(surroundings)?;
    let pr = &preparation.settings.pr;
    let watchman = clock::Watchman::begin();
    let opening = Opening {
        night: night.clone(),
        at: watchman.day(),
        repository: home.user.root().display().to_string(),
        base: preparation.base.clone(),
        plan,
        limits,
        policy: policy.clone(),
        tasks,
        refused,
        gate,
        agent: agent_spec,
        author: author(surroundings, home),
        publish: PublishSpec {
            remote: home.remote_shown(),
            push: !wishes.no_push,
            pull_request: !wishes.no_pr,
            draft: pr.draft == Draft::Always,
            labels: pr.labels.clone(),
            reviewers: pr.reviewers.clone(),
            no_statuses: !pr.statuses,
            web: home.web(surroundings),
        },
        notes,
        rejected,
        reverses,
        again,
    };
    let night_places = home.places.night(&night);
    faults::pass("night.claimed");
    let mut journal = Journal::create(&night_places.journal(), &night)?;
    let opened = Event::Opened(Box::new(opening.clone()));
    let entry = Entry::new(1, opening.at, &opening.agent.name, opened);
    journal.append(&entry)?;
    let words = section_words(&preparation.settings);
    let included = Arc::new(included);
    let equipment =
        Equipment { supervisor, yard, store, included, agent, forge, environment, words, stop };
    let mut hands = equipment.hands(surroundings, home, night_places, wishes)?;
    hands.protected = OnceLock::from(preparation.protected.clone());
    let stop_files = StopFiles::of(home);
    let night = Night::open(opening);
    let first = Vec::new();
    let slots = AgentSlots::of(surroundings, home, night.opening().night.clone())?;
    let entries = vec![entry];
    Ok(Opened { night, journal, hands, stop_files, slots, watchman, lock, entries, first })
}

/// The night that has something left to do beside its publication: the last one, else an earlier one that was cut
/// off. `Err` when the last one's journal cannot be trusted.
pub fn unfinished(home: &Home) -> Result<Option<(NightId, Night)>, Refused> {
    for (back, id) in home.places.all_nights().into_iter().rev().take(LOOKED_AT).enumerate() {
        let reading = match journal::read(&home.places.night(&id).journal()) {
            Ok(journal::Reading { damage: Some(damage), .. }) => Err(damage),
            other => other,
        };
        let reading = match reading {
            Ok(reading) if reading.entries.is_empty() => continue, // nothing was begun
            Ok(reading) => reading,
            Err(damage) if back == 0 => return Err(damage.into()),
            Err(_) => continue,
        };
        let night = replay(reading.entries)?;
        // An order whose end is not known is one that another process carries out again.
        let cut = !night.in_flight().is_empty();
        let left = match night.ended() {
            None => true,
            // What a person approved or reverted is waited for.
            Some(_) if night.approved().next().is_some() || night.is_rebuilding() => true,
            // What its time or its money did not reach is the next night's.
            Some((None | Some(StopReason::Time | StopReason::Cost), _)) => cut,
            Some((Some(_), _)) => cut || back == 0,
        };
        if left {
            return Ok(Some((id, night)));
        }
    }
    Ok(None)
}

/// Replays a journal's entries.
pub fn replay(entries: Vec<Entry>) -> Result<Night, Refused> {
    Night::replay(entries).map_err(|problem| Refused {
        kind: RefusedKind::Internal,
        message: format!("the journal does not fit together: {problem}"),
        help: Some(format!(
            "{NAME} status shows what is readable; the branch and every attempt are safe"
        )),
    })
}

/// Goes on with a night. The caller holds the lock.
pub fn resume(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    wishes: Wishes,
    lock: Lock,
    stop: Stop,
) -> Result<Opened, Refused> {
    let night_places = home.places.night(id);
    let (journal, entries) = Journal::resume(&night_places.journal())?;
    let night = replay(entries.clone())?;
    let store = home.workspaces();
    store.clear(&conversations::owners(&night))?;
    home.places.prepare()?;
    let opening = night.opening().clone();
    let tree = home.vault.tree_of(&opening.base.commit)?;
    let included = include::find(&home.vault, &tree, home.user.work_tree())?;
    let yard = Yard::again(surroundings, home, &opening, &included, wishes.demo)?;
    yard.make_room(home, &lock, &store, &opening.base, Some(&night));
    if home.remote_shown() != opening.publish.remote {
        return Err(Refused::environment(
            format!(
                "the remote is {} now, and was {} when night {id} began",
                home.remote_shown().unwrap_or_else(|| "gone".to_owned()),
                opening.publish.remote.as_deref().unwrap_or("not there"),
            ),
            format!("set it back, or begin a new night with {NAME} run --fresh"),
        ));
    }
    let supervisor = Supervisor::new(surroundings.exe.clone()).with_spare();
    let steps: Vec<String> = opening.gate.steps.iter().map(|step| step.run.clone()).collect();
    let protected = &opening.policy.protected;
    let agent = agent(surroundings, &opening.agent, &supervisor, &steps, protected);
    let environment = environment(surroundings, &opening.gate.env);
    if !wishes.only_landing && opening.reverses.is_empty() {
        agent
            .preflight(&environment)
            .map_err(|unusable| Refused::environment(unusable.message, unusable.help))?;
    }
    // Narrowing counts at any start; what the night began with is never widened.
    let wishes = Wishes {
        no_push: wishes.no_push || !opening.publish.push,
        no_pr: wishes.no_pr || !opening.publish.pull_request,
        ..wishes
    };
    let forge = forge(surroundings, home, wishes)?;
    let words = crate::runner::prepare::words_of(home, &tree, Style::Plain)?;
    let included = Arc::new(included);
    let equipment =
        Equipment { supervisor, yard, store, included, agent, forge, environment, words, stop };
    let first = vec![Event::Restarted { charges: charges(&night, &night_places) }];
    let hands = equipment.hands(surroundings, home, night_places, wishes)?;
    let slots = AgentSlots::of(surroundings, home, id.clone())?;
    let stop_files = StopFiles::of(home);
    let watchman = clock::Watchman::begin();
    Ok(Opened { night, journal, hands, stop_files, slots, watchman, lock, entries, first })
}

/// What a fresh night and a resumed one find in different ways.
struct Equipment {
    supervisor: Supervisor,
    yard: Yard,
    store: Store,
    included: Arc<Included>,
    agent: Arc<dyn Agent>,
    forge: Option<Arc<dyn Forge>>,
    environment: Environment,
    words: SectionWords,
    stop: Stop,
}

impl Equipment {
    fn hands(
        self,
        surroundings: &Surroundings,
        home: &Home,
        night_places: NightPlaces,
        wishes: Wishes,
    ) -> Result<Hands, Refused> {
        Ok(Hands {
            vault: home.vault.clone(),
            user: home.user.clone(),
            workspaces: self.store,
            places: home.places.clone(),
            local: Arc::new(Local::new(night_places.directory())),
            night_places,
            supervisor: self.supervisor,
            yard: self.yard,
            agent: self.agent,
            forge: self.forge,
            remote: remote(surroundings, home).filter(|_| !wishes.no_push),
            environment: self.environment,
            rules: OnceLock::new(),
            protected: OnceLock::new(),
            words: self.words,
            redactor: redactor(surroundings, &self.included.secrets),
            included: self.included,
            stop: self.stop,
            conversations: Conversations::default(),
            reserve: Mutex::new(Some(Reserve::hold(&home.places.reserve(), RESERVED)?)),
            gate_place: tokio::sync::Mutex::default(),
            making_cache: tokio::sync::Mutex::default(),
        })
    }
}

/// What the runs that a crash cut off are charged with, as their output tells. Agents that report no cost are
/// charged nothing.
pub(super) fn charges(night: &Night, places: &NightPlaces) -> Vec<Charge> {
    let costs = night.opening().agent.name == "claude";
    night
        .in_flight()
        .iter()
        .filter_map(|command| match command {
            Command::RunAgent { attempt, budget, conversation, .. } => {
                let opener = match conversation {
                    Some(conversation) => conversations::opener(&attempt.task, conversation),
                    None => attempt.clone(),
                };
                let spent = if costs {
                    spent_of_stream(&places.attempt(&opener), &places.attempt(attempt), *budget)
                } else {
                    Spend::default()
                };
                Some(Charge { attempt: attempt.clone(), spent })
            }
            Command::CheckBase { .. }
            | Command::ProveGate { .. }
            | Command::Reverse { .. }
            | Command::RunGate { .. }
            | Command::ProveTests { .. }
            | Command::Review { .. }
            | Command::Restack { .. }
            | Command::Land { .. }
            | Command::Rewind { .. }
            | Command::Publish { .. } => None,
        })
        .collect()
}

/// What to say when there is no plan.
pub fn no_plan(home: &Home) -> Refused {
    Refused::usage(
        format!("{} has no plan", home.user.root().display()),
        format!(
            "write PROJECT_PLAN.md, or let `{NAME} init` write one; looked for {}",
            crate::config::plan_files().join(", ")
        ),
    )
}

fn agent_spec(
    surroundings: &Surroundings,
    preparation: &Preparation,
    yard: &Yard,
) -> Result<AgentSpec, Refused> {
    let settings = &preparation.settings.agent;
    let name = settings.use_.clone();
    let claude = name == CLAUDE;
    let command = match name.as_str() {
        CLAUDE => None,
        "demo" => Some(vec![surroundings.exe.display().to_string(), DEMO_AGENT.to_owned()]),
        other => match preparation.user_settings.agents.get(other) {
            Some(profile) => Some(profile.command.clone()),
            None => {
                let mut known = vec![CLAUDE, "demo"];
                known.extend(preparation.user_settings.agents.keys().map(String::as_str));
                return Err(Refused::usage(
                    format!(
                        "there is no agent `{other}` ({})",
                        preparation.settings.origin("agent.use")
                    ),
                    format!(
                        "known agents: {}; add others under `agents:` in {}",
                        known.join(", "),
                        surroundings.user_file().display()
                    ),
                ));
            }
        },
    };
    Ok(AgentSpec {
        name,
        command,
        model: settings.model().map(str::to_owned),
        context: settings.context.clone(),
        walls: yard.tier().to_owned(),
        gaps: yard.gaps(),
        fallback: if claude { settings.fallback.models.clone() } else { Vec::new() },
        fallback_at: if claude { settings.fallback.at } else { 0 },
        retry_ms: settings.retry_ms.clone(),
        converses: claude,
        // Claude Code takes the key where it finds both.
        subscription: claude
            && surroundings.value(API_KEY).is_none()
            && surroundings.value(LOGIN_TOKEN).is_some(),
    })
}

/// What to say when both of Claude Code's credentials are there: the bill would be a surprise.
pub fn two_credentials(surroundings: &Surroundings, agent: &AgentSpec) -> Option<String> {
    let both = surroundings.value(API_KEY).is_some() && surroundings.value(LOGIN_TOKEN).is_some();
    (agent.name == CLAUDE && both).then(|| {
        format!(
            "{API_KEY} and {LOGIN_TOKEN} are both set: the key is used, and each call is billed to \
             it; unset it to use the subscription"
        )
    })
}

/// The agent that a specification names.
fn agent(
    surroundings: &Surroundings,
    spec: &AgentSpec,
    supervisor: &Supervisor,
    steps: &[String],
    protected: &[String],
) -> Arc<dyn Agent> {
    if let Some(command) = &spec.command {
        return Arc::new(CommandAgent::new(&spec.name, command.clone(), supervisor.clone()));
    }
    let key = surroundings.value(API_KEY).map(|key| Credential::ApiKey(Secret::new(key)));
    let token =
        surroundings.value(LOGIN_TOKEN).map(|token| Credential::OAuthToken(Secret::new(token)));
    let mut claude = ClaudeAgent::new(supervisor.clone(), key.or(token));
    claude.base_url = surroundings.value("ANTHROPIC_BASE_URL").map(str::to_owned);
    // Without walls the agent may run the gate's own commands and nothing else (decision 11).
    // Inside them it may run any.
    claude.bash = if spec.walls == "none" { steps.to_vec() } else { Vec::new() };
    claude.no_edit = protected.to_vec();
    Arc::new(claude)
}

/// What the programs of a night see of our environment: what `env` names, and where toolchains are.
pub(super) fn environment(surroundings: &Surroundings, env: &[String]) -> Environment {
    let mut environment = Environment::from_allowed(&surroundings.environment, env);
    for (name, value) in walls::toolchains(surroundings) {
        environment.set(name, value);
    }
    environment
}

/// Nothing for remotes that are no GitHub: there the pull request's text stays a file.
fn forge(
    surroundings: &Surroundings,
    home: &Home,
    wishes: Wishes,
) -> Result<Option<Arc<dyn Forge>>, Refused> {
    if wishes.no_pr || wishes.no_push {
        return Ok(None);
    }
    let Some(access) = home.github(surroundings) else { return Ok(None) };
    let forge =
        access.forge().map_err(|problem| Refused::environment(problem.message, problem.help))?;
    Ok(Some(Arc::new(forge)))
}

/// The way to the remote and its push address.
pub(super) fn remote(
    surroundings: &Surroundings,
    home: &Home,
) -> Option<(Arc<crate::git::network::Network>, String)> {
    let remote = home.remote.as_ref()?;
    Some((Arc::new(home.network(surroundings)), remote.push.clone()))
}

/// Who commits are by.
pub(super) fn author(surroundings: &Surroundings, home: &Home) -> Author {
    let named = (surroundings.value("GIT_AUTHOR_NAME"), surroundings.value("GIT_AUTHOR_EMAIL"));
    if let (Some(name), Some(email)) = named {
        return Author { name: name.to_owned(), email: email.to_owned() };
    }
    let xdg = surroundings
        .value("XDG_CONFIG_HOME")
        .map_or_else(|| surroundings.home.join(".config"), PathBuf::from);
    let files = [xdg.join("git/config"), surroundings.home.join(".gitconfig")];
    home.user
        .identity(&files)
        .unwrap_or_else(|| Author { name: NAME.to_owned(), email: format!("{NAME}@localhost") })
}
