//! A workload's identity: obtained from a certificate authority, renewed in time, used by TLS.
//!
//! [`IdentityManager`] asks its [`CaSource`]s (usually [`CaClient`]s) for a certificate, checks the
//! answer ([`WorkloadCert`]) and publishes it in a [`LiveIdentity`]. The configurations of [`tls`]
//! follow that: a new connection presents the certificate, and trusts the roots, of its moment.
//! SPIFFE ids follow the SPIFFE X509-SVID specification; renewal follows Istio's agent.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//! use mesh_rt::grpc::Target;
//! use mesh_rt::identity::{
//!     CaClient, IdentityManager, IdentityOptions, LiveIdentity, TimeSource, TokenSource, tls,
//! };
//! use mesh_rt::tls::{H2, Reloading};
//! # fn start(tasks: &mesh_rt::tasks::Tasks) -> Result<(), Box<dyn std::error::Error>> {
//! let live = LiveIdentity::new();
//! let config = tls::client_config(&live, tls::ServerCheck::DnsName, &[H2])?;
//! let target = Target {
//!     authority: "istiod.istio-system.svc:15012".into(),
//!     server_name: None,
//!     connect_timeout: Duration::from_secs(5),
//! };
//! let token = TokenSource::File("/var/run/secrets/tokens/istio-token".into());
//! let relay = CaClient::new(target, Reloading::new(config), token);
//! let mut options = IdentityOptions::new("spiffe://cluster.local/ns/default/sa/app".parse()?);
//! options.root_file = Some("/var/run/secrets/istio/root-cert.pem".into());
//! let time = TimeSource::system();
//! IdentityManager::new(live.clone(), options, vec![Arc::new(relay)], time).start(tasks, None);
//! # Ok(())
//! # }
//! ```

pub mod tls;

mod ca_client;
mod key;
mod live;
mod manager;
mod metrics;
mod peer;
mod pem;
mod trust;
mod workload_cert;

pub use ca_client::{CaClient, CaError, CaSource, Issued, TokenSource};
pub use key::{CsrSubject, KeyAlgorithm, KeyAndCsr, KeyError, PrivateKey};
pub use live::{IdentityStatus, LiveIdentity};
pub use manager::{IdentityManager, IdentityOptions, TimeSource};
pub use metrics::register_metrics;
pub use peer::{PeerIdError, spiffe_id, spiffe_uri};
pub use pem::certificates_to_pem;
pub use trust::TrustBundle;
pub use workload_cert::{CertError, WorkloadCert};

#[cfg(test)]
mod tests;
