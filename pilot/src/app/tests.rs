//! Pilot as a whole, over its real ports, before a Kubernetes API and an authority of the test.

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_api::envoy::core::Node;
use mesh_api::lateen::{ControlPlaneIdentifier, ON_DEMAND_FEATURE};
use mesh_api::type_url::TypeUrl;
use mesh_rt::identity::{
    CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, TrustBundle, WorkloadCert, tls,
};
use mesh_rt::net::listen;
use mesh_rt::process::Component;
use mesh_rt::settings::Settings;
use mesh_test::ca::{Leaf, TestCa};
use mesh_test::ca_server::{CaCall, CaServer};
use mesh_test::eventually;
use mesh_test::http::get;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::*;
use crate::fake_kube::FakeKube;
use crate::xds::messages::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

const APP: &str = "spiffe://cluster.local/ns/default/sa/app";
const ISTIOD: &str = "spiffe://cluster.local/ns/istio-system/sa/istiod";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const MESH: &str = "/api/v1/namespaces/istio-system/configmaps/istio";
const PEER_AUTHENTICATIONS: &str = "/apis/security.istio.io/v1/peerauthentications";
const PATIENCE: Duration = Duration::from_secs(30);

struct Pilot {
    kube: FakeKube,
    running: Running,
    process: Process,
    secure: SocketAddr,
    http: u16,
    root: TrustBundle,
    files: tempfile::TempDir,
    _authority: CaServer,
}

/// Signs for whom the token names; what istiod brings, it brings for others.
fn sign(ca: &TestCa, call: &CaCall) -> Result<Vec<String>, Status> {
    let leaf = match call.token.as_deref() {
        Some("pilot") => Leaf::spiffe(ISTIOD).with_dns("istiod.istio-system.svc"),
        Some("app") => Leaf::spiffe(APP),
        _ => return Err(Status::unauthenticated("request authentication failure")),
    };
    ca.sign(&call.csr, &leaf).map_err(Status::invalid_argument)
}

