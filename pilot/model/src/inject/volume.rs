//! Volumes of an injected pod, and where the proxy sees them.

use mesh_api::annotations as keys;
use serde_json::{Value, json};

use super::facts::Facts;

/// Audience of the token the proxy proves its identity with.
const TOKEN_AUDIENCE: &str = "istio-ca";

/// Life of that token.
const TOKEN_SECONDS: u32 = 43_200;

/// The ConfigMap with the mesh's root certificate, in every namespace.
const ROOT_CONFIG_MAP: &str = "istio-ca-root-cert";

/// The volumes.
pub(super) fn volumes(facts: &Facts<'_>) -> Vec<Value> {
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let mut volumes = vec![
        json!({"name": "workload-socket", "emptyDir": {}}),
        json!({"name": "credential-socket", "emptyDir": {}}),
        json!({"name": "workload-certs", "emptyDir": {}}),
        json!({"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}),
        json!({"name": "istio-data", "emptyDir": {}}),
        json!({"name": "istio-podinfo", "downwardAPI": {"items": [
            field("labels", "metadata.labels"),
            field("annotations", "metadata.annotations"),
        ]}}),
        json!({"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {
            "audience": TOKEN_AUDIENCE,
            "expirationSeconds": TOKEN_SECONDS,
            "path": "istio-token",
        }}]}}),
        json!({"name": "istiod-ca-cert", "configMap": {"name": ROOT_CONFIG_MAP}}),
    ];
    volumes.extend(named(facts, keys::SIDECAR_USER_VOLUME));
    volumes
}

/// The proxy's mounts.
pub(super) fn mounts(facts: &Facts<'_>) -> Vec<Value> {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let mut mounts = vec![
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("credential-socket", "/var/run/secrets/credential-uds"),
        mount("workload-certs", "/var/run/secrets/workload-spiffe-credentials"),
        mount("istiod-ca-cert", "/var/run/secrets/istio"),
        mount("istio-data", "/var/lib/istio/data"),
        mount("istio-envoy", "/etc/istio/proxy"),
        mount("istio-token", "/var/run/secrets/tokens"),
        mount("istio-podinfo", "/etc/istio/pod"),
    ];
    mounts.extend(named(facts, keys::SIDECAR_USER_VOLUME_MOUNT));
    mounts
}

/// The objects of an annotation, each with its key as its name.
fn named(facts: &Facts<'_>, key: &str) -> Vec<Value> {
    let all = facts.annotations.object(key).into_iter();
    all.map(|(name, mut value)| {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("name".to_owned(), name.into());
        }
        value
    })
    .collect()
}
