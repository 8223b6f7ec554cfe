//! Defaults of Services, endpoints and network policies. Addresses are allocation, not defaults.

use serde_json::{Value, json};

use super::{Object, child, each, existing, set, set_absent, word};

const AFFINITY_SECONDS: i64 = 3 * 3600;

pub(super) fn service(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    set(spec, "sessionAffinity", "None");
    set(spec, "type", "ClusterIP");
    if word(spec, "sessionAffinity") == "ClientIP" {
        let config = child(spec, "sessionAffinityConfig");
        if let Some(client) = config.and_then(|c| child(c, "clientIP")) {
            set_absent(client, "timeoutSeconds", AFFINITY_SECONDS);
        }
    }
    for port in each(spec, "ports") {
        set(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        let unset = match port.get("targetPort") {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(target) => *target == json!(0),
        };
        if unset && number.is_number() {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = word(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_absent(spec, "allocateLoadBalancerNodePorts", true);
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
}

pub(super) fn endpoints(root: &mut Object) {
    for subset in each(root, "subsets") {
        for port in each(subset, "ports") {
            set(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice(root: &mut Object) {
    for port in each(root, "ports") {
        set_absent(port, "name", "");
        set(port, "protocol", "TCP");
    }
}

pub(super) fn network_policy(root: &mut Object) {
    let Some(spec) = existing(root, "spec") else { return };
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                set(port, "protocol", "TCP");
            }
        }
    }
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    set_absent(spec, "policyTypes", types);
}
