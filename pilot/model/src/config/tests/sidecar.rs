//! What a Sidecar resource leaves of the mesh: of every type of resource, whole and by name.

use super::traffic::object;
use super::*;

const OTHER: &str = "cart.shop.svc.cluster.local";

/// A service of another namespace at a port of bytes and one of HTTP, a rule that leads to a third,
/// and a scope of the own namespace.
pub(super) fn scoped() -> Vec<Object> {
    let mut all = elsewhere();
    all.push(scope(json!({ "egress": [{ "hosts": ["./*"] }] })));
    all
}

fn elsewhere() -> Vec<Object> {
    let service = |name: &str, vip: &str| {
        Object::Service(read(json!({
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "clusterIP": vip, "clusterIPs": [vip], "ports": [
                { "name": "tcp", "port": 7777 },
                { "name": "http", "port": 9080 },
            ] },
        })))
    };
    vec![service("cart", "10.96.0.20"), service("stock", "10.96.0.21")]
}

fn scope(spec: Value) -> Object {
    object("Sidecar", "scope", spec)
}

fn rules(port: &Value) -> Object {
    let destination = json!({ "host": "stock.shop.svc.cluster.local", "port": port });
    let rules = json!([{ "route": [{ "destination": destination }] }]);
    object("VirtualService", "details", json!({ "hosts": ["mongodb"], "tcp": rules }))
}

/// Names of all resources that contain one of these texts.
fn holding(objects: Vec<Object>, texts: &[&str]) -> Vec<String> {
    let snapshot = world(objects);
    let class = Class::of(&snapshot, &super::sidecar(&[]));
    let mut found = Vec::new();
    for kind in TYPES {
        let all = documents(&snapshot, &class, &kind);
        for (name, document) in all.as_object().unwrap() {
            let text = document.to_string();
            if texts.iter().any(|wanted| text.contains(wanted)) {
                found.push(format!("{} {name}", kind.short()));
            }
        }
    }
    found
}

#[test]
fn what_is_outside_the_scope_is_in_no_resource() {
    let with = |spec: Value| {
        let mut all = elsewhere();
        all.push(scope(spec));
        holding(all, &[OTHER])
    };
    let everywhere = [
        "CDS outbound|7777||cart.shop.svc.cluster.local",
        "CDS outbound|9080||cart.shop.svc.cluster.local",
        "EDS outbound|7777||cart.shop.svc.cluster.local",
        "EDS outbound|9080||cart.shop.svc.cluster.local",
        "LDS 10.96.0.20_7777",
        "RDS 9080",
        "NDS ",
    ];
    assert_eq!(holding(elsewhere(), &[OTHER]), everywhere);
    assert_eq!(with(json!({})), everywhere);
    assert_eq!(with(json!({ "egress": [{ "hosts": ["./*", "shop/*"] }] })), everywhere);
    assert_eq!(with(json!({ "egress": [{ "hosts": ["./*"] }] })), Vec::<String>::new());
    assert_eq!(with(json!({ "egress": [{ "hosts": ["~/*"] }] })), Vec::<String>::new());
    let stock = "shop/stock.shop.svc.cluster.local";
    assert_eq!(with(json!({ "egress": [{ "hosts": [stock] }] })), Vec::<String>::new());
    // For another workload of the namespace.
    let selector = json!({ "labels": { "app": "reviews" } });
    let of_others = json!({ "workloadSelector": selector, "egress": [{ "hosts": ["./*"] }] });
    assert_eq!(with(of_others), everywhere);
    let port = json!({ "number": 9080, "protocol": "HTTP", "name": "http" });
    let by_port = json!({ "egress": [
        { "port": port, "hosts": ["shop/*"] },
        { "hosts": ["./*"] },
    ] });
    let http = [everywhere[1], everywhere[3], everywhere[5], everywhere[6]];
    assert_eq!(with(by_port), http);
}

#[test]
fn what_rules_lead_to_is_within_the_scope() {
    let of = |port: Value| {
        let mut all = scoped();
        all.push(rules(&port));
        holding(all, &["outbound|7777||stock", "outbound|9080||stock"])
    };
    let bytes = [
        "CDS outbound|7777||stock.shop.svc.cluster.local",
        "EDS outbound|7777||stock.shop.svc.cluster.local",
        "LDS 10.96.0.21_7777",
        "LDS 10.96.0.3_27017",
    ];
    assert_eq!(of(json!({ "number": 7777 })), bytes);
    let whole = of(Value::Null);
    assert!(whole.iter().any(|name| name.starts_with("CDS outbound|9080||stock")), "{whole:?}");
    // Rules of namespaces that are not listed do not apply.
    let mut all = elsewhere();
    all.push(scope(json!({ "egress": [{ "hosts": ["shop/*"] }] })));
    all.push(rules(&json!({ "number": 7777 })));
    let found = holding(all, &["outbound|7777||stock"]);
    assert!(!found.contains(&"LDS 10.96.0.3_27017".to_owned()), "{found:?}");
}

