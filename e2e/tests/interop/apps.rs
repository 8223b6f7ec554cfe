//! Applications in pods: a web server and a line server that say what they saw, and a client.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use mesh_test::netns::Netns;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const PATIENCE: Duration = Duration::from_secs(20);

/// The servers of one pod; they end when this is dropped.
pub(crate) struct Apps {
    _runtime: Runtime,
}

impl Apps {
    /// Starts a web server on port `http` and a line server on port `lines` of the pod.
    pub(crate) fn start(net: &Netns, name: &'static str, ip: Ipv4Addr, ports: (u16, u16)) -> Self {
        let runtime = net.run(|| {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(1).enable_all().build().unwrap()
        });
        let bind = |port| {
            let bound = runtime.spawn(async move { TcpListener::bind((ip, port)).await.unwrap() });
            runtime.block_on(bound).unwrap()
        };
        let (web, lines) = (bind(ports.0), bind(ports.1));
        let _web = runtime.spawn(serve_web(web, name));
        let _lines = runtime.spawn(serve_lines(lines, name));
        Self { _runtime: runtime }
    }
}

async fn serve_web(listener: TcpListener, name: &'static str) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _peer)) = listener.accept().await {
        let service = hyper::service::service_fn(move |request| async move {
            Ok::<_, Infallible>(seen(name, &request))
        });
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no failure of the application.
            let _served = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn seen<B>(name: &str, request: &hyper::Request<B>) -> hyper::Response<Full<Bytes>> {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let path = request.uri().path();
    let body = json!({ "app": name, "path": path, "headers": headers });
    hyper::Response::new(Full::from(body.to_string()))
}

/// Answers each line with the same and its name.
async fn serve_lines(listener: TcpListener, name: &'static str) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _peer)) = listener.accept().await {
        connections.spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = format!("{name}: {line}\n");
                if write.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// An answer to a request: its status and, if it came from an application, what that saw.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) seen: Value,
    pub(crate) text: String,
}

/// A request of a pod's application.
///
/// # Errors
/// When there is no whole answer.
pub(crate) fn get(net: &Netns, to: &str, host: &str, path: &str) -> Result<Answer, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let text = exchange(net, to, &request)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no head: {text:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no status: {head:?}"))?;
    // The body may be chunked; what is looked for is one object.
    let object = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]);
    let seen = object.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Ok(Answer { status, seen, text })
}

/// Sends a line and returns the answer's.
///
/// # Errors
/// When there is no answer.
pub(crate) fn line(net: &Netns, to: &str, line: &str) -> Result<String, String> {
    exchange(net, to, &format!("{line}\n")).map(|text| text.trim_end().to_owned())
}

/// Sends all of a text and reads until the other side closes, or a line is complete and the text
/// was one.
fn exchange(net: &Netns, to: &str, text: &str) -> Result<String, String> {
    let address: SocketAddr = to.parse().unwrap();
    net.run(|| {
        let run = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(text.as_bytes())?;
            if !text.starts_with("GET") {
                stream.shutdown(std::net::Shutdown::Write)?;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        run().map_err(|error| format!("{to}: {error}"))
    })
}
