//! Which commits are meant: a person's word to a tip, and from there back to the base.
//!
//! Asks the remote for what is not here, where it may. Moves no ref but those of the vault.

use crate::{
    config,
    git::{range::Commit, receipts::Shelf, remote::Remote},
    ids::{CommitId, NAME, NightId, REF_NAMESPACE},
    journal,
    night::Base,
    runner::{
        base,
        home::Home,
        open::replay,
        places::Surroundings,
        refused::Refused,
        verify::{Ground, Question},
    },
};

/// A line of commits.
pub(super) struct Line {
    /// Where it left its base.
    pub(super) base: CommitId,
    /// How that was found.
    pub(super) base_how: String,
    /// Its last commit.
    pub(super) tip: CommitId,
    /// What was asked about.
    pub(super) tip_how: String,
    /// Its commits, parents before children.
    pub(super) commits: Vec<Commit>,
    /// True for a night or a pull request that is part of its base by now.
    pub(super) merged: bool,
    /// The night whose branch it is, where that was asked about.
    pub(super) night: Option<NightId>,
}

/// A person's word, understood.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Night(NightId),
    /// The nth last night here, 0 = the last.
    Back(usize),
    Branch(String),
    Pull {
        number: u64,
        of: Option<String>,
    },
    Range {
        base: String,
        tip: String,
    },
    Revision(String),
}

fn understand(word: &str) -> Word {
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() < 10);
    if let Some(night) = NightId::new(word).ok().or_else(|| night_of(word)) {
        return Word::Night(night);
    }
    if matches!(word, "last" | "latest") {
        return Word::Back(0);
    }
    if let Some(back) = word.strip_prefix("last~").and_then(|back| back.parse().ok()) {
        return Word::Back(back);
    }
    if let Some(number) = word.strip_prefix('#').and_then(number).or_else(|| number(word)) {
        return Word::Pull { number, of: None };
    }
    if let Some((before, rest)) = word.split_once("/pull/")
        && before.contains("://")
        && let Some(number) = rest.split(['/', '?', '#']).next().and_then(number)
    {
        return Word::Pull { number, of: Some(before.to_owned()) };
    }
    match word.split_once("...").or_else(|| word.split_once("..")) {
        Some((base, tip)) => {
            let or_head = |text: &str| if text.is_empty() { "HEAD" } else { text }.to_owned();
            Word::Range { base: or_head(base), tip: or_head(tip) }
        }
        None => Word::Revision(word.to_owned()),
    }
}

/// The night that a branch belongs to by its name.
fn night_of(branch: &str) -> Option<NightId> {
    let name = branch.strip_prefix(NAME)?.strip_prefix('/')?;
    NightId::new(name).ok()
}

