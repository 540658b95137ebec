//! A supervisor that was started ahead of its program and waits in namespaces of its own.
//!
//! Between two programs the runner is busy with one core: the next supervisor's start (its `exec`, its namespaces, 4 ms
//! of the 10 that a program behind walls costs) fits beside that. Never holds a program; one that nobody takes ends with
//! its channel, as every supervisor does when its runner is gone.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    running::{Channels, launch},
    wire::Frame,
};

/// Longest life of one that waits. Its namespace has the mounts of the machine as they were when it was made; a
/// program must not see those of an hour ago.
const FRESH: Duration = Duration::from_secs(5);

/// Room for one supervisor that waits. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Room>>);

#[derive(Debug, Default)]
struct Room {
    waiting: Option<Waiting>,
    /// True when no other is to come.
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    /// As in [`Frame::Apart`].
    host_network: bool,
    since: Instant,
    channels: Channels,
}

impl Spare {
    /// The one that waits, when it was made so and lately.
    pub(super) fn take(&self, host_network: bool) -> Option<Channels> {
        let waiting = self.room().waiting.take()?;
        let fits = waiting.host_network == host_network && waiting.since.elapsed() < FRESH;
        fits.then_some(waiting.channels)
    }

    /// Starts the next one in a thread of its own. One that cannot be started is no harm: a program that finds none
    /// starts its own, and says why when that fails.
    pub(super) fn refill(&self, exe: &Path, host_network: bool) {
        let (spare, exe) = (self.clone(), exe.to_owned());
        let start = move || {
            // Held while it starts: who asks for it meanwhile waits less than for one more.
            let mut room = spare.room();
            if room.closed || room.waiting.is_some() {
                return;
            }
            if let Ok(channels) = apart(&exe, host_network) {
                room.waiting = Some(Waiting { host_network, since: Instant::now(), channels });
            }
        };
        // A machine that gives no thread has none for a spare.
        drop(std::thread::Builder::new().spawn(start));
    }

    /// Ends the one that waits, and comes back when it is gone. No other comes.
    pub(super) async fn end(&self) {
        let waiting = {
            let mut room = self.room();
            room.closed = true;
            room.waiting.take()
        };
        if let Some(Waiting { channels: (_, channel, control, mut status), .. }) = waiting {
            drop((channel, control));
            while status.recv().await.is_some() {}
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a supervisor and sends it off into namespaces of its own.
pub(super) fn apart(exe: &Path, host_network: bool) -> io::Result<Channels> {
    let channels = launch(exe)?;
    // Fails only if it is gone, and then its status channel says so.
    let _ = channels.2.send(Frame::Apart { host_network }.encode()?);
    Ok(channels)
}
