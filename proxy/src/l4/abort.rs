//! A reset at one end of a connection becomes a reset at the other: an end that was cut off is not
//! to be taken for one that finished.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::listener::stream::DownstreamIo;
use crate::upstream::io::UpstreamIo;

/// A connection that can end by a reset.
pub trait Abort {
    /// Makes closing the connection reset it; what was written and not sent is lost.
    fn reset_on_close(&self);
}

/// Whether the other end reset the connection.
pub fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

impl Abort for TcpStream {
    fn reset_on_close(&self) {
        // A socket that refuses is closed in the ordinary way.
        let _refused = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Abort for DownstreamIo {
    fn reset_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.socket().reset_on_close(),
            Self::Tls(stream) => stream.get_ref().0.socket().reset_on_close(),
        }
    }
}

impl Abort for UpstreamIo {
    fn reset_on_close(&self) {
        match self {
            Self::Tcp(stream) => stream.reset_on_close(),
            Self::Tls(stream) => stream.get_ref().0.reset_on_close(),
            // Unix sockets know no reset.
            Self::Pipe(_) => {}
        }
    }
}
