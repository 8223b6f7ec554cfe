//! Keeps a live identity alive: first certificate, renewal in time, new roots.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::spiffe::SpiffeId;
use rustls_pki_types::CertificateDer;
use tracing::{debug, info, warn};

use super::ca_client::CaSource;
use super::key::{CsrSubject, KeyAlgorithm, KeyAndCsr};
use super::live::LiveIdentity;
use super::trust::TrustBundle;
use super::workload_cert::WorkloadCert;
use crate::backoff::{self, Backoff};
use crate::files::{FileWatch, read_bounded};
use crate::readiness::{BlockReady, Readiness};
use crate::tasks::Tasks;

/// The longest sleep at once: a machine that was suspended notices its late certificate then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The clock on the wall, and chance. Both are parameters, so that tests decide them.
#[derive(Clone)]
pub struct TimeSource {
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl TimeSource {
    /// The machine's clock and random numbers.
    #[must_use]
    pub fn system() -> Self {
        Self::of(SystemTime::now, backoff::jitter)
    }

    /// A clock, and a source of fractions in `0.0..=1.0`.
    #[must_use]
    pub fn of(
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { now: Arc::new(now), jitter: Arc::new(jitter) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.now)()
    }

    /// A fraction in `0.0..=1.0`.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        (self.jitter)()
    }
}

impl fmt::Debug for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeSource")
    }
}

/// Whose certificate, and how it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityOptions {
    /// Who we are: the certificate must say so.
    pub spiffe: SpiffeId,
    /// The kind of key; each renewal makes a new one.
    pub algorithm: KeyAlgorithm,
    /// The wanted lifetime of a certificate (`SECRET_TTL`). 24 h.
    pub ttl: Duration,
    /// The part of the lifetime that is left when it is renewed
    /// (`SECRET_GRACE_PERIOD_RATIO`). 0.5.
    pub grace_ratio: f64,
    /// How far chance moves that part, up or down, so that workloads that were started together
    /// do not renew together (`SECRET_GRACE_PERIOD_RATIO_JITTER`). 0.01.
    pub grace_jitter: f64,
    /// A PEM file of roots that are trusted besides the authority's own, such as the mounted
    /// ConfigMap `istio-ca-root-cert`.
    pub root_file: Option<PathBuf>,
    /// How often that file is looked at. 2 s.
    pub look_every: Duration,
    /// Waits between failed attempts. From 200 ms to 30 s.
    pub backoff: Backoff,
}

impl IdentityOptions {
    /// Istio's defaults.
    #[must_use]
    pub fn new(spiffe: SpiffeId) -> Self {
        Self {
            spiffe,
            algorithm: KeyAlgorithm::default(),
            ttl: Duration::from_hours(24),
            grace_ratio: 0.5,
            grace_jitter: 0.01,
            root_file: None,
            look_every: Duration::from_secs(2),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
        }
    }
}

/// Obtains a certificate, renews it in time, and follows the root file. A failed renewal leaves
/// the certificate in use.
pub struct IdentityManager {
    live: LiveIdentity,
    options: IdentityOptions,
    sources: Vec<Arc<dyn CaSource>>,
    time: TimeSource,
    file_roots: Vec<CertificateDer<'static>>,
}

impl IdentityManager {
    /// A manager that publishes to `live`, asking `sources` in their order.
    #[must_use]
    pub fn new(
        live: LiveIdentity,
        options: IdentityOptions,
        sources: Vec<Arc<dyn CaSource>>,
        time: TimeSource,
    ) -> Self {
        Self { live, options, sources, time, file_roots: Vec::new() }
    }

    /// What it publishes to.
    #[must_use]
    pub fn live(&self) -> &LiveIdentity {
        &self.live
    }

    /// Runs in the background. With `readiness`, the process is not ready before the first
    /// certificate.
    pub fn start(self, tasks: &Tasks, readiness: Option<&Readiness>) {
        let blocked = readiness.map(|readiness| readiness.block("workload certificate"));
        let _detached = tasks.spawn_background("identity", self.run(blocked));
    }

