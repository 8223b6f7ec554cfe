//! The tcp-echo sample: each line comes back with a prefix, so that one sees which version of a
//! TCP service answered.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_rt::net::{ListenError, ListenOptions, SocketSource};
use mesh_rt::tasks::Tasks;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};

/// The longest line that is answered; a longer one ends its connection.
pub const LINE_BYTES: u64 = 64 * 1024;

/// Connections at the same time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// How long a connection may idle, and a peer may take to read an answer.
const IDLE: Duration = Duration::from_secs(3600);

/// How long to rest after accept fails, which it does when descriptors run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A listener on `port` of all addresses, of both families where the machine has both.
///
/// # Errors
/// [`ListenError`] when the port is taken or forbidden.
pub fn listen(sockets: &SocketSource, port: u16) -> Result<TcpListener, ListenError> {
    let options = ListenOptions::default();
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    sockets.listen(both, options).or_else(|error| match error.source.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _no_ipv6 => sockets.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options),
    })
}

/// Serves `listener` until the drain of `tasks`: a line `x` is answered with `prefix x`.
pub fn serve(tasks: &Tasks, listener: TcpListener, prefix: &str) {
    let (group, prefix): (Tasks, Arc<str>) = (tasks.clone(), Arc::from(prefix));
    let accept = async move {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = next(&listener, &slots) => accepted,
                () = group.drain().draining() => return,
            };
            let (stream, peer, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("accept: {error}");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let prefix = prefix.clone();
            let _detached = group.spawn_background("echo", async move {
                if let Err(error) = echo(stream, &prefix, peer).await {
                    info!(%peer, "connection ended: {error}");
                }
                drop(slot);
            });
        }
    };
    let _detached = tasks.spawn_background("accept", accept);
}

async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Answers lines until the peer ends. What follows the last line break is not answered.
async fn echo(mut stream: TcpStream, prefix: &str, peer: SocketAddr) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(LINE_BYTES);
        let read = timeout(IDLE, bounded.read_until(b'\n', &mut line)).await??;
        if !line.ends_with(b"\n") {
            return if read as u64 == LINE_BYTES {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"))
            } else {
                Ok(())
            };
        }
        let answer = [prefix.as_bytes(), b" ", &line].concat();
        info!(%peer, request = %shown(&line), response = %shown(&answer));
        timeout(IDLE, writer.write_all(&answer)).await??;
    }
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started() -> (Tasks, SocketAddr) {
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serve(&tasks, listener, "one");
        (tasks, address)
    }

    async fn answer(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = Vec::new();
        // A refused line ends in a reset.
        let _end = stream.read_to_end(&mut text).await;
        text
    }

    #[tokio::test]
    async fn lines_come_back_with_the_prefix() {
        let (_tasks, address) = started().await;
        assert_eq!(answer(address, b"a\nb c\r\n").await, b"one a\none b c\r\n");
        assert_eq!(answer(address, b"\n\xff\nrest").await, b"one \none \xff\n");
        assert_eq!(answer(address, b"").await, b"");
    }

    #[tokio::test]
    async fn a_client_that_waits_is_answered_at_once() {
        let (_tasks, address) = started().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for word in ["x", "y"] {
            stream.write_all(format!("{word}\n").as_bytes()).await.unwrap();
            let mut text = [0; 6];
            stream.read_exact(&mut text).await.unwrap();
            assert_eq!(text, format!("one {word}\n").as_bytes());
        }
    }

    #[tokio::test]
    async fn lines_are_bounded() {
        let (_tasks, address) = started().await;
        let long = vec![b'x'; LINE_BYTES as usize + 1];
        assert_eq!(answer(address, &long).await, b"");
        let mut longest = vec![b'x'; LINE_BYTES as usize - 1];
        longest.push(b'\n');
        assert_eq!(answer(address, &longest).await.len(), longest.len() + 4);
    }
}
