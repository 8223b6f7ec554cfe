//! A scripted client over a real socket against a hand-made world.

use std::time::Duration;

use mesh_api::envoy::core::Node;
use mesh_api::lateen::{ControlPlaneIdentifier, ON_DEMAND_FEATURE};
use mesh_api::type_url::TypeUrl;
use mesh_rt::metrics::Metrics;
use pilot_model::change::ChangeSet;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::client::Grpc as ClientGrpc;
use tonic::transport::Channel;

use super::*;
use crate::metrics::XdsMetrics;
use crate::xds::auth::Authenticator;
use crate::xds::messages::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use crate::xds::push_queue::PushQueue;
use crate::xds::source::World;
use crate::xds::source::testing::TinyWorld;
use crate::xds::status::Connections;

struct Fixture {
    context: Arc<Context>,
    tasks: Tasks,
    channel: Channel,
}

impl Fixture {
    async fn new() -> Self {
        let (trigger, _) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let context = Arc::new(Context {
            queue: PushQueue::new(4),
            auth: Authenticator {
                tokens: None,
                trust_domains: Default::default(),
                check_node: true,
            },
            connections: Arc::new(Connections::default()),
            metrics: XdsMetrics::new(&Metrics::new("pilot", "pilot")),
            replica: "istiod-1".to_owned(),
            epoch: 7,
            drain: tasks.drain().clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = AdsServer::new(context.clone(), tasks.clone());
        let group = tasks.clone();
        let _detached = tasks.spawn_background("server", async move {
            mesh_rt::grpc::serve(&group, listener, None, server).await
        });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { context, tasks, channel }
    }

    fn publish(&self, world: &TinyWorld) {
        let world: Arc<dyn World> = Arc::new(world.clone());
        self.context.queue.publish(&world, &ChangeSet::everything(), Instant::now());
    }

    async fn open<A, B>(&self, method: &'static str) -> Stream<A, B>
    where
        A: prost::Message + 'static,
        B: prost::Message + Default + 'static,
    {
        let (send, receive) = mpsc::channel(16);
        let mut grpc = ClientGrpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = format!("/{SERVICE}/{method}").parse().unwrap();
        let request = Request::new(ReceiverStream::new(receive));
        let codec = ProstCodec::<A, B>::default();
        let response = grpc.streaming(request, path, codec).await.unwrap();
        Stream { send, receive: response.into_inner() }
    }
}

struct Stream<A, B> {
    send: mpsc::Sender<A>,
    receive: Streaming<B>,
}

impl<A, B> Stream<A, B> {
    async fn send(&self, message: A) {
        assert!(self.send.send(message).await.is_ok());
    }

    async fn receive(&mut self) -> Result<B, Status> {
        let message = timeout(Duration::from_secs(20), self.receive.message()).await;
        message.expect("an answer").map(|message| message.expect("a message"))
    }
}

fn node(features: &[&str]) -> Option<Node> {
    Some(Node {
        id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local".to_owned(),
        client_features: features.iter().map(|f| (*f).to_owned()).collect(),
        ..Node::default()
    })
}

fn delta(ty: &TypeUrl) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: ty.to_string(), ..Default::default() }
}

#[tokio::test]
async fn delta_answers_pushes_acknowledges_and_resends_nothing() {
    let fixture = Fixture::new().await;
    let world = TinyWorld::default().with(TypeUrl::Cluster, &[("a", 1), ("b", 1)]);
    fixture.publish(&world);
    let mut stream: Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
        fixture.open("DeltaAggregatedResources").await;
    stream.send(DeltaDiscoveryRequest { node: node(&[]), ..delta(&TypeUrl::Cluster) }).await;
    let first = stream.receive().await.unwrap();
    assert_eq!(first.resources.len(), 2);
    let identifier = ControlPlaneIdentifier::parse(&first.control_plane.unwrap().identifier);
    assert_eq!(identifier.unwrap().on_demand, None);
    stream
        .send(DeltaDiscoveryRequest {
            response_nonce: first.nonce.clone(),
            ..delta(&TypeUrl::Cluster)
        })
        .await;
    let world = world.with(TypeUrl::Cluster, &[("a", 2)]);
    fixture.publish(&world);
    let second = stream.receive().await.unwrap();
    assert_eq!((second.resources.len(), &second.removed_resources[..]), (1, &["b".to_owned()][..]));
    let status = fixture.context.connections.list()[0].sync_status();
    assert_eq!((status.cluster_sent, status.cluster_acked), (second.nonce, first.nonce));

    let mut again: Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
        fixture.open("DeltaAggregatedResources").await;
    let versions = [("a".to_owned(), "2".to_owned())].into();
    again
        .send(DeltaDiscoveryRequest {
            node: node(&[]),
            initial_resource_versions: versions,
            ..delta(&TypeUrl::Cluster)
        })
        .await;
    let answer = again.receive().await.unwrap();
    assert!(answer.resources.is_empty() && answer.removed_resources.is_empty());
}

#[tokio::test]
async fn on_demand_is_announced_and_answers_with_what_is_referred_to() {
    let fixture = Fixture::new().await;
    let world = TinyWorld::default()
        .with(TypeUrl::Listener, &[("0.0.0.0_80", 1)])
        .with(TypeUrl::Cluster, &[("c", 1), ("d", 1)])
        .alias(TypeUrl::Listener, "10.0.0.9_80", "0.0.0.0_80")
        .refer((TypeUrl::Listener, "0.0.0.0_80"), (TypeUrl::Cluster, "c"));
    fixture.publish(&world);
    let mut stream: Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
        fixture.open("DeltaAggregatedResources").await;
    stream
        .send(DeltaDiscoveryRequest {
            node: node(&[ON_DEMAND_FEATURE]),
            resource_names_subscribe: vec!["10.0.0.9_80".to_owned(), "10.0.0.9_81".to_owned()],
            ..delta(&TypeUrl::Listener)
        })
        .await;
    let clusters = stream.receive().await.unwrap();
    assert_eq!(clusters.type_url, TypeUrl::Cluster.as_str());
    assert_eq!(clusters.resources.len(), 1);
    let identifier = ControlPlaneIdentifier::parse(&clusters.control_plane.unwrap().identifier);
    assert!(identifier.unwrap().on_demand.is_some());
    let listeners = stream.receive().await.unwrap();
    assert_eq!(listeners.resources[0].aliases, ["10.0.0.9_80"]);
    assert_eq!(listeners.removed_resources, ["10.0.0.9_81"]);
    assert_eq!(listeners.control_plane, None);
}

#[tokio::test]
async fn the_state_of_the_world_is_sent_and_warmed() {
    let fixture = Fixture::new().await;
    let world = TinyWorld::default()
        .with(TypeUrl::Cluster, &[("a", 1)])
        .with(TypeUrl::Endpoint, &[("a", 1)]);
    fixture.publish(&world);
    let mut stream: Stream<DiscoveryRequest, DiscoveryResponse> =
        fixture.open("StreamAggregatedResources").await;
    let request = |ty: &TypeUrl, names: &[&str], nonce: &str| DiscoveryRequest {
        type_url: ty.to_string(),
        resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    };
    stream.send(DiscoveryRequest { node: node(&[]), ..request(&TypeUrl::Cluster, &[], "") }).await;
    let clusters = stream.receive().await.unwrap();
    stream.send(request(&TypeUrl::Cluster, &[], &clusters.nonce)).await;
    stream.send(request(&TypeUrl::Endpoint, &["a"], "")).await;
    let endpoints = stream.receive().await.unwrap();
    assert_eq!(
        (endpoints.resources.len(), endpoints.type_url.as_str()),
        (1, TypeUrl::Endpoint.as_str())
    );
    stream.send(request(&TypeUrl::Endpoint, &["a"], &endpoints.nonce)).await;
    // A cluster that is replaced asks again, and must be answered.
    stream.send(request(&TypeUrl::Endpoint, &["a"], &endpoints.nonce)).await;
    let again = stream.receive().await.unwrap();
    assert_eq!(again.resources, endpoints.resources);
    assert_eq!(again.version_info, endpoints.version_info);
}

#[tokio::test]
async fn garbage_is_refused_and_disturbs_nobody() {
    let fixture = Fixture::new().await;
    let mut early: Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
        fixture.open("DeltaAggregatedResources").await;
    early.send(DeltaDiscoveryRequest { node: node(&[]), ..delta(&TypeUrl::Cluster) }).await;
    assert_eq!(early.receive().await.unwrap_err().code(), Code::Unavailable);
    let world = TinyWorld::default().with(TypeUrl::Cluster, &[("a", 1)]);
    fixture.publish(&world);
    let mut good: Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
        fixture.open("DeltaAggregatedResources").await;
    good.send(DeltaDiscoveryRequest { node: node(&[]), ..delta(&TypeUrl::Cluster) }).await;
    good.receive().await.unwrap();
    let bad_node = Some(Node { id: "x".to_owned(), ..Node::default() });
    for (request, text) in [
        (delta(&TypeUrl::Cluster), "has no node"),
        (DeltaDiscoveryRequest { node: bad_node, ..delta(&TypeUrl::Cluster) }, "node.id"),
        (DeltaDiscoveryRequest { node: node(&[]), ..Default::default() }, "type URL"),
    ] {
        let mut stream: Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
            fixture.open("DeltaAggregatedResources").await;
        stream.send(request).await;
        let status = stream.receive().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(text), "{status}");
    }
    fixture.publish(&world.with(TypeUrl::Cluster, &[("a", 2)]));
    assert_eq!(good.receive().await.unwrap().resources.len(), 1);
    fixture.tasks.trigger().start();
    assert_eq!(good.receive().await.unwrap_err().code(), Code::Unavailable);
}
