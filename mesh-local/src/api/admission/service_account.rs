//! A new pod runs as a service account that exists, with its token mounted unless declined.

use local_model::refusal::Refusal;
use serde_json::{Value, json};

use crate::api::error::Result;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::store::{ObjectKey, ResourceKey};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// One hour, and a little that tells such tokens apart.
const TOKEN_SECONDS: i64 = 3607;

/// Sets the service account and mounts its token.
pub(super) fn admit(server: &Server, request: &Request, pod: &mut Value) -> Result<()> {
    let spec = &mut pod["spec"];
    let text = |value: &Value| value.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let name = text(&spec["serviceAccountName"])
        .or_else(|| text(&spec["serviceAccount"]))
        .unwrap_or_else(|| "default".to_owned());
    spec["serviceAccountName"] = json!(name);
    spec["serviceAccount"] = json!(name);
    let namespace = &request.path.namespace;
    let key = ObjectKey::new(namespace, &name);
    let Some(account) = server.store.get(&ResourceKey::new("", "serviceaccounts"), &key) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Refusal::forbidden(request.resource.subject(pod_name), &why).into());
    };
    let spec = &mut pod["spec"];
    let own = spec["automountServiceAccountToken"].as_bool();
    let mounts = own.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true);
    if mounts {
        mount_token(spec, || local_model::name::generate(VOLUME_PREFIX, rand::random));
    }
    if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && let Some(secrets) = account.get("imagePullSecrets")
    {
        spec["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// Mounts the token in every container that has nothing at its path.
fn mount_token(spec: &mut Value, new_name: impl FnOnce() -> String) {
    let existing = spec["volumes"].as_array().into_iter().flatten().find_map(|volume| {
        volume["name"].as_str().filter(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned)
    });
    let is_new = existing.is_none();
    let volume = existing.unwrap_or_else(new_name);
    let mut mounted = false;
    for key in ["initContainers", "containers"] {
        for container in spec[key].as_array_mut().into_iter().flatten() {
            let mounts = &mut container["volumeMounts"];
            let taken =
                mounts.as_array().into_iter().flatten().any(|m| m["mountPath"] == MOUNT_PATH);
            if taken {
                continue;
            }
            let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
            mounted = true;
            match mounts {
                Value::Array(list) => list.push(mount),
                other => *other = json!([mount]),
            }
        }
    }
    if spec["initContainers"].is_null()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("initContainers");
    }
    if !(is_new && mounted) {
        return;
    }
    let volume = json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {
            "name": "kube-root-ca.crt",
            "items": [{"key": "ca.crt", "path": "ca.crt"}],
        }},
        {"downwardAPI": {"items": [{
            "path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
        }]}},
    ]}});
    match &mut spec["volumes"] {
        Value::Array(list) => list.push(volume),
        other => *other = json!([volume]),
    }
}

#[cfg(test)]
mod tests {
    use super::{MOUNT_PATH, mount_token};
    use serde_json::json;

    #[test]
    fn mounts_once_and_again_for_injected_containers() {
        let mut spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [
                {"name": "a"},
                {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]},
            ],
        });
        mount_token(&mut spec, || "kube-api-access-abcde".to_owned());
        assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["initContainers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        let before = spec.clone();
        mount_token(&mut spec, || "other".to_owned());
        assert_eq!(spec, before);
        spec["containers"].as_array_mut().unwrap().push(json!({"name": "injected"}));
        mount_token(&mut spec, || "other".to_owned());
        assert_eq!(spec["containers"][2]["volumeMounts"][0]["name"], "kube-api-access-abcde");
        assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(1));
    }
}
