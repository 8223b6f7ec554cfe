//! Our proxy understands all of what pilot makes, in both dialects, and decides by it as Istio
//! does.

use pilot_model::store::Object;
use proxy_model::facts::DetectedTransport::{Raw, Tls};
use serde_json::json;

use crate::compiled::{Ask, Compiled, end};
use crate::world::{self, GRPC, HTTP, SNIFFED, TCP, UNNAMED};

const PRODUCTPAGE: (&str, &str, &str, &str) = ("default", "productpage", "v1", "10.1.0.1");

fn get<'a>(to: &'a str, authority: &'a str, path: &'a str) -> Ask<'a> {
    Ask { to, authority, path, headers: &[] }
}

/// Requests of productpage's application, and where they end.
fn ways(compiled: &mut Compiled) -> Vec<String> {
    let asks = [
        get("10.96.0.2:9080", "reviews:9080", "/reviews/0"),
        Ask {
            headers: &[("end-user", "jason")],
            ..get("10.96.0.2:9080", "reviews.default:9080", "/reviews/0")
        },
        get("10.96.0.2:9080", "10.96.0.2", "/old/0"),
        get("10.96.0.4:9080", "ratings.default.svc.cluster.local:9080", "/"),
        get("10.96.0.7:9080", "legacy:9080", "/"),
        get("10.96.0.2:9080", "critics:9080", "/reviews/0"),
        get("10.1.0.6:8090", "db-0.db.default.svc.cluster.local:8090", "/"),
        get("10.96.1.1:8000", "every.strict:8000", "/"),
        get("10.96.1.1:7000", "every.strict:7000", "/"),
        get("10.96.1.3:8000", "every.disable:8000", "/"),
        get("192.0.2.1:9080", "example.com:9080", "/"),
    ];
    let mut all: Vec<String> = asks.iter().map(|ask| end(&compiled.request(ask))).collect();
    for to in ["10.96.0.5:27017", "10.1.0.6:5432", "10.96.1.1:9000", "192.0.2.1:443"] {
        all.push(end(&compiled.connection(to)));
    }
    all
}

const WAYS: [&str; 15] = [
    "90% outbound|9080|v1|reviews.default.svc.cluster.local 10.1.0.2:9080=tlsMode-istio, \
     10% outbound|9080|v2|reviews.default.svc.cluster.local 10.1.0.3:9080=tlsMode-istio",
    "100% outbound|9080|v2|reviews.default.svc.cluster.local 10.1.0.3:9080=tlsMode-istio",
    "308 to http://10.96.0.2/new/",
    "100% outbound|9080||ratings.default.svc.cluster.local 10.1.0.4:9080=default \
     10.2.0.3:9080=default",
    "100% outbound|9080||legacy.default.svc.cluster.local 10.1.0.7:9080=default",
    "90% outbound|9080|v1|reviews.default.svc.cluster.local 10.1.0.2:9080=tlsMode-istio, \
     10% outbound|9080|v2|reviews.default.svc.cluster.local 10.1.0.3:9080=tlsMode-istio",
    "100% outbound|8090||db.default.svc.cluster.local",
    "100% outbound|8000||every.strict.svc.cluster.local 10.1.1.1:8000=tlsMode-istio",
    "100% outbound|7000||every.strict.svc.cluster.local 10.1.1.1:7000=tlsMode-istio",
    "100% outbound|8000||every.disable.svc.cluster.local 10.1.3.1:8000=tlsMode-disabled",
    "100% PassthroughCluster",
    "100% outbound|27017||mongodb.default.svc.cluster.local 10.1.0.5:27017=tlsMode-istio",
    "100% outbound|5432||db.default.svc.cluster.local",
    "100% outbound|9000||every.strict.svc.cluster.local 10.1.1.1:9000=tlsMode-istio",
    "100% PassthroughCluster",
];

#[test]
fn all_of_it_is_understood() {
    let world = world::snapshot(world::objects());
    for own in [true, false] {
        let proxies = world::sidecars(own).into_iter().chain([world::gateway(own)]);
        for proxy in proxies {
            assert!(Compiled::whole(&world, &proxy).len() > 20);
        }
    }
}

