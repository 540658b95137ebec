//! Which walls this machine can put up, found by trying; and what stands around each program of a night.
//!
//! A wall is believed when a program of ours tried to get out and could not. Never weaker than what the user's
//! own file asks for: what it does not allow is refused, not run without.

mod lists;
mod trial;

use std::path::{Path, PathBuf};

use crate::{
    config::Sandbox,
    files,
    ids::NAME,
    runner::{
        places::{Places, Surroundings},
        refused::Refused,
    },
    sandbox::{Limits, Network, Overlay, Tier, Walls},
};

pub use self::{
    lists::{Lists, toolchains},
    trial::{Outcome, Trial},
};

/// What this machine can put up.
#[derive(Clone, Debug)]
pub struct Found {
    /// The strongest tier that held, of those that may be used.
    pub tier: Tier,
    /// Every tier that was tried, and what came of it, strongest first.
    pub trials: Vec<Trial>,
    /// Why there are no overlays; `None` = there are.
    pub no_overlays: Option<String>,
    /// What the same trial could do without walls: what it could not do there proves nothing.
    pub control: Option<Trial>,
}

/// What stands around the programs of one night.
#[derive(Clone, Debug)]
pub struct Fence {
    tier: Tier,
    lists: Lists,
    limits: Limits,
    overlays: bool,
    /// What set-ups added to package stores.
    stores: PathBuf,
}

/// What the system says of `EMFILE` (errno(3)): the limit of open files says nothing about walls.
const TOO_MANY_FILES: &str = "Too many open files";

/// The private directories of one program's run, all on the disk of the workspaces.
#[derive(Clone, Debug)]
pub struct Private {
    /// What `/tmp` is, or `TMPDIR`; exists when the program starts.
    pub tmp: PathBuf,
    /// A directory of this run for layers over package stores; made when needed.
    pub stores: PathBuf,
    /// What else it may write; exists when the program starts.
    pub write: Vec<PathBuf>,
    /// True for the base's set-up: what it adds to package stores is there for all that follow.
    pub set_up: bool,
}

/// The tiers that a wish allows, strongest first. Empty: nothing is to stand around anything.
fn candidates(wish: Sandbox) -> &'static [Tier] {
    let best: &[Tier] =
        if cfg!(target_os = "macos") { &[Tier::Mac] } else { &[Tier::T2, Tier::T1] };
    match wish {
        Sandbox::Off => &[],
        Sandbox::Auto | Sandbox::Required => best,
        Sandbox::T1 => &[Tier::T1],
        Sandbox::T2 => &[Tier::T2],
    }
}

/// Finds the strongest tier that holds, by trying. Takes some tens of milliseconds: this is the self-test
/// before the first task of a night, and what `doctor` shows. `every`: also try weaker ones than the first
/// that holds.
pub fn find(
    surroundings: &Surroundings,
    wish: Sandbox,
    place: &Path,
    every: bool,
) -> Result<Found, Refused> {
    let mut found = Found {
        tier: Tier::None,
        trials: Vec::new(),
        no_overlays: Some("the tier has no overlays".to_owned()),
        control: None,
    };
    if candidates(wish).is_empty() && !every {
        return Ok(found);
    }
    files::create_private_dir(place)?;
    let scene = trial::Scene::set(surroundings, place)?;
    found.control = Some(scene.run(None, false));
    let tiers = if every { candidates(Sandbox::Auto) } else { candidates(wish) };
    for tier in tiers {
        let mut trial = scene.run(Some(*tier), *tier == Tier::T2);
        if *tier == Tier::T2 {
            found.no_overlays = trial.outcome.problem();
            if found.no_overlays.is_some() {
                trial = scene.run(Some(*tier), false);
            }
        }
        let holds = matches!(trial.outcome, Outcome::Holds);
        let breaks = matches!(trial.outcome, Outcome::Breaks(_));
        found.trials.push(trial);
        if holds && found.tier == Tier::None && candidates(wish).contains(tier) {
            found.tier = *tier;
        }
        // A wall that can be put up and does not hold is no reason to trust the next.
        if !every && (holds || breaks) {
            break;
        }
    }
    if found.tier != Tier::T2 && found.no_overlays.is_none() {
        found.no_overlays = Some("they need the tier t2".to_owned());
    }
    Ok(found)
}

/// What this kernel does not stop beyond what its tier says of itself.
pub fn gaps_of_kernel(tier: Tier) -> Vec<&'static str> {
    #[cfg(target_os = "linux")]
    if tier == Tier::T1 {
        let mut gaps = crate::sandbox::linux::landlock::gaps();
        if rustix::process::geteuid().is_root() {
            gaps.push("as root, only the supervisor ends a fork bomb, and may take long");
        }
        return gaps;
    }
    let _ = tier;
    Vec::new()
}

