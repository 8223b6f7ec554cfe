//! The only file that knows every part of proxy.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::bootstrap::Bootstrap;
use mesh_api::node::NodeType;
use mesh_rt::admin::Admin;
use mesh_rt::identity::LiveIdentity;
use mesh_rt::process::{MainError, Process};
use mesh_rt::readiness::BlockReady;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::{Pages, Parts};
use crate::dns::forward::Forwarder;
use crate::dns::lookup::HostLookup;
use crate::dns::resolv_conf::ResolvConf;
use crate::dns::serve::DnsServer;
use crate::listener::manager::Manager;
use crate::listener::orig_dst::{self, OriginalDst};
use crate::observe::ends::{Own, own_metadata, own_workload};
use crate::observe::log_writer::LogWriter;
use crate::observe::recorder::Observed;
use crate::settings::ProxySettings;
use crate::tls::keystore::Keystore;
use crate::upstream::shared::SharedUpstreams;
use crate::worker::Workers;
use crate::world::World;
use crate::xds::disk::Disk;
use crate::xds::driver::{Driver, Options};
use crate::xds::protocol::Protocol;
use crate::{identity, status};

pub mod carry;
pub mod node;
pub mod workers;

use carry::AtEnd;
use workers::{MakeSink, Shared};

/// What a proxy finds outside: tests bring their own.
pub struct Outside {
    /// Where captured connections wanted to go.
    pub original_dst: Arc<dyn OriginalDst>,
    /// Where records go.
    pub sinks: MakeSink,
}

/// The parts of a running proxy.
pub struct Running {
    /// The configuration of the moment.
    pub world: Arc<World>,
    /// The workload's certificate.
    pub live: LiveIdentity,
    /// Circuit breakers, load and outliers of every cluster in use.
    pub upstreams: Arc<SharedUpstreams>,
    /// The workers.
    pub workers: Workers,
    /// Where each listener listens.
    pub addresses: watch::Receiver<HashMap<Arc<str>, Vec<SocketAddr>>>,
    /// Where the application's DNS questions are answered, if they are.
    pub dns: Option<SocketAddr>,
}

/// Starts a proxy with its ports for the pod and for admin. The process is ready when there is a
/// certificate, the first configuration is in force, its listeners are bound and all workers run.
///
/// # Errors
/// When the settings cannot be those of a proxy, or a port cannot be bound.
pub async fn start(
    process: Process,
    settings: ProxySettings,
    admin: Admin,
) -> Result<Admin, MainError> {
    let document = &settings.bootstrap;
    info!(node = %document.node.id, workers = settings.workers, "proxy");
    let live = identity::start(&process, document)?;
    let observed = observe(&process, document)?;
    let seen = observed.clone();
    let sinks: MakeSink = Arc::new(move |_| seen.sink());
    let outside = Outside { original_dst: Arc::new(orig_dst::Kernel), sinks };
    let running = run(&process, &settings, live, outside).await?;
    let pages = pages(&process, &settings, running, observed);
    status::hold_drain(&process.tasks, &document.drain);
    let addresses = status::serve(&pages)?;
    info!(?addresses, "readiness and agent");
    Ok(pages.routes(admin))
}

/// What the proxy tells of itself.
fn pages(
    process: &Process,
    settings: &ProxySettings,
    running: Running,
    observed: Observed,
) -> Pages {
    let workers = running.workers.clone();
    Pages::new(Parts {
        process: process.clone(),
        bootstrap: Arc::new(settings.bootstrap.clone()),
        workers: settings.workers,
        world: running.world,
        upstreams: running.upstreams,
        observed,
        live: running.live,
        connections: Arc::new(move || workers.loads().iter().sum()),
        now: Arc::new(SystemTime::now),
    })
}

/// Where records go: metrics and access logs.
fn observe(process: &Process, document: &Bootstrap) -> Result<Observed, MainError> {
    let principal = match &document.identity {
        Some(identity) => identity::own_id(document, identity)?.to_string(),
        None => String::new(),
    };
    let workload = Arc::new(own_workload(&document.node.metadata));
    let own = Own { workload, principal: principal.into() };
    let observed = Observed::new(own, LogWriter::start(&process.tasks)?);
    observed.start(process);
    Ok(observed)
}

