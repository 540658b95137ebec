//! Rules from several places, put together: what the user and the repository both say holds in its stricter
//! form, so that neither loosens what the other fixed.
//!
//! Values in, values out. A layer is a whole set of limits and rules, of which only the keys in its `origins`
//! count. Nothing here says which place is read first, or from where.

use std::collections::BTreeMap;

use super::{
    Band, Bands, Deletion, Does, Missing, Origin, Policy, RiskLevel, Secrets, Tests, WeakerTests,
};
use crate::budget::{Limits, WhenLimited};

/// What one place says of `limits` and `policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Limits of a night; what is not in `origins` is built in.
    pub limits: Limits,
    /// Rules; what is not in `origins` is built in. Its own `origins` are not used here.
    pub policy: Policy,
    /// The keys that this place sets, with the place.
    pub origins: BTreeMap<String, Origin>,
}

impl Layer {
    /// This place's rules and the other's. What both set holds as the stricter of the two, what one sets holds
    /// as it is. No task and no diff passes that either refuses, by what it sets.
    pub fn and(&self, other: &Layer) -> Layer {
        join(self, other, How::Stricter)
    }

    /// What `above` sets, and this place's rules where it sets nothing.
    pub fn under(&self, above: &Layer) -> Layer {
        join(self, above, How::Second)
    }

    fn sets(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// True when any level is set. They are one rule: a border belongs to two levels.
    fn sets_risk(&self) -> bool {
        LEVELS.iter().any(|level| self.sets(level.key()))
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// What holds where two layers set one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The stricter value.
    Stricter,
    /// The second layer's.
    Second,
}

struct Join<'a> {
    one: &'a Layer,
    two: &'a Layer,
    how: How,
    joined: Layer,
}

impl Join<'_> {
    /// One key. `read` and `place` lead to the same value.
    fn field<T: Clone + PartialEq>(
        &mut self,
        key: &str,
        read: impl Fn(&Layer) -> &T,
        place: impl Fn(&mut Layer) -> &mut T,
        stricter: impl Fn(&T, &T) -> T,
    ) {
        let (one, two) = (read(self.one), read(self.two));
        let value = match (self.one.sets(key), self.two.sets(key)) {
            (false, false) => return,
            (true, false) => one.clone(),
            (false, true) => two.clone(),
            (true, true) if self.how == How::Second => two.clone(),
            (true, true) => stricter(one, two),
        };
        self.place_of(key, value == *one, value == *two);
        *place(&mut self.joined) = value;
    }

    /// Remembers whose value it is. Of two that say the same, the second is nearer to the work.
    fn place_of(&mut self, key: &str, is_one: bool, is_two: bool) {
        let origin = if is_two && self.two.sets(key) {
            self.two.origin(key)
        } else if is_one && self.one.sets(key) {
            self.one.origin(key)
        } else {
            Origin::Several(vec![self.one.origin(key), self.two.origin(key)])
        };
        self.joined.origins.insert(key.to_owned(), origin);
    }

    /// Globs have no intersection, so both lists are kept and a path must match both.
    fn allow(&mut self) {
        let key = "policy.paths.allow";
        let both = self.one.sets(key) && self.two.sets(key) && self.how == How::Stricter;
        let mut lists: Vec<&Vec<String>> = Vec::new();
        for layer in [self.one, self.two] {
            let holds =
                layer.sets(key) && (both || !self.two.sets(key) || std::ptr::eq(layer, self.two));
            for list in layer.policy.allow_lists().filter(|_| holds) {
                if !lists.contains(&list) {
                    lists.push(list);
                }
            }
        }
        let Some((first, rest)) = lists.split_first() else { return };
        self.joined.policy.allow = (*first).clone();
        self.joined.policy.allow_too = rest.iter().map(|list| (*list).clone()).collect();
        let is = |layer: &Layer| layer.policy.allow_lists().eq(self.joined.policy.allow_lists());
        let (one, two) = (is(self.one), is(self.two));
        self.place_of(key, one, two);
    }

    fn risk(&mut self) {
        let (one, two) = (&self.one.policy.risk, &self.two.policy.risk);
        let risk = match (self.one.sets_risk(), self.two.sets_risk()) {
            (false, false) => return,
            (true, false) => *one,
            (false, true) => *two,
            (true, true) if self.how == How::Second => *two,
            (true, true) => stricter_bands(one, two),
        };
        for level in LEVELS {
            let key = level.key();
            if self.one.sets(key) || self.two.sets(key) {
                let band = band_of(&risk, level);
                self.place_of(key, band == band_of(one, level), band == band_of(two, level));
            }
        }
        self.joined.policy.risk = risk;
    }
}

