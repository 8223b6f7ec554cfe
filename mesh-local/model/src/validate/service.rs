//! Services and endpoint slices: ports, node ports, addresses, and what may not change.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};

use super::{Errors, FieldPath, has, list, name, text};

const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;
const MAX_ENDPOINTS: usize = 1000;

pub(super) fn check(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let field = FieldPath::new("spec");
    let spec = &new["spec"];
    let kind = text(&spec["type"]);
    errors.one_of(
        &field.child("type"),
        &spec["type"],
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    let headless = spec["clusterIP"] == "None";
    if kind != "ExternalName" && !headless && list(&spec["ports"]).is_empty() {
        errors.required(&field.child("ports"), "");
    }
    ports(&field.child("ports"), spec, kind, errors);
    errors.labels(&field.child("selector"), &spec["selector"]);
    errors.one_of(&field.child("sessionAffinity"), &spec["sessionAffinity"], &["ClientIP", "None"]);
    match kind {
        "ExternalName" => external(&field, spec, errors),
        "LoadBalancer" | "NodePort" if headless => errors.invalid(
            &field.child("clusterIPs").index(0),
            &json!("None"),
            &format!("may not be set to 'None' for {kind} services"),
        ),
        _ => {}
    }
    addresses(&field, spec, errors);
    if matches!(kind, "ClusterIP") && has(spec, "externalTrafficPolicy") {
        let no_external = list(&spec["externalIPs"]).is_empty();
        if no_external {
            errors.invalid(
                &field.child("externalTrafficPolicy"),
                &spec["externalTrafficPolicy"],
                "may only be set for externally-accessible services",
            );
        }
    }
    if let Some(old) = old {
        update(&field, spec, &old["spec"], errors);
    }
}

fn ports(field: &FieldPath, spec: &Value, kind: &str, errors: &mut Errors) {
    let all = list(&spec["ports"]);
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let field = field.index(index);
        let at = field.child("name");
        match text(&port["name"]) {
            "" if all.len() > 1 => errors.required(&at, ""),
            "" => {}
            given => {
                errors.name(&at, &port["name"], name::label_1123);
                if !names.insert(given) {
                    errors.duplicate(&at, &port["name"]);
                }
            }
        }
        errors.port(&field.child("port"), &port["port"]);
        let protocol = text(&port["protocol"]);
        errors.one_of(&field.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        if has(port, "targetPort") {
            errors.port_or_name(&field.child("targetPort"), &port["targetPort"]);
        }
        let key = (protocol, port["port"].as_i64());
        if !numbers.insert(key) {
            errors.duplicate(&field, &json!({"protocol": protocol, "port": port["port"]}));
        }
        let at = field.child("nodePort");
        let Some(number) = port["nodePort"].as_i64().filter(|n| *n != 0) else { continue };
        if matches!(kind, "ClusterIP" | "ExternalName") {
            errors.forbidden(&at, &format!("may not be used when `type` is '{kind}'"));
        } else if !NODE_PORTS.contains(&number) {
            errors.invalid(
                &at,
                &port["nodePort"],
                &format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    NODE_PORTS.start(),
                    NODE_PORTS.end()
                ),
            );
        } else if !node_ports.insert((protocol, number)) {
            errors.duplicate(&at, &port["nodePort"]);
        }
    }
}

fn external(field: &FieldPath, spec: &Value, errors: &mut Errors) {
    let at = field.child("externalName");
    let value = &spec["externalName"];
    match text(value).trim_end_matches('.') {
        "" => errors.required(&at, ""),
        given => {
            for problem in name::subdomain_1123(given) {
                errors.invalid(&at, value, &problem);
            }
        }
    }
    if !text(&spec["clusterIP"]).is_empty() {
        errors
            .forbidden(&field.child("clusterIPs"), "may not be set when `type` is 'ExternalName'");
    }
}

fn addresses(field: &FieldPath, spec: &Value, errors: &mut Errors) {
    let is_ip = |value: &Value| text(value).parse::<IpAddr>().is_ok();
    const WRONG: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    let cluster = &spec["clusterIP"];
    if !text(cluster).is_empty() && cluster != "None" && !is_ip(cluster) {
        errors.invalid(&field.child("clusterIPs").index(0), cluster, WRONG);
    }
    for (index, address) in list(&spec["externalIPs"]).iter().enumerate() {
        if !is_ip(address) {
            errors.invalid(&field.child("externalIPs").index(index), address, WRONG);
        }
    }
}

fn update(field: &FieldPath, new: &Value, old: &Value, errors: &mut Errors) {
    let external = |spec: &Value| spec["type"] == "ExternalName";
    let (before, after) = (text(&old["clusterIP"]), text(&new["clusterIP"]));
    if before.is_empty() || external(old) || external(new) {
        return;
    }
    if before != after {
        let shown =
            if new["clusterIPs"].is_null() { json!([after]) } else { new["clusterIPs"].clone() };
        errors.invalid(&field.child("clusterIPs").index(0), &shown, "may not change once set");
    }
}

pub(super) fn endpoint_slice(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let kind = FieldPath::new("addressType");
    errors.one_of(&kind, &new["addressType"], &["FQDN", "IPv4", "IPv6"]);
    if let Some(old) = old {
        errors.immutable(&kind, &new["addressType"], &old["addressType"]);
    }
    let field = FieldPath::new("endpoints");
    let endpoints = list(&new["endpoints"]);
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(super::FieldError::new(
            super::FieldErrorKind::TooMany,
            &field,
            Some(json!(endpoints.len())),
            format!("must have at most {MAX_ENDPOINTS} items"),
        ));
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = field.index(index).child("addresses");
        let addresses = list(&endpoint["addresses"]);
        if addresses.is_empty() {
            errors.required(&field, "must contain at least 1 address");
        }
        for (index, address) in addresses.iter().enumerate() {
            let parsed = text(address).parse::<IpAddr>();
            let good = match text(&new["addressType"]) {
                "IPv4" => parsed.is_ok_and(|ip| ip.is_ipv4()),
                "IPv6" => parsed.is_ok_and(|ip| ip.is_ipv6()),
                _ => true,
            };
            if !good {
                let family = text(&new["addressType"]);
                let article = format!("must be an {family} address");
                errors.invalid(&field.index(index), address, &article);
            }
        }
    }
    let mut names = BTreeSet::new();
    for (index, port) in list(&new["ports"]).iter().enumerate() {
        let at = FieldPath::new("ports").index(index).child("name");
        if !names.insert(text(&port["name"])) {
            errors.duplicate(&at, &port["name"]);
        }
    }
}