/// Finds the line that is asked about.
pub(super) fn find(
    surroundings: &Surroundings,
    home: &Home,
    question: &Question,
    notes: &mut Vec<String>,
) -> Result<Line, Refused> {
    let place = Place { surroundings, home, fetch: question.fetch };
    let mut word = match question.what.as_deref() {
        None => match last_night(home)? {
            Some(night) => Word::Night(night),
            None => home
                .user
                .head_branch()?
                .and_then(|branch| night_of(&branch))
                .map_or(Word::Revision("HEAD".to_owned()), Word::Night),
        },
        Some(word) => understand(word),
    };
    if let Word::Back(back) = word {
        word = Word::Night(earlier_night(home, back)?);
    } else if let Word::Revision(text) = &word
        && let Some(branch) = place.branch_of(text)?
    {
        word = night_of(&branch).map_or(Word::Branch(branch), Word::Night);
    }
    let (tip, tip_how, own_base) = match &word {
        Word::Night(night) => {
            let (tip, how) = place.night(night, notes)?;
            (tip, how, base_of_night(home, night)?)
        }
        Word::Pull { number, of } => {
            (place.pull(*number, of.as_deref())?, format!("pull request {number}"), None)
        }
        Word::Range { base, tip } => {
            let base = place.revision(base)?;
            let at = match place.branch_of(tip)? {
                Some(branch) => place.branch(&branch, notes)?,
                None => None,
            };
            let at = at.map_or_else(|| place.revision(tip), Ok)?;
            (at, tip.clone(), Some((base, "as you named it".to_owned())))
        }
        Word::Branch(branch) => {
            let found = place.branch(branch, notes)?;
            (found.map_or_else(|| place.revision(branch), Ok)?, branch.clone(), None)
        }
        Word::Revision(word) => (place.revision(word)?, word.clone(), None),
        Word::Back(_) => unreachable!("`last` and its like became a night above"),
    };
    let (from, base_how) = match (&question.base, own_base) {
        (Some(word), _) => (place.revision(word)?, format!("`{word}`, given with --base")),
        (None, Some(own)) => own,
        (None, None) => {
            let found = place.default_base(question, notes)?;
            (found.commit, format!("{}, {}", found.branch, found.how))
        }
    };
    let shallow = home.user.is_shallow();
    let cut_off = || {
        let remote = home.remote.as_ref().map_or("origin", |remote| remote.name.as_str());
        Refused::usage(
            "this clone is shallow: the commits between the base and the tip are not all here",
            format!("git fetch --unshallow {remote}; in GitHub Actions: `fetch-depth: 0`"),
        )
    };
    let base = match home.vault.merge_base(&from, &tip) {
        // git forgets where our own copy is cut off once something else was fetched into it.
        Err(_) if shallow => return Err(cut_off()),
        found => found?,
    };
    let Some(base) = base else {
        return Err(if shallow {
            cut_off()
        } else {
            Refused::usage(
                format!("{tip_how} and the base ({base_how}) have no commit in common"),
                "name the base with --base",
            )
        });
    };
    let commits = home.vault.commits(&base, &tip)?;
    if shallow && commits.iter().any(|commit| commit.parents.is_empty()) {
        return Err(cut_off());
    }
    let merged = commits.is_empty() && matches!(word, Word::Night(_) | Word::Pull { .. });
    let night = if let Word::Night(night) = word { Some(night) } else { None };
    Ok(Line { base, base_how, tip, tip_how, commits, merged, night })
}

