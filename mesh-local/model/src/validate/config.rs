//! ConfigMaps and Secrets: keys, sizes, encodings, immutability.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Errors, FieldError, FieldErrorKind, FieldPath, entries, name, text};

const SIZE_MAX: usize = 1024 * 1024;

pub(super) fn config_map(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in entries(&new["data"]) {
        let field = FieldPath::new("data").key(key);
        errors.name(&field, &json!(key), name::config_key);
        if new["binaryData"].get(key).is_some() {
            errors.invalid(&field, &json!(key), "duplicate of key present in binaryData");
        }
        size += text(value).len();
    }
    for (key, value) in entries(&new["binaryData"]) {
        let field = FieldPath::new("binaryData").key(key);
        errors.name(&field, &json!(key), name::config_key);
        size += decoded(&field, value, errors);
    }
    too_long(&FieldPath::root(), size, errors);
    frozen(new, old, &["data", "binaryData"], errors);
}

pub(super) fn secret(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let field = FieldPath::new("data");
    let mut size = 0;
    for (key, value) in entries(&new["data"]) {
        let field = field.key(key);
        errors.name(&field, &json!(key), name::config_key);
        size += decoded(&field, value, errors);
    }
    too_long(&field, size, errors);
    let needed: &[&str] = match text(&new["type"]) {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if new["data"].get(key).is_none() {
            errors.required(&field.key(key), "");
        }
    }
    if new["type"] == "kubernetes.io/service-account-token" {
        let owner = "kubernetes.io/service-account.name";
        if text(&new["metadata"]["annotations"][owner]).is_empty() {
            errors.required(&FieldPath::new("metadata.annotations").key(owner), "");
        }
    }
    if let Some(old) = old {
        errors.immutable(&FieldPath::new("type"), &new["type"], &old["type"]);
    }
    frozen(new, old, &["data"], errors);
}

/// The size of a base64 value.
fn decoded(field: &FieldPath, value: &Value, errors: &mut Errors) -> usize {
    let stripped: String = text(value).chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    match BASE64_STANDARD.decode(stripped) {
        Ok(bytes) => bytes.len(),
        Err(error) => {
            // The value may be a secret: it is not repeated.
            errors.push(FieldError::new(
                FieldErrorKind::Invalid,
                field,
                None,
                format!("illegal base64 data: {error}"),
            ));
            0
        }
    }
}

fn too_long(field: &FieldPath, size: usize, errors: &mut Errors) {
    if size > SIZE_MAX {
        errors.push(FieldError::new(
            FieldErrorKind::TooLong,
            field,
            None,
            format!("may not be more than {SIZE_MAX} bytes"),
        ));
    }
}

/// What an object marked `immutable` may not change any more.
fn frozen(new: &Value, old: Option<&Value>, keys: &[&str], errors: &mut Errors) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else { return };
    if new["immutable"] != true {
        errors
            .forbidden(&FieldPath::new("immutable"), "field is immutable when `immutable` is set");
    }
    for key in keys {
        if new[*key] != old[*key] {
            errors.forbidden(&FieldPath::new(key), "field is immutable when `immutable` is set");
        }
    }
}
