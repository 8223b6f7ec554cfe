//! Two proxies in one process under the configuration that pilot generates: client → proxy → mTLS
//! → proxy → application, on the loopback and without capture.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

mod apps;
mod clients;
mod dns;
mod drain;
mod grpc;
mod pilot;
mod pods;
mod tcp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh_rt::tasks::Tasks;
use mesh_test::ca::TestCa;
use pilot_model::store::Object;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use pilot::{Mesh, Pilot};
use pods::{App, Sidecar, Who, talk};

const REVIEWS: &str = "10.96.0.2:9080";
const ECHO: &str = "10.96.0.3:9000";
const WEB_ID: &str = "sidecar~127.0.0.3~web-v1.default~default.svc.cluster.local";
const REVIEWS_ID: &str = "sidecar~127.0.0.2~reviews-v1.default~default.svc.cluster.local";

fn read<T: DeserializeOwned>(value: Value) -> Box<T> {
    Box::new(serde_json::from_value(value).unwrap())
}

fn service(name: &str, vip: &str, port: &Value) -> Object {
    Object::Service(read(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "clusterIP": vip, "clusterIPs": [vip], "selector": { "app": "reviews" },
            "ports": [port],
        },
    })))
}

fn pod(app: &str, ip: &str) -> Object {
    Object::Pod(read(json!({
        "metadata": {
            "name": format!("{app}-v1"), "namespace": "default",
            "labels": { "app": app, "version": "v1", "security.istio.io/tlsMode": "istio" },
        },
        "spec": { "serviceAccountName": app, "containers": [] },
        "status": { "podIP": ip, "podIPs": [{ "ip": ip }] },
    })))
}

fn slice(service: &str, port: &Value, ip: &str) -> Object {
    Object::EndpointSlice(read(json!({
        "metadata": {
            "name": format!("{service}-x"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [port],
        "endpoints": [{
            "addresses": [ip], "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": "reviews-v1" },
        }],
    })))
}

fn objects(app: &App) -> Vec<Object> {
    let (http, tcp) = (app.http.port(), app.tcp.port());
    vec![
        pod("web", "127.0.0.3"),
        pod("reviews", "127.0.0.2"),
        service(
            "reviews",
            "10.96.0.2",
            &json!({ "name": "http", "port": 9080, "targetPort": http }),
        ),
        service("echo", "10.96.0.3", &json!({ "name": "tcp", "port": 9000, "targetPort": tcp })),
        service("nobody", "10.96.0.4", &json!({ "name": "tcp", "port": 9001 })),
        slice("reviews", &json!({ "name": "http", "port": http }), "127.0.0.2"),
        slice("echo", &json!({ "name": "tcp", "port": tcp }), "127.0.0.2"),
        peer_authentication("STRICT"),
    ]
    .into_iter()
    .chain(both_versions(app))
    .collect()
}

/// Services of HTTP/2, gRPC, and a protocol that nobody names.
fn both_versions(app: &App) -> Vec<Object> {
    let [two, calls, found] = app.both.map(|at| at.port());
    let named = |name: &str, port: u16, target: u16, more: Value| {
        let mut service_port = json!({ "port": port, "targetPort": target });
        let fields = service_port.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let name_of_port = more.get("name").cloned().unwrap_or_default();
        let slice_port = json!({ "name": name_of_port, "port": target });
        let vip = format!("10.96.0.{}", port % 100);
        [service(name, &vip, &service_port), slice(name, &slice_port, "127.0.0.2")]
    };
    let all = [
        named("two", 9005, two, json!({ "name": "http2" })),
        named("calls", 9006, calls, json!({ "name": "calls", "appProtocol": "grpc" })),
        named("found", 9007, found, json!({ "name": "found" })),
    ];
    all.into_iter().flatten().collect()
}

fn peer_authentication(mode: &str) -> Object {
    Object::PeerAuthentication(read(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": { "name": "default", "namespace": "default" },
        "spec": { "mtls": { "mode": mode } },
    })))
}

fn virtual_service(http: &Value) -> Object {
    Object::VirtualService(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "reviews", "namespace": "default" },
        "spec": { "hosts": ["reviews"], "http": [http] },
    })))
}

