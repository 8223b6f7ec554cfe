//! The DNS server's sockets: UDP and TCP on one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use hickory_proto::op::Message;
use mesh_rt::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tracing::debug;

use super::answer::{Decision, Names, candidates, decide, encode, host};
use super::forward::Forwarder;

/// Largest UDP request, in bytes.
const UDP_REQUEST: usize = 4096;
/// UDP requests that wait for another server at a time; further ones are dropped, and asked again.
const WAITING: usize = 512;
/// TCP connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// How long to rest after an error of a socket.
const REST: Duration = Duration::from_millis(50);

/// Where the name table of the moment comes from.
pub trait NameSource: Send + Sync {
    /// The table that is held now.
    fn names(&self) -> Box<dyn Names + Send + '_>;

    /// Asks for a host that the table may come to know; ready when it is answered, or when waiting
    /// is over.
    fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()>;
}

/// A DNS server, listening.
pub struct DnsServer {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    answers: Arc<Answers>,
    tasks: Tasks,
}

struct Answers {
    source: Arc<dyn NameSource>,
    forwarder: Forwarder,
    search: Vec<String>,
    turn: AtomicUsize,
}

impl DnsServer {
    /// Listens on `address`, UDP and TCP. `search` are the pod's search domains.
    ///
    /// # Errors
    /// Those of binding the sockets.
    pub async fn bind(
        address: SocketAddr,
        source: Arc<dyn NameSource>,
        forwarder: Forwarder,
        search: Vec<String>,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        // The same port, also where the address leaves it to the system.
        let udp = Arc::new(UdpSocket::bind(tcp.local_addr()?).await?);
        let answers = Answers { source, forwarder, search, turn: AtomicUsize::new(0) };
        Ok(Self { udp, tcp, answers: Arc::new(answers), tasks: tasks.clone() })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until everything has stopped; also while draining.
    pub fn serve(self) {
        let Self { udp, tcp, answers, tasks } = self;
        let over_udp = serve_udp(udp, answers.clone(), tasks.clone());
        let _detached = tasks.spawn_background("dns udp", over_udp);
        let over_tcp = serve_tcp(tcp, answers, tasks.clone());
        let _detached = tasks.spawn_background("dns tcp", over_tcp);
    }
}

impl Answers {
    fn decide(&self, request: &[u8]) -> Decision {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        decide(&*self.source.names(), &self.search, request, turn)
    }

    /// The reply to a request that the table did not answer at once.
    async fn finish(&self, decision: Decision, request: &[u8]) -> Option<Message> {
        let Decision::Forward { question, .. } = &decision else { return done(decision) };
        // Together: what the patience of one question is, is that of all.
        let hosts = candidates(&self.search, &host(question.name()));
        join_all(hosts.iter().map(|host| self.source.ask(host))).await;
        match self.decide(request) {
            Decision::Forward { reply, question } => {
                Some(self.forwarder.complete(reply, &question).await)
            }
            decided => done(decided),
        }
    }
}

fn done(decision: Decision) -> Option<Message> {
    match decision {
        Decision::Reply(reply) | Decision::Forward { reply, .. } => Some(reply),
        Decision::Ignore => None,
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, answers: Arc<Answers>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(WAITING));
    let mut buffer = vec![0; UDP_REQUEST];
    loop {
        let (count, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(reason) => {
                debug!("DNS request not received: {reason}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let request = &buffer[..count];
        match answers.decide(request) {
            decision @ Decision::Forward { .. } => {
                let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                let (socket, answers) = (socket.clone(), answers.clone());
                let request = request.to_vec();
                let _detached = tasks.spawn_background("dns question", async move {
                    if let Some(reply) = answers.finish(decision, &request).await {
                        // A reply that cannot be sent is lost, and asked for again.
                        let _sent = socket.send_to(&encode(&reply, &request, true), client).await;
                    }
                    drop(slot);
                });
            }
            decision => {
                if let Some(reply) = done(decision) {
                    let _sent = socket.send_to(&encode(&reply, request, true), client).await;
                }
            }
        }
    }
}

async fn serve_tcp(listener: TcpListener, answers: Arc<Answers>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _client)) => stream,
            Err(reason) => {
                debug!("DNS connection not accepted: {reason}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let answers = answers.clone();
        let _detached = tasks.spawn_background("dns connection", async move {
            // A client that ends its connection in the middle has lost interest.
            let _ended = converse(stream, &answers).await;
            drop(slot);
        });
    }
}

/// Answers one request after the other, until the client ends the connection or is silent.
async fn converse(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    loop {
        let request = tokio::time::timeout(IDLE, read_message(&mut stream)).await??;
        let decision = answers.decide(&request);
        let Some(reply) = answers.finish(decision, &request).await else { return Ok(()) };
        let reply = encode(&reply, &request, false);
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hickory_proto::op::{Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use parking_lot::Mutex;

    use super::*;

    /// Knows a name only once it was asked for.
    #[derive(Default)]
    struct OnDemand(Mutex<Vec<String>>);

    struct View(Vec<String>);

    impl Names for View {
        fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
            let known = self.0.iter().any(|name| name == host) && host.ends_with(".mesh");
            known.then(|| vec!["10.0.0.9".parse().unwrap()])
        }
    }

    impl NameSource for OnDemand {
        fn names(&self) -> Box<dyn Names + Send + '_> {
            Box::new(View(self.0.lock().clone()))
        }

        fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()> {
            self.0.lock().push(host.to_owned());
            Box::pin(std::future::ready(()))
        }
    }

    async fn server(tasks: &Tasks, forwarder: Forwarder) -> SocketAddr {
        let address = "127.0.0.1:0".parse().unwrap();
        let source = Arc::new(OnDemand::default());
        let server = DnsServer::bind(address, source, forwarder, Vec::new(), tasks).await.unwrap();
        let address = server.address().unwrap();
        server.serve();
        address
    }

    fn question(name: &str) -> Message {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        request
    }

    async fn over_udp(server: SocketAddr, name: &str) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&question(name).to_vec().unwrap(), server).await.unwrap();
        let mut buffer = [0; 1500];
        let count = socket.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..count]).unwrap()
    }

    async fn over_tcp(server: SocketAddr, name: &str) -> Message {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let bytes = question(name).to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        Message::from_vec(&read_message(&mut stream).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn names_come_on_demand_and_others_from_the_pods_servers() {
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger.clone());
        let refuses = server(&tasks, Forwarder::new(Vec::new(), false)).await;
        let asks = server(&tasks, Forwarder::new(vec![refuses], true)).await;
        for reply in [over_udp(asks, "a.mesh.").await, over_tcp(asks, "b.mesh.").await] {
            assert_eq!(reply.answers[0].data.to_string(), "10.0.0.9");
        }
        // The first server asks the second, which has no server to ask.
        for reply in [over_udp(asks, "a.example.").await, over_tcp(asks, "a.example.").await] {
            assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
        }
        trigger.force();
    }
}
