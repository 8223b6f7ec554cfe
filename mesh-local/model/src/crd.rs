//! Custom resource definitions: checked, compiled, and ready to admit custom resources.

mod definition;
mod shape;
mod structural;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use serde_json::Value;

use crate::builtin::{self, cannot_handle};
use crate::cel::Rules;
use crate::field::{FieldError, FieldErrorKind, FieldPath};
use crate::kind::{Gvk, KindInfo};
use crate::refusal::{Refusal, Subject};
use crate::schema::{
    Schema, apply_defaults, drop_optional_nulls, prune, strict_message, validate, validate_update,
};
use crate::table::{self, Columns};

pub use definition::set_names as default_names;

/// A CustomResourceDefinition that can be served.
#[derive(Debug)]
pub struct CompiledCrd {
    /// API group.
    pub group: String,
    /// Kind of the objects.
    pub kind: String,
    /// Kind of their lists.
    pub list_kind: String,
    /// Resource name in URLs.
    pub plural: String,
    /// Every version, served or not, best first: as Kubernetes orders them in discovery.
    pub versions: Vec<CompiledVersion>,
}

impl CompiledCrd {
    /// The version that objects are stored in.
    pub fn storage(&self) -> Option<&CompiledVersion> {
        self.versions.iter().find(|version| version.storage)
    }

    /// The versions that clients may use, best first.
    pub fn served(&self) -> impl Iterator<Item = &CompiledVersion> {
        self.versions.iter().filter(|version| version.served)
    }
}

/// One version of a custom resource.
#[derive(Debug)]
pub struct CompiledVersion {
    /// The row of the resource table.
    pub info: KindInfo,
    /// Whether clients may use it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// The warning that every use of a deprecated version gets.
    pub deprecation: Option<String>,
    /// The printer columns.
    pub columns: Columns,
    /// JSON paths of fields that field selectors may name, such as `spec.color`.
    pub selectable_fields: Vec<String>,
    /// The structural schema, with `metadata` typed.
    pub schema: Schema,
    /// The CEL rules.
    pub rules: Rules,
    /// The `openAPIV3Schema` as written.
    pub openapi: Value,
    /// The schema as written: what values must satisfy.
    constraints: Schema,
}

