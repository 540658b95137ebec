//! The part of a `.gitleaks.toml` that we hold: rules with `id`, `regex`, `secretGroup`, `keywords`, `entropy`, `path`,
//! and allowances (`allowlist`, `allowlists`) with `paths`, `regexes`, `regexTarget`, `stopwords`, `condition`,
//! `targetRules`.
//!
//! Not held: `commits` (a diff has none), `extend.path` and `extend.url` (nothing else is read), `extend.disabledRules`
//! (our own rules always hold), rules that need others (`required`), patterns over several lines. What cannot be held
//! is said, never skipped in silence: an allowance that is not held frees nothing.

use regex::{Regex, RegexBuilder};
use toml_span::Value;

use super::secrets::{Allow, Kind, Rule, Target};

/// What a file says, and what of it could not be used.
#[derive(Debug, Default)]
pub(super) struct Theirs {
    pub(super) rules: Vec<Rule>,
    pub(super) allow: Vec<Allow>,
    pub(super) problems: Vec<String>,
}

/// Reads the file's text.
pub(super) fn read(text: &str) -> Theirs {
    let mut theirs = Theirs::default();
    let file = match toml_span::parse(text) {
        Ok(file) => file,
        Err(problem) => {
            theirs.problems.push(format!("it is no TOML: {problem}"));
            return theirs;
        }
    };
    for key in ["path", "url", "disabledRules"] {
        if file.pointer(&format!("/extend/{key}")).is_some() {
            theirs.problems.push(format!("`extend.{key}` is not followed"));
        }
    }
    let allow = theirs.allowances(&file, "the whole file");
    theirs.allow.extend(allow);
    for (number, rule) in array(&file, "rules").iter().enumerate() {
        theirs.rule(rule, number + 1);
    }
    theirs
}

impl Theirs {
    fn rule(&mut self, rule: &Value<'_>, number: usize) {
        let Some(id) = string(rule, "id") else {
            self.problems.push(format!("rule {number} has no `id`"));
            return;
        };
        if rule.has_key("required") {
            self.problems
                .push(format!("rule `{id}`: `required` is not held, so it finds on its own"));
        }
        let pattern = self.pattern(rule, "regex", id);
        let path = self.pattern(rule, "path", id);
        let (Ok(pattern), Ok(path)) = (pattern, path) else { return };
        if pattern.is_none() && path.is_none() {
            // Changes a rule of gitleaks' own, by its id.
            self.problems.push(format!("rule `{id}` has neither `regex` nor `path`"));
            return;
        }
        let allow = self.allowances(rule, &format!("rule `{id}`"));
        let group = rule.pointer("/secretGroup").and_then(Value::as_integer);
        let entropy = rule.pointer("/entropy");
        #[expect(clippy::cast_precision_loss, reason = "a few bits")]
        let bits = entropy.and_then(|e| e.as_float().or_else(|| e.as_integer().map(|i| i as f64)));
        self.rules.push(Rule {
            id: id.to_owned(),
            words: strings(rule, "keywords").into_iter().map(str::to_lowercase).collect(),
            pattern,
            group: group.and_then(|group| usize::try_from(group).ok()).filter(|group| *group > 0),
            entropy: bits.unwrap_or(0.0),
            path,
            allow,
            kind: Kind::Own,
        });
    }

    /// Both spellings: one table, or several.
    fn allowances(&mut self, of: &Value<'_>, owner: &str) -> Vec<Allow> {
        let one = of.pointer("/allowlist").into_iter();
        let tables: Vec<&Value<'_>> = one.chain(array(of, "allowlists")).collect();
        tables.into_iter().filter_map(|table| self.allowance(table, owner)).collect()
    }

