//! What the kubelet knows of a running pod: the sandbox, each container's phase and history, and
//! its restart back-off. Plain data; the worker writes it, decisions and status read it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::kubelet::pod as pods;

/// The pod's namespaces and PID 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// Not made yet.
    #[default]
    Absent,
    /// Being made, with its volumes and its network.
    Starting,
    /// Could not be made; tried again later.
    Failed {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// Ready for containers.
    Ready,
    /// Being ended.
    Ending,
    /// Gone for good: the pod is finished or deleted.
    Ended,
}

/// How a run of a container ended: `state.terminated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Exit code, 128 + signal for a signal.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `StartError`, …
    pub reason: String,
    /// The termination message.
    pub message: Option<String>,
    /// When it started; absent when it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not asked for yet.
    Idle,
    /// Being prepared and started.
    Starting,
    /// Cannot be started as things are: `state.waiting`, tried again later.
    Refused {
        /// `ErrImagePull`, `CreateContainerConfigError`, …
        reason: String,
        /// What is wrong and how to mend it.
        message: String,
        /// When to try again.
        retry_at: Timestamp,
    },
    /// Its program runs.
    Running {
        /// Since when.
        since: Timestamp,
        /// It has been told to end.
        stopping: bool,
    },
    /// Its program has ended.
    Exited(Termination),
}

/// A container of a running pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerState {
    /// What it is doing.
    pub phase: Phase,
    /// `restartCount`, which is also the number of the current run.
    pub restarts: u32,
    /// It was started at least once by this kubelet, so the next start is a restart.
    pub has_run: bool,
    /// `lastState`: the run before.
    pub last: Option<Termination>,
    /// The wait before the next restart.
    pub backoff: CrashBackoff,
    /// The startup probe has passed (or there is none) and `postStart` is done.
    pub started: bool,
    /// The readiness probe has passed (or there is none).
    pub ready: bool,
    /// The runtime's id of the current run.
    pub id: Option<String>,
    /// A probe has failed for good: the container has to be stopped, and why.
    pub doomed: Option<String>,
    /// Waits before failed images and configurations are tried again.
    pub refusals: u32,
}

impl Default for ContainerState {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            restarts: 0,
            has_run: false,
            last: None,
            backoff: CrashBackoff::default(),
            started: false,
            ready: false,
            id: None,
            doomed: None,
            refusals: 0,
        }
    }
}

impl ContainerState {
    /// Its program runs, told to end or not.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// Nothing of it runs or is about to.
    pub fn is_at_rest(&self) -> bool {
        !matches!(self.phase, Phase::Running { .. } | Phase::Starting)
    }

    /// How the current run ended, if it did.
    pub fn exited(&self) -> Option<&Termination> {
        match &self.phase {
            Phase::Exited(termination) => Some(termination),
            _ => None,
        }
    }
}

/// The limits of the crash-loop back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The wait before the second restart; it doubles from there.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// A run of this length starts the count anew.
    pub reset_after: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            reset_after: Duration::from_secs(600),
        }
    }
}

/// A container's crash-loop back-off: the first restart is at once, then 10 s, 20 s, … 300 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashBackoff {
    /// Waits so far.
    crashes: u32,
    /// Not before this time.
    pub until: Option<Timestamp>,
    /// The wait that ends then.
    pub wait: Duration,
}

impl CrashBackoff {
    /// Counts an exit at `now` after a run of `lasted`.
    pub fn exited(&mut self, limits: &BackoffLimits, now: Timestamp, lasted: Duration) {
        if lasted >= limits.reset_after {
            self.crashes = 0;
        }
        let doubled = 2_u32.saturating_pow(self.crashes.saturating_sub(1));
        self.wait = match self.crashes {
            0 => Duration::ZERO,
            _ => limits.first.saturating_mul(doubled).min(limits.longest),
        };
        self.crashes = self.crashes.saturating_add(1);
        self.until = (!self.wait.is_zero()).then(|| later(now, self.wait));
    }
}

/// A running pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodState {
    /// Its namespaces.
    pub sandbox: Sandbox,
    /// Its addresses, the primary one first; empty until the network is there.
    pub ips: Vec<IpAddr>,
    /// When the kubelet first saw it.
    pub start_time: Option<Timestamp>,
    /// Its containers by name, of all kinds.
    pub containers: BTreeMap<String, ContainerState>,
    /// All init containers had finished once, so a restarted sidecar does not hold others up.
    pub initialized: bool,
    /// When everything still running is killed; set when the pod has to end.
    pub kill_at: Option<Timestamp>,
    /// `activeDeadlineSeconds` is over.
    pub deadline_exceeded: bool,
    /// A reason for which the pod is refused as a whole: `status.reason` and `.message`.
    pub rejected: Option<(String, String)>,
}

