//! The only place that spawns: every task has a name, a span and a place in the drain.
//!
//! [`Tasks::spawn`] is work that shutdown waits for; [`Tasks::spawn_background`] is a helper that
//! runs until the very end; [`Tasks::spawn_critical`] takes the process down with it;
//! [`Tasks::spawn_supervised`] is started again when it fails. All end when the drain is over.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span, debug_span, error, info_span, warn};

use crate::aside::Aside;
use crate::backoff::{self, Backoff};
use crate::drain::{DrainTrigger, DrainWatcher};

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The task panicked; the process goes on, unless the task was critical.
    #[error("task {name} panicked: {message}")]
    Panicked {
        /// The task's name.
        name: Name,
        /// The panic's message.
        message: String,
    },
    /// The drain was over before the task, or it was aborted.
    #[error("task {name} was stopped before it finished")]
    Stopped {
        /// The task's name.
        name: Name,
    },
    /// A critical or supervised task ended with an error.
    #[error("task {name} failed: {message}")]
    Failed {
        /// The task's name.
        name: Name,
        /// The error, printed.
        message: String,
    },
}

/// The name of a task: static where possible.
pub type Name = Cow<'static, str>;

/// A group of tasks that drain together. Cloning gives another handle to the same group.
#[derive(Clone, Debug)]
pub struct Tasks {
    trigger: DrainTrigger,
    drain: DrainWatcher,
    failures: Arc<Mutex<Vec<TaskError>>>,
}

impl Tasks {
    /// A group whose tasks follow `trigger`'s drain; a critical task's end starts it.
    #[must_use]
    pub fn new(trigger: DrainTrigger) -> Self {
        let drain = trigger.watcher();
        Self { trigger, drain, failures: Arc::default() }
    }

    /// The drain these tasks follow.
    #[must_use]
    pub fn drain(&self) -> &DrainWatcher {
        &self.drain
    }

    /// Starts this group's drain.
    #[must_use]
    pub fn trigger(&self) -> &DrainTrigger {
        &self.trigger
    }

    /// Runs work that shutdown waits for (at most until its deadline). The future should watch
    /// [`Tasks::drain`] if it does not end by itself.
    pub fn spawn<F>(&self, name: impl Into<Name>, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name = name.into();
        let guard = self.drain.guard(name.clone());
        let wrapped = self.wrap(name.clone(), future, root(&name));
        start(name, async move {
            let result = wrapped.await;
            drop(guard);
            result
        })
    }

    /// Runs a helper that must go on while others drain (watching certificates, say) and that
    /// nobody waits for.
    pub fn spawn_background<F>(&self, name: impl Into<Name>, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name = name.into();
        let span = root(&name);
        start(name.clone(), self.wrap(name, future, span))
    }

