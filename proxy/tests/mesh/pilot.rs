//! A discovery server in the test's process: the real generator behind a small ADS, with listeners
//! on free ports of the loopback and endpoints where the test's proxies are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mesh_api::envoy::core::address::Address as Kind;
use mesh_api::envoy::core::socket_address::PortSpecifier;
use mesh_api::envoy::core::{Address, ControlPlane, Node, SocketAddress};
use mesh_api::envoy::endpoint::ClusterLoadAssignment;
use mesh_api::envoy::endpoint::lb_endpoint::HostIdentifier;
use mesh_api::envoy::listener::Listener;
use mesh_api::envoy::protobuf::Any;
use mesh_api::envoy::service::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_api::envoy::service::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use mesh_api::key::ClusterId;
use mesh_api::lateen::{ControlPlaneIdentifier, ON_DEMAND_FEATURE, OnDemand};
use mesh_api::node_metadata::NodeMetadata;
use mesh_api::type_url::TypeUrl;
use mesh_rt::drain::DrainTrigger;
use mesh_rt::tasks::Tasks;
use parking_lot::Mutex;
use pilot_model::class::Class;
use pilot_model::generate::Generator;
use pilot_model::proxy::Proxy;
use pilot_model::resource::{self, Answer};
use pilot_model::snapshot::Snapshot;
use pilot_model::store::{Event, Object, Store};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Responses<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// In the order of a push.
const TYPES: [TypeUrl; 6] = [
    TypeUrl::Cluster,
    TypeUrl::Endpoint,
    TypeUrl::Listener,
    TypeUrl::Route,
    TypeUrl::VirtualHost,
    TypeUrl::NameTable,
];

/// The mesh's objects, which outlive servers.
pub(crate) struct Mesh {
    store: Mutex<Store>,
    snapshot: Mutex<Arc<Snapshot>>,
    generator: Generator,
    /// Where the pods' addresses are reached in this test.
    reached: Mutex<HashMap<SocketAddr, SocketAddr>>,
    generation: watch::Sender<u64>,
    /// Types that are not answered for the moment.
    mute: AtomicBool,
    nacks: Mutex<Vec<String>>,
}

impl Mesh {
    pub(crate) fn new(objects: Vec<Object>) -> Arc<Self> {
        let mut store = Store::new("cluster.local");
        let snapshot = store.snapshot();
        let mesh = Arc::new(Self {
            store: Mutex::new(store),
            snapshot: Mutex::new(snapshot),
            generator: Generator::new(),
            reached: Mutex::default(),
            generation: watch::Sender::new(0),
            mute: AtomicBool::new(false),
            nacks: Mutex::default(),
        });
        mesh.apply(objects);
        mesh
    }

    /// Applies objects, and pushes what changed.
    pub(crate) fn apply(&self, objects: Vec<Object>) {
        let mut store = self.store.lock();
        for object in objects {
            let key = object.key();
            let change = store.apply(&ClusterId::default(), Event::Applied(object));
            assert!(!change.is_empty(), "{key} was not taken: {:?}", store.invalid());
        }
        *self.snapshot.lock() = store.snapshot();
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Says where a pod's address is reached.
    pub(crate) fn reach(&self, pod: SocketAddr, at: SocketAddr) {
        self.reached.lock().insert(pod, at);
    }

    /// Whether questions are left without an answer from now on.
    pub(crate) fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }

    /// What proxies refused so far.
    pub(crate) fn nacks(&self) -> Vec<String> {
        self.nacks.lock().clone()
    }

    fn resource(&self, resource: &resource::Resource, alias: Option<&str>) -> Resource {
        let body = match resource.type_url {
            TypeUrl::Listener => anywhere(&resource.body),
            TypeUrl::Endpoint => self.moved(&resource.body),
            _ => resource.body.clone(),
        };
        let type_url = resource.type_url.as_str().to_owned();
        Resource {
            name: resource.name.to_string(),
            version: resource.version.to_string(),
            aliases: alias.map(str::to_owned).into_iter().collect(),
            resource: Some(Any { type_url, value: body.to_vec() }),
            ..Resource::default()
        }
    }

