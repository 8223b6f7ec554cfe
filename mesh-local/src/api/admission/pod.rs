//! A new pod's priority, and how long it stays on a node that has gone quiet.

use local_model::refusal::Refusal;
use serde_json::{Value, json};

use crate::api::error::Result;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::store::{ObjectKey, ResourceKey, Selection};

/// Seconds a pod stays on a node that is not ready or not reachable.
const TOLERATION_SECONDS: i64 = 300;

/// Fills priority and tolerations.
pub(super) fn admit(server: &Server, request: &Request, pod: &mut Value) -> Result<()> {
    priority(server, request, pod)?;
    let spec = &mut pod["spec"];
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = spec["tolerations"].as_array().into_iter().flatten().any(|toleration| {
            let matches_key = toleration["key"].as_str().is_none_or(|k| k.is_empty() || k == key);
            let effect = toleration["effect"].as_str().unwrap_or_default();
            matches_key && (effect.is_empty() || effect == "NoExecute")
        });
        if tolerated {
            continue;
        }
        let toleration = json!({
            "key": key, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": TOLERATION_SECONDS,
        });
        match &mut spec["tolerations"] {
            Value::Array(list) => list.push(toleration),
            other => *other = json!([toleration]),
        }
    }
    Ok(())
}

fn priority(server: &Server, request: &Request, pod: &mut Value) -> Result<()> {
    let classes = ResourceKey::new("scheduling.k8s.io", "priorityclasses");
    let wanted = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let class = if wanted.is_empty() {
        let all = server.store.list(&classes, &Selection::default()).items;
        all.into_iter().find(|class| class["globalDefault"] == true)
    } else {
        let found = server.store.get(&classes, &ObjectKey::new("", wanted));
        if found.is_none() {
            let why = format!("no PriorityClass with name {wanted} was found");
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            return Err(Refusal::forbidden(request.resource.subject(name), &why).into());
        }
        found
    };
    let spec = &mut pod["spec"];
    match class {
        Some(class) => {
            spec["priorityClassName"] = class["metadata"]["name"].clone();
            spec["priority"] = class["value"].clone();
            spec["preemptionPolicy"] = class
                .get("preemptionPolicy")
                .cloned()
                .unwrap_or_else(|| json!("PreemptLowerPriority"));
        }
        None => {
            spec["priority"] = json!(0);
            spec["preemptionPolicy"] = json!("PreemptLowerPriority");
        }
    }
    Ok(())
}
