//! What the client sends in answer to what it receives.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::any;
use mesh_api::envoy::cluster::Cluster;
use mesh_api::envoy::core::ControlPlane;
use mesh_api::envoy::service::discovery::Resource;
use mesh_api::lateen;
use proptest::prelude::{any as anything, prop, prop_assert_eq, proptest};

use super::*;

fn resource(name: &str, version: &str) -> Resource {
    let body = Cluster { name: name.to_owned(), ..Cluster::default() };
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(any::pack(&body)),
        ..Resource::default()
    }
}

fn response(
    resources: Vec<Resource>,
    identifier: &ControlPlaneIdentifier,
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: TypeUrl::Cluster.as_str().to_owned(),
        resources,
        nonce: "n".to_owned(),
        control_plane: Some(ControlPlane { identifier: identifier.to_text() }),
        ..DeltaDiscoveryResponse::default()
    }
}

fn apply(
    protocol: &mut Protocol,
    stage: &mut Stage,
    response: DeltaDiscoveryResponse,
) -> DeltaDiscoveryRequest {
    let received = protocol.received(response).unwrap();
    if let Some(announced) = received.announced {
        stage.set_on_demand(announced);
    }
    let ty = received.type_url;
    let applied = stage.apply(&ty, received.upserts, &received.removed, Duration::ZERO);
    protocol.answer(&ty, received.nonce, &applied)
}

#[test]
fn the_node_goes_first_and_a_server_without_our_ways_is_asked_for_everything() {
    let mut protocol = Protocol::new(Node::default(), true);
    let mut stage = Stage::default();
    stage.set_on_demand(Some(OnDemand::default()));
    let asked = [(Stage::place(&TypeUrl::Listener), Arc::from("virtualInbound"))].into();
    let update = protocol.update(&stage, &stage.wanted(&asked));
    let [first] = update.requests.as_slice() else { panic!("{:?}", update.requests) };
    assert_eq!(first.resource_names_subscribe, ["virtualInbound"]);
    let features = &first.node.as_ref().unwrap().client_features;
    assert_eq!(features, &[lateen::CONFIG_REPORT_FEATURE, lateen::ON_DEMAND_FEATURE]);

    let ack = apply(&mut protocol, &mut stage, response(Vec::new(), &Default::default()));
    assert!(ack.node.is_none() && ack.error_detail.is_none() && ack.response_nonce == "n");
    let update = protocol.update(&stage, &stage.wanted(&asked));
    for request in &update.requests {
        assert_eq!(request.resource_names_subscribe, ["*"], "{}", request.type_url);
    }
    assert_eq!(update.requests.len(), 3);
    assert!(update.dropped.is_empty(), "what came by name is kept");
}

#[test]
fn a_server_with_our_ways_is_asked_by_name() {
    let mut protocol = Protocol::new(Node::default(), true);
    let mut stage = Stage::default();
    let identifier = ControlPlaneIdentifier {
        on_demand: Some(lateen::OnDemand {
            mesh_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
            outbound_traffic_policy: "ALLOW_ANY".to_owned(),
        }),
        config_report: true,
        ..ControlPlaneIdentifier::default()
    };
    apply(&mut protocol, &mut stage, response(Vec::new(), &identifier));
    assert!(protocol.takes_reports());
    let asked = [(0, Arc::from("a"))].into();
    let update = protocol.update(&stage, &stage.wanted(&asked));
    assert_eq!(update.requests[0].resource_names_subscribe, ["a"]);
    let update = protocol.update(&stage, &stage.wanted(&BTreeSet::new()));
    assert_eq!(update.requests[0].resource_names_unsubscribe, ["a"]);
    assert_eq!(update.dropped[0].to_string(), "CDS a");
    assert!(stage.publish(Duration::ZERO).mesh.is_mesh("10.1.1.1".parse().unwrap()));

    let mut opted_out = Protocol::new(Node::default(), false);
    let received = opted_out.received(response(Vec::new(), &identifier)).unwrap();
    assert!(matches!(received.announced, Some(None)));
}

