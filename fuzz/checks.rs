//! What must hold of every parser for any bytes: it does not panic, and what it accepts prints and
//! parses as the same value. Shared by the fuzz targets and the test that replays their corpora.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use mesh_api::address::{Address, Cidr};
use mesh_api::bootstrap::Bootstrap;
use mesh_api::envoy::protobuf::{Any, Struct};
use mesh_api::mesh_config::{MeshConfig, effective};
use mesh_api::name::{ClusterName, Hostname, ListenerName, RouteName, SecretName};
use mesh_api::node::NodeId;
use mesh_api::node_metadata::NodeMetadata;
use mesh_api::pool::{JsonStyle, from_json, to_json};
use mesh_api::spiffe::{SpiffeId, SpiffeUri};
use mesh_api::struct_json::{from_struct, to_struct};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A check of some bytes.
pub(crate) type Check = fn(&[u8]);

/// Every check, by the name of its fuzz target and corpus.
pub(crate) const ALL: [(&str, Check); 11] = [
    ("address", address),
    ("any_to_json", any_to_json),
    ("bootstrap", bootstrap),
    ("cluster_name", cluster_name),
    ("hostname", hostname),
    ("mesh_config", mesh_config),
    ("node_id", node_id),
    ("node_metadata", node_metadata),
    ("route_name", route_name),
    ("secret_name", secret_name),
    ("spiffe", spiffe),
];

/// Addresses, Unix sockets and blocks.
pub(crate) fn address(data: &[u8]) {
    round_trip::<Address>(data);
    round_trip::<Cidr>(data);
}

/// Names of clusters and listeners, and the SNI form of a cluster.
pub(crate) fn cluster_name(data: &[u8]) {
    if let Some(sni) = round_trip::<ClusterName>(data).and_then(|name| name.sni()) {
        assert_eq!(sni.to_string().parse(), Ok(sni));
    }
    round_trip::<ListenerName>(data);
}

/// Hostnames.
pub(crate) fn hostname(data: &[u8]) {
    if let Some(host) = round_trip::<Hostname>(data) {
        assert!(host.covers(&host));
    }
}

/// Names of routes.
pub(crate) fn route_name(data: &[u8]) {
    round_trip::<RouteName>(data);
}

/// Names of secrets.
pub(crate) fn secret_name(data: &[u8]) {
    round_trip::<SecretName>(data);
}

/// SPIFFE ids.
pub(crate) fn spiffe(data: &[u8]) {
    if let Some(id) = round_trip::<SpiffeId>(data) {
        assert_eq!(SpiffeId::parse_principal(&id.principal()), Ok(id));
    }
    round_trip::<SpiffeUri>(data);
}

/// Node ids.
pub(crate) fn node_id(data: &[u8]) {
    round_trip::<NodeId>(data);
}

/// Bootstrap documents.
pub(crate) fn bootstrap(data: &[u8]) {
    if let Ok(bootstrap) = serde_json::from_slice::<Bootstrap>(data) {
        assert_eq!(again(&bootstrap), bootstrap);
    }
}

/// Mesh-wide settings.
pub(crate) fn mesh_config(data: &[u8]) {
    if let Ok(document) = serde_json::from_slice(data)
        && let Ok(mesh) = effective::<MeshConfig>([document])
    {
        assert_eq!(again(&mesh), mesh);
    }
}

/// Node metadata, as the `Struct` a node sends.
pub(crate) fn node_metadata(data: &[u8]) {
    let Ok(message) = Struct::decode(data) else { return };
    let object = from_struct(&message);
    assert_eq!(from_struct(&to_struct(&object)), object);
    if let Ok(metadata) = NodeMetadata::from_json(object) {
        let again = NodeMetadata::from_struct(&metadata.to_struct()).expect("what is sent is read");
        assert_eq!(again, metadata);
    }
}

/// Packed messages as JSON.
pub(crate) fn any_to_json(data: &[u8]) {
    let Ok(any) = Any::decode(data) else { return };
    for style in [JsonStyle::Proto, JsonStyle::Camel] {
        if let Ok(json) = to_json(&any, style) {
            let _ = from_json(&json);
        }
    }
}

/// Written and read. Not as text: reading a number from text may miss its last bit.
fn again<T: Serialize + DeserializeOwned>(document: &T) -> T {
    let json = serde_json::to_value(document).expect("a document has a JSON form");
    serde_json::from_value(json).expect("what is written is read")
}

fn round_trip<T: FromStr + Display + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let value: T = std::str::from_utf8(data).ok()?.parse().ok()?;
    let text = value.to_string();
    match text.parse::<T>() {
        Ok(again) => assert_eq!(again, value, "{text:?}"),
        Err(_) => panic!("{text:?} was printed and does not parse"),
    }
    Some(value)
}