    /// As [`Tasks::spawn`], on the current thread's `LocalSet` or local runtime. Such tasks carry
    /// traffic: their span, entered at every poll, exists at debug level only.
    ///
    /// # Panics
    /// Outside of one.
    pub fn spawn_local<F>(&self, name: impl Into<Name>, future: F) -> TaskHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let name = name.into();
        let guard = self.drain.guard(name.clone());
        let span = debug_span!(parent: None, "task", name = %name);
        let wrapped = self.wrap(name.clone(), future, span);
        let task = async move {
            let result = wrapped.await;
            drop(guard);
            result
        };
        TaskHandle { name, join: tokio::task::spawn_local(task) }
    }

    /// As [`Tasks::spawn_background`], on the current thread's `LocalSet` or local runtime, with a
    /// span as [`Tasks::spawn_local`] has it.
    ///
    /// # Panics
    /// Outside of one.
    pub fn spawn_local_background<F>(
        &self,
        name: impl Into<Name>,
        future: F,
    ) -> TaskHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let name = name.into();
        let span = debug_span!(parent: None, "task", name = %name);
        let task = self.wrap(name.clone(), future, span);
        TaskHandle { name, join: tokio::task::spawn_local(task) }
    }

    /// Runs a part the process cannot do without: an error or a panic is recorded in
    /// [`Tasks::failures`] and starts the drain.
    pub fn spawn_critical<F, E>(&self, name: impl Into<Name>, future: F) -> TaskHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let name = name.into();
        let guard = self.drain.guard(name.clone());
        let wrapped = self.wrap(name.clone(), future, root(&name));
        let tasks = self.clone();
        let task_name = name.clone();
        start(name, async move {
            let result = flatten(&task_name, wrapped.await);
            match &result {
                Err(failure) if !matches!(failure, TaskError::Stopped { .. }) => {
                    error!(task = %task_name, "critical task ended, shutting down: {failure}");
                    tasks.failures.lock().push(failure.clone());
                    tasks.trigger.start();
                }
                _ => {}
            }
            // Not before the failure is on record: whoever waits for the drain reads it next.
            drop(guard);
            result
        })
    }

    /// Runs a background part that is started again, after `backoff`, each time it fails or panics.
    /// It ends when it returns `Ok`, when the process drains while it is down, or with the drain.
    pub fn spawn_supervised<F, E>(
        &self,
        name: impl Into<Name>,
        mut backoff: Backoff,
        mut make: impl FnMut() -> F + Send + 'static,
    ) -> TaskHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let name = name.into();
        let tasks = self.clone();
        let task_name = name.clone();
        start(name, async move {
            loop {
                let begun = tokio::time::Instant::now();
                let failure = match flatten(
                    &task_name,
                    tasks.wrap(task_name.clone(), make(), root(&task_name)).await,
                ) {
                    Ok(()) => return Ok(()),
                    Err(TaskError::Stopped { name }) => return Err(TaskError::Stopped { name }),
                    Err(failure) => failure,
                };
                backoff.ran_for(begun.elapsed());
                let wait = backoff.next(backoff::jitter());
                warn!(task = %task_name, ?wait, "starting again after: {failure}");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = tasks.drain.draining() => return Err(failure),
                }
            }
        })
    }

    /// The critical failures so far, oldest first: the reason to exit with an error.
    #[must_use]
    pub fn failures(&self) -> Vec<TaskError> {
        self.failures.lock().clone()
    }

    fn wrap<F: Future>(
        &self,
        name: Name,
        future: F,
        span: Span,
    ) -> impl Future<Output = Result<F::Output, TaskError>> + use<F> {
        let drain = self.drain.clone();
        async move {
            let stopped = std::pin::pin!(drain.stopped());
            let stopped = Aside::new(stopped);
            tokio::select! {
                biased;
                result = AssertUnwindSafe(future).catch_unwind() => match result {
                    Ok(output) => Ok(output),
                    Err(panic) => {
                        let message = panic_message(panic.as_ref());
                        error!("task {name} panicked: {message}");
                        Err(TaskError::Panicked { name, message })
                    }
                },
                () = stopped => Err(TaskError::Stopped { name }),
            }
        }
        .instrument(span)
    }
}

/// The span of a task: a root, as a task outlives what spawned it, and chains of tasks must not
/// nest for ever.
fn root(name: &Name) -> Span {
    info_span!(parent: None, "task", name = %name)
}

/// The result of a task, as a future. Dropping it leaves the task running.
#[derive(Debug)]
pub struct TaskHandle<T> {
    name: Name,
    join: JoinHandle<Result<T, TaskError>>,
}

impl<T> TaskHandle<T> {
    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops the task at its next await.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.join).poll(cx).map(|joined| match joined {
            Ok(result) => result,
            Err(join) => Err(from_join(self.name.clone(), join)),
        })
    }
}

/// Runs blocking work on the runtime's blocking threads.
///
/// # Errors
/// [`TaskError`] when it panicked or the runtime is gone.
pub async fn spawn_blocking<T: Send + 'static>(
    name: impl Into<Name>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskError> {
    let name = name.into();
    tokio::task::spawn_blocking(work).await.map_err(|join| from_join(name, join))
}

/// Starts an operating-system thread called `name` (the kernel keeps the first 15 bytes).
///
/// # Errors
/// The operating system's, when it has no thread to give.
pub fn spawn_thread<T: Send + 'static>(
    name: impl Into<Name>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    let name = name.into();
    let span = info_span!(parent: None, "thread", name = %name);
    std::thread::Builder::new().name(name.into_owned()).spawn(move || span.in_scope(work))
}

#[allow(clippy::disallowed_methods, reason = "the one place that may spawn")]
fn start<T: Send + 'static>(
    name: Name,
    task: impl Future<Output = Result<T, TaskError>> + Send + 'static,
) -> TaskHandle<T> {
    TaskHandle { name, join: tokio::spawn(task) }
}

fn flatten<E: Display>(
    name: &Name,
    result: Result<Result<(), E>, TaskError>,
) -> Result<(), TaskError> {
    result?.map_err(|error| TaskError::Failed { name: name.clone(), message: error.to_string() })
}

fn from_join(name: Name, join: tokio::task::JoinError) -> TaskError {
    match join.try_into_panic() {
        Ok(panic) => TaskError::Panicked { name, message: panic_message(panic.as_ref()) },
        Err(_cancelled) => TaskError::Stopped { name },
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests;
