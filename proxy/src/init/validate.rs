//! Checks that capture works: a connection to this pod's own address must arrive at the inbound
//! port, with the destination it had.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::PROXY_MARK;
use super::plan::Plan;

/// A port nobody listens on, as Istio's check uses.
const PROBE_PORT: u16 = 15002;

/// How often is looked for the connection.
const PAUSE: Duration = Duration::from_millis(5);

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The inbound port cannot be listened on.
    #[error("cannot listen on port {port} to check capture: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// This pod's address is not known.
    #[error("cannot find this pod's own address to check capture: {0}")]
    Address(io::Error),
    /// Nothing arrived.
    #[error(
        "connections are not captured: one to {target} did not arrive at port {port} within \
         {seconds} s ({reason}); set up capture with `proxy init`, or find out why the CNI plugin \
         did not"
    )]
    NotCaptured {
        /// Where the connection went.
        target: SocketAddr,
        /// Where it should have arrived.
        port: u16,
        /// How long was waited.
        seconds: u64,
        /// What was seen.
        reason: String,
    },
}

/// Makes one connection as the proxy would, and waits for it.
pub fn run(plan: &Plan, seconds: u64) -> Result<(), ValidateError> {
    let port = plan.inbound_port;
    let listen = |source| ValidateError::Listen { port, source };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let own = own_address().map_err(ValidateError::Address)?;
    let target = SocketAddr::from((own, PROBE_PORT));
    let patience = Duration::from_secs(seconds);
    let failed = |reason: String| ValidateError::NotCaptured { target, port, seconds, reason };

    let _connection = connect(target, patience).map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((accepted, _)) => match original_destination(&accepted) {
                Ok(found) if found == target => return Ok(()),
                Ok(found) => return Err(failed(format!("it arrived as one to {found}"))),
                Err(error) => return Err(failed(format!("its destination is lost: {error}"))),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Err(failed("nothing arrived".to_owned()))
}

/// The address this pod speaks from. Connecting a datagram socket sends nothing.
fn own_address() -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), PROBE_PORT))?;
    socket.local_addr().map(|address| address.ip())
}

fn connect(target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Without the right to set a mark this process has to be the proxy's user, as injected.
    let _unprivileged = socket.set_mark(PROXY_MARK);
    socket.connect_timeout(&target.into(), patience)?;
    Ok(socket.into())
}

fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let found = getsockopt(stream, sockopt::OriginalDst).map_err(io::Error::from)?;
    let address = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
    Ok(SocketAddrV4::new(address, u16::from_be(found.sin_port)).into())
}
