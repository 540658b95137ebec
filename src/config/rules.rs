//! `limits` and `policy`, which a repository's file and the user's own may both hold: from a document to what
//! this place says of them.

use super::{
    keys,
    reader::Reader,
    repository::set,
    shapes::{range, words},
    yaml::Spot,
};
use crate::policy::{Authority, Band, Bands, Layer, Origin, RiskLevel};

/// Reads both sections below `root`; what is wrong is left at its default and told to the reader. The keys
/// themselves are checked by whoever knows which table `root` belongs to.
pub(super) fn read(reader: &mut Reader, root: &Spot<'_>, file: &str) -> Layer {
    let mut layer = Layer::default();
    limits(reader, root, &mut layer);
    policy(reader, root, &mut layer);
    lists(reader, root, &mut layer);
    decisions(reader, root, &mut layer);
    risk(reader, root, &mut layer.policy.risk);
    for (path, key) in keys::rules() {
        if key == keys::Key::Value
            && let Some(spot) = root.find(path)
        {
            let origin = Origin::File { path: file.to_owned(), line: spot.line };
            layer.origins.insert(path.to_owned(), origin);
        }
    }
    layer
}

fn limits(reader: &mut Reader, root: &Spot<'_>, layer: &mut Layer) {
    let limits = &mut layer.limits;
    for (key, place) in [
        ("limits.tasks", &mut limits.tasks),
        ("limits.attempts", &mut limits.attempts),
        ("limits.failures_in_a_row", &mut limits.failures_in_a_row),
        ("limits.parallel", &mut limits.parallel),
        ("limits.turns", &mut limits.turns),
    ] {
        set(place, root, key, |spot| reader.number(spot, range(key)));
    }
    for (key, place) in [
        ("limits.time", &mut limits.time_s),
        ("limits.task_time", &mut limits.task_time_s),
        ("limits.silence", &mut limits.silence_s),
    ] {
        set(place, root, key, |spot| reader.duration(spot));
    }
    for (key, place) in
        [("limits.cost", &mut limits.cost), ("limits.task_cost", &mut limits.task_cost)]
    {
        set(place, root, key, |spot| reader.money(spot));
    }
    set(&mut limits.tokens, root, "limits.tokens", |spot| reader.count(spot, "tokens"));
    let key = "limits.when_rate_limited";
    set(&mut limits.when_rate_limited, root, key, |spot| reader.word(spot, words(key)));
}

fn policy(reader: &mut Reader, root: &Spot<'_>, layer: &mut Layer) {
    let policy = &mut layer.policy;
    for (key, place) in [
        ("policy.min_alignment", &mut policy.min_alignment),
        ("policy.max_estimated_lines", &mut policy.max_estimated_lines),
        ("policy.max_changed_lines", &mut policy.max_changed_lines),
    ] {
        set(place, root, key, |spot| reader.number(spot, range(key)));
    }
    set(&mut policy.max_file_bytes, root, "policy.max_file_bytes", |s| reader.count(s, "bytes"));
    let key = "policy.tests";
    set(&mut policy.tests, root, key, |spot| reader.word(spot, words(key)));
    let key = "policy.missing";
    set(&mut policy.missing, root, key, |spot| reader.word(spot, words(key)));
    let key = "policy.paths.delete";
    set(&mut policy.delete, root, key, |spot| reader.word(spot, words(key)));
    let key = "policy.secrets";
    set(&mut policy.secrets, root, key, |spot| reader.word(spot, words(key)));
    let key = "policy.weaker_tests";
    set(&mut policy.weaker_tests, root, key, |spot| reader.word(spot, words(key)));
}

fn lists(reader: &mut Reader, root: &Spot<'_>, layer: &mut Layer) {
    let policy = &mut layer.policy;
    if let Some(spot) = root.find("policy.paths.allow")
        && let Some((first, rest)) = allow(reader, &spot)
    {
        policy.allow = first;
        policy.allow_too = rest;
    }
    set(&mut policy.deny, root, "policy.paths.deny", |spot| reader.globs(spot));
    // Added to the built-in ones, never instead of them: that the gate's files stay as the base has them
    // is a promise of every night, not a setting.
    if let Some(mut more) = root.find("policy.protected").and_then(|spot| reader.globs(&spot)) {
        more.retain(|glob| !policy.protected.contains(glob));
        policy.protected.extend(more);
    }
    for (key, place) in [
        ("policy.title_words", &mut policy.title_words),
        ("policy.ask_first", &mut policy.ask_first),
        ("policy.dependencies", &mut policy.dependencies),
    ] {
        set(place, root, key, |spot| reader.words(spot));
    }
    set(&mut policy.added_lines, root, "policy.added_lines", |spot| reader.patterns(spot));
}

