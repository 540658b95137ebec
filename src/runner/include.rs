//! What a workspace brings along from the person's checkout: the ignored files that the base's
//! `.worktreeinclude` names, such as `.env.local`.
//!
//! A pattern has the syntax of `.gitignore`. It takes regular files that the base ignores and does not track;
//! everything else is left out and said. An ignored directory, such as `node_modules`, is only entered where
//! a pattern names it: `config/*.key` enters `config`, `*.key` and `**/*.key` do not. Only reads the
//! checkout, and follows nothing in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use crate::{
    config::looks_secret,
    files,
    git::Vault,
    ids::{RepoPath, TreeId, hex},
    runner::refused::Refused,
    workspace::checkout::{Checkout, Entry},
};

/// The file of the base that names what is brought along.
pub const FILE: &str = ".worktreeinclude";
/// Bytes of one file, at most. What is brought along is settings; data sets belong into the set-up.
pub const LARGEST: u64 = 10 << 20;
/// Bytes of all files, at most: they are held in memory until the base's gate has them.
pub const ALL: u64 = 100 << 20;
/// Files, at most.
pub const MOST: usize = 2_000;
/// Paths of one note. More are counted.
const SHOWN: usize = 5;
/// Lines of one quoted value, at most: a private key has some thirty.
const QUOTED_LINES: usize = 200;

/// A file that is brought along.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is in the checkout, and will be in the workspace.
    pub path: RepoPath,
    /// Permission bits; the owner may always read and write.
    pub mode: u32,
    /// What it held when it was read.
    pub contents: Vec<u8>,
}

/// What is brought along, as it was at one moment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Included {
    /// The files, in order of path.
    pub files: Vec<File>,
    /// What was left out and why, for the night's notes.
    pub notes: Vec<String>,
    /// Values in these files that look like credentials: no text of ours may hold them.
    pub secrets: Vec<String>,
}

/// Tells nothing of the contents.
impl fmt::Debug for Included {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&RepoPath> = self.files.iter().map(|file| &file.path).collect();
        f.debug_struct("Included")
            .field("files", &paths)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// What is brought along from `checkout` into workspaces of the tree `base`. `None` is a bare repository.
/// Refuses what goes over [`LARGEST`], [`ALL`] or [`MOST`].
pub fn find(vault: &Vault, base: &TreeId, checkout: Option<&Path>) -> Result<Included, Refused> {
    let Some(text) = vault.read_file(base, &RepoPath::from(FILE))? else {
        return Ok(Included::default());
    };
    let patterns = Patterns::read(&text);
    let mut search = Search { notes: patterns.notes.clone(), ..Search::default() };
    match checkout {
        _ if patterns.positive.is_empty() => {}
        Some(root) => {
            let handles = vault.open()?;
            search.walk(&Checkout::open(&handles, base, root)?, &patterns)?;
        }
        None => search.notes.push(format!(
            "{FILE} brings nothing along: the repository is bare and has no ignored files"
        )),
    }
    Ok(search.finish())
}

impl Included {
    /// SHA-256 over paths, modes and contents in hexadecimal: a part of the name of a cache that holds them.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            // Lengths first, so that no two lists run together into the same bytes.
            for part in [file.path.as_bytes(), &file.mode.to_be_bytes(), &file.contents] {
                hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(part);
            }
        }
        hex(&hash.finalize())
    }

    /// Puts the files into a workspace that was laid out of the same tree and that no agent could write yet.
    /// Safe to repeat.
    pub fn write_into(&self, directory: &Path) -> Result<(), files::Error> {
        for file in &self.files {
            let mut at = directory.to_owned();
            let mut components = file.path.components().peekable();
            while let Some(component) = components.next() {
                at.push(OsStr::from_bytes(component));
                if components.peek().is_some() {
                    make_directory(&at)?;
                }
            }
            files::remove_any(&at)?;
            files::create_new(&at, &file.contents, file.mode)?;
        }
        Ok(())
    }
}

