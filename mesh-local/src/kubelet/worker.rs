//! One pod's life: waits for news, decides, acts, and publishes the status.

mod container;
mod prepare;
mod publish;
mod sandbox;
mod stop;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use self::prepare::{Prepared, Refused};
use self::sandbox::{Made, Unmade};
use crate::kubelet::command::Commands;
use crate::kubelet::config::Context;
use crate::kubelet::decide::{
    Action, Plan, SIDECAR_MINIMUM, decide, grace_period, is_initialized, is_overdue,
};
use crate::kubelet::event::Severity;
use crate::kubelet::launch::PodDirs;
use crate::kubelet::pod as pods;
use crate::kubelet::probe::Report;
use crate::kubelet::sources::Change;
use crate::kubelet::state::{PodState, Sandbox, Termination, later};
use crate::kubelet::volume;
use crate::kubelet::volume::mount::PodVolumes;
use crate::sandbox::pod::{PodEvent, PodEvents, PodSandbox};

/// Results of probes that may wait for the worker.
const REPORT_QUEUE: usize = 64;

/// The latest word on a pod.
#[derive(Clone, Debug)]
pub enum Update {
    /// Its object.
    Pod(Arc<Pod>),
    /// Its object is gone.
    Gone,
    /// The kubelet stops; the pod is to be run again by the next one.
    Stopped,
}

impl Update {
    /// The object, while there is one.
    pub fn pod(&self) -> Option<Arc<Pod>> {
        match self {
            Self::Pod(pod) => Some(Arc::clone(pod)),
            Self::Gone | Self::Stopped => None,
        }
    }
}

/// A task of the worker that has come to its end.
enum Done {
    /// Volumes, namespaces and network.
    Sandbox(PodVolumes, Result<Box<Made>, Unmade>),
    /// Volumes looked at again.
    Volumes(PodVolumes, Result<(), String>),
    /// A container can be started, or not: its name, and the id of the run.
    Prepared(String, String, Box<Result<Prepared, Refused>>),
    /// `postStart` of a run.
    PostStart(String, Result<(), String>),
    /// A container's end, with all there is to say.
    Ended(String, Termination),
    /// The pod's processes are gone and its network is given back.
    SandboxEnded,
    /// A status was written, or not.
    Published(Value, bool),
    /// The API server has been asked to remove the object.
    Removed(bool),
    /// Nothing to report.
    Nothing,
}

/// A container's current run.
struct Run {
    /// Unique among all runs of the pod.
    id: String,
    /// The program's ends of its pipes or its terminal, held until it has its own.
    hold: Vec<OwnedFd>,
    /// Probes, hooks and the stop in progress; ended with the run.
    helpers: Vec<AbortHandle>,
    /// Its log.
    log: watch::Receiver<bool>,
}

impl Run {
    fn end_helpers(&mut self) {
        for helper in self.helpers.drain(..) {
            helper.abort();
        }
    }
}

/// The sandbox of a pod whose containers may run.
struct Live {
    sandbox: Arc<PodSandbox>,
    commands: Commands,
}

/// Runs one pod.
pub struct Worker {
    ctx: Arc<Context>,
    updates: watch::Receiver<Update>,
    pod: Arc<Pod>,
    state: PodState,
    dirs: PodDirs,
    /// Absent while a task works on them.
    volumes: Option<PodVolumes>,
    volumes_stale: bool,
    volumes_at: Option<Timestamp>,
    live: Option<Live>,
    events: Option<PodEvents>,
    runs: HashMap<String, Run>,
    /// Ids of runs being prepared, by container.
    pending: HashMap<String, String>,
    run_count: u64,
    jobs: JoinSet<Done>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    published: Option<Value>,
    publishing: bool,
    removing: bool,
    gone: bool,
}

impl Worker {
    /// A worker for the pod in `updates`; `None` when it is gone already.
    pub fn new(ctx: Arc<Context>, updates: watch::Receiver<Update>) -> Option<Self> {
        let pod = updates.borrow().pod()?;
        let dirs = PodDirs::new(&ctx.pods_dir(), pods::uid(&pod));
        let mut state = PodState::recover(&pod, Timestamp::now());
        state.rejected = sandbox::rejection(&pod);
        if pods::is_finished(&pod) {
            state.sandbox = Sandbox::Ended;
        }
        Some(Self {
            volumes: Some(PodVolumes::new(dirs.volumes())),
            ctx,
            updates,
            pod,
            state,
            dirs,
            volumes_stale: false,
            volumes_at: None,
            live: None,
            events: None,
            runs: HashMap::new(),
            pending: HashMap::new(),
            run_count: 0,
            jobs: JoinSet::new(),
            reports: mpsc::channel(REPORT_QUEUE),
            published: None,
            publishing: false,
            removing: false,
            gone: false,
        })
    }

    /// Lives as long as the pod's object.
    pub async fn run(mut self) {
        let mut changes = self.ctx.sources.changes();
        while !self.gone {
            let now = Timestamp::now();
            let plan = self.advance(now).await;
            self.publish(now);
            let wake = self.sleep_for(&plan, now);
            tokio::select! {
                changed = self.updates.changed() => self.updated(changed.is_ok()).await,
                event = next_event(&mut self.events) => self.happened(event).await,
                Some(done) = self.jobs.join_next() => self.done(done.unwrap_or(Done::Nothing)).await,
                Some(report) = self.reports.1.recv() => self.reported(report),
                change = changes.recv() => self.source_changed(change),
                () = tokio::time::sleep(wake) => {}
            }
        }
        self.vanish().await;
    }

