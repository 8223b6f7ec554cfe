//! The client of Istio's certificate service, and the trait of whatever else signs requests.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use mesh_api::istio::ca::IstioCertificateRequest;
use mesh_api::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use rustls::ClientConfig;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use crate::files::read_bounded;
use crate::grpc::{self, Target};
use crate::tls::Reloading;

/// How long one call may take, with dialling.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A larger token is refused: it would not fit into a header.
const MAX_TOKEN: usize = 32 * 1024;

/// A larger answer is refused.
const MAX_ANSWER: usize = 512 * 1024;

/// The metadata key under which Istio's agent names its cluster.
const CLUSTER_ID: &str = "clusterid";

/// What an authority answered: PEM texts, the leaf first, the root last. Not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The texts, each with one or more certificates.
    pub chain_pem: Vec<String>,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// The authority could not be reached or could not answer: ask again.
    #[error("{authority} gave no certificate, trying again: {reason}")]
    Transient {
        /// Who was asked.
        authority: String,
        /// What happened.
        reason: String,
    },
    /// The authority said no. Asking again helps only when the caller's token, its settings or the
    /// authority change.
    #[error("{authority} refused a certificate: {reason}")]
    Refused {
        /// Who was asked.
        authority: String,
        /// Its words.
        reason: String,
    },
    /// Our own side lacks something, such as the token's file.
    #[error("cannot ask {authority} for a certificate: {reason}")]
    Local {
        /// Who was to be asked.
        authority: String,
        /// What is missing.
        reason: String,
    },
}

impl CaError {
    /// Whether the same request may succeed without anything being changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

/// Something that signs requests.
pub trait CaSource: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> &str;

    /// Asks for a certificate of the key that signed `csr_pem`, valid for `ttl` or less.
    fn create_certificate<'a>(
        &'a self,
        csr_pem: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Issued, CaError>>;
}

/// Where the bearer token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// There is none: the client certificate speaks for the caller.
    None,
    /// A file, read anew for each call, because kubelets renew projected tokens.
    File(PathBuf),
    /// The file if it is there: an authority that also knows client certificates may do without.
    OptionalFile(PathBuf),
}

/// A client of `istio.v1.auth.IstioCertificateService`. Each call dials anew, so that each uses
/// the present client certificate and finds the present replicas; calls are hours apart.
#[derive(Clone, Debug)]
pub struct CaClient {
    target: Target,
    tls: Reloading<ClientConfig>,
    token: TokenSource,
    cluster_id: Option<MetadataValue<Ascii>>,
    mark: Option<u32>,
}

impl CaClient {
    /// A client that dials `target` with the `tls` of the moment and proves itself with `token`.
    #[must_use]
    pub fn new(target: Target, tls: Reloading<ClientConfig>, token: TokenSource) -> Self {
        Self { target, tls, token, cluster_id: None, mark: None }
    }

    /// Also says which cluster the caller is of. An id that cannot be a header is left out.
    #[must_use]
    pub fn with_cluster_id(mut self, id: &str) -> Self {
        self.cluster_id = id.parse().ok().filter(|_| !id.is_empty());
        self
    }

    /// Dials over sockets with this mark, as [`grpc::marked_channel`] does.
    #[must_use]
    pub fn with_mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    /// Asks for a certificate of the key that signed `csr_pem`, valid for `ttl` (whole seconds) or
    /// less.
    ///
    /// # Errors
    /// [`CaError`], which says whether asking again can help.
    pub async fn create_certificate(
        &self,
        csr_pem: &str,
        ttl: Duration,
    ) -> Result<Issued, CaError> {
        let validity_duration = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let message =
            IstioCertificateRequest { csr: csr_pem.to_owned(), validity_duration, metadata: None };
        let mut request = Request::new(message);
        if let Some(bearer) = self.bearer().await? {
            request.metadata_mut().insert("authorization", bearer);
        }
        if let Some(id) = &self.cluster_id {
            request.metadata_mut().insert(CLUSTER_ID, id.clone());
        }
        let channel = grpc::marked_channel(&self.target, Some(self.tls.clone()), self.mark)
            .map_err(|error| self.local(error.to_string()))?;
        let mut client =
            IstioCertificateServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        match tokio::time::timeout(CALL_TIMEOUT, client.create_certificate(request)).await {
            Ok(Ok(answer)) => Ok(Issued { chain_pem: answer.into_inner().cert_chain }),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_elapsed) => Err(CaError::Transient {
                authority: self.target.authority.clone(),
                reason: format!("no answer within {} s", CALL_TIMEOUT.as_secs()),
            }),
        }
    }

    async fn bearer(&self) -> Result<Option<MetadataValue<Ascii>>, CaError> {
        let (path, optional) = match &self.token {
            TokenSource::None => return Ok(None),
            TokenSource::File(path) => (path, false),
            TokenSource::OptionalFile(path) => (path, true),
        };
        let bad = |what: String| self.local(format!("token file {}: {what}", path.display()));
        let content = match read_bounded(path).await {
            Ok(content) => content,
            Err(error) if optional && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(error.to_string())),
        };
        let token = str::from_utf8(&content).map(str::trim).unwrap_or_default();
        let fits = !token.is_empty()
            && token.len() <= MAX_TOKEN
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(bad(format!("holds no token of at most {MAX_TOKEN} printable characters")));
        }
        // Whatever the parser has to say of it, the token stays out of messages.
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| bad("cannot be a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn local(&self, reason: String) -> CaError {
        CaError::Local { authority: self.target.authority.clone(), reason }
    }

    fn failed(&self, status: &Status) -> CaError {
        let authority = self.target.authority.clone();
        let cause = causes(status);
        let reason = format!("{:?}: {}{cause}", status.code(), status.message());
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => CaError::Refused { authority, reason },
            _ => CaError::Transient { authority, reason },
        }
    }
}

impl CaSource for CaClient {
    fn name(&self) -> &str {
        &self.target.authority
    }

    fn create_certificate<'a>(
        &'a self,
        csr_pem: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Issued, CaError>> {
        Box::pin(CaClient::create_certificate(self, csr_pem, ttl))
    }
}

/// tonic says "transport error" and keeps the reason in the sources.
fn causes(status: &Status) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
