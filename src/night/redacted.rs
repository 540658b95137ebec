//! A night as it may be shown: without secrets in any of its texts.
//!
//! Before a report is written, and not only after: what a report escapes for its place is no longer the text that a
//! redactor knows. For texts alone: an order, a verdict or a receipt is never taken from it.

use crate::{
    night::{AttemptRecord, Night, Publication, Stage},
    redact::Redactor,
};

impl Night {
    /// The same night with every text of people, plans, agents and gates redacted.
    pub fn redacted(&self, redactor: &Redactor) -> Night {
        let mut seen = self.clone();
        seen.opening = redactor.redact_all(seen.opening);
        seen.publication = match seen.publication {
            Publication::Failed { message, help, passing, tries, again } => {
                let message = redactor.redact(&message).into_owned();
                Publication::Failed { message, help, passing, tries, again }
            }
            other @ (Publication::Open | Publication::Done { .. }) => other,
        };
        seen.stop = seen.stop.map(|reason| redactor.redact_all(reason));
        for task in seen.tasks.values_mut() {
            let attempts = std::mem::take(&mut task.attempts);
            task.attempts =
                attempts.into_iter().map(|record| of_attempt(record, redactor)).collect();
            task.stage = match task.stage.clone() {
                Stage::Failed(setback) => Stage::Failed(redactor.redact_all(setback)),
                Stage::Parked(setback) => Stage::Parked(redactor.redact_all(setback)),
                other @ (Stage::Waiting
                | Stage::Editing
                | Stage::Ungated(_)
                | Stage::Gated(_)
                | Stage::Held(_)
                | Stage::Landing(_)
                | Stage::Landed(_)) => other,
            };
        }
        seen
    }
}

fn of_attempt(record: AttemptRecord, redactor: &Redactor) -> AttemptRecord {
    AttemptRecord {
        agent: record.agent.map(|report| redactor.redact_all(report)),
        review: record.review.map(|review| redactor.redact_all(review)),
        gate: record.gate.map(|report| redactor.redact_all(report)),
        setback: record.setback.map(|setback| redactor.redact_all(setback)),
        inspection: redactor.redact_all(record.inspection),
        gate_findings: redactor.redact_all(record.gate_findings),
        test_proof: record.test_proof.map(|proof| redactor.redact_all(proof)),
        proof_findings: redactor.redact_all(record.proof_findings),
        approved_by: redactor.redact_all(record.approved_by),
        approval_note: redactor.redact_all(record.approval_note),
        ..record
    }
}
