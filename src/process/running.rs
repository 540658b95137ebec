//! The runner's end of a supervisor: a program that runs, and what can be asked of it.
//!
//! Never touches the program itself: it asks the supervisor, and ends the tree only when that is lost.

use std::{
    collections::BTreeSet,
    fmt,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::Path,
    sync::{atomic::Ordering, mpsc as blocking},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::sandbox::passed;

use super::{
    Breach, Ended, Error, Exit, MARKER, PATIENCE, REAPER, SUPERVISE, children,
    tree::{self, Process},
    wire::{Failed, Frame, Status},
};

/// What was ended when a program was frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Processes that ran beside the program and were killed.
    pub survivors: u32,
    /// Their short names, at most ten, each once.
    pub survivor_names: Vec<String>,
    /// Processes that may still run: the kernel could not end them (or not stop the program itself), or they
    /// belong to another user.
    pub left: u32,
}

/// A program under supervision. Dropping it kills the program and all that it started.
#[derive(Debug)]
pub struct Running {
    control: blocking::Sender<Vec<u8>>,
    status: mpsc::UnboundedReceiver<Status>,
    /// Our end of the channel, through which a descriptor can come.
    channel: UnixStream,
    supervisor: i32,
    /// The first process of the program's own namespace.
    first: Option<Process>,
    listener: Option<TcpListener>,
    label: String,
    marker: String,
    pid: i32,
    ended: Option<(Ended, u64)>,
    swept: Option<Swept>,
    /// How many freezes were asked for: an answer that nobody waited for is not the next one's.
    turn: u64,
    next: Option<Next>,
}

struct Next(Box<dyn FnOnce() + Send + Sync>);

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

#[derive(Debug)]
struct Swept {
    survivors: u32,
    names: Vec<String>,
    left: u32,
    output_cut: bool,
    breach: Option<Breach>,
}

/// What came of asking for a freeze.
enum Answer {
    Frozen(Frozen),
    /// The program ended.
    Ended,
    /// The supervisor ended.
    Lost,
}

impl Running {
    /// Gives its program, which will carry `marker`, to a supervisor that was just started, or that waits apart.
    pub(super) fn launch(
        (supervisor, channel, control, status): Channels,
        spec: &Frame,
        label: String,
        marker: &str,
    ) -> std::io::Result<Running> {
        // Fails only if the supervisor is gone, and then the status channel says so.
        let _ = control.send(spec.encode()?);
        Ok(Running {
            control,
            status,
            channel,
            supervisor,
            first: None,
            listener: None,
            label,
            marker: format!("{MARKER}={marker}"),
            pid: 0,
            ended: None,
            swept: None,
            turn: 0,
            next: None,
        })
    }

    /// What is done when nothing is left of it: the next one is made ready.
    pub(super) fn then(&mut self, next: impl FnOnce() + Send + Sync + 'static) {
        self.next = Some(Next(Box::new(next)));
    }

    /// Whether the program runs, as the supervisor says first of all; `None` when it said nothing of the
    /// kind.
    pub(super) async fn first_word(&mut self) -> Option<Result<(), (Failed, String)>> {
        loop {
            match self.status.recv().await? {
                Status::Apart { pid, born } => {
                    self.first = Some(Process { pid, born, name: String::new() });
                }
                Status::Listening => match passed(&self.channel) {
                    Ok(listener) => self.listener = Some(listener.into()),
                    Err(error) => return Some(Err((Failed::Walls, error.to_string()))),
                },
                Status::Started { pid } => {
                    self.pid = match &self.first {
                        Some(first) => tree::outside(first.pid, pid).unwrap_or(0),
                        None => pid,
                    };
                    return Some(Ok(()));
                }
                Status::Failed { kind, message } => return Some(Err((kind, message))),
                Status::Ended { .. } | Status::Swept { .. } | Status::Frozen { .. } => return None,
            }
        }
    }

    /// The program's process id, for messages. With namespaces of its own it has another one inside; 0 when
    /// it ended before we looked.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The socket that listens on the program's own loopback, for [`Network::Ours`] in tier T2. Only the
    /// first call has it. It blocks.
    ///
    /// [`Network::Ours`]: crate::sandbox::Network::Ours
    pub fn listener(&mut self) -> Option<TcpListener> {
        self.listener.take()
    }

