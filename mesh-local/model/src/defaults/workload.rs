//! Defaults of Deployments, ReplicaSets, DaemonSets, StatefulSets, Jobs and autoscalers.

use serde_json::{Value, json};

use super::{Object, child, pod::template, set, set_absent, word};

const REVISIONS: i64 = 10;

pub(super) fn deployment(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    set_absent(spec, "replicas", 1);
    rolling(spec, "strategy", &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
    set_absent(spec, "revisionHistoryLimit", REVISIONS);
    set_absent(spec, "progressDeadlineSeconds", 600);
    template(spec);
}

pub(super) fn replica_set(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    set_absent(spec, "replicas", 1);
    template(spec);
}

pub(super) fn daemon_set(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    rolling(spec, "updateStrategy", &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
    set_absent(spec, "revisionHistoryLimit", REVISIONS);
    template(spec);
}

pub(super) fn stateful_set(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    set(spec, "podManagementPolicy", "OrderedReady");
    rolling(spec, "updateStrategy", &[("partition", json!(0))]);
    if let Some(claims) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        set(claims, "whenDeleted", "Retain");
        set(claims, "whenScaled", "Retain");
    }
    set_absent(spec, "replicas", 1);
    set_absent(spec, "revisionHistoryLimit", REVISIONS);
    template(spec);
}

/// An update strategy, with the numbers of its rolling form.
fn rolling(spec: &mut Object, field: &str, numbers: &[(&str, Value)]) {
    let Some(strategy) = child(spec, field) else { return };
    set(strategy, "type", "RollingUpdate");
    if word(strategy, "type") != "RollingUpdate" {
        return;
    }
    let Some(rolling) = child(strategy, "rollingUpdate") else { return };
    for (key, value) in numbers {
        set_absent(rolling, key, value.clone());
    }
}

pub(super) fn job(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    let absent = |key: &str| spec.get(key).is_none_or(Value::is_null);
    if absent("completions") && absent("parallelism") {
        spec.insert("completions".to_owned(), json!(1));
    }
    set_absent(spec, "parallelism", 1);
    let per_index = spec.get("backoffLimitPerIndex").is_some_and(|v| !v.is_null());
    set_absent(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    set(spec, "completionMode", "NonIndexed");
    set_absent(spec, "suspend", false);
    set_absent(spec, "manualSelector", false);
    let by_policy = spec.get("podFailurePolicy").is_some_and(|v| !v.is_null());
    set(spec, "podReplacementPolicy", if by_policy { "Failed" } else { "TerminatingOrFailed" });
    template(spec);
}

/// The labels by which a Job finds its pods, and the selector for them, from its uid and name.
pub(super) fn job_identity(root: &mut Object) {
    const UID: &str = "batch.kubernetes.io/controller-uid";
    let Some(meta) = child(root, "metadata") else { return };
    let (uid, name) = (word(meta, "uid").to_owned(), word(meta, "name").to_owned());
    let Some(spec) = child(root, "spec") else { return };
    if spec.get("manualSelector").and_then(Value::as_bool) == Some(true) {
        return;
    }
    let template = child(spec, "template");
    let labels = template.and_then(|t| child(t, "metadata")).and_then(|m| child(m, "labels"));
    let Some(labels) = labels else { return };
    for (key, value) in [
        (UID, &uid),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("job-name", &name),
    ] {
        labels.insert(key.to_owned(), json!(value));
    }
    if let Some(labels) = child(spec, "selector").and_then(|s| child(s, "matchLabels")) {
        labels.insert(UID.to_owned(), json!(uid));
    }
}

pub(super) fn autoscaler(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    set_absent(spec, "minReplicas", 1);
    let no_metrics = spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if no_metrics {
        let cpu = json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}
        }}]);
        spec.insert("metrics".to_owned(), cpu);
    }
}
