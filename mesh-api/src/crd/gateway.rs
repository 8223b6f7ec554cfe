//! Gateway: the ports a load balancer at the edge of the mesh listens on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Port;
use super::definition::Definition;
use super::status::IstioStatus;

pub mod tls;

pub use tls::{ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsProtocol};

/// A Gateway object.
pub type Gateway = super::Object<GatewaySpec>;

/// Ports of a set of gateway workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// Labels of the gateway workloads, of any namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Ports to listen on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
}

/// A port to listen on, and the hosts served there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["port", "hosts"]))]
pub struct Server {
    /// Port to listen on.
    pub port: Port,
    /// Address or `unix://` path to listen on; unset means the wildcard address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Hosts served, as `dnsName` or `namespace/dnsName`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// TLS of the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTlsSettings>,
    /// Not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_endpoint: Option<String>,
    /// Name of the server, unique among all servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Definition for GatewaySpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "Gateway";
    const PLURAL: &'static str = "gateways";
    const SERVED: &'static [&'static str] = &["v1", "v1alpha3", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["gw"];
}
