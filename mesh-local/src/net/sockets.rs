//! Sockets that belong to a namespace, for use from any thread and runtime.
//!
//! A socket stays in the namespace of the thread that made it, whoever binds, connects or polls
//! it later. So one small thread makes them and everything else is ordinary tokio.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use super::namespace::Namespace;

/// Requests that may wait for the thread; each takes it microseconds.
const QUEUE: usize = 256;
/// Pending connections of a listener.
const BACKLOG: i32 = 1024;

/// Makes sockets inside one namespace. Clones share the thread, which ends with the last clone.
#[derive(Clone, Debug)]
pub struct SocketFactory {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    domain: Domain,
    kind: Type,
    answer: oneshot::Sender<io::Result<Socket>>,
}

impl SocketFactory {
    /// Starts the thread that makes sockets in `namespace`.
    ///
    /// # Errors
    /// Those of starting a thread and of entering the namespace.
    pub async fn start(namespace: &Namespace) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (entered, outcome) = oneshot::channel();
        let namespace = namespace.clone();
        std::thread::Builder::new().name("netns-sockets".to_owned()).spawn(move || {
            let result = namespace.enter();
            let serve = result.is_ok();
            // The caller may have given up waiting; then the queue is closed too.
            let _ = entered.send(result);
            if serve {
                make_sockets(queue);
            }
        })?;
        outcome.await.map_err(|_| thread_ended())??;
        Ok(Self { requests })
    }

    /// Listens on a TCP address of the namespace. Port 0 takes a free one.
    ///
    /// # Errors
    /// `AddrNotAvailable` when the namespace has no such address, `AddrInUse`.
    pub async fn listen_tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = self.socket(Domain::for_address(address), Type::STREAM).await?;
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    /// Binds a UDP address of the namespace. Port 0 takes a free one.
    ///
    /// # Errors
    /// `AddrNotAvailable` when the namespace has no such address, `AddrInUse`.
    pub async fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.socket(Domain::for_address(address), Type::DGRAM).await?;
        socket.bind(&SockAddr::from(address))?;
        UdpSocket::from_std(socket.into())
    }

    /// Connects from inside the namespace. There is no time limit: the caller sets one.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket(Domain::for_address(address), Type::STREAM).await?;
        TcpSocket::from_std_stream(socket.into()).connect(address).await
    }

    async fn socket(&self, domain: Domain, kind: Type) -> io::Result<Socket> {
        let (answer, outcome) = oneshot::channel();
        let request = Request { domain, kind, answer };
        self.requests.send(request).await.map_err(|_| thread_ended())?;
        outcome.await.map_err(|_| thread_ended())?
    }
}

/// Serves requests until the last factory is dropped.
fn make_sockets(mut queue: mpsc::Receiver<Request>) {
    while let Some(Request { domain, kind, answer }) = queue.blocking_recv() {
        // A caller that no longer waits drops the socket.
        let _ = answer.send(Socket::new(domain, kind.nonblocking(), None));
    }
}

fn thread_ended() -> io::Error {
    io::Error::other("the thread that makes sockets in the namespace has ended")
}