/// Makes a directory where there is none. Anything else there is an error: a link would lead elsewhere.
fn make_directory(path: &Path) -> Result<(), files::Error> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => {
            let problem = std::io::Error::other("something else stands where a directory belongs");
            Err(files::error("bring files along into", path)(problem))
        }
        Err(_) => files::create_dir_all(path),
    }
}

/// The lines of the base's file.
struct Patterns {
    matcher: Gitignore,
    /// Those without `!`, component by component.
    positive: Vec<Vec<Part>>,
    notes: Vec<String>,
}

/// One component of a pattern.
enum Part {
    /// `**`: any number of components.
    Any,
    /// Exactly this one.
    Word(Vec<u8>),
    /// One that fits.
    Glob(GlobMatcher),
}

impl Part {
    fn read(text: &str) -> Part {
        if text == "**" {
            return Part::Any;
        }
        if !text.contains(['*', '?', '[', '{', '\\']) {
            return Part::Word(text.as_bytes().to_vec());
        }
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
        // The whole pattern decides in the end; this only says where to look.
        glob.map_or(Part::Any, |glob| Part::Glob(glob.compile_matcher()))
    }

    fn fits(&self, component: &[u8]) -> bool {
        match self {
            Part::Any => true,
            Part::Word(word) => word == component,
            Part::Glob(glob) => glob.is_match(Path::new(OsStr::from_bytes(component))),
        }
    }
}

impl Patterns {
    fn read(text: &[u8]) -> Patterns {
        let mut builder = GitignoreBuilder::new("");
        let (mut positive, mut notes) = (Vec::new(), Vec::new());
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let mut wrong = |why: &str| {
                notes.push(format!("{FILE}:{}: the line brings nothing along: {why}", number + 1));
            };
            let Ok(line) = std::str::from_utf8(line) else {
                wrong("it is not UTF-8");
                continue;
            };
            let line = line.trim_end_matches('\r');
            if let Err(problem) = builder.add_line(None, line) {
                wrong(&problem.to_string());
                continue;
            }
            let trimmed = if line.ends_with("\\ ") { line } else { line.trim_end() };
            if trimmed.is_empty() || trimmed.starts_with(['#', '!']) {
                continue;
            }
            positive.push(parts(trimmed));
        }
        match builder.build() {
            Ok(matcher) => Patterns { matcher, positive, notes },
            Err(problem) => {
                notes.push(format!("{FILE} brings nothing along: {problem}"));
                Patterns { matcher: Gitignore::empty(), positive: Vec::new(), notes }
            }
        }
    }

    /// What the patterns say about this very path; `None` when they say nothing, and what is above decides.
    fn says(&self, path: &RepoPath, is_dir: bool) -> Option<bool> {
        let verdict = self.matcher.matched(OsStr::from_bytes(path.as_bytes()), is_dir);
        (!verdict.is_none()).then(|| verdict.is_ignore())
    }

    /// True when a pattern could match the directory, or something below it, and names the first `named` of
    /// its components.
    fn reach(&self, directory: &RepoPath, named: usize) -> bool {
        self.positive.iter().any(|parts| {
            for (at, component) in directory.components().enumerate() {
                match parts.get(at) {
                    None => return true, // the pattern means all that is below
                    Some(Part::Any) => return at >= named,
                    Some(part) if !part.fits(component) => return false,
                    Some(_) => {}
                }
            }
            true
        })
    }
}

/// The components of a pattern without `!`. One without a slash fits at any depth.
fn parts(pattern: &str) -> Vec<Part> {
    let escaped = pattern.strip_prefix('\\').filter(|rest| rest.starts_with(['#', '!']));
    let pattern = escaped.unwrap_or(pattern);
    let body = pattern.strip_suffix('/').unwrap_or(pattern);
    let anywhere = (!body.contains('/')).then_some(Part::Any);
    let body = body.strip_prefix('/').unwrap_or(body);
    anywhere.into_iter().chain(body.split('/').map(Part::read)).collect()
}

