//! Traffic rules as the data plane understands them: nothing is refused, ignored or lost silently.

use std::collections::BTreeSet;
use std::time::Duration;

use proxy_model::cluster::LbPolicy;
use proxy_model::facts::{ConnFacts, DetectedTransport};
use proxy_model::filter_chain::Terminal;
use proxy_model::lookup::Lookup;
use proxy_model::snapshot::Snapshot as DataPlane;
use proxy_model::stage::{Stage, Upsert};
use proxy_model::tcp_proxy::TcpProxy;

use super::*;

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

/// An object in the namespace `default`.
pub(super) fn object(kind: &str, name: &str, spec: Value) -> Object {
    let value = json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": { "name": name, "namespace": "default" }, "spec": spec,
    });
    match kind {
        "DestinationRule" => Object::DestinationRule(read(value)),
        "Gateway" => Object::Gateway(read(value)),
        "Sidecar" => Object::Sidecar(read(value)),
        _ => Object::VirtualService(read(value)),
    }
}

/// What a sidecar makes of everything it is sent; it refuses nothing and ignores nothing.
fn received(extra: Vec<Object>) -> (Arc<DataPlane>, BTreeSet<String>) {
    received_by(&sidecar(&["lateen.config_report"]), extra)
}

/// What any proxy makes of everything it is sent.
pub(super) fn received_by(proxy: &Proxy, extra: Vec<Object>) -> (Arc<DataPlane>, BTreeSet<String>) {
    let snapshot = world(extra);
    let generator = Generator::new();
    let class = generator.class(&snapshot, proxy);
    let mut stage = Stage::default();
    let mut complaints = BTreeSet::new();
    for kind in TYPES {
        let set = generator.wildcard(&snapshot, &class, &kind);
        let upserts = set.iter().map(|resource| Upsert {
            name: Arc::clone(&resource.name),
            version: Arc::clone(&resource.version),
            aliases: Vec::new(),
            body: resource.body.clone(),
        });
        let applied = stage.apply(&kind, upserts.collect(), &[], Duration::ZERO);
        assert!(applied.rejected.is_empty(), "{kind}: {:?}", applied.rejected);
        for (name, warnings) in &applied.accepted {
            assert!(warnings.is_empty(), "{kind} {name}: {warnings:?}");
        }
        let found = generator.diagnostics(&snapshot, &class, &kind);
        complaints.extend(found.iter().map(|d| format!("{} {}", d.object.name, d.field)));
    }
    (stage.publish(Duration::ZERO), complaints)
}

fn connection(plane: &DataPlane, facts: &ConnFacts) -> Option<Arc<TcpProxy>> {
    let Lookup::Found(listener) = plane.listener_for(facts.destination) else {
        panic!("no listener for {}", facts.destination)
    };
    let chain = listener.chains.find(facts).or(listener.default_chain.as_ref())?;
    match &chain.terminal {
        Terminal::Tcp(proxy) => Some(Arc::clone(proxy)),
        other => panic!("{other:?}"),
    }
}

pub(super) fn clusters(proxy: &TcpProxy) -> Vec<(String, u32)> {
    proxy.clusters.iter().map(|(name, weight)| (name.to_string(), weight)).collect()
}

pub(super) fn plain(destination: &str) -> ConnFacts {
    ConnFacts::plain(destination.parse().unwrap(), "10.1.0.1:4000".parse().unwrap())
}

