//! Pods as processes: order of start, probes, volumes, DNS, identity, restarts.

use std::time::Duration;

use mesh_test::{Cluster, Kubectl, eventually, settings};

const PATIENCE: Duration = Duration::from_secs(60);

/// Sidecar before init before main; each leaves its mark in a shared volume.
const ORDERED: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: ahoy}
---
apiVersion: v1
kind: Secret
metadata: {name: quiet}
stringData: {word: hush}
---
apiVersion: v1
kind: Pod
metadata:
  name: ordered
  labels: {app: ordered}
spec:
  volumes:
  - {name: marks, emptyDir: {}}
  - {name: words, configMap: {name: words}}
  - {name: quiet, secret: {secretName: quiet, defaultMode: 0400}}
  - name: facts
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
  initContainers:
  - name: sidecar
    image: lateen/host
    restartPolicy: Always
    command: [sh, -c, "echo sidecar >> /marks/order; trap 'exit 0' TERM; while true; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /marks/order]}, periodSeconds: 1}
    volumeMounts: [{name: marks, mountPath: /marks}]
  - name: first
    image: lateen/host
    command: [sh, -c, "echo first >> /marks/order"]
    volumeMounts: [{name: marks, mountPath: /marks}]
  containers:
  - name: main
    image: lateen/host
    command: [sh, -c]
    args:
    - |
      echo main >> /marks/order
      tr '\n' ' ' < /marks/order; echo
      echo "greeting=$(cat /words/greeting) env=$GREETING expanded=$TWICE secret=$(cat /quiet/word)"
      grep app= /facts/labels
      echo "token=$(wc -c < /var/run/secrets/kubernetes.io/serviceaccount/token)"
      echo "namespace=$(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)"
      echo "ip=$POD_IP name=$(hostname) pid=$$"
      ls /marks/none 2>&1
      trap 'exit 0' TERM
      while true; do sleep 0.1; done
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}
    - {name: TWICE, value: "$(GREETING)-$(GREETING)"}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    readinessProbe: {exec: {command: [test, -e, /marks/order]}, periodSeconds: 1}
    volumeMounts:
    - {name: marks, mountPath: /marks}
    - {name: words, mountPath: /words}
    - {name: quiet, mountPath: /quiet}
    - {name: facts, mountPath: /facts}
"#;

#[test]
fn containers_start_in_order_with_volumes_and_identity() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    kubectl.apply(ORDERED);
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/ordered", "--timeout=60s"]);
    let log = eventually("the main container has said all", PATIENCE, || {
        let log = kubectl.ok(&["logs", "ordered", "-c", "main"]);
        if log.contains("none") { Ok(log) } else { Err(log) }
    });
    assert!(log.starts_with("sidecar first main"), "{log}");
    assert!(log.contains("greeting=ahoy env=ahoy expanded=ahoy-ahoy secret=hush"), "{log}");
    assert!(log.contains(r#"app="ordered""#), "{log}");
    assert!(log.contains("namespace=default"), "{log}");
    let ip = kubectl.ok(&["get", "pod", "ordered", "-o", "jsonpath={.status.podIP}"]);
    assert!(log.contains(&format!("ip={ip} name=ordered")), "{ip} in {log}");
    let table = kubectl.ok(&["get", "pod", "ordered"]);
    assert!(table.contains("2/2"), "a native sidecar counts: {table}");
    kubectl.ok(&["delete", "pod", "ordered", "--timeout=30s"]);
}

#[test]
fn a_crashing_container_backs_off_and_a_job_completes() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: crasher}\nspec:\n  containers:\n  - name: \
         c\n    image: lateen/host\n    command: [sh, -c, 'echo going down; exit 3']\n",
    );
    kubectl.apply(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec:\n  template:\n    spec:\n      \
         restartPolicy: Never\n      containers:\n      - name: c\n        image: lateen/host\n        \
         command: [sh, -c, 'echo done']\n",
    );
    kubectl.ok(&["wait", "--for=condition=complete", "job/once", "--timeout=60s"]);
    assert_eq!(kubectl.ok(&["logs", "job/once"]).trim(), "done");
    eventually("the crasher backs off", PATIENCE, || {
        let table = kubectl.ok(&["get", "pod", "crasher"]);
        if table.contains("CrashLoopBackOff") { Ok(()) } else { Err(table) }
    });
    let code = "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}";
    eventually("the exit code is told", PATIENCE, || {
        let code = kubectl.ok(&["get", "pod", "crasher", "-o", code]);
        if code == "3" { Ok(()) } else { Err(code) }
    });
    assert_eq!(kubectl.ok(&["logs", "crasher", "--previous"]).trim(), "going down");
}

/// A Service name resolves, the cluster IP answers, and an unready pod gets no traffic.
#[test]
fn services_have_names_and_only_ready_pods() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: details}\nspec: {selector: {app: details}, \
         ports: [{name: http, port: 80, targetPort: 9080}]}\n---\napiVersion: v1\nkind: \
         Pod\nmetadata: {name: good, labels: {app: details}}\nspec:\n  containers:\n  - name: c\n    \
         image: docker.io/istio/examples-bookinfo-details-v1:1.20.3\n    readinessProbe: {httpGet: \
         {path: /health, port: 9080}, periodSeconds: 1}\n---\napiVersion: v1\nkind: Pod\nmetadata: \
         {name: unready, labels: {app: details}}\nspec:\n  containers:\n  - name: c\n    image: \
         docker.io/istio/examples-bookinfo-details-v1:1.20.3\n    readinessProbe: {httpGet: {path: \
         /missing, port: 9080}, periodSeconds: 1}\n",
    );
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/good", "--timeout=60s"]);
    let ready = ready_addresses(&kubectl, "details");
    let good = kubectl.ok(&["get", "pod", "good", "-o", "jsonpath={.status.podIP}"]);
    assert_eq!(ready, good, "only the ready pod");
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: asker}\nspec:\n  restartPolicy: Never\n  \
         containers:\n  - name: c\n    image: lateen/host\n    command: [sh, -c]\n    args:\n    - \
         |\n      getent hosts details.default.svc.cluster.local\n      getent hosts details\n      \
         getent hosts nobody.default.svc.cluster.local || echo unknown\n",
    );
    kubectl.ok(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/asker", "--timeout=60s"]);
    let log = kubectl.ok(&["logs", "asker"]);
    let ip = kubectl.ok(&["get", "svc", "details", "-o", "jsonpath={.spec.clusterIP}"]);
    assert_eq!(log.matches(&ip).count(), 2, "{ip} by both names in {log}");
    assert!(log.contains("unknown"), "{log}");
}

/// The ready addresses behind a Service.
fn ready_addresses(kubectl: &Kubectl, service: &str) -> String {
    let label = format!("kubernetes.io/service-name={service}");
    let path = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
    eventually("the service has a ready endpoint", PATIENCE, || {
        let found = kubectl.ok(&["get", "endpointslices", "-l", &label, "-o", path]);
        if found.is_empty() { Err("none".to_owned()) } else { Ok(found) }
    })
}