impl PodState {
    /// The state of a pod the kubelet has not run yet. What its stored status says of earlier runs
    /// (before a restart of the server) is kept: those containers start again, counted.
    pub fn recover(pod: &Pod, now: Timestamp) -> Self {
        let spec = pods::spec(pod);
        let stored = pod.status.as_ref();
        let statuses: Vec<&ContainerStatus> = stored
            .map(|status| {
                let init = status.init_container_statuses.iter().flatten();
                init.chain(status.container_statuses.iter().flatten()).collect()
            })
            .unwrap_or_default();
        let containers = pods::members(spec)
            .map(|member| {
                let name = member.container.name.clone();
                let found = statuses.iter().find(|status| status.name == name);
                let mut state =
                    found.map(|status| recover_container(status, now)).unwrap_or_default();
                let over = state.last.clone().filter(|end| {
                    member.kind == pods::Kind::Main
                        && !member.restarts_after(pods::restart_policy(spec), end.exit_code)
                });
                if let Some(end) = over {
                    // It will not run again; init containers do, for the new namespaces.
                    state.phase = Phase::Exited(end);
                    state.last = None;
                }
                (name, state)
            })
            .collect();
        let start_time = stored.and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        Self { containers, start_time: Some(start_time.unwrap_or(now)), ..Self::default() }
    }

    /// The state of a container; containers the pod does not have are idle for ever.
    pub fn container(&self, name: &str) -> &ContainerState {
        static IDLE: std::sync::LazyLock<ContainerState> =
            std::sync::LazyLock::new(ContainerState::default);
        self.containers.get(name).unwrap_or(&IDLE)
    }

    /// Nothing runs or is about to.
    pub fn is_at_rest(&self) -> bool {
        self.containers.values().all(ContainerState::is_at_rest)
    }
}

/// A container as an earlier server left it.
fn recover_container(status: &ContainerStatus, now: Timestamp) -> ContainerState {
    let restarts = u32::try_from(status.restart_count).unwrap_or(0);
    let state = status.state.as_ref();
    let running = state.and_then(|state| state.running.as_ref());
    let terminated = state
        .and_then(|state| state.terminated.as_ref())
        .or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let last = match (running, terminated) {
        // It ran when the server went away; nobody saw its end.
        (Some(running), _) => Some(Termination {
            exit_code: 255,
            signal: None,
            reason: "Unknown".to_owned(),
            message: Some("The cluster was stopped while the container ran".to_owned()),
            started_at: running.started_at.as_ref().map(|time| time.0),
            finished_at: now,
        }),
        (None, Some(ended)) => Some(Termination {
            exit_code: ended.exit_code,
            signal: ended.signal,
            reason: ended.reason.clone().unwrap_or_else(|| "Error".to_owned()),
            message: ended.message.clone(),
            started_at: ended.started_at.as_ref().map(|time| time.0),
            finished_at: ended.finished_at.as_ref().map_or(now, |time| time.0),
        }),
        (None, None) => None,
    };
    let has_run = last.is_some();
    ContainerState { restarts, has_run, last, ..ContainerState::default() }
}

/// `now` plus `wait`, at the end of time if need be.
pub fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_and_forgets() {
        let limits = BackoffLimits::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut backoff = CrashBackoff::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.exited(&limits, now, Duration::from_secs(1));
            waits.push(backoff.wait.as_secs());
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.until, Some(later(now, Duration::from_secs(300))));
        backoff.exited(&limits, now, Duration::from_secs(600));
        assert_eq!((backoff.wait, backoff.until), (Duration::ZERO, None));
    }

    #[test]
    fn earlier_runs_are_remembered() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "x"}, {"name": "y"}, {"name": "z"}]},
            "status": {"startTime": "1970-01-01T00:00:01Z", "containerStatuses": [
                {"name": "x", "image": "", "imageID": "", "ready": true, "restartCount": 2,
                 "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}},
                {"name": "y", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"waiting": {"reason": "ContainerCreating"}}},
            ]},
        }))
        .expect("a pod");
        let now = Timestamp::from_second(9).expect("a time");
        let state = PodState::recover(&pod, now);
        let x = state.container("x");
        assert!(x.has_run);
        assert_eq!(x.restarts, 2);
        assert_eq!(
            x.last.as_ref().map(|last| (last.exit_code, last.finished_at)),
            Some((255, now))
        );
        assert!(!state.container("y").has_run);
        assert_eq!(state.container("z"), &ContainerState::default());
        assert_eq!(state.start_time, Timestamp::from_second(1).ok());
    }
}