/// A directory to look into.
struct Place {
    path: RepoPath,
    /// Components of the topmost ignored directory that it is in; 0 = it is not ignored.
    ignored: usize,
    /// True when the patterns take all of it.
    selected: bool,
}

#[derive(Default)]
struct Search {
    files: Vec<File>,
    bytes: u64,
    /// Reasons, and the paths that were left out for each.
    left_out: BTreeMap<&'static str, Vec<RepoPath>>,
    notes: Vec<String>,
}

impl Search {
    fn walk(&mut self, checkout: &Checkout<'_>, patterns: &Patterns) -> Result<(), Refused> {
        let root = Place { path: RepoPath::new(""), ignored: 0, selected: false };
        let mut open = vec![root];
        while let Some(place) = open.pop() {
            let Ok(entries) = checkout.list(&place.path) else {
                self.leave_out(&place.path, "cannot be read, or is on another file system");
                continue;
            };
            for Entry { path, kind } in entries {
                let is_dir = kind == FileType::Directory;
                let selected = patterns.says(&path, is_dir).unwrap_or(place.selected);
                let depth = path.components().count();
                let name = path.components().last().unwrap_or_default();
                if name.eq_ignore_ascii_case(b".git") {
                    if selected || patterns.reach(&path, depth) {
                        self.leave_out(&path, "belongs to git");
                    }
                } else if is_dir {
                    let ignored = match place.ignored {
                        0 if checkout.ignores(&path, true)? => depth,
                        above => above,
                    };
                    if !selected && !patterns.reach(&path, ignored) {
                        continue;
                    }
                    if !checkout.has_file(&path)? {
                        open.push(Place { path, ignored, selected });
                    } else if selected || patterns.reach(&path, depth) {
                        self.leave_out(&path, "is a file, a link or a submodule in the base");
                    }
                } else if selected {
                    self.consider(checkout, path, kind)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a file that the patterns select, or says why not.
    fn consider(
        &mut self,
        checkout: &Checkout<'_>,
        path: RepoPath,
        kind: FileType,
    ) -> Result<(), Refused> {
        if checkout.has(&path)? {
            return Ok(()); // the workspace has the base's own
        }
        if !checkout.ignores(&path, false)? {
            self.leave_out(
                &path,
                "is not ignored by the base's .gitignore and would enter commits",
            );
            return Ok(());
        }
        if kind != FileType::RegularFile {
            let link = kind == FileType::Symlink;
            self.leave_out(&path, if link { "is a symbolic link" } else { "is not a file" });
            return Ok(());
        }
        let Ok(opened) = checkout.file(&path) else {
            self.leave_out(&path, "cannot be read");
            return Ok(());
        };
        let problem = || files::error("read", Path::new(OsStr::from_bytes(path.as_bytes())));
        let metadata = opened.metadata().map_err(problem())?;
        if !metadata.is_file() {
            self.leave_out(&path, "is not a file");
            return Ok(());
        }
        if metadata.len() > LARGEST {
            return Err(too_much(&path, "is larger than 10 MiB"));
        }
        let mut contents = Vec::new();
        // It may grow while it is read.
        opened.take(LARGEST + 1).read_to_end(&mut contents).map_err(problem())?;
        let size = u64::try_from(contents.len()).unwrap_or(u64::MAX);
        self.bytes += size;
        if size > LARGEST {
            return Err(too_much(&path, "is larger than 10 MiB"));
        }
        if self.bytes > ALL {
            return Err(too_much(&path, "brings all files together over 100 MiB"));
        }
        if self.files.len() == MOST {
            return Err(too_much(&path, "would be one file more than 2,000"));
        }
        let mode = (metadata.mode() & 0o777) | 0o600;
        self.files.push(File { path, mode, contents });
        Ok(())
    }

    fn leave_out(&mut self, path: &RepoPath, why: &'static str) {
        self.left_out.entry(why).or_default().push(path.clone());
    }

    fn finish(mut self) -> Included {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        for (why, mut paths) in self.left_out {
            paths.sort();
            let more = paths.len().saturating_sub(SHOWN);
            let mut shown: Vec<String> =
                paths.iter().take(SHOWN).map(|path| format!("`{path}` {why}")).collect();
            if more > 0 {
                shown.push(format!("so it is with {more} more"));
            }
            self.notes.push(format!("not brought along by {FILE}: {}", shown.join("; ")));
        }
        let secrets: BTreeSet<String> = self.files.iter().flat_map(secrets).collect();
        let secrets = secrets.into_iter().collect();
        Included { files: self.files, notes: self.notes, secrets }
    }
}

fn too_much(path: &RepoPath, what: &str) -> Refused {
    Refused::usage(
        format!("{FILE} names `{path}`, which {what}: that is too much to bring along"),
        format!("narrow its patterns in {FILE}, or let the gate's set-up make such files"),
    )
}

/// Values in a file that look like credentials: those of lines such as `API_KEY=value` and `token: value`, and
/// the whole of a key file.
fn secrets(file: &File) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(&file.contents) else { return Vec::new() };
    let name = PathBuf::from(OsStr::from_bytes(file.path.as_bytes()));
    let is_key = name.extension().is_some_and(|ending| ending == "key" || ending == "pem");
    let mut found: Vec<String> = is_key.then(|| text.to_owned()).into_iter().collect();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, value)) = key_and_value(line).filter(|(key, _)| looks_secret(key)) else {
            continue;
        };
        let quote = value.chars().next().filter(|first| ['"', '\'', '`'].contains(first));
        let value = match quote {
            Some(quote) => quoted(&value[1..], quote, &mut lines),
            // A comment behind a value begins after a blank.
            None => value.split(" #").next().unwrap_or_default().trim_end_matches(',').to_owned(),
        };
        let plain = value.replace("\\n", "\n").replace("\\\"", "\"");
        found.extend([plain, value].map(|value| value.trim().to_owned()));
    }
    found.retain(|value| !value.is_empty());
    found
}

