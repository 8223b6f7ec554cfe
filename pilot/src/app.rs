//! The only file that knows every part of pilot.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::kube::Client;
use mesh_api::trust_domain::TrustDomains;
use mesh_rt::admin::Admin;
use mesh_rt::grpc::{self, Target};
use mesh_rt::identity::{
    CaClient, IdentityManager, IdentityOptions, LiveIdentity, TimeSource, TokenSource, tls,
};
use mesh_rt::net::ListenOptions;
use mesh_rt::process::{MainError, Process};
use mesh_rt::tls::{H2, Reloading};
use pilot_model::generate::Generator;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::info;

use crate::ca_relay::{self, CaRelay};
use crate::debug::{self, Debug};
use crate::distribution::Distribution;
use crate::ingest::{self, Ingest, Known};
use crate::kube::{self, kinds, watch};
use crate::metrics::{self, IngestMetrics, XdsMetrics};
use crate::services::{Relay, Services};
use crate::settings::PilotSettings;
use crate::webhook::{self, WebhookOptions};
use crate::xds::auth::Authenticator;
use crate::xds::push_queue::PushQueue;
use crate::xds::server::AdsServer;
use crate::xds::session::Context;
use crate::xds::status::Connections;

/// How long dialling the certificate authority may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The listeners, bound before anything starts.
pub struct Listeners {
    /// Discovery and certificates over TLS.
    pub secure: TcpListener,
    /// Discovery in clear.
    pub plaintext: Option<TcpListener>,
    /// Webhooks.
    pub webhooks: Option<TcpListener>,
    /// Readiness and debug pages.
    pub http: Option<TcpListener>,
}

impl Listeners {
    fn bind(process: &Process, settings: &PilotSettings) -> Result<Self, MainError> {
        let listen = |address| process.sockets.listen(address, ListenOptions::default());
        let addresses = &settings.addresses;
        Ok(Self {
            secure: listen(addresses.secure)?,
            plaintext: addresses.plaintext.map(listen).transpose()?,
            webhooks: addresses.webhooks.map(listen).transpose()?,
            http: addresses.http.map(listen).transpose()?,
        })
    }
}

/// What the parts share, once they run.
pub struct Running {
    /// Pilot's own certificate.
    pub live: LiveIdentity,
    /// What is known of the cluster.
    pub known: Arc<Known>,
    /// What sessions share.
    pub context: Arc<Context>,
    /// The admin pages.
    pub admin: Admin,
}

/// Starts the parts, with the Kubernetes API of the environment.
///
/// # Errors
/// A mesh configuration, a Kubernetes client or a socket that cannot be used.
pub async fn start(
    process: Process,
    settings: PilotSettings,
    admin: Admin,
) -> Result<Admin, MainError> {
    let listeners = Listeners::bind(&process, &settings)?;
    let client = kube::client().await?;
    let running = start_with(&process, &settings, client, listeners, admin).await?;
    Ok(running.admin)
}

/// Starts the parts on what they are given.
///
/// # Errors
/// Settings or a mesh configuration that cannot be used.
pub async fn start_with(
    process: &Process,
    settings: &PilotSettings,
    client: Client,
    listeners: Listeners,
    admin: Admin,
) -> Result<Running, MainError> {
    let domains = settings.trust_domains().await?;
    metrics::register_process(&process.metrics);
    let live = identity(process, settings, &domains)?;
    let queue = PushQueue::new(settings.pushes_at_once(processors()));
    let generator = Arc::new(Generator::new());
    let connections = Arc::new(Connections::default());
    let published = Published {
        queue: queue.clone(),
        distribution: connections.distribution.clone(),
        generator: generator.clone(),
    };
    let known = watches(process, settings, &client, published);
    let context = Arc::new(Context {
        queue,
        auth: Authenticator {
            tokens: Some(client.clone()),
            trust_domains: domains,
            check_node: settings.check_node,
        },
        connections,
        metrics: XdsMetrics::new(&process.metrics),
        replica: settings.pod.clone(),
        epoch: epoch(),
        drain: process.tasks.drain().clone(),
    });
    let debug = Debug {
        settings: settings.debug.clone(),
        namespace: settings.namespace.to_string(),
        known: known.clone(),
        context: context.clone(),
        generator,
    };
    let admin = debug::routes(admin, debug);
    if let Some(listener) = listeners.webhooks {
        let options = WebhookOptions {
            namespace: settings.namespace.to_string(),
            revision: settings.revision_name().to_owned(),
            mesh: known.mesh(),
            pages: admin.clone(),
        };
        webhook::start(process, listener, &live, client, options)?;
    }
    let discovery = AdsServer::new(context.clone(), process.tasks.clone());
    let certificates = Some(relay(settings, &live)?);
    let services = Services { discovery: discovery.clone(), certificates };
    let config = tls::server_config(&live, tls::ClientCertificates::Optional, &[H2])?;
    serve(process, listeners.secure, Some(Reloading::new(config)), services)?;
    if let Some(listener) = listeners.plaintext {
        serve(process, listener, None, Services { discovery, certificates: None })?;
    }
    if let Some(listener) = listeners.http {
        info!(address = %listener.local_addr()?, "readiness and debug pages");
        admin.clone().serve(&process.tasks, listener);
    }
    Ok(Running { live, known, context, admin })
}

