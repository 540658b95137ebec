//! What leaves the machine: receipts beside each landing, then branch and receipts in one push, then the pull
//! request.
//!
//! Never decides what is published. A branch that got out is never taken back because something smaller did
//! not. Looks before every step, so that a step whose answer was lost is found done and not done twice.

use std::sync::Arc;

use crate::{
    faults,
    forge::{Forge, ForgeError, Landed, Published, PullRequestDraft},
    git::{
        self, Vault, landing,
        network::{self, Move, Network, PushOutcome, Rejection},
        receipts,
        remote::{Remote, without_login},
        user::UserRepository,
    },
    ids::{CommitId, NAME, NightId, REF_NAMESPACE},
    night::{Base, Hindrance, Opening},
    policy::RuleSet,
    process::{Stop, Urgency},
    receipt::{ProtectedFile, Receipt},
    redact::Redactor,
    report::{self, BaseNow},
    runner::{
        deed::{Deed, Error},
        hands::{Brief, Hands, blocking},
        protected,
    },
};

impl Hands {
    /// Writes the brief's receipts into the vault. Safe to repeat. The person's repository gets them when the
    /// night is published: one pack for all instead of one for each landing.
    pub(super) fn keep_receipts(&self, brief: &Brief) -> Result<(), Error> {
        let opening = &brief.opening;
        if brief.receipts.is_empty() {
            return Ok(());
        }
        let protected = match self.protected.get() {
            Some(known) => known,
            // Known from the preparation of a fresh night, found once for a resumed one: it takes a look at each
            // file of the base, 40 ms at 100,000.
            None => {
                let found = protected_files(&self.vault, opening, self.rules(opening)?)?;
                self.protected.get_or_init(|| found)
            }
        };
        keep_receipts(&self.vault, &self.redactor, &brief.receipts, protected)
    }

    pub(super) async fn publish(&self, brief: &Brief, tip: &CommitId) -> Result<Deed, Error> {
        self.free_reserve();
        // Commits that landed before there were receipts, and those whose receipt a person removed.
        self.keep_receipts(brief)?;
        let draft = brief.draft.as_ref().expect("a publication is briefed with its text");
        let way = Way {
            vault: &self.vault,
            user: &self.user,
            local: self.local.as_ref(),
            forge: Ok(self.forge.as_deref()),
            remote: self.remote.as_ref(),
            redactor: &self.redactor,
            former: &brief.former,
            stop: Some(&self.stop),
        };
        Ok(match way.publish(&brief.opening, draft, tip).await? {
            Ok(Some(Published { url, number, notes })) => Deed::Published { url, number, notes },
            Ok(None) => Deed::Stopped,
            Err(Hindered { message, help, hindrance }) => {
                Deed::NotPublished { message, help, hindrance }
            }
        })
    }
}

/// What is noted of a night that began with a push and whose last publication was to stay here.
pub(super) const NOT_PUSHED: &str = "the branch was not pushed: --no-push";

/// The base's protected files, of which each receipt tells.
pub(super) fn protected_files(
    vault: &Vault,
    opening: &Opening,
    rules: &RuleSet,
) -> Result<Vec<ProtectedFile>, Error> {
    let base = vault.list(&opening.base.tree)?;
    Ok(protected::kept(protected::files(rules, Some(&opening.plan.path), &base)))
}

/// Writes receipts into the vault, as they may be seen: as JSON, one field a line, without secrets.
pub(super) fn keep_receipts(
    vault: &Vault,
    redactor: &Redactor,
    receipts: &[Receipt],
    protected: &[ProtectedFile],
) -> Result<(), Error> {
    for receipt in receipts {
        let receipt = Receipt { protected: protected.to_vec(), ..receipt.clone() };
        let value = serde_json::to_value(&receipt).unwrap_or_default();
        let mut seen = serde_json::to_vec_pretty(&redactor.redact_all(value)).unwrap_or_default();
        seen.push(b'\n');
        receipts::keep(vault, &receipt, &seen)?;
    }
    Ok(())
}

