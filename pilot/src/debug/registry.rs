//! What is known of the cluster: services, endpoints, configuration objects.

use std::collections::BTreeMap;

use mesh_rt::admin::{AdminReply, AdminRequest};
use pilot_model::registry::{Resolution, Service};
use serde_json::{Value, json};

use super::{Debug, document, not_read_yet};
use crate::world::MeshWorld;

/// Services by name.
pub(super) fn services(debug: &Debug, _request: &AdminRequest) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    Ok(Value::from_iter(snapshot.services.values().flatten().map(|service| describe(service))))
}

fn describe(service: &Service) -> Value {
    let (resolution, alias) = match &service.resolution {
        Resolution::Endpoints => ("ClientSideLB", None),
        Resolution::Headless | Resolution::OriginalDestination => ("Passthrough", None),
        Resolution::Dns => ("DNSLB", None),
        Resolution::DnsRoundRobin => ("DNSRoundRobinLB", None),
        Resolution::Alias(of) => ("Alias", Some(of.as_str())),
    };
    let ports = service.ports.iter().map(|port| {
        json!({
            "name": port.name,
            "port": port.number.get(),
            "protocol": format!("{:?}", port.protocol),
        })
    });
    json!({
        "hostname": service.host.as_str(),
        "addresses": service.vips,
        "networks": service.ranges,
        "autoAllocatedAddress": service.allocated,
        "ports": Value::from_iter(ports),
        "resolution": resolution,
        "alias": alias,
        "meshExternal": service.is_external,
        "attributes": {
            "serviceRegistry": if service.is_entry() { "External" } else { "Kubernetes" },
            "name": service.name,
            "namespace": service.namespace,
            "labelSelectors": service.selector,
            "exportTo": service.export,
        },
    })
}

/// Endpoints by service.
pub(super) fn endpoints(debug: &Debug, _request: &AdminRequest) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    let all = snapshot
        .endpoints
        .iter()
        .flat_map(|(host, all)| all.values().map(move |endpoints| (host, endpoints)));
    let all = all.map(|(host, endpoints)| {
        let endpoints = endpoints.iter().map(|endpoint| {
            let workload = endpoint.workload.as_deref();
            let locality = &endpoint.locality;
            json!({
                "address": endpoint.address.to_string(),
                "weight": endpoint.weight,
                "port": endpoint.port.get(),
                "servicePortName": endpoint.port_name,
                "locality": format!("{}/{}/{}", locality.region, locality.zone, locality.subzone),
                "workloadName": workload.map(|workload| &workload.name),
                "namespace": workload.map(|workload| &workload.namespace),
                "serviceAccount": workload.map(|workload| &workload.service_account),
                "labels": workload.map(|workload| &workload.labels),
                "tlsMode": if workload.is_some_and(|w| w.has_proxy()) { "istio" } else { "disabled" },
            })
        });
        json!({ "svc": host.as_str(), "ep": Value::from_iter(endpoints) })
    });
    Ok(Value::from_iter(all))
}

/// What connected proxies serve, by proxy.
pub(super) fn instances(debug: &Debug, _request: &AdminRequest) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for connection in debug.context.connections.list() {
        let class = debug.generator.class(&snapshot, &MeshWorld::proxy(&connection.node));
        let served = class.inbound.iter().map(|inbound| {
            json!({
                "service": inbound.host.as_str(),
                "port": inbound.port.get(),
                "targetPort": inbound.target.get(),
                "protocol": format!("{:?}", inbound.protocol),
                "mtls": format!("{:?}", inbound.mtls).to_uppercase(),
            })
        });
        all.insert(connection.node.id.to_string(), Value::from_iter(served));
    }
    Ok(document(&all))
}

/// Configuration objects; those that are set aside have `invalid`, the reason, and no `spec`.
pub(super) fn config(debug: &Debug, _request: &AdminRequest) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    let mut all = Vec::new();
    all.extend(snapshot.virtual_services.iter().map(|object| document(&**object)));
    all.extend(snapshot.destination_rules.iter().map(|object| document(&**object)));
    all.extend(snapshot.gateways.iter().map(|object| document(&**object)));
    all.extend(snapshot.service_entries.iter().map(|object| document(&**object)));
    all.extend(snapshot.workload_entries.iter().map(|object| document(&**object)));
    all.extend(snapshot.peer_authentications.iter().map(|object| document(&**object)));
    all.extend(debug.known.invalid().into_iter().map(|invalid| {
        json!({
            "kind": format!("{:?}", invalid.object.kind),
            "metadata": { "name": invalid.object.name, "namespace": invalid.object.namespace },
            "cluster": invalid.cluster.as_str(),
            "invalid": invalid.reason,
        })
    }));
    Ok(Value::Array(all))
}

/// The mesh's settings in effect.
pub(super) fn mesh(debug: &Debug, _request: &AdminRequest) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    Ok(document(&*snapshot.mesh))
}
