//! A mesh of two pods: productpage, whose sidecar is a real Envoy, and reviews, whose sidecar is
//! ours; or a gateway of the one kind before a pod of the other. Everything between them is mutual
//! TLS.

use std::net::Ipv4Addr;
use std::time::Duration;

use mesh_api::type_url::TypeUrl;
use mesh_test::eventually;
use mesh_test::netns::Netns;
use pilot_model::store::Object;
use serde_json::{Value, json};

use crate::apps::{self, Apps};
use crate::control::Control;
use crate::envoy::{Envoy, Form, Who};
use crate::ours::{Ours, capture};
use crate::world;

const PATIENCE: Duration = Duration::from_secs(30);
const PRODUCTPAGE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const REVIEWS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const HTTP: u16 = 9080;
const LINES: u16 = 9000;

fn objects() -> Vec<Object> {
    let ports = json!([{ "name": "http", "port": HTTP }, { "name": "tcp", "port": LINES }]);
    let mut all = vec![
        Object::MeshConfig("accessLogFile: /dev/stdout".to_owned()),
        Object::PeerAuthentication(world::read(json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": { "name": "default", "namespace": "istio-system" },
            "spec": { "mtls": { "mode": "STRICT" } },
        }))),
    ];
    for (app, ip, vip) in
        [("productpage", PRODUCTPAGE, "10.96.0.1"), ("reviews", REVIEWS, "10.96.0.2")]
    {
        let ip = ip.to_string();
        all.push(world::service("default", app, vip, &ports));
        all.push(world::pod(("default", app, "v1", &ip)));
        all.push(world::slice("default", app, &ports, &[(&format!("{app}-v1"), &ip)]));
    }
    all.push(world::service(
        "istio-system",
        "istio-ingressgateway",
        "10.96.0.9",
        &json!([
            { "name": "http2", "port": 80, "targetPort": 8080 },
        ]),
    ));
    all.push(Object::Gateway(world::read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": { "name": "edge", "namespace": "default" },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [
            { "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] },
        ] },
    }))));
    let to = |app: &str| {
        json!({
            "match": [{ "uri": { "prefix": format!("/{app}/") } }],
            "rewrite": { "uri": "/" },
            "route": [{ "destination": { "host": app, "port": { "number": HTTP } } }],
        })
    };
    all.push(Object::VirtualService(world::read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "edge", "namespace": "default" },
        "spec": {
            "hosts": ["*"], "gateways": ["edge"], "http": [to("productpage"), to("reviews")],
        },
    }))));
    all
}

fn gateway(ip: Ipv4Addr) -> Who {
    Who {
        id: format!("router~{ip}~edge-1.istio-system~istio-system.svc.cluster.local"),
        namespace: "istio-system",
        account: "istio-ingressgateway",
        labels: json!({ "app": "istio-ingressgateway", "istio": "ingressgateway" }),
    }
}

/// What a request from outside finds behind the gateway: the application, which sees the gateway.
fn enter(outside: &Netns, ip: Ipv4Addr, app: &str) {
    let answer = eventually("the gateway leads to the application", PATIENCE, || {
        let answer = apps::get(outside, &format!("{ip}:8080"), "any", &format!("/{app}/hello"))?;
        if answer.status == 200 { Ok(answer) } else { Err(answer.text) }
    });
    assert_eq!((&answer.seen["app"], &answer.seen["path"]), (&json!(app), &json!("/hello")));
    let uri = "URI=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway";
    assert!(client_of(&answer.seen).contains(uri), "{}", answer.seen);
    let elsewhere = apps::get(outside, &format!("{ip}:8080"), "any", "/elsewhere").unwrap();
    assert_eq!(elsewhere.status, 404);
}

