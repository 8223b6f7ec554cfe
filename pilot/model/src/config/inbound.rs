//! `virtualInbound`: what a sidecar accepts for its workload, by port, transport and protocol.

use mesh_api::name::{ClusterName, FixedCluster};
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::{Notes, set, socket, url};
use super::http::{Side, log_refusals, manager, tcp_proxy};
use super::inspect::{self, Wanted};
use super::tls::{MESH_HTTP, MESH_TCP, downstream};
use crate::class::{Class, Inbound, Mtls};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// What clients of the mesh may negotiate where HTTP is served.
const SERVER_HTTP: [&str; 2] = ["h2", "http/1.1"];
/// What clients of the mesh may negotiate where bytes are carried. The peer-metadata preamble is
/// not spoken, so `istio` comes instead of `istio-peer-exchange`.
const SERVER_TCP: [&str; 3] = ["istio", "h2", "http/1.1"];
const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];

/// What one chain carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Http,
    Bytes,
}

/// What one chain matches and ends: transport, application protocols, whether it ends mTLS.
struct Shape {
    transport: Option<&'static str>,
    alpn: Vec<&'static str>,
    mutual: bool,
    carries: Carries,
}

/// The listener.
pub(crate) fn listener(snapshot: &Snapshot, class: &Class) -> Inputs {
    let mut notes = Notes::default();
    let port = snapshot.mesh.proxy_inbound_listen_port;
    let mut chains = vec![blackhole(snapshot, port)];
    for inbound in &class.inbound {
        for shape in shapes(inbound.protocol, inbound.mtls) {
            chains.push(chain(snapshot, class, Some(inbound), &shape));
        }
        let cluster = ClusterName::Inbound { port: inbound.target }.to_string();
        notes.refer(TypeUrl::Cluster, &cluster);
    }
    for shape in shapes(Protocol::Unsupported, class.mtls) {
        chains.push(chain(snapshot, class, None, &shape));
    }
    notes.refer(TypeUrl::Cluster, FixedCluster::InboundPassthrough.as_str());
    let mut document = json!({
        "name": "virtualInbound",
        "address": socket("0.0.0.0", port),
        "traffic_direction": "INBOUND",
        "listener_filters": listener_filters(class),
        "listener_filters_timeout": snapshot.mesh.protocol_detection_timeout.to_string(),
        "continue_on_listener_filters_timeout": true,
        "filter_chains": chains,
    });
    log_refusals(&snapshot.mesh, &mut document);
    notes.finish(TypeUrl::Listener, "virtualInbound", document)
}

fn listener_filters(class: &Class) -> Vec<Value> {
    let mut all = vec![json!({
        "name": "envoy.filters.listener.original_dst",
        "typed_config": {
            "@type": url("envoy.extensions.filters.listener.original_dst.v3.OriginalDst"),
        },
    })];
    let wanted = |shapes: Vec<Shape>| Wanted {
        tls: shapes.iter().any(|shape| shape.transport == Some("tls")),
        http: shapes.iter().any(|shape| shape.alpn == PLAIN_HTTP),
    };
    let ports: Vec<(u16, Wanted)> = class
        .inbound
        .iter()
        .map(|inbound| (inbound.target.get(), wanted(shapes(inbound.protocol, inbound.mtls))))
        .collect();
    all.extend(inspect::at(&ports, wanted(shapes(Protocol::Unsupported, class.mtls))));
    all
}

