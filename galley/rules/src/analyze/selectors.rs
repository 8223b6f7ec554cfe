//! Objects that select workloads: none, the same ones twice, or ones that are not theirs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use mesh_api::crd::{
    AuthorizationPolicySpec, RequestAuthenticationSpec, SidecarSpec, TelemetrySpec, WasmPluginSpec,
};
use mesh_api::labels::GATEWAY_NAME;
use mesh_api::selector::{Labels, is_subset};
use serde_json::Value;

use super::lookup;
use super::messages::{
    CONFLICTING_SIDECAR_SELECTORS, CONFLICTING_TELEMETRY_SELECTORS, DEPRECATED, INEFFECTIVE_POLICY,
    INEFFECTIVE_SELECTOR, MULTIPLE_SIDECARS, MULTIPLE_TELEMETRIES, Message,
    REFERENCED_RESOURCE_NOT_FOUND, TELEMETRY_PROVIDER,
};
use super::world::{Resource, World};
use crate::report::Report;

type Pods<'a> = Vec<(&'a Resource, Labels, Pod)>;
type Selecting<'a> = Vec<(&'a Resource, Option<Labels>)>;

/// Sidecars that select nothing, share workloads, or are for workloads without sidecar.
pub(super) fn sidecars(world: &World, report: &mut Report) {
    let pods = lookup::pods(world);
    let all: Selecting<'_> = world
        .specs::<SidecarSpec>()
        .into_iter()
        .map(|(object, spec)| (object, spec.workload_selector.map(|select| select.labels)))
        .collect();
    selected(&all, &pods, CONFLICTING_SIDECAR_SELECTORS, "Sidecars", report);
    unselected(&all, MULTIPLE_SIDECARS, "Sidecar", report);
    for (object, selector) in &all {
        let namespace = &object.origin.namespace;
        let ambient = match selector.as_ref().filter(|selector| !selector.is_empty()) {
            Some(selector) => pods.iter().any(|(pod, labels, _)| {
                let annotations = pod.annotations();
                pod.origin.namespace == *namespace
                    && is_subset(selector, labels)
                    && lookup::is_ambient_pod(&annotations)
            }),
            None => lookup::namespace_labels(world, namespace)
                .is_some_and(|labels| lookup::is_ambient_namespace(&labels)),
        };
        if ambient {
            let text = "The policy has no impact: the selected workloads are in ambient mode, and \
                        a Sidecar does not apply to them";
            report.add(INEFFECTIVE_POLICY.about(&object.origin, text));
        }
    }
}

/// Telemetries that select nothing or share workloads.
pub(super) fn telemetry(world: &World, report: &mut Report) {
    let pods = lookup::pods(world);
    selected(&telemetries(world), &pods, CONFLICTING_TELEMETRY_SELECTORS, "Telemetries", report);
}

/// Several telemetries for all workloads of a namespace.
pub(super) fn default_telemetry(world: &World, report: &mut Report) {
    unselected(&telemetries(world), MULTIPLE_TELEMETRIES, "Telemetry", report);
}

fn telemetries(world: &World) -> Selecting<'_> {
    world
        .specs::<TelemetrySpec>()
        .into_iter()
        .filter(|(_, spec)| spec.target_ref.is_none() && spec.target_refs.is_empty())
        .map(|(object, spec)| (object, spec.selector.map(|select| select.match_labels)))
        .collect()
}

/// Access logging without a provider, where the mesh has no default one.
pub(super) fn telemetry_providers(world: &World, report: &mut Report) {
    let default = &world.mesh_config["defaultProviders"]["accessLogging"];
    if default.as_array().is_some_and(|list| !list.is_empty()) {
        return;
    }
    for (object, spec) in world.specs::<TelemetrySpec>() {
        let without = spec
            .access_logging
            .iter()
            .any(|logging| logging.providers.is_empty() && logging.disabled != Some(true));
        if without {
            let origin = &object.origin;
            let text = format!(
                "The Telemetry {} in namespace {} with empty providers will be ignored.",
                origin.name, origin.namespace
            );
            report.add(TELEMETRY_PROVIDER.about(origin, text));
        }
    }
}

/// Traces that go to a provider nobody serves any more.
pub(super) fn lightstep(world: &World, report: &mut Report) {
    let providers = world.mesh_config["extensionProviders"].as_array();
    let old: Vec<_> = providers
        .into_iter()
        .flatten()
        .filter(|provider| provider["lightstep"].is_object())
        .filter_map(|provider| provider["name"].as_str())
        .collect();
    for (object, spec) in world.specs::<TelemetrySpec>() {
        let names = spec.tracing.iter().flat_map(|tracing| &tracing.providers);
        for provider in names.filter(|provider| old.contains(&provider.name.as_str())) {
            let text = format!(
                "Deprecated: the Lightstep provider {:?}; use an OpenTelemetry one instead",
                provider.name
            );
            report.add(DEPRECATED.about(&object.origin, text));
        }
    }
}

