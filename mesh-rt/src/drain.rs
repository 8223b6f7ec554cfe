//! Drain: stop taking new work, wait for what is under way, then stop the rest.
//!
//! One [`DrainTrigger`] starts it, many [`DrainWatcher`]s follow it. A [`DrainGuard`] is a piece of
//! work that shutdown waits for. The phases only go forward: running, draining, stopped.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::names::{HeldName, HeldNames};

/// How long work that was told to stop at once may take to let go of its guards.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How far shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Running,
    /// No new work; what is under way finishes.
    Draining,
    /// Everything ends now.
    Stopped,
}

/// How to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// Let work under way finish for at most `deadline`, then stop the rest.
    Graceful {
        /// The longest wait for guards.
        deadline: Duration,
    },
    /// Stop at once.
    Immediate,
}

/// How a drain ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainOutcome {
    /// The guards still held when everything was told to stop: work that was cut off.
    pub cut_off: Vec<String>,
    /// The guards still held a second later: work that ignored the order.
    pub stuck: Vec<String>,
}

impl DrainOutcome {
    /// Whether all work finished by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.cut_off.is_empty()
    }
}

/// Creates a connected trigger and watcher. Both can be cloned.
#[must_use]
pub fn channel() -> (DrainTrigger, DrainWatcher) {
    let shared =
        Arc::new(Shared { phase: watch::Sender::new(Phase::Running), guards: HeldNames::new() });
    (DrainTrigger { shared: shared.clone() }, DrainWatcher { shared })
}

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    guards: HeldNames,
}

impl Shared {
    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    async fn reached(&self, at_least: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let mut phase = self.phase.subscribe();
        let _reached = phase.wait_for(|phase| *phase >= at_least).await;
    }
}

/// Starts the drain.
#[derive(Clone, Debug)]
pub struct DrainTrigger {
    shared: Arc<Shared>,
}

impl DrainTrigger {
    /// Tells everybody to drain and returns at once.
    pub fn start(&self) {
        self.shared.advance(Phase::Draining);
    }

    /// Tells everybody to stop now and returns at once. A running
    /// [`start_drain_and_wait`](Self::start_drain_and_wait) stops waiting for guards.
    pub fn force(&self) {
        self.shared.advance(Phase::Stopped);
    }

    /// Drains by `mode`. On return the phase is [`Phase::Stopped`] and all guards are gone, or are
    /// named in the outcome.
    pub async fn start_drain_and_wait(&self, mode: DrainMode) -> DrainOutcome {
        self.shared.advance(Phase::Draining);
        if let DrainMode::Graceful { deadline } = mode {
            tokio::select! {
                () = self.shared.guards.wait_empty() => {}
                () = self.shared.reached(Phase::Stopped) => {}
                () = tokio::time::sleep(deadline) => {}
            }
        }
        let cut_off = self.shared.guards.list();
        self.shared.advance(Phase::Stopped);
        let let_go = tokio::time::timeout(STOP_GRACE, self.shared.guards.wait_empty()).await;
        let stuck = if let_go.is_ok() { Vec::new() } else { self.shared.guards.list() };
        DrainOutcome { cut_off, stuck }
    }

    /// A watcher of this drain.
    #[must_use]
    pub fn watcher(&self) -> DrainWatcher {
        DrainWatcher { shared: self.shared.clone() }
    }
}

/// Follows a drain.
#[derive(Clone, Debug)]
pub struct DrainWatcher {
    shared: Arc<Shared>,
}

impl DrainWatcher {
    /// How far shutdown has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// Whether new work should be refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Returns once new work should be refused; never, if nobody drains.
    pub async fn draining(&self) {
        self.shared.reached(Phase::Draining).await;
    }

    /// Returns once everything must end.
    pub async fn stopped(&self) {
        self.shared.reached(Phase::Stopped).await;
    }

    /// Makes shutdown wait for the work called `name` until the guard is dropped.
    #[must_use = "shutdown waits only while the guard is held"]
    pub fn guard(&self, name: impl Into<Cow<'static, str>>) -> DrainGuard {
        DrainGuard { _held: self.shared.guards.hold(name) }
    }

    /// The work that shutdown would wait for at this moment, sorted by name.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        self.shared.guards.list()
    }
}

/// Work that shutdown waits for.
#[derive(Debug)]
pub struct DrainGuard {
    _held: HeldName,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACEFUL: DrainMode = DrainMode::Graceful { deadline: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn waits_for_guards_then_stops() {
        let (trigger, watcher) = channel();
        let guard = watcher.guard("request");
        let begun = tokio::time::Instant::now();
        let work = async {
            watcher.draining().await;
            assert_eq!(watcher.phase(), Phase::Draining);
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(guard);
        };
        let (outcome, ()) = tokio::join!(trigger.start_drain_and_wait(GRACEFUL), work);
        assert!(outcome.is_clean());
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert_eq!(watcher.phase(), Phase::Stopped);
    }

    #[tokio::test(start_paused = true)]
    async fn names_what_the_deadline_cut_off_and_what_is_stuck() {
        let (trigger, watcher) = channel();
        let polite = watcher.guard("polite");
        let _deaf = watcher.guard("deaf");
        let work = async {
            watcher.stopped().await;
            drop(polite);
        };
        let (outcome, ()) = tokio::join!(trigger.start_drain_and_wait(GRACEFUL), work);
        assert_eq!(outcome.cut_off, ["deaf", "polite"]);
        assert_eq!(outcome.stuck, ["deaf"]);
    }

    #[tokio::test(start_paused = true)]
    async fn force_ends_a_graceful_wait() {
        let (trigger, watcher) = channel();
        let guard = watcher.guard("long");
        let begun = tokio::time::Instant::now();
        let forcing = async {
            watcher.draining().await;
            trigger.force();
            drop(guard);
        };
        let (outcome, ()) = tokio::join!(trigger.start_drain_and_wait(GRACEFUL), forcing);
        assert!(outcome.stuck.is_empty());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn phases_never_go_back() {
        let (trigger, watcher) = channel();
        trigger.force();
        trigger.start();
        assert_eq!(watcher.phase(), Phase::Stopped);
        let outcome = trigger.start_drain_and_wait(DrainMode::Immediate).await;
        assert!(outcome.is_clean());
    }
}