/// A mesh of two pods.
struct Setup {
    tasks: Tasks,
    ca: TestCa,
    mesh: Arc<Mesh>,
    pilot: Option<Pilot>,
    app: App,
    web: Sidecar,
    reviews: Sidecar,
    data: tempfile::TempDir,
}

impl Setup {
    async fn new(on_demand: bool) -> Self {
        let (trigger, _) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let app = App::start(&tasks, Ipv4Addr::new(127, 0, 0, 2)).await;
        let mesh = Mesh::new(objects(&app));
        let pilot = Pilot::start(&mesh, None).await;
        let ca = TestCa::root("root");
        let data = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let path = data.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (reviews, web) = (dir("reviews"), dir("web"));
        let who = |id, app, data| Who { id, app, pilot: pilot.address, on_demand, data, dns: None };
        let reviews = Sidecar::start(&who(REVIEWS_ID, "reviews", &reviews), &ca).await;
        reviews.ready().await;
        for at in [app.http, app.tcp].into_iter().chain(app.both) {
            mesh.reach(at, reviews.captures("virtualInbound", at));
        }
        let web = Sidecar::start(&who(WEB_ID, "web", &web), &ca).await;
        web.ready().await;
        Self { tasks, ca, mesh, pilot: Some(pilot), app, web, reviews, data }
    }

    fn inbound(&self, to: SocketAddr) -> SocketAddr {
        self.reviews.captures("virtualInbound", to)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.web.stop();
        self.reviews.stop();
        self.tasks.trigger().force();
    }
}