#[test]
fn tcp_rules_split_connections() {
    let rules =
        |tcp: Value| object("VirtualService", "db", json!({ "hosts": ["mongodb"], "tcp": tcp }));
    let to = |host: &str, weight: u32| json!({ "destination": { "host": host, "port": { "number": 9080 } }, "weight": weight });
    let picked = |tcp: Value| {
        let (plane, complaints) = received(vec![rules(tcp)]);
        assert_eq!(complaints, BTreeSet::new());
        clusters(&connection(&plane, &plain("10.96.0.3:27017")).unwrap())
    };
    let productpage = "outbound|9080||productpage.default.svc.cluster.local".to_owned();
    let reviews = REVIEWS.to_owned();
    let own = "outbound|27017||mongodb.default.svc.cluster.local".to_owned();
    let split = json!([{ "route": [to("reviews", 80), to("productpage", 20)] }]);
    assert_eq!(picked(split), [(reviews.clone(), 80), (productpage.clone(), 20)]);
    // The first rule that fits the client and the port counts.
    let scoped = |matching: Value| {
        json!([
            { "match": [matching], "route": [to("reviews", 0)] },
            { "route": [to("productpage", 100)] },
        ])
    };
    assert_eq!(picked(scoped(json!({ "port": 27017 }))), [(reviews.clone(), 1)]);
    assert_eq!(picked(scoped(json!({ "port": 1 }))), [(productpage.clone(), 1)]);
    let labels = json!({ "sourceLabels": { "app": "productpage" } });
    assert_eq!(picked(scoped(labels)), [(reviews.clone(), 1)]);
    let labels = json!({ "sourceLabels": { "app": "other" } });
    assert_eq!(picked(scoped(labels)), [(productpage.clone(), 1)]);
    assert_eq!(picked(scoped(json!({ "gateways": ["g"] }))), [(productpage.clone(), 1)]);
    assert_eq!(picked(scoped(json!({ "sourceNamespace": "x" }))), [(productpage.clone(), 1)]);
    // Addresses are conditions of the connection.
    let subnet = json!({ "destinationSubnets": ["10.96.0.0/24"], "sourceSubnet": "10.1.0.1" });
    assert_eq!(picked(scoped(subnet)), [(reviews, 1)]);
    let subnet = json!({ "destinationSubnets": ["10.97.0.0/24"] });
    assert_eq!(picked(scoped(subnet.clone())), [(productpage, 1)]);
    // What no rule takes goes to the service itself.
    let only = json!([{ "match": [subnet], "route": [to("reviews", 0)] }]);
    assert_eq!(picked(only), [(own, 1)]);
    let bad = json!([{ "match": [{ "destinationSubnets": ["x"] }], "route": [to("reviews", 0)] }]);
    let (_, complaints) = received(vec![rules(bad)]);
    assert_eq!(complaints, BTreeSet::from(["db spec.tcp[0].match[0]".to_owned()]));
}

#[test]
fn tls_rules_go_by_name() {
    let secure = service("secure", "10.96.0.9", &json!({ "name": "tls", "port": 443 }));
    let to = |host: &str| json!([{ "destination": { "host": host, "port": { "number": 9080 } } }]);
    let rules = json!({ "hosts": ["secure"], "tls": [
        { "match": [{ "sniHosts": ["a.example.com", "*.b.example.com"] }], "route": to("reviews") },
        // The first name is taken already.
        {
            "match": [{ "sniHosts": ["a.example.com", "c.example.com"], "port": 443 }],
            "route": to("productpage"),
        },
    ] });
    let (plane, complaints) = received(vec![secure, object("VirtualService", "secure", rules)]);
    assert_eq!(complaints, BTreeSet::new());
    let named = |name: &str| {
        let mut facts = plain("10.96.0.9:443");
        facts.transport = DetectedTransport::Tls;
        facts.server_name = Some(name.into());
        connection(&plane, &facts).map(|proxy| clusters(&proxy)[0].0.clone())
    };
    let productpage = "outbound|9080||productpage.default.svc.cluster.local";
    assert_eq!(named("a.example.com").as_deref(), Some(REVIEWS));
    assert_eq!(named("x.b.example.com").as_deref(), Some(REVIEWS));
    assert_eq!(named("c.example.com").as_deref(), Some(productpage));
    assert_eq!(named("d.example.com"), None);
}

