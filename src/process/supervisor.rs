//! The other side of the door: the process that stands between us and a program.
//!
//! It is our own binary, started again as `__supervise`, or a copy of that in namespaces of its own. It
//! becomes the reaper of everything below it, starts the program, and does not end before the kernel says
//! that it has no children left: then the whole tree is gone, whatever forked, left its session or ignored
//! signals. It never decides: limits and verdicts are the runner's.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::ExitCode,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, WaitOptions};

use crate::sandbox::{Limits, Network, Refused, Tier, Walls};

use super::{
    Breach, Ended,
    apart::{self, Side},
    guard::{self, Seen},
    launch::{Launched, feed, launch},
    pump::pump,
    tree::{self, Known, Process, Tree},
    wire::{Failed, Frame, Spec, Status},
};

/// After the program ended by itself, its children may end too before they count as left behind:
/// `tee` behind a shell needs some milliseconds. nextest calls a test leaky after the same time.
const SETTLE: Duration = Duration::from_millis(100);
/// A program that is to freeze should stop before it sees its children die. Longer only if it cannot: it
/// waits for one that was just forked (`vfork`), or for a disk.
const HALT: Duration = Duration::from_secs(1);
/// After so many looks in a row that show nothing of ours, with nothing to bury between them, what is unsure
/// counts as others': a machine on which thousands of processes come and go in a second never shows itself
/// whole. Looks alone would not do, a process can fork away from each; but who does leaves dead behind, which
/// come to us, or stay corpses of the program.
const QUIET: u32 = 100;
/// From SIGTERM to SIGKILL.
const TERM: Duration = Duration::from_secs(5);
/// Longest time for killing and burying. Longer only for a process that the kernel cannot end (a dead
/// network disk), or one of another user.
const SWEEP: Duration = Duration::from_secs(10);
/// Longest wait for output after the tree is gone. Longer only if a process outside of it got hold of
/// the pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// Names of killed processes that are reported, at most.
const NAMES: usize = 10;

enum Event {
    /// A frame, or the end of the channel.
    Control(Option<Frame>),
    /// The walls stand and the program is there; or not.
    Entered(Result<(), Refused>),
    Reaped(i32, Ended),
    /// The kernel says that we have no children.
    AllGone,
    /// An output is complete; true when something was left out.
    Drained(bool),
    Guard(Seen),
}

/// Runs a supervisor on standard input and output. The entry behind the hidden argument `__supervise`.
pub fn supervise_main() -> ExitCode {
    match supervise() {
        Ok(code) => code,
        Err((kind, message)) => {
            tell(&Status::Failed { kind, message });
            ExitCode::FAILURE
        }
    }
}

/// A runner that does not listen any more is no reason to stop killing.
pub(super) fn tell(status: &Status) {
    let mut line = serde_json::to_vec(status).unwrap_or_default();
    line.push(b'\n');
    let mut out = io::stdout();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

fn supervise() -> Result<ExitCode, (Failed, String)> {
    let other = |error: io::Error| (Failed::Other, error.to_string());
    let walls = |error: io::Error| (Failed::Walls, error.to_string());
    // Not the standard library's, which reads ahead: what follows the first frame may be for another.
    let channel = io::stdin().as_fd().try_clone_to_owned().map_err(other)?;
    let mut control = File::from(channel);
    let mut frame = Frame::read(&mut control).map_err(other)?;
    // The usual priority, for the first process of a namespace.
    let mut inside = None;
    if let Some(Frame::Apart { host_network }) = frame {
        match apart::leave(host_network).map_err(walls)? {
            Side::Outside => return Ok(ExitCode::SUCCESS),
            Side::Inside(priority) => inside = Some(priority),
        }
        frame = Frame::read(&mut control).map_err(other)?;
    }
    let Some(Frame::Spec(spec)) = frame else {
        return Err((Failed::Other, "expected a program to start".into()));
    };
    // Without a terminal, and out of reach of a Ctrl-C that is meant for the runner. Fails only if we
    // lead a group already, which is as good.
    let _ = rustix::process::setsid();
    ignore_signals().map_err(other)?;
    tree::adopt_orphans().map_err(other)?;
    let mut priority = 0;
    if let Some(spec_walls) = &spec.walls {
        prepare(spec_walls, inside.is_some(), &control).map_err(walls)?;
        let hurried = guard::hurry().map_err(other)?;
        priority = inside.unwrap_or(hurried);
    }
    run(&spec, inside.is_some(), priority, control)?;
    Ok(ExitCode::SUCCESS)
}

/// What walls need before the program is there.
fn prepare(walls: &Walls, inside: bool, channel: &File) -> io::Result<()> {
    if (walls.tier == Tier::T2) != inside {
        return Err(io::Error::other("expected namespaces of its own exactly with tier t2"));
    }
    // The program is of the same user: our memory and descriptors are none of its business.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    if let (Network::Ours { port }, true) = (&walls.network, inside) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", *port))?;
        crate::sandbox::pass(channel, &listener)?;
        tell(&Status::Listening);
    }
    Ok(())
}

