//! A container's end: `preStop`, SIGTERM, grace, SIGKILL; hooks; the termination message.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use nix::sys::signal::Signal;

use crate::kubelet::check::{Check, Target};
use crate::kubelet::event::Severity;
use crate::kubelet::log::line::parse;
use crate::kubelet::state::Phase;
use crate::kubelet::worker::{Done, Worker};
use crate::sandbox::spec::Exit;

impl Worker {
    pub(super) fn stop_container(
        &mut self,
        name: &str,
        grace: Duration,
        why: &str,
        now: Timestamp,
    ) {
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let Phase::Running { since, .. } = container.phase else { return };
        container.phase = Phase::Running { since, stopping: true };
        let text = if why.contains(name) { why.to_owned() } else { format!("{why} {name}") };
        self.event(Some(name), Severity::Normal, "Killing", text);
        let (Some(target), Some(live), Some(run)) =
            (self.target(name), &self.live, self.runs.get_mut(name))
        else {
            return;
        };
        // Probes of a container that is ending only disturb.
        run.end_helpers();
        let (sandbox, id) = (Arc::clone(&live.sandbox), run.id.clone());
        let hook = target.container.lifecycle.as_ref().and_then(|hooks| hooks.pre_stop.clone());
        let recorder = self.ctx.recorder.clone();
        let (pod, name) = (Arc::clone(&self.pod), name.to_owned());
        let container = name.clone();
        let helper = self.jobs.spawn(async move {
            let begun = tokio::time::Instant::now();
            if let Some(hook) = hook
                && !grace.is_zero()
            {
                let outcome = tokio::time::timeout(grace, run_hook(&target, &hook)).await;
                let failure = match outcome {
                    Ok(Ok(())) => None,
                    Ok(Err(message)) => Some(message),
                    Err(_) => Some(format!("not done within {}s", grace.as_secs())),
                };
                if let Some(message) = failure {
                    let text = format!("PreStopHook failed: {message}");
                    let event = ("FailedPreStopHook", text);
                    recorder.pod(&pod, Some(&container), Severity::Warning, event);
                }
            }
            // The pod's end is noticed by itself.
            let _ = sandbox.signal(&id, Signal::SIGTERM).await;
            tokio::time::sleep(grace.saturating_sub(begun.elapsed())).await;
            let _ = sandbox.signal(&id, Signal::SIGKILL).await;
            Done::Nothing
        });
        self.help(&name, helper);
        tracing::debug!(container = %name, ?grace, %now, "stopping");
    }
}

/// Runs a lifecycle hook.
pub(super) async fn run_hook(target: &Target, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    let http = hook.http_get.clone().map(Check::Http);
    let exec = hook.exec.clone().map(Check::Exec);
    match exec.or(http).or_else(|| hook.tcp_socket.clone().map(Check::Tcp)) {
        Some(check) => target.ask(&check).await,
        None => Ok(()),
    }
}

/// Bytes of a termination message.
const MAX_MESSAGE: u64 = 4096;

/// Bytes and lines of the log that stand in for one.
const LOG_TAIL_BYTES: u64 = 2048;
const LOG_TAIL_LINES: usize = 80;

/// What the container has to say about its end: its termination message file, or (when it asked
/// for that and failed) the end of its log.
pub(super) fn termination_message(
    spec: &Container,
    file: &Path,
    log: &Path,
    exit: Exit,
) -> Option<String> {
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open(file) {
        // A file that cannot be read says nothing.
        let _ = file.take(MAX_MESSAGE).read_to_end(&mut text);
    }
    let fallback = spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if text.is_empty() && fallback && exit.code() != 0 {
        text = log_tail(log).unwrap_or_default();
    }
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

fn log_tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    // Each line of the file carries about as much again as its text.
    let from = length.saturating_sub(LOG_TAIL_BYTES * 8);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if from > 0 && !lines.is_empty() {
        lines.remove(0);
    }
    let texts: Vec<&[u8]> = lines.iter().filter_map(|line| parse(line)).map(|l| l.text).collect();
    let mut tail = texts[texts.len().saturating_sub(LOG_TAIL_LINES)..].join(&b'\n');
    if !tail.is_empty() {
        tail.push(b'\n');
    }
    let excess = tail.len().saturating_sub(usize::try_from(LOG_TAIL_BYTES).unwrap_or(usize::MAX));
    tail.drain(..excess);
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_from_the_file_or_the_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, log) = (dir.path().join("message"), dir.path().join("log"));
        std::fs::write(&log, "t stdout F one\nt stderr F two\n").expect("written");
        let asking = Container {
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        };
        let message = |spec: &Container, exit: Exit| termination_message(spec, &file, &log, exit);
        assert_eq!(message(&asking, Exit::Code(1)).as_deref(), Some("one\ntwo\n"));
        assert_eq!(message(&asking, Exit::Code(0)), None);
        assert_eq!(message(&Container::default(), Exit::Code(1)), None);
        std::fs::write(&file, "because").expect("written");
        assert_eq!(message(&asking, Exit::Code(1)).as_deref(), Some("because"));
    }
}
