//! Services, endpoints, endpoint slices, ingresses and network policies.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Columns, age, join, list, name, or_none, pairs, selector, text};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "Service" => Columns::builtin(
            &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"],
            service,
        ),
        "Endpoints" => Columns::builtin(&["Name", "Endpoints", "Age"], |object, now| {
            vec![name(object), json!(endpoints(object)), age(object, now)]
        }),
        "EndpointSlice" => {
            Columns::builtin(&["Name", "AddressType", "Ports", "Endpoints", "Age"], slice)
        }
        "Ingress" => {
            Columns::builtin(&["Name", "Class", "Hosts", "Address", "Ports", "Age"], ingress)
        }
        "IngressClass" => {
            Columns::builtin(&["Name", "Controller", "Parameters", "Age"], ingress_class)
        }
        "NetworkPolicy" => Columns::builtin(&["Name", "Pod-Selector", "Age"], |object, now| {
            vec![name(object), selector(&object["spec"]["podSelector"]), age(object, now)]
        }),
        _ => return None,
    })
}

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        text(&spec["type"]),
        match spec["clusterIPs"][0].as_str().or_else(|| spec["clusterIP"].as_str()) {
            Some(ip) if !ip.is_empty() => json!(ip),
            _ => json!("<none>"),
        },
        json!(external_ip(object)),
        json!(service_ports(&spec["ports"])),
        age(object, now),
        pairs(&spec["selector"]),
    ]
}

fn external_ip(object: &Value) -> String {
    let spec = &object["spec"];
    let external = join(list(&spec["externalIPs"]).iter().filter_map(Value::as_str));
    match spec["type"].as_str() {
        Some("LoadBalancer") => {
            let ingress = list(&object["status"]["loadBalancer"]["ingress"]);
            let given: BTreeSet<_> = ingress
                .iter()
                .filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str()))
                .collect();
            match (given.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (true, false) => external,
                (false, true) => join(given.into_iter()),
                (false, false) => format!("{},{external}", join(given.into_iter())),
            }
        }
        Some("ExternalName") => spec["externalName"].as_str().unwrap_or_default().to_owned(),
        _ if external.is_empty() => "<none>".to_owned(),
        _ => external,
    }
}

fn service_ports(ports: &Value) -> String {
    let all: Vec<_> = list(ports)
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

/// `ip:port` pairs, three of them at most.
fn endpoints(object: &Value) -> String {
    const SHOWN: usize = 3;
    let mut all = Vec::new();
    for subset in list(&object["subsets"]) {
        let addresses = list(&subset["addresses"]).iter().filter_map(|a| a["ip"].as_str());
        let ports = list(&subset["ports"]);
        for address in addresses {
            if ports.is_empty() {
                all.push(address.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{}:{}", bracketed(address), port["port"])));
        }
    }
    truncated(&all, SHOWN, "<none>")
}

fn slice(object: &Value, now: Timestamp) -> Vec<Value> {
    const SHOWN: usize = 3;
    let ports: Vec<_> = list(&object["ports"])
        .iter()
        .map(|port| port["port"].as_i64().map_or_else(|| "*".to_owned(), |p| p.to_string()))
        .collect();
    let addresses: Vec<_> = list(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| list(&endpoint["addresses"]))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        name(object),
        text(&object["addressType"]),
        json!(truncated(&ports, SHOWN, "<unset>")),
        json!(truncated(&addresses, SHOWN, "<unset>")),
        age(object, now),
    ]
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let hosts: Vec<_> = list(&spec["rules"])
        .iter()
        .filter_map(|rule| rule["host"].as_str().map(str::to_owned))
        .collect();
    let given = list(&object["status"]["loadBalancer"]["ingress"]);
    let given = given.iter().filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str()));
    let ports = if list(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name(object),
        or_none(&spec["ingressClassName"]),
        json!(truncated(&hosts, 3, "*")),
        json!(join(given)),
        json!(ports),
        age(object, now),
    ]
}

fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let parameters = &spec["parameters"];
    let shown = match (parameters["kind"].as_str(), parameters["name"].as_str()) {
        (Some(kind), Some(name)) => {
            let group = parameters["apiGroup"].as_str().map(|g| format!(".{g}"));
            format!("{kind}{}/{name}", group.unwrap_or_default())
        }
        _ => "<none>".to_owned(),
    };
    vec![name(object), text(&spec["controller"]), json!(shown), age(object, now)]
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn truncated(all: &[String], shown: usize, empty: &str) -> String {
    match all.len() {
        0 => empty.to_owned(),
        n if n <= shown => all.join(","),
        n => format!("{} + {} more...", all[..shown].join(","), n - shown),
    }
}
