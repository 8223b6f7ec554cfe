//! `/config_dump`, `/server_info`, `/certs`, `/ready` and the description of statistics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `/config_dump`: protobuf JSON of Envoy's dump messages, each with an `@type`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigDump {
    /// One document per kind of resource.
    pub configs: Vec<Value>,
}

impl ConfigDump {
    /// The document of that message, such as `envoy.admin.v3.ClustersConfigDump`.
    pub fn section(&self, message: &str) -> Option<&Value> {
        let named = |config: &&Value| {
            let type_url = config.get("@type").and_then(Value::as_str);
            type_url.is_some_and(|type_url| crate::any::message_name(type_url) == message)
        };
        self.configs.iter().find(named)
    }
}

/// `/server_info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Version and build.
    pub version: String,
    /// Where the server is in its life.
    pub state: ServerState,
    /// How long the process runs, as `12s`.
    pub uptime_current_epoch: String,
    /// How long it runs, with those before it.
    pub uptime_all_epochs: String,
    /// Version of the hot restart protocol.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hot_restart_version: String,
    /// Command line options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub command_line_options: BTreeMap<String, Value>,
    /// Who the proxy is, as Envoy's `Node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Value>,
}

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerState {
    /// It serves.
    Live,
    /// It drains.
    Draining,
    /// It has not begun to load configuration.
    #[default]
    PreInitializing,
    /// It waits for its first configuration.
    Initializing,
}

/// `/certs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificates {
    /// One entry per use of certificates.
    pub certificates: Vec<CertificateSet>,
}

/// Certificates that are used together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateSet {
    /// Roots peers are verified with.
    pub ca_cert: Vec<CertificateDetails>,
    /// Certificates presented to peers.
    pub cert_chain: Vec<CertificateDetails>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateDetails {
    /// Its file, or `<inline>`.
    pub path: String,
    /// Serial number, hexadecimal.
    pub serial_number: String,
    /// Names: each an object with one of `dns`, `uri`, `ip_address`.
    pub subject_alt_names: Vec<BTreeMap<String, String>>,
    /// Whole days until it ends, as text.
    pub days_until_expiration: String,
    /// When it begins, RFC 3339.
    pub valid_from: String,
    /// When it ends, RFC 3339.
    pub expiration_time: String,
}

/// `/ready?format=json`: why a process is ready or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every guard is.
    pub ready: bool,
    /// What must be ready.
    pub guards: Vec<Guard>,
}

/// Something that must be ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// Whether it is.
    pub ready: bool,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting_for: String,
}

/// What is known of a statistic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatMeta {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: StatKind,
    /// What it counts.
    pub help: String,
    /// Its unit, when the name does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// What kind a statistic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by size.
    Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::admin;
    use crate::pool::{JsonStyle, message_from_json, message_to_json};
    use serde_json::json;

    #[test]
    fn the_documents_are_envoys() {
        let info = ServerInfo {
            version: "1.0/Clean".to_owned(),
            state: ServerState::Draining,
            uptime_current_epoch: "12s".to_owned(),
            uptime_all_epochs: "12s".to_owned(),
            ..Default::default()
        };
        let json = serde_json::to_value(&info).unwrap();
        let message: admin::ServerInfo = message_from_json(&json).unwrap();
        assert_eq!(message_to_json(&message, JsonStyle::Proto).unwrap(), json);

        let name = BTreeMap::from([("uri".to_owned(), "spiffe://td/ns/a/sa/b".to_owned())]);
        let details = CertificateDetails {
            path: "<inline>".to_owned(),
            serial_number: "0a".to_owned(),
            subject_alt_names: vec![name],
            days_until_expiration: "1".to_owned(),
            valid_from: "2026-01-01T00:00:00Z".to_owned(),
            expiration_time: "2026-01-02T00:00:00Z".to_owned(),
        };
        let set = CertificateSet { ca_cert: vec![details.clone()], cert_chain: vec![details] };
        let json = serde_json::to_value(Certificates { certificates: vec![set] }).unwrap();
        let message: admin::Certificates = message_from_json(&json).unwrap();
        assert_eq!(message_to_json(&message, JsonStyle::Proto).unwrap(), json);
    }

    #[test]
    fn sections_are_found_by_message() {
        let dump = ConfigDump {
            configs: vec![
                json!({ "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump" }),
            ],
        };
        assert!(dump.section("envoy.admin.v3.ClustersConfigDump").is_some());
        assert!(dump.section("envoy.admin.v3.ListenersConfigDump").is_none());
    }
}
