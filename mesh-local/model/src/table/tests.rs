//! Rows as kubectl shows them, kind by kind, and the whole document once.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{IncludeObject, for_crd, for_kind, render};
use crate::kind::Gvk;

fn now() -> Timestamp {
    "2025-01-01T00:10:00Z".parse().unwrap()
}

/// The row of one object as text, wide columns included.
fn row(api_version: &str, kind: &str, mut object: Value) -> String {
    object["metadata"]["name"] = json!("x");
    object["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    let columns = for_kind(&Gvk::from_api_version(api_version, kind));
    let table = render(&columns, [&object], now(), IncludeObject::None);
    let cells = table["rows"][0]["cells"].as_array().unwrap().clone();
    assert_eq!(cells.len(), table["columnDefinitions"].as_array().unwrap().len(), "{kind}");
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    cells.iter().map(text).collect::<Vec<_>>().join(" | ")
}

fn status_of(pod: Value) -> String {
    let row = row("v1", "Pod", pod);
    let cells: Vec<_> = row.split(" | ").collect();
    cells[1..4].join(" ")
}

#[test]
fn pod_status_is_derived_as_kubectl_does() {
    let two = json!([{"name": "a"}, {"name": "b"}]);
    let running = |name: &str, ready: bool| {
        json!({"name": name, "ready": ready, "restartCount": 0,
               "state": {"running": {"startedAt": "2025-01-01T00:00:00Z"}}})
    };
    let ended = |reason: &str, code: i64| {
        json!({"name": "b", "ready": false, "restartCount": 0,
               "state": {"terminated": {"reason": reason, "exitCode": code}}})
    };
    let waiting = |reason: &str| {
        json!({"name": "b", "ready": false, "restartCount": 3,
               "state": {"waiting": {"reason": reason}},
               "lastState": {"terminated": {"finishedAt": "2025-01-01T00:09:30Z"}}})
    };
    let pod =
        |status: Value| json!({"metadata": {}, "spec": {"containers": two}, "status": status});
    for (want, status) in [
        ("0/2 Pending 0", json!({"phase": "Pending"})),
        ("0/2 Evicted 0", json!({"phase": "Failed", "reason": "Evicted"})),
        (
            "2/2 Running 0",
            json!({"phase": "Running", "containerStatuses": [running("a", true), running("b", true)]}),
        ),
        (
            "1/2 CrashLoopBackOff 3 (30s ago)",
            json!({"phase": "Running",
                   "containerStatuses": [running("a", true), waiting("CrashLoopBackOff")]}),
        ),
        (
            "0/2 ContainerCreating 3 (30s ago)",
            json!({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}),
        ),
        ("0/2 Error 0", json!({"phase": "Failed", "containerStatuses": [ended("Error", 1)]})),
        ("0/2 ExitCode:2 0", json!({"phase": "Failed", "containerStatuses": [ended("", 2)]})),
        (
            "1/2 NotReady 0",
            json!({"phase": "Running",
                   "containerStatuses": [ended("Completed", 0), running("a", true)]}),
        ),
        (
            "1/2 Running 0",
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                   "containerStatuses": [ended("Completed", 0), running("a", true)]}),
        ),
        (
            "0/2 SchedulingGated 0",
            json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        ),
    ] {
        assert_eq!(status_of(pod(status)), want);
    }
    let mut gone = pod(json!({"phase": "Running"}));
    gone["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:09:00Z");
    assert_eq!(status_of(gone.clone()), "0/2 Terminating 0");
    gone["status"]["phase"] = json!("Succeeded");
    assert_eq!(status_of(gone), "0/2 Succeeded 0");
}

#[test]
fn init_containers_and_sidecars_show() {
    let pod = |statuses: Value| {
        json!({
            "metadata": {},
            "spec": {
                "containers": [{"name": "app"}],
                "initContainers": [
                    {"name": "init"},
                    {"name": "istio-proxy", "restartPolicy": "Always"}
                ]
            },
            "status": {"phase": "Pending", "initContainerStatuses": statuses}
        })
    };
    let init = |state: Value| json!({"name": "init", "restartCount": 2, "state": state});
    for (want, statuses) in [
        ("0/2 Init:0/2 2", json!([init(json!({"running": {}}))])),
        ("0/2 Init:0/2 2", json!([init(json!({"waiting": {"reason": "PodInitializing"}}))])),
        ("0/2 Init:ErrImagePull 2", json!([init(json!({"waiting": {"reason": "ErrImagePull"}}))])),
        (
            "0/2 Init:Error 2",
            json!([init(json!({"terminated": {"exitCode": 1, "reason": "Error"}}))]),
        ),
        (
            "0/2 Init:Signal:9 2",
            json!([init(json!({"terminated": {"exitCode": 137, "signal": 9}}))]),
        ),
        (
            "0/2 Init:1/2 2",
            json!([
                init(json!({"terminated": {"exitCode": 0}})),
                {"name": "istio-proxy", "started": false, "state": {"running": {}}}
            ]),
        ),
        (
            "1/2 Pending 1",
            json!([
                init(json!({"terminated": {"exitCode": 0}})),
                {"name": "istio-proxy", "started": true, "ready": true, "restartCount": 1,
                 "state": {"running": {}}}
            ]),
        ),
    ] {
        assert_eq!(status_of(pod(statuses)), want);
    }
}

