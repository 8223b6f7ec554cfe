//! Listening sockets: bind with options, or take over one that the parent process left open.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many connections may wait for accept.
    pub backlog: i32,
    /// Lets several sockets share the port, each with its own queue (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Keeps an IPv6 socket from taking IPv4 connections too.
    pub only_v6: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, reuse_port: false, only_v6: false }
    }
}

/// A socket that could not listen.
#[derive(Debug)]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// The operating system's error.
    pub source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => f.write_str("; another process holds this port"),
            io::ErrorKind::PermissionDenied => {
                f.write_str("; ports below 1024 need CAP_NET_BIND_SERVICE")
            }
            io::ErrorKind::AddrNotAvailable => f.write_str("; this host has no such address"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Binds a TCP socket with `SO_REUSEADDR` and listens. Must be called inside a tokio runtime.
///
/// # Errors
/// [`ListenError`], with a remedy where the cause is a usual one.
pub fn listen(address: SocketAddr, options: ListenOptions) -> Result<TcpListener, ListenError> {
    bind(address, options)
        .and_then(TcpListener::from_std)
        .map_err(|source| ListenError { address, source })
}

fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(options.only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Where listeners come from: inherited descriptors first, then fresh sockets. Lets a new process
/// take over the sockets of an old one without refusing a connection.
#[derive(Clone, Debug, Default)]
pub struct SocketSource {
    inherited: Arc<Mutex<Vec<StdListener>>>,
}

impl SocketSource {
    /// Takes the descriptors announced by `LISTEN_FDS` and `LISTEN_PID` (the protocol of systemd's
    /// socket activation). Descriptors that are not listening TCP sockets are left alone.
    ///
    /// # Errors
    /// When an inherited socket cannot be made non-blocking.
    pub fn inherit() -> io::Result<Self> {
        let mut announced = listenfd::ListenFd::from_env();
        let mut inherited = Vec::new();
        for index in 0..announced.len() {
            if let Ok(Some(listener)) = announced.take_tcp_listener(index) {
                listener.set_nonblocking(true)?;
                inherited.push(listener);
            }
        }
        Ok(Self::of(inherited))
    }

    /// Hands out these listeners first.
    #[must_use]
    pub fn of(listeners: Vec<StdListener>) -> Self {
        Self { inherited: Arc::new(Mutex::new(listeners)) }
    }

    /// The inherited listener on exactly `address`, else a fresh one.
    ///
    /// # Errors
    /// As [`listen`].
    pub fn listen(
        &self,
        address: SocketAddr,
        options: ListenOptions,
    ) -> Result<TcpListener, ListenError> {
        let taken = {
            let mut inherited = self.inherited.lock();
            let found = inherited.iter().position(|l| l.local_addr().is_ok_and(|a| a == address));
            found.map(|index| inherited.swap_remove(index))
        };
        match taken {
            Some(listener) => {
                TcpListener::from_std(listener).map_err(|source| ListenError { address, source })
            }
            None => listen(address, options),
        }
    }

    /// Inherited listeners nobody asked for (yet): dropping the source closes them.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<SocketAddr> {
        self.inherited.lock().iter().filter_map(|l| l.local_addr().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_cause() {
        let first = listen(ANY.parse().unwrap(), ListenOptions::default()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address, ListenOptions::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.ends_with("another process holds this port"), "{text}");
    }

    #[tokio::test]
    async fn reuse_port_shares() {
        let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        let first = listen(ANY.parse().unwrap(), options).unwrap();
        assert!(listen(first.local_addr().unwrap(), options).is_ok());
    }

    #[tokio::test]
    async fn inherited_sockets_are_used_once() {
        let inherited = bind(ANY.parse().unwrap(), ListenOptions::default()).unwrap();
        let address = inherited.local_addr().unwrap();
        let source = SocketSource::of(vec![inherited]);
        assert_eq!(source.unclaimed(), [address]);
        let taken = source.listen(address, ListenOptions::default()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(source.unclaimed().is_empty());
        source.listen(address, ListenOptions::default()).unwrap_err();
    }
}
