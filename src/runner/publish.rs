//! What leaves the machine: receipts beside each landing, then branch and receipts in one push, then the pull
//! request.
//!
//! Never decides what is published. A branch that got out is never taken back because something smaller did
//! not.

use crate::{
    forge::PullRequestDraft,
    git::{
        self, Vault,
        network::{Move, Network, PushOutcome, Rejection},
        receipts,
    },
    ids::{CommitId, NAME, NightId},
    night::Opening,
    process::Urgency,
    receipt::{ProtectedFile, Receipt},
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
        let protected = self.protected(opening)?;
        for receipt in &brief.receipts {
            let receipt = Receipt { protected: protected.to_vec(), ..receipt.clone() };
            receipts::keep(&self.vault, &receipt, &self.seen(&receipt))?;
        }
        Ok(())
    }

    /// The base's protected files. Known from the preparation of a fresh night, found once for a resumed one: it takes
    /// a look at each file of the base, 40 ms at 100,000.
    fn protected(&self, opening: &Opening) -> Result<&[ProtectedFile], Error> {
        if let Some(known) = self.protected.get() {
            return Ok(known);
        }
        let rules = self.rules(opening)?;
        let base = self.vault.list(&opening.base.tree)?;
        let found = protected::kept(protected::files(rules, Some(&opening.plan.path), &base));
        Ok(self.protected.get_or_init(|| found))
    }

    /// A receipt as it may be seen: as JSON, one field a line, without secrets.
    fn seen(&self, receipt: &Receipt) -> Vec<u8> {
        let value = serde_json::to_value(receipt).unwrap_or_default();
        let mut text =
            serde_json::to_vec_pretty(&self.redactor.redact_all(value)).unwrap_or_default();
        text.push(b'\n');
        text
    }

    pub(super) async fn publish(&self, brief: &Brief, tip: &CommitId) -> Result<Deed, Error> {
        self.free_reserve();
        let opening = &brief.opening;
        // Commits that landed before there were receipts, and those whose receipt a person removed.
        self.keep_receipts(brief)?;
        receipts::show(&self.vault, &self.user, &opening.night)?;
        let draft = brief.draft.clone().expect("a publication is briefed with its text");
        let draft = PullRequestDraft {
            title: self.redactor.redact(&draft.title).into_owned(),
            body: self.redactor.redact(&draft.body).into_owned(),
            ..draft
        };
        let refused = |message: String, help: String| Deed::NotPublished {
            message: self.redactor.redact(&message).into_owned(),
            help,
        };
        // The text is on disk first: whatever happens on the way out, a person can read it.
        let local = match self.local.publish(&draft).await {
            Ok(published) => published,
            Err(problem) => return Ok(refused(problem.message, problem.help)),
        };
        if self.stop.asked() == Some(Urgency::Now) {
            return Ok(Deed::Stopped);
        }
        let mut notes = Vec::new();
        if opening.publish.push
            && let Some((network, url)) = &self.remote
        {
            let (network, url, tip) = (network.clone(), url.clone(), tip.clone());
            let (vault, night) = (self.vault.clone(), opening.night.clone());
            let former = brief.former.clone();
            match blocking(move || push(&network, &vault, &url, &night, (&tip, &former))).await {
                Ok(note) => notes.extend(note.map(|note| self.redactor.redact(&note).into_owned())),
                Err((message, help)) => return Ok(refused(message, help)),
            }
        }
        let to_forge = opening.publish.push && opening.publish.pull_request;
        if self.stop.asked() == Some(Urgency::Now) {
            return Ok(Deed::Stopped);
        }
        let (done, number) = match self.forge.as_ref().filter(|_| to_forge) {
            None => (local, None),
            Some(forge) if *tip == opening.base.commit => match forge.close(&draft).await {
                Ok(closed) => (closed.unwrap_or(local), None),
                Err(problem) => return Ok(refused(problem.message, problem.help)),
            },
            Some(forge) => match forge.publish(&draft).await {
                Ok(done) => {
                    let number = done.number;
                    (done, number)
                }
                Err(problem) => return Ok(refused(problem.message, problem.help)),
            },
        };
        notes.extend(done.notes);
        Ok(Deed::Published { url: done.url, number, notes })
    }
}

/// Pushes branch and receipts with the leases that fit what is there: nothing, an earlier tip of this night, or one
/// of `former`, from where the branch went back. `Ok` has what a person should know; `Err` says why the branch did not get out, and what to do.
fn push(
    network: &Network,
    vault: &Vault,
    url: &str,
    night: &NightId,
    (tip, former): (&CommitId, &[CommitId]),
) -> Result<Option<String>, (String, String)> {
    let again = || format!("every commit is safe on your own branch; `{NAME} resume` tries again");
    let failed = |problem: String| (format!("could not push: {problem}"), again());
    let (branch, name) = (night.branch_ref(), night.receipts_ref());
    let refs = network.list_all(url, &[&branch, &name]).map_err(|e| failed(e.to_string()))?;
    let at = |name: &str| refs.iter().find(|(found, _)| found == name).map(|(_, commit)| commit);
    let there = at(&branch);
    let ours = |there: &CommitId| {
        let mut tips = std::iter::once(tip).chain(former);
        tips.any(|tip| vault.contains(tip, there).unwrap_or(false))
    };
    if let Some(there) = there
        && !ours(there)
    {
        return Err((
            format!(
                "{branch} stands at {} on the remote, which is not of this night",
                there.short()
            ),
            "rename or delete that branch on the remote, then try again".to_owned(),
        ));
    }
    let own = |problem: git::Error| failed(problem.to_string());
    let Some(receipts) = vault.resolve(&name).map_err(own)? else {
        return push_one(network, url, &Move { commit: tip, to: &branch, expected: there })
            .map(|()| None)
            .map_err(|message| (message, again()));
    };
    let branch = Move { commit: tip, to: &branch, expected: there };
    let beside = Move { commit: &receipts, to: &name, expected: at(&name) };
    let strange =
        beside.expected.filter(|there| !vault.contains(&receipts, there).unwrap_or(false));
    if strange.is_none() && network.push_together(url, &[branch, beside]).unwrap_or(false) {
        return Ok(None);
    }
    push_one(network, url, &branch).map_err(|message| (message, again()))?;
    let problem = match strange {
        Some(there) => {
            Err(format!("it stands at {} there, which is not of this night", there.short()))
        }
        None => push_one(network, url, &beside),
    };
    Ok(problem.err().map(|problem| {
        format!(
            "the receipts did not get out ({problem}): elsewhere `{NAME} verify` cannot see that these \
             commits passed the gate; try `git push REMOTE {name}`"
        )
    }))
}

fn push_one(network: &Network, url: &str, moved: &Move<'_>) -> Result<(), String> {
    match network.push(url, moved.commit, moved.to, moved.expected) {
        Ok(PushOutcome::Pushed | PushOutcome::UpToDate) => Ok(()),
        Ok(PushOutcome::Rejected(rejection)) => Err(match rejection {
            Rejection::LeaseStale => "somebody else moved the branch meanwhile".to_owned(),
            Rejection::Protected { message }
            | Rejection::Hook { message }
            | Rejection::Other { message } => format!("the remote refused the push: {message}"),
        }),
        Err(problem) => Err(format!("could not push: {problem}")),
    }
}
