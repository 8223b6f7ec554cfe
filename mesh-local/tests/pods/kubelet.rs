//! What becomes of a pod that is bound to the node: its start, its configuration, its health.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node as ApiNode, Pod, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use mesh_local::net::{Node, NodeConfig};
use serde_json::json;

use crate::cluster::{Cluster, NODE, container, is_ready, object};
use crate::harness::Case;

/// All cases.
pub(crate) const ALL: &[Case] = &[
    ("the_node_is_registered", || Box::pin(the_node_is_registered())),
    ("init_containers_then_the_others", || Box::pin(init_containers_then_the_others())),
    ("configuration_reaches_the_container", || Box::pin(configuration_reaches_the_container())),
    ("volumes_follow_their_objects", || Box::pin(volumes_follow_their_objects())),
    ("missing_objects_hold_a_pod_up", || Box::pin(missing_objects_hold_a_pod_up())),
    ("unknown_images_say_what_to_do", || Box::pin(unknown_images_say_what_to_do())),
    ("readiness_follows_the_probe", || Box::pin(readiness_follows_the_probe())),
    ("liveness_restarts", || Box::pin(liveness_restarts())),
    ("sidecars_start_first_and_stop_last", || Box::pin(sidecars_start_first_and_stop_last())),
    ("pods_talk_over_the_node", || Box::pin(pods_talk_over_the_node())),
    ("unsupported_pods_fail_clearly", || Box::pin(unsupported_pods_fail_clearly())),
];

async fn the_node_is_registered() {
    let cluster = Cluster::new().await;
    let nodes: Api<ApiNode> = Api::all(cluster.client.clone());
    let node = nodes.get(NODE).await.expect("registered");
    let status = node.status.expect("a status");
    let ready =
        status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    assert!(ready && status.capacity.expect("amounts").contains_key("memory"));
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let lease = leases.get(NODE).await.expect("a lease").spec.expect("a spec");
    assert_eq!(lease.holder_identity.as_deref(), Some(NODE));
}

async fn init_containers_then_the_others() {
    let cluster = Cluster::new().await;
    let mount = json!([{"name": "work", "mountPath": "/share"}]);
    cluster
        .create(
            "steps",
            json!({
                "restartPolicy": "Never",
                "volumes": [{"name": "work", "emptyDir": {}}],
                "initContainers": [
                    {"name": "one", "sh": "echo 1 > /share/a", "volumeMounts": mount},
                    {"name": "two", "sh": "echo 2 >> /share/a; echo said", "volumeMounts": mount}],
                "containers": [{"name": "main", "sh": "cat /share/a; hostname; exit 0",
                                "volumeMounts": mount}],
            }),
        )
        .await;
    let pod = cluster.phase("steps", "Succeeded").await;
    assert_eq!(cluster.logs("steps", "main", false).await, "1\n2\nsteps\n");
    assert_eq!(cluster.logs("steps", "two", false).await, "said\n");
    let main = container(&pod, "main");
    assert_eq!(main["state"]["terminated"]["reason"], "Completed", "{main}");
    assert_eq!(main["restartCount"], 0);
    let status = pod.status.expect("a status");
    assert_eq!(
        (status.qos_class.as_deref(), status.pod_ip.as_deref()),
        (Some("BestEffort"), Some("127.0.0.1"))
    );
    let events = cluster.events("steps").await;
    for event in [
        "Pulled: Container image \"lateen/host\" already present on machine",
        "Created: Created container: main",
        "Started: Started container main",
    ] {
        assert!(events.iter().any(|found| found == event), "{event}: {events:#?}");
    }
}

async fn configuration_reaches_the_container() {
    let cluster = Cluster::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    let map = json!({"metadata": {"name": "cm"}, "data": {"key": "from-map"}});
    maps.create(&PostParams::default(), &object(map)).await.expect("created");
    let secrets: Api<Secret> = Api::default_namespaced(cluster.client.clone());
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"key": "from-secret"}});
    secrets.create(&PostParams::default(), &object(secret)).await.expect("created");
    let script = "echo $MAP $SECRET $POD $KUBERNETES_SERVICE_HOST $(MAP); cat /secret/key; echo; \
                  cat /labels/labels; echo; cat /etc/hostname; \
                  cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; \
                  cat ca.crt; echo; cut -c1-2 token; echo $1; pwd; echo fell > /dev/termination-log";
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    cluster
        .create(
            "configured",
            json!({
                "restartPolicy": "Never",
                "volumes": [
                    {"name": "secret", "secret": {"secretName": "s"}},
                    {"name": "labels", "downwardAPI": {"items": [
                        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}],
                "containers": [{
                    "name": "main",
                    "command": ["sh", "-c", script.replace("$(MAP)", "$(NONE)"), "sh"],
                    "args": ["arg-$(MAP)"],
                    "workingDir": "/made/here",
                    "env": [
                        {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "key"}}},
                        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                        {"name": "POD", "valueFrom": field("metadata.name")},
                        {"name": "NONE", "value": "x"}],
                    "volumeMounts": [{"name": "secret", "mountPath": "/secret"},
                                     {"name": "labels", "mountPath": "/labels"}],
                }],
            }),
        )
        .await;
    let pod = cluster.phase("configured", "Succeeded").await;
    let text = cluster.logs("configured", "main", false).await;
    assert_eq!(
        text,
        "from-map from-secret configured 10.96.0.1 x\nfrom-secret\napp=\"configured\"\nconfigured\n\
         default\nCA\ney\narg-from-map\n/var/run/secrets/kubernetes.io/serviceaccount\n"
    );
    assert_eq!(container(&pod, "main")["state"]["terminated"]["message"], "fell\n");
}

