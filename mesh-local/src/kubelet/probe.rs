//! The loop of one probe: waits, asks, counts, tells the pod's worker what changes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::kubelet::check::{Check, Target};
use crate::kubelet::probe_count::{Count, Question, Timing, Verdict};

/// What a probe tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The run of the container it was about.
    pub run: String,
    /// The question.
    pub question: Question,
    /// The news.
    pub news: News,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Enough successes.
    Passed,
    /// A failure worth an event.
    Stumbled(String),
    /// Enough failures.
    Failed(String),
}

/// A probe of a run.
pub struct ProbeLoop {
    /// The run.
    pub run: String,
    /// The question.
    pub question: Question,
    /// Its numbers.
    pub timing: Timing,
    /// What is asked.
    pub check: Check,
    /// Whom.
    pub target: Target,
}

impl ProbeLoop {
    /// The loop for `probe`; `None` when it asks nothing.
    pub fn new(run: &str, question: Question, probe: &Probe, target: &Target) -> Option<Self> {
        Some(Self {
            run: run.to_owned(),
            question,
            timing: Timing::of(probe),
            check: Check::of(probe)?,
            target: target.clone(),
        })
    }

    /// Asks for ever. A startup probe ends when it has passed; the worker ends the others.
    pub async fn run(self, reports: mpsc::Sender<Report>) {
        tokio::time::sleep(self.timing.initial_delay).await;
        let mut count = Count::new(self.timing);
        let mut counted_at = Instant::now();
        let mut last: Option<Verdict> = None;
        let mut done = 0;
        loop {
            let asked = tokio::time::timeout(self.timing.timeout, self.target.ask(&self.check));
            let answer = match asked.await {
                Ok(answer) => answer,
                Err(_) => Err(self.too_slow()),
            };
            let settled = last.is_some();
            let counts = settled
                || self.question == Question::Liveness
                || counted_at.elapsed() >= self.timing.period;
            if counts {
                counted_at = Instant::now();
            }
            let verdict = count.add(answer.is_ok(), counts);
            let changed = verdict != Verdict::Undecided && last != Some(verdict);
            if verdict != Verdict::Undecided {
                last = Some(verdict);
            }
            let message = answer.err();
            let news = match (verdict, message) {
                (Verdict::Passed, _) if changed => Some(News::Passed),
                (Verdict::Failed, Some(message)) if changed => Some(News::Failed(message)),
                (_, Some(message)) if counts => Some(News::Stumbled(message)),
                _ => None,
            };
            if let Some(news) = news {
                let report = Report { run: self.run.clone(), question: self.question, news };
                if reports.send(report).await.is_err() {
                    return;
                }
            }
            if self.question == Question::Startup && last.is_some() {
                return;
            }
            tokio::time::sleep(self.timing.wait(self.question, done, last.is_some())).await;
            done = done.saturating_add(1);
        }
    }

    fn too_slow(&self) -> String {
        let limit: Duration = self.timing.timeout;
        match &self.check {
            Check::Exec(action) => {
                let command = action.command.clone().unwrap_or_default().join(" ");
                format!("command {command:?} timed out after {}s", limit.as_secs())
            }
            _ => format!("no answer within {}s (context deadline exceeded)", limit.as_secs()),
        }
    }
}
