//! What the upstream side needs from outside: TLS, names, endpoints and chance. All of it comes
//! in through these, so tests bring their own.

use std::rc::Rc;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use mesh_rt::tasks::Tasks;
use proxy_model::facts::PeerIdentity;
use proxy_model::lookup::ResourceName;
use proxy_model::snapshot::Snapshot;
use proxy_model::tls::UpstreamTls;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::shared::SharedUpstreams;
use crate::dns::lookup::{HostLookup, Resolved};
use crate::tls::client;
use crate::tls::keystore::Keystore;

/// What a request changes in a cluster's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsOverrides {
    /// Another SNI than the cluster's.
    pub sni: Option<Arc<str>>,
    /// Other ALPN protocols than the cluster's.
    pub alpn: Option<Arc<[Arc<str>]>>,
}

/// A TLS connection and who the other end proved to be.
pub type TlsConnection = (Box<TlsStream<TcpStream>>, Arc<PeerIdentity>);

/// Makes TLS over a connected stream.
pub trait TlsConnector {
    /// The handshake. The error is the transport's own words, for the access log.
    fn connect<'a>(
        &'a self,
        stream: TcpStream,
        tls: &'a Arc<UpstreamTls>,
        overrides: &'a TlsOverrides,
    ) -> LocalBoxFuture<'a, Result<TlsConnection, String>>;
}

/// Resolves names of DNS clusters.
pub trait Resolver {
    /// What `name` stands for.
    fn resolve(&self, name: Arc<str>) -> LocalBoxFuture<'static, std::io::Result<Resolved>>;
}

impl Resolver for HostLookup {
    fn resolve(&self, name: Arc<str>) -> LocalBoxFuture<'static, std::io::Result<Resolved>> {
        let lookup = self.clone();
        Box::pin(async move { HostLookup::resolve(&lookup, &name).await })
    }
}

/// The configuration as it is now, and as it can be asked for.
pub trait Config {
    /// All that is held.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Asks pilot for a resource; ready when it answered, or when waiting is over.
    fn ask(&self, name: ResourceName) -> LocalBoxFuture<'_, ()>;
}

/// What [`Upstreams`](super::Upstreams) are made of.
#[derive(Clone)]
pub struct UpstreamDeps {
    /// Shared by all workers.
    pub shared: Arc<SharedUpstreams>,
    /// TLS.
    pub tls: Rc<dyn TlsConnector>,
    /// DNS.
    pub resolver: Rc<dyn Resolver>,
    /// Endpoints that pilot sends.
    pub config: Rc<dyn Config>,
    /// Chance.
    pub random: Rc<dyn Fn() -> u64>,
    /// Where connections run.
    pub tasks: Tasks,
}

/// TLS with the certificates and roots that the process holds.
pub struct KeystoreConnector(pub Arc<Keystore>);

impl TlsConnector for KeystoreConnector {
    fn connect<'a>(
        &'a self,
        stream: TcpStream,
        tls: &'a Arc<UpstreamTls>,
        overrides: &'a TlsOverrides,
    ) -> LocalBoxFuture<'a, Result<TlsConnection, String>> {
        let overrides =
            client::Overrides { sni: overrides.sni.clone(), alpn: overrides.alpn.clone() };
        Box::pin(async move {
            let connected = client::connect(stream, tls, &overrides, &self.0).await;
            let (stream, peer) = connected.map_err(|failure| failure.to_string())?;
            Ok((stream, peer.identity))
        })
    }
}
