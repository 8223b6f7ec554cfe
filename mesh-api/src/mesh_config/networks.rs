//! `MeshNetworks`: which endpoints and gateways belong to which network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Networks by id: key `meshNetworks` of the ConfigMap `istio[-<revision>]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshNetworks {
    /// The networks.
    pub networks: BTreeMap<String, Network>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Network {
    /// Endpoints that belong to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<NetworkEndpoints>,
    /// Gateways into it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<NetworkGateway>,
}

/// Endpoints of a network: one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkEndpoints {
    /// Those in an address block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_cidr: Option<String>,
    /// Those of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_registry: Option<String>,
}

/// A gateway into a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkGateway {
    /// Host of its Service; or else an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_service_name: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    pub port: u16,
    /// Its locality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
}
