//! A mesh with one of everything that configuration is made from: Bookinfo, a gateway, byte
//! streams, a headless service, an external name, ports of every protocol and mutual TLS in every
//! mode.

use std::sync::Arc;

use k8s_openapi::serde::de::DeserializeOwned;
use mesh_api::key::ClusterId;
use mesh_api::lateen::{CONFIG_REPORT_FEATURE, ON_DEMAND_FEATURE};
use mesh_api::node::NodeId;
use mesh_api::node_metadata::NodeMetadata;
use pilot_model::proxy::Proxy;
use pilot_model::snapshot::Snapshot;
use pilot_model::store::{Event, Object, Store};
use serde_json::{Value, json};

use crate::external;

/// A pod with a proxy: namespace, `app` label, `version` label, address.
type Pod = (&'static str, &'static str, &'static str, &'static str);

/// The pods whose endpoints are in slices.
const PODS: [Pod; 9] = [
    ("default", "productpage", "v1", "10.1.0.1"),
    ("default", "reviews", "v1", "10.1.0.2"),
    ("default", "reviews", "v2", "10.1.0.3"),
    ("default", "ratings", "v1", "10.1.0.4"),
    ("default", "mongodb", "v1", "10.1.0.5"),
    ("default", "db", "v1", "10.1.0.6"),
    ("strict", "every", "v1", "10.1.1.1"),
    ("permissive", "every", "v1", "10.1.2.1"),
    ("disable", "every", "v1", "10.1.3.1"),
];

/// Service ports of the pods `every`: one per kind of protocol.
pub(crate) const HTTP: u16 = 8000;
pub(crate) const TCP: u16 = 9000;
pub(crate) const SNIFFED: u16 = 7000;
pub(crate) const GRPC: u16 = 7070;
/// A port that no service has.
pub(crate) const UNNAMED: u16 = 6000;

/// An object of any kind.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Box<T> {
    Box::new(serde_json::from_value(value).unwrap())
}

fn meta(namespace: &str, name: &str) -> Value {
    json!({ "name": name, "namespace": namespace })
}

/// A service with that cluster IP that selects `app: <name>`.
pub(crate) fn service(namespace: &str, name: &str, vip: &str, ports: &Value) -> Object {
    Object::Service(read(json!({
        "metadata": meta(namespace, name),
        "spec": { "clusterIP": vip, "clusterIPs": [vip], "selector": { "app": name }, "ports": ports },
    })))
}

/// A pod with a proxy.
pub(crate) fn pod((namespace, app, version, ip): (&str, &str, &str, &str)) -> Object {
    let mut meta = meta(namespace, &format!("{app}-{version}"));
    meta["labels"] =
        json!({ "app": app, "version": version, "security.istio.io/tlsMode": "istio" });
    Object::Pod(read(json!({
        "metadata": meta,
        "spec": { "serviceAccountName": format!("bookinfo-{app}"), "containers": [] },
        "status": { "podIP": ip, "podIPs": [{ "ip": ip }] },
    })))
}

/// Endpoints of a service: each a pod and its address.
pub(crate) fn slice(
    namespace: &str,
    service: &str,
    ports: &Value,
    pods: &[(&str, &str)],
) -> Object {
    let mut meta = meta(namespace, &format!("{service}-x"));
    meta["labels"] = json!({ "kubernetes.io/service-name": service });
    let endpoints = pods.iter().map(|(pod, ip)| {
        json!({
            "addresses": [ip],
            "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": pod },
        })
    });
    Object::EndpointSlice(read(json!({
        "metadata": meta,
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints.collect::<Vec<_>>(),
    })))
}

fn peer_authentication(namespace: &str, spec: &Value) -> Object {
    Object::PeerAuthentication(read(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": meta(namespace, "default"), "spec": spec,
    })))
}

fn virtual_service(name: &str, spec: &Value) -> Object {
    Object::VirtualService(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": meta("default", name), "spec": spec,
    })))
}

