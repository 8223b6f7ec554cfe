//! Charts rendered here and by the real Helm come to the same objects.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod language;
mod server;

use std::collections::BTreeMap;

use mesh_ctl::apply;
use mesh_ctl::chart::Charts;
use mesh_ctl::install::operator::{Operator, Request};
use mesh_ctl::install::plan;
use mesh_ctl::render::{self, Release};
use serde_json::{Value, json};
use server::Helm;

type Objects = BTreeMap<String, Value>;

/// The objects of a YAML stream by kind, namespace and name.
fn objects(text: &str) -> Objects {
    let mut all = Objects::new();
    for object in apply::parse("the rendered chart", text).unwrap() {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let key = format!("{} in {namespace:?}", apply::title(&object));
        let twice = all.insert(key.clone(), serde_json::to_value(object).unwrap());
        assert!(twice.is_none(), "{key} is there twice");
    }
    all
}

/// Whether two values mean the same. A text inside an object may itself be a document, which may
/// be written in more than one way.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let pair = |(key, value)| theirs.get(key).is_some_and(|other| same(value, other));
            ours.len() == theirs.len() && ours.iter().all(pair)
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::String(ours), Value::String(theirs)) if ours != theirs => {
            let [ours, theirs] = [ours, theirs].map(|text| render::yaml::read(text));
            matches!((ours, theirs), (Ok(ours @ (Value::Object(_) | Value::Array(_))), Ok(theirs))
                if same(&ours, &theirs))
        }
        (ours, theirs) => ours == theirs,
    }
}

/// One chart, rendered by both.
async fn compare(helm: &mut Helm, dir: &str, (name, namespace): (&str, &str), values: &Value) {
    let root = mesh_test::settings::repository().join("charts");
    let chart = Charts::read(&root).unwrap().chart(dir).unwrap();
    let release = Release {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        kube_version: "v1.33.0".to_owned(),
    };
    let texts = render::render(&chart, &release, values).unwrap();
    let ours: Vec<_> = texts.into_iter().map(|rendered| rendered.text).collect();
    let ours = objects(&ours.join("\n---\n"));
    let theirs = helm.template(&root.join(dir), (name, namespace), values).await.unwrap();
    let theirs = objects(&theirs);
    let (our_keys, their_keys): (Vec<_>, Vec<_>) = (ours.keys().collect(), theirs.keys().collect());
    assert_eq!(our_keys, their_keys, "chart {dir}, values {values}");
    assert!(!ours.is_empty(), "chart {dir}, values {values}");
    for (key, object) in &ours {
        let theirs = &theirs[key];
        assert!(
            same(object, theirs),
            "{key} of chart {dir}, values {values}\n  ours  {object}\n  Helm  {theirs}"
        );
    }
}

#[tokio::test]
async fn the_control_plane_chart() {
    let mut helm = Helm::start().await;
    for values in [
        json!({}),
        json!({"revision": "canary", "global": {
            "hub": "registry.example/mesh", "tag": "1.2", "imagePullPolicy": "Always",
            "imagePullSecrets": ["one", "two"], "network": "n1", "meshID": "m1",
            "multiCluster": {"clusterName": "east"}, "caAddress": "ca.example:15012",
            "logAsJson": true, "priorityClassName": "system-cluster-critical",
            "meshNetworks": {"n1": {"endpoints": [{"fromRegistry": "east"}],
                "gateways": [{"address": "1.2.3.4", "port": 15443}]}}}}),
        json!({
            "pilot": {"replicaCount": 3, "env": {"B": true, "A": "1", "C": 150_000, "D": 0.25},
                "traceSampling": 33.3, "resources": null, "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "a", "operator": "Exists"}], "podLabels": {"x": "y"},
                "affinity": {"nodeAffinity": {}}, "podAnnotations": {"a/b": "true"},
                "serviceAnnotations": {"c": "yes"}},
            "citadel": {"replicaCount": 2, "env": {"X": "no"}, "resources": null},
            "galley": {"replicaCount": 2, "env": {"Y": "0"}, "resources": null,
                "podAnnotations": {"d": "e"}}}),
        json!({"global": {"configValidation": false}, "galley": {"replicaCount": 2}}),
        json!({"pilot": {"autoscaleEnabled": true, "autoscaleMin": 2, "autoscaleMax": 9,
            "cpu": {"targetAverageUtilization": 50}}, "galley": {"autoscaleEnabled": true}}),
        json!({
            "meshConfig": {"accessLogFile": "/dev/stdout", "trustDomain": "td1",
                "enablePrometheusMerge": null, "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
                "defaultConfig": {"proxyMetadata": {"A": "b"}, "tracing": {"sampling": 100}},
                "extensionProviders": [{"name": "otel", "envoyOtelAls": {"port": 4317,
                    "service": "otel.observability.svc.cluster.local"}}]},
            "sidecarInjectorWebhook": {"enableNamespacesByDefault": true,
                "reinvocationPolicy": "IfNeeded", "injectedAnnotations": {"k": "v: w"},
                "neverInjectSelector": [{"matchLabels": {"job": "x"}}],
                "templates": {"custom": "spec:\n  containers:\n  - name: istio-proxy\n"}}}),
    ] {
        compare(&mut helm, "istiod", ("istiod", "istio-system"), &values).await;
        compare(&mut helm, "istiod", ("other", "mesh"), &values).await;
    }
}

