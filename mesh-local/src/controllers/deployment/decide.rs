//! One step of a Deployment toward its template and size. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{
    numbers::{self, DESIRED, annotation, available, is_recreate, new_size, size, wanted},
    revision::{self, REVISION, Sets},
    status::{self, Progress},
};
use crate::controllers::runner::Recheck;

/// Something to do to a replica set.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Make it.
    Create(Box<ReplicaSet>),
    /// Give it a size or annotations.
    Change { set: Arc<ReplicaSet>, size: Option<i32>, annotations: BTreeMap<String, String> },
    /// Delete it.
    Delete(Arc<ReplicaSet>),
}

/// What is to be done, and what the Deployment then says.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The revision annotation, when it changes.
    pub(super) revision: Option<i64>,
    pub(super) status: DeploymentStatus,
    pub(super) recheck: Recheck,
}

/// Decides on the next step. `old_pods` tells whether pods of old templates still run, which is
/// what a Deployment that recreates waits for.
pub(super) fn decide(
    deployment: &Deployment,
    owned: Vec<Arc<ReplicaSet>>,
    old_pods: bool,
    now: Timestamp,
) -> Plan {
    let mut sets = revision::sort(deployment, owned);
    let mut steps = Vec::new();
    let mut number = None;
    let mut progress = Progress::Found;
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    if deployment.metadata.deletion_timestamp.is_none() {
        if paused || was_scaled(deployment, &sets) {
            steps = scale(deployment, &sets);
        } else {
            let next = revision::next_revision(&sets.old);
            if is_recreate(deployment) {
                recreate(deployment, &sets, next, old_pods, &mut steps);
            } else {
                roll(deployment, &sets, next, &mut steps);
            }
            number =
                Some(sets.newest.as_ref().map_or(next, |set| revision::revision(set).max(next)));
        }
        // Sizes change only while nothing else is under way, so history can wait.
        if steps.is_empty() && !paused {
            forget(deployment, &sets, &mut steps);
        }
    }
    for step in &steps {
        if let Step::Create(set) = step {
            sets.newest = Some(Arc::new(set.as_ref().clone()));
            progress = Progress::Created;
        }
    }
    let current = deployment.metadata.annotations.as_ref().and_then(|a| a.get(REVISION));
    let has_newest = sets.newest.is_some();
    let revision = number.filter(|n| has_newest && current != Some(&n.to_string()));
    let status = status::status(deployment, &sets, progress, now);
    let recheck = status::until_deadline(deployment, &status, now);
    Plan { steps, revision, status, recheck }
}

fn roll(deployment: &Deployment, sets: &Sets, next: i64, steps: &mut Vec<Step>) {
    let total: i32 = sets.newest.iter().chain(&sets.old).map(|set| size(set)).sum();
    let Some(newest) = &sets.newest else {
        let made = revision::make(deployment, new_size(deployment, 0, total), next);
        steps.extend(made.map(|set| Step::Create(Box::new(set))));
        return;
    };
    refresh(deployment, newest, next, steps);
    let grown = new_size(deployment, size(newest), total);
    if grown != size(newest) {
        steps.push(resize(deployment, newest, grown));
        return;
    }
    let old: Vec<_> = sets.old.iter().map(Arc::as_ref).collect();
    let shrunk = numbers::shrink(deployment, Some(newest), &old);
    for (set, wanted) in sets.old.iter().zip(shrunk) {
        if wanted != size(set) {
            steps.push(resize(deployment, set, wanted));
        }
    }
}

fn recreate(
    deployment: &Deployment,
    sets: &Sets,
    next: i64,
    old_pods: bool,
    steps: &mut Vec<Step>,
) {
    let before = steps.len();
    for set in sets.old.iter().filter(|set| size(set) > 0) {
        steps.push(resize(deployment, set, 0));
    }
    if steps.len() > before || old_pods {
        return;
    }
    match &sets.newest {
        None => {
            let made = revision::make(deployment, wanted(deployment), next);
            steps.extend(made.map(|set| Step::Create(Box::new(set))));
        }
        Some(newest) => {
            refresh(deployment, newest, next, steps);
            if size(newest) != wanted(deployment) {
                steps.push(resize(deployment, newest, wanted(deployment)));
            }
        }
    }
}

