//! When to publish: after a quiet period, or at the latest after a maximum, whichever is first.

use std::time::Duration;

use tokio::time::Instant;

/// How long changes are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Publish this long after the last change…
    pub after: Duration,
    /// …but this long after the first one at the latest.
    pub max: Duration,
}

impl Default for Quiet {
    /// Istio's: 100 ms and 10 s.
    fn default() -> Self {
        Self { after: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

/// The timer. It is told of changes and says when to publish; time is passed in.
///
/// ```
/// use std::time::Duration;
/// use pilot::debounce::{Debounce, Quiet};
/// use tokio::time::Instant;
///
/// let mut debounce = Debounce::new(Quiet::default());
/// let start = Instant::now();
/// assert_eq!(debounce.due(), None);
/// debounce.changed(start);
/// debounce.changed(start + Duration::from_millis(60));
/// assert_eq!(debounce.due(), Some(start + Duration::from_millis(160)));
/// assert_eq!(debounce.published(), Some(start));
/// assert_eq!(debounce.due(), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    quiet: Quiet,
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// Nothing has changed yet.
    #[must_use]
    pub fn new(quiet: Quiet) -> Self {
        Self { quiet, pending: None }
    }

    /// Something changed.
    pub fn changed(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |pending| pending.first);
        self.pending = Some(Pending { first, last: now });
    }

    /// When to publish; `None` when nothing has changed.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let Pending { first, last } = self.pending?;
        Some((last + self.quiet.after).min(first + self.quiet.max))
    }

    /// Starts over; gives the time of the oldest change that is published.
    pub fn published(&mut self) -> Option<Instant> {
        self.pending.take().map(|pending| pending.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_of_changes_is_published_at_the_maximum() {
        let quiet = Quiet { after: Duration::from_millis(100), max: Duration::from_secs(1) };
        let mut debounce = Debounce::new(quiet);
        let start = Instant::now();
        for tick in 0..40 {
            let now = start + Duration::from_millis(50 * tick);
            if debounce.due().is_some_and(|due| due <= now) {
                assert_eq!(now - start, Duration::from_secs(1));
                assert_eq!(debounce.published(), Some(start));
                return;
            }
            debounce.changed(now);
        }
        panic!("never due");
    }
}