/// Checks and compiles a CustomResourceDefinition. Names must already be defaulted (see
/// [`default_names`]).
///
/// # Errors
/// Every problem: names, versions, schemas that are not structural, rules that do not compile.
///
/// ```
/// use serde_json::json;
/// let crd = json!({
///     "metadata": {"name": "widgets.example.com"},
///     "spec": {
///         "group": "example.com", "scope": "Namespaced",
///         "names": {
///             "kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList",
///         },
///         "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
///             "openAPIV3Schema": {"type": "object", "properties": {
///                 "spec": {"type": "object", "properties": {
///                     "size": {"type": "integer", "maximum": 3, "default": 1},
///                 }},
///             }},
///         }}],
///     },
/// });
/// let compiled = local_model::crd::compile(&crd).unwrap();
/// let version = compiled.storage().unwrap();
/// let mut widget = json!({
///     "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {},
/// });
/// version.admit(&mut widget, None, true).unwrap();
/// assert_eq!(widget["spec"]["size"], 1);
/// ```
pub fn compile(crd: &Value) -> Result<CompiledCrd, Vec<FieldError>> {
    let mut errors = definition::check(crd);
    let spec = &crd["spec"];
    let declared = list(&spec["versions"]);
    let versions = FieldPath::new("spec.versions");
    for (index, version) in declared.iter().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if !schema.is_null() {
            structural::check(schema, &schema_path(&versions, index), &mut errors);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut compiled = Vec::new();
    for (index, version) in declared.iter().enumerate() {
        match compile_version(spec, version, &schema_path(&versions, index)) {
            Ok(version) => compiled.push(version),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    compiled.sort_by_cached_key(|version| Reverse(version_rank(&version.info.gvk.version)));
    let name = |key: &str| text(&spec["names"][key]);
    Ok(CompiledCrd {
        group: text(&spec["group"]),
        kind: name("kind"),
        list_kind: name("listKind"),
        plural: name("plural"),
        versions: compiled,
    })
}

fn schema_path(versions: &FieldPath, index: usize) -> FieldPath {
    versions.index(index).child("schema").child("openAPIV3Schema")
}

fn compile_version(
    spec: &Value,
    version: &Value,
    place: &FieldPath,
) -> Result<CompiledVersion, Vec<FieldError>> {
    let openapi = version["schema"]["openAPIV3Schema"].clone();
    let invalid =
        |error: crate::schema::SchemaError| vec![FieldError::invalid(place, "", error.to_string())];
    let constraints = Schema::from_openapi(&openapi).map_err(invalid)?;
    let schema = Schema::from_openapi(&shape::with_metadata(&openapi)).map_err(invalid)?;
    let rules = Rules::compile_at(&openapi, place)?;
    let info = definition::kind_info(spec, version);
    let deprecation = (version["deprecated"] == true).then(|| {
        version["deprecationWarning"].as_str().map_or_else(
            || format!("{} {} is deprecated", info.gvk.api_version(), info.gvk.kind),
            str::to_owned,
        )
    });
    let selectable = list(&version["selectableFields"]).iter();
    Ok(CompiledVersion {
        served: version["served"] == true,
        storage: version["storage"] == true,
        deprecation,
        columns: table::for_crd(&version["additionalPrinterColumns"]),
        selectable_fields: selectable
            .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
            .collect(),
        schema,
        rules,
        openapi,
        constraints,
        info,
    })
}

impl CompiledVersion {
    /// Decodes an object: refuses malformed metadata, drops nulls and unknown fields, sets
    /// defaults. Returns the unknown fields, for strict validation.
    ///
    /// # Errors
    /// 400 when the object or its metadata is of the wrong shape.
    pub fn decode(&self, object: &mut Value) -> Result<Vec<FieldPath>, Refusal> {
        let gvk = &self.info.gvk;
        if !object.is_object() {
            return Err(cannot_handle(gvk, "the body is not an object"));
        }
        drop_optional_nulls(&self.schema, object);
        let malformed = validate(&builtin::any_object(), object);
        if let Some(error) = malformed.iter().find(|e| e.kind == FieldErrorKind::TypeInvalid) {
            return Err(cannot_handle(gvk, &error.detail));
        }
        let unknown = prune(&self.schema, object);
        apply_defaults(&self.schema, object);
        Ok(unknown)
    }

    /// Everything wrong with a decoded object: schema, list uniqueness, embedded resources, CEL.
    /// On an update, what did not change is not judged again. Metadata is judged elsewhere.
    pub fn problems(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = match old {
            Some(old) => validate_update(&self.constraints, new, old),
            None => validate(&self.constraints, new),
        };
        if errors.iter().any(blocks_rules) && !self.rules.is_empty() {
            errors.push(FieldError::invalid(
                &FieldPath::root(),
                Value::Null,
                "some validation rules were not checked because the object was invalid; correct \
                 the existing errors to complete validation",
            ));
        } else {
            errors.extend(self.rules.validate(new, old));
        }
        errors
    }

    /// [`Self::decode`] and [`Self::problems`] in one: returns the unknown fields that were
    /// dropped. `strict` refuses them instead.
    ///
    /// # Errors
    /// 400 for a malformed object and for unknown fields when `strict`; 422 with every field
    /// that is wrong.
    pub fn admit(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        strict: bool,
    ) -> Result<Vec<FieldPath>, Refusal> {
        let unknown = self.decode(object)?;
        let Gvk { group, kind, .. } = &self.info.gvk;
        if let Some(message) = strict_message(&unknown, &[]).filter(|_| strict) {
            return Err(cannot_handle(&self.info.gvk, &message));
        }
        let problems = self.problems(object, old);
        if problems.is_empty() {
            return Ok(unknown);
        }
        let name = text(&object["metadata"]["name"]);
        Err(Refusal::invalid(Subject::new(group, kind, &name), problems))
    }
}

/// Errors after which rules would only fail again, or fail to evaluate.
fn blocks_rules(error: &FieldError) -> bool {
    matches!(
        error.kind,
        FieldErrorKind::NotSupported
            | FieldErrorKind::Required
            | FieldErrorKind::TooLong
            | FieldErrorKind::TooMany
            | FieldErrorKind::TypeInvalid
    )
}

/// Kubernetes' order of versions: `v2` > `v1` > `v1beta2` > `v1beta1` > `v1alpha1` > others, the
/// latter in reverse alphabetical order.
///
/// ```
/// use local_model::crd::version_rank;
/// let mut versions = ["foo", "v1alpha1", "v2", "v1beta2", "v10", "v1beta10", "v1"];
/// versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
/// assert_eq!(versions, ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
/// ```
pub fn version_rank(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else { return other };
    let stability = [("", 3), ("beta", 2), ("alpha", 1)];
    let rest = &rest[digits..];
    let name = Reverse(String::new());
    for (word, rank) in stability {
        match rest.strip_prefix(word) {
            Some("") if word.is_empty() => return (rank, major, 0, name),
            Some(minor) if !word.is_empty() => {
                if let Ok(minor) = minor.parse() {
                    return (rank, major, minor, name);
                }
            }
            _ => {}
        }
    }
    other
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