#[test]
fn names_outside_the_scope_are_answered_as_unknown_traffic() {
    let answers = |spec: Value| {
        let mut all = elsewhere();
        all.push(scope(spec));
        let snapshot = world(all);
        let generator = Generator::new();
        let class = generator.class(&snapshot, &super::sidecar(&[ON_DEMAND_FEATURE]));
        let ask = |kind: &TypeUrl, name: &str| match generator.named(&snapshot, &class, kind, name)
        {
            Answer::Resource(resource) | Answer::Alias { of: resource } => {
                resource.name.to_string()
            }
            Answer::Absent => "absent".to_owned(),
        };
        let host = "9080/cart.shop:9080";
        [
            ask(&TypeUrl::Listener, "10.96.0.20_7777"),
            ask(&TypeUrl::Listener, "10.96.0.20_9080"),
            ask(&TypeUrl::VirtualHost, host),
            ask(&TypeUrl::Cluster, &format!("outbound|9080||{OTHER}")),
            ask(&TypeUrl::Endpoint, &format!("outbound|9080||{OTHER}")),
            ask(&TypeUrl::NameTable, OTHER),
        ]
    };
    let own = json!([{ "hosts": ["./*"] }]);
    let expected = |host: &str| {
        ["absent", "0.0.0.0_9080", host, "absent", "absent", "absent"].map(str::to_owned)
    };
    assert_eq!(answers(json!({ "egress": own })), expected("9080/allow_any"));
    let only = json!({ "egress": own, "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" } });
    assert_eq!(answers(only), expected("9080/block_all"));
}

/// Where unknown connections and requests go, and what is said of the scope.
fn unknown(spec: Value) -> (Value, Value, Vec<String>) {
    let mut all = elsewhere();
    all.push(scope(spec));
    all.push(Object::MeshConfig("outboundTrafficPolicy: {mode: REGISTRY_ONLY}".to_owned()));
    let snapshot = world(all);
    let class = Class::of(&snapshot, &super::sidecar(&[]));
    let listeners = super::super::all(&snapshot, &class, &TypeUrl::Listener);
    let outbound = listeners.iter().find(|inputs| &*inputs.name == "virtualOutbound").unwrap();
    let chain = &outbound.document["default_filter_chain"]["filters"][0]["typed_config"];
    let routes = documents(&snapshot, &class, &TypeUrl::Route);
    let last = routes["9080"]["virtual_hosts"].as_array().unwrap().last().unwrap().clone();
    let fields = outbound.diagnostics.iter().map(|diagnostic| diagnostic.field.clone()).collect();
    (chain["cluster"].clone(), last["routes"][0]["route"]["cluster"].clone(), fields)
}

#[test]
fn a_scope_has_a_policy_of_its_own() {
    let policy = |policy: Value| json!({ "outboundTrafficPolicy": policy });
    let (black, through): (Value, Value) = ("BlackHoleCluster".into(), "PassthroughCluster".into());
    assert_eq!(unknown(json!({})), (black.clone(), Value::Null, Vec::new()));
    let any = policy(json!({ "mode": "ALLOW_ANY" }));
    assert_eq!(unknown(any), (through.clone(), through, Vec::new()));
    let proxy = |host: &str| {
        let proxy = json!({ "host": host, "port": { "number": 7777 }, "subset": "v1" });
        policy(json!({ "mode": "ALLOW_ANY", "egressProxy": proxy }))
    };
    let cart: Value = format!("outbound|7777|v1|{OTHER}").into();
    assert_eq!(unknown(proxy(OTHER)), (cart.clone(), cart, Vec::new()));
    let fields = vec!["spec.outboundTrafficPolicy.egressProxy.host".to_owned()];
    assert_eq!(unknown(proxy("nowhere.example.com")), (black.clone(), black, fields));
}

#[test]
fn classes_are_shared_within_a_scope() {
    let generator = Generator::new();
    let (before, after) = (world(elsewhere()), world(scoped()));
    let same = world(scoped());
    let class = |snapshot: &Snapshot| generator.class(snapshot, &super::sidecar(&[]));
    assert!(Arc::ptr_eq(&class(&after), &class(&same)));
    assert!(!Arc::ptr_eq(&class(&before), &class(&after)));
    // Gateways know everything.
    let edge = |snapshot: &Snapshot| generator.class(snapshot, &router());
    assert!(Arc::ptr_eq(&edge(&before), &edge(&after)));
}

#[test]
fn ports_of_the_workload_are_those_of_the_scope() {
    let listener = |port: u16, protocol: &str, endpoint: &str| {
        json!({
            "port": { "number": port, "protocol": protocol, "name": "in" },
            "defaultEndpoint": endpoint,
        })
    };
    let mut unix = listener(9001, "TCP", "unix:///tmp/a.sock");
    unix["connectionPool"] = json!({ "tcp": { "maxConnections": 3 } });
    let snapshot = world(vec![scope(json!({
        "ingress": [
            listener(9080, "HTTP", "127.0.0.1:8080"),
            listener(9000, "TCP", "0.0.0.0:8090"),
            unix,
        ],
        "inboundConnectionPool": { "http": { "http1MaxPendingRequests": 7 } },
    }))]);
    let class = Class::of(&snapshot, &super::sidecar(&[]));
    let clusters = documents(&snapshot, &class, &TypeUrl::Cluster);
    let cluster = |port: u16| clusters[format!("inbound|{port}||")].clone();
    let address = |port: u16| {
        cluster(port)["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
            .clone()
    };
    let limits = |port: u16| cluster(port)["circuit_breakers"]["thresholds"][0].clone();
    assert_eq!(address(9080)["socket_address"]["port_value"], 8080);
    assert_eq!(cluster(9000)["original_dst_lb_config"]["upstream_port_override"], 8090);
    assert_eq!(address(9001)["pipe"]["path"], "/tmp/a.sock");
    assert_eq!(limits(9080)["max_pending_requests"], 7);
    assert_eq!(limits(9001)["max_connections"], 3);
    let named: Vec<String> =
        class.inbound.iter().map(|port| format!("{} {}", port.target, port.host)).collect();
    let productpage = "9080 productpage.default.svc.cluster.local";
    assert_eq!(named, ["9000 scope.default", "9001 scope.default", productpage]);
    let chains = super::super::inbound::listener(&snapshot, &class).document.to_string();
    assert!(chains.contains("\"0.0.0.0_9000\"") && chains.contains("\"0.0.0.0_9001\""));
}