macro_rules! fields {
    ($join:ident: $($key:literal, $($place:ident).+, $stricter:expr;)+) => {
        $($join.field($key, |layer| &layer.$($place).+, |layer| &mut layer.$($place).+, $stricter);)+
    };
}

/// Every key of `limits` and `policy`, once.
fn join(one: &Layer, two: &Layer, how: How) -> Layer {
    let mut join = Join { one, two, how, joined: Layer::default() };
    fields! { join:
        "limits.tasks", limits.tasks, least;
        "limits.time", limits.time_s, least;
        "limits.task_time", limits.task_time_s, least;
        "limits.attempts", limits.attempts, least;
        "limits.failures_in_a_row", limits.failures_in_a_row, least_but_nothing;
        "limits.parallel", limits.parallel, least;
        "limits.cost", limits.cost, least_but_nothing;
        "limits.task_cost", limits.task_cost, least_but_nothing;
        "limits.silence", limits.silence_s, least;
        "limits.turns", limits.turns, least_but_nothing;
        "limits.tokens", limits.tokens, least_but_nothing;
        "limits.when_rate_limited", limits.when_rate_limited, harder(|when| match when {
            WhenLimited::Wait => 0,
            WhenLimited::Stop => 1,
        });
        "policy.min_alignment", policy.min_alignment, most;
        "policy.max_estimated_lines", policy.max_estimated_lines, least;
        "policy.max_changed_lines", policy.max_changed_lines, least;
        "policy.max_file_bytes", policy.max_file_bytes, least;
        "policy.tests", policy.tests, harder(|tests| match tests {
            Tests::Optional => 0,
            Tests::Required => 1,
            Tests::Proven => 2,
        });
        "policy.weaker_tests", policy.weaker_tests, harder(|weaker| match weaker {
            WeakerTests::Allow => 0,
            WeakerTests::Ask => 1,
            WeakerTests::Never => 2,
        });
        "policy.missing", policy.missing, harder(|missing| match missing {
            Missing::Assume => 0,
            Missing::Ask => 1,
            Missing::Refuse => 2,
        });
        "policy.paths.deny", policy.deny, |one, two| union(one, two);
        "policy.paths.delete", policy.delete, harder(|delete| match delete {
            Deletion::Allow => 0,
            Deletion::Ask => 1,
            Deletion::Never => 2,
        });
        "policy.protected", policy.protected, |one, two| union(one, two);
        "policy.title_words", policy.title_words, |one, two| union(one, two);
        "policy.added_lines", policy.added_lines, |one, two| union(one, two);
        "policy.ask_first", policy.ask_first, |one, two| union(one, two);
        "policy.dependencies", policy.dependencies, |one, two| common(one, two);
        "policy.secrets", policy.secrets, harder(|secrets| match secrets {
            Secrets::Report => 0,
            Secrets::Block => 1,
        });
        "policy.decisions.low", policy.decisions.low, most;
        "policy.decisions.medium", policy.decisions.medium, most;
        "policy.decisions.high", policy.decisions.high, most;
    }
    join.allow();
    join.risk();
    join.joined
}

fn least<T: Ord + Copy>(one: &T, two: &T) -> T {
    *one.min(two)
}

fn most<T: Ord + Copy>(one: &T, two: &T) -> T {
    *one.max(two)
}

/// For limits of which nothing means that there is none.
fn least_but_nothing<T: Ord + Copy + Default>(one: &T, two: &T) -> T {
    let nothing = T::default();
    if *one == nothing {
        *two
    } else if *two == nothing {
        *one
    } else {
        least(one, two)
    }
}

fn harder<T: Copy>(hardness: impl Fn(T) -> u8) -> impl Fn(&T, &T) -> T {
    move |one, two| if hardness(*two) > hardness(*one) { *two } else { *one }
}

fn union(one: &[String], two: &[String]) -> Vec<String> {
    let mut all = one.to_vec();
    all.extend(two.iter().filter(|item| !one.contains(item)).cloned());
    all
}