    /// Sends bytes to the program's standard input. Never blocks; a program that does not read them
    /// loses them.
    pub fn send(&self, bytes: &[u8]) {
        // Small frames, so that a stop does not wait behind a long one.
        for chunk in bytes.chunks(64 * 1024) {
            self.tell(&Frame::Data(chunk.to_vec()));
        }
    }

    /// Ends the program's standard input.
    pub fn close_stdin(&self) {
        self.tell(&Frame::Close);
    }

    /// Begins to stop it: SIGINT to its process group, after `grace` SIGTERM, after 5 s more SIGKILL to
    /// all that is left. Zero kills at once. A frozen program goes on, so that it hears them. Comes back
    /// before that is done: see [`Running::wait`].
    pub fn stop(&self, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.tell(&Frame::Stop { grace_ms });
    }

    /// A supervisor that is gone is noticed by `wait`.
    fn tell(&self, frame: &Frame) {
        if let Ok(bytes) = frame.encode() {
            let _ = self.control.send(bytes);
        }
    }

    /// Waits until the program has ended and nothing of its tree is left. May be dropped and called
    /// again, until it has given its answer.
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        // When nothing is left, not for the end of the supervisor too: the kernel takes a millisecond to put its
        // namespaces away, and nothing of the program is in them any more.
        while self.swept.as_ref().is_none_or(|swept| swept.left > 0)
            && let Some(status) = self.status.recv().await
        {
            self.note(status);
        }
        let (Some(swept), Some((ended, millis))) = (self.swept.take(), self.ended) else {
            return Err(self.lost().await);
        };
        if let Some(Next(next)) = self.next.take() {
            next();
        }
        Ok(Exit {
            ended,
            survivors: swept.survivors,
            survivor_names: swept.names,
            left: swept.left,
            millis,
            output_cut: swept.output_cut,
            breach: swept.breach,
        })
    }

    /// Stops it and waits for its end, at most as long as the ladder can take: a supervisor that does
    /// not answer is ended, and its tree with it.
    pub async fn finish(&mut self, grace: Duration) -> Result<Exit, Error> {
        self.stop(grace);
        match tokio::time::timeout(grace + PATIENCE, self.wait()).await {
            Ok(result) => result,
            Err(_) => Err(self.give_up().await),
        }
    }

    /// Stops the program (SIGSTOP) and kills everything else below its supervisor. When this comes back
    /// with `Some` and its `left` is 0, nothing of the tree runs: every thread of the program is stopped,
    /// everything else is dead. It stays so until [`Running::thaw`] or [`Running::stop`]. `None`: the program
    /// ended meanwhile; [`Running::wait`] has the rest. Errors as `wait` does, and after 25 s without an
    /// answer.
    ///
    /// Elsewhere than on Linux it is best effort: the program's process group is stopped as a whole and goes
    /// on as a whole, and nothing is killed.
    ///
    /// May be dropped: then only the next `freeze` or `thaw` makes sure whether it runs, and what was killed
    /// meanwhile may stand in no report.
    pub async fn freeze(&mut self) -> Result<Option<Frozen>, Error> {
        self.turn += 1;
        self.tell(&Frame::Freeze { turn: self.turn });
        match tokio::time::timeout(PATIENCE, self.answer()).await {
            Ok(Answer::Frozen(frozen)) => Ok(Some(frozen)),
            Ok(Answer::Ended) => Ok(None),
            Ok(Answer::Lost) | Err(_) => Err(self.give_up().await),
        }
    }

    async fn answer(&mut self) -> Answer {
        while self.ended.is_none() {
            match self.status.recv().await {
                Some(Status::Frozen { turn, survivors, names, left }) if turn == self.turn => {
                    return Answer::Frozen(Frozen { survivors, survivor_names: names, left });
                }
                Some(status) => self.note(status),
                None => return Answer::Lost,
            }
        }
        Answer::Ended
    }

    /// Lets a frozen program go on. One that is not frozen is left alone.
    pub fn thaw(&self) {
        self.tell(&Frame::Thaw);
    }

    /// CPU time used so far by everything below the supervisor, with the dead that were waited for: it tells
    /// a silent worker from a hung one. In steps of 10 ms. It can step back when a process ends for whose end
    /// nobody waits. `None` where there is no `/proc`, and after the end. Reads some files for each process of
    /// the machine, which takes milliseconds.
    pub fn cpu_time(&self) -> Option<Duration> {
        let there = self.ended.is_none() && children().contains(&self.supervisor);
        let root = self.first.as_ref().map_or(self.supervisor, |first| first.pid);
        if there { tree::cpu_time_below(root) } else { None }
    }

    /// Keeps what `wait` will want.
    fn note(&mut self, status: Status) {
        match status {
            Status::Ended { ended, millis } => self.ended = Some((ended, millis)),
            Status::Swept { survivors, names, left, output_cut, breach } => {
                self.swept = Some(Swept { survivors, names, left, output_cut, breach });
            }
            Status::Apart { .. }
            | Status::Listening
            | Status::Started { .. }
            | Status::Failed { .. }
            | Status::Frozen { .. } => {}
        }
    }

    /// Ends a supervisor that does not answer, and its tree with it.
    async fn give_up(&self) -> Error {
        if let Some(pid) = rustix::process::Pid::from_raw(self.supervisor)
            && children().contains(&self.supervisor)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        self.lost().await
    }

    /// The supervisor is gone without a word. Ends what it left: what carries our mark, and, where
    /// orphans come to us, every child that this door did not start.
    pub(super) async fn lost(&self) -> Error {
        let (marker, first) = (self.marker.clone(), self.first.clone());
        let swept = tokio::task::spawn_blocking(move || {
            let end = Instant::now() + Duration::from_secs(10);
            let (mut killed, mut quiet) = (BTreeSet::new(), 0);
            // Two looks without a find: one could fall between a fork and the death of the parent.
            while quiet < 2 && Instant::now() < end {
                // The kernel lets the first process of a namespace end as the last of all that are in it.
                let mut news = !first.as_ref().is_none_or(tree::end);
                let mut found = tree::kill_marked(&marker);
                if REAPER.load(Ordering::SeqCst) {
                    let known = children();
                    let (strangers, dead) = tree::kill_strangers(&known);
                    found.extend(strangers);
                    news |= dead;
                }
                news |= !found.is_empty();
                quiet = if news { 0 } else { quiet + 1 };
                killed.extend(found);
                if !news {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            killed.len()
        });
        let killed = swept.await.unwrap_or(0);
        Error::SupervisorLost {
            label: self.label.clone(),
            killed: u32::try_from(killed).unwrap_or(u32::MAX),
        }
    }
}

/// A supervisor: its process id, our end of its channel, the way to it, and what it says.
pub(super) type Channels =
    (i32, UnixStream, blocking::Sender<Vec<u8>>, mpsc::UnboundedReceiver<Status>);

/// Starts a supervisor. Two threads carry its channels, so that nothing here ever blocks on it.
pub(super) fn launch(exe: &Path) -> std::io::Result<Channels> {
    let (channel, theirs) = UnixStream::pair()?;
    let mut writer = channel.try_clone()?;
    let nothing: [(String, String); 0] = [];
    let expression = duct::cmd(exe, [SUPERVISE])
        .full_env(nothing)
        .dir("/")
        .stdin_file(theirs)
        .stderr_null()
        .unchecked();
    let handle = {
        let mut children = children();
        let handle = expression.reader()?;
        children.extend(handle.pids().first().and_then(|pid| i32::try_from(*pid).ok()));
        handle
    };
    // The expression holds their end; while it is open, a write to a dead supervisor would hang.
    drop(expression);
    let pid = handle.pids().first().and_then(|pid| i32::try_from(*pid).ok()).unwrap_or(0);

    let (control, frames) = blocking::channel::<Vec<u8>>();
    thread::spawn(move || {
        for frame in frames {
            if writer.write_all(&frame).is_err() {
                return;
            }
        }
    });
    let (sender, status) = mpsc::unbounded_channel();
    thread::spawn(move || {
        // The last read waits for the supervisor's end.
        for line in BufReader::new(&handle).lines().map_while(Result::ok) {
            if let Ok(status) = serde_json::from_str(&line) {
                let _ = sender.send(status);
            }
        }
        children().remove(&pid);
    });
    Ok((pid, channel, control, status))
}
