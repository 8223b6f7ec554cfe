//! The next numbered pod to start, stop or replace. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::controllers::{
    owners,
    pods::{self, Naming},
    runner::Recheck,
    workload::PodPlan,
};

const HASH: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// What is to be done, and what the set then says.
pub(super) struct Plan {
    pub(super) pods: PodPlan,
    pub(super) status: StatefulSetStatus,
    pub(super) recheck: Recheck,
}

/// Decides on the next step; unless pods are managed in parallel, one pod at a time.
pub(super) fn decide(set: &StatefulSet, owned: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut plan = PodPlan::default();
    let Some(spec) = &set.spec else {
        return Plan { pods: plan, status: StatefulSetStatus::default(), recheck: None };
    };
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let is_available =
        |pod: &Pod| pods::until_available(pod, min_ready, now).is_some_and(|wait| wait.is_zero());
    let revision = format!("{}-{}", set.name_any(), pods::template_hash(&spec.template, 0));
    let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let wanted = first..first + spec.replicas.unwrap_or(1);
    let by_number: BTreeMap<i32, &Arc<Pod>> =
        owned.iter().filter_map(|pod| Some((ordinal(set, pod)?, pod))).collect();
    if set.metadata.deletion_timestamp.is_none() {
        let state = State { wanted, by_number: &by_number, revision: &revision };
        step(set, spec, &state, &is_available, &mut plan);
    }
    let status = status(set, &by_number, &revision, &is_available);
    let recheck = pods::next_available(owned.iter().map(Arc::as_ref), min_ready, now);
    Plan { pods: plan, status, recheck }
}

struct State<'a> {
    wanted: std::ops::Range<i32>,
    by_number: &'a BTreeMap<i32, &'a Arc<Pod>>,
    revision: &'a str,
}

fn step(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    state: &State<'_>,
    is_available: &impl Fn(&Pod) -> bool,
    plan: &mut PodPlan,
) {
    let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
    for number in state.wanted.clone() {
        match state.by_number.get(&number) {
            None => plan.create.push(make(set, spec, number, state.revision)),
            // A pod that ended is replaced by one of the same name.
            Some(pod) if pods::is_finished(pod) && !pods::is_leaving(pod) => {
                plan.delete.push(Arc::clone(pod));
            }
            Some(pod) if is_available(pod) && !pods::is_leaving(pod) => continue,
            Some(_) => {}
        }
        if !parallel {
            return;
        }
    }
    let extra = state.by_number.iter().rev().filter(|(n, _)| !state.wanted.contains(n));
    for (_, pod) in extra {
        if !pods::is_leaving(pod) {
            plan.delete.push(Arc::clone(pod));
        }
        if !parallel {
            return;
        }
    }
    if *plan != PodPlan::default() {
        return;
    }
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let partition = rolling.and_then(|r| r.partition).unwrap_or(0);
    for number in state.wanted.clone().rev().filter(|number| *number >= partition) {
        let Some(pod) = state.by_number.get(&number) else { return };
        let current = pod.labels().get(HASH).map(String::as_str) == Some(state.revision);
        if !current && !pods::is_leaving(pod) {
            plan.delete.push(Arc::clone(pod));
            return;
        }
        if pods::is_leaving(pod) || !is_available(pod) {
            return;
        }
    }
}

fn make(set: &StatefulSet, spec: &StatefulSetSpec, number: i32, revision: &str) -> Pod {
    let name = format!("{}-{number}", set.name_any());
    let owner = owners::controller_reference(set);
    let namespace = set.namespace().unwrap_or_default();
    let naming = Naming::Exact(name.clone());
    let mut pod = pods::from_template(&spec.template, owner, &namespace, naming);
    let labels = pod.labels_mut();
    labels.insert(HASH.to_owned(), revision.to_owned());
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), number.to_string());
    if let Some(pod_spec) = &mut pod.spec {
        pod_spec.hostname = Some(name);
        pod_spec.subdomain = spec.service_name.clone().filter(|service| !service.is_empty());
    }
    pod
}

/// A pod's number, from its name.
fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.name_any();
    name.strip_prefix(&format!("{}-", set.name_any()))?.parse().ok()
}