/// Obtains and keeps pilot's own certificate.
fn identity(
    process: &Process,
    settings: &PilotSettings,
    domains: &TrustDomains,
) -> Result<LiveIdentity, MainError> {
    let live = LiveIdentity::new();
    let own = settings.spiffe(domains);
    info!(identity = %own, authority = settings.authority, "discovery server");
    let config = tls::client_config(&live, tls::ServerCheck::DnsName, &[H2])?;
    let token = TokenSource::File(settings.token.clone());
    let authority = CaClient::new(target(settings), Reloading::new(config), token)
        .with_cluster_id(settings.cluster.as_str());
    let mut options = IdentityOptions::new(own);
    options.root_file = Some(settings.root.clone());
    let time = TimeSource::system();
    mesh_rt::identity::register_metrics(&process.metrics, live.clone(), time.clone());
    IdentityManager::new(live.clone(), options, vec![Arc::new(authority)], time)
        .start(&process.tasks, Some(&process.readiness));
    Ok(live)
}

fn target(settings: &PilotSettings) -> Target {
    let (authority, server_name) = (settings.authority.clone(), None);
    Target { authority, server_name, connect_timeout: CONNECT }
}

/// What a publication goes through.
struct Published {
    queue: Arc<PushQueue>,
    distribution: Arc<Distribution>,
    generator: Arc<Generator>,
}

/// Follows the cluster and publishes what it is.
fn watches(
    process: &Process,
    settings: &PilotSettings,
    client: &Client,
    published: Published,
) -> Arc<Known> {
    let table = kinds::table(settings.namespace.as_str(), &settings.suffixed("istio"));
    let all = table.iter().map(|watched| watched.kind);
    let known = Known::new(settings.cluster.clone(), &settings.domain, all);
    let ingest = Ingest {
        known: known.clone(),
        queue: published.queue,
        distribution: published.distribution,
        generator: published.generator,
        quiet: settings.quiet,
        metrics: IngestMetrics::new(&process.metrics),
    };
    let (send, receive) = mpsc::channel(ingest::WAITING);
    let synced = process.readiness.block("cluster");
    let _detached = process.tasks.spawn_background("ingest", ingest.run(receive, Some(synced)));
    for watched in table {
        let follow = watch::follow(client.clone(), Arc::new(watched), send.clone());
        let _detached = process.tasks.spawn_background("watch", follow);
    }
    known
}

/// Hands requests for certificates on.
fn relay(settings: &PilotSettings, live: &LiveIdentity) -> Result<Relay, MainError> {
    let config = tls::client_config(live, tls::ServerCheck::DnsName, &[H2])?;
    let relay = CaRelay::following(target(settings), Some(Reloading::new(config)), live.clone())?;
    Ok(Relay::new(relay).max_decoding_message_size(ca_relay::MESSAGE_BYTES))
}

fn serve(
    process: &Process,
    listener: TcpListener,
    tls: Option<Reloading<ServerConfig>>,
    services: Services,
) -> Result<(), MainError> {
    info!(address = %listener.local_addr()?, encrypted = tls.is_some(), "discovery");
    let tasks = process.tasks.clone();
    let serving = async move { grpc::serve(&tasks, listener, tls, services).await };
    let _detached = process.tasks.spawn_critical("discovery", serving);
    Ok(())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Differs between processes, so that a nonce of one is not taken for another's.
fn epoch() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
