//! What controllers share: the error type, and workers that take keys from a queue.

use std::{future::Future, hash::Hash, sync::Arc, time::Duration};

use mesh_rt::{backoff::Backoff, tasks::Tasks};
use tracing::{debug, warn};

use super::queue::Queue;

/// Why a key could not be brought where it should be; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server refused or could not be reached.
    #[error("{what}: {source}")]
    Api {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    /// The object cannot be worked with as it is.
    #[error("{0}")]
    Object(String),
}

impl Error {
    /// An API error, with what was being done.
    pub(super) fn api(what: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// Whether another writer was first, or the object is gone: nothing to report.
    pub(super) fn is_race(&self) -> bool {
        match self {
            Self::Api { source, .. } => matches!(code(source), Some(404 | 409)),
            Self::Object(_) => false,
        }
    }

    /// Whether the cause is that the namespace is being deleted.
    pub(super) fn is_namespace_terminating(&self) -> bool {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => {
                    status.code == 403 && status.message.contains("because it is being terminated")
                }
                _ => false,
            },
            Self::Object(_) => false,
        }
    }

    /// The server's own words, for events and conditions.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            Self::Object(message) => message.clone(),
        }
    }
}

/// The HTTP status of an API error.
pub(super) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// `Ok(None)` when the object is already gone.
pub(super) fn unless_gone<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if code(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// When to look at a key again although nothing changed.
pub(super) type Recheck = Option<Duration>;

/// A controller: a queue of keys and what to do for one of them.
pub(super) trait Controller: Send + Sync + 'static {
    /// What names an object of this controller.
    type Key: Clone + Eq + Hash + Send + Sync + std::fmt::Debug + 'static;
    /// The controller's name in logs.
    const NAME: &'static str;
    /// How many keys are worked on at a time.
    const WORKERS: usize = 4;

    fn queue(&self) -> &Arc<Queue<Self::Key>>;

    /// Brings the world where the key's object wants it.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Recheck, Error>> + Send;
}

/// Starts a controller's workers.
pub(super) fn start<C: Controller>(tasks: &Tasks, controller: &Arc<C>) {
    for _ in 0..C::WORKERS {
        let controller = controller.clone();
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        // A panic costs the key it happened on a retry, not the controller.
        tasks.spawn_supervised(C::NAME, backoff, move || work(controller.clone()));
    }
}

async fn work<C: Controller>(controller: Arc<C>) -> Result<(), Error> {
    loop {
        let lease = controller.queue().next().await;
        let key = lease.key();
        match controller.reconcile(key).await {
            Ok(recheck) => {
                controller.queue().succeeded(key);
                if let Some(delay) = recheck {
                    controller.queue().add_after(key.clone(), delay);
                }
            }
            Err(error) => {
                if error.is_race() || error.is_namespace_terminating() {
                    debug!(controller = C::NAME, ?key, "trying again: {error}");
                } else {
                    warn!(controller = C::NAME, ?key, "trying again: {error}");
                }
                controller.queue().retry(key.clone());
            }
        }
    }
}
