//! What a ReplicaSet wants done, and what it says about itself. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use crate::controllers::{owners, pods, replica_set::AT_ONCE, runner::Recheck};

/// Pods created in one go; the rest follows when these are seen.
const BURST: usize = 8 * AT_ONCE;

/// What is to be done.
pub(super) struct Plan {
    pub(super) create: usize,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) recheck: Recheck,
}

/// Compares the wanted with the active pods.
pub(super) fn decide(set: &ReplicaSet, owned: &[Arc<Pod>], now: Timestamp) -> Plan {
    let min_ready = min_ready(set);
    let recheck = pods::next_available(owned.iter().map(Arc::as_ref), min_ready, now);
    let mut plan = Plan { create: 0, delete: Vec::new(), recheck };
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(wanted(set)).unwrap_or(0);
    if active.len() < wanted {
        plan.create = (wanted - active.len()).min(BURST);
    } else if active.len() > wanted {
        active.sort_by_cached_key(|pod| pods::deletion_rank(pod));
        active.truncate((active.len() - wanted).min(BURST));
        plan.delete = active;
    }
    plan
}

/// What the pods add up to.
pub(super) fn status(
    set: &ReplicaSet,
    owned: &[Arc<Pod>],
    failure: Option<&str>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let active = || owned.iter().map(Arc::as_ref).filter(|pod| pods::is_active(pod));
    let count = |test: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    let min_ready = min_ready(set);
    let template = set.spec.as_ref().and_then(|s| s.template.as_ref());
    let labels = template.and_then(|t| t.metadata.as_ref()?.labels.as_ref());
    let fully_labeled = |pod: &Pod| {
        let has = pod.metadata.labels.as_ref();
        labels.into_iter().flatten().all(|(key, value)| has.and_then(|l| l.get(key)) == Some(value))
    };
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: some(count(&fully_labeled)),
        ready_replicas: some(count(&pods::is_ready)),
        available_replicas: some(count(&|pod| {
            pods::until_available(pod, min_ready, now).is_some_and(|wait| wait.is_zero())
        })),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
        terminating_replicas: None,
    }
}

/// Whether this set's selector matches a pod that nobody controls.
pub(super) fn could_adopt(set: &ReplicaSet, pod: &Pod) -> bool {
    let Some(spec) = &set.spec else { return false };
    owners::selector(&spec.selector)
        .is_ok_and(|selector| selector.matches_pairs(pod.metadata.labels.as_ref()))
}

fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn min_ready(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// Zero is left out, as the API writes it.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

fn conditions(
    set: &ReplicaSet,
    failure: Option<&str>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let old = set.status.as_ref().and_then(|status| status.conditions.clone());
    let (failed, mut others): (Vec<_>, Vec<_>) =
        old.unwrap_or_default().into_iter().partition(|c| c.type_ == "ReplicaFailure");
    if let Some(message) = failure {
        let since = failed.into_iter().next().and_then(|c| c.last_transition_time);
        others.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some("FailedCreate".to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: since.or(Some(Time::from(now))),
        });
    }
    (!others.is_empty()).then_some(others)
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2025-01-01T00:01:00Z".parse().unwrap()
    }

    fn set(replicas: i32, extra: Value) -> ReplicaSet {
        let mut set = json!({
            "metadata": {"name": "rs", "generation": 3},
            "spec": {
                "replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}}
            }
        });
        for (key, value) in extra.as_object().unwrap() {
            set["metadata"][key] = value.clone();
        }
        serde_json::from_value(set).unwrap()
    }

    fn pod(name: &str, phase: &str, ready_since: Option<&str>) -> Arc<Pod> {
        let ready: Vec<_> = ready_since
            .map(|at| json!({"type": "Ready", "status": "True", "lastTransitionTime": at}))
            .into_iter()
            .collect();
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"a": "b"}},
                "status": {"phase": phase, "conditions": ready}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_difference_is_made_up() {
        let ready = Some("2025-01-01T00:00:00Z");
        let running = || vec![pod("a", "Running", ready), pod("b", "Running", None)];
        for (replicas, owned, create, delete) in [
            (3, vec![], 3, vec![]),
            (0, vec![], 0, vec![]),
            (2, running(), 0, vec![]),
            (4, running(), 2, vec![]),
            (1, running(), 0, vec!["b"]),
            (0, running(), 0, vec!["b", "a"]),
            (2, vec![pod("a", "Failed", None), pod("b", "Running", None)], 1, vec![]),
            (1000, vec![], BURST, vec![]),
        ] {
            let plan = decide(&set(replicas, json!({})), &owned, now());
            let names: Vec<_> = plan.delete.iter().map(|p| p.name_any()).collect();
            assert_eq!(
                (plan.create, names),
                (create, delete.iter().map(|s| s.to_string()).collect())
            );
        }
    }

    #[test]
    fn a_set_being_deleted_does_nothing() {
        let leaving = set(3, json!({"deletionTimestamp": "2025-01-01T00:00:00Z"}));
        assert_eq!(decide(&leaving, &[], now()).create, 0);
    }

    #[test]
    fn status_counts_and_remembers_failure() {
        let owned = [
            pod("a", "Running", Some("2025-01-01T00:00:00Z")),
            pod("b", "Running", Some("2025-01-01T00:00:55Z")),
            pod("c", "Pending", None),
            pod("d", "Succeeded", None),
        ];
        let mut set = set(3, json!({}));
        let first = status(&set, &owned, Some("no account"), now());
        assert_eq!(
            (first.replicas, first.ready_replicas, first.available_replicas),
            (3, Some(2), Some(1))
        );
        assert_eq!((first.fully_labeled_replicas, first.observed_generation), (Some(3), Some(3)));
        let failed = first.conditions.clone().unwrap();
        assert_eq!(failed[0].message.as_deref(), Some("no account"));
        assert_eq!(decide(&set, &owned, now()).recheck.map(|w| w.as_secs()), Some(5));

        set.status = Some(first);
        let later = "2025-01-01T00:02:00Z".parse().unwrap();
        let again = status(&set, &owned, Some("still"), later).conditions.unwrap();
        assert_eq!(again[0].last_transition_time, failed[0].last_transition_time);
        assert_eq!(status(&set, &owned, None, later).conditions, None);
    }
}
