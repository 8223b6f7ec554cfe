//! Where the authority's key lives: Secret `cacerts` if plugged in, else `istio-ca-secret`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use mesh_rt::identity::TimeSource;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::ca::root::{self, RootError};
use crate::ca::{BundleError, CaBundle, SecretText};

/// The Secret a user plugs an authority in with.
pub const PLUGGED_IN: &str = "cacerts";

/// The Secret of a self-signed root.
pub const SELF_SIGNED: &str = "istio-ca-secret";

const SELF_SIGNED_TYPE: &str = "istio.io/ca-root";

/// How often the root's age is looked at.
const ROTATION_CHECK: Duration = Duration::from_hours(1);

/// Two that start together meet here at most this often.
const ATTEMPTS: usize = 5;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A Secret that cannot be used, and is left alone.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A root that could not be made.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The Kubernetes API.
    #[error("Secret {secret}: {source}")]
    Kube {
        /// The Secret.
        secret: &'static str,
        /// The API's answer.
        source: Box<kube::Error>,
    },
    /// Others changed the Secret each time.
    #[error("Secret {0} was changed by others during every attempt; trying again later")]
    Contended(&'static str),
}

/// The authority of this moment. Clones share it.
#[derive(Clone, Default)]
pub struct LiveCa {
    current: Arc<ArcSwapOption<CaBundle>>,
    changes: watch::Sender<u64>,
}

impl LiveCa {
    /// The authority; `None` before the first.
    #[must_use]
    pub fn current(&self) -> Option<Arc<CaBundle>> {
        self.current.load_full()
    }

    /// Tells of changes, by a count of them.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Replaces it.
    pub fn publish(&self, bundle: CaBundle) {
        self.current.store(Some(Arc::new(bundle)));
        self.changes.send_modify(|count| *count += 1);
    }
}

impl fmt::Debug for LiveCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveCa").field(&*self.current.load()).finish()
    }
}

/// Reads, makes and re-issues the authority in Secrets of one namespace.
#[derive(Clone)]
pub struct SecretStore {
    api: Api<Secret>,
    organization: String,
    root_ttl: Duration,
    time: TimeSource,
}

impl SecretStore {
    /// A store in `namespace`; roots made here say `organization` (the trust domain) and are valid
    /// for `root_ttl`.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        organization: &str,
        root_ttl: Duration,
        time: TimeSource,
    ) -> Self {
        let organization = organization.to_owned();
        Self { api: Api::namespaced(client, namespace), organization, root_ttl, time }
    }

    /// The plugged-in authority if there is one; else the self-signed one, which is made when it is
    /// missing and re-issued when it is due. Of several that start together, one makes it and all
    /// read it.
    ///
    /// # Errors
    /// [`StoreError`]; a Secret that cannot be used is left as it is.
    pub async fn load(&self) -> Result<CaBundle, StoreError> {
        if let Some(secret) = self.get(PLUGGED_IN).await? {
            return Ok(CaBundle::from_secret(PLUGGED_IN, &text(&secret), self.time.now())?);
        }
        for _attempt in 0..ATTEMPTS {
            let Some(secret) = self.get(SELF_SIGNED).await? else {
                let made = root::self_signed(
                    &self.organization,
                    self.root_ttl,
                    rand::random(),
                    self.time.now(),
                )?;
                match self.api.create(&PostParams::default(), &self_signed(made)).await {
                    Ok(_created) => info!("made a self-signed root in Secret {SELF_SIGNED}"),
                    // Somebody else was first; the next attempt reads theirs.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => return Err(failed(SELF_SIGNED, error)),
                }
                continue;
            };
            let bundle = CaBundle::from_secret(SELF_SIGNED, &text(&secret), self.time.now())?;
            if !root::is_due(&bundle, self.time.now()) {
                return Ok(bundle);
            }
            let renewed = root::reissued(&bundle, self.root_ttl, rand::random(), self.time.now())?;
            let mut replacement = self_signed(renewed);
            // With the version it was read at: two that re-issue at once do not overwrite.
            replacement.metadata = secret.metadata;
            match self.api.replace(SELF_SIGNED, &PostParams::default(), &replacement).await {
                Ok(_replaced) => info!("re-issued the root in Secret {SELF_SIGNED}"),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(SELF_SIGNED, error)),
            }
        }
        Err(StoreError::Contended(SELF_SIGNED))
    }

    /// Loads again whenever one of the Secrets changes, and hourly; what cannot be used leaves the
    /// last authority in place. Runs until dropped.
    pub async fn follow(&self, live: LiveCa) {
        let watch = |name| watch_object(self.api.clone(), name).default_backoff().boxed();
        let mut changes = futures::stream::select(watch(PLUGGED_IN), watch(SELF_SIGNED));
        loop {
            let seen = tokio::time::timeout(ROTATION_CHECK, changes.next()).await;
            match seen {
                Ok(Some(Ok(_))) | Err(_) => {}
                Ok(Some(Err(error))) => {
                    warn!("watching the authority's Secrets: {error}");
                    continue;
                }
                Ok(None) => return,
            }
            match self.load().await {
                Ok(bundle) => self.take(&live, bundle),
                Err(error) => warn!("keeping the last authority: {error}"),
            }
        }
    }

    fn take(&self, live: &LiveCa, bundle: CaBundle) {
        if let Some(current) = live.current() {
            if current.above_leaf() == bundle.above_leaf()
                && current.not_after() == bundle.not_after()
                && current.secret() == bundle.secret()
            {
                return;
            }
            if current.secret() == PLUGGED_IN && bundle.secret() == SELF_SIGNED {
                warn!(
                    "Secret {PLUGGED_IN} is gone; keeping its authority, because another root \
                     would cut off every workload. Restart citadel to go back to a self-signed root"
                );
                return;
            }
        }
        info!(secret = bundle.secret(), "signing with a new authority");
        live.publish(bundle);
    }

    async fn get(&self, name: &'static str) -> Result<Option<Secret>, StoreError> {
        self.api.get_opt(name).await.map_err(|error| failed(name, error))
    }
}

fn failed(secret: &'static str, error: kube::Error) -> StoreError {
    StoreError::Kube { secret, source: Box::new(error) }
}

fn text(secret: &Secret) -> SecretText {
    let data = secret.data.iter().flatten();
    data.map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

fn self_signed(data: SecretText) -> Secret {
    Secret {
        metadata: ObjectMeta { name: Some(SELF_SIGNED.to_owned()), ..ObjectMeta::default() },
        data: Some(data.into_iter().map(|(name, value)| (name, ByteString(value))).collect()),
        type_: Some(SELF_SIGNED_TYPE.to_owned()),
        ..Secret::default()
    }
}
