//! Tests of the service table, and objects for the tests of what is made from it.

use serde_json::{Value, json};

use super::*;

/// A table from objects as they are written in manifests.
pub(crate) fn table(services: &[Value], slices: &[Value]) -> ServiceTable {
    let services: Vec<Service> = services.iter().map(parse).collect();
    let slices: Vec<EndpointSlice> = slices.iter().map(parse).collect();
    ServiceTable::build(&services, &slices)
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("a Kubernetes object")
}

/// A service of namespace `default` with the given spec.
pub(crate) fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
           "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// An IPv4 slice of a service of namespace `default`.
pub(crate) fn slice(service: &str, ports: Value, endpoints: Value) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": format!("{service}-x"), "namespace": "default",
                        "labels": {"kubernetes.io/service-name": service}},
           "addressType": "IPv4", "ports": ports, "endpoints": endpoints})
}

fn backends(table: &ServiceTable, name: &str) -> Vec<Vec<String>> {
    let entry = table.get("default", name).expect("the service");
    let of_port =
        |p: &ServicePortEntry| p.backends.iter().map(ToString::to_string).collect::<Vec<_>>();
    entry.ports.iter().map(of_port).collect()
}

#[test]
fn ports_are_joined_by_name_and_transport() {
    let services = [service(
        "web",
        json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": [
            {"name": "http", "port": 80, "targetPort": 8080},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "odd", "port": 9, "protocol": "SCTP"}]}),
    )];
    let slices = [
        slice(
            "web",
            json!([{"name": "http", "port": 8080, "protocol": "TCP"},
                   {"name": "dns", "port": 5353, "protocol": "UDP"}]),
            json!([{"addresses": ["10.244.0.9"]}, {"addresses": ["10.244.0.3"]}]),
        ),
        slice(
            "web",
            json!([{"name": "http", "port": 8081}]),
            json!([{"addresses": ["10.244.0.4"], "conditions": {"ready": true}},
                   {"addresses": ["10.244.0.5"], "conditions": {"ready": false}},
                   {"addresses": ["not an address"]}]),
        ),
        slice("other", json!([{"name": "http", "port": 1}]), json!([{"addresses": ["1.2.3.4"]}])),
    ];
    let table = table(&services, &slices);
    assert_eq!(
        backends(&table, "web"),
        [
            vec!["10.244.0.3:8080", "10.244.0.4:8081", "10.244.0.9:8080"],
            vec!["10.244.0.3:5353", "10.244.0.9:5353"],
        ]
    );
}

#[test]
fn draining_endpoints_serve_when_none_is_ready() {
    let services = [service("web", json!({"clusterIP": "10.96.0.20", "ports": [{"port": 80}]}))];
    let ports = json!([{"name": "", "port": 80}]);
    let draining = json!({"ready": false, "serving": true, "terminating": true});
    let gone = json!({"ready": false, "serving": false, "terminating": true});
    let cases = [
        (json!([{"addresses": ["10.0.0.1"], "conditions": draining}]), vec!["10.0.0.1:80"]),
        (json!([{"addresses": ["10.0.0.1"], "conditions": gone}]), vec![]),
        (
            json!([{"addresses": ["10.0.0.1"], "conditions": draining},
                   {"addresses": ["10.0.0.2"], "conditions": {"ready": true}}]),
            vec!["10.0.0.2:80"],
        ),
    ];
    for (endpoints, expected) in cases {
        let table = table(&services, &[slice("web", ports.clone(), endpoints.clone())]);
        assert_eq!(backends(&table, "web"), [expected], "{endpoints}");
    }
}

#[test]
fn kinds_of_services() {
    let cases = [
        (json!({"clusterIP": "None"}), Some(ServiceKind::Headless)),
        (
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"]}),
            Some(ServiceKind::ClusterIp(vec![Ipv4Addr::new(10, 96, 0, 7)])),
        ),
        (
            json!({"type": "ExternalName", "externalName": "example.org"}),
            Some(ServiceKind::ExternalName("example.org".to_owned())),
        ),
        (json!({"clusterIP": "fd00::7"}), None),
        (json!({}), None),
    ];
    for (spec, expected) in cases {
        let table = table(&[service("s", spec.clone())], &[]);
        assert_eq!(table.get("default", "s").map(|e| e.kind.clone()), expected, "{spec}");
    }
}

#[test]
fn load_balancers_of_a_class_belong_to_somebody_else() {
    let spec = |class: Value| json!({"type": "LoadBalancer", "clusterIP": "10.96.0.7", "loadBalancerClass": class});
    let table =
        table(&[service("ours", spec(Value::Null)), service("theirs", spec(json!("x")))], &[]);
    assert!(table.get("default", "ours").expect("entry").load_balancer);
    assert!(!table.get("default", "theirs").expect("entry").load_balancer);
}
