//! What a workspace brings along from a checkout, and what it never takes.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use nightshift::{
    git::{Vault, user::UserRepository},
    ids::TreeId,
    runner::{
        include::{self, Included},
        refused::Refused,
    },
    workspace::{Kind, Slot, Store},
};

const IGNORED: &str = ".env*\n/config/local.yml\nnode_modules/\n/target\n/secret/\n*.local\n";

struct Scene {
    root: tempfile::TempDir,
    vault: Vault,
    base: TreeId,
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@localhost"])
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Scene {
    /// A base with this `.worktreeinclude`, and a checkout with what a person has beside it.
    fn new(patterns: &str) -> Scene {
        Scene::with(patterns, |_| {})
    }

    fn with(patterns: &str, more: impl FnOnce(&Path)) -> Scene {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("repo");
        for (path, text) in [
            (".gitignore", IGNORED),
            (".worktreeinclude", patterns),
            ("src/a.rs", "a\n"),
            ("config/all.yml", "all\n"),
            ("packages/app/main.js", "main\n"),
        ] {
            write(&repo.join(path), text);
        }
        git(&repo, &["init", "-q", "-b", "main"]);
        more(&repo);
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "-q", "-m", "base"]);
        for (path, text) in [
            (".env.local", "API_TOKEN=tok-12345\nPORT=1\n"),
            ("packages/app/.env", "PORT=2\n"),
            ("config/local.yml", "password: hunter22\n"),
            ("node_modules/pkg/.env", "PORT=3\n"),
            ("secret/deep/one.key", "k1"),
            ("secret/two.txt", "two"),
            ("loose.txt", "nobody ignores it\n"),
        ] {
            write(&repo.join(path), text);
        }
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
        let head = user.resolve("refs/heads/main").unwrap().unwrap();
        let base = vault.tree_of(&head).unwrap();
        Scene { root, vault, base }
    }

    fn repo(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    fn find(&self) -> Result<Included, Refused> {
        include::find(&self.vault, &self.base, Some(&self.repo()))
    }

    fn found(&self) -> Included {
        self.find().unwrap()
    }
}

fn paths(included: &Included) -> Vec<String> {
    included.files.iter().map(|file| file.path.to_string()).collect()
}

#[track_caller]
fn takes(patterns: &str, expected: &[&str]) -> Vec<String> {
    let included = Scene::new(patterns).found();
    assert_eq!(paths(&included), expected, "{patterns}: {:?}", included.notes);
    included.notes
}

#[track_caller]
fn says(notes: &[String], words: &str) {
    assert!(notes.iter().any(|note| note.contains(words)), "no `{words}` in {notes:?}");
}

#[test]
fn ignored_files_that_the_base_names_come_along() {
    let scene = Scene::new("# mine\n.env*\n/config/local.yml\n");
    fs::set_permissions(scene.repo().join(".env.local"), fs::Permissions::from_mode(0o4400))
        .unwrap();
    let included = scene.found();
    assert_eq!(paths(&included), [".env.local", "config/local.yml", "packages/app/.env"]);
    assert_eq!(included.files[0].contents, b"API_TOKEN=tok-12345\nPORT=1\n");
    assert_eq!(included.files[0].mode, 0o600);
    assert_eq!(included.secrets, ["hunter22", "tok-12345"]);
    assert_eq!(included.notes, [""; 0]);
    // A file that fits at any depth is not searched for where thousands of packages lie.
    assert!(!paths(&included).contains(&"node_modules/pkg/.env".to_owned()));
}

