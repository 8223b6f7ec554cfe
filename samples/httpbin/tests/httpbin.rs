//! httpbin as its users meet it: over a socket.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

use std::net::SocketAddr;
use std::sync::Arc;

use httpbin::routes::App;
use httpbin::server::{BODY_BYTES, serve};
use mesh_rt::tasks::Tasks;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

struct Server {
    _tasks: Tasks,
    address: SocketAddr,
    lines: mpsc::Receiver<String>,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

impl Server {
    async fn start() -> Self {
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, lines) = mpsc::channel(100);
        let sink = Arc::new(move |line: &str| sender.try_send(line.to_owned()).unwrap());
        serve(App { hostname: "pod-1".to_owned() }, &tasks, listener, sink);
        Self { _tasks: tasks, address, lines }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "", b"").await
    }

    async fn send(&self, line: &str, fields: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: httpbin:8000\r\nconnection: close\r\n\
             content-length: {length}\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may refuse and close before it has read all.
        let _sent = stream.write_all(body).await;
        let mut raw = Vec::new();
        let _read = stream.read_to_end(&mut raw).await;
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(raw[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: raw[end + 4..].to_vec() }
    }
}

#[tokio::test]
async fn requests_are_shown() {
    let server = Server::start().await;
    let got = server.get("/get?a=1&a=2").await;
    assert_eq!(got.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        got.json(),
        json!({
            "args": {"a": ["1", "2"]},
            "headers": {"Host": ["httpbin:8000"], "Connection": ["close"], "Content-Length": ["0"]},
            "method": "GET", "origin": "127.0.0.1", "url": "http://httpbin:8000/get?a=1&a=2",
        })
    );
    let text = String::from_utf8(got.body).unwrap();
    assert!(text.starts_with("{\n  \"args\": {\n    \"a\": [\n      \"1\","), "{text}");
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let posted = server.send("POST /post", form, b"x=y+z").await.json();
    assert_eq!((&posted["form"], &posted["data"]), (&json!({"x": ["y z"]}), &json!("")));
    let typed = "content-type: application/json\r\n";
    let put = server.send("PUT /anything/else", typed, b"[1]").await.json();
    assert_eq!((&put["json"], &put["method"]), (&json!([1]), &json!("PUT")));
    let agent = server.send("GET /user-agent", "user-agent: t/1\r\n", b"").await.json();
    assert_eq!(agent, json!({"user-agent": "t/1"}));
    assert_eq!(server.get("/headers").await.json()["headers"]["Host"], json!(["httpbin:8000"]));
    assert_eq!(server.get("/ip").await.json(), json!({"origin": "127.0.0.1"}));
    assert_eq!(server.get("/hostname").await.json(), json!({"hostname": "pod-1"}));
}

#[tokio::test]
async fn answers_are_as_asked_for() {
    let server = Server::start().await;
    for (path, status) in [
        ("/status/204", 204),
        ("/status/418", 418),
        ("/status/503", 503),
        ("/status/nonsense", 400),
        ("/delay/0.01", 200),
        ("/delay/11", 400),
        ("/basic-auth/u/p", 401),
        ("/hidden-basic-auth/u/p", 404),
        ("/bearer", 401),
        ("/unstable?failure_rate=1", 500),
        ("/html", 200),
        ("/xml", 200),
        ("/json", 200),
        ("/robots.txt", 200),
        ("/", 200),
        ("/uuid", 200),
        ("/cache/60", 200),
        ("/post", 405),
        ("/nowhere", 404),
        ("/redirect/0", 400),
        ("/redirect-to", 400),
        ("/redirect-to?url=/x&status_code=200", 400),
        ("/base64/!", 400),
    ] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
    for (path, name, value) in [
        ("/redirect/2", "location", "/relative-redirect/1"),
        ("/redirect/1", "location", "/get"),
        ("/absolute-redirect/2", "location", "http://httpbin:8000/absolute-redirect/1"),
        ("/redirect-to?url=http%3A%2F%2Fx%2F&status_code=307", "location", "http://x/"),
        ("/cookies/set?k=v", "set-cookie", "k=v; HttpOnly"),
        ("/response-headers?x-a=b", "x-a", "b"),
        ("/gzip", "content-encoding", "gzip"),
        ("/etag/e", "etag", "\"e\""),
        ("/post", "allow", "POST"),
    ] {
        assert_eq!(server.get(path).await.header(name), Some(value), "{path}");
    }
    assert_eq!(server.get("/bytes/7").await.body.len(), 7);
    assert_eq!(server.get("/base64/aGVsbG8=").await.body, b"hello");
    let lines = server.get("/stream/3").await.body;
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);
    let known = "authorization: Basic dTpw\r\n";
    assert_eq!(server.send("GET /basic-auth/u/p", known, b"").await.status, 200);
    let bearer = server.send("GET /bearer", "authorization: Bearer t\r\n", b"").await.json();
    assert_eq!(bearer["token"], "t");
    let fresh = server.send("GET /etag/e", "if-none-match: \"e\"\r\n", b"").await;
    assert_eq!(fresh.status, 304);
    let cookies = server.send("GET /cookies", "cookie: a=1; b=\"2\"\r\n", b"").await.json();
    assert_eq!(cookies, json!({"a": "1", "b": "2"}));
    let head = server.send("HEAD /get", "", b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Server::start().await;
    let large = vec![b'x'; BODY_BYTES + 1];
    assert_eq!(server.send("POST /post", "", &large).await.status, 413);
}

#[tokio::test]
async fn each_request_is_one_line() {
    let mut server = Server::start().await;
    server.send("GET /headers?q=1", "user-agent: curl/8\r\n", b"").await;
    let line = server.lines.recv().await.unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("\"GET /headers?q=1 HTTP/1.1\" 200 "), "{line}");
    assert!(line.ends_with(" \"-\" \"curl/8\""), "{line}");
    assert!(server.lines.try_recv().is_err(), "one line only");
}
