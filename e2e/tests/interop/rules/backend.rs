//! The application behind the rules: it says what it saw, behaves as a request's header asks, and
//! remembers every request. And the client, which sends requests and reads whole answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mesh_test::netns::Netns;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(20);

/// What came in: for each case, where and with which host.
type Seen = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

/// Applications of one network; they end when this is dropped.
pub(crate) struct Backends {
    runtime: Runtime,
    seen: Seen,
}

impl Backends {
    /// None so far.
    pub(crate) fn new(net: &Netns) -> Self {
        let runtime = net.run(|| {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(1).enable_all().build().unwrap()
        });
        Self { runtime, seen: Seen::default() }
    }

    /// Starts one.
    pub(crate) fn serve(&self, name: &'static str, ip: Ipv4Addr, port: u16) {
        let bound = self.runtime.spawn(async move { TcpListener::bind((ip, port)).await.unwrap() });
        let listener = self.runtime.block_on(bound).unwrap();
        let seen = Arc::clone(&self.seen);
        let _serving = self.runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _peer)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                let service = hyper::service::service_fn(move |request| {
                    let seen = Arc::clone(&seen);
                    answer(name, seen, request)
                });
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    // A client that goes away is no failure of the application.
                    let _served = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }

    /// The requests of a case, in a stable order: application, method, host, path and body.
    pub(crate) fn seen(&self, case: &str) -> Vec<Value> {
        let seen = self.seen.lock();
        let mut all = seen.get(case).cloned().unwrap_or_default();
        all.sort_by_key(Value::to_string);
        all
    }
}

/// `x-backend` asks for it, by words joined with blanks: `status=503`, `fail=2` (503 to the first
/// two requests of the case), `delay=300` (milliseconds), `close`, `grpc=14`, `header=a:b`.
async fn answer(
    name: &'static str,
    seen: Seen,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let text = |key: &str| {
        let value = head.headers.get(key);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (case, host) = (text("x-case").unwrap_or_default(), text("host"));
    let body = String::from_utf8_lossy(&body).into_owned();
    let came = {
        let mut seen = seen.lock();
        let all = seen.entry(case).or_default();
        let path = head.uri.to_string();
        all.push(json!([name, head.method.as_str(), host, path, body]));
        all.len()
    };
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    let told = json!({
        "app": name, "method": head.method.as_str(), "path": head.uri.to_string(),
        "headers": headers, "body": body,
    });
    let mut response = Response::new(Full::from(told.to_string()));
    let wishes = text("x-backend").unwrap_or_default();
    for wish in wishes.split(' ').filter(|wish| !wish.is_empty()) {
        let (what, how) = wish.split_once('=').unwrap_or((wish, ""));
        let number = || how.parse::<u16>().unwrap();
        match what {
            "status" => *response.status_mut() = number().try_into().unwrap(),
            "fail" if came <= usize::from(number()) => {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            "fail" => {}
            "delay" => tokio::time::sleep(Duration::from_millis(number().into())).await,
            "close" => return Err(std::io::ErrorKind::ConnectionReset.into()),
            "grpc" => {
                response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
                response.headers_mut().insert("grpc-status", number().into());
            }
            "header" => {
                let (name, value) = how.split_once(':').unwrap();
                let name: http::HeaderName = name.parse().unwrap();
                response.headers_mut().append(name, value.parse().unwrap());
            }
            other => panic!("{other:?} is no wish"),
        }
    }
    Ok(response)
}

/// A request to send.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) to: SocketAddr,
    pub(crate) request: Request<String>,
    /// How long after the first one of its group it is sent.
    pub(crate) after: Duration,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, Vec<String>>,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

/// Sends requests of a pod's application, each over a connection of its own.
pub(crate) fn send(net: &Netns, asks: Vec<Ask>) -> Vec<Result<Answer, String>> {
    net.run(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let all = asks.into_iter().map(|ask| async {
                tokio::time::sleep(ask.after).await;
                let begun = std::time::Instant::now();
                let answered = tokio::time::timeout(PATIENCE, exchange(ask)).await;
                let answer = answered.map_err(|_| "no answer in time".to_owned())?;
                answer.map(|answer| Answer { took: begun.elapsed(), ..answer })
            });
            futures::future::join_all(all).await
        })
    })
}

async fn exchange(ask: Ask) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(ask.to).await.map_err(|error| text(&error))?;
    let client = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = client.map_err(|error| text(&error))?;
    let answered = async move {
        let request = ask.request.map(|body| Full::new(Bytes::from(body)));
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| text(&error))?.to_bytes();
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.to_string()).or_default().push(value);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            took: Duration::ZERO,
        })
    };
    // The connection ends when the sender is dropped.
    futures::future::join(answered, connection).await.0
}
