//! Asks the host's resolvers, from the host's network namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::resolvers::Upstreams;

/// Questions asked at a time; further ones fail at once.
const QUESTIONS: usize = 128;
/// How long one server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest UDP answer asked for, in bytes.
const UDP_MESSAGE: u16 = 1232;

/// A client of the host's resolvers.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: Upstreams,
    slots: Semaphore,
}

impl Forwarder {
    /// A client of these servers.
    pub fn new(upstreams: Upstreams) -> Self {
        Self { upstreams, slots: Semaphore::new(QUESTIONS) }
    }

    /// Completes `reply` with the servers' answer to `question`: `REFUSED` when there are no
    /// servers, `SERVFAIL` when none answers.
    pub async fn complete(&self, mut reply: Message, question: &Query) -> Message {
        let servers = self.upstreams.servers().await;
        if servers.is_empty() {
            reply.metadata.response_code = ResponseCode::Refused;
            return reply;
        }
        match self.ask(&servers, question).await {
            Some(answer) => {
                reply.metadata.authoritative = false;
                reply.metadata.response_code = answer.metadata.response_code;
                reply.add_answers(answer.answers);
                reply.add_authorities(answer.authorities);
                reply.additionals.extend(answer.additionals);
            }
            None => reply.metadata.response_code = ResponseCode::ServFail,
        }
        reply
    }

    /// The first sensible answer, trying the servers in order.
    async fn ask(&self, servers: &[SocketAddr], question: &Query) -> Option<Message> {
        let _slot = self.slots.try_acquire().ok()?;
        for server in servers {
            match tokio::time::timeout(PATIENCE, ask_one(*server, question)).await {
                Ok(Ok(answer)) if answer.metadata.response_code != ResponseCode::ServFail => {
                    return Some(answer);
                }
                Ok(Ok(_)) => {}
                Ok(Err(err)) => tracing::debug!(%server, error = %err, "resolver failed"),
                Err(_) => tracing::debug!(%server, "resolver did not answer"),
            }
        }
        None
    }
}

/// Asks over UDP, and over TCP when the answer was cut.
async fn ask_one(server: SocketAddr, question: &Query) -> io::Result<Message> {
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
    let mut stream = TcpStream::connect(server).await?;
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

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn question() -> Query {
        Query::query(Name::from_ascii("example.org.").expect("a name"), RecordType::A)
    }

    async fn complete(servers: Vec<SocketAddr>) -> Message {
        let forwarder = Forwarder::new(Upstreams::Fixed(servers));
        let reply = Message::response(7, hickory_proto::op::OpCode::Query);
        forwarder.complete(reply, &question()).await
    }

    /// A resolver that first sends an answer with a wrong id, then the right one.
    async fn resolver(socket: UdpSocket) {
        let mut buffer = [0; 1500];
        let (count, client) = socket.recv_from(&mut buffer).await.expect("a request");
        let request = Message::from_vec(&buffer[..count]).expect("decodes");
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.add_queries(request.queries.clone());
        for (id, last) in [(request.metadata.id ^ 1, 66), (request.metadata.id, 9)] {
            answer.metadata.id = id;
            let data = RData::A(A::new(192, 0, 2, last));
            answer.answers = vec![Record::from_rdata(question().name().clone(), 60, data)];
            socket.send_to(&answer.to_vec().expect("encodes"), client).await.expect("sent");
        }
    }

    #[tokio::test]
    async fn the_answer_is_taken_over_and_forgeries_are_not() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address");
        let (reply, ()) = tokio::join!(complete(vec![address]), resolver(socket));
        assert_eq!(reply.metadata.id, 7);
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].data.to_string(), "192.0.2.9");
    }

    #[tokio::test]
    async fn without_servers_names_are_refused() {
        let reply = complete(Vec::new()).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    }

    #[tokio::test]
    async fn servers_that_are_gone_fail() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let gone = socket.local_addr().expect("address");
        drop(socket);
        let reply = complete(vec![gone]).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    }
}