#[test]
fn a_nack_names_resource_and_field_and_the_good_ones_apply() {
    let mut protocol = Protocol::new(Node::default(), false);
    let mut stage = Stage::default();
    let mut bad = resource("bad", "2");
    bad.resource = resource("another", "2").resource;
    let nack = apply(
        &mut protocol,
        &mut stage,
        response(vec![resource("good", "2"), bad], &Default::default()),
    );
    let error = nack.error_detail.unwrap();
    assert_eq!(error.code, INVALID_ARGUMENT);
    assert!(error.message.starts_with("CDS bad: name: "), "{}", error.message);
    assert_eq!(stage.versions(&TypeUrl::Cluster).len(), 1);

    protocol.restart();
    let update = protocol.update(&stage, &stage.wanted(&BTreeSet::new()));
    let clusters = &update.requests[0];
    assert!(clusters.node.is_some(), "a new stream");
    assert_eq!(clusters.initial_resource_versions.get("good").map(String::as_str), Some("2"));
}

/// A server that knows the delta protocol and nothing else.
#[derive(Default)]
struct Server {
    truth: BTreeMap<String, u8>,
    sent: BTreeMap<String, u8>,
    subscribed: bool,
}

impl Server {
    fn request(&mut self, request: &DeltaDiscoveryRequest) {
        if request.type_url != TypeUrl::Cluster.as_str() {
            return;
        }
        self.subscribed |= request.resource_names_subscribe.iter().any(|name| name == "*");
        for (name, version) in &request.initial_resource_versions {
            self.sent.insert(name.clone(), version.parse().unwrap());
        }
    }

    fn response(&mut self) -> Option<DeltaDiscoveryResponse> {
        if !self.subscribed || self.sent == self.truth {
            return None;
        }
        let changed = self.truth.iter().filter(|(name, n)| self.sent.get(*name) != Some(n));
        let resources = changed.map(|(name, n)| resource(name, &n.to_string())).collect();
        let gone = self.sent.keys().filter(|name| !self.truth.contains_key(*name));
        let mut made = response(resources, &Default::default());
        made.removed_resources = gone.cloned().collect();
        self.sent = self.truth.clone();
        Some(made)
    }
}

proptest! {
    /// Whatever changes and however often the stream breaks, the client ends with what the server
    /// has, and a reconnect sends nothing twice.
    #[test]
    fn the_client_ends_with_what_the_server_has(
        steps in prop::collection::vec((0..4_u8, 0..3_u8, anything::<bool>(), anything::<bool>()), 0..30),
    ) {
        let mut protocol = Protocol::new(Node::default(), false);
        let mut stage = Stage::default();
        let mut server = Server::default();
        for (name, version, lost, breaks) in steps {
            let key = format!("c{name}");
            match version {
                0 => { server.truth.remove(&key); }
                version => { server.truth.insert(key, version); }
            }
            if breaks {
                server = Server { truth: server.truth, ..Server::default() };
                protocol.restart();
            }
            for request in protocol.update(&stage, &stage.wanted(&BTreeSet::new())).requests {
                server.request(&request);
            }
            if let Some(response) = server.response() {
                if lost {
                    server = Server { truth: server.truth, ..Server::default() };
                    protocol.restart();
                } else {
                    apply(&mut protocol, &mut stage, response);
                }
            }
        }
        protocol.restart();
        let mut server = Server { truth: server.truth, ..Server::default() };
        for request in protocol.update(&stage, &stage.wanted(&BTreeSet::new())).requests {
            server.request(&request);
        }
        if let Some(response) = server.response() {
            apply(&mut protocol, &mut stage, response);
        }
        let held: BTreeMap<String, u8> = stage
            .versions(&TypeUrl::Cluster)
            .iter()
            .map(|(name, version)| (name.to_string(), version.parse().unwrap()))
            .collect();
        prop_assert_eq!(held, server.truth);
    }
}
