//! Small worlds and what is said of them.

use serde_json::{Value, json};

use super::{ALL, World, analyze};

fn world(yaml: &str) -> World {
    let mut world = World::default();
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    for document in documents {
        assert!(world.add(document, "default"));
    }
    world
}

/// The messages of one analyzer as `code kind namespace/name`.
fn findings(world: &World, analyzer: &str) -> Vec<String> {
    let report = analyze(world, &[analyzer.to_owned()]);
    let line = |m: crate::report::Diagnostic| format!("{} {}", m.code, m.origin);
    report.into_sorted().into_iter().map(line).collect()
}

const REVIEWS: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {selector: {app: reviews}, ports: [{port: 9080, name: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v1, namespace: default, labels: {app: reviews, version: v1}}
spec: {containers: [{name: reviews}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  gateways: [absent]
  http:
  - route: [{destination: {host: reviews, subset: v1}}, {destination: {host: reviews, subset: v3}}]
  - route: [{destination: {host: nowhere}}]
";

#[test]
fn references_that_point_nowhere() {
    let world = world(REVIEWS);
    let of = |analyzer| findings(&world, analyzer);
    let reviews = "IST0101 VirtualService default/reviews";
    assert_eq!(of("virtualservice.DestinationHostAnalyzer"), [reviews]);
    assert_eq!(of("virtualservice.DestinationRuleAnalyzer"), [reviews]);
    assert_eq!(
        of("virtualservice.GatewayAnalyzer"),
        [reviews, "IST0132 VirtualService default/reviews"]
    );
    assert_eq!(
        of("destinationrule.PodNotSelectedAnalyzer"),
        ["IST0173 DestinationRule default/reviews"]
    );
}

#[test]
fn the_worst_comes_first_with_its_field() {
    let report = analyze(&world(REVIEWS), &[]);
    let first = report.into_sorted().remove(0);
    assert_eq!(first.path.as_deref(), Some("spec.subsets[1]"));
    assert!(
        first
            .to_string()
            .starts_with("Error [IST0173] (DestinationRule default/reviews) Subset v2")
    );
}

#[test]
fn namespaces_that_decide_nothing() {
    let world = world(
        "
apiVersion: v1
kind: Namespace
metadata: {name: undecided}
---
apiVersion: v1
kind: Namespace
metadata: {name: injected, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: injected}
spec: {containers: [{name: a}]}
",
    );
    assert_eq!(
        findings(&world, "injection.Analyzer"),
        ["IST0103 Pod injected/plain", "IST0102 Namespace undecided"]
    );
}

#[test]
fn validation_is_an_analyzer_too() {
    let world = world("
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}, {match: [{uri: {prefix: /}}], rout: []}]}
");
    assert_eq!(findings(&world, "schema.ValidationAnalyzer"), ["IST0106 VirtualService default/a"]);
}

#[test]
fn policies_without_workloads_and_old_fields() {
    let world = world("
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec: {selector: {matchLabels: {app: b}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{fault: {delay: {percent: 5, fixedDelay: 1s}}, route: [{destination: {host: a}}]}]}
");
    assert_eq!(
        findings(&world, "auth.AuthorizationPoliciesAnalyzer"),
        ["IST0127 AuthorizationPolicy default/a"]
    );
    assert_eq!(
        findings(&world, "deprecation.DeprecationAnalyzer"),
        ["IST0002 VirtualService default/a"]
    );
}

#[test]
fn entries_that_contradict_each_other() {
    let entry = |name: &str, protocol: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": { "name": name, "namespace": name },
            "spec": {
                "hosts": ["a.com"], "resolution": "DNS",
                "ports": [{ "number": 80, "name": "a", "protocol": protocol }],
            },
        })
    };
    let mut world = World::default();
    world.add(json!({ "kind": "List", "items": [entry("a", "HTTP"), entry("b", "TCP")] }), "x");
    assert_eq!(
        findings(&world, "serviceentry.ConflictingServiceEntryProtocolAnalyzer"),
        ["IST0177 ServiceEntry a/a", "IST0177 ServiceEntry b/b"]
    );
}

