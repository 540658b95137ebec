//! Faults on demand: at a named seam the process is ended, a call fails as the system lets it fail, or the clock
//! jumps. The doors ask here, and the deeds that have parts.
//!
//! Without the cargo feature `faults` all of it is nothing; with it, an optimised build is refused, so that no
//! release has it. Never reads the environment, and never decides what a fault leads to.

use std::{collections::BTreeMap, io};

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` is for tests: build without it, or without optimisation");

/// Variable with the faults of a run: [`arm`] says how they are written.
pub const FAULTS: &str = "NIGHTSHIFT_FAULTS";
/// Variable with a file that gets a line for each seam that is reached: its name and what it is about.
pub const TRACE: &str = "NIGHTSHIFT_FAULTS_TRACE";

/// What `--version` says: the version, and that a build can fail on demand.
pub const VERSION: &str = if cfg!(feature = "faults") {
    concat!(env!("CARGO_PKG_VERSION"), " (a build for tests: it can fail on demand)")
} else {
    env!("CARGO_PKG_VERSION")
};

#[cfg(feature = "faults")]
pub use armed::{arm, ask, pass, shift};

/// Takes what the environment asks for: nothing, in this build.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn arm(_: &BTreeMap<String, String>) -> Result<(), String> {
    Ok(())
}

/// A call of a door is about to be made: always well, in this build.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn ask(_: &str, _: impl std::fmt::Display) -> io::Result<()> {
    Ok(())
}

/// A place between two parts of a deed: nothing, in this build.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn pass(_: &str) {}

/// Seconds by which the clock is off: none, in this build.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn shift() -> i64 {
    0
}

#[cfg(feature = "faults")]
mod armed {
    use std::{
        fmt::Display,
        fs::{File, OpenOptions},
        io::Write as _,
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use rustix::{
        io::Errno,
        process::{Signal, getpid, kill_process},
    };

    use super::{BTreeMap, FAULTS, TRACE, io};

    /// What happens at a seam.
    #[derive(Clone, Copy)]
    enum Deed {
        Signal(Signal),
        Fail(Errno),
        Shift(i64),
    }

    struct Fault {
        deed: Deed,
        seam: String,
        /// Which of the seams that fit, from 1.
        nth: u64,
        /// That one, and all after it.
        onward: bool,
        reached: u64,
    }

    struct Armed {
        faults: Vec<Fault>,
        trace: Option<File>,
    }

    static ARMED: Mutex<Armed> = Mutex::new(Armed { faults: Vec::new(), trace: None });

    fn armed() -> MutexGuard<'static, Armed> {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the environment asks for: faults with blanks between them, each `DEED@SEAM#N`. The deed is a signal
    /// (`KILL`, `TERM`), an error (`ENOSPC`, `EIO`, `EMFILE`) or seconds that the clock jumps (`+3600`, `-60`); the
    /// seam is a name, its beginning before a dot, or `*`; N counts the seams that fit, from 1, and `N+` means from
    /// there on.
    pub fn arm(environment: &BTreeMap<String, String>) -> Result<(), String> {
        let asked = environment.get(FAULTS).map_or("", String::as_str);
        let faults = asked.split_whitespace().map(|text| {
            read(text).ok_or_else(|| {
                format!("{FAULTS}: `{text}` is not DEED@SEAM#N, such as KILL@journal#3")
            })
        });
        let faults = faults.collect::<Result<Vec<Fault>, String>>()?;
        let trace = environment.get(TRACE).map(|path| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|problem| format!("{TRACE}: could not open {path}: {problem}"))
        });
        *armed() = Armed { faults, trace: trace.transpose()? };
        Ok(())
    }

    fn read(text: &str) -> Option<Fault> {
        let (deed, place) = text.split_once('@')?;
        let (seam, number) = place.split_once('#')?;
        let deed = match deed {
            "KILL" => Deed::Signal(Signal::KILL),
            "TERM" => Deed::Signal(Signal::TERM),
            "ENOSPC" => Deed::Fail(Errno::NOSPC),
            "EIO" => Deed::Fail(Errno::IO),
            "EMFILE" => Deed::Fail(Errno::MFILE),
            seconds => Deed::Shift(seconds.parse().ok()?),
        };
        let (number, onward) = match number.strip_suffix('+') {
            Some(number) => (number, true),
            None => (number, false),
        };
        let nth = number.parse().ok().filter(|nth| *nth > 0)?;
        Some(Fault { deed, seam: seam.to_owned(), nth, onward, reached: 0 })
    }

    impl Fault {
        fn fits(&self, seam: &str) -> bool {
            let rest = seam.strip_prefix(self.seam.as_str());
            self.seam == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }

        /// Counts a seam; true when it is this fault's.
        fn reaches(&mut self, seam: &str) -> bool {
            if !self.fits(seam) {
                return false;
            }
            self.reached += 1;
            self.reached == self.nth || (self.onward && self.reached > self.nth)
        }
    }

    /// Counts a seam and gives what is to happen at it, in the order in which it was asked for.
    fn reach(seam: &str, about: impl Display) -> Vec<Deed> {
        let mut armed = armed();
        if let Some(trace) = &mut armed.trace {
            // One call for one line. A trace that cannot be written shows as lines that are missing.
            let _ = trace.write_all(format!("{seam} {about}\n").as_bytes());
        }
        let due =
            armed.faults.iter_mut().filter_map(|fault| fault.reaches(seam).then_some(fault.deed));
        due.collect()
    }

    /// A call of a door is about to be made. The error is what the call is to say instead of being made.
    pub fn ask(seam: &str, about: impl Display) -> io::Result<()> {
        for deed in reach(seam, about) {
            match deed {
                Deed::Signal(signal) => end(signal),
                Deed::Fail(errno) => return Err(errno.into()),
                Deed::Shift(_) => {}
            }
        }
        Ok(())
    }

    /// A place between two parts of a deed: nothing can fail here, but the process can end.
    pub fn pass(seam: &str) {
        let _ = ask(seam, "");
    }

    /// Seconds by which the clock is off. Each call is a seam `clock`.
    pub fn shift() -> i64 {
        let deeds = reach("clock", "");
        let shifts =
            deeds.iter().map(|deed| if let Deed::Shift(seconds) = deed { *seconds } else { 0 });
        shifts.sum()
    }

    fn end(signal: Signal) {
        // The signal is there before the call returns, so nothing is done after this seam: for the one that can be
        // caught, as much as a night does between two looks at its stop.
        let _ = kill_process(getpid(), signal);
    }
}
