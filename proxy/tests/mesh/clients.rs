//! Clients of the tests: HTTP/2 on one connection, and continuous load that counts its failures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_rt::tasks::{TaskHandle, Tasks};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::pods::PATIENCE;

type Body = Full<Bytes>;

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: HeaderMap,
}

/// A client on one connection, by prior knowledge of the version.
pub(crate) enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Sender {
    pub(crate) async fn connect(tasks: &Tasks, at: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tasks.spawn_background("client", connection);
            Self::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tasks.spawn_background("client", connection);
            Self::One(sender)
        }
    }

    /// Sends a request; nothing when not one byte of it was sent, for the connection has ended.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Option<Answer>, String> {
        let sending = async {
            let sent = match self {
                Self::One(sender) => {
                    if sender.ready().await.is_err() {
                        return Ok(None);
                    }
                    sender.try_send_request(request).await
                }
                Self::Two(sender) => {
                    if sender.ready().await.is_err() {
                        return Ok(None);
                    }
                    sender.try_send_request(request).await
                }
            };
            let response = match sent {
                Ok(response) => response,
                Err(mut error) => {
                    return match error.take_message() {
                        Some(_unsent) => Ok(None),
                        None if refused(error.error()) => Ok(None),
                        None => Err(format!("{:?}", error.into_error())),
                    };
                }
            };
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok(Some(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                trailers,
            }))
        };
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(sent) => sent,
            Err(_elapsed) => Err("no answer".to_owned()),
        }
    }
}

/// Whether the other end says that it did not look at the request (RFC 9113 §6.8).
fn refused(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    source.is_some_and(|error: &h2::Error| error.is_go_away() && error.is_remote())
}

/// A request for the version.
pub(crate) fn request(version: Version, host: &str, path: &str, body: &str) -> Request<Body> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let builder = Request::builder().method(method);
    let builder = match version {
        Version::HTTP_2 => builder.version(version).uri(format!("http://{host}{path}")),
        _ => builder.uri(path).header("host", host),
    };
    builder.body(Full::from(body.to_owned())).unwrap()
}

/// Clients that send one request after the other, and connect again when a connection was ended
/// as its protocol ends connections.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<TaskHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: watch::Sender<u64>,
    connections: watch::Sender<u64>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// One client each of HTTP/1.1 and HTTP/2, each with GET and POST.
    pub(crate) fn start(tasks: &Tasks, at: SocketAddr, host: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = [Version::HTTP_11, Version::HTTP_2].map(|version| {
            let (own, shared) = (tasks.clone(), Arc::clone(&shared));
            tasks.spawn_background("load", async move {
                shared.run(&own, at, version, host).await;
            })
        });
        Self { shared, clients: clients.into() }
    }

    /// Waits for so many more answers.
    pub(crate) async fn more(&self, count: u64) {
        let mut done = self.shared.done.subscribe();
        let target = *done.borrow() + count;
        self.reach(&mut done, target).await;
    }

    /// Waits until there were so many connections.
    pub(crate) async fn connected(&self, count: u64) {
        self.reach(&mut self.shared.connections.subscribe(), count).await;
    }

    async fn reach(&self, number: &mut watch::Receiver<u64>, target: u64) {
        let waiting = number.wait_for(|number| *number >= target);
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{:?}", self.shared.failures.lock());
        }
    }

    /// How many connections there were so far.
    pub(crate) fn connections(&self) -> u64 {
        *self.shared.connections.borrow()
    }

    /// Ends the clients, and returns what failed.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        std::mem::take(&mut *self.shared.failures.lock())
    }
}

impl Shared {
    async fn run(&self, tasks: &Tasks, at: SocketAddr, version: Version, host: &str) {
        let mut number = 0_u64;
        while !self.stop.load(Ordering::SeqCst) {
            self.connections.send_modify(|number| *number += 1);
            let mut sender = Sender::connect(tasks, at, version).await;
            while !self.stop.load(Ordering::SeqCst) {
                number += 1;
                let body = if number.is_multiple_of(2) { "some" } else { "" };
                match sender.send(request(version, host, "/load", body)).await {
                    Ok(Some(answer)) if answer.status == 200 => {
                        self.done.send_modify(|number| *number += 1);
                    }
                    Ok(None) => break,
                    other => self.failures.lock().push(format!("{version:?} {number} {other:?}")),
                }
                if self.failures.lock().len() > 20 {
                    return;
                }
            }
        }
    }
}
