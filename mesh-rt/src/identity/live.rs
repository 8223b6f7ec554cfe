//! The identity of this moment: one writer (the manager), many readers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::trust::TrustBundle;
use super::workload_cert::WorkloadCert;

/// A certificate and a trust bundle that are replaced while they are in use. Clones share them.
#[derive(Clone, Default)]
pub struct LiveIdentity {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    current: ArcSwapOption<WorkloadCert>,
    trust: ArcSwap<TrustBundle>,
    changes: watch::Sender<u64>,
    renew: Notify,
    last_error: Mutex<Option<String>>,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// What an operator wants to know of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityStatus {
    /// Whether there is a certificate.
    pub has_certificate: bool,
    /// Counts changes of certificate and trust bundle.
    pub generation: u64,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
    /// Attempts to get a certificate, one per source asked.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
}

impl LiveIdentity {
    /// An identity that has no certificate and trusts nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The certificate of this moment; `None` until the first arrives.
    #[must_use]
    pub fn current(&self) -> Option<Arc<WorkloadCert>> {
        self.shared.current.load_full()
    }

    /// The roots of this moment.
    #[must_use]
    pub fn trust(&self) -> Arc<TrustBundle> {
        self.shared.trust.load_full()
    }

    /// Counts changes of certificate and trust bundle; 0 is before the first. What was derived
    /// from an identity (TLS sessions, say) is stale when this has moved on.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.shared.changes.borrow()
    }

    /// Tells of changes, by their generation. Read [`current`](Self::current) and
    /// [`trust`](Self::trust) after each.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Returns once there is a certificate.
    pub async fn ready(&self) -> Arc<WorkloadCert> {
        let mut changes = self.subscribe();
        loop {
            if let Some(current) = self.current() {
                return current;
            }
            // The sender lives in `self`, so this cannot fail.
            let _changed = changes.changed().await;
        }
    }

    /// What an operator wants to know.
    #[must_use]
    pub fn status(&self) -> IdentityStatus {
        IdentityStatus {
            has_certificate: self.shared.current.load().is_some(),
            generation: self.generation(),
            last_error: self.shared.last_error.lock().clone(),
            requests: self.shared.requests.load(Ordering::Relaxed),
            failures: self.shared.failures.load(Ordering::Relaxed),
        }
    }

    /// Replaces certificate and roots. The manager does this; tests and static identities may.
    pub fn publish(&self, certificate: WorkloadCert, trust: TrustBundle) {
        // The roots first: a peer of the new root must be welcome when our new leaf is seen.
        self.shared.trust.store(Arc::new(trust));
        self.shared.current.store(Some(Arc::new(certificate)));
        *self.shared.last_error.lock() = None;
        self.shared.changes.send_modify(|generation| *generation += 1);
    }

    /// Replaces the roots; the same roots are no change.
    pub fn set_trust(&self, trust: TrustBundle) {
        if **self.shared.trust.load() == trust {
            return;
        }
        self.shared.trust.store(Arc::new(trust));
        self.shared.changes.send_modify(|generation| *generation += 1);
    }

    /// Makes the manager renew the certificate now, because its authority has changed.
    pub fn renew(&self) {
        self.shared.renew.notify_one();
    }

    pub(super) async fn renewal_asked(&self) {
        self.shared.renew.notified().await;
    }

    pub(super) fn count_request(&self) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self, reason: String) {
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        *self.shared.last_error.lock() = Some(reason);
    }
}

impl fmt::Debug for LiveIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveIdentity")
            .field("current", &*self.shared.current.load())
            .field("trust", &*self.shared.trust.load())
            .field("generation", &self.generation())
            .finish()
    }
}
