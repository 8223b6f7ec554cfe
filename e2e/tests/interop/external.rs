//! Services outside the mesh, and workloads that are no pods: one of every kind of ServiceEntry,
//! and where our proxy sends what is meant for them.

use pilot_model::store::Object;
use serde_json::{Value, json};

use crate::compiled::{Ask, Compiled, end};
use crate::world::{self, read};

const PRODUCTPAGE: (&str, &str, &str, &str) = ("default", "productpage", "v1", "10.1.0.1");

fn networking(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": { "name": name, "namespace": "default" }, "spec": spec,
    })
}

fn entry(name: &str, spec: &Value) -> Object {
    Object::ServiceEntry(read(networking("ServiceEntry", name, spec)))
}

fn port(number: u16, protocol: &str) -> Value {
    let name = format!("{}-{number}", protocol.to_lowercase());
    json!({ "number": number, "name": name, "protocol": protocol })
}

fn http_entries() -> Vec<Object> {
    let origination =
        json!({ "number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443 });
    vec![
        entry(
            "edition",
            &json!({
                "hosts": ["edition.example"], "resolution": "DNS",
                "ports": [origination, port(443, "HTTPS")],
            }),
        ),
        entry(
            "anything",
            &json!({
                "hosts": ["*.wild.example"], "resolution": "NONE",
                "ports": [port(80, "HTTP"), port(443, "TLS")],
            }),
        ),
        entry(
            "fixed",
            &json!({
                "hosts": ["fixed.example"], "resolution": "STATIC", "location": "MESH_EXTERNAL",
                "ports": [port(80, "HTTP"), port(8888, "HTTP2")],
                "endpoints": [
                    {
                        "address": "203.0.113.1", "ports": { "http-80": 8080 }, "weight": 3,
                        "locality": "us/east", "labels": { "version": "v1" },
                    },
                    { "address": "203.0.113.2", "labels": { "version": "v2" } },
                    { "address": "unix:///run/fixed.sock" },
                ],
            }),
        ),
        entry(
            "listed",
            &json!({
                "hosts": ["listed.example"], "resolution": "DNS", "ports": [port(80, "HTTP")],
                "endpoints": [
                    { "address": "a.listed.example", "ports": { "http-80": 8080 } },
                    { "address": "203.0.113.3", "locality": "eu" },
                ],
            }),
        ),
        entry(
            "one",
            &json!({
                "hosts": ["one.example", "another.example"], "resolution": "DNS_ROUND_ROBIN",
                "ports": [port(80, "HTTP")],
            }),
        ),
    ]
}

fn byte_entries() -> Vec<Object> {
    let mut named = networking(
        "ServiceEntry",
        "named",
        &json!({
            "hosts": ["www.named.example", "mail.named.example"], "resolution": "DNS",
            "ports": [port(443, "HTTPS")],
        }),
    );
    named["metadata"]["labels"] = json!({ "networking.istio.io/enable-autoallocate-ip": "false" });
    vec![
        Object::ServiceEntry(read(named)),
        entry(
            "database",
            &json!({
                "hosts": ["database.example"], "resolution": "STATIC",
                "addresses": ["203.0.113.50"], "ports": [port(5000, "TCP")],
                "endpoints": [{ "address": "203.0.113.51" }, { "address": "203.0.113.52" }],
            }),
        ),
        entry(
            "network",
            &json!({
                "hosts": ["network.example"], "resolution": "NONE",
                "addresses": ["198.51.100.0/24", "2001:db8::/32"],
                "ports": [port(5000, "TCP"), port(443, "TLS"), port(5002, "")],
            }),
        ),
        entry(
            "anywhere",
            &json!({
                "hosts": ["anywhere.example"], "resolution": "NONE",
                "ports": [port(5001, "TCP"), port(5003, "")],
            }),
        ),
    ]
}

fn inside() -> Vec<Object> {
    let workload = |name: &str, spec: &Value| {
        Object::WorkloadEntry(read(networking("WorkloadEntry", name, spec)))
    };
    vec![
        entry(
            "machines",
            &json!({
                "hosts": ["machines.internal"], "location": "MESH_INTERNAL",
                "resolution": "STATIC", "ports": [port(80, "HTTP")],
                "workloadSelector": { "labels": { "app": "machines" } },
                "subjectAltNames": ["spiffe://cluster.local/ns/default/sa/others"],
            }),
        ),
        workload(
            "vm-1",
            &json!({
                "address": "10.2.0.1", "labels": { "app": "machines" },
                "serviceAccount": "machines", "ports": { "http-80": 8080 },
            }),
        ),
        workload("vm-2", &json!({ "address": "10.2.0.2", "labels": { "app": "machines" } })),
        // Behind a service of Kubernetes.
        workload(
            "vm-3",
            &json!({
                "address": "10.2.0.3", "labels": { "app": "ratings", "version": "vm" },
                "serviceAccount": "bookinfo-ratings",
            }),
        ),
    ]
}

fn rules() -> Vec<Object> {
    let virtual_service = |name: &str, spec: &Value| {
        Object::VirtualService(read(networking("VirtualService", name, spec)))
    };
    let destination_rule = |name: &str, spec: &Value| {
        Object::DestinationRule(read(networking("DestinationRule", name, spec)))
    };
    vec![
        destination_rule(
            "edition",
            &json!({ "host": "edition.example", "trafficPolicy": { "portLevelSettings": [
                { "port": { "number": 80 }, "tls": { "mode": "SIMPLE" } },
            ] } }),
        ),
        destination_rule(
            "anything",
            &json!({ "host": "*.wild.example", "trafficPolicy": { "portLevelSettings": [
                { "port": { "number": 80 }, "tls": { "mode": "SIMPLE" } },
            ] } }),
        ),
        destination_rule(
            "fixed",
            &json!({ "host": "fixed.example", "subsets": [
                { "name": "v1", "labels": { "version": "v1" } },
                { "name": "v2", "labels": { "version": "v2" } },
            ] }),
        ),
        destination_rule(
            "one",
            &json!({ "host": "one.example", "subsets": [
                { "name": "none", "labels": { "version": "none" } },
            ] }),
        ),
        virtual_service(
            "fixed",
            &json!({ "hosts": ["fixed.example"], "http": [{
                "timeout": "3s",
                "route": [
                    { "destination": { "host": "fixed.example", "subset": "v1" }, "weight": 80 },
                    { "destination": { "host": "fixed.example", "subset": "v2" }, "weight": 20 },
                ],
            }] }),
        ),
        virtual_service(
            "named",
            &json!({ "hosts": ["www.named.example"], "tls": [{
                "match": [{ "port": 443, "sniHosts": ["www.named.example", "cdn.named.example"] }],
                "route": [{ "destination": { "host": "mail.named.example" } }],
            }] }),
        ),
    ]
}

/// ServiceEntries of every resolution, WorkloadEntries, and rules for them.
pub(crate) fn objects() -> Vec<Object> {
    let all = [http_entries(), byte_entries(), inside(), rules()];
    all.into_iter().flatten().collect()
}

fn ways(compiled: &mut Compiled) -> Vec<String> {
    let mut all = Vec::new();
    for (to, authority) in [
        ("192.0.2.1:80", "edition.example"),
        ("192.0.2.1:80", "x.wild.example:80"),
        ("192.0.2.1:80", "fixed.example"),
        ("192.0.2.1:8888", "fixed.example:8888"),
        ("192.0.2.1:80", "listed.example"),
        ("192.0.2.1:80", "another.example"),
        ("192.0.2.1:80", "machines.internal"),
        ("10.96.0.4:9080", "ratings:9080"),
        ("192.0.2.1:80", "elsewhere.example"),
        ("198.51.100.7:5002", "any"),
        ("192.0.2.1:5003", "anywhere.example:5003"),
    ] {
        let ask = Ask { to, authority, path: "/", headers: &[] };
        all.push(end(&compiled.request(&ask)));
    }
    for (to, name) in [
        ("192.0.2.1:443", "www.named.example"),
        ("192.0.2.1:443", "mail.named.example"),
        ("192.0.2.1:443", "a.wild.example"),
        ("192.0.2.1:443", "elsewhere.example"),
        ("198.51.100.7:443", "network.example"),
    ] {
        all.push(end(&compiled.hello(to, name)));
    }
    for to in [
        "203.0.113.50:5000",
        "198.51.100.7:5000",
        "192.0.2.1:5000",
        "192.0.2.1:5001",
        "198.51.100.7:5002",
        "192.0.2.1:5003",
    ] {
        all.push(end(&compiled.connection(to)));
    }
    all
}

const WAYS: [&str; 22] = [
    "100% outbound|80||edition.example edition.example:443=default",
    "100% outbound|80||*.wild.example",
    "80% outbound|80|v1|fixed.example 203.0.113.1:8080=default, \
     20% outbound|80|v2|fixed.example 203.0.113.2:80=default",
    "80% outbound|8888|v1|fixed.example 203.0.113.1:8888=default, \
     20% outbound|8888|v2|fixed.example 203.0.113.2:8888=default",
    "100% outbound|80||listed.example a.listed.example:8080=default 203.0.113.3:80=default",
    "100% outbound|80||another.example another.example:80=default",
    "100% outbound|80||machines.internal 10.2.0.1:8080=tlsMode-istio 10.2.0.2:80=tlsMode-disabled",
    "100% outbound|9080||ratings.default.svc.cluster.local \
     10.1.0.4:9080=default 10.2.0.3:9080=default",
    "100% PassthroughCluster",
    "100% outbound|5002||network.example",
    "100% outbound|5003||anywhere.example",
    "100% outbound|443||mail.named.example mail.named.example:443=default",
    "100% outbound|443||mail.named.example mail.named.example:443=default",
    "100% outbound|443||*.wild.example",
    "100% PassthroughCluster",
    "100% outbound|443||network.example",
    "100% outbound|5000||database.example 203.0.113.51:5000=default 203.0.113.52:5000=default",
    "100% outbound|5000||network.example",
    "100% PassthroughCluster",
    "100% outbound|5001||anywhere.example",
    "100% outbound|5002||network.example",
    "100% outbound|5003||anywhere.example",
];

fn assert_ways(compiled: &mut Compiled) {
    let found = ways(compiled);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, WAYS);
}

#[test]
fn services_of_service_entries_are_reached() {
    let world = world::snapshot(world::objects());
    for own in [true, false] {
        assert_ways(&mut Compiled::whole(&world, &world::sidecar(PRODUCTPAGE, own)));
    }
}

#[test]
fn services_of_service_entries_are_reached_on_demand() {
    let world = world::snapshot(world::objects());
    assert_ways(&mut Compiled::on_demand(&world, &world::on_demand(PRODUCTPAGE)));
}
