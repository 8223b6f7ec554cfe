//! Envoy's `/config_dump`: where each sort of resource is in it.

use mesh_api::admin::ConfigDump;
use serde_json::Value;

use crate::error::Error;

/// A dump, as `GET /config_dump` answers it.
#[derive(Debug)]
pub struct Dump(ConfigDump);

impl Dump {
    /// Reads a dump from JSON.
    ///
    /// # Errors
    /// When the text is not a dump; `origin` says whose text it was.
    pub fn parse(text: &[u8], origin: &str) -> Result<Self, Error> {
        let dump: ConfigDump = serde_json::from_slice(text).map_err(|error| {
            Error::Failed(format!(
                "{origin} is not a config dump (the JSON of GET /config_dump): {error}"
            ))
        })?;
        Ok(Self(dump))
    }

    /// Clusters, those of the bootstrap first.
    pub fn clusters(&self) -> Vec<&Value> {
        let section = "envoy.admin.v3.ClustersConfigDump";
        let mut all = self.list(section, "static_clusters", &["cluster"]);
        all.extend(self.list(section, "dynamic_active_clusters", &["cluster"]));
        all
    }

    /// Listeners that serve.
    pub fn listeners(&self) -> Vec<&Value> {
        let section = "envoy.admin.v3.ListenersConfigDump";
        let mut all = self.list(section, "static_listeners", &["listener"]);
        all.extend(self.list(section, "dynamic_listeners", &["active_state", "listener"]));
        all
    }

    /// Route configurations, those inside listeners too.
    pub fn routes(&self) -> Vec<&Value> {
        let section = "envoy.admin.v3.RoutesConfigDump";
        let mut all = self.list(section, "static_route_configs", &["route_config"]);
        all.extend(self.list(section, "dynamic_route_configs", &["route_config"]));
        all
    }

    /// Clusters that the control plane sent.
    pub fn dynamic_clusters(&self) -> Vec<&Value> {
        self.list("envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters", &["cluster"])
    }

    /// Listeners that the control plane sent, and that serve.
    pub fn dynamic_listeners(&self) -> Vec<&Value> {
        let section = "envoy.admin.v3.ListenersConfigDump";
        self.list(section, "dynamic_listeners", &["active_state", "listener"])
    }

    /// Route configurations that the control plane sent.
    pub fn dynamic_routes(&self) -> Vec<&Value> {
        self.list("envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs", &["route_config"])
    }

    /// When the control plane last sent a route configuration.
    pub fn last_updated(&self) -> Option<String> {
        let section = "envoy.admin.v3.RoutesConfigDump";
        let all = self.list(section, "dynamic_route_configs", &["last_updated"]);
        all.into_iter().filter_map(Value::as_str).max().map(str::to_owned)
    }

    /// Endpoints of clusters, where the dump was asked for them.
    pub fn endpoints(&self) -> Vec<&Value> {
        let section = "envoy.admin.v3.EndpointsConfigDump";
        let mut all = self.list(section, "static_endpoint_configs", &["endpoint_config"]);
        all.extend(self.list(section, "dynamic_endpoint_configs", &["endpoint_config"]));
        all
    }

    /// Filters that came apart from their listeners.
    pub fn filters(&self) -> Vec<&Value> {
        self.list("envoy.admin.v3.EcdsConfigDump", "ecds_filters", &["ecds_filter"])
    }

    /// Secrets with their state: `ACTIVE` or `WARMING`.
    pub fn secrets(&self) -> Vec<(&Value, &'static str)> {
        let section = "envoy.admin.v3.SecretsConfigDump";
        let states = [
            ("static_secrets", "ACTIVE"),
            ("dynamic_active_secrets", "ACTIVE"),
            ("dynamic_warming_secrets", "WARMING"),
        ];
        let in_state = |(list, state)| {
            self.list(section, list, &["secret"]).into_iter().map(move |secret| (secret, state))
        };
        states.into_iter().flat_map(in_state).collect()
    }

    /// The document the proxy started with.
    pub fn bootstrap(&self) -> Option<&Value> {
        self.0.section("envoy.admin.v3.BootstrapConfigDump")?.get("bootstrap")
    }

    fn list(&self, section: &str, list: &str, path: &[&str]) -> Vec<&Value> {
        let entries = self.0.section(section).and_then(|section| section.get(list));
        let inner = |entry| path.iter().try_fold(entry, |value: &Value, key| value.get(key));
        entries.and_then(Value::as_array).into_iter().flatten().filter_map(inner).collect()
    }
}

/// The text at a path of keys; empty when there is none.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a path of keys.
pub fn number(value: &Value, path: &[&str]) -> Option<u64> {
    at(value, path).and_then(Value::as_u64)
}

/// The entries of the list at a path of keys.
pub fn entries<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of the list at a path of keys.
pub fn texts<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    entries(value, path).iter().filter_map(Value::as_str).collect()
}

/// The value at a path of keys.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// `name.namespace` of the Istio object that a resource was made from, which pilot writes into
/// the metadata as `/apis/<group>/<version>/namespaces/<ns>/<kind>/<name>`.
pub fn istio_object(resource: &Value) -> Option<(&str, String)> {
    let path = ["metadata", "filter_metadata", "istio", "config"];
    let config = at(resource, &path).and_then(Value::as_str)?;
    let mut parts = config.trim_start_matches('/').split('/').skip(3);
    let (_namespaces, namespace) = (parts.next()?, parts.next()?);
    let (kind, name) = (parts.next()?, parts.next()?);
    (_namespaces == "namespaces").then(|| (kind, format!("{name}.{namespace}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_object_a_resource_was_made_from() {
        let made = |config: &str| {
            let cluster = json!({"metadata": {"filter_metadata": {"istio": {"config": config}}}});
            istio_object(&cluster).map(|(kind, name)| (kind.to_owned(), name))
        };
        let path = "/apis/networking.istio.io/v1alpha3/namespaces/default/destination-rule/reviews";
        assert_eq!(made(path), Some(("destination-rule".to_owned(), "reviews.default".to_owned())));
        assert_eq!(made("/apis/networking.istio.io"), None);
        assert_eq!(made(""), None);
        assert_eq!(istio_object(&json!({})), None);
    }

    /// The file is what this mesh's proxy writes; the proxy's tests compare it.
    #[test]
    fn the_proxys_own_dump_is_read() {
        let text = include_bytes!("../../../proxy/testdata/config_dump.json");
        let dump = Dump::parse(text, "config_dump.json").expect("a dump");
        let names = |all: Vec<&Value>| -> Vec<String> {
            all.iter().map(|one| super::text(one, &["name"]).to_owned()).collect()
        };
        let clusters = names(dump.clusters());
        assert!(clusters.contains(&"outbound|9080||reviews".to_owned()), "{clusters:?}");
        assert!(clusters.contains(&"xds-grpc".to_owned()), "{clusters:?}");
        let listeners = names(dump.listeners());
        assert!(listeners.contains(&"0.0.0.0_9080".to_owned()), "{listeners:?}");
        assert_eq!(names(dump.routes()), ["9080"]);
        let secrets = dump.secrets();
        assert_eq!(super::text(secrets[0].0, &["name"]), "kubernetes://gw");
        let node = super::text(dump.bootstrap().expect("a bootstrap"), &["node", "id"]);
        assert!(node.starts_with("sidecar~"), "{node}");
    }

    #[test]
    fn what_is_not_a_dump_is_an_error_that_names_its_origin() {
        let error = Dump::parse(b"[1, 2]", "dump.json").expect_err("not a dump").to_string();
        assert!(error.starts_with("dump.json is not a config dump"), "{error}");
    }
}
