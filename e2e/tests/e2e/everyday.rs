//! The commands that a platform engineer types all day, on a cluster that runs Bookinfo.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use mesh_test::{Cluster, Kubectl, eventually, http, settings};

use crate::bookinfo;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn everyday_commands_of_the_machines_kubectl() {
    let cluster = Cluster::start();
    walk(&cluster.kubectl(settings::kubectl()));
}

#[test]
fn everyday_commands_of_the_newest_kubectl() {
    let cluster = Cluster::start();
    walk(&cluster.kubectl(settings::kubectl_newest()));
}

fn walk(kubectl: &Kubectl) {
    bookinfo::deploy(kubectl);
    lists(kubectl);
    describes(kubectl);
    follows_logs(kubectl);
    edits(kubectl);
    scales_and_restarts(kubectl);
    explains(kubectl);
    namespaces(kubectl);
    may_i(kubectl);
}

fn lists(kubectl: &Kubectl) {
    let table = kubectl.ok(&["get", "pods,svc,deploy"]);
    for words in [
        "NAME                                  READY   STATUS    RESTARTS   AGE",
        "service/reviews",
        "ClusterIP",
        "9080/TCP",
        "deployment.apps/productpage-v1",
    ] {
        assert!(squeeze(&table).contains(&squeeze(words)), "{words:?} missing in\n{table}");
    }
    let line = table.lines().find(|line| line.contains("deployment.apps/reviews-v1")).unwrap();
    assert!(squeeze(line).contains("1/1 1 1"), "{line}");
    let wide = kubectl.ok(&["get", "pods", "-o", "wide", "-l", "app=reviews"]);
    assert_eq!(wide.lines().count(), 4, "a heading and three pods in\n{wide}");
    assert!(wide.contains("NODE") && wide.contains("10.244."), "{wide}");
    let all = kubectl.ok(&["get", "all"]);
    assert!(all.contains("replicaset.apps/ratings-v1-"), "{all}");
    let endpoints =
        kubectl.ok(&["get", "endpointslices", "-l", "kubernetes.io/service-name=reviews"]);
    assert!(endpoints.contains("9080"), "{endpoints}");
}

fn describes(kubectl: &Kubectl) {
    let text = kubectl.ok(&["describe", "pod", "-l", "app=ratings"]);
    for words in ["Service Account:  bookinfo-ratings", "Status:           Running", "Started"] {
        assert!(squeeze(&text).contains(&squeeze(words)), "{words:?} missing in\n{text}");
    }
    eventually("the pod's events are told", PATIENCE, || {
        let text = kubectl.ok(&["describe", "pod", "-l", "app=ratings"]);
        let told = ["Scheduled", "Pulled", "Created", "Started"];
        let missing = told.into_iter().find(|reason| !text.contains(reason));
        missing.map_or(Ok(()), |reason| Err(format!("{reason} missing in\n{text}")))
    });
    let text = kubectl.ok(&["describe", "deployment", "reviews-v2"]);
    assert!(squeeze(&text).contains("1 desired | 1 updated | 1 total | 1 available"), "{text}");
    let text = kubectl.ok(&["describe", "svc", "reviews"]);
    assert!(text.contains("Endpoints:"), "{text}");
}

