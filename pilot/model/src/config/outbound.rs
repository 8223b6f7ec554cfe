//! Listeners of a sidecar for traffic its application sends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::mesh_config::MeshConfig;
use mesh_api::name::{FixedCluster, RouteName};
use mesh_api::port::PortNumber;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::{Notes, ads, socket};
use super::egress::{self, unknown_cluster};
use super::http::{Side, log_refusals, manager, tcp_proxy};
use super::l4::{Chains, Reached};
use super::{inspect, shared, unused};
use crate::class::Class;
use crate::registry::{Port, Resolution, Service};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// What plaintext HTTP looks like to the inspector.
const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];

/// All outbound listeners.
pub(crate) fn all(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let mut listeners: BTreeMap<String, Inputs> = BTreeMap::new();
    let mut add = |inputs: Inputs| {
        // The older service keeps an address that two want.
        listeners.entry(inputs.name.to_string()).or_insert(inputs);
    };
    add(virtual_outbound(snapshot, class));
    for number in snapshot.by_port.keys() {
        let services = snapshot.known_at_port(class, *number);
        let services: Vec<&Arc<Service>> = services.filter(|service| !service.is_alias()).collect();
        shared::listener(snapshot, class, *number, &services).into_iter().for_each(&mut add);
        for service in services {
            let Some(port) = service.port(*number) else { continue };
            of_port(snapshot, class, service, port).into_iter().for_each(&mut add);
        }
    }
    listeners.into_values().collect()
}

/// Listeners of the service's own addresses.
fn of_port(snapshot: &Snapshot, class: &Class, service: &Service, port: &Port) -> Vec<Inputs> {
    if port.protocol.is_http() {
        return Vec::new();
    }
    let addresses: Vec<IpAddr> = match service.resolution {
        Resolution::Headless => {
            let endpoints = snapshot.endpoints_of(service).iter();
            endpoints.filter(|e| e.port_name == port.name).filter_map(|e| e.address.ip()).collect()
        }
        _ => service.addresses(class.dns_capture).collect(),
    };
    let listener = |ip: &IpAddr| bytes(snapshot, class, (service, port), *ip);
    addresses.iter().map(listener).collect()
}

/// Traffic that no other listener takes.
fn virtual_outbound(snapshot: &Snapshot, class: &Class) -> Inputs {
    let mut notes = Notes::default();
    let port = snapshot.mesh.proxy_listen_port;
    let (hole, unknown) = (FixedCluster::BlackHole.as_str(), unknown_cluster(snapshot, class));
    let unknown = unknown.as_str();
    notes.diagnostics.extend(egress::complaints(snapshot, class));
    notes.refer(TypeUrl::Cluster, hole);
    notes.refer(TypeUrl::Cluster, unknown);
    unused::mesh(&snapshot.mesh, &mut notes);
    let mut document = json!({
        "name": "virtualOutbound",
        "address": socket("0.0.0.0", port),
        "traffic_direction": "OUTBOUND",
        "use_original_dst": true,
        "filter_chains": [{
            "name": "virtualOutbound-blackhole",
            "filter_chain_match": { "destination_port": port },
            "filters": [tcp_proxy(snapshot, hole, hole)],
        }],
        "default_filter_chain": {
            "name": "virtualOutbound-catchall-tcp",
            "filters": [tcp_proxy(snapshot, unknown, unknown)],
        },
    });
    log_refusals(&snapshot.mesh, &mut document);
    notes.finish(TypeUrl::Listener, "virtualOutbound", document)
}

pub(crate) fn frame(mesh: &MeshConfig, name: &str, address: &str, port: PortNumber) -> Value {
    let mut document = json!({
        "name": name,
        "address": socket(address, port.get()),
        "traffic_direction": "OUTBOUND",
        "bind_to_port": false,
        "continue_on_listener_filters_timeout": true,
    });
    log_refusals(mesh, &mut document);
    document
}

pub(crate) fn http_chain(
    snapshot: &Snapshot,
    class: &Class,
    listener: &str,
    route: &str,
    notes: &mut Notes,
) -> Value {
    notes.refer(TypeUrl::Route, route);
    let rds = json!({ "config_source": ads(), "route_config_name": route });
    let prefix = format!("outbound_{listener};");
    let filter = manager(snapshot, class, Side::Outbound, &prefix, ("rds", rds));
    json!({
        "name": listener,
        "filter_chain_match": {
            "transport_protocol": "raw_buffer",
            "application_protocols": PLAIN_HTTP,
        },
        "filters": [filter],
    })
}

/// The listener of a service port at one address: bytes, or HTTP where it is found.
fn bytes(snapshot: &Snapshot, class: &Class, of: (&Service, &Port), ip: IpAddr) -> Inputs {
    let (service, port) = of;
    let mut notes = Notes::default();
    let name = format!("{ip}_{}", port.number);
    let Chains { mut conditional, default } =
        Reached { snapshot, class, service, port }.chains(&mut notes);
    let mut document = frame(&snapshot.mesh, &name, &ip.to_string(), port.number);
    if port.protocol.is_unsupported() {
        let route = RouteName::HostPort { host: service.host.clone(), port: port.number };
        let chain = http_chain(snapshot, class, &name, &route.to_string(), &mut notes);
        conditional.insert(0, chain);
        document["listener_filters"] = json!(inspect::everywhere());
        document["listener_filters_timeout"] =
            snapshot.mesh.protocol_detection_timeout.to_string().into();
        document["filter_chains"] = conditional.into();
        if let Some(default) = default {
            document["default_filter_chain"] = json!({ "name": name, "filters": [default] });
        }
    } else if conditional.is_empty() {
        let chains = default.map(|filter| json!({ "filters": [filter] }));
        document["filter_chains"] = chains.into_iter().collect();
    } else {
        if port.protocol.is_tls() {
            let names = inspect::Wanted { tls: true, http: false };
            document["listener_filters"] = json!(inspect::at(&[], names));
            document["listener_filters_timeout"] =
                snapshot.mesh.protocol_detection_timeout.to_string().into();
        }
        document["filter_chains"] = conditional.into();
        // A chain without conditions would lose connections of which a part of a condition holds.
        if let Some(default) = default {
            document["default_filter_chain"] = json!({ "name": name, "filters": [default] });
        }
    }
    notes.finish(TypeUrl::Listener, &name, document)
}
