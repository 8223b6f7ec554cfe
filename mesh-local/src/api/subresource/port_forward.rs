//! `pods/portforward`: connections to ports of a pod, as streams of one connection.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Response;
use local_model::refusal::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::api::body::ResponseBody;
use crate::api::error::Result;
use crate::api::query::Query;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::api::subresource::container;
use crate::api::upgrade::{self, Wire};
use crate::node_api::{NodeApi, PodRef};
use crate::stream::channel::{Incoming, Outgoing};
use crate::stream::spdy::{self, Acceptor, Opened};
use crate::stream::tunnel::Tunnel;
use crate::stream::websocket;

/// SPDY streams in pairs: one for data, one for the error.
const FORWARD: &str = "portforward.k8s.io";
/// The same, inside websocket messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Websocket channels in pairs, two for each port of the query.
const CHANNELS: &str = "v4.channel.k8s.io";

/// Ports of one websocket.
const PORTS: usize = 64;
/// How long the second stream of a pair may take.
const PAIR: Duration = Duration::from_secs(30);
/// How long a port may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes read from a connection at once.
const CHUNK: usize = 32 * 1024;

/// Answers a request to forward ports.
pub(super) fn serve(server: &Arc<Server>, request: &Request) -> Result<Response<ResponseBody>> {
    upgrade::authorize(server, request)?;
    let pod = server
        .store
        .get(&request.resource.storage, &request.key())
        .ok_or_else(|| request.not_found())?;
    container::check_host(&pod)?;
    let agreement = upgrade::agree(server, request, &[TUNNEL, CHANNELS], &[FORWARD])?;
    let wanted = if agreement.protocol == CHANNELS { ports(&request.query)? } else { Vec::new() };
    let forward = Forward { node: server.node()?, pod: PodRef::of(&pod) };
    let (wire, protocol) = (agreement.wire, agreement.protocol);
    let shutdown = server.shutdown.clone();
    Ok(server.upgrades.start(agreement, shutdown, move |io| async move {
        match (wire, protocol) {
            (Wire::Spdy, _) => forward.spdy(io).await,
            (Wire::WebSocket, TUNNEL) => {
                forward.spdy(Tunnel::new(websocket::accept(io).await)).await;
            }
            (Wire::WebSocket, _) => forward.channels(io, &wanted).await,
        }
    }))
}

/// The ports of a websocket request: `?ports=8080,9090`.
fn ports(query: &Query) -> std::result::Result<Vec<u16>, Refusal> {
    let all = query.all("ports");
    let ports: Vec<u16> = all
        .iter()
        .flat_map(|value| value.split(','))
        .map(|text| {
            let port = text.parse().ok().filter(|port: &u16| *port > 0);
            port.ok_or_else(|| {
                Refusal::bad_request(format!(
                    "ports: Invalid value: {text:?}: must be between 1 and 65535"
                ))
            })
        })
        .collect::<std::result::Result<_, _>>()?;
    match ports.len() {
        0 => Err(Refusal::bad_request("query parameter \"ports\" is required")),
        1..=PORTS => Ok(ports),
        count => Err(Refusal::bad_request(format!("ports: Too many: {count}: at most {PORTS}"))),
    }
}

/// The pod that is connected to.
#[derive(Clone)]
struct Forward {
    node: Arc<dyn NodeApi>,
    pod: PodRef,
}

impl Forward {
    /// A pair of channels for each port.
    async fn channels<T>(&self, io: T, ports: &[u16])
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let count = u8::try_from(2 * ports.len()).unwrap_or(u8::MAX);
        let (channels, work) = websocket::channels(websocket::accept(io).await, count, false);
        let mut channels = channels.into_iter();
        let connections: FuturesUnordered<_> = ports
            .iter()
            .map_while(|port| {
                let (data, error) = (channels.next()?, channels.next()?.1);
                Some(async move {
                    // Both channels begin with the port, so that the client knows which they are.
                    let begin = Bytes::copy_from_slice(&port.to_le_bytes());
                    if data.1.send(begin.clone()).await.is_ok() && error.send(begin).await.is_ok() {
                        self.connection(*port, data, error).await;
                    }
                })
            })
            .collect();
        let used = connections.for_each(|()| async {});
        carry(used, work).await;
    }

    /// A pair of streams for each connection of the client.
    async fn spdy<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (acceptor, work) = spdy::session(io);
        carry(self.pairs(acceptor), work).await;
    }

    async fn pairs(&self, mut acceptor: Acceptor) {
        let mut connections: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut halves: HashMap<String, Half> = HashMap::new();
        loop {
            let deadline = halves.values().map(|half| half.deadline).min();
            let expired = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                opened = acceptor.next() => {
                    let Some(opened) = opened else { return };
                    if let Some(pair) = join(&mut halves, opened).await {
                        connections.push(Box::pin(async move {
                            self.connection(pair.port, pair.data, pair.error).await;
                        }));
                    }
                }
                Some(()) = connections.next() => {}
                () = expired => {
                    let now = Instant::now();
                    let late = halves.extract_if(|_, half| half.deadline <= now);
                    for (_, half) in late.collect::<Vec<_>>() {
                        half.stream.outgoing.reset().await;
                    }
                }
            }
        }
    }

    /// One connection to a port of the pod. What fails is told on the error stream.
    async fn connection(&self, port: u16, data: (Incoming, Outgoing), error: Outgoing) {
        let pod = self.pod.clone();
        let dialled = tokio::time::timeout(CONNECT, self.node.pod_connect(pod, port)).await;
        let (why, unused) = match dialled {
            Ok(Ok(stream)) => {
                // A connection that breaks has ended, no more: an error would make kubectl give
                // up all others.
                if let Err(err) = copy(stream, data).await {
                    tracing::debug!(port, %err, "a forwarded connection broke");
                }
                return error.close().await;
            }
            Ok(Err(err)) => (err.to_string(), data),
            Err(_) => (format!("no answer from port {port} within {}s", CONNECT.as_secs()), data),
        };
        let PodRef { name, uid, .. } = &self.pod;
        let message = format!("error forwarding port {port} to pod {name}, uid {uid}: {why}");
        // The client may be gone, which is as good as told.
        let _ = error.send(Bytes::from(message)).await;
        error.close().await;
        unused.1.close().await;
    }
}