    /// Runs until dropped; `blocked` is let go after the first certificate.
    pub async fn run(mut self, mut blocked: Option<BlockReady>) {
        let mut watch = match &self.options.root_file {
            Some(path) => {
                let mut watch = FileWatch::new(vec![path.clone()], self.options.look_every);
                // Marked before it is read: a change in between is seen as a change.
                watch.mark().await;
                let _first = self.read_roots().await;
                Some(watch)
            }
            None => None,
        };
        loop {
            let wait = if self.obtain().await {
                drop(blocked.take());
                self.options.backoff.reset();
                None
            } else {
                Some(self.options.backoff.next(self.time.jitter()))
            };
            let due = wait.is_none().then(|| self.due()).flatten();
            loop {
                let pause = match (wait, due) {
                    (Some(wait), _) => wait,
                    (None, Some(due)) => {
                        due.duration_since(self.time.now()).unwrap_or_default().min(LONGEST_SLEEP)
                    }
                    (None, None) => Duration::ZERO,
                };
                if pause.is_zero() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => if wait.is_some() { break },
                    () = self.live.renewal_asked() => break,
                    () = changed(&mut watch) => {
                        let is_new = self.read_roots().await;
                        if is_new && (wait.is_some() || self.must_renew_for_roots()) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// When the certificate must be renewed: as Istio's agent, when `ratio ± jitter` of the
    /// lifetime is left.
    fn due(&self) -> Option<SystemTime> {
        let current = self.live.current()?;
        let lifetime = current.not_after().duration_since(current.obtained()).ok()?;
        let spread = (self.time.jitter() * 2.0 - 1.0) * self.options.grace_jitter;
        let grace = (self.options.grace_ratio + spread).clamp(0.0, 1.0);
        let wait = lifetime.mul_f64(1.0 - grace);
        // A grace of the whole lifetime would ask without pause.
        Some(current.obtained() + wait.max(Duration::from_secs(1)))
    }

    /// Asks the sources in turn; whether one gave a certificate that is good.
    async fn obtain(&self) -> bool {
        let subject =
            CsrSubject { spiffe: self.options.spiffe.clone(), algorithm: self.options.algorithm };
        for source in &self.sources {
            self.live.count_request();
            // A key of its own for each: what one source has seen of a request is not another's.
            let request = match KeyAndCsr::generate(&subject) {
                Ok(request) => request,
                Err(error) => {
                    self.failed(source.name(), &error);
                    continue;
                }
            };
            let issued = match source.create_certificate(request.csr_pem(), self.options.ttl).await
            {
                Ok(issued) => issued,
                Err(error) => {
                    self.failed(source.name(), &error);
                    continue;
                }
            };
            let (spiffe, now) = (&self.options.spiffe, self.time.now());
            let key = request.into_key();
            let checked = WorkloadCert::check(&issued, key, spiffe, &self.file_roots, now)
                .map_err(|error| error.to_string())
                .and_then(|certificate| {
                    let trust = TrustBundle::new(certificate.roots().iter().cloned());
                    trust.map(|trust| (certificate, trust)).map_err(|error| error.to_string())
                });
            match checked {
                Ok((certificate, trust)) => {
                    let serial = certificate.serial();
                    info!(%spiffe, serial, source = source.name(), "certificate obtained");
                    self.live.publish(certificate, trust);
                    return true;
                }
                Err(reason) => {
                    self.failed(source.name(), &format!("{}: {reason}", source.name()));
                }
            }
        }
        false
    }

    fn failed(&self, source: &str, error: &dyn fmt::Display) {
        let kept = self.live.current().is_some();
        warn!(source, keeps_the_old_one = kept, "no certificate: {error}");
        self.live.count_failure(error.to_string());
    }

    /// Whether the file gave roots that are not those known already.
    async fn read_roots(&mut self) -> bool {
        let Some(path) = &self.options.root_file else { return false };
        let read = match read_bounded(path).await {
            Ok(content) => TrustBundle::from_pem(&content).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let file = match read {
            Ok(file) => file,
            Err(error) => {
                warn!(file = %path.display(), "roots not read, keeping the last ones: {error}");
                return false;
            }
        };
        if file.certificates() == self.file_roots {
            return false;
        }
        self.file_roots = file.certificates().to_vec();
        // Roots of the certificate in use stay until it is replaced, or peers would lose us.
        let own = self.live.current();
        let own = own.as_ref().map(|current| current.authority_roots()).unwrap_or_default();
        match TrustBundle::new(self.file_roots.iter().chain(own).cloned()) {
            Ok(trust) => {
                debug!(file = %path.display(), roots = trust.certificates().len(), "roots read");
                self.live.set_trust(trust);
            }
            Err(error) => warn!(file = %path.display(), "roots not used: {error}"),
        }
        true
    }

    /// Whether the root file no longer vouches for the certificate in use.
    fn must_renew_for_roots(&self) -> bool {
        let Some(current) = self.live.current() else { return true };
        if self.file_roots.is_empty() {
            return false;
        }
        match TrustBundle::new(self.file_roots.iter().cloned()) {
            Ok(file) => !current.is_trusted_by(&file, self.time.now()),
            Err(_) => false,
        }
    }
}

async fn changed(watch: &mut Option<FileWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
