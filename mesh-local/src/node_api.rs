//! What the API server asks of the node: container logs, commands in containers, connections to
//! ports of pods and to cluster addresses.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use local_model::refusal::Refusal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::stream::channel::{Incoming, Outgoing};

/// Which log is wanted, and how much of it: the options of `pods/log`, checked and defaulted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod; the pod existed when the request was made.
    pub pod: String,
    /// Name of one of the pod's containers (init containers included).
    pub container: String,
    /// Keep the stream open until the container ends.
    pub follow: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines written at this time or later.
    pub since: Option<Timestamp>,
    /// Put an RFC 3339 time and a space before each line.
    pub timestamps: bool,
    /// The log of the previous instance of the container.
    pub previous: bool,
    /// End the stream after this many bytes.
    pub limit_bytes: Option<u64>,
}

/// The bytes of a log as they come; it ends when the container ends or the limit is reached.
/// Dropping it stops the reading.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// A pod of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a pod of the same name that came later is another one.
    pub uid: String,
}

impl PodRef {
    /// The pod in a stored object.
    pub fn of(pod: &Value) -> Self {
        let part = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
        Self { namespace: part("namespace"), name: part("name"), uid: part("uid") }
    }
}

/// What is done in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandAction {
    /// A new process: program and arguments, at least one word.
    Exec(Vec<String>),
    /// The container's own process is watched, and spoken to where it reads its input.
    Attach,
}

/// A command in a container, or the container's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRequest {
    /// The pod.
    pub pod: PodRef,
    /// One of its containers.
    pub container: String,
    /// What is to be done.
    pub action: CommandAction,
    /// On a terminal: one stream of output, and a size.
    pub tty: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// The client's streams. One that is absent was not asked for.
#[derive(Debug, Default)]
pub struct CommandStreams {
    /// Standard input.
    pub stdin: Option<Incoming>,
    /// Standard output; all output of a terminal.
    pub stdout: Option<Outgoing>,
    /// Standard error.
    pub stderr: Option<Outgoing>,
    /// Sizes of the terminal, as they change.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// With this exit code.
    Exited(i32),
    /// Early, or before it began: why.
    Failed(String),
}

/// A command that may begin: it runs while the future is polled, and ends with it.
pub type Command = Box<dyn FnOnce(CommandStreams) -> BoxFuture<'static, CommandEnd> + Send>;

/// What the node offers to the API server.
pub trait NodeApi: Send + Sync + 'static {
    /// Opens the log of a container. Refuses with `BadRequest` when the container has not
    /// started or has no previous instance.
    fn pod_logs(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Refusal>>;

    /// Finds the container of a command. Refuses with `InternalError`, as a kubelet does, when the
    /// container does not run.
    fn pod_command(&self, request: CommandRequest) -> BoxFuture<'static, Result<Command, Refusal>>;

    /// Connects to a port of a pod from inside the pod, where only the pod's own loopback address
    /// is needed. No time limit of its own.
    fn pod_connect(&self, pod: PodRef, port: u16) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// A way from the API server to cluster addresses (service and pod IPs): webhooks are called
/// through it.
pub trait Connector: Send + Sync + 'static {
    /// Opens a TCP connection to a service or pod address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// Connects from the server's own network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainConnector;

impl Connector for PlainConnector {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}