/// `logs -f` shows what the application writes after the command was started.
fn follows_logs(kubectl: &Kubectl) {
    let mut child = kubectl
        .command(&["logs", "-f", "deploy/details-v1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = bookinfo::node_port(kubectl);
    let (told, heard) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let found = lines.any(|line| line.is_ok_and(|line| line.contains("/details/0")));
        let _gone = told.send(found);
    });
    eventually("a request is logged", PATIENCE, || {
        let _page = http::get(port, "/productpage");
        match heard.recv_timeout(Duration::from_millis(300)) {
            Ok(true) => Ok(()),
            Ok(false) => panic!("`kubectl logs -f` ended while the pod runs"),
            Err(error) => Err(error),
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    let tail = kubectl.ok(&["logs", "deploy/details-v1", "--tail=1", "--timestamps"]);
    assert_eq!(tail.lines().count(), 1, "{tail}");
    assert!(tail.starts_with("20"), "a time stands before {tail}");
}

/// A scripted editor changes the number of replicas, and the cluster follows.
fn edits(kubectl: &Kubectl) {
    let mut edit = kubectl.command(&["edit", "deployment", "ratings-v1"]);
    edit.env("KUBE_EDITOR", "sed -i 's/replicas: 1/replicas: 2/'");
    let output = mesh_test::kubectl::finish(&mut edit);
    assert!(output.stdout.contains("deployment.apps/ratings-v1 edited"), "{output:?}");
    kubectl.ok(&["rollout", "status", "deployment/ratings-v1", "--timeout=60s"]);
    let pods = kubectl.ok(&["get", "pods", "-l", "app=ratings", "-o", "name"]);
    assert_eq!(pods.lines().count(), 2, "{pods}");
}

fn scales_and_restarts(kubectl: &Kubectl) {
    kubectl.ok(&["scale", "deployment/ratings-v1", "--replicas=1"]);
    eventually("one pod is left", PATIENCE, || {
        let pods = kubectl.ok(&["get", "pods", "-l", "app=ratings", "-o", "name"]);
        if pods.lines().count() == 1 { Ok(()) } else { Err(pods) }
    });
    let before = kubectl.ok(&["get", "pods", "-l", "app=details", "-o", "name"]);
    kubectl.ok(&["rollout", "restart", "deployment/details-v1"]);
    kubectl.ok(&["rollout", "status", "deployment/details-v1", "--timeout=60s"]);
    eventually("the pod is replaced", PATIENCE, || {
        let after = kubectl.ok(&["get", "pods", "-l", "app=details", "-o", "name"]);
        let replaced = after.lines().count() == 1 && !after.contains(before.trim());
        if replaced { Ok(()) } else { Err(format!("{before} and {after}")) }
    });
    kubectl.ok(&["label", "deployment", "details-v1", "team=books"]);
    kubectl.ok(&["annotate", "deployment", "details-v1", "note=1"]);
    let found = kubectl.ok(&["get", "deploy", "-l", "team=books", "-o", "name"]);
    assert_eq!(found.trim(), "deployment.apps/details-v1");
}

fn explains(kubectl: &Kubectl) {
    let text = kubectl.ok(&["explain", "deployment.spec.strategy"]);
    assert!(text.contains("rollingUpdate"), "{text}");
    let text = kubectl.ok(&["explain", "pod.spec.containers.livenessProbe"]);
    assert!(text.contains("initialDelaySeconds") && text.contains("<integer>"), "{text}");
}

fn namespaces(kubectl: &Kubectl) {
    let created = kubectl.ok(&["create", "ns", "istio-system"]);
    assert_eq!(created.trim(), "namespace/istio-system created");
    kubectl.ok(&["create", "configmap", "settings", "-n", "istio-system", "--from-literal=a=b"]);
    kubectl.ok(&["create", "deployment", "d", "-n", "istio-system", "--image=lateen/host"]);
    eventually("a new namespace has its service account", PATIENCE, || {
        let names = kubectl.ok(&["get", "sa", "-n", "istio-system", "-o", "name"]);
        if names.contains("serviceaccount/default") { Ok(()) } else { Err(names) }
    });
    kubectl.ok(&["delete", "ns", "istio-system", "--timeout=60s"]);
    let gone = kubectl.refused(&["get", "ns", "istio-system"]);
    assert!(gone.contains(r#"namespaces "istio-system" not found"#), "{gone}");
}

fn may_i(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok(&["auth", "can-i", "delete", "pods"]).trim(), "yes");
    let account = "--as=system:serviceaccount:default:bookinfo-reviews";
    let denied = kubectl.run(&["auth", "can-i", "delete", "pods", account]);
    assert_eq!(denied.stdout.trim(), "no", "{denied:?}");
    let denied = kubectl.refused(&["get", "secrets", account]);
    let words = "User \"system:serviceaccount:default:bookinfo-reviews\" cannot list resource \
        \"secrets\" in API group \"\" in the namespace \"default\"";
    assert!(denied.contains(words), "{denied}");
    let token = kubectl.ok(&["create", "token", "bookinfo-reviews"]);
    assert_eq!(token.trim().split('.').count(), 3, "a JWT: {token}");
}

/// Runs of spaces as one, so that a column's width does not matter.
fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
