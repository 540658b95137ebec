//! Publishing later: nights whose work is safe here and did not get out. Each is published from its own record, with
//! no agent, no walls and no workspace.
//!
//! Never lands anything and never decides what is published: that is [`Night::due`]'s word. Written down like every
//! other deed, so that a process that is killed here leaves a night that is published again, and never twice.

use crate::{
    forge::{Forge, Local, Published},
    ids::{NAME, NightId},
    journal::{self, Journal, Lock},
    night::{Charge, Command, Entry, Event, Night, Publication},
    outcome::StopReason,
    receipt::Receipt,
    report,
    runner::{
        clock,
        decide::outside,
        earlier,
        hands::{draft, quoted_logs},
        home::{Home, redactor},
        open::{self, charges, replay},
        places::Surroundings,
        publish::{Hindered, NOT_PUSHED, Way, keep_receipts, protected_files},
        refused::{Refused, RefusedKind},
        rules,
    },
};

/// A night whose work waits to be published.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The night.
    pub night: NightId,
    /// Why it is not out, and what to do, in one line.
    pub why: String,
    /// True when the night did not come to its end: going on with it publishes it as well.
    pub cut_off: bool,
}

/// What came of a night that was to be published.
#[derive(Clone, Debug)]
pub enum Sent {
    /// It is out.
    Out {
        /// Where a person opens it.
        url: String,
        /// What did not matter enough.
        notes: Vec<String>,
    },
    /// It is still here.
    Kept {
        /// Why, and what to do, in one line.
        why: String,
        /// True when it may pass by itself: what else waits would meet the same.
        passing: bool,
    },
}

/// The last weeks' nights, oldest first.
fn nights(home: &Home) -> impl Iterator<Item = NightId> {
    let nights = home.places.all_nights();
    let first = nights.len().saturating_sub(earlier::NIGHTS);
    nights.into_iter().skip(first)
}

/// Nights of the last weeks of which nobody can say whether they wait, with what is wrong with their journals.
pub fn unreadable(home: &Home) -> Vec<(NightId, journal::Error)> {
    let found = nights(home).filter_map(|id| {
        let problem = match journal::read(&home.places.night(&id).journal()) {
            Ok(reading) => reading.damage?,
            Err(problem) => problem,
        };
        Some((id, problem))
    });
    found.collect()
}

/// Nights of the last weeks that wait to be published, oldest first. What cannot be read is [`unreadable`]'s.
pub fn waiting(home: &Home) -> Vec<Waiting> {
    let found = nights(home).filter_map(|id| {
        let reading = journal::read(&home.places.night(&id).journal()).ok()?;
        let night = Night::replay(reading.entries).ok().filter(|_| reading.damage.is_none())?;
        let why = why(&night)?;
        let cut_off = night.ended().is_none() && !night.only_lands();
        if let Some(why) = moved(&night) {
            return Some(Waiting { night: id, why, cut_off: true });
        }
        publishes(&night).then_some(Waiting { night: id, why, cut_off })
    });
    found.collect()
}

/// Why a night waits whose branch somebody else moved: nothing of it is published before it is put back.
fn moved(night: &Night) -> Option<String> {
    let way = report::branch_moved(night)?;
    Some(format!("somebody else moved its branch; {way}"))
}

/// Why a night with something on its branch is not out.
fn why(night: &Night) -> Option<String> {
    if night.has_nothing_to_publish() {
        return None;
    }
    match night.publication() {
        Publication::Done { .. } => None,
        Publication::Failed { message, help, .. } => Some(report::unpublished(message, help)),
        Publication::Open => {
            Some(format!("it ended before it was published; `{NAME} land` publishes it"))
        }
    }
}

/// The facts that let a night be published and do nothing else.
fn first_facts(charges: Vec<Charge>) -> [Event; 2] {
    [Event::StopAsked { reason: StopReason::OnlyLanding }, Event::Restarted { charges }]
}

/// True when nothing but its publication is left of a night: tried on a copy.
fn publishes(night: &Night) -> bool {
    let (mut copy, now) = (night.clone(), clock::now());
    first_facts(Vec::new()).into_iter().all(|fact| copy.apply(now, fact).is_ok())
        && matches!(copy.due(now).as_slice(), [Command::Publish { .. }])
}