#[test]
fn they_lie_in_a_workspace_as_files_that_no_commit_takes() {
    let scene = Scene::new(".env*\n/config/\n/secret/\n");
    let included = scene.found();
    let store = Store::new(&scene.vault, &scene.root.path().join("work"));
    let workspace = store.lay_out(Kind::Pool, &Slot::gate(), &scene.base, None, 1_000).unwrap();
    included.write_into(workspace.own()).unwrap();
    included.write_into(workspace.own()).unwrap();
    let at = |path: &str| workspace.directory().join(path);
    assert_eq!(fs::read_to_string(at("config/local.yml")).unwrap(), "password: hunter22\n");
    assert_eq!(fs::read_to_string(at("config/all.yml")).unwrap(), "all\n");
    assert_eq!(fs::read_to_string(at("secret/deep/one.key")).unwrap(), "k1");
    let mode = fs::metadata(at(".env.local")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, included.files[0].mode);
    let changes = workspace.changes().unwrap();
    assert!(changes.edits.is_empty() && changes.odd.is_empty(), "{changes:?}");
}

#[test]
fn nothing_is_written_behind_a_link() {
    let scene = Scene::new(".env*\n/config/\n");
    let (place, outside) = (scene.root.path().join("place"), scene.root.path().join("outside"));
    fs::create_dir(&place).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, place.join("config")).unwrap();
    // In the place of a file, the link itself goes.
    symlink(outside.join("file"), place.join(".env.local")).unwrap();
    let problem = scene.found().write_into(&place).unwrap_err().to_string();
    assert!(problem.contains("config") && problem.contains("something else"), "{problem}");
    assert!(place.join(".env.local").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn without_a_pattern_nothing_is_looked_at() {
    for patterns in ["", "# .env\n", "!.env*\n", "\n \n"] {
        assert_eq!(takes(patterns, &[]), [""; 0], "{patterns:?}");
    }
    let scene = Scene::new("# nothing\n");
    // Not even whether the checkout is there.
    let included = include::find(&scene.vault, &scene.base, Some(Path::new("/nowhere"))).unwrap();
    assert_eq!(included, Included::default());
}

#[test]
fn the_bases_own_word_counts_and_not_the_checkouts() {
    let scene = Scene::new("/config/local.yml\n");
    write(&scene.repo().join(".worktreeinclude"), "*\n");
    write(&scene.repo().join(".gitignore"), "*\n");
    write(&scene.repo().join(".git/info/exclude"), "*\n");
    assert_eq!(paths(&scene.found()), ["config/local.yml"]);
}

#[test]
fn negations_take_away_also_below_a_directory_that_is_taken() {
    takes(".env*\n!packages/app/.env\n", &[".env.local"]);
    takes("/secret/\n", &["secret/deep/one.key", "secret/two.txt"]);
    takes("/secret/\n!*.key\n", &["secret/two.txt"]);
    takes("/secret/\n!/secret/deep/\n", &["secret/two.txt"]);
    takes("/secret/\n!/secret/\n", &[]);
    takes("!/secret/\n/secret/**/*.key\n", &["secret/deep/one.key"]);
    // As in .gitignore, what is said about a file outweighs what is said about a directory above it.
    takes(".env*\n!packages/\n", &[".env.local", "packages/app/.env"]);
}

#[test]
fn an_ignored_directory_is_entered_when_it_is_named() {
    takes("secret/*/one.key\n", &["secret/deep/one.key"]);
    takes("node_modules/pkg/.env\n", &["node_modules/pkg/.env"]);
    takes("**/one.key\n*.key\n", &[]);
}

#[cfg(target_os = "linux")]
#[test]
fn packages_are_not_walked_for_a_file_of_any_depth() {
    let scene = Scene::new(".env*\nconfig/local.yml\n");
    // Opening a directory to list it sets its time of access back from the far past.
    let looked = |path: &str| {
        let path = scene.repo().join(path);
        let past = fs::FileTimes::new().set_accessed(std::time::SystemTime::UNIX_EPOCH);
        fs::File::open(&path).unwrap().set_times(past).unwrap();
        move || fs::metadata(&path).unwrap().accessed().unwrap() > std::time::UNIX_EPOCH
    };
    let (packages, app) = (looked("node_modules"), looked("packages/app"));
    assert_eq!(scene.found().files.len(), 3);
    if !app() {
        let _ = super::support::kernel::missing("this file system keeps no times of access");
        return;
    }
    assert!(!packages());
}

#[test]
fn what_is_not_ignored_would_enter_commits_and_stays_out() {
    let notes = takes("*.txt\n/src/\n/config/\n", &["config/local.yml"]);
    assert_eq!(notes.len(), 1, "tracked files are there anyway: {notes:?}");
    says(&notes, "`loose.txt` is not ignored by the base's .gitignore");
}

#[test]
fn a_star_takes_everything_that_may_be_taken() {
    let all = [
        ".env.local",
        "config/local.yml",
        "node_modules/pkg/.env",
        "packages/app/.env",
        "secret/deep/one.key",
        "secret/two.txt",
    ];
    let notes = takes("*\n", &all);
    says(&notes, "`.git` belongs to git");
    says(&notes, "`loose.txt`");
    takes("**\n", &all);
}

#[test]
fn what_belongs_to_git_is_never_taken() {
    for patterns in [".git/config\n", "/.git/\n", ".git\n", "**/.git/**\n.git/**\n", ".g?t/*\n"] {
        says(&takes(patterns, &[]), "`.git` belongs to git");
    }
    let scene = Scene::new("/secret/\n/secret/.GIT/config\n");
    write(&scene.repo().join("secret/.GIT/config"), "x");
    write(&scene.repo().join("secret/nested/.git/config"), "x");
    let included = scene.found();
    assert_eq!(paths(&included), ["secret/deep/one.key", "secret/two.txt"]);
    says(&included.notes, "`secret/.GIT` belongs to git; `secret/nested/.git` belongs to git");
}

#[test]
fn links_pipes_and_sockets_are_seen_and_left_alone() {
    let scene = Scene::new(".env*\n/secret/\n/target/\n/config/local.yml\n");
    let repo = scene.repo();
    let outside = scene.root.path().join("outside");
    write(&outside.join("id_rsa"), "private");
    symlink(outside.join("id_rsa"), repo.join(".env.link")).unwrap();
    symlink("nowhere", repo.join(".env.dangling")).unwrap();
    symlink(&outside, repo.join("secret/all")).unwrap();
    symlink(&outside, repo.join("target")).unwrap();
    let made = Command::new("mkfifo").arg(repo.join(".env.pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(repo.join(".env.socket")).unwrap();
    // A directory of the way is a link by now.
    fs::rename(repo.join("config"), outside.join("config")).unwrap();
    symlink(outside.join("config"), repo.join("config")).unwrap();
    let included = scene.found();
    let expected = [".env.local", "packages/app/.env", "secret/deep/one.key", "secret/two.txt"];
    assert_eq!(paths(&included), expected);
    for words in [
        "`.env.link` is a symbolic link",
        "`.env.dangling` is a symbolic link",
        "`secret/all` is a symbolic link",
        "`.env.pipe` is not a file",
        "`.env.socket` is not a file",
    ] {
        says(&included.notes, words);
    }
}

#[test]
fn a_place_that_the_base_has_otherwise_is_not_filled() {
    let scene = Scene::with("/secret/\n/vendor/\n/plain/x\n", |repo| {
        let other = repo.with_file_name("other");
        write(&other.join("a"), "a");
        git(&other, &["init", "-q", "-b", "main"]);
        git(&other, &["add", "-A"]);
        git(&other, &["commit", "-q", "-m", "other"]);
        git(repo, &["submodule", "--quiet", "add", "../other", "vendor/other"]);
        write(&repo.join("plain"), "a file\n");
    });
    write(&scene.repo().join("vendor/other/.env"), "PORT=4\n");
    fs::remove_file(scene.repo().join("plain")).unwrap();
    write(&scene.repo().join("plain/x"), "x");
    let included = scene.found();
    assert_eq!(paths(&included), ["secret/deep/one.key", "secret/two.txt"]);
    says(&included.notes, "`plain` is a file, a link or a submodule in the base");
    says(&included.notes, "`vendor/other` is a file, a link or a submodule in the base");
}

#[cfg(target_os = "linux")]
#[test]
fn names_are_bytes() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let scene = Scene::new("/secret/\n");
    let odd = OsStr::from_bytes(b"bad-\xff\nname");
    fs::write(scene.repo().join("secret").join(odd), "odd").unwrap();
    let included = scene.found();
    assert_eq!(included.files[0].path.as_bytes(), b"secret/bad-\xff\nname");
    let place = scene.root.path().join("place");
    fs::create_dir(&place).unwrap();
    included.write_into(&place).unwrap();
    assert_eq!(fs::read_to_string(place.join("secret").join(odd)).unwrap(), "odd");
}

#[test]
fn a_bare_repository_brings_nothing() {
    let scene = Scene::new(".env*\n");
    let included = include::find(&scene.vault, &scene.base, None).unwrap();
    assert!(included.files.is_empty());
    says(&included.notes, "bare");
    let none = Scene::new("");
    let included = include::find(&none.vault, &none.base, None).unwrap();
    assert_eq!(included, Included::default(), "nobody asked for anything");
}

#[test]
fn a_missing_checkout_is_said() {
    let scene = Scene::new(".env*\n");
    let gone = scene.root.path().join("gone");
    let refused = include::find(&scene.vault, &scene.base, Some(&gone)).unwrap_err();
    assert!(refused.message.contains("gone"), "{refused}");
}

#[test]
fn too_much_is_refused_with_the_file_and_the_limit() {
    let refused = |make: &dyn Fn(&Path)| {
        let scene = Scene::new("/secret/\n");
        fs::remove_dir_all(scene.repo().join("secret")).unwrap();
        fs::create_dir(scene.repo().join("secret")).unwrap();
        make(&scene.repo().join("secret"));
        scene.find().map(|found| found.files.len()).map_err(|refused| refused.message)
    };
    let sized = |path: PathBuf, bytes: u64| {
        fs::File::create(path).unwrap().set_len(bytes).unwrap();
    };
    let largest = |secret: &Path| sized(secret.join("a"), include::LARGEST);
    assert_eq!(refused(&largest), Ok(1));
    let larger = |secret: &Path| sized(secret.join("a"), include::LARGEST + 1);
    let message = refused(&larger).unwrap_err();
    assert!(message.contains("`secret/a`") && message.contains("10 MiB"), "{message}");

    let many = |count: usize, bytes: u64| {
        move |secret: &Path| {
            for number in 0..count {
                sized(secret.join(format!("{number:04}")), bytes);
            }
        }
    };
    assert_eq!(refused(&many(include::MOST, 1)), Ok(include::MOST));
    let message = refused(&many(include::MOST + 1, 1)).unwrap_err();
    assert!(message.contains("`secret/2000`") && message.contains("2,000"), "{message}");
    let message = refused(&many(11, include::LARGEST)).unwrap_err();
    assert!(message.contains("`secret/0010`") && message.contains("100 MiB"), "{message}");
}

#[test]
fn the_hash_knows_path_mode_and_contents() {
    let scene = Scene::new(".env*\n");
    let first = scene.found().hash();
    assert_eq!(first, scene.found().hash());
    assert_eq!(first.len(), 64);
    let env = scene.repo().join(".env.local");
    let mut seen = vec![first, Scene::new("").found().hash()];
    let mut differs = |what: &str| {
        let hash = scene.found().hash();
        assert!(!seen.contains(&hash), "{what}");
        seen.push(hash);
    };
    fs::set_permissions(&env, fs::Permissions::from_mode(0o700)).unwrap();
    differs("mode");
    fs::write(&env, "PORT=5\n").unwrap();
    differs("contents");
    fs::rename(&env, scene.repo().join(".env.other")).unwrap();
    differs("path");
    fs::write(&env, "").unwrap();
    differs("one more");
}

#[test]
fn many_reasons_of_one_kind_are_one_note() {
    let scene = Scene::new("*.txt\n");
    for number in 0..20 {
        fs::write(scene.repo().join(format!("{number:02}.txt")), "x").unwrap();
    }
    let notes = scene.found().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    says(&notes, "`04.txt`");
    says(&notes, "16 more");
    assert!(!notes[0].contains("`05.txt`"));
}