fn destination_rule(name: &str, spec: &Value) -> Object {
    Object::DestinationRule(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": meta("default", name), "spec": spec,
    })))
}

fn services() -> Vec<Object> {
    let http = json!([{ "name": "http", "port": 9080 }]);
    let mut all = Vec::new();
    for (name, vip) in
        [("productpage", "10.96.0.1"), ("reviews", "10.96.0.2"), ("ratings", "10.96.0.4")]
    {
        all.push(service("default", name, vip, &http));
        let pods: Vec<(String, &str)> = PODS
            .iter()
            .filter(|pod| pod.1 == name)
            .map(|pod| (format!("{}-{}", pod.1, pod.2), pod.3))
            .collect();
        let pods: Vec<(&str, &str)> = pods.iter().map(|(pod, ip)| (pod.as_str(), *ip)).collect();
        all.push(slice("default", name, &http, &pods));
    }
    let mongo = json!([{ "name": "mongo", "port": 27017 }]);
    all.push(service("default", "mongodb", "10.96.0.5", &mongo));
    all.push(slice("default", "mongodb", &mongo, &[("mongodb-v1", "10.1.0.5")]));
    let headless = json!([{ "name": "tcp", "port": 5432 }, { "name": "http", "port": 8090 }]);
    all.push(service("default", "db", "None", &headless));
    all.push(slice("default", "db", &headless, &[("db-v1", "10.1.0.6")]));
    // A service whose pods have no proxy.
    all.push(service("default", "legacy", "10.96.0.7", &http));
    all.push(slice("default", "legacy", &http, &[("legacy-v1", "10.1.0.7")]));
    all.push(Object::Service(read(json!({
        "metadata": meta("default", "critics"),
        "spec": { "type": "ExternalName", "externalName": "reviews.default.svc.cluster.local" },
    }))));
    let every = json!([
        { "name": "http", "port": HTTP },
        { "name": "tcp", "port": TCP },
        { "name": "whatever", "port": SNIFFED },
        { "name": "grpc", "port": GRPC },
    ]);
    for (namespace, vip) in
        [("strict", "10.96.1.1"), ("permissive", "10.96.1.2"), ("disable", "10.96.1.3")]
    {
        let place = PODS.iter().find(|pod| pod.0 == namespace).unwrap();
        all.push(service(namespace, "every", vip, &every));
        all.push(slice(namespace, "every", &every, &[("every-v1", place.3)]));
    }
    let edge = json!([{ "name": "http2", "port": 80, "targetPort": 8080 }]);
    all.push(service("istio-system", "istio-ingressgateway", "10.96.2.1", &edge));
    all
}

fn policies() -> Vec<Object> {
    vec![
        peer_authentication("strict", &json!({ "mtls": { "mode": "STRICT" } })),
        peer_authentication("disable", &json!({ "mtls": { "mode": "DISABLE" } })),
        Object::PeerAuthentication(read(json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": meta("strict", "one-port"),
            "spec": {
                "selector": { "matchLabels": { "app": "every" } },
                "portLevelMtls": { "7070": { "mode": "PERMISSIVE" } },
            },
        }))),
        destination_rule(
            "reviews",
            &json!({
                "host": "reviews",
                "trafficPolicy": {
                    "connectionPool": {
                        "tcp": { "maxConnections": 100, "connectTimeout": "3s" },
                        "http": { "http1MaxPendingRequests": 50, "idleTimeout": "60s" },
                    },
                    "outlierDetection": {
                        "consecutive5xxErrors": 7, "interval": "5s", "baseEjectionTime": "30s",
                    },
                },
                "subsets": [
                    { "name": "v1", "labels": { "version": "v1" } },
                    {
                        "name": "v2", "labels": { "version": "v2" },
                        "trafficPolicy": { "loadBalancer": { "simple": "ROUND_ROBIN" } },
                    },
                ],
            }),
        ),
        destination_rule(
            "ratings",
            &json!({ "host": "ratings", "trafficPolicy": { "tls": { "mode": "ISTIO_MUTUAL" } } }),
        ),
        destination_rule(
            "legacy",
            &json!({ "host": "legacy", "trafficPolicy": { "tls": {
                "mode": "MUTUAL", "sni": "legacy.example.com",
                "clientCertificate": "/etc/certs/cert.pem", "privateKey": "/etc/certs/key.pem",
            } } }),
        ),
    ]
}

