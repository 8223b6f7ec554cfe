//! Deployments played through: a model of the replica sets answers each step.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus},
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Plan, Step, decide};
use crate::controllers::deployment::{numbers::size, revision::revision};

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_735_689_600 + seconds).unwrap()
}

fn deployment(image: &str, replicas: i32, extra: Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": [{"name": "a", "image": image}]}}
        }
    });
    for (key, value) in extra.as_object().unwrap() {
        deployment["spec"][key] = value.clone();
    }
    serde_json::from_value(deployment).unwrap()
}

/// The replica sets as the API server and their controller would have them.
#[derive(Default)]
struct World {
    sets: Vec<Arc<ReplicaSet>>,
    clock: i64,
    status: Option<k8s_openapi::api::apps::v1::DeploymentStatus>,
    annotations: std::collections::BTreeMap<String, String>,
    log: Vec<String>,
    fewest_up: i32,
    most: i32,
}

impl World {
    fn plan(&mut self, deployment: &Deployment, old_pods: bool) -> Plan {
        self.clock += 1;
        let mut deployment = deployment.clone();
        deployment.status = self.status.clone();
        deployment.metadata.annotations = Some(self.annotations.clone());
        let plan = decide(&deployment, self.sets.clone(), old_pods, time(self.clock));
        self.status = Some(plan.status.clone());
        if let Some(number) = plan.revision {
            self.annotations.insert(super::REVISION.to_owned(), number.to_string());
        }
        plan
    }

    fn apply(&mut self, plan: &Plan) {
        for step in &plan.steps {
            match step {
                Step::Create(set) => {
                    let mut set = set.as_ref().clone();
                    set.metadata.creation_timestamp = Some(time(self.clock).into());
                    set.status = Some(ReplicaSetStatus::default());
                    self.log.push(format!("create {}", size(&set)));
                    self.sets.push(Arc::new(set));
                }
                Step::Change { set, size: new, annotations } => {
                    let place = self.sets.iter_mut().find(|s| s.name_any() == set.name_any());
                    let place = Arc::make_mut(place.unwrap());
                    if let Some(new) = new {
                        self.log.push(format!("{} to {new}", size(place)));
                        place.spec.as_mut().unwrap().replicas = Some(*new);
                    }
                    let all = place.metadata.annotations.get_or_insert_default();
                    all.extend(annotations.clone());
                }
                Step::Delete(set) => {
                    self.log.push(format!("delete revision {}", revision(set)));
                    self.sets.retain(|s| s.name_any() != set.name_any());
                }
            }
        }
    }

    /// One set's pods come or go, all of them.
    fn settle(&mut self) {
        for set in &mut self.sets {
            let set = Arc::make_mut(set);
            let size = size(set);
            set.status = Some(ReplicaSetStatus {
                replicas: size,
                ready_replicas: Some(size),
                available_replicas: Some(size),
                ..ReplicaSetStatus::default()
            });
        }
        let up: i32 = self.sets.iter().map(|set| size(set)).sum();
        self.fewest_up = self.fewest_up.min(up);
        self.most = self.most.max(up);
    }

    /// Plays until nothing is left to do.
    fn run(&mut self, deployment: &Deployment) {
        (self.fewest_up, self.most) = (i32::MAX, 0);
        for _ in 0..50 {
            let old = self.sets.iter().filter(|s| s.status.as_ref().unwrap().replicas > 0).count();
            let plan = self.plan(deployment, old > 1);
            let idle = plan.steps.is_empty();
            self.apply(&plan);
            self.settle();
            if idle {
                return;
            }
        }
        panic!("does not settle: {:?}", self.log);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| size(set)).collect()
    }

    fn condition(&self, kind: &str) -> String {
        let all = self.status.as_ref().unwrap().conditions.clone().unwrap_or_default();
        let found = all.into_iter().find(|c| c.type_ == kind);
        found.map_or_else(|| "-".to_owned(), |c| format!("{} {}", c.status, c.reason.unwrap()))
    }
}

#[test]
fn a_first_rollout_completes() {
    let mut world = World::default();
    let web = deployment("a:1", 3, json!({}));
    world.run(&web);
    assert_eq!(world.log, ["create 3"]);
    world.plan(&web, false);
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
    assert_eq!(world.annotations[super::REVISION], "1");
}

