//! Tables of what becomes of request heads.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Version};
use proxy_model::facts::{ConnFacts, PeerIdentity};
use proxy_model::http::manager::{
    CertDetails, ForwardClientCert, ForwardClientCertMode, HttpConnectionManager,
};
use proxy_model::listener::TrafficDirection;

use super::{Head, hop_by_hop, is_grpc, prepare};
use crate::http::reply::LocalReply;
use crate::observe::record::Downstream;

fn manager() -> HttpConnectionManager {
    crate::http::tests::empty_manager()
}

fn downstream(peer: &str) -> Downstream {
    Downstream {
        facts: ConnFacts::plain("10.0.0.9:80".parse().unwrap(), peer.parse().unwrap()),
        listener: "l".into(),
        chain: "c".into(),
        direction: TrafficDirection::Inbound,
        tls: false,
        peer: None,
        peer_hash: "".into(),
        peer_pem: None,
        local_uris: Arc::new([]),
        id: 1,
    }
}

fn head(
    downstream: &Downstream,
    manager: &HttpConnectionManager,
    headers: &[(&str, &str)],
) -> Result<Head, LocalReply> {
    let mut request = Request::get("/").version(Version::HTTP_11).header("host", "a.example:80");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    prepare(request.body(()).unwrap().into_parts().0, downstream, manager, || 7)
}

fn text<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    head.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn forwarded_for_and_internal_headers() {
    let edge = HttpConnectionManager { use_remote_address: true, ..manager() };
    let hops = HttpConnectionManager { xff_trusted_hops: 1, ..edge.clone() };
    let inner = manager();
    // Manager, peer, x-forwarded-for, then: the same afterwards, the client, retry-on kept.
    for (manager, peer, given, after, client, kept) in [
        (&edge, "1.2.3.4:1", None, Some("1.2.3.4"), "1.2.3.4", false),
        (&edge, "10.1.1.1:1", None, Some("10.1.1.1"), "10.1.1.1", true),
        (&edge, "1.2.3.4:1", Some("9.9.9.9"), Some("9.9.9.9,1.2.3.4"), "1.2.3.4", false),
        (
            &hops,
            "1.2.3.4:1",
            Some("8.8.8.8, 9.9.9.9"),
            Some("8.8.8.8, 9.9.9.9,1.2.3.4"),
            "9.9.9.9",
            false,
        ),
        (&inner, "10.1.1.1:1", None, None, "10.1.1.1", false),
        (&inner, "10.1.1.1:1", Some("10.2.2.2"), Some("10.2.2.2"), "10.2.2.2", true),
        (&inner, "10.1.1.1:1", Some("9.9.9.9"), Some("9.9.9.9"), "9.9.9.9", false),
    ] {
        let mut headers = vec![("x-envoy-retry-on", "5xx")];
        headers.extend(given.map(|list| ("x-forwarded-for", list)));
        let head = head(&downstream(peer), manager, &headers).unwrap();
        assert_eq!(text(&head, "x-forwarded-for"), after, "{peer} {given:?}");
        assert_eq!(head.client.to_string(), client, "{peer} {given:?}");
        assert_eq!(text(&head, "x-envoy-retry-on").is_some(), kept, "{peer} {given:?}");
    }
}

#[test]
fn request_ids_are_made_at_the_edge_and_kept_inside() {
    let given = [("x-request-id", "mine")];
    let inside = head(&downstream("10.1.1.1:1"), &manager(), &given).unwrap();
    assert_eq!(text(&inside, "x-request-id"), Some("mine"));
    let edge = HttpConnectionManager { use_remote_address: true, ..manager() };
    let outside = head(&downstream("1.2.3.4:1"), &edge, &given).unwrap();
    let id = text(&outside, "x-request-id").unwrap();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4', "{id}");
}

#[test]
fn the_client_certificate_is_forwarded_as_the_mode_says() {
    let mut with = downstream("10.1.1.1:1");
    with.tls = true;
    with.peer_hash = "ab".into();
    with.local_uris = Arc::new(["spiffe://td/ns/b/sa/b".into()]);
    with.peer = Some(Arc::new(PeerIdentity {
        uris: vec!["spiffe://td/ns/a/sa/a".into()],
        ..PeerIdentity::default()
    }));
    let without = downstream("10.1.1.1:1");
    let own = "By=spiffe://td/ns/b/sa/b;Hash=ab;Subject=\"\";URI=spiffe://td/ns/a/sa/a";
    let both = format!("Hash=x,{own}");
    for (mode, downstream, expected) in [
        (ForwardClientCertMode::Sanitize, &with, None),
        (ForwardClientCertMode::ForwardOnly, &with, Some("Hash=x")),
        (ForwardClientCertMode::ForwardOnly, &without, None),
        (ForwardClientCertMode::AppendForward, &with, Some(both.as_str())),
        (ForwardClientCertMode::AppendForward, &without, None),
        (ForwardClientCertMode::SanitizeSet, &with, Some(own)),
        (ForwardClientCertMode::SanitizeSet, &without, None),
        (ForwardClientCertMode::AlwaysForwardOnly, &without, Some("Hash=x")),
    ] {
        let details = CertDetails { subject: true, uri: true, dns: true, ..CertDetails::default() };
        let settings = HttpConnectionManager {
            forward_client_cert: ForwardClientCert { mode, details },
            ..manager()
        };
        let given = [("x-forwarded-client-cert", "Hash=x")];
        let head = head(downstream, &settings, &given).unwrap();
        assert_eq!(text(&head, "x-forwarded-client-cert"), expected, "{mode:?}");
    }
}

#[test]
fn one_hops_headers_stay_on_it() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "Keep-Alive, X-Own, X-Forwarded-For, upgrade"),
        ("keep-alive", "1"),
        ("x-own", "1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("upgrade", "WebSocket"),
        ("te", "gzip, trailers"),
        ("accept", "*/*"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let upgrade = hop_by_hop(&mut headers, &Method::GET, Version::HTTP_11);
    assert_eq!(upgrade.as_deref(), Some("websocket"));
    let mut left: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "x-forwarded-for"]);
}

#[test]
fn authorities_are_checked() {
    for (host, details) in [("a b", "http.invalid_authority"), ("", "missing_host_header")] {
        let request = Request::get("/").header("host", host).body(()).unwrap();
        let refused = prepare(request.into_parts().0, &downstream("10.1.1.1:1"), &manager(), || 7);
        assert_eq!(refused.unwrap_err().details, details, "{host:?}");
    }
    let request = Request::get("http://a.example/")
        .version(Version::HTTP_2)
        .header("host", "b.example")
        .body(())
        .unwrap();
    let refused = prepare(request.into_parts().0, &downstream("10.1.1.1:1"), &manager(), || 7);
    assert_eq!(refused.unwrap_err().details, "http2.inconsistent_authority");
}

#[test]
fn grpc_is_told_from_its_neighbours() {
    for (text, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/grpcx", false),
    ] {
        assert_eq!(is_grpc(text.as_bytes()), expected, "{text}");
    }
}