/// What a sidecar knows and accepts: one port of one other namespace, and an application that
/// listens elsewhere.
fn scopes() -> Vec<Object> {
    let scope = |namespace: &str, app: &str, spec: &Value| {
        let mut spec = spec.clone();
        spec["workloadSelector"] = json!({ "labels": { "app": app } });
        Object::Sidecar(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": meta(namespace, app), "spec": spec,
        })))
    };
    let port = |number: u16, protocol: &str| json!({ "number": number, "protocol": protocol, "name": protocol.to_lowercase() });
    let ingress = |number: u16, protocol: &str, endpoint: &str| json!({ "port": port(number, protocol), "defaultEndpoint": endpoint });
    let ratings = json!({
        "egress": [
            { "port": port(HTTP, "HTTP"), "hosts": ["strict/*"] },
            { "hosts": ["./*"] },
        ],
        "ingress": [
            ingress(9080, "HTTP", "127.0.0.1:8080"),
            ingress(9000, "TCP", "0.0.0.0:8090"),
            ingress(9001, "GRPC", "unix:///tmp/ratings.sock"),
        ],
        "inboundConnectionPool": { "tcp": { "maxConnections": 100 } },
        "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" },
    });
    vec![scope("default", "ratings", &ratings)]
}

fn rules() -> Vec<Object> {
    let version = |subset: &str| json!({ "host": "reviews", "subset": subset });
    vec![
        virtual_service(
            "reviews",
            &json!({ "hosts": ["reviews"], "http": [
                {
                    "name": "jason",
                    "match": [{ "headers": { "end-user": { "exact": "jason" } } }],
                    "fault": { "abort": { "httpStatus": 418, "percentage": { "value": 0.5 } } },
                    "route": [{ "destination": version("v2") }],
                    "retries": { "attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx,409" },
                },
                {
                    "match": [{ "uri": { "prefix": "/old/" } }],
                    "redirect": { "uri": "/new/", "redirectCode": 308 },
                },
                {
                    "timeout": "5s",
                    "corsPolicy": { "allowOrigins": [{ "exact": "http://example.com" }] },
                    "route": [
                        { "destination": version("v1"), "weight": 90 },
                        {
                            "destination": version("v2"), "weight": 10,
                            "headers": { "response": { "add": { "x-version": "v2" } } },
                        },
                    ],
                    "mirror": { "host": "ratings" },
                },
            ] }),
        ),
        Object::Gateway(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": meta("default", "bookinfo-gateway"),
            "spec": { "selector": { "istio": "ingressgateway" }, "servers": [
                { "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] },
            ] },
        }))),
        Object::Gateway(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": meta("default", "edge"),
            "spec": { "selector": { "istio": "ingressgateway" }, "servers": [
                { "port": { "number": 31400, "name": "tcp", "protocol": "TCP" }, "hosts": ["*"] },
                {
                    "port": { "number": 15443, "name": "tls", "protocol": "TLS" },
                    "hosts": ["*.example.com"], "tls": { "mode": "PASSTHROUGH" },
                },
                {
                    "port": { "number": 15444, "name": "mesh", "protocol": "HTTPS" },
                    "hosts": ["web.example.com"], "tls": { "mode": "ISTIO_MUTUAL" },
                },
            ] },
        }))),
        virtual_service(
            "edge",
            &json!({
                "hosts": ["*.example.com"],
                "gateways": ["edge"],
                "http": [{ "route": [{ "destination": version("v1") }] }],
                "tcp": [{
                    "match": [{ "port": 31400 }],
                    "route": [
                        { "destination": { "host": "mongodb" }, "weight": 80 },
                        { "destination": { "host": "db", "port": { "number": 5432 } }, "weight": 20 },
                    ],
                }],
                "tls": [{
                    "match": [{ "sniHosts": ["*.db.example.com", "a.example.com"] }],
                    "route": [{ "destination": { "host": "mongodb" } }],
                }],
            }),
        ),
        virtual_service(
            "bookinfo",
            &json!({
                "hosts": ["*"],
                "gateways": ["bookinfo-gateway"],
                "http": [{
                    "match": [
                        { "uri": { "exact": "/productpage" } },
                        { "uri": { "prefix": "/static" } },
                        { "uri": { "regex": "/api/v[0-9]+/products.*" } },
                    ],
                    "route": [{
                        "destination": { "host": "productpage", "port": { "number": 9080 } },
                    }],
                }],
            }),
        ),
    ]
}

