//! Destination rules against services, pods and certificates.

use mesh_api::crd::DestinationRuleSpec;
use mesh_api::crd::destination_rule::{ClientTlsMode, ClientTlsSettings};
use mesh_api::selector::{Labels, is_subset};

use super::lookup::{self, covers, fqdn};
use super::messages::{
    NO_SERVER_VERIFICATION, NO_SERVER_VERIFICATION_OF_PORT, SUBSET_WITHOUT_PODS, UNKNOWN_HOST,
};
use super::world::World;
use crate::report::Report;

/// Rules for hosts that do not exist, and subsets that select no pods.
pub(super) fn pods(world: &World, report: &mut Report) {
    let hosts = lookup::hosts(world);
    let pods = lookup::pods(world);
    for (object, spec) in world.specs::<DestinationRuleSpec>() {
        let own = object.origin.namespace.as_str();
        let host = fqdn(&spec.host, own);
        let covered = || hosts.iter().any(|one| covers(&host, &one.host));
        let Some(service) = lookup::find(&hosts, &host, own) else {
            if !(host.starts_with('*') && covered()) {
                let text = format!(
                    "Host {:?} defined in DestinationRule does not match any services in the mesh.",
                    spec.host
                );
                report.add(UNKNOWN_HOST.about(&object.origin, text).at("spec.host"));
            }
            continue;
        };
        if !service.selects || (service.selector.is_none() && service.endpoints.is_empty()) {
            continue;
        }
        for (index, subset) in spec.subsets.iter().enumerate() {
            if subset.labels.is_empty() {
                continue;
            }
            let mut selector: Labels = service.selector.clone().unwrap_or_default();
            selector.extend(subset.labels.clone());
            let of_pods = service.selector.is_some()
                && lookup::any_pod(&pods, &selector, Some(&service.namespace));
            let of_entries = service.endpoints.iter().any(|one| is_subset(&subset.labels, one));
            let of_vms = service.selector.is_some()
                && world.specs::<mesh_api::crd::WorkloadEntrySpec>().iter().any(|(vm, spec)| {
                    vm.origin.namespace == service.namespace && is_subset(&selector, &spec.labels)
                });
            if !(of_pods || of_entries || of_vms || by_topology(world, &subset.labels)) {
                let text = format!(
                    "Subset {} of the DestinationRule does not select any pods.",
                    subset.name
                );
                report.add(
                    SUBSET_WITHOUT_PODS
                        .about(&object.origin, text)
                        .at(format!("spec.subsets[{index}]")),
                );
            }
        }
    }
}

/// Whether the labels are those of a node's place, which pods get from their node.
fn by_topology(world: &World, labels: &Labels) -> bool {
    let topology = |key: &String| key.starts_with("topology.");
    labels.keys().all(topology)
        && labels.values().all(|value| !value.is_empty())
        && world.of("", "Node").iter().any(|node| is_subset(labels, &node.labels()))
}

/// TLS to servers whose certificate is not verified.
pub(super) fn ca(world: &World, report: &mut Report) {
    for (object, spec) in world.specs::<DestinationRuleSpec>() {
        let Some(policy) = &spec.traffic_policy else { continue };
        let selects = spec.workload_selector.is_some();
        let origin = &object.origin;
        if let Some(mode) = policy.tls.as_ref().and_then(|tls| unverified(tls, selects)) {
            let text = format!(
                "DestinationRule {}/{} in namespace {} has TLS mode set to {mode} but no \
                 caCertificates are set to validate server identity for host: {}",
                origin.namespace, origin.name, origin.namespace, spec.host
            );
            report.add(NO_SERVER_VERIFICATION.about(origin, text).at("spec.trafficPolicy.tls"));
        }
        for (index, port) in policy.port_level_settings.iter().enumerate() {
            let Some(mode) = port.tls.as_ref().and_then(|tls| unverified(tls, selects)) else {
                continue;
            };
            let number = port.port.as_ref().and_then(|port| port.number).unwrap_or_default();
            let text = format!(
                "DestinationRule {}/{} in namespace {} has TLS mode set to {mode} but no \
                 caCertificates are set to validate server identity for host: {} at port {number}",
                origin.namespace, origin.name, origin.namespace, spec.host
            );
            report.add(
                NO_SERVER_VERIFICATION_OF_PORT
                    .about(origin, text)
                    .at(format!("spec.trafficPolicy.portLevelSettings[{index}].tls")),
            );
        }
    }
}

/// The mode, where it verifies no server. Credentials count only for rules with a selector.
fn unverified(tls: &ClientTlsSettings, selects: bool) -> Option<&'static str> {
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let mode = match tls.mode? {
        ClientTlsMode::Simple => "SIMPLE",
        ClientTlsMode::Mutual => "MUTUAL",
        _ => return None,
    };
    let verified = filled(&tls.ca_certificates) || (selects && filled(&tls.credential_name));
    (!verified).then_some(mode)
}