#[test]
fn requests_of_a_sidecar_go_where_istio_sends_them() {
    let world = world::snapshot(world::objects());
    for own in [true, false] {
        let mut compiled = Compiled::whole(&world, &world::sidecar(PRODUCTPAGE, own));
        assert_eq!(ways(&mut compiled), WAYS);
    }
}

#[test]
fn on_demand_answers_the_same_and_holds_less() {
    let world = world::snapshot(world::objects());
    let whole = Compiled::whole(&world, &world::sidecar(PRODUCTPAGE, true)).len();
    let proxy = world::on_demand(PRODUCTPAGE);
    let mut compiled = Compiled::on_demand(&world, &proxy);
    assert!(compiled.len() < 12, "{} of {whole}", compiled.len());
    end(&compiled.request(&get("10.96.0.4:9080", "ratings:9080", "/")));
    assert!(compiled.len() < 16, "{} of {whole}", compiled.len());
    assert_eq!(ways(&mut compiled), WAYS);
}

#[test]
fn a_gateway_routes_what_its_gateways_and_virtual_services_say() {
    let world = world::snapshot(world::objects());
    let productpage = "100% outbound|9080||productpage.default.svc.cluster.local \
                       10.1.0.1:9080=tlsMode-istio";
    for own in [true, false] {
        let mut compiled = Compiled::whole(&world, &world::gateway(own));
        let mut to = |path: &str| end(&compiled.request(&get("10.1.4.1:8080", "any", path)));
        assert_eq!(to("/productpage"), productpage);
        assert_eq!(to("/static/a.css"), productpage);
        assert_eq!(to("/api/v1/products/0"), productpage);
        assert_eq!(to("/login"), "404 no route of *:80 matches");
    }
}

/// Who may come in, at ports of every protocol, in every mode of mutual TLS.
#[test]
fn inbound_connections_are_taken_as_the_matrix_says() {
    let world = world::snapshot(world::objects());
    let columns = [
        ("plaintext HTTP", Raw, &["http/1.1"][..]),
        ("plaintext h2", Raw, &["h2c"][..]),
        ("bytes", Raw, &[][..]),
        ("mesh HTTP/1.1", Tls, &["istio-http/1.1", "istio", "http/1.1"][..]),
        ("mesh h2", Tls, &["istio-h2", "istio", "h2"][..]),
        ("mesh bytes", Tls, &["istio"][..]),
        ("mesh bytes with metadata", Tls, &["istio-peer-exchange", "istio"][..]),
        ("TLS of the application", Tls, &[][..]),
        ("HTTPS of the application", Tls, &["h2", "http/1.1"][..]),
    ];
    const PH: &str = "plain http";
    const PT: &str = "plain tcp";
    const MH: &str = "mtls http";
    const MT: &str = "mtls tcp";
    const NO: &str = "refused";
    let rows = [
        ("disable", HTTP, [PH, PH, PH, PH, PH, PH, PH, PH, PH]),
        ("permissive", HTTP, [PH, PH, PH, MH, MH, MH, MH, NO, NO]),
        ("strict", HTTP, [NO, NO, NO, MH, MH, MH, MH, MH, MH]),
        ("disable", TCP, [PT, PT, PT, PT, PT, PT, PT, PT, PT]),
        ("permissive", TCP, [PT, PT, PT, MT, MT, MT, MT, PT, PT]),
        ("strict", TCP, [NO, NO, NO, MT, MT, MT, MT, MT, MT]),
        ("disable", SNIFFED, [PH, PH, PT, PT, PT, PT, PT, PT, PT]),
        ("permissive", SNIFFED, [PH, PH, PT, MH, MH, MT, MT, PT, PT]),
        ("strict", SNIFFED, [NO, NO, NO, MH, MH, MT, MT, MT, MT]),
        ("disable", UNNAMED, [PH, PH, PT, PT, PT, PT, PT, PT, PT]),
        ("permissive", UNNAMED, [PH, PH, PT, MH, MH, MT, MT, PT, PT]),
        ("strict", UNNAMED, [NO, NO, NO, MH, MH, MT, MT, MT, MT]),
        // The strict workload's one permissive port.
        ("strict", GRPC, [PH, PH, PH, MH, MH, MH, MH, NO, NO]),
    ];
    for own in [true, false] {
        for (namespace, port, expected) in rows {
            let ip = match namespace {
                "strict" => "10.1.1.1",
                "permissive" => "10.1.2.1",
                _ => "10.1.3.1",
            };
            let proxy = world::sidecar((namespace, "every", "v1", ip), own);
            let compiled = Compiled::whole(&world, &proxy);
            let cluster = match port {
                UNNAMED => "InboundPassthroughCluster".to_owned(),
                port => format!("inbound|{port}||"),
            };
            for ((name, transport, alpn), expected) in columns.iter().zip(expected) {
                let expected = match expected {
                    NO => NO.to_owned(),
                    expected => format!("{expected} {cluster}"),
                };
                let found = compiled.inbound(port, *transport, alpn);
                assert_eq!(found, expected, "{name} to port {port} under {namespace}");
            }
        }
    }
}

