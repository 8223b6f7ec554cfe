//! The webhook over HTTPS, before a Kubernetes API of the test.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use mesh_rt::identity::{CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, TrustBundle, WorkloadCert};
use mesh_rt::net::{ListenOptions, listen};
use mesh_rt::process::Component;
use mesh_rt::tls::roots_from_pem;
use mesh_test::ca::{Leaf, TestCa};
use pilot_model::inject::{self, Config, PodContext, Policy};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::fake_kube::FakeKube as FakeApi;

const PATIENCE: Duration = Duration::from_secs(20);
const MAP: &str = "/api/v1/namespaces/istio-system/configmaps/istio-sidecar-injector";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const ISTIOD: &str = "spiffe://cluster.local/ns/istio-system/sa/istiod";

fn issue(ca: &TestCa, live: &LiveIdentity) {
    let leaf = Leaf::spiffe(ISTIOD).with_dns("istiod.istio-system.svc");
    let spiffe: mesh_api::spiffe::SpiffeId = ISTIOD.parse().unwrap();
    let subject = CsrSubject { spiffe: spiffe.clone(), algorithm: KeyAlgorithm::EcdsaP256 };
    let request = KeyAndCsr::generate(&subject).unwrap();
    let issued = Issued { chain_pem: ca.sign(request.csr_pem(), &leaf).unwrap() };
    let cert =
        WorkloadCert::check(&issued, request.into_key(), &spiffe, &[], SystemTime::now()).unwrap();
    live.publish(cert, TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap());
}

/// The webhook, and what surrounds it.
struct World {
    process: Process,
    api: FakeApi,
    live: LiveIdentity,
    address: SocketAddr,
    root: String,
    /// Keeps the mesh's settings alive.
    _mesh: watch::Sender<Arc<MeshConfig>>,
}

impl World {
    async fn start(map: Option<Value>) -> Self {
        let component = Component { name: "pilot", metrics_prefix: "pilot", admin: None };
        let process = Process::detached(component);
        let api = FakeApi::start(&process.tasks);
        if let Some(map) = map {
            api.put(MAP, map);
        }
        let (live, ca) = (LiveIdentity::new(), TestCa::root("mesh"));
        issue(&ca, &live);
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = listen(any, ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mesh) = watch::channel(Arc::default());
        let options = WebhookOptions {
            namespace: "istio-system".to_owned(),
            revision: "default".to_owned(),
            mesh,
            pages: process.admin(component).route(Method::GET, "/debug/page", |_| {
                std::future::ready(mesh_rt::http_server::text(StatusCode::OK, "shown\n"))
            }),
        };
        start(&process, listener, &live, api.client(), options).unwrap();
        let ready = tokio::time::timeout(PATIENCE, process.readiness.wait_ready()).await;
        ready.unwrap_or_else(|_| panic!("not ready: {:?}", process.readiness.pending()));
        Self { process, api, live, address, root: ca.root_pem().to_owned(), _mesh: sender }
    }

    /// Sends a request as the API server does, trusting `root`.
    async fn send(&self, root: &str, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let roots = roots_from_pem(root.as_bytes()).unwrap();
        let config = mesh_rt::tls::client_config(None, roots, &[]).unwrap();
        let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let exchange = async {
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ended = connection => exchange.await,
        }
    }

    async fn post(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
        let request = Request::post(path)
            .header(header::HOST, "istiod.istio-system.svc")
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body.into()))
            .unwrap();
        self.send(&self.root, request).await
    }

    async fn review(&self, path: &str, namespace: &str, pod: &Value) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": "CREATE", "namespace": namespace, "object": pod,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
            },
        });
        let (status, body) = self.post(path, "application/json", review.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].take()
    }

    fn counted(&self, name: &str) -> u64 {
        let line = format!("sidecar_injection_{name}_total ");
        let text = self.process.metrics.encode();
        let found = text.lines().find_map(|l| l.strip_prefix(&line)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

fn map(config: &str, values: &str) -> Value {
    json!({"data": {"config": config, "values": values}})
}

fn patched(pod: &Value, response: &Value) -> Value {
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

/// The pods of Bookinfo's deployments, as their ReplicaSets create them.
fn bookinfo() -> Vec<Value> {
    let text = include_str!("../../../samples/bookinfo/platform/kube/bookinfo.yaml");
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let pods = all.into_iter().filter(|object| object["kind"] == "Deployment").map(|deployment| {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let mut pod = deployment["spec"]["template"].clone();
        pod["metadata"]["generateName"] = format!("{name}-5d4f-").into();
        pod["metadata"]["labels"]["pod-template-hash"] = "5d4f".into();
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-5d4f"),
            "uid": "1", "controller": true,
        }]);
        pod
    });
    pods.collect()
}