impl Line {
    /// A line that is part of its base by now is looked at from the base that its receipts name, when that
    /// one is part of it as well.
    pub(super) fn look_back(
        &mut self,
        home: &Home,
        shelf: &Shelf,
        notes: &mut Vec<String>,
    ) -> Result<(), Refused> {
        let tree = home.vault.tree_of(&self.tip)?;
        for found in shelf.of(&home.vault, &tree)? {
            let Ok(receipt) = found.receipt else { continue };
            let base = receipt.base.commit;
            if base != self.tip && home.vault.contains(&self.tip, &base).unwrap_or(false) {
                self.commits = home.vault.commits(&base, &self.tip)?;
                notes.push(format!(
                    "{} is merged; looked at from {}, where its receipts say that it began",
                    self.tip_how,
                    base.short()
                ));
                self.base = base;
                "named by the receipts".clone_into(&mut self.base_how);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The last night with something on its branch.
fn last_night(home: &Home) -> Result<Option<NightId>, Refused> {
    for id in home.places.all_nights().into_iter().rev() {
        // A journal that cannot be read says nothing about what landed.
        let Ok(reading) = journal::read(&home.places.night(&id).journal()) else { continue };
        if !reading.entries.is_empty() && !replay(reading.entries)?.landed().is_empty() {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The nth last night that was begun here, as `show` counts them.
fn earlier_night(home: &Home, back: usize) -> Result<NightId, Refused> {
    let begun = |id: &NightId| {
        let reading = journal::read(&home.places.night(id).journal());
        reading.map_or(true, |reading| !reading.entries.is_empty())
    };
    home.places.all_nights().into_iter().rev().filter(begun).nth(back).ok_or_else(|| {
        Refused::usage(
            format!("there is no night `last~{back}` here"),
            "name a night, a branch, a range or a pull request",
        )
    })
}

/// Where a night of this machine began, by its own record.
fn base_of_night(home: &Home, night: &NightId) -> Result<Option<(CommitId, String)>, Refused> {
    let Ok(reading) = journal::read(&home.places.night(night).journal()) else { return Ok(None) };
    if reading.entries.is_empty() {
        return Ok(None);
    }
    let base = replay(reading.entries)?.opening().base.clone();
    Ok(Some((base.commit, format!("{}, where the night began", base.branch))))
}

/// Where words are looked up.
struct Place<'a> {
    surroundings: &'a Surroundings,
    home: &'a Home,
    fetch: bool,
}

impl Place<'_> {
    /// The commit that a word means here, else on the remote.
    fn revision(&self, word: &str) -> Result<CommitId, Refused> {
        let user = &self.home.user;
        if let Some(found) = user.revision(word)? {
            return Ok(found);
        }
        if let Some(remote) = &self.home.remote {
            let tracking = format!("refs/remotes/{}/{word}", remote.name);
            if let Some(found) = user.resolve(&tracking)? {
                return Ok(found);
            }
        }
        // A commit that only the vault has: a candidate, or what was fetched before.
        if let Ok(id) = CommitId::new(word)
            && self.home.vault.tree_of(&id).is_ok()
        {
            return Ok(id);
        }
        match self.fetched(&format!("refs/heads/{word}"))? {
            Some(found) => Ok(found),
            None => Err(Refused::usage(
                format!("`{word}` names no commit here{}", self.or_there()),
                format!(
                    "name a branch, a commit, a range (main..{NAME}/2026-11-21), a night (2026-11-21) or a \
                     pull request (482)"
                ),
            )),
        }
    }

    /// The branch that a word names, here or as it was last fetched. A tag of that name goes first, as in git.
    fn branch_of(&self, word: &str) -> Result<Option<String>, Refused> {
        let user = &self.home.user;
        if word == "HEAD" || user.resolve(&format!("refs/tags/{word}"))?.is_some() {
            return Ok(None);
        }
        let full = word.strip_prefix("refs/heads/").unwrap_or(word);
        if user.resolve(&format!("refs/heads/{full}"))?.is_some() {
            return Ok(Some(full.to_owned()));
        }
        let Some(remote) = &self.home.remote else { return Ok(None) };
        let word = word.strip_prefix("refs/").unwrap_or(word);
        let word = word.strip_prefix("remotes/").unwrap_or(word);
        let word = word.strip_prefix(&format!("{}/", remote.name)).unwrap_or(word);
        let tracked = user.resolve(&format!("refs/remotes/{}/{word}", remote.name))?;
        Ok(tracked.filter(|_| word != "HEAD").map(|_| word.to_owned()))
    }

    /// Where a branch stands: on the remote where that may be asked, else the person's, else the last fetched,
    /// else ours. Where it stands elsewhere too, a note says so.
    fn branch(&self, branch: &str, notes: &mut Vec<String>) -> Result<Option<CommitId>, Refused> {
        let Home { user, vault, remote, .. } = self.home;
        let name = format!("refs/heads/{branch}");
        let tracking = remote.as_ref().map(|it| format!("refs/remotes/{}/{branch}", it.name));
        let mut here = Vec::new();
        for name in [name.clone()].into_iter().chain(tracking) {
            here.extend(user.resolve(&name)?.map(|at| (name, at)));
        }
        if here.is_empty() {
            here.extend(vault.resolve(&name)?.map(|at| (format!("{NAME}'s own {branch}"), at)));
        }
        let there = match self.fetched(&name) {
            Err(problem) if here.is_empty() => return Err(problem),
            there => there,
        };
        let first = here.first().cloned();
        let (of, tip) = match (&there, remote, first) {
            (Ok(Some(tip)), Some(remote), _) => {
                (format!("{branch} of {}", remote.name), tip.clone())
            }
            (_, _, Some(first)) => first,
            (_, _, None) => return Ok(None),
        };
        let why = match (there, remote) {
            (Err(problem), _) => Some(problem.message),
            (Ok(None), Some(remote)) if self.fetch => {
                Some(format!("{} has no branch {branch}", remote.name))
            }
            (Ok(_), _) => None,
        };
        let others: Vec<String> = here
            .iter()
            .filter(|(_, at)| *at != tip)
            .map(|(name, at)| format!("{name} is at {} here", at.short()))
            .collect();
        if why.is_some() || !others.is_empty() {
            let looked = format!("looked at {of}, which is at {}", tip.short());
            let said: Vec<String> = why.into_iter().chain([looked]).chain(others).collect();
            notes.push(said.join("; "));
        }
        Ok(Some(tip))
    }

    /// Where a night's branch stands.
    fn night(
        &self,
        night: &NightId,
        notes: &mut Vec<String>,
    ) -> Result<(CommitId, String), Refused> {
        let found = self.branch(&night.branch(), notes)?.ok_or_else(|| {
            Refused::usage(
                format!("there is no branch {} here{}", night.branch(), self.or_there()),
                "a branch that was deleted after its merge is verified by the commits it left: BASE..REV",
            )
        })?;
        Ok((found, format!("night {night}")))
    }

    fn pull(&self, number: u64, of: Option<&str>) -> Result<CommitId, Refused> {
        let remote = self.home.remote.as_ref().ok_or_else(|| {
            Refused::usage(
                "this repository has no remote, so it has no pull requests",
                "name a branch or a range",
            )
        })?;
        if let Some(url) = of {
            let same = match (Remote::parse(url), Remote::parse(&remote.fetch)) {
                (Remote::Forge(asked), Remote::Forge(own)) => {
                    asked.web_host() == own.web_host()
                        && asked.slug().eq_ignore_ascii_case(&own.slug())
                }
                _ => false,
            };
            if !same {
                return Err(Refused::usage(
                    format!("{url} is not the repository of the remote `{}`", remote.name),
                    "go to a clone of that repository, or name one with -C",
                ));
            }
        }
        self.fetched(&format!("refs/pull/{number}/head"))?.ok_or_else(|| {
            Refused::usage(
                format!("there is no pull request {number}{}", self.or_there()),
                "GitHub shows them as refs/pull/NUMBER/head; elsewhere name the branch",
            )
        })
    }

    /// Where a ref of the remote stands, fetched now. `None` when it is not there, or may not be asked.
    fn fetched(&self, name: &str) -> Result<Option<CommitId>, Refused> {
        let Some(remote) = self.home.remote.as_ref().filter(|_| self.fetch) else {
            return Ok(None);
        };
        let network = self.home.network(self.surroundings);
        let refused = |problem: crate::git::network::Error| {
            Refused::environment(
                format!("could not ask {}: {problem}", remote.name),
                problem.help().to_owned(),
            )
        };
        let there = network.list(&remote.fetch, name).map_err(refused)?;
        let Some((_, at)) = there.into_iter().find(|(found, _)| found == name) else {
            return Ok(None);
        };
        if self.home.has(&at) {
            return Ok(Some(at));
        }
        let below = name.trim_start_matches("refs/");
        let ours = format!("{REF_NAMESPACE}fetched/{below}");
        network.fetch(&remote.fetch, &[&format!("+{name}:{ours}")]).map_err(refused)?;
        Ok(self.home.vault.resolve(&ours)?)
    }

    fn or_there(&self) -> String {
        match (&self.home.remote, self.fetch) {
            (Some(remote), true) => format!(", nor on {}", remote.name),
            (Some(_), false) => ", and --no-fetch keeps from asking the remote".to_owned(),
            (None, _) => String::new(),
        }
    }

    /// The branch that pull requests go to.
    fn default_base(&self, question: &Question, notes: &mut Vec<String>) -> Result<Base, Refused> {
        let find = |branch: Option<&str>, notes: &mut Vec<String>| {
            if self.fetch {
                base::find(self.surroundings, self.home, None, branch, notes)
            } else {
                base::known(self.home, branch)
            }
        };
        let found = find(None, notes)?;
        let ground = Ground::read(self.home, &found.commit, question.style)?;
        match &ground.settings.pr.base {
            config::Base::Branch(branch) if *branch != found.branch => find(Some(branch), notes),
            config::Base::Branch(_) | config::Base::Auto => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_night_a_pull_request_a_range_or_a_revision() {
        let pull = |number, of: Option<&str>| Word::Pull { number, of: of.map(str::to_owned) };
        let range = |base: &str, tip: &str| Word::Range { base: base.into(), tip: tip.into() };
        let revision = |word: &str| Word::Revision(word.into());
        for (word, expected) in [
            ("2026-11-21-2", Word::Night(NightId::new("2026-11-21-2").unwrap())),
            ("482", pull(482, None)),
            ("#482", pull(482, None)),
            ("https://github.com/o/r/pull/482", pull(482, Some("https://github.com/o/r"))),
            ("https://ghe.x:8443/o/r/pull/7/files", pull(7, Some("https://ghe.x:8443/o/r"))),
            ("main..x", range("main", "x")),
            ("main...x", range("main", "x")),
            ("main..", range("main", "HEAD")),
            ("nightshift/2026-11-21", Word::Night(NightId::new("2026-11-21").unwrap())),
            ("last", Word::Back(0)),
            ("last~2", Word::Back(2)),
            ("last~x", revision("last~x")),
            ("feature/pull/7", revision("feature/pull/7")),
            ("HEAD~2", revision("HEAD~2")),
            // Ten digits are a commit's, not a number's.
            ("1234567890", revision("1234567890")),
        ] {
            assert_eq!(understand(word), expected, "{word}");
        }
    }
}
