//! Binding a pod to a node, and evicting it within its disruption budgets.

use http::{Response, StatusCode};
use jiff::Timestamp;
use local_model::kind::Gvk;
use local_model::refusal::{Reason, Refusal};
use local_model::selector::Labels;
use serde_json::{Value, json};

use crate::api::body::ResponseBody;
use crate::api::delete::{self, DeleteOptions};
use crate::api::error::{ApiError, Result};
use crate::api::query::WriteOptions;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::api::write::{self, ATTEMPTS, Admitted, Replaced};
use crate::api::{decode, metadata, render};
use crate::store::{ResourceKey, Selection};

/// Assigns the pod to the node that a `Binding` names.
pub(super) fn bind(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let document = decode::document(request)?;
    let gvk = Gvk::new("", "v1", "Binding");
    let binding = decode::subresource_object(request, &gvk, document, options.field_validation)?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Refusal::bad_request("target.name: Required value").into());
    }
    for _ in 0..ATTEMPTS {
        let old = server
            .store
            .get(&request.resource.storage, &request.key())
            .ok_or_else(|| request.not_found())?;
        let current = old["spec"]["nodeName"].as_str().unwrap_or_default();
        let refuse = |why: String| Err(Refusal::conflict(request.subject(), &why).into());
        if !current.is_empty() {
            return refuse(format!(
                "pod {} is already assigned to node {current:?}",
                request.path.name
            ));
        }
        if !old["metadata"]["deletionTimestamp"].is_null() {
            return refuse(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                request.path.name
            ));
        }
        let mut new = (*old).clone();
        new["spec"]["nodeName"] = json!(node);
        set_condition(&mut new, Timestamp::now());
        if options.dry_run {
            break;
        }
        let admitted = Admitted { object: new, lease: Default::default() };
        match write::commit_update(server, &request.resource, &old, admitted)? {
            Replaced::Stale => {}
            _ => return Ok(render::document(request, StatusCode::CREATED, &success())),
        }
    }
    if options.dry_run {
        return Ok(render::document(request, StatusCode::CREATED, &success()));
    }
    Err(write::conflict(&request.resource, &request.path.name).into())
}

fn set_condition(pod: &mut Value, now: Timestamp) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": metadata::time(now),
    });
    match &mut pod["status"]["conditions"] {
        Value::Array(all) => {
            all.retain(|c| c["type"] != "PodScheduled");
            all.push(condition);
        }
        other => *other = json!([condition]),
    }
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

/// Deletes the pod if its disruption budgets leave room.
pub(super) async fn evict(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let document = decode::document(request)?;
    let gvk = Gvk::new("policy", "v1", "Eviction");
    let eviction = decode::subresource_object(request, &gvk, document, options.field_validation)?;
    let pod = server
        .store
        .get(&request.resource.storage, &request.key())
        .ok_or_else(|| request.not_found())?;
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    if !ended && pod["metadata"]["deletionTimestamp"].is_null() {
        check_budgets(server, request, &pod)?;
    }
    let mut delete = DeleteOptions::from_json(&eviction["deleteOptions"])?;
    delete.dry_run |= options.dry_run;
    delete::delete_object(server, request, &request.key(), &delete).await?;
    Ok(render::document(request, StatusCode::CREATED, &success()))
}

fn check_budgets(server: &Server, request: &Request, pod: &Value) -> Result<()> {
    let namespace = Some(request.path.namespace.as_str());
    let selection = Selection { namespace, ..Selection::default() };
    let budgets =
        server.store.list(&ResourceKey::new("policy", "poddisruptionbudgets"), &selection);
    let pods = server.store.list(&request.resource.storage, &selection).items;
    for budget in budgets.items {
        let Ok(selector) = Labels::from_selector(&budget["spec"]["selector"]) else { continue };
        if !selector.matches_object(pod) {
            continue;
        }
        let matching: Vec<_> = pods.iter().filter(|p| selector.matches_object(p)).collect();
        let healthy = matching.iter().filter(|p| is_ready(p)).count();
        let needed = needed(&budget["spec"], matching.len());
        if is_ready(pod) && healthy <= needed {
            let name = budget["metadata"]["name"].as_str().unwrap_or_default();
            let message = "Cannot evict pod as it would violate the pod's disruption budget.";
            let refusal = Refusal::new(Reason::TooManyRequests, message);
            let cause = format!(
                "The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
            );
            return Err(ApiError::with_cause(&refusal, "DisruptionBudget", &cause, ""));
        }
    }
    Ok(())
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// How many pods a budget wants to stay: both forms round up.
fn needed(spec: &Value, total: usize) -> usize {
    let scaled = |value: &Value| -> Option<usize> {
        match value {
            Value::Number(n) => n.as_u64().and_then(|n| usize::try_from(n).ok()),
            Value::String(text) => {
                let percent: usize = text.strip_suffix('%')?.parse().ok()?;
                Some((total.saturating_mul(percent)).div_ceil(100))
            }
            _ => None,
        }
    };
    match (scaled(&spec["minAvailable"]), scaled(&spec["maxUnavailable"])) {
        (Some(minimum), _) => minimum,
        (None, Some(maximum)) => total.saturating_sub(maximum),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::needed;
    use serde_json::json;

    #[test]
    fn budgets() {
        for (spec, total, expected) in [
            (json!({"minAvailable": 2}), 3, 2),
            (json!({"minAvailable": "50%"}), 3, 2),
            (json!({"maxUnavailable": 1}), 3, 2),
            (json!({"maxUnavailable": "50%"}), 3, 1),
            (json!({}), 3, 0),
        ] {
            assert_eq!(needed(&spec, total), expected, "{spec}");
        }
    }
}
