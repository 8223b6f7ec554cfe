//! Which nodes lack a DaemonSet's pod, which have one too many or an old one. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetStatus},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::util::intstr::IntOrString,
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::controllers::{
    deployment::numbers::resolve,
    owners,
    pods::{self, Naming},
    runner::Recheck,
    workload::PodPlan,
};

/// The label that tells pods of one template from those of another.
const HASH: &str = "controller-revision-hash";

/// What is to be done, and what the set then says.
pub(super) struct Plan {
    pub(super) pods: PodPlan,
    pub(super) status: DaemonSetStatus,
    pub(super) recheck: Recheck,
}

/// Compares the nodes with the pods on them.
pub(super) fn decide(
    set: &DaemonSet,
    owned: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    now: Timestamp,
) -> Plan {
    let mut plan = PodPlan::default();
    let Some(spec) = &set.spec else {
        return Plan { pods: plan, status: DaemonSetStatus::default(), recheck: None };
    };
    let hash = pods::template_hash(&spec.template, 0);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let is_available =
        |pod: &Pod| pods::until_available(pod, min_ready, now).is_some_and(|wait| wait.is_zero());
    let mut count = Counts::default();
    let mut old = Vec::new();
    for node in nodes {
        let mut here: Vec<_> =
            owned.iter().filter(|pod| node_of(pod) == Some(&node.name_any())).cloned().collect();
        if !fits(set, node) {
            count.misscheduled += i32::from(!here.is_empty());
            plan.delete.extend(here.into_iter().filter(|pod| pods::is_active(pod)));
            continue;
        }
        count.desired += 1;
        // A pod that ended makes place for another.
        plan.delete.extend(
            here.iter().filter(|pod| pods::is_finished(pod) && !pods::is_leaving(pod)).cloned(),
        );
        let leaving = here.iter().any(|pod| pods::is_leaving(pod));
        here.retain(|pod| pods::is_active(pod));
        here.sort_by_cached_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.name_any()));
        let mut here = here.into_iter();
        let Some(first) = here.next() else {
            if !leaving {
                plan.create.push(make(set, &hash, &node.name_any()));
            }
            continue;
        };
        plan.delete.extend(here);
        count.current += 1;
        count.ready += i32::from(pods::is_ready(&first));
        count.available += i32::from(is_available(&first));
        if first.labels().get(HASH) == Some(&hash) {
            count.updated += 1;
        } else {
            old.push(first);
        }
    }
    if set.metadata.deletion_timestamp.is_some() {
        plan = PodPlan::default();
    } else {
        replace(set, old, &count, is_available, &mut plan);
    }
    let recheck = pods::next_available(owned.iter().map(Arc::as_ref), min_ready, now);
    Plan { pods: plan, status: count.status(set), recheck }
}

/// Lets old pods go, as many as may be unavailable at a time.
fn replace(
    set: &DaemonSet,
    old: Vec<Arc<Pod>>,
    count: &Counts,
    is_available: impl Fn(&Pod) -> bool,
    plan: &mut PodPlan,
) {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    let limit = strategy
        .and_then(|s| s.rolling_update.as_ref())
        .and_then(|rolling| rolling.max_unavailable.clone())
        .unwrap_or(IntOrString::Int(1));
    let limit = resolve(&limit, count.desired, true).max(1);
    let mut room = limit - (count.desired - count.available);
    for pod in old {
        if is_available(&pod) {
            if room <= 0 {
                continue;
            }
            room -= 1;
        }
        // A pod that is not available anyway costs nothing.
        plan.delete.push(pod);
    }
}

#[derive(Default)]
struct Counts {
    desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    available: i32,
    updated: i32,
}

impl Counts {
    fn status(&self, set: &DaemonSet) -> DaemonSetStatus {
        let some = |count: i32| (count != 0).then_some(count);
        let old = set.status.as_ref();
        DaemonSetStatus {
            desired_number_scheduled: self.desired,
            current_number_scheduled: self.current,
            number_misscheduled: self.misscheduled,
            number_ready: self.ready,
            number_available: some(self.available),
            number_unavailable: some(self.desired - self.available),
            updated_number_scheduled: some(self.updated),
            observed_generation: set.metadata.generation,
            collision_count: old.and_then(|status| status.collision_count),
            conditions: old.and_then(|status| status.conditions.clone()),
        }
    }
}

