//! Tests of the cluster's names.

use serde_json::{Value, json};

use super::*;
use crate::service_proxy::tests::{service, slice, table};

/// A cluster with one service of each kind.
pub(crate) fn sample() -> Zone {
    let services = [
        service(
            "reviews",
            json!({"clusterIP": "10.96.0.20", "ports": [
                {"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}),
        ),
        service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 1}]})),
        service("idle", json!({"clusterIP": "None"})),
        service("out", json!({"type": "ExternalName", "externalName": "Example.org"})),
        service(
            "near",
            json!({"type": "ExternalName",
                   "externalName": "reviews.default.svc.cluster.local"}),
        ),
        service(
            "loop",
            json!({"type": "ExternalName",
                   "externalName": "loop.default.svc.cluster.local"}),
        ),
        service("odd", json!({"type": "ExternalName", "externalName": "not a..name"})),
    ];
    let slices = [
        slice(
            "reviews",
            json!([{"name": "http", "port": 9080}]),
            json!([{"addresses": ["10.244.0.3"]}]),
        ),
        slice(
            "db",
            json!([{"name": "sql", "port": 3306}]),
            json!([
            {"addresses": ["10.244.0.7"], "hostname": "db-0"},
            {"addresses": ["10.244.0.8"]},
            {"addresses": ["10.244.0.9"], "conditions": {"ready": false}}]),
        ),
    ];
    Zone::build(&table(&services, &slices), &NodeConfig::default())
}

fn show(data: &Data) -> String {
    match data {
        Data::Address(address) => format!("A {address}"),
        Data::Alias(name) => format!("CNAME {name}"),
        Data::Service { port, target } => format!("SRV {port} {target}"),
        Data::Pointer(name) => format!("PTR {name}"),
        Data::NameServer(name) => format!("NS {name}"),
    }
}

fn lookup(zone: &Zone, name: &str) -> Value {
    match zone.lookup(name) {
        Lookup::Foreign => json!("foreign"),
        Lookup::Missing { apex } => json!(format!("missing below {apex}")),
        Lookup::Found { data, .. } => data.iter().map(show).collect(),
    }
}

#[test]
fn names_of_all_kinds() {
    let zone = sample();
    let missing = json!("missing below cluster.local");
    let cases = [
        (
            "reviews.default.svc.cluster.local",
            json!([
                "A 10.96.0.20",
                "SRV 80 reviews.default.svc.cluster.local.",
                "SRV 53 reviews.default.svc.cluster.local."
            ]),
        ),
        (
            "_http._tcp.reviews.default.svc.cluster.local",
            json!(["SRV 80 reviews.default.svc.cluster.local."]),
        ),
        (
            "_dns._udp.reviews.default.svc.cluster.local",
            json!(["SRV 53 reviews.default.svc.cluster.local."]),
        ),
        ("_tcp.reviews.default.svc.cluster.local", json!([])),
        ("_http._udp.reviews.default.svc.cluster.local", missing.clone()),
        (
            "db.default.svc.cluster.local",
            json!([
                "A 10.244.0.7",
                "A 10.244.0.8",
                "SRV 3306 db-0.db.default.svc.cluster.local.",
                "SRV 3306 10-244-0-8.db.default.svc.cluster.local."
            ]),
        ),
        ("db-0.db.default.svc.cluster.local", json!(["A 10.244.0.7"])),
        ("10-244-0-8.db.default.svc.cluster.local", json!(["A 10.244.0.8"])),
        ("10-244-0-7.db.default.svc.cluster.local", missing.clone()),
        ("10-244-0-9.db.default.svc.cluster.local", missing.clone()),
        ("idle.default.svc.cluster.local", json!([])),
        ("out.default.svc.cluster.local", json!(["CNAME Example.org."])),
        ("odd.default.svc.cluster.local", json!([])),
        ("reviews.other.svc.cluster.local", missing.clone()),
        ("reviews.default.cluster.local", missing.clone()),
        ("default.svc.cluster.local", json!([])),
        ("svc.cluster.local", json!([])),
        ("cluster.local", json!(["NS ns.dns.cluster.local."])),
        ("ns.dns.cluster.local", json!(["A 10.96.0.10"])),
        ("10-244-0-200.default.pod.cluster.local", json!(["A 10.244.0.200"])),
        ("10-245-0-200.default.pod.cluster.local", missing.clone()),
        ("default.pod.cluster.local", json!([])),
        ("pod.cluster.local", json!([])),
        ("a.b.c.pod.cluster.local", missing),
        ("example.org", json!("foreign")),
        ("notcluster.local", json!("foreign")),
        ("local", json!("foreign")),
        ("", json!("foreign")),
    ];
    for (name, expected) in cases {
        assert_eq!(lookup(&zone, name), expected, "{name}");
    }
}

#[test]
fn reverse_names() {
    let zone = sample();
    let services = json!("missing below 96.10.in-addr.arpa");
    let cases = [
        ("20.0.96.10.in-addr.arpa", json!(["PTR reviews.default.svc.cluster.local."])),
        ("7.0.244.10.in-addr.arpa", json!(["PTR db-0.db.default.svc.cluster.local."])),
        ("21.0.96.10.in-addr.arpa", services.clone()),
        ("1.20.0.96.10.in-addr.arpa", services.clone()),
        ("x.0.96.10.in-addr.arpa", services.clone()),
        ("1.96.10.in-addr.arpa", services),
        ("0.96.10.in-addr.arpa", json!([])),
        ("96.10.in-addr.arpa", json!([])),
        ("0.244.10.in-addr.arpa", json!([])),
        ("9.1.244.10.in-addr.arpa", json!("foreign")),
        ("10.in-addr.arpa", json!("foreign")),
    ];
    for (name, expected) in cases {
        assert_eq!(lookup(&zone, name), expected, "{name}");
    }
}

#[test]
fn reverse_zones_have_whole_labels() {
    let cases = [
        ("10.244.0.0/24", "0.244.10.in-addr.arpa"),
        ("10.96.0.0/16", "96.10.in-addr.arpa"),
        ("10.96.0.0/12", "10.in-addr.arpa"),
        ("0.0.0.0/0", "in-addr.arpa"),
    ];
    for (range, apex) in cases {
        assert_eq!(reverse_apex(range.parse().expect("a range")), apex, "{range}");
    }
}