/// One list of globs, or several of which a path must match each: the first, and the rest.
fn allow(reader: &mut Reader, spot: &Spot<'_>) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let items = spot.items();
    let nested = items.iter().filter(|item| item.value.is_sequence()).count();
    if nested == 0 {
        return Some((reader.globs(spot)?, Vec::new()));
    }
    if nested < items.len() {
        let help =
            "write `[one, two]`, or `[[one, two], [three]]` for paths that must match both lists";
        reader.wrong(spot, "globs and lists of globs in one list", help);
        return None;
    }
    // All of them are looked at, so that every wrong glob is told.
    let read: Vec<Option<Vec<String>>> = items.iter().map(|item| reader.globs(item)).collect();
    let mut lists = read.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
    Some((lists.next()?, lists.collect()))
}

fn decisions(reader: &mut Reader, root: &Spot<'_>, layer: &mut Layer) {
    let decisions = &mut layer.policy.decisions;
    for (key, place) in [
        ("policy.decisions.low", &mut decisions.low),
        ("policy.decisions.medium", &mut decisions.medium),
    ] {
        set(place, root, key, |spot| reader.word(spot, words(key)));
    }
    let key = "policy.decisions.high";
    set(&mut decisions.high, root, key, |spot| {
        let authority: Authority = reader.word(spot, words("policy.decisions.low"))?;
        if authority == Authority::Ask {
            return Some(authority);
        }
        let help = "dependencies, schema, security and public interfaces are a person's to decide: \
                    neither an agent nor a second one stands for the consequences";
        reader.wrong(spot, "only `ask`", help);
        None
    });
}

fn risk(reader: &mut Reader, root: &Spot<'_>, risk: &mut Bands) {
    let before = reader.found.len();
    let mut bands = [
        (RiskLevel::Low, "policy.risk.low", &mut risk.low),
        (RiskLevel::Medium, "policy.risk.medium", &mut risk.medium),
        (RiskLevel::High, "policy.risk.high", &mut risk.high),
        (RiskLevel::Critical, "policy.risk.critical", &mut risk.critical),
    ];
    let mut spots = Vec::new();
    for (_, key, place) in &mut bands {
        let spot = root.find(key);
        if let Some(spot) = &spot {
            band(reader, spot, place);
        }
        spots.push(spot);
    }
    if reader.found.len() > before {
        return;
    }
    // The caret goes to the level that the file holds; the built-in one beside it is named in words.
    for at in 1..bands.len() {
        let (below, above) = (&bands[at - 1], &bands[at]);
        let (upto, less) = (above.2.upto <= below.2.upto, above.2.does < below.2.does);
        let Some(spot) = spots[at].as_ref().or(spots[at - 1].as_ref()) else { continue };
        let place = |key| spot.find(key).unwrap_or_else(|| spot.clone());
        if upto {
            let (low, high) = (below.2.upto, above.2.upto);
            let label = format!("`{}` ends at {low}, and `{}` at {high}", below.0, above.0);
            reader.wrong(&place("upto"), label, "each level ends above the one before");
        }
        if less {
            let label = format!("`{}` would be treated milder than `{}`", above.0, below.0);
            reader.wrong(&place("do"), label, "more risk is never less trouble: run, ask, block");
        }
    }
    if let Some(spot) = spots[3].as_ref().and_then(|spot| spot.find("upto"))
        && bands[3].2.upto != 100
    {
        reader.wrong(&spot, "expected 100", "the last level ends where the scores end");
    }
}