    fn moved(&self, body: &Bytes) -> Bytes {
        let mut assignment = ClusterLoadAssignment::decode(body.clone()).unwrap();
        let all = assignment.endpoints.iter_mut().flat_map(|part| &mut part.lb_endpoints);
        for endpoint in all {
            let Some(HostIdentifier::Endpoint(endpoint)) = &mut endpoint.host_identifier else {
                continue;
            };
            let Some(Kind::SocketAddress(socket)) =
                endpoint.address.as_mut().and_then(|address| address.address.as_mut())
            else {
                continue;
            };
            let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { continue };
            let own = format!("{}:{port}", socket.address).parse::<SocketAddr>().unwrap();
            if let Some(at) = self.reached.lock().get(&own) {
                socket.address = at.ip().to_string();
                socket.port_specifier = Some(PortSpecifier::PortValue(at.port().into()));
            }
        }
        assignment.encode_to_vec().into()
    }
}

/// The listener on any free port.
fn anywhere(body: &Bytes) -> Bytes {
    let mut listener = Listener::decode(body.clone()).unwrap();
    if listener.bind_to_port.is_none_or(|bind| bind.value) {
        let socket = SocketAddress {
            address: "0.0.0.0".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(0)),
            ..SocketAddress::default()
        };
        listener.address = Some(Address { address: Some(Kind::SocketAddress(socket)) });
    }
    listener.encode_to_vec().into()
}

/// A running server.
pub(crate) struct Pilot {
    pub(crate) address: SocketAddr,
    trigger: DrainTrigger,
    gone: watch::Sender<bool>,
}

impl Pilot {
    /// Serves `mesh`, on a free port or the one of a server before.
    pub(crate) async fn start(mesh: &Arc<Mesh>, at: Option<SocketAddr>) -> Self {
        let (trigger, _) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger.clone());
        let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let options = mesh_rt::net::ListenOptions::default();
        let listener: TcpListener = mesh_rt::net::listen(at, options).unwrap();
        let address = listener.local_addr().unwrap();
        let gone = watch::Sender::new(false);
        let ads = Ads { mesh: Arc::clone(mesh), tasks: tasks.clone(), gone: gone.subscribe() };
        let service = AggregatedDiscoveryServiceServer::new(ads);
        let served = tasks.clone();
        tasks.spawn_background("pilot", async move {
            mesh_rt::grpc::serve(&served, listener, None, service).await
        });
        Self { address, trigger, gone }
    }

    /// Ends at once, as a killed process does.
    pub(crate) async fn kill(self) {
        self.gone.send_replace(true);
        self.trigger.start_drain_and_wait(mesh_rt::drain::DrainMode::Immediate).await;
    }
}

