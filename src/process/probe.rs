//! Short programs that we trust: `git`, `claude --version`. Plain and blocking.
//!
//! Never used for anything that an agent or a repository could have written.

use std::{
    collections::BTreeSet,
    io::{PipeReader, Read},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use std::os::unix::process::CommandExt;

use rustix::process::Signal;

use super::{Ended, Environment, Error, children, tree};

/// Programs of this file that run.
static UNDER_WAY: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn under_way() -> MutexGuard<'static, BTreeSet<i32>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every program of this kind that runs: the night is to stop at once, and the network may let them hang.
pub fn end_probes() {
    for pid in under_way().iter() {
        tree::signal_group(*pid, Signal::KILL);
    }
}

/// Bytes kept of each stream; the rest is read and dropped.
const CAPTURE: usize = 1024 * 1024;
/// How long to wait for the end of the output after the program itself ended: git's credential daemon
/// and ssh's shared connections keep it open.
const LINGER: Duration = Duration::from_millis(500);

/// What a trusted program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output, at most 1 MiB.
    pub stdout: Vec<u8>,
    /// Its standard error, at most 1 MiB.
    pub stderr: Vec<u8>,
}

impl Output {
    /// True when it ended with code 0.
    pub fn success(&self) -> bool {
        self.ended == Ended::Code(0)
    }

    /// Standard output as text, for people and parsers that expect text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Starts a trusted program and leaves it to itself: it hears nothing of our terminal, and goes on when we end.
pub fn start_and_leave(argv: &[&str], environment: &Environment) -> Result<(), Error> {
    let [program, arguments @ ..] = argv else {
        return Err(Error::NotFound { program: String::new() });
    };
    let path = super::find_program(program, environment)
        .ok_or_else(|| Error::NotFound { program: (*program).to_owned() })?;
    let expression = duct::cmd(path, arguments)
        .full_env(environment.pairs())
        .stdin_null()
        .stdout_null()
        .stderr_null()
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
    let not_started = |problem: std::io::Error| Error::NotStarted {
        program: (*program).to_owned(),
        message: problem.to_string(),
    };
    expression.start().map(drop).map_err(not_started)
}

/// Runs a trusted program with nothing on its standard input. At the time limit its process group is
/// killed.
pub fn probe(
    argv: &[&str],
    environment: &Environment,
    dir: &Path,
    time_limit: Duration,
) -> Result<Output, Error> {
    let [program, arguments @ ..] = argv else {
        return Err(Error::NotFound { program: String::new() });
    };
    let name = || (*program).to_owned();
    if !dir.is_dir() {
        return Err(Error::NoDirectory { dir: dir.into() });
    }
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Error::NotFound { program: name() }
        } else if error.kind() == std::io::ErrorKind::PermissionDenied {
            Error::NotExecutable { program: name(), message: error.to_string() }
        } else {
            Error::NotStarted { program: name(), message: error.to_string() }
        }
    };
    let (out, out_writer) = std::io::pipe().map_err(failed)?;
    let (err, err_writer) = std::io::pipe().map_err(failed)?;
    let expression = duct::cmd(*program, arguments)
        .full_env(environment.pairs())
        .dir(dir)
        .stdin_null()
        .stdout_file(out_writer)
        .stderr_file(err_writer)
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
    let (handle, pid) = {
        let mut children = children();
        let handle = expression.start().map_err(failed)?;
        let pid = handle.pids().first().and_then(|pid| i32::try_from(*pid).ok()).unwrap_or(0);
        children.insert(pid);
        (handle, pid)
    };
    under_way().insert(pid);
    // The expression holds the writing ends: with it open, the output would never end.
    drop(expression);
    let (out, err) = (Capture::of(out), Capture::of(err));
    let ended = match handle.wait_timeout(time_limit) {
        Ok(Some(output)) => {
            use std::os::unix::process::ExitStatusExt;
            let status = output.status;
            let signal = || Ended::Signal(status.signal().unwrap_or(0));
            Ok(status.code().map_or_else(signal, Ended::Code))
        }
        Ok(None) => {
            tree::signal_group(pid, Signal::KILL);
            let _ = handle.wait();
            Err(Error::TimedOut { program: name(), seconds: time_limit.as_secs() })
        }
        Err(error) => Err(failed(error)),
    };
    under_way().remove(&pid);
    children().remove(&pid);
    let until = Instant::now() + LINGER;
    Ok(Output { ended: ended?, stdout: out.take(until), stderr: err.take(until) })
}

struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Capture {
    fn of(mut pipe: PipeReader) -> Capture {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                let room = CAPTURE.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..count.min(room)]);
            }
        });
        Capture { kept, thread }
    }

    fn take(self, until: Instant) -> Vec<u8> {
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Output, Error> {
        let mut environment = Environment::empty();
        environment.set("PATH", "/usr/local/bin:/usr/bin:/bin").set("WORD", "yes");
        probe(&["sh", "-c", script], &environment, Path::new("/"), limit)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_probe_gives_back_both_streams_and_the_code() {
        let output = sh("echo $WORD$HOME; echo no >&2; exit 3", LONG).unwrap();
        assert_eq!(output.ended, Ended::Code(3));
        assert_eq!((output.text().as_str(), &output.stderr[..]), ("yes\n", &b"no\n"[..]));
    }

    #[test]
    fn a_probe_that_hangs_is_killed_with_its_group() {
        let error = sh("sleep 60 & wait", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_daemon_that_holds_the_output_does_not_hold_us() {
        let started = Instant::now();
        assert_eq!(sh("sleep 3 & echo done", LONG).unwrap().text(), "done\n");
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn endless_output_is_cut_and_does_not_fill_the_memory() {
        let output = sh("head -c 9000000 /dev/zero", LONG).unwrap();
        assert_eq!(output.stdout.len(), CAPTURE);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error =
            probe(&["no-such-program"], &Environment::empty(), Path::new("/"), LONG).unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program` was not found");
    }
}
