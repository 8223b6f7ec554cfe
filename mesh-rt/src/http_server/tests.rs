//! The server over real sockets: drain, limits, timeouts.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::*;
use crate::drain::{self, DrainMode};
use crate::net::{ListenOptions, listen};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn start<H, F>(limits: HttpLimits, handler: H) -> (Tasks, SocketAddr)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let tasks = Tasks::new(drain::channel().0);
    let listener = listen("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = HttpServer { name: "test", limits, at_drain: AtDrain::Finish };
    server.serve(&tasks, listener, handler);
    (tasks, address)
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn requests_under_way_finish_and_idle_connections_close() {
    let (under_way, release) = (watch::Sender::new(0_usize), watch::Sender::new(false));
    let (count, released) = (under_way.clone(), release.clone());
    let (tasks, address) = start(HttpLimits::default(), move |_request, _peer| {
        let (count, mut released) = (count.clone(), released.subscribe());
        async move {
            count.send_modify(|count| *count += 1);
            let _released = released.wait_for(|released| *released).await;
            text(StatusCode::OK, "done")
        }
    });
    let mut busy = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        busy.push(stream);
    }
    under_way.subscribe().wait_for(|count| *count == 10).await.unwrap();

    tasks.trigger().start();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(tasks.drain().held(), ["test connection ×10"]);
    release.send_replace(true);
    for stream in busy {
        let answer = read_to_end(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let mode = DrainMode::Graceful { deadline: Duration::from_secs(60) };
    assert!(tasks.trigger().start_drain_and_wait(mode).await.is_clean());
}

#[tokio::test]
async fn a_connection_without_a_request_does_not_hold_the_drain() {
    let (tasks, address) =
        start(HttpLimits::default(), async |_, _| text(StatusCode::OK, "unused"));
    let silent = TcpStream::connect(address).await.unwrap();
    while tasks.drain().held().is_empty() {
        tokio::task::yield_now().await;
    }
    let mode = DrainMode::Graceful { deadline: Duration::from_secs(60) };
    assert!(tasks.trigger().start_drain_and_wait(mode).await.is_clean());
    assert_eq!(read_to_end(silent).await, "");
}

#[tokio::test]
async fn a_stuck_handler_is_answered_for() {
    let limits = HttpLimits { request_timeout: Duration::from_millis(5), ..HttpLimits::default() };
    let (_tasks, address) = start(limits, |_, _| std::future::pending());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn further_connections_wait_for_a_slot() {
    let limits = HttpLimits { connections: 1, ..HttpLimits::default() };
    let (_tasks, address) = start(limits, async |_, _| text(StatusCode::OK, "served"));
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(GET).await.unwrap();
    let mut head = [0; 12];
    first.read_exact(&mut head).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    drop(first);
    assert!(read_to_end(second).await.ends_with("served"));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let body = |size: usize| Full::new(Bytes::from(vec![0; size]));
    assert_eq!(read_body(body(10), 10).await.map(|b| b.len()), Ok(10));
    let error = read_body(body(11), 10).await.unwrap_err();
    assert_eq!((error, error.status().as_u16()), (BodyError::TooLarge { limit: 10 }, 413));
}
