//! Admission webhooks: one that patches pods, one that is dead.

use std::time::Duration;

use mesh_test::webhook::{Webhook, json_patch};
use mesh_test::{Cluster, eventually, settings};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_mutating_webhook_patches_a_pod() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    let webhook = Webhook::start(|review| {
        let pod = &review["request"]["object"];
        assert_eq!(pod["kind"], "Pod", "{review}");
        json_patch(
            review,
            &serde_json::json!([
                { "op": "add", "path": "/metadata/labels/patched", "value": "yes" },
                { "op": "add", "path": "/spec/containers/-", "value": {
                    "name": "extra", "image": "lateen/host", "command": ["sleep", "60"],
                } },
            ]),
        )
    });
    kubectl.apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: \
         {{name: patcher}}\nwebhooks:\n- name: patch.example.test\n  clientConfig: {{url: \
         'https://127.0.0.1:{}/inject', caBundle: {}}}\n  rules: [{{apiGroups: [''], apiVersions: \
         [v1], operations: [CREATE], resources: [pods]}}]\n  namespaceSelector: {{matchLabels: \
         {{inject: enabled}}}}\n  admissionReviewVersions: [v1]\n  sideEffects: None\n",
        webhook.port(),
        webhook.ca_bundle(),
    ));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: plain, labels: {app: plain}}\nspec: \
        {containers: [{name: c, image: lateen/host, command: [sleep, '60']}]}\n";
    kubectl.apply(pod);
    let label = "jsonpath={.metadata.labels.patched}";
    assert_eq!(kubectl.ok(&["get", "pod", "plain", "-o", label]), "", "namespace not selected");

    kubectl.ok(&["create", "ns", "chosen"]);
    kubectl.ok(&["label", "ns", "chosen", "inject=enabled"]);
    let output = kubectl.with_input(&["apply", "-n", "chosen", "-f", "-"], pod);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(kubectl.ok(&["get", "pod", "plain", "-n", "chosen", "-o", label]), "yes");
    eventually("both containers run", PATIENCE, || {
        let table = kubectl.ok(&["get", "pod", "plain", "-n", "chosen"]);
        if table.contains("2/2") { Ok(()) } else { Err(table) }
    });
}

#[test]
fn a_dead_webhook_fails_as_its_policy_says() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    let dead = |policy: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: \
             ValidatingWebhookConfiguration\nmetadata: {{name: dead}}\nwebhooks:\n- name: \
             dead.example.test\n  failurePolicy: {policy}\n  timeoutSeconds: 2\n  clientConfig: \
             {{service: {{namespace: default, name: nobody, path: /validate}}}}\n  rules: \
             [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: \
             [configmaps]}}]\n  admissionReviewVersions: [v1]\n  sideEffects: None\n",
        )
    };
    kubectl.apply(&dead("Fail"));
    let refused = kubectl.refused(&["create", "configmap", "a", "--from-literal=a=b"]);
    for words in [
        "Internal error occurred: failed calling webhook \"dead.example.test\"",
        "https://nobody.default.svc:443/validate",
    ] {
        assert!(refused.contains(words), "{words:?} missing in {refused}");
    }
    kubectl.apply(&dead("Ignore"));
    kubectl.ok(&["create", "configmap", "a", "--from-literal=a=b"]);
}

#[test]
fn a_validating_webhook_refuses_in_its_own_words() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    let webhook = Webhook::start(|review| {
        serde_json::json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": review["request"]["uid"],
                "allowed": false,
                "status": { "message": "no maps on this ship" },
                "warnings": ["charts are kept below"],
            },
        })
    });
    kubectl.apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: \
         ValidatingWebhookConfiguration\nmetadata: {{name: strict}}\nwebhooks:\n- name: \
         maps.example.test\n  clientConfig: {{url: 'https://127.0.0.1:{}/validate', caBundle: \
         {}}}\n  rules: [{{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: \
         [configmaps]}}]\n  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: \
         default}}}}\n  admissionReviewVersions: [v1]\n  sideEffects: None\n",
        webhook.port(),
        webhook.ca_bundle(),
    ));
    let refused = kubectl.refused(&["create", "configmap", "a", "--from-literal=a=b"]);
    let words = "admission webhook \"maps.example.test\" denied the request: no maps on this ship";
    assert!(refused.contains(words), "{refused}");
    assert!(refused.contains("Warning: charts are kept below"), "{refused}");
}