/// Publishes one night, whatever remote it began with when `elsewhere`. `exit` gives the exit code that its record
/// ends with. The caller holds the lock.
pub fn land(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    elsewhere: bool,
    exit: impl Fn(&Night) -> u8,
    _lock: &Lock,
) -> Result<Sent, Refused> {
    let places = home.places.night(id);
    let reading = journal::read(&places.journal())?;
    if let Some(damage) = reading.damage {
        return Err(damage.into());
    }
    let night = replay(reading.entries)?;
    let kept = |why: String| Ok(Sent::Kept { why, passing: false });
    if let Publication::Done { url, notes, .. } = night.publication() {
        // Done is what was asked for, and that may have been to keep it here.
        let stays = !night.opening().publish.push || notes.iter().any(|note| note == NOT_PUSHED);
        if stays && !night.has_nothing_to_publish() {
            let branch = id.branch();
            return kept(format!("it began with --no-push; `git push REMOTE {branch}` pushes it"));
        }
        return Ok(Sent::Out { url: url.clone(), notes: notes.clone() });
    }
    if night.has_nothing_to_publish() {
        return kept("nothing landed in it".to_owned());
    }
    if let Some(why) = moved(&night) {
        return kept(why);
    }
    if !publishes(&night) {
        return kept(format!("it was cut off; `{NAME} resume` goes on with it"));
    }
    let began = night.opening().publish.remote.as_deref();
    if home.remote_shown().as_deref() != began && !elsewhere {
        return kept(format!(
            "the remote is {} now, and was {} when it began; `{NAME} land {id}` publishes it there",
            home.remote_shown().unwrap_or_else(|| "gone".to_owned()),
            began.unwrap_or("not there"),
        ));
    }
    let (journal, _) = Journal::resume(&places.journal())?;
    let facts = first_facts(charges(&night, &places));
    let mut record = Record { night, journal };
    for fact in facts {
        record.write(fact)?;
    }
    let fact = match record.publish(surroundings, home)? {
        Ok(Published { url, number, notes }) => Event::Published { url, number, notes },
        Err(Hindered { message, help, hindrance }) => {
            record.night.not_published(clock::now(), message, help, hindrance)
        }
    };
    record.write(fact)?;
    let exit = exit(&record.night);
    let reason = record.night.stop_reason(clock::now());
    record.write(Event::Ended { reason, exit })?;
    Ok(match record.night.publication().clone() {
        Publication::Done { url, notes, .. } => Sent::Out { url, notes },
        Publication::Failed { message, help, passing, .. } => {
            Sent::Kept { why: report::unpublished(&message, &help), passing }
        }
        Publication::Open => return Err(internal("a publication came to nothing")),
    })
}

/// A night with its journal, outside the loop.
struct Record {
    night: Night,
    journal: Journal,
}

impl Record {
    fn write(&mut self, fact: Event) -> Result<(), Refused> {
        let agent = &self.night.opening().agent.name;
        let entry = Entry::new(self.journal.next_seq(), clock::now(), agent, fact);
        self.journal.append(&entry)?;
        self.night.apply(entry.at, entry.event).map_err(|problem| internal(&problem.to_string()))
    }

    fn publish(
        &mut self,
        surroundings: &Surroundings,
        home: &Home,
    ) -> Result<Result<Published, Hindered>, Refused> {
        let broken = |problem: &dyn std::fmt::Display| {
            Refused::environment(
                format!("could not publish: {problem}"),
                format!("every commit is safe here; `{NAME} land` tries again"),
            )
        };
        let outside = outside(surroundings, home, &self.night);
        self.write(Event::Began(Command::Publish { tip: self.night.tip().clone() }))?;
        let opening = self.night.opening();
        if let Some(over) = outside.over {
            let file = home.places.night(&opening.night).pull_request();
            let (url, number) = (file.display().to_string(), None);
            return Ok(Ok(Published { url, number, notes: vec![over.words] }));
        }
        let redactor = redactor(surroundings, &[]);
        let receipts: Vec<Receipt> =
            self.night.landed().iter().filter_map(|(id, _)| Receipt::of(&self.night, id)).collect();
        rules::of_night(&home.vault, opening)
            .and_then(|rules| protected_files(&home.vault, opening, &rules))
            .and_then(|protected| keep_receipts(&home.vault, &redactor, &receipts, &protected))
            .map_err(|problem| broken(&problem))?;
        let local = Local::new(home.places.night(&opening.night).directory());
        let access = home.github(surroundings).filter(|_| opening.publish.pull_request);
        let forge = access.map(|access| access.forge()).transpose();
        let remote = open::remote(surroundings, home);
        let way = Way {
            vault: &home.vault,
            user: &home.user,
            local: &local,
            forge: forge
                .as_ref()
                .map(|forge| forge.as_ref().map(|f| f as &dyn Forge))
                .map_err(Clone::clone),
            remote: remote.as_ref(),
            redactor: &redactor,
            former: self.night.former(),
            stop: None,
        };
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|problem| broken(&problem))?;
        let seen = self.night.redacted(&redactor);
        let redact = |log: &str| redactor.redact(log).into_owned();
        let logs = quoted_logs(&seen, &home.places.night(&opening.night), &redact);
        let draft = draft(&seen, &logs);
        let sent = tokio.block_on(way.publish(opening, &draft, self.night.tip()));
        match sent.map_err(|problem| broken(&problem))? {
            Ok(Some(out)) => Ok(Ok(out)),
            Ok(None) => Err(internal("a publication that nobody can stop has stopped")),
            Err(kept) => Ok(Err(kept)),
        }
    }
}

fn internal(why: &str) -> Refused {
    Refused {
        kind: RefusedKind::Internal,
        message: format!("the night's record does not take its publication: {why}"),
        help: None,
    }
}
