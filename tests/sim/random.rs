//! Numbers that a seed alone decides. Never asks the machine for one.

/// Sebastiano Vigna's splitmix64: every seed is a good one, and a stream has no state beside one number.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// A number below `many`.
    pub(crate) fn below(&mut self, many: u64) -> u64 {
        self.next() % many
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn of_these<T: Copy>(&mut self, these: &[T]) -> T {
        let at = usize::try_from(self.below(these.len() as u64)).unwrap_or(0);
        these[at]
    }
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A number that these words decide: what happens to one attempt does not hang on what happened before it, so a
/// schedule with one fault less is the same night but for that fault.
pub(crate) fn drawn(seed: u64, word: &str, number: u32) -> u64 {
    let start = mixed(seed ^ (u64::from(number) << 40));
    word.bytes().fold(start, |sum, byte| mixed(sum ^ u64::from(byte)))
}
