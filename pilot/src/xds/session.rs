//! One connection: who it is, its requests, the pushes to it.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::envoy::core::{ControlPlane, Node};
use mesh_api::lateen::{BuildInfo, ControlPlaneIdentifier, ON_DEMAND_FEATURE};
use mesh_api::node::NodeId;
use mesh_api::node_metadata::NodeMetadata;
use mesh_api::type_url::TypeUrl;
use mesh_rt::drain::DrainWatcher;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use super::auth::{Authenticator, Caller};
use super::push_queue::{Pending, Place, PushQueue};
use super::source::{ProxyNode, View, World};
use super::status::{Connection, Connections};
use super::subscription::{Client, Dialect, Outgoing, Verdict};
use super::wire::{Received, Wire};
use crate::metrics::XdsMetrics;

/// How long the first message may take.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);

/// How long a client may take to read one response.
const WRITE: Duration = Duration::from_secs(60);

/// Names that are none which a client may ask for at once…
const MISSES: f64 = 200.0;

/// …and per second from then on.
const MISSES_PER_SECOND: f64 = 50.0;

/// What all sessions share.
pub struct Context {
    /// The pushes.
    pub queue: Arc<PushQueue>,
    /// The identities.
    pub auth: Authenticator,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// The counters.
    pub metrics: XdsMetrics,
    /// This replica's name.
    pub replica: String,
    /// Distinguishes nonces of this process from those of others.
    pub epoch: u64,
    /// When to send clients elsewhere.
    pub drain: DrainWatcher,
}

/// One session.
struct Session<W: Wire> {
    context: Arc<Context>,
    node: Arc<ProxyNode>,
    connection: Arc<Connection>,
    client: Client,
    view: Arc<dyn View>,
    world: Arc<dyn World>,
    send: mpsc::Sender<Result<W::Response, Status>>,
    announced: bool,
    misses: Misses,
}

/// Serves a stream until it ends.
///
/// # Errors
/// The status the stream ends with.
pub async fn run<W: Wire>(
    context: Arc<Context>,
    caller: Option<Caller>,
    peer: String,
    mut requests: Streaming<W::Request>,
    send: mpsc::Sender<Result<W::Response, Status>>,
) -> Result<(), Status> {
    let first = timeout(FIRST_MESSAGE, requests.message()).await;
    let Some(mut first) =
        first.map_err(|_| Status::deadline_exceeded("the stream began with no message"))??
    else {
        return Ok(());
    };
    let node = W::node(&mut first)
        .ok_or_else(|| Status::invalid_argument("the first message of a stream has no node"))?;
    let node = Arc::new(proxy_node(node)?);
    context.auth.authorize(caller.as_ref(), &node)?;
    let (place, world) = context
        .queue
        .join()
        .ok_or_else(|| Status::unavailable("the server has not read the cluster yet; try again"))?;
    let connection = context.connections.add(place.id(), peer, node.clone());
    let prefix = format!("{:x}.{}", context.epoch, place.id());
    let connected = Connected { context: context.clone(), place };
    context.metrics.connected();
    info!(node = %node.id, connection = connected.place.id(), "connected");
    let on_demand = node.has_feature(ON_DEMAND_FEATURE) && !W::STATE_OF_THE_WORLD;
    let dialect = Dialect { on_demand, state_of_the_world: W::STATE_OF_THE_WORLD };
    let mut session = Session::<W> {
        view: world.view(&node),
        client: Client::new(dialect, prefix),
        misses: Misses { left: MISSES, at: Instant::now() },
        announced: false,
        context: context.clone(),
        connection,
        world,
        node,
        send,
    };
    session.request(first).await?;
    loop {
        // A client that asks for many names that are none is read more slowly.
        let rest = session.misses.rest();
        tokio::select! {
            () = context.drain.draining() => {
                return Err(Status::unavailable("this replica is shutting down; reconnect"));
            }
            (pending, permit) = connected.place.next() => {
                let began = Instant::now();
                let outgoing = session.push(&pending);
                drop(permit);
                session.context.metrics.computed(began - pending.since, began.elapsed());
                session.write(outgoing).await?;
                session.context.metrics.converged(pending.since.elapsed());
            }
            request = next(&mut requests, rest) => match request? {
                Some(request) => session.request(request).await?,
                None => return Ok(()),
            },
        }
    }
}

async fn next<M>(requests: &mut Streaming<M>, rest: Duration) -> Result<Option<M>, Status> {
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
    }
    requests.message().await
}

