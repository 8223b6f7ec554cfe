//! TLS configurations that reload: new connections use the new one, old connections keep theirs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

use crate::crypto;
use crate::files::{FileWatch, read_bounded};
use crate::tasks::Tasks;

/// ALPN of gRPC.
pub const H2: &[u8] = b"h2";

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file is not the PEM it should be.
    #[error("{what} is not valid PEM: {reason}")]
    Pem {
        /// Certificates, key or roots.
        what: &'static str,
        /// The parser's reason.
        reason: String,
    },
    /// The material does not fit together: a key of another certificate, no roots.
    #[error("TLS material does not fit: {0}")]
    Material(String),
}

/// A certificate chain, leaf first, with its key.
#[derive(Debug)]
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Parses PEM texts.
    ///
    /// # Errors
    /// [`TlsError::Pem`] when there is no certificate or no key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates("certificate chain", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|e| TlsError::Pem { what: "private key", reason: e.to_string() })?;
        Ok(Self { chain, key })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Parses root certificates from PEM.
///
/// # Errors
/// [`TlsError`] when there is none, or one is not a certificate.
pub fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("root certificates", pem)? {
        roots.add(certificate).map_err(|e| TlsError::Material(e.to_string()))?;
    }
    Ok(roots)
}

/// Whether a server asks clients for certificates.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// It does not.
    None,
    /// It checks what is given, and takes clients that give none.
    Optional(Arc<RootCertStore>),
    /// It refuses clients without.
    Required(Arc<RootCertStore>),
}

/// A server configuration for `identity` with ALPN `protocols`.
///
/// # Errors
/// [`TlsError::Material`] when key and certificate do not fit.
pub fn server_config(
    identity: Identity,
    clients: ClientAuth,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(material)?;
    let verifier = |roots| WebPkiClientVerifier::builder_with_provider(roots, crypto::provider());
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => {
            let verifier = verifier(roots).allow_unauthenticated().build().map_err(material)?;
            builder.with_client_cert_verifier(verifier)
        }
        ClientAuth::Required(roots) => {
            builder.with_client_cert_verifier(verifier(roots).build().map_err(material)?)
        }
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key).map_err(material)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// A client configuration that trusts `roots`, with ALPN `protocols`.
///
/// # Errors
/// [`TlsError::Material`] when key and certificate do not fit.
pub fn client_config(
    identity: Option<Identity>,
    roots: RootCertStore,
    protocols: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(material)?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain, identity.key).map_err(material)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// A configuration that can be replaced while it is in use. Clones share it.
#[derive(Debug)]
pub struct Reloading<C> {
    current: Arc<ArcSwap<C>>,
}

impl<C> Clone for Reloading<C> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone() }
    }
}

impl<C> Reloading<C> {
    /// Starts with `config`.
    #[must_use]
    pub fn new(config: C) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(config)) }
    }

    /// What a new connection should use.
    #[must_use]
    pub fn load(&self) -> Arc<C> {
        self.current.load_full()
    }

    /// Replaces it for new connections.
    pub fn store(&self, config: C) {
        self.current.store(Arc::new(config));
    }
}

/// The files of one side's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain and key; a client may go without.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Roots to check the peer with; a server without takes any client.
    pub roots: Option<PathBuf>,
}

/// The content of [`TlsFiles`].
#[derive(Clone, Debug)]
pub struct TlsMaterial {
    /// Certificate chain and key.
    pub identity: Option<Identity>,
    /// Roots to check the peer with.
    pub roots: Option<RootCertStore>,
}

impl TlsFiles {
    /// Reads and parses the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub async fn read(&self) -> Result<TlsMaterial, TlsError> {
        let read = async |path: &PathBuf| {
            let read = read_bounded(path).await;
            read.map_err(|source| TlsError::Read { path: path.display().to_string(), source })
        };
        let identity = match &self.identity {
            Some((chain, key)) => Some(Identity::from_pem(&read(chain).await?, &read(key).await?)?),
            None => None,
        };
        let roots = match &self.roots {
            Some(roots) => Some(roots_from_pem(&read(roots).await?)?),
            None => None,
        };
        Ok(TlsMaterial { identity, roots })
    }

    fn paths(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(chain, key)| [chain, key]);
        identity.chain(&self.roots).cloned().collect()
    }

    /// Builds a configuration from the files now, and again each time they change. Files that are
    /// bad then are logged, and the last good configuration stays.
    ///
    /// # Errors
    /// [`TlsError`] when the files are bad now.
    pub async fn reloading<C: Send + Sync + 'static>(
        self,
        tasks: &Tasks,
        every: Duration,
        build: impl Fn(TlsMaterial) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Reloading<C>, TlsError> {
        // Marked before they are read: a change in between is seen as a change.
        let mut watch = FileWatch::new(self.paths(), every);
        watch.mark().await;
        let config = Reloading::new(build(self.read().await?)?);
        let reloaded = config.clone();
        let follow = async move {
            loop {
                watch.changed().await;
                match self.read().await.and_then(&build) {
                    Ok(new) => {
                        reloaded.store(new);
                        info!(files = ?self, "TLS files changed: in use for new connections");
                    }
                    Err(error) => warn!("TLS files changed, keeping the last good ones: {error}"),
                }
            }
        };
        let _detached = tasks.spawn_background("tls reload", follow);
        Ok(config)
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(found) if found.is_empty() => {
            Err(TlsError::Pem { what, reason: "there is no certificate in it".to_owned() })
        }
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Pem { what, reason: error.to_string() }),
    }
}

fn material(error: impl std::fmt::Display) -> TlsError {
    TlsError::Material(error.to_string())
}
