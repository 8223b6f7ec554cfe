//! Exponential backoff with jitter: pure, the randomness is passed in.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How long to wait before the next attempt.
///
/// Attempt `n` waits `base · 2ⁿ`, at most `max`, of which the upper half is jittered. A run longer
/// than `max` counts as success and starts over.
///
/// ```
/// use std::time::Duration;
/// use mesh_rt::backoff::Backoff;
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// assert_eq!(backoff.next(1.0), Duration::from_millis(100));
/// assert_eq!(backoff.next(0.0), Duration::from_millis(100));
/// assert_eq!(backoff.next(1.0), Duration::from_millis(400));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempt: u32,
}

impl Default for Backoff {
    /// From 100 ms to 15 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(15))
    }
}

impl Backoff {
    /// A backoff from `base` to `max`; a `max` below `base` is raised to it.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max: max.max(base), attempt: 0 }
    }

    /// The next wait. `jitter` in `0.0..=1.0` picks from the upper half of the range; other values
    /// are brought into it.
    pub fn next(&mut self, jitter: f64) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        let full = self.base.saturating_mul(factor).min(self.max);
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
        (full / 2) + (full / 2).mul_f64(jitter)
    }

    /// Starts over: the last attempt succeeded.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Starts over if the last run lasted longer than the longest wait.
    pub fn ran_for(&mut self, lasted: Duration) {
        if lasted > self.max {
            self.reset();
        }
    }
}

/// A random number in `0.0..1.0` for [`Backoff::next`] in I/O code. Not for secrets.
#[must_use]
pub fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    // 53 bits are what an f64 holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    proptest! {
        #[test]
        fn stays_between_half_the_base_and_the_maximum(jitters in proptest::collection::vec(any::<f64>(), 1..80)) {
            let (base, max) = (Duration::from_millis(100), Duration::from_secs(15));
            let mut backoff = Backoff::new(base, max);
            for jitter in jitters {
                let wait = backoff.next(jitter);
                assert!(wait >= base / 2 && wait <= max, "{wait:?}");
            }
        }
    }

    #[test]
    fn a_long_run_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        backoff.next(1.0);
        backoff.next(1.0);
        backoff.ran_for(Duration::from_secs(8));
        assert_eq!(backoff.next(1.0), Duration::from_secs(4));
        backoff.ran_for(Duration::from_secs(9));
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_is_a_fraction() {
        assert!((0..100).all(|_| (0.0..1.0).contains(&jitter())));
    }
}
