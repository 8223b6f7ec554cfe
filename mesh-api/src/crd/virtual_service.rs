//! VirtualService: how requests to a set of hosts are routed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::definition::{AGE, Column, Definition};
use super::status::IstioStatus;

pub mod http;
pub mod l4;
pub mod modify;

pub use http::{HttpMatchRequest, HttpRoute, HttpRouteDestination};
pub use l4::{L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute};
pub use modify::{
    CorsPolicy, Delegate, HeaderOperations, Headers, HttpDirectResponse, HttpFaultInjection,
    HttpRedirect, HttpRetry, HttpRewrite, RedirectPort, UnmatchedPreflights,
};

/// A VirtualService object.
pub type VirtualService = super::Object<VirtualServiceSpec>;

/// Routing rules for a set of hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualServiceSpec {
    /// Hosts whose traffic is routed; a delegate has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Gateways the routes apply to, as `name` or `namespace/name`; `mesh`, the default, means
    /// every sidecar.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Rules for HTTP traffic; the first that matches applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpRoute>,
    /// Rules for TLS traffic that is not terminated; the first that matches applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<TlsRoute>,
    /// Rules for opaque TCP traffic; the first that matches applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see this rule: names, `.` for its own, `*` for all, `~` for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
}

impl Definition for VirtualServiceSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "VirtualService";
    const PLURAL: &'static str = "virtualservices";
    const SERVED: &'static [&'static str] = &["v1", "v1alpha3", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["vs"];
    const COLUMNS: &'static [Column] = &[
        Column::text("Gateways", ".spec.gateways", "Gateways and sidecars the routes apply to."),
        Column::text("Hosts", ".spec.hosts", "Hosts whose traffic is routed."),
        AGE,
    ];
}