fn band(reader: &mut Reader, spot: &Spot<'_>, band: &mut Band) {
    reader.keys(spot, "", keys::BAND);
    set(&mut band.upto, spot, "upto", |spot| reader.number(spot, 0..=100));
    set(&mut band.does, spot, "do", |spot| reader.word(spot, words("policy.risk.low")));
    let Some(spot) = spot.find("proof") else { return };
    // `none` takes the built-in threshold away.
    if spot.value.as_str() == Some("none") {
        band.proof = None;
    } else if let Some(score) = reader.number(&spot, 0..=100) {
        band.proof = Some(score);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Settings, parse_repository, parse_user};

    const MINE: &str = "~/.config/nightshift/nightshift.yml";
    const FILE: &str = ".nightshift/config.yml";

    /// The settings of a repository at `/work/app` under a user's file.
    fn held(mine: &str, repository: &str) -> Settings {
        let user = parse_user(MINE, mine).unwrap();
        let (mut settings, _) = parse_repository(FILE, repository).unwrap();
        let is_here = |path: &Path| path == Path::new("/work/app");
        settings.hold_to(&user, Path::new("/work"), is_here);
        settings
    }

    fn origin(settings: &Settings, key: &str) -> String {
        settings.origin(key).to_string()
    }

    #[test]
    fn the_stricter_of_user_and_repository_holds_and_is_named() {
        let settings = held(
            "limits:\n  tasks: 3\n  attempts: 9\npolicy:\n  tests: optional\n  paths: {deny: ['x/**']}\n",
            "limits: {tasks: 9}\npolicy:\n  tests: required\n  paths: {deny: ['**/.env*']}\n  missing: refuse\n",
        );
        assert_eq!((settings.limits.tasks, settings.limits.attempts), (3, 9));
        assert_eq!(origin(&settings, "limits.tasks"), format!("{MINE}:2"));
        assert_eq!(origin(&settings, "policy.tests"), format!("{FILE}:3"));
        assert_eq!(origin(&settings, "policy.paths.deny"), format!("{MINE}:6 and {FILE}:4"));
        assert_eq!(origin(&settings, "policy.missing"), format!("{FILE}:5"));
        assert_eq!(origin(&settings, "limits.time"), "built in");
        assert_eq!(settings.policy.deny, ["x/**", "**/.env*"]);
    }

    #[test]
    fn a_repository_cannot_loosen_what_the_user_fixed() {
        let settings = held(
            "limits: {cost: 5}\npolicy: {min_alignment: 90, paths: {allow: ['docs/**']}, secrets: block}",
            "limits: {cost: 0}\npolicy: {min_alignment: 10, paths: {allow: ['**']}, secrets: report}",
        );
        assert_eq!(settings.limits.cost.to_string(), "$5.00");
        assert_eq!(settings.policy.min_alignment, 90);
        assert_eq!(settings.policy.secrets, crate::policy::Secrets::Block);
        let rules = crate::policy::RuleSet::new(&settings.policy).unwrap();
        assert!(rules.allows(&"docs/a.md".into()) && !rules.allows(&"src/a.rs".into()));
    }

    #[test]
    fn what_the_user_says_of_one_repository_wins_also_where_it_is_looser() {
        let mine = "limits: {tasks: 3}\nrepos:\n  ~/app: {limits: {tasks: 40}}\n  /work/other: {limits: {tasks: 1}}\n";
        let settings = held(mine, "limits: {tasks: 9}");
        assert_eq!(
            (settings.limits.tasks, origin(&settings, "limits.tasks")),
            (40, format!("{MINE}:3"))
        );
        let settings =
            held("repos: {/work/app/: {policy: {tests: optional}}}", "policy: {tests: proven}");
        assert_eq!(settings.policy.tests, crate::policy::Tests::Optional);
    }

    fn levels(text: &str) -> Result<Bands, Vec<(String, String)>> {
        let text = format!("policy:\n  risk:\n{text}");
        match parse_repository(FILE, &text) {
            Ok((settings, _)) => Ok(settings.policy.risk),
            Err(found) => Err(found
                .into_iter()
                .map(|found| (text[found.span].to_owned(), found.label))
                .collect()),
        }
    }

    #[test]
    fn levels_of_risk_are_read_each_alone() {
        let risk =
            levels("    low: {upto: 20, proof: 95}\n    medium: {do: ask, proof: none}\n").unwrap();
        let built_in = Bands::default();
        assert_eq!((risk.low.upto, risk.low.proof), (20, Some(95)));
        assert_eq!((risk.medium.upto, risk.medium.proof), (60, None));
        assert_eq!((risk.high, risk.critical), (built_in.high, built_in.critical));
    }

    #[test]
    fn levels_of_risk_that_do_not_rise_are_shown_where_they_stand() {
        for (text, caret, words) in [
            ("    low: {upto: 60}\n", "60", "`low` ends at 60, and `medium` at 60"),
            ("    medium: {upto: 90}\n", "90", "`medium` ends at 90, and `high` at 85"),
            ("    high: {upto: 50}\n", "50", "`medium` ends at 60, and `high` at 50"),
            ("    critical: {upto: 99}\n", "99", "expected 100"),
            ("    high: {do: run}\n    medium: {do: ask}\n", "run", "milder than `medium`"),
            ("    critical: {do: run}\n", "run", "milder than `high`"),
            ("    low: {upto: 101}\n", "101", "from 0 to 100"),
            ("    low: {do: maybe}\n", "maybe", "expected run, ask, block"),
            ("    low: {proof: all}\n", "all", "from 0 to 100"),
            ("    low: {until: 3}\n", "until", "no such setting"),
            ("    lov: {upto: 3}\n", "lov", "did you mean `low`?"),
            ("    low: 30\n", "30", "expected settings"),
        ] {
            let found = levels(text).unwrap_err();
            assert_eq!(found[0].0, caret, "{text}: {found:?}");
            assert!(found[0].1.contains(words), "{text}: {found:?}");
        }
    }

    #[test]
    fn lists_of_lists_of_globs_are_not_mixed() {
        let bad = parse_repository(FILE, "policy: {paths: {allow: ['a', ['b']]}}").unwrap_err();
        assert!(bad[0].label.contains("in one list"));
        let bad = parse_repository(FILE, "policy: {paths: {allow: [['a['], ['/b']]}}").unwrap_err();
        assert_eq!(bad.len(), 2);
    }
}
