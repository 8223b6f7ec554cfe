//! The servers a proxy talks to, within the test: pilot's discovery service over mutual TLS, and
//! the secret service that a sidecar's own side offers it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use http::uri::PathAndQuery;
use mesh_api::lateen::OnDemand;
use mesh_api::type_url::TypeUrl;
use mesh_rt::metrics::Metrics;
use mesh_rt::tasks::Tasks;
use mesh_rt::tls::{ClientAuth, Identity, Reloading, roots_from_pem, server_config};
use mesh_test::ca::{Leaf, TestCa};
use mesh_test::netns::Netns;
use pilot::metrics::XdsMetrics;
use pilot::world::MeshWorld;
use pilot::xds::auth::Authenticator;
use pilot::xds::push_queue::PushQueue;
use pilot::xds::server::AdsServer;
use pilot::xds::session::Context;
use pilot::xds::source::{Answer, Item, ItemSet, ProxyNode, View, World};
use pilot::xds::status::Connections;
use pilot_model::change::ChangeSet;
use pilot_model::generate::Generator;
use pilot_model::snapshot::Snapshot;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tower::ServiceExt;

/// Where pilot serves discovery.
pub(crate) const PORT: u16 = 15012;
/// Under which name.
pub(crate) const NAME: &str = "istiod.istio-system.svc";

/// A running discovery service, and with it the files a proxy beside it needs.
pub(crate) struct Control {
    context: Arc<Context>,
    generator: Arc<Generator>,
    ca: Arc<TestCa>,
    dir: tempfile::TempDir,
    runtime: Runtime,
}

impl Control {
    /// Serves the world in that network, at every address.
    pub(crate) fn start(net: &Netns, world: &Arc<Snapshot>) -> Self {
        let runtime = net.run(|| {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(1).enable_all().build().unwrap()
        });
        let ca = Arc::new(TestCa::root("cluster.local"));
        let id = "spiffe://cluster.local/ns/istio-system/sa/istiod";
        let (chain, key) = ca.leaf(&Leaf::spiffe(id).with_dns(NAME));
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let roots = Arc::new(roots_from_pem(ca.root_pem().as_bytes()).unwrap());
        let tls = server_config(identity, ClientAuth::Required(roots), &[b"h2"]).unwrap();
        let serving = runtime.spawn(async move {
            let (context, tasks) = context();
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await;
            let server = AdsServer::new(context.clone(), tasks.clone());
            let (listener, group) = (listener.unwrap(), tasks.clone());
            let _detached = tasks.spawn_background("discovery", async move {
                mesh_rt::grpc::serve(&group, listener, Some(Reloading::new(tls)), server).await
            });
            context
        });
        let context = runtime.block_on(serving).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let control = Self { context, generator: Arc::new(Generator::new()), ca, dir, runtime };
        control.publish(world);
        control
    }

    /// Publishes another world.
    pub(crate) fn publish(&self, world: &Arc<Snapshot>) {
        let generator = Arc::clone(&self.generator);
        let world = MeshWorld::new(Arc::clone(world), generator, OnDemand::default());
        let world: Arc<dyn World> = Arc::new(world);
        let _entered = self.runtime.enter();
        self.context.queue.publish(&world, &ChangeSet::everything(), Instant::now());
    }

    /// The mesh's authority.
    pub(crate) fn authority(&self) -> Arc<TestCa> {
        Arc::clone(&self.ca)
    }

    /// Writes certificate, key and root of a workload: `cert.pem`, `key.pem` and `root.pem`.
    pub(crate) fn files(&self, namespace: &str, account: &str) -> PathBuf {
        let dir = self.dir.path().join(format!("{namespace}-{account}"));
        std::fs::create_dir_all(&dir).unwrap();
        let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        let (chain, key) = self.ca.leaf(&Leaf::spiffe(&id));
        for (name, text) in
            [("cert.pem", &chain), ("key.pem", &key), ("root.pem", &self.ca.root_pem().to_owned())]
        {
            std::fs::write(dir.join(name), text).unwrap();
        }
        dir
    }

    /// Serves a workload's secrets over the socket, as a sidecar's agent does: `default` and
    /// `ROOTCA` from the files of that directory.
    pub(crate) fn serve_secrets(&self, files: &Path, socket: &Path) {
        let world: Arc<dyn World> = Arc::new(Secrets::read(files));
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let serving = self.runtime.spawn(async move {
            let (context, tasks) = context();
            context.queue.publish(&world, &ChangeSet::everything(), Instant::now());
            let discovery = AdsServer::new(context, tasks.clone());
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let service = discovery.map_request(as_discovery);
            let _detached = tasks.spawn_background("secrets", async move {
                let sockets = tokio_stream::wrappers::UnixListenerStream::new(listener);
                tonic::transport::Server::builder().serve_with_incoming(service, sockets).await
            });
        });
        self.runtime.block_on(serving).unwrap();
    }

