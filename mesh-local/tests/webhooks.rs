//! Admission webhooks: a real HTTPS server judges and changes what is written.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DynamicObject, PostParams};
use kube::discovery::ApiResource;
use kube::{Api, Client};
use mesh_local::api::{ApiServer, Config};
use mesh_local::node_api::Connector;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

type Judge = dyn Fn(&str, &Value) -> Value + Send + Sync;

/// A webhook server: `judge` gets the path and the request and gives the response.
struct Hooks {
    ca: String,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    _serving: JoinSet<()>,
}

impl Hooks {
    async fn start(judge: Arc<Judge>) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["hooks.default.svc".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let record = Arc::clone(&seen);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, judge) = (acceptor.clone(), Arc::clone(&judge));
                let record = Arc::clone(&record);
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        answer(Arc::clone(&judge), Arc::clone(&record), request)
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { ca: STANDARD.encode(ca_pem), address, seen, _serving: serving }
    }

    fn paths(&self) -> Vec<String> {
        self.seen.lock().iter().map(|(path, _)| path.clone()).collect()
    }

    fn config(&self, path: &str) -> Value {
        json!({
            "service": {"namespace": "default", "name": "hooks", "path": path},
            "caBundle": self.ca,
        })
    }
}

async fn answer(
    judge: Arc<Judge>,
    record: Arc<Mutex<Vec<(String, Value)>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    assert!(request.uri().query().unwrap_or_default().starts_with("timeout="));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = review["request"].clone();
    let mut response = judge(&path, &request);
    response["uid"] = request["uid"].clone();
    record.lock().push((path, request));
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    });
    Ok(Response::new(Full::new(Bytes::from(review.to_string()))))
}

/// Leads every cluster address to the webhook server.
struct To(SocketAddr);

impl Connector for To {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

async fn cluster(
    judge: impl Fn(&str, &Value) -> Value + Send + Sync + 'static,
) -> (ApiServer, Client, Hooks) {
    let hooks = Hooks::start(Arc::new(judge)).await;
    let server = ApiServer::start(Config::default()).await.unwrap();
    server.set_connector(Arc::new(To(hooks.address)));
    let client = server.admin_client();
    create(
        &client,
        "v1",
        "Service",
        "services",
        json!({
            "metadata": {"name": "hooks", "namespace": "default"},
            "spec": {"ports": [{"port": 443}]},
        }),
    )
    .await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    (server, client, hooks)
}

async fn create(client: &Client, version: &str, kind: &str, plural: &str, object: Value) {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: if group.is_empty() { version.into() } else { format!("{group}/{version}") },
        kind: kind.into(),
        plural: plural.into(),
    };
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn configure(client: &Client, kind: &str, name: &str, webhooks: Value) {
    let plural = format!("{}s", kind.to_lowercase());
    let object = json!({"metadata": {"name": name}, "webhooks": webhooks});
    create(client, "admissionregistration.k8s.io/v1", kind, &plural, object).await;
}

fn webhook(name: &str, client: Value, resource: &str, more: Value) -> Value {
    let mut webhook = json!({
        "name": name, "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{
            "operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": [resource],
        }],
    });
    webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    webhook
}

fn patch(operations: Value) -> Value {
    json!({
        "allowed": true, "patchType": "JSONPatch",
        "patch": STANDARD.encode(operations.to_string()),
    })
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn refusal(error: &kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("not an answer of the API: {other}"),
    }
}

#[tokio::test]
async fn an_injected_container_gets_defaults_and_its_token() {
    let (_server, client, hooks) = cluster(|path, _| match path {
        "/inject" => patch(json!([
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "proxy", "image": "p:1"}},
            {"op": "add", "path": "/metadata/labels", "value": {"injected": "yes"}},
        ])),
        _ => json!({"allowed": true, "warnings": ["mind the proxy"]}),
    })
    .await;
    let inject = webhook("inject.example.com", hooks.config("/inject"), "pods", json!({}));
    configure(&client, "MutatingWebhookConfiguration", "inject", json!([inject])).await;
    let judge = webhook("judge.example.com", hooks.config("/judge"), "pods", json!({}));
    configure(&client, "ValidatingWebhookConfiguration", "judge", json!([judge])).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                     "spec": {"containers": [{"name": "app", "image": "a:1"}]}});
    let request = Request::post("/api/v1/namespaces/default/pods")
        .header("content-type", "application/json")
        .body(pod.to_string().into_bytes().into())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"mind the proxy\"");
    let pod: Pod =
        serde_json::from_slice(&response.into_body().collect_bytes().await.unwrap()).unwrap();
    let spec = pod.spec.unwrap();
    let proxy = spec.containers.iter().find(|c| c.name == "proxy").unwrap();
    assert_eq!(proxy.image_pull_policy.as_deref(), Some("IfNotPresent"));
    let mount = &proxy.volume_mounts.as_ref().unwrap()[0];
    assert_eq!(mount.mount_path, "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(hooks.paths(), ["/inject", "/judge"]);
    let seen = hooks.seen.lock();
    assert_eq!(seen[0].1["operation"], "CREATE");
    assert_eq!(seen[0].1["userInfo"]["username"], "system:admin");
    assert_eq!(seen[0].1["namespace"], "default");
    assert_eq!(seen[1].1["object"]["metadata"]["labels"]["injected"], "yes");
}

