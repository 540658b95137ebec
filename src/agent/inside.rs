//! What an agent adds to the walls that the runner drew: the files of its own program, its HOME, and where its
//! temporary files are.
//!
//! Never takes a wall down: what a directory holds besides a program stays outside where it could be a
//! person's home.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::Job;
use crate::{
    process::{Environment, find_program},
    sandbox::{Tier, Walls},
};

/// Where temporary files are in tier T2: a directory of its own under everybody's name.
const TMP: &str = "/tmp";
/// Names of directories that hold programs and nothing else.
const PROGRAMS: [&str; 3] = ["bin", "sbin", "libexec"];
/// The kernel reads no more of a script's first line.
const FIRST_LINE: u64 = 256;

impl Job {
    /// Where the program puts temporary files.
    pub(super) fn tmp(&self) -> PathBuf {
        match &self.walls {
            Some(walls) if walls.tier == Tier::T2 => TMP.into(),
            Some(_) | None => self.home.join("t"),
        }
    }

    /// The walls with what every agent needs: its HOME, and its program.
    pub(super) fn walls_around(&self, program: &str) -> Option<Walls> {
        let mut walls = self.walls.clone()?;
        walls.write.push(self.user_home());
        walls.read.extend(self.files_of(program));
        Some(walls)
    }

    /// What a program has to read of itself: where it is found, the directory where it really lies, and the
    /// interpreter of a script. Nothing for a program in the workspace, or for one that is not there.
    fn files_of(&self, program: &str) -> Vec<PathBuf> {
        let found = |name: &str| find(name, &self.environment);
        let Some((named, real)) = found(program) else { return Vec::new() };
        let interpreter = interpreter(&real).and_then(|name| found(&name));
        let home = self.home_of(&real);
        let interpreter = interpreter.into_iter().flat_map(|(named, real)| [named, real]);
        [named, home].into_iter().chain(interpreter).collect()
    }

    /// The directory that belongs to a program; the program alone where it lies among other things.
    fn home_of(&self, real: &Path) -> PathBuf {
        // A package finds its parts, and the packages that it needs, in the outermost of these.
        let packages = real.ancestors().filter(|dir| dir.ends_with("node_modules")).last();
        // Elsewhere a directory may be a checkout, or hold settings: only one for programs is a program's own.
        let own = real.parent().filter(|dir| PROGRAMS.iter().any(|name| dir.ends_with(name)));
        let directory = packages.or(own).filter(|dir| !self.is_shared(dir));
        directory.unwrap_or(real).to_owned()
    }

    /// True for a directory that holds more than a program: a person's home, or one where our own files lie.
    pub(super) fn is_shared(&self, directory: &Path) -> bool {
        let homes = ["/home", "/Users"].map(|homes| Some(Path::new(homes)));
        directory == Path::new("/root")
            || directory == Path::new(TMP)
            || directory == Path::new("/var/tmp")
            || homes.contains(&directory.parent())
            || homes.contains(&Some(directory))
            || [&self.home, &self.run_dir, &self.workspace]
                .iter()
                .any(|ours| ours.starts_with(directory))
    }
}

/// Where a program is found, and where it really lies.
fn find(name: &str, environment: &Environment) -> Option<(PathBuf, PathBuf)> {
    let named = find_program(name, environment).filter(|path| path.is_absolute())?;
    let real = named.canonicalize().ok()?;
    Some((named, real))
}

/// The program that runs a script: what its first line names.
fn interpreter(script: &Path) -> Option<String> {
    let mut first = Vec::new();
    File::open(script).ok()?.take(FIRST_LINE).read_to_end(&mut first).ok()?;
    let line = String::from_utf8_lossy(first.strip_prefix(b"#!")?).into_owned();
    let mut words = line.lines().next()?.split_whitespace();
    let program = words.next()?;
    if Path::new(program).file_name()? != "env" {
        return Some(program.to_owned());
    }
    // `env -S node --flag`, `env A=b node`.
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use super::*;
    use crate::{
        agent::{Activity, Purpose},
        budget::Usd,
        ids::{AttemptId, TaskId},
    };

    fn job(root: &Path) -> Job {
        let mut environment = Environment::empty();
        environment.set("PATH", format!("{}:relative:/usr/bin:/bin", root.join("bin").display()));
        Job {
            purpose: Purpose::Edit,
            attempt: AttemptId { task: TaskId::new("t").unwrap(), number: 1 },
            workspace: root.join("state/work"),
            run_dir: root.join("state/run"),
            home: root.join("state/home"),
            talk: None,
            prompt: String::new(),
            system: String::new(),
            brief: String::new(),
            model: None,
            time_limit: Duration::ZERO,
            stall_limit: Duration::ZERO,
            budget: Usd::ZERO,
            tokens: None,
            turns: None,
            activity: Activity::new(),
            environment,
            walls: None,
        }
    }

    /// A directory with a script at each of these places.
    fn scripts(places: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (place, text) in places {
            let path = root.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir_all(root.join("bin")).unwrap();
        (dir, root)
    }

    #[test]
    fn a_package_is_read_with_all_that_it_needs_and_its_interpreter() {
        let (_dir, root) = scripts(&[
            ("lib/node_modules/@a/tool/node_modules/b/cli.js", "#!/usr/bin/env -S own-node -x\n"),
            ("bin/own-node", ""),
        ]);
        let place = "lib/node_modules/@a/tool/node_modules/b/cli.js";
        std::os::unix::fs::symlink(root.join(place), root.join("bin/tool")).unwrap();
        let files = job(&root).files_of("tool");
        let node = root.join("bin/own-node");
        let expected = [root.join("bin/tool"), root.join("lib/node_modules"), node.clone(), node];
        assert_eq!(files, expected);
    }

    #[test]
    fn a_program_is_read_with_its_directory_unless_that_holds_more() {
        let (_dir, root) = scripts(&[
            ("opt/agent/bin/run", "#!/bin/sh\n"),
            ("checkout/run", "#!/bin/sh\n"),
            ("mine", ""),
        ]);
        let job = job(&root);
        let files = |name: &str| job.files_of(&root.join(name).display().to_string());
        assert_eq!(files("opt/agent/bin/run")[1], root.join("opt/agent/bin"));
        assert_eq!(files("checkout/run")[1], root.join("checkout/run"));
        // Our own files lie below the directory of this one.
        assert_eq!(files("mine")[1], root.join("mine"));
        for home in ["/home/ann", "/Users/ann", "/root", "/tmp", "/home", "/"] {
            assert!(job.is_shared(Path::new(home)), "{home}");
        }
        for own in ["/home/ann/agents", "/opt/agent", "/usr/bin"] {
            assert!(!job.is_shared(Path::new(own)), "{own}");
        }
        for missing in ["no-such-program", "./run", ""] {
            assert!(job.files_of(missing).is_empty(), "{missing}");
        }
    }
}
