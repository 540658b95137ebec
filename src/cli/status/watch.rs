//! `status --watch`: a running night, drawn again as its journal grows, until it ends or the person has seen enough.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{
        Output, code,
        find::{self, Found, Selector},
        logs,
        tell::{self, Cleaner},
    },
    report,
    runner::{
        clock, forecast,
        home::Home,
        refused::{Refused, RefusedKind},
    },
};

/// Between two looks at the journal.
const LOOK: Duration = Duration::from_millis(500);

/// Takes the whole screen of a terminal, and gives it back as it was, however the watch ends.
struct Curtain<'o>(&'o Output);

impl<'o> Curtain<'o> {
    fn raise(output: &'o Output) -> Curtain<'o> {
        // The other screen, without a cursor, with nothing on it.
        output.raw(b"\x1b[?1049h\x1b[?25l\x1b[2J");
        Curtain(output)
    }

    /// All lines at once: a terminal that can shows nothing between.
    fn draw(&self, lines: &[String]) {
        let mut frame = String::from("\x1b[?2026h\x1b[H");
        frame.push_str(&lines.join("\x1b[K\r\n"));
        frame.push_str("\x1b[K\x1b[J\x1b[?2026l");
        self.0.raw(frame.as_bytes());
    }
}

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.raw(b"\x1b[?25h\x1b[?1049l");
    }
}

/// Watches the night that runs now. `Some`: the exit code of who ended the watch before the night ended.
pub(super) fn watch(
    home: &Home,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<Option<u8>, Refused> {
    if !output.draws() {
        return lines(home, cleaner, output).map(|()| None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| {
        let help = "the machine gives no more threads or files; try again";
        Refused::new(RefusedKind::Internal, problem.to_string(), help)
    })?;
    runtime.block_on(pictures(home, cleaner, output))
}

/// What is going on here.
enum Now {
    /// No process is at anything.
    Nothing,
    /// A night has no journal yet.
    Preparing,
    Running(Box<Found>),
}

fn now(home: &Home) -> Result<Now, Refused> {
    let Some(holder) = tell::holder(home) else { return Ok(Now::Nothing) };
    let found = find::night(home, &Selector { night: Ok(0), task: None, attempt: None })?;
    let found = found.filter(|found| tell::is_at(&holder, &found.night));
    Ok(found.map_or(Now::Preparing, |found| Now::Running(Box::new(found))))
}

async fn pictures(home: &Home, cleaner: &Cleaner, output: &Output) -> Result<Option<u8>, Refused> {
    let stream = |kind| {
        signal(kind).map_err(|problem| {
            let help = "nightshift status shows the same once";
            Refused::new(RefusedKind::Internal, problem.to_string(), help)
        })
    };
    let mut interrupted = stream(SignalKind::interrupt())?;
    let mut ended = stream(SignalKind::terminate())?;
    let mut closed = stream(SignalKind::hangup())?;
    let mut resized = stream(SignalKind::window_change())?;
    let curtain = Curtain::raise(output);
    let mut median = None;
    loop {
        let (screen, rows) = (output.screen(), output.rows());
        let page = match now(home)? {
            Now::Nothing => return Ok(None),
            Now::Running(found) => {
                let agent = &found.night.opening().agent.name;
                let known = median.get_or_insert_with(|| forecast::figures(home, agent));
                let known = known.as_ref().map(|figures| figures.task.seconds[1]);
                report::picture(&found.night, clock::now(), known, &screen, rows)
            }
            Now::Preparing => "a night is being prepared\n".to_owned(),
        };
        let page = screen.page(&cleaner.clean(page.as_bytes()));
        curtain.draw(&report::framed(&page, &screen, rows));
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = resized.recv() => {}
            _ = interrupted.recv() => return Ok(Some(code::INTERRUPTED)),
            _ = ended.recv() => return Ok(Some(code::TERMINATED)),
            _ = closed.recv() => return Ok(Some(code::HUNG_UP)),
        }
    }
}

/// Where no picture can be drawn: its events, line by line.
fn lines(home: &Home, cleaner: &Cleaner, output: &Output) -> Result<(), Refused> {
    loop {
        match now(home)? {
            Now::Nothing => return Ok(()),
            Now::Preparing => std::thread::sleep(LOOK),
            Now::Running(found) => return logs::follow(home, &found, cleaner, output),
        }
    }
}
