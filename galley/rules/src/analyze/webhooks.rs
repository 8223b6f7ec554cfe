//! Webhooks: injectors that get in each other's way, and those of a control plane elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_api::labels::{INJECTION, REV, SIDECAR_INJECT};
use mesh_api::selector::Labels;
use serde_json::Value;

use super::injection::selects;
use super::messages::{EXTERNAL_ADDRESS, EXTERNAL_CONTROL_PLANE, INVALID_WEBHOOK};
use super::world::{Resource, World};
use crate::report::Report;

const GROUP: &str = "admissionregistration.k8s.io";

/// Revisions beyond this many are not tried against each other.
const MAX_REVISIONS: usize = 16;

/// Injectors that would inject one pod twice, or whose service does not exist.
pub(super) fn injectors(world: &World, report: &mut Report) {
    let all: Vec<(&Resource, &Value)> = world
        .of(GROUP, "MutatingWebhookConfiguration")
        .iter()
        .filter(|object| {
            let name = &object.origin.name;
            name.starts_with("istio-sidecar-injector") || name.starts_with("istio-revision-tag")
        })
        .flat_map(|object| {
            let webhooks = object.value["webhooks"].as_array().into_iter().flatten();
            webhooks.map(move |webhook| (object, webhook))
        })
        .collect();
    let title = |index: usize| {
        let (object, webhook) = all[index];
        format!("{}/{}", object.origin.name, webhook["name"].as_str().unwrap_or_default())
    };
    for (index, others) in overlaps(&all) {
        let others: Vec<_> = others.into_iter().map(title).collect();
        let text = format!(
            "Webhook {} overlaps with others: [{}]. This may cause injection to occur twice.",
            title(index),
            others.join(", ")
        );
        report.add(INVALID_WEBHOOK.about(&all[index].0.origin, text));
    }
    for (object, webhook) in &all {
        let service = &webhook["clientConfig"]["service"];
        let (Some(name), Some(namespace)) =
            (service["name"].as_str(), service["namespace"].as_str())
        else {
            continue;
        };
        let exists = world
            .of("", "Service")
            .iter()
            .any(|one| one.origin.name == name && one.origin.namespace == namespace);
        if !exists {
            let text = format!(
                "Injector refers to a control plane service that does not exist: {name}.{namespace}."
            );
            report.add(INVALID_WEBHOOK.about(&object.origin, text));
        }
    }
}

/// For each webhook, those that some pod of some namespace would go through as well.
fn overlaps(all: &[(&Resource, &Value)]) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut revisions = vec![None];
    revisions.extend(named_revisions(all).into_iter().take(MAX_REVISIONS).map(Some));
    let with_revision = |key: &str, choices: [Option<&str>; 3]| {
        let mut sets: Vec<Labels> = Vec::new();
        for choice in choices {
            for revision in &revisions {
                let choice = choice.map(|value| (key.to_owned(), value.to_owned()));
                let revision = revision.clone().map(|value| (REV.to_owned(), value));
                sets.push(choice.into_iter().chain(revision).collect());
            }
        }
        sets
    };
    let namespaces = with_revision(INJECTION, [None, Some("enabled"), Some("disabled")]);
    let objects = with_revision(SIDECAR_INJECT, [None, Some("true"), Some("false")]);
    let mut found: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for namespace in &namespaces {
        for object in &objects {
            let matching: Vec<usize> = (0..all.len())
                .filter(|index| {
                    let webhook = all[*index].1;
                    selects(&webhook["namespaceSelector"], namespace)
                        && selects(&webhook["objectSelector"], object)
                })
                .collect();
            for index in matching.iter().filter(|_| matching.len() > 1) {
                let others = matching.iter().copied().filter(|other| other != index);
                found.entry(*index).or_default().extend(others);
            }
        }
    }
    found
}

/// Revisions that selectors of the webhooks name.
fn named_revisions(all: &[(&Resource, &Value)]) -> BTreeSet<String> {
    let mut revisions = BTreeSet::new();
    for (_, webhook) in all {
        for selector in [&webhook["namespaceSelector"], &webhook["objectSelector"]] {
            revisions.extend(selector["matchLabels"][REV].as_str().map(str::to_owned));
            for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
                if expression["key"] == REV {
                    let values = expression["values"].as_array().into_iter().flatten();
                    revisions.extend(values.filter_map(Value::as_str).map(str::to_owned));
                }
            }
        }
    }
    revisions
}

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
