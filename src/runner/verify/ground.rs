//! The ground that a verification stands on: what the base's own configuration says of its gate.
//!
//! Nothing of this machine enters: no user's file, no argument. What a base says is the same on every clone.

use crate::{
    config::{self, PlanFile, Settings},
    diagnostic::Style,
    gate,
    git::TreeEntry,
    ids::{CommitId, GateId, RepoPath, TreeId},
    policy::RuleSet,
    runner::{home::Home, protected, refused::Refused},
};

/// A base, and what its configuration says.
#[derive(Debug)]
pub struct Ground {
    /// The commit.
    pub commit: CommitId,
    /// Its tree.
    pub tree: TreeId,
    /// Its settings.
    pub settings: Settings,
    /// The file that they come from; `None` = all built in.
    pub settings_file: Option<String>,
    /// Its rules, for every file but the plan.
    pub rules: RuleSet,
    /// Its files.
    pub listing: Vec<TreeEntry>,
}

impl Ground {
    /// Reads the configuration of a commit.
    pub fn read(home: &Home, commit: &CommitId, style: Style) -> Result<Ground, Refused> {
        let tree = home.vault.tree_of(commit)?;
        let [first, second] = config::repository_files();
        let read = |path: &str| home.vault.read_file(&tree, &RepoPath::from(path));
        let chosen = config::choose(read(&first)?, read(&second)?).map_err(|both| {
            Refused::usage(both.to_string(), "remove one of them on the base branch")
        })?;
        let (settings, settings_file) = match chosen {
            None => (Settings::default(), None),
            Some((path, bytes)) => {
                let text = config::decode(&bytes);
                let parsed = text.and_then(|text| config::parse_repository(&path, text));
                let (settings, _) =
                    parsed.map_err(|found| Refused::drawn(&found, &path, &bytes, style))?;
                (settings, Some(path))
            }
        };
        let listing = home.vault.list(&tree)?;
        let rules = protected::rules(&settings, settings_file.as_deref(), None, &listing)?;
        Ok(Ground { commit: commit.clone(), tree, settings, settings_file, rules, listing })
    }

    /// Where a plan may be: a file there is no part of the gate, whatever globs protect it.
    pub fn plans(&self) -> Vec<RepoPath> {
        match &self.settings.plan.file {
            PlanFile::Auto => {
                config::plan_files().iter().map(|p| RepoPath::from(p.as_str())).collect()
            }
            PlanFile::Path(path) => vec![RepoPath::from(path.trim_start_matches("./"))],
        }
    }

    /// The gate's identity with this plan.
    pub fn gate_id(&self, plan: Option<&RepoPath>) -> GateId {
        let gate = &self.settings.gate;
        let counted = protected::files(&self.rules, plan, &self.listing);
        gate::id(&gate.steps, &gate.setup, &gate.env, &gate.network, counted)
    }

    /// The file that the settings come from, in words.
    pub fn file(&self) -> &str {
        self.settings_file.as_deref().unwrap_or("the built-in settings")
    }
}
