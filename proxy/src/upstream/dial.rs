//! Opens sockets towards the network: marked so that the capture rules let them pass, without
//! Nagle's delay, bounded in time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tracing::debug;

use crate::failure::{Failure, FailureKind};

/// The mark of every socket this proxy opens; the capture rules exempt it.
pub const SOCKET_MARK: u32 = 1337;

/// How a connection is made.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// How long the TCP handshake may take.
    pub connect_timeout: Duration,
    /// The source address to bind, when the cluster names one.
    pub bind_source: Option<IpAddr>,
    /// Keep-alive probes, when the cluster asks for them.
    pub keepalive: Option<TcpKeepalive>,
}

/// Connects to `address`.
///
/// # Errors
/// A [`Failure`] that tells a refusal from a time-out and from a local reason.
pub async fn tcp(address: SocketAddr, options: &DialOptions) -> Result<TcpStream, Failure> {
    let socket = open(address, options).map_err(local)?;
    match tokio::time::timeout(options.connect_timeout, socket.connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(Failure::new(FailureKind::ConnectionTimeout)),
    }
}

/// Connects to the Unix socket at `path`.
///
/// # Errors
/// As [`tcp`].
pub async fn pipe(path: &Path, options: &DialOptions) -> Result<UnixStream, Failure> {
    match tokio::time::timeout(options.connect_timeout, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(Failure::new(FailureKind::ConnectionTimeout)),
    }
}

fn open(address: SocketAddr, options: &DialOptions) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(keepalive) = &options.keepalive {
        socket.set_tcp_keepalive(keepalive)?;
    }
    mark(SockRef::from(&socket));
    if let Some(source) = options.bind_source.filter(|ip| ip.is_ipv4() == address.is_ipv4()) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Marks a socket. Not permitted without `CAP_NET_ADMIN`: then the rules' exemption by user id
/// applies.
fn mark(socket: SockRef<'_>) {
    if let Err(error) = socket.set_mark(SOCKET_MARK) {
        debug!("the socket is not marked: {error}");
    }
}

fn local(error: io::Error) -> Failure {
    Failure::with_reason(FailureKind::LocalConnectionFailure, describe(&error))
}

fn refused(error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::OutOfMemory => FailureKind::LocalConnectionFailure,
        io::ErrorKind::TimedOut => FailureKind::ConnectionTimeout,
        _ => FailureKind::RemoteConnectionFailure,
    };
    Failure::with_reason(kind, format_args!("delayed connect error: {}", describe(error)))
}

/// The system's words, without the number that std appends.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::{DialOptions, tcp};
    use crate::failure::FailureKind;

    fn options() -> DialOptions {
        DialOptions { connect_timeout: Duration::from_secs(5), bind_source: None, keepalive: None }
    }

    #[tokio::test]
    async fn a_refusal_is_the_endpoints_failure() {
        let address = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            listener.local_addr().unwrap()
        };
        let failure = tcp(address, &options()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RemoteConnectionFailure);
        assert_eq!(&*failure.reason, "delayed connect error: Connection refused");
    }

    #[tokio::test]
    async fn the_source_address_is_the_clusters() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let source = Ipv4Addr::new(127, 0, 0, 6);
        let options = DialOptions { bind_source: Some(source.into()), ..options() };
        let stream = tcp(listener.local_addr().unwrap(), &options).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), source);
        assert!(stream.nodelay().unwrap());
        let (_, peer): (_, SocketAddr) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), source);
    }
}
