//! Annotations of Istio's: whether they exist, belong where they are, and hold what they should.

use mesh_api::labels;
use mesh_api::meta_key::Stage;
use mesh_api::selector::Labels;
use serde_json::Value;

use super::messages::{
    ALPHA_ANNOTATION, DEPRECATED_ANNOTATION, INVALID_ANNOTATION, MISPLACED_ANNOTATION,
    UNKNOWN_ANNOTATION,
};
use super::world::{Resource, World, texts};
use crate::report::Report;
use crate::validate::is_ip_or_cidr;

/// Kinds whose annotations are looked at.
const KINDS: [(&str, &str); 4] =
    [("", "Namespace"), ("", "Service"), ("", "Pod"), ("apps", "Deployment")];
/// The one annotation of Kubernetes' that Istio documents.
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// Annotations that the control plane and its node agents set themselves.
const SET_BY_OTHERS: [&str; 2] = ["istio.io/rev", "ambient.istio.io/redirection"];
/// Annotations that the network plugin sets on pods without `istio-init`.
const SET_BY_CNI: [&str; 4] = [
    "sidecar.istio.io/interceptionMode",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
];

/// Metadata of an object that Istio reads: its own, and that of a pod template.
struct Place {
    kind: &'static str,
    annotations: Labels,
    labels: Labels,
}

fn places(object: &Resource, kind: &'static str) -> Vec<Place> {
    let mut places =
        vec![Place { kind, annotations: object.annotations(), labels: object.labels() }];
    if kind == "Deployment" {
        let metadata = &object.value["spec"]["template"]["metadata"];
        places.push(Place {
            kind: "Pod",
            annotations: texts(&metadata["annotations"]),
            labels: texts(&metadata["labels"]),
        });
    }
    places
}

fn is_istios(annotation: &str) -> bool {
    annotation == INGRESS_CLASS
        || annotation
            .split_once('/')
            .is_some_and(|(domain, _)| domain == "istio.io" || domain.ends_with(".istio.io"))
}

/// Unknown, misplaced, deprecated and malformed annotations.
pub(super) fn known(world: &World, report: &mut Report) {
    for (group, kind) in KINDS {
        for object in world.of(group, kind) {
            for place in places(object, kind) {
                for (name, value) in &place.annotations {
                    if is_istios(name) && !SET_BY_OTHERS.contains(&name.as_str()) {
                        one(object, &place, (name, value), report);
                    }
                }
            }
        }
    }
}

fn one(object: &Resource, place: &Place, (name, value): (&str, &str), report: &mut Report) {
    let origin = &object.origin;
    let path = format!("metadata.annotations[{name:?}]");
    let Some(key) = mesh_api::annotations::find(name) else {
        if labels::find(name).is_none() {
            let text = format!("Unknown annotation: {name}");
            report.add(UNKNOWN_ANNOTATION.about(origin, text).at(path));
        }
        return;
    };
    if !key.applies_to(place.kind) {
        let kinds = key.kinds.join(", ");
        let text = format!("Misplaced annotation: {name} can only be applied to {kinds}");
        report.add(MISPLACED_ANNOTATION.about(origin, text).at(path.as_str()));
    }
    let beside_label = name == labels::SIDECAR_INJECT && place.labels.contains_key(name);
    if key.deprecated && !beside_label {
        let instead = match name {
            labels::SIDECAR_INJECT => " in favor of the label of the same name",
            _ => "",
        };
        let text = format!(
            "Annotation {name:?} has been deprecated{instead} and may not work in future versions."
        );
        report.add(DEPRECATED_ANNOTATION.about(origin, text).at(path.as_str()));
    }
    if let Err(problem) = check(name, value) {
        let text = format!("Invalid annotation {name}: {problem}");
        report.add(INVALID_ANNOTATION.about(origin, text).at(path));
    }
}

/// Annotations that may still change.
pub(super) fn alpha(world: &World, report: &mut Report) {
    for (group, kind) in KINDS {
        for object in world.of(group, kind) {
            let initialized = has_init(&object.value);
            for place in places(object, kind) {
                for name in place.annotations.keys().filter(|name| is_istios(name)) {
                    let by_cni =
                        kind == "Pod" && !initialized && SET_BY_CNI.contains(&name.as_str());
                    let Some(key) = mesh_api::annotations::find(name) else { continue };
                    let by_others = SET_BY_OTHERS.contains(&name.as_str()) || key.kinds.is_empty();
                    if key.stage == Stage::Alpha && !by_cni && !by_others {
                        let text = format!(
                            "Annotation {name:?} is part of an alpha-phase feature and may be \
                             incompletely supported."
                        );
                        report.add(ALPHA_ANNOTATION.about(&object.origin, text));
                    }
                }
            }
        }
    }
}

fn has_init(pod: &Value) -> bool {
    let containers = pod["spec"]["initContainers"].as_array();
    containers.into_iter().flatten().any(|container| container["name"] == "istio-init")
}

/// Whether the value is one the injector accepts.
fn check(name: &str, value: &str) -> Result<(), String> {
    let number = || match value.parse::<u32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{value:?} is no number")),
    };
    match name {
        "readiness.status.sidecar.istio.io/failureThreshold"
        | "readiness.status.sidecar.istio.io/initialDelaySeconds"
        | "readiness.status.sidecar.istio.io/periodSeconds" => number(),
        "status.sidecar.istio.io/port" => port(value),
        "sidecar.istio.io/inject" | "sidecar.istio.io/rewriteAppHTTPProbers" => {
            match value.parse::<bool>() {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("{value:?} is neither true nor false")),
            }
        }
        "sidecar.istio.io/interceptionMode" => match value {
            "REDIRECT" | "TPROXY" | "NONE" => Ok(()),
            _ => Err(format!("{value:?} is neither REDIRECT, TPROXY nor NONE")),
        },
        "traffic.sidecar.istio.io/includeInboundPorts"
        | "traffic.sidecar.istio.io/excludeInboundPorts"
        | "traffic.sidecar.istio.io/includeOutboundPorts"
        | "traffic.sidecar.istio.io/excludeOutboundPorts" => each(value, port),
        "traffic.sidecar.istio.io/includeOutboundIPRanges"
        | "traffic.sidecar.istio.io/excludeOutboundIPRanges" => {
            each(value, |range| match is_ip_or_cidr(range) {
                true => Ok(()),
                false => Err(format!("{range:?} is neither an address nor a block of addresses")),
            })
        }
        _ => Ok(()),
    }
}

fn port(value: &str) -> Result<(), String> {
    match value.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{value:?} is no port number")),
    }
}

/// Nothing, everything, or a list of which each element passes.
fn each(value: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    match value.trim() {
        "" | "*" => Ok(()),
        list => list.split(',').try_for_each(|element| check(element.trim())),
    }
}
