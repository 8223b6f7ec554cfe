//! `IstioCertificateService`: an opaque word to the caller, the full reason in our log.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mesh_api::istio::ca::istio_certificate_service_server::IstioCertificateService;
use mesh_api::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use mesh_api::spiffe::SpiffeId;
use mesh_rt::grpc::PeerInfo;
use mesh_rt::identity::{CaError, CaSource, Issued, TimeSource};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use tracing::{error, info, warn};

use crate::authn::{Authenticator, AuthnError, Credentials, authenticate};
use crate::ca::issue::{Leaf, issue};
use crate::csr;
use crate::metrics::{Counts, count};
use crate::names::dns_names;
use crate::store::LiveCa;

/// The largest request that is read.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Requests worked on at the same time; further ones wait.
const CONCURRENT: usize = 256;

/// How long a request may take, waiting included.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the authority decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The control plane's namespace.
    pub namespace: String,
    /// The cluster's DNS suffix.
    pub cluster_domain: String,
    /// A certificate's lifetime when none is asked for.
    pub default_ttl: Duration,
    /// The longest lifetime.
    pub max_ttl: Duration,
}

/// Signs for workloads.
#[derive(Clone)]
pub struct Signer {
    ca: LiveCa,
    policy: Arc<Policy>,
    time: TimeSource,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There is no authority yet.
    #[error("the authority is not loaded yet")]
    NotReady,
    /// The request.
    #[error(transparent)]
    Csr(#[from] csr::CsrError),
    /// The authority.
    #[error(transparent)]
    Issue(#[from] crate::ca::issue::IssueError),
}

impl Signer {
    /// Signs with the authority that `ca` has at each request.
    #[must_use]
    pub fn new(ca: LiveCa, policy: Policy, time: TimeSource) -> Self {
        Self { ca, policy: Arc::new(policy), time }
    }

    /// A chain for `caller` and the key of the request: leaf first, root last. `seconds` of 0 or
    /// less ask for the default lifetime.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(
        &self,
        caller: &SpiffeId,
        csr_pem: &str,
        seconds: i64,
    ) -> Result<Vec<String>, SignError> {
        let key = csr::proven_key(csr_pem)?;
        let bundle = self.ca.current().ok_or(SignError::NotReady)?;
        let policy = &self.policy;
        let ttl = match u64::try_from(seconds) {
            Ok(seconds @ 1..) => Duration::from_secs(seconds).min(policy.max_ttl),
            _ => policy.default_ttl,
        };
        let leaf = Leaf {
            spiffe: Some(caller.clone()),
            dns: dns_names(caller, &policy.namespace, &policy.cluster_domain),
            serial: rand::random(),
            ttl,
        };
        let leaf = issue(&bundle, &key, &leaf, self.time.now())?;
        Ok(std::iter::once(leaf).chain(bundle.above_leaf()).collect())
    }
}

/// The signer as the source of citadel's own certificate.
pub struct OwnCertificate {
    /// Who citadel is.
    pub spiffe: SpiffeId,
    /// Signs.
    pub signer: Signer,
}

impl CaSource for OwnCertificate {
    fn name(&self) -> &str {
        "this authority"
    }

    fn create_certificate<'a>(
        &'a self,
        csr_pem: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Issued, CaError>> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let signed = self.signer.sign(&self.spiffe, csr_pem, seconds);
        let authority = || self.name().to_owned();
        Box::pin(std::future::ready(signed.map(|chain_pem| Issued { chain_pem }).map_err(
            |error| CaError::Transient { authority: authority(), reason: error.to_string() },
        )))
    }
}

/// The gRPC service.
pub struct CertificateService {
    signer: Signer,
    authenticators: Vec<Arc<dyn Authenticator>>,
    counts: Arc<Counts>,
    slots: Semaphore,
}

impl CertificateService {
    /// A service that signs for whom `authenticators` know.
    #[must_use]
    pub fn new(
        signer: Signer,
        authenticators: Vec<Arc<dyn Authenticator>>,
        counts: Arc<Counts>,
    ) -> Self {
        Self { signer, authenticators, counts, slots: Semaphore::new(CONCURRENT) }
    }

