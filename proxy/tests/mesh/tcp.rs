//! Bytes across the mesh: who finishes first, who breaks off, and that each byte arrives.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{ECHO, Object, Setup, read, service, slice};
use crate::pods::PATIENCE;

const OTHER: &str = "10.96.0.20:9020";

/// A server in the other pod.
struct Server {
    listener: TcpListener,
    /// Where the application reaches it.
    at: SocketAddr,
}

impl Server {
    async fn start(setup: &Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let port = json!({ "name": "tcp", "port": 9020, "targetPort": at.port() });
        setup.mesh.reach(at, setup.reviews.captures("virtualInbound", at));
        setup.mesh.apply(vec![
            service("other", "10.96.0.20", &port),
            slice("other", &json!({ "name": "tcp", "port": at.port() }), "127.0.0.2"),
        ]);
        Self { listener, at: setup.web.captures("virtualOutbound", OTHER.parse().unwrap()) }
    }

    /// A connection of the application, and the server's end of it.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.at).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap();
        let (mut server, _) = accepted.unwrap();
        let mut hello = [0; 5];
        server.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        (client, server)
    }
}

async fn rest(stream: &mut TcpStream) -> Result<String, ErrorKind> {
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap();
    read.map(|_| text).map_err(|error| error.kind())
}

fn reset(stream: TcpStream) {
    let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_end_finishes_on_its_own() {
    let setup = Setup::new(true).await;
    let other = Server::start(&setup).await;
    for client_first in [true, false] {
        let (client, server) = other.pair().await;
        let (mut first, mut second) =
            if client_first { (client, server) } else { (server, client) };
        first.write_all(b"that is all").await.unwrap();
        first.shutdown().await.unwrap();
        assert_eq!(rest(&mut second).await.as_deref(), Ok("that is all"));
        second.write_all(b"and this after it").await.unwrap();
        second.shutdown().await.unwrap();
        assert_eq!(rest(&mut first).await.as_deref(), Ok("and this after it"));
    }
    let line = setup.web.recorded("outbound|9020||other").await;
    assert!(line.contains("tcp 16 17 - "), "{line}");
    setup.reviews.recorded("tcp 16 17 - ").await;
    setup.reviews.recorded("tcp 22 11 - ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_at_one_end_is_one_at_the_other() {
    let setup = Setup::new(true).await;
    let other = Server::start(&setup).await;
    for client_resets in [true, false] {
        let (client, server) = other.pair().await;
        let (breaks, mut sees) = if client_resets { (client, server) } else { (server, client) };
        reset(breaks);
        let seen = rest(&mut sees).await;
        assert_eq!(seen, Err(ErrorKind::ConnectionReset), "by the client: {client_resets}");
    }
    setup.web.recorded(" DC downstream_Connection_reset").await;
    setup.web.recorded(" UC upstream_Connection_reset").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_ends() {
    let setup = Setup::new(true).await;
    setup.mesh.apply(vec![Object::DestinationRule(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": { "name": "other", "namespace": "default" },
        "spec": {
            "host": "other",
            "trafficPolicy": { "connectionPool": { "tcp": { "idleTimeout": "0.2s" } } },
        },
    })))]);
    let other = Server::start(&setup).await;
    let (mut client, mut server) = other.pair().await;
    assert_eq!(rest(&mut client).await.as_deref(), Ok(""));
    assert_eq!(rest(&mut server).await.as_deref(), Ok(""));
    setup.web.recorded("tcp 5 0 - idle_timeout outbound|9020||other").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_arrives() {
    const BYTES: usize = 64 << 20;
    let setup = Setup::new(true).await;
    let at: SocketAddr = setup.web.captures("virtualOutbound", ECHO.parse().unwrap());
    let (mut answers, mut write) = TcpStream::connect(at).await.unwrap().into_split();
    // A period that fits no buffer.
    let period: Vec<u8> = (0_u32..251 * 256 + 1).map(|n| (n % 251) as u8).collect();
    let sent = period.clone();
    let sending = setup.tasks.spawn_background("send", async move {
        let mut left = BYTES;
        while left > 0 {
            let count = left.min(sent.len());
            write.write_all(&sent[..count]).await.unwrap();
            left -= count;
        }
        write.shutdown().await.unwrap();
    });
    let receiving = async {
        let mut buffer = vec![0; period.len()];
        let mut left = BYTES;
        while left > 0 {
            let count = left.min(period.len());
            answers.read_exact(&mut buffer[..count]).await.unwrap();
            assert!(buffer[..count] == period[..count], "at {}", BYTES - left);
            left -= count;
        }
        assert_eq!(answers.read(&mut buffer).await.unwrap(), 0);
    };
    tokio::time::timeout(PATIENCE * 3, receiving).await.unwrap();
    sending.await.unwrap();
    setup.web.recorded(&format!("tcp {BYTES} {BYTES} - ")).await;
    setup.reviews.recorded(&format!("tcp {BYTES} {BYTES} - ")).await;
}
