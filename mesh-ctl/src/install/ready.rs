//! Waiting until installed Deployments are available, and saying what keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, pin_mut, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use super::Progress;
use crate::error::Error;
use crate::wait::is_available;

/// Something the watches saw.
enum Seen {
    Deployment(Box<Deployment>),
    Pod(Box<Pod>),
}

/// Waits until the named Deployments of a namespace are available.
///
/// # Errors
/// [`Error::TimedOut`] with the pods that are not ready, and why.
pub(super) async fn deployments(
    client: &Client,
    namespace: &str,
    names: &BTreeSet<String>,
    patience: Duration,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default;
    // A watcher starts again by itself after an error; the deadline bounds it.
    let deployments = watcher(deployments, config()).default_backoff().applied_objects();
    let deployments =
        deployments.filter_map(async |seen| seen.ok().map(|one| Seen::Deployment(Box::new(one))));
    let pods = watcher(pods, config()).default_backoff().applied_objects();
    let pods = pods.filter_map(async |seen| seen.ok().map(|one| Seen::Pod(Box::new(one))));
    let mut state = State::new(names);
    let all = async {
        let seen = stream::select(deployments, pods);
        pin_mut!(seen);
        while !state.waiting.is_empty() {
            let Some(seen) = seen.next().await else { return };
            state.see(seen);
            if let Some(reason) = state.news() {
                progress.line(&reason);
            }
        }
    };
    let timed_out = Box::pin(tokio::time::timeout(patience, all)).await.is_err();
    if timed_out || !state.waiting.is_empty() {
        return Err(Error::TimedOut(format!(
            "not available after {} s in namespace {namespace}:\n{}",
            patience.as_secs(),
            state.complaints().join("\n")
        )));
    }
    Ok(())
}

/// What is known so far.
struct State {
    waiting: BTreeSet<String>,
    /// Why a pod is not ready, by name of the pod.
    reasons: BTreeMap<String, String>,
    told: BTreeSet<String>,
}

impl State {
    fn new(names: &BTreeSet<String>) -> Self {
        Self { waiting: names.clone(), reasons: BTreeMap::new(), told: BTreeSet::new() }
    }

    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Deployment(one) if is_available(&one) => {
                self.waiting.remove(&one.name_any());
            }
            Seen::Deployment(_) => {}
            Seen::Pod(pod) => match trouble(&pod) {
                Some(reason) => {
                    self.reasons.insert(pod.name_any(), reason);
                }
                None => {
                    self.reasons.remove(&pod.name_any());
                }
            },
        }
    }

    /// A reason that was not told before and is worth an interruption.
    fn news(&mut self) -> Option<String> {
        let waiting = &self.waiting;
        let mine = |pod: &str| waiting.iter().any(|name| belongs(pod, name));
        let reasons = self.reasons.iter().filter(|(pod, _)| mine(pod));
        let mut texts = reasons.map(|(pod, reason)| format!("  waiting for pod {pod}: {reason}"));
        let text = texts.find(|text| is_failure(text) && !self.told.contains(text))?;
        self.told.insert(text.clone());
        Some(text)
    }

    /// Each Deployment that is waited for, with its pods' reasons.
    fn complaints(&self) -> Vec<String> {
        let mut all = Vec::new();
        for name in &self.waiting {
            let reasons: Vec<_> =
                self.reasons.iter().filter(|(pod, _)| belongs(pod, name)).collect();
            if reasons.is_empty() {
                all.push(format!(
                    "  deployment {name}: it has no pod; `kubectl describe` says why"
                ));
            }
            for (pod, reason) in reasons {
                all.push(format!("  deployment {name}: pod {pod}: {reason}"));
            }
        }
        all
    }
}

/// Whether a pod's name is `<deployment>-<template>-<pod>`.
pub(super) fn belongs(pod: &str, deployment: &str) -> bool {
    pod.strip_prefix(deployment)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.split('-').count() == 2)
}

/// Starting takes its time; only what will not pass by itself is told at once.
fn is_failure(text: &str) -> bool {
    ["BackOff", "Err", "Invalid", "exited", "Failed", "Unschedulable"]
        .iter()
        .any(|word| text.contains(word))
}