    fn allowance(&mut self, table: &Value<'_>, owner: &str) -> Option<Allow> {
        let all = string(table, "condition").is_some_and(|word| word.eq_ignore_ascii_case("and"));
        if all && table.has_key("commits") {
            self.problems
                .push(format!("an allowance of {owner} needs `commits`, which a diff has not"));
            return None;
        }
        let target = match string(table, "regexTarget") {
            None | Some("secret" | "") => Target::Secret,
            Some("match") => Target::Match,
            Some("line") => Target::Line,
            Some(other) => {
                self.problems.push(format!("an allowance of {owner}: `regexTarget` is `{other}`"));
                return None;
            }
        };
        let mut patterns = |key: &str| -> Option<Vec<Regex>> {
            strings(table, key)
                .into_iter()
                .map(|pattern| {
                    let compiled = compile(pattern);
                    if let Err(why) = &compiled {
                        self.problems.push(format!("an allowance of {owner}: `{pattern}`: {why}"));
                    }
                    compiled.ok()
                })
                // With one part missing, the rest could free more than the file says.
                .collect()
        };
        let (paths, patterns) = (patterns("paths")?, patterns("regexes")?);
        Some(Allow {
            rules: strings(table, "targetRules").into_iter().map(str::to_owned).collect(),
            paths,
            patterns,
            target,
            words: strings(table, "stopwords").into_iter().map(str::to_lowercase).collect(),
            all,
        })
    }

    /// A pattern of a rule, where it has one.
    fn pattern(&mut self, rule: &Value<'_>, key: &str, id: &str) -> Result<Option<Regex>, ()> {
        let Some(pattern) = string(rule, key) else { return Ok(None) };
        compile(pattern).map(Some).map_err(|why| {
            self.problems.push(format!("rule `{id}`: its `{key}` cannot be used: {why}"));
        })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(32 * 1024 * 1024).build();
    built.map_err(|problem| {
        let text = problem.to_string();
        text.lines().last().unwrap_or_default().trim().to_owned()
    })
}

fn array<'v>(of: &'v Value<'_>, key: &str) -> &'v [Value<'v>] {
    of.as_table()
        .and_then(|table| table.get(key))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn string<'v>(of: &'v Value<'_>, key: &str) -> Option<&'v str> {
    of.as_table()?.get(key)?.as_str()
}

fn strings<'v>(of: &'v Value<'_>, key: &str) -> Vec<&'v str> {
    array(of, key).iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_allowances_are_read() {
        let theirs = read(
            "title = 'ours'\n[extend]\nuseDefault = true\n\
             [[rules]]\nid = 'a'\nregex = '''(?i)a-([0-9a-f]{8})'''\nkeywords = ['A-']\nentropy = 2\nsecretGroup = 1\n\
             [rules.allowlist]\nstopwords = ['CAFE']\n\
             [[rules]]\nid = 'b'\npath = '''\\.p12$'''\n\
             [allowlist]\npaths = ['''^tests/''']\nregexTarget = 'line'\nregexes = ['never']\n",
        );
        assert_eq!(theirs.problems, [] as [&str; 0]);
        assert_eq!(theirs.rules.len(), 2);
        let first = &theirs.rules[0];
        assert_eq!(
            (first.id.as_str(), first.group, first.words.as_slice()),
            ("a", Some(1), &["a-".to_owned()][..])
        );
        assert!((first.entropy - 2.0).abs() < f64::EPSILON);
        assert_eq!(first.allow[0].words, ["cafe"]);
        assert_eq!(theirs.allow[0].target, Target::Line);
    }

    #[test]
    fn what_cannot_be_held_is_said() {
        for (text, said) in [
            ("[[rules]\n", "it is no TOML"),
            (
                "[[rules]]\nid = 'a'\nregex = '''(?=x)'''\n",
                "rule `a`: its `regex` cannot be used: ",
            ),
            ("[[rules]]\nid = 'a'\n", "rule `a` has neither"),
            ("[[rules]]\nregex = 'x'\n", "rule 1 has no `id`"),
            ("[extend]\npath = 'x'\n", "`extend.path` is not followed"),
            (
                "[[allowlists]]\ncondition = 'AND'\ncommits = ['a']\npaths = ['x']\n",
                "needs `commits`",
            ),
            ("[allowlist]\npaths = ['(']\n", "an allowance of the whole file: `(`"),
        ] {
            let theirs = read(text);
            assert_eq!(theirs.problems.len(), 1, "{text}: {:?}", theirs.problems);
            assert!(theirs.problems[0].contains(said), "{text}: {:?}", theirs.problems);
            assert!(theirs.allow.is_empty() && theirs.rules.is_empty(), "{text}");
        }
    }

    #[test]
    fn the_group_of_the_secret_is_counted_from_one() {
        let group = |number: i32| {
            let text = format!("[[rules]]\nid = 'a'\nregex = 'a(b)'\nsecretGroup = {number}\n");
            read(&text).rules[0].group
        };
        assert_eq!((group(1), group(0), group(-1)), (Some(1), None, None));
    }
}
