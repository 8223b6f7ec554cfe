//! What is filled in, kind by kind, and that doing it twice changes nothing.

use serde_json::{Value, json};

use super::{apply, on_create};
use crate::kind::Gvk;

fn defaulted(api_version: &str, kind: &str, mut object: Value) -> Value {
    let gvk = Gvk::from_api_version(api_version, kind);
    apply(&gvk, &mut object);
    let mut again = object.clone();
    apply(&gvk, &mut again);
    assert_eq!(object, again, "{kind}: defaulting twice");
    object
}

#[test]
fn a_pod_is_filled_in() {
    let pod = json!({
        "metadata": {"name": "x"},
        "spec": {
            "serviceAccountName": "sa",
            "containers": [{
                "name": "app", "image": "reg:5000/app",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 2},
                "livenessProbe": {"grpc": {"port": 81}},
                "lifecycle": {"preStop": {"httpGet": {"port": 80}}}
            }],
            "initContainers": [{"name": "init", "image": "a/b:1.2@sha256:00"}],
            "volumes": [
                {"name": "a"},
                {"name": "b", "configMap": {"name": "c"}},
                {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {"name": "e", "hostPath": {"path": "/"}}
            ]
        }
    });
    insta::assert_json_snapshot!(defaulted("v1", "Pod", pod));
}

#[test]
fn workloads_are_filled_in() {
    let spec =
        || json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}});
    let mut all = serde_json::Map::new();
    for (version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
    ] {
        let mut object = defaulted(version, kind, spec());
        let template = object["spec"].as_object_mut().unwrap().remove("template").unwrap();
        assert_eq!(template["spec"]["restartPolicy"], "Always", "{kind}");
        assert_eq!(
            template["spec"].get("enableServiceLinks"),
            None,
            "{kind}: a pod's default only"
        );
        all.insert(kind.to_owned(), object["spec"].take());
    }
    insta::assert_json_snapshot!(all);
    let recreate = json!({"spec": {"strategy": {"type": "Recreate"}, "replicas": 0}});
    let recreate = defaulted("apps/v1", "Deployment", recreate);
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(recreate["spec"]["replicas"], 0);
}

#[test]
fn services_are_filled_in() {
    let service = defaulted(
        "v1",
        "Service",
        json!({"spec": {"ports": [{"port": 80}, {"port": 1, "targetPort": "web"}]}}),
    );
    assert_eq!(
        service["spec"],
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 1, "protocol": "TCP", "targetPort": "web"}
            ]
        })
    );
    let balancer = defaulted(
        "v1",
        "Service",
        json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}),
    );
    assert_eq!(balancer["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(balancer["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
    let external = defaulted("v1", "Service", json!({"spec": {"type": "ExternalName"}}));
    assert_eq!(external["spec"], json!({"type": "ExternalName", "sessionAffinity": "None"}));
}

#[test]
fn the_other_kinds_are_filled_in() {
    let admission = "admissionregistration.k8s.io/v1";
    let hook = json!({"webhooks": [{"rules": [{}], "clientConfig": {"service": {}}}]});
    let hook = defaulted(admission, "MutatingWebhookConfiguration", hook);
    assert_eq!(
        hook["webhooks"][0],
        json!({
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {},
            "objectSelector": {}, "timeoutSeconds": 10, "reinvocationPolicy": "Never",
            "rules": [{"scope": "*"}], "clientConfig": {"service": {"port": 443}}
        })
    );
    let binding =
        json!({"roleRef": {}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]});
    assert_eq!(
        defaulted("rbac.authorization.k8s.io/v1", "RoleBinding", binding),
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [
                {"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount"}
            ]
        })
    );
    let namespace = defaulted("v1", "Namespace", json!({"metadata": {"name": "n"}}));
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let crd = json!({"spec": {"names": {"kind": "Gateway", "plural": "gateways"}}});
    let crd = defaulted("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd);
    assert_eq!(crd["spec"]["names"]["singular"], "gateway");
    assert_eq!(crd["spec"]["names"]["listKind"], "GatewayList");
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
}

#[test]
fn creation_sets_what_is_the_servers() {
    let create = |version: &str, kind: &str, mut object: Value| {
        on_create(&Gvk::from_api_version(version, kind), &mut object);
        object
    };
    let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
            "Burstable",
        ),
    ] {
        let status = create("v1", "Pod", pod(resources))["status"].take();
        assert_eq!(status, json!({"phase": "Pending", "qosClass": class}));
    }
    let namespace = create("v1", "Namespace", json!({}));
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let job = create("batch/v1", "Job", json!({"metadata": {"uid": "u", "name": "j"}, "spec": {}}));
    assert_eq!(
        job["spec"]["selector"]["matchLabels"],
        json!({"batch.kubernetes.io/controller-uid": "u"})
    );
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
}

#[test]
fn objects_of_any_shape_are_survived() {
    for kind in ["Pod", "Service", "Secret", "Namespace"] {
        for object in
            [Value::Null, json!([]), json!({"spec": 3, "metadata": [], "stringData": {"a": 1}})]
        {
            let mut object = object;
            apply(&Gvk::new("", "v1", kind), &mut object);
        }
    }
}
