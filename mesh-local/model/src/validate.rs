//! Validation of the builtin kinds beyond their schemas, and of every object's metadata, in
//! Kubernetes' words.

use serde_json::{Map, Value};

use crate::{
    field::{FieldError, FieldErrorKind, FieldPath},
    kind::Gvk,
    name,
};

mod config;
mod container;
mod meta;
mod pod;
mod rbac;
mod service;
mod webhook;
mod workload;

/// Everything wrong with an object that is about to be stored. `old` is what it replaces, for
/// the fields that may not change. Types, enumerations and required fields are the schema's
/// part; objects of any shape are survived.
///
/// ```
/// use local_model::{kind::Gvk, validate};
/// use serde_json::json;
/// let config = json!({"metadata": {"name": "Bad_Name", "namespace": "default"}});
/// let errors = validate::object(&Gvk::new("", "v1", "ConfigMap"), &config, None);
/// assert!(errors[0].to_string().starts_with("metadata.name: Invalid value: \"Bad_Name\""));
/// ```
pub fn object(gvk: &Gvk, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    meta::check(gvk, new, old, &mut errors);
    let (group, kind) = (gvk.group.as_str(), gvk.kind.as_str());
    match (group, kind) {
        ("", "Pod") => pod::check(new, old, &mut errors),
        ("", "Service") => service::check(new, old, &mut errors),
        ("", "ConfigMap") => config::config_map(new, old, &mut errors),
        ("", "Secret") => config::secret(new, old, &mut errors),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => {
            workload::check(kind, new, old, &mut errors);
        }
        ("batch", "Job") => workload::job(new, old, &mut errors),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            webhook::check(new, true, &mut errors);
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            webhook::check(new, false, &mut errors);
        }
        ("rbac.authorization.k8s.io", _) => rbac::check(kind, new, old, &mut errors),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(new, old, &mut errors),
        _ => {}
    }
    errors.0
}

/// The errors found so far.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    fn required(&mut self, field: &FieldPath, detail: &str) {
        self.push(FieldError::required(field, detail));
    }

    fn invalid(&mut self, field: &FieldPath, value: &Value, detail: &str) {
        self.push(FieldError::invalid(field, value.clone(), detail));
    }

    fn forbidden(&mut self, field: &FieldPath, detail: &str) {
        self.push(FieldError::forbidden(field, detail));
    }

    fn duplicate(&mut self, field: &FieldPath, value: &Value) {
        self.push(FieldError::duplicate(field, value.clone()));
    }

    fn not_found(&mut self, field: &FieldPath, value: &Value) {
        self.push(FieldError::new(FieldErrorKind::NotFound, field, Some(value.clone()), ""));
    }

    /// One error for each problem of a name.
    fn name(&mut self, field: &FieldPath, value: &Value, check: fn(&str) -> Vec<String>) {
        for problem in check(text(value)) {
            self.invalid(field, value, &problem);
        }
    }

    /// A name that must be there and be good.
    fn needed_name(&mut self, field: &FieldPath, value: &Value, check: fn(&str) -> Vec<String>) {
        if text(value).is_empty() {
            self.required(field, "");
        } else {
            self.name(field, value, check);
        }
    }

    /// A value of an enumeration; absent is `missing_ok`.
    fn one_of(&mut self, field: &FieldPath, value: &Value, supported: &[&str]) {
        if !supported.contains(&text(value)) {
            let shown = if value.is_null() { Value::from("") } else { value.clone() };
            self.push(FieldError::not_supported(field, shown, supported));
        }
    }

    /// An integer of at least zero, if there is one.
    fn not_negative(&mut self, field: &FieldPath, value: &Value) {
        if value.as_i64().is_some_and(|n| n < 0) {
            self.invalid(field, value, "must be greater than or equal to 0");
        }
    }

    /// A port number.
    fn port(&mut self, field: &FieldPath, value: &Value) {
        if !value.as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
            let shown = if value.is_null() { Value::from(0) } else { value.clone() };
            self.invalid(field, &shown, "must be between 1 and 65535, inclusive");
        }
    }

    /// A port number or a port's name.
    fn port_or_name(&mut self, field: &FieldPath, value: &Value) {
        match value {
            Value::String(_) => self.name(field, value, name::port_name),
            _ => self.port(field, value),
        }
    }

    /// A field that must stay as it was.
    fn immutable(&mut self, field: &FieldPath, new: &Value, old: &Value) {
        if new != old {
            self.invalid(field, new, "field is immutable");
        }
    }

    /// Labels: keys and values.
    fn labels(&mut self, field: &FieldPath, labels: &Value) {
        for (key, value) in entries(labels) {
            self.name(field, &Value::from(key.as_str()), name::qualified);
            self.name(field, value, name::label_value);
        }
    }

    /// A label selector.
    fn selector(&mut self, field: &FieldPath, selector: &Value) {
        self.labels(&field.child("matchLabels"), &selector["matchLabels"]);
        for (index, expression) in list(&selector["matchExpressions"]).iter().enumerate() {
            let field = field.child("matchExpressions").index(index);
            let no_values = list(&expression["values"]).is_empty();
            match text(&expression["operator"]) {
                "In" | "NotIn" if no_values => self.required(
                    &field.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ),
                "Exists" | "DoesNotExist" if !no_values => self.forbidden(
                    &field.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                _ => self.invalid(
                    &field.child("operator"),
                    &expression["operator"],
                    "not a valid selector operator",
                ),
            }
            self.name(&field.child("key"), &expression["key"], name::qualified);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Whether a field is there at all.
fn has(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(|v| !v.is_null())
}

#[cfg(test)]
mod tests;
