//! Which namespaces and pods get sidecars, and which were meant to.

use mesh_api::labels;
use mesh_api::selector::{LabelSelector, Labels};
use serde::Deserialize;
use serde_json::Value;

use super::lookup;
use super::messages::{
    IMAGE_AUTO_ERROR, IMAGE_AUTO_WARNING, INJECTION_BY_DEFAULT, NAMESPACE_NOT_INJECTED,
    POD_MISSING_PROXY, PROXY_IMAGE_MISMATCH, SEVERAL_INJECTION_LABELS,
};
use super::world::{Resource, World, texts};
use crate::report::Report;

const INJECTOR: &str = "istio-sidecar-injector";
const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";

/// Namespaces without a decision or with several, and pods that were passed by.
pub(super) fn namespaces(world: &World, report: &mut Report) {
    let by_default = injects_by_default(world);
    let mut injected = Vec::new();
    for object in world.of("", "Namespace") {
        let name = object.origin.name.as_str();
        if lookup::is_system_namespace(name) || name == world.root_namespace {
            continue;
        }
        let given = object.labels();
        let injection = given.get(labels::INJECTION).map(String::as_str);
        let revision = given.contains_key(labels::REV);
        let mode = given.contains_key(labels::DATAPLANE_MODE);
        if several(injection, revision, mode) {
            let text = format!(
                "The namespace has more than one of the labels {}, {} and {}, of which only one \
                 can count.",
                labels::INJECTION,
                labels::REV,
                labels::DATAPLANE_MODE
            );
            report.add(SEVERAL_INJECTION_LABELS.about(&object.origin, text));
            continue;
        }
        if injection == Some("enabled") {
            injected.push(name.to_owned());
        } else if injection.is_none() && !revision && !lookup::is_ambient_namespace(&given) {
            match by_default {
                true => report.add(INJECTION_BY_DEFAULT.about(
                    &object.origin,
                    "is enabled for Istio injection, as Istio is configured to inject by default",
                )),
                false => {
                    let text = format!(
                        "The namespace is not enabled for Istio injection. Run 'kubectl label \
                         namespace {name} istio-injection=enabled' to enable it, or 'kubectl label \
                         namespace {name} istio-injection=disabled' to explicitly mark it as not \
                         needing injection."
                    );
                    report.add(NAMESPACE_NOT_INJECTED.about(&object.origin, text));
                }
            }
        }
    }
    for (object, given, pod) in lookup::pods(world) {
        let spec = pod.spec.unwrap_or_default();
        let refused = lookup::asks_for_injection(&given, &object.annotations()) == Some(false);
        let expected = injected.contains(&object.origin.namespace)
            && !refused
            && spec.host_network != Some(true);
        if expected && !lookup::has_proxy(&spec) {
            let text = format!(
                "The pod {} is missing the Istio proxy. This can often be resolved by restarting \
                 or redeploying the workload.",
                object.origin.name
            );
            report.add(POD_MISSING_PROXY.about(&object.origin, text));
        }
    }
}

fn several(injection: Option<&str>, revision: bool, mode: bool) -> bool {
    match injection {
        None => revision && mode,
        Some("enabled") => revision || mode,
        Some(_) => false,
    }
}

fn injects_by_default(world: &World) -> bool {
    world
        .of("", "ConfigMap")
        .iter()
        .filter(|object| object.origin.name.starts_with(INJECTOR))
        .filter_map(|object| object.value["data"]["values"].as_str())
        .filter_map(|values| serde_json::from_str::<Value>(values).ok())
        .any(|values| values["sidecarInjectorWebhook"]["enableNamespacesByDefault"] == true)
}

