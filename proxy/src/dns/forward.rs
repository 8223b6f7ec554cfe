//! Asks the pod's own servers about names that the mesh does not know.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::Semaphore;
use tracing::debug;

use super::answer::UDP_MESSAGE;

/// Questions under way at a time; further ones fail at once.
const QUESTIONS: usize = 512;
/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Capture leaves sockets with this mark alone, so that questions are not asked of ourselves.
const MARK: u32 = 1337;

/// A client of the pod's servers.
#[derive(Debug)]
pub struct Forwarder {
    servers: Vec<SocketAddr>,
    parallel: bool,
    slots: Semaphore,
}

impl Forwarder {
    /// Asks these servers in order, or all at once.
    pub fn new(servers: Vec<SocketAddr>, parallel: bool) -> Self {
        Self { servers, parallel, slots: Semaphore::new(QUESTIONS) }
    }

    /// Completes `reply` with an answer to `question`: `REFUSED` without servers, `SERVFAIL` when
    /// none answers.
    pub async fn complete(&self, mut reply: Message, question: &Query) -> Message {
        if self.servers.is_empty() {
            reply.metadata.response_code = ResponseCode::Refused;
            return reply;
        }
        match self.ask(question).await {
            Some(answer) => {
                reply.metadata.response_code = answer.metadata.response_code;
                reply.add_answers(answer.answers);
                reply.add_authorities(answer.authorities);
                reply.additionals.extend(answer.additionals);
            }
            None => reply.metadata.response_code = ResponseCode::ServFail,
        }
        reply
    }

    /// The answer of a server; `None` when none answers, or too many questions are under way.
    pub async fn ask(&self, question: &Query) -> Option<Message> {
        let _slot = self.slots.try_acquire().ok()?;
        if !self.parallel {
            for server in &self.servers {
                if let Some(answer) = ask_one(*server, question).await {
                    return Some(answer);
                }
            }
            return None;
        }
        let mut asked: FuturesUnordered<_> =
            self.servers.iter().map(|server| ask_one(*server, question)).collect();
        while let Some(answer) = asked.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

/// A sensible answer of one server, over UDP, and over TCP when it was cut.
async fn ask_one(server: SocketAddr, question: &Query) -> Option<Message> {
    match tokio::time::timeout(PATIENCE, exchange(server, question)).await {
        Ok(Ok(answer)) => {
            (answer.metadata.response_code != ResponseCode::ServFail).then_some(answer)
        }
        Ok(Err(reason)) => {
            debug!(%server, "DNS server failed: {reason}");
            None
        }
        Err(_elapsed) => {
            debug!(%server, "DNS server did not answer");
            None
        }
    }
}

async fn exchange(server: SocketAddr, question: &Query) -> io::Result<Message> {
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    request.add_query(question.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_MESSAGE);
    request.set_edns(edns);
    let bytes = request.to_vec().map_err(io::Error::other)?;
    let answer = over_udp(server, &request, &bytes).await?;
    if answer.metadata.truncation { over_tcp(server, &request, &bytes).await } else { Ok(answer) }
}

async fn over_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Without the capability the rule by user takes its place.
    let _marked = SockRef::from(&socket).set_mark(MARK);
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(UDP_MESSAGE)];
    loop {
        let count = socket.recv(&mut buffer).await?;
        // Anything else may be forged: the real answer is waited for.
        if let Some(answer) = fitting(request, &buffer[..count]) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, request: &Message, bytes: &[u8]) -> io::Result<Message> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let _marked = SockRef::from(&socket).set_mark(MARK);
    let mut stream = socket.connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    fitting(request, &buffer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The message, when it answers the request.
fn fitting(request: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == request.metadata.id
        && answer.queries == request.queries;
    fits.then_some(answer)
}