/// The first stream of a pair.
struct Half {
    stream: Opened,
    is_data: bool,
    deadline: Instant,
}

struct Pair {
    port: u16,
    data: (Incoming, Outgoing),
    error: Outgoing,
}

/// Finds the other half of a stream; refuses streams that are neither half.
async fn join(halves: &mut HashMap<String, Half>, stream: Opened) -> Option<Pair> {
    let is_data = match stream.header("streamtype") {
        Some("data") => true,
        Some("error") => false,
        _ => {
            stream.outgoing.reset().await;
            return None;
        }
    };
    let port = stream.header("port").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let (Some(port), Some(id)) = (port, stream.header("requestid").map(str::to_owned)) else {
        stream.outgoing.reset().await;
        return None;
    };
    match halves.remove(&id) {
        None => {
            let deadline = Instant::now() + PAIR;
            halves.insert(id, Half { stream, is_data, deadline });
            None
        }
        Some(half) if half.is_data == is_data => {
            stream.outgoing.reset().await;
            halves.insert(id, half);
            None
        }
        Some(half) => {
            let (data, error) = if is_data { (stream, half.stream) } else { (half.stream, stream) };
            let data = (data.incoming, data.outgoing);
            Some(Pair { port, data, error: error.outgoing })
        }
    }
}

/// Copies both ways until the pod has said all.
async fn copy(stream: TcpStream, data: (Incoming, Outgoing)) -> std::io::Result<()> {
    let (mut incoming, outgoing) = data;
    let ended = copy_both(stream, &mut incoming, &outgoing).await;
    outgoing.close().await;
    ended
}

async fn copy_both(
    stream: TcpStream,
    incoming: &mut Incoming,
    outgoing: &Outgoing,
) -> std::io::Result<()> {
    let (mut from_pod, mut to_pod) = stream.into_split();
    let up = async {
        while let Some(bytes) = incoming.recv().await {
            to_pod.write_all(&bytes).await?;
        }
        to_pod.shutdown().await
    };
    let down = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = from_pod.read(&mut chunk).await?;
            if count == 0 || outgoing.send(Bytes::copy_from_slice(&chunk[..count])).await.is_err() {
                return Ok(());
            }
        }
    };
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        ended = &mut down => ended,
        // A client that has said all may still listen; a pod that no longer reads may still talk.
        said = &mut up => match down.await {
            Ok(()) => Ok(()),
            Err(err) => said.and(Err(err)),
        },
    }
}

/// Runs the streams of a connection until its user is done or its client has gone.
pub(super) async fn carry<E: std::fmt::Display>(
    user: impl Future<Output = ()>,
    work: impl Future<Output = std::result::Result<(), E>>,
) {
    let mut work = pin!(work);
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = user => work.await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a streaming connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_query() {
        for (text, expected) in [
            ("ports=80", Ok(vec![80])),
            ("ports=80,81&ports=82", Ok(vec![80, 81, 82])),
            ("", Err("query parameter \"ports\" is required")),
            ("ports=0", Err("ports: Invalid value: \"0\": must be between 1 and 65535")),
            ("ports=80,x", Err("ports: Invalid value: \"x\": must be between 1 and 65535")),
        ] {
            let found = ports(&Query::parse(text)).map_err(|refusal| refusal.message);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
        let many = vec!["1"; PORTS + 1].join(",");
        assert!(ports(&Query::parse(&format!("ports={many}"))).is_err());
    }
}