/// The way out of this machine, for a night under way and for one that is long over.
pub(super) struct Way<'w> {
    pub(super) vault: &'w Vault,
    pub(super) user: &'w UserRepository,
    /// The file that holds the text, whatever else happens to it.
    pub(super) local: &'w dyn Forge,
    /// Where the pull request goes, `None` = nowhere but the file; or why that place cannot be reached at all.
    pub(super) forge: Result<Option<&'w dyn Forge>, ForgeError>,
    /// The way to the remote and its push address.
    pub(super) remote: Option<&'w (Arc<Network>, String)>,
    pub(super) redactor: &'w Redactor,
    /// Tips of the branch before it went back, one of which the remote may have.
    pub(super) former: &'w [CommitId],
    /// Looked at before every step; `None` = nobody can ask.
    pub(super) stop: Option<&'w Stop>,
}

/// Why something did not get out.
pub(super) struct Hindered {
    /// What happened.
    pub(super) message: String,
    /// What to do.
    pub(super) help: String,
    /// Whether it passes by itself.
    pub(super) hindrance: Hindrance,
}

impl Hindered {
    fn passing(message: impl Into<String>) -> Hindered {
        Hindered {
            message: message.into(),
            help: format!("all is kept; it is tried again by itself, or now with `{NAME} land`"),
            hindrance: Hindrance::Passing { wait_s: 0 },
        }
    }

    fn lasting(message: impl Into<String>, help: impl Into<String>) -> Hindered {
        let help = format!("{}, then `{NAME} land`", help.into());
        Hindered { message: message.into(), help, hindrance: Hindrance::Lasting }
    }
}

impl From<network::Error> for Hindered {
    fn from(problem: network::Error) -> Hindered {
        let message = format!("could not push: {problem}");
        if problem.temporary() {
            Hindered::passing(message)
        } else {
            Hindered::lasting(message, problem.help())
        }
    }
}

impl From<git::Error> for Hindered {
    fn from(problem: git::Error) -> Hindered {
        Hindered::lasting(format!("could not push: {problem}"), "look at the repository here")
    }
}

impl From<ForgeError> for Hindered {
    fn from(ForgeError { message, help, temporary, wait }: ForgeError) -> Hindered {
        if !temporary {
            return Hindered::lasting(message, help);
        }
        let wait_s = wait.map_or(0, |time| time.as_secs());
        let help = format!("{help}; `{NAME} land` does it now");
        Hindered { message, help, hindrance: Hindrance::Passing { wait_s } }
    }
}