fn node_of(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.node_name.as_ref()
}

fn fits(set: &DaemonSet, node: &Node) -> bool {
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let wanted = template.and_then(|spec| spec.node_selector.as_ref());
    let labels = node.metadata.labels.as_ref();
    wanted.into_iter().flatten().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
}

fn make(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let prefix = format!("{}-", set.name_any());
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let owner = owners::controller_reference(set);
    let namespace = set.namespace().unwrap_or_default();
    let mut pod = pods::from_template(&template, owner, &namespace, Naming::Prefix(&prefix));
    pod.labels_mut().insert(HASH.to_owned(), hash.to_owned());
    if let Some(spec) = &mut pod.spec {
        // The pod belongs to this node; there is nothing to schedule.
        spec.node_name = Some(node.to_owned());
    }
    pod
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(image: &str, extra: Value) -> DaemonSet {
        let mut set = json!({
            "metadata": {"name": "agent", "namespace": "n", "uid": "u"},
            "spec": {"selector": {"matchLabels": {"app": "agent"}},
                     "template": {"metadata": {"labels": {"app": "agent"}},
                                  "spec": {"containers": [{"name": "a", "image": image}]}}}
        });
        for (key, value) in extra.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        serde_json::from_value(set).unwrap()
    }

    fn node(name: &str, labels: Value) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap(),
        )
    }

    fn running(made: &Pod, ready: bool) -> Arc<Pod> {
        let mut pod = made.clone();
        let node = node_of(made).unwrap().clone();
        pod.metadata.name = Some(format!("agent-{node}"));
        let status = json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }}]});
        pod.status = Some(serde_json::from_value(status).unwrap());
        Arc::new(pod)
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn each_fitting_node_gets_one_pod() {
        let nodes = [node("a", json!({})), node("b", json!({"gpu": "yes"}))];
        let everywhere = decide(&set("i:1", json!({})), &[], &nodes, now()).pods;
        assert_eq!(everywhere.create.len(), 2);
        assert_eq!(node_of(&everywhere.create[0]).unwrap(), "a");
        let mut picky = set("i:1", json!({}));
        let selector = Some([("gpu".to_owned(), "yes".to_owned())].into());
        picky.spec.as_mut().unwrap().template.spec.as_mut().unwrap().node_selector = selector;
        let owned: Vec<_> = everywhere.create.iter().map(|pod| running(pod, true)).collect();
        let plan = decide(&picky, &owned[..1], &nodes, now());
        assert_eq!((plan.pods.create.len(), plan.pods.delete.len()), (1, 1));
        assert_eq!((plan.status.desired_number_scheduled, plan.status.number_misscheduled), (1, 1));
    }

    #[test]
    fn updates_go_node_by_node() {
        let nodes = [node("a", json!({})), node("b", json!({}))];
        let made = decide(&set("i:1", json!({})), &[], &nodes, now()).pods.create;
        let owned: Vec<_> = made.iter().map(|pod| running(pod, true)).collect();
        let settled = decide(&set("i:1", json!({})), &owned, &nodes, now());
        assert_eq!(settled.pods, PodPlan::default());
        assert_eq!(settled.status.updated_number_scheduled, Some(2));
        let second = set("i:2", json!({}));
        let plan = decide(&second, &owned, &nodes, now());
        assert_eq!(plan.pods.delete.len(), 1);
        let mut during = owned.clone();
        let new = decide(&second, &[], &nodes[..1], now()).pods.create.remove(0);
        during[0] = running(&new, false);
        assert_eq!(decide(&second, &during, &nodes, now()).pods, PodPlan::default());
        during[0] = running(&new, true);
        assert_eq!(decide(&second, &during, &nodes, now()).pods.delete.len(), 1);
        let manual = set("i:2", json!({"updateStrategy": {"type": "OnDelete"}}));
        assert_eq!(decide(&manual, &owned, &nodes, now()).pods, PodPlan::default());
    }
}