#[test]
fn an_envoy_gateway_leads_to_our_sidecar() {
    let (edge, pod) = (Netns::new(), Netns::new());
    edge.link(PRODUCTPAGE, &pod, REVIEWS);
    let _reviews = Apps::start(&pod, "reviews", REVIEWS, (HTTP, LINES));
    let control = Control::start(&edge, &world::snapshot(objects()));
    capture(&pod);
    let reviews = who("reviews", "bookinfo-reviews", REVIEWS);
    let _ours = Ours::start(&pod, &control, &PRODUCTPAGE.to_string(), &reviews);
    let at = gateway(PRODUCTPAGE);
    let envoy = Envoy::start(&edge, &control, "127.0.0.1", &at, Form::StateOfTheWorld);
    enter(&edge, PRODUCTPAGE, "reviews");
    assert_eq!(envoy.refused(), "");
}

#[test]
fn our_gateway_leads_to_an_envoy_sidecar() {
    let (pod, edge) = (Netns::new(), Netns::new());
    pod.link(PRODUCTPAGE, &edge, REVIEWS);
    let _productpage = Apps::start(&pod, "productpage", PRODUCTPAGE, (HTTP, LINES));
    let control = Control::start(&pod, &world::snapshot(objects()));
    capture(&pod);
    let productpage = who("productpage", "bookinfo-productpage", PRODUCTPAGE);
    let _envoy = Envoy::start(&pod, &control, "127.0.0.1", &productpage, Form::StateOfTheWorld);
    let _ours = Ours::start(&edge, &control, &PRODUCTPAGE.to_string(), &gateway(REVIEWS));
    enter(&edge, REVIEWS, "productpage");
}

fn who(app: &'static str, account: &'static str, ip: Ipv4Addr) -> Who {
    Who {
        id: format!("sidecar~{ip}~{app}-v1.default~default.svc.cluster.local"),
        namespace: "default",
        account,
        labels: json!({ "app": app, "version": "v1" }),
    }
}

fn client_of(seen: &Value) -> &str {
    seen["headers"]["x-forwarded-client-cert"].as_str().unwrap_or_default()
}

#[test]
fn envoy_and_our_proxy_call_each_other_by_mutual_tls() {
    let (envoys, ours) = (Netns::new(), Netns::new());
    envoys.link(PRODUCTPAGE, &ours, REVIEWS);
    let _productpage = Apps::start(&envoys, "productpage", PRODUCTPAGE, (HTTP, LINES));
    let _reviews = Apps::start(&ours, "reviews", REVIEWS, (HTTP, LINES));
    let control = Control::start(&envoys, &world::snapshot(objects()));
    capture(&envoys);
    capture(&ours);
    let productpage = who("productpage", "bookinfo-productpage", PRODUCTPAGE);
    let reviews = who("reviews", "bookinfo-reviews", REVIEWS);
    let envoy = Envoy::start(&envoys, &control, "127.0.0.1", &productpage, Form::Delta);
    let _ours = Ours::start(&ours, &control, &PRODUCTPAGE.to_string(), &reviews);
    let types = [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route];
    eventually("Envoy has everything", PATIENCE, || {
        control.acknowledged("productpage-v1.default", &types)
    });
    assert_eq!(envoy.refused(), "");

    // Requests, by service address, both ways: the server sees who the client is.
    for (from, to, host, app, client) in [
        (&envoys, "10.96.0.2:9080", "reviews:9080", "reviews", "productpage"),
        (&ours, "10.96.0.1:9080", "productpage:9080", "productpage", "reviews"),
    ] {
        let answer = apps::get(from, to, host, "/hello").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!((&answer.seen["app"], &answer.seen["path"]), (&json!(app), &json!("/hello")));
        let uri = format!("URI=spiffe://cluster.local/ns/default/sa/bookinfo-{client}");
        let xfcc = client_of(&answer.seen);
        assert!(xfcc.contains(&uri) && xfcc.contains("Hash="), "{xfcc}");
    }

    // Bytes, both ways.
    assert_eq!(apps::line(&envoys, "10.96.0.2:9000", "hello").unwrap(), "reviews: hello");
    assert_eq!(apps::line(&ours, "10.96.0.1:9000", "hello").unwrap(), "productpage: hello");

    // A pod by its own address is reached as the application does it, which strict pods refuse.
    for (from, to) in [(&envoys, "10.1.0.2:9080"), (&ours, "10.1.0.1:9080")] {
        let answer = apps::get(from, to, to, "/hello").unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
}