async fn volumes_follow_their_objects() {
    let cluster = Cluster::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    let map = json!({"metadata": {"name": "cm"}, "data": {"key": "old"}});
    maps.create(&PostParams::default(), &object(map)).await.expect("created");
    let script =
        "cat /cfg/key; echo; until grep -q new /cfg/key; do sleep 0.02; done; cat /cfg/key";
    cluster
        .create(
            "follower",
            json!({
                "restartPolicy": "Never",
                "volumes": [{"name": "cfg", "configMap": {"name": "cm"}}],
                "containers": [{"name": "main", "sh": script,
                                "volumeMounts": [{"name": "cfg", "mountPath": "/cfg"}]}],
            }),
        )
        .await;
    cluster.said("follower", "main", "old\n").await;
    let patch = Patch::Merge(json!({"data": {"key": "new"}}));
    maps.patch("cm", &PatchParams::default(), &patch).await.expect("patched");
    cluster.phase("follower", "Succeeded").await;
    assert_eq!(cluster.logs("follower", "main", false).await, "old\nnew");
}

async fn missing_objects_hold_a_pod_up() {
    let cluster = Cluster::new().await;
    let key = json!({"configMapKeyRef": {"name": "late", "key": "key"}});
    cluster
        .create(
            "waiting",
            json!({"containers": [{"name": "main", "sh": "sleep 1000",
                                   "env": [{"name": "A", "valueFrom": key}]}]}),
        )
        .await;
    let waiting = |pod: &Pod| {
        container(pod, "main")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    let pod = cluster.until("waiting", waiting).await;
    let message = &container(&pod, "main")["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"late\" not found");
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    let map = json!({"metadata": {"name": "late"}, "data": {"key": "v"}});
    maps.create(&PostParams::default(), &object(map)).await.expect("created");
    cluster.ready("waiting").await;
}

async fn unknown_images_say_what_to_do() {
    let cluster = Cluster::new().await;
    cluster.create("stranger", json!({"containers": [{"name": "main", "image": "nginx:1"}]})).await;
    let waiting = |reason: &'static str| {
        move |pod: &Pod| container(pod, "main")["state"]["waiting"]["reason"] == reason
    };
    let pod = cluster.until("stranger", waiting("ImagePullBackOff")).await;
    let message = container(&pod, "main")["state"]["waiting"]["message"].to_string();
    assert!(message.contains("nginx:1") && message.contains("images.yaml"), "{message}");
    assert_eq!(pod.status.and_then(|s| s.phase).as_deref(), Some("Pending"));
    // Mended while it runs.
    let file = cluster.dir.path().join("images.yaml");
    std::fs::write(file, "images:\n- repository: nginx\n  command: [sleep, '1000']\n")
        .expect("written");
    cluster.ready("stranger").await;
}

