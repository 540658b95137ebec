//! Words of a task: which of a list it contains, whether it adds dependencies, what it says it writes.
//!
//! Reads what is asked for, never the fields that talk *about* it: "Safety check: no payment involved" is
//! not a request to touch payments. Words only warn early; the diff decides later.

use crate::plan::Task;

/// Endings that make a form of the same word. Nothing else may follow: "auth" is no form of "author".
const ENDINGS: [&str; 8] = ["", "s", "es", "d", "ed", "ing", "er", "ers"];

/// Words that may stand anywhere inside a configured phrase.
const FILLERS: [&str; 24] = [
    "a", "an", "the", "this", "that", "these", "those", "all", "any", "some", "its", "our", "your",
    "old", "new", "unused", "existing", "as", "another", "one", "from", "of", "no", "longer",
];

/// Beginnings of words that mean the same as a built-in one, where an ending does not make them.
const RELATIVES: [(&str, &[&str]); 4] = [
    ("auth", &["authn", "authz", "authentic", "authoriz", "authoris", "unauthor", "oauth"]),
    ("security", &["securit", "secure", "insecur", "vulnerab"]),
    ("crypto", &["cryptogr", "encrypt", "decrypt"]),
    ("password", &["passwd", "passphrase"]),
];

/// Words that turn what follows round: "never drop a table" asks for nothing.
pub(super) const NEGATIONS: [&str; 8] =
    ["not", "never", "no", "without", "t", "avoid", "cannot", "nothing"];

/// Which of a task's texts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Title and acceptance: what the task is about. Notes name the surroundings too.
    Subject,
    /// Also the notes: the agent reads every line of them as part of its order.
    Everything,
}

/// The texts of a task that ask for something, each with the name of its place.
fn request(task: &Task, reach: Reach) -> impl Iterator<Item = (&'static str, &str)> {
    let notes: &[String] = if reach == Reach::Everything { &task.notes } else { &[] };
    std::iter::once(("title", task.title.as_str()))
        .chain(task.fields.acceptance.iter().map(|text| ("acceptance", text.as_str())))
        .chain(notes.iter().map(|text| ("notes", text.as_str())))
}

/// Which of `phrases` the task's request contains, each with the first place.
pub(super) fn find<'a>(
    task: &Task,
    reach: Reach,
    phrases: &'a [String],
) -> Vec<(&'a str, &'static str)> {
    phrases
        .iter()
        .filter_map(|phrase| {
            let place = request(task, reach).find(|(_, text)| contains(text, phrase))?.0;
            Some((phrase.as_str(), place))
        })
        .collect()
}

/// True when `text` has all words of `phrase` in order, in any form, with fillers and at most one other
/// word between two of them, and no negation in the two words before.
pub(super) fn contains(text: &str, phrase: &str) -> bool {
    let (text, phrase) = (split(text), split(phrase));
    let Some((first, rest)) = phrase.split_first() else { return false };
    let negated = |start: usize| {
        text[start.saturating_sub(2)..start].iter().any(|word| NEGATIONS.contains(&word.as_str()))
    };
    (0..text.len()).any(|start| {
        is_form(&text[start], first) && !negated(start) && follows(&text[start + 1..], rest)
    })
}

fn follows(text: &[String], phrase: &[String]) -> bool {
    let Some((next, rest)) = phrase.split_first() else { return true };
    let mut others = 0;
    for (at, word) in text.iter().enumerate() {
        if is_form(word, next) {
            return follows(&text[at + 1..], rest);
        }
        if !FILLERS.contains(&word.as_str()) {
            others += 1;
        }
        if others > 1 {
            return false;
        }
    }
    false
}

/// True when `word` is `base`, a form of it, or one of its relatives. Both in lower case.
pub(super) fn is_form(word: &str, base: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    // "deleting", "migration" and "dependencies" change the base's last letter.
    let changed = |letter: char, endings: &[&str]| {
        base.strip_suffix(letter)
            .is_some_and(|stem| endings.iter().any(|e| word.strip_suffix(e) == Some(stem)))
    };
    let inflected = ENDINGS.iter().any(|ending| word.strip_suffix(ending) == Some(base))
        || changed('e', &["ing", "ion", "ions"])
        || changed('y', &["ies"])
        || doubled(word, base);
    inflected
        || RELATIVES
            .iter()
            .any(|(of, starts)| *of == base && starts.iter().any(|start| word.starts_with(start)))
}