fn run(
    spec: &Spec,
    inside: bool,
    priority: i32,
    mut control: File,
) -> Result<(), (Failed, String)> {
    let started = Instant::now();
    let Launched { leader, stdin, outputs, stage } = launch(spec, priority)?;
    let root = rustix::process::getpid().as_raw_nonzero().get();
    let tree = Tree { root, leader, alone: inside };

    let (events, inbox) = mpsc::channel();
    let input = feed(stdin);
    let limit = spec.output_limit;
    for (pipe, file) in outputs {
        let events = events.clone();
        thread::spawn(move || events.send(Event::Drained(pump(pipe, file, limit))));
    }
    let frames = events.clone();
    thread::spawn(move || {
        loop {
            // A frame that cannot be read means the same as the end: nobody is in control.
            let frame = Frame::read(&mut control).unwrap_or(None);
            let last = frame.is_none();
            if frames.send(Event::Control(frame)).is_err() || last {
                return;
            }
        }
    });
    if let Some(walls) = spec.walls.clone() {
        let events = events.clone();
        thread::spawn(move || {
            guard::watch(&walls, &tree, |seen| events.send(Event::Guard(seen)).is_ok());
        });
    }
    if stage.is_none() {
        tell(&Status::Started { pid: leader });
    }
    thread::spawn(move || {
        // Before anything is reaped: the runner hears of the start before it hears of the end.
        if let Some(stage) = stage {
            let _ = events.send(Event::Entered(stage.become_program()));
        }
        reap(&events);
    });
    Watch {
        tree,
        started,
        inbox,
        input: Some(input),
        ended: None,
        frozen: false,
        killed: BTreeSet::new(),
        told: BTreeSet::new(),
        buried: 0,
        gone: false,
        drained: 0,
        cut: false,
        limits: spec.walls.as_ref().map(|walls| walls.limits),
        breach: None,
    }
    .run();
    Ok(())
}

/// The agent runs as the same user and could end us with `kill $PPID`; systemd signals whole groups.
/// We end when our work is done. SIGKILL cannot be ignored: then the runner sweeps.
pub(super) fn ignore_signals() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    // A handler stays for the life of the process, and is not inherited by programs.
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::alarm(),
    ] {
        let _ = signal(kind)?;
    }
    Ok(())
}

/// Reaps everything, the program and every orphan, until there is nothing left to reap.
fn reap(events: &Sender<Event>) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                let ended = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ended::Code(code),
                    (None, Some(signal)) => Ended::Signal(signal),
                    (None, None) => continue,
                };
                if events.send(Event::Reaped(pid.as_raw_nonzero().get(), ended)).is_err() {
                    return;
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => {
                let _ = events.send(Event::AllGone);
                return;
            }
        }
    }
}

/// What the supervisor knows while the program runs.
struct Watch {
    tree: Tree,
    started: Instant,
    inbox: Receiver<Event>,
    input: Option<Sender<Vec<u8>>>,
    ended: Option<Ended>,
    /// True from the wish to freeze to the next signal that lets the program go on.
    frozen: bool,
    /// Killed, without the program itself, and not yet told.
    killed: BTreeSet<Process>,
    /// Killed and told: one that takes long to die is not told again.
    told: BTreeSet<Process>,
    /// How many dead came to us.
    buried: u64,
    gone: bool,
    drained: u32,
    cut: bool,
    /// Those of the walls.
    limits: Option<Limits>,
    breach: Option<Breach>,
}

/// What the runner wants.
enum Wish {
    Stop(Duration),
    Kill,
}

/// What waiting for one event brought.
enum Heard {
    Wish(Wish),
    /// The wish to freeze, and its number.
    Freeze(u64),
    /// Something happened, and is noted.
    News,
    /// Nothing, until the deadline.
    Silence,
}

