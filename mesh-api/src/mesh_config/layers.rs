//! Documents laid over each other, and the settings that result.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Settings that do not have the shape they should.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A document is not an object.
    #[error("document {index} is not an object")]
    NotAnObject {
        /// Its place among those laid over each other, from 0.
        index: usize,
    },
    /// A field has a value of another shape.
    #[error("{0}")]
    Shape(#[source] serde_json::Error),
}

/// Lays `over` on `base`, both being documents of one type: fields of objects one by one, other
/// values whole. A null takes the field away, so that the default counts.
///
/// ```
/// use mesh_api::mesh_config::overlay;
/// use serde_json::json;
///
/// let mut base = json!({ "tracing": { "sampling": 1 }, "extraStatTags": ["a"], "meshId": "m" });
/// overlay(&mut base, json!({ "tracing": { "zipkin": {} }, "extraStatTags": ["b"], "meshId": null }));
/// assert_eq!(base, json!({ "tracing": { "sampling": 1, "zipkin": {} }, "extraStatTags": ["b"] }));
/// ```
pub fn overlay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match value {
                    Value::Null => {
                        base.remove(&key);
                    }
                    value => overlay(base.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// The settings of documents laid over each other, the first lowest, and all over the defaults.
///
/// # Errors
/// When a document is not an object, or a field has a value of another shape.
pub fn effective<T: Serialize + DeserializeOwned + Default>(
    documents: impl IntoIterator<Item = Value>,
) -> Result<T, ConfigError> {
    let mut all = serde_json::to_value(T::default()).map_err(ConfigError::Shape)?;
    for (index, document) in documents.into_iter().enumerate() {
        match document {
            // An empty YAML document.
            Value::Null => {}
            document @ Value::Object(_) => overlay(&mut all, document),
            _ => return Err(ConfigError::NotAnObject { index }),
        }
    }
    serde_json::from_value(all).map_err(ConfigError::Shape)
}

/// A document that gives these settings and leaves out top-level fields with default values.
pub(super) fn brief<T: Serialize + Default>(settings: &T) -> Map<String, Value> {
    let object = |settings: &T| match serde_json::to_value(settings) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let default = object(&T::default());
    let mut settings = object(settings);
    settings.retain(|key, value| default.get(key) != Some(value));
    settings
}

impl super::ProxyConfig {
    /// A document that gives these settings and leaves out fields with default values: what
    /// `PROXY_CONFIG` and node metadata carry.
    pub fn brief(&self) -> Map<String, Value> {
        brief(self)
    }
}

impl super::MeshConfig {
    /// A document that gives these settings and leaves out fields with default values.
    pub fn brief(&self) -> Map<String, Value> {
        let mut document = brief(self);
        if document.contains_key("defaultConfig") {
            document.insert("defaultConfig".to_owned(), Value::Object(self.default_config.brief()));
        }
        document
    }
}