#[test]
fn analyzers_are_listed_once_and_in_order() {
    let names: Vec<_> = ALL.iter().map(|analyzer| analyzer.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    for name in super::NOT_BY_DEFAULT {
        assert!(names.contains(name));
    }
}

#[test]
fn injectors_of_one_installation_do_not_overlap() {
    let hook = |name: &str, namespace: Value, object: Value| {
        json!({ "name": name, "namespaceSelector": namespace, "objectSelector": object,
            "clientConfig": { "service": { "name": "istiod", "namespace": "istio-system" } } })
    };
    let absent = |key: &str| json!({ "key": key, "operator": "DoesNotExist" });
    let is = |key: &str, value: &str| json!({ "key": key, "operator": "In", "values": [value] });
    let configuration = |name: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration", "metadata": { "name": name },
            "webhooks": [
                hook("rev", json!({ "matchExpressions": [is("istio.io/rev", "default"), absent("istio-injection")] }), Value::Null),
                hook("namespace", json!({ "matchExpressions": [is("istio-injection", "enabled")] }), Value::Null),
            ],
        })
    };
    let mut world = World::default();
    let service = json!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "istiod", "namespace": "istio-system" } });
    world.add(service, "");
    world.add(configuration("istio-sidecar-injector"), "");
    assert!(findings(&world, "webhook.Analyzer").is_empty());
    world.add(configuration("istio-revision-tag-default"), "");
    assert_eq!(findings(&world, "webhook.Analyzer").len(), 4);
}

const CLAIMS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ingress, namespace: gateways, labels: {istio: ingress}}
spec: {containers: [{name: istio-proxy}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-claim}
spec:
  hosts: [a.example.org]
  gateways: [g, absent, mesh]
  http:
  - match: [{headers: {'@request.auth.claims.group': {exact: admin}}}]
    route: [{destination: {host: a}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-header}
spec:
  hosts: [b.example.org]
  gateways: [g]
  http:
  - match: [{headers: {'@request.auth.claimsx': {exact: admin}}}]
    route: [{destination: {host: a}}]
";

#[test]
fn claims_need_somebody_who_verifies_them() {
    for (namespace, selector, verified) in [
        ("gateways", "{}", true),
        ("istio-system", "{selector: {matchLabels: {istio: ingress}}}", true),
        ("gateways", "{selector: {matchLabels: {istio: other}}}", false),
        ("default", "{}", false),
    ] {
        let policy = format!(
            "\n---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
             metadata: {{name: jwt, namespace: {namespace}}}\nspec: {selector}\n"
        );
        let world = world(&format!("{CLAIMS}{policy}"));
        let said = findings(&world, "virtualservice.JWTClaimRouteAnalyzer");
        let wanted: &[&str] =
            if verified { &[] } else { &["IST0149 VirtualService default/by-claim"] };
        assert_eq!(said, wanted, "{namespace} {selector}");
    }
}

#[test]
fn conditions_that_say_no() {
    let object = |api: &str, kind: &str, status: Value| json!({ "apiVersion": api, "kind": kind, "metadata": { "name": "a" }, "status": status });
    let conditions = |kind: &str, status: &str, reason: &str| json!([{ "type": kind, "status": status, "reason": reason, "message": "m" }]);
    let security = "security.istio.io/v1";
    for (api, kind, conditions, negative) in [
        ("v1", "Service", conditions("istio.io/WaypointBound", "False", "Missing"), true),
        ("v1", "Service", conditions("istio.io/WaypointBound", "True", ""), false),
        ("v1", "Service", conditions("Other", "False", ""), false),
        (security, "AuthorizationPolicy", conditions("ZtunnelAccepted", "False", "x"), true),
        (
            security,
            "AuthorizationPolicy",
            conditions("WaypointAccepted", "True", "PartiallyInvalid"),
            true,
        ),
        ("gateway.networking.k8s.io/v1", "Gateway", conditions("Programmed", "False", "x"), true),
    ] {
        let mut world = World::default();
        let status = json!({ "conditions": conditions });
        assert!(world.add(object(api, kind, status), "default"));
        let said = findings(&world, "conditions.ConditionAnalyzer");
        assert_eq!(said.len(), usize::from(negative), "{kind} {said:?}");
    }
    let mut world = World::default();
    let parents = json!({ "parents": [
        { "conditions": conditions("Accepted", "True", "") },
        { "conditions": conditions("ResolvedRefs", "False", "BackendNotFound") },
    ] });
    world.add(object("gateway.networking.k8s.io/v1", "HTTPRoute", parents), "default");
    let said = findings(&world, "conditions.ConditionAnalyzer");
    assert_eq!(said, ["IST0171 HTTPRoute default/a"]);
}

#[test]
fn old_definitions_of_the_gateway_api() {
    for (name, version, old) in [
        ("grpcroutes", "v1.0.0", true),
        ("grpcroutes", "v1.1.0-rc1", false),
        ("tlsroutes", "v1.4.1", true),
        ("gateways", "v0.5.0", false),
    ] {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{name}.gateway.networking.k8s.io"),
                "annotations": { "gateway.networking.k8s.io/bundle-version": version },
            },
        });
        let mut world = World::default();
        assert!(world.add(definition, ""));
        let said = findings(&world, "k8sgateway.CRDVersionAnalyzer");
        assert_eq!(said.len(), usize::from(old), "{name} {version}");
    }
}
