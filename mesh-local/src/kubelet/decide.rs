//! What to do next for a pod, from its specification, its state and the time. Pure: the worker
//! carries it out and comes back with the changed state.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::kubelet::pod::{
    self as pods, Kind, Member, RestartPolicy, init_members, main_members, members,
};
use crate::kubelet::state::{ContainerState, Phase, PodState, Sandbox, later};

/// How long a sidecar that outlives the pod's grace period has after its SIGTERM.
pub const SIDECAR_MINIMUM: Duration = Duration::from_secs(2);

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make volumes, namespaces and network.
    StartSandbox,
    /// Start this container (again).
    StartContainer(String),
    /// Let this container end: `preStop`, SIGTERM, and SIGKILL after `grace`.
    StopContainer {
        /// Which.
        name: String,
        /// How long it may take.
        grace: Duration,
        /// Why, as an event says it.
        why: String,
    },
    /// End what is left of the pod's processes and namespaces.
    EndSandbox,
    /// The pod is gone: let the API server remove its object.
    Remove,
}

/// What to do now, and when to ask again although nothing has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps, all of which may go on at the same time.
    pub actions: Vec<Action>,
    /// The next time at which time alone changes the answer.
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

/// Why a pod has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its object is being deleted.
    Deleted,
    /// It is done: succeeded, failed, refused, or out of time.
    Finished,
}

/// The next steps for `pod`.
pub fn decide(pod: &Pod, state: &PodState, now: Timestamp) -> Plan {
    let spec = pods::spec(pod);
    let deleted = pod.metadata.deletion_timestamp.is_some();
    let finished = pods::is_finished(pod)
        || state.rejected.is_some()
        || state.deadline_exceeded
        || is_done(spec, state);
    let mut plan = Plan::default();
    if deleted || finished {
        let ending = if deleted { Ending::Deleted } else { Ending::Finished };
        end(&mut plan, spec, state, ending, now);
        return plan;
    }
    match &state.sandbox {
        Sandbox::Absent => plan.actions.push(Action::StartSandbox),
        Sandbox::Failed { retry_at } if *retry_at <= now => plan.actions.push(Action::StartSandbox),
        Sandbox::Failed { retry_at } => plan.wake_at(*retry_at),
        Sandbox::Starting | Sandbox::Ending | Sandbox::Ended => {}
        Sandbox::Ready => run(&mut plan, spec, state, now),
    }
    if let (Some(limit), Some(start)) = (spec.active_deadline_seconds, state.start_time) {
        plan.wake_at(later(start, seconds(limit)));
    }
    plan
}

/// Whether `activeDeadlineSeconds` is over.
pub fn is_overdue(spec: &PodSpec, state: &PodState, now: Timestamp) -> bool {
    match (spec.active_deadline_seconds, state.start_time) {
        (Some(limit), Some(start)) => later(start, seconds(limit)) <= now,
        _ => false,
    }
}

/// Whether all init containers have finished and all sidecars have started.
pub fn is_initialized(spec: &PodSpec, state: &PodState) -> bool {
    init_members(spec).all(|member| {
        let container = state.container(&member.container.name);
        match member.kind {
            Kind::Sidecar => container.is_running() && container.started,
            _ => succeeded(container),
        }
    })
}

/// Whether no container that counts will ever run again.
pub fn is_done(spec: &PodSpec, state: &PodState) -> bool {
    let policy = restart_policy(spec);
    if init_members(spec).any(|member| is_lost(&member, policy, state)) {
        return members(spec)
            .filter(|member| member.kind != Kind::Sidecar)
            .all(|member| state.container(&member.container.name).is_at_rest());
    }
    if policy == RestartPolicy::Always {
        return false;
    }
    main_members(spec).all(|member| {
        let exited = state.container(&member.container.name).exited();
        exited.is_some_and(|end| !member.restarts_after(policy, end.exit_code))
    })
}

/// An init container that has failed and is not tried again.
pub fn is_lost(member: &Member<'_>, policy: RestartPolicy, state: &PodState) -> bool {
    let exited = state.container(&member.container.name).exited();
    member.kind == Kind::Init
        && exited
            .is_some_and(|end| end.exit_code != 0 && !member.restarts_after(policy, end.exit_code))
}

/// The wait a crashed container is in, if it is in one.
pub fn waits_until(
    member: &Member<'_>,
    policy: RestartPolicy,
    container: &ContainerState,
    now: Timestamp,
) -> Option<Timestamp> {
    let end = container.exited()?;
    let until = container.backoff.until?;
    (member.restarts_after(policy, end.exit_code) && until > now).then_some(until)
}

