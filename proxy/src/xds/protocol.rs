//! The delta protocol of one client, without I/O: what to subscribe to, what to acknowledge, what
//! a response says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::envoy::core::Node;
use mesh_api::envoy::rpc::Status;
use mesh_api::envoy::service::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_api::lateen::{CONFIG_REPORT_FEATURE, ControlPlaneIdentifier, ON_DEMAND_FEATURE};
use mesh_api::type_url::TypeUrl;
use proxy_model::lookup::ResourceName;
use proxy_model::matcher::CidrSet;
use proxy_model::snapshot::{OnDemand, OutboundTrafficPolicy};
use proxy_model::stage::{Applied, Stage, Upsert, Wanted};

#[cfg(test)]
mod tests;

/// gRPC's `INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;
/// Bytes of a NACK's text at most.
const MAX_NACK: usize = 8 << 10;

/// The client's side of the protocol.
pub struct Protocol {
    node: Node,
    /// Whether the client asks by name where the server announces that it answers so.
    may_ask: bool,
    node_sent: bool,
    subscriptions: BTreeMap<usize, Subscription>,
    /// What the server said of itself on this stream.
    server: Option<ControlPlaneIdentifier>,
}

/// What the server was told of one type on this stream.
#[derive(Default)]
struct Subscription {
    opened: bool,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
}

/// What a response says.
#[derive(Debug)]
pub struct Received {
    /// The type.
    pub type_url: TypeUrl,
    /// New and changed resources.
    pub upserts: Vec<Upsert>,
    /// Resources that are no more, or never were.
    pub removed: Vec<Arc<str>>,
    /// The response's name.
    pub nonce: String,
    /// The stream's first response says whether things are asked by name.
    pub announced: Option<Option<OnDemand>>,
}

/// What to send, and what is not wanted any more.
#[derive(Default)]
pub struct Update {
    /// In this order.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// Names that were given up.
    pub dropped: Vec<ResourceName>,
}

/// What the client can do beyond the protocol, as its node says it.
pub fn features(may_ask: bool) -> impl Iterator<Item = &'static str> {
    [CONFIG_REPORT_FEATURE].into_iter().chain(may_ask.then_some(ON_DEMAND_FEATURE))
}

impl Protocol {
    /// A client that says it is `node`.
    pub fn new(mut node: Node, may_ask: bool) -> Self {
        node.client_features.extend(features(may_ask).map(str::to_owned));
        let subscriptions = BTreeMap::new();
        Self { node, may_ask, node_sent: false, subscriptions, server: None }
    }

    /// Whether the client may ask by name.
    pub fn may_ask(&self) -> bool {
        self.may_ask
    }

