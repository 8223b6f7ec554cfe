//! Secrets by reference: the workload's own, files, what pilot sent, or bytes in place.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use mesh_api::name::SecretName;
use mesh_rt::crypto;
use mesh_rt::identity::{LiveIdentity, TrustBundle};
use mesh_rt::tls::Identity;
use proxy_model::lookup::Lookup;
use proxy_model::tls::{DataSource, Secret, SecretContent, SecretRef, SecretSource};
use rustls::sign::CertifiedKey;

use super::TlsFailure;

/// A secret's file is at most this long, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Secrets that pilot sends.
pub trait Secrets: Send + Sync {
    /// What is held of the secret called `name`.
    fn secret(&self, name: &str) -> Lookup<Arc<Secret>>;
}

/// Where references are resolved, and what was read on the way.
pub struct Reader<'a> {
    /// The workload's identity.
    pub live: &'a LiveIdentity,
    /// Pilot's secrets.
    pub secrets: &'a dyn Secrets,
    /// Files that were read, and when they had been written: a change makes the result stale.
    pub files: Vec<(PathBuf, Option<SystemTime>)>,
    /// Secrets of pilot that were read, with their versions.
    pub versions: Vec<(Arc<str>, Arc<str>)>,
}

impl Reader<'_> {
    /// A certificate with its key.
    pub fn certificate(&mut self, reference: &SecretRef) -> Result<Arc<CertifiedKey>, TlsFailure> {
        let bad = |reason: String| TlsFailure::Secret { name: reference.name.to_string(), reason };
        let (chain, key) = match &reference.source {
            SecretSource::Certificate { chain, key } => (chain.clone(), key.clone()),
            SecretSource::Roots(_) => return Err(bad("it holds roots, not a certificate".into())),
            SecretSource::Sds => match name(reference)? {
                SecretName::Workload | SecretName::BuiltIn(_) => {
                    let current = self.live.current();
                    let current = current.ok_or_else(|| bad("there is no certificate yet".into()));
                    return Ok(current?.certified().clone());
                }
                SecretName::FileCert { certificate, key } => {
                    (DataSource::File((*certificate).into()), DataSource::File((*key).into()))
                }
                _ => match &self.sent(reference)?.content {
                    SecretContent::Certificate { chain, key, .. } => (chain.clone(), key.clone()),
                    SecretContent::Roots { .. } => {
                        return Err(bad("it holds roots, not a certificate".into()));
                    }
                },
            },
        };
        let (chain, key) = (self.bytes(&chain).map_err(bad)?, self.bytes(&key).map_err(bad)?);
        let identity = Identity::from_pem(&chain, &key).map_err(|e| bad(e.to_string()))?;
        let certified = CertifiedKey::from_der(identity.chain, identity.key, &crypto::provider());
        certified.map(Arc::new).map_err(|e| bad(e.to_string()))
    }

    /// Roots.
    pub fn roots(&mut self, reference: &SecretRef) -> Result<Arc<TrustBundle>, TlsFailure> {
        let bad = |reason: String| TlsFailure::Secret { name: reference.name.to_string(), reason };
        let pem = match &reference.source {
            SecretSource::Roots(roots) => self.bytes(roots).map_err(bad)?,
            SecretSource::Certificate { .. } => {
                return Err(bad("it holds a certificate, not roots".into()));
            }
            SecretSource::Sds => match name(reference)? {
                SecretName::RootCa => {
                    let trust = self.live.trust();
                    if trust.is_empty() {
                        return Err(bad("there are no roots yet".into()));
                    }
                    return Ok(trust);
                }
                SecretName::FileRoot(path) => {
                    self.bytes(&DataSource::File((*path).into())).map_err(bad)?
                }
                SecretName::SystemRoots => {
                    let path = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
                    let path =
                        path.ok_or_else(|| bad("this system has no file of roots".into()))?;
                    self.bytes(&DataSource::File(path.to_owned())).map_err(bad)?
                }
                _ => match &self.sent(reference)?.content {
                    SecretContent::Roots { crl: Some(_), .. } => {
                        return Err(bad("revocation lists are not checked here".into()));
                    }
                    SecretContent::Roots { roots, crl: None } => {
                        let roots = roots.clone();
                        self.bytes(&roots).map_err(bad)?
                    }
                    SecretContent::Certificate { .. } => {
                        return Err(bad("it holds a certificate, not roots".into()));
                    }
                },
            },
        };
        TrustBundle::from_pem(&pem).map(Arc::new).map_err(|e| bad(e.to_string()))
    }

    fn sent(&mut self, reference: &SecretRef) -> Result<Arc<Secret>, TlsFailure> {
        let bad = |reason: &str| TlsFailure::Secret {
            name: reference.name.to_string(),
            reason: reason.to_owned(),
        };
        match self.secrets.secret(&reference.name) {
            Lookup::Found(secret) => {
                self.versions.push((secret.name.clone(), secret.version.clone()));
                Ok(secret)
            }
            Lookup::Absent => Err(bad("pilot has no such secret")),
            Lookup::Unknown(_) => Err(bad("pilot has not sent it yet")),
        }
    }

    fn bytes(&mut self, source: &DataSource) -> Result<Vec<u8>, String> {
        match source {
            DataSource::Inline(bytes) => Ok(bytes.to_vec()),
            DataSource::File(path) => {
                // Before it is read: a change in between is seen as a change.
                self.files.push((path.clone(), modified(path)));
                let mut bytes = Vec::new();
                let read = File::open(path).and_then(|f| f.take(MAX_FILE).read_to_end(&mut bytes));
                read.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(bytes)
            }
        }
    }
}

/// When a file was last written; `None` when it cannot be told.
pub fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn name(reference: &SecretRef) -> Result<SecretName, TlsFailure> {
    let bad = |reason: String| TlsFailure::Secret { name: reference.name.to_string(), reason };
    let parsed: SecretName = reference.name.parse().map_err(|error| bad(format!("{error}")))?;
    match parsed {
        SecretName::Invalid(_) => Err(bad("the reference cannot be resolved".into())),
        name => Ok(name),
    }
}
