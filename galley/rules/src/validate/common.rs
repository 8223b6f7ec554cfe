//! Rules that several kinds share: metadata, exportTo, selectors, target references, matches.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_api::annotations;
use mesh_api::crd::common::{Destination, PolicyTargetReference, StringMatch};

use super::check::At;
use super::text;

/// Annotations that only the control plane's own objects carry.
const INTERNAL: [&str; 3] = [
    "internal.istio.io/webhook-always-reject",
    "internal.istio.io/parents",
    "internal.istio.io/parent-namespace",
];

/// Annotations that objects of users must not have. `dry_run` says whether the kind has a dry run.
pub(super) fn metadata(metadata: &ObjectMeta, dry_run: bool, at: &mut At<'_>) {
    for (key, value) in metadata.annotations.iter().flatten() {
        let mut at = at.field("annotations");
        let mut at = at.key(key);
        if INTERNAL.contains(&key.as_str()) {
            at.error("is for the control plane's own objects");
        }
        if key == annotations::DRY_RUN {
            if !dry_run {
                at.error("a dry run is only supported by AuthorizationPolicy");
            } else if !["true", "false"].contains(&value.as_str()) {
                at.error(format!("{value:?} is neither \"true\" nor \"false\""));
            }
        }
    }
}

/// Namespaces that see an object. `none` says whether `~` is allowed.
pub(super) fn export_to(own: &str, entries: &[String], none: bool, at: &mut At<'_>) {
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut at = at.index(index);
        match entry.as_str() {
            "." | "*" => {}
            "~" if none => {}
            "~" => at.error("\"~\" is only supported by ServiceEntry"),
            name => at.require(text::dns_label(name)),
        }
        let whole = if entry == "." { own } else { entry.as_str() };
        if !seen.insert(whole) {
            at.error(format!("duplicate entries in exportTo: {entry}"));
        }
    }
    if entries.len() > 1 {
        for alone in ["*", "~"] {
            if seen.contains(alone) {
                at.error(format!("{alone:?} cannot be combined with other namespaces"));
            }
        }
    }
}

/// Labels of objects, or of the workloads a rule is for.
pub(super) fn labels(labels: &BTreeMap<String, String>, at: &mut At<'_>) {
    for (key, value) in labels {
        let mut at = at.key(key);
        at.require(text::label_key(key));
        at.require(text::label_value(value));
    }
}

/// Labels of a selector; one without any is odd where it is set at all.
pub(super) fn selector(selector: Option<&BTreeMap<String, String>>, at: &mut At<'_>) {
    let Some(selector) = selector else { return };
    at.warn_if(selector.is_empty(), "workload selector specified without labels");
    for (key, value) in selector {
        let mut at = at.key(key);
        at.error_if(key.is_empty(), "empty key is not supported in selector");
        if key.contains('*') || value.contains('*') {
            at.error(format!("wildcard is not supported in selector: {key}={value}"));
            continue;
        }
        if !key.is_empty() {
            at.require(text::label_key(key));
        }
        at.require(text::label_value(value));
    }
}

/// What a policy is attached to.
pub(super) struct Target<'a> {
    pub(super) selector: Option<&'a BTreeMap<String, String>>,
    pub(super) one: Option<&'a PolicyTargetReference>,
    pub(super) many: &'a [PolicyTargetReference],
}

/// Selector and target references, of which only one may be used. `at` is the spec.
pub(super) fn target(target: &Target<'_>, at: &mut At<'_>) {
    let used = [target.selector.is_some(), target.one.is_some(), !target.many.is_empty()];
    if used.into_iter().filter(|used| *used).count() > 1 {
        at.error("only one of targetRefs or selector can be set");
    }
    selector(target.selector, &mut at.field("selector").field("matchLabels"));
    if let Some(reference) = target.one {
        target_reference(reference, &mut at.field("targetRef"));
    }
    for (index, reference) in target.many.iter().enumerate() {
        target_reference(reference, &mut at.field("targetRefs").index(index));
    }
}

fn target_reference(reference: &PolicyTargetReference, at: &mut At<'_>) {
    at.field("name").error_if(reference.name.is_empty(), "targetRef name must be set");
    at.field("namespace").error_if(
        reference.namespace.as_deref().is_some_and(|namespace| !namespace.is_empty()),
        "cross namespace referencing is not currently supported",
    );
    let group = reference.group.as_deref().unwrap_or_default();
    let known = matches!(
        (group, reference.kind.as_str()),
        ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
            | ("" | "core", "Service")
            | ("networking.istio.io", "ServiceEntry")
    );
    if !known {
        let kind = &reference.kind;
        at.error(format!("targetRef to {kind} of group {group:?} is not supported"));
    }
}

/// A condition on a text.
pub(super) fn string_match(condition: &StringMatch, at: &mut At<'_>) {
    if let Some(prefix) = &condition.prefix {
        at.field("prefix").error_if(prefix.is_empty(), "prefix string match should not be empty");
    }
    if let Some(regex) = &condition.regex {
        at.field("regex").require(text::regex(regex));
    }
}

/// Where traffic goes.
pub(super) fn destination(destination: &Destination, at: &mut At<'_>) {
    match destination.host.as_str() {
        "*" => at.field("host").error("invalid destination host *"),
        host => at.field("host").require(text::wildcard(host)),
    }
    if let Some(subset) = destination.subset.as_deref().filter(|subset| !subset.is_empty()) {
        subset_name(subset, &mut at.field("subset"));
    }
    if let Some(port) = &destination.port {
        at.field("port").field("number").require(text::port(port.number.unwrap_or_default()));
    }
}

/// The name of a subset.
pub(super) fn subset_name(name: &str, at: &mut At<'_>) {
    at.error_if(name.is_empty(), "subset name cannot be empty");
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !name.bytes().all(fits) || name.len() > 63 {
        at.error(format!("subset name {name:?} is invalid: use letters, digits, '-', '_' and '.'"));
    }
}

/// A share of requests in percent.
pub(super) fn percentage(value: Option<f64>, at: &mut At<'_>) {
    let value = value.unwrap_or_default();
    if !(value == 0.0 || (0.0001..=100.0).contains(&value)) {
        at.field("value").error(format!("percentage {value} must be 0, or from 0.0001 to 100"));
    }
}

/// Names that occur more than once are reported at the second place.
pub(super) fn unique<'a>(values: impl Iterator<Item = &'a str>, what: &str, at: &mut At<'_>) {
    let mut seen = BTreeSet::new();
    for (index, value) in values.enumerate() {
        if !value.is_empty() && !seen.insert(value) {
            at.index(index).error(format!("duplicate {what}: {value}"));
        }
    }
}
