//! The stream to pilot: connects again and again, feeds responses to the stage, publishes what is
//! warm, asks for what traffic asked for, and keeps the last good configuration through it all.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::envoy::service::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_api::envoy::service::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_api::lateen::ControlPlaneIdentifier;
use mesh_api::type_url::TypeUrl;
use mesh_rt::backoff::{Backoff, jitter};
use mesh_rt::drain::DrainWatcher;
use mesh_rt::readiness::BlockReady;
use proxy_model::lookup::{Lookup, ResourceName};
use proxy_model::snapshot::{OnDemand, Snapshot};
use proxy_model::stage::Stage;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tracing::{info, warn};

use super::disk::{Copy, Disk};
use super::protocol::Protocol;
use super::report::{Reports, versions_of};
use crate::world::World;
use crate::world::held::Held;

#[cfg(test)]
mod tests;

/// Bytes of a response at most.
const MAX_RESPONSE: usize = 64 << 20;
/// Requests that wait to be sent at most.
const QUEUE: usize = 64;
/// How long the server may take to take a request.
const SEND: Duration = Duration::from_secs(10);
/// How long the server may take to open a stream.
const OPEN: Duration = Duration::from_secs(10);
/// How long after a change the copy on disk is written.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// How often names that there is nothing under are looked through.
const SWEEP: Duration = Duration::from_secs(60);
/// What a sidecar that asks by name needs from the start.
const FIXED: [&str; 2] = ["virtualInbound", "virtualOutbound"];

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    /// The server, or the way to it.
    #[error("the discovery server: {0}")]
    Server(Box<tonic::Status>),
    /// Nothing came in time.
    #[error("the discovery server does not answer in time")]
    Silent,
    /// The server ended it.
    #[error("the discovery server ended the stream")]
    Ended,
    /// The token that proves who we are.
    #[error("the token: {0}")]
    Token(String),
    /// A response that names no type.
    #[error("a response of the discovery server: {0}")]
    Response(#[from] mesh_api::name::NameError),
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        Self::Server(Box::new(status))
    }
}

/// What the driver needs besides a channel.
pub struct Options {
    /// The world to publish to.
    pub world: Arc<World>,
    /// The protocol's state, which knows the node.
    pub protocol: Protocol,
    /// The node's id, which the copy on disk must be of.
    pub node_id: String,
    /// Where the last good configuration is kept, if anywhere.
    pub disk: Option<Disk>,
    /// File of the token that proves who we are, if a certificate does not.
    pub token: Option<PathBuf>,
    /// Held until the first configuration is in force.
    pub first: BlockReady,
}

/// The stream to pilot.
pub struct Driver {
    world: Arc<World>,
    protocol: Protocol,
    node_id: String,
    disk: Option<Disk>,
    token: Option<PathBuf>,
    first: Option<BlockReady>,
    /// Whether the server, or the copy, has said which listeners there are.
    listeners_came: bool,
    stage: Stage,
    reports: Reports,
    started: Instant,
    save_at: Option<Instant>,
}

impl Driver {
    /// A driver, with the configuration of the last run in force if there is a copy of it.
    pub fn new(options: Options) -> Self {
        let Options { world, protocol, node_id, disk, token, first } = options;
        let mut driver = Self {
            world,
            protocol,
            node_id,
            disk,
            token,
            first: Some(first),
            listeners_came: false,
            stage: Stage::default(),
            reports: Reports::default(),
            started: Instant::now(),
            save_at: None,
        };
        if driver.protocol.may_ask() {
            // Until the server says otherwise: what is not held is not known.
            driver.stage.set_on_demand(Some(OnDemand::default()));
            driver.world.resume(FIXED.map(|name| ResourceName::new(TypeUrl::Listener, name)));
        }
        driver.resume();
        driver
    }

