//! Where a captured connection wanted to go.

use std::net::{SocketAddr, TcpStream};

use socket2::SockRef;

/// Tells the destination before capture.
pub trait OriginalDst: Send + Sync {
    /// The destination before REDIRECT changed it; `None` when nothing did.
    fn original_dst(&self, stream: &TcpStream) -> Option<SocketAddr>;
}

/// Asks the kernel's connection tracking: `SO_ORIGINAL_DST`.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl OriginalDst for Kernel {
    fn original_dst(&self, stream: &TcpStream) -> Option<SocketAddr> {
        let local = stream.local_addr().ok()?;
        let socket = SockRef::from(stream);
        let found = match local {
            // A socket of both families has IPv4 connections under mapped addresses.
            SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => socket.original_dst_v6(),
            _ => socket.original_dst_v4(),
        };
        found.ok()?.as_socket()
    }
}

/// Answers the same for every connection.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub SocketAddr);

#[cfg(test)]
impl OriginalDst for Fixed {
    fn original_dst(&self, _stream: &TcpStream) -> Option<SocketAddr> {
        Some(self.0)
    }
}

/// An IPv4 address that came through an IPv6 socket, as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_was_not_captured_has_no_original_destination() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // Without connection tracking the kernel has no answer; with it, the answer is the socket's own.
        let answer = Kernel.original_dst(&accepted);
        assert!(answer.is_none() || answer == accepted.local_addr().ok(), "{answer:?}");
        drop(client);
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(canonical(mapped).to_string(), "10.0.0.1:80");
    }
}
