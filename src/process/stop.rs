//! The wish to stop, shared by everything that runs in one night.
//!
//! Never stops anything itself: whoever runs something listens.

use tokio::sync::watch;

/// How soon to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Finish what runs, start nothing new.
    Soon,
    /// Interrupt what runs.
    Now,
}

/// A token that can be cloned; all clones are asked together. A wish can grow, never shrink.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<Option<Urgency>>);

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Stop {
        Stop(watch::Sender::new(None))
    }

    /// Asks. A weaker wish after a stronger one changes nothing.
    pub fn ask(&self, urgency: Urgency) {
        self.0.send_if_modified(|asked| {
            let stronger = Some(urgency) > *asked;
            if stronger {
                *asked = Some(urgency);
            }
            stronger
        });
    }

    /// What has been asked so far.
    pub fn asked(&self) -> Option<Urgency> {
        *self.0.borrow()
    }

    /// Waits until somebody asks, in whatever urgency.
    pub async fn soon(&self) {
        self.at_least(Urgency::Soon).await;
    }

    /// Waits until somebody asks to stop at once.
    pub async fn now(&self) {
        self.at_least(Urgency::Now).await;
    }

    async fn at_least(&self, urgency: Urgency) {
        let mut changes = self.0.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        let _ = changes.wait_for(|asked| *asked >= Some(urgency)).await;
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_can_grow_but_not_shrink() {
        let stop = Stop::new();
        assert_eq!(stop.asked(), None);
        stop.ask(Urgency::Now);
        stop.ask(Urgency::Soon);
        assert_eq!(stop.asked(), Some(Urgency::Now));
    }

    #[tokio::test]
    async fn a_late_listener_still_hears_it_and_soon_is_not_now() {
        let stop = Stop::new();
        stop.clone().ask(Urgency::Soon);
        stop.soon().await;
        let now = tokio::time::timeout(std::time::Duration::from_millis(20), stop.now()).await;
        assert!(now.is_err());
    }
}
