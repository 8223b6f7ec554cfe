//! The Kubernetes API: everything between a request and the store.

mod admission;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod convert;
mod crd_lifecycle;
mod create;
mod credentials;
mod decode;
mod delete;
mod discovery;
mod documents;
mod error;
mod event_expiry;
mod front;
mod handler;
mod identity;
mod metadata;
mod negotiate;
mod openapi;
mod openapi_v2;
mod query;
mod rbac;
mod read;
mod registry;
mod render;
mod request;
mod reviews;
mod route;
mod server;
mod service_address;
mod strategy;
mod subresource;
mod token;
mod update;
mod upgrade;
mod watch;
mod webhook;
mod write;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::credentials::{Credentials, CredentialsError};
use self::front::InProcess;
use self::identity::User;
use self::rbac::Authorizer;
use self::registry::Registry;
use self::server::Server;
use self::service_address::ServiceAddresses;
pub use self::token::ISSUER;
use self::token::TokenSigner;
use crate::node_api::{Connector, NodeApi, PlainConnector};
use crate::store::{Store, StoreError};

/// The file of the store and the folder of the keys, within the data folder.
const STORE_FILE: &str = "cluster.redb";
const KEYS_FOLDER: &str = "pki";

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where objects and keys are kept; `None` forgets them.
    pub data: Option<PathBuf>,
    /// Further names and addresses for the server's certificate.
    pub names: Vec<String>,
    /// Range of cluster IPs.
    pub services: Ipv4Net,
    /// Where pods reach this server.
    pub address: SocketAddrV4,
}

impl Default for Config {
    fn default() -> Self {
        let services = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 443);
        Self { data: None, names: Vec::new(), services, address }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// An object that every cluster has was refused.
    #[error("the cluster could not be set up: {0}")]
    Bootstrap(String),
}

/// A running API server. Clones are handles to the same server.
#[derive(Clone)]
pub struct ApiServer {
    server: Arc<Server>,
    tls: Arc<rustls::ServerConfig>,
}

impl ApiServer {
    /// Opens the store and the keys and creates what a cluster starts with. Nothing listens
    /// yet: see [`ApiServer::serve`] and [`ApiServer::client`].
    ///
    /// # Errors
    /// When store or keys cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let keys = config.data.as_ref().map(|data| data.join(KEYS_FOLDER));
        let mut names = config.names.clone();
        names.extend(config.services.hosts().next().map(|first| first.to_string()));
        let credentials = Credentials::open(keys.as_deref(), &names, Timestamp::now())?;
        let store = match &config.data {
            Some(data) => {
                let path = data.join(STORE_FILE);
                Store::open(&path)?
            }
            None => Store::in_memory(),
        };
        let store = Arc::new(store);
        let tls = Arc::new(credentials.server_tls()?);
        let server = Arc::new(Server {
            authorizer: Authorizer::new(Arc::clone(&store)),
            registry: Registry::new(),
            signer: TokenSigner::new(&credentials)?,
            credentials,
            events: event_expiry::EventExpiry::default(),
            documents: openapi::Documents::default(),
            addresses: ServiceAddresses::new(config.services),
            node: RwLock::new(None),
            connector: RwLock::new(Arc::new(PlainConnector)),
            upgrades: upgrade::Upgrades::new(),
            shutdown: CancellationToken::new(),
            store,
        });
        crd_lifecycle::refresh(&server);
        bootstrap::run(&server, config.services, config.address)
            .await
            .map_err(StartError::Bootstrap)?;
        Ok(Self { server, tls })
    }

    /// Serves HTTPS on a listener until [`ApiServer::shutdown`]. May be called for several.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        front::serve(Arc::clone(&self.server), listener, Arc::clone(&self.tls)).await
    }

    /// A client within this process that acts as `user` in `groups`, without a socket. Must be
    /// called within a Tokio runtime.
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let user = Arc::new(User::authenticated(user, groups));
        kube::Client::new(InProcess { server: Arc::clone(&self.server), user }, "default")
    }

    /// A client that may do everything.
    pub fn admin_client(&self) -> kube::Client {
        self.client("system:admin", &[identity::MASTERS])
    }

    /// Where container logs come from, and who runs commands and reaches ports of pods.
    pub fn set_node(&self, node: Arc<dyn NodeApi>) {
        *self.server.node.write() = Some(node);
    }

    /// How webhooks are reached.
    pub fn set_connector(&self, connector: Arc<dyn Connector>) {
        *self.server.connector.write() = connector;
    }

    /// The cluster's certificate authority, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.server.credentials.ca_pem()
    }

    /// A kubeconfig for the administrator of the server at `url`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn admin_kubeconfig(&self, cluster: &str, url: &str) -> Result<String, CredentialsError> {
        self.server.credentials.admin_kubeconfig(cluster, url, Timestamp::now())
    }

    /// Ends watches and connections; [`ApiServer::serve`] returns soon after.
    pub fn shutdown(&self) {
        self.server.shutdown.cancel();
    }

    /// Waits until every write so far is on the disk. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.server.store.flush()
    }
}
