//! Readiness as named drop guards: the process is ready when nobody blocks it any more.

use crate::names::{HeldName, HeldNames};

/// Shared by everything that must come up before the process may be used.
///
/// ```
/// let readiness = mesh_rt::readiness::Readiness::new();
/// let caches = readiness.block("informer caches");
/// assert_eq!(readiness.pending(), ["informer caches"]);
/// drop(caches);
/// assert!(readiness.is_ready());
/// ```
#[derive(Clone, Debug)]
pub struct Readiness {
    blockers: HeldNames,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Nothing blocks yet, so this is ready: take the guards before anything may ask.
    #[must_use]
    pub fn new() -> Self {
        Self { blockers: HeldNames::new() }
    }

    /// Keeps the process unready, under `name`, until the guard is dropped.
    #[must_use = "dropping the guard is what makes the process ready"]
    pub fn block(&self, name: impl Into<std::borrow::Cow<'static, str>>) -> BlockReady {
        BlockReady { _held: self.blockers.hold(name) }
    }

    /// Whether nobody blocks.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.blockers.is_empty()
    }

    /// Who blocks, sorted; `name ×n` where several hold the same name.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.blockers.list()
    }

    /// Returns once nobody blocks.
    pub async fn wait_ready(&self) {
        self.blockers.wait_empty().await;
    }
}

/// A reason not to be ready. Dropping it removes the reason.
#[derive(Debug)]
pub struct BlockReady {
    _held: HeldName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_lists_names_and_counts() {
        let readiness = Readiness::new();
        let first = readiness.block("xds");
        let second = readiness.block("xds");
        let third = readiness.block("certificate".to_owned());
        assert_eq!(readiness.pending(), ["certificate", "xds ×2"]);
        drop((first, third));
        assert_eq!(readiness.pending(), ["xds"]);
        assert!(!readiness.is_ready());
        drop(second);
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn wait_ready_returns_after_the_last_guard() {
        let readiness = Readiness::new();
        let guard = readiness.block("store");
        let waiter = readiness.clone();
        let mut wait = std::pin::pin!(waiter.wait_ready());
        assert!(futures::poll!(wait.as_mut()).is_pending());
        drop(guard);
        wait.await;
    }
}