fn kube(tasks: &mesh_rt::tasks::Tasks) -> FakeKube {
    let kube = FakeKube::start(tasks);
    kube.put("/api/v1/namespaces/default", json!({}));
    kube.put("/api/v1/nodes/one", json!({"spec": {"podCIDR": "10.244.0.0/24"}}));
    kube.put(&format!("{SERVICES}/reviews"), service("10.96.0.9"));
    kube.put(MESH, json!({"data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}}));
    kube.token("app", "default", "app");
    kube.token("operator", "istio-system", "kiali");
    kube
}

fn service(ip: &str) -> Value {
    json!({"spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 9080}]}})
}

impl Pilot {
    async fn start(prepare: impl FnOnce(&FakeKube)) -> Self {
        let component = Component { name: "pilot", metrics_prefix: "pilot", admin: None };
        let process = Process::detached(component);
        let kube = kube(&process.tasks);
        prepare(&kube);
        let ca = Arc::new(TestCa::root("mesh"));
        let root = TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap();
        let signer = ca.clone();
        let authority = CaServer::start(&ca, "localhost", move |call| sign(&signer, call));
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (token, ca_file) = (file("pilot", "pilot"), file("root.pem", ca.root_pem()));
        let address = format!("localhost:{}", authority.address().port());
        let env = [
            ("CA_ADDR", address.as_str()),
            ("CA_TOKEN_FILE", token.as_str()),
            ("CA_ROOT_FILE", ca_file.as_str()),
            ("MESH_CONFIG_FILE", "/nonexistent"),
            ("PILOT_DEBOUNCE_AFTER", "5ms"),
        ];
        let settings = Settings::new(&env);
        let read = PilotSettings::read(&settings);
        settings.finish().unwrap();
        let bind = || listen("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
        let (secure, http) = (bind(), bind());
        let (secure_at, http_at) = (secure.local_addr().unwrap(), http.local_addr().unwrap());
        let listeners = Listeners { secure, plaintext: None, webhooks: None, http: Some(http) };
        let admin = process.admin(component);
        let started = start_with(&process, &read, kube.client(), listeners, admin).await;
        let running = started.unwrap();
        let ready = tokio::time::timeout(PATIENCE, process.readiness.wait_ready()).await;
        ready.unwrap_or_else(|_| panic!("not ready: {:?}", process.readiness.pending()));
        let (secure, http, _authority) = (secure_at, http_at.port(), authority);
        Self { kube, running, process, secure, http, root, files, _authority }
    }

    fn target(&self) -> Target {
        Target {
            authority: self.secure.to_string(),
            server_name: Some("istiod.istio-system.svc".to_owned()),
            connect_timeout: PATIENCE,
        }
    }

    fn anonymous(&self) -> LiveIdentity {
        let live = LiveIdentity::new();
        live.set_trust(self.root.clone());
        live
    }

    fn tls(live: &LiveIdentity) -> Reloading<rustls::ClientConfig> {
        Reloading::new(tls::client_config(live, tls::ServerCheck::DnsName, &[H2]).unwrap())
    }

    /// A certificate through the relay.
    async fn certificate(&self, token: &str) -> Result<LiveIdentity, mesh_rt::identity::CaError> {
        let path: PathBuf = self.files.path().join("token");
        std::fs::write(&path, token).unwrap();
        let tls = Self::tls(&self.anonymous());
        let client = CaClient::new(self.target(), tls, TokenSource::File(path));
        let spiffe: mesh_api::spiffe::SpiffeId = APP.parse().unwrap();
        let subject = CsrSubject { spiffe: spiffe.clone(), algorithm: KeyAlgorithm::EcdsaP256 };
        let request = KeyAndCsr::generate(&subject).unwrap();
        let hour = Duration::from_hours(1);
        let issued: Issued = client.create_certificate(request.csr_pem(), hour).await?;
        let key = request.into_key();
        let now = SystemTime::now();
        let cert = WorkloadCert::check(&issued, key, &spiffe, self.root.certificates(), now);
        let live = LiveIdentity::new();
        live.publish(cert.unwrap(), self.root.clone());
        Ok(live)
    }

    async fn discovery(&self, live: &LiveIdentity, token: Option<&str>) -> Result<Ads, Status> {
        let channel = grpc::channel(&self.target(), Some(Self::tls(live))).unwrap();
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (send, receive) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(receive));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let method =
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let response = client.streaming(request, method.parse().unwrap(), codec).await?;
        Ok(Ads { send, receive: response.into_inner() })
    }

    fn page(&self, path: &str) -> Value {
        let answer = tokio::task::block_in_place(|| get(self.http, path)).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }
}

struct Ads {
    send: Sender<DeltaDiscoveryRequest>,
    receive: Streaming<DeltaDiscoveryResponse>,
}

impl Ads {
    async fn ask(&self, namespace: &str, ty: &TypeUrl, features: &[&str]) {
        let id = format!("sidecar~10.244.0.7~app-1.{namespace}~{namespace}.svc.cluster.local");
        let client_features = features.iter().map(|feature| (*feature).to_owned()).collect();
        let node = Some(Node { id, client_features, ..Node::default() });
        let request = DeltaDiscoveryRequest {
            node,
            type_url: ty.to_string(),
            ..DeltaDiscoveryRequest::default()
        };
        self.send.send(request).await.unwrap();
    }

    async fn acknowledge(&self, response: &DeltaDiscoveryResponse) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.send.send(request).await.unwrap();
    }

    async fn refuse(&self, response: &DeltaDiscoveryResponse, message: &str) {
        let error =
            mesh_api::envoy::rpc::Status { message: message.to_owned(), ..Default::default() };
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: Some(error),
            ..DeltaDiscoveryRequest::default()
        };
        self.send.send(request).await.unwrap();
    }

    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.receive.message()).await;
        next.expect("an answer").map(|message| message.expect("a message"))
    }

    /// Acknowledges responses until one satisfies.
    async fn until(&mut self, is: impl Fn(&DeltaDiscoveryResponse) -> bool) {
        let last = self.find(is).await;
        self.acknowledge(&last).await;
    }

    /// Acknowledges responses before the first that satisfies.
    async fn find(
        &mut self,
        is: impl Fn(&DeltaDiscoveryResponse) -> bool,
    ) -> DeltaDiscoveryResponse {
        loop {
            let response = self.next().await.unwrap();
            if is(&response) {
                return response;
            }
            self.acknowledge(&response).await;
        }
    }
}

fn has(response: &DeltaDiscoveryResponse, name: &str) -> bool {
    response.resources.iter().any(|resource| resource.name == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_gets_a_certificate_then_configuration_and_each_change() {
    let pilot = Pilot::start(|_| {}).await;
    let live = pilot.certificate("app").await.unwrap();
    let mut ads = pilot.discovery(&live, None).await.unwrap();
    ads.ask("default", &TypeUrl::Cluster, &[ON_DEMAND_FEATURE, "lateen.x"]).await;
    let first = ads.next().await.unwrap();
    let identifier =
        ControlPlaneIdentifier::parse(&first.control_plane.as_ref().unwrap().identifier);
    let announced = identifier.unwrap().on_demand.unwrap();
    assert_eq!(announced.outbound_traffic_policy, "REGISTRY_ONLY");
    let cidrs: Vec<String> = announced.mesh_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["10.96.0.9/32", "10.244.0.0/24"]);

    // The token alone does as well.
    let mut ads = pilot.discovery(&pilot.anonymous(), Some("app")).await.unwrap();
    ads.ask("default", &TypeUrl::Cluster, &[]).await;
    ads.until(|response| has(response, "outbound|9080||reviews.default.svc.cluster.local")).await;
    pilot.kube.put(&format!("{SERVICES}/ratings"), service("10.96.0.10"));
    let ratings = "outbound|9080||ratings.default.svc.cluster.local";
    ads.until(|response| has(response, ratings)).await;
    pilot.kube.delete(&format!("{SERVICES}/ratings"));
    ads.until(|response| response.removed_resources.iter().any(|name| name == ratings)).await;

    let synced = || {
        let status = &pilot.page("/debug/syncz")[1];
        let both = (&status["cluster_sent"], &status["cluster_acked"]);
        (both.0 == both.1 && status["proxy"] == "app-1.default").then_some(()).ok_or(status.clone())
    };
    eventually("the proxy has it all", PATIENCE, synced);
    let dump = pilot.page("/debug/config_dump?proxyID=app-1.default").to_string();
    assert!(dump.contains("ClustersConfigDump") && dump.contains("||reviews.default"), "{dump}");
    assert_eq!(pilot.page("/debug/push_status")["proxies"], 2);
    assert!(pilot.page("/debug/list").as_array().unwrap().iter().all(|page| {
        let path = page["href"].as_str().unwrap();
        let query = "proxyID=app-1.default&resource=Service/default/reviews";
        pilot.page(&format!("{path}?{query}")) != Value::Null
    }));
    let index = tokio::task::block_in_place(|| get(pilot.http, "/debug")).unwrap();
    assert!(index.body.contains("<a href=\"/debug/syncz\">"), "{index:?}");
    let text = pilot.process.metrics.encode();
    for line in [
        "pilot_services 1",
        "pilot_k8s_reg_events{type=\"Service\",event=\"delete\"} 1",
        "pilot_push_triggers{type=\"service\"}",
        "pilot_inbound_updates{type=\"svc\"} 3",
        "pilot_xds{version=",
        "pilot_xds_pushes{type=\"cds\"}",
        "istiod_managed_clusters{cluster_type=\"local\"} 1",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_acknowledged_an_object_is_told() {
    let pilot = Pilot::start(|_| {}).await;
    let mut ads = pilot.discovery(&pilot.anonymous(), Some("app")).await.unwrap();
    ads.ask("default", &TypeUrl::Cluster, &[]).await;
    ads.until(|response| has(response, "outbound|9080||reviews.default.svc.cluster.local")).await;
    let page = |of: &str| pilot.page(&format!("/debug/config_distribution?resource=service/{of}"));
    let until = |of: &str, is: &dyn Fn(&Value) -> bool| {
        eventually("the page says so", PATIENCE, || {
            let page = page(of);
            if is(&page) { Ok(page) } else { Err(page) }
        })
    };
    // Who came later has it from the beginning.
    let told = until("default/reviews", &|page| page["proxies"][0]["acknowledged"] == true);
    assert_eq!(told["resource"], "Service/default/reviews");
    assert!(told["distributed_in_ms"].is_u64(), "{told}");

    let ratings = "outbound|9080||ratings.default.svc.cluster.local";
    pilot.kube.put(&format!("{SERVICES}/ratings"), service("10.96.0.10"));
    let response = ads.find(|response| has(response, ratings)).await;
    let told = page("default/ratings");
    assert_eq!((&told["state"], &told["reached"]), (&json!("current"), &json!(true)), "{told}");
    assert_eq!(told["distributed_in_ms"], Value::Null);
    let reason = told["proxies"][0]["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("it has acknowledged generation"), "{told}");
    ads.refuse(&response, "no such thing").await;
    let refused = json!([{
        "proxy": "app-1.default",
        "acknowledged": false,
        "reasons": ["it refused CDS: no such thing"],
    }]);
    until("default/ratings", &|page| page["proxies"] == refused);

    pilot.kube.put(&format!("{SERVICES}/ratings"), service("10.96.0.11"));
    let changed = |page: &Value| page["resource_version"] != told["resource_version"];
    until("default/ratings", &changed);
    pilot.kube.put(&format!("{SERVICES}/details"), service("10.96.0.12"));
    let details = "outbound|9080||details.default.svc.cluster.local";
    ads.until(|response| has(response, details)).await;
    let told = until("default/ratings", &|page| page["proxies"][0]["acknowledged"] == true);
    assert!(told["distributed_in_ms"].is_u64(), "{told}");
    let version = told["resource_version"].as_str().unwrap();
    assert_eq!(page(&format!("default/ratings&resource_version={version}"))["reached"], true);
    assert_eq!(page("default/ratings&resource_version=99999")["reached"], false);
    assert_eq!(page("default/nobody")["state"], "unknown");

    pilot.kube.delete(&format!("{SERVICES}/ratings"));
    ads.until(|response| response.removed_resources.iter().any(|name| name == ratings)).await;
    until("default/ratings", &|page| {
        page["state"] == "deleted" && page["proxies"][0]["acknowledged"] == true
    });
    for (query, words) in [
        ("", "which object?"),
        ("resource=service/a", "which object?"),
        ("resource=pod/a/b", "is not followed; these are: Service, "),
        ("resource=service/a/b&generation=x", "not a number"),
    ] {
        let path = format!("/debug/config_distribution?{query}");
        let answer = tokio::task::block_in_place(|| get(pilot.http, &path)).unwrap();
        assert!(answer.status == 400 && answer.body.contains(words), "{query}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_pretenders_are_refused() {
    let pilot = Pilot::start(|_| {}).await;
    let refused = pilot.certificate("stranger").await.unwrap_err();
    assert!(!refused.is_transient(), "{refused}");
    for token in [None, Some("stranger")] {
        let refused = pilot.discovery(&pilot.anonymous(), token).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    let mut ads = pilot.discovery(&pilot.anonymous(), Some("app")).await.unwrap();
    ads.ask("istio-system", &TypeUrl::Cluster, &[]).await;
    let refused = ads.next().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(pilot.running.context.connections.list().is_empty());
    // Others are served as before.
    let mut ads = pilot.discovery(&pilot.anonymous(), Some("app")).await.unwrap();
    ads.ask("default", &TypeUrl::Cluster, &[]).await;
    assert!(!ads.next().await.unwrap().resources.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_named_and_disturbs_nothing() {
    let pilot = Pilot::start(|kube| {
        kube.serves(PEER_AUTHENTICATIONS, false);
        kube.put(&format!("{SERVICES}/broken"), json!({"spec": {"ports": "many"}}));
    })
    .await;
    let snapshot = pilot.running.known.snapshot().unwrap();
    assert_eq!(snapshot.services.len(), 1);
    let invalid = pilot.running.known.invalid();
    assert_eq!(invalid.len(), 1);
    assert_eq!(invalid[0].object.to_string(), "Service/default/broken");
    let config = pilot.page("/debug/configz").to_string();
    assert!(config.contains("\"name\":\"broken\"") && config.contains("invalid"), "{config}");
    let watches = &pilot.page("/debug/clusterz")[0]["watches"];
    assert_eq!(watches["PeerAuthentication"], "not served by the API");

    // A mesh configuration that is none leaves the last one in effect.
    pilot.kube.put(MESH, json!({"data": {"mesh": "accessLogFile: [7"}}));
    let named = || {
        let all = pilot.running.known.invalid();
        let found = all.iter().any(|invalid| invalid.object.to_string() == "MeshConfig/mesh");
        found.then_some(()).ok_or(format!("{all:?}"))
    };
    eventually("the mesh configuration is set aside", PATIENCE, named);
    pilot.kube.put(MESH, json!({"data": {"mesh": "accessLogFile: /dev/stdout"}}));
    let applied = || {
        let file = pilot.page("/debug/mesh")["accessLogFile"].clone();
        (file == "/dev/stdout").then_some(()).ok_or(file)
    };
    eventually("the mesh configuration is in effect", PATIENCE, applied);

    // What was repaired, and what is served later, is taken up.
    pilot.kube.put(&format!("{SERVICES}/broken"), service("10.96.0.11"));
    let policy = PEER_AUTHENTICATIONS.replace("/peer", "/namespaces/default/peer") + "/strict";
    pilot.kube.put(&policy, json!({"spec": {"mtls": {"mode": "STRICT"}}}));
    pilot.kube.serves(PEER_AUTHENTICATIONS, true);
    let complete = || {
        let snapshot = pilot.running.known.snapshot().unwrap();
        let both = (snapshot.services.len(), snapshot.peer_authentications.len());
        (both == (2, 1)).then_some(()).ok_or(format!("{both:?}"))
    };
    eventually("all is known", PATIENCE, complete);
    assert!(pilot.running.known.invalid().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_away_nothing_is_lost() {
    let pilot = Pilot::start(|_| {}).await;
    let mut ads = pilot.discovery(&pilot.anonymous(), Some("app")).await.unwrap();
    ads.ask("default", &TypeUrl::Cluster, &[]).await;
    let reviews = "outbound|9080||reviews.default.svc.cluster.local";
    ads.until(|response| has(response, reviews)).await;
    pilot.kube.is_down(true);
    let stale = || {
        let status = pilot.page("/debug/clusterz")[0]["syncStatus"].clone();
        (status == "stale").then_some(()).ok_or(status)
    };
    eventually("the cluster is out of reach", PATIENCE, stale);
    pilot.kube.delete(&format!("{SERVICES}/reviews"));
    pilot.kube.put(&format!("{SERVICES}/ratings"), service("10.96.0.10"));
    // What is known stays in effect, also for who comes now; certificates of the mesh are enough.
    let live = pilot.certificate("app").await.unwrap();
    let mut other = pilot.discovery(&live, None).await.unwrap();
    other.ask("default", &TypeUrl::Cluster, &[]).await;
    other.until(|response| has(response, reviews)).await;
    pilot.kube.is_down(false);
    let ratings = "outbound|9080||ratings.default.svc.cluster.local";
    for ads in [&mut ads, &mut other] {
        let (mut added, mut removed) = (false, false);
        while !(added && removed) {
            let response = ads.next().await.unwrap();
            ads.acknowledge(&response).await;
            added |= has(&response, ratings);
            removed |= response.removed_resources.iter().any(|name| name == reviews);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debug_pages_are_for_the_control_planes_own() {
    let pilot = Pilot::start(|_| {}).await;
    pilot.kube.token("friend", "monitoring", "prometheus");
    let debug = Debug {
        settings: crate::settings::DebugSettings {
            enabled: true,
            authenticate: true,
            namespaces: vec!["monitoring".to_owned()],
        },
        namespace: "istio-system".to_owned(),
        known: pilot.running.known.clone(),
        context: pilot.running.context.clone(),
        generator: Arc::new(Generator::new()),
    };
    let debug = Arc::new(debug);
    for (peer, token, expected) in [
        ("127.0.0.1:9", None, 200),
        ("[::1]:9", None, 200),
        ("10.244.0.9:9", None, 401),
        ("10.244.0.9:9", Some("stranger"), 401),
        ("10.244.0.9:9", Some("app"), 403),
        ("10.244.0.9:9", Some("operator"), 200),
        ("10.244.0.9:9", Some("friend"), 200),
    ] {
        let mut headers = http::HeaderMap::new();
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let request = mesh_rt::admin::AdminRequest {
            method: http::Method::GET,
            path: "/debug/registryz".to_owned(),
            query: String::new(),
            headers,
            body: bytes::Bytes::new(),
            peer: peer.parse().unwrap(),
        };
        let answer = crate::debug::answer_by_name(&debug, "registryz", request).await;
        assert_eq!(answer.status().as_u16(), expected, "{peer} {token:?}");
    }
}
