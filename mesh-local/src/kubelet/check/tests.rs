//! Checks against servers of this process, through a network that dials them directly.

use std::convert::Infallible;
use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::sandbox::network::{NetworkError, PodAddresses, PodLink};

/// A network in which pods are this process.
struct Direct;

impl PodNetwork for Direct {
    fn attach(&self, link: PodLink) -> BoxFuture<'_, Result<PodAddresses, NetworkError>> {
        async move {
            let source = io::Error::other("no pods here");
            Err(NetworkError::Step { step: "attach".to_owned(), pod_uid: link.pod_uid, source })
        }
        .boxed()
    }

    fn detach<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn dial<'a>(&'a self, _: &'a str, to: SocketAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        TcpStream::connect(to).boxed()
    }
}

fn target() -> Target {
    Target {
        network: Arc::new(Direct),
        pod_uid: "u".to_owned(),
        address: [127, 0, 0, 1].into(),
        commands: None,
        container: Arc::new(Container { name: "c".to_owned(), ..Container::default() }),
    }
}

async fn ask(probe: Value) -> Result<(), String> {
    let probe: Probe = serde_json::from_value(probe).expect("a probe");
    target().ask(&Check::of(&probe).expect("it asks something")).await
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// Runs a server beside a check.
async fn beside<T>(server: BoxFuture<'_, ()>, check: BoxFuture<'_, T>) -> T {
    tokio::select! {
        result = check => result,
        () = server.then(|()| std::future::pending()) => unreachable!("pending"),
    }
}

/// Answers every connection with `answer`, whatever is asked, and returns what was asked.
async fn answer_once(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut request = vec![0; 4096];
    let count = stream.read(&mut request).await.expect("a request");
    stream.write_all(answer.as_bytes()).await.expect("answered");
    String::from_utf8_lossy(&request[..count]).into_owned()
}

#[tokio::test]
async fn http_statuses() {
    let (listener, port) = listener().await;
    let probe = json!({"httpGet": {"path": "health?x=1", "port": port,
                                   "httpHeaders": [{"name": "X-A", "value": "b"}]}});
    for (status, expected) in [
        ("200 OK", Ok(())),
        ("302 Found\r\nLocation: http://elsewhere/", Ok(())),
        ("404 Not Found", Err("HTTP probe failed with statuscode: 404".to_owned())),
        ("503 No", Err("HTTP probe failed with statuscode: 503".to_owned())),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let (request, outcome) = tokio::join!(answer_once(&listener, &answer), ask(probe.clone()));
        assert_eq!(outcome, expected, "{status}");
        assert!(request.starts_with("GET /health?x=1 HTTP/1.1\r\n"), "{request}");
        let lower = request.to_lowercase();
        assert!(lower.contains("x-a: b\r\n") && lower.contains("user-agent: kube-probe/"));
    }
    let (_, outcome) = tokio::join!(answer_once(&listener, "nonsense\r\n\r\n"), ask(probe));
    assert!(outcome.expect_err("not HTTP").starts_with("Get \"http://127.0.0.1:"));
}

#[tokio::test]
async fn refused_connections() {
    let (listener, port) = listener().await;
    ask(json!({"tcpSocket": {"port": port}})).await.expect("somebody listens");
    drop(listener);
    let failure = ask(json!({"tcpSocket": {"port": port}})).await.expect_err("nobody listens");
    assert!(failure.starts_with(&format!("dial tcp 127.0.0.1:{port}: ")), "{failure}");
    let failure = ask(json!({"exec": {"command": ["true"]}})).await.expect_err("no container");
    assert_eq!(failure, "container c is not running");
}

#[tokio::test]
async fn any_certificate_will_do() {
    let key = rcgen::generate_simple_self_signed(vec!["someone.else".to_owned()]).expect("a key");
    let provider = mesh_rt::crypto::provider();
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private.into())
        .expect("a certificate");
    let (listener, port) = listener().await;
    let server = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream =
            TlsAcceptor::from(Arc::new(config)).accept(stream).await.expect("a handshake");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.expect("a request");
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.expect("answered");
        stream.shutdown().await.expect("closed");
    };
    let probe = json!({"httpGet": {"scheme": "HTTPS", "port": port}});
    beside(server.boxed(), ask(probe).boxed()).await.expect("the certificate does not matter");
}

#[tokio::test]
async fn grpc_health() {
    let (listener, port) = listener().await;
    for (service, status, expected) in [
        ("", vec![0, 0, 0, 0, 2, 8, 1], Ok(())),
        (
            "shop",
            vec![0, 0, 0, 0, 2, 8, 2],
            Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        ),
    ] {
        let server = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = service_fn(|request: Request<Incoming>| {
                let answer = Bytes::from(status.clone());
                async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let asked = request.into_body().collect().await.expect("a body").to_bytes();
                    assert_eq!(asked, health_request(service));
                    let response = Response::builder()
                        .header("content-type", "application/grpc")
                        .body(Full::new(answer))
                        .expect("a response");
                    Ok::<_, Infallible>(response)
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The client leaves when it has its answer.
            let _ = serving.serve_connection(TokioIo::new(stream), service).await;
        };
        let probe = json!({"grpc": {"port": port, "service": service}});
        assert_eq!(beside(server.boxed(), ask(probe).boxed()).await, expected);
    }
}

#[test]
fn ports_by_name_and_number() {
    let container: Container = serde_json::from_value(json!({
        "name": "c", "ports": [{"name": "http", "containerPort": 9080}],
    }))
    .expect("a container");
    let port = |value: IntOrString| port_number(&container, &value);
    assert_eq!(port(IntOrString::Int(80)), Ok(80));
    assert_eq!(port(IntOrString::String("http".to_owned())), Ok(9080));
    assert_eq!(port(IntOrString::String("81".to_owned())), Ok(81));
    assert!(port(IntOrString::String("none".to_owned())).is_err());
    assert!(port(IntOrString::Int(70_000)).is_err());
}

#[test]
fn health_messages() {
    assert_eq!(&health_request("")[..], &[0, 0, 0, 0, 0]);
    assert_eq!(&health_request("a")[..], &[0, 0, 0, 0, 3, 0x0a, 1, b'a']);
    assert_eq!(health_request(&"x".repeat(200)).len(), 5 + 3 + 200);
    assert_eq!(health_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
    assert_eq!(health_status(&[0, 0, 0, 0, 0]), Some(0));
    assert_eq!(health_status(&[]), None);
}