/// Policies by selector for pods that a gateway of Kubernetes' kind manages.
pub(super) fn kubernetes_gateways(world: &World, report: &mut Report) {
    let pods = lookup::pods(world);
    let managed: Pods<'_> =
        pods.into_iter().filter(|(_, labels, _)| labels.contains_key(GATEWAY_NAME)).collect();
    let mut policies: Selecting<'_> = Vec::new();
    for (object, spec) in world.specs::<AuthorizationPolicySpec>() {
        policies.push((object, spec.selector.map(|select| select.match_labels)));
    }
    for (object, spec) in world.specs::<RequestAuthenticationSpec>() {
        policies.push((object, spec.selector.map(|select| select.match_labels)));
    }
    for (object, spec) in world.specs::<TelemetrySpec>() {
        policies.push((object, spec.selector.map(|select| select.match_labels)));
    }
    for (object, spec) in world.specs::<WasmPluginSpec>() {
        policies.push((object, spec.selector.map(|select| select.match_labels)));
    }
    for (object, selector) in policies {
        let targets = ["targetRef", "targetRefs"];
        let aimed = targets.iter().any(|field| match &object.value["spec"][field] {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
        let Some(selector) = selector.filter(|selector| !selector.is_empty() && !aimed) else {
            continue;
        };
        let namespace = &object.origin.namespace;
        let picked = managed.iter().find(|(pod, labels, _)| {
            pod.origin.namespace == *namespace && is_subset(&selector, labels)
        });
        if let Some((_, labels, _)) = picked {
            let text = format!(
                "Selectors on Kubernetes Gateway objects {} are ineffective: use targetRefs instead",
                labels.get(GATEWAY_NAME).map_or("", String::as_str)
            );
            report.add(INEFFECTIVE_SELECTOR.about(&object.origin, text).at("spec.selector"));
        }
    }
}

fn selected(
    all: &Selecting<'_>,
    pods: &Pods<'_>,
    conflict: Message,
    what: &str,
    report: &mut Report,
) {
    for (object, selector) in all {
        let Some(selector) = selector.as_ref().filter(|selector| !selector.is_empty()) else {
            continue;
        };
        let namespace = &object.origin.namespace;
        if !lookup::any_pod(pods, selector, Some(namespace)) {
            let pairs: Vec<_> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let text = format!("Referenced selector not found: {:?}", pairs.join(","));
            report.add(REFERENCED_RESOURCE_NOT_FOUND.about(&object.origin, text));
            continue;
        }
        for (pod, labels, _) in pods {
            let picks = |(other, selector): &&(&Resource, Option<Labels>)| {
                let selector = selector.as_ref().filter(|selector| !selector.is_empty());
                other.origin.namespace == pod.origin.namespace
                    && selector.is_some_and(|selector| is_subset(selector, labels))
            };
            let pickers: Vec<_> =
                all.iter().filter(picks).map(|(other, _)| other.origin.name.as_str()).collect();
            let mine = pod.origin.namespace == *namespace && is_subset(selector, labels);
            if mine && pickers.len() > 1 {
                let text = format!(
                    "The {what} {} in namespace {namespace:?} select the same workload pod {}/{}, \
                     which can lead to undefined behavior.",
                    pickers.join(","),
                    pod.origin.namespace,
                    pod.origin.name
                );
                report.add(conflict.about(&object.origin, text));
            }
        }
    }
}

fn unselected(all: &Selecting<'_>, message: Message, what: &str, report: &mut Report) {
    let mut by_namespace: BTreeMap<&str, Vec<&Resource>> = BTreeMap::new();
    for (object, selector) in all {
        if selector.as_ref().is_none_or(Labels::is_empty) {
            by_namespace.entry(&object.origin.namespace).or_default().push(object);
        }
    }
    for (namespace, objects) in by_namespace {
        if objects.len() > 1 {
            let names: Vec<_> = objects.iter().map(|one| one.origin.name.as_str()).collect();
            for object in &objects {
                let text = format!(
                    "The {what} objects {} in namespace {namespace:?} have no workload selector, \
                     which can lead to undefined behavior.",
                    names.join(",")
                );
                report.add(message.about(&object.origin, text));
            }
        }
    }
}