/// Why a pod is not ready; `None` if it is, or is on its way out.
fn trouble(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let Some(status) = &pod.status else { return Some("it has no status yet".to_owned()) };
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("Failed");
        return Some(said(reason, status.message.as_deref()));
    }
    let init = status.init_container_statuses.iter().flatten();
    let containers = init.chain(status.container_statuses.iter().flatten());
    if let Some(text) = containers.filter(|one| !one.ready).find_map(container_trouble) {
        return Some(text);
    }
    let conditions = status.conditions.iter().flatten();
    let unmet = conditions.filter(|one| one.status != "True");
    let of = |kind| unmet.clone().find(|one| one.type_ == kind);
    // The cause, if it is known, else the effect.
    let condition = of("PodScheduled").or_else(|| of("Ready"))?;
    let reason = condition.reason.as_deref().unwrap_or(&condition.type_);
    Some(said(reason, condition.message.as_deref()))
}

fn container_trouble(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let name = &status.name;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let mut text = format!("container {name}: {}", said(reason, waiting.message.as_deref()));
        let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        if let Some(last) = last {
            text.push_str(&format!("; it exited with code {} before", last.exit_code));
            if let Some(message) = last.message.as_deref().filter(|text| !text.is_empty()) {
                text.push_str(&format!(": {}", message.trim()));
            }
        }
        return Some(text);
    }
    if let Some(ended) = &state.terminated
        && ended.exit_code != 0
    {
        let message = said("exited", ended.message.as_deref());
        return Some(format!("container {name}: {message} (code {})", ended.exit_code));
    }
    state.running.as_ref().map(|_| format!("container {name}: it runs, and is not ready"))
}

fn said(reason: &str, message: Option<&str>) -> String {
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {}", message.trim()),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    fn container(state: Value, last: Value) -> Value {
        json!({"containerStatuses": [{"name": "c", "ready": false, "image": "", "imageID": "",
            "restartCount": 0, "state": state, "lastState": last}]})
    }

    #[test]
    fn reasons_are_the_pods_own() {
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "wait 10s"}});
        let ended = json!({"terminated": {"exitCode": 2, "message": "no CA\n"}});
        for (status, wanted) in [
            (
                container(
                    json!({"waiting": {"reason": "ErrImagePull", "message": "no x"}}),
                    json!({}),
                ),
                Some("container c: ErrImagePull: no x"),
            ),
            (
                container(back_off, ended.clone()),
                Some(
                    "container c: CrashLoopBackOff: wait 10s; it exited with code 2 before: no CA",
                ),
            ),
            (container(ended, json!({})), Some("container c: exited: no CA (code 2)")),
            (
                container(json!({"running": {}}), json!({})),
                Some("container c: it runs, and is not ready"),
            ),
            (
                json!({"conditions": [{"type": "Ready", "status": "False"},
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                     "message": "no node"}]}),
                Some("Unschedulable: no node"),
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), Some("Evicted")),
            (json!({"conditions": [{"type": "Ready", "status": "True"}]}), None),
        ] {
            assert_eq!(trouble(&pod("p", status.clone())).as_deref(), wanted, "{status}");
        }
    }

    #[test]
    fn failures_are_told_once_and_complaints_name_each_deployment() {
        let mut state = State::new(&BTreeSet::from(["istiod".to_owned(), "istio-ca".to_owned()]));
        let waiting = json!({"waiting": {"reason": "ErrImagePull"}});
        let pod = || pod("istiod-a1-b2", container(waiting.clone(), json!({})));
        state.see(Seen::Pod(Box::new(pod())));
        let told = state.news().unwrap();
        assert_eq!(told, "  waiting for pod istiod-a1-b2: container c: ErrImagePull");
        state.see(Seen::Pod(Box::new(pod())));
        assert_eq!(state.news(), None);
        let complaints = state.complaints();
        assert!(complaints[0].contains("deployment istio-ca: it has no pod"), "{complaints:?}");
        assert!(complaints[1].contains("deployment istiod: pod istiod-a1-b2"), "{complaints:?}");
        assert!(!belongs("istiod-canary-a1-b2", "istiod"));
    }
}
