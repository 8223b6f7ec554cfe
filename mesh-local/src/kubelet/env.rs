//! A container's environment and command line: values, references, `$(VAR)` expansion, service
//! variables. Pure: the objects referred to are given.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use crate::kubelet::field::{self, Facts, FieldError};
use crate::kubelet::pod as pods;

/// Names of the objects a container's environment refers to, in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

/// The objects an environment is made from. What does not exist is not in the maps.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// The services whose variables the pod gets.
    pub services: Vec<Service>,
}

/// Why a container's environment cannot be made: `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A required object is absent.
    #[error("{kind} \"{name}\" not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A required key is absent.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The pod's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// A secret's value is not text.
    #[error("key {key} of secret {name} is not UTF-8 and cannot be an environment variable")]
    NotText {
        /// The key.
        key: String,
        /// The secret's name.
        name: String,
    },
    /// A downward API reference is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// What the environment of `container` refers to.
pub fn references(container: &Container) -> References {
    let mut found = References::default();
    for source in container.env_from.iter().flatten() {
        found
            .config_maps
            .extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
        found.secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        found.config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
        found.secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
    }
    found
}

/// The environment of `container`: `base` (the image's), then services, then `envFrom`, then
/// `env`; later entries replace earlier ones.
pub fn build(
    pod: &Pod,
    container: &Container,
    base: &BTreeMap<String, String>,
    objects: &Objects,
    facts: &Facts,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = base.clone();
    for service in &objects.services {
        env.extend(service_variables(service));
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut entries = BTreeMap::new();
        if let Some(reference) = &source.config_map_ref {
            match objects.config_maps.get(&reference.name) {
                Some(map) => entries.extend(map.data.clone().unwrap_or_default()),
                None if reference.optional == Some(true) => {}
                None => return Err(no_object("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match objects.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        entries.insert(key.clone(), text(&reference.name, key, &value.0)?);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(no_object("secret", &reference.name)),
            }
        }
        env.extend(
            entries
                .into_iter()
                .map(|(key, value)| (format!("{prefix}{key}"), value))
                .filter(|(key, _)| is_name(key)),
        );
    }
    for entry in container.env.iter().flatten() {
        let value = match (&entry.value, &entry.value_from) {
            (_, Some(source)) => referred(pod, container, source, objects, facts)?,
            (value, None) => Some(expand(value.as_deref().unwrap_or_default(), &env)),
        };
        if let Some(value) = value {
            env.insert(entry.name.clone(), value);
        }
    }
    Ok(env)
}

/// The value of `valueFrom`; `None` for an optional one that is absent.
fn referred(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    objects: &Objects,
    facts: &Facts,
) -> Result<Option<String>, EnvError> {
    let no_key = |kind, name: &str, key: &str| EnvError::NoKey {
        key: key.to_owned(),
        kind,
        namespace: pods::namespace(pod).to_owned(),
        name: name.to_owned(),
    };
    if let Some(field) = &source.field_ref {
        return Ok(Some(field::value(pod, facts, &field.field_path)?));
    }
    if let Some(selector) = &source.resource_field_ref {
        return Ok(Some(field::resource(pod, Some(container), selector, facts)?));
    }
    if let Some(key) = &source.config_map_key_ref {
        let optional = key.optional == Some(true);
        let Some(map) = objects.config_maps.get(&key.name) else {
            return if optional { Ok(None) } else { Err(no_object("configmap", &key.name)) };
        };
        let value = map.data.as_ref().and_then(|data| data.get(&key.key)).cloned();
        return match value {
            None if !optional => Err(no_key("ConfigMap", &key.name, &key.key)),
            value => Ok(value),
        };
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional == Some(true);
        let Some(secret) = objects.secrets.get(&key.name) else {
            return if optional { Ok(None) } else { Err(no_object("secret", &key.name)) };
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&key.key));
        return match value {
            None if !optional => Err(no_key("Secret", &key.name, &key.key)),
            value => value.map(|value| text(&key.name, &key.key, &value.0)).transpose(),
        };
    }
    Ok(Some(String::new()))
}

/// Replaces `$(NAME)` by the variable's value. `$$` is a literal `$`; unknown names stay as they
/// are.
///
/// ```
/// use std::collections::BTreeMap;
/// use mesh_local::kubelet::env::expand;
/// let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
/// assert_eq!(expand("x$(A)$(B)$$(A)$", &env), "x1$(B)$(A)$");
/// ```
pub fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = tail.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference {
            Some((name, after)) => {
                match env.get(name) {
                    Some(value) => out.push_str(value),
                    None => {
                        out.push_str("$(");
                        out.push_str(name);
                        out.push(')');
                    }
                }
                rest = after;
            }
            None => {
                out.push('$');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The variables a service gives to pods of its namespace; none for a headless one.
pub fn service_variables(service: &Service) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let (Some(name), Some(spec)) = (&service.metadata.name, &service.spec) else { return out };
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return out };
    if address.is_empty() || address == "None" {
        return out;
    }
    let name = upper(name);
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let url = |protocol: &str, port: i32| format!("{}://{host}:{port}", protocol.to_lowercase());
    out.insert(format!("{name}_SERVICE_HOST"), address.to_owned());
    out.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    let first_protocol = first.protocol.as_deref().unwrap_or("TCP");
    out.insert(format!("{name}_PORT"), url(first_protocol, first.port));
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            out.insert(format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        out.insert(prefix.clone(), url(protocol, port.port));
        out.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
        out.insert(format!("{prefix}_PORT"), port.port.to_string());
        out.insert(format!("{prefix}_ADDR"), address.to_owned());
    }
    out
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn no_object(kind: &'static str, name: &str) -> EnvError {
    EnvError::NoObject { kind, name: name.to_owned() }
}

fn text(name: &str, key: &str, value: &[u8]) -> Result<String, EnvError> {
    String::from_utf8(value.to_vec())
        .map_err(|_| EnvError::NotText { key: key.to_owned(), name: name.to_owned() })
}

/// Whether an `envFrom` key can be a variable: others are left out, as Kubernetes does.
fn is_name(key: &str) -> bool {
    !key.is_empty() && local_model::name::env_var(key).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(value: Value) -> Container {
        let mut value = value;
        value["name"] = json!("c");
        serde_json::from_value(value).expect("a container")
    }

    fn objects() -> Objects {
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"k": "v", "other": "o"}})).expect("a map");
        let secret: Secret =
            serde_json::from_value(json!({"data": {"k": "czNjcmV0", "bin": "/w=="}}))
                .expect("a secret");
        Objects {
            config_maps: BTreeMap::from([("cm".to_owned(), map)]),
            secrets: BTreeMap::from([("s".to_owned(), secret)]),
            services: Vec::new(),
        }
    }

    fn built(value: Value) -> Result<BTreeMap<String, String>, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}}))
            .expect("a pod");
        let base = BTreeMap::from([("BASE".to_owned(), "image".to_owned())]);
        let container = container(value);
        build(&pod, &container, &base, &objects(), &Facts::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn values_come_from_everywhere() {
        let env = built(json!({
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}},
                        {"secretRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "A", "value": "$(BASE)-$(P_k)-$(LATER)"},
                {"name": "LATER", "value": "x"},
                {"name": "BASE", "value": "mine"},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "other"}}},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "NONE", "valueFrom": {"secretKeyRef":
                    {"name": "s", "key": "x", "optional": true}}},
            ],
        }))
        .expect("built");
        let expected = [
            ("A", "image-v-$(LATER)"),
            ("BASE", "mine"),
            ("LATER", "x"),
            ("MAP", "o"),
            ("NAME", "p"),
            ("P_k", "v"),
            ("P_other", "o"),
            ("SECRET", "s3cret"),
        ];
        let found: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "A", "valueFrom": {kind: {"name": name, "key": key}}}]});
        for (spec, message) in [
            (key("configMapKeyRef", "none", "k"), "configmap \"none\" not found"),
            (key("secretKeyRef", "none", "k"), "secret \"none\" not found"),
            (key("configMapKeyRef", "cm", "x"), "couldn't find key x in ConfigMap n/cm"),
            (
                key("secretKeyRef", "s", "bin"),
                "key bin of secret s is not UTF-8 and cannot be an environment variable",
            ),
            (json!({"envFrom": [{"secretRef": {"name": "none"}}]}), "secret \"none\" not found"),
        ] {
            assert_eq!(built(spec), Err(message.to_owned()));
        }
    }

    #[test]
    fn services_are_announced() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "my-db"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "sql", "port": 5432}]},
        }))
        .expect("a service");
        let variables = service_variables(&service);
        for (name, value) in [
            ("MY_DB_SERVICE_HOST", "10.96.0.9"),
            ("MY_DB_SERVICE_PORT", "5432"),
            ("MY_DB_SERVICE_PORT_SQL", "5432"),
            ("MY_DB_PORT", "tcp://10.96.0.9:5432"),
            ("MY_DB_PORT_5432_TCP_ADDR", "10.96.0.9"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(variables.len(), 8);
    }

    proptest::proptest! {
        #[test]
        fn text_without_dollars_is_unchanged(text in "[^$]{0,40}") {
            proptest::prop_assert_eq!(expand(&text, &BTreeMap::new()), text);
        }

        #[test]
        fn expansion_never_panics(text in ".{0,60}") {
            expand(&text, &BTreeMap::from([("A".to_owned(), "$(A)".to_owned())]));
        }
    }
}
