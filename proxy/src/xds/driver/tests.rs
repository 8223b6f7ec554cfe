//! Streams that break, wait and come back.

use std::net::SocketAddr;
use std::pin::Pin;

use mesh_api::any;
use mesh_api::envoy::cluster::Cluster;
use mesh_api::envoy::core::{Address, ControlPlane, Node, SocketAddress, address, socket_address};
use mesh_api::envoy::listener::Listener;
use mesh_api::envoy::service::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_api::envoy::service::discovery::{DiscoveryRequest, DiscoveryResponse, Resource};
use mesh_api::lateen;
use mesh_rt::readiness::Readiness;
use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::*;

type Responses<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// A server that hands each of its streams to the test.
struct Scripted(mpsc::Sender<Stream>);

struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(8);
        let _ = self.0.send(Stream { requests: request.into_inner(), responses }).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Stream {
    /// The next request of a type.
    async fn next(&mut self, type_url: &TypeUrl) -> DeltaDiscoveryRequest {
        loop {
            let request = self.requests.next().await.unwrap().unwrap();
            if request.type_url == type_url.as_str() {
                return request;
            }
        }
    }

    async fn send(&self, type_url: &TypeUrl, resources: Vec<Resource>, removed: &[&str]) {
        let identifier = lateen::ControlPlaneIdentifier {
            on_demand: Some(lateen::OnDemand {
                mesh_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
                outbound_traffic_policy: "ALLOW_ANY".to_owned(),
            }),
            ..Default::default()
        };
        let response = DeltaDiscoveryResponse {
            type_url: type_url.as_str().to_owned(),
            resources,
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            nonce: "n".to_owned(),
            control_plane: Some(ControlPlane { identifier: identifier.to_text() }),
            ..Default::default()
        };
        self.responses.send(Ok(response)).await.unwrap();
    }
}

fn resource<M: prost::Message + prost::Name>(name: &str, body: &M) -> Resource {
    Resource {
        name: name.to_owned(),
        version: "1".to_owned(),
        resource: Some(any::pack(body)),
        ..Resource::default()
    }
}

fn listener(name: &str) -> Resource {
    let socket = SocketAddress {
        address: "0.0.0.0".to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(15001)),
        ..SocketAddress::default()
    };
    let address = Address { address: Some(address::Address::SocketAddress(socket)) };
    let body = Listener { name: name.to_owned(), address: Some(address), ..Listener::default() };
    resource(name, &body)
}

fn cluster(name: &str) -> Resource {
    resource(name, &Cluster { name: name.to_owned(), ..Cluster::default() })
}

struct Setup {
    world: Arc<World>,
    streams: mpsc::Receiver<Stream>,
    readiness: Readiness,
    address: SocketAddr,
    tasks: Tasks,
    directory: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let (trigger, _) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(4);
        let service = AggregatedDiscoveryServiceServer::new(Scripted(sender));
        let served = tasks.clone();
        tasks.spawn_background("server", async move {
            mesh_rt::grpc::serve(&served, socket, None, service).await
        });
        let directory = tempfile::tempdir().unwrap();
        let readiness = Readiness::new();
        Self { world: World::new(), streams, readiness, address, tasks, directory }
    }

    fn start(&self) -> mesh_rt::tasks::TaskHandle<()> {
        let driver = Driver::new(Options {
            world: Arc::clone(&self.world),
            protocol: Protocol::new(Node::default(), true),
            node_id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local".to_owned(),
            disk: Some(Disk::new(self.directory.path().to_owned())),
            token: None,
            first: self.readiness.block("configuration"),
        });
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let drain = self.tasks.drain().clone();
        self.tasks.spawn_background("driver", driver.run(channel.connect_lazy(), drain))
    }

    async fn stream(&mut self) -> Stream {
        self.streams.recv().await.unwrap()
    }
}

#[tokio::test]
async fn configuration_arrives_is_asked_for_and_survives_the_server() {
    let mut setup = Setup::new().await;
    let driver = setup.start();
    let mut stream = setup.stream().await;
    let first = stream.next(&TypeUrl::Listener).await;
    assert_eq!(first.resource_names_subscribe, FIXED);
    assert!(!setup.readiness.is_ready());
    stream.send(&TypeUrl::Listener, vec![listener("virtualOutbound")], &["virtualInbound"]).await;
    setup.readiness.wait_ready().await;
    let ack = stream.next(&TypeUrl::Listener).await;
    assert!(ack.error_detail.is_none() && ack.response_nonce == "n");

    // What traffic asks for is asked of the server, and its answer ends the wait.
    let (known, absent) =
        tokio::join!(setup.world.ask(ResourceName::new(TypeUrl::Cluster, "a")), async {
            let asked = stream.next(&TypeUrl::Cluster).await;
            assert_eq!(asked.resource_names_subscribe, ["a"]);
            stream.send(&TypeUrl::Cluster, vec![cluster("a")], &["b"]).await;
            setup.world.ask(ResourceName::new(TypeUrl::Cluster, "b")).await
        });
    assert_eq!((known, absent), (Lookup::Found(()), Lookup::Absent));

    // Once the copy is on disk, another run begins with it, before any server answers.
    let copy = Disk::new(setup.directory.path().to_owned());
    let saved = move || {
        mesh_test::eventually("the copy on disk", Duration::from_secs(10), || {
            let saved = copy.load().ok().flatten().ok_or("there is none")?;
            saved.asked().find(|name| &*name.name == "a").ok_or("it lacks the name")
        })
    };
    mesh_rt::tasks::spawn_blocking("look", saved).await.unwrap();
    driver.abort();
    drop(stream);
    setup.world = World::new();
    setup.readiness = Readiness::new();
    let _driver = setup.start();
    assert!(setup.readiness.is_ready());
    assert!(setup.world.load().cluster("a").found().is_some());

    // The server learns what is held, and sends only differences.
    let mut stream = setup.stream().await;
    let again = stream.next(&TypeUrl::Cluster).await;
    assert_eq!(again.initial_resource_versions.get("a").map(String::as_str), Some("1"));
    assert!(again.resource_names_subscribe.iter().any(|name| name == "a"));
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_what_is_held_stays() {
    let mut setup = Setup::new().await;
    let _driver = setup.start();
    let mut stream = setup.stream().await;
    stream.next(&TypeUrl::Listener).await;
    let broken = Resource { name: "bad".to_owned(), ..listener("other") };
    stream
        .send(&TypeUrl::Listener, vec![listener("virtualOutbound"), broken], &["virtualInbound"])
        .await;
    let nack = stream.next(&TypeUrl::Listener).await.error_detail.unwrap();
    assert!(nack.message.starts_with("LDS bad: name: "), "{}", nack.message);
    setup.readiness.wait_ready().await;

    stream.responses.send(Err(Status::unavailable("going away"))).await.unwrap();
    let mut stream = setup.stream().await;
    let again = stream.next(&TypeUrl::Listener).await;
    assert!(again.node.is_some());
    assert_eq!(
        again.initial_resource_versions.get("virtualOutbound").map(String::as_str),
        Some("1")
    );
    assert!(setup.world.load().listener("virtualOutbound").found().is_some());
}
