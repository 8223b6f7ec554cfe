//! Requests that are tried again.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use proxy_model::cluster::{CircuitBreakers, Thresholds};
use proxy_model::flags::ResponseFlags;
use proxy_model::http::retry::{RetryOn, RetryPolicy};
use tokio::net::TcpListener;

use super::harness::{Proxy, cluster, echo, forwarding, get, local, server, status, to};

fn policy(on: &str, retries: u32) -> RetryPolicy {
    RetryPolicy {
        on: RetryOn::parse(on).0,
        num_retries: retries,
        base_interval: Duration::from_millis(1),
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
        ..RetryPolicy::default()
    }
}

fn proxy(policy: RetryPolicy, endpoints: &[SocketAddr]) -> Proxy {
    let mut forward = to("a");
    forward.retry = Some(Arc::new(policy));
    Proxy::new(forwarding(forward), vec![cluster("a", endpoints)])
}

async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn another_endpoint_is_tried_when_one_cannot_be_connected() {
    local(async {
        let server = server(false, echo).await;
        let proxy = proxy(policy("connect-failure", 2), &[closed_port().await, server.address]);
        for number in 0..4 {
            assert_eq!(proxy.ask(get("/")).await.0.status(), 200);
            let record = proxy.nth_record(number).await;
            assert_eq!(record.upstream.address.as_deref(), Some(&*server.address.to_string()));
        }
        let tries: u32 =
            proxy.records.0.borrow().iter().map(|record| record.upstream.attempts).sum();
        assert!(tries > 4, "the closed port was never tried");
    });
}

#[test]
fn without_another_endpoint_the_failure_is_named() {
    local(async {
        let proxy = proxy(policy("connect-failure", 1), &[closed_port().await]);
        let (head, body) = proxy.ask(get("/")).await;
        assert_eq!(head.status(), 503);
        assert_eq!(
            body,
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure"
        );
        let record = proxy.record().await;
        assert_eq!(record.flags, ResponseFlags::URX | ResponseFlags::UF);
        assert_eq!(&*record.upstream.failure, "delayed_connect_error:_Connection_refused");
    });
}

#[test]
fn the_body_is_sent_again() {
    local(async {
        let count = Rc::new(Cell::new(0));
        let seen = Rc::clone(&count);
        let server = server(false, move |request: Request<Bytes>| {
            seen.set(seen.get() + 1);
            match seen.get() {
                1 => status(503),
                2 => None,
                _ => Some(Response::new(Full::new(request.into_body()))),
            }
        })
        .await;
        let proxy = proxy(policy("5xx,reset", 3), &[server.address]);
        let request = Request::post("/").header("host", "a").body(Full::from("payload")).unwrap();
        let (head, body) = proxy.ask(request).await;
        assert_eq!((head.status().as_u16(), &*body, count.get()), (200, "payload", 3));
        assert_eq!(proxy.record().await.flags, ResponseFlags::NONE);
    });
}

#[test]
fn a_body_too_long_to_keep_is_sent_once() {
    local(async {
        let count = Rc::new(Cell::new(0));
        let seen = Rc::clone(&count);
        let server = server(false, move |_| {
            seen.set(seen.get() + 1);
            status(503)
        })
        .await;
        let proxy = proxy(policy("5xx", 3), &[server.address]);
        let long = Bytes::from(vec![b'x'; (1 << 20) + 1]);
        let request = Request::post("/").header("host", "a").body(Full::from(long)).unwrap();
        assert_eq!(proxy.ask(request).await.0.status(), 503);
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn the_last_answer_is_given_when_retries_are_used_up() {
    local(async {
        let server = server(false, |_| status(503)).await;
        let proxy = proxy(policy("gateway-error", 2), &[server.address]);
        assert_eq!(proxy.ask(get("/")).await.0.status(), 503);
        let record = proxy.record().await;
        assert_eq!((record.upstream.attempts, record.flags), (3, ResponseFlags::URX));
    });
}

#[test]
fn retries_have_a_circuit_breaker() {
    local(async {
        let server = server(false, |_| status(503)).await;
        let mut forward = to("a");
        forward.retry = Some(Arc::new(policy("5xx", 2)));
        let mut target = cluster("a", &[server.address]);
        let limits = Thresholds { max_retries: 0, ..Thresholds::default() };
        target.circuit = CircuitBreakers { default: limits, high: limits };
        let proxy = Proxy::new(forwarding(forward), vec![target]);
        assert_eq!(proxy.ask(get("/")).await.0.status(), 503);
        let record = proxy.record().await;
        assert_eq!((record.upstream.attempts, record.flags), (1, ResponseFlags::UO));
    });
}

#[tokio::test(start_paused = true)]
async fn one_try_has_only_so_much_time() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let policy =
                RetryPolicy { per_try_timeout: Some(Duration::from_secs(2)), ..policy("5xx", 1) };
            let proxy = proxy(policy, &[listener.local_addr().unwrap()]);
            let (head, body) = proxy.ask(get("/")).await;
            assert_eq!((head.status().as_u16(), &*body), (504, "upstream request timeout"));
            let record = proxy.record().await;
            assert_eq!(record.flags, ResponseFlags::URX | ResponseFlags::UT);
            assert_eq!(&*record.details, "upstream_per_try_timeout");
            assert_eq!(record.upstream.attempts, 2);
        })
        .await;
}
