//! `/clusters?format=json` and `/listeners?format=json`, as Envoy writes them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::{Address, UnixPath};

/// `/clusters?format=json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clusters {
    /// The clusters.
    pub cluster_statuses: Vec<ClusterStatus>,
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Whether the control plane added it, rather than the bootstrap document.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub added_via_api: bool,
    /// Its endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_statuses: Vec<HostStatus>,
    /// Its circuit breakers, as configured: Envoy's `CircuitBreakers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<serde_json::Value>,
    /// Its service, as statistics and traces name it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub observability_name: String,
    /// Its EDS name, when that is another.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub eds_service_name: String,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostStatus {
    /// Where it is.
    pub address: EnvoyAddress,
    /// Counters and gauges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stats: Vec<SimpleMetric>,
    /// Its health.
    pub health_status: HostHealth,
    /// Its hostname, when it was resolved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Its weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Its priority; 0 is first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: u32,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<EnvoyLocality>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // Serde passes a reference.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A place. Empty parts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvoyLocality {
    /// Region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Sub-zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_zone: String,
}

/// An address: one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvoyAddress {
    /// IP address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_address: Option<SocketAddress>,
    /// Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipe: Option<Pipe>,
}

/// IP address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketAddress {
    /// The address.
    pub address: String,
    /// The port.
    pub port_value: u16,
}

/// A Unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pipe {
    /// Its path, or `@` and its abstract name.
    pub path: String,
}

impl From<&Address> for EnvoyAddress {
    fn from(address: &Address) -> Self {
        match address {
            Address::Ip(address) => Self::from(*address),
            Address::Unix(path) => Self {
                socket_address: None,
                pipe: Some(Pipe { path: UnixPath::pipe(path).to_owned() }),
            },
        }
    }
}

impl From<SocketAddr> for EnvoyAddress {
    fn from(address: SocketAddr) -> Self {
        let (address, port_value) = (address.ip().to_string(), address.port());
        Self { socket_address: Some(SocketAddress { address, port_value }), pipe: None }
    }
}

impl EnvoyAddress {
    /// The address it stands for, if it is one.
    pub fn address(&self) -> Option<Address> {
        match (&self.socket_address, &self.pipe) {
            (Some(SocketAddress { address, port_value }), _) => {
                Some(SocketAddr::new(address.parse().ok()?, *port_value).into())
            }
            (None, Some(Pipe { path })) => UnixPath::from_pipe(path).ok().map(Into::into),
            (None, None) => None,
        }
    }
}

/// A counter or gauge. Envoy writes 64-bit numbers as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimpleMetric {
    /// Its name.
    pub name: String,
    /// Its value; absent when 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `GAUGE`, or absent for a counter.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Health of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostHealth {
    /// As the control plane says: `HEALTHY`, `UNHEALTHY`, `DRAINING`, `DEGRADED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eds_health_status: Option<String>,
    /// An active check failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failed_active_health_check: bool,
    /// Outlier detection left it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failed_outlier_check: bool,
}

/// `/listeners?format=json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listeners {
    /// The listeners.
    pub listener_statuses: Vec<ListenerStatus>,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub local_address: EnvoyAddress,
    /// Where it listens, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_local_addresses: Vec<EnvoyAddress>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy;
    use crate::pool::{JsonStyle, message_from_json, message_to_json};

    #[test]
    fn the_documents_are_envoys() {
        let address = |text: &str| EnvoyAddress::from(&Address::parse(text).unwrap());
        let clusters = Clusters {
            cluster_statuses: vec![ClusterStatus {
                name: "outbound|9080||reviews.default.svc.cluster.local".to_owned(),
                added_via_api: true,
                host_statuses: vec![HostStatus {
                    address: address("10.1.0.7:9080"),
                    stats: vec![SimpleMetric {
                        name: "cx_active".to_owned(),
                        value: Some("3".to_owned()),
                        kind: Some("GAUGE".to_owned()),
                    }],
                    health_status: HostHealth {
                        eds_health_status: Some("HEALTHY".to_owned()),
                        ..Default::default()
                    },
                    weight: Some(1),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let json = serde_json::to_value(&clusters).unwrap();
        let message: envoy::admin::Clusters = message_from_json(&json).unwrap();
        assert_eq!(message_to_json(&message, JsonStyle::Proto).unwrap(), json);
        assert_eq!(serde_json::from_value::<Clusters>(json).unwrap(), clusters);

        let listeners = Listeners {
            listener_statuses: vec![ListenerStatus {
                name: "virtualOutbound".to_owned(),
                local_address: address("0.0.0.0:15001"),
                additional_local_addresses: vec![address("unix:///run/a")],
            }],
        };
        let json = serde_json::to_value(&listeners).unwrap();
        let message: envoy::admin::Listeners = message_from_json(&json).unwrap();
        let printed = message_to_json(&message, JsonStyle::Proto).unwrap();
        assert_eq!(serde_json::from_value::<Listeners>(printed).unwrap(), listeners);
    }

    #[test]
    fn addresses_go_there_and_back() {
        for text in ["10.0.0.1:80", "[fd00::1]:80", "unix:///run/a", "unix://@a"] {
            let address = Address::parse(text).unwrap();
            assert_eq!(EnvoyAddress::from(&address).address(), Some(address));
        }
        assert_eq!(EnvoyAddress::default().address(), None);
    }
}
