//! Security policies against the workloads they are for.

use mesh_api::crd::{AuthorizationPolicySpec, RequestAuthenticationSpec};
use mesh_api::selector::{Labels, is_subset};

use super::lookup;
use super::messages::{JWKS_FETCH_UNRESTRICTED, NO_MATCHING_WORKLOADS};
use super::world::World;
use crate::report::Report;

const BLOCKED_CIDRS: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";
/// How many names a message lists.
const NAMES: usize = 5;

/// Policies that are for no workload of the mesh.
pub(super) fn workloads(world: &World, report: &mut Report) {
    let root = world.mesh_config["rootNamespace"].as_str().unwrap_or(&world.root_namespace);
    let members: Vec<_> = lookup::pods(world)
        .into_iter()
        .filter(|(object, labels, pod)| {
            let annotations = object.annotations();
            let spec = pod.spec.as_ref();
            lookup::is_ambient_pod(&annotations)
                || spec.is_some_and(|spec| {
                    let namespace = &object.origin.namespace;
                    lookup::in_mesh(world, namespace, spec, (labels, &annotations))
                })
        })
        .collect();
    for (object, spec) in world.specs::<AuthorizationPolicySpec>() {
        if spec.target_ref.is_some() || !spec.target_refs.is_empty() {
            continue;
        }
        let selector: Labels =
            spec.selector.map(|selector| selector.match_labels).unwrap_or_default();
        let namespace = object.origin.namespace.as_str();
        let matched = members.iter().any(|(pod, labels, _)| {
            (namespace == root || pod.origin.namespace == namespace) && is_subset(&selector, labels)
        });
        if !matched {
            let labels: Vec<_> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let text = match labels.as_slice() {
                [] => "No matching workloads for this resource".to_owned(),
                labels => format!(
                    "No matching workloads for this resource with the following labels: {}",
                    labels.join(",")
                ),
            };
            report.add(NO_MATCHING_WORKLOADS.about(&object.origin, text));
        }
    }
}

/// A control plane that fetches keys from wherever policies say.
pub(super) fn blocked_cidrs(world: &World, report: &mut Report) {
    let policies: Vec<_> = world
        .specs::<RequestAuthenticationSpec>()
        .into_iter()
        .map(|(object, _)| format!("{}/{}", object.origin.namespace, object.origin.name))
        .collect();
    if policies.is_empty() {
        return;
    }
    for deployment in world.of("apps", "Deployment") {
        if deployment.labels().get("app").map(String::as_str) != Some("istiod") {
            continue;
        }
        let containers = deployment.value["spec"]["template"]["spec"]["containers"].as_array();
        let mut variables = containers
            .into_iter()
            .flatten()
            .flat_map(|container| container["env"].as_array().into_iter().flatten());
        let blocks = variables.any(|variable| {
            variable["name"] == BLOCKED_CIDRS && variable["value"].as_str() != Some("")
        });
        if !blocks {
            let names = policies[..policies.len().min(NAMES)].join(", ");
            let text = format!(
                "{BLOCKED_CIDRS} is not set while {} RequestAuthentication resources ({names}) may \
                 make the control plane fetch keys from internal addresses.",
                policies.len()
            );
            report.add(JWKS_FETCH_UNRESTRICTED.about(&deployment.origin, text));
        }
    }
}
