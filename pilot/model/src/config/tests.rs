//! A small Bookinfo as proxies see it, in both dialects.

mod edge;
mod external;
mod sidecar;
mod traffic;

use std::sync::Arc;

use k8s_openapi::serde::de::DeserializeOwned;
use mesh_api::key::ClusterId;
use mesh_api::lateen::ON_DEMAND_FEATURE;
use mesh_api::name::Hostname;
use mesh_api::node::NodeId;
use mesh_api::node_metadata::NodeMetadata;
use mesh_api::type_url::TypeUrl;
use serde_json::{Map, Value, json};

use crate::change::ChangeSet;
use crate::class::Class;
use crate::generate::Generator;
use crate::impact::affects;
use crate::key::{Kind, ResourceKey};
use crate::proxy::Proxy;
use crate::resource::Answer;
use crate::snapshot::Snapshot;
use crate::store::{Event, Object, Store};

const TYPES: [TypeUrl; 5] =
    [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route, TypeUrl::NameTable];

fn read<T: DeserializeOwned>(value: Value) -> Box<T> {
    Box::new(serde_json::from_value(value).unwrap())
}

fn service(name: &str, vip: &str, port: &Value) -> Object {
    Object::Service(read(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "clusterIP": vip, "clusterIPs": [vip], "selector": { "app": name }, "ports": [port] },
    })))
}

fn pod(app: &str, version: &str, ip: &str) -> Object {
    Object::Pod(read(json!({
        "metadata": {
            "name": format!("{app}-{version}"), "namespace": "default",
            "labels": { "app": app, "version": version, "security.istio.io/tlsMode": "istio" },
        },
        "spec": { "serviceAccountName": format!("bookinfo-{app}"), "containers": [] },
        "status": { "podIP": ip, "podIPs": [{ "ip": ip }] },
    })))
}

fn slice(app: &str, port: &Value, pods: &[(&str, &str)]) -> Object {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|(version, ip)| {
            json!({
                "addresses": [ip],
                "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": format!("{app}-{version}") },
            })
        })
        .collect();
    Object::EndpointSlice(read(json!({
        "metadata": {
            "name": format!("{app}-x"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": app },
        },
        "addressType": "IPv4",
        "ports": [port],
        "endpoints": endpoints,
    })))
}

fn objects() -> Vec<Object> {
    let http = json!({ "name": "http", "port": 9080, "targetPort": 9080 });
    let tcp = json!({ "name": "mongo-db", "port": 27017, "targetPort": 27017 });
    let found = json!({ "name": "http", "port": 9080 });
    vec![
        service("productpage", "10.96.0.1", &http),
        service("reviews", "10.96.0.2", &http),
        service("mongodb", "10.96.0.3", &tcp),
        service("sniffed", "10.96.0.4", &json!({ "name": "", "port": 7000 })),
        service("db", "None", &json!({ "name": "tcp", "port": 5432 })),
        pod("productpage", "v1", "10.1.0.1"),
        pod("reviews", "v1", "10.1.0.2"),
        pod("reviews", "v2", "10.1.0.3"),
        slice("productpage", &found, &[("v1", "10.1.0.1")]),
        slice("reviews", &found, &[("v1", "10.1.0.2"), ("v2", "10.1.0.3")]),
        slice("db", &json!({ "name": "tcp", "port": 5432 }), &[("v1", "10.1.0.9")]),
        Object::DestinationRule(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": { "name": "reviews", "namespace": "default" },
            "spec": { "host": "reviews", "subsets": [
                { "name": "v1", "labels": { "version": "v1" } },
                { "name": "v2", "labels": { "version": "v2" } },
            ] },
        }))),
        Object::VirtualService(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "reviews", "namespace": "default" },
            "spec": { "hosts": ["reviews"], "http": [
                {
                    "match": [{ "headers": { "end-user": { "exact": "jason" } } }],
                    "fault": { "delay": { "fixedDelay": "2s", "percentage": { "value": 50.0 } } },
                    "route": [{ "destination": { "host": "reviews", "subset": "v2" } }],
                },
                {
                    "timeout": "5s",
                    "route": [
                        { "destination": { "host": "reviews", "subset": "v1" }, "weight": 90 },
                        { "destination": { "host": "reviews", "subset": "v2" }, "weight": 10 },
                    ],
                },
            ] },
        }))),
        Object::Gateway(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "bookinfo-gateway", "namespace": "default" },
            "spec": { "selector": { "istio": "ingressgateway" }, "servers": [
                { "port": { "number": 8080, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] },
            ] },
        }))),
        Object::VirtualService(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "bookinfo", "namespace": "default" },
            "spec": { "hosts": ["*"], "gateways": ["bookinfo-gateway"], "http": [{
                "match": [
                    { "uri": { "exact": "/productpage" } },
                    { "uri": { "prefix": "/static" } },
                ],
                "route": [{ "destination": { "host": "productpage", "port": { "number": 9080 } } }],
            }] },
        }))),
    ]
}

