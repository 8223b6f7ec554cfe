//! A container's run from its start to its end, as the worker sees it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::sync::watch;

use crate::kubelet::check::Target;
use crate::kubelet::event::Severity;
use crate::kubelet::pod as pods;
use crate::kubelet::probe::{News, ProbeLoop, Report};
use crate::kubelet::probe_count::Question;
use crate::kubelet::state::{Phase, Termination};
use crate::kubelet::worker::prepare::{Order, Prepared, Refused, retry_at};
use crate::kubelet::worker::{Done, Run, Worker};
use crate::sandbox::spec::{Exit, StepError};

impl Worker {
    pub(super) fn start_container(&mut self, name: &str, now: Timestamp) {
        self.run_count += 1;
        let id = format!("{name}-{}", self.run_count);
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let refused_before = match &container.phase {
            Phase::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        if let Phase::Exited(end) = &container.phase {
            container.last = Some(end.clone());
        }
        // A restart is counted when the container starts anew, once.
        if container.has_run && refused_before.is_none() {
            container.restarts = container.restarts.saturating_add(1);
            container.has_run = false;
        }
        if refused_before.is_none() {
            container.phase = Phase::Starting;
        }
        container.started = false;
        container.ready = false;
        container.doomed = None;
        let order = Order {
            ctx: Arc::clone(&self.ctx),
            pod: Arc::clone(&self.pod),
            name: name.to_owned(),
            dirs: self.dirs.clone(),
            facts: self.ctx.facts(&self.state.ips),
            id,
            restarts: container.restarts,
        };
        if refused_before.is_some() {
            // Still refused, as far as anybody can see, until it is known better.
            if let Phase::Refused { retry_at, .. } = &mut container.phase {
                *retry_at = crate::kubelet::state::later(now, PREPARING);
            }
        }
        let (name, id) = (name.to_owned(), order.id.clone());
        self.pending.insert(name.clone(), id.clone());
        self.jobs.spawn(async move {
            let outcome = order.prepare().await;
            Done::Prepared(name, id, Box::new(outcome))
        });
    }

    pub(super) async fn prepared(
        &mut self,
        name: &str,
        id: &str,
        outcome: Result<Prepared, Refused>,
    ) {
        if self.pending.get(name).map(String::as_str) != Some(id) {
            return;
        }
        self.pending.remove(name);
        let image = pods::member(pods::spec(&self.pod), name)
            .and_then(|member| member.container.image.clone())
            .unwrap_or_default();
        let prepared = match outcome {
            Ok(prepared) => prepared,
            Err(refused) => return self.refused(name, &image, &refused),
        };
        let Some(live) = &self.live else { return };
        let Prepared { id, spec, log, pipes } = prepared;
        let tap = pipes.console.tap();
        live.commands.set(name, &id, &spec.process, pipes.console);
        let sent = live.sandbox.start_container(&id, spec).await;
        let (log_done, log_seen) = watch::channel(false);
        let (stdout, stderr) = (pipes.stdout, pipes.stderr);
        let pump = self.jobs.spawn(async move {
            log.pump(stdout, stderr, &tap, Timestamp::now).await;
            // Nobody may wait for it.
            let _ = log_done.send(true);
            Done::Nothing
        });
        drop(pump);
        let run = Run { id: id.clone(), hold: pipes.hold, helpers: Vec::new(), log: log_seen };
        self.runs.insert(name.to_owned(), run);
        if let Some(container) = self.state.containers.get_mut(name) {
            container.phase = Phase::Starting;
            container.refusals = 0;
            container.id = Some(format!("{}-{id}", pods::uid(&self.pod)));
        }
        let pulled = format!("Container image \"{image}\" already present on machine");
        self.event(Some(name), Severity::Normal, "Pulled", pulled);
        match sent {
            Ok(()) => {
                let message = format!("Created container: {name}");
                self.event(Some(name), Severity::Normal, "Created", message);
            }
            // The sandbox is gone; its own end tells what follows.
            Err(err) => tracing::debug!(%err, container = name, "container not started"),
        }
    }

    fn refused(&mut self, name: &str, image: &str, refused: &Refused) {
        let now = Timestamp::now();
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let retry_at = retry_at(&self.ctx, container.refusals, refused.reason, now);
        let pull = refused.reason == "ErrImagePull";
        // The first failure is told as such, later ones as the wait they cause.
        let (reason, message) = if pull && container.refusals > 0 {
            ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": {}", refused.message))
        } else {
            (refused.reason, refused.message.clone())
        };
        container.refusals = container.refusals.saturating_add(1);
        container.phase =
            Phase::Refused { reason: reason.to_owned(), message: message.clone(), retry_at };
        if pull {
            let text = format!("Failed to pull image \"{image}\": {}", refused.message);
            self.event(Some(name), Severity::Warning, "Failed", text);
            let text = format!("Back-off pulling image \"{image}\"");
            self.event(Some(name), Severity::Normal, "BackOff", text);
        } else {
            self.event(Some(name), Severity::Warning, "Failed", format!("Error: {message}"));
        }
    }

    /// The program runs.
    pub(super) fn started(&mut self, id: &str, warnings: &[String]) {
        let Some(name) = self.name_of(id) else { return };
        let now = Timestamp::now();
        if let Some(run) = self.runs.get_mut(&name) {
            run.hold.clear();
        }
        if let Some(live) = &self.live {
            live.commands.begun(&name);
        }
        if let Some(container) = self.state.containers.get_mut(&name) {
            container.phase = Phase::Running { since: now, stopping: false };
            container.has_run = true;
        }
        self.event(Some(&name), Severity::Normal, "Started", format!("Started container {name}"));
        for warning in warnings {
            self.event(Some(&name), Severity::Warning, "Limited", warning.clone());
        }
        let Some(target) = self.target(&name) else { return };
        let hook = target.container.lifecycle.as_ref().and_then(|hooks| hooks.post_start.clone());
        match hook {
            Some(hook) => {
                let id = id.to_owned();
                let helper = self.jobs.spawn(async move {
                    let outcome = super::stop::run_hook(&target, &hook).await;
                    Done::PostStart(id, outcome)
                });
                self.help(&name, helper);
            }
            None => self.begin_probes(&name, &target),
        }
    }

    pub(super) fn post_started(&mut self, id: &str, outcome: Result<(), String>) {
        let Some(name) = self.name_of(id) else { return };
        match (outcome, self.target(&name)) {
            (Ok(()), Some(target)) => self.begin_probes(&name, &target),
            (Err(message), _) => {
                let text = format!("PostStartHook failed: {message}");
                self.event(Some(&name), Severity::Warning, "FailedPostStartHook", text);
                self.doom(&name, "failed its postStart hook, will be restarted".to_owned());
            }
            (Ok(()), None) => {}
        }
    }

    /// Startup probe first; the others when it has passed.
    fn begin_probes(&mut self, name: &str, target: &Target) {
        let spec = Arc::clone(&target.container);
        match &spec.startup_probe {
            Some(probe) => self.begin_probe(name, Question::Startup, probe, target),
            None => self.has_started(name, target),
        }
    }

    fn has_started(&mut self, name: &str, target: &Target) {
        let spec = Arc::clone(&target.container);
        if let Some(container) = self.state.containers.get_mut(name) {
            container.started = true;
            container.ready = spec.readiness_probe.is_none();
        }
        if let Some(probe) = &spec.liveness_probe {
            self.begin_probe(name, Question::Liveness, probe, target);
        }
        if let Some(probe) = &spec.readiness_probe {
            self.begin_probe(name, Question::Readiness, probe, target);
        }
    }

    fn begin_probe(&mut self, name: &str, question: Question, probe: &Probe, target: &Target) {
        let Some(run) = self.runs.get(name) else { return };
        let Some(asking) = ProbeLoop::new(&run.id, question, probe, target) else {
            // A probe that asks nothing passes, as the API server lets none through.
            return;
        };
        let reports = self.reports.0.clone();
        let helper = self.jobs.spawn(async move {
            asking.run(reports).await;
            Done::Nothing
        });
        self.help(name, helper);
    }

    /// A probe has something to tell.
    pub(super) fn reported(&mut self, report: Report) {
        let Some(name) = self.name_of(&report.run) else { return };
        let (title, word) = (report.question.title(), report.question.word());
        if let News::Stumbled(message) | News::Failed(message) = &report.news {
            let text = format!("{title} probe failed: {message}");
            self.event(Some(&name), Severity::Warning, "Unhealthy", text);
        }
        match (report.question, report.news) {
            (_, News::Stumbled(_)) | (Question::Liveness, News::Passed) => {}
            (Question::Startup, News::Passed) => {
                if let Some(target) = self.target(&name) {
                    self.has_started(&name, &target);
                }
            }
            (Question::Readiness, news) => {
                if let Some(container) = self.state.containers.get_mut(&name) {
                    container.ready = news == News::Passed;
                }
            }
            (Question::Startup | Question::Liveness, News::Failed(_)) => {
                self.doom(&name, format!("failed {word} probe, will be restarted"));
            }
        }
    }

    fn doom(&mut self, name: &str, why: String) {
        if let Some(container) = self.state.containers.get_mut(name) {
            container.doomed = Some(format!("Container {name} {why}"));
        }
    }

    /// The program could not be started.
    pub(super) async fn start_failed(&mut self, id: &str, error: &StepError) {
        let Some(name) = self.name_of(id) else { return };
        self.runs.remove(&name);
        let text = format!("Error: failed to start container \"{name}\": {error}");
        self.event(Some(&name), Severity::Warning, "Failed", text);
        let now = Timestamp::now();
        let limits = self.ctx.config.backoff;
        if let Some(container) = self.state.containers.get_mut(&name) {
            container.has_run = true;
            container.backoff.exited(&limits, now, Duration::ZERO);
            container.phase = Phase::Exited(Termination {
                exit_code: 128,
                signal: None,
                reason: "StartError".to_owned(),
                message: Some(error.to_string()),
                started_at: None,
                finished_at: now,
            });
        }
    }

    /// The program has ended: its log is read to its end, then the rest is said.
    pub(super) fn exited(&mut self, id: &str, exit: Exit) {
        let Some(name) = self.name_of(id) else { return };
        let finished_at = Timestamp::now();
        let Some(container) = self.state.containers.get(&name) else { return };
        let Phase::Running { since, .. } = container.phase else { return };
        let Some(spec) = pods::member(pods::spec(&self.pod), &name) else { return };
        let spec: Container = spec.container.clone();
        let Some(run) = self.runs.get_mut(&name) else { return };
        run.end_helpers();
        if let Some(live) = &self.live {
            live.commands.forget(&name);
        }
        let mut log = run.log.clone();
        let (file, id) = (self.dirs.termination().join(&run.id), run.id.clone());
        let log_path = self.ctx.logs.path(&crate::kubelet::log::LogKey {
            pod_uid: pods::uid(&self.pod).to_owned(),
            container: name.clone(),
            run: container.restarts,
        });
        if let Some(container) = self.state.containers.get_mut(&name) {
            container.ready = false;
            container.phase = Phase::Running { since, stopping: true };
        }
        self.jobs.spawn(async move {
            // A process that left the container's pid namespace may hold the pipes open.
            let _ = tokio::time::timeout(LOG_WAIT, log.wait_for(|done| *done)).await;
            let message = super::stop::termination_message(&spec, &file, &log_path, exit);
            let reason = if exit.code() == 0 { "Completed" } else { "Error" };
            let termination = Termination {
                exit_code: exit.code(),
                signal: exit.signal(),
                reason: reason.to_owned(),
                message,
                started_at: Some(since),
                finished_at,
            };
            Done::Ended(id, termination)
        });
    }

    pub(super) fn ended(&mut self, id: &str, termination: Termination) {
        let Some(name) = self.name_of(id) else { return };
        self.runs.remove(&name);
        // The mount point; nothing is mounted on it outside of the container.
        let _ = std::fs::remove_dir(self.dirs.roots().join(id));
        for suffix in ["in", "out", "err"] {
            let _ = std::fs::remove_file(self.dirs.io().join(format!("{id}.{suffix}")));
        }
        let limits = self.ctx.config.backoff;
        let lasted = termination
            .started_at
            .and_then(|start| {
                Duration::try_from(termination.finished_at.duration_since(start)).ok()
            })
            .unwrap_or_default();
        let mut crash_loop = None;
        let policy = pods::restart_policy(pods::spec(&self.pod));
        let restarts = pods::member(pods::spec(&self.pod), &name)
            .is_some_and(|member| member.restarts_after(policy, termination.exit_code));
        if let Some(container) = self.state.containers.get_mut(&name) {
            container.backoff.exited(&limits, termination.finished_at, lasted);
            container.started = false;
            container.ready = false;
            crash_loop = container.backoff.until.filter(|_| restarts);
            container.phase = Phase::Exited(termination);
        }
        if crash_loop.is_some() && self.pod.metadata.deletion_timestamp.is_none() {
            let pod = pods::full_name(&self.pod);
            let text = format!("Back-off restarting failed container {name} in pod {pod}");
            self.event(Some(&name), Severity::Warning, "BackOff", text);
        }
    }

    /// The container whose current run this is.
    fn name_of(&self, id: &str) -> Option<String> {
        self.runs.iter().find(|(_, run)| run.id == id).map(|(name, _)| name.clone())
    }

    pub(super) fn help(&mut self, name: &str, helper: tokio::task::AbortHandle) {
        match self.runs.get_mut(name) {
            Some(run) => run.helpers.push(helper),
            None => helper.abort(),
        }
    }

    /// The container as checks see it.
    pub(super) fn target(&self, name: &str) -> Option<Target> {
        let member = pods::member(pods::spec(&self.pod), name)?;
        Some(Target {
            network: Arc::clone(&self.ctx.network),
            pod_uid: pods::uid(&self.pod).to_owned(),
            address: *self.state.ips.first()?,
            commands: Some(self.live.as_ref()?.commands.clone()),
            container: Arc::new(member.container.clone()),
        })
    }
}

/// How long a refused container may be prepared before it is tried once more.
const PREPARING: Duration = Duration::from_secs(60);

/// How long the end of a container waits for the end of its log.
const LOG_WAIT: Duration = Duration::from_secs(1);
