//! Servers of gateways: bytes, TLS that passes and TLS that ends, and who shares a port.

use std::collections::BTreeSet;

use proxy_model::facts::{ConnFacts, DetectedTransport};
use proxy_model::filter_chain::{DownstreamTransport, FilterChain, Terminal};
use proxy_model::lookup::Lookup;
use proxy_model::snapshot::Snapshot as DataPlane;

use super::traffic::{clusters, object, plain, received_by};
use super::*;

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
const PRODUCTPAGE: &str = "outbound|9080||productpage.default.svc.cluster.local";

fn gateway(name: &str, servers: Value) -> Object {
    let spec = json!({ "selector": { "istio": "ingressgateway" }, "servers": servers });
    object("Gateway", name, spec)
}

fn server(number: u16, protocol: &str, hosts: &[&str], tls: Option<Value>) -> Value {
    let name = format!("{}-{number}", protocol.to_ascii_lowercase());
    let port = json!({ "number": number, "name": name, "protocol": protocol });
    let mut server = json!({ "port": port, "hosts": hosts });
    if let Some(tls) = tls {
        server["tls"] = tls;
    }
    server
}

fn rules(name: &str, hosts: &[&str], rules: Value) -> Object {
    let mut spec = rules;
    spec["hosts"] = json!(hosts);
    spec["gateways"] = json!(["edge"]);
    object("VirtualService", name, spec)
}

fn to(host: &str, weight: u32) -> Value {
    json!({ "destination": { "host": host, "port": { "number": 9080 } }, "weight": weight })
}

fn opened(extra: Vec<Object>) -> (Arc<DataPlane>, BTreeSet<String>) {
    received_by(&router(), extra)
}

fn chain<'a>(plane: &'a DataPlane, port: u16, facts: &ConnFacts) -> Option<&'a FilterChain> {
    let Lookup::Found(listener) = plane.listener(&format!("0.0.0.0_{port}")) else {
        panic!("port {port} is not open")
    };
    listener.chains.find(facts).or(listener.default_chain.as_ref()).map(|chain| &**chain)
}

fn leads(chain: Option<&FilterChain>) -> Vec<(String, u32)> {
    match chain.map(|chain| &chain.terminal) {
        Some(Terminal::Tcp(proxy)) => clusters(proxy),
        Some(other) => panic!("{other:?}"),
        None => Vec::new(),
    }
}

fn asking(port: u16, name: &str) -> ConnFacts {
    let mut facts = plain(&format!("10.1.0.8:{port}"));
    facts.transport = DetectedTransport::Tls;
    facts.server_name = Some(name.into());
    facts
}

#[test]
fn connections_of_bytes_are_split_by_weight() {
    let edge = gateway("edge", json!([server(31400, "TCP", &["*"], None)]));
    let elsewhere = json!([{ "match": [{ "port": 31401 }], "route": [to("reviews", 100)] }]);
    let split = json!([{
        "match": [{ "port": 31400 }],
        "route": [to("reviews", 80), to("productpage", 20)],
    }]);
    let (plane, complaints) = opened(vec![
        edge.clone(),
        rules("a-other", &["*"], json!({ "tcp": elsewhere })),
        rules("tcp-echo", &["*"], json!({ "tcp": split })),
    ]);
    assert_eq!(complaints, BTreeSet::new());
    let found = leads(chain(&plane, 31400, &plain("10.1.0.8:31400")));
    assert_eq!(found, [(REVIEWS.to_owned(), 80), (PRODUCTPAGE.to_owned(), 20)]);
    // A port that no rule leads anywhere is not opened.
    let (plane, complaints) = opened(vec![edge.clone()]);
    assert_eq!(complaints, BTreeSet::new());
    assert!(!matches!(plane.listener("0.0.0.0_31400"), Lookup::Found(_)));
    // Conditions on clients are not followed there, and said not to be.
    let from =
        json!([{ "match": [{ "sourceSubnet": "10.0.0.0/8" }], "route": [to("reviews", 0)] }]);
    let (plane, complaints) = opened(vec![edge, rules("from", &["*"], json!({ "tcp": from }))]);
    assert_eq!(complaints, BTreeSet::from(["from spec.tcp[0].match[0].sourceSubnet".to_owned()]));
    assert_eq!(leads(chain(&plane, 31400, &plain("10.1.0.8:31400"))), [(REVIEWS.to_owned(), 1)]);
}