struct Ads {
    mesh: Arc<Mesh>,
    tasks: Tasks,
    gone: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
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
        let (responses, receiver) = mpsc::channel(64);
        let mut session = Session {
            mesh: Arc::clone(&self.mesh),
            responses,
            class: None,
            subscribed: BTreeMap::new(),
            sent: HashMap::new(),
        };
        let mut gone = self.gone.clone();
        let requests = request.into_inner();
        self.tasks.spawn_background("session", async move {
            tokio::select! {
                _ended = session.run(requests) => {}
                _killed = gone.wait_for(|gone| *gone) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct Session {
    mesh: Arc<Mesh>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    class: Option<(Proxy, Arc<Class>)>,
    /// Names by place of their type; `*` is everything.
    subscribed: BTreeMap<usize, BTreeSet<String>>,
    /// Versions by place of the type and name; an empty one says that there is nothing.
    sent: HashMap<(usize, String), String>,
}

impl Session {
    async fn run(&mut self, mut requests: Streaming<DeltaDiscoveryRequest>) -> Option<()> {
        let mut changes = self.mesh.generation.subscribe();
        loop {
            tokio::select! {
                request = requests.next() => self.take(request?.ok()?).await?,
                changed = changes.changed() => {
                    changed.ok()?;
                    self.push().await?;
                }
            }
        }
    }

    async fn take(&mut self, request: DeltaDiscoveryRequest) -> Option<()> {
        if let Some(node) = &request.node {
            self.class = Some(self.known(node));
        }
        if let Some(nack) = request.error_detail.filter(|detail| detail.code != 0) {
            self.mesh.nacks.lock().push(nack.message);
        }
        let type_url = TypeUrl::parse(&request.type_url).ok()?;
        let Some(place) = TYPES.iter().position(|known| *known == type_url) else {
            return Some(());
        };
        let names = self.subscribed.entry(place).or_default();
        for name in &request.resource_names_unsubscribe {
            names.remove(name);
            self.sent.remove(&(place, name.clone()));
        }
        names.extend(request.resource_names_subscribe.iter().cloned());
        for (name, version) in request.initial_resource_versions {
            self.sent.insert((place, name), version);
        }
        if request.resource_names_subscribe.is_empty() || self.mesh.mute.load(Ordering::SeqCst) {
            return Some(());
        }
        let fresh = request.resource_names_subscribe;
        self.answer(place, &fresh, true).await
    }

    fn known(&self, node: &Node) -> (Proxy, Arc<Class>) {
        let metadata = NodeMetadata::from_struct(node.metadata.as_ref().unwrap()).unwrap();
        let extensions: Vec<String> = node.extensions.iter().map(|e| e.name.clone()).collect();
        let id = node.id.parse().unwrap();
        let proxy = Proxy::new(id, metadata, &node.client_features, &extensions);
        let class = self.mesh.generator.class(&self.mesh.snapshot.lock(), &proxy);
        (proxy, class)
    }

    async fn push(&mut self) -> Option<()> {
        let Some((proxy, class)) = &mut self.class else { return Some(()) };
        *class = self.mesh.generator.class(&self.mesh.snapshot.lock(), proxy);
        for place in 0..TYPES.len() {
            let names = self.subscribed.get(&place).cloned().unwrap_or_default();
            let names: Vec<String> = names.into_iter().collect();
            self.answer(place, &names, false).await?;
        }
        Some(())
    }

    /// Sends what differs from what was sent; with `always` also when nothing does.
    async fn answer(&mut self, place: usize, names: &[String], always: bool) -> Option<()> {
        let snapshot = Arc::clone(&self.mesh.snapshot.lock());
        let (_, class) = self.class.as_ref()?;
        let (mut resources, mut removed) = (Vec::new(), Vec::new());
        for name in names {
            if name == "*" {
                let set = self.mesh.generator.wildcard(&snapshot, class, &TYPES[place]);
                for resource in set.iter() {
                    let known = self
                        .sent
                        .insert((place, resource.name.to_string()), resource.version.to_string());
                    if known.as_deref() != Some(&*resource.version) {
                        resources.push(self.mesh.resource(resource, None));
                    }
                }
                continue;
            }
            let answer = self.mesh.generator.named(&snapshot, class, &TYPES[place], name);
            let (of, alias) = match &answer {
                Answer::Resource(resource) => (Some(resource), None),
                Answer::Alias { of } => (Some(of), Some(name.as_str())),
                Answer::Absent => (None, None),
            };
            let version = of.map_or_else(String::new, |of| format!("{}{}", of.name, of.version));
            let known = self.sent.insert((place, name.clone()), version.clone());
            if known.as_ref() == Some(&version) {
                continue;
            }
            match of {
                Some(of) => resources.push(self.mesh.resource(of, alias)),
                None => removed.push(name.clone()),
            }
        }
        if resources.is_empty() && removed.is_empty() && !always {
            return Some(());
        }
        let on_demand = OnDemand {
            mesh_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            outbound_traffic_policy: "ALLOW_ANY".to_owned(),
        };
        let asks = self.class.as_ref().is_some_and(|(proxy, _)| proxy.capabilities().on_demand);
        let identifier = ControlPlaneIdentifier {
            component: ON_DEMAND_FEATURE.to_owned(),
            on_demand: asks.then_some(on_demand),
            ..ControlPlaneIdentifier::default()
        };
        let response = DeltaDiscoveryResponse {
            type_url: TYPES[place].as_str().to_owned(),
            resources,
            removed_resources: removed,
            nonce: "n".to_owned(),
            control_plane: Some(ControlPlane { identifier: identifier.to_text() }),
            ..DeltaDiscoveryResponse::default()
        };
        self.responses.send(Ok(response)).await.ok()
    }
}