fn world(extra: Vec<Object>) -> Arc<Snapshot> {
    let mut store = Store::new("cluster.local");
    for object in objects().into_iter().chain(extra) {
        let key = object.key();
        let change = store.apply(&ClusterId::default(), Event::Applied(object));
        assert!(!change.is_empty(), "{key} was not taken: {:?}", store.invalid());
    }
    store.snapshot()
}

fn proxy(id: &str, labels: &Value, features: &[&str]) -> Proxy {
    let metadata = json!({ "LABELS": labels, "DNS_CAPTURE": "true" });
    let metadata = NodeMetadata::from_json(metadata.as_object().unwrap().clone()).unwrap();
    let features: Vec<String> = features.iter().map(|f| (*f).to_owned()).collect();
    Proxy::new(NodeId::parse(id).unwrap(), metadata, &features, &[])
}

fn sidecar(features: &[&str]) -> Proxy {
    let id = "sidecar~10.1.0.1~productpage-v1.default~default.svc.cluster.local";
    proxy(id, &json!({ "app": "productpage", "version": "v1" }), features)
}

fn router() -> Proxy {
    let id = "router~10.1.0.8~gw.istio-system~istio-system.svc.cluster.local";
    proxy(id, &json!({ "istio": "ingressgateway" }), &["lateen.config_report"])
}

/// The documents of a type by name; every one must be a message.
fn documents(snapshot: &Snapshot, class: &Class, type_url: &TypeUrl) -> Value {
    let mut all = Map::new();
    let mut inputs = super::all(snapshot, class, type_url);
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    for inputs in inputs {
        let (name, document) = (inputs.name.to_string(), inputs.document.clone());
        let built = inputs.build();
        assert!(
            built.is_ok(),
            "{name}: {}",
            built.err().map(|e| e.to_string()).unwrap_or_default()
        );
        assert!(all.insert(name.clone(), document).is_none(), "two are called {name}");
    }
    Value::Object(all)
}

#[test]
fn goldens() {
    let snapshot = world(Vec::new());
    let proxies = [
        ("istio", sidecar(&["lateen.config_report"])),
        ("upstream", sidecar(&[])),
        ("gateway", router()),
    ];
    for (flavour, proxy) in proxies {
        let class = Class::of(&snapshot, &proxy);
        for type_url in TYPES {
            // Endpoints, names and routes have no dialect.
            let shaped = matches!(type_url, TypeUrl::Cluster | TypeUrl::Listener);
            let all = documents(&snapshot, &class, &type_url);
            let routes = flavour == "gateway" && type_url == TypeUrl::Route;
            if flavour == "istio" || shaped || routes {
                let name = format!("{flavour}_{}", type_url.short().to_ascii_lowercase());
                insta::assert_json_snapshot!(name, all);
            }
        }
    }
}

#[test]
fn every_reference_of_a_resource_is_answered() {
    let snapshot = world(Vec::new());
    let generator = Generator::new();
    for proxy in [sidecar(&["lateen.config_report"]), sidecar(&[ON_DEMAND_FEATURE]), router()] {
        let class = generator.class(&snapshot, &proxy);
        for type_url in TYPES {
            for resource in generator.wildcard(&snapshot, &class, &type_url).iter() {
                for (kind, name) in generator.closure(&snapshot, &class, resource) {
                    let answer = generator.named(&snapshot, &class, &kind, &name);
                    assert!(answer.resource().is_some(), "{}: {kind} {name}", resource.name);
                }
            }
        }
    }
}

#[test]
fn names_are_answered_on_demand() {
    let snapshot = world(Vec::new());
    let generator = Generator::new();
    let class = generator.class(&snapshot, &sidecar(&[ON_DEMAND_FEATURE]));
    let ask = |kind: &TypeUrl, name: &str| match generator.named(&snapshot, &class, kind, name) {
        Answer::Resource(resource) => format!("= {}", resource.name),
        Answer::Alias { of } => format!("-> {}", of.name),
        Answer::Absent => "absent".to_owned(),
    };
    let (listener, host) = (TypeUrl::Listener, TypeUrl::VirtualHost);
    let reviews = "reviews.default.svc.cluster.local";
    assert_eq!(ask(&listener, "10.96.0.2_9080"), "-> 0.0.0.0_9080");
    assert_eq!(ask(&listener, "10.96.0.3_27017"), "= 10.96.0.3_27017");
    assert_eq!(ask(&listener, "10.1.0.9_5432"), "= 10.1.0.9_5432");
    assert_eq!(ask(&listener, "192.0.2.1_443"), "absent");
    assert_eq!(ask(&host, "9080/reviews:9080"), format!("-> 9080/{reviews}:9080"));
    assert_eq!(ask(&host, "9080/10.96.0.2"), format!("-> 9080/{reviews}:9080"));
    assert_eq!(ask(&host, &format!("9080/{reviews}:9080")), format!("= 9080/{reviews}:9080"));
    assert_eq!(ask(&host, "9080/example.com"), "-> 9080/allow_any");
    assert_eq!(ask(&TypeUrl::Cluster, &format!("outbound|9080|v9|{reviews}")), "absent");
    assert_eq!(ask(&TypeUrl::NameTable, reviews), format!("= {reviews}"));
    let answer = generator.named(&snapshot, &class, &host, "9080/reviews");
    let closure = generator.closure(&snapshot, &class, answer.resource().unwrap());
    let names: Vec<String> = closure.iter().map(|(k, n)| format!("{} {n}", k.short())).collect();
    assert_eq!(
        names,
        [
            format!("CDS outbound|9080|v1|{reviews}"),
            format!("CDS outbound|9080|v2|{reviews}"),
            format!("EDS outbound|9080|v1|{reviews}"),
            format!("EDS outbound|9080|v2|{reviews}"),
        ]
    );
}

