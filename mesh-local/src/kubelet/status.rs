//! A pod's status document from its specification and state: container statuses, conditions and
//! phase, in Kubernetes' words. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::kubelet::decide::{is_done, is_initialized, is_lost, waits_until};
use crate::kubelet::pod::{self as pods, Kind, Member, full_name, init_members, main_members};
use crate::kubelet::qos;
use crate::kubelet::state::{ContainerState, Phase, PodState, Sandbox, Termination};

/// Facts of the node that appear in every pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// `status.hostIP`.
    pub host_ip: String,
}

/// The status of `pod` now. Conditions that others own are kept, and times of conditions that did
/// not change since `previous`, the ones computed last.
pub fn status(
    pod: &Pod,
    state: &PodState,
    node: &NodeFacts,
    previous: &[PodCondition],
    now: Timestamp,
) -> PodStatus {
    let spec = pods::spec(pod);
    let phase = phase(spec, state);
    let statuses = |members: &mut dyn Iterator<Item = Member<'_>>| {
        members.map(|member| container_status(pod, &member, state, now)).collect::<Vec<_>>()
    };
    let init = statuses(&mut init_members(spec));
    let (reason, message) = match (&state.rejected, state.deadline_exceeded) {
        (Some((reason, message)), _) => (Some(reason.clone()), Some(message.clone())),
        (None, true) => (
            Some("DeadlineExceeded".to_owned()),
            Some("Pod was active on the node longer than the specified deadline".to_owned()),
        ),
        (None, false) => (None, None),
    };
    PodStatus {
        conditions: Some(conditions(pod, state, phase, previous, now)),
        container_statuses: Some(statuses(&mut main_members(spec))),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: Some(node.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: node.host_ip.clone() }]),
        phase: Some(phase.to_owned()),
        pod_ip: state.ips.first().map(ToString::to_string),
        pod_ips: (!state.ips.is_empty())
            .then(|| state.ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
        qos_class: Some(qos::class(spec).name().to_owned()),
        start_time: state.start_time.map(Time),
        reason,
        message,
        ..PodStatus::default()
    }
}

/// `status.phase`.
pub fn phase(spec: &PodSpec, state: &PodState) -> &'static str {
    if state.rejected.is_some() || state.deadline_exceeded {
        return "Failed";
    }
    let policy = pods::restart_policy(spec);
    if init_members(spec).any(|member| is_lost(&member, policy, state)) {
        return "Failed";
    }
    if is_done(spec, state) {
        let failed = main_members(spec).any(|member| {
            state.container(&member.container.name).exited().is_some_and(|end| end.exit_code != 0)
        });
        return if failed { "Failed" } else { "Succeeded" };
    }
    let containers = || main_members(spec).map(|member| state.container(&member.container.name));
    let ran = |container: &ContainerState| container.is_running() || has_ended_once(container);
    if containers().all(ran) && containers().next().is_some() { "Running" } else { "Pending" }
}

fn has_ended_once(container: &ContainerState) -> bool {
    container.exited().is_some() || container.last.is_some()
}

/// One entry of `containerStatuses` or `initContainerStatuses`.
fn container_status(
    pod: &Pod,
    member: &Member<'_>,
    state: &PodState,
    now: Timestamp,
) -> ContainerStatus {
    let spec = pods::spec(pod);
    let container = state.container(&member.container.name);
    let (current, last) = api_states(pod, member, state, now);
    let image = member.container.image.clone().unwrap_or_default();
    let running = container.is_running();
    let initialized = is_initialized(spec, state) || state.initialized;
    ContainerStatus {
        name: member.container.name.clone(),
        container_id: container.id.as_ref().map(|id| container_id(id)),
        image_id: if container.has_run { image_id(&image) } else { String::new() },
        image,
        ready: match member.kind {
            Kind::Init => container.exited().is_some_and(|end| end.exit_code == 0),
            Kind::Sidecar | Kind::Main => running && container.ready,
        },
        started: Some(match member.kind {
            Kind::Init => running,
            Kind::Sidecar => running && container.started,
            Kind::Main => running && container.started && initialized,
        }),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        last_state: last
            .map(|end| ApiState { terminated: Some(terminated(&end)), ..ApiState::default() }),
        state: Some(current),
        ..ContainerStatus::default()
    }
}

/// `state` and `lastState` of a container.
fn api_states(
    pod: &Pod,
    member: &Member<'_>,
    state: &PodState,
    now: Timestamp,
) -> (ApiState, Option<Termination>) {
    let spec = pods::spec(pod);
    let container = state.container(&member.container.name);
    let waiting = |reason: &str, message: Option<String>| ApiState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ApiState::default()
    };
    let last = container.last.clone();
    match &container.phase {
        Phase::Running { since, .. } => {
            let running = ContainerStateRunning { started_at: Some(Time(*since)) };
            (ApiState { running: Some(running), ..ApiState::default() }, last)
        }
        Phase::Refused { reason, message, .. } => (waiting(reason, Some(message.clone())), last),
        Phase::Exited(end) => {
            match waits_until(member, pods::restart_policy(spec), container, now) {
                Some(_) => {
                    let message = format!(
                        "back-off {} restarting failed container={} pod={}",
                        short(container.backoff.wait),
                        member.container.name,
                        full_name(pod),
                    );
                    (waiting("CrashLoopBackOff", Some(message)), Some(end.clone()))
                }
                None => {
                    let state =
                        ApiState { terminated: Some(terminated(end)), ..ApiState::default() };
                    (state, last)
                }
            }
        }
        Phase::Idle | Phase::Starting => {
            let is_first_init = init_members(spec)
                .next()
                .is_none_or(|first| first.container.name == member.container.name);
            let holds = member.kind == Kind::Main && init_members(spec).next().is_some();
            let reason =
                if holds || !is_first_init { "PodInitializing" } else { "ContainerCreating" };
            (waiting(reason, None), last)
        }
    }
}

