//! What clients do to a connection: smuggling, upgrades, drains, going away.

use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::manager::{HttpTimeouts, Upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::{Proxy, answer, cluster, echo, forwarding, get, local, server, to};
use crate::http::ConnEnd;

#[test]
fn ambiguous_requests_are_refused_and_never_forwarded() {
    local(async {
        let server = server(false, echo).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\n";
        for (number, (rest, status, details)) in [
            (
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "400",
                "http1.content_length_and_chunked_not_allowed",
            ),
            (
                "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                "400",
                "http1.invalid_transfer_encoding",
            ),
            (
                "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                "400",
                "http1.invalid_content_length",
            ),
            ("Host: b\r\n\r\n", "400", "http1.multiple_host_headers"),
            ("X: y\n\r\n", "400", "http1.codec_error"),
            ("X: y\r\n z\r\n\r\n", "400", "http1.codec_error"),
        ]
        .into_iter()
        .enumerate()
        {
            let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[server.address])]);
            let mut client = proxy.connect(false);
            client.sender.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
            let mut text = String::new();
            client.sender.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{number}: {text}");
            let record = proxy.record().await;
            assert_eq!((&*record.details, record.flags), (details, ResponseFlags::DPE), "{number}");
            assert!(matches!(client.end.await.unwrap(), ConnEnd::Protocol(_)));
        }
        assert_eq!(server.accepted.get(), 0);
    });
}

#[test]
fn requests_without_host_and_old_versions_are_refused() {
    local(async {
        for (text, status, details) in [
            ("GET / HTTP/1.1\r\n\r\n", "400", "missing_host_header"),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "426", "low_version"),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "404", "route_not_found"),
        ] {
            let proxy = Proxy::new(forwarding(to("a")), Vec::new());
            let mut client = proxy.connect(false);
            client.sender.write_all(text.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            client.sender.read_exact(&mut head).await.unwrap();
            assert_eq!(&head[9..], status.as_bytes(), "{text}");
            assert_eq!(&*proxy.record().await.details, details);
        }
    });
}

#[test]
fn a_websocket_passes_where_it_is_allowed() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let text = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(text.contains("upgrade: websocket") && text.contains("connection: upgrade"));
            let reply = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(reply.as_bytes()).await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let mut settings = forwarding(to("a"));
        settings.upgrades =
            vec![Upgrade { protocol: "websocket".into(), enabled: true, terminate_connect: false }];
        let proxy = Proxy::new(settings, vec![cluster("a", &[address])]);
        let mut client = proxy.http1().await;
        let ask = |path: &str| {
            Request::get(path)
                .header("host", "a")
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(Full::default())
                .unwrap()
        };
        let mut response = client.sender.send_request(ask("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        let mut io = TokioIo::new(upgraded);
        // Bytes that the guard of HTTP would refuse.
        io.write_all(b"a\n\0\n").await.unwrap();
        let mut word = [0; 4];
        io.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"a\n\0\n");
        drop(io);
        let record = proxy.record().await;
        assert_eq!((record.status, record.bytes_received, record.bytes_sent), (101, 4, 4));

        let plain = Proxy::new(forwarding(to("a")), vec![cluster("a", &[address])]);
        let mut client = plain.http1().await;
        let refused = client.sender.send_request(ask("/")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    });
}

#[test]
fn a_drain_ends_the_connection_after_what_is_under_way() {
    local(async {
        let server = server(false, echo).await;
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[server.address])]);
        let mut client = proxy.http1().await;
        assert_eq!(
            answer(client.sender.send_request(get("/")).await.unwrap()).await.0.status(),
            200
        );
        client.drain.take().unwrap().send(()).unwrap();
        assert_eq!(client.end.await.unwrap(), ConnEnd::Done);
        assert!(client.sender.ready().await.is_err());

        // A request that comes in spite of it is served, and its response says that it is the last.
        let mut client = proxy.http1().await;
        client.drain.take().unwrap().send(()).unwrap();
        let response = client.sender.send_request(get("/")).await.unwrap();
        assert_eq!(response.headers()[header::CONNECTION], "close");
        assert_eq!(answer(response).await.0.status(), 200);
        assert_eq!(client.end.await.unwrap(), ConnEnd::Done);

        let mut client = proxy.http2().await;
        let request = Request::get("http://a.example/").body(Full::default()).unwrap();
        client.drain.take().unwrap().send(()).unwrap();
        let _either = client.sender.send_request(request).await;
        assert_eq!(client.end.await.unwrap(), ConnEnd::Done);
    });
}

#[test]
fn a_client_that_goes_away_ends_the_upstream_request() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy =
            Proxy::new(forwarding(to("a")), vec![cluster("a", &[listener.local_addr().unwrap()])]);
        let mut client = proxy.connect(false);
        client.sender.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut byte = [0; 1];
        upstream.read_exact(&mut byte).await.unwrap();
        drop(client.sender);
        let mut rest = Vec::new();
        upstream.read_to_end(&mut rest).await.unwrap();
        let record = proxy.record().await;
        assert_eq!((record.status, record.flags), (0, ResponseFlags::DC));
        assert_eq!(&*record.details, "downstream_remote_disconnect");
        assert_eq!(proxy.records.0.borrow().len(), 1);
    });
}

#[test]
fn an_endpoint_that_breaks_off_is_named() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _head = stream.read(&mut buffer).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await.unwrap();
        });
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[address])]);
        let mut client = proxy.http1().await;
        let response = client.sender.send_request(get("/")).await.unwrap();
        assert!(http_body_util::BodyExt::collect(response.into_body()).await.is_err());
        let record = proxy.record().await;
        assert_eq!(record.flags, ResponseFlags::UC);
        assert_eq!(
            &*record.details,
            "upstream_reset_after_response_started{connection_termination}"
        );
    });
}

#[tokio::test(start_paused = true)]
async fn idle_connections_and_slow_heads_are_closed() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let mut settings = forwarding(to("a"));
            settings.timeouts = HttpTimeouts {
                idle: Some(Duration::from_secs(10)),
                headers: Some(Duration::from_secs(3)),
                ..HttpTimeouts::default()
            };
            let proxy = Proxy::new(settings, Vec::new());
            let idle = proxy.connect(false);
            assert_eq!(idle.end.await.unwrap(), ConnEnd::Idle);
            let mut slow = proxy.connect(false);
            slow.sender.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
            assert!(matches!(slow.end.await.unwrap(), ConnEnd::Protocol(_)));
        })
        .await;
}

#[test]
fn heads_are_bounded() {
    local(async {
        let mut settings = forwarding(to("a"));
        settings.max_request_headers_kb = Some(8);
        let proxy = Proxy::new(settings, Vec::new());
        let mut client = proxy.connect(false);
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(9 << 10));
        client.sender.write_all(long.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        client.sender.read_exact(&mut head).await.unwrap();
        assert_eq!(&head[9..], b"431");
    });
}
