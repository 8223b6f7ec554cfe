//! A pod's network and a peer's, joined by one link; connections, and where they arrive.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const POD_V6: &str = "fd77::2";
pub(crate) const PEER_V6: &str = "fd77::1";

/// The proxy's user and mark.
const PROXY_ID: u32 = 1337;

/// Longer than anything here takes, so that a failure ends the test.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which users the namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    All,
    One,
}

impl Users {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::One => "one",
        }
    }
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The application: user 0 without a mark.
    Application,
    /// The proxy, by the mark on its socket.
    Marked,
    /// The proxy, by its user id.
    ProxyUser,
}

/// This process's network is the pod's; the peer's is held by a descriptor.
pub(crate) struct World {
    pub(crate) users: Users,
    peer: File,
}

impl World {
    pub(crate) fn new(users: Users) -> Result<Self, Box<dyn std::error::Error>> {
        let peer = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let peer = peer.join().map_err(|_| "the thread panicked")??;
        let world = Self { users, peer };
        let this = std::process::id();
        world.in_peer(move || {
            ip("link set lo up")?;
            ip(&format!("link add link0 type veth peer name eth0 netns {this}"))?;
            ip("addr add 10.77.0.1/24 dev link0")?;
            ip("addr add 10.88.0.1/24 dev link0")?;
            ip("-6 addr add fd77::1/64 dev link0 nodad")?;
            ip("link set link0 up")
        })?;
        ip("link set lo up")?;
        ip("addr add 10.77.0.2/24 dev eth0")?;
        ip("-6 addr add fd77::2/64 dev eth0 nodad")?;
        ip("link set eth0 up")?;
        ip("route add default via 10.77.0.1")?;
        Ok(world)
    }

    /// Runs `work` on a thread in the peer's network.
    pub(crate) fn in_peer<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.peer.as_fd(), CloneFlags::CLONE_NEWNET)?;
                work()
            });
            thread.join().map_err(|_| io::Error::other("the thread panicked"))?
        })
    }

    /// Connects from the pod.
    pub(crate) fn connect(&self, who: Who, target: SocketAddr) -> io::Result<TcpStream> {
        if who != Who::ProxyUser {
            return connect(who == Who::Marked, target);
        }
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // Of this thread alone: nix's functions change the whole process.
                rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(PROXY_ID))?;
                connect(false, target)
            });
            thread.join().map_err(|_| io::Error::other("the thread panicked"))?
        })
    }
}

fn connect(marked: bool, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    if marked {
        socket.set_mark(PROXY_ID)?;
    }
    socket.connect_timeout(&target.into(), PATIENCE)?;
    Ok(socket.into())
}

/// A listener that says where its connections were going.
pub(crate) struct Door {
    listener: TcpListener,
}

impl Door {
    pub(crate) fn open(address: impl Into<IpAddr>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((address.into(), port))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The original destination of the next connection.
    pub(crate) fn next(&self) -> io::Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return destination(&stream),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => thread::yield_now(),
            }
        }
    }

    /// Fails if a connection is waiting.
    pub(crate) fn nobody(&self) -> Outcome {
        match self.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok((stream, _)) => Err(format!("not to be captured: {}", destination(&stream)?).into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where the connection was going before it was redirected, or is going.
fn destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    if stream.local_addr()?.is_ipv4() {
        if let Ok(found) = getsockopt(stream, sockopt::OriginalDst) {
            let address = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
            return Ok(SocketAddrV4::new(address, u16::from_be(found.sin_port)).into());
        }
    } else if let Ok(found) = getsockopt(stream, sockopt::Ip6tOriginalDst) {
        let address = IpAddr::from(found.sin6_addr.s6_addr);
        return Ok(SocketAddr::new(address, u16::from_be(found.sin6_port)));
    }
    stream.local_addr()
}

pub(crate) fn at(address: impl ToString, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_string().parse().expect("an address"), port)
}

/// Runs `proxy init`; gives what it says.
pub(crate) fn init(arguments: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let program = env!("CARGO_BIN_EXE_proxy");
    let output = Command::new(program).arg("init").args(arguments).output()?;
    let said = String::from_utf8(output.stderr)?;
    if output.status.success() { Ok(said) } else { Err(said.into()) }
}

/// All rules there are, without counters.
pub(crate) fn ruleset() -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output()?;
    let mut text = String::from_utf8(output.stdout)?;
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        let output = Command::new(program).output()?;
        let saved = String::from_utf8(output.stdout)?;
        text.extend(saved.lines().filter(|l| l.starts_with("-A")).map(|l| format!("{l}\n")));
    }
    Ok(text)
}

fn ip(command: &str) -> io::Result<()> {
    let output = Command::new("ip").args(command.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("ip {command}: {said}")))
}