#[tokio::test]
async fn refusals_and_failures_are_worded_as_kubernetes_does() {
    let (server, client, hooks) = cluster(|_, request| {
        let name = request["object"]["metadata"]["name"].as_str().unwrap_or_default();
        match name {
            "bad" => json!({"allowed": false, "status": {"code": 400, "message": "it is bad"}}),
            _ => json!({"allowed": true}),
        }
    })
    .await;
    let judge = webhook("judge.example.com", hooks.config("/judge"), "configmaps", json!({}));
    configure(&client, "ValidatingWebhookConfiguration", "judge", json!([judge])).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let params = PostParams::default();
    let denied = maps.create(&params, &map("bad")).await.unwrap_err();
    let expected = "admission webhook \"judge.example.com\" denied the request: it is bad";
    assert_eq!(refusal(&denied), (400, expected.into()));
    maps.create(&params, &map("good")).await.unwrap();

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    server.set_connector(Arc::new(To(closed)));
    let (code, message) = refusal(&maps.create(&params, &map("late")).await.unwrap_err());
    assert_eq!(code, 500);
    let start = "Internal error occurred: failed calling webhook \"judge.example.com\": failed to \
                 call webhook: Post \"https://hooks.default.svc:443/judge?timeout=10s\": dial tcp ";
    assert!(message.starts_with(start), "{message}");
    assert!(message.ends_with("connect: connection refused"), "{message}");
}

#[tokio::test]
async fn a_failing_webhook_may_be_ignored_and_an_untrusted_one_is_not_believed() {
    let (_server, client, hooks) = cluster(|_, _| json!({"allowed": true})).await;
    let stranger = Hooks::start(Arc::new(|_: &str, _: &Value| json!({}))).await;
    let mut untrusted = hooks.config("/judge");
    untrusted["caBundle"] = json!(stranger.ca);
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let params = PostParams::default();
    let lenient = webhook(
        "a.example.com",
        untrusted.clone(),
        "configmaps",
        json!({"failurePolicy": "Ignore"}),
    );
    configure(&client, "ValidatingWebhookConfiguration", "lenient", json!([lenient])).await;
    maps.create(&params, &map("a")).await.unwrap();
    let strict = webhook("b.example.com", untrusted, "configmaps", json!({}));
    configure(&client, "ValidatingWebhookConfiguration", "strict", json!([strict])).await;
    let (code, message) = refusal(&maps.create(&params, &map("b")).await.unwrap_err());
    assert_eq!(code, 500);
    assert!(
        message.contains("failed calling webhook \"b.example.com\"") && message.contains("tls"),
        "{message}"
    );
    assert!(hooks.paths().is_empty());
}

