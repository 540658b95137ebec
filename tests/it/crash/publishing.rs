//! A publication that does not get out: tried again with pauses, given up, and taken up by whoever comes next.

use nightshift::{
    night::{Hindrance, Publication},
    outcome::StopReason,
};

use super::*;

/// A night whose only task landed at once.
struct Scene {
    night: Night,
    world: World,
    journal: Vec<Entry>,
    now: Timestamp,
}

const PASSING: Hindrance = Hindrance::Passing { wait_s: 0 };

impl Scene {
    fn new() -> Scene {
        let mut opening = opening(1, 3);
        opening.tasks.truncate(1);
        opening.limits.time_s = 4 * 3_600;
        let now = opening.at;
        let world = World {
            branch: opening.base.commit.clone(),
            commits: BTreeMap::new(),
            pull_requests: 0,
            reviews: 0,
            made: 0,
            faults: BTreeMap::new(),
            moves: 0,
            gated: Vec::new(),
            waited: 0,
            asks: Vec::new(),
            stuck: Vec::new(),
        };
        let mut scene = Scene { night: Night::open(opening), world, journal: Vec::new(), now };
        loop {
            let command = scene.next();
            if matches!(command, Command::Publish { .. }) {
                return scene;
            }
            scene.fact(Event::Began(command.clone()));
            let fact = scene.world.carry_out(&scene.night, &command);
            scene.fact(fact);
        }
    }

    fn next(&self) -> Command {
        let due = self.night.due(self.now);
        assert_eq!(due.len(), 1, "{due:?}");
        due[0].clone()
    }

    fn fact(&mut self, event: Event) {
        let seq = self.journal.len() as u64 + 2;
        let entry = Entry::new(seq, self.now, "pretend", event);
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry, "{line}");
        self.night.apply(entry.at, entry.event.clone()).unwrap();
        self.journal.push(entry);
    }

    /// Publishes, is kept back, and says in how many seconds the night tries again.
    fn kept_back(&mut self, hindrance: Hindrance) -> Option<i64> {
        self.fact(Event::Began(self.next()));
        let (message, help) = ("no network".to_owned(), "wait".to_owned());
        self.fact(self.night.not_published(self.now, message, help, hindrance));
        let at = self.night.wake_at(self.now)?;
        assert!(self.night.due(self.now).is_empty() && !self.night.is_over(self.now));
        let seconds = at.duration_since(self.now).as_secs();
        self.now = at;
        Some(seconds)
    }

    fn published(&mut self) {
        let command = self.next();
        self.fact(Event::Began(command.clone()));
        let fact = self.world.carry_out(&self.night, &command);
        self.fact(fact);
        assert_eq!(self.world.pull_requests, 1);
        assert!(self.night.is_over(self.now));
    }
}

#[test]
fn what_passes_is_tried_again_with_longer_pauses_and_then_given_up() {
    let mut scene = Scene::new();
    let pauses: Vec<Option<i64>> = (0..6).map(|_| scene.kept_back(PASSING)).collect();
    assert_eq!(pauses, [Some(2), Some(30), Some(120), Some(480), Some(1_200), None]);
    assert!(scene.night.is_over(scene.now));
    let failed = scene.night.publication();
    assert!(matches!(failed, Publication::Failed { tries: 6, passing: true, .. }), "{failed:?}");
    // Whoever takes over begins anew.
    scene.fact(Event::Restarted { charges: Vec::new() });
    assert_eq!(scene.kept_back(PASSING), Some(2));
    scene.published();
}

#[test]
fn what_a_person_must_mend_is_not_tried_again() {
    let mut scene = Scene::new();
    assert_eq!(scene.kept_back(Hindrance::Lasting), None);
    assert!(scene.night.is_over(scene.now));
}

#[test]
fn what_the_other_side_asks_for_is_waited_for_within_reason() {
    let mut scene = Scene::new();
    assert_eq!(scene.kept_back(Hindrance::Passing { wait_s: 90 }), Some(90));
    assert_eq!(scene.kept_back(Hindrance::Passing { wait_s: 3_600 }), None);
    let mut scene = Scene::new();
    scene.now = scene.night.deadline().checked_sub(jiff::SignedDuration::from_secs(60)).unwrap();
    assert_eq!(scene.kept_back(PASSING), Some(2));
    assert_eq!(scene.kept_back(PASSING), Some(30));
    assert_eq!(scene.kept_back(PASSING), None, "the night's time is over before the next try");
}

#[test]
fn who_stops_the_night_does_not_wait_for_the_network() {
    let mut scene = Scene::new();
    assert_eq!(scene.kept_back(PASSING), Some(2));
    scene.fact(Event::StopAsked { reason: StopReason::Asked { by: "me".into() } });
    assert!(scene.night.due(scene.now).is_empty());
    assert_eq!(scene.night.wake_at(scene.now), None);
    assert!(scene.night.is_over(scene.now));
}

#[test]
fn a_journal_of_an_older_program_tells_of_a_failure_that_a_person_mends() {
    let mut scene = Scene::new();
    scene.fact(Event::Began(scene.next()));
    let old = r#"{"not_published":{"message":"m","help":"h"}}"#;
    scene.fact(serde_json::from_str(old).unwrap());
    let failed = scene.night.publication();
    assert!(
        matches!(failed, Publication::Failed { passing: false, tries: 1, again: None, .. }),
        "{failed:?}"
    );
    assert!(scene.night.is_over(scene.now));
}