impl Found {
    /// What the tier that is used does not stop, each in a few words.
    pub fn gaps(&self) -> Vec<&'static str> {
        self.tier.gaps().iter().copied().chain(gaps_of_kernel(self.tier)).collect()
    }

    /// Says no when nothing that may be used holds, unless the user's own file wants none.
    pub fn enough(&self, wish: Sandbox, user_file: &str) -> Result<(), Refused> {
        if self.tier != Tier::None || wish == Sandbox::Off {
            return Ok(());
        }
        let tried: Vec<String> = self.trials.iter().map(Trial::in_words).collect();
        if tried.iter().any(|words| words.contains(TOO_MANY_FILES)) {
            return Err(Refused::environment(
                format!("the walls could not be tried: {}", tried.join("; ")),
                "too few files may be open here: raise the limit, such as `ulimit -n 1024`",
            ));
        }
        if matches!(wish, Sandbox::T1 | Sandbox::T2) {
            return Err(Refused::environment(
                format!("the walls that are asked for do not hold here: {}", tried.join("; ")),
                format!(
                    "{NAME} doctor says which do; `sandbox: auto` in {user_file} takes the best of them"
                ),
            ));
        }
        Err(Refused::environment(
            format!("no walls hold on this machine: {}", tried.join("; ")),
            format!(
                "{NAME} doctor says what is missing; `sandbox: off` in {user_file} runs without walls, and \
                 every report then says so"
            ),
        ))
    }
}

impl Fence {
    /// Walls of this tier for programs of one repository. `None` for [`Tier::None`].
    pub fn new(
        surroundings: &Surroundings,
        found: &Found,
        places: &Places,
        repository: &[PathBuf],
        extra: &[PathBuf],
        limits: Limits,
    ) -> Option<Fence> {
        if found.tier == Tier::None {
            return None;
        }
        let own = [places.state().to_owned(), places.work(), surroundings.config.clone()];
        let keep_out: Vec<PathBuf> = repository.iter().cloned().chain(own).collect();
        let mut lists = Lists::of(surroundings, extra, &keep_out);
        lists.read.push(surroundings.exe.clone());
        lists.read.push(places.history());
        let overlays = found.tier == Tier::T2 && found.no_overlays.is_none();
        let stores = places.stores();
        Some(Fence { tier: found.tier, lists, limits, overlays, stores })
    }

    /// True when workspaces can be layers.
    pub fn has_overlays(&self) -> bool {
        self.overlays
    }

    /// What carries the walls.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The walls of a program that works in `directory`, which is that of `overlay` where it is one.
    pub fn around(
        &self,
        directory: &Path,
        overlay: Option<Overlay>,
        private: &Private,
        network: Network,
    ) -> Result<Walls, files::Error> {
        let mut walls = self.without_files(private, network)?;
        match overlay {
            Some(overlay) => walls.overlays.push(overlay),
            None => walls.write.push(directory.to_owned()),
        }
        Ok(walls)
    }

    /// The walls of a program that works on no files.
    pub fn without_files(
        &self,
        private: &Private,
        network: Network,
    ) -> Result<Walls, files::Error> {
        let (mut read, hidden) = match self.tier {
            Tier::T2 => (self.lists.read.clone(), self.lists.hidden.clone()),
            Tier::T1 | Tier::Mac | Tier::None => (self.lists.spelled_out(), Vec::new()),
        };
        let mut overlays = Vec::new();
        let mut write = private.write.clone();
        for (number, store) in self.lists.stores.iter().enumerate() {
            let number = number.to_string();
            if self.overlays {
                let (kept, own) = (self.stores.join(&number), private.stores.join(&number));
                overlays.push(layered(store, &kept, &own, private.set_up)?);
            } else if private.set_up && store.is_dir() {
                // Without layers the base's set-up adds to the machine's own, as the person would.
                write.push(store.clone());
            } else if self.tier == Tier::T2 {
                read.push(store.clone());
            }
        }
        Ok(Walls {
            tier: self.tier,
            read,
            write,
            hidden,
            overlays,
            tmp: private.tmp.clone(),
            network,
            limits: self.limits,
        })
    }
}

/// A package store that programs may add to, in a layer that is thrown away. Over the machine's own lies what
/// the base's set-up has put there, whose own run writes that layer.
fn layered(
    store: &Path,
    kept: &Path,
    private: &Path,
    set_up: bool,
) -> Result<Overlay, files::Error> {
    let (brought, nothing) = (kept.join("upper"), kept.join("nothing"));
    files::create_private_dir(&brought)?;
    let below = if store.is_dir() {
        store.to_owned()
    } else {
        files::create_private_dir(&nothing)?;
        nothing
    };
    let (upper, work, lower) = if set_up {
        (brought, kept.join("work"), vec![below])
    } else {
        files::remove_tree(private)?;
        (private.join("upper"), private.join("work"), vec![brought, below])
    };
    files::create_private_dir(&upper)?;
    files::create_private_dir(&work)?;
    Ok(Overlay { at: store.to_owned(), lower, upper, work })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_open_files_is_no_reason_to_run_without_walls() {
        let refused = |why: &str| {
            let outcome = Outcome::Missing(why.to_owned());
            let trial = Trial { tier: Tier::T2, outcome, out: Vec::new(), closed: Vec::new() };
            let (tier, trials) = (Tier::None, vec![trial]);
            let found = Found { tier, trials, no_overlays: None, control: None };
            found.enough(Sandbox::Auto, "/u.yml").unwrap_err().help.unwrap()
        };
        let real = std::io::Error::from(rustix::io::Errno::MFILE).to_string();
        let few = refused(&real);
        assert!(few.contains("ulimit -n") && !few.contains("sandbox: off"), "{few}");
        assert!(refused("no namespaces").contains("sandbox: off"));
    }
}
