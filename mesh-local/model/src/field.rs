//! Field paths and field errors, worded as the Kubernetes API words them.

use std::fmt;

use serde_json::Value;

/// The place of a value inside an object: `spec.containers[0].name`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path of the whole object; prints as the empty string.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path that starts at `name`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The property `name` of the value at this path.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The list element `index` of the value at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The map entry `key` of the value at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text; empty for the whole object.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// Why a field was refused; the set and the `reason` strings are those of `metav1.CauseType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// A required value is missing.
    Required,
    /// A value repeats where it must be unique.
    Duplicate,
    /// A value is malformed or out of range.
    Invalid,
    /// A value is of the wrong JSON type.
    TypeInvalid,
    /// A value is outside its enumeration.
    NotSupported,
    /// A value is well-formed but not allowed here.
    Forbidden,
    /// A string is too long.
    TooLong,
    /// A list or map has too many elements.
    TooMany,
    /// A value refers to something that does not exist.
    NotFound,
    /// The check itself failed.
    Internal,
}

impl FieldErrorKind {
    /// The machine-readable `reason` of a status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// One refused field.
///
/// ```
/// use local_model::field::{FieldError, FieldPath};
/// let e = FieldError::not_supported(&FieldPath::new("spec.mode"), "BLAH", &["STRICT", "DISABLE"]);
/// assert_eq!(
///     e.to_string(),
///     "spec.mode: Unsupported value: \"BLAH\": supported values: \"DISABLE\", \"STRICT\""
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Why.
    pub kind: FieldErrorKind,
    /// Where.
    pub field: FieldPath,
    /// The offending value; `None` where the message shows none. Boxed, to keep results small.
    pub value: Option<Box<Value>>,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    /// A missing value.
    pub fn required(field: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, field, None, detail)
    }

    /// A malformed value.
    pub fn invalid(field: &FieldPath, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, field, Some(value.into()), detail)
    }

    /// A value of the wrong JSON type.
    pub fn type_invalid(
        field: &FieldPath,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, field, Some(value.into()), detail)
    }

    /// A repeated value.
    pub fn duplicate(field: &FieldPath, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, field, Some(value.into()), "")
    }

    /// A value that is not allowed here.
    pub fn forbidden(field: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, field, None, detail)
    }

    /// A value outside its enumeration; the supported ones are listed in order.
    pub fn not_supported(field: &FieldPath, value: impl Into<Value>, supported: &[&str]) -> Self {
        let mut names: Vec<_> = supported.iter().map(|s| format!("{s:?}")).collect();
        names.sort_unstable();
        let detail = format!("supported values: {}", names.join(", "));
        Self::new(FieldErrorKind::NotSupported, field, Some(value.into()), detail)
    }

    /// Any other error.
    pub fn new(
        kind: FieldErrorKind,
        field: &FieldPath,
        value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, field: field.clone(), value: value.map(Box::new), detail: detail.into() }
    }

    /// The message without the field, as a status cause carries it.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            match &**value {
                // The API's own rendering of "no value".
                Value::Null => text.push_str("\"null\""),
                other => text.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}
