//! What a Deployment says about itself: counts, and the conditions rollouts are judged by. Pure.

use std::time::Duration;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{
    numbers::{size, slack, wanted},
    revision::Sets,
};

/// What just happened to the newest set, as far as it makes the rollout progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was made in this sync.
    Created,
    /// It was there already.
    Found,
}

/// The status, given the replica sets as they are.
pub(super) fn status(
    deployment: &Deployment,
    sets: &Sets,
    progress: Progress,
    now: Timestamp,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let all = || sets.newest.iter().chain(&sets.old);
    let sum = |of: fn(&ReplicaSet) -> Option<i32>| all().filter_map(|set| of(set)).sum::<i32>();
    let replicas = sum(|set| set.status.as_ref().map(|s| s.replicas));
    let available = sum(|set| set.status.as_ref()?.available_replicas);
    let updated =
        sets.newest.as_ref().and_then(|set| set.status.as_ref()).map_or(0, |s| s.replicas);
    let unavailable = (all().map(|set| size(set)).sum::<i32>() - available).max(0);
    let some = |count: i32| (count != 0).then_some(count);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(replicas),
        updated_replicas: some(updated),
        ready_replicas: some(sum(|set| set.status.as_ref()?.ready_replicas)),
        available_replicas: some(available),
        unavailable_replicas: some(unavailable),
        collision_count: old.collision_count,
        terminating_replicas: None,
        conditions: None,
    };
    let mut conditions = Conditions::new(old.conditions.clone().unwrap_or_default(), now);
    availability(deployment, available, &mut conditions);
    progression(deployment, sets, progress, (&old, &status), &mut conditions);
    failure(sets, &mut conditions);
    status.conditions = (!conditions.all.is_empty()).then_some(conditions.all);
    status
}

/// Whether all pods are new and available and no old one is left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = wanted(deployment);
    let is = |count: Option<i32>| count.unwrap_or(0) == wanted;
    is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// How long until a rollout without progress counts as failed.
pub(super) fn until_deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = deadline(deployment)?;
    let all = status.conditions.as_ref()?;
    let progressing = all.iter().find(|c| c.type_ == "Progressing")?;
    let waits = matches!(
        progressing.reason.as_deref(),
        Some("ReplicaSetUpdated" | "NewReplicaSetCreated" | "FoundNewReplicaSet")
    );
    if !waits || is_complete(deployment, status) {
        return None;
    }
    let Time(since) = progressing.last_update_time.as_ref()?;
    let left = deadline - now.duration_since(*since).as_secs();
    Some(Duration::from_secs(u64::try_from(left.max(0)).unwrap_or(0) + 1))
}

fn deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    // The largest number means none.
    (seconds != i32::MAX).then_some(i64::from(seconds))
}

fn availability(deployment: &Deployment, available: i32, conditions: &mut Conditions) {
    let floor = wanted(deployment) - slack(deployment).unavailable;
    if available >= floor {
        let message = "Deployment has minimum availability.";
        conditions.set("Available", "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", "False", "MinimumReplicasUnavailable", message);
    }
}

fn progression(
    deployment: &Deployment,
    sets: &Sets,
    progress: Progress,
    (old, new): (&DeploymentStatus, &DeploymentStatus),
    conditions: &mut Conditions,
) {
    const KIND: &str = "Progressing";
    let Some(deadline) = deadline(deployment) else {
        conditions.remove(KIND);
        return;
    };
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    let before = conditions.find(KIND).cloned();
    let reason = before.as_ref().and_then(|c| c.reason.clone()).unwrap_or_default();
    if paused {
        if reason != "DeploymentPaused" {
            conditions.set(KIND, "Unknown", "DeploymentPaused", "Deployment is paused");
        }
        return;
    }
    if reason == "DeploymentPaused" {
        conditions.set(KIND, "Unknown", "DeploymentResumed", "Deployment is resumed");
    }
    let Some(newest) = &sets.newest else { return };
    let name = newest.name_any();
    if progress == Progress::Created {
        let message = format!("Created new replica set {name:?}");
        conditions.set(KIND, "True", "NewReplicaSetCreated", &message);
    } else if before.is_none() {
        let message = format!("Found new replica set {name:?}");
        conditions.set(KIND, "True", "FoundNewReplicaSet", &message);
    }
    if is_complete(deployment, new) {
        // Once complete it stays so until the template changes.
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        if conditions.find(KIND).is_none_or(|c| c.message.as_deref() != Some(&message)) {
            conditions.set(KIND, "True", "NewReplicaSetAvailable", &message);
        }
        return;
    }
    if has_progressed(old, new) {
        let message = format!("ReplicaSet {name:?} is progressing.");
        conditions.renew(KIND, "True", "ReplicaSetUpdated", &message);
        return;
    }
    let waiting = conditions.find(KIND).filter(|c| {
        matches!(
            c.reason.as_deref(),
            Some(
                "ReplicaSetUpdated"
                    | "NewReplicaSetCreated"
                    | "FoundNewReplicaSet"
                    | "DeploymentResumed"
            )
        )
    });
    let since = waiting.and_then(|c| c.last_update_time.clone());
    if let Some(Time(since)) = since
        && conditions.now.duration_since(since).as_secs() > deadline
    {
        let message = format!("ReplicaSet {name:?} has timed out progressing.");
        conditions.set(KIND, "False", "ProgressDeadlineExceeded", &message);
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |count: Option<i32>| count.unwrap_or(0);
    let old_pods = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || old_pods(new) < old_pods(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// A replica set that cannot make pods makes its Deployment say so.
fn failure(sets: &Sets, conditions: &mut Conditions) {
    const KIND: &str = "ReplicaFailure";
    let found = sets.newest.iter().chain(&sets.old).find_map(|set| {
        let all = set.status.as_ref()?.conditions.as_ref()?;
        all.iter().find(|c| c.type_ == KIND)
    });
    match found {
        None => conditions.remove(KIND),
        Some(failed) => conditions.set(
            KIND,
            &failed.status,
            failed.reason.as_deref().unwrap_or_default(),
            failed.message.as_deref().unwrap_or_default(),
        ),
    }
}

struct Conditions {
    all: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn new(all: Vec<DeploymentCondition>, now: Timestamp) -> Self {
        Self { all, now }
    }

    fn find(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.all.iter().find(|c| c.type_ == kind)
    }

    fn remove(&mut self, kind: &str) {
        self.all.retain(|c| c.type_ != kind);
    }

    /// Sets a condition; nothing changes when status, reason and message are as before.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same = self.find(kind).is_some_and(|c| {
            c.status == status
                && c.reason.as_deref() == Some(reason)
                && c.message.as_deref() == Some(message)
        });
        if !same {
            self.renew(kind, status, reason, message);
        }
    }

    /// Sets a condition and the time of its last update.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = Time::from(self.now);
        let since = self.find(kind).filter(|c| c.status == status);
        let since = since.and_then(|c| c.last_transition_time.clone()).unwrap_or(now.clone());
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(since),
            last_update_time: Some(now),
        };
        match self.all.iter_mut().find(|c| c.type_ == kind) {
            Some(place) => *place = condition,
            None => self.all.push(condition),
        }
    }
}
