//! The admin server over real sockets.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::drain;
use crate::net::{ListenOptions, listen};

struct Fixture {
    address: SocketAddr,
    state: AdminState,
    _tasks: Tasks,
}

fn start() -> Fixture {
    let (trigger, _watcher) = drain::channel();
    let tasks = Tasks::new(trigger.clone());
    let state = AdminState {
        component: "pilot",
        readiness: Readiness::new(),
        metrics: Metrics::new("pilot", "pilot"),
        logging: LogControl::detached("info"),
        trigger,
    };
    let listener = listen("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    Admin::new(state.clone())
        .route(Method::GET, "/debug/*", |request| async move {
            text(StatusCode::OK, format!("debug {}", request.path))
        })
        .route(Method::POST, "/echo", |request| async move {
            reply(StatusCode::OK, "application/octet-stream", request.body)
        })
        .serve(&tasks, listener);
    Fixture { address, state, _tasks: tasks }
}

impl Fixture {
    async fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // The server may answer and close before it has read everything.
        let _sent = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _read = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1"), b"").await
    }

    async fn post(&self, path: &str) -> String {
        self.send(&format!("POST {path} HTTP/1.1\r\ncontent-length: 0"), b"").await
    }
}

#[track_caller]
fn assert_answer(answer: &str, status: u16, body_has: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(body.contains(body_has), "{answer}");
}

#[tokio::test]
async fn ready_names_what_is_pending_and_says_draining() {
    let admin = start();
    let guard = admin.state.readiness.block("caches");
    assert_answer(&admin.get("/ready").await, 503, "waiting for: caches");
    drop(guard);
    assert_answer(&admin.get("/ready").await, 200, "ready");
    assert_answer(&admin.get("/healthz/live").await, 200, "live");
    let work = admin.state.trigger.watcher().guard("request");
    assert_answer(&admin.post("/drain").await, 200, "waiting for: request");
    assert_answer(&admin.get("/ready").await, 503, "draining");
    drop(work);
}

#[tokio::test]
async fn quit_stops_at_once() {
    let admin = start();
    // Stopping ends this very connection, perhaps before the reply is out.
    admin.post("/quitquitquit").await;
    assert_eq!(admin.state.trigger.watcher().phase(), drain::Phase::Stopped);
}

#[tokio::test]
async fn metrics_version_and_logging() {
    let admin = start();
    assert_answer(&admin.get("/stats/prometheus").await, 200, "pilot_build_info{");
    let plain = admin.get("/metrics").await;
    assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{plain}");
    let asked = "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text; version=1.0.0";
    assert!(admin.send(asked, b"").await.contains("content-type: application/openmetrics-text"));
    assert_answer(&admin.get("/version").await, 200, "\"component\":\"pilot\"");
    assert_answer(&admin.post("/logging?level=debug").await, 200, "filter: debug");
    let encoded = admin.post("/logging?level=info,mesh_rt%3Dtrace").await;
    assert_answer(&encoded, 200, "filter: info,mesh_rt=trace");
    assert_answer(&admin.post("/logging?level=debug").await, 200, "filter: debug");
    assert_answer(&admin.post("/logging?level=loud").await, 400, "\"loud\"");
    assert_answer(&admin.get("/logging").await, 200, "filter: debug");
    assert_answer(&admin.post("/logging?reset").await, 200, "filter: info");
}

#[tokio::test]
async fn routes_of_the_binary_and_unknown_ones() {
    let admin = start();
    assert_answer(&admin.get("/debug/a/b").await, 200, "debug /debug/a/b");
    assert_answer(&admin.get("/debugger").await, 404, "/debug/*");
    assert_answer(&admin.get("/").await, 200, "GET,POST   /logging");
    let wrong = admin.post("/ready").await;
    assert_answer(&wrong, 405, "allowed here: GET");
    assert!(wrong.contains("allow: GET\r\n"), "{wrong}");
    let head = admin.send("HEAD /ready HTTP/1.1", b"").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn oversized_heads_and_bodies_are_refused() {
    let admin = start();
    let large = format!("GET /ready HTTP/1.1\r\nx-large: {}", "a".repeat(17 * 1024));
    assert!(admin.send(&large, b"").await.starts_with("HTTP/1.1 431 "));
    let mut many = "GET /ready HTTP/1.1".to_owned();
    for index in 0..80 {
        write!(many, "\r\nx-{index}: 1").unwrap();
    }
    assert!(admin.send(&many, b"").await.starts_with("HTTP/1.1 431 "));
    let body = vec![b'x'; BODY_BYTES + 1];
    let head = format!("POST /echo HTTP/1.1\r\ncontent-length: {}", body.len());
    assert!(admin.send(&head, &body).await.starts_with("HTTP/1.1 413 "));
    assert_answer(&admin.send("POST /echo HTTP/1.1\r\ncontent-length: 2", b"hi").await, 200, "hi");
}

#[tokio::test]
async fn pages_of_other_origins_cannot_act() {
    let admin = start();
    let foreign = "POST /drain HTTP/1.1\r\ncontent-length: 0\r\norigin: http://evil.example";
    assert_answer(&admin.send(foreign, b"").await, 403, "another origin");
    let own = "POST /logging HTTP/1.1\r\ncontent-length: 0\r\norigin: http://localhost";
    assert_answer(&admin.send(own, b"").await, 200, "current log filter");
}
