//! What the API server asks of the node: container logs, and connections to cluster addresses.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use local_model::refusal::Refusal;
use tokio::net::TcpStream;

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

/// What the node offers to the API server.
pub trait NodeApi: Send + Sync + 'static {
    /// Opens the log of a container. Refuses with `BadRequest` when the container has not
    /// started or has no previous instance.
    fn pod_logs(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Refusal>>;
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