    /// Waits until a proxy has acknowledged all that it was sent, and says what that is: for each
    /// type, whether a response was sent.
    ///
    /// # Errors
    /// What it has not acknowledged, and why.
    pub(crate) fn acknowledged(&self, proxy: &str, types: &[TypeUrl]) -> Result<(), String> {
        let connection = self.context.connections.find(proxy);
        let connection = connection.ok_or_else(|| format!("{proxy} is not connected"))?;
        let status = serde_json::to_value(connection.client_status()).unwrap();
        for type_url in types {
            let watch = &status["watches"][type_url.as_str()];
            let (sent, acked) = (&watch["nonceSent"], &watch["nonceAcked"]);
            let error = watch.get("error").filter(|error| !error.is_null());
            assert!(error.is_none(), "{proxy} refuses {type_url}: {watch}");
            if sent.as_str().is_none_or(str::is_empty) || sent != acked {
                return Err(format!("{type_url}: {watch}"));
            }
        }
        Ok(())
    }
}

fn context() -> (Arc<Context>, Tasks) {
    let (trigger, _) = mesh_rt::drain::channel();
    let tasks = Tasks::new(trigger);
    let auth = Authenticator { tokens: None, trust_domains: Default::default(), check_node: true };
    let context = Context {
        queue: PushQueue::new(4),
        auth,
        connections: Arc::new(Connections::default()),
        metrics: XdsMetrics::new(&Metrics::new("pilot", "pilot")),
        replica: "istiod-1".to_owned(),
        epoch: 1,
        drain: tasks.drain().clone(),
    };
    (Arc::new(context), tasks)
}

/// The secret service's methods are the discovery service's, under other names.
fn as_discovery<B>(mut request: http::Request<B>) -> http::Request<B> {
    let method = match request.uri().path().rsplit('/').next() {
        Some("DeltaSecrets") => "DeltaAggregatedResources",
        _ => "StreamAggregatedResources",
    };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/secrets/{method}")).unwrap());
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    request
}

/// A world of secrets.
struct Secrets(Arc<ItemSet>);

impl Secrets {
    fn read(files: &Path) -> Self {
        let text = |name: &str| json!({ "inline_string": std::fs::read_to_string(files.join(name)).unwrap() });
        let own = json!({
            "certificate_chain": text("cert.pem"), "private_key": text("key.pem"),
        });
        let trusted = json!({ "trusted_ca": text("root.pem") });
        // Files of the pod are secrets too; any will do here.
        let secrets = [
            ("default", json!({ "tls_certificate": own })),
            ("ROOTCA", json!({ "validation_context": trusted })),
            ("file-cert:/etc/certs/cert.pem~/etc/certs/key.pem", json!({ "tls_certificate": own })),
            ("file-root:system", json!({ "validation_context": trusted })),
        ];
        let item = |(name, mut secret): (&str, Value)| {
            secret["name"] = name.into();
            secret["@type"] = TypeUrl::Secret.as_str().into();
            let body = mesh_api::pool::from_json(&secret).unwrap().value.into();
            (name.into(), Item { name: name.into(), version: "1".into(), body })
        };
        Self(Arc::new(secrets.into_iter().map(item).collect()))
    }
}

impl World for Secrets {
    fn generation(&self) -> u64 {
        1
    }

    fn view(&self, _proxy: &ProxyNode) -> Arc<dyn View> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    fn affected(&self, _changes: &ChangeSet, _proxy: &ProxyNode) -> Option<Vec<TypeUrl>> {
        None
    }

    fn on_demand(&self) -> OnDemand {
        OnDemand::default()
    }
}

impl View for Secrets {
    fn generation(&self) -> u64 {
        1
    }

    fn class(&self) -> usize {
        0
    }

    fn all(&self, _ty: &TypeUrl) -> Arc<ItemSet> {
        Arc::clone(&self.0)
    }

    fn named(&self, _ty: &TypeUrl, name: &str) -> Answer {
        self.0.get(name).cloned().map_or(Answer::Absent, Answer::Resource)
    }

    fn closure(&self, _ty: &TypeUrl, _name: &str) -> Vec<(TypeUrl, Arc<str>)> {
        Vec::new()
    }
}