#[test]
fn tls_passes_by_name() {
    let passing = Some(json!({ "mode": "PASSTHROUGH" }));
    let hosts = ["*.example.com", "default/b.example.org", "other/c.example.org"];
    let edge = gateway(
        "edge",
        json!([
            server(8443, "TLS", &hosts, passing.clone()),
            server(9443, "HTTPS", &["*"], passing),
        ]),
    );
    let named = json!([
        { "match": [{ "port": 8443, "sniHosts": ["a.example.com"] }], "route": [to("reviews", 1)] },
        {
            "match": [{ "sniHosts": ["b.example.org", "a.example.com"] }],
            "route": [to("productpage", 1)],
        },
        // Not a host of the gateway for this namespace.
        { "match": [{ "sniHosts": ["c.example.org"] }], "route": [to("reviews", 1)] },
    ]);
    let all = ["a.example.com", "b.example.org", "c.example.org"];
    let (plane, complaints) = opened(vec![edge, rules("named", &all, json!({ "tls": named }))]);
    assert_eq!(complaints, BTreeSet::new());
    let first = |port: u16, name: &str| {
        let found = leads(chain(&plane, port, &asking(port, name)));
        found.first().map(|(cluster, _)| cluster.clone())
    };
    assert_eq!(first(8443, "a.example.com").as_deref(), Some(REVIEWS));
    assert_eq!(first(8443, "b.example.org").as_deref(), Some(PRODUCTPAGE));
    assert_eq!(first(8443, "c.example.org"), None);
    assert_eq!(first(8443, "d.example.com"), None);
    // The rule for port 8443 is not for this one.
    assert_eq!(first(9443, "a.example.com").as_deref(), Some(PRODUCTPAGE));
    assert_eq!(first(9443, "c.example.org").as_deref(), Some(REVIEWS));
}

#[test]
fn tls_ends_with_the_servers_own_certificate() {
    let files = |more: Value| {
        let mut tls = json!({
            "mode": "SIMPLE", "serverCertificate": "/etc/certs/cert.pem",
            "privateKey": "/etc/certs/key.pem",
        });
        for (field, value) in more.as_object().unwrap() {
            tls[field] = value.clone();
        }
        Some(tls)
    };
    let roots = json!({ "mode": "MUTUAL", "caCertificates": "/etc/certs/ca.pem",
        "subjectAltNames": ["client.example.com"] });
    let edge = gateway(
        "edge",
        json!([
            server(443, "HTTPS", &["a.example.com"], files(json!({}))),
            server(443, "TLS", &["b.example.com"], files(roots)),
            server(15443, "HTTPS", &["*"], Some(json!({ "mode": "ISTIO_MUTUAL" }))),
        ]),
    );
    let web = json!([{ "route": [{ "destination": { "host": "reviews" } }] }]);
    let tcp = json!([{ "route": [to("productpage", 1)] }]);
    let (plane, complaints) = opened(vec![
        edge,
        rules("web", &["a.example.com"], json!({ "http": web })),
        rules("tcp", &["b.example.com"], json!({ "tcp": tcp })),
    ]);
    assert_eq!(complaints, BTreeSet::new());
    let tls = |port: u16, name: &str| {
        let chain = chain(&plane, port, &asking(port, name)).unwrap();
        match &chain.transport {
            DownstreamTransport::Tls(tls) => Arc::clone(tls),
            other => panic!("{other:?}"),
        }
    };
    let simple = tls(443, "a.example.com");
    assert_eq!(&*simple.certificates[0].name, "file-cert:/etc/certs/cert.pem~/etc/certs/key.pem");
    assert!(!simple.require_client_certificate);
    assert_eq!(simple.alpn.iter().map(|name| &**name).collect::<Vec<_>>(), ["h2", "http/1.1"]);
    let mutual = tls(443, "b.example.com");
    assert!(mutual.require_client_certificate);
    let roots = mutual.validation.roots.as_ref().map(|roots| roots.name.to_string());
    assert_eq!(roots.as_deref(), Some("file-root:/etc/certs/ca.pem"));
    assert_eq!(mutual.validation.sans.len(), 1);
    let bytes = chain(&plane, 443, &asking(443, "b.example.com"));
    assert_eq!(leads(bytes), [(PRODUCTPAGE.to_owned(), 1)]);
    let mesh = tls(15443, "any.example.com");
    assert_eq!(&*mesh.certificates[0].name, "default");
    for table in ["https.443.https-443.edge.default", "https.15443.https-15443.edge.default"] {
        assert!(matches!(plane.route_table(table), Lookup::Found(_)), "{table}");
    }
}

#[test]
fn servers_that_cannot_be_opened_are_named() {
    let credential = Some(json!({ "mode": "AUTO_PASSTHROUGH" }));
    let old = Some(json!({ "mode": "SIMPLE", "minProtocolVersion": "TLSV1_0" }));
    let edge = gateway(
        "edge",
        json!([
            server(8080, "TCP", &["*"], None),
            server(70, "UDP", &["*"], None),
            server(71, "HTTPS", &["*"], None),
            server(72, "TLS", &["*"], credential),
            server(73, "HTTPS", &["*"], old),
            server(74, "TCP", &["*"], None),
            server(74, "TCP", &["*"], None),
            { "port": { "number": 75, "name": "http", "protocol": "HTTP" }, "hosts": ["*"],
              "bind": "unix:///tmp/a" },
        ]),
    );
    // The port of the older gateway stays its own.
    let (plane, complaints) = opened(vec![edge]);
    let fields = ["[1].port.protocol", "[2].tls", "[3].tls.mode", "[6].port", "[7].bind"];
    let mut expected: BTreeSet<String> =
        fields.iter().map(|field| format!("edge spec.servers{field}")).collect();
    assert!(matches!(plane.listener("0.0.0.0_8080"), Lookup::Found(_)));
    expected.insert("edge spec.servers[0].port".to_owned());
    expected.insert("edge spec.servers[4].tls.minProtocolVersion".to_owned());
    assert_eq!(complaints, expected);
}