impl Watch {
    fn run(mut self) {
        match self.until_ended(None) {
            Some(Wish::Stop(grace)) => self.stop(grace),
            Some(Wish::Kill) => {}
            None => self.settle(),
        }
        let left = self.sweep();
        let end = Instant::now() + DRAIN;
        while self.drained < 2 && !matches!(self.next(Some(end)), Heard::Silence) {}
        let (survivors, names) = self.report();
        let output_cut = self.cut || self.drained < 2;
        tell(&Status::Swept { survivors, names, left, output_cut, breach: self.breach });
    }

    fn note(&mut self, killed: Vec<Process>) {
        let news =
            |process: &Process| process.pid != self.tree.leader && !self.told.contains(process);
        self.killed.extend(killed.into_iter().filter(news));
    }

    /// How many were killed since the last report, and their names.
    fn report(&mut self) -> (u32, Vec<String>) {
        let killed = std::mem::take(&mut self.killed);
        let names: BTreeSet<String> = killed.iter().map(|process| process.name.clone()).collect();
        let survivors = u32::try_from(killed.len()).unwrap_or(u32::MAX);
        self.told.extend(killed);
        (survivors, names.into_iter().take(NAMES).collect())
    }

    /// Takes in one event.
    fn next(&mut self, until: Option<Instant>) -> Heard {
        let event = match until {
            None => self.inbox.recv().ok(),
            Some(until) => {
                self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
            }
        };
        let Some(event) = event else { return Heard::Silence };
        match event {
            Event::Control(
                None | Some(Frame::Apart { .. } | Frame::Spec(_) | Frame::Stop { grace_ms: 0 }),
            ) => {
                return Heard::Wish(Wish::Kill);
            }
            Event::Control(Some(Frame::Stop { grace_ms })) => {
                return Heard::Wish(Wish::Stop(Duration::from_millis(grace_ms)));
            }
            Event::Control(Some(Frame::Data(bytes))) => {
                if let Some(input) = &self.input {
                    let _ = input.send(bytes);
                }
            }
            Event::Control(Some(Frame::Close)) => self.input = None,
            Event::Control(Some(Frame::Freeze { turn })) => return Heard::Freeze(turn),
            Event::Control(Some(Frame::Thaw)) => {
                if self.frozen {
                    self.go_on();
                }
            }
            Event::Entered(Ok(())) => tell(&Status::Started { pid: self.tree.leader }),
            Event::Entered(Err(Refused { kind, message })) => {
                tell(&Status::Failed { kind: kind.into(), message });
            }
            Event::Guard(seen) => {
                let breach = match seen {
                    Seen::Breach(breach) => Some(breach),
                    Seen::Crowd => self.crowd(),
                };
                if breach.is_some() {
                    self.breach = breach;
                    return Heard::Wish(Wish::Kill);
                }
            }
            Event::Reaped(pid, ended) => {
                self.buried += 1;
                if pid == self.tree.leader && self.ended.is_none() {
                    self.ended = Some(ended);
                    let millis = u64::try_from(self.started.elapsed().as_millis());
                    tell(&Status::Ended { ended, millis: millis.unwrap_or(u64::MAX) });
                }
            }
            Event::AllGone => self.gone = true,
            Event::Drained(cut) => {
                self.drained += 1;
                self.cut |= cut;
            }
        }
        Heard::News
    }

    /// Stops the program's group and counts. Behind a running fork bomb a count does not come to its end.
    fn crowd(&self) -> Option<Breach> {
        let limits = self.limits.as_ref()?;
        if self.frozen || self.ended.is_some() {
            return None;
        }
        tree::signal_group(self.tree.leader, Signal::STOP);
        let breach = guard::of_processes(limits, &self.tree);
        match breach {
            Some(_) => self.tree.kill_at_once(),
            None => tree::signal_group(self.tree.leader, Signal::CONT),
        }
        breach
    }

    /// Waits for the end of the program or the deadline; gives back a wish that came before.
    fn until_ended(&mut self, until: Option<Instant>) -> Option<Wish> {
        while self.ended.is_none() {
            match self.next(until) {
                Heard::Wish(wish) => return Some(wish),
                Heard::Freeze(turn) => {
                    if let Some(wish) = self.freeze(turn) {
                        return Some(wish);
                    }
                }
                Heard::News => {}
                Heard::Silence => return None,
            }
        }
        None
    }

