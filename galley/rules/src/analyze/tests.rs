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
