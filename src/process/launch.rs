//! Starts the program itself, at once or through the stage that puts the walls up around it.
//!
//! Never waits for its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::{fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    path::Path,
    process::Command,
    sync::mpsc::{self, Sender},
    thread,
};

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior, setpgid};

use crate::sandbox::{self, READY, Refusal, Refused, Walls};
#[cfg(target_os = "linux")]
use crate::{
    sandbox::Entry,
    sys::{self, Forked},
};

use super::wire::{Failed, Spec};

/// A program that was started, or is about to be.
pub(super) struct Launched {
    /// Its process id.
    pub(super) leader: i32,
    /// The writing end of the program's standard input.
    pub(super) stdin: PipeWriter,
    /// What it says, and the files for that: standard output and standard error.
    pub(super) outputs: [(PipeReader, File); 2],
    /// With walls: the way to the stage that puts them up.
    pub(super) stage: Option<Stage>,
}

/// The second stage, before it has become the program.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is none"))]
pub(super) struct Stage(UnixStream);

/// The program's ends of its pipes.
struct Ends {
    stdin: PipeReader,
    stdout: PipeWriter,
    stderr: PipeWriter,
}

/// Starts the program, or with walls the second stage, which takes `priority`. With walls there must be no
/// second thread.
pub(super) fn launch(spec: &Spec, priority: i32) -> Result<Launched, (Failed, String)> {
    let other = |error: io::Error| (Failed::Other, error.to_string());
    let files = (open(&spec.stdout)?, open(&spec.stderr)?);
    let (reader, stdin) = io::pipe().map_err(other)?;
    let (out, stdout) = io::pipe().map_err(other)?;
    let (err, stderr) = io::pipe().map_err(other)?;
    let ends = Ends { stdin: reader, stdout, stderr };
    let (leader, stage) = match &spec.walls {
        Some(walls) => start_behind(spec, walls, priority, ends)?,
        None => (start_program(spec, &spec.argv, ends)?, None),
    };
    Ok(Launched { leader, stdin, outputs: [(out, files.0), (err, files.1)], stage })
}

fn open(path: &Path) -> Result<File, (Failed, String)> {
    // Private; and never through a link that somebody put there.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|error| (Failed::Output, format!("{}: {error}", path.display())))
}

fn start_program(spec: &Spec, argv: &[String], ends: Ends) -> Result<i32, (Failed, String)> {
    let [program, arguments @ ..] = argv else {
        return Err((Failed::NotFound, "no program given".into()));
    };
    if !spec.dir.is_dir() {
        return Err((Failed::NoDirectory, spec.dir.display().to_string()));
    }
    let child = Command::new(program)
        .args(arguments)
        .current_dir(&spec.dir)
        .env_clear()
        .envs(&spec.environment)
        .stdin(ends.stdin)
        .stdout(ends.stdout)
        .stderr(ends.stderr)
        // So that a stop reaches a shell and what it waits for, as Ctrl-C does, and not us.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            let refused = Refused::from_exec(program, &spec.dir, &error);
            (refused.kind.into(), refused.message)
        })?;
    i32::try_from(child.id()).map_err(|error| (Failed::Other, error.to_string()))
}

/// A copy of this process puts the walls up around itself and becomes the program.
#[cfg(target_os = "linux")]
fn start_behind(
    spec: &Spec,
    walls: &Walls,
    priority: i32,
    ends: Ends,
) -> Result<(i32, Option<Stage>), (Failed, String)> {
    let other = |error: io::Error| (Failed::Other, error.to_string());
    let (socket, theirs) = UnixStream::pair().map_err(other)?;
    match sys::fork().map_err(other)? {
        Forked::Parent(pid) => {
            // In both: whoever is first, a signal to the group finds it.
            let group = Pid::from_raw(pid);
            let _ = setpgid(group, group);
            Ok((pid, Some(Stage(socket))))
        }
        Forked::Child => {
            drop(socket);
            let entry = Entry {
                walls: walls.clone(),
                priority,
                argv: spec.argv.clone(),
                dir: spec.dir.clone(),
                environment: spec.environment.clone(),
            };
            sandbox::enter(entry, theirs, || {
                // Over our own: the runner waits for the end of these, and nobody else is to speak there.
                rustix::stdio::dup2_stdin(&ends.stdin)?;
                rustix::stdio::dup2_stdout(&ends.stdout)?;
                rustix::stdio::dup2_stderr(&ends.stderr)?;
                setpgid(None, None)?;
                // Otherwise its files below `/proc` are root's, for itself too.
                set_dumpable_behavior(DumpableBehavior::Dumpable)?;
                Ok(())
            })
        }
    }
}

/// The walls of macOS are the program's: it is started by `sandbox-exec`.
#[cfg(not(target_os = "linux"))]
fn start_behind(
    spec: &Spec,
    walls: &Walls,
    _priority: i32,
    ends: Ends,
) -> Result<(i32, Option<Stage>), (Failed, String)> {
    if walls.tier != sandbox::Tier::Mac {
        let system = std::env::consts::OS;
        let problem = format!("tier {} is not for {system}", walls.tier.name());
        return Err((Failed::Walls, problem));
    }
    let argv = sandbox::macos::command(walls, &spec.argv);
    start_program(spec, &argv, ends).map(|leader| (leader, None))
}

impl Stage {
    /// Waits until it has become the program.
    pub(super) fn become_program(mut self) -> Result<(), Refused> {
        let mut words = Vec::new();
        let heard = self.0.read_to_end(&mut words);
        match (heard, &words[..]) {
            (Ok(_), [READY]) => Ok(()),
            (Ok(_), [READY, refused @ ..] | refused @ [_, ..]) => {
                Err(serde_json::from_slice(refused).unwrap_or_else(|_| silent()))
            }
            (Ok(_), []) | (Err(_), _) => Err(silent()),
        }
    }
}

fn silent() -> Refused {
    let message = "the stage that puts them up ended without a word".to_owned();
    Refused { kind: Refusal::Walls, message }
}

/// Writes to the program in a thread of its own: one that does not read must not hold up a stop.
pub(super) fn feed(mut stdin: PipeWriter) -> Sender<Vec<u8>> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for bytes in receiver {
            if stdin.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    sender
}