#[tokio::test]
async fn bookinfo_gets_its_proxies() {
    let values = r#"{"global": {"hub": "example", "tag": "t"}}"#;
    let world = World::start(Some(map("policy: enabled", values))).await;
    let config = Config::parse("policy: enabled", values).unwrap();
    let pods = bookinfo();
    assert!(pods.len() >= 6, "{}", pods.len());
    for pod in &pods {
        let response = world.review("/inject", "default", pod).await;
        assert_eq!(response["allowed"], true, "{response}");
        let injected = patched(pod, &response);
        let context = PodContext::in_namespace("default");
        let expected = inject::patch(&config, &MeshConfig::default(), &context, pod).unwrap();
        assert_eq!(injected, expected.pod);
        let proxy = injected.pointer("/spec/initContainers/1").unwrap();
        assert_eq!(
            (&proxy["name"], &proxy["image"]),
            (&"istio-proxy".into(), &"example/proxy:t".into())
        );
    }
    let response = world.review("/inject/cluster/c1/net/n1", "default", &pods[0]).await;
    let proxy = patched(&pods[0], &response).pointer("/spec/initContainers/1").unwrap().to_string();
    for part in [r#"ISTIO_META_NETWORK","value":"n1"#, r#"ISTIO_META_CLUSTER_ID","value":"c1"#] {
        assert!(proxy.contains(part), "{part} in {proxy}");
    }
    let mut host = pods[0].clone();
    host["spec"]["hostNetwork"] = true.into();
    let response = world.review("/inject", "default", &host).await;
    assert_eq!(response, json!({"uid": "u-1", "allowed": true}));
    let mut bad = pods[0].clone();
    bad["metadata"]["annotations"] = json!({"inject.istio.io/templates": "mine"});
    let response = world.review("/inject", "default", &bad).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("pod default/details-v1-5d4f: "), "{message}");
    let counts = ["requests", "success", "skip", "failure"].map(|name| world.counted(name));
    let injected = pods.len() as u64 + 1;
    assert_eq!(counts, [injected + 2, injected, 1, 1]);
}

#[tokio::test]
async fn what_is_no_review_is_refused_and_nothing_else_suffers() {
    let world = World::start(Some(map("", ""))).await;
    let json = "application/json";
    let v2 = r#"{"apiVersion": "admission.k8s.io/v2", "kind": "AdmissionReview"}"#;
    let huge = vec![b' '; 3 * 1024 * 1024 + 1];
    let cases: [(&str, &str, Vec<u8>, StatusCode, &str); 8] = [
        ("/inject", json, b"\xff\x00{".to_vec(), StatusCode::BAD_REQUEST, "no AdmissionReview"),
        ("/inject", json, Vec::new(), StatusCode::BAD_REQUEST, "no AdmissionReview"),
        ("/inject", json, v2.into(), StatusCode::BAD_REQUEST, "admission.k8s.io/v2"),
        ("/inject", json, huge, StatusCode::PAYLOAD_TOO_LARGE, "larger than 3145728 bytes"),
        ("/inject", "text/plain", v2.into(), StatusCode::UNSUPPORTED_MEDIA_TYPE, json),
        ("/inject/zone/a", json, v2.into(), StatusCode::BAD_REQUEST, "\"zone\" is not known"),
        ("/injector", json, v2.into(), StatusCode::NOT_FOUND, "/inject"),
        ("/validate", json, v2.into(), StatusCode::NOT_FOUND, "/inject"),
    ];
    for (path, kind, body, status, part) in cases {
        let (found, body) = world.post(path, kind, body).await;
        let body = String::from_utf8_lossy(&body);
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(part), "{path}: {body}");
    }
    let get = |path: &str| Request::get(path).body(Full::default()).unwrap();
    let (status, _) = world.send(&world.root, get("/inject")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, _) = world.send(&world.root, get("/httpsReady")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = world.send(&world.root, get("/debug/page")).await;
    assert_eq!((status, &*body), (StatusCode::OK, &b"shown\n"[..]), "the debug pages are here too");
    let response = world.review("/inject", "default", &bookinfo()[0]).await;
    assert_eq!(response["allowed"], true);
}

#[tokio::test]
async fn without_settings_pods_are_refused_by_name() {
    let world = World::start(None).await;
    let response = world.review("/inject", "default", &bookinfo()[0]).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("pod default/details-v1-5d4f-: "), "{message}");
    assert!(message.contains("ConfigMap istio-sidecar-injector"), "{message}");
    assert_eq!(world.counted("failure"), 1);
}