/// `KEY=value`, `export KEY=value`, `key = "value"`, `key: value`, `"key": "value"`.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").or(line.strip_prefix("- ")).unwrap_or(line);
    let equals = line.find('=');
    let (end, from) = match line.find(": ") {
        Some(colon) if equals.is_none_or(|equals| colon < equals) => (colon, colon + 2),
        Some(_) | None => equals.map(|equals| (equals, equals + 1))?,
    };
    let key = line[..end].trim().trim_matches(['"', '\'']);
    let word = !key.is_empty() && !key.starts_with('#') && !key.contains(char::is_whitespace);
    word.then(|| (key, line[from..].trim()))
}

/// What stands before the closing quote, which may be some lines below. Without one the line is the value.
fn quoted<'t>(
    first: &str,
    quote: char,
    rest: &mut (impl Iterator<Item = &'t str> + Clone),
) -> String {
    if let Some(end) = closing(first, quote) {
        return first[..end].to_owned();
    }
    let mut value = first.to_owned();
    for (number, line) in rest.clone().take(QUOTED_LINES).enumerate() {
        value.push('\n');
        if let Some(end) = closing(line, quote) {
            value.push_str(&line[..end]);
            rest.nth(number);
            return value;
        }
        value.push_str(line);
    }
    first.to_owned()
}