#[tokio::test]
async fn the_gateway_chart() {
    let mut helm = Helm::start().await;
    for values in [
        json!({}),
        json!({"name": "edge", "revision": "canary", "replicaCount": 2,
            "labels": {"istio": "edge", "team": "net"}, "annotations": {"a": "b"},
            "podAnnotations": {"c": "d"}, "env": {"B": "2", "A": true},
            "service": {"type": "NodePort", "ports": [{"name": "tls", "port": 15443}],
                "annotations": {"x": "y"}, "externalTrafficPolicy": "Local"},
            "networkGateway": "n1", "terminationGracePeriodSeconds": 5}),
        json!({"service": {"type": "None"}, "rbac": {"enabled": false},
            "serviceAccount": {"create": false, "name": "mine"},
            "autoscaling": {"enabled": true, "maxReplicas": 7}, "resources": null}),
        json!({"service": {"loadBalancerIP": "10.0.0.1", "loadBalancerClass": "c",
                "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalIPs": ["1.1.1.1"]},
            "securityContext": {"runAsUser": 5}, "containerSecurityContext": {"privileged": false},
            "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "topologySpreadConstraints": [{"maxSkew": 1}],
            "meshConfig": {"trustDomain": "td", "defaultConfig": {"concurrency": 2}},
            "global": {"imagePullSecrets": ["s"], "imagePullPolicy": "Never", "network": "n"}}),
    ] {
        compare(&mut helm, "gateway", ("istio-ingressgateway", "istio-system"), &values).await;
        compare(&mut helm, "gateway", ("gw", "edge"), &values).await;
    }
}

#[tokio::test]
async fn the_base_chart() {
    let mut helm = Helm::start().await;
    for values in
        [json!({}), json!({"base": {"excludedCRDs": ["wasmplugins.extensions.istio.io"]}})]
    {
        compare(&mut helm, "base", ("istio-base", "istio-system"), &values).await;
    }
}

#[tokio::test]
async fn what_install_renders() {
    let mut helm = Helm::start().await;
    let file = "kind: IstioOperator\nspec:\n  revision: canary\n  components:\n    pilot:\n      \
        k8s: {replicaCount: 2, env: [{name: A, value: b}], hpaSpec: {minReplicas: 2}}\n    \
        egressGateways:\n    - {name: out, namespace: edge, enabled: true, label: {team: edge}}\n";
    for (files, sets) in [
        (vec![], vec!["profile=default"]),
        (vec![], vec!["profile=demo", "values.pilot.replicaCount=2", "hub=h", "tag=1.0"]),
        (vec![], vec!["profile=minimal", "meshConfig.defaultConfig.tracing.sampling=12.5"]),
        (vec![file], vec!["values.global.network=n1", "meshConfig.accessLogFile=/dev/stdout"]),
    ] {
        let request = Request {
            files: files.into_iter().map(|text| ("f.yaml".to_owned(), text.to_owned())).collect(),
            sets: sets.into_iter().map(str::to_owned).collect(),
            revision: None,
        };
        let charts = Charts::embedded();
        let operator = Operator::new(&charts, &request).unwrap();
        for one in plan::plan(&charts, &operator).unwrap() {
            let place = (one.release.as_str(), one.namespace.as_str());
            compare(&mut helm, one.dir, place, &one.values).await;
        }
    }
}

#[tokio::test]
async fn helm_finds_nothing_to_say_against_the_charts() {
    let mut helm = Helm::start().await;
    for dir in ["base", "istiod", "gateway"] {
        let root = mesh_test::settings::repository().join("charts");
        let said = helm.lint(&root.join(dir)).await;
        let said = said.unwrap_or_else(|said| panic!("chart {dir}: {said}"));
        assert!(!said.contains("[ERROR]") && !said.contains("[WARNING]"), "chart {dir}: {said}");
    }
}
