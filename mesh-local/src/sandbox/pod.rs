//! The server's side of a pod: the thread that makes its namespaces and waits for its PID 1, and
//! the handle through which containers are started, signalled and looked into.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};

use crate::sandbox::spec::{ContainerSpec, Exit, PodSetup, ProcessSpec, Step, StepError};
use crate::sandbox::wire::{Command, Event, MAX_LINE};
use crate::sandbox::{ShimCommand, pod_init};

/// What happens in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// The program of a container runs.
    Started {
        /// The id the container was started under.
        id: String,
        /// What the machine could not give it.
        warnings: Vec<String>,
    },
    /// The program of a container could not be started; no `Exited` follows.
    StartFailed {
        /// The id the container was started under.
        id: String,
        /// The step that failed.
        error: StepError,
    },
    /// A container's program ended, and with it all its processes.
    Exited {
        /// The id the container was started under.
        id: String,
        /// How.
        exit: Exit,
    },
}

/// How a command in a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutcome {
    /// It ran and ended.
    Ended(Exit),
    /// It could not be started.
    NotStarted(StepError),
    /// The pod ended first.
    PodGone,
}

/// The life of the thread behind a pod.
#[derive(Debug, Default)]
struct Liveness {
    /// PID 1, as long as it may be signalled.
    pid: Option<Pid>,
}

/// Commands that wait for their end.
type Waiters = Arc<Mutex<HashMap<String, oneshot::Sender<ExecOutcome>>>>;

/// A pod's namespaces and its PID 1. Dropping it ends the pod.
#[derive(Debug)]
pub struct PodSandbox {
    commands: tokio::sync::Mutex<OwnedWriteHalf>,
    waiters: Waiters,
    netns: OwnedFd,
    liveness: Arc<Mutex<Liveness>>,
    ended: watch::Receiver<bool>,
    warnings: Vec<String>,
}

/// The events of a pod, in order. They must be read for commands to complete.
#[derive(Debug)]
pub struct PodEvents {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
    waiters: Waiters,
}

impl PodSandbox {
    /// Makes the namespaces of a pod, starts its PID 1 and sets it up. `name` shows in the list of
    /// processes.
    pub async fn start(
        shim: &ShimCommand,
        name: &str,
        setup: PodSetup,
    ) -> Result<(Self, PodEvents), StepError> {
        let (ours, theirs) = StdUnixStream::pair().step(|| "connect to the pod")?;
        ours.set_nonblocking(true).step(|| "connect to the pod")?;
        let stream = UnixStream::from_std(ours).step(|| "connect to the pod")?;
        let liveness = Arc::new(Mutex::new(Liveness::default()));
        let (ended_sender, ended) = watch::channel(false);
        let (born_sender, born) = oneshot::channel();
        let job = Spawner {
            shim: shim.clone(),
            name: name.to_owned(),
            control: theirs.into(),
            liveness: Arc::clone(&liveness),
        };
        std::thread::Builder::new()
            .name("pod".to_owned())
            .stack_size(SPAWNER_STACK)
            .spawn(move || job.run(born_sender, &ended_sender))
            .step(|| "start the pod's thread")?;
        let netns =
            born.await.map_err(|_| StepError::new("start the pod", "its thread ended"))??;

        let (reader, writer) = stream.into_split();
        let waiters = Waiters::default();
        let mut events = PodEvents {
            reader: BufReader::new(reader),
            line: Vec::new(),
            waiters: Arc::clone(&waiters),
        };
        let mut sandbox = Self {
            commands: tokio::sync::Mutex::new(writer),
            waiters,
            netns,
            liveness,
            ended,
            warnings: Vec::new(),
        };
        sandbox.send(&Command::Prepare(setup)).await?;
        match events.read().await? {
            Some(Event::Ready { warnings }) => sandbox.warnings = warnings,
            Some(Event::Failed(err)) => return Err(err),
            Some(_) => return Err(StepError::new("set the pod up", "an answer out of turn")),
            None => return Err(StepError::new("set the pod up", "its PID 1 ended")),
        }
        Ok((sandbox, events))
    }

    /// The pod's network namespace.
    pub fn netns(&self) -> io::Result<OwnedFd> {
        self.netns.try_clone()
    }

    /// What the machine could not give the pod.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts a container. Its fate comes as events under `id`, which must be new.
    pub async fn start_container(&self, id: &str, spec: ContainerSpec) -> Result<(), StepError> {
        self.send(&Command::Start { id: id.to_owned(), container: Box::new(spec) }).await
    }

    /// Sends a signal to a container's program, or to a command and its process group. Ids that
    /// have ended are ignored.
    pub async fn signal(&self, id: &str, signal: Signal) -> Result<(), StepError> {
        self.send(&Command::Signal { id: id.to_owned(), signal: signal as i32 }).await
    }

    /// As [`PodSandbox::signal`] from where nothing can be awaited. Lost when another command is
    /// just being sent.
    pub fn signal_soon(&self, id: &str, signal: Signal) {
        let command = Command::Signal { id: id.to_owned(), signal: signal as i32 };
        let Ok(mut line) = serde_json::to_vec(&command) else { return };
        line.push(b'\n');
        if let Ok(commands) = self.commands.try_lock() {
            // A line this short is written whole or not at all.
            let _ = commands.try_write(&line);
        }
    }