/// Where the quote stands without a backslash before it.
fn closing(text: &str, quote: char) -> Option<usize> {
    let found = text.match_indices(quote).map(|(at, _)| at);
    found.into_iter().find(|at| !text[..*at].ends_with('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str) -> Patterns {
        Patterns::read(text.as_bytes())
    }

    #[test]
    fn an_ignored_directory_is_only_entered_where_a_pattern_names_it() {
        let reach = |text: &str, path: &str, named: usize| {
            patterns(text).reach(&RepoPath::from(path), named)
        };
        // A directory that is not ignored may hold what fits at any depth.
        for text in [".env", "**/.env", "packages/*/.env", "packages/**/x", "/packages/"] {
            assert!(reach(text, "packages/app", 0), "{text}");
        }
        for text in ["/.env", "other/.env", "packages/.env", "!packages/app/x", "# packages"] {
            assert!(!reach(text, "packages/app", 0), "{text}");
        }
        // An ignored one has to be named.
        for text in ["node_modules/.cache/x", "/node_modules/", "/node_modules/**/x", "*/x"] {
            assert!(reach(text, "node_modules", 1), "{text}");
        }
        for text in [".env", "**/.env", "**", "/target/x", "*.local"] {
            assert!(!reach(text, "node_modules", 1), "{text}");
        }
        // Behind the name, two stars go as deep as they like; other words keep the walk narrow.
        assert!(reach("node_modules/**/x", "node_modules/a/b", 1));
        assert!(!reach("*/x", "node_modules/a", 1));
        assert!(!reach("node_modules/a/x", "node_modules/b", 1));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_said() {
        let read = Patterns::read(b".env\r\n\xff\xfe\n{a\n");
        assert_eq!(read.positive.len(), 1);
        let notes: Vec<&str> = read.notes.iter().map(String::as_str).collect();
        assert!(notes[0].starts_with(".worktreeinclude:2: ") && notes[0].ends_with("not UTF-8"));
        assert!(notes[1].starts_with(".worktreeinclude:3: ") && notes.len() == 2, "{notes:?}");
        assert_eq!(read.says(&RepoPath::from(".env"), false), Some(true));
    }

    #[test]
    fn values_that_look_like_credentials_are_known() {
        let of = |path: &str, text: &str| {
            let contents = text.as_bytes().to_vec();
            let mut found = secrets(&File { path: path.into(), mode: 0o600, contents });
            found.dedup();
            found
        };
        let env = "# API_TOKEN=not-this\nPORT=3000\nexport API_TOKEN = tok-1234 # mine\n\
                   DB_PASSWORD='p ss#word'\nDATABASE_URL=postgres://u:p@h/d?x=1\nEMPTY_SECRET=\n";
        assert_eq!(of(".env", env), ["tok-1234", "p ss#word", "postgres://u:p@h/d?x=1"]);
        let yaml = "user: ada\npassword: hunter22\n- token: \"a: b\"\nnote: the token = x\n";
        assert_eq!(of("config/local.yml", yaml), ["hunter22", "a: b"]);
        assert_eq!(of("a.json", "{\n  \"apiKey\": \"abc\\\"def\",\n}"), ["abc\"def", "abc\\\"def"]);
        assert_eq!(of(".npmrc", "//registry.npmjs.org/:_authToken=npm_12"), ["npm_12"]);
        let key = "PRIVATE_KEY=\"-----BEGIN\nabc\n-----END\"\nTOKEN=after\n";
        assert_eq!(of(".env", key), ["-----BEGIN\nabc\n-----END", "after"]);
        assert_eq!(of(".env", "A_KEY=\"never closed\nPORT=1\n"), ["never closed"]);
        assert_eq!(of("config/master.key", "0123456789abcdef\n"), ["0123456789abcdef\n"]);
    }

    #[test]
    fn what_is_brought_along_is_printed_without_its_contents() {
        let file = File { path: ".env".into(), mode: 0o600, contents: b"TOKEN=abc".to_vec() };
        let included = Included { files: vec![file], ..Included::default() };
        assert_eq!(format!("{included:?}"), "Included { files: [\".env\"], notes: [], .. }");
    }
}