impl<W: Wire> Session<W> {
    async fn request(&mut self, message: W::Request) -> Result<(), Status> {
        let received = W::received(message, &self.client).map_err(Status::invalid_argument)?;
        let (ty, request) = match received {
            Received::Ignored => return Ok(()),
            Received::Report(report) => {
                self.connection.report(report);
                return Ok(());
            }
            Received::Request(ty, request) => (ty, request),
        };
        let names = request.subscribe.clone();
        let reaction = self
            .client
            .request(&ty, request)
            .map_err(|refused| Status::resource_exhausted(refused.to_string()))?;
        match reaction.verdict {
            Verdict::Refused(reason) => {
                warn!(node = %self.node.id, ty = ty.short(), "refused by the proxy: {reason}");
                self.context.metrics.refused(&ty);
            }
            Verdict::UnknownNonce => {
                self.context.metrics.expired_nonce.inc();
            }
            Verdict::None | Verdict::Acknowledged => {}
        }
        if reaction.respond {
            let outgoing = self.client.respond(&*self.view, Some(std::slice::from_ref(&ty)));
            self.misses.spend(self.client.misses(&ty, &names));
            self.write(outgoing).await?;
        }
        self.connection.note(self.client.progress());
        Ok(())
    }

    fn push(&mut self, pending: &Pending) -> Vec<Outgoing> {
        self.world = pending.world.clone();
        let before = std::mem::replace(&mut self.view, self.world.view(&self.node));
        let same = before.class() == self.view.class();
        let affected = self.world.affected(&pending.changes, &self.node).filter(|_| same);
        let outgoing = self.client.respond(&*self.view, affected.as_deref());
        self.client.caught_up(self.view.generation());
        self.connection.note(self.client.progress());
        outgoing
    }

    async fn write(&mut self, outgoing: Vec<Outgoing>) -> Result<(), Status> {
        for response in outgoing {
            let bytes = response.resources.iter().map(|(item, _)| item.body.len()).sum();
            self.context.metrics.pushed(&response.ty, response.resources.len(), bytes);
            let names = response.resources.iter().map(|(item, _)| &*item.name);
            debug!(
                node = %self.node.id, r#type = response.ty.short(), removed = ?response.removed,
                sent = ?names.collect::<Vec<_>>(), "response"
            );
            let began = Instant::now();
            let announce = !std::mem::replace(&mut self.announced, true);
            let control_plane = announce.then(|| self.control_plane());
            let message = W::response(response, control_plane);
            match timeout(WRITE, self.send.send(Ok(message))).await {
                Ok(Ok(())) => self.context.metrics.sent(began.elapsed()),
                Ok(Err(_closed)) => return Err(Status::cancelled("the client went away")),
                Err(_elapsed) => {
                    self.context.metrics.write_timeout.inc();
                    return Err(Status::deadline_exceeded("the client does not read"));
                }
            }
        }
        Ok(())
    }

    fn control_plane(&self) -> ControlPlane {
        let own = self.node.has_feature(ON_DEMAND_FEATURE);
        let identifier = ControlPlaneIdentifier {
            component: "istiod".to_owned(),
            id: self.context.replica.clone(),
            info: BuildInfo {
                version: mesh_rt::build_info::VERSION.to_owned(),
                revision: mesh_rt::build_info::REVISION.to_owned(),
            },
            on_demand: (own && !W::STATE_OF_THE_WORLD).then(|| self.world.on_demand()),
            config_report: self.node.has_feature(mesh_api::lateen::CONFIG_REPORT_FEATURE),
        };
        ControlPlane { identifier: identifier.to_text() }
    }
}

struct Connected {
    context: Arc<Context>,
    place: Place,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // First, so that no generation is waited for whom nobody answers any more.
        self.place.leave();
        self.context.connections.remove(self.place.id());
        self.context.metrics.disconnected();
    }
}

/// How many more names that are none a client may ask for.
struct Misses {
    left: f64,
    at: Instant,
}

impl Misses {
    fn spend(&mut self, misses: usize) {
        let now = Instant::now();
        let earned = (now - self.at).as_secs_f64() * MISSES_PER_SECOND;
        self.at = now;
        self.left = (self.left + earned).min(MISSES) - misses as f64;
    }

    /// How long to wait until it may ask again; at most 10 s.
    fn rest(&self) -> Duration {
        let debt = -self.left - self.at.elapsed().as_secs_f64() * MISSES_PER_SECOND;
        Duration::from_secs_f64((debt / MISSES_PER_SECOND).clamp(0.0, 10.0))
    }
}

/// The proxy a node message describes.
///
/// # Errors
/// `INVALID_ARGUMENT` naming what is wrong with id or metadata.
pub fn proxy_node(node: Node) -> Result<ProxyNode, Status> {
    let id: NodeId =
        node.id.parse().map_err(|error| Status::invalid_argument(format!("node.id: {error}")))?;
    let metadata = node.metadata.unwrap_or_default();
    let metadata = NodeMetadata::from_struct(&metadata)
        .map_err(|error| Status::invalid_argument(format!("node {id}: {error}")))?;
    let extensions = node.extensions.into_iter().map(|extension| extension.name).collect();
    Ok(ProxyNode { id, metadata, features: node.client_features, extensions })
}

/// The types that are counted by their short names.
pub const COUNTED: [TypeUrl; 4] =
    [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route];