    /// Runs a command in a running container until it ends. When the future is dropped the command
    /// goes on: send it a signal.
    pub async fn exec(&self, id: &str, container: &str, process: ProcessSpec) -> ExecOutcome {
        let (sender, outcome) = oneshot::channel();
        self.waiters.lock().insert(id.to_owned(), sender);
        let command = Command::Exec {
            id: id.to_owned(),
            container: container.to_owned(),
            process: Box::new(process),
        };
        if self.send(&command).await.is_err() {
            self.waiters.lock().remove(id);
            return ExecOutcome::PodGone;
        }
        outcome.await.unwrap_or(ExecOutcome::PodGone)
    }

    /// Ends every process of the pod and returns when none is left.
    pub async fn kill(&self) {
        if let Some(pid) = self.liveness.lock().pid {
            // It cannot have been reaped: its thread takes the lock first.
            let _ = kill(pid, Signal::SIGKILL);
        }
        let mut ended = self.ended.clone();
        // The thread is gone when the sender is, which is just as good.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    async fn send(&self, command: &Command) -> Result<(), StepError> {
        let mut line = serde_json::to_vec(command).step(|| "write a command")?;
        if line.len() >= MAX_LINE {
            return Err(StepError::new("command the pod", "the specification is too large"));
        }
        line.push(b'\n');
        let mut commands = self.commands.lock().await;
        commands.write_all(&line).await.step(|| "command the pod's PID 1")
    }
}

impl PodEvents {
    /// The next event of a container; `None` when the pod has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<PodEvent> {
        loop {
            let event = match self.read().await {
                Ok(Some(event)) => event,
                Ok(None) | Err(_) => {
                    self.waiters.lock().clear();
                    return None;
                }
            };
            match event {
                Event::Ready { .. } | Event::Failed(_) => {}
                Event::Started { id, warnings } => {
                    if !self.waiters.lock().contains_key(&id) {
                        return Some(PodEvent::Started { id, warnings });
                    }
                }
                Event::StartFailed { id, error } => match self.waiters.lock().remove(&id) {
                    Some(waiter) => {
                        let _ = waiter.send(ExecOutcome::NotStarted(error));
                    }
                    None => return Some(PodEvent::StartFailed { id, error }),
                },
                Event::Exited { id, exit } => match self.waiters.lock().remove(&id) {
                    Some(waiter) => {
                        let _ = waiter.send(ExecOutcome::Ended(exit));
                    }
                    None => return Some(PodEvent::Exited { id, exit }),
                },
            }
        }
    }

    /// Reads one line. What was read of a line stays when the future is dropped.
    async fn read(&mut self) -> Result<Option<Event>, StepError> {
        loop {
            let room = (MAX_LINE - self.line.len()) as u64;
            let count = (&mut self.reader)
                .take(room)
                .read_until(b'\n', &mut self.line)
                .await
                .step(|| "hear from the pod's PID 1")?;
            if self.line.last() == Some(&b'\n') {
                let event = serde_json::from_slice(&self.line).step(|| "understand PID 1");
                self.line.clear();
                return event.map(Some);
            }
            if count == 0 {
                return Ok(None);
            }
        }
    }
}

/// Stack of a pod's thread: it makes a few system calls and sleeps.
const SPAWNER_STACK: usize = 256 * 1024;

/// The thread of one pod. PID 1 has it as parent, so its parent-death signal means this thread;
/// it lives exactly as long as PID 1.
struct Spawner {
    shim: ShimCommand,
    name: String,
    control: OwnedFd,
    liveness: Arc<Mutex<Liveness>>,
}

impl Spawner {
    fn run(self, born: oneshot::Sender<Result<OwnedFd, StepError>>, ended: &watch::Sender<bool>) {
        let liveness = Arc::clone(&self.liveness);
        match self.spawn() {
            Ok((netns, mut child)) => {
                let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
                liveness.lock().pid = Some(pid);
                // When nobody waits any more, PID 1 has lost its control connection and ends.
                let _ = born.send(Ok(netns));
                while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
                    == Err(nix::errno::Errno::EINTR)
                {}
                liveness.lock().pid = None;
                let _ = child.wait();
            }
            Err(err) => {
                let _ = born.send(Err(err));
            }
        }
        let _ = ended.send(true);
    }

    fn spawn(self) -> Result<(OwnedFd, Child), StepError> {
        let namespaces = CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID;
        unshare(namespaces)
            .step(|| "make the pod's namespaces (needs root, or an unprivileged user namespace)")?;
        let netns = File::open("/proc/thread-self/ns/net").step(|| "open the pod's network")?;
        let child = Process::new(&self.shim.program)
            .arg0(format!("lateen-pod:{}", self.name))
            .args(&self.shim.args)
            .arg(pod_init::ROLE)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(self.control))
            .stdout(Stdio::null())
            .spawn()
            .step(|| format!("start {}", self.shim.program.display()))?;
        Ok((netns.into(), child))
    }
}