/// "dropped", "dropping": the last letter twice before the ending.
fn doubled(word: &str, base: &str) -> bool {
    let Some(last) = base.chars().last() else { return false };
    ["ed", "ing"].iter().any(|ending| {
        word.strip_suffix(ending).and_then(|stem| stem.strip_suffix(last)) == Some(base)
    })
}

/// The words of a text in lower case. Everything that is neither letter nor digit parts words, and so
/// does a capital after a small letter: `loginToken` has two words.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_small) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a task's words say about new or changed dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dependencies {
    /// Nothing.
    None,
    /// These are named.
    Named(Vec<String>),
    /// Some, and none is named.
    Unnamed,
}

const CHANGES: [&str; 7] =
    ["add", "install", "upgrade", "update", "bump", "introduce", "downgrade"];
const DEPENDENCY: [&str; 5] = ["dependency", "package", "crate", "library", "gem"];
/// Commands that add what is named after them.
const COMMANDS: [[&str; 2]; 11] = [
    ["npm", "install"],
    ["npm", "i"],
    ["yarn", "add"],
    ["pnpm", "add"],
    ["bun", "add"],
    ["pip", "install"],
    ["poetry", "add"],
    ["uv", "add"],
    ["cargo", "add"],
    ["go", "get"],
    ["gem", "install"],
];

/// Reads "add dependency serde", "upgrade the `left-pad` package", "bump serde to 1.0.2", "npm install x".
pub(super) fn dependencies(task: &Task) -> Dependencies {
    let mut names: Vec<String> = Vec::new();
    let mut unnamed = false;
    for (_, text) in request(task, Reach::Subject) {
        match dependencies_in(text) {
            Dependencies::None => {}
            Dependencies::Named(found) => names.extend(found),
            Dependencies::Unnamed => unnamed = true,
        }
    }
    match (unnamed, names.is_empty()) {
        (true, _) => Dependencies::Unnamed,
        (false, true) => Dependencies::None,
        (false, false) => Dependencies::Named(names),
    }
}

fn dependencies_in(text: &str) -> Dependencies {
    // Names keep their dots, dashes and slashes (`@types/node`, `ruamel.yaml`); "package.json" is no "package".
    // What is an option is seen before it is trimmed.
    let (tokens, options): (Vec<&str>, Vec<bool>) = text
        .split_whitespace()
        .map(|word| {
            let own = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '@');
            (own, word.starts_with('-'))
        })
        .filter(|(word, _)| !word.is_empty())
        .unzip();
    let lower: Vec<String> = tokens.iter().map(|token| token.to_lowercase()).collect();
    let is = |at: usize, bases: &[&str]| {
        lower.get(at).is_some_and(|word| bases.iter().any(|base| is_form(word, base)))
    };
    let name = |at: usize| {
        let word = lower.get(at)?;
        let stop = FILLERS.contains(&word.as_str())
            || [
                "for", "to", "in", "and", "with", "so", "that", "on", "by", "if", "when", "version",
            ]
            .contains(&word.as_str());
        (!stop).then(|| tokens[at].to_owned())
    };
    let mut names = Vec::new();
    let mut unnamed = false;
    for at in 0..tokens.len() {
        let command = COMMANDS.iter().any(|[program, verb]| {
            lower[at] == *program && lower.get(at + 1).is_some_and(|next| next == verb)
        });
        if command {
            match (at + 2..tokens.len()).find(|&i| !options[i]).and_then(name) {
                Some(found) => names.push(found),
                None => unnamed = true,
            }
        }
        if !is(at, &CHANGES) {
            continue;
        }
        let noun = (at + 1..tokens.len().min(at + 6)).find(|&i| is(i, &DEPENDENCY));
        if let Some(noun) = noun {
            // Software's own word, and nothing to install.
            if lower.get(noun + 1).is_some_and(|next| next == "injection" || next == "inversion") {
                continue;
            }
            let between: Vec<String> = (at + 1..noun)
                .filter(|&i| !is(i, &["dev", "runtime", "build", "optional", "external"]))
                .filter_map(name)
                .collect();
            if !between.is_empty() {
                names.extend(between);
            } else if let Some(found) = name(noun + 1) {
                names.push(found);
            } else {
                unnamed = true;
            }
        } else if is(at, &["upgrade", "bump", "downgrade"]) {
            let version = (at + 2..tokens.len().min(at + 6)).any(|i| is_version(tokens[i]));
            if let Some(found) = name(at + 1).filter(|_| version) {
                names.push(found);
            }
        }
    }
    match (unnamed, names.is_empty()) {
        (true, _) => Dependencies::Unnamed,
        (false, true) => Dependencies::None,
        (false, false) => Dependencies::Named(names),
    }
}