#[tokio::test]
async fn settings_are_followed_and_the_last_good_ones_kept() {
    let component = Component { name: "pilot", metrics_prefix: "pilot", admin: None };
    let process = Process::detached(component);
    let api = FakeApi::start(&process.tasks);
    let (publish, mut config) = watch::channel(None);
    let blocked = process.readiness.block("settings");
    let name = config::config_map("");
    let follow = config::follow(api.client(), "istio-system".to_owned(), name, publish, blocked);
    let _detached = process.tasks.spawn_background("settings", follow);
    tokio::time::timeout(PATIENCE, process.readiness.wait_ready()).await.unwrap();
    assert_eq!(*config.borrow(), None);

    let mut becomes = async |map: Value, policy: Policy, revision: &str| {
        api.put(MAP, map);
        let is = |found: &Option<Arc<Config>>| {
            found.as_ref().is_some_and(|f| f.policy() == policy && f.revision() == revision)
        };
        tokio::time::timeout(PATIENCE, config.wait_for(is)).await.unwrap().unwrap();
    };
    becomes(map("policy: disabled", ""), Policy::Disabled, "default").await;
    // Bad settings change nothing: the next good ones come from what was before.
    api.put(MAP, map("policy: perhaps", "{}"));
    becomes(map("policy: disabled", r#"{"revision": "a"}"#), Policy::Disabled, "a").await;
    becomes(map("", r#"{"revision": "b"}"#), Policy::Enabled, "b").await;
    assert_eq!(config::config_map("canary"), "istio-sidecar-injector-canary");
}

fn webhooks(names: &[&str], revision: &str) -> Value {
    let hook = |name: &&str| {
        json!({
            "name": name,
            "clientConfig": {"service": {"name": "istiod", "namespace": "istio-system"}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        })
    };
    json!({
        "metadata": {"labels": {"istio.io/rev": revision}},
        "webhooks": names.iter().map(hook).collect::<Vec<_>>(),
    })
}

fn bundles(object: Option<&Value>) -> Vec<Option<String>> {
    let hooks = object.and_then(|object| object["webhooks"].as_array()).into_iter().flatten();
    let bundle = |hook: &Value| {
        let text = hook["clientConfig"]["caBundle"].as_str()?;
        Some(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
    };
    hooks.map(bundle).collect()
}

#[tokio::test]
async fn the_api_server_is_told_whom_to_trust() {
    let world = World::start(Some(map("", ""))).await;
    let (ours, other) = (format!("{HOOKS}/istio-sidecar-injector"), format!("{HOOKS}/other"));
    let names = ["rev.namespace.sidecar-injector.istio.io", "somebody.example.com"];
    let written = async |root: &str| {
        let is = |object: Option<&Value>| {
            let found = bundles(object);
            found.len() == 2 && found[0].as_deref().is_some_and(|pem| pem.trim() == root.trim())
        };
        world.api.until(&ours, is).await;
        let object = world.api.object(&ours).unwrap();
        assert_eq!(bundles(Some(&object))[1], None, "a webhook of somebody else");
        bundles(Some(&object))[0].clone().unwrap()
    };
    world.api.put(&other, webhooks(&names, "canary"));
    world.api.put(&ours, webhooks(&names, "default"));
    let pem = written(&world.root).await;
    // What was written is what makes a client trust the webhook.
    let ready = Request::get("/httpsReady").body(Full::default()).unwrap();
    assert_eq!(world.send(&pem, ready).await.0, StatusCode::OK);

    world.api.put(&ours, webhooks(&names, "default"));
    written(&world.root).await;

    let next = TestCa::root("next");
    issue(&next, &world.live);
    written(next.root_pem()).await;
    assert_eq!(bundles(world.api.object(&other).as_ref()), [None, None]);
}

#[test]
fn the_plan_writes_only_what_differs() {
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let mut plan = ca_bundle::Plan::default();
    let mut object = webhooks(&["a.sidecar-injector.istio.io", "b"], "default");
    object["metadata"]["name"] = "injector".into();
    plan.seen(read(object.clone()));
    assert_eq!(plan.due(), [], "no roots, nothing to write");
    plan.set_bundle("pem");
    let patch = json!([
        {"op": "test", "path": "/webhooks/0/name", "value": "a.sidecar-injector.istio.io"},
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": STANDARD.encode("pem")},
    ]);
    assert_eq!(plan.due(), [("injector".to_owned(), patch)]);
    object["webhooks"][0]["clientConfig"]["caBundle"] = STANDARD.encode("pem").into();
    plan.seen(read(object.clone()));
    assert_eq!(plan.due(), []);
    plan.set_bundle("other");
    assert_eq!(plan.due().len(), 1);
    plan.gone(&read(object));
    assert_eq!(plan.due(), []);
}
