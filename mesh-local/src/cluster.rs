//! A whole cluster in this process: the only file that knows every part.

mod parts;
mod shutdown;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use mesh_rt::drain;
use mesh_rt::runtime::{self, RuntimeSettings};
use mesh_rt::tasks::Tasks;
use mesh_rt::telemetry::{self, LogFormat, LogSettings};
use tokio::net::TcpListener;

use crate::host::{BecomeRootError, Privilege, become_cluster_root, preflight};
use crate::instance::{Paths, Progress, State, lock};

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Its files.
    pub paths: Paths,
    /// Port of the API server on 127.0.0.1; 0 is any free one.
    pub port: u16,
    /// Whether pods reach the outside ([`crate::egress`]).
    pub egress: bool,
    /// Where the programs of pods are, beside `meshctl` itself.
    pub programs: PathBuf,
    /// What to log, as `LOG_LEVEL` writes it.
    pub log_filter: String,
}

/// Why a cluster cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The machine lacks something, or forbids it; the text says what to do.
    #[error("{0}")]
    Machine(String),
    /// The machine does not let an ordinary user make namespaces.
    #[error(transparent)]
    Privilege(#[from] BecomeRootError),
    /// Another server runs on these files.
    #[error("a local cluster is running already on {}", .0.display())]
    Running(PathBuf),
    /// A file cannot be used.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The API server's port is taken.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another with --port")]
    Port {
        /// The port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// The API server did not start.
    #[error("the API server cannot start: {0}")]
    Api(#[from] crate::api::StartError),
    /// The node's network could not be made.
    #[error("the node's network cannot be made: {0}")]
    Network(#[from] crate::net::NodeError),
    /// Pods could not be given a way to the outside.
    #[error("{0}; `meshctl local up --egress=false` does without")]
    Egress(#[from] crate::egress::EgressError),
    /// Anything else that a part needs.
    #[error("{what}: {source}")]
    Part {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Runs a cluster until SIGTERM. `tell` hears of each step, and at last that all is ready or why
/// it is not. To be called before this process has a second thread.
pub fn run(config: ClusterConfig, tell: fn(&Progress)) -> ExitCode {
    let failed = |error: &ClusterError| {
        tell(&Progress::Failed(error.to_string()));
        ExitCode::FAILURE
    };
    let privilege = match prepare(&config) {
        Ok(privilege) => privilege,
        Err(error) => return failed(&error),
    };
    let held = match take_lock(&config.paths) {
        Ok(held) => held,
        Err(error) => return failed(&error),
    };
    mesh_rt::crypto::install();
    let logs = LogSettings { format: LogFormat::Plain, filter: config.log_filter.clone() };
    if let Err(error) = telemetry::init(&logs) {
        return failed(&ClusterError::Machine(error.to_string()));
    }
    let runtime = match runtime::build("cluster", RuntimeSettings::default()) {
        Ok(runtime) => runtime,
        Err(source) => return failed(&ClusterError::Part { what: "start threads", source }),
    };
    let outcome = runtime.block_on(live(config, privilege, tell));
    drop(held);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the cluster ends");
            failed(&error)
        }
    }
}

/// Leaves the terminal and becomes root of a user namespace where that is needed.
fn prepare(config: &ClusterConfig) -> Result<Privilege, ClusterError> {
    if let Some(message) = preflight().message() {
        return Err(ClusterError::Machine(message));
    }
    // A session leader already (started by hand in a terminal of its own) is as good.
    let _leader = nix::unistd::setsid();
    config
        .paths
        .create()
        .map_err(|source| ClusterError::File { path: config.paths.root().to_path_buf(), source })?;
    Ok(become_cluster_root()?)
}

/// Takes the lock and removes what the last server said of itself.
fn take_lock(paths: &Paths) -> Result<lock::Held, ClusterError> {
    let file = |path: PathBuf| move |source| ClusterError::File { path, source };
    let held = lock::try_acquire(paths).map_err(file(paths.lock()))?;
    let held = held.ok_or_else(|| ClusterError::Running(paths.root().to_path_buf()))?;
    match std::fs::remove_file(paths.state()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(paths.state())(error)),
        _ => Ok(held),
    }
}

async fn live(
    config: ClusterConfig,
    privilege: Privilege,
    tell: fn(&Progress),
) -> Result<(), ClusterError> {
    let (trigger, _watcher) = drain::channel();
    let tasks = Tasks::new(trigger);
    let listener = listen(config.port).await?;
    let address = listener
        .local_addr()
        .map_err(|source| ClusterError::Part { what: "read the API server's address", source })?;
    let parts = parts::start(&config, listener, &tasks, tell).await?;
    let state = State {
        pid: nix::unistd::getpid().as_raw(),
        api_server: format!("https://{address}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        privilege: describe(privilege).to_owned(),
        egress: config.egress,
    };
    parts.write_kubeconfig(&config.paths, &state)?;
    state
        .save(&config.paths)
        .map_err(|source| ClusterError::File { path: config.paths.state(), source })?;
    tell(&Progress::Ready(state));
    shutdown::wait(parts, &tasks).await
}

async fn listen(port: u16) -> Result<TcpListener, ClusterError> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .map_err(|source| ClusterError::Port { port, source })
}

fn describe(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Root => "root",
        Privilege::UserNamespace { ranges: true } => {
            "an ordinary user, with a range of user ids (newuidmap)"
        }
        Privilege::UserNamespace { ranges: false } => {
            "an ordinary user, with one user id: every container runs as it"
        }
    }
}
