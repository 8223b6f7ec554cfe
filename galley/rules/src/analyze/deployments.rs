//! Deployments and pods: who they run as, and which services they stand behind.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PodSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_api::selector::{Labels, is_subset};

use super::lookup;
use super::messages::{APPLICATION_UID, CONFLICTING_PORTS, DEPLOYMENT_OF_SEVERAL_SERVICES};
use super::world::{Resource, World};
use crate::report::Report;

/// The user the proxy runs as, whose traffic is not captured.
const PROXY_UID: i64 = 1337;

/// Applications that run as the proxy's user.
pub(super) fn application_uid(world: &World, report: &mut Report) {
    let text = "User ID (UID) 1337 is reserved for the sidecar proxy.";
    for (object, labels, pod) in lookup::pods(world) {
        let spec = pod.spec.unwrap_or_default();
        if !lookup::is_control_plane(&labels) && runs_as_proxy(&spec) {
            report.add(APPLICATION_UID.about(&object.origin, text));
        }
    }
    for (object, deployment) in world.read::<Deployment>("apps", "Deployment") {
        let spec = deployment.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
        if !lookup::is_control_plane(&object.labels()) && runs_as_proxy(&spec) {
            report.add(APPLICATION_UID.about(&object.origin, text));
        }
    }
}

fn runs_as_proxy(spec: &PodSpec) -> bool {
    let pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let container = |one: &k8s_openapi::api::core::v1::Container| {
        let user = one.security_context.as_ref().and_then(|context| context.run_as_user);
        let ours = ["istio-proxy", "enable-core-dump"].contains(&one.name.as_str());
        user == Some(PROXY_UID) && !ours
    };
    pod == Some(PROXY_UID) || spec.containers.iter().any(container)
}

/// Services of one deployment that contradict each other.
pub(super) fn services(world: &World, report: &mut Report) {
    let services = world.read::<Service>("", "Service");
    for (object, deployment) in world.read::<Deployment>("apps", "Deployment") {
        let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
        let labels: Labels =
            template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        let annotations: Labels =
            template.metadata.and_then(|meta| meta.annotations).unwrap_or_default();
        let spec = template.spec.unwrap_or_default();
        let namespace = &object.origin.namespace;
        let managed = object.labels().contains_key(mesh_api::labels::GATEWAY_MANAGED);
        if managed || !lookup::in_mesh(world, namespace, &spec, (&labels, &annotations)) {
            continue;
        }
        let behind: Vec<(&str, &ServicePort)> = services
            .iter()
            .filter(|(service, _)| service.origin.namespace == *namespace)
            .filter(|(_, service)| {
                let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                selector
                    .is_some_and(|selector| !selector.is_empty() && is_subset(selector, &labels))
            })
            .flat_map(|(service, body)| {
                let ports = body.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
                ports.map(|port| (service.origin.name.as_str(), port))
            })
            .collect();
        protocols(object, &behind, report);
        targets(object, &behind, report);
    }
}

fn protocols(deployment: &Resource, behind: &[(&str, &ServicePort)], report: &mut Report) {
    let mut by_port: BTreeMap<i32, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (service, port) in behind {
        let (services, protocols) = by_port.entry(port.port).or_default();
        services.insert(service);
        protocols.insert(port.protocol.as_deref().unwrap_or("TCP"));
    }
    for (port, (services, protocols)) in by_port {
        if protocols.len() > 1 {
            let names = services.into_iter().collect::<Vec<_>>().join(", ");
            let text = format!(
                "This deployment {} is associated with multiple services using port {port} but \
                 different protocols: {names}",
                deployment.origin.name
            );
            report.add(DEPLOYMENT_OF_SEVERAL_SERVICES.about(&deployment.origin, text));
        }
    }
}

fn targets(deployment: &Resource, behind: &[(&str, &ServicePort)], report: &mut Report) {
    let mut by_target: BTreeMap<String, (BTreeSet<&str>, BTreeSet<i32>)> = BTreeMap::new();
    for (service, port) in behind {
        let target = match &port.target_port {
            None | Some(IntOrString::Int(0)) => port.port.to_string(),
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(name)) => name.clone(),
        };
        let (services, ports) = by_target.entry(target).or_default();
        services.insert(service);
        ports.insert(port.port);
    }
    for (target, (services, ports)) in by_target {
        if ports.len() > 1 && services.len() > 1 {
            let names = services.into_iter().collect::<Vec<_>>().join(", ");
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let text = format!(
                "This deployment {} is associated with multiple services {names} using targetPort \
                 {target:?} but different ports: {}.",
                deployment.origin.name,
                ports.join(", ")
            );
            report.add(CONFLICTING_PORTS.about(&deployment.origin, text));
        }
    }
}