#[test]
fn policies_of_connections_are_followed() {
    let rule = object(
        "DestinationRule",
        "reviews",
        json!({ "host": "reviews", "trafficPolicy": {
        "connectionPool": {
            "tcp": { "maxConnectionDuration": "60s" },
            "http": {
                "idleTimeout": "30s", "h2UpgradePolicy": "UPGRADE",
                "http2KeepAlive": { "interval": "10s", "timeout": "5s" },
            },
        },
        "loadBalancer": { "simple": "ROUND_ROBIN", "warmup": { "duration": "20s", "aggression": 2.0 } },
        "retryBudget": { "percent": 25.0, "minRetryConcurrency": 7 },
    } }),
    );
    let bytes = object(
        "DestinationRule",
        "mongodb",
        json!({
            "host": "mongodb",
            "trafficPolicy": {
                "connectionPool": { "tcp": { "idleTimeout": "9s", "maxConnectionDuration": "90s" } },
                "loadBalancer": { "consistentHash": { "useSourceIp": true } },
            },
        }),
    );
    let (plane, complaints) = received(vec![rule, bytes]);
    assert_eq!(complaints, BTreeSet::new());
    let Lookup::Found(reviews) = plane.cluster(REVIEWS) else { panic!("no {REVIEWS}") };
    assert_eq!(reviews.lb, LbPolicy::RoundRobin);
    let start = reviews.slow_start.unwrap();
    assert_eq!(
        (start.window.as_secs(), start.aggression, start.min_weight_percent),
        (20, 2.0, 10.0)
    );
    assert_eq!(reviews.max_connection_duration, Some(Duration::from_secs(60)));
    assert_eq!(reviews.idle_timeout, Some(Duration::from_secs(30)));
    let budget = reviews.circuit.default.retry_budget.as_ref().unwrap();
    assert_eq!(budget.min_retry_concurrency, 7);
    let protocol = format!("{:?}", reviews.protocol);
    assert!(protocol.contains("Http2"), "{protocol}");
    let proxy = connection(&plane, &plain("10.96.0.3:27017")).unwrap();
    assert_eq!(proxy.idle_timeout, Some(Duration::from_secs(9)));
    assert_eq!(proxy.max_duration, Some(Duration::from_secs(90)));
    assert_eq!(proxy.hash_policies.len(), 1);
}

#[test]
fn a_hash_binds_routes_and_cluster() {
    let hashed = |hash: Value| {
        object(
            "DestinationRule",
            "reviews",
            json!({
                "host": "reviews", "trafficPolicy": { "loadBalancer": { "consistentHash": hash } },
                "subsets": [
                    { "name": "v1", "labels": { "version": "v1" } },
                    { "name": "v2", "labels": { "version": "v2" } },
                ],
            }),
        )
    };
    let of = |hash: Value| {
        let (plane, complaints) = received(vec![hashed(hash.clone())]);
        assert_eq!(complaints, BTreeSet::new());
        let Lookup::Found(cluster) = plane.cluster(REVIEWS) else { panic!("no {REVIEWS}") };
        let snapshot = world(vec![hashed(hash)]);
        let class = Class::of(&snapshot, &sidecar(&[]));
        let routes = documents(&snapshot, &class, &TypeUrl::Route);
        let hosts = routes["9080"]["virtual_hosts"].as_array().unwrap();
        let host =
            hosts.iter().find(|h| h["name"].as_str().unwrap().starts_with("reviews")).unwrap();
        let action = host["routes"][1]["route"].clone();
        assert!(action["retry_policy"]["retry_host_predicate"].is_null());
        (cluster.lb, action["hash_policy"][0].clone())
    };
    let (lb, hash) =
        of(json!({ "httpHeaderName": "x-user", "ringHash": { "minimumRingSize": 64 } }));
    assert!(matches!(lb, LbPolicy::RingHash { .. }), "{lb:?}");
    assert_eq!(hash, json!({ "header": { "header_name": "x-user" } }));
    let cookie = json!({ "name": "user", "ttl": "60s", "path": "/" });
    let (lb, hash) = of(json!({ "httpCookie": cookie, "maglev": { "tableSize": 101 } }));
    assert!(matches!(lb, LbPolicy::Maglev { .. }), "{lb:?}");
    assert_eq!(hash, json!({ "cookie": { "name": "user", "ttl": "60s", "path": "/" } }));
    let (_, hash) = of(json!({ "httpQueryParameterName": "user" }));
    assert_eq!(hash, json!({ "query_parameter": { "name": "user" } }));
}