/// Keeps a pod going: init containers one by one, then the others.
fn run(plan: &mut Plan, spec: &PodSpec, state: &PodState, now: Timestamp) {
    let policy = restart_policy(spec);
    for member in init_members(spec) {
        let container = state.container(&member.container.name);
        keep(plan, spec, &member, container, now);
        let passed = match member.kind {
            // After the first time a restarted sidecar holds nobody up.
            Kind::Sidecar => container.started || state.initialized,
            _ => succeeded(container),
        };
        if is_lost(&member, policy, state) || !passed {
            return;
        }
    }
    for member in main_members(spec) {
        keep(plan, spec, &member, state.container(&member.container.name), now);
    }
}

/// Starts a container that should run, stops one that a probe has condemned.
fn keep(
    plan: &mut Plan,
    spec: &PodSpec,
    member: &Member<'_>,
    container: &ContainerState,
    now: Timestamp,
) {
    let name = &member.container.name;
    match &container.phase {
        Phase::Idle => plan.actions.push(Action::StartContainer(name.clone())),
        Phase::Starting | Phase::Running { stopping: true, .. } => {}
        Phase::Refused { retry_at, .. } if *retry_at > now => plan.wake_at(*retry_at),
        Phase::Refused { .. } => plan.actions.push(Action::StartContainer(name.clone())),
        Phase::Running { .. } => {
            if let Some(why) = &container.doomed {
                plan.actions.push(Action::StopContainer {
                    name: name.clone(),
                    grace: probe_grace(spec, member, container),
                    why: why.clone(),
                });
            }
        }
        Phase::Exited(end) => {
            if !member.restarts_after(restart_policy(spec), end.exit_code) {
                return;
            }
            match container.backoff.until {
                Some(until) if until > now => plan.wake_at(until),
                _ => plan.actions.push(Action::StartContainer(name.clone())),
            }
        }
    }
}

/// Brings a pod to its end: ordinary containers first, all at once, then the sidecars in reverse
/// order, one by one; then the namespaces.
fn end(plan: &mut Plan, spec: &PodSpec, state: &PodState, ending: Ending, now: Timestamp) {
    match state.sandbox {
        Sandbox::Absent | Sandbox::Failed { .. } | Sandbox::Ended => {
            if ending == Ending::Deleted {
                plan.actions.push(Action::Remove);
            }
            return;
        }
        Sandbox::Starting | Sandbox::Ending => return,
        Sandbox::Ready => {}
    }
    let why = "Stopping container".to_owned();
    let kill_at = state.kill_at.unwrap_or_else(|| later(now, grace_period(spec)));
    let left = Duration::try_from(kill_at.duration_since(now)).unwrap_or(Duration::ZERO);
    let stop = |member: &Member<'_>, grace: Duration| Action::StopContainer {
        name: member.container.name.clone(),
        grace,
        why: why.clone(),
    };
    let busy = |member: &Member<'_>| !state.container(&member.container.name).is_at_rest();
    let idle_stop = |member: &Member<'_>| {
        matches!(
            state.container(&member.container.name).phase,
            Phase::Running { stopping: false, .. }
        )
    };
    let mut waiting = false;
    for member in members(spec).filter(|member| member.kind != Kind::Sidecar) {
        waiting |= busy(&member);
        if idle_stop(&member) {
            plan.actions.push(stop(&member, left));
        }
    }
    if waiting {
        return;
    }
    let mut sidecars = init_members(spec).filter(|member| member.kind == Kind::Sidecar).rev();
    match sidecars.find(|member| busy(member)) {
        Some(member) => {
            if idle_stop(&member) {
                plan.actions.push(stop(&member, left.max(SIDECAR_MINIMUM)));
            }
        }
        None => plan.actions.push(Action::EndSandbox),
    }
}

/// The pod's own grace period.
pub fn grace_period(spec: &PodSpec) -> Duration {
    seconds(spec.termination_grace_period_seconds.unwrap_or(30))
}

/// The grace a failed liveness or startup probe leaves, the probe's own if it names one.
fn probe_grace(spec: &PodSpec, member: &Member<'_>, container: &ContainerState) -> Duration {
    let probe = if container.started {
        member.container.liveness_probe.as_ref()
    } else {
        member.container.startup_probe.as_ref()
    };
    probe
        .and_then(|probe| probe.termination_grace_period_seconds)
        .map_or_else(|| grace_period(spec), seconds)
}

fn succeeded(container: &ContainerState) -> bool {
    container.exited().is_some_and(|end| end.exit_code == 0)
}

fn restart_policy(spec: &PodSpec) -> RestartPolicy {
    pods::restart_policy(spec)
}

/// A count of seconds from the API; negative ones count as none.
fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests;
