//! Where a night's programs work: their walls, how their files are laid out, and the base's cache beneath.
//!
//! Decided once, when a night is opened or gone on with. Never decides what a program is told.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    config::{Sandbox, UserSettings, Workspaces},
    diagnostic::Style,
    files,
    git::Error,
    ids::GateId,
    journal::Lock,
    night::{Base, GateSpec, Night, Opening},
    runner::{
        clock,
        home::Home,
        include::Included,
        places::{Places, Surroundings},
        prepare::user_settings,
        refused::Refused,
        storage::{self, Forecast, Load, Size, collect},
        walls::{self, Fence, Private},
    },
    sandbox::{Limits, Network, Tier, Walls},
    workspace::{self, CacheId, Kind, Store, Workspace},
};

/// Files of a base from which layers cost less than a walk: a walk of 2,000 takes as long as a mount.
const MANY_FILES: u64 = 2_000;
/// Bytes of a cache from which layers cost less than copies: half a second on most disks.
const LARGE_CACHE: u64 = 64 * 1024 * 1024;

/// What stands around a night's programs, and what lies beneath them.
#[derive(Clone, Debug)]
pub struct Yard {
    /// The walls; `None` = none, as the user's own file wants it.
    pub fence: Option<Fence>,
    /// How workspaces are made.
    pub kind: Kind,
    /// What the base's own gate leaves in ignored paths.
    pub cache: CacheId,
    /// The last cache of this repository, which is where the base's own gate starts from.
    pub last: Option<LastCache>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// What programs may use up; of it the disks' part is looked at before a night.
    limits: Limits,
    /// What the base's tree takes when it is laid out.
    size: Size,
}

/// The newest cache of a repository, as it is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastCache {
    /// Its name.
    pub id: CacheId,
    /// Of which gate.
    pub gate: GateId,
    /// Its files.
    pub files: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl LastCache {
    /// What is written down, where it is.
    pub fn read(places: &Places) -> Option<LastCache> {
        serde_json::from_slice(&std::fs::read(places.last_cache()).ok()?).ok()
    }

    /// Writes it down.
    pub fn write(&self, places: &Places) -> Result<(), files::Error> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        files::write_atomic(&places.last_cache(), &text)
    }
}

/// How workspaces are to be made: by what is possible, and by what costs less.
pub fn kind(wish: Workspaces, fence: Option<&Fence>, files: u64, last: Option<&LastCache>) -> Kind {
    let possible = fence.is_some_and(Fence::has_overlays);
    let large = files >= MANY_FILES || last.is_some_and(|cache| cache.bytes >= LARGE_CACHE);
    match wish {
        Workspaces::Overlay if possible => Kind::Overlay,
        Workspaces::Auto if possible && large => Kind::Overlay,
        Workspaces::Auto | Workspaces::Pool | Workspaces::Overlay => Kind::Pool,
    }
}

/// What a yard is made for.
pub struct Plot<'a> {
    /// The machine.
    pub surroundings: &'a Surroundings,
    /// The repository.
    pub home: &'a Home,
    /// What the user's own file says.
    pub settings: &'a UserSettings,
    /// Which walls are wanted.
    pub wish: Sandbox,
    /// True for the demonstration: its agent is ours, so it runs where no walls hold.
    pub demo: bool,
    /// The gate.
    pub gate: &'a GateSpec,
    /// Where the night starts from.
    pub base: &'a Base,
    /// The person's own ignored files that workspaces bring along.
    pub included: &'a Included,
}

impl Yard {
    /// Tries the walls, and decides how workspaces are made. Says no when no walls hold that may be used.
    pub fn build(plot: &Plot<'_>) -> Result<Yard, Refused> {
        let Plot { surroundings, home, settings, .. } = plot;
        let found = walls::find(surroundings, plot.wish, &home.places.work(), false)?;
        if !plot.demo {
            found.enough(plot.wish, &surroundings.user_file().display().to_string())?;
        }
        let own =
            home.user.work_tree().into_iter().chain([home.user.root(), home.user.common_dir()]);
        let own: Vec<_> = own.map(Path::to_owned).collect();
        let extra = settings.walls.readable(&surroundings.home);
        let limits = settings.walls.limits;
        let fence = Fence::new(surroundings, &found, &home.places, &own, &extra, limits);
        let last = LastCache::read(&home.places).filter(|last| last.gate == plot.gate.id);
        let size = storage::size_of(&home.vault, &plot.base.tree)?;
        let included = plot.included.hash();
        let parts = [plot.gate.id.as_str(), plot.base.tree.as_str(), &included];
        let mut kind = kind(settings.workspaces, fence.as_ref(), size.files, last.as_ref());
        if kind == Kind::Overlay
            && let Err(problem) = workspace::probe(&home.places.work())
        {
            tracing::warn!(%problem, "no layers here");
            kind = Kind::Pool;
        }
        let mut notes = Vec::new();
        if settings.workspaces == Workspaces::Overlay && kind == Kind::Pool {
            let why = found.no_overlays.as_deref().unwrap_or("no layers can be made in the cache");
            notes.push(format!("workspaces are directories, not overlays: {why}"));
        }
        Ok(Yard {
            notes,
            kind,
            fence,
            cache: CacheId::new(&parts.map(str::as_bytes)),
            last,
            limits,
            size,
        })
    }

