//! Starts the program itself, at once or through the stage that puts the walls up around it.
//!
//! Never waits for its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeWriter, Read, Write},
    net::Shutdown,
    os::unix::{fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Sender},
    thread,
};

use crate::sandbox::{self, ENTER, Entry, READY, Refusal, Refused, Walls};

use super::wire::{Failed, Spec};

/// A program that was started, or is about to be.
pub(super) struct Launched {
    pub(super) child: Child,
    /// The writing end of the program's standard input.
    pub(super) stdin: PipeWriter,
    /// The files for its output.
    pub(super) stdout: File,
    pub(super) stderr: File,
    /// With walls: the way to the stage that puts them up.
    pub(super) stage: Option<Stage>,
}

/// The second stage, before it has become the program.
pub(super) struct Stage {
    socket: UnixStream,
    stdin: io::PipeReader,
    entry: Vec<u8>,
}

/// Our own binary, also when the file has been replaced meanwhile.
pub(super) fn ourselves() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Starts the program, or with walls the second stage, which takes `priority`.
pub(super) fn launch(spec: &Spec, priority: i32) -> Result<Launched, (Failed, String)> {
    let other = |error: io::Error| (Failed::Other, error.to_string());
    let (stdout, stderr) = (open(&spec.stdout)?, open(&spec.stderr)?);
    let (reader, stdin) = io::pipe().map_err(other)?;
    let (child, stage) = match &spec.walls {
        Some(walls) => {
            let (child, stage) = start_stage(spec, walls, priority, reader).map_err(other)?;
            (child, Some(stage))
        }
        None => (start_program(spec, reader)?, None),
    };
    Ok(Launched { child, stdin, stdout, stderr, stage })
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

fn start_program(spec: &Spec, stdin: io::PipeReader) -> Result<Child, (Failed, String)> {
    let [program, arguments @ ..] = &spec.argv[..] else {
        return Err((Failed::NotFound, "no program given".into()));
    };
    if !spec.dir.is_dir() {
        return Err((Failed::NoDirectory, spec.dir.display().to_string()));
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&spec.dir).env_clear().envs(&spec.environment);
    spawn(command, stdin).map_err(|error| {
        let refused = Refused::from_exec(program, &spec.dir, &error);
        (refused.kind.into(), refused.message)
    })
}

fn start_stage(
    spec: &Spec,
    walls: &Walls,
    priority: i32,
    stdin: io::PipeReader,
) -> io::Result<(Child, Stage)> {
    let entry = Entry {
        walls: walls.clone(),
        priority,
        argv: spec.argv.clone(),
        dir: spec.dir.clone(),
        environment: spec.environment.clone(),
    };
    let entry = serde_json::to_vec(&entry)?;
    let (socket, theirs) = UnixStream::pair()?;
    let mut command = Command::new(ourselves()?);
    command.arg(ENTER).current_dir("/").env_clear();
    let child = spawn(command, std::os::fd::OwnedFd::from(theirs))?;
    Ok((child, Stage { socket, stdin, entry }))
}

fn spawn(mut command: Command, stdin: impl Into<Stdio>) -> io::Result<Child> {
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // So that a stop reaches a shell and what it waits for, as Ctrl-C does, and not us.
        .process_group(0)
        .spawn()
}

impl Stage {
    /// Tells it what to become, and waits until it has.
    pub(super) fn become_program(mut self) -> Result<(), Refused> {
        // One that is gone already is noticed by its silence.
        let _ = sandbox::pass(&self.socket, &self.stdin)
            .and_then(|()| self.socket.write_all(&self.entry))
            .and_then(|()| self.socket.shutdown(Shutdown::Write));
        drop(self.stdin);
        let mut words = Vec::new();
        let heard = self.socket.read_to_end(&mut words);
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
