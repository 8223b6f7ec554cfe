//! What has to be at hand before a container starts: its image, its environment, its pipes and
//! its log.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::AsyncRead;
use tokio::net::unix::pipe;

use crate::kubelet::command::{Console, Terminal};
use crate::kubelet::config::Context;
use crate::kubelet::env::{self, Objects};
use crate::kubelet::field::Facts;
use crate::kubelet::image::ImageError;
use crate::kubelet::launch::{Launch, PodDirs};
use crate::kubelet::log::writer::LogWriter;
use crate::kubelet::log::{LogKey, ROTATE_BYTES};
use crate::kubelet::pod as pods;
use crate::sandbox::spec::{ContainerSpec, ProcessSpec};

/// A container that can be started.
pub(super) struct Prepared {
    /// The id of this run.
    pub(super) id: String,
    pub(super) spec: ContainerSpec,
    pub(super) log: LogWriter,
    pub(super) pipes: Pipes,
}

/// Pipes or a terminal: our ends, and ends that keep them open until the program has its own.
pub(super) struct Pipes {
    pub(super) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) stderr: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) hold: Vec<OwnedFd>,
    /// What attached clients get.
    pub(super) console: Console,
}

/// A container that cannot be started as things are.
#[derive(Debug)]
pub(super) struct Refused {
    /// `state.waiting.reason`.
    pub(super) reason: &'static str,
    /// `state.waiting.message`.
    pub(super) message: String,
}

/// What a container is prepared from.
pub(super) struct Order {
    pub(super) ctx: Arc<Context>,
    pub(super) pod: Arc<Pod>,
    pub(super) name: String,
    pub(super) dirs: PodDirs,
    pub(super) facts: Facts,
    /// The id of this run.
    pub(super) id: String,
    /// The container's restart count, which names its log.
    pub(super) restarts: u32,
}

impl Order {
    pub(super) async fn prepare(self) -> Result<Prepared, Refused> {
        let container = self.container()?.clone();
        let reference = container.image.clone().unwrap_or_default();
        let image = self.ctx.config.catalog.resolve(&reference).map_err(|err| Refused {
            reason: match &err {
                ImageError::Invalid(_) => "InvalidImageName",
                _ => "ErrImagePull",
            },
            message: err.to_string(),
        })?;
        let config = |err: &dyn std::fmt::Display| Refused {
            reason: "CreateContainerConfigError",
            message: err.to_string(),
        };
        let objects = self.objects(&container).await.map_err(|err| config(&err))?;
        let env = env::build(&self.pod, &container, &image.env, &objects, &self.facts)
            .map_err(|err| config(&err))?;
        let launch = Launch {
            pod: &self.pod,
            container: &container,
            image: &image,
            env: &env,
            dirs: &self.dirs,
            node_memory_bytes: self.ctx.node_memory_bytes,
        };
        let spec = launch.spec(&self.id).map_err(|err| config(&err))?;
        let made = self
            .make(spec, &container)
            .map_err(|err| Refused { reason: "CreateContainerError", message: err.to_string() })?;
        Ok(made)
    }

    fn container(&self) -> Result<&Container, Refused> {
        let member = pods::member(pods::spec(&self.pod), &self.name);
        member.map(|member| member.container).ok_or_else(|| Refused {
            reason: "CreateContainerConfigError",
            message: format!("the pod has no container {}", self.name),
        })
    }

    async fn objects(&self, container: &Container) -> Result<Objects, kube::Error> {
        let namespace = pods::namespace(&self.pod);
        let references = env::references(container);
        let mut objects = self.ctx.sources.objects(namespace, &references).await?;
        let links = pods::spec(&self.pod).enable_service_links != Some(false);
        objects.services = self.ctx.sources.services(namespace, links);
        Ok(objects)
    }

    /// Directories, pipes, files and the log of this run.
    fn make(self, mut spec: ContainerSpec, container: &Container) -> std::io::Result<Prepared> {
        std::fs::create_dir_all(&spec.root_dir)?;
        let message = self.dirs.termination().join(&self.id);
        std::fs::write(&message, "")?;
        std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666))?;
        let pipes = if container.tty == Some(true) {
            on_terminal(&mut spec.process, container)?
        } else {
            let stdin = self.dirs.io().join(format!("{}.in", self.id));
            on_pipes(&mut spec.process, container, stdin)?
        };
        let key = LogKey {
            pod_uid: pods::uid(&self.pod).to_owned(),
            container: self.name.clone(),
            run: self.restarts,
        };
        let log = LogWriter::create(&self.ctx.logs, &key, ROTATE_BYTES)?;
        self.ctx.logs.prune(&key.pod_uid, &key.container);
        Ok(Prepared { id: self.id, spec, log, pipes })
    }
}

/// Gives the program pipes; one for its input only where the pod asks for it.
fn on_pipes(
    process: &mut ProcessSpec,
    container: &Container,
    stdin: PathBuf,
) -> std::io::Result<Pipes> {
    let (stdout, hold_out) = open_pipe(process.stdout.as_deref())?;
    let (stderr, hold_err) = open_pipe(process.stderr.as_deref())?;
    let mut hold = vec![hold_out.into_blocking_fd()?, hold_err.into_blocking_fd()?];
    let mut console = Console::default();
    if container.stdin == Some(true) {
        let (reader, writer) = open_pipe(Some(&stdin))?;
        hold.push(reader.into_blocking_fd()?);
        process.stdin = Some(stdin);
        console = Console::with_input(writer, container.stdin_once == Some(true));
    }
    Ok(Pipes { stdout: Box::new(stdout), stderr: Box::new(stderr), hold, console })
}

/// Gives the program a terminal (`tty: true`).
fn on_terminal(process: &mut ProcessSpec, container: &Container) -> std::io::Result<Pipes> {
    let (terminal, far) = Terminal::open(process.uid)?;
    process.terminal = Some(terminal.path().to_path_buf());
    if !process.env.iter().any(|(name, _)| name == "TERM") {
        process.env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let console = if container.stdin == Some(true) {
        Console::with_input(terminal.writer()?, false)
    } else {
        Console::default()
    };
    let stdout = Box::new(terminal.reader()?);
    let stderr = Box::new(tokio::io::empty());
    Ok(Pipes { stdout, stderr, hold: vec![far], console: console.on(terminal) })
}

/// Makes a FIFO any user of the pod may write (`/dev/stdout` is opened by name), and opens it.
fn open_pipe(path: Option<&Path>) -> std::io::Result<(pipe::Receiver, pipe::Sender)> {
    let path = path.ok_or_else(|| std::io::Error::other("the container has no output"))?;
    mkfifo(path, Mode::from_bits_truncate(0o600))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    let receiver = pipe::OpenOptions::new().open_receiver(path)?;
    let sender = pipe::OpenOptions::new().open_sender(path)?;
    Ok((receiver, sender))
}

/// The wait before a refused container is tried again: as a crash's, without the free first try.
pub(super) fn retry_at(ctx: &Context, refusals: u32, reason: &str, now: Timestamp) -> Timestamp {
    let limits = &ctx.config.backoff;
    let wait = if reason == "ErrImagePull" {
        limits.first.saturating_mul(2_u32.saturating_pow(refusals.min(16))).min(limits.longest)
    } else {
        ctx.config.retry
    };
    crate::kubelet::state::later(now, wait)
}
