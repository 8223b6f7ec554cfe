//! Commands run inside containers: started through the pod's PID 1, with the container's own
//! environment and user. For probes and hooks their output is kept for the message; for clients
//! (`kubectl exec`, `kubectl attach`) it is streamed.

mod attach;
mod exec;
mod terminal;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

pub use self::attach::{Console, Tap};
pub use self::terminal::Terminal;
use crate::node_api::{Command, CommandAction};
use crate::sandbox::pod::{ExecOutcome, PodSandbox};
use crate::sandbox::spec::ProcessSpec;

/// Bytes of output that are kept.
const MAX_OUTPUT: u64 = 10 * 1024;

/// Runs commands in the containers of one pod.
#[derive(Clone)]
pub struct Commands {
    inner: Arc<Inner>,
}

struct Inner {
    sandbox: Arc<PodSandbox>,
    dir: PathBuf,
    count: AtomicU64,
    running: Mutex<HashMap<String, Current>>,
}

/// The current run of a container.
#[derive(Clone)]
struct Current {
    id: String,
    process: ProcessSpec,
    console: Console,
    /// Its program runs.
    begun: bool,
}

impl Commands {
    /// Commands for the pod of `sandbox`; pipes are made in `dir`.
    pub fn new(sandbox: Arc<PodSandbox>, dir: PathBuf) -> Self {
        let inner = Inner { sandbox, dir, count: AtomicU64::new(0), running: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Tells which run of a container commands go to from now on.
    pub fn set(&self, container: &str, id: &str, process: &ProcessSpec, console: Console) {
        let process = process.clone();
        let current = Current { id: id.to_owned(), process, console, begun: false };
        self.inner.running.lock().insert(container.to_owned(), current);
    }

    /// The container's program runs: clients may enter.
    pub fn begun(&self, container: &str) {
        if let Some(current) = self.inner.running.lock().get_mut(container) {
            current.begun = true;
        }
    }

    /// The container's program has ended.
    pub fn forget(&self, container: &str) {
        self.inner.running.lock().remove(container);
    }

    /// A client's command in a container that runs; `None` when it does not.
    pub fn command(&self, container: &str, action: CommandAction, tty: bool) -> Option<Command> {
        let current = self.inner.running.lock().get(container).filter(|c| c.begun).cloned()?;
        let inner = Arc::clone(&self.inner);
        Some(match action {
            CommandAction::Exec(argv) => Box::new(move |streams| {
                async move { exec::run(inner, current, argv, tty, streams).await }.boxed()
            }),
            CommandAction::Attach => {
                // From now on nothing is missed.
                let attached = current.console.attach();
                Box::new(move |streams| attached.run(streams).boxed())
            }
        })
    }

    /// Runs `argv` in the container until it ends. Success is exit code 0; a failure is the
    /// command's output. When the future is dropped (a time limit), the command is killed.
    pub async fn run(&self, container: &str, argv: Vec<String>) -> Result<(), String> {
        let entry = self.inner.running.lock().get(container).cloned();
        let Some(Current { id: run, process, .. }) = entry else {
            return Err(format!("container {container} is not running"));
        };
        let number = self.inner.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("exec-{number}");
        let path = self.inner.dir.join(&id);
        let made = mkfifo(&path, Mode::from_bits_truncate(0o600))
            .map_err(std::io::Error::from)
            .and_then(|()| pipe::OpenOptions::new().read_write(true).open_receiver(&path));
        let mut output = made.map_err(|err| format!("cannot run a command: {err}"))?;
        let process = ProcessSpec {
            argv,
            stdin: None,
            terminal: None,
            stdout: Some(path.clone()),
            stderr: Some(path.clone()),
            ..process
        };
        let mut guard =
            Guard { inner: Arc::clone(&self.inner), id: Some(id.clone()), paths: vec![path] };
        let mut text = Vec::new();
        let outcome = {
            let running = self.inner.sandbox.exec(&id, &run, process);
            let mut running = std::pin::pin!(running);
            let mut chunk = [0_u8; 4096];
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut running => break outcome,
                    read = output.read(&mut chunk) => {
                        // We hold the pipe open ourselves, so it never ends before the command.
                        let count = read.unwrap_or(0);
                        let room = usize::try_from(MAX_OUTPUT).unwrap_or(0).saturating_sub(text.len());
                        text.extend_from_slice(&chunk[..count.min(room)]);
                    }
                }
            }
        };
        guard.id = None;
        let mut chunk = [0_u8; 4096];
        while let Ok(count) = output.try_read(&mut chunk) {
            let room = usize::try_from(MAX_OUTPUT).unwrap_or(0).saturating_sub(text.len());
            if count == 0 || room == 0 {
                break;
            }
            text.extend_from_slice(&chunk[..count.min(room)]);
        }
        match outcome {
            ExecOutcome::Ended(exit) if exit.code() == 0 => Ok(()),
            ExecOutcome::Ended(exit) if text.is_empty() => {
                Err(format!("command exited with code {}", exit.code()))
            }
            ExecOutcome::Ended(_) => Err(String::from_utf8_lossy(&text).into_owned()),
            ExecOutcome::NotStarted(err) => Err(err.to_string()),
            ExecOutcome::PodGone => Err("the pod has ended".to_owned()),
        }
    }
}

/// Removes the pipes, and kills a command nobody waits for any more.
struct Guard {
    inner: Arc<Inner>,
    id: Option<String>,
    paths: Vec<PathBuf>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = std::fs::remove_file(path);
        }
        if let Some(id) = self.id.take() {
            self.inner.sandbox.signal_soon(&id, Signal::SIGKILL);
        }
    }
}