#[test]
fn an_update_rolls_within_its_slack_and_a_rollback_reuses_the_old_set() {
    let mut world = World::default();
    world.run(&deployment("a:1", 4, json!({})));
    world.run(&deployment("a:2", 4, json!({})));
    assert_eq!(world.sizes(), [0, 4]);
    assert!(world.fewest_up >= 3 && world.most <= 5, "{}..{}", world.fewest_up, world.most);
    assert_eq!(world.annotations[super::REVISION], "2");

    world.run(&deployment("a:1", 4, json!({})));
    assert_eq!(world.sizes(), [4, 0]);
    assert_eq!(world.annotations[super::REVISION], "3");
    assert_eq!(revision(&world.sets[0]), 3);
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let strategy = json!({"strategy": {"type": "Recreate"}});
    let mut world = World::default();
    world.run(&deployment("a:1", 2, strategy.clone()));
    world.log.clear();
    let second = deployment("a:2", 2, strategy);
    let plan = world.plan(&second, true);
    world.apply(&plan);
    assert_eq!(world.log, ["2 to 0"]);
    assert!(world.plan(&second, true).steps.is_empty(), "old pods still run");
    let plan = world.plan(&second, false);
    world.apply(&plan);
    assert_eq!(world.log, ["2 to 0", "create 2"]);
}

#[test]
fn scaling_and_pausing_touch_no_template() {
    let mut world = World::default();
    world.run(&deployment("a:1", 2, json!({})));
    world.log.clear();
    world.run(&deployment("a:1", 5, json!({})));
    assert_eq!(world.log, ["2 to 5"]);
    let paused = deployment("a:2", 3, json!({"paused": true}));
    world.run(&paused);
    assert_eq!(world.log, ["2 to 5", "5 to 3"]);
    assert_eq!(world.sizes(), [3]);
    assert_eq!(world.condition("Progressing"), "Unknown DeploymentPaused");
    world.run(&deployment("a:2", 3, json!({})));
    assert_eq!(world.sizes(), [0, 3]);
    world.run(&deployment("a:2", 0, json!({})));
    assert_eq!(world.sizes(), [0, 0]);
    world.run(&deployment("a:2", 2, json!({})));
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn a_stuck_rollout_keeps_the_old_pods_and_is_reported() {
    let mut world = World::default();
    world.run(&deployment("a:1", 4, json!({})));
    let broken = deployment("a:2", 4, json!({}));
    for _ in 0..10 {
        let plan = world.plan(&broken, true);
        world.apply(&plan);
        let first = Arc::make_mut(&mut world.sets[0]);
        let kept = size(first);
        first.status.as_mut().unwrap().available_replicas = Some(kept);
        first.status.as_mut().unwrap().replicas = kept;
    }
    assert_eq!(world.sizes(), [3, 2]);
    let plan = world.plan(&broken, true);
    let wait = plan.recheck.unwrap().as_secs();
    assert!((580..=601).contains(&wait), "{wait}");
    world.clock += 700;
    world.plan(&broken, true);
    assert_eq!(world.condition("Progressing"), "False ProgressDeadlineExceeded");
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
}

#[test]
fn history_is_cut_to_its_limit() {
    let mut world = World::default();
    for image in ["a:1", "a:2", "a:3", "a:4", "a:5"] {
        world.run(&deployment(image, 1, json!({})));
    }
    assert_eq!(world.sets.len(), 3);
    let mut kept: Vec<_> = world.sets.iter().map(|set| revision(set)).collect();
    kept.sort_unstable();
    assert_eq!(kept, [3, 4, 5]);
}

#[test]
fn a_deployment_being_deleted_does_nothing() {
    let mut web = deployment("a:1", 3, json!({}));
    web.metadata.deletion_timestamp = Some(time(0).into());
    let plan = decide(&web, Vec::new(), false, time(1));
    assert!(plan.steps.is_empty() && plan.revision.is_none());
}

#[test]
fn a_failing_replica_set_is_reported() {
    let mut world = World::default();
    let web = deployment("a:1", 3, json!({}));
    let plan = world.plan(&web, false);
    world.apply(&plan);
    let status = json!({"replicas": 0, "conditions": [{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no account"}]});
    Arc::make_mut(&mut world.sets[0]).status = Some(serde_json::from_value(status).unwrap());
    world.plan(&web, false);
    assert_eq!(world.condition("ReplicaFailure"), "True FailedCreate");
    assert_eq!(world.condition("Available"), "False MinimumReplicasUnavailable");
    world.settle();
    world.plan(&web, false);
    assert_eq!(world.condition("ReplicaFailure"), "-");
}