/// Starts what carries traffic: workers, listeners, configuration and DNS.
///
/// # Errors
/// As [`start`].
pub async fn run(
    process: &Process,
    settings: &ProxySettings,
    live: LiveIdentity,
    outside: Outside,
) -> Result<Running, MainError> {
    let document = &settings.bootstrap;
    let world = World::new();
    let upstreams = SharedUpstreams::new();
    let workers = workers::start(
        &process.tasks,
        &process.readiness,
        settings.workers,
        Shared {
            world: Arc::clone(&world),
            keystore: Arc::new(Keystore::new(live.clone(), world.clone())),
            upstreams: Arc::clone(&upstreams),
            lookup: HostLookup {
                hosts: "/etc/hosts".into(),
                resolv_conf: settings.resolv_conf.clone(),
            },
            original_dst: outside.original_dst,
            sinks: outside.sinks,
            own_metadata: node::header(&own_metadata(&document.node.metadata).encode()),
            node_id: node::header(&document.node.id.to_string()),
            at_end: match document.node.id.node_type {
                NodeType::Sidecar => AtEnd::Inbound,
                _ => AtEnd::All,
            },
            patience: document.drain.duration.get(),
        },
    )?;
    let addresses = listen(process, &world, &workers);
    let configured = process.readiness.block("configuration");
    follow_pilot(process, settings, &world, &live, configured)?;
    let dns = match document.dns.capture {
        true => Some(serve_names(process, settings, &world).await?),
        false => None,
    };
    Ok(Running { world, live, upstreams, workers, addresses, dns })
}

/// Binds the listeners of the configuration, and follows it.
fn listen(
    process: &Process,
    world: &Arc<World>,
    workers: &Workers,
) -> watch::Receiver<HashMap<Arc<str>, Vec<SocketAddr>>> {
    let manager = Manager::new(process.sockets.clone(), workers.clone(), process.tasks.clone());
    let addresses = manager.watch();
    let bound = process.readiness.block("listeners");
    let (load, changes) = (Arc::clone(world), world.subscribe());
    let following = manager.follow(move || load.configured(), changes, bound);
    let _detached = process.tasks.spawn_background("listeners", following);
    addresses
}

/// Takes configuration from pilot.
fn follow_pilot(
    process: &Process,
    settings: &ProxySettings,
    world: &Arc<World>,
    live: &LiveIdentity,
    first: BlockReady,
) -> Result<(), MainError> {
    let document = &settings.bootstrap;
    let Some(discovery) = &document.discovery else {
        return Err("discovery: a proxy takes its configuration from a discovery server".into());
    };
    let driver = Driver::new(Options {
        world: Arc::clone(world),
        protocol: Protocol::new(node::node(&document.node), node::may_ask(document)),
        node_id: document.node.id.to_string(),
        disk: Some(Disk::new(settings.data_dir.clone())),
        token: discovery.token_path.clone(),
        first,
    });
    let channel = identity::discovery_channel(discovery, live)?;
    let running = driver.run(channel, process.tasks.drain().clone());
    let _detached = process.tasks.spawn_background("discovery", running);
    Ok(())
}

/// Bytes of `/etc/resolv.conf` at most.
const MAX_RESOLV_CONF: u64 = 64 * 1024;
const RESOLV_CONF_PATIENCE: Duration = Duration::from_secs(5);

/// Answers the application's DNS questions.
async fn serve_names(
    process: &Process,
    settings: &ProxySettings,
    world: &Arc<World>,
) -> Result<SocketAddr, MainError> {
    let Bootstrap { dns, .. } = &settings.bootstrap;
    let conf = match tokio::time::timeout(RESOLV_CONF_PATIENCE, read(settings)).await {
        Ok(Ok(text)) => ResolvConf::parse(&text),
        Ok(Err(error)) => {
            let path = settings.resolv_conf.display();
            warn!("{path}: {error}; only names of the mesh are answered");
            ResolvConf::default()
        }
        Err(_elapsed) => ResolvConf::default(),
    };
    let forwarder = Forwarder::new(conf.servers, dns.forward_parallel);
    let bound =
        DnsServer::bind(dns.address, world.clone(), forwarder, conf.search, &process.tasks).await;
    let server = bound.map_err(|error| format!("DNS on {}: {error}", dns.address))?;
    let address = server.address()?;
    info!(%address, "DNS");
    server.serve();
    Ok(address)
}

async fn read(settings: &ProxySettings) -> std::io::Result<String> {
    use tokio::io::AsyncReadExt;
    let mut text = String::new();
    let file = tokio::fs::File::open(&settings.resolv_conf).await?;
    file.take(MAX_RESOLV_CONF).read_to_string(&mut text).await?;
    Ok(text)
}