impl Way<'_> {
    /// Lets branch, receipts and pull request out; `None` when it was asked to stop at once. Safe to repeat, whatever
    /// was cut before.
    pub(super) async fn publish(
        &self,
        opening: &Opening,
        draft: &PullRequestDraft,
        tip: &CommitId,
    ) -> Result<Result<Option<Published>, Hindered>, Error> {
        receipts::show(self.vault, self.user, &opening.night)?;
        let draft = PullRequestDraft {
            title: self.redactor.redact(&draft.title).into_owned(),
            body: self.redactor.redact(&draft.body).into_owned(),
            ..draft.clone()
        };
        let sent = self.send(opening, &draft, tip).await;
        Ok(sent.map_err(|problem| Hindered {
            message: self.redactor.redact(&problem.message).into_owned(),
            ..problem
        }))
    }

    async fn send(
        &self,
        opening: &Opening,
        draft: &PullRequestDraft,
        tip: &CommitId,
    ) -> Result<Option<Published>, Hindered> {
        // The text is on disk first: whatever happens on the way out, a person can read it.
        let local = self.local.publish(draft).await?;
        faults::pass("publish.written");
        if self.stopped() {
            return Ok(None);
        }
        let mut notes = Vec::new();
        let mut draft = draft.clone();
        if opening.publish.push
            && let Some((network, url)) = self.remote
        {
            let (network, url, tip) = (network.clone(), url.clone(), tip.clone());
            let (vault, night, base) =
                (self.vault.clone(), opening.night.clone(), opening.base.clone());
            let (former, landed) = (self.former.to_vec(), draft.landed.clone());
            // Where the night's base came from; a fork's own may be months old.
            let from = self.user.remote().ok().flatten().map_or(url.clone(), |remote| remote.fetch);
            let sent = blocking(move || {
                let note = push(&network, &vault, &url, &night, (&tip, &former))
                    .map_err(|refused| refused.told(&url, &landed))?;
                Ok::<_, Hindered>((note, base_now(&network, &vault, &from, &base, &tip)))
            });
            let (note, moved) = sent.await?;
            notes.extend(note.map(|note| self.redactor.redact(&note).into_owned()));
            if let Some(moved) = moved {
                let words = moved.words(&opening.base, &draft.branch);
                draft.body =
                    self.redactor.redact(&report::on_top(&draft.body, &words)).into_owned();
                draft.draft |= moved.needs_a_person();
                notes.push(self.redactor.redact(&words.0).into_owned());
                self.local.publish(&draft).await?;
            }
        } else if opening.publish.push && opening.publish.remote.is_some() {
            notes.push(NOT_PUSHED.to_owned());
        }
        let draft = &draft;
        faults::pass("publish.pushed");
        let to_forge = opening.publish.push && opening.publish.pull_request;
        if self.stopped() {
            return Ok(None);
        }
        let done = match &self.forge {
            Err(problem) if to_forge => return Err(problem.clone().into()),
            Ok(Some(forge)) if to_forge && *tip == opening.base.commit => {
                let closed = forge.close(draft).await?.unwrap_or(local);
                Published { number: None, ..closed }
            }
            Ok(Some(forge)) if to_forge => forge.publish(draft).await?,
            Ok(_) | Err(_) => local,
        };
        faults::pass("publish.opened");
        notes.extend(done.notes);
        Ok(Some(Published { notes, ..done }))
    }

    fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.asked() == Some(Urgency::Now))
    }
}

/// Where the remote's base branch stands, when that is neither where the night began nor beyond what landed. A look
/// that fails keeps nothing from getting out.
fn base_now(
    network: &Network,
    vault: &Vault,
    url: &str,
    base: &Base,
    tip: &CommitId,
) -> Option<BaseNow> {
    let branch = format!("refs/heads/{}", base.branch);
    let refs = network.list(url, &branch).ok()?;
    let Some((_, now)) = refs.into_iter().find(|(name, _)| *name == branch) else {
        return Some(BaseNow::Gone);
    };
    if now == base.commit {
        return None;
    }
    let unseen = |why: String| BaseNow::Unseen { tip: now.clone(), why };
    // For the look alone: what it names may be the person's, who may remove it.
    let ours = format!("{REF_NAMESPACE}look/{}", base.branch);
    if let Err(problem) = network.fetch(url, &[&format!("+{branch}:{ours}")]) {
        return Some(unseen(problem.to_string()));
    }
    let look = || -> Result<Option<BaseNow>, git::Error> {
        // Somebody merged it already.
        if vault.contains(&now, tip)? {
            return Ok(None);
        }
        if vault.contains(&now, &base.commit)? {
            let by = vault.commits(&base.commit, &now)?.len();
            let conflicts = landing::conflicts(vault, &base.commit, (&now, tip))?;
            return Ok(Some(BaseNow::Ahead { tip: now.clone(), by, conflicts }));
        }
        let without = vault.commits(&now, &base.commit)?;
        let without = without.into_iter().map(|commit| commit.id).collect();
        Ok(Some(BaseNow::Rewritten { tip: now.clone(), without }))
    };
    let found = look().unwrap_or_else(|problem| Some(unseen(problem.to_string())));
    let left = vault.resolve(&ours).ok().flatten();
    match left.map_or(Ok(()), |at| vault.remove_ref(&ours, &at)) {
        Ok(()) => found,
        Err(problem) => Some(unseen(problem.to_string())),
    }
}