fn status(
    set: &StatefulSet,
    by_number: &BTreeMap<i32, &Arc<Pod>>,
    revision: &str,
    is_available: &impl Fn(&Pod) -> bool,
) -> StatefulSetStatus {
    let count = |test: &dyn Fn(&Pod) -> bool| {
        let found = by_number.values().filter(|pod| test(pod)).count();
        i32::try_from(found).unwrap_or(i32::MAX)
    };
    let some = |count: i32| (count != 0).then_some(count);
    let is_new = |pod: &Pod| pod.labels().get(HASH).map(String::as_str) == Some(revision);
    let old = set.status.as_ref();
    let (replicas, updated) = (count(&|_| true), count(&|pod| is_new(pod) && pods::is_active(pod)));
    let current = old.and_then(|status| status.current_revision.clone());
    let done = updated == replicas;
    let current = if done { revision.to_owned() } else { current.unwrap_or(revision.to_owned()) };
    let is_current =
        |pod: &Pod| pod.labels().get(HASH).map(String::as_str) == Some(current.as_str());
    StatefulSetStatus {
        replicas,
        ready_replicas: some(count(&|pod| pods::is_ready(pod) && pods::is_active(pod))),
        available_replicas: Some(count(&|pod| is_available(pod) && pods::is_active(pod))),
        current_replicas: some(count(&is_current)),
        updated_replicas: some(updated),
        update_revision: Some(revision.to_owned()),
        current_revision: Some(current),
        observed_generation: set.metadata.generation,
        collision_count: Some(old.and_then(|status| status.collision_count).unwrap_or(0)),
        conditions: old.and_then(|status| status.conditions.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(image: &str, replicas: i32, extra: Value) -> StatefulSet {
        let mut set = json!({
            "metadata": {"name": "db", "namespace": "n", "uid": "u"},
            "spec": {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"a": "b"}},
                     "template": {"metadata": {"labels": {"a": "b"}},
                                  "spec": {"containers": [{"name": "a", "image": image}]}}}
        });
        for (key, value) in extra.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        serde_json::from_value(set).unwrap()
    }

    fn ready(pod: &Pod) -> Arc<Pod> {
        let mut pod = pod.clone();
        let status =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        pod.status = Some(serde_json::from_value(status).unwrap());
        Arc::new(pod)
    }

    /// Plays until nothing changes; logs what is made (+) and deleted (-).
    fn run(set: &StatefulSet, world: &mut Vec<Arc<Pod>>) -> String {
        let mut log = String::new();
        for _ in 0..40 {
            let plan = decide(set, world, Timestamp::UNIX_EPOCH);
            if plan.pods == PodPlan::default() {
                return log;
            }
            for pod in &plan.pods.delete {
                log.push_str(&format!("-{}", ordinal(set, pod).unwrap()));
                world.retain(|known| known.name_any() != pod.name_any());
            }
            for pod in &plan.pods.create {
                log.push_str(&format!("+{}", ordinal(set, pod).unwrap()));
                world.push(ready(pod));
            }
            log.push(' ');
        }
        panic!("does not settle: {log}");
    }

    #[test]
    fn pods_start_in_order_stop_in_reverse_and_roll_from_the_top() {
        let mut world = Vec::new();
        assert_eq!(run(&set("i:1", 3, json!({})), &mut world), "+0 +1 +2 ");
        assert_eq!(run(&set("i:2", 3, json!({})), &mut world), "-2 +2 -1 +1 -0 +0 ");
        assert_eq!(run(&set("i:2", 1, json!({})), &mut world), "-2 -1 ");
        let parallel = json!({"podManagementPolicy": "Parallel"});
        assert_eq!(run(&set("i:2", 3, parallel), &mut world), "+1+2 ");
        let partition = json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}});
        assert_eq!(run(&set("i:3", 3, partition), &mut world), "-2 +2 ");
    }

    #[test]
    fn the_next_pod_waits_for_the_one_before() {
        let first = decide(&set("i:1", 2, json!({})), &[], Timestamp::UNIX_EPOCH).pods.create;
        assert_eq!(first.len(), 1);
        let spec = first[0].spec.as_ref().unwrap();
        assert_eq!(
            (spec.hostname.as_deref(), spec.subdomain.as_deref()),
            (Some("db-0"), Some("db"))
        );
        let unready = [Arc::new(first[0].clone())];
        let plan = decide(&set("i:1", 2, json!({})), &unready, Timestamp::UNIX_EPOCH);
        assert_eq!(plan.pods, PodPlan::default());
        assert_eq!((plan.status.replicas, plan.status.ready_replicas), (1, None));
    }
}
