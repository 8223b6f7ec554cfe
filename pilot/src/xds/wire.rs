//! The two forms of the protocol, delta and state of the world, as one.

use std::collections::BTreeSet;

use mesh_api::envoy::core::{ControlPlane, Node};
use mesh_api::envoy::rpc::Status as RpcStatus;
use mesh_api::lateen::config::ConfigReport;
use mesh_api::type_url::TypeUrl;
use prost::{Message, Name};
use sha2::{Digest, Sha256};

use super::messages::{
    Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource, url_bytes,
};
use super::source::Item;
use super::subscription::{Client, Outgoing, Request};

/// What a message of a client is.
pub enum Received {
    /// About a type it wants.
    Request(TypeUrl, Request),
    /// What it made of its configuration.
    Report(ConfigReport),
    /// Nothing to act on.
    Ignored,
}

/// One form of the protocol.
pub trait Wire: 'static {
    /// What the client sends.
    type Request: Message + Default + 'static;
    /// What the server sends.
    type Response: Message + Default + 'static;
    /// Whether responses for all clusters or listeners carry the whole set.
    const STATE_OF_THE_WORLD: bool;

    /// The node, taken out of the first message.
    fn node(request: &mut Self::Request) -> Option<Node>;

    /// What the message says.
    ///
    /// # Errors
    /// A sentence, when it says nothing that can be understood.
    fn received(request: Self::Request, client: &Client) -> Result<Received, String>;

    /// The message for a response.
    fn response(outgoing: Outgoing, control_plane: Option<ControlPlane>) -> Self::Response;
}

/// Only what differs is sent.
pub struct Delta;

/// Sets are sent whole.
pub struct StateOfTheWorld;

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const STATE_OF_THE_WORLD: bool = false;

    fn node(request: &mut Self::Request) -> Option<Node> {
        request.node.take()
    }

    fn received(request: Self::Request, _client: &Client) -> Result<Received, String> {
        if let Some(report) = report(&request.type_url, request.error_detail.as_ref())? {
            return Ok(report);
        }
        let ty = TypeUrl::parse(&request.type_url).map_err(|error| error.to_string())?;
        let request = Request {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            versions: request.initial_resource_versions,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            always_answer: false,
        };
        Ok(Received::Request(ty, request))
    }

    fn response(outgoing: Outgoing, control_plane: Option<ControlPlane>) -> Self::Response {
        let url = url_bytes(&outgoing.ty);
        let resource = |(item, aliases): (Item, Vec<String>)| Resource {
            version: item.version.to_string(),
            resource: Some(Any { type_url: url.clone(), value: item.body }),
            name: item.name.to_string(),
            aliases,
        };
        DeltaDiscoveryResponse {
            system_version_info: outgoing.nonce.clone(),
            resources: outgoing.resources.into_iter().map(resource).collect(),
            type_url: outgoing.ty.to_string(),
            nonce: outgoing.nonce,
            removed_resources: outgoing.removed,
            control_plane,
        }
    }
}

impl Wire for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const STATE_OF_THE_WORLD: bool = true;

    fn node(request: &mut Self::Request) -> Option<Node> {
        request.node.take()
    }

    fn received(request: Self::Request, client: &Client) -> Result<Received, String> {
        if let Some(report) = report(&request.type_url, request.error_detail.as_ref())? {
            return Ok(report);
        }
        let ty = TypeUrl::parse(&request.type_url).map_err(|error| error.to_string())?;
        let before = client.progress().find(|(known, _)| **known == ty).map(|(_, p)| p);
        let nonce = request.response_nonce;
        // A new stream may begin with the nonce of the old one.
        let anew = before.is_none() || nonce.is_empty();
        if before.as_ref().is_some_and(|before| !anew && before.sent != nonce) {
            return Ok(Received::Ignored);
        }
        let repeated = before.is_some_and(|before| before.acked == nonce && !nonce.is_empty());
        let asked: BTreeSet<String> = client.asked(&ty).into_iter().collect();
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let gone = asked.difference(&names).cloned().collect();
        // A client that repeats what was acknowledged waits for resources to warm by.
        let again = anew || (repeated && asked == names && request.error_detail.is_none());
        let fresh = names.iter().filter(|name| again || !asked.contains(*name)).cloned().collect();
        let request = Request {
            subscribe: fresh,
            unsubscribe: gone,
            nonce,
            error: request.error_detail.map(|status| status.message),
            always_answer: again,
            ..Request::default()
        };
        Ok(Received::Request(ty, request))
    }

    fn response(outgoing: Outgoing, control_plane: Option<ControlPlane>) -> Self::Response {
        let url = url_bytes(&outgoing.ty);
        let mut hash = Sha256::new();
        for (item, _) in &outgoing.resources {
            hash.update(item.name.as_bytes());
            hash.update([0]);
            hash.update(item.version.as_bytes());
            hash.update([0]);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let any = |(item, _): (Item, Vec<String>)| Any { type_url: url.clone(), value: item.body };
        DiscoveryResponse {
            version_info: hash[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
            resources: outgoing.resources.into_iter().map(any).collect(),
            type_url: outgoing.ty.to_string(),
            nonce: outgoing.nonce,
            control_plane,
        }
    }
}

fn report(type_url: &str, detail: Option<&RpcStatus>) -> Result<Option<Received>, String> {
    if type_url != ConfigReport::type_url() {
        return Ok(None);
    }
    let any = detail.and_then(|status| status.details.first());
    let any = any.ok_or("a configuration report without error_detail.details")?;
    let report = mesh_api::any::unpack::<ConfigReport>(any).map_err(|error| error.to_string())?;
    Ok(Some(Received::Report(report)))
}
