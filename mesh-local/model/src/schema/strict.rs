//! The message of a strict decoding failure.

use crate::field::FieldPath;

/// What `fieldValidation=Strict` answers, or `None` when nothing is wrong. `fieldValidation=Warn`
/// sends each part as a warning of its own.
///
/// ```
/// use local_model::field::FieldPath;
/// use local_model::schema::strict_message;
/// let unknown = [FieldPath::new("spec.foo")];
/// let repeated = [FieldPath::new("metadata.name")];
/// assert_eq!(
///     strict_message(&unknown, &repeated).as_deref(),
///     Some("strict decoding error: duplicate field \"metadata.name\", unknown field \"spec.foo\"")
/// );
/// assert_eq!(strict_message(&[], &[]), None);
/// ```
pub fn strict_message(unknown: &[FieldPath], repeated: &[FieldPath]) -> Option<String> {
    let repeated = repeated.iter().map(|p| format!("duplicate field {:?}", p.as_str()));
    let unknown = unknown.iter().map(|p| format!("unknown field {:?}", p.as_str()));
    let parts: Vec<_> = repeated.chain(unknown).collect();
    (!parts.is_empty()).then(|| format!("strict decoding error: {}", parts.join(", ")))
}
