//! The DNS server's sockets: UDP and TCP on the DNS service address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer::{Decision, decide, encode};
use super::forward::Forwarder;
use super::resolvers::Upstreams;
use super::zone::Zone;
use crate::net::{Node, NodeConfig};
use crate::service_proxy::ServiceTable;

/// The DNS port.
const PORT: u16 = 53;
/// Largest UDP request, in bytes.
const UDP_REQUEST: usize = 4096;
/// Forwarded UDP requests at a time; further ones get `SERVFAIL`.
const WAITING: usize = 256;
/// TCP connections at a time; further ones wait.
const CONNECTIONS: usize = 64;
/// How long a TCP client may be silent, and how long it may take to read an answer.
const IDLE: Duration = Duration::from_secs(10);
/// How long to wait after an error of a socket.
const PAUSE: Duration = Duration::from_millis(50);

/// The cluster's DNS server, listening.
#[derive(Debug)]
pub struct DnsServer {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    answers: Arc<Answers>,
    config: NodeConfig,
}

#[derive(Debug)]
struct Answers {
    zone: ArcSwap<Zone>,
    forwarder: Forwarder,
    turn: AtomicUsize,
}

impl DnsServer {
    /// Listens on the node's DNS address. Names outside the cluster are asked from `upstreams`.
    ///
    /// # Errors
    /// Those of binding the sockets.
    pub async fn bind(node: &Node, upstreams: Upstreams) -> io::Result<Self> {
        let config = node.config().clone();
        let address = SocketAddr::from((config.dns_server, PORT));
        let zone = Zone::build(&ServiceTable::default(), &config);
        Ok(Self {
            udp: Arc::new(node.bind_udp(address).await?),
            tcp: node.listen_tcp(address).await?,
            answers: Arc::new(Answers {
                zone: ArcSwap::from_pointee(zone),
                forwarder: Forwarder::new(upstreams),
                turn: AtomicUsize::new(0),
            }),
            config,
        })
    }

    /// Answers until it is dropped. The zone follows `table`.
    pub async fn run(self, table: watch::Receiver<Arc<ServiceTable>>) {
        let Self { udp, tcp, answers, config } = self;
        tokio::join!(
            follow(table, Arc::clone(&answers), config),
            serve_udp(udp, Arc::clone(&answers)),
            serve_tcp(tcp, answers),
        );
    }
}

async fn follow(
    mut table: watch::Receiver<Arc<ServiceTable>>,
    answers: Arc<Answers>,
    config: NodeConfig,
) {
    loop {
        let current = Arc::clone(&table.borrow_and_update());
        answers.zone.store(Arc::new(Zone::build(&current, &config)));
        if table.changed().await.is_err() {
            return;
        }
    }
}

impl Answers {
    fn decide(&self, request: &[u8]) -> Decision {
        decide(&self.zone.load(), request, self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// The bytes to send back, if any.
    async fn answer(&self, request: &[u8], udp: bool) -> Option<Vec<u8>> {
        self.finish(self.decide(request), request, udp).await
    }

    async fn finish(&self, decision: Decision, request: &[u8], udp: bool) -> Option<Vec<u8>> {
        let reply = match decision {
            Decision::Ignore => return None,
            Decision::Reply(reply) => reply,
            Decision::Ask { reply, question } => self.forwarder.complete(reply, &question).await,
        };
        Some(encode(&reply, request, udp))
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, answers: Arc<Answers>) {
    let mut buffer = vec![0; UDP_REQUEST];
    let mut waiting: JoinSet<()> = JoinSet::new();
    loop {
        let (count, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(err) => {
                tracing::debug!(error = %err, "DNS request not received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while waiting.try_join_next().is_some() {}
        let request = &buffer[..count];
        let decision = match answers.decide(request) {
            Decision::Ask { mut reply, .. } if waiting.len() >= WAITING => {
                reply.metadata.response_code = ResponseCode::ServFail;
                Decision::Reply(reply)
            }
            other => other,
        };
        if let Decision::Ask { .. } = decision {
            let (socket, answers, request) =
                (Arc::clone(&socket), Arc::clone(&answers), request.to_vec());
            waiting.spawn(async move {
                if let Some(reply) = answers.finish(decision, &request, true).await {
                    // A reply that cannot be sent is lost, and asked for again.
                    let _ = socket.send_to(&reply, client).await;
                }
            });
        } else if let Some(reply) = answers.finish(decision, request, true).await {
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, answers: Arc<Answers>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(err) => {
                tracing::debug!(error = %err, "DNS connection not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let answers = Arc::clone(&answers);
        connections.spawn(async move {
            let _slot = slot;
            // A client that ends its connection in the middle has lost interest.
            let _ = converse(stream, &answers).await;
        });
    }
}

/// Answers one request after the other, until the client ends the connection or is silent.
async fn converse(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    loop {
        let request = tokio::time::timeout(IDLE, read_message(&mut stream)).await??;
        let Some(reply) = answers.answer(&request, false).await else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// One message, which is at most 64 KiB by its framing.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