/// Gives the newest set the Deployment's annotations and the highest number.
fn refresh(deployment: &Deployment, newest: &Arc<ReplicaSet>, next: i64, steps: &mut Vec<Step>) {
    let number = revision::revision(newest).max(next);
    let wanted = revision::annotations(deployment, number);
    let empty = BTreeMap::new();
    let has = newest.metadata.annotations.as_ref().unwrap_or(&empty);
    let changed: BTreeMap<_, _> =
        wanted.into_iter().filter(|(key, value)| has.get(key) != Some(value)).collect();
    if !changed.is_empty() {
        let set = newest.clone();
        steps.push(Step::Change { set, size: None, annotations: changed });
    }
}

fn resize(deployment: &Deployment, set: &Arc<ReplicaSet>, size: i32) -> Step {
    let annotations = revision::sizes(deployment);
    Step::Change { set: set.clone(), size: Some(size), annotations }
}

/// Whether the Deployment's size changed since its sets were last sized.
fn was_scaled(deployment: &Deployment, sets: &Sets) -> bool {
    let active = sets.newest.iter().chain(&sets.old).filter(|set| size(set) > 0);
    let mut sized = active.filter_map(|set| annotation(set, DESIRED));
    sized.any(|desired| desired != wanted(deployment))
}

/// Follows a change of size without changing what runs.
fn scale(deployment: &Deployment, sets: &Sets) -> Vec<Step> {
    let mut all: Vec<_> = sets.old.iter().chain(&sets.newest).cloned().collect();
    let active: Vec<_> = all.iter().filter(|set| size(set) > 0).cloned().collect();
    let mut steps = Vec::new();
    let mut set_size = |set: &Arc<ReplicaSet>, wanted: i32| {
        let sized = annotation(set, DESIRED) == Some(numbers::wanted(deployment));
        if size(set) != wanted || (size(set) > 0 && !sized) {
            steps.push(resize(deployment, set, wanted));
        }
    };
    match active.as_slice() {
        [] => {
            if let Some(latest) = sets.newest.as_ref().or(sets.old.last()) {
                set_size(latest, wanted(deployment));
            }
        }
        [only] => set_size(only, wanted(deployment)),
        _ if sets.newest.as_ref().is_some_and(|set| {
            size(set) == wanted(deployment) && available(set) == wanted(deployment)
        }) =>
        {
            for set in sets.old.iter().filter(|set| size(set) > 0) {
                set_size(set, 0);
            }
        }
        _ if is_recreate(deployment) => {}
        _ => {
            // Largest first; among equals the youngest, which came last.
            all = active;
            all.reverse();
            all.sort_by_key(|set| std::cmp::Reverse(size(set)));
            let refs: Vec<_> = all.iter().map(Arc::as_ref).collect();
            let sizes = numbers::proportional(deployment, &refs);
            for (set, wanted) in all.iter().zip(sizes) {
                set_size(set, wanted);
            }
        }
    }
    steps
}

/// Deletes old, empty sets beyond the history that is to be kept.
fn forget(deployment: &Deployment, sets: &Sets, steps: &mut Vec<Step>) {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
    let mut idle: Vec<_> = sets
        .old
        .iter()
        .filter(|set| {
            let status = set.status.as_ref();
            size(set) == 0
                && status.is_none_or(|s| s.replicas == 0)
                && status.and_then(|s| s.observed_generation) >= set.metadata.generation
                && set.metadata.deletion_timestamp.is_none()
        })
        .cloned()
        .collect();
    idle.sort_by_cached_key(|set| (revision::revision(set), set.name_any()));
    idle.truncate(idle.len().saturating_sub(limit));
    steps.extend(idle.into_iter().map(Step::Delete));
}

#[cfg(test)]
mod tests;
