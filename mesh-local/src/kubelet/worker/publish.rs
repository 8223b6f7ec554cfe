//! Writing a pod's status to the API server: only what has changed, one write at a time, always
//! the latest; and the removal of a pod that has ended.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};

use crate::kubelet::event::is_not_found;
use crate::kubelet::pod as pods;
use crate::kubelet::status::{NodeFacts, status};
use crate::kubelet::worker::{Done, Worker};

impl Worker {
    /// Writes the status if it has changed and no write is on its way.
    pub(super) fn publish(&mut self, now: Timestamp) {
        if self.publishing || self.gone || self.removing {
            return;
        }
        // A pod that was finished before this server started is history.
        if self.published.is_none() && pods::is_finished(&self.pod) {
            return;
        }
        let node = NodeFacts { host_ip: self.ctx.config.node_ip.to_string() };
        let previous = conditions(self.published.as_ref());
        let document = status(&self.pod, &self.state, &node, &previous, now);
        let Ok(document) = serde_json::to_value(document) else { return };
        if self.published.as_ref() == Some(&document) {
            return;
        }
        let stored = self.pod.status.as_ref().and_then(|status| serde_json::to_value(status).ok());
        let mut change = document.clone();
        clear(&mut change, self.published.as_ref());
        clear(&mut change, stored.as_ref());
        let patch = json!({
            "metadata": {"uid": pods::uid(&self.pod)},
            "status": change,
        });
        self.publishing = true;
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), pods::namespace(&self.pod));
        let name = pods::name(&self.pod).to_owned();
        let retry = self.ctx.config.retry;
        self.jobs.spawn(async move {
            let written =
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            match written {
                Ok(_) => Done::Published(document, true),
                // The watch will tell.
                Err(err) if is_not_found(&err) => Done::Published(document, true),
                Err(err) => {
                    tracing::warn!(%err, pod = %name, "pod status not written");
                    tokio::time::sleep(retry).await;
                    Done::Published(document, false)
                }
            }
        });
    }

    /// Lets the API server remove the object of a pod that has ended.
    pub(super) fn remove(&mut self) {
        // The last status goes first, so that watchers see how it ended.
        if self.removing || self.publishing {
            return;
        }
        self.removing = true;
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), pods::namespace(&self.pod));
        let name = pods::name(&self.pod).to_owned();
        let uid = self.pod.metadata.uid.clone();
        let retry = self.ctx.config.retry;
        let dir = self.dirs.base().to_path_buf();
        self.jobs.spawn(async move {
            // Whoever sees that the pod is gone finds nothing of it. What cannot be removed is
            // complained of when the worker ends.
            let _ = std::fs::remove_dir_all(dir);
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions { uid, resource_version: None }),
                ..DeleteParams::default()
            };
            match api.delete(&name, &params).await {
                Ok(_) => Done::Removed(true),
                Err(err) if is_not_found(&err) => Done::Removed(true),
                Err(err) => {
                    tracing::warn!(%err, pod = %name, "pod not removed");
                    tokio::time::sleep(retry).await;
                    Done::Removed(false)
                }
            }
        });
    }
}

/// A merge patch leaves alone what it does not name: fields that were there and are not any more
/// become null.
fn clear(change: &mut Value, old: Option<&Value>) {
    let (Some(change), Some(old)) = (change.as_object_mut(), old.and_then(Value::as_object)) else {
        return;
    };
    for name in old.keys().filter(|name| OWNED.contains(&name.as_str())) {
        change.entry(name.clone()).or_insert(Value::Null);
    }
}

/// The fields of a status that are the kubelet's.
const OWNED: [&str; 12] = [
    "conditions",
    "containerStatuses",
    "hostIP",
    "hostIPs",
    "initContainerStatuses",
    "message",
    "phase",
    "podIP",
    "podIPs",
    "qosClass",
    "reason",
    "startTime",
];

fn conditions(status: Option<&Value>) -> Vec<PodCondition> {
    status
        .and_then(Value::as_object)
        .and_then(|status: &Map<String, Value>| status.get("conditions"))
        .and_then(|conditions| serde_json::from_value(conditions.clone()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_becomes_null() {
        let mut change = json!({"phase": "Pending"});
        let old = json!({"podIP": "1.2.3.4", "phase": "Running", "nominatedNodeName": "x"});
        clear(&mut change, Some(&old));
        assert_eq!(change, json!({"phase": "Pending", "podIP": null}));
        clear(&mut change, None);
    }
}
