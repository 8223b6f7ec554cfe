//! Counting a probe's results: thresholds turn single results into verdicts. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// Which question a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Has it started? Failure restarts the container.
    Startup,
    /// Is it ready for traffic?
    Readiness,
    /// Is it alive? Failure restarts the container.
    Liveness,
}

impl Question {
    /// As events write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    /// In the middle of a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// A probe's numbers, defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Before the first probe.
    pub initial_delay: Duration,
    /// Between probes.
    pub period: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Successes in a row that count.
    pub successes: u32,
    /// Failures in a row that count.
    pub failures: u32,
}

impl Timing {
    /// The numbers of `probe`.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            let given = value.and_then(|value| u64::try_from(value).ok()).filter(|v| *v > 0);
            Duration::from_secs(given.unwrap_or(default))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }

    /// The wait after the `done`th probe without a verdict yet. Until the first success of a
    /// readiness or startup probe it begins short and doubles to the period, so that a container
    /// which starts fast is ready fast.
    pub fn wait(&self, question: Question, done: u32, settled: bool) -> Duration {
        if settled || question == Question::Liveness {
            return self.period;
        }
        EAGER_FIRST.saturating_mul(2_u32.saturating_pow(done.min(16))).min(self.period)
    }
}

/// The first wait of an eager probe.
const EAGER_FIRST: Duration = Duration::from_millis(50);

/// The results of one probe so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    timing: Timing,
    successes: u32,
    failures: u32,
}

/// What a result changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Undecided,
    /// Enough successes in a row.
    Passed,
    /// Enough failures in a row.
    Failed,
}

impl Count {
    /// Nothing counted yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, successes: 0, failures: 0 }
    }

    /// Counts a result. `counts` is false for a failure of an eager probe between two periods,
    /// which must not use up the failures a slow container is allowed.
    pub fn add(&mut self, success: bool, counts: bool) -> Verdict {
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            if self.successes >= self.timing.successes {
                return Verdict::Passed;
            }
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(u32::from(counts));
            if self.failures >= self.timing.failures {
                return Verdict::Failed;
            }
        }
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(successes: i32, failures: i32) -> Timing {
        Timing::of(&Probe {
            success_threshold: Some(successes),
            failure_threshold: Some(failures),
            ..Probe::default()
        })
    }

    #[test]
    fn only_rows_count() {
        use Verdict::{Failed, Passed, Undecided};
        let mut count = Count::new(timing(2, 2));
        for (success, expected) in [
            (true, Undecided),
            (false, Undecided),
            (true, Undecided),
            (true, Passed),
            (true, Passed),
            (false, Undecided),
            (false, Failed),
        ] {
            assert_eq!(count.add(success, true), expected);
        }
        let mut count = Count::new(timing(1, 1));
        assert_eq!(count.add(false, false), Undecided);
        assert_eq!(count.add(false, true), Failed);
    }

    #[test]
    fn defaults_and_waits() {
        let timing = Timing::of(&Probe::default());
        assert_eq!(timing.period, Duration::from_secs(10));
        assert_eq!((timing.timeout, timing.failures), (Duration::from_secs(1), 3));
        let wait = |done| timing.wait(Question::Readiness, done, false).as_millis();
        assert_eq!([wait(0), wait(1), wait(2), wait(20)], [50, 100, 200, 10_000]);
        assert_eq!(timing.wait(Question::Liveness, 0, false), timing.period);
        assert_eq!(timing.wait(Question::Readiness, 0, true), timing.period);
    }
}
