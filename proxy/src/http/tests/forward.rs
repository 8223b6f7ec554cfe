//! Requests that reach an endpoint.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proxy_model::access_log::format::Format;
use proxy_model::cluster::{CircuitBreakers, Http1Options, Thresholds, UpstreamProtocol};
use proxy_model::flags::ResponseFlags;
use proxy_model::http::action::{Action, ClusterChoice, Mirror, Weighted, WeightedCluster};
use proxy_model::http::filter::{FilterOverrides, HttpFilter, HttpFilterConfig, Percentage};
use proxy_model::http::mutation::{AppendAction, HeaderAdd, HeaderMutations};
use proxy_model::http::rewrite::{HostRewrite, PathRewrite};

use super::harness::{
    Proxy, answer, any_host, cluster, echo, forwarding, get, local, manager, route, server, to,
};

#[test]
fn a_request_crosses_and_leaves_its_record() {
    local(async {
        let server = server(false, echo).await;
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[server.address])]);
        let request = Request::post("/p?q=1")
            .header("host", "a.example:80")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("x-envoy-retry-on", "5xx")
            .body(Full::from("hello"))
            .unwrap();
        let (head, body) = proxy.ask(request).await;
        assert_eq!(head.status(), 200);
        assert_eq!(head.headers()["server"], "istio-envoy");
        assert!(head.headers().contains_key("x-envoy-upstream-service-time"));
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[0], "POST /p?q=1");
        assert!(lines.contains(&"host: a.example:80"), "{body}");
        assert!(lines.contains(&"x-forwarded-proto: http"), "{body}");
        assert!(body.contains("x-request-id: ") && body.ends_with("hello"), "{body}");
        assert!(!body.contains("x-hop") && !body.contains("retry-on"), "{body}");

        let record = proxy.record().await;
        assert_eq!((record.status, &*record.details), (200, "via_upstream"));
        assert_eq!(record.flags, ResponseFlags::NONE);
        assert_eq!((record.bytes_received, record.bytes_sent), (5, body.len() as u64));
        assert_eq!(record.upstream.address.as_deref(), Some(&*server.address.to_string()));
        assert_eq!(record.upstream.attempts, 1);
        assert_eq!(record.upstream.cluster_name.as_deref(), Some("a"));
    });
}

#[test]
fn connections_are_used_again() {
    local(async {
        let server = server(false, echo).await;
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[server.address])]);
        let mut client = proxy.http1().await;
        for _ in 0..3 {
            client.sender.ready().await.unwrap();
            let (head, _) = answer(client.sender.send_request(get("/")).await.unwrap()).await;
            assert_eq!(head.status(), 200);
        }
        assert_eq!(server.accepted.get(), 1);
    });
}

#[test]
fn max_requests_per_connection_is_kept() {
    local(async {
        let server = server(false, echo).await;
        let mut target = cluster("a", &[server.address]);
        target.max_requests_per_connection = Some(1);
        let proxy = Proxy::new(forwarding(to("a")), vec![target]);
        for _ in 0..3 {
            assert_eq!(proxy.ask(get("/")).await.0.status(), 200);
        }
        assert_eq!(server.accepted.get(), 3);
    });
}

#[test]
fn http2_streams_share_a_connection_and_keep_trailers() {
    local(async {
        let server = server(true, echo).await;
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[server.address])]);
        let client = proxy.http2().await;
        let mut requests = Vec::new();
        for number in 0..8 {
            let mut sender = client.sender.clone();
            let request =
                Request::post(format!("http://a.example/{number}")).body(Full::from("x")).unwrap();
            requests.push(async move { answer(sender.send_request(request).await.unwrap()).await });
        }
        for (number, (head, body)) in
            futures::future::join_all(requests).await.into_iter().enumerate()
        {
            assert_eq!(head.status(), 200);
            assert!(body.starts_with(&format!("POST http://a.example/{number}\n")), "{body}");
        }
        assert_eq!(server.accepted.get(), 1);
    });
}

#[test]
fn http2_clients_reach_http1_endpoints() {
    local(async {
        let server = server(false, echo).await;
        let mut target = cluster("a", &[server.address]);
        target.protocol = UpstreamProtocol::Http1(Http1Options::default());
        let proxy = Proxy::new(forwarding(to("a")), vec![target]);
        let mut client = proxy.http2().await;
        let request = Request::get("http://a.example/p").body(Full::default()).unwrap();
        let (head, body) = answer(client.sender.send_request(request).await.unwrap()).await;
        assert_eq!((head.status(), head.version()), (http::StatusCode::OK, http::Version::HTTP_2));
        assert!(body.starts_with("GET /p\nhost: a.example\n"), "{body}");
    });
}

