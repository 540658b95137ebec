//! When a publication that did not get out is tried again by the night itself.
//!
//! Pure: what hinders it is the forge's and the network's word, and stands in the fact with the time of the next
//! try. What the night gives up is left to the next start and to a person; the work is safe meanwhile.

use jiff::{SignedDuration, Timestamp};

use crate::{
    night::{Event, Night, Publication},
    outcome::StopReason,
};

/// Seconds before each further try. A line that broke is often well again at once; what lasts longer is given half
/// an hour in all, which outlasts most troubles of a network and of GitHub.
const PAUSES: [u64; 5] = [2, 30, 2 * 60, 8 * 60, 20 * 60];
/// The longest time in seconds that the other side may ask a night to stay awake for.
const LONGEST: u64 = 30 * 60;

/// What keeps a publication from getting out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It passes by itself: no network, a server's fault, a limit.
    Passing {
        /// Seconds that the other side asked us to wait; 0 = it did not say.
        wait_s: u64,
    },
    /// It does not: a token, a right, a rule or a hook that a person must see to.
    Lasting,
}

impl Hindrance {
    /// True when it passes by itself.
    pub fn passes(self) -> bool {
        matches!(self, Hindrance::Passing { .. })
    }
}

impl Night {
    /// When the night tries again after a publication that `hindrance` kept back at `now`. `None` when it does not:
    /// a person must act, the tries or the night's time are spent, or somebody waits for its end.
    pub fn publishes_again(&self, now: Timestamp, hindrance: Hindrance) -> Option<Timestamp> {
        let Hindrance::Passing { wait_s } = hindrance else { return None };
        let pause = PAUSES.get(usize::try_from(self.publish_tries()).ok()?)?;
        let wait = i64::try_from(wait_s.max(*pause)).ok()?;
        let at = now.checked_add(SignedDuration::from_secs(wait)).ok()?;
        let waits = self.waits_to_publish() && wait_s <= LONGEST;
        (waits && at < self.deadline()).then_some(at)
    }

    /// The fact that a publication was kept back at `now`.
    pub fn not_published(
        &self,
        now: Timestamp,
        message: String,
        help: String,
        hindrance: Hindrance,
    ) -> Event {
        let again = self.publishes_again(now, hindrance);
        Event::NotPublished { message, help, passing: hindrance.passes(), again }
    }

    /// Tries to publish that failed since the branch last moved, or since a process last took over.
    pub(super) fn publish_tries(&self) -> u32 {
        if let Publication::Failed { tries, .. } = self.publication { tries } else { 0 }
    }

    /// When the branch is to be published, once no task can move any more; `None` when that is done or given up.
    pub(super) fn publishes_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.publication {
            Publication::Open => Some(now),
            Publication::Failed { again, .. } => again.filter(|_| self.waits_to_publish()),
            Publication::Done { .. } => None,
        }
    }

    /// True while nobody waits for the night's end: what is kept back can be tried again by itself.
    fn waits_to_publish(&self) -> bool {
        match self.stop {
            Some(
                StopReason::Asked { .. }
                | StopReason::OnlyLanding
                | StopReason::Broken { .. }
                | StopReason::BranchMoved { .. },
            ) => false,
            None
            | Some(
                StopReason::RedBase
                | StopReason::GateUnproven
                | StopReason::Time
                | StopReason::Cost
                | StopReason::FailuresInARow { .. }
                | StopReason::Limited { .. }
                | StopReason::AgentUnusable { .. },
            ) => true,
        }
    }
}
