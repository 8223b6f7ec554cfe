//! The tokio runtime of a process, sized by setting or by the CPU quota.

use std::io;
use std::num::NonZero;

use tokio::runtime::{Builder, Runtime};

use crate::settings::Settings;

/// How many worker threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// `WORKER_THREADS`; `None` follows the CPU quota of the cgroup, else the number of CPUs.
    pub workers: Option<usize>,
}

impl RuntimeSettings {
    /// Reads `WORKER_THREADS`.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        Self { workers: settings.optional_int("WORKER_THREADS", 1..=1024) }
    }

    /// The number of worker threads this asks for.
    #[must_use]
    pub fn worker_threads(self) -> usize {
        // The standard library looks at affinity and at cgroup quotas, v1 and v2.
        let available = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.workers.unwrap_or_else(available)
    }
}

/// Builds the runtime; threads are called `component`.
///
/// # Errors
/// The operating system's, when it has no threads or descriptors to give.
pub fn build(component: &str, settings: RuntimeSettings) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(settings.worker_threads())
        .thread_name(component)
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_follow_the_setting() {
        let source = [("WORKER_THREADS", "3")];
        let settings = Settings::new(&source);
        let runtime = build("test", RuntimeSettings::read(&settings)).unwrap();
        assert_eq!(runtime.metrics().num_workers(), 3);
        assert!(RuntimeSettings::default().worker_threads() >= 1);
    }
}
