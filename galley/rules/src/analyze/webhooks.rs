//! Webhooks of a control plane that runs outside the cluster.

use std::net::IpAddr;

use serde_json::Value;

use super::messages::{EXTERNAL_ADDRESS, EXTERNAL_CONTROL_PLANE};
use super::world::{Resource, World};
use crate::report::Report;

const GROUP: &str = "admissionregistration.k8s.io";

/// Webhooks that lead nowhere, or to an address instead of a name.
pub(super) fn external_control_plane(world: &World, report: &mut Report) {
    let validating = world.of(GROUP, "ValidatingWebhookConfiguration").iter().filter(|object| {
        let name = &object.origin.name;
        name.starts_with("istio-validator") || name == "istiod-default-validator"
    });
    let mutating = world
        .of(GROUP, "MutatingWebhookConfiguration")
        .iter()
        .filter(|object| object.origin.name.starts_with("istio-sidecar-injector"));
    for object in validating.chain(mutating) {
        for webhook in object.value["webhooks"].as_array().into_iter().flatten() {
            one(object, webhook, report);
        }
    }
}

fn one(object: &Resource, webhook: &Value, report: &mut Report) {
    let name = webhook["name"].as_str().unwrap_or_default();
    let config = &webhook["clientConfig"];
    let wrong = |host: &str, why: &str| {
        let text = format!(
            "The hostname ({host}) that was provided for the webhook ({name}) to reach the ingress \
             gateway on the external control plane cluster is invalid: {why}"
        );
        EXTERNAL_CONTROL_PLANE.about(&object.origin, text)
    };
    let Some(url) = config["url"].as_str() else {
        if config["service"].is_null() {
            report.add(wrong("", "neither a URL nor a service is given"));
        }
        return;
    };
    let authority = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() {
        report.add(wrong(url, "it is no https URL"));
    } else if host.parse::<IpAddr>().is_ok() {
        let text = format!(
            "The address ({host}) that was provided for the webhook ({name}) to reach the ingress \
             gateway on the external control plane cluster is an IP address. This is not \
             recommended for a production environment."
        );
        report.add(EXTERNAL_ADDRESS.about(&object.origin, text));
    }
}