    /// Stops the program, kills everything else and says so. Says nothing when the program ended or was
    /// thawed meanwhile; a wish to stop goes first and is given back.
    ///
    /// The kernel tells when a process has no children left, and not when it has only one. So this goes on
    /// until one look leaves no room for a process that it did not see.
    fn freeze(&mut self, mut turn: u64) -> Option<Wish> {
        self.frozen = true;
        let begun = Instant::now();
        let mut until = begun;
        let mut known = Known::default();
        let (mut quiet, mut buried) = (0, self.buried);
        let left = loop {
            loop {
                match self.next(Some(until)) {
                    Heard::Wish(wish) => return Some(wish),
                    Heard::Freeze(newer) => (turn, self.frozen) = (newer, true),
                    Heard::News => {}
                    Heard::Silence => break,
                }
            }
            if self.ended.is_some() || !self.frozen {
                return None;
            }
            until = Instant::now() + Duration::from_millis(1);
            // Again each time: what we kill could have let it go on.
            tree::signal(self.tree.leader, Signal::STOP);
            if !tree::is_stopped(self.tree.leader) && begun.elapsed() < HALT {
                continue;
            }
            // One signal for the whole group: however fast its processes fork, none slips through.
            tree::signal_group(self.tree.leader, Signal::STOP);
            let youngest = tree::kill_below(self.tree.root, Some(self.tree.leader), true);
            let halted = tree::is_stopped(self.tree.leader);
            let round = tree::kill_all_but(self.tree.leader, self.tree.root, &mut known);
            let running = usize::from(!halted || !tree::is_stopped(self.tree.leader));
            let ours = running + round.killed.len() + round.corpses;
            let still = ours + youngest.len() == 0 && self.buried == buried;
            (quiet, buried) = (if still { quiet + 1 } else { 0 }, self.buried);
            let left = if quiet < QUIET { ours + round.unsure } else { ours };
            self.note(youngest);
            self.note(round.killed);
            if left == 0 || begun.elapsed() > HALT + SWEEP {
                break left;
            }
        };
        let (survivors, names) = self.report();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        tell(&Status::Frozen { turn, survivors, names, left });
        None
    }

    /// Lets the program go on, and its group, some of which may be left.
    fn go_on(&mut self) {
        self.frozen = false;
        if self.ended.is_none() {
            tree::signal(self.tree.leader, Signal::CONT);
            tree::signal_group(self.tree.leader, Signal::CONT);
        }
    }

    /// SIGINT, grace, SIGTERM, five seconds. SIGKILL comes with the sweep. A program that is stopped hears
    /// them only when it goes on.
    fn stop(&mut self, grace: Duration) {
        tree::signal_group(self.tree.leader, Signal::INT);
        self.go_on();
        let mut until = Instant::now() + grace;
        loop {
            match self.until_ended(Some(until)) {
                Some(Wish::Kill) => return,
                Some(Wish::Stop(grace)) => until = until.min(Instant::now() + grace),
                None => break,
            }
        }
        if self.ended.is_some() {
            return;
        }
        tree::signal_group(self.tree.leader, Signal::TERM);
        self.go_on();
        let until = Instant::now() + TERM;
        while let Some(Wish::Stop(_)) = self.until_ended(Some(until)) {}
    }

    fn settle(&mut self) {
        let until = Instant::now() + SETTLE;
        while !self.gone && matches!(self.next(Some(until)), Heard::News | Heard::Freeze(_)) {}
    }

    /// Kills until nothing is left; how many could not be ended.
    fn sweep(&mut self) -> u32 {
        let end = Instant::now() + SWEEP;
        let mut newest_first = false;
        if self.breach.is_some() {
            self.tree.kill_at_once();
        }
        while !self.gone && Instant::now() < end {
            // Before the group, whose dead are not counted.
            let found = tree::kill_below(self.tree.root, None, newest_first);
            if self.ended.is_none() {
                tree::signal_group(self.tree.leader, Signal::KILL);
            }
            // Nothing in sight and not gone: the dead wait for the reaper.
            let pause = if found.is_empty() { 2 } else { 0 };
            self.note(found);
            if self.tree.alone {
                tree::kill_all_others();
            }
            newest_first = !newest_first;
            // All that came, not one event for each look: behind thousands of dead stands the word that
            // none is left.
            let until = Instant::now() + Duration::from_millis(pause);
            while !self.gone && !matches!(self.next(Some(until)), Heard::Silence) {}
        }
        let left = if self.gone { 0 } else { tree::kill_below(self.tree.root, None, false).len() };
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}