#[test]
fn weights_split_the_traffic() {
    local(async {
        let one = server(false, |_| Some(Response::new(Full::from("one")))).await;
        let two = server(false, |_| Some(Response::new(Full::from("two")))).await;
        let entry = |name: &str, weight| WeightedCluster {
            name: name.into(),
            weight,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            overrides: FilterOverrides::default(),
            host_rewrite: HostRewrite::Keep,
        };
        let mut forward = to("a");
        forward.clusters =
            ClusterChoice::Weighted(Weighted::new(vec![entry("a", 1), entry("b", 3)]).unwrap());
        let clusters = vec![cluster("a", &[one.address]), cluster("b", &[two.address])];
        let proxy = Proxy::new(forwarding(forward), clusters);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..40 {
            *seen.entry(proxy.ask(get("/")).await.1).or_default() += 1;
        }
        // The tests' chance counts up, so each answer comes; how often depends on its steps.
        assert_eq!(seen.values().sum::<usize>(), 40);
        assert!(seen["one"] > 0 && seen["two"] > 0, "{seen:?}");
    });
}

#[test]
fn paths_hosts_and_headers_are_rewritten() {
    local(async {
        let server = server(false, echo).await;
        let mut forward = to("a");
        forward.rewrite.path = PathRewrite::Prefix("/new".into());
        forward.rewrite.host = HostRewrite::Literal("b.example".into());
        forward.rewrite.append_x_forwarded_host = true;
        let mut entry = route("/old", Action::Forward(Arc::new(forward)));
        let add = |name: &'static str, value: &str, action| HeaderAdd {
            name: http::HeaderName::from_static(name),
            value: Format::parse(value).unwrap(),
            action,
            keep_empty: false,
        };
        entry.request_headers = HeaderMutations {
            add: vec![
                add("x-a", "%REQ(x-b)%+1", AppendAction::AppendOrAdd),
                add("x-b", "set", AppendAction::OverwriteOrAdd),
            ],
            remove: vec![http::HeaderName::from_static("x-c")],
        };
        entry.response_headers = HeaderMutations {
            add: vec![add(
                "x-d",
                "%RESPONSE_CODE_DETAILS%%UPSTREAM_CLUSTER_RAW%",
                AppendAction::AddIfAbsent,
            )],
            remove: Vec::new(),
        };
        let proxy =
            Proxy::new(manager(any_host(vec![entry])), vec![cluster("a", &[server.address])]);
        let request = Request::get("/old/x?y")
            .header("host", "a.example")
            .header("x-b", "given")
            .header("x-c", "gone")
            .body(Full::default())
            .unwrap();
        let (head, body) = proxy.ask(request).await;
        for line in [
            "GET /new/x?y",
            "host: b.example",
            "x-forwarded-host: a.example",
            "x-envoy-original-path: /old/x?y",
            "x-a: given+1",
            "x-b: set",
        ] {
            assert!(body.lines().any(|have| have == line), "{line} in {body}");
        }
        assert!(!body.contains("gone"));
        assert_eq!(head.headers()["x-d"], "a");
    });
}

#[test]
fn mirrors_get_a_copy_with_its_body() {
    local(async {
        let main = server(false, echo).await;
        let (sent, mut copies) = tokio::sync::mpsc::channel(4);
        let shadow = server(false, move |request: Request<Bytes>| {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            sent.try_send((host, request.into_body())).unwrap();
            super::harness::status(500)
        })
        .await;
        let mut forward = to("a");
        forward.mirrors = vec![Mirror {
            cluster: "m".into(),
            percentage: Percentage::ALL,
            shadow_host_suffix: true,
        }];
        let clusters = vec![cluster("a", &[main.address]), cluster("m", &[shadow.address])];
        let proxy = Proxy::new(forwarding(forward), clusters);
        let request =
            Request::post("/").header("host", "a.example:80").body(Full::from("payload")).unwrap();
        assert_eq!(proxy.ask(request).await.0.status(), 200);
        let (host, body) = copies.recv().await.unwrap();
        assert_eq!((&*host, &*body), ("a.example-shadow:80", &b"payload"[..]));
    });
}

