//! A real Envoy takes all that pilot sends, in both forms of the protocol.

use std::time::Duration;

use mesh_api::type_url::TypeUrl;
use mesh_test::eventually;
use mesh_test::netns::Netns;
use serde_json::json;

use crate::control::Control;
use crate::envoy::{Envoy, Form, Who};
use crate::world;

const PATIENCE: Duration = Duration::from_secs(30);

fn sidecar(namespace: &'static str, app: &str, account: &'static str, ip: &str) -> Who {
    Who {
        id: format!("sidecar~{ip}~{app}-v1.{namespace}~{namespace}.svc.cluster.local"),
        namespace,
        account,
        labels: json!({ "app": app, "version": "v1" }),
    }
}

fn gateway() -> Who {
    let id = "router~10.1.4.1~istio-ingressgateway-1.istio-system~istio-system.svc.cluster.local";
    Who {
        id: id.to_owned(),
        namespace: "istio-system",
        account: "istio-ingressgateway",
        labels: json!({ "app": "istio-ingressgateway", "istio": "ingressgateway" }),
    }
}

fn proxy_of(who: &Who) -> String {
    who.id.split('~').nth(2).unwrap().to_owned()
}

/// Starts an Envoy and waits until it has acknowledged everything.
fn take<'a>(net: &'a Netns, control: &Control, who: &Who, form: Form) -> Envoy<'a> {
    let envoy = Envoy::start(net, control, "127.0.0.1", who, form);
    let types = [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route];
    eventually("everything is acknowledged", PATIENCE, || {
        control.acknowledged(&proxy_of(who), &types)
    });
    assert_eq!(envoy.refused(), "");
    // Nor is anything taken with a warning, but for how long names hold, and how long a gRPC caller
    // may ask to wait: that is said in the fields that every Envoy knows (and Istio sends), which
    // the newest would rather see elsewhere.
    let log = envoy.log();
    let older =
        ["Cluster.dns_refresh_rate'", "Cluster.respect_dns_ttl'", "RouteAction.max_grpc_timeout'"];
    let is_news = |line: &&str| !older.iter().any(|field| line.contains(field));
    assert_eq!(log.lines().filter(is_news).collect::<Vec<_>>(), Vec::<&str>::new());
    envoy
}

#[test]
fn an_envoy_of_every_kind_acknowledges_everything() {
    let net = Netns::new();
    let world = world::snapshot(world::objects());
    let control = Control::start(&net, &world);
    let everyone = [
        sidecar("default", "productpage", "bookinfo-productpage", "10.1.0.1"),
        sidecar("default", "ratings", "bookinfo-ratings", "10.1.0.4"),
        sidecar("strict", "every", "bookinfo-every", "10.1.1.1"),
        sidecar("permissive", "every", "bookinfo-every", "10.1.2.1"),
        sidecar("disable", "every", "bookinfo-every", "10.1.3.1"),
        gateway(),
    ];
    for who in &everyone {
        for form in [Form::Delta, Form::StateOfTheWorld] {
            let envoy = take(&net, &control, who, form);
            let listeners = envoy.active("dynamic_listeners");
            let clusters = envoy.active("dynamic_active_clusters");
            let productpage = "outbound|9080||productpage.default.svc.cluster.local".to_owned();
            assert!(clusters.contains(&productpage), "{clusters:?}");
            let elsewhere = clusters.iter().any(|name| name.contains("every.permissive."));
            assert_eq!(elsewhere, !who.id.contains("~ratings-"), "{clusters:?}");
            if who.id.starts_with("router") {
                let ports = [15443, 15444, 31400, 8080].map(|port| format!("0.0.0.0_{port}"));
                assert_eq!(listeners, ports);
            } else {
                for name in ["virtualInbound", "virtualOutbound", "0.0.0.0_9080"] {
                    assert!(listeners.contains(&name.to_owned()), "{listeners:?}");
                }
            }
        }
    }
}
