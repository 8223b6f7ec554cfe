//! Labels of requests and connections, from both sides.

use std::rc::Rc;

use proxy_model::cluster::ServiceMetadata;
use proxy_model::endpoint::{Endpoint, EndpointAddress, EndpointMetadata, WorkloadMetadata};
use proxy_model::facts::{ConnFacts, PeerIdentity};

use super::*;
use crate::http::tests::harness;

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/productpage";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/reviews";

fn downstream(direction: TrafficDirection, peer: Option<&str>) -> Rc<Downstream> {
    let facts = ConnFacts::plain("10.0.0.9:80".parse().unwrap(), "10.0.0.1:4".parse().unwrap());
    let identity = |uri: &str| PeerIdentity { uris: vec![uri.into()], ..PeerIdentity::default() };
    Rc::new(Downstream {
        facts,
        listener: "l".into(),
        chain: "".into(),
        direction,
        tls: peer.is_some(),
        peer: peer.map(identity).map(Arc::new),
        peer_hash: "".into(),
        peer_pem: None,
        local_uris: Arc::new([]),
        id: 1,
    })
}

fn upstream(service: bool, endpoint: Option<&str>, peer: Option<&str>) -> UpstreamFacts {
    let mut cluster = harness::cluster("outbound|9080||reviews.default.svc.cluster.local", &[]);
    if service {
        cluster.metadata.services = vec![ServiceMetadata {
            host: "reviews.default.svc.cluster.local".into(),
            name: "reviews".into(),
            namespace: "default".into(),
        }];
    }
    let endpoint = endpoint.map(|workload| {
        Arc::new(Endpoint {
            address: EndpointAddress::Socket("10.0.0.2:9080".parse().unwrap()),
            weight: 1,
            health: Default::default(),
            metadata: EndpointMetadata {
                workload: Some(WorkloadMetadata::parse(workload)),
                ..EndpointMetadata::default()
            },
            hostname: None,
            locality: Arc::default(),
            priority: 0,
        })
    });
    let identity = |uri: &str| PeerIdentity { uris: vec![uri.into()], ..PeerIdentity::default() };
    UpstreamFacts {
        cluster_name: Some(Arc::clone(&cluster.name)),
        cluster: Some(Arc::new(cluster)),
        endpoint,
        peer: peer.map(identity).map(Arc::new),
        ..UpstreamFacts::default()
    }
}

fn own(workload: &str, principal: &str) -> Own {
    let metadata = NodeMetadata {
        workload_name: Some(workload.to_owned()),
        namespace: Some("default".to_owned()),
        cluster_id: Some("Kubernetes".to_owned()),
        labels: [("app".to_owned(), "own-app".to_owned())].into(),
        ..NodeMetadata::default()
    };
    Own { workload: Arc::new(own_workload(&metadata)), principal: principal.into() }
}

fn labels(facts: &Facts<'_>, own: &Own) -> impl Fn(&str) -> String + use<> {
    let pairs = ends(facts, own).pairs(None);
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| v.clone()).unwrap()
}

#[test]
fn a_client_reports_what_the_endpoint_and_its_certificate_say() {
    let downstream = downstream(TrafficDirection::Outbound, None);
    let upstream = upstream(true, Some("reviews-v1;default;reviews;v1;Kubernetes"), Some(SERVER));
    let facts = Facts {
        downstream: &downstream,
        upstream: &upstream,
        downstream_metadata: None,
        upstream_metadata: None,
        protocol: RequestProtocol::Http,
        host: Some("reviews:9080"),
        black_hole: false,
        flags: "-",
    };
    let label = labels(&facts, &own("productpage-v1", CLIENT));
    for (name, value) in [
        ("reporter", "source"),
        ("source_workload", "productpage-v1"),
        ("source_app", "own-app"),
        ("source_version", "unknown"),
        ("source_canonical_service", "own-app"),
        ("source_canonical_revision", "latest"),
        ("source_principal", CLIENT),
        ("destination_workload", "reviews-v1"),
        ("destination_workload_namespace", "default"),
        ("destination_app", "unknown"),
        ("destination_canonical_service", "reviews"),
        ("destination_canonical_revision", "v1"),
        ("destination_cluster", "Kubernetes"),
        ("destination_principal", SERVER),
        ("destination_service", "reviews.default.svc.cluster.local"),
        ("destination_service_name", "reviews"),
        ("destination_service_namespace", "default"),
        ("connection_security_policy", "unknown"),
        ("request_protocol", "http"),
        ("response_flags", "-"),
    ] {
        assert_eq!(label(name), value, "{name}");
    }
    // What the peer said itself is the better word.
    let said = PeerMetadata { workload: "reviews-v2".into(), ..PeerMetadata::default() };
    let facts = Facts { upstream_metadata: Some(&said), ..facts };
    assert_eq!(labels(&facts, &own("p", CLIENT))("destination_workload"), "reviews-v2");
}