    /// Whether the server takes reports.
    pub fn takes_reports(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.config_report)
    }

    /// What the server said of itself, as text.
    pub fn identifier(&self) -> Option<String> {
        self.server.as_ref().map(ControlPlaneIdentifier::to_text)
    }

    /// A new stream: the server knows nothing of this client.
    pub fn restart(&mut self) {
        self.node_sent = false;
        self.subscriptions.clear();
        self.server = None;
    }

    /// Brings the subscriptions to what is wanted. A type's first request on a stream tells which
    /// versions are held, so that only differences come.
    pub fn update(&mut self, stage: &Stage, wanted: &BTreeMap<usize, Wanted>) -> Update {
        let mut update = Update::default();
        let nothing = Wanted::default();
        for (place, type_url) in Stage::TYPES.iter().enumerate() {
            let wanted = wanted.get(&place).unwrap_or(&nothing);
            let held = self.subscriptions.entry(place).or_default();
            let mut subscribe: Vec<String> =
                wanted.names.difference(&held.names).map(ToString::to_string).collect();
            let mut unsubscribe: Vec<String> =
                held.names.difference(&wanted.names).map(ToString::to_string).collect();
            // Names that everything includes are given up, and what they brought is kept.
            if !wanted.wildcard {
                let dropped = |name: &String| ResourceName::new(type_url.clone(), name.as_str());
                update.dropped.extend(unsubscribe.iter().map(dropped));
            }
            if wanted.wildcard != held.wildcard {
                let list = if wanted.wildcard { &mut subscribe } else { &mut unsubscribe };
                list.push("*".to_owned());
            }
            if subscribe.is_empty() && unsubscribe.is_empty() {
                continue;
            }
            let mut request = DeltaDiscoveryRequest {
                type_url: type_url.as_str().to_owned(),
                resource_names_subscribe: subscribe,
                resource_names_unsubscribe: unsubscribe,
                ..DeltaDiscoveryRequest::default()
            };
            if !held.opened {
                request.initial_resource_versions = versions(stage, type_url);
            }
            *held = Subscription {
                opened: true,
                wildcard: wanted.wildcard,
                names: wanted.names.clone(),
            };
            update.requests.push(self.with_node(request));
        }
        update
    }

    /// Reads a response.
    ///
    /// # Errors
    /// When it names no type.
    pub fn received(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<Received, mesh_api::name::NameError> {
        let type_url = TypeUrl::parse(&response.type_url)?;
        let announced = match &self.server {
            Some(_) => None,
            None => {
                let identifier = response.control_plane.unwrap_or_default().identifier;
                let server = ControlPlaneIdentifier::parse(&identifier).unwrap_or_default();
                let announced = self.announced(&server);
                self.server = Some(server);
                Some(announced)
            }
        };
        let upserts = response.resources.into_iter().map(|resource| Upsert {
            name: resource.name.into(),
            version: resource.version.into(),
            aliases: resource.aliases.into_iter().map(Arc::from).collect(),
            body: Bytes::from(resource.resource.unwrap_or_default().value),
        });
        Ok(Received {
            type_url,
            upserts: upserts.collect(),
            removed: response.removed_resources.into_iter().map(Arc::from).collect(),
            nonce: response.nonce,
            announced,
        })
    }

    /// What a server's word on asking by name means to this client.
    pub fn announced(&self, server: &ControlPlaneIdentifier) -> Option<OnDemand> {
        let on_demand = server.on_demand.as_ref().filter(|_| self.may_ask)?;
        Some(OnDemand {
            cidrs: CidrSet::new(on_demand.mesh_cidrs.iter().copied()),
            outbound_traffic_policy: match on_demand.outbound_traffic_policy.as_str() {
                "ALLOW_ANY" => OutboundTrafficPolicy::AllowAny,
                // A policy that is not known is taken as the strict one.
                _ => OutboundTrafficPolicy::RegistryOnly,
            },
        })
    }

    /// Acknowledges a response, or says which of its resources mean nothing and why.
    pub fn answer(
        &mut self,
        type_url: &TypeUrl,
        nonce: String,
        applied: &Applied,
    ) -> DeltaDiscoveryRequest {
        let mut reasons = String::new();
        for rejected in &applied.rejected {
            if reasons.len() > MAX_NACK {
                reasons.push_str("; …");
                break;
            }
            if !reasons.is_empty() {
                reasons.push_str("; ");
            }
            reasons.push_str(&rejected.to_string());
        }
        let error_detail = (!reasons.is_empty()).then(|| Status {
            code: INVALID_ARGUMENT,
            message: reasons,
            details: Vec::new(),
        });
        self.with_node(DeltaDiscoveryRequest {
            type_url: type_url.as_str().to_owned(),
            response_nonce: nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// The node goes with the stream's first message only.
    fn with_node(&mut self, mut request: DeltaDiscoveryRequest) -> DeltaDiscoveryRequest {
        if !std::mem::replace(&mut self.node_sent, true) {
            request.node = Some(self.node.clone());
        }
        request
    }
}

fn versions(stage: &Stage, type_url: &TypeUrl) -> HashMap<String, String> {
    let held = stage.versions(type_url);
    held.into_iter().map(|(name, version)| (name.to_string(), version.to_string())).collect()
}