#[test]
fn versions_depend_on_content_alone() {
    let versions = |snapshot: &Snapshot| -> Vec<Arc<str>> {
        let generator = Generator::new();
        let class = generator.class(snapshot, &sidecar(&[]));
        let sets = TYPES.map(|kind| generator.wildcard(snapshot, &class, &kind));
        sets.iter().flat_map(|set| set.iter().map(|r| Arc::clone(&r.version))).collect()
    };
    assert_eq!(versions(&world(Vec::new())), versions(&world(Vec::new())));
}

#[test]
fn peer_authentication_shapes_inbound_chains_and_clients() {
    let strict = |mode: &str| {
        Object::PeerAuthentication(read(json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": { "name": "default", "namespace": "default" },
            "spec": { "mtls": { "mode": mode } },
        })))
    };
    let transports = |mode: &str| -> Vec<String> {
        let snapshot = world(vec![strict(mode)]);
        let class = Class::of(&snapshot, &sidecar(&[]));
        let listener = super::inbound::listener(&snapshot, &class);
        let chains = listener.document["filter_chains"].as_array().unwrap().iter();
        let own = chains.filter(|chain| chain["name"] == "0.0.0.0_9080");
        own.map(|chain| chain["filter_chain_match"]["transport_protocol"].to_string()).collect()
    };
    assert_eq!(transports("STRICT"), ["\"tls\""]);
    assert_eq!(transports("PERMISSIVE"), ["\"tls\"", "\"raw_buffer\""]);
    assert_eq!(transports("DISABLE"), ["null"]);
    let snapshot = world(vec![strict("DISABLE")]);
    let class = Class::of(&snapshot, &sidecar(&[]));
    let endpoints = documents(&snapshot, &class, &TypeUrl::Endpoint).to_string();
    assert!(!endpoints.contains("tlsMode"), "{endpoints}");
}

/// Taking any object away changes no type that the change is not said to touch.
#[test]
fn impact_is_never_narrower_than_what_differs() {
    impact_with(&[]);
    // A scope makes clusters of what rules lead to.
    impact_with(&sidecar::scoped());
}

fn impact_with(extra: &[Object]) {
    let all: Vec<Object> = objects().into_iter().chain(extra.iter().cloned()).collect();
    let before = world(extra.to_vec());
    for proxy in [sidecar(&[]), sidecar(&[ON_DEMAND_FEATURE]), router()] {
        for gone in all.iter().map(Object::key) {
            let mut store = Store::new("cluster.local");
            for object in all.iter().filter(|object| object.key() != gone).cloned() {
                store.apply(&ClusterId::default(), Event::Applied(object));
            }
            let after = store.snapshot();
            let (old, new) = (Class::of(&before, &proxy), Class::of(&after, &proxy));
            if old != new {
                continue;
            }
            let touched = affects(&ChangeSet::one(gone.clone()), &new);
            for kind in TYPES.iter().filter(|kind| !touched.contains(kind)) {
                let (old, new) = (documents(&before, &old, kind), documents(&after, &new, kind));
                assert_eq!(old, new, "{gone} touched {kind}");
            }
        }
    }
}

#[test]
fn a_bad_object_is_set_aside_and_the_last_good_one_stays() {
    let mut store = Store::new("cluster.local");
    let cluster = ClusterId::default();
    let mesh = |text: &str| Event::Applied(Object::MeshConfig(text.to_owned()));
    assert!(store.apply(&cluster, mesh("trustDomain: example.org")).is_everything());
    assert!(store.apply(&cluster, mesh("trustDomain: [")).is_empty());
    assert_eq!(store.snapshot().mesh.trust_domain, "example.org");
    assert_eq!(store.invalid()[0].object, ResourceKey::new(Kind::MeshConfig, "", "mesh"));
    assert!(store.apply(&cluster, mesh("trustDomain: example.org")).is_empty());
    assert!(store.invalid().is_empty());
    assert_eq!(store.snapshot().generation, 1);
    store.apply(&cluster, Event::ClusterStale);
    assert_eq!(store.stale().count(), 1);
    assert_eq!(store.snapshot().mesh.trust_domain, "example.org");
}
