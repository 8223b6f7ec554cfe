//! Pod and pod-template defaults: containers, probes, volumes, and the QoS class.

use serde_json::{Value, json};

use super::{Object, child, each, existing, set, set_absent, word};
use crate::quantity::Quantity;

const FILE_MODE: i64 = 0o644;
const TOKEN_SECONDS: i64 = 3600;

pub(super) fn pod(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
        }
    }
    set(spec, "enableServiceLinks", true);
    pod_spec(spec);
}

/// The `template` of a workload's spec.
pub(super) fn template(spec: &mut Object) {
    let Some(template) = existing(spec, "template") else { return };
    if let Some(spec) = existing(template, "spec") {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Object) {
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for each_container in each(spec, list) {
            container(each_container, host_network);
        }
    }
    for each_volume in each(spec, "volumes") {
        volume(each_volume);
    }
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set_absent(spec, "terminationGracePeriodSeconds", 30);
    set_absent(spec, "securityContext", json!({}));
    set(spec, "schedulerName", "default-scheduler");
    // The old name of the field mirrors the new one.
    match (word(spec, "serviceAccountName").to_owned(), word(spec, "serviceAccount").to_owned()) {
        (name, _) if !name.is_empty() => {
            spec.insert("serviceAccount".to_owned(), json!(name));
        }
        (_, old) if !old.is_empty() => {
            spec.insert("serviceAccountName".to_owned(), json!(old));
        }
        _ => {}
    }
}

fn container(container: &mut Object, host_network: bool) {
    let policy = if is_latest(word(container, "image")) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set_absent(container, "resources", json!({}));
    for port in each(container, "ports") {
        set(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set_absent(port, "hostPort", number);
        }
    }
    for variable in each(container, "env") {
        if let Some(source) = existing(variable, "valueFrom") {
            field_source(source);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = existing(container, name) {
            probe(found);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(hook) = existing(lifecycle, name) {
                handler(hook);
            }
        }
    }
}

fn probe(probe: &mut Object) {
    handler(probe);
    if let Some(grpc) = existing(probe, "grpc") {
        set_absent(grpc, "service", "");
    }
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        let zero = probe.get(field).is_none_or(|v| v.is_null() || *v == json!(0));
        if zero {
            probe.insert(field.to_owned(), json!(value));
        }
    }
}

fn handler(handler: &mut Object) {
    if let Some(get) = existing(handler, "httpGet") {
        set(get, "path", "/");
        set(get, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Object) {
    let has_source = volume.iter().any(|(key, value)| key != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(found) = existing(volume, source) {
            set_absent(found, "defaultMode", FILE_MODE);
        }
    }
    if let Some(downward) = existing(volume, "downwardAPI") {
        each(downward, "items").for_each(field_source);
    }
    if let Some(projected) = existing(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = existing(source, "serviceAccountToken") {
                set_absent(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(downward) = existing(source, "downwardAPI") {
                each(downward, "items").for_each(field_source);
            }
        }
    }
    if let Some(host) = existing(volume, "hostPath") {
        set_absent(host, "type", "");
    }
}

fn field_source(source: &mut Object) {
    if let Some(field) = existing(source, "fieldRef") {
        set(field, "apiVersion", "v1");
    }
    if let Some(resource) = existing(source, "resourceFieldRef") {
        set(resource, "divisor", "0");
    }
}

fn requests_from_limits(container: &mut Object) {
    let Some(resources) = existing(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let Some(requests) = child(resources, "requests") else { return };
    for (name, limit) in limits {
        set_absent(requests, &name, limit);
    }
}

/// Whether an image has the tag `latest`, or neither tag nor digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.rsplit_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from the containers' CPU and memory.
pub(super) fn qos_class(pod: &Object) -> &'static str {
    let spec = pod.get("spec");
    let containers = ["containers", "initContainers"]
        .into_iter()
        .filter_map(|list| spec?.get(list)?.as_array())
        .flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let resources = container.get("resources");
        for name in ["cpu", "memory"] {
            let read = |kind: &str| {
                let value = resources?.get(kind)?.get(name)?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Quantity::parse(&text).ok().filter(|q| *q > Quantity::default())
            };
            let (request, limit) = (read("requests"), read("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