#[test]
fn what_http_rules_say_is_sent() {
    let rules = json!({ "hosts": ["productpage"], "http": [
        {
            "match": [{ "uri": { "prefix": "/old" }, "statPrefix": "old" }],
            "redirect": { "uri": "/new", "derivePort": "FROM_REQUEST_PORT" },
        },
        {
            "route": [{ "destination": { "host": "productpage" } }],
            "retries": { "attempts": 3, "retryRemoteLocalities": true },
            "corsPolicy": {
                "allowOrigins": [{ "exact": "https://a.example" }],
                "allowMethods": ["GET", "POST"], "maxAge": "24h", "allowCredentials": true,
                "unmatchedPreflights": "IGNORE",
            },
        },
    ] });
    let all = vec![object("VirtualService", "productpage", rules)];
    let (_, complaints) = received(all.clone());
    assert_eq!(complaints, BTreeSet::new());
    let snapshot = world(all);
    let class = Class::of(&snapshot, &sidecar(&[]));
    let documents = documents(&snapshot, &class, &TypeUrl::Route);
    let hosts = documents["9080"]["virtual_hosts"].as_array().unwrap();
    let host =
        hosts.iter().find(|h| h["name"].as_str().unwrap().starts_with("productpage")).unwrap();
    let [old, new] = [&host["routes"][0], &host["routes"][1]];
    assert_eq!(
        (&old["redirect"]["port_redirect"], &old["stat_prefix"]),
        (&9080.into(), &"old".into())
    );
    let retry = &new["route"]["retry_policy"]["retry_priority"]["typed_config"];
    assert_eq!(retry["update_frequency"], 2);
    let cors = &new["typed_per_filter_config"]["envoy.filters.http.cors"];
    assert_eq!((&cors["max_age"], &cors["allow_methods"]), (&"86400".into(), &"GET,POST".into()));
    assert_eq!(cors["forward_not_matching_preflights"], false);
}