    /// What stood around a night's programs when it began stands around them again, tried anew. What the
    /// person allows is asked anew too: it may have changed, and nobody may sit there any more.
    pub fn again(
        surroundings: &Surroundings,
        home: &Home,
        opening: &Opening,
        included: &Included,
        demo: bool,
    ) -> Result<Yard, Refused> {
        let settings = &user_settings(surroundings, Style::Plain)?;
        let now = settings.sandbox.unwrap_or(Sandbox::Auto);
        let wish = match opening.agent.walls.as_str() {
            "t2" => Sandbox::T2,
            "t1" => Sandbox::T1,
            "none" if now == Sandbox::Off => Sandbox::Off,
            _ => Sandbox::Auto,
        };
        let (gate, base) = (&opening.gate, &opening.base);
        Yard::build(&Plot { surroundings, home, settings, wish, demo, gate, base, included })
    }

    /// What a night is going to need. Says no when the disk has not the room for it.
    pub fn has_room(&self, home: &Home, store: &Store, parallel: u32) -> Result<Forecast, Refused> {
        let present = Size { bytes: store.size()?, files: u64::MAX };
        let cache = self.last.as_ref().map(|last| Size { bytes: last.bytes, files: last.files });
        let load = Load { tree: self.size, cache, kind: self.kind, parallel, present };
        storage::check(&home.places, &load, &self.limits)
    }

    /// Removes what earlier nights left and nobody will ask for again.
    pub fn make_room(
        &self,
        home: &Home,
        lock: &Lock,
        store: &Store,
        base: &Base,
        night: Option<&Night>,
    ) {
        let mut in_use = collect::InUse::default();
        in_use.commits.insert(base.commit.clone());
        in_use.workspaces.trees.insert(base.tree.clone());
        in_use.workspaces.caches.insert(self.cache.clone());
        in_use.workspaces.caches.extend(self.last.iter().map(|last| last.id.clone()));
        if let Some(night) = night {
            in_use.nights.insert(night.opening().night.clone());
            in_use.commits.insert(night.tip().clone());
        }
        let temporary = Path::new("/tmp");
        let collected =
            collect::collect(lock, &home.places, store, temporary, &in_use, clock::now());
        if !collected.is_empty() {
            tracing::info!("{collected}");
        }
    }

    /// What does not stop a program, each in a few words.
    pub fn gaps(&self) -> Vec<String> {
        let tier = self.fence.as_ref().map_or(Tier::None, Fence::tier);
        tier.gaps().iter().copied().chain(walls::gaps_of_kernel(tier)).map(str::to_owned).collect()
    }

    /// The name of what stands around programs.
    pub fn tier(&self) -> &'static str {
        self.fence.as_ref().map_or("none", |fence| fence.tier().name())
    }

    /// The base's cache, where it is there.
    pub fn cache_in(&self, store: &Store) -> Option<&CacheId> {
        Some(&self.cache).filter(|cache| store.has_cache(cache))
    }

    /// What to start the base's own gate from.
    pub fn cache_for_base(&self, store: &Store) -> Option<&CacheId> {
        self.cache_in(store).or(self
            .last
            .as_ref()
            .map(|last| &last.id)
            .filter(|cache| store.has_cache(cache)))
    }

    /// The walls of a program in `workspace`; `None` where there are none.
    pub fn around(
        &self,
        workspace: &Workspace,
        private: &Private,
        network: Network,
    ) -> Result<Option<Walls>, Error> {
        let Some(fence) = &self.fence else { return Ok(None) };
        let walls = fence.around(workspace.directory(), workspace.overlay(), private, network)?;
        Ok(Some(walls))
    }

    /// The walls of a program that has no files.
    pub fn without_files(
        &self,
        private: &Private,
        network: Network,
    ) -> Result<Option<Walls>, Error> {
        let Some(fence) = &self.fence else { return Ok(None) };
        Ok(Some(fence.without_files(private, network)?))
    }

    /// What `/tmp` is called inside: `tmp` itself where files are the machine's.
    pub fn tmp_inside<'p>(&self, tmp: &'p Path) -> &'p Path {
        match &self.fence {
            Some(fence) if fence.tier() == Tier::T2 => Path::new("/tmp"),
            Some(_) | None => tmp,
        }
    }
}
