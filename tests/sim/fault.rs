//! What can go wrong in a pretended night: one table, each fault with the place at which it strikes.

use std::fmt;

use crate::random::Random;

/// Where a fault strikes: the `at`th time, from 0, that the night comes by there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the first look at what is due.
    Opening,
    /// A turn of the runner's loop.
    Turn,
    /// A fact is written down.
    Write,
    /// An agent's run begins.
    Agent,
    /// A candidate's gate begins.
    Gate,
    /// A candidate's tests are tried.
    Tests,
    /// A second opinion is asked for.
    Review,
    /// A candidate is rebuilt.
    Restack,
    /// Any order is carried out.
    Deed,
    /// The branch is let out.
    Publish,
    /// A process came to its end.
    End,
}

macro_rules! faults {
    ($($kind:ident at $place:ident below $most:literal: $what:literal,)*) => {
        /// One way in which something goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub(crate) const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Where it strikes, and how late at most.
            pub(crate) fn place(self) -> (Place, u32) {
                match self {
                    $(Kind::$kind => (Place::$place, $most),)*
                }
            }

            pub(crate) fn in_words(self) -> &'static str {
                match self {
                    $(Kind::$kind => $what,)*
                }
            }
        }
    };
}

faults! {
    KillBeforeSync at Turn below 40: "killed when orders were written and not on the disk",
    KillAfterSync at Turn below 40: "killed when orders were on the disk and nothing was done",
    KillInDeeds at Turn below 40: "killed in the middle of deeds",
    KillAfterDeed at Turn below 40: "killed when a deed was done and its fact not written",
    KillAfterFact at Turn below 40: "killed when a fact was written and not on the disk",
    TornLine at Turn below 40: "power lost in the middle of a line",
    KillInRecovery at End below 3: "killed while it took the night over",
    DiskFull at Write below 60: "no room on the disk for a line of the journal",
    SlowAgent at Agent below 8: "the agent is slow",
    SilentAgent at Agent below 8: "the agent never answers",
    AgentFails at Agent below 8: "the agent fails",
    NoChange at Agent below 8: "the agent changes nothing",
    SameDiff at Agent below 8: "the agent makes the same again",
    Limited at Agent below 8: "a usage limit with an end",
    LimitedForLong at Agent below 8: "a usage limit that ends after the night",
    LimitedByMinute at Agent below 8: "a usage limit that nobody dates",
    Overloaded at Agent below 8: "the model's service is overloaded",
    Unreachable at Agent below 8: "the model's service cannot be reached",
    SignedOut at Agent below 8: "the credential is refused",
    Overspent at Agent below 8: "the agent spends more than was reserved",
    AgentDies at Agent below 8: "the agent's program dies",
    ContextFull at Agent below 8: "the conversation is full",
    Question at Agent below 8: "the agent asks a person",
    BreaksRule at Agent below 8: "the diff breaks a rule",
    NeedsPerson at Agent below 8: "a person must see the diff",
    GateRed at Gate below 8: "the gate is red",
    GateFlaky at Gate below 8: "the gate is red once and green when repeated",
    GateSlow at Gate below 8: "the gate runs out of time",
    RedBase at Opening below 1: "the gate is red on the base",
    Unproven at Opening below 1: "the gate does not see what was broken",
    TestsUnproven at Tests below 3: "the new tests pass without the change",
    FormerTestsRed at Tests below 3: "the former tests fail with the change",
    ReviewSaysNo at Review below 3: "the second opinion says no",
    ReviewLimited at Review below 3: "the second opinion meets a usage limit",
    ReviewLimitedForLong at Review below 3: "the second opinion meets a limit beyond the night",
    Conflict at Restack below 3: "the change does not fit the new tip",
    DeedFails at Deed below 30: "a repository or a disk refuses a deed",
    BranchMoved at Turn below 40: "somebody else moves the branch",
    BaseMoved at Turn below 40: "the base moves on",
    PlanEdited at Turn below 40: "the plan is edited: a landed task cannot be ticked",
    PushRefused at Publish below 3: "the push is refused",
    PushAnswerLost at Publish below 3: "the push gets there and its answer is lost",
    RequestAnswerLost at Publish below 3: "the pull request is made and its answer is lost",
    ForgeDown at Publish below 3: "the forge is down for three tries",
    StopSoon at Turn below 40: "stop",
    StopNow at Turn below 40: "stop --now",
    ClockForward at Turn below 40: "the clock jumps an hour forward",
    ClockBack at Turn below 40: "the clock jumps an hour back",
    Sleep at Turn below 40: "the machine sleeps for 45 minutes",
    LongSleep at Turn below 40: "the machine sleeps beyond the night's end",
    Approve at End below 3: "a person approves what is held",
    Reject at End below 3: "a person rejects what is held",
}

/// A fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) at: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, _) = self.kind.place();
        write!(f, "{:?}: {} (at {place:?} {})", self.kind, self.kind.in_words(), self.at)
    }
}

/// The faults of a seed: none to ten.
pub(crate) fn schedule(random: &mut Random) -> Vec<Fault> {
    (0..random.below(11))
        .map(|_| {
            let mut kind = random.of_these(Kind::ALL);
            // They end a night before it began: a taste of them is enough.
            if matches!(kind, Kind::RedBase | Kind::Unproven) && !random.one_in(4) {
                kind = Kind::KillInDeeds;
            }
            let at = u32::try_from(random.below(u64::from(kind.place().1))).unwrap_or(0);
            Fault { kind, at }
        })
        .collect()
}
