//! What ends under load: an endpoint's proxy, a gateway, a filter chain. Not one request fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mesh_rt::drain::DrainMode;
use serde_json::json;

use super::{Object, REVIEWS, Setup, peer_authentication, pod, read};
use crate::clients::Load;
use crate::pods::{App, Sidecar, Who};

const DRAIN: DrainMode = DrainMode::Graceful { deadline: Duration::from_secs(20) };

fn endpoint(slice: &str, port: u16, addresses: &[&str]) -> Object {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|ip| {
            json!({
                "addresses": [ip], "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": "reviews-v2" },
            })
        })
        .collect();
    Object::EndpointSlice(read(json!({
        "metadata": {
            "name": slice, "namespace": "default",
            "labels": { "kubernetes.io/service-name": "reviews" },
        },
        "addressType": "IPv4", "ports": [{ "name": "http", "port": port }],
        "endpoints": endpoints,
    })))
}

/// A second pod of reviews.
async fn second(setup: &Setup) -> Sidecar {
    let port = setup.app.http.port();
    let app = App::start_on(&setup.tasks, Ipv4Addr::new(127, 0, 0, 4), port).await;
    let data = setup.data.path().join("second");
    std::fs::create_dir_all(&data).unwrap();
    let pod = json!({
        "metadata": {
            "name": "reviews-v2", "namespace": "default",
            "labels": { "app": "reviews", "security.istio.io/tlsMode": "istio" },
        },
        "spec": { "serviceAccountName": "reviews", "containers": [] },
        "status": { "podIP": "127.0.0.4", "podIPs": [{ "ip": "127.0.0.4" }] },
    });
    setup.mesh.apply(vec![Object::Pod(read(pod))]);
    let pilot = setup.pilot.as_ref().unwrap().address;
    let id = "sidecar~127.0.0.4~reviews-v2.default~default.svc.cluster.local";
    let who = Who { id, app: "reviews", pilot, on_demand: true, data: &data, dns: None };
    let sidecar = Sidecar::start(&who, &setup.ca).await;
    sidecar.ready().await;
    setup.mesh.reach(app.http, sidecar.captures("virtualInbound", app.http));
    sidecar
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_ends_loses_no_request() {
    let setup = Setup::new(true).await;
    let second = second(&setup).await;
    let port = setup.app.http.port();
    setup.mesh.apply(vec![endpoint("reviews-y", port, &["127.0.0.4"])]);
    let at: SocketAddr = setup.web.captures("virtualOutbound", REVIEWS.parse().unwrap());
    let load = Load::start(&setup.web.process.tasks, at, "reviews:9080");
    second.recorded("/load 200").await;
    setup.reviews.recorded("/load 200").await;

    // The pod ends; the others hear of it a while later.
    let trigger = setup.reviews.process.tasks.trigger().clone();
    let ending = setup
        .tasks
        .spawn_background("end", async move { trigger.start_drain_and_wait(DRAIN).await });
    load.more(20).await;
    setup.mesh.apply(vec![endpoint("reviews-x", port, &[])]);
    let outcome = ending.await.unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    load.more(100).await;
    assert_eq!(load.connections(), 2, "the clients see nothing of it");
    assert_eq!(load.stop().await, [""; 0]);
    second.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filter_chains_change_under_load() {
    let setup = Setup::new(true).await;
    let at: SocketAddr = setup.web.captures("virtualOutbound", REVIEWS.parse().unwrap());
    let load = Load::start(&setup.web.process.tasks, at, "reviews:9080");
    for mode in ["PERMISSIVE", "STRICT"] {
        load.more(50).await;
        setup.mesh.apply(vec![peer_authentication(mode)]);
    }
    load.more(50).await;
    assert_eq!(load.stop().await, [""; 0]);
    assert_eq!(setup.mesh.nacks(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_loses_no_request() {
    let setup = Setup::new(true).await;
    setup.mesh.apply(vec![
        pod("edge", "127.0.0.9"),
        Object::Gateway(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "edge", "namespace": "default" },
            "spec": {
                "selector": { "istio": "edge" },
                "servers": [{
                    "port": { "number": 8080, "name": "http", "protocol": "HTTP" },
                    "hosts": ["edge.example"],
                }],
            },
        }))),
        Object::VirtualService(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "edge", "namespace": "default" },
            "spec": {
                "hosts": ["edge.example"], "gateways": ["edge"],
                "http": [{ "route": [{ "destination": {
                    "host": "reviews", "port": { "number": 9080 },
                } }] }],
            },
        }))),
    ]);
    let data = setup.data.path().join("edge");
    std::fs::create_dir_all(&data).unwrap();
    let pilot = setup.pilot.as_ref().unwrap().address;
    let id = "router~127.0.0.9~edge-v1.default~default.svc.cluster.local";
    let who = Who { id, app: "edge", pilot, on_demand: false, data: &data, dns: None };
    let edge = Sidecar::start(&who, &setup.ca).await;
    edge.ready().await;
    let at = SocketAddr::from(([127, 0, 0, 1], edge.listens("0.0.0.0_8080")));
    let load = Load::start(&setup.tasks, at, "edge.example");
    load.more(100).await;
    assert_eq!(load.connections(), 2);
    let trigger = edge.process.tasks.trigger().clone();
    let ending = setup
        .tasks
        .spawn_background("end", async move { trigger.start_drain_and_wait(DRAIN).await });
    // Both clients are told to connect again, and are served as long as they come.
    load.connected(6).await;
    assert_eq!(load.stop().await, [""; 0]);
    let outcome = ending.await.unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    assert_eq!(setup.mesh.nacks(), [""; 0]);
}