/// The chains of a port, by what it speaks and what the workload accepts.
fn shapes(protocol: Protocol, mtls: Mtls) -> Vec<Shape> {
    let shape = |transport, alpn: &[&'static str], mutual, carries| Shape {
        transport,
        alpn: alpn.to_vec(),
        mutual,
        carries,
    };
    let (tls, raw) = (Some("tls"), Some("raw_buffer"));
    let every: Vec<&'static str> = MESH_TCP.into_iter().chain(MESH_HTTP).collect();
    let kind = match (protocol.is_http(), protocol.is_unsupported()) {
        (true, _) => Some(Carries::Http),
        (false, true) => None,
        (false, false) => Some(Carries::Bytes),
    };
    use Carries::{Bytes, Http};
    match (kind, mtls) {
        (Some(carries), Mtls::Disable) => vec![shape(None, &[], false, carries)],
        (Some(carries), Mtls::Strict) => vec![shape(tls, &[], true, carries)],
        (Some(Http), Mtls::Permissive) => {
            vec![shape(tls, &every, true, Http), shape(raw, &[], false, Http)]
        }
        (Some(Bytes), Mtls::Permissive) => vec![
            shape(tls, &MESH_TCP, true, Bytes),
            shape(tls, &[], false, Bytes),
            shape(raw, &[], false, Bytes),
        ],
        // A match of the transport is final: what is raw and no HTTP never reaches the last chain.
        (None, Mtls::Disable) => vec![
            shape(raw, &PLAIN_HTTP, false, Http),
            shape(raw, &[], false, Bytes),
            shape(None, &[], false, Bytes),
        ],
        (None, Mtls::Strict) => {
            vec![shape(tls, &MESH_HTTP, true, Http), shape(tls, &[], true, Bytes)]
        }
        (None, Mtls::Permissive) => vec![
            shape(tls, &MESH_HTTP, true, Http),
            shape(raw, &PLAIN_HTTP, false, Http),
            shape(tls, &MESH_TCP, true, Bytes),
            shape(raw, &[], false, Bytes),
            shape(tls, &[], false, Bytes),
        ],
    }
}

fn chain(snapshot: &Snapshot, class: &Class, inbound: Option<&Inbound>, shape: &Shape) -> Value {
    let port = inbound.map(|inbound| inbound.target);
    let cluster = match port {
        Some(port) => ClusterName::Inbound { port }.to_string(),
        None => FixedCluster::InboundPassthrough.as_str().to_owned(),
    };
    let name = match (port, shape.carries) {
        (Some(port), _) => format!("0.0.0.0_{port}"),
        (None, Carries::Http) => "virtualInbound-catchall-http".to_owned(),
        (None, Carries::Bytes) => "virtualInbound".to_owned(),
    };
    let mut matching = json!({});
    if let Some(port) = port {
        matching["destination_port"] = port.get().into();
    }
    if let Some(transport) = shape.transport {
        matching["transport_protocol"] = transport.into();
    }
    if !shape.alpn.is_empty() {
        matching["application_protocols"] = json!(shape.alpn);
    }
    let filter = match shape.carries {
        Carries::Http => {
            let prefix = format!("inbound_0.0.0.0_{};", port.map_or(0, PortNumber::get));
            let route = ("route_config", route(&cluster, inbound));
            manager(snapshot, class, Side::Inbound, &prefix, route)
        }
        Carries::Bytes => tcp_proxy(snapshot, &cluster, &cluster),
    };
    let mut chain = json!({ "name": name, "filter_chain_match": matching, "filters": [filter] });
    if shape.mutual {
        let alpn: &[&str] = match shape.carries {
            Carries::Http => &SERVER_HTTP,
            Carries::Bytes => &SERVER_TCP,
        };
        chain["transport_socket"] = downstream(&snapshot.mesh, alpn);
    }
    chain
}

/// Every request goes to the workload, for as long as it takes.
fn route(cluster: &str, inbound: Option<&Inbound>) -> Value {
    let grpc = inbound.is_some_and(|inbound| inbound.protocol.is_grpc());
    // The application may close a kept connection just as a request is sent on it.
    let retries = match grpc {
        true => Value::Null,
        false => json!({ "retry_on": "reset-before-request", "num_retries": 2 }),
    };
    let (host, operation) = match inbound {
        Some(Inbound { port, host, .. }) => {
            (format!("inbound|http|{port}"), format!("{host}:{port}/*"))
        }
        None => ("inbound|http|0".to_owned(), ":0/*".to_owned()),
    };
    let mut action = json!({
        "cluster": cluster,
        "timeout": "0s",
        "max_stream_duration": {
            "max_stream_duration": "0s",
            "grpc_timeout_header_max": "0s",
        },
    });
    set(&mut action, "retry_policy", retries);
    json!({
        "name": cluster,
        "validate_clusters": false,
        "virtual_hosts": [{
            "name": host,
            "domains": ["*"],
            "routes": [{
                "name": "default",
                "match": { "prefix": "/" },
                "decorator": { "operation": operation },
                "route": action,
            }],
        }],
    })
}

/// Connections straight to the listener's own port would go round in circles.
fn blackhole(snapshot: &Snapshot, port: u16) -> Value {
    let cluster = FixedCluster::BlackHole.as_str();
    json!({
        "name": "virtualInbound-blackhole",
        "filter_chain_match": { "destination_port": port },
        "filters": [tcp_proxy(snapshot, cluster, cluster)],
    })
}