    async fn answer(
        &self,
        credentials: Credentials,
        request: IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        let _slot = self.slots.acquire().await;
        let policy = &self.signer.policy;
        // Only the discovery server brings tokens that are not its own.
        let is_relay = |id: &SpiffeId| {
            let account = id.service_account.as_str();
            id.namespace.as_str() == policy.namespace
                && (account == "istiod" || account.starts_with("istiod-"))
        };
        let caller = authenticate(&self.authenticators, &credentials, is_relay).await;
        let caller = caller.map_err(|error| self.unknown(&credentials, &error))?;
        let spiffe = &caller.spiffe;
        refuse_metadata(&request).inspect_err(|status| {
            count(&self.counts.bad_identities);
            warn!(caller = %spiffe, "refused: {}", status.message());
        })?;
        match self.signer.sign(spiffe, &request.csr, request.validity_duration) {
            Ok(chain) => {
                count(&self.counts.issued);
                info!(caller = %spiffe, by = ?caller.kind, "certificate issued");
                Ok(chain)
            }
            Err(SignError::Csr(reason)) => {
                count(&self.counts.bad_csrs);
                warn!(caller = %spiffe, "refused: {reason}");
                // About what the caller itself sent, so it may know.
                Err(Status::invalid_argument(reason.to_string()))
            }
            Err(reason @ SignError::NotReady) => {
                count(&self.counts.sign_errors);
                Err(Status::unavailable(reason.to_string()))
            }
            Err(SignError::Issue(reason)) => {
                count(&self.counts.sign_errors);
                error!(caller = %spiffe, "not signed: {reason}");
                Err(Status::internal("the authority cannot sign; its log says why"))
            }
        }
    }

    fn unknown(&self, credentials: &Credentials, reason: &AuthnError) -> Status {
        count(&self.counts.unknown_callers);
        let address = credentials.peer.as_ref().map(|peer| peer.address.to_string());
        warn!(address, "caller not known: {reason}");
        match reason {
            AuthnError::Unavailable(_) => Status::unavailable("cannot authenticate callers now"),
            AuthnError::Disagree { .. } => {
                Status::permission_denied("token and client certificate name different workloads")
            }
            AuthnError::Missing | AuthnError::Token(_) | AuthnError::Certificate(_) => {
                Status::unauthenticated("request authentication failure")
            }
        }
    }
}

/// What a request may not ask for here.
fn refuse_metadata(request: &IstioCertificateRequest) -> Result<(), Status> {
    let Some(metadata) = &request.metadata else { return Ok(()) };
    if metadata.fields.contains_key("ImpersonatedIdentity") {
        return Err(Status::permission_denied(
            "metadata.ImpersonatedIdentity: this authority trusts no node account to ask for others",
        ));
    }
    if metadata.fields.contains_key("CertSigner") {
        return Err(Status::invalid_argument(
            "metadata.CertSigner: this authority signs by itself and forwards to no signer",
        ));
    }
    Ok(())
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        count(&self.counts.requests);
        let credentials = Credentials {
            token: bearer(&request)?,
            peer: request.extensions().get::<PeerInfo>().cloned(),
        };
        let answer = self.answer(credentials, request.into_inner());
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => Ok(Response::new(IstioCertificateResponse { cert_chain: answer? })),
            Err(_elapsed) => Err(Status::deadline_exceeded("the authority is busy; ask again")),
        }
    }
}

fn bearer(request: &Request<IstioCertificateRequest>) -> Result<Option<String>, Status> {
    let mut values = request.metadata().get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match request.metadata().contains_key("authorization") {
            true => Err(Status::unauthenticated("more than one authorization header")),
            false => Ok(None),
        };
    };
    let text = value.to_str().unwrap_or_default();
    match text.strip_prefix("Bearer ").map(str::trim) {
        Some(token) if !token.is_empty() => Ok(Some(token.to_owned())),
        _ => Err(Status::unauthenticated("authorization is not \"Bearer <token>\"")),
    }
}