/// Pushes branch and receipts with the leases that fit what is there: nothing, an earlier tip of this night, or one
/// of `former`, from where the branch went back. `Ok` has what a person should know; `Err` says why the branch did
/// not get out.
fn push(
    network: &Network,
    vault: &Vault,
    url: &str,
    night: &NightId,
    (tip, former): (&CommitId, &[CommitId]),
) -> Result<Option<String>, NotPushed> {
    let (branch, name) = (night.branch_ref(), night.receipts_ref());
    let refs = network.list_all(url, &[&branch, &name])?;
    let at = |name: &str| refs.iter().find(|(found, _)| found == name).map(|(_, commit)| commit);
    let there = at(&branch);
    let ours = |there: &CommitId| {
        let mut tips = std::iter::once(tip).chain(former);
        tips.any(|tip| vault.contains(tip, there).unwrap_or(false))
    };
    if let Some(there) = there
        && !ours(there)
    {
        return Err(NotPushed::Hindered(Hindered::lasting(
            format!(
                "{branch} stands at {} on the remote, which is not of this night",
                there.short()
            ),
            "it is another machine's night or a person's work: give it another name there, delete nothing",
        )));
    }
    let Some(receipts) = vault.resolve(&name)? else {
        return push_one(network, url, &Move { commit: tip, to: &branch, expected: there })
            .map(|()| None);
    };
    let branch = Move { commit: tip, to: &branch, expected: there };
    let beside = Move { commit: &receipts, to: &name, expected: at(&name) };
    let strange =
        beside.expected.filter(|there| !vault.contains(&receipts, there).unwrap_or(false));
    if strange.is_none() && network.push_together(url, &[branch, beside]).unwrap_or(false) {
        return Ok(None);
    }
    push_one(network, url, &branch)?;
    let problem = match strange {
        Some(there) => {
            Err(format!("it stands at {} there, which is not of this night", there.short()))
        }
        None => push_one(network, url, &beside).map_err(NotPushed::words),
    };
    Ok(problem.err().map(|problem| {
        format!(
            "the receipts did not get out ({problem}): elsewhere `{NAME} verify` cannot see that these \
             commits passed the gate; try `git push REMOTE {name}`"
        )
    }))
}

/// Why a push did not work.
enum NotPushed {
    /// Known as it stands.
    Hindered(Hindered),
    /// The remote's own words, which say more than a person reads in them at breakfast.
    Refused(String),
}

impl<P: Into<Hindered>> From<P> for NotPushed {
    fn from(problem: P) -> NotPushed {
        NotPushed::Hindered(problem.into())
    }
}

impl NotPushed {
    /// With what to do, for this remote and what landed.
    fn told(self, url: &str, landed: &[Landed]) -> Hindered {
        let message = match self {
            NotPushed::Hindered(hindered) => return hindered,
            NotPushed::Refused(message) => message,
        };
        let page = match Remote::parse(&without_login(url).0) {
            Remote::Forge(address) => address.page(),
            Remote::Path(_) | Remote::Other => url.to_owned(),
        };
        let landed: Vec<(&str, &str)> =
            landed.iter().map(|one| (one.commit.as_str(), one.task.as_str())).collect();
        let help = report::push::help(&message, &page, &landed);
        Hindered::lasting(format!("the remote refused the push: {message}"), help)
    }

    fn words(self) -> String {
        match self {
            NotPushed::Hindered(hindered) => hindered.message,
            NotPushed::Refused(message) => format!("the remote refused the push: {message}"),
        }
    }
}

fn push_one(network: &Network, url: &str, moved: &Move<'_>) -> Result<(), NotPushed> {
    match network.push(url, moved.commit, moved.to, moved.expected)? {
        PushOutcome::Pushed | PushOutcome::UpToDate => Ok(()),
        PushOutcome::Rejected(Rejection::LeaseStale) => {
            let why = "somebody else moved the branch on the remote meanwhile";
            Err(Hindered::passing(why).into())
        }
        PushOutcome::Rejected(
            Rejection::Protected { message }
            | Rejection::Hook { message }
            | Rejection::Other { message },
        ) => Err(NotPushed::Refused(message)),
    }
}