async fn readiness_follows_the_probe() {
    let cluster = Cluster::new().await;
    cluster
        .create(
            "web",
            json!({"containers": [{
                "name": "main", "image": "test/http",
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1,
                                   "failureThreshold": 1},
                "startupProbe": {"tcpSocket": {"port": 8080}},
                "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo > /tmp/unready"]}}},
            }, {
                "name": "switch",
                "sh": "sleep 1000",
                "readinessProbe": {"exec": {"command": ["true"]}},
            }]}),
        )
        .await;
    let pod = cluster
        .until("web", |pod| {
            container(pod, "main")["started"] == true && container(pod, "switch")["ready"] == true
        })
        .await;
    assert!(!is_ready(&pod), "the hook has made it unready");
    let ready = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = ready.into_iter().find(|c| c.type_ == "Ready").expect("a condition");
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [main]"));
    cluster
        .create(
            "steady",
            json!({"containers": [{
                "name": "main", "image": "test/http",
                "readinessProbe": {"httpGet": {"path": "/x", "port": 8080}},
                "livenessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            }]}),
        )
        .await;
    cluster.ready("steady").await;
}

async fn liveness_restarts() {
    let cluster = Cluster::new().await;
    cluster
        .create(
            "sick",
            json!({
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "sh": "echo run; sleep 1000",
                    "livenessProbe": {"exec": {"command": ["sh", "-c", "echo not well; exit 3"]},
                                      "periodSeconds": 1, "failureThreshold": 1},
                }],
            }),
        )
        .await;
    let pod = cluster
        .until("sick", |pod| container(pod, "main")["restartCount"].as_u64() >= Some(1))
        .await;
    assert_eq!(container(&pod, "main")["lastState"]["terminated"]["exitCode"], 137);
    let events = cluster.events("sick").await;
    for event in [
        "Unhealthy: Liveness probe failed: not well\n",
        "Killing: Container main failed liveness probe, will be restarted",
    ] {
        assert!(events.iter().any(|found| found == event), "{event}: {events:#?}");
    }
}

async fn sidecars_start_first_and_stop_last() {
    let cluster = Cluster::new().await;
    let mount = json!([{"name": "work", "mountPath": "/share"}]);
    let side = "echo side >> /share/log; trap 'test -e /share/done && echo last >> /share/log; \
                cat /share/log; exit 0' TERM; sleep 0.1; touch /share/up; while :; do sleep 0.01; done";
    cluster
        .create(
            "pair",
            json!({
                "restartPolicy": "Never",
                "volumes": [{"name": "work", "emptyDir": {}}],
                "initContainers": [{
                    "name": "side", "restartPolicy": "Always", "sh": side, "volumeMounts": mount,
                    "startupProbe": {"exec": {"command": ["test", "-e", "/share/up"]},
                                     "periodSeconds": 1},
                }],
                "containers": [{
                    "name": "main", "volumeMounts": mount,
                    "sh": "test -e /share/up && echo main >> /share/log; touch /share/done",
                }],
            }),
        )
        .await;
    let pod = cluster.phase("pair", "Succeeded").await;
    assert_eq!(container(&pod, "main")["state"]["terminated"]["exitCode"], 0);
    let stopped = |pod: &Pod| container(pod, "side")["state"]["terminated"]["exitCode"] == 0;
    cluster.until("pair", stopped).await;
    assert_eq!(cluster.logs("pair", "side", false).await, "side\nmain\nlast\n");
}

/// With the node's network: probes come from the node, pods reach each other, and a pod that is
/// run again keeps its address.
async fn pods_talk_over_the_node() {
    let node = Node::create(NodeConfig::default()).await.expect("a node");
    let mut cluster = Cluster::on(Arc::new(node)).await;
    cluster
        .create(
            "web",
            json!({"containers": [{
                "name": "main", "image": "test/http",
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
            }]}),
        )
        .await;
    let address = |pod: &Pod| pod.status.clone().and_then(|status| status.pod_ip).expect("an IP");
    let first = address(&cluster.ready("web").await);
    assert!(first.starts_with("10.244."), "{first}");
    let client = |name: &'static str, ip: &str| {
        let container = json!({"name": "main", "image": "test/get", "args": [format!("{ip}:8080")],
                               "command": null});
        (name, json!({"restartPolicy": "Never", "containers": [container]}))
    };
    let (name, spec) = client("client", &first);
    cluster.create(name, spec).await;
    cluster.phase("client", "Succeeded").await;
    assert_eq!(cluster.logs("client", "main", false).await, "HTTP/1.1 200 OK\n");
    cluster.restart().await;
    let again = |pod: &Pod| container(pod, "main")["restartCount"] == 1 && is_ready(pod);
    let pod = cluster.until("web", again).await;
    assert_eq!(address(&pod), first);
}

async fn unsupported_pods_fail_clearly() {
    let cluster = Cluster::new().await;
    let spec = json!({"hostNetwork": true, "containers": [{"name": "main", "sh": "true"}]});
    cluster.create("host", spec).await;
    let pod = cluster.phase("host", "Failed").await;
    let status = pod.status.expect("a status");
    assert_eq!(status.reason.as_deref(), Some("UnsupportedPod"));
    assert!(status.message.expect("a message").contains("spec.hostNetwork"));
    let spec = json!({
        "volumes": [{"name": "h", "hostPath": {"path": "/etc"}}],
        "containers": [{"name": "main", "sh": "true"}],
    });
    cluster.create("path", spec).await;
    cluster.noted("path", "hostPath volumes are not allowed").await;
    cluster.delete("path").await;
}