    /// Runs until the process stops. Traffic goes on with what is held while pilot is away.
    pub async fn run(mut self, channel: Channel, drain: DrainWatcher) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            tokio::select! {
                ended = self.stream(channel.clone()) => {
                    self.world.sync.disconnected();
                    if let Err(error) = ended {
                        warn!("{error}; connecting again");
                    }
                }
                () = drain.stopped() => return,
            }
            backoff.ran_for(began.elapsed());
            tokio::select! {
                () = self.rest(backoff.next(jitter())) => {}
                () = drain.stopped() => return,
            }
        }
    }

    /// Between two streams: what is held goes on, and is kept.
    async fn rest(&mut self, pause: Duration) {
        let over = Instant::now() + pause;
        loop {
            let warm_at = self.stage.next_timeout().map(|at| self.started + at);
            tokio::select! {
                () = tokio::time::sleep_until(over) => return,
                () = until(warm_at) => self.publish(),
                () = until(self.save_at) => self.save().await,
            }
        }
    }

    async fn stream(&mut self, channel: Channel) -> Result<(), StreamError> {
        self.protocol.restart();
        self.reports.restart();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        if let Some(token) = self.token().await? {
            request.metadata_mut().insert("authorization", token);
        }
        // A server may wait for the first request before it answers at all.
        self.subscribe(&sender).await?;
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        let opened = tokio::time::timeout(OPEN, client.delta_aggregated_resources(request));
        let mut responses = opened.await.map_err(|_| StreamError::Silent)??.into_inner();
        info!("connected to the discovery server");
        self.world.sync.connected();
        let mut sweep = tokio::time::interval_at(Instant::now() + SWEEP, SWEEP);
        loop {
            let warm_at = self.stage.next_timeout().map(|at| self.started + at);
            tokio::select! {
                response = responses.message() => {
                    let response = response?.ok_or(StreamError::Ended)?;
                    self.respond(response, &sender).await?;
                }
                () = self.world.woken() => self.subscribe(&sender).await?,
                () = until(warm_at) => self.publish(),
                () = until(self.save_at) => self.save().await,
                _ = sweep.tick() => {
                    self.world.sweep();
                    self.subscribe(&sender).await?;
                }
            }
        }
    }

    /// Takes a response in, answers it, and asks for what it refers to.
    async fn respond(
        &mut self,
        response: DeltaDiscoveryResponse,
        sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), StreamError> {
        let received = self.protocol.received(response)?;
        if let Some(announced) = received.announced {
            self.stage.set_on_demand(announced);
        }
        let versions = versions_of(&received.upserts);
        let now = self.started.elapsed();
        let type_url = received.type_url;
        self.listeners_came |= type_url == TypeUrl::Listener;
        let applied = self.stage.apply(&type_url, received.upserts, &received.removed, now);
        for rejected in &applied.rejected {
            warn!("configuration refused: {rejected}");
        }
        self.world.sync.received(&type_url, !applied.rejected.is_empty());
        let answer = self.protocol.answer(&type_url, received.nonce, &applied);
        send(sender, answer).await?;
        if self.protocol.takes_reports()
            && let Some(report) = self.reports.of(&type_url, &versions, &applied)
        {
            send(sender, report).await?;
        }
        self.subscribe(sender).await?;
        self.publish();
        self.save_at.get_or_insert_with(|| Instant::now() + SAVE_AFTER);
        Ok(())
    }

    async fn subscribe(
        &mut self,
        sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), StreamError> {
        let wanted = self.stage.wanted(&self.world.asked());
        let update = self.protocol.update(&self.stage, &wanted);
        for name in &update.dropped {
            self.stage.forget(name);
        }
        for request in update.requests {
            send(sender, request).await?;
        }
        Ok(())
    }

    fn publish(&mut self) {
        let snapshot = self.stage.publish(self.started.elapsed());
        let rejected = |(place, name): (usize, Arc<str>)| {
            let resource = ResourceName::new(Stage::TYPES.get(place)?.clone(), name);
            self.stage.is_rejected(&resource).then_some(resource)
        };
        let hopeless: HashSet<_> = self.world.asked().into_iter().filter_map(rejected).collect();
        let complete = self.is_complete(&snapshot, &hopeless);
        if complete {
            self.world.complete();
        }
        self.world.hold(Held::of(&self.stage, self.started));
        self.world.publish(snapshot, hopeless);
        if complete {
            self.first.take();
        }
    }

    /// Whether what is in force is what the first configuration needs: the listeners that every
    /// sidecar has; or, where everything comes at once, whatever the server says there is.
    fn is_complete(&self, snapshot: &Snapshot, hopeless: &HashSet<ResourceName>) -> bool {
        if self.first.is_none() {
            return true;
        }
        if !snapshot.mesh.by_name() {
            return self.listeners_came && self.stage.next_timeout().is_none();
        }
        // A copy does not say what there is not.
        if self.protocol.identifier().is_none() {
            return !snapshot.listeners.held.is_empty();
        }
        FIXED.iter().all(|name| match snapshot.listener(name) {
            Lookup::Unknown(name) => hopeless.contains(&name),
            Lookup::Found(_) | Lookup::Absent => true,
        })
    }

    /// The configuration of the last run.
    fn resume(&mut self) {
        let Some(disk) = &self.disk else { return };
        let copy = match disk.load() {
            Ok(Some(copy)) if copy.node == self.node_id => copy,
            Ok(_) => return,
            Err(error) => return warn!("{error}"),
        };
        let server = ControlPlaneIdentifier::parse(&copy.identifier).unwrap_or_default();
        self.stage.set_on_demand(self.protocol.announced(&server));
        self.world.resume(copy.asked());
        for (type_url, upserts) in copy.upserts() {
            self.listeners_came |= type_url == TypeUrl::Listener && !upserts.is_empty();
            self.stage.apply(&type_url, upserts, &[], Duration::ZERO);
        }
        info!("the configuration of the last run is in force until the discovery server answers");
        self.publish();
    }

    async fn save(&mut self) {
        self.save_at = None;
        let Some(disk) = self.disk.clone() else { return };
        let identifier = self.protocol.identifier().unwrap_or_default();
        let copy = Copy::of(&self.node_id, identifier, &self.stage, self.world.asked());
        let saved = mesh_rt::tasks::spawn_blocking("save configuration", move || disk.save(&copy));
        match saved.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("{error}"),
            Err(error) => warn!("{error}"),
        }
    }

    async fn token(&self) -> Result<Option<tonic::metadata::AsciiMetadataValue>, StreamError> {
        let Some(path) = &self.token else { return Ok(None) };
        let failed = |reason: &dyn std::fmt::Display| {
            StreamError::Token(format!("{}: {reason}", path.display()))
        };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(&error))?;
        let mut value: tonic::metadata::AsciiMetadataValue = format!("Bearer {}", text.trim())
            .parse()
            .map_err(|_| failed(&"it is no text that a header can hold"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn send(
    sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), StreamError> {
    match tokio::time::timeout(SEND, sender.send(request)).await {
        Err(_) => Err(StreamError::Silent),
        Ok(Err(_)) => Err(StreamError::Ended),
        Ok(Ok(())) => Ok(()),
    }
}

/// Ready at a time; never, without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