#[tokio::test]
async fn selectors_conditions_and_dry_run() {
    let (_server, client, hooks) = cluster(|_, _| json!({"allowed": true})).await;
    create(
        &client,
        "v1",
        "Namespace",
        "namespaces",
        json!({"metadata": {"name": "on", "labels": {"hook": "on"}}}),
    )
    .await;
    let by_namespace = json!({"namespaceSelector": {"matchLabels": {"hook": "on"}}});
    let by_object = json!({"objectSelector": {"matchLabels": {"hook": "on"}}});
    let by_condition = json!({"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'chosen'"}]});
    let by_deletion = json!({"rules": [{"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["*"]}]});
    let named = |path: &str, more: Value| {
        webhook(&format!("{}.example.com", &path[1..]), hooks.config(path), "configmaps", more)
    };
    configure(
        &client,
        "ValidatingWebhookConfiguration",
        "all",
        json!([
            named("/namespace", by_namespace),
            named("/object", by_object),
            named("/condition", by_condition),
            named("/deletion", by_deletion),
        ]),
    )
    .await;
    let params = PostParams::default();
    let here: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let there: Api<ConfigMap> = Api::namespaced(client.clone(), "on");
    let labelled: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "l", "labels": {"hook": "on"}}}))
            .unwrap();
    for (api, object, paths) in [
        (&here, map("plain"), vec![]),
        (&there, map("plain"), vec!["/namespace"]),
        (&here, labelled, vec!["/object"]),
        (&here, map("chosen"), vec!["/condition"]),
    ] {
        hooks.seen.lock().clear();
        api.create(&params, &object).await.unwrap();
        assert_eq!(hooks.paths(), paths);
    }
    hooks.seen.lock().clear();
    here.delete("plain", &Default::default()).await.unwrap();
    assert_eq!(hooks.paths(), ["/deletion"]);
    assert_eq!(hooks.seen.lock()[0].1["oldObject"]["metadata"]["name"], "plain");

    hooks.seen.lock().clear();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    here.create(&dry, &map("chosen-not")).await.unwrap();
    there.create(&dry, &map("dry")).await.unwrap();
    assert_eq!(hooks.paths(), ["/namespace"]);
    assert_eq!(hooks.seen.lock()[0].1["dryRun"], true);
    assert!(there.get_opt("dry").await.unwrap().is_none());
}

#[tokio::test]
async fn webhooks_that_ask_for_it_see_later_changes() {
    let (_server, client, hooks) = cluster(|path, request| match path {
        "/count" => {
            let labels = request["object"]["metadata"]["labels"].as_object().map_or(0, |l| l.len());
            patch(json!([{"op": "add", "path": "/metadata/annotations", "value": {"labels": labels.to_string()}}]))
        }
        _ => patch(json!([{"op": "add", "path": "/metadata/labels", "value": {"late": "yes"}}])),
    })
    .await;
    configure(
        &client,
        "MutatingWebhookConfiguration",
        "all",
        json!([
            webhook(
                "a.example.com",
                hooks.config("/count"),
                "configmaps",
                json!({"reinvocationPolicy": "IfNeeded"})
            ),
            webhook("b.example.com", hooks.config("/label"), "configmaps", json!({})),
        ]),
    )
    .await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let made = maps.create(&PostParams::default(), &map("a")).await.unwrap();
    assert_eq!(made.metadata.annotations.unwrap()["labels"], "1");
    assert_eq!(hooks.paths(), ["/count", "/label", "/count"]);
}

#[tokio::test]
async fn a_webhook_for_one_version_sees_writes_of_the_others() {
    let (_server, client, hooks) =
        cluster(|_, _| patch(json!([{"op": "add", "path": "/spec/seen", "value": true}]))).await;
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }}})
    };
    let crds = "customresourcedefinitions";
    let api = "apiextensions.k8s.io/v1";
    let definition = json!({"metadata": {"name": "sails.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"kind": "Sail", "plural": "sails"},
        "versions": [version("v1", true), version("v1beta1", false)],
    }});
    create(&client, api, "CustomResourceDefinition", crds, definition).await;
    let rules = json!([{
        "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"],
        "resources": ["sails"],
    }]);
    let hook = |policy: &str| {
        let more = json!({"matchPolicy": policy, "rules": rules});
        webhook(&format!("{}.example.com", policy.to_lowercase()), hooks.config("/"), "", more)
    };
    let both = json!([hook("Exact"), hook("Equivalent")]);
    configure(&client, "MutatingWebhookConfiguration", "both", both).await;
    let sail = json!({"metadata": {"name": "main"}, "spec": {}});
    create(&client, "example.com/v1beta1", "Sail", "sails", sail).await;
    let seen = hooks.seen.lock().clone();
    let [(_, request)] = seen.as_slice() else { panic!("one request, not {seen:?}") };
    assert_eq!(request["kind"]["version"], "v1");
    assert_eq!(request["requestKind"]["version"], "v1beta1");
    assert_eq!(request["object"]["apiVersion"], "example.com/v1");
    let request = Request::get("/apis/example.com/v1/sails/main").body(Vec::new()).unwrap();
    let stored: Value = client.request(request).await.unwrap();
    assert_eq!(stored["spec"]["seen"], true);
}
