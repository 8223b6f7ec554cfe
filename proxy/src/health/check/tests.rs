//! Probes against small applications.

use std::sync::Arc;

use mesh_rt::tasks::Tasks;
use mesh_test::ca::{Leaf, TestCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn tasks() -> Tasks {
    Tasks::new(mesh_rt::drain::channel().0)
}

/// Answers each path with what `answer` makes of the request's head.
async fn application(answer: fn(&str) -> String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _detached = tasks().spawn_background("application", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&head[..read]).into_owned();
            let _written = stream.write_all(answer(&text).as_bytes()).await;
        }
    });
    port
}

fn get_of(port: u16, path: &str) -> HttpGet {
    HttpGet {
        tls: false,
        host: None,
        port,
        path: path.to_owned(),
        authority: None,
        headers: HeaderMap::new(),
    }
}

async fn ask(probe: Probe) -> Checked {
    let mut asked = HeaderMap::new();
    asked.insert(USER_AGENT, HeaderValue::from_static("kube-probe/1.34"));
    check(&Prober { probe, timeout: Duration::from_secs(20) }, POD, &asked).await
}

#[tokio::test]
async fn a_get_has_the_authors_headers_and_its_status_is_the_answer() {
    let port = application(|head| {
        let lower = head.to_ascii_lowercase();
        let good = lower.starts_with("get /healthz?a=1 http/1.1")
            && lower.contains("x-a: 1")
            && lower.contains("host: b.example")
            && lower.contains("user-agent: kube-probe/1.34");
        format!("HTTP/1.1 {} x\r\ncontent-length: 2\r\n\r\nok", if good { 204 } else { 400 })
    })
    .await;
    let mut get = get_of(port, "/healthz?a=1");
    get.authority = Some(HeaderValue::from_static("b.example"));
    get.headers.insert("x-a", HeaderValue::from_static("1"));
    assert_eq!(ask(Probe::Http(get)).await.status, 204);
}

#[tokio::test]
async fn redirects_are_followed_to_the_same_place_only() {
    let port = application(|head| {
        let to = |location: &str| {
            format!("HTTP/1.1 302 x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
        };
        match head.split(' ').nth(1).unwrap_or_default() {
            "/inside" => to("/good"),
            "/outside" => to("http://169.254.169.254/latest"),
            "/loop" => to("/loop"),
            _ => "HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        }
    })
    .await;
    assert_eq!(ask(Probe::Http(get_of(port, "/inside"))).await.status, 200);
    assert_eq!(ask(Probe::Http(get_of(port, "/outside"))).await.status, 302);
    let looping = ask(Probe::Http(get_of(port, "/loop"))).await;
    assert!(looping.words.contains("more than 10 redirects"), "{looping:?}");
}

#[tokio::test]
async fn tls_is_spoken_without_looking_at_the_certificate() {
    let ca = TestCa::root("probe");
    let (chain, key) = ca.leaf(&Leaf::spiffe("spiffe://td/ns/a/sa/b"));
    let identity = mesh_rt::tls::Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let config =
        mesh_rt::tls::server_config(identity, mesh_rt::tls::ClientAuth::None, &[]).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _detached = tasks().spawn_background("application", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut head = [0; 4096];
        let _read = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let get = HttpGet { tls: true, ..get_of(port, "/") };
    assert_eq!(
        ask(Probe::Http(get)).await,
        Checked { status: StatusCode::OK, words: "the application answers 200 OK".to_owned() }
    );
}

#[tokio::test]
async fn nobody_there_and_nobody_answers() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for probe in [
        Probe::Tcp { port: free },
        Probe::Http(get_of(free, "/")),
        Probe::Grpc { port: free, service: String::new() },
    ] {
        let checked = ask(probe).await;
        assert_eq!(checked.status, 500);
        assert!(checked.words.contains(&format!("connecting to 127.0.0.1:{free}")), "{checked:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let prober =
        Prober { probe: Probe::Http(get_of(port, "/")), timeout: Duration::from_millis(50) };
    let checked = check(&prober, POD, &HeaderMap::new()).await;
    assert!(checked.words.contains("did not answer within 50ms"), "{checked:?}");
    assert_eq!(ask(Probe::Tcp { port }).await, Checked::good());
}

/// A gRPC server that answers one question with this health, or with a status.
async fn grpc_application(health: Result<i32, &'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _detached = tasks().spawn_background("application", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let head = http::Response::builder().header("content-type", "application/grpc");
            let mut trailers = HeaderMap::new();
            let status = health.err().unwrap_or("0");
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            let mut sending = respond.send_response(head.body(()).unwrap(), false).unwrap();
            if let Ok(status) = health {
                let message = HealthCheckResponse { status }.encode_to_vec();
                let mut frame = BytesMut::new();
                frame.put_u8(0);
                frame.put_u32(message.len() as u32);
                frame.put_slice(&message);
                sending.send_data(frame.freeze(), false).unwrap();
            }
            sending.send_trailers(trailers).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn grpc_health_is_asked() {
    for (health, status, words) in [
        (Ok(SERVING), 200, ""),
        (Ok(2), 500, "the health of \"s\" is 2"),
        (Err("12"), 500, "gRPC status 12"),
    ] {
        let port = grpc_application(health).await;
        let checked = ask(Probe::Grpc { port, service: "s".to_owned() }).await;
        assert_eq!(checked.status.as_u16(), status, "{checked:?}");
        assert!(checked.words.contains(words), "{checked:?}");
    }
}