#[test]
fn what_has_no_effect_is_named() {
    let balancer = json!({ "localityLbSetting": { "enabled": true } });
    let rule = json!({
        "host": "reviews",
        "trafficPolicy": {
            "loadBalancer": balancer,
            "tunnel": { "targetHost": "a", "targetPort": 1 },
            "proxyProtocol": { "version": "V2" },
            "retryBudget": { "budgetInterval": "1s" },
            "outlierDetection": { "consecutiveErrors": 3 },
            "portLevelSettings": [{ "port": { "number": 9080 }, "loadBalancer": balancer }],
        },
        "subsets": [{ "name": "v1", "labels": {}, "trafficPolicy": {
            "connectionPool": { "http": { "http2KeepAlive": { "interval": "1s" } } },
        } }],
    });
    let rules = json!({ "hosts": ["productpage"], "http": [{
        "match": [{ "headers": { "@request.auth.claims.sub": { "exact": "a" } } }],
        "fault": { "delay": { "exponentialDelay": "1s" }, "abort": { "http2Error": "X" } },
        "route": [{ "destination": { "host": "productpage" } }],
    }] });
    let mesh =
        "defaultProviders: {tracing: [a]}\noutboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}";
    let (_, complaints) = received(vec![
        object("DestinationRule", "r", rule),
        object("VirtualService", "v", rules),
        Object::MeshConfig(mesh.to_owned()),
    ]);
    let expected = [
        "mesh defaultProviders",
        "mesh outboundTrafficPolicy.mode",
        "r spec.subsets[0].trafficPolicy.connectionPool.http.http2KeepAlive",
        "r spec.trafficPolicy.loadBalancer.localityLbSetting",
        "r spec.trafficPolicy.outlierDetection.consecutiveErrors",
        "r spec.trafficPolicy.portLevelSettings[0].loadBalancer.localityLbSetting",
        "r spec.trafficPolicy.proxyProtocol",
        "r spec.trafficPolicy.retryBudget.budgetInterval",
        "r spec.trafficPolicy.tunnel",
        "v spec.http[0].fault.abort.http2Error",
        "v spec.http[0].fault.delay.exponentialDelay",
        "v spec.http[0].match[0].headers",
    ];
    assert_eq!(complaints.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn the_mesh_completes_policies_and_paths() {
    let mesh = "defaultTrafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s, idleTimeout: 8s}}}\n\
                pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}\n\
                h2UpgradePolicy: UPGRADE\n";
    let (plane, complaints) = received(vec![Object::MeshConfig(mesh.to_owned())]);
    assert_eq!(complaints, BTreeSet::new());
    let Lookup::Found(reviews) = plane.cluster(REVIEWS) else { panic!("no {REVIEWS}") };
    assert_eq!(reviews.connect_timeout, Duration::from_secs(3));
    let protocol = format!("{:?}", reviews.protocol);
    assert!(protocol.contains("Http2"), "{protocol}");
    let proxy = connection(&plane, &plain("10.96.0.3:27017")).unwrap();
    assert_eq!(proxy.idle_timeout, Some(Duration::from_secs(8)));
    let snapshot = world(vec![Object::MeshConfig(mesh.to_owned())]);
    let class = Class::of(&snapshot, &sidecar(&[]));
    let text = documents(&snapshot, &class, &TypeUrl::Listener).to_string();
    assert!(
        text.contains(r#""path_with_escaped_slashes_action":"UNESCAPE_AND_FORWARD""#),
        "{text}"
    );
    assert!(text.contains(r#""merge_slashes":true"#));
}

#[test]
fn rules_ask_for_tls_of_the_servers_own() {
    let with = |tls: Value| {
        let spec = json!({ "host": "reviews", "trafficPolicy": { "tls": tls } });
        received(vec![object("DestinationRule", "reviews", spec)])
    };
    let simple = json!({ "mode": "SIMPLE", "caCertificates": "/etc/ca.pem" });
    let mutual = json!({
        "mode": "MUTUAL", "clientCertificate": "/etc/cert.pem", "privateKey": "/etc/key.pem",
        "sni": "a.example.com", "subjectAltNames": ["b.example.com", "spiffe://x/ns/a/sa/b"],
    });
    let host = "reviews.default.svc.cluster.local";
    let cases = [
        (simple, vec!["file-root:/etc/ca.pem", host]),
        (mutual, vec!["file-root:system", "file-cert:/etc/cert.pem~/etc/key.pem", "a.example.com"]),
    ];
    for (tls, parts) in cases {
        let (plane, complaints) = with(tls);
        assert_eq!(complaints, BTreeSet::new());
        let Lookup::Found(cluster) = plane.cluster(REVIEWS) else { panic!("no {REVIEWS}") };
        let transports = format!("{:?}", cluster.transports);
        for part in parts {
            assert!(transports.contains(part), "{part} in {transports}");
        }
        assert!(!cluster.metadata.alpn_override);
    }
    // What cannot be done does not happen in clear.
    let secret = json!({ "mode": "SIMPLE", "credentialName": "c" });
    let missing = json!({ "mode": "MUTUAL" });
    for (tls, field) in [(secret, "credentialName"), (missing, "clientCertificate")] {
        let (plane, complaints) = with(tls);
        let field = format!("reviews spec.trafficPolicy.tls.{field}");
        assert_eq!(complaints, BTreeSet::from([field]));
        let Lookup::Found(cluster) = plane.cluster(REVIEWS) else { panic!("no {REVIEWS}") };
        assert_eq!(cluster.eds_name(), None);
    }
    let ignored = json!({ "mode": "ISTIO_MUTUAL", "caCertificates": "/etc/ca.pem" });
    let (_, complaints) = with(ignored);
    assert_eq!(
        complaints,
        BTreeSet::from(["reviews spec.trafficPolicy.tls.caCertificates".to_owned()])
    );
}
