//! The discovery protocol's messages with Envoy's field numbers, in types that share resource
//! bodies instead of copying them and whose encoding is stable.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_api::envoy::core::{ControlPlane, Node};
use mesh_api::envoy::rpc::Status;
use mesh_api::type_url::TypeUrl;
use prost::Message;

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaDiscoveryRequest {
    /// The client, on the first message of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// The type this message is about.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names added to the subscription; `*` for all.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names taken out of it.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client has from an earlier stream: name to version.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The response this acknowledges.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why that response was refused.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// `google.protobuf.Any`. Both fields are bytes, so that neither is copied; a text and bytes are
/// the same on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// The type, in ASCII.
    #[prost(bytes = "bytes", tag = "1")]
    pub type_url: Bytes,
    /// The message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Its version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Its body.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Names that were asked for and that this resource answers.
    #[prost(string, repeated, tag = "4")]
    pub aliases: Vec<String>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaDiscoveryResponse {
    /// The server's version, for people.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// New and changed resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// Their type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names this response.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Resources that are no more, or that never were.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// Who answers.
    #[prost(message, optional, tag = "7")]
    pub control_plane: Option<ControlPlane>,
}

/// `envoy.service.discovery.v3.DiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct DiscoveryRequest {
    /// The version the client has.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// The client, on the first message of a stream.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// All names it wants.
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    /// The type this message is about.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The response this acknowledges.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why that response was refused.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<Status>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct DiscoveryResponse {
    /// The version of what is sent.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// The resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Any>,
    /// Their type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names this response.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Who answers.
    #[prost(message, optional, tag = "6")]
    pub control_plane: Option<ControlPlane>,
}

/// A type URL as the bytes of an [`Any`].
#[must_use]
pub fn url_bytes(ty: &TypeUrl) -> Bytes {
    Bytes::copy_from_slice(ty.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::service::discovery as envoy;

    use super::*;

    #[test]
    fn envoys_own_types_read_and_write_the_same_bytes() {
        let resource = Resource {
            version: "v".to_owned(),
            resource: Some(Any { type_url: url_bytes(&TypeUrl::Cluster), value: "x".into() }),
            name: "a".to_owned(),
            aliases: vec!["b".to_owned()],
        };
        let ours = DeltaDiscoveryResponse {
            system_version_info: "1".to_owned(),
            resources: vec![resource],
            type_url: "t".to_owned(),
            nonce: "n".to_owned(),
            removed_resources: vec!["c".to_owned()],
            control_plane: Some(ControlPlane { identifier: "id".to_owned() }),
        };
        let theirs =
            envoy::DeltaDiscoveryResponse::decode(ours.encode_to_vec().as_slice()).unwrap();
        assert_eq!(theirs.resources[0].aliases, ["b"]);
        let any = theirs.resources[0].resource.as_ref().unwrap();
        assert_eq!(
            (any.type_url.as_str(), any.value.as_slice()),
            (TypeUrl::Cluster.as_str(), &b"x"[..])
        );
        assert_eq!(
            (theirs.nonce.as_str(), &theirs.removed_resources[..]),
            ("n", &["c".to_owned()][..])
        );
        assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec());

        let theirs = envoy::DeltaDiscoveryRequest {
            type_url: "t".to_owned(),
            resource_names_subscribe: vec!["a".to_owned()],
            resource_names_unsubscribe: vec!["b".to_owned()],
            initial_resource_versions: [("c".to_owned(), "1".to_owned())].into(),
            response_nonce: "n".to_owned(),
            error_detail: Some(Status { code: 3, ..Status::default() }),
            ..Default::default()
        };
        let ours = DeltaDiscoveryRequest::decode(theirs.encode_to_vec().as_slice()).unwrap();
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());

        let theirs = envoy::DiscoveryRequest {
            version_info: "1".to_owned(),
            resource_names: vec!["a".to_owned()],
            type_url: "t".to_owned(),
            response_nonce: "n".to_owned(),
            ..Default::default()
        };
        let ours = DiscoveryRequest::decode(theirs.encode_to_vec().as_slice()).unwrap();
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
        let ours = DiscoveryResponse {
            version_info: "1".to_owned(),
            resources: vec![Any { type_url: "u".into(), value: "x".into() }],
            type_url: "t".to_owned(),
            nonce: "n".to_owned(),
            control_plane: None,
        };
        let theirs = envoy::DiscoveryResponse::decode(ours.encode_to_vec().as_slice()).unwrap();
        assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec());
    }
}
