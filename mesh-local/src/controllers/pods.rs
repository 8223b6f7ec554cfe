//! What controllers ask of pods: ready, available, active; and a pod made from a template.

use std::{cmp::Reverse, time::Duration};

use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
    jiff::Timestamp,
};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A condition of the pod by its type.
pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

/// Whether the pod has the condition `Ready`.
pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// The pod's phase; `Pending` before it has one.
pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has ended and will not run again.
pub(super) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is being deleted.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts as a replica: it has neither ended nor is it being deleted.
pub(super) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_leaving(pod)
}

/// How long until a pod is available: ready for at least `min_ready` seconds. Zero when it is,
/// `None` when it is not even ready.
pub(super) fn until_available(pod: &Pod, min_ready: i32, now: Timestamp) -> Option<Duration> {
    let ready = condition(pod, "Ready").filter(|c| c.status == "True")?;
    let since = ready.last_transition_time.as_ref().map_or(now, |Time(at)| *at);
    let wanted = i64::from(min_ready.max(0));
    let left = wanted - now.duration_since(since).as_secs();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// The shortest positive wait until one of the pods becomes available.
pub(super) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    min_ready: i32,
    now: Timestamp,
) -> Option<Duration> {
    let waits = pods.into_iter().filter_map(|pod| until_available(pod, min_ready, now));
    waits.filter(|wait| !wait.is_zero()).min()
}

/// Orders pods by how little is lost when they go: first those that do not run.
pub(super) fn deletion_rank(pod: &Pod) -> impl Ord + use<> {
    let assigned = pod.spec.as_ref().and_then(|s| s.node_name.as_ref()).is_some();
    let phase = match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST));
    let cost: i32 = cost.and_then(|c| c.parse().ok()).unwrap_or(0);
    let ready_since = condition(pod, "Ready")
        .filter(|c| c.status == "True")
        .and_then(|c| c.last_transition_time.clone());
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let restarts = statuses.into_iter().flatten().map(|c| c.restart_count).max().unwrap_or(0);
    (
        (assigned, phase, ready_since.is_some(), cost),
        // Younger ones first, and those that restarted more.
        Reverse(ready_since),
        Reverse(restarts),
        Reverse(pod.metadata.creation_timestamp.clone()),
        pod.metadata.name.clone(),
    )
}

/// How a new pod gets its name.
pub(super) enum Naming<'a> {
    /// The server completes this prefix.
    Prefix(&'a str),
    /// Exactly this.
    Exact(String),
}

/// A pod as a template wants it, controlled by `owner`.
pub(super) fn from_template(
    template: &PodTemplateSpec,
    owner: OwnerReference,
    namespace: &str,
    naming: Naming<'_>,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let (name, generate_name) = match naming {
        Naming::Prefix(prefix) => (None, Some(prefix.to_owned())),
        Naming::Exact(name) => (Some(name), None),
    };
    Pod {
        metadata: ObjectMeta {
            name,
            generate_name,
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// A hash of a template that stays the same as long as the template does.
pub(super) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    // Field order and map order are fixed by the types, so the text is canonical.
    let mut text = serde_json::to_vec(template).unwrap_or_default();
    if collisions > 0 {
        text.extend(collisions.to_le_bytes());
    }
    local_model::name::spell(fnv1a(&text))
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn now() -> Timestamp {
        "2025-01-01T00:01:00Z".parse().unwrap()
    }

    #[test]
    fn availability_needs_time() {
        let ready = |since: &str| {
            pod(json!({"status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": since}]}}))
        };
        let secs = |wait: Option<Duration>| wait.map(|w| w.as_secs());
        assert_eq!(secs(until_available(&pod(json!({})), 0, now())), None);
        assert_eq!(secs(until_available(&ready("2025-01-01T00:01:00Z"), 0, now())), Some(0));
        assert_eq!(secs(until_available(&ready("2025-01-01T00:00:50Z"), 30, now())), Some(20));
        assert_eq!(secs(until_available(&ready("2025-01-01T00:00:00Z"), 30, now())), Some(0));
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let make = |name: &str, spec: Value, status: Value, cost: &str| {
            pod(json!({
                "metadata": {"name": name, "annotations": {DELETION_COST: cost}},
                "spec": {"containers": [], "nodeName": spec}, "status": status
            }))
        };
        let ready = |since: &str| {
            json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": since}]})
        };
        let running = json!({"phase": "Running"});
        let mut pods = [
            make("old", json!("n"), ready("2025-01-01T00:00:00Z"), "0"),
            make("dear", json!("n"), ready("2025-01-01T00:00:30Z"), "5"),
            make("young", json!("n"), ready("2025-01-01T00:00:30Z"), "0"),
            make("unready", json!("n"), running, "0"),
            make("pending", json!("n"), json!({"phase": "Pending"}), "0"),
            make("unassigned", Value::Null, json!({"phase": "Pending"}), "0"),
        ];
        pods.sort_by_cached_key(deletion_rank);
        let names: Vec<_> = pods.iter().map(|p| p.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "young", "old", "dear"]);
    }

    #[test]
    fn hashes_follow_the_template() {
        let template = |image: &str| -> PodTemplateSpec {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "a", "image": image}]}}))
                .unwrap()
        };
        assert_eq!(template_hash(&template("a:1"), 0), template_hash(&template("a:1"), 0));
        assert_ne!(template_hash(&template("a:1"), 0), template_hash(&template("a:2"), 0));
        assert_ne!(template_hash(&template("a:1"), 0), template_hash(&template("a:1"), 1));
    }
}