#[test]
fn a_server_reports_what_the_client_proved() {
    let upstream = upstream(true, None, None);
    let said = PeerMetadata {
        workload: "productpage-v1".into(),
        namespace: "default".into(),
        app: "productpage".into(),
        ..PeerMetadata::default()
    };
    for (peer, principal, own_principal, security) in
        [(Some(CLIENT), CLIENT, SERVER, "mutual_tls"), (None, "unknown", "unknown", "none")]
    {
        let downstream = downstream(TrafficDirection::Inbound, peer);
        let facts = Facts {
            downstream: &downstream,
            upstream: &upstream,
            downstream_metadata: Some(&said),
            upstream_metadata: None,
            protocol: RequestProtocol::Grpc,
            host: None,
            black_hole: false,
            flags: "DC",
        };
        let label = labels(&facts, &own("reviews-v1", SERVER));
        assert_eq!(label("reporter"), "destination");
        assert_eq!(label("source_workload"), "productpage-v1");
        assert_eq!(label("source_app"), "productpage");
        assert_eq!(label("source_principal"), principal);
        assert_eq!(label("destination_principal"), own_principal);
        assert_eq!(label("destination_workload"), "reviews-v1");
        assert_eq!(label("connection_security_policy"), security);
        assert_eq!(label("request_protocol"), "grpc");
        assert_eq!(label("response_flags"), "DC");
    }
}

#[test]
fn what_is_no_service_is_named_by_host_or_cluster() {
    let downstream = downstream(TrafficDirection::Outbound, None);
    let mut passthrough = harness::cluster("PassthroughCluster", &[]);
    passthrough.metadata.services = Vec::new();
    let cases = [
        (None, Some("a.example"), ("a.example", "a.example", "unknown")),
        (None, None, ("unknown", "unknown", "unknown")),
        (Some(passthrough), Some("a.example"), ("a.example", "PassthroughCluster", "unknown")),
        // No cluster, for a route that refuses.
        (None, Some("refused.example"), ("refused.example", "BlackHoleCluster", "unknown")),
    ];
    for (cluster, host, expected) in cases {
        let upstream = UpstreamFacts { cluster: cluster.map(Arc::new), ..UpstreamFacts::default() };
        assert!(needs_host(upstream.cluster.as_deref()));
        let facts = Facts {
            downstream: &downstream,
            upstream: &upstream,
            downstream_metadata: None,
            upstream_metadata: None,
            protocol: RequestProtocol::Tcp,
            host,
            black_hole: expected.1 == "BlackHoleCluster",
            flags: "-",
        };
        let label = labels(&facts, &own("p", ""));
        let found = [
            label("destination_service"),
            label("destination_service_name"),
            label("destination_service_namespace"),
        ];
        assert_eq!(found, [expected.0, expected.1, expected.2]);
    }
}

#[test]
fn a_workload_without_labels_is_known_by_its_owner() {
    let owner = "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1";
    let metadata = NodeMetadata { owner: Some(owner.to_owned()), ..NodeMetadata::default() };
    let workload = own_workload(&metadata);
    assert_eq!((&*workload.name, &*workload.canonical_service), ("reviews-v1", "reviews-v1"));
    assert_eq!(&*workload.namespace, "unknown");
}