#[test]
fn workloads_and_services_have_their_columns() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j"}],
                                   "nodeSelector": {"k": "v"}}});
    let spec =
        json!({"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "x"}}});
    let rows = [
        row(
            "apps/v1",
            "Deployment",
            json!({"spec": spec, "status":
            {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}),
        ),
        row(
            "apps/v1",
            "ReplicaSet",
            json!({"spec": spec, "status": {"replicas": 3, "readyReplicas": 2}}),
        ),
        row("apps/v1", "DaemonSet", json!({"spec": spec, "status": {"desiredNumberScheduled": 1}})),
        row("apps/v1", "StatefulSet", json!({"spec": spec, "status": {"readyReplicas": 1}})),
        row(
            "batch/v1",
            "Job",
            json!({"spec": {"completions": 1, "parallelism": 1, "template": template},
            "status": {"succeeded": 1, "startTime": "2025-01-01T00:00:00Z",
                       "completionTime": "2025-01-01T00:00:07Z",
                       "conditions": [{"type": "Complete", "status": "True"}]}}),
        ),
        row(
            "v1",
            "Service",
            json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.7",
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "selector": {"app": "x"}}}),
        ),
        row("v1", "Service", json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.8"}})),
        row(
            "v1",
            "Service",
            json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}),
        ),
        row(
            "v1",
            "Endpoints",
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            "ports": [{"port": 80}, {"port": 81}]}]}),
        ),
        row(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"addressType": "IPv4",
            "ports": [{"port": 9080}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        ),
    ];
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn the_other_builtin_kinds_have_their_columns() {
    let rows = [
        row("v1", "Namespace", json!({"status": {"phase": "Active"}})),
        row("v1", "ConfigMap", json!({"data": {"a": "", "b": ""}, "binaryData": {"c": ""}})),
        row("v1", "Secret", json!({"type": "Opaque", "data": {"a": ""}})),
        row("v1", "ServiceAccount", json!({})),
        row(
            "v1",
            "Node",
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
            "nodeInfo": {"kubeletVersion": "v1"}}}),
        ),
        row(
            "v1",
            "Event",
            json!({"type": "Warning", "reason": "BackOff", "message": "m\n", "count": 4,
            "involvedObject": {"kind": "Pod", "name": "p"}, "lastTimestamp": "2025-01-01T00:09:00Z",
            "firstTimestamp": "2025-01-01T00:00:00Z", "source": {"component": "kubelet", "host": "n"}}),
        ),
        row("coordination.k8s.io/v1", "Lease", json!({"spec": {"holderIdentity": "me"}})),
        row(
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{}, {}]}),
        ),
        row("rbac.authorization.k8s.io/v1", "ClusterRole", json!({})),
        row(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"},
                         {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
        ),
        row("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({})),
        row("networking.k8s.io/v1", "Ingress", json!({"spec": {"rules": [{"host": "h"}]}})),
        row("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {"podSelector": {}}})),
        row("policy/v1", "PodDisruptionBudget", json!({"spec": {"minAvailable": "50%"}})),
        row(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 4,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "metrics": [{"resource":
            {"name": "cpu", "target": {"averageUtilization": 80}}}]}}),
        ),
        row("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 7})),
    ];
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn custom_columns_print_as_the_api_server_prints_them() {
    let columns = for_crd(&json!([
        {"name": "Gateways", "type": "string", "jsonPath": ".spec.gateways", "description": "d"},
        {"name": "Weight", "type": "integer", "jsonPath": ".spec.weight", "priority": 1},
        {"name": "Missing", "type": "string", "jsonPath": ".spec.nope"},
        {"name": "Broken", "type": "string", "jsonPath": "..x"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]));
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "reviews", "creationTimestamp": "2025-01-01T00:05:00Z"},
        "spec": {"gateways": ["a", "b"], "weight": 7}
    });
    insta::assert_json_snapshot!(render(&columns, [&object], now(), IncludeObject::Metadata));
    let default = render(&for_crd(&Value::Null), [&object], now(), IncludeObject::Object);
    assert_eq!(default["rows"][0]["cells"], json!(["reviews", "5m"]));
    assert_eq!(default["rows"][0]["object"], object);
}

#[test]
fn rows_survive_objects_of_any_shape() {
    for kind in ["Pod", "Service", "Endpoints", "Event", "Node", "Namespace"] {
        let columns = for_kind(&Gvk::new("", "v1", kind));
        for object in [json!({}), json!({"spec": 1, "status": "x", "metadata": []}), Value::Null] {
            let table = render(&columns, [&object], now(), IncludeObject::Metadata);
            assert_eq!(table["rows"].as_array().unwrap().len(), 1);
        }
    }
}
