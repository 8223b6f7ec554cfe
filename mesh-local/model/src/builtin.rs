//! The builtin kinds: names, scope, verbs and schemas of everything the local cluster serves
//! besides custom resources.

mod definitions;
mod table;

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::field::{FieldError, FieldErrorKind, FieldPath};
use crate::kind::{Gvk, KindInfo};
use crate::refusal::Refusal;
use crate::schema::{Schema, drop_nulls, prune, validate};

/// One builtin kind.
#[derive(Debug)]
pub struct Builtin {
    /// The row of the resource table.
    pub info: KindInfo,
    /// The subresource this kind is the body of, such as `serviceaccounts/token`; such a kind
    /// is no resource of its own, and its verbs are those of the subresource.
    pub subresource: Option<&'static str>,
    /// Name of its OpenAPI definition, such as `io.k8s.api.core.v1.Pod`.
    pub definition: &'static str,
}

impl Builtin {
    /// The compiled schema. Shape only: what a field must hold is decided by validation, as in
    /// Kubernetes.
    pub fn schema(&self) -> Schema {
        definitions::schema(self.definition).expect("every table row names a known definition")
    }

    /// The OpenAPI v3 definition; references point to `#/components/schemas/…`.
    pub fn openapi(&self) -> &'static Value {
        definitions::all().get(self.definition).expect("every table row names a known definition")
    }

    /// What decoding into the Go type does: drops nulls and unknown fields, and refuses values
    /// of the wrong JSON type. Returns the unknown fields, for strict validation.
    ///
    /// # Errors
    /// 400, naming the first field whose value has the wrong type.
    pub fn decode(&self, value: &mut Value) -> Result<Vec<FieldPath>, Refusal> {
        let schema = self.schema();
        drop_nulls(&schema, value);
        let unknown = prune(&schema, value);
        let wrong = validate(&schema, value)
            .into_iter()
            .find(|error| error.kind == FieldErrorKind::TypeInvalid);
        match wrong {
            None => Ok(unknown),
            Some(error) => Err(cannot_handle(&self.info.gvk, &error.detail)),
        }
    }

    /// Required fields that are absent. Status is left out (clients send it empty), and so are
    /// the reviews and token requests, whose required fields Kubernetes fills itself.
    pub fn missing(&self, value: &Value) -> Vec<FieldError> {
        let group = self.info.gvk.group.as_str();
        if matches!(group, "authentication.k8s.io" | "authorization.k8s.io") {
            return Vec::new();
        }
        let mut errors = validate(&self.schema(), value);
        errors.retain(|error| {
            error.kind == FieldErrorKind::Required && !error.field.as_str().starts_with("status.")
        });
        errors
    }
}

/// The name of the definition of `metadata`.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// 400 for a body that cannot become an object of the kind.
///
/// ```
/// use local_model::{builtin::cannot_handle, kind::Gvk};
/// let gvk = Gvk::new("", "v1", "Pod");
/// assert_eq!(
///     cannot_handle(&gvk, "strict decoding error: unknown field \"spec.foo\"").message,
///     "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \
///      \"spec.foo\""
/// );
/// ```
pub fn cannot_handle(gvk: &Gvk, why: &str) -> Refusal {
    let Gvk { version, kind, .. } = gvk;
    Refusal::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
    ))
}

/// Every builtin kind that is a resource, in discovery order.
///
/// ```
/// let pods = local_model::builtin::kinds().iter().find(|b| b.info.gvk.kind == "Pod").unwrap();
/// assert_eq!(pods.info.plural, "pods");
/// assert_eq!(pods.info.short_names, ["po"]);
/// let containers = pods.schema().property("spec").unwrap().property("containers").unwrap();
/// assert_eq!(containers.patch_merge_key(), Some("name"));
/// ```
pub fn kinds() -> &'static [Builtin] {
    static KINDS: LazyLock<Vec<Builtin>> = LazyLock::new(table::resources);
    &KINDS
}

/// Kinds that are only bodies of subresources: `TokenRequest`, `Scale`, `Eviction`, `Binding`.
pub fn subresource_kinds() -> &'static [Builtin] {
    static KINDS: LazyLock<Vec<Builtin>> = LazyLock::new(table::subresources);
    &KINDS
}

/// The builtin kind with this name, resource or subresource body.
pub fn find(gvk: &Gvk) -> Option<&'static Builtin> {
    kinds().iter().chain(subresource_kinds()).find(|b| b.info.gvk == *gvk)
}

/// The schema of what every object has: `apiVersion`, `kind` and typed `metadata`.
pub fn any_object() -> Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        let document = serde_json::json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"$ref": OBJECT_META},
            },
            "definitions": closure(&[OBJECT_META]),
        });
        Schema::from_openapi(&document).expect("the builtin definitions are checked by tests")
    });
    SCHEMA.clone()
}

/// The definitions with these names and all that they refer to.
pub(crate) fn closure(names: &[&str]) -> Map<String, Value> {
    definitions::closure(names)
}

/// The schema of `metadata`, for custom resources, whose own schemas do not describe it.
pub fn object_meta() -> Schema {
    definitions::schema(OBJECT_META).expect("ObjectMeta is always defined")
}

#[cfg(test)]
mod tests;