/// Traffic to the listening ports themselves does not go round in circles.
#[test]
fn the_proxys_own_ports_lead_nowhere() {
    let world = world::snapshot(world::objects());
    let mut compiled = Compiled::whole(&world, &world::sidecar(PRODUCTPAGE, true));
    assert_eq!(compiled.inbound(15006, Raw, &[]), "plain tcp BlackHoleCluster");
    let to_itself = end(&compiled.connection("10.1.0.1:15001"));
    assert!(to_itself.starts_with("100% BlackHoleCluster"), "{to_itself}");
}

/// Of a headless service the application chooses the pod, and no metadata tells its transport.
#[test]
fn headless_services_are_reached_by_mutual_tls_if_all_pods_take_it() {
    let legacy = json!([{ "name": "tcp", "port": 5432 }]);
    let slice = |pods: &[(&str, &str)]| world::slice("default", "db", &legacy, pods);
    let secures = |extra: Vec<Object>| {
        let world = world::snapshot(world::objects().into_iter().chain(extra));
        let compiled = Compiled::whole(&world, &world::sidecar(PRODUCTPAGE, true));
        compiled.secures("outbound|5432||db.default.svc.cluster.local")
    };
    assert!(secures(Vec::new()));
    assert!(!secures(vec![slice(&[("db-v1", "10.1.0.6"), ("db-without-proxy", "10.1.0.9")])]));
    assert!(!secures(vec![slice(&[])]));
}

/// What a rule wants protected is never sent in the clear.
#[test]
fn tls_to_others_is_spoken_or_nothing_is_sent() {
    let legacy = get("10.96.0.7:9080", "legacy:9080", "/");
    let with = |tls: &serde_json::Value| {
        let rule = Object::DestinationRule(world::read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": { "name": "legacy", "namespace": "default" },
            "spec": { "host": "legacy", "trafficPolicy": { "tls": tls } },
        })));
        world::snapshot(world::objects().into_iter().chain([rule]))
    };
    let cluster = "outbound|9080||legacy.default.svc.cluster.local";
    let productpage = world::sidecar(PRODUCTPAGE, true);
    let compiled = Compiled::whole(&world::snapshot(world::objects()), &productpage);
    assert!(compiled.secures(cluster));
    let world = with(&json!({ "mode": "MUTUAL" }));
    let mut compiled = Compiled::with_complaints(&world, &productpage);
    assert_eq!(
        end(&compiled.request(&legacy)),
        format!("100% {cluster}: {cluster} has no endpoint")
    );
}

/// Servers that speak first work where nothing has to be found out about the connection.
#[test]
fn connections_are_inspected_only_where_it_matters() {
    let world = world::snapshot(world::objects());
    for own in [true, false] {
        let of = |namespace, ip| {
            let compiled =
                Compiled::whole(&world, &world::sidecar((namespace, "every", "v1", ip), own));
            [HTTP, TCP, SNIFFED, UNNAMED].map(|port| compiled.inspects(port))
        };
        let (tls, http, both, none) = ((true, false), (false, true), (true, true), (false, false));
        assert_eq!(of("disable", "10.1.3.1"), [none, none, http, http]);
        assert_eq!(of("permissive", "10.1.2.1"), [tls, tls, both, both]);
        assert_eq!(of("strict", "10.1.1.1"), [tls, tls, tls, tls]);
    }
}
