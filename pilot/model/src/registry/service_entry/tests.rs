//! ServiceEntries that are read, and what is told of those that cannot be.

use serde_json::{Value, json};

use super::*;

fn read(mut spec: Value) -> Result<Entry, String> {
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{ "number": 80, "name": "http", "protocol": "HTTP" }]);
    }
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": { "name": "outside", "namespace": "a" }, "spec": spec,
    });
    entry(serde_json::from_value(object).unwrap()).map_err(|e| e.to_string())
}

fn behind(entry: &Entry) -> Vec<String> {
    let service = &entry.services[0];
    let of = |e: &Endpoint| format!("{}:{} {}", e.address, e.port, e.port_name);
    entry.endpoints(service, &[]).iter().map(of).collect()
}

#[test]
fn one_service_per_host_with_every_port_and_address() {
    let entry = read(json!({
        "hosts": ["A.example", "*.b.example", "a.example"],
        "addresses": ["203.0.113.1", "203.0.113.2/32", "198.51.100.9/24", "0.0.0.0"],
        "ports": [
            { "number": 80, "name": "http", "protocol": "http", "targetPort": 8080 },
            { "number": 443, "name": "tls-x" },
            { "number": 53, "name": "dns", "protocol": "UDP" },
            { "number": 9000, "name": "x", "protocol": "gopher" },
        ],
        "exportTo": ["."],
        "location": "MESH_INTERNAL",
        "subjectAltNames": ["spiffe://x/y"],
    }))
    .unwrap();
    let hosts: Vec<&str> = entry.services.iter().map(|service| service.host.as_str()).collect();
    assert_eq!(hosts, ["a.example", "*.b.example"]);
    let service = &entry.services[0];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(service.vips, ["203.0.113.1", "203.0.113.2"].map(ip));
    assert_eq!(service.ranges, ["198.51.100.0/24".parse::<IpNet>().unwrap()]);
    let ports: Vec<(u16, Protocol)> =
        service.ports.iter().map(|port| (port.number.get(), port.protocol)).collect();
    assert_eq!(ports, [(80, Protocol::Http), (443, Protocol::Tls), (9000, Protocol::Unsupported)]);
    assert_eq!(service.ports[0].target, TargetPort::Number(PortNumber::new(8080).unwrap()));
    assert!(!service.is_external && service.is_entry() && !entry.wants_address);
    assert_eq!(service.export, Some(vec![".".to_owned()]));
    let fields: Vec<&str> = service.flaws.iter().map(|flaw| flaw.field.as_str()).collect();
    assert_eq!(fields, ["spec.ports[2].protocol", "spec.ports[3].protocol"]);
}

#[test]
fn what_is_behind_follows_from_the_resolution() {
    let ports = json!([{ "number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443 }]);
    let of = |resolution: &str, endpoints: &Value| {
        let mut spec = json!({ "hosts": ["a.example"], "resolution": resolution, "ports": ports });
        if !endpoints.is_null() {
            spec["endpoints"] = endpoints.clone();
        }
        behind(&read(spec).unwrap())
    };
    assert_eq!(of("NONE", &Value::Null), Vec::<String>::new());
    assert_eq!(of("STATIC", &Value::Null), Vec::<String>::new());
    assert_eq!(of("DNS", &Value::Null), ["a.example:443 http"]);
    assert_eq!(of("DNS_ROUND_ROBIN", &Value::Null), ["a.example:443 http"]);
    let listed = json!([
        { "address": "10.0.0.1", "ports": { "http": 9080 } },
        { "address": "b.example" },
        { "address": "unix:///run/x" },
    ]);
    assert_eq!(of("STATIC", &listed), ["10.0.0.1:9080 http", "unix:///run/x:443 http"]);
    assert_eq!(of("DNS", &listed), ["10.0.0.1:9080 http", "b.example:443 http"]);
    assert_eq!(of("DNS_ROUND_ROBIN", &listed), ["10.0.0.1:9080 http"]);
}

#[test]
fn what_cannot_be_used_is_named() {
    for (spec, told) in [
        (json!({ "hosts": [] }), "spec.hosts: is empty"),
        (json!({ "hosts": ["*"] }), "spec.hosts[0]: stands for every host"),
        (json!({ "hosts": ["a.example", "a b"] }), "spec.hosts[1]: "),
        (json!({ "hosts": ["*.a.example"], "resolution": "DNS" }), "spec.hosts[0]: is no name"),
        (json!({ "hosts": ["a.example"], "addresses": ["x"] }), "spec.addresses[0]: \"x\" is"),
        (
            json!({ "hosts": ["a.example"], "resolution": "DYNAMIC_DNS" }),
            "spec.resolution: DYNAMIC",
        ),
        (
            json!({ "hosts": ["a.example"], "ports": [{ "number": 0, "name": "x" }] }),
            "spec.ports[0].number: 0 is no port",
        ),
        (
            json!({
                "hosts": ["a.example"], "resolution": "STATIC",
                "endpoints": [{ "address": "10.0.0.1" }, { "network": "far" }],
            }),
            "spec.endpoints[1].address: is empty",
        ),
    ] {
        let error = read(spec).unwrap_err();
        assert!(error.starts_with(told), "{error}");
    }
    let flawed = read(json!({
        "hosts": ["a.example"], "resolution": "STATIC",
        "endpoints": [{ "address": "b.example" }, { "address": "10.0.0.1", "network": "far" }],
    }));
    let flawed = flawed.unwrap();
    let fields: Vec<&str> =
        flawed.services[0].flaws.iter().map(|flaw| flaw.field.as_str()).collect();
    assert_eq!(fields, ["spec.endpoints[0]", "spec.endpoints[1].network"]);
}
