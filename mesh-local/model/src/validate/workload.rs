//! Deployments, ReplicaSets, DaemonSets, StatefulSets and Jobs: selectors, templates, rollout.

use serde_json::{Value, json};

use super::{Errors, FieldPath, has, pod, text};
use crate::selector::Labels;

pub(super) fn check(kind: &str, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let field = FieldPath::new("spec");
    let spec = &new["spec"];
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        errors.not_negative(&field.child(key), &spec[key]);
    }
    selector(&field, spec, errors);
    template(&field.child("template"), &spec["template"], &["Always"], errors);
    match kind {
        "Deployment" => strategy(&field.child("strategy"), &spec["strategy"], true, errors),
        "DaemonSet" => {
            strategy(&field.child("updateStrategy"), &spec["updateStrategy"], false, errors);
        }
        _ => {}
    }
    if let (true, Some(deadline)) = (kind == "Deployment", spec["progressDeadlineSeconds"].as_i64())
    {
        errors.not_negative(
            &field.child("progressDeadlineSeconds"),
            &spec["progressDeadlineSeconds"],
        );
        if deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0) {
            errors.invalid(
                &field.child("progressDeadlineSeconds"),
                &spec["progressDeadlineSeconds"],
                "must be greater than minReadySeconds",
            );
        }
    }
    let Some(old) = old else { return };
    if kind == "StatefulSet" {
        stateful_update(&field, spec, &old["spec"], errors);
    } else {
        errors.immutable(&field.child("selector"), &spec["selector"], &old["spec"]["selector"]);
    }
}

fn selector(field: &FieldPath, spec: &Value, errors: &mut Errors) {
    let at = field.child("selector");
    let selector = &spec["selector"];
    if !selector.is_object() {
        errors.required(&at, "");
        return;
    }
    errors.selector(&at, selector);
    let Ok(parsed) = Labels::from_selector(selector) else { return };
    if parsed.is_empty() {
        errors.invalid(&at, selector, "empty selector is invalid for deployment");
        return;
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !parsed.matches(labels.as_object()) {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        errors.invalid(
            &field.child("template").child("metadata").child("labels"),
            &shown,
            "`selector` does not match template `labels`",
        );
    }
}

fn template(field: &FieldPath, template: &Value, policies: &[&str], errors: &mut Errors) {
    let labels = &template["metadata"]["labels"];
    errors.labels(&field.child("metadata").child("labels"), labels);
    pod::spec(&field.child("spec"), &template["spec"], errors);
    let policy = &template["spec"]["restartPolicy"];
    errors.one_of(&field.child("spec").child("restartPolicy"), policy, policies);
}

fn strategy(field: &FieldPath, strategy: &Value, recreate: bool, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    let at = field.child("rollingUpdate");
    match text(&strategy["type"]) {
        "Recreate" if recreate => {
            if rolling.is_object() {
                errors.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
            }
            return;
        }
        "OnDelete" if !recreate => return,
        "RollingUpdate" => {}
        _ => {
            let other = if recreate { "Recreate" } else { "OnDelete" };
            errors.one_of(&field.child("type"), &strategy["type"], &[other, "RollingUpdate"]);
            return;
        }
    }
    for key in ["maxUnavailable", "maxSurge"] {
        amount(&at.child(key), &rolling[key], key == "maxUnavailable", errors);
    }
    if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
        errors.invalid(
            &at.child("maxUnavailable"),
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        );
    }
}

/// A number of pods or a percentage.
fn amount(field: &FieldPath, value: &Value, limited: bool, errors: &mut Errors) {
    match value {
        Value::Number(_) => errors.not_negative(field, value),
        Value::String(given) => {
            let percent = given.strip_suffix('%').and_then(|n| n.parse::<u32>().ok());
            match percent {
                None => errors.invalid(
                    field,
                    value,
                    "a valid percent string must be a numeric string followed by an ending '%' \
                     (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                ),
                Some(percent) if limited && percent > 100 => {
                    errors.invalid(field, value, "must not be greater than 100%");
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()) == Some(0)
        }
        Value::Number(n) => n.as_i64() == Some(0),
        _ => true,
    }
}

/// Of a StatefulSet only a few fields may change.
fn stateful_update(field: &FieldPath, new: &Value, old: &Value, errors: &mut Errors) {
    const MAY_CHANGE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let frozen = |spec: &Value| {
        let mut spec = spec.clone();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()));
        }
        spec
    };
    if frozen(new) != frozen(old) {
        errors.forbidden(
            field,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
             'template', 'updateStrategy', 'revisionHistoryLimit', \
             'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

pub(super) fn job(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let field = FieldPath::new("spec");
    let spec = &new["spec"];
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        errors.not_negative(&field.child(key), &spec[key]);
    }
    template(&field.child("template"), &spec["template"], &["OnFailure", "Never"], errors);
    errors.one_of(
        &field.child("completionMode"),
        &spec["completionMode"],
        &["Indexed", "NonIndexed"],
    );
    if spec["completionMode"] == "Indexed" && !has(spec, "completions") {
        errors.required(
            &field.child("completions"),
            "when completion mode is Indexed, completions is required",
        );
    }
    if has(spec, "selector") {
        errors.selector(&field.child("selector"), &spec["selector"]);
        let labels = spec["template"]["metadata"]["labels"].as_object();
        let matches = Labels::from_selector(&spec["selector"]).is_ok_and(|s| s.matches(labels));
        if !matches {
            errors.invalid(
                &field.child("template").child("metadata").child("labels"),
                &spec["template"]["metadata"]["labels"],
                "`selector` does not match template `labels`",
            );
        }
    } else {
        errors.required(&field.child("selector"), "");
    }
    let Some(old) = old else { return };
    for key in ["selector", "template", "completions", "completionMode"] {
        let indexed = key == "completions" && spec["completionMode"] == "Indexed";
        let suspended = key == "template" && old["spec"]["suspend"] == true;
        if !indexed && !suspended {
            errors.immutable(&field.child(key), &spec[key], &old["spec"][key]);
        }
    }
}