/// Every object.
pub(crate) fn objects() -> Vec<Object> {
    let mut all = services();
    all.extend(PODS.map(pod));
    all.extend(policies());
    all.extend(rules());
    all.extend(scopes());
    all.extend(external::objects());
    all.push(Object::MeshConfig("accessLogFile: /dev/stdout".to_owned()));
    all
}

/// The world of those objects; a later one replaces an earlier one of its name.
pub(crate) fn snapshot(objects: impl IntoIterator<Item = Object>) -> Arc<Snapshot> {
    let mut store = Store::new("cluster.local");
    for object in objects {
        let key = object.key();
        let change = store.apply(&ClusterId::default(), Event::Applied(object));
        assert!(!change.is_empty(), "{key} was not taken: {:?}", store.invalid());
    }
    store.snapshot()
}

/// A sidecar of a pod.
pub(crate) fn sidecar((namespace, app, version, ip): (&str, &str, &str, &str), own: bool) -> Proxy {
    let id = format!("sidecar~{ip}~{app}-{version}.{namespace}~{namespace}.svc.cluster.local");
    proxy(&id, &json!({ "app": app, "version": version }), features(own))
}

/// All sidecars: one per pod.
pub(crate) fn sidecars(own: bool) -> Vec<Proxy> {
    PODS.iter().map(|pod| sidecar(*pod, own)).collect()
}

/// A sidecar of a pod that subscribes to what it uses.
pub(crate) fn on_demand((namespace, app, version, ip): (&str, &str, &str, &str)) -> Proxy {
    let id = format!("sidecar~{ip}~{app}-{version}.{namespace}~{namespace}.svc.cluster.local");
    proxy(&id, &json!({ "app": app, "version": version }), &[ON_DEMAND_FEATURE])
}

/// The gateway.
pub(crate) fn gateway(own: bool) -> Proxy {
    let id = "router~10.1.4.1~istio-ingressgateway-1.istio-system~istio-system.svc.cluster.local";
    let labels = json!({ "app": "istio-ingressgateway", "istio": "ingressgateway" });
    proxy(id, &labels, features(own))
}

/// What a proxy of this mesh says it can do, or an Envoy as released upstream.
fn features(own: bool) -> &'static [&'static str] {
    if own { &[CONFIG_REPORT_FEATURE] } else { &[] }
}

fn proxy(id: &str, labels: &Value, features: &[&str]) -> Proxy {
    let metadata = json!({ "LABELS": labels, "DNS_CAPTURE": "true" });
    let metadata = NodeMetadata::from_json(metadata.as_object().unwrap().clone()).unwrap();
    let features: Vec<String> = features.iter().map(|feature| (*feature).to_owned()).collect();
    Proxy::new(NodeId::parse(id).unwrap(), metadata, &features, &[])
}
