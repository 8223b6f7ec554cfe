//! Settings of the injector: ConfigMap `istio-sidecar-injector`, keys `config` and `values`.

mod values;

use std::collections::BTreeMap;

use mesh_api::selector::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use super::error::ConfigError;
pub(super) use values::{Resources, Scalar, Values};

/// Built-in templates.
pub(super) const SIDECAR: &str = "sidecar";
/// Built-in templates.
pub(super) const GATEWAY: &str = "gateway";

/// Whether pods that say nothing are injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// They are.
    #[default]
    Enabled,
    /// Only pods that ask for it are.
    Disabled,
}

/// Settings of the injector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub(super) policy: Policy,
    pub(super) never: Vec<LabelSelector>,
    pub(super) always: Vec<LabelSelector>,
    pub(super) injected_annotations: BTreeMap<String, String>,
    pub(super) default_templates: Vec<String>,
    pub(super) aliases: BTreeMap<String, Vec<String>>,
    pub(super) templates: BTreeMap<String, Value>,
    pub(super) values: Values,
    pub(super) revision: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ConfigText {
    policy: Option<Policy>,
    never_inject_selector: Vec<LabelSelector>,
    always_inject_selector: Vec<LabelSelector>,
    injected_annotations: BTreeMap<String, String>,
    default_templates: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    templates: BTreeMap<String, String>,
}

impl Config {
    /// Parses both keys; `config` is YAML, `values` JSON or YAML. Empty texts give the defaults.
    ///
    /// `templates` are fragments of a pod in YAML, laid over what the built-in templates
    /// (`sidecar`, `gateway`) make. They hold no template actions.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key and what is wrong with it.
    pub fn parse(config: &str, values: &str) -> Result<Self, ConfigError> {
        let text: ConfigText = read("config", config)?;
        let values: Values = read("values", values)?;
        let mut templates = BTreeMap::new();
        for (name, body) in text.templates {
            let fragment = template(&body)
                .and_then(|fragment| match name.as_str() {
                    SIDECAR | GATEWAY => Err("this template is built in".to_owned()),
                    _ => Ok(fragment),
                })
                .map_err(|reason| ConfigError::Template { template: name.clone(), reason })?;
            templates.insert(name, fragment);
        }
        let revision = values.revision.clone();
        Ok(Self {
            policy: text.policy.unwrap_or_default(),
            never: text.never_inject_selector,
            always: text.always_inject_selector,
            injected_annotations: text.injected_annotations,
            default_templates: text.default_templates,
            aliases: text.aliases,
            templates,
            values,
            revision,
        })
    }

    /// The revision these settings belong to; `default` unless `values` says otherwise.
    pub fn revision(&self) -> &str {
        if self.revision.is_empty() { "default" } else { &self.revision }
    }

    /// Whether pods that say nothing are injected.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The names of all templates, in order.
    pub(super) fn known_templates(&self) -> String {
        let custom = self.templates.keys().chain(self.aliases.keys()).map(String::as_str);
        [SIDECAR, GATEWAY].into_iter().chain(custom).collect::<Vec<_>>().join(", ")
    }
}

fn read<T: for<'de> Deserialize<'de> + Default>(
    key: &'static str,
    text: &str,
) -> Result<T, ConfigError> {
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    serde_saphyr::from_str(text)
        .map_err(|error| ConfigError::Malformed { key, reason: error.to_string() })
}

fn template(body: &str) -> Result<Value, String> {
    if body.contains("{{") {
        return Err("template actions ({{ … }}) are not read here: write the fragment of the pod \
                    as plain YAML, and what depends on the pod as annotations"
            .to_owned());
    }
    let fragment: Value = serde_saphyr::from_str(body).map_err(|error| error.to_string())?;
    // Typed once, so that merging can trust the shape.
    let pod = serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(fragment.clone());
    pod.map_err(|error| format!("not a fragment of a pod: {error}"))?;
    Ok(fragment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_istio_writes_them() {
        let config = Config::parse(
            "policy: disabled\nneverInjectSelector:\n- matchExpressions:\n  - {key: a, operator: \
             Exists}\ninjectedAnnotations: {x: y}\ntemplates:\n  extra: |\n    spec:\n      \
             hostAliases: []\n",
            r#"{"global": {"hub": "h", "tag": 1.5, "proxy": {"unknown": []}}, "revision": "a"}"#,
        )
        .unwrap();
        assert_eq!(config.policy(), Policy::Disabled);
        assert_eq!((config.never.len(), config.revision()), (1, "a"));
        assert_eq!(config.values.global.tag.to_string(), "1.5");
        assert_eq!(config.known_templates(), "sidecar, gateway, extra");
        assert_eq!(Config::parse("", " ").unwrap(), Config::default());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let message =
            |config: &str, values: &str| Config::parse(config, values).unwrap_err().to_string();
        let text = message("policy: perhaps", "");
        assert!(text.starts_with("ConfigMap istio-sidecar-injector, key config: "), "{text}");
        let text = message("", "global: []");
        assert!(text.starts_with("ConfigMap istio-sidecar-injector, key values: "), "{text}");
        let text = message("templates: {own: 'spec: {{ .Spec }}'}", "");
        assert!(text.contains("templates.own: template actions"), "{text}");
        let text = message("templates: {own: 'spec: {containers: 1}'}", "");
        assert!(text.contains("templates.own: not a fragment of a pod"), "{text}");
        assert!(message("templates: {sidecar: 'spec: {}'}", "").contains("built in"));
    }
}