fn terminated(end: &Termination) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: None,
        exit_code: end.exit_code,
        finished_at: Some(Time(end.finished_at)),
        message: end.message.clone(),
        reason: Some(end.reason.clone()),
        signal: end.signal,
        started_at: end.started_at.map(Time),
    }
}

/// The pod's conditions. `PodScheduled` and foreign ones are taken over.
fn conditions(
    pod: &Pod,
    state: &PodState,
    phase: &str,
    previous: &[PodCondition],
    now: Timestamp,
) -> Vec<PodCondition> {
    let spec = pods::spec(pod);
    let finished = matches!(phase, "Succeeded" | "Failed");
    let wanted: Vec<(&str, Verdict)> = vec![
        ("PodReadyToStartContainers", sandbox_verdict(state)),
        ("Initialized", initialized_verdict(spec, state, phase)),
        ("Ready", ready_verdict(pod, state, finished, phase)),
        ("ContainersReady", containers_verdict(spec, state, finished, phase)),
        ("PodScheduled", Verdict::yes()),
    ];
    let old: BTreeMap<&str, &PodCondition> = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .chain(previous.iter().filter(|own| wanted.iter().any(|(name, _)| *name == own.type_)))
        .map(|condition| (condition.type_.as_str(), condition))
        .collect();
    let mut conditions: Vec<PodCondition> = wanted
        .iter()
        .map(|(name, verdict)| {
            let value = if verdict.holds { "True" } else { "False" };
            let same = old.get(name).filter(|condition| condition.status == value);
            PodCondition {
                type_: (*name).to_owned(),
                status: value.to_owned(),
                reason: verdict.reason.clone(),
                message: verdict.message.clone(),
                last_transition_time: same
                    .and_then(|condition| condition.last_transition_time.clone())
                    .or(Some(Time(now))),
                ..PodCondition::default()
            }
        })
        .collect();
    let foreign = old.values().filter(|old| wanted.iter().all(|(name, _)| *name != old.type_));
    conditions.extend(foreign.map(|condition| (*condition).clone()));
    conditions
}

/// A condition's value, reason and message.
#[derive(Debug)]
struct Verdict {
    holds: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { holds: true, reason: None, message: None }
    }

    fn no(reason: &str, message: Option<String>) -> Self {
        Self { holds: false, reason: Some(reason.to_owned()), message }
    }
}

fn sandbox_verdict(state: &PodState) -> Verdict {
    let holds = state.sandbox == Sandbox::Ready && !state.ips.is_empty();
    Verdict { holds, reason: None, message: None }
}

fn initialized_verdict(spec: &PodSpec, state: &PodState, phase: &str) -> Verdict {
    if phase == "Succeeded" {
        return Verdict { holds: true, reason: Some("PodCompleted".to_owned()), message: None };
    }
    if state.initialized || is_initialized(spec, state) {
        return Verdict::yes();
    }
    let incomplete: Vec<&str> = init_members(spec)
        .filter(|member| {
            let container = state.container(&member.container.name);
            match member.kind {
                Kind::Sidecar => !(container.is_running() && container.started),
                _ => container.exited().is_none_or(|end| end.exit_code != 0),
            }
        })
        .map(|member| member.container.name.as_str())
        .collect();
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::no("ContainersNotInitialized", Some(message))
}

fn containers_verdict(spec: &PodSpec, state: &PodState, finished: bool, phase: &str) -> Verdict {
    if finished {
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
        return Verdict::no(reason, None);
    }
    let counted =
        init_members(spec).filter(|member| member.kind == Kind::Sidecar).chain(main_members(spec));
    let unready: Vec<&str> = counted
        .filter(|member| {
            let container = state.container(&member.container.name);
            !(container.is_running() && container.ready)
        })
        .map(|member| member.container.name.as_str())
        .collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::no("ContainersNotReady", Some(message))
}

/// `Ready`: the containers, and the readiness gates others answer for.
fn ready_verdict(pod: &Pod, state: &PodState, finished: bool, phase: &str) -> Verdict {
    let spec = pods::spec(pod);
    let containers = containers_verdict(spec, state, finished, phase);
    if !containers.holds {
        return containers;
    }
    let stored: Vec<&PodCondition> =
        pod.status.iter().flat_map(|status| status.conditions.iter().flatten()).collect();
    let open: Vec<String> = spec
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match stored.iter().find(|condition| &condition.type_ == name) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{name}\" does not exist."
                )),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if open.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", Some(open.join(", ")))
    }
}

/// The runtime's name before the id, as `containerd://…` is in other clusters.
pub fn container_id(id: &str) -> String {
    format!("lateen://{id}")
}

/// Images are names of programs here: the id is the name.
fn image_id(image: &str) -> String {
    format!("lateen://{image}")
}

/// A wait as Go prints it: `10s`, `1m20s`, `5m0s`.
fn short(wait: std::time::Duration) -> String {
    let (minutes, seconds) = (wait.as_secs() / 60, wait.as_secs() % 60);
    match (minutes, seconds, wait.subsec_millis()) {
        (0, 0, millis) => format!("{millis}ms"),
        (0, seconds, _) => format!("{seconds}s"),
        (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
