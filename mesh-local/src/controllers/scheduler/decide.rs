//! Which node a pod goes to, or why to none. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use crate::controllers::pods;

const NAME: &str = "default-scheduler";

/// Whether a pod is this scheduler's to place.
pub(super) fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let placed = spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == NAME);
    !placed && !gated && ours && pods::is_active(pod)
}

/// What of a node decides where pods go.
#[derive(PartialEq)]
pub(super) struct Fitness {
    ready: bool,
    schedulable: bool,
    labels: Option<BTreeMap<String, String>>,
}

/// See [`Fitness`].
pub(super) fn fitness(node: &Node) -> Fitness {
    Fitness {
        ready: is_ready(node),
        schedulable: node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true),
        labels: node.metadata.labels.clone(),
    }
}

/// The first fit node's name.
///
/// # Errors
/// Why no node is fit, in the words of Kubernetes' scheduler.
pub(super) fn place(pod: &Pod, nodes: &[Arc<Node>]) -> Result<String, String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        match obstacle(pod, node) {
            None => return Ok(node.name_any()),
            Some(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    if nodes.is_empty() {
        return Err("no nodes available to schedule pods".to_owned());
    }
    let reasons: Vec<_> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    Err(format!("0/{} nodes are available: {}.", nodes.len(), reasons.join(", ")))
}

fn obstacle(pod: &Pod, node: &Node) -> Option<&'static str> {
    let fitness = fitness(node);
    if !fitness.ready {
        return Some("node(s) had untolerated taint {node.kubernetes.io/not-ready: }");
    }
    if !fitness.schedulable {
        return Some("node(s) were unschedulable");
    }
    (!fits_selector(pod, node)).then_some("node(s) didn't match Pod's node affinity/selector")
}

/// Whether the node has the labels that the pod selects nodes by.
pub(in crate::controllers) fn fits_selector(pod: &Pod, node: &Node) -> bool {
    let wanted = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    let labels = node.metadata.labels.as_ref();
    wanted.into_iter().flatten().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
}

/// Whether the node says it can run pods.
pub(in crate::controllers) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut base = json!({"containers": []});
        for (key, value) in spec.as_object().unwrap() {
            base[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": base})).unwrap()
    }

    fn node(ready: &str, spec: Value) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": "local", "labels": {"disk": "ssd"}}, "spec": spec,
                "status": {"conditions": [{"type": "Ready", "status": ready}]}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn only_unplaced_pods_wait() {
        assert!(is_waiting(&pod(json!({}))));
        assert!(is_waiting(&pod(json!({"schedulerName": "default-scheduler"}))));
        assert!(!is_waiting(&pod(json!({"schedulerName": "mine"}))));
        assert!(!is_waiting(&pod(json!({"nodeName": "local"}))));
        assert!(!is_waiting(&pod(json!({"schedulingGates": [{"name": "x"}]}))));
        let mut leaving = pod(json!({}));
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH.into());
        assert!(!is_waiting(&leaving));
    }

    #[test]
    fn pods_go_where_they_fit() {
        let fit = || node("True", json!({}));
        for (spec, nodes, want) in [
            (json!({}), vec![fit()], Ok("local")),
            (json!({"nodeSelector": {"disk": "ssd"}}), vec![fit()], Ok("local")),
            (json!({}), vec![], Err("no nodes available to schedule pods")),
            (
                json!({"nodeSelector": {"disk": "tape"}}),
                vec![fit()],
                Err(
                    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
                ),
            ),
            (
                json!({}),
                vec![node("True", json!({"unschedulable": true}))],
                Err("0/1 nodes are available: 1 node(s) were unschedulable."),
            ),
            (
                json!({}),
                vec![node("Unknown", json!({}))],
                Err("0/1 nodes are available: 1 node(s) had untolerated taint \
                     {node.kubernetes.io/not-ready: }."),
            ),
        ] {
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(place(&pod(spec.clone()), &nodes), want, "{spec}");
        }
    }
}
