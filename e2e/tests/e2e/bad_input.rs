//! Bad input: kubectl shows a clear error for each, and nothing is disturbed.

use std::time::Duration;

use mesh_test::{Cluster, eventually, settings};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn bad_manifests_are_refused_in_clear_words() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());

    let refused = kubectl.apply_refused("apiVersion: v1\nkind: ConfigMap\n  metadata: [");
    assert!(refused.contains("error parsing"), "malformed YAML: {refused}");

    let refused = kubectl.apply_refused(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  prots: [{port: 80}]\n",
    );
    assert!(refused.contains(r#"unknown field "spec.prots""#), "unknown field: {refused}");

    let refused = kubectl.apply_refused(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{port: many}]\n",
    );
    assert!(refused.contains("port"), "wrong type: {refused}");

    let refused = kubectl.apply_refused(
        "apiVersion: v1\nkind: Service\nmetadata: {name: A_b}\nspec: {ports: [{port: 80}]}\n",
    );
    assert!(refused.contains("metadata.name"), "bad name: {refused}");

    let refused = kubectl.apply_refused(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: \
         {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: b}}\n    spec: \
         {containers: [{name: a, image: a}]}\n",
    );
    assert!(refused.contains("spec.template.metadata.labels"), "selector: {refused}");

    let refused = kubectl.apply_refused("apiVersion: v9\nkind: Nothing\nmetadata: {name: a}\n");
    assert!(refused.contains("no matches for kind"), "unknown kind: {refused}");

    let refused = kubectl.refused(&["get", "pods", "-n", "nowhere", "x"]);
    assert!(refused.contains("not found"), "{refused}");
}

#[test]
fn too_large_a_body_is_refused() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    let path = cluster.home().join("large");
    std::fs::write(&path, vec![b'x'; 4 << 20]).unwrap();
    let from = format!("--from-file={}", path.display());
    let refused = kubectl.refused(&["create", "configmap", "large", &from]);
    assert!(refused.contains("too large") || refused.contains("limit"), "{refused}");
    kubectl.ok(&["create", "configmap", "small", "--from-literal=a=b"]);
}

#[test]
fn an_unknown_image_says_so() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    kubectl.ok(&["run", "stranger", "--image=example.test/none:1"]);
    eventually("the pod says why it waits", PATIENCE, || {
        let table = kubectl.ok(&["get", "pods"]);
        let waits = table.contains("ErrImagePull") || table.contains("ImagePullBackOff");
        if waits { Ok(()) } else { Err(table) }
    });
    let text = kubectl.ok(&["describe", "pod", "stranger"]);
    assert!(text.contains("example.test/none:1"), "{text}");
}