async fn a_request_crosses(on_demand: bool) {
    let setup = Setup::new(on_demand).await;
    let mut client = setup.web.http(REVIEWS).await;
    let (status, head) = client.get("reviews:9080", "/one").await;
    assert_eq!(status, 200, "{head} {:?}", setup.web.recorded("/one").await);
    let xfcc =
        head.lines().find(|line| line.starts_with("x-forwarded-client-cert")).unwrap_or(&head);
    assert!(xfcc.contains("By=spiffe://cluster.local/ns/default/sa/reviews"), "{xfcc}");
    assert!(xfcc.contains("URI=spiffe://cluster.local/ns/default/sa/web"), "{xfcc}");
    // Metadata is for proxies, and stays with them.
    assert!(!head.contains("x-envoy-peer-metadata"), "{head}");
    let source = setup.web.recorded("/one").await;
    let reviews = "outbound|9080||reviews.default.svc.cluster.local";
    assert_eq!(source, format!("/one 200 - via_upstream {reviews}"));
    let destination = setup.reviews.recorded("/one").await;
    assert_eq!(destination, format!("/one 200 - via_upstream inbound|{}||", setup.app.http.port()));
    assert_eq!(setup.web.tcp(ECHO, "hello").await, "hello");
    let line = setup.web.recorded("tcp 5 5").await;
    assert!(line.ends_with("outbound|9000||echo.default.svc.cluster.local"), "{line}");
    setup.reviews.recorded("tcp 5 5").await;
    assert_eq!(setup.mesh.nacks(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_bytes_cross_the_mesh_when_asked_for() {
    a_request_crosses(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_bytes_cross_the_mesh_when_everything_is_held() {
    a_request_crosses(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_is_refused_under_strict_and_taken_under_permissive() {
    let setup = Setup::new(true).await;
    let request = "GET /plain HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n";
    assert_eq!(talk(setup.inbound(setup.app.http), request).await, "");
    let line = setup.reviews.recorded("filter_chain_not_found").await;
    assert!(line.starts_with("tcp 0 0 NR"), "{line}");
    setup.mesh.apply(vec![peer_authentication("PERMISSIVE")]);
    let taken = async {
        while !talk(setup.inbound(setup.app.http), request).await.starts_with("HTTP/1.1 200") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), taken).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_route_is_in_force_on_open_connections_without_a_lost_request() {
    let setup = Setup::new(true).await;
    let mut client = setup.web.http(REVIEWS).await;
    assert_eq!(client.get("reviews:9080", "/before").await.0, 200);
    let route = json!({
        "headers": { "request": { "set": { "x-new": "yes" } } },
        "route": [{ "destination": { "host": "reviews" } }],
    });
    setup.mesh.apply(vec![virtual_service(&route)]);
    for number in 0.. {
        let (status, head) = client.get("reviews:9080", "/during").await;
        assert_eq!(status, 200, "request {number}: {head}");
        if head.contains("x-new: yes") {
            break;
        }
        assert!(number < 10_000, "the route never came");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pilot_does_not_answer_for_fails_closed_with_its_reason() {
    let setup = Setup::new(true).await;
    let mut client = setup.web.http(REVIEWS).await;
    assert_eq!(client.get("reviews:9080", "/held").await.0, 200);
    setup.mesh.mute(true);
    // A host of a table that is held.
    let (status, body) = client.get("other:9080", "/unknown").await;
    assert_eq!(status, 503, "{body}");
    let line = setup.web.recorded("/unknown").await;
    assert!(line.contains("NC configuration_unknown{VHDS_9080/other:9080}"), "{line}");
    // An address of the mesh.
    assert_eq!(setup.web.tcp("10.96.0.9:80", "hello").await, "");
    let line = setup.web.recorded("10.96.0.9").await;
    assert!(line.contains("NC configuration_unknown{LDS_10.96.0.9_80}"), "{line}");
    // What was held goes on, and what there is nobody behind says so.
    assert_eq!(client.get("reviews:9080", "/still").await.0, 200);
    setup.mesh.mute(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_behind_a_service_is_told_as_such() {
    let setup = Setup::new(true).await;
    assert_eq!(setup.web.tcp("10.96.0.4:9001", "hello").await, "");
    let line = setup.web.recorded("outbound|9001||nobody").await;
    assert!(line.contains("UH no_healthy_upstream"), "{line}");
    // An address outside of the mesh is left alone.
    let outside = setup.app.tcp.to_string();
    assert_eq!(setup.web.tcp(&outside, "hello").await, "hello");
    let line = setup.web.recorded("PassthroughCluster").await;
    assert!(line.starts_with("tcp 5 5 -"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_pilot_changes_nothing() {
    let mut setup = Setup::new(true).await;
    let mut client = setup.web.http(REVIEWS).await;
    assert_eq!(client.get("reviews:9080", "/before").await.0, 200);
    assert_eq!(setup.web.tcp(ECHO, "hello").await, "hello");
    let kept = setup.data.path().join("web/config.bin");
    let copied = move || {
        mesh_test::eventually("the copy", std::time::Duration::from_secs(20), || {
            let copy = proxy::xds::disk::Disk::new(kept.parent().unwrap().to_owned());
            let copy = copy.load().ok().flatten().ok_or("there is none")?;
            let echo = |name: proxy_model::lookup::ResourceName| name.name.contains("10.96.0.3");
            if copy.asked().any(echo) { Ok(()) } else { Err("it lacks the last name") }
        })
    };
    mesh_rt::tasks::spawn_blocking("look", copied).await.unwrap();
    let pilot = setup.pilot.take().unwrap();
    let address = pilot.address;
    pilot.kill().await;
    assert_eq!(client.get("reviews:9080", "/after").await.0, 200);
    assert_eq!(setup.web.http(REVIEWS).await.get("reviews:9080", "/anew").await.0, 200);

    // A proxy that starts again has what it had.
    setup.web.stop();
    let dir = setup.data.path().join("web");
    let who =
        Who { id: WEB_ID, app: "web", pilot: address, on_demand: true, data: &dir, dns: None };
    setup.web = Sidecar::start(&who, &setup.ca).await;
    setup.web.ready().await;
    let mut client = setup.web.http(REVIEWS).await;
    let (status, body) = client.get("reviews:9080", "/again").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(setup.web.tcp(ECHO, "hello").await, "hello");

    // Pilot comes back, and what changed meanwhile comes with it.
    let route = json!({
        "headers": { "request": { "set": { "x-new": "yes" } } },
        "route": [{ "destination": { "host": "reviews" } }],
    });
    setup.mesh.apply(vec![virtual_service(&route)]);
    setup.pilot = Some(Pilot::start(&setup.mesh, Some(address)).await);
    let came = async {
        while !client.get("reviews:9080", "/back").await.1.contains("x-new: yes") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), came).await.unwrap();
}
