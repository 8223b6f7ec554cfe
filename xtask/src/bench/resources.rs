//! The configuration of both proxies: the same resources, from documents in Envoy's own form. Ours
//! gets Istio's telemetry filters besides, which upstream Envoy does not have.

use mesh_api::envoy::service::discovery::Resource;
use mesh_api::pool;
use serde_json::{Value, json};

use super::stack::Made;
use crate::run::Error;

/// Which part of a case a proxy plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One hop in clear.
    Plain,
    /// The client's sidecar.
    Client,
    /// The server's sidecar.
    Server,
}

const CLIENT_CERT: &str = include_str!("tls/client.pem");
const CLIENT_KEY: &str = include_str!("tls/client.key");
const SERVER_CERT: &str = include_str!("tls/server.pem");
const SERVER_KEY: &str = include_str!("tls/server.key");
const ROOT: &str = include_str!("tls/ca.pem");

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    fn document(self) -> &'static str {
        match self {
            Self::Plain => include_str!("config/plain.yaml"),
            Self::Client => include_str!("config/client.yaml"),
            Self::Server => include_str!("config/server.yaml"),
        }
    }
}

/// The listener and the cluster of a proxy that listens on one port of this machine and forwards
/// to another.
pub fn of(made: Made, role: Role, listen: u16, upstream: u16) -> Result<Vec<Resource>, Error> {
    let bad = |why: &dyn std::fmt::Display| {
        Error::new(format!("configuration of the {}: {why}", role.name()))
    };
    let mut document: Value =
        serde_saphyr::from_str(role.document()).map_err(|error| bad(&error))?;
    let (listen, upstream) = (listen.to_string(), upstream.to_string());
    let values = [
        ("${LISTEN}", listen.as_str()),
        ("${UPSTREAM}", upstream.as_str()),
        ("${CLIENT_CERT}", CLIENT_CERT),
        ("${CLIENT_KEY}", CLIENT_KEY),
        ("${SERVER_CERT}", SERVER_CERT),
        ("${SERVER_KEY}", SERVER_KEY),
        ("${ROOT}", ROOT),
    ];
    fill(&mut document, &values);
    if made == Made::Lateen {
        measured(&mut document, role).ok_or_else(|| bad(&"it has no HTTP filters"))?;
    }
    let resource = |key: &str| -> Result<Resource, Error> {
        let value = document.get(key).ok_or_else(|| bad(&format!("it has no {key}")))?;
        let packed = pool::from_json(value).map_err(|error| bad(&error))?;
        let name = value["name"].as_str().unwrap_or_default().to_owned();
        Ok(Resource { name, version: "1".to_owned(), resource: Some(packed), ..Default::default() })
    };
    Ok(vec![resource("listener")?, resource("cluster")?])
}

/// Puts values in the places that the document names.
fn fill(value: &mut Value, values: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            if let Some((_, value)) = values.iter().find(|(name, _)| name == text) {
                *text = (*value).to_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, values)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, values)),
        _ => {}
    }
}

/// Adds Istio's request metrics, and between sidecars what tells one of the other's workload.
fn measured(document: &mut Value, role: Role) -> Option<()> {
    let path = "/listener/filter_chains/0/filters/0/typed_config/http_filters";
    let filters = document.pointer_mut(path)?.as_array_mut()?;
    let typed = |kind: &str, value: Value| {
        json!({
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": format!("type.googleapis.com/{kind}"),
            "value": value,
        })
    };
    let stats = typed("stats.PluginConfig", json!({}));
    let router = filters.len().checked_sub(1)?;
    filters.insert(router, json!({ "name": "istio.stats", "typed_config": stats }));
    let headers = json!([{ "istio_headers": {} }]);
    let exchange = match role {
        Role::Plain => return Some(()),
        Role::Client => json!({ "upstream_discovery": headers, "upstream_propagation": headers }),
        Role::Server => {
            json!({ "downstream_discovery": headers, "downstream_propagation": headers })
        }
    };
    let exchange = typed("io.istio.http.peer_metadata.Config", exchange);
    filters.insert(0, json!({ "name": "istio.metadata_exchange", "typed_config": exchange }));
    Some(())
}

#[cfg(test)]
mod tests {
    use mesh_api::any;
    use mesh_api::envoy::listener::Listener;

    use super::*;

    fn text(made: Made, role: Role) -> String {
        let resources = of(made, role, 1001, 1002).unwrap();
        let listener: Listener = any::unpack(resources[0].resource.as_ref().unwrap()).unwrap();
        let packed = any::pack(&listener);
        pool::to_json(&packed, pool::JsonStyle::Proto).unwrap().to_string()
    }

    #[test]
    fn both_proxies_get_the_same_but_for_istios_filters() {
        for role in [Role::Plain, Role::Client, Role::Server] {
            let (ours, envoys) = (text(Made::Lateen, role), text(Made::Envoy, role));
            assert!(ours.contains("istio.stats") && !envoys.contains("istio.stats"), "{role:?}");
            assert_eq!(ours.contains("metadata_exchange"), role != Role::Plain);
            assert!(envoys.contains("1001") && !envoys.contains("${"), "{envoys}");
        }
    }
}