/// Names are compared as the rule for dependencies compares them.
fn common(one: &[String], two: &[String]) -> Vec<String> {
    let known = |name: &&String| two.iter().any(|other| other.eq_ignore_ascii_case(name));
    one.iter().filter(known).cloned().collect()
}

const LEVELS: [RiskLevel; 4] =
    [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];

fn band_of(bands: &Bands, level: RiskLevel) -> &Band {
    match level {
        RiskLevel::Low => &bands.low,
        RiskLevel::Medium => &bands.medium,
        RiskLevel::High => &bands.high,
        RiskLevel::Critical => &bands.critical,
    }
}

/// Each level ends where the first of the two ends, and asks for the hardest that either asks of any score in
/// it: with two different borders a level may hold scores of two levels of the other.
fn stricter_bands(one: &Bands, two: &Bands) -> Bands {
    let mut from = 0;
    let mut band = |level: RiskLevel| {
        let upto = least(&band_of(one, level).upto, &band_of(two, level).upto);
        let scores = (from..=upto).flat_map(|score| [one.of(score).1, two.of(score).1]);
        let mut asked: Vec<&Band> = scores.collect();
        if asked.is_empty() {
            asked = vec![band_of(one, level), band_of(two, level)];
        }
        let does = asked.iter().map(|band| band.does).max().unwrap_or(Does::Block);
        let proof = asked.iter().filter_map(|band| band.proof).max();
        from = upto.saturating_add(1);
        Band { upto, does, proof }
    };
    Bands {
        low: band(RiskLevel::Low),
        medium: band(RiskLevel::Medium),
        high: band(RiskLevel::High),
        critical: band(RiskLevel::Critical),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        diff::{ChangeKind, Diff, FileChange, FileMode, Side},
        ids::BlobId,
        plan::{Task, TestsDefined},
        policy::{
            Admission, Authority, Decision, Facts, RuleSet, Verdict, admit, inspect, tests::ready,
        },
    };

    fn file(name: &str, line: usize) -> Origin {
        Origin::File { path: name.to_owned(), line }
    }

    fn layer(name: &str, keys: &[&str], change: impl FnOnce(&mut Layer)) -> Layer {
        let mut layer = Layer::default();
        change(&mut layer);
        let lines = keys.iter().enumerate();
        layer.origins = lines.map(|(at, key)| ((*key).to_owned(), file(name, at + 1))).collect();
        layer
    }

    #[test]
    fn one_place_alone_may_loosen_what_is_built_in() {
        let user = layer("user", &["limits.tasks"], |layer| layer.limits.tasks = 50);
        let both = user.and(&Layer::default());
        assert_eq!((both.limits.tasks, both.origin("limits.tasks")), (50, file("user", 1)));
        assert_eq!(both, Layer::default().and(&user));
    }

    #[test]
    fn of_two_places_the_stricter_holds_and_is_named() {
        let keys = ["limits.tasks", "policy.min_alignment", "limits.cost", "limits.turns"];
        let user = layer("user", &keys, |layer| {
            layer.limits.tasks = 3;
            layer.policy.min_alignment = 70;
            layer.limits.cost = crate::budget::Usd::ZERO;
            layer.limits.turns = 9;
        });
        let repository = layer("repository", &keys, |layer| {
            layer.limits.tasks = 9;
            layer.policy.min_alignment = 90;
            layer.limits.turns = 9;
        });
        let both = user.and(&repository);
        assert_eq!((both.limits.tasks, both.origin(keys[0])), (3, file("user", 1)));
        assert_eq!((both.policy.min_alignment, both.origin(keys[1])), (90, file("repository", 2)));
        assert_eq!(both.limits.cost, repository.limits.cost, "no limit is not the least one");
        assert_eq!(both.origin(keys[3]), file("repository", 4), "equal: the nearer one");
    }

    #[test]
    fn lists_grow_or_shrink_to_the_stricter_side() {
        let keys = ["policy.paths.deny", "policy.dependencies", "policy.paths.allow"];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let of = |name, deny: &[&str], known: &[&str], allow: &[&str]| {
            layer(name, &keys, |layer| {
                layer.policy.deny = words(deny);
                layer.policy.dependencies = words(known);
                layer.policy.allow = words(allow);
            })
        };
        let user = of("user", &["a/**", "b/**"], &["serde", "rand"], &["src/**", "docs/**"]);
        let repository = of("repository", &["b/**", "c/**"], &["Serde"], &["**/*.rs"]);
        let both = user.and(&repository);
        assert_eq!(both.policy.deny, ["a/**", "b/**", "c/**"]);
        assert_eq!(both.policy.dependencies, ["serde"]);
        let origins = both.origin("policy.paths.deny");
        assert_eq!(origins.to_string(), "user:1 and repository:1");
        let rules = RuleSet::new(&both.policy).unwrap();
        assert!(rules.allows(&"src/a.rs".into()));
        assert!(!rules.allows(&"src/a.py".into()) && !rules.allows(&"lib/a.rs".into()));
        assert_eq!(both.policy.allowed(), "src/**, docs/**; and also **/*.rs");
        let same = user.and(&user);
        assert_eq!((same.policy.allow_too.len(), same.policy.allow), (0, user.policy.allow));
    }

    #[test]
    fn the_users_word_about_one_repository_also_loosens() {
        let keys = ["limits.tasks", "policy.paths.allow"];
        let below = layer("both", &keys, |layer| {
            layer.limits.tasks = 1;
            layer.policy.allow_too = vec![vec!["x/**".to_owned()]];
        });
        let above = layer("mine", &keys, |layer| {
            layer.limits.tasks = 40;
            layer.policy.allow = vec!["**".to_owned()];
        });
        let held = below.under(&above);
        assert_eq!((held.limits.tasks, held.origin("limits.tasks")), (40, file("mine", 1)));
        assert_eq!((held.policy.allow, held.policy.allow_too), (above.policy.allow, vec![]));
        assert_eq!(below.under(&Layer::default()).limits.tasks, 1);
    }

    #[test]
    fn levels_of_risk_with_different_borders_ask_for_the_harder_of_each_score() {
        let band = |upto, does, proof| Band { upto, does, proof };
        // Up to 50 with a score of 95; the other says 90 from 31 on.
        let user = Bands { low: band(50, Does::Run, Some(95)), ..Bands::default() };
        let both = stricter_bands(&user, &Bands::default());
        assert_eq!(both.low, band(30, Does::Run, Some(95)));
        assert_eq!(both.medium, band(60, Does::Run, Some(95)));
        assert_eq!((both.high, both.critical), (Bands::default().high, Bands::default().critical));
        assert_eq!(stricter_bands(&user, &user), user);
    }

    fn bands() -> impl Strategy<Value = Bands> {
        let does = prop::sample::select(vec![Does::Run, Does::Ask, Does::Block]);
        let proof = prop::option::of(0_u32..=100);
        let borders = prop::sample::subsequence((0_u32..100).collect::<Vec<_>>(), 3);
        let each = prop::collection::vec((does, proof), 4);
        (borders, each).prop_map(|(borders, mut each)| {
            // A higher level is never milder; the reader of the configuration holds files to that.
            each.sort_by_key(|(does, _)| *does);
            let mut each = each.into_iter().zip(borders.into_iter().chain([100]));
            let mut next = || {
                let ((does, proof), upto) = each.next().unwrap();
                Band { upto, does, proof }
            };
            Bands { low: next(), medium: next(), high: next(), critical: next() }
        })
    }

    fn some(pool: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
        prop::sample::subsequence(pool, 0..=pool.len())
            .prop_map(|words| words.into_iter().map(str::to_owned).collect())
    }

    const KEYS: [&str; 20] = [
        "policy.min_alignment",
        "policy.max_estimated_lines",
        "policy.max_changed_lines",
        "policy.max_file_bytes",
        "policy.tests",
        "policy.missing",
        "policy.paths.allow",
        "policy.paths.deny",
        "policy.paths.delete",
        "policy.protected",
        "policy.title_words",
        "policy.added_lines",
        "policy.ask_first",
        "policy.dependencies",
        "policy.secrets",
        "policy.weaker_tests",
        "policy.risk.low",
        "policy.decisions.low",
        "limits.attempts",
        "limits.task_cost",
    ];

    fn any_layer() -> impl Strategy<Value = Layer> {
        let numbers = (0_u32..=100, 0_u32..60, 0_u32..60, 0_u64..50, 1_u32..5, 0_u64..9);
        let words = (
            prop::sample::select(vec![Tests::Proven, Tests::Required, Tests::Optional]),
            prop::sample::select(vec![Missing::Ask, Missing::Assume, Missing::Refuse]),
            prop::sample::select(vec![Deletion::Never, Deletion::Ask, Deletion::Allow]),
            prop::sample::select(vec![Secrets::Block, Secrets::Report]),
            prop::sample::select(vec![WeakerTests::Never, WeakerTests::Ask, WeakerTests::Allow]),
            prop::sample::select(vec![Authority::Decide, Authority::Review, Authority::Ask]),
        );
        let lists = (
            some(&["src/**", "tests/**", "**/*.rs", "**", "src/a.rs", "docs/**"]),
            some(&["src/a.rs", "**/*.md", "lib/**"]),
            some(&["src/b.rs", "docs/**"]),
            some(&["parser", "drop table"]),
            some(&["x", "^unsafe"]),
            some(&["cache", "auth"]),
            some(&["serde", "rand"]),
        );
        let keys = prop::sample::subsequence(KEYS.to_vec(), 0..=KEYS.len());
        (numbers, words, lists, bands(), keys).prop_map(|(numbers, words, lists, risk, keys)| {
            layer("any", &keys, |layer| {
                let policy = &mut layer.policy;
                policy.min_alignment = numbers.0;
                policy.max_estimated_lines = numbers.1;
                policy.max_changed_lines = numbers.2;
                policy.max_file_bytes = numbers.3;
                layer.limits.attempts = numbers.4;
                layer.limits.task_cost = crate::budget::Usd::from_micros(numbers.5);
                policy.tests = words.0;
                policy.missing = words.1;
                policy.delete = words.2;
                policy.secrets = words.3;
                policy.weaker_tests = words.4;
                policy.decisions.low = words.5;
                policy.allow = lists.0;
                policy.deny = lists.1;
                policy.protected = lists.2;
                policy.title_words = lists.3;
                policy.added_lines = lists.4;
                policy.ask_first = lists.5;
                policy.dependencies = lists.6;
                policy.risk = risk;
            })
        })
    }

    fn any_task() -> impl Strategy<Value = Task> {
        let titles = prop::sample::select(vec![
            "Add a parser",
            "Document the cache",
            "Fix auth",
            "Add dependency serde",
            "Drop table users",
        ]);
        let paths = vec!["src/a.rs", "src/**", "docs/x.md", "tests/t.rs", "lib/**", "**/*.rs"];
        let files = prop::sample::subsequence(paths, 0..=2);
        let score = prop::option::of(0_u32..=100);
        let lines = prop::option::of(0_u32..60);
        let tests =
            prop::option::of(prop::sample::select(vec![TestsDefined::Yes(None), TestsDefined::No]));
        (titles, files, score, lines, tests, any::<bool>()).prop_map(
            |(title, files, score, lines, tests, approved)| {
                let mut task = ready(title);
                task.fields.files = files.into_iter().map(str::to_owned).collect();
                task.fields.alignment = score;
                task.fields.estimated_lines = lines;
                task.fields.tests = tests;
                task.fields.approved = approved;
                task
            },
        )
    }

    fn any_change() -> impl Strategy<Value = FileChange> {
        let paths =
            vec!["src/a.rs", "src/b.rs", "docs/x.md", "tests/t.rs", "lib/c.rs", "Cargo.toml"];
        let line =
            prop::sample::select(vec!["x", "unsafe {}", "serde = \"1\"", "rand = \"1\"", "y"]);
        let lines = prop::collection::vec(line, 0..4);
        let counts = (0_u32..40, 0_u32..40, 0_u64..50);
        (prop::sample::select(paths), lines, counts, any::<bool>()).prop_map(
            |(path, lines, (added, removed, bytes), gone)| {
                let blob = BlobId::new("0".repeat(40)).unwrap();
                let side = |bytes| Side {
                    mode: FileMode::Regular,
                    blob: blob.clone(),
                    bytes,
                    link_target: None,
                };
                FileChange {
                    path: path.into(),
                    kind: if gone { ChangeKind::Deleted } else { ChangeKind::Modified },
                    old: Some(side(9)),
                    new: (!gone).then(|| side(bytes)),
                    added,
                    removed,
                    binary: false,
                    added_lines: (1..).zip(lines.into_iter().map(str::to_owned)).collect(),
                    removed_lines: Vec::new(),
                    old_text: None,
                    new_text: None,
                }
            },
        )
    }

    fn hardness(admission: &Admission) -> u8 {
        match admission.decision {
            Decision::Admitted(_) => 0,
            Decision::Waiting(_) => 1,
            Decision::Refused(_) => 2,
        }
    }

    /// What the rules of a layer say of a task, and, where it may run, of its diff: 0 yes, 1 ask, 2 no.
    fn said(layer: &Layer, task: &Task, diff: &Diff) -> (u8, u8) {
        let rules = RuleSet::new(&layer.policy).unwrap();
        let admission = admit(&rules, &layer.limits, task, &Facts::default());
        let Some(admitted) = admission.admitted() else { return (hardness(&admission), 2) };
        let inspection = inspect(&rules, admitted, diff, &[]);
        let hardest = inspection.findings.iter().map(|finding| match finding.verdict {
            Verdict::Report => 0,
            Verdict::Ask => 1,
            Verdict::Refuse => 2,
        });
        (0, hardest.max().unwrap_or(0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Each side as it would be with the other's word only where it is silent itself.
        #[test]
        fn together_nothing_passes_that_either_refuses(
            user in any_layer(),
            repository in any_layer(),
            task in any_task(),
            changes in prop::collection::vec(any_change(), 1..4),
        ) {
            let diff = Diff { changes, truncated: false };
            let both = said(&user.and(&repository), &task, &diff);
            for alone in [repository.under(&user), user.under(&repository)] {
                let alone = said(&alone, &task, &diff);
                prop_assert!(both.0 >= alone.0, "admission: {both:?} {alone:?}");
                prop_assert!(both.1 >= alone.1, "inspection: {both:?} {alone:?}");
            }
        }

        /// The same for diffs, with a task that every layer lets through.
        #[test]
        fn together_no_diff_passes_that_either_refuses(
            user in any_layer(),
            repository in any_layer(),
            changes in prop::collection::vec(any_change(), 1..3),
            open in any::<bool>(),
        ) {
            // Where no path is refused, the other limits decide.
            let opened = |mut layer: Layer| {
                let Policy { allow, deny, protected, max_file_bytes, delete, .. } =
                    &mut layer.policy;
                if open {
                    *allow = vec!["**".to_owned()];
                    (*deny, *protected) = (Vec::new(), Vec::new());
                    (*max_file_bytes, *delete) = (999, Deletion::Allow);
                    layer.origins.extend(KEYS.map(|key| (key.to_owned(), Origin::Default)));
                }
                layer
            };
            let (user, repository) = (opened(user), opened(repository));
            let mut task = ready("Add a store");
            task.fields.alignment = Some(100);
            task.fields.estimated_lines = Some(0);
            let diff = Diff { changes, truncated: false };
            let inspected = |mut layer: Layer| {
                layer.policy.risk = Bands::default();
                let said = said(&layer, &task, &diff);
                prop_assert_eq!(said.0, 0, "the task is let through");
                Ok(said.1)
            };
            let both = inspected(user.and(&repository))?;
            for alone in [repository.under(&user), user.under(&repository)] {
                let alone = inspected(alone)?;
                prop_assert!(both >= alone, "{both} {alone}");
            }
        }

        #[test]
        fn together_no_score_of_risk_is_treated_milder(one in bands(), two in bands()) {
            let both = stricter_bands(&one, &two);
            prop_assert!(both.low.upto < both.medium.upto && both.medium.upto < both.high.upto);
            prop_assert_eq!(both.critical.upto, 100);
            for score in 0..=100 {
                let held = both.of(score);
                for alone in [one.of(score), two.of(score)] {
                    prop_assert!(held.1.does >= alone.1.does && held.1.proof >= alone.1.proof);
                    prop_assert!(held.0 >= alone.0);
                }
            }
            prop_assert_eq!(stricter_bands(&two, &one), both);
            prop_assert_eq!(stricter_bands(&one, &one).of(50).1.does, one.of(50).1.does);
        }

        #[test]
        fn both_ways_round_the_same_rules_hold(one in any_layer(), two in any_layer()) {
            let (this, that) = (one.and(&two), two.and(&one));
            let sets = |layer: &Layer| layer.origins.keys().cloned().collect::<BTreeSet<_>>();
            prop_assert_eq!(sets(&this), sets(&that));
            prop_assert_eq!(&this.limits, &that.limits);
            prop_assert_eq!(this.policy.risk, that.policy.risk);
            prop_assert_eq!(this.policy.tests, that.policy.tests);
        }
    }
}