#[test]
fn the_circuit_breaker_refuses_what_is_too_much() {
    local(async {
        let server = server(false, echo).await;
        let mut target = cluster("a", &[server.address]);
        let limits = Thresholds { max_requests: 0, ..Thresholds::default() };
        target.circuit = CircuitBreakers { default: limits, high: limits };
        let proxy = Proxy::new(forwarding(to("a")), vec![target]);
        let (head, body) = proxy.ask(get("/")).await;
        assert_eq!(head.status(), 503);
        assert_eq!(head.headers()["x-envoy-overloaded"], "true");
        assert!(body.ends_with("reset reason: overflow"), "{body}");
        assert_eq!(proxy.record().await.flags, ResponseFlags::UO);
    });
}

#[test]
fn peer_metadata_is_exchanged_and_kept_from_the_application() {
    local(async {
        let server = server(false, |request| {
            let mut response = echo(request)?;
            let peer = crate::observe::peer::PeerMetadata {
                workload: "reviews-v2".into(),
                ..Default::default()
            };
            response.headers_mut().insert("x-envoy-peer-metadata", peer.encode().parse().unwrap());
            response.headers_mut().insert("x-envoy-peer-metadata-id", "id".parse().unwrap());
            Some(response)
        })
        .await;
        let mut settings = forwarding(to("a"));
        let filter = proxy_model::http::filter::PeerMetadata {
            upstream_discovery: true,
            upstream_propagation: true,
            ..Default::default()
        };
        settings.filters.insert(
            0,
            HttpFilterConfig {
                name: "istio.peer_metadata".into(),
                disabled: false,
                filter: HttpFilter::PeerMetadata(Arc::new(filter)),
            },
        );
        let proxy = Proxy::new(settings, vec![cluster("a", &[server.address])]);
        let (head, body) = proxy.ask(get("/")).await;
        assert!(body.contains("x-envoy-peer-metadata-id: sidecar~10.0.0.1~own~default"), "{body}");
        assert!(!head.headers().contains_key("x-envoy-peer-metadata"));
        let peer = proxy.record().await.upstream_metadata.unwrap();
        assert_eq!(&*peer.workload, "reviews-v2");
    });
}

#[test]
fn endpoints_that_left_are_drained() {
    local(async {
        let server = server(false, echo).await;
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[server.address])]);
        assert_eq!(proxy.ask(get("/")).await.0.status(), 200);
        let mut next = proxy_model::snapshot::Snapshot::default();
        next.clusters.held.insert("a".into(), Arc::new(cluster("a", &[])));
        proxy.deps.upstreams.reconcile(&next);
        *proxy.config.snapshot.borrow_mut() = Arc::new(next);
        let (head, body) = proxy.ask(get("/")).await;
        assert_eq!((head.status().as_u16(), &*body), (503, "no healthy upstream"));
        let record = proxy.nth_record(1).await;
        assert_eq!((record.flags, &*record.details), (ResponseFlags::UH, "no_healthy_upstream"));
    });
}

#[test]
fn grpc_trailers_reach_the_client_and_the_record() {
    use http_body::Frame;
    use http_body_util::StreamBody;
    use hyper_util::rt::TokioIo;
    local(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|_| async {
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", 5.into());
                let frames = [
                    Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"\0\0\0\0\x02hi"))),
                    Ok(Frame::trailers(trailers)),
                ];
                let body = StreamBody::new(futures::stream::iter(frames));
                let mut response = Response::new(body);
                let grpc = http::HeaderValue::from_static("application/grpc");
                response.headers_mut().insert("content-type", grpc);
                Ok::<_, std::io::Error>(response)
            });
            let _ended = hyper::server::conn::http2::Builder::new(super::harness::Local)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        let proxy = Proxy::new(forwarding(to("a")), vec![cluster("a", &[address])]);
        let mut client = proxy.http2().await;
        let request = Request::post("http://a.example/s/m")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::from(&b"\0\0\0\0\x01x"[..]))
            .unwrap();
        let response = client.sender.send_request(request).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "5");
        let record = Rc::new(proxy.record().await);
        assert_eq!((record.grpc, record.grpc_status), (true, Some(5)));
        assert_eq!(record.grpc_response_messages, 1);
    });
}