/// `1.2`, `v3.0.1`.
fn is_version(token: &str) -> bool {
    let digits = token.strip_prefix('v').unwrap_or(token);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains('.')
}

/// True when the title says that only tests or documents are written: "Document the retry policy", "Add
/// unit tests for login", "docs: …", "Fix a typo in the README". The noun must be the verb's own: "Add
/// test endpoint" is code.
pub(super) fn writes_only_tests_or_docs(title: &str) -> bool {
    let words = split(title);
    let starts = |word: &str| words.first().is_some_and(|first| first == word);
    if starts("document") || starts("docs") || starts("doc") || starts("tests") {
        return true;
    }
    if title.trim_start().to_lowercase().starts_with("test:") {
        return true;
    }
    let writes = ["add", "write", "extend", "improve", "update", "fix", "complete", "test"];
    if !words.first().is_some_and(|verb| writes.contains(&verb.as_str())) {
        return false;
    }
    let prepositions = ["for", "of", "to", "in", "about", "on", "that", "with", "covering", "from"];
    let object = words.iter().take_while(|word| !prepositions.contains(&word.as_str())).last();
    let documents = ["documentation", "docs", "readme", "changelog"];
    let own = object.is_some_and(|noun| noun == "tests" || documents.contains(&noun.as_str()));
    let small_fix = object.is_some_and(|noun| noun == "typo" || noun == "typos")
        && words.last().is_some_and(|last| documents.contains(&last.as_str()));
    (own && !words.contains(&"and".to_owned())) || small_fix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_its_forms_and_relatives() {
        for text in ["Fix authentication", "add OAuth2 flow", "the `authz` layer", "AUTH"] {
            assert!(contains(text, "auth"), "{text}");
        }
        for (text, word) in [
            ("Rotate tokens", "token"),
            ("Rename loginToken", "token"),
            ("Encrypt the column", "crypto"),
            ("Write migrations", "migration"),
            ("Secure the endpoint", "security"),
        ] {
            assert!(contains(text, word), "{text}");
        }
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        for (text, word) in [
            ("Show the author's name", "auth"),
            ("List authors", "auth"),
            ("Speed up the tokenizer", "token"),
            ("Blogin page", "login"),
            ("Repayments table", "payment"),
        ] {
            assert!(!contains(text, word), "{text}");
        }
    }

    #[test]
    fn a_phrase_is_found_with_articles_and_one_word_between() {
        for text in ["Drop table users", "drops the old users table", "Dropping a table"] {
            assert!(contains(text, "drop table"), "{text}");
        }
        for text in ["Drop zone beside the big round table", "table drop", "drop"] {
            assert!(!contains(text, "drop table"), "{text}");
        }
        assert!(contains("Delete the config files", "delete file"));
        assert!(contains("Deleting files", "delete file"));
    }

    #[test]
    fn what_a_task_rules_out_is_not_what_it_asks_for() {
        for text in ["Never drop a table", "Do not delete files", "don't delete the files"] {
            assert!(!contains(text, "drop table") && !contains(text, "delete file"), "{text}");
        }
        assert!(contains("No tests needed, just drop the table", "drop table"));
    }

    #[test]
    fn dependencies_are_read_with_their_names() {
        let named = |names: &[&str]| {
            Dependencies::Named(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (text, expected) in [
            ("Add dependency serde", named(&["serde"])),
            ("Add the `left-pad` package", named(&["left-pad"])),
            ("Upgrade package @types/node", named(&["@types/node"])),
            ("Bump serde_json to 1.0.2", named(&["serde_json"])),
            ("run `npm install lodash`", named(&["lodash"])),
            ("Add serde as a dependency", named(&["serde"])),
            ("Add a new dependency", Dependencies::Unnamed),
            ("Update dependencies", Dependencies::Unnamed),
            ("Add dependency injection", Dependencies::None),
            ("Bump the timeout to 30 seconds", Dependencies::None),
            ("Bump the timeout to v.5 or so", Dependencies::None),
            ("Bump serde to v2.1", named(&["serde"])),
            ("Read package.json once", Dependencies::None),
        ] {
            assert_eq!(dependencies_in(text), expected, "{text}");
        }
    }

    #[test]
    fn a_title_that_writes_only_tests_or_documents_is_known() {
        for title in [
            "Document the retry policy",
            "Add unit tests for login",
            "docs: explain limits",
            "Fix a typo in the README",
            "Update the changelog",
        ] {
            assert!(writes_only_tests_or_docs(title), "{title}");
        }
        for title in [
            "Add test endpoint",
            "Add User model with tests",
            "Fix login and docs",
            "Test-drive the parser rewrite",
            "Fix the docs generator",
        ] {
            assert!(!writes_only_tests_or_docs(title), "{title}");
        }
    }

    #[test]
    fn a_version_begins_with_a_digit_and_has_a_dot() {
        for token in ["1.2", "v3.0.1", "1."] {
            assert!(is_version(token), "{token}");
        }
        for token in ["12", "v3", "v.1", "a.b", "x1.2", ""] {
            assert!(!is_version(token), "{token}");
        }
    }

    #[test]
    fn names_of_dependencies_stand_where_people_write_them() {
        let named = |names: &[&str]| {
            Dependencies::Named(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (text, expected) in [
            ("npm install left-pad", named(&["left-pad"])),
            ("npm install -D --exact left-pad", named(&["left-pad"])),
            ("pip install -- ruamel.yaml", named(&["ruamel.yaml"])),
            ("npm install --save", Dependencies::Unnamed),
            ("npm run", Dependencies::None),
            ("run npm install", Dependencies::Unnamed),
            ("Add a dependency", Dependencies::Unnamed),
            ("Add the serde crate", named(&["serde"])),
            ("Add dependency serde", named(&["serde"])),
            ("Add a dev dependency on it", Dependencies::Unnamed),
            ("Add dependency injection", Dependencies::None),
            ("Add dependency inversion", Dependencies::None),
            ("Add one two three four crate", named(&["two", "three", "four"])),
            ("Add a b c d e crate", Dependencies::None),
            ("Bump serde to 1.0.2", named(&["serde"])),
            ("Bump serde from one to 1.2", named(&["serde"])),
            ("Bump serde all the way to 1.2", Dependencies::None),
            ("Bump 1.2", Dependencies::None),
            ("Bump the counter", Dependencies::None),
            ("Show the crate", Dependencies::None),
        ] {
            assert_eq!(dependencies_in(text), expected, "{text}");
        }
    }

    #[test]
    fn between_the_words_of_a_phrase_one_other_may_stand() {
        for text in ["remove column", "remove the old column", "remove that big column"] {
            assert!(contains(text, "remove column"), "{text}");
        }
        for text in ["remove very big column", "column remove", "remove", "never remove a column"] {
            assert!(!contains(text, "remove column"), "{text}");
        }
        // A negation reaches two words far.
        assert!(!contains("do not ever remove columns", "remove column"));
        assert!(contains("not so much: remove columns", "remove column"));
        assert!(!contains("anything", ""));
    }
}