/// Pods that still run another proxy than the injector would give them.
pub(super) fn images(world: &World, report: &mut Report) {
    let pods = lookup::pods(world);
    for object in world.of("", "Namespace") {
        let given = object.labels();
        let injection = given.get(labels::INJECTION).map(String::as_str);
        let revision = given.get(labels::REV).map(String::as_str);
        let name = match (injection, revision) {
            (Some("enabled"), _) | (None, Some("default")) => INJECTOR.to_owned(),
            (None, Some(revision)) => format!("{INJECTOR}-{revision}"),
            _ => continue,
        };
        let Some(wanted) = injected_image(world, &name) else { continue };
        let other = |image: &str| {
            let rest = image.strip_prefix(wanted.as_str());
            // A suffix after the tag is a variant of the same version.
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let outdated: Vec<&str> = pods
            .iter()
            .filter(|(pod, ..)| pod.origin.namespace == object.origin.name)
            .filter(|(pod, ..)| !pod.annotations().contains_key(PROXY_IMAGE))
            .filter(|(_, _, pod)| {
                let mut containers = pod.spec.iter().flat_map(lookup::containers);
                containers
                    .any(|one| one.name == "istio-proxy" && one.image.as_deref().is_some_and(other))
            })
            .map(|(pod, ..)| pod.origin.name.as_str())
            .collect();
        if !outdated.is_empty() {
            let text = format!(
                "The Istio proxy images of the pods running in the namespace do not match the \
                 image defined in the injection configuration (pod names: {}). This often happens \
                 after upgrading the Istio control-plane and can be fixed by redeploying the pods.",
                outdated.join(", ")
            );
            report.add(PROXY_IMAGE_MISMATCH.about(&object.origin, text));
        }
    }
}

/// The image that the values of an injector's ConfigMap name.
fn injected_image(world: &World, name: &str) -> Option<String> {
    let map = world.of("", "ConfigMap").iter().find(|map| map.origin.name == name)?;
    let values: Value = serde_json::from_str(map.value["data"]["values"].as_str()?).ok()?;
    let global = &values["global"];
    let image = global["proxy"]["image"].as_str()?;
    if image.contains('/') {
        return Some(image.to_owned());
    }
    Some(format!("{}/{image}:{}", global["hub"].as_str()?, global["tag"].as_str()?))
}

/// Pods whose proxy still waits for an image, and deployments whose pods will.
pub(super) fn image_auto(world: &World, report: &mut Report) {
    for object in world.of("", "Pod") {
        if has_auto(&object.value["spec"]) {
            let text = auto_text(object);
            report.add(IMAGE_AUTO_ERROR.about(&object.origin, text));
        }
    }
    for object in world.of("apps", "Deployment") {
        let template = &object.value["spec"]["template"];
        if has_auto(&template["spec"]) && !is_injected(world, object, template) {
            let text = auto_text(object);
            report.add(IMAGE_AUTO_WARNING.about(&object.origin, text));
        }
    }
}

fn auto_text(object: &Resource) -> String {
    format!(
        "{} {} contains `image: auto` but does not match any Istio injection webhook selectors.",
        object.origin.kind, object.origin.name
    )
}

fn has_auto(spec: &Value) -> bool {
    let of =
        |field: &str| spec[field].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
    of("containers")
        .iter()
        .chain(&of("initContainers"))
        .any(|container| container["name"] == "istio-proxy" && container["image"] == "auto")
}

fn is_injected(world: &World, object: &Resource, template: &Value) -> bool {
    let namespace = lookup::namespace_labels(world, &object.origin.namespace).unwrap_or_default();
    let labels = texts(&template["metadata"]["labels"]);
    let group = "admissionregistration.k8s.io";
    world
        .of(group, "MutatingWebhookConfiguration")
        .iter()
        .filter(|webhooks| webhooks.origin.name.starts_with(INJECTOR))
        .flat_map(|webhooks| webhooks.value["webhooks"].as_array().into_iter().flatten())
        .any(|webhook| {
            selects(&webhook["namespaceSelector"], &namespace)
                && selects(&webhook["objectSelector"], &labels)
        })
}

pub(super) fn selects(selector: &Value, labels: &Labels) -> bool {
    selector.is_null()
        || LabelSelector::deserialize(selector).is_ok_and(|selector| selector.matches(labels))
}
