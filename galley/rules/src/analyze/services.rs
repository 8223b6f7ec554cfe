//! Ports of services, and the registries that networks of the mesh name.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_api::labels;
use mesh_api::port::{PortNumber, Protocol, Transport};

use super::lookup;
use super::messages::{EXTERNAL_NAME_PORT, PORT_NAME, UNKNOWN_SERVICE_REGISTRY};
use super::world::World;
use crate::report::{Origin, Report};

/// Ports of services whose protocol nobody can tell.
pub(super) fn port_names(world: &World, report: &mut Report) {
    for (object, service) in world.read::<Service>("", "Service") {
        let given = object.labels();
        let managed = given.contains_key(labels::GATEWAY_MANAGED);
        if lookup::is_system_namespace(&object.origin.namespace)
            || lookup::is_control_plane(&given)
            || managed
        {
            continue;
        }
        let spec = service.spec.unwrap_or_default();
        let external = spec.type_.as_deref() == Some("ExternalName");
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let name = port.name.as_deref().unwrap_or_default();
            let protocol = protocol(port, name);
            let path = format!("spec.ports[{index}]");
            if external {
                if name == "tcp" || protocol == Protocol::Unsupported {
                    let text = "Port name for ExternalName service is invalid. Proxy may prevent \
                                tcp named ports and unmatched traffic for ports serving TCP \
                                protocol from being forwarded correctly.";
                    report.add(EXTERNAL_NAME_PORT.about(&object.origin, text).at(path));
                }
            } else if protocol == Protocol::Unsupported {
                let target = match &port.target_port {
                    None => port.port.to_string(),
                    Some(IntOrString::Int(number)) => number.to_string(),
                    Some(IntOrString::String(name)) => name.clone(),
                };
                let text = format!(
                    "Port name {name} (port: {}, targetPort: {target}) doesn't follow the naming \
                     convention of Istio port.",
                    port.port
                );
                report.add(PORT_NAME.about(&object.origin, text).at(path));
            }
        }
    }
}

fn protocol(port: &ServicePort, name: &str) -> Protocol {
    let transport = match port.protocol.as_deref() {
        Some("UDP") => Transport::Udp,
        _ => Transport::Tcp,
    };
    let number = u16::try_from(port.port).ok().and_then(PortNumber::new);
    number.map_or(Protocol::Unsupported, |number| {
        Protocol::of_service_port(transport, number, name, port.app_protocol.as_deref())
    })
}

/// Networks that name a registry nobody knows.
pub(super) fn mesh_networks(world: &World, report: &mut Report) {
    let secrets = world.of("", "Secret").iter();
    let remote = secrets
        .filter(|secret| secret.labels().get(labels::MULTI_CLUSTER).is_some_and(|v| v == "true"))
        .flat_map(|secret| {
            let data = ["data", "stringData"];
            data.into_iter().filter_map(|field| secret.value[field].as_object())
        })
        .flat_map(|data| data.keys().cloned());
    let mut known: Vec<String> = remote.collect();
    known.extend(["Mock", "Kubernetes", "External"].map(str::to_owned));
    let networks = world.mesh_networks["networks"].as_object();
    for (network, settings) in networks.into_iter().flatten() {
        for endpoint in settings["endpoints"].as_array().into_iter().flatten() {
            let Some(registry) = endpoint["fromRegistry"].as_str() else { continue };
            if !known.iter().any(|name| name == registry) {
                let origin = Origin {
                    kind: "MeshNetworks".to_owned(),
                    namespace: world.root_namespace.clone(),
                    name: "meshnetworks".to_owned(),
                };
                let text = format!("Unknown service registry {registry} in network {network}");
                report.add(UNKNOWN_SERVICE_REGISTRY.about(&origin, text));
            }
        }
    }
}
