//! Which Sidecar a workload has, and what its hosts mean.

use serde_json::{Value, json};

use super::*;

fn scope(namespace: &str, name: &str, spec: Value) -> Arc<Scope> {
    let sidecar = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    Arc::new(Scope::new(Arc::new(serde_json::from_value(sidecar).unwrap())))
}

#[test]
fn the_nearest_scope_counts() {
    let selecting = |app: &str| json!({ "workloadSelector": { "labels": { "app": app } } });
    let all = [
        scope("istio-system", "root", json!({})),
        scope("istio-system", "root-reviews", selecting("reviews")),
        scope("default", "whole", json!({})),
        scope("default", "younger", json!({})),
        scope("default", "reviews", selecting("reviews")),
    ];
    let chosen = |namespace: &str, app: &str, all: &[Arc<Scope>]| {
        let mut scopes = Scopes::new();
        for scope in all {
            scopes.entry(scope.key().namespace.clone()).or_default().push(Arc::clone(scope));
        }
        let labels = Labels::from([("app".to_owned(), app.to_owned())]);
        let found = select(&scopes, (namespace, &labels), "istio-system");
        found.map(|scope| scope.key().to_string())
    };
    let cases = [
        ("default", "reviews", Some("Sidecar/default/reviews")),
        ("default", "ratings", Some("Sidecar/default/whole")),
        ("other", "reviews", Some("Sidecar/istio-system/root")),
        ("istio-system", "reviews", Some("Sidecar/istio-system/root-reviews")),
    ];
    for (namespace, app, expected) in cases {
        assert_eq!(chosen(namespace, app, &all).as_deref(), expected, "{namespace} {app}");
    }
    assert_eq!(chosen("other", "reviews", &all[2..]), None);
}

#[test]
fn hosts_name_namespaces_and_names() {
    let includes = |hosts: &[&str], host: &str, namespace: &str| {
        let scope = scope("default", "s", json!({ "egress": [{ "hosts": hosts }] }));
        assert_eq!(scope.flaws(), []);
        let host = Hostname::parse(host).unwrap();
        scope.imports((&host, namespace), PortNumber::new(80).unwrap(), "default")
    };
    let (own, other) = ("a.default.svc.cluster.local", "b.other.svc.cluster.local");
    let cases: [(&[&str], bool, bool); 10] = [
        (&["./*"], true, false),
        (&["*/*"], true, true),
        (&["~/*"], false, false),
        (&["other/*"], false, true),
        (&["./*", "other/*"], true, true),
        (&["*/b.other.svc.cluster.local"], false, true),
        (&["./b.other.svc.cluster.local"], false, false),
        (&["*/*.other.svc.cluster.local"], false, true),
        (&["default/a.default.svc.cluster.local"], true, false),
        (&[], false, false),
    ];
    for (hosts, wants_own, wants_other) in cases {
        assert_eq!(includes(hosts, own, "default"), wants_own, "{hosts:?}");
        assert_eq!(includes(hosts, other, "other"), wants_other, "{hosts:?}");
    }
}

#[test]
fn a_port_of_its_own_has_hosts_of_its_own() {
    let scope = scope(
        "default",
        "s",
        json!({ "egress": [
            { "port": { "number": 9080, "protocol": "HTTP", "name": "h" }, "hosts": ["other/*"] },
            { "hosts": ["./*"] },
        ] }),
    );
    let includes = |namespace: &str, port: u16| {
        let host = Hostname::parse(&format!("a.{namespace}.svc.cluster.local")).unwrap();
        scope.imports((&host, namespace), PortNumber::new(port).unwrap(), "default")
    };
    assert!(includes("other", 9080) && !includes("default", 9080));
    assert!(includes("default", 80) && !includes("other", 80));
    let rules = |host: &str, namespace: &str| {
        scope.imports_rules(&Hostname::parse(host).unwrap(), namespace, "default")
    };
    assert!(rules("a.b", "other") && rules("*", "default") && !rules("a.b", "third"));
}

#[test]
fn a_scope_without_listeners_includes_everything_and_keeps_its_policy() {
    let policy = |spec: Value| scope("default", "s", spec).allows_any();
    assert_eq!(policy(json!({})), None);
    assert_eq!(policy(json!({ "outboundTrafficPolicy": {} })), Some(false));
    let any = json!({ "outboundTrafficPolicy": { "mode": "ALLOW_ANY" } });
    assert_eq!(policy(any.clone()), Some(true));
    let host = Hostname::parse("a.other.svc.cluster.local").unwrap();
    let (one, two) = (scope("default", "s", any.clone()), scope("default", "s", json!({})));
    assert!(one.imports((&host, "other"), PortNumber::new(1).unwrap(), "default"));
    assert!(one == scope("default", "s", any) && one != two);
}

#[test]
fn what_is_not_followed_is_named() {
    let port = |number: u32| json!({ "number": number, "protocol": "HTTP", "name": "h" });
    let scope = scope(
        "default",
        "s",
        json!({ "egress": [
            { "hosts": ["./*", "nonsense", "./a b"] },
            { "hosts": ["*/*"] },
            { "port": port(0), "hosts": ["./*"] },
            { "port": port(80), "hosts": ["./*"], "bind": "127.0.0.1", "captureMode": "NONE" },
            { "port": port(80), "hosts": ["./*"] },
        ] }),
    );
    let fields: Vec<&str> = scope.flaws().iter().map(|flaw| flaw.field.as_str()).collect();
    let expected = [
        "spec.egress[0].hosts[1]",
        "spec.egress[0].hosts[2]",
        "spec.egress[1].hosts",
        "spec.egress[2].port.number",
        "spec.egress[3].bind",
        "spec.egress[3].captureMode",
        "spec.egress[4].port.number",
    ];
    assert_eq!(fields, expected);
}