    /// Does all there is to do now.
    async fn advance(&mut self, now: Timestamp) -> Plan {
        let spec = pods::spec(&self.pod);
        if !self.state.initialized && is_initialized(spec, &self.state) {
            self.state.initialized = true;
        }
        if !pods::is_finished(&self.pod) && is_overdue(spec, &self.state, now) {
            self.state.deadline_exceeded = true;
        }
        if self.pod.metadata.deletion_timestamp.is_some() {
            let given = self.pod.metadata.deletion_grace_period_seconds;
            let grace = given.and_then(|seconds| u64::try_from(seconds).ok());
            let grace = grace.map_or_else(|| grace_period(spec), Duration::from_secs);
            let by = later(now, grace);
            let known = self.state.kill_at.unwrap_or(Timestamp::MAX);
            self.state.kill_at = Some(known.min(by));
        }
        let plan = decide(&self.pod, &self.state, now);
        let overtime = self.overtime().is_some_and(|end| end <= now);
        if overtime && self.state.sandbox == Sandbox::Ready {
            self.end_sandbox();
            return Plan::default();
        }
        for action in &plan.actions {
            match action {
                Action::StartSandbox => self.start_sandbox(now),
                Action::StartContainer(name) => self.start_container(name, now),
                Action::StopContainer { name, grace, why } => {
                    self.stop_container(name, *grace, why, now);
                }
                Action::EndSandbox => self.end_sandbox(),
                Action::Remove => {
                    // Watchers see how it ended before it is gone.
                    self.publish(now);
                    self.remove();
                }
            }
        }
        self.refresh_volumes(now);
        plan
    }

    /// When a pod that has to end is killed whatever it is doing.
    fn overtime(&self) -> Option<Timestamp> {
        self.state.kill_at.map(|kill_at| later(kill_at, SIDECAR_MINIMUM * 2))
    }

    fn sleep_for(&self, plan: &Plan, now: Timestamp) -> Duration {
        let overtime = self.overtime().filter(|_| self.state.sandbox == Sandbox::Ready);
        let times = [plan.wake, self.volumes_at, overtime];
        let next = times.into_iter().flatten().min();
        next.map_or(IDLE, |time| {
            // Never zero: what is due has just been tried.
            Duration::try_from(time.duration_since(now)).unwrap_or_default().clamp(TICK, IDLE)
        })
    }

    async fn updated(&mut self, alive: bool) {
        let latest = self.updates.borrow_and_update().clone();
        match latest {
            Update::Pod(pod) if alive => {
                // Labels and annotations may be shown in volumes.
                self.volumes_stale |= pod.metadata.labels != self.pod.metadata.labels
                    || pod.metadata.annotations != self.pod.metadata.annotations;
                self.pod = pod;
            }
            _ => self.gone = true,
        }
    }

    async fn happened(&mut self, event: Option<PodEvent>) {
        match event {
            Some(PodEvent::Started { id, warnings }) => self.started(&id, &warnings),
            Some(PodEvent::StartFailed { id, error }) => self.start_failed(&id, &error).await,
            Some(PodEvent::Exited { id, exit }) => self.exited(&id, exit),
            None => self.sandbox_lost(),
        }
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Sandbox(volumes, made) => self.sandbox_made(volumes, made),
            Done::Volumes(volumes, outcome) => self.volumes_refreshed(volumes, outcome),
            Done::Prepared(name, id, outcome) => self.prepared(&name, &id, *outcome).await,
            Done::PostStart(id, outcome) => self.post_started(&id, outcome),
            Done::Ended(id, termination) => self.ended(&id, termination),
            Done::SandboxEnded => self.state.sandbox = Sandbox::Ended,
            Done::Published(status, written) => {
                self.publishing = false;
                if written {
                    self.published = Some(status);
                }
            }
            Done::Removed(removed) => {
                self.removing = removed;
                self.gone |= removed;
            }
            Done::Nothing => {}
        }
    }

    fn source_changed(&mut self, change: Result<Change, broadcast::error::RecvError>) {
        let references = volume::references(&self.pod);
        let namespace = pods::namespace(&self.pod);
        match change {
            Ok(change) => self.volumes_stale |= change.touches(namespace, &references),
            // Some were missed: look at everything.
            Err(broadcast::error::RecvError::Lagged(_)) => self.volumes_stale = true,
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    fn event(
        &self,
        container: Option<&str>,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        self.ctx.recorder.pod(&self.pod, container, severity, (reason, message));
    }

    /// Ends all that is left of the pod. Its logs stay for a kubelet that runs it again.
    async fn vanish(&mut self) {
        self.jobs.shutdown().await;
        self.ctx.commands.lock().remove(pods::uid(&self.pod));
        if let Some(live) = self.live.take() {
            live.sandbox.kill().await;
        }
        self.ctx.network.detach(pods::uid(&self.pod)).await;
        if !matches!(*self.updates.borrow(), Update::Stopped) {
            self.ctx.logs.remove_pod(pods::uid(&self.pod));
        }
        if let Err(err) = std::fs::remove_dir_all(self.dirs.base())
            && err.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%err, pod = %pods::full_name(&self.pod), "pod directory left behind");
        }
    }
}

/// The longest sleep without a reason to wake.
const IDLE: Duration = Duration::from_secs(3600);

/// The shortest.
const TICK: Duration = Duration::from_millis(1);

/// The next event of a live sandbox; for ever nothing without one.
async fn next_event(events: &mut Option<PodEvents>) -> Option<PodEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
