//! The part of a pod that injection adds, and how it gets into the pod.

use mesh_api::{annotations as keys, labels};
use serde_json::{Map, Value, json};

use super::config::{GATEWAY, SIDECAR};
use super::container;
use super::error::InjectError;
use super::facts::Facts;
use super::overlay::{list, name, object, overlay};
use super::overrides::Overrides;
use super::workload::{canonical_name, canonical_revision};
use super::{INIT_CONTAINER, PROXY_CONTAINER, VALIDATION_CONTAINER, volume};

/// Annotations that are written over the pod's: a CNI plugin has to see the proxy's own ports
/// beside the user's.
const ALWAYS_OURS: [&str; 2] = [keys::REV, keys::EXCLUDE_INBOUND_PORTS];

/// What was added, by name: the annotation `sidecar.istio.io/status`.
#[derive(Debug, Default)]
pub(super) struct Status {
    init_containers: Vec<String>,
    containers: Vec<String>,
    volumes: Vec<String>,
    image_pull_secrets: Vec<String>,
}

impl Status {
    /// The annotation's text. Empty lists are null, as Istio writes them.
    fn to_json(&self, revision: &str) -> String {
        let names = |names: &[String]| if names.is_empty() { Value::Null } else { json!(names) };
        json!({
            "initContainers": names(&self.init_containers),
            "containers": names(&self.containers),
            "volumes": names(&self.volumes),
            "imagePullSecrets": names(&self.image_pull_secrets),
            "revision": revision,
        })
        .to_string()
    }
}

/// The fragment of all templates, each laid over those before it.
pub(super) fn render(facts: &Facts<'_>) -> Result<Map<String, Value>, InjectError> {
    let mut fragment = Map::new();
    for template in &facts.templates {
        let part = match template.as_str() {
            SIDECAR => sidecar(facts),
            GATEWAY => gateway(facts),
            own => facts.config.templates.get(own).cloned().unwrap_or(Value::Null),
        };
        if let Value::Object(part) = part {
            overlay(&mut fragment, part);
        }
    }
    Ok(fragment)
}

fn sidecar(facts: &Facts<'_>) -> Value {
    let mut init = Vec::new();
    let mut containers = Vec::new();
    if facts.captures() {
        init.push(container::capture_container(facts));
    }
    if facts.native {
        init.push(container::sidecar(facts));
    } else {
        containers.push(container::sidecar(facts));
    }
    let mut fragment = common(facts);
    fragment["metadata"]["labels"][labels::SECURITY_TLS_MODE] = labels::TLS_MODE_ISTIO.into();
    if facts.captures() && facts.values().cni() {
        for (key, value) in container::capture_annotations(facts) {
            fragment["metadata"]["annotations"][key] = value.into();
        }
    }
    if let Some(first) = facts.app_containers().first() {
        for key in [keys::KUBECTL_DEFAULT_LOGS_CONTAINER, keys::KUBECTL_DEFAULT_CONTAINER] {
            fragment["metadata"]["annotations"][key] = (*first).into();
        }
    }
    fragment["spec"]["initContainers"] = init.into();
    fragment["spec"]["containers"] = containers.into();
    fragment
}

fn gateway(facts: &Facts<'_>) -> Value {
    let mut fragment = common(facts);
    fragment["spec"]["containers"] = json!([container::gateway(facts)]);
    let spec = facts.pod.spec.as_ref();
    if spec.is_none_or(|spec| spec.security_context.is_none()) {
        // An unprivileged gateway binds 80 and 443.
        fragment["spec"]["securityContext"] =
            json!({"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]});
    }
    fragment
}

/// What every proxy's pod has.
fn common(facts: &Facts<'_>) -> Value {
    let secrets = &facts.values().global.image_pull_secrets;
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "metadata": {
            "labels": {
                labels::SERVICE_CANONICAL_NAME:
                    canonical_name(&facts.pod.metadata, &facts.workload),
                labels::SERVICE_CANONICAL_REVISION: canonical_revision(&facts.pod.metadata),
            },
            "annotations": {keys::REV: facts.config.revision()},
        },
        "spec": {"volumes": volume::volumes(facts), "imagePullSecrets": secrets},
    })
}

/// Puts the fragment into the pod. Labels, annotations, volumes and secrets that the pod has
/// already stay as they are, but for [`ALWAYS_OURS`].
pub(super) fn merge(pod: &mut Value, mut fragment: Map<String, Value>) -> Status {
    let mut status = Status::default();
    if let Some(Value::Object(metadata)) = fragment.remove("metadata") {
        for (field, all) in metadata {
            let (target, Value::Object(all)) = (object(object_at(pod, "metadata"), &field), all)
            else {
                continue;
            };
            for (key, value) in all {
                if ALWAYS_OURS.contains(&key.as_str()) || !target.contains_key(&key) {
                    target.insert(key, value);
                }
            }
        }
    }
    let Some(Value::Object(mut added)) = fragment.remove("spec") else { return status };
    let spec = object(pod, "spec");
    for (field, names) in [
        ("initContainers", &mut status.init_containers),
        ("containers", &mut status.containers),
        ("volumes", &mut status.volumes),
        ("imagePullSecrets", &mut status.image_pull_secrets),
    ] {
        let Some(Value::Array(items)) = added.remove(field) else { continue };
        // A fragment may touch the application's containers, but these stay the pod's own.
        let touches = field.ends_with("ontainers");
        for item in items {
            let own = list(spec, field);
            let item_name = name(&item).to_owned();
            match own.iter_mut().find(|other| name(other) == item_name) {
                None => {
                    names.push(item_name);
                    own.push(item);
                }
                Some(Value::Object(other)) if touches => {
                    if let Value::Object(item) = item {
                        overlay(other, item);
                    }
                }
                Some(_) => {}
            }
        }
    }
    overlay(spec, added);
    status
}

fn object_at<'a>(pod: &'a mut Value, field: &str) -> &'a mut Value {
    object(pod, field);
    &mut pod[field]
}

/// Brings the containers into the order in which they have to start.
pub(super) fn order(pod: &mut Value, facts: &Facts<'_>) {
    let spec = object(pod, "spec");
    if spec.contains_key("initContainers") {
        let init = list(spec, "initContainers");
        if init.iter().any(|container| name(container) == PROXY_CONTAINER) {
            // Capture, proxy, then the pod's own: its init containers are part of the mesh.
            for first in [PROXY_CONTAINER, VALIDATION_CONTAINER, INIT_CONTAINER] {
                init.sort_by_key(|container| name(container) != first);
            }
        } else {
            // Capture last, so that the pod's own init containers are not cut off; a check first.
            init.sort_by_key(|container| name(container) != VALIDATION_CONTAINER);
            init.sort_by_key(|container| name(container) == INIT_CONTAINER);
        }
    }
    if spec.contains_key("containers") {
        let first = facts.holds_application() && !facts.is_gateway();
        let containers = list(spec, "containers");
        containers.sort_by_key(|container| (name(container) == PROXY_CONTAINER) != first);
    }
}

/// Records in annotations what was done.
pub(super) fn annotate(pod: &mut Value, facts: &Facts<'_>, status: &Status, own: &Overrides) {
    let annotations = object(object_at(pod, "metadata"), "annotations");
    for (key, value) in &facts.config.injected_annotations {
        annotations.entry(key.clone()).or_insert_with(|| value.clone().into());
    }
    if let Some(text) = own.to_json() {
        annotations.insert(keys::PROXY_OVERRIDES.to_owned(), text.into());
    }
    let status = status.to_json(facts.config.revision());
    annotations.insert(keys::SIDECAR_STATUS.to_owned(), status.into());
}
